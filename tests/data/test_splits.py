"""Splits: the very rows of scikit-learn, disjoint, complete, and blind to the rest.

Held here: `user_random` gives each row the part that two `train_test_split` calls per
user give it (any sizes, orders and seeds, and the whole real data set); every row is in
exactly one part; a user's division depends on nobody else and on no rating; the cases
scikit-learn refuses are decided as the docstring says; `global_time` trains on nothing
that is later than what judges, and `leave_last_out` judges by each user's last row, as
sorts in pandas say; `cold_item` and `cold_user` keep all rows of an item or a user in
one part, which ones by the seed alone; what a split cannot show and what leaks is told,
and nothing where nothing does; the fingerprint follows the content.
"""

import dataclasses
import itertools
import math
import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import train_test_split

from ncf_jax import Dataset, prepare, split
from ncf_jax.config import DataConfig
from ncf_jax.config_data import PUBLISHED_SPLITS
from ncf_jax.data import splits
from ncf_jax.data.splits import (
    LIMITS,
    SPLITS,
    cold_item,
    cold_user,
    global_time,
    leave_last_out,
    limits,
    make_split,
    user_random,
)
from ncf_jax.errors import ConfigError, DataError
from ncf_jax.types import ItemFeatures

TRAIN, VALID, TEST = 0, 1, 2
seeds = st.integers(0, 2**32 - 1)
# scikit-learn needs a row for each part: 30 % of four rows are two.
sizes = st.lists(st.integers(4, 40), min_size=1, max_size=8)
any_sizes = st.lists(st.integers(1, 12), min_size=1, max_size=10)


def dataset_of(user, fingerprint="some content", num_users=None):
    """Rows of the given users, each row about an item of its own."""
    user = np.asarray(user, np.int32)
    n = len(user)
    users = num_users if num_users is not None else int(user.max(initial=-1)) + 1
    return Dataset(
        name="made up",
        label="made up",
        user=user,
        item=np.arange(n, dtype=np.int32),
        rating=np.full(n, 3.0, np.float32),
        time=np.arange(n),
        features=ItemFeatures(
            genres=np.zeros((n, 1), np.float32), tags=np.zeros((n, 32), np.float32)
        ),
        user_ids=np.arange(users),
        item_ids=np.arange(n),
        titles=("t",) * n,
        genres=("g",) * n,
        genre_names=("g",),
        fingerprint=fingerprint,
    )


def shuffled_users(sizes, order):
    """User u has sizes[u] rows, in an order drawn from the seed `order`."""
    user = np.repeat(np.arange(len(sizes)), sizes)
    return np.random.default_rng(order).permutation(user)


def part_of_each_row(parts, n):
    """[n] 0, 1 or 2; fails when a row is in no part or in two."""
    part = np.full(n, -1)
    for which, rows in enumerate((parts.train, parts.valid, parts.test)):
        assert (part[rows] == -1).all(), "a row lies in two parts"
        part[rows] = which
    assert (part >= 0).all(), "a row lies in no part"
    return part


def scikit_learn_parts(user, seed):
    """The reference, a user at a time."""
    part = np.full(len(user), TRAIN)
    for one in np.unique(user):
        rows = np.flatnonzero(user == one)
        _, rest = train_test_split(rows, test_size=0.30, random_state=seed)
        valid, test = train_test_split(rest, test_size=0.50, random_state=seed)
        part[valid], part[test] = VALID, TEST
    return part


# --- the very rows of the reference ---------------------------------------------------


@given(sizes=sizes, order=seeds, seed=seeds)
@settings(max_examples=60, deadline=None)
def test_each_row_has_the_part_that_scikit_learn_gives_it(sizes, order, seed):
    user = shuffled_users(sizes, order)
    ours = part_of_each_row(user_random(dataset_of(user), seed), len(user))
    np.testing.assert_array_equal(ours, scikit_learn_parts(user, seed))


@pytest.mark.parametrize("seed", [0, 42, 2**32 - 1])
def test_users_of_every_size_up_to_300_agree_with_scikit_learn(seed):
    # 0.3 * n in floating point, rounded up, has its surprises at particular n.
    user = np.repeat(np.arange(297), np.arange(4, 301))
    ours = part_of_each_row(user_random(dataset_of(user), seed), len(user))
    np.testing.assert_array_equal(ours, scikit_learn_parts(user, seed))


def test_the_real_data_agrees_with_scikit_learn_row_by_row(real_data_dir):
    config = DataConfig(
        dataset="ml-latest-small", data_dir=str(real_data_dir), cache_dir=""
    )
    dataset = prepare(config)
    parts = split(dataset, config)
    assert (len(parts.train), len(parts.valid), len(parts.test)) == (
        56_505,
        12_164,
        12_447,
    )
    n = len(dataset.user)
    ours = part_of_each_row(parts, n)
    np.testing.assert_array_equal(ours, scikit_learn_parts(dataset.user, seed=42))
    # The control: another seed has the same counts but other rows, and other than
    # scikit-learn's for 42, so the equality above could have failed.
    other = part_of_each_row(user_random(dataset, 43), n)
    np.testing.assert_array_equal(np.bincount(other), np.bincount(ours))
    assert (other != ours).sum() > n / 10


