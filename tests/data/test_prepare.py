"""Preparation: the reference's counts and indices, cached safely, told truthfully.

Held here: the real data gives 610 users, 2,269 movies and 81,116 ratings; movies are
filtered first, then users, once; indices come in order of first appearance; the cache
gives the identical data set, knows its content and options, and a damaged one is made
anew; line ends change nothing, another content changes the fingerprint, and is refused
where another was wanted; an altered copy is refused, or named; only a missing release
is downloaded; folders that cannot be written are one sentence.
"""

import dataclasses
import re
import shutil
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ncf_jax import prepare
from ncf_jax.config import DataConfig
from ncf_jax.data import dat, download, reading
from ncf_jax.data import prepare as preparation
from ncf_jax.data.releases import RELEASES
from ncf_jax.errors import ConfigError, DataError
from ncf_jax.types import pack
from tests.conftest import TINY
from tests.data import older

NAME = "ml-latest-small"
RELEASE = RELEASES[NAME]
RATINGS = [
    # userId, movieId, rating, timestamp
    (9, 30, 4.0, 100),
    (9, 10, 3.5, 101),
    (5, 10, 5.0, 102),
    (5, 30, 0.5, 103),
    (7, 20, 2.0, 104),
    (7, 30, 3.0, 105),
]
MOVIES = [(10, "Heat", "Crime"), (20, "Cats, The", "Musical"), (30, "Up", "Drama|War")]
TAGS = [(9, 30, "balloon trip"), (5, 10, "heist"), (7, 20, "odd singing")]


def csv_of(columns, rows, end="\n"):
    def cell(value):
        return f'"{value}"' if "," in str(value) else str(value)

    return end.join([columns, *(",".join(map(cell, row)) for row in rows), ""])


def write(data_dir, ratings=RATINGS, movies=MOVIES, tags=TAGS, end="\n"):
    """A copy of the release's name whose content is made up."""
    folder = data_dir / NAME
    folder.mkdir(parents=True, exist_ok=True)
    tables = {
        "ratings.csv": ("userId,movieId,rating,timestamp", ratings),
        "movies.csv": ("movieId,title,genres", movies),
        "tags.csv": ("userId,movieId,tag,timestamp", [(*row, 7) for row in tags]),
    }
    for name, (columns, rows) in tables.items():
        (folder / name).write_bytes(csv_of(columns, rows, end).encode())
    return folder


def config_of(data_dir, **options):
    """Options under which a made-up copy is prepared whole, without a cache."""
    defaults = dict(
        dataset=NAME,
        data_dir=str(data_dir),
        cache_dir="",
        allow_other_copy=True,
        min_item_ratings=1,
        min_user_ratings=1,
    )
    return DataConfig(**defaults | options)


def prepared(data_dir, end="\n", tables=None, **options):
    write(data_dir, end=end, **(tables or {}))
    return prepare(config_of(data_dir, **options))


def refused(config):
    with pytest.raises(DataError) as caught:
        prepare(config)
    message = str(caught.value)
    assert message.isprintable(), repr(message)
    return message


def assert_identical(a, b):
    (arrays_a, texts_a), (arrays_b, texts_b) = pack(a), pack(b)
    assert texts_a == texts_b
    assert arrays_a.keys() == arrays_b.keys()
    for name in arrays_a:
        np.testing.assert_array_equal(arrays_a[name], arrays_b[name], err_msg=name)
        assert arrays_a[name].dtype == arrays_b[name].dtype, name


# --- the real data --------------------------------------------------------------------


@pytest.fixture
def real(real_data_dir):
    config = DataConfig(dataset=NAME, data_dir=str(real_data_dir), cache_dir="")
    return prepare(config)


def reference_table(folder):
    """Steps 1 to 3 of the reference in plain pandas."""
    ratings = pd.read_csv(folder / "ratings.csv")
    counts = ratings["movieId"].value_counts()
    ratings = ratings[ratings["movieId"].isin(counts[counts >= 10].index)]
    counts = ratings["userId"].value_counts()
    ratings = ratings[ratings["userId"].isin(counts[counts >= 3].index)]
    for key, index in (("userId", "userIndex"), ("movieId", "movieIndex")):
        position = {one: n for n, one in enumerate(ratings[key].unique())}
        ratings = ratings.assign(**{index: ratings[key].map(position)})
    return ratings


def test_the_real_data_has_the_references_counts(real):
    assert (real.num_users, real.num_items, len(real.user)) == (610, 2_269, 81_116)
    assert np.bincount(real.user).min() == 7
    assert real.label == real.name == NAME
    assert not real.synthetic
    assert real.floor_rmse is None
    assert "100,836 ratings" in real.notes[0]


