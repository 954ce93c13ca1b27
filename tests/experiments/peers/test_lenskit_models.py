"""LensKit called by its own users' pipeline and the releases' ids says the same."""

import numpy as np
import pandas as pd
import pytest

from experiments.peers.recommenders import PEERS
from tests.experiments.peers import recommended
from tests.experiments.peers.recommended import UNKNOWN_ITEM, UNKNOWN_USER

pytest.importorskip("lenskit", reason="pip install -e '.[peers]'")
pytest.importorskip("lenskit.als")

from lenskit.als import BiasedMFScorer
from lenskit.basic import BiasScorer
from lenskit.batch import predict
from lenskit.data import ItemList, ItemListCollection, from_interactions_df
from lenskit.knn import ItemKNNScorer, UserKNNScorer
from lenskit.pipeline import predict_pipeline
from lenskit.training import TrainingOptions

SCORERS = {
    "lenskit-bias": lambda: BiasScorer(damping=5),
    "lenskit-biasedmf": BiasedMFScorer,
    "lenskit-itemknn": ItemKNNScorer,
    "lenskit-userknn": UserKNNScorer,
}


def by_its_own_ids(name, user_ids, item_ids):
    """[U, I] ratings by a batch prediction with other ids."""
    dataset, parts = recommended.world()
    table = pd.DataFrame(
        {
            "user_id": user_ids[dataset.user[parts.train]],
            "item_id": item_ids[dataset.item[parts.train]],
            "rating": dataset.rating[parts.train],
        }
    )
    pipeline = predict_pipeline(SCORERS[name](), fallback=True)
    pipeline.train(from_interactions_df(table), TrainingOptions(rng=0))
    lists = {int(user): ItemList(item_ids=item_ids) for user in user_ids}
    asked = ItemListCollection.from_dict(lists, "user_id")
    found = predict(pipeline, asked, n_jobs=1)
    return np.array([found.lookup(int(user)).scores() for user in user_ids])


def apart(found, expected):
    """Largest difference in stars, clipped as ours are."""
    return np.abs(found - np.clip(expected, 0.5, 5)).max()


@pytest.mark.parametrize("name", SCORERS)
@pytest.mark.filterwarnings("ignore:no query items")  # of the user without a train row
def test_the_library_called_by_the_releases_ids_says_the_same(name):
    dataset, _ = recommended.world()
    ids = dataset.user_ids, dataset.item_ids
    if PEERS[name].seeded:  # it draws in the order of ids, so that order must stay
        ids = tuple(np.sort(side) for side in ids)
    expected, found = by_its_own_ids(name, *ids), recommended.rated(name)
    assert np.isfinite(expected).all()
    assert apart(found, expected) < 1e-5
    assert apart(found, np.roll(expected, 1, axis=0)) > 0.3
    assert apart(found, np.roll(expected, 1, axis=1)) > 0.3


def test_what_a_scorer_cannot_score_has_the_librarys_bias():
    # No neighbour of the unknown item or user: the fallback's undamped biases.
    dataset, parts = recommended.world()
    train = dataset.interactions(parts.train)
    stars = train.rating.astype(float)
    mean = stars.mean()
    count = np.maximum(np.bincount(train.item, minlength=dataset.num_items), 1)
    item = np.bincount(train.item, stars - mean, minlength=dataset.num_items) / count
    left = stars - mean - item[train.item]
    count = np.maximum(np.bincount(train.user, minlength=dataset.num_users), 1)
    user = np.bincount(train.user, left, minlength=dataset.num_users) / count
    scores = recommended.rated("lenskit-itemknn")
    np.testing.assert_allclose(
        scores[:, UNKNOWN_ITEM], np.clip(mean + user, 0.5, 5), atol=1e-5
    )
    np.testing.assert_allclose(
        scores[UNKNOWN_USER], np.clip(mean + item, 0.5, 5), atol=1e-5
    )
    biases = np.clip(mean + user[:, None] + item, 0.5, 5)
    assert np.abs(scores - biases).max() > 0.3  # neighbours are heard elsewhere
