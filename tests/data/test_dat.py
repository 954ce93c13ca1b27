"""The older releases' files: read exactly, or refused by file, line and column.

Held here: small copies of ml-1m, ml-10m and ml-100k give exactly their values, whatever
their line ends, byte-order mark, blank lines and blocks; texts in UTF-8 and Latin-1
are what they were, also with the separator in a title or tag; missing tags and genres
are told; every malformed line is named with its line, its column and what was
expected; whatever bytes come, the answer is the very table that a plain loop sees, or
one clean sentence.
"""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ncf_jax.data import columnar, dat
from ncf_jax.errors import DataError
from tests.data.older import (
    DATA_100K,
    FILES,
    GENRES_100K,
    ITEMS,
    MOVIES_DAT,
    RATINGS,
    RATINGS_DAT,
    TIMES,
    item_line,
    write,
)

OLDER = ["ml-1m", "ml-10m", "ml-100k"]
RATED = {"ml-1m": "ratings_dat", "ml-10m": "ratings_dat", "ml-100k": "u_data"}


def error_of(folder, form):
    """What `read` says, from the file's name on; it must fit on one printable line."""
    with pytest.raises(DataError) as caught:
        dat.read(folder, form)
    message = str(caught.value)
    assert message.isprintable(), f"not one clean line: {message!r}"
    assert message.endswith(".")
    return message.removeprefix(str(folder)).lstrip("/\\")


# --- what is read ---------------------------------------------------------------------


@pytest.mark.parametrize("form", OLDER)
def test_ratings_are_read_value_by_value(tmp_path, form):
    ratings = dat.read(write(tmp_path, form), form).ratings
    wanted = [[*row, time] for row, time in zip(RATINGS, TIMES, strict=True)]
    if form == "ml-10m":
        wanted[1][2] = 3.5
    assert ratings.to_numpy().tolist() == wanted
    assert [str(kind) for kind in ratings.dtypes] == [
        *("int64", "int64", "float64", "int64")
    ]


def test_movies_and_tags_of_ml_10m_are_read_value_by_value(tmp_path):
    tables = dat.read(write(tmp_path, "ml-10m"), "ml-10m")
    assert tables.movies.to_numpy().tolist() == [
        [10, "Heat (1995)", "Action|Crime"],
        [20, "Misérables, Les (1995)", "Drama"],
        [30, "Untold (2001)", "Comedy"],
    ]
    assert tables.tags.to_numpy().tolist() == [
        [1, 10, "heist", 1215184630],
        [7, 30, "très drôle", 1188263867],
        [2, 20, "a::b", 1170560997],
    ]
    assert tables.notes == ()


def test_movies_of_ml_1m_are_latin_1_and_it_has_no_tags(tmp_path):
    tables = dat.read(write(tmp_path, "ml-1m"), "ml-1m")
    assert tables.movies["title"].tolist()[1] == "Misérables, Les (1995)"
    assert len(tables.tags) == 0
    assert tables.notes == ("ml-1m has no tags: tag features are zeros",)


