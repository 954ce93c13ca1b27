"""Read, filter, index and split a data set, and print what came out.

  python -m experiments.prepare --dataset=ml-latest-small --data_dir=../shared/data
  python -m experiments.prepare --flagfile=experiments/configs/ncf_tags.flags \\
      --export_dir=exported

A release that is missing from --data_dir is downloaded over https and verified. With
--export_dir the merged table and the split are written as CSV files.
"""

import dataclasses
from pathlib import Path

from experiments import console, flags
from ncf_jax.config import Config, option


@dataclasses.dataclass(frozen=True)
class PrepareOptions(Config):
    """Options of this command; it takes the flagfile of any experiment."""

    export_dir: str = option("", "Write final_merged_dataset.csv and split.csv here.")


def main(options: PrepareOptions) -> None:
    """Prepares and prints; writes only where asked."""
    import ncf_jax
    from ncf_jax import models
    from ncf_jax.data import splits
    from ncf_jax.data.export import export

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


if __name__ == "__main__":
    flags.run(main, PrepareOptions, __doc__)
