"""The export command, and a server that has never heard of us.

Held here: an export is told with its sizes and its check; docs/serving.py, in at most
30 lines and where neither ncf_jax nor Flax can be imported, lists the very movies of
experiments.recommend; what is missing, there already, or not the model ends with one
sentence, its exit code, and nothing written; an unfinished run is exported and says so.
"""

import errno
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from ncf_jax import report
from tests.conftest import ROOT

SERVER = ROOT / "docs" / "serving.py"
# Runs the server's file where our package and Flax are not to be had.
ALONE = """
import runpy, sys

class Nothing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("ncf_jax", "flax", "experiments"):
            raise ImportError(f"{name} is not installed here")

sys.meta_path.insert(0, Nothing())
for name in ("ncf_jax", "flax"):
    try:
        __import__(name)
    except ImportError:
        continue
    sys.exit(f"{name} can be imported")
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """Where exports of this file lie."""
    return tmp_path_factory.mktemp("served")


def serve(folder, *arguments, cwd):
    return subprocess.run(
        [sys.executable, "-c", ALONE, str(SERVER), str(folder), *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={k: v for k, v in os.environ.items() if k != "PYTHONWARNINGS"},
    )


def recommended(command, workdir, user_id, k):
    outcome = command(
        "recommend",
        f"--workdir={workdir}",
        f"--user_id={user_id}",
        f"--k={k}",
        "--format=json",
    )
    return json.loads(outcome.out)["movies"]


class TestExport:
    def test_it_says_what_was_written_and_compared(self, two_seeds, command, tmp_path):
        folder = tmp_path / "new"
        outcome = command(
            "export", f"--workdir={two_seeds.workdir}", f"--export_dir={folder}"
        )
        assert (outcome.code, outcome.err) == (0, "")
        about = report.read_json(folder / "export.json")
        assert about["model"] in outcome.out
        assert "after epoch" not in outcome.out
        assert f"{about['check']['predictions']:,} predictions of all 40" in outcome.out
        assert f"written to {folder}" in outcome.out
        for name, file in about["files"].items():
            assert f"{file['bytes'] / 1e3:,.1f}" in outcome.out, name
        assert about["networks"] == 2
        # A function is kilobytes, and what is large is arrays.
        assert about["files"]["all_items.jaxexport"]["bytes"] < 60_000

    def test_nothing_of_the_run_is_changed(self, finished, command, tmp_path, content):
        before = content(finished.workdir)
        command("export", f"--workdir={finished.workdir}", f"--export_dir={tmp_path}")
        assert content(finished.workdir) == before
        assert (tmp_path / "export.json").is_file()

    def test_an_unfinished_run_is_exported_and_told(
        self, tiny, command, interrupt_after, tmp_path
    ):
        interrupt_after(1)
        command("train", *tiny(tmp_path / "run"))
        found = command(
            "export",
            f"--workdir={tmp_path / 'run'}",
            f"--export_dir={tmp_path / 'new'}",
        )
        assert found.code == 0
        assert "after epoch 1 of 3" in found.out
        about = report.read_json(tmp_path / "new" / "export.json")
        assert (about["epoch"], about["epochs"]) == (1, 3)


class TestServing:
    def test_it_is_short_and_imports_no_more_than_jax_and_numpy(self):
        text = SERVER.read_text()
        assert len(text.splitlines()) <= 30
        imports = [
            line.split()[1]
            for line in text.splitlines()
            if line.startswith(("import ", "from "))
        ]
        assert set(imports) == {
            "hashlib",
            "json",
            "sys",
            "pathlib",
            "jax.export",
            "numpy",
        }

    def test_it_lists_what_recommend_lists(self, two_seeds, command, served):
        folder = served / "two"
        command("export", f"--workdir={two_seeds.workdir}", f"--export_dir={folder}")
        user_id = report.read_json(folder / "catalogue.json")["user_ids"][7]
        done = serve(folder, user_id, 1000, cwd=served)
        assert done.returncode == 0, done.stderr
        lines = [line.split("\t") for line in done.stdout.splitlines()]
        wanted = recommended(command, two_seeds.workdir, user_id, 1000)
        assert len(lines) == len(wanted) > 5
        assert [int(movie_id) for _, movie_id, _ in lines] == [
            movie["movieId"] for movie in wanted
        ]
        assert [title for *_, title in lines] == [movie["title"] for movie in wanted]
        np.testing.assert_allclose(
            [float(stars) for stars, *_ in lines],
            [movie["stars"] for movie in wanted],
            rtol=0,
            atol=5e-6,
        )
        # Another user's list is another: the comparison can fail.
        other = report.read_json(folder / "catalogue.json")["user_ids"][8]
        assert recommended(command, two_seeds.workdir, other, 1000) != wanted

    @pytest.mark.parametrize("name", ["catalogue.json", "arrays.npz"])
    def test_an_altered_file_is_not_served(self, two_seeds, command, served, name):
        folder = served / f"altered {name}"
        command("export", f"--workdir={two_seeds.workdir}", f"--export_dir={folder}")
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[:-9] + b"\0" + content[-8:])
        done = serve(folder, 1, 5, cwd=served)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == (
            f"error: {folder / name} is damaged: export the run again\n"
        )

    def test_where_our_package_is_imported_it_would_not_run(self, served):
        program = served / "imports.py"
        program.write_text("import ncf_jax")
        done = subprocess.run(
            [sys.executable, "-c", ALONE, str(program)],
            capture_output=True,
            text=True,
            cwd=ROOT,
        )
        assert "ncf_jax is not installed here" in done.stderr


class TestRefusals:
    def test_there_must_be_a_folder_to_write_to(self, finished, command):
        outcome = command("export", f"--workdir={finished.workdir}")
        assert "--export_dir is required" in outcome.sentence(2)

    def test_there_must_be_a_run(self, command, tmp_path):
        new = f"--export_dir={tmp_path / 'new'}"
        assert "--workdir is required" in command("export", new).sentence(2)
        outcome = command("export", f"--workdir={tmp_path / 'run'}", new)
        assert "is not a run folder" in outcome.sentence(4)
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("what", ["file", "folder"])
    def test_what_is_there_stays(self, finished, command, tmp_path, what, content):
        place = tmp_path / "old"
        if what == "folder":
            place.mkdir()
        (place / "mine" if what == "folder" else place).write_text("mine")
        before = content(tmp_path)
        outcome = command(
            "export", f"--workdir={finished.workdir}", f"--export_dir={place}"
        )
        assert "nothing is overwritten: name a new folder" in outcome.sentence(4)
        assert content(tmp_path) == before

    def test_a_damaged_run_is_not_exported(self, finished, command, tmp_path):
        run = shutil.copytree(finished.workdir, tmp_path / "run")
        for path in (run / "state" / "3" / "state").rglob("d/*"):
            path.write_bytes(b"")
        outcome = command(
            "export", f"--workdir={run}", f"--export_dir={tmp_path / 'new'}"
        )
        assert "is damaged" in outcome.sentence(4)
        assert [path.name for path in tmp_path.iterdir()] == ["run"]

    def test_an_artefact_that_is_not_the_model_is_not_left(
        self, finished, command, tmp_path, monkeypatch
    ):
        write = report.write_npz

        def tampered(path, arrays):
            name = "params/output_layer/bias"
            write(path, {**arrays, name: arrays[name] + np.float32(1e-4)})

        monkeypatch.setattr(report, "write_npz", tampered)
        outcome = command(
            "export", f"--workdir={finished.workdir}", f"--export_dir={tmp_path / 'a'}"
        )
        assert "differs from the model by 0.0005 stars" in outcome.sentence(4)
        assert list(tmp_path.iterdir()) == []

    def test_a_full_disk_is_one_sentence(
        self, finished, command, tmp_path, monkeypatch
    ):
        def full(path, content):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(type(tmp_path), "write_bytes", full)
        outcome = command(
            "export", f"--workdir={finished.workdir}", f"--export_dir={tmp_path / 'a'}"
        )
        assert "Make room" in outcome.sentence(4)
        assert list(tmp_path.iterdir()) == []
