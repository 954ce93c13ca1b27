"""The short form of the fuzzing, and that it sees what it is there to see.

Held here: so many inputs of one seed pass; a try is the same whenever it is made; and
readers that are wrong on purpose, each in one way, are reported.
"""

import os
import random
import signal
import tempfile
import time
import warnings
from pathlib import Path

import pytest

from ncf_jax.errors import ConfigError, DataError
from tests.drills import fuzz
from tests.drills.fuzz import TARGETS, Count, Target

INPUTS = 1_500


def quietly(line):
    pass


def test_readers_give_the_right_value_or_one_sentence(tmp_path):
    failures, counts = fuzz.run(INPUTS, 42, quietly)
    for failure in failures:
        fuzz.keep(failure, tmp_path)
    assert not failures, "\n".join(
        f"{f.target}, {f.number}: {f.what}" for f in failures
    )
    assert sum(map(sum, counts.values())) == INPUTS
    # Not everything is refused, nor everything read.
    assert all(count.refused for count in counts.values()), counts
    assert sum(count.read > 0 for count in counts.values()) >= len(TARGETS) - 2, counts


def test_a_try_is_the_same_whenever_it_is_made():
    for number in range(60):
        target = fuzz.order(TARGETS)[number % len(fuzz.order(TARGETS))]
        first = fuzz.inputs(target, 7, number)
        assert first == fuzz.inputs(target, 7, number)
    assert fuzz.inputs(target, 7, 1) != fuzz.inputs(target, 8, 1)


def test_each_change_is_bytes_whatever_it_is_given():
    for change in fuzz.CHANGES:
        for content in (b"", b"\n", b"a,b\n1,2\n", b"\xff\0" * 9, "１,é\n".encode()):
            for seed in range(20):
                found = change(random.Random(seed), content)
                assert isinstance(found, bytes), change


def test_several_processes_try_what_one_does():
    some = fuzz.named(["csvblocks", "dat, ml-1m"])
    alone = fuzz.run(40, 3, quietly, targets=some)
    together = fuzz.run(40, 3, quietly, targets=some, processes=2, chunk=10)
    assert alone == together


def dies_at_13(numbers, seed, names, scratch):
    if 13 in numbers:
        place = Path(scratch)
        place.mkdir()
        (place / "number").write_text("13")
        os.kill(os.getpid(), signal.SIGKILL)
    return fuzz.one_task(numbers, seed, names, scratch)


def test_a_process_that_dies_is_a_failure_of_its_try():
    some = fuzz.named(["csvblocks", "dat, ml-1m"])
    failures, counts = fuzz.run(
        30, 3, quietly, targets=some, processes=2, chunk=10, task=dies_at_13
    )
    assert [(x.number, x.what) for x in failures] == [(13, "the process died or hung")]
    assert failures[0].files == fuzz.inputs(fuzz.order(some)[13 % 4], 3, 13)
    assert sum(map(sum, counts.values())) == 29


# --- controls -------------------------------------------------------------------------


def number_in(folder):
    text = (folder / "a.txt").read_text(encoding="latin-1")
    if not text.isascii() or not text.strip().isdigit():
        raise DataError(f"{folder / 'a.txt'}, line 1: expected a number.")
    return int(text)


def right(files):
    text = files["a.txt"].decode("latin-1")
    if not text.isascii() or not text.strip().isdigit():
        raise ValueError(text)
    return int(text)


def target_of(read):
    return Target("a number", lambda: {"a.txt": b"12345\n"}, read, right)


def wrong_once(folder):
    value = number_in(folder)
    return value + 1 if value % 2 else value


def raises_another(folder):
    return int((folder / "a.txt").read_text(encoding="latin-1"))


def warns(folder):
    warnings.warn("odd", RuntimeWarning, stacklevel=1)
    return number_in(folder)


def leaves_a_file(folder):
    (folder / "b.txt").write_text("left")
    return number_in(folder)


def leaves_a_temporary_file(folder):
    tempfile.mkstemp()
    return number_in(folder)


