"""New users as a model must see them: their ratings padded, contexts and histories.

Both are counted of the user's own ratings with the training items' statistics. As in
training, a row must not see itself: the context and the history of each given rating
are counted of the user's other ones. Times of ratings are not looked at.
"""

import dataclasses
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from ncf_jax.counting import PULL, of_rows
from ncf_jax.errors import RunError
from ncf_jax.history import History
from ncf_jax.statistics import NOWHERE, SECONDS, Statistics
from ncf_jax.types import RATING_MAX, Array, Dataset

MULTIPLE = 64  # lists are padded to one of it, so that few lengths are compiled


@struct.dataclass
class Given:
    """Ratings of B new users, padded to L.

    Attributes:
      item: [B, L] int32 index.
      target: [B, L] stars / 5.
      weight: [B, L] 1 for a rating and 0 for padding.
      context: [B, L, F] each counted of the user's other ratings; None without.
      history: [B, L, ...] likewise, with the items' own; None without.
    """

    item: Array
    target: Array
    weight: Array
    context: Array | None = None
    history: History | None = None


@struct.dataclass
class Whole:
    """What B new users are to a model that asks for any item.

    Attributes:
      context: [B, I, F] of all items; None for a model that takes none.
      history: the users' side [B, ...]; None likewise.
    """

    context: Array | None = None
    history: History | None = None


def padded(length: int) -> int:
    """The length that lists of `length` are padded to."""
    return max(1, -(-length // MULTIPLE)) * MULTIPLE


def prepare(
    model: nn.Module,
    dataset: Dataset,
    pairs: Sequence[tuple[np.ndarray, np.ndarray]],
    length: int,
) -> tuple[Given, Whole]:
    """Lists of (items, stars), padded to `length`, and what is asked for all items.

    Raises:
      RunError: the model looks at statistics, and the data set has none.
    """
    shape = len(pairs), length
    item, target, weight = np.zeros(shape, np.int32), *np.zeros((2, *shape), np.float32)
    for place, (items, stars) in enumerate(pairs):
        mine = place, slice(len(items))
        item[mine], target[mine] = items, np.asarray(stars) / RATING_MAX
        weight[mine] = 1.0
    given = Given(item, target, weight)
    if not getattr(model, "takes_context", False):
        return given, Whole()
    statistics, known = dataset.features.statistics, dataset.features.history
    if statistics is None or known is None:
        raise RunError(
            f"{type(model).__name__} looks at statistics of training rows, and the "
            f"data set has none: make it by counting.with_statistics(dataset, split)."
        )
    context = np.zeros((*shape, statistics.width), np.float32)
    for place, (items, stars) in enumerate(pairs):
        if len(items):
            context[place, : len(items)] = left_out(statistics, dataset, items, stars)
    users = of_new_users(statistics, pairs)
    theirs = new_histories(known, item, weight)
    others = left_out_histories(known, theirs, item)
    every = Whole(users.of_users(jnp.arange(len(pairs))), theirs)
    return dataclasses.replace(given, context=context, history=others), every


def new_histories(known: History, item: np.ndarray, weight: np.ndarray) -> History:
    """The users' side [B, ...] of histories of items [B, L], padded by no weight."""
    basis = np.asarray(known.item_basis)[item]
    return History(
        rated=(basis * weight[..., None]).sum(axis=1),
        raters=None,
        user_basis=None,
        item_basis=None,
        user_count=weight.sum(axis=1),
        item_count=None,
        number=np.full(len(item), known.number),  # beside each user
    )


def left_out_histories(known: History, user: History, item: np.ndarray) -> History:
    """Histories [B, L, ...] of new users' items [B, L], each without that item."""
    theirs = jax.tree.map(np.asarray, known).rows(item)
    return dataclasses.replace(
        theirs,
        rated=user.rated[:, None] - theirs.item_basis,
        user_basis=np.zeros_like(theirs.item_basis),
        user_count=np.broadcast_to(user.user_count[:, None] - 1.0, item.shape),
        number=user.number,
    )


def of_new_users(
    statistics: Statistics, pairs: Sequence[tuple[np.ndarray, np.ndarray]]
) -> Statistics:
    """The items' statistics, with new users 0 to B - 1 in place of those of training.

    Args:
      statistics: of training rows.
      pairs: items and stars of each user.
    """
    count = np.array([len(items) for items, _ in pairs])
    user = np.repeat(np.arange(len(pairs)), count)
    item = np.concatenate([items for items, _ in pairs]).astype(np.int32)
    stars = np.concatenate([stars for _, stars in pairs]).astype(np.float64)
    left = stars - statistics.mean - np.asarray(statistics.item_bias)[item]
    bias = np.bincount(user, left, len(pairs)) / (count + PULL)
    residual = (left - bias[user]).astype(np.float32)
    content = np.asarray(statistics.content)[item]
    sums, weights = np.zeros((2, len(pairs), content.shape[1]), np.float32)
    np.add.at(sums, user, residual[:, None] * content)
    np.add.at(weights, user, np.abs(content))
    return dataclasses.replace(
        statistics,
        user_count=count.astype(np.float32),
        user_bias=bias.astype(np.float32),
        user_content=sums,
        user_weight=weights,
    )


def left_out(
    statistics: Statistics, dataset: Dataset, item: np.ndarray, stars: np.ndarray
) -> np.ndarray:
    """Contexts [L, F] of a new user's own items, each without the rating of it."""
    number, every = len(item), np.arange(len(item))
    item = np.asarray(item)
    left = stars - statistics.mean - np.asarray(statistics.item_bias, np.float64)[item]
    bias = (left.sum() - left) / (number - 1 + PULL)
    # What `of_new_users` would sum over the other ratings, each by taking one's own
    # from the sum of all: sum of (left - bias) content over the others.
    content = np.asarray(statistics.content, np.float64)[item]
    sums = left @ content - left[:, None] * content
    sums -= bias[:, None] * (content.sum(axis=0) - content)
    weights = np.abs(content).sum(axis=0) - np.abs(content)
    single = np.float32
    users = dataclasses.replace(
        statistics,
        user_count=np.full(number, number - 1, single),
        user_bias=bias.astype(single),
        user_content=sums.astype(single),
        user_weight=weights.astype(single),
    )
    rows = dataclasses.replace(dataset, user=every, item=item)
    found = of_rows(users, rows, every)
    if not statistics.time:
        return found
    nothing = np.tile([0.0, NOWHERE], (number, len(SECONDS)))
    return np.concatenate([found, nothing.astype(np.float32)], axis=1)
