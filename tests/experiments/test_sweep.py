"""The sweep command on a tiny world.

Held here: trials are run folders in which no figure of the test rows was computed, and
no file or line of a sweep has one; what is killed goes on with the trials and figures
of a sweep that was not; another base, space or data in the same folder is refused with
what differs; a trial that fails is recorded and the sweep goes on; best.flags trains
the best setting; a user's mistake is one sentence before anything is written.
"""

import csv
import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

import ncf_jax
from experiments import console, flags, sweep, train
from experiments.search import sampler
from ncf_jax import Config, report
from ncf_jax.errors import RunError
from tests.conftest import ROOT

SPACE = "dropout = float 0 0.5\nlearning_rate = log 0.0005 0.01  # wide\n"


@pytest.fixture(scope="session")
def space(tmp_path_factory):
    path = tmp_path_factory.mktemp("space") / "two.space"
    path.write_text(SPACE)
    return path


@pytest.fixture
def sweeping(command, tiny, space):
    """Runs the command: one epoch, two trials."""

    def run(workdir, *more, **changes):
        given = dict(space=space, trials=2, epochs=1) | changes
        return command("sweep", *tiny(workdir, **given), *more)

    return run


@pytest.fixture(scope="module")
def done(tmp_path_factory, space, cache_dir):
    """Three trials of two seeds, and what was printed; never to be changed."""
    folder = tmp_path_factory.mktemp("sweep") / "done"
    line = [sys.executable, "-W", "error::FutureWarning", "-m", "experiments.sweep"]
    line += ["--synthetic_users=40", "--synthetic_items=60", "--epochs=1"]
    line += ["--synthetic_ratings_per_user=25", "--batch_size=64", "--num_seeds=2"]
    line += ["--embedding_dim=8", f"--space={space}", "--trials=3"]
    line += [f"--workdir={folder}", f"--cache_dir={cache_dir}"]
    ended = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == ""
    return folder, ended.stdout


