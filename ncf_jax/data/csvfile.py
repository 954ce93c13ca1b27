"""One CSV file, strictly: its columns, or its first bad line.

Whole columns are parsed as text and checked; only when a check fails does a second,
slow pass read the file again to find the first bad line. A byte-order mark is skipped,
CRLF is read as LF, a blank line holds no row; nothing else is repaired.
"""

import contextlib
import csv
from collections.abc import Generator, Iterator
from pathlib import Path

import pandas as pd

from ncf_jax.data import Tell, columnar, silent
from ncf_jax.data.tables import TAGS, Column
from ncf_jax.errors import DataError

csv.field_size_limit(2**31 - 1)
CHUNK = 2**20  # rows
LARGE = 2**28  # bytes; a larger file is never in memory as a whole
Columns = dict[str, Column]
SEPARATORS = (",", ";", "\t", "|")
OTHER_KINDS = {  # what files of other kinds begin with
    b"\x1f\x8b": "compressed by gzip",
    b"PK\x03\x04": "a zip archive or a workbook",
    b"PAR1": "a Parquet file",
    b"\xff\xfe": "text in UTF-16",
    b"\xfe\xff": "text in UTF-16",
    b"<": "a web page",
}


def read_table(
    path: Path, columns: Columns, tell: Tell = silent, delimiter: str = ","
) -> pd.DataFrame:
    """A CSV file's `columns`, checked.

    Args:
      path: of a file of one header row, in UTF-8.
      columns: name and form of each that is wanted; others are passed over.
      tell: is told how many rows of a large file were read, now and then.
      delimiter: between cells.

    Returns:
      The columns in the order asked for, rows in the order of the file.

    Raises:
      DataError: the file is missing or malformed; names file, line, column.
    """
    if not path.is_file():
        raise DataError(
            f"{path} is missing. Expected a CSV file with the columns "
            f"{', '.join(columns)}."
        )
    plain = columnar.read(path, columns, tell) if delimiter == "," else None
    return read_strictly(path, columns, delimiter) if plain is None else plain


def read_strictly(path: Path, columns: Columns, delimiter: str = ",") -> pd.DataFrame:
    """As `read_table`, by the slower way that any file can go."""
    _check_header(path, columns, delimiter)
    table = None
    if _widths_fine(path, delimiter):
        # pandas' parser errors are ValueErrors.
        with contextlib.suppress(ValueError, OverflowError):
            table = _read_as_text(path, columns, delimiter)
    if table is None:
        raise _first_bad_line(path, columns, delimiter)
    if not len(table) and columns is not TAGS:
        raise DataError(f"{path} has a header but no rows.")
    table = table[list(columns)]
    for name, column in columns.items():
        if column.dtype == "str":
            table[name] = table[name].str.replace("\r\n", "\n")
    return table


def _read_as_text(path: Path, columns: Columns, delimiter: str) -> pd.DataFrame | None:
    """The table, or None when a cell is bad; so many rows are text at once."""
    parts = []
    with contextlib.closing(_texts(path, columns, delimiter)) as chunks:
        for chunk in chunks:
            if not _columns_fine(chunk, columns):
                return None
            parts.append(chunk.astype({n: c.dtype for n, c in columns.items()}))
    return pd.concat(parts, ignore_index=True)


def _texts(
    path: Path, columns: Columns, delimiter: str
) -> Generator[pd.DataFrame, None, None]:
    """The columns as text, so many rows at once."""
    if _has_lone_cr(path):  # where pandas may lose the row that comes next
        (_, header), *rows = _rows(path, delimiter)
        place = {name: header.index(name) for name in columns}
        cells = {name: [row[at] for _, row in rows] for name, at in place.items()}
        yield pd.DataFrame(cells, dtype=str)
        return
    with pd.read_csv(
        path,
        usecols=list(columns),
        sep=delimiter,
        dtype=str,
        encoding="utf-8-sig",
        keep_default_na=False,
        chunksize=CHUNK,
    ) as chunks:
        yield from chunks


