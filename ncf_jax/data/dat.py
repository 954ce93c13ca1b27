"""The older releases' files -> tables. A bad file is named with its line and column.

- ml-1m and ml-10m: `ratings.dat`, `movies.dat` and `tags.dat` of fields between `::`,
  without a header. ml-1m rates in whole stars and has no tags.
- ml-100k: `u.data` of fields between tabs; `u.item` of fields between `|`, of which
  the last say, 0 or 1, whether the movie is of each genre of `u.genre`; no tags.

Ratings are parsed by blocks and whole columns. Only a block that is not as documented
sends a slow pass through the file, which names its first bad line. What a movie or tag
is called is split off from both ends of its line, so that it may hold the separator.

Texts are UTF-8 where they can be read as that, which ml-10m documents, and otherwise
Latin-1, which the others use. Repairs: a byte-order mark is skipped, CRLF is read as
LF, a blank line holds no row, an empty tag is left out and counted.
"""

import csv
import io
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from ncf_jax.data import Tell, columnar, silent, tables
from ncf_jax.data.columnar import BOM, OddError
from ncf_jax.data.lines import bad_cell, decoded, empty, line_of, rows_of
from ncf_jax.data.tables import (
    ANY_TEXT,
    ID,
    MOVIES,
    NO_GENRES,
    RATING,
    TAGS,
    TEXT,
    TIME,
    WHOLE_RATING,
    Column,
    Tables,
)
from ncf_jax.errors import DataError

NUMBERS = b"0123456789.\t\n"  # all there is in a block of ratings
SHORT_LINE = 18  # bytes of a line; with shorter ones arrays grow on the way
UNKNOWN = "unknown"  # a movie of this genre alone has none
FLAG = Column("0 or 1", lambda text: text in ("0", "1"), "int64")
GENRES_100K = [
    *("unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime"),
    *("Documentary", "Drama", "Fantasy", "Film-Noir", "Horror", "Musical", "Mystery"),
    *("Romance", "Sci-Fi", "Thriller", "War", "Western"),
]


class Form(NamedTuple):
    """How a release is written."""

    ratings: str
    separator: str
    rating: Column
    tags: str | None


FORMS = {
    "ml-1m": Form("ratings.dat", "::", WHOLE_RATING, None),
    "ml-10m": Form("ratings.dat", "::", RATING, "tags.dat"),
    "ml-100k": Form("u.data", "\t", WHOLE_RATING, None),
}


def read(folder: Path, form: str, tell: Tell = silent) -> Tables:
    """Reads the files of ml-1m, ml-10m or ml-100k.

    Args:
      folder: that holds them.
      form: which of the three.
      tell: is told how many rows were read, now and then.

    Returns:
      The tables, rows in the order of the files.

    Raises:
      DataError: a file is missing or a line is malformed; names file, line, column.
    """
    how = FORMS[form]
    if form == "ml-100k":
        path = folder / "u.item"
        movies = _items(path, _genres(folder / "u.genre"))
        latin: tuple[str, ...] = ()
    else:
        path = folder / "movies.dat"
        columns = dict(zip(MOVIES, (ID, TEXT, TEXT), strict=True))
        movies, latin = _texts(path, columns, before=1, after=1)
    tables.refuse_repeated(path, movies, ["movieId"], line_of)
    ratings = read_ratings(folder / how.ratings, form, tell)
    pair = ["userId", "movieId"]
    tables.refuse_repeated(folder / how.ratings, ratings, pair, line_of)
    where = path.name
    tables.refuse_unknown_movies(folder / how.ratings, ratings, movies, where, line_of)
    if how.tags is None:
        none = f"{form} has no tags: tag features are zeros"
        return Tables(ratings, movies, tables.no_tags(), (none,))
    path = folder / how.tags
    columns = dict(zip(TAGS, (ID, ID, ANY_TEXT, TIME), strict=True))
    tags, more = _texts(path, columns, before=2, after=1)
    tables.refuse_unknown_movies(path, tags, movies, where, line_of)
    tags, blank = tables.without_blank(path.name, tags)
    repaired = tuple(f"{x}: not UTF-8, read as Latin-1" for x in (*latin, *more))
    return Tables(ratings, movies, tags, (*repaired, *blank))