@given(seed=st.integers(0, 2**32 - 2), order=seeds)
@settings(max_examples=25, deadline=None)
def test_another_seed_divides_otherwise(seed, order):
    user = shuffled_users([40, 35, 30], order)
    a = part_of_each_row(user_random(dataset_of(user), seed), len(user))
    b = part_of_each_row(user_random(dataset_of(user), seed + 1), len(user))
    assert (a != b).any()
    np.testing.assert_array_equal(np.bincount(a), np.bincount(b))


@given(sizes=any_sizes, order=seeds, seed=seeds)
@settings(max_examples=25, deadline=None)
def test_the_same_seed_divides_alike(sizes, order, seed):
    dataset = dataset_of(shuffled_users(sizes, order))
    a, b = user_random(dataset, seed), user_random(dataset, seed)
    for part in ("train", "valid", "test"):
        np.testing.assert_array_equal(getattr(a, part), getattr(b, part))


# --- every row exactly once -----------------------------------------------------------


@given(sizes=any_sizes, order=seeds, seed=seeds)
@settings(max_examples=100, deadline=None)
def test_the_parts_are_disjoint_complete_and_ascending(sizes, order, seed):
    user = shuffled_users(sizes, order)
    parts = user_random(dataset_of(user), seed)
    together = np.concatenate([parts.train, parts.valid, parts.test])
    np.testing.assert_array_equal(np.sort(together), np.arange(len(user)))
    for rows in (parts.train, parts.valid, parts.test):
        assert rows.dtype == np.int64
        assert (np.diff(rows) > 0).all()


@given(sizes=any_sizes, order=seeds, seed=seeds)
@settings(max_examples=50, deadline=None)
def test_each_user_is_divided_70_15_15_rounded_towards_the_test(sizes, order, seed):
    user = shuffled_users(sizes, order)
    part = part_of_each_row(user_random(dataset_of(user), seed), len(user))
    for one, n in enumerate(sizes):
        outside = math.ceil(0.3 * n)
        test = math.ceil(outside / 2)
        counts = np.bincount(part[user == one], minlength=3).tolist()
        assert counts == [n - outside, outside - test, test]


@pytest.mark.parametrize(
    ("n", "train", "valid", "test"),
    [(1, 0, 0, 1), (2, 1, 0, 1), (3, 2, 0, 1), (4, 2, 1, 1), (7, 4, 1, 2)],
)
@pytest.mark.parametrize("seed", [0, 42])
def test_small_users_keep_a_test_row_before_a_validation_row(
    n, train, valid, test, seed
):
    parts = user_random(dataset_of(np.zeros(n)), seed)
    assert (len(parts.train), len(parts.valid), len(parts.test)) == (train, valid, test)


@pytest.mark.parametrize("n", [2, 3])
@pytest.mark.parametrize("seed", [0, 1, 42, 1234])
def test_the_one_row_outside_train_is_the_one_scikit_learn_takes(n, seed):
    parts = user_random(dataset_of(np.zeros(n)), seed)
    train, outside = train_test_split(np.arange(n), test_size=0.30, random_state=seed)
    assert parts.test.tolist() == outside.tolist()
    assert parts.train.tolist() == sorted(train.tolist())


def test_users_of_one_two_and_three_rows_do_not_disturb_the_others():
    with_small = shuffled_users([1, 2, 3, 20], order=0)
    part = part_of_each_row(user_random(dataset_of(with_small), 7), len(with_small))
    alone = part_of_each_row(user_random(dataset_of(np.zeros(20)), 7), 20)
    np.testing.assert_array_equal(part[with_small == 3], alone)


def test_a_user_without_rows_is_passed_over():
    user = np.array([0, 0, 0, 0, 2, 2, 2, 2])
    parts = user_random(dataset_of(user, num_users=5), 3)
    part = part_of_each_row(parts, len(user))
    np.testing.assert_array_equal(part[:4], part[4:])


def test_no_rows_give_three_empty_parts():
    parts = user_random(dataset_of([], num_users=3), 0)
    assert [len(parts.train), len(parts.valid), len(parts.test)] == [0, 0, 0]


# --- blind to everything but the user's own rows --------------------------------------


@given(sizes=any_sizes, orders=st.tuples(seeds, seeds), seed=seeds)
@settings(max_examples=50, deadline=None)
def test_interleaving_the_users_otherwise_changes_no_users_division(
    sizes, orders, seed
):
    divisions = []
    for order in orders:
        user = shuffled_users(sizes, order)
        part = part_of_each_row(user_random(dataset_of(user), seed), len(user))
        # The parts of each user's first, second, ... row.
        divisions.append([part[user == one].tolist() for one in range(len(sizes))])
    assert divisions[0] == divisions[1]


@given(sizes=any_sizes, order=seeds, seed=seeds)
@settings(max_examples=50, deadline=None)
def test_renumbering_the_users_changes_nothing(sizes, order, seed):
    user = shuffled_users(sizes, order)
    renumbered = np.random.default_rng(order).permutation(len(sizes))[user]
    a = part_of_each_row(user_random(dataset_of(user), seed), len(user))
    b = part_of_each_row(user_random(dataset_of(renumbered), seed), len(user))
    np.testing.assert_array_equal(a, b)


@given(sizes=any_sizes, more=any_sizes, seed=seeds)
@settings(max_examples=50, deadline=None)
def test_more_users_change_nothing_for_those_already_there(sizes, more, seed):
    few, many = shuffled_users(sizes, 0), np.repeat(np.arange(len(more)), more)
    both = np.concatenate([few, many + len(sizes)])
    alone = part_of_each_row(user_random(dataset_of(few), seed), len(few))
    together = part_of_each_row(user_random(dataset_of(both), seed), len(both))
    np.testing.assert_array_equal(together[: len(few)], alone)


