"""The command streams rows that do not fit, and goes on inside of an epoch."""

import dataclasses
import json

import jax.numpy as jnp
import numpy as np
import pytest

from experiments import source
from experiments import train as command
from ncf_jax import checkpoint, prepare, split
from ncf_jax.config import Config
from ncf_jax.errors import NonFiniteLossError
from ncf_jax.streamed import Partway
from ncf_jax.types import TrainState
from tests.conftest import TINY
from tests.test_fitting import NETWORK


def results_of(folder):
    return json.loads((folder / "metrics.json").read_text())


def config_of(folder, **options):
    network = {**NETWORK, "epochs": 2}
    return Config(**{**TINY, **network, "workdir": str(folder), **options})


def test_rows_are_streamed_where_they_do_not_fit(capsys):
    config = Config(**TINY)
    dataset = prepare(config)
    parts = split(dataset, config)
    assert not source.streams(config, dataset, parts, None)
    small = dataclasses.replace(config, device_gib=1e-6)
    assert source.streams(small, dataset, parts, None)
    assert "training rows are streamed" in capsys.readouterr().out
    for how, answer in (("stream", True), ("device", False)):
        told = dataclasses.replace(small, input=how)
        assert source.streams(told, dataset, parts, None) is answer


def test_a_streamed_run_has_the_figures_of_any_other(tmp_path):
    command.main(config_of(tmp_path / "one"))
    command.main(config_of(tmp_path / "two", input="stream", chunk_examples=128))
    assert results_of(tmp_path / "one") == results_of(tmp_path / "two")


def test_killed_inside_of_an_epoch_it_goes_on_from_there(tmp_path, monkeypatch, capsys):
    options = dict(input="stream", chunk_examples=128, save_chunks=2)
    command.main(config_of(tmp_path / "whole", **options))
    save, saved = checkpoint.save, []

    class KilledError(Exception):
        pass

    def save_and_die(workdir, number, state, meta, *, keep):
        save(workdir, number, state, meta, keep=keep)
        saved.append(number)
        if meta.get("partway") == 2:
            raise KilledError

    monkeypatch.setattr(checkpoint, "save", save_and_die)
    with pytest.raises(KilledError):
        command.main(config_of(tmp_path / "parts", **options))
    assert saved[-1] == 2 * 2**32 + 2
    monkeypatch.setattr(checkpoint, "save", save)
    capsys.readouterr()
    command.main(config_of(tmp_path / "parts", **options))
    assert "going on in epoch 2, after" in capsys.readouterr().out
    assert results_of(tmp_path / "whole") == results_of(tmp_path / "parts")


@pytest.mark.parametrize("value", [1.0, np.nan])
def test_inside_of_an_epoch_nothing_is_kept_that_is_not_finite(
    tmp_path, monkeypatch, value
):
    config = config_of(tmp_path, save_chunks=1, seed=3)
    dataset = prepare(config)
    kept = []
    monkeypatch.setattr(checkpoint, "save", lambda *told, keep: kept.append(told[1]))
    _, train = source.streamed(
        config,
        dataset,
        split(dataset, config),
        dataset.features,
        tmp_path,
        None,
        TrainState(0, {}, ()),
        dict,
    )
    state = TrainState(jnp.ones(2, jnp.int32), {"x": jnp.array([[1.0], [value]])}, ())
    far = Partway(1, 1, np.zeros(2))
    if value == 1.0:
        train.on_chunk(2, far, state)
        assert kept == [2 * 2**32 + 1]
    else:
        with pytest.raises(NonFiniteLossError, match=r"seed 4 .* is now params/x"):
            train.on_chunk(2, far, state)
        assert not kept
