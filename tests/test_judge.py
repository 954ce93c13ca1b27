"""Predictions are judged the same whoever made them: figures are means of the users'
values with intervals over the same users drawn, each number carries its convention,
candidates and definition, and whoever is left out is counted (R4, R6, R8)."""

import dataclasses
import json
import re
from functools import partial

import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score

from ncf_jax import RunError, lists
from ncf_jax.errors import DataError
from ncf_jax.judge import CANDIDATES, evaluate_scores
from ncf_jax.metrics import (
    CONVENTIONS,
    DEFINITIONS,
    LARGER_IS_BETTER,
    RANKING,
    SMALLER_IS_BETTER,
    TIES,
    rating,
    summary,
)

SEEDS = 2
RATING = ["rmse", "mae", "r2"]
RELEVANCE = ["precision", "ndcg", "recall", "hit_rate", "mrr", "map"]
each_kind = pytest.mark.parametrize("candidates", CANDIDATES)


@pytest.fixture(scope="module")
def table(tiny_dataset):
    """Stars of every pair, as two noisy models would predict them: [R, U, I]."""
    shape = SEEDS, tiny_dataset.num_users, tiny_dataset.num_items
    return np.random.default_rng(0).normal(3.5, 1, shape).astype(np.float32)


@pytest.fixture(scope="module")
def judge(tiny_dataset, tiny_split, table):
    """`evaluate_scores` of the tiny world's test rows by that table."""

    def call(table=table, rows=tiny_split.test, train=tiny_split.train, k=2, **how):
        return evaluate_scores(
            table[:, tiny_dataset.user[rows], tiny_dataset.item[rows]],
            tiny_dataset,
            rows,
            train=train,
            catalogue=lambda user: jnp.asarray(table)[:, user],
            k=k,
            **how,
        )

    return call


@pytest.fixture(scope="module")
def plain(judge):
    return judge()


@pytest.fixture(scope="module")
def both(judge):
    """One evaluation by each kind of candidates, with two cut-offs."""
    return {kind: judge(candidates=kind, k=(5, 2)) for kind in CANDIDATES}


class TestRating:
    def test_figures_are_of_all_rows(self, plain, tiny_dataset, tiny_split):
        truth = tiny_dataset.rating[tiny_split.test].astype(float)
        oracles = {
            "rmse": lambda *rows: mean_squared_error(*rows) ** 0.5,
            "mae": mean_absolute_error,
            "r2": r2_score,
        }
        for name, oracle in oracles.items():
            expected = [oracle(truth, each.astype(float)) for each in plain.prediction]
            np.testing.assert_allclose(plain.metrics[name].values, expected, rtol=1e-9)
            assert plain.metrics[name].n_used == len(truth)

    def test_sums_of_users_add_up_to_them(self, plain):
        assert plain.sums.squared.shape == (SEEDS, len(plain.user))
        total = rating.RatingSums(*(each.sum(axis=1) for each in plain.sums))
        for name, of in (("rmse", rating.rmse_of), ("r2", rating.r2_of)):
            np.testing.assert_allclose(plain.metrics[name].values, of(total))
        np.testing.assert_array_equal(plain.sums.rows[0], plain.rows)

    def test_the_prediction_is_handed_back_as_it_came(
        self, plain, table, tiny_dataset, tiny_split
    ):
        rows = tiny_split.test
        expected = table[:, tiny_dataset.user[rows], tiny_dataset.item[rows]]
        np.testing.assert_array_equal(plain.prediction, expected)
        assert (expected > 5).any(), "and so not clipped"

    def test_scores_that_are_no_stars_leave_rating_metrics_undefined(
        self, judge, plain, tiny_split
    ):
        out = judge(stars=False)
        for name in RATING:
            found = out.metrics[name]
            assert np.isnan(found.mean)
            assert np.isnan(found.values).all()
            assert len(found.values) == SEEDS
            rows = len(tiny_split.test)
            assert (found.n_used, found.n_left_out) == (0, rows)
            assert found.definition.startswith(plain.metrics[name].definition)
            assert "no stars" in found.definition
            assert np.isnan(out.per_user[name]).all()
            text = json.dumps(summary.to_json(found), allow_nan=False)
            assert json.loads(text)["mean"] is None
            assert json.loads(text)["ci95"] == [None, None]
        for name, found in plain.metrics.items():
            if name not in RATING:
                assert out.metrics[name] == found