@pytest.mark.parametrize("form", ["ml-1m", "ml-10m"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1"])
def test_either_encoding_of_movies_is_understood(tmp_path, form, encoding):
    folder = write(tmp_path, form, movies_dat=MOVIES_DAT.encode(encoding))
    tables = dat.read(folder, form)
    assert tables.movies["title"].tolist()[1] == "Misérables, Les (1995)"
    assert tables.movies["movieId"].tolist() == [10, 20, 30]
    said = any("movies.dat: not UTF-8, read as Latin-1" in n for n in tables.notes)
    assert said == (form == "ml-10m" and encoding == "latin-1")


def test_items_of_ml_100k_have_the_genres_of_their_flags(tmp_path):
    tables = dat.read(write(tmp_path, "ml-100k"), "ml-100k")
    assert tables.movies.to_numpy().tolist() == [
        [10, "Heat (1995)", "Action|Crime"],
        [20, "Misérables, Les (1995)", "Drama"],
        [30, "unknown", "(no genres listed)"],
    ]
    assert tables.notes == ("ml-100k has no tags: tag features are zeros",)


def test_items_keep_odd_titles_and_urls(tmp_path):
    odd = item_line(40, "A|B :: C (1999)", 0, 5) + item_line(50, "No flag (1990)")
    folder = write(tmp_path, "ml-100k", u_item=ITEMS + odd)
    rows = dat.read(folder, "ml-100k").movies.to_numpy().tolist()
    assert rows[3:] == [
        [40, "A|B :: C (1999)", "Comedy"],
        [50, "No flag (1990)", "(no genres listed)"],
    ]


def test_without_u_genre_the_documented_names_are_taken(tmp_path):
    whole = dat.read(write(tmp_path / "a", "ml-100k"), "ml-100k")
    without = dat.read(write(tmp_path / "b", "ml-100k", u_genre=None), "ml-100k")
    assert without.movies.equals(whole.movies)
    # The control: the file's own names are used where it is there.
    other = GENRES_100K.replace("Crime", "Heists")
    tables = dat.read(write(tmp_path / "c", "ml-100k", u_genre=other), "ml-100k")
    assert tables.movies["genres"].tolist()[0] == "Action|Heists"


def test_a_title_and_a_tag_may_hold_the_separator(tmp_path):
    movies = MOVIES_DAT + "40::Odd:: one ::(1999)::Drama|War\n50:::: ::Drama\n"
    folder = write(tmp_path, "ml-10m", movies_dat=movies)
    rows = dat.read(folder, "ml-10m").movies.to_numpy().tolist()
    assert rows[3:] == [
        [40, "Odd:: one ::(1999)", "Drama|War"],
        [50, ":: ", "Drama"],
    ]


def test_empty_tags_are_left_out_and_counted(tmp_path):
    tags = "1::10::heist::5\n1::20::::6\n2::20:: ::7\n"
    tables = dat.read(write(tmp_path, "ml-10m", tags_dat=tags), "ml-10m")
    assert tables.tags["tag"].tolist() == ["heist"]
    assert tables.notes == ("tags.dat: left out 2 empty tags",)


WAYS = {
    "CRLF": lambda text: text.replace("\n", "\r\n"),
    "no end of the last line": lambda text: text.rstrip("\n"),
    "blank lines": lambda text: "\n\n" + text.replace("\n", "\n\n\n"),
    "blank lines, CRLF": lambda text: "\r\n" + text.replace("\n", "\r\n\r\n"),
    "a byte-order mark": lambda text: "\ufeff" + text,
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("form", OLDER)
def test_other_ways_of_writing_lines_are_the_same_tables(tmp_path, form, way):
    plain = dat.read(write(tmp_path / "plain", form), form)
    texts = {
        name.replace(".", "_"): WAYS[way](content.decode("latin-1"))
        for name, content in FILES[form].items()
    }
    # As they were: in Latin-1 what was in Latin-1.
    raw = {
        name: text.replace("\ufeff", "ï»¿").encode("latin-1")
        for name, text in texts.items()
    }
    other = dat.read(write(tmp_path / "other", form, **raw), form)
    if way == "a byte-order mark" and form != "ml-10m":
        assert other.movies["movieId"].tolist() == [10, 20, 30]
    for one, two in zip(plain[:3], other[:3], strict=True):
        assert one.equals(two)
    assert plain.notes == other.notes


@pytest.mark.parametrize("block", [24, 60, 500])
@pytest.mark.parametrize("form", OLDER)
def test_blocks_of_any_size_give_the_same_table(tmp_path, monkeypatch, form, block):
    rng = np.random.default_rng(0)
    separator = "\t" if form == "ml-100k" else "::"
    values = np.stack(
        [
            *(rng.integers(0, 10**5, 300), rng.integers(0, 9, 300)),
            *(rng.integers(1, 6, 300), rng.integers(0, 10**9, 300)),
        ],
        axis=1,
    )
    text = "\r\n".join(separator.join(map(str, row)) for row in values.tolist())
    path = tmp_path / "ratings"
    path.write_text(text)
    monkeypatch.setattr(columnar, "BLOCK", block)
    monkeypatch.setattr(dat, "SHORT_LINE", 10_000)  # too few rows foreseen: grow
    assert dat.read_ratings(path, form).to_numpy().tolist() == values.tolist()


def test_progress_is_told(tmp_path, monkeypatch):
    path = tmp_path / "ratings.dat"
    path.write_text("".join(f"{n}::1::3::5\n" for n in range(500)))
    monkeypatch.setattr(columnar, "BLOCK", 64)
    monkeypatch.setattr(columnar, "SAID_EVERY", 100)
    told = []
    assert len(dat.read_ratings(path, "ml-1m", told.append)) == 500
    assert told
    assert all(re.fullmatch(r"ratings.dat: \d+ rows read", line) for line in told)


# --- what is refused ------------------------------------------------------------------

# A bad third line of ratings, with "::" for whatever separates, and what is said of it.
BAD_ROWS = {
    "a field less": ("2::10::4", "expected 4 fields between", "found '2{}10{}4'"),
    "a field more": ("2::10::4::5::6", "expected 4 fields between", ""),
    "an empty user": ("::10::4::5", "column userId: expected a whole number", "''"),
    "an empty item": ("2::::4::5", "column movieId: expected a whole number", "''"),
    "an empty rating": ("2::10::::5", "column rating: expected", "''"),
    "an empty time": ("2::10::4::", "column timestamp: expected whole seconds", "''"),
    "no number": ("2::x::4::5", "column movieId: expected a whole number", "'x'"),
    "a negative id": ("-2::10::4::5", "column userId: expected a whole number", "-2"),
    "a sign": ("+2::10::4::5", "column userId", "'+2'"),
    "a space": ("2:: 10::4::5", "column movieId", "' 10'"),
    "half a user": ("2.5::10::4::5", "column userId", "'2.5'"),
    "a user with a point": ("2.::10::4::5", "column userId", "'2.'"),
    "an item with a point": ("2::10.0::4::5", "column movieId", "'10.0'"),
    "a time with a point": ("2::10::4::5.", "column timestamp", "'5.'"),
    "half a second": ("2::10::4::5.5", "column timestamp", "'5.5'"),
    "zero stars": ("2::10::0::5", "column rating: expected", "found '0'"),
    "six stars": ("2::10::6::5", "column rating: expected", "found '6'"),
    "a quarter star": ("2::10::4.25::5", "column rating: expected", "'4.25'"),
    "no leading digit": ("2::10::.5::5", "column rating: expected", "'.5'"),
    "two points": ("2::10::4.5.5::5", "column rating: expected", "'4.5.5'"),
    "an exponent": ("2::10::1e0::5", "column rating: expected", "'1e0'"),
    "not a number": ("2::10::nan::5", "column rating: expected", "'nan'"),
    "infinity": ("2::10::inf::5", "column rating: expected", "'inf'"),
    "a huge id": (f"{2**53 + 1}::10::4::5", "column userId: expected", str(2**53)),
    "an id beyond 64 bits": (f"{10**19}::10::4::5", "column userId: expected", ""),
    "quotes": ('"2"::10::4::5', "column userId", ""),
    "a NUL": ("2::10::4::5\0", "column timestamp", r"5\x00"),
    "a lone CR": ("2::10::4::5\r9", "column timestamp", r"5\r9"),
    "three colons": ("2:::10::4::5", "", ""),
    "a comma": ("2,10,4,5", "expected 4 fields between", "found '2,10,4,5'"),
}


@pytest.mark.parametrize("kind", BAD_ROWS)
@pytest.mark.parametrize("form", OLDER)
def test_a_bad_line_of_ratings_is_named(tmp_path, form, kind):
    row, said, found = BAD_ROWS[kind]
    separator = "\t" if form == "ml-100k" else "::"
    text = FILES[form][RATED[form].replace("_", ".")].decode().splitlines()
    text[2] = row.replace("::", separator)
    folder = write(tmp_path, form, **{RATED[form]: "\n".join(text) + "\n"})
    message = error_of(folder, form)
    where = f"{RATED[form].replace('_', '.')}, line 3"
    assert message.startswith(where), message
    if "{}" not in found:
        assert said in message
        assert found in message
    # The control: without that line the files are read.
    del text[2]
    folder = write(tmp_path, form, **{RATED[form]: "\n".join(text) + "\n"})
    assert len(dat.read(folder, form).ratings) == len(RATINGS) - 1


@pytest.mark.parametrize("form", ["ml-1m", "ml-100k"])
def test_half_stars_are_refused_where_there_are_none(tmp_path, form):
    separator = "\t" if form == "ml-100k" else "::"
    text = separator.join(("9", "10", "3.5", "5"))
    name = RATED[form]
    good = FILES[form][name.replace("_", ".")].decode()
    message = error_of(write(tmp_path, form, **{name: good + text}), form)
    assert "line 6, column rating: expected whole stars from 1 to 5; found '3.5'" in (
        message
    )


@pytest.mark.parametrize("form", OLDER)
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"userId,movieId,rating,timestamp\n1,10,4.0,5\n", "line 1: expected 4 fields"),
        (b"", "is empty. Expected lines of"),
        (b"\n\n", "is empty. Expected lines of"),
        (b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "line 1: expected 4 fields"),
        (b"PK\x03\x04" + bytes(100), "line 1: expected 4 fields"),
        ("1::10::4::5\n".encode("utf-16"), "line 1: expected 4 fields"),
        (None, "is missing. Expected lines of"),
    ],
    ids=["a CSV", "empty", "blank", "a picture", "an archive", "UTF-16", "missing"],
)
def test_another_kind_of_file_is_named(tmp_path, form, content, said):
    message = error_of(write(tmp_path, form, **{RATED[form]: content}), form)
    assert message.startswith(RATED[form].replace("_", "."))
    assert said in message
    shown = "userId <tab> movieId" if form == "ml-100k" else "userId::movieId::rating"
    assert shown in message


