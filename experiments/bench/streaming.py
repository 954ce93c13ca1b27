"""Our contestants on rows that are memory-mapped: streamed, or all on the device.

The rows are those of a folder of shards with the shape of MovieLens 32M, or a part of
it: users and items drawn evenly, each row in a part by its hash, so that training rows
lie between others. Both ways train on the same batches; their losses say so.
"""

from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments.bench import rows
from experiments.bench.ours import keys_of
from experiments.bench.worker import Contestant
from ncf_jax import batching, stream
from ncf_jax.config import Config, DataConfig
from ncf_jax.data import sharding, shards
from ncf_jax.data.splits import make_split
from ncf_jax.fitting import compile_epoch
from ncf_jax.learners import learner_of
from ncf_jax.models.ncf import NCF
from ncf_jax.train import order
from ncf_jax.types import Dataset, TrainState
from ncf_jax.xla import compiler_options


def write(cache: Path, users: int, items: int, ratings: int) -> str:
    """The folder of shards with such rows, written unless it is there."""
    folder = cache / f"bench-shards-{users}users-{items}items-{ratings}ratings"
    if not folder.exists():
        drawn = rows.random(users, items, ratings)
        ids = np.arange(max(users, items))
        genres = len(drawn.features.genres[0])
        dataset = Dataset(
            name="synthetic",
            label="random rows (not real data)",
            user=drawn.user,
            item=drawn.item,
            rating=drawn.rating,
            time=np.zeros(ratings, np.int64),
            features=drawn.features,
            user_ids=ids[:users],
            item_ids=ids[:items],
            titles=tuple(f"item {i}" for i in range(items)),
            genres=("genre 0",) * items,
            genre_names=tuple(f"genre {g}" for g in range(genres)),
            fingerprint="",
        )
        part = sharding.hashed_part(drawn.user, drawn.item, 42)
        split = make_split(dataset, part, sharding.definition(42))
        shards.write(folder, dataset, split)
    shards.dataset(folder, DataConfig(cache_dir=str(cache)))  # fills the cache
    return str(folder)


def _training(folder: str, cache: str) -> tuple[Dataset, np.ndarray]:
    data = shards.dataset(Path(folder), DataConfig(cache_dir=cache))
    assert data.part is not None
    return data, np.flatnonzero(data.part == 0)


def epoch(folder: str, cache: str, batch_size: int, way: str) -> Contestant:
    """An epoch of the reference's network, row-wise and lazy; two shapes compiled.

    Args:
      folder: of shards.
      cache: of their columns.
      batch_size: B.
      way: `device` or `stream`.
    """
    data, positions = _training(folder, cache)
    width = data.features.genres.shape[1], data.features.tags.shape[1]
    model = NCF(data.num_users, data.num_items, *width)
    config = Config(batch_size=batch_size, table_update="lazy")
    learner = learner_of(config, model, data.features)
    keys, num_rows = keys_of(1), len(positions)
    start = jax.jit(jax.vmap(learner.init))
    if way == "device":
        train = jax.device_put(data.interactions(positions))
        run_epoch = compile_epoch(learner, start(keys), train, keys)

        def whole(state: TrainState) -> tuple[TrainState, float]:
            state, totals = run_epoch(state, train, keys)
            return state, float(np.asarray(totals, np.float64).sum())

    else:
        held = stream.rows_of(data, positions)
        features = jax.device_put(data.features)
        assert learner.chunk is not None
        run_chunk = learner.chunk

        def one(state: TrainState, chunk: stream.Chunk, features: Any, key: jax.Array):
            state, chunk = jax.tree.map(lambda x: x[0], (state, chunk))
            out = run_chunk(state, tuple(chunk), features, key)
            return jax.tree.map(lambda x: x[None], out)

        jitted = jax.jit(one, donate_argnums=0)
        compiled: dict[Any, Any] = {}  # by shape, of which there are two at most

        def step(state: TrainState, chunk: stream.Chunk) -> Any:
            shape = chunk.user.shape
            if shape not in compiled:
                lowered = jitted.lower(state, chunk, features, keys[0])
                compiled[shape] = lowered.compile(compiler_options())
            return compiled[shape](state, chunk, features, keys[0])

        def whole(state: TrainState) -> tuple[TrainState, float]:
            shuffle = jax.vmap(order)(state, keys)
            totals = []
            for chunk in stream.epoch(held, shuffle, batch_size):
                state, total = step(state, chunk)
                totals.append(total)
            return state, sum(float(np.asarray(x, np.float64).sum()) for x in totals)

    del positions
    kept = [whole(start(keys))[0]]  # compiles
    kept[0] = start(keys)

    def run() -> float:
        state, total = whole(kept.pop())
        kept.append(state)
        return total / num_rows

    about = {
        "examples": num_rows,
        "steps": batching.num_batches(num_rows, batch_size),
        "seeds": 1,
    }
    return Contestant(run, about)


def delivery(folder: str, cache: str, batch_size: int, threads: int) -> Contestant:
    """The chunks of an epoch alone, as Grain's threads gather them."""
    data, positions = _training(folder, cache)
    held = stream.rows_of(data, positions)

    def run() -> None:
        for _ in stream.epoch(held, keys_of(1), batch_size, threads=threads):
            pass

    steps = batching.num_batches(held.num_rows, batch_size)
    return Contestant(run, {"examples": held.num_rows, "steps": steps})
