"""The laws that metrics obey on every input (R5, R6): within [0, 1], a perfect order,
chance for a constant scorer, no dependence on the order of candidates or users, on
padding, on the size of a block or on other cut-offs, and no reward for a worse order.

Every law is checked for every reading of every convention; where one breaks a law, it
is named.
"""

from functools import partial
from math import comb

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import hypergeom

from ncf_jax import lists
from ncf_jax.metrics import RATING, rating, summary
from ncf_jax.metrics.ranked import rank
from tests.metrics.oracles import (
    DISTINCT,
    READINGS,
    is_nan_without_relevant,
    parts,
    random_world,
    run,
)

USERS, LENGTH = 4, 8
SHAPE = USERS, LENGTH
RELEVANT = 2.5  # stars
laws = settings(max_examples=60, deadline=None)
cut_offs = st.sampled_from([1, 3, 12])  # 12 is beyond the list
# A coarse grid has ties; the fine one hardly any. Both are exact in float32.
coarse = arrays(np.float32, SHAPE, elements=st.integers(-2, 2).map(lambda n: n / 2))
fine = arrays(np.float32, SHAPE, elements=st.integers(-999, 999).map(lambda n: n / 64))
scores_of_lists = st.one_of(coarse, fine)
flags = arrays(np.bool_, SHAPE)
stars = arrays(np.float32, SHAPE, elements=st.integers(0, 10).map(lambda n: n / 2))
# Lists of any length, padding anywhere in them.
some_lists = st.tuples(scores_of_lists, stars, flags)
some_order = st.permutations(range(LENGTH)).map(np.array)

ORDERED = [r for r in DISTINCT.values() if not r.endswith("tied_cutoffs")]
MONOTONE = [r for r in ORDERED if r != "reference/ndcg"]
BINARY = [r for r in MONOTONE if READINGS[r].reads == "relevant"]


def reads(stars):
    """What metrics read of candidates, all of it larger for more stars."""
    return {
        "relevant": stars >= RELEVANT,
        "gain": 2.0**stars - 1,
        "information": 2 * stars,
        "popular": stars / 5,
    }


def read_by(metric, values):
    """What the metric reads; one that reads nothing of a candidate gets anything."""
    return values.get(metric.reads, values["relevant"])


def score(scores, stars, where, k, ties="expected"):
    """Each distinct reading of four lists [4, 8]."""
    out = run(scores, reads(stars), where, k=k, ties=ties, pad=SHAPE)
    return {reading: out[reading] for reading in DISTINCT.values()}


def assert_same(one, other, but=()):
    assert one.keys() == other.keys()
    for reading in one.keys() - set(but):
        np.testing.assert_allclose(
            one[reading], other[reading], atol=1e-6, rtol=1e-6, err_msg=reading
        )


@laws
@given(some_lists, cut_offs)
def test_values_lie_within_0_and_1_and_are_nan_where_documented_and_only_there(data, k):
    _, stars, where = data
    some = where.any(axis=1)
    for reading, values in score(*data, k).items():
        read = read_by(READINGS[reading], reads(stars))
        hits = (where & (read > 0)).any(axis=1)
        expected = hits if is_nan_without_relevant(reading) else some
        np.testing.assert_array_equal(~np.isnan(values), expected, err_msg=reading)
        defined = values[~np.isnan(values)]
        most = 1 if READINGS[reading].bounded else 10
        assert ((defined >= 0) & (defined <= most)).all(), (reading, values)


@laws
@given(some_lists, cut_offs, st.data())
def test_the_order_of_the_candidates_changes_nothing(data, k, draw):
    order = draw.draw(some_order)
    assert_same(score(*data, k), score(*(each[:, order] for each in data), k))


@laws
@given(some_lists, cut_offs, st.permutations(range(USERS)))
def test_the_order_of_the_users_only_moves_their_values(data, k, order):
    moved = score(*(each[list(order)] for each in data), k)
    expected = {name: v[list(order)] for name, v in score(*data, k).items()}
    assert_same(moved, expected)


@laws
@given(some_lists, some_lists, cut_offs)
def test_what_the_mask_hides_changes_nothing(data, other, k):
    scores, stars, where = data
    hidden_scores = np.where(where, scores, other[0] * 100)
    hidden_stars = np.where(where, stars, other[1])
    assert_same(score(*data, k), score(hidden_scores, hidden_stars, where, k))


@laws
@given(some_lists, cut_offs)
def test_only_the_order_of_the_scores_matters(data, k):
    scores, stars, where = data
    assert_same(score(*data, k), score(2 * scores + 3, stars, where, k))
    ranks = np.unique(scores, return_inverse=True)[1].reshape(SHAPE)
    assert_same(score(*data, k), score(ranks**3, stars, where, k))


