"""A program for tests of several processes: `python -m tests.together --what=…`.

It writes `<folder>/<rank>.json` when it is under way or done.
"""

import dataclasses
import json
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np

from experiments import flags
from ncf_jax import processes
from ncf_jax.config_devices import DeviceConfig
from ncf_jax.errors import DataError
from ncf_jax.options import option

SIZES = (1, 37, 128, 1001)  # rows that each device gets of a scattered sum
WIDTH = 3
AXES = ("data", "table", ("data", "table"))


@dataclasses.dataclass(frozen=True)
class TogetherOptions(DeviceConfig):
    what: str = option("loop", "What to do.")
    who: int = option(1, "The process that does it.")
    folder: str = option("", "Where to write.")
    start_seconds: float = option(60.0, "How long to wait for the others.")


def main(options):
    processes.START_SECONDS = options.start_seconds
    if options.what == "orphan":
        orphan(options)
    processes.start(options)
    say(options, WHAT[options.what](options))


def say(options, value):
    rank = max(options.process_id, 0)
    part = Path(options.folder) / f"{rank}.part"
    part.write_text(json.dumps(value))
    os.replace(part, part.with_suffix(".json"))


def summing(shape=None):
    """A sum over all devices of the mesh, and its argument."""
    import jax
    from jax.sharding import Mesh, NamedSharding
    from jax.sharding import PartitionSpec as P

    mesh = Mesh(np.array(jax.devices()), ("all",))
    total = jax.jit(
        jax.shard_map(
            lambda x: jax.lax.psum(x, "all"),
            mesh=mesh,
            in_specs=P("all"),
            out_specs=P(),
        )
    )
    mine = np.full(jax.local_device_count(), jax.process_index(), np.float32)
    return total, jax.make_array_from_process_local_data(
        NamedSharding(mesh, P("all")), mine
    )


def loop(options, then=None):
    """Sums until it is killed; `then` happens to one process after a while."""
    total, x = summing()
    for step in range(100_000):
        total(x).block_until_ready()
        if step == 5:
            say(options, "going")
        if step == 50 and then is not None and options.process_id == options.who:
            then()
        time.sleep(0.01)


def idle(options):
    """Computes nothing, and waits where the others never come."""
    say(options, "going")
    if options.process_id == options.who:
        time.sleep(600)
    processes.barrier("never")


def user_error():
    raise DataError("ratings.csv is not on this machine.")


def programming_error():
    raise ZeroDivisionError("a mistake of ours")


def differ(options):
    processes.agree("the same", "data fingerprint")
    mine = "abc" if options.process_id == options.who else "def"
    processes.agree(mine, "split fingerprint")


def native(options):
    """C++ writes to both streams, Python too."""
    os.write(1, b"[Gloo] Rank 0 is connected\nof C++\n")
    os.write(2, b"a warning of C++\n")
    print("of Python")
    print("an error of Python", file=sys.stderr)


def checks(options):
    """Everything that needs no failure, in one start."""
    import jax

    rank = jax.process_index()
    before = time.monotonic()
    time.sleep(0.4 * rank)
    processes.barrier("here")
    waited = time.monotonic() - before
    processes.barrier("here")  # the same name again
    processes.agree("the same", "data fingerprint")
    found = {
        "count": processes.count(),
        "primary": processes.primary(),
        "devices": jax.device_count(),
        "waited": waited,
        **collectives(),
    }
    time.sleep(0.3 * rank)  # whoever is done first is not missed
    return found


