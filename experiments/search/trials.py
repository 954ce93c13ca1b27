"""Trials as sweep.csv has them, which is all that the sampler is told."""

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from experiments.search.space import Space, value_of
from ncf_jax.errors import RunError

COMPLETE, FAILED, RUNNING = "complete", "failed", "running"
STATES = (COMPLETE, FAILED, RUNNING)


class Trial(NamedTuple):
    """A row of sweep.csv.

    Attributes:
      number: from 1.
      state: `complete`, `failed` or `running`, which is to be gone on with.
      values: option -> value.
      mean: the objective, mean over seeds; None unless complete.
      sd: its standard deviation over seeds; None of a single seed.
      seconds: of training.
    """

    number: int
    state: str
    values: dict[str, Any]
    mean: float | None = None
    sd: float | None = None
    seconds: float | None = None


def header(space: Space, objective: str) -> list[str]:
    """The columns."""
    return ["trial", "state", objective, "sd", *space, "seconds"]


def rows(trials: Sequence[Trial]) -> list[list[Any]]:
    """The cells, floats to the last digit."""
    return [
        [t.number, t.state, t.mean, t.sd, *t.values.values(), t.seconds] for t in trials
    ]


def ranked(trials: Sequence[Trial], *, larger: bool) -> list[Trial]:
    """The complete trials, the best first; of equals the earlier."""
    sign = -1 if larger else 1
    scored = [(sign * t.mean, t.number, t) for t in trials if t.mean is not None]
    return [trial for *_, trial in sorted(scored, key=lambda entry: entry[:2])]


def figure(trial: Trial) -> str:
    """The objective, with its standard deviation over several seeds."""
    return f"{trial.mean:.4f}" + (f" ± {trial.sd:.4f}" if trial.sd is not None else "")


def shown(value: Any) -> str:
    """A value as people read it."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def read(path: Path, space: Space, objective: str) -> list[Trial]:
    """The trials of the file, in order; none where there is no file.

    Raises:
      RunError: it is damaged.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"{path} cannot be read ({error}).") from error
    try:
        columns, *lines = csv.reader(io.StringIO(text))
        if columns != header(space, objective):
            raise ValueError(f"its columns are {', '.join(columns)}")
        found = [_trial(cells, space) for cells in lines]
        for number, trial in enumerate(found, start=1):
            last = number == len(found)
            if trial.number != number or (trial.state == RUNNING and not last):
                raise ValueError(f"row {number} is not that of a trial that was next")
    except (ValueError, LookupError, csv.Error) as error:
        raise RunError(
            f"{path} is damaged ({error}). Remove it and run the same command again: "
            f"its trials are found again in their folders."
        ) from error
    return found


def _trial(cells: Sequence[str], space: Space) -> Trial:
    number, state, mean, sd, *rest = cells
    *texts, seconds = rest
    axes = zip(space.items(), texts, strict=True)
    values = {name: value_of(text, axis) for (name, axis), text in axes}
    for name, axis in space.items():
        if not axis.holds(values[name]):
            raise ValueError(f"trial {number} has {name} {values[name]}, not {axis}")
    numbers = [float(text) if text else None for text in (mean, sd, seconds)]
    if not all(math.isfinite(x) for x in numbers if x is not None):
        raise ValueError(f"trial {number} has a number that is not finite")
    if state not in STATES or (state == COMPLETE) != (numbers[0] is not None):
        raise ValueError(f"trial {number} is {state!r} with {mean or 'nothing'}")
    return Trial(int(number), state, values, *numbers)
