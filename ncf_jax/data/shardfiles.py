"""The files of a folder of shards: what they hold, and writing them.

  manifest.json                what is there: see `Manifest`
  interactions-00000.parquet   user, item int32 index; rating float32, 0.5 to 5 stars;
                               time int64 s; part int8, if the manifest has a split: 0
                               train, 1 validation, 2 test
  users.parquet                id int64, in the order of indices
  items.parquet                id int64, likewise; title, genres (`A|B`) string and tags
                               list of float32, all of one length, if they are known

So Spark, Beam or DuckDB write such a folder without us (data/README.md shows how).
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ncf_jax.errors import ConfigError, DataError

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ImportError as error:
    raise ConfigError(
        "Folders of shards want pyarrow: pip install -e '.[large]'."
    ) from error

FORMAT = 1
MANIFEST, USERS, ITEMS = "manifest.json", "users.parquet", "items.parquet"
ROWS_PER_SHARD = 2**22
GROUP = 2**18  # rows of a row group, and in memory at once
BLOCK = 2**20  # bytes of a file in memory at once
SCHEMA = {
    "user": pa.int32(),
    "item": pa.int32(),
    "rating": pa.float32(),
    "time": pa.int64(),
    "part": pa.int8(),
}


@dataclasses.dataclass(frozen=True)
class Manifest:
    """What manifest.json says; only the last five may be left out.

    Attributes:
      name: of the data.
      num_users: U.
      num_items: I.
      shards: file name and number of rows of each, in order.
      users: file name.
      items: file name.
      split: how rows were put into parts, in a sentence; None: they were not.
      fingerprint: see `fingerprint`; empty: not checked.
      label: how every output names the data; empty: by its name.
      notes: on what preparation read and left out.
      genre_names: the columns of genres; none: those that occur.
      floor_rmse: of a synthetic world.
    """

    name: str
    num_users: int
    num_items: int
    shards: tuple[tuple[str, int], ...]
    users: str
    items: str
    split: str | None
    fingerprint: str = ""
    label: str = ""
    notes: tuple[str, ...] = ()
    genre_names: tuple[str, ...] = ()
    floor_rmse: float | None = None

    @property
    def num_rows(self) -> int:
        """N."""
        return sum(rows for _, rows in self.shards)


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a folder, checked.

    Raises:
      DataError: it is missing or says something impossible; names the key.
    """
    path = folder / MANIFEST
    try:
        found: Any = json.loads(path.read_bytes())
    except OSError as error:
        raise DataError(
            f"{path} cannot be read ({error.strerror}). A folder of shards has one."
        ) from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not JSON ({error!s:.80}).") from None

    def want(key: str, fine: bool, form: str) -> None:
        if not fine:
            raise DataError(
                f"{path}, key {key}: expected {form}; found {found.get(key)!r:.80}."
            )

    if not isinstance(found, dict):
        raise DataError(f"{path}: expected an object; found {found!r:.80}.")
    want("format", found.get("format") == FORMAT, f"{FORMAT}")
    want("name", _is(found.get("name"), str), "a name")
    for key in ("num_users", "num_items"):
        size: Any = found.get(key)
        fine = _is(size, int) and 0 < size < 2**31
        want(key, fine, "a whole number from 1 to 2147483647")
        want(key[4:], _is_file(found.get(key[4:])), "the name of a file in the folder")
    shards: Any = found.get("shards", ())
    fine = isinstance(shards, list) and bool(shards)
    for one in shards if fine else ():
        rows: Any = one.get("rows") if isinstance(one, dict) else None
        fine &= _is(rows, int) and rows >= 0 and _is_file(one.get("file"))
    want("shards", fine, 'some of {"file": name of a file in the folder, "rows": n}')
    want("shards", len({x["file"] for x in shards}) == len(shards), "each file once")
    want("shards", any(one["rows"] for one in shards), "files with rows")
    split = found.get("split")
    want("split", split is None or _is(split, str), "a sentence, or null")
    optional: dict[str, Any] = {}
    for key in ("fingerprint", "label"):
        optional[key] = found.get(key, "")
        want(key, isinstance(optional[key], str), "text")
    for key in ("notes", "genre_names"):
        texts: Any = found.get(key, [])
        fine = isinstance(texts, list) and all(_is(text, str) for text in texts)
        want(key, fine, "a list of texts")
        optional[key] = tuple(texts)
    floor = found.get("floor_rmse")
    fine = floor is None or (_is(floor, int | float) and 0 <= floor < 5)
    want("floor_rmse", fine, "stars, or null")
    return Manifest(
        shards=tuple((one["file"], one["rows"]) for one in shards),
        split=split,
        floor_rmse=floor,
        **{k: found[k] for k in ("name", "num_users", "num_items", "users", "items")},
        **optional,
    )


