"""New users judged after their first ratings: whose rows are given and whose are asked,
what is refused, and that figures are written as any other reading is."""

import dataclasses
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ncf_jax
from experiments import folded
from ncf_jax import RunError
from tests.experiments.conftest import train_quietly


@pytest.fixture(scope="module")
def cold(tmp_path_factory, cache_dir):
    folder = tmp_path_factory.mktemp("cold") / "run"
    return train_quietly(folder, cache_dir, split="cold_user", epochs=1).workdir


@pytest.fixture(scope="module")
def run(cold):
    return ncf_jax.load_run(str(cold))


class TestDivide:
    def test_each_new_user_gives_the_first_rows_in_time(self, run):
        dataset, given = run.dataset, folded.divide(run.dataset, run.split, 4)
        for name in ("test", "valid"):
            before, after = getattr(run.split, name), getattr(given, name)
            assert set(after) < set(before)
            for user in np.unique(dataset.user[before]):
                mine = before[dataset.user[before] == user]
                left = after[dataset.user[after] == user]
                first = np.setdiff1d(mine, left)
                assert len(first) == min(4, len(mine))
                if len(left):
                    assert dataset.time[first].max() <= dataset.time[left].min()
        parts = np.concatenate([given.train, given.valid, given.test])
        assert sorted(parts) == list(range(len(dataset.user)))
        assert given.fingerprint != run.split.fingerprint
        assert "fold_in 4" in given.definition

    def test_users_with_no_row_left_are_counted(self, run):
        user = run.dataset.user[run.split.test]
        count = np.bincount(user)
        number = int(np.median(count[count > 0]))
        given = folded.divide(run.dataset, run.split, number)
        gone = folded.left_out(run.dataset, run.split, given)["test"]
        assert gone == ((count > 0) & (count <= number)).sum() > 0

    def test_too_many_leave_nobody(self, run):
        with pytest.raises(RunError, match="smaller --fold_in"):
            folded.divide(run.dataset, run.split, 10_000)


class TestPredict:
    @staticmethod
    def score(user):
        """A number of its own for each pair, as of two seeds."""
        one = 1000 * np.asarray(user)[:, None] + np.arange(1000)
        return np.stack([one, -one])

    def test_each_row_gets_the_score_of_its_pair(self, run, monkeypatch):
        dataset = run.dataset
        rows = np.random.default_rng(0).permutation(len(dataset.user))[:200]
        wanted = 1000 * dataset.user[rows] + dataset.item[rows]
        asked = []

        def score(user):
            asked.append(len(user))
            return self.score(user)

        for most in (folded.AT_ONCE, 3):
            monkeypatch.setattr(folded, "AT_ONCE", most)
            found = folded.predict(score, dataset, rows)
            np.testing.assert_array_equal(found, [wanted, -wanted])
            assert max(asked[-5:]) <= most
        assert len(asked) > 10, "control: several blocks"


def test_networks_of_an_ensemble_are_averaged(run):
    given = folded.divide(run.dataset, run.split, 5)
    users = np.unique(run.dataset.user[given.test])[:2]
    other = jax.tree.map(lambda x: 1.1 * x, run.params)
    pair = jax.tree.map(lambda *x: jnp.concatenate(x), run.params, other)
    one, two = (
        folded.scorer(run._replace(params=params), given)(users)
        for params in (run.params, other)
    )
    for members, wanted in ((2, (one + two) / 2), (1, np.concatenate([one, two]))):
        config = dataclasses.replace(run.config, ensemble=members)
        both = run._replace(params=pair, config=config)
        found = folded.scorer(both, given)(users)
        assert found.shape == wanted.shape
        np.testing.assert_allclose(found, wanted, atol=2e-3)
    assert np.abs(one - two).max() > 0.05, "control: networks differ"


def test_only_the_given_rows_are_looked_at(run):
    # The canary: stars of the rows that are asked about are changed, then one given.
    given = folded.divide(run.dataset, run.split, 5)
    user = run.dataset.user[given.test[0]]
    asked = run.dataset.rating.copy()
    asked[given.test] = 5.5 - asked[given.test]
    first = np.setdiff1d(given.train, run.split.train)
    first = first[run.dataset.user[first] == user]
    told = run.dataset.rating.copy()
    told[first] = 5.5 - told[first]

    def score(rating):
        dataset = dataclasses.replace(run.dataset, rating=rating)
        return folded.scorer(run._replace(dataset=dataset), given)(np.array([user]))

    before = score(run.dataset.rating)
    np.testing.assert_array_equal(score(asked), before)
    assert np.abs(score(told) - before).max() > 0.01, "control"


def test_predictions_are_those_of_the_users_folded_in_alone(run):
    dataset, given = run.dataset, folded.divide(run.dataset, run.split, 5)
    found = folded.predict(folded.scorer(run, given), dataset, given.test)
    user = dataset.user[given.test[-1]]
    first = np.setdiff1d(run.split.test, given.test)
    first = first[dataset.user[first] == user]
    alone = ncf_jax.foldin.fold_in(
        *(run.model, run.params, dataset),
        *(dataset.item[first], dataset.rating[first]),
        train=run.split.train,
    )
    mine = dataset.user[given.test] == user
    items = dataset.item[given.test[mine]]
    np.testing.assert_allclose(found[:, mine], alone[:, items], atol=2e-3)
    none = np.zeros(0, np.int32), np.zeros(0, np.float32)
    stranger = ncf_jax.foldin.fold_in(run.model, run.params, dataset, *none)
    assert np.abs(found[:, mine] - stranger[:, items]).max() > 0.01, "control"


@pytest.mark.parametrize("candidates", ["rated", "catalogue"])
def test_it_is_printed_and_written_as_another_reading(
    cold, command, tmp_path, content, candidates
):
    copy = shutil.copytree(cold, tmp_path / "copy")
    before = content(copy)
    outcome = command(
        "evaluate", f"--workdir={copy}", "--fold_in=5", f"--candidates={candidates}"
    )
    assert (outcome.code, outcome.err) == (0, "")
    name = f"evaluations/fold-in-5-standard-{candidates}-k10"
    assert "5 folded in" in outcome.out
    assert "without fold-in" in outcome.out
    assert "folded in from 5 ratings each; left out" in outcome.out
    after = content(copy)
    assert all(path.startswith(name) for path in after if path not in before)
    assert {path: after[path] for path in before} == before
    found = ncf_jax.load_finished(copy / name).results
    own = json.loads((copy / "metrics.json").read_text())
    assert found["split"] != own["split"]
    assert found["rows"]["test"] == own["rows"]["test"] - 5 * own["users"]["test"]
    assert found["baselines"].keys() == {"without fold-in"}
    assert "have rated 5 items" in found["split_limits"]


def test_users_who_were_trained_on_are_refused(finished, command, content):
    before = content(finished.workdir)
    sentence = command(
        "evaluate", f"--workdir={finished.workdir}", "--fold_in=5"
    ).sentence(4)
    assert "have training rows: train with --split=cold_user" in sentence
    assert content(finished.workdir) == before


def test_a_negative_number_is_refused(cold, command):
    assert "--fold_in" in command(
        "evaluate", f"--workdir={cold}", "--fold_in=-1"
    ).sentence(2)
