"""Run a command as several processes of this machine, on CPU devices.

  python -m experiments.launch --processes=4 -- -m experiments.train --mesh=table:4
  python -m experiments.launch --processes=2 --devices_per_process=2 --restarts=3 -- \\
      -m experiments.train --flagfile=experiments/configs/ncf_tags.flags

What follows -- is what Python is to run; --coordinator, --num_processes and
--process_id are added. Shown are process 0's output and everyone's errors, those of
others after their number. When one process fails all end, and its exit code is ours.
"""

import contextlib
import dataclasses
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import ClassVar, NamedTuple

from experiments import flags
from ncf_jax.ending import GONE
from ncf_jax.errors import ConfigError
from ncf_jax.options import Options, option

STOP_SECONDS = 5.0  # for the others, when one has failed; then they are asked to end
KILL_SECONDS = 3.0  # then they are killed
INTERRUPTED = {130, 143, -signal.SIGINT, -signal.SIGTERM}  # by a user, not by a failure


@dataclasses.dataclass(frozen=True)
class LaunchOptions(Options):
    """Options of this command."""

    POSITIONAL: ClassVar[str] = "command"

    command: tuple[str, ...] = option(
        (), "What Python is to run, such as -m,experiments.train; or all after --."
    )
    processes: int = option(2, "Processes.", minimum=1)
    devices_per_process: int = option(1, "CPU devices of each.", minimum=1)
    restarts: int = option(
        0,
        "How many times to start all again when one was killed or has gone; a run goes "
        "on from its last checkpoint.",
        minimum=0,
    )


class Ended(NamedTuple):
    """A process's end.

    Attributes:
      rank: of the process.
      code: its exit code; below 0, the signal that killed it.
    """

    rank: int
    code: int

    def exit_code(self) -> int:
        """As a shell has it."""
        return self.code if self.code >= 0 else 128 - self.code

    def __str__(self) -> str:
        """For people."""
        if self.code >= 0:
            return f"process {self.rank} ended with exit code {self.code}"
        return f"process {self.rank} was killed by signal {-self.code}"


def main(options: LaunchOptions) -> None:
    """Starts all, as often as allowed, and exits with the code of what failed."""
    if not options.command:
        raise ConfigError("Write after -- what to run, such as -- -m experiments.train")
    for left in range(options.restarts, -1, -1):
        failed = together(options)
        if failed is None:
            return
        gone = failed.code == GONE or failed.code < 0
        if not left or not gone or failed.code in INTERRUPTED:
            sys.exit(failed.exit_code())
        say(f"{failed}; starting all again, {left} of {options.restarts} times left")


def together(options: LaunchOptions) -> Ended | None:
    """One start of all processes; the failure that ended it, or None."""
    where = f"127.0.0.1:{free_port()}"
    with ended_by_signals():
        running: dict[int, subprocess.Popen] = {}
        readers: list[threading.Thread] = []
        try:
            for rank in range(options.processes):
                running[rank] = begin(options, rank, where)
                if rank:
                    arguments = (rank, running[rank])
                    readers.append(threading.Thread(target=copy, args=arguments))
                    readers[-1].start()
            return first_cause(wait(running))
        except KeyboardInterrupt as interrupt:
            asked = interrupt.args[0] if interrupt.args else signal.SIGINT
            for process in running.values():
                send(process, asked)
            wait_all(running.values(), STOP_SECONDS)
            if asked != signal.SIGINT:
                sys.exit(128 + asked)
            raise
        finally:
            for process in running.values():
                send(process, signal.SIGKILL)
                process.wait()
            for reader in readers:
                reader.join(1.0)  # whatever it started may hold its end open


def begin(options: LaunchOptions, rank: int, where: str) -> subprocess.Popen:
    """Starts one process."""
    devices = f"--xla_force_host_platform_device_count={options.devices_per_process}"
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {devices}".strip(),
        "JAX_COORDINATOR_BIND_ADDRESS": where,  # not open to other machines
    }
    added = [f"--coordinator={where}", f"--num_processes={options.processes}"]
    return subprocess.Popen(
        [sys.executable, *options.command, *added, f"--process_id={rank}"],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL if rank else None,
        stderr=subprocess.PIPE if rank else None,
        text=True,
        errors="replace",
        start_new_session=True,  # Ctrl-C of the terminal comes by way of us, once
    )


def copy(rank: int, process: subprocess.Popen) -> None:
    """Shows a process's errors after its number."""
    assert process.stderr is not None
    with process.stderr as lines:
        for line in lines:
            sys.stderr.write(f"[{rank}] {line}")
            sys.stderr.flush()


def wait(running: dict[int, subprocess.Popen]) -> list[Ended]:
    """Waits for all, not for long once one has failed.

    Returns:
      the ends that came of themselves, in their order.
    """
    ends: list[Ended] = []
    left = dict(running)
    until = float("inf")
    while left and time.monotonic() < until:
        for rank, process in list(left.items()):
            if (code := process.poll()) is not None:
                del left[rank]
                ends.append(Ended(rank, code))
                if code:
                    until = min(until, time.monotonic() + STOP_SECONDS)
        time.sleep(0.02)
    for process in left.values():
        send(process, signal.SIGTERM)
    wait_all(left.values(), KILL_SECONDS if left else 0.0)
    return ends  # what is left now is killed by the caller


def wait_all(processes: Iterable[subprocess.Popen], seconds: float) -> None:
    """Waits for processes, so long at most."""
    until = time.monotonic() + seconds
    for process in processes:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, until - time.monotonic()))


def first_cause(ends: Sequence[Ended]) -> Ended | None:
    """The first failure; one that only followed another's counts less."""
    failures = [end for end in ends if end.code]
    causes = [end for end in failures if end.code != GONE]
    return next(iter([*causes, *failures]), None)


def send(process: subprocess.Popen, number: int) -> None:
    """Sends a signal to a process that still runs, and to what it started."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """A request to end is as Ctrl-C: nothing may be left running."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt(signal.Signals(number))

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, interrupt) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def say(line: str) -> None:
    """To standard error: the output is the command's."""
    print(f"launch: {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    flags.run(main, LaunchOptions, __doc__)
