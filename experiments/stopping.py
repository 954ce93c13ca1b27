"""SIGTERM, by which a machine is taken back: save what is done, then end with 143.

While epochs run the signal waits for the next checkpoint: that of the epoch, or, where
rows are streamed by a single process, of the chunk. At any other time it ends the
command at once.
"""

import contextlib
import signal
import threading
from collections.abc import Iterator

CODE = 143
SENTENCE = "Stopped by SIGTERM. What is saved is whole, and the same command goes on."


class Stopped(KeyboardInterrupt):
    """SIGTERM has come; like Ctrl-C it passes by whatever catches an `Exception`."""


class _Signal:
    """What is known of the signal in this process."""

    came = False
    waits = False


def _hear(number: int, frame: object) -> None:
    _Signal.came = True
    if not _Signal.waits:
        raise Stopped


@contextlib.contextmanager
def heard(last: bool = False) -> Iterator[None]:
    """SIGTERM raises `Stopped` in the body, or waits where `until_saved` says so.

    Args:
      last: whether the process ends with the body. A signal that comes after it comes
        too late to stop anything, and does not make a failure of what is done.
    """
    _Signal.came = False
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _hear)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN if last else before)


@contextlib.contextmanager
def until_saved() -> Iterator[None]:
    """In the body the signal waits for `saved`, or for its end.

    Raises:
      Stopped: the signal came.
    """
    _Signal.waits = True
    try:
        yield
    finally:
        _Signal.waits = False
    saved()


def came() -> bool:
    """Whether the signal has come, so that a checkpoint is due."""
    return _Signal.came


def saved() -> None:
    """Says that a checkpoint is whole.

    Raises:
      Stopped: the signal came before.
    """
    if _Signal.came:
        raise Stopped
