"""A ratings file by blocks, for whoever cannot have it as a whole.

A plain file is parsed as `columnar` does; from the first block on that is not plain, a
file is read row by row. Memory is that of a few blocks.
"""

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from ncf_jax.data import Tell, columnar, csvfile, silent
from ncf_jax.data.tables import RATINGS
from ncf_jax.errors import DataError

ROWS = 2**16  # of a file that is not plain, at once


def blocks(path: Path, tell: Tell = silent) -> Iterator[pd.DataFrame]:
    """The rows of a MovieLens ratings file in order, a block at a time, checked.

    Args:
      path: of the file.
      tell: is told how many rows were read, now and then.

    Yields:
      userId, movieId (int64), rating (float64 stars), timestamp (int64 s).

    Raises:
      DataError: the file is missing or malformed; names file, line, column.
    """
    if not path.is_file():
        csvfile.read_table(path, RATINGS, tell)  # says what is wanted
    done = 0
    try:
        for block in columnar.blocks(path, RATINGS, tell):
            done += len(block)
            yield block
    except (columnar.OddError, ValueError, OverflowError):
        for block in _strict_blocks(path, done):
            done += len(block)
            yield block
    if not done:
        csvfile.read_table(path, RATINGS, tell)  # says that there is no row


def _strict_blocks(path: Path, skip: int) -> Iterator[pd.DataFrame]:
    columns = RATINGS
    texts: list[list[str]] = []

    def made() -> pd.DataFrame:
        cells = dict(zip(columns, zip(*texts, strict=True), strict=True))
        for name, column in columns.items():
            if not all(map(column.check, set(cells[name]))):
                raise _named(path)
        return pd.DataFrame(
            {n: np.array(cells[n], c.dtype) for n, c in columns.items()}
        )

    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file, strict=True)
            header = next(filter(None, rows), [])
            if any(header.count(name) != 1 for name in columns):
                raise _named(path)
            places = [header.index(name) for name in columns]
            for row in rows:
                if not row:
                    continue  # a blank line holds no row
                if len(row) != len(header):
                    raise _named(path)
                if skip:
                    skip -= 1
                    continue
                texts.append([row[place] for place in places])
                if len(texts) == ROWS:
                    yield made()
                    texts.clear()
    except (csv.Error, UnicodeDecodeError):
        raise _named(path) from None
    if texts:
        yield made()


def _named(path: Path) -> DataError:
    """What is wrong with the file, as the strict reader names it."""
    try:
        csvfile.read_table(path, RATINGS, silent)
    except DataError as error:
        return error
    return DataError(f"{path} cannot be read as a MovieLens CSV file.")
