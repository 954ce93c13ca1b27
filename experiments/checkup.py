"""What `experiments.doctor` looks at: probes, each a function that yields lines.

A probe says what it found and what to do about it; it writes nothing that stays. One
that raises becomes a FAILED line, so that the others are heard.
"""

import getpass
import os
import platform
import re
import shutil
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

OK, WARNING, FAILED = "ok", "warning", "FAILED"
GIB = 2**30
LITTLE = 1 * GIB  # free space below which a folder is warned of
# Those of environment.json, which needs JAX to be written; this list must not.
PACKAGES = "jax jaxlib flax optax orbax-checkpoint numpy pandas scikit-learn"
EXTRAS = (
    "pyarrow grain optuna tensorboardX torch jax-cuda12-plugin jax-cuda13-plugin libtpu"
)
# The only ones that are read: no other can get into a bug report.
VARIABLES = (
    "NCF_JAX_DATA_DIR JAX_PLATFORMS JAX_ENABLE_X64 JAX_DEFAULT_MATMUL_PRECISION "
    "JAX_DEFAULT_PRNG_IMPL JAX_THREEFRY_PARTITIONABLE JAX_NUMPY_RANK_PROMOTION "
    "JAX_NUMPY_DTYPE_PROMOTION JAX_NUM_CPU_DEVICES JAX_DISABLE_JIT JAX_DEBUG_NANS "
    "JAX_DEBUG_INFS JAX_TRANSFER_GUARD JAX_ENABLE_COMPILATION_CACHE "
    "JAX_COMPILATION_CACHE_DIR JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS "
    "JAX_CUDA_VISIBLE_DEVICES XLA_FLAGS LIBTPU_INIT_ARGS XLA_PYTHON_CLIENT_PREALLOCATE "
    "XLA_PYTHON_CLIENT_MEM_FRACTION XLA_PYTHON_CLIENT_ALLOCATOR CUDA_VISIBLE_DEVICES "
    "NVIDIA_TF32_OVERRIDE OMP_NUM_THREADS PJRT_NPROC XDG_CACHE_HOME TMPDIR"
)
SECRET = re.compile(r"token|secret|passw|credential|api.?key|://[^/\s]*@", re.I)
NVIDIA = Path("/proc/driver/nvidia/version")
CGROUP = Path("/sys/fs/cgroup")


class Line(NamedTuple):
    """What was found of one thing.

    Attributes:
      name: of the thing.
      status: `ok`, `warning` or `FAILED`.
      found: in words, without a point at the end.
      todo: a sentence; empty where nothing is to be done.
    """

    name: str
    status: str
    found: str
    todo: str = ""


Probe = Callable[[], Iterable[Line]]


def guarded(name: str, probe: Probe) -> Iterator[Line]:
    """The lines of a probe; one that raises ends with a FAILED line that says so.

    Example:
      >>> [line.found for line in guarded("sum", lambda: [Line("sum", OK, 1 + "1")])]
      ["TypeError: unsupported operand type(s) for +: 'int' and 'str'"]
    """
    try:
        for line in probe():
            yield Line(*map(impersonal, line))
    except Exception as error:
        found = impersonal(said(error))
        yield Line(name, FAILED, found, "Mend what it names, or report it.")


def said(error: BaseException) -> str:
    """Class and message of an exception in one line; without one, where it arose."""
    message = " ".join(str(error).split())[:300]
    if not message:
        last = traceback.extract_tb(error.__traceback__)[-1:]
        message = " ".join(f"{Path(at.filename).name}, line {at.lineno}" for at in last)
    return f"{type(error).__name__}: {message}".rstrip(":. ")


def impersonal(text: str) -> str:
    """A text without the user's home folder or name in its paths, and printable.

    Example:
      >>> impersonal(str(Path.home() / "data"))
      '~/data'
    """
    for home in _homes():
        text = re.sub(re.escape(home) + r"(?=$|[^\w.-])", "~", text)
    try:
        user = re.escape(getpass.getuser())
        text = re.sub(rf"(?<=/){user}(?=/|$)", "<user>", text)
    except (OSError, KeyError, ImportError):  # a number without a name
        pass
    coding = sys.stdout.encoding or "utf-8"
    return text.encode(coding, "backslashreplace").decode(coding)


def _homes() -> list[str]:
    try:
        home = Path.home()
        both = {str(home), str(home.resolve())}
    except (RuntimeError, OSError):
        return []
    return sorted(both - {"/", "."}, key=len, reverse=True)


def devices() -> Iterator[Line]:
    """What JAX computes on."""
    import jax

    try:
        found = jax.devices()
    except Exception as error:
        if (wanted := os.environ.get("JAX_PLATFORMS")) is None:
            raise
        todo = f"JAX_PLATFORMS={wanted}: install what JAX needs for it, or unset it."
        yield Line("device", FAILED, said(error), todo)
        return
    first = found[0]
    words = [f"{len(found)} x {first.device_kind}, platform {first.platform}"]
    stats = first.memory_stats() or {}
    if "bytes_limit" in stats:
        used = stats.get("bytes_in_use", 0) / GIB
        limit = stats["bytes_limit"] / GIB
        words.append(f"memory of the first {limit:.1f} GiB, {used:.1f} in use")
    else:
        words.append("memory: the backend does not tell")
    words.append(" ".join(first.client.platform_version.split()) or "no version")
    status, todo = OK, ""
    chosen = "JAX_PLATFORMS" in os.environ
    if first.platform == "cpu" and NVIDIA.exists() and not chosen:
        status = WARNING
        todo = "There is an NVIDIA driver: pip install 'jax[cuda12]' to use its device."
    yield Line("device", status, "; ".join(words), todo)


