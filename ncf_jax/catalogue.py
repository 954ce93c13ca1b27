"""Scores of every item for some users, and the best unseen of them, on the device.

A model that gives its head in halves (see `ncf_jax.models`) has each user's and each
item's part of the first layer computed once; only the layers above it are applied to
each pair. Pairs are taken in blocks whose memory has a stated budget.
"""

from collections.abc import Callable
from functools import partial, reduce
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ncf_jax import models, sharded
from ncf_jax.models import apply, context_of, history_of
from ncf_jax.types import RATING_MAX, ItemFeatures, Params

# Bytes of what a block of pairs needs at a time. Two MiB stay in a core's own cache;
# more is no faster on a CPU, and on an accelerator a larger one may be given.
BUDGET = 2 * 2**20


@partial(jax.jit, static_argnums=(0,), static_argnames=("budget",))
def score_catalogue(
    model: nn.Module,
    params: Params,
    user: jax.Array,
    features: ItemFeatures,
    *,
    budget: int = BUDGET,
) -> jax.Array:
    """Predicted stars of every item for each user.

    Args:
      model: tables and head.
      params: [R, ...].
      user: [B] user index.
      features: [I, ...] of every item, with statistics for a model that looks at them
        (their contexts take 4 B I (F + 4) bytes more).
      budget: bytes for a block of pairs, taken to need twice the width of the model's
        first layer each. Besides, the result takes 4 R B I bytes and the items' halves
        4 R I H, H being that width.

    Returns:
      [R, B, I] float32, not clipped.
    """

    each = budget // _count(params)
    context = contexts(model, features, user)

    def one_seed(params: Params) -> jax.Array:
        score = _scorer(model, params, features.alone(), each)
        return jax.lax.map(lambda one: score(*one), (user, context)) * RATING_MAX

    found = _each_seed(one_seed, params)
    return sharded.repeated(found, sharded.mesh_of(params))


def contexts(
    model: nn.Module, features: ItemFeatures, user: jax.Array
) -> jax.Array | None:
    """Contexts [B, I, F] of all items, or None for a model that takes none."""
    if not getattr(model, "takes_context", False) or features.statistics is None:
        return None
    return features.statistics.of_users(user)


def scorer(
    model: nn.Module, params: Params, features: ItemFeatures, *, ensemble: int = 1
) -> Callable[[jax.Array], jax.Array]:
    """A function from user index [B] to stars of every item [R, B, I].

    Of an ensemble of M, the mean of each M parameters: [R / M, B, I].
    """
    features = placed(features, params)
    mesh = sharded.mesh_of(params)

    def score(user: jax.Array) -> jax.Array:
        ids: Any = user if mesh is None else np.asarray(user)
        found = sharded.local(score_catalogue(model, params, ids, features), mesh)
        if ensemble == 1:
            return found
        return found.reshape(-1, ensemble, *found.shape[1:]).mean(axis=1)

    return score


def placed(features: ItemFeatures, params: Params) -> ItemFeatures:
    """Features on the devices, beside tables that are spread over several."""
    if (mesh := sharded.mesh_of(params)) is not None:
        return sharded.spread_features(features, mesh)
    return jax.tree.map(jnp.asarray, features)


