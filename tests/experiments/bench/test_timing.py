"""Contestants take turns, in processes of their own group, and nobody is forgotten."""

import pytest

from experiments.bench.timing import Entry, Outcome, compare, ratios

FAKES = "tests.experiments.bench.fakes"


def entry(name, kind="sleeper", group="one", **arguments):
    if kind == "sleeper":
        arguments = {"seconds": 0, "name": name} | arguments
    return Entry(name, f"{FAKES}:{kind}", arguments, group)


def test_turns_are_a_b_a_b(tmp_path):
    log = str(tmp_path / "log")
    entries = [entry(name, group=name, log=log) for name in "AB"]
    outcomes = compare(entries, repeats=3)
    order = [line.split()[0] for line in (tmp_path / "log").read_text().splitlines()]
    assert order == list("ABABAB")
    assert [len(outcome.seconds) for outcome in outcomes] == [3, 3]


def test_a_group_shares_a_process_and_groups_do_not(tmp_path):
    log = str(tmp_path / "log")
    names = {"A": "one", "B": "one", "C": "two"}
    compare([entry(n, group=g, log=log) for n, g in names.items()], repeats=1)
    pids = dict(line.split() for line in (tmp_path / "log").read_text().splitlines())
    assert pids["A"] == pids["B"] != pids["C"]


def test_a_missing_library_leaves_the_others_in():
    said = []
    entries = [entry("here"), entry("gone", kind="missing", group="two")]
    here, gone = compare(entries, repeats=2, say=said.append)
    assert here.missing is None
    assert len(here.seconds) == 2
    assert gone.missing == "no_such_library is not installed."
    assert gone.seconds == []
    assert "gone" in said[0]


def test_one_that_fails_in_its_turn_is_left_out_from_then_on():
    said = []
    entries = [entry("fine"), entry("bad", kind="failing", when="running")]
    fine, bad = compare(entries, repeats=2, say=said.append)
    assert len(fine.seconds) == 2
    assert bad.missing == "ValueError: it went wrong while running"
    assert len(said) == 1


def test_a_process_that_dies_takes_its_group_along_and_no_other():
    entries = [entry("dies", kind="dying"), entry("same"), entry("other", group="two")]
    dies, same, other = compare(entries, repeats=2)
    assert "exit code 7" in dies.missing
    assert "exit code 7" in same.missing
    assert len(other.seconds) == 2


def test_losses_are_kept_turn_by_turn():
    with_loss, without = compare([entry("a", loss=0.5), entry("b")], repeats=2)
    assert with_loss.losses == [0.5, 0.5]
    assert without.losses == []


def test_ratios_are_turn_by_turn():
    a = Outcome("a", [2.0, 9.0, 4.0], [], 0.0, {})
    b = Outcome("b", [1.0, 3.0, 2.0], [], 0.0, {})
    assert ratios(a, b) == [2.0, 3.0, 2.0]
    assert a.median == 4.0


def test_a_drift_that_slows_both_alike_leaves_the_ratio_alone():
    drift = [1.0, 2.0, 4.0]
    a = Outcome("a", [3 * d for d in drift], [], 0.0, {})
    b = Outcome("b", drift, [], 0.0, {})
    assert ratios(a, b) == pytest.approx([3.0] * 3)
