"""Optimizers: (learning rate, weight_decay) -> an optax transformation.

A learning rate is a number, or a function of the steps taken (`SCHEDULES`).

Any `optax.GradientTransformation` can be given to `train.make_learner`; `OPTIMIZERS`
holds those the command line knows. `ROW_WISE` holds optimizers of the tables alone,
whose cost is that of the batch and not that of the table.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from ncf_jax import sharded
from ncf_jax.errors import ConfigError

Rate = float | Callable[[jax.Array], jax.Array]

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8


class AdamState(NamedTuple):
    """What Adam remembers.

    Attributes:
      step: [] int32, updates made.
      mu: mean of gradients, shaped like the parameters.
      nu: mean of squared gradients, likewise.
    """

    step: jax.Array
    mu: Any
    nu: Any


def adam(learning_rate: Rate, weight_decay: float) -> optax.GradientTransformation:
    """Adam with L2 added to the gradient of every parameter, as PyTorch's `Adam`.

    The decay passes through the moments: it is not decoupled (see `adamw`). The same
    numbers as `optax.chain(add_decayed_weights, optax.adam)` to rounding; the bias
    corrections are folded into two scalars, which saves two divisions an element and a
    tenth of a step on a CPU.

    Source: Kingma and Ba, https://arxiv.org/abs/1412.6980, section 2, last paragraph.
    """

    def init(params):
        return AdamState(
            jnp.zeros((), jnp.int32),
            jax.tree.map(jnp.zeros_like, params),
            jax.tree.map(jnp.zeros_like, params),
        )

    def update(gradient, state, params):
        step = state.step + 1
        gradient = jax.tree.map(lambda g, p: g + weight_decay * p, gradient, params)
        mu = jax.tree.map(_mean, gradient, state.mu)
        nu = jax.tree.map(_mean_square, gradient, state.nu)
        scales = _scales(learning_rate, step)
        updates = jax.tree.map(lambda m, v: _movement(m, v, *scales), mu, nu)
        return updates, AdamState(step, mu, nu)

    return optax.GradientTransformation(init, update)


def _mean(gradient: jax.Array, mu: jax.Array) -> jax.Array:
    return BETA_1 * mu + (1 - BETA_1) * gradient


def _mean_square(gradient: jax.Array, nu: jax.Array) -> jax.Array:
    return BETA_2 * nu + (1 - BETA_2) * gradient * gradient


def _scales(learning_rate: Rate, step: jax.Array) -> tuple[jax.Array, jax.Array]:
    """What the moments' bias corrections come to at update `step`, from 1."""
    t = step.astype(jnp.float32)
    rate = learning_rate(step - 1) if callable(learning_rate) else learning_rate
    return rate / (1 - BETA_1**t), jax.lax.rsqrt(1 - BETA_2**t)


def _movement(mu: jax.Array, nu: jax.Array, rate: jax.Array, root: jax.Array):
    return -rate * mu / (jnp.sqrt(nu) * root + EPSILON)


def adamw(learning_rate: Rate, weight_decay: float) -> optax.GradientTransformation:
    """Adam with decoupled weight decay.

    Source: Loshchilov and Hutter, https://arxiv.org/abs/1711.05101.
    """
    return optax.adamw(learning_rate, weight_decay=weight_decay)


def cosine(learning_rate: float, steps: int) -> Rate:
    """From `learning_rate` to nothing along half a cosine, in `steps` steps.

    Source: Loshchilov and Hutter, https://arxiv.org/abs/1608.03983, without restarts.

    Raises:
      ConfigError: the number of steps is not known.

    Example:
      >>> float(cosine(2.0, 10)(5))
      1.0
    """
    if steps < 1:
        raise ConfigError(
            "--schedule=cosine ends with the last step: give learner_of num_rows, the "
            "number of training rows."
        )
    return optax.cosine_decay_schedule(learning_rate, steps)


SCHEDULES: dict[str, Callable[[float, int], Rate]] = {
    "constant": lambda learning_rate, steps: learning_rate,
    "cosine": cosine,
}

OPTIMIZERS: dict[str, Callable[[Rate, float], optax.GradientTransformation]] = {
    "adam": adam,
    "adamw": adamw,
}


class RowWise(NamedTuple):
    """An optimizer of a table that reads and writes only the rows of a batch.

    Attributes:
      init: table [M, ...] -> its state, a row for each row of the table.
      update: (table, state, row [B], found [B, ...], gradient [B, ...], step []) ->
        table, state; `found` is what the table had at `row`. A row may come several
        times in a batch: its gradients are added and it moves once. A row of M or more
        is none, and is left out. `step` counts from 1.
    """

    init: Callable[[jax.Array], "RowState"]
    update: Callable[
        [jax.Array, "RowState", jax.Array, jax.Array, jax.Array, jax.Array],
        tuple[jax.Array, "RowState"],
    ]


class RowState(NamedTuple):
    """What is remembered of each row.

    Attributes:
      moments: [M, 2, ...], the mean of gradients and of their squares, side by side so
        that a row's memory is fetched once.
      mark: [M] int32, the step at which catch-up last moved the row. While a step runs,
        and afterwards too for lazy, the place in a batch of one of its examples.
    """

    moments: jax.Array
    mark: jax.Array


