"""What a run writes besides checkpoints, each file whole or not there.

`results` is the content of metrics.json; the table on the terminal, metrics.csv and
the pictures are made from it alone, so that none of them can say something else.
"""

import csv
import errno
import io
import json
import math
import os
import platform
import subprocess
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import numpy as np

import ncf_jax
from ncf_jax.errors import RunError
from ncf_jax.evaluate import Evaluation
from ncf_jax.metrics.summary import to_json
from ncf_jax.types import Dataset, Split

Results = dict[str, Any]

FULL = {errno.ENOSPC: "Make room", errno.EDQUOT: "Make room"}
HISTORY = ("epoch", "train_loss", "valid_loss", "seconds", "examples_per_second")
PACKAGES = "jax jaxlib flax optax orbax-checkpoint numpy pandas scikit-learn"
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


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file whole or not at all.

    Raises:
      RunError: it could not be written; what was there before is still there.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(content)
        os.replace(partial, path)
    except OSError as error:
        what = FULL.get(error.errno or 0, "Choose another --workdir")
        raise RunError(
            f"{path} could not be written ({error.strerror}). {what}, and run the "
            f"command again."
        ) from error


def environment(dataset: Dataset, split: Split) -> dict[str, Any]:
    """Versions, devices, git commit and fingerprints: JSON-ready."""
    commit, dirty = _git()
    devices = jax.devices()
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "ncf_jax": ncf_jax.__version__,
        "packages": {name: metadata.version(name) for name in PACKAGES.split()},
        "device_kind": devices[0].device_kind,
        "device_platform": devices[0].platform,
        "device_count": len(devices),
        "git_commit": commit,
        "git_dirty": dirty,
        "dataset": dataset.label,
        "synthetic": dataset.synthetic,
        "data": dataset.fingerprint,
        "split": split.fingerprint,
    }


def _git() -> tuple[str | None, bool | None]:
    """Commit and whether files differ from it; None outside a checkout of our own."""
    root = Path(__file__).resolve().parents[1]

    def ask(*words: str) -> str:
        command = ["git", "-C", str(root), *words]
        return subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()

    try:
        if Path(ask("rev-parse", "--show-toplevel")).resolve() != root:
            return None, None  # installed somewhere below another project's checkout
        return ask("rev-parse", "HEAD"), bool(ask("status", "--porcelain"))
    except (OSError, subprocess.SubprocessError):
        return None, None


def make_results(
    *,
    title: str,
    dataset: Dataset,
    split: Split,
    seeds: Sequence[int],
    k: int,
    evaluations: dict[str, Evaluation],
    baselines: dict[str, Evaluation],
) -> Results:
    """Everything that is said of a run, JSON-ready.

    Args:
      title: the model's name.
      dataset: the data set, and `split` its split.
      seeds: R seeds.
      k: cut-off of the ranking metrics.
      evaluations: part of the split (`test`, `valid`) -> evaluation.
      baselines: name -> evaluation on the test rows.
    """
    return {
        "model": title,
        "dataset": dataset.label,
        "synthetic": dataset.synthetic,
        "floor_rmse": dataset.floor_rmse,
        "split_definition": split.definition,
        "rows": {part: int(e.rows.sum()) for part, e in evaluations.items()},
        "seeds": list(seeds),
        "k": k,
        "metrics": {
            f"{part}/{name}": to_json(summary)
            for part, evaluation in evaluations.items()
            for name, summary in evaluation.metrics.items()
        },
        "baselines": {
            title: {
                f"test/{name}": to_json(summary)
                for name, summary in evaluation.metrics.items()
            }
            for title, evaluation in baselines.items()
        },
        "data": dataset.fingerprint,
        "split": split.fingerprint,
    }


def dumps(value: Any) -> str:
    """JSON that a person can read, floats in full precision, no NaN."""
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def read_results(workdir: Path) -> Results | None:
    """The results of a finished run, or None.

    Raises:
      RunError: the file is damaged.
    """
    path = workdir / "metrics.json"
    try:
        results = json.loads(path.read_text())
        table_rows(results), footnotes(results)  # all that is shown of it is there
        return results
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise RunError(f"{path} cannot be read ({error.strerror}).") from error
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise RunError(
            f"{path} is damaged ({type(error).__name__}: {error}). Remove it and run "
            f"the same command again: it is made anew from the last checkpoint."
        ) from error


def write_results(
    workdir: Path, results: Results, history: Sequence[dict], per_user: str
) -> None:
    """Writes tables and pictures, and metrics.json last: it marks the run finished."""
    from ncf_jax import pictures  # matplotlib takes half a second to import

    whole = dumps(results)  # before anything is written
    write_bytes(workdir / "history.csv", history_csv(history).encode())
    write_bytes(workdir / "per_user.csv", per_user.encode())
    write_bytes(workdir / "metrics.csv", metrics_csv(results).encode())
    write_bytes(workdir / "metrics.png", pictures.metrics_table(results))
    write_bytes(workdir / "curves.png", pictures.learning_curves(results, history))
    write_bytes(workdir / "metrics.json", whole.encode())


def history_csv(history: Sequence[dict]) -> str:
    """One row an epoch: losses of ratings / 5, means over seeds."""
    return _csv(HISTORY, [[row[name] for name in HISTORY] for row in history])


def metrics_csv(results: Results) -> str:
    """One row in the reference's columns, with Recall@k; synthetic data is named."""
    k, synthetic = results["k"], results["synthetic"]
    model = results["model"] + (" [synthetic data]" if synthetic else "")
    names = [column.format(k=k) for column in CSV_COLUMNS]
    values = [
        results["metrics"][key.format(k=k)]["mean"] for key in CSV_COLUMNS.values()
    ]
    return _csv(["Model", *names], [[model, *values]])


def per_user_csv(dataset: Dataset, evaluation: Evaluation, k: int) -> str:
    """One row for each user with test rows; means over seeds, empty: not defined."""
    names = ["rmse", f"precision@{k}", f"ndcg@{k}", f"recall@{k}"]
    columns = [evaluation.per_user[name].mean(axis=0) for name in names]
    rows = [
        [int(dataset.user_ids[user]), int(count)]
        + ["" if math.isnan(value) else float(value) for value in values]
        for user, count, *values in zip(
            evaluation.user, evaluation.rows, *columns, strict=True
        )
    ]
    return _csv(["userId", "n_test", *names], rows)


def _csv(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
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


def footnotes(results: Results) -> list[str]:
    """What a reader of the table must know, a sentence a line."""
    k, metrics = results["k"], results["metrics"]
    recall = metrics[f"test/recall@{k}"]
    seeds = results["seeds"]
    lines = [
        f"{results['dataset']} · {results['split_definition']} · "
        f"data {results['data']} · split {results['split']}",
        f"test: {results['rows']['test']:,} rows of "
        f"{metrics[f'test/precision@{k}']['n_used']:,} users; recall leaves out "
        f"{recall['n_left_out']:,} users without a relevant item; "
        + (f"mean ± sd of {len(seeds)} seeds" if len(seeds) > 1 else "one seed")
        + "; definitions and 95 % intervals in metrics.json",
    ]
    if results["synthetic"]:
        lines.insert(
            0,
            "SYNTHETIC DATA: nobody rated anything; no figure here is a result. Lowest "
            f"RMSE to be expected of any model: {results['floor_rmse']:.4f}",
        )
    return lines


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
