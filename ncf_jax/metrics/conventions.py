"""The field's readings of the ranking metrics, each under a name.

On one and the same ranking, libraries print NDCG@10 from 0.13 to 0.25, because each
word hides choices. A convention is a choice of all of them.

  reference  the reference experiment's: precision and NDCG of users without anything
             relevant are 0, and NDCG measures the order within the list
  standard   the field's common reading, as ir-measures, RecBole and Cornac have it
  lenskit    LensKit 2025: recall over min(K, relevant), the ranks' logarithm clipped
  rectools   RecTools: the ideal list always holds K relevant items
  graded     gain 2^stars - 1 in NDCG; the others as in standard

Example:
  >>> scores, relevant = jnp.array([2.0, 1.0, 0.0]), jnp.array([True, False, True])
  >>> for name, convention in CONVENTIONS.items():
  ...     print(name, round(float(convention["recall"](scores, relevant, k=1)), 2))
  reference 0.5
  standard 0.5
  lenskit 1.0
  rectools 0.5
  graded 0.5
"""

import jax
import jax.numpy as jnp

from ncf_jax.metrics import ranking
from ncf_jax.metrics.ranked import Ranked
from ncf_jax.metrics.ranking import (
    Metric,
    dcg,
    discounts,
    hits,
    if_relevant,
    list_mean,
    ndcg_over,
    over,
    precisions,
)


def _ndcg_lenskit(ranked: Ranked, k: int) -> jax.Array:
    place = jnp.arange(max(k, len(ranked.expected)))
    discount = 1 / jnp.log2(jnp.maximum(place + 1.0, 2.0))
    return ndcg_over(ranked, jnp.where(place < k, discount, 0.0))


def _ndcg_rectools(ranked: Ranked, k: int) -> jax.Array:
    discount = discounts(ranked, k)
    return if_relevant(ranked, dcg(ranked, discount) / jnp.sum(discount))


def _ndcg_graded(ranked: Ranked, k: int) -> jax.Array:
    discount = discounts(ranked, k)
    ideal = jnp.sum(discount[: len(ranked.ideal)] * ranked.ideal)
    return if_relevant(ranked, dcg(ranked, discount) / jnp.where(ideal, ideal, 1.0))


def _ndcg_reference(ranked: Ranked, k: int) -> jax.Array:
    """Expected DCG of the first k over the DCG of those same k, re-sorted.

    It measures order within the list and not what the list missed. With ties across
    the cut-off, the number h of tied relevant candidates that make it into the list
    is hypergeometric, and the ideal depends on h: the ratio's expectation is the sum
    over h, not the ratio of expectations.
    """
    k = min(k, len(ranked.expected))  # places beyond the list hold nothing
    place, cut = ranked.place, ranked.at_cutoff(k)
    discount = jnp.where(place < k, 1 / jnp.log2(place + 2.0), 0.0)
    slots = cut.length - cut.start  # places in the list for that group
    sure = jnp.where(place < cut.start, discount, 0.0)
    open_ = jnp.where((place >= cut.start) & (place < cut.length), discount, 0.0)
    found = jnp.arange(k + 1)  # of that group, relevant and in the list
    chance = _hypergeometric(cut.size, cut.inside, slots, k)
    gain = jnp.sum(sure * ranked.expected) + jnp.sum(open_) * over(found, slots)
    retrieved = jnp.minimum(cut.before.astype(jnp.int32) + found, k)
    ideal = jnp.cumsum(discount[:k])[jnp.maximum(retrieved, 1) - 1]
    return jnp.sum(jnp.where(retrieved > 0, chance * gain / ideal, 0.0))


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


precision_lenskit = Metric(
    list_mean, "relevant in the first {k} / their number, at most {k}"
)
recall_lenskit = Metric(
    lambda ranked, k: if_relevant(
        ranked, over(hits(ranked, k), jnp.minimum(ranked.total, k))
    ),
    "relevant in the first {k} / all relevant, at most {k}; users without any left out",
)
ndcg_reference = Metric(
    _ndcg_reference,
    "binary gain, log2(position + 1), ideal = the same first {k} re-sorted; 0 when "
    "none of them is relevant",
)
ndcg_lenskit = Metric(
    _ndcg_lenskit,
    "binary gain, log2(position) from position 2 on and 1 before, ideal = min({k}, "
    "relevant) relevant ones; users without any left out",
)
ndcg_rectools = Metric(
    _ndcg_rectools,
    "binary gain, log2(position + 1), ideal = {k} relevant ones; users without any "
    "left out",
)
ndcg_graded = Metric(
    _ndcg_graded,
    "gain 2^stars - 1, log2(position + 1), ideal = the {k} candidates with most stars; "
    "users without any gain left out",
    reads="gain",
)
average_precision_lenskit = Metric(
    lambda ranked, k: if_relevant(
        ranked,
        over(
            precisions(ranked, k),
            jnp.minimum(ranked.total, jnp.minimum(k, ranked.candidates)),
        ),
    ),
    "sum of precision at each relevant one in the first {k} / all relevant, at most "
    "{k}; users without any left out",
)

STANDARD: dict[str, Metric] = {
    "precision": ranking.precision,
    "ndcg": ranking.ndcg,
    "recall": ranking.recall,
    "hit_rate": ranking.hit_rate,
    "mrr": ranking.mrr,
    "map": ranking.average_precision,
    "novelty": ranking.novelty,
    "popularity": ranking.popularity,
    "tied_cutoffs": ranking.tied_cutoffs,
}
CONVENTIONS: dict[str, dict[str, Metric]] = {
    "reference": {**STANDARD, "ndcg": ndcg_reference},
    "standard": STANDARD,
    "lenskit": {
        **STANDARD,
        "precision": precision_lenskit,
        "ndcg": ndcg_lenskit,
        "recall": recall_lenskit,
        "map": average_precision_lenskit,
    },
    "rectools": {**STANDARD, "ndcg": ndcg_rectools},
    "graded": {**STANDARD, "ndcg": ndcg_graded},
}
