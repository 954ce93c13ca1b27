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
    environment: Mapping[str, str] | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> list[Outcome]:
    """Has every entry take `repeats` turns, one after the other, round by round.

    A drifting machine then slows all of them alike. An entry whose library is missing
    is left out and says so.
    """
    with contextlib.ExitStack() as stack:
        places: dict[str, tuple[Worker, int]] = {}
        missing: dict[str, str] = {}
        about: dict[str, dict[str, Any]] = {}
        for group in dict.fromkeys(entry.group for entry in entries):
            members = [entry for entry in entries if entry.group == group]
            specs = [
                {"factory": entry.factory, "arguments": dict(entry.arguments)}
                for entry in members
            ]
            try:
                worker = stack.enter_context(Worker(specs, environment))
            except RunError as error:
                say(f"  left out: {', '.join(e.name for e in members)}: {error}")
                missing |= {entry.name: str(error) for entry in members}
                continue
            for number, entry in enumerate(members):
                places[entry.name] = worker, number
                about[entry.name] = worker.about[number]
        turns: dict[str, list[dict[str, Any]]] = {name: [] for name in places}
        for _ in range(repeats):
            for name, (worker, number) in places.items():
                turns[name].append(worker.run(number))
    return [
        Outcome(entry.name, [], [], 0.0, {}, missing[entry.name])
        if entry.name in missing
        else Outcome(
            entry.name,
            [turn["seconds"] for turn in turns[entry.name]],
            [t["loss"] for t in turns[entry.name] if t["loss"] is not None],
            turns[entry.name][-1]["peak_mib"],
            about[entry.name],
        )
        for entry in entries
    ]


def ratios(outcome: Outcome, base: Outcome) -> list[float]:
    """`outcome` over `base`, turn by turn: how many times as long it took."""
    return [a / b for a, b in zip(outcome.seconds, base.seconds, strict=True)]
