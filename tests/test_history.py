"""Histories against loops, singular vectors against LAPACK's; no row sees itself."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ncf_jax import history
from ncf_jax.history import remember, sum_by
from tests.counted import (
    EMPTY_ITEM,
    EMPTY_USER,
    ITEMS,
    USERS,
    shuffled,
    with_ratings,
    world,
)

CLOSE = dict(rtol=1e-5, atol=1e-6)
USER_SIDE = ("rated", "user_basis", "user_count")
ITEM_SIDE = ("raters", "item_basis", "item_count")
laws = settings(max_examples=100, deadline=None)


def planted(seed=0, users=45, items=33, groups=3):
    """A data set of users who rate most items of their group and few others."""
    rng = np.random.default_rng(seed)
    theirs = rng.integers(0, groups, (users, 1)) == rng.integers(0, groups, items)
    user, item = np.nonzero(rng.random((users, items)) < np.where(theirs, 0.9, 0.1))
    order = rng.permutation(len(user))
    dataset = dataclasses.replace(
        world()[0],
        user=user[order].astype(np.int32),
        item=item[order].astype(np.int32),
        rating=np.full(len(user), np.nan, np.float32),
        user_ids=np.arange(users),
        item_ids=np.arange(items),
    )
    return dataset, np.arange(len(user))


def matrix(dataset, rows):
    """Users x items, by a loop over the rows."""
    found = np.zeros((dataset.num_users, dataset.num_items))
    for row in rows:
        found[dataset.user[row], dataset.item[row]] += 1
    return found


def projection(basis):
    return np.asarray(basis, np.float64) @ np.asarray(basis, np.float64).T


def bits(tree):
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree)]


def pairs_of(dataset, rows):
    return dataset.user[rows], dataset.item[rows]


@pytest.fixture(scope="module", params=[0, 1])
def kept(request):
    """A world, its training rows and their history in 4 numbers."""
    dataset, split = world(request.param)
    return dataset, split.train, remember(dataset, split.train, 4)


@pytest.fixture(scope="module")
def grouped():
    """A planted data set, its rows and the singular vectors of its matrix."""
    dataset, rows = planted()
    return dataset, rows, np.linalg.svd(matrix(dataset, rows), full_matrices=False)


class TestSumBy:
    @laws
    @given(
        st.lists(st.integers(0, 6), max_size=30).map(sorted),
        st.integers(0, 3),
        st.integers(1, 7),
    )
    @example([], 2, 1)
    @example([0, 0, 0, 3], 1, 2)  # a sum over more than one block
    @example([6] * 7, 1, 7)  # as many rows as a block has
    def test_it_is_a_sum_row_by_row_in_blocks_of_any_size(self, index, width, block):
        index = np.array(index, np.int64)
        rng = np.random.default_rng(len(index))
        rows = rng.integers(-9, 10, (len(index), width)).astype(np.float64)
        asked = []

        def values(some):
            asked.append(len(rows[some]))
            return rows[some]

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(history, "AT_ONCE", block)
            found = sum_by(index, 7, values)
        wanted = np.zeros((7, width))
        np.add.at(wanted, index, rows)
        np.testing.assert_array_equal(found, wanted)
        assert max(asked) <= block
        assert sum(asked) == len(rows)

    def test_rows_that_change_places_change_it(self):  # the control
        index, rows = np.array([0, 0, 2]), np.array([[1.0], [2.0], [5.0]])
        one, other = (sum_by(index, 3, lambda x, r=r: r[x]) for r in (rows, rows[::-1]))
        assert one.tolist() == [[3], [0], [5]]
        assert other.tolist() == [[7], [0], [1]]

    def test_of_no_row_it_is_nothing(self):
        found = sum_by(np.zeros(0, int), 3, lambda block: np.ones((0, 2))[block])
        np.testing.assert_array_equal(found, np.zeros((3, 2)))


class TestSums:
    def test_rated_is_the_sum_over_a_user_s_items(self, kept):
        dataset, rows, h = kept
        wanted = np.zeros((USERS, 4))
        for user, item in zip(*pairs_of(dataset, rows), strict=True):
            wanted[user] += h.item_basis[item]
        np.testing.assert_allclose(h.rated, wanted, **CLOSE)
        assert np.abs(h.rated - wanted[::-1]).max() > 1e-1  # the control

    def test_raters_is_the_sum_over_an_item_s_users(self, kept):
        dataset, rows, h = kept
        wanted = np.zeros((ITEMS, 4))
        for user, item in zip(*pairs_of(dataset, rows), strict=True):
            wanted[item] += h.user_basis[user]
        np.testing.assert_allclose(h.raters, wanted, **CLOSE)
        assert np.abs(h.raters - wanted[::-1]).max() > 1e-1  # the control

    def test_counts_are_those_of_the_rows(self, kept):
        dataset, rows, h = kept
        user, item = (side.tolist() for side in pairs_of(dataset, rows))
        assert h.user_count.tolist() == [user.count(n) for n in range(USERS)]
        assert h.item_count.tolist() == [item.count(n) for n in range(ITEMS)]
        assert h.number == len(rows) < len(dataset.user)

    def test_all_is_float32(self, kept):
        assert {leaf.dtype for leaf in jax.tree.leaves(kept[2])} == {np.dtype("f4")}

    def test_those_without_a_row_have_a_history_of_zeros(self, kept):
        *_, h = kept
        for table, empty in ((h.of_user(), EMPTY_USER), (h.of_item(), EMPTY_ITEM)):
            assert not table[empty].any()
            assert np.delete(table, empty, axis=0).any(axis=1).all()  # the control


class TestBases:
    @pytest.mark.parametrize("width", [1, 3, 7])
    def test_they_are_orthonormal(self, width):
        for dataset, rows in (planted(), (world()[0], world()[1].train)):
            h = remember(dataset, rows, width)
            for basis in (h.user_basis, h.item_basis):
                assert basis.shape[1] == width
                np.testing.assert_allclose(basis.T @ basis, np.eye(width), atol=2e-6)
        gram = h.rated.T @ h.rated  # the control
        assert np.abs(gram - np.eye(width)).max() > 1e-1

    @pytest.mark.parametrize("width", [1, 2, 3])
    def test_they_span_what_the_leading_singular_vectors_span(self, grouped, width):
        dataset, rows, (left, size, right) = grouped
        assert size[width - 1] > 1.2 * size[width]  # a gap
        h, rng = remember(dataset, rows, width), np.random.default_rng(1)
        for found, vectors in ((h.user_basis, left), (h.item_basis, right.T)):
            wanted = projection(vectors[:, :width])
            np.testing.assert_allclose(projection(found), wanted, atol=2e-6)
            for narrower in range(width):  # the controls
                other = projection(vectors[:, :narrower])
                assert np.abs(projection(found) - other).max() > 1e-2
            random = np.linalg.qr(rng.normal(size=found.shape))[0]
            assert np.abs(projection(random) - wanted).max() > 1e-2

    def test_columns_are_singular_vectors_in_the_order_of_their_values(self, grouped):
        dataset, rows, (_, size, _) = grouped
        h = remember(dataset, rows, 3)
        np.testing.assert_allclose(h.rated, h.user_basis * size[:3], atol=2e-5)
        np.testing.assert_allclose(h.raters, h.item_basis * size[:3], atol=2e-5)
        other = h.user_basis * size[2::-1]  # the control
        assert np.abs(h.rated - other).max() > 1e-1

    def test_without_a_gap_they_keep_nearly_as_much_as_can_be_kept(self, monkeypatch):
        rng = np.random.default_rng(3)
        dataset, rows = planted(users=150, items=120, groups=1)
        rows = rng.choice(rows, len(rows) // 4, replace=False)
        whole = matrix(dataset, rows)
        best = (np.linalg.svd(whole)[1][:16] ** 2).sum()
        h = remember(dataset, rows, 16)
        assert 0.99 * best < (h.rated**2).sum() < 1.00001 * best
        monkeypatch.setattr(history, "SWEEPS", 1)  # the control
        monkeypatch.setattr(history, "SPARE", 0)
        assert (remember(dataset, rows, 16).rated ** 2).sum() < 0.97 * best

    @pytest.mark.parametrize("width", [7, 8, 20])
    def test_wide_enough_they_lose_nothing(self, kept, width):
        dataset, rows, narrow = kept
        h, whole = remember(dataset, rows, width), matrix(dataset, rows)
        np.testing.assert_allclose(h.rated @ h.rated.T, whole @ whole.T, atol=1e-5)
        np.testing.assert_allclose(h.raters @ h.raters.T, whole.T @ whole, atol=1e-5)
        lost = whole @ whole.T - narrow.rated @ narrow.rated.T
        assert np.abs(lost).max() > 1e-1  # the control

    def test_a_pair_rated_twice_counts_twice(self, kept):
        dataset, rows, once = kept
        h = remember(dataset, np.concatenate([rows, rows]), 4)
        np.testing.assert_allclose(h.user_count, 2 * once.user_count)
        wanted = 4 * once.rated @ once.rated.T
        np.testing.assert_allclose(h.rated @ h.rated.T, wanted, atol=5e-5)


class TestWidths:
    @pytest.mark.parametrize("width", [8, 12, 30])
    def test_columns_beyond_the_users_or_items_are_zero(self, kept, width):
        dataset, rows, _ = kept
        h = remember(dataset, rows, width)
        least = min(USERS, ITEMS)
        for table in (h.rated, h.user_basis, h.raters, h.item_basis):
            assert table.shape[1] == width
            assert not table[:, least:].any()
        assert len(h.rated) == len(h.user_basis) == USERS
        assert len(h.raters) == len(h.item_basis) == ITEMS
        for basis in (h.user_basis, h.item_basis):
            assert basis[:, :least].any(axis=0).all()  # the control
        chex.assert_trees_all_equal(
            h, jax.tree.map(lambda x: _widened(x, width), remember(dataset, rows, 7))
        )

    def test_of_no_width_only_counts_are_left(self, kept):
        dataset, rows, other = kept
        h = remember(dataset, rows, 0)
        assert h.width == 0
        assert h.rated.shape == h.user_basis.shape == (USERS, 0)
        assert h.raters.shape == h.item_basis.shape == (ITEMS, 0)
        np.testing.assert_array_equal(h.user_count, other.user_count)
        pairs = h.rows(dataset.item[rows], dataset.user[rows])
        for found in (pairs.of_user(), pairs.of_user(own=True), pairs.of_item(True)):
            assert found.shape == (len(rows), 0)

    def test_of_no_rows_histories_are_zeros(self, kept):
        dataset, rows, _ = kept
        h = remember(dataset, rows[:0], 4)
        assert not h.of_user().any()
        assert not h.of_item().any()
        assert h.number == 0
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(h))


def _widened(table, width):
    return np.pad(table, ((0, 0), (0, width - 7))) if table.ndim == 2 else table


class TestWhatIsRead:
    def test_the_same_rows_give_the_same_bits(self, kept):
        dataset, rows, h = kept
        assert bits(remember(dataset, rows, 4)) == bits(h)
        assert bits(remember(dataset, rows[1:], 4)) != bits(h)  # the control

    @pytest.mark.parametrize("how", ["shuffled", "no numbers"])
    def test_no_rating_is(self, kept, how):
        dataset, rows, h = kept
        every = np.arange(len(dataset.user))
        other = shuffled(dataset, every)
        if how == "no numbers":
            other = with_ratings(dataset, every, np.nan)
        assert (other.rating != dataset.rating).any()
        assert bits(remember(other, rows, 4)) == bits(h)

    def test_nor_is_who_rated_what_in_other_rows(self, kept):
        dataset, rows, h = kept
        others = np.setdiff1d(np.arange(len(dataset.user)), rows)
        user, item = dataset.user.copy(), dataset.item.copy()
        user[others], item[others] = 10**6, -1  # nobody, nothing
        changed = dataclasses.replace(dataset, user=user, item=item)
        assert bits(remember(changed, rows, 4)) == bits(h)
        item[rows[:2]] = (item[rows[:2]] + 1) % ITEMS  # the control
        changed = dataclasses.replace(dataset, user=user, item=item)
        assert bits(remember(changed, rows, 4)) != bits(h)

    @pytest.mark.parametrize("change", ["order", "blocks"])
    def test_order_and_blocks_change_nothing_but_rounding(
        self, kept, change, monkeypatch
    ):
        dataset, rows, h = kept
        if change == "blocks":
            monkeypatch.setattr(history, "AT_ONCE", 3)
        else:
            rows = np.random.default_rng(0).permutation(rows)
        other, fewer = (remember(dataset, some, 4) for some in (rows, rows[3:]))
        for name in ("rated", "raters", "user_basis", "item_basis"):
            one, two, three = (
                projection(getattr(x, name)) for x in (h, other, fewer)
            )  # not of a column's sign
            np.testing.assert_allclose(one, two, atol=5e-6)
            assert np.abs(one - three).max() > 1e-2  # the control


class TestRows:
    def test_they_are_those_of_the_pairs(self, kept):
        dataset, rows, h = kept
        user, item = pairs_of(dataset, rows)
        found = h.rows(item, user)
        for names, index in ((USER_SIDE, user), (ITEM_SIDE, item)):
            for name in names:
                wanted = np.stack([getattr(h, name)[n] for n in index])
                np.testing.assert_array_equal(getattr(found, name), wanted)
                assert (getattr(found, name) != wanted[::-1]).any()  # the control
        assert found.number == h.number
        assert found.width == 4

    @pytest.mark.parametrize("given", ["item", "user"])
    def test_of_a_side_that_is_not_given_there_is_none(self, kept, given):
        *_, h = kept
        found = h.rows(**{given: np.array([2, 0, 2])})
        names, others = USER_SIDE, ITEM_SIDE
        if given == "item":
            names, others = others, names
        for name in names:
            wanted = getattr(h, name)[[2, 0, 2]]
            np.testing.assert_array_equal(getattr(found, name), wanted)
        assert all(getattr(found, name) is None for name in (*others, "number"))
        assert found.width == 4
        one, whole = (x.of_user if given == "user" else x.of_item for x in (found, h))
        np.testing.assert_array_equal(one(), whole()[[2, 0, 2]])

    @pytest.mark.parametrize("own", [False, True])
    def test_a_user_stands_beside_many_items(self, kept, own):
        *_, h = kept
        user, item = np.array([[4], [1]]), np.array([[0, 1, 2], [3, 3, 8]])
        beside = h.rows(item, user)
        each = h.rows(item.ravel(), np.repeat(user, 3))
        found = np.broadcast_to(beside.of_user(own), (2, 3, 4)).reshape(6, 4)
        np.testing.assert_array_equal(found, each.of_user(own))
        found = beside.of_item(own).reshape(6, 4)
        np.testing.assert_array_equal(found, each.of_item(own))

    def test_they_are_taken_in_a_compiled_function(self, kept):
        dataset, rows, h = kept
        user, item = pairs_of(dataset, rows)

        @jax.jit
        def function(h, item, user):
            pairs = h.rows(item, user)
            return pairs.of_user(own=True), pairs.of_item(own=True)

        found = function(h, jnp.asarray(item), jnp.asarray(user))
        pairs = h.rows(item, user)
        np.testing.assert_allclose(found[0], pairs.of_user(own=True), **CLOSE)
        np.testing.assert_allclose(found[1], pairs.of_item(own=True), **CLOSE)
        other = function(h, jnp.asarray(item[::-1]), jnp.asarray(user))
        assert (found[0] != other[0]).any()  # the control


def alone(dataset, rows, h, own):
    """Of each row its user's and its item's history, by loops over the other rows."""
    out = []
    for row in rows:
        rest = [n for n in rows if n != row or not own]
        mine = [n for n in rest if dataset.user[n] == dataset.user[row]]
        its = [n for n in rest if dataset.item[n] == dataset.item[row]]
        basis = [h.item_basis[dataset.item[mine]], h.user_basis[dataset.user[its]]]
        out.append([x.sum(axis=0) / max(len(x), 1) ** 0.5 for x in basis])
    return np.array(out).transpose(1, 0, 2)


class TestOwn:
    def test_a_training_row_is_left_out_of_both_histories(self, kept):
        dataset, rows, h = kept
        pairs = h.rows(dataset.item[rows], dataset.user[rows])
        by_user, by_item = alone(dataset, rows, h, own=True)
        np.testing.assert_allclose(pairs.of_user(own=True), by_user, **CLOSE)
        np.testing.assert_allclose(pairs.of_item(own=True), by_item, **CLOSE)
        for found, wanted in ((pairs.of_user(), by_user), (pairs.of_item(), by_item)):
            assert (np.abs(found - wanted).max(axis=1) > 1e-2).all()  # the control

    def test_any_other_pair_sees_all_rows(self, kept):
        dataset, rows, h = kept
        pairs = h.rows(dataset.item[rows], dataset.user[rows])
        by_user, by_item = alone(dataset, rows, h, own=False)
        np.testing.assert_allclose(pairs.of_user(), by_user, **CLOSE)
        np.testing.assert_allclose(pairs.of_item(), by_item, **CLOSE)
        np.testing.assert_array_equal(pairs.of_user(), h.of_user()[dataset.user[rows]])
        np.testing.assert_array_equal(pairs.of_item(), h.of_item()[dataset.item[rows]])

    def test_what_is_left_does_not_tell_which_item_it_was(self, kept):
        dataset, rows, h = kept
        row = rows[np.argmax(h.user_count[dataset.user[rows]])]
        user, item = int(dataset.user[row]), int(dataset.item[row])
        left = []
        for other in (item, (item + 1) % ITEMS):  # the row's item, in the same basis
            step = h.item_basis[other] - h.item_basis[item]
            rated = h.rated.copy()
            rated[user] += step
            left.append(h.replace(rated=rated).rows(np.array(other), np.array(user)))
        one, two = (x.of_user(own=True) for x in left)
        np.testing.assert_allclose(one, two, **CLOSE)
        one, two = (x.of_user() for x in left)
        assert np.abs(one - two).max() > 1e-2  # the control

    @pytest.mark.parametrize("side", ["user", "item"])
    def test_an_only_row_leaves_zeros(self, kept, side):
        dataset, rows, _ = kept
        row = rows[0]
        same = getattr(dataset, side)[rows] == getattr(dataset, side)[row]
        h = remember(dataset, np.append(rows[~same], row), 4)
        pair = h.rows(dataset.item[[row]], dataset.user[[row]])
        found = pair.of_user if side == "user" else pair.of_item
        assert getattr(pair, f"{side}_count").tolist() == [1]
        np.testing.assert_array_equal(found(own=True), np.zeros((1, 4)))
        assert np.abs(found()).max() > 1e-2  # the control

    def test_joined_pairs_leave_out_what_they_joined(self, kept):
        dataset, rows, h = kept
        others = np.setdiff1d(np.arange(len(dataset.user)), rows)
        pairs = h.rows(dataset.item[others], dataset.user[others])
        known = (pairs.user_count > 0) & (pairs.item_count > 0)
        assert known.any()
        joined = pairs.joined()
        for one, other in (
            (joined.of_user, pairs.of_user),
            (joined.of_item, pairs.of_item),
        ):
            np.testing.assert_allclose(one(own=True), other(), **CLOSE)
            moved = np.abs(one() - other()).max(axis=1) > 1e-3  # the control
            assert moved[known].all()
