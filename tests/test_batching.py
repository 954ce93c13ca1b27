"""Batches hold each row once, padded with weight 0 and never dropped; the examples
are the right rows with their items' features; lists are those of a pandas groupby."""

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from ncf_jax import batching
from ncf_jax.types import Interactions, ItemFeatures


class TestNumBatches:
    @pytest.mark.parametrize(
        ("rows", "size", "expected"),
        [
            (0, 4, 0),
            (1, 4, 1),
            (3, 4, 1),
            (4, 4, 1),
            (5, 4, 2),
            (8, 4, 2),
            (56_505, 512, 110 + 1),  # the reference's epoch
        ],
    )
    def test_the_short_last_batch_counts(self, rows, size, expected):
        assert batching.num_batches(rows, size) == expected


class TestEpochBatches:
    def test_without_a_key_the_order_is_kept(self):
        index, weight = batching.epoch_batches(None, 7, 3)
        np.testing.assert_array_equal(index, [[0, 1, 2], [3, 4, 5], [6, 0, 0]])
        np.testing.assert_array_equal(weight, [[1, 1, 1], [1, 1, 1], [1, 0, 0]])

    def test_types_are_those_of_the_docstring(self):
        index, weight = batching.epoch_batches(jax.random.key(0), 5, 2)
        assert index.dtype == jnp.int32
        assert weight.dtype == jnp.float32

    def test_rows_that_fill_their_batches_have_no_padding(self):
        index, weight = batching.epoch_batches(jax.random.key(0), 6, 3)
        assert index.shape == weight.shape == (2, 3)
        assert (weight == 1).all()

    def test_a_batch_larger_than_the_data_is_padded(self):
        index, weight = batching.epoch_batches(None, 2, 5)
        np.testing.assert_array_equal(index, [[0, 1, 0, 0, 0]])
        np.testing.assert_array_equal(weight, [[1, 1, 0, 0, 0]])

    def test_no_rows_make_no_batches(self):
        index, weight = batching.epoch_batches(None, 0, 4)
        assert index.shape == weight.shape == (0, 4)

    def test_the_same_key_gives_the_same_batches_and_another_key_others(self):
        batches = [
            batching.epoch_batches(jax.random.key(n), 40, 8)[0] for n in (3, 3, 4)
        ]
        np.testing.assert_array_equal(batches[0], batches[1])
        assert (batches[0] != batches[2]).any()

    def test_a_key_changes_the_order_and_not_the_padding(self):
        kept = batching.epoch_batches(None, 39, 8)
        shuffled = batching.epoch_batches(jax.random.key(0), 39, 8)
        assert (kept[0] != shuffled[0]).any()
        np.testing.assert_array_equal(kept[1], shuffled[1])

    def test_rows_are_shuffled_over_batches_and_not_only_inside_them(self):
        index, _ = batching.epoch_batches(jax.random.key(1), 40, 8)
        for batch in np.asarray(index):
            assert len(set(batch // 8)) > 1, (
                f"rows of one block stayed together: {batch}"
            )

    def test_every_row_comes_first_equally_often(self):
        keys = jax.random.split(jax.random.key(0), 3_000)
        index, _ = jax.vmap(lambda key: batching.epoch_batches(key, 5, 2))(keys)
        counts = np.bincount(np.asarray(index[:, 0, 0]), minlength=5)
        # Binomial with p = 1/5: five standard deviations.
        np.testing.assert_allclose(counts, 600, atol=5 * (3_000 * 0.2 * 0.8) ** 0.5)

    def test_it_is_the_same_inside_jit(self):
        jitted = jax.jit(batching.epoch_batches, static_argnums=(1, 2))
        key = jax.random.key(0)
        for one, other in zip(
            jitted(key, 11, 4), batching.epoch_batches(key, 11, 4), strict=True
        ):
            np.testing.assert_array_equal(one, other)


@pytest.fixture
def data():
    """Six rows over three items; every value tells which row or item it is of."""
    return Interactions(
        user=np.arange(10, 16, dtype=np.int32),
        item=np.array([0, 1, 2, 2, 1, 0], np.int32),
        rating=np.array([0.5, 1, 1.5, 2, 2.5, 3], np.float32),
        features=ItemFeatures(
            genres=np.array([[0, 1], [1, 0], [1, 1]], np.float32),
            tags=np.array([[0.0], [10.0], [20.0]], np.float32),
        ),
    )


class TestTake:
    def test_each_example_has_the_values_of_its_row_and_the_features_of_its_item(
        self, data
    ):
        weight = jnp.array([1.0, 1.0, 0.0])
        batch = batching.take(data, jnp.array([4, 2, 0]), weight)
        np.testing.assert_array_equal(batch.user, [14, 12, 10])
        np.testing.assert_array_equal(batch.item, [1, 2, 0])
        np.testing.assert_array_equal(batch.rating, [2.5, 1.5, 0.5])
        np.testing.assert_array_equal(batch.features.genres, [[1, 0], [1, 1], [0, 1]])
        np.testing.assert_array_equal(batch.features.tags, [[10], [20], [0]])
        np.testing.assert_array_equal(batch.weight, weight)

    def test_a_row_may_be_taken_twice(self, data):
        batch = batching.take(data, jnp.array([3, 3]), jnp.ones(2))
        np.testing.assert_array_equal(batch.user, [13, 13])
        np.testing.assert_array_equal(batch.features.tags, [[20], [20]])

    def test_axes_of_the_index_are_kept(self, data):
        index, weight = batching.epoch_batches(None, 6, 4)
        batch = batching.take(data, index, weight)
        assert batch.user.shape == batch.rating.shape == (2, 4)
        assert batch.features.genres.shape == (2, 4, 2)
        assert batch.features.tags.shape == (2, 4, 1)
        np.testing.assert_array_equal(batch.user[1], [14, 15, 10, 10])
        np.testing.assert_array_equal(batch.features.tags[1, :, 0], [10, 0, 0, 0])

    def test_a_whole_epoch_adds_up_to_the_whole_data(self, data):
        batch = batching.take(data, *batching.epoch_batches(jax.random.key(2), 6, 4))
        total = jnp.sum(batch.weight * batch.rating)
        assert total == data.rating.sum()
        # Control: without the weights the padding, which is row 0, would count.
        padding = 2 * data.rating[0]
        assert jnp.sum(batch.rating) == data.rating.sum() + padding

    def test_it_takes_from_device_arrays_inside_jit_too(self, data):
        index, weight = jnp.array([5, 1]), jnp.ones(2)
        on_device = jax.tree.map(jnp.asarray, data)
        inside = jax.jit(batching.take)(on_device, index, weight)
        outside = batching.take(data, index, weight)
        for one, other in zip(*map(jax.tree.leaves, (inside, outside)), strict=True):
            np.testing.assert_array_equal(one, other)


class TestGroupByUser:
    def test_each_user_has_the_places_of_their_rows_in_order(self):
        lists = batching.group_by_user(np.array([2, 0, 2, 2, 0]), 4)
        found = [
            position[where].tolist()
            for position, where in zip(lists.position, lists.where, strict=True)
        ]
        assert found == [[1, 4], [], [0, 2, 3], []]

    def test_it_equals_the_groupby_of_pandas_on_the_tiny_world(
        self, tiny_dataset, tiny_split
    ):
        user = tiny_dataset.user[tiny_split.test]
        lists = batching.group_by_user(user, tiny_dataset.num_users)
        groups = pd.Series(range(len(user))).groupby(user).agg(list)
        assert len(groups) > 30
        for each, rows in groups.items():
            assert lists.position[each][lists.where[each]].tolist() == rows
        assert lists.where.sum() == len(user)

    def test_padding_comes_last_and_points_at_row_0(self):
        lists = batching.group_by_user(np.array([1, 1, 0]), 2)
        assert lists.where.sum(axis=1).tolist() == [1, 2]
        assert lists.where[0, 0]
        assert lists.where[1, :2].all()
        assert (lists.position[~lists.where] == 0).all()

    @pytest.mark.parametrize(
        ("longest", "length"), [(1, 64), (63, 64), (64, 64), (65, 128), (129, 192)]
    )
    def test_the_length_is_the_next_multiple_of_64(self, longest, length):
        user = np.array([1] * longest + [0])
        lists = batching.group_by_user(user, 3)
        assert lists.position.shape == lists.where.shape == (3, length)
        assert lists.where.sum() == longest + 1

    def test_lists_may_be_wanted_longer(self):
        lists = batching.group_by_user(np.array([1, 1, 0]), 2, at_least=100)
        assert lists.where.shape == (2, 128)
        assert lists.where.sum(axis=1).tolist() == [1, 2]

    def test_no_rows_are_empty_lists_of_one_block(self):
        lists = batching.group_by_user(np.zeros(0, np.int32), 3)
        assert lists.where.shape == (3, 64)
        assert not lists.where.any()

    def test_the_last_users_may_have_no_rows(self):
        assert batching.group_by_user(np.array([0]), 5).where.shape[0] == 5
