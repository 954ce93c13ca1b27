"""Losses: (prediction [B], target [B]) -> [B], on ratings divided by five.

A loss is one such function; `LOSSES` holds those the command line knows.
"""

from collections.abc import Callable, Sequence

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax

from ncf_jax.errors import NonFiniteLossError
from ncf_jax.types import RATING_MAX

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


def pairwise(prediction: jax.Array, other: jax.Array) -> jax.Array:
    """How little each user's item is above another item, not rated: in squared stars.

    -log sigmoid of the difference in stars, on the scale of `mse`.

    Source: Rendle et al. 2009, https://arxiv.org/abs/1205.2618 (BPR).

    Example:
      >>> pairwise(jnp.array([0.8]), jnp.array([0.8])).round(4).tolist()
      [0.0277]
    """
    chex.assert_equal_shape([prediction, other])
    return jax.nn.softplus(RATING_MAX * (other - prediction)) / RATING_MAX**2


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


def refuse_non_finite(
    loss_RxS: np.ndarray, epoch: int, seeds: Sequence[int], kind: str = "training"
) -> None:
    """Raises NonFiniteLossError where a loss [R, S] by seed and step is not finite."""
    bad_RxS = ~np.isfinite(loss_RxS)
    if bad_RxS.any():
        step = int(np.flatnonzero(bad_RxS.any(axis=0))[0])
        seed = int(np.flatnonzero(bad_RxS[:, step])[0])
        value = loss_RxS[seed, step]
        where = f"at step {step + 1} of" if kind == "training" else "after"
        raise NonFiniteLossError(
            f"The {kind} loss of seed {seeds[seed]} became {value} {where} "
            f"epoch {epoch}, of which no checkpoint is made. Try a smaller "
            f"--learning_rate, in a new --workdir."
        )


LOSSES: dict[str, Loss] = {"mse": mse, "mae": mae, "huber": huber}
