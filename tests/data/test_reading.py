"""Reading: a file is read exactly, or refused by file, line and column.

Held here: what the documentation repairs is repaired (byte-order mark, CRLF, empty
tags) and counted; quotes, commas and line breaks in titles are text; every other
malformed file raises one `DataError` on one printable line that names file, line,
column and the expected form, however the rest of the file is written; and whatever
bytes come, the answer is the very table that Python's own csv module sees, or a
`DataError`.
"""

import csv
import io
import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ncf_jax.data import csvfile, reading
from ncf_jax.errors import DataError

GOOD = {
    "movies.csv": (
        "movieId,title,genres\n"
        "1,Toy Story (1995),Adventure|Animation\n"
        "2,Heat (1995),Action\n"
        "3,Untold (2001),(no genres listed)\n"
    ),
    "ratings.csv": (
        "userId,movieId,rating,timestamp\n"
        "7,1,4.0,964982703\n"
        "7,3,0.5,964981247\n"
        "9,2,5.0,0\n"
        "9,1,3.5,964982931\n"
    ),
    "tags.csv": (
        "userId,movieId,tag,timestamp\n"
        "7,1,funny,1445714994\n"
        "9,2,crime drama,1445714996\n"
    ),
}
MAX_ID = 2**53


def as_bytes(content):
    return content.encode() if isinstance(content, str) else content


def write(folder, **other):
    """The good files, some of them replaced (`ratings=...`) or left out (None)."""
    for name, content in GOOD.items():
        content = other.get(name.removesuffix(".csv"), content)
        (folder / name).unlink(missing_ok=True)
        if content is not None:
            (folder / name).write_bytes(as_bytes(content))
    return folder


def error_of(folder):
    """What `read` says, from the file's name on; it must fit on one printable line."""
    with pytest.raises(DataError) as caught:
        reading.read(folder)
    message = str(caught.value)
    assert message.isprintable(), f"not one clean line: {message!r}"
    assert message.startswith(str(folder))
    assert message.endswith(".")
    return message.removeprefix(str(folder)).lstrip("/\\")


def edit(name, line, column, value):
    """The good file `name` with another value at a line (1 is the header)."""
    rows = [row.split(",") for row in GOOD[name].splitlines()]
    rows[line - 1][rows[0].index(column)] = value
    return "".join(",".join(row) + "\n" for row in rows)


# --- what is read ---------------------------------------------------------------------


def test_good_files_are_read_value_by_value(tmp_path):
    tables = reading.read(write(tmp_path))
    assert tables.ratings.to_numpy().tolist() == [
        [7, 1, 4.0, 964982703],
        [7, 3, 0.5, 964981247],
        [9, 2, 5.0, 0],
        [9, 1, 3.5, 964982931],
    ]
    assert tables.movies.to_numpy().tolist() == [
        [1, "Toy Story (1995)", "Adventure|Animation"],
        [2, "Heat (1995)", "Action"],
        [3, "Untold (2001)", "(no genres listed)"],
    ]
    assert tables.tags.to_numpy().tolist() == [
        [7, 1, "funny", 1445714994],
        [9, 2, "crime drama", 1445714996],
    ]
    assert tables.notes == ()


def test_columns_have_the_documented_types(tmp_path):
    ratings, movies, tags, _ = reading.read(write(tmp_path))
    for table in (ratings, movies, tags):
        for name in table.columns:
            if name.endswith("Id") or name == "timestamp":
                assert table[name].dtype == np.int64, name
    assert ratings["rating"].dtype == np.float64
    texts = [*movies["title"], *movies["genres"], *tags["tag"]]
    assert all(isinstance(text, str) for text in texts)


def test_the_real_files_are_read_whole(real_data_dir):
    folder = real_data_dir / "ml-latest-small"
    tables = reading.read(folder)
    assert [len(t) for t in tables[:3]] == [100_836, 9_742, 3_683]
    assert tables.notes == ()
    with (folder / "movies.csv").open(encoding="utf-8", newline="") as file:
        wanted = [(int(row["movieId"]), row["title"]) for row in csv.DictReader(file)]
    assert list(tables.movies[["movieId", "title"]].itertuples(index=False)) == wanted


