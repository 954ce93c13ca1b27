"""The end of every run, ours and peers' alike.

Held here: everything is written from one evaluation, and metrics.json last, so that a
run that lacks a file is not finished; what a configuration says of judging is what is
done; cut-offs, candidates and splits reach the files of a run by their flags; a model
whose scores are no stars, one without epochs, and a split without validation rows end
as others do.
"""

import dataclasses
import json
import math
import sys

import jax.numpy as jnp
import numpy as np
import pytest

import ncf_jax
from experiments import finish, folder
from ncf_jax import report, trackers
from ncf_jax.config import Config, JudgeConfig
from ncf_jax.data import splits
from ncf_jax.errors import RunError
from ncf_jax.judge import evaluate_scores
from ncf_jax.lists import popularity
from tests.experiments import conftest
from tests.experiments.test_train import FILES, results_of
from tests.test_results import HISTORY, guesses
from tests.test_trackers import of_history, of_results, scalars

TINY = JudgeConfig(**conftest.WORLD)
# What `finish.write` leaves; the rest of a run folder is there before.
ENDING = FILES - {"run.flags", "environment.json", "state"}


def judged_by(dataset, split, config=TINY, **changes):
    """A model that knows the truth but for noise, as its judges see it."""
    seeds = range(2)

    def score(users):
        shape = len(seeds), len(users), dataset.num_items
        rng = np.random.default_rng(np.asarray(users).tolist())
        return jnp.asarray(rng.normal(3, 1, shape), jnp.float32)

    def judge(rows):
        return evaluate_scores(
            guesses(dataset, rows),
            dataset,
            rows,
            catalogue=score,
            stars=changes.get("stars", True),
            **finish.how(config, split),
        )

    given = dict(
        name="guess",
        title="A guess",
        judge=judge,
        score=score,
        seeds=seeds,
        train_seconds=1.5,
    )
    return finish.Judged(**given | changes)


@pytest.fixture
def no_page(monkeypatch):
    """Pages have tests of their own, and take their time."""
    monkeypatch.setattr(finish.pages, "of_run", lambda *_, **__: "<!doctype html>")


@pytest.fixture
def write(tiny_dataset, tiny_split, no_page, tmp_path):
    def run(workdir=tmp_path, config=TINY, split=tiny_split, judged=None, **changes):
        return finish.write(
            workdir,
            judged=judged or judged_by(tiny_dataset, split, config),
            config=config,
            dataset=tiny_dataset,
            split=split,
            **dict(
                program="experiments.peers",
                baselines={},
                flags_text="--seed=0\n",
                history=HISTORY,
            )
            | changes,
        )

    return run


class TestHow:
    def test_a_configuration_is_what_its_names_say(self, tiny_split):
        config = JudgeConfig(
            metrics="graded",
            candidates="catalogue",
            k=(5, 10),
            ties="optimistic",
            relevance_threshold=3.5,
        )
        found = finish.how(config, tiny_split)
        assert found.pop("train") is tiny_split.train
        assert found == dict(
            metrics="graded",
            candidates="catalogue",
            k=(5, 10),
            ties="optimistic",
            threshold=3.5,
            clip=False,
        )

    @pytest.mark.parametrize(
        "change",
        [
            dict(ties="pessimistic"),
            dict(relevance_threshold=2.0),
        ],
        ids=str,
    )
    def test_each_option_of_judging_changes_what_is_found(
        self, change, tiny_dataset, tiny_split
    ):
        # With scores in whole stars, so that ties matter.
        whole = np.round(guesses(tiny_dataset, tiny_split.test))

        def found(config):
            judged = judged_by(tiny_dataset, tiny_split, config)
            return evaluate_scores(
                whole,
                tiny_dataset,
                tiny_split.test,
                catalogue=judged.score,
                **finish.how(config, tiny_split),
            ).metrics

        one, other = found(TINY), found(dataclasses.replace(TINY, **change))
        assert {n: s.values for n, s in one.items()} != {
            n: s.values for n, s in other.items()
        }
        for name in ("rmse", "mae", "r2"):
            assert one[name] == other[name], "ratings are judged in one way"

    def test_what_options_share_is_taken_and_no_more(self):
        config = Config(**conftest.WORLD, seed=3, epochs=7, k=(5, 10), metrics="graded")
        shared = finish.of_options(config, JudgeConfig)
        assert set(shared) == {field.name for field in dataclasses.fields(JudgeConfig)}
        assert JudgeConfig(**shared).k == (5, 10)
        assert Config(**shared) == Config(**conftest.WORLD, k=(5, 10), metrics="graded")


