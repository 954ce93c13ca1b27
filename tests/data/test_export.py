"""The export: the reference's table and split, as an independent reading has them.

Held here: the merged table equals plain pandas on the same files, column by column; the
split names each row once; the real split has the reference's counts; a folder that
cannot be written is one sentence, and no part of a file stays behind.
"""

import dataclasses
import json
import re

import numpy as np
import pandas as pd
import pytest

from ncf_jax import prepare, split
from ncf_jax.config import DataConfig
from ncf_jax.data.export import export
from ncf_jax.errors import DataError
from tests.data.test_prepare import reference_table

COLUMNS = [
    *("userId", "movieId", "rating", "timestamp", "rating_norm"),
    *("userIndex", "movieIndex", "genres_vector", "tag_features"),
]


@pytest.fixture
def world(tmp_path):
    """A synthetic data set, its split, and the folder of its CSV files."""
    config = DataConfig(
        synthetic_users=30,
        synthetic_items=60,
        synthetic_ratings_per_user=25,
        cache_dir=str(tmp_path / "cache"),
    )
    dataset = prepare(config)
    (folder,) = (path for path in (tmp_path / "cache").iterdir() if path.is_dir())
    return dataset, split(dataset, config), folder


def test_the_exported_table_is_that_of_plain_pandas(world, tmp_path):
    dataset, parts, folder = world
    paths = export(dataset, parts, tmp_path / "out")
    assert [path.name for path in paths] == [
        "final_merged_dataset.csv",
        "split.csv",
        "SYNTHETIC.txt",
    ]
    assert "synthetic" in paths[2].read_text()
    ours = pd.read_csv(paths[0])
    assert list(ours.columns) == COLUMNS
    wanted = reference_table(folder).reset_index(drop=True)
    for name in ("userId", "movieId", "rating", "timestamp", "userIndex", "movieIndex"):
        np.testing.assert_array_equal(ours[name], wanted[name], err_msg=name)
    np.testing.assert_allclose(ours["rating_norm"], wanted["rating"] / 5, rtol=1e-7)
    movies = pd.read_csv(folder / "movies.csv", index_col="movieId")
    names = sorted({g for text in movies["genres"] for g in text.split("|")})
    for row in ours.itertuples():
        genres = set(movies.loc[row.movieId, "genres"].split("|"))
        assert json.loads(row.genres_vector) == [float(one in genres) for one in names]
    tags = np.array([json.loads(text) for text in ours["tag_features"]], np.float32)
    np.testing.assert_array_equal(tags, dataset.features.tags[dataset.item])
    assert tags.any(), "a world without tags would prove nothing"


def test_the_exported_split_names_each_row_once(world, tmp_path):
    dataset, parts, _ = world
    path = export(dataset, parts, tmp_path / "out")[1]
    table = pd.read_csv(path)
    assert list(table.columns) == ["userId", "movieId", "split"]
    np.testing.assert_array_equal(table["userId"], dataset.user_ids[dataset.user])
    np.testing.assert_array_equal(table["movieId"], dataset.item_ids[dataset.item])
    for name in ("train", "valid", "test"):
        rows = np.flatnonzero(table["split"] == name)
        np.testing.assert_array_equal(rows, getattr(parts, name), err_msg=name)
    assert not table.duplicated(["userId", "movieId"]).any()


def test_an_export_leaves_just_its_files_and_replaces_older_ones(world, tmp_path):
    dataset, parts, _ = world
    out = tmp_path / "out"
    out.mkdir()
    (out / "split.csv").write_text("of an older run")
    (out / "mine.txt").write_text("not touched")
    export(dataset, parts, out)
    assert {path.name for path in out.iterdir()} == {
        "final_merged_dataset.csv",
        "split.csv",
        "SYNTHETIC.txt",
        "mine.txt",
    }
    assert (out / "split.csv").read_text().startswith("userId,movieId,split\n")


def test_the_real_split_is_exported_with_the_references_counts(real_data_dir, tmp_path):
    release = dict(dataset="ml-latest-small", cache_dir="")
    real = prepare(DataConfig(**release, data_dir=str(real_data_dir)))
    parts = split(real, DataConfig())
    features = dataclasses.replace(real.features, tags=np.zeros((2_269, 1), np.float32))
    narrow = dataclasses.replace(real, features=features)  # quicker to write
    table = pd.read_csv(export(narrow, parts, tmp_path)[1])
    assert table["split"].value_counts().to_dict() == {
        "train": 56_505,
        "test": 12_447,
        "valid": 12_164,
    }


@pytest.mark.parametrize("below", ["", "deeper"])
def test_an_export_folder_that_cannot_be_made_is_one_sentence(world, tmp_path, below):
    dataset, parts, _ = world
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError) as caught:
        export(dataset, parts, tmp_path / "file" / below)
    message = str(caught.value)
    assert message.isprintable()
    assert "--export_dir" in message
    assert (tmp_path / "file").read_text() == "in the way"


@pytest.mark.parametrize("name", ["final_merged_dataset.csv", "split.csv"])
def test_an_export_that_fails_half_way_leaves_no_part_of_a_file(world, tmp_path, name):
    dataset, parts, _ = world
    (tmp_path / "out" / name).mkdir(parents=True)
    with pytest.raises(DataError, match=re.escape(name)):
        export(dataset, parts, tmp_path / "out")
    assert [p for p in (tmp_path / "out").iterdir() if "partial" in p.name] == []
