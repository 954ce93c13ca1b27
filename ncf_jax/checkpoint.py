"""State, configuration and vocabulary as one unit, by orbax: whole or invisible.

Below `<workdir>/state/` lie one folder an epoch, with the training state and what is
needed to go on or to judge it (configuration, fingerprints, history), and `dataset/`,
written once, with the prepared data and its split. So a run folder can be evaluated
and asked for recommendations when the files it was made from are gone.

orbax writes to a temporary name and renames, so a process killed at any moment leaves
either the whole checkpoint or none. Nothing is pickled.
"""

import contextlib
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from ncf_jax import integrity, sharded
from ncf_jax.errors import RunError
from ncf_jax.types import Dataset, Split, TrainState, check_dataset, pack, unpack

NOISE = ("Event loop is closed", "Encountered error while reading array")
FORMAT = 1  # raise it when older checkpoints would be misread


def _folder(workdir: Path) -> Path:
    return workdir.resolve() / "state"


def _manager(workdir: Path, keep: int | None = None) -> ocp.CheckpointManager:
    options = ocp.CheckpointManagerOptions(
        max_to_keep=keep,
        create=keep is not None,
        # A state of a few megabytes is written in tens of milliseconds; writing in
        # the background would have to copy it first, since the next epoch reuses
        # its memory.
        enable_async_checkpointing=False,
    )
    return ocp.CheckpointManager(_folder(workdir), options=options)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps a damaged checkpoint, or a full disk, to our one sentence.

    orbax logs its work and its errors. And when the first array fails, it closes its
    event loop while those of the others are under way; each of them then complains from
    a thread or a finalizer of its own, also after the error has reached the caller. So
    when the body fails these filters stay; all else goes through them.
    """
    absl, level = logging.getLogger("absl"), logging.getLogger("absl").level
    before = sys.unraisablehook

    def hook(unraisable: Any) -> None:
        if not str(unraisable.exc_value).startswith(NOISE):
            before(unraisable)

    sys.unraisablehook = hook
    absl.setLevel(logging.CRITICAL)
    try:
        yield
    except BaseException:
        logging.getLogger("asyncio").addFilter(_retrieved)
        raise
    sys.unraisablehook = before
    absl.setLevel(level)


def _retrieved(record: logging.LogRecord) -> bool:
    return "exception was never retrieved" not in record.getMessage()


def latest(workdir: Path) -> int | None:
    """The last epoch whose checkpoint is whole, or None."""
    if not _folder(workdir).is_dir():
        return None
    with _quiet(), _manager(workdir) as manager:
        return manager.latest_step()


def save(
    workdir: Path, epoch: int, state: TrainState, meta: dict[str, Any], *, keep: int
) -> None:
    """Writes the state after `epoch` with JSON-ready `meta`; keeps the last `keep`.

    Raises:
      RunError: it could not be written, for want of space for instance; the earlier
        checkpoints are as they were.
    """
    about = {"format": FORMAT, **meta, "epoch": epoch}
    about["state"] = {"forms": integrity.forms(state), **integrity.digest(state)}
    # Of several processes each writes its own rows, and orbax brings them together.
    stored = sharded.bare(state)
    if sharded.mesh_of(state) is None:
        stored = jax.tree.map(np.asarray, state)
    try:
        about = integrity.seal(about)  # before the arrays: what is no JSON leaves none
        with _quiet(), _manager(workdir, keep) as manager:
            manager.save(
                epoch,
                args=ocp.args.Composite(
                    state=ocp.args.StandardSave(stored),
                    meta=ocp.args.JsonSave(about),
                ),
            )
    except Exception as error:  # tensorstore and orbax raise many kinds
        raise RunError(
            f"The checkpoint of epoch {epoch} could not be written to "
            f"{_folder(workdir)} ({_first_line(error)}). Earlier checkpoints are "
            f"whole: make room and run the same command again."
        ) from error


def load_meta(workdir: Path, epoch: int) -> dict[str, Any]:
    """What `save` was given as `meta`, with `format` and `epoch`.

    Raises:
      RunError: the checkpoint is missing, damaged or of another format.
    """
    meta = _load_about(workdir, epoch)
    del meta["state"]
    return meta


def _load_about(workdir: Path, epoch: int) -> dict[str, Any]:
    try:
        with _quiet(), _manager(workdir) as manager:
            restored = manager.restore(
                epoch, args=ocp.args.Composite(meta=ocp.args.JsonRestore())
            )
        meta = integrity.opened(restored["meta"])
    except Exception as error:
        raise _damaged(workdir, epoch, error) from error
    if meta.get("format") != FORMAT:
        raise RunError(
            f"The checkpoint of epoch {epoch} in {_folder(workdir)} has format "
            f"{meta.get('format')!r}; this version reads format {FORMAT}. Use the "
            f"version named in environment.json."
        )
    if meta.get("epoch") != epoch:
        raise RunError(
            f"The checkpoint of epoch {epoch} in {_folder(workdir)} says that it is of "
            f"epoch {meta.get('epoch')}: it was moved or copied. Remove "
            f"{_folder(workdir) / str(epoch)}, or move it back."
        )
    return meta


def load_state(workdir: Path, epoch: int, like: TrainState) -> TrainState:
    """The state after `epoch`, bit for bit: NumPy arrays, or spread as `like` is.

    The number of devices may be another than that of the run that wrote it.

    Args:
      workdir: the run folder.
      epoch: which, such as `latest(workdir)`.
      like: a state of the same shapes; `jax.eval_shape` of the learner's init does.

    Raises:
      RunError: the checkpoint is missing, damaged, or of a model of other shapes.
    """
    # orbax would cast to the wanted type in silence, so forms are compared first.
    about = _load_about(workdir, epoch)["state"]
    theirs, ours = about["forms"], integrity.forms(like)
    for name in {**ours, **theirs}:
        if theirs.get(name) != ours.get(name):
            raise RunError(
                f"The checkpoint of epoch {epoch} in {_folder(workdir)} is of another "
                f"model: {name} is {theirs.get(name, 'not there')}, wanted "
                f"{ours.get(name, 'none')}."
            )
    try:
        with _quiet(), _manager(workdir) as manager:
            restored = manager.restore(
                epoch,
                args=ocp.args.Composite(state=_wanted(like)),
            )
        state = sharded.dressed(restored["state"], like)
        if sharded.mesh_of(like) is None:
            state = jax.tree.map(np.asarray, state)
        integrity.check(state, about)
        return state
    except Exception as error:
        raise _damaged(workdir, epoch, error) from error


def _wanted(like: TrainState) -> ocp.args.PyTreeRestore:
    """What orbax is to restore, and to which devices."""
    mesh, arrays = sharded.mesh_of(like), sharded.bare(like)
    where: Any = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    if mesh is None:
        places = jax.tree.map(lambda _: where, arrays)
    else:
        places = sharded.bare(sharded.shardings(like, mesh, lead=1))
    # Not strict: how many rows of padding there are differs with the devices.
    each = jax.tree.map(
        lambda x, where: ocp.ArrayRestoreArgs(
            sharding=where, global_shape=x.shape, dtype=x.dtype, strict=False
        ),
        arrays,
        places,
    )
    forms = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), arrays)
    return ocp.args.PyTreeRestore(item=forms, restore_args=each)


def save_dataset(workdir: Path, dataset: Dataset, split: Split) -> None:
    """Writes the data of a run, in place of what an interrupted one left.

    Raises:
      RunError: it could not be written.
    """
    arrays, texts = pack(dataset)
    part = np.zeros(len(dataset.user), np.int8)  # orbax stores no empty array
    part[split.valid], part[split.test] = 1, 2
    arrays["part"] = part
    about = {
        "format": FORMAT,
        **integrity.digest(arrays),
        "dataset": texts,
        "split": {"definition": split.definition, "fingerprint": split.fingerprint},
    }
    try:
        about = integrity.seal(about)
        handler = ocp.CompositeCheckpointHandler()
        with _quiet(), ocp.Checkpointer(handler) as checkpointer:
            checkpointer.save(
                _folder(workdir) / "dataset",
                args=ocp.args.Composite(
                    arrays=ocp.args.StandardSave(arrays),
                    about=ocp.args.JsonSave(about),
                ),
                force=True,
            )
    except Exception as error:
        raise RunError(
            f"The data of the run could not be written to {_folder(workdir)} "
            f"({_first_line(error)}). Make room and run the same command again."
        ) from error


def load_dataset(workdir: Path) -> tuple[Dataset, Split]:
    """The data of a run and its split.

    Raises:
      RunError: it is missing or damaged.
    """
    folder = _folder(workdir) / "dataset"
    try:
        handler = ocp.CompositeCheckpointHandler()
        with _quiet(), ocp.Checkpointer(handler) as checkpointer:
            restored = checkpointer.restore(
                folder,
                args=ocp.args.Composite(
                    arrays=ocp.args.StandardRestore(), about=ocp.args.JsonRestore()
                ),
            )
        about = integrity.opened(restored["about"])
        arrays = {k: np.asarray(v) for k, v in restored["arrays"].items()}
        integrity.check(arrays, about)
        part = arrays.pop("part")
        train, valid, test = (np.flatnonzero(part == which) for which in range(3))
        dataset = check_dataset(unpack(arrays, about["dataset"]))
        return dataset, Split(train, valid, test, **about["split"])
    except Exception as error:
        raise RunError(
            f"{folder} is missing or damaged ({_first_line(error)}). Train again "
            f"into a new --workdir."
        ) from error


def _damaged(workdir: Path, epoch: int, error: Exception) -> RunError:
    with _quiet(), _manager(workdir) as manager:
        others = [step for step in manager.all_steps() if step < epoch]
    earlier = (
        f"remove {_folder(workdir) / str(epoch)} to go on from epoch {max(others)}"
        if others
        else "train again into a new --workdir"
    )
    return RunError(
        f"The checkpoint of epoch {epoch} in {_folder(workdir)} is damaged "
        f"({_first_line(error)}); {earlier}."
    )


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
