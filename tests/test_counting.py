"""Counting, column by column, against loops; and that no row ever sees itself."""

import dataclasses

import chex
import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ncf_jax import counting, history
from ncf_jax.counting import around, item_content, observe, of_rows, with_statistics
from ncf_jax.errors import DataError
from ncf_jax.statistics import PARTS
from tests.counted import (
    EMPTY_ITEM,
    EMPTY_USER,
    ITEMS,
    NAMES,
    PARTS_OF,
    USERS,
    contexts,
    describe,
    divided,
    every_pair,
    residuals,
    shuffled,
    times,
    with_ratings,
    world,
)

CLOSE = dict(rtol=2e-4, atol=2e-5)
COUNTS, WEIGHTS = (0, 1), (8, 10, 12)  # columns that no rating changes
RATED = [n for n in range(13) if n not in (*COUNTS, *WEIGHTS)]
laws = settings(max_examples=25, deadline=None)


def folds_of(split, folds=10, seed=0):
    """Which fold each training row is in, as documented: by one permutation."""
    number = len(split.train)
    return np.random.default_rng(seed).permutation(number) % folds


@pytest.fixture(scope="module", params=[0, 1])
def counted(request):
    """A world, its split, and the world with contexts, times on both sides."""
    dataset, split = world(request.param)
    return dataset, split, with_statistics(dataset, split, time="both")


class TestColumns:
    @pytest.mark.parametrize("name", NAMES)
    def test_each_equals_the_one_by_loops_for_rows_held_out(self, counted, name):
        dataset, split, found = counted
        rows = np.concatenate([split.valid, split.test])
        pairs = list(zip(dataset.user[rows], dataset.item[rows], strict=True))
        n = NAMES.index(name)
        wanted = contexts(dataset, split.train, pairs)[:, n]
        np.testing.assert_allclose(found.context[rows, n], wanted, **CLOSE)
        assert np.abs(found.context[rows, n] - wanted[::-1]).max() > 1e-2  # the control

    def test_a_training_row_s_are_counted_without_the_rows_of_its_fold(self, counted):
        dataset, split, found = counted
        fold = folds_of(split)
        for number in range(10):
            rows, seen = split.train[fold == number], split.train[fold != number]
            pairs = list(zip(dataset.user[rows], dataset.item[rows], strict=True))
            wanted = contexts(dataset, seen, pairs)[:, 2:]
            np.testing.assert_allclose(found.context[rows, 2:7], wanted, **CLOSE)
            of_all = contexts(dataset, split.train, pairs)[:, 2:]  # the control
            assert np.abs(found.context[rows, 2:7] - of_all).max() > 1e-2

    def test_its_counts_are_of_all_training_rows_but_itself(self, counted):
        dataset, split, found = counted
        fold, differ = folds_of(split), 0
        for place, row in enumerate(split.train):
            pair = [(dataset.user[row], dataset.item[row])]
            others = np.delete(split.train, place)
            wanted = contexts(dataset, others, pair)[:, :2]
            np.testing.assert_allclose(found.context[[row], :2], wanted, **CLOSE)
            whole = contexts(dataset, split.train, pair)[:, :2]
            assert (np.abs(found.context[[row], :2] - whole) > 1e-2).all()  # controls
            parts = contexts(dataset, split.train[fold != fold[place]], pair)[:, :2]
            differ += (np.abs(found.context[[row], :2] - parts) > 1e-2).any()
        assert differ > 0

    @pytest.mark.parametrize("time", ["past", "both"])
    def test_those_of_time_equal_the_ones_by_loops(self, counted, time):
        dataset, split, found = counted
        if time == "past":
            found = with_statistics(dataset, split, parts=(), time=time)
        rows, fold = split.test, folds_of(split)
        past = time == "past"
        wanted = times(dataset, split.train, rows, past)
        np.testing.assert_allclose(found.context[rows, -6:], wanted, **CLOSE)
        other = times(dataset, split.train, rows, not past)
        assert np.abs(found.context[rows, -6:] - other).max() > 1e-2  # the control
        rows, seen = split.train[fold == 3], split.train[fold != 3]
        wanted = times(dataset, seen, rows, past)
        np.testing.assert_allclose(found.context[rows, -6:], wanted, **CLOSE)

    @pytest.mark.parametrize("part", PARTS)
    def test_a_part_alone_has_the_columns_it_has_among_others(self, counted, part):
        dataset, split, whole = counted
        found = with_statistics(dataset, split, parts=(part,)).context
        names = [*NAMES[:2], *PARTS_OF[part]]
        among = [NAMES.index(name) for name in names]
        np.testing.assert_array_equal(found, whole.context[:, among])

    def test_without_parts_only_the_counts_are_left(self, counted):
        dataset, split, whole = counted
        found = with_statistics(dataset, split, parts=())
        np.testing.assert_array_equal(found.context, whole.context[:, :2])

    def test_without_years_there_is_no_decade(self):
        dataset, split = world(0)
        plain, _ = world(0, years=False)
        found = with_statistics(plain, split).context
        whole = with_statistics(dataset, split).context
        np.testing.assert_array_equal(found, np.delete(whole, 5, axis=1))


