"""One Parquet file, strictly: its columns, or the first row that is not as it must be.

Rows are counted from 1. Numbers may be of any width; ids may be whole numbers or text;
times may be whole seconds or Parquet's own timestamps.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ncf_jax.data.tables import MAX_ID, TIME, Column
from ncf_jax.errors import ConfigError, DataError

# pyarrow's errors are ValueErrors, OSErrors, TypeErrors, LookupErrors, RuntimeErrors
# and NotImplementedErrors, with UnicodeDecodeError where a name is no text.
DAMAGED = (ValueError, OSError, TypeError, LookupError, RuntimeError)


def _library() -> Any:
    try:
        import pyarrow.parquet
    except ImportError:
        raise ConfigError(
            "Parquet files want pyarrow: pip install -e '.[large]', or give a CSV file."
        ) from None
    return pyarrow


def names_of(path: Path) -> list[str]:
    """The names of a file's columns.

    Raises:
      DataError: it is no Parquet file.
    """
    arrow = _library()
    try:
        return list(arrow.parquet.read_schema(path).names)
    except DAMAGED as error:
        raise _no_parquet(path, error) from None


def read_table(path: Path, columns: Mapping[str, Column]) -> pd.DataFrame:
    """A file's `columns`, checked.

    Args:
      path: of the file.
      columns: name and form of each that is wanted; others are passed over. Text may
        be whole numbers in the file, too, and is then left so.

    Raises:
      DataError: the file is malformed; names file, row, column.
    """
    arrow = _library()
    found = names_of(path)
    if missing := [name for name in columns if name not in found]:
        raise DataError(
            f"{path}: column {missing[0]} is missing. Expected {', '.join(columns)}; "
            f"found {', '.join(found)[:200]}."
        )
    for name in columns:
        if found.count(name) > 1:
            raise DataError(f"{path} has {found.count(name)} columns {name}. Keep one.")
    try:
        table = arrow.parquet.read_table(path, columns=list(columns))
    except DAMAGED as error:
        raise _no_parquet(path, error) from None
    if not table.num_rows:
        raise DataError(f"{path} has no rows.")
    return pd.DataFrame(
        {name: _column(path, name, table[name], columns[name]) for name in columns}
    )


def _no_parquet(path: Path, error: Exception) -> DataError:
    return DataError(f"{path} cannot be read as a Parquet file ({reason(error)}).")


def reason(error: Exception) -> str:
    """What the library says, of which the first line is enough.

    Example:
      >>> reason(OSError("No magic bytes.\\nDeserializing failed."))
      'No magic bytes.'
    """
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def _column(path: Path, name: str, values: Any, column: Column) -> Any:
    types = _library().types
    kind = values.type
    if types.is_dictionary(kind):
        kind = kind.value_type
        values = values.cast(kind)
    if values.null_count and column.form != "text":
        _refuse(path, name, column, np.asarray(values.is_null()), ["nothing"])
    if column.dtype == "str":
        if types.is_integer(kind):
            return values.to_numpy()
        if not (types.is_string(kind) or types.is_large_string(kind)):
            raise _other_kind(path, name, column, kind)
        texts = values.to_pandas().fillna("")
        bad = {text for text in texts.unique() if not column.check(text)}
        _refuse(path, name, column, texts.isin(bad).to_numpy(), texts)
        return texts
    if column is TIME and types.is_timestamp(kind):
        seconds = values.to_numpy().astype("datetime64[s]").astype(np.int64)
        _refuse(path, name, column, (seconds < 0) | (seconds > MAX_ID), seconds)
        return seconds
    if not (types.is_integer(kind) or types.is_floating(kind)):
        raise _other_kind(path, name, column, kind)
    numbers = values.to_numpy()
    if numbers.dtype == np.float16:  # which cannot hold the largest id
        numbers = numbers.astype(np.float32)
    with np.errstate(invalid="ignore"):
        if column.dtype == "float64":
            bad_rows = ~((numbers >= 0.5) & (numbers <= 5))
        else:
            bad_rows = ~((numbers >= 0) & (numbers <= MAX_ID) & (numbers % 1 == 0))
    _refuse(path, name, column, bad_rows, numbers)
    return numbers.astype(column.dtype)


def _refuse(path: Path, name: str, column: Column, bad: np.ndarray, of: Any) -> None:
    if bad.any():
        row = int(bad.argmax())
        found = of[min(row, len(of) - 1)]
        raise DataError(
            f"{path}, row {row + 1}, column {name}: expected {column.form}; found "
            f"{str(found)[:80]!r}."
        )


def _other_kind(path: Path, name: str, column: Column, kind: Any) -> DataError:
    return DataError(
        f"{path}, row 1, column {name}: expected {column.form}; found values of the "
        f"type {kind}."
    )
