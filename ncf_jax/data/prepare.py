"""filter -> ids -> features -> arrays, cached by the content of the files.

The cache is an `.npz` without pickle, named by a hash of the files' content and of
every option that matters; a damaged or older one is made anew, never trusted.
"""

import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from ncf_jax.config import DataConfig
from ncf_jax.data import download, releases
from ncf_jax.data.splits import SPLITS
from ncf_jax.errors import DataError
from ncf_jax.types import (
    Dataset,
    ItemFeatures,
    Split,
    check_dataset,
    pack,
    unpack,
)

CACHE_VERSION = 1  # raise it when the same files would give other arrays


def prepare(config: DataConfig) -> Dataset:
    """The data set that `config` names, ready for training.

    A missing release is downloaded into `config.data_dir`; the synthetic world is
    generated, written in the MovieLens format and read back by the same reader.

    Raises:
      DataError: files are missing, malformed or not the published ones.

    Example:
      >>> prepare(DataConfig(cache_dir="")).label
      'synthetic world (not real data)'
    """
    if config.dataset == "synthetic":
        return _synthetic(config)
    return _release(config)


def split(dataset: Dataset, config: DataConfig) -> Split:
    """The split that `config` names: `--split` with `--split_seed`."""
    return SPLITS[config.split](dataset, config.split_seed)


def _release(config: DataConfig) -> Dataset:
    release = releases.RELEASES[config.dataset]
    folder = Path(config.data_dir) / release.name
    if not all((folder / name).is_file() for name in release.members):
        if folder.is_dir() and any(
            (folder / name).exists() for name in release.members
        ):
            missing = [n for n in release.members if not (folder / n).is_file()]
            raise DataError(
                f"{folder} lacks {', '.join(missing)}. Add the file, or remove the "
                f"folder and {release.name} is downloaded again."
            )
        if (Path(config.data_dir) / "ratings.csv").is_file():
            raise DataError(
                f"--data_dir={config.data_dir} holds ratings.csv itself; give the "
                f"folder that holds {release.name}/."
            )
        folder = download.fetch(release, Path(config.data_dir))
    altered = releases.altered_members(release, folder)
    label = release.name
    if altered:
        label += f" (another copy: {', '.join(altered)} not as of {release.date})"
    dataset = _cached(folder, config, name=release.name, label=label)
    # After reading: a malformed file is better told by its line than by its hash.
    if altered and not config.allow_other_copy:
        raise DataError(
            f"{folder} is not the {release.name} of {release.date}: "
            f"{', '.join(altered)} has another content. Use the published release, or "
            f"pass --allow_other_copy and every output names it as different."
        )
    return dataset


def _synthetic(config: DataConfig) -> Dataset:
    from ncf_jax.data import synthetic

    world = synthetic.World(
        users=config.synthetic_users,
        items=config.synthetic_items,
        ratings_per_user=config.synthetic_ratings_per_user,
        seed=config.synthetic_seed,
    )
    label = "synthetic world (not real data)"
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(config.cache_dir or scratch) / world.folder_name()
        floor = synthetic.write(world, folder)
        return _cached(folder, config, name="synthetic", label=label, floor_rmse=floor)


def _cached(folder: Path, config: DataConfig, **extra) -> Dataset:
    if not config.cache_dir:
        return _from_files(folder, config, **extra)
    path = Path(config.cache_dir) / f"{extra['name']}-{_cache_key(folder, config)}.npz"
    dataset = load_npz(path)
    if dataset is None:
        dataset = _from_files(folder, config, **extra)
        save_npz(path, dataset)
    return dataset


def _cache_key(folder: Path, config: DataConfig) -> str:
    digest = hashlib.sha256()
    for name in ("ratings.csv", "movies.csv", "tags.csv"):
        path = folder / name
        content = path.read_bytes() if path.is_file() else b""
        digest.update(releases.content_sha256(content).encode())
    options = (CACHE_VERSION, config.min_item_ratings, config.min_user_ratings)
    digest.update(repr(options).encode())
    return digest.hexdigest()[:16]