def rows_of(folder):
    with (folder / "sweep.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def without_seconds(folder):
    return [{n: v for n, v in row.items() if n != "seconds"} for row in rows_of(folder)]


class TestOutput:
    def test_a_row_has_the_mean_and_spread_of_its_trial_to_the_last_digit(self, done):
        folder, _ = done
        rows = rows_of(folder)
        columns = ["trial", "state", "valid/rmse", "sd", "dropout", "learning_rate"]
        assert list(rows[0]) == [*columns, "seconds"]
        assert [row["trial"] for row in rows] == ["1", "2", "3"]
        for row in rows:
            trial = folder / "trials" / f"000{row['trial']}"
            found = json.loads((trial / "validation.json").read_text())
            each = found["metrics"]["valid/rmse"]
            assert len(each["values"]) == 2
            assert row["state"] == "complete"
            assert float(row["valid/rmse"]) == each["mean"]
            assert each["mean"] == pytest.approx(np.mean(each["values"]))
            assert float(row["sd"]) == each["sd"] > 0
            assert float(row["seconds"]) > 0
            config = flags.parse(Config, [f"--flagfile={trial / 'run.flags'}"])
            assert config.dropout == float(row["dropout"])
            assert config.learning_rate == float(row["learning_rate"])
            assert config.num_seeds == 2

    def test_the_objective_is_that_of_the_trained_weights(self, done):
        folder, _ = done
        run = ncf_jax.load_run(str(folder / "trials" / "0002"))
        again = ncf_jax.evaluate(run.model, run.params, run.dataset, run.split.valid)
        mean = float(rows_of(folder)[1]["valid/rmse"])
        assert again.metrics["rmse"].mean == pytest.approx(mean, abs=1e-6)

    def test_no_figure_of_the_test_rows_is_anywhere(self, done):
        folder, out = done
        assert "test/" not in out
        for path in folder.rglob("*"):
            if path.is_file() and "state" not in path.parts:
                assert b"test/" not in path.read_bytes(), path
        for trial in (folder / "trials").iterdir():
            assert {path.name for path in trial.iterdir()} == {
                "run.flags",
                "environment.json",
                "state",
                "history.csv",
                "events.jsonl",
                "validation.json",
            }
            found = json.loads((trial / "validation.json").read_text())
            assert set(found["rows"]) == set(found["users"]) == {"valid"}
            assert found["baselines"] == {}
            assert all(name.startswith("valid/") for name in found["metrics"])

    def test_the_flagfile_of_the_best_says_what_it_is_and_is_that_trial(self, done):
        folder, _ = done
        text = (folder / "best.flags").read_text()
        best = min(rows_of(folder), key=lambda row: float(row["valid/rmse"]))
        note = "".join(line for line in text.splitlines() if line.startswith("#"))
        for part in (
            str(folder),
            f"trial {best['trial']}.",
            f"valid/rmse {float(best['valid/rmse']):.4f} ± ",
            "2 seeds",
            "3 complete, 0 failed",
            "on the validation rows",
        ):
            assert part in note
        config = flags.parse(Config, [f"--flagfile={folder / 'best.flags'}"])
        trial = folder / "trials" / f"000{best['trial']}" / "run.flags"
        assert config == flags.parse(Config, [f"--flagfile={trial}"])
        assert config.data_fingerprint
        assert config.split_fingerprint

    def test_the_table_has_the_best_first(self, done):
        folder, out = done
        shown = out[out.index("trial  ") :].splitlines()
        assert shown[0].split()[:2] == ["trial", "valid/rmse"]
        ranked = sorted(rows_of(folder), key=lambda row: float(row["valid/rmse"]))
        for line, row in zip(shown[1:], ranked, strict=False):
            assert line.split()[0] == row["trial"]
            assert f"{float(row['valid/rmse']):.4f} ± {float(row['sd']):.4f}" in line
        assert f"--flagfile={folder / 'best.flags'}" in out
        assert "PED-ANOVA" not in out, "three trials say nothing of importance"

    def test_the_importance_of_options_is_said_where_there_are_enough(
        self, done, sweeping, tmp_path, monkeypatch
    ):
        folder = shutil.copytree(done[0], tmp_path / "copy")
        monkeypatch.setattr(sampler, "ENOUGH", 3)
        out = sweeping(folder, trials=3, num_seeds=2).out
        assert re.search(r"\(PED-ANOVA\): \w+ \d+ %, \w+ \d+ %", out)

    def test_the_sweep_is_repeated_by_its_own_flags(self, done, command, tmp_path):
        folder, _ = done
        given = f"--flagfile={folder / 'sweep.flags'}"
        assert command("sweep", given, f"--workdir={tmp_path / 'a'}").code == 0
        assert without_seconds(tmp_path / "a") == without_seconds(folder)


class TestTrialsAsRuns:
    def test_other_commands_say_that_it_was_judged_on_validation_alone(
        self, done, command
    ):
        one, two = (done[0] / "trials" / name for name in ("0001", "0002"))
        for outcome in (command("report", one), command("compare", one, two)):
            sentence = outcome.sentence(4)
            assert "on its validation rows alone" in sentence
            assert f"--flagfile={one / 'run.flags'} --workdir={one}" in sentence
        with pytest.raises(RunError, match="validation rows alone"):
            ncf_jax.load_finished(two)
        assert "not a run folder" in command("report", done[0]).sentence(4)

    def test_the_command_they_offer_finishes_the_run_without_training(
        self, done, command, tmp_path
    ):
        trial = shutil.copytree(done[0] / "trials" / "0001", tmp_path / "trial")
        history = (trial / "history.csv").read_bytes()
        found = f"--flagfile={trial / 'run.flags'}", f"--workdir={trial}"
        assert "going on after epoch 1 of 1" in command("train", *found).out
        results = report.read_results(trial)
        judged = json.loads((trial / "validation.json").read_text())["metrics"]
        assert "test/rmse" in results["metrics"]
        assert {n: results["metrics"][n] for n in judged} == judged
        assert (trial / "history.csv").read_bytes() == history
        assert command("report", trial).code == 0


class TestGoingOn:
    def test_a_sweep_that_is_done_trains_nothing_and_changes_nothing(
        self, done, sweeping, content, monkeypatch
    ):
        folder, out = done
        before = content(folder)
        monkeypatch.setattr(train, "study", lambda *_, **__: pytest.fail("trained"))
        outcome = sweeping(folder, trials=3, num_seeds=2)
        assert (outcome.code, outcome.err) == (0, "")
        assert "nothing was trained" in outcome.out
        assert outcome.out.splitlines()[-6:-3] == out.splitlines()[-6:-3]
        assert content(folder) == before

    def test_killed_between_trials_and_in_one_it_ends_as_one_that_was_not(
        self, sweeping, tmp_path, monkeypatch
    ):
        whole, killed = tmp_path / "whole", tmp_path / "killed"
        assert sweeping(whole, trials=3, epochs=2).code == 0
        assert sweeping(killed, trials=1, epochs=2).code == 0
        with monkeypatch.context() as patch:

            def stop(self, told):
                raise KeyboardInterrupt

            patch.setattr(console.Progress, "epoch", stop)
            assert sweeping(killed, trials=3, epochs=2).code == 130
        assert [row["state"] for row in rows_of(killed)] == ["complete", "running"]
        outcome = sweeping(killed, trials=3, epochs=2)
        assert outcome.code == 0
        assert "going on after epoch 1 of 2" in outcome.out
        assert outcome.out.count("\ntrial 1 of 3") == 0
        assert without_seconds(killed) == without_seconds(whole)
        for name in ("0001", "0002", "0003"):
            one, other = (f / "trials" / name for f in (whole, killed))
            for file in ("validation.json", "run.flags"):
                assert (one / file).read_bytes() == (other / file).read_bytes()

    def test_without_sweep_csv_the_trials_are_found_in_their_folders(
        self, done, sweeping, tmp_path
    ):
        folder = shutil.copytree(done[0], tmp_path / "copy")
        (folder / "sweep.csv").unlink()
        outcome = sweeping(folder, trials=3, num_seeds=2)
        assert outcome.out.count("going on after epoch 1 of 1") == 3
        assert without_seconds(folder) == without_seconds(done[0])

    def test_killed_before_its_first_trial(self, sweeping, tmp_path):
        (tmp_path / ".sweep.flags.partial").write_text("--da")
        assert sweeping(tmp_path, trials=1).code == 0
        (tmp_path / "sweep.space").unlink()
        assert sweeping(tmp_path, trials=1).code == 0
        assert (tmp_path / "sweep.space").read_text() == SPACE

    def test_the_same_seed_gives_the_same_trials_and_another_others(
        self, sweeping, tmp_path
    ):
        for name, seed in (("a", 5), ("b", 5), ("c", 6)):
            assert sweeping(tmp_path / name, sampler_seed=seed, trials=2).code == 0
        a, b, c = (without_seconds(tmp_path / name) for name in "abc")
        assert a == b
        assert all(x["dropout"] != y["dropout"] for x, y in zip(a, c, strict=True))

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            (dict(epochs=2), "--epochs: 1 there, 2 here"),
            (dict(num_seeds=1), "--num_seeds: 2 there, 1 here"),
            (dict(objective="valid/mae"), "valid/rmse there, valid/mae here"),
            (dict(sampler_seed=1), "--sampler_seed: 0 there, 1 here"),
        ],
        ids=str,
    )
    def test_another_base_is_refused_with_what_differs(
        self, done, sweeping, content, changes, said
    ):
        before = content(done[0])
        outcome = sweeping(done[0], **(dict(num_seeds=2, trials=4) | changes))
        sentence = outcome.sentence(4)
        assert "holds another sweep" in sentence
        assert said in sentence
        assert content(done[0]) == before

    def test_another_space_is_refused_with_what_differs(self, done, sweeping, tmp_path):
        other = tmp_path / "other.space"
        other.write_text(
            SPACE.replace("0.5", "0.4").replace("learning_rate = log", "#")
        )
        sentence = sweeping(done[0], space=other, num_seeds=2).sentence(4)
        assert "dropout: float 0.0 0.5 there, float 0.0 0.4 here" in sentence
        assert "learning_rate: log 0.0005 0.01 there, not searched here" in sentence

    def test_the_same_space_in_other_words_is_the_same(self, done, sweeping, tmp_path):
        other = tmp_path / "other.space"
        other.write_text("learning_rate=log 5e-4 1e-2\ndropout = float 0.0 .5")
        assert sweeping(done[0], space=other, num_seeds=2, trials=3).code == 0

    def test_other_data_are_refused(self, done, sweeping, tmp_path):
        folder = shutil.copytree(done[0], tmp_path / "copy")
        path = folder / "sweep.flags"
        path.write_text(
            re.sub("data_fingerprint=.*", "data_fingerprint=0", path.read_text())
        )
        sentence = sweeping(folder, num_seeds=2, trials=4).sentence(4)
        assert "a sweep on other data (--data_fingerprint: 0 there" in sentence

    def test_the_folder_of_something_else_is_refused(self, finished, sweeping, content):
        before = content(finished.workdir)
        sentence = sweeping(finished.workdir).sentence(4)
        assert "not a sweep folder (it has no sweep.flags)" in sentence
        assert content(finished.workdir) == before


