"""Where a model errs: error and bias of groups of rows, calibration, residuals.

Everything is sums by user, as in `metrics.summary`: rows of a group are added and
divided once. With several seeds each seed's figure is computed and the mean is shown;
predictions are never averaged first, that would be another model.

Intervals are for other users of the same kind, by linearisation: a user's influence on
a ratio of sums is known in closed form, and the variance of the figure is that of the
summed influences (Cochran, Sampling Techniques, 1977, section 6.3). It takes one pass
at any size, and agrees with a bootstrap over users where there are enough of them;
with fewer than `FEWEST_USERS` no interval is given.

Example:
  >>> import numpy as np
  >>> truth, user = np.array([4.0, 2.0, 5.0]), np.array([0, 0, 1])
  >>> found = by_groups(truth[None] + 0.5, truth, user, np.eye(3) > 0, list("abc"))
  >>> found.rmse.tolist(), found.bias.tolist(), found.rows.tolist()
  ([0.5, 0.5, 0.5], [0.5, 0.5, 0.5], [1, 1, 1])
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

FEWEST_USERS = 10
NORMAL = 1.959964  # 97.5 % of a normal distribution lies below
STEP = 0.25  # stars, the width of the bins of predictions and of residuals
YEAR = re.compile(r"\((\d{4})(?:[-–]\d{0,4})?\)\s*$")


class Groups(NamedTuple):
    """Figures of C groups of rows; a row may be in several.

    Attributes:
      labels: C names.
      rows: [C] how many rows.
      users: [C] of how many users.
      rmse: [C] stars, mean over seeds.
      rmse_low: [C] lower end of its 95 % interval; NaN with too few users.
      rmse_high: [C] upper end.
      bias: [C] mean of predicted minus true stars, over rows and seeds.
      bias_low: [C] lower end of its 95 % interval.
      bias_high: [C] upper end.
      spread: [C] standard deviation of the true ratings: the RMSE of guessing the
        group's own mean.
    """

    labels: tuple[str, ...]
    rows: np.ndarray
    users: np.ndarray
    rmse: np.ndarray
    rmse_low: np.ndarray
    rmse_high: np.ndarray
    bias: np.ndarray
    bias_low: np.ndarray
    bias_high: np.ndarray
    spread: np.ndarray

    def take(self, which: np.ndarray) -> "Groups":
        """The groups at `which` [C'], in that order."""
        labels = tuple(self.labels[n] for n in which)
        return Groups(labels, *(values[which] for values in self[1:]))


def by_groups(
    prediction: np.ndarray,
    truth: np.ndarray,
    user: np.ndarray,
    member: np.ndarray,
    labels: Sequence[str],
) -> Groups:
    """Error and bias of each group that has a row.

    Args:
      prediction: [R, n] stars.
      truth: [n] stars.
      user: [n] user index.
      member: [n, C] bool, whether a row is in a group.
      labels: C names.
    """
    error = np.asarray(prediction, np.float64) - truth
    found = []
    for column, label in enumerate(labels):
        inside = np.flatnonzero(member[:, column])
        if len(inside):
            found.append((label, *_one(error[:, inside], truth[inside], user[inside])))
    names, *columns = zip(*found, strict=True) if found else [()] * len(Groups._fields)
    return Groups(tuple(names), *map(np.array, columns))


def _one(error: np.ndarray, truth: np.ndarray, user: np.ndarray) -> tuple:
    rows = error.shape[1]
    _, place, count = np.unique(user, return_inverse=True, return_counts=True)
    rmse, influence = [], np.zeros(len(count))
    bias, bias_influence = [], np.zeros(len(count))
    for each in error:
        squared = np.bincount(place, each**2)
        mean = squared.sum() / rows
        rmse.append(mean**0.5)
        if mean > 0:
            influence += (squared - mean * count) / (2 * rmse[-1] * rows)
        summed = np.bincount(place, each)
        bias.append(summed.sum() / rows)
        bias_influence += (summed - bias[-1] * count) / rows
    half = interval_half(influence / len(error))
    bias_half = interval_half(bias_influence / len(error))
    level, tilt = float(np.mean(rmse)), float(np.mean(bias))
    return (
        rows,
        len(count),
        level,
        max(level - half, 0.0) if half == half else half,
        level + half,
        tilt,
        tilt - bias_half,
        tilt + bias_half,
        float(np.std(truth)),
    )


def interval_half(influence: np.ndarray) -> float:
    """Half the width of a 95 % interval from the influences [U] of its users.

    NaN with fewer than `FEWEST_USERS`.
    """
    users = len(influence)
    if users < FEWEST_USERS:
        return float("nan")
    return float(NORMAL * np.sqrt(users / (users - 1) * np.sum(influence**2)))


def bands(count: np.ndarray, edges: Sequence[int]) -> tuple[np.ndarray, list[str]]:
    """Rows by a count: membership [n, C] and a label for each band.

    Args:
      count: [n] such as the train ratings of each row's item.
      edges: the smallest count of each band, ascending from 0.

    Example:
      >>> bands(np.array([0, 3, 9]), (0, 1, 5))[1]
      ['0', '1–4', '5+']
    """
    ends = [*edges[1:], None]
    labels = [
        f"{low:,}+"
        if end is None
        else (f"{low:,}" if end == low + 1 else f"{low:,}–{end - 1:,}")
        for low, end in zip(edges, ends, strict=True)
    ]
    band = np.searchsorted(np.asarray(edges), count, side="right") - 1
    return band[:, None] == np.arange(len(edges)), labels


def years(titles: Sequence[str]) -> np.ndarray:
    """The year in brackets at the end of each title; 0 where there is none.

    Example:
      >>> years(["Toy Story (1995)", "Nameless", "Dekalog (1989–90)"]).tolist()
      [1995, 0, 1989]
    """
    found = (YEAR.search(title) for title in titles)
    return np.array([int(match[1]) if match else 0 for match in found], np.int64)


def decades(year: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Rows by decade, oldest first: membership [n, C] and labels; 0 is no year."""
    decade = year // 10 * 10
    values = sorted(set(decade.tolist()), key=lambda value: (value == 0, value))
    labels = [f"{value}s" if value else "no year" for value in values]
    return decade[:, None] == np.array(values, np.int64), labels


def half_stars(rating: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Rows by true rating, to the half star: membership [n, C] and labels."""
    rounded = np.round(np.asarray(rating, np.float64) * 2) / 2
    values = np.unique(rounded)
    return rounded[:, None] == values, [f"{value:g}" for value in values]


class Calibration(NamedTuple):
    """Rows in bins of their predicted rating, all seeds pooled.

    Attributes:
      start: [C] stars, the lower edge of each bin; the outer bins are open.
      rows: [C] rows, a mean over seeds.
      predicted: [C] mean prediction.
      true: [C] mean true rating.
      true_low: [C] lower end of its 95 % interval over users; NaN with too few.
      true_high: [C] upper end.
      slope: of the least-squares line of true on predicted rating; NaN where all
        predictions are the same. Below 1 the predictions are spread too far.
    """

    start: np.ndarray
    rows: np.ndarray
    predicted: np.ndarray
    true: np.ndarray
    true_low: np.ndarray
    true_high: np.ndarray
    slope: float


def calibration(
    prediction: np.ndarray, truth: np.ndarray, user: np.ndarray
) -> Calibration:
    """Mean true rating of the rows that got about the same prediction.

    Args:
      prediction: [R, n] stars.
      truth: [n] stars.
      user: [n] user index.
    """
    seeds = len(prediction)
    flat = np.asarray(prediction, np.float64).ravel()
    true, who = np.tile(np.asarray(truth, np.float64), seeds), np.tile(user, seeds)
    # Below half a star and from five stars on there is one bin each.
    first, last = round(0.5 / STEP) - 1, round(5 / STEP)
    place = np.clip(np.floor(flat / STEP), first, last).astype(int)
    bins = np.unique(place)
    out = []
    for each in bins:
        inside = place == each
        _, mine, count = np.unique(who[inside], return_inverse=True, return_counts=True)
        total, mean = inside.sum(), true[inside].mean()
        influence = (np.bincount(mine, true[inside]) - mean * count) / total
        half = interval_half(influence)
        out.append((total / seeds, flat[inside].mean(), mean, mean - half, mean + half))
    centred = flat - flat.mean()
    variance = np.mean(centred**2)
    slope = np.mean(centred * true) / variance if variance > 1e-12 else np.nan
    rows, predicted, mean, low, high = np.array(out).T
    return Calibration(bins * STEP, rows, predicted, mean, low, high, float(slope))


def residuals(
    prediction: np.ndarray, truth: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Share of rows by predicted minus true stars, in bins centred on multiples of
    `STEP`; what is beyond 4.5 stars is in the outer bins.

    Args:
      prediction: [R, n] stars.
      truth: [n] stars.

    Returns:
      centre: [C] stars.
      share: [C] of all rows and seeds; they sum to 1.
    """
    error = np.asarray(prediction, np.float64) - truth
    end = round(4.5 / STEP)
    place = np.clip(np.round(error / STEP), -end, end).astype(int) + end
    count = np.bincount(place.ravel(), minlength=2 * end + 1)
    return (np.arange(2 * end + 1) - end) * STEP, count / error.size