def test_moving_a_row_to_another_user_does_change_the_division():
    # The control of the three tests above: a related row does matter.
    user = np.repeat([0, 1], 20)
    moved = user.copy()
    moved[0] = 1
    a = part_of_each_row(user_random(dataset_of(user), 5), 40)
    b = part_of_each_row(user_random(dataset_of(moved), 5), 40)
    assert (a != b).any()


def test_the_order_of_a_users_own_rows_decides():
    # Items are the rows' names: with the rows reversed, other items are tested.
    dataset = dataset_of(np.zeros(40))
    reverse = dataclasses.replace(dataset, item=dataset.item[::-1].copy())
    tested = dataset.item[user_random(dataset, 42).test]
    tested_reversed = reverse.item[user_random(reverse, 42).test]
    assert set(tested.tolist()) != set(tested_reversed.tolist())
    assert set(tested.tolist()) == {39 - one for one in tested_reversed.tolist()}


def test_ratings_times_and_items_have_no_say():
    # A canary against leakage: the truth must not decide who is tested.
    dataset = dataset_of(shuffled_users([9, 30, 17], order=1))
    rng = np.random.default_rng(2)
    n = len(dataset.user)
    other = dataclasses.replace(
        dataset,
        rating=rng.choice(np.arange(1, 11) / 2, n).astype(np.float32),
        time=rng.integers(0, 10**9, n),
        item=rng.permutation(n).astype(np.int32),
    )
    a, b = user_random(dataset, 42), user_random(other, 42)
    np.testing.assert_array_equal(a.test, b.test)
    np.testing.assert_array_equal(a.valid, b.valid)


def test_the_tiny_world_is_divided_as_the_reference_divides(tiny_dataset, tiny_split):
    n = len(tiny_dataset.user)
    ours = part_of_each_row(tiny_split, n)
    np.testing.assert_array_equal(ours, scikit_learn_parts(tiny_dataset.user, 42))


# --- names, definitions and fingerprints ----------------------------------------------


def test_the_split_flag_offers_exactly_the_splits_there_are():
    choices = DataConfig.__dataclass_fields__["split"].metadata["choices"]
    assert set(choices) == {*SPLITS, *PUBLISHED_SPLITS, "stored"}


@pytest.mark.parametrize("seed", [0, 42])
def test_the_config_chooses_the_split_and_its_seed(tiny_dataset, seed):
    ours = split(tiny_dataset, DataConfig(split="user_random", split_seed=seed))
    np.testing.assert_array_equal(ours.test, user_random(tiny_dataset, seed).test)


def test_the_definition_names_the_split_and_its_seed():
    definition = user_random(dataset_of([0] * 8), 1234).definition
    assert "user_random" in definition
    assert "1234" in definition


def parts_of(n, **at):
    part = np.zeros(n, np.int8)
    part[at.get("valid", [])] = VALID
    part[at.get("test", [])] = TEST
    return part


def test_a_split_is_made_from_the_part_of_each_row():
    parts = make_split(dataset_of([0] * 6), parts_of(6, valid=[4], test=[1, 5]), "mine")
    assert parts.train.tolist() == [0, 2, 3]
    assert parts.valid.tolist() == [4]
    assert parts.test.tolist() == [1, 5]
    assert parts.definition == "mine"


BASE = parts_of(6, valid=[4], test=[1, 5])


@pytest.mark.parametrize(
    ("dataset", "part", "definition"),
    [
        (dataset_of([0] * 6), BASE, "said otherwise"),
        (dataset_of([0] * 6), BASE.astype(np.int64), "d"),
        (dataclasses.replace(dataset_of([0] * 6), label="renamed"), BASE, "d"),
    ],
    ids=["the definition's words", "the width of the integers", "the data's label"],
)
def test_the_fingerprint_is_blind_to(dataset, part, definition):
    base = make_split(dataset_of([0] * 6), BASE, "d").fingerprint
    assert make_split(dataset, part, definition).fingerprint == base


@pytest.mark.parametrize(
    ("dataset", "part"),
    [
        (dataset_of([0] * 6, fingerprint="other content"), BASE),
        (dataset_of([0] * 6), parts_of(6, valid=[4], test=[1])),
        (dataset_of([0] * 6), parts_of(6, valid=[4], test=[0, 5])),
        (dataset_of([0] * 6), parts_of(6, valid=[1, 5], test=[4])),
        (dataset_of([0] * 7), parts_of(7, valid=[4], test=[1, 5])),
    ],
    ids=["the data", "a row less", "another row", "swapped parts", "a row more"],
)
def test_the_fingerprint_changes_with(dataset, part):
    base = make_split(dataset_of([0] * 6), BASE, "d").fingerprint
    assert make_split(dataset, part, "d").fingerprint != base


def test_a_fingerprint_is_sixteen_hex_digits_that_repeat():
    a, b = (user_random(dataset_of([0] * 20), 42).fingerprint for _ in range(2))
    assert a == b
    assert re.fullmatch(r"[0-9a-f]{16}", a)


def test_fingerprints_differ_between_seeds(tiny_dataset):
    fingerprints = {user_random(tiny_dataset, seed).fingerprint for seed in range(20)}
    assert len(fingerprints) == 20


# --- by time --------------------------------------------------------------------------


