"""What a drill found: how many tries, and what was wrong with those that failed."""

import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple


class Found(NamedTuple):
    """The outcome of one drill.

    Attributes:
      promise: number in docs/reliability.md, such as `R1`.
      what: was tried, in a few words.
      tries: how often.
      failures: a sentence for each try that went wrong.
      seconds: that it took.
      repeat: the command that does it again.
    """

    promise: str
    what: str
    tries: int
    failures: tuple[str, ...]
    seconds: float
    repeat: str

    def line(self) -> str:
        """For the terminal."""
        verdict = "ok" if self.tries else "NOT TRIED"
        if self.failures:
            verdict = f"{len(self.failures)} failed"
        return (
            f"{self.promise:<4} {self.tries:>7,} tries  {verdict:<10} "
            f"{self.seconds:6.0f} s  {self.what}"
        )


def attempt(
    promise: str,
    what: str,
    repeat: str,
    tries: Iterable[Callable[[], str | None]],
    at_once: int = 1,
) -> Found:
    """Makes tries, each of which returns what was wrong, or None.

    An exception in one is a failure too: a drill never ends early.
    """
    began = time.monotonic()

    def one(attempted: Callable[[], str | None]) -> str | None:
        try:
            return attempted()
        except Exception as error:
            return f"{type(error).__name__}: {str(error).strip()[:500]}"

    with ThreadPoolExecutor(at_once) as pool:
        found = list(pool.map(one, tries))
    failures = tuple(f"try {n}: {text}" for n, text in enumerate(found) if text)
    seconds = time.monotonic() - began
    return Found(promise, what, len(found), failures, seconds, repeat)
