"""Ranking metrics by the reference's reading (R4), ties by expectation (R6).

Without ties they equal a plain loop, a pandas version and scikit-learn; with ties the
mean over every order that the scores allow. What the mask hides never matters.
"""

import itertools
import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from scipy.stats import hypergeom
from sklearn.metrics import ndcg_score, precision_score, recall_score

from ncf_jax.metrics import DEFINITIONS, RANKING

each_metric = pytest.mark.parametrize("name", RANKING)


def all_metrics(scores, relevance, where=None, *, k):
    return {
        name: metric(scores, relevance, where=where, k=k)
        for name, metric in RANKING.items()
    }


JITTED = jax.jit(all_metrics, static_argnames="k")


def run(scores, relevance, where=None, *, k):
    """All metrics of some lists [..., L <= 32], padded to one shape: few compilations.

    That padding and leading axes change nothing has its own tests below.
    """
    scores, relevance = np.asarray(scores, np.float32), np.asarray(relevance, bool)
    where = np.ones(scores.shape, bool) if where is None else np.asarray(where)
    shape, length = scores.shape[:-1], scores.shape[-1]
    pad = (0, 2048 - math.prod(shape)), (0, 32 - length)
    out = JITTED(
        np.pad(scores.reshape(-1, length), pad, constant_values=np.nan),
        np.pad(relevance.reshape(-1, length), pad, constant_values=True),
        np.pad(where.reshape(-1, length), pad),
        k=k,
    )
    return {
        name: np.asarray(values)[: math.prod(shape)].reshape(shape)
        for name, values in out.items()
    }


def by_loop(name, relevance, k):
    """The reference's reading of one list that lies in its final order."""
    top = relevance[:k]
    if name == "precision":
        return sum(top) / k
    if name == "recall":
        return sum(top) / sum(relevance) if sum(relevance) else math.nan
    dcg = ideal = 0.0
    for place, hit in enumerate(top, start=1):
        dcg += hit / math.log2(place + 1)
    for place, hit in enumerate(sorted(top, reverse=True), start=1):
        ideal += hit / math.log2(place + 1)
    return dcg / ideal if ideal else 0.0


def by_array(name, relevance, k):
    """The same for many lists at once: [..., L] in final order -> [...]."""
    top = relevance[..., :k].astype(float)
    if name == "precision":
        return top.sum(axis=-1) / k
    if name == "recall":
        with np.errstate(invalid="ignore"):
            return top.sum(axis=-1) / relevance.sum(axis=-1)
    discount = 1 / np.log2(np.arange(top.shape[-1]) + 2)
    ideal = (np.sort(top, axis=-1)[..., ::-1] * discount).sum(axis=-1)
    return (top * discount).sum(axis=-1) / np.where(ideal > 0, ideal, 1)


def orders_of(scores):
    """Every order of the candidates in which no score is below the next one's."""
    return [
        order
        for order in itertools.permutations(range(len(scores)))
        if all(scores[a] >= scores[b] for a, b in itertools.pairwise(order))
    ]


def over_orders(name, scores, relevance, k):
    return np.mean(
        [by_loop(name, [relevance[i] for i in order], k) for order in orders_of(scores)]
    )


def distinct(rng, *shape):
    return rng.permuted(np.tile(np.arange(shape[-1]), (*shape[:-1], 1)), axis=-1) / 8


