"""Stopping a run at any moment, and going on.

Held here: a training process killed by SIGKILL in the middle of an epoch, and runs
stopped at each step of saving and reporting, end with the very bits of an
uninterrupted run when the same command is given again; a loss that is not finite or a
disk that is full stops the run with one sentence and leaves the last good checkpoint.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

import jax
import numpy as np
import pytest

import ncf_jax
from ncf_jax import checkpoint, report
from ncf_jax.errors import NonFiniteLossError
from ncf_jax.losses import LOSSES
from tests.test_finite import bad_gradient, bad_loss
from tests.test_trackers import of_history, of_results, scalars

ROOT = Path(__file__).parents[2]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}


def loaded(workdir):
    """The state of the last checkpoint."""
    run = ncf_jax.load_run(str(workdir))
    config = run.config
    learner = ncf_jax.learner_of(
        config, run.model, run.dataset.features, num_rows=len(run.split.train)
    )
    members = config.num_seeds * config.ensemble
    like = import_module("ncf_jax.learners").state_like(learner, members)
    return checkpoint.load_state(workdir, checkpoint.latest(workdir), like)


def state_of(workdir):
    """Every array of the last checkpoint, by name."""
    leaves = jax.tree_util.tree_leaves_with_path(loaded(workdir))
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}


def assert_same_bits(one, other):
    assert one.keys() == other.keys()
    for name, array in one.items():
        assert array.dtype == other[name].dtype
        assert array.tobytes() == other[name].tobytes(), f"{name} differs"


def events_of(workdir):
    """The lines of events.jsonl, without what the clock says."""
    lines = (workdir / "events.jsonl").read_text().splitlines()
    clock = {"seconds", "examples_per_second"}
    return [
        {name: value for name, value in json.loads(line).items() if name not in clock}
        for line in lines
    ]


# What the clock has no part in, and a run that went on leaves as an uninterrupted one.
SAME = [
    "metrics.json",
    "metrics.csv",
    "per_user.csv",
    "per_user.npz",
    "predictions.npz",
    "samples.json",
    "run.flags",
]


def assert_same_ending(one, other):
    assert events_of(one) == events_of(other)
    for name in SAME:
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    left = ({path.name for path in folder.iterdir()} for folder in (one, other))
    assert next(left) == next(left)


def losses_of(workdir):
    lines = (workdir / "history.csv").read_text().splitlines()[1:]
    return [line.split(",")[:3] for line in lines]


# A step for each row: an epoch of some tenths of a second, long enough to be hit.
SLOW = dict(epochs=7, batch_size=1, synthetic_users=150)


def killed_in_epoch_6(line, workdir, log):
    """Runs a training command and kills it half an epoch after epoch 5 is saved."""
    with log.open("w") as out:
        process = subprocess.Popen(line, env=ENVIRONMENT, stdout=out, stderr=out)
    try:
        deadline = time.monotonic() + 90
        rows = []
        while len(rows) < 5:
            assert process.poll() is None, f"it ended early: {log.read_text()}"
            assert time.monotonic() < deadline, f"too slow: {log.read_text()}"
            time.sleep(0.002)
            history = workdir / "history.csv"
            rows = history.read_text().splitlines()[1:] if history.exists() else []
        time.sleep(float(rows[-1].split(",")[3]) / 2)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    return process.returncode


class TestKilled:
    def test_killed_in_the_middle_of_epoch_6_the_same_command_ends_in_the_same_bits(
        self, command, tiny, tmp_path
    ):
        killed, whole = tmp_path / "killed", tmp_path / "whole"
        line = [sys.executable, "-m", "experiments.train", *tiny(killed, **SLOW)]
        for _ in range(3):  # a busy machine may let the process run on for too long
            shutil.rmtree(killed, ignore_errors=True)
            code = killed_in_epoch_6(line, killed, tmp_path / "log")
            if checkpoint.latest(killed) == 5:
                break
        assert code == -signal.SIGKILL
        assert checkpoint.latest(killed) == 5, "killed too late; make an epoch longer"
        assert not (killed / "metrics.json").exists()

        again = subprocess.run(
            line, env=ENVIRONMENT, capture_output=True, text=True, timeout=100
        )
        assert (again.returncode, again.stderr) == (0, "")
        assert "going on after epoch 5 of 7" in again.stdout
        assert "epoch   5" not in again.stdout

        assert command("train", *tiny(whole, **SLOW)).code == 0
        assert_same_bits(state_of(killed), state_of(whole))
        assert losses_of(killed) == losses_of(whole)
        assert_same_ending(killed, whole)

    def test_another_seed_ends_in_other_bits(self, finished, command, tiny, tmp_path):
        # The control of every comparison in this file.
        assert command("train", *tiny(tmp_path, seed=1)).code == 0
        one, other = state_of(tmp_path), state_of(finished.workdir)
        assert one.keys() == other.keys()
        params = [name for name in one if name.startswith(".params")]
        assert len(params) > 5
        for name in params:
            assert one[name].tobytes() != other[name].tobytes(), name


class Killed(BaseException):
    """Nothing in the program catches it, as nothing catches SIGKILL."""


# One step an epoch: its loss is taken before the step, so epoch 1 is whole and epoch 2
# meets the parameters that an absurd step has left.
ABSURD = dict(learning_rate=1e30, batch_size=5000)
# No file may grow beyond a few kilobytes, as on a disk that is nearly full. Set by the
# program itself: a hook between fork and exec is not safe in a process with threads.
NEARLY_FULL = """
import resource, runpy, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
runpy.run_module("experiments.train", run_name="__main__")
"""


class TestStopped:
    @pytest.mark.parametrize("epoch", [1, 2, 3])
    def test_stopped_after_any_epoch_it_goes_on_to_the_same_bits(
        self, finished, command, tiny, interrupt_after, monkeypatch, tmp_path, epoch
    ):
        # Epoch 3 is the last one: what is left to do is evaluating and writing.
        interrupt_after(epoch)
        stopped = command("train", *tiny(tmp_path))
        sentence = stopped.sentence(130)
        assert sentence.startswith("Interrupted. The same command goes on")
        assert checkpoint.latest(tmp_path) == epoch
        assert len(losses_of(tmp_path)) == epoch
        assert report.read_results(tmp_path) is None
        lines = events_of(tmp_path)
        assert [line["epoch"] for line in lines] == [*range(1, epoch + 1)]
        assert {line["event"] for line in lines} == {"epoch"}
        monkeypatch.undo()

        outcome = command("train", *tiny(tmp_path))
        assert (outcome.code, outcome.err) == (0, "")
        assert f"going on after epoch {epoch} of 3" in outcome.out
        trained = [x for x in outcome.out.splitlines() if x.startswith("epoch  ")]
        assert [int(line.split()[1]) for line in trained] == [*range(epoch + 1, 4)]
        assert_same_bits(state_of(tmp_path), state_of(finished.workdir))
        assert losses_of(tmp_path) == losses_of(finished.workdir)
        assert_same_ending(tmp_path, finished.workdir)

    def test_event_files_of_a_run_that_went_on_hold_each_epoch_once(
        self, command, tiny, interrupt_after, monkeypatch, tmp_path
    ):
        interrupt_after(2)
        line = *tiny(tmp_path), "--tensorboard"
        command("train", *line).sentence(130)
        folder = tmp_path / "tensorboard"
        assert {step for _, step, _ in scalars(folder)} <= {1, 2}
        monkeypatch.undo()
        assert command("train", *line).code == 0
        history = report.read_history(tmp_path)
        assert len(history) == 3
        wanted = of_history(history) + of_results(report.read_results(tmp_path), 3)
        assert scalars(folder) == wanted

    def test_killed_again_and_again_at_every_write_it_still_ends_in_the_same_bits(
        self, finished, command, tiny, monkeypatch, tmp_path
    ):
        def killed_at(owner, name, when):
            real = getattr(owner, name)

            def dying(*arguments, **options):
                if when(*arguments):
                    raise Killed
                return real(*arguments, **options)

            with monkeypatch.context() as patch:
                patch.setattr(owner, name, dying)
                with pytest.raises(Killed):
                    command("train", *tiny(tmp_path))
            assert report.read_results(tmp_path) is None

        def file_is(name):
            return lambda path, content: path.name == name

        def half_written(path, content):
            if path.name == "metrics.json":
                path.with_name(".metrics.json.partial").write_bytes(content[:100])
                return True
            return False

        killed_at(report, "write_bytes", file_is("run.flags"))
        killed_at(report, "write_bytes", file_is("environment.json"))
        killed_at(checkpoint, "save_dataset", lambda *_: True)
        killed_at(checkpoint, "save", lambda _, epoch, *rest: epoch == 1)
        # After the checkpoint of an epoch, before its line in history.csv.
        killed_at(report, "write_bytes", file_is("history.csv"))
        assert checkpoint.latest(tmp_path) == 1
        # And before its line in events.jsonl.
        killed_at(report, "write_bytes", file_is("events.jsonl"))
        assert checkpoint.latest(tmp_path) == 2
        killed_at(checkpoint, "save", lambda _, epoch, *rest: epoch == 3)
        assert checkpoint.latest(tmp_path) == 2
        killed_at(ncf_jax, "evaluate", lambda *_: True)
        assert checkpoint.latest(tmp_path) == 3
        killed_at(report, "write_bytes", file_is("per_user.npz"))
        killed_at(report, "write_bytes", file_is("report.html"))
        killed_at(report, "write_bytes", half_written)

        assert command("train", *tiny(tmp_path)).code == 0
        assert_same_bits(state_of(tmp_path), state_of(finished.workdir))
        assert losses_of(tmp_path) == losses_of(finished.workdir)
        assert_same_ending(tmp_path, finished.workdir)

    def test_a_folder_whose_very_first_file_was_not_finished_is_taken(
        self, command, tiny, tmp_path
    ):
        (tmp_path / ".run.flags.partial").write_text("--data")
        assert command("train", *tiny(tmp_path, epochs=1)).code == 0
        assert not (tmp_path / ".run.flags.partial").exists()

    def test_an_unfinished_checkpoint_does_not_stop_the_run(
        self, finished, command, tiny, interrupt_after, monkeypatch, tmp_path
    ):
        # What orbax leaves when it is killed in the middle of writing epoch 3.
        interrupt_after(2)
        command("train", *tiny(tmp_path))
        monkeypatch.undo()
        partial = tmp_path / "state" / "3.orbax-checkpoint-tmp"
        (partial / "state").mkdir(parents=True)
        (partial / "state" / "manifest.ocdbt").write_bytes(b"half")
        assert checkpoint.latest(tmp_path) == 2
        assert command("train", *tiny(tmp_path)).code == 0
        assert_same_bits(state_of(tmp_path), state_of(finished.workdir))

    def test_metrics_json_taken_away_is_made_anew_from_the_checkpoint(
        self, finished, command, tiny, tmp_path, content
    ):
        for name, data in content(finished.workdir).items():
            path = tmp_path / "copy" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if name != "metrics.json":
                path.write_bytes(data)
        outcome = command("train", *tiny(tmp_path / "copy"))
        assert (outcome.code, outcome.err) == (0, "")
        assert "going on after epoch 3 of 3" in outcome.out
        assert "train loss" not in outcome.out
        assert (tmp_path / "copy" / "metrics.json").read_bytes() == (
            finished.workdir / "metrics.json"
        ).read_bytes()


class TestInterrupted:
    def test_ctrl_c_while_compiling_ends_with_130_and_one_sentence(
        self, tiny, tmp_path
    ):
        # Compiling threads must not bring the interpreter down on its way out.
        line = [sys.executable, "-m", "experiments.train", *tiny(tmp_path / "run")]
        for seconds in (0.2, 0.6, 1.0):
            shutil.rmtree(tmp_path / "run", ignore_errors=True)
            process = subprocess.Popen(
                line,
                env=ENVIRONMENT,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            # The first line after the data is prepared; what follows is compiled.
            while "ratings; train" not in process.stdout.readline():
                assert process.poll() is None
            time.sleep(seconds)
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=100)
            assert process.returncode == 130, err
            assert err.startswith("error: Interrupted.")
            assert err.count("\n") == 1


class TestNotFinite:
    @pytest.fixture
    def stopped(self, command, tiny, tmp_path):
        return command("train", *tiny(tmp_path, **ABSURD)), tmp_path

    def test_the_sentence_names_seed_and_epoch(self, stopped):
        # A single step an epoch: the training loss before it is still fine.
        sentence = stopped[0].sentence(5)
        assert "validation loss of seed 0" in sentence
        assert "after epoch 1" in sentence
        assert "--learning_rate" in sentence

    def test_a_state_that_gives_no_finite_loss_is_no_checkpoint(self, stopped):
        workdir = stopped[1]
        assert checkpoint.latest(workdir) is None
        assert not (workdir / "history.csv").exists()
        assert not (workdir / "metrics.json").exists()

    def test_the_checkpoint_before_it_is_whole(
        self, tiny_dataset, tiny_split, tiny_config, tmp_path
    ):
        model = ncf_jax.make_model(tiny_config, tiny_dataset)
        learner = ncf_jax.learner_of(tiny_config, model, tiny_dataset.features)
        train = tiny_dataset.interactions(tiny_split.train)
        valid = tiny_dataset.interactions(tiny_split.valid)

        def keep(report, state):
            checkpoint.save(tmp_path, report.epoch, state, {}, keep=9)

        state = ncf_jax.fit(learner, train, valid, epochs=2, on_epoch=keep)
        rating = train.rating.copy()
        rating[7] = np.nan  # as a cosmic ray would have it, during epoch 3
        with pytest.raises(NonFiniteLossError, match=r"at step \d+ of epoch 3"):
            ncf_jax.fit(
                learner,
                train.replace(rating=rating),
                valid,
                epochs=4,
                start=(2, state),
                on_epoch=keep,
            )
        assert checkpoint.latest(tmp_path) == 2
        found = checkpoint.load_state(tmp_path, 2, state)
        for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(state), strict=True):
            np.testing.assert_array_equal(a, b)

    def test_the_same_command_stops_at_the_same_place(self, stopped, command, tiny):
        first, workdir = stopped
        again = command("train", *tiny(workdir, **ABSURD))
        assert again.sentence(5) == first.sentence(5)

    def test_a_loss_that_breaks_within_the_first_epoch_leaves_no_checkpoint(
        self, command, tiny, tmp_path
    ):
        outcome = command("train", *tiny(tmp_path, learning_rate=1e30))
        assert "of epoch 1" in outcome.sentence(5)
        assert checkpoint.latest(tmp_path) is None

    @pytest.mark.parametrize("options", [{}, dict(table_update="lazy")], ids=str)
    @pytest.mark.parametrize("loss", [bad_loss, bad_gradient])
    def test_the_same_command_goes_on_from_the_last_good_epoch(
        self, command, tiny, interrupt_after, monkeypatch, tmp_path, loss, options
    ):
        killed, whole = tmp_path / "killed", tmp_path / "whole"
        interrupt_after(1)
        assert command("train", *tiny(killed, **options)).code == 130
        monkeypatch.undo()
        before = state_of(killed)
        # All rows with 4 stars, as if a library had a bad day.
        monkeypatch.setattr("tests.test_finite.MARK", 4.0)
        monkeypatch.setitem(LOSSES, "mse", loss)
        step = 1 if loss is bad_loss else 2
        sentence = command("train", *tiny(killed, **options)).sentence(5)
        assert f"seed 0 became nan at step {step} of epoch 2" in sentence
        assert checkpoint.latest(killed) == 1
        assert_same_bits(state_of(killed), before)

        monkeypatch.undo()
        assert command("train", *tiny(killed, **options)).code == 0
        assert command("train", *tiny(whole, **options)).code == 0
        assert_same_bits(state_of(killed), state_of(whole))

    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_a_checkpoint_of_before_that_is_not_finite_gives_no_figure(
        self, command, finished, tmp_path, value
    ):
        # As a version that did not look at states might have left it.
        workdir = shutil.copytree(finished.workdir, tmp_path / "run")
        run = ncf_jax.load_run(str(workdir))
        state, meta = loaded(workdir), checkpoint.load_meta(workdir, 3)
        params = {**state.params, "fc2": dict(state.params["fc2"])}
        params["fc2"]["bias"] = np.full_like(params["fc2"]["bias"], value)
        bad = state.replace(params=params)
        checkpoint.save(workdir, 4, bad, meta, keep=9)
        sentence = command("evaluate", f"--workdir={workdir}").sentence(4)
        assert "predictions are NaN or infinite; no metric" in sentence
        user = f"--user_id={run.dataset.user_ids[0]}"
        sentence = command("recommend", f"--workdir={workdir}", user).sentence(4)
        assert "predictions are NaN or infinite; nothing is recommended" in sentence


class TestFullDisk:
    @pytest.fixture
    def stopped(self, command, tiny, interrupt_after, monkeypatch, tmp_path):
        interrupt_after(1)
        workdir = tmp_path / "run"
        command("train", *tiny(workdir))
        monkeypatch.undo()
        return workdir

    def test_a_checkpoint_that_does_not_fit_is_one_sentence_and_the_last_one_loads(
        self, stopped, tiny, command, finished
    ):
        before = state_of(stopped)
        done = subprocess.run(
            [sys.executable, "-c", NEARLY_FULL, *tiny(stopped)],
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            timeout=100,
        )
        assert done.returncode == 4, done.stderr
        assert done.stderr.startswith("error: The checkpoint of epoch 2 could not be")
        assert done.stderr.count("\n") == 1, done.stderr
        assert "make room" in done.stderr
        assert checkpoint.latest(stopped) == 1
        assert_same_bits(state_of(stopped), before)

        # And with room again, the run ends as if nothing had been.
        assert command("train", *tiny(stopped)).code == 0
        assert json.loads((stopped / "metrics.json").read_text()) == json.loads(
            (finished.workdir / "metrics.json").read_text()
        )

    def test_a_folder_that_cannot_be_made_is_named(self, command, tiny, tmp_path):
        (tmp_path / "file").write_text("")
        sentence = command("train", *tiny(tmp_path / "file" / "below")).sentence(4)
        assert str(tmp_path / "file" / "below") in sentence
        # There is no metrics.json that could be damaged, or removed.
        assert "Remove it" not in sentence
