"""Disks that are full or cannot be written, folders in use, odd clocks, SIGTERM.

File systems of a few kilobytes are mounted in a namespace of their own, which needs no
rights of an administrator where Linux lets users have namespaces; where it does not,
it is told that nothing was tried.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.drills.children import begin, kill, moments, run
from tests.drills.crashes import same_run, train
from tests.drills.tries import Found, attempt

OPTIONS = dict(epochs=4, batch_size=64, keep=2)


def _whole(scratch: Path) -> str | None:
    """An uninterrupted run in `scratch/whole`; what went wrong."""
    ended = run(train(scratch / "whole", **OPTIONS), scratch / "log")
    return ended.text[-500:] if ended.code else None


def _sentence(code: int, text: str, wanted: int) -> str | None:
    """Whether a command ended with one sentence and its code."""
    errors = [line for line in text.splitlines() if line.startswith("error: ")]
    if code != wanted or len(errors) != 1 or "Traceback" in text:
        return f"exit code {code} for {wanted}: {text[-500:]}"
    return None


# --- file systems ---------------------------------------------------------------------


def disks(scratch: Path, count: int, seed: int) -> Found:
    """Full disks of many sizes, each then made larger; and one that is read-only."""
    scratch.mkdir(parents=True)
    line = [sys.executable, "-m", "tests.drills.places", str(scratch), str(count)]
    began = time.monotonic()
    what = "a full disk (then room is made), a read-only one"
    found: list[str | None] = []
    if _mounts(scratch):
        inside = _apart(*line, str(seed))
        found = [f"the drill itself failed: {inside.stderr.strip()[-500:]}"]
        if inside.returncode == 0:
            found = json.loads(inside.stdout.splitlines()[-1])
    failures = tuple(f"try {n}: {text}" for n, text in enumerate(found) if text)
    seconds = time.monotonic() - began
    return Found("R12", what, len(found), failures, seconds, "--only=disks")


def _apart(*line: str) -> subprocess.CompletedProcess:
    """Runs a command in a namespace of its own."""
    apart = ["unshare", "--user", "--map-root-user", "--mount"]
    return subprocess.run([*apart, *line], capture_output=True, text=True, check=False)


def _mounts(scratch: Path) -> bool:
    """Whether a file system can be mounted in a namespace here."""
    if shutil.which("unshare") is None:
        return False
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(scratch)]
    return _apart(*mount).returncode == 0


def _inside(scratch: Path, count: int, seed: int) -> list[str | None]:
    """The tries, within a namespace whose mounts nobody else sees."""
    if wrong := _whole(scratch):
        return [wrong]
    state = sum(p.stat().st_size for p in (scratch / "whole").rglob("*"))
    rng = random.Random(seed)
    found = []
    for number in range(count):
        folder = scratch / f"disk-{number}"
        folder.mkdir()
        kib = max(64, int(state / 1024 * rng.uniform(0.05, 0.9)))
        mount = ["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", str(folder)]
        subprocess.run(mount, check=True)
        found.append(_fill(folder, scratch, kib))
        subprocess.run(["umount", str(folder)], check=True)
    return [*found, *_read_only(scratch)]


def _fill(folder: Path, scratch: Path, kib: int) -> str | None:
    log = scratch / "log"
    ended = run(train(folder, **OPTIONS), log)
    if wrong := _sentence(ended.code, ended.text, 4):
        return f"{kib} KiB: {wrong}"
    room = ["mount", "-o", "remount,size=64m", str(folder)]
    subprocess.run(room, check=True)
    again = run(train(folder, **OPTIONS), log)
    if again.code:
        return f"{kib} KiB, then room: {again.text[-500:]}"
    same_run(folder, scratch / "whole")
    return None


def _read_only(scratch: Path) -> list[str | None]:
    """An empty disk, and one with a finished run, that cannot be written."""
    folder, log = scratch / "read-only", scratch / "log"
    folder.mkdir()
    found = []
    for content in ("nothing", "a finished run"):
        mount = ["mount", "-t", "tmpfs", "tmpfs", str(folder)]
        subprocess.run(mount, check=True)
        if content != "nothing":
            shutil.copytree(scratch / "whole" / "run", folder / "run")
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
        ended = run(train(folder, **OPTIONS), log)
        if content == "nothing":
            found.append(_sentence(ended.code, ended.text, 4))
        else:
            fine = ended.code == 0 and "is finished" in ended.text
            found.append(None if fine else f"{ended.code}: {ended.text[-500:]}")
        subprocess.run(["umount", str(folder)], check=True)
    return found


# --- others at work, clocks, SIGTERM --------------------------------------------------


def others(scratch: Path, count: int, seed: int) -> Found:
    """A second run in a folder is refused, and the first is not disturbed."""
    scratch.mkdir(parents=True)
    wrong = _whole(scratch)

    def one(number: int) -> str | None:
        folder = scratch / f"try-{number}"
        folder.mkdir()
        flags = train(folder, **OPTIONS).flags
        line = [sys.executable, "-m", "experiments.train", *flags]
        with (scratch / f"{number}.log").open("w") as out:
            first = subprocess.Popen(line, stdout=out, stderr=out)
        while not (folder / "run").exists() and first.poll() is None:
            time.sleep(0.01)
        time.sleep(random.Random(f"{seed} {number}").uniform(0, 1))
        second = run(train(folder, **OPTIONS), folder.with_suffix(".second"))
        if first.wait():
            return f"the first: {(scratch / f'{number}.log').read_text()[-500:]}"
        same_run(folder, scratch / "whole")
        if second.code == 0 and "is finished" in second.text:
            return None  # it came too late to be refused
        if "Another process is at work" not in second.text:
            return f"the second: {second.text[-500:]}"
        return _sentence(second.code, second.text, 4)

    if wrong:
        return Found("R1", "two runs", 0, (wrong,), 0.0, "")
    tries = [lambda number=number: one(number) for number in range(count)]
    return attempt("R1", "two runs in one folder", "--only=others", tries)


def clocks(scratch: Path, count: int, seed: int) -> Found:
    """A clock that goes backwards, killed and gone on with."""
    scratch.mkdir(parents=True)
    wrong = _whole(scratch)
    whole = run(train(scratch / "timed", **OPTIONS), scratch / "log")

    def one(number: int, moment: float) -> str | None:
        folder = scratch / f"try-{number}"

        def afresh() -> None:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()

        hour = train(folder, **OPTIONS)._replace(clock=3600.0)
        after = moment * whole.seconds
        killed = kill(afresh, hour, folder.with_suffix(".log"), after)
        if killed.code != -signal.SIGKILL:
            return f"to be killed, but {killed.code}: {killed.text[-300:]}"
        year = hour._replace(clock=365 * 86400.0)
        again = run(year, folder.with_suffix(".log"))
        if again.code:
            return again.text[-500:]
        same_run(folder, scratch / "whole")
        return None

    if wrong:
        return Found("R1", "clocks", 0, (wrong,), 0.0, "")
    tries = [
        lambda number=number, moment=moment: one(number, moment)
        for number, moment in enumerate(moments(seed, count))
    ]
    what = "SIGKILL and going on while the clock goes backwards"
    return attempt("R1", what, "--only=clocks", tries, at_once=2)


def terms(scratch: Path, count: int, seed: int) -> Found:
    """SIGTERM at any moment: 143 and a sentence; the run goes on to the same bits."""
    scratch.mkdir(parents=True)
    wrong = _whole(scratch)
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}

    def start(folder: Path) -> subprocess.Popen:
        line = [sys.executable, "-m", "experiments.train"]
        return subprocess.Popen(
            [*line, *train(folder, **OPTIONS).flags],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    began = time.monotonic()
    start(scratch / "timed").communicate()
    seconds = time.monotonic() - began

    def one(number: int, moment: float) -> str | None:
        folder = scratch / f"try-{number}"
        folder.mkdir()
        process = start(folder)
        said = process.stdout.readline()  # until then it is Python that starts
        time.sleep(moment * max(0.5, seconds - 1.5))
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate()
        if process.returncode == 143:
            if wrong := _sentence(143, err, 143):
                return wrong
        elif process.returncode or "written to" not in said + out:
            return f"exit code {process.returncode}: {err[-500:]}"
        again = run(train(folder, **OPTIONS), folder.with_suffix(".log"))
        if again.code:
            return again.text[-500:]
        same_run(folder, scratch / "whole")
        return None

    if wrong:
        return Found("R1", "SIGTERM", 0, (wrong,), 0.0, "")
    tries: list[Callable[[], str | None]] = [
        lambda number=number, moment=moment: one(number, moment)
        for number, moment in enumerate(moments(seed, count))
    ]
    return attempt("R1", "SIGTERM at any moment", "--only=terms", tries, at_once=2)


if __name__ == "__main__":
    begin()
    scratch, count, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    print(json.dumps(_inside(scratch, count, seed)))
