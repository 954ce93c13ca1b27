"""A worker is a process that answers; whatever goes wrong in it comes back in words."""

import contextlib
import os
import threading
import time
from pathlib import Path

import pytest

from experiments.bench.worker import Worker, make, peak_mib
from ncf_jax.errors import RunError

FAKES = "tests.experiments.bench.fakes"


def _ignore(function, *arguments):
    with contextlib.suppress(RunError):
        function(*arguments)


def spec(kind, **arguments):
    return {"factory": f"{FAKES}:{kind}", "arguments": arguments}


class TestWorker:
    def test_it_times_the_contestant_it_is_asked_for(self):
        with Worker([spec("sleeper", seconds=0.05), spec("sleeper", seconds=0)]) as w:
            slow, fast = w.run(0), w.run(1)
        assert slow["seconds"] >= 0.05 > fast["seconds"]
        assert slow["loss"] is None
        assert slow["peak_mib"] > 1

    def test_it_says_what_is_known_of_each(self):
        specs = [spec("sleeper", seconds=0, name=name) for name in "ab"]
        with Worker(specs) as worker:
            assert [about["name"] for about in worker.about] == ["a", "b"]

    def test_losses_come_back(self):
        with Worker([spec("sleeper", seconds=0, loss=0.25)]) as worker:
            assert worker.run(0)["loss"] == 0.25

    def test_what_a_library_prints_is_not_an_answer(self):
        with Worker([spec("chatty")]) as worker:
            assert worker.run(0)["loss"] is None

    def test_a_missing_library_is_named_and_the_others_are_made(self):
        with Worker([spec("missing"), spec("sleeper", seconds=0, loss=1.0)]) as worker:
            assert worker.about[0]["error"] == "no_such_library is not installed."
            assert worker.run(1)["loss"] == 1.0

    def test_a_failure_while_made_comes_back_as_a_sentence(self):
        with Worker([spec("failing", when="made")]) as worker:
            error = worker.about[0]["error"]
        assert error == "ValueError: it went wrong while being made"

    def test_a_failure_while_running_comes_back_as_a_sentence(self):
        with (
            Worker([spec("failing", when="running")]) as worker,
            pytest.raises(RunError, match="ValueError: it went wrong while running"),
        ):
            worker.run(0)

    def test_a_process_that_ends_is_told_with_its_exit_code(self):
        with (
            Worker([spec("dying")]) as worker,
            pytest.raises(RunError, match="exit code 7"),
        ):
            worker.run(0)

    def test_it_ends_by_itself_and_cleans_up_behind_it(self, tmp_path):
        with Worker([spec("tidy", folder=str(tmp_path))]) as worker:
            worker.run(0)
            assert list(tmp_path.iterdir())
        assert list(tmp_path.iterdir()) == []

    def test_a_busy_one_is_ended_with_what_it_has_started(self, tmp_path):
        worker = Worker([spec("parent", pid=str(tmp_path / "pid"))])
        thread = threading.Thread(target=lambda: _ignore(worker.run, 0))
        thread.start()
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
            time.sleep(0.05)
        child = int((tmp_path / "pid").read_text())
        os.kill(child, 0)  # it is there
        worker.close()
        thread.join()
        for _ in range(100):
            try:
                os.kill(child, 0)
            except ProcessLookupError:
                return
            if Path(f"/proc/{child}/stat").read_text().split()[2] == "Z":
                return  # ended, and nobody has asked for its exit code yet
            time.sleep(0.05)
        raise AssertionError("the child lives on")

    def test_nothing_comes_out_of_a_cache_of_compiled_programs(self):
        with Worker([spec("environment", name="JAX_ENABLE_COMPILATION_CACHE")]) as w:
            assert w.about[0]["value"] == "false"


def test_make_finds_a_function_by_its_name():
    assert make(f"{FAKES}:sleeper", {"seconds": 0, "name": "x"}).about["name"] == "x"


def test_peak_memory_is_in_mebibytes():
    assert 10 < peak_mib() < 100_000