def falling(stars):
    """Four equal lists with these stars, best score first."""
    stars = np.tile(np.float32(stars), (USERS, 1))
    return np.tile(-np.arange(8.0), (USERS, 1)), stars, np.ones(SHAPE, bool)


def test_the_reverse_order_and_other_stars_and_masks_do_matter():
    # The control of the laws above: none of them holds for want of any effect.
    scores, stars, where = falling([4.5, 0, 5, 2, 1.5, 1, 0.5, 0])
    forward, backward = (score(s, stars, where, 3) for s in (scores, -scores))
    other = score(scores, stars[:, ::-1], where, 3)
    masked = score(scores, stars, np.arange(8) + 0 * where > 3, 3)
    for reading in ORDERED:
        assert (forward[reading] > backward[reading]).all(), reading
        assert (forward[reading] > other[reading]).all(), reading
        assert not (forward[reading] == masked[reading]).any(), reading


def perfect(reading, values, k):
    """The best value a list [L] of candidates can have; None where there is none."""
    convention, name = parts(reading)
    found = min(k, int((values > 0).sum()))
    total, many = int((values > 0).sum()), len(values)
    if many == 0 or (total == 0 and is_nan_without_relevant(reading)):
        return None
    if name in ("novelty", "popularity"):
        return np.sort(values)[::-1][:k].mean()
    if name == "precision":
        return found / (min(k, many) if convention == "lenskit" else k)
    if name in ("recall", "map"):
        return found / (found if convention == "lenskit" else total)
    if reading == "rectools/ndcg":
        weight = 1 / np.log2(np.arange(k) + 2)
        return weight[:found].sum() / weight.sum()
    return float(total > 0)


@laws
@given(some_lists, cut_offs)
def test_a_perfect_order_has_the_best_possible_value(data, k):
    _, stars, where = data
    out = score(stars, stars, where, k)
    for reading in ORDERED:
        read = read_by(READINGS[reading], reads(stars))
        for user in range(USERS):
            best = perfect(reading, read[user, where[user]], k)
            found = out[reading][user]
            if best is None:
                assert np.isnan(found), reading
            else:
                assert abs(found - best) < 1e-5, (reading, found, best)


@laws
@given(some_lists, cut_offs)
def test_no_order_beats_the_perfect_one(data, k):
    _, stars, where = data
    best, found = score(stars, stars, where, k), score(*data, k)
    for reading in ORDERED:
        assert not (found[reading] > best[reading] + 1e-5).any(), reading


@laws
@given(
    some_lists,
    cut_offs,
    st.integers(0, LENGTH - 1),
    st.integers(1, 8),
    st.sampled_from([RELEVANT, 5.0]),
)
def test_a_relevant_item_moved_up_never_lowers_a_score(data, k, place, steps, liked):
    scores, stars, where = (each.copy() for each in data)
    stars[:, place], where[:, place] = liked, True
    before = score(scores, stars, where, k)
    scores[:, place] += steps / 2
    after = score(scores, stars, where, k)
    # Graded gain may fall when the item passes one with more; none has more than five.
    for reading in MONOTONE if liked == 5 else BINARY:
        assert (after[reading] >= before[reading] - 1e-6).all(), reading


def test_an_irrelevant_item_moved_up_does_lower_every_score():
    scores, stars, where = falling([5, 5, 5, 0, 5, 5, 5, 5])
    before = score(scores, stars, where, 3)
    scores[:, 3] = 9
    after = score(scores, stars, where, 3)
    constant = {"standard/hit_rate"}  # two relevant ones are left in the list
    for reading in set(ORDERED) - constant:
        assert (after[reading] < before[reading] - 1e-3).all(), reading


@laws
@given(some_lists, st.integers(0, LENGTH - 1), st.integers(1, 8))
def test_a_relevant_item_moved_up_never_lowers_the_references_ndcg_of_a_whole_list(
    data, place, steps
):
    # With k below the length this reading's ideal changes with what is retrieved, and
    # the law holds for moves inside the list only: see the next test.
    scores, stars, where = (each.copy() for each in data)
    stars[:, place], where[:, place] = RELEVANT, True
    before = score(scores, stars, where, 12)["reference/ndcg"]
    scores[:, place] += steps / 2
    after = score(scores, stars, where, 12)["reference/ndcg"]
    assert (after >= before - 1e-6).all()


