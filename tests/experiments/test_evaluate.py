"""The evaluate command: the figures of a run, from its folder alone.

Held here: with the data, the cache and the place of the run gone, the command finds
the very figures of metrics.json and says so, and says so when they differ; nothing is
written then. By another reading it finds what training with that reading finds, and
writes it below the run, as a folder that others take as they take a run; what is not a
run is told in a sentence.
"""

import json
import shutil

import numpy as np
import pytest

import ncf_jax
from experiments import evaluate
from ncf_jax import Config, checkpoint
from ncf_jax.errors import ConfigError
from tests.experiments.conftest import train_quietly


@pytest.fixture(scope="module", params=[1, 2])
def orphan(request, tmp_path_factory):
    """A run of one or two seeds, moved elsewhere, whose data exists no more."""
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


@pytest.fixture(scope="module")
def ensemble(tmp_path_factory):
    """Two ensembles of two members each, along a cosine, clipped."""
    folder = tmp_path_factory.mktemp("ensemble")
    more = dict(num_seeds=2, ensemble=2, epochs=2, seed=3, clip=True, schedule="cosine")
    return train_quietly(folder / "run", folder / "cache", **more), folder / "cache"


class TestEnsemble:
    def test_the_figures_are_those_of_metrics_json(self, ensemble, command):
        outcome = command("evaluate", f"--workdir={ensemble[0].workdir}")
        assert (outcome.code, outcome.err) == (0, "")
        assert "The same figures as in metrics.json, to the last digit." in outcome.out

    def test_a_seed_is_that_of_the_first_member(self, ensemble):
        found = stored(ensemble[0].workdir)
        assert found["seeds"] == [3, 5]
        assert len(found["metrics"]["test/rmse"]["values"]) == 2
        assert found["spread"]["test"]["members"] == 2
        assert "clipped to 0.5-5" in found["metrics"]["test/rmse"]["definition"]

    def test_its_members_are_the_runs_of_their_seeds(self, ensemble):
        run = ncf_jax.load_run(str(ensemble[0].workdir))
        data = run.dataset.interactions(run.split.test)
        each = ncf_jax.predict(
            run.model, run.params, data.user, data.item, data.features
        )
        assert len(each) == 4, "seeds 3, 4, 5 and 6"
        truth = np.asarray(data.rating, np.float64)
        for number, value in enumerate(
            stored(run.workdir)["metrics"]["test/rmse"]["values"]
        ):
            mean = each[2 * number : 2 * number + 2].mean(axis=0)
            error = np.clip(mean, 0.5, 5.0) - truth
            assert value == pytest.approx(np.sqrt((error**2).mean()), rel=1e-5)

    def test_stopped_and_gone_on_with_it_is_the_same(
        self, ensemble, interrupt_after, monkeypatch, tmp_path
    ):
        run, cache = ensemble
        more = {
            name: getattr(run.config, name)
            for name in ("num_seeds", "ensemble", "epochs", "seed", "clip", "schedule")
        }
        with monkeypatch.context():
            interrupt_after(1)
            with pytest.raises(KeyboardInterrupt):
                train_quietly(tmp_path / "run", cache, **more)
        monkeypatch.undo()
        assert not (tmp_path / "run" / "metrics.json").exists()
        again = train_quietly(tmp_path / "run", cache, **more)
        assert "going on after epoch 1 of 2" in again.out
        assert stored(again.workdir) == stored(run.workdir)


READINGS = {
    "--metrics=reference": "reference-rated-k10",
    "--candidates=catalogue": "standard-catalogue-k10",
    "--k=5": "standard-rated-k5",
    "--k=10,5": "standard-rated-k10-5",
    "--ties=pessimistic": "standard-rated-k10-pessimistic",
    "--relevance_threshold=3.5": "standard-rated-k10-from3.5",
}
FILES = {
    "metrics.json",
    "per_user.csv",
    "per_user.npz",
    "predictions.npz",
    "timing.json",
}


def stored(folder):
    return json.loads((folder / "metrics.json").read_text())


