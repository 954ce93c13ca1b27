"""MovieLens files in CSV -> tables. A bad file is named with its line and column.

A plain file is read by blocks (`columnar`); any other, good or bad, strictly
(`csvfile`). The older releases' files are read by `dat`.

Repairs, each counted in the notes: a byte-order mark is skipped, CRLF is read as LF,
and a tag that is empty or only spaces is left out. Nothing else is repaired.
"""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd

from ncf_jax.data import Tell, silent, tables
from ncf_jax.data.csvfile import line_of
from ncf_jax.data.csvfile import read_table as read_table
from ncf_jax.data.tables import ID as ID
from ncf_jax.data.tables import MOVIES, RATINGS, TAGS
from ncf_jax.data.tables import RATING as RATING
from ncf_jax.data.tables import Column as Column
from ncf_jax.data.tables import Tables as Tables


def read(folder: Path, tell: Tell = silent) -> Tables:
    """Reads ratings.csv, movies.csv and, when it is there, tags.csv.

    Args:
      folder: of one release in the MovieLens CSV format (UTF-8, one header row).
      tell: is told how many rows of a large file were read, now and then.

    Returns:
      The tables, rows in the order of the files.

    Raises:
      DataError: a file is missing or a row is malformed; names file, line, column.
    """
    movies = read_table(folder / "movies.csv", MOVIES, tell)
    refuse_repeated(folder / "movies.csv", movies, ["movieId"])
    beside = ThreadPoolExecutor(1)  # the tags, while ratings are read
    reading_tags = beside.submit(_read_tags, folder / "tags.csv", movies, tell)
    beside.shutdown(wait=False)
    ratings = read_table(folder / "ratings.csv", RATINGS, tell)
    refuse_repeated(folder / "ratings.csv", ratings, ["userId", "movieId"])
    _refuse_unknown_movies(folder / "ratings.csv", ratings, movies)
    tags, notes = reading_tags.result()
    return Tables(ratings, movies, tags, notes)


def _read_tags(
    path: Path, movies: pd.DataFrame, tell: Tell
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """The tags that are not empty, and what is to be said of the others."""
    if not path.exists():
        return tables.no_tags(), ("tags.csv: not there, so tag features are zeros",)
    tags = read_table(path, TAGS, tell)
    _refuse_unknown_movies(path, tags, movies)
    return tables.without_blank(path.name, tags)


def refuse_repeated(path: Path, table: pd.DataFrame, keys: list[str]) -> None:
    """Raises DataError, naming file and line, where two rows have the same keys."""
    tables.refuse_repeated(path, table, keys, line_of)


def _refuse_unknown_movies(
    path: Path, table: pd.DataFrame, movies: pd.DataFrame
) -> None:
    tables.refuse_unknown_movies(path, table, movies, "movies.csv", line_of)
