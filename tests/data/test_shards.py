"""A folder of shards as a data set: what was written comes back, memory-mapped.

Held here: a data set and its split survive being written, whatever the size of shards;
columns are memory-mapped and cannot be written to; the cache is used when it is whole
and made anew when it is not; a changed file is refused; what is not known of items is
zeros and said so; a folder that another engine wrote is read; memory does not grow
with the rows.
"""

import json
import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ncf_jax import prepare, split
from ncf_jax.config import DataConfig
from ncf_jax.data import features, shardfiles, shards
from ncf_jax.errors import DataError

COLUMNS = ("user", "item", "rating", "time")


@pytest.fixture
def folder(tmp_path, tiny_dataset, tiny_split):
    shards.write(tmp_path / "shards", tiny_dataset, tiny_split, rows_per_shard=300)
    return tmp_path / "shards"


@pytest.fixture
def config(tmp_path):
    return DataConfig(cache_dir=str(tmp_path / "cache"))


def change(folder, **values):
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


class TestRoundTrip:
    @pytest.mark.parametrize("rows_per_shard", [100, 333, 2**22])
    def test_every_array_and_text_comes_back(
        self, tmp_path, config, tiny_dataset, tiny_split, rows_per_shard
    ):
        folder = tmp_path / "shards"
        shards.write(folder, tiny_dataset, tiny_split, rows_per_shard=rows_per_shard)
        found = shards.dataset(folder, config)
        for name in (*COLUMNS, "user_ids", "item_ids"):
            column = getattr(tiny_dataset, name)
            np.testing.assert_array_equal(getattr(found, name), column)
            assert getattr(found, name).dtype == column.dtype
        for name in ("genres", "tags", "year"):
            wanted = getattr(tiny_dataset.features, name)
            np.testing.assert_array_equal(getattr(found.features, name), wanted)
        for name in ("name", "label", "titles", "genres", "genre_names", "floor_rmse"):
            assert getattr(found, name) == getattr(tiny_dataset, name)
        assert set(tiny_dataset.notes) <= set(found.notes)

    def test_the_split_comes_back_as_parts(self, folder, config, tiny_split):
        part = shards.dataset(folder, config).part
        for number, name in enumerate(("train", "valid", "test")):
            rows = np.flatnonzero(part == number)
            np.testing.assert_array_equal(rows, getattr(tiny_split, name))
        assert shards.definition(folder) == tiny_split.definition

    def test_without_a_split_there_are_no_parts(self, tmp_path, config, tiny_dataset):
        shards.write(tmp_path / "shards", tiny_dataset)
        assert shards.dataset(tmp_path / "shards", config).part is None
        with pytest.raises(DataError, match="holds no split"):
            shards.definition(tmp_path / "shards")

    def test_a_synthetic_world_stays_one(self, folder, config):
        found = shards.dataset(folder, config)
        assert found.synthetic
        assert "not real data" in found.label

    def test_the_fingerprint_is_the_folders(self, folder, config, tiny_dataset):
        manifest = shardfiles.read_manifest(folder)
        found = shards.dataset(folder, config)
        assert found.fingerprint == shardfiles.fingerprint(folder, manifest)
        assert found.fingerprint != tiny_dataset.fingerprint

    def test_what_was_read_can_be_written(self, folder, config, tmp_path):
        found = shards.dataset(folder, config)
        shards.write(tmp_path / "again", found)
        again = shards.dataset(tmp_path / "again", config)
        for name in COLUMNS:
            np.testing.assert_array_equal(getattr(again, name), getattr(found, name))

    def test_an_existing_folder_is_left_alone(self, folder, tiny_dataset):
        before = {path: path.read_bytes() for path in folder.iterdir()}
        with pytest.raises(DataError, match="is there already"):
            shards.write(folder, tiny_dataset)
        assert {path: path.read_bytes() for path in folder.iterdir()} == before


