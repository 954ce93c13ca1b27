"""What a step costs at least, and what the machine can do at most.

FLOPs and bytes are counted from the model: the step is traced, and its matrix products
and the arrays it must read and write are added up. XLA's own analysis of the same step
is put beside it. The ceilings are measured where the step runs: a large matrix product
and a copy of an array larger than any cache.
"""

import functools
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.extend import core

from ncf_jax.models import divide
from ncf_jax.types import Batch, Learner, TrainState
from ncf_jax.xla import compiler_options

MATRIX, COPY = 2048, 2**26  # rows of a matrix; floats of an array (256 MiB)
TIMES = 4


def equations(jaxpr: Any) -> Iterator[Any]:
    """Every equation of a program, those of its inner programs included."""
    for equation in jaxpr.eqns:
        yield equation
        for value in equation.params.values():
            for inner in value if isinstance(value, tuple | list) else (value,):
                if isinstance(inner, core.ClosedJaxpr):
                    yield from equations(inner.jaxpr)
                elif isinstance(inner, core.Jaxpr):
                    yield from equations(inner)


def product_flops(equation: Any) -> int:
    """Multiplications and additions of one matrix product."""
    (contracted, _), _ = equation.params["dimension_numbers"]
    left = equation.invars[0].aval.shape
    depth = math.prod(left[axis] for axis in contracted)
    return 2 * depth * math.prod(equation.outvars[0].aval.shape)


def count(function: Callable[..., Any], *arguments: Any) -> dict[str, float]:
    """FLOPs of the matrix products of `function`, and bytes of their operands.

    Example:
      >>> count(jnp.matmul, jnp.ones((2, 3)), jnp.ones((3, 5)))
      {'flops': 60, 'product_bytes': 124}
    """
    flops = size = 0
    for equation in equations(jax.make_jaxpr(function)(*arguments).jaxpr):
        if equation.primitive.name == "dot_general":
            flops += product_flops(equation)
            for value in (*equation.invars, *equation.outvars):
                size += value.aval.size * value.aval.dtype.itemsize
    return {"flops": flops, "product_bytes": size}


def step_cost(
    model: nn.Module,
    learner: Learner,
    state: TrainState,
    batch: Batch,
    key: jax.Array,
    *,
    row_wise: bool,
) -> dict[str, Any]:
    """What a step does: FLOPs of its products, and bytes as if no cache helped.

    Bytes are those of the products' operands and results, and of parameters and
    optimizer state, each read and written once; with a row-wise optimizer, of tables
    and their state, the rows of the batch only.

    Returns:
      `flops`, `bytes`, and XLA's `xla_flops`, `xla_bytes` of the program before fusion,
      elementwise operations included.
    """
    counted = count(learner.step, state, batch, key)
    moved = _size((state.params, state.opt_state))
    if row_wise:
        tables, _ = divide(model, state.params)
        by_row = jax.tree.leaves((tables, state.opt_state[0]))
        rows = batch.user.shape[0]
        moved -= sum(_size(x) // x.shape[0] * max(0, x.shape[0] - rows) for x in by_row)
    analysis = jax.jit(learner.step).lower(state, batch, key).cost_analysis() or {}
    if isinstance(analysis, list):  # as earlier versions of JAX gave it
        analysis = analysis[0]
    return {
        "flops": counted["flops"],
        "bytes": counted["product_bytes"] + 2 * moved,
        "xla_flops": analysis.get("flops"),
        "xla_bytes": analysis.get("bytes accessed"),
    }


def _size(tree: Any) -> int:
    return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree))


def ceilings(matrix: int = MATRIX, floats: int = COPY) -> dict[str, float]:
    """FLOP/s of a large matrix product and bytes/s of a copy, the best of several.

    Each is done `TIMES` times in one program, so that no call is timed.
    """
    a = jnp.full((matrix, matrix), 1 / matrix)

    def products(a: jax.Array) -> jax.Array:
        return jax.lax.fori_loop(0, TIMES, lambda _, x: x @ a, a)

    program = jax.jit(products)
    ways = program, program.lower(a).compile(compiler_options())
    fastest = min(_best(functools.partial(way, a)) for way in ways)
    # In place: a new array each time would be timed for the pages it touches first.
    kept = [jnp.zeros(floats)]
    size = 2 * kept[0].nbytes

    def sums(x: jax.Array) -> jax.Array:
        return jax.lax.fori_loop(0, TIMES, lambda _, x: x + 1, x)

    add = jax.jit(sums, donate_argnums=0)

    def copy() -> jax.Array:
        kept.append(add(kept.pop()))
        return kept[0]

    return {
        "flops_per_second": TIMES * 2 * matrix**3 / fastest,
        "bytes_per_second": TIMES * size / _best(copy),
    }


def _best(function: Callable[[], Any], tries: int = 5) -> float:
    seconds = []
    for _ in range(tries + 1):  # the first compiles
        began = time.perf_counter()
        jax.block_until_ready(function())
        seconds.append(time.perf_counter() - began)
    return min(seconds[1:])