def collectives():
    """The collectives of sharded training against NumPy, and a wrong reference."""
    import jax
    from jax.sharding import Mesh

    total, x = summing()
    devices = jax.local_device_count()
    ranks = sum(range(jax.process_count())) * devices
    wrong = [] if float(total(x)[0]) == ranks else ["psum of ranks"]
    compared = controls = rolls = 0
    count = jax.device_count()
    for shape in {(1, count), (2, count // 2)}:
        mesh = Mesh(np.array(jax.devices()).reshape(shape), ("data", "table"))
        for axis in AXES:
            for size in SIZES:
                found, wanted = one(mesh, axis, size)
                for name in wanted:
                    label = f"{name} {shape} {axis} {size}"
                    wrong += [label] if differs(found[name], wanted[name]) else []
                    compared += 1
                    # Another device's row, and one wrong number, must be seen.
                    rolled, other = np.roll(wanted[name], 1, axis=0), wanted[name] + 0
                    other[:, -1, -1] += 1
                    controls += differs(found[name], other)
                    rolls += differs(found[name], rolled)
    counts = {"compared": compared, "controls": controls, "rolls": rolls}
    return {"wrong": wrong, **counts}


def one(mesh, axis, size):
    """Results of the collectives over `axis` and what NumPy says they are.

    All are [D, ...], a row each device, in the order of the mesh.
    """
    import jax
    from jax.sharding import NamedSharding
    from jax.sharding import PartitionSpec as P

    shape = mesh.devices.shape
    over = (0, 1) if isinstance(axis, tuple) else (AXES.index(axis),)
    group = int(np.prod([shape[a] for a in over]))
    count = mesh.devices.size
    rng = np.random.default_rng(size)
    whole = rng.integers(-1000, 1000, (count, group * size, WIDTH))
    # Sevenths, so that an order of additions could show.
    given = {"int32": whole.astype(np.int32), "float32": np.float32(whole) / 7}

    def of_device(given):
        found = {}
        for name, x in given.items():
            x = x[0]
            found[f"psum {name}"] = jax.lax.psum(x, axis)[None]
            found[f"psum_scatter {name}"] = jax.lax.psum_scatter(
                x, axis, scatter_dimension=0, tiled=True
            )[None]
            found[f"all_gather {name}"] = jax.lax.all_gather(
                x[:size], axis, tiled=True
            )[None]
        return found

    rows = P(("data", "table"))
    step = jax.jit(jax.shard_map(of_device, mesh=mesh, in_specs=rows, out_specs=rows))
    there = {
        name: jax.make_array_from_callback(
            x.shape, NamedSharding(mesh, rows), x.__getitem__
        )
        for name, x in given.items()
    }
    wanted = {}
    for name, x in given.items():
        for call, value in by_numpy(x, shape, over, size).items():
            wanted[f"{call} {name}"] = value
    return step(there), wanted


def by_numpy(x, shape, over, size):
    """What each device should have: of x [D, n, W], in a mesh of `shape`."""
    grid = x.astype(np.float64).reshape(*shape, *x.shape[1:])
    found = {"psum": [], "psum_scatter": [], "all_gather": []}
    for d, t in np.ndindex(*shape):
        group, place = {
            (0,): (grid[:, t], d),
            (1,): (grid[d], t),
            (0, 1): (grid.reshape(x.shape), d * shape[1] + t),
        }[over]
        total = group.sum(axis=0)
        found["psum"].append(total)
        found["psum_scatter"].append(total[place * size : (place + 1) * size])
        found["all_gather"].append(group[:, :size].reshape(-1, WIDTH))
    return {name: np.stack(rows) for name, rows in found.items()}


def differs(found, wanted):
    """Whether the shards of this process are not those of `wanted`."""
    tolerance = 0 if np.issubdtype(found.dtype, np.integer) else 1e-6
    return found.shape != wanted.shape or not all(
        np.allclose(
            np.asarray(shard.data, np.float64),
            wanted[shard.index],
            rtol=tolerance,
            atol=1000 * tolerance,
        )
        for shard in found.addressable_shards
    )


def once(options):
    """One process is killed, but only the first time."""
    mark = Path(options.folder) / "mark"
    processes.barrier("all are here")
    if options.process_id == options.who and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return loop_shortly()


def loop_shortly():
    total, x = summing()
    return float(sum(total(x)[0] for _ in range(3)))


def orphan(options):
    """Never joins the others, and pays no heed to requests to end."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    say(options, os.getpid())
    if options.process_id == options.who:
        raise DataError("ratings.csv is not on this machine.")
    time.sleep(600)


WHAT = {
    "once": once,
    "loop": loop,
    "idle": idle,
    "error": lambda options: loop(options, user_error),
    "bug": lambda options: loop(options, programming_error),
    "exit": lambda options: loop(options, lambda: sys.exit(9)),
    "differ": differ,
    "native": native,
    "checks": checks,
    "nothing": lambda options: "done",
}

if __name__ == "__main__":
    flags.run(main, TogetherOptions, __doc__)
