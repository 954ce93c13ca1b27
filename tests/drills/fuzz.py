"""Mutation fuzzing of every reader: a right value or one sentence, whatever comes.

    python -m tests.drills.fuzz --inputs=100000 --seed=0 --processes=2

Try number n of seed s is the same on every machine: valid files of a target, one of
them changed at random. It passes if the reader gives what an independent reading gives,
or an error of the package in one clean line that names the file. Anything else is a
failure: another exception, a warning, a value that may not be, a file left behind, ten
seconds without an end, a process that dies. Its files are kept, to be tried again by
`--only=n`.
"""

import argparse
import collections
import concurrent.futures
import contextlib
import faulthandler
import multiprocessing
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from ncf_jax.errors import DataError, NcfError, RunError
from tests.drills.targets import TARGETS, Target

SECONDS = 10  # of one try
CHUNK = 250  # tries a task
LONGEST = 700  # characters of a sentence, besides the folder's name
NASTY = [
    *(b"", b" ", b"0", b"-1", b"1", b"5.5", b"3.7", b"4,5", b"1e5", b"1e400", b"nan"),
    *(b"NaN", b"inf", b"-Infinity", b"null", b"true", b"None", b"NA", b"0x10", b"1_0"),
    *(
        b"9" * 20,
        b"9" * 400,
        b"9007199254740993",
        b"9223372036854775808",
        b"007",
        b"+1",
    ),
    *(b"3.", b".5", b"3.50", b"03.5", b"1.0", b"4.0", b"-0", b"\x00", b"\xff", b"\x1a"),
    *(
        "１".encode(),
        "٣".encode(),
        "é".encode(),
        "é".encode("latin-1"),
        b"\xe2\x80\xa8",
    ),
    *(b'"', b'""', b'"a"', b'"a,b"', b'"a\nb"', b"'", b"\\", b";", b"\t", b"|", b"::"),
    *(
        b"x" * 300,
        b"x" * 140_000,
        b"[" * 100_000,
        b'{"a":' * 5000,
        b"<html>",
        b"#",
        b"=",
    ),
    *(b"\xef\xbb\xbf", b"\r", b"\n", b"\r\n", b"\n\n", b"\x0c", b"\x85", b" 1", b"1 "),
]
WHOLE = [
    *(b"", b"\n", b"\0", b"\xef\xbb\xbf", b"PK\x03\x04", b"\x1f\x8b\x08\x00", b"PAR1"),
    *(
        b"<!DOCTYPE html>\n<html><body>502</body></html>\n",
        b"{}",
        b"[]",
        b"null",
        b'""',
    ),
    *(b"PK\x05\x06" + bytes(18), b"\x80\x04N.", b"\x93NUMPY\x01\x00", b"NaN", b"1"),
]
CELL = re.compile(rb"[^,\t:|\n\r;={}\[\]]+")


