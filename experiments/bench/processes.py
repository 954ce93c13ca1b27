"""Contestants that are whole commands, each turn a new process."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from experiments.bench.worker import Contestant
from ncf_jax.errors import RunError

OFF = {"JAX_ENABLE_COMPILATION_CACHE": "false"}


def command(
    module: str, flags: Sequence[str], folder_flag: str = "", warm: bool = False
) -> Contestant:
    """`python -m module flags…`, from start to exit.

    Args:
      module: of the command.
      flags: as on the command line; `{scratch}` stands for a folder that lasts.
      folder_flag: a flag that is given a new folder each time, if any.
      warm: a first run fills the caches of XLA; otherwise XLA's is off.
    """
    scratch = tempfile.TemporaryDirectory()  # removed with the process
    kept = {
        "JAX_ENABLE_COMPILATION_CACHE": "true",
        "JAX_COMPILATION_CACHE_DIR": str(Path(scratch.name) / "xla"),
    }
    environment = {**os.environ, **(kept if warm else OFF)}

    def run() -> None:
        with tempfile.TemporaryDirectory() as folder:
            words = [word.format(scratch=scratch.name) for word in flags]
            if folder_flag:
                words.append(f"--{folder_flag}={folder}/run")
            done = subprocess.run(
                [sys.executable, "-m", module, *words],
                capture_output=True,
                text=True,
                env=environment,
            )
        if done.returncode:
            lines = done.stderr.strip().splitlines() or ["no message"]
            raise RunError(f"python -m {module} failed: {lines[-1]}")

    if warm:
        run()
    # Keeps the folder for as long as there is the contestant.
    return Contestant(lambda: run() if scratch else None, {})
