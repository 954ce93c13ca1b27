"""Normal weights: the divergence is its integral, draws have the distribution's
moments, and a table and a tower are lookups and products that a loop repeats."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from ncf_jax.gaussian import Table, Tower, along, constant, divergence, draw, nudged

NUMBER, WIDTH, SEEN, B = 6, 4, 5, 3
MANY = 20_000
INDEX = jnp.array([[4, 0, 4], [5, 1, 2]])


def moved(params):
    """Parameters that are nowhere nothing and in no two places the same."""
    return {
        name: value
        + 0.5 * np.random.default_rng(n).normal(size=value.shape).astype(np.float32)
        for n, (name, value) in enumerate(sorted(params.items()))
    }


@functools.cache
def table(sure=False):
    """A table, its parameters at first, and moved."""
    model = Table(NUMBER, WIDTH, sure)
    params = jax.jit(model.init)(jax.random.key(0), INDEX)["params"]
    return model, params, moved(params)


@functools.cache
def tower(sure=False):
    """A tower, its parameters at first, and moved."""
    model = Tower(WIDTH, sure)
    params = jax.jit(model.init)(jax.random.key(0), seen())["params"]
    return model, params, moved(params)


def seen(rows=B):
    return jnp.array(np.random.default_rng(1).normal(size=(rows, SEEN)), jnp.float32)


@functools.partial(jax.jit, static_argnums=0, static_argnames=("method", "drawn"))
def run(model, params, *arguments, key=None, **how):
    rngs = None if key is None else {"dropout": key}
    return model.apply({"params": params}, *arguments, rngs=rngs, **how)


def far(mean, log_sd, log_prior):
    """The divergence in closed form, float64."""
    mean, log_sd, log_prior = (np.float64(x) for x in (mean, log_sd, log_prior))
    ratio = (np.exp(2 * log_sd) + mean**2) / np.exp(2 * log_prior)
    return (ratio - 1) / 2 - (log_sd - log_prior)


class TestDivergence:
    @settings(max_examples=60, deadline=None)
    @given(st.floats(-2, 2), st.floats(-2, 1), st.floats(-2, 1))
    def test_it_is_the_integral_that_defines_it(self, mean, log_sd, log_prior):
        one, prior = (
            stats.norm(mean, np.exp(log_sd)),
            stats.norm(0, np.exp(log_prior)),
        )

        def slope(x):
            return one.pdf(x) * (one.logpdf(x) - prior.logpdf(x))

        ends = one.ppf(1e-13), one.ppf(1 - 1e-13)
        wanted = integrate.quad(slope, *ends, epsabs=1e-9)[0]
        arguments = tuple(np.float32(x) for x in (mean, log_sd, log_prior))
        np.testing.assert_allclose(divergence(*arguments), wanted, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(far(*arguments), wanted, rtol=1e-4, atol=1e-5)

    def test_it_is_nothing_from_itself_and_more_from_all_else(self):
        around = jnp.linspace(-1, 1, 21)
        zero = jnp.zeros(21)
        for found in (
            divergence(around, zero, zero),
            divergence(zero, around, zero),
            divergence(zero, zero, around),
        ):
            assert abs(found[10]) < 1e-7
            assert (found[:10] > 1e-4).all()
            assert (found[11:] > 1e-4).all()

    def test_its_direction_is_from_the_prior(self):
        # Of a narrow one from a wide prior; the other way it is far more.
        narrow, wide = np.float32(-2.0), np.float32(0.0)
        found = divergence(np.float32(0.0), narrow, wide)
        np.testing.assert_allclose(found, (np.exp(-4) - 1) / 2 + 2, rtol=1e-6)
        assert divergence(np.float32(0.0), wide, narrow) > 10 * found  # the control


class TestDraw:
    MEAN = jnp.linspace(-1, 1, WIDTH)
    LOG_SD = jnp.linspace(-2, 0, WIDTH)

    def noise(self, key=0):
        mean, log_sd = (
            jnp.broadcast_to(x, (MANY, WIDTH)) for x in (self.MEAN, self.LOG_SD)
        )
        found = jax.jit(draw)(jax.random.key(key), mean, log_sd)
        return np.asarray((found - self.MEAN[None]) / jnp.exp(self.LOG_SD)[None])

    def test_draws_are_of_the_normal_distribution_each_its_own(self):
        noise = self.noise()
        assert len(np.unique(noise)) > 0.9 * noise.size
        assert np.abs(noise.mean(axis=0)).max() < 5 / np.sqrt(MANY)
        assert np.abs(noise.std(axis=0) - 1).max() < 5 / np.sqrt(2 * MANY)
        for column in noise.T:
            assert stats.kstest(column, "norm").pvalue > 1e-3
            assert stats.kstest(1.1 * column, "norm").pvalue < 1e-3  # the control
        between = np.corrcoef(noise.T) - np.eye(WIDTH)
        assert np.abs(between).max() < 5 / np.sqrt(MANY)

    def test_the_key_decides_them(self):
        np.testing.assert_array_equal(self.noise(), self.noise())
        assert (self.noise() != self.noise(1)).mean() > 0.99

    def test_gradients_reach_mean_and_deviation(self):
        key = jax.random.key(2)
        by_mean, by_log_sd = jax.jacobian(draw, (1, 2))(key, self.MEAN, self.LOG_SD)
        np.testing.assert_allclose(by_mean, np.eye(WIDTH))
        apart = draw(key, self.MEAN, self.LOG_SD) - self.MEAN
        np.testing.assert_allclose(by_log_sd, np.diag(apart), rtol=1e-5, atol=1e-7)
        assert np.abs(apart).min() > 1e-3  # the control: there is something to reach


class TestStart:
    def test_means_are_small_normals_and_biases_nothing(self):
        found = np.asarray(nudged(jax.random.key(0), (5_000, WIDTH)))
        assert not found[:, -1].any()
        factors = found[:, :-1].ravel()
        assert stats.kstest(factors / 0.05, "norm").pvalue > 1e-3
        assert stats.kstest(factors / 0.06, "norm").pvalue < 1e-3  # the control
        other = nudged(jax.random.key(1), (5_000, WIDTH))
        assert (other[:, :-1] != found[:, :-1]).mean() > 0.99

    @pytest.mark.parametrize("value", [0.1, 3.0])
    def test_a_constant_is_a_value_s_logarithm(self, value):
        found = constant(value)(jax.random.key(0), (2, 3), jnp.float32)
        assert found.shape == (2, 3)
        np.testing.assert_allclose(np.exp(found), value, rtol=1e-6)

    @pytest.mark.parametrize("make", [table, tower])
    def test_distributions_start_narrower_than_their_priors(self, make):
        _, params, _ = make()
        rows = NUMBER if make is table else SEEN
        shapes = {"mean": (rows, WIDTH), "log_sd": (rows, WIDTH), "log_prior": (WIDTH,)}
        assert jax.tree.map(jnp.shape, params) == shapes
        np.testing.assert_allclose(np.exp(params["log_sd"]), 0.1, rtol=1e-6)
        np.testing.assert_allclose(np.exp(params["log_prior"]), 0.3, rtol=1e-6)
        assert not params["mean"][:, -1].any()
        assert 0 < np.abs(params["mean"]).max() < 0.25

    @pytest.mark.parametrize("make", [table, tower])
    def test_points_have_means_alone(self, make):
        rows = NUMBER if make is table else SEEN
        shapes = jax.tree.map(jnp.shape, make(sure=True)[1])
        assert shapes == {"mean": (rows, WIDTH)}


class TestAlong:
    @pytest.mark.parametrize("last", [1, WIDTH])
    def test_the_vector_is_at_each_place(self, last):
        vector = jnp.arange(WIDTH, dtype=jnp.float32)
        found = along(vector, jnp.zeros((2, 3, last)))
        assert found.shape == (2, 3, WIDTH)
        for place in found.reshape(-1, WIDTH):
            np.testing.assert_array_equal(place, vector)

    def test_of_no_places_there_is_the_vector(self):
        np.testing.assert_array_equal(along(jnp.arange(3.0), jnp.zeros(1)), [0, 1, 2])


class TestTable:
    def test_rows_are_those_of_the_index(self):
        model, _, params = table()
        mean, log_sd = run(model, params, INDEX)
        for place in np.ndindex(INDEX.shape):
            row = int(INDEX[place])
            np.testing.assert_array_equal(mean[place], params["mean"][row])
            np.testing.assert_array_equal(log_sd[place], params["log_sd"][row])
        assert (mean[0, 0] != mean[0, 1]).all()  # the control
        assert (mean != log_sd).all()

    def test_points_are_their_means_alone(self):
        model, _, params = table(sure=True)
        (mean,) = run(model, params, INDEX)
        np.testing.assert_array_equal(mean, params["mean"][np.asarray(INDEX)])

    def test_means_may_start_at_nothing_and_deviations_do_not(self):
        model = Table(NUMBER, WIDTH, nothing=True)
        params = model.init(jax.random.key(0), INDEX)["params"]
        assert not params["mean"].any()
        np.testing.assert_allclose(np.exp(params["log_sd"]), 0.1, rtol=1e-6)
        assert table()[1]["mean"].any()  # the control

    def test_a_row_costs_its_divergence_from_its_columns_priors(self):
        model, _, params = table()
        found = run(model, params, run(model, params, INDEX), method="price")
        assert found.shape == INDEX.shape
        for place in np.ndindex(INDEX.shape):
            row, total = int(INDEX[place]), 0.0
            for column in range(WIDTH):
                weight = params["mean"][row, column], params["log_sd"][row, column]
                total += far(*weight, params["log_prior"][column])
            np.testing.assert_allclose(found[place], total, rtol=1e-5)
        other = params | {"log_prior": params["log_prior"][::-1]}  # the control
        swapped = run(model, other, run(model, other, INDEX), method="price")
        assert np.abs(swapped - found).min() > 1e-2

    def test_a_point_costs_its_squares(self):
        model, _, params = table(sure=True)
        found = run(model, params, run(model, params, INDEX), method="price")
        wanted = (np.float64(params["mean"]) ** 2).sum(axis=1)[np.asarray(INDEX)]
        np.testing.assert_allclose(found, wanted, rtol=1e-5)
        assert np.ptp(wanted) > 0.1  # the control


class TestTower:
    @pytest.mark.parametrize("sure", [False, True])
    def test_it_is_a_product_with_the_means(self, sure):
        model, _, params = tower(sure)
        found, _ = run(model, params, seen())
        wanted = np.float64(seen()) @ np.float64(params["mean"])
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)
        assert np.abs(found - wanted[::-1]).max() > 1e-2  # the control
        assert np.abs(found[:, -1]).min() > 1e-3, "the bias is a column like others"

    def test_leading_axes_are_free(self):
        model, _, params = tower()
        flat, far_once = run(model, params, seen(6))
        found, again = run(model, params, seen(6).reshape(2, 3, SEEN))
        np.testing.assert_allclose(found.reshape(6, WIDTH), flat, rtol=1e-6, atol=1e-6)
        assert far_once == again
        assert again.shape == ()

    def test_its_weights_cost_their_divergence_once_whatever_the_batch(self):
        model, _, params = tower()
        total = 0.0
        for row, column in np.ndindex(SEEN, WIDTH):
            weight = params["mean"][row, column], params["log_sd"][row, column]
            total += far(*weight, params["log_prior"][column])
        for key, rows in ((None, B), (None, 6), (jax.random.key(0), B)):
            drawn = key is not None  # what is drawn costs what its distribution does
            found = run(model, params, seen(rows), drawn=drawn, key=key)[1]
            np.testing.assert_allclose(found, total, rtol=1e-5)
        other = params | {"log_prior": params["log_prior"][::-1]}  # the control
        assert abs(run(model, other, seen())[1] - total) > 1e-2

    def test_points_cost_nothing_and_are_not_drawn(self):
        model, _, params = tower(sure=True)
        still, cost = run(model, params, seen())
        assert cost == 0.0
        for number in range(2):
            key = jax.random.key(number)
            found, cost = run(model, params, seen(), drawn=True, key=key)
            np.testing.assert_array_equal(found, still)
            assert cost == 0.0

    def test_weights_are_drawn_once_for_all_rows(self):
        model, _, params = tower()
        same = jnp.broadcast_to(seen(1), (B, SEEN))
        one, other = (
            run(model, params, same, drawn=True, key=jax.random.key(n))[0]
            for n in range(2)
        )
        for found in (one, other):
            np.testing.assert_allclose(found, found[:1].repeat(B, axis=0), rtol=1e-6)
        assert (one != other).all()  # the control: they are drawn

    def test_drawn_weights_have_their_own_means_and_deviations(self):
        model, _, params = tower()
        unit = jnp.eye(SEEN)  # a row for each weight
        keys = jax.random.split(jax.random.key(3), 4_000)

        @jax.jit
        @jax.vmap
        def weights(key):
            rngs = {"dropout": key}
            return model.apply({"params": params}, unit, drawn=True, rngs=rngs)[0]

        noise = (weights(keys) - params["mean"][None]) / np.exp(params["log_sd"])[None]
        assert np.abs(noise.mean(axis=0)).max() < 5 / np.sqrt(4_000)
        assert np.abs(noise.std(axis=0) - 1).max() < 5 / np.sqrt(8_000)
        between = np.corrcoef(noise.reshape(4_000, -1).T) - np.eye(SEEN * WIDTH)
        assert np.abs(between).max() < 5 / np.sqrt(4_000)
