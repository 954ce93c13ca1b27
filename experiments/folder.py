"""A run folder before its run: new, to be gone on with, finished, or another's.

A sweep's folder is checked in the same way, by its sweep.flags.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from experiments import console, flags
from ncf_jax import locks, processes
from ncf_jax.config import Options, differences
from ncf_jax.errors import NcfError, RunError


@contextlib.contextmanager
def held(workdir: Path, config: Options, noun: str = "run") -> Iterator[None]:
    """As `check`, and no other process may work in `workdir` while the body runs.

    Of several processes of one run the first holds it for all.

    Raises:
      RunError: as `check`, or another process is at work there.
    """
    check(workdir, config, noun)
    if not processes.primary():
        yield
        return
    with locks.hold(workdir) as locked:
        check(workdir, config, noun)  # another may have been here in between
        if not locked:
            console.say(f"{workdir} cannot be locked: start no second {noun} there.")
        yield


def check(workdir: Path, config: Options, noun: str = "run") -> None:
    """Sees to it that `workdir` is new, or of a run with these very options.

    Args:
      workdir: the folder.
      config: the options.
      noun: what the folder is of; `<noun>.flags` in it holds its options.

    Raises:
      RunError: it is a file, holds something else, or a run that differs.
    """
    if workdir.exists() and not workdir.is_dir():
        raise RunError(f"--workdir={workdir} is a file; name a folder.")
    if not workdir.exists() or not any(workdir.iterdir()):
        return
    path = workdir / f"{noun}.flags"
    if not path.is_file():
        if all(child.name == f".{path.name}.partial" for child in workdir.iterdir()):
            return  # killed while writing its very first file
        raise RunError(
            f"--workdir={workdir} is not empty and not a {noun} folder (it has no "
            f"{path.name}). Choose a new or empty folder."
        )
    try:
        theirs = flags.parse(type(config), [f"--flagfile={path}"])
    except NcfError as error:
        raise RunError(f"{path} cannot be read as a {noun}'s flags: {error}") from error
    if different := differences(theirs, config):
        raise RunError(
            f"--workdir={workdir} holds another {noun}: {'; '.join(different)}. Choose "
            f"another --workdir, or pass the same options."
        )


def recalled(workdir: Path) -> bool:
    """Prints the results of a finished run; False where there are none yet."""
    from ncf_jax import report

    finished = report.read_results(workdir)
    if finished is None:
        return False
    console.results(finished)
    console.say(
        "",
        f"{workdir} is finished; nothing was trained. Give another --workdir to train "
        f"again.",
    )
    return True
