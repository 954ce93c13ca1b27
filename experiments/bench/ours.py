"""Our own contestants: made in a worker's process, so that JAX is started there."""

import dataclasses
import itertools
import os
import platform
import time
from importlib import metadata
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.bench import roofline, rows
from experiments.bench.worker import Contestant
from ncf_jax import batching
from ncf_jax.config import Config
from ncf_jax.fitting import compile_epoch, fit
from ncf_jax.learners import learner_of
from ncf_jax.models import apply_head
from ncf_jax.models.ncf import NCF
from ncf_jax.xla import compiler_options, host_threads


def device() -> dict[str, Any]:
    """What the figures belong to: device, threads and versions."""
    found = jax.devices()[0]
    affinity = getattr(os, "sched_getaffinity", None)
    names = ("jax", "jaxlib", "flax", "optax", "numpy")
    return {
        "device": _processor() if found.platform == "cpu" else found.device_kind,
        "platform": found.platform,
        "devices": jax.device_count(),
        "threads": len(affinity(0)) if affinity else os.cpu_count(),
        "xla_threads": host_threads(),
        "compiler_options": compiler_options(),
        "versions": {name: metadata.version(name) for name in names},
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            names = [line.split(":")[1] for line in file if "model name" in line]
        return names[0].strip()
    except (OSError, IndexError):  # no Linux, or a processor without a name
        return platform.processor() or platform.machine()


def keys_of(seeds: int) -> jax.Array:
    """A root key for each of the seeds 0, 1, ...: [R]."""
    return jax.vmap(jax.random.key)(jnp.arange(seeds, dtype=jnp.uint32))


def _network(users: int, items: int, features: Any) -> NCF:
    return NCF(users, items, features.genres.shape[1], features.tags.shape[1])


def ceilings(**sizes: int) -> Contestant:
    """The machine's ceilings, in `about`, with the device and versions."""
    return Contestant(lambda: None, {**roofline.ceilings(**sizes), **device()})


def epoch(
    source: dict[str, Any],
    batch_size: int,
    table_update: str = "dense",
    seeds: int = 1,
    steps: int | None = None,
    profile: str = "",
) -> Contestant:
    """An epoch, or `steps` steps, of the reference's network; `about` has its cost."""
    data, users, items = rows.load(source)
    features = jax.device_put(data.features)  # once, for all pieces
    data = dataclasses.replace(data, features=features)
    pieces = rows.pieces(data, None if steps is None else steps * batch_size)
    model = _network(users, items, data.features)
    config = Config(batch_size=batch_size, table_update=table_update)
    learner = learner_of(config, model, data.features)
    keys, pieces = keys_of(seeds), jax.device_put(pieces)
    data = pieces[0]
    began = time.perf_counter()
    state = jax.block_until_ready(jax.jit(jax.vmap(learner.init))(keys))
    initialised = time.perf_counter()
    run_epoch = compile_epoch(learner, state, data, keys)
    compiled = time.perf_counter()
    one = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), state)
    batch = jax.eval_shape(
        lambda data: batching.take(
            data, jnp.zeros(batch_size, jnp.int32), jnp.ones(batch_size)
        ),
        data,
    )
    row_wise = table_update != "dense"
    cost = roofline.step_cost(model, learner, one, batch, keys[0], row_wise=row_wise)
    kept = [state]
    del state
    turns = itertools.cycle(pieces)

    def run() -> float:
        kept[0], totals = run_epoch(kept[0], next(turns), keys)
        return float(np.asarray(totals, np.float64).sum()) / (seeds * len(data.user))

    run()
    if profile:
        with jax.profiler.trace(profile):
            run()
    kept.clear()  # before there is another: tables may be most of the memory
    kept.append(jax.jit(jax.vmap(learner.init))(keys))  # losses are from the start
    about = {
        "examples": seeds * len(data.user),
        "steps": batching.num_batches(len(data.user), batch_size),
        "seeds": seeds,
        "init_seconds": initialised - began,
        "compile_seconds": compiled - initialised,
        "temporary_bytes": _temporary(run_epoch),
        **cost,
    }
    return Contestant(run, about)


