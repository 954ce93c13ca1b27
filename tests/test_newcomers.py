"""New users as a model sees them: a known user's ratings give the known user's context
and history, to the last digit that matters, and no rating has a part in its own."""

import dataclasses
import tracemalloc

import jax.numpy as jnp
import numpy as np
import pytest

from ncf_jax import Bias, RunError, newcomers
from ncf_jax.counting import PULL, observe, of_rows, with_statistics
from ncf_jax.history import remember
from ncf_jax.models.vncf import VNCF

CLOSE = dict(rtol=1e-5, atol=1e-5)
NOTHING = np.zeros(0, np.int32), np.zeros(0, np.float32)


@pytest.fixture(scope="module")
def statistics(tiny_dataset, tiny_split):
    return observe(tiny_dataset, tiny_split.train)


@pytest.fixture(scope="module")
def known(tiny_dataset, tiny_split):
    return remember(tiny_dataset, tiny_split.train, 12)


def rated_by(dataset, rows, user):
    mine = rows[dataset.user[rows] == user]
    return dataset.item[mine], dataset.rating[mine]


def test_lengths_are_padded_to_a_multiple_and_never_to_nothing():
    assert [newcomers.padded(n) for n in (0, 1, 64, 65, 200)] == [64, 64, 64, 128, 256]


def test_a_known_users_ratings_give_the_known_users_contexts(
    tiny_dataset, tiny_split, statistics
):
    users = np.array([0, 5, 39])
    pairs = [rated_by(tiny_dataset, tiny_split.train, user) for user in users]
    found = newcomers.of_new_users(statistics, pairs).of_users(jnp.arange(3))
    wanted = np.asarray(statistics.of_users(jnp.asarray(users)))
    np.testing.assert_allclose(found, wanted, atol=2e-4)
    assert np.abs(wanted[0] - wanted[1]).max() > 0.1, "control: users differ"


def test_counts_are_those_of_a_loop(tiny_dataset, tiny_split, statistics):
    pairs = [rated_by(tiny_dataset, tiny_split.train, user) for user in (3, 4)]
    found = newcomers.of_new_users(statistics, [pairs[0], NOTHING, pairs[1]])
    for user, (items, stars) in enumerate([pairs[0], NOTHING, pairs[1]]):
        left = [
            float(star) - statistics.mean - statistics.item_bias[item]
            for item, star in zip(items, stars, strict=True)
        ]
        bias = sum(left) / (len(left) + PULL)
        content = np.zeros((2, statistics.content.shape[1]))
        for item, residual in zip(items, left, strict=True):
            content[0] += (residual - bias) * statistics.content[item]
            content[1] += np.abs(statistics.content[item])
        assert found.user_count[user] == len(items)
        np.testing.assert_allclose(found.user_bias[user], bias, **CLOSE)
        np.testing.assert_allclose(found.user_content[user], content[0], **CLOSE)
        np.testing.assert_allclose(found.user_weight[user], content[1], **CLOSE)
    assert abs(found.user_bias[0] - found.user_bias[2]) > 0.01, "control: users differ"


def test_all_of_the_items_is_kept(tiny_dataset, tiny_split, statistics):
    pair = rated_by(tiny_dataset, tiny_split.train, 3)
    found = newcomers.of_new_users(statistics, [pair])
    for name in ("item_count", "item_bias", "content", "mean", "blocks", "parts"):
        assert getattr(found, name) is getattr(statistics, name)


