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

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp


class Ranked(NamedTuple):
    """Lists sorted by score, best first, candidates before padding.

    Attributes:
      candidates: [...] how many.
      relevant: [...] relevant candidates.
      expected: [..., L] expected relevance of the position over orders of its ties.
      start: [..., L] first position of the position's tie group.
      size: [..., L] candidates in the tie group.
      inside: [..., L] relevant candidates in the tie group.
      before: [..., L] relevant candidates ahead of the tie group.
    """

    candidates: jax.Array
    relevant: jax.Array
    expected: jax.Array
    start: jax.Array
    size: jax.Array
    inside: jax.Array
    before: jax.Array


def rank(
    scores: jax.Array, relevance: jax.Array, where: jax.Array | None = None
) -> Ranked:
    """Sorts lists by score and describes the tie group of each position."""
    if where is None:
        where = jnp.ones(scores.shape, bool)
    chex.assert_equal_shape([scores, relevance, where])
    last, length = scores.ndim - 1, scores.shape[-1]
    order = jnp.argsort(jnp.where(where, -scores, jnp.inf), axis=-1)
    ranked_scores = jnp.take_along_axis(scores, order, axis=-1)
    ranked_where = jnp.take_along_axis(where, order, axis=-1)
    ranked_relevance = jnp.take_along_axis(
        relevance.astype(bool) & where, order, axis=-1
    )
    position = jnp.broadcast_to(jnp.arange(length), scores.shape)
    changed = ranked_scores[..., 1:] != ranked_scores[..., :-1]
    changed |= ranked_where[..., 1:] != ranked_where[..., :-1]
    edge = jnp.ones((*scores.shape[:-1], 1), bool)
    opens = jnp.concatenate([edge, changed], axis=-1)
    closes = jnp.concatenate([changed, edge], axis=-1)
    start = jax.lax.cummax(jnp.where(opens, position, 0), axis=last)
    end = jax.lax.cummin(
        jnp.where(closes, position + 1, length), axis=last, reverse=True
    )
    seen = jnp.cumsum(ranked_relevance.astype(jnp.int32), axis=-1)
    seen = jnp.concatenate([jnp.zeros_like(seen[..., :1]), seen], axis=-1)
    before = jnp.take_along_axis(seen, start, axis=-1)
    inside = jnp.take_along_axis(seen, end, axis=-1) - before
    size = end - start
    expected = jnp.where(ranked_where, inside / size, 0.0)
    return Ranked(
        candidates=jnp.sum(where, axis=-1),
        relevant=seen[..., -1],
        expected=expected,
        start=start,
        size=size,
        inside=inside,
        before=before,
    )


def _hits(ranked: Ranked, k: int) -> jax.Array:
    return jnp.sum(ranked.expected[..., :k], axis=-1)


def _where_any(ranked: Ranked, value: jax.Array) -> jax.Array:
    return jnp.where(ranked.candidates > 0, value, jnp.nan)


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
    """
    ranked = rank(scores, relevance, where)
    return _where_any(ranked, _hits(ranked, k) / k)


def recall(
    scores: jax.Array, relevance: jax.Array, *, where: jax.Array | None = None, k: int
) -> jax.Array:
    """Expected relevant candidates in the first k, over all relevant ones.

    Arguments as in `precision`.

    Returns:
      [...] in [0, 1]; NaN, to be left out, for a list without a relevant candidate.
    """
    ranked = rank(scores, relevance, where)
    some = ranked.relevant > 0
    return jnp.where(some, _hits(ranked, k) / jnp.maximum(ranked.relevant, 1), jnp.nan)


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
    ranked = rank(scores, relevance, where)
    length = scores.shape[-1]
    position = jnp.arange(length)
    discount = jnp.where(position < k, 1 / jnp.log2(position + 2.0), 0.0)
    cut = jnp.minimum(k, ranked.candidates)
    at = jnp.maximum(cut - 1, 0)[..., None]

    def at_cut(values: jax.Array) -> jax.Array:
        return jnp.take_along_axis(values, at, axis=-1)[..., 0]

    start, size, inside = map(at_cut, (ranked.start, ranked.size, ranked.inside))
    fixed = at_cut(ranked.before)
    slots = cut - start
    sure = position < start[..., None]
    open_ = ~sure & (position < cut[..., None])
    fixed_dcg = jnp.sum(jnp.where(sure, discount * ranked.expected, 0.0), axis=-1)
    slot_discount = jnp.sum(jnp.where(open_, discount, 0.0), axis=-1)
    hits = jnp.arange(k + 1)
    chance = _hypergeometric(size, inside, slots, k)
    share = hits / jnp.maximum(slots, 1)[..., None]
    dcg = fixed_dcg[..., None] + share * slot_discount[..., None]
    ideals = jnp.cumsum(1 / jnp.log2(jnp.arange(k) + 2.0))
    retrieved = jnp.minimum(fixed[..., None] + hits, k)
    ideal = ideals[jnp.maximum(retrieved, 1) - 1]
    value = jnp.sum(jnp.where(retrieved > 0, chance * dcg / ideal, 0.0), axis=-1)
    return _where_any(ranked, value)


def _hypergeometric(
    size: jax.Array, inside: jax.Array, draws: jax.Array, k: int
) -> jax.Array:
    """P(h relevant in `draws` of `size`, of which `inside` are), h = 0..k: [..., k+1].

    Drawn one by one: only sums and products of non-negative terms, so it is exact
    for lists without ties and accurate where factorials would lose digits.
    """
    hits = jnp.arange(k + 1)
    size, inside, draws = size[..., None], inside[..., None], draws[..., None]
    first = jnp.broadcast_to(hits == 0, (*size.shape[:-1], k + 1)).astype(jnp.float32)

    def draw(t: jax.Array, chance: jax.Array) -> jax.Array:
        left = jnp.maximum(size - t, 1)
        success = jnp.clip((inside - hits) / left, 0.0, 1.0)
        moved = jnp.pad(
            (chance * success)[..., :-1], [(0, 0)] * (size.ndim - 1) + [(1, 0)]
        )
        return jnp.where(t < draws, chance * (1 - success) + moved, chance)

    return jax.lax.fori_loop(0, k, draw, first)