def read_ratings(path: Path, form: str, tell: Tell = silent) -> pd.DataFrame:
    """The rows of a file of users, items, ratings and times.

    Args:
      path: of ratings.dat, u.data or a file like it.
      form: ml-1m, ml-10m or ml-100k.
      tell: is told how many rows were read, now and then.

    Raises:
      DataError: the file is missing, empty or malformed; names file, line, column.
    """
    how = FORMS[form]
    columns = _rating_columns(how)
    if not path.is_file():
        raise DataError(f"{path} is missing. Expected lines of {_shown(how, columns)}.")
    parse = partial(_parse, how=how)
    try:
        with path.open("rb") as file:
            if file.read(len(BOM)) != BOM:
                file.seek(0)
            parts = columnar.parsed(path.name, columnar.pieces(file), parse, tell)
            table = columnar.filled(parts, columns, path.stat().st_size // SHORT_LINE)
    except (OddError, ValueError, OverflowError):  # pandas' parser errors included
        raise _first_bad_line(path, how, columns) from None
    if not len(table):
        raise empty(path, _shown(how, columns))
    return table


def _rating_columns(how: Form) -> dict[str, Column]:
    return {"userId": ID, "movieId": ID, "rating": how.rating, "timestamp": TIME}


def _shown(how: Form, columns: dict[str, Column]) -> str:
    between = " <tab> " if how.separator == "\t" else how.separator
    return between.join(columns)


def _parse(block: bytes, how: Form) -> pd.DataFrame:
    """The rows of some whole lines; `OddError` or ValueError if one is malformed.

    Nothing but digits, points, tabs and line ends is left to the parser, each in its
    place: so it cannot be lenient, and a field without a number is an error.
    """
    columns = _rating_columns(how)
    if how.separator == "::":
        pairs = block.count(b"::")
        if b"\t" in block or block.count(b":") != 2 * pairs:
            raise OddError
        block = block.replace(b"::", b"\t")
    if block.translate(None, NUMBERS):
        raise OddError
    while b"\n\n" in block:
        block = block.replace(b"\n\n", b"\n")
    block = block.removeprefix(b"\n")
    if not block:
        return pd.DataFrame({n: np.empty(0, c.dtype) for n, c in columns.items()})
    lines = block.count(b"\n")
    if not _in_place(block) or b"\t." in block or b"\t\t" in block:
        raise OddError
    table = pd.read_csv(
        io.BytesIO(block),
        sep="\t",
        header=None,
        names=list(columns),
        usecols=range(len(columns)),
        dtype={name: column.dtype for name, column in columns.items()},
        na_filter=False,
        skip_blank_lines=False,
        quoting=csv.QUOTE_NONE,
    )
    stars = table["rating"].to_numpy()
    steps = stars if how.rating is WHOLE_RATING else 2 * stars
    if (
        len(table) != lines
        or not np.isfinite(stars).all()
        or (steps % 1).any()
        or not (stars.min() >= 0.5 and stars.max() <= 5)
        or any(table[n].max() > tables.MAX_ID for n in columns if n != "rating")
    ):
        raise OddError
    return table


def _in_place(block: bytes) -> bool:
    """Whether each line has three tabs, and points in its third field alone.

    The parser would read `7.` as a whole number.
    """
    byte = np.frombuffer(block, np.uint8)
    ends = np.flatnonzero((byte == ord("\t")) | (byte == ord("\n")))
    if len(ends) % 4 or (byte[ends].reshape(-1, 4) != list(b"\t\t\t\n")).any():
        return False
    points = np.flatnonzero(byte == ord("."))
    return bool((np.searchsorted(ends, points) % 4 == 2).all())


def _first_bad_line(path: Path, how: Form, columns: dict[str, Column]) -> DataError:
    between = "tabs" if how.separator == "\t" else repr(how.separator)
    for line, row in rows_of(path):
        text = row.decode("latin-1")
        fields = text.split(how.separator)
        if len(fields) != len(columns):
            return DataError(
                f"{path}, line {line}: expected {len(columns)} fields between "
                f"{between} ({_shown(how, columns)}); found {text[:80]!r}."
            )
        for (name, column), field in zip(columns.items(), fields, strict=True):
            if not column.check(field):
                return bad_cell(path, line, name, column, field)
    return DataError(f"{path} cannot be read as {_shown(how, columns)}.")


def _texts(
    path: Path, columns: dict[str, Column], before: int, after: int
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """A file of `::` whose text, after some fields and before others, may hold `::`.

    Returns:
      The table, and the file's name if it is in Latin-1.
    """
    wanted = "::".join(columns)
    found, encoding = decoded(path, wanted)
    rows = []
    for line, text in found:
        fields = text.split("::", before)
        fields[-1:] = fields[-1].rsplit("::", after)
        if len(fields) != len(columns):
            raise DataError(
                f"{path}, line {line}: expected {len(columns)} fields between '::' "
                f"({wanted}); found {text[:80]!r}."
            )
        for (name, column), field in zip(columns.items(), fields, strict=True):
            if not column.check(field):
                raise bad_cell(path, line, name, column, field)
        rows.append(fields)
    table = pd.DataFrame(rows, columns=list(columns))
    dtypes = {name: column.dtype for name, column in columns.items()}
    return table.astype(dtypes), (path.name,) if encoding == "latin-1" else ()


def _genres(path: Path) -> list[str]:
    """The names of the flags in u.item; the documented ones if there is no u.genre."""
    if not path.is_file():
        return GENRES_100K
    wanted = "name|number"
    names: list[str] = []
    for line, text in decoded(path, wanted)[0]:
        name, mark, number = text.rpartition("|")
        if not mark or not name.strip() or number.strip() != str(len(names)):
            raise DataError(
                f"{path}, line {line}: expected {wanted}, here number {len(names)}; "
                f"found {text[:80]!r}."
            )
        names.append(name)
    return names


def _items(path: Path, genres: list[str]) -> pd.DataFrame:
    """The movies of u.item."""
    width = 5 + len(genres)
    wanted = f"id|title|release date|video release date|URL|{len(genres)} genre flags"
    rows = []
    for line, text in decoded(path, wanted)[0]:
        movie, _, rest = text.partition("|")
        title, *others = rest.rsplit("|", width - 2)
        if len(others) != width - 2:
            raise DataError(
                f"{path}, line {line}: expected {width} fields between '|' ({wanted}); "
                f"found {text.count('|') + 1}: {text[:80]!r}."
            )
        flags = others[3:]
        cells = [("movieId", ID, movie), ("title", TEXT, title)]
        cells += [(n, FLAG, flag) for n, flag in zip(genres, flags, strict=True)]
        for name, column, cell in cells:
            if not column.check(cell):
                raise bad_cell(path, line, name, column, cell)
        of = [n for n, flag in zip(genres, flags, strict=True) if flag == "1"]
        of = [name for name in of if name != UNKNOWN]
        rows.append((int(movie), title, "|".join(of) or NO_GENRES))
    table = pd.DataFrame(rows, columns=list(MOVIES))
    return table.astype({name: column.dtype for name, column in MOVIES.items()})