def mutate(rng: random.Random, content: bytes) -> bytes:
    """The content after one to three changes of any kind."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        content = rng.choice(CHANGES)(rng, content)
    return content


def _flipped(rng, content):
    if not content:
        return b"\x01"
    at = rng.randrange(len(content))
    return (
        content[:at] + bytes([content[at] ^ 1 << rng.randrange(8)]) + content[at + 1 :]
    )


def _overwritten(rng, content):
    at = rng.randint(0, len(content))
    new = rng.randbytes(rng.randint(1, 4))
    return content[:at] + new + content[at + len(new) :]


def _inserted(rng, content):
    at = rng.randint(0, len(content))
    return content[:at] + rng.choice(NASTY) + content[at:]


def _deleted(rng, content):
    at = rng.randint(0, len(content))
    return content[:at] + content[at + rng.randint(1, 12) :]


def _repeated(rng, content):
    at = rng.randint(0, len(content))
    return content[: at + rng.randint(1, 40)] + content[at:]


def _cut(rng, content):
    return content[: rng.randint(0, len(content))]


def _cell(rng, content):
    """Another cell in place of one: one of the nasty, or one of the file."""
    cells = list(CELL.finditer(content))
    if not cells:
        return rng.choice(NASTY)
    one, other = rng.choice(cells), rng.choice(cells)
    if rng.random() < 0.1:
        new = rng.choice((b"0", b"00", b"-", b" ", b"1")) + one[0]
    else:
        new = other[0] if rng.random() < 0.3 else rng.choice(NASTY)
    return content[: one.start()] + new + content[one.end() :]


def _swapped(rng, content):
    cells = list(CELL.finditer(content))
    if len(cells) < 2:
        return content
    a, b = sorted(rng.sample(cells, 2), key=lambda cell: cell.start())
    between = content[a.end() : b.start()]
    return content[: a.start()] + b[0] + between + a[0] + content[b.end() :]


def _lines(rng, content):
    """A line dropped, doubled, or put elsewhere."""
    lines = content.splitlines(keepends=True)
    if not lines:
        return b"\n"
    line = lines.pop(rng.randrange(len(lines)))
    for _ in range(rng.choice((0, 1, 2, 2))):
        lines.insert(rng.randint(0, len(lines)), line)
    return b"".join(lines)


def _column(rng, content):
    """A column twice, of a file with one of the usual separators."""
    mark = rng.choice((b",", b"\t", b"|", b"::"))
    lines = content.split(b"\n")
    place = rng.randrange(1 + lines[0].count(mark))
    cells = [line.split(mark) for line in lines]
    return b"\n".join(mark.join([*c, *c[place : place + 1]]) for c in cells)


def _written_otherwise(rng, content):
    """The same text, as another program would save it."""
    text = content.decode("latin-1")
    return rng.choice(
        [
            lambda: b"\xef\xbb\xbf" + content,
            lambda: content.replace(b"\n", b"\r\n"),
            lambda: content.replace(b"\n", b"\r"),
            lambda: content.replace(b"\n", b"\n\n"),
            lambda: content.replace(b",", b";"),
            lambda: content.replace(b".", b","),
            lambda: content.replace(b",", b"\t"),
            lambda: content.replace(b"\n", b" \n"),
            lambda: re.sub(rb"([^,\n]+)", rb'"\1"', content),
            lambda: text.encode("utf-16"),
            lambda: text.encode("utf-8"),
            lambda: content.rstrip(b"\n"),
            lambda: content.upper(),
            lambda: content + content,
        ]
    )()


def _other(rng, content):
    """Something else altogether."""
    if rng.random() < 0.5:
        return rng.choice(WHOLE)
    return rng.randbytes(rng.randint(1, 60))


CHANGES = [
    *([_flipped] * 4 + [_overwritten, _inserted, _inserted, _deleted, _repeated, _cut]),
    *([_cell] * 6 + [_swapped, _lines, _lines, _column, _written_otherwise, _other]),
]


class Failure(NamedTuple):
    """A try that did not pass.

    Attributes:
      target: its name.
      seed: of the run, and `number` of the try.
      number: from 0.
      what: went wrong.
      files: that were read.
    """

    target: str
    seed: int
    number: int
    what: str
    files: dict[str, bytes]


class Count(NamedTuple):
    """Tries of a target: how many were read, and how many refused in a sentence."""

    read: int = 0
    refused: int = 0
    failed: int = 0


class HangError(BaseException):
    """A try has no end; nothing that reads catches this."""


def order(targets: Iterable[Target]) -> list[Target]:
    """Each target as often as its share."""
    return [target for target in targets for _ in range(target.share)]


def inputs(target: Target, seed: int, number: int) -> dict[str, bytes]:
    """The files of a try."""
    rng = random.Random(f"{seed}/{number}")
    files = dict(target.make())
    if target.change is not None and rng.random() < 0.7:
        files = target.change(rng, files)
        if rng.random() < 0.8:
            return files
    name = rng.choice(sorted(target.mutated or files))
    return files | {name: mutate(rng, files[name])}


def attempt(target: Target, files: dict[str, bytes], folder: Path) -> tuple[str, str]:
    """What came of it, `read`, `refused` or `failed`, and why.

    Args:
      target: whose reader it is.
      files: to be read.
      folder: empty, and again empty afterwards; has an empty folder `tmp` beside it.
    """
    for name, content in files.items():
        (folder / name).write_bytes(content)
    try:
        with _watched():
            how, value = "read", target.read(folder)
    except NcfError as error:
        how, value = "refused", error
    except HangError:
        return "failed", f"no end after {SECONDS} s"
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        return "failed", "".join(traceback.format_exception(error))
    finally:
        left = _left(folder, files)
        shutil.rmtree(folder)
        folder.mkdir()
    if left:
        return "failed", f"left behind or changed: {left}"
    if how == "refused":
        why = _bad_sentence(value, folder)
        if not why and target.oracle is not None and not target.refuses_more:
            wanted, why = _wanted(target, files)
            if not why:
                why = f"refused what is as documented: {value}\nwanted {wanted!r:.2000}"
            elif why.startswith("no: "):
                why = ""
    else:
        why = _bad_value(target, value, files)
    return ("failed", why) if why else (how, "")


def _left(folder, files):
    """What is not as it was, in the folder and in that of temporary files."""
    found = {path.name for path in folder.iterdir()}
    changed = [n for n in found & set(files) if (folder / n).read_bytes() != files[n]]
    return sorted(found ^ set(files)) + changed + os.listdir(tempfile.gettempdir())


def _bad_sentence(error, folder):
    text = str(error)
    if not text.isprintable():
        return f"not one printable line: {text!r}"
    if len(text.replace(str(folder), "")) >= LONGEST:
        return f"{len(text)} characters: {text}"
    if isinstance(error, DataError | RunError) and str(folder) not in text:
        return f"it names no file: {text}"
    return ""


def _wanted(target, files):
    """What the oracle reads, or why it does not."""
    try:
        return target.oracle(files), ""
    except ValueError as error:
        return None, f"no: {error!r:.300}"
    except Exception:
        return None, f"the oracle failed: {traceback.format_exc()}"


def _bad_value(target, value, files):
    if target.oracle is not None:
        wanted, why = _wanted(target, files)
        if why:
            return f"read what is not as documented ({why}): {value!r:.2000}"
        if value != wanted:
            return f"read {value!r:.2000}\nwanted {wanted!r:.2000}"
    if target.check is not None:
        try:
            target.check(value, files)
        except Exception:
            return f"read {value!r:.2000}\n{traceback.format_exc()}"
    return ""


@contextlib.contextmanager
def _watched():
    """Warnings are errors, what is lost in destructors is one, and time is short."""
    lost = []
    before, sys.unraisablehook = sys.unraisablehook, lost.append
    main = threading.current_thread() is threading.main_thread()

    def stop(signal, frame):
        raise HangError

    if main:
        handler = signal.signal(signal.SIGALRM, stop)
        signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            yield
    finally:
        sys.unraisablehook = before
        if main:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, handler)
    if lost:
        raise RuntimeError(f"lost in a destructor: {lost[0].exc_value!r}")


def home() -> str | None:
    """Where many small files are cheap: in memory, if there is such a place."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def tries(
    numbers: Iterable[int], seed: int, targets: Iterable[Target], scratch: Path
) -> tuple[list[Failure], dict[str, Count]]:
    """Some tries in this process, in a folder that is there and empty."""
    turn = order(targets)
    failures, counts = [], collections.Counter()
    folder, temporary = scratch / "read", scratch / "tmp"
    folder.mkdir()
    temporary.mkdir()
    before, tempfile.tempdir = tempfile.tempdir, str(temporary)
    try:
        for number in numbers:
            target = turn[number % len(turn)]
            files = inputs(target, seed, number)
            (scratch / "number").write_text(str(number))
            how, why = attempt(target, files, folder)
            counts[target.name, how] += 1
            if how == "failed":
                failures.append(Failure(target.name, seed, number, why, files))
                for left in temporary.iterdir():
                    shutil.rmtree(left) if left.is_dir() else left.unlink()
    finally:
        tempfile.tempdir = before
    names = [target.name for target in targets]
    return failures, {n: Count(*(counts[n, h] for h in Count._fields)) for n in names}


