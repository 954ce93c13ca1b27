"""The tables that every reader gives, and how their columns must look."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from ncf_jax.data import columnar
from ncf_jax.errors import DataError

MAX_ID = 2**53  # ids travel through JSON and spreadsheets, which hold no larger ones
NO_GENRES = "(no genres listed)"
Check = Callable[[str], bool]
LineOf = Callable[[Path, int], int]  # of a file, the line of a row of it, from 0


class Tables(NamedTuple):
    """What was read of one data set.

    Attributes:
      ratings: userId, movieId (int64), rating (float64 stars), timestamp (int64 s).
      movies: movieId (int64), title, genres (str, `|` between genres).
      tags: userId, movieId (int64), tag (str), timestamp (int64 s).
      notes: what was missing or repaired, a sentence each.
    """

    ratings: pd.DataFrame
    movies: pd.DataFrame
    tags: pd.DataFrame
    notes: tuple[str, ...]


class Column(NamedTuple):
    """How a column must look, in words for the reader and as a test for the program."""

    form: str
    check: Check
    dtype: str


def is_id(text: str) -> bool:
    """Whether `text` is a whole number that is not too large."""
    return bool(re.fullmatch("[0-9]{1,30}", text)) and int(text) <= MAX_ID


def _is_rating(text: str) -> bool:
    if not re.fullmatch(r"[0-9]+\.?[0-9]*", text):
        return False
    doubled = 2 * float(text)
    return doubled.is_integer() and 1 <= doubled <= 10


def _is_whole_rating(text: str) -> bool:
    return _is_rating(text) and float(text).is_integer()


def _is_any_rating(text: str) -> bool:
    number = re.fullmatch(r"[0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]{1,3})?|[0-9]+\.", text)
    return bool(number) and 0.5 <= float(text) <= 5


ID = Column(f"a whole number from 0 to {MAX_ID}", is_id, "int64")
RATING = Column("stars from 0.5 to 5.0 in half-star steps", _is_rating, "float64")
WHOLE_RATING = Column("whole stars from 1 to 5", _is_whole_rating, "float64")
ANY_RATING = Column(
    "a number from 0.5 to 5, to which ratings must be scaled", _is_any_rating, "float64"
)
TIME = Column("whole seconds since 1970", is_id, "int64")
SECONDS = Column(  # as programs write them that know no whole numbers: 978300760.0
    TIME.form, lambda text: is_id(re.sub(r"\.0*$", "", text)), "float64"
)
TEXT = Column("text that is not empty", lambda text: bool(text.strip()), "str")
ANY_TEXT = Column("text", lambda text: True, "str")

RATINGS = {"userId": ID, "movieId": ID, "rating": RATING, "timestamp": TIME}
MOVIES = {"movieId": ID, "title": TEXT, "genres": TEXT}
TAGS = {"userId": ID, "movieId": ID, "tag": ANY_TEXT, "timestamp": TIME}


def no_tags() -> pd.DataFrame:
    """A table of tags without a row."""
    return pd.DataFrame({name: [] for name in TAGS}).astype({"movieId": "int64"})


def without_blank(name: str, tags: pd.DataFrame) -> tuple[pd.DataFrame, tuple]:
    """The tags of file `name` that are not empty, and what is to be said of others."""
    blank = [text for text in tags["tag"].unique() if not text.strip()]
    empty = tags["tag"].isin(blank)
    notes = (f"{name}: left out {empty.sum():,} empty tags",) if blank else ()
    return tags[~empty], notes


def refuse_repeated(
    path: Path, table: pd.DataFrame, keys: list[str], line_of: LineOf
) -> None:
    """Raises DataError, naming file and line, where two rows have the same keys."""
    if len(keys) == 2 and not columnar.repeated(*(table[k].to_numpy() for k in keys)):
        return
    repeated = table.duplicated(keys).to_numpy()
    if repeated.any():
        row = int(repeated.argmax())
        pair = ", ".join(f"{key} {table[key].iloc[row]}" for key in keys)
        raise DataError(
            f"{path}, line {line_of(path, row)}, column {keys[-1]}: {pair} stands in "
            f"an earlier line too. Keep one of them."
        )


def refuse_unknown_movies(
    path: Path, table: pd.DataFrame, movies: pd.DataFrame, where: str, line_of: LineOf
) -> None:
    """Raises DataError where a row's movie is not among those of the file `where`."""
    ids = movies["movieId"].to_numpy()
    unknown = ~columnar.known(table["movieId"].to_numpy(), ids)
    if unknown.any():
        row = int(unknown.argmax())
        raise DataError(
            f"{path}, line {line_of(path, row)}, column movieId: "
            f"{table['movieId'].iloc[row]} is not in {where}."
        )