def _is(value: Any, kind: Any) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool) and value != ""


def _is_file(name: Any) -> bool:
    return _is(name, str) and Path(name).name == name and "\\" not in name


def fingerprint(folder: Path, manifest: Manifest) -> str:
    """16 hex digits of the bytes of shards, users and items, in this order.

    The sha256 of the files' contents one after the other; read by blocks.

    Raises:
      DataError: a file is missing.
    """
    digest = hashlib.sha256()
    shards = (name for name, _ in manifest.shards)
    for name in (*shards, manifest.users, manifest.items):
        try:
            with (folder / name).open("rb") as file:
                while block := file.read(BLOCK):
                    digest.update(block)
        except OSError as error:
            raise DataError(
                f"{folder / name} cannot be read ({error.strerror}); the manifest "
                f"names it."
            ) from None
    return digest.hexdigest()[:16]


def refuse_existing(folder: Path) -> None:
    """Raises DataError where shards would be written over something."""
    if folder.exists():
        raise DataError(f"{folder} is there already; name a new folder for shards.")


@contextlib.contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A folder to be filled, which appears as `folder` when it is whole, or never.

    Raises:
      DataError: there is one already, or it cannot be written.
    """
    refuse_existing(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".shards-") as name:
            partial = Path(name) / "whole"  # with the umask's mode
            partial.mkdir()
            yield partial
            os.replace(partial, folder)
    except OSError as error:
        raise DataError(
            f"{folder} could not be written ({error.strerror or error}). Name a "
            f"folder that can be."
        ) from error


class Writer:
    """Writes shards, a block of rows at a time.

    Args:
      folder: exists, and is empty.
      parts: whether rows have a part.
      rows_per_shard: of each file but the last.
    """

    def __init__(
        self, folder: Path, *, parts: bool, rows_per_shard: int = ROWS_PER_SHARD
    ) -> None:
        """Nothing is written yet."""
        self._folder, self._most = folder, rows_per_shard
        names = [name for name in SCHEMA if parts or name != "part"]
        self._schema = pa.schema([(name, SCHEMA[name]) for name in names])
        self._shards: list[tuple[str, int]] = []
        self._file: Any = None

    def add(self, columns: Mapping[str, np.ndarray]) -> None:
        """Adds rows: a column a name, all [n]."""
        start, stop = 0, len(columns["user"])
        while start < stop:
            if self._file is None:
                name = f"interactions-{len(self._shards):05}.parquet"
                self._file = pq.ParquetWriter(self._folder / name, self._schema)
                self._shards.append((name, 0))
            name, rows = self._shards[-1]
            count = min(stop - start, self._most - rows, GROUP)
            arrays = [
                pa.array(
                    np.asarray(columns[field.name][start : start + count]), field.type
                )
                for field in self._schema
            ]
            self._file.write_table(pa.Table.from_arrays(arrays, schema=self._schema))
            self._shards[-1] = name, rows + count
            start += count
            if rows + count == self._most:
                self.close()

    def close(self) -> None:
        """Ends the file that is being written."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def finish(
        self,
        *,
        name: str,
        user_ids: np.ndarray,
        item_ids: np.ndarray,
        titles: Sequence[str] | None = None,
        genres: Sequence[str] | None = None,
        tags: np.ndarray | None = None,
        split: str | None = None,
        **optional: Any,
    ) -> Manifest:
        """Writes users, items and, last, the manifest, with the fingerprint."""
        self.close()
        items = {"id": pa.array(item_ids, pa.int64())}
        for key, texts in (("title", titles), ("genres", genres)):
            if texts is not None:
                items[key] = pa.array(list(texts), pa.string())
        if tags is not None and tags.shape[1]:
            flat = pa.array(np.ascontiguousarray(tags, np.float32).ravel())
            starts = np.arange(len(tags) + 1, dtype=np.int32) * tags.shape[1]
            items["tags"] = pa.ListArray.from_arrays(pa.array(starts), flat)
        users = pa.table({"id": pa.array(user_ids, pa.int64())})
        pq.write_table(users, self._folder / USERS)
        pq.write_table(pa.table(items), self._folder / ITEMS)
        manifest = Manifest(
            name=name,
            num_users=len(user_ids),
            num_items=len(item_ids),
            shards=tuple(self._shards),
            users=USERS,
            items=ITEMS,
            split=split,
            **optional,
        )
        found = fingerprint(self._folder, manifest)
        manifest = dataclasses.replace(manifest, fingerprint=found)
        about = {"format": FORMAT, **dataclasses.asdict(manifest)}
        about["shards"] = [{"file": name, "rows": n} for name, n in self._shards]
        text = json.dumps(about, indent=2)
        (self._folder / MANIFEST).write_text(f"{text}\n", encoding="utf-8")
        return manifest