class TestAbout:
    def about(self, dataset, split, config=TINY, **changes):
        judged = judged_by(dataset, split, config, **changes)
        return finish.about("experiments.peers", judged, config, dataset, split)

    def test_it_says_what_was_judged_and_how(self, tiny_dataset, tiny_split):
        config = dataclasses.replace(
            TINY, metrics="rectools", ties="optimistic", relevance_threshold=3.0, k=7
        )
        found = self.about(tiny_dataset, tiny_split, config)
        assert found._replace(warnings=()) == (
            "experiments.peers",
            "guess",
            "A guess",
            range(2),
            (7,),
            "rectools",
            "rated",
            "optimistic",
            3.0,
            splits.LIMITS["user_random"],
            (),
            1,
        )

    def test_an_ensemble_is_told_by_its_members(self, tiny_dataset, tiny_split):
        config = Config(**conftest.WORLD, ensemble=3)
        assert self.about(tiny_dataset, tiny_split, config).members == 3

    def test_a_cut_off_given_twice_is_named_once(self, tiny_dataset, tiny_split):
        config = dataclasses.replace(TINY, k=(10, 5, 10, 5))
        assert self.about(tiny_dataset, tiny_split, config).ks == (10, 5)

    @pytest.mark.parametrize(
        ("options", "changes", "said"),
        [
            ({}, {}, "the filters count all ratings"),
            ({"min_item_ratings": 1}, {}, "the filters count all ratings"),
            ({"min_user_ratings": 1}, {}, "the filters count all ratings"),
            ({}, {"uses_tags": True}, "tag features are made of all tags"),
            ({"candidates": "catalogue"}, {}, "Candidates are all items"),
        ],
    )
    def test_each_leak_is_warned_of(self, tiny_dataset, options, changes, said):
        config = dataclasses.replace(TINY, split="global_time", **options)
        split = splits.global_time(tiny_dataset)
        found = self.about(tiny_dataset, split, config, **changes).warnings
        assert [w for w in found if said in w]
        # The control: a forecast of all rows by a model that sees no tags.
        clean = dict(min_item_ratings=1, min_user_ratings=1, candidates="rated")
        config = dataclasses.replace(config, **clean)
        found = self.about(tiny_dataset, split, config).warnings
        assert not [w for w in found if said in w]


class TestEvaluate:
    def test_both_parts_are_judged_and_the_test_is_timed(
        self, tiny_dataset, tiny_split, monkeypatch
    ):
        clock = iter([100.0, 102.5])
        monkeypatch.setattr(finish.time, "perf_counter", lambda: next(clock))
        asked = []
        judged = judged_by(tiny_dataset, tiny_split, judge=asked.append)
        found, seconds = finish.evaluate(judged, tiny_split)
        assert list(found) == ["test", "valid"]
        assert [
            rows is part
            for rows, part in zip(
                asked, (tiny_split.test, tiny_split.valid), strict=True
            )
        ] == [True, True]
        assert seconds == 2.5

    def test_without_validation_rows_they_are_not_judged(
        self, tiny_dataset, tiny_split
    ):
        alone = dataclasses.replace(tiny_split, valid=tiny_split.valid[:0])
        judged = judged_by(tiny_dataset, alone, judge=len)
        assert finish.evaluate(judged, alone)[0] == {"test": len(alone.test)}