class TestNames:
    def test_rating_metrics_come_first_then_each_cut_off_in_its_order(self, both):
        ranked = [f"{name}@{k}" for k in (5, 2) for name in RANKING]
        assert list(both["rated"].metrics) == [*RATING, *ranked]
        coverage = ["coverage@5", "coverage@2"]
        assert list(both["catalogue"].metrics) == [*RATING, *ranked, *coverage]
        for out in both.values():
            assert list(out.per_user) == [*RATING, *ranked]

    def test_a_cut_off_given_twice_is_one(self, judge):
        chosen = {"map": RANKING["map"]}
        out = judge(k=(2, 5, 2), ranking=chosen)
        assert list(out.metrics) == [*RATING, "map@2", "map@5"]

    @each_kind
    def test_several_cut_offs_at_once_equal_each_alone(self, judge, both, candidates):
        for k in (5, 2):
            chosen = {name: RANKING[name] for name in ("map", "ndcg", "novelty")}
            alone = judge(candidates=candidates, k=k, ranking=chosen)
            for name, found in alone.metrics.items():
                together = both[candidates].metrics[name]
                np.testing.assert_allclose(together.values, found.values, rtol=1e-6)
                np.testing.assert_allclose(together.ci95, found.ci95, rtol=1e-6)
                assert together.definition == found.definition

    def test_what_is_better_is_said_of_every_metric_that_is(self):
        better = {*SMALLER_IS_BETTER, *LARGER_IS_BETTER}
        assert not set(SMALLER_IS_BETTER) & set(LARGER_IS_BETTER)
        assert better == {*RATING, *RELEVANCE}

    def test_novelty_and_popularity_want_train_rows(self, judge):
        out = judge(train=None)
        names = [name for name in RANKING if name not in ("novelty", "popularity")]
        assert list(out.metrics) == [*RATING, *(f"{name}@2" for name in names)]


class TestConventions:
    @each_kind
    @pytest.mark.parametrize("convention", CONVENTIONS)
    def test_values_are_those_of_its_metrics_and_the_number_says_so(
        self, judge, tiny_dataset, tiny_split, table, convention, candidates
    ):
        out = judge(metrics=convention, candidates=candidates)
        rows, train = tiny_split.test, tiny_split.train
        known = lists.popularity(tiny_dataset, train)
        pairs = tuple(CONVENTIONS[convention].items())
        setting = lists.Setting(ks=(2,))
        if candidates == "rated":
            flat = table[:, tiny_dataset.user[rows], tiny_dataset.item[rows]]
            expected = lists.rated(tiny_dataset, rows, flat, pairs, setting, known)
        else:
            expected, _ = lists.catalogue(
                tiny_dataset,
                rows,
                train,
                lambda user: jnp.asarray(table)[:, user],
                pairs,
                setting,
                known,
                seeds=SEEDS,
            )
        for name, metric in CONVENTIONS[convention].items():
            found = out.metrics[f"{name}@2"]
            values = expected[f"{name}@2"]
            np.testing.assert_array_equal(out.per_user[f"{name}@2"], values)
            np.testing.assert_allclose(found.values, np.nanmean(values, 1), rtol=1e-6)
            assert found.definition.startswith(metric.definition.format(k=2))
        for name, found in out.metrics.items():
            if name in RATING:
                assert (found.convention, found.candidates) == (None, None)
            else:
                assert (found.convention, found.candidates) == (convention, candidates)

    def test_conventions_give_other_figures(self, judge):
        figures = {
            convention: judge(metrics=convention).metrics["ndcg@2"].mean
            for convention in CONVENTIONS
        }
        assert len({round(value, 4) for value in figures.values()}) >= 4, figures

    def test_an_own_choice_of_metrics_is_called_own(self, judge):
        out = judge(ranking={"order": RANKING["ndcg"]})
        assert out.metrics["order@2"].convention == "own"
        assert list(out.metrics) == [*RATING, "order@2"]


