"""What training ratings say of a user and an item together: the *context* of a row.

A model's tables learn from gradients; much that is known of a pair can instead be
counted. A context is F numbers; the logarithms of one plus the user's and the item's
number of ratings come first, whatever the parts. Each part below is one or more numbers
a (user, item), from the training rows alone, in this order:

  means        the user's and the item's bias, by alternating least squares: stars
  content      the user's mean residual over items like this one, in thirds of a star:
               by genre, by decade where years are known, by tags
  neighbours   the user's mean residual over the items that are rated like this one, in
               half stars
  time         the user's mean residual around the time of the rating, in half stars,
               and how much of it there is, in logarithms: within a minute, ten minutes,
               a day

A residual is what the two biases leave of a rating, in stars; every mean of them is
pulled towards zero. This module is what the device reads; `counting` makes it.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from ncf_jax.types import Array

PARTS = ("means", "content", "neighbours")
CONTENT_PULL = 2.0  # content's worth of pull of a mean residual towards zero
NEIGHBOUR_PULL = 0.05  # similarities' worth
SECONDS = (60.0, 600.0, 86_400.0)
TIME_SCALE = 0.3  # of the logarithms of weights, to about -1..1
FAINT = 0.1  # a rating's weight that is added to all near ones', so that none has a log
NOWHERE = TIME_SCALE * float(np.log(FAINT))
DECADES = np.arange(1900, 2040, 10)


@struct.dataclass
class Statistics:
    """Counts of some training rows, from which any pair's context follows.

    Rows are kept by user: those of user u are `count[u]` from `start[u]` on.

    Attributes:
      item_bias: [I] stars.
      item_count: [I] ratings.
      similarity: [I, I] signed squares of shrunk correlations; [0, 0] without
        `neighbours`.
      content: [I, C] genre shares, decade and tags of each item; [I, 0] without.
      start: [U] int32.
      count: [U] int32 ratings.
      item: [n] int32 item index of each row.
      residual: [n] stars.
      user_bias: [U] stars.
      user_content: [U, C] sums of residuals times content over the user's rows: stars.
      user_weight: [U, C] sums of the content's absolute values.
      mean: [] of all rows, stars.
      longest: rows of the user who has most, rounded up.
      blocks: where genres, decades and tags begin and end among the C.
      parts: which of `PARTS` a context has.
      time: whether it has the six numbers of time, too.
    """

    item_bias: Array
    item_count: Array
    similarity: Array
    content: Array
    start: Array
    count: Array
    item: Array
    residual: Array
    user_bias: Array
    user_content: Array
    user_weight: Array
    mean: Array
    longest: int = struct.field(pytree_node=False)
    blocks: tuple[tuple[int, int], ...] = struct.field(pytree_node=False)
    parts: tuple[str, ...] = struct.field(pytree_node=False)
    time: bool = struct.field(pytree_node=False)

    @property
    def width(self) -> int:
        """F, the numbers of a context."""
        means, near = "means" in self.parts, "neighbours" in self.parts
        timed = 2 * len(SECONDS) * self.time
        return 2 + 2 * means + len(self.blocks) + near + timed

    def of_users(self, user: jax.Array) -> jax.Array:
        """Contexts [B, I, F] of every item for each user [B], at no known time.

        Memory: 4 B I (F + 4) bytes, and with `neighbours` 4 I² more.
        """
        return _of_users(self, user)


def columns(
    xp: Any, statistics: Statistics, user: Any, item: Any, near: Any, weight: Any
) -> Any:
    """Contexts [..., F] but for time; `xp` is numpy on the host and jax.numpy beyond.

    Args:
      xp: whose arrays are given and returned.
      statistics: the counts.
      user: [...] index.
      item: [...] index, of a shape that broadcasts with it.
      near: [...] sums of residuals times similarity: stars.
      weight: [...] sums of absolute similarities.
    """
    s, shape = statistics, near.shape
    found = [xp.log1p(s.count)[user], xp.log1p(s.item_count)[item]]
    if "means" in s.parts:
        found += [s.user_bias[user], s.item_bias[item]]
    for begin, end in s.blocks:
        content = s.content[item, begin:end]
        top = (s.user_content[user, begin:end] * content).sum(axis=-1)
        seen = (s.user_weight[user, begin:end] * xp.abs(content)).sum(axis=-1)
        found.append(3.0 * top / (seen + CONTENT_PULL))
    if "neighbours" in s.parts:
        found.append(2.0 * near / (weight + NEIGHBOUR_PULL))
    spread = [xp.broadcast_to(x, shape).astype(xp.float32) for x in found]
    return xp.stack(spread, axis=-1)


@jax.jit
def _of_users(statistics: Statistics, user: jax.Array) -> jax.Array:
    s = jax.tree.map(jnp.asarray, statistics)
    items = s.item_bias.shape[0]
    near = weight = jnp.zeros((len(user), items))
    if "neighbours" in s.parts and len(s.item):

        def history(user: jax.Array) -> tuple[jax.Array, jax.Array]:
            place = jnp.arange(s.longest)
            row = jnp.minimum(s.start[user] + place, s.item.shape[0] - 1)
            item = jnp.where(place < s.count[user], s.item[row], items)
            none = jnp.zeros(items)
            seen = none.at[item].add(1.0, mode="drop")
            return none.at[item].add(s.residual[row], mode="drop"), seen

        value, seen = jax.vmap(history)(user)
        near, weight = value @ s.similarity, seen @ jnp.abs(s.similarity)
    if s.blocks:
        found = jax.lax.map(
            lambda one: columns(jnp, s, one[0][None], jnp.arange(items), *one[1:]),
            (user, near, weight),
        )
    else:
        found = columns(jnp, s, user[:, None], jnp.arange(items)[None], near, weight)
    if not s.time:
        return found
    nothing = jnp.array([0.0, NOWHERE] * len(SECONDS))
    nothing = jnp.broadcast_to(nothing, (*found.shape[:2], len(nothing)))
    return jnp.concatenate([found, nothing], axis=-1)
