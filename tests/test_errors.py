"""Errors are part of the interface: one base class, one exit code a kind."""

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
