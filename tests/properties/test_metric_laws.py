"""The laws that metrics obey on every input (R5, R6): within [0, 1], a perfect order,
chance for a constant scorer, no dependence on the order of candidates or users, on
padding or on the size of a block, and no reward for a worse order."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import hypergeom

from ncf_jax.metrics import RANKING, RATING, rating, summary

USERS, LENGTH = 4, 8
SHAPE = USERS, LENGTH
laws = settings(max_examples=60, deadline=None)
cut_offs = st.sampled_from([1, 3, 8, 12])
# A coarse grid has ties; the fine one hardly any. Both are exact in float32.
coarse = arrays(np.float32, SHAPE, elements=st.integers(-2, 2).map(lambda n: n / 2))
fine = arrays(np.float32, SHAPE, elements=st.integers(-999, 999).map(lambda n: n / 64))
scores_of_lists = st.one_of(coarse, fine)
flags = arrays(np.bool_, SHAPE)
# Lists of any length, padding anywhere in them.
lists = st.tuples(scores_of_lists, flags, flags)
some_order = st.permutations(range(LENGTH)).map(np.array)


@partial(jax.jit, static_argnames="k")
def jitted(scores, relevance, where, *, k):
    return {
        name: metric(scores, relevance, where=where, k=k)
        for name, metric in RANKING.items()
    }


def score(scores, relevance, where, k):
    out = jitted(np.asarray(scores, np.float32), relevance, where, k=k)
    return {name: np.asarray(values) for name, values in out.items()}


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_allclose(one[name], other[name], atol=1e-6, err_msg=name)


@laws
@given(lists, cut_offs)
def test_values_lie_within_0_and_1_and_are_nan_where_documented_and_only_there(data, k):
    _, relevance, where = data
    out = score(*data, k)
    some, hits = where.any(axis=1), (where & relevance).any(axis=1)
    np.testing.assert_array_equal(~np.isnan(out["precision"]), some)
    np.testing.assert_array_equal(~np.isnan(out["ndcg"]), some)
    np.testing.assert_array_equal(~np.isnan(out["recall"]), hits)
    for name, values in out.items():
        defined = values[~np.isnan(values)]
        assert ((defined >= 0) & (defined <= 1 + 1e-6)).all(), (name, values)


@laws
@given(lists, cut_offs, st.data())
def test_the_order_of_the_candidates_changes_nothing(data, k, draw):
    order = draw.draw(some_order)
    assert_same(score(*data, k), score(*(each[:, order] for each in data), k))


@laws
@given(lists, cut_offs, st.permutations(range(USERS)))
def test_the_order_of_the_users_only_moves_their_values(data, k, order):
    moved = score(*(each[list(order)] for each in data), k)
    expected = {name: v[list(order)] for name, v in score(*data, k).items()}
    assert_same(moved, expected)


@laws
@given(lists, lists, cut_offs)
def test_what_the_mask_hides_changes_nothing(data, other, k):
    scores, relevance, where = data
    hidden_scores = np.where(where, scores, other[0] * 100)
    hidden_relevance = np.where(where, relevance, other[1])
    assert_same(score(*data, k), score(hidden_scores, hidden_relevance, where, k))


@laws
@given(lists, cut_offs)
def test_only_the_order_of_the_scores_matters(data, k):
    scores, relevance, where = data
    assert_same(score(*data, k), score(2 * scores + 3, relevance, where, k))
    ranks = np.unique(scores, return_inverse=True)[1].reshape(SHAPE)
    assert_same(score(*data, k), score(ranks**3, relevance, where, k))


def test_the_reverse_order_does_matter():
    scores = np.tile(np.arange(8.0), (4, 1))
    relevance, where = scores > 5, np.ones(SHAPE, bool)
    forward, backward = (score(s, relevance, where, 3) for s in (scores, -scores))
    for name in RANKING:
        assert (forward[name] > backward[name]).all()


@laws
@given(lists, cut_offs)
def test_a_perfect_order_has_the_best_possible_value(data, k):
    _, relevance, where = data
    out = score(relevance, relevance, where, k)
    found = np.minimum((relevance & where).sum(axis=1), k)
    some, hits = where.any(axis=1), found > 0
    np.testing.assert_allclose(out["precision"][some], found[some] / k, atol=1e-6)
    np.testing.assert_allclose(out["ndcg"][some], hits[some], atol=1e-6)
    recall = found[hits] / (relevance & where).sum(axis=1)[hits]
    np.testing.assert_allclose(out["recall"][hits], recall, atol=1e-6)


@laws
@given(lists, cut_offs)
def test_no_order_beats_the_perfect_one(data, k):
    _, relevance, where = data
    best, found = score(relevance, relevance, where, k), score(*data, k)
    for name in RANKING:
        assert not (found[name] > best[name] + 1e-6).any(), name


@laws
@given(lists, cut_offs, st.integers(0, LENGTH - 1), st.integers(1, 8))
def test_a_relevant_item_moved_up_never_lowers_precision_or_recall(
    data, k, place, steps
):
    scores, relevance, where = (each.copy() for each in data)
    relevance[:, place] = where[:, place] = True
    before = score(scores, relevance, where, k)
    scores[:, place] += steps / 2
    after = score(scores, relevance, where, k)
    for name in ("precision", "recall"):
        assert (after[name] >= before[name] - 1e-6).all(), name


@laws
@given(lists, st.sampled_from([8, 12]), st.integers(0, LENGTH - 1), st.integers(1, 8))
def test_a_relevant_item_moved_up_never_lowers_ndcg_of_a_whole_list(
    data, k, place, steps
):
    # With k below the length this reading's ideal changes with what is retrieved, and
    # the law holds for moves inside the list only: see the next test.
    scores, relevance, where = (each.copy() for each in data)
    relevance[:, place] = where[:, place] = True
    before = score(scores, relevance, where, k)["ndcg"]
    scores[:, place] += steps / 2
    assert (score(scores, relevance, where, k)["ndcg"] >= before - 1e-6).all()


@laws
@given(flags, st.sampled_from([3, 8]), st.data())
def test_ndcg_rises_when_a_relevant_item_passes_another_inside_the_list(
    relevance, k, draw
):
    place = draw.draw(st.integers(0, k - 2))
    relevance = relevance.copy()
    relevance[:, place], relevance[:, place + 1] = False, True
    where = np.ones(SHAPE, bool)
    falling = np.tile(-np.arange(8.0), (USERS, 1))
    swapped = falling.copy()
    swapped[:, [place, place + 1]] = falling[:, [place + 1, place]]
    before = score(falling, relevance, where, k)
    after = score(swapped, relevance, where, k)
    assert (after["ndcg"] > before["ndcg"] + 1e-3).all()
    for name in ("precision", "recall"):
        np.testing.assert_allclose(after[name], before[name], atol=1e-6)


@laws
@given(lists, cut_offs)
def test_an_irrelevant_candidate_below_all_others_changes_nothing(data, k):
    scores, relevance, where = (each.copy() for each in data)
    relevance[:, 0] = False
    scores[:, 0] = -1e6
    with_it, without = where.copy(), where.copy()
    with_it[:, 0], without[:, 0] = True, False
    assume(without.any(axis=1).all())  # an empty list is NaN, one with it is not
    assert_same(
        score(scores, relevance, with_it, k), score(scores, relevance, without, k)
    )


@laws
@given(flags, flags, cut_offs)
def test_a_constant_scorer_gets_exactly_chance(relevance, where, k):
    out = score(np.full(SHAPE, 0.7), relevance, where, k)
    discount = 1 / np.log2(np.arange(k) + 2)
    for user in range(USERS):
        many = int(where[user].sum())
        hits = int((where & relevance)[user].sum())
        cut = min(k, many)
        if many:
            expected = cut * hits / many / k
            np.testing.assert_allclose(out["precision"][user], expected, atol=1e-6)
            found = np.arange(1, cut + 1)
            ratio = found * discount[:cut].mean() / np.cumsum(discount)[:cut]
            expected = hypergeom.pmf(found, many, hits, cut) @ ratio
            np.testing.assert_allclose(out["ndcg"][user], expected, atol=1e-6)
        if hits:
            np.testing.assert_allclose(out["recall"][user], cut / many, atol=1e-6)


@laws
@given(lists, cut_offs)
def test_precision_and_recall_count_the_same_hits(data, k):
    _, relevance, where = data
    out, relevant = score(*data, k), (relevance & where).sum(axis=1)
    hits = relevant > 0
    np.testing.assert_allclose(
        (out["precision"] * k)[hits], (out["recall"] * relevant)[hits], atol=1e-5
    )


@laws
@given(lists)
def test_neither_the_size_of_a_block_nor_padding_changes_a_value(data):
    whole = score(*data, k=3)
    for block in (1, 3):  # 3 leaves a short last block of the 4 users
        assert_same(in_blocks(*data, k=3, block=block), whole)
    wider = [np.pad(each, ((0, 0), (0, 24))) for each in data]
    assert_same(score(*wider, k=3), whole)


@partial(jax.jit, static_argnames=("k", "block"))
def in_blocks(scores, relevance, where, *, k, block):
    def one_user(user):
        scores, relevance, where = user
        return {
            name: metric(scores, relevance, where=where, k=k)
            for name, metric in RANKING.items()
        }

    return jax.lax.map(one_user, (scores, relevance, where), batch_size=block)


stars = arrays(np.float32, 12, elements=st.integers(1, 10).map(lambda n: n / 2))
guesses = arrays(np.float32, 12, elements=st.integers(-64, 400).map(lambda n: n / 64))
rating_metrics = jax.jit(
    lambda prediction, truth: {
        name: metric(rating.sums(prediction, truth)) for name, metric in RATING.items()
    }
)


def rate(prediction, truth):
    out = rating_metrics(jnp.asarray(prediction), jnp.asarray(truth))
    return {name: float(value) for name, value in out.items()}


@laws
@given(guesses, stars)
def test_errors_are_not_negative_and_mae_never_above_rmse(prediction, truth):
    out = rate(prediction, truth)
    assert 0 <= out["mae"] <= out["rmse"] + 1e-5
    assert not out["r2"] > 1, f"R² of {out['r2']} for {truth}"


@laws
@given(guesses, stars, st.permutations(range(12)))
def test_the_order_of_the_rows_changes_no_rating_metric(prediction, truth, order):
    assume(truth.std() > 0)
    before = rate(prediction, truth)
    after = rate(prediction[list(order)], truth[list(order)])
    for name in RATING:
        np.testing.assert_allclose(after[name], before[name], rtol=1e-5, atol=1e-5)


@laws
@given(guesses, stars, st.integers(1, 11))
def test_sums_add_up_wherever_the_rows_are_cut(prediction, truth, cut):
    # By masks, so that one shape is compiled for all cuts.
    first = np.arange(12) < cut
    parts = [rating.sums(prediction, truth, where=w) for w in (first, ~first)]
    whole = rating.sums(prediction, truth)
    for left, right, both in zip(*parts, whole, strict=True):
        np.testing.assert_allclose(left + right, both, rtol=1e-5)


@laws
@given(guesses, stars)
def test_twice_the_error_is_twice_the_rmse_and_mae(prediction, truth):
    once, twice = (rate(truth + t * (prediction - truth), truth) for t in (1, 2))
    for name in ("rmse", "mae"):
        np.testing.assert_allclose(twice[name], 2 * once[name], rtol=1e-4, atol=1e-5)


@laws
@given(guesses, stars)
def test_r2_is_the_share_of_the_ratings_variance(prediction, truth):
    assume(truth.std() > 0)
    out = rate(prediction, truth)
    expected = 1 - (out["rmse"] / truth.std(dtype=np.float64)) ** 2
    np.testing.assert_allclose(out["r2"], expected, rtol=1e-4, atol=1e-4)


COUNTS = summary.bootstrap_counts(6)
user_values = arrays(
    np.float64, (2, 6), elements=st.integers(0, 16).map(lambda n: n / 16)
)
user_flags = arrays(np.bool_, 6)


def mean_over_users(values, defined):
    sums = np.stack([values * defined, np.broadcast_to(defined, values.shape)], axis=-1)
    return summary.summarize(
        sums,
        lambda total: total[..., 0] / total[..., 1],
        counts=COUNTS,
        definition="",
        n_used=int(defined.sum()),
        n_left_out=int((~defined).sum()),
    )


@laws
@given(user_values, user_flags, st.permutations(range(6)))
def test_the_order_of_the_users_changes_no_mean(values, defined, order):
    assume(defined.any())
    before = mean_over_users(values, defined)
    after = mean_over_users(values[:, list(order)], defined[list(order)])
    np.testing.assert_allclose(after.mean, before.mean, rtol=1e-12)
    np.testing.assert_allclose(after.values, before.values, rtol=1e-12)


@laws
@given(user_values, user_flags)
def test_mean_and_interval_lie_between_the_smallest_and_largest_user(values, defined):
    assume(defined.any())
    out = mean_over_users(values, defined)
    over_seeds = values[:, defined].mean(axis=0)
    low, high = out.ci95
    assert over_seeds.min() - 1e-12 <= low <= high <= over_seeds.max() + 1e-12
    assert over_seeds.min() - 1e-12 <= out.mean <= over_seeds.max() + 1e-12


@laws
@given(user_values, user_flags, user_values)
def test_the_values_of_users_left_out_change_nothing(values, defined, other):
    assume(defined.any())
    changed = np.where(defined, values, other)
    assert mean_over_users(changed, defined) == mean_over_users(values, defined)


@laws
@given(user_values, st.sampled_from([0.5, 2.0, 4.0]))
def test_mean_sd_and_interval_scale_with_the_values(values, factor):
    everybody = np.ones(6, bool)
    once, scaled = (mean_over_users(values * f, everybody) for f in (1, factor))
    np.testing.assert_allclose(scaled.mean, once.mean * factor)
    np.testing.assert_allclose(scaled.sd, once.sd * factor, atol=1e-12)
    np.testing.assert_allclose(scaled.ci95, np.multiply(once.ci95, factor))
