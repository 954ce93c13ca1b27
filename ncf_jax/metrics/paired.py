"""Two systems on the same users: is the difference more than chance?

A figure is `finish(sums added over users)`, averaged over seeds; see `summary`. Its
jackknife gives each user a value of their own, so that one paired test serves means
over users (there it is the user's own value) and figures that are none, as an RMSE.
Only NumPy; resamples are drawn by blocks, so memory is bounded, and a block's size
changes no number.

Example:
  >>> a = np.array([[[4.0, 1.0], [1.0, 1.0], [9.0, 1.0]]])  # squared error, rows
  >>> b = np.array([[[1.0, 1.0], [1.0, 1.0], [4.0, 1.0]]])
  >>> rmse = lambda total: (total[..., 0] / total[..., 1]) ** 0.5
  >>> change = differences(jackknife(a, rmse), jackknife(b, rmse))
  >>> sign_flip_p(change, seed=0) > 0.05  # three users prove nothing
  True
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

FLIPS = 9_999
RESAMPLES = 2_000
BLOCK_BYTES = 64 * 2**20  # of what is drawn at a time
# Per-user values are kept in float32: closer than this they are the same value.
SAME = 1e-6

Finish = Callable[[np.ndarray], Any]


def _blocks(draws: int, width: int) -> Iterator[int]:
    """Sizes that add up to `draws`, each of at most BLOCK_BYTES of `width` floats."""
    size = max(1, BLOCK_BYTES // (8 * max(width, 1)))
    for start in range(0, draws, size):
        yield min(size, draws - start)


def jackknife(sums_RxUxC: np.ndarray, finish: Finish) -> np.ndarray:
    """Pseudo-values of the mean over seeds of `finish(total)`, one a user.

    User u of n has n T - (n - 1) T_u, where T is the figure of all and T_u that of
    all but u. For a mean over users it is the user's own value, averaged over seeds.

    A user whose summands are zero in every seed is left out of the figure: NaN, and
    not one of the n. So is a user without whom the figure is not defined, unless
    nobody else is in it: the figure is theirs.

    Source: Tukey 1958, Annals of Mathematical Statistics 29, 614.

    Args:
      sums_RxUxC: per seed, user and summand.
      finish: [..., C] -> [...].

    Returns:
      [U] in the figure's unit.

    Example:
      >>> sums = np.array([[[0.5, 1.0], [0.0, 0.0], [1.0, 1.0]]])  # value, defined
      >>> jackknife(sums, lambda total: total[..., 0] / total[..., 1])
      array([0.5, nan, 1. ])
    """
    sums_RxUxC = np.asarray(sums_RxUxC, np.float64)
    counts_U = (sums_RxUxC != 0).any(axis=(0, 2))
    users = counts_U.sum()
    total_Rx1xC = sums_RxUxC.sum(axis=1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):  # 0 / 0 is NaN: not defined
        whole = np.mean(finish(total_Rx1xC[:, 0]))
        without_U = np.mean(finish(total_Rx1xC - sums_RxUxC), axis=0)
    if users == 1:
        without_U = whole  # of nobody; its weight is n - 1 = 0
    return np.where(counts_U, users * whole - (users - 1) * without_U, np.nan)


def differences(a_U: np.ndarray, b_U: np.ndarray) -> np.ndarray:
    """b - a for each user [U]; exactly 0 where they are the same but for rounding.

    NaN where one of the two is.

    Example:
      >>> differences(np.array([0.3, 0.5]), np.array([0.1 + 0.2, 0.25]))
      array([ 0.  , -0.25])
    """
    same = np.isclose(a_U, b_U, rtol=SAME, atol=SAME**2)
    return np.where(same, 0.0, np.asarray(b_U) - np.asarray(a_U))


def sign_flip_p(differences: np.ndarray, seed: int, flips: int = FLIPS) -> Any:
    """Two-sided p-values of paired differences, by flipping their signs at random.

    If the two systems were exchangeable, a user's difference would as soon have the
    other sign. p is the share of sign patterns whose mean is at least as far from 0,
    the observed one counted in: (1 + #) / (1 + flips), so it is never 0.

    Source: Smucker, Allan, Carterette 2007, CIKM, 623-632.

    Args:
      differences: [..., U]; NaN: the user is left out. All tests of the leading axes
        use the same patterns.
      seed: of the patterns.
      flips: how many; p is never below 1 / (1 + flips).

    Returns:
      [...] float64, a float for [U]; 1 when all differences are 0, NaN without any.

    Example:
      >>> round(sign_flip_p(np.array([1.0, 2.0, 3.0]), seed=0), 2)  # of 8 patterns, 2
      0.25
    """
    differences = np.asarray(differences, np.float64)
    lead, users = differences.shape[:-1], differences.shape[-1]
    flat_TxU = differences.reshape(math.prod(lead), users)
    known_TxU = np.isfinite(flat_TxU)
    flat_TxU = np.where(known_TxU, flat_TxU, 0.0)
    sum_T = flat_TxU.sum(axis=1)
    # Sums that are equal on paper are counted as equal, in whatever order they add.
    least_T = np.abs(sum_T) - 1e-12 * np.abs(flat_TxU).sum(axis=1)
    rng, words = np.random.default_rng(seed), -(-users // 32)
    extreme_T = np.zeros(len(sum_T), np.int64)
    for size in _blocks(flips, max(32 * words, len(sum_T))):
        drawn = np.frombuffer(rng.bytes(4 * words * size), np.uint8)
        bits = np.unpackbits(drawn.reshape(size, 4 * words), axis=1)[:, :users]
        sums_BxT = 2 * (bits.astype(np.float64) @ flat_TxU.T) - sum_T
        extreme_T += (np.abs(sums_BxT) >= least_T).sum(axis=0)
    p_T = np.where(known_TxU.any(axis=1), (1 + extreme_T) / (1 + flips), np.nan)
    return p_T.reshape(lead) if lead else float(p_T[0])


def holm(p: np.ndarray) -> np.ndarray:
    """p-values for a whole family of tests, by Holm's step-down method [T].

    The smallest of m is multiplied by m, the next by m - 1, …; never smaller than the
    one before it, never above 1. With all at most 5 %, the chance of one or more
    false claims in the family is at most 5 %, however the tests depend on each other.
    NaN stays NaN and does not count in the family.

    Source: Holm 1979, Scandinavian Journal of Statistics 6, 65-70.

    Example:
      >>> holm(np.array([0.01, 0.04, np.nan, 0.03]))
      array([0.03, 0.06,  nan, 0.06])
    """
    p = np.asarray(p, np.float64)
    order = np.argsort(p)  # NaN comes last
    order = order[: np.count_nonzero(~np.isnan(p))]
    steps = np.arange(len(order), 0, -1)
    adjusted = np.full(p.shape, np.nan)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps * p[order]), 1.0)
    return adjusted


def resample(
    systems: Sequence[np.ndarray], seed: int, resamples: int = RESAMPLES
) -> list[np.ndarray]:
    """Sums of users drawn with replacement, as many as there are.

    The same users are drawn for all systems, so their differences are paired.

    Args:
      systems: of each, [R, U, C] per seed, user and summand; R and C may differ.
      seed: of the draws.
      resamples: how many.

    Returns:
      Of each, [resamples, R, C].

    Example:
      >>> totals = resample([np.ones((1, 4, 2))], seed=0, resamples=1)[0]
      >>> totals.tolist()  # four users are drawn of four
      [[[4.0, 4.0]]]
    """
    users = np.shape(systems[0])[1]
    # A row a user, so that a block of draws is one product of matrices.
    flat = [
        np.moveaxis(np.asarray(sums, np.float64), 1, 0).reshape(users, -1)
        for sums in systems
    ]
    out: list[list[np.ndarray]] = [[] for _ in systems]
    rng, chances = np.random.default_rng(seed), np.full(users, 1 / max(users, 1))
    for size in _blocks(resamples, users):
        counts = rng.multinomial(users, chances, size=size).astype(np.float64)
        for totals, sums_UxK in zip(out, flat, strict=True):
            totals.append(counts @ sums_UxK)
    return [
        np.concatenate(totals).reshape(resamples, np.shape(sums)[0], -1)
        for totals, sums in zip(out, systems, strict=True)
    ]


def difference_interval(
    sums_a: np.ndarray,
    sums_b: np.ndarray,
    finish: Finish,
    seed: int,
    resamples: int = RESAMPLES,
) -> tuple[float, float]:
    """95 % bootstrap interval over users of the figure of b minus that of a.

    The same users are drawn for both; each figure is a mean over its own seeds.

    Source: Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 13.

    Args:
      sums_a: [Ra, U, C] per seed, user and summand.
      sums_b: [Rb, U, C] of the same users.
      finish: [..., C] -> [...].
      seed: of the draws.
      resamples: how many.

    Returns:
      2.5 and 97.5 percentiles; NaN when no draw is defined.

    Example:
      >>> a = np.array([[[0.5, 1.0], [0.0, 1.0], [1.0, 1.0]]])
      >>> difference_interval(a, a, lambda t: t[..., 0] / t[..., 1], seed=0)
      (0.0, 0.0)
    """
    drawn = resample([sums_a, sums_b], seed, resamples)
    a_B, b_B = (drawn_figures(totals, finish) for totals in drawn)
    return interval(b_B - a_B)


def drawn_figures(totals_BxRxC: np.ndarray, finish: Finish) -> np.ndarray:
    """The figure of each draw of `resample`, a mean over seeds [B]; NaN: undefined."""
    with np.errstate(divide="ignore", invalid="ignore"):  # 0 / 0 is NaN: not defined
        return np.mean(finish(totals_BxRxC), axis=1)


def interval(draws_B: np.ndarray) -> tuple[float, float]:
    """2.5 and 97.5 percentiles of the draws that are defined; NaN without any."""
    draws_B = draws_B[~np.isnan(draws_B)]
    if not len(draws_B):
        return (math.nan, math.nan)
    low, high = np.percentile(draws_B, [2.5, 97.5])
    return float(low), float(high)


def effect_size(differences: np.ndarray) -> float:
    """Cohen's d_z: mean over standard deviation of the paired differences [U].

    It says how large a difference is beside its spread over users, however many
    there are; NaN marks a user left out. A spread of 0 gives an infinity of the
    mean's sign, and NaN when the mean is 0 too, or with fewer than two users.

    Source: Cohen 1988, Statistical Power Analysis, 2.3.5.

    Example:
      >>> effect_size(np.array([1.0, 2.0, 3.0]))
      2.0
    """
    known = np.asarray(differences, np.float64)
    known = known[np.isfinite(known)]
    if len(known) < 2:
        return float("nan")
    mean, sd = known.mean(), known.std(ddof=1)
    if sd <= 1e-12 * np.abs(known).max():  # what rounding leaves of no spread
        return float(np.copysign(np.inf, mean)) if mean else float("nan")
    return float(mean / sd)


def wins(a_U: np.ndarray, b_U: np.ndarray, *, larger_is_better: bool) -> float:
    """Share of users for whom b is better than a; a tie is half a win.

    Users without both values are left out; NaN when nobody has them.

    Example:
      >>> wins(np.array([1.0, 2.0]), np.array([3.0, 2.0]), larger_is_better=True)
      0.75
    """
    change = differences(a_U, b_U)
    better = np.sign(change[np.isfinite(change)]) * (1 if larger_is_better else -1)
    return float((better + 1).mean() / 2) if len(better) else float("nan")
