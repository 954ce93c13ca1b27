"""What a run's page needs: from its folder, or from a run that just ended."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ncf_jax import checkpoint, per_user, report
from ncf_jax.errors import RunError
from ncf_jax.judge import Evaluation
from ncf_jax.recommend import item_vectors
from ncf_jax.results import Results
from ncf_jax.runs import Finished, load_finished, load_run
from ncf_jax.types import Dataset, Split


class Inputs(NamedTuple):
    """The arguments of `page.run_page`.

    Attributes:
      finished: results, per-user values, history and times.
      dataset: the data set.
      split: its split.
      predictions: part -> [R, n] stars.
      samples: of samples.json, or None.
      vectors: [I, D] item vectors of the first seed, or None.
      flags_text: run.flags.
      environment: of environment.json.
    """

    finished: Finished
    dataset: Dataset
    split: Split
    predictions: dict[str, np.ndarray]
    samples: list | None
    vectors: np.ndarray | None
    flags_text: str
    environment: dict[str, Any]


def load(folder: str) -> Inputs:
    """All that a page says of the run in `folder`.

    Files that a run may lack are left out of the page: predictions, samples, weights.

    Raises:
      RunError: it is no finished run, or a file is damaged or of another run.
    """
    finished = load_finished(folder)
    path = finished.folder
    dataset, split = checkpoint.load_dataset(path)
    found = finished.results
    if (dataset.fingerprint, split.fingerprint) != (found["data"], found["split"]):
        raise RunError(
            f"The data in {folder} is not what its metrics.json is of. Train again "
            f"into a new --workdir."
        )
    return Inputs(
        finished=finished,
        dataset=dataset,
        split=split,
        predictions=_predictions(path, split, len(found["seeds"])),
        samples=_optional(path / "samples.json"),
        vectors=_vectors(folder),
        flags_text=flags_of(path),
        environment=_optional(path / "environment.json") or {},
    )


def _predictions(folder: Path, split: Split, seeds: int) -> dict[str, np.ndarray]:
    path = folder / "predictions.npz"
    if not path.is_file():
        return {}
    stored = report.read_npz(path)
    for part, values in stored.items():
        rows = getattr(split, part, None)
        wanted = None if rows is None else (seeds, len(rows))
        if values.shape != wanted:
            raise RunError(
                f"{path} has {part} of shape {values.shape}, the run wants {wanted}: "
                f"it is of another run. Train again into a new --workdir."
            )
    return stored


def _optional(path: Path) -> Any:
    return report.read_json(path) if path.is_file() else None


def flags_of(folder: Path) -> str:
    """run.flags, or nothing where there is none."""
    path = folder / "run.flags"
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"{path} cannot be read ({error}).") from error


def _vectors(folder: str) -> np.ndarray | None:
    """Item vectors of a run that has weights of ours; other programs' have none."""
    if checkpoint.latest(Path(folder)) is None:
        return None
    run = load_run(folder)
    return first_seed(item_vectors(run.model, run.params, run.dataset))


def first_seed(vectors: Any) -> np.ndarray | None:
    """[I, D] of [R, I, D]: vectors of two seeds have no axis in common."""
    return None if vectors is None else np.asarray(vectors[0])


def of_run(
    folder: Path,
    results: Results,
    *,
    dataset: Dataset,
    split: Split,
    evaluations: Mapping[str, Evaluation],
    history: Sequence[dict[str, Any]],
    timing: Mapping[str, float],
    samples: list | None,
    vectors: Any,
    flags_text: str,
) -> Inputs:
    """What `load` would find, of a run that has all of it in hand.

    Args:
      folder: of the run; environment.json is read from it.
      results: the content of metrics.json.
      dataset: the data set.
      split: its split.
      evaluations: part -> its evaluation.
      history: a row an epoch.
      timing: seconds, as in timing.json.
      samples: as in samples.json.
      vectors: [R, I, D] item vectors, or None.
      flags_text: run.flags.
    """
    users = per_user.per_user(dataset, evaluations["test"])
    return Inputs(
        finished=Finished(folder, results, users, dict(timing), list(history)),
        dataset=dataset,
        split=split,
        predictions={part: each.prediction for part, each in evaluations.items()},
        samples=samples,
        vectors=first_seed(vectors),
        flags_text=flags_text,
        environment=_optional(folder / "environment.json") or {},
    )