def changes_its_file(folder):
    try:
        return number_in(folder)
    finally:
        (folder / "a.txt").write_bytes(b"7")


def names_no_file(folder):
    try:
        return number_in(folder)
    except DataError:
        raise DataError("A file is bad.") from None


def says_too_much(folder):
    try:
        return number_in(folder)
    except DataError as error:
        error.args = (f"{error}{'x' * fuzz.LONGEST}",)
        raise


def says_two_lines(folder):
    try:
        return number_in(folder)
    except DataError as error:
        error.args = (f"{error}\nAnd more.",)
        raise


def refuses_all(folder):
    raise DataError(f"{folder / 'a.txt'} is bad.")


def reads_all(folder):
    try:
        return number_in(folder)
    except DataError:
        return 0


def has_no_end(folder):
    while True:
        time.sleep(0.01)


def loses_an_error(folder):
    class Lost:
        def __del__(self):
            raise OSError("in a destructor")

    Lost()
    return number_in(folder)


BROKEN = {
    wrong_once: "wanted",
    raises_another: "ValueError",
    warns: "RuntimeWarning: odd",
    leaves_a_file: "left behind or changed: ['b.txt']",
    leaves_a_temporary_file: "left behind or changed: ['tmp",
    changes_its_file: "left behind or changed: ['a.txt']",
    names_no_file: "it names no file",
    says_too_much: "characters",
    says_two_lines: "not one printable line",
    refuses_all: "refused what is as documented",
    reads_all: "read what is not as documented",
    has_no_end: "no end",
    loses_an_error: "in a destructor",
}


@pytest.mark.parametrize("read", BROKEN, ids=lambda read: read.__name__)
def test_a_broken_reader_is_reported(read, monkeypatch, tmp_path):
    monkeypatch.setattr(fuzz, "SECONDS", 0.1)
    count = 3 if read is has_no_end else 120
    failures, counts = fuzz.run(count, 0, quietly, targets=(target_of(read),))
    assert failures
    assert counts["a number"].failed == len(failures)
    assert sum(counts["a number"]) == count
    for failure in failures:
        assert BROKEN[read] in failure.what, failure.what
    place = fuzz.keep(failures[0], tmp_path)
    assert (place / "a.txt").read_bytes() == failures[0].files["a.txt"]
    assert BROKEN[read] in (place / "what.txt").read_text()


def test_the_control_of_the_controls_passes():
    failures, counts = fuzz.run(120, 0, quietly, targets=(target_of(number_in),))
    assert failures == []
    assert counts["a number"].read
    assert counts["a number"].refused


def test_an_error_of_options_need_not_name_a_file(tmp_path):
    def refuses(folder):
        raise ConfigError("--k wants at least 1; found 0.")

    made = Target("k", lambda: {"k": b"0"}, refuses, check=lambda value, files: None)
    assert fuzz.run(3, 0, quietly, targets=(made,)) == ([], {"k": Count(refused=3)})


def test_the_table_has_the_sum_of_all():
    text = fuzz.table({"a": Count(1, 2, 0), "b": Count(1_000, 0, 3)})
    assert text.splitlines()[-1].split() == ["all", "1,006", "1,001", "2", "3"]


def test_the_command_tells_the_count_and_keeps_what_failed(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(fuzz, "TARGETS", (target_of(raises_another),))
    words = ["fuzz", "--inputs=80", "--processes=1", f"--keep={tmp_path}"]
    monkeypatch.setattr("sys.argv", words)
    assert fuzz.main() == 1
    out = capsys.readouterr().out
    assert "80 inputs tried" in out
    kept = [Path(line.split()[1].rstrip(":")) for line in out.splitlines()[:1]]
    assert (kept[0] / "a.txt").is_file()
    # The same try alone fails as well.
    number = kept[0].name.rpartition("-")[2]
    monkeypatch.setattr("sys.argv", [*words, f"--only={number}"])
    assert fuzz.main() == 1
    assert "1 inputs tried" in capsys.readouterr().out
