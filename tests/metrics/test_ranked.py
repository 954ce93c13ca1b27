"""The one sorted list behind every ranking metric: each of its places says what a slow
sort of the whole list says, ties and their groups included, whatever the depth."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ncf_jax.metrics.ranked import TIES, membership, rank
from tests.metrics.oracles import orders_of

LENGTH = 9
vranked = jax.jit(
    lambda scores, relevance, where, k, ties: jax.vmap(
        lambda *each: rank(*each, k=k, ties=ties)
    )(scores, relevance, where),
    static_argnums=(3, 4),
)


def cases(seed, many=400, length=LENGTH, levels=4):
    """Lists [many, length] with ties, graded relevance, and masks anywhere."""
    rng = np.random.default_rng(seed)
    scores = (rng.integers(0, levels, (many, length)) / 4).astype(np.float32)
    relevance = rng.integers(0, 4, (many, length)).astype(np.float32)
    where = rng.random((many, length)) < rng.random((many, 1))
    where[0], where[1] = False, True
    return scores, relevance, where


def slow(scores, relevance, where, k):
    """The places of one list, each as a dict, by sorting all of it."""
    listed = sorted(np.flatnonzero(where), key=lambda i: -scores[i])
    groups = [
        list(group) for _, group in itertools.groupby(listed, key=lambda i: scores[i])
    ]
    places, start, before = [], 0, 0.0
    for group in groups:
        inside = sum(relevance[i] for i in group)
        for _ in group:
            places.append(
                {
                    "start": start,
                    "size": len(group),
                    "inside": inside,
                    "before": before,
                    "expected": inside / len(group),
                    "score": scores[group[0]],
                }
            )
        start, before = start + len(group), before + inside
    return places[:k]


@pytest.mark.parametrize("k", [1, 4, LENGTH, 30])
def test_each_place_equals_a_slow_sort(k):
    scores, relevance, where = cases(k)
    out = vranked(scores, relevance, where, k, "expected")
    assert out.start.shape == (400, min(k, LENGTH))
    through = 0
    for row in range(len(scores)):
        expected = slow(scores[row], relevance[row], where[row], k)
        assert int(out.candidates[row]) == where[row].sum()
        for place, group in enumerate(expected):
            for name, value in group.items():
                found = float(getattr(out, name)[row, place])
                assert found == pytest.approx(value, abs=1e-6), (row, place, name)
        assert (np.asarray(out.expected[row, len(expected) :]) == 0).all()
        through += expected[-1]["start"] + expected[-1]["size"] > k if expected else 0
    # Control: groups that go on beyond the depth are among the cases.
    assert (through > 50) == (k < LENGTH)


@pytest.mark.parametrize("k", [1, 4, 30])
def test_total_and_ideal_are_of_all_candidates(k):
    scores, relevance, where = cases(k)
    out = vranked(scores, relevance, where, k, "expected")
    real = np.where(where, relevance, 0)
    np.testing.assert_array_equal(out.total, real.sum(axis=1))
    best = -np.sort(-real, axis=1)[:, :k]
    np.testing.assert_array_equal(out.ideal, best)
    # Control: the masked ones would be among the best.
    assert (best != -np.sort(-relevance, axis=1)[:, :k]).any()


def test_a_deeper_list_begins_as_a_shallow_one_does():
    data = cases(0)
    shallow, deep = (vranked(*data, k, "expected") for k in (4, LENGTH))
    for name in ("expected", "start", "size", "inside", "before", "score", "ideal"):
        np.testing.assert_allclose(
            getattr(shallow, name), getattr(deep, name)[:, :4], err_msg=name
        )


@pytest.mark.parametrize("k", [1, 2, 4, 9, 20])
def test_the_cut_off_is_the_group_of_the_last_place_in_the_list(k):
    scores, relevance, where = cases(7)
    out = vranked(scores, relevance, where, 20, "expected")
    cut = jax.vmap(lambda ranked: ranked.at_cutoff(k))(out)
    for row in range(len(scores)):
        listed = slow(scores[row], relevance[row], where[row], k)
        assert int(cut.length[row]) == len(listed)
        for name in ("start", "size", "inside", "before", "score"):
            if listed:
                found = float(getattr(cut, name)[row])
                assert found == pytest.approx(listed[-1][name]), (row, name)


@pytest.mark.parametrize(("ties", "sign"), [("optimistic", -1), ("pessimistic", 1)])
def test_settled_ties_have_the_more_relevant_first_or_last(ties, sign):
    scores, relevance, where = cases(3)
    out = vranked(scores, relevance, where, 5, ties)
    for row in range(len(scores)):
        listed = sorted(
            np.flatnonzero(where[row]),
            key=lambda i: (-scores[row, i], sign * relevance[row, i]),
        )
        expected = relevance[row, listed][:5]
        np.testing.assert_array_equal(out.expected[row, : len(expected)], expected)
        assert (out.size[row, : len(expected)] == 1).all()
    # Control: by expectation the same places hold shares.
    expectation = np.asarray(vranked(scores, relevance, where, 5, "expected").expected)
    assert (expectation % 1 != 0).any()


def test_ties_have_three_names():
    assert TIES == ("expected", "optimistic", "pessimistic")


@pytest.mark.parametrize("ties", TIES)
def test_a_list_without_ties_is_the_same_whatever_is_said_of_ties(ties):
    rng = np.random.default_rng(0)
    scores = rng.permuted(np.tile(np.arange(9.0, dtype=np.float32), (50, 1)), axis=1)
    relevance, where = rng.random((50, 9)) < 0.5, rng.random((50, 9)) < 0.7
    out = vranked(scores, relevance, where, 4, ties)
    plain = vranked(scores, relevance, where, 4, "expected")
    np.testing.assert_array_equal(out.expected, plain.expected)


@pytest.mark.parametrize("ties", TIES)
@pytest.mark.parametrize("junk", [np.nan, np.inf, 3e38, -np.inf])
def test_masked_candidates_never_have_a_place(ties, junk):
    scores, relevance, where = cases(5)
    spoiled = np.where(where, scores, np.float32(junk))
    out = vranked(spoiled, np.where(where, relevance, 9), where, LENGTH, ties)
    clean = vranked(scores, relevance, where, LENGTH, ties)
    for name in ("candidates", "total", "ideal", "expected"):
        np.testing.assert_array_equal(getattr(out, name), getattr(clean, name))


@pytest.mark.parametrize("ties", TIES)
def test_the_lowest_score_of_all_still_comes_before_padding(ties):
    lowest = np.float32([-np.inf, 1.0, -np.inf, 2.0])
    where = np.array([True, False, False, True])
    out = rank(jnp.array(lowest), jnp.eye(4)[0], jnp.array(where), k=4, ties=ties)
    assert out.expected.tolist() == [0, 1, 0, 0]
    assert int(out.candidates) == 2


@pytest.mark.parametrize("ties", ["optimistic", "pessimistic"])
def test_zero_and_minus_zero_are_tied_also_when_ties_are_settled(ties):
    for scores in ([0.0, -0.0], [-0.0, 0.0]):
        for relevance in ([1.0, 0.0], [0.0, 1.0]):
            out = rank(
                jnp.array(scores),
                jnp.array(relevance),
                jnp.ones(2, bool),
                k=1,
                ties=ties,
            )
            assert out.expected.tolist() == [ties == "optimistic"]


class TestMembership:
    @pytest.mark.parametrize("k", [1, 2, 4, 6, 9])
    def test_it_is_the_share_of_orders_with_the_candidate_in_the_first_k(self, k):
        scores, relevance, where = cases(k, many=80, length=6, levels=3)

        def chance(scores, relevance, where):
            ranked = rank(scores, relevance, where, k=6)
            return membership(scores, where, ranked, k)

        out = np.asarray(jax.vmap(chance)(scores, relevance, where))
        for row in range(len(scores)):
            real = np.flatnonzero(where[row])
            orders = orders_of(scores[row, real])
            expected = np.zeros(6)
            for order in orders:
                expected[real[list(order[:k])]] += 1 / len(orders)
            np.testing.assert_allclose(out[row], expected, atol=1e-6)
        # As many are members as the list has places.
        np.testing.assert_allclose(
            out.sum(axis=1), np.minimum(where.sum(axis=1), k), atol=1e-5
        )

    def test_thousands_of_tied_candidates_share_the_places(self):
        scores, where = jnp.full(3_000, 0.5), jnp.ones(3_000, bool)
        ranked = rank(scores, where, where, k=10)
        out = membership(scores, where, ranked, 10)
        np.testing.assert_allclose(out, 10 / 3_000, rtol=1e-6)
        # Control: one better candidate is a member for sure, and leaves nine places.
        scores = scores.at[7].set(0.6)
        out = membership(scores, where, rank(scores, where, where, k=10), 10)
        assert float(out[7]) == 1
        np.testing.assert_allclose(out[8], 9 / 2_999, rtol=1e-6)
