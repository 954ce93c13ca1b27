"""What the page says in sentences.

Held here: the verdict follows the figures in both directions and for both kinds of
metric, with intervals apart or not, with and without baselines or a defined figure; no
number is said that is not in the results.
"""

import pytest

from ncf_jax.pages import words
from tests.pages import worlds

SPACE = "\N{NO-BREAK SPACE}"


def judge(name, ours, theirs, spread=0.02):
    results = worlds.make_results(baselines={})
    results["metrics"][name] = worlds.metric(ours, spread)
    results["baselines"] = {
        title: {name: worlds.metric(value, spread)} for title, value in theirs.items()
    }
    return words.verdict(results, name, "Ratings")


class TestVerdict:
    @pytest.mark.parametrize(
        ("name", "ours", "best", "tone"),
        [
            ("test/rmse", 0.90, 0.80, "worse"),
            ("test/rmse", 0.80, 0.90, "better"),
            ("test/rmse", 0.90, 0.91, "open"),
            ("test/ndcg@3", 0.90, 0.80, "better"),
            ("test/ndcg@3", 0.80, 0.90, "worse"),
            ("test/ndcg@3", 0.80, 0.81, "open"),
        ],
    )
    def test_it_follows_the_figures_whichever_way_is_better(
        self, name, ours, best, tone
    ):
        poor = 2.0 if name == "test/rmse" else 0.1
        found = judge(name, ours, {"Poor": poor, "Best": best})
        assert found.tone == tone
        assert ("Best" in found.head) == (tone != "better")
        assert "The best of 2 baselines, Best," in found.text
        assert "Poor" not in found.text

    @pytest.mark.parametrize("tone", ["better", "worse"])
    def test_lower_and_higher_are_said_of_the_baseline(self, tone):
        ours, theirs = (0.8, 0.9) if tone == "better" else (0.9, 0.8)
        found = judge("test/rmse", ours, {"Bias": theirs})
        share = 0.1 / ours * 100
        way = "higher" if tone == "better" else "lower"
        assert f": 0.100 stars ({share:.1f}{SPACE}%) {way}." in found.text
        assert "The baseline, Bias, has" in found.text
        assert found.head == f"{tone} than Bias"

    @pytest.mark.parametrize(
        ("ours", "theirs", "significant", "tone", "head"),
        [
            (0.90, 0.91, True, "better", "better than Bias"),
            (0.91, 0.90, True, "worse", "worse than Bias"),
            (0.91, 0.90, False, "open", "no clear difference from Bias"),
            (0.50, 0.90, False, "open", "no clear difference from Bias"),
        ],
    )
    def test_a_paired_test_decides_whatever_the_intervals_do(
        self, ours, theirs, significant, tone, head
    ):
        results = worlds.make_results(baselines={})
        results["metrics"]["test/rmse"] = worlds.metric(ours, 0.02)
        results["baselines"] = {"Bias": {"test/rmse": worlds.metric(theirs, 0.02)}}
        of = {"metric": "rmse", "p_holm": 0.0123, "share_better": 0.7}
        results["tests"] = [
            {"b": "Other", **of, "significant": not significant},
            {"b": "Bias", **of, "significant": significant},
            {"b": "Bias", **of, "metric": "ndcg@3", "significant": not significant},
        ]
        found = words.verdict(results, "test/rmse", "Ratings")
        assert (found.tone, found.head) == (tone, head)
        assert f"the better one for 30{SPACE}% of the users" in found.text
        assert "p = 0.012 after Holm" in found.text
        assert "overlap" not in found.text

    def test_a_very_small_p_is_not_called_zero(self):
        results = worlds.make_results(baselines={"Bias": 0.80})
        results["tests"] = [
            {
                "b": "Bias",
                "metric": "rmse",
                "p_holm": 0.0004,
                "share_better": 1.0,
                "significant": True,
            }
        ]
        found = words.verdict(results, "test/rmse", "Ratings")
        assert "p < 0.001" in found.text

    def test_better_than_all_of_several_is_said_so(self):
        found = judge("test/rmse", 0.5, {"A": 0.9, "B": 0.8})
        assert found.head == "better than every baseline"

    def test_overlapping_intervals_are_no_verdict(self):
        found = judge("test/rmse", 0.80, {"Bias": 0.85}, spread=0.03)
        assert found.tone == "open"
        assert "no clear difference" in found.head
        assert "overlap, which decides nothing" in found.text
        assert "do not overlap" not in found.text

    def test_equal_figures_are_called_the_same(self):
        for other in (0.80, 0.8004):
            found = judge("test/rmse", 0.80, {"Bias": other})
            assert ": the same to three digits." in found.text
        assert "0.001 stars" in judge("test/rmse", 0.80, {"Bias": 0.8006}).text

    def test_an_interval_that_is_not_known_decides_nothing(self):
        results = worlds.make_results(baselines={"Bias": 2.0})
        results["metrics"]["test/rmse"]["ci95"] = [None, None]
        found = words.verdict(results, "test/rmse", "Ratings")
        assert found.tone == "open"
        assert "0.900 stars." in found.text

    def test_without_a_baseline_the_figure_stands_alone(self):
        found = judge("test/rmse", 0.8, {})
        assert found.tone == "none"
        assert found.head == "RMSE 0.800"
        assert "No baseline was evaluated" in found.text

    def test_a_baseline_without_that_figure_does_not_compete(self):
        results = worlds.make_results(baselines={"Bias": 0.8, "Odd": 0.1})
        results["baselines"]["Odd"]["test/rmse"] = worlds.metric(None)
        assert words.best_baseline(results, "test/rmse")[0] == "Bias"
        del results["baselines"]["Odd"]["test/rmse"]
        assert words.best_baseline(results, "test/rmse")[0] == "Bias"

    @pytest.mark.parametrize("name", ["test/rmse", "test/ndcg@3"])
    @pytest.mark.parametrize("missing", [True, False])
    def test_a_figure_that_is_not_defined_is_said_so(self, name, missing):
        results = worlds.make_results()
        results["metrics"][name] = worlds.metric(None)
        if missing:
            del results["metrics"][name]
        found = words.verdict(results, name, "Ratings")
        assert (found.head, found.tone) == ("not measured", "none")
        assert ("stars" in found.text) == (name == "test/rmse")

    @pytest.mark.parametrize("seeds", [1, 5])
    def test_several_seeds_are_said(self, seeds):
        for found in words.verdicts(worlds.make_results(seeds)):
            assert ("mean of 5 seeds" in found.text) == (seeds == 5)

    def test_each_number_in_it_is_one_of_the_results(self):
        found = judge("test/rmse", 0.91234, {"Bias": 0.81239})
        for number in ("0.912", "0.892 to 0.932", "0.812", "0.792 to 0.832", "0.100"):
            assert number in found.text


