"""What fits on a device: the stated rule, and where the figures come from."""

import jax
import pytest

from ncf_jax import memory
from ncf_jax.memory import GIB, choose, device_bytes, fits


class Device:
    def __init__(self, stats):
        self._stats = stats

    def memory_stats(self):
        return self._stats


@pytest.fixture
def devices(monkeypatch):
    def pretend(*stats):
        found = [Device(each) for each in stats]
        monkeypatch.setattr(jax, "local_devices", lambda: found)
        monkeypatch.setattr(jax, "local_device_count", lambda: len(found))

    return pretend


class TestDeviceBytes:
    def test_what_is_given_is_taken(self, devices):
        devices({"bytes_limit": 7})
        assert device_bytes(1.5) == 1.5 * GIB

    def test_a_device_that_says_its_limit_is_believed(self, devices):
        devices({"bytes_limit": 12345, "bytes_in_use": 1})
        assert device_bytes() == 12345

    @pytest.mark.parametrize("stats", [None, {}, {"bytes_in_use": 1}])
    def test_others_share_what_the_system_has(self, devices, monkeypatch, stats):
        monkeypatch.setattr(memory, "available", lambda: 800)
        devices(stats)
        assert device_bytes() == 800
        devices(*[stats] * 8)
        assert device_bytes() == 100

    def test_this_system_has_some_memory(self):
        assert 2**26 < device_bytes() < 2**50

    def test_a_system_without_meminfo_has_its_pages(self, monkeypatch):
        def no_file(*arguments):
            raise FileNotFoundError

        monkeypatch.setattr("builtins.open", no_file)
        monkeypatch.setattr(memory.os, "sysconf", lambda name: 4096)
        assert memory.available() == 4096**2


class TestRule:
    def test_a_quarter_fits_and_a_byte_more_does_not(self):
        assert fits(GIB, device_gib=4)
        assert not fits(GIB + 1, device_gib=4)

    @pytest.mark.parametrize(
        ("how", "num_bytes", "wanted"),
        [
            ("auto", 0, "device"),
            ("auto", GIB, "device"),
            ("auto", GIB + 1, "stream"),
            ("device", 100 * GIB, "device"),
            ("stream", 1, "stream"),
        ],
    )
    def test_auto_goes_by_the_rule_and_others_say_it(self, how, num_bytes, wanted):
        assert choose(how, num_bytes, device_gib=4) == wanted

    def test_the_choices_are_those_of_the_option(self):
        import dataclasses

        from ncf_jax.config_devices import DeviceConfig

        [field] = [f for f in dataclasses.fields(DeviceConfig) if f.name == "input"]
        found = {choose(how, 1, 1.0) for how in field.metadata["choices"]}
        assert found == {"device", "stream"}
