"""Cornac called by the releases' ids says the same; the unknown as in its ranking."""

import numpy as np
import pytest

from experiments.peers.recommenders import PEERS
from tests.experiments.peers import recommended
from tests.experiments.peers.recommended import UNKNOWN_ITEM, UNKNOWN_USER

cornac = pytest.importorskip("cornac", reason="pip install -e '.[peers]'")

MODELS = {
    "cornac-mf": lambda: cornac.models.MF(
        k=10, max_iter=25, learning_rate=0.01, lambda_reg=0.02, use_bias=True, seed=0
    ),
    "cornac-pmf": lambda: cornac.models.PMF(
        k=10, max_iter=100, learning_rate=0.001, lambda_reg=0.001, seed=0
    ),
    "cornac-bpr": lambda: cornac.models.BPR(
        k=10, max_iter=200, learning_rate=0.001, lambda_reg=0.01, seed=0
    ),
}


def by_its_own_ids(name):
    """The library's model, fitted to rows with text ids."""
    dataset, parts = recommended.world()
    rows = [
        (f"u{dataset.user_ids[u]}", f"m{dataset.item_ids[i]}", float(r))
        for u, i, r in zip(
            dataset.user[parts.train],
            dataset.item[parts.train],
            dataset.rating[parts.train],
            strict=True,
        )
    ]
    return MODELS[name]().fit(cornac.data.Dataset.from_uir(rows))


@pytest.mark.parametrize("name", MODELS)
def test_the_library_called_by_the_releases_ids_says_the_same(name):
    dataset, _ = recommended.world()
    model = by_its_own_ids(name)
    ask = model.rate if PEERS[name].stars else model.score
    found = recommended.rated(name)
    expected = np.full(found.shape, np.nan)
    for u, user_id in enumerate(dataset.user_ids):
        for i, item_id in enumerate(dataset.item_ids):
            inner = model.uid_map.get(f"u{user_id}"), model.iid_map.get(f"m{item_id}")
            if None not in inner:
                expected[u, i] = ask(*inner)
    known = ~np.isnan(expected)
    assert (~known).sum() == 24 + 30 - 1  # one user and one item
    np.testing.assert_allclose(found[known], expected[known], atol=1e-6)
    assert np.nanmax(np.abs(found - np.roll(expected, 1, axis=0))) > 0.1
    assert np.nanmax(np.abs(found - np.roll(expected, 1, axis=1))) > 0.1


@pytest.mark.parametrize("name", MODELS)
def test_a_users_order_of_items_is_the_librarys(name):
    # PMF's rate goes through a sigmoid that its rank leaves out; the order is one.
    dataset, _ = recommended.world()
    model, found = by_its_own_ids(name), recommended.rated(name)
    numbers = [model.iid_map.get(f"m{i}") for i in dataset.item_ids]
    known = np.delete(np.arange(dataset.num_items), UNKNOWN_ITEM)
    for u in (0, 3, 20):
        inner = model.uid_map[f"u{dataset.user_ids[u]}"]
        _, scores = model.rank(inner, np.array([numbers[i] for i in known]))
        inside = (found[u, known] > 0.5) & (found[u, known] < 5)  # clipped ones tie
        stars = found[u, known][inside] if PEERS[name].stars else found[u, known]
        raw = scores[inside] if PEERS[name].stars else scores
        assert np.array_equal(np.argsort(stars), np.argsort(raw))


def test_an_unknown_item_is_last_where_there_are_no_stars():
    scores = recommended.rated("cornac-bpr")
    known = np.delete(np.arange(scores.shape[0]), UNKNOWN_USER)
    lowest = np.delete(scores, UNKNOWN_ITEM, axis=1).min(axis=1)
    assert np.array_equal(scores[known, UNKNOWN_ITEM], lowest[known])


@pytest.mark.parametrize("name", ["cornac-mf", "cornac-pmf"])
def test_an_unknown_item_has_the_mean_of_all_ratings(name):
    dataset, parts = recommended.world()
    scores = recommended.rated(name)
    mean = dataset.rating[parts.train].mean()
    np.testing.assert_allclose(scores[:, UNKNOWN_ITEM], mean, rtol=1e-6)
    assert np.ptp(scores[0]) > 0.1  # the others have not


@pytest.mark.parametrize("name", ["cornac-pmf", "cornac-bpr"])
def test_an_unknown_user_has_one_score_for_all(name):
    scores = recommended.rated(name)
    assert np.ptp(scores[UNKNOWN_USER]) == 0
    assert np.ptp(scores[UNKNOWN_USER - 1]) > 0