class TestHistories:
    """Padded lists of two training users and of one who rated nothing."""

    USERS = (7, 20)

    @pytest.fixture
    def lists(self, tiny_dataset, tiny_split):
        mine = [rated_by(tiny_dataset, tiny_split.train, user) for user in self.USERS]
        assert len(mine[0][0]) != len(mine[1][0]), "control: padding is unequal"
        return [*(items for items, _ in mine), NOTHING[0]]

    @staticmethod
    def pad(lists, length=64):
        item, weight = (
            np.zeros((len(lists), length), np.int32),
            np.zeros((len(lists), length), np.float32),
        )
        for place, items in enumerate(lists):
            item[place, : len(items)], weight[place, : len(items)] = items, 1
        return item, weight

    def test_they_are_those_of_who_was_a_training_user(self, known, lists):
        found = newcomers.new_histories(known, *self.pad(lists))
        users = np.array(self.USERS)
        np.testing.assert_allclose(found.rated[:2], known.rated[users], **CLOSE)
        np.testing.assert_array_equal(found.user_count[:2], known.user_count[users])
        np.testing.assert_allclose(
            found.of_user()[:2], known.rows(user=users).of_user(), **CLOSE
        )
        apart = np.abs(found.rated[:2] - known.rated[users[::-1]]).max()
        assert apart > 0.05, "control: users differ"

    def test_they_are_sums_of_a_loop_and_nothing_for_nobody(self, known, lists):
        found = newcomers.new_histories(known, *self.pad(lists))
        for place, items in enumerate(lists):
            total = np.zeros(known.width)
            for item in items:
                total += known.item_basis[item]
            np.testing.assert_allclose(found.rated[place], total, **CLOSE)
            assert found.user_count[place] == len(items)
        assert not found.rated[2].any()
        assert found.number.tolist() == [known.number] * 3
        sides = found.raters, found.item_basis, found.user_basis, found.item_count
        assert sides == (None,) * 4

    def test_more_padding_changes_nothing(self, known, lists):
        short, long = (
            newcomers.new_histories(known, *self.pad(lists, length))
            for length in (64, 256)
        )
        np.testing.assert_allclose(short.rated, long.rated, **CLOSE)
        np.testing.assert_array_equal(short.user_count, long.user_count)
        item, weight = self.pad(lists)
        heavy = newcomers.new_histories(known, item, np.ones_like(weight))
        assert np.abs(heavy.rated - short.rated).max() > 0.05, "control: weights count"

    def test_each_is_the_history_of_who_has_not_rated_it(self, known, lists):
        item, weight = self.pad(lists)
        theirs = newcomers.new_histories(known, item, weight)
        found = newcomers.left_out_histories(known, theirs, item)
        assert found.rated.shape == (3, 64, known.width)
        for user, items in enumerate(lists):
            for place in range(len(items)):
                others = self.pad([np.delete(items, place)])
                alone = newcomers.new_histories(known, *others)
                mine = found.rated[user, place]
                np.testing.assert_allclose(mine, alone.rated[0], **CLOSE)
                assert found.user_count[user, place] == len(items) - 1

    def test_they_are_what_training_rows_of_the_same_user_see(self, known, lists):
        item, weight = self.pad(lists)
        theirs = newcomers.new_histories(known, item, weight)
        found = newcomers.left_out_histories(known, theirs, item)
        for place, user in enumerate(self.USERS):
            mine = slice(len(lists[place]))
            items = lists[place]
            rows = known.rows(items, np.full_like(items, user))
            seen = found.of_user()[place, mine]
            np.testing.assert_allclose(seen, rows.of_user(own=True), **CLOSE)
            apart = np.abs(seen - rows.of_user()).max(axis=1)
            assert (apart > 1e-4).all(), "control: a row that sees itself"
            # Of items all is known, since a new user is none of their raters.
            theirs_seen = found.of_item()[place, mine]
            np.testing.assert_array_equal(theirs_seen, rows.of_item())
            joined = found.joined()  # and what leaves itself out again sees the same
            again = joined.of_user(own=True)[place, mine]
            np.testing.assert_allclose(again, seen, **CLOSE)
            np.testing.assert_array_equal(joined.user_count[place, mine], len(items))
            whose = joined.of_item(own=True)[place, mine]
            np.testing.assert_allclose(whose, theirs_seen, **CLOSE)

    def test_an_item_has_no_part_in_the_history_of_itself(self, known, lists):
        # The canary: one item is changed; all histories but its own notice.
        items, changed = lists[0], lists[0].copy()
        changed[2] = np.setdiff1d(np.arange(len(known.item_basis)), items)[0]
        before, after = (
            newcomers.left_out_histories(
                known, newcomers.new_histories(known, *self.pad([each])), each[None]
            )
            for each in (items, changed)
        )
        moved = np.abs(before.rated - after.rated)[0].max(axis=1) > 1e-4
        assert not moved[2]
        assert np.delete(moved, 2).all()

    def test_prepare_gives_both(self, tiny_dataset, tiny_split, lists):
        dataset = with_statistics(tiny_dataset, tiny_split, history=12)
        known = dataset.features.history
        model = VNCF(num_users=dataset.num_users, num_items=dataset.num_items)
        pairs = [(items, np.full(len(items), 4.0)) for items in lists]
        given, every = newcomers.prepare(model, dataset, pairs, 64)
        item, weight = self.pad(lists)
        np.testing.assert_array_equal(given.weight, weight)
        whole = newcomers.new_histories(known, item, weight)
        parts = newcomers.left_out_histories(known, whole, item)
        np.testing.assert_array_equal(every.history.rated, whole.rated)
        np.testing.assert_array_equal(given.history.rated, parts.rated)
        np.testing.assert_array_equal(given.history.raters, known.raters[item])


