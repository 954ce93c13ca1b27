"""How columns must look, and what makes rows impossible together."""

import pandas as pd
import pytest

from ncf_jax.data import tables
from ncf_jax.data.tables import (
    ANY_RATING,
    ANY_TEXT,
    ID,
    RATING,
    SECONDS,
    TEXT,
    TIME,
    WHOLE_RATING,
)
from ncf_jax.errors import DataError

HALVES = ["0.5", "1", "1.0", "3.5", "4.", "5", "5.0", "05"]
FORMS = {
    "id": (ID, ["0", "7", "007", str(2**53)], ["", "-1", "+1", " 1", "1.0", "x", "²"]),
    "time": (TIME, ["0", "978300760"], ["", "1.5", "-3", "soon", "1e9"]),
    "seconds": (SECONDS, ["0", "97", "97.", "97.000"], ["", ".", ".0", "1.5", "-3.0"]),
    "rating": (RATING, HALVES, ["0", "0.25", "5.5", ".5", "1e0", "nan", "", "-1"]),
    "whole": (WHOLE_RATING, ["1", "5", "4.0"], ["0", "0.5", "3.5", "6", ""]),
    "any": (
        ANY_RATING,
        [*HALVES, ".5", "1.23456", "4.9", "1e0", "50e-1", "0.05E1"],
        [
            "0.49",
            "5.01",
            "nan",
            "inf",
            "-1",
            "",
            ".",
            "1e",
            "1_0",
            "0x1",
            " 3",
            "1e999",
        ],
    ),
    "text": (TEXT, ["x", " x"], ["", " ", "\t"]),
    "any text": (ANY_TEXT, ["", "x"], []),
}


@pytest.mark.parametrize("name", FORMS)
def test_a_cell_is_of_its_form_or_not(name):
    column, good, bad = FORMS[name]
    assert [text for text in good if not column.check(text)] == []
    assert [text for text in bad if column.check(text)] == []


@pytest.mark.parametrize("name", FORMS)
def test_good_cells_are_of_the_type_said(name):
    column, good, _ = FORMS[name]
    text = str(pd.Series(["x"]).dtype)  # object, before pandas 3
    wanted = {"str": text}.get(column.dtype, column.dtype)
    assert str(pd.Series(good, dtype=str).astype(column.dtype).dtype) == wanted


def line_of(path, row):
    return 100 + row


RATINGS = pd.DataFrame({"userId": [1, 1, 2, 1], "movieId": [5, 6, 5, 6]})


def test_a_repeated_row_is_named_by_its_line(tmp_path):
    with pytest.raises(DataError) as caught:
        tables.refuse_repeated(tmp_path, RATINGS, ["userId", "movieId"], line_of)
    assert f"{tmp_path}, line 103, column movieId: userId 1, movieId 6 stands" in str(
        caught.value
    )
    with pytest.raises(DataError, match="line 102, column movieId: movieId 5 stands"):
        tables.refuse_repeated(tmp_path, RATINGS, ["movieId"], line_of)
    # The control: three rows of different pairs.
    tables.refuse_repeated(tmp_path, RATINGS[:3], ["userId", "movieId"], line_of)


def test_an_unknown_movie_is_named_by_its_line(tmp_path):
    movies = pd.DataFrame({"movieId": [5]})
    with pytest.raises(
        DataError, match=r"line 101, column movieId: 6 is not in m\.dat"
    ):
        tables.refuse_unknown_movies(tmp_path, RATINGS, movies, "m.dat", line_of)
    both = pd.DataFrame({"movieId": [6, 5]})
    tables.refuse_unknown_movies(tmp_path, RATINGS, both, "m.dat", line_of)


def test_empty_tags_are_left_out_and_counted():
    found = pd.DataFrame({"movieId": [1, 2, 3], "tag": ["a", " ", ""]})
    kept, notes = tables.without_blank("tags.x", found)
    assert kept["tag"].tolist() == ["a"]
    assert notes == ("tags.x: left out 2 empty tags",)
    assert tables.without_blank("tags.x", kept)[1] == ()


def test_no_tags_have_the_columns_of_tags():
    none = tables.no_tags()
    assert list(none) == ["userId", "movieId", "tag", "timestamp"]
    assert (len(none), str(none["movieId"].dtype)) == (0, "int64")
