"""`python -m experiments.peers` leaves an ordinary run folder, whatever the library:
judged on our rows by our metrics, compared and reported on like a run of ours. The
library here is three lines of NumPy, so nothing has to be installed."""

import json
import sys

import numpy as np
import pytest

import ncf_jax
from experiments import flags
from experiments.peers import __main__ as peers
from experiments.peers.recommenders import PEERS, Fitted, to_stars
from ncf_jax.config import Config
from tests.conftest import TINY

WORLD = [f"--{name}={value}" for name, value in TINY.items()]


def item_means(dataset, split, seed):
    """A user likes what all like, and `seed` thousandths of a star more."""
    train = split.train
    total = np.bincount(
        dataset.item[train], dataset.rating[train], minlength=dataset.num_items
    )
    count = np.bincount(dataset.item[train], minlength=dataset.num_items)
    mean = total / np.maximum(count, 1) + seed / 1000
    return Fitted(
        rate=lambda user, item: to_stars(mean[item]),
        catalogue=lambda users: to_stars(np.tile(mean, (len(users), 1))),
    )


@pytest.fixture
def run(monkeypatch, tmp_path, capsys):
    """Runs the command with `item_means` for the library; gives its folder."""

    def with_peer(*arguments, name="surprise-svd", **instead):
        peer = PEERS[name]._replace(fit=item_means, package="numpy", **instead)
        monkeypatch.setitem(PEERS, name, peer)
        workdir = tmp_path / "run"
        given = ["peers", f"--peer={name}", *WORLD, f"--workdir={workdir}", *arguments]
        monkeypatch.setattr(sys, "argv", given)
        flags.run(peers.main, peers.PeerOptions, peers.__doc__)
        return workdir, capsys.readouterr().out

    return with_peer


def figure(results, name):
    return results["metrics"][f"test/{name}"]["mean"]


def test_its_figures_are_those_of_its_predictions(run, tiny_dataset, tiny_split):
    workdir, out = run()
    finished = ncf_jax.load_finished(workdir)
    fitted = item_means(tiny_dataset, tiny_split, 0)
    rows = tiny_split.test
    stars = fitted.rate(tiny_dataset.user[rows], tiny_dataset.item[rows])
    rmse = np.sqrt(np.mean((stars - tiny_dataset.rating[rows]) ** 2))
    assert figure(finished.results, "rmse") == pytest.approx(rmse, abs=1e-6)
    assert "SVD (Surprise)" in out
    assert f"{rmse:.4f}" in out


def test_the_folder_holds_what_a_run_of_ours_holds(run):
    workdir, _ = run("--k=5,10")
    names = {path.name for path in workdir.iterdir()}
    assert names >= {
        "run.flags",
        "environment.json",
        "metrics.json",
        "metrics.csv",
        "metrics.png",
        "per_user.csv",
        "per_user.npz",
        "predictions.npz",
        "samples.json",
        "timing.json",
        "events.jsonl",
        "report.html",
        "state",
    }
    results = json.loads((workdir / "metrics.json").read_text())
    assert results["program"] == "experiments.peers"
    assert results["ks"] == [5, 10]
    assert "clipped to 0.5-5" in results["metrics"]["test/rmse"]["definition"]
    environment = json.loads((workdir / "environment.json").read_text())
    assert environment["packages"]["numpy"] == np.__version__
    assert environment["data"] == results["data"]


def test_it_is_compared_and_reported_on_like_a_run_of_ours(run, tmp_path, command):
    workdir, _ = run()
    ours = tmp_path / "ours"
    command("train", "--model=item_mean", *WORLD, f"--workdir={ours}")
    runs = [ncf_jax.load_finished(each) for each in (ours, workdir)]
    found = ncf_jax.compare(runs, metrics=["rmse", "ndcg@10"])
    assert [row.label for row in found.rows] == ["Item mean, shrunk", "SVD (Surprise)"]
    for row, each in zip(found.rows, runs, strict=True):
        assert row.figures["rmse"].mean == figure(each.results, "rmse")
    from ncf_jax import pages

    page = pages.of_folder(str(workdir))
    assert page == (workdir / "report.html").read_text()
    assert f"{figure(runs[1].results, 'rmse'):.4f}" in page


def test_seeds_are_trained_one_by_one(run):
    workdir, _ = run("--num_seeds=3", "--seed=4", seeded=True)
    results = ncf_jax.load_finished(workdir).results
    assert results["seeds"] == [4, 5, 6]
    assert len(set(results["metrics"]["test/rmse"]["values"])) == 3


def test_what_has_no_seed_is_trained_once(run):
    workdir, _ = run("--num_seeds=3", seeded=False)
    assert ncf_jax.load_finished(workdir).results["seeds"] == [0]


def test_scores_that_are_no_stars_have_no_rating_error(run):
    workdir, out = run(stars=False)
    results = ncf_jax.load_finished(workdir).results
    assert figure(results, "rmse") is None
    assert results["metrics"]["test/rmse"]["n_used"] == 0
    assert 0 < figure(results, "ndcg@10") < 1
    assert "–" in out


def test_the_whole_catalogue_is_ranked_where_it_is_asked_for(run):
    workdir, _ = run("--candidates=catalogue")
    results = ncf_jax.load_finished(workdir).results
    assert results["candidates"] == "catalogue"
    assert 0 < figure(results, "coverage@10") < 1


def test_a_finished_run_is_recalled_and_another_is_refused(run, capsys):
    workdir, _ = run()
    before = (workdir / "metrics.json").read_bytes()
    _, out = run()
    assert "is finished; nothing was trained" in out
    assert (workdir / "metrics.json").read_bytes() == before
    with pytest.raises(SystemExit) as stopped:
        run("--seed=1")
    assert stopped.value.code == 4
    assert "--seed: 0 there, 1 here" in capsys.readouterr().err


def test_its_flags_repeat_the_run(run, tmp_path, monkeypatch):
    workdir, _ = run("--k=7")
    again = tmp_path / "again"
    flagfile = workdir / "run.flags"
    monkeypatch.setattr(
        sys, "argv", ["peers", f"--flagfile={flagfile}", f"--workdir={again}"]
    )
    flags.run(peers.main, peers.PeerOptions, peers.__doc__)
    name = "metrics.json"
    assert (again / name).read_bytes() == (workdir / name).read_bytes()


def test_an_unknown_peer_is_told_with_the_nearest_name(run, capsys):
    with pytest.raises(SystemExit) as stopped:
        run("--peer=surprise-sdv")
    assert stopped.value.code == 2
    assert "Did you mean 'surprise-svd'?" in capsys.readouterr().err


def test_its_weights_are_not_ours_to_load(run):
    workdir, _ = run()
    with pytest.raises(ncf_jax.RunError, match="another library's model"):
        ncf_jax.load_run(str(workdir))


def test_a_peer_is_judged_as_our_options_say():
    judging = {"metrics", "candidates", "k", "ties", "relevance_threshold", "split"}
    assert judging <= set(flags.define(Config))
    assert judging | {"peer"} <= set(flags.define(peers.PeerOptions))
