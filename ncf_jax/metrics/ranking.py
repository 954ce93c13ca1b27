"""Ranking metrics by the reference's reading, one value per list before any mean.

All have one shape: `metric(scores, relevance, *, where, k)`. The last axis is a list
of L candidates in any order, the axes before it are users; the result has those axes.
Binary relevance. A list without candidates is NaN.

Ties are scored by expectation over all orders of the tied candidates, so a constant
scorer gets exactly what chance gives, and the order of the input never matters.

Example:
  >>> scores = jnp.array([0.9, 0.1, 0.5, 7.0])
  >>> relevance = jnp.array([True, False, True, False])
  >>> where = jnp.array([True, True, True, False])
  >>> float(precision(scores, relevance, where=where, k=2))
  1.0
  >>> float(precision(scores, relevance, where=None, k=2))  # the mask matters
  0.5
  >>> float(precision(jnp.zeros(4), relevance, where=None, k=2))  # chance
  0.5
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp


class Ranked(NamedTuple):
    """One list sorted by score, best first, padding last.

    Attributes:
      candidates: [] how many.
      relevant: [] relevant candidates.
      expected: [L] expected relevance of the position over orders of its ties.
      start: [L] first position of the position's tie group.
      size: [L] candidates in the tie group.
      inside: [L] relevant candidates in the tie group.
      before: [L] relevant candidates ahead of the tie group.
    """

    candidates: jax.Array
    relevant: jax.Array
    expected: jax.Array
    start: jax.Array
    size: jax.Array
    inside: jax.Array
    before: jax.Array


def rank(scores: jax.Array, relevance: jax.Array, where: jax.Array) -> Ranked:
    """Sorts one list [L] by score and describes the tie group of each position."""
    length = scores.shape[0]
    # By two keys, so that padding comes last whatever a candidate's score is.
    order = jnp.lexsort((jnp.where(where, -scores, 0.0), ~where))
    scores, where, relevance = scores[order], where[order], (relevance & where)[order]
    position = jnp.arange(length)
    changed = (scores[1:] != scores[:-1]) | (where[1:] != where[:-1])
    edge = jnp.ones(1, bool)
    opens = jnp.concatenate([edge, changed])
    closes = jnp.concatenate([changed, edge])
    start = jax.lax.cummax(jnp.where(opens, position, 0))
    end = jax.lax.cummin(jnp.where(closes, position + 1, length), reverse=True)
    seen = jnp.concatenate([jnp.zeros(1, jnp.int32), jnp.cumsum(relevance)])
    size, inside = end - start, seen[end] - seen[start]
    return Ranked(
        candidates=jnp.sum(where),
        relevant=seen[-1],
        expected=jnp.where(where, inside / size, 0.0),
        start=start,
        size=size,
        inside=inside,
        before=seen[start],
    )


def _over_lists(
    metric: Callable[[Ranked, int], jax.Array],
    scores: jax.Array,
    relevance: jax.Array,
    where: jax.Array | None,
    k: int,
) -> jax.Array:
    """Applies a metric of one ranked list to every list of [..., L]."""
    if where is None:
        where = jnp.ones(scores.shape, bool)
    chex.assert_equal_shape([scores, relevance, where])
    if scores.shape[-1] == 0:
        return jnp.full(scores.shape[:-1], jnp.nan)

    @partial(jnp.vectorize, signature="(l),(l),(l)->()")
    def one(scores: jax.Array, relevance: jax.Array, where: jax.Array) -> jax.Array:
        ranked = rank(scores, relevance, where)
        value = jnp.minimum(metric(ranked, k), 1.0)  # rounding may pass 1 by an ulp
        return jnp.where(ranked.candidates > 0, value, jnp.nan)

    return one(scores, jnp.asarray(relevance, bool), jnp.asarray(where, bool))


def precision(
    scores: jax.Array, relevance: jax.Array, *, where: jax.Array | None = None, k: int
) -> jax.Array:
    """Expected relevant candidates in the first k, over k (also in shorter lists).

    Args:
      scores: [..., L] larger is better.
      relevance: [..., L] whether the candidate is relevant.
      where: [..., L] the real candidates; None: all.
      k: cut-off.

    Returns:
      [...] in [0, 1]; NaN for a list without candidates.

    Raises:
      AssertionError: the shapes differ.
    """
    return _over_lists(_precision, scores, relevance, where, k)


def _precision(ranked: Ranked, k: int) -> jax.Array:
    return jnp.sum(ranked.expected[:k]) / k


def recall(
    scores: jax.Array, relevance: jax.Array, *, where: jax.Array | None = None, k: int
) -> jax.Array:
    """Expected relevant candidates in the first k, over all relevant ones.

    Arguments as in `precision`.

    Returns:
      [...] in [0, 1]; NaN, to be left out, for a list without a relevant candidate.
    """
    return _over_lists(_recall, scores, relevance, where, k)


def _recall(ranked: Ranked, k: int) -> jax.Array:
    share = jnp.sum(ranked.expected[:k]) / jnp.maximum(ranked.relevant, 1)
    return jnp.where(ranked.relevant > 0, share, jnp.nan)


def ndcg(
    scores: jax.Array, relevance: jax.Array, *, where: jax.Array | None = None, k: int
) -> jax.Array:
    """Expected DCG of the first k over the DCG of those same k, re-sorted.

    The reference's reading: binary gain, discount log2(position + 1), and an ideal
    made of the retrieved candidates only, so it measures order within the list and
    not what the list missed. Arguments as in `precision`.

    With ties across the cut-off, the number h of tied relevant candidates that make
    it into the list is hypergeometric, and the ideal depends on h: the ratio's
    expectation is the sum over h, not the ratio of expectations.

    Returns:
      [...] in [0, 1]; 0 when none of the first k is relevant, NaN for a list without
      candidates.
    """
    return _over_lists(_ndcg, scores, relevance, where, k)


def _ndcg(ranked: Ranked, k: int) -> jax.Array:
    k = min(k, ranked.expected.shape[0])  # places beyond the list hold nothing
    position = jnp.arange(ranked.expected.shape[0])
    discount = jnp.where(position < k, 1 / jnp.log2(position + 2.0), 0.0)
    cut = jnp.minimum(k, ranked.candidates)
    last = jnp.maximum(cut - 1, 0)
    start = ranked.start[last]  # of the tie group that the cut-off goes through
    slots = cut - start  # places in the list for that group
    sure = jnp.where(position < start, discount, 0.0)
    open_ = jnp.where((position >= start) & (position < cut), discount, 0.0)
    hits = jnp.arange(k + 1)
    chance = _hypergeometric(ranked.size[last], ranked.inside[last], slots, k)
    dcg = jnp.sum(sure * ranked.expected) + jnp.sum(open_) * hits / jnp.maximum(
        slots, 1
    )
    ideals = jnp.cumsum(1 / jnp.log2(jnp.arange(k) + 2.0))
    retrieved = jnp.minimum(ranked.before[last] + hits, k)
    ideal = ideals[jnp.maximum(retrieved, 1) - 1]
    return jnp.sum(jnp.where(retrieved > 0, chance * dcg / ideal, 0.0))


def _hypergeometric(
    size: jax.Array, inside: jax.Array, draws: jax.Array, k: int
) -> jax.Array:
    """P(h relevant in `draws` of `size`, of which `inside` are), h = 0..k: [k + 1].

    Drawn one by one: only sums and products of non-negative terms, so it is exact
    for lists without ties and accurate where factorials would lose digits.
    """
    hits = jnp.arange(k + 1)

    def draw(t: jax.Array, chance: jax.Array) -> jax.Array:
        success = jnp.clip((inside - hits) / jnp.maximum(size - t, 1), 0.0, 1.0)
        moved = jnp.concatenate([jnp.zeros(1), (chance * success)[:-1]])
        return jnp.where(t < draws, chance * (1 - success) + moved, chance)

    return jax.lax.fori_loop(0, k, draw, (hits == 0).astype(jnp.float32))