@partial(jax.jit, static_argnums=(0,), static_argnames=("k", "budget"))
def best_unseen(
    model: nn.Module,
    params: Params,
    user: jax.Array,
    seen: jax.Array,
    features: ItemFeatures,
    *,
    k: int,
    budget: int = BUDGET,
) -> tuple[jax.Array, jax.Array]:
    """The k best items that each user has not seen, by the mean of the seeds' scores.

    Nothing of size B x I is ever held: a user's scores are reduced to k at once.

    Args:
      model: tables and head.
      params: [R, ...].
      user: [B] user index.
      seen: [B, L] items never to return; an index of I or more is none.
      features: [I, ...] of every item.
      k: at most I.
      budget: see `score_catalogue`.

    Returns:
      item: [B, k] index, best first.
      score: [B, k] stars, not clipped; minus infinity where fewer than k are left, NaN
        or infinite where a score is.
    """
    count = _count(params)
    known = features.alone()
    scorers = [
        _scorer(model, jax.tree.map(lambda x, r=r: x[r], params), known, budget)
        for r in range(count)
    ]

    def one_user(row: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        user, seen = row
        found = contexts(model, features, user[None])
        context = None if found is None else found[0]
        score = reduce(jnp.add, [score(user, context) for score in scorers])
        score = score * (RATING_MAX / count)
        score = score.at[seen].set(-jnp.inf, mode="drop")
        best, item = jax.lax.top_k(score, k)
        return item, best

    found = jax.lax.map(one_user, (user, seen))
    mesh = sharded.mesh_of(params)
    return sharded.repeated(found[0], mesh), sharded.repeated(found[1], mesh)


def _count(params: Params) -> int:
    return jax.tree.leaves(params)[0].shape[0]


def _each_seed(function: Callable[[Params], jax.Array], params: Params) -> jax.Array:
    """`vmap` over seeds; a single one is spared the axis, see `fitting.of_seeds`."""
    if _count(params) > 1:
        return jax.vmap(function)(params)
    return function(jax.tree.map(lambda x: x[0], params))[None]


def _scorer(
    model: nn.Module, params: Params, features: ItemFeatures, budget: int
) -> Callable[[jax.Array, jax.Array | None], jax.Array]:
    """A function from a user index [] and contexts [I, F] to predictions [I] / 5."""
    items = features.genres.shape[0]
    ids = jnp.arange(items, dtype=jnp.int32)
    by_item = features.rows(ids)
    if not hasattr(model, "join"):
        size = max(1, min(items, budget // 4096))  # nothing is known of its widths

        def whole(user: jax.Array, block: tuple) -> jax.Array:
            item, context = block
            users = jnp.full_like(item, user)
            known = features.rows(item, users)
            return apply(model, params, users, item, known, context=context)

        def every(user: jax.Array, context: jax.Array | None) -> jax.Array:
            blocks = _blocks((ids, context), size)
            return jax.lax.map(partial(whole, user), blocks).reshape(-1)[:items]

        return every

    call = partial(models.call, model, params)

    def half(block: tuple[jax.Array, ItemFeatures]) -> jax.Array:
        item, features = block
        rows = models.lookup(model, params, jnp.zeros_like(item), item)[1]
        return call("item_half", rows, features)

    width = jax.eval_shape(half, (ids[:1], features.rows(ids[:1]))).shape[-1]
    size = max(1, min(items, budget // (4 * 2 * width)))
    halves = jax.lax.map(half, _blocks((ids, by_item), size))

    def score(user: jax.Array, context: jax.Array | None) -> jax.Array:
        rows = models.lookup(model, params, user[None], ids[:1])[0]
        mine = call("user_half", rows, *history_of(model, features, user[None]))

        def join(block: tuple[jax.Array, jax.Array | None]) -> jax.Array:
            half, seen = block
            mine_too = jnp.broadcast_to(mine, half.shape)
            return call("join", mine_too, half, **context_of(model, seen))

        return jax.lax.map(join, (halves, _blocks(context, size))).reshape(-1)[:items]

    return score


def _blocks(tree: Any, size: int) -> Any:
    """[I, ...] -> [S, C, ...] in about equal blocks of at most `size`, padded."""
    if not (leaves := jax.tree.leaves(tree)):
        return tree
    items = leaves[0].shape[0]
    steps = -(-items // size)
    size = -(-items // steps)

    def divide(x: jax.Array) -> jax.Array:
        pad = [(0, steps * size - items)] + [(0, 0)] * (x.ndim - 1)
        return jnp.pad(x, pad).reshape(steps, size, *x.shape[1:])

    return jax.tree.map(divide, tree)
