"""The local launcher.

Held here: N processes are one run, whose output is process 0's; when one fails nothing
is left running within the stated time and its exit code is the launcher's; what was
killed is started again, as often as allowed and no more often.
"""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from experiments import flags, launch
from experiments.launch import Ended, LaunchOptions, first_cause
from ncf_jax.ending import GONE
from ncf_jax.errors import ConfigError
from tests.conftest import ROOT

HANG = 120  # a guard only
STATED = launch.STOP_SECONDS + launch.KILL_SECONDS
# Says who it is on both streams; then what its first argument names.
SCRIPT = """
import os, signal, sys, time
what, *flags = sys.argv[1:]
given = dict(flag.removeprefix("--").split("=") for flag in flags)
rank = int(given["process_id"])
print(f"output of {rank}", flush=True)
print(f"error of {rank}", file=sys.stderr, flush=True)
open(os.path.join(os.environ["FOLDER"], f"{rank}.pid"), "a").write(f"{os.getpid()} ")
if what == "flags":
    for name in ("XLA_FLAGS", "JAX_PLATFORMS"):
        flags.append(os.environ.get(name))
    open(os.path.join(os.environ["FOLDER"], f"{rank}.flags"), "w").write(repr(flags))
elif what == "three" and rank == 1:
    time.sleep(1)
    sys.exit(3)
elif what == "killed" and rank == 1:
    time.sleep(1)
    os.kill(os.getpid(), signal.SIGKILL)
elif what == "slow":
    time.sleep(rank * 1.0)
elif what != "all right":
    if what == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    time.sleep(600)
"""


class Launched:
    """`python -m experiments.launch`, under way."""

    def __init__(self, folder, *arguments, **more):
        self.folder = folder
        given = [f"--{name}={value}" for name, value in more.items()]
        environment = {n: v for n, v in os.environ.items() if n != "XLA_FLAGS"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "experiments.launch", *given, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=environment | {"FOLDER": str(folder)},
        )

    def ends(self):
        """Exit code, output and errors."""
        out, err = self.process.communicate(timeout=HANG)
        return self.process.returncode, out, err

    def pids(self):
        return [
            int(pid)
            for path in sorted(self.folder.glob("*.pid"))
            for pid in path.read_text().split()
        ]

    def under_way(self, count):
        until = time.monotonic() + HANG
        while len(self.pids()) < count:
            assert time.monotonic() < until
            time.sleep(0.02)

    def left(self):
        """Processes of it that still run."""
        return [pid for pid in self.pids() if _runs(pid)]