@pytest.mark.parametrize(
    ("form", "content"), [("ml-100k", RATINGS_DAT), ("ml-1m", DATA_100K)]
)
def test_the_separator_of_another_release_is_named(tmp_path, form, content):
    message = error_of(write(tmp_path, form, **{RATED[form]: content}), form)
    assert "line 1: expected 4 fields between" in message
    assert ("tabs" if form == "ml-100k" else "'::'") in message


@pytest.mark.parametrize("form", OLDER)
def test_a_repeated_pair_is_named_with_its_line(tmp_path, form):
    name = RATED[form].replace("_", ".")
    text = FILES[form][name].decode()
    again = "\n\n" + text.splitlines()[1] + "\n"
    message = error_of(write(tmp_path, form, **{RATED[form]: text + again}), form)
    assert message == (
        f"{name}, line 8, column movieId: userId 1, movieId 30 stands in an earlier "
        f"line too. Keep one of them."
    )


@pytest.mark.parametrize("form", OLDER)
def test_an_unknown_movie_is_named_with_its_line(tmp_path, form):
    name = RATED[form].replace("_", ".")
    separator = "\t" if form == "ml-100k" else "::"
    row = separator.join(("9", "99", "3", "5"))
    text = FILES[form][name].decode() + row
    message = error_of(write(tmp_path, form, **{RATED[form]: text}), form)
    where = "u.item" if form == "ml-100k" else "movies.dat"
    assert message == f"{name}, line 6, column movieId: 99 is not in {where}."