class TestObserve:
    def test_mean_and_biases_are_those_by_loops(self, counted):
        dataset, split, found = counted
        s = found.features.statistics
        mean, users, items, _ = residuals(dataset, split.train)
        np.testing.assert_allclose(s.mean, mean, **CLOSE)
        np.testing.assert_allclose(s.user_bias, list(users.values()), **CLOSE)
        np.testing.assert_allclose(s.item_bias, list(items.values()), **CLOSE)

    def test_counts_are_those_by_loops(self, counted):
        dataset, split, found = counted
        s = found.features.statistics
        for counts, side in ((s.user_count, "user"), (s.item_count, "item")):
            mine = getattr(dataset, side)[split.train].tolist()
            assert counts.tolist() == [mine.count(n) for n in range(len(counts))]
            every = getattr(dataset, side).tolist()  # the control
            assert counts.tolist() != [every.count(n) for n in range(len(counts))]

    def test_sums_over_a_user_s_rows_are_those_by_loops(self, counted):
        dataset, split, found = counted
        s = found.features.statistics
        names = PARTS_OF["content"]
        content = np.hstack([describe(dataset.features, name) for name in names])
        np.testing.assert_allclose(s.content, content, **CLOSE)
        top, weight = np.zeros((2, USERS, content.shape[1]))
        residual = residuals(dataset, split.train)[-1]
        for n, left in zip(split.train, residual, strict=True):
            top[dataset.user[n]] += left * content[dataset.item[n]]
            weight[dataset.user[n]] += np.abs(content[dataset.item[n]])
        np.testing.assert_allclose(s.user_content, top, **CLOSE)
        np.testing.assert_allclose(s.user_weight, weight, **CLOSE)
        assert np.abs(s.user_content - top[::-1]).max() > 1e-2  # the control

    @pytest.mark.parametrize("rows", [1, 2, 3, 7])
    def test_rows_at_a_time_change_nothing_but_rounding(self, monkeypatch, rows):
        dataset, split = world(0)
        whole = with_statistics(dataset, split)
        for module in (counting, history):
            monkeypatch.setattr(module, "AT_ONCE", rows)
        found = with_statistics(dataset, split)
        np.testing.assert_allclose(found.context, whole.context, rtol=1e-4, atol=1e-6)
        for name in ("user_content", "user_weight"):
            one, other = (getattr(x.features.statistics, name) for x in (found, whole))
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-7)
            assert one.any()

    def test_the_order_of_the_rows_changes_nothing_but_rounding(self):
        dataset, split = world(0)
        mixed = np.random.default_rng(0).permutation(split.train)
        one, other = (
            of_rows(observe(dataset, rows), dataset, split.test)
            for rows in (split.train, mixed)
        )
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


