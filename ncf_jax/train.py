"""Training: a learner is pure functions of a state, a batch and a key.

One epoch is one jitted `lax.scan` over rows that stay on the device, with the state
donated. `fitting.fit` runs epochs.
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from ncf_jax import batching, meshes, parts
from ncf_jax.errors import ConfigError
from ncf_jax.evaluate import mean_loss
from ncf_jax.losses import Loss, mse, pairwise, per_example
from ncf_jax.models import (
    apply,
    apply_head,
    apply_penalty,
    check_tables,
    context_of,
    divide,
    lookup,
    merge,
    spread_tables,
)
from ncf_jax.optim import OPTIMIZERS, RowWise, move_rows
from ncf_jax.types import (
    RATING_MAX,
    Batch,
    Interactions,
    ItemFeatures,
    Learner,
    Params,
    TrainState,
)

# What a key is for: folded into the root key, so that purposes never share bits.
INIT, SHUFFLE, DROPOUT, OTHER = range(4)


def order(state: TrainState, key: jax.Array) -> jax.Array:
    """The key of the order of the epoch that begins with `state`."""
    return jax.random.fold_in(jax.random.fold_in(key, SHUFFLE), state.step)


def make_learner(
    model: nn.Module,
    features: ItemFeatures,
    *,
    optimizer: optax.GradientTransformation | None = None,
    row_wise: RowWise | None = None,
    loss: Loss = mse,
    ranking: float = 0.0,
    batch_size: int = 512,
    mesh: Mesh | None = None,
    batch_parts: int = 1,
) -> Learner:
    """Makes a model trainable.

    Args:
      model: tables and head, see `ncf_jax.models`.
      features: of every item; only the widths are used.
      optimizer: any optax transformation; a model with a closed form needs none.
      row_wise: one of `optim.ROW_WISE`, which then has the model's tables, and the
        optimizer the rest; None: the optimizer has all.
      loss: (prediction [B], target [B]) -> [B], on ratings / 5.
      ranking: weight of `losses.pairwise` beside the loss; it has no row-wise form.
      batch_size: B, at most all rows; a model with a closed form sees all as one.
      mesh: devices with the axes `data` and `table` (`meshes.make_mesh`), over which
        batches and the model's tables are divided; None: one device.
      batch_parts: of several, gradients are added in order, so that the devices make no
        difference; see `ncf_jax.parts`.

    Raises:
      ConfigError: the model cannot be hashed, or names no tables for `row_wise`.
    """
    try:
        hash(model)
    except TypeError:
        raise ConfigError(
            f"{type(model).__name__} has a field that cannot be hashed, and a compiled "
            f"function is found by its model: make lists tuples."
        ) from None
    if row_wise is not None:
        check_tables(model)
    if row_wise is not None and ranking:
        raise ConfigError("--ranking moves other rows, too: leave out --table_update.")
    closed_form = hasattr(model, "solve")
    by_parts = batch_parts > 1 and not closed_form
    if by_parts:
        check_tables(model)
        mesh = mesh or meshes.make_mesh("table:1")
        assert mesh is not None
        parts.check_parts(batch_parts, batch_size, mesh)
        if ranking:
            raise ConfigError("--ranking looks up other rows: leave out --batch_parts.")
    if optimizer is None:
        optimizer = optax.identity() if closed_form else OPTIMIZERS["adam"](5e-4, 1e-5)

    def init(key: jax.Array) -> TrainState:
        zero = jnp.zeros(1, jnp.int32)
        one = jax.tree.map(lambda x: jnp.zeros((1, *x.shape[1:])), features.alone())
        seen = None
        if features.statistics is not None:
            seen = jnp.zeros((1, features.statistics.width))
        key = jax.random.fold_in(key, INIT)
        context = context_of(model, seen)
        params = model.init(key, zero, zero, one, **context)["params"]
        if mesh is not None:
            params = spread_tables(model, params, mesh)
        if row_wise is None:
            opt_state = optimizer.init(params)
        else:
            tables, rest = divide(model, params)
            opt_state = jax.tree.map(row_wise.init, tables), optimizer.init(rest)
        return TrainState(jnp.zeros((), jnp.int32), params, opt_state)

    def batch_mean(
        params: Params, rows: Any, batch: Batch, key: jax.Array, weight: Any = None
    ):
        """Mean of all that is made small [], and the sum of the loss alone [].

        A part of a batch is told the `weight` of the whole.
        """
        known = {"context": batch.context, "dropout_key": key}
        ids, features = (batch.user, batch.item), batch.features
        if rows is None:  # a model of one piece: all it must have is __call__
            found = apply(model, params, *ids, features, **known)
        else:
            found = apply_head(model, params, rows, features, ids[0].shape, **known)
        value = per_example(loss, found, batch.rating / RATING_MAX)
        whole = total = jnp.sum(batch.weight * value)
        if hasattr(model, "penalty"):
            extra = apply_penalty(model, params, rows, features)
            whole = whole + jnp.sum(batch.weight * extra)
        if batch.other is not None:
            other, key = batch.other, jax.random.fold_in(key, OTHER)
            ids, known = (other.user, other.item), {"context": other.context}
            against = apply(
                model, params, *ids, other.features, **known, dropout_key=key
            )
            order = pairwise(found, against)
            whole = whole + ranking * jnp.sum(other.weight * order)
        return whole / (jnp.sum(batch.weight) if weight is None else weight), total

    def batch_loss(params, batch: Batch, key: jax.Array):
        rows = None
        if hasattr(model, "lookup"):
            rows = lookup(model, params, batch.user, batch.item)
        return batch_mean(params, rows, batch, key)

    def gradient_step(state: TrainState, batch: Batch, key: jax.Array):
        key = jax.random.fold_in(jax.random.fold_in(key, DROPOUT), state.step)
        if by_parts:
            gradient, total = dense_by_parts(state.params, batch, key)
        else:
            slope = jax.grad(batch_loss, has_aux=True)
            gradient, total = slope(state.params, batch, key)
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        return TrainState(state.step + 1, params, opt_state), total

    def row_gradients(tables: Any, rest: Params, found: Any, batch: Batch, key: Any):
        weight = jnp.sum(batch.weight)

        def loss_of(rest: Params, found: Any, batch: Batch, key: jax.Array):
            return batch_mean(merge(tables, rest), found, batch, key, weight)

        if by_parts:
            assert mesh is not None
            return parts.gradients(loss_of, batch_parts, mesh, rest, found, batch, key)
        return jax.grad(loss_of, (0, 1), has_aux=True)(rest, found, batch, key)

    def dense_by_parts(params: Params, batch: Batch, key: jax.Array):
        tables, rest = divide(model, params)

        def find(tables: Any) -> Any:
            return lookup(model, merge(tables, rest), batch.user, batch.item)

        found, back = jax.vjp(find, tables)
        (gradient, slopes), total = row_gradients(tables, rest, found, batch, key)
        return merge(back(slopes)[0], gradient), total

    def row_step(row_wise: RowWise, state: TrainState, batch: Batch, key: jax.Array):
        key = jax.random.fold_in(jax.random.fold_in(key, DROPOUT), state.step)
        ids = batch.user, batch.item
        found = lookup(model, state.params, *ids)
        tables, rest = divide(model, state.params)
        (gradient, slopes), total = row_gradients(tables, rest, found, batch, key)
        memories, opt_state = state.opt_state
        updates, opt_state = optimizer.update(gradient, opt_state, rest)
        rest = optax.apply_updates(rest, updates)
        # Padding is no row of any table: an index beyond it is left out.
        rows = [jnp.where(batch.weight > 0, x, jnp.iinfo(x.dtype).max) for x in ids]
        tables, memories = move_rows(
            row_wise, tables, memories, rows, found, slopes, state.step + 1
        )
        params = merge(tables, rest)
        return TrainState(state.step + 1, params, (memories, opt_state)), total

    def solve_step(state: TrainState, batch: Batch, key: jax.Array):
        params = model.solve(state.params, batch)
        total = batch_loss(params, batch, key)[1]
        return TrainState(state.step + 1, params, state.opt_state), total

    step = solve_step if closed_form else gradient_step
    if row_wise is not None and not closed_form:
        step = functools.partial(row_step, row_wise)

    def scan(state: TrainState, batches: Any, batch_at: Any, key: jax.Array):
        def body(state: TrainState, rows: Any):
            batch, features = batch_at(rows)
            if ranking and not closed_form:
                seed = jax.random.fold_in(jax.random.fold_in(key, OTHER), state.step)
                batch = batching.against(features, batch, seed)
            return step(state, batch, key)

        return jax.lax.scan(body, state, batches)

    def epoch(state: TrainState, data: Interactions, key: jax.Array):
        num_rows = data.user.shape[0]
        if closed_form:
            batches = batching.epoch_batches(None, num_rows, num_rows)
        else:
            size = batch_size if by_parts else min(batch_size, num_rows)
            batches = batching.epoch_batches(order(state, key), num_rows, size)
        known = data.features
        return scan(state, batches, lambda x: (batching.take(data, *x), known), key)

    def chunk(state: TrainState, rows: Any, features: ItemFeatures, key: jax.Array):
        def batch_at(rows: Any):
            return batching.batch_of(features, *rows), features

        return scan(state, rows, batch_at, key)

    return Learner(
        init=init,
        step=step,
        epoch=jax.jit(epoch, donate_argnums=0),
        loss=functools.partial(mean_loss, model, loss),
        chunk=None if closed_form else chunk,
        mesh=mesh,
    )