HARMLESS = {
    "a byte-order mark": lambda text: b"\xef\xbb\xbf" + text.encode(),
    "CRLF": lambda text: text.replace("\n", "\r\n").encode(),
    "a byte-order mark and CRLF": lambda text: (
        b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode()
    ),
    "no end of the last line": lambda text: text.rstrip("\n").encode(),
    "blank lines at the end": lambda text: (text + "\n\n").encode(),
    "blank lines between rows": lambda text: text.replace("\n", "\n\n").encode(),
    "every value quoted": lambda text: "".join(
        ",".join(f'"{value}"' for value in row.split(",")) + "\n"
        for row in text.splitlines()
    ).encode(),
    "a column more": lambda text: "".join(
        row + (",extra\n" if line else ",more\n")
        for line, row in enumerate(text.splitlines())
    ).encode(),
    "columns in another order": lambda text: "".join(
        ",".join(row.split(",")[::-1]) + "\n" for row in text.splitlines()
    ).encode(),
}


@pytest.mark.parametrize("way", HARMLESS)
def test_files_written_in_another_way_are_the_same_tables(tmp_path, way):
    plain = reading.read(write(tmp_path))
    other = {k.removesuffix(".csv"): HARMLESS[way](text) for k, text in GOOD.items()}
    # The control: the files really are other bytes.
    assert all(other[k.removesuffix(".csv")] != GOOD[k].encode() for k in GOOD)
    tables = reading.read(write(tmp_path, **other))
    for ours, wanted in zip(tables[:3], plain[:3], strict=True):
        pd.testing.assert_frame_equal(ours, wanted)
    assert tables.notes == ()


@pytest.mark.parametrize(
    ("written", "title"),
    [
        ('"American President, The (1995)"', "American President, The (1995)"),
        ('"""Great Performances"" Cats (1998)"', '"Great Performances" Cats (1998)'),
        ('The "Other" One', 'The "Other" One'),
        ('"Two\nLines"', "Two\nLines"),
        ("Misérables (2012)", "Misérables (2012)"),
        ("東京物語", "東京物語"),
        ("'71 (2014)", "'71 (2014)"),
        ("1917", "1917"),
        ("007", "007"),
        ("NA", "NA"),
        ("nan", "nan"),
        ("NULL", "NULL"),
        ("True", "True"),
        ("=1+1", "=1+1"),
        ("#Horror", "#Horror"),
        ("a\u2028b\x85c", "a\u2028b\x85c"),
        ("  padded  ", "  padded  "),
    ],
)
def test_a_title_is_read_as_it_stands(tmp_path, written, title):
    movies = f"movieId,title,genres\n1,{written},Drama\n2,Heat,Action\n3,C,Crime\n"
    tables = reading.read(write(tmp_path, movies=movies))
    assert tables.movies["title"].tolist() == [title, "Heat", "C"]


@pytest.mark.parametrize("tag", ["NA", "null", "nan", "None", "N/A", "-", "1.0", "#"])
def test_a_tag_that_looks_like_a_missing_value_is_text(tmp_path, tag):
    tables = reading.read(write(tmp_path, tags=edit("tags.csv", 2, "tag", tag)))
    assert tables.tags["tag"].tolist() == [tag, "crime drama"]
    assert tables.notes == ()


@pytest.mark.parametrize("empty", ["", " ", "\t", '""', '"  "'])
def test_empty_tags_are_left_out_and_counted(tmp_path, empty):
    tags = (
        "userId,movieId,tag,timestamp\n"
        f"7,1,{empty},1\n7,1,funny,2\n9,2,{empty},3\n9,1,{empty},4\n"
    )
    tables = reading.read(write(tmp_path, tags=tags))
    assert tables.tags["tag"].tolist() == ["funny"]
    assert tables.tags["timestamp"].tolist() == [2]
    (note,) = tables.notes
    assert "tags.csv" in note
    assert "3 empty tags" in note


def test_missing_tags_are_noted_and_give_an_empty_table(tmp_path):
    tables = reading.read(write(tmp_path, tags=None))
    assert len(tables.tags) == 0
    assert {"movieId", "tag"} <= set(tables.tags.columns)
    (note,) = tables.notes
    assert "tags.csv" in note
    assert "zeros" in note


def test_tags_nobody_wrote_are_no_error(tmp_path):
    # A small synthetic world may have no tagger, and writes just the header.
    tables = reading.read(write(tmp_path, tags="userId,movieId,tag,timestamp\n"))
    assert len(tables.tags) == 0


def test_a_tag_may_come_twice_and_from_somebody_who_rated_nothing(tmp_path):
    tags = "userId,movieId,tag,timestamp\n55,1,dark,1\n55,1,dark,2\n"
    assert len(reading.read(write(tmp_path, tags=tags)).tags) == 2