def timed(user, time, **changes):
    """Rows of the given users at the given seconds."""
    dataset = dataset_of(user)
    return dataclasses.replace(dataset, time=np.asarray(time, np.int64), **changes)


@st.composite
def histories(draw, most=40, seconds=12):
    """Users and seconds of at least one row, with many ties in time."""
    n = draw(st.integers(1, most))
    user = draw(st.lists(st.integers(0, 6), min_size=n, max_size=n))
    time = draw(st.lists(st.integers(0, seconds), min_size=n, max_size=n))
    # Every user has a row, as in prepared data.
    _, user = np.unique(user, return_inverse=True)
    return timed(user, time)


BY_TIME = {"global_time": global_time, "leave_last_out": leave_last_out}
by_time = pytest.mark.parametrize("make", BY_TIME.values(), ids=BY_TIME)


@by_time
@given(dataset=histories())
@settings(max_examples=100, deadline=None)
def test_a_split_by_time_is_disjoint_complete_and_ascending(make, dataset):
    parts = make(dataset)
    part_of_each_row(parts, len(dataset.user))
    for rows in (parts.train, parts.valid, parts.test):
        assert rows.dtype == np.int64
        assert (np.diff(rows) > 0).all()


@by_time
@given(dataset=histories(), seed=seeds)
@settings(max_examples=25, deadline=None)
def test_a_split_by_time_knows_no_seed(make, dataset, seed):
    assert make(dataset, seed).fingerprint == make(dataset).fingerprint
    np.testing.assert_array_equal(make(dataset, seed).test, make(dataset).test)


@by_time
def test_no_rows_give_empty_parts_by_time_too(make):
    parts = make(dataset_of([], num_users=3))
    assert [len(parts.train), len(parts.valid), len(parts.test)] == [0, 0, 0]


@by_time
def test_ratings_and_items_have_no_say_by_time(make):
    dataset = timed(shuffled_users([9, 30, 17], order=1), np.arange(56)[::-1])
    rng = np.random.default_rng(2)
    other = dataclasses.replace(
        dataset,
        rating=rng.choice(np.arange(1, 11) / 2, 56).astype(np.float32),
        item=rng.permutation(56).astype(np.int32),
    )
    np.testing.assert_array_equal(make(dataset).test, make(other).test)
    np.testing.assert_array_equal(make(dataset).valid, make(other).valid)
    # The control: times do have one.
    later = dataclasses.replace(dataset, time=dataset.time[::-1].copy())
    assert set(make(dataset).test) != set(make(later).test)


@given(dataset=histories())
@settings(max_examples=150, deadline=None)
def test_no_training_row_is_later_than_any_that_judges(dataset):
    parts = global_time(dataset)
    train, valid, test = (
        dataset.time[rows] for rows in (parts.train, parts.valid, parts.test)
    )
    before = [times for times in (train, valid, test) if len(times)]
    for one, other in itertools.pairwise(before):
        assert one.max() <= other.min()


def test_the_random_split_does_train_on_the_future():
    # The control of the law above.
    dataset = timed(np.zeros(100), np.arange(100))
    parts = user_random(dataset, 42)
    assert dataset.time[parts.train].max() > dataset.time[parts.test].min()


@given(n=st.integers(1, 400))
@settings(max_examples=100, deadline=None)
def test_all_rows_together_are_rounded_as_those_of_a_single_user(n):
    # 70/15/15 with the rounding of `user_random`, that is, of scikit-learn.
    dataset = timed(np.zeros(n), np.arange(n)[::-1])
    ours, theirs = global_time(dataset), user_random(dataset, 0)
    for part in ("train", "valid", "test"):
        assert len(getattr(ours, part)) == len(getattr(theirs, part))


def global_time_parts(dataset):
    """By pandas: rows sorted by time, then cut."""
    order = pd.DataFrame({"time": dataset.time}).sort_values("time", kind="stable")
    n = len(order)
    outside = math.ceil(0.3 * n)
    test = math.ceil(0.5 * outside)
    part = pd.Series(TRAIN, index=order.index)
    part.iloc[n - outside :] = VALID
    part.iloc[n - test :] = TEST
    return part.sort_index().to_numpy()


@given(dataset=histories(seconds=5))
@settings(max_examples=100, deadline=None)
def test_global_time_agrees_with_a_stable_sort_in_pandas(dataset):
    n = len(dataset.user)
    ours = part_of_each_row(global_time(dataset), n)
    np.testing.assert_array_equal(ours, global_time_parts(dataset))


def test_of_rows_of_one_second_the_later_in_the_file_are_tested():
    parts = global_time(timed(np.zeros(20), np.zeros(20)))
    assert parts.train.tolist() == list(range(14))
    assert parts.valid.tolist() == list(range(14, 17))
    assert parts.test.tolist() == list(range(17, 20))


def leave_last_out_parts(dataset):
    """By pandas: rows of each user counted from the end."""
    table = pd.DataFrame({"user": dataset.user, "time": dataset.time})
    groups = table.sort_values("time", kind="stable").groupby("user")
    back = groups.cumcount(ascending=False).sort_index()
    count = table.groupby("user")["time"].transform("size")
    part = np.full(len(table), TRAIN)
    part[(back == 0) & (count >= 2)] = TEST
    part[(back == 1) & (count >= 3)] = VALID
    return part


