"""Intervals and learning curves as drawings.

Held here: marks are at the figures' places, an interval's ends at its ends, nothing is
drawn of what is not known, and the words say what the marks show.
"""

import numpy as np
import pytest

from ncf_jax.pages import figures
from ncf_jax.pages.figures import Interval
from tests.pages import worlds
from tests.pages.drawings import described, lines, marks, texts

THREE = (
    Interval("Ours", 0.9, 0.85, 0.97, own=True),
    Interval("Theirs <b>", 0.8, 0.78, 0.82),
    Interval("Nobody's", None, None, None),
)


def draw(rows=THREE, **how):
    return figures.intervals(rows, "RMSE, stars", name="n", title="t", **how)


class TestIntervals:
    def test_marks_are_on_a_common_scale(self):
        svg = draw()
        ((own, _),), others = marks(svg, "accent"), marks(svg, "other")
        ((low, _), (high, _)) = lines(svg, "accent")[0]
        (theirs, _) = others[0]
        # Where 0.85, 0.97 and 0.9 are tells where 0.8 must be.
        scale = (high - low) / (0.97 - 0.85)
        assert own == pytest.approx(low + 0.05 * scale, abs=0.05)
        assert theirs == pytest.approx(low - 0.05 * scale, abs=0.05)

    def test_what_is_not_defined_has_no_mark_and_says_so(self):
        svg = draw()
        assert len(marks(svg, "accent")) == len(marks(svg, "other")) == 1
        assert "not defined" in texts(svg)
        assert described(svg) == (
            "Ours: 0.900, 0.850 to 0.970; Theirs <b>: 0.800, 0.780 to 0.820; Nobody's: "
            "not defined."
        )

    def test_without_an_interval_there_is_a_dot_alone(self):
        svg = draw([Interval("Ours", 0.9, None, None, own=True)])
        assert len(marks(svg, "accent")) == 1
        assert lines(svg, "accent") == []

    def test_nothing_known_at_all_can_be_drawn(self):
        assert marks(draw([Interval("Ours", None, None, None)]), "other") == []

    def test_a_mark_is_a_dashed_line_with_its_name(self):
        svg = draw(mark=(0.75, "lowest possible"))
        assert "lowest possible" in texts(svg)
        assert "stroke-dasharray" in svg
        assert "stroke-dasharray" not in draw()
        ((x, _), _) = lines(svg, "muted")[0]
        assert x < min(x for x, _ in marks(svg, "other"))

    def test_figures_stand_beside_them_in_the_form_asked_for(self):
        rows = [Interval("b − a", -0.01234, -0.02, -0.005)]
        assert "−0.0123" in [text.strip() for text in texts(draw(rows, form="+.4f"))]

    def test_long_labels_are_wrapped_and_make_it_taller(self):
        long = "A model with a name that goes on and on, " * 4
        one, other = (draw([Interval(x, 1.0, 0.9, 1.1)]) for x in ("A", long))
        assert " ".join(texts(other)).count("goes on") == 4
        height = [
            float(svg.split('viewBox="')[1].split()[3][:-1]) for svg in (one, other)
        ]
        assert height[1] >= height[0] + 24

    def test_an_open_dot_is_not_filled(self):
        rows = [Interval("Ours", 0.9, 0.8, 1.0, filled=False)]
        assert "fill: none; stroke: var(--other)" in draw(rows).replace(
            "; fill-opacity: 0", ""
        )


class TestCurves:
    def test_points_are_the_losses_and_the_lowest_is_ringed(self):
        history = worlds.make_history(5)
        history[3]["valid_loss"] = 0.001
        svg = figures.curves(history, name="n")
        valid, train = lines(svg, "accent"), lines(svg, "other")
        assert len(valid[0]) == len(train[0]) == 5
        # On a common scale, linear in the loss.
        pairs = [
            (row["train_loss"], y)
            for row, (_, y) in zip(history, train[0], strict=True)
        ]
        pairs += [
            (row["valid_loss"], y)
            for row, (_, y) in zip(history, valid[0], strict=True)
        ]
        loss, height = np.array(pairs).T
        slope, start = np.polyfit(loss, height, 1)
        assert slope < 0, "SVG counts from the top"
        assert height == pytest.approx(start + slope * loss, abs=0.02)
        assert any("0.0010 (ringed)" in text for text in texts(svg))
        assert "its lowest value is 0.0010 in epoch 4" in described(svg)

    def test_without_validation_rows_there_is_one_curve(self):
        svg = figures.curves(worlds.make_history(4, valid=False), name="n")
        assert lines(svg, "accent") == []
        assert not any("validation" in text for text in texts(svg))

    @pytest.mark.parametrize("epochs", [2, 200])
    def test_epochs_are_whole_numbers(self, epochs):
        svg = figures.curves(worlds.make_history(epochs), name="n")
        numbers = [t for t in texts(svg) if t.replace(".", "").isdigit()]
        below = [t for t in numbers if not t.startswith("0.")]
        assert below
        assert all("." not in text for text in below)

    def test_the_same_history_is_the_same_drawing(self):
        one, two = (figures.curves(worlds.make_history(), name="n") for _ in range(2))
        assert one == two
