"""Rows that are spread over devices are the rows of one array, to the bit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ncf_jax import meshes, sharded
from ncf_jax.optim import ROW_WISE, RowState
from ncf_jax.sharded import AXES, TABLE, Sharded
from ncf_jax.types import Interactions, ItemFeatures

MESHES = ["table:1", "data:8", "table:8", "data:4,table:2", "data:2,table:3"]
RNG = np.random.default_rng(0)


def rows_of(rows, *width, dtype=np.float32):
    values = RNG.normal(size=(rows, *width)) * 100
    return values.astype(dtype)


@pytest.fixture(params=MESHES)
def mesh(request):
    return meshes.make_mesh(request.param)


@pytest.fixture
def eight():
    return meshes.make_mesh("data:4,table:2")


class TestLookup:
    @pytest.mark.parametrize("axes", [(TABLE,), AXES])
    @pytest.mark.parametrize("dtype", [np.float32, np.int32])
    def test_each_row_comes_from_its_owner_unchanged(self, mesh, axes, dtype):
        table = rows_of(37, 5, dtype=dtype)
        table[3] = 0 if dtype == np.int32 else -0.0
        spread = sharded.spread(table, mesh, axes)
        for shape in [(1,), (7,), (3, 5), (64,)]:
            index = RNG.integers(0, 37, shape)
            found = jax.jit(lambda spread, index: spread[index])(spread, index)
            assert found.dtype == dtype
            np.testing.assert_array_equal(found, table[index])
            other = table[(index + 1) % 37]
            assert not np.array_equal(found, other), "any row would do"

    def test_an_infinite_row_stays_with_those_who_ask_for_it(self, mesh):
        table = rows_of(20, 2)
        table[4], table[5] = np.inf, np.nan
        spread = sharded.spread(table, mesh)
        np.testing.assert_array_equal(spread[jnp.arange(20)], table)

    def test_it_has_the_shape_of_what_it_stands_for(self, eight):
        spread = sharded.spread(rows_of(37, 5), eight)
        assert spread.shape == (37, 5)
        assert spread.dtype == np.float32
        assert spread.array.shape == (38, 5)
        assert not np.asarray(spread.array)[37:].any()

    def test_each_device_holds_its_share_and_no_more(self):
        table = rows_of(801, 4)
        for text, share in [("table:8", 101), ("data:8", 801), ("data:4,table:2", 401)]:
            spread = sharded.spread(table, meshes.make_mesh(text))
            held = {part.data.shape[0] for part in spread.array.addressable_shards}
            assert held == {share}, text

    def test_rows_beyond_the_number_of_devices_are_not_needed(self):
        spread = sharded.spread(rows_of(3, 2), meshes.make_mesh("table:8"))
        assert spread[jnp.array([2, 0])].shape == (2, 2)
        empty = sharded.spread(np.zeros((0, 2), np.float32), spread.mesh)
        assert empty.shape == (0, 2)

    def test_only_the_rows_of_own_devices_are_read(self, eight):
        class Column:
            shape, ndim = (1000,), 1

            def __init__(self):
                self.read = []

            def __getitem__(self, part):
                self.read.append(part)
                return np.arange(1000, dtype=np.int32)[part]

        column = Column()
        spread = sharded.spread(column, eight, AXES)
        assert max(part.stop - part.start for part in column.read) == 125
        np.testing.assert_array_equal(np.asarray(spread.array), np.arange(1000))

    def test_under_vmap_each_seed_has_its_own(self, eight):
        tables = rows_of(2, 11, 3)
        index = RNG.integers(0, 11, (2, 9))
        spread = jax.vmap(lambda table: sharded.spread(table, eight))
        whole = jax.jit(spread)(tables)
        assert whole.array.shape == (2, 12, 3)
        found = jax.jit(jax.vmap(lambda table, index: table[index]))(whole, index)
        np.testing.assert_array_equal(
            found, [t[i] for t, i in zip(tables, index, strict=True)]
        )


class TestGradient:
    def test_slopes_are_added_in_the_order_of_the_batch(self, mesh):
        table = rows_of(23, 4)
        index = RNG.integers(0, 23, 40)  # many rows several times
        weight = rows_of(40, 4)

        def total(table):
            return jnp.sum(weight * table[index] ** 3)

        wanted = jax.jit(jax.grad(total))(jnp.asarray(table))
        found = jax.jit(jax.grad(total))(sharded.spread(table, mesh))
        assert isinstance(found, Sharded)
        np.testing.assert_array_equal(np.asarray(found.array)[:23], wanted)
        assert not np.asarray(found.array)[23:].any()

    def test_a_number_of_examples_that_does_not_divide(self, eight):
        table, index = rows_of(10, 2), np.arange(7)
        total = jax.grad(lambda table: jnp.sum(table[index] ** 2))
        found = jax.jit(total)(sharded.spread(table, eight))
        wanted = np.where(np.arange(10)[:, None] < 7, 2 * table, 0)
        np.testing.assert_array_equal(np.asarray(found.array)[:10], wanted)


class TestUpdateRows:
    @pytest.mark.parametrize("name", ROW_WISE)
    def test_owners_move_rows_as_one_device_does(self, mesh, name):
        row_wise = ROW_WISE[name](0.01, 1e-3)
        table = jnp.asarray(rows_of(19, 3))
        state = row_wise.init(table)
        spread = sharded.spread(np.asarray(table), mesh)
        memory = spread.replace(array=row_wise.init(spread.array))
        one = jax.jit(row_wise.update)
        many = jax.jit(lambda *x: sharded.update_rows(row_wise.update, *x))
        for step in range(1, 5):
            row = jnp.asarray(RNG.integers(0, 19, 16), jnp.int32)
            row = row.at[3].set(sharded.NO_ROW)  # padding
            gradient = jnp.asarray(rows_of(16, 3))
            found = table.at[row].get(mode="fill", fill_value=0)
            at = jnp.int32(step)
            table, state = one(table, state, row, found, gradient, at)
            spread, memory = many(spread, memory, row, gradient, at)
            moved = np.asarray(spread.array)[:19]
            np.testing.assert_allclose(moved, table, rtol=1e-6, atol=1e-6)
        assert isinstance(memory.array, RowState)
        moments = np.asarray(memory.array.moments)[:19]
        np.testing.assert_allclose(moments, state.moments, rtol=1e-5, atol=1e-6)
        assert np.abs(moments).max() > 1, "nothing has moved"

    def test_a_row_that_did_not_come_stands_still(self, eight):
        row_wise = ROW_WISE["lazy"](0.01, 0.0)
        table = sharded.spread(rows_of(9, 2), eight)
        memory = table.replace(array=row_wise.init(table.array))
        row = jnp.zeros(8, jnp.int32)
        moved, _ = sharded.update_rows(
            row_wise.update, table, memory, row, jnp.ones((8, 2)), jnp.int32(1)
        )
        change = np.asarray(moved.array) != np.asarray(table.array)
        assert change[0].all()
        assert not change[1:].any()


class TestTrees:
    def test_bare_and_dressed_are_each_other_undone(self, eight):
        tree = {"a": sharded.spread(rows_of(5, 2), eight), "b": jnp.ones(3)}
        bare = sharded.bare(tree)
        assert isinstance(bare["a"], jax.Array)
        again = sharded.dressed(bare, tree)
        assert jax.tree.structure(again) == jax.tree.structure(tree)

    def test_the_mesh_of_a_tree_is_that_of_its_rows(self, eight):
        spread = sharded.spread(rows_of(5), eight)
        assert sharded.mesh_of({"x": [spread, 1.0]}) is eight
        assert sharded.mesh_of({"x": jnp.ones(3)}) is None

    def test_rows_and_their_memory_are_divided_and_the_rest_is_everywhere(self, eight):
        spread = sharded.spread(rows_of(6, 2), eight)
        state = spread.replace(array=RowState(spread.array[None], spread.array[None]))
        where = sharded.shardings({"t": state, "x": jnp.ones(3)}, eight, lead=1)
        assert where["t"].array.moments.spec == jax.P(None, TABLE)
        assert where["x"].spec == jax.P()

    def test_a_head_is_given_zeros_in_place_of_rows(self, eight):
        spread = sharded.spread(rows_of(6, 2) + 500, eight)
        zeros = sharded.without_rows({"t": spread})["t"]
        assert zeros.shape == (6, 2)
        assert not zeros.any()

    def test_what_is_there_already_is_not_sent_again(self, eight):
        once = sharded.repeat(np.arange(3.0), eight)
        assert sharded.repeat(once, eight) is once
        assert sharded.local(once, eight).shape == (3,)
        whole = jax.jit(lambda x: sharded.repeated(x * 2, eight))(once)
        assert whole.is_fully_replicated


def test_training_rows_and_features_are_divided(eight):
    data = Interactions(
        user=np.arange(20, dtype=np.int32),
        item=np.arange(20, dtype=np.int32)[::-1].copy(),
        rating=np.ones(20, np.float32),
        features=ItemFeatures(rows_of(20, 3), rows_of(20, 4), year=rows_of(20)),
        context=rows_of(20, 2),
    )
    spread = sharded.spread_rows(data, eight)
    index = jnp.array([3, 19, 0])
    np.testing.assert_array_equal(spread.user[index], data.user[index])
    np.testing.assert_array_equal(spread.context[index], data.context[index])
    rows = spread.features.rows(spread.item[index])
    np.testing.assert_array_equal(rows.tags, data.features.tags[data.item[index]])
    held = {part.data.nbytes for part in spread.user.array.addressable_shards}
    assert held == {3 * 4}
