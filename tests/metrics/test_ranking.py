"""Ranking metrics on hand-made lists, in every reading (R4), ties by expectation (R6).

Without ties they equal a plain loop, a pandas version and scikit-learn; with ties the
mean over every order that the scores allow. What the mask hides never matters.
Random cases against other libraries are in properties/test_ranking_oracles.py.
"""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from scipy.stats import hypergeom
from sklearn.metrics import ndcg_score, precision_score, recall_score

from ncf_jax.metrics import CONVENTIONS, RANKING, ranking
from tests.metrics.oracles import (
    DISTINCT,
    READINGS,
    READS,
    by_loop,
    by_order,
    distinct,
    is_nan_without_relevant,
    jitted,
    orders_of,
    over_orders,
    parts,
    run,
)

REFERENCE = CONVENTIONS["reference"]
ALL = list(DISTINCT.values())
ORDERED = [reading for reading in ALL if not reading.endswith("tied_cutoffs")]
NDCG = [reading for reading in ALL if reading.endswith("ndcg")]
each_reading = pytest.mark.parametrize("reading", ALL)


def reference(scores, relevance, where=None, *, k):
    """The three metrics of the reference experiment."""
    out = run(scores, relevance, where, k=k)
    return {name: out[f"reference/{name}"] for name in ("precision", "ndcg", "recall")}


def long_lists(scores, relevance, *, k):
    """All readings of lists of any length, without padding."""
    values = dict.fromkeys(READS, np.asarray(relevance, np.float32))
    where = np.ones(np.shape(scores), bool)
    return jitted(np.asarray(scores, np.float32), values, where, k=k)