def test_a_tag_of_an_unknown_movie_is_named(tmp_path):
    folder = write(tmp_path, "ml-10m", tags_dat="1::10::x::5\n1::99::x::5\n")
    message = error_of(folder, "ml-10m")
    assert message == "tags.dat, line 2, column movieId: 99 is not in movies.dat."


BAD_MOVIES = [
    ("40::Heat", "line 4: expected 3 fields between '::'"),
    ("40", "line 4: expected 3 fields between '::'"),
    ("x::Heat::Drama", "line 4, column movieId: expected a whole number"),
    ("40:: ::Drama", "line 4, column title: expected text that is not empty"),
    ("40::Heat::", "line 4, column genres: expected text that is not empty"),
    ("10::Heat::Drama", "line 4, column movieId: movieId 10 stands in an earlier"),
    ("40::He\0at::Drama", r"line 4: expected movieId::title::genres; found '\x00'"),
    ("40,Heat,Drama", "line 4: expected 3 fields between '::'"),
]


@pytest.mark.parametrize("form", ["ml-1m", "ml-10m"])
@pytest.mark.parametrize(("row", "said"), BAD_MOVIES)
def test_a_bad_line_of_movies_is_named(tmp_path, form, row, said):
    message = error_of(write(tmp_path, form, movies_dat=MOVIES_DAT + row), form)
    assert message.startswith(f"movies.dat, {said}")
    folder = write(tmp_path, form, movies_dat=MOVIES_DAT + "40::Fine::Drama")
    assert len(dat.read(folder, form).movies) == 4


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("1::10::x", "line 2: expected 4 fields between '::'"),
        ("y::10::x::5", "line 2, column userId: expected a whole number"),
        ("1::10::x::late", "line 2, column timestamp: expected whole seconds"),
        ("1,10,x,5", "line 2: expected 4 fields between '::'"),
    ],
)
def test_a_bad_line_of_tags_is_named(tmp_path, row, said):
    folder = write(tmp_path, "ml-10m", tags_dat=f"1::10::good::5\n{row}\n")
    assert error_of(folder, "ml-10m").startswith(f"tags.dat, {said}")


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (item_line(40, "X").replace("|0\n", "\n"), "line 4: expected 24 fields"),
        ("40|X", "line 4: expected 24 fields between '|' (id|title|release date"),
        ("40::X::Drama", "line 4: expected 24 fields between '|'"),
        (item_line("x", "X"), "line 4, column movieId: expected a whole number"),
        (item_line(40, " "), "line 4, column title: expected text"),
        (
            item_line(40, "X").replace("|0\n", "|2\n"),
            "line 4, column Western: expected 0 or 1; found '2'",
        ),
        (item_line(10, "X"), "line 4, column movieId: movieId 10 stands"),
    ],
)
def test_a_bad_line_of_items_is_named(tmp_path, row, said):
    message = error_of(write(tmp_path, "ml-100k", u_item=ITEMS + row), "ml-100k")
    assert message.startswith(f"u.item, {said}")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("unknown|0\nAction|2\n", "line 2: expected name|number, here number 1"),
        ("unknown\n", "line 1: expected name|number, here number 0"),
        ("|0\n", "line 1: expected name|number"),
        ("", "is empty"),
    ],
)
def test_a_bad_line_of_genres_is_named(tmp_path, text, said):
    message = error_of(write(tmp_path, "ml-100k", u_genre=text), "ml-100k")
    assert message.startswith("u.genre")
    assert said in message


