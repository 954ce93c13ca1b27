"""Running a learner's epochs: all seeds in one `vmap`, compiled once."""

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from ncf_jax import sharded, streamed
from ncf_jax.errors import DataError
from ncf_jax.finite import refuse_state
from ncf_jax.losses import refuse_non_finite
from ncf_jax.streamed import RunEpoch, Streamed
from ncf_jax.types import Interactions, Learner, TrainState
from ncf_jax.xla import compiler_options


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
    train: Interactions | Streamed,
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
      train: rows to learn from, on the device or streamed to it.
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
      NonFiniteLossError: a step's loss, the validation loss or a number of the state
        after an epoch is NaN or infinite; `on_epoch` has not seen that epoch.
    """
    num_rows = train.rows.num_rows if isinstance(train, Streamed) else len(train.user)
    if not num_rows:
        raise DataError(
            "There are no training rows: users have too few ratings to be divided. "
            "Raise --min_user_ratings, or use more data."
        )
    keys = keys_of(learner, seeds)
    num_valid, valid = len(valid.user), put(learner, valid)
    if start is None:
        done, state = 0, begin(learner, keys)
    else:
        done, state = start[0], put_state(learner, start[1])
    run_epoch = _epochs(learner, state, train, keys, seeds)
    validate = jax.jit(
        jax.vmap(learner.loss, in_axes=(0, None)), **_everywhere(learner)
    )
    for number in range(done + 1, epochs + 1):
        began = time.perf_counter()
        state, totals_RxS = run_epoch(state, number)
        seconds = time.perf_counter() - began
        refuse_non_finite(totals_RxS, number, seeds)
        valid_loss = np.asarray(validate(state.params, valid))
        if num_valid:
            refuse_non_finite(valid_loss[:, None], number, seeds, kind="validation")
        refuse_state(state, number, seeds)
        report = EpochReport(
            epoch=number,
            train_loss=totals_RxS.sum(axis=1) / num_rows,
            valid_loss=valid_loss,
            seconds=seconds,
            examples_per_second=len(seeds) * num_rows / seconds,
        )
        on_epoch(report, state)
    return state


def _epochs(
    learner: Learner,
    state: TrainState,
    train: Interactions | Streamed,
    keys: jax.Array,
    seeds: Sequence[int],
) -> RunEpoch:
    """An epoch, wherever its rows are: (state, number) -> state, losses [R, S]."""
    if isinstance(train, Streamed):

        def compiled(chunk: Callable, arguments: tuple) -> Any:
            function = of_seeds(learner, chunk, arguments[0], (0, None, 0))
            return function.lower(*arguments).compile(compiler_options())

        return streamed.epochs(learner, train, keys, seeds, compiled)
    rows = put(learner, train)
    run_epoch = compile_epoch(learner, state, rows, keys)

    def run(state: TrainState, number: int) -> tuple[TrainState, np.ndarray]:
        state, totals = run_epoch(state, rows, keys)
        return state, np.asarray(totals, np.float64)  # waits for the device

    return run


def put_state(learner: Learner, state: TrainState) -> TrainState:
    """A copy of a state, where the learner wants its arrays."""
    if learner.mesh is not None:
        where = sharded.shardings(state, learner.mesh, lead=1)
        state = jax.tree.map(sharded.place, state, where)
    return jax.tree.map(jnp.copy, state)


def keys_of(learner: Learner, seeds: Sequence[int]) -> jax.Array:
    """The root keys [R] of some seeds, where the learner wants them."""
    numbers = np.asarray(list(seeds), np.uint32)
    return jax.jit(jax.vmap(jax.random.key), **_everywhere(learner))(numbers)


def put(learner: Learner, rows: Interactions) -> Interactions:
    """Rows where the learner wants them."""
    if learner.mesh is None:
        return jax.device_put(rows)
    return sharded.spread_rows(rows, learner.mesh)


def begin(learner: Learner, keys: jax.Array) -> TrainState:
    """The states [R, ...] that training begins with, tables where they belong."""
    init = jax.vmap(learner.init)
    if learner.mesh is None:
        return jax.jit(init)(keys)
    like = jax.eval_shape(init, keys)
    where = sharded.shardings(like, learner.mesh, lead=1)
    return jax.jit(init, out_shardings=where)(keys)


def _everywhere(learner: Learner) -> dict[str, Any]:
    """How `jit` is told that a small result is wanted whole on every device."""
    if learner.mesh is None:
        return {}
    return {"out_shardings": NamedSharding(learner.mesh, PartitionSpec())}


def compile_epoch(
    learner: Learner, state: TrainState, data: Interactions, keys: jax.Array
) -> Callable[..., tuple[TrainState, jax.Array]]:
    """The epoch of all R seeds, compiled: (state, data, keys) -> state, losses [R, S].

    A compiled epoch refuses any other shape instead of compiling again.
    """
    epoch = of_seeds(learner, learner.epoch, state, (None, 0))
    return epoch.lower(state, data, keys).compile(compiler_options())


def of_seeds(
    learner: Learner, function: Callable, state: TrainState, axes: tuple
) -> Any:
    """A function of one seed's state and arguments, jitted for all R.

    One seed is not a `vmap` of one: XLA's CPU is a tenth slower on arrays with an axis
    of length one.

    Args:
      learner: whose function it is.
      function: (state, ...) -> state, and what is whole on every device.
      state: [R, ...].
      axes: 0 for each argument that is by seed, None for what seeds share.
    """

    def one_epoch(state: TrainState, *arguments: Any) -> Any:
        own = [
            x if axis is None else jax.tree.map(lambda x: x[0], x)
            for x, axis in zip((state, *arguments), (0, *axes), strict=True)
        ]
        return jax.tree.map(lambda x: x[None], function(*own))

    def all_epochs(state: TrainState, *arguments: Any) -> Any:
        return jax.vmap(function, in_axes=(0, *axes))(state, *arguments)

    where: dict[str, Any] = {}
    if (mesh := learner.mesh) is not None:
        everywhere = NamedSharding(mesh, PartitionSpec())
        where = {"out_shardings": (sharded.shardings(state, mesh, lead=1), everywhere)}
    one = jax.tree.leaves(state)[0].shape[0] == 1
    return jax.jit(one_epoch if one else all_epochs, donate_argnums=0, **where)
