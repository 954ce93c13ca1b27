"""filter -> ids -> features -> arrays, cached by the content of the files.

Nothing loops over users, ratings or tags, and memory is bounded: at its peak some
`60 * N + 0.5e9` bytes for N ratings in the files (32 of them for the table that was
read, 20 for the arrays that remain, the rest for codes and masks of the moment), and
some hundred bytes a tag.

The cache is an `.npz` without pickle, named by a hash of the files' content and of
every option that matters; a damaged or older one is made anew, never trusted.
"""

import hashlib
import json
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ncf_jax.config import DataConfig
from ncf_jax.data import Tell, download, releases, silent
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

if TYPE_CHECKING:
    from ncf_jax.data import synthetic

FILES = ("ratings.csv", "movies.csv", "tags.csv")
LARGE = 2**25  # bytes of ratings.csv from which progress is told
LINE = 27  # bytes of a line of it
CACHE_VERSION = 2  # raise it when the same files would give other arrays


def prepare(config: DataConfig, progress: Tell = silent) -> Dataset:
    """The data set that `config` names, ready for training.

    A missing release is downloaded into `config.data_dir`; the synthetic world is
    generated, written in the MovieLens format and read back by the same reader.

    Args:
      config: which data, and its filters.
      progress: is told, in a line each, what is being done with more than a million
        ratings or so; nothing is printed here.

    Raises:
      DataError: files are missing, malformed or not the published ones, or the data
        is not that whose fingerprint `config` wants.

    Example:
      >>> prepare(DataConfig(cache_dir="")).label
      'synthetic world (not real data)'
    """
    make = _synthetic if config.dataset == "synthetic" else _release
    dataset = make(config, progress)
    _check("data", dataset.fingerprint, config.data_fingerprint)
    return dataset


def split(dataset: Dataset, config: DataConfig) -> Split:
    """The split that `config` names: `--split` with `--split_seed`.

    Raises:
      DataError: it is not the one whose fingerprint `config` wants.
    """
    found = SPLITS[config.split](dataset, config.split_seed)
    _check("split", found.fingerprint, config.split_fingerprint)
    return found


def _check(what: str, found: str, wanted: str) -> None:
    if wanted and found != wanted:
        raise DataError(
            f"The {what} has fingerprint {found} where --{what}_fingerprint={wanted} "
            f"is wanted. Use the {what} of that run, or pass --{what}_fingerprint= to "
            f"take any."
        )


def _release(config: DataConfig, tell: Tell) -> Dataset:
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
    tell = tell if (folder / "ratings.csv").stat().st_size >= LARGE else silent
    hashes = _hashes(folder, tell)
    altered = releases.altered_members(release, folder, hashes)
    label = release.name
    if altered:
        label += f" (another copy: {', '.join(altered)} not as of {release.date})"
    dataset = _cached(folder, config, tell, hashes, name=release.name, label=label)
    # After reading: a malformed file is better told by its line than by its hash.
    if altered and not config.allow_other_copy:
        raise DataError(
            f"{folder} is not the {release.name} of {release.date}: "
            f"{', '.join(altered)} has another content. Use the published release, or "
            f"pass --allow_other_copy and every output names it as different."
        )
    return dataset


def _synthetic(config: DataConfig, tell: Tell) -> Dataset:
    from ncf_jax.data import synthetic

    world = world_of(config)
    label = "synthetic world (not real data)"
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(config.cache_dir or scratch) / world.folder_name()
        if (world.ratings or world.users * world.ratings_per_user) < LARGE // LINE:
            tell = silent
        tell(f"{folder.name}: drawn and written unless it is there")
        floor = synthetic.write(world, folder)
        hashes = _hashes(folder, tell) if config.cache_dir else {}
        return _cached(
            folder,
            config,
            tell,
            hashes,
            name="synthetic",
            label=label,
            floor_rmse=floor,
        )


