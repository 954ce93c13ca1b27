"""Optimizers equal their published formulas, step by step, written out in NumPy."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ncf_jax.optim import OPTIMIZERS, adam, adamw

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
