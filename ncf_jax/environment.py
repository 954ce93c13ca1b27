"""What a run was made with: versions, devices, git commit, fingerprints."""

import platform
import subprocess
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

import ncf_jax
from ncf_jax.types import Dataset, Split
from ncf_jax.xla import host_threads

PACKAGES = "jax jaxlib flax optax orbax-checkpoint numpy pandas scikit-learn"


def environment(
    dataset: Dataset, split: Split, packages: Sequence[str] = ()
) -> dict[str, Any]:
    """Versions, devices, git commit and fingerprints: JSON-ready.

    Args:
      dataset: the data set, and `split` its split.
      split: of the data set.
      packages: distributions to name besides ours.
    """
    commit, dirty = git_state()
    devices = jax.devices()
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "ncf_jax": ncf_jax.__version__,
        "packages": {
            name: metadata.version(name) for name in (*PACKAGES.split(), *packages)
        },
        "device_kind": devices[0].device_kind,
        "device_platform": devices[0].platform,
        "device_count": len(devices),
        "host_threads": host_threads(),
        "git_commit": commit,
        "git_dirty": dirty,
        "dataset": dataset.label,
        "synthetic": dataset.synthetic,
        "data": dataset.fingerprint,
        "split": split.fingerprint,
    }


def git_state() -> tuple[str | None, bool | None]:
    """Commit and whether files differ from it; None outside a checkout of our own."""
    root = Path(__file__).resolve().parents[1]

    def ask(*words: str) -> str:
        command = ["git", "-C", str(root), *words]
        return subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()

    try:
        if Path(ask("rev-parse", "--show-toplevel")).resolve() != root:
            return None, None  # installed somewhere below another project's checkout
        return ask("rev-parse", "HEAD"), bool(ask("status", "--porcelain"))
    except (OSError, subprocess.SubprocessError):
        return None, None
