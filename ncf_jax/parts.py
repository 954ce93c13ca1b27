"""Gradients by parts of a batch that are added in order, on however many devices.

Rounding depends on the order of a sum, and the order of a sum over a batch on how many
devices share it. Where that matters a batch is computed in P equal parts, whatever the
devices: each has arrays of the same shapes everywhere and noise of its own key, and the
parts' gradients are added from the first to the last. Then one device and eight find
the same bits. It takes more time: P small products in place of a large one, and all
parts' gradients of the head are sent to each device.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec

from ncf_jax import sharded
from ncf_jax.errors import ConfigError
from ncf_jax.types import Batch, Params

LossOf = Callable[[Params, Any, Batch, jax.Array], tuple[jax.Array, jax.Array]]


def check_parts(parts: int, batch_size: int, mesh: Mesh) -> None:
    """Whether a batch can be divided so, and its parts among the devices.

    Raises:
      ConfigError: it cannot.

    Example:
      >>> check_parts(8, 512, meshes.make_mesh("table:1"))
    """
    if batch_size % parts or parts % mesh.size:
        raise ConfigError(
            f"--batch_parts={parts} must divide --batch_size={batch_size}, and the "
            f"{mesh.size} devices of --mesh must divide it."
        )


def gradients(
    loss_of: LossOf,
    parts: int,
    mesh: Mesh,
    params: Params,
    found: Any,
    batch: Batch,
    key: jax.Array,
) -> tuple[tuple[Params, Any], jax.Array]:
    """Gradients of a sum over examples, and the sum beside it.

    Args:
      loss_of: (params, found, batch, key) of a part -> its share of what is made small
        [], and of what is reported [].
      parts: P, which divides B and which the number of devices divides.
      mesh: the devices.
      params: on every device.
      found: rows [B, ...] of the examples.
      batch: the examples; arrays without an axis belong to each of them.
      key: of the step; a part's is folded from it.

    Returns:
      gradients of params and of found, and what is reported [].
    """

    def divided(x: jax.Array) -> jax.Array:
        if not x.ndim:
            return jnp.broadcast_to(x, (parts,))
        return x.reshape(parts, x.shape[0] // parts, *x.shape[1:])

    def local(params: Params, some: Any, key: jax.Array) -> Any:
        def one(part: Any) -> Any:
            number, found, batch = part
            mine = jax.random.fold_in(key, number)
            slope = jax.grad(loss_of, (0, 1), has_aux=True)
            return slope(params, found, batch, mine)

        return jax.lax.map(one, some)

    some = jnp.arange(parts), *jax.tree.map(divided, (found, batch))
    everywhere, mine = PartitionSpec(), PartitionSpec(sharded.AXES)
    # Unchecked: a checked gradient of what is on all devices would be summed over them.
    (slope, slopes), total = jax.shard_map(
        local,
        mesh=mesh,
        in_specs=(everywhere, mine, everywhere),
        out_specs=mine,
        check_vma=False,
    )(params, some, key)

    def in_order(x: jax.Array) -> jax.Array:
        x = sharded.repeated(x, mesh)
        return functools.reduce(jnp.add, [x[part] for part in range(parts)])

    def joined(x: jax.Array) -> jax.Array:
        return x.reshape(-1, *x.shape[2:])

    slope, total = jax.tree.map(in_order, (slope, total))
    return (slope, jax.tree.map(joined, slopes)), total
