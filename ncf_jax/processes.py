"""Several processes as one run: they start, agree and end together.

JAX's own distributed runtime joins them. Each watches all the others: when one is
killed, fails or is interrupted, all stop with a sentence at once; when one hangs, or
its machine or network is gone, within `--heartbeat_seconds` and 5 s. None is left
waiting for what will not come.
"""

import atexit
import itertools
import logging
import os
import re
import socket
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from ncf_jax.config_devices import DeviceConfig
from ncf_jax.ending import Ending
from ncf_jax.errors import ConfigError, RunError
from ncf_jax.watch import Watch

START_SECONDS = 300.0
DAY_MS = 24 * 3600 * 1000  # as good as for ever: deaths are seen, not waited for
AUTO = "auto"
PROXIES = {"grpc_proxy", "https_proxy", "http_proxy"}  # that gRPC heeds
DIRECT = "no_grpc_proxy"
OF_ANOTHER = re.compile(r"gloo|nccl|UNAVAILABLE|CANCELLED|DEADLINE|barrier", re.I)


class Group(NamedTuple):
    """This process among the others, from `start` to `finish`."""

    ending: Ending
    watch: Watch
    heartbeat: int
    calls: Iterator[int]  # numbers those that every process makes alike


_group: Group | None = None
_in_runtime = False  # of JAX, also when joining it failed


def start(config: DeviceConfig) -> None:
    """Joins the other processes; nothing with one process and no coordinator.

    Comes before any computation with JAX.

    Raises:
      ConfigError: the options contradict each other.
      RunError: there is no way to the others.
    """
    global _group, _in_runtime
    check(config)
    if not config.coordinator or _group is not None:
        return
    if config.process_id == 0 and config.coordinator != AUTO:
        _check_port(config.coordinator)
    import jax

    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    # SIGTERM ends a process, and with it all; checkpoints are whole.
    jax.config.update("jax_enable_preemption_service", False)
    auto = config.coordinator == AUTO
    given = "" if auto else f" at --coordinator={config.coordinator}"
    ending = Ending(config.heartbeat_seconds)
    late = threading.Timer(
        START_SECONDS,
        lambda: ending.end(
            f"Not all processes came together{given} within {START_SECONDS:.0f} s: see "
            f"that each was started, with the same --coordinator and --num_processes, "
            f"and that its port is open.",
            RunError.exit_code,
        ),
    )
    late.daemon = True
    late.start()
    if not auto:
        _past_proxies(config.coordinator)
    _in_runtime = True
    try:
        jax.distributed.initialize(
            coordinator_address=None if auto else config.coordinator,
            num_processes=config.num_processes or None,
            process_id=config.process_id if config.process_id >= 0 else None,
            cluster_detection_method=None if auto else "deactivate",
            initialization_timeout=int(START_SECONDS * 2),  # where it aborts
            heartbeat_timeout_seconds=config.heartbeat_seconds,
        )
        _group = Group(
            ending, _joined(ending), config.heartbeat_seconds, itertools.count()
        )
    except (ValueError, RuntimeError, OSError) as error:
        ending.restore()
        first = str(error).strip().partition("\n")[0].rstrip(".")
        if auto and isinstance(error, ValueError):
            raise ConfigError(
                "--coordinator=auto found no SLURM, Open MPI, Kubernetes or TPU around "
                f"this process ({first}). Give --coordinator=host:port, "
                "--num_processes and --process_id."
            ) from None
        raise RunError(
            f"There is no way to the other processes{given}: {first}."
        ) from None
    finally:
        late.cancel()
    atexit.register(_at_exit)  # runs before JAX's own, which would wait for the others


def _check_port(coordinator: str) -> None:
    """Where the port is taken JAX's own attempt may end in a crash."""
    port = coordinator.rpartition(":")[2]
    where = os.environ.get("JAX_COORDINATOR_BIND_ADDRESS", f":{port}")
    host, _, port = where.rpartition(":")
    try:
        socket.create_server(("" if ":" in host else host, int(port))).close()
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error)
        raise RunError(
            f"The port of --coordinator={coordinator} cannot be had on this machine, "
            f"process 0's ({why}): another program has it, or a run that still ends. "
            "Choose another for all processes."
        ) from None


def _past_proxies(coordinator: str) -> None:
    """A proxy for the world outside, such as http_proxy, is none for our processes."""
    if not PROXIES & set(os.environ):
        return
    direct = os.environ.get(DIRECT) or os.environ.get("no_proxy")
    host = coordinator.rpartition(":")[0]
    os.environ[DIRECT] = ",".join(filter(None, (direct, host)))
    # JAX warns of each such variable; these have just been seen to.
    logging.getLogger("jax._src.distributed").setLevel(logging.ERROR)


