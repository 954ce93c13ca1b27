"""Counts training rows, and gives each row of a data set its context.

What a context is, is said in `statistics`, and what a history is in `history`; this is
the side of the host. It runs once before training, reads the ratings of training rows
and of no other, and gives every row of the data set a context.

A row must not see itself: a model that is shown the answer while it trains learns to
copy it. So training rows are *cross-fitted*: they are divided at random into `FOLDS`
parts, and the context of each part is counted on the other parts. All other rows see
all training rows.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from ncf_jax.history import remember, sum_by
from ncf_jax.statistics import (
    DECADES,
    FAINT,
    PARTS,
    SECONDS,
    TIME_SCALE,
    Statistics,
    columns,
)
from ncf_jax.types import Dataset, ItemFeatures, Split, check_values

FOLDS = 10
SWEEPS = 5  # of alternating least squares
PULL = 5.0  # ratings' worth of pull of a bias towards zero
TIME_PULL = 1.0  # ratings' worth, at the same second
MIDDLE = 3.5  # stars, the mean of no rows
AT_ONCE = 2**18  # rows whose contexts are made at a time


def item_content(
    features: ItemFeatures,
) -> tuple[np.ndarray, tuple[tuple[int, int], ...]]:
    """What is known of items: genre shares, which sum to 1, decade and tags.

    Args:
      features: genres [I, G], tags [I, T] and, where known, year [I].

    Returns:
      content: [I, C] float32 side by side.
      blocks: where each of them begins and ends among the C.
    """
    genres = np.asarray(features.genres, np.float32)
    shares = genres / np.maximum(genres.sum(axis=1, keepdims=True), 1.0)
    parts = [shares, np.asarray(features.tags, np.float32)]
    if features.year is not None:
        year = np.asarray(features.year)
        decade = (year[:, None] // 10 * 10 == DECADES).astype(np.float32)
        parts.insert(1, decade)
    ends = np.cumsum([part.shape[1] for part in parts]).tolist()
    return np.concatenate(parts, axis=1), tuple(zip([0, *ends[:-1]], ends, strict=True))


def observe(
    dataset: Dataset, rows: np.ndarray, parts: Sequence[str] = PARTS, time: bool = False
) -> Statistics:
    """Counts some rows.

    Args:
      dataset: the data set.
      rows: [n] positions, all that is read of its ratings.
      parts: of a context, among `PARTS`.
      time: whether contexts have columns of time.
    """
    users, items = dataset.num_users, dataset.num_items
    rows = rows[np.argsort(dataset.user[rows], kind="stable")]
    user, item = dataset.user[rows], dataset.item[rows]
    stars = dataset.rating[rows].astype(np.float64)
    mean = stars.mean() if len(rows) else MIDDLE
    user_count = np.bincount(user, minlength=users)
    item_count = np.bincount(item, minlength=items)
    user_bias, item_bias = np.zeros(users), np.zeros(items)
    for _ in range(SWEEPS):
        left = np.bincount(item, stars - mean - user_bias[user], items)
        item_bias = left / (item_count + PULL)
        left = np.bincount(user, stars - mean - item_bias[item], users)
        user_bias = left / (user_count + PULL)
    content = np.zeros((items, 0), np.float32)
    blocks: tuple[tuple[int, int], ...] = ()
    if "content" in parts:
        content, blocks = item_content(dataset.features)
    residual = stars - mean - user_bias[user] - item_bias[item]

    def product(block: slice) -> np.ndarray:
        return residual[block, None] * content[item[block]]

    def size(block: slice) -> np.ndarray:
        return np.abs(content[item[block]])

    single = np.float32
    return Statistics(
        user_count=user_count.astype(single),
        item_count=item_count.astype(single),
        user_bias=user_bias.astype(single),
        item_bias=item_bias.astype(single),
        content=content,
        user_content=sum_by(user, users, product).astype(single),
        user_weight=sum_by(user, users, size).astype(single),
        mean=single(mean),
        fewest=np.array([_fewest(user_count), _fewest(item_count)], single),
        blocks=blocks,
        parts=tuple(parts),
        time=time,
    )


def _fewest(count: np.ndarray) -> int:
    return int(count[count > 0].min(initial=count.max(initial=0)))


def of_rows(statistics: Statistics, dataset: Dataset, rows: np.ndarray) -> np.ndarray:
    """Contexts [n, F] of rows, without the columns of time.

    Args:
      statistics: the counts.
      dataset: whose pairs the rows are.
      rows: [n] positions; their ratings are not read.
    """
    blocks = np.split(rows, np.arange(AT_ONCE, len(rows), AT_ONCE))
    pairs = ((dataset.user[block], dataset.item[block]) for block in blocks)
    return np.concatenate([columns(np, statistics, *pair) for pair in pairs])


def around(
    statistics: Statistics,
    dataset: Dataset,
    seen: np.ndarray,
    rows: np.ndarray,
    past: bool,
) -> np.ndarray:
    """What the user's residuals were around the time of each row: [n, 6].

    For each of `SECONDS` the mean residual of the user's seen rows, weighted by
    exp(-|seconds between| / SECONDS) and pulled towards 0, and the weights' logarithm.

    Args:
      statistics: of the rows `seen`.
      dataset: with times.
      seen: positions of the rows that may be looked at.
      rows: [n] positions asked for; their ratings are not read.
      past: only weigh seen rows that are earlier, by a second or more. Biases, which a
        residual is taken from, are those of all seen rows.
    """
    s = statistics
    seen = seen[np.argsort(dataset.user[seen], kind="stable")]
    user, item = dataset.user[seen], dataset.item[seen]
    residual = dataset.rating[seen] - s.mean - s.user_bias[user] - s.item_bias[item]
    time, asked = dataset.time[seen], dataset.time[rows]
    out = np.zeros((len(rows), 2 * len(SECONDS)), np.float32)
    theirs = dataset.user[rows]
    order = np.argsort(theirs, kind="stable")
    for one in np.split(order, np.flatnonzero(np.diff(theirs[order])) + 1):
        if not len(one):
            continue
        mine = slice(*np.searchsorted(user, [theirs[one[0]], theirs[one[0]] + 1]))
        apart = asked[one][:, None] - time[mine]
        for column, seconds in enumerate(SECONDS):
            kernel = np.exp(-np.abs(apart) / seconds)
            if past:
                kernel *= apart > 0
            weight = kernel.sum(axis=1)
            value = kernel @ residual[mine]
            out[one, 2 * column] = 2.0 * value / (weight + TIME_PULL)
            out[one, 2 * column + 1] = TIME_SCALE * np.log(weight + FAINT)
    return out


def with_statistics(
    dataset: Dataset,
    split: Split,
    *,
    parts: Sequence[str] = PARTS,
    history: int = 32,
    time: str = "none",
    folds: int = FOLDS,
    seed: int = 0,
) -> Dataset:
    """The data set with the context of each row, and counts for any other pair.

    Args:
      dataset: the data set.
      split: its split; ratings of `split.train` are all that is read.
      parts: of a context, among `PARTS`.
      history: H, numbers of a user's and of an item's history.
      time: `none`; `past`: residuals around the time of a rating, before it; `both`:
        also after it, which no forecast can know.
      folds: parts into which training rows are divided for cross-fitting.
      seed: of that division.

    Returns:
      a data set whose rows have a `context` [N, F] and whose features have
      `statistics` and a `history`.

    Raises:
      DataError: a rating or a feature is NaN or infinite.
    """
    train = split.train
    check_values(dataset)
    timed = time != "none"
    held_out = np.setdiff1d(np.arange(len(dataset.user)), train)
    fold = np.random.default_rng(seed).permutation(len(train)) % folds

    def context(seen: np.ndarray, rows: np.ndarray) -> tuple[Statistics, np.ndarray]:
        statistics = observe(dataset, seen, parts, timed)
        found = [of_rows(statistics, dataset, rows)]
        if timed:
            found.append(around(statistics, dataset, seen, rows, time == "past"))
        return statistics, np.concatenate(found, axis=1)

    whole, found = context(train, held_out)
    out = np.zeros((len(dataset.user), found.shape[1]), np.float32)
    out[held_out] = found
    for number in range(min(folds, len(train))):
        rows = train[fold == number]
        out[rows] = context(train[fold != number], rows)[1]
    # Counts need no parts to leave the row itself out, and are then those of any pair.
    for column, (side, count) in enumerate(
        ((dataset.user, whole.user_count), (dataset.item, whole.item_count))
    ):
        out[train, column] = np.log1p(count[side[train]] - 1.0)
    features = dataclasses.replace(
        dataset.features, statistics=whole, history=remember(dataset, train, history)
    )
    return dataclasses.replace(dataset, context=out, features=features)