def test_the_real_rows_are_those_of_plain_pandas(real, real_data_dir):
    wanted = reference_table(real_data_dir / NAME)
    np.testing.assert_array_equal(real.user, wanted["userIndex"])
    np.testing.assert_array_equal(real.item, wanted["movieIndex"])
    np.testing.assert_array_equal(real.rating, wanted["rating"].astype(np.float32))
    np.testing.assert_array_equal(real.time, wanted["timestamp"])
    np.testing.assert_array_equal(real.user_ids[real.user], wanted["userId"])
    np.testing.assert_array_equal(real.item_ids[real.item], wanted["movieId"])


def test_the_real_titles_belong_to_their_movies(real, real_data_dir):
    movies = pd.read_csv(real_data_dir / NAME / "movies.csv", index_col="movieId")
    assert list(real.titles) == movies.loc[real.item_ids, "title"].tolist()
    assert list(real.genres) == movies.loc[real.item_ids, "genres"].tolist()


@pytest.mark.parametrize("end", [b"\n", b"\r\n"], ids=["lf", "crlf"])
def test_the_real_data_is_itself_with_either_line_end(
    real, real_data_dir, tmp_path, end
):
    (tmp_path / NAME).mkdir()
    for name in RELEASE.members:
        content = (real_data_dir / NAME / name).read_bytes().replace(b"\r\n", b"\n")
        (tmp_path / NAME / name).write_bytes(content.replace(b"\n", end))
    config = DataConfig(dataset=NAME, data_dir=str(tmp_path), cache_dir="")
    assert_identical(prepare(config), real)


def test_an_altered_real_copy_is_refused_unless_asked_for(real_data_dir, tmp_path):
    shutil.copytree(real_data_dir / NAME, tmp_path / NAME)
    path = tmp_path / NAME / "ratings.csv"
    path.chmod(0o644)
    path.write_bytes(path.read_bytes().replace(b"1,1,4.0,", b"1,1,4.5,", 1))
    config = DataConfig(dataset=NAME, data_dir=str(tmp_path), cache_dir="")
    message = refused(config)
    assert "ratings.csv" in message
    assert "movies.csv" not in message
    assert RELEASE.date in message
    assert "--allow_other_copy" in message
    dataset = prepare(dataclasses.replace(config, allow_other_copy=True))
    assert dataset.label != NAME
    assert "ratings.csv" in dataset.label
    assert dataset.name == NAME


# --- indices and filters --------------------------------------------------------------


def test_users_and_items_are_numbered_by_first_appearance(tmp_path):
    dataset = prepared(tmp_path)
    assert dataset.user_ids.tolist() == [9, 5, 7]
    assert dataset.item_ids.tolist() == [30, 10, 20]
    assert dataset.user.tolist() == [0, 0, 1, 1, 2, 2]
    assert dataset.item.tolist() == [0, 1, 1, 0, 2, 0]
    assert dataset.rating.tolist() == [row[2] for row in RATINGS]
    assert dataset.time.tolist() == [row[3] for row in RATINGS]
    assert dataset.titles == ("Up", "Heat", "Cats, The")
    assert dataset.genres == ("Drama|War", "Crime", "Musical")
    assert dataset.genre_names == ("Crime", "Drama", "Musical", "War")


def test_arrays_have_the_documented_types_and_shapes(tmp_path):
    dataset = prepared(tmp_path)
    assert [dataset.user.dtype, dataset.item.dtype] == [np.int32, np.int32]
    assert dataset.rating.dtype == np.float32
    assert {dataset.time.dtype, dataset.user_ids.dtype, dataset.item_ids.dtype} == {
        np.dtype(np.int64)
    }
    assert dataset.features.genres.shape == (3, 4)
    assert dataset.features.tags.shape == (3, 32)


def test_movies_are_filtered_before_users_and_each_once(tmp_path):
    # Movie 30 has two ratings and goes; that leaves user 3 with one, who goes as well;
    # that leaves movie 20 with two ratings, below the limit, and yet it stays.
    pairs = [
        *((1, 10), (2, 10), (3, 10), (4, 10)),
        *((1, 20), (2, 20), (3, 30), (4, 30), (5, 20)),
    ]
    ratings = [(user, movie, 3.0, 1) for user, movie in pairs]
    dataset = prepared(
        tmp_path, tables={"ratings": ratings}, min_item_ratings=3, min_user_ratings=2
    )
    kept = list(
        zip(
            dataset.user_ids[dataset.user].tolist(),
            dataset.item_ids[dataset.item].tolist(),
            strict=True,
        )
    )
    assert kept == [(1, 10), (2, 10), (1, 20), (2, 20)]
    # Users first would have kept user 3 and 4, and dropped user 5 before movie 20
    # was counted; repeating would have dropped everything.