class TestItemContent:
    def test_it_is_shares_of_genres_then_the_decade_then_tags(self):
        features = world(0)[0].features
        content, blocks = item_content(features)
        assert blocks == ((0, 4), (4, 18), (18, 21))
        assert content.dtype == np.float32
        some = features.genres.any(axis=1)
        np.testing.assert_allclose(content[:, :4].sum(axis=1), some, rtol=1e-6)
        np.testing.assert_array_equal(content[:, 4:18].sum(axis=1), features.year > 0)
        first = np.argmax(content[:, 4:18], axis=1) * 10 + 1900
        known = features.year > 0
        assert (first <= features.year)[known].all()
        assert (features.year < first + 10)[known].all()
        np.testing.assert_array_equal(content[:, 18:], features.tags)

    def test_without_years_it_has_two_blocks(self):
        content, blocks = item_content(world(0, years=False)[0].features)
        assert blocks == ((0, 4), (4, 7))
        assert content.shape == (ITEMS, 7)


class TestNoRowSeesItself:
    @laws
    @given(
        st.integers(0, 2**16),
        st.integers(0, 2**16),
        st.floats(-100, 100, width=32),
        st.sampled_from(["past", "both"]),
    )
    def test_a_rating_never_enters_its_own_context(self, seed, place, stars, time):
        dataset, split = world(seed)
        row = split.train[place % len(split.train)]
        if abs(stars - dataset.rating[row]) < 0.5:
            stars += 1.0
        changed = with_ratings(dataset, row, stars)
        before, after = (
            with_statistics(one, split, time=time).context for one in (dataset, changed)
        )
        assert before[row].tobytes() == after[row].tobytes()
        assert (before != after).any()  # the control: others see it

    def test_it_enters_every_column_of_others(self):
        dataset, split = world(0)
        row = split.train[0]
        changed = with_ratings(dataset, row, dataset.rating[row] + 1)
        before, after = (
            with_statistics(one, split, time="both").context
            for one in (dataset, changed)
        )
        moved = (before != after).any(axis=0)
        assert np.flatnonzero(moved).tolist() == RATED

    def test_nor_do_the_ratings_of_its_fold(self):
        dataset, split = world(0)
        fold = folds_of(split)
        rows = split.train[fold == 4]
        assert len(rows) > 1
        changed = with_ratings(dataset, rows, dataset.rating[rows] + 1)
        before, after = (
            with_statistics(one, split, time="both").context
            for one in (dataset, changed)
        )
        assert before[rows].tobytes() == after[rows].tobytes()
        others = split.train[fold != 4]
        assert (before[others] != after[others]).any(axis=1).all()  # the control

    def test_of_pure_noise_a_context_tells_nothing(self, tiny_dataset, tiny_split):
        rng, train = np.random.default_rng(0), tiny_split.train
        noise = rng.normal(3, 1, len(tiny_dataset.user)).astype(np.float32)
        dataset = with_ratings(tiny_dataset, np.arange(len(noise)), noise)
        stars = dataset.rating[train]
        fair = with_statistics(dataset, tiny_split).context[train, 2:]
        leaky = of_rows(observe(dataset, train), dataset, train)[:, 2:]

        def correlation(context):
            return np.array([np.corrcoef(x, stars)[0, 1] for x in context.T])

        assert correlation(fair).max() < 0.12
        assert correlation(leaky).min() > 0.12  # the control


@pytest.mark.parametrize("time", ["none", "past", "both"])
class TestRatingsHeldOut:
    @pytest.mark.parametrize("part", ["valid", "test"])
    def test_they_enter_no_context(self, time, part):
        dataset, split = world(0)
        other = shuffled(dataset, getattr(split, part))
        assert (other.rating != dataset.rating).any()
        before, after = (
            with_statistics(one, split, time=time) for one in (dataset, other)
        )
        assert before.context.tobytes() == after.context.tobytes()
        one, two = (
            [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(x.features)]
            for x in (before, after)
        )
        assert one == two

    def test_those_of_train_enter_all(self, time):  # the control
        dataset, split = world(0)
        other = shuffled(dataset, split.train)
        before, after = (
            with_statistics(one, split, time=time).context for one in (dataset, other)
        )
        nowhere = (dataset.user == EMPTY_USER) & (dataset.item == EMPTY_ITEM)
        assert (before != after).any(axis=1)[~nowhere].all()