class TestWithoutTies:
    @pytest.mark.parametrize("k", [1, 3, 10])
    def test_a_metric_equals_a_plain_loop(self, k):
        rng = np.random.default_rng(k)
        scores, relevance = distinct(rng, 60, 12), rng.random((60, 12)) < 0.4
        relevance[0], relevance[1] = False, True
        out = run(scores, relevance, k=k)
        for name in ORDERED:
            values = out[name]
            for value, score, relevant in zip(values, scores, relevance, strict=True):
                order = sorted(range(12), key=lambda i: -score[i])
                expected = by_loop(name, [int(relevant[i]) for i in order], k)
                np.testing.assert_allclose(value, expected, atol=1e-6, err_msg=name)

    def test_a_metric_equals_the_pandas_version_on_users_with_lists_of_any_length(self):
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
        listed = [
            list(rows.sort_values("score", ascending=False)["hit"])
            for _, rows in table.groupby("user")
        ]
        out = run(scores, relevance, where, k=10)
        unmasked = run(scores, relevance, k=10)
        for name in ORDERED:
            expected = [by_loop(name, hits, 10) for hits in listed]
            np.testing.assert_allclose(out[name], expected, atol=1e-6, err_msg=name)
            # Control: a metric that read the padding would give this.
            assert not np.allclose(out[name], unmasked[name], atol=1e-3), name

    @pytest.mark.parametrize("k", [1, 3])
    def test_precision_and_recall_equal_scikit_learn(self, k):
        rng = np.random.default_rng(k)
        scores, relevance = distinct(rng, 30, 9), rng.random((30, 9)) < 0.5
        relevance[:, 0] = True  # scikit-learn warns where recall is not defined
        retrieved = scores.argsort(axis=1).argsort(axis=1) >= 9 - k
        out = reference(scores, relevance, k=k)
        for name, oracle in (("precision", precision_score), ("recall", recall_score)):
            expected = [oracle(*row) for row in zip(relevance, retrieved, strict=True)]
            np.testing.assert_allclose(out[name], expected, atol=1e-6)

    def test_ndcg_equals_scikit_learn_where_the_whole_list_is_retrieved(self):
        rng = np.random.default_rng(0)
        scores, relevance = distinct(rng, 50, 8), rng.random((50, 8)) < 0.4
        expected = [ndcg_score(relevance[[i]], scores[[i]]) for i in range(50)]
        out = reference(scores, relevance, k=10)["ndcg"]
        np.testing.assert_allclose(out, expected, atol=1e-6)
        # At a cut-off inside the list the reference's reading is another, and the
        # standard one is theirs.
        cut = [ndcg_score(relevance[[i]], scores[[i]], k=3) for i in range(50)]
        out = run(scores, relevance, k=3)
        assert not np.allclose(out["reference/ndcg"], cut, atol=1e-2)
        some = relevance.any(axis=1)
        found = out["standard/ndcg"][some]
        np.testing.assert_allclose(found, np.array(cut)[some], atol=1e-6)

    def test_ndcg_equals_scikit_learn_where_every_relevant_item_is_retrieved(self):
        rng = np.random.default_rng(1)
        scores = distinct(rng, 50, 8)
        best = scores.argsort(axis=1).argsort(axis=1) >= 5
        relevance = best & (rng.random((50, 8)) < 0.6)
        expected = [ndcg_score(relevance[[i]], scores[[i]], k=3) for i in range(50)]
        out = reference(scores, relevance, k=3)["ndcg"]
        np.testing.assert_allclose(out, expected, atol=1e-6)

    def test_the_values_of_one_list_by_hand(self):
        scores = [0.1, 0.9, 0.5, 0.7]  # order: 1, 3, 2, 0
        out = reference(scores, [True, False, True, True], k=3)
        assert out["precision"] == pytest.approx(2 / 3)
        assert out["recall"] == pytest.approx(2 / 3)
        dcg = 1 / math.log2(2 + 1) + 1 / math.log2(3 + 1)
        ideal = 1 / math.log2(1 + 1) + 1 / math.log2(2 + 1)
        assert out["ndcg"] == pytest.approx(dcg / ideal)

    def test_ndcg_does_not_count_what_the_list_missed(self):
        # The reference's ideal is the retrieved list itself, re-sorted: one hit at
        # the top is perfect even when five more relevant items were missed ...
        scores = [7, 6, 5, 4, 3, 2, 1]
        assert reference(scores, [1, 0, 1, 1, 1, 1, 1], k=2)["ndcg"] == 1
        # ... so that retrieving one more at place 3 of 3 lowers the score.
        assert reference(scores, [1, 0, 0, 1, 0, 0, 0], k=3)["ndcg"] == 1
        assert reference(scores, [1, 0, 1, 0, 0, 0, 0], k=3)["ndcg"] == pytest.approx(
            (1 + 1 / 2) / (1 + 1 / math.log2(3))
        )

    def test_the_other_metrics_of_one_list_by_hand(self):
        scores = [0.1, 0.9, 0.5, 0.7]  # order: 1, 3, 2, 0
        relevance = [True, False, True, True]
        out = run(scores, relevance, k=3)
        assert out["standard/hit_rate"] == 1
        assert out["standard/mrr"] == 1 / 2
        assert out["standard/map"] == pytest.approx((1 / 2 + 2 / 3) / 3)
        assert out["standard/tied_cutoffs"] == 0
        out = run(scores, relevance, k=1)
        for name in ("hit_rate", "mrr", "map"):
            assert out[f"standard/{name}"] == 0
        told = {"relevant": relevance, "information": [1.0, 2, 4, 8]}
        out = run(scores, told | {"popular": [1, 0, 0, 0.5]}, k=3)
        assert out["standard/novelty"] == pytest.approx((2 + 8 + 4) / 3)
        assert out["standard/popularity"] == pytest.approx(0.5 / 3)