def world_of(config: DataConfig) -> "synthetic.World":
    """The synthetic world that the `synthetic_*` options describe."""
    from ncf_jax.data import synthetic

    return synthetic.World(
        users=config.synthetic_users,
        items=config.synthetic_items,
        ratings_per_user=config.synthetic_ratings_per_user,
        seed=config.synthetic_seed,
        ratings=config.synthetic_ratings,
        tags=config.synthetic_tags,
    )


def _hashes(folder: Path, tell: Tell) -> dict[str, str]:
    hashes = {}
    for name in FILES:
        tell(f"{name}: checked by hash")
        hashes[name] = releases.file_sha256(folder / name)
    return hashes


def _cached(
    folder: Path, config: DataConfig, tell: Tell, hashes: dict[str, str], **extra
) -> Dataset:
    if not config.cache_dir:
        return from_files(folder, config, tell, **extra)
    path = Path(config.cache_dir) / f"{extra['name']}-{_cache_key(hashes, config)}.npz"
    dataset = load_npz(path)
    if dataset is None:
        dataset = from_files(folder, config, tell, **extra)
        tell(f"{path.name}: written")
        save_npz(path, dataset)
    return dataset


def _cache_key(hashes: dict[str, str], config: DataConfig) -> str:
    digest = hashlib.sha256()
    for name in FILES:
        digest.update(hashes[name].encode())
    options = (CACHE_VERSION, config.min_item_ratings, config.min_user_ratings)
    digest.update(repr(options).encode())
    return digest.hexdigest()[:16]


def from_files(
    folder: Path,
    config: DataConfig,
    tell: Tell,
    *,
    name: str,
    label: str,
    floor_rmse: float | None = None,
) -> Dataset:
    """The data set in a folder of MovieLens CSV files; nothing is cached."""
    # pandas and scikit-learn take a second to import; a cached data set needs neither.
    import pandas as pd

    from ncf_jax.data import features, indexing, reading

    tables = reading.read(folder, tell)
    tell(f"{len(tables.tags):,} tags: made into features")
    ids = pd.Index(tables.movies["movieId"])
    beside = ThreadPoolExecutor(1)  # tags and ratings have nothing to do with another
    tags = beside.submit(features.tag_matrix, tables.tags, ids.to_numpy())
    beside.shutdown(wait=False)
    tell(f"{len(tables.ratings):,} ratings: filtered and numbered")
    columns = {name: tables.ratings[name].to_numpy() for name in tables.ratings}
    kept = indexing.filtered(
        columns["userId"],
        columns["movieId"],
        config.min_user_ratings,
        config.min_item_ratings,
    )
    read_note = (
        f"read {len(tables.ratings):,} ratings of {kept.read_items:,} movies by "
        f"{kept.read_users:,} users"
    )
    if not len(kept.user):
        raise DataError(
            f"No rating in {folder} is left by --min_item_ratings="
            f"{config.min_item_ratings} and --min_user_ratings="
            f"{config.min_user_ratings}; lower them."
        )
    rows = ids.get_indexer(pd.Index(kept.item_ids))
    movies = tables.movies.iloc[rows]
    genres, genre_names = features.genre_matrix(
        tables.movies["genres"].tolist(), movies["genres"].tolist()
    )
    with ThreadPoolExecutor(2) as pool:
        rating, time = pool.map(kept.rows, (columns["rating"], columns["timestamp"]))
    arrays: dict[str, Any] = dict(
        user=kept.user,
        item=kept.item,
        rating=rating.astype(np.float32),
        time=time,
        user_ids=kept.user_ids,
        item_ids=kept.item_ids,
    )
    tell("all of it: fingerprinted")
    texts = (
        movies["title"].tolist(),
        movies["genres"].tolist(),
        tables.tags,
        genre_names,
    )
    year = features.release_year(movies["title"].tolist())
    dataset = Dataset(
        name=name,
        label=label,
        **arrays,
        features=ItemFeatures(genres, tags.result()[rows], year),
        titles=tuple(movies["title"]),
        genres=tuple(movies["genres"]),
        genre_names=genre_names,
        fingerprint=indexing.fingerprint(arrays, *texts),
        floor_rmse=floor_rmse,
        notes=(read_note, *tables.notes),
    )
    return check_dataset(dataset)


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
