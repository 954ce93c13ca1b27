"""Ranking metrics, each word in every reading that is in use.

A metric is called as `metric(scores, relevance, *, where, k, ties)`. The last axis is
a list of L candidates in any order, the axes before it are users; the result has those
axes. A list without candidates is NaN, and so is one for which the metric is not
defined: it is left out of a mean, and counted.

Ties are scored by expectation over all orders of the tied candidates, so a constant
scorer gets exactly what chance gives, and the order of the input never matters.

Example:
  >>> scores = jnp.array([0.9, 0.1, 0.5, 7.0])
  >>> relevance = jnp.array([True, False, True, False])
  >>> where = jnp.array([True, True, True, False])
  >>> float(precision(scores, relevance, where=where, k=2))
  1.0
  >>> float(precision(scores, relevance, k=2))  # the mask matters
  0.5
  >>> float(precision(jnp.zeros(4), relevance, k=2))  # chance
  0.5
  >>> float(precision(jnp.zeros(4), relevance, k=2, ties="optimistic"))
  1.0
"""

import dataclasses
from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp

from ncf_jax.metrics.ranked import Ranked, Ties, rank


@dataclasses.dataclass(frozen=True)
class Metric:
    """A ranking metric: a function of one ranked list, and what it means in words.

    Attributes:
      of: (`Ranked`, k) -> [], NaN where it is not defined.
      definition: in words; `{k}` stands for the cut-off.
      reads: which value of a candidate is its relevance: `relevant` (0 or 1), `gain`
        (2^stars - 1), or a property of the item, `information` or `popular`; `ties`:
        the scores alone, whose ties are never settled.
      bounded: whether it lies in [0, 1].
    """

    of: Callable[[Ranked, int], jax.Array]
    definition: str
    reads: str = "relevant"
    bounded: bool = True

    def of_ranked(self, ranked: Ranked, k: int) -> jax.Array:
        """The value [] of one list; NaN without candidates."""
        value = self.of(ranked, k)
        if self.bounded:
            value = jnp.minimum(value, 1.0)  # rounding may pass 1 by an ulp
        return jnp.where(ranked.candidates > 0, value, jnp.nan)

    def __call__(
        self,
        scores: jax.Array,
        relevance: jax.Array,
        *,
        where: jax.Array | None = None,
        k: int,
        ties: Ties = "expected",
    ) -> jax.Array:
        """The value of each list.

        Args:
          scores: [..., L] larger is better.
          relevance: [..., L] of each candidate, not negative.
          where: [..., L] the real candidates; None: all.
          k: cut-off.
          ties: see `ranked.rank`.

        Returns:
          [...]; NaN for a list without candidates, or where it is not defined.

        Raises:
          AssertionError: the shapes differ.
        """
        if where is None:
            where = jnp.ones(scores.shape, bool)
        chex.assert_equal_shape([scores, relevance, where])
        if scores.shape[-1] == 0:
            return jnp.full(scores.shape[:-1], jnp.nan)

        def one(scores, relevance, where):
            settled = "expected" if self.reads == "ties" else ties
            return self.of_ranked(rank(scores, relevance, where, k=k, ties=settled), k)

        lists = jnp.asarray(scores), jnp.asarray(relevance), jnp.asarray(where, bool)
        return jnp.vectorize(one, signature="(l),(l),(l)->()")(*lists)


def hits(ranked: Ranked, k: int) -> jax.Array:
    """Expected relevance in the first k."""
    return jnp.sum(ranked.expected[:k])


def if_relevant(ranked: Ranked, value: jax.Array) -> jax.Array:
    """`value`, or NaN for a list without anything relevant."""
    return jnp.where(ranked.total > 0, value, jnp.nan)


def over(value: jax.Array, count: jax.Array) -> jax.Array:
    """`value` / `count`, and 0 / 0 is 0."""
    return value / jnp.maximum(count, 1)


def discounts(ranked: Ranked, k: int) -> jax.Array:
    """1 / log2(position + 1) of the first k places, and 0 of any beyond."""
    place = jnp.arange(max(k, len(ranked.expected)))
    return jnp.where(place < k, 1 / jnp.log2(place + 2.0), 0.0)