class TestTies:
    @pytest.mark.parametrize("k", [1, 2, 3, 10])
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
            for name in ORDERED:
                expected = by_order(name, relevance[:, orders], k).mean(axis=1)
                np.testing.assert_allclose(
                    out[name][tie], expected, atol=1e-6, err_msg=f"{name}, {level}"
                )
            across = k < 6 and level[k - 1] == level[min(k, 5)]
            assert (out["standard/tied_cutoffs"][tie] == across).all()

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
        self, scores, k
    ):
        relevance = [False, False, False, True]
        one, other = (run(scores[::s], relevance[::s], k=k) for s in (1, -1))
        for name in ALL:
            expected = over_orders(name, scores, relevance, k)
            # A stable sort would leave the relevant candidate out of the list.
            if name in ORDERED:
                assert by_loop(name, relevance, k) == 0 < expected
            for out in (one, other):
                np.testing.assert_allclose(out[name], expected, atol=1e-6)

    def test_ndcg_is_the_mean_ratio_and_not_the_ratio_of_means(self):
        scores, relevance, k = [5, 5, 5, 5], [1, 1, 0, 0], 2
        tops = [[relevance[i] for i in order][:k] for order in orders_of(scores)]
        dcg = [a / math.log2(2) + b / math.log2(3) for a, b in tops]
        ideal = [(a or b) / math.log2(2) + (a and b) / math.log2(3) for a, b in tops]
        expected = np.mean(
            [d / i if i else 0.0 for d, i in zip(dcg, ideal, strict=True)]
        )
        out = reference(scores, relevance, k=k)["ndcg"]
        np.testing.assert_allclose(out, expected, atol=1e-6)
        assert abs(expected - np.mean(dcg) / np.mean(ideal)) > 0.05

    def test_ndcg_averages_ties_as_scikit_learn_does_for_whole_lists(self):
        rng = np.random.default_rng(2)
        scores, relevance = rng.integers(0, 3, (50, 8)) / 2, rng.random((50, 8)) < 0.4
        expected = [ndcg_score(relevance[[i]], scores[[i]]) for i in range(50)]
        out = reference(scores, relevance, k=10)["ndcg"]
        np.testing.assert_allclose(out, expected, atol=1e-6)
        broken = scores - np.arange(8) / 1e3  # ties settled by the input's order
        other = reference(broken, relevance, k=10)["ndcg"]
        assert not np.allclose(other, expected, 1e-2)

    @pytest.mark.parametrize("k", [1, 100])
    def test_thousands_of_tied_candidates_score_chance(self, k):
        many = 3_000
        relevant = np.array([1, 30, 1_500, 2_999, 3_000])
        relevance = np.arange(many) < relevant[:, None]
        out = long_lists(np.full((5, many), 0.5), relevance, k=k)

        def assert_is(reading, expected, rtol=1e-5):
            np.testing.assert_allclose(
                out[reading], expected, rtol=rtol, atol=1e-6, err_msg=reading
            )

        assert_is("standard/precision", relevant / many)
        assert_is("standard/recall", np.full(5, k / many))
        assert_is("lenskit/recall", k * relevant / many / np.minimum(relevant, k))
        discount = 1 / np.log2(np.arange(k) + 2)
        hits = np.arange(1, k + 1)
        drawn = [hypergeom.pmf(hits, many, r, k) for r in relevant]
        ratio = hits * discount.mean() / np.cumsum(discount)
        assert_is("reference/ndcg", [chance @ ratio for chance in drawn], 1e-4)
        assert_is("standard/hit_rate", np.sum(drawn, axis=1))
        ideal = np.cumsum(discount)[np.minimum(relevant, k) - 1]
        assert_is("standard/ndcg", relevant / many * discount.sum() / ideal)
        # P(first relevant one at place p) = P(p - 1 misses) P(hit after them).
        missed = [hypergeom.pmf(0, many, r, hits - 1) for r in relevant]
        at_last = [
            m * np.minimum(r / (many - hits + 1), 1)
            for m, r in zip(missed, relevant, strict=True)
        ]
        assert_is("standard/mrr", np.array(at_last) @ (1 / hits))
        others = (hits - 1) * ((relevant - 1) / (many - 1))[:, None]
        found = ((1 + others) / hits).sum(axis=1)
        assert_is("standard/map", found / many)
        assert_is("standard/tied_cutoffs", np.ones(5))

    def test_a_large_tie_across_the_cut_off_behind_sure_places(self):
        many, k, sure = 3_000, 10, np.array([1, 0, 1, 0])
        insides = np.array([0, 1, 300, 2_900, 2_996])
        scores_5xL = np.array([[9, 8, 7, 6] + [1] * (many - 4)] * 5, float)
        tail_5xT = np.arange(many - 4) < insides[:, None]
        relevance_5xL = np.concatenate([np.array([sure] * 5) > 0, tail_5xT], axis=1)
        out = long_lists(scores_5xL, relevance_5xL, k=k)
        hits = np.arange(k - 4 + 1)
        discount = 1 / np.log2(np.arange(k) + 2)
        dcg = sure @ discount[:4] + hits * discount[4:].mean()
        ideal = np.cumsum(discount)[2 + hits - 1]
        for row, inside in enumerate(insides):
            chance = hypergeom.pmf(hits, many - 4, inside, k - 4)
            found = 2 + chance @ hits
            relevant = 2 + inside
            best = np.cumsum(discount)[min(relevant, k) - 1]
            expected = {
                "standard/precision": found / k,
                "standard/recall": found / relevant,
                "lenskit/recall": found / min(relevant, k),
                "reference/ndcg": chance @ (dcg / ideal),
                "standard/ndcg": chance @ dcg / best,
                "standard/hit_rate": 1,
                "standard/mrr": 1,
                "standard/tied_cutoffs": 1,
            }
            for name, value in expected.items():
                np.testing.assert_allclose(out[name][row], value, rtol=1e-5)

    def test_scores_that_are_equal_in_float32_are_tied(self):
        close = [0.1, 0.1 - 1e-10]
        assert close[0] != close[1]
        assert reference(close, [False, True], k=1)["precision"] == 1 / 2
        apart = [0.1, 0.1 - 1e-6]
        assert reference(apart, [False, True], k=1)["precision"] == 0

    @pytest.mark.parametrize("zeros", [(0.0, -0.0), (-0.0, 0.0)])
    def test_zero_and_minus_zero_are_tied(self, zeros):
        tied = run(zeros, [False, True], k=1)
        apart = run((0.0, -1e-3), [False, True], k=1)
        for name in ORDERED:
            assert tied[name] == 1 / 2, name
            assert apart[name] == 0, name
        assert tied["standard/tied_cutoffs"] == 1
        assert apart["standard/tied_cutoffs"] == 0


