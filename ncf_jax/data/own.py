"""Anybody's ratings in one file -> tables: CSV, TSV or Parquet, and item features.

Ratings have a column each of users, items, stars from 0.5 to 5 and, if there are any,
seconds since 1970. Ids that are whole numbers are kept; where one is not, all of its
column are numbered from 1 in order of first appearance. Items may be described in a
second file by titles, genres and tags, with `|` between several. What is not there is
zeros, and a sentence in the notes.
"""

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from ncf_jax.config_data import COLUMNS
from ncf_jax.data import Tell, columnar, csvfile, parquet, silent, tables
from ncf_jax.data.tables import (
    ANY_RATING,
    ANY_TEXT,
    ID,
    NO_GENRES,
    RATING,
    SECONDS,
    TEXT,
    TIME,
)
from ncf_jax.errors import ConfigError, DataError

DELIMITERS = {".csv": ",", ".tsv": "\t"}
FEATURES = ("title", "genres", "tags")
Texts = list[str]


class Ids(NamedTuple):
    """A column of ids.

    Attributes:
      values: [N] int64.
      texts: what the file calls each of `known`.
      known: the distinct values, in order of first appearance.
      numbered: whether they are our numbers, and not the file's.
    """

    values: np.ndarray
    texts: Texts
    known: np.ndarray
    numbered: bool


def files(path: Path, features: Path | None) -> Iterator[tuple[str, Path]]:
    """What a data set is made of, by name.

    Raises:
      ConfigError: a file is of none of the known kinds.
      DataError: the features' file is not there.
    """
    for flag, each in (("dataset", path), ("item_features", features)):
        if each is None:
            continue
        if each.suffix not in (*DELIMITERS, ".parquet"):
            raise ConfigError(
                f"--{flag} wants a file that ends in .csv, .tsv or .parquet; found "
                f"{each}."
            )
        if not each.is_file():
            raise DataError(f"--{flag}={each} is not there.")
        yield flag, each


