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

# What every figure carries with it, in words.
DEFINITIONS = {
    "rmse": "root mean squared error over rows, stars, predictions not clipped",
    "mae": "mean absolute error over rows, stars, predictions not clipped",
    "r2": "1 - squared error / squared deviation from the rows' mean rating",
    "precision": "relevant in the first {k} / {k}, also for shorter lists; ties by "
    "expectation (reference)",
    "ndcg": "binary gain, log2(position + 1), ideal = the same first {k} re-sorted; "
    "0 when none of them is relevant; ties by expectation (reference)",
    "recall": "relevant in the first {k} / all relevant; users without any left out; "
    "ties by expectation (reference)",
}
RANKING_SETTING = (
    "; mean over users, of their rated rows, relevant from {threshold} stars"
)