class TestMask:
    @pytest.mark.parametrize("junk", [np.nan, np.inf, -np.inf, 1e38, -1e38, 0.5])
    def test_a_masked_candidate_never_matters(self, junk):
        rng = np.random.default_rng(0)
        scores = (rng.integers(0, 4, (20, 8)) / 4).astype(np.float32)
        relevance, where = rng.random((20, 8)) < 0.5, rng.random((20, 8)) < 0.3
        clean = run(scores, relevance & where, where, k=3)
        spoiled = np.where(where, scores, np.float32(junk))
        out = run(spoiled, relevance | ~where, where, k=3)
        # Control: the masked candidates would matter if they counted.
        unmasked = run(spoiled, relevance | ~where, k=3)
        for name in ALL:
            np.testing.assert_array_equal(out[name], clean[name], err_msg=name)
            other = unmasked[name]
            assert not np.allclose(other, clean[name], atol=1e-3, equal_nan=True), name

    def test_a_masked_list_equals_the_list_without_the_masked(self):
        scores = np.array([9.0, 0.3, 0.7, 0.7, 5.0, 0.2])
        relevance = np.array([True, True, False, True, False, False])
        where = np.array([False, True, True, True, False, True])
        short = run(scores[where], relevance[where], k=2)
        masked = run(scores, relevance, where, k=2)
        for name in ALL:
            np.testing.assert_allclose(masked[name], short[name], atol=1e-6)

    def test_a_real_candidate_with_the_lowest_score_still_comes_before_padding(self):
        out = run([9, -np.inf], [False, True], [False, True], k=1)
        for name in ORDERED:
            assert out[name] == 1, "the only candidate is relevant and in the first 1"

    def test_no_mask_is_a_mask_of_all(self):
        rng = np.random.default_rng(0)
        scores, relevance = distinct(rng, 5, 6), rng.random((5, 6)) < 0.5
        scores, relevance = jnp.asarray(scores), jnp.asarray(relevance)
        for name, metric in RANKING.items():
            unmasked = metric(scores, relevance, k=3)
            masked = metric(scores, relevance, where=jnp.ones((5, 6), bool), k=3)
            np.testing.assert_array_equal(unmasked, masked, err_msg=name)


