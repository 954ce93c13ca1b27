"""Where training rows come from: the device itself, or the host, by chunks."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from experiments import console, stopping
from experiments import folder as run_folder
from ncf_jax import checkpoint, memory, processes, stream
from ncf_jax.config import Config, differences
from ncf_jax.finite import refuse_state
from ncf_jax.runs import config_of
from ncf_jax.streamed import Partway, Streamed
from ncf_jax.types import Dataset, ItemFeatures, Split, TrainState

PARTWAY = "partway"  # in the run folder: the checkpoint inside of an epoch


def streams(config: Config, dataset: Dataset, split: Split, mesh: Any) -> bool:
    """Whether rows are streamed: as `--input` says, or as they fit (`memory`)."""
    size = stream.rows_of(dataset, split.train).num_bytes
    size //= 1 if mesh is None else mesh.size  # each device has its own rows only
    found = memory.choose(config.input, size, config.device_gib) == "stream"
    if found:
        console.say(f"training rows are streamed: {size / 2**20:,.0f} MiB a device")
    return found


def streamed(
    config: Config,
    dataset: Dataset,
    split: Split,
    features: ItemFeatures,
    workdir: Path,
    start: tuple[int, TrainState] | None,
    like: TrainState,
    meta_of: Callable[..., dict[str, Any]],
) -> tuple[tuple[int, TrainState] | None, Streamed]:
    """Rows that are streamed, and where to begin, which may be inside of an epoch.

    Args:
      config: the run's options.
      dataset: the data set.
      split: its split.
      features: of every item.
      workdir: the run folder.
      start: epochs that are done, and the state after them; None: none.
      like: the form of a state.
      meta_of: what is stored beside a state.
    """
    folder, begin = workdir / PARTWAY, None
    place = run_folder.identity(workdir)
    done = 0 if start is None else start[0]
    if (number := checkpoint.latest(folder)) is not None:
        meta = checkpoint.load_meta(folder, number)
        ours = meta_of()
        same = all(meta[name] == ours[name] for name in ("data", "split"))
        same &= not differences(config_of(folder, number, meta), config)
        if same and meta["partway"] == done + 1:
            losses = np.array(meta["losses"])
            begin = Partway(meta["chunks"], meta["steps"], losses)
            start = done, checkpoint.load_state(folder, number, like)
            console.say(f"going on in epoch {done + 1}, after {begin.steps:,} steps")

    def on_chunk(epoch: int, far: Partway, state: TrainState) -> None:
        # Of several processes all save together, and not each may have heard.
        asked = stopping.came() and processes.count() == 1
        if far.chunks % config.save_chunks and not asked:
            return
        run_folder.check_there(workdir, place)
        first, count = config.seed, len(far.losses)
        refuse_state(state, epoch, range(first, first + count))
        meta = meta_of(
            partway=epoch,
            chunks=far.chunks,
            steps=far.steps,
            losses=far.losses.tolist(),
        )
        # Orbax's numbers must rise, and an epoch has fewer chunks than this.
        checkpoint.save(folder, epoch * 2**32 + far.chunks, state, meta, keep=1)
        stopping.saved()

    rows = stream.rows_of(dataset, split.train)
    examples = config.chunk_examples
    train = Streamed(rows, features, config.batch_size, begin, on_chunk, examples)
    return start, train
