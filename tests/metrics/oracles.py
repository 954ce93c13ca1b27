"""What ranking metrics are compared with: every reading written out once more.

`by_loop` is plain Python on one list in its final order; `by_order` is NumPy on many.
Neither shares a line with the package or with the other, and a test holds them to each
other. `over_orders` is the mean over every order that the scores allow.
"""

import itertools
import math
from functools import partial

import jax
import numpy as np

from ncf_jax.metrics import CONVENTIONS
from ncf_jax.types import Dataset, ItemFeatures

# Every reading as "convention/name", and each once where conventions share it.
READINGS = {
    f"{convention}/{name}": metric
    for convention, metrics in CONVENTIONS.items()
    for name, metric in metrics.items()
}
_BY_RANK = sorted(READINGS, key=lambda reading: not reading.startswith("standard"))
DISTINCT = {READINGS[reading]: reading for reading in reversed(_BY_RANK)}
READS = ("relevant", "gain", "information", "popular")
# Not defined without a relevant candidate, or without any gain.
WANTS_RELEVANT = ("recall", "hit_rate", "mrr", "map", "ndcg")
DESCRIBES = ("novelty", "popularity", "tied_cutoffs")


def parts(reading):
    """convention/name -> convention, name."""
    return tuple(reading.split("/"))


def is_nan_without_relevant(reading):
    convention, name = parts(reading)
    return name in WANTS_RELEVANT and (convention, name) != ("reference", "ndcg")


@partial(jax.jit, static_argnames=("k", "ties"))
def jitted(scores, values, where, *, k, ties="expected"):
    """Each distinct reading's values [...] of lists [..., L].

    `values` has the candidates' values by what metrics read of them; what is missing
    is taken from `relevant`.
    """
    return {
        reading: metric(
            scores,
            values.get(metric.reads, values["relevant"]),
            where=where,
            k=k,
            ties=ties,
        )
        for metric, reading in DISTINCT.items()
    }


def run(scores, values, where=None, *, k, ties="expected", pad=(2048, 32)):
    """All readings of some lists [..., L <= 32], padded to one shape: few compilations.

    That padding and leading axes change nothing has its own tests. `values` is the
    relevance, or a dict of values by what metrics read.
    """
    if not isinstance(values, dict):
        values = {"relevant": values}
    scores = np.asarray(scores, np.float32)
    where = np.ones(scores.shape, bool) if where is None else np.asarray(where, bool)
    shape, length = scores.shape[:-1], scores.shape[-1]
    rows = math.prod(shape)
    assert rows <= pad[0]
    room = (0, pad[0] - rows), (0, pad[1] - length)

    def padded(array, with_):
        return np.pad(array.reshape(-1, length), room, constant_values=with_)

    filled = {
        reads: padded(np.asarray(values.get(reads, values["relevant"]), np.float32), 1)
        for reads in READS
    }
    out = jitted(padded(scores, np.nan), filled, padded(where, False), k=k, ties=ties)
    found = {name: np.asarray(v)[:rows].reshape(shape) for name, v in out.items()}
    return {reading: found[DISTINCT[metric]] for reading, metric in READINGS.items()}


def by_loop(reading, values, k):
    """One list of the candidates' values (0 or 1, or gains), in its final order."""
    convention, name = parts(reading)
    if not values:
        return math.nan
    top, count = values[:k], sum(value > 0 for value in values)
    if name in ("novelty", "popularity"):
        return sum(top) / len(top)
    if count == 0 and is_nan_without_relevant(reading):
        return math.nan
    if name == "precision":
        return sum(top) / (len(top) if convention == "lenskit" else k)
    if name == "recall":
        return sum(top) / (min(k, count) if convention == "lenskit" else count)
    if name == "hit_rate":
        return float(any(top))
    if name == "mrr":
        for place, hit in enumerate(top, start=1):
            if hit:
                return 1 / place
        return 0.0
    if name == "map":
        total = 0.0
        for place, hit in enumerate(top, start=1):
            if hit:
                total += sum(top[:place]) / place
        if convention == "lenskit":
            return total / min(count, k, len(values))
        return total / count
    assert name == "ndcg"
    best = {
        "reference": sorted(top, reverse=True),
        "rectools": [1] * k,
    }.get(convention, sorted(values, reverse=True)[:k])

    def dcg(gains):
        total = 0.0
        for place, gain in enumerate(gains, start=1):
            log = math.log2(max(place, 2) if convention == "lenskit" else place + 1)
            total += gain / log
        return total

    return dcg(top) / dcg(best) if dcg(best) else 0.0