@given(dataset=histories(seconds=5))
@settings(max_examples=150, deadline=None)
def test_leave_last_out_agrees_with_a_group_by_in_pandas(dataset):
    n = len(dataset.user)
    ours = part_of_each_row(leave_last_out(dataset), n)
    np.testing.assert_array_equal(ours, leave_last_out_parts(dataset))


@given(dataset=histories())
@settings(max_examples=100, deadline=None)
def test_each_users_later_rows_judge_and_the_rest_trains(dataset):
    parts = leave_last_out(dataset)
    part = part_of_each_row(parts, len(dataset.user))
    for one in np.unique(dataset.user):
        mine = dataset.user == one
        times = [dataset.time[mine & (part == which)] for which in range(3)]
        n = mine.sum()
        assert [len(t) for t in times] == [max(1, n - 2), int(n > 2), int(n > 1)]
        some = [t for t in times if len(t)]
        for before, after in itertools.pairwise(some):
            assert before.max() <= after.min()


@pytest.mark.parametrize(
    ("n", "train", "valid", "test"),
    [
        (1, [0], [], []),
        (2, [0], [], [1]),
        (3, [0], [1], [2]),
        (5, [0, 1, 2], [3], [4]),
    ],
)
def test_a_user_with_few_rows_trains_before_being_judged(n, train, valid, test):
    # Beside another user, whose rows are between and change nothing.
    user = np.repeat([0, 1], [n, 4])
    time = [*range(10, 10 + n), 0, 11, 12, 99]
    parts = leave_last_out(timed(user, time))
    mine = [rows[rows < n].tolist() for rows in (parts.train, parts.valid, parts.test)]
    assert mine == [train, valid, test]
    theirs = [len(rows) for rows in (parts.train, parts.valid, parts.test)]
    assert theirs == [len(train) + 2, len(valid) + 1, len(test) + 1]


def test_of_a_users_rows_of_one_second_the_last_in_the_file_is_tested():
    user = np.array([1, 0, 1, 0, 1])
    parts = leave_last_out(timed(user, np.zeros(5)))
    assert parts.test.tolist() == [3, 4]
    assert parts.valid.tolist() == [2]


@given(dataset=histories(), order=seeds)
@settings(max_examples=50, deadline=None)
def test_a_users_last_row_depends_on_nobody_else(dataset, order):
    # With times that do not repeat, in any order of the rows.
    n = len(dataset.user)
    dataset = timed(dataset.user, np.random.default_rng(order).permutation(n))
    alone = {}
    for one in np.unique(dataset.user):
        rows = np.flatnonzero(dataset.user == one)
        parts = leave_last_out(timed(np.zeros(len(rows)), dataset.time[rows]))
        alone |= {row: TEST for row in rows[parts.test]}
        alone |= {row: VALID for row in rows[parts.valid]}
    part = part_of_each_row(leave_last_out(dataset), n)
    assert {row: part[row] for row in np.flatnonzero(part)} == alone


# Times up to the last second that 64 bits hold, and before 1970.
@by_time
def test_times_of_any_size_are_ordered(make):
    most = np.iinfo(np.int64).max
    time = [most, -most, 0, 2**40, -5, most - 1]
    parts = make(timed(np.zeros(6), time))
    assert parts.test.tolist() == [0]
    assert parts.valid.tolist() == [5]


def test_the_splits_of_the_real_data_are_as_stated(real_data_dir):
    config = DataConfig(
        dataset="ml-latest-small", data_dir=str(real_data_dir), cache_dir=""
    )
    dataset = prepare(config)
    n = len(dataset.user)
    late = split(dataset, dataclasses.replace(config, split="global_time"))
    np.testing.assert_array_equal(part_of_each_row(late, n), global_time_parts(dataset))
    assert (len(late.train), len(late.valid), len(late.test)) == (
        56_781,
        12_167,
        12_168,
    )
    assert dataset.time[late.train].max() <= dataset.time[late.valid].min()
    assert dataset.time[late.valid].max() <= dataset.time[late.test].min()
    last = split(dataset, dataclasses.replace(config, split="leave_last_out"))
    np.testing.assert_array_equal(
        part_of_each_row(last, n), leave_last_out_parts(dataset)
    )
    assert (len(last.valid), len(last.test)) == (610, 610)
    for name, owner, counts in (
        ("cold_item", dataset.item, (1_588, 340, 341)),
        ("cold_user", dataset.user, (427, 91, 92)),
    ):
        made = split(dataset, dataclasses.replace(config, split=name))
        rows = (made.train, made.valid, made.test)
        found = [len(np.unique(owner[some])) for some in rows]
        assert tuple(found) == counts


# --- whole items, whole users ---------------------------------------------------------


COLD = {"item": cold_item, "user": cold_user}
cold = pytest.mark.parametrize(("of", "make"), COLD.items(), ids=COLD)


@st.composite
def meetings(draw, most=60, sides=25):
    """Users and items of at least one row, any of them in many or in none."""
    n = draw(st.integers(1, most))
    ids = st.lists(st.integers(0, sides), min_size=n, max_size=n)
    item = np.asarray(draw(ids), np.int32)
    return dataclasses.replace(dataset_of(draw(ids)), item=item)


def part_of_each(of, dataset, parts):
    """{item or user: its part}; fails when one has rows in two parts."""
    owner, part = getattr(dataset, of), part_of_each_row(parts, len(dataset.user))
    found = {}
    for one in np.unique(owner):
        (found[int(one)],) = np.unique(part[owner == one]).tolist()
    return found


