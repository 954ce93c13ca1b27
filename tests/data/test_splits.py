"""Splits: the very rows of scikit-learn, disjoint, complete, and blind to the rest.

Held here: `user_random` gives each row the part that two `train_test_split` calls per
user give it (any sizes, orders and seeds, and the whole real data set); every row is in
exactly one part; a user's division depends on nobody else and on no rating; the cases
scikit-learn refuses are decided as the docstring says; the fingerprint follows the
content.
"""

import dataclasses
import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import train_test_split

from ncf_jax import Dataset, prepare, split
from ncf_jax.config import DataConfig
from ncf_jax.data.splits import SPLITS, make_split, user_random
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
    assert set(choices) == set(SPLITS)


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