def hash_of(path: Path) -> str:
    """The sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read(
    path: Path,
    columns: tuple[str, ...] = COLUMNS,
    features: Path | None = None,
    tell: Tell = silent,
) -> tables.Tables:
    """Reads a file of ratings, and that of its items' features.

    Args:
      path: ends in .csv, .tsv or .parquet.
      columns: the names of users, items, ratings and, if there are any, times.
      features: a file with a column item, named so or as in `columns`, and any of
        title, genres and tags.
      tell: is told how many rows were read, now and then.

    Returns:
      Tables as of a MovieLens release.

    Raises:
      DataError: a file is missing or malformed; names file, line or row, and column.
    """
    names = columns
    if columns == COLUMNS and COLUMNS[-1] not in _names(path):
        names = columns[:3]  # nobody asked for times
    table = _ratings(path, names, tell)
    user, item = (_ids(table[name]) for name in names[:2])
    _refuse_repeated(path, user, item, names)
    notes = []
    for ids, of in ((user, "users"), (item, "items")):
        if ids.numbered:
            shown = ", and titles show their ids" if ids is item else ""
            notes.append(
                f"{path.name}: ids of {of} are no whole numbers, so {of} are numbered "
                f"from 1 in order of first appearance{shown}"
            )
    if len(names) == 3:
        notes.append(f"{path.name} has no times: all are 0")
    ratings = pd.DataFrame(
        {
            "userId": user.values,
            "movieId": item.values,
            "rating": table[names[2]].to_numpy(np.float64),
            "timestamp": (
                table[names[3]].to_numpy(np.int64)
                if len(names) > 3
                else np.zeros(len(table), np.int64)
            ),
        }
    )
    movies, tags, more = _described(path, item, names[1], features, tell)
    return tables.Tables(ratings, movies, tags, (*notes, *more))


def _names(path: Path) -> list[str]:
    if path.suffix in DELIMITERS:
        return csvfile.header_of(path, DELIMITERS[path.suffix])
    return parquet.names_of(path)


def _read(path: Path, columns: csvfile.Columns, tell: Tell) -> pd.DataFrame:
    if path.suffix in DELIMITERS:
        return csvfile.read_table(path, columns, tell, DELIMITERS[path.suffix])
    return parquet.read_table(path, columns)


def _ratings(path: Path, names: tuple[str, ...], tell: Tell) -> pd.DataFrame:
    if path.suffix == ".csv" and len(names) == 4:
        # As MovieLens writes it: ten times as fast.
        plain = dict(zip(names, (ID, ID, RATING, TIME), strict=True))
        table = columnar.read(path, plain, tell)
        if table is not None and not _has_leading_zeros(path):
            return table
    time = SECONDS if path.suffix in DELIMITERS else TIME
    forms = dict(zip(names, (TEXT, TEXT, ANY_RATING, time), strict=False))
    return _read(path, forms, tell)


def _has_leading_zeros(path: Path) -> bool:
    """Whether a cell of a plain file is no number but a text of digits, as 007 is."""
    with path.open("rb") as file:
        end = b""
        while block := file.read(columnar.BLOCK):
            block = end + block
            for first in (b"\n0", b",0"):
                alone = sum(block.count(first + x) for x in (b",", b".", b"\n", b"\r"))
                if block.count(first, 0, len(block) - 1) != alone:
                    return True
            end = block[-2:]
    return False


def _ids(column: pd.Series) -> Ids:
    code, distinct = pd.factorize(column.to_numpy())
    texts = [str(one) for one in distinct]
    if all(tables.is_id(text) and str(int(text)) == text for text in texts):
        known = np.array([int(text) for text in texts], np.int64)
        return Ids(known[code], texts, known, False)
    known = np.arange(1, len(texts) + 1)
    return Ids(code.astype(np.int64) + 1, texts, known, True)


def _where(path: Path, row: int) -> str:
    if path.suffix in DELIMITERS:
        return f"line {csvfile.line_of(path, row, DELIMITERS[path.suffix])}"
    return f"row {row + 1}"


def _refuse_repeated(path: Path, user: Ids, item: Ids, names: Iterable[str]) -> None:
    if not columnar.repeated(user.values, item.values):
        return
    pairs = pd.DataFrame({"user": user.values, "item": item.values})
    repeated = pairs.duplicated().to_numpy()
    if repeated.any():
        row = int(repeated.argmax())
        of = (ids.texts[list(ids.known).index(ids.values[row])] for ids in (user, item))
        pair = ", ".join(f"{n} {x}" for n, x in zip(names, of, strict=False))
        raise DataError(
            f"{path}, {_where(path, row)}: {pair} was rated in an earlier row, too. "
            f"Keep one of them."
        )


def _described(
    path: Path, item: Ids, item_name: str, features: Path | None, tell: Tell
) -> tuple[pd.DataFrame, pd.DataFrame, list[str]]:
    """The movies and tags, and what there is to say of them."""
    found = pd.DataFrame(index=pd.Index(item.texts))
    source, notes = path.name, []
    if features is not None:
        table = _features(features, item_name, tell)
        source = features.name
        lacking = ~found.index.isin(table.index)
        unrated = ~table.index.isin(found.index)
        if lacking.all():
            raise DataError(
                f"{features}: none of its {len(table):,} items, such as "
                f"{table.index[0]!r}, is rated in {path}."
            )
        if lacking.any():
            notes.append(
                f"{source} lacks {lacking.sum():,} of {len(found):,} rated items: "
                f"their titles are their ids and their features zeros"
            )
        if unrated.any():
            notes.append(
                f"{source}: left out {unrated.sum():,} items that nobody rated"
            )
        found = table.reindex(found.index)
    columns = {n: found.get(n, pd.Series("", found.index)).fillna("") for n in FEATURES}
    instead = {"title": "titles are ids", "genres": "genre features are zeros"}
    instead["tags"] = "tag features are zeros"
    for name in FEATURES:
        if not columns[name].str.strip().any():
            what = "titles" if name == "title" else name
            notes.append(f"{source} has no {what}: {instead[name]}")
    titles = [t.strip() or x for t, x in zip(columns["title"], item.texts, strict=True)]
    genres = ["|".join(_several(text)) or NO_GENRES for text in columns["genres"]]
    movies = pd.DataFrame({"movieId": item.known, "title": titles, "genres": genres})
    several = [_several(text) for text in columns["tags"]]
    movie = np.repeat(item.known, [len(each) for each in several])
    tags = pd.DataFrame(
        {
            "userId": np.zeros(len(movie), np.int64),
            "movieId": movie.astype(np.int64),
            "tag": pd.Series([tag for each in several for tag in each], dtype="str"),
            "timestamp": np.zeros(len(movie), np.int64),
        }
    )
    return movies, tags, notes


def _several(text: str) -> Texts:
    """What stands between `|`, without repetitions."""
    return list(dict.fromkeys(x for one in text.split("|") if (x := one.strip())))


def _features(path: Path, item_name: str, tell: Tell) -> pd.DataFrame:
    """The features of items by their id, as text."""
    header = _names(path)
    key = item_name if item_name in header else "item"
    known = [name for name in FEATURES if name in header]
    if not known and header:
        raise DataError(
            f"{path} has none of the columns {', '.join(FEATURES)}; found "
            f"{','.join(header)[:200]!r}."
        )
    table = _read(path, {key: TEXT} | dict.fromkeys(known, ANY_TEXT), tell)
    table = table.astype("str").rename(columns={key: "item"})
    repeated = table.duplicated(["item"]).to_numpy()
    if repeated.any():
        row = int(repeated.argmax())
        raise DataError(
            f"{path}, {_where(path, row)}, column {key}: {table['item'].iloc[row]} "
            f"stands in an earlier row, too. Keep one of them."
        )
    return table.set_index("item")
