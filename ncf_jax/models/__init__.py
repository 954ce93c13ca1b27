"""Models: tables and head, one file each.

A model is a Flax module with

  lookup(user [...], item [...]) -> (user rows, item rows)    the tables
  head(rows, features, *, train) -> prediction [...]          never sees an id

and `__call__(user, item, features, *, train)`, which is the head of the lookup. A
model with a closed form also has `solve(params, batch) -> params`. Rows are arrays, or
tuples of them when a model has several tables.

A model that looks at other training rows has `takes_context = True` and a function in
`PREPARE` that counts them; its head then has a `context` [..., F] besides, and its
features a `history`. One whose loss is more than its predictions' has

  penalty(rows, features) -> [...]        what each example adds

Two things a model may say besides, each for a way of being faster,

  tables = (paths of the users' parameters, paths of the items')
      what is behind the rows of `lookup`, in their order, for row-wise optimizers
  user_half(rows), item_half(rows, features), join(user_half, item_half)
      the head in three parts, for scoring a catalogue: each half is computed once; with
      a context user_half(rows, history), join(user_half, item_half, context)

and one by which items are compared, where that is not what their tables hold:

  item_vector(rows, features) -> [..., D]
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.sharding import Mesh

from ncf_jax import sharded
from ncf_jax.config import Config
from ncf_jax.errors import ConfigError
from ncf_jax.history import History
from ncf_jax.models import baselines, ncf, vncf
from ncf_jax.types import Array, Dataset, ItemFeatures, Params, Split

Builder = Callable[[Config, Dataset], nn.Module]

MODELS: dict[str, Builder] = {
    "ncf": ncf.build,
    "vncf": vncf.build,
    "bias": baselines.build_bias,
    "item_mean": baselines.build_item_mean,
    "global_mean": baselines.build_global_mean,
}

TITLES: dict[str, Callable[[Config], str]] = {
    "ncf": ncf.title,
    "vncf": vncf.title,
    "bias": lambda config: "User + item bias",
    "item_mean": lambda config: "Item mean, shrunk",
    "global_mean": lambda config: "Global mean",
}

# What a model wants of a data set beside its rows: see `with_context`.
PREPARE: dict[str, Callable[[Config, Dataset, Split], Dataset]] = {
    "vncf": vncf.prepare,
}

USES_TAGS: dict[str, Callable[[Config], bool]] = {
    "ncf": ncf.uses_tags,
    "vncf": vncf.uses_tags,
}


def apply(
    model: nn.Module,
    params: Params,
    user: Array,
    item: Array,
    features: ItemFeatures,
    *,
    context: Array | None = None,
    dropout_key: jax.Array | None = None,
) -> jax.Array:
    """Predicted rating / 5 of each (user, item): [...].

    Args:
      model: tables and head.
      params: of one seed.
      user: [...] index.
      item: [...] index.
      features: [..., G] and [..., T], of those items.
      context: [..., F] of those pairs; a model that takes none does not get it.
      dropout_key: given in training, when units are dropped by it.

    Raises:
      ValueError: the model gave another shape than the ids have.
    """
    if sharded.mesh_of(params) is not None:  # their owners are asked for the rows
        known = {"context": context, "dropout_key": dropout_key}
        rows = lookup(model, params, user, item)
        return apply_head(model, params, rows, features, user.shape, **known)
    arguments = (user, item, features)
    return _checked(model, params, arguments, user.shape, dropout_key, context)


def lookup(model: nn.Module, params: Params, user: Array, item: Array) -> Any:
    """The model's own `lookup`; rows of sharded tables come from their owners."""
    if sharded.mesh_of(params) is None:
        return call(model, params, "lookup", user, item)

    def own(params: Params) -> Any:
        return call(model, params, "lookup", user, item)

    form = jax.tree.structure(jax.eval_shape(own, sharded.without_rows(params)))
    sides = zip(divide(model, params)[0], (user, item), strict=True)
    rows = [table[ids] for side, ids in sides for table in side.values()]
    return jax.tree.unflatten(form, rows)


def call(
    model: nn.Module, params: Params, method: str, *arguments: Any, **more: Any
) -> Any:
    """A method that looks nothing up; or `lookup`, of tables in one piece."""
    variables = {"params": sharded.without_rows(params)}
    return model.apply(variables, *arguments, method=method, **more)


