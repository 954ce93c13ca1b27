"""The command streams rows that do not fit, and goes on inside of an epoch."""

import dataclasses
import json

import pytest

from experiments import source
from experiments import train as command
from ncf_jax import checkpoint, prepare, split
from ncf_jax.config import Config
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
