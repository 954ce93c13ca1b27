"""Optimizers equal their published formulas, step by step, written out in NumPy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ncf_jax.optim import OPTIMIZERS, ROW_WISE, adam, adamw, move_rows

BETA1, BETA2, EPS = 0.9, 0.999, 1e-8
START = np.array([1.0, -2.0, 0.5, 0.0], np.float64)
GRADIENTS = [
    np.array([0.1, -0.2, 0.0, 1.0]),
    np.array([-0.3, 0.2, 0.0, 0.5]),
    np.array([0.2, 0.1, 1e-4, -2.0]),
    np.array([0.0, 0.0, 0.0, 0.0]),
]


def by_hand(rate, l2, decoupled):
    """Adam as PyTorch documents it: `weight_decay` enters the gradient, or not."""
    x, m, v = START.copy(), np.zeros(4), np.zeros(4)
    for t, gradient in enumerate(GRADIENTS, start=1):
        decay = rate * decoupled * x
        g = gradient + l2 * x
        m = BETA1 * m + (1 - BETA1) * g
        v = BETA2 * v + (1 - BETA2) * g**2
        step = (m / (1 - BETA1**t)) / (np.sqrt(v / (1 - BETA2**t)) + EPS)
        x = x - rate * step - decay
    return x


def run(optimizer):
    params = {"x": jnp.array(START, jnp.float32)}
    state = optimizer.init(params)
    for gradient in GRADIENTS:
        updates, state = optimizer.update(
            {"x": jnp.array(gradient, jnp.float32)}, state, params
        )
        params = optax.apply_updates(params, updates)
    return np.asarray(params["x"])


@pytest.mark.parametrize("rate", [5e-4, 0.1])
@pytest.mark.parametrize("decay", [0.0, 1e-5, 0.3])
def test_adam_adds_the_decay_to_the_gradient(rate, decay):
    np.testing.assert_allclose(
        run(adam(rate, decay)), by_hand(rate, decay, 0.0), rtol=2e-5, atol=1e-6
    )


@pytest.mark.parametrize("rate", [5e-4, 0.1])
@pytest.mark.parametrize("decay", [0.0, 1e-5, 0.3])
def test_adamw_leaves_the_decay_out_of_the_moments(rate, decay):
    np.testing.assert_allclose(
        run(adamw(rate, decay)), by_hand(rate, 0.0, decay), rtol=2e-5, atol=1e-6
    )


def test_the_two_are_not_the_same():
    # The control: with decay they differ far beyond the tolerance above.
    assert np.abs(run(adam(0.1, 0.3)) - run(adamw(0.1, 0.3))).max() > 1e-2


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_decay_shrinks_weights_that_get_no_gradient(make):
    optimizer = make(0.01, 0.1)
    params = {"x": jnp.array([2.0, -2.0])}
    state = optimizer.init(params)
    updates, _ = optimizer.update({"x": jnp.zeros(2)}, state, params)
    after = optax.apply_updates(params, updates)["x"]
    assert 0 < after[0] < 2
    assert -2 < after[1] < 0


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_a_step_goes_downhill(make):
    optimizer = make(0.01, 0.0)
    params = {"x": jnp.array([1.0, -1.0])}
    state = optimizer.init(params)
    updates, _ = optimizer.update({"x": jnp.array([3.0, -0.1])}, state, params)
    assert updates["x"][0] < 0 < updates["x"][1]


class TestAdam:
    def many_steps(self, optimizer):
        rng = np.random.default_rng(3)
        shapes = {"table": (5, 4), "bias": (3,), "mean": ()}
        params = {k: jnp.float32(rng.normal(size=v)) for k, v in shapes.items()}
        state = optimizer.init(params)
        for _ in range(20):
            gradient = {k: jnp.float32(rng.normal(size=v)) for k, v in shapes.items()}
            updates, state = optimizer.update(gradient, state, params)
            params = optax.apply_updates(params, updates)
        return params

    @pytest.mark.parametrize(("rate", "decay"), [(5e-4, 1e-5), (0.1, 0.3)])
    def test_it_is_optaxs_with_the_decay_added_to_the_gradient(self, rate, decay):
        theirs = optax.chain(optax.add_decayed_weights(decay), optax.adam(rate))
        ours, wanted = self.many_steps(adam(rate, decay)), self.many_steps(theirs)
        for name in wanted:
            np.testing.assert_allclose(ours[name], wanted[name], rtol=1e-5, atol=1e-6)
        if decay > 0.1:
            decoupled = self.many_steps(optax.adamw(rate, weight_decay=decay))
            gap = np.abs(decoupled["table"] - wanted["table"]).max()
            assert gap > 1e-2  # the control

    def test_its_memory_is_that_of_the_parameters(self):
        params = {"x": jnp.ones((3, 2)), "y": jnp.ones(4)}
        state = adam(0.1, 0.0).init(params)
        assert jax.tree.map(jnp.shape, state.mu) == jax.tree.map(jnp.shape, params)
        assert int(state.step) == 0
        _, state = adam(0.1, 0.0).update(params, state, params)
        assert int(state.step) == 1


# Rows of a table, examples of a batch, the width, and steps; M, as an index, is none.
M, B, D, T = 5, 6, 3, 8


def gradients(seed, width=(D,)):
    """[T, B, ...] of the size that a loss on ratings / 5 gives, or larger."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(T, B, *width)).astype(np.float32)


