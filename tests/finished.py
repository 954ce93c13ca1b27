"""Finished runs made by hand, with every figure by plain NumPy: no model, no files."""

from pathlib import Path

import numpy as np

from ncf_jax.per_user import PerUser
from ncf_jax.runs import Finished

USERS = 60
RATING_UNITS = ("rmse", "mae", "r2")
MEANS = ("precision", "ndcg", "recall")


def truth(users=USERS):
    """The test rows of everybody: user [N] and stars [N]."""
    rng = np.random.default_rng(7)
    user = np.repeat(np.arange(users), rng.integers(1, 20, users))
    return user, rng.integers(1, 11, len(user)) / 2


def figure(values, used, definition, left_out=0):
    """A metric as metrics.json has it."""
    values = [None if np.isnan(value) else float(value) for value in values]
    known = None not in values
    return {
        "mean": float(np.mean(values)) if known else None,
        "sd": float(np.std(values, ddof=1)) if known and len(values) > 1 else None,
        "ci95": [min(values) - 0.1, max(values) + 0.1] if known else [None, None],
        "values": values,
        "definition": definition,
        "n_used": used,
        "n_left_out": left_out,
        "convention": None,
        "candidates": None,
    }


def make(
    folder="runs/a",
    title="Model A",
    *,
    skill=0.0,
    noise=1.0,
    seed=0,
    seeds=1,
    users=USERS,
    ks=(10,),
    stars=True,
    timing=None,
    **changes,
):
    """A finished run.

    Args:
      folder: where it would be.
      title: of the model.
      skill: added to every ranking value; taken from the errors' size.
      noise: size of the errors in stars.
      seed: of this model's own luck.
      seeds: R.
      users: U'.
      ks: cut-offs.
      stars: False: rating metrics are not defined.
      timing: seconds.
      **changes: of the results.
    """
    rng = np.random.default_rng([seed, 1])
    user, rating = truth(users)
    error = rng.normal(0, noise, (seeds, len(user))) * (1 - skill)
    sums = np.zeros((seeds, users, 5))
    for r in range(seeds):
        for u in range(users):
            e, y = error[r, user == u], rating[user == u]
            sums[r, u] = len(e), (e**2).sum(), abs(e).sum(), y.sum(), (y**2).sum()
    metrics = {}
    squared = [(e**2).mean() for e in error]
    found = {
        "rmse": np.sqrt(squared),
        "mae": abs(error).mean(axis=1),
        "r2": 1 - np.array(squared) / rating.var(),
    }
    for name, value in found.items():
        value = value if stars else np.full(seeds, np.nan)
        metrics[f"test/{name}"] = figure(value, len(user), f"{name} of rows")
    level, values = rng.random(users) * 0.6, {}
    for k in ks:
        for name in MEANS:
            value = level + skill / 2 + rng.normal(0, 0.05, (seeds, users))
            value = np.clip(value, 0, 1).astype(np.float32)
            if name == "recall":
                value[:, ::7] = np.nan  # users without anything relevant
            values[f"{name}@{k}"] = value
            means = [np.mean(v[~np.isnan(v)], dtype=np.float64) for v in value]
            left_out = int(np.isnan(value[0]).sum())
            metrics[f"test/{name}@{k}"] = figure(
                means, users - left_out, f"{name} in the first {k}", left_out
            )
    results = {
        "format": 2,
        "model": title,
        "dataset": "a world",
        "synthetic": False,
        "split_definition": "user_random, seed 42",
        "split_limits": "It shows little.",
        "warnings": [],
        "rows": {"test": len(user)},
        "users": {"test": users},
        "seeds": list(range(seeds)),
        "k": ks[0],
        "ks": list(ks),
        "convention": "standard",
        "candidates": "rated",
        "ties": "expected",
        "threshold": 4.0,
        "metrics": metrics,
        "data": "d" * 16,
        "split": "5" * 16,
    } | changes
    rows = np.bincount(user)
    per_user = PerUser(np.arange(users) + 100, rows, sums, values)
    return Finished(Path(folder), results, per_user, timing or {}, [])