class TestReading:
    def test_what_is_not_asked_for_is_the_runs_own(self):
        config = Config(k=(5, 10), metrics="graded", seed=3)
        options = evaluate.EvaluateOptions(ties="optimistic")
        found = evaluate.reading(config, options)
        assert found == Config(k=(5, 10), metrics="graded", seed=3, ties="optimistic")
        assert evaluate.reading(config, evaluate.EvaluateOptions()) == config

    def test_an_impossible_reading_is_refused_as_in_training(self):
        options = evaluate.EvaluateOptions(relevance_threshold=0.25)
        with pytest.raises(ConfigError, match="--relevance_threshold wants at least"):
            evaluate.reading(Config(), options)

    def test_every_choice_of_training_can_be_asked_for(self):
        fields = {name: evaluate._again(name) for name in ("metrics", "ties")}
        for name, meta in fields.items():
            for choice in meta["choices"]:
                options = evaluate.EvaluateOptions(**{name: choice})
                assert getattr(evaluate.reading(Config(), options), name) == choice

    def test_no_two_readings_have_one_name(self):
        configs = [
            Config(metrics=metrics, candidates=candidates, k=k, ties=ties)
            for metrics in ("standard", "reference")
            for candidates in ("rated", "catalogue")
            for k in ((10,), (5, 10), (10, 5))
            for ties in ("expected", "optimistic")
        ]
        configs.append(Config(relevance_threshold=3.0))
        names = {evaluate.name(config) for config in configs}
        assert len(names) == len(configs)
        assert all(name == name.strip() and "/" not in name for name in names)


class TestAnotherReading:
    @pytest.fixture
    def copy(self, two_seeds, tmp_path):
        return shutil.copytree(two_seeds.workdir, tmp_path / "copy")

    @pytest.mark.parametrize(("argument", "name"), READINGS.items())
    def test_it_is_written_below_the_run_and_nothing_else_is(
        self, copy, command, content, argument, name
    ):
        before = content(copy)
        outcome = command("evaluate", f"--workdir={copy}", argument)
        assert (outcome.code, outcome.err) == (0, "")
        folder = copy / "evaluations" / name
        assert f"written to {folder}" in outcome.out
        assert {path.name for path in folder.iterdir()} == FILES
        after = content(copy)
        new = {path for path in after if path not in before}
        assert new == {f"evaluations/{name}/{file}" for file in FILES}
        assert {path: after[path] for path in before} == before
        assert "The same figures" not in outcome.out
        self.check_reading(copy, folder, argument)

    def check_reading(self, copy, folder, argument):
        """It says how it was read, and can be loaded as a run."""
        found = ncf_jax.load_finished(folder)
        results, own = found.results, stored(copy)
        for same in ("data", "split", "rows", "users", "seeds", "model", "name"):
            assert results[same] == own[same]
        option, value = argument[2:].split("=")
        key, wanted = {
            "metrics": ("convention", value),
            "candidates": ("candidates", value),
            "k": ("ks", [int(k) for k in value.split(",") if option == "k"]),
            "ties": ("ties", value),
            "relevance_threshold": ("threshold", 3.5),
        }[option]
        assert results[key] == wanted != own[key]
        others = {"convention", "candidates", "ks", "ties", "threshold"} - {key}
        assert {n: results[n] for n in others} == {n: own[n] for n in others}
        for part in ("test", "valid"):  # stars are stars, however lists are read
            for metric in ("rmse", "mae", "r2"):
                figure = f"{part}/{metric}"
                values = results["metrics"][figure]["values"]
                assert values == own["metrics"][figure]["values"]
        assert found.timing["train_seconds"] > 0
        ndcg = f"test/ndcg@{results['k']}"
        value = found.per_user.values[ndcg.split("/")[1]]
        wanted = results["metrics"][ndcg]["values"]
        np.testing.assert_allclose(np.nanmean(value, axis=1), wanted, atol=1e-6)

    def test_it_finds_what_training_with_that_reading_finds(
        self, copy, command, tmp_path, cache_dir
    ):
        asked = dict(metrics="reference", candidates="catalogue", k=(5, 10))
        trained = train_quietly(
            tmp_path / "trained", cache_dir, num_seeds=2, epochs=2, **asked
        )
        command(
            "evaluate",
            f"--workdir={copy}",
            "--metrics=reference",
            "--candidates=catalogue",
            "--k=5,10",
        )
        found = stored(copy / "evaluations" / "reference-catalogue-k5-10")
        wanted = stored(trained.workdir)
        assert found["metrics"] == wanted["metrics"]
        assert found["warnings"] == wanted["warnings"]
        own = stored(copy)["metrics"]["test/ndcg@10"]
        assert found["metrics"]["test/ndcg@10"]["values"] != own["values"], "control"

    @pytest.mark.parametrize(
        "arguments",
        [
            ["--metrics=standard"],
            ["--candidates=rated", "--ties=expected"],
            ["--k=10", "--relevance_threshold=4"],
        ],
    )
    def test_asking_for_the_runs_own_reading_writes_nothing(
        self, two_seeds, command, content, arguments
    ):
        before = content(two_seeds.workdir)
        outcome = command("evaluate", f"--workdir={two_seeds.workdir}", *arguments)
        assert "The same figures as in metrics.json" in outcome.out
        assert content(two_seeds.workdir) == before

    def test_again_it_is_the_same_but_for_the_seconds(self, copy, command, content):
        folder = copy / "evaluations" / "standard-rated-k5"
        found = []
        for _ in range(2):
            assert command("evaluate", f"--workdir={copy}", "--k=5").code == 0
            found.append(content(folder))
            del found[-1]["timing.json"]
        assert found[0] == found[1]

    def test_json_is_printed_alone_and_written_too(self, copy, command):
        outcome = command("evaluate", f"--workdir={copy}", "--k=5", "--format=json")
        printed = json.loads(outcome.out)
        assert printed["ks"] == [5]
        assert printed == stored(copy / "evaluations" / "standard-rated-k5")

    def test_a_workdir_that_cannot_be_written_is_one_sentence(self, copy, command):
        (copy / "evaluations").write_text("a file in its place")
        sentence = command("evaluate", f"--workdir={copy}", "--k=5").sentence(4)
        assert "cannot be made or opened (Not a directory)" in sentence
        assert (copy / "evaluations").read_text() == "a file in its place"

    def test_it_is_not_finished_before_its_metrics_are_there(
        self, copy, command, content
    ):
        folder = copy / "evaluations" / "standard-rated-k5"
        (folder / ".timing.json.partial").mkdir(parents=True)
        command("evaluate", f"--workdir={copy}", "--k=5").sentence(4)
        assert "metrics.json" not in content(folder)


