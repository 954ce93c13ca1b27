"""Configuration -> learner, and what a learner's state looks like."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from ncf_jax import batching
from ncf_jax.config import Config
from ncf_jax.losses import LOSSES
from ncf_jax.optim import OPTIMIZERS, ROW_WISE, SCHEDULES
from ncf_jax.train import make_learner
from ncf_jax.types import ItemFeatures, Learner, TrainState


def learner_of(
    config: Config,
    model: nn.Module,
    features: ItemFeatures,
    *,
    num_rows: int = 0,
    mesh: Mesh | None = None,
) -> Learner:
    """The learner that `config` describes for `model`.

    Args:
      config: the experiment.
      model: tables and head.
      features: of every item.
      num_rows: N training rows, by which a schedule knows its last step.
      mesh: the devices, see `meshes.make_mesh`; None: one.

    Raises:
      ConfigError: the learning rate follows a schedule, and `num_rows` is missing.
    """
    optimizer = row_wise = None
    if not hasattr(model, "solve"):
        steps = batching.num_batches(num_rows, config.batch_size) * config.epochs
        rate = SCHEDULES[config.schedule](config.learning_rate, steps)
        settings = rate, config.weight_decay
        optimizer = OPTIMIZERS[config.optimizer](*settings)
        if config.table_update != "dense":
            row_wise = ROW_WISE[config.table_update](*settings)
    return make_learner(
        model,
        features,
        optimizer=optimizer,
        row_wise=row_wise,
        loss=LOSSES[config.loss],
        ranking=config.ranking,
        batch_size=config.batch_size,
        mesh=mesh,
        batch_parts=config.batch_parts,
    )


def state_like(learner: Learner, num_seeds: int) -> TrainState:
    """The shapes of the state of `num_seeds` seeds; nothing is computed."""
    keys = jax.vmap(jax.random.key)(jnp.arange(num_seeds))
    return jax.eval_shape(jax.vmap(learner.init), keys)
