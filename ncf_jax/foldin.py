"""New users folded in: a row fitted to their ratings, and all else kept.

A model that names its `tables` predicts from the user's row, the items' rows and, if it
takes one, a context. For a user who was not there in training the row alone is fitted:

  mean over ratings of (head(row, items, context, history) - rating / 5)² + penalty(row)

by `STEPS` of Adam from the mean of the users' rows. The penalty is the model's own: of
`vncf` the row's divergence from its prior, and the mean of the row is what predicts. It
counts `CAUTION` times where there is a context: what few ratings say, context and
history have said before. A model without a penalty gets a small L2, so that the row
stays near the mean of the users' rows: `NOISE` times the squared distance from it, each
column's in standard deviations of the users' rows, over the number of ratings.

Contexts and histories of the user's own ratings are as in training: no rating sees
itself, see `newcomers`.

A user's bias has a closed form where it is all that a row is (`bias`).
"""

import dataclasses
from collections.abc import Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from ncf_jax.errors import RunError
from ncf_jax.models import apply_head, apply_penalty, context_of
from ncf_jax.models.baselines import Bias, shrunk_mean
from ncf_jax.newcomers import Given, Whole, padded, prepare
from ncf_jax.types import RATING_MAX, Array, Dataset, ItemFeatures, Params

STEPS = 200
RATE = 0.03  # at first; it falls to nothing by a cosine
# By validation rows alone: RMSE of new users of ml-latest-small after 5, 10, 20 and 50
# ratings, the mean of two runs of best.flags, was
#   no fit  0.938  0.896  0.867  0.842        2  0.934  0.897  0.872  0.839
#   10      0.936  0.890  0.860  0.832        1  0.943  0.913  0.885  0.846
#   6       0.934  0.889  0.860  0.831
#   4       0.933  0.890  0.862  0.833
CAUTION = 6.0
NOISE = 0.8 / RATING_MAX**2  # variance of a rating / 5 that no row explains
AT_ONCE = 2048  # padded ratings of the users who are fitted together, and at most
MOST_USERS = 32  # so many users, whose contexts of all items are held


def fold_in(
    model: nn.Module,
    params: Params,
    dataset: Dataset,
    item: np.ndarray,
    stars: np.ndarray,
    *,
    train: np.ndarray | None = None,
) -> np.ndarray:
    """Predicted stars of every item for a new user.

    Args:
      model: tables and head.
      params: [R, ...] as `fit` returns them.
      dataset: the training data, with statistics for a model that looks at them.
      item: [L] index of the items the user has rated, no two the same.
      stars: [L].
      train: positions of training rows: the mean of the users' rows is of those who
        have some. None: of all users.

    Returns:
      [R, I] float32, not clipped.

    Raises:
      RunError: the model has no row that could be fitted.
    """
    return fold_in_users(model, params, dataset, [item], [stars], train=train)[:, 0]


