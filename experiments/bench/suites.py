"""What is compared in each suite: sections of contestants that take turns.

`size=smoke` is the same on small sizes, for trying the plumbing; its figures mean
nothing.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

from experiments.bench.large import prepare, stream
from experiments.bench.plan import (
    HOME,
    Arguments,
    Plan,
    Section,
    around,
    ours,
    torch,
)
from experiments.bench.timing import Entry
from ncf_jax.config import DataConfig


def step(plan: Plan) -> list[Section]:
    """The reference experiment's epoch, what it is made of, and the peers' epoch."""
    source, batch = plan.source, 512
    common: Arguments = {"source": source, "batch_size": batch}
    return [
        Section(
            "An epoch of the reference experiment, batch 512",
            [
                ours("dense", "epoch", **common, profile=plan.profile),
                ours("row-wise, lazy", "epoch", table_update="lazy", **common),
                ours("row-wise, catch-up", "epoch", table_update="catch_up", **common),
                *torch(plan, "foreach", "fused", "compile", **common),
                *torch(plan, "per_example", **common),
            ],
            losses=True,
        ),
        Section(
            "Parts of it",
            [
                ours("epoch, dense", "epoch", **common),
                ours("shuffling and gathering alone", "batches", **common),
                ours("validation loss", "validation", source=source),
            ],
        ),
        Section(
            f"From nothing to a validation loss of {plan.target_loss}, compilation too",
            [ours("dense", "to_loss", **common, target=plan.target_loss)],
            "the loss is the first that is low enough; none: not within 20 epochs",
            repeats=3,
        ),
        Section(
            "The head alone, forwards and backwards",
            [
                ours(f"batch {size:,}", "head", batch_size=size)
                for size in ((64, 128) if plan.smoke else (512, 2048, 8192))
            ],
        ),
    ]


TURNS = 8


def scale(plan: Plan) -> list[Section]:
    """Steps on tables of growing size."""
    sizes = [(610, 2_269), (100_000, 50_000), (2_000_000, 500_000)]
    batches = [512, 8_192]
    if plan.smoke:
        sizes, batches = [(50, 60), (2_000, 500)], [64]
    sections = []
    for batch in batches:
        steps = 3 if plan.smoke else 100 if batch == 512 else 20
        rows = TURNS * steps * batch  # so that each turn has rows of its own
        worlds: list[Arguments] = [
            {"random": {"users": users, "items": items, "rows": rows}}
            for users, items in sizes
        ]
        for (users, items), world in zip(sizes, worlds, strict=True):
            common: Arguments = {"source": world, "batch_size": batch, "steps": steps}
            entries = [
                ours("row-wise, lazy", "epoch", table_update="lazy", **common),
                ours("row-wise, catch-up", "epoch", table_update="catch_up", **common),
                *torch(plan, "sparse", **common),
            ]
            title = f"{users:,} users x {items:,} items, batch {batch:,}"
            sections.append(Section(title, entries, losses=True))
        large: Arguments = {"source": worlds[-1], "batch_size": batch}
        few = {**large, "steps": 2 if plan.smoke else 10}
        sections.append(
            Section(
                f"{sizes[-1][0]:,} x {sizes[-1][1]:,}, batch {batch:,}: dense Adam",
                [
                    ours("row-wise, lazy", "epoch", table_update="lazy", **few),
                    *torch(plan, "dense", **few),
                ],
                "few steps, for each of PyTorch's moves every row; losses are still "
                "those of the first draws",
                repeats=3,
            )
        )
        small, big = worlds[0], worlds[-1]
        for way, flag in (("lazy", "lazy"), ("catch-up", "catch_up")):
            arguments: Arguments = {
                "batch_size": batch,
                "steps": steps,
                "table_update": flag,
            }
            sections.append(
                Section(
                    f"Does a step's cost grow with the tables? {way}, batch {batch:,}",
                    [
                        ours(f"{u:,} x {i:,}", "epoch", source=world, **arguments)
                        for (u, i), world in ((sizes[0], small), (sizes[-1], big))
                    ],
                )
            )
    return sections


def seeds(plan: Plan) -> list[Section]:
    """Several seeds in one vmap."""
    common: Arguments = {"source": plan.source, "batch_size": 512}
    return [
        Section(
            "An epoch of several seeds together",
            [
                ours(f"seeds: {count}", "epoch", seeds=count, **common)
                for count in ((1, 2) if plan.smoke else (1, 2, 5, 10))
            ],
            "times are of all seeds together",
        )
    ]


def evaluate(plan: Plan) -> list[Section]:
    """Metrics on the test rows, and scores of the whole catalogue."""
    source, users = plan.source, 20 if plan.smoke else 610
    each: Arguments = {"source": source, "users": users}
    return [
        Section(
            "Every metric of the test rows, with intervals, beside an epoch",
            [
                ours("an epoch", "epoch", source=source, batch_size=512),
                around("rated rows, K = 10", "judged", source=source),
                around("all items, K = 5, 10, 20", "judged", whole=True, source=source),
            ],
        ),
        Section(
            "Scores of every item for up to 610 users",
            [
                around("by halves", "scores", way="halves", **each),
                around("by halves, best 10 only", "scores", way="best", **each),
                around("the network for each pair", "scores", way="pairs", **each),
            ],
        ),
    ]


def startup(plan: Plan) -> list[Section]:
    """Whole commands, with cold and with warm caches."""
    config = plan.config
    flags = [
        f"--{field.name}={getattr(config, field.name)}"
        for field in dataclasses.fields(DataConfig)
        if field.name != "cache_dir" and getattr(config, field.name) != field.default
    ]
    if plan.smoke:
        flags.append("--epochs=1")
    train = "experiments.train"

    def whole(name: str, module: str, words: list[str], **more: Any) -> Entry:
        arguments = {"module": module, "flags": words, **more}
        return Entry(name, f"{HOME}.processes:command", arguments, name)

    run = {"folder_flag": "workdir"}
    entries = [
        whole("warm", train, [*flags, "--cache_dir={scratch}/data"], warm=True, **run),
        whole("cold", train, [*flags, "--cache_dir="], **run),
    ]
    if plan.peers and config.dataset == "ml-latest-small":
        words = [f"--data_dir={config.data_dir}"]
        peer = "experiments.peers.pytorch"
        entries.append(whole("PyTorch per_example", peer, words, folder_flag="out_dir"))
    return [
        Section(
            "The whole experiment: files to report",
            entries,
            "warm: prepared data and compiled programs are in their caches",
            repeats=3,
        ),
        Section(
            "Starting",
            [
                whole("train --help", train, ["--help"]),
                whole("benchmark --help", "experiments.benchmark", ["--help"]),
            ],
        ),
    ]


SUITES: dict[str, Callable[[Plan], list[Section]]] = {
    "step": step,
    "seeds": seeds,
    "evaluate": evaluate,
    "startup": startup,
    "scale": scale,
    "prepare": prepare,
    "stream": stream,
}