@pytest.mark.parametrize("text", ["0.5", "1", "2.0", "3.50", "4.", "5.0000"])
def test_half_stars_are_read_however_many_digits_are_written(tmp_path, text):
    ratings = edit("ratings.csv", 3, "rating", text)
    tables = reading.read(write(tmp_path, ratings=ratings))
    assert tables.ratings["rating"].tolist() == [4.0, float(text), 5.0, 3.5]


@pytest.mark.parametrize("user", [0, 2**31, 2**32 + 1, MAX_ID])
def test_ids_beyond_32_bits_are_read_exactly(tmp_path, user):
    ratings = edit("ratings.csv", 3, "userId", str(user))
    tables = reading.read(write(tmp_path, ratings=ratings))
    assert tables.ratings["userId"].tolist() == [7, user, 9, 9]


def test_rows_stay_in_the_order_of_the_file(tmp_path):
    rows = [f"{user},{1 + user % 3},3.0,{100 - user}" for user in (5, 3, 9, 1, 4)]
    ratings = "\n".join(["userId,movieId,rating,timestamp", *rows])
    tables = reading.read(write(tmp_path, ratings=ratings))
    assert tables.ratings["userId"].tolist() == [5, 3, 9, 1, 4]


def test_crlf_is_read_as_lf_inside_a_quoted_title_too(tmp_path):
    movies = 'movieId,title,genres\n1,"Two\nLines",Drama\n2,B,Crime\n3,C,Crime\n'
    lf = reading.read(write(tmp_path, movies=movies))
    crlf = reading.read(write(tmp_path, movies=movies.replace("\n", "\r\n")))
    assert crlf.movies["title"].tolist() == lf.movies["title"].tolist()


# --- what is refused, cell by cell ----------------------------------------------------

ID_FORM = f"a whole number from 0 to {MAX_ID}"
RATING_FORM = "stars from 0.5 to 5.0 in half-star steps"
NOT_AN_ID = ["x", "", "-1", "1.5", "1.0", "1e3", "nan", "inf", "0x1", "1 2", "NA"]
HUGE = [str(MAX_ID + 1), str(2**63 - 1), str(2**63), str(2**64), "9" * 40]
NOT_STARS = ["0", "0.0", "5.5", "3.3", "-1", "-0.5", "10", "1e9", "x", "", "nan"]
NOT_STARS += ["NaN", "NA", "inf", "-inf", "4;5", "4.0x", "4 0", "True", "****"]
CELLS = [
    *(("ratings.csv", "userId", text, ID_FORM) for text in NOT_AN_ID + HUGE),
    *(("ratings.csv", "movieId", text, ID_FORM) for text in NOT_AN_ID + HUGE),
    *(("ratings.csv", "rating", text, RATING_FORM) for text in NOT_STARS),
    *(("ratings.csv", "timestamp", text, "whole seconds") for text in NOT_AN_ID + HUGE),
    *(("movies.csv", "movieId", text, ID_FORM) for text in NOT_AN_ID + HUGE),
    *(("movies.csv", "title", text, "not empty") for text in ("", " ", "\t")),
    *(("movies.csv", "genres", text, "not empty") for text in ("", "  ")),
    *(("tags.csv", "userId", text, ID_FORM) for text in NOT_AN_ID + HUGE),
    *(("tags.csv", "movieId", text, ID_FORM) for text in NOT_AN_ID + HUGE),
    *(("tags.csv", "timestamp", text, "whole seconds") for text in NOT_AN_ID + HUGE),
]


@pytest.mark.parametrize(("name", "column", "text", "form"), CELLS)
def test_a_bad_cell_is_named_with_file_line_and_column(
    tmp_path, name, column, text, form
):
    bad = edit(name, 3, column, text)
    message = error_of(write(tmp_path, **{name.removesuffix(".csv"): bad}))
    assert message.startswith(f"{name}, line 3, column {column}: expected ")
    assert form in message
    assert f"found {text!r}" in message


WAYS = {
    "crlf": lambda text: text.replace("\n", "\r\n"),
    "byte-order mark": lambda text: "\ufeff" + text,
    "a quoted value before": lambda text: text.replace("\n7,1,", '\n"7",1,'),
    "an extra column": lambda text: text.replace("\n", ",e\n"),
    "no last line end": lambda text: text.rstrip("\n"),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("column", "text"), [("rating", "3.3"), ("movieId", "1.5"), ("userId", "-4")]
)
def test_the_line_is_right_however_the_file_is_written(tmp_path, way, column, text):
    ratings = WAYS[way](edit("ratings.csv", 5, column, text))
    message = error_of(write(tmp_path, ratings=ratings))
    assert message.startswith(f"ratings.csv, line 5, column {column}: ")


