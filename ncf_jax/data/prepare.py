"""A data set by name: found, read, built and cached; and its split.

The cache is an `.npz` (`store`), named by a hash of the files' content and of every
option that matters.
"""

import dataclasses
import json
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ncf_jax.config import DataConfig
from ncf_jax.config_data import BY_TIME, PUBLISHED_SPLITS
from ncf_jax.data import Tell, download, releases, silent
from ncf_jax.data.splits import SPLITS, limits, make_split
from ncf_jax.data.store import cached
from ncf_jax.errors import ConfigError, DataError
from ncf_jax.types import Dataset, Split

if TYPE_CHECKING:
    from ncf_jax.data import synthetic

LARGE = 2**25  # bytes of ratings.csv from which progress is told
LINE = 27  # bytes of a line of it


def prepare(config: DataConfig, progress: Tell = silent) -> Dataset:
    """The data set that `config` names, ready for training.

    A missing release is downloaded into `config.data_dir`; the synthetic world is
    generated, written in the MovieLens format and read back by the same reader; a path
    is a file of ratings or a folder of shards.

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
    if config.dataset == "synthetic":
        dataset = _synthetic(config, progress)
    elif config.dataset in releases.RELEASES:
        dataset = _release(config, progress)
    else:
        dataset = _own(config, progress)
    _check("data", dataset.fingerprint, config.data_fingerprint)
    return dataset


def split(dataset: Dataset, config: DataConfig) -> Split:
    """The split that `config` names: `--split` with `--split_seed`.

    Raises:
      ConfigError: the data have no times, or no split of their own, that it wants.
      DataError: it is not the one whose fingerprint `config` wants, or the files of a
        published one are missing or malformed.
    """
    found = _split(dataset, config)
    _check("split", found.fingerprint, config.split_fingerprint)
    return found


def _split(dataset: Dataset, config: DataConfig) -> Split:
    how = config.split
    if how in PUBLISHED_SPLITS:
        from ncf_jax.data import published

        part = published.part(dataset, Path(config.data_dir), how)
        return make_split(dataset, part, published.definition(how))
    if how == "stored":
        return _stored(dataset, config)
    if how in BY_TIME and not dataset.time.any():
        raise ConfigError(
            f"--split={how} wants times, and {dataset.label} has none; choose another "
            f"--split, or name the column of times as the fourth of --columns."
        )
    return SPLITS[how](dataset, config.split_seed)


def _stored(dataset: Dataset, config: DataConfig) -> Split:
    if dataset.part is None:
        raise ConfigError(
            f"--split=stored wants data that come with a split, as a folder of shards "
            f"may; {dataset.label} has none. Choose another --split."
        )
    said = "as it came with the data"
    folder = Path(config.dataset)
    if (folder / "manifest.json").is_file():
        from ncf_jax.data import shards

        said = shards.definition(folder)
    found = make_split(dataset, dataset.part, said)
    if limits(found):  # made by a rule of ours, which says more
        return found
    return dataclasses.replace(found, definition=f"stored: {said}")


def _check(what: str, found: str, wanted: str) -> None:
    if wanted and found != wanted:
        raise DataError(
            f"The {what} has fingerprint {found} where --{what}_fingerprint={wanted} "
            f"is wanted. Use the {what} of that run, or pass --{what}_fingerprint= to "
            f"take any."
        )


def _release(config: DataConfig, tell: Tell) -> Dataset:
    release = releases.RELEASES[config.dataset]
    folder = release.folder(Path(config.data_dir))
    if not all((folder / name).is_file() for name in release.members):
        _refuse_what_lies_there(release, folder, config)
        if release.sha256 is None:
            tell(f"{release.name}: downloaded over https; no hash of it is published")
        folder = download.fetch(release, Path(config.data_dir))
    size = (folder / release.ratings_file).stat().st_size
    tell = tell if size >= LARGE else silent
    hashes = _hashes(folder, release.files, tell)
    altered = releases.altered_members(release, folder, hashes)

    def make() -> Dataset:
        return from_files(
            folder,
            config,
            tell,
            name=release.name,
            label=lambda ratings: releases.label_of(release, altered, ratings),
            form=release.form,
            notes=releases.notes_of(release),
        )

    dataset = cached(release.name, hashes, config, tell, make)
    # After reading: a malformed file is better told by its line than by its hash.
    if altered and not config.allow_other_copy:
        raise DataError(
            f"{folder} is not the {release.name} of {release.date}: "
            f"{', '.join(altered)} has another content. Use the published release, or "
            f"pass --allow_other_copy and every output names it as different."
        )
    return dataset


def _refuse_what_lies_there(
    release: releases.Release, folder: Path, config: DataConfig
) -> None:
    """Raises DataError where a download would hide a mistake."""
    missing = [n for n in release.members if not (folder / n).is_file()]
    if len(missing) < len(release.members):
        raise DataError(
            f"{folder} lacks {', '.join(missing)}. Add the file, or remove the "
            f"folder and {release.name} is downloaded again."
        )
    if found := releases.found_instead(folder):
        raise DataError(
            f"{folder} is not {release.name}: wanted {', '.join(missing)}; found "
            f"{found}. Name the release that it is with --dataset, or point "
            f"--data_dir at a folder that holds {release.name}/."
        )
    if (Path(config.data_dir) / release.ratings_file).is_file():
        raise DataError(
            f"--data_dir={config.data_dir} holds {release.ratings_file} itself; give "
            f"the folder that holds {release.name}/."
        )


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
        hashes = _hashes(folder, releases.CSV, tell) if config.cache_dir else {}

        def make() -> Dataset:
            return from_files(
                folder, config, tell, name="synthetic", label=label, floor_rmse=floor
            )

        return cached("synthetic", hashes, config, tell, make)


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


def _hashes(folder: Path, names: Iterable[str], tell: Tell) -> dict[str, str]:
    hashes = {}
    for name in names:
        tell(f"{name}: checked by hash")
        hashes[name] = releases.file_sha256(folder / name)
    return hashes


def from_files(
    folder: Path,
    config: DataConfig,
    tell: Tell,
    *,
    name: str,
    label: str | Callable[[int], str],
    form: str = "csv",
    **extra: Any,
) -> Dataset:
    """The data set in a folder of MovieLens files; nothing is cached."""
    # pandas and scikit-learn take a second to import; a cached data set needs neither.
    from ncf_jax.data import building, dat, reading

    csv = form == "csv"
    tables = reading.read(folder, tell) if csv else dat.read(folder, form, tell)
    return building.build(
        tables,
        config,
        tell,
        name=name,
        label=label if callable(label) else lambda ratings: label,
        source=str(folder),
        **extra,
    )


def _own(config: DataConfig, tell: Tell) -> Dataset:
    """A file, or a folder of shards, that is no release."""
    path = Path(config.dataset)
    if path.is_dir():
        _refuse_beside_shards(config)
        if not (path / "manifest.json").is_file():
            raise DataError(_no_shards(path))
        from ncf_jax.data import shards

        return shards.dataset(path, config, tell)
    if not path.is_file():
        raise DataError(
            f"--dataset={config.dataset} is not there. Expected a .csv, .tsv or "
            f".parquet file of ratings, or a folder of shards with a manifest.json."
        )
    from ncf_jax.data import own

    features = Path(config.item_features) if config.item_features else None
    files = {name: own.hash_of(each) for name, each in own.files(path, features)}
    tell = tell if path.stat().st_size >= LARGE else silent

    def make() -> Dataset:
        from ncf_jax.data import building

        return building.build(
            own.read(path, config.columns, features, tell),
            config,
            tell,
            name=path.name,
            label=lambda ratings: path.name,
            source=str(path),
        )

    columns = json.dumps([path.name, config.columns])
    return cached(path.stem, files | {"columns": columns}, config, tell, make)


def _refuse_beside_shards(config: DataConfig) -> None:
    for name in ("columns", "item_features"):
        if getattr(config, name) != getattr(DataConfig(), name):
            raise ConfigError(
                f"--{name} is of a file of ratings; --dataset={config.dataset} is a "
                f"folder, whose manifest says it all. Leave it out."
            )


def _no_shards(folder: Path) -> str:
    if found := releases.found_instead(folder):
        return (
            f"{folder} has no manifest.json, but {found}. Give a release by its name, "
            f"as in --dataset=ml-1m --data_dir=<folder that holds ml-1m/>."
        )
    return (
        f"{folder} has no manifest.json. Expected a folder of shards (data/README.md), "
        f"or the path of a .csv, .tsv or .parquet file of ratings."
    )
