"""Metrics: pure functions; per-user values exist before any mean.

`RANKING` holds the ranking metrics by name: (scores, relevance, *, where, k) -> [...].
`RATING` holds the rating metrics by name: `RatingSums` -> value.
"""

from ncf_jax.metrics import ranking, rating

RANKING = {
    "precision": ranking.precision,
    "ndcg": ranking.ndcg,
    "recall": ranking.recall,
}
RATING = {"rmse": rating.rmse_of, "mae": rating.mae_of, "r2": rating.r2_of}
