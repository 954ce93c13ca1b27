"""Surprise as its own users call it, by the releases' ids, and its formulas by hand."""

import heapq
import inspect

import numpy as np
import pandas as pd
import pytest

from experiments.peers.recommenders import PEERS
from tests.experiments.peers import recommended

surprise = pytest.importorskip("surprise", reason="pip install -e '.[peers]'")
adapter = pytest.importorskip("experiments.peers.surprise")

ALGORITHMS = {
    "surprise-baseline": lambda: surprise.BaselineOnly(verbose=False),
    "surprise-svd": lambda: surprise.SVD(
        n_factors=100, n_epochs=40, lr_all=0.01, reg_all=0.1, random_state=0
    ),
    "surprise-svdpp": lambda: surprise.SVDpp(random_state=0),
    "surprise-knn": lambda: surprise.KNNBaseline(
        sim_options={"name": "pearson_baseline", "user_based": False}, verbose=False
    ),
}


def by_its_own_ids(algorithm, user_ids, item_ids):
    """[U, I] stars of the library called with text ids, as of a file."""
    dataset, parts = recommended.world()
    table = pd.DataFrame(
        {
            "userId": [f"u{user_ids[u]}" for u in dataset.user[parts.train]],
            "movieId": [f"m{item_ids[i]}" for i in dataset.item[parts.train]],
            "rating": dataset.rating[parts.train],
        }
    )
    scale = surprise.Reader(rating_scale=(0.5, 5.0))
    rows = surprise.Dataset.load_from_df(table, scale).build_full_trainset()
    algorithm.fit(rows)
    return np.array(
        [[algorithm.predict(f"u{u}", f"m{i}").est for i in item_ids] for u in user_ids]
    )


@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_library_called_by_the_releases_ids_says_the_same(name):
    dataset, _ = recommended.world()
    ids = dataset.user_ids, dataset.item_ids
    expected = by_its_own_ids(ALGORITHMS[name](), *ids)
    np.testing.assert_allclose(recommended.rated(name), expected, atol=1e-6)
    users = np.arange(dataset.num_users)
    catalogue = recommended.fitted(name).catalogue(users)
    np.testing.assert_allclose(catalogue, expected, atol=1e-6)
    # The control: one index aside it is another user's or item's.
    assert np.abs(catalogue - np.roll(expected, 1, axis=0)).max() > 0.3
    assert np.abs(catalogue - np.roll(expected, 1, axis=1)).max() > 0.3


def test_neighbours_are_cut_off_as_the_library_cuts():
    # In the world a user has fewer ratings than k = 40, so a smaller k has to bite.
    dataset, parts = recommended.world()
    options = dict(k=3, min_k=2, sim_options={"name": "msd", "user_based": False})
    fitted = adapter.fit(dataset, parts, 0, "KNNBaseline", options)
    users = np.arange(dataset.num_users)
    expected = fitted.rate(*recommended.pairs()).reshape(dataset.num_users, -1)
    np.testing.assert_allclose(fitted.catalogue(users), expected, atol=1e-6)
    for other in (dict(k=4), dict(k=3, min_k=4)):
        control = adapter.fit(dataset, parts, 0, "KNNBaseline", options | other)
        assert np.abs(control.catalogue(users) - expected).max() > 0.01


@pytest.mark.parametrize("k", [1, 2, 5, 8, 9])
def test_of_equal_values_the_first_are_taken(k):
    rng = np.random.default_rng(0)
    value = rng.integers(0, 4, (200, 8)) / 4  # many ties
    taken = adapter.first_largest(value, k)
    for row, mask in zip(value, taken, strict=True):
        pairs = list(enumerate(row))
        expected = heapq.nlargest(k, pairs, key=lambda pair: pair[1])
        assert np.flatnonzero(mask).tolist() == sorted(i for i, _ in expected)


def test_the_settings_are_what_the_library_defaults_to():
    # Where the line tells defaults, they are the installed library's.
    defaults = inspect.signature(surprise.SVDpp).parameters
    told = PEERS["surprise-svdpp"].settings
    for name in ("n_factors", "n_epochs", "lr_all", "reg_all"):
        assert f"{name}={defaults[name].default}" in told