class TestCandidates:
    def test_the_two_kinds_give_other_figures(self, both):
        for name in ("precision@5", "ndcg@5", "recall@5"):
            rated, catalogue = (both[kind].metrics[name].mean for kind in CANDIDATES)
            assert rated > 2 * catalogue, "few of all items are relevant"
        # Users and who is left out are the same.
        one, other = (both[kind] for kind in CANDIDATES)
        assert one.user.tolist() == other.user.tolist()
        assert one.metrics["recall@5"].n_used == other.metrics["recall@5"].n_used

    @pytest.mark.parametrize("missing", ["train", "catalogue"])
    def test_the_catalogue_wants_train_rows_and_scores(
        self, tiny_dataset, tiny_split, missing
    ):
        rows = tiny_split.test
        shape = 1, tiny_dataset.num_users, tiny_dataset.num_items
        given = {
            "train": tiny_split.train,
            "catalogue": lambda user: jnp.zeros((1, len(user), shape[-1])),
        }
        call = partial(
            evaluate_scores,
            np.ones((1, len(rows)), np.float32),
            tiny_dataset,
            rows,
            k=2,
            candidates="catalogue",
        )
        assert call(**given).metrics["coverage@2"].mean > 0
        with pytest.raises(ValueError, match="want `train` and `catalogue`"):
            call(**{name: v for name, v in given.items() if name != missing})

    def test_coverage_is_of_all_items_and_has_no_interval(self, both, tiny_dataset):
        found = both["catalogue"].metrics["coverage@2"]
        assert np.isnan(found.ci95).all()
        assert len(found.values) == SEEDS
        assert found.n_used == len(both["catalogue"].user)
        most = 2 * found.n_used / tiny_dataset.num_items
        assert 0.3 < found.mean <= min(most, 1)
        assert found.mean < both["catalogue"].metrics["coverage@5"].mean


class TestChance:
    @each_kind
    def test_a_constant_scorer_gets_exactly_chance(
        self, judge, table, tiny_dataset, tiny_split, candidates
    ):
        out = judge(0 * table[:1] + 3.5, candidates=candidates)
        rows, train = tiny_split.test, tiny_split.train
        liked = rows[tiny_dataset.rating[rows] >= 4]
        count = partial(np.bincount, minlength=tiny_dataset.num_users)
        relevant = count(tiny_dataset.user[liked])[out.user]
        if candidates == "rated":
            many = count(tiny_dataset.user[rows])[out.user]
        else:
            many = tiny_dataset.num_items - count(tiny_dataset.user[train])[out.user]
        assert (many > 2).all()
        some = relevant > 0
        draws_none = (many - relevant) * (many - relevant - 1) / many / (many - 1)
        expected = {
            "precision@2": relevant / many,
            "recall@2": np.where(some, 2 / many, np.nan),
            "hit_rate@2": np.where(some, 1 - draws_none, np.nan),
            "tied_cutoffs@2": np.ones(len(many)),
        }
        for name, values in expected.items():
            np.testing.assert_allclose(
                out.per_user[name][0], values, atol=1e-6, err_msg=name
            )
        # Control: the noisy models' values are others.
        other = judge(candidates=candidates)
        assert other.metrics["tied_cutoffs@2"].mean < 1
        assert (other.per_user["precision@2"][0] != relevant / many).any()

    @each_kind
    def test_pessimistic_is_below_expected_and_optimistic_above(
        self, judge, table, candidates
    ):
        coarse = np.round(table)
        low, middle, high = (
            judge(coarse, candidates=candidates, ties=ties)
            for ties in ("pessimistic", "expected", "optimistic")
        )
        for name in RELEVANCE:
            three = [out.metrics[f"{name}@2"].mean for out in (low, middle, high)]
            assert three[0] < three[1] < three[2], name
        for name in ("novelty@2", "popularity@2"):
            assert low.metrics[name] == middle.metrics[name] == high.metrics[name]
        for name in RATING:
            assert low.metrics[name] == middle.metrics[name] == high.metrics[name]
        if candidates == "catalogue":
            assert low.metrics["coverage@2"] == high.metrics["coverage@2"]

    @each_kind
    @pytest.mark.parametrize("ties", TIES)
    def test_the_share_of_tied_cut_offs_is_told_whatever_settles_the_ties(
        self, judge, table, candidates, ties
    ):
        out = judge(0 * table, candidates=candidates, ties=ties)
        assert out.metrics["tied_cutoffs@2"].mean == 1