@pytest.mark.parametrize(
    ("column", "text"),
    [
        ("rating", "0_4"),
        ("rating", "\uff14"),
        ("rating", "\u00a04"),
        ("movieId", "0" * 25 + "9" * 25),
        ("userId", "\u0661"),
        ("userId", "1_0"),
    ],
)
def test_a_number_only_python_would_read_is_named_too(tmp_path, column, text):
    message = error_of(write(tmp_path, ratings=edit("ratings.csv", 3, column, text)))
    assert message.startswith(f"ratings.csv, line 3, column {column}: expected ")


@pytest.mark.parametrize(
    ("column", "text"),
    [
        ("userId", " 7"),
        ("movieId", " 3"),
        ("movieId", "3 "),
        ("movieId", "+3"),
        ("rating", " 4.0"),
        ("rating", "4.0 "),
        ("timestamp", "+5"),
    ],
)
def test_a_number_with_a_space_or_a_sign_is_refused(tmp_path, column, text):
    # "Nothing else is repaired": such a cell is named when another one is wrong, so
    # it cannot pass when it is alone.
    message = error_of(write(tmp_path, ratings=edit("ratings.csv", 3, column, text)))
    assert message.startswith(f"ratings.csv, line 3, column {column}: expected ")


def test_only_the_first_of_several_bad_lines_is_named(tmp_path):
    rows = GOOD["ratings.csv"].splitlines()
    rows[2], rows[3], rows[4] = "7,3,9.5,1", "9,2", "x,1,3.5,2"
    message = error_of(write(tmp_path, ratings="\n".join(rows)))
    assert message.startswith("ratings.csv, line 3, column rating: ")


def test_a_bad_cell_far_down_a_long_file_is_named(tmp_path):
    rows = [f"{user},1,3.0,1" for user in range(20_000)]
    rows[17_000] = "17000,1,3.25,1"
    ratings = "\n".join(["userId,movieId,rating,timestamp", *rows])
    message = error_of(write(tmp_path, ratings=ratings))
    assert message.startswith("ratings.csv, line 17002, column rating: ")


def test_a_very_long_bad_cell_is_cut_short(tmp_path):
    ratings = edit("ratings.csv", 3, "rating", "9" * 10_000)
    assert len(error_of(write(tmp_path, ratings=ratings))) < 300


# --- what is refused, line by line ----------------------------------------------------

HEADER = "userId,movieId,rating,timestamp\n"
LINES = [
    ("a short row", HEADER + "7,1,4.0,1\n7,3,4.0\n9,2,5.0,3\n", 3, "found 3"),
    ("a long row", HEADER + "7,1,4.0,1\n7,3,4.0,2,8\n9,2,5.0,3\n", 3, "found 5"),
    (
        "a long row before a short one",
        HEADER + "7,1,4.0,1,1\n7,3,4.0\n9,2,5.0,3\n",
        2,
        "found 5",
    ),
    (
        "a short row before a long one",
        HEADER + "7,1,4.0\n7,3,4.0,1,1\n9,2,5.0,3\n",
        2,
        "found 3",
    ),
    ("all rows long", HEADER + "7,1,4.0,1,1\n7,3,4.0,1,1\n", 2, "found 5"),
    ("all rows short", HEADER + "7,1,4.0\n7,3,4.0\n", 2, "found 3"),
    ("a short last row", HEADER + "7,1,4.0,1\n7,3,4.0", 3, "found 3"),
    ("a line of spaces", HEADER + "7,1,4.0,1\n   \n7,3,4.0,1\n", 3, "found 1"),
    ("blank lines first", HEADER + "\n\n7,1,4.0,1\n\n7,3\n", 6, "found 2"),
    ("semicolons in a row", HEADER + "7,1,4.0,1\n7;3;4.0;1\n", 3, "found 1"),
    ("a comma too many in quotes", HEADER + '7,1,4.0,1\n"7,3,4.0,1"\n', 3, "found 1"),
]


@pytest.mark.parametrize(
    ("ratings", "line", "found"), [row[1:] for row in LINES], ids=[x[0] for x in LINES]
)
@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["lf", "crlf"])
def test_a_row_of_another_width_is_named_with_its_line(
    tmp_path, ratings, line, found, end
):
    message = error_of(write(tmp_path, ratings=ratings.replace("\n", end)))
    assert message.startswith(f"ratings.csv, line {line}: expected 4 columns ")
    assert "userId,movieId,rating,timestamp" in message
    assert found in message