@laws
@given(stars, st.sampled_from([3, 12]), st.data())
def test_every_ndcg_rises_when_a_relevant_item_passes_another_inside_the_list(
    stars, k, draw
):
    place = draw.draw(st.integers(0, min(k, LENGTH) - 2))
    stars = stars.copy()
    stars[:, place], stars[:, place + 1] = 0, 5
    where = np.ones(SHAPE, bool)
    scores = np.tile(-np.arange(8.0), (USERS, 1))
    swapped = scores.copy()
    swapped[:, [place, place + 1]] = scores[:, [place + 1, place]]
    before = score(scores, stars, where, k)
    after = score(swapped, stars, where, k)
    for reading in ORDERED:
        name = parts(reading)[1]
        if name in ("precision", "recall", "hit_rate", "novelty", "popularity"):
            np.testing.assert_allclose(after[reading], before[reading], atol=1e-6)
        elif name == "map" or (name == "ndcg" and "lenskit" not in reading):
            assert (after[reading] > before[reading] + 1e-3).all(), reading
        elif reading == "lenskit/ndcg":  # its first two places weigh the same
            assert ((after[reading] > before[reading] + 1e-3) == (place > 0)).all()


@laws
@given(some_lists, cut_offs)
def test_an_irrelevant_candidate_below_all_others_changes_nothing(data, k):
    scores, stars, where = (each.copy() for each in data)
    stars[:, 0] = 0
    scores[:, 0] = -1e6
    with_it, without = where.copy(), where.copy()
    with_it[:, 0], without[:, 0] = True, False
    assume(without.any(axis=1).all())  # an empty list is NaN, one with it is not
    # But means over the list, which grows by it where it was shorter than k.
    means = "lenskit/precision", "standard/novelty", "standard/popularity"
    assert_same(
        score(scores, stars, with_it, k), score(scores, stars, without, k), but=means
    )


def by_chance(reading, values, k):
    """What drawing the first k of the candidates' values [L] at random gives."""
    convention, name = parts(reading)
    many, total = len(values), int((values > 0).sum())
    if many == 0 or (total == 0 and is_nan_without_relevant(reading)):
        return np.nan
    cut, mean = min(k, many), values.mean(dtype=np.float64)
    found = np.arange(1, cut + 1)
    chance = hypergeom.pmf(found, many, total, cut)
    if name == "tied_cutoffs":
        return float(many > k)
    if name in ("novelty", "popularity"):
        return mean
    if name == "precision":
        return chance @ found / (cut if convention == "lenskit" else k)
    if name == "recall":
        most = min(k, total) if convention == "lenskit" else total
        return chance @ found / most
    if name == "hit_rate":
        return chance.sum()
    if name == "mrr":
        # The first relevant one at place p: the others are behind it.
        ways = [comb(many - p, total - 1) / comb(many, total) for p in found]
        return ways @ (1 / found)
    if name == "map":
        before = (found - 1) * ((total - 1) / max(many - 1, 1))
        most = min(total, cut) if convention == "lenskit" else total
        return (mean * (1 + before) / found).sum() / most
    shift = np.maximum(found, 2) if convention == "lenskit" else found + 1
    weight = 1 / np.log2(shift)
    if convention == "reference":
        return chance @ (found * weight.mean() / np.cumsum(weight))
    if convention == "rectools":
        ideal = (1 / np.log2(np.arange(k) + 2)).sum()
    else:
        ideal = weight @ np.sort(values)[::-1][:cut]
    return mean * weight.sum() / ideal


@laws
@given(stars, flags, cut_offs)
def test_a_constant_scorer_gets_exactly_chance(stars, where, k):
    out = score(np.full(SHAPE, 0.7), stars, where, k)
    for reading, values in out.items():
        read = 1.0 * read_by(READINGS[reading], reads(stars))
        expected = [by_chance(reading, read[u, where[u]], k) for u in range(USERS)]
        np.testing.assert_allclose(values, expected, atol=1e-5, err_msg=reading)


def test_a_scorer_that_settles_the_ties_does_not_get_chance():
    _, stars, where = falling([5, 0, 0, 5, 0, 0, 0, 0])
    constant = score(np.full(SHAPE, 0.7), stars, where, 3)
    for nudge in (1e-3, -1e-3):
        other = score(0.7 - nudge * np.arange(8) + 0 * stars, stars, where, 3)
        for reading in ORDERED:
            assert (abs(other[reading] - constant[reading]) > 0.02).all(), reading


@laws
@given(some_lists, st.sampled_from([1, 3]))
def test_pessimistic_is_at_most_expected_and_optimistic_at_least(data, k):
    low, middle, high = (
        score(*data, k, ties) for ties in ("pessimistic", "expected", "optimistic")
    )
    for reading in MONOTONE:
        some = ~np.isnan(middle[reading])
        assert (low[reading] <= middle[reading] + 1e-5)[some].all(), reading
        assert (middle[reading] <= high[reading] + 1e-5)[some].all(), reading