def filtered_by_hand(ratings, min_item, min_user):
    per_item = Counter(movie for _, movie, *_ in ratings)
    ratings = [row for row in ratings if per_item[row[1]] >= min_item]
    per_user = Counter(user for user, *_ in ratings)
    return [row for row in ratings if per_user[row[0]] >= min_user]


pairs = st.lists(
    st.tuples(st.integers(1, 5), st.sampled_from([10, 20, 30])), unique=True, min_size=1
)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("data")


@given(pairs=pairs, min_item=st.integers(1, 4), min_user=st.integers(1, 3))
@settings(max_examples=50, deadline=None)
def test_filters_and_indices_agree_with_a_loop(data_dir, pairs, min_item, min_user):
    ratings = [(*pair, 0.5 + n % 10 / 2, n) for n, pair in enumerate(pairs)]
    kept = filtered_by_hand(ratings, min_item, min_user)
    write(data_dir, ratings=ratings)
    config = config_of(data_dir, min_item_ratings=min_item, min_user_ratings=min_user)
    if not kept:
        message = refused(config)
        assert f"--min_item_ratings={min_item}" in message
        assert f"--min_user_ratings={min_user}" in message
        return
    dataset = prepare(config)
    rows = zip(
        dataset.user_ids[dataset.user].tolist(),
        dataset.item_ids[dataset.item].tolist(),
        dataset.rating.tolist(),
        dataset.time.tolist(),
        strict=True,
    )
    assert list(rows) == kept
    assert dataset.user_ids.tolist() == list(dict.fromkeys(row[0] for row in kept))
    assert dataset.item_ids.tolist() == list(dict.fromkeys(row[1] for row in kept))
    titles = {movie: title for movie, title, _ in MOVIES}
    assert list(dataset.titles) == [titles[one] for one in dataset.item_ids.tolist()]


def test_the_notes_count_what_was_read_and_left_out(tmp_path):
    tags = [*TAGS, (9, 10, ""), (9, 20, " ")]
    dataset = prepared(tmp_path, tables={"tags": tags})
    assert dataset.notes == (
        "read 6 ratings of 3 movies by 3 users",
        "tags.csv: left out 2 empty tags",
    )


# --- fingerprints ---------------------------------------------------------------------


def changed(rows, at, column, value):
    rows = [list(row) for row in rows]
    rows[at][column] = value
    return rows


CHANGES = {
    "a rating": {"ratings": changed(RATINGS, 1, 2, 3.0)},
    "a time": {"ratings": changed(RATINGS, 1, 3, 999)},
    "a user's id": {"ratings": changed(changed(RATINGS, 4, 0, 70), 5, 0, 70)},
    "a row less": {"ratings": RATINGS[:-1]},
    "the rows' order": {"ratings": RATINGS[::-1]},
    "a title": {"movies": changed(MOVIES, 0, 1, "Heat 2")},
    "a genre": {"movies": changed(MOVIES, 0, 2, "Drama")},
    "a tag": {"tags": changed(TAGS, 0, 2, "balloon ride")},
    "a tag's movie": {"tags": changed(TAGS, 0, 1, 10)},
}


@pytest.mark.parametrize("what", CHANGES)
def test_the_fingerprint_changes_with(tmp_path, what):
    base = prepared(tmp_path / "base").fingerprint
    other = prepared(tmp_path / "other", tables=CHANGES[what]).fingerprint
    assert other != base
    assert re.fullmatch(r"[0-9a-f]{16}", other)


def test_the_fingerprint_changes_with_the_filters(tmp_path):
    assert (
        prepared(tmp_path).fingerprint
        != prepared(tmp_path, min_item_ratings=2).fingerprint
    )


SHARED = [(9, 30, "balloon trip"), (5, 10, "balloon heist"), (7, 20, "odd singing")]


@pytest.mark.parametrize(
    "change",
    [
        {"tags": changed(SHARED, 2, 2, "balloon song")},
        {"movies": changed(MOVIES, 1, 2, "Animation|Fantasy")},
    ],
    ids=["tags of a dropped movie", "genres of a dropped movie"],
)
def test_what_changes_the_features_changes_the_fingerprint(tmp_path, change):
    # Nobody rated movie 20, but its words and genres shape the others' features.
    rated = [row for row in RATINGS if row[1] != 20]
    base = {"ratings": rated, "tags": SHARED}
    a = prepared(tmp_path / "a", tables=base)
    b = prepared(tmp_path / "b", tables=base | change)
    same_genres = np.array_equal(a.features.genres, b.features.genres)
    same_tags = np.allclose(
        a.features.tags @ a.features.tags.T, b.features.tags @ b.features.tags.T
    )
    assert not (same_genres and same_tags), "this change was to change the features"
    assert a.fingerprint != b.fingerprint, "other features under the same fingerprint"


