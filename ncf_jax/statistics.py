"""What training ratings say of a user and an item together: the *context* of a row.

A model's tables learn from gradients; much that is known of a pair can instead be
counted. A context is F numbers; the logarithms of one plus the user's and the item's
number of ratings come first, whatever the parts. Each part below is one or more numbers
a (user, item), from the training rows alone, in this order:

  means    the user's and the item's bias, by alternating least squares: stars
  content  the user's mean residual over items like this one, in thirds of a star: by
           genre, by decade where years are known, by tags
  time     the user's mean residual around the time of the rating, in half stars, and
           how much of it there is, in logarithms: within a minute, ten minutes, a day

A residual is what the two biases leave of a rating, in stars; every mean of them is
pulled towards zero. This module is what the device reads; `counting` makes it.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from ncf_jax.types import Array

PARTS = ("means", "content")
CONTENT_PULL = 2.0  # content's worth of pull of a mean residual towards zero
SECONDS = (60.0, 600.0, 86_400.0)
TIME_SCALE = 0.3  # of the logarithms of weights, to about -1..1
FAINT = 0.1  # a rating's weight that is added to all near ones', so that none has a log
NOWHERE = TIME_SCALE * float(np.log(FAINT))
DECADES = np.arange(1900, 2040, 10)


@struct.dataclass
class Statistics:
    """Counts of some training rows, from which any pair's context follows.

    Attributes:
      user_count: [U] ratings.
      item_count: [I] ratings.
      user_bias: [U] stars.
      item_bias: [I] stars.
      content: [I, C] genre shares, decade and tags of each item; [I, 0] without.
      user_content: [U, C] sums of residuals times content over the user's rows: stars.
      user_weight: [U, C] sums of the content's absolute values.
      mean: [] of all rows, stars.
      fewest: [2] ratings of any user and of any item that has some; a context never
        says fewer, since nothing was trained on what fewer would mean.
      blocks: where genres, decades and tags begin and end among the C.
      parts: which of `PARTS` a context has.
      time: whether it has the six numbers of time, too.
    """

    user_count: Array
    item_count: Array
    user_bias: Array
    item_bias: Array
    content: Array
    user_content: Array
    user_weight: Array
    mean: Array
    fewest: Array
    blocks: tuple[tuple[int, int], ...] = struct.field(pytree_node=False)
    parts: tuple[str, ...] = struct.field(pytree_node=False)
    time: bool = struct.field(pytree_node=False)

    @property
    def width(self) -> int:
        """F, the numbers of a context."""
        timed = 2 * len(SECONDS) * self.time
        return 2 + 2 * ("means" in self.parts) + len(self.blocks) + timed

    def of_pairs(self, user: jax.Array, item: jax.Array) -> jax.Array:
        """Contexts [..., F] of pairs that broadcast, at no known time."""
        found = columns(jnp, jax.tree.map(jnp.asarray, self), user, item)
        if not self.time:
            return found
        nothing = jnp.array([0.0, NOWHERE] * len(SECONDS))
        nothing = jnp.broadcast_to(nothing, (*found.shape[:-1], len(nothing)))
        return jnp.concatenate([found, nothing], axis=-1)

    def of_users(self, user: jax.Array) -> jax.Array:
        """Contexts [B, I, F] of every item for each user [B], at no known time.

        Memory: 4 B I F bytes.
        """
        return _of_users(self, user)


def columns(xp: Any, statistics: Statistics, user: Any, item: Any) -> Any:
    """Contexts [..., F] but for time; `xp` is numpy on the host and jax.numpy beyond.

    Args:
      xp: whose arrays are given and returned.
      statistics: the counts.
      user: [...] index.
      item: [...] index, of a shape that broadcasts with it.
    """
    s, shape = statistics, xp.broadcast_shapes(user.shape, item.shape)
    found = [
        xp.log1p(xp.maximum(s.user_count, s.fewest[0]))[user],
        xp.log1p(xp.maximum(s.item_count, s.fewest[1]))[item],
    ]
    if "means" in s.parts:
        found += [s.user_bias[user], s.item_bias[item]]
    for begin, end in s.blocks:
        content = s.content[item, begin:end]
        top = (s.user_content[user, begin:end] * content).sum(axis=-1)
        seen = (s.user_weight[user, begin:end] * xp.abs(content)).sum(axis=-1)
        found.append(3.0 * top / (seen + CONTENT_PULL))
    spread = [xp.broadcast_to(x, shape).astype(xp.float32) for x in found]
    return xp.stack(spread, axis=-1)


@jax.jit
def _of_users(statistics: Statistics, user: jax.Array) -> jax.Array:
    items = jnp.arange(statistics.item_bias.shape[0])
    return jax.lax.map(lambda one: statistics.of_pairs(one[None], items), user)
