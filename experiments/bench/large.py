"""Suites of data with the size and shape of MovieLens 32M; see `suites`."""

from pathlib import Path
from typing import Any

from experiments.bench.plan import HOME, Arguments, Plan, Section, around, ours, torch
from experiments.bench.rows import data_options
from experiments.bench.timing import Entry
from ncf_jax.config import DataConfig
from ncf_jax.errors import ConfigError


def prepare(plan: Plan) -> list[Section]:
    """Data of the size and shape of MovieLens 32M, from CSV files to training."""
    from ncf_jax.data import synthetic

    world = {
        "synthetic_users": 200_948,
        "synthetic_items": 87_585,
        "synthetic_ratings": 32_000_204,
        "synthetic_tags": 2_000_072,
    }
    if plan.smoke:
        world = {
            "synthetic_users": 40,
            "synthetic_items": 60,
            "synthetic_ratings": 1_000,
            "synthetic_tags": 30,
        }
    cache = plan.config.cache_dir
    if not cache:
        raise ConfigError("The suite prepare wants a --cache_dir for its files.")
    options: Arguments = {"dataset": "synthetic", "cache_dir": cache, **world}
    named = {name.removeprefix("synthetic_"): size for name, size in world.items()}
    folder = Path(cache) / synthetic.World(**named).folder_name()
    synthetic.write(synthetic.World(**named), folder)
    ratings = str(folder / "ratings.csv")
    sections = [
        Section(
            f"{world['synthetic_ratings']:,} ratings: CSV files to arrays",
            [
                Entry(
                    "pandas.read_csv",
                    f"{HOME}.peers:read_csv",
                    {"path": ratings},
                    "csv",
                ),
                around("CSV to arrays", "from_csv", "ours", options=options),
                around("from the cache", "prepared", "cache", options=options),
                around("split", "divided", "split", options=options),
            ],
            "pandas reads ratings.csv alone and gives a table",
            repeats=3,
        )
    ]
    source = {"data": data_options(DataConfig(**options))}
    batch = 64 if plan.smoke else 8_192
    common: Arguments = {"source": source, "batch_size": batch}
    sections.append(
        Section(
            f"An epoch of it at batch {batch:,}, genres and tags included",
            [
                ours("row-wise, lazy", "epoch", table_update="lazy", **common),
                *torch(plan, "sparse", **common),
            ],
            repeats=3,
            losses=True,
        )
    )
    return sections


def stream(plan: Plan) -> list[Section]:
    """Memory-mapped rows of the shape of MovieLens 32M: streamed, or on the device."""
    from experiments.bench import streaming

    users, items, ratings = 200_948, 87_585, plan.stream_ratings
    if plan.smoke:
        users, items, ratings = 400, 300, 9_000
    cache = plan.config.cache_dir
    if not cache:
        raise ConfigError("The suite stream wants a --cache_dir for its files.")
    folder = streaming.write(Path(cache), users, items, ratings)
    batch = 64 if plan.smoke else 8_192
    common: Arguments = {"folder": folder, "cache": cache, "batch_size": batch}

    def entry(name: str, factory: str, **arguments: Any) -> Entry:
        arguments = {**common, **arguments}
        # In a process each, whose peak memory is its own.
        return Entry(name, f"{HOME}.streaming:{factory}", arguments, name)

    return [
        Section(
            f"An epoch of 70 % of {ratings:,} rows, batch {batch:,}, row-wise, lazy",
            [
                entry("rows on the device", "epoch", way="device"),
                entry("rows streamed", "epoch", way="stream"),
            ],
            repeats=3,
            losses=True,
        ),
        Section(
            "The chunks alone",
            [
                entry("one thread", "delivery", threads=1),
                entry("two threads", "delivery", threads=2),
            ],
            repeats=3,
        ),
    ]
