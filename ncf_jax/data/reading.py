"""MovieLens files -> tables. A bad file is named with its line and column.

A plain file is read by blocks (`columnar`). Any other, good or bad, takes the strict
path here, which parses whole columns as text and checks them; only when a check fails
does a second, slow pass read the file again to find the first bad line.

Repairs, each counted in the notes: a byte-order mark is skipped, CRLF is read as LF,
and a tag that is empty or only spaces is left out. Nothing else is repaired.
"""

import contextlib
import csv
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from ncf_jax.data import Tell, columnar, silent
from ncf_jax.errors import DataError

csv.field_size_limit(2**31 - 1)
CHUNK = 2**20  # rows
LARGE = 2**28  # bytes; a larger file is never in memory as a whole
MAX_ID = 2**53  # ids travel through JSON and spreadsheets, which hold no larger ones
Check = Callable[[str], bool]


class Tables(NamedTuple):
    """The files of one release.

    Attributes:
      ratings: userId, movieId (int64), rating (float64 stars), timestamp (int64 s).
      movies: movieId (int64), title, genres (str, `|` between genres).
      tags: userId, movieId (int64), tag (str), timestamp (int64 s).
      notes: counted repairs, a sentence each.
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


def _is_id(text: str) -> bool:
    return bool(re.fullmatch("[0-9]{1,30}", text)) and int(text) <= MAX_ID


def _is_rating(text: str) -> bool:
    if not re.fullmatch(r"[0-9]+\.?[0-9]*", text):
        return False
    doubled = 2 * float(text)
    return doubled.is_integer() and 1 <= doubled <= 10


ID = Column(f"a whole number from 0 to {MAX_ID}", _is_id, "int64")
RATING = Column("stars from 0.5 to 5.0 in half-star steps", _is_rating, "float64")
TIME = Column("whole seconds since 1970", _is_id, "int64")
TEXT = Column("text that is not empty", lambda text: bool(text.strip()), "str")
ANY_TEXT = Column("text", lambda text: True, "str")

RATINGS = {"userId": ID, "movieId": ID, "rating": RATING, "timestamp": TIME}
MOVIES = {"movieId": ID, "title": TEXT, "genres": TEXT}
TAGS = {"userId": ID, "movieId": ID, "tag": ANY_TEXT, "timestamp": TIME}


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
    if columnar.repeated(ratings["userId"].to_numpy(), ratings["movieId"].to_numpy()):
        refuse_repeated(folder / "ratings.csv", ratings, ["userId", "movieId"])
    _refuse_unknown_movies(folder / "ratings.csv", ratings, movies)
    tags, notes = reading_tags.result()
    return Tables(ratings, movies, tags, notes)


def _read_tags(
    path: Path, movies: pd.DataFrame, tell: Tell
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """The tags that are not empty, and what is to be said of the others."""
    if not path.exists():
        none = pd.DataFrame({name: [] for name in TAGS}).astype({"movieId": "int64"})
        return none, ("tags.csv: not there, so tag features are zeros",)
    tags = read_table(path, TAGS, tell)
    _refuse_unknown_movies(path, tags, movies)
    blank = [text for text in tags["tag"].unique() if not text.strip()]
    empty = tags["tag"].isin(blank)
    notes = (f"tags.csv: left out {empty.sum():,} empty tags",) if blank else ()
    return tags[~empty], notes


def read_table(path: Path, columns: dict[str, Column], tell: Tell) -> pd.DataFrame:
    """A CSV file's `columns`, checked; raises DataError naming file and line."""
    if not path.is_file():
        raise DataError(
            f"{path} is missing. Expected a MovieLens CSV file with the columns "
            f"{', '.join(columns)}."
        )
    plain = columnar.read(path, columns, tell)
    return _read_strictly(path, columns) if plain is None else plain


def _read_strictly(path: Path, columns: dict[str, Column]) -> pd.DataFrame:
    _check_header(path, columns)
    table = None
    if _widths_fine(path):
        # pandas' parser errors are ValueErrors.
        with contextlib.suppress(ValueError, OverflowError):
            table = _read_as_text(path, columns)
    if table is None:
        raise _first_bad_line(path, columns)
    if not len(table) and columns is not TAGS:
        raise DataError(f"{path} has a header but no rows.")
    table = table[list(columns)]
    for name, column in columns.items():
        if column.dtype == "str":
            table[name] = table[name].str.replace("\r\n", "\n")
    return table


def _read_as_text(path: Path, columns: dict[str, Column]) -> pd.DataFrame | None:
    """The table, or None when a cell is bad; so many rows are text at once."""
    parts = []
    with pd.read_csv(
        path,
        usecols=list(columns),
        dtype=str,
        encoding="utf-8-sig",
        keep_default_na=False,
        chunksize=CHUNK,
    ) as chunks:
        for chunk in chunks:
            if not _columns_fine(chunk, columns):
                return None
            parts.append(chunk.astype({n: c.dtype for n, c in columns.items()}))
    return pd.concat(parts, ignore_index=True)


