"""A run folder as a value: all that evaluating, recommending and comparing need."""

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import numpy as np

from ncf_jax import checkpoint, per_user, report
from ncf_jax.config import Config
from ncf_jax.errors import ConfigError, NcfError, RunError
from ncf_jax.learners import learner_of, state_like
from ncf_jax.models import make_model, with_context
from ncf_jax.per_user import PerUser
from ncf_jax.results import Results
from ncf_jax.types import Dataset, Params, Split

VALIDATION = "validation.json"  # of a run judged on its validation rows alone


class Run(NamedTuple):
    """A trained model with its data, from the folder alone.

    Attributes:
      workdir: the folder.
      config: as it was trained.
      epoch: epochs done; fewer than `config.epochs` when it was interrupted.
      model: tables and head.
      params: [R, ...].
      dataset: the prepared data.
      split: its split.
    """

    workdir: Path
    config: Config
    epoch: int
    model: nn.Module
    params: Params
    dataset: Dataset
    split: Split


class Finished(NamedTuple):
    """What a finished run found out, whoever's model it was.

    Attributes:
      folder: of the run, or of another evaluation of it.
      results: the content of metrics.json.
      per_user: what single users got on the test rows.
      timing: `train_seconds` and `evaluate_seconds`, where they were measured.
      history: a row an epoch; empty for a model that was not trained by epochs.
    """

    folder: Path
    results: Results
    per_user: PerUser
    timing: dict[str, float]
    history: list[dict[str, Any]]


def load_finished(folder: str | Path) -> Finished:
    """The figures of the finished run in `folder`.

    Raises:
      RunError: there is no such run, it is not finished, damaged, or of another
        version.
    """
    path = Path(folder)
    if not path.is_dir():
        raise RunError(f"{folder} is not a folder: name the folder of a finished run.")
    results = report.read_results(path)
    if results is None:
        if (path / VALIDATION).is_file():
            raise RunError(
                f"The run in {folder} was judged on its validation rows alone, as a "
                f"trial of a sweep is. python -m experiments.train "
                f"--flagfile={path / 'run.flags'} --workdir={folder} judges the rest."
            )
        if (path / "run.flags").is_file():
            raise RunError(
                f"The run in {folder} is not finished (it has no metrics.json). Run "
                f"its command again: it goes on where it stopped."
            )
        raise RunError(
            f"{folder} is not a run folder (it has no run.flags and no metrics.json). "
            f"Make one with python -m experiments.train --workdir=<new folder>."
        )
    arrays = report.read_npz(path / "per_user.npz")
    try:
        users = per_user.unpack(arrays)
        shape = (len(results["seeds"]), len(users.user_id))
        shapes = {users.sums.shape[:2], *(v.shape for v in users.values.values())}
        if shapes != {shape} or users.rows.sum() != results["rows"]["test"]:
            raise ValueError("its values are not those of metrics.json")
        for name, value in users.values.items():
            wanted = results["metrics"][f"test/{name}"]["values"]
            sums = np.nansum(value, axis=1, dtype=np.float64)
            found = sums / np.maximum((~np.isnan(value)).sum(axis=1), 1)
            if not np.allclose(found, [x or 0 for x in wanted], rtol=0, atol=1e-5):
                raise ValueError(f"its {name} is not that of metrics.json")
    except (LookupError, ValueError, TypeError) as error:
        raise RunError(
            f"{path / 'per_user.npz'} is damaged or another run's ({error}). Evaluate "
            f"the run again, or train into a new --workdir."
        ) from error
    timing = path / "timing.json"
    seconds = report.read_json(timing) if timing.is_file() else {}
    if not isinstance(seconds, dict):
        raise RunError(f"{timing} is damaged (it holds no names): remove it.")
    return Finished(
        folder=path,
        results=results,
        per_user=users,
        timing=seconds,
        history=report.read_history(path),
    )


def load_run(workdir: str) -> Run:
    """The run in `workdir` after its last whole checkpoint.

    It may be training still: where a checkpoint gives way to a newer one while it is
    read, the newer one is read.

    Raises:
      ConfigError: `workdir` is empty.
      RunError: there is no such run, or it is damaged.
    """
    if not workdir:
        raise ConfigError("--workdir is required: the run folder of a trained model.")
    folder = Path(workdir)
    if not (folder / "run.flags").is_file():
        raise RunError(
            f"--workdir={workdir} is not a run folder (it has no run.flags). Train one "
            f"with python -m experiments.train --workdir=<new folder>."
        )
    epoch = checkpoint.latest(folder)
    finished = report.read_results(folder) if epoch is None else None
    if finished is not None and finished["program"] == "experiments.peers":
        raise RunError(
            f"--workdir={workdir} is of another library's model, whose weights are not "
            f"kept. Run python -m experiments.peers again, with other flags."
        )
    if epoch is None:
        raise RunError(
            f"--workdir={workdir} has no checkpoint yet. Run its training command "
            f"again."
        )
    while True:
        try:
            return _load_run(folder, epoch)
        except RunError:
            newer = checkpoint.latest(folder)
            if newer is None or newer <= epoch:
                raise
            epoch = newer


def config_of(workdir: Path, epoch: int, meta: dict[str, Any]) -> Config:
    """The options that a checkpoint was made with, of its `checkpoint.load_meta`.

    Raises:
      RunError: this version does not know them.
    """
    try:
        return Config(**meta["config"])
    except (TypeError, KeyError, NcfError) as error:
        raise RunError(
            f"The checkpoint of epoch {epoch} in {workdir} has options this version "
            f"does not know ({error}). Use the version named in environment.json."
        ) from error


def _load_run(folder: Path, epoch: int) -> Run:
    meta = checkpoint.load_meta(folder, epoch)
    config = config_of(folder, epoch, meta)
    dataset, split = checkpoint.load_dataset(folder)
    if (dataset.fingerprint, split.fingerprint) != (meta["data"], meta["split"]):
        raise RunError(
            f"The data in {folder} is not what its checkpoint was trained on. Train "
            f"again into a new --workdir."
        )
    dataset = with_context(config, dataset, split)
    model = make_model(config, dataset)
    one = dataclasses.replace(config, batch_parts=1)  # its tables in one piece
    learner = learner_of(one, model, dataset.features, num_rows=len(split.train))
    like = state_like(learner, config.num_seeds * config.ensemble)
    state = checkpoint.load_state(folder, epoch, like)
    return Run(folder, config, epoch, model, state.params, dataset, split)
