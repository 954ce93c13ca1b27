"""The doctor's self-test, piece by piece; as a whole it is in test_doctor.py.

Held here: losses that do not fall or are not finite fail; other bits fail on a CPU, and
elsewhere unless they are close; a damaged checkpoint must be refused by the error that
is meant for it.
"""

import math

import numpy as np
import pytest

from experiments import selftest
from experiments.checkup import FAILED, OK, WARNING
from ncf_jax import checkpoint
from ncf_jax.errors import RunError
from ncf_jax.types import TrainState


@pytest.mark.parametrize(
    ("losses", "status"),
    [
        ([0.3, 0.2, 0.1], OK),
        ([0.3, 0.4, 0.2], OK),
        ([0.3, 0.2, 0.3], FAILED),
        ([0.3, math.nan, 0.1], FAILED),
        ([math.inf, 0.2, 0.1], FAILED),
        ([0.3, 0.2, math.nan], FAILED),
    ],
)
def test_losses_are_finite_and_fall(losses, status):
    assert selftest.losses(losses).status == status


def state(by=0.0):
    x = np.linspace(0, 1, 5, dtype=np.float32) + np.float32(by)
    return {"step": np.array([3]), "x": x, "y": np.zeros(2)}


class TestResuming:
    @pytest.mark.parametrize("platform", ["cpu", "gpu"])
    def test_the_same_bits_are_well_everywhere(self, platform):
        line = selftest.resuming(state(), state(), platform)
        assert line.status == OK

    @pytest.mark.parametrize(
        ("platform", "by", "status"),
        [
            ("cpu", 1e-6, FAILED),
            ("gpu", 1e-6, WARNING),
            ("gpu", 0.1, FAILED),
            ("gpu", np.nan, FAILED),
        ],
    )
    def test_other_bits_fail_where_they_are_promised(self, platform, by, status):
        line = selftest.resuming(state(), state(by), platform)
        assert line.status == status
        assert "differs from an uninterrupted training by up to" in line.found
        assert ("deterministic_ops" in line.todo) == (status == WARNING)


@pytest.fixture
def stored(tmp_path):
    """A checkpoint that `selftest` could have written, and its state."""
    random = np.random.default_rng(0)
    params = {"x": random.normal(size=(1, 500)).astype(np.float32)}
    written = TrainState(step=np.array([3], np.int32), params=params, opt_state=())
    checkpoint.save(tmp_path, selftest.STOP, written, {}, keep=1)
    return written


class TestDamage:
    def test_a_changed_byte_is_noticed(self, tmp_path, stored):
        before = checkpoint.load_state(tmp_path, selftest.STOP, stored)
        assert selftest.bits(before) == selftest.bits(stored)
        line = selftest.damage(tmp_path, selftest.STOP, stored)
        assert line.status == OK
        with pytest.raises(RunError, match="is damaged"):
            checkpoint.load_state(tmp_path, selftest.STOP, stored)

    def test_one_that_is_not_noticed_fails(self, tmp_path, stored, monkeypatch):
        monkeypatch.setattr(checkpoint, "load_state", lambda *arguments: stored)
        line = selftest.damage(tmp_path, selftest.STOP, stored)
        assert line.status == FAILED
        assert "is not noticed" in line.found

    def test_an_error_that_is_not_meant_for_it_fails(
        self, tmp_path, stored, monkeypatch
    ):
        def crash(*arguments):
            raise KeyError("nothing said")

        monkeypatch.setattr(checkpoint, "load_state", crash)
        line = selftest.damage(tmp_path, selftest.STOP, stored)
        assert line.status == FAILED
        assert "ends in KeyError" in line.found


def test_a_checkpoint_that_was_not_written_ends_the_test(tmp_path, monkeypatch):
    trained = selftest.Training([0.2, 0.1], state(), state())
    monkeypatch.setattr(selftest, "train", lambda *arguments: trained)
    first, last = selftest.test(tmp_path)
    assert first.status == OK
    assert last[:2] == ("checkpoint", FAILED)
    assert "None" in last.found
