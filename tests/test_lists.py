"""Ranked lists of users equal a slow loop over users: which candidates there are, what
is relevant, what each item's ratings in train say, how blocks are padded, what a tie is
settled to, and how much of the catalogue the lists cover (R4, R5, R6)."""

import itertools
from functools import partial

import jax.numpy as jnp
import numpy as np
import pytest

from ncf_jax import RunError, lists
from ncf_jax.metrics import CONVENTIONS
from ncf_jax.metrics.ranking import Metric
from tests.metrics.oracles import (
    READINGS,
    by_loop,
    distinct,
    is_tied,
    orders_of,
    over_orders,
    parts,
    random_world,
    world,
)

USERS, ITEMS, SEEDS = 11, 13, 3
SETTING = lists.Setting(ks=(5, 2, 20), threshold=3.5)
CHOSEN = (
    "standard/precision",
    "lenskit/precision",
    "reference/ndcg",
    "graded/ndcg",
    "standard/recall",
    "standard/hit_rate",
    "standard/mrr",
    "lenskit/map",
    "standard/novelty",
    "standard/popularity",
    "standard/tied_cutoffs",
)
PAIRS = tuple((reading, READINGS[reading]) for reading in CHOSEN)
CANDIDATES = ("rated", "catalogue")
each_kind = pytest.mark.parametrize("candidates", CANDIDATES)


@pytest.fixture(scope="module")
def small():
    """A world, its rows and train positions: one user without rows, one without train,
    rows left over that are in neither."""
    rng = np.random.default_rng(3)
    data = random_world(rng, users=USERS, items=ITEMS, share=0.6)
    part = rng.choice([0, 0, 1, 1, 2], len(data.user))
    part[data.user == 4] = 1  # no rows
    part[data.user == 7] = 0  # no train
    rows, train = np.flatnonzero(part == 0), np.flatnonzero(part == 1)
    assert len(np.unique(data.user[rows])) == USERS - 1
    assert (data.rating[rows] < 3.5).any()
    return data, rows, train


@pytest.fixture(scope="module")
def table():
    """Scores of every seed, user and item, without ties in a list."""
    return distinct(np.random.default_rng(5), SEEDS, USERS, ITEMS).astype(np.float32)


def judge(
    data,
    rows,
    train,
    table_RxUxI,
    *,
    candidates="catalogue",
    pairs=PAIRS,
    setting=SETTING,
    users=None,
):
    """Values, and coverage of the catalogue; in blocks of at most `users`."""
    known = lists.popularity(data, train)
    with pytest.MonkeyPatch.context() as patch:
        if users is not None:
            size = users * len(table_RxUxI) * data.num_items
            patch.setattr(lists, "PAIRS", size)
        if candidates == "rated":
            scores = table_RxUxI[:, data.user[rows], data.item[rows]]
            return lists.rated(data, rows, scores, pairs, setting, known), {}
        return lists.catalogue(
            data,
            rows,
            train,
            lambda user: jnp.asarray(table_RxUxI)[:, user],
            pairs,
            setting,
            known,
            seeds=len(table_RxUxI),
        )