def _runs(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture
def launched(tmp_path):
    """Launches the script above, or another command."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    made = []

    def start(what, *command, **more):
        command = command or (str(script), what)
        made.append(Launched(tmp_path, "--", *command, **more))
        return made[-1]

    yield start
    for one in made:
        if one.process.poll() is None:
            one.process.kill()
            one.process.communicate()
        for pid in one.left():
            os.kill(pid, signal.SIGKILL)


class TestOutput:
    def test_it_is_process_0s_and_everyones_errors(self, launched):
        code, out, err = launched("all right", processes=3).ends()
        assert (code, out) == (0, "output of 0\n")
        assert sorted(err.splitlines()) == [
            "[1] error of 1",
            "[2] error of 2",
            "error of 0",
        ]

    def test_each_is_told_who_it_is_and_what_it_has(self, launched):
        one = launched("flags", processes=2, devices_per_process=3)
        assert one.ends()[0] == 0
        first, second = (
            (one.folder / f"{rank}.flags").read_text() for rank in range(2)
        )
        assert "'--num_processes=2', '--process_id=0'" in first
        assert "'--num_processes=2', '--process_id=1'" in second
        assert first.split(",")[0] == second.split(",")[0]
        assert first.startswith("['--coordinator=127.0.0.1:")
        assert "'--xla_force_host_platform_device_count=3', 'cpu'" in first

    def test_who_is_done_first_is_waited_for(self, launched):
        began = time.monotonic()
        assert launched("slow", processes=3).ends()[0] == 0
        assert time.monotonic() - began >= 2.0


class TestFailure:
    def test_the_code_is_that_of_the_first_and_nothing_is_left(self, launched):
        one = launched("three", processes=3)
        one.under_way(3)
        began = time.monotonic()
        code, _, _ = one.ends()
        assert code == 3
        assert time.monotonic() - began < 1 + STATED + 2
        assert one.left() == []

    def test_a_killed_one_counts_as_a_shell_counts(self, launched):
        one = launched("killed", processes=2)
        assert one.ends()[0] == 128 + signal.SIGKILL
        assert one.left() == []

    @pytest.mark.parametrize(
        ("number", "wanted"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)]
    )
    def test_who_is_interrupted_stops_all(self, launched, number, wanted):
        one = launched("wait", processes=3)
        one.under_way(3)
        assert len(one.left()) == 3  # the control: they would go on
        began = time.monotonic()
        one.process.send_signal(number)
        code, _, err = one.ends()
        assert code == wanted, err
        assert time.monotonic() - began < STATED
        assert one.left() == []
        assert ("error: Interrupted." in err) == (number == signal.SIGINT)

    def test_who_does_not_listen_is_killed(self, launched):
        one = launched("deaf", processes=2)
        one.under_way(2)
        time.sleep(0.3)  # until it does not listen
        began = time.monotonic()
        one.process.send_signal(signal.SIGINT)
        assert one.ends()[0] == 130
        assert launch.STOP_SECONDS <= time.monotonic() - began < STATED + 2
        assert one.left() == []


class TestRestarts:
    def test_no_more_than_allowed(self, launched):
        one = launched("killed", processes=2, restarts=1)
        code, out, err = one.ends()
        assert code == 128 + signal.SIGKILL
        assert out == "output of 0\n" * 2
        said = [line for line in err.splitlines() if line.startswith("launch: ")]
        assert said == [
            "launch: process 1 was killed by signal 9; starting all again, 1 of 1 "
            "times left"
        ]
        assert one.left() == []

    def test_a_users_mistake_is_not_tried_again(self, launched):
        one = launched("three", processes=2, restarts=2)
        code, out, err = one.ends()
        assert (code, out) == (3, "output of 0\n")
        assert "launch:" not in err


class TestWithJax:
    def command(self, what, folder):
        more = f"--folder={folder}", "--heartbeat_seconds=3"
        return "-m", "tests.together", f"--what={what}", *more

    def test_after_a_kill_all_start_again_and_end_well(self, launched, tmp_path):
        command = self.command("once", tmp_path)
        one = launched("", *command, processes=2, devices_per_process=2, restarts=1)
        code, out, err = one.ends()
        assert (code, out) == (0, "")
        gone, again = err.splitlines()
        assert gone.startswith("error: process 1 of 2 (counted from 0) has gone. All")
        assert again.startswith("launch: process 1 was killed by signal 9; starting")
        said = [json.loads((tmp_path / f"{n}.json").read_text()) for n in range(2)]
        assert said == [3 * 2.0] * 2  # three sums of the ranks of four devices

    def test_a_mistake_of_one_is_the_end_of_all(self, launched, tmp_path):
        one = launched("", *self.command("error", tmp_path), processes=2, restarts=3)
        code, _, err = one.ends()
        assert code == 3
        told, own = sorted(err.splitlines(), key=lambda line: line.startswith("["))
        assert own == "[1] error: ratings.csv is not on this machine."
        assert told.startswith("error: process 1 of 2 (counted from 0) has failed: rat")


class TestFirstCause:
    @pytest.mark.parametrize(
        ("codes", "wanted"),
        [
            ([0, 0], None),
            ([0, 3, GONE], (1, 3)),
            ([GONE, 3], (1, 3)),  # told of it, and gone before the one who told
            ([GONE, -9, GONE], (1, -9)),
            ([GONE, GONE], (0, GONE)),
            ([1, 3], (0, 1)),
            ([], None),
        ],
    )
    def test_who_only_followed_counts_less(self, codes, wanted):
        assert first_cause([Ended(*end) for end in enumerate(codes)]) == wanted

    def test_an_end_as_a_shell_and_as_people_have_it(self):
        assert Ended(2, 3).exit_code() == 3
        assert Ended(2, -9).exit_code() == 137
        assert str(Ended(2, 3)) == "process 2 ended with exit code 3"
        assert str(Ended(2, -9)) == "process 2 was killed by signal 9"


class TestOptions:
    def test_all_after_two_dashes_is_the_command(self):
        line = ["--processes=4", "--", "-m", "experiments.train", "--flagfile=none"]
        options = flags.parse(LaunchOptions, line)
        assert options.processes == 4
        assert options.command == ("-m", "experiments.train", "--flagfile=none")

    def test_without_a_command_nothing_is_started(self):
        with pytest.raises(ConfigError, match="Write after --"):
            launch.main(LaunchOptions())

    @pytest.mark.parametrize(
        "line", [["--processes=0"], ["--devices_per_process=0"], ["--restarts=-1"]]
    )
    def test_impossible_numbers_are_refused(self, line):
        with pytest.raises(ConfigError, match="wants at least"):
            flags.parse(LaunchOptions, line)

    def test_each_port_is_free(self):
        import socket

        with socket.create_server(("127.0.0.1", launch.free_port())):
            pass
