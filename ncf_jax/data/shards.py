"""Data larger than memory: a folder of Parquet shards, read as memory-mapped columns.

The folder is described in `shardfiles`. It is converted once, a row group at a time,
into a raw file a column in the cache, whose arrays the system pages in as they are
read. Everything is checked on the way, and what is wrong is named by file, row group,
row and column. Host memory: a row group of one shard, O(U + I) for ids and features,
and whatever of the columns the system has room for.
"""

import dataclasses
import json
import os
import shutil
import tempfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from ncf_jax.config import DataConfig
from ncf_jax.data import Tell, features, shardfiles, shardrows, silent
from ncf_jax.data.shardfiles import GROUP, ROWS_PER_SHARD, Manifest
from ncf_jax.errors import DataError
from ncf_jax.types import Dataset, ItemFeatures, Split

VERSION = 1  # raise it when the same shards would give other columns
KINDS = {"user": "<i4", "item": "<i4", "rating": "<f4", "time": "<i8", "part": "|i1"}
NO_GENRES = "(no genres listed)"  # as MovieLens writes it


def write(
    folder: Path,
    dataset: Dataset,
    split: Split | None = None,
    *,
    rows_per_shard: int = ROWS_PER_SHARD,
) -> None:
    """Writes a data set, and its split, as a folder of shards, whole or not at all.

    Args:
      folder: must not exist.
      dataset: N rows, in order.
      split: of its rows; None: none is stored.
      rows_per_shard: of each file but the last.

    Raises:
      DataError: the folder is there already, or cannot be written.

    Example:
      >>> from ncf_jax.data.prepare import prepare
      >>> world = prepare(DataConfig(cache_dir=""))
      >>> with tempfile.TemporaryDirectory() as scratch:
      ...     write(Path(scratch) / "shards", world)
      ...     again = dataset(Path(scratch) / "shards", DataConfig(cache_dir=""))
      >>> bool((again.item == world.item).all())
      True
    """
    with shardfiles.new_folder(folder) as partial:
        parts = split is not None
        writer = shardfiles.Writer(partial, parts=parts, rows_per_shard=rows_per_shard)
        try:
            part = np.zeros(len(dataset.user) if parts else 0, np.int8)
            if split is not None:
                part[split.valid], part[split.test] = 1, 2
            for start in range(0, len(dataset.user), GROUP):
                rows = slice(start, start + GROUP)
                names = ("user", "item", "rating", "time")
                block = {name: getattr(dataset, name)[rows] for name in names}
                writer.add(block | {"part": part[rows]})
        finally:
            writer.close()
        writer.finish(
            name=dataset.name,
            user_ids=dataset.user_ids,
            item_ids=dataset.item_ids,
            titles=dataset.titles,
            genres=dataset.genres,
            tags=np.asarray(dataset.features.tags),
            split=None if split is None else split.definition,
            label=dataset.label,
            notes=dataset.notes,
            genre_names=dataset.genre_names,
            floor_rmse=dataset.floor_rmse,
        )


def definition(folder: Path) -> str:
    """How the stored split was made, in a sentence.

    Raises:
      DataError: none is stored, or the manifest is not right.
    """
    split = shardfiles.read_manifest(folder).split
    if split is None:
        raise DataError(
            f"{folder} holds no split (split is null in its manifest). Choose another "
            f"--split than stored."
        )
    return split


def dataset(folder: Path, config: DataConfig, tell: Tell = silent) -> Dataset:
    """The data set of a folder of shards; its columns are memory-mapped.

    Filters do not apply: whoever wrote the folder has filtered. With an empty
    `config.cache_dir` the columns are in temporary files that nobody else sees.

    Args:
      folder: of shards.
      config: where the cache is.
      tell: is told what is being done with much data.

    Returns:
      `user`, `item`, `rating`, `time` and, with a stored split, `part` are `np.memmap`
      that cannot be written to; rows are in the order of the shards.

    Raises:
      DataError: a file is missing or wrong, or the fingerprint is not the manifest's.
    """
    manifest = shardfiles.read_manifest(folder)
    tell(f"{len(manifest.shards)} shards, {manifest.num_rows:,} rows: fingerprinted")
    found = shardfiles.fingerprint(folder, manifest)
    if manifest.fingerprint not in ("", found):
        raise DataError(
            f"{folder} has fingerprint {found} where its manifest says "
            f"{manifest.fingerprint}: a file was changed. Write the folder anew, or "
            f"leave fingerprint out of the manifest."
        )
    user_ids = shardrows.table(folder / manifest.users, manifest.num_users)["id"]
    items = shardrows.table(folder / manifest.items, manifest.num_items)
    if config.cache_dir:
        columns = _cached(folder, manifest, found, Path(config.cache_dir), tell)
    else:
        with tempfile.TemporaryDirectory() as scratch:
            _convert(folder, manifest, Path(scratch), tell)
            columns = _mapped(manifest, Path(scratch))  # stays when the name is gone
    count, notes = manifest.num_items, list(manifest.notes)
    titles = items.get("title", [None] * count)
    titles = [t or f"item {i}" for t, i in zip(titles, items["id"], strict=True)]
    genres = [text or NO_GENRES for text in items.get("genres", [None] * count)]
    _refuse_unnamed(folder / manifest.items, manifest, genres)
    hot, names = features.genre_matrix(manifest.genre_names or genres, genres)
    tags = items.get("tags", np.zeros((count, features.TAG_COMPONENTS), np.float32))
    for key, what in (("genres", "genres"), ("tags", "tag features")):
        if key not in items:
            notes.append(f"{manifest.items} has no column {key}, so {what} are zeros")
    if "genres" not in items:
        hot = np.zeros_like(hot)
    if max(config.min_item_ratings, config.min_user_ratings) > 1:
        notes.append("shards are filtered by whoever wrote them: no filter applies")
    return Dataset(
        name=manifest.name,
        label=manifest.label or manifest.name,
        **columns,
        features=ItemFeatures(hot, tags, features.release_year(titles)),
        user_ids=user_ids,
        item_ids=items["id"],
        titles=tuple(titles),
        genres=tuple(genres),
        genre_names=names,
        fingerprint=found,
        floor_rmse=manifest.floor_rmse,
        notes=tuple(dict.fromkeys(notes)),
    )