def _temporary(compiled: Any) -> int | None:
    analysis = compiled.memory_analysis()
    return None if analysis is None else int(analysis.temp_size_in_bytes)


def batches(source: dict[str, Any], batch_size: int) -> Contestant:
    """The input alone: an epoch's order and the gathering of its batches."""
    data, _, _ = rows.load(source)
    data = jax.device_put(data)

    @jax.jit
    def gather(data: Any, key: jax.Array) -> jax.Array:
        order = batching.epoch_batches(key, len(data.user), batch_size)

        def body(total: jax.Array, rows: Any):
            taken = batching.take(data, *rows)
            return total + sum(jnp.sum(x) for x in jax.tree.leaves(taken)), None

        return jax.lax.scan(body, jnp.zeros(()), order)[0]

    def run() -> None:
        gather(data, jax.random.key(0)).block_until_ready()

    run()
    steps = batching.num_batches(len(data.user), batch_size)
    return Contestant(run, {"examples": len(data.user), "steps": steps})


def validation(source: dict[str, Any]) -> Contestant:
    """The mean loss over the validation rows."""
    _, valid, users, items = rows.prepared(source["data"])
    model = _network(users, items, valid.features)
    learner = learner_of(Config(), model, valid.features)
    params = learner.init(jax.random.key(0)).params
    loss, valid = jax.jit(learner.loss), jax.device_put(valid)

    def run() -> float:
        return float(loss(params, valid))

    run()
    return Contestant(run, {"examples": len(valid.user)})


def to_loss(source: dict[str, Any], batch_size: int, target: float) -> Contestant:
    """Trains until the validation loss is at most `target`, or 20 epochs.

    Compilation is part of the time. The loss is the first that was low enough, and none
    where none was.
    """
    train, valid, users, items = rows.prepared(source["data"])
    model = _network(users, items, train.features)
    learner = learner_of(Config(batch_size=batch_size), model, train.features)

    class ReachedError(Exception):
        pass

    def stop(report: Any, state: Any) -> None:
        if report.valid_loss[0] <= target:
            raise ReachedError(report.epoch, float(report.valid_loss[0]))

    about = {"examples": 0, "target": target}

    def run() -> float | None:
        jax.clear_caches()
        try:
            fit(learner, train, valid, epochs=20, on_epoch=stop)
        except ReachedError as reached:
            about["epochs"], loss = reached.args
            return loss
        return None

    return Contestant(run, about)


def head(batch_size: int, repeat: int = 20) -> Contestant:
    """The head alone, forwards and backwards, on rows that are there already."""
    data = rows.random(64, 64, batch_size)
    model = _network(64, 64, data.features)
    learner = learner_of(Config(), model, data.features)
    params = learner.init(jax.random.key(0)).params
    features = jax.tree.map(jnp.asarray, data.features).rows(jnp.asarray(data.item))
    width = model.embedding_dim
    pair = jnp.zeros((batch_size, width)), jnp.ones((batch_size, width))
    target = jnp.asarray(data.rating) / 5

    def loss(params: Any, pair: Any, key: jax.Array) -> jax.Array:
        found = apply_head(model, params, pair, features, target.shape, dropout_key=key)
        return jnp.mean((found - target) ** 2)

    def steps(params: Any, pair: Any) -> Any:
        def body(carry: Any, number: jax.Array):
            key = jax.random.fold_in(jax.random.key(0), number)
            slopes = jax.grad(loss, (0, 1))(*carry, key)
            return jax.tree.map(lambda x, g: x - 1e-3 * g, carry, slopes), None

        return jax.lax.scan(body, (params, pair), jnp.arange(repeat))[0]

    cost = roofline.count(jax.grad(loss, (0, 1)), params, pair, jax.random.key(0))
    compiled = jax.jit(steps).lower(params, pair).compile(compiler_options())

    def run() -> None:
        jax.block_until_ready(compiled(params, pair))

    run()
    about = {
        "examples": batch_size * repeat,
        "steps": repeat,
        "flops": cost["flops"],
        "bytes": cost["product_bytes"],
    }
    return Contestant(run, about)
