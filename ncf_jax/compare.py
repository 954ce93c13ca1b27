"""Finished runs side by side, and which differences are more than chance.

Only runs on the same data, split and test rows are compared, and ranking figures only
of the same setting; anything else is refused with the names of the folders. Figures
are those of metrics.json, tests are on the values of users in per_user.npz.

Example:
  >>> from ncf_jax.runs import load_finished
  >>> found = compare([load_finished("runs/ncf"), load_finished("runs/bias")])
  ... # doctest: +SKIP
  >>> [test.metric for test in found.tests if test.significant]  # doctest: +SKIP
  ['rmse', 'mae', 'r2']
"""

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ncf_jax.comparison import (
    Comparison,
    Figure,
    PairedTest,
    Row,
    data_notes,
    method_notes,
)
from ncf_jax.errors import ConfigError, RunError
from ncf_jax.metrics import LARGER_IS_BETTER, RATING, SMALLER_IS_BETTER, paired
from ncf_jax.metrics.rating import RatingSums
from ncf_jax.metrics.summary import mean_of, user_sums
from ncf_jax.options import nearest

if TYPE_CHECKING:
    from ncf_jax.runs import Finished

AGAINST = ("first", "best", "all")
ALPHA = 0.05
SEED = 0  # of the flips and of the bootstrap
FLIPS_A_TEST = 200  # with that many, p after Holm can be 0.005 in any family
SETTING = ("convention", "candidates", "threshold", "ties")


def compare(
    runs: Sequence["Finished"],
    *,
    metrics: Sequence[str] | None = None,
    against: str = "first",
) -> Comparison:
    """Compares finished runs on their test rows.

    Args:
      runs: two or more, by `runs.load_finished`.
      metrics: such as `rmse` or `hit_rate@5`; None: RMSE, MAE, R², and precision,
        NDCG and recall at the first run's first cut-off.
      against: test the others against the `first`, or the `best` (lowest RMSE), or
        `all` pairs.

    Raises:
      ConfigError: an unknown metric or `against`.
      RunError: fewer than two runs, one run twice, or runs that cannot be compared.
    """
    if against not in AGAINST:
        wanted = ", ".join(AGAINST)
        raise ConfigError(f"--against wants one of {wanted}; found {against!r}.")
    names = _check(runs, metrics)
    rows = tuple(
        Row(
            label,
            str(run.folder),
            tuple(run.results["seeds"]),
            {name: _figure(run, name) for name in names},
            run.timing.get("train_seconds"),
            run.timing.get("evaluate_seconds"),
        )
        for label, run in zip(_labels(runs), runs, strict=True)
    )
    tests, flips = _tests(rows, runs, names, _pairs(runs, against))
    family = sum(test.p is not None for test in tests)
    first = runs[0].results
    labels = [row.label for row in rows]
    return Comparison(
        dataset=first["dataset"],
        data=first["data"],
        split=first["split"],
        synthetic=first["synthetic"],
        against=against,
        metrics=tuple(names),
        rows=rows,
        tests=tests,
        family=family,
        flips=flips,
        notes=(
            *data_notes([run.results for run in runs], labels, names),
            *method_notes(family, flips, paired.RESAMPLES, ALPHA),
        ),
    )


def larger_is_better(metric: str) -> bool | None:
    """Which of two values is the better one; None for a metric that only describes.

    Example:
      >>> larger_is_better("ndcg@10"), larger_is_better("rmse"), larger_is_better("x")
      (True, False, None)
    """
    base = metric.split("@")[0]
    return base in LARGER_IS_BETTER or (False if base in SMALLER_IS_BETTER else None)


def _figure(run: "Finished", metric: str) -> Figure:
    found = run.results["metrics"][f"test/{metric}"]
    return Figure(found["mean"], found["sd"], tuple(found["ci95"]))


def _check(runs: Sequence["Finished"], metrics: Sequence[str] | None) -> list[str]:
    """The metrics to compare; refuses runs that cannot be."""
    if len(runs) < 2:
        given = ", ".join(str(run.folder) for run in runs) or "none"
        raise RunError(f"A comparison wants two or more run folders; found {given}.")
    for one, other in itertools.combinations(runs, 2):
        if one.folder.resolve() == other.folder.resolve():
            raise RunError(f"{other.folder} is given twice; give each run once.")
    first, k = runs[0], runs[0].results["k"]
    for run in runs[1:]:
        for what in ("data", "split"):
            found, wanted = run.results[what], first.results[what]
            if found != wanted:
                raise RunError(
                    f"{first.folder} has the {what} {wanted} but {run.folder} has "
                    f"{found}, so their figures cannot be compared: train one of them "
                    f"again on the {what} of the other."
                )
        for of in ("user_id", "rows"):
            pair = getattr(first.per_user, of), getattr(run.per_user, of)
            if not np.array_equal(*pair):
                raise RunError(
                    f"The users or their test rows in {run.folder} are not those in "
                    f"{first.folder}, though the split is: evaluate both again."
                )
    keys = dict.fromkeys(key for run in runs for key in run.results["metrics"])
    every = tuple(key[5:] for key in keys if key.startswith("test/"))
    names = list(dict.fromkeys(metrics or ()))
    for name in names:
        if name not in every:
            hint = nearest(name, every) or f" The runs have {', '.join(every)}."
            raise ConfigError(f"--compare_metrics: no run has {name!r}.{hint}")
    names = names or [*RATING, f"precision@{k}", f"ndcg@{k}", f"recall@{k}"]
    ranking = any("@" in name for name in names)
    for run in runs:
        for what in SETTING if ranking else ():
            found, wanted = run.results[what], first.results[what]
            if found != wanted:
                raise RunError(
                    f"{first.folder} ranks with {what} {wanted} but {run.folder} with "
                    f"{what} {found}: evaluate one of them again as the other, or pass "
                    f"--compare_metrics={','.join(RATING)}."
                )
        for name in names:
            if f"test/{name}" not in run.results["metrics"]:
                raise RunError(
                    f"{run.folder} has no {name}: evaluate it again with that metric, "
                    f"or pass --compare_metrics with names that all runs have."
                )
    return names