def first_table(width=(D,)):
    return np.random.default_rng(99).normal(size=(M, *width)).astype(np.float32)


def by_rows(kind, rate, decay, row_TxB, gradient_TxB, table=None):
    """Table, moments and marks after T steps, each reading and writing rows."""
    return jax.tree.map(
        np.asarray, _by_rows(kind, rate, decay)(row_TxB, gradient_TxB, table)
    )


@functools.cache
def _by_rows(kind, rate, decay):
    row_wise = ROW_WISE[kind](rate, decay)

    @jax.jit
    def run(row_TxB, gradient_TxB, table):
        table = jnp.asarray(first_table() if table is None else table)

        def step(carry, at):
            table, state = carry
            number, row, gradient = at
            found = table.at[row].get(mode="clip")
            return row_wise.update(table, state, row, found, gradient, number), None

        steps = jnp.arange(1, len(row_TxB) + 1)
        carry, _ = jax.lax.scan(
            step, (table, row_wise.init(table)), (steps, row_TxB, gradient_TxB)
        )
        return carry

    return run


def loop_by_rows(kind, rate, decay, row_TxB, gradient_TxB, table=None):
    """PyTorch's SparseAdam in float64, row by row; `catch_up` lets moments decay.

    torch/optim/_functional.py, `sparse_adam`: the gradients of a row are coalesced, and
    the row moves by lr sqrt(1 - b2^t) / (1 - b1^t) * m / (sqrt(v) + eps). L2 of the
    rows that are present is added to their gradients, as `Adam` does.
    """
    x = np.float64(first_table() if table is None else table)
    m, v, last = np.zeros_like(x), np.zeros_like(x), np.zeros(M, int)
    for t, (rows, gradient) in enumerate(
        zip(row_TxB, np.float64(gradient_TxB), strict=True), start=1
    ):
        for row in {int(row) for row in rows if row < M}:
            g = gradient[np.asarray(rows) == row].sum(axis=0) + decay * x[row]
            if kind == "catch_up":
                m[row] *= BETA1 ** (t - 1 - last[row])
                v[row] *= BETA2 ** (t - 1 - last[row])
            m[row] = BETA1 * m[row] + (1 - BETA1) * g
            v[row] = BETA2 * v[row] + (1 - BETA2) * g**2
            size = rate * np.sqrt(1 - BETA2**t) / (1 - BETA1**t)
            x[row] -= size * m[row] / (np.sqrt(v[row]) + EPS)
            last[row] = t
    return x, m, v, last


def dense(rate, row_TxB, gradient_TxB):
    """Dense Adam without L2 in float64: table, moments, and each step's movement."""
    x = np.float64(first_table())
    m, v, movements = np.zeros_like(x), np.zeros_like(x), []
    for t, (rows, gradient) in enumerate(zip(row_TxB, gradient_TxB, strict=True), 1):
        g = np.zeros((M + 1, D))
        np.add.at(g, rows, np.float64(gradient))
        m = BETA1 * m + (1 - BETA1) * g[:M]
        v = BETA2 * v + (1 - BETA2) * g[:M] ** 2
        step = (m / (1 - BETA1**t)) / (np.sqrt(v / (1 - BETA2**t)) + EPS)
        movements.append(-rate * step)
        x = x + movements[-1]
    return x, m, v, np.stack(movements)


