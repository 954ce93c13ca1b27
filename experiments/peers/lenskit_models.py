"""LensKit on our train rows, by its prediction pipeline.

Ids are our indices. What a scorer cannot score, such as an item nobody rated in train,
LensKit's own fallback does: the user's and the item's bias.
"""

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from lenskit.als import BiasedMFScorer
from lenskit.basic import BiasScorer
from lenskit.data import ItemList, from_interactions_df
from lenskit.diagnostics import DataWarning
from lenskit.knn import ItemKNNScorer, UserKNNScorer
from lenskit.operations import predict
from lenskit.pipeline import predict_pipeline
from lenskit.training import TrainingOptions

from experiments.peers.recommenders import Fitted, by_user, to_stars
from ncf_jax.types import Dataset, Split

SCORERS = {
    scorer.__name__: scorer
    for scorer in (BiasScorer, BiasedMFScorer, ItemKNNScorer, UserKNNScorer)
}


def fit(
    dataset: Dataset,
    split: Split,
    seed: int,
    algorithm: str,
    options: Mapping[str, Any],
) -> Fitted:
    """Trains one of LensKit's scorers in a prediction pipeline.

    Args:
      dataset: the data set.
      split: its rows of `train` are all that is read.
      seed: of the scorer's initial parameters, where it has any.
      algorithm: a name of `SCORERS`.
      options: the fields of its configuration.
    """
    train = dataset.interactions(split.train)
    frame = pd.DataFrame(
        {"user_id": train.user, "item_id": train.item, "rating": train.rating}
    )
    pipeline = predict_pipeline(SCORERS[algorithm](**options), fallback=True)
    pipeline.train(from_interactions_df(frame), TrainingOptions(rng=seed))
    every = np.arange(dataset.num_items)

    def score(user: int, items: np.ndarray) -> np.ndarray:
        with warnings.catch_warnings():
            # True of a user without a train row, and the fallback answers.
            warnings.filterwarnings("ignore", "no query items", DataWarning)
            return predict(pipeline, user, ItemList(item_ids=items)).scores()

    def rate(user: np.ndarray, item: np.ndarray) -> np.ndarray:
        return to_stars(by_user(np.asarray(user), np.asarray(item), score))

    def catalogue(user: np.ndarray) -> np.ndarray:
        rows = [score(int(one), every) for one in user]
        return to_stars(np.reshape(rows, (len(user), dataset.num_items)))

    return Fitted(rate, catalogue)
