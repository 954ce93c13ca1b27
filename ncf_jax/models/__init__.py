"""Models: tables and head, one file each.

A model is a Flax module with

  lookup(user [...], item [...]) -> (user rows, item rows)    the tables
  head(rows, features, *, train) -> prediction [...]          never sees an id

and `__call__(user, item, features, *, train)`, which is the head of the lookup. A
model with a closed form also has `solve(params, batch) -> params`. Rows are arrays, or
tuples of them when a model has several tables.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from ncf_jax.config import Config
from ncf_jax.models import baselines, ncf
from ncf_jax.types import Array, Dataset, ItemFeatures, Params

Builder = Callable[[Config, Dataset], nn.Module]

MODELS: dict[str, Builder] = {
    "ncf": ncf.build,
    "bias": baselines.build_bias,
    "item_mean": baselines.build_item_mean,
    "global_mean": baselines.build_global_mean,
}

TITLES: dict[str, Callable[[Config], str]] = {
    "ncf": ncf.title,
    "bias": lambda config: "User + item bias",
    "item_mean": lambda config: "Item mean, shrunk",
    "global_mean": lambda config: "Global mean",
}


def apply(
    model: nn.Module,
    params: Params,
    user: Array,
    item: Array,
    features: ItemFeatures,
    *,
    dropout_key: jax.Array | None = None,
) -> jax.Array:
    """Predicted rating / 5 of each (user, item): [...].

    Args:
      model: tables and head.
      params: of one seed.
      user: [...] index.
      item: [...] index.
      features: [..., G] and [..., T], of those items.
      dropout_key: given in training, when units are dropped by it.

    Raises:
      ValueError: the model gave another shape than the ids have.
    """
    found = jnp.asarray(
        model.apply(
            {"params": params},
            user,
            item,
            features,
            train=dropout_key is not None,
            rngs=None if dropout_key is None else {"dropout": dropout_key},
        )
    )
    if found.shape != user.shape:
        raise ValueError(
            f"{type(model).__name__} gave predictions of shape {found.shape} for users "
            f"of shape {user.shape}: end its head with [..., 0] to give one a row."
        )
    return found


def make_model(config: Config, dataset: Dataset) -> nn.Module:
    """The model that `config.model` names, sized for `dataset`."""
    return MODELS[config.model](config, dataset)


def title(config: Config) -> str:
    """The model's name in tables and files."""
    return TITLES[config.model](config)
