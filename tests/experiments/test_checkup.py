"""The doctor's probes: what each says of what it finds.

Held here: a probe that raises is one line; paths are without home and user; a folder
is told by what is above it; only variables of the list are read; a device's memory is
told where the backend does.
"""

import getpass
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import jax
import pytest

from experiments import checkup
from experiments.checkup import FAILED, OK, WARNING, Line
from ncf_jax import environment


def statuses(lines):
    return {line.name: line.status for line in lines}


class TestGuarded:
    def test_lines_pass_and_an_exception_is_the_last(self):
        def probe():
            yield Line("a", OK, "found")
            raise ValueError("one\n two")

        first, last = checkup.guarded("probe", probe)
        assert first == Line("a", OK, "found")
        assert last[:3] == ("probe", FAILED, "ValueError: one two")
        assert last.todo

    def test_a_message_is_cut_and_may_be_empty(self):
        assert checkup.said(KeyError()) == "KeyError"
        with pytest.raises(AssertionError) as raised:
            raise AssertionError
        said = checkup.said(raised.value)
        assert said.startswith("AssertionError: test_checkup.py, line ")
        assert len(checkup.said(ValueError("x" * 10_000))) < 400
        assert checkup.said(ValueError("a sentence.")) == "ValueError: a sentence"

    def test_an_interruption_is_no_finding(self):
        def probe():
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            list(checkup.guarded("probe", probe))


class TestImpersonal:
    def test_home_is_a_tilde_wherever_it_stands(self, monkeypatch):
        monkeypatch.setenv("HOME", "/somewhere/ann")
        text = "--a=/somewhere/ann/x:/somewhere/ann, /somewhere/annex"
        assert checkup.impersonal(text) == "--a=~/x:~, /somewhere/annex"

    def test_a_home_that_is_a_link_is_found_by_both_names(self, tmp_path, monkeypatch):
        (tmp_path / "real").mkdir()
        (tmp_path / "link").symlink_to(tmp_path / "real")
        monkeypatch.setenv("HOME", str(tmp_path / "link"))
        text = f"{tmp_path / 'real'}/x {tmp_path / 'link'}/x"
        assert checkup.impersonal(text) == "~/x ~/x"

    def test_the_root_as_home_hides_nothing(self, monkeypatch):
        monkeypatch.setenv("HOME", "/")
        assert checkup.impersonal("/a/b") == "/a/b"

    def test_the_users_name_is_hidden_in_paths_alone(self, monkeypatch):
        monkeypatch.setattr(getpass, "getuser", lambda: "ann")
        text = "/disk/ann/data ann /disk/annex"
        assert checkup.impersonal(text) == "/disk/<user>/data ann /disk/annex"

    def test_a_user_without_a_name_is_no_error(self, monkeypatch):
        def nameless():
            raise KeyError("uid not found")

        monkeypatch.setattr(getpass, "getuser", nameless)
        assert checkup.impersonal("/a/b") == "/a/b"

    def test_what_cannot_be_printed_is_escaped(self):
        assert checkup.impersonal("a\udcff") == "a\\udcff"


class TestFolder:
    def test_a_folder_that_is_not_there_is_judged_by_the_one_above(self, tmp_path):
        (line,) = checkup.folder("--x", str(tmp_path / "a" / "b"), named=True)
        assert line[:2] == ("--x", OK)
        assert "b (not there yet); can be written; " in line.found
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize(("named", "status"), [(True, FAILED), (False, WARNING)])
    def test_a_file_is_no_folder(self, tmp_path, named, status):
        (tmp_path / "file").write_text("kept")
        for path in (tmp_path / "file", tmp_path / "file" / "x"):
            (line,) = checkup.folder("--x", str(path), named=named)
            assert line.status == status
            assert "file is a file" in line.found
            assert "with --x." in line.todo
        assert (tmp_path / "file").read_text() == "kept"

    def test_little_space_is_a_warning(self, tmp_path, monkeypatch):
        monkeypatch.setattr(
            checkup.shutil, "disk_usage", lambda path: SimpleNamespace(free=2**29)
        )
        (line,) = checkup.folder("--x", str(tmp_path), named=True)
        assert line.status == WARNING
        assert "0.5 GiB free" in line.found


class TestCompiled:
    def test_where_it_is_kept_is_a_folder_like_others(self, tmp_path):
        (line,) = checkup.compiled({"JAX_COMPILATION_CACHE_DIR": str(tmp_path)})
        assert line[:2] == ("XLA cache", OK)
        assert "can be written" in line.found

    def test_one_that_cannot_be_written_costs_time_only(self, tmp_path):
        (tmp_path / "file").write_text("")
        (line,) = checkup.compiled({"JAX_COMPILATION_CACHE_DIR": f"{tmp_path}/file/x"})
        assert line.status == WARNING
        assert "with JAX_COMPILATION_CACHE_DIR." in line.todo

    def test_none_and_one_elsewhere(self, tmp_path):
        off = {"JAX_ENABLE_COMPILATION_CACHE": "false"}
        for variables in ({}, off | {"JAX_COMPILATION_CACHE_DIR": str(tmp_path)}):
            (line,) = checkup.compiled(variables)
            assert line.found.startswith("none")
        (line,) = checkup.compiled({"JAX_COMPILATION_CACHE_DIR": "gs://bucket/x"})
        assert line.found == "gs://bucket/x: not on this machine, not checked"


