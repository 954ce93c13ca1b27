"""Meshes by name: what is meant, and what is not one."""

import jax
import pytest

from ncf_jax import meshes
from ncf_jax.errors import ConfigError


class TestMesh:
    def test_a_mesh_is_named_by_its_axes(self):
        assert dict(meshes.make_mesh("table:2,data:3").shape) == {
            "data": 3,
            "table": 2,
        }
        assert meshes.make_mesh("") is None

    @pytest.mark.parametrize(
        "text", ["data", "data:0", "data:-1", "rows:2", "data:2,data:2", "data:x", ","]
    )
    def test_what_is_no_mesh_is_told_with_an_example(self, text):
        with pytest.raises(ConfigError, match=r"--mesh wants .*data:4,table:2; found"):
            meshes.make_mesh(text)

    def test_more_devices_than_there_are(self):
        with pytest.raises(ConfigError, match="wants 9 devices; found 8"):
            meshes.make_mesh("data:9")

    def test_of_several_processes_all_devices_take_part(self, monkeypatch):
        monkeypatch.setattr(jax, "process_count", lambda: 2)
        assert dict(meshes.make_mesh("").shape) == {"data": 1, "table": 8}
        with pytest.raises(ConfigError, match="wants 4 devices; all, of several"):
            meshes.make_mesh("data:4")

    def test_neighbours_in_the_order_of_devices_share_a_group(self):
        found = meshes.make_mesh("data:4,table:2").devices
        assert [d.id for d in found.ravel()] == list(range(8))