class TestRefused:
    def test_a_workdir_is_required(self, command):
        assert "--workdir is required" in command("evaluate").sentence(2)

    @pytest.mark.parametrize("name", ["missing", "."])
    def test_what_is_not_a_run_folder_is_named(self, command, tmp_path, name):
        sentence = command("evaluate", f"--workdir={tmp_path / name}").sentence(4)
        assert "is not a run folder" in sentence
        assert str(tmp_path / name) in sentence
        assert list(tmp_path.iterdir()) == []

    def test_results_of_another_version_are_refused(self, copy, command):
        found = stored(copy)
        del found["format"]
        (copy / "metrics.json").write_text(json.dumps(found))
        sentence = command("evaluate", f"--workdir={copy}").sentence(4)
        assert "metrics.json is of another version" in sentence

    def test_a_run_without_a_checkpoint_says_so(self, copy, command, content):
        shutil.rmtree(copy / "state")
        (copy / "metrics.json").unlink()
        before = content(copy)
        sentence = command("evaluate", f"--workdir={copy}").sentence(4)
        assert "has no checkpoint yet" in sentence
        assert content(copy) == before

    def test_a_run_of_another_library_has_no_weights_and_says_so(self, copy, command):
        shutil.rmtree(copy / "state")
        path = copy / "metrics.json"
        found = stored(copy) | {"program": "experiments.peers"}
        path.write_text(json.dumps(found))
        sentence = command("evaluate", f"--workdir={copy}").sentence(4)
        assert "is of another library's model, whose weights are not kept" in sentence
        # The control: our own, whose checkpoints were taken away, is not called so.
        path.write_text(json.dumps(found | {"program": "experiments.train"}))
        sentence = command("evaluate", f"--workdir={copy}").sentence(4)
        assert "another library" not in sentence

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
