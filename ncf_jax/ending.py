"""How a process ends when another one has gone: in one sentence, whatever C++ says.

The runtime of JAX in each of the others then writes pages to standard error and aborts,
often within milliseconds. Here such an end waits for a moment, in which Python says
what has happened and is gone.
"""

import contextlib
import ctypes
import io
import os
import re
import signal
import sys
import threading
from collections.abc import Callable
from typing import NoReturn, TextIO

NAMES = {1: "stdout", 2: "stderr"}
GONE = 7  # the exit code of a process that stops because another one did
AGAIN = (
    "The last checkpoint is whole: start all processes again with the same command, "
    "also with another number of processes or devices."
)
FATAL = re.compile(r"[EF]\d{4} .*(coordination_service|JAX distributed service)")
SURE = re.compile(r"Terminating process because|Polled an error")
UNHEARD = re.compile(r"stopped sending heartbeats\):\s*\n(\d+)|Task (\d+) heartbeat")
GREETING = re.compile(r"\[Gloo\]|peer ranks")
REST = re.compile(r"[\s\d:]*")  # of one, where two threads wrote at the same time
JUDGE_SECONDS = 1.0  # for the watch, which knows more; less than an abort is held


def hold_aborts() -> None:
    """A thread that aborts sleeps first, for as many seconds as SIGABRT's number: 6.

    libc's `sleep` is itself the handler, so nothing of Python runs in a thread that
    has come to grief; when it returns, the process is aborted as ever.
    """
    libc = ctypes.CDLL(None)
    libc.signal.argtypes = [ctypes.c_int, ctypes.c_void_p]
    libc.signal.restype = ctypes.c_void_p
    libc.signal(signal.SIGABRT, ctypes.cast(libc.sleep, ctypes.c_void_p))


class Lines:
    """Lines that C++ writes to a file descriptor, and who may see them.

    Python's own stream of that descriptor goes around it, a line at a time.
    """

    def __init__(self, descriptor: int, keep: Callable[[str], bool]) -> None:
        """Takes the descriptor over.

        Args:
          descriptor: 1 or 2; another one has no stream of Python's.
          keep: whether a line, given without its end, is passed on.
        """
        self.descriptor, self._keep = descriptor, keep
        self._name = NAMES.get(descriptor, "")
        self._before: TextIO | None = getattr(sys, self._name, None)
        if self._before is not None:
            self._before.flush()
        self._real = os.dup(descriptor)
        read, write = os.pipe()
        os.dup2(write, descriptor)
        os.close(write)
        self._thread = threading.Thread(target=self._copy, args=(read,), daemon=True)
        self._thread.start()
        if self._before is not None:
            setattr(sys, self._name, self._around(self._before))

    def write(self, text: str) -> None:
        """Writes past Python's streams and their locks: for threads that end all."""
        with contextlib.suppress(OSError):  # nobody reads any more
            os.write(self._real, text.encode("utf-8", "backslashreplace"))

    def restore(self) -> None:
        """Gives the descriptor back."""
        if self._before is not None:
            getattr(sys, self._name).flush()
            setattr(sys, self._name, self._before)
        os.dup2(self._real, self.descriptor)
        self._thread.join(1.0)  # a program that was started may hold the other end

    def _around(self, before: TextIO) -> TextIO:
        # Whoever took the stream, a logger perhaps, may write to it to the very end.
        raw = io.FileIO(self._real, "w", closefd=False)
        return io.TextIOWrapper(
            io.BufferedWriter(raw),
            encoding=getattr(before, "encoding", None) or "utf-8",
            errors=getattr(before, "errors", None) or "backslashreplace",
            line_buffering=True,
        )

    def _copy(self, read: int) -> None:
        with open(read, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if self._keep(line.removesuffix("\n")):
                    self.write(line)


class Ending:
    """Of this process, among several.

    Attributes:
      rank: of this process, from 0.
      count: of processes.
      over: whether the others are through, so that nothing they do is a failure.
    """

    def __init__(self, heartbeat_seconds: int) -> None:
        """Takes over what C++ writes: it may begin to write its last at any time."""
        self.rank, self.count, self.over = 0, 1, False
        self._heartbeat = heartbeat_seconds
        self._held: list[str] = []
        self._greeted = False
        self._lock = threading.Lock()
        self._speaking = threading.Lock()
        self._code: int | None = None
        self._out = Lines(1, self._no_greeting)
        self._err = Lines(2, self._keep)
        hold_aborts()

    def stop(self, rank: int, sentence: str) -> NoReturn:
        """Ends this process because another failed, or went without a word."""
        self._stop(rank, f"has failed: {sentence}" if sentence else "has gone.")

    def say(self, sentence: str, code: int) -> int:
        """Says why this process ends, once; returns the code of what was said first.

        Two threads may have a reason at a time, as when Ctrl-C reaches all processes.
        """
        with self._speaking:
            if self._code is None:
                self._err.write(f"error: {sentence}\n")
                self._code = code
            return self._code

    def end(self, sentence: str, code: int) -> NoReturn:
        """Says why and is gone, whatever the main thread waits for."""
        os._exit(self.say(sentence, code))

    def restore(self) -> None:
        """Gives standard output and error back."""
        self._out.restore()
        self._err.restore()

    def _stop(self, rank: int, how: str) -> NoReturn:
        who = f"process {rank} of {self.count} (counted from 0)"
        self.end(f"{who} {how} All stop. {AGAIN}", GONE)

    def _no_greeting(self, line: str) -> bool:
        """Leaves out what Gloo says to standard output whenever devices meet."""
        greeting = bool(GREETING.search(line))
        rest = self._greeted and bool(REST.fullmatch(line))
        self._greeted = greeting or rest
        return not self._greeted

    def _keep(self, line: str) -> bool:
        """Holds back what the runtime writes on its way down."""
        with self._lock:
            if not self._held and not FATAL.match(line):
                return True
            if not self._held:
                threading.Timer(JUDGE_SECONDS, self._judge).start()
            self._held.append(line)
            return False

    def _judge(self) -> None:
        """Ends the process if the runtime means to, in fewer words."""
        with self._lock:
            text, self._held = "\n".join(self._held) + "\n", []
        if self.over or not SURE.search(text):
            self._err.write(text)  # some other trouble: let it be seen
            return
        found = UNHEARD.search(text)
        rank = int(found[1] or found[2]) if found else 0  # which serves the others
        self._stop(rank, f"was not heard of for {self._heartbeat} s.")