class TestWords:
    @each_kind
    def test_a_definition_says_cut_off_candidates_and_ties(self, judge, candidates):
        out = judge(candidates=candidates, k=7, threshold=3.5)
        for name, found in out.metrics.items():
            words = found.definition
            assert "{" not in words
            if name in RATING:
                assert words == DEFINITIONS[name].format(clipped="not clipped")
                continue
            assert re.search(r"\b7\b", words), f"{name}: {words}"
            assert CANDIDATES[candidates] in words, name
            if name.split("@")[0] in RELEVANCE:
                assert "relevant from 3.5 stars" in words
                assert words.endswith("ties by expectation")

    def test_what_was_done_to_predictions_is_said_of_rating_metrics_only(
        self, judge, plain
    ):
        out = judge(clipped="clipped to 0.5 to 5")
        for name, found in out.metrics.items():
            if name in RATING:
                assert "predictions clipped to 0.5 to 5" in found.definition
                assert "predictions not clipped" in plain.metrics[name].definition
            else:
                assert found == plain.metrics[name]

    def test_graded_gain_has_no_threshold(self, judge):
        words = judge(metrics="graded").metrics["ndcg@2"].definition
        assert "relevant from" not in words
        assert "2^stars - 1" in words

    @pytest.mark.parametrize("ties", ["optimistic", "pessimistic"])
    def test_settled_ties_are_told_where_they_matter(self, judge, ties):
        out = judge(ties=ties)
        for name in RELEVANCE:
            assert out.metrics[f"{name}@2"].definition.endswith(f"ties {ties}")
        for name in ("novelty", "popularity"):
            words = out.metrics[f"{name}@2"].definition
            assert words.endswith("ties by expectation")

    def test_an_own_metric_never_claims_ties_it_was_not_told_of(self, judge, table):
        def first(scores, relevance, *, where, k):
            """Whether the first of the best is relevant."""
            return relevance[jnp.argmax(jnp.where(where, scores, -jnp.inf))] * 1.0

        same = judge(0 * table, ranking={"first": first}).metrics["first@2"]
        out = judge(0 * table, ranking={"first": first}, ties="optimistic")
        found = out.metrics["first@2"]
        assert found.mean == same.mean, "the metric settles ties in its own way"
        assert found.definition.startswith("Whether the first of the best is relevant")
        assert "ties optimistic" not in found.definition


class TestLeftOut:
    @each_kind
    def test_users_without_a_relevant_item_are_counted(
        self, judge, tiny_dataset, tiny_split, candidates
    ):
        out = judge(candidates=candidates, metrics="reference", threshold=5.0)
        rows = tiny_split.test
        best = np.zeros(tiny_dataset.num_users)
        np.maximum.at(best, tiny_dataset.user[rows], tiny_dataset.rating[rows])
        without = best[out.user] < 5
        assert 0 < without.sum() < len(without), "both kinds are needed"
        everyone = "precision", "ndcg", "novelty", "popularity", "tied_cutoffs"
        for name in RANKING:
            found, values = out.metrics[f"{name}@2"], out.per_user[f"{name}@2"]
            left_out = without.sum() if name not in everyone else 0
            assert found.n_left_out == left_out, name
            assert found.n_used == len(without) - left_out, name
            if left_out:
                np.testing.assert_array_equal(np.isnan(values[0]), without)
                np.testing.assert_allclose(
                    found.values, values[:, ~without].mean(1), rtol=1e-6
                )

    def test_a_metric_that_nobody_has_is_nan_counted_and_null_in_json(self, judge):
        names = "precision", "recall", "ndcg", "novelty"
        out = judge(threshold=5.5, ranking={name: RANKING[name] for name in names})
        for name in ("recall", "ndcg"):
            found = out.metrics[f"{name}@2"]
            assert np.isnan(found.mean)
            assert np.isnan(found.ci95).all()
            assert (found.n_used, found.n_left_out) == (0, len(out.user))
            text = json.dumps(summary.to_json(found), allow_nan=False)
            assert json.loads(text)["mean"] is None
        assert out.metrics["precision@2"].mean == 0
        assert out.metrics["novelty@2"].mean > 0


