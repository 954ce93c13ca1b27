"""A run folder as a value: all that evaluating and recommending need."""

from pathlib import Path
from typing import NamedTuple

import flax.linen as nn

from ncf_jax import checkpoint
from ncf_jax.config import Config
from ncf_jax.errors import ConfigError, NcfError, RunError
from ncf_jax.models import make_model
from ncf_jax.train import learner_of, state_like
from ncf_jax.types import Dataset, Params, Split


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


def load_run(workdir: str) -> Run:
    """The run in `workdir` after its last whole checkpoint.

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
    if epoch is None:
        raise RunError(
            f"--workdir={workdir} has no checkpoint yet. Run its training command "
            f"again."
        )
    meta = checkpoint.load_meta(folder, epoch)
    try:
        config = Config(**meta["config"])
    except (TypeError, KeyError, NcfError) as error:
        raise RunError(
            f"The checkpoint of epoch {epoch} in {workdir} has options this version "
            f"does not know ({error}). Use the version named in environment.json."
        ) from error
    dataset, split = checkpoint.load_dataset(folder)
    if (dataset.fingerprint, split.fingerprint) != (meta["data"], meta["split"]):
        raise RunError(
            f"The data in {workdir} is not what its checkpoint was trained on. Train "
            f"again into a new --workdir."
        )
    model = make_model(config, dataset)
    learner = learner_of(config, model, dataset.features)
    like = state_like(learner, config.num_seeds)
    state = checkpoint.load_state(folder, epoch, like)
    return Run(folder, config, epoch, model, state.params, dataset, split)