class TestAround:
    def found(self, past, rating=None):
        """Of every row, with other ratings but the same biases."""
        dataset, split = world(2)
        rows = np.arange(len(dataset.user))
        s = observe(dataset, split.train, ())
        if rating is not None:
            dataset = with_ratings(dataset, rows, rating(dataset.rating))
        return dataset, split, around(s, dataset, split.train, rows, past), rows

    def test_the_past_is_blind_to_what_is_later_or_at_the_same_second(self):
        dataset, split, before, rows = self.found(past=True)
        seen = np.isin(rows, split.train)
        same = later = 0
        for row in rows:
            hidden = dataset.time >= dataset.time[row]
            mine = seen & (dataset.user == dataset.user[row])
            equal = dataset.time == dataset.time[row]
            same += (mine & equal & (rows != row)).sum()
            later += (mine & hidden & ~equal).sum()

            def other(rating, hidden=hidden):
                return np.where(hidden, 1e3, rating).astype(np.float32)

            after = self.found(past=True, rating=other)[2]
            np.testing.assert_array_equal(after[row], before[row])
        assert same > 0
        assert later > 0

    def test_it_sees_what_is_earlier(self):  # the control
        before = self.found(past=True)[2]
        after = self.found(past=True, rating=lambda x: x + 1)[2]
        assert (before[:, 0::2] != after[:, 0::2]).any()
        np.testing.assert_array_equal(before[:, 1::2], after[:, 1::2])

    def test_a_user_s_first_row_has_no_past(self):
        dataset, _, found, _ = self.found(past=True)
        nothing = np.array([0, 0.3 * np.log(0.1)] * 3, np.float32)
        for user in range(USERS):
            mine = np.flatnonzero(dataset.user == user)
            first = mine[np.argmin(dataset.time[mine])]
            np.testing.assert_array_equal(found[first], nothing)
        both = self.found(past=False)[2]
        assert (both != nothing).any(axis=1).sum() > (found != nothing).any(
            axis=1
        ).sum()

    def test_later_rows_may_move_among_the_later(self):
        dataset, split = world(2)
        seen = split.train
        first = np.argmin(dataset.time[seen])
        row = seen[first]
        later = seen[dataset.time[seen] > dataset.time[row]]
        time = dataset.time.copy()
        time[later] += 12_345
        moved = dataclasses.replace(dataset, time=time)
        for past in (True, False):
            one, other = (
                around(observe(x, seen, ()), x, seen, np.array([row]), past)
                for x in (dataset, moved)
            )
            assert (one == other).all() == past  # both sides: the control


class TestGaps:
    def test_users_and_items_without_training_rows_have_finite_contexts(self):
        dataset, split = world(0)
        found = with_statistics(dataset, split, time="both")
        assert np.isfinite(found.context).all()
        mine = found.context[dataset.user == EMPTY_USER]
        assert len(mine)
        assert not mine[:, [2, 4, 5, 6, 7, 9, 11]].any()
        theirs = found.context[dataset.item == EMPTY_ITEM]
        assert len(theirs)
        assert not theirs[:, 3].any()
        assert theirs[:, 4].any()  # but its genres have a history

    def test_and_count_as_the_ones_with_fewest(self):
        dataset, split = world(0)
        found = with_statistics(dataset, split)
        for column, ids, empty in (
            (0, dataset.user, EMPTY_USER),
            (1, dataset.item, EMPTY_ITEM),
        ):
            counts = np.bincount(ids[split.train])
            fewest = counts[counts > 0].min()
            values = found.context[ids == empty, column]
            np.testing.assert_allclose(values, np.log1p(fewest), rtol=1e-6)
            assert (counts > fewest).any()  # the control

    def test_without_training_rows_nothing_is_known_and_nothing_fails(self):
        dataset, _ = world(0)
        rows = np.arange(len(dataset.user))
        split = divided(rows[:0], rows[::2], rows[1::2])
        found = with_statistics(dataset, split, time="both")
        assert not found.context[:, :8].any()
        assert found.features.statistics.mean == 3.5
        assert np.isfinite(found.context).all()

    @pytest.mark.parametrize("number", [1, 2, 9])
    def test_few_training_rows_have_folds_of_their_own(self, number):
        dataset, split = world(0)
        rows = np.arange(len(dataset.user))
        few = divided(
            split.train[:number], np.setdiff1d(rows, split.train[:number]), ()
        )
        found = with_statistics(dataset, few)
        for row in few.train:  # counted from all the others
            others = few.train[few.train != row]
            pair = [(dataset.user[row], dataset.item[row])]
            wanted = contexts(dataset, others, pair)[0, 2:]
            np.testing.assert_allclose(found.context[row, 2:], wanted, **CLOSE)
            counts = [
                (ids[others] == ids[row]).sum() for ids in (dataset.user, dataset.item)
            ]
            np.testing.assert_allclose(found.context[row, :2], np.log1p(counts))


