"""Several processes as one run, on this machine.

Held here: they come together or say what is wrong with the options; what sharded
training computes between them is what NumPy says; they must agree before they go on;
whatever happens to one, all end within the stated time, in a sentence each.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import jax
import pytest

from experiments.launch import free_port
from ncf_jax import processes
from ncf_jax.config_devices import DeviceConfig
from ncf_jax.ending import AGAIN, GONE
from ncf_jax.errors import ConfigError
from tests.conftest import ROOT

HEARTBEAT = 3
BOUND = HEARTBEAT + 5  # seconds, as the documents state it
HANG = 120  # a guard only


class Together:
    """Processes of `tests.together`."""

    def __init__(
        self, folder, what, count, *, devices=1, who=1, port=None, env=None, **more
    ):
        self.folder, self.count = folder, count
        where = f"localhost:{port or free_port()}"
        given = dict(what=what, who=who, folder=folder, num_processes=count)
        given |= dict(coordinator=where, heartbeat_seconds=HEARTBEAT) | more
        force = f"--xla_force_host_platform_device_count={devices}"
        environment = {n: v for n, v in os.environ.items() if "_proxy" not in n.lower()}
        environment |= {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": force} | (env or {})
        self.all = []
        for rank in range(count):
            line = [sys.executable, "-W", "error", "-m", "tests.together"]
            line += [f"--{name}={value}" for name, value in given.items()]
            with (
                (folder / f"{rank}.out").open("w") as out,
                (folder / f"{rank}.err").open("w") as err,
            ):
                self.all.append(
                    subprocess.Popen(
                        [*line, f"--process_id={rank}"],
                        stdout=out,
                        stderr=err,
                        cwd=ROOT,
                        env=environment,
                    )
                )

    def under_way(self):
        """Waits until every process says that it is, and a little longer."""
        until = time.monotonic() + HANG
        while not all(self.said(rank) for rank in range(self.count)):
            assert time.monotonic() < until, self.texts("err")
            assert self.codes() == [None] * self.count, self.texts("err")
            time.sleep(0.05)
        time.sleep(0.3)
        assert self.codes() == [None] * self.count, self.texts("err")

    def ends(self, but=(), within=HANG):
        """Waits for all; their exit codes."""
        until = time.monotonic() + within
        for rank, process in enumerate(self.all):
            if rank not in but:
                process.wait(max(0.0, until - time.monotonic()))
        return self.codes()

    def codes(self):
        return [process.poll() for process in self.all]

    def said(self, rank):
        path = self.folder / f"{rank}.json"
        return json.loads(path.read_text()) if path.exists() else None

    def texts(self, end):
        return [
            (self.folder / f"{rank}.{end}").read_text() for rank in range(self.count)
        ]

    def close(self):
        for process in self.all:
            process.kill()
            process.wait()


@pytest.fixture
def together(tmp_path):
    made = []

    def make(*arguments, **more):
        made.append(Together(tmp_path, *arguments, **more))
        return made[-1]

    yield make
    for one in made:
        one.close()


def sentence(text):
    """The one line that is all of `text`."""
    assert text.count("\n") == 1, text
    assert text.endswith("\n")
    return text.removesuffix("\n")


def checked(folder, count, devices):
    """What each process found, everything being well."""
    group = Together(folder, "checks", count, devices=devices)
    try:
        codes = group.ends()
        assert (codes, group.texts("err")) == ([0] * count, [""] * count)
        return group, [group.said(rank) for rank in range(count)]
    finally:
        group.close()


@pytest.fixture(
    scope="module",
    params=[(2, 2), (4, 1)],
    ids=["2 processes of 2 devices", "4 processes"],
)
def found(request, tmp_path_factory):
    count, devices = request.param
    folder = tmp_path_factory.mktemp("checks")
    return count, devices, *checked(folder, count, devices)


class TestTogether:
    def test_they_are_counted_and_one_is_the_primary(self, found):
        count, devices, _, said = found
        assert [one["count"] for one in said] == [count] * count
        assert [one["primary"] for one in said] == [True] + [False] * (count - 1)
        assert [one["devices"] for one in said] == [count * devices] * count

    def test_a_barrier_waits_for_the_last(self, found):
        count, _, _, said = found
        assert min(one["waited"] for one in said) >= 0.3 * (
            count - 1
        )  # they sleep 0.4 each

    def test_collectives_are_what_numpy_says(self, found):
        *_, said = found
        assert [one["wrong"] for one in said] == [[]] * len(said), (
            "collectives between CPU processes give wrong values in this version of "
            "JAX (see its issue 40830): several processes must not train with it"
        )

    def test_many_were_compared_and_each_wrong_number_was_seen(self, found):
        count, devices, _, said = found
        assert count * devices == 4
        for one in said:
            assert one["compared"] == 2 * 3 * 4 * 6  # meshes, axes, sizes, calls
            assert one["controls"] == one["compared"]
            assert one["rolls"] >= one["compared"] / 3  # else devices have the same

    def test_nothing_of_cpp_is_printed(self, found):
        _, _, group, _ = found
        assert group.texts("out") == [""] * group.count

    def test_both_write_as_ever_until_and_after_the_end(self, together):
        two = together("native", 2)
        assert two.ends() == [0, 0]
        for text in two.texts("out"):
            assert sorted(text.splitlines()) == ["of C++", "of Python"]
        for text in two.texts("err"):
            lines = ["a warning of C++", "an error of Python"]
            assert sorted(text.splitlines()) == lines

    def test_a_proxy_is_none_of_theirs(self, together):
        dead = {"http_proxy": "http://127.0.0.1:9", "no_proxy": "example.com"}
        two = together("nothing", 2, env=dead)
        assert (two.ends(), two.texts("err")) == ([0, 0], ["", ""])

    def test_one_may_be_all(self, together):
        one = together("nothing", 1)
        assert one.ends() == [0]
        assert one.said(0) == "done"
        assert one.texts("err") == [""]


class TestAgree:
    def test_who_differs_is_named_by_all(self, together):
        three = together("differ", 3, who=1)
        assert three.ends() == [ConfigError.exit_code] * 3
        assert {sentence(text) for text in three.texts("err")} == {
            "error: All processes want the same split fingerprint; found, by process: "
            "def in 0, 2; abc in 1. Give all the same flags and files."
        }
        assert not list(three.folder.glob("*.json")), "one went on"


class TestOneIsKilled:
    @pytest.mark.parametrize(("what", "who"), [("loop", 0), ("loop", 1), ("idle", 0)])
    def test_of_two(self, together, what, who):
        self.check(together(what, 2, who=who), who)

    @pytest.mark.parametrize(("what", "who"), [("loop", 0), ("idle", 2)])
    def test_of_four(self, together, what, who):
        self.check(together(what, 4, who=who), who)

    def check(self, group, who):
        group.under_way()
        group.all[who].kill()
        codes = group.ends(within=BOUND)
        wanted = [GONE] * group.count
        wanted[who] = -signal.SIGKILL
        assert codes == wanted, group.texts("err")
        texts = group.texts("err")
        assert texts.pop(who) == ""
        assert {sentence(text) for text in texts} == {
            f"error: process {who} of {group.count} (counted from 0) has gone. "
            f"All stop. {AGAIN}"
        }

    def test_a_request_to_end_is_heeded_as_well(self, together):
        two = together("loop", 2)
        two.under_way()
        two.all[0].terminate()
        assert two.ends(within=BOUND) == [143, GONE]  # README


class TestOneHangs:
    @pytest.mark.parametrize(("what", "count", "who"), [("idle", 2, 0), ("loop", 4, 2)])
    def test_the_others_stop_within_the_stated_time(self, together, what, count, who):
        group = together(what, count, who=who)
        group.under_way()
        group.all[who].send_signal(signal.SIGSTOP)
        codes = group.ends(but=[who], within=BOUND)
        assert codes == [None if rank == who else GONE for rank in range(count)]
        texts = group.texts("err")
        assert texts.pop(who) == ""
        assert {sentence(text) for text in texts} == {
            f"error: process {who} of {count} (counted from 0) was not heard of for "
            f"{HEARTBEAT} s. All stop. {AGAIN}"
        }

    def test_when_it_wakes_up_it_stops_too(self, together):
        two = together("loop", 2)
        two.under_way()
        two.all[0].send_signal(signal.SIGSTOP)
        assert two.ends(but=[0], within=BOUND) == [None, GONE]
        two.all[0].send_signal(signal.SIGCONT)
        assert two.ends(within=BOUND) == [GONE, GONE]
        assert "process 1 of 2 (counted from 0)" in sentence(two.texts("err")[0])


class TestOneFails:
    @pytest.mark.parametrize("who", [0, 1])
    def test_of_a_users_mistake_all_are_told(self, together, who):
        three = together("error", 3, who=who)
        codes = three.ends()
        assert codes.pop(who) == 3
        assert codes == [GONE, GONE]
        texts = three.texts("err")
        own = sentence(texts.pop(who))
        assert own == "error: ratings.csv is not on this machine."
        assert {sentence(text) for text in texts} == {
            f"error: process {who} of 3 (counted from 0) has failed: ratings.csv is "
            f"not on this machine. All stop. {AGAIN}"
        }

    @pytest.mark.parametrize("who", [0, 1])
    def test_of_a_mistake_of_ours_only_one_shows_where(self, together, who):
        two = together("bug", 2, who=who)
        codes = two.ends()
        assert (codes.pop(who), codes) == (1, [GONE])
        texts = two.texts("err")
        own = texts.pop(who)
        assert own.startswith("Traceback")
        assert own.endswith("ZeroDivisionError: a mistake of ours\n")
        assert "has failed: ZeroDivisionError: a mistake of ours. All" in sentence(
            *texts
        )

    def test_an_early_end_is_a_failure(self, together):
        two = together("exit", 2)
        assert two.ends() == [GONE, 9]
        assert "has failed: it ended early." in sentence(two.texts("err")[0])

    def test_ctrl_c_of_one_stops_all(self, together):
        two = together("loop", 2)
        two.under_way()
        two.all[1].send_signal(signal.SIGINT)
        assert two.ends(within=BOUND) == [GONE, 130]
        first, second = map(sentence, two.texts("err"))
        assert "process 1 of 2 (counted from 0) has failed: Interrupted." in first
        assert second.startswith("error: Interrupted.")

    def test_ctrl_c_of_all_stops_each(self, together):
        two = together("loop", 2)
        two.under_way()
        for process in two.all:
            process.send_signal(signal.SIGINT)
        assert set(two.ends(within=BOUND)) <= {130, GONE}
        assert all(sentence(text) for text in two.texts("err"))


class TestTheyDoNotComeTogether:
    def test_one_is_not_started(self, together):
        lonely = together("loop", 1, num_processes=2, start_seconds=2)
        assert lonely.ends() == [4]
        assert sentence(lonely.texts("err")[0]) == (
            f"error: Not all processes came together at {self.where(lonely)} within "
            f"2 s: see that each was started, with the same --coordinator and "
            f"--num_processes, and that its port is open."
        )

    def test_there_is_no_such_host(self, together):
        two = together("loop", 2, start_seconds=2, coordinator="no.such.host:1234")
        assert two.ends()[1] == 4
        assert "--coordinator=no.such.host:1234" in sentence(two.texts("err")[1])

    def test_the_port_is_taken(self, together):
        import socket

        with socket.create_server(("", 0)) as taken:
            port = taken.getsockname()[1]
            lonely = together("loop", 1, port=port, num_processes=2, start_seconds=9)
            assert lonely.ends() == [4]
        assert sentence(lonely.texts("err")[0]).startswith(
            f"error: The port of --coordinator=localhost:{port} cannot be had on this "
            f"machine, process 0's (Address already in use): another program has it"
        )

    def test_no_cluster_is_found_around_us(self, together):
        lonely = together("loop", 1, coordinator="auto", num_processes=0)
        assert lonely.ends() == [2]
        text = sentence(lonely.texts("err")[0])
        assert text.startswith("error: --coordinator=auto found no SLURM, Open MPI, ")
        assert text.endswith("Give --coordinator=host:port, --num_processes and "
                             "--process_id.")  # fmt: skip

    def where(self, group):
        line = group.all[0].args
        return next(flag for flag in line if "--coordinator=" in flag)


class TestOptions:
    @pytest.mark.parametrize(
        ("options", "said"),
        [
            (dict(num_processes=2), "want --coordinator=host:port"),
            (dict(process_id=1), "want --coordinator=host:port"),
            (dict(coordinator="node1:1234"), "--num_processes of 1 or more"),
            (dict(coordinator="node1:1234", num_processes=2), "found 2 and -1"),
            (dict(coordinator="node1:1234", process_id=0), "found 0 and 0"),
            (
                dict(coordinator="node1:1234", num_processes=2, process_id=2),
                "less than --num_processes=2; found 2",
            ),
            (dict(coordinator="auto", num_processes=2, process_id=5), "found 5"),
            (dict(coordinator="node1"), "wants host:port of process 0"),
            (dict(coordinator="node1:"), "found 'node1:'"),
            (dict(coordinator=":1234"), "found ':1234'"),
            (dict(coordinator="node1:http"), "found 'node1:http'"),
            (dict(coordinator="node1:0"), "found 'node1:0'"),
            (dict(coordinator="node1:65536"), "found 'node1:65536'"),
            (dict(coordinator="node1:-1"), "found 'node1:-1'"),
        ],
    )
    def test_a_contradiction_names_the_flags(self, options, said):
        with pytest.raises(ConfigError) as found:
            processes.start(DeviceConfig(**options))
        assert said in str(found.value)
        assert "--" in str(found.value)

    @pytest.mark.parametrize(
        "options",
        [
            dict(),
            dict(num_processes=1),
            dict(num_processes=1, process_id=0),
            dict(coordinator="node1:1234", num_processes=2, process_id=1),
            dict(coordinator="[::1]:1234", num_processes=1, process_id=0),
            dict(coordinator="auto"),
            dict(coordinator="auto", num_processes=4, process_id=3),
        ],
    )
    def test_what_is_right_passes(self, options):
        processes.check(DeviceConfig(**options))


class TestAlone:
    """With one process nothing is started, and everything may be called."""

    def test_it_is_the_primary_of_one(self):
        assert processes.primary()
        assert processes.count() == 1

    def test_starting_and_finishing_change_nothing(self):
        streams, threads = (sys.stdout, sys.stderr), threading.active_count()
        handler = signal.getsignal(signal.SIGABRT)
        processes.start(DeviceConfig(num_processes=1))
        processes.finish()
        assert (sys.stdout, sys.stderr) == streams
        assert threading.active_count() == threads
        assert signal.getsignal(signal.SIGABRT) == handler
        assert not jax.distributed.is_initialized()

    def test_it_waits_for_nobody_and_agrees_with_itself(self):
        processes.barrier("here")
        processes.agree("abc", "data fingerprint")

    def test_its_failures_are_its_own(self):
        began = time.monotonic()
        processes.fail("not told to anyone", 3)
        processes.blame(ValueError("Gloo all-reduce failed"))
        assert time.monotonic() - began < 1.0