def one_task(numbers, seed, names, scratch):
    """Some tries in a process of their own, which ends itself if it hangs in C."""
    scratch = Path(scratch)
    scratch.mkdir()
    faulthandler.dump_traceback_later(60 + len(numbers) * SECONDS, exit=True)
    try:
        return tries(numbers, seed, named(names), scratch)
    finally:
        faulthandler.cancel_dump_traceback_later()
        shutil.rmtree(scratch)


def named(names: Iterable[str]) -> tuple[Target, ...]:
    """The targets of these names; all where there are none."""
    return tuple(t for t in TARGETS if not names or t.name in names)


def run(
    count: int,
    seed: int,
    tell: Callable[[str], None],
    *,
    processes: int = 1,
    targets: tuple[Target, ...] = TARGETS,
    chunk: int = CHUNK,
    task: Callable | None = None,
) -> tuple[list[Failure], dict[str, Count]]:
    """So many tries.

    Args:
      count: of them all.
      seed: of their contents.
      tell: is told how far it is.
      processes: at once; 1: in this one.
      targets: whose readers are tried, of `TARGETS` if there are several processes.
      chunk: tries a task.
      task: what a process does, instead of `one_task`.

    Returns:
      The failures, and the count of each target.
    """
    failures: list[Failure] = []
    counts = dict.fromkeys((t.name for t in targets), Count())
    names = [target.name for target in targets]
    done = 0

    def add(found):
        nonlocal done
        failures.extend(found[0])
        for name, more in found[1].items():
            counts[name] = Count(*map(sum, zip(counts[name], more, strict=True)))
            done += sum(more)
        tell(f"{done:,} of {count:,} inputs tried, {len(failures)} failures")

    ranges = [range(i, min(i + chunk, count)) for i in range(0, count, chunk)]
    with tempfile.TemporaryDirectory(dir=home()) as scratch:
        if processes == 1:
            for numbers in ranges:
                place = Path(scratch) / f"{numbers.start}"
                place.mkdir()
                add(tries(numbers, seed, targets, place))
            return failures, counts
        left = ranges
        while left:
            one = task or one_task
            left = _together(one, left, seed, names, scratch, processes, add, failures)
    return failures, counts