class TestFailedTrials:
    def test_one_is_recorded_and_the_sweep_goes_on_until_nothing_is_left(
        self, sweeping, tmp_path
    ):
        space = tmp_path / "wild.space"
        space.write_text("learning_rate = one_of 1e38 0.001")
        folder = tmp_path / "sweep"
        outcome = sweeping(folder, space=space, trials=5)
        assert (outcome.code, outcome.err) == (0, "")
        assert "No setting is left that has not been tried." in outcome.out
        assert "failed: The training loss" in outcome.out
        assert "the best of 1 trials (1 failed)" in outcome.out
        found = {row["learning_rate"]: row for row in rows_of(folder)}
        assert found["1e+38"]["state"] == "failed"
        assert found["1e+38"]["valid/rmse"] == found["1e+38"]["sd"] == ""
        assert found["0.001"]["state"] == "complete"
        assert "1 complete, 1 failed" in (folder / "best.flags").read_text()
        again = sweeping(folder, space=space, trials=5)
        assert "nothing was trained" in again.out

    def test_where_all_fail_that_is_the_sentence(self, sweeping, tmp_path):
        space = tmp_path / "wild.space"
        space.write_text("learning_rate = one_of 1e38 1e37")
        outcome = sweeping(tmp_path / "sweep", space=space, trials=2)
        assert "All 2 trials failed" in outcome.sentence(5)
        assert not (tmp_path / "sweep" / "best.flags").exists()