class TestPrepared:
    def test_it_is_a_data_set_by_its_path(self, folder, config, tiny_split):
        import dataclasses

        whole = dataclasses.replace(config, dataset=str(folder), split="stored")
        dataset = prepare(whole)
        parts = split(dataset, whole)
        for name in ("train", "valid", "test"):
            found, wanted = getattr(parts, name), getattr(tiny_split, name)
            np.testing.assert_array_equal(found, wanted)
        assert tiny_split.definition in parts.definition

    def test_filters_do_not_apply_and_a_note_says_so(self, folder, tmp_path):
        cache = str(tmp_path / "cache")
        few = DataConfig(cache_dir=cache, min_item_ratings=1, min_user_ratings=1)
        many = DataConfig(cache_dir=cache, min_item_ratings=1_000)
        without, with_filter = (shards.dataset(folder, c) for c in (few, many))
        assert len(without.user) == len(with_filter.user)
        told = [note for note in with_filter.notes if "no filter applies" in note]
        assert len(told) == 1
        assert not any("no filter applies" in note for note in without.notes)


class TestMapped:
    @pytest.mark.parametrize("cached", [True, False])
    def test_columns_are_files_that_cannot_be_written_to(self, folder, config, cached):
        found = shards.dataset(folder, config if cached else DataConfig(cache_dir=""))
        for name in (*COLUMNS, "part"):
            column = getattr(found, name)
            assert isinstance(column, np.memmap)
            assert column.mode == "r"
            with pytest.raises(ValueError, match="read-only"):
                column[0] = 0

    def test_without_a_cache_nothing_stays(self, folder, tmp_path, tiny_dataset):
        found = shards.dataset(folder, DataConfig(cache_dir=""))
        assert not Path(found.user.filename).exists()
        np.testing.assert_array_equal(found.user, tiny_dataset.user)
        assert [path.name for path in tmp_path.iterdir()] == ["shards"]

    def test_the_cache_is_named_by_the_fingerprint(self, folder, config):
        found = shards.dataset(folder, config)
        [home] = Path(config.cache_dir).iterdir()
        assert home.name == f"shards-{found.fingerprint}"
        sizes = {path.stem: path.stat().st_size for path in home.glob("*.bin")}
        n = len(found.user)
        wanted = {"user": 4, "item": 4, "rating": 4, "time": 8, "part": 1}
        assert sizes == {name: width * n for name, width in wanted.items()}

    def test_a_whole_cache_is_used(self, folder, config, monkeypatch):
        shards.dataset(folder, config)
        monkeypatch.setattr(shards, "_convert", None)
        shards.dataset(folder, config)
        monkeypatch.setattr(shards, "VERSION", 99)
        with pytest.raises(TypeError):
            shards.dataset(folder, config)

    @pytest.mark.parametrize("name", [*COLUMNS, "part", "columns"])
    @pytest.mark.parametrize("damage", ["gone", "short", "long", "bit"])
    def test_a_damaged_cache_is_made_anew(
        self, folder, config, tiny_dataset, name, damage
    ):
        shards.dataset(folder, config)
        [home] = Path(config.cache_dir).iterdir()
        path = home / ("columns.json" if name == "columns" else f"{name}.bin")
        content = path.read_bytes()
        changed = bytearray(content)
        changed[len(content) // 2] ^= 1
        kinds = {"short": content[:-1], "long": content + b" ", "bit": bytes(changed)}
        if damage == "gone":
            path.unlink()
        else:
            path.write_bytes(kinds[damage])
        found = shards.dataset(folder, config)
        for column in COLUMNS:
            wanted = getattr(tiny_dataset, column)
            np.testing.assert_array_equal(getattr(found, column), wanted)
        if damage != "long" or name != "columns":  # a blank after JSON is no damage
            assert path.read_bytes() == content
        assert [path.name for path in Path(config.cache_dir).iterdir()] == [home.name]

    def test_another_number_of_users_is_checked_anew(self, folder, config):
        shards.dataset(folder, config)
        few = pa.table({"id": pa.array(range(3), pa.int64())})
        pq.write_table(few, folder / "few.parquet")
        change(folder, num_users=3, users="few.parquet", fingerprint="")
        with pytest.raises(DataError, match=r"column user: expected 0 to 2"):
            shards.dataset(folder, config)

    def test_a_failed_conversion_leaves_nothing(self, folder, config):
        change(folder, fingerprint="")
        last = sorted(folder.glob("interactions*"))[-1]
        values = pq.read_table(last)
        wrong = values.set_column(
            2, "rating", pa.array([9.0] * len(values), pa.float32())
        )
        pq.write_table(wrong, last)
        with pytest.raises(DataError, match=rf"{last.name}, row group 0, row 0"):
            shards.dataset(folder, config)
        assert list(Path(config.cache_dir).iterdir()) == []

    def test_another_process_that_was_faster_is_no_harm(
        self, folder, config, monkeypatch, tiny_dataset
    ):
        plain = shards._convert

        def slow(folder, manifest, home, tell):
            plain(folder, manifest, home, tell)
            if not done:
                done.append(1)
                shards.dataset(folder, config)

        done = []
        monkeypatch.setattr(shards, "_convert", slow)
        found = shards.dataset(folder, config)
        assert done
        np.testing.assert_array_equal(found.item, tiny_dataset.item)

    def test_a_cache_that_cannot_be_written_is_told(self, folder, tmp_path):
        (tmp_path / "file").write_text("mine")
        with pytest.raises(DataError, match="--cache_dir"):
            shards.dataset(folder, DataConfig(cache_dir=str(tmp_path / "file")))
        assert (tmp_path / "file").read_text() == "mine"

    def test_it_says_what_it_does(self, folder, config):
        lines = []
        shards.dataset(folder, config, lines.append)
        assert any("fingerprinted" in line for line in lines)


class TestFingerprint:
    def test_a_changed_file_is_refused(self, folder, config):
        path = folder / "users.parquet"
        ids = pq.read_table(path)["id"].to_pylist()
        ids[0], ids[1] = ids[1], ids[0]
        pq.write_table(pa.table({"id": pa.array(ids, pa.int64())}), path)
        with pytest.raises(DataError, match="where its manifest says"):
            shards.dataset(folder, config)
        change(folder, fingerprint="")
        assert shards.dataset(folder, config).user_ids.tolist() == ids

    def test_a_wrong_one_in_the_manifest_is_refused(self, folder, config):
        change(folder, fingerprint="0" * 16)
        with pytest.raises(DataError, match="0000000000000000"):
            shards.dataset(folder, config)


@pytest.fixture
def foreign(tmp_path):
    """A folder as another engine writes it: the least that is allowed."""
    folder = tmp_path / "foreign"
    folder.mkdir()
    rows = {
        "user": pa.array([0, 1, 1, 2], pa.int32()),
        "item": pa.array([1, 0, 1, 1], pa.int32()),
        "rating": pa.array([0.5, 3.7, 5.0, 1.25], pa.float32()),
        "time": pa.array([5, 4, -3, 2], pa.int64()),
    }
    pq.write_table(pa.table(rows), folder / "part-0.parquet")
    for name, ids in (("users", [7, 5, 6]), ("items", [30, 20])):
        known = pa.table({"id": pa.array(ids, pa.int64())})
        pq.write_table(known, folder / f"{name}.parquet")
    about = {
        "format": 1,
        "name": "clicks",
        "num_users": 3,
        "num_items": 2,
        "shards": [{"file": "part-0.parquet", "rows": 4}],
        "users": "users.parquet",
        "items": "items.parquet",
        "split": None,
    }
    (folder / "manifest.json").write_text(json.dumps(about))
    return folder


class TestForeign:
    def test_the_least_that_is_allowed_is_read(self, foreign, config):
        found = shards.dataset(foreign, config)
        assert found.name == found.label == "clicks"
        assert found.user.tolist() == [0, 1, 1, 2]
        assert found.rating.tolist() == [0.5, np.float32(3.7), 5.0, 1.25]
        assert found.time.tolist() == [5, 4, -3, 2]
        assert found.user_ids.tolist() == [7, 5, 6]
        assert found.titles == ("item 30", "item 20")

    def test_what_is_not_known_is_zeros_and_said(self, foreign, config):
        found = shards.dataset(foreign, config)
        assert not found.features.genres.any()
        assert found.features.genres.shape == (2, len(found.genre_names))
        assert found.features.tags.shape == (2, features.TAG_COMPONENTS)
        assert not found.features.tags.any()
        told = " ".join(found.notes)
        assert "no column genres, so genres are zeros" in told
        assert "no column tags, so tag features are zeros" in told

    def test_some_titles_and_genres_may_be_missing(self, foreign, config):
        items = {
            "id": pa.array([30, 20], pa.int64()),
            "title": pa.array([None, "Brazil (1985)"]),
            "genres": pa.array(["Drama|War", None]),
            "tags": pa.array([[1.0], [2.0]], pa.list_(pa.float32())),
        }
        pq.write_table(pa.table(items), foreign / "items.parquet")
        found = shards.dataset(foreign, config)
        assert found.titles == ("item 30", "Brazil (1985)")
        assert found.features.year.tolist() == [0.0, 1985.0]
        assert found.genre_names == (shards.NO_GENRES, "Drama", "War")
        assert found.features.genres.tolist() == [[0, 1, 1], [1, 0, 0]]
        assert found.features.tags.tolist() == [[1.0], [2.0]]

    def test_a_genre_that_the_manifest_does_not_name_is_refused(self, foreign, config):
        items = {"id": [30, 10], "genres": [None, "War|Drama"]}
        pq.write_table(pa.table(items), foreign / "items.parquet")
        change(foreign, genre_names=["War", shards.NO_GENRES])
        with pytest.raises(DataError) as caught:
            shards.dataset(foreign, config)
        assert "items.parquet, row 1, column genres: 'Drama' is not" in str(
            caught.value
        )
        change(foreign, genre_names=["War", "Drama", shards.NO_GENRES])  # the control
        assert shards.dataset(foreign, config).genre_names[0] == shards.NO_GENRES

    def test_parts_without_a_split_are_not_read(self, foreign, config):
        path = foreign / "part-0.parquet"
        values = pq.read_table(path)
        part = pa.array([0, 1, 2, 9], pa.int8())
        pq.write_table(values.append_column("part", part), path)
        assert shards.dataset(foreign, config).part is None
        change(foreign, split="by hand")
        with pytest.raises(DataError, match="column part: expected 0 to 2; found 9"):
            shards.dataset(foreign, config)

    def test_the_page_shows_a_manifest_that_is_accepted(self, tmp_path):
        page = (Path(__file__).parents[2] / "data" / "README.md").read_text()
        shown = page.split("```json\n")[1].split("```")[0]
        (tmp_path / "manifest.json").write_text(shown)
        found = shardfiles.read_manifest(tmp_path)
        assert found.split is not None
        for word in ("interactions-00000", "users.parquet", "items.parquet", *COLUMNS):
            assert word in page


class TestMemory:
    def peak(self, tmp_path, blocks):
        folder = tmp_path / f"shards{blocks}"
        n = 2**14
        with shardfiles.new_folder(folder) as partial:
            writer = shardfiles.Writer(partial, parts=True, rows_per_shard=2**15)
            for _ in range(blocks):
                writer.add(
                    {
                        "user": np.arange(n) % 50,
                        "item": np.arange(n) % 40,
                        "rating": np.full(n, 3.5),
                        "time": np.arange(n),
                        "part": np.arange(n) % 3,
                    }
                )
            ids = {"user_ids": np.arange(50), "item_ids": np.arange(40)}
            writer.finish(name="much", split="in turn", **ids)
        config = DataConfig(cache_dir=str(tmp_path / "cache"))
        tracemalloc.start()
        before = pa.default_memory_pool().bytes_allocated()
        found = shards.dataset(folder, config)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert len(found.user) == blocks * n
        assert pa.default_memory_pool().bytes_allocated() - before < 2**20
        return peak

    def test_it_does_not_grow_with_the_rows(self, tmp_path):
        small, large = self.peak(tmp_path, 8), self.peak(tmp_path, 32)
        assert large < 1.3 * small
        assert large < 21 * 32 * 2**14 / 2, "it is as much as the columns themselves"
