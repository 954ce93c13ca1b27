"""Metrics: pure functions; per-user values exist before any mean.

`CONVENTIONS` holds the readings of the ranking metrics: name -> metric by name, each
(scores, relevance, *, where, k, ties) -> [...]. `RANKING` is the standard one.
`RATING` holds the rating metrics by name: `RatingSums` -> value.
"""

from ncf_jax.metrics import rating
from ncf_jax.metrics.conventions import CONVENTIONS as CONVENTIONS
from ncf_jax.metrics.ranked import TIES as TIES

RANKING = CONVENTIONS["standard"]
RATING = {"rmse": rating.rmse_of, "mae": rating.mae_of, "r2": rating.r2_of}

# What every rating figure carries with it, in words.
DEFINITIONS = {
    "rmse": "root mean squared error over rows, stars, predictions {clipped}",
    "mae": "mean absolute error over rows, stars, predictions {clipped}",
    "r2": "1 - squared error / squared deviation from the rows' mean rating, "
    "predictions {clipped}",
}
# Which of two values of a metric is the better one; the others only describe.
SMALLER_IS_BETTER = ("rmse", "mae")
LARGER_IS_BETTER = ("r2", "precision", "ndcg", "recall", "hit_rate", "mrr", "map")
