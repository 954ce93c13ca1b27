"""What training ratings say of a user and an item together: the *context* of a row.

A model's tables learn from gradients; much that is known of a pair can instead be
counted. Each part below is one or more numbers a (user, item), from the training rows
alone:

  means        the user's and the item's bias, by alternating least squares
  content      the user's mean residual over items like this one: by genre, by decade,
               by tags
  neighbours   the user's mean residual over the items that are rated like this one
  time         the user's mean residual around the time of the rating: within a minute,
               ten minutes, a day

A row must not see itself: a model that is shown the answer while it trains learns to
copy it. So training rows are *cross-fitted*: they are divided at random into `FOLDS`
parts, and the context of each part is counted on the other parts. All other rows see
all training rows. A residual is what the two biases leave of a rating, in stars.

The two logarithms of counts come first in every context, whatever the parts.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from ncf_jax.errors import ConfigError
from ncf_jax.types import Array, Dataset, ItemFeatures, Split

PARTS = ("means", "content", "neighbours")
FOLDS = 10
SWEEPS = 5
PULL = 5.0  # ratings' worth of pull of a bias towards zero
CONTENT_PULL = 2.0
SIMILARITY_PULL = 20.0  # common raters' worth of pull of a similarity towards zero
NEIGHBOUR_PULL = 0.05
TIME_PULL = 1.0
SECONDS = (60.0, 600.0, 86_400.0)
NOWHERE = float(np.log(0.1))  # what the log of a time's weight is without a rating near
DECADES = np.arange(1900, 2040, 10)
MOST_ITEMS = 16_384  # neighbours take 12 I^2 bytes while they are counted: 3 GiB
USERS_AT_ONCE = 4096


@struct.dataclass
class Statistics:
    """Counts of some training rows, from which any pair's context follows.

    Rows are kept by user: those of user u are `count[u]` from `start[u]` on.

    Attributes:
      item_bias: [I] stars.
      item_count: [I].
      similarity: [I, I] signed squares of shrunk correlations; [0, 0] without
        `neighbours`.
      content: [I, C] genre shares, decade and tags of each item; [I, 0] without.
      start: [U] int32.
      count: [U] int32.
      item: [n] int32 item index of each row.
      residual: [n] stars.
      user_bias: [U] stars.
      user_content: [U, C] sums of residual times content over the user's rows.
      user_weight: [U, C] sums of the content's absolute values.
      longest: rows of the user who has most, rounded up.
      blocks: where genres, decades and tags begin and end among the C.
      parts: which of `PARTS` a context has.
      time: whether it has the six numbers of time, too.
      mean: [] of all rows, stars.
    """

    item_bias: Array
    item_count: Array
    similarity: Array
    content: Array
    start: Array
    count: Array
    item: Array
    residual: Array
    user_bias: Array
    user_content: Array
    user_weight: Array
    mean: Array
    longest: int = struct.field(pytree_node=False)
    blocks: tuple[tuple[int, int], ...] = struct.field(pytree_node=False)
    parts: tuple[str, ...] = struct.field(pytree_node=False)
    time: bool = struct.field(pytree_node=False)

    @property
    def width(self) -> int:
        """F, the numbers of a context."""
        means, near = "means" in self.parts, "neighbours" in self.parts
        timed = 2 * len(SECONDS) * self.time
        return 2 + 2 * means + len(self.blocks) + near + timed

    def of_users(self, user: jax.Array) -> jax.Array:
        """Contexts [B, I, F] of every item for each user [B], at no known time.

        Memory: 4 B I (F + 4) bytes.
        """
        return _of_users(self, user)


def item_content(
    features: ItemFeatures,
) -> tuple[np.ndarray, tuple[tuple[int, int], ...]]:
    """Genre shares, decades and tags [I, C], and where each begins and ends."""
    genres = np.asarray(features.genres, np.float32)
    shares = genres / np.maximum(genres.sum(axis=1, keepdims=True), 1.0)
    parts = [shares, np.asarray(features.tags, np.float32)]
    if features.year is not None:
        year = np.asarray(features.year)
        decade = (year[:, None] // 10 * 10 == DECADES).astype(np.float32)
        parts.insert(1, decade)
    ends = np.cumsum([part.shape[1] for part in parts]).tolist()
    return np.concatenate(parts, axis=1), tuple(
        zip([0, *ends[:-1]], ends, strict=True)
    )


def observe(
    dataset: Dataset, rows: np.ndarray, parts: Sequence[str] = PARTS, time: bool = False
) -> Statistics:
    """Counts the rows at positions `rows`.

    Raises:
      ConfigError: there are too many items for `neighbours`.
    """
    users, items = dataset.num_users, dataset.num_items
    rows = rows[np.argsort(dataset.user[rows], kind="stable")]
    user, item = dataset.user[rows], dataset.item[rows]
    stars = dataset.rating[rows].astype(np.float64)
    mean = stars.mean() if len(rows) else 3.5
    user_count = np.bincount(user, minlength=users)
    item_count = np.bincount(item, minlength=items)
    user_bias = np.zeros(users)
    for _ in range(SWEEPS):
        left = np.bincount(item, stars - mean - user_bias[user], items)
        item_bias = left / (item_count + PULL)
        user_bias = _user_bias(user, stars - mean - item_bias[item], user_count)
    residual = (stars - mean - user_bias[user] - item_bias[item]).astype(np.float32)
    content, blocks = np.zeros((items, 0), np.float32), ()
    if "content" in parts:
        content, blocks = item_content(dataset.features)
    similarity = np.zeros((0, 0), np.float32)
    if "neighbours" in parts:
        if items > MOST_ITEMS:
            raise ConfigError(
                f"--statistics=neighbours wants at most {MOST_ITEMS:,} items, since it "
                f"keeps a number for each two of them; found {items:,}. Leave "
                f"neighbours out, or raise --min_item_ratings."
            )
        similarity = _similarity(user, item, residual, users, items)
    sums, weights = (np.zeros((users, content.shape[1]), np.float32) for _ in range(2))
    for block in _by_user(user, USERS_AT_ONCE):
        np.add.at(sums, user[block], residual[block, None] * content[item[block]])
        np.add.at(weights, user[block], np.abs(content[item[block]]))
    longest = -(-int(user_count.max(initial=1)) // 64) * 64
    return Statistics(
        item_bias=item_bias.astype(np.float32),
        item_count=item_count.astype(np.float32),
        similarity=similarity,
        content=content,
        start=(np.cumsum(user_count) - user_count).astype(np.int32),
        count=user_count.astype(np.int32),
        item=item.astype(np.int32),
        residual=residual,
        user_bias=user_bias.astype(np.float32),
        user_content=sums,
        user_weight=weights,
        mean=np.float32(mean),
        longest=longest,
        blocks=blocks,
        parts=tuple(parts),
        time=time,
    )


def _user_bias(user: np.ndarray, left: np.ndarray, count: np.ndarray) -> np.ndarray:
    return np.bincount(user, left, len(count)) / (count + PULL)


def _by_user(user: np.ndarray, users: int) -> Iterator[slice]:
    """Slices of rows, sorted by user, that hold all rows of some users."""
    last = int(user[-1]) + 1 if len(user) else 0
    ends = np.searchsorted(user, np.arange(0, last + users, users))
    return (slice(a, b) for a, b in zip(ends, ends[1:], strict=False))


def _similarity(
    user: np.ndarray, item: np.ndarray, residual: np.ndarray, users: int, items: int
) -> np.ndarray:
    """[I, I] correlation over common raters, shrunk, squared with its sign.

    A correlation is the sum of products of residuals over the number of common raters
    and the items' root mean square residuals.
    """
    product, common = np.zeros((2, items, items), np.float32)
    for block in _by_user(user, USERS_AT_ONCE):
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
    product /= spread[:, None] * spread * (common + SIMILARITY_PULL)
    np.fill_diagonal(product, 0.0)
    return product * np.abs(product)


def of_rows(statistics: Statistics, dataset: Dataset, rows: np.ndarray) -> np.ndarray:
    """Contexts [n, F] of the rows at positions `rows`, their times included."""
    user, item = dataset.user[rows], dataset.item[rows]
    near, weight = np.zeros((2, len(rows)), np.float32)
    if "neighbours" in statistics.parts:
        order = np.argsort(user, kind="stable")
        for one in np.split(order, np.flatnonzero(np.diff(user[order])) + 1):
            if not len(one):
                continue
            start, count = (
                int(x[user[one[0]]]) for x in (statistics.start, statistics.count)
            )
            mine = slice(start, start + count)
            pairs = statistics.similarity[np.ix_(item[one], statistics.item[mine])]
            near[one] = pairs @ statistics.residual[mine]
            weight[one] = np.abs(pairs).sum(axis=1)
    return _columns(np, statistics, user, item, near, weight)


def _columns(
    xp: Any, statistics: Statistics, user: Any, item: Any, near: Any, weight: Any
) -> Any:
    """Contexts [..., F] but for time; `xp` is numpy on the host and jax.numpy beyond.

    Args:
      xp: whose arrays are given and returned.
      statistics: the counts.
      user: [...] index.
      item: [...] index, of a shape that broadcasts with it.
      near: [...] sums of residuals times similarity.
      weight: [...] sums of absolute similarities.
    """
    s, shape = statistics, near.shape
    found = [xp.log1p(s.count)[user], xp.log1p(s.item_count)[item]]
    if "means" in s.parts:
        found += [s.user_bias[user], s.item_bias[item]]
    for begin, end in s.blocks:
        content = s.content[item, begin:end]
        top = (s.user_content[user, begin:end] * content).sum(axis=-1)
        seen = (s.user_weight[user, begin:end] * xp.abs(content)).sum(axis=-1)
        found.append(3.0 * top / (seen + CONTENT_PULL))
    if "neighbours" in s.parts:
        found.append(2.0 * near / (weight + NEIGHBOUR_PULL))
    spread = [xp.broadcast_to(x, shape).astype(xp.float32) for x in found]
    return xp.stack(spread, axis=-1)


@jax.jit
def _of_users(statistics: Statistics, user: jax.Array) -> jax.Array:
    s = jax.tree.map(jnp.asarray, statistics)
    items = s.item_bias.shape[0]
    near = weight = jnp.zeros((len(user), items))
    if "neighbours" in s.parts:

        def history(user: jax.Array) -> tuple[jax.Array, jax.Array]:
            place = jnp.arange(s.longest)
            row = jnp.minimum(s.start[user] + place, s.item.shape[0] - 1)
            item = jnp.where(place < s.count[user], s.item[row], items)
            none = jnp.zeros(items)
            seen = none.at[item].add(1.0, mode="drop")
            return none.at[item].add(s.residual[row], mode="drop"), seen

        value, seen = jax.vmap(history)(user)
        near, weight = value @ s.similarity, seen @ jnp.abs(s.similarity)
    if s.blocks:
        found = jax.lax.map(
            lambda one: _columns(jnp, s, one[0][None], jnp.arange(items), *one[1:]),
            (user, near, weight),
        )
    else:
        found = _columns(jnp, s, user[:, None], jnp.arange(items)[None], near, weight)
    if not s.time:
        return found
    nothing = jnp.array([0.0, 0.3 * NOWHERE] * len(SECONDS))
    nothing = jnp.broadcast_to(nothing, (*found.shape[:2], len(nothing)))
    return jnp.concatenate([found, nothing], axis=-1)


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
      rows: positions asked for.
      past: only look at seen rows that are earlier, by a second or more.
    """
    seen = seen[np.argsort(dataset.user[seen], kind="stable")]
    user, out = dataset.user[rows], np.zeros((len(rows), 2 * len(SECONDS)), np.float32)
    order = np.argsort(user, kind="stable")
    for one in np.split(order, np.flatnonzero(np.diff(user[order])) + 1):
        if not len(one):
            continue
        start, count = (
            int(x[user[one[0]]]) for x in (statistics.start, statistics.count)
        )
        mine = slice(start, start + count)
        apart = dataset.time[rows[one]][:, None] - dataset.time[seen[mine]]
        for column, seconds in enumerate(SECONDS):
            kernel = np.exp(-np.abs(apart) / seconds)
            if past:
                kernel *= apart > 0
            weight = kernel.sum(axis=1)
            value = kernel @ statistics.residual[mine]
            out[one, 2 * column] = 2.0 * value / (weight + TIME_PULL)
            out[one, 2 * column + 1] = 0.3 * np.log(weight + 0.1)
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
      a data set whose rows have a `context` and whose features have `statistics`.
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
    features = dataset.features.replace(statistics=whole)
    return dataclasses.replace(dataset, context=out, features=features)