class TestEdges:
    def test_a_list_without_candidates_is_nan(self):
        nowhere = np.zeros((3, 4), bool)
        nowhere[1] = True
        out = run(np.ones((3, 4)), np.ones((3, 4)), nowhere, k=2)
        for name in ALL:
            assert np.isnan(out[name]).tolist() == [True, False, True], name

    @each_reading
    def test_a_list_of_no_length_is_nan(self, reading):
        out = READINGS[reading](jnp.zeros((2, 0)), jnp.zeros((2, 0), bool), k=2)
        assert np.isnan(out).tolist() == [True, True]

    @each_reading
    def test_no_users_give_no_values(self, reading):
        out = jax.eval_shape(
            lambda scores, hits: READINGS[reading](scores, hits, k=2),
            jnp.zeros((0, 4)),
            jnp.zeros((0, 4), bool),
        )
        assert out.shape == (0,)

    @pytest.mark.parametrize("k", [1, 2, 10])
    def test_a_single_candidate(self, k):
        hit, miss = (run([0.3], [relevant], k=k) for relevant in (True, False))
        for name in ORDERED:
            expected = {
                "standard/precision": 1 / k,
                "rectools/ndcg": 1 / (1 / np.log2(np.arange(k) + 2)).sum(),
            }.get(name, 1)
            assert hit[name] == pytest.approx(expected), name
            if is_nan_without_relevant(name):
                assert np.isnan(miss[name]), name
            else:
                assert miss[name] == 0, name
        assert hit["standard/tied_cutoffs"] == 0

    def test_nobody_relevant_is_zero_for_precision_and_the_references_ndcg(self):
        out = run([5, 4, 3, 2, 1], [False] * 5, k=3)
        zero = {"standard/precision", "lenskit/precision", "reference/ndcg"}
        zero |= {"standard/novelty", "standard/popularity"}
        for name in ORDERED:
            if name in zero:
                assert out[name] == 0, name
            else:
                assert np.isnan(out[name]), f"{name} leaves such users out"

    def test_relevant_candidates_below_the_cut_off_give_zero(self):
        out = run([3, 2, 1], [False, False, True], k=2)
        for name in ORDERED:
            assert out[name] == 0, name

    def test_a_list_shorter_than_k_is_divided_by_k_all_the_same(self):
        out = run([1, 2, 3, 4], [True, True, False, True], k=10)
        assert out["standard/precision"] == pytest.approx(3 / 10)
        assert out["standard/recall"] == 1
        # LensKit divides by what there is.
        assert out["lenskit/precision"] == pytest.approx(3 / 4)

    def test_a_cut_off_beyond_the_list_changes_only_what_divides_by_k(self):
        rng = np.random.default_rng(4)
        scores, relevance = rng.integers(0, 3, (9, 3)) / 2, rng.random((9, 3)) < 0.5
        whole, beyond = (run(scores, relevance, k=k) for k in (3, 10))
        weight = 1 / np.log2(np.arange(10) + 2)
        factor = {
            "standard/precision": 3 / 10,
            "rectools/ndcg": weight[:3].sum() / weight.sum(),
        }
        for name in ALL:
            expected = whole[name] * factor.get(name, 1)
            np.testing.assert_allclose(beyond[name], expected, atol=1e-6, err_msg=name)

    def test_recall_of_a_whole_list_is_exactly_one_and_never_above(self):
        # All tied, every number of candidates and of relevant ones up to 100.
        size = np.arange(100)
        relevance_NxL = size[None, :] <= size[:, None]
        recall = jax.jit(ranking.recall, static_argnames="k")
        for length in (3, 49, 100):
            out = recall(
                jnp.zeros((100, 100)),
                jnp.asarray(relevance_NxL),
                where=jnp.broadcast_to(size < length, (100, 100)),
                k=100,
            )
            assert out.max() <= 1, f"recall of {float(out.max()):.9f} is above 1"
            np.testing.assert_allclose(out, 1, atol=1e-6)

    @pytest.mark.parametrize("k", [3, 10])
    def test_ndcg_of_a_perfect_order_is_never_above_one(self, k):
        relevance = np.arange(30)[None, :] <= np.arange(30)[:, None]
        scores = -np.arange(30.0)[None].repeat(30, axis=0)
        out = run(scores, relevance, k=k)
        for name in NDCG:
            value, enough = out[name], relevance.sum(axis=1) >= k
            if name != "rectools/ndcg":  # its ideal wants k relevant ones
                enough = enough | True
            np.testing.assert_allclose(value[enough], 1, atol=1e-6, err_msg=name)
            assert value.max() <= 1, f"{name} of {value.max():.9f} is above 1"

    def test_axes_before_the_last_are_kept(self):
        rng = np.random.default_rng(5)
        scores = rng.integers(0, 4, (2, 3, 6)) / 4
        relevance, where = rng.random((2, 3, 6)) < 0.5, rng.random((2, 3, 6)) < 0.8
        for reading in ("reference/ndcg", "lenskit/map"):
            values = READINGS[reading](
                jnp.asarray(scores),
                jnp.asarray(relevance),
                where=jnp.asarray(where),
                k=3,
            )
            assert values.shape == (2, 3)
            assert len(np.unique(values)) > 1
            for place in np.ndindex(2, 3):
                score = scores[place][where[place]]
                hits = relevance[place][where[place]]
                expected = over_orders(reading, score, hits, 3)
                np.testing.assert_allclose(values[place], expected, atol=1e-6)

    @pytest.mark.parametrize("name", RANKING)
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

    @pytest.mark.parametrize("name", REFERENCE)
    def test_relevance_may_be_zeros_and_ones(self, name):
        scores, relevance = jnp.array([0.3, 0.1, 0.2]), jnp.array([0, 1, 1])
        out = REFERENCE[name](scores, relevance, k=1)
        assert out == REFERENCE[name](scores, relevance > 0, k=1)
        other = REFERENCE[name](scores, 1 - relevance, k=1)
        assert (out != other) == (name != "tied_cutoffs")

    def test_metrics_are_the_same_when_not_jitted(self):
        scores = jnp.array([0.5, 0.5, 0.1, 0.9, 0.5])
        relevance = jnp.array([True, False, True, False, True])
        out = run(scores, relevance, k=2)
        for name in ALL:
            value = READINGS[name](scores, relevance, k=2)
            np.testing.assert_allclose(out[name], value, atol=1e-6, err_msg=name)


@each_reading
def test_every_ranking_metric_is_defined_in_words(reading):
    words = READINGS[reading].definition.format(k=7)
    assert "7" in words
    assert "{" not in words
    says = "users without any" in words
    assert says == is_nan_without_relevant(reading), "who is left out is said"


def test_only_novelty_is_not_a_share():
    unbounded = {parts(r)[1] for r, metric in READINGS.items() if not metric.bounded}
    assert unbounded == {"novelty"}