def _has_lone_cr(path: Path) -> bool:
    with path.open("rb") as file:
        while block := file.read(columnar.BLOCK):
            block += file.read(1) if block.endswith(b"\r") else b""
            if block.count(b"\r") != block.count(b"\r\n"):
                return True
    return False


def _columns_fine(table: pd.DataFrame, columns: Columns) -> bool:
    for name, column in columns.items():
        if not all(map(column.check, table[name].unique())):
            return False
    return True


def _widths_fine(path: Path, delimiter: str) -> bool:
    """Whether each row has the header's width and no NUL, which pandas passes over."""
    if path.stat().st_size <= LARGE:
        content = path.read_bytes()
        if b"\0" in content:
            return False
        mark = delimiter.encode()
        header = content.splitlines()[0].count(mark)
        lines = content.rstrip(b"\r\n").count(b"\n") + 1
        if b'"' not in content and content.count(mark) == lines * header:
            # Every line could still be compensated by another, so it is one pass more:
            # a line with a comma too many leaves some line with one too few.
            return all(x.count(mark) == header for x in content.splitlines() if x)
    try:
        widths = set()
        for _, row in _rows(path, delimiter):  # row by row, so that memory is bounded
            if any("\0" in cell for cell in row):
                return False
            widths.add(len(row))
    except (csv.Error, UnicodeDecodeError):
        return False
    return len(widths) == 1


def _rows(path: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Each row with the number of the line it starts on (1 is the header)."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, delimiter=delimiter, strict=True)
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


def header_of(path: Path, delimiter: str = ",") -> list[str]:
    """The names in a file's first row; none of an empty file.

    Raises:
      DataError: the row is no text or not CSV.
    """
    try:
        return next(iter(_rows(path, delimiter)), (1, []))[1]
    except UnicodeDecodeError as error:
        raise _not_utf8(path, error) from None
    except csv.Error as error:
        raise DataError(
            f"{path}, line 1: not a CSV header ({error.args[1]})."
        ) from None


def _check_header(path: Path, columns: Columns, delimiter: str) -> None:
    header = header_of(path, delimiter)
    wanted = delimiter.join(columns).replace("\t", " ")
    if not header:
        raise DataError(f"{path} is empty. Expected the header {wanted}.")
    missing = [name for name in columns if name not in header]
    if missing and (kind := _other_kind(path)):
        raise DataError(f"{path} is {kind}, not CSV. Save it as CSV in UTF-8.")
    if missing:
        found = delimiter.join(header)
        other = next((x for x in SEPARATORS if len(header) == 1 and x in found), "")
        hint = f" Write {delimiter!r} between cells, not {other!r}." if other else ""
        raise DataError(
            f"{path}, line 1: column {missing[0]} is missing. Expected the header "
            f"{wanted}; found {found[:200]!r}.{hint}"
        )
    for name in columns:
        if header.count(name) > 1:
            raise DataError(
                f"{path}, line 1: column {name} is there {header.count(name)} times. "
                f"Keep one of them."
            )


def _first_bad_line(path: Path, columns: Columns, delimiter: str) -> DataError:
    try:
        rows = _rows(path, delimiter)
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
    return DataError(f"{path} cannot be read as a CSV file.")


def _other_kind(path: Path) -> str:
    """What a file is that is no CSV; nothing where its beginning does not tell."""
    with path.open("rb") as file:
        first = file.read(4)
    return next((k for mark, k in OTHER_KINDS.items() if first.startswith(mark)), "")


def _not_utf8(path: Path, error: UnicodeDecodeError) -> DataError:
    if kind := _other_kind(path):
        return DataError(f"{path} is {kind}, not CSV. Save it as CSV in UTF-8.")
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


def line_of(path: Path, row: int, delimiter: str = ",") -> int:
    """The line on which data row `row` (from 0) starts."""
    for position, (line, _) in enumerate(_rows(path, delimiter)):
        if position == row + 1:
            return line
    raise AssertionError(f"{path} has no row {row}")