def apply_head(
    model: nn.Module,
    params: Params,
    rows: Any,
    features: ItemFeatures,
    shape: tuple[int, ...],
    *,
    context: Array | None = None,
    dropout_key: jax.Array | None = None,
) -> jax.Array:
    """As `apply`, for rows that were looked up before, of ids of `shape`."""
    arguments = (rows, features)
    return _checked(model, params, arguments, shape, dropout_key, context, "head")


def apply_penalty(
    model: nn.Module, params: Params, rows: Any, features: ItemFeatures
) -> jax.Array:
    """What each example adds to the loss, of a model with a `penalty`: [...]."""
    return call(model, params, "penalty", rows, features)


def context_of(model: nn.Module, context: Array | None) -> dict[str, Array]:
    """The keyword arguments by which a model is given a context, if it takes one.

    Raises:
      ConfigError: it takes one, and there is none.
    """
    if not getattr(model, "takes_context", False):
        return {}
    if context is None:
        raise ConfigError(
            f"{type(model).__name__} looks at statistics of the training rows: make "
            f"the data set's with counting.with_statistics(dataset, split) first."
        )
    return {"context": context}


def history_of(
    model: nn.Module, features: ItemFeatures, user: jax.Array
) -> tuple[History, ...]:
    """The argument after its rows that a user's half has, of a model with contexts."""
    if not getattr(model, "takes_context", False) or features.history is None:
        return ()
    return (features.history.rows(user=user),)


def _checked(
    model: nn.Module,
    params: Params,
    arguments: tuple,
    shape: tuple[int, ...],
    dropout_key: jax.Array | None,
    context: Array | None = None,
    method: str = "__call__",
) -> jax.Array:
    found = jnp.asarray(
        call(
            model,
            params,
            method,
            *arguments,
            **context_of(model, context),
            train=dropout_key is not None,
            rngs=None if dropout_key is None else {"dropout": dropout_key},
        )
    )
    if found.shape != shape:
        raise ValueError(
            f"{type(model).__name__} gave predictions of shape {found.shape} for users "
            f"of shape {shape}: end its head with [..., 0] to give one a row."
        )
    return found


def check_tables(model: nn.Module) -> None:
    """Whether an optimizer can go by the rows of the model's tables.

    Raises:
      ConfigError: the model does not name its tables.
    """
    if not hasattr(model, "tables"):
        raise ConfigError(
            f"{type(model).__name__} does not name its tables, so no optimizer can go "
            f"by their rows: give it `tables`, as models.ncf.NCF has, or leave out "
            f"--table_update."
        )


def divide(model: nn.Module, params: Params) -> tuple[tuple[dict, ...], Params]:
    """Parameters as (users' tables, items' tables), each by path, and the rest.

    Raises:
      ConfigError: the model does not name its tables.
    """
    check_tables(model)
    rest = flatten_dict(params, sep="/")
    users, items = ({path: rest.pop(path) for path in side} for side in model.tables)
    return (users, items), unflatten_dict(rest, sep="/")


def spread_tables(model: nn.Module, params: Params, mesh: Mesh) -> Params:
    """Parameters with the rows of the model's tables divided over the mesh's `table`.

    Those of a model that names no tables stay in one piece, on every device.
    """
    if not hasattr(model, "tables"):
        return params
    (users, items), rest = divide(model, params)
    users, items = jax.tree.map(lambda x: sharded.spread(x, mesh), (users, items))
    return merge((users, items), rest)


def merge(tables: tuple[dict, ...], rest: Params) -> Params:
    """The parameters that `divide` took apart."""
    users, items = tables
    return unflatten_dict(flatten_dict(rest, sep="/") | users | items, sep="/")


def make_model(config: Config, dataset: Dataset) -> nn.Module:
    """The model that `config.model` names, sized for `dataset`."""
    return MODELS[config.model](config, dataset)


def title(config: Config) -> str:
    """The model's name in tables and files."""
    return TITLES[config.model](config)


def uses_tags(config: Config) -> bool:
    """Whether the model sees the tags' texts."""
    return config.model in USES_TAGS and USES_TAGS[config.model](config)


def with_context(config: Config, dataset: Dataset, split: Split) -> Dataset:
    """The data set as the model wants it, which for most is as it is."""
    if config.model not in PREPARE:
        return dataset
    return PREPARE[config.model](config, dataset, split)
