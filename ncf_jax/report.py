"""What a run writes besides checkpoints, each file whole or not there."""

import contextlib
import csv
import errno
import io
import json
import math
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ncf_jax import per_user, processes
from ncf_jax.data import store
from ncf_jax.errors import RunError
from ncf_jax.judge import Evaluation
from ncf_jax.results import (
    FORMAT,
    HISTORY,
    Results,
    check,
    footnotes,
    history_csv,
    metrics_csv,
    more_rows,
    table_rows,
)
from ncf_jax.trackers import json_lines
from ncf_jax.types import Dataset

FULL = {errno.ENOSPC: "Make room", errno.EDQUOT: "Make room"}


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


@contextlib.contextmanager
def new_folder(folder: Path, option: str) -> Iterator[Path]:
    """A hidden folder beside `folder`, which takes its name when the body is done.

    If the body fails, nothing is left of it. `option` is the flag that names `folder`.

    Raises:
      RunError: `folder` is there and not empty, or cannot be made.
    """
    check_new(folder, option)
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    made = [parent for parent in folder.parents if not parent.exists()]
    try:
        with _told(folder, option):
            shutil.rmtree(
                partial, ignore_errors=True
            )  # of a dead process of our number
            partial.mkdir(parents=True)
        yield partial
        with _told(folder, option):
            os.replace(partial, folder)  # refuses one that has been filled since
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        for parent in made:
            with contextlib.suppress(OSError):
                parent.rmdir()
        raise


def check_new(folder: Path, option: str) -> None:
    """Refuses, as `new_folder` does, what is there and no empty folder."""
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise RunError(
            f"{option}={folder} is there already, and nothing is overwritten: name a "
            f"new folder."
        )


@contextlib.contextmanager
def _told(folder: Path, option: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        what = FULL.get(error.errno or 0, f"Choose another {option}")
        raise RunError(
            f"{option}={folder} could not be made ({error.strerror}). {what}, and run "
            f"the command again."
        ) from error


def dumps(value: Any) -> str:
    """JSON that a person can read, floats in full precision, no NaN."""
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def loads(content: bytes) -> Any:
    """What `dumps` wrote; ValueError where it cannot have been written so."""

    def number(text: str) -> float:
        if not math.isfinite(found := float(text)):
            raise ValueError(f"{text[:20]} is no finite number")
        return found

    def names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(found := dict(pairs)) < len(pairs):
            raise ValueError("a name is there twice")
        return found

    try:
        return json.loads(
            content.decode(),
            parse_float=number,
            parse_constant=number,
            object_pairs_hook=names,
        )
    except RecursionError:
        raise ValueError("it has no end of brackets") from None


def read_results(workdir: Path) -> Results | None:
    """The results of a finished run, or None.

    Raises:
      RunError: the file is damaged, or of another version.
    """
    path = workdir / "metrics.json"
    try:
        results = loads(path.read_bytes())
        if results.get("format") == FORMAT:
            # All that is shown of it is there.
            check(results)
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
        return store.arrays(path)
    except Exception as error:  # nearly any kind, depending on where the damage is
        raise _unreadable(path, error) from error


def read_json(path: Path) -> Any:
    """A JSON file of a run folder.

    Raises:
      RunError: the file is missing or damaged.
    """
    try:
        return loads(path.read_bytes())
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
        text = path.read_bytes().decode()
        header, *rows = csv.reader(io.StringIO(text, newline=""), strict=True)
        if tuple(header) != HISTORY or any(len(row) != len(HISTORY) for row in rows):
            raise ValueError("its columns are not those of a history")
        history: list[dict[str, Any]] = [
            {"epoch": int(row["epoch"])}
            | {
                # Only the validation loss may be missing: there may be no such rows.
                n: None if n == "valid_loss" and not row[n] else float(row[n])
                for n in HISTORY[1:]
            }
            for row in (dict(zip(HISTORY, cells, strict=True)) for cells in rows)
        ]
        epochs = [row["epoch"] for row in history]
        if epochs != sorted(set(epochs)) or min(epochs, default=1) < 1:
            raise ValueError("its epochs are not in order")
        for row, cells in zip(history, rows, strict=True):
            if not all(map(_as_written, row.values(), cells)):
                raise ValueError("a number is not as it was written")
        return history
    except (OSError, ValueError, LookupError, TypeError, csv.Error) as error:
        raise _unreadable(path, error) from error


def _as_written(value: float | None, cell: str) -> bool:
    """Whether a finite number stands in its cell as Python writes it."""
    if value is None:
        return not cell
    if isinstance(value, int):
        return cell == str(value)
    return math.isfinite(value) and cell in (repr(value), str(int(value)))


def _unreadable(path: Path, error: Exception) -> RunError:
    if isinstance(error, FileNotFoundError):
        return RunError(f"{path.parent} lacks {path.name}: train into a new --workdir.")
    return RunError(
        f"{path} is damaged ({type(error).__name__}: {error}): train into a new "
        f"--workdir."
    )
