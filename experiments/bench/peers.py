"""PyTorch's contestants as the benchmark's own; imported in their processes alone."""

from typing import Any

import numpy as np

from experiments.bench import rows
from experiments.bench.worker import Contestant


def torch_epoch(
    kind: str, source: dict[str, Any], batch_size: int, steps: int | None = None
) -> Contestant:
    """An epoch, or `steps` steps, of the reference's network in PyTorch."""
    from experiments.peers import torch_epochs

    train, users, items = rows.load(source)
    run = torch_epochs.contestant(
        kind,
        torch_epochs.Rows(
            user=train.user,
            item=train.item,
            rating=train.rating,
            genres=np.asarray(train.features.genres),
            tags=np.asarray(train.features.tags),
            num_users=users,
            num_items=items,
        ),
        batch_size=batch_size,
        steps=steps,
    )
    count = len(train.user) if steps is None else steps * batch_size
    about = {
        "examples": count,
        "steps": -(-count // batch_size),
        **torch_epochs.versions(),
    }
    return Contestant(run, about)


def read_csv(path: str) -> Contestant:
    """`pandas.read_csv` of a file, and nothing else."""
    from experiments.peers import tables

    return Contestant(tables.read_csv(path), {})
