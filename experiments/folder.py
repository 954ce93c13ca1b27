"""A run folder before its run: new, to be gone on with, finished, or another's.

A sweep's folder is checked in the same way, by its sweep.flags.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from experiments import console, flags
from ncf_jax import locks, processes
from ncf_jax.config import Config, Options, differences
from ncf_jax.errors import NcfError, RunError

if TYPE_CHECKING:
    from ncf_jax.runs import Run
    from ncf_jax.types import Dataset, Split


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


def check_own(workdir: Path, epoch: int, theirs: Config, ours: Config) -> None:
    """Sees to it that a checkpoint was made with the options of its run.

    Raises:
      RunError: naming those that differ.
    """
    if different := differences(theirs, ours):
        raise RunError(
            f"The checkpoint of epoch {epoch} in {workdir} is another run's: "
            f"{'; '.join(different)}. Remove {workdir / 'state' / str(epoch)}, or "
            f"choose another --workdir."
        )


def opened(workdir: str) -> "Run":
    """What `ncf_jax.load_run` finds, if run.flags says what its checkpoint says.

    Raises:
      RunError: as there, or they differ.
    """
    import ncf_jax

    run = ncf_jax.load_run(workdir)
    ours = flags.parse(Config, [f"--flagfile={run.workdir / 'run.flags'}"])
    check_own(run.workdir, run.epoch, run.config, ours)
    return run


def has_data(workdir: Path, dataset: "Dataset", split: "Split") -> bool:
    """Whether the data beside a run's checkpoints is there, whole and the run's own."""
    from ncf_jax import checkpoint

    try:
        theirs = [part.fingerprint for part in checkpoint.load_dataset(workdir)]
    except RunError:
        theirs = []
    found = theirs == [dataset.fingerprint, split.fingerprint]
    processes.agree(str(found), "data beside the checkpoints")  # all write it, or none
    if not found:
        console.say("the data beside the checkpoints is damaged, and is written again")
    return found


def identity(workdir: Path) -> tuple[int, int] | None:
    """Which folder this is, whatever its name; None where there is none."""
    try:
        found = os.stat(workdir)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def check_there(workdir: Path, wanted: tuple[int, int] | None) -> None:
    """Sees to it that a run still writes where it began.

    Raises:
      RunError: its folder was removed or replaced, perhaps by another run's.
    """
    if identity(workdir) != wanted:
        raise RunError(
            f"{workdir} was removed or replaced while this run wrote to it; nothing "
            f"more is written. Start it again, in a folder that stays."
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