def _labels(runs: Sequence["Finished"]) -> list[str]:
    """Titles; where one repeats with the folder's name, or all of its path."""
    labels = titles = [run.results["model"] for run in runs]
    for places in ([run.folder.name for run in runs], [run.folder for run in runs]):
        longer = [f"{title} ({x})" for title, x in zip(titles, places, strict=True)]
        pairs = zip(labels, longer, strict=True)
        labels = [long if labels.count(short) > 1 else short for short, long in pairs]
    return labels


def _pairs(runs: Sequence["Finished"], against: str) -> list[tuple[int, int]]:
    """Positions of the runs a and b of each pair to test."""
    if against == "all":
        return list(itertools.combinations(range(len(runs)), 2))
    base = 0
    if against == "best":
        rmse = [run.results["metrics"].get("test/rmse", {}).get("mean") for run in runs]
        known = [i for i, value in enumerate(rmse) if value is not None]
        if not known:
            raise RunError("No run has an RMSE to be best by; pass --against=first.")
        base = min(known, key=rmse.__getitem__)
    return [(base, other) for other in range(len(runs)) if other != base]


class _Measured(NamedTuple):
    """A metric of a run, by user."""

    pseudo: np.ndarray  # [U] jackknife
    own: np.ndarray  # [U] figure of the user alone
    draws: np.ndarray  # [B] figure of users drawn


def _sums(run: "Finished", metric: str) -> tuple[np.ndarray, paired.Finish]:
    """Sums of users [R, U, C] and what makes a figure of them; NaN where undefined."""
    values = run.per_user.values.get(metric)
    if metric in RATING and _figure(run, metric).mean is not None:
        of = RATING[metric]
        return run.per_user.sums, lambda s: of(RatingSums(*np.moveaxis(s, -1, 0)))
    if values is None:  # scores that are no stars, or one figure a run, as coverage
        values = np.full(run.per_user.sums.shape[:2], np.nan)
    return user_sums(np.asarray(values, np.float64)), mean_of


def _measure(
    runs: Sequence["Finished"], names: Sequence[str]
) -> list[dict[str, _Measured]]:
    sums = [[_sums(run, name) for name in names] for run in runs]
    together = [np.concatenate([s for s, _ in each], axis=-1) for each in sums]
    out = []
    for run, each, drawn in zip(
        runs, sums, paired.resample(together, SEED), strict=True
    ):
        ends = np.cumsum([s.shape[-1] for s, _ in each])[:-1]
        measured = {}
        for name, (s, finish), part in zip(
            names, each, np.split(drawn, ends, axis=-1), strict=True
        ):
            with np.errstate(divide="ignore", invalid="ignore"):  # 0 / 0: undefined
                whole, own_U = (
                    np.mean(finish(s.sum(axis=1))),
                    np.mean(finish(s), axis=0),
                )
            stored = _figure(run, name).mean
            if np.isfinite(whole) and not np.isclose(whole, stored or 0, 1e-4, 1e-6):
                raise RunError(
                    f"{name} is {stored} in metrics.json of {run.folder} but "
                    f"{whole:.6f} by its per_user.npz: evaluate that run again."
                )
            pseudo_U = paired.jackknife(s, finish)
            draws_B = paired.drawn_figures(part, finish)
            measured[name] = _Measured(pseudo_U, own_U, draws_B)
        out.append(measured)
    return out


def _tests(
    rows: Sequence[Row],
    runs: Sequence["Finished"],
    names: Sequence[str],
    pairs: Sequence[tuple[int, int]],
) -> tuple[tuple[PairedTest, ...], int]:
    """Every metric of every pair, and how many sign patterns each test has."""
    measured = _measure(runs, names)
    cases = [(a, b, name) for (a, b), name in itertools.product(pairs, names)]
    changes_TxU = np.stack(
        [
            paired.differences(measured[a][name].pseudo, measured[b][name].pseudo)
            for a, b, name in cases
        ]
    )
    family = int(np.isfinite(changes_TxU).any(axis=1).sum())
    flips = max(paired.FLIPS, FLIPS_A_TEST * family - 1)
    p_T = paired.sign_flip_p(changes_TxU, SEED, flips)
    tests = []
    for (a, b, name), change_U, p, adjusted in zip(
        cases, changes_TxU, p_T, paired.holm(p_T), strict=True
    ):
        left, right = measured[a][name], measured[b][name]
        was, now = rows[a].figures[name].mean, rows[b].figures[name].mean
        change = None if was is None or now is None else now - was
        larger = larger_is_better(name)
        share = None
        if larger is not None:
            share = _number(paired.wins(left.own, right.own, larger_is_better=larger))
        significant, better = bool(adjusted <= ALPHA), None
        if significant and change and larger is not None:
            better = rows[b if (change > 0) == larger else a].label
        low, high = paired.interval(right.draws - left.draws)
        tests.append(
            PairedTest(
                a=rows[a].label,
                b=rows[b].label,
                metric=name,
                difference=change,
                ci95=(_number(low), _number(high)),
                p=_number(p),
                p_holm=_number(adjusted),
                d_z=_number(paired.effect_size(change_U)),
                share_better=share,
                users=int(np.isfinite(change_U).sum()),
                significant=significant,
                better=better,
            )
        )
    return tuple(tests), flips


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
