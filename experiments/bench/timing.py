"""Turns A B A B, and what came out of them."""

import contextlib
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from experiments.bench.worker import Worker
from ncf_jax.errors import RunError


class Entry(NamedTuple):
    """A contestant of a comparison, before it is made.

    Attributes:
      name: as tables show it.
      factory: `module:function` that makes it.
      arguments: of the function, JSON-ready.
      group: entries of one group share a process; those of a device that only one
        process can hold must.
    """

    name: str
    factory: str
    arguments: Mapping[str, Any]
    group: str = "jax"


class Outcome(NamedTuple):
    """What is known of a contestant afterwards.

    Attributes:
      name: as tables show it.
      seconds: of each turn.
      losses: of each turn; empty where there are none.
      peak_mib: of its process, at the end.
      about: its own figures.
      missing: why it did not take part, or None.
    """

    name: str
    seconds: list[float]
    losses: list[float]
    peak_mib: float
    about: dict[str, Any]
    missing: str | None = None

    @property
    def median(self) -> float:
        """Seconds."""
        return statistics.median(self.seconds)


def compare(
    entries: Sequence[Entry],
    *,
    repeats: int,
    say: Callable[[str], None] = lambda text: None,
) -> list[Outcome]:
    """Has every entry take `repeats` turns, one after the other, round by round.

    A drifting machine then slows all of them alike. An entry whose library is missing,
    or that fails, is left out from then on, and its outcome says why.
    """
    missing: dict[str, str] = {}

    def leave_out(entry: Entry, reason: str) -> None:
        missing[entry.name] = reason
        say(f"  left out: {entry.name}: {reason}")

    with contextlib.ExitStack() as stack:
        places: dict[str, tuple[Worker, int]] = {}
        about: dict[str, dict[str, Any]] = {}
        for group in dict.fromkeys(entry.group for entry in entries):
            members = [entry for entry in entries if entry.group == group]
            specs = [
                {"factory": entry.factory, "arguments": dict(entry.arguments)}
                for entry in members
            ]
            try:
                worker = stack.enter_context(Worker(specs))
            except RunError as error:
                for entry in members:
                    leave_out(entry, str(error))
                continue
            for number, entry in enumerate(members):
                places[entry.name] = worker, number
                about[entry.name] = worker.about[number]
                if "error" in about[entry.name]:
                    leave_out(entry, about[entry.name]["error"])
        turns: dict[str, list[dict[str, Any]]] = {entry.name: [] for entry in entries}
        for _ in range(repeats):
            for entry in entries:
                if entry.name in missing:
                    continue
                worker, number = places[entry.name]
                try:
                    turns[entry.name].append(worker.run(number))
                except RunError as error:
                    leave_out(entry, str(error))
    return [
        Outcome(entry.name, [], [], 0.0, {}, missing[entry.name])
        if entry.name in missing
        else Outcome(
            entry.name,
            [turn["seconds"] for turn in turns[entry.name]],
            [t["loss"] for t in turns[entry.name] if t["loss"] is not None],
            turns[entry.name][-1]["peak_mib"],
            turns[entry.name][-1]["about"],
        )
        for entry in entries
    ]


def ratios(outcome: Outcome, base: Outcome) -> list[float]:
    """`outcome` over `base`, turn by turn: how many times as long it took."""
    return [a / b for a, b in zip(outcome.seconds, base.seconds, strict=True)]