def slow_known(data, train):
    """Bits and popular share of each item, by counting."""
    count = [int(sum(data.item[train] == item)) for item in range(data.num_items)]
    bits = [-np.log2(max(c, 1) / data.num_users) for c in count]
    places = -(-data.num_items // 5)
    share = []
    for mine in count:
        above, same = sum(c > mine for c in count), count.count(mine)
        share.append(min(max((places - above) / same, 0), 1))
    return np.array(bits), np.array(share)


def slow_lists(data, rows, train, candidates):
    """Of each user who has rows: the candidates' items, and their stars or None."""
    for user in sorted(set(data.user[rows].tolist())):
        mine = {
            int(data.item[row]): float(data.rating[row])
            for row in rows
            if data.user[row] == user
        }
        seen = {int(data.item[row]) for row in train if data.user[row] == user}
        if candidates == "catalogue":
            items = [item for item in range(data.num_items) if item not in seen]
        else:
            items = list(mine)
        yield user, items, [mine.get(item) for item in items]


def slow_values(data, rows, train, table, candidates, reading, k, threshold=3.5):
    """[R, U'], one list at a time; ties by all their orders."""
    bits, share = slow_known(data, train)
    found = []
    for scores_UxI in table:
        line = []
        for user, items, stars in slow_lists(data, rows, train, candidates):
            scores = scores_UxI[user, items]
            if reading.endswith("tied_cutoffs"):
                line.append(float(is_tied(list(scores), k)))
                continue
            values = {
                "relevant": [float(s is not None and s >= threshold) for s in stars],
                "gain": [0.0 if s is None else 2**s - 1 for s in stars],
                "information": list(bits[items]),
                "popular": list(share[items]),
            }[READINGS[reading].reads]
            if len(set(scores)) == len(scores):
                order = np.argsort(-scores)
                line.append(by_loop(reading, [values[i] for i in order], k))
            else:
                line.append(over_orders(reading, scores, values, k))
        found.append(line)
    return np.array(found)


@each_kind
@pytest.mark.parametrize("users", [None, 4])
def test_values_equal_a_slow_loop_over_users(small, table, candidates, users):
    data, rows, train = small
    out, _ = judge(data, rows, train, table, candidates=candidates, users=users)
    assert set(out) == {f"{r}@{k}" for r in CHOSEN for k in SETTING.ks}
    for reading, k in itertools.product(CHOSEN, SETTING.ks):
        found = out[f"{reading}@{k}"]
        expected = slow_values(data, rows, train, table, candidates, reading, k)
        assert found.shape == (SEEDS, USERS - 1)
        np.testing.assert_allclose(
            found, expected, atol=1e-6, rtol=1e-6, err_msg=f"{reading}@{k}"
        )
        # Control: the seeds differ, and so do the kinds of candidates.
        other = "rated" if candidates == "catalogue" else "catalogue"
        if k == 2 and not reading.endswith("tied_cutoffs"):
            assert not np.array_equal(found[0], found[1], equal_nan=True)
            other = slow_values(data, rows, train, table, other, reading, k)
            assert not np.allclose(found, other, atol=1e-3, equal_nan=True), reading


@each_kind
def test_values_with_ties_equal_a_slow_loop_over_users_and_orders(candidates):
    rng = np.random.default_rng(9)
    data = random_world(rng, users=6, items=5, share=0.8)
    part = rng.random(len(data.user)) < 0.7
    rows, train = np.flatnonzero(part), np.flatnonzero(~part)
    tied = (rng.integers(0, 3, (2, 6, 5)) / 2).astype(np.float32)
    setting = lists.Setting(ks=(1, 2), threshold=3.5)
    out, _ = judge(data, rows, train, tied, candidates=candidates, setting=setting)
    for reading, k in itertools.product(CHOSEN, setting.ks):
        expected = slow_values(data, rows, train, tied, candidates, reading, k)
        np.testing.assert_allclose(
            out[f"{reading}@{k}"], expected, atol=1e-6, rtol=1e-6, err_msg=reading
        )
    assert out["standard/tied_cutoffs@1"].any()


COUNT = Metric(lambda ranked, k: ranked.candidates + 0.0, "candidates", bounded=False)
TOTAL = Metric(lambda ranked, k: ranked.total, "relevant candidates", bounded=False)
PROBES = (("count", COUNT), ("total", TOTAL))


class TestCandidates:
    def test_those_of_the_catalogue_are_exactly_the_items_not_in_train(
        self, small, table
    ):
        data, rows, train = small
        out, _ = judge(data, rows, train, table, pairs=PROBES, users=4)
        users = np.unique(data.user[rows])
        seen = np.bincount(data.user[train], minlength=USERS)
        np.testing.assert_array_equal(out["count@5"][1], ITEMS - seen[users])
        assert 7 in users, "the user without train rows"
        assert out["count@5"][0, users.tolist().index(7)] == ITEMS

    def test_those_rated_are_exactly_the_users_rows(self, small, table):
        data, rows, train = small
        out, _ = judge(data, rows, train, table, pairs=PROBES, candidates="rated")
        _, count = np.unique(data.user[rows], return_counts=True)
        np.testing.assert_array_equal(out["count@5"][1], count)

    @each_kind
    def test_only_a_row_of_enough_stars_is_relevant(self, small, table, candidates):
        data, rows, train = small
        judged = partial(judge, data, rows, train, table, candidates=candidates)
        out, _ = judged(pairs=PROBES)
        liked = rows[data.rating[rows] >= 3.5]
        users = np.unique(data.user[rows])
        expected = np.bincount(data.user[liked], minlength=USERS)[users]
        np.testing.assert_array_equal(out["total@5"][0], expected)
        # Control: another threshold, other counts.
        out, _ = judged(pairs=PROBES, setting=SETTING._replace(threshold=0.5))
        rated = np.bincount(data.user[rows], minlength=USERS)[users]
        np.testing.assert_array_equal(out["total@5"][0], rated)

    def test_an_item_rated_in_train_is_in_no_list_however_high_its_score(
        self, small, table
    ):
        data, rows, train = small
        raised = table.copy()
        raised[:, data.user[train], data.item[train]] = 1e6
        out, covered = judge(data, rows, train, raised)
        expected, as_before = judge(data, rows, train, table)
        for name in out:
            np.testing.assert_array_equal(out[name], expected[name], err_msg=name)
        for name in covered:
            np.testing.assert_array_equal(covered[name], as_before[name])
        # Control: were they candidates, the lists would be full of them.
        other, _ = judge(data, rows, train[:0], raised)
        name = "standard/precision@5"
        assert other[name].mean() < out[name].mean() / 2

    def test_an_item_rated_in_neither_part_counts_as_not_relevant(self, small, table):
        data, rows, train = small
        left_over = np.setdiff1d(np.arange(len(data.user)), np.append(rows, train))
        stars = data.rating.copy()
        assert (stars[left_over] >= 3.5).any()
        stars[left_over] = 5.0
        other = world(data.user, data.item, stars, users=USERS, items=ITEMS)
        out, _ = judge(data, rows, train, table)
        same, _ = judge(other, rows, train, table)
        for name in out:
            np.testing.assert_array_equal(out[name], same[name], err_msg=name)
        # Control: were they rows, they would be relevant.
        more, _ = judge(other, np.append(rows, left_over), train, table, pairs=PROBES)
        assert (
            more["total@5"].sum()
            > judge(other, rows, train, table, pairs=PROBES)[0]["total@5"].sum()
        )

    def test_each_user_with_rows_is_scored_once_in_blocks_of_one_size(
        self, small, table
    ):
        data, rows, train = small
        asked = []

        def score(user):
            asked.append(np.asarray(user).tolist())
            return jnp.asarray(table)[:, user]

        known = lists.popularity(data, train)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(lists, "PAIRS", 4 * SEEDS * ITEMS)
            lists.catalogue(
                data, rows, train, score, PROBES, SETTING, known, seeds=SEEDS
            )
        assert [len(block) for block in asked] == [4, 4, 4], "10 users, 2 padded"
        users = [user for block in asked for user in block]
        assert users[:10] == np.unique(data.user[rows]).tolist()

    def test_more_scores_for_one_user_than_a_block_may_hold_are_still_scored(
        self, small, table
    ):
        data, rows, train = small
        expected, _ = judge(data, rows, train, table, pairs=PROBES)
        out, _ = judge(data, rows, train, table, pairs=PROBES, users=0.1)
        np.testing.assert_array_equal(out["total@5"], expected["total@5"])


class TestBlocks:
    def test_a_few_long_lists_do_not_make_all_the_others_long(self):
        rng = np.random.default_rng(0)
        count = np.concatenate([rng.integers(1, 40, 990), [300, 999, 5_000, 64, 65]])
        users, most = 3 * np.arange(len(count)), 2**13
        blocks = list(lists._of_like_length(users, count, most))
        found = np.concatenate([block[real] for block, real, _ in blocks])
        assert sorted(found) == users.tolist(), "each user is in one block"
        scores = 0
        for block, real, length in blocks:
            assert (count[block[real] // 3] <= length).all()
            assert len(block) * length <= most
            scores += len(block) * length
        assert scores < 2 * count.sum() + 64 * (len(count) + 100)
        assert scores < len(count) * count.max() / 10, "one length for all takes more"
        assert len({(len(block), length) for block, _, length in blocks}) <= 8, "shapes"

    def test_what_fits_is_one_block_of_one_length(self):
        count = np.array([1, 200, 3])
        ((block, real, length),) = lists._of_like_length(np.arange(3), count, 2**22)
        assert (block.tolist(), real.all(), length) == ([0, 1, 2], True, 200)


class TestErrors:
    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_a_score_that_is_no_number_is_an_error(self, small, table, value):
        data, rows, train = small
        broken = table.copy()
        broken[1, 9, 3] = value
        with pytest.raises(RunError, match="Scores of the catalogue are NaN or inf"):
            judge(data, rows, train, broken)
        # Control: of a user without rows nobody asks.
        broken = table.copy()
        broken[1, 4] = value
        out, _ = judge(data, rows, train, broken)
        assert np.isfinite(out["standard/precision@5"]).all()


class TestTies:
    @each_kind
    @pytest.mark.parametrize("ties", ["optimistic", "pessimistic"])
    def test_settled_ties_move_what_is_relevant_and_nothing_else(
        self, small, candidates, ties
    ):
        data, rows, train = small
        flat = np.zeros((1, USERS, ITEMS), np.float32)
        judged = partial(judge, data, rows, train, flat, candidates=candidates)
        plain, _ = judged(setting=SETTING._replace(ks=(2,)))
        out, _ = judged(setting=SETTING._replace(ks=(2,), ties=ties))
        better = 1 if ties == "optimistic" else -1
        for reading in CHOSEN:
            name, before = f"{reading}@2", plain[f"{reading}@2"]
            moved = better * (out[name] - before)
            if READINGS[reading].reads in ("information", "popular"):
                # What an item is does not depend on how ties are settled.
                np.testing.assert_array_equal(out[name], before, err_msg=name)
            elif not reading.endswith("tied_cutoffs"):
                assert np.nanmin(moved) >= -1e-6, name
                assert np.nanmax(moved) > 0.1, name

    @each_kind
    @pytest.mark.parametrize("ties", ["optimistic", "pessimistic"])
    def test_the_share_of_tied_cut_offs_is_reported_whatever_settles_them(
        self, small, candidates, ties
    ):
        data, rows, train = small
        flat = np.zeros((1, USERS, ITEMS), np.float32)
        name = "standard/tied_cutoffs"
        out, _ = judge(
            data,
            rows,
            train,
            flat,
            candidates=candidates,
            pairs=((name, READINGS[name]),),
            setting=SETTING._replace(ties=ties),
        )
        for k in SETTING.ks:
            expected = slow_values(data, rows, train, flat, candidates, name, k)
            np.testing.assert_array_equal(out[f"{name}@{k}"], expected)
            assert expected.any() == (k < ITEMS)


class TestPopularity:
    def test_it_is_counted_in_train(self, small):
        data, _, train = small
        bits, share = slow_known(data, train)
        out = lists.popularity(data, train)
        np.testing.assert_allclose(out.information, bits, rtol=1e-6)
        np.testing.assert_allclose(out.popular, share, rtol=1e-6)
        assert out.information.dtype == out.popular.dtype == np.float32

    def test_a_tie_at_the_border_of_the_most_rated_is_shared(self):
        # Ten items, so two places: one with three ratings, four share the second.
        item = [0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5]
        user = [0, 1, 2, 0, 1, 0, 1, 0, 1, 0, 1, 0]
        data = world(user, item, np.ones(12), users=4, items=10)
        out = lists.popularity(data, np.arange(12))
        expected = [1, 1 / 4, 1 / 4, 1 / 4, 1 / 4, 0, 0, 0, 0, 0]
        np.testing.assert_allclose(out.popular, expected)
        # An item that nobody rated is as surprising as one that one user rated.
        bits = np.log2([4 / 3, 2, 2, 2, 2, 4, 4, 4, 4, 4])
        np.testing.assert_allclose(out.information, bits, rtol=1e-6)

    @pytest.mark.parametrize("items", [1, 2, 5, 6, 10, 35, 1_000])
    def test_as_many_shares_are_given_as_there_are_places(self, items):
        rng = np.random.default_rng(items)
        item = rng.integers(0, items, 3 * items)
        data = world(0 * item, item, 1.0 + 0 * item, users=9, items=items)
        out = lists.popularity(data, np.arange(len(item)))
        assert out.popular.sum(dtype=float) == pytest.approx(-(-items // 5), rel=1e-5)
        count = np.bincount(item, minlength=items)
        order = np.argsort(-count, kind="stable")
        assert (np.diff(out.popular[order]) <= 0).all()
        # Nothing rated at all: the places are shared by everyone.
        nothing = lists.popularity(data, np.arange(0))
        np.testing.assert_allclose(nothing.popular, -(-items // 5) / items, rtol=1e-6)

    def test_test_rows_change_nothing_of_novelty_and_popularity(self, small, table):
        data, rows, train = small
        item = data.item.copy()
        item[rows] = 0  # a canary: everyone's test rows are the same film
        other = world(data.user, item, data.rating, users=USERS, items=ITEMS)
        known, same = (lists.popularity(d, train) for d in (data, other))
        np.testing.assert_array_equal(known.information, same.information)
        np.testing.assert_array_equal(known.popular, same.popular)
        out, _ = judge(data, rows, train, table)
        canary, _ = judge(other, rows, train, table)
        changed = 0
        for name in out:
            if "novelty" in name or "popularity" in name:
                np.testing.assert_array_equal(out[name], canary[name])
            else:
                changed += not np.array_equal(out[name], canary[name], equal_nan=True)
        assert changed > 10, "what is relevant did change"
        # Control: the same rows in train do count.
        counted = lists.popularity(other, np.append(train, rows))
        assert (counted.information != known.information).any()

    def test_without_train_rows_they_are_left_out(self, small, table):
        data, rows, _ = small
        scores = table[:, data.user[rows], data.item[rows]]
        out = lists.rated(data, rows, scores, PAIRS, SETTING, None)
        missing = {"standard/novelty", "standard/popularity"}
        names = {f"{r}@{k}" for r in CHOSEN if r not in missing for k in SETTING.ks}
        assert set(out) == names


def slow_coverage(data, rows, train, scores_UxI, k):
    """Mean share of items in some list, over every joint order of all users' ties."""
    tops = []
    for user, items, _ in slow_lists(data, rows, train, "catalogue"):
        orders = orders_of(scores_UxI[user, items])
        tops.append([{items[place] for place in order[:k]} for order in orders])
    shares = [
        len(set.union(*joint)) / data.num_items for joint in itertools.product(*tops)
    ]
    return np.mean(shares)


class TestCoverage:
    @pytest.mark.parametrize("users", [None, 2])
    @pytest.mark.parametrize("seed", range(4))
    def test_it_equals_the_mean_over_all_orders_of_a_tiny_world(self, seed, users):
        rng = np.random.default_rng(seed)
        # Three users in blocks of two: the padding must be in nobody's list.
        data = random_world(rng, users=3, items=5, share=0.9)
        part = rng.random(len(data.user)) < 0.5
        part[np.unique(data.user, return_index=True)[1]] = True
        rows, train = np.flatnonzero(part), np.flatnonzero(~part)
        tied = (rng.integers(0, 2, (2, 3, 5)) / 2).astype(np.float32)
        setting = lists.Setting(ks=(1, 2, 9))
        _, out = judge(
            data, rows, train, tied, pairs=PROBES, setting=setting, users=users
        )
        assert list(out) == ["coverage@1", "coverage@2", "coverage@9"]
        for k in setting.ks:
            expected = [slow_coverage(data, rows, train, each, k) for each in tied]
            np.testing.assert_allclose(out[f"coverage@{k}"], expected, atol=1e-6)
        assert (out["coverage@1"] < out["coverage@2"]).all()

    @pytest.mark.parametrize("k", [1, 3])
    def test_the_same_list_for_everyone_covers_k_items(self, k):
        data = world(range(8), [0] * 8, np.ones(8), users=8, items=10)
        setting = lists.Setting(ks=(k,))
        same = np.tile(np.arange(10, dtype=np.float32), (1, 8, 1))
        judged = partial(
            judge, data, np.arange(8), np.arange(0), pairs=PROBES, setting=setting
        )
        _, out = judged(same)
        np.testing.assert_allclose(out[f"coverage@{k}"], k / 10, rtol=1e-6)
        # A constant scorer gives each the chance of being drawn by nobody.
        _, out = judged(0 * same)
        np.testing.assert_allclose(
            out[f"coverage@{k}"], 1 - (1 - k / 10) ** 8, rtol=1e-5
        )
        # Users who each have another best item cover as many as they are.
        _, out = judged(np.eye(8, 10, dtype=np.float32)[None])
        if k == 1:
            np.testing.assert_allclose(out["coverage@1"], 8 / 10, rtol=1e-6)

    def test_items_that_everyone_has_rated_in_train_are_never_covered(self):
        data = world([0, 1, 0, 1], [0, 0, 1, 2], np.ones(4), users=2, items=4)
        rows, train = np.array([2, 3]), np.array([0, 1])
        setting = lists.Setting(ks=(4,))
        flat = np.zeros((1, 2, 4), np.float32)
        _, out = judge(data, rows, train, flat, pairs=PROBES, setting=setting)
        np.testing.assert_allclose(out["coverage@4"], 3 / 4)


def test_a_metric_of_the_readers_own_gets_each_list_with_its_mask(small, table):
    data, rows, train = small

    def best_is_relevant(scores, relevance, *, where, k):
        best = jnp.argmax(jnp.where(where, scores, -jnp.inf))
        return jnp.where(where.any(), relevance[best] * 1.0, jnp.nan)

    pairs = (("own", best_is_relevant), *CONVENTIONS["standard"].items())
    setting = lists.Setting(ks=(1,), threshold=3.5)
    for candidates in CANDIDATES:
        out, _ = judge(
            data,
            rows,
            train,
            table,
            pairs=pairs,
            setting=setting,
            candidates=candidates,
            users=4,
        )
        np.testing.assert_allclose(out["own@1"], out["precision@1"], atol=1e-6)
        assert 0 < out["own@1"].mean() < 1


def test_the_chosen_readings_are_of_every_name():
    assert {parts(r)[1] for r in CHOSEN} == set(CONVENTIONS["standard"])
