"""Training: a learner is three pure functions, and `fit` runs its epochs.

One epoch is one jitted `lax.scan` over rows that stay on the device, with the state
donated; several seeds are one `vmap` of it. It compiles once.
"""

import functools
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from ncf_jax import batching
from ncf_jax.errors import ConfigError, DataError
from ncf_jax.evaluate import mean_loss
from ncf_jax.losses import Loss, mse, pairwise, per_example, refuse_non_finite
from ncf_jax.models import (
    apply,
    apply_head,
    apply_penalty,
    check_tables,
    context_of,
    divide,
    merge,
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
from ncf_jax.xla import compiler_options

# What a key is for: folded into the root key, so that purposes never share bits.
INIT, SHUFFLE, DROPOUT, OTHER = range(4)


def make_learner(
    model: nn.Module,
    features: ItemFeatures,
    *,
    optimizer: optax.GradientTransformation | None = None,
    row_wise: RowWise | None = None,
    loss: Loss = mse,
    ranking: float = 0.0,
    batch_size: int = 512,
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
        if row_wise is None:
            opt_state = optimizer.init(params)
        else:
            tables, rest = divide(model, params)
            opt_state = jax.tree.map(row_wise.init, tables), optimizer.init(rest)
        return TrainState(jnp.zeros((), jnp.int32), params, opt_state)

    def batch_mean(params: Params, rows: Any, batch: Batch, key: jax.Array):
        """Mean of all that is made small [], and the sum of the loss alone []."""
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
        return whole / jnp.sum(batch.weight), total

    def batch_loss(params, batch: Batch, key: jax.Array):
        rows = None
        if hasattr(model, "lookup"):
            ids = batch.user, batch.item
            rows = model.apply({"params": params}, *ids, method="lookup")
        return batch_mean(params, rows, batch, key)

    def gradient_step(state: TrainState, batch: Batch, key: jax.Array):
        key = jax.random.fold_in(jax.random.fold_in(key, DROPOUT), state.step)
        gradient, total = jax.grad(batch_loss, has_aux=True)(state.params, batch, key)
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        return TrainState(state.step + 1, params, opt_state), total

    def row_step(row_wise: RowWise, state: TrainState, batch: Batch, key: jax.Array):
        key = jax.random.fold_in(jax.random.fold_in(key, DROPOUT), state.step)
        ids = batch.user, batch.item
        found = model.apply({"params": state.params}, *ids, method="lookup")
        tables, rest = divide(model, state.params)

        def loss_of(rest: Params, found: Any):
            return batch_mean(merge(tables, rest), found, batch, key)

        (gradient, slopes), total = jax.grad(loss_of, (0, 1), has_aux=True)(rest, found)
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

    def epoch(state: TrainState, data: Interactions, key: jax.Array):
        num_rows = data.user.shape[0]
        if closed_form:
            batches = batching.epoch_batches(None, num_rows, num_rows)
        else:
            shuffle = jax.random.fold_in(jax.random.fold_in(key, SHUFFLE), state.step)
            size = min(batch_size, num_rows)
            batches = batching.epoch_batches(shuffle, num_rows, size)

        def body(state: TrainState, rows):
            batch = batching.take(data, *rows)
            if ranking and not closed_form:
                seed = jax.random.fold_in(jax.random.fold_in(key, OTHER), state.step)
                batch = batching.against(data, batch, seed)
            return step(state, batch, key)

        return jax.lax.scan(body, state, batches)

    return Learner(
        init=init,
        step=step,
        epoch=jax.jit(epoch, donate_argnums=0),
        loss=functools.partial(mean_loss, model, loss),
    )


class EpochReport(NamedTuple):
    """What an epoch did.

    Attributes:
      epoch: from 1.
      train_loss: [R] mean loss over training rows while they were trained on.
      valid_loss: [R] mean loss over validation rows after the epoch.
      seconds: of the training pass, compilation excluded.
      examples_per_second: training rows of all seeds by second.
    """

    epoch: int
    train_loss: np.ndarray
    valid_loss: np.ndarray
    seconds: float
    examples_per_second: float


def fit(
    learner: Learner,
    train: Interactions,
    valid: Interactions,
    *,
    epochs: int,
    seeds: Sequence[int] = (0,),
    start: tuple[int, TrainState] | None = None,
    on_epoch: Callable[[EpochReport, TrainState], None] = lambda report, state: None,
) -> TrainState:
    """Trains every seed until `epochs` epochs are done.

    Args:
      learner: from `make_learner`.
      train: rows to learn from.
      valid: rows for the validation loss only; there may be none.
      epochs: to have been done at the end.
      seeds: R seeds, trained together in one `vmap`.
      start: epochs done and the state after them, to go on from; the state is copied.
        None: from the beginning.
      on_epoch: called after each epoch with its report and the state, which it must
        not keep: the next epoch reuses its memory.

    Returns:
      The final state; every array has a leading axis [R].

    Raises:
      DataError: there are no training rows.
      NonFiniteLossError: a step's loss, or the validation loss, is NaN or infinite;
        `on_epoch` has not seen that epoch.
    """
    if len(train.user) == 0:
        raise DataError(
            "There are no training rows: users have too few ratings to be divided. "
            "Raise --min_user_ratings, or use more data."
        )
    keys = jax.vmap(jax.random.key)(jnp.asarray(seeds, jnp.uint32))
    train, valid = jax.device_put((train, valid))
    if start is None:
        done, state = 0, jax.jit(jax.vmap(learner.init))(keys)
    else:
        done, state = start[0], jax.tree.map(jnp.array, start[1])
    run_epoch = compile_epoch(learner, state, train, keys)
    validate = jax.jit(jax.vmap(learner.loss, in_axes=(0, None)))
    num_rows, num_valid = len(train.user), len(valid.user)
    for number in range(done + 1, epochs + 1):
        began = time.perf_counter()
        state, totals = run_epoch(state, train, keys)
        totals_RxS = np.asarray(totals, np.float64)  # waits for the device
        seconds = time.perf_counter() - began
        refuse_non_finite(totals_RxS, number, seeds)
        valid_loss = np.asarray(validate(state.params, valid))
        if num_valid:
            refuse_non_finite(valid_loss[:, None], number, seeds, kind="validation")
        report = EpochReport(
            epoch=number,
            train_loss=totals_RxS.sum(axis=1) / num_rows,
            valid_loss=valid_loss,
            seconds=seconds,
            examples_per_second=len(seeds) * num_rows / seconds,
        )
        on_epoch(report, state)
    return state


def compile_epoch(
    learner: Learner, state: TrainState, data: Interactions, keys: jax.Array
) -> Callable[..., tuple[TrainState, jax.Array]]:
    """The epoch of all R seeds, compiled: (state, data, keys) -> state, losses [R, S].

    A compiled epoch refuses any other shape instead of compiling again. One seed is not
    a `vmap` of one: XLA's CPU is a tenth slower on arrays with an axis of length one.
    """

    def one_epoch(state: TrainState, data: Interactions, keys: jax.Array):
        out = learner.epoch(jax.tree.map(lambda x: x[0], state), data, keys[0])
        return jax.tree.map(lambda x: x[None], out)

    epochs = jax.vmap(learner.epoch, in_axes=(0, None, 0))
    epoch = jax.jit(one_epoch if len(keys) == 1 else epochs, donate_argnums=0)
    return epoch.lower(state, data, keys).compile(compiler_options())
