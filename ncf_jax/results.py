"""The content of metrics.json, and every table that is made of it.

The table on the terminal, metrics.csv, the pictures and report.html are made from these
results alone, so that none of them can say something else.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ncf_jax.config import Config
from ncf_jax.judge import Evaluation
from ncf_jax.metrics import calibration
from ncf_jax.metrics.summary import to_json
from ncf_jax.types import Dataset, Split

Results = dict[str, Any]

FORMAT = 2  # raise it when older metrics.json would be misread
HISTORY = ("epoch", "train_loss", "valid_loss", "seconds", "examples_per_second")
# The reference's CSV columns, and Recall@k, with the keys they are taken from.
CSV_COLUMNS = {
    "Test RMSE": "test/rmse",
    "Test MAE": "test/mae",
    "Test R2": "test/r2",
    "Precision@{k}": "test/precision@{k}",
    "NDCG@{k}": "test/ndcg@{k}",
    "Recall@{k}": "test/recall@{k}",
}
METRICS = {
    "RMSE": "rmse",
    "MAE": "mae",
    "R²": "r2",
    "P@{k}": "precision@{k}",
    "NDCG@{k}": "ndcg@{k}",
    "R@{k}": "recall@{k}",
}
# Shown beside them, one line a cut-off.
MORE = {
    "P": "precision",
    "NDCG": "ndcg",
    "R": "recall",
    "hit rate": "hit_rate",
    "MRR": "mrr",
    "MAP": "map",
    "novelty, bits": "novelty",
    "popular": "popularity",
    "coverage": "coverage",
    "tied": "tied_cutoffs",
}


class About(NamedTuple):
    """What results say of the run besides figures.

    Attributes:
      program: what makes the run folder again, such as `experiments.train`.
      name: of the model on the command line; `title` in tables.
      title: the model's name.
      seeds: R seeds.
      ks: cut-offs, the first of which tables show.
      convention: reading of the ranking metrics.
      candidates: what was ranked.
      ties: how ties were ordered.
      threshold: stars from which an item is relevant.
      limits: what the split can and cannot show.
      warnings: what leaks, a sentence each.
      members: networks whose predictions are averaged.
    """

    program: str
    name: str
    title: str
    seeds: Sequence[int]
    ks: tuple[int, ...] = (10,)
    convention: str = "standard"
    candidates: str = "rated"
    ties: str = "expected"
    threshold: float = 4.0
    limits: str = ""
    warnings: Sequence[str] = ()
    members: int = 1


def seeds_of(config: Config) -> range:
    """The seed of each of R figures: of an ensemble, that of its first member."""
    count = config.num_seeds * config.ensemble
    return range(config.seed, config.seed + count, config.ensemble)


def make_results(
    about: About,
    dataset: Dataset,
    split: Split,
    evaluations: Mapping[str, Evaluation],
    baselines: Mapping[str, Evaluation],
) -> Results:
    """Everything that is said of a run, JSON-ready.

    Args:
      about: the run.
      dataset: the data set, and `split` its split.
      split: of the data set.
      evaluations: part of the split (`test`, `valid`) -> evaluation.
      baselines: name -> evaluation on the test rows.
    """

    def figures(part: str, evaluation: Evaluation) -> dict[str, Any]:
        return {f"{part}/{n}": to_json(s) for n, s in evaluation.metrics.items()}

    out = {
        "format": FORMAT,
        "program": about.program,
        "name": about.name,
        "model": about.title,
        "dataset": dataset.label,
        "synthetic": dataset.synthetic,
        "floor_rmse": dataset.floor_rmse,
        "split_definition": split.definition,
        "split_limits": about.limits,
        "warnings": list(about.warnings),
        "rows": {part: int(e.rows.sum()) for part, e in evaluations.items()},
        "users": {part: len(e.user) for part, e in evaluations.items()},
        "seeds": list(about.seeds),
        "k": about.ks[0],
        "ks": list(about.ks),
        "convention": about.convention,
        "candidates": about.candidates,
        "ties": about.ties,
        "threshold": about.threshold,
        "metrics": {
            name: figure
            for part, evaluation in evaluations.items()
            for name, figure in figures(part, evaluation).items()
        },
        "baselines": {name: figures("test", e) for name, e in baselines.items()},
        "tests": [],
        "data": dataset.fingerprint,
        "split": split.fingerprint,
    }
    parts = {
        part: (each.prediction, each.spread, dataset.rating[getattr(split, part)])
        for part, each in evaluations.items()
        if each.spread is not None
    }
    spread = calibration.of_parts(parts, about.members)
    return out | ({"spread": spread} if spread else {})


def check(results: Results) -> None:
    """Sees to it that each figure has all that tables, tests and pages take of it.

    Raises:
      ValueError, LookupError, TypeError: one has not.
    """
    for part in (results["metrics"], *results["baselines"].values()):
        for name, one in part.items():
            low, high = one["ci95"]
            numbers = (one["mean"], one["sd"], low, high, *one["values"])
            fine = all(x is None or type(x) in (int, float) for x in numbers)
            counts = one["n_used"], one["n_left_out"]
            if not fine or not all(type(x) is int for x in counts):
                raise ValueError(f"{name} is no figure")


def history_csv(history: Sequence[dict]) -> str:
    """One row an epoch: losses of ratings / 5, means over seeds."""
    return to_csv(HISTORY, [[row[name] for name in HISTORY] for row in history])


def metrics_csv(results: Results) -> str:
    """One row in the reference's columns, with Recall@k; synthetic data is named."""
    k, synthetic = results["k"], results["synthetic"]
    model = results["model"] + (" [synthetic data]" if synthetic else "")
    names = [column.format(k=k) for column in CSV_COLUMNS]
    values = [
        results["metrics"][key.format(k=k)]["mean"] for key in CSV_COLUMNS.values()
    ]
    return to_csv(["Model", *names], [[model, *values]])