@pytest.mark.parametrize(
    "movies",
    [MOVIES, changed(MOVIES, 0, 1, '"Two\nLines, one title"')],
    ids=["plain", "a line break in a title"],
)
def test_line_ends_change_nothing(tmp_path, movies):
    def content(folder, end):
        write(folder, movies=MOVIES, end=end)
        rows = [",".join(map(str, row)) for row in movies]
        rows[1] = '20,"Cats, The",Musical'
        text = "\n".join(["movieId,title,genres", *rows, ""]).replace("\n", end)
        (folder / NAME / "movies.csv").write_bytes(text.encode())
        return prepare(config_of(folder))

    lf, crlf = content(tmp_path / "lf", "\n"), content(tmp_path / "crlf", "\r\n")
    assert_identical(lf, crlf)


@pytest.mark.parametrize(
    "change",
    [
        {"movies": [*MOVIES[::-1]]},
        {"tags": [(1, *row[1:]) for row in TAGS]},
    ],
    ids=["the order of the movies file", "who wrote a tag"],
)
def test_the_fingerprint_is_blind_to(tmp_path, change):
    base = prepared(tmp_path / "base").fingerprint
    assert prepared(tmp_path / "other", tables=change).fingerprint == base


@pytest.mark.parametrize("cached", [False, True], ids=["read", "from the cache"])
def test_data_of_another_fingerprint_than_wanted_are_refused(tmp_path, cached):
    cache = str(tmp_path / "cache") if cached else ""
    found = prepared(tmp_path, cache_dir=cache).fingerprint
    wanted = "0123456789abcdef"
    config = config_of(tmp_path, cache_dir=cache, data_fingerprint=wanted)
    message = refused(config)
    assert f"has fingerprint {found}" in message
    assert f"--data_fingerprint={wanted}" in message
    assert "or pass --data_fingerprint= to take any" in message
    # The controls: the right one is taken, and none wants none.
    for right in (found, ""):
        config = dataclasses.replace(config, data_fingerprint=right)
        assert prepare(config).fingerprint == found


def test_a_changed_rating_is_refused_by_the_fingerprint_wanted(tmp_path):
    wanted = prepared(tmp_path).fingerprint
    other = prepared(tmp_path, tables=CHANGES["a rating"]).fingerprint
    message = refused(config_of(tmp_path, data_fingerprint=wanted))
    assert wanted in message
    assert other in message


def test_the_fingerprint_wanted_of_a_synthetic_world_is_checked(tiny_dataset):
    tiny = DataConfig(**TINY, data_fingerprint=tiny_dataset.fingerprint)
    assert prepare(tiny).fingerprint == tiny_dataset.fingerprint
    message = refused(dataclasses.replace(tiny, synthetic_seed=1))
    assert f"--data_fingerprint={tiny_dataset.fingerprint}" in message


def test_wanting_a_fingerprint_changes_neither_the_run_nor_its_cache(tmp_path):
    cache = tmp_path / "cache"
    found = prepared(tmp_path, cache_dir=str(cache)).fingerprint
    one = config_of(tmp_path, cache_dir=str(cache))
    other = dataclasses.replace(one, data_fingerprint=found, split_fingerprint="f")
    prepare(other)
    assert len(list(cache.iterdir())) == 1
    assert one.digest() == other.digest()


# --- the cache ------------------------------------------------------------------------


@pytest.fixture
def no_reading(monkeypatch):
    """Reading the files again is a failure from the call of this on."""

    def fail(folder, tell):
        raise AssertionError("the files were read although the cache has them")

    return lambda: monkeypatch.setattr(reading, "read", fail)


def test_a_cached_data_set_is_the_identical_one(tmp_path, no_reading):
    cache = tmp_path / "cache"
    fresh = prepared(tmp_path, cache_dir="")
    first = prepare(config_of(tmp_path, cache_dir=str(cache)))
    no_reading()
    second = prepare(config_of(tmp_path, cache_dir=str(cache)))
    assert_identical(first, fresh)
    assert_identical(second, fresh)
    (file,) = cache.iterdir()
    assert re.fullmatch(NAME + r"-[0-9a-f]{16}\.npz", file.name)


def test_without_a_cache_the_files_are_read_each_time(tmp_path, no_reading):
    # The control of the test above: `no_reading` does bite.
    prepared(tmp_path)
    no_reading()
    with pytest.raises(AssertionError, match="were read"):
        prepare(config_of(tmp_path))


