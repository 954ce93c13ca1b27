"""Predictions by blocks -> per-user values -> summaries.

Parameters have a leading axis [R] of seeds throughout, as `fit` returns them.

Memory on the device, besides parameters and features, is bounded by
`4 * R * BLOCK * W` bytes for predictions, W being the sum of the model's layer widths,
and by about `40 * R * USER_BLOCK * L` bytes for metrics, L being the longest list; on
the host `4 * R * U * L` bytes, and `8000 * U` for the bootstrap.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ncf_jax import batching
from ncf_jax.catalogue import score_catalogue as score_catalogue
from ncf_jax.errors import RunError
from ncf_jax.losses import per_example
from ncf_jax.metrics import (
    DEFINITIONS,
    RANKING,
    RANKING_SETTING,
    RATING,
    rating,
    summary,
)
from ncf_jax.models import apply
from ncf_jax.types import RATING_MAX, Dataset, Interactions, ItemFeatures, Params

BLOCK = 8192
USER_BLOCK = 1024


@partial(jax.jit, static_argnums=0)
def _predict_blocks(
    model: nn.Module,
    params: Params,
    user_SxB: jax.Array,
    item_SxB: jax.Array,
    features: ItemFeatures,
) -> jax.Array:
    def one_seed(params: Params) -> jax.Array:
        def block(rows: tuple[jax.Array, jax.Array]) -> jax.Array:
            user, item = rows
            return apply(model, params, user, item, features.rows(item))

        return jax.lax.map(block, (user_SxB, item_SxB)) * RATING_MAX

    return jax.vmap(one_seed)(params)


def predict(
    model: nn.Module,
    params: Params,
    user: np.ndarray,
    item: np.ndarray,
    features: ItemFeatures,
    *,
    block: int = BLOCK,
) -> np.ndarray:
    """Predicted stars, not clipped.

    Args:
      model: tables and head.
      params: [R, ...] as `fit` returns them.
      user: [N] user index.
      item: [N] item index.
      features: [I, ...] of every item.
      block: rows at a time; it bounds memory and never changes a value beyond
        rounding.

    Returns:
      [R, N] float32.
    """
    steps = batching.num_batches(len(user), block)
    pad = (0, steps * block - len(user))
    user_SxB = np.pad(np.asarray(user, np.int32), pad).reshape(steps, block)
    item_SxB = np.pad(np.asarray(item, np.int32), pad).reshape(steps, block)
    features = jax.tree.map(jnp.asarray, features)
    out = _predict_blocks(model, params, user_SxB, item_SxB, features)
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
        prediction = apply(model, params, batch.user, batch.item, batch.features)
        target = batch.rating / RATING_MAX
        value = per_example(loss, prediction, target)
        return total + jnp.sum(batch.weight * value), None

    batches = batching.epoch_batches(None, num_rows, min(block, num_rows))
    return jax.lax.scan(body, jnp.zeros(()), batches)[0] / num_rows


class Evaluation(NamedTuple):
    """Figures of one model on some rows, with the per-user values behind them.

    Attributes:
      metrics: name, such as `rmse` or `ndcg@10` -> `Summary`.
      user: [U'] user index of the users who have rows.
      rows: [U'] their number of rows.
      per_user: name -> [R, U'], NaN where the metric is not defined.
    """

    metrics: dict[str, summary.Summary]
    user: np.ndarray
    rows: np.ndarray
    per_user: dict[str, np.ndarray]


def evaluate(
    model: nn.Module,
    params: Params,
    dataset: Dataset,
    rows: np.ndarray,
    *,
    k: int = 10,
    threshold: float = 4.0,
    ranking: Mapping[str, Callable[..., jax.Array]] = RANKING,
) -> Evaluation:
    """Rating and ranking metrics on the interactions at `rows`.

    Args:
      model: tables and head.
      params: [R, ...] as `fit` returns them.
      dataset: the data set.
      rows: [n] positions of interactions, such as `split.test`.
      k: cut-off of the ranking metrics.
      threshold: stars from which an item is relevant.
      ranking: name -> metric `(scores, relevance, *, where, k)`, in place of ours;
        `{**RANKING, "mine": mine}` adds one.

    Raises:
      RunError: a prediction is NaN or infinite, or there are no rows.
    """
    if len(rows) == 0:
        raise RunError(
            "There are no rows to evaluate: this part of the split is empty."
        )
    data = dataset.interactions(rows)
    prediction = predict(model, params, data.user, data.item, dataset.features)
    if not np.isfinite(prediction).all():
        bad = int((~np.isfinite(prediction)).sum())
        raise RunError(
            f"{bad:,} of {prediction.size:,} predictions are NaN or infinite; no "
            f"metric is computed. Train again with a smaller --learning_rate."
        )
    lists = batching.group_by_user(data.user, dataset.num_users)
    some = np.flatnonzero(lists.where.any(axis=1))
    values, sums = _per_user(
        jnp.asarray(prediction[:, lists.position]),
        jnp.asarray(data.rating[lists.position]),
        jnp.asarray(lists.where),
        ranking=tuple(ranking.items()),
        k=k,
        threshold=threshold,
    )
    ranked = {name: np.asarray(values[name])[:, some] for name in ranking}
    rated = rating.RatingSums(*(np.asarray(v, np.float64)[:, some] for v in sums))
    if not np.isfinite(rated.squared).all():
        raise RunError(
            "The predictions are so far off that their squared errors overflow; no "
            "metric is computed. Train again with a smaller --learning_rate."
        )
    with np.errstate(divide="ignore", invalid="ignore"):  # R² of a single row is NaN
        per_user = {name: np.asarray(of(rated)) for name, of in RATING.items()}
    definitions = {n: _definition(n, metric, k) for n, metric in ranking.items()}
    per_user |= {f"{name}@{k}": value for name, value in ranked.items()}
    return Evaluation(
        metrics=_summaries(rated, ranked, definitions, k, threshold),
        user=some,
        rows=lists.where.sum(axis=1)[some],
        per_user=per_user,
    )


@partial(jax.jit, static_argnames=("ranking", "k", "threshold"))
def _per_user(
    prediction_RxUxL: jax.Array,
    rating_UxL: jax.Array,
    where_UxL: jax.Array,
    *,
    ranking: tuple[tuple[str, Callable[..., jax.Array]], ...],
    k: int,
    threshold: float,
) -> tuple[dict[str, jax.Array], rating.RatingSums]:
    def one_user(lists: tuple[jax.Array, jax.Array, jax.Array]):
        prediction_RxL, rating_L, where_L = lists
        rating_RxL = jnp.broadcast_to(rating_L, prediction_RxL.shape)
        where_RxL = jnp.broadcast_to(where_L, prediction_RxL.shape)
        relevance_RxL = rating_RxL >= threshold
        values = {
            name: metric(prediction_RxL, relevance_RxL, where=where_RxL, k=k)
            for name, metric in ranking
        }
        return values, rating.sums(prediction_RxL, rating_RxL, where=where_RxL)

    lists = (jnp.swapaxes(prediction_RxUxL, 0, 1), rating_UxL, where_UxL)
    per_user = jax.lax.map(one_user, lists, batch_size=USER_BLOCK)
    return jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), per_user)


def _definition(name: str, metric: Callable[..., jax.Array], k: int) -> str:
    """In words: the metric's own first line, when it is not one of ours."""
    if RANKING.get(name) is metric:
        return DEFINITIONS[name].format(k=k)
    return (metric.__doc__ or name).strip().splitlines()[0].rstrip(".")


def _summaries(
    rated: rating.RatingSums,
    ranked: dict[str, np.ndarray],
    definitions: dict[str, str],
    k: int,
    threshold: float,
) -> dict[str, summary.Summary]:
    counts = summary.bootstrap_counts(rated.rows.shape[1])
    rows = int(rated.rows[0].sum())
    sums_RxUxC = np.stack(rated, axis=-1)

    def finish_with(of: Callable[[rating.RatingSums], Any]):
        return lambda total: of(rating.RatingSums(*np.moveaxis(total, -1, 0)))

    out = {}
    for name, of in RATING.items():
        out[name] = summary.summarize(
            sums_RxUxC,
            finish_with(of),
            counts=counts,
            definition=DEFINITIONS[name],
            n_used=rows,
            n_left_out=0,
        )
    setting = RANKING_SETTING.format(threshold=threshold)
    for name, value_RxU in ranked.items():
        defined = ~np.isnan(value_RxU)
        used = int(defined[0].sum())
        out[f"{name}@{k}"] = summary.summarize(
            np.stack([np.where(defined, value_RxU, 0.0), defined], axis=-1),
            lambda total: total[..., 0] / total[..., 1],
            counts=counts,
            definition=definitions[name] + setting,
            n_used=used,
            n_left_out=value_RxU.shape[1] - used,
        )
    return out
