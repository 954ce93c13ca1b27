"""A model's predictions by blocks, its loss, and its evaluation.

Parameters have a leading axis [R] of seeds throughout, as `fit` returns them.

Memory on the device, besides parameters and features, is bounded by
`4 * R * BLOCK * W` bytes for predictions, W being the sum of the model's layer widths,
by what `lists` says for rankings, and by `200 * U` and `4000 * C` bytes for the
bootstrap of C summands; on the host by about `100 * N` bytes for N rows.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ncf_jax import batching, sharded
from ncf_jax.catalogue import placed, scorer
from ncf_jax.catalogue import score_catalogue as score_catalogue
from ncf_jax.judge import Evaluation, evaluate_scores
from ncf_jax.losses import per_example
from ncf_jax.models import apply
from ncf_jax.types import RATING_MAX, Dataset, Interactions, ItemFeatures, Params

BLOCK = 8192


@partial(jax.jit, static_argnums=0)
def _predict_blocks(
    model: nn.Module,
    params: Params,
    user_SxB: jax.Array,
    item_SxB: jax.Array,
    features: ItemFeatures,
    context_SxBxF: jax.Array | None,
) -> jax.Array:
    def one_seed(params: Params) -> jax.Array:
        def block(rows: tuple[jax.Array, jax.Array, Any]) -> jax.Array:
            user, item, context = rows
            known = features.rows(item, user)
            return apply(model, params, user, item, known, context=context)

        return jax.lax.map(block, (user_SxB, item_SxB, context_SxBxF)) * RATING_MAX

    return sharded.repeated(jax.vmap(one_seed)(params), sharded.mesh_of(params))


def predict(
    model: nn.Module,
    params: Params,
    user: np.ndarray,
    item: np.ndarray,
    features: ItemFeatures,
    *,
    context: np.ndarray | None = None,
    block: int = BLOCK,
) -> np.ndarray:
    """Predicted stars, not clipped.

    Args:
      model: tables and head.
      params: [R, ...] as `fit` returns them.
      user: [N] user index.
      item: [N] item index.
      features: [I, ...] of every item.
      context: [N, F] of the pairs, for a model that takes one.
      block: rows at a time; it bounds memory and never changes a value beyond
        rounding.

    Returns:
      [R, N] float32.
    """
    steps = batching.num_batches(len(user), block)
    pad = (0, steps * block - len(user))
    user_SxB = np.pad(np.asarray(user, np.int32), pad).reshape(steps, block)
    item_SxB = np.pad(np.asarray(item, np.int32), pad).reshape(steps, block)
    if context is not None:
        context = np.pad(context, (pad, (0, 0))).reshape(steps, block, -1)
    features = placed(features.alone(), params)
    out = _predict_blocks(model, params, user_SxB, item_SxB, features, context)
    return np.asarray(out).reshape(out.shape[0], -1)[:, : len(user)]


def mean_loss(
    model: nn.Module,
    loss: Callable[[jax.Array, jax.Array], jax.Array],
    params: Params,
    data: Interactions,
    *,
    block: int = BLOCK,
) -> jax.Array:
    """Mean loss [] over the rows of `data`, without dropout; one seed's `params`.

    NaN when there are no rows.
    """
    num_rows = data.user.shape[0]
    if num_rows == 0:
        return jnp.full((), jnp.nan)

    def body(total: jax.Array, rows: tuple[jax.Array, jax.Array]):
        batch = batching.take(data, *rows)
        prediction = apply(
            model,
            params,
            batch.user,
            batch.item,
            batch.features,
            context=batch.context,
        )
        target = batch.rating / RATING_MAX
        value = per_example(loss, prediction, target)
        return total + jnp.sum(batch.weight * value), None

    batches = batching.epoch_batches(None, num_rows, min(block, num_rows))
    return jax.lax.scan(body, jnp.zeros(()), batches)[0] / num_rows


def evaluate(
    model: nn.Module,
    params: Params,
    dataset: Dataset,
    rows: np.ndarray,
    *,
    ensemble: int = 1,
    **how: Any,
) -> Evaluation:
    """Rating and ranking metrics of a model on the interactions at `rows`.

    Args:
      model: tables and head.
      params: [R, ...] as `fit` returns them.
      dataset: the data set.
      rows: [n] positions of interactions, such as `split.test`.
      ensemble: M; the predictions of each M parameters are averaged before they are
        judged, and how far they differ is kept as the evaluation's `spread`.
      **how: convention, candidates, k and so on, see `evaluate_scores`.

    Raises:
      RunError: a prediction is NaN or infinite, or there are no rows.
    """
    data = dataset.interactions(rows)
    ids = data.user, data.item
    each = predict(model, params, *ids, data.features, context=data.context)
    score = scorer(model, params, dataset.features, ensemble=ensemble)
    prediction, spread = each, None
    if ensemble > 1:
        grouped = each.reshape(-1, ensemble, len(rows))
        prediction, spread = grouped.mean(axis=1), grouped.std(axis=1, ddof=1)
    found = evaluate_scores(prediction, dataset, rows, catalogue=score, **how)
    return found._replace(spread=spread)
