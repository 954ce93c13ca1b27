"""Weights that are normal distributions: how they start, are drawn, and are priced.

A weight is a mean and the logarithm of a standard deviation. In training it is drawn,
by reparametrisation, so that gradients reach both; its divergence from a prior, which
is learned for each column, is what it costs to know it.

Source: Blundell et al. 2015, https://arxiv.org/abs/1505.05424.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from ncf_jax.bits import normal
from ncf_jax.types import Array

NUDGE = 0.05  # standard deviation of factors' means at first; biases start at 0
START = 0.1  # a distribution's standard deviation at first
PRIOR = 0.3  # and its prior's
Row = tuple[jax.Array, ...]  # means [..., D + 1] and, unless points, log deviations


class Table(nn.Module):
    """Rows of users or of items, a distribution each, with a prior of each column.

    Attributes:
      number: U or I.
      width: D + 1, of a row; the last is its bias.
      sure: rows are points.
      nothing: means start at 0, and stay there of rows that nobody looks up.
    """

    number: int
    width: int
    sure: bool = False
    nothing: bool = False

    def setup(self) -> None:
        """Rows and their prior."""
        shape = self.number, self.width
        start = nn.initializers.zeros if self.nothing else nudged
        self.mean = self.param("mean", start, shape)
        if not self.sure:
            self.log_sd = self.param("log_sd", constant(START), shape)
            self.log_prior = self.param("log_prior", constant(PRIOR), shape[1:])

    def __call__(self, index: jax.Array) -> Row:
        """Rows of `index` [...]: means [..., D + 1] and, of distributions, log standard
        deviations likewise."""
        if self.sure:
            return (self.mean[index],)
        return self.mean[index], self.log_sd[index]

    def price(self, row: Row) -> jax.Array:
        """Divergence of rows from their prior: [...]; of points their squares."""
        if self.sure:
            return jnp.sum(jnp.square(row[0]), axis=-1)
        mean, log_sd = row
        return jnp.sum(divergence(mean, log_sd, along(self.log_prior, mean)), axis=-1)


class Tower(nn.Module):
    """A linear map from features to rows, whose weights are distributions.

    Attributes:
      width: D + 1, of a row.
      sure: weights are points.
    """

    width: int
    sure: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, drawn: bool = False) -> tuple[jax.Array, Any]:
        """[..., C] -> rows [..., width] by weights drawn once for all, or by their
        means; and the weights' divergence from their prior []."""
        shape = x.shape[-1], self.width
        mean = self.param("mean", nudged, shape)
        if self.sure:
            return x @ mean, 0.0
        log_sd = self.param("log_sd", constant(START), shape)
        prior = self.param("log_prior", constant(PRIOR), shape[1:])
        weight = draw(self.make_rng("dropout"), mean, log_sd) if drawn else mean
        return x @ weight, jnp.sum(divergence(mean, log_sd, along(prior, mean)))


def nudged(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Means of rows at first: small factors, and biases of 0."""
    return NUDGE * jax.random.normal(key, shape).at[..., -1].set(0.0)


def constant(value: float) -> nn.initializers.Initializer:
    """The logarithm of `value` everywhere."""
    return nn.initializers.constant(jnp.log(value))


def along(vector: Array, like: jax.Array) -> jax.Array:
    """A vector [D] at each place of `like` [..., 1] or [..., D]: [..., D]."""
    return jnp.broadcast_to(vector, (*like.shape[:-1], len(vector)))


def draw(key: jax.Array, mean: jax.Array, log_sd: jax.Array) -> jax.Array:
    """One number for each distribution: [...]."""
    return mean + jnp.exp(log_sd) * normal(key, mean.shape)


def divergence(mean: jax.Array, log_sd: jax.Array, log_prior: jax.Array) -> jax.Array:
    """Kullback-Leibler divergence of N(mean, sd²) from N(0, prior²), each element.

    Example:
      >>> zero = jnp.zeros(1)
      >>> divergence(zero, zero, zero).tolist()
      [0.0]
      >>> divergence(zero + 2, zero, zero).tolist()
      [2.0]
    """
    ratio = jnp.exp(2 * (log_sd - log_prior)) + jnp.square(mean) * jnp.exp(
        -2 * log_prior
    )
    return 0.5 * (ratio - 1) + log_prior - log_sd
