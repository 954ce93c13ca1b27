"""The evaluate command: the figures of a run, from its folder alone.

Held here: with the data, the cache and the place of the run gone, the command finds
the very figures of metrics.json and says so, and says so when they differ; nothing is
written; what is not a finished run is told in a sentence.
"""

import json
import shutil

import pytest

from ncf_jax import checkpoint


@pytest.fixture(scope="module", params=[1, 2])
def orphan(request, tmp_path_factory):
    """A run of one or two seeds, moved elsewhere, whose data exists no more."""
    from tests.experiments.conftest import train_quietly

    folder = tmp_path_factory.mktemp("orphan")
    run = train_quietly(
        folder / "run", folder / "cache", num_seeds=request.param, epochs=2
    )
    shutil.rmtree(folder / "cache")
    (folder / "run").rename(folder / "moved")
    return run._replace(workdir=folder / "moved")


@pytest.fixture
def copy(orphan, tmp_path):
    return shutil.copytree(orphan.workdir, tmp_path / "copy")


class TestFromTheFolderAlone:
    def test_the_figures_are_those_of_metrics_json(
        self, orphan, command, content, tmp_path, monkeypatch
    ):
        monkeypatch.chdir(tmp_path)
        before = content(orphan.workdir)
        outcome = command("evaluate", f"--workdir={orphan.workdir}")
        assert (outcome.code, outcome.err) == (0, "")
        assert "The same figures as in metrics.json, to the last digit." in outcome.out
        assert f"{orphan.workdir}: after epoch 2 of 2" in outcome.out
        assert content(orphan.workdir) == before
        assert list(tmp_path.iterdir()) == []

    def test_its_table_is_that_of_training_without_the_baselines(self, orphan, command):
        outcome = command("evaluate", f"--workdir={orphan.workdir}")
        of_model = [x for x in orphan.out.splitlines() if x.startswith("NCFMovies")]
        found = [x for x in outcome.out.splitlines() if x.startswith("NCFMovies")]
        assert found == of_model
        assert len(found) == 2
        assert "Global mean" not in outcome.out
        assert "SYNTHETIC DATA" in outcome.out

    def test_json_holds_the_same_metrics_and_nothing_else_is_printed(
        self, orphan, command
    ):
        outcome = command("evaluate", f"--workdir={orphan.workdir}", "--format=json")
        found = json.loads(outcome.out)
        stored = json.loads((orphan.workdir / "metrics.json").read_text())
        assert found["metrics"] == stored["metrics"]
        for name in ("data", "split", "rows", "seeds", "model", "synthetic"):
            assert found[name] == stored[name]

    def test_a_figure_that_differs_is_shown_with_both_values(self, copy, command):
        # The control of "the same figures".
        path = copy / "metrics.json"
        stored = json.loads(path.read_text())
        true = stored["metrics"]["test/mae"]["mean"]
        stored["metrics"]["test/mae"]["mean"] = true + 0.125
        path.write_text(json.dumps(stored))
        outcome = command("evaluate", f"--workdir={copy}")
        assert outcome.code == 0
        assert f"test/mae: {true} here, {true + 0.125} in metrics.json" in outcome.out
        assert "The same figures" not in outcome.out
        assert "test/rmse:" not in outcome.out

    def test_any_difference_from_metrics_json_is_told(self, copy, command):
        path = copy / "metrics.json"
        stored = json.loads(path.read_text())
        stored["metrics"]["test/mae"]["ci95"][0] -= 0.125
        path.write_text(json.dumps(stored))
        outcome = command("evaluate", f"--workdir={copy}")
        assert "The same figures" not in outcome.out
        assert "test/mae" in outcome.out.split("definitions and 95 %")[1]

    def test_an_unfinished_run_is_judged_and_told_to_be_unfinished(self, copy, command):
        (copy / "metrics.json").unlink()
        shutil.rmtree(copy / "state" / "2")
        outcome = command("evaluate", f"--workdir={copy}")
        assert outcome.code == 0
        assert "after epoch 1 of 2" in outcome.out
        assert "The run is not finished" in outcome.out


class TestRefused:
    def test_a_workdir_is_required(self, command):
        assert "--workdir is required" in command("evaluate").sentence(2)

    @pytest.mark.parametrize("name", ["missing", "."])
    def test_what_is_not_a_run_folder_is_named(self, command, tmp_path, name):
        sentence = command("evaluate", f"--workdir={tmp_path / name}").sentence(4)
        assert "is not a run folder" in sentence
        assert str(tmp_path / name) in sentence
        assert list(tmp_path.iterdir()) == []

    def test_a_run_without_a_checkpoint_says_so(self, copy, command, content):
        shutil.rmtree(copy / "state")
        before = content(copy)
        sentence = command("evaluate", f"--workdir={copy}").sentence(4)
        assert "has no checkpoint yet" in sentence
        assert content(copy) == before

    def test_a_run_without_its_data_says_so(self, copy, command):
        shutil.rmtree(copy / "state" / "dataset")
        sentence = command("evaluate", f"--workdir={copy}").sentence(4)
        assert "dataset" in sentence
        assert "missing or damaged" in sentence

    def test_a_damaged_checkpoint_names_the_earlier_one(self, copy, command):
        shutil.rmtree(copy / "state" / "2" / "state" / "d")
        sentence = command("evaluate", f"--workdir={copy}").sentence(4)
        assert "The checkpoint of epoch 2" in sentence
        assert "to go on from epoch 1" in sentence

    def test_the_advice_for_a_damaged_checkpoint_works(self, copy, command):
        shutil.rmtree(copy / "state" / "2")
        assert checkpoint.latest(copy) == 1
        assert "after epoch 1 of 2" in command("evaluate", f"--workdir={copy}").out