class TestWrite:
    def test_it_leaves_the_ending_of_a_run_and_returns_its_results(
        self, write, tmp_path
    ):
        found = write()
        assert {path.name for path in tmp_path.iterdir()} == ENDING
        assert json.loads((tmp_path / "metrics.json").read_text()) == found
        loaded = ncf_jax.load_finished(tmp_path)
        assert loaded.results == found
        assert loaded.history == HISTORY
        assert loaded.timing["train_seconds"] == 1.5
        assert (found["program"], found["name"]) == ("experiments.peers", "guess")

    def test_the_page_is_there_and_is_written_from_the_same_results(
        self, write, tmp_path, monkeypatch
    ):
        got = {}

        def page(workdir, results, **rest):
            got.update(rest, workdir=workdir, results=results)
            return "<!doctype html>"

        monkeypatch.setattr(finish.pages, "of_run", page)
        found = write()
        assert got["results"] is found
        assert got["history"] == HISTORY
        assert got["flags_text"] == "--seed=0\n"
        stored = json.loads((tmp_path / "samples.json").read_text())
        assert got["samples"] == stored
        assert (tmp_path / "report.html").read_text() == "<!doctype html>"

    @pytest.mark.parametrize("name", sorted(ENDING))
    def test_a_run_that_lacks_a_file_is_not_finished(self, write, tmp_path, name):
        # metrics.json is the mark, so whatever fails must come before it.
        (tmp_path / f".{name}.partial").mkdir()
        with pytest.raises(RunError, match="could not be written") as error:
            write()
        assert name in str(error.value)
        assert not (tmp_path / "metrics.json").exists()
        assert report.read_results(tmp_path) is None

    def test_a_page_that_fails_leaves_the_run_unfinished(
        self, write, tmp_path, monkeypatch
    ):
        def fails(*_, **__):
            raise KeyboardInterrupt

        monkeypatch.setattr(finish.pages, "of_run", fails)
        with pytest.raises(KeyboardInterrupt):
            write()
        assert not (tmp_path / "metrics.json").exists()

    def test_results_that_json_has_no_words_for_leave_nothing(
        self, write, tmp_path, tiny_dataset, tiny_split
    ):
        judged = judged_by(tiny_dataset, tiny_split)
        with pytest.raises(TypeError):
            write(judged=judged._replace(title=object()))
        assert list(tmp_path.iterdir()) == []

    def test_it_writes_the_same_again(self, write, tmp_path):
        one, other = tmp_path / "one", tmp_path / "other"
        for workdir in (one, other):
            write(workdir)
        for name in ENDING - {"timing.json"}:
            assert (one / name).read_bytes() == (other / name).read_bytes(), name

    def test_a_model_without_epochs_has_no_curves(self, write, tmp_path):
        write(history=())
        left = {path.name for path in tmp_path.iterdir()}
        assert left == ENDING - {"history.csv", "curves.png"}
        assert ncf_jax.load_finished(tmp_path).history == []

    def test_without_validation_rows_it_ends_likewise(
        self, write, tmp_path, tiny_split
    ):
        alone = dataclasses.replace(tiny_split, valid=tiny_split.valid[:0])
        found = write(split=alone)
        assert list(found["rows"]) == ["test"]
        assert not [key for key in found["metrics"] if key.startswith("valid")]
        stored = report.read_npz(tmp_path / "predictions.npz")
        assert set(stored) == {"test"}
        ncf_jax.load_finished(tmp_path)

    def test_scores_that_are_no_stars_are_told_as_such(
        self, write, tmp_path, tiny_dataset, tiny_split
    ):
        judged = judged_by(tiny_dataset, tiny_split, stars=False)
        hundred = judged._replace(score=lambda users: 100 * judged.score(users))
        found = write(judged=hundred)
        rmse = found["metrics"]["test/rmse"]
        assert (rmse["mean"], rmse["n_used"]) == (None, 0)
        assert "no stars" in rmse["definition"]
        assert found["metrics"]["test/ndcg@10"]["mean"] > 0
        samples = json.loads((tmp_path / "samples.json").read_text())
        assert samples[0]["recommended"][0]["score"] > 5
        loaded = ncf_jax.load_finished(tmp_path)
        assert loaded.results == found

    def test_every_cut_off_is_in_every_file(self, write, tmp_path):
        config = dataclasses.replace(TINY, k=(5, 10, 20))
        found = write(config=config)
        assert (found["k"], found["ks"]) == (5, [5, 10, 20])
        users = ncf_jax.load_finished(tmp_path).per_user
        for k in (5, 10, 20):
            assert f"test/ndcg@{k}" in found["metrics"]
            assert f"ndcg@{k}" in users.values
        header = (tmp_path / "per_user.csv").read_text().splitlines()[0]
        assert header.startswith("userId,n_test,rmse,precision@5,ndcg@5,recall@5,")
        assert "Recall@5" in (tmp_path / "metrics.csv").read_text()

    def test_a_cut_off_given_twice_counts_once(self, write, tmp_path):
        found = [
            write(tmp_path / str(n), dataclasses.replace(TINY, k=k))
            for n, k in enumerate([(5, 5), (5,)])
        ]
        assert found[0] == found[1]

    def test_each_baseline_is_tested_against_the_run_on_the_same_users(
        self, write, tiny_dataset, tiny_split
    ):
        config = dataclasses.replace(TINY, k=(5, 10))
        worse = judged_by(tiny_dataset, tiny_split, config).judge(tiny_split.test)
        rows = tiny_split.test
        far = evaluate_scores(
            guesses(tiny_dataset, rows) + 2,
            tiny_dataset,
            rows,
            **finish.how(config, tiny_split),
        )
        baselines = {"Itself": worse, "Two stars off": far}
        found = write(config=config, baselines=baselines)["tests"]
        assert [(t["a"], t["b"], t["metric"]) for t in found] == [
            ("A guess", title, metric)
            for title in baselines
            for metric in ("rmse", "ndcg@5")
        ]
        itself, _, off, _ = found
        assert not itself["significant"]
        assert itself["difference"] == 0
        assert off["significant"]
        assert off["better"] == "A guess"
        assert json.loads(report.dumps(found)) == found

    def test_without_baselines_there_is_nothing_to_test(self, write):
        assert write()["tests"] == []

    def test_event_files_end_with_the_figures(self, write, tmp_path):
        folder = tmp_path / "tensorboard"
        board = trackers.TensorBoard(folder, HISTORY)
        found = write(tmp_path / "run", tensorboard=board)
        assert scalars(folder) == of_history(HISTORY) + of_results(found, 3)

    def test_the_environment_is_told_beside_it(
        self, tmp_path, tiny_dataset, tiny_split
    ):
        finish.environment(tmp_path, tiny_dataset, tiny_split, ("pytest",))
        found = json.loads((tmp_path / "environment.json").read_text())
        assert found["packages"]["pytest"] == pytest.__version__
        assert found["split"] == tiny_split.fingerprint


