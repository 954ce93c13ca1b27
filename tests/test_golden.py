"""Checkpoints of earlier releases load (R14), by one frozen run of each kind a release.

Held here: every folder below tests/golden gives the predictions it was frozen with, the
recommendations, and by `experiments.evaluate` the figures of its own metrics.json;
training goes on from its first checkpoint and ends in its second; this version has its
folders, small, whole and without a place on a machine; and a number that is not the
frozen one is noticed, wherever it is.
"""

import dataclasses
import json
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest

import ncf_jax
from experiments import evaluate
from ncf_jax import checkpoint
from ncf_jax.errors import RunError
from ncf_jax.learners import learner_of, state_like
from tests.conftest import ROOT
from tests.golden import make

FOLDERS = sorted(path.parent for path in make.HERE.glob("v*/*/run.flags"))
CLOSE = dict(rtol=0, atol=1e-6)


@pytest.fixture(params=FOLDERS, ids=lambda p: f"{p.parent.name}-{p.name}")
def folder(request, tmp_path):
    return shutil.copytree(request.param, tmp_path / "run")


def frozen(folder):
    return json.loads((folder / "expected.json").read_text())


def check_predictions(run, wanted):
    found = make.expected(run)
    for name in ("users", "movies"):
        assert found[name] == wanted[name]
    np.testing.assert_allclose(found["stars"], wanted["stars"], **CLOSE)
    listed, known = found["recommended"], wanted["recommended"]
    assert (listed["user"], listed["movies"]) == (known["user"], known["movies"])
    np.testing.assert_allclose(listed["stars"], known["stars"], **CLOSE)


def numbers(value, name=""):
    """Every leaf of a JSON value by name."""
    if isinstance(value, dict):
        pairs = value.items()
    elif isinstance(value, list):
        pairs = enumerate(value)
    else:
        return {name: value}
    return {k: v for key, x in pairs for k, v in numbers(x, f"{name}/{key}").items()}


def check_figures(found, wanted):
    found, wanted = numbers(found), numbers(wanted)
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        if isinstance(value, float):
            assert found[name] == pytest.approx(value, rel=0, abs=1e-6), name
        else:
            assert found[name] == value, name


def evaluated(folder, capsys):
    capsys.readouterr()
    options = evaluate.EvaluateOptions(workdir=str(folder), format="json")
    evaluate.main(options)
    return json.loads(capsys.readouterr().out)["metrics"]


def resumed(folder, start):
    """Parameters after the last epoch, trained on from the first one's state."""
    run = ncf_jax.load_run(str(folder))
    config, dataset = run.config, run.dataset
    learner = learner_of(
        config, run.model, dataset.features, num_rows=len(run.split.train)
    )
    number = config.num_seeds * config.ensemble
    state = checkpoint.load_state(folder, 1, state_like(learner, number))
    state = ncf_jax.fit(
        learner,
        dataset.interactions(run.split.train),
        dataset.interactions(run.split.valid),
        epochs=config.epochs,
        seeds=range(config.seed, config.seed + number),
        start=(1, start(state)),
    )
    pairs = zip(*map(jax.tree.leaves, (state.params, run.params)), strict=True)
    return max(float(np.max(np.abs(np.asarray(a) - b))) for a, b in pairs)


class TestEachFrozenRun:
    def test_it_predicts_what_it_did(self, folder):
        check_predictions(ncf_jax.load_run(str(folder)), frozen(folder))

    def test_another_prediction_is_noticed(self, folder):
        run, wanted = ncf_jax.load_run(str(folder)), frozen(folder)
        wanted["stars"][0][-1] += 1e-5
        with pytest.raises(AssertionError, match="Mismatched elements: 1 /"):
            check_predictions(run, wanted)

    def test_another_parameter_is_noticed(self, folder):
        run = ncf_jax.load_run(str(folder))
        bias = jax.tree.map(np.array, run.params)
        bias["output_layer"]["bias"] += 1e-5
        with pytest.raises(AssertionError, match="Not equal to tolerance"):
            check_predictions(run._replace(params=bias), frozen(folder))

    def test_it_is_judged_as_it_was(self, folder, capsys):
        wanted = json.loads((folder / "metrics.json").read_text())["metrics"]
        check_figures(evaluated(folder, capsys), wanted)

    def test_another_figure_is_noticed(self, folder, capsys):
        wanted = json.loads((folder / "metrics.json").read_text())["metrics"]
        found = evaluated(folder, capsys)
        wanted["test/rmse"]["values"][0] += 1e-5
        with pytest.raises(AssertionError, match="/test/rmse/values/0"):
            check_figures(found, wanted)

    def test_what_it_found_out_is_read(self, folder):
        found = ncf_jax.load_finished(str(folder))
        assert len(found.history) == ncf_jax.load_run(str(folder)).config.epochs

    def test_training_goes_on_from_it(self, folder):
        assert resumed(folder, start=lambda state: state) < 1e-5

    def test_it_would_not_from_another_state(self, folder):
        def start(state):
            return dataclasses.replace(
                state, params=jax.tree.map(lambda x: x + 1e-3, state.params)
            )

        assert resumed(folder, start) > 1e-4

    def test_a_changed_byte_of_its_state_is_noticed(self, folder):
        state = folder / "state" / "2" / "state"
        largest = max(state.glob("d/*"), key=lambda path: path.stat().st_size)
        content = bytearray(largest.read_bytes())
        content[len(content) // 2] ^= 1
        largest.write_bytes(content)
        with pytest.raises(RunError, match="is damaged"):
            ncf_jax.load_run(str(folder))


class TestTheFolders:
    def test_this_version_has_each_of_its_runs(self):
        version = f"v{ncf_jax.__version__}"
        here = {path.name for path in FOLDERS if path.parent.name == version}
        assert here == set(make.RUNS)

    def test_both_networks_are_there_with_several_seeds_and_with_time(self):
        configs = [ncf_jax.load_run(str(folder)).config for folder in FOLDERS]
        assert {"ncf", "vncf"} <= {config.model for config in configs}
        assert max(config.num_seeds for config in configs) > 1
        assert any(config.time != "none" for config in configs)

    @pytest.mark.parametrize("folder", FOLDERS, ids=str)
    def test_they_are_small(self, folder):
        sizes = [p.stat().st_size for p in folder.rglob("*") if p.is_file()]
        assert sum(sizes) < 150 * 1024
        assert max(sizes) < 100 * 1024

    @pytest.mark.parametrize("folder", FOLDERS, ids=str)
    def test_they_name_no_place_on_a_machine(self, folder):
        words = [f"/{name}/".encode() for name in ("work", "root", "tmp", "home")]
        for path in folder.rglob("*"):
            found = path.read_bytes() if path.is_file() else b""
            assert not [word for word in words if word in found], path

    def test_a_frozen_release_is_never_made_again(self):
        made = subprocess.run(
            [sys.executable, "-m", "tests.golden.make"],
            capture_output=True,
            text=True,
            cwd=ROOT,
        )
        assert made.returncode == 1
        assert "is there already, and is never made again" in made.stderr