def lazy_adam(learning_rate: Rate, weight_decay: float) -> RowWise:
    """Adam on the rows of a batch; the moments of absent rows stand still.

    As PyTorch's `SparseAdam`, with L2 of the present rows added to their gradients.
    Where dense Adam goes on moving an absent row by its decaying moments, and forgets
    them, this does neither: a rare row keeps old moments for as long as it is away.
    """
    return _row_adam(learning_rate, weight_decay, catch_up=False)


def catch_up_adam(learning_rate: Rate, weight_decay: float) -> RowWise:
    """Adam on the rows of a batch; absent rows' moments decay, and are made up for.

    When a row comes after k steps of absence its moments are first multiplied by
    beta_1^k and beta_2^k. They are then what dense Adam would have, were its absent
    rows without L2. What is skipped, and not made up for, is the movement of absent
    rows: dense Adam would have moved the row at each of the k steps by the moments that
    were left, and pulled it by L2.
    """
    return _row_adam(learning_rate, weight_decay, catch_up=True)


def _row_adam(learning_rate: Rate, weight_decay: float, *, catch_up: bool) -> RowWise:
    def init(table: jax.Array) -> RowState:
        rows, *width = table.shape
        return RowState(
            moments=jnp.zeros((rows, 2, *width), table.dtype),
            mark=jnp.zeros(rows, jnp.int32),
        )

    def update(table, state, row, found, gradient, step):
        moments, mark = state
        last = _rows(mark, row)
        # One example of each row stands for it. Which one does not matter: whoever
        # wrote last. No sort, no table-wide sum, and nothing to clear afterwards.
        place = jnp.arange(row.shape[0], dtype=jnp.int32)
        mark = mark.at[row].set(_after(last, place), mode="drop")
        # No row has no place: its gradient must not be added to another's.
        mine = jnp.where(row < table.shape[0], _rows(mark, row), row.shape[0])
        gradient = jnp.zeros_like(gradient).at[mine].add(gradient, mode="drop")[mine]
        gradient = gradient + weight_decay * found
        mu, nu = jnp.moveaxis(_rows(moments, row), 1, 0)
        if catch_up:
            missed = (step - 1 - last).astype(jnp.float32)
            missed = missed.reshape(-1, *[1] * (table.ndim - 1))
            mu, nu = mu * BETA_1**missed, nu * BETA_2**missed
        mu, nu = _mean(gradient, mu), _mean_square(gradient, nu)
        new = found + _movement(mu, nu, *_scales(learning_rate, step))
        # Examples of the same row write the same numbers, in whatever order.
        table = table.at[row].set(new, mode="drop")
        moments = moments.at[row].set(jnp.stack([mu, nu], axis=1), mode="drop")
        if catch_up:
            mark = mark.at[row].set(_after(mine, step), mode="drop")
        return table, RowState(moments, mark)

    return RowWise(init, update)


def _after(read: jax.Array, value: jax.Array) -> jax.Array:
    """`value`, but not before `read`, which is never negative, is there.

    A write that needs what was read from the same array is done in place; where XLA
    sees no order between the two it copies the whole array in each step.
    """
    return jnp.where(read < 0, read, value)


def _rows(array: jax.Array, row: jax.Array) -> jax.Array:
    return array.at[row].get(mode="clip")


def move_rows(
    row_wise: RowWise,
    tables: tuple[dict[str, jax.Array], ...],
    states: tuple[dict[str, RowState], ...],
    rows: Sequence[jax.Array],
    found: tuple[Any, ...],
    gradients: tuple[Any, ...],
    step: jax.Array,
) -> tuple[tuple[dict[str, jax.Array], ...], tuple[dict[str, RowState], ...]]:
    """Moves the batch's rows of each side's tables: one side users, the other items.

    Args:
      row_wise: the optimizer.
      tables: of each side, by path; see `models.divide`.
      states: likewise.
      rows: [B] of each side.
      found: what `lookup` gave for each side, in the order of its tables.
      gradients: likewise.
      step: [] from 1.

    Returns:
      tables and states.
    """
    sides = []
    for side, state, row, old, slope in zip(
        tables, states, rows, found, gradients, strict=True
    ):
        leaves = zip(side, jax.tree.leaves(old), jax.tree.leaves(slope), strict=True)
        sides.append(
            {
                path: _update(row_wise, side[path], state[path], row, x, g, step)
                for path, x, g in leaves
            }
        )
    return (
        tuple({path: moved[0] for path, moved in side.items()} for side in sides),
        tuple({path: moved[1] for path, moved in side.items()} for side in sides),
    )


def _update(
    row_wise: RowWise, table: Any, state: Any, row: Any, found: Any, *rest: Any
) -> tuple[Any, Any]:
    if isinstance(table, sharded.Sharded):
        return sharded.update_rows(row_wise.update, table, state, row, *rest)
    return row_wise.update(table, state, row, found, *rest)


ROW_WISE: dict[str, Callable[[Rate, float], RowWise]] = {
    "lazy": lazy_adam,
    "catch_up": catch_up_adam,
}