def fold_in_users(
    model: nn.Module,
    params: Params,
    dataset: Dataset,
    item: Sequence[np.ndarray],
    stars: Sequence[np.ndarray],
    *,
    train: np.ndarray | None = None,
) -> np.ndarray:
    """As `fold_in`, for the lists of several new users: [R, B, I].

    They are fitted in blocks. A user without a rating has the mean of the users' rows.
    Memory: on the device 4 `MOST_USERS` I (F + 4) bytes, and 4 I W for widths W; on the
    host the result.
    """
    check(model)
    length = padded(max(map(len, item), default=0))
    size = min(len(item), MOST_USERS, max(1, AT_ONCE // length))
    features = jax.tree.map(jnp.asarray, dataset.features.alone())
    middle = _middle(model, params, _weight_of_users(dataset, train))
    none = (np.zeros(0, np.int32), np.zeros(0, np.float32))
    pairs = list(zip(item, stars, strict=True))
    found = []
    for start in range(0, len(pairs), max(size, 1)):
        block = pairs[start : start + size]
        block += [none] * (size - len(block))
        given, every = prepare(model, dataset, block, length)
        rows = fit_rows(model, params, features, given, middle)
        found.append(np.asarray(score(model, params, features, rows, every)))
    if not found:
        seeds = jax.tree.leaves(params)[0].shape[0]
        return np.zeros((seeds, 0, dataset.num_items), np.float32)
    return np.concatenate(found, axis=1)[:, : len(pairs)]


def check(model: nn.Module) -> None:
    """Whether a new user can be folded in.

    Raises:
      RunError: the model has no closed form and does not name its tables.
    """
    if not (isinstance(model, Bias) or hasattr(model, "tables")):
        raise RunError(
            f"{type(model).__name__} does not name its tables, so no new user can be "
            f"given a row: choose a run of another model, or give it `tables`, as "
            f"models.ncf.NCF has."
        )


def _lookup(model: nn.Module, params: Params, user: Array, item: Array) -> Any:
    return model.apply({"params": params}, user, item, method="lookup")


def _weight_of_users(dataset: Dataset, train: np.ndarray | None) -> np.ndarray:
    """Of each user in the mean of the users' rows: [U], with sum 1."""
    known = np.ones(dataset.num_users, bool)
    if train is not None and len(train):
        known = np.bincount(dataset.user[train], minlength=len(known)) > 0
    return (known / known.sum()).astype(np.float32)


@partial(jax.jit, static_argnums=0)
def _middle(model: nn.Module, params: Params, weight_U: jax.Array) -> tuple[Any, Any]:
    """Mean and standard deviation of the users' rows, [R, ...] each."""
    user = jnp.arange(weight_U.shape[0])

    def of_table(table: jax.Array) -> tuple[jax.Array, jax.Array]:
        mean = jnp.tensordot(weight_U, table, 1)
        distance = jnp.square(table - mean[None])
        return mean, jnp.sqrt(jnp.tensordot(weight_U, distance, 1)) + 1e-3

    def one_seed(params: Params) -> tuple[Any, Any]:
        rows = _lookup(model, params, user, jnp.zeros_like(user))[0]
        leaves, shape = jax.tree.flatten(rows)
        means, spreads = zip(*map(of_table, leaves), strict=True)
        return jax.tree.unflatten(shape, means), jax.tree.unflatten(shape, spreads)

    return jax.vmap(one_seed)(params)


@partial(jax.jit, static_argnums=0)
def fit_rows(
    model: nn.Module,
    params: Params,
    features: ItemFeatures,
    given: Given,
    middle: tuple[Any, Any],
) -> Any:
    """Rows [R, B, ...] of the users' tables that fit what is given."""

    def one_user(params: Params, middle: tuple[Any, Any], given: Given) -> Any:
        start, spread = middle
        item, weight = given.item, given.weight
        number = jnp.maximum(jnp.sum(weight), 1.0)
        known = whole = dataclasses.replace(features.rows(item), history=given.history)
        if given.history is not None:
            # The row's price is shared by all ratings, a head sees all but one.
            whole = dataclasses.replace(known, history=given.history.joined())
        theirs = _lookup(model, params, jnp.zeros_like(item), item)[1]
        if isinstance(model, Bias):
            if not model.users:
                return jnp.zeros_like(start)
            left = given.target - params["mean"] - theirs
            zero, pull = jnp.zeros_like(item), model.user_shrinkage
            return shrunk_mean(left, zero, weight, 1, pull)[0]

        def loss(row: Any) -> jax.Array:
            rows = _beside(row, item.shape), theirs
            context = context_of(model, given.context)
            found = apply_head(model, params, rows, known, item.shape, **context)
            value = jnp.square(found - given.target)
            if hasattr(model, "penalty"):
                extra = apply_penalty(model, params, rows, whole)
                extra *= CAUTION if context else 1.0
                return jnp.sum(weight * (value + extra)) / number
            far = jax.tree.map(
                lambda x, middle, sd: jnp.sum(jnp.square((x - middle) / sd)),
                *(row, start, spread),
            )
            far = sum(jax.tree.leaves(far))
            return (jnp.sum(weight * value) + NOISE * far) / number

        adam = optax.adam(optax.cosine_decay_schedule(RATE, STEPS))

        def step(state: Any, _: None) -> tuple[Any, None]:
            row, memory = state
            updates, memory = adam.update(jax.grad(loss)(row), memory)
            return (optax.apply_updates(row, updates), memory), None

        fitted = jax.lax.scan(step, (start, adam.init(start)), None, STEPS)[0][0]
        rated = jnp.sum(weight) > 0
        return jax.tree.map(lambda x, y: jnp.where(rated, x, y), fitted, start)

    each = jax.vmap(one_user, in_axes=(None, None, 0))
    return jax.vmap(each, in_axes=(0, 0, None))(params, middle, given)


@partial(jax.jit, static_argnums=0)
def score(
    model: nn.Module,
    params: Params,
    features: ItemFeatures,
    rows: Any,
    every: Whole,
) -> jax.Array:
    """Stars of all items [R, B, I] for rows [R, B, ...] and what each user's are."""
    item = jnp.arange(features.genres.shape[0], dtype=jnp.int32)
    of_items = features.rows(item)

    def one_seed(inputs: tuple[Params, Any]) -> jax.Array:
        params, rows = inputs
        theirs = _lookup(model, params, jnp.zeros_like(item), item)[1]

        def one_user(inputs: tuple[Any, Whole]) -> jax.Array:
            row, whole = inputs
            both = _beside(row, item.shape), theirs
            known = of_items
            if whole.history is not None:
                beside = dataclasses.replace(
                    of_items.history,
                    rated=_beside(whole.history.rated, item.shape),
                    user_count=_beside(whole.history.user_count, item.shape),
                )
                known = dataclasses.replace(of_items, history=beside)
            return apply_head(
                model, params, both, known, item.shape, context=whole.context
            )

        return jax.lax.map(one_user, (rows, every)) * RATING_MAX

    return jax.lax.map(one_seed, (params, rows))


def _beside(row: Any, shape: tuple[int, ...]) -> Any:
    """One row [...] for each of `shape`."""
    return jax.tree.map(lambda x: jnp.broadcast_to(x, (*shape, *x.shape)), row)
