"""Lines of text files that have no header: what they hold, and where."""

import re
from collections.abc import Iterator
from pathlib import Path

from ncf_jax.data.columnar import BOM
from ncf_jax.data.tables import Column
from ncf_jax.errors import DataError

CONTROL = re.compile("[\0-\x08\x0b-\x1f]")  # no text has them


def rows_of(path: Path) -> Iterator[tuple[int, bytes]]:
    """Each line that is not blank, without its end, with its number."""
    with path.open("rb") as file:
        for line, row in enumerate(file, 1):
            if line == 1:
                row = row.removeprefix(BOM)
            row = row.removesuffix(b"\n").removesuffix(b"\r")
            if row:
                yield line, row


def line_of(path: Path, row: int) -> int:
    """The line on which row `row` (from 0) stands."""
    for position, (line, _) in enumerate(rows_of(path)):
        if position == row:
            return line
    raise AssertionError(f"{path} has no row {row}")


def decoded(path: Path, wanted: str) -> tuple[list[tuple[int, str]], str]:
    """The lines of a file of texts with their numbers, and the encoding.

    Args:
      path: of a file in UTF-8, or else in Latin-1.
      wanted: what its lines should be, in words.

    Raises:
      DataError: the file is missing, empty or no text; names file and line.
    """
    if not path.is_file():
        raise DataError(f"{path} is missing. Expected lines of {wanted}.")
    rows = list(rows_of(path))
    encoding = "utf-8"
    try:
        found = [(line, row.decode()) for line, row in rows]
    except UnicodeDecodeError:
        encoding = "latin-1"
        found = [(line, row.decode(encoding)) for line, row in rows]
    if not found:
        raise empty(path, wanted)
    for line, text in found:
        if control := CONTROL.search(text):
            raise DataError(
                f"{path}, line {line}: expected {wanted}; found {control[0]!r}, which "
                f"no text holds."
            )
    return found, encoding


def empty(path: Path, wanted: str) -> DataError:
    """That a file has no row."""
    return DataError(f"{path} is empty. Expected lines of {wanted}.")


def bad_cell(path: Path, line: int, name: str, column: Column, found: str) -> DataError:
    """That a cell is not of its column's form."""
    return DataError(
        f"{path}, line {line}, column {name}: expected {column.form}; found "
        f"{found[:80]!r}."
    )
