"""Rows -> arrays of one static shape: padded and masked, never dropped."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ncf_jax import bits
from ncf_jax.errors import ConfigError
from ncf_jax.types import Batch, Interactions, ItemFeatures


def num_batches(num_rows: int, batch_size: int) -> int:
    """Batches that hold `num_rows`, the short last one included.

    Example:
      >>> num_batches(56_505, 512)
      111
    """
    return -(-num_rows // batch_size)


def epoch_batches(
    key: jax.Array | None, num_rows: int, batch_size: int
) -> tuple[jax.Array, jax.Array]:
    """Row positions of every batch of one epoch.

    Args:
      key: of the shuffle; None keeps the order.
      num_rows: N.
      batch_size: B.

    Returns:
      index: [S, B] int32; each row once, then zeros as padding.
      weight: [S, B] float32; 1 for a row, 0 for padding.

    Example:
      >>> index, weight = epoch_batches(None, 3, 2)
      >>> index.tolist(), weight.tolist()
      ([[0, 1], [2, 0]], [[1.0, 1.0], [1.0, 0.0]])
    """
    steps = num_batches(num_rows, batch_size)
    if key is None:
        order = jnp.arange(num_rows, dtype=jnp.int32)
    else:
        order = bits.permutation(key, num_rows)
    padded = jnp.zeros(steps * batch_size, jnp.int32).at[:num_rows].set(order)
    weight = (jnp.arange(steps * batch_size) < num_rows).astype(jnp.float32)
    shape = (steps, batch_size)
    return padded.reshape(shape), weight.reshape(shape)


def take(data: Interactions, index: jax.Array, weight: jax.Array) -> Batch:
    """The examples at `index` [...], with the features of their items."""
    data = jax.tree.map(jnp.asarray, data)
    return batch_of(
        data.features,
        data.user[index],
        data.item[index],
        data.rating[index],
        weight,
        None if data.context is None else data.context[index],
    )


def batch_of(
    features: ItemFeatures,
    user: jax.Array,
    item: jax.Array,
    rating: jax.Array,
    weight: jax.Array,
    context: jax.Array | None = None,
) -> Batch:
    """Examples [...] with the features of their items; see `Batch`."""
    return Batch(
        user=user,
        item=item,
        features=jax.tree.map(jnp.asarray, features).rows(item, user),
        rating=rating,
        weight=weight,
        context=context,
    )


def against(features: ItemFeatures, batch: Batch, key: jax.Array) -> Batch:
    """The batch with its users' `other`s: an item at random each.

    Few are items that the user has rated; those are not looked for. Where histories
    tell, items without a training row have no weight: that nobody has rated them yet
    would else be learned as that they are bad.
    """
    items = features.genres.shape[0]
    item = (bits.words(key, batch.item.shape) % items).astype(batch.item.dtype)
    known = jax.tree.map(jnp.asarray, features)
    features = known.alone().rows(item, batch.user)
    weight = batch.weight
    if features.history is not None:
        weight = weight * (features.history.item_count > 0)
        features = dataclasses.replace(features, history=features.history.joined())
    context = None
    if batch.context is not None and known.statistics is None:
        raise ConfigError(
            "A ranking loss counts contexts of pairs at random: train on "
            "dataset.interactions(rows, statistics=True)."
        )
    if known.statistics is not None:
        context = known.statistics.of_pairs(batch.user, item)
    known_as = {"features": features, "context": context, "weight": weight}
    other = dataclasses.replace(batch, item=item, **known_as)
    return dataclasses.replace(batch, other=other)


class UserLists(NamedTuple):
    """Rows by user, padded to the longest list.

    Attributes:
      position: [U, L] place among the rows; 0 where padded.
      where: [U, L] whether it is a row.
    """

    position: np.ndarray
    where: np.ndarray


def group_by_user(user: np.ndarray, num_users: int, *, at_least: int = 1) -> UserLists:
    """Each user's rows, in order; users without any have an empty list.

    L is the longest list, or `at_least`, rounded up to a multiple of 64, so that
    similar parts share a compilation.

    Example:
      >>> group_by_user(np.array([1, 0, 1]), 3).where.sum(axis=1).tolist()
      [1, 2, 0]
    """
    counts = np.bincount(user, minlength=num_users)
    length = -(-int(counts.max(initial=at_least)) // 64) * 64
    order = np.argsort(user, kind="stable")
    within = np.arange(len(user)) - np.repeat(np.cumsum(counts) - counts, counts)
    position = np.zeros((num_users, length), np.int64)
    where = np.zeros((num_users, length), bool)
    position[user[order], within] = order
    where[user[order], within] = True
    return UserLists(position, where)
