"""What a run writes besides checkpoints, each file whole or not there."""

import csv
import errno
import io
import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import numpy as np

import ncf_jax
from ncf_jax import per_user, processes
from ncf_jax.errors import RunError
from ncf_jax.judge import Evaluation
from ncf_jax.results import (
    FORMAT,
    HISTORY,
    Results,
    footnotes,
    history_csv,
    metrics_csv,
    more_rows,
    table_rows,
)
from ncf_jax.trackers import json_lines
from ncf_jax.types import Dataset, Split

FULL = {errno.ENOSPC: "Make room", errno.EDQUOT: "Make room"}
PACKAGES = "jax jaxlib flax optax orbax-checkpoint numpy pandas scikit-learn"


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file whole or not at all; of several processes, the first does.

    Raises:
      RunError: it could not be written; what was there before is still there.
    """
    if not processes.primary():
        return
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


def environment(
    dataset: Dataset, split: Split, packages: Sequence[str] = ()
) -> dict[str, Any]:
    """Versions, devices, git commit and fingerprints: JSON-ready.

    Args:
      dataset: the data set, and `split` its split.
      split: of the data set.
      packages: distributions to name besides ours.
    """
    commit, dirty = _git()
    devices = jax.devices()
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "ncf_jax": ncf_jax.__version__,
        "packages": {
            name: metadata.version(name) for name in (*PACKAGES.split(), *packages)
        },
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


def dumps(value: Any) -> str:
    """JSON that a person can read, floats in full precision, no NaN."""
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def read_results(workdir: Path) -> Results | None:
    """The results of a finished run, or None.

    Raises:
      RunError: the file is damaged, or of another version.
    """
    path = workdir / "metrics.json"
    try:
        results = json.loads(path.read_text())
        if results.get("format") == FORMAT:
            # All that is shown of it is there.
            table_rows(results), more_rows(results), footnotes(results)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise RunError(f"{path} cannot be read ({error.strerror}).") from error
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise RunError(
            f"{path} is damaged ({type(error).__name__}: {error}). Remove it and run "
            f"the same command again: it is made anew from the last checkpoint."
        ) from error
    if results.get("format") != FORMAT:
        raise RunError(
            f"{path} is of another version: format {results.get('format', 1)!r} where "
            f"this one reads {FORMAT}. Remove it and run the same command again, or "
            f"train anew."
        )
    return results


def write_history(workdir: Path, history: Sequence[dict]) -> None:
    """history.csv, and the same as lines of JSON."""
    write_bytes(workdir / "history.csv", history_csv(history).encode())
    write_bytes(workdir / "events.jsonl", json_lines(history, None).encode())


def write_tables(workdir: Path, results: Results, history: Sequence[dict]) -> None:
    """The tables and pictures of `results`."""
    from ncf_jax import pictures  # matplotlib takes half a second to import

    if history:
        write_bytes(workdir / "history.csv", history_csv(history).encode())
        curves = pictures.learning_curves(results, history)
        write_bytes(workdir / "curves.png", curves)
    write_bytes(workdir / "metrics.csv", metrics_csv(results).encode())
    write_bytes(workdir / "metrics.png", pictures.metrics_table(results))


def write_evaluation(
    folder: Path, dataset: Dataset, evaluations: Mapping[str, Evaluation], k: int
) -> None:
    """Per-user values of the test rows, and the predictions of all parts."""
    test = evaluations["test"]
    csv = per_user.per_user_csv(dataset, test, k)
    write_bytes(folder / "per_user.csv", csv.encode())
    packed = per_user.pack(per_user.per_user(dataset, test))
    write_npz(folder / "per_user.npz", packed)
    predictions = {part: e.prediction for part, e in evaluations.items()}
    write_npz(folder / "predictions.npz", predictions)


def write_npz(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Named arrays, whole or not at all; without pickle, the same bytes each time."""
    out = io.BytesIO()
    np.savez_compressed(out, allow_pickle=False, **arrays)
    write_bytes(path, out.getvalue())


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """The arrays that `write_npz` wrote.

    Raises:
      RunError: the file is missing or damaged.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except Exception as error:  # nearly any kind, depending on where the damage is
        raise _unreadable(path, error) from error


def read_json(path: Path) -> Any:
    """A JSON file of a run folder.

    Raises:
      RunError: the file is missing or damaged.
    """
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error


def read_history(workdir: Path) -> list[dict[str, Any]]:
    """The rows of history.csv as they were written; none without the file.

    Raises:
      RunError: the file is damaged.
    """
    path = workdir / "history.csv"
    if not path.is_file():
        return []
    try:
        with path.open(newline="") as file:
            header, *rows = csv.reader(file)
        if tuple(header) != HISTORY or any(len(row) != len(HISTORY) for row in rows):
            raise ValueError("its columns are not those of a history")
        return [
            {"epoch": int(row["epoch"])}
            | {
                # Only the validation loss may be missing: there may be no such rows.
                n: None if n == "valid_loss" and not row[n] else float(row[n])
                for n in HISTORY[1:]
            }
            for row in (dict(zip(HISTORY, cells, strict=True)) for cells in rows)
        ]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> RunError:
    if isinstance(error, FileNotFoundError):
        return RunError(f"{path.parent} lacks {path.name}: train into a new --workdir.")
    return RunError(
        f"{path} is damaged ({type(error).__name__}): train into a new --workdir."
    )