def _columns_fine(table: pd.DataFrame, columns: dict[str, Column]) -> bool:
    for name, column in columns.items():
        if not all(map(column.check, table[name].unique())):
            return False
    return True


def _widths_fine(path: Path) -> bool:
    """Whether each row has the header's width and no NUL, which pandas passes over."""
    if path.stat().st_size <= LARGE:
        content = path.read_bytes()
        if b"\0" in content:
            return False
        header = content.splitlines()[0].count(b",")
        lines = content.rstrip(b"\r\n").count(b"\n") + 1
        if b'"' not in content and content.count(b",") == lines * header:
            # Every line could still be compensated by another, so it is one pass more:
            # a line with a comma too many leaves some line with one too few.
            return all(x.count(b",") == header for x in content.splitlines() if x)
    try:
        widths = set()
        for _, row in _rows(path):  # row by row, so that memory is bounded
            if any("\0" in cell for cell in row):
                return False
            widths.add(len(row))
    except (csv.Error, UnicodeDecodeError):
        return False
    return len(widths) == 1


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Each row with the number of the line it starts on (1 is the header)."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, strict=True)
        start = 1
        while True:
            try:
                row = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                raise csv.Error(start, str(error)) from None
            if row:  # a blank line holds no row
                yield start, row
            start = reader.line_num + 1


def _check_header(path: Path, columns: dict[str, Column]) -> None:
    try:
        header = next(iter(_rows(path)), (1, []))[1]
    except UnicodeDecodeError as error:
        raise _not_utf8(path, error) from None
    except csv.Error as error:
        raise DataError(
            f"{path}, line 1: not a CSV header ({error.args[1]})."
        ) from None
    if not header:
        raise DataError(f"{path} is empty. Expected the header {','.join(columns)}.")
    missing = [name for name in columns if name not in header]
    if missing:
        raise DataError(
            f"{path}, line 1: column {missing[0]} is missing. Expected the header "
            f"{','.join(columns)}; found {','.join(header)[:200]!r}."
        )


def _first_bad_line(path: Path, columns: dict[str, Column]) -> DataError:
    try:
        rows = _rows(path)
        _, header = next(rows)
        for line, row in rows:
            if len(row) != len(header):
                return DataError(
                    f"{path}, line {line}: expected {len(header)} columns "
                    f"({','.join(columns)}); found {len(row)}."
                )
            for name, column in columns.items():
                text = row[header.index(name)]
                if "\0" in text or not column.check(text):
                    return DataError(
                        f"{path}, line {line}, column {name}: expected "
                        f"{column.form}; found {text[:80]!r}."
                    )
    except UnicodeDecodeError as error:
        return _not_utf8(path, error)
    except csv.Error as error:
        where, why = error.args
        return DataError(f"{path}, line {where}: not CSV ({why}).")
    return DataError(f"{path} cannot be read as a MovieLens CSV file.")


def _not_utf8(path: Path, error: UnicodeDecodeError) -> DataError:
    # The decoder counts from its own buffer; the file itself tells the line.
    content = path.read_bytes()
    try:
        content.decode("utf-8")
        where = 1
    except UnicodeDecodeError as whole:
        where = content[: whole.start].count(b"\n") + 1
    return DataError(
        f"{path}, line {where}: not UTF-8 text ({error.reason}). Save it as UTF-8."
    )


def refuse_repeated(path: Path, table: pd.DataFrame, keys: list[str]) -> None:
    """Raises DataError, naming file and line, where two rows have the same keys."""
    repeated = table.duplicated(keys).to_numpy()
    if repeated.any():
        row = int(repeated.argmax())
        pair = ", ".join(f"{key} {table[key].iloc[row]}" for key in keys)
        raise DataError(
            f"{path}, line {_line_of(path, row)}, column {keys[-1]}: {pair} stands in "
            f"an earlier line too. Keep one of them."
        )


def _refuse_unknown_movies(
    path: Path, table: pd.DataFrame, movies: pd.DataFrame
) -> None:
    ids = movies["movieId"].to_numpy()
    unknown = ~columnar.known(table["movieId"].to_numpy(), ids)
    if unknown.any():
        row = int(unknown.argmax())
        raise DataError(
            f"{path}, line {_line_of(path, row)}, column movieId: "
            f"{table['movieId'].iloc[row]} is not in movies.csv."
        )


def _line_of(path: Path, row: int) -> int:
    """The line on which data row `row` (from 0) starts."""
    for position, (line, _) in enumerate(_rows(path)):
        if position == row + 1:
            return line
    raise AssertionError(f"{path} has no row {row}")