class TestIntervals:
    def test_every_interval_is_of_the_same_users_drawn(self, both):
        out = both["catalogue"]
        counts = summary.bootstrap(np.eye(len(out.user))[None])[:, 0]
        for name, values in out.per_user.items():
            if name in RATING:
                continue
            some = ~np.isnan(values[0])
            drawn = (
                counts[:, some] @ values[:, some].T / counts[:, some].sum(1)[:, None]
            )
            expected = np.percentile(drawn.mean(axis=1), [2.5, 97.5])
            np.testing.assert_allclose(
                out.metrics[name].ci95, expected, rtol=1e-5, atol=1e-6, err_msg=name
            )

    def test_those_of_rating_metrics_add_sums_before_they_divide(self, plain):
        counts = summary.bootstrap(np.eye(len(plain.user))[None])[:, 0]
        sums = plain.sums
        squared, rows = counts @ sums.squared.T, counts @ sums.rows.T
        deviation = (
            counts @ sums.rating_squared.T - (counts @ sums.rating.T) ** 2 / rows
        )
        drawn = {
            "rmse": (squared / rows) ** 0.5,
            "mae": counts @ sums.absolute.T / rows,
            "r2": 1 - squared / deviation,
        }
        for name, values in drawn.items():
            expected = np.percentile(values.mean(axis=1), [2.5, 97.5])
            found = plain.metrics[name].ci95
            np.testing.assert_allclose(found, expected, rtol=1e-5, err_msg=name)
            assert found[0] < plain.metrics[name].mean < found[1]

    def test_a_metric_has_the_same_interval_whatever_it_is_judged_with(
        self, judge, plain
    ):
        alone = judge(ranking={"again": RANKING["ndcg"]}).metrics["again@2"]
        np.testing.assert_allclose(alone.ci95, plain.metrics["ndcg@2"].ci95, rtol=1e-6)


class TestErrors:
    def test_no_rows_are_an_error(self, judge):
        with pytest.raises(RunError, match="no rows to evaluate"):
            judge(rows=np.zeros(0, np.int64))

    @each_kind
    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_a_prediction_that_is_no_number_is_an_error_that_counts_them(
        self, judge, table, tiny_dataset, tiny_split, candidates, value
    ):
        broken = table.copy()
        broken[1, 2] = value
        bad = int((tiny_dataset.user[tiny_split.test] == 2).sum())
        with pytest.raises(RunError, match=rf"^{bad} of [\d,]+ predictions are NaN"):
            judge(broken, candidates=candidates)

    def test_a_score_of_the_catalogue_that_is_no_number_is_an_error(
        self, judge, table, tiny_dataset, tiny_split
    ):
        rows = tiny_split.test
        unrated = np.ones(table.shape[1:], bool)
        unrated[tiny_dataset.user[rows], tiny_dataset.item[rows]] = False
        broken = np.where(unrated, np.nan, table).astype(np.float32)
        with pytest.raises(RunError, match="Scores of the catalogue"):
            judge(broken, candidates="catalogue")
        # Control: where only rated rows are ranked, nobody asks for the others.
        assert judge(broken).metrics["rmse"].mean > 0

    def test_squared_errors_that_overflow_are_an_error(self, judge, table):
        huge = table.astype(np.float64) * 1e200
        with pytest.raises(RunError, match="squared errors overflow"):
            judge(huge)

    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_a_rating_that_is_no_number_is_no_fault_of_the_model(
        self, table, tiny_dataset, tiny_split, value
    ):
        rows, rating = tiny_split.test, tiny_dataset.rating.copy()
        rating[rows[3:5]] = value
        broken = dataclasses.replace(tiny_dataset, rating=rating)
        found = table[:, broken.user[rows], broken.item[rows]]
        with pytest.raises(
            DataError, match=r"^2 of [\d,]+ ratings to judge by are NaN"
        ):
            evaluate_scores(found, broken, rows)
        rating[tiny_split.train[3]] = value  # of no interest among other rows
        assert evaluate_scores(found[:, 5:], broken, rows[5:]).metrics["rmse"].mean > 0
