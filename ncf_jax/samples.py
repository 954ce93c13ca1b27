"""What a model would recommend to three users, beside what they like."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ncf_jax.errors import RunError
from ncf_jax.recommend import NOT_FINITE, RATING_MIN, Movie, movie
from ncf_jax.types import RATING_MAX, Dataset, Split


class Sample(NamedTuple):
    """A user's taste and what a model would recommend.

    Attributes:
      user_id: as in ratings.csv.
      n_train: training rows of the user.
      liked: the user's best rated movies in train, with the stars given.
      recommended: the best of all movies the user has not rated in train.
      test_ratings: stars that the user gave to those in test; None: not rated there.
    """

    user_id: int
    n_train: int
    liked: list[Movie]
    recommended: list[Movie]
    test_ratings: list[float | None]


def samples(
    dataset: Dataset,
    split: Split,
    score: Callable[[jax.Array], Any],
    *,
    k: int = 10,
    liked: int = 6,
) -> list[Sample]:
    """Recommendations for three users: with few, middling and many training rows.

    Args:
      dataset: the data set, and `split` its split.
      split: its test rows are among the candidates.
      score: user index [B] -> [R, B, I], larger is better.
      k: movies recommended to each.
      liked: movies shown of those the user liked.
    """
    count = np.bincount(dataset.user[split.train], minlength=dataset.num_users)
    some = np.unique(dataset.user[split.test])
    some = some[np.argsort(count[some], kind="stable")]
    users = [int(some[round(share * (len(some) - 1))]) for share in (0.1, 0.5, 0.9)]
    scores_3xI = np.asarray(score(jnp.asarray(users, jnp.int32))).mean(axis=0)
    if not np.isfinite(scores_3xI).all():
        raise RunError(NOT_FINITE)
    found = []
    for user, scores in zip(users, scores_3xI, strict=True):
        train = split.train[dataset.user[split.train] == user]
        test = split.test[dataset.user[split.test] == user]
        given = dict(zip(dataset.item[test], dataset.rating[test], strict=True))
        best = train[np.lexsort((-dataset.time[train], -dataset.rating[train]))]
        left = np.delete(np.arange(dataset.num_items), dataset.item[train])
        top = left[np.argsort(-scores[left], kind="stable")[:k]]
        found.append(
            Sample(
                user_id=int(dataset.user_ids[user]),
                n_train=len(train),
                liked=[
                    movie(dataset, int(dataset.item[row]), float(dataset.rating[row]))
                    for row in best[:liked]
                ],
                recommended=[movie(dataset, int(i), float(scores[i])) for i in top],
                test_ratings=[float(given[i]) if i in given else None for i in top],
            )
        )
    return found


def to_json(found: Sequence[Sample], *, stars: bool = True) -> list[dict]:
    """Samples as JSON objects; scores that are stars are clipped to 0.5..5."""

    def about(each: Movie, score: str) -> dict[str, Any]:
        value = each.score
        if stars:
            value = float(np.clip(value, RATING_MIN, RATING_MAX))
        names = {"movie_id": each.movie_id, "title": each.title, "genres": each.genres}
        return {**names, score: value}

    return [
        {
            "user_id": sample.user_id,
            "n_train": sample.n_train,
            "liked": [about(each, "rating") for each in sample.liked],
            "recommended": [
                {**about(each, "score"), "test_rating": given}
                for each, given in zip(
                    sample.recommended, sample.test_ratings, strict=True
                )
            ],
        }
        for sample in found
    ]