class TestWithoutTies:
    @pytest.mark.parametrize("k", [1, 3, 10, 20])
    def test_a_metric_equals_a_plain_loop(self, k):
        rng = np.random.default_rng(k)
        scores, relevance = distinct(rng, 60, 12), rng.random((60, 12)) < 0.4
        relevance[0], relevance[1] = False, True
        for name, values in run(scores, relevance, k=k).items():
            for value, score, relevant in zip(values, scores, relevance, strict=True):
                order = sorted(range(12), key=lambda i: -score[i])
                expected = by_loop(name, [int(relevant[i]) for i in order], k)
                np.testing.assert_allclose(value, expected, atol=1e-6, err_msg=name)

    @each_metric
    def test_a_metric_equals_the_pandas_version_on_users_with_lists_of_any_length(
        self, name
    ):
        rng = np.random.default_rng(3)
        where = np.arange(30) < rng.integers(1, 31, 40)[:, None]
        scores, relevance = distinct(rng, 40, 30), rng.random((40, 30)) < 0.3
        user, column = np.nonzero(where)
        table = pd.DataFrame(
            {
                "user": user,
                "score": scores[user, column],
                "hit": relevance[user, column],
            }
        )
        expected = [
            by_loop(name, list(rows.sort_values("score", ascending=False)["hit"]), 10)
            for _, rows in table.groupby("user")
        ]
        out = run(scores, relevance, where, k=10)[name]
        np.testing.assert_allclose(out, expected, atol=1e-6)
        # Control: a metric that read the padding would give this.
        assert not np.allclose(out, run(scores, relevance, k=10)[name], atol=1e-3)

    @pytest.mark.parametrize("k", [1, 3, 6])
    def test_precision_and_recall_equal_scikit_learn(self, k):
        rng = np.random.default_rng(k)
        scores, relevance = distinct(rng, 30, 9), rng.random((30, 9)) < 0.5
        relevance[:, 0] = True  # scikit-learn warns where recall is not defined
        retrieved = scores.argsort(axis=1).argsort(axis=1) >= 9 - k
        out = run(scores, relevance, k=k)
        for name, oracle in (("precision", precision_score), ("recall", recall_score)):
            expected = [oracle(*row) for row in zip(relevance, retrieved, strict=True)]
            np.testing.assert_allclose(out[name], expected, atol=1e-6)

    def test_ndcg_equals_scikit_learn_where_the_whole_list_is_retrieved(self):
        rng = np.random.default_rng(0)
        scores, relevance = distinct(rng, 50, 8), rng.random((50, 8)) < 0.4
        expected = [ndcg_score(relevance[[i]], scores[[i]]) for i in range(50)]
        out = run(scores, relevance, k=10)["ndcg"]
        np.testing.assert_allclose(out, expected, atol=1e-6)
        # Control: at a cut-off inside the list the two readings part.
        cut = [ndcg_score(relevance[[i]], scores[[i]], k=3) for i in range(50)]
        assert not np.allclose(run(scores, relevance, k=3)["ndcg"], cut, atol=1e-2)

    def test_ndcg_equals_scikit_learn_where_every_relevant_item_is_retrieved(self):
        rng = np.random.default_rng(1)
        scores = distinct(rng, 50, 8)
        best = scores.argsort(axis=1).argsort(axis=1) >= 4
        relevance = best & (rng.random((50, 8)) < 0.6)
        expected = [ndcg_score(relevance[[i]], scores[[i]], k=4) for i in range(50)]
        out = run(scores, relevance, k=4)["ndcg"]
        np.testing.assert_allclose(out, expected, atol=1e-6)

    def test_the_values_of_one_list_by_hand(self):
        scores = [0.1, 0.9, 0.5, 0.7]  # order: 1, 3, 2, 0
        out = run(scores, [True, False, True, True], k=3)
        assert out["precision"] == pytest.approx(2 / 3)
        assert out["recall"] == pytest.approx(2 / 3)
        dcg = 1 / math.log2(2 + 1) + 1 / math.log2(3 + 1)
        ideal = 1 / math.log2(1 + 1) + 1 / math.log2(2 + 1)
        assert out["ndcg"] == pytest.approx(dcg / ideal)

    def test_ndcg_does_not_count_what_the_list_missed(self):
        # The reference's ideal is the retrieved list itself, re-sorted: one hit at
        # the top is perfect even when five more relevant items were missed ...
        scores = [7, 6, 5, 4, 3, 2, 1]
        assert run(scores, [1, 0, 1, 1, 1, 1, 1], k=2)["ndcg"] == 1
        # ... so that retrieving one more at place 3 of 3 lowers the score.
        assert run(scores, [1, 0, 0, 1, 0, 0, 0], k=3)["ndcg"] == 1
        assert run(scores, [1, 0, 1, 0, 0, 0, 0], k=3)["ndcg"] == pytest.approx(
            (1 + 1 / 2) / (1 + 1 / math.log2(3))
        )


