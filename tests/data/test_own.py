"""Anybody's own ratings: read exactly from CSV, TSV and Parquet, or refused by place.

Held here: the three formats give the same tables; whole-number ids are kept and others
numbered, with a note; ratings need no steps; columns are named by option, times may be
missing and a note says so; items are described by a second file, and what it lacks is
zeros and a note; every malformed cell is named by file, line or row, and column.
"""

import builtins

import numpy as np
import pandas as pd
import pytest

from ncf_jax import prepare, split
from ncf_jax.config import DataConfig
from ncf_jax.data import own
from ncf_jax.errors import ConfigError, DataError

COLUMNS = ("user", "item", "rating", "time")
KINDS = ["csv", "tsv", "parquet"]
ROWS = [
    # user, item, rating, time
    (9, 30, 4.25, 100),
    (9, 10, 3.5, 101),
    (5, 10, 5.0, 102),
    (5, 30, 0.5, 103),
    (7, 20, 2.0, 104),
]
FEATURES = [
    # item, title, genres, tags
    (10, "Heat (1995)", "Crime|Drama", "heist|los angeles"),
    (20, "Cats, The", "Musical", ""),
    (30, "", "", "balloon| balloon |house|"),
    (40, "Never rated", "War", "war"),
]
DESCRIBED = ("item", "title", "genres", "tags")