def test_pessimistic_and_optimistic_are_far_apart_where_all_is_tied():
    _, stars, where = falling([5, 0, 5, 0, 5, 0, 5, 0])
    low, middle, high = (
        score(np.zeros(SHAPE), stars, where, 3, ties)
        for ties in ("pessimistic", "expected", "optimistic")
    )
    for reading in MONOTONE:
        assert (low[reading] == 0).all(), reading
        assert ((middle[reading] > 0.1) & (middle[reading] < high[reading])).all()


def test_the_references_ndcg_may_be_higher_with_the_relevant_last():
    # A hit at place 1 and none of the tie: perfect. One at place 3: not.
    scores, stars, where = falling([5, 0, 5, 0, 0, 0, 0, 0])
    scores[:, 2:4] = -2
    low, high = (
        score(scores, stars, where, 3, ties)["reference/ndcg"]
        for ties in ("pessimistic", "optimistic")
    )
    np.testing.assert_allclose(low, 1)
    np.testing.assert_allclose(high, 1.5 / (1 + 1 / np.log2(3)), rtol=1e-6)


@laws
@given(some_lists, cut_offs)
def test_precision_recall_and_hit_rate_count_the_same_hits(data, k):
    _, stars, where = data
    out, relevant = score(*data, k), ((stars >= RELEVANT) & where).sum(axis=1)
    some, most = relevant > 0, np.minimum(relevant, k)
    hits = (out["standard/precision"] * k)[some]
    shared = {
        "standard/recall": relevant,
        "lenskit/recall": most,
        "lenskit/precision": np.minimum(where.sum(axis=1), k),
    }
    for reading, count in shared.items():
        found = (out[reading] * count)[some]
        np.testing.assert_allclose(found, hits, atol=1e-5, err_msg=reading)
    # Between one hit at most, and as many as there are.
    rate = out["standard/hit_rate"][some]
    assert (rate <= hits + 1e-5).all()
    assert (rate >= hits / most[some] - 1e-5).all()


@laws
@given(some_lists)
def test_several_cut_offs_at_once_equal_each_alone(data):
    scores, stars, where = data
    together = all_at_once(scores, reads(stars), where)
    for k in (3, 12):
        found = {reading: together[reading, k] for reading in DISTINCT.values()}
        assert_same(found, score(*data, k))


@jax.jit
def all_at_once(scores, read, where):
    def one(scores, read, where):
        found = {}
        for metric, reading in DISTINCT.items():
            ranked = rank(scores, read_by(metric, read), where, k=12)
            for k in (3, 12):
                found[reading, k] = metric.of_ranked(ranked, k)
        return found

    return jax.vmap(one)(scores, read, where)


def test_one_cut_off_is_not_another():
    scores, stars, where = falling([0, 0, 0, 5, 0, 4, 5, 4.5])
    one, other = (score(scores, stars, where, k) for k in (3, 12))
    for reading in ORDERED:
        assert (one[reading] != other[reading]).all(), reading


@laws
@given(some_lists)
def test_neither_the_size_of_a_block_nor_padding_changes_a_value(data):
    scores, stars, where = data
    whole = score(*data, k=3)
    for block in (1, 3):  # 3 leaves a short last block of the 4 users
        assert_same(in_blocks(scores, reads(stars), where, k=3, block=block), whole)
    wide = run(
        *(np.pad(scores, ((0, 0), (0, 24))), reads(np.pad(stars, ((0, 0), (0, 24))))),
        np.pad(where, ((0, 0), (0, 24))),
        k=3,
    )
    assert_same({reading: wide[reading] for reading in whole}, whole)


@partial(jax.jit, static_argnames=("k", "block"))
def in_blocks(scores, read, where, *, k, block):
    def one_user(user):
        scores, read, where = user
        return {
            reading: metric(scores, read_by(metric, read), where=where, k=k)
            for metric, reading in DISTINCT.items()
        }

    return jax.lax.map(one_user, (scores, read, where), batch_size=block)


SETTING = lists.Setting(ks=(3,), threshold=3.0)
PAIRS = tuple(
    (reading, READINGS[reading])
    for reading in (
        "lenskit/precision",
        "reference/ndcg",
        "standard/novelty",
    )
)