class TestTies:
    @pytest.mark.parametrize("k", [1, 2, 3, 4, 6, 10])
    def test_every_pattern_of_ties_equals_the_mean_over_its_orders(self, k):
        # All 32 ways to tie neighbours among six candidates, all 64 relevances.
        relevance = np.array(list(itertools.product([False, True], repeat=6)))
        joins = list(itertools.product([0, 1], repeat=5))
        levels = -np.array([[0, *np.cumsum(join)] for join in joins]) / 4
        scores_TxMx6 = np.repeat(levels[:, None], 64, axis=1)
        relevance_TxMx6 = np.repeat(relevance[None], 32, axis=0)
        # The input's own order must not matter: each list is shuffled.
        places = distinct(np.random.default_rng(k), 32, 64, 6) * 8
        places = places.astype(int)
        out = run(
            np.take_along_axis(scores_TxMx6, places, axis=-1),
            np.take_along_axis(relevance_TxMx6, places, axis=-1),
            k=k,
        )
        for tie, level in enumerate(levels):
            orders = np.array(orders_of(level))
            for name, values in out.items():
                expected = by_array(name, relevance[:, orders], k).mean(axis=1)
                np.testing.assert_allclose(
                    values[tie], expected, atol=1e-6, err_msg=f"{name}, {level}"
                )

    @each_metric
    @pytest.mark.parametrize(
        ("scores", "k"),
        [
            ([5, 5, 5, 5], 1),
            ([5, 5, 5, 5], 2),
            ([9, 5, 5, 5], 2),
            ([9, 5, 5, 5], 3),
            ([9, 9, 5, 5], 3),
        ],
    )
    def test_a_tie_at_the_cut_off_is_not_settled_by_the_order_of_the_input(
        self, name, scores, k
    ):
        relevance = [False, False, False, True]
        expected = over_orders(name, scores, relevance, k)
        # A stable sort would leave the relevant candidate out of the list.
        assert by_loop(name, relevance, k) == 0 < expected
        for step in (1, -1):
            out = run(scores[::step], relevance[::step], k=k)[name]
            np.testing.assert_allclose(out, expected, atol=1e-6)

    def test_ndcg_is_the_mean_ratio_and_not_the_ratio_of_means(self):
        scores, relevance, k = [5, 5, 5, 5], [1, 1, 0, 0], 2
        tops = [[relevance[i] for i in order][:k] for order in orders_of(scores)]
        dcg = [a / math.log2(2) + b / math.log2(3) for a, b in tops]
        ideal = [(a or b) / math.log2(2) + (a and b) / math.log2(3) for a, b in tops]
        expected = np.mean(
            [d / i if i else 0.0 for d, i in zip(dcg, ideal, strict=True)]
        )
        out = run(scores, relevance, k=k)["ndcg"]
        np.testing.assert_allclose(out, expected, atol=1e-6)
        assert abs(expected - np.mean(dcg) / np.mean(ideal)) > 0.05

    def test_ndcg_averages_ties_as_scikit_learn_does_for_whole_lists(self):
        rng = np.random.default_rng(2)
        scores, relevance = rng.integers(0, 3, (50, 8)) / 2, rng.random((50, 8)) < 0.4
        expected = [ndcg_score(relevance[[i]], scores[[i]]) for i in range(50)]
        out = run(scores, relevance, k=10)["ndcg"]
        np.testing.assert_allclose(out, expected, atol=1e-6)
        broken = scores - np.arange(8) / 1e3  # ties settled by the input's order
        assert not np.allclose(run(broken, relevance, k=10)["ndcg"], expected, 1e-2)

    @pytest.mark.parametrize("k", [1, 10, 100])
    def test_thousands_of_tied_candidates_score_chance(self, k):
        many = 3_000
        relevant = np.array([1, 30, 1_500, 2_999, 3_000])
        relevance = np.arange(many) < relevant[:, None]
        out = JITTED(np.full((5, many), 0.5), relevance, k=k)
        np.testing.assert_allclose(out["precision"], relevant / many, rtol=1e-5)
        np.testing.assert_allclose(out["recall"], np.full(5, k / many), rtol=1e-5)
        discount = 1 / np.log2(np.arange(k) + 2)
        hits = np.arange(1, k + 1)
        ratio = hits * discount.mean() / np.cumsum(discount)
        expected = [hypergeom.pmf(hits, many, r, k) @ ratio for r in relevant]
        np.testing.assert_allclose(out["ndcg"], expected, atol=1e-5)

    def test_a_large_tie_across_the_cut_off_behind_sure_places(self):
        many, k, sure = 3_000, 10, np.array([1, 0, 1, 0])
        insides = np.array([0, 1, 300, 2_900, 2_996])
        scores_5xL = np.array([[9, 8, 7, 6] + [1] * (many - 4)] * 5, float)
        tail_5xT = np.arange(many - 4) < insides[:, None]
        relevance_5xL = np.concatenate([np.array([sure] * 5) > 0, tail_5xT], axis=1)
        out = JITTED(scores_5xL, relevance_5xL, k=k)
        hits = np.arange(k - 4 + 1)
        discount = 1 / np.log2(np.arange(k) + 2)
        dcg = sure @ discount[:4] + hits * discount[4:].mean()
        ideal = np.cumsum(discount)[2 + hits - 1]
        for row, inside in enumerate(insides):
            chance = hypergeom.pmf(hits, many - 4, inside, k - 4)
            found = 2 + chance @ hits
            expected = {
                "precision": found / k,
                "recall": found / (2 + inside),
                "ndcg": chance @ (dcg / ideal),
            }
            for name, value in expected.items():
                np.testing.assert_allclose(out[name][row], value, rtol=1e-5)

    def test_scores_that_are_equal_in_float32_are_tied(self):
        close = [0.1, 0.1 - 1e-10]
        assert close[0] != close[1]
        assert run(close, [False, True], k=1)["precision"] == 1 / 2
        apart = [0.1, 0.1 - 1e-6]
        assert run(apart, [False, True], k=1)["precision"] == 0

    @each_metric
    @pytest.mark.parametrize("zeros", [(0.0, -0.0), (-0.0, 0.0)])
    def test_zero_and_minus_zero_are_tied(self, name, zeros):
        assert run(zeros, [False, True], k=1)[name] == 1 / 2
        assert run((0.0, -1e-3), [False, True], k=1)[name] == 0


