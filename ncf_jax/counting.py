"""Counts training rows, and gives each row of a data set its context.

What a context is, is said in `statistics`; this is the side of the host. It runs once
before training, reads the ratings of training rows and of no other, and gives every row
of the data set a context.

A row must not see itself: a model that is shown the answer while it trains learns to
copy it. So training rows are *cross-fitted*: they are divided at random into `FOLDS`
parts, and the context of each part is counted on the other parts. All other rows see
all training rows.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

from ncf_jax.errors import ConfigError
from ncf_jax.statistics import (
    DECADES,
    FAINT,
    PARTS,
    SECONDS,
    TIME_SCALE,
    Statistics,
    columns,
)
from ncf_jax.types import Dataset, ItemFeatures, Split

FOLDS = 10
SWEEPS = 5  # of alternating least squares
PULL = 5.0  # ratings' worth of pull of a bias towards zero
SIMILARITY_PULL = 20.0  # common raters' worth of pull of a similarity towards zero
TIME_PULL = 1.0  # ratings' worth, at the same second
MIDDLE = 3.5  # stars, the mean of no rows
MOST_ITEMS = 16_384  # neighbours take 16 I^2 bytes while they are counted: 4 GiB
USERS_AT_ONCE = 4096


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

    Memory on the host: 4 C bytes a user and a row at a time, and for `neighbours` what
    `MOST_ITEMS` says.

    Args:
      dataset: the data set.
      rows: [n] positions, all that is read of its ratings.
      parts: of a context, among `PARTS`.
      time: whether contexts have columns of time.

    Raises:
      ConfigError: there are too many items for `neighbours`.
    """
    users, items = dataset.num_users, dataset.num_items
    rows = _by_user(dataset, rows)
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
    residual = (stars - mean - user_bias[user] - item_bias[item]).astype(np.float32)
    content = np.zeros((items, 0), np.float32)
    blocks: tuple[tuple[int, int], ...] = ()
    if "content" in parts:
        content, blocks = item_content(dataset.features)
    near = np.zeros((0, 0), np.float32)
    if "neighbours" in parts:
        if items > MOST_ITEMS:
            raise ConfigError(
                f"--statistics=neighbours wants at most {MOST_ITEMS:,} items, since it "
                f"keeps a number for each two of them; found {items:,}. Leave "
                f"neighbours out, or raise --min_item_ratings."
            )
        near = similarity(user, item, residual, items)
    sums, weights = (np.zeros((users, content.shape[1]), np.float32) for _ in range(2))
    for block in _blocks(user):
        np.add.at(sums, user[block], residual[block, None] * content[item[block]])
        np.add.at(weights, user[block], np.abs(content[item[block]]))
    return Statistics(
        item_bias=item_bias.astype(np.float32),
        item_count=item_count.astype(np.float32),
        similarity=near,
        content=content,
        start=(np.cumsum(user_count) - user_count).astype(np.int32),
        count=user_count.astype(np.int32),
        item=item.astype(np.int32),
        residual=residual,
        user_bias=user_bias.astype(np.float32),
        user_content=sums,
        user_weight=weights,
        mean=np.float32(mean),
        longest=-(-int(user_count.max(initial=1)) // 64) * 64,
        blocks=blocks,
        parts=tuple(parts),
        time=time,
    )


def _by_user(dataset: Dataset, rows: np.ndarray) -> np.ndarray:
    """The positions `rows` [n] in order of users, as `Statistics` keeps its rows."""
    return rows[np.argsort(dataset.user[rows], kind="stable")]


def _blocks(user: np.ndarray) -> Iterator[slice]:
    """Slices of rows, whose `user` [n] ascends, with all rows of some users each."""
    last = int(user[-1]) + 1 if len(user) else 0
    ends = np.searchsorted(user, np.arange(0, last + USERS_AT_ONCE, USERS_AT_ONCE))
    return (slice(a, b) for a, b in pairwise(ends))


def similarity(
    user: np.ndarray, item: np.ndarray, residual: np.ndarray, items: int
) -> np.ndarray:
    """[I, I] correlation over common raters, shrunk, squared with its sign; 0 to self.

    A correlation is the sum of products of residuals over the number of common raters
    and the items' root mean square residuals.

    Args:
      user: [n] index, ascending.
      item: [n] index.
      residual: [n] stars.
      items: I.
    """
    product, common = np.zeros((2, items, items), np.float32)
    for block in _blocks(user):
        if block.start == block.stop:
            continue
        place = user[block] - user[block.start]
        shape = (int(place[-1]) + 1, items)
        value, seen = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        value[place, item[block]] = residual[block]
        seen[place, item[block]] = 1.0
        product += value.T @ value
        common += seen.T @ seen
    number = np.maximum(common.diagonal(), 1.0)
    spread = np.sqrt(product.diagonal() / number + 1e-3)
    common += SIMILARITY_PULL
    common *= spread[:, None] * spread
    product /= common
    np.fill_diagonal(product, 0.0)
    product *= np.abs(product, out=common)
    return product


def _histories(
    statistics: Statistics, user: np.ndarray
) -> Iterator[tuple[np.ndarray, slice]]:
    """For each user among `user` [n]: where in it, and their rows in `statistics`."""
    order = np.argsort(user, kind="stable")
    for one in np.split(order, np.flatnonzero(np.diff(user[order])) + 1):
        if len(one):
            start, count = (
                statistics.start[user[one[0]]],
                statistics.count[user[one[0]]],
            )
            yield one, slice(int(start), int(start) + int(count))


def of_rows(statistics: Statistics, dataset: Dataset, rows: np.ndarray) -> np.ndarray:
    """Contexts [n, F] of rows, without the columns of time.

    Args:
      statistics: the counts.
      dataset: whose pairs the rows are.
      rows: [n] positions; their ratings are not read.
    """
    user, item = dataset.user[rows], dataset.item[rows]
    near, weight = np.zeros((2, len(rows)), np.float32)
    if "neighbours" in statistics.parts:
        for one, mine in _histories(statistics, user):
            pairs = statistics.similarity[np.ix_(item[one], statistics.item[mine])]
            near[one] = pairs @ statistics.residual[mine]
            weight[one] = np.abs(pairs).sum(axis=1)
    return columns(np, statistics, user, item, near, weight)


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
    time, asked = dataset.time[_by_user(dataset, seen)], dataset.time[rows]
    out = np.zeros((len(rows), 2 * len(SECONDS)), np.float32)
    for one, mine in _histories(statistics, dataset.user[rows]):
        apart = asked[one][:, None] - time[mine]
        for column, seconds in enumerate(SECONDS):
            kernel = np.exp(-np.abs(apart) / seconds)
            if past:
                kernel *= apart > 0
            weight = kernel.sum(axis=1)
            value = kernel @ statistics.residual[mine]
            out[one, 2 * column] = 2.0 * value / (weight + TIME_PULL)
            out[one, 2 * column + 1] = TIME_SCALE * np.log(weight + FAINT)
    return out


def with_statistics(
    dataset: Dataset,
    split: Split,
    *,
    parts: Sequence[str] = PARTS,
    time: str = "none",
    folds: int = FOLDS,
    seed: int = 0,
) -> Dataset:
    """The data set with the context of each row, and counts for any other pair.

    Args:
      dataset: the data set.
      split: its split; ratings of `split.train` are all that is read.
      parts: of a context, among `PARTS`.
      time: `none`; `past`: residuals around the time of a rating, before it; `both`:
        also after it, which no forecast can know.
      folds: parts into which training rows are divided for cross-fitting.
      seed: of that division.

    Returns:
      a data set whose rows have a `context` [N, F] and whose features have
      `statistics`.

    Raises:
      ConfigError: there are too many items for `neighbours`.
    """
    train = split.train
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
    features = dataclasses.replace(dataset.features, statistics=whole)
    return dataclasses.replace(dataset, context=out, features=features)
