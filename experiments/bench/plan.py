"""What a suite is made of: a plan, sections, and entries."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from experiments.bench.rows import data_options
from experiments.bench.timing import Entry
from ncf_jax.config import DataConfig

HOME = "experiments.bench"
Arguments = dict[str, Any]


class Section(NamedTuple):
    """One comparison.

    Attributes:
      title: what is done.
      entries: the contestants; ratios are to the first.
      note: what a reader must know.
      repeats: turns, at most; None for as many as asked for.
      losses: whether all do the same work, so that their losses must be alike.
    """

    title: str
    entries: Sequence[Entry]
    note: str = ""
    repeats: int | None = None
    losses: bool = False


class Plan(NamedTuple):
    """What the command line says.

    Attributes:
      config: the data of the reference experiment.
      smoke: small sizes.
      peers: whether PyTorch takes part; it is installed.
      target_loss: validation loss to be reached.
      profile: folder for traces, or empty.
      stream_ratings: of the suite stream.
    """

    config: DataConfig
    smoke: bool
    peers: bool
    target_loss: float
    profile: str
    stream_ratings: int = 3_200_020

    @property
    def source(self) -> dict[str, Any]:
        """The reference experiment's rows, for `rows.load`."""
        return {"data": data_options(self.config)}


def ours(name: str, factory: str, **arguments: Any) -> Entry:
    """One of our contestants; all of a section share a process, and so the device."""
    return Entry(name, f"{HOME}.ours:{factory}", arguments)


def around(name: str, factory: str, group: str = "jax", **arguments: Any) -> Entry:
    """One of our contestants around training; with a group, in a process of its own."""
    return Entry(name, f"{HOME}.around:{factory}", arguments, group)


def torch(plan: Plan, *kinds: str, **arguments: Any) -> list[Entry]:
    """PyTorch's contestants, each in a process of its own."""
    if not plan.peers:
        return []
    return [
        Entry(
            f"PyTorch {kind}",
            f"{HOME}.peers:torch_epoch",
            {"kind": kind, **arguments},
            f"torch {kind}",
        )
        for kind in kinds
    ]
