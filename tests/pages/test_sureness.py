"""The section on how sure an ensemble is.

Held here: figures are those of metrics.json; dots are where they are, on the same scale
both ways; what is not defined is a dash; a run without an ensemble has nothing of it.
"""

import numpy as np
import pytest

from ncf_jax.pages import page
from ncf_jax.pages.sureness import draw, sureness
from tests.pages import worlds
from tests.pages.drawings import described, lines, marks
from tests.pages.test_page import Reader


def of(constant=False):
    return worlds.make_results(spread=worlds.make_spread(constant=constant))


@pytest.fixture(scope="module")
def results():
    return of()


@pytest.fixture(scope="module")
def found(results):
    return sureness(results)


class TestDrawing:
    def test_dots_are_where_the_figures_are_on_one_scale(self, results, found):
        groups = results["spread"]["test"]["deciles"]
        dots = np.array(marks(found.svg, "accent"))
        assert len(dots) == 10
        across = np.polyfit(groups["predicted"], dots[:, 0], 1)
        up = np.polyfit(groups["found"], dots[:, 1], 1)
        wanted = np.polyval(across, groups["predicted"])
        assert dots[:, 0] == pytest.approx(wanted, abs=0.1)
        assert dots[:, 1] == pytest.approx(np.polyval(up, groups["found"]), abs=0.1)
        # The dashed line is where both are the same.
        for x, y in lines(found.svg, "muted")[0]:
            same = (x - across[1]) / across[0], (y - up[1]) / up[0]
            assert same[0] == pytest.approx(same[1], abs=0.02)

    def test_it_is_told_to_who_cannot_see_it(self, results, found):
        groups = results["spread"]["test"]["deciles"]
        said = described(found.svg)
        assert said.count("predicted") == 10
        for x, y in zip(groups["predicted"], groups["found"], strict=True):
            assert f"predicted {x:.3f}, found {y:.3f}" in said

    def test_one_group_can_be_drawn(self):
        svg = draw({"predicted": [0.9], "found": [0.9], "rows": [12.0]}, name="n")
        assert len(marks(svg, "accent")) == 1


class TestWords:
    def test_the_text_says_what_the_intervals_hold(self, results, found):
        test = results["spread"]["test"]
        assert f"the {test['members']} members" in found.text
        assert f"{test['mean_spread']['mean']:.2f} stars in the mean" in found.text
        assert f"({test['noise']['mean'] ** 0.5:.2f} stars)" in found.text
        shares = [100 * test[f"coverage@{k}"]["mean"] for k in (95, 80, 50)]
        one, two, three = (f"{share:.1f} %" for share in shares)
        assert (
            f"95 % of the test ratings hold {one}; those for 80 % hold {two}, those "
            f"for 50 % {three}."
        ) in found.text

    def test_the_caption_has_figures(self, results, found):
        test = results["spread"]["test"]
        groups = test["deciles"]
        for n in (0, -1):
            assert f"{groups['found'][n]:.3f}" in found.caption
            assert f"{groups['predicted'][n]:.3f}" in found.caption
        assert f"{test['spearman']['mean']:.3f}" in found.caption
        for name in ("nll", "nll_constant"):
            assert f"{test[name]['mean']:.4f}" in found.caption

    def test_the_table_has_every_group(self, results, found):
        groups = results["spread"]["test"]["deciles"]
        assert len(found.lines) == 10
        for n, line in enumerate(found.lines):
            values = (groups[name][n] for name in ("spread", "predicted", "found"))
            wanted = (str(n + 1), f"{groups['rows'][n]:,.0f}")
            assert line == (*wanted, *(f"{value:.3f}" for value in values))

    def test_every_figure_is_defined(self, results, found):
        said = dict(found.definitions)
        assert said["noise"] == results["spread"]["test"]["noise"]["definition"]
        assert {"spearman", "nll", "nll constant", "coverage@95", "deciles"} <= set(
            said
        )

    def test_a_constant_spread_is_called_one(self):
        found = sureness(of(constant=True))
        assert "All test rows have the same spread" in found.caption
        assert "absolute error: –." in found.caption
        assert len(found.lines) == 1


class TestPage:
    def test_an_ensemble_has_the_section_its_drawing_and_its_table(self, results):
        text = page.run_page(**worlds.make_inputs(results))
        reader = Reader(text)
        found = sureness(results)
        assert "How sure the ensemble is" in reader.text
        assert "#sureness" in reader.all("a", "href")
        assert found.svg in text
        for said in (found.text, found.caption, found.lines[3][2]):
            assert said in reader.text
        ids = [attrs["id"] for _, attrs in reader.found if attrs.get("id")]
        assert len(ids) == len(set(ids))

    def test_a_run_without_an_ensemble_has_nothing_of_it(self):
        assert sureness(worlds.make_results()) is None
        assert "sureness" not in page.run_page(**worlds.make_inputs())
