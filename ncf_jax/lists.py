"""Scores -> ranked lists -> per-user values, on the device, by blocks of users.

Two kinds of candidates: a user's own rated rows of a part of the split (`rated`), or
every item the user has not rated in train (`catalogue`), where whatever is not among
the rows counts as not relevant.

Memory is bounded by `PAIRS`, whatever the number of users: about 100 bytes for each
score of a block, on the device, and 20 on the host.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ncf_jax import batching
from ncf_jax.errors import RunError
from ncf_jax.metrics.ranked import Ties, membership, rank
from ncf_jax.metrics.ranking import Metric
from ncf_jax.types import Dataset

PAIRS = 2**22  # scores at a time
HEAD_SHARE = 0.2  # of the items, those with most ratings

Metrics = tuple[tuple[str, Callable[..., jax.Array]], ...]
Catalogue = Callable[[jax.Array], jax.Array]


class Setting(NamedTuple):
    """How lists are judged.

    Attributes:
      ks: cut-offs.
      threshold: stars from which a candidate is relevant.
      ties: how tied candidates are ordered.
    """

    ks: tuple[int, ...] = (10,)
    threshold: float = 4.0
    ties: Ties = "expected"


class Popularity(NamedTuple):
    """What is known of items by their ratings in train, each [I] float32.

    Attributes:
      information: -log2(ratings, at least 1 / users), bits.
      popular: share of the item that is among the `HEAD_SHARE` most rated: 1, 0, or
        between for those that are tied at the border.
    """

    information: np.ndarray
    popular: np.ndarray


def popularity(dataset: Dataset, train: np.ndarray) -> Popularity:
    """Novelty and popularity of each item, from train rows only."""
    count = np.bincount(dataset.item[train], minlength=dataset.num_items)
    information = -np.log2(np.maximum(count, 1) / max(dataset.num_users, 1))
    places = int(np.ceil(HEAD_SHARE * dataset.num_items))
    border = np.sort(count)[::-1][places - 1]
    above = int((count > border).sum())
    share = (places - above) / (count == border).sum()
    popular = np.where(count > border, 1.0, np.where(count == border, share, 0.0))
    return Popularity(information.astype(np.float32), popular.astype(np.float32))


@partial(jax.jit, static_argnames=("metrics", "setting"))
def _values(
    scores_RxBxL: jax.Array,
    rating_BxL: jax.Array,
    where_BxL: jax.Array,
    of_items: Mapping[str, jax.Array],
    *,
    metrics: Metrics,
    setting: Setting,
) -> dict[str, jax.Array]:
    """Values [R, B] of each metric and cut-off; a candidate without stars has NaN."""
    depth = max(setting.ks)

    def one_list(scores, rating, where, of_items) -> dict[str, jax.Array]:
        stars = jnp.nan_to_num(rating)
        reads = {
            "relevant": stars >= setting.threshold,
            "gain": jnp.exp2(stars) - 1,
            "ties": stars,  # of the scores alone
            **of_items,
        }
        found = {}
        for name, metric in metrics:
            read = metric.reads if isinstance(metric, Metric) else "relevant"
            if read not in reads:
                continue
            # An item's properties do not depend on how ties are settled.
            ties = setting.ties if read in ("relevant", "gain") else "expected"
            if isinstance(metric, Metric):
                ranked = rank(scores, reads[read], where, k=depth, ties=ties)
            for k in setting.ks:
                if isinstance(metric, Metric):
                    value = metric.of_ranked(ranked, k)
                else:
                    value = metric(scores, reads[read], where=where, k=k)
                found[f"{name}@{k}"] = value
        return found

    users = jax.vmap(one_list)
    return jax.vmap(users, in_axes=(0, None, None, None))(
        scores_RxBxL, rating_BxL, where_BxL, of_items
    )


@partial(jax.jit, static_argnames="ks")
def _missed(
    scores_RxBxI: jax.Array, where_BxI: jax.Array, *, ks: tuple[int, ...]
) -> jax.Array:
    """P(item is in nobody's list): [ks, R, I]."""

    def one_list(scores: jax.Array, where: jax.Array) -> jax.Array:
        ranked = rank(scores, where, where, k=max(ks))
        return jnp.stack([1 - membership(scores, where, ranked, k) for k in ks])

    users = jax.vmap(one_list)
    missed_RxBxKxI = jax.vmap(users, in_axes=(0, None))(scores_RxBxI, where_BxI)
    return jnp.moveaxis(jnp.prod(missed_RxBxKxI, axis=1), 1, 0)


def rated(
    dataset: Dataset,
    rows: np.ndarray,
    scores_RxN: np.ndarray,
    metrics: Metrics,
    setting: Setting,
    known: Popularity | None,
) -> dict[str, np.ndarray]:
    """Values of the users who have rows, their own rows ranked: name -> [R, U'].

    Args:
      dataset: the data.
      rows: [N] positions of interactions.
      scores_RxN: of those rows, larger is better.
      metrics: (name, metric) pairs; one that reads what is not known is left out.
      setting: cut-offs, threshold, ties.
      known: of items, from train rows; None: nothing.
    """
    item, rating = dataset.item[rows], dataset.rating[rows]
    order, starts = _by_user(dataset, rows)
    some = np.flatnonzero(np.diff(starts))
    most = PAIRS // len(scores_RxN)
    blocks, users_of = [], []
    for users, real, length in _of_like_length(some, np.diff(starts)[some], most):
        local, found = _rows_of((order, starts), users, real)
        lists = batching.group_by_user(local, len(users), at_least=length)
        place = found[lists.position]
        users_of.append(users[real])
        of_items = [] if known is None else named(known)
        values = _values(
            scores_RxN[:, place],
            rating[place],
            lists.where,
            {name: value[item[place]] for name, value in of_items},
            metrics=metrics,
            setting=setting,
        )
        blocks.append({n: np.asarray(v)[:, real] for n, v in values.items()})
    ascending = np.argsort(np.concatenate(users_of))
    return {name: value[:, ascending] for name, value in _joined(blocks).items()}


def catalogue(
    dataset: Dataset,
    rows: np.ndarray,
    train: np.ndarray,
    score: Catalogue,
    metrics: Metrics,
    setting: Setting,
    known: Popularity,
    *,
    seeds: int,
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Values of the users who have rows, all items ranked but those rated in train.

    Args:
      dataset: the data.
      rows: [N] positions of interactions: what is relevant, or not, among the items.
      train: positions of the training rows, whose items are no candidates.
      score: user index [B] -> [R, B, I], larger is better.
      metrics: (name, metric) pairs.
      setting: cut-offs, threshold, ties.
      known: of items, from train rows.
      seeds: R.

    Returns:
      values: name -> [R, U'].
      coverage: name -> [R], the expected share of items that are in some list.

    Raises:
      RunError: a score is NaN or infinite.
    """
    some = np.unique(dataset.user[rows])
    size = max(1, PAIRS // (seeds * dataset.num_items))
    ours, theirs = _by_user(dataset, rows), _by_user(dataset, train)
    missed: Any = 1.0
    blocks = []
    for users, real in _blocks(some, size):
        shape = len(users), dataset.num_items
        rating, where = np.full(shape, np.nan, np.float32), np.ones(shape, bool)
        local, found = _rows_of(ours, users, real)
        rating[local, dataset.item[rows[found]]] = dataset.rating[rows[found]]
        local, found = _rows_of(theirs, users, real)
        where[local, dataset.item[train[found]]] = False
        where &= real[:, None]
        scores = score(jnp.asarray(users, jnp.int32))
        if not bool(jnp.isfinite(scores).all()):
            raise RunError(
                "Scores of the catalogue are NaN or infinite; no metric is computed. "
                "Train again with a smaller --learning_rate."
            )
        of_items = {name: np.broadcast_to(value, shape) for name, value in named(known)}
        values = _values(
            scores, rating, where, of_items, metrics=metrics, setting=setting
        )
        blocks.append({n: np.asarray(v)[:, real] for n, v in values.items()})
        missed = missed * np.asarray(_missed(scores, where, ks=setting.ks))
    covered = 1 - np.asarray(missed, np.float64).mean(axis=-1)
    coverage = {f"coverage@{k}": covered[n] for n, k in enumerate(setting.ks)}
    return _joined(blocks), coverage


def named(known: Popularity) -> list[tuple[str, np.ndarray]]:
    """The properties of items by the names under which metrics read them."""
    return list(known._asdict().items())


def _blocks(users: np.ndarray, most: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Users in equal blocks of at most `most`; the last is padded, and says where."""
    steps = batching.num_batches(len(users), most)
    size = batching.num_batches(len(users), steps)
    padded = np.pad(users, (0, steps * size - len(users)))
    real = np.arange(steps * size) < len(users)
    yield from zip(padded.reshape(steps, size), real.reshape(steps, size), strict=True)


def _of_like_length(
    users: np.ndarray, count: np.ndarray, most: int
) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
    """Blocks of users, as `_blocks`, whose lists of one length hold at most `most`.

    All of them in one block where they fit; otherwise by lengths that double, so that
    a few long lists do not make all the others as long, and few shapes are compiled.
    """
    length = np.full(len(users), count.max())
    if len(users) * (count.max() + 64) > most:
        length = 64 * 2 ** np.ceil(np.log2(np.maximum(count, 64) / 64)).astype(int)
    for each in np.unique(length):
        for block, real in _blocks(users[length == each], max(1, most // each)):
            yield block, real, int(each)


def _by_user(dataset: Dataset, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places among `rows` sorted by user, and where each user's begin: [U + 1]."""
    user = dataset.user[rows]
    counts = np.bincount(user, minlength=dataset.num_users)
    order = np.argsort(user, kind="stable")
    return order, np.concatenate([[0], np.cumsum(counts)])


def _rows_of(
    by_user: tuple[np.ndarray, np.ndarray], users: np.ndarray, real: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Of the rows of some users, each one's place among the users and the rows."""
    order, starts = by_user
    count = np.where(real, starts[users + 1] - starts[users], 0)
    local = np.repeat(np.arange(len(users)), count)
    within = np.arange(len(local)) - np.repeat(np.cumsum(count) - count, count)
    return local, order[starts[users][local] + within]


def _joined(blocks: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    names = blocks[0]
    return {n: np.concatenate([block[n] for block in blocks], axis=1) for n in names}