def _together(task, ranges, seed, names, scratch, processes, add, failures):
    """Tasks in several processes; those that are left when one process has died."""
    spawn = multiprocessing.get_context("spawn")
    left = []
    with concurrent.futures.ProcessPoolExecutor(processes, spawn) as pool:
        tasks = {}
        for numbers in ranges:
            place = f"{scratch}/{numbers.start}"
            shutil.rmtree(place, ignore_errors=True)
            tasks[pool.submit(task, numbers, seed, names, place)] = numbers
        for future in concurrent.futures.as_completed(tasks):
            try:
                add(future.result())
            except concurrent.futures.process.BrokenProcessPool:
                left.append(tasks[future])
    again = []
    for numbers in left:  # those of them that had begun say how far they came
        place = Path(scratch) / str(numbers.start)
        number = place / "number"
        # Empty, where another's death ended the process while it wrote.
        if not number.exists() or not (text := number.read_text()):
            again.append(numbers)
            continue
        last = int(text)
        # Of those that ran, all but one were well: each is tried again, a try a task.
        if len(numbers) > 1:
            again += [range(i, i + 1) for i in (last,)]
            again += [range(numbers.start, last), range(last + 1, numbers.stop)]
            continue
        turn = order(named(names))
        target = turn[last % len(turn)]
        files = inputs(target, seed, last)
        what = "the process died or hung"
        failures.append(Failure(target.name, seed, last, what, files))
    return [numbers for numbers in again if len(numbers)]


def keep(failure: Failure, folder: Path) -> Path:
    """Writes what failed, and why, into a folder of its own."""
    name = re.sub(r"\W+", "_", failure.target)
    place = folder / f"{name}-{failure.seed}-{failure.number}"
    place.mkdir(parents=True, exist_ok=True)
    (place / "what.txt").write_text(failure.what, errors="backslashreplace")
    for file, content in failure.files.items():
        (place / file).write_bytes(content)
    return place


def table(counts: dict[str, Count]) -> str:
    """The counts by target, a line each, and their sum."""
    total = Count(*map(sum, zip(*counts.values(), strict=True)))
    lines = [f"{'target':32}{'inputs':>10}{'read':>10}{'refused':>10}{'failed':>10}"]
    for name, c in (*counts.items(), ("all", total)):
        lines.append(f"{name:32}{sum(c):10,}{c.read:10,}{c.refused:10,}{c.failed:10,}")
    return "\n".join(lines)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--only", type=int, help="number of a try that failed")
    parser.add_argument("--target", action="append", default=[], help="by name")
    parser.add_argument("--keep", type=Path, help="folder for files of failures")
    given = parser.parse_args()
    targets = named(given.target)
    began = time.perf_counter()
    if given.only is not None:
        with tempfile.TemporaryDirectory(dir=home()) as scratch:
            numbers = range(given.only, given.only + 1)
            failures, counts = tries(numbers, given.seed, targets, Path(scratch))
    else:
        failures, counts = run(
            given.inputs,
            given.seed,
            lambda line: print(line, end="\r", file=sys.stderr, flush=True),
            processes=given.processes,
            targets=targets,
        )
    folder = given.keep or Path(tempfile.gettempdir()) / "fuzz-failures"
    for failure in failures[:200]:
        print(f"FAILED {keep(failure, folder)}: {failure.what.splitlines()[-1][:300]}")
    print(table(counts))
    tried = sum(map(sum, counts.values()))
    print(f"{tried:,} inputs tried in {time.perf_counter() - began:.0f} s")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
