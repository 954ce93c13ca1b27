"""Epochs that are larger than a device: the same batches, a chunk of them at a time.

Rows stay where they are, in memory or in memory-mapped files (`data.shards`). A *chunk*
is C batches of every seed that follow another, gathered on the host while the device
works on the one before. Rows are in the order in which the device would have shuffled
them, of which any part is known without the rest (`order`). So nothing is sorted or
kept, any chunk can be the first, and batches are those of `batching.epoch_batches`, bit
for bit.

Use:

  rows = stream.rows_of(dataset, split.train)
  for chunk in stream.epoch(rows, shuffle_keys, batch_size, first_chunk=done):
      state, totals = run_chunk(state, chunk, features, keys)   # [R, C, B] arrays

where `run_chunk` is compiled with `xla.compiler_options()` for the one or two shapes of
chunks, scans over the axis C (`Learner.chunk`) and makes each step's `Batch` with
`batching.batch_of(features, *rows)`, on the device.

Host memory of an epoch, beside the columns themselves: `(prefetch + 2) * R * C * B *
(16 + 4 F)` bytes of chunks with F context values a row (one is at work, one is
handed over), and some 4 MB of scratch a thread. Memory-mapped columns are the system's
cache: it lends what is free and takes it back.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from ncf_jax import batching
from ncf_jax.errors import ConfigError, DataError
from ncf_jax.order import BLOCK, Order, order_of
from ncf_jax.types import Dataset

CHUNK = 2**18  # examples of all seeds, at most, unless a single batch has more


class Rows(NamedTuple):
    """Training rows on the host.

    Attributes:
      user: [N] int32 user index; NumPy or memory-mapped, as all of them.
      item: [N] int32 item index.
      rating: [N] float32 stars.
      context: [N, F] float32; None without.
      positions: [n] which of the N rows train; None: all.
    """

    user: np.ndarray
    item: np.ndarray
    rating: np.ndarray
    context: np.ndarray | None = None
    positions: np.ndarray | None = None

    @property
    def num_rows(self) -> int:
        """Rows that train: n."""
        return len(self.user if self.positions is None else self.positions)

    @property
    def num_bytes(self) -> int:
        """What the rows would take on a device."""
        width = 0 if self.context is None else self.context.shape[1]
        return self.num_rows * (12 + 4 * width)


class Chunk(NamedTuple):
    """Batches that follow another, of R seeds: arrays only, so it is a pytree.

    Attributes:
      user: [R, C, B] int32 user index.
      item: [R, C, B] int32 item index.
      rating: [R, C, B] float32 stars.
      weight: [R, C, B] float32, 1 for a row and 0 for padding, which repeats row 0.
      context: [R, C, B, F] float32; None without.
    """

    user: Any
    item: Any
    rating: Any
    weight: Any
    context: Any = None


def rows_of(dataset: Dataset, positions: np.ndarray) -> Rows:
    """The rows at `positions` [n], ascending, none of them copied.

    Rows without a gap are a slice of the columns; otherwise their positions are kept,
    in 4 bytes each (8 from 2^32 rows on).
    """
    n = len(positions)
    columns = dataset.user, dataset.item, dataset.rating, dataset.context
    if n and int(positions[-1]) - int(positions[0]) == n - 1:
        part = slice(int(positions[0]), int(positions[-1]) + 1)
        context = None if dataset.context is None else dataset.context[part]
        return Rows(
            dataset.user[part], dataset.item[part], dataset.rating[part], context
        )
    small = np.uint32 if len(dataset.user) <= 2**32 else np.int64
    return Rows(*columns, positions=positions.astype(small, copy=False))


class Plan(NamedTuple):
    """How an epoch is cut.

    Attributes:
      steps: S batches.
      batches: C of every chunk but, possibly, the last.
      chunks: how many.
    """

    steps: int
    batches: int
    chunks: int


def plan(num_rows: int, batch_size: int, seeds: int = 1, examples: int = CHUNK) -> Plan:
    """Cuts an epoch so that chunks have one shape, or at most two.

    A number of batches that divides S is taken if there is one not below half of what
    `examples` allows; otherwise all chunks but the last are alike.

    Args:
      num_rows: n.
      batch_size: B.
      seeds: R.
      examples: of a chunk, at most; but at least one batch.

    Example:
      >>> plan(1_000_000, 512), plan(1_000, 100, examples=350)
      (Plan(steps=1954, batches=489, chunks=4), Plan(steps=10, batches=2, chunks=5))
    """
    steps = batching.num_batches(num_rows, batch_size)
    most = min(max(1, examples // (batch_size * seeds)), max(1, steps))
    for batches in range(most, most // 2, -1):
        if steps % batches == 0:
            return Plan(steps, batches, steps // batches)
    batches = -(-steps // -(-steps // most))
    return Plan(steps, batches, -(-steps // batches))


class Chunks:
    """Chunk number -> `Chunk`: what Grain calls a random-access data source.

    Args:
      rows: to train on.
      keys: [R] keys of each seed's shuffle, as `batching.epoch_batches` wants them;
        None: one seed, rows in order.
      batch_size: B; at most all rows.
      columns: of each batch, those that this process needs: the last axis has them
        only.
      examples: of a chunk, at most.
    """

    def __init__(
        self,
        rows: Rows,
        keys: jax.Array | Sequence[jax.Array] | None,
        batch_size: int,
        *,
        columns: slice = slice(None),
        examples: int = CHUNK,
    ) -> None:
        """Nothing is read yet."""
        n = rows.num_rows
        if not n:
            raise DataError("There are no training rows to be streamed.")
        self._size = min(batch_size, n)
        self._orders = [order_of(key, n) for key in ([None] if keys is None else keys)]
        self.plan = plan(n, self._size, len(self._orders), examples)
        self._columns = range(self._size)[columns]
        if self._columns.step != 1 or not len(self._columns):
            raise ConfigError(f"A process needs some columns in a row, not {columns}.")
        # Bare arrays: np.memmap makes a new object of itself for each result.
        columns_of = rows._asdict().items()
        self._rows = rows._replace(
            **{name: np.asarray(x) for name, x in columns_of if x is not None}
        )

    def __len__(self) -> int:
        """Chunks of the epoch."""
        return self.plan.chunks

    def __getitem__(self, number: Any) -> Chunk:
        """Chunk `number`, gathered."""
        first = int(number) * self.plan.batches
        count = min(self.plan.batches, self.plan.steps - first)
        shape = len(self._orders), count, len(self._columns)
        context = self._rows.context
        kinds = (np.int32, np.int32, np.float32, np.float32)
        chunk = Chunk(*(np.empty(shape, kind) for kind in kinds))
        if context is not None:
            wide = (*shape, context.shape[1])
            chunk = chunk._replace(context=np.empty(wide, np.float32))
        whole = len(self._columns) == self._size
        for seed, order in enumerate(self._orders):
            own = [x[seed] for x in chunk if x is not None]
            if whole:  # batches one after the other: one run of places
                flat = [x.reshape(-1, *x.shape[2:]) for x in own]
                self._gather(order, first * self._size, flat)
                continue
            for batch in range(count):
                start = (first + batch) * self._size + self._columns.start
                self._gather(order, start, [x[batch] for x in own])
        return chunk

    def _gather(self, order: Order, start: int, out: list[np.ndarray]) -> None:
        """Fills `out`, all of one length, with the rows at places from `start` on."""
        rows = self._rows
        user, item, rating, weight, *context = out
        pairs = [(rows.user, user), (rows.item, item), (rows.rating, rating)]
        if rows.context is not None:
            pairs.append((rows.context, context[0]))
        for first in range(0, len(out[0]), BLOCK):
            last = min(first + BLOCK, len(out[0]))
            real = max(0, min(start + last, order.n) - (start + first))
            position = np.zeros(last - first, np.int64)
            position[:real] = order.places(start + first, start + first + real)
            if rows.positions is not None:
                position = rows.positions[position].astype(np.int64, copy=False)
            weight[first : first + real] = 1.0
            weight[first + real : last] = 0.0
            for source, target in pairs:
                # No position is out of range; "raise" would copy through a buffer.
                np.take(source, position, 0, target[first:last], mode="clip")


def epoch(
    rows: Rows,
    keys: jax.Array | Sequence[jax.Array] | None,
    batch_size: int,
    *,
    first_chunk: int = 0,
    columns: slice = slice(None),
    examples: int = CHUNK,
    threads: int = 2,
    prefetch: int = 2,
) -> Any:
    """The chunks of an epoch, gathered ahead by Grain's threads.

    Args:
      rows: to train on; never copied as a whole.
      keys: [R] keys of each seed's shuffle, those that the epoch on the device gives
        `batching.epoch_batches`; None: one seed, rows in order.
      batch_size: B; at most all rows are taken.
      first_chunk: to start with, from 0, at no cost; with as many as there are,
        nothing is left.
      columns: of each batch, those that this process needs.
      examples: of a chunk, at most; see `plan`.
      threads: that gather.
      prefetch: chunks that are gathered ahead.

    Returns:
      Grain's iterator of `Chunk`s in order. `get_state()` is `{"next_index": number of
      the next chunk}`, which `set_state` takes; `close()` ends its threads.

    Raises:
      ConfigError: Grain is not installed, or there is no such chunk.
      DataError: there are no rows.

    Example:
      >>> some = Rows(np.arange(5), np.arange(5), np.ones(5, np.float32))
      >>> [chunk.user.tolist() for chunk in epoch(some, None, 2, examples=4)]
      [[[[0, 1], [2, 3]]], [[[4, 0]]]]
    """
    try:
        import grain
    except ImportError:
        raise ConfigError(
            "Streaming wants Grain: pip install -e '.[large]', or --input=device."
        ) from None
    source = Chunks(rows, keys, batch_size, columns=columns, examples=examples)
    if not 0 <= first_chunk <= len(source):
        raise ConfigError(
            f"There is no chunk {first_chunk}: the epoch has {len(source)}, from 0."
        )
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=prefetch)
    chunks = iter(grain.MapDataset.source(source).to_iter_dataset(options))
    chunks.set_state({"next_index": first_chunk})
    return chunks
