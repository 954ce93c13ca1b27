"""Read, filter, index and split a data set, and print what came out.

  python -m experiments.prepare --dataset=ml-latest-small --data_dir=../shared/data
  python -m experiments.prepare --flagfile=experiments/configs/ncf_tags.flags \\
      --export_dir=exported

A release that is missing from --data_dir is downloaded over https and verified. With
--export_dir the merged table and the split are written as CSV files, with --shards_dir
as a folder of Parquet shards, with --bounded besides by blocks of rows:

  python -m experiments.prepare --dataset=ml-32m --shards_dir=data/shards-32m --bounded
  python -m experiments.train --dataset=data/shards-32m --split=stored
"""

import dataclasses
from pathlib import Path

from experiments import console, flags
from ncf_jax.config import Config, option
from ncf_jax.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class PrepareOptions(Config):
    """Options of this command; it takes the flagfile of any experiment."""

    export_dir: str = option("", "Write final_merged_dataset.csv and split.csv here.")
    shards_dir: str = option(
        "", "Write data and split as a folder of shards here (data/README.md)."
    )
    bounded: bool = option(
        False,
        "Write --shards_dir from CSV files by blocks, for data larger than memory; "
        "rows are then divided 70/15/15 by a hash of user and item.",
    )


def main(options: PrepareOptions) -> None:
    """Prepares and prints; writes only where asked."""
    import ncf_jax
    from ncf_jax import models
    from ncf_jax.data import splits
    from ncf_jax.data.export import export

    if options.shards_dir:
        from ncf_jax.data import shardfiles

        shardfiles.refuse_existing(Path(options.shards_dir))
    if options.bounded:
        return bounded(options)
    dataset = ncf_jax.prepare(options, console.Later())
    split = ncf_jax.split(dataset, options)
    tagged = int(dataset.features.tags.any(axis=1).sum())
    rows = [
        ["data", dataset.label],
        ["users", f"{dataset.num_users:,}"],
        ["movies", f"{dataset.num_items:,}"],
        ["ratings", f"{len(dataset.user):,}"],
        ["train", f"{len(split.train):,}"],
        ["valid", f"{len(split.valid):,}"],
        ["test", f"{len(split.test):,}"],
        ["genres", f"{len(dataset.genre_names):,}"],
        ["movies with tag features", f"{tagged:,}"],
        ["split made by", split.definition],
        ["what it shows", splits.limits(split)],
        ["data fingerprint", dataset.fingerprint],
        ["split fingerprint", split.fingerprint],
    ]
    if dataset.floor_rmse is not None:
        rows.append(["lowest RMSE to be expected", f"{dataset.floor_rmse:.4f}"])
    for note in dataset.notes:
        rows.append(["note", note])
    leaks = splits.warnings(
        dataset,
        split,
        filtered=max(options.min_item_ratings, options.min_user_ratings) > 1,
        uses_tags=models.uses_tags(options),
        catalogue=options.candidates == "catalogue",
    )
    rows += [["warning", leak] for leak in leaks]
    width = max(len(name) for name, _ in rows)
    console.say(*(f"{name:<{width}}  {value}" for name, value in rows))
    if options.export_dir:
        for path in export(dataset, split, Path(options.export_dir)):
            console.say(f"written: {path}")
    if options.shards_dir:
        from ncf_jax.data import shards

        shards.write(Path(options.shards_dir), dataset, split)
        console.say(f"written: {options.shards_dir}")


def bounded(options: PrepareOptions) -> None:
    """Prepares by blocks; what is printed is what the manifest says.

    Raises:
      ConfigError: there is nowhere to write to, or what wants all rows is asked for.
    """
    if not options.shards_dir or options.export_dir:
        raise ConfigError("--bounded wants --shards_dir and no --export_dir.")
    if options.split != PrepareOptions.split:
        raise ConfigError(
            f"--bounded divides rows by a hash; --split={options.split} wants all rows "
            f"at once. Leave one of them out."
        )
    from ncf_jax.data import sharding

    folder = Path(options.shards_dir)
    found = sharding.prepare(options, folder, console.Later())
    rows = [
        ("data", found.label or found.name),
        ("users", f"{found.num_users:,}"),
        ("movies", f"{found.num_items:,}"),
        ("ratings", f"{found.num_rows:,}"),
        ("split made by", found.split or ""),
        ("data fingerprint", found.fingerprint),
        *(("note", note) for note in found.notes),
    ]
    width = max(len(name) for name, _ in rows)
    console.say(*(f"{name:<{width}}  {value}" for name, value in rows))
    console.say(f"written: {folder}")


if __name__ == "__main__":
    flags.run(main, PrepareOptions, __doc__)
