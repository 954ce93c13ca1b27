"""Top-k of what a user has not rated, and items with similar embeddings."""

import time
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ncf_jax import models, sharded
from ncf_jax.catalogue import best_unseen
from ncf_jax.errors import DataError, RunError
from ncf_jax.foldin import fold_in
from ncf_jax.types import RATING_MAX, RATING_MIN, Dataset, Params

NOT_FINITE = (
    "The model's predictions are NaN or infinite; nothing is recommended. Train again "
    "with a smaller --learning_rate."
)


class Movie(NamedTuple):
    """One line of a list of recommendations.

    Attributes:
      movie_id: as in movies.csv.
      title: with the year, as in movies.csv.
      genres: `|` between genres.
      score: predicted stars (0.5 to 5), or cosine similarity (-1 to 1).
    """

    movie_id: int
    title: str
    genres: str
    score: float


class Ratings(NamedTuple):
    """What somebody rated, of whom a run has never heard.

    Attributes:
      item: [L] index of each movie, no two the same.
      stars: [L].
      unknown: movieIds in the file that the run's data has not kept, left out.
    """

    item: np.ndarray
    stars: np.ndarray
    unknown: tuple[int, ...]


class FoldedIn(NamedTuple):
    """Movies for a new user.

    Attributes:
      movies: best first.
      milliseconds: that folding in and scoring took, compiled.
      compile_seconds: that the first call took longer.
    """

    movies: list[Movie]
    milliseconds: float
    compile_seconds: float


def top_k(scores: jax.Array, seen: jax.Array, k: int) -> tuple[jax.Array, jax.Array]:
    """The k best items that are not seen, best first.

    Args:
      scores: [B, I] larger is better.
      seen: [B, I] items never to return.
      k: at most I.

    Returns:
      item: [B, k] index.
      score: [B, k]; minus infinity where fewer than k items are left.

    Example:
      >>> item, score = top_k(jnp.array([[3.0, 9.0, 5.0]]), jnp.eye(1, 3, 1) > 0, 2)
      >>> item.tolist(), score.tolist()
      ([[2, 0]], [[5.0, 3.0]])
    """
    score, item = jax.lax.top_k(jnp.where(seen, -jnp.inf, scores), k)
    return item, score


def recommend(
    model: nn.Module, params: Params, dataset: Dataset, user_id: int, *, k: int = 10
) -> list[Movie]:
    """The movies a user would like best among those they have not rated.

    Of several seeds the mean prediction is used. Order is by the prediction as it is;
    the score shown is clipped to 0.5..5 stars.

    Args:
      model: tables and head.
      params: [R, ...] as `fit` returns them.
      dataset: names the user's ratings (of all parts of a split), titles and genres.
      user_id: as in ratings.csv.
      k: how many; fewer come when the user has rated nearly all.

    Raises:
      RunError: there is no such user.
    """
    where = np.flatnonzero(dataset.user_ids == user_id)
    if not len(where):
        raise RunError(
            f"There is no user {user_id} in {dataset.label}: its {dataset.num_users:,} "
            f"users have ids from {dataset.user_ids.min()} to {dataset.user_ids.max()}."
        )
    user = int(where[0])
    rated = np.unique(dataset.item[dataset.user == user])
    # Of one length whoever asks, so that it is compiled once.
    seen = np.full((1, dataset.num_items), dataset.num_items, np.int32)
    seen[0, : len(rated)] = rated
    item, score = best_unseen(
        model,
        params,
        jnp.array([user]),
        jnp.asarray(seen),
        jax.tree.map(jnp.asarray, dataset.features),
        k=min(k, dataset.num_items),
    )
    # Those seen come last: what is before them must be finite, minus infinity too.
    left = dataset.num_items - len(rated)
    unseen, score = np.asarray(item)[0, :left], np.asarray(score)[0, :left]
    if not np.isfinite(score).all():
        raise RunError(NOT_FINITE)
    stars = np.clip(score, RATING_MIN, RATING_MAX)
    return [
        movie(dataset, int(i), float(s)) for i, s in zip(unseen, stars, strict=True)
    ]


def read_ratings(path: str | Path, dataset: Dataset) -> Ratings:
    """The ratings of a CSV file with the columns movieId and rating.

    Args:
      path: other columns are passed over.
      dataset: whose movies may be rated.

    Raises:
      DataError: the file is missing or malformed, rates a movie twice, or rates none
        that is known; names file and line.
    """
    # pandas takes half a second to import; who recommends to known users needs none.
    from ncf_jax.data import reading, silent

    columns = {"movieId": reading.ID, "rating": reading.RATING}
    table = reading.read_table(Path(path), columns, silent)
    reading.refuse_repeated(Path(path), table, ["movieId"])
    movie_id = table["movieId"].to_numpy()
    order = np.argsort(dataset.item_ids)
    place = np.searchsorted(dataset.item_ids, movie_id, sorter=order)
    item = order[np.minimum(place, len(order) - 1)].astype(np.int32)
    known = dataset.item_ids[item] == movie_id
    if not known.any():
        raise DataError(
            f"{path}: none of its {len(table):,} movieIds, such as {movie_id[0]}, is "
            f"among the {dataset.num_items:,} movies of {dataset.label} that were kept."
        )
    stars = table["rating"].to_numpy(np.float32)
    unknown = tuple(map(int, movie_id[~known]))
    return Ratings(item[known], stars[known], unknown)