class TestEnvironment:
    def test_only_variables_of_the_list_are_read(self):
        variables = {"XLA_FLAGS": "--xla_x=1", "AWS_SECRET": "s", "JAX_OTHER": "o"}
        assert list(checkup.environment(variables)) == [
            Line("XLA_FLAGS", OK, "--xla_x=1")
        ]
        assert statuses(checkup.environment({"HOME": "/x"})) == {"variables": OK}

    @pytest.mark.parametrize(
        "value", ["--token=x", "https://me:it@host/", "--API-KEY=x", "my_password"]
    )
    def test_a_value_like_a_secret_is_not_shown(self, value):
        (line,) = checkup.environment({"XLA_FLAGS": value})
        assert line.found == "(set, not shown)"

    def test_what_is_set_to_nothing_is_told(self):
        (line,) = checkup.environment({"CUDA_VISIBLE_DEVICES": ""})
        assert line.found == "(empty)"


def device(platform="gpu", stats=None):
    return SimpleNamespace(
        device_kind="Some GPU",
        platform=platform,
        memory_stats=lambda: stats,
        client=SimpleNamespace(platform_version="line 1\nline 2"),
    )


class TestDevices:
    def test_its_memory_is_told_where_the_backend_does(self, monkeypatch):
        stats = {"bytes_limit": 3 * 2**30, "bytes_in_use": 2**29}
        monkeypatch.setattr(jax, "devices", lambda: [device(stats=stats)] * 2)
        (line,) = checkup.devices()
        assert line.found == (
            "2 x Some GPU, platform gpu; memory of the first 3.0 GiB, 0.5 in use; "
            "line 1 line 2"
        )
        assert line.status == OK

    def test_a_device_that_is_not_used_is_a_warning(self, monkeypatch):
        monkeypatch.delenv("JAX_PLATFORMS", raising=False)
        monkeypatch.setattr(jax, "devices", lambda: [device("cpu")])
        for there, status in ((__file__, WARNING), ("/not/there", OK)):
            monkeypatch.setattr(checkup, "NVIDIA", Path(there))
            (line,) = checkup.devices()
            assert line.status == status
        monkeypatch.setattr(checkup, "NVIDIA", Path(__file__))
        monkeypatch.setenv("JAX_PLATFORMS", "cpu")
        (line,) = checkup.devices()
        assert line.status == OK, "it was asked for"

    def test_a_platform_that_was_asked_for_in_vain(self, monkeypatch):
        def none():
            raise RuntimeError("Unknown backend some_gpu")

        monkeypatch.setattr(jax, "devices", none)
        monkeypatch.setenv("JAX_PLATFORMS", "some_gpu")
        (line,) = checkup.devices()
        assert line[:3] == ("device", FAILED, "RuntimeError: Unknown backend some_gpu")
        assert line.todo.startswith("JAX_PLATFORMS=some_gpu: install ")
        monkeypatch.delenv("JAX_PLATFORMS")
        (line,) = checkup.guarded("device", checkup.devices)
        assert line.found == "RuntimeError: Unknown backend some_gpu"


class TestVersions:
    def test_they_are_those_of_environment_json(self):
        assert checkup.PACKAGES == environment.PACKAGES
        lines = {line.name: line.found for line in checkup.versions()}
        for name in environment.PACKAGES.split():
            assert lines[name] == metadata.version(name)

    def test_what_is_missing_fails_and_an_extra_does_not(self, monkeypatch):
        version = metadata.version

        def without(name):
            if name in ("optax", "grain"):
                raise metadata.PackageNotFoundError(name)
            return version(name)

        monkeypatch.setattr(checkup.metadata, "version", without)
        found = {line.name: line for line in checkup.versions()}
        assert found["optax"].status == FAILED
        assert found["extras"].status == OK
        there, _, missing = found["extras"].found.partition("not installed: ")
        assert "grain" in missing
        assert "grain" not in there
        assert [n for n, line in found.items() if line.status != OK] == ["optax"]


class TestHost:
    def test_limits_of_a_container_are_told(self, tmp_path, monkeypatch):
        monkeypatch.setattr(checkup, "CGROUP", tmp_path)
        assert "its group" not in str(list(checkup.host()))
        (tmp_path / "cpu.max").write_text("150000 100000\n")
        (tmp_path / "memory.max").write_text(f"{2**31}\n")
        processors, memory = checkup.host()
        assert processors.found.endswith("; its group may use 1.5")
        assert memory.found.endswith("; its group may use 2.0")
        (tmp_path / "cpu.max").write_text("max 100000\n")
        (tmp_path / "memory.max").write_text("max\n")
        assert "its group" not in str(list(checkup.host()))

    def test_little_memory_is_a_warning(self, monkeypatch):
        from ncf_jax import memory

        monkeypatch.setattr(memory, "available", lambda: 2**29)
        assert statuses(checkup.host())["memory"] == WARNING


def test_the_commit_is_told_with_whether_files_differ(monkeypatch):
    for state, words in (
        (("abc", True), "commit abc; files differ from it"),
        (("abc", False), "commit abc; no file differs from it"),
        ((None, None), "not a checkout, or no git on this machine"),
    ):
        monkeypatch.setattr(environment, "git_state", lambda state=state: state)
        assert list(checkup.commit()) == [Line("git", OK, words)]
