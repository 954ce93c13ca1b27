"""scikit-surprise on our train rows: baselines, SVD, SVD++ and item neighbours.

Raw ids are our indices. `rate` asks the library pair by pair; `catalogue` is the same
formula on the library's parameters, by whole rows.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import surprise

from experiments.peers.recommenders import RATING_MIN, Fitted, to_stars
from ncf_jax.types import RATING_MAX, Dataset, Split


def fit(
    dataset: Dataset,
    split: Split,
    seed: int,
    algorithm: str,
    options: Mapping[str, Any],
) -> Fitted:
    """Fits one of Surprise's algorithms.

    Args:
      dataset: the data set.
      split: its rows of `train` are all that is read.
      seed: of SVD and SVD++; the others draw nothing.
      algorithm: a class of `surprise` that `CATALOGUES` knows.
      options: its keyword arguments.
    """
    train = dataset.interactions(split.train)
    frame = pd.DataFrame(
        {"user": train.user, "item": train.item, "rating": train.rating.astype(float)}
    )
    reader = surprise.Reader(rating_scale=(RATING_MIN, RATING_MAX))
    trainset = surprise.Dataset.load_from_df(frame, reader).build_full_trainset()
    seeded = {"random_state": seed} if algorithm in ("SVD", "SVDpp") else {}
    model = getattr(surprise, algorithm)(**options, **seeded, verbose=False)
    model.fit(trainset)
    inner = (
        _inner(trainset.to_inner_uid, dataset.num_users),
        _inner(trainset.to_inner_iid, dataset.num_items),
    )
    score = CATALOGUES[algorithm]

    def rate(user: np.ndarray, item: np.ndarray) -> np.ndarray:
        pairs = zip(np.asarray(user).tolist(), np.asarray(item).tolist(), strict=True)
        return to_stars(np.array([model.predict(u, i).est for u, i in pairs]))

    def catalogue(user: np.ndarray) -> np.ndarray:
        return to_stars(score(model, inner[0][user], inner[1]))

    return Fitted(rate, catalogue)


def _inner(convert: Callable[[int], int], count: int) -> np.ndarray:
    """The library's index of each of ours, [count]; -1 where it has none."""
    out = np.full(count, -1)
    for index in range(count):
        try:
            out[index] = convert(index)
        except ValueError:  # how Surprise says that an id is unknown
            continue
    return out


def _with_zero(table: np.ndarray) -> np.ndarray:
    """A row of zeros at the end, so that index -1, the unknown, adds nothing."""
    return np.concatenate([table, np.zeros_like(table[:1])])


def _biases(model: Any, user_B: np.ndarray, item_I: np.ndarray) -> np.ndarray:
    users, items = _with_zero(model.bu)[user_B], _with_zero(model.bi)[item_I]
    return model.trainset.global_mean + users[:, None] + items


def _svd(model: Any, user_B: np.ndarray, item_I: np.ndarray) -> np.ndarray:
    users, items = _with_zero(model.pu)[user_B], _with_zero(model.qi)[item_I]
    return _biases(model, user_B, item_I) + users @ items.T


def _svdpp(model: Any, user_B: np.ndarray, item_I: np.ndarray) -> np.ndarray:
    users = _with_zero(model.pu)[user_B]
    for row, user in enumerate(user_B):
        if user >= 0:
            rated = [item for item, _ in model.trainset.ur[user]]
            users[row] += model.yj[rated].sum(axis=0) / np.sqrt(len(rated))
    return _biases(model, user_B, item_I) + users @ _with_zero(model.qi)[item_I].T


def _neighbours(model: Any, user_B: np.ndarray, item_I: np.ndarray) -> np.ndarray:
    # The first of equal similarities is taken, as by heapq.nlargest in the library.
    out = _biases(model, user_B, item_I)
    known = np.flatnonzero(item_I >= 0)
    mean, least = model.trainset.global_mean, max(model.min_k, 1)
    for row, user in enumerate(user_B):
        if user < 0:
            continue
        rated, stars = map(np.array, zip(*model.trainset.ur[user], strict=True))
        above = stars - (mean + model.bu[user] + model.bi[rated])
        similar = model.sim[np.ix_(item_I[known], rated)]
        weight = np.where(first_largest(similar, model.k) & (similar > 0), similar, 0)
        enough = (weight > 0).sum(axis=1) >= least
        total = np.where(enough, weight.sum(axis=1), 1)
        out[row, known] += np.where(enough, weight @ above / total, 0)
    return out


def first_largest(value: np.ndarray, k: int) -> np.ndarray:
    """Whether each of [..., L] is among its row's k largest; ties go to the first.

    Example:
      >>> first_largest(np.array([1.0, 3.0, 1.0, 2.0]), 3).tolist()
      [True, True, False, True]
    """
    length = value.shape[-1]
    if length <= k:
        return np.ones(value.shape, bool)
    cut = np.partition(value, length - k, axis=-1)[..., length - k, None]
    above, tied = value > cut, value == cut
    places = k - above.sum(axis=-1, keepdims=True)
    return above | (tied & (np.cumsum(tied, axis=-1) <= places))


CATALOGUES: dict[str, Callable[[Any, np.ndarray, np.ndarray], np.ndarray]] = {
    "BaselineOnly": _biases,
    "SVD": _svd,
    "SVDpp": _svdpp,
    "KNNBaseline": _neighbours,
}
