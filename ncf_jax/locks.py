"""One writer a folder: a lock that ends with its process, however that ends.

The lock is the operating system's own (`flock`) on the folder itself, so there is no
file to be left behind, and nothing to clear away after a crash.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from ncf_jax.errors import RunError


@contextlib.contextmanager
def hold(folder: Path) -> Iterator[bool]:
    """Keeps others from writing to `folder` while the body runs; makes it if needed.

    A folder that this made, and that nothing was written to, is removed again.

    Args:
      folder: of a run, a sweep or an evaluation.

    Yields:
      whether it is locked; False on a file system without locks.

    Raises:
      RunError: another process holds it, or it cannot be made.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as scratch:
      ...     with hold(Path(scratch) / "run") as locked:
      ...         print(locked)
      True
    """
    made = not folder.exists()
    while True:
        descriptor, locked = _lock(folder)
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), os.stat(folder)):
                break
        os.close(descriptor)  # removed by whoever held it, just before
        made = True
    try:
        yield locked
    finally:
        if made:
            with contextlib.suppress(OSError):  # something is in it, which stays
                folder.rmdir()
        os.close(descriptor)


def _lock(folder: Path) -> tuple[int, bool]:
    """A descriptor of the folder, which may have to be made, and whether it locks."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise RunError(
            f"{folder} cannot be made or opened ({error.strerror}). Choose another "
            f"--workdir."
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise RunError(
            f"Another process is at work in {folder}. Wait for its end, stop it, or "
            f"choose another --workdir."
        ) from None
    except OSError:
        return descriptor, False
    return descriptor, True
