"""The drills see what they are there to see, and their table is of all of them."""

import time
from pathlib import Path
from typing import NamedTuple

import pytest

from ncf_jax import integrity
from tests.conftest import ROOT
from tests.drills import __main__ as command
from tests.drills import children, crashes, damage, promises, table
from tests.drills.tries import Found, attempt


class Careless(NamedTuple):
    """A program that takes a file that is there for a whole one."""

    folder: Path

    def __call__(self):
        self.folder.mkdir(exist_ok=True)
        path = self.folder / "data"
        if not path.exists():
            with path.open("w") as file:
                for _ in range(40):
                    file.write("row\n")
                    file.flush()
                    time.sleep(0.05)


class Careful(NamedTuple):
    """The same, with a name of its own for what is not whole."""

    folder: Path

    def __call__(self):
        self.folder.mkdir(exist_ok=True)
        partial = self.folder / ".partial"
        with partial.open("w") as file:
            for _ in range(40):
                file.write("row\n")
                file.flush()
                time.sleep(0.05)
        partial.rename(self.folder / "data")


@pytest.mark.parametrize(("body", "whole"), [(Careless, False), (Careful, True)])
def test_a_kill_that_does_harm_is_seen(tmp_path, body, whole):
    children.begin()
    kind = crashes.Kind("test", "writing rows", None, body, crashes.same_files)
    found = crashes.drill(kind, tmp_path / "drill", 4, 0)
    assert found.tries == 4
    assert (len(found.failures) == 0) == whole, found.failures


def another_seed(path, rng):
    """What is written is still JSON, and says something else."""
    content = path.read_bytes()
    path.write_bytes(content.replace(b'"seed": 0', b'"seed": 1'))


@pytest.mark.parametrize("hashed", [False, True])
def test_damage_that_goes_unnoticed_is_seen(tmp_path, monkeypatch, hashed):
    children.begin()
    monkeypatch.setattr(damage, "DAMAGES", (another_seed,))
    if not hashed:
        monkeypatch.setattr(integrity, "check", lambda state, about: None)
        monkeypatch.setattr(integrity, "opened", lambda about: about)
    found = damage.drill(tmp_path / "drill", 1, 0)
    assert found.tries > 10
    assert any("unnoticed" in text for text in found.failures) == (not hashed)


def test_a_try_that_raises_is_a_failure_and_the_others_go_on():
    def raises():
        raise KeyError("lost")

    found = attempt("R1", "x", "y", [lambda: None, raises, lambda: "wrong"])
    assert found.tries == 3
    assert found.failures == ("try 1: KeyError: 'lost'", "try 2: wrong")


def test_moments_are_spread_over_the_whole_time():
    found = sorted(children.moments(0, 10))
    assert [int(10 * moment) for moment in found] == list(range(10))
    assert children.moments(0, 10) != children.moments(1, 10)


class TestTable:
    def test_new_rows_take_the_place_of_old_ones(self):
        page = f"a\n{table.BEGIN}\n{table.END}\nb\n"
        first = Found("R2", "x", 1_000, (), 1.0, "--only=x")
        other = Found("R1", "y", 5, ("bad",), 1.0, "pytest tests/y.py")
        page = table.written(page, [first, other])
        page = table.written(page, [first._replace(tries=2_000)])
        assert page.startswith("a\n")
        assert page.endswith(f"{table.END}\nb\n")
        assert table.rows(page) == [
            "| R1 | y | 5 | 1 | `python -m pytest tests/y.py` |",
            "| R2 | x | 2,000 | 0 | `python -m tests.drills --long --only=x` |",
        ]

    def test_the_page_shows_tries_without_a_failure(self):
        found = table.rows(table.PAGE.read_text())
        assert found
        for line in found:
            tries, failures = (cell.strip() for cell in line.split("|")[3:5])
            assert int(tries.replace(",", "")) > 0, line
            assert failures == "0", line

    def test_the_page_shows_every_drill_and_every_promise(self):
        text = table.PAGE.read_text()
        numbers = {promise.number for promise in promises.PROMISES}
        for name in command.DRILLS.keys() - numbers - {"oldest"}:
            assert f"--only={name}`" in text, name
        found = {line.split("|")[1].strip() for line in table.rows(text)}
        assert found == {f"R{number}" for number in range(1, 18)}

    def test_processes_were_killed_at_least_two_hundred_times(self):
        lines = [x for x in table.rows(table.PAGE.read_text()) if "SIGKILL" in x]
        assert sum(int(line.split("|")[3].replace(",", "")) for line in lines) >= 200

    def test_each_row_of_the_page_can_be_repeated(self):
        for line in table.rows(table.PAGE.read_text()):
            if "--only=" in line:
                name = line.partition("--only=")[2].partition("`")[0]
                assert name in command.DRILLS, line


def test_every_test_of_a_promise_exists():
    for promise in promises.PROMISES:
        assert promise.tests
        for test in promise.tests:
            assert (ROOT / test.partition("::")[0]).exists(), test
