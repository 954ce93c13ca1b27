"""Prepared data on disk: an `.npz` without pickle, whole or not at all.

A damaged or older file is none, and is made anew by whoever asks: it is never trusted.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ncf_jax.config import DataConfig
from ncf_jax.data import Tell
from ncf_jax.errors import DataError
from ncf_jax.types import Dataset, check_dataset, pack, unpack

END = 22  # bytes of the record that ends a zip archive
CACHE_VERSION = 3  # raise it when the same files would give other arrays


def cached(
    name: str,
    hashes: dict[str, str],
    config: DataConfig,
    tell: Tell,
    make: Callable[[], Dataset],
) -> Dataset:
    """The data set that `make` gives, or what an earlier call has kept of it.

    Args:
      name: begins the file's name.
      hashes: of all that the data set is made of.
      config: `cache_dir`, where nothing is kept if it is empty, and the filters.
      tell: is told when something is written.
      make: reads and builds.
    """
    if not config.cache_dir:
        return make()
    path = Path(config.cache_dir) / f"{name}-{_cache_key(hashes, config)}.npz"
    dataset = load_npz(path)
    if dataset is None:
        dataset = make()
        tell(f"{path.name}: written")
        save_npz(path, dataset)
    return dataset


def _cache_key(hashes: dict[str, str], config: DataConfig) -> str:
    digest = hashlib.sha256()
    for value in hashes.values():
        digest.update(value.encode())
    options = (CACHE_VERSION, config.min_item_ratings, config.min_user_ratings)
    digest.update(repr(options).encode())
    return digest.hexdigest()[:16]


def save_npz(path: Path, dataset: Dataset) -> None:
    """Writes a data set to one `.npz`, whole or not at all.

    Raises:
      DataError: the folder cannot be written.
    """
    packed, texts = pack(dataset)
    meta = np.frombuffer(json.dumps(texts).encode(), np.uint8)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
            partial = Path(scratch) / "partial.npz"  # with the umask's mode
            np.savez(partial, allow_pickle=False, meta=meta, **packed)
            os.replace(partial, path)
    except OSError as error:
        raise DataError(
            f"Prepared data could not be written to {path.parent} ({error.strerror}). "
            f"Point --cache_dir at a folder that can be written, or pass --cache_dir= "
            f"to keep nothing."
        ) from error


def arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an `.npz` by name, if all are there; no pickle is read.

    Each array has a checksum in the file, but their list has none: damage there can
    hide an array, so they are counted.

    Raises:
      Exception: of nearly any kind, depending on where the damage is.
    """
    # Opened here: np.load leaves a file open that turns out to be no archive.
    with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
        found = {name: stored[name] for name in stored.files}
        file.seek(-END, os.SEEK_END)
        last = file.read()
        count = int.from_bytes(last[10:12], "little")
        if not last.startswith(b"PK\x05\x06") or len(found) != count:
            raise ValueError(f"{len(found)} arrays where {count} were written")
    return found


def load_npz(path: Path) -> Dataset | None:
    """The data set in `path`, or None when it is not there or not whole."""
    try:
        found = arrays(path)
        texts = json.loads(found.pop("meta").tobytes())
        return check_dataset(unpack(found, texts))
    except Exception:  # nearly any kind, depending on where the damage is
        return None  # made anew from the files, which are the truth
