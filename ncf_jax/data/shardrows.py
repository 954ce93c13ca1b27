"""What a folder of shards holds, checked: its rows by blocks, its users and items.

What is wrong is named by file, row group, row (from 0) and column. Memory is that of a
row group of one shard, or `shardfiles.GROUP` rows of it when it is larger.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ncf_jax.data.parquet import DAMAGED, reason
from ncf_jax.data.shardfiles import GROUP, SCHEMA, Manifest
from ncf_jax.errors import DataError
from ncf_jax.types import RATING_MAX, RATING_MIN

TEXT = (pa.string(), pa.large_string())


def blocks(folder: Path, manifest: Manifest) -> Iterator[dict[str, np.ndarray]]:
    """The rows of all shards in order, checked, at most a row group at a time.

    Raises:
      DataError: names file, row group, row and column of what is wrong.
    """
    names = [name for name in SCHEMA if name != "part" or manifest.split is not None]
    limits: dict[str, tuple[float, float]] = {
        "user": (0, manifest.num_users - 1),
        "item": (0, manifest.num_items - 1),
        "rating": (RATING_MIN, RATING_MAX),
        "part": (0, 2),
    }
    for name, rows in manifest.shards:
        path = folder / name
        with _opened(path) as file:
            for column in names:
                _check_type(path, file.schema_arrow, column, (SCHEMA[column],))
            if file.metadata.num_rows != rows:
                raise DataError(
                    f"{path} has {file.metadata.num_rows} rows where the manifest "
                    f"says {rows}."
                )
            left = rows
            for group in range(file.num_row_groups):
                row = 0
                for batch in _batches(path, file, group, names):
                    where = f"{path}, row group {group}"
                    found = {n: _values(where, row, n, batch.column(n)) for n in names}
                    for column, (least, most) in limits.items():
                        if column in found:
                            _check(where, row, column, found[column], least, most)
                    row += len(batch)
                    left -= len(batch)
                    yield found
            if left:
                raise DataError(f"{path}: damaged ({left} of {rows} rows are lost).")


def _opened(path: Path) -> Any:
    try:
        return pq.ParquetFile(path, pre_buffer=False)
    except DAMAGED as error:
        raise DataError(
            f"{path} is not a whole Parquet file ({reason(error)})."
        ) from None


def _batches(path: Path, file: Any, group: int, names: list[str]) -> Iterator[Any]:
    try:
        yield from file.iter_batches(GROUP, row_groups=[group], columns=names)
    except DAMAGED as error:
        raise DataError(
            f"{path}, row group {group}: damaged ({reason(error)})."
        ) from None


def _check_type(path: Path, schema: Any, column: str, kinds: tuple[Any, ...]) -> None:
    if column not in schema.names:
        raise DataError(
            f"{path} has no column {column}; found {', '.join(schema.names)}."
        )
    kind = schema.field(column).type
    if kind not in kinds:
        raise DataError(f"{path}, column {column}: expected {kinds[0]}; found {kind}.")


def _values(where: str, row: int, column: str, values: Any) -> np.ndarray:
    if values.null_count:
        row += int(values.is_null().to_numpy(zero_copy_only=False).argmax())
        raise DataError(f"{where}, row {row}, column {column}: there is no value.")
    return values.to_numpy(zero_copy_only=False)


def _check(
    where: str, row: int, column: str, values: np.ndarray, least: float, most: float
) -> None:
    wrong = ~((values >= least) & (values <= most))  # NaN is wrong, too
    if wrong.any():
        first = int(wrong.argmax())
        raise DataError(
            f"{where}, row {row + first}, column {column}: expected {least} to {most}; "
            f"found {values[first]}."
        )


def table(path: Path, rows: int) -> dict[str, Any]:
    """The columns of users or items: `id` [n], texts, `tags` [n, T]."""
    with _opened(path) as file:
        schema = file.schema_arrow
        _check_type(path, schema, "id", (pa.int64(),))
        if file.metadata.num_rows != rows:
            raise DataError(
                f"{path} has {file.metadata.num_rows} rows where the manifest says "
                f"{rows}."
            )
        known = [n for n in ("id", "title", "genres", "tags") if n in schema.names]
        try:
            table = file.read(known)
        except DAMAGED as error:
            raise DataError(f"{path}: damaged ({reason(error)}).") from None
    found: dict[str, Any] = {"id": _values(f"{path}", 0, "id", table["id"])}
    if len(found["id"]) != rows:
        raise DataError(f"{path}: damaged ({len(found['id'])} rows where {rows} are).")
    distinct, first = np.unique(found["id"], return_index=True)
    if len(distinct) != rows:
        row = int(np.setdiff1d(np.arange(rows), first)[0])
        raise DataError(
            f"{path}, row {row}, column id: {found['id'][row]} is repeated."
        )
    for name in ("title", "genres"):
        if name in known:
            _check_type(path, schema, name, TEXT)
            found[name] = table[name].to_pylist()
    if "tags" in known:
        found["tags"] = _tags(path, table["tags"].combine_chunks(), rows)
    return found


def _tags(path: Path, lists: Any, rows: int) -> np.ndarray:
    kind = lists.type
    if not hasattr(kind, "value_type") or kind.value_type != pa.float32():
        raise DataError(f"{path}, column tags: expected list<float>; found {kind}.")
    lengths = lists.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
    wrong = (lengths != lengths.max(initial=0)) | (lengths == 0)
    if wrong.any():
        row = int(wrong.argmax())
        raise DataError(
            f"{path}, row {row}, column tags: expected {lengths.max()} numbers, as in "
            f"others; found {lengths[row]}."
        )
    found = lists.flatten().to_numpy(zero_copy_only=False).reshape(rows, -1)
    if not np.isfinite(found).all():
        row = int((~np.isfinite(found).all(axis=1)).argmax())
        raise DataError(f"{path}, row {row}, column tags: a number is not finite.")
    return found