def test_a_cached_synthetic_world_is_the_identical_one(tmp_path, no_reading):
    sizes = dict(synthetic_users=30, synthetic_items=60, synthetic_ratings_per_user=25)
    fresh = prepare(DataConfig(**sizes, cache_dir=""))
    first = prepare(DataConfig(**sizes, cache_dir=str(tmp_path)))
    no_reading()
    second = prepare(DataConfig(**sizes, cache_dir=str(tmp_path)))
    assert_identical(first, fresh)
    assert_identical(second, fresh)
    assert second.floor_rmse == fresh.floor_rmse > 0


def test_the_cache_holds_no_pickle(tmp_path):
    prepared(tmp_path, cache_dir=str(tmp_path / "cache"))
    (file,) = (tmp_path / "cache").iterdir()
    with np.load(file, allow_pickle=False) as stored:
        for name in stored.files:
            assert stored[name].dtype.kind in "iufb", name


@pytest.mark.parametrize("what", CHANGES)
def test_another_content_is_never_answered_from_the_cache(tmp_path, what):
    cache = str(tmp_path / "cache")
    prepared(tmp_path, cache_dir=cache)
    fresh = prepared(tmp_path / "fresh", tables=CHANGES[what])
    cached = prepared(tmp_path, tables=CHANGES[what], cache_dir=cache)
    assert_identical(cached, fresh)


@pytest.mark.parametrize("option", [{"min_item_ratings": 2}, {"min_user_ratings": 2}])
def test_other_filters_are_never_answered_from_the_cache(tmp_path, option):
    cache = tmp_path / "cache"
    tables = {"ratings": [*RATINGS, (1, 30, 4.0, 1)]}
    prepared(tmp_path, tables=tables, cache_dir=str(cache))
    fresh = prepared(tmp_path, tables=tables, **option)
    cached = prepared(tmp_path, tables=tables, cache_dir=str(cache), **option)
    assert_identical(cached, fresh)
    assert len(list(cache.iterdir())) == 2


@pytest.mark.parametrize("option", [{"split_seed": 1}, {}])
def test_the_cache_is_shared_where_nothing_differs(tmp_path, option, no_reading):
    cache = str(tmp_path / "cache")
    first = prepared(tmp_path / "a", cache_dir=cache)
    write(tmp_path / "b", end="\r\n")  # another place, other line ends
    no_reading()
    second = prepare(config_of(tmp_path / "b", cache_dir=cache, **option))
    assert_identical(first, second)


@pytest.mark.parametrize("below", ["", "deeper"])
@pytest.mark.parametrize("dataset", [NAME, "synthetic"])
def test_a_cache_folder_that_cannot_be_made_is_one_sentence(tmp_path, below, dataset):
    write(tmp_path)
    (tmp_path / "file").write_text("in the way")
    cache = str(tmp_path / "file" / below)
    config = (
        config_of(tmp_path, cache_dir=cache)
        if dataset == NAME
        else DataConfig(cache_dir=cache)
    )
    message = refused(config)
    assert "could not be written" in message
    assert "--cache_dir" in message
    assert (tmp_path / "file").read_text() == "in the way"


# --- which copy, and from where -------------------------------------------------------


def test_an_altered_copy_is_refused_and_its_files_named(tmp_path):
    write(tmp_path)
    message = refused(config_of(tmp_path, allow_other_copy=False))
    assert str(tmp_path / NAME) in message
    for name in RELEASE.members:
        assert name in message
    assert "--allow_other_copy" in message


def test_an_altered_copy_is_refused_from_the_cache_too(tmp_path):
    cache = str(tmp_path / "cache")
    allowed = prepared(tmp_path, cache_dir=cache)
    assert "another copy" in allowed.label
    message = refused(config_of(tmp_path, cache_dir=cache, allow_other_copy=False))
    assert "--allow_other_copy" in message
    again = prepare(config_of(tmp_path, cache_dir=cache))
    assert again.label == allowed.label


def test_a_malformed_copy_is_named_by_its_line_and_not_by_its_hash(tmp_path):
    write(tmp_path, ratings=changed(RATINGS, 2, 2, 3.3))
    message = refused(config_of(tmp_path, allow_other_copy=False))
    assert "ratings.csv, line 4, column rating" in message


@pytest.fixture
def fetches(monkeypatch, tmp_path):
    """What was to be downloaded; the download itself gives a made-up copy."""
    asked = []

    def fetch(release, data_dir):
        asked.append((release, data_dir))
        return write(data_dir)

    monkeypatch.setattr(download, "fetch", fetch)
    return asked


