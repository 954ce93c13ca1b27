"""New users judged after their first ratings: whose rows are given and whose are asked,
what is refused, and that figures are written as any other reading is."""

import json
import shutil

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
    wanted = alone[:, dataset.item[given.test[mine]]]
    np.testing.assert_allclose(found[:, mine], wanted, atol=2e-3)


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