@cold
@given(dataset=meetings(), seed=seeds)
@settings(max_examples=100, deadline=None)
def test_a_cold_split_is_disjoint_complete_and_ascending(of, make, dataset, seed):
    parts = make(dataset, seed)
    part_of_each_row(parts, len(dataset.user))
    for rows in (parts.train, parts.valid, parts.test):
        assert rows.dtype == np.int64
        assert (np.diff(rows) > 0).all()


@cold
@given(dataset=meetings(), seed=seeds)
@settings(max_examples=100, deadline=None)
def test_all_rows_of_one_are_in_one_part_and_the_shares_are_70_15_15(
    of, make, dataset, seed
):
    part = part_of_each(of, dataset, make(dataset, seed))
    outside = math.ceil(0.3 * len(part))
    test = math.ceil(outside / 2)
    counts = np.bincount(list(part.values()), minlength=3).tolist()
    assert counts == [len(part) - outside, outside - test, test]


@cold
@given(dataset=meetings(), seed=seeds)
@settings(max_examples=50, deadline=None)
def test_of_a_cold_split_nobody_judged_was_trained_on(of, make, dataset, seed):
    parts = make(dataset, seed)
    owner = getattr(dataset, of)
    others = owner[np.concatenate([parts.train, parts.valid])]
    assert not np.isin(owner[parts.test], others).any()
    assert not np.isin(owner[parts.valid], owner[parts.train]).any()


@cold
@pytest.mark.parametrize(
    ("n", "train", "valid", "test"),
    [(1, 0, 0, 1), (2, 1, 0, 1), (3, 2, 0, 1), (4, 2, 1, 1), (20, 14, 3, 3)],
)
@pytest.mark.parametrize("seed", [0, 42])
def test_of_few_one_is_tested_before_one_is_validated(
    of, make, n, train, valid, test, seed
):
    ids = np.repeat(np.arange(n, dtype=np.int32), 3)
    dataset = dataclasses.replace(dataset_of(ids), item=ids)
    parts = make(dataset, seed)
    part_of_each_row(parts, 3 * n)
    found = [len(parts.train), len(parts.valid), len(parts.test)]
    assert found == [3 * train, 3 * valid, 3 * test]


@pytest.mark.parametrize("make", COLD.values(), ids=COLD)
def test_no_rows_give_empty_cold_parts(make):
    parts = make(dataset_of([], num_users=3), 0)
    assert [len(parts.train), len(parts.valid), len(parts.test)] == [0, 0, 0]


@cold
def test_one_without_rows_takes_no_place_in_a_cold_split(of, make):
    ids = np.repeat(np.arange(20, dtype=np.int32), 2)
    dense = dataclasses.replace(dataset_of(ids), item=ids)
    gaps = dataclasses.replace(dataset_of(ids * 3), item=ids * 3)
    assert make(gaps, 5).test.tolist() == make(dense, 5).test.tolist()
    assert make(gaps, 5).valid.tolist() == make(dense, 5).valid.tolist()


@cold
def test_the_seed_of_a_cold_split_draws_others_and_alike(of, make, tiny_dataset):
    found = {make(tiny_dataset, seed).fingerprint for seed in range(20)}
    assert len(found) == 20
    a, b = make(tiny_dataset, 3), make(tiny_dataset, 3)
    assert a.fingerprint == b.fingerprint
    np.testing.assert_array_equal(a.test, b.test)


@cold
def test_each_one_is_drawn_equally_often(of, make):
    # 20 of them, 3 tested and 3 validated, by 2,000 seeds: 300 times each, +- 5 sd.
    ids = np.arange(20, dtype=np.int32)
    dataset = dataclasses.replace(dataset_of(ids), item=ids)
    found = np.array(
        [part_of_each_row(make(dataset, seed), 20) for seed in range(2_000)]
    )
    for which in (VALID, TEST):
        times = (found == which).sum(axis=0)
        assert times.sum() == 6_000
        assert (abs(times - 300) < 5 * math.sqrt(2_000 * 0.15 * 0.85)).all()


@cold
@given(dataset=meetings(), seed=seeds, order=seeds)
@settings(max_examples=50, deadline=None)
def test_ratings_times_and_the_order_of_rows_have_no_say_in_a_cold_split(
    of, make, dataset, seed, order
):
    n = len(dataset.user)
    rng = np.random.default_rng(order)
    rows = rng.permutation(n)
    other = dataclasses.replace(
        dataset,
        user=dataset.user[rows],
        item=dataset.item[rows],
        rating=rng.choice(np.arange(1, 11) / 2, n).astype(np.float32),
        time=rng.integers(0, 10**9, n),
    )
    ours = part_of_each(of, dataset, make(dataset, seed))
    assert part_of_each(of, other, make(other, seed)) == ours


def test_the_other_side_has_no_say_in_a_cold_split(tiny_dataset):
    n = len(tiny_dataset.user)
    rows = np.random.default_rng(0).permutation(n)
    items = dataclasses.replace(tiny_dataset, item=tiny_dataset.item[rows])
    users = dataclasses.replace(tiny_dataset, user=tiny_dataset.user[rows])
    for of, blind, seen in (("user", items, users), ("item", users, items)):
        base = COLD[of](tiny_dataset, 42).test
        assert COLD[of](blind, 42).test.tolist() == base.tolist()
        assert COLD[of](seen, 42).test.tolist() != base.tolist(), "control"


