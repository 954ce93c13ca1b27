"""Whether an ensemble's spread says how far its predictions are off.

The members of an ensemble differ in what the data did not settle. That is one part of
the error of their mean; the other, the `noise`, is in every rating however many members
there are, and is estimated on rows that are not the ones judged. Together they are a
normal distribution for each rating, with variance spread² + noise, and `calibration`
asks whether ratings fall where it says. Stars throughout, R predictors, n rows.

Example:
  >>> rng = np.random.default_rng(0)
  >>> spread = rng.uniform(0.1, 1.0, (1, 20_000))
  >>> rating = rng.normal(3.0, np.sqrt(spread[0] ** 2 + 0.5))
  >>> known = noise(np.full_like(spread, 3.0), spread, rating)
  >>> found = calibration(np.full_like(spread, 3.0), spread, rating, known)
  >>> known.round(1), found.coverage.round(1)
  (array([0.5]), array([[0.5, 0.8, 1. ]]))
  >>> bool(found.nll[0] < found.nll_constant[0])  # the spread is worth something
  True

Sources: Lakshminarayanan et al. 2017 (arXiv:1612.01474) for the ensemble's normal
distribution; Gneiting and Raftery 2007 (doi:10.1198/016214506000001437) for the score;
Levi et al. 2019 (arXiv:1905.11659) for predicted against found error by spread.
"""

from collections.abc import Mapping
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np

LEVELS = (50, 80, 95)  # % of the ratings that central intervals should hold
GROUPS = 10
DEFINITIONS = {
    "noise": "part of the squared error that the spread does not explain: mean of "
    "squared error - spread² over {estimated}, at least 0, stars²",
    "mean_spread": "standard deviation of the {members} members' predictions of a row, "
    "mean over rows, stars",
    "spearman": "Spearman's rank correlation of spread and absolute error over rows; "
    "not defined where one of them is constant",
    "nll": "negative log-likelihood of the ratings, normal with variance "
    "spread² + noise around the prediction, mean over rows, nats; not defined where a "
    "row has no variance",
    "nll_constant": "nll with one variance for all rows, the mean of spread² + noise: "
    "what it is without knowing which row has which spread",
}
COVERAGE = (
    "share of the ratings inside the central {level} % interval of a normal "
    "distribution with variance spread² + noise around the prediction, not clipped"
)
DECILES = (
    "rows by deciles of their spread, smallest first, equal spreads never parted: mean "
    "spread, predicted RMSE, which is the root of the mean of spread² + noise, found "
    "RMSE, all in stars, and how many rows; each a mean over seeds"
)


class Deciles(NamedTuple):
    """Groups of rows, smallest spread first; each [G], a mean over R; at most ten.

    Attributes:
      spread: mean spread, stars.
      predicted: RMSE that spread and noise predict, stars.
      found: RMSE that was found, stars.
      rows: how many.
    """

    spread: np.ndarray
    predicted: np.ndarray
    found: np.ndarray
    rows: np.ndarray


class Calibration(NamedTuple):
    """How spread and error go together; each [R] but `coverage` and `deciles`.

    Attributes:
      coverage: [R, 3] share of the ratings inside the central intervals of `LEVELS`.
      mean_spread: stars.
      nll: mean negative log-likelihood, nats, with each row's own variance; NaN where
        a row has none.
      nll_constant: the same with the mean variance for every row.
      spearman: rank correlation of spread and absolute error; NaN where one of them is
        constant.
      deciles: error by deciles of spread.
    """

    coverage: np.ndarray
    mean_spread: np.ndarray
    nll: np.ndarray
    nll_constant: np.ndarray
    spearman: np.ndarray
    deciles: Deciles


def noise(prediction: np.ndarray, spread: np.ndarray, rating: np.ndarray) -> np.ndarray:
    """The part of the squared error that the spread does not explain [R], stars².

    Args:
      prediction: [R, n] stars, of rows that are not the ones to be judged.
      spread: [R, n] standard deviation over members, stars.
      rating: [n] stars.

    Example:
      >>> noise(np.array([[3.0, 3.0]]), np.array([[0.5, 0.5]]), np.array([2.0, 4.0]))
      array([0.75])
      >>> noise(np.array([[3.0, 3.0]]), np.array([[2.0, 2.0]]), np.array([2.0, 4.0]))
      array([0.])
    """
    error, spread = _errors(prediction, spread, rating)
    return np.maximum(0.0, (error**2 - spread**2).mean(axis=1))


def calibration(
    prediction: np.ndarray, spread: np.ndarray, rating: np.ndarray, noise: np.ndarray
) -> Calibration:
    """Whether ratings fall where prediction, spread and noise say.

    Args:
      prediction: [R, n] stars.
      spread: [R, n] standard deviation over members, stars.
      rating: [n] stars.
      noise: [R] stars², see `noise`.

    Example:
      >>> found = calibration(
      ...     np.array([[3.0, 3.0]]), np.array([[0.0, 0.6]]), np.array([4.0, 2.0]),
      ...     np.array([0.64]))
      >>> found.coverage  # the errors are 1.25 and 1.0 standard deviations
      array([[0., 1., 1.]])
      >>> found.deciles.predicted, found.deciles.found, found.deciles.rows
      (array([0.8, 1. ]), array([1., 1.]), array([1., 1.]))
    """
    error, spread = _errors(prediction, spread, rating)
    variance = spread**2 + np.asarray(noise, np.float64)[:, None]
    constant = np.broadcast_to(variance.mean(axis=1, keepdims=True), variance.shape)
    away, sd = np.abs(error), np.sqrt(variance)
    width = [NormalDist().inv_cdf(0.5 + level / 200) for level in LEVELS]
    return Calibration(
        coverage=np.stack([(away <= w * sd).mean(axis=1) for w in width], axis=-1),
        mean_spread=spread.mean(axis=1),
        nll=_nll(error, variance),
        nll_constant=_nll(error, constant),
        spearman=np.array([spearman(s, a) for s, a in zip(spread, away, strict=True)]),
        deciles=_deciles(spread, variance, error),
    )