@pytest.mark.parametrize(
    ("bad_row", "said"),
    [
        ("x,B,Drama", "column movieId: expected a whole number"),
        ("4,,Drama", "column title: expected text"),
        ("4,B", "expected 3 columns"),
        ('4,"B"x,Drama', "not CSV"),
        ('4,"B,Drama', "not CSV"),
        ("4,B\0,Drama", "column title: expected text"),
        ("1,B,Drama", "column movieId: movieId 1 stands in an earlier line"),
    ],
)
@pytest.mark.parametrize(
    ("before", "line"),
    [
        ("1,A,Crime", 3),
        ('1,"A, An",Crime', 3),
        ('1,"A\nAn",Crime', 4),
        ('1,"A\n\n\nAn",Crime', 6),
        ('1,"A\r\nAn",Crime', 4),
        ("1,A,Crime\n\n\n", 6),
    ],
    ids=["plain", "comma", "two lines", "four lines", "crlf inside", "blank lines"],
)
def test_line_breaks_in_a_title_do_not_shift_the_line_that_is_named(
    tmp_path, bad_row, said, before, line
):
    movies = f"movieId,title,genres\n{before}\n{bad_row}\n"
    message = error_of(write(tmp_path, movies=movies))
    assert re.match(rf"movies\.csv, line {line}[:,] ", message), message
    assert said in message


# Its first byte that no UTF-8 text has, 0x80, comes after a line feed.
BINARY = bytes(range(256)) * 20


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (BINARY, 2),
        (HEADER.encode() + b"7,1,4.0,1\n7,3,\xff,2\n", 3),
        (b"\xef\xbb\xbf" + HEADER.encode() + b"7,1,4.0,1\n7,3,\xff,2\n", 3),
        (b"\xef\xbb\xbf" + HEADER.encode() + b"7,1,4.0,1\n\xff,3,4.0,2\n", 3),
        (HEADER.encode() + b"7,1,4.0,1\n" * 3000 + b"\xff,3,4.0,2\n", 3002),
        (HEADER.encode() + b"7,1,4.0,1\n7,3,4.0,2\xe2\x82", 3),
    ],
    ids=[
        "binary",
        "a byte",
        "a byte after a byte-order mark",
        "first on its line after a byte-order mark",
        "far down",
        "cut in a letter",
    ],
)
def test_what_is_not_utf8_is_named_with_its_line(tmp_path, content, line):
    message = error_of(write(tmp_path, ratings=content))
    assert message.startswith(f"ratings.csv, line {line}: not UTF-8 text")
    assert "Save it as UTF-8" in message


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"\x1f\x8b\x08\x00" + BINARY, "compressed by gzip"),
        (GOOD["ratings.csv"].encode("utf-16"), "text in UTF-16"),
        (b"PK\x03\x04" + BINARY, "a zip archive or a workbook"),
        (b"PAR1" + BINARY, "a Parquet file"),
        (b"<!DOCTYPE html>\n<p>404\n", "a web page"),
    ],
)
def test_a_file_of_another_kind_is_called_by_it(tmp_path, content, kind):
    message = error_of(write(tmp_path, ratings=content))
    assert message == f"ratings.csv is {kind}, not CSV. Save it as CSV in UTF-8."


def test_a_latin_1_title_is_named_with_its_line(tmp_path):
    movies = GOOD["movies.csv"].replace("Heat", "Misérables").encode("latin-1")
    message = error_of(write(tmp_path, movies=movies))
    assert message.startswith("movies.csv, line 3: not UTF-8 text")


@pytest.mark.parametrize("column", ["userId", "movieId", "rating", "timestamp"])
def test_a_nul_is_named_with_line_and_column(tmp_path, column):
    # pandas stops a value at a NUL; "4.0\0junk" would be read as 4.0.
    value = {"userId": "7", "movieId": "3", "rating": "4.0", "timestamp": "1"}[column]
    ratings = edit("ratings.csv", 4, column, value + "\0junk")
    message = error_of(write(tmp_path, ratings=ratings))
    assert message.startswith(f"ratings.csv, line 4, column {column}: expected ")


def test_a_nul_in_a_tag_is_named(tmp_path):
    message = error_of(write(tmp_path, tags=edit("tags.csv", 2, "tag", "a\0b")))
    assert message.startswith("tags.csv, line 2, column tag: expected text")


# --- what is refused, file by file ----------------------------------------------------


