"""A process that holds contestants and runs one of them each time it is told to.

  python -m experiments.bench.worker

The first line of its input is a JSON list of `{"factory": "module:function",
"arguments": {...}}`; each later line is the number of the contestant to run. It answers
each with a line of JSON. So contestants of different libraries never share a process,
its threads or its memory, and take turns all the same.
"""

import contextlib
import importlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from ncf_jax.errors import RunError


class Contestant(NamedTuple):
    """Something that can be timed.

    Attributes:
      run: does the work and returns when it is all done; gives a loss, or None.
      about: figures that belong to it, such as `examples` or `flops`; JSON-ready.
    """

    run: Callable[[], float | None]
    about: Mapping[str, Any]


class Worker:
    """A worker process as its owner sees it."""

    def __init__(self, specs: Sequence[Mapping[str, Any]]) -> None:
        """Starts the process and waits until its contestants are made.

        `about` has what is known of each; of one that could not be made, its `error`.

        Raises:
          RunError: the process ended.
        """
        self._process = subprocess.Popen(
            [sys.executable, "-m", "experiments.bench.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            # Compilation is measured, so none may come out of a cache.
            env={**os.environ, "JAX_ENABLE_COMPILATION_CACHE": "false"},
            # With the commands that it starts, it is a group that can be ended whole.
            start_new_session=True,
        )
        try:
            self.about: list[dict[str, Any]] = self._ask(list(specs))["about"]
        except BaseException:
            self.close()
            raise

    def run(self, number: int) -> dict[str, Any]:
        """Runs a contestant: `seconds`, `loss`, `about`, its process's `peak_mib`.

        Raises:
          RunError: it failed, or the process ended; the sentence says why.
        """
        return self._ask(number)

    def _ask(self, message: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            code = self._process.wait()
            raise RunError(f"A contestant's process ended with exit code {code}.")
        answer = json.loads(line)
        if "error" in answer:
            raise RunError(answer["error"])
        return answer

    def close(self) -> None:
        """Ends the process: at its own pace when it is idle, or else by force."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):  # what it had not read
                    stream.close()

    def __enter__(self) -> "Worker":
        """The worker itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Ends the process."""
        self.close()


def make(factory: str, arguments: Mapping[str, Any]) -> Contestant:
    """Calls `module:function` with the arguments."""
    module, function = factory.split(":")
    return getattr(importlib.import_module(module), function)(**arguments)


def attempt(factory: str, arguments: Mapping[str, Any]) -> Contestant:
    """As `make`; of one that cannot be made, `about` says why as `error`."""
    try:
        return make(factory, arguments)
    except Exception as error:
        return Contestant(lambda: None, {"error": in_words(error)})


def in_words(error: Exception) -> str:
    """What went wrong, for whoever is not interested in where."""
    if isinstance(error, ImportError):
        return f"{error.name or 'A library'} is not installed."
    return f"{type(error).__name__}: {error}"


def peak_mib() -> float:
    """Largest resident memory of this process so far, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def serve() -> None:
    """Answers until its input ends."""
    # Whatever a library prints must not be taken for an answer.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(message: Any) -> None:
        answers.write(json.dumps(message) + "\n")
        answers.flush()

    contestants: list[Contestant] = []
    for line in sys.stdin:
        message = json.loads(line)
        try:
            if isinstance(message, list):
                contestants = [attempt(**spec) for spec in message]
                answer({"about": [dict(each.about) for each in contestants]})
                continue
            began = time.perf_counter()
            loss = contestants[message].run()
            seconds = time.perf_counter() - began
            answer(
                {
                    "seconds": seconds,
                    "loss": loss,
                    "about": dict(contestants[message].about),
                    "peak_mib": peak_mib(),
                }
            )
        except Exception as error:
            answer({"error": in_words(error)})


if __name__ == "__main__":
    serve()
