"""Where a run takes place is no part of what it is."""

import dataclasses

import pytest

from experiments import flags
from ncf_jax.config import Config, differences
from ncf_jax.config_devices import DeviceConfig
from ncf_jax.errors import ConfigError

ELSEWHERE = dict(
    mesh="data:4,table:2",
    input="stream",
    device_gib=2.0,
    chunk_examples=4096,
    save_chunks=3,
    coordinator="node1:4321",
    num_processes=4,
    process_id=2,
    heartbeat_seconds=3,
)


def test_every_option_here_is_tried():
    assert set(ELSEWHERE) == {field.name for field in dataclasses.fields(DeviceConfig)}


def test_a_run_may_go_on_elsewhere():
    here, there = Config(), Config(**ELSEWHERE)
    assert differences(here, there) == []
    assert here.run_name() == there.run_name()
    assert differences(here, Config(batch_parts=8)), "that changes the bits"


def test_a_flagfile_repeats_the_devices_and_not_the_process(tmp_path):
    path = tmp_path / "run.flags"
    path.write_text(flags.to_flagfile(Config(**ELSEWHERE)))
    again = flags.parse(Config, [f"--flagfile={path}"])
    assert again.mesh == "data:4,table:2"
    assert again.input == "stream"
    assert (again.coordinator, again.num_processes, again.process_id) == ("", 0, -1)
    assert again.heartbeat_seconds == Config().heartbeat_seconds


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("input", "disk"),
        ("device_gib", -1.0),
        ("chunk_examples", 0),
        ("save_chunks", 0),
        ("num_processes", -1),
        ("process_id", -2),
        ("heartbeat_seconds", 0),
    ],
)
def test_an_impossible_value_is_told_with_its_flag(name, value):
    with pytest.raises(ConfigError, match=f"--{name} wants"):
        DeviceConfig(**{name: value})
