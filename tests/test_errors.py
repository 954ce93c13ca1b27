"""Errors are part of the interface: one base class, one exit code a kind."""

import pickle

import pytest

from ncf_jax import errors

KINDS = {
    errors.ConfigError: 2,
    errors.DataError: 3,
    errors.RunError: 4,
    errors.NonFiniteLossError: 5,
}


@pytest.mark.parametrize(("kind", "code"), KINDS.items())
def test_each_kind_has_its_own_exit_code(kind, code):
    assert kind.exit_code == code
    assert f"exit code {code}" in kind.__doc__
    assert issubclass(kind, errors.NcfError)


def test_no_two_kinds_share_a_code_and_none_is_success():
    assert len(set(KINDS.values())) == len(KINDS)
    assert 0 not in KINDS.values()


def test_each_kind_of_the_module_is_in_the_table():
    found = {
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.NcfError)
    }
    assert found - {errors.NcfError} == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_sentence_is_one_printable_line(kind):
    said = str(kind("a\n\x1b[2Jb\u2028\udcff é ✓"))
    assert said == "a\\n\\x1b[2Jb\\u2028\\udcff é ✓"
    assert said.isprintable()


def test_a_long_sentence_keeps_its_beginning_and_its_end():
    text = "".join(f"{n} " for n in range(2_000))
    said = str(errors.DataError(text))
    assert len(said) == errors.LONGEST
    assert said.startswith("0 1 2 3 ")
    assert said.endswith(" 1998 1999 ")
    whole = "x" * errors.LONGEST
    assert str(errors.DataError(whole)) == whole


def test_an_error_survives_being_sent_to_another_process():
    again = pickle.loads(pickle.dumps(errors.RunError("a\nb")))
    assert (type(again), str(again)) == (errors.RunError, "a\\nb")
