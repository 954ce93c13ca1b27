"""Where training rows fit: the memory of a device, and the rule that goes by it."""

import os

import jax

SHARE = 0.25  # of a device's memory: what rows may take to stay there
GIB = 2**30


def device_bytes(device_gib: float = 0.0) -> int:
    """Memory of one device: as given, as it says, or its share of the system's.

    Devices that do not say what they have, CPUs above all, share what is available.

    Args:
      device_gib: GiB; 0: not given.
    """
    if device_gib:
        return int(device_gib * GIB)
    stats = jax.local_devices()[0].memory_stats() or {}
    if "bytes_limit" in stats:
        return int(stats["bytes_limit"])
    return available() // jax.local_device_count()


def available() -> int:
    """Bytes of the system's memory that are free, or all where it does not say."""
    try:
        with open("/proc/meminfo") as file:
            for line in file:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass  # no Linux
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def fits(num_bytes: int, device_gib: float = 0.0) -> bool:
    """Whether so many bytes of rows may stay on a device: at most a quarter of it."""
    return num_bytes <= SHARE * device_bytes(device_gib)


def choose(how: str, num_bytes: int, device_gib: float = 0.0) -> str:
    """How rows reach the device: `device`, all at once, or `stream`.

    The rule of `auto`: rows stay on the device if they take at most a quarter of its
    memory; the rest is for tables, their optimizer's state and what a step needs.

    Args:
      how: `auto`, or one of the answers, which is then the answer.
      num_bytes: of the training rows, `Rows.num_bytes`.
      device_gib: memory of a device; 0: found out.

    Example:
      >>> choose("auto", 2**30, device_gib=4), choose("auto", 2**30 + 1, device_gib=4)
      ('device', 'stream')
    """
    if how != "auto":
        return how
    return "device" if fits(num_bytes, device_gib) else "stream"
