"""PyTorch's contestants: one epoch, or some steps, of the reference's training.

  run = contestant("fused", rows, batch_size=512)
  loss = run()   # to be timed

From the plain way (`per_example`) to what an expert would write; the tuned steps are in
`torch_steps`, with what was tried and was slower.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.utils import data

from experiments.peers.network import Network, Ratings
from experiments.peers.torch_steps import (
    DECAY,
    Loss,
    compiled,
    eager,
    factors,
    forget,
    keep_memory,
    tensor,
)

KINDS = {
    "per_example": "Dataset of single examples, DataLoader, Adam: as the reference",
    "foreach": "batches cut from shuffled tensors, Adam(foreach=True)",
    "fused": "batches cut from shuffled tensors, Adam(fused=True)",
    "compile": "torch.compile of loss and gradient as one graph, fused Adam",
    "sparse": "sparse gradients of the tables: SparseAdam; fused Adam for the rest",
    "dense": "dense gradients of the tables, fused Adam for everything",
}


class Rows(NamedTuple):
    """Training rows and the items' features, in plain NumPy."""

    user: np.ndarray  # [N] index
    item: np.ndarray  # [N] index
    rating: np.ndarray  # [N] float32, stars
    genres: np.ndarray  # [I, G] float32
    tags: np.ndarray  # [I, T] float32
    num_users: int
    num_items: int


def versions() -> dict[str, Any]:
    """What a table of times must name: PyTorch, its threads, its instruction set."""
    return {
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
    }


def contestant(
    kind: str,
    rows: Rows,
    *,
    batch_size: int,
    steps: int | None = None,
    seed: int = 0,
    initial: Mapping[str, np.ndarray] | None = None,
    dropout: float = 0.3,
    rate: float = 5e-4,
) -> Callable[[], float]:
    """A contestant that is warm and at its initial weights.

    In the first run all kinds see the same batches for the same seed.

    Args:
      kind: a name in `KINDS`.
      rows: what to train on.
      batch_size: examples a step.
      steps: full batches a run, from a fresh shuffle; None for an epoch, in which each
        row is seen once and the short last batch is kept.
      seed: of weights, order and dropout.
      initial: weights to start from by their `state_dict` names, linear layers
        [out, in]; None for PyTorch's own, which are the reference's.
      dropout: rate at which hidden units are dropped.
      rate: learning rate of every optimizer.

    Returns:
      `run`: trains once more, gives the mean loss over the examples trained on.

    Raises:
      ValueError: no such kind, or too few rows for `steps`.
      RuntimeError: "compile" finds no C++ compiler.
    """
    if kind not in KINDS:
        raise ValueError(f"No contestant {kind!r}: write one of {', '.join(KINDS)}.")
    used = len(rows.user) if steps is None else steps * batch_size
    if not 0 < used <= len(rows.user):
        raise ValueError(
            f"{used} rows a run ({steps} steps of {batch_size}) cannot be drawn from "
            f"{len(rows.user)}: ask for between 1 and all of them."
        )
    if kind == "dense":
        keep_memory()
    network = Network(
        rows.num_users,
        rows.num_items,
        rows.genres.shape[1],
        rows.tags.shape[1],
        dropout=dropout,
        sparse=kind == "sparse",
    ).train()
    draws = torch.Generator()

    def start() -> None:
        """Initial weights, in place: huge tables are held once."""
        torch.manual_seed(seed)
        draws.manual_seed(seed)
        if initial is not None:
            state = {name: tensor(value) for name, value in initial.items()}
            network.load_state_dict(state)
            return
        for layer in network.children():
            if isinstance(layer, nn.Embedding | nn.Linear):
                layer.reset_parameters()

    start()
    if kind == "per_example":
        adam = torch.optim.Adam(network.parameters(), lr=rate, weight_decay=DECAY)
        run, restart = one_by_one(network, adam, rows, batch_size, used, draws)
    else:
        loss = Loss(network, rows.genres, rows.tags)
        step, restart = (
            compiled(loss, rate)
            if kind == "compile"
            else eager(loss, optimizers(kind, network, rate))
        )

        def drop_and_step(*batch: torch.Tensor) -> torch.Tensor:
            return step(*batch, *factors(len(batch[0]), dropout, draws))

        run = in_batches(drop_and_step, rows, batch_size, used, draws)
    restart()
    start()
    return run


def optimizers(
    kind: str, network: Network, rate: float
) -> tuple[torch.optim.Optimizer, ...]:
    """Those of an eager kind."""
    if kind != "sparse":
        how = {"foreach": True} if kind == "foreach" else {"fused": True}
        every = network.parameters()
        return (torch.optim.Adam(every, lr=rate, weight_decay=DECAY, **how),)
    tables = [network.user_embedding.weight, network.item_embedding.weight]
    head = [
        weight for name, weight in network.named_parameters() if "embedding" not in name
    ]
    return (
        torch.optim.SparseAdam(tables, lr=rate),
        torch.optim.Adam(head, lr=rate, weight_decay=DECAY, fused=True),
    )


def in_batches(
    step: Callable[..., torch.Tensor],
    rows: Rows,
    batch_size: int,
    used: int,
    draws: torch.Generator,
) -> Callable[[], float]:
    """`run` over batches cut from shuffled tensors, after a warm-up of each shape."""
    columns = [
        tensor(rows.user, dtype=torch.long),
        tensor(rows.item, dtype=torch.long),
        tensor(rows.rating, dtype=torch.float32) / 5,
    ]
    for size in {min(batch_size, used), used % batch_size} - {0}:
        step(*(column[:size] for column in columns))

    def run() -> float:
        order = torch.randperm(len(rows.user), generator=draws)[:used]
        # One gather for all steps: cheaper than one for each.
        cut = [column[order].split(batch_size) for column in columns]
        total = torch.zeros((), dtype=torch.float64)
        for batch in zip(*cut, strict=True):
            total.add_(step(*batch), alpha=len(batch[0]))
        return float(total) / used

    return run


def one_by_one(
    network: Network,
    optimizer: torch.optim.Optimizer,
    rows: Rows,
    batch_size: int,
    used: int,
    draws: torch.Generator,
) -> tuple[Callable[[], float], Callable[[], None]]:
    """`run` as the reference trains, and what makes it forget its warm-up."""
    genres, tags = list(rows.genres), list(rows.tags)
    columns = (
        rows.user,
        rows.item,
        [genres[item] for item in rows.item],
        [tags[item] for item in rows.item],
        rows.rating / 5,
    )
    examples = Ratings(columns)
    # What shuffle=True makes, but with our own generator, so that orders agree.
    order = data.RandomSampler(examples, num_samples=used, generator=draws)
    loader = data.DataLoader(examples, batch_size=batch_size, sampler=order)

    def step(*batch: torch.Tensor) -> float:
        *inputs, rating = batch
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(network(*inputs), rating)
        loss.backward()
        optimizer.step()
        return loss.item() * len(rating)

    step(*next(iter(loader)))

    def run() -> float:
        return sum(step(*batch) for batch in loader) / used

    return run, lambda: forget([optimizer])