def write(path, rows, columns=COLUMNS):
    """The rows as a file of the kind that its name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pd.DataFrame(rows, columns=list(columns))
    if path.suffix == ".parquet":
        table.to_parquet(path)
    else:
        table.to_csv(path, index=False, sep="\t" if path.suffix == ".tsv" else ",")
    return path


def config_of(path, **options):
    defaults = dict(cache_dir="", min_item_ratings=1, min_user_ratings=1)
    return DataConfig(dataset=str(path), **defaults | options)


def refused(path, *arguments):
    with pytest.raises((DataError, ConfigError)) as caught:
        own.read(path, *arguments)
    message = str(caught.value)
    assert message.isprintable(), repr(message)
    assert message.endswith(".")
    return message.removeprefix(str(path)).lstrip("/\\:, ")


# --- ratings --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_ratings_are_read_value_by_value(tmp_path, kind):
    tables = own.read(write(tmp_path / f"mine.{kind}", ROWS))
    assert tables.ratings.to_numpy().tolist() == [list(row) for row in ROWS]
    assert [str(kind) for kind in tables.ratings.dtypes] == [
        *("int64", "int64", "float64", "int64")
    ]
    assert tables.movies.to_numpy().tolist() == [
        [30, "30", "(no genres listed)"],
        [10, "10", "(no genres listed)"],
        [20, "20", "(no genres listed)"],
    ]
    assert tables.notes == (
        f"mine.{kind} has no titles: titles are ids",
        f"mine.{kind} has no genres: genre features are zeros",
        f"mine.{kind} has no tags: tag features are zeros",
    )


@pytest.mark.parametrize("kind", KINDS)
def test_ids_that_are_no_whole_numbers_are_numbered(tmp_path, kind):
    rows = [(f"u{u}", f"film {i}", r, t) for u, i, r, t in ROWS]
    tables = own.read(write(tmp_path / f"mine.{kind}", rows))
    assert tables.ratings["userId"].tolist() == [1, 1, 2, 2, 3]
    assert tables.ratings["movieId"].tolist() == [1, 2, 2, 1, 3]
    assert tables.movies["movieId"].tolist() == [1, 2, 3]
    assert tables.movies["title"].tolist() == ["film 30", "film 10", "film 20"]
    assert tables.notes[:2] == (
        f"mine.{kind}: ids of users are no whole numbers, so users are numbered from 1 "
        f"in order of first appearance",
        f"mine.{kind}: ids of items are no whole numbers, so items are numbered from 1 "
        f"in order of first appearance, and titles show their ids",
    )


@pytest.mark.parametrize("odd", ["007", "-3", "1.5", "x", str(2**53 + 1), "7 "])
def test_a_single_odd_id_numbers_its_whole_column_and_no_other(tmp_path, odd):
    rows = [*ROWS, (odd, 10, 3.0, 9)]
    tables = own.read(write(tmp_path / "mine.csv", rows))
    assert tables.ratings["userId"].tolist() == [1, 1, 2, 2, 3, 4]
    assert tables.ratings["movieId"].tolist() == [30, 10, 10, 30, 20, 10]


@pytest.mark.parametrize("kind", KINDS)
def test_columns_have_the_names_one_says_in_any_order(tmp_path, kind):
    names = ("wer", "was", "wie sehr", "wann")
    path = tmp_path / f"mine.{kind}"
    turned = [(*row[::-1], "more") for row in ROWS]
    write(path, turned, (*names[::-1], "else"))
    ratings = own.read(path, names).ratings
    assert ratings.to_numpy().tolist() == [list(row) for row in ROWS]
    message = refused(path, ("who", *names[1:]))
    assert "column who is missing" in message
    assert "wie sehr" in message


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("asked", [COLUMNS, COLUMNS[:3]])
def test_without_times_all_are_zero_and_a_note_says_so(tmp_path, kind, asked):
    path = write(tmp_path / f"mine.{kind}", [r[:3] for r in ROWS], COLUMNS[:3])
    tables = own.read(path, asked)
    assert tables.ratings["timestamp"].tolist() == [0] * 5
    assert f"mine.{kind} has no times: all are 0" in tables.notes
    # But times that were asked for by a name of one's own are wanted.
    assert "column when is missing" in refused(path, (*COLUMNS[:3], "when"))


def test_a_file_as_movielens_writes_it_is_the_same_by_the_fast_path(
    tmp_path, monkeypatch
):
    path = write(tmp_path / "mine.csv", [(u, i, 4.5, t) for u, i, _, t in ROWS])
    fast = own.read(path)
    monkeypatch.setattr(own.columnar, "read", lambda *_: None)
    slow = own.read(path)
    for one, other in zip(fast[:3], slow[:3], strict=True):
        pd.testing.assert_frame_equal(one, other)
    assert fast.notes == slow.notes


@pytest.mark.parametrize("kind", KINDS)
def test_whole_seconds_may_be_written_with_a_point(tmp_path, kind):
    rows = [(u, i, r, float(t)) for u, i, r, t in ROWS]
    ratings = own.read(write(tmp_path / f"mine.{kind}", rows)).ratings
    assert ratings["timestamp"].tolist() == [row[3] for row in ROWS]
    assert ratings["timestamp"].dtype == np.int64


def test_parquet_of_other_types_is_understood(tmp_path):
    table = pd.DataFrame(ROWS, columns=COLUMNS)
    table["user"] = table["user"].astype(str).astype("category")
    table["item"] = table["item"].astype("int16")
    table["rating"] = table["rating"].astype("float32")
    table["time"] = pd.to_datetime(table["time"], unit="s", utc=True)
    table.to_parquet(tmp_path / "mine.parquet")
    ratings = own.read(tmp_path / "mine.parquet").ratings
    assert ratings.to_numpy().tolist() == [list(row) for row in ROWS]


# --- what is refused ------------------------------------------------------------------

BAD = [
    (2, 5.5, "column rating: expected a number from 0.5 to 5, to which ratings must"),
    (2, 0.0, "column rating: expected a number from 0.5 to 5"),
    (2, 80, "column rating: expected a number from 0.5 to 5"),
    (2, float("nan"), "column rating: expected a number from 0.5 to 5"),
    (2, float("inf"), "column rating: expected a number from 0.5 to 5"),
    (2, -1.0, "column rating: expected a number from 0.5 to 5"),
    (3, 1.5, "column time: expected whole seconds since 1970"),
    (3, -7, "column time: expected whole seconds since 1970"),
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("column", "value", "said"), BAD)
def test_a_bad_cell_is_named_with_its_place(tmp_path, kind, column, value, said):
    rows = [list(row) for row in ROWS]
    rows[2][column] = value
    message = refused(write(tmp_path / f"mine.{kind}", rows))
    assert message.startswith("row 3, " if kind == "parquet" else "line 4, ")
    assert said in message
    assert "; found '" in message


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("numbered", [False, True])
def test_a_repeated_pair_is_named_with_its_place(tmp_path, kind, numbered):
    rows = [*ROWS, (5, 30, 1.0, 9)]
    if numbered:
        rows = [(f"u{u}", *rest) for u, *rest in rows]
    message = refused(write(tmp_path / f"mine.{kind}", rows))
    place = "row 6" if kind == "parquet" else "line 7"
    user = "u5" if numbered else "5"
    assert message == (
        f"{place}: user {user}, item 30 was rated in an earlier row, too. Keep one of "
        f"them."
    )


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("5,30,1.0", "line 3: expected 4 columns"),
        ("5,30,1.0,2,3", "line 3: expected 4 columns"),
        (",30,1.0,2", "line 3, column user: expected text that is not empty"),
        ("5, ,1.0,2", "line 3, column item: expected text that is not empty"),
        ("5,30,good,2", "line 3, column rating: expected a number"),
        ("5,30,1e400,2", "line 3, column rating: expected a number"),
        ("5,30,.,2", "line 3, column rating: expected a number"),
        ("5,30,4.5,soon", "line 3, column time: expected whole seconds"),
        ('5,"30,4.5,2', "line 3: not CSV"),
        ("5,30\0,4.5,2", "line 3, column item: expected"),
    ],
)
@pytest.mark.parametrize("delimiter", [",", "\t"])
def test_a_bad_line_is_named(tmp_path, line, said, delimiter):
    path = tmp_path / ("mine.tsv" if delimiter == "\t" else "mine.csv")
    text = f"user,item,rating,time\n9,10,4.25,1\n{line}\n9,20,3.5,2\n"
    path.write_text(text.replace(",", delimiter))
    assert refused(path).startswith(said)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"user,item,rating,time\n", "has a header but no rows"),
        (b"user;item;rating;time\n1;2;3;4\n", "line 1: column user is missing"),
        (b"user,item,stars,time\n1,2,3,4\n", "line 1: column rating is missing"),
        (b"user,item,rating,time\n1,\xff,3,4\n", "line 2: not UTF-8 text"),
        (b"PAR1\x00\xff\xfe", "is a Parquet file, not CSV"),
    ],
)
def test_another_kind_of_csv_is_named(tmp_path, content, said):
    path = tmp_path / "mine.csv"
    path.write_bytes(content)
    assert said in refused(path)


@pytest.mark.parametrize("name", ["mine.txt", "mine", "mine.csv.gz", "mine.xlsx"])
def test_an_unknown_kind_of_file_is_refused(tmp_path, name):
    path = tmp_path / name
    path.write_text("user,item,rating\n1,2,3\n")
    with pytest.raises(ConfigError, match=r"ends in \.csv, \.tsv or \.parquet; found"):
        prepare(config_of(path))


# --- features of items ----------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_items_are_described_by_a_second_file(tmp_path, kind):
    ratings = write(tmp_path / "mine.csv", ROWS)
    items = write(tmp_path / f"items.{kind}", FEATURES, DESCRIBED)
    tables = own.read(ratings, COLUMNS, items)
    assert tables.movies.to_numpy().tolist() == [
        [30, "30", "(no genres listed)"],
        [10, "Heat (1995)", "Crime|Drama"],
        [20, "Cats, The", "Musical"],
    ]
    assert tables.tags[["movieId", "tag"]].to_numpy().tolist() == [
        [30, "balloon"],
        [30, "house"],
        [10, "heist"],
        [10, "los angeles"],
    ]
    assert tables.notes == (f"items.{kind}: left out 1 items that nobody rated",)


def test_items_may_have_the_name_of_the_ratings_column(tmp_path):
    ratings = write(tmp_path / "mine.csv", ROWS, ("u", "film", "r", "t"))
    items = write(tmp_path / "items.csv", FEATURES, ("film", *DESCRIBED[1:]))
    found = own.read(ratings, ("u", "film", "r", "t"), items).movies["title"].tolist()
    assert found == ["30", "Heat (1995)", "Cats, The"]


def test_what_the_second_file_lacks_is_told(tmp_path):
    ratings = write(tmp_path / "mine.csv", ROWS)
    items = write(tmp_path / "items.csv", [r[:2] for r in FEATURES[:1]], DESCRIBED[:2])
    tables = own.read(ratings, COLUMNS, items)
    assert tables.movies["title"].tolist() == ["30", "Heat (1995)", "20"]
    assert tables.notes == (
        "items.csv lacks 2 of 3 rated items: their titles are their ids and their "
        "features zeros",
        "items.csv has no genres: genre features are zeros",
        "items.csv has no tags: tag features are zeros",
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("rows", "columns", "said"),
    [
        ([(10, "Heat"), (10, "Up")], ("item", "title"), "column item: 10 stands in an"),
        ([(10, "Heat")], ("film", "title"), "column item is missing"),
        ([(10, "Heat")], ("item", "name"), "none of the columns title, genres, tags"),
        ([(77, "Heat")], ("item", "title"), "none of its 1 items, such as '77', is"),
    ],
)
def test_a_bad_second_file_is_named(tmp_path, kind, rows, columns, said):
    ratings = write(tmp_path / "mine.csv", ROWS)
    items = write(tmp_path / f"items.{kind}", rows, columns)
    with pytest.raises(DataError) as caught:
        own.read(ratings, COLUMNS, items)
    assert str(caught.value).startswith(str(items))
    assert said in str(caught.value)


# --- as a data set --------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_is_prepared_as_any_release_is(tmp_path, kind):
    ratings = write(tmp_path / f"mine.{kind}", ROWS)
    items = write(tmp_path / "items.csv", FEATURES, DESCRIBED)
    dataset = prepare(config_of(ratings, item_features=str(items)))
    assert dataset.label == dataset.name == f"mine.{kind}"
    assert dataset.user_ids.tolist() == [9, 5, 7]
    assert dataset.item_ids.tolist() == [30, 10, 20]
    assert dataset.rating.tolist() == [row[2] for row in ROWS]
    assert dataset.time.tolist() == [row[3] for row in ROWS]
    assert dataset.genre_names == ("(no genres listed)", "Crime", "Drama", "Musical")
    assert dataset.features.genres.tolist()[1] == [0, 1, 1, 0]
    assert dataset.features.tags.shape == (3, 32)
    assert dataset.features.tags.any(axis=1).tolist() == [True, True, False]
    assert dataset.notes[0] == "read 5 ratings of 3 movies by 3 users"


def test_the_three_formats_are_the_same_data(tmp_path):
    found = {
        prepare(config_of(write(tmp_path / f"mine.{kind}", ROWS))).fingerprint
        for kind in KINDS
    }
    assert len(found) == 1


def test_without_features_all_of_them_are_zeros(tmp_path):
    dataset = prepare(config_of(write(tmp_path / "mine.csv", ROWS)))
    assert dataset.features.genres.shape == (3, 1)
    assert dataset.features.tags.shape == (3, 32)
    assert not dataset.features.genres.any()
    assert not dataset.features.tags.any()
    assert not dataset.features.year.any()


def test_a_file_named_synthetic_is_not_taken_for_the_synthetic_world(tmp_path):
    dataset = prepare(config_of(write(tmp_path / "synthetic.csv", ROWS)))
    assert not dataset.synthetic


def test_filters_and_splits_are_those_of_any_data(tmp_path):
    path = write(tmp_path / "mine.csv", ROWS)
    dataset = prepare(config_of(path, min_item_ratings=2, min_user_ratings=2))
    assert dataset.user_ids.tolist() == [9, 5]
    config = config_of(path, split="global_time")
    parts = split(prepare(config), config)
    assert parts.test.tolist() == [4]


@pytest.mark.parametrize("how", ["global_time", "leave_last_out"])
def test_a_split_by_time_without_times_is_refused(tmp_path, how):
    path = write(tmp_path / "mine.csv", [r[:3] for r in ROWS], COLUMNS[:3])
    with pytest.raises(ConfigError, match=f"--split={how} wants times"):
        config_of(path, columns=COLUMNS[:3], split=how)
    config = config_of(path, split=how)
    with pytest.raises(ConfigError, match=r"wants times, and mine\.csv has none"):
        split(prepare(config), config)


class TestCache:
    @pytest.fixture
    def ask(self, tmp_path, monkeypatch):
        """Prepares; says how often a file was read so far."""
        read, count = own.read, []
        monkeypatch.setattr(own, "read", lambda *a: count.append(a) or read(*a))
        cache = str(tmp_path / "cache")

        def ask(path, **options):
            dataset = prepare(config_of(path, cache_dir=cache, **options))
            return len(count), dataset

        return ask

    def test_the_same_files_are_read_once(self, ask, tmp_path):
        path = write(tmp_path / "mine.csv", ROWS)
        items = str(write(tmp_path / "items.csv", FEATURES, DESCRIBED))
        first = ask(path, item_features=items)
        second = ask(path, item_features=items)
        assert (first[0], second[0]) == (1, 1)
        assert first[1].titles == second[1].titles
        assert first[1].label == second[1].label == "mine.csv"

    def test_another_content_is_read_anew(self, ask, tmp_path):
        path = write(tmp_path / "mine.csv", ROWS)
        ask(path)
        write(path, [*ROWS[:-1], (7, 20, 2.5, 104)])
        number, dataset = ask(path)
        assert number == 2
        assert dataset.rating.tolist()[-1] == 2.5

    def test_other_features_are_read_anew(self, ask, tmp_path):
        path = write(tmp_path / "mine.csv", ROWS)
        items = write(tmp_path / "items.csv", FEATURES, DESCRIBED)
        assert ask(path)[0] == 1
        assert ask(path, item_features=str(items))[0] == 2
        write(items, [(10, "Heat 2", "", "")], DESCRIBED)
        number, dataset = ask(path, item_features=str(items))
        assert (number, dataset.titles[1]) == (3, "Heat 2")

    def test_other_columns_and_names_are_read_anew(self, ask, tmp_path):
        rows = [(*row, 3.0) for row in ROWS]
        path = write(tmp_path / "mine.csv", rows, (*COLUMNS, "other"))
        ask(path)
        number, dataset = ask(path, columns=("user", "item", "other", "time"))
        assert number == 2
        assert dataset.rating.tolist() == [3.0] * 5
        other = write(tmp_path / "deeper" / "mine.tsv", ROWS)
        assert ask(other)[1].label == "mine.tsv"


class TestFiles:
    def test_a_file_that_is_not_there_is_named(self, tmp_path):
        with pytest.raises(DataError, match=r"nothing\.csv is not there"):
            prepare(config_of(tmp_path / "nothing.csv"))

    def test_features_that_are_not_there_are_named(self, tmp_path):
        path = write(tmp_path / "mine.csv", ROWS)
        with pytest.raises(DataError, match=r"--item_features=.*no\.csv is not there"):
            prepare(config_of(path, item_features=str(tmp_path / "no.csv")))

    def test_the_hash_is_of_the_very_bytes(self, tmp_path):
        one, other = tmp_path / "a", tmp_path / "b"
        one.write_bytes(b"a\n")
        other.write_bytes(b"a\r\n")
        assert own.hash_of(one) != own.hash_of(other)
        assert len(own.hash_of(one)) == 64


def test_without_pyarrow_a_sentence_says_how_to_get_it(tmp_path, monkeypatch):
    path = write(tmp_path / "mine.parquet", ROWS)
    imported = builtins.__import__

    def without(name, *rest):
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return imported(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError, match=r"pip install -e '\.\[large\]'"):
        prepare(config_of(path))


def test_large_ids_and_many_rows_are_kept(tmp_path):
    rng = np.random.default_rng(0)
    pairs = rng.permutation(40_000)[:5_000]
    table = pd.DataFrame(
        {
            "user": pairs // 200 + 2**52,
            "item": pairs % 200 * 10**9,
            "rating": rng.integers(5, 50, 5_000) / 10 + 0.01,
            "time": pairs,
        }
    )
    table.to_csv(tmp_path / "mine.csv", index=False)
    ratings = own.read(tmp_path / "mine.csv").ratings
    assert ratings.to_numpy().tolist() == table.to_numpy().tolist()


@pytest.mark.parametrize("stars", ["4.5", "4.25"], ids=["plain", "not plain"])
def test_zeros_before_a_number_are_part_of_its_text(tmp_path, stars):
    # The fast way read 007 and 7 as one user, the strict way as two.
    (tmp_path / "mine.csv").write_text(
        f"user,item,rating,time\n007,30,{stars},100\n7,30,3.5,101\n5,0,0.5,0\n"
    )
    found = own.read(tmp_path / "mine.csv")
    assert found.ratings["userId"].tolist() == [1, 2, 3]
    assert found.ratings["movieId"].tolist() == [30, 30, 0]
    assert "ids of users are no whole numbers" in found.notes[0]


@pytest.mark.parametrize("block", [5, 6, 7, 8, 9, 1000])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_zeros_are_seen_wherever_a_block_ends(tmp_path, monkeypatch, block, end):
    monkeypatch.setattr(own.columnar, "BLOCK", block)
    path = tmp_path / "mine.csv"
    for rows, wanted in (("1,0,0.5,0", False), ("0,10,0.5,100", False)):
        path.write_text(f"user,item,rating,time{end}{rows}{end}{rows}", newline="")
        assert own._has_leading_zeros(path) is wanted
    for rows in ("01,0,0.5,0", "1,00,0.5,0", "1,0,0.5,01", "00,1,0.5,0"):
        path.write_text(f"user,item,rating,time{end}{rows}{end}", newline="")
        assert own._has_leading_zeros(path), rows


def test_a_column_that_is_there_twice_is_refused(tmp_path):
    (tmp_path / "mine.csv").write_text("user,item,rating,item\n1,2,3.0,4\n")
    assert "column item is there 2 times" in refused(tmp_path / "mine.csv")
