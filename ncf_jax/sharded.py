"""Arrays whose rows are spread over devices, and the two things that are done to rows.

A mesh has two axes, `data` and `table`. The rows of a model's tables, of what their
optimizer remembers of them and of item features are divided over `table` and repeated
over `data`; training rows are divided over both. Everything else, the head and its
optimizer's state, is on every device. A batch's examples are divided over both axes.

A `Sharded` array is indexed like any other, so code that looks rows up does not know of
devices: `table[ids]`. Each device looks for all ids of its group among its own rows and
the results are summed; what others have is zero, so nothing is rounded. Backwards the
slopes of all examples go to every device, which adds up those of its own rows, in the
order of the batch as one device would. So what devices tell each other in a step is
proportional to the batch and never to a table (docs/scaling.md), and the one sum whose
order depends on the number of devices is that over the examples of a batch.

The collectives are JAX's own, inside `jax.shard_map`; all else is left to XLA's
partitioner, which follows the arrays' shardings.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ncf_jax.meshes import AXES as AXES
from ncf_jax.meshes import TABLE as TABLE
from ncf_jax.types import Interactions, ItemFeatures

NO_ROW = np.iinfo(np.int32).max


@struct.dataclass
class Sharded:
    """An array of `rows` rows, padded with zeros and divided over `axes` of a mesh.

    Attributes:
      array: [rows + padding, ...], or a pytree of such arrays.
      rows: without padding.
      mesh: the devices.
      axes: of the mesh, over which rows are divided; they are repeated over the others.
    """

    array: Any
    rows: int = struct.field(pytree_node=False)
    mesh: Mesh = struct.field(pytree_node=False)
    axes: tuple[str, ...] = struct.field(pytree_node=False)

    @property
    def shape(self) -> tuple[int, ...]:
        """As if it were not padded."""
        return (self.rows, *self.array.shape[1:])

    @property
    def dtype(self) -> Any:
        """Of the array."""
        return self.array.dtype

    def __getitem__(self, index: Any) -> jax.Array:
        """Rows at `index` [...], each from its owner, divided over all devices."""
        index = jnp.asarray(index)
        flat = index.reshape(-1)
        missing = -flat.shape[0] % self.mesh.size
        found = _rows(self.mesh, self.axes, self.array, jnp.pad(flat, (0, missing)))
        found = found[: flat.shape[0]] if missing else found
        return found.reshape(*index.shape, *found.shape[1:])


def _is(value: Any) -> bool:
    return isinstance(value, Sharded)


def _spec(axes: Sequence[str]) -> PartitionSpec:
    return PartitionSpec(tuple(axes)) if axes else PartitionSpec()


def _place(row: jax.Array, size: int, axes: tuple[str, ...]) -> jax.Array:
    """Where among the `size` rows of this device `row` is; `NO_ROW` where it is not."""
    place = row - jax.lax.axis_index(axes) * size
    return jnp.where((place >= 0) & (place < size), place, NO_ROW)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _rows(mesh: Mesh, axes: tuple[str, ...], array: Any, row: jax.Array) -> jax.Array:
    def local(array: jax.Array, row: jax.Array) -> jax.Array:
        place = _place(row, array.shape[0], axes)
        found = array.at[place].get(mode="fill", fill_value=0)
        return jax.lax.psum_scatter(found, axes, scatter_dimension=0, tiled=True)

    group = [axis for axis in AXES if axis not in axes]
    specs = _spec(axes), _spec(group)
    return jax.shard_map(local, mesh=mesh, in_specs=specs, out_specs=_spec(AXES))(
        array, row
    )


def _rows_forwards(mesh: Mesh, axes: tuple[str, ...], array: Any, row: jax.Array):
    return _rows(mesh, axes, array, row), (array, row)


def _rows_backwards(mesh: Mesh, axes: tuple[str, ...], kept: Any, slope: jax.Array):
    array, row = kept
    # Each device works out the slopes of its own examples before all are told.
    slope = _divided(slope, mesh)

    def local(array: jax.Array, row: jax.Array, slope: jax.Array) -> jax.Array:
        place = _place(row, array.shape[0], axes)
        return jnp.zeros_like(array).at[place].add(slope, mode="drop")

    specs = _spec(axes), _spec(()), _spec(())
    total = jax.shard_map(local, mesh=mesh, in_specs=specs, out_specs=_spec(axes))
    return total(array, row, slope), np.zeros(row.shape, jax.dtypes.float0)


_rows.defvjp(_rows_forwards, _rows_backwards)


def _divided(batch: jax.Array, mesh: Mesh) -> jax.Array:
    """Examples [B, ...], each on one device."""
    if batch.shape[0] % mesh.size:
        return batch  # XLA may do as it likes
    return jax.lax.with_sharding_constraint(batch, NamedSharding(mesh, _spec(AXES)))


def update_rows(
    update: Callable[..., tuple[Any, Any]],
    table: Sharded,
    state: Sharded,
    row: jax.Array,
    gradient: jax.Array,
    step: jax.Array,
) -> tuple[Sharded, Sharded]:
    """An `optim.RowWise` update on the owners of rows; see there for the arguments.

    Every device is given the whole batch and takes what belongs to its own rows, which
    it looks up once more: that is cheaper than to be told.
    """
    axes, gradient = table.axes, _divided(gradient, table.mesh)

    def local(
        array: Any, memory: Any, row: jax.Array, gradient: jax.Array, step: jax.Array
    ) -> tuple[Any, Any]:
        place = _place(row, array.shape[0], axes)
        found = array.at[place].get(mode="fill", fill_value=0)
        return update(array, memory, place, found, gradient, step)

    mine, all_of_it = _spec(axes), _spec(())
    moved = jax.shard_map(
        local,
        mesh=table.mesh,
        in_specs=(mine, mine, *[all_of_it] * 3),
        out_specs=(mine, mine),
    )(table.array, state.array, row, gradient, step)
    return (
        dataclasses.replace(table, array=moved[0]),
        dataclasses.replace(state, array=moved[1]),
    )


def spread(array: Any, mesh: Mesh, axes: tuple[str, ...] = (TABLE,)) -> Sharded:
    """An array [M, ...] with its rows divided over `axes`; inside or outside of `jit`.

    Of an array on the host each process reads only the rows of its own devices.
    """
    rows = array.shape[0]
    parts = math.prod(mesh.shape[axis] for axis in axes)
    padded = (max(1, -(-rows // parts)) * parts, *array.shape[1:])
    sharding = NamedSharding(mesh, _spec(axes))
    if isinstance(array, jax.Array):
        pad = [(0, padded[0] - rows)] + [(0, 0)] * (array.ndim - 1)
        whole = jax.lax.with_sharding_constraint(jnp.pad(array, pad), sharding)
        return Sharded(whole, rows, mesh, axes)

    def part(index: Any) -> np.ndarray:
        start, stop, _ = index[0].indices(padded[0])
        mine = np.asarray(array[min(start, rows) : min(stop, rows)])
        room = [(0, stop - start - len(mine))] + [(0, 0)] * (array.ndim - 1)
        return np.pad(mine, room)

    return Sharded(
        jax.make_array_from_callback(padded, sharding, part), rows, mesh, axes
    )


def spread_rows(data: Interactions, mesh: Mesh) -> Interactions:
    """Training rows divided over all devices, with their features."""

    def each(x: Any) -> Any:
        return None if x is None else spread(x, mesh, AXES)

    return dataclasses.replace(
        data,
        user=each(data.user),
        item=each(data.item),
        rating=each(data.rating),
        context=each(data.context),
        features=spread_features(data.features, mesh),
    )


def spread_features(features: ItemFeatures, mesh: Mesh) -> ItemFeatures:
    """Features and histories divided by row; statistics on every device."""

    def each(x: Any) -> Any:
        return spread(x, mesh) if np.ndim(x) else repeat(x, mesh)

    known = jax.tree.map(each, features.alone())
    return dataclasses.replace(known, statistics=repeat(features.statistics, mesh))


def repeat(tree: Any, mesh: Mesh) -> Any:
    """Arrays that each process has, on every device."""
    everywhere = NamedSharding(mesh, PartitionSpec())
    return jax.tree.map(lambda x: place(x, everywhere), tree)


def place(array: Any, where: NamedSharding) -> jax.Array:
    """An array that each process has whole, where it belongs; one that is there stays.

    `jax.device_put` refuses devices of other processes to an array of this one.
    """
    if isinstance(array, jax.Array) and array.sharding == where:
        return array
    host = np.asarray(array)
    return jax.make_array_from_callback(host.shape, where, lambda index: host[index])


def shardings(tree: Any, mesh: Mesh, *, lead: int = 0) -> Any:
    """Where the arrays of a tree are: a sharding each.

    Args:
      tree: of arrays or their shapes, some `Sharded`.
      mesh: the devices.
      lead: axes before that of the rows, such as that of seeds.
    """

    def each(x: Any) -> Any:
        if not _is(x):
            return NamedSharding(mesh, PartitionSpec())
        spec = PartitionSpec(*[None] * lead, x.axes)
        return jax.tree.map(lambda _: NamedSharding(mesh, spec), x)

    return jax.tree.map(each, tree, is_leaf=_is)


def bare(tree: Any) -> Any:
    """The tree with arrays, padding and all, in place of `Sharded` ones."""
    return jax.tree.map(lambda x: x.array if _is(x) else x, tree, is_leaf=_is)


def dressed(tree: Any, like: Any) -> Any:
    """What `bare` made of a tree `like` this one."""

    def each(x: Any, inner: Any) -> Any:
        return dataclasses.replace(x, array=inner) if _is(x) else inner

    return jax.tree.map(each, like, tree, is_leaf=_is)


def mesh_of(tree: Any) -> Mesh | None:
    """The mesh of the `Sharded` arrays in a tree; None: there are none."""
    found = (x.mesh for x in jax.tree.leaves(tree, is_leaf=_is) if _is(x))
    return next(found, None)


def without_rows(tree: Any) -> Any:
    """Zeros in place of `Sharded` arrays, for a head, which must not look at them.

    XLA makes nothing of them: no value of theirs is used.
    """
    return jax.tree.map(
        lambda x: jnp.zeros(x.shape, x.dtype) if _is(x) else x, tree, is_leaf=_is
    )


def repeated(value: jax.Array, mesh: Mesh | None) -> jax.Array:
    """Inside of `jit`: the value, whole on every device; without a mesh, as it is."""
    if mesh is None:
        return value
    everywhere = NamedSharding(mesh, PartitionSpec())
    return jax.lax.with_sharding_constraint(value, everywhere)


def local(value: jax.Array, mesh: Mesh | None) -> jax.Array:
    """Outside of `jit`: this process's own copy of what is whole on every device."""
    return value if mesh is None else value.addressable_data(0)
