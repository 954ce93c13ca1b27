"""Drawings of where a model errs.

Held here: marks are where the figures are; a group too small for an interval is shown
but does not set the scale; every group's name and rows can be read.
"""

import re

import numpy as np
import pytest

from ncf_jax.pages import breakdown, diagnostics
from ncf_jax.pages.breakdown import Groups
from tests.pages.drawings import described, lines, marks, texts


def make_groups(rmse=(0.9, 0.8, 1.1), known=(True, True, True)):
    rmse, known = np.array(rmse), np.array(known)
    bias = rmse - 1
    half = np.where(known, 0.05, np.nan)
    labels = tuple(f"Group {n}" for n in range(len(rmse)))
    return Groups(
        labels=labels,
        rows=np.arange(len(rmse)) * 1000 + 50,
        users=np.arange(len(rmse)) + 8,
        rmse=rmse,
        rmse_low=rmse - half,
        rmse_high=rmse + half,
        bias=bias,
        bias_low=bias - half,
        bias_high=bias + half,
        spread=rmse + 0.1,
    )


def draw(found, **how):
    how = dict(name="n", title="t", order="kind") | how
    return diagnostics.groups(found, **how)


class TestGroups:
    def test_dots_are_in_proportion_and_one_below_the_other(self):
        dots = marks(draw(make_groups()), "accent")
        assert len(dots) == 6  # RMSE, then bias
        error, bias = np.array(dots[:3]), np.array(dots[3:])
        for panel in (error, bias):
            steps = np.diff(panel[:, 0])
            assert steps[1] / steps[0] == pytest.approx(0.3 / -0.1, rel=0.01)
        assert (np.diff(error[:, 1]) > 0).all()
        assert error[:, 1] == pytest.approx(bias[:, 1])

    def test_names_and_rows_are_there_to_be_read(self):
        svg = draw(make_groups())
        for text in ("Group 0", "Group 2", "50", "2,050", "kind", "rows"):
            assert text in texts(svg)
        assert "Group 1: RMSE 0.800, bias -0.200, 1,050 rows" in described(svg)

    def test_a_group_without_an_interval_does_not_set_the_scale(self):
        wide = make_groups((0.9, 0.8, 9.0), (True, True, False))
        usual = make_groups((0.9, 0.8), (True, True))
        both = [np.array(marks(draw(each), "accent")) for each in (wide, usual)]
        assert both[0][:2, 0] == pytest.approx(both[1][:2, 0], abs=0.1)
        # It is at the edge, as an arrow: another marker than the dots.
        assert both[0][2, 0] > both[0][:2, 0].max()
        assert "var(--accent)" in draw(wide)
        assert (
            len(lines(draw(wide), "accent")) == len(lines(draw(usual), "accent")) == 4
        )

    def test_all_groups_may_be_too_small_for_an_interval(self):
        found = make_groups((0.9, 0.8), (False, False))
        svg = draw(found)
        assert len(marks(svg, "accent")) == 4
        assert lines(svg, "accent") == []

    def test_ticks_of_the_spread_can_be_left_out(self):
        with_, without = draw(make_groups()), draw(make_groups(), ticks=False)
        assert len(marks(with_, "ink")) == 3
        assert marks(without, "ink") == []

    def test_few_rows_are_grey(self):
        found = make_groups()
        few = [label for label, rows in zip(found.labels, found.rows, strict=True)
               if rows < diagnostics.FEW]  # fmt: skip
        svg = draw(found)
        assert few == ["Group 0"]
        for label in found.labels:
            style = svg.split(f">{label}<")[0].rpartition("<text")[2]
            assert ("var(--muted)" in style) == (label in few)

    def test_a_very_long_name_is_shortened(self):
        found = make_groups()._replace(labels=("A genre of a very long name", "b", "c"))
        assert any(text.endswith("…") for text in texts(draw(found)))

    def test_one_group_can_be_drawn(self):
        assert len(marks(draw(make_groups((0.9,), (True,))), "accent")) == 2


class TestCalibration:
    def make(self, slope=1.0, constant=False):
        rng = np.random.default_rng(0)
        prediction = np.full(600, 3.4) if constant else rng.uniform(1.5, 5, 600)
        truth = np.clip(slope * (prediction - 3) + 3 + rng.normal(0, 0.5, 600), 0.5, 5)
        user = np.arange(600) % 60
        return breakdown.calibration(prediction[None], truth, user)

    def test_dots_are_on_the_same_scale_both_ways(self):
        found = self.make()
        svg = diagnostics.calibration(found, name="n")
        dots = np.array(marks(svg, "accent"))
        assert len(dots) == len(found.predicted)
        across = np.polyfit(found.predicted, dots[:, 0], 1)
        up = np.polyfit(found.true, dots[:, 1], 1)
        assert dots[:, 0] == pytest.approx(np.polyval(across, found.predicted), abs=0.1)
        assert dots[:, 1] == pytest.approx(np.polyval(up, found.true), abs=0.1)
        # The dashed line is where both are the same.
        ((x, y), _) = lines(svg, "muted")[0]
        same = [(x - across[1]) / across[0], (y - up[1]) / up[0]]
        assert same[0] == pytest.approx(same[1], abs=0.02)

    def test_each_bin_says_how_many_rows_it_has(self):
        found = self.make()
        said = described(diagnostics.calibration(found, name="n"))
        assert said.count("rows)") == len(found.rows)
        assert f"true {found.true[0]:.2f} ({found.rows[0]:.0f} rows)" in said

    def test_a_constant_prediction_can_be_drawn(self):
        svg = diagnostics.calibration(self.make(constant=True), name="n")
        assert len(marks(svg, "accent")) == 1


class TestResiduals:
    def test_bars_are_as_high_as_their_share(self):
        centre, share = breakdown.residuals(
            np.array([[1.0, 1.0, 1.0, -1.0]]), np.zeros(4)
        )
        svg = diagnostics.residuals(centre, share, name="n")
        bar = r'<path d="M ([\d.]+) ([\d.]+) L [\d.]+ [\d.]+ L [\d.]+ ([\d.]+)'
        bars = re.findall(bar, svg)
        tall = {float(x): float(low) - float(top) for x, low, top in bars}
        tall = {x: height for x, height in tall.items() if height > 1}
        (left, one), (right, three) = sorted(tall.items())
        assert left < right
        assert three == pytest.approx(3 * one, abs=0.1)

    def test_the_words_say_how_many_are_near(self):
        centre, share = breakdown.residuals(
            np.array([[0.1, 0.5, 2.0, 3.0]]), np.zeros(4)
        )
        said = described(diagnostics.residuals(centre, share, name="n"))
        assert said.startswith("50 % of the rows")
