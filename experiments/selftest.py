"""The self-test of `experiments.doctor`: train, stop, go on, and damage a checkpoint.

All of it happens in a temporary folder, with the embedded synthetic world.
"""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from experiments.checkup import FAILED, OK, WARNING, Line, said

EPOCHS, STOP = 4, 2
REPORT = "Numbers of this machine cannot be relied on: report it."
BY_XLA = (
    "A device may add in any order: XLA_FLAGS=--xla_gpu_deterministic_ops=true makes "
    "it one."
)


class Training(NamedTuple):
    """What one training left behind.

    Attributes:
      losses: of the training rows, by epoch.
      state: after the last epoch, on the host.
      stored: after epoch `STOP`, on the host; None for one that began later.
    """

    losses: list[float]
    state: Any
    stored: Any


def run() -> Iterator[Line]:
    """The lines of the whole test; some 5 seconds, more where XLA must compile."""
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="ncf_jax-doctor-") as scratch:
        yield from test(Path(scratch))
    seconds = time.perf_counter() - began
    yield Line("time", OK, f"{seconds:.1f} s, with what XLA had to compile")


def test(workdir: Path) -> Iterator[Line]:
    """Trains without a stop and with one, and compares.

    Args:
      workdir: an empty folder.
    """
    import jax

    from ncf_jax import checkpoint

    whole = train(workdir / "whole", EPOCHS)
    yield losses(whole.losses)
    stopped = train(workdir / "stopped", STOP)
    folder = workdir / "stopped"
    done = checkpoint.latest(folder)
    if done != STOP:
        yield Line("checkpoint", FAILED, f"the last is of epoch {done}", REPORT)
        return
    loaded = checkpoint.load_state(folder, done, stopped.state)
    if bits(loaded) == bits(stopped.stored):
        yield Line("checkpoint", OK, "what is read is what was written, bit for bit")
    else:
        found = "what is read is not what was written"
        yield Line("checkpoint", FAILED, found, REPORT)
    resumed = train(workdir / "resumed", EPOCHS, start=(done, loaded))
    yield resuming(whole.state, resumed.state, jax.default_backend())
    yield damage(folder, done, stopped.state)


def train(workdir: Path, epochs: int, start: tuple[int, Any] | None = None) -> Training:
    """Trains the tiny network, with a checkpoint after epoch `STOP`."""
    import jax
    import numpy as np

    import ncf_jax
    from ncf_jax import checkpoint

    config = ncf_jax.Config(
        synthetic_users=40,
        synthetic_items=60,
        synthetic_ratings_per_user=25,
        cache_dir="",
        batch_size=64,
        embedding_dim=8,
        epochs=epochs,
    )
    dataset = ncf_jax.prepare(config)
    split = ncf_jax.split(dataset, config)
    model = ncf_jax.make_model(config, dataset)
    learner = ncf_jax.learner_of(config, model, dataset.features)
    found, stored = [], []

    def on_epoch(report: ncf_jax.EpochReport, state: ncf_jax.TrainState) -> None:
        found.append(float(report.train_loss[0]))
        if report.epoch == STOP:
            stored.append(jax.tree.map(np.array, state))
            checkpoint.save(workdir, STOP, state, {}, keep=1)

    state = ncf_jax.fit(
        learner,
        dataset.interactions(split.train),
        dataset.interactions(split.valid),
        epochs=epochs,
        start=start,
        on_epoch=on_epoch,
    )
    last = jax.tree.map(np.array, state)
    return Training(found, last, stored[0] if stored else None)


def losses(found: list[float]) -> Line:
    """Whether the losses of a training are finite, and the last below the first.

    Example:
      >>> losses([0.5, 0.25]).status, losses([0.5, 0.5]).status
      ('ok', 'FAILED')
    """
    import math

    words = " ".join(f"{loss:.4f}" for loss in found)
    if not all(map(math.isfinite, found)):
        return Line("training", FAILED, f"losses are not finite: {words}", REPORT)
    if not found[-1] < found[0]:
        return Line("training", FAILED, f"losses do not fall: {words}", REPORT)
    return Line("training", OK, f"losses are finite and fall: {words}")


def resuming(whole: Any, resumed: Any, platform: str) -> Line:
    """Whether a training that went on ended as the one that was never stopped.

    Args:
      whole: the state of the latter.
      resumed: the state of the former.
      platform: the same bits are promised on `cpu`; another may add in any order.
    """
    import jax
    import numpy as np

    if bits(whole) == bits(resumed):
        return Line("resuming", OK, "ends as an uninterrupted training, bit for bit")
    pairs = zip(jax.tree.leaves(whole), jax.tree.leaves(resumed), strict=True)
    apart = [np.max(np.abs(np.subtract(a, b, dtype=float))) for a, b in pairs]
    far = np.max(apart)  # NaN if any is, where Python's own may lose it
    found = f"differs from an uninterrupted training by up to {far:.2g}"
    if platform != "cpu" and far < 1e-3:
        return Line("resuming", WARNING, found, BY_XLA)
    return Line("resuming", FAILED, found, REPORT)


def damage(workdir: Path, epoch: int, like: Any) -> Line:
    """Whether a byte of a checkpoint that was changed is noticed."""
    from ncf_jax import checkpoint, report
    from ncf_jax.errors import RunError

    files = [path for path in (workdir / "state").rglob("*") if path.is_file()]
    path = max(files, key=lambda path: path.stat().st_size)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    report.write_bytes(path, bytes(content))
    try:
        checkpoint.load_state(workdir, epoch, like)
    except RunError:
        return Line("damage", OK, "a changed byte of a checkpoint is noticed")
    except Exception as error:
        found = f"a changed byte ends in {said(error)}"
        return Line("damage", FAILED, found, REPORT)
    found = "a changed byte of a checkpoint is not noticed"
    return Line("damage", FAILED, found, REPORT)


def bits(state: Any) -> str:
    """A hash of a state's bits."""
    from ncf_jax import integrity

    return integrity.sha256(state)