@pytest.mark.parametrize("name", ["ratings", "movies"])
def test_a_missing_file_is_named_with_the_columns_it_should_have(tmp_path, name):
    message = error_of(write(tmp_path, **{name: None}))
    assert message.startswith(f"{name}.csv is missing.")
    assert "movieId" in message


def test_a_folder_in_place_of_a_file_is_refused(tmp_path):
    write(tmp_path, ratings=None)
    (tmp_path / "ratings.csv").mkdir()
    assert error_of(tmp_path).startswith("ratings.csv is missing.")


@pytest.mark.parametrize("name", ["ratings", "movies", "tags"])
@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xef\xbb\xbf", b"\r\n"])
def test_an_empty_file_is_named_with_the_header_it_should_have(tmp_path, name, content):
    message = error_of(write(tmp_path, **{name: content}))
    header = GOOD[f"{name}.csv"].splitlines()[0]
    assert message == f"{name}.csv is empty. Expected the header {header}."


@pytest.mark.parametrize("name", ["ratings", "movies"])
@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\n\n\n"])
def test_a_header_without_rows_is_refused(tmp_path, name, end):
    content = GOOD[f"{name}.csv"].splitlines()[0] + end
    message = error_of(write(tmp_path, **{name: content}))
    assert message == f"{name}.csv has a header but no rows."


@pytest.mark.parametrize(
    ("name", "column"),
    [(n, c) for n, text in GOOD.items() for c in text.splitlines()[0].split(",")],
)
def test_a_missing_column_is_named_with_what_was_found(tmp_path, name, column):
    header, rest = GOOD[name].split("\n", 1)
    found = header.replace(column, "renamed")
    message = error_of(
        write(tmp_path, **{name.removesuffix(".csv"): f"{found}\n{rest}"})
    )
    assert message.startswith(f"{name}, line 1: column {column} is missing.")
    assert header in message
    assert found in message


def test_a_file_without_a_header_is_refused(tmp_path):
    ratings = GOOD["ratings.csv"].split("\n", 1)[1]
    message = error_of(write(tmp_path, ratings=ratings))
    assert message.startswith("ratings.csv, line 1: column userId is missing.")


STRANGE_HEADERS = {
    "a line break": 'userId,"movie\nId",rating,timestamp',
    "two byte-order marks": "\ufeff\ufeffuserId,movieId,rating,timestamp",
    "a terminal's escape": "\x1b[2JuserId,movieId,rating,timestamp",
    "a NUL": "u\0serId,movieId,rating,timestamp",
    "semicolons": "userId;movieId;rating;timestamp",
    "capitals": "USERID,MOVIEID,RATING,TIMESTAMP",
    "a space": " userId,movieId,rating,timestamp",
    "no end": "x" * 100_000,
}


@pytest.mark.parametrize("strange", STRANGE_HEADERS)
def test_a_strange_header_is_told_on_one_printable_line(tmp_path, strange):
    header = STRANGE_HEADERS[strange]
    ratings = header + "\n" + GOOD["ratings.csv"].split("\n", 1)[1]
    message = error_of(write(tmp_path, ratings=ratings))
    assert re.match(r"ratings\.csv, line 1: column \w+ is missing\.", message)
    assert len(message) < 600


def test_a_wide_header_does_not_make_the_message_long_or_broken(tmp_path):
    more = ",".join(f'"c\n{n}"' for n in range(1000))
    ratings = HEADER.strip() + f",{more}\n7,1,4.0\n"
    message = error_of(write(tmp_path, ratings=ratings))
    assert "expected 1004 columns" in message
    assert len(message) < 600


def test_a_broken_quote_in_the_header_is_refused(tmp_path):
    message = error_of(write(tmp_path, ratings='"userId"x,movieId\n1,2\n'))
    assert message.startswith("ratings.csv, line 1: not a CSV header")


def test_old_mac_line_ends_are_read_or_named(tmp_path):
    # A lone CR between two lines is read as a line end; so it is for all lines, or
    # the refusal names the line.
    write(tmp_path, ratings=GOOD["ratings.csv"].replace("\n", "\r"))
    try:
        read, said = len(reading.read(tmp_path).ratings), ""
    except DataError as error:
        read, said = 0, str(error)
    assert read == 4 or re.search(r"ratings\.csv, line \d+", said), said


# --- what contradicts another row or another file -------------------------------------


@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["lf", "crlf"])
@pytest.mark.parametrize("again", ["7,3,4.5,5", "7,3,0.5,964981247"])
def test_a_second_rating_of_a_pair_is_named_with_its_line(tmp_path, again, end):
    ratings = (GOOD["ratings.csv"] + again + "\n").replace("\n", end)
    message = error_of(write(tmp_path, ratings=ratings))
    assert message.startswith("ratings.csv, line 6, column movieId: ")
    assert "userId 7" in message
    assert "movieId 3" in message
    assert "earlier line" in message