class TestLeftOut:
    def test_each_is_the_context_of_who_has_not_rated_it(
        self, tiny_dataset, tiny_split, statistics
    ):
        item, stars = rated_by(tiny_dataset, tiny_split.train, 7)
        found = newcomers.left_out(statistics, tiny_dataset, item, stars)
        for place in range(len(item)):
            other = np.arange(len(item)) != place
            alone = newcomers.of_new_users(statistics, [(item[other], stars[other])])
            every = alone.of_users(jnp.arange(1))[0]
            np.testing.assert_allclose(found[place], every[item[place]], atol=1e-5)

    def test_a_rating_has_no_part_in_the_context_of_itself(
        self, tiny_dataset, tiny_split, statistics
    ):
        # The canary: one rating is changed; all contexts but its own notice.
        item, stars = rated_by(tiny_dataset, tiny_split.train, 7)
        changed = stars.copy()
        changed[2] = 5.5 - changed[2]
        before, after = (
            newcomers.left_out(statistics, tiny_dataset, item, each)
            for each in (stars, changed)
        )
        moved = np.abs(before - after).max(axis=1) > 1e-4
        assert not moved[2]
        assert np.delete(moved, 2).all()

    def test_memory_is_that_of_the_ratings_and_not_of_their_pairs(
        self, tiny_dataset, statistics
    ):
        peaks = []
        for number in (500, 2_000):
            rng = np.random.default_rng(0)
            item = rng.integers(0, tiny_dataset.num_items, number)
            stars = rng.integers(1, 11, number) / 2
            tracemalloc.start()
            found = newcomers.left_out(statistics, tiny_dataset, item, stars)
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
            assert len(found) == number
        assert peaks[1] < 6 * peaks[0]  # pairs would be 16 times as many

    def test_of_a_single_rating_nothing_is_known(self, tiny_dataset, statistics):
        found = newcomers.left_out(
            statistics, tiny_dataset, np.array([3]), np.array([5.0])
        )
        none = [(np.zeros(0, np.int32), np.zeros(0))]
        stranger = newcomers.of_new_users(statistics, none).of_users(jnp.arange(1))
        np.testing.assert_allclose(found[0], stranger[0, 3], atol=1e-6)

    def test_it_has_the_columns_of_time_as_at_no_known_time(
        self, tiny_dataset, tiny_split
    ):
        timed = observe(tiny_dataset, tiny_split.train, time=True)
        item, stars = rated_by(tiny_dataset, tiny_split.train, 7)
        found = newcomers.left_out(timed, tiny_dataset, item, stars)
        every = np.asarray(timed.of_users(jnp.array([7])))[0]
        assert found.shape == (len(item), timed.width)
        np.testing.assert_allclose(found[:, -6:], every[item, -6:])

    def test_it_is_what_rows_get_of_others_ratings(
        self, tiny_dataset, tiny_split, statistics
    ):
        # Held-out rows of a known user: the same numbers by the way of training.
        rows = tiny_split.test[tiny_dataset.user[tiny_split.test] == 7]
        pair = rated_by(tiny_dataset, tiny_split.train, 7)
        found = newcomers.of_new_users(statistics, [pair]).of_users(jnp.arange(1))
        wanted = of_rows(statistics, tiny_dataset, rows)
        mine = np.asarray(found)[0, tiny_dataset.item[rows]]
        np.testing.assert_allclose(mine, wanted, atol=2e-4)


@pytest.mark.parametrize("missing", ["statistics", "history"])
def test_a_data_set_without_statistics_is_told(tiny_dataset, tiny_split, missing):
    model = VNCF(num_users=tiny_dataset.num_users, num_items=tiny_dataset.num_items)
    dataset = with_statistics(tiny_dataset, tiny_split)
    newcomers.prepare(model, dataset, [NOTHING], 64)  # control
    features = dataclasses.replace(dataset.features, **{missing: None})
    bare = dataclasses.replace(dataset, features=features)
    with pytest.raises(RunError, match="with_statistics"):
        newcomers.prepare(model, bare, [(np.array([1]), np.array([3.0]))], 64)


def test_a_model_that_looks_at_none_gets_none(tiny_dataset):
    model = Bias(tiny_dataset.num_users, tiny_dataset.num_items)
    pairs = [(np.array([1]), np.array([3.0]))]
    given, every = newcomers.prepare(model, tiny_dataset, pairs, 64)
    assert (given.context, given.history, every) == (None, None, newcomers.Whole())


def test_lists_are_padded_with_weight_nothing(tiny_dataset, tiny_split):
    model = VNCF(num_users=tiny_dataset.num_users, num_items=tiny_dataset.num_items)
    dataset = with_statistics(tiny_dataset, tiny_split)
    pairs = [(np.array([4, 2]), np.array([5.0, 1.0])), (np.zeros(0, int), np.zeros(0))]
    given, every = newcomers.prepare(model, dataset, pairs, 64)
    assert given.weight.sum(axis=1).tolist() == [2, 0]
    assert given.item[0, :2].tolist() == [4, 2]
    np.testing.assert_allclose(given.target[0, :3], [1, 0.2, 0])
    width = dataset.features.statistics.width
    assert given.context.shape == (2, 64, width)
    assert every.context.shape == (2, dataset.num_items, width)
    assert not given.context[0, 2:].any()
    histories = dataset.features.history.width
    assert given.history.rated.shape == (2, 64, histories)
    assert every.history.rated.shape == (2, histories)
    assert every.history.number.shape == given.history.number.shape == (2,)
