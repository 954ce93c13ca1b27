"""Cornac on our train rows: biased MF, probabilistic MF and BPR.

Raw ids are our indices. Cornac's `score` of a user ranks all items it knows; MF's is in
stars, PMF's is the argument of the sigmoid that its `rate` applies, and BPR's has no
unit. Where Cornac's own ranking would meet an item it does not know, it takes the
lowest score; where a rating is asked, the mean of all ratings.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from cornac import models
from cornac.data import Dataset as CornacDataset
from cornac.utils.common import scale, sigmoid

from experiments.peers.recommenders import Fitted, by_user, to_stars
from ncf_jax.types import Dataset, Split

UNKNOWN = -1  # an index that Cornac takes for a user or item it has not seen


def fit(
    dataset: Dataset,
    split: Split,
    seed: int,
    algorithm: str,
    options: Mapping[str, Any],
) -> Fitted:
    """Fits one of Cornac's models.

    Args:
      dataset: the data set.
      split: its rows of `train` are all that is read.
      seed: of the model; with one, Cornac trains in a single thread.
      algorithm: MF, PMF or BPR.
      options: its keyword arguments.
    """
    train = dataset.interactions(split.train)
    columns = (train.user.tolist(), train.item.tolist(), train.rating.tolist())
    rows = CornacDataset.from_uir(list(zip(*columns, strict=True)))
    model = getattr(models, algorithm)(**options, seed=seed, verbose=False).fit(rows)
    users = np.array([model.uid_map.get(u, UNKNOWN) for u in range(dataset.num_users)])
    items = np.array([model.iid_map.get(i, UNKNOWN) for i in range(dataset.num_items)])
    stars = algorithm != "BPR"

    def row(user: int) -> np.ndarray:
        inner = int(users[user])
        if inner == UNKNOWN and algorithm != "MF":  # MF knows items without users
            return np.full(dataset.num_items, model.default_score())
        known = np.asarray(model.score(inner), float)
        if algorithm == "PMF":
            known = scale(sigmoid(known), model.min_rating, model.max_rating, 0.0, 1.0)
        rest = model.default_score() if stars else known.min()
        return np.where(items == UNKNOWN, rest, known[items])

    def rate(user: np.ndarray, item: np.ndarray) -> np.ndarray:
        user, item = np.asarray(user), np.asarray(item)
        if not stars:
            return by_user(user, item, lambda one, which: row(one)[which])
        pairs = zip(users[user].tolist(), items[item].tolist(), strict=True)
        return to_stars(np.array([model.rate(u, i) for u, i in pairs], np.float32))

    def catalogue(user: np.ndarray) -> np.ndarray:
        shape = (len(user), dataset.num_items)
        out = np.reshape([row(int(one)) for one in user], shape)
        if not stars:
            return out.astype(np.float32)
        return to_stars(np.clip(out, model.min_rating, model.max_rating))

    return Fitted(rate, catalogue)
