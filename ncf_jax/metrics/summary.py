"""Per-user sums -> mean, standard deviation over seeds, interval over users.

Every metric is a function of sums over users, `finish(sums [..., C]) -> [...]`: sums
are added and divided once. The interval is the bootstrap over users: users are drawn
with replacement, their sums added, divided, and averaged over seeds; 2.5 % of the
draws lie below it and 2.5 % above. It says how far the figure would move with other
users of the same kind; `sd` says how far it moves with the seed.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

RESAMPLES = 1000
BOOTSTRAP_SEED = 0


class Summary(NamedTuple):
    """One metric of one model.

    Attributes:
      mean: over seeds.
      sd: sample standard deviation over seeds; None for one seed.
      ci95: bootstrap interval over users of the mean.
      values: one per seed.
      definition: what was computed, in words.
      n_used: users (ranking) or rows (rating) in the figure.
      n_left_out: users or rows for which the metric is not defined.
    """

    mean: float
    sd: float | None
    ci95: tuple[float, float]
    values: tuple[float, ...]
    definition: str
    n_used: int
    n_left_out: int


def bootstrap_counts(num_users: int) -> np.ndarray:
    """How often each user is drawn in each resample: [RESAMPLES, U] float64."""
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    return rng.multinomial(
        num_users, np.full(num_users, 1 / num_users), size=RESAMPLES
    ).astype(np.float64)


def summarize(
    sums_RxUxC: np.ndarray,
    finish: Callable[[np.ndarray], Any],
    *,
    counts: np.ndarray,
    definition: str,
    n_used: int,
    n_left_out: int,
) -> Summary:
    """Adds the sums of users and divides once, for the figure and each resample.

    Args:
      sums_RxUxC: per seed, user and summand; a user left out contributes zeros.
      finish: [..., C] -> [...].
      counts: [resamples, U], from `bootstrap_counts`.
      definition: what the metric is.
      n_used: see `Summary`.
      n_left_out: see `Summary`.
    """
    sums_RxUxC = np.asarray(sums_RxUxC, np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):  # 0 / 0 is NaN: not defined
        values = finish(sums_RxUxC.sum(axis=1))
        resampled_BxR = finish(
            np.einsum("bu,ruc->brc", counts, sums_RxUxC, optimize=True)
        )
    # A resample without a user the metric is defined for says nothing.
    draws = resampled_BxR.mean(axis=1)
    draws = draws[~np.isnan(draws)]
    low, high = np.percentile(draws, [2.5, 97.5]) if len(draws) else (np.nan, np.nan)
    return Summary(
        mean=float(values.mean()),
        sd=float(values.std(ddof=1)) if len(values) > 1 else None,
        ci95=(float(low), float(high)),
        values=tuple(map(float, values)),
        definition=definition,
        n_used=n_used,
        n_left_out=n_left_out,
    )


def to_json(summary: Summary) -> dict[str, Any]:
    """A summary as a JSON object; an undefined figure is null."""

    def clean(value: Any) -> Any:
        if isinstance(value, tuple):
            return [clean(each) for each in value]
        return None if isinstance(value, float) and math.isnan(value) else value

    return {key: clean(value) for key, value in summary._asdict().items()}
