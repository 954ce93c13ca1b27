"""An ensemble's spread, from the command to the page.

Held here: a run with an ensemble writes it, prints it and shows it; the page of the
folder is the page of the run; the folder is judged again to the same figures and is
compared with runs that have none, which know nothing of a spread.
"""

import json

import numpy as np
import pytest

from ncf_jax import report
from ncf_jax.compare import compare
from ncf_jax.errors import RunError
from ncf_jax.results import footnotes
from ncf_jax.runs import load_finished
from tests.experiments.conftest import train_quietly

SECTION = "How sure the ensemble is"


@pytest.fixture(scope="module")
def ensemble(tmp_path_factory, cache_dir):
    """Two ensembles of three tiny networks."""
    folder = tmp_path_factory.mktemp("ensemble") / "run"
    changes = dict(ensemble=3, num_seeds=2, epochs=2, model="ncf")
    return train_quietly(folder, cache_dir, **changes)


@pytest.fixture(scope="module")
def results(ensemble):
    return json.loads((ensemble.workdir / "metrics.json").read_text())


def test_it_is_written_with_the_figures_of_test_and_validation_rows(results):
    assert results["format"] == report.FORMAT
    assert set(results["spread"]) == {"test", "valid"}
    for part, found in results["spread"].items():
        assert found["members"] == 3
        assert found["rows"] == results["rows"][part]
        assert len(found["noise"]["values"]) == len(results["seeds"]) == 2
        assert 0 < found["mean_spread"]["mean"] < 5
        shares = [found[f"coverage@{k}"]["mean"] for k in (50, 80, 95)]
        assert shares == sorted(shares)


def test_on_validation_rows_noise_and_spread_add_up_to_the_error(results):
    valid = results["spread"]["valid"]
    assert all(value > 0 for value in valid["noise"]["values"])
    groups = valid["deciles"]
    found, predicted = (
        np.dot(groups["rows"], np.square(groups[name]))
        for name in ("found", "predicted")
    )
    # Means over two seeds of roots, squared: nearly the mean of the squares.
    assert found == pytest.approx(predicted, rel=0.05)


def test_it_is_printed_in_a_line(ensemble, results):
    (line,) = [x for x in ensemble.out.splitlines() if x.startswith("spread over")]
    assert line in footnotes(results)
    assert line.startswith("spread over 3 members: mean ")


def test_it_is_shown_and_the_page_is_made_again_of_the_folder(ensemble, command):
    page = ensemble.workdir / "report.html"
    before = page.read_bytes()
    assert SECTION in before.decode()
    assert command("report", ensemble.workdir).code == 0
    assert page.read_bytes() == before


def test_judged_again_it_is_the_same(ensemble, results, command):
    done = command("evaluate", f"--workdir={ensemble.workdir}", "--format=json")
    assert json.loads(done.out)["spread"] == results["spread"]


def test_a_single_network_knows_nothing_of_it(finished, two_seeds):
    for run in (finished, two_seeds):
        assert "spread" not in report.read_results(run.workdir)
        assert "spread over" not in run.out
        assert SECTION not in (run.workdir / "report.html").read_text()


def test_runs_with_and_without_are_compared_and_shown(ensemble, two_seeds, command):
    folders = [str(run.workdir) for run in (ensemble, two_seeds)]
    for order in (folders, folders[::-1]):
        found = compare([load_finished(folder) for folder in order])
        assert len(found.rows) == 2
    done = command("compare", *folders)
    assert done.code == 0
    assert done.err == ""


@pytest.mark.parametrize("part", ["mean_spread", "coverage@80", "members"])
def test_results_that_lack_what_is_said_of_it_are_damaged(results, tmp_path, part):
    del (damaged := json.loads(json.dumps(results)))["spread"]["test"][part]
    (tmp_path / "metrics.json").write_text(json.dumps(damaged))
    with pytest.raises(RunError, match=r"metrics\.json is damaged"):
        report.read_results(tmp_path)
