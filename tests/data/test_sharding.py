"""CSV -> shards by blocks: the very data that preparation in memory gives.

Held here: rows, numbers, ids, titles, genres and tags are those of `prepare`, for
several filters and sizes of blocks, plain files or not; rows are divided by a hash of
their ids, the same whatever the filters, and in the shares that are said; what is wrong
is named; nothing is left of a failure; memory does not grow with the rows.
"""

import dataclasses
import tracemalloc

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from ncf_jax import bits, prepare
from ncf_jax.config import DataConfig
from ncf_jax.data import columnar, sharding, shards, synthetic
from ncf_jax.data.prepare import world_of
from ncf_jax.data.sharding import from_csv, hashed_part
from ncf_jax.errors import DataError
from tests.conftest import TINY

FILTERS = [(1, 1), (3, 10), (20, 1), (1, 25), (20, 14)]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A folder of CSV files of the tiny world."""
    folder = tmp_path_factory.mktemp("world") / "csv"
    synthetic.write(world_of(DataConfig(**TINY)), folder)
    return folder


@pytest.fixture
def config(tmp_path):
    return DataConfig(cache_dir=str(tmp_path / "cache"))


def assert_same(found, wanted):
    for name in ("user", "item", "rating", "time", "user_ids", "item_ids"):
        np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name))
        assert getattr(found, name).dtype == getattr(wanted, name).dtype
    for name in ("genres", "tags", "year"):
        one, other = (getattr(data.features, name) for data in (found, wanted))
        np.testing.assert_array_equal(one, other)
    for name in ("titles", "genres", "genre_names"):
        assert getattr(found, name) == getattr(wanted, name)


class TestSame:
    @pytest.mark.parametrize(("users", "items"), FILTERS)
    def test_it_is_what_preparation_in_memory_gives(
        self, world, tmp_path, config, monkeypatch, users, items
    ):
        monkeypatch.setattr(columnar, "BLOCK", 999)
        filters = {"min_user_ratings": users, "min_item_ratings": items}
        from_csv(world, tmp_path / "shards", name="synthetic", **filters)
        wanted = prepare(DataConfig(**TINY, **filters))
        found = shards.dataset(tmp_path / "shards", config)
        assert_same(found, wanted)
        assert set(wanted.notes) <= set(found.notes)

    @pytest.mark.parametrize("block", [60, 5_000, 2**22])
    def test_blocks_and_shards_do_not_show(
        self, world, tmp_path, monkeypatch, tiny_dataset, config, block
    ):
        monkeypatch.setattr(columnar, "BLOCK", block)
        found = from_csv(world, tmp_path / "shards", name="mine", rows_per_shard=113)
        assert found.num_rows == len(tiny_dataset.user)
        assert {rows for _, rows in found.shards[:-1]} == {113}
        assert_same(shards.dataset(tmp_path / "shards", config), tiny_dataset)

    def test_a_file_that_is_not_plain_is_the_same(
        self, world, tmp_path, tiny_dataset, config
    ):
        folder = tmp_path / "csv"
        folder.mkdir()
        for name in ("movies.csv", "tags.csv"):
            (folder / name).write_bytes((world / name).read_bytes())
        rows = pd.read_csv(world / "ratings.csv")
        rows["more"] = "a,b"
        rows[["more", *rows.columns[3::-1]]].to_csv(folder / "ratings.csv", index=False)
        from_csv(folder, tmp_path / "shards", name="synthetic")
        assert_same(shards.dataset(tmp_path / "shards", config), tiny_dataset)

    def test_ratings_alone_are_enough(self, world, tmp_path, tiny_dataset, config):
        from_csv(world / "ratings.csv", tmp_path / "shards", name="mine")
        found = shards.dataset(tmp_path / "shards", config)
        for name in ("user", "item", "rating", "time", "user_ids", "item_ids"):
            wanted = getattr(tiny_dataset, name)
            np.testing.assert_array_equal(getattr(found, name), wanted)
        assert not found.features.tags.any()
        assert any("genres are zeros" in note for note in found.notes)

    def test_without_tags_they_are_zeros_and_said(self, world, tmp_path, config):
        folder = tmp_path / "csv"
        folder.mkdir()
        for name in ("movies.csv", "ratings.csv"):
            (folder / name).write_bytes((world / name).read_bytes())
        from_csv(folder, tmp_path / "shards", name="mine")
        found = shards.dataset(tmp_path / "shards", config)
        assert not found.features.tags.any()
        assert any("tags.csv: not there" in note for note in found.notes)

    def test_large_ids_need_no_large_tables(self, tmp_path, config):
        ids = [2**53, 7, 2**53, 7, 2**40, 2**40]
        rows = {"userId": ids, "movieId": [9, 9, 2**50, 2**50, 9, 2**50]}
        frame = pd.DataFrame(rows | {"rating": [3.5] * 6, "timestamp": range(6)})
        frame.to_csv(tmp_path / "r.csv", index=False)
        filters = {"min_user_ratings": 1, "min_item_ratings": 1}
        from_csv(tmp_path / "r.csv", tmp_path / "shards", name="mine", **filters)
        found = shards.dataset(tmp_path / "shards", config)
        assert found.user_ids.tolist() == [2**53, 7, 2**40]
        assert found.user.tolist() == [0, 1, 0, 1, 2, 2]
        assert found.item_ids.tolist() == [9, 2**50]


class TestPrepare:
    def test_a_synthetic_world_by_its_options(self, tmp_path, tiny_dataset, config):
        cache = dataclasses.replace(DataConfig(**TINY), cache_dir=config.cache_dir)
        for number, options in enumerate((DataConfig(**TINY), cache)):
            sharding.prepare(options, tmp_path / f"{number}")
            found = shards.dataset(tmp_path / f"{number}", config)
            assert_same(found, tiny_dataset)
            assert found.label == tiny_dataset.label
            assert found.floor_rmse == tiny_dataset.floor_rmse

    def test_a_path_is_read(self, world, tmp_path, tiny_dataset, config):
        options = DataConfig(dataset=str(world), split_seed=7)
        found = sharding.prepare(options, tmp_path / "shards")
        assert found.name == world.name
        assert "seed 7" in found.split
        assert_same(shards.dataset(tmp_path / "shards", config), tiny_dataset)

    def test_another_copy_of_a_release_is_refused_or_named(self, world, tmp_path):
        release = tmp_path / "ml-latest-small"
        release.mkdir()
        for name in ("movies.csv", "ratings.csv", "tags.csv"):
            (release / name).write_bytes((world / name).read_bytes())
        options = DataConfig(dataset="ml-latest-small", data_dir=str(tmp_path))
        with pytest.raises(DataError, match="--allow_other_copy"):
            sharding.prepare(options, tmp_path / "shards")
        options = dataclasses.replace(options, allow_other_copy=True)
        found = sharding.prepare(options, tmp_path / "shards")
        assert found.label.startswith("ml-latest-small (another copy")

    def test_a_release_in_another_format_is_refused(self, tmp_path):
        options = DataConfig(dataset="ml-1m", data_dir=str(tmp_path))
        with pytest.raises(DataError, match="leave out --bounded"):
            sharding.prepare(options, tmp_path / "shards")


class TestParts:
    def test_the_shares_are_those_that_are_said(self):
        user, item = np.divmod(np.arange(200_000), 500)
        share = np.bincount(hashed_part(user, item, 42)) / len(user)
        np.testing.assert_allclose(share, [0.7, 0.15, 0.15], atol=0.004)

    def test_within_users_and_items_too(self):
        user, item = np.divmod(np.arange(200_000), 500)
        train = hashed_part(user, item, 42) == 0
        for owner, width in ((user, 500), (item, 400)):
            share = np.bincount(owner, train) / width
            spread = np.sqrt(0.7 * 0.3 / width)
            assert abs(share.std() - spread) < 0.2 * spread

    def test_it_is_the_hash_of_the_page(self):
        import jax.numpy as jnp

        user, item = np.array([5, 2**40 + 3]), np.array([7, 2**33])
        word = bits.mix(jnp.uint32(42))
        for ids in (user, item):
            folded = (ids ^ (ids >> 32)) & 0xFFFFFFFF
            word = bits.mix(word ^ jnp.asarray(folded, jnp.uint32))
        share = np.asarray(word, np.float64) / 2**32
        wanted = np.digitize(share, [0.7, 0.85])
        np.testing.assert_array_equal(hashed_part(user, item, 42), wanted)

    def test_another_seed_divides_otherwise(self):
        user, item = np.divmod(np.arange(10_000), 100)
        one, two = (hashed_part(user, item, seed) for seed in (1, 2))
        agree = 0.7**2 + 2 * 0.15**2  # by chance
        assert abs((one == two).mean() - agree) < 0.02
        np.testing.assert_array_equal(one, hashed_part(user, item, 1))
        assert one.dtype == np.int8

    def test_a_row_keeps_its_part_under_any_filter(self, world, tmp_path, config):
        parts = []
        for users, items in FILTERS:
            folder = tmp_path / f"{users}-{items}"
            filters = {"min_user_ratings": users, "min_item_ratings": items}
            from_csv(world, folder, name="mine", seed=3, **filters)
            found = shards.dataset(folder, config)
            ids = found.user_ids[found.user], found.item_ids[found.item]
            parts.append(dict(zip(zip(*ids, strict=True), found.part, strict=True)))
        for few in parts[1:]:
            assert {pair: parts[0][pair] for pair in few} == few
        assert set(parts[0].values()) == {0, 1, 2}

    def test_the_definition_is_stored(self, world, tmp_path):
        from_csv(world, tmp_path / "shards", name="mine", seed=3)
        assert shards.definition(tmp_path / "shards") == sharding.definition(3)
        assert "seed 3" in sharding.definition(3)


def small(tmp_path, text, movies="5,A,x\n6,B,y\n"):
    folder = tmp_path / "csv"
    folder.mkdir()
    header = "userId,movieId,rating,timestamp\n"
    (folder / "ratings.csv").write_text(header + text)
    (folder / "movies.csv").write_text("movieId,title,genres\n" + movies)
    return folder


NO_FILTER = {"min_user_ratings": 1, "min_item_ratings": 1, "name": "mine"}


class TestRefused:
    @pytest.mark.parametrize(
        ("text", "wanted"),
        [
            (
                "1,5,3.5,1\n1,7,3.5,2\n",
                "line 3, column movieId: 7 is not in movies.csv",
            ),
            ("1,5,3.5,1\n1,5,4.5,2\n", "line 3, column movieId: userId 1, movieId 5"),
            ("1,5,9.5,1\n", "line 2, column rating"),
            ("1,5,3.5\n", "line 2: expected 4 columns"),
        ],
    )
    def test_a_bad_row_is_named_and_nothing_is_left(self, tmp_path, text, wanted):
        folder = small(tmp_path, text)
        with pytest.raises(DataError) as caught:
            from_csv(folder, tmp_path / "shards", **NO_FILTER)
        assert wanted in str(caught.value)
        assert [path.name for path in tmp_path.iterdir()] == ["csv"]

    def test_a_movie_that_is_listed_twice(self, tmp_path):
        folder = small(tmp_path, "1,5,3.5,1\n", movies="5,A,x\n5,B,y\n")
        with pytest.raises(DataError, match=r"movies\.csv, line 3"):
            from_csv(folder, tmp_path / "shards", **NO_FILTER)

    def test_a_file_that_is_not_sorted_says_what_was_not_checked(self, tmp_path):
        folder = small(tmp_path, "2,5,3.5,1\n1,5,3.5,1\n")
        found = from_csv(folder, tmp_path / "shards", **NO_FILTER)
        assert "not sorted" in " ".join(found.notes)
        (tmp_path / "more").mkdir()
        folder = small(tmp_path / "more", "1,5,3.5,1\n1,6,3.5,1\n2,5,3.5,1\n")
        found = from_csv(folder, tmp_path / "sorted", **NO_FILTER)
        assert "not sorted" not in " ".join(found.notes)

    def test_filters_that_leave_nothing(self, world, tmp_path):
        for filters in ({"min_item_ratings": 10**6}, {"min_user_ratings": 10**6}):
            with pytest.raises(DataError, match="lower them"):
                from_csv(world, tmp_path / "shards", name="mine", **filters)
        assert not (tmp_path / "shards").exists()

    def test_a_folder_that_is_there_before_anything_is_read(self, tmp_path):
        (tmp_path / "shards").mkdir()
        with pytest.raises(DataError, match="is there already"):
            from_csv(tmp_path / "nowhere", tmp_path / "shards", name="mine")

    @pytest.mark.parametrize("name", ["ratings.csv", "movies.csv"])
    def test_a_missing_file(self, tmp_path, name):
        folder = small(tmp_path, "1,5,3.5,1\n")
        (folder / name).unlink()
        with pytest.raises(DataError, match=f"{name} is missing"):
            from_csv(folder, tmp_path / "shards", **NO_FILTER)


class TestMemory:
    def peak(self, tmp_path, users):
        path = tmp_path / f"{users}.csv"
        header = b"userId,movieId,rating,timestamp\n"
        one = "".join(f"@,{i + 1000},3.5,1500000000\n" for i in range(300)).encode()
        with path.open("wb") as file:
            file.write(header)
            for user in range(users):
                file.write(one.replace(b"@", b"%d" % (user % 150 + 10)))
        filters = {"min_user_ratings": 1, "min_item_ratings": 1}
        tracemalloc.start()
        before = pa.default_memory_pool().bytes_allocated()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(columnar, "BLOCK", 2**16)
            patch.setattr(columnar, "LARGE_PIECE", 1)  # for speed, and soon freed
            from_csv(path, tmp_path / f"{users}", name="much", **filters)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert pa.default_memory_pool().bytes_allocated() - before < 2**20
        return peak

    def test_it_does_not_grow_with_the_rows(self, tmp_path):
        few, many = self.peak(tmp_path, 150), self.peak(tmp_path, 600)
        assert many < 1.3 * few
        assert many < 21 * 600 * 300, "it is as much as the rows themselves"
