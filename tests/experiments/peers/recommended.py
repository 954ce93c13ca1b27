"""A small world for peers, and peers fitted to it once a session."""

import dataclasses
import functools
import importlib.util

import numpy as np
import pytest

from experiments.peers.recommenders import PEERS
from ncf_jax.types import Dataset, ItemFeatures, Split

MODULES = {
    "scikit-surprise": "surprise",
    "myfm": "myfm",
    "lenskit": "lenskit",
    "cornac": "cornac",
}
NAMES = ("Drama", "Comedy", "War")
UNKNOWN_USER, UNKNOWN_ITEM = 7, 11  # both have test rows only


def needs(package):
    """Skips where a peer's library is not installed."""
    # Not importorskip: myFM's own import fails beside a new setuptools (fm.py).
    if importlib.util.find_spec(MODULES[package]) is None:
        pytest.skip(f"{package} is not installed: pip install -e '.[peers]'")


@functools.cache
def world():
    """24 users, 30 items, biases and a taste; ids far from indices."""
    rng = np.random.default_rng(5)
    users, items = 24, 30
    user, item = np.nonzero(rng.random((users, items)) < 0.6)
    order = rng.permutation(len(user))  # no index follows the order of the rows
    user, item = user[order].astype(np.int32), item[order].astype(np.int32)
    liking = rng.normal(0, 0.6, users)[user] + rng.normal(0, 0.8, items)[item]
    taste = rng.normal(size=(users, 2)), rng.normal(size=(items, 2))
    liking += 0.4 * (taste[0][user] * taste[1][item]).sum(axis=1)
    stars = np.clip(np.round(2 * (3.4 + liking)) / 2, 0.5, 5)
    genres = (rng.random((items, 3)) < 0.4).astype(np.float32)
    dataset = Dataset(
        name="peers",
        label="a world of peers",
        user=user,
        item=item,
        rating=stars.astype(np.float32),
        time=np.arange(len(user)),
        features=ItemFeatures(
            genres=genres, tags=rng.normal(0, 0.3, (items, 4)).astype(np.float32)
        ),
        user_ids=1000 - 3 * np.arange(users),
        item_ids=50_000 + 7 * rng.permutation(items),
        titles=tuple(
            f"Film {i} ({1990 + i % 5})" if i else "No year" for i in range(items)
        ),
        genres=tuple("|".join(np.array(NAMES)[row > 0]) for row in genres),
        genre_names=NAMES,
        fingerprint="world",
    )
    unknown = (user == UNKNOWN_USER) | (item == UNKNOWN_ITEM)
    part = np.where(unknown, 2, rng.choice(3, len(user), p=(0.7, 0.15, 0.15)))
    rows = [np.flatnonzero(part == which) for which in range(3)]
    return dataset, Split(*rows, definition="drawn", fingerprint="split")


def pairs():
    """Every user with every item: user [U I] and item [U I]."""
    dataset, _ = world()
    grid = np.indices((dataset.num_users, dataset.num_items))
    return tuple(side.ravel() for side in grid)


@functools.cache
def fitted(name, seed=0):
    """A peer fitted to the world."""
    needs(PEERS[name].package)
    return PEERS[name].fit(*world(), seed)


@functools.cache
def rated(name, seed=0):
    """What it says of every pair, [U, I]."""
    dataset, _ = world()
    return fitted(name, seed).rate(*pairs()).reshape(dataset.num_users, -1)


def changed(rows, *, stars_only=False):
    """The world with other users, items and stars, or stars only, in `rows`."""
    dataset, _ = world()
    rating = dataset.rating.copy()
    rating[rows] = 5.5 - rating[rows]
    assert (rating != dataset.rating).any()
    if stars_only:
        return dataclasses.replace(dataset, rating=rating)
    rng = np.random.default_rng(1)
    columns = {name: getattr(dataset, name).copy() for name in ("user", "item")}
    for name, column in columns.items():
        column[rows] = rng.permutation(column[rows])
        assert (column != getattr(dataset, name)).any()
    return dataclasses.replace(dataset, **columns, rating=rating)
