"""R2: a damaged checkpoint gives one clear sentence or its numbers, never others."""

import dataclasses
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

import ncf_jax
from ncf_jax import checkpoint
from ncf_jax.errors import NcfError
from tests.drills.children import run
from tests.drills.crashes import train
from tests.drills.tries import Found, attempt


def missing(path: Path, rng: random.Random) -> None:
    """The file is gone."""
    path.unlink()


def truncated(path: Path, rng: random.Random) -> None:
    """Its end is gone."""
    path.write_bytes(path.read_bytes()[: rng.randrange(path.stat().st_size)])


def flipped(path: Path, rng: random.Random) -> None:
    """One bit of it is another."""
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(bytes(content))


def overwritten(path: Path, rng: random.Random) -> None:
    """A part of it is of something else."""
    content = bytearray(path.read_bytes())
    at = rng.randrange(len(content))
    part = rng.randbytes(min(64, len(content) - at))
    content[at : at + len(part)] = part
    path.write_bytes(bytes(content))


DAMAGES = (missing, truncated, flipped, overwritten)


def value_of(folder: Path) -> dict[str, bytes]:
    """All that a run folder gives: parameters, options, data and split."""
    found = ncf_jax.load_run(str(folder))
    arrays = {f"params {n}": x for n, x in enumerate(_leaves(found.params))}
    for part in (found.dataset, found.split):
        for field in dataclasses.fields(part):
            arrays[field.name] = getattr(part, field.name)
    arrays |= {"config": repr(found.config), "epoch": str(found.epoch)}
    return {name: _bytes(x) for name, x in arrays.items()}


def _leaves(tree: object) -> list[np.ndarray]:
    import jax

    return [np.asarray(x) for x in jax.tree.leaves(tree)]


def _bytes(x: object) -> bytes:
    if isinstance(x, np.ndarray):
        return str(x.dtype).encode() + x.tobytes()
    arrays = _leaves(x)
    if arrays and all(array.dtype.kind in "fiub" for array in arrays):
        return b"".join(array.tobytes() for array in arrays)
    return repr(x).encode()


def drill(scratch: Path, rounds: int, seed: int) -> Found:
    """Damages each file of a run's state in each way, `rounds` times."""
    scratch.mkdir(parents=True)
    run_folder = scratch / "run"
    done = run(train(scratch, epochs=3, batch_size=64, keep=2), scratch / "log")
    if done.code:
        return Found("R2", "damage", 0, (done.text[-500:],), 0.0, "")
    wanted = value_of(run_folder)
    names = [p.relative_to(run_folder) for p in (run_folder / "state").rglob("*")]
    names = sorted(n for n in names if (run_folder / n).is_file())
    filled = [n for n in names if (run_folder / n).stat().st_size]

    def one(number: int, name: Path, damage: Callable) -> str | None:
        copy = shutil.copytree(run_folder, scratch / f"try-{number}")
        rng = random.Random(f"{seed} {number}")
        damage(copy / name, rng)
        what = f"{damage.__name__} {name}"
        try:
            found = value_of(copy)
        except NcfError as error:
            return _judged(copy, name, error, what)
        finally:
            shutil.rmtree(copy, ignore_errors=True)
        return None if found == wanted else f"{what}: another value, unnoticed"

    def tries() -> Iterator[Callable[[], str | None]]:
        number = 0
        for _ in range(rounds):
            for damage in DAMAGES:
                for name in names if damage is missing else filled:
                    yield lambda a=(number, name, damage): one(*a)
                    number += 1

    what = f"each of {len(names)} files of a run's state missing, cut, altered"
    return attempt("R2", what, "--only=damage", list(tries()))


def _judged(copy: Path, name: Path, error: NcfError, what: str) -> str | None:
    """Whether a refusal is a good one."""
    text = str(error)
    if "\n" in text or len(text) > 900 or error.exit_code != 4:
        return f"{what}: exit code {error.exit_code}, {text}"
    if name.parts[1] == "3":  # the last epoch: the one before is offered, and whole
        if "to go on from epoch 2" not in text:
            return f"{what}: the epoch before is not offered: {text}"
        shutil.rmtree(copy / "state" / "3")
        if checkpoint.latest(copy) != 2 or ncf_jax.load_run(str(copy)).epoch != 2:
            return f"{what}: the epoch before is not whole"
    return None