def test_the_same_movie_by_two_users_is_no_repetition(tmp_path):
    tables = reading.read(write(tmp_path, ratings=HEADER + "7,1,4.0,1\n9,1,4.0,1\n"))
    assert len(tables.ratings) == 2


def test_a_second_line_of_a_movie_is_named(tmp_path):
    movies = GOOD["movies.csv"] + "2,Heat again,Action\n"
    message = error_of(write(tmp_path, movies=movies))
    assert message.startswith("movies.csv, line 5, column movieId: movieId 2 ")


def test_two_movies_may_share_a_title(tmp_path):
    movies = GOOD["movies.csv"] + "4,Heat (1995),Action\n"
    assert len(reading.read(write(tmp_path, movies=movies)).movies) == 4


@pytest.mark.parametrize("name", ["ratings", "tags"])
@pytest.mark.parametrize("blank", ["", "\n\n"], ids=["plain", "after blank lines"])
def test_an_unknown_movie_is_named_with_its_line(tmp_path, name, blank):
    row = "7,99,4.0,1\n" if name == "ratings" else "7,99,odd,1\n"
    good = GOOD[f"{name}.csv"]
    message = error_of(write(tmp_path, **{name: good + blank + row}))
    line = good.count("\n") + blank.count("\n") + 1
    assert message == (
        f"{name}.csv, line {line}, column movieId: 99 is not in movies.csv."
    )


def test_a_repeated_row_after_an_endless_title_is_still_named(tmp_path):
    # Longer than the csv module's limit of a field, which the fast path has not.
    movies = GOOD["movies.csv"] + f"4,{'x' * 140_000},Drama\n1,Again,Drama\n"
    assert error_of(write(tmp_path, movies=movies)).startswith("movies.csv, line ")


# --- whatever comes -------------------------------------------------------------------

WHOLE_FILE = r"is missing\.|is empty\.|has a header but no rows\.$|, not CSV\."
NASTY = [
    *(b"\n", b"\r", b"\r\n", b",", b",,", b'"', b'""', b"\0", b"\xff", b"\xef\xbb\xbf"),
    *(
        b" ",
        b"\t",
        b"-",
        b"+",
        b".",
        b"e5",
        b"_",
        b"nan",
        b"NA",
        b"inf",
        b"0x",
        b"9" * 20,
    ),
    *("é\u2028".encode(), b"\\", b"#", b";", b"5.5", b"0", b"1,1,4.0,5\n", b"userId"),
]
mutations = st.lists(
    st.one_of(
        st.tuples(st.just("insert"), st.integers(0, 10**6), st.sampled_from(NASTY)),
        st.tuples(st.just("replace"), st.integers(0, 10**6), st.binary(max_size=3)),
        st.tuples(st.just("delete"), st.integers(0, 10**6), st.integers(1, 12)),
        st.tuples(st.just("repeat"), st.integers(0, 10**6), st.integers(1, 40)),
    ),
    min_size=1,
    max_size=3,
)


def mutate(content, changes):
    for what, where, how in changes:
        where %= len(content) + 1
        if what == "insert":
            content = content[:where] + how + content[where:]
        elif what == "replace":
            content = content[:where] + how + content[where + len(how) :]
        elif what == "delete":
            content = content[:where] + content[where + how :]
        else:
            content = content[:where] + content[where : where + how] + content[where:]
    return content


def rows_as_python_reads_them(path):
    """The file by the csv module alone: the oracle of what was read."""
    text = path.read_bytes().decode("utf-8-sig")
    header, *rows = (row for row in csv.reader(io.StringIO(text, newline="")) if row)
    return [dict(zip(header, row, strict=True)) for row in rows]


