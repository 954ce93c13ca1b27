"""A worker is a process that answers; whatever goes wrong in it comes back in words."""

import pytest

from experiments.bench.worker import Worker, make, peak_mib
from ncf_jax.errors import RunError

FAKES = "tests.experiments.bench.fakes"


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

    def test_a_missing_library_is_named(self):
        with pytest.raises(RunError, match="no_such_library is not installed"):
            Worker([spec("missing")])

    @pytest.mark.parametrize("when", ["made", "running"])
    def test_a_failure_comes_back_as_a_sentence(self, when):
        def use():
            with Worker([spec("failing", when=when)]) as worker:
                worker.run(0)

        with pytest.raises(RunError, match=f"ValueError: it went wrong .*{when}"):
            use()

    def test_a_process_that_ends_is_told_with_its_exit_code(self):
        with (
            Worker([spec("dying")]) as worker,
            pytest.raises(RunError, match="exit code 7"),
        ):
            worker.run(0)

    def test_environment_reaches_the_process(self, tmp_path):
        given = {"PYTHONDONTWRITEBYTECODE": "1"}
        with Worker([spec("sleeper", seconds=0)], given) as worker:
            assert worker.run(0)["seconds"] < 10


def test_make_finds_a_function_by_its_name():
    assert make(f"{FAKES}:sleeper", {"seconds": 0, "name": "x"}).about["name"] == "x"


def test_peak_memory_is_in_mebibytes():
    assert 10 < peak_mib() < 100_000
