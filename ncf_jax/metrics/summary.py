"""Per-user sums -> mean, standard deviation over seeds, interval over users.

Every metric is a function of sums over users, `finish(sums [..., C]) -> [...]`: sums
are added and divided once. The interval is the bootstrap over users: users are drawn
with replacement, their sums added, divided, and averaged over seeds; 2.5 % of the
draws lie below it and 2.5 % above. It says how far the figure would move with other
users of the same kind; `sd` says how far it moves with the seed.

Source: Efron and Tibshirani 1993, chapter 13 (the percentile interval).
"""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

RESAMPLES = 1000
BOOTSTRAP_SEED = 0
_BLOCK = 50  # resamples at a time: 4 * _BLOCK * U bytes of counts


class Summary(NamedTuple):
    """One metric of one model.

    Attributes:
      mean: over seeds.
      sd: sample standard deviation over seeds; None for one seed.
      ci95: bootstrap interval over users of the mean; NaN where there is none.
      values: one per seed.
      definition: what was computed, in words.
      n_used: users (ranking) or rows (rating) in the figure.
      n_left_out: users or rows for which the metric is not defined.
      convention: name of the reading, of a ranking metric.
      candidates: what was ranked, of a ranking metric.
    """

    mean: float
    sd: float | None
    ci95: tuple[float, float]
    values: tuple[float, ...]
    definition: str
    n_used: int
    n_left_out: int
    convention: str | None = None
    candidates: str | None = None


@jax.jit
def _resampled(sums_UxC: jax.Array) -> jax.Array:
    users = sums_UxC.shape[0]

    def block(key: jax.Array) -> jax.Array:
        drawn = jax.random.randint(key, (_BLOCK, users), 0, users)
        counts = jax.vmap(partial(jnp.bincount, length=users))(drawn)
        highest = jax.lax.Precision.HIGHEST
        return jnp.dot(counts.astype(jnp.float32), sums_UxC, precision=highest)

    keys = jax.random.split(jax.random.key(BOOTSTRAP_SEED), RESAMPLES // _BLOCK)
    return jax.lax.map(block, keys).reshape(RESAMPLES, -1)


def bootstrap(sums_RxUxC: np.ndarray) -> np.ndarray:
    """Sums of users drawn with replacement, as many as there are, on the device.

    The users of a resample are the same for every seed and summand, and for every
    call with as many users: two metrics, or two models, are drawn together.

    Args:
      sums_RxUxC: per seed, user and summand.

    Returns:
      [RESAMPLES, R, C] float64, added in float32.
    """
    seeds, users, summands = np.shape(sums_RxUxC)
    flat = np.moveaxis(np.asarray(sums_RxUxC, np.float32), 0, 1).reshape(users, -1)
    out = np.asarray(_resampled(flat), np.float64)
    return out.reshape(RESAMPLES, seeds, summands)


def summarize(
    sums_RxUxC: np.ndarray,
    finish: Callable[[np.ndarray], Any],
    *,
    resampled: np.ndarray | None = None,
    **about: Any,
) -> Summary:
    """Adds the sums of users and divides once, for the figure and each resample.

    Args:
      sums_RxUxC: per seed, user and summand; a user left out contributes zeros.
      finish: [..., C] -> [...].
      resampled: [B, R, C], `bootstrap(sums_RxUxC)` where it was made before.
      **about: definition, n_used, n_left_out and the rest of `Summary`.

    Example:
      >>> users = np.array([[[1.0, 1.0], [0.0, 1.0]]])  # value, whether it counts
      >>> out = summarize(users, lambda s: s[..., 0] / s[..., 1], definition="hits",
      ...                 n_used=2, n_left_out=0)
      >>> out.mean, out.ci95
      (0.5, (0.0, 1.0))
    """
    sums_RxUxC = np.asarray(sums_RxUxC, np.float64)
    if resampled is None:
        resampled = bootstrap(sums_RxUxC)
    with np.errstate(divide="ignore", invalid="ignore"):  # 0 / 0 is NaN: not defined
        values = np.asarray(finish(sums_RxUxC.sum(axis=1)))
        draws = np.asarray(finish(resampled)).mean(axis=1)
    # A resample without a user the metric is defined for says nothing.
    draws = draws[~np.isnan(draws)]
    low, high = np.percentile(draws, [2.5, 97.5]) if len(draws) else (np.nan, np.nan)
    return of_values(values, ci95=(float(low), float(high)), **about)


def of_values(
    values: np.ndarray,
    *,
    ci95: tuple[float, float] = (math.nan, math.nan),
    **about: Any,
) -> Summary:
    """A summary of one figure a seed [R]; without an interval unless it is given."""
    return Summary(
        mean=float(values.mean()),
        sd=float(values.std(ddof=1)) if len(values) > 1 else None,
        ci95=ci95,
        values=tuple(map(float, values)),
        **about,
    )


def user_sums(value_RxU: np.ndarray) -> np.ndarray:
    """Values of users as summands [R, U, 2]: the value, and whether there is one."""
    defined = ~np.isnan(value_RxU)
    return np.stack([np.where(defined, value_RxU, 0.0), defined], axis=-1)


def mean_of(total: np.ndarray) -> np.ndarray:
    """The `finish` of `user_sums`: a mean over the users who have a value."""
    return total[..., 0] / total[..., 1]


def to_json(summary: Summary) -> Mapping[str, Any]:
    """A summary as a JSON object; an undefined figure is null."""

    def clean(value: Any) -> Any:
        if isinstance(value, tuple):
            return [clean(each) for each in value]
        return None if isinstance(value, float) and math.isnan(value) else value

    return {key: clean(value) for key, value in summary._asdict().items()}
