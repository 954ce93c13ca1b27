"""Commands as processes that can be killed at any moment.

Each is a process of its own, forked from one that has imported what commands import, so
that a try costs a second and not five. Nothing of JAX has run in that one before.
"""

import multiprocessing
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

MAIN = "experiments."
OPTIONS = {
    "train": "Config",
    "prepare": "PrepareOptions",
    "evaluate": "EvaluateOptions",
}
LONGEST = 300.0  # seconds that a child may take, on a busy machine


class Ended(NamedTuple):
    """How a process ended: exit code, below 0 the signal; its output; its seconds."""

    code: int
    text: str
    seconds: float


def begin() -> None:
    """Starts the server; call it before anything else, in the main module."""
    os.environ["JAX_PLATFORMS"] = "cpu"
    _context().set_forkserver_preload(["tests.drills.warm"])


def _context() -> Any:
    return multiprocessing.get_context("forkserver")


def command(name: str, *flags: str, clock: float = 0.0) -> "Command":
    """A command, as its `python -m experiments.<name>` is, for `run`.

    Args:
      name: of the command.
      *flags: of its command line.
      clock: seconds that the clock goes back each time it is asked.
    """
    return Command(name, flags, clock)


class Command(NamedTuple):
    """A command with its flags, as a process's body; see `command`."""

    name: str
    flags: tuple[str, ...]
    clock: float

    def __call__(self) -> None:
        from importlib import import_module

        from experiments import flags

        if self.clock:
            _turn_back(self.clock)
        sys.argv = [self.name, *self.flags]
        module = import_module(MAIN + self.name)
        flags.run(module.main, getattr(module, OPTIONS[self.name]), module.__doc__)


def _turn_back(step: float) -> None:
    """Makes the clock of the day run backwards; durations are another clock's."""
    began, asked = time.time(), [0]

    def backwards() -> float:
        asked[0] += 1
        return began - step * asked[0]

    time.time = backwards
    time.time_ns = lambda: int(backwards() * 1e9)


def run(body: Callable[[], None], log: Path, kill_after: float | None = None) -> Ended:
    """Runs a body in a process of its own, and kills it when its time has come.

    Args:
      body: of the process; what it raises is its end, as of a program.
      log: file for its output, written over.
      kill_after: seconds; None: it is waited for.
    """
    process = _context().Process(target=_child, args=(body, str(log)))
    began = time.monotonic()
    process.start()
    process.join(LONGEST if kill_after is None else kill_after)
    if process.is_alive():
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    seconds = time.monotonic() - began
    text = log.read_text(errors="replace") if log.exists() else ""
    return Ended(process.exitcode, text, seconds)


def kill(
    afresh: Callable[[], object], body: Callable[[], None], log: Path, after: float
) -> Ended:
    """Runs a body, each time from `afresh`, and kills it while it is at work.

    Args:
      afresh: makes what must be there before.
      body: of the process.
      log: file for its output, written over.
      after: seconds, to begin with; fewer where it was done before.
    """
    while True:
        afresh()
        ended = run(body, log, after)
        if ended.code:
            return ended
        after *= 0.7


def _child(body: Callable[[], None], log: str) -> None:
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for descriptor in (1, 2):
        os.dup2(out, descriptor)
    body()


def moments(seed: int, count: int) -> list[float]:
    """`count` moments between 0 and 1, by a seed: one in each of as many parts."""
    rng = random.Random(seed)
    found = [(n + rng.random()) / count for n in range(count)]
    rng.shuffle(found)
    return found
