"""Epochs whose rows come from the host, a chunk of batches at a time.

The same batches in the same order as with rows on the device, and the same step, so
the same bits (`stream`). Between two chunks the state is whole: it can be kept, and an
epoch gone on with from there.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from ncf_jax import sharded, stream
from ncf_jax.errors import ConfigError
from ncf_jax.losses import refuse_non_finite
from ncf_jax.train import order
from ncf_jax.types import ItemFeatures, Learner, TrainState

RunEpoch = Callable[[TrainState, int], tuple[TrainState, np.ndarray]]


class Partway(NamedTuple):
    """Where in an epoch a state belongs.

    Attributes:
      chunks: of the epoch that are done.
      steps: likewise.
      losses: [R] their summed losses.
    """

    chunks: int
    steps: int
    losses: np.ndarray


class Streamed(NamedTuple):
    """Training rows that stay on the host.

    Attributes:
      rows: `stream.rows_of(dataset, split.train)`.
      features: of every item.
      batch_size: B, that of the learner.
      begin: where in its first epoch the run begins; None: at its beginning.
      on_chunk: called after each chunk but an epoch's last with the epoch, from 1, how
        far it is, and the state, which it must not keep.
      examples: of a chunk, at most; at least one batch.
    """

    rows: stream.Rows
    features: ItemFeatures
    batch_size: int
    begin: Partway | None = None
    on_chunk: Callable[[int, Partway, TrainState], None] = lambda *_: None
    examples: int = stream.CHUNK


def epochs(
    learner: Learner,
    train: Streamed,
    keys: jax.Array,
    seeds: Sequence[int],
    compiled: Callable[..., Any],
) -> RunEpoch:
    """A function that runs an epoch: (state, number) -> state, losses [R, S].

    Args:
      learner: whose `chunk` is run.
      train: the rows.
      keys: [R] root keys.
      seeds: they belong to, for errors.
      compiled: (function, arguments) -> it, jitted for all seeds.

    Raises:
      ConfigError: the model has a closed form, which wants all rows at once; or a batch
        cannot be divided among the devices.
    """
    if learner.chunk is None:
        raise ConfigError("A model with a closed form wants --input=device.")
    num_rows, mesh = train.rows.num_rows, learner.mesh
    size = min(train.batch_size, num_rows)
    columns: slice = slice(0, size)
    place: Callable[[Any], Any] = jax.device_put
    features = jax.device_put(train.features)
    if mesh is not None:
        features = sharded.spread_features(train.features, mesh)
        columns, place = _shared(mesh, size, len(keys))
    ready: dict[Any, Any] = {}  # by shape, of which there are two at most
    shuffle_keys = jax.jit(jax.vmap(order))
    begin = [train.begin or Partway(0, 0, np.zeros(len(seeds)))]

    def run(state: TrainState, number: int) -> tuple[TrainState, np.ndarray]:
        first, steps, before = begin.pop() if begin else Partway(0, 0, np.zeros(1))
        # The order is that of the epoch's first step, wherever this begins.
        at_first = dataclasses.replace(state, step=state.step - steps)
        shuffle = sharded.local(shuffle_keys(at_first, keys), mesh)
        totals = np.zeros((len(seeds), steps))
        totals[:, :1] = before[:, None]
        chunks = stream.epoch(
            train.rows,
            shuffle,
            size,
            first_chunk=first,
            columns=columns,
            examples=train.examples,
        )
        count = stream.plan(num_rows, size, len(seeds), train.examples).chunks
        for done, chunk in enumerate(chunks, first + 1):
            rows = tuple(place(x) for x in chunk if x is not None)
            form = rows[0].shape
            if form not in ready:
                ready[form] = compiled(learner.chunk, (state, rows, features, keys))
            state, found = ready[form](state, rows, features, keys)
            found = np.asarray(found, np.float64)  # waits for the device
            totals = np.concatenate([totals, found], axis=1)
            refuse_non_finite(totals, number, seeds)
            if done < count:
                far = Partway(done, totals.shape[1], totals.sum(axis=1))
                train.on_chunk(number, far, state)
        return state, totals

    return run


def _shared(mesh: Any, size: int, seeds: int) -> tuple[slice, Callable[[Any], Any]]:
    """Which of a batch's columns this process reads, and how they reach its devices."""
    if size % mesh.size:
        raise ConfigError(
            f"--input=stream divides each batch of {size} among {mesh.size} devices: "
            f"choose a --batch_size that is a multiple, and not above all rows."
        )

    def where(axes: int) -> NamedSharding:
        spec = PartitionSpec(None, None, sharded.AXES, *[None] * (axes - 3))
        return NamedSharding(mesh, spec)

    parts = where(3).addressable_devices_indices_map((seeds, 1, size)).values()
    bounds = [part[2].indices(size)[:2] for part in parts if part is not None]
    columns = slice(min(b[0] for b in bounds), max(b[1] for b in bounds))

    def place(x: np.ndarray) -> jax.Array:
        whole = (*x.shape[:2], size, *x.shape[3:])
        return jax.make_array_from_process_local_data(where(x.ndim), x, whole)

    return columns, place
