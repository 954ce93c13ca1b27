"""R1: SIGKILL at any moment, the same command again, and the same bits in the end."""

import hashlib
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ncf_jax.data.download import fetch
from ncf_jax.data.releases import Release, content_sha256
from tests.data.test_download import Server, archive_of, sends
from tests.drills.children import Command, command, kill, moments, run
from tests.drills.tries import Found, attempt
from tests.experiments.test_resume import (
    assert_same_bits,
    assert_same_ending,
    state_of,
)

WORLD = dict(
    dataset="synthetic",
    synthetic_users=40,
    synthetic_items=60,
    synthetic_ratings_per_user=25,
    embedding_dim=8,
)


class Kind(NamedTuple):
    """A command that is killed.

    Attributes:
      name: of the drill.
      what: it is busy with most of the time.
      begin: (folder) -> what must be there before; None for nothing.
      body: (folder) -> the process.
      same: (folder, reference) -> raises where the ends differ.
    """

    name: str
    what: str
    begin: Callable[[Path], None] | None
    body: Callable[[Path], Callable[[], None]]
    same: Callable[[Path, Path], None]


def train(folder: Path, cache: str = "", **changes: Any) -> Command:
    """A training command in `folder/run`."""
    values = dict(**WORLD, workdir=folder / "run", cache_dir=cache) | changes
    return command("train", *(f"--{name}={value}" for name, value in values.items()))


def same_run(folder: Path, reference: Path) -> None:
    """Parameters, moments and steps to the bit; every figure; the very files."""
    one, other = folder / "run", reference / "run"
    assert_same_bits(state_of(one), state_of(other))
    assert_same_ending(one, other)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below, but those that only a killed process can have left."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and not any(x[0] == "." for x in path.relative_to(folder).parts)
    }


def same_files(folder: Path, reference: Path) -> None:
    """The very same files."""
    ours, theirs = contents(folder), contents(reference)
    assert ours.keys() == theirs.keys(), f"{sorted(ours)} for {sorted(theirs)}"
    for name, content in theirs.items():
        assert ours[name] == content or name.endswith(".npz"), f"{name} differs"
        if name.endswith(".npz"):  # a zip, which holds the time it was written
            with np.load(folder / name) as one, np.load(reference / name) as other:
                assert one.files == other.files
                for array in other.files:
                    assert one[array].tobytes() == other[array].tobytes(), name


def trained(folder: Path) -> None:
    """A run whose epochs are done and whose evaluation is not."""
    ended = run(train(folder, epochs=2, batch_size=64), folder / "log")
    assert ended.code == 0, ended.text
    (folder / "run" / "metrics.json").unlink()


def finished(folder: Path) -> None:
    """A finished run."""
    ended = run(train(folder, epochs=2, batch_size=64), folder / "log")
    assert ended.code == 0, ended.text


def evaluate(folder: Path) -> Callable[[], None]:
    """Another reading of a run."""
    return command(
        "evaluate",
        f"--workdir={folder / 'run'}",
        "--metrics=standard",
        "--candidates=catalogue",
    )


def same_reading(folder: Path, reference: Path) -> None:
    """The figures of the other reading."""
    one, other = (x / "run" / "evaluations" for x in (folder, reference))
    found, wanted = (
        {n: c for n, c in contents(x).items() if "timing.json" not in n}
        for x in (one, other)
    )
    assert found == wanted


def prepare(folder: Path) -> Callable[[], None]:
    """A world prepared, cached and exported."""
    world = [f"--{n}={v}" for n, v in WORLD.items()] + ["--synthetic_users=1500"]
    out = [f"--cache_dir={folder / 'cache'}", f"--export_dir={folder / 'exported'}"]
    return command("prepare", *world, *out)


def prepare_shards(folder: Path) -> Callable[[], None]:
    """A world written as shards, unless they are there already, whole."""
    return _Shards(folder)


class _Shards(NamedTuple):
    folder: Path

    def __call__(self) -> None:
        if (self.folder / "shards").exists():
            return  # the command refuses to write over them; `same_files` sees to more
        world = [f"--{n}={v}" for n, v in WORLD.items()] + ["--synthetic_users=1500"]
        shards = f"--shards_dir={self.folder / 'shards'}"
        command("prepare", *world, "--cache_dir=", shards)()