def spearman(one: np.ndarray, other: np.ndarray) -> float:
    """Rank correlation of two arrays [n], ties at their mean rank; NaN of a constant.

    Example:
      >>> round(spearman(np.array([1, 2, 3]), np.array([2, 9, 100])), 12)
      1.0
    """
    first, second = (r - r.mean() for r in (_ranks(one), _ranks(other)))
    size = np.sqrt((first**2).sum() * (second**2).sum())
    return float((first * second).sum() / size) if size > 0 else float("nan")


def _ranks(value: np.ndarray) -> np.ndarray:
    _, place, count = np.unique(value, return_inverse=True, return_counts=True)
    return (np.cumsum(count) - (count - 1) / 2)[place]


def _errors(
    prediction: np.ndarray, spread: np.ndarray, rating: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Errors and spreads [R, n] in float64; shapes that differ are refused."""
    prediction, spread = (np.asarray(x, np.float64) for x in (prediction, spread))
    rating = np.asarray(rating, np.float64)
    if prediction.shape != spread.shape or prediction.shape[1:] != rating.shape:
        raise ValueError(
            f"Predictions {prediction.shape}, spreads {spread.shape} and ratings "
            f"{rating.shape} are not [R, n], [R, n] and [n]."
        )
    return prediction - rating, spread


def _nll(error: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """[R] mean over rows; NaN where a row has no variance, and so no density."""
    with np.errstate(divide="ignore", invalid="ignore"):
        each = (np.log(2 * np.pi * variance) + error**2 / variance).mean(axis=1) / 2
    return np.where(variance.min(axis=1) > 0, each, np.nan)


def _deciles(spread: np.ndarray, variance: np.ndarray, error: np.ndarray) -> Deciles:
    found = np.full((4, len(spread), GROUPS), np.nan)
    for r, one in enumerate(spread):
        edges = np.quantile(one, np.arange(1, GROUPS) / GROUPS, method="inverted_cdf")
        place = np.searchsorted(edges, one)  # equal spreads are in the same group
        rows = np.bincount(place, minlength=GROUPS)

        def mean(value: np.ndarray, place=place, rows=rows) -> np.ndarray:
            total = np.bincount(place, weights=value, minlength=GROUPS)
            return np.divide(total, rows, out=np.full(GROUPS, np.nan), where=rows > 0)

        root = np.sqrt(mean(variance[r])), np.sqrt(mean(error[r] ** 2))
        found[:, r] = mean(one), *root, rows
    there = np.isfinite(found[0]).any(axis=0)
    spreads, predicted, missed, rows = (np.nanmean(x[:, there], axis=0) for x in found)
    return Deciles(spreads, predicted, missed, rows)


def of_parts(
    parts: Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray]], members: int
) -> dict[str, Any]:
    """Each part's calibration, JSON-ready, with the noise of the validation rows.

    Without those it is of the test rows themselves, and its definition says so.

    Args:
      parts: `test`, `valid` -> prediction [R, n], spread [R, n] and rating [n].
      members: of the ensemble.
    """
    if not parts:
        return {}
    source = "valid" if "valid" in parts else "test"
    known = noise(*parts[source])
    estimated = f"the {'validation' if source == 'valid' else 'test'} rows"
    return {
        part: to_json(
            calibration(*each, known),
            known,
            members=members,
            rows=len(each[2]),
            estimated=estimated,
        )
        for part, each in parts.items()
    }


def to_json(
    found: Calibration, noise: np.ndarray, *, members: int, rows: int, estimated: str
) -> dict[str, Any]:
    """A calibration as a JSON object, each figure with its definition in words.

    Args:
      found: of `calibration`.
      noise: [R] stars², that it was given.
      members: of the ensemble.
      rows: n.
      estimated: the rows that `noise` was estimated on, in words.
    """
    values = {
        "noise": noise,
        "mean_spread": found.mean_spread,
        "spearman": found.spearman,
        "nll": found.nll,
        "nll_constant": found.nll_constant,
    }
    words = {
        name: text.format(members=members, estimated=estimated)
        for name, text in DEFINITIONS.items()
    }
    for level, share in zip(LEVELS, found.coverage.T, strict=True):
        values[f"coverage@{level}"] = share
        words[f"coverage@{level}"] = COVERAGE.format(level=level)
    deciles = {name: list(map(float, x)) for name, x in found.deciles._asdict().items()}
    return {
        "members": members,
        "rows": rows,
        **{name: _figure(value, words[name]) for name, value in values.items()},
        "deciles": {"definition": DECILES, **deciles},
    }


def _figure(values: np.ndarray, definition: str) -> dict[str, Any]:
    """The mean over seeds, null where a seed has none, and each seed's own."""
    known = [float(v) if np.isfinite(v) else None for v in values]
    mean = float(np.mean(values)) if None not in known else None
    return {"mean": mean, "values": known, "definition": definition}
