"""Figures are sums and ratios of what was measured; what does not apply is a dash."""

import pytest

from experiments.bench import results
from experiments.bench.timing import Outcome

CEILINGS = {"flops_per_second": 1000.0, "bytes_per_second": 400.0}
DEVICE = {
    "device": "a machine",
    "platform": "cpu",
    "devices": 1,
    "threads": 2,
    "xla_threads": "4",
    "versions": {"jax": "1.2"},
    "flops_per_second": 5e9,
    "bytes_per_second": 7e9,
}


def outcome(name="a", seconds=(2.0, 1.0, 4.0), losses=(), **about):
    return Outcome(name, list(seconds), list(losses), 12.0, about)


class TestFigures:
    def test_median_least_most_and_ratio_by_turn(self):
        found = results.figures(
            outcome(), outcome("b", seconds=(1.0, 1.0, 1.0)), CEILINGS
        )
        assert (found["median"], found["min"], found["max"]) == (2.0, 1.0, 4.0)
        assert (found["ratio"], found["ratio_min"], found["ratio_max"]) == (2, 1, 4)

    def test_rates_and_shares_of_the_ceilings(self):
        one = outcome(examples=100, steps=10, flops=50, bytes=8)
        found = results.figures(one, one, CEILINGS)
        assert found["examples_per_second"] == 100 / 2
        assert found["seconds_per_step"] == 2 / 10
        assert found["flops_share"] == 50 * 10 / 2 / 1000
        assert found["bytes_share"] == 8 * 10 / 2 / 400

    def test_each_seed_does_the_work(self):
        one = outcome(examples=100, steps=10, flops=50, seeds=3)
        assert results.figures(one, one, CEILINGS)["flops_share"] == 3 * 0.25

    def test_who_is_left_out_has_a_reason_and_no_figure(self):
        gone = Outcome("x", [], [], 0.0, {}, "torch is not installed.")
        found = results.figures(gone, None, CEILINGS)
        assert found == {"name": "x", "missing": "torch is not installed."}
        assert results.row(found)[:3] == ["x", "left out", "–"]


class TestRow:
    def test_what_does_not_apply_is_a_dash(self):
        found = results.figures(outcome(), outcome(), CEILINGS)
        cells = dict(zip(results.HEADER, results.row(found), strict=True))
        assert cells["median"] == "2 s"
        assert cells["examples/s"] == cells["loss"] == cells["a step"] == "–"
        assert cells["ratio"] == "1.00"

    def test_the_last_loss_is_shown(self):
        found = results.figures(outcome(losses=[0.3, 0.2]), outcome(), CEILINGS)
        assert "0.2000" in results.row(found)


class TestUnlike:
    def found(self, *losses):
        return [
            results.figures(outcome(f"c{n}", losses=[loss]), outcome(), CEILINGS)
            for n, loss in enumerate(losses)
        ]

    def test_alike_losses_say_nothing(self):
        assert results.unlike(self.found(0.100, 0.104, 0.098)) == []

    def test_one_who_did_less_is_named(self):
        [sentence] = results.unlike(self.found(0.100, 0.101, 0.2))
        assert sentence.startswith("c2 ended with a loss of 0.2000")

    def test_one_that_is_not_finite_is_named(self):
        [sentence] = results.unlike(self.found(0.1, float("nan"), 0.1))
        assert "c1 ended with a loss of not finite" in sentence

    def test_nothing_to_compare(self):
        assert results.unlike(self.found()) == []


@pytest.mark.parametrize(
    ("value", "text"),
    [(1.0, "1 s"), (0.0999, "99.9 ms"), (1.5e-3, "1.5 ms"), (2.5e-5, "25 µs")],
)
def test_durations(value, text):
    assert results.seconds(value) == text


def test_remarks_say_what_is_not_in_the_times():
    one = outcome(compile_seconds=1.5, flops=10, xla_flops=12.0, epochs=4)
    entries = [
        results.figures(Outcome("x", [], [], 0.0, {}, "gone."), one, CEILINGS),
        results.figures(one, one, CEILINGS),
    ]
    text = " ".join(results.remarks(entries))
    assert "Left out: x: gone." in text
    assert "Ratios are to a." in text
    assert "a 1.5 s" in text
    assert "a 1.20" in text
    assert "4 epochs" in text
    assert results.remarks([results.figures(outcome(), outcome(), CEILINGS)]) == []


def test_a_loss_that_is_not_finite_is_null_and_shown():
    found = results.figures(outcome(losses=[float("nan")]), outcome(), CEILINGS)
    assert found["losses"] == [None]
    assert "not finite" in results.row(found)


def test_markdown_has_each_section_as_a_table():
    entry = results.figures(outcome(), outcome(), CEILINGS)
    page = results.markdown(
        {
            "device": DEVICE,
            "suites": {"step": [{"title": "T", "notes": ["N"], "entries": [entry]}]},
        }
    )
    assert "## step" in page
    assert "**T**" in page
    assert "| a | 2 s |" in page
    assert "5 GFLOP/s" in page
    lines = [line for line in page.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in lines}) == 1