class TestObjective:
    def test_the_larger_ndcg_is_the_better_one(self, sweeping, tmp_path):
        outcome = sweeping(tmp_path, objective="valid/ndcg@5", k="5,10", trials=2)
        assert outcome.code == 0
        values = {row["trial"]: float(row["valid/ndcg@5"]) for row in rows_of(tmp_path)}
        best = max(values, key=values.get)
        assert f"trial {best}.\n" in (tmp_path / "best.flags").read_text()

    def test_one_of_the_test_rows_is_refused(self, sweeping, tmp_path):
        sentence = sweeping(tmp_path / "a", objective="test/rmse").sentence(2)
        assert "choices are made on the validation rows alone" in sentence
        assert "valid/rmse" in sentence
        assert not (tmp_path / "a").exists()

    @pytest.mark.parametrize(
        ("objective", "said"),
        [
            ("rmse", "wants one of valid/rmse"),
            ("valid/rmes", "Did you mean 'valid/rmse'?"),
            ("valid/ndcg@20", "valid/ndcg@10"),
            ("valid/tied_cutoffs@10", "wants one of valid/rmse"),
            ("", "wants one of valid/rmse"),
        ],
    )
    def test_one_that_no_run_has_is_refused(self, sweeping, tmp_path, objective, said):
        sentence = sweeping(tmp_path / "a", objective=objective).sentence(2)
        assert said in sentence
        assert not (tmp_path / "a").exists()

    def test_one_that_is_not_defined_is_refused(self, sweeping, tmp_path, monkeypatch):
        nothing = {"metrics": {"valid/rmse": {"mean": None, "sd": None}}}
        monkeypatch.setattr(train, "study", lambda *_, **__: nothing)
        sentence = sweeping(tmp_path / "a").sentence(4)
        assert "is not defined on these validation rows" in sentence


class TestMistakes:
    def test_a_wrong_line_is_named_and_nothing_is_written(self, sweeping, tmp_path):
        space = tmp_path / "wrong.space"
        space.write_text("# mine\ndropuot = float 0 0.5\n")
        sentence = sweeping(tmp_path / "a", space=space).sentence(2)
        assert sentence.startswith(f"{space}:2: ")
        assert "Did you mean 'dropout'?" in sentence
        assert not (tmp_path / "a").exists()

    @pytest.mark.parametrize("name", ["space", "workdir"])
    def test_what_is_required(self, sweeping, tmp_path, name):
        outcome = sweeping(tmp_path, f"--{name}=")
        assert f"--{name} is required" in outcome.sentence(2)

    def test_without_optuna_it_says_how_to_install_it(
        self, sweeping, tmp_path, monkeypatch
    ):
        monkeypatch.setitem(sys.modules, "optuna", None)
        sentence = sweeping(tmp_path / "a").sentence(4)
        assert "pip install -e '.[sweep]'" in sentence
        assert not (tmp_path / "a").exists()

    def test_missing_data_are_missed_before_anything_is_written(
        self, command, space, tmp_path
    ):
        given = [f"--space={space}", f"--workdir={tmp_path / 'a'}"]
        given += ["--data_fingerprint=0", f"--cache_dir={tmp_path / 'cache'}"]
        command("sweep", *given).sentence(3)
        assert not (tmp_path / "a").exists()

    def test_a_damaged_sweep_csv(self, done, sweeping, tmp_path):
        folder = shutil.copytree(done[0], tmp_path / "copy")
        (folder / "sweep.csv").write_text("trial\n")
        sentence = sweeping(folder, num_seeds=2).sentence(4)
        assert "sweep.csv is damaged" in sentence


def test_help_is_quick_and_shows_the_space_file():
    program = (
        "import sys, experiments.sweep as s\n"
        "from experiments import flags\n"
        "flags.define(s.SweepOptions).get_help()\n"
        "print(sorted({'jax', 'optuna', 'numpy', 'pandas'} & set(sys.modules)))"
    )
    line = [sys.executable, "-c", program]
    out = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
    assert "embedding_dim = int 8 64 8" in sweep.__doc__


def test_every_flag_of_a_run_is_one_of_a_sweep():
    given = ["--dropout=0.1", "--k=5,10", "--trials=4"]
    options = flags.parse(sweep.SweepOptions, given)
    assert options.base() == Config(dropout=0.1, k=(5, 10))
    assert options.trials == 4