def present(row_TxB):
    """[T, M]: whether a row is in a batch."""
    return np.stack([np.isin(np.arange(M), rows) for rows in row_TxB])


# Some rows several times in a batch, some never, and index M for padding.
ROWS = np.array(
    [
        [0, 0, 1, 1, 1, 3],
        [3, 3, 3, 3, 3, 3],
        [0, 1, 3, 5, 5, 5],
        [5, 5, 5, 5, 5, 5],
        [4, 4, 3, 1, 0, 0],
        [1, 0, 3, 4, 1, 0],
        [3, 5, 3, 5, 3, 5],
        [0, 4, 1, 3, 4, 3],
    ],
    np.int32,
)
NEVER = 2  # the row that no batch has
presences = hnp.arrays(np.int32, (T, B), elements=st.integers(0, M))
both = pytest.mark.parametrize("kind", ROW_WISE)


class TestRowWise:
    @both
    @pytest.mark.parametrize(("rate", "decay"), [(0.01, 0.0), (0.1, 0.3)])
    def test_it_equals_a_loop_over_rows_in_float64(self, kind, rate, decay):
        g = gradients(0)
        table, state = by_rows(kind, rate, decay, ROWS, g)
        x, m, v, last = loop_by_rows(kind, rate, decay, ROWS, g)
        np.testing.assert_allclose(table, x, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(state.moments[:, 0], m, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(state.moments[:, 1], v, rtol=1e-4, atol=1e-6)
        if kind == "catch_up":
            np.testing.assert_array_equal(state.mark, last)
        other = next(name for name in ROW_WISE if name != kind)  # the control
        assert np.abs(table - loop_by_rows(other, rate, decay, ROWS, g)[0]).max() > 1e-3

    @both
    @settings(deadline=None, max_examples=60)
    @given(rows=presences, seed=st.integers(0, 2**31))
    def test_it_does_so_whatever_rows_are_present(self, kind, rows, seed):
        # Of one sign and without L2: where gradients cancel to nearly nothing Adam
        # divides rounding errors by each other, and no tolerance would be right.
        g = np.abs(gradients(seed)) + np.float32(0.1)
        table, state = by_rows(kind, 0.1, 0.0, rows, g)
        x, m, v, _ = loop_by_rows(kind, 0.1, 0.0, rows, g)
        np.testing.assert_allclose(table, x, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(state.moments[:, 0], m, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(state.moments[:, 1], v, rtol=1e-4, atol=1e-6)

    @both
    @pytest.mark.parametrize("width", [(), (2,), (2, 3)])
    def test_a_row_may_have_any_shape(self, kind, width):
        g, start = gradients(1, width), first_table(width)
        table, state = by_rows(kind, 0.1, 0.3, ROWS, g, start)
        assert state.moments.shape == (M, 2, *width)
        flat = by_rows(kind, 0.1, 0.3, ROWS, g.reshape(T, B, -1), start.reshape(M, -1))
        np.testing.assert_allclose(table.reshape(M, -1), flat[0], rtol=1e-6)
        assert np.abs(table - start).max() > 0.1

    @both
    def test_absent_rows_keep_every_bit(self, kind):
        g = gradients(2)
        table, state = by_rows(kind, 0.1, 0.3, ROWS, g)
        np.testing.assert_array_equal(table[NEVER], first_table()[NEVER])
        assert not state.moments[NEVER].any()
        assert state.mark[NEVER] == 0
        early, memory = by_rows(kind, 0.1, 0.3, ROWS[:6], g[:6])
        later, after = by_rows(kind, 0.1, 0.3, ROWS[:7], g[:7])
        for row in range(M):
            same = [
                np.array_equal(a[row], b[row])
                for a, b in ((early, later), *zip(memory, after, strict=True))
            ]
            assert all(same) == (row != 3), row  # step 7 has row 3 and padding alone
        updates, _ = adam(0.1, 0.3).update(  # the control: dense Adam moves it
            {"x": jnp.zeros((M, D))},
            adam(0.1, 0.3).init({"x": jnp.asarray(first_table())}),
            {"x": jnp.asarray(first_table())},
        )
        assert np.abs(updates["x"][NEVER]).min() > 0

    @both
    def test_examples_of_a_row_are_added_and_it_moves_once(self, kind):
        g = gradients(4)[:3]
        rows = np.array([[0, 1, 1, 1, 4, 4], [1, 4, 1, 4, 1, 4], [4] * 6], np.int32)
        alone = np.full_like(rows, M)
        added = np.zeros_like(g)
        for t in range(3):
            for place, row in enumerate(np.unique(rows[t])):
                alone[t, place] = row
                added[t, place] = g[t][rows[t] == row].sum(axis=0)
        several, _ = by_rows(kind, 0.1, 0.3, rows, g)
        once, _ = by_rows(kind, 0.1, 0.3, alone, added)
        np.testing.assert_allclose(several, once, rtol=1e-5, atol=1e-5)
        last_only, _ = by_rows(kind, 0.1, 0.3, alone, g)  # the control: one gradient
        assert np.abs(several - last_only).max() > 1e-2

    @both
    def test_the_order_of_a_batch_does_not_matter(self, kind):
        g, order = gradients(5), np.random.default_rng(0).permutation(B)
        table, _ = by_rows(kind, 0.1, 0.3, ROWS, g)
        shuffled, _ = by_rows(kind, 0.1, 0.3, ROWS[:, order], g[:, order])
        np.testing.assert_allclose(table, shuffled, rtol=1e-5, atol=1e-5)
        wrong, _ = by_rows(kind, 0.1, 0.3, ROWS[:, order], g)  # the control
        assert np.abs(table - wrong).max() > 1e-2

    @both
    @pytest.mark.parametrize("none", [M, M + 1, np.iinfo(np.int32).max])
    def test_a_row_beyond_the_table_is_left_out_whatever_its_gradient(self, kind, none):
        # The last row is present too: an index that was clipped would be its own.
        rows = np.array([[4, none, none], [none, 4, 0], [4, 4, none]], np.int32)
        g = gradients(6)[:3, :3]
        without = np.where((rows < M)[..., None], g, 0)
        table, state = by_rows(kind, 0.1, 0.3, rows, 1000 * g)
        wanted, memory = by_rows(kind, 0.1, 0.3, rows, 1000 * without)
        np.testing.assert_array_equal(table, wanted)
        np.testing.assert_array_equal(state.moments, memory.moments)
        clipped, _ = by_rows(kind, 0.1, 0.3, np.minimum(rows, M - 1), 1000 * g)
        assert np.abs(table - clipped).max() > 1e-2  # the control

    @both
    def test_several_seeds_are_each_alone(self, kind):
        row_wise = ROW_WISE[kind](0.1, 0.3)
        tables = jnp.stack([first_table(), first_table() + 1])
        g = jnp.asarray(gradients(7)[:2])
        rows = jnp.asarray(ROWS[:2])

        def one(table, row, gradient):
            state = row_wise.init(table)
            found = table.at[row].get(mode="clip")
            return row_wise.update(table, state, row, found, gradient, jnp.int32(1))[0]

        together = jax.vmap(one)(tables, rows, g)
        for n in range(2):
            alone = one(tables[n], rows[n], g[n])
            np.testing.assert_allclose(together[n], alone, rtol=1e-6)


class TestCatchUp:
    """Without L2 its moments are dense Adam's, and its table lacks only movements."""

    rate = 0.1

    def caught_up(self, state):
        """Moments as they are at step T: each row's own, decayed since its last."""
        away = (T - state.mark)[:, None]
        return (
            state.moments[:, 0] * BETA1**away,
            state.moments[:, 1] * BETA2**away,
        )

    @settings(deadline=None, max_examples=100)
    @given(rows=presences, seed=st.integers(0, 2**31))
    def test_its_moments_are_dense_adams(self, rows, seed):
        g = gradients(seed)
        _, state = by_rows("catch_up", self.rate, 0.0, rows, g)
        _, m, v, _ = dense(self.rate, rows, g)
        mu, nu = self.caught_up(state)
        np.testing.assert_allclose(mu, m, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(nu, v, rtol=1e-4, atol=1e-6)

    @settings(deadline=None, max_examples=100)
    @given(rows=presences, seed=st.integers(0, 2**31))
    def test_its_table_lacks_the_movements_of_absent_rows_and_nothing_else(
        self, rows, seed
    ):
        g = gradients(seed)
        table, _ = by_rows("catch_up", self.rate, 0.0, rows, g)
        x, _, _, movements = dense(self.rate, rows, g)
        skipped = (movements * ~present(rows)[..., None]).sum(axis=0)
        np.testing.assert_allclose(table + skipped, x, rtol=1e-3, atol=1e-3)

    def test_lazy_keeps_old_moments_and_what_is_skipped_is_felt(self):
        # The control of the two above: on these rows each is far from its tolerance.
        g = gradients(8)
        _, state = by_rows("lazy", self.rate, 0.0, ROWS, g)
        x, m, v, _ = dense(self.rate, ROWS, g)
        assert np.abs(state.moments[:, 0] - m).max() > 1e-3
        assert np.abs(state.moments[:, 1] - v).max() > 1e-5
        table, _ = by_rows("catch_up", self.rate, 0.0, ROWS, g)
        assert np.abs(table - x).max() > 1e-2

    def test_with_every_row_in_each_batch_all_three_are_one(self):
        rows = np.tile(np.array([0, 1, 2, 3, 4, 4], np.int32), (T, 1))
        g = gradients(9)
        x, m, v, _ = dense(self.rate, rows, g)
        for kind in ROW_WISE:
            table, state = by_rows(kind, self.rate, 0.0, rows, g)
            np.testing.assert_allclose(table, x, rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(state.moments[:, 0], m, rtol=1e-4, atol=1e-6)
            np.testing.assert_allclose(state.moments[:, 1], v, rtol=1e-4, atol=1e-6)
        rows[3, 0] = 1  # the control: row 0 is away once
        x, *_ = dense(self.rate, rows, g)
        for kind in ROW_WISE:
            assert np.abs(by_rows(kind, self.rate, 0.0, rows, g)[0] - x).max() > 1e-3


class TestMoveRows:
    def test_each_side_moves_its_own_rows_by_path_and_in_the_order_of_lookup(self):
        row_wise = ROW_WISE["lazy"](0.1, 0.0)
        # Not in alphabetical order: the order of the paths is that of `lookup`.
        users = {"z/table": jnp.ones((3, 2)), "a/bias": jnp.ones(3)}
        items = {"table": jnp.ones((4, 2))}
        states = tuple(
            {path: row_wise.init(x) for path, x in side.items()}
            for side in (users, items)
        )
        slopes = ((jnp.full((2, 2), 1.0), jnp.full(2, -1.0)), jnp.full((2, 2), 1.0))
        found = jax.tree.map(jnp.ones_like, slopes)
        (mine, theirs), memories = move_rows(
            row_wise,
            (users, items),
            states,
            (jnp.array([0, 2]), jnp.array([1, 9])),
            found,
            slopes,
            jnp.int32(1),
        )
        # The first step of Adam is the learning rate, against the gradient's sign.
        np.testing.assert_allclose(mine["z/table"][:, 0], [0.9, 1, 0.9], rtol=1e-5)
        np.testing.assert_allclose(mine["a/bias"], [1.1, 1, 1.1], rtol=1e-5)
        np.testing.assert_allclose(theirs["table"][:, 0], [1, 0.9, 1, 1], rtol=1e-5)
        assert [set(side) for side in memories] == [set(users), set(items)]

    def test_a_table_more_or_less_than_rows_is_an_error(self):
        row_wise = ROW_WISE["lazy"](0.1, 0.0)
        side = {"table": jnp.ones((3, 2))}
        state = {"table": row_wise.init(side["table"])}
        rows = (jnp.ones((1, 2)), jnp.ones((1, 2)))
        with pytest.raises(ValueError, match="zip"):
            move_rows(
                row_wise,
                (side,),
                (state,),
                (jnp.array([0]),),
                (rows,),
                (rows,),
                jnp.int32(1),
            )
