"""Predictions, whoever made them -> per-user values -> figures with intervals."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from ncf_jax import lists
from ncf_jax.errors import DataError, RunError
from ncf_jax.metrics import CONVENTIONS, DEFINITIONS, RATING, rating, summary
from ncf_jax.metrics.ranked import Ties
from ncf_jax.metrics.ranking import Metric
from ncf_jax.types import RATING_MAX, RATING_MIN, Dataset

CLIPPED = "clipped to 0.5-5"
CANDIDATES = {
    "rated": "their rated rows",
    "catalogue": "all items they have not rated in train",
}


class Evaluation(NamedTuple):
    """Figures of one model on some rows, with the per-user values behind them.

    Attributes:
      metrics: name, such as `rmse` or `ndcg@10` -> `Summary`.
      user: [U'] user index of the users who have rows.
      rows: [U'] their number of rows.
      sums: `RatingSums` of each user, each [R, U'] float64.
      per_user: name -> [R, U'], NaN where the metric is not defined.
      prediction: [R, n] float32 stars of the rows, not clipped.
      spread: [R, n] float32 standard deviation over an ensemble's members, stars; None
        without an ensemble.
    """

    metrics: dict[str, summary.Summary]
    user: np.ndarray
    rows: np.ndarray
    sums: rating.RatingSums
    per_user: dict[str, np.ndarray]
    prediction: np.ndarray
    spread: np.ndarray | None = None


def evaluate_scores(
    prediction: np.ndarray,
    dataset: Dataset,
    rows: np.ndarray,
    *,
    train: np.ndarray | None = None,
    catalogue: lists.Catalogue | None = None,
    metrics: str = "standard",
    candidates: str = "rated",
    k: int | tuple[int, ...] = 10,
    threshold: float = 4.0,
    ties: Ties = "expected",
    ranking: Mapping[str, Callable[..., jax.Array]] | None = None,
    stars: bool = True,
    clip: bool = False,
    clipped: str = "not clipped",
) -> Evaluation:
    """Rating and ranking metrics of predictions, whoever made them.

    Args:
      prediction: [R, n] stars of the rows, not clipped.
      dataset: the data set.
      rows: [n] positions of interactions, such as `split.test`.
      train: positions of the training rows; wanted with `candidates="catalogue"`, and
        for novelty and popularity, which are left out without.
      catalogue: user index [B] -> scores of every item [R, B, I].
      metrics: the convention, one of `metrics.CONVENTIONS`.
      candidates: `rated`, the user's own rows; or `catalogue`, every item the user has
        not rated in train, those without a row not being relevant.
      k: cut-off of the ranking metrics, or several.
      threshold: stars from which an item is relevant.
      ties: `expected` over their orders; `optimistic` or `pessimistic`: the more
        relevant of tied candidates first or last.
      ranking: name -> metric `(scores, relevance, *, where, k)`, in place of the
        convention's; `{**RANKING, "mine": mine}` adds one.
      stars: False for scores that only order; rating metrics are not defined then.
      clip: whether errors are those of predictions clipped to 0.5 to 5 stars; rankings
        are by predictions as they are.
      clipped: what was done to the predictions, for the definitions in words.

    Raises:
      RunError: a prediction is NaN or infinite, or there are no rows.
      DataError: a rating is.
    """
    if len(rows) == 0:
        raise RunError(
            "There are no rows to evaluate: this part of the split is empty."
        )
    prediction = np.asarray(prediction)
    if not np.isfinite(prediction).all():
        bad = int((~np.isfinite(prediction)).sum())
        raise RunError(
            f"{bad:,} of {prediction.size:,} predictions are NaN or infinite; no "
            f"metric is computed. Train again with a smaller --learning_rate."
        )
    if bad := int((~np.isfinite(dataset.rating[rows])).sum()):
        raise DataError(
            f"{bad:,} of {len(rows):,} ratings to judge by are NaN or infinite; no "
            f"metric is computed. Mend the data, or leave those rows out."
        )
    within = prediction
    if clip:
        within, clipped = np.clip(prediction, RATING_MIN, RATING_MAX), CLIPPED
    user, counts, sums = _rating_sums(within, dataset, rows)
    if not np.isfinite(sums.squared).all():
        raise RunError(
            "The predictions are so far off that their squared errors overflow; no "
            "metric is computed. Train again with a smaller --learning_rate."
        )
    ks = (k,) if isinstance(k, int) else tuple(dict.fromkeys(k))
    setting = lists.Setting(ks, threshold, ties)
    chosen = CONVENTIONS[metrics] if ranking is None else ranking
    known = None if train is None else lists.popularity(dataset, train)
    pairs: lists.Metrics = tuple(chosen.items())
    coverage: dict[str, np.ndarray] = {}
    if candidates == "rated":
        ranked = lists.rated(dataset, rows, prediction, pairs, setting, known)
    elif train is None or known is None or catalogue is None:
        raise ValueError("Candidates from the catalogue want `train` and `catalogue`.")
    else:
        ranked, coverage = lists.catalogue(
            dataset,
            rows,
            train,
            catalogue,
            pairs,
            setting,
            known,
            seeds=len(prediction),
        )
    with np.errstate(divide="ignore", invalid="ignore"):  # R² of a single row is NaN
        rated = {name: np.asarray(of(sums)) for name, of in RATING.items()}
    if not stars:
        rated = {name: np.full_like(value, np.nan) for name, value in rated.items()}
    about: dict[str, Any] = dict(
        convention=metrics if ranking is None else "own", candidates=candidates
    )
    words = {name: text.format(clipped=clipped) for name, text in DEFINITIONS.items()}
    words |= {
        f"{name}@{k}": _definition(name, metric, k, setting, candidates)
        for k in ks
        for name, metric in pairs
    }
    ranked = {name: ranked[name] for name in words if name in ranked}
    return Evaluation(
        metrics=_summaries(sums, ranked, coverage, words, about, stars),
        user=user,
        rows=counts,
        sums=sums,
        per_user=rated | ranked,
        prediction=prediction,
    )


def _rating_sums(
    prediction: np.ndarray, dataset: Dataset, rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray, rating.RatingSums]:
    """Users who have rows [U'], their rows, and their sums [R, U'], in float64."""
    user, place, counts = np.unique(
        dataset.user[rows], return_inverse=True, return_counts=True
    )
    truth = dataset.rating[rows].astype(np.float64)
    with np.errstate(over="ignore"):
        error = prediction.astype(np.float64) - truth
        squared = error**2

    def by_user(value: np.ndarray) -> np.ndarray:
        return np.bincount(place, weights=value, minlength=len(user))

    seeds = len(prediction)
    return (
        user,
        counts,
        rating.RatingSums(
            rows=np.tile(counts.astype(np.float64), (seeds, 1)),
            squared=np.stack([by_user(e) for e in squared]),
            absolute=np.stack([by_user(np.abs(e)) for e in error]),
            rating=np.tile(by_user(truth), (seeds, 1)),
            rating_squared=np.tile(by_user(truth**2), (seeds, 1)),
        ),
    )


def _of_sums(of: Callable[[rating.RatingSums], Any], total: np.ndarray) -> Any:
    return of(rating.RatingSums(*np.moveaxis(total, -1, 0)))


def _definition(
    name: str,
    metric: Callable[..., jax.Array],
    k: int,
    setting: lists.Setting,
    candidates: str,
) -> str:
    """In words: ours, or the first line of the metric's own docstring."""
    if isinstance(metric, Metric):
        words, read = metric.definition.format(k=k), metric.reads
    else:
        words = (metric.__doc__ or name).strip().splitlines()[0].rstrip(".")
        read = "relevant"
    words += "; mean over users, of " + CANDIDATES[candidates]
    if read == "relevant":
        words += f", relevant from {setting.threshold} stars"
    if not isinstance(metric, Metric) or read == "ties":
        return words  # it settles ties in its own way, or counts them
    if read in ("relevant", "gain") and setting.ties != "expected":
        return words + f"; ties {setting.ties}"
    return words + "; ties by expectation"


def _summaries(
    sums: rating.RatingSums,
    ranked: dict[str, np.ndarray],
    coverage: dict[str, np.ndarray],
    words: dict[str, str],
    about: dict[str, Any],
    stars: bool,
) -> dict[str, summary.Summary]:
    """Every figure; all intervals are made of the same users drawn."""
    sums_RxUxC = np.stack(sums, axis=-1)
    summands = [sums_RxUxC] + [summary.user_sums(v) for v in ranked.values()]
    drawn = summary.bootstrap(np.concatenate(summands, axis=-1))
    rows = int(sums.rows[0].sum())
    out = {}
    for name, of in RATING.items():
        if not stars:
            none = np.full(len(sums_RxUxC), np.nan)
            text = words[name] + "; not defined for scores that are no stars"
            out[name] = summary.of_values(
                none, definition=text, n_used=0, n_left_out=rows
            )
            continue
        out[name] = summary.summarize(
            sums_RxUxC,
            partial(_of_sums, of),
            resampled=drawn[..., : sums_RxUxC.shape[-1]],
            definition=words[name],
            n_used=rows,
            n_left_out=0,
        )
    for number, (name, value_RxU) in enumerate(ranked.items()):
        first = sums_RxUxC.shape[-1] + 2 * number
        used = int((~np.isnan(value_RxU[0])).sum())
        out[name] = summary.summarize(
            summands[1 + number],
            summary.mean_of,
            resampled=drawn[..., first : first + 2],
            definition=words[name],
            n_used=used,
            n_left_out=value_RxU.shape[1] - used,
            **about,
        )
    for name, value_R in coverage.items():
        out[name] = summary.of_values(
            value_R,
            definition=f"share of all items that are in the first {name.split('@')[1]} "
            f"of some user, of {CANDIDATES[about['candidates']]}; ties by expectation; "
            "no interval, since fewer different users cover less",
            n_used=sums.rows.shape[1],
            n_left_out=0,
            **about,
        )
    return out
