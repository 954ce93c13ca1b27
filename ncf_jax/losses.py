"""Losses: (prediction [B], target [B]) -> [B], on ratings divided by five.

A loss is one such function; `LOSSES` holds those the command line knows.
"""

from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp
import optax

Loss = Callable[[jax.Array, jax.Array], jax.Array]


def mse(prediction: jax.Array, target: jax.Array) -> jax.Array:
    """Squared error of each example.

    Raises:
      AssertionError: the shapes differ, where NumPy would broadcast silently.

    Example:
      >>> mse(jnp.array([0.5, 1.0]), jnp.array([0.25, 1.0])).tolist()
      [0.0625, 0.0]
    """
    chex.assert_equal_shape([prediction, target])
    return jnp.square(prediction - target)


def mae(prediction: jax.Array, target: jax.Array) -> jax.Array:
    """Absolute error of each example; shapes as in `mse`."""
    chex.assert_equal_shape([prediction, target])
    return jnp.abs(prediction - target)


def huber(prediction: jax.Array, target: jax.Array) -> jax.Array:
    """Huber loss of each example, linear beyond a star (0.2 of the scale)."""
    chex.assert_equal_shape([prediction, target])
    return optax.huber_loss(prediction, target, delta=0.2)


def per_example(loss: Loss, prediction: jax.Array, target: jax.Array) -> jax.Array:
    """Applies a loss and sees to it that it gives one value for each example.

    Raises:
      ValueError: it gave another shape, so a mean over rows would mean nothing.
    """
    value = loss(prediction, target)
    if value.shape != target.shape:
        raise ValueError(
            f"The loss gave shape {value.shape}; wanted one value for each example, "
            f"{target.shape}. Leave the mean to the learner."
        )
    return value


LOSSES: dict[str, Loss] = {"mse": mse, "mae": mae, "huber": huber}