class TestMask:
    @each_metric
    @pytest.mark.parametrize("junk", [np.nan, np.inf, -np.inf, 1e38, -1e38, 0.5])
    def test_a_masked_candidate_never_matters(self, name, junk):
        rng = np.random.default_rng(0)
        scores = (rng.integers(0, 4, (20, 8)) / 4).astype(np.float32)
        relevance, where = rng.random((20, 8)) < 0.5, rng.random((20, 8)) < 0.3
        clean = run(scores, relevance & where, where, k=3)[name]
        spoiled = np.where(where, scores, np.float32(junk))
        out = run(spoiled, relevance | ~where, where, k=3)[name]
        np.testing.assert_array_equal(out, clean)
        # Control: the masked candidates would matter if they counted.
        unmasked = run(spoiled, relevance | ~where, k=3)[name]
        assert not np.allclose(unmasked, clean, atol=1e-3, equal_nan=True)

    @each_metric
    def test_a_masked_list_equals_the_list_without_the_masked(self, name):
        scores = np.array([9.0, 0.3, 0.7, 0.7, 5.0, 0.2])
        relevance = np.array([True, True, False, True, False, False])
        where = np.array([False, True, True, True, False, True])
        short = run(scores[where], relevance[where], k=2)[name]
        masked = run(scores, relevance, where, k=2)[name]
        np.testing.assert_allclose(masked, short, atol=1e-6)

    @each_metric
    def test_a_real_candidate_with_the_lowest_score_still_comes_before_padding(
        self, name
    ):
        out = run([9, -np.inf], [False, True], [False, True], k=1)[name]
        assert out == 1, "the only candidate is relevant and must be in the first 1"

    def test_no_mask_is_a_mask_of_all(self):
        rng = np.random.default_rng(0)
        scores, relevance = distinct(rng, 5, 6), rng.random((5, 6)) < 0.5
        unmasked = JITTED(scores, relevance, k=3)
        masked = JITTED(scores, relevance, np.ones((5, 6), bool), k=3)
        for name in RANKING:
            np.testing.assert_array_equal(unmasked[name], masked[name])