def dcg(ranked: Ranked, discount: jax.Array) -> jax.Array:
    """Expected discounted gain."""
    return jnp.sum(discount[: len(ranked.expected)] * ranked.expected)


def ndcg_over(ranked: Ranked, discount: jax.Array) -> jax.Array:
    """DCG over that of all relevant ones in the first places."""
    count = jnp.clip(ranked.total.astype(jnp.int32), 1, len(discount))
    ideal = jnp.cumsum(discount)[count - 1]
    return if_relevant(ranked, dcg(ranked, discount) / ideal)


def _first(ranked: Ranked) -> tuple[jax.Array, jax.Array]:
    """By place [K]: P(no relevant one before it), and P(relevant, given that).

    Inside a tie group with r relevant of g, none of which came up in j places, the
    next is relevant with r / (g - j); it is certain once only relevant ones are left.
    """
    left = ranked.size - (ranked.place - ranked.start)
    real = ranked.place < ranked.candidates
    hazard = jnp.where(
        real, jnp.minimum(ranked.inside / jnp.maximum(left, 1), 1.0), 0.0
    )
    none = jnp.cumprod(1 - hazard)
    return jnp.concatenate([jnp.ones(1), none[:-1]]), hazard


def _hit_rate(ranked: Ranked, k: int) -> jax.Array:
    _, hazard = _first(ranked)
    return if_relevant(ranked, 1 - jnp.prod(1 - hazard[:k]))


def _mrr(ranked: Ranked, k: int) -> jax.Array:
    none, hazard = _first(ranked)
    return if_relevant(ranked, jnp.sum((none * hazard / (ranked.place + 1))[:k]))


def precisions(ranked: Ranked, k: int) -> jax.Array:
    """Expected sum, over the relevant ones in the first k, of precision there.

    Two places of one tie group are both relevant with r (r - 1) / (g (g - 1)).
    """
    others = (ranked.place - ranked.start) * over(ranked.inside - 1, ranked.size - 1)
    value = ranked.expected * (1 + ranked.before + others) / (ranked.place + 1)
    return jnp.sum(value[:k])


def list_mean(ranked: Ranked, k: int) -> jax.Array:
    """Expected mean over the first k, or over all of a shorter list."""
    return over(hits(ranked, k), jnp.minimum(k, ranked.candidates))


def _tied(ranked: Ranked, k: int) -> jax.Array:
    cut = ranked.at_cutoff(k)
    return (cut.start + cut.size > cut.length).astype(jnp.float32)


precision = Metric(
    lambda ranked, k: hits(ranked, k) / k,
    "relevant in the first {k} / {k}, also for shorter lists",
)
recall = Metric(
    lambda ranked, k: if_relevant(ranked, over(hits(ranked, k), ranked.total)),
    "relevant in the first {k} / all relevant; users without any left out",
)
ndcg = Metric(
    lambda ranked, k: ndcg_over(ranked, discounts(ranked, k)),
    "binary gain, log2(position + 1), ideal = min({k}, relevant) relevant ones; users "
    "without any left out",
)
hit_rate = Metric(
    _hit_rate, "whether one of the first {k} is relevant; users without any left out"
)
mrr = Metric(
    _mrr,
    "1 / position of the first relevant one, 0 when it is beyond {k}; users without "
    "any left out",
)
average_precision = Metric(
    lambda ranked, k: if_relevant(ranked, over(precisions(ranked, k), ranked.total)),
    "sum of precision at each relevant one in the first {k} / all relevant; users "
    "without any left out",
)
novelty = Metric(
    list_mean,
    "mean over the first {k} of -log2(train ratings of the item, at least 1 / users), "
    "bits",
    reads="information",
    bounded=False,
)
popularity = Metric(
    list_mean,
    "share of the first {k} that is among the 20 % of items with most train ratings",
    reads="popular",
)
tied_cutoffs = Metric(_tied, "whether a tie goes across position {k}", reads="ties")