@pytest.mark.parametrize("before", ["no folder", "an empty folder", "a stray file"])
def test_a_missing_release_is_downloaded_once(tmp_path, fetches, before):
    if before != "no folder":
        (tmp_path / NAME).mkdir()
    if before == "a stray file":
        (tmp_path / NAME / "README.txt").write_text("nothing to read here")
    for _ in range(2):
        assert prepare(config_of(tmp_path)).num_users == 3
    assert fetches == [(RELEASE, tmp_path)]


def test_a_release_that_is_there_is_not_downloaded(tmp_path, fetches):
    prepared(tmp_path)
    assert fetches == []


def test_the_synthetic_world_needs_no_download(fetches):
    prepare(DataConfig(cache_dir=""))
    assert fetches == []


@pytest.mark.parametrize("name", RELEASE.members)
def test_a_missing_member_is_named_and_nothing_is_downloaded(tmp_path, fetches, name):
    folder = write(tmp_path)
    (folder / name).unlink()
    message = refused(config_of(tmp_path))
    assert f"{folder} lacks {name}." in message
    assert fetches == []


def test_all_missing_members_are_named(tmp_path, fetches):
    folder = write(tmp_path)
    (folder / "movies.csv").unlink()
    (folder / "tags.csv").unlink()
    assert "lacks movies.csv, tags.csv." in refused(config_of(tmp_path))


def test_a_failed_download_is_told_as_it_is(tmp_path, monkeypatch):
    def fetch(release, data_dir):
        raise DataError("the network's own sentence")

    monkeypatch.setattr(download, "fetch", fetch)
    assert refused(config_of(tmp_path)) == "the network's own sentence"


def test_a_downloaded_copy_is_verified_as_any_other(tmp_path, fetches):
    message = refused(config_of(tmp_path, allow_other_copy=False))
    assert "has another content" in message


def test_the_release_folder_itself_is_told_to_be_one_too_deep(tmp_path, fetches):
    folder = write(tmp_path)
    message = refused(config_of(folder))
    assert f"--data_dir={folder} holds ratings.csv itself" in message
    assert not fetches


# --- progress -------------------------------------------------------------------------


@pytest.mark.parametrize("dataset", [NAME, "synthetic"])
def test_a_large_preparation_is_told_and_a_small_one_is_not(
    tmp_path, monkeypatch, dataset, capsys
):
    write(tmp_path)
    cache = str(tmp_path / "cache")
    config = (
        config_of(tmp_path, cache_dir=cache)
        if dataset == NAME
        else DataConfig(cache_dir=cache)
    )
    told = []
    small = prepare(config, told.append)
    assert told == []
    shutil.rmtree(cache)
    monkeypatch.setattr(preparation, "LARGE", 0)
    assert_identical(prepare(config, told.append), small)
    for stage in ("hash", "filtered", "features", "fingerprinted", "written"):
        assert any(stage in line for line in told), stage
    assert all(line.isprintable() for line in told)
    fresh, told = told, []
    prepare(config, told.append)
    assert len(told) < len(fresh), "from the cache there is less to do"
    assert capsys.readouterr() == ("", "")


def test_an_exact_synthetic_world_is_prepared_whole(tmp_path):
    config = DataConfig(
        synthetic_users=50,
        synthetic_items=80,
        synthetic_ratings=1_234,
        synthetic_tags=99,
        min_item_ratings=1,
        cache_dir=str(tmp_path),
    )
    dataset = prepare(config)
    assert len(dataset.user) == 1_234
    assert dataset.num_users == 50
    assert dataset.features.tags.any()
    assert_identical(prepare(dataclasses.replace(config, cache_dir="")), dataset)


# --- every release --------------------------------------------------------------------

ARGUMENTS = dict(cache_dir="", min_item_ratings=1, min_user_ratings=1)
GENRES = {
    "ml-100k": ("(no genres listed)", "Action", "Crime", "Drama"),
    "ml-1m": ("Action", "Comedy", "Crime", "Drama"),
}


def small_copy(data_dir, name, **options):
    other = {"allow_other_copy": True} if name == NAME else {}
    return DataConfig(
        dataset=name, data_dir=str(data_dir), **ARGUMENTS | other | options
    )


