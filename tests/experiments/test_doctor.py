"""The doctor command: what it prints, that it never crashes, and its exit codes.

Held here: a healthy machine is told so and nothing stays behind; the JSON has the same
lines; whatever a probe raises becomes one line, beside all the others; a checkpoint
that is not read as it was written fails the self-test; no secret and no home folder is
printed.
"""

import errno
import json
import os
import re
import socket
import subprocess
import sys
import tempfile

import jax
import numpy as np
import pytest

from experiments import checkup, copies, doctor, selftest
from ncf_jax import checkpoint
from ncf_jax.config import DataConfig
from ncf_jax.xla import THREADS_VARIABLE
from tests.conftest import ROOT

LINE = re.compile(r"(ok|warning|FAILED) +(.*)")
TESTED = ["training", "checkpoint", "resuming", "damage", "time"]
PROBES = [
    (checkup, "versions", "versions"),
    (checkup, "commit", "git"),
    (checkup, "devices", "device"),
    (checkup, "host", "host"),
    (checkup, "environment", "variables"),
    (checkup, "folder", "--data_dir"),
    (checkup, "compiled", "XLA cache"),
    (copies, "data", "releases"),
    (selftest, "run", "self-test"),
]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """A folder of its own as the current one, and no variable of the machine's."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.delenv("NCF_JAX_DATA_DIR", raising=False)
    return here


@pytest.fixture
def quick(monkeypatch):
    """Leaves the self-test out, where something else is tested."""
    monkeypatch.setattr(selftest, "run", list)


def lines_of(outcome):
    """(status, rest) of each line that tells of something."""
    matches = map(LINE.match, outcome.out.splitlines())
    return [match.groups() for match in matches if match]


def line_of(outcome, name):
    """The status of the one line of `name`, and the line."""
    found = [(s, x) for s, x in lines_of(outcome) if x.startswith(f"{name} ")]
    assert len(found) == 1, f"{name}: {outcome.out}"
    return found[0]


def by_name(outcome):
    """The lines of JSON output by name."""
    return {line["name"]: line for line in json.loads(outcome.out)["lines"]}


class TestHealthy:
    def test_all_is_well_and_nothing_stays_behind(
        self, command, elsewhere, tmp_path, monkeypatch
    ):
        scratch = tmp_path / "scratch"
        scratch.mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(scratch))

        def no_network(*arguments):
            raise AssertionError("the network was wanted")

        monkeypatch.setattr(socket.socket, "connect", no_network)
        outcome = command("doctor")
        assert (outcome.code, outcome.err) == (0, "")
        lines = lines_of(outcome)
        assert {status for status, _ in lines} == {"ok"}, outcome.out
        assert [rest.split()[0] for _, rest in lines[-5:]] == TESTED
        assert outcome.out.rstrip().endswith(doctor.NOTE)
        assert f"{len(lines)} lines, 0 warnings, 0 FAILED" in outcome.out
        assert list(elsewhere.iterdir()) == []
        assert list(scratch.iterdir()) == []

    def test_it_names_versions_devices_folders_and_data(self, command, quick):
        outcome = command("doctor", "--workdir=a", "--data_dir=b", "--cache_dir=c")
        for name in (
            *checkup.PACKAGES.split(),
            *("python", "platform", "ncf_jax", "extras", "git"),
            *("device", "processors", "memory", "releases"),
            *("--workdir", "--data_dir", "--cache_dir", "XLA cache"),
        ):
            line_of(outcome, name)
        assert jax.__version__ in line_of(outcome, "jax")[1]
        assert line_of(outcome, "releases")[0] == "warning", "named, but not there"
        assert outcome.code == 0, "a warning is no failure"
        assert "1 warnings, 0 FAILED" in outcome.out

    def test_json_has_the_same_lines_and_nothing_else_is_printed(self, command, quick):
        printed = command("doctor", "--workdir=a")
        outcome = command("doctor", "--workdir=a", "--format=json")
        found = json.loads(outcome.out)
        same = re.compile(r"[\d.]+ (?=available|GiB)")  # what changes by the second

        def steady(lines):
            return [same.sub("# ", line) for line in lines]

        assert steady(doctor.text(_line(each)) for each in found["lines"]) == steady(
            line for line in printed.out.splitlines() if LINE.match(line)
        )
        assert len(found["lines"]) > 15
        assert (found["exit_code"], found["failed"], found["warnings"]) == (0, 0, 0)
        assert found["note"] == doctor.NOTE
        assert {each["part"] for each in found["lines"]} >= {"versions", "folders"}

    def test_what_decides_the_bits_is_told(self, command, quick, monkeypatch):
        monkeypatch.setenv(THREADS_VARIABLE, "3")
        assert line_of(command("doctor"), "PJRT_NPROC")[1].split()[1] == "3"

    def test_without_git_it_says_so(self, command, quick, monkeypatch):
        monkeypatch.setenv("PATH", "")
        outcome = command("doctor")
        assert line_of(outcome, "git")[0] == "ok"
        assert "no git" in line_of(outcome, "git")[1]

    def test_without_a_cache_there_is_no_line_of_it(self, command, quick):
        assert "--cache_dir" not in command("doctor", "--cache_dir=").out

    def test_its_defaults_are_those_of_other_commands(self):
        for name in ("data_dir", "cache_dir"):
            assert getattr(doctor.DoctorOptions(), name) == getattr(DataConfig(), name)

    def test_an_unknown_flag_is_told_in_a_sentence(self, command):
        sentence = command("doctor", "--data_dri=x").sentence(2)
        assert "Did you mean --data_dir?" in sentence


def _line(told):
    return checkup.Line(*(told[name] for name in checkup.Line._fields))


class TestBroken:
    @pytest.mark.parametrize(("module", "probe", "name"), PROBES)
    def test_a_probe_that_raises_is_one_line_beside_the_others(
        self, command, monkeypatch, module, probe, name
    ):
        whole = getattr(module, probe)
        own = {"folder": {"XLA cache"}}.get(probe, set())

        def recording(*arguments, **named):
            for line in whole(*arguments, **named):
                own.add(line.name)
                yield line

        def broken(*arguments, **named):
            raise LookupError("the first\nand the second line")

        monkeypatch.setattr(selftest, "run", list)
        if module is not selftest:
            monkeypatch.setattr(module, probe, recording)
        healthy = command("doctor", "--format=json")
        assert healthy.code == 0
        monkeypatch.setattr(module, probe, broken)
        outcome = command("doctor", "--format=json")
        assert name in outcome.sentence(4)
        found = by_name(outcome)
        assert found[name]["status"] == "FAILED"
        assert found[name]["found"] == "LookupError: the first and the second line"
        assert found[name]["todo"]
        others = set(by_name(healthy)) - own
        assert len(others) > 10
        assert {found[other]["status"] for other in others} == {"ok"}

    def test_a_probe_that_raises_half_way_keeps_what_it_found(
        self, command, monkeypatch, quick
    ):
        def half():
            yield checkup.Line("device", "ok", "one of them")
            raise MemoryError

        monkeypatch.setattr(checkup, "devices", half)
        outcome = command("doctor", "--format=json")
        found = [x for x in json.loads(outcome.out)["lines"] if x["name"] == "device"]
        assert [x["status"] for x in found] == ["ok", "FAILED"]
        assert found[1]["found"].startswith("MemoryError: test_doctor.py, line ")
        assert json.loads(outcome.out)["exit_code"] == outcome.code == 4

    def test_an_installation_without_a_jax_that_imports_is_told(self, tmp_path):
        fake = tmp_path / "fake"
        fake.mkdir()
        (fake / "jax.py").write_text("raise ImportError('no jaxlib for this jax')\n")
        done = subprocess.run(
            [sys.executable, "-m", "experiments.doctor"],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(fake)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 4
        assert "Traceback" not in done.stdout + done.stderr
        assert re.search(
            r"FAILED +device +ImportError: no jaxlib for this jax", done.stdout
        )
        assert re.search(r"ok +flax +\d", done.stdout), "the rest is told all the same"
        assert done.stderr.startswith("error: FAILED: ")


class TestFolders:
    def test_a_named_folder_below_a_file_fails(self, command, quick, tmp_path):
        (tmp_path / "file").write_text("")
        outcome = command("doctor", f"--data_dir={tmp_path}/file/x")
        assert "FAILED: --data_dir" in outcome.sentence(4)
        status, line = line_of(outcome, "--data_dir")
        assert status == "FAILED"
        assert "file is a file. Name a folder that can be written with --data_" in line

    def test_a_default_that_cannot_be_written_is_a_warning(
        self, command, quick, elsewhere, monkeypatch
    ):
        # As in a current folder that is read-only.
        def read_only(**named):
            raise OSError(errno.EROFS, "Read-only file system")

        monkeypatch.setattr(tempfile, "TemporaryFile", read_only)
        outcome = command("doctor")
        assert (outcome.code, outcome.err) == (0, "")
        for name in ("--workdir", "--data_dir", "--cache_dir"):
            status, line = line_of(outcome, name)
            assert status == "warning"
            assert "cannot be written (Read-only file system). Name a folder" in line
        assert "--workdir" in command("doctor", "--workdir=mine").sentence(4)

    def test_the_variable_of_the_data_folder_counts_as_named(
        self, command, quick, tmp_path, monkeypatch
    ):
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("NCF_JAX_DATA_DIR", f"{tmp_path}/file/x")
        assert "FAILED: --data_dir" in command("doctor").sentence(4)


class TestData:
    def test_a_copy_that_a_run_would_refuse_fails(self, command, quick, tmp_path):
        folder = tmp_path / "ml-latest-small"
        folder.mkdir()
        (folder / "ratings.csv").write_text("userId,movieId,rating,timestamp\n")
        outcome = command("doctor", f"--data_dir={tmp_path}")
        assert "FAILED: ml-latest-small" in outcome.sentence(4)
        status, line = line_of(outcome, "ml-latest-small")
        assert status == "FAILED"
        assert "lacks movies.csv, tags.csv. Add it, or remove the folder" in line
        for name in ("movies.csv", "tags.csv"):
            (folder / name).write_text("x\n")
        outcome = command("doctor", f"--data_dir={tmp_path}")
        assert outcome.code == 4
        status, line = line_of(outcome, "ml-latest-small")
        assert status == "FAILED"
        assert "another content than published: ratings.csv, movies.csv, tags" in line

    def test_the_published_release_is_told_as_such(self, command, quick, real_data_dir):
        outcome = command("doctor", f"--data_dir={real_data_dir}")
        status, line = line_of(outcome, "ml-latest-small")
        assert status == "ok"
        assert "as published: ratings.csv, movies.csv, tags.csv" in line


class TestSelfTest:
    def test_altered_bits_of_a_checkpoint_fail_it(self, command, monkeypatch):
        load = checkpoint.load_state

        def altered(*arguments):
            # The smallest change there is, of one number.
            leaves, form = jax.tree.flatten(load(*arguments))
            at = next(n for n, x in enumerate(leaves) if x.dtype == np.float32)
            leaves[at] = leaves[at].copy()
            first = leaves[at].reshape(-1)[:1]
            first[:] = np.nextafter(first, np.float32(np.inf))
            return jax.tree.unflatten(form, leaves)

        monkeypatch.setattr(checkpoint, "load_state", altered)
        outcome = command("doctor")
        sentence = outcome.sentence(4)
        assert "FAILED: checkpoint, resuming." in sentence
        assert line_of(outcome, "training")[0] == "ok"
        assert (
            "what is read is not what was written" in line_of(outcome, "checkpoint")[1]
        )

    def test_a_reader_that_trusts_the_bytes_fails_it(self, command, monkeypatch):
        stored = {}
        load = checkpoint.load_state

        def trusting(workdir, epoch, like):
            if epoch not in stored:
                stored[epoch] = load(workdir, epoch, like)
            return stored[epoch]

        monkeypatch.setattr(checkpoint, "load_state", trusting)
        outcome = command("doctor")
        assert "FAILED: damage." in outcome.sentence(4)
        assert "is not noticed" in line_of(outcome, "damage")[1]

    def test_a_full_disk_is_one_line(self, command, monkeypatch):
        def full(*arguments, **named):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(tempfile, "TemporaryDirectory", full)
        outcome = command("doctor")
        assert "FAILED: self-test." in outcome.sentence(4)
        assert "No space left on device" in line_of(outcome, "self-test")[1]


class TestPersonalThings:
    def test_no_home_and_no_secret_is_printed(
        self, command, quick, tmp_path, monkeypatch
    ):
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("GITHUB_TOKEN", "hidden-1")
        monkeypatch.setenv("JAX_OF_MY_OWN", "hidden-2")
        monkeypatch.setenv("XLA_FLAGS", "--api_key=hidden-3")
        monkeypatch.setenv("LIBTPU_INIT_ARGS", "https://me:hidden-4@host/")
        monkeypatch.setenv("JAX_PLATFORMS", "cpu")
        for form in ("table", "json"):
            outcome = command(
                "doctor", f"--data_dir={tmp_path / 'data'}", f"--format={form}"
            )
            assert str(tmp_path) not in outcome.out + outcome.err
            assert "~/data" in outcome.out
            assert "~/here/checkpoints" in outcome.out
            assert "hidden" not in outcome.out
            assert "(set, not shown)" in outcome.out
            assert "JAX_PLATFORMS" in outcome.out