def test_novelty_is_of_what_was_trained_on(tiny_dataset, tiny_split):
    # A canary against leakage: rows that judge make no item better known.
    count = np.bincount(
        tiny_dataset.item[tiny_split.train], minlength=tiny_dataset.num_items
    )
    information = -np.log2(np.maximum(count, 1) / tiny_dataset.num_users)
    judged = judged_by(tiny_dataset, tiny_split, dataclasses.replace(TINY, k=50))
    found = judged.judge(tiny_split.test)
    # With all of a user's rows in the list, it is their mean.
    user, item = (a[tiny_split.test] for a in (tiny_dataset.user, tiny_dataset.item))
    for place, one in enumerate(found.user):
        value = found.per_user["novelty@50"][0, place]
        assert math.isclose(value, information[item[user == one]].mean(), rel_tol=1e-5)
    everything = popularity(tiny_dataset, np.arange(len(tiny_dataset.user)))
    assert not np.allclose(everything.information, information), "control"


class TestTensorBoardOfARun:
    def test_its_files_hold_the_history_and_the_figures(self, command, tiny, tmp_path):
        outcome = command("train", *tiny(tmp_path, epochs=2), "--tensorboard")
        assert (outcome.code, outcome.err) == (0, "")
        assert {path.name for path in tmp_path.iterdir()} == FILES | {"tensorboard"}
        history = report.read_history(tmp_path)
        results = report.read_results(tmp_path)
        wanted = of_history(history) + of_results(results, 2)
        assert scalars(tmp_path / "tensorboard") == wanted

    def test_without_tensorboardx_it_is_one_sentence_and_trains_nothing(
        self, command, tiny, tmp_path, monkeypatch
    ):
        monkeypatch.setitem(sys.modules, "tensorboardX", None)
        outcome = command("train", *tiny(tmp_path), "--tensorboard")
        assert "pip install -e '.[tensorboard]'" in outcome.sentence(4)
        assert "train loss" not in outcome.out
        # And without the flag, the same folder would be gone on with.
        folder.check(tmp_path, Config(**conftest.TINY))