def recommend_new(
    model: nn.Module,
    params: Params,
    dataset: Dataset,
    ratings: Ratings,
    *,
    train: np.ndarray | None = None,
    k: int = 10,
) -> FoldedIn:
    """The movies that a new user would like best among those they have not rated.

    The user is folded in twice, and the second time is what is told. Order and stars
    are as those of `recommend`.

    Args:
      model: tables and head.
      params: [R, ...] as `fit` returns them.
      dataset: the training data.
      ratings: of the new user.
      train: positions of training rows, see `foldin.fold_in`.
      k: how many; fewer come when the user has rated nearly all.

    Raises:
      RunError: the model has no row that could be fitted, or a prediction is NaN or
        infinite.
    """
    seconds = []
    for _ in range(2):
        began = time.perf_counter()
        found = fold_in(
            model, params, dataset, ratings.item, ratings.stars, train=train
        )
        seconds.append(time.perf_counter() - began)
    score = found.mean(axis=0)
    if not np.isfinite(score).all():
        raise RunError(NOT_FINITE)
    seen = np.isin(np.arange(dataset.num_items), ratings.item)
    left = min(k, dataset.num_items - len(ratings.item))
    best, stars = top_k(jnp.asarray(score)[None], jnp.asarray(seen)[None], left)
    within = np.clip(np.asarray(stars[0]), RATING_MIN, RATING_MAX)
    movies = [
        movie(dataset, int(i), float(s)) for i, s in zip(best[0], within, strict=True)
    ]
    return FoldedIn(movies, 1e3 * seconds[1], max(0.0, seconds[0] - seconds[1]))


def similar(
    model: nn.Module, params: Params, dataset: Dataset, movie_id: int, *, k: int = 10
) -> list[Movie]:
    """The movies whose item rows point most in the direction of this one's.

    Cosine similarity of the item tables' rows, side by side where there are several;
    of several seeds the mean similarity.

    Raises:
      RunError: there is no such movie, or the model's item rows are single numbers.
    """
    where = np.flatnonzero(dataset.item_ids == movie_id)
    if not len(where):
        raise RunError(
            f"There is no movie {movie_id} among the {dataset.num_items:,} of "
            f"{dataset.label} that were kept; movieIds go from "
            f"{dataset.item_ids.min()} to {dataset.item_ids.max()}, with gaps."
        )
    rows = item_vectors(model, params, dataset)
    if rows is None:
        raise RunError(
            f"{type(model).__name__} has a single number for each item, so no item is "
            f"similar to another; choose a run of a model with embeddings."
        )
    if not np.isfinite(rows).all():
        raise RunError(NOT_FINITE)
    unit_RxIxD = rows / jnp.maximum(
        jnp.linalg.norm(rows, axis=-1, keepdims=True), 1e-12
    )
    target = int(where[0])
    cosine = jnp.einsum("rid,rd->ri", unit_RxIxD, unit_RxIxD[:, target]).mean(axis=0)
    items = jnp.arange(dataset.num_items)
    cosine = jnp.clip(cosine, -1.0, 1.0)  # rounding may pass 1 by an ulp
    item, score = top_k(
        cosine[None], (items == target)[None], min(k, dataset.num_items - 1)
    )
    return [
        movie(dataset, int(i), float(s)) for i, s in zip(item[0], score[0], strict=True)
    ]


def item_vectors(
    model: nn.Module, params: Params, dataset: Dataset
) -> jax.Array | None:
    """What items are compared by [R, I, D]; None for single numbers.

    It is the model's `item_vector`; without one, the item tables' rows side by side.
    """
    items = jnp.arange(dataset.num_items)

    def item_rows(params: Params) -> Any:
        rows = models.lookup(model, params, jnp.zeros_like(items), items)[1]
        if not hasattr(model, "item_vector"):
            return rows
        features = jax.tree.map(jnp.asarray, dataset.features).rows(items)
        return models.call(model, params, "item_vector", rows, features)

    mesh = sharded.mesh_of(params)

    @jax.jit
    def of_seeds(params: Params) -> Any:
        found = jax.vmap(item_rows)(params)
        return jax.tree.map(lambda x: sharded.repeated(x, mesh), found)

    tables = [sharded.local(x, mesh) for x in jax.tree.leaves(of_seeds(params))]
    vectors = [table for table in tables if table.ndim == 3]  # not biases, [R, I]
    return jnp.concatenate(vectors, axis=-1) if vectors else None


def movie(dataset: Dataset, item: int, score: float) -> Movie:
    """The movie at index `item`."""
    return Movie(
        movie_id=int(dataset.item_ids[item]),
        title=dataset.titles[item],
        genres=dataset.genres[item],
        score=score,
    )
