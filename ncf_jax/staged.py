"""A model's scoring as functions of plain arrays, by `jax.export`: see `portable`.

What is staged is the library's own scoring, for any number of users or pairs, and for
each platform in `PLATFORMS`. Arrays are arguments, never constants.
"""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import export as jax_export

from ncf_jax import catalogue, models
from ncf_jax.errors import ConfigError
from ncf_jax.types import RATING_MAX, Array, ItemFeatures, Params

PLATFORMS = ("cpu", "cuda", "tpu")
FUNCTIONS = ("all_items", "pairs")


def stage(
    model: nn.Module, params: Params, features: ItemFeatures
) -> tuple[dict[str, bytes], dict[str, np.ndarray]]:
    """The functions as bytes, and by name the arrays that they take, in order.

    The functions are `FUNCTIONS`: (arrays, user [b]) -> stars of every item [b, I], and
    (arrays, user [b], item [b]) -> stars [b]; the mean over seeds, not clipped.

    Args:
      model: tables and head.
      params: [R, ...].
      features: [I, ...] of every item, with statistics for a model that looks at them.

    Raises:
      ConfigError: flatbuffers is not installed.
    """
    tree = {"params": params, "features": features}
    paths, form = jax.tree_util.tree_flatten_with_path(tree)
    names = [
        jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in paths
    ]
    leaves = [np.asarray(leaf) for _, leaf in paths]
    bodies: dict[str, tuple[Any, int]] = {
        "all_items": (_all_items, 1),
        "pairs": (_pairs, 2),
    }

    def one(name: str, kept: Sequence[int], number: Any) -> jax_export.Exported:
        """A function of some of the arrays, for a `number` of users."""
        body, sides = bodies[name]

        def function(arrays: list[jax.Array], *ids: jax.Array) -> jax.Array:
            # No prediction depends on those that are not kept: any value would do.
            found: list[Any] = [jnp.zeros(x.shape, x.dtype) for x in leaves]
            for place, array in zip(kept, arrays, strict=True):
                found[place] = array
            tree = jax.tree.unflatten(form, found)
            return body(model, tree["params"], tree["features"], *ids)

        function.__name__ = name
        forms = [jax.ShapeDtypeStruct(leaves[n].shape, leaves[n].dtype) for n in kept]
        ids = [jax.ShapeDtypeStruct((number,), jnp.int32)] * sides
        return jax_export.export(jax.jit(function), platforms=PLATFORMS)(forms, *ids)

    # JAX tells which arguments are of use only where all shapes are known.
    used = [one(name, range(len(leaves)), 2).module_kept_var_idx for name in FUNCTIONS]
    kept = sorted({n for some in used for n in some if n < len(leaves)})
    (b,) = jax_export.symbolic_shape("b")
    try:
        content = {n: bytes(one(n, kept, b).serialize()) for n in FUNCTIONS}
    except ImportError as error:
        raise no_flatbuffers() from error
    return content, {names[n]: leaves[n] for n in kept}


def _all_items(
    model: nn.Module, params: Params, features: ItemFeatures, user: jax.Array
) -> jax.Array:
    """Stars of every item [b, I], the mean over seeds."""
    return catalogue.score_catalogue(model, params, user, features).mean(axis=0)


def _pairs(
    model: nn.Module,
    params: Params,
    features: ItemFeatures,
    user: jax.Array,
    item: jax.Array,
) -> jax.Array:
    """Stars [b] of pairs, the mean over seeds; the context is that of no known time."""
    context = context_of_pairs(model, features, user, item)
    known = features.alone().rows(item, user)

    def one_seed(params: Params) -> jax.Array:
        return models.apply(model, params, user, item, known, context=context)

    return jax.vmap(one_seed)(params).mean(axis=0) * RATING_MAX


def context_of_pairs(
    model: nn.Module, features: ItemFeatures, user: Array, item: Array
) -> jax.Array | None:
    """Contexts [b, F] of pairs at no known time; None for a model that takes none."""
    if not getattr(model, "takes_context", False) or features.statistics is None:
        return None
    return features.statistics.of_pairs(user, item)


def no_flatbuffers() -> ConfigError:
    """What is missing, and how to get it."""
    return ConfigError(
        "An artefact wants flatbuffers, in which JAX stores functions: "
        "pip install -e '.[export]'."
    )
