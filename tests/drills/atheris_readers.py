"""The readers under a fuzzer that is led by coverage: atheris, as a longer job.

    pip install -e '.[test,fuzz]'
    python -m tests.drills.atheris_readers --target="own, csv" -max_total_time=300

One target a run (`--target=` lists them), judged as `tests.drills.fuzz` judges. Flags
of one dash are libFuzzer's. The first byte of an input says which of the target's files
the rest replaces. What fails ends the run, and its input is kept as `crash-…`, which
is tried again when its name is given.
"""

import random
import subprocess
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["ncf_jax.data", "experiments.search"]):
    from tests.drills import fuzz


def files_of(target: fuzz.Target, data: bytes) -> dict[str, bytes]:
    """The files that an input stands for."""
    files = dict(target.make())
    names = sorted(target.mutated or files)
    number = data[0] if data else 0
    return files | {names[number % len(names)]: data[1:]}


def seeds(target: fuzz.Target, folder: Path) -> None:
    """Inputs to begin with: each valid file, and some changes of it."""
    rng = random.Random(0)
    for number, name in enumerate(sorted(target.mutated or target.make())):
        content = target.make()[name]
        found = [content, *(fuzz.mutate(rng, content) for _ in range(20))]
        for count, each in enumerate(found):
            (folder / f"{number}-{count}").write_bytes(bytes([number]) + each)


def fuzzed(target: fuzz.Target, words: list[str], scratch: Path) -> None:
    """Fuzzes a target in a folder that is there and empty; the process ends in it."""
    folder, temporary = scratch / "read", scratch / "tmp"
    corpus = scratch / "corpus"
    for each in (folder, temporary, corpus):
        each.mkdir()
    seeds(target, corpus)
    tempfile.tempdir = str(temporary)

    def one_input(data: bytes) -> None:
        how, why = fuzz.attempt(target, files_of(target, data), folder)
        if how == "failed":
            raise AssertionError(why)

    # The alarm is ours: each try has seconds, and one without an end is a failure.
    begin = [sys.argv[0], *words, "-handle_alrm=0"]
    if all(word.startswith("-") for word in words):
        begin.append(str(corpus))
    atheris.Setup(begin, one_input, enable_python_coverage=True)
    atheris.Fuzz()


def main() -> int:
    """Fuzzes the target that is named, in a process that leaves nothing behind."""
    given = dict(x[2:].split("=", 1) for x in sys.argv[1:] if x.startswith("--"))
    words = [x for x in sys.argv[1:] if not x.startswith("--")]
    found = [target for target in fuzz.TARGETS if target.name == given.get("target")]
    if not found:
        names = "\n  ".join(target.name for target in fuzz.TARGETS)
        sys.exit(f"--target= wants one of\n  {names}")
    if "scratch" in given:
        fuzzed(found[0], words, Path(given["scratch"]))
    # libFuzzer ends its process at once, so that nobody would clear up after it.
    with tempfile.TemporaryDirectory(dir=fuzz.home()) as scratch:
        module = [sys.executable, "-m", "tests.drills.atheris_readers"]
        return subprocess.call([*module, *sys.argv[1:], f"--scratch={scratch}"])


if __name__ == "__main__":
    sys.exit(main())