def read_or_refuse(folder):
    """Either exactly what the csv module sees, or a `DataError` on one line."""
    try:
        tables = reading.read(folder)
    except DataError as error:
        message = str(error)
        assert message.isprintable(), repr(message)
        assert re.search(rf"\.csv, line \d+|{WHOLE_FILE}", message), message
        return
    seen = {name: rows_as_python_reads_them(folder / name) for name in GOOD}
    assert list(tables.ratings.itertuples(index=False, name=None)) == [
        (int(x["userId"]), int(x["movieId"]), float(x["rating"]), int(x["timestamp"]))
        for x in seen["ratings.csv"]
    ]
    assert list(tables.movies.itertuples(index=False, name=None)) == [
        (int(x["movieId"]), x["title"], x["genres"]) for x in seen["movies.csv"]
    ]
    assert list(tables.tags.itertuples(index=False, name=None)) == [
        (int(x["userId"]), int(x["movieId"]), x["tag"], int(x["timestamp"]))
        for x in seen["tags.csv"]
        if x["tag"].strip()
    ]
    ratings = tables.ratings
    assert ratings["rating"].isin(np.arange(1, 11) / 2).all()
    assert not ratings.duplicated(["userId", "movieId"]).any()
    assert ratings["movieId"].isin(tables.movies["movieId"]).all()
    assert tables.tags["movieId"].isin(tables.movies["movieId"]).all()
    for table in tables[:3]:
        ids = table.filter(regex="Id$|timestamp").to_numpy()
        assert ((ids >= 0) & (ids <= MAX_ID)).all()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("any")


@pytest.mark.parametrize("name", ["ratings", "movies", "tags"])
@given(changes=mutations)
@settings(max_examples=100, deadline=None)
def test_a_damaged_file_is_read_exactly_or_refused(folder, name, changes):
    content = mutate(GOOD[f"{name}.csv"].encode(), changes)
    read_or_refuse(write(folder, **{name: content}))


@pytest.mark.parametrize("name", ["ratings", "movies", "tags"])
@given(content=st.binary(max_size=200), keep_header=st.booleans())
@settings(max_examples=50, deadline=None)
def test_random_bytes_are_read_exactly_or_refused(folder, name, content, keep_header):
    if keep_header:
        content = GOOD[f"{name}.csv"].split("\n")[0].encode() + b"\n" + content
    read_or_refuse(write(folder, **{name: content}))


cells = st.one_of(
    st.sampled_from(["1", "2", "3.5", "0.5", "", " ", "x", "1.5", "nan", '"', "a,b"]),
    st.text(max_size=4),
)


@pytest.mark.parametrize("name", ["ratings", "movies", "tags"])
@given(rows=st.lists(st.lists(cells, min_size=2, max_size=5), max_size=4))
@settings(max_examples=50, deadline=None)
def test_rows_of_any_cells_are_read_exactly_or_refused(folder, name, rows):
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    content = GOOD[f"{name}.csv"] + text.getvalue()
    content = content.encode("utf-8", errors="replace")
    read_or_refuse(write(folder, **{name: content}))


texts = st.text(
    st.characters(codec="utf-8", exclude_characters="\0\r"), min_size=1, max_size=12
).filter(str.strip)


@given(
    titles=st.lists(texts, min_size=1, max_size=5),
    end=st.sampled_from(["\n", "\r\n"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)
@settings(max_examples=60, deadline=None)
def test_any_titles_and_tags_survive_being_written_and_read(
    folder, titles, end, quoting
):
    def table(*rows):
        text = io.StringIO(newline="")
        csv.writer(text, lineterminator=end, quoting=quoting).writerows(rows)
        return text.getvalue()

    ids = range(1, len(titles) + 1)
    write(
        folder,
        movies=table(
            ("movieId", "title", "genres"),
            *((i, t, t) for i, t in zip(ids, titles, strict=True)),
        ),
        ratings=HEADER + "7,1,4.0,1\n",
        tags=table(
            ("userId", "movieId", "tag", "timestamp"),
            *((1, i, t, 0) for i, t in zip(ids, titles, strict=True)),
        ),
    )
    tables = reading.read(folder)
    assert tables.movies["title"].tolist() == titles
    assert tables.movies["genres"].tolist() == titles
    assert tables.tags["tag"].tolist() == titles


# --- large files ----------------------------------------------------------------------


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize("line", [None, 2, 3])
def test_a_large_odd_file_is_read_by_chunks_to_the_same_end(
    tmp_path, monkeypatch, name, line
):
    key = name.removesuffix(".csv")
    column = GOOD[name].split(",", 1)[0]
    text = GOOD[name] if line is None else edit(name, line, column, "x")
    folder = write(tmp_path, **{key: text.replace("\n", "\n\n")})  # odd: blank lines

    def outcome():
        try:
            return [table.to_dict("list") for table in reading.read(folder)[:3]]
        except DataError as error:
            return str(error)

    whole = outcome()
    assert isinstance(whole, list) == (line is None)
    monkeypatch.setattr(csvfile, "LARGE", 0)
    monkeypatch.setattr(csvfile, "CHUNK", 1)
    assert outcome() == whole