def to_csv(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Cells as they are, floats in full precision, a line end of one character."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([header, *rows])
    return out.getvalue()


def table_rows(results: Results) -> tuple[list[str], list[list[str]]]:
    """The metrics table as text: header and rows, this model first.

    Figures are means over seeds, with the standard deviation when there are several.
    """
    k = results["k"]
    header = ["model", "rows", *(name.format(k=k) for name in METRICS)]

    def row(label: str, part: str, metrics: dict[str, Any]) -> list[str]:
        keys = [f"{part}/{key.format(k=k)}" for key in METRICS.values()]
        return [label, part, *(_figure(metrics[key]) for key in keys)]

    rows = [
        row(results["model"], part, results["metrics"])
        for part in ("test", "valid")
        if part in results["rows"]
    ]
    rows += [row(name, "test", each) for name, each in results["baselines"].items()]
    return header, rows


def _figure(metric: dict[str, Any]) -> str:
    if metric["mean"] is None:
        return "–"
    text = f"{metric['mean']:z.4f}"  # z: no minus sign before 0.0000
    return text if metric["sd"] is None else f"{text} ± {metric['sd']:.4f}"


def more_rows(results: Results) -> tuple[list[str], list[list[str]]]:
    """All ranking metrics of the test rows, a line a cut-off: header and rows."""
    metrics = results["metrics"]
    shown = {
        label: name
        for label, name in MORE.items()
        if any(f"test/{name}@{k}" in metrics for k in results["ks"])
    }
    rows = [
        [f"test, K = {k}", *(_figure(metrics[f"test/{n}@{k}"]) for n in shown.values())]
        for k in results["ks"]
    ]
    return ["", *shown], rows


def footnotes(results: Results) -> list[str]:
    """What a reader of the tables must know, a sentence a line."""
    k, metrics = results["k"], results["metrics"]
    recall = metrics[f"test/recall@{k}"]
    seeds = results["seeds"]
    ranked = {
        "rated": "each user's rated rows",
        "catalogue": "all items a user has not rated in train",
    }[results["candidates"]]
    ties = {"expected": "ties by expectation"}.get(
        results["ties"], f"ties {results['ties']}"
    )
    lines = [
        f"{results['dataset']} · {results['split_definition']} · "
        f"data {results['data']} · split {results['split']}",
        f"test: {results['rows']['test']:,} rows of "
        f"{metrics[f'test/precision@{k}']['n_used']:,} users; recall leaves out "
        f"{recall['n_left_out']:,} users without a relevant item; "
        + (f"mean ± sd of {len(seeds)} seeds" if len(seeds) > 1 else "one seed")
        + "; definitions and 95 % intervals in metrics.json",
        f"ranking: {results['convention']} reading of {ranked}, relevant from "
        f"{results['threshold']} stars, {ties}",
    ]
    if "spread" in results:
        lines.append(spread_line(results["spread"]))
    lines += results["warnings"]
    if results["synthetic"]:
        lines.insert(
            0,
            "SYNTHETIC DATA: nobody rated anything; no figure here is a result. Lowest "
            f"RMSE to be expected of any model: {results['floor_rmse']:.4f}",
        )
    return lines


def spread_line(spread: dict[str, Any]) -> str:
    """How far an ensemble's members differ, and what its intervals hold."""
    found = spread["test"]
    share = {k: 100 * found[f"coverage@{k}"]["mean"] for k in calibration.LEVELS}
    return (
        f"spread over {found['members']} members: mean "
        f"{found['mean_spread']['mean']:.2f} stars; 95 % intervals hold "
        f"{share[95]:.1f} % of test ratings (80 %: {share[80]:.1f}, 50 %: "
        f"{share[50]:.1f})"
    )


def history_row(
    epoch: int,
    train_loss: np.ndarray,
    valid_loss: np.ndarray,
    seconds: float,
    examples_per_second: float,
) -> dict[str, Any]:
    """One epoch of the history, JSON-ready; losses are means over seeds [R]."""
    return {
        "epoch": epoch,
        "train_loss": float(train_loss.mean()),
        "valid_loss": None if np.isnan(valid_loss).any() else float(valid_loss.mean()),
        "seconds": seconds,
        "examples_per_second": examples_per_second,
    }
