"""What holds for batches of any data: each row once in an epoch, weight 0 for padding
and nothing else, and users' lists that hold each row once, with its own user."""

import jax
import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ncf_jax import batching
from ncf_jax.types import Interactions, ItemFeatures

laws = settings(max_examples=60, deadline=None)
# Few shapes, each compiled once: full and short last batches, one batch, one row.
shapes = st.sampled_from([(1, 1), (1, 4), (7, 3), (8, 4), (9, 4), (5, 50), (100, 7)])
keys = st.one_of(st.none(), st.integers(0, 2**32 - 1).map(jax.random.key))
epoch = jax.jit(batching.epoch_batches, static_argnums=(1, 2))


@laws
@given(keys, shapes)
def test_an_epoch_holds_each_row_exactly_once(key, shape):
    rows, size = shape
    index, weight = map(np.asarray, epoch(key, rows, size))
    assert sorted(index[weight == 1]) == list(range(rows))
    assert set(np.unique(weight)) <= {0, 1}


@laws
@given(keys, shapes)
def test_all_batches_but_the_last_are_full(key, shape):
    rows, size = shape
    index, weight = map(np.asarray, epoch(key, rows, size))
    assert index.shape == weight.shape == (-(-rows // size), size)
    assert (weight[:-1] == 1).all()
    last = rows - (len(weight) - 1) * size
    assert weight[-1].tolist() == [1] * last + [0] * (size - last)


@laws
@given(keys, shapes)
def test_padding_points_at_a_row_that_exists(key, shape):
    rows, size = shape
    index, _ = map(np.asarray, epoch(key, rows, size))
    assert (index >= 0).all()
    assert (index < rows).all()


@laws
@given(st.integers(0, 2**31 - 1))
def test_two_keys_give_two_orders_and_the_same_key_one(seed):
    one, again, other = (
        np.asarray(epoch(jax.random.key(s), 100, 7)[0]) for s in (seed, seed, seed + 1)
    )
    assert (one == again).all()
    assert (one != other).any()


@laws
@given(
    keys,
    arrays(np.int32, 9, elements=st.integers(0, 3)),
    arrays(np.float32, 9, elements=st.integers(1, 10).map(lambda n: n / 2)),
)
def test_weighted_sums_over_an_epoch_are_sums_over_the_data(key, item, rating):
    tags = np.array([[1.0], [10.0], [100.0], [1000.0]], np.float32)
    data = Interactions(
        user=np.zeros(9, np.int32),
        item=item,
        rating=rating,
        features=ItemFeatures(genres=np.zeros((4, 1), np.float32), tags=tags),
    )
    batch = jitted_take(data, *epoch(key, 9, 4))
    weight = np.asarray(batch.weight)
    assert (weight * batch.rating).sum() == rating.sum()
    # Each example has the features of its own item: their sum counts the items.
    assert (weight * batch.features.tags[..., 0]).sum() == tags[item].sum()


jitted_take = jax.jit(batching.take)


@laws
@given(st.lists(st.integers(0, 9), max_size=200).map(np.array), st.integers(10, 12))
def test_users_lists_are_those_of_a_pandas_groupby(user, users):
    user = user.astype(np.int32)
    lists = batching.group_by_user(user, users)
    groups = pd.Series(range(len(user)), dtype=int).groupby(user).agg(list).to_dict()
    for each in range(users):
        found = lists.position[each][lists.where[each]].tolist()
        assert found == groups.get(each, [])


@laws
@given(st.lists(st.integers(0, 9), min_size=1, max_size=200).map(np.array))
def test_users_lists_hold_each_row_once_and_are_as_long_as_needed(user):
    lists = batching.group_by_user(user, 10)
    assert sorted(lists.position[lists.where]) == list(range(len(user)))
    longest, length = np.bincount(user).max(), lists.where.shape[1]
    assert length % 64 == 0
    assert longest <= length < longest + 64
