"""What the project promises, and the tests that hold it to each promise."""

import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import NamedTuple

from tests.drills.tries import Found


class Promise(NamedTuple):
    """A promise.

    Attributes:
      number: of the promise.
      text: what it says, in a line.
      tests: files or single tests that hold it, for pytest; none where drills alone do.
    """

    number: str
    text: str
    tests: tuple[str, ...]


PROMISES = (
    Promise(
        "R1",
        "Killed at any moment, the same command again ends in the same bits (CPU).",
        ("tests/experiments/test_resume.py", "tests/experiments/test_stopping.py"),
    ),
    Promise(
        "R2",
        "A checkpoint is whole or invisible; a damaged or foreign one is one sentence.",
        (
            "tests/test_checkpoint.py",
            "tests/test_integrity.py",
            "tests/experiments/test_astray.py",
        ),
    ),
    Promise(
        "R3",
        "The same seed gives the same bits on a CPU: restarts, any number of threads.",
        ("tests/test_determinism.py",),
    ),
    Promise(
        "R4",
        "Each metric is its formula to 1e-6 of brute force, scikit-learn, others.",
        (
            "tests/properties/test_ranking_oracles.py",
            "tests/metrics/test_ranking.py",
            "tests/metrics/test_rating.py",
            "tests/metrics/test_conventions.py",
        ),
    ),
    Promise(
        "R5",
        "Metrics obey their laws: bounds, perfect order, permutations, blocks.",
        ("tests/properties/test_metric_laws.py",),
    ),
    Promise(
        "R6",
        "Ties are scored by expectation over their orders, and their share is told.",
        ("tests/metrics/test_ranked.py",),
    ),
    Promise(
        "R7",
        "No leakage: parts are disjoint and complete, no future, no own rating.",
        (
            "tests/data/test_splits.py",
            "tests/test_counting.py",
            "tests/test_recommend.py",
        ),
    ),
    Promise(
        "R8",
        "Users left out of a mean are counted and shown.",
        ("tests/metrics/test_summary.py", "tests/test_results.py"),
    ),
    Promise(
        "R9",
        "Malformed input is one error with file, line and column, or a counted repair.",
        ("tests/data/test_reading.py", "tests/drills/test_corpus.py"),
    ),
    Promise(
        "R10",
        "Downloads are verified and whole; nothing leaves its folder; two may run.",
        ("tests/data/test_download.py", "tests/drills/test_archives.py"),
    ),
    Promise(
        "R11",
        "A wrong flag stops before any work; a run folder alone repeats its run.",
        (
            "tests/experiments/test_flags.py",
            "tests/experiments/test_configs.py",
            "tests/experiments/test_train.py",
        ),
    ),
    Promise(
        "R12",
        "Evaluation takes the memory stated; a full disk or memory is a sentence.",
        ("tests/properties/test_memory_bounds.py",),
    ),
    Promise(
        "R13",
        "Several devices, several processes and bfloat16 agree as stated.",
        (
            "tests/test_fitting.py",
            "tests/test_processes.py",
            "tests/experiments/test_launch.py",
            "tests/properties/test_precision.py",
        ),
    ),
    Promise("R14", "Checkpoints of earlier releases load.", ("tests/test_golden.py",)),
    Promise(
        "R16",
        "Published figures are reached, on real data.",
        ("tests/test_reference.py",),
    ),
    Promise(
        "R17",
        "NaN or infinity stops a run, which says where; the last checkpoint stays.",
        (
            "tests/test_finite.py",
            "tests/experiments/test_resume.py::TestNotFinite",
        ),
    ),
)


def run(promise: Promise, scratch: Path, count: int, seed: int) -> Found:
    """Runs a promise's tests; each that passes is a try, each that is skipped is none.

    `count` and `seed` are those of any drill, and have no part in this one.
    """
    line = [sys.executable, "-m", "pytest", "-q", *promise.tests]
    repeat = f"pytest {' '.join(promise.tests)}"
    return _counted(promise.number, "its tests", line, repeat, scratch)


def oldest(scratch: Path, count: int, seed: int) -> Found:
    """R15: the tests of `.ci/oldest`, in an environment of its own."""
    what = "tests with the lowest versions of all dependencies"
    return _counted("R15", what, [".ci/oldest"], ".ci/oldest", scratch)


def _counted(
    number: str, what: str, line: list[str], repeat: str, scratch: Path
) -> Found:
    """Runs a command that hands its last arguments to pytest, and counts its tests."""
    scratch.mkdir(parents=True, exist_ok=True)
    began, report = time.monotonic(), scratch / "report.xml"
    ended = subprocess.run(
        [*line, f"--junitxml={report}"], capture_output=True, text=True, check=False
    )
    failures: list[str] = []
    tries = 0
    if report.exists():
        for case in ElementTree.parse(report).iter("testcase"):
            kinds = {child.tag for child in case}
            tries += "skipped" not in kinds
            if kinds & {"failure", "error"}:
                failures.append(f"{case.get('classname')}.{case.get('name')}")
    if ended.returncode and not failures:
        failures.append((ended.stdout + ended.stderr).strip()[-500:])
    return Found(number, what, tries, tuple(failures), time.monotonic() - began, repeat)