def _from_files(
    folder: Path,
    config: DataConfig,
    *,
    name: str,
    label: str,
    floor_rmse: float | None = None,
) -> Dataset:
    # pandas and scikit-learn take a second to import; a cached data set needs neither.
    import pandas as pd

    from ncf_jax.data import features, reading

    tables = reading.read(folder)
    ratings = tables.ratings
    read_note = (
        f"read {len(ratings):,} ratings of {ratings['movieId'].nunique():,} movies by "
        f"{ratings['userId'].nunique():,} users"
    )
    per_item = ratings.groupby("movieId")["movieId"].transform("size")
    ratings = ratings[per_item >= config.min_item_ratings]
    per_user = ratings.groupby("userId")["userId"].transform("size")
    ratings = ratings[per_user >= config.min_user_ratings]
    if not len(ratings):
        raise DataError(
            f"No rating in {folder} is left by --min_item_ratings="
            f"{config.min_item_ratings} and --min_user_ratings="
            f"{config.min_user_ratings}; lower them."
        )
    user, user_ids = pd.factorize(ratings["userId"])
    item, item_ids = pd.factorize(ratings["movieId"])
    movies = tables.movies.set_index("movieId").loc[item_ids]
    genres, genre_names = features.genre_matrix(
        tables.movies["genres"].tolist(), movies["genres"].tolist()
    )
    tags = features.tag_matrix(tables.tags, np.asarray(item_ids, np.int64))
    arrays: dict[str, Any] = dict(
        user=user.astype(np.int32),
        item=item.astype(np.int32),
        rating=ratings["rating"].to_numpy(np.float32),
        time=ratings["timestamp"].to_numpy(np.int64),
        user_ids=np.asarray(user_ids, np.int64),
        item_ids=np.asarray(item_ids, np.int64),
    )
    texts = [
        movies["title"].tolist(),
        movies["genres"].tolist(),
        tables.tags[["movieId", "tag"]].astype(str).to_numpy().tolist(),
        genre_names,
    ]
    dataset = Dataset(
        name=name,
        label=label,
        **arrays,
        features=ItemFeatures(genres=genres, tags=tags),
        titles=tuple(movies["title"]),
        genres=tuple(movies["genres"]),
        genre_names=genre_names,
        fingerprint=_fingerprint(arrays, texts),
        floor_rmse=floor_rmse,
        notes=(read_note, *tables.notes),
    )
    return check_dataset(dataset)


def _fingerprint(arrays: dict[str, np.ndarray], texts: list) -> str:
    # Of the ids, ratings, times, titles, genres and tag texts; not of the SVD, whose
    # last bits differ between builds of the same libraries.
    digest = hashlib.sha256()
    for key in sorted(arrays):
        digest.update(f"{key} {arrays[key].shape} ".encode())
        digest.update(np.ascontiguousarray(arrays[key]).tobytes())
    digest.update(json.dumps(texts, ensure_ascii=True).encode())
    return digest.hexdigest()[:16]


def save_npz(path: Path, dataset: Dataset) -> None:
    """Writes a data set to one `.npz`, whole or not at all.

    Raises:
      DataError: the folder cannot be written.
    """
    arrays, texts = pack(dataset)
    meta = np.frombuffer(json.dumps(texts).encode(), np.uint8)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
            partial = Path(scratch) / "partial.npz"  # with the umask's mode
            np.savez(partial, allow_pickle=False, meta=meta, **arrays)
            os.replace(partial, path)
    except OSError as error:
        raise DataError(
            f"Prepared data could not be written to {path.parent} ({error.strerror}). "
            f"Point --cache_dir at a folder that can be written, or pass --cache_dir= "
            f"to keep nothing."
        ) from error


def load_npz(path: Path) -> Dataset | None:
    """The data set in `path`, or None when it is not there or not whole."""
    try:
        # Opened here: np.load leaves a file open that turns out to be no archive.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        texts = json.loads(arrays.pop("meta").tobytes())
        return check_dataset(unpack(arrays, texts))
    except Exception:  # nearly any kind, depending on where the damage is
        return None  # made anew from the files, which are the truth