@pytest.mark.parametrize("name", ["movies_dat", "tags_dat", "ratings_dat"])
def test_a_missing_or_empty_file_is_named(tmp_path, name):
    for content in (None, b""):
        message = error_of(write(tmp_path, "ml-10m", **{name: content}), "ml-10m")
        assert message.startswith(name.replace("_", "."))
        assert "Expected lines of" in message


# --- whatever comes -------------------------------------------------------------------


def by_a_loop(content, separator, whole):
    """The rows as a plain loop sees them; None where a line is not as it must be."""
    rows = []
    for line in content.removeprefix(b"\xef\xbb\xbf").split(b"\n"):
        line = line.removesuffix(b"\r")
        if not line:
            continue
        fields = line.decode("latin-1").split(separator)
        number = re.compile(r"[0-9]+", re.ASCII)
        stars = re.compile(r"[0-9]+\.?[0-9]*", re.ASCII)
        if len(fields) != 4 or not stars.fullmatch(fields[2]):
            return None
        if not all(number.fullmatch(fields[n]) for n in (0, 1, 3)):
            return None
        row = [int(fields[0]), int(fields[1]), float(fields[2]), int(fields[3])]
        steps = row[2] if whole else 2 * row[2]
        if steps % 1 or not 0.5 <= row[2] <= 5 or max(row) > 2**53:
            return None
        rows.append(row)
    return rows or None


PIECES = [b":", b"::", b"\t", b"\n", b"\r", b"\r\n", b".", b".5", b"0", b"9" * 17, b" "]
PIECES += [b"-", b"+", b"e", b"\0", b"\xff", b"\xef\xbb\xbf", b",", b'"', b"5", b"\n\n"]


@pytest.fixture(scope="module")
def anywhere(tmp_path_factory):
    return tmp_path_factory.mktemp("any") / "ratings"


@pytest.mark.parametrize("form", OLDER)
@given(
    changes=st.lists(
        st.tuples(st.integers(0, 10**6), st.sampled_from(PIECES), st.integers(0, 3)),
        max_size=3,
    ),
    block=st.sampled_from([30, 10_000]),
)
@settings(max_examples=150, deadline=None)
def test_a_damaged_file_is_read_exactly_or_refused(anywhere, form, changes, block):
    content = FILES[form][RATED[form].replace("_", ".")]
    for where, piece, removed in changes:
        where %= len(content) + 1
        content = content[:where] + piece + content[where + removed :]
    anywhere.write_bytes(content)
    separator = "\t" if form == "ml-100k" else "::"
    wanted = by_a_loop(content, separator, whole=form != "ml-10m")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(columnar, "BLOCK", block)
        try:
            found, said = dat.read_ratings(anywhere, form).to_numpy().tolist(), ""
        except DataError as error:
            found, said = None, str(error)
    assert found == wanted
    assert said.isprintable()
    assert found is not None or re.search(r"line \d+|is empty", said), said
