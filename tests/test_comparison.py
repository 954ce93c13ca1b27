"""Notes of a comparison: what is the same is told once, what is not with its runs."""

from ncf_jax import comparison
from tests.finished import make


def notes(*runs, names=("rmse", "ndcg@10")):
    labels = [run.results["model"] for run in runs]
    return comparison.data_notes([run.results for run in runs], labels, names)


def test_data_split_setting_and_seeds_are_told():
    a, b = make(title="A"), make(title="B")
    lines = notes(a, b)
    rows = a.results["rows"]["test"]
    assert lines == [
        f"a world · user_random, seed 42 · data {'d' * 16} · split {'5' * 16}",
        "It shows little.",
        f"test: {rows:,} rows of 60 users; ranking: standard convention, rated "
        f"candidates, relevant from 4.0 stars, ties expected",
        "seeds: 0",
    ]


def test_synthetic_data_comes_first_and_in_capitals():
    lines = notes(make(synthetic=True), make(synthetic=True))
    assert lines[0].startswith("SYNTHETIC DATA: nobody rated anything")
    assert "SYNTHETIC" not in " ".join(notes(make(), make()))


def test_without_ranking_metrics_their_setting_is_not_told():
    lines = notes(make(), make(), names=["rmse"])
    assert "candidates" not in " ".join(lines)


def test_seeds_that_differ_are_told_with_their_runs():
    lines = notes(make(title="A", seeds=3), make(title="B"), make(title="C"))
    assert "seeds: 0, 1, 2 in A; 0 in B, C" in lines


def test_a_definition_that_differs_is_told():
    b = make(title="B")
    b.results["metrics"]["test/rmse"]["definition"] = "of clipped stars"
    lines = notes(make(title="A"), b)
    told = "rmse is not the same everywhere: rmse of rows in A; of clipped stars in B"
    assert told in lines
    assert not any("ndcg@10 is not the same" in line for line in lines)


def test_metrics_that_part_the_runs_alike_share_a_line():
    b = make(title="B")
    for name in ("rmse", "mae"):
        b.results["metrics"][f"test/{name}"]["definition"] += ", clipped"
    lines = notes(make(title="A"), b, make(title="C"), names=["rmse", "mae", "r2"])
    told = [line for line in lines if "not the same" in line]
    assert len(told) == 1
    assert told[0].startswith("rmse, mae is not the same everywhere: ")
    assert told[0].endswith(" in A, C; rmse of rows, clipped in B")


def test_the_definition_of_a_figure_that_is_not_there_is_not_told():
    b = make(title="B")
    b.results["metrics"]["test/rmse"].update(mean=None, definition="no stars")
    lines = notes(make(title="A"), b)
    assert not any("not the same" in line for line in lines)


def test_a_warning_is_told_once_with_the_runs_it_is_about():
    a, b = make(title="A", warnings=["Leak."]), make(title="B", warnings=["Leak."])
    assert notes(a, b)[-1] == "Leak."
    assert notes(a, make(title="B"))[-1] == "A: Leak."


def test_the_method_is_told_with_its_numbers():
    text = " ".join(comparison.method_notes(1140, 227_999, 2000, 0.05))
    for part in ("1,140 tests", "227,999 sign patterns", "2,000 draws", "0.05"):
        assert part in text