KINDS = (
    Kind(
        "train",
        "epochs of training",
        None,
        lambda folder: train(folder, epochs=5, batch_size=1, synthetic_users=120),
        same_run,
    ),
    Kind(
        "save",
        "saving checkpoints, one each few milliseconds",
        None,
        lambda folder: train(folder, epochs=40, batch_size=5000, keep=2),
        same_run,
    ),
    Kind(
        "stream",
        "streamed epochs, saved at each chunk",
        None,
        lambda folder: train(
            folder,
            epochs=3,
            batch_size=16,
            input="stream",
            chunk_examples=64,
            save_chunks=2,
            table_update="lazy",
            num_seeds=2,
        ),
        same_run,
    ),
    Kind(
        "judge",
        "evaluating and writing a run's files",
        trained,
        lambda folder: train(folder, epochs=2, batch_size=64),
        same_run,
    ),
    Kind("evaluate", "evaluating by another reading", finished, evaluate, same_reading),
    Kind("prepare", "preparing, caching, exporting", None, prepare, same_files),
    Kind("shards", "writing shards", None, prepare_shards, same_files),
)


def drill(kind: Kind, scratch: Path, count: int, seed: int) -> Found:
    """Kills a command `count` times, each time in a folder of its own."""
    reference, prototype = scratch / "reference", scratch / "prototype"
    for folder in (reference, prototype):
        folder.mkdir(parents=True)
    if kind.begin is not None:
        kind.begin(prototype)
        shutil.copytree(prototype, reference, dirs_exist_ok=True)
    run(kind.body(scratch / "warm-up"), scratch / "log")  # compiles
    whole = run(kind.body(reference), scratch / "log")

    def one(number: int, moment: float) -> str | None:
        folder = scratch / f"try-{number}"

        def afresh() -> None:
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(prototype, folder)

        # Two tries at once take longer than the one that was measured.
        after, log = 1.5 * moment * whole.seconds, folder.with_suffix(".log")
        killed = kill(afresh, kind.body(folder), log, after)
        if killed.code != -signal.SIGKILL:
            return f"to be killed, but {killed.code}: {killed.text[-300:]}"
        again = run(kind.body(folder), log)
        if again.code:
            return f"killed, then {again.code}: {again.text[-300:]}"
        kind.same(folder, reference)
        shutil.rmtree(folder)
        return None

    if whole.code:
        return Found("R1", kind.what, 0, (whole.text[-500:],), 0.0, "")
    return attempt(
        "R1",
        f"SIGKILL while {kind.what}",
        f"--only={kind.name}",
        [
            lambda number=number, moment=moment: one(number, moment)
            for number, moment in enumerate(moments(seed, count))
        ],
        at_once=2,
    )


# --- downloads ------------------------------------------------------------------------

MEMBERS = {
    "ratings.csv": b"userId,movieId,rating,timestamp\r\n"
    + b"".join(b"%d,%d,4.0,%d\r\n" % (n, 7 * n % 9973, n) for n in range(60_000)),
    "movies.csv": b"movieId,title,genres\r\n1,Heat,Crime\r\n",
}


class Fetch(NamedTuple):
    """A download, as a process."""

    release: Release
    folder: Path

    def __call__(self) -> None:
        fetch(self.release, self.folder)


@contextmanager
def served() -> Iterator[Release]:
    """A release at a server on loopback."""
    archive = archive_of(MEMBERS)
    hashes = {name: content_sha256(text) for name, text in MEMBERS.items()}
    with Server() as server:
        server.answers["small.zip"] = sends(archive)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield Release(
            name="small",
            date="2000-01-01",
            url=server.url(),
            sha256=hashlib.sha256(archive).hexdigest(),
            members=hashes,
            max_bytes=10**8,
        )
        server.shutdown()
        thread.join()


def download(scratch: Path, count: int, seed: int) -> Found:
    """Kills a download `count` times."""
    scratch.mkdir(parents=True)
    with served() as release:
        whole = run(Fetch(release, scratch / "whole"), scratch / "log")
        if whole.code:
            return Found("R10", "downloads", 0, (whole.text[-500:],), 0.0, "")

        def one(number: int, moment: float) -> str | None:
            folder, log = scratch / f"try-{number}", scratch / f"{number}.log"
            wanted = {f"small/{name}": text for name, text in MEMBERS.items()}
            killed = kill(
                lambda: shutil.rmtree(folder, ignore_errors=True),
                Fetch(release, folder),
                log,
                1.5 * moment * whole.seconds,
            )
            there = contents(folder) if folder.exists() else {}
            if there not in ({}, wanted):
                return f"half a release is visible: {sorted(there)}"
            again = run(Fetch(release, folder), log)
            if killed.code != -signal.SIGKILL or again.code:
                return f"{killed.code}, then {again.code}: {again.text[-300:]}"
            return None if contents(folder) == wanted else "other files than published"

        return attempt(
            "R10",
            "SIGKILL while downloading and unpacking",
            "--only=download",
            [
                lambda number=number, moment=moment: one(number, moment)
                for number, moment in enumerate(moments(seed, count))
            ],
            at_once=2,
        )
