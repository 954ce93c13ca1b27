"""Rating metrics, from sums that are divided once: RMSE, MAE, R².

`sums` reduces the last axis under a mask. Sums of users, blocks or devices add up;
only the total is divided, so no figure is a mean of means.

Example:
  >>> prediction, truth = jnp.array([4.0, 2.0, 9.0]), jnp.array([3.0, 2.0, 0.0])
  >>> float(mae(prediction, truth, where=jnp.array([True, True, False])))
  0.5
  >>> float(mae(prediction, truth))  # the mask matters
  3.3333332538604736
"""

from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np


class RatingSums(NamedTuple):
    """Sums over rated rows, each [...].

    Attributes:
      rows: how many.
      squared: of squared errors.
      absolute: of absolute errors.
      rating: of true ratings.
      rating_squared: of squared true ratings.
    """

    rows: Any
    squared: Any
    absolute: Any
    rating: Any
    rating_squared: Any


def sums(
    prediction: jax.Array, rating: jax.Array, *, where: jax.Array | None = None
) -> RatingSums:
    """Sums over the last axis.

    Args:
      prediction: [..., N] stars.
      rating: [..., N] stars, of the very same shape.
      where: [..., N] bool, the rows that count; None: all.

    Raises:
      AssertionError: the shapes differ, where NumPy would broadcast silently.
    """
    if where is None:
        where = jnp.ones(prediction.shape, bool)
    chex.assert_equal_shape([prediction, rating, where])
    error = jnp.where(where, prediction - rating, 0.0)
    rating = jnp.where(where, rating, 0.0)
    return RatingSums(
        rows=jnp.sum(where, axis=-1),
        squared=jnp.sum(error**2, axis=-1),
        absolute=jnp.sum(jnp.abs(error), axis=-1),
        rating=jnp.sum(rating, axis=-1),
        rating_squared=jnp.sum(rating**2, axis=-1),
    )


def rmse_of(s: RatingSums) -> Any:
    """Root mean squared error, stars; NaN without rows."""
    return (s.squared / s.rows) ** 0.5


def mae_of(s: RatingSums) -> Any:
    """Mean absolute error, stars; NaN without rows."""
    return s.absolute / s.rows


def r2_of(s: RatingSums) -> Any:
    """1 - squared error / squared deviation from the mean of these very ratings.

    NaN where the ratings do not vary, as those of a single row: there is nothing to
    explain. The deviation is a difference of sums, so what rounding leaves is nothing.
    """
    xp = jnp if isinstance(s.rating, jax.Array) else np
    deviation = s.rating_squared - s.rating**2 / s.rows
    rounding = 8 * xp.finfo(deviation.dtype).eps * s.rating_squared
    return 1 - s.squared / xp.where(deviation > rounding, deviation, xp.nan)


def rmse(
    prediction: jax.Array, rating: jax.Array, *, where: jax.Array | None = None
) -> jax.Array:
    """Root mean squared error over the last axis [...], stars; see `sums`."""
    return rmse_of(sums(prediction, rating, where=where))


def mae(
    prediction: jax.Array, rating: jax.Array, *, where: jax.Array | None = None
) -> jax.Array:
    """Mean absolute error over the last axis [...], stars; see `sums`."""
    return mae_of(sums(prediction, rating, where=where))


def r2(
    prediction: jax.Array, rating: jax.Array, *, where: jax.Array | None = None
) -> jax.Array:
    """Coefficient of determination over the last axis [...]; see `sums`."""
    return r2_of(sums(prediction, rating, where=where))
