"""One list sorted by score, as deep as the largest cut-off, with its ties described.

All that a ranking metric needs is here, found without sorting the whole list: the
best K candidates, and for each of their places the group of candidates tied with it,
wherever in the list they are.
"""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

Ties = Literal["expected", "optimistic", "pessimistic"]
TIES: tuple[Ties, ...] = ("expected", "optimistic", "pessimistic")


class Ranked(NamedTuple):
    """The first K places of a list [L], best first; K is at most L.

    Attributes:
      candidates: [] how many the list has.
      total: [] relevance of all candidates; of binary relevance, the relevant ones.
      ideal: [K] the largest relevances, in descending order.
      expected: [K] expected relevance at the place, over all orders of its ties.
      start: [K] first place of the place's tie group.
      size: [K] candidates in the tie group, also those beyond K.
      inside: [K] relevance in the tie group.
      before: [K] relevance ahead of the tie group.
      score: [K] score at the place.
    """

    candidates: jax.Array
    total: jax.Array
    ideal: jax.Array
    expected: jax.Array
    start: jax.Array
    size: jax.Array
    inside: jax.Array
    before: jax.Array
    score: jax.Array

    @property
    def place(self) -> jax.Array:
        """0, 1, …: [K] int32."""
        return jnp.arange(self.start.shape[0])

    def at_cutoff(self, k: int) -> "Cutoff":
        """The tie group that the cut-off at `k` goes through, or ends."""
        length = jnp.minimum(k, self.candidates)
        last = jnp.clip(length - 1, 0, self.start.shape[0] - 1)
        return Cutoff(
            length=length,
            start=self.start[last],
            size=self.size[last],
            inside=self.inside[last],
            before=self.before[last],
            score=self.score[last],
        )


class Cutoff(NamedTuple):
    """The last tie group that has a place in the first k, each [].

    Attributes:
      length: places in the list: k, or fewer candidates.
      start: first place of the group.
      size: candidates in it.
      inside: relevance in it.
      before: relevance ahead of it.
      score: its score.
    """

    length: jax.Array
    start: jax.Array
    size: jax.Array
    inside: jax.Array
    before: jax.Array
    score: jax.Array


def rank(
    scores: jax.Array,
    relevance: jax.Array,
    where: jax.Array,
    *,
    k: int,
    ties: Ties = "expected",
) -> Ranked:
    """The first k places of one list.

    Args:
      scores: [L] larger is better.
      relevance: [L] not negative; booleans count as 0 and 1.
      where: [L] the real candidates.
      k: depth, at least the largest cut-off of interest.
      ties: `expected` leaves them; `optimistic` puts the more relevant of tied
        candidates first, `pessimistic` last, and no ties remain.

    Example:
      >>> everyone = jnp.ones(3, bool)
      >>> ranked = rank(jnp.array([1.0, 2.0, 1.0]), jnp.eye(3)[0], everyone, k=2)
      >>> ranked.expected.tolist(), ranked.size.tolist()
      ([0.0, 0.5], [1, 2])
    """
    length = scores.shape[0]
    depth = min(k, length)
    relevance = jnp.where(where, relevance, 0).astype(jnp.float32)
    # Padding comes last, also behind a candidate whose score is minus infinity.
    least = jnp.finfo(scores.dtype).min
    scores = jnp.where(where, jnp.maximum(scores, least), -jnp.inf)
    if ties != "expected":
        scores = _settled(scores, relevance, ties)
    top, index = jax.lax.top_k(scores, depth)
    candidates = jnp.sum(where)
    place = jnp.arange(depth)
    changed = top[1:] != top[:-1]
    edge = jnp.ones(1, bool)
    opens = jnp.concatenate([edge, changed])
    closes = jnp.concatenate([changed, edge])
    start = jax.lax.cummax(jnp.where(opens, place, 0))
    end = jax.lax.cummin(jnp.where(closes, place + 1, depth), reverse=True)
    seen = jnp.concatenate([jnp.zeros(1), jnp.cumsum(relevance[index])])
    # The last group may go on beyond the depth: it is counted in the whole list.
    goes_on = start == start[-1]
    tied = scores == top[-1]
    size = jnp.where(goes_on, jnp.sum(tied), end - start)
    inside = jnp.where(
        goes_on, jnp.sum(jnp.where(tied, relevance, 0.0)), seen[end] - seen[start]
    )
    return Ranked(
        candidates=candidates,
        total=jnp.sum(relevance),
        ideal=jax.lax.top_k(relevance, depth)[0],
        expected=jnp.where(place < candidates, inside / size, 0.0),
        start=start,
        size=size,
        inside=inside,
        before=seen[start],
        score=top,
    )


def _settled(scores: jax.Array, relevance: jax.Array, ties: Ties) -> jax.Array:
    """Other scores [L] of the same order, without ties among candidates."""
    worth = relevance if ties == "optimistic" else -relevance
    order = jnp.lexsort((-worth, -scores))
    place = jnp.zeros_like(scores).at[order].set(jnp.arange(len(scores)) + 0.0)
    return jnp.where(scores == -jnp.inf, -jnp.inf, -place)


def membership(
    scores: jax.Array, where: jax.Array, ranked: Ranked, k: int
) -> jax.Array:
    """P(candidate is among the first k) over orders of its ties: [L].

    Args:
      scores: [L] as `ranked` was made of, with its ties as they are.
      where: [L] the real candidates.
      ranked: the list.
      k: cut-off.
    """
    cut = ranked.at_cutoff(k)
    share = (cut.length - cut.start) / cut.size
    chance = jnp.where(
        scores > cut.score, 1.0, jnp.where(scores == cut.score, share, 0)
    )
    return jnp.where(where, chance, 0.0)
