"""What a run was made with is told, also without git."""

import json

import jax
import pytest

import ncf_jax
from ncf_jax.environment import environment


class TestEnvironment:
    def test_it_names_versions_device_commit_and_fingerprints(
        self, tiny_dataset, tiny_split
    ):
        found = environment(tiny_dataset, tiny_split)
        json.dumps(found, allow_nan=False)
        assert found["packages"]["jax"] == jax.__version__
        assert found["ncf_jax"] == ncf_jax.__version__
        assert found["device_count"] == jax.device_count()
        assert found["device_platform"] == jax.default_backend()
        assert (found["data"], found["split"]) == (
            tiny_dataset.fingerprint,
            tiny_split.fingerprint,
        )
        assert found["synthetic"] is True
        assert (found["git_commit"] is None) == (found["git_dirty"] is None)

    def test_without_git_the_commit_is_null(
        self, tiny_dataset, tiny_split, monkeypatch, tmp_path
    ):
        monkeypatch.setenv("PATH", str(tmp_path))
        found = environment(tiny_dataset, tiny_split)
        assert (found["git_commit"], found["git_dirty"]) == (None, None)

    def test_a_peers_package_is_named_with_its_version(self, tiny_dataset, tiny_split):
        found = environment(tiny_dataset, tiny_split, ["pytest"])["packages"]
        assert found["pytest"] == pytest.__version__
        assert "pytest" not in environment(tiny_dataset, tiny_split)["packages"]