class TestWithStatistics:
    def test_the_data_set_given_is_left_as_it_was(self):
        dataset, split = world(0)
        rating = dataset.rating.copy()
        found = with_statistics(dataset, split)
        assert dataset.context is None
        assert dataset.features.statistics is None
        np.testing.assert_array_equal(dataset.rating, rating)
        assert found.context.shape == (len(rating), found.features.statistics.width)
        assert found.context.dtype == np.float32

    def test_the_seed_divides_training_rows_and_nothing_else(self):
        dataset, split = world(0)
        one, again, other = (
            with_statistics(dataset, split, seed=seed).context for seed in (0, 0, 1)
        )
        np.testing.assert_array_equal(one, again)
        held_out = np.concatenate([split.valid, split.test])
        np.testing.assert_array_equal(one[held_out], other[held_out])
        assert (one != other).any()

    def test_as_many_folds_as_rows_leave_out_the_row_alone(self):
        dataset, split = world(0)
        lone, few = (
            with_statistics(dataset, split, folds=folds).context
            for folds in (len(split.train), 2)
        )
        for place, row in enumerate(split.train):
            pair = [(dataset.user[row], dataset.item[row])]
            wanted = contexts(dataset, np.delete(split.train, place), pair)
            np.testing.assert_allclose(lone[[row]], wanted, **CLOSE)
            assert np.abs(few[row] - wanted).max() > 1e-2  # the control

    def test_the_number_of_folds_changes_no_count_and_no_row_held_out(self):
        dataset, split = world(0)
        one, other = (
            with_statistics(dataset, split, folds=folds).context for folds in (2, 10)
        )
        held_out = np.concatenate([split.valid, split.test])
        np.testing.assert_array_equal(one[held_out], other[held_out])
        np.testing.assert_array_equal(one[:, :2], other[:, :2])
        assert (one[split.train, 2:] != other[split.train, 2:]).any(axis=1).all()

    @pytest.mark.parametrize("width", [0, 3])
    def test_the_history_is_of_training_rows_and_as_wide_as_asked(self, width):
        dataset, split = world(0)
        found = with_statistics(dataset, split, history=width).features.history
        wanted = history.remember(dataset, split.train, width)
        assert found.width == width
        chex.assert_trees_all_equal(found, wanted)
        other = history.remember(dataset, split.test, width)  # the control
        assert (found.user_count != other.user_count).any()

    def test_contexts_of_pairs_do_not_read_a_rating(self):
        dataset, split = world(0)
        pairs, rows = every_pair(dataset)
        assert np.isnan(pairs.rating).all()
        assert np.isfinite(of_rows(observe(dataset, split.train), pairs, rows)).all()


def test_a_number_that_is_not_finite_is_refused(tiny_dataset, tiny_split):
    # A year that is NaN is of no decade, so nothing later would be told of it.
    year = np.array(tiny_dataset.features.year)
    year[4] = np.nan
    features = dataclasses.replace(tiny_dataset.features, year=year)
    broken = dataclasses.replace(tiny_dataset, features=features)
    with pytest.raises(DataError, match="year wants finite numbers; that of row 4"):
        with_statistics(broken, tiny_split)