@cold
def test_who_is_cold_is_told_and_counted(of, make, tiny_dataset):
    parts = make(tiny_dataset, 42)
    tested = len(np.unique(getattr(tiny_dataset, of)[parts.test]))
    found = splits.warnings(tiny_dataset, parts)
    (sentence,) = (s for s in found if s.startswith("Cold: "))
    assert f" {tested} {of}s " in sentence


# --- what a split can show, and what leaks --------------------------------------------


@pytest.mark.parametrize("name", SPLITS)
def test_each_split_says_what_it_can_and_cannot_show(name, tiny_dataset):
    parts = split(tiny_dataset, DataConfig(split=name))
    text = limits(parts)
    assert text == LIMITS[name]
    assert text.startswith("It shows ")
    assert "cannot show" in text
    assert text.endswith(".")
    assert "\n" not in text
    others = {LIMITS[other] for other in SPLITS if other != name}
    assert text not in others


def test_there_are_limits_for_each_split_and_for_no_other():
    assert set(LIMITS) == {*SPLITS, *PUBLISHED_SPLITS, "stored"}


@pytest.mark.parametrize("name", [*PUBLISHED_SPLITS, "stored"])
def test_a_split_that_came_with_the_data_says_what_it_shows(name):
    parts = make_split(dataset_of([0] * 6), BASE, f"{name}: as it came")
    assert limits(parts) == LIMITS[name]
    assert LIMITS[name].startswith("It shows ")
    assert "cannot show" in LIMITS[name]
    assert ("no validation rows" in LIMITS[name]) == (name in PUBLISHED_SPLITS)


def test_the_split_stored_with_the_data_is_taken_as_it_is(tiny_dataset):
    part = np.arange(len(tiny_dataset.user)) % 3
    dataset = dataclasses.replace(tiny_dataset, part=part.astype(np.int8))
    config = DataConfig(dataset="./shards", split="stored")
    ours = split(dataset, config)
    for which, rows in enumerate((ours.train, ours.valid, ours.test)):
        np.testing.assert_array_equal(rows, np.flatnonzero(part == which))
    assert ours.definition == "stored: as it came with the data"
    with pytest.raises(ConfigError, match="--split=stored wants data that come with"):
        split(tiny_dataset, config)


@pytest.mark.parametrize("name", ["global_time", "leave_last_out"])
def test_a_split_by_time_of_data_without_times_is_refused(tiny_dataset, name):
    without = dataclasses.replace(tiny_dataset, time=np.zeros_like(tiny_dataset.time))
    with pytest.raises(ConfigError, match=f"--split={name} wants times, and synthetic"):
        split(without, DataConfig(split=name))
    # The controls: with times, and by another rule without.
    assert len(split(tiny_dataset, DataConfig(split=name)).test)
    assert len(split(without, DataConfig(split="user_random")).test)


def test_nothing_is_said_of_leaks_in_time_where_there_are_no_times(tiny_dataset):
    without = dataclasses.replace(tiny_dataset, time=np.zeros_like(tiny_dataset.time))
    parts = split(without, DataConfig())
    found = splits.warnings(without, parts, filtered=True, uses_tags=True)
    assert not any(sentence.startswith("Leak in time") for sentence in found)


@pytest.mark.parametrize("definition", ["mine", "", "by hand: user_random", "x, y: z"])
def test_nothing_is_claimed_of_a_split_of_ones_own(definition):
    parts = make_split(dataset_of([0] * 6), BASE, definition)
    assert limits(parts) == ""


def kinds(found):
    """The beginning of each sentence, which must be a whole one."""
    for sentence in found:
        assert sentence.endswith(".")
        assert "\n" not in sentence
    return [sentence.split(":")[0].split(" are")[0] for sentence in found]


# Four users who rate the same three items, in rows that follow each other in time.
CLEAN = timed(np.tile(np.arange(4), 3), np.arange(12), item=np.repeat(np.arange(3), 4))


def clean_split(train, valid, test):
    part = np.full(12, TRAIN)
    part[valid], part[test] = VALID, TEST
    assert (np.flatnonzero(part == TRAIN) == train).all()
    return make_split(CLEAN, part, "by hand")


@pytest.fixture
def forecast():
    """The last row is tested, and its user and item are known from train."""
    return clean_split(range(10), [10], [11])


@pytest.fixture
def interpolation():
    """A row of the middle is tested: half of train comes after it."""
    return clean_split([0, 1, 2, 3, 4, 6, 7, 8, 9, 11], [10], [5])


def test_there_is_nothing_to_warn_of_in_a_clean_forecast(forecast):
    assert splits.warnings(CLEAN, forecast) == ()


def test_the_random_split_leaks_in_time_and_says_how_much(interpolation):
    (sentence,) = splits.warnings(CLEAN, interpolation)
    # Rows 6, 7, 8, 9 and 11 of the ten are later than the tested one.
    assert sentence.startswith("Leak in time: 50% of the training rows are later")
    assert "--split=global_time" in sentence


def test_tags_leak_where_the_rest_is_a_forecast(forecast, interpolation):
    (sentence,) = splits.warnings(CLEAN, forecast, uses_tags=True)
    assert sentence.startswith("Leak in time: tag features")
    assert "--tag_dim=0" in sentence
    # Nobody takes the other for a forecast, and so it is not said twice.
    assert len(splits.warnings(CLEAN, interpolation, uses_tags=True)) == 1


