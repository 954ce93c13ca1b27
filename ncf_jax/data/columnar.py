"""The fast path of reading: blocks of a plain file -> columns, or None.

A file is *plain* when it has the documented columns in their order and is written as
MovieLens writes it. `read` returns a table only when it is certain that the strict path
(`csvfile`) would read the very same table; whatever is odd or wrong gives None, and the
strict path repairs it, or names its line and column.

How it can be certain. In a file without text, which is ratings.csv, what is no digit
is, line by line, two commas, a point, a comma and the line's end; the point is after
one digit and before one 0 or 5. So the parser's arithmetic is exact, and the other
columns are digits or nothing, which the parser refuses. Lines are so short that no
number is longer than the strict path allows. A file with text matches a grammar line by
line. Ranges are checked on the parsed columns.
"""

import csv
import io
import os
import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np
import pandas as pd

from ncf_jax.data import Tell, silent

BLOCK = 2**22  # bytes; a few blocks are in memory at once
LARGE_PIECE = 31 * 2**20  # bytes; glibc's limit is 32 MiB
SHORT_LINE = 20  # bytes of a line; with shorter ones arrays grow on the way
PUNCTUATION = b",,.,\n"  # all that is no digit in a line of plain ratings
LONGEST = 39  # bytes of a line of numbers; one of 31 digits makes it longer
SAID_EVERY = 2_000_000  # rows
SMALL_ID = 2**26  # a table of so many ids is small
BOM = b"\xef\xbb\xbf"


class Column(Protocol):
    """What this module needs to know of `tables.Column`."""

    @property
    def dtype(self) -> str:
        """int64, float64 or str."""
        ...

    @property
    def check(self) -> Callable[[str], bool]:
        """Whether a cell's text is valid."""
        ...


Columns = Mapping[str, Column]


class OddError(Exception):
    """A file is not plain."""