class TestEdges:
    @each_metric
    def test_a_list_without_candidates_is_nan(self, name):
        nowhere = np.zeros((3, 4), bool)
        nowhere[1] = True
        out = run(np.ones((3, 4)), np.ones((3, 4)), nowhere, k=2)[name]
        assert np.isnan(out).tolist() == [True, False, True]

    @each_metric
    def test_a_list_of_no_length_is_nan(self, name):
        out = RANKING[name](jnp.zeros((2, 0)), jnp.zeros((2, 0), bool), k=2)
        assert np.isnan(out).tolist() == [True, True]

    def test_no_users_give_no_values(self):
        nobody = jnp.zeros((0, 4)), jnp.zeros((0, 4), bool)
        for values in jax.eval_shape(partial(all_metrics, k=2), *nobody).values():
            assert values.shape == (0,)

    @pytest.mark.parametrize("k", [1, 2, 10])
    def test_a_single_candidate(self, k):
        hit = run([0.3], [True], k=k)
        assert hit["precision"] == pytest.approx(1 / k)
        assert hit["recall"] == hit["ndcg"] == 1
        miss = run([0.3], [False], k=k)
        assert miss["precision"] == miss["ndcg"] == 0
        assert np.isnan(miss["recall"])

    def test_nobody_relevant_is_zero_for_precision_and_ndcg_and_left_out_of_recall(
        self,
    ):
        out = run([5, 4, 3, 2, 1], [False] * 5, k=3)
        assert out["precision"] == out["ndcg"] == 0
        assert np.isnan(out["recall"])

    def test_relevant_candidates_below_the_cut_off_give_zero(self):
        out = run([3, 2, 1], [False, False, True], k=2)
        assert out["precision"] == out["ndcg"] == out["recall"] == 0

    def test_a_list_shorter_than_k_is_divided_by_k_all_the_same(self):
        out = run([1, 2, 3, 4], [True, True, False, True], k=10)
        assert out["precision"] == pytest.approx(3 / 10)
        assert out["recall"] == 1

    def test_a_cut_off_beyond_the_list_changes_only_precision(self):
        rng = np.random.default_rng(4)
        scores, relevance = rng.integers(0, 3, (9, 6)) / 2, rng.random((9, 6)) < 0.5
        whole, beyond = (run(scores, relevance, k=k) for k in (6, 20))
        for name in ("ndcg", "recall"):
            np.testing.assert_allclose(whole[name], beyond[name], atol=1e-6)
        precision = whole["precision"] * 6 / 20
        np.testing.assert_allclose(beyond["precision"], precision, atol=1e-6)

    def test_recall_of_a_whole_list_is_exactly_one_and_never_above(self):
        # All tied, every number of candidates and of relevant ones up to 100.
        size = np.arange(100)
        relevance_NxL = size[None, :] <= size[:, None]
        for length in (3, 49, 100):
            out = JITTED(
                np.zeros((100, 100)),
                relevance_NxL,
                np.broadcast_to(size < length, (100, 100)),
                k=100,
            )["recall"]
            assert out.max() <= 1, f"recall of {float(out.max()):.9f} is above 1"
            np.testing.assert_allclose(out, 1, atol=1e-6)

    @pytest.mark.parametrize("k", [3, 10])
    def test_ndcg_of_a_perfect_order_is_never_above_one(self, k):
        relevance = np.arange(30)[None, :] <= np.arange(30)[:, None]
        scores = -np.arange(30.0)[None].repeat(30, axis=0)
        out = run(scores, relevance, k=k)["ndcg"]
        np.testing.assert_allclose(out, 1, atol=1e-6)
        assert out.max() <= 1, f"an NDCG of {float(out.max()):.9f} is above 1"

    def test_axes_before_the_last_are_kept(self):
        rng = np.random.default_rng(5)
        scores = rng.integers(0, 4, (2, 3, 6)) / 4
        relevance, where = rng.random((2, 3, 6)) < 0.5, rng.random((2, 3, 6)) < 0.8
        out = JITTED(scores, relevance, where, k=3)
        for name, values in out.items():
            assert values.shape == (2, 3)
            assert len(np.unique(values)) > 1
            for place in np.ndindex(2, 3):
                score, hits = (
                    scores[place][where[place]],
                    relevance[place][where[place]],
                )
                expected = over_orders(name, score, hits, 3)
                np.testing.assert_allclose(values[place], expected, atol=1e-6)

    @each_metric
    @pytest.mark.parametrize(
        ("scores", "relevance", "where"),
        [
            ((2, 4), (4,), None),
            ((2, 4), (2, 1), None),
            ((4,), (2, 4), None),
            ((2, 4), (2, 4), (4,)),
            ((2, 4), (2, 4), (2, 1)),
        ],
    )
    def test_shapes_that_would_broadcast_raise(self, name, scores, relevance, where):
        where = None if where is None else jnp.ones(where, bool)
        with (
            jax.numpy_rank_promotion("allow"),
            pytest.raises(AssertionError, match="shape"),
        ):
            RANKING[name](
                jnp.zeros(scores), jnp.zeros(relevance, bool), where=where, k=2
            )

    def test_relevance_may_be_zeros_and_ones(self):
        scores, relevance = jnp.array([0.3, 0.1, 0.2]), jnp.array([0, 1, 1])
        out = all_metrics(scores, relevance, k=2)
        assert out == all_metrics(scores, relevance > 0, k=2)
        assert out != all_metrics(scores, 1 - relevance, k=2)

    def test_metrics_are_the_same_when_not_jitted(self):
        scores = jnp.array([0.5, 0.5, 0.1, 0.9, 0.5])
        relevance = jnp.array([True, False, True, False, True])
        jitted = run(scores, relevance, k=2)
        for name, value in all_metrics(scores, relevance, k=2).items():
            np.testing.assert_allclose(jitted[name], value, atol=1e-6)


@each_metric
def test_every_ranking_metric_is_defined_in_words(name):
    words = DEFINITIONS[name].format(k=7)
    assert "7" in words or name == "recall"
    assert "{" not in words