def judge(world, rows, train, table_RxUxI, *, block=None, seeds=slice(None)):
    """Values of both kinds of candidates, and coverage, in blocks of so many users."""
    table = table_RxUxI[seeds]
    known = lists.popularity(world, train)
    with pytest.MonkeyPatch.context() as patch:
        if block is not None:
            pairs = block * len(table) * world.num_items
            patch.setattr(lists, "PAIRS", pairs)
        flat = table[:, world.user[rows], world.item[rows]]
        rated = lists.rated(world, rows, flat, PAIRS, SETTING, known)
        values, coverage = lists.catalogue(
            world,
            rows,
            train,
            lambda user: table[:, np.asarray(user)],
            PAIRS,
            SETTING,
            known,
            seeds=len(table),
        )
    return rated, values, coverage


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_neither_blocks_of_users_nor_other_seeds_change_a_value(seed):
    rng = np.random.default_rng(seed)
    world = random_world(rng, users=7, items=9, share=0.7)
    part = rng.random(len(world.user)) < 0.5
    # Every user has a row, so that few shapes are compiled.
    part[np.unique(world.user, return_index=True)[1]] = True
    assume(len(np.unique(world.user)) == 7)
    rows, train = np.flatnonzero(part), np.flatnonzero(~part)
    table = (rng.integers(0, 6, (2, 7, 9)) / 4).astype(np.float32)
    whole = judge(world, rows, train, table)
    for block in (1, 3):  # one user at a time; 3, 3 and a padded last block
        for one, other in zip(
            judge(world, rows, train, table, block=block), whole, strict=True
        ):
            assert_same(one, other)
    alone = judge(world, rows, train, table, seeds=slice(1, None))
    for one, other in zip(alone, whole, strict=True):
        assert_same(one, {name: value[1:] for name, value in other.items()})
    # Control: the other seed's values are others.
    assert any((v[0] != v[1]).any() for v in whole[1].values())


ratings = arrays(np.float32, 12, elements=st.integers(1, 10).map(lambda n: n / 2))
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
@given(guesses, ratings)
def test_errors_are_not_negative_and_mae_never_above_rmse(prediction, truth):
    out = rate(prediction, truth)
    assert 0 <= out["mae"] <= out["rmse"] + 1e-5
    assert not out["r2"] > 1, f"R² of {out['r2']} for {truth}"


@laws
@given(guesses, ratings, st.permutations(range(12)))
def test_the_order_of_the_rows_changes_no_rating_metric(prediction, truth, order):
    assume(truth.std() > 0)
    before = rate(prediction, truth)
    after = rate(prediction[list(order)], truth[list(order)])
    for name in RATING:
        np.testing.assert_allclose(after[name], before[name], rtol=1e-5, atol=1e-5)


@laws
@given(guesses, ratings, st.integers(1, 11))
def test_sums_add_up_wherever_the_rows_are_cut(prediction, truth, cut):
    # By masks, so that one shape is compiled for all cuts.
    first = np.arange(12) < cut
    parts = [rating.sums(prediction, truth, where=w) for w in (first, ~first)]
    whole = rating.sums(prediction, truth)
    for left, right, both in zip(*parts, whole, strict=True):
        np.testing.assert_allclose(left + right, both, rtol=1e-5)


@laws
@given(guesses, ratings)
def test_twice_the_error_is_twice_the_rmse_and_mae(prediction, truth):
    once, twice = (rate(truth + t * (prediction - truth), truth) for t in (1, 2))
    for name in ("rmse", "mae"):
        np.testing.assert_allclose(twice[name], 2 * once[name], rtol=1e-4, atol=1e-5)


@laws
@given(guesses, ratings)
def test_r2_is_the_share_of_the_ratings_variance(prediction, truth):
    assume(truth.std() > 0)
    out = rate(prediction, truth)
    expected = 1 - (out["rmse"] / truth.std(dtype=np.float64)) ** 2
    np.testing.assert_allclose(out["r2"], expected, rtol=1e-4, atol=1e-4)


user_values = arrays(
    np.float64, (2, 6), elements=st.integers(0, 16).map(lambda n: n / 16)
)
user_flags = arrays(np.bool_, 6)


def mean_over_users(values, defined):
    return summary.summarize(
        summary.user_sums(np.where(defined, values, np.nan)),
        summary.mean_of,
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
    # Control: other users have another mean.
    assert mean_over_users(values + 1, defined).mean > before.mean


@laws
@given(user_values, user_flags)
def test_mean_and_interval_lie_between_the_smallest_and_largest_user(values, defined):
    assume(defined.any())
    out = mean_over_users(values, defined)
    over_seeds = values[:, defined].mean(axis=0)
    low, high = out.ci95
    # Resamples are added in float32.
    assert over_seeds.min() - 1e-6 <= low <= high <= over_seeds.max() + 1e-6
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