def test_filters_leak_where_the_rest_is_a_forecast(forecast, interpolation):
    (sentence,) = splits.warnings(CLEAN, forecast, filtered=True)
    assert sentence.startswith("Leak in time: the filters")
    assert "--min_item_ratings=1 --min_user_ratings=1" in sentence
    assert len(splits.warnings(CLEAN, interpolation, filtered=True)) == 1


def test_cold_users_and_items_are_counted():
    # Of three rows tested, two are of user 3, who is new; items 8 to 11 are new.
    dataset = timed([0, 1, 2] * 3 + [3, 3, 0], np.arange(12))
    parts = make_split(dataset, np.repeat([TRAIN, TEST], [9, 3]), "by hand")
    (sentence,) = splits.warnings(dataset, parts)
    assert sentence.startswith("Cold: 1 users and 3 items of the test rows")
    known = dataclasses.replace(dataset, item=np.tile(np.arange(3, dtype=np.int32), 4))
    (sentence,) = splits.warnings(known, parts)
    assert sentence.startswith("Cold: 1 users and 0 items")
    warm = dataclasses.replace(known, user=np.tile(np.arange(3, dtype=np.int32), 4))
    assert splits.warnings(warm, parts) == ()


def test_validation_rows_make_nobody_warm():
    # User 1 is in validation and test only.
    dataset = timed([0, 0, 0, 1, 1], np.arange(5), item=np.zeros(5, np.int32))
    parts = make_split(dataset, np.array([0, 0, 0, 1, 2]), "by hand")
    (sentence,) = splits.warnings(dataset, parts)
    assert sentence.startswith("Cold: 1 users and 0 items")


def test_the_catalogue_has_items_that_nobody_judged(forecast):
    (sentence,) = splits.warnings(CLEAN, forecast, catalogue=True)
    assert "counts as not relevant" in sentence


@pytest.mark.parametrize("filtered", [False, True])
@pytest.mark.parametrize("uses_tags", [False, True])
@pytest.mark.parametrize("catalogue", [False, True])
@pytest.mark.parametrize("leaky", [False, True])
def test_warnings_are_said_once_each_and_in_one_order(
    filtered, uses_tags, catalogue, leaky, forecast, interpolation
):
    found = splits.warnings(
        CLEAN,
        interpolation if leaky else forecast,
        filtered=filtered,
        uses_tags=uses_tags,
        catalogue=catalogue,
    )
    leaks = 1 if leaky else filtered + uses_tags
    wanted = ["Leak in time"] * leaks + ["Candidates"] * catalogue
    assert kinds(found) == wanted
    assert len(set(found)) == len(found)


def test_a_split_without_test_rows_has_nothing_that_leaks():
    assert splits.warnings(CLEAN, make_split(CLEAN, np.zeros(12), "all")) == ()


@pytest.mark.parametrize(
    ("name", "leaks"),
    [(name, name != "global_time") for name in SPLITS],
)
def test_only_the_global_split_of_the_tiny_world_is_a_forecast(
    name, leaks, tiny_dataset
):
    parts = split(tiny_dataset, DataConfig(split=name))
    found = splits.warnings(tiny_dataset, parts)
    assert any(s.startswith("Leak in time: ") for s in found) == leaks


# --- options --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["global_time", "leave_last_out"])
def test_a_seed_for_a_split_without_one_is_a_contradiction(name):
    with pytest.raises(ConfigError, match=f"no effect with --split={name}") as caught:
        DataConfig(split=name, split_seed=7)
    assert "--split_seed=7" in str(caught.value)
    assert "user_random, cold_item, cold_user" in str(caught.value)
    # At its default it contradicts nothing: a flagfile lists every flag.
    assert DataConfig(split=name, split_seed=42).split == name


@pytest.mark.parametrize("name", ["user_random", "cold_item", "cold_user"])
def test_a_split_with_a_seed_takes_it(name, tiny_dataset):
    ours = split(tiny_dataset, DataConfig(split=name, split_seed=7))
    assert ours.definition.startswith(f"{name}, seed 7: ")
    assert ours.fingerprint == SPLITS[name](tiny_dataset, 7).fingerprint
    assert ours.fingerprint != SPLITS[name](tiny_dataset, 42).fingerprint


@pytest.mark.parametrize("name", SPLITS)
def test_the_config_chooses_each_split_by_name(name, tiny_dataset):
    ours = split(tiny_dataset, DataConfig(split=name))
    wanted = SPLITS[name](tiny_dataset, 42)
    assert ours.fingerprint == wanted.fingerprint
    assert ours.definition == wanted.definition
    assert ours.definition.startswith(name)


def test_fingerprints_differ_between_splits(tiny_dataset):
    found = {split(tiny_dataset, DataConfig(split=n)).fingerprint for n in SPLITS}
    assert len(found) == len(SPLITS) == 5


@pytest.mark.parametrize("name", SPLITS)
def test_the_wanted_fingerprint_of_a_split_is_checked(name, tiny_dataset):
    right = split(tiny_dataset, DataConfig(split=name)).fingerprint
    config = DataConfig(split=name, split_fingerprint=right)
    assert split(tiny_dataset, config).fingerprint == right
    wrong = dataclasses.replace(config, split_fingerprint="0123456789abcdef")
    with pytest.raises(DataError) as caught:
        split(tiny_dataset, wrong)
    text = str(caught.value)
    for words in (right, "--split_fingerprint=0123456789abcdef", "pass"):
        assert words in text
    assert "\n" not in text