def versions() -> Iterator[Line]:
    """Python, this package, and what it is made of."""
    import ncf_jax

    yield Line("python", OK, platform.python_version())
    yield Line("platform", OK, platform.platform())
    yield Line("ncf_jax", OK, ncf_jax.__version__)
    for name in PACKAGES.split():
        try:
            yield Line(name, OK, metadata.version(name))
        except metadata.PackageNotFoundError:
            yield Line(name, FAILED, "not installed", "Run pip install -e . again.")
    extras = {name: "" for name in EXTRAS.split()}
    for name in extras:
        try:
            extras[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    there = [f"{name} {version}" for name, version in extras.items() if version]
    missing = [name for name, version in extras.items() if not version]
    found = f"{', '.join(there) or 'none'}; not installed: {', '.join(missing)}"
    yield Line("extras", OK, found.removesuffix("; not installed: "))


def commit() -> Iterator[Line]:
    """Which commit this is, where git knows."""
    from ncf_jax import environment

    found, dirty = environment.git_state()
    if found is None:
        yield Line("git", OK, "not a checkout, or no git on this machine")
    else:
        state = "files differ from it" if dirty else "no file differs from it"
        yield Line("git", OK, f"commit {found}; {state}")


def host() -> Iterator[Line]:
    """Processors and memory that this process may use."""
    count = os.cpu_count()
    usable = count
    if hasattr(os, "sched_getaffinity"):
        usable = len(os.sched_getaffinity(0))
    quota, _, period = _limit("cpu.max").partition(" ")
    words = f"{usable} of {count} usable by this process; {platform.machine()}"
    if quota.isdigit() and period.isdigit():
        words += f"; its group may use {int(quota) / int(period):.1f}"
    yield Line("processors", OK, words)
    from ncf_jax import memory

    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / GIB
    free = memory.available() / GIB
    words = f"{total:.1f} GiB, {free:.1f} available"
    if (limit := _limit("memory.max")).isdigit():
        words += f"; its group may use {int(limit) / GIB:.1f}"
    if free < 1:
        yield Line("memory", WARNING, words, "End other programs: 1 GiB is wanted.")
    else:
        yield Line("memory", OK, words)


def _limit(name: str) -> str:
    """A limit of the container, where Linux tells it."""
    try:
        return (CGROUP / name).read_text().strip()
    except OSError:
        return ""


def folder(flag: str, value: str, *, named: bool) -> Iterator[Line]:
    """Whether a folder, or the nearest above it, can be written, and its free space.

    Args:
      flag: that names it; it is the line's name, too.
      value: the folder.
      named: whether the user did: then it FAILED where a default is a warning.
    """
    bad = FAILED if named else WARNING
    other = f"Name a folder that can be written with {flag}."
    path = Path(value).absolute()
    place = next(each for each in (path, *path.parents) if each.exists())
    if not place.is_dir():
        yield Line(flag, bad, f"{path}: {place} is a file", other)
        return
    words = str(path) if place == path else f"{path} (not there yet)"
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(b"0" * 4096)
    except OSError as error:
        yield Line(flag, bad, f"{words} cannot be written ({error.strerror})", other)
        return
    free = shutil.disk_usage(place).free
    words = f"{words}; can be written; {free / GIB:.1f} GiB free"
    if free < LITTLE:
        yield Line(flag, WARNING, words, f"Make room. {other}")
    else:
        yield Line(flag, OK, words)


def compiled(variables: Mapping[str, str]) -> Iterator[Line]:
    """Where XLA keeps what it compiled; only time is lost without it."""
    from ncf_jax.xla import CACHE_VARIABLE

    value = variables.get(CACHE_VARIABLE, "")
    switch = variables.get("JAX_ENABLE_COMPILATION_CACHE", "true")
    if not value or switch.lower() in ("false", "0", "no", "off", "n", "f"):
        yield Line("XLA cache", OK, "none: each command compiles anew")
    elif "://" in value:
        found = f"{_shown(value)}: not on this machine, not checked"
        yield Line("XLA cache", OK, found)
    else:
        for line in folder(CACHE_VARIABLE, value, named=False):
            yield line._replace(name="XLA cache")


def environment(variables: Mapping[str, str]) -> Iterator[Line]:
    """The variables that matter, of a fixed list, as this command sees them."""
    there = [name for name in VARIABLES.split() if name in variables]
    for name in there:
        yield Line(name, OK, _shown(variables[name]))
    if not there:
        yield Line("variables", OK, "none that matters is set")


def _shown(value: str) -> str:
    return "(set, not shown)" if SECRET.search(value) else value or "(empty)"
