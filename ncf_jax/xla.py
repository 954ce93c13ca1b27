"""What XLA is told, and where it keeps what it has compiled."""

import functools
import os
import warnings
from pathlib import Path
from typing import Any

CACHE_VARIABLE = "JAX_COMPILATION_CACHE_DIR"
THREADS_VARIABLE = "PJRT_NPROC"
THREADS = 4


@functools.cache
def compiler_options() -> dict[str, Any]:
    """Options for `jax.jit` and `Lowered.compile` that make a step faster on a CPU.

    Its newer library of matrix products (YNNPACK) keeps to one thread at the sizes of
    a batch, where the one before (Eigen) uses all: a quarter of a step on two cores.
    Other devices need none.
    """
    import jax

    options: dict[str, Any] = {"xla_cpu_experimental_ynn_fusion_type": ""}
    if jax.default_backend() != "cpu":
        return {}
    try:
        jax.jit(lambda: 0).lower().compile(options)
    except jax.errors.JaxRuntimeError:  # a version of XLA without the option
        return {}
    return options


def keep_compiled() -> None:
    """Has XLA's results kept in the user's cache folder, unless JAX is told otherwise.

    Sets JAX's own environment variables where they are not set, so it must come before
    JAX is imported; a folder of your own, or none, is chosen with
    JAX_COMPILATION_CACHE_DIR or JAX_ENABLE_COMPILATION_CACHE=false.
    """
    try:
        home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError:
        return  # a user without a home keeps nothing
    os.environ.setdefault(CACHE_VARIABLE, str(Path(home) / "ncf_jax" / "xla"))
    # Where it cannot be kept it is compiled anew, which is no news to a user.
    cannot = "Error (writing|reading) persistent compilation cache"
    warnings.filterwarnings("ignore", cannot, UserWarning)
    # Everything is kept: what is quick to compile is quicker to read.
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")


def fix_threads() -> None:
    """Has XLA work with 4 threads on a CPU, however many cores there are.

    It divides a matrix product's sum among its threads, so their number decides how
    the sum is rounded; with the same number, one core and sixty-four find the same
    bits. Batches of this size keep no more than a few cores busy.

    Sets XLA's environment variable PJRT_NPROC where it is not set, so it must come
    before JAX's first array; another number is chosen with that variable.
    """
    os.environ.setdefault(THREADS_VARIABLE, str(THREADS))


def host_threads() -> str:
    """How many threads XLA has on the host, as far as this process was told."""
    return os.environ.get(THREADS_VARIABLE, "one per core")