class TestNumbers:
    @pytest.mark.parametrize(
        ("value", "name", "text"),
        [
            (0.91567, "test/rmse", "0.9157"),
            (-0.00002, "r2", "0.0000"),
            (-0.25, "r2", "−0.2500"),
            (3.58912, "test/novelty@10", "3.59"),
            (None, "rmse", "–"),
        ],
    )
    def test_figures_are_written_for_readers(self, value, name, text):
        assert words.number(value, name) == text

    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("test/ndcg@10", "NDCG@10"),
            ("valid/r2", "R²"),
            ("test/hit_rate@5", "Hit rate@5"),
            ("test/mine@5", "mine@5"),
            ("rmse", "RMSE"),
        ],
    )
    def test_labels_are_names_people_use(self, name, text):
        assert words.label(name) == text

    def test_an_interval_without_ends_is_a_dash(self):
        assert words.interval(worlds.metric(None), "rmse") == "–"
        assert words.interval(worlds.metric(1.0), "rmse") == "0.9800 to 1.0200"


class TestAround:
    def test_the_question_is_about_order_where_there_are_no_stars(self):
        results = worlds.make_results()
        assert "predict ratings of tiny & small" in words.question(results)
        results["metrics"]["test/rmse"] = worlds.metric(None)
        assert "order the movies of tiny & small" in words.question(results)

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"candidates": "rated"}, "each user's own test items"),
            ({"candidates": "catalogue"}, "unrated items count as not relevant"),
            ({"candidates": "else"}, "Ranking: else;"),
            ({"ties": "expected"}, "by the mean over their orders"),
            ({"ties": "optimistic"}, "in the best order"),
            ({"ties": "pessimistic"}, "in the worst order"),
            ({"threshold": 3.5}, "relevant from 3.5 stars"),
            ({"convention": "standard"}, "“standard”"),
        ],
    )
    def test_the_setting_of_the_ranking_is_said(self, changes, said):
        assert said in words.setting(worlds.make_results(**changes))

    def test_chance_is_the_global_mean_with_expected_ties(self):
        said = words.chance(worlds.make_results(), "test/ndcg@3")
        assert "NDCG@3 1.200" in said
        for changes in ({"ties": "optimistic"}, {"baselines": {}}):
            results = worlds.make_results() | changes
            assert words.chance(results, "test/ndcg@3") is None
