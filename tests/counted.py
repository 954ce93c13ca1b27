"""A small world to count in, and every column of a context by loops over its rows."""

import dataclasses

import numpy as np

from ncf_jax.types import Dataset, ItemFeatures, Split

USERS, ITEMS, G, T = 7, 9, 4, 3
EMPTY_USER, EMPTY_ITEM = 5, 7  # without a row in train
NAMES = (
    "user count",
    "item count",
    "user bias",
    "item bias",
    "genres",
    "decade",
    "tags",
)
PARTS_OF = {
    "means": ("user bias", "item bias"),
    "content": ("genres", "decade", "tags"),
}
SECONDS = (60.0, 600.0, 86_400.0)


def world(seed=0, years=True):
    """44 ratings in sessions, some at the same second, and a split with two gaps."""
    rng = np.random.default_rng(seed)
    pairs = rng.permutation(USERS * ITEMS)[:44]
    user, item = np.divmod(pairs, ITEMS)
    session = rng.integers(0, 3, len(pairs)) * 86_400
    year = rng.integers(1950, 2010, ITEMS)
    year[3] = 0  # the title does not say
    features = ItemFeatures(
        genres=rng.integers(0, 2, (ITEMS, G)).astype(np.float32),
        tags=rng.normal(size=(ITEMS, T)).astype(np.float32),
        year=year.astype(np.float32) if years else None,
    )
    dataset = Dataset(
        name="world",
        label="world",
        user=user.astype(np.int32),
        item=item.astype(np.int32),
        rating=(rng.integers(1, 11, len(pairs)) / 2).astype(np.float32),
        time=1_000_000_000 + session + rng.integers(0, 5, len(pairs)) * 30,
        features=features,
        user_ids=np.arange(USERS),
        item_ids=np.arange(ITEMS),
        titles=("",) * ITEMS,
        genres=("",) * ITEMS,
        genre_names=("",) * G,
        fingerprint="",
    )
    held_out = (user == EMPTY_USER) | (item == EMPTY_ITEM) | (rng.random(44) < 0.2)
    rest = np.flatnonzero(held_out)
    return dataset, divided(np.flatnonzero(~held_out), rest[::2], rest[1::2])


def divided(train, valid, test):
    return Split(train, valid, test, definition="", fingerprint="")


def with_ratings(dataset, rows, ratings):
    """The data set with other ratings at the positions `rows`."""
    rating = dataset.rating.copy()
    rating[rows] = ratings
    return dataclasses.replace(dataset, rating=rating)


def shuffled(dataset, rows, seed=0):
    """The data set with the ratings of `rows` in another order."""
    order = np.random.default_rng(seed).permutation(rows)
    return with_ratings(dataset, rows, dataset.rating[order])


def every_pair(dataset):
    """The data set with a row, of no rating, for each user and item; its positions."""
    user, item = np.divmod(np.arange(USERS * ITEMS), ITEMS)
    nothing = np.full(len(user), np.nan, np.float32)
    changed = dataclasses.replace(dataset, user=user, item=item, rating=nothing)
    return changed, np.arange(len(user))


def residuals(dataset, rows):
    """Mean, biases of users and items, and residuals of `rows`, by loops."""
    triples = [
        (dataset.user[n], dataset.item[n], float(dataset.rating[n])) for n in rows
    ]
    mean = sum(stars for *_, stars in triples) / len(triples) if triples else 3.5
    users, items = dict.fromkeys(range(USERS), 0.0), dict.fromkeys(range(ITEMS), 0.0)
    for _ in range(5):
        for i in items:
            left = [r - mean - users[u] for u, j, r in triples if j == i]
            items[i] = sum(left) / (len(left) + 5.0)
        for u in users:
            left = [r - mean - items[i] for v, i, r in triples if v == u]
            users[u] = sum(left) / (len(left) + 5.0)
    return mean, users, items, [r - mean - users[u] - items[i] for u, i, r in triples]


def describe(features, block):
    """What is known of each item, [I, ...]."""
    if block == "genres":
        genres = np.asarray(features.genres, np.float64)
        return np.array([row / max(row.sum(), 1.0) for row in genres])
    if block == "tags":
        return np.asarray(features.tags, np.float64)
    starts = range(1900, 2040, 10)
    return (
        np.array([[s <= year < s + 10 for s in starts] for year in features.year]) * 1
    )


def contexts(dataset, seen, pairs):
    """Every column but time's of the context of each (user, item), from rows `seen`."""
    _, users, items, residual = residuals(dataset, seen)
    known = {name: describe(dataset.features, name) for name in PARTS_OF["content"]}
    out = []

    def number(ids, one):
        """Rows of `one`, but not fewer than of anyone who has some."""
        counts = {other: sum(ids[n] == other for n in seen) for other in ids[seen]}
        return max(counts.get(one, 0), min(counts.values(), default=0))

    for user, item in pairs:
        mine = [
            (dataset.item[n], left)
            for n, left in zip(seen, residual, strict=True)
            if dataset.user[n] == user
        ]
        row = [
            np.log(1 + number(dataset.user, user)),
            np.log(1 + number(dataset.item, item)),
            users[user],
            items[item],
        ]
        for x in known.values():
            top = sum(left * (x[j] @ x[item]) for j, left in mine)
            weight = sum(np.abs(x[j]) @ np.abs(x[item]) for j, _ in mine)
            row.append(3 * top / (weight + 2.0))
        out.append(row)
    return np.array(out)


def times(dataset, seen, rows, past):
    """The columns of time, by loops."""
    residual = residuals(dataset, seen)[-1]
    out = []
    for row in rows:
        found = []
        for seconds in SECONDS:
            top = weight = 0.0
            for n, left in zip(seen, residual, strict=True):
                apart = int(dataset.time[row]) - int(dataset.time[n])
                if dataset.user[n] == dataset.user[row] and (apart > 0 or not past):
                    top += left * np.exp(-abs(apart) / seconds)
                    weight += np.exp(-abs(apart) / seconds)
            found += [2 * top / (weight + 1), 0.3 * np.log(weight + 0.1)]
        out.append(found)
    return np.array(out)