class TestModels:
    @pytest.fixture
    def trained(self, command, cache_dir, tmp_path, no_page):
        def run(**options):
            world = dict(
                synthetic_users=40, synthetic_items=60, synthetic_ratings_per_user=25
            )
            values = world | dict(cache_dir=cache_dir, workdir=tmp_path) | options
            outcome = command("train", *(f"--{k}={v}" for k, v in values.items()))
            assert (outcome.code, outcome.err) == (0, "")
            return json.loads((values["workdir"] / "metrics.json").read_text())

        return run

    @pytest.mark.parametrize(
        ("model", "title"),
        [
            ("bias", "User + item bias"),
            ("item_mean", "Item mean, shrunk"),
            ("global_mean", "Global mean"),
        ],
    )
    def test_each_baseline_trains_to_its_row_beside_the_network(
        self, trained, finished, model, title
    ):
        # As a model of its own, and as a row under another, it is the same.
        found = trained(model=model)
        beside = results_of(finished)["baselines"][title]
        assert found["model"] == title
        for key, metric in beside.items():
            assert found["metrics"][key]["mean"] == metric["mean"]
        assert title not in found["baselines"]
        assert len(found["baselines"]) == 2

    def test_the_global_mean_is_the_mean_of_the_training_rows(self, trained, tmp_path):
        found = trained(model="global_mean")
        run = ncf_jax.load_run(str(tmp_path))
        stars = run.dataset.rating.astype(np.float64)
        truth = stars[run.split.test]
        error = truth - stars[run.split.train].mean()
        rmse = math.sqrt(np.mean(error**2))
        assert math.isclose(found["metrics"]["test/rmse"]["mean"], rmse, rel_tol=1e-5)
        mae = np.mean(np.abs(error))
        assert math.isclose(found["metrics"]["test/mae"]["mean"], mae, rel_tol=1e-5)

    def test_several_cut_offs_name_their_columns_by_the_first(
        self, trained, finished, tmp_path
    ):
        several = trained(model="bias", k="3,10")
        assert several["ks"] == [3, 10]
        header = (tmp_path / "metrics.csv").read_text().splitlines()[0]
        assert header.endswith("Precision@3,NDCG@3,Recall@3")
        header = (tmp_path / "per_user.csv").read_text().splitlines()[0]
        assert header.startswith("userId,n_test,rmse,precision@3,ndcg@3,recall@3,")
        # Each is what it is alone; users are drawn alike, whatever else is measured.
        alone = results_of(finished)["baselines"]["User + item bias"]
        for key, metric in alone.items():
            beside = dict(several["metrics"][key])
            assert beside.pop("ci95") == pytest.approx(metric["ci95"], rel=1e-6)
            assert beside.items() <= metric.items(), key

    def test_all_items_are_ranked_on_request(self, trained, tmp_path):
        found = trained(model="bias", candidates="catalogue", k="10,3")
        assert found["candidates"] == "catalogue"
        coverage = found["metrics"]["test/coverage@10"]
        assert coverage["candidates"] == "catalogue"
        assert coverage["ci95"] == [None, None]
        assert 0 < found["metrics"]["test/coverage@3"]["mean"] < coverage["mean"] <= 1
        (warning,) = [w for w in found["warnings"] if w.startswith("Candidates")]
        assert "counts as not relevant" in warning
        loaded = ncf_jax.load_finished(tmp_path)
        assert "coverage@10" not in loaded.per_user.values, "it is nobody's own"

    @pytest.mark.parametrize("split", [n for n in splits.SPLITS if n != "user_random"])
    def test_another_split_is_trained_on_and_told(self, trained, tmp_path, split):
        found = trained(model="bias", split=split)
        assert found["split_definition"].startswith(split)
        assert found["split_limits"] == splits.LIMITS[split]
        run = ncf_jax.load_run(str(tmp_path))
        assert run.split.fingerprint == found["split"]
        wanted = splits.SPLITS[split](run.dataset, 42)
        np.testing.assert_array_equal(run.split.test, wanted.test)
        assert found["rows"]["test"] == len(wanted.test)
        assert found["warnings"] == list(
            splits.warnings(run.dataset, wanted, filtered=True)
        )
        leaks = [w for w in found["warnings"] if "filters count all" in w]
        assert len(leaks) == (split == "global_time")