def read(path: Path, columns: Columns, tell: Tell = silent) -> pd.DataFrame | None:
    """The table of a plain file; None for any other file, good or bad.

    Args:
      path: of the file.
      columns: names and forms, in the order of a plain file.
      tell: is told how many rows were read, now and then.

    Returns:
      One column a name, rows in the order of the file, or None.
    """
    try:
        blocks = _blocks(path, columns)
        parts = parsed(path.name, blocks, partial(_parse, columns=columns), tell)
        if _has_text(columns):
            table = _joined(list(parts), columns)
        else:
            table = filled(parts, columns, path.stat().st_size // SHORT_LINE)
    except (OddError, ValueError, OverflowError):  # pandas' parser errors included
        return None
    return table if len(table) else None


def blocks(path: Path, columns: Columns, tell: Tell = silent) -> Iterator[pd.DataFrame]:
    """The table of a plain file, a block of rows at a time.

    Raises:
      OddError, ValueError, OverflowError: the file is not plain from here on.
    """
    parse = partial(_parse, columns=columns)
    return parsed(path.name, _blocks(path, columns), parse, tell)


def _has_text(columns: Columns) -> bool:
    return any(column.dtype == "str" for column in columns.values())


def _joined(parts: list[pd.DataFrame], columns: Columns) -> pd.DataFrame:
    table = pd.concat(parts, ignore_index=True)
    for name, column in columns.items():
        if column.dtype == "str":
            if not all(map(column.check, table[name].unique())):
                raise OddError
            table[name] = table[name].astype("str")
    return table


def filled(
    parts: Iterator[pd.DataFrame], columns: Columns, capacity: int
) -> pd.DataFrame:
    """The parts one below the other, each copied once; unused room is never touched."""
    whole = {name: np.empty(capacity, c.dtype) for name, c in columns.items()}
    rows = 0
    for part in parts:
        end = rows + len(part)
        for name in columns:
            if end > len(whole[name]):
                room = np.empty(max(end, len(whole[name]) // 2), whole[name].dtype)
                whole[name] = np.concatenate([whole[name], room])
            whole[name][rows:end] = part[name].to_numpy()
        rows = end
    return pd.DataFrame({n: c[:rows] for n, c in whole.items()}, copy=False)


def parsed(
    name: str,
    blocks: Iterator[bytes],
    parse: Callable[[bytes], pd.DataFrame],
    tell: Tell,
) -> Iterator[pd.DataFrame]:
    """What `parse` makes of each block of file `name`, in order; done in parallel."""
    workers = min(4, os.cpu_count() or 1)
    waiting: deque[Future] = deque()
    rows = said = 0
    # Once a piece of this size was freed, glibc keeps freed blocks for the next ones;
    # otherwise it gives each back, and the system clears it again: a third of the time.
    np.empty(LARGE_PIECE, np.uint8)
    with ThreadPoolExecutor(workers) as pool:
        try:
            for block in blocks:
                waiting.append(pool.submit(parse, block))
                if len(waiting) > workers:
                    part = waiting.popleft().result()
                    rows += len(part)
                    if rows - said >= SAID_EVERY:
                        said = rows
                        tell(f"{name}: {rows:,} rows read")
                    yield part
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _blocks(path: Path, columns: Columns) -> Iterator[bytes]:
    with path.open("rb") as file:
        header = file.readline(1000).removeprefix(BOM)
        if header.replace(b"\r\n", b"\n") != ",".join(columns).encode() + b"\n":
            raise OddError
        yield from pieces(file)


def pieces(file: BinaryIO) -> Iterator[bytes]:
    """The rest of an open file in pieces of whole lines, each ended by LF."""
    while block := file.read(BLOCK):
        if not block.endswith(b"\n"):
            block += file.readline(BLOCK)
        if block.endswith(b"\n"):
            yield _unified(block)
        elif file.read(1):
            raise OddError  # a line as long as a block
        else:
            yield _unified(block + b"\n")  # the last line lacks its end


def _unified(block: bytes) -> bytes:
    if b"\r" in block:
        block = block.replace(b"\r\n", b"\n")
        if b"\r" in block:
            raise OddError
    return block


def _parse(block: bytes, columns: Columns) -> pd.DataFrame:
    text = _has_text(columns)
    lines = _text_lines(block, columns) if text else _number_lines(block)
    if not lines:
        raise OddError
    table = pd.read_csv(
        io.BytesIO(block),
        header=None,
        names=list(columns),
        # Without these a line with more columns would make the first one an index.
        usecols=range(len(columns)),
        dtype={name: column.dtype for name, column in columns.items()},
        na_filter=False,
        skip_blank_lines=False,
        quoting=csv.QUOTE_MINIMAL if text else csv.QUOTE_NONE,
    )
    if len(table) != lines:
        raise OddError
    for name, column in columns.items():
        if column.dtype != "str":
            _check_range(table[name], column)
    return table


def _check_range(values: pd.Series, column: Column) -> None:
    ends = values.min(), values.max()
    if values.dtype != column.dtype or not all(column.check(str(x)) for x in ends):
        raise OddError  # NaN and a sign fail the check too


def _number_lines(block: bytes) -> int:
    """The lines of a block of plain ratings; 0 when one of them is not plain."""
    byte = np.frombuffer(block, np.uint8)
    # What is below "0" wraps around, to above 9.
    others = np.flatnonzero(byte - np.uint8(ord("0")) > 9)
    if len(others) % len(PUNCTUATION):
        return 0
    marks = others.reshape(-1, len(PUNCTUATION))
    if (byte[marks] != np.frombuffer(PUNCTUATION, np.uint8)).any():
        return 0
    second, point, third, end = marks[:, 1:].T
    half = byte[point + 1]
    fine = (
        (point == second + 2).all()
        and (point == third - 2).all()
        and ((half == ord("0")) | (half == ord("5"))).all()
        and np.diff(end, prepend=-1).max() <= LONGEST
    )
    return len(marks) if fine else 0


def _text_lines(block: bytes, columns: Columns) -> int:
    """The lines of a block of whole numbers and text, quoted or not; or 0.

    Possessive repetition (`*+`) keeps no way back, so memory does not grow with lines.
    """
    number = rb"[0-9]{1,16}"
    text = rb'(?:"(?:[^"\n\0]|"")*+"|[^",\n\0]*+)'
    cells = [text if c.dtype == "str" else number for c in columns.values()]
    fine = re.fullmatch(rb"(?:" + b",".join(cells) + rb"\n)*+", block)
    return block.count(b"\n") if fine else 0


def known(values: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Whether each of `values` [N], ids from 0, is one of `among` [M]: [N] bool.

    Example:
      >>> known(np.array([5, 6]), np.array([7, 5])).tolist()
      [True, False]
    """
    most = int(max(values.max(initial=0), among.max(initial=0)))
    if most >= SMALL_ID:
        return pd.Index(values).isin(among)
    table = np.zeros(most + 1, bool)
    table[among] = True
    return table[values]


def repeated(user: np.ndarray, item: np.ndarray) -> bool:
    """Whether a pair of `user` [N] and `item` [N] occurs twice.

    Example:
      >>> repeated(np.array([1, 2, 1]), np.array([5, 5, 5]))
      True
    """
    # MovieLens files are sorted by user and item, so one look is nearly always enough.
    later = user[1:] > user[:-1]
    if (later | ((user[1:] == user[:-1]) & (item[1:] > item[:-1]))).all():
        return False
    user_code, users = pd.factorize(user)
    item_code, items = pd.factorize(item)
    if len(users) * len(items) >= 2**63:
        return True  # unknown: let the caller look closely
    key = user_code * len(items) + item_code
    key.sort()
    return bool((key[1:] == key[:-1]).any())
