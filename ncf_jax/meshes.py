"""The devices of a run as a mesh of two axes, `data` and `table`."""

import math

import jax
import numpy as np
from jax.sharding import Mesh

from ncf_jax.errors import ConfigError

DATA, TABLE = AXES = ("data", "table")


def parse_mesh(text: str) -> tuple[int, int]:
    """Devices along `data` and along `table`.

    Raises:
      ConfigError: it is no mesh.

    Example:
      >>> parse_mesh("data:4,table:2"), parse_mesh("table:8")
      ((4, 2), (1, 8))
    """
    sizes = {DATA: 1, TABLE: 1}
    seen = set()
    for part in text.split(","):
        name, _, size = part.strip().partition(":")
        if name not in sizes or name in seen or not size.isdigit() or int(size) < 1:
            raise ConfigError(
                f"--mesh wants the axes data and table, each once and with its number "
                f"of devices, such as data:4,table:2; found {text!r}."
            )
        seen.add(name)
        sizes[name] = int(size)
    return sizes[DATA], sizes[TABLE]


def make_mesh(text: str) -> Mesh | None:
    """The mesh that `--mesh` describes, of the first devices there are.

    Empty text: None, for one device without any of this; among several processes, all
    devices along `table`.

    Raises:
      ConfigError: it is no mesh, there are fewer devices, or a process would have none.

    Example:
      >>> make_mesh("table:1").shape["table"]
      1
    """
    devices = jax.devices()
    if not text and jax.process_count() == 1:
        return None
    shape = parse_mesh(text) if text else (1, len(devices))
    wanted = math.prod(shape)
    if wanted > len(devices) or (jax.process_count() > 1 and wanted < len(devices)):
        each = "all, of several processes; found" if wanted < len(devices) else "found"
        raise ConfigError(
            f"--mesh={text} wants {wanted} devices; {each} {len(devices)} "
            f"({devices[0].platform}). On a CPU more are had with "
            f"XLA_FLAGS=--xla_force_host_platform_device_count={wanted}."
        )
    return Mesh(np.array(devices[:wanted]).reshape(shape), AXES)
