"""Options of data and of judging: what they offer, and what they refuse at once.

Held here: a dataset is a release, synthetic, or a path; options of one's own files have
no effect on anything else; the published splits are of ml-100k, whole; every sentence
names the flag, what was given and what may be given instead.
"""

import dataclasses
import os

import pytest

from ncf_jax.config import Config
from ncf_jax.config_data import (
    BY_TIME,
    PUBLISHED_SPLITS,
    RELEASES,
    DataConfig,
    JudgeConfig,
)
from ncf_jax.errors import ConfigError

OWN = "./ratings.csv"
WHOLE = dict(min_item_ratings=1, min_user_ratings=1)


def refused(kind=DataConfig, **options):
    with pytest.raises(ConfigError) as caught:
        kind(**options)
    message = str(caught.value)
    assert message.isprintable()
    assert message.startswith("--")
    assert message.endswith((".", "?"))
    return message


def test_every_release_is_offered():
    small = ("ml-latest-small", "ml-latest", "ml-100k", "ml-1m", "ml-10m")
    assert (*small, "ml-20m", "ml-25m", "ml-32m") == RELEASES
    for name in RELEASES:
        assert DataConfig(dataset=name).dataset == name


@pytest.mark.parametrize("path", [OWN, "a/b.parquet", "../x.tsv", "folder/", "x.csv"])
def test_a_path_is_a_dataset_and_the_same_from_any_folder(path, monkeypatch, tmp_path):
    config = DataConfig(dataset=path, item_features="x/../items.csv")
    assert config.dataset == os.path.abspath(path)
    assert config.item_features == os.path.abspath("items.csv")
    monkeypatch.chdir(tmp_path)
    assert dataclasses.replace(config) == config


@pytest.mark.parametrize("name", ["ml-1M", "ml1m", "ratings", ""])
def test_another_name_is_refused_with_those_there_are(name):
    message = refused(dataset=name)
    assert message.startswith("--dataset wants one of synthetic, ml-latest-small,")
    assert repr(name) in message


@pytest.mark.parametrize("dataset", ["synthetic", *RELEASES])
@pytest.mark.parametrize(
    "options", [{"columns": ("u", "i", "r")}, {"item_features": "items.csv"}]
)
def test_options_of_ones_own_files_want_ones_own_file(dataset, options):
    message = refused(dataset=dataset, **options)
    assert f"has no effect with --dataset={dataset}; leave it out, or give" in message
    (name,) = options
    assert message.startswith(f"--{name}=")
    assert DataConfig(dataset=OWN, **options)
    default = getattr(DataConfig(), name)
    assert DataConfig(dataset=dataset, **{name: default})


@pytest.mark.parametrize(
    "columns",
    [
        *(("user",), ("user", "item"), ("u", "i", "r", "t", "x")),
        *(("u", "u", "r"), ("u", "i", ""), ("u", "i", "r", "u")),
    ],
)
def test_columns_are_three_or_four_different_names(columns):
    message = refused(dataset=OWN, columns=columns)
    assert message.startswith("--columns wants three or four different names, of user,")
    assert repr(",".join(columns)) in message


@pytest.mark.parametrize("columns", [("u", "i", "r"), ("u", "i", "r", "t")])
def test_three_or_four_columns_are_taken(columns):
    assert DataConfig(dataset=OWN, columns=columns).columns == columns


@pytest.mark.parametrize("split", BY_TIME)
def test_a_split_by_time_wants_a_column_of_times(split):
    three = ("u", "i", "r")
    message = refused(dataset=OWN, columns=three, split=split)
    assert f"--split={split} wants times, and --columns=u,i,r names none" in message
    assert DataConfig(dataset=OWN, columns=(*three, "t"), split=split)
    assert DataConfig(dataset=OWN, columns=three, split="cold_item")


@pytest.mark.parametrize("split", PUBLISHED_SPLITS)
def test_a_published_split_is_of_ml_100k_whole(split):
    assert DataConfig(dataset="ml-100k", split=split, **WHOLE).split == split
    for other in ("ml-1m", "synthetic", OWN):
        message = refused(dataset=other, split=split, **WHOLE)
        assert f"--split={split} is published with ml-100k alone; found" in message
        assert "--dataset=" in message
        assert other.removeprefix(".") in message


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({}, "10 and 3"),
        ({"min_item_ratings": 1}, "1 and 3"),
        ({"min_user_ratings": 1}, "10 and 1"),
    ],
)
def test_a_published_split_leaves_no_row_out(filters, found):
    message = refused(dataset="ml-100k", split="u1", **filters)
    assert "pass --min_item_ratings=1 --min_user_ratings=1; found" in message
    assert message.endswith(f"found {found}.")


@pytest.mark.parametrize("dataset", ["synthetic", *RELEASES])
def test_a_stored_split_comes_with_shards(dataset):
    message = refused(dataset=dataset, split="stored")
    assert message.startswith("--split=stored wants a folder of shards as --dataset")
    assert DataConfig(dataset="./shards", split="stored")


@pytest.mark.parametrize("kind", [DataConfig, JudgeConfig, Config])
def test_contradictions_are_seen_in_every_command(kind):
    refused(kind, dataset="ml-1m", split="u1", **WHOLE)
    assert kind(dataset="ml-100k", split="u1", **WHOLE)


def test_a_flagfile_that_lists_every_option_is_accepted_again():
    for config in (
        JudgeConfig(),
        JudgeConfig(dataset="ml-100k", split="ua", **WHOLE),
        JudgeConfig(dataset=OWN, columns=("u", "i", "r"), item_features="x.csv"),
    ):
        assert JudgeConfig(**dataclasses.asdict(config)) == config


def test_what_is_read_decides_the_run():
    digests = {
        DataConfig(dataset=OWN, **options).digest()
        for options in (
            {},
            {"columns": ("u", "i", "r")},
            {"item_features": "items.csv"},
            {"split": "cold_item"},
        )
    }
    assert len(digests) == 4


def test_the_data_have_options_and_judging_has_more():
    data = {field.name for field in dataclasses.fields(DataConfig)}
    judge = {field.name for field in dataclasses.fields(JudgeConfig)}
    assert judge - data == {
        *("metrics", "candidates", "k", "ties", "relevance_threshold", "clip")
    }