def by_order(reading, values, k):
    """The same for many lists at once: [..., L] in final order -> [...]."""
    convention, name = parts(reading)
    values = np.asarray(values, np.float64)
    length = values.shape[-1]
    place = np.arange(1, length + 1)
    top = np.where(place <= k, values, 0.0)
    hits, total = top.sum(axis=-1), values.sum(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        if name in ("novelty", "popularity"):
            return top.sum(axis=-1) / min(k, length)
        if name == "precision":
            return hits / {"lenskit": min(k, length)}.get(convention, k)
        if name == "recall":
            most = k if convention == "lenskit" else length
            return hits / np.minimum(total, most)
        nothing = np.where(total > 0, 0.0, np.nan)
        if name == "hit_rate":
            return nothing + top.max(axis=-1)
        if name == "mrr":
            return nothing + (top / place).max(axis=-1)
        if name == "map":
            most = k if convention == "lenskit" else length
            at_each = np.cumsum(values, axis=-1) / place
            return (top * at_each).sum(axis=-1) / np.minimum(total, most)
        shift = np.maximum(place, 2) if convention == "lenskit" else place + 1
        weight = 1 / np.log2(shift)
        dcg = (top * weight).sum(axis=-1)
        if convention == "rectools":
            return nothing + dcg / (1 / np.log2(np.arange(2, k + 2))).sum()
        best = -np.sort(-(top if convention == "reference" else values), axis=-1)
        ideal = (np.where(place <= k, best, 0.0) * weight).sum(axis=-1)
        if convention == "reference":
            return np.where(ideal > 0, dcg / ideal, 0.0)
        return dcg / ideal


def orders_of(scores):
    """Every order of the candidates in which no score is below the next one's."""
    return [
        order
        for order in itertools.permutations(range(len(scores)))
        if all(scores[a] >= scores[b] for a, b in itertools.pairwise(order))
    ]


def over_orders(reading, scores, values, k):
    """The mean over all orders of tied candidates, one by one."""
    if parts(reading)[1] == "tied_cutoffs":
        return float(is_tied(scores, k))
    ordered = [[values[i] for i in order] for order in orders_of(scores)]
    return np.mean([by_loop(reading, each, k) for each in ordered])


def over_all_orders(reading, scores, values, k):
    """The same for many lists of one length at once: [C, L] -> [C]."""
    if parts(reading)[1] == "tied_cutoffs":
        return np.array([is_tied(list(each), k) for each in scores], float)
    orders = np.array(list(itertools.permutations(range(scores.shape[-1]))))
    allowed = (np.diff(scores[:, orders], axis=-1) <= 0).all(axis=-1)
    found = by_order(reading, values[:, orders], k)
    return np.where(allowed, found, 0.0).sum(axis=-1) / allowed.sum(axis=-1)


def is_tied(scores, k):
    """Whether the k-th and the next candidate have the same score."""
    ordered = sorted(scores, reverse=True)
    return len(ordered) > k and ordered[k - 1] == ordered[k]


def distinct(rng, *shape):
    """Scores without ties [..., L], exact in float32."""
    return rng.permuted(np.tile(np.arange(shape[-1]), (*shape[:-1], 1)), axis=-1) / 8


def world(user, item, rating, *, users, items):
    """A data set of a few interactions, without features."""
    n = len(user)
    return Dataset(
        name="small",
        label="small",
        user=np.asarray(user, np.int32),
        item=np.asarray(item, np.int32),
        rating=np.asarray(rating, np.float32),
        time=np.zeros(n, np.int64),
        features=ItemFeatures(
            genres=np.zeros((items, 1), np.float32), tags=np.zeros((items, 1))
        ),
        user_ids=np.arange(users),
        item_ids=np.arange(items),
        titles=("",) * items,
        genres=("",) * items,
        genre_names=("none",),
        fingerprint="",
    )


def random_world(rng, *, users, items, share):
    """A world in which some of the pairs are rated, and a part of each row number."""
    user, item = np.nonzero(rng.random((users, items)) < share)
    order = rng.permutation(len(user))
    stars = rng.integers(1, 11, len(user)) / 2
    return world(user[order], item[order], stars, users=users, items=items)