@pytest.mark.parametrize("name", RELEASES)
def test_every_release_is_prepared_from_its_own_files(tmp_path, name):
    older.write(tmp_path / name, name)
    dataset = prepare(small_copy(tmp_path, name))
    assert dataset.name == name
    assert dataset.user_ids.tolist() == [1, 2, 7]
    assert dataset.item_ids.tolist() == [10, 30, 20]
    assert dataset.user.tolist() == [0, 0, 1, 1, 2]
    assert dataset.item.tolist() == [0, 1, 0, 2, 1]
    whole = name in ("ml-1m", "ml-100k")
    assert dataset.rating.tolist() == [5, 3 if whole else 3.5, 4, 1, 2]
    assert dataset.time.tolist() == older.TIMES
    last = "unknown" if name == "ml-100k" else "Untold (2001)"
    assert dataset.titles == ("Heat (1995)", last, "Misérables, Les (1995)")
    assert dataset.features.year.tolist()[::2] == [1995, 1995]
    assert dataset.genre_names == GENRES.get(name, GENRES["ml-1m"])
    assert dataset.features.genres.sum(axis=1).tolist() == [2, 1, 1]
    assert dataset.features.tags.shape == (3, 32)
    assert dataset.features.tags.any() == (not whole)


@pytest.mark.parametrize("name", RELEASES)
def test_a_small_copy_is_never_called_the_release_itself(tmp_path, name):
    older.write(tmp_path / name, name)
    label = prepare(small_copy(tmp_path, name)).label
    assert label != name
    assert label.startswith(f"{name} (")
    if name not in (NAME, "ml-latest"):
        assert f"5 ratings where {RELEASES[name].ratings:,} were published" in label


@pytest.mark.parametrize("name", RELEASES)
def test_the_notes_say_what_is_missing_and_what_was_not_verified(tmp_path, name):
    older.write(tmp_path / name, name)
    notes = prepare(small_copy(tmp_path, name)).notes
    assert (f"{name} has no tags: tag features are zeros" in notes) == (
        name in ("ml-1m", "ml-100k")
    )
    assert any("not compared with published hashes" in note for note in notes) == (
        name not in (NAME, "ml-latest")
    )
    assert any("changes over time" in note for note in notes) == (name == "ml-latest")


@pytest.mark.parametrize("name", ["ml-10m", "ml-100k"])
def test_a_cached_older_release_is_the_identical_one(tmp_path, name, monkeypatch):
    older.write(tmp_path / name, name)
    config = small_copy(tmp_path, name, cache_dir=str(tmp_path / "cache"))
    first = prepare(config)
    monkeypatch.setattr(dat, "read", lambda *_: pytest.fail("read again"))
    assert_identical(prepare(config), first)
    monkeypatch.undo()
    changed_file = "u_genre" if name == "ml-100k" else "tags_dat"
    content = older.FILES[name][changed_file.replace("_", ".")].decode()
    other = content.replace("Crime", "Heists").replace("heist", "robbery")
    older.write(tmp_path / name, name, **{changed_file: other})
    assert prepare(config).fingerprint != first.fingerprint


def test_ml_10m_may_lie_under_the_name_of_its_archives_folder(tmp_path, fetches):
    older.write(tmp_path / "ml-10M100K", "ml-10m")
    assert len(prepare(small_copy(tmp_path, "ml-10m")).user) == 5
    assert fetches == []


@pytest.mark.parametrize("name", ["ml-1m", "ml-100k", "ml-25m"])
def test_any_missing_release_is_downloaded(tmp_path, monkeypatch, name):
    asked = []

    def fetch(release, data_dir):
        asked.append(release.name)
        return older.write(release.folder(data_dir), release.name)

    monkeypatch.setattr(download, "fetch", fetch)
    for _ in range(2):
        assert len(prepare(small_copy(tmp_path, name)).user) == 5
    assert asked == [name]


def test_a_download_that_nothing_verifies_is_told(tmp_path, monkeypatch):
    def fetch(release, data_dir):
        return older.write(release.folder(data_dir), release.name)

    monkeypatch.setattr(download, "fetch", fetch)
    for name, said in (("ml-latest", True), ("ml-25m", False)):
        told = []
        prepare(small_copy(tmp_path, name), told.append)
        assert any("over https; no hash of it is published" in x for x in told) == said


@pytest.mark.parametrize(
    ("name", "there", "found"),
    [
        ("ml-1m", "ml-25m", "wanted ratings.dat, movies.dat; found ratings.csv, "),
        ("ml-100k", "ml-1m", "wanted u.data, u.item; found ratings.dat, movies.dat, "),
        ("ml-32m", "ml-100k", "wanted ratings.csv, movies.csv, tags.csv; found u.data"),
    ],
)
def test_the_files_of_another_release_are_told(tmp_path, fetches, name, there, found):
    folder = older.write(tmp_path / name, there)
    message = refused(small_copy(tmp_path, name))
    assert f"{folder} is not {name}: {found}" in message
    assert "as of " in message
    assert there in message
    assert "--dataset" in message
    assert fetches == []


def test_ml_10m_in_the_place_of_ml_1m_is_told_by_its_first_half_star(tmp_path):
    older.write(tmp_path / "ml-1m", "ml-10m")
    message = refused(small_copy(tmp_path, "ml-1m"))
    assert "ratings.dat, line 2, column rating: expected whole stars from 1 to 5" in (
        message
    )