def _refuse_unnamed(path: Path, manifest: Manifest, genres: list[str]) -> None:
    known = {name for text in manifest.genre_names for name in text.split("|")}
    for row, text in enumerate(genres if known else ()):
        if missing := [name for name in text.split("|") if name not in known]:
            raise DataError(
                f"{path}, row {row}, column genres: {missing[0]!r:.80} is not among "
                f"genre_names of the manifest. Add it there, or leave them out."
            )


def _cached(
    folder: Path, manifest: Manifest, found: str, cache: Path, tell: Tell
) -> dict[str, np.ndarray]:
    """The columns out of the cache, where they are put first unless they are there."""
    home = cache / f"shards-{found}"
    if _whole(manifest, home):
        return _mapped(manifest, home)
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as scratch:
            partial = Path(scratch) / "whole"
            partial.mkdir()
            _convert(folder, manifest, partial, tell)
            if not _whole(manifest, home):  # another process may have been faster
                shutil.rmtree(home, ignore_errors=True)
                os.replace(partial, home)
    except OSError as error:
        if not _whole(manifest, home):
            raise DataError(
                f"Columns could not be written to {cache} ({error.strerror}). Point "
                f"--cache_dir at a folder that can be written."
            ) from error
    return _mapped(manifest, home)


def _kinds(manifest: Manifest) -> dict[str, str]:
    return {n: k for n, k in KINDS.items() if n != "part" or manifest.split is not None}


def _convert(folder: Path, manifest: Manifest, home: Path, tell: Tell) -> None:
    kinds = _kinds(manifest)
    sums, rows, said = dict.fromkeys(kinds, 0), 0, 0
    files = {name: (home / f"{name}.bin").open("wb") for name in kinds}
    try:
        for block in shardrows.blocks(folder, manifest):
            for name, kind in kinds.items():
                content = np.ascontiguousarray(block[name], kind).data
                sums[name] = zlib.crc32(content, sums[name])
                files[name].write(content)
            rows += len(block["user"])
            if rows - said >= 2_000_000:
                said = rows
                tell(f"{folder.name}: {rows:,} rows converted")
    finally:
        for file in files.values():
            file.close()
    about = _about(manifest) | {"sums": sums}
    (home / "columns.json").write_text(json.dumps(about))


def _about(manifest: Manifest) -> dict[str, Any]:
    known = dataclasses.asdict(manifest)
    about = {key: known[key] for key in ("num_users", "num_items")}
    return about | {"version": VERSION, "rows": manifest.num_rows}


def _whole(manifest: Manifest, home: Path) -> bool:
    """Whether the columns are there, of this manifest, and nothing has changed them."""
    try:
        about = json.loads((home / "columns.json").read_text())
        if {k: about[k] for k in _about(manifest)} != _about(manifest):
            return False
        for name, kind in _kinds(manifest).items():
            total = size = 0
            with (home / f"{name}.bin").open("rb") as file:
                while block := file.read(shardfiles.BLOCK):
                    total, size = zlib.crc32(block, total), size + len(block)
            if size != manifest.num_rows * np.dtype(kind).itemsize:
                return False
            if total != about["sums"][name]:
                return False
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return False
    return True


def _mapped(manifest: Manifest, home: Path) -> dict[str, np.ndarray]:
    return {
        name: np.memmap(home / f"{name}.bin", kind, "r")
        for name, kind in _kinds(manifest).items()
    }