def _joined(ending: Ending) -> Watch:
    """Connects the watch; returns when all have."""
    state, within = _state(), int(START_SECONDS * 1000)
    ending.rank, ending.count = state.process_id, state.num_processes
    host = state.coordinator_address.rpartition(":")[0].strip("[]")
    watch = Watch(ending.rank, ending.count, ending.stop)
    if ending.rank == 0:
        state.client.key_value_set("ncf_jax/watch", watch.serve(host))
    else:
        address = state.client.blocking_key_value_get("ncf_jax/watch", within)
        watch.join(host, address, START_SECONDS)
    state.client.wait_at_barrier("ncf_jax/start", within)
    return watch


def check(config: DeviceConfig) -> None:
    """Checks the options of processes against each other.

    Raises:
      ConfigError: naming the flags.
    """
    where, count, rank = config.coordinator, config.num_processes, config.process_id
    if not where:
        if count > 1 or rank > 0:
            raise ConfigError(
                f"--num_processes={count} and --process_id={rank} want --coordinator="
                "host:port of process 0, or --coordinator=auto; found neither."
            )
        return
    if count and rank >= count:
        raise ConfigError(
            f"--process_id counts from 0 and wants less than --num_processes={count}; "
            f"found {rank}."
        )
    if where == AUTO:
        return
    host, _, port = where.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ConfigError(
            f"--coordinator wants host:port of process 0, such as node1:1234, or auto; "
            f"found {where!r}."
        )
    if count < 1 or rank < 0:
        raise ConfigError(
            f"--coordinator={where} wants --num_processes of 1 or more, and "
            f"--process_id from 0; found {count} and {rank}."
        )


def primary() -> bool:
    """Whether this process is the one that writes and speaks: process 0, or alone."""
    return _group is None or _group.ending.rank == 0


def count() -> int:
    """How many processes run together."""
    return 1 if _group is None else _group.ending.count


def barrier(name: str) -> None:
    """Waits until every process has come to the same place."""
    if _group is not None:
        key = f"ncf_jax/barrier/{next(_group.calls)}/{name}"
        _state().client.wait_at_barrier(key, DAY_MS)


def agree(value: str, what: str) -> None:
    """Sees that all processes have the same `value`, a fingerprint for instance.

    Raises:
      ConfigError: in all processes, the same sentence, which says who differs.
    """
    if _group is None:
        return
    client = _state().client
    place = f"ncf_jax/agree/{next(_group.calls)}/"
    client.key_value_set(f"{place}{_group.ending.rank:06d}", value)
    barrier(f"{what} given")
    pairs = sorted(client.key_value_dir_get(place))
    barrier(f"{what} read")  # nobody ends while another still reads
    by_value: dict[str, list[str]] = {}
    for key, found in pairs:
        by_value.setdefault(found, []).append(str(int(key.rpartition("/")[2])))
    if len(by_value) > 1:
        _group.watch.leave()  # all raise: nobody needs to be told
        _group.watch.linger()  # process 0 serves those that wait at the barrier yet
        said = "; ".join(f"{v} in {', '.join(who)}" for v, who in by_value.items())
        raise ConfigError(
            f"All processes want the same {what}; found, by process: {said}. Give all "
            f"the same flags and files."
        )


def finish() -> None:
    """Ends together: waits for all, says goodbye and leaves JAX's runtime."""
    global _group, _in_runtime
    if _group is None:
        return
    import jax

    barrier("end")
    group, _group = _group, None
    group.ending.over = True
    group.watch.leave()
    jax.distributed.shutdown()
    _in_runtime = False
    group.watch.close()
    group.ending.restore()


def say(sentence: str, code: int) -> int:
    """Says why this process ends, once, and returns the exit code of what was said."""
    if _group is not None:
        return _group.ending.say(sentence, code)
    print(f"error: {sentence}", file=sys.stderr)
    return code


def fail(sentence: str, code: int) -> None:
    """Ends this process if there are others, which are told why, after the user."""
    if _group is not None:
        _group.watch.fail(sentence)
    if _in_runtime:  # whose own end waits for the others, or comes to grief
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def blame(error: BaseException) -> None:
    """Finds out whose fault an unforeseen exception is; returns if it is our own.

    When another process goes, what is computed with it raises; the watch, a moment
    later, knows better and ends this process. If it is our own, the others are told.
    """
    if _group is None:
        return
    of_another = OF_ANOTHER.search(str(error))
    time.sleep(_group.heartbeat + 5 if of_another else 0.5)
    first = str(error).strip().partition("\n")[0][:200]
    _group.watch.fail(f"{type(error).__name__}: {first}".rstrip(".") + ".")


def _at_exit() -> None:
    """An end without `finish` must not wait for the others, nor they for it."""
    if _group is None:
        return
    if getattr(sys, "last_value", None) is None:
        finish()
        return
    _group.watch.fail("it ended early.")
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)


def _state() -> Any:
    """JAX's distributed state, which has no public name; orbax takes it from here."""
    from jax._src import distributed

    return distributed.global_state