@pytest.mark.parametrize("name", ["ml-1m", "ml-100k"])
def test_a_folder_one_too_deep_is_told_for_any_release(tmp_path, fetches, name):
    folder = older.write(tmp_path / name, name)
    message = refused(small_copy(folder, name))
    first = RELEASES[name].ratings_file
    assert f"--data_dir={folder} holds {first} itself; give the folder" in message
    assert fetches == []


@pytest.mark.parametrize("name", ["ml-1m", "ml-10m"])
def test_a_large_older_release_is_told_by_stages(tmp_path, monkeypatch, name):
    older.write(tmp_path / name, name)
    told = []
    prepare(small_copy(tmp_path, name), told.append)
    assert told == []
    monkeypatch.setattr(preparation, "LARGE", 0)
    prepare(small_copy(tmp_path, name), told.append)
    for stage in ("hash", "filtered", "features", "fingerprinted"):
        assert any(stage in line for line in told), stage


# --- paths ----------------------------------------------------------------------------


def test_a_folder_without_a_manifest_says_what_was_expected(tmp_path):
    message = refused(DataConfig(dataset=f"{tmp_path}/", cache_dir=""))
    assert "has no manifest.json. Expected a folder of shards" in message
    assert ".csv, .tsv or .parquet" in message


@pytest.mark.parametrize("name", ["ml-1m", "ml-25m"])
def test_the_folder_of_a_release_is_told_to_be_given_by_name(tmp_path, name):
    folder = older.write(tmp_path / name, name)
    message = refused(DataConfig(dataset=f"{folder}/", cache_dir=""))
    assert "Give a release by its name" in message
    assert f"as of ml-{'1m' if name == 'ml-1m' else 'latest-small'}" in message


def test_a_path_to_nothing_says_what_was_expected(tmp_path):
    message = refused(DataConfig(dataset=str(tmp_path / "no.such"), cache_dir=""))
    assert "no.such is not there. Expected a .csv, .tsv or .parquet file" in message


@pytest.mark.parametrize(
    "options", [{"columns": ("u", "i", "r")}, {"item_features": "items.csv"}]
)
def test_options_of_a_file_are_refused_with_a_folder(tmp_path, options):
    with pytest.raises(ConfigError) as caught:
        prepare(DataConfig(dataset=str(tmp_path) + "/", **options))
    (name,) = options
    assert str(caught.value).startswith(f"--{name} is of a file of ratings;")


def test_a_folder_of_shards_is_read_by_what_reads_shards(
    tmp_path, monkeypatch, tiny_dataset
):
    from ncf_jax.data import shards

    (tmp_path / "manifest.json").write_text("{}")
    part = (np.arange(len(tiny_dataset.user)) % 3).astype(np.int8)
    asked = []

    def dataset(folder, config, tell):
        asked.append((folder, config.dataset))
        return dataclasses.replace(tiny_dataset, part=part)

    monkeypatch.setattr(shards, "dataset", dataset)
    monkeypatch.setattr(shards, "definition", lambda folder: f"stored: {folder.name}")
    config = DataConfig(dataset=str(tmp_path), split="stored")
    found = prepare(config)
    assert asked == [(tmp_path, str(tmp_path))]
    parts = preparation.split(found, config)
    assert parts.definition == f"stored: {tmp_path.name}"
    assert parts.test.tolist() == np.flatnonzero(part == 2).tolist()
    wrong = dataclasses.replace(config, data_fingerprint="0" * 16)
    assert "--data_fingerprint=0000" in refused(wrong)


def test_shards_that_were_written_are_prepared_and_split_as_they_say(
    tmp_path, tiny_dataset, tiny_split
):
    from ncf_jax.data import shards

    shards.write(tmp_path / "shards", tiny_dataset, split=tiny_split)
    config = DataConfig(
        dataset=str(tmp_path / "shards"),
        cache_dir=str(tmp_path / "cache"),
        split="stored",
    )
    dataset = prepare(config)
    np.testing.assert_array_equal(dataset.rating, tiny_dataset.rating)
    np.testing.assert_array_equal(dataset.user, tiny_dataset.user)
    parts = preparation.split(dataset, config)
    for name in ("train", "valid", "test"):
        np.testing.assert_array_equal(getattr(parts, name), getattr(tiny_split, name))
    assert parts.definition == tiny_split.definition  # known by its first word
    seeded = dataclasses.replace(config, split="user_random")
    again = preparation.split(dataset, seeded)
    np.testing.assert_array_equal(again.test, tiny_split.test)
