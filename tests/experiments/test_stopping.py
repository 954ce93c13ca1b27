"""SIGTERM: what is under way is saved, the exit code is 143, and the run goes on."""

import os
import shutil
import signal
import subprocess
import sys
from importlib import import_module

import pytest

from experiments import stopping
from ncf_jax import checkpoint
from tests.experiments.test_resume import (
    ENVIRONMENT,
    assert_same_bits,
    assert_same_ending,
    losses_of,
    state_of,
)


@pytest.fixture
def terminate_after(monkeypatch):
    """Sends this process SIGTERM before an epoch is reported."""
    console = import_module("experiments.console")

    def arrange(epoch):
        def terminate(self, report):
            if report.epoch == epoch:
                os.kill(os.getpid(), signal.SIGTERM)

        monkeypatch.setattr(console.Progress, "epoch", terminate)

    return arrange


class TestTrain:
    @pytest.mark.parametrize("epoch", [1, 2, 3])
    def test_the_epoch_is_saved_and_the_same_command_goes_on(
        self, finished, command, tiny, terminate_after, monkeypatch, tmp_path, epoch
    ):
        terminate_after(epoch)
        stopped = command("train", *tiny(tmp_path))
        assert stopped.sentence(143) == stopping.SENTENCE
        assert checkpoint.latest(tmp_path) == epoch
        assert len(losses_of(tmp_path)) == epoch
        monkeypatch.undo()
        assert command("train", *tiny(tmp_path)).code == 0
        assert_same_bits(state_of(tmp_path), state_of(finished.workdir))
        assert_same_ending(tmp_path, finished.workdir)

    def test_it_waits_for_the_end_of_a_save(self, command, tiny, monkeypatch, tmp_path):
        real = checkpoint.save

        def terminated_within(workdir, epoch, *rest, **more):
            os.kill(os.getpid(), signal.SIGTERM)
            assert stopping.came()
            real(workdir, epoch, *rest, **more)

        monkeypatch.setattr(checkpoint, "save", terminated_within)
        command("train", *tiny(tmp_path)).sentence(143)
        assert checkpoint.latest(tmp_path) == 1

    def test_a_streamed_epoch_is_saved_at_the_next_chunk(
        self, command, tiny, monkeypatch, tmp_path
    ):
        streamed = dict(input="stream", chunk_examples=128, save_chunks=1000)
        whole, run = tmp_path / "whole", tmp_path / "run"
        assert command("train", *tiny(whole, **streamed)).code == 0
        source, heard = import_module("experiments.source"), []

        def once(*arguments):
            if not heard:
                heard.append(arguments)
                os.kill(os.getpid(), signal.SIGTERM)
            return stopping._Signal.came

        monkeypatch.setattr(source.stopping, "came", once)
        command("train", *tiny(run, **streamed)).sentence(143)
        assert checkpoint.latest(run) is None, "not even an epoch is done"
        assert checkpoint.latest(run / source.PARTWAY) == 2**32 + 1
        monkeypatch.undo()
        again = command("train", *tiny(run, **streamed))
        assert again.code == 0
        assert "going on in epoch 1" in again.out
        assert_same_bits(state_of(run), state_of(whole))

    def test_outside_of_training_it_ends_at_once(
        self, command, tiny, monkeypatch, tmp_path
    ):
        train = import_module("experiments.train")

        def terminated(*arguments, **options):
            os.kill(os.getpid(), signal.SIGTERM)
            raise AssertionError("it went on")

        monkeypatch.setattr(train.ncf_jax, "evaluate", terminated)
        command("train", *tiny(tmp_path)).sentence(143)
        assert checkpoint.latest(tmp_path) == 3
        assert not (tmp_path / "metrics.json").exists()

    def test_the_handler_before_is_put_back(self, command, tiny, tmp_path):
        before = signal.getsignal(signal.SIGTERM)
        command("train", *tiny(tmp_path, epochs=-1))
        assert signal.getsignal(signal.SIGTERM) == before


def test_a_whole_process_ends_with_143_wherever_it_is(tiny, tmp_path):
    line = [sys.executable, "-m", "experiments.train", *tiny(tmp_path / "run")]
    for wanted in ("run folder", "ratings; train", "epoch   1"):
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
        process = subprocess.Popen(
            line,
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        while wanted not in process.stdout.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=100)
        assert (process.returncode, err) == (143, f"error: {stopping.SENTENCE}\n")


def test_a_second_run_in_the_same_folder_is_refused(command, tiny, tmp_path):
    from ncf_jax import locks

    run = tmp_path / "run"
    with locks.hold(run):
        sentence = command("train", *tiny(run)).sentence(4)
        assert sentence.startswith("Another process is at work in")
        assert list(run.iterdir()) == []
    assert command("train", *tiny(run)).code == 0, "control"


@pytest.mark.parametrize(("last", "code"), [(True, 0), (False, -signal.SIGTERM)])
def test_a_signal_after_the_end_of_a_program_makes_no_failure_of_it(last, code):
    program = (
        "import os, signal\nfrom experiments import stopping\n"
        f"with stopping.heard(last={last}):\n    pass\n"
        "os.kill(os.getpid(), signal.SIGTERM)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], env=ENVIRONMENT)
    assert done.returncode == code


@pytest.mark.parametrize("wrong", [True, False])
def test_commands_say_that_they_are_the_last(wrong):
    """Of `python -m experiments.x`, not of a command that a program calls."""
    program = (
        "import sys\nfrom experiments import flags, stopping\n"
        "from ncf_jax.config import Config\nimport contextlib\n"
        "@contextlib.contextmanager\n"
        "def heard(last=False):\n    print(last)\n    yield\n"
        "stopping.heard = heard\nsys.argv = ['x']\n"
        "def main(config):\n    pass\n"
        + ("main.__module__ = 'elsewhere'\n" if wrong else "")
        + "flags.run(main, Config, '')\n"
    )
    line = [sys.executable, "-c", program]
    done = subprocess.run(line, env=ENVIRONMENT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"{not wrong}\n"), done.stderr
