"""The experiment files: lab notes that run.

Held here: each file parses into a configuration, carries the lines of a lab note and
names itself in its command; the quickstart runs whole in a fresh process, beats the
simple means and stays above the lowest error that is possible.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from experiments import flags
from ncf_jax.config import Config

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "experiments" / "configs").glob("*.flags"))
NOTES = ["Question", "Command", "Expected", "Minutes", "Machine"]


def notes_of(path):
    """The lab note of a flagfile: name of the entry -> text."""
    found, name = {}, None
    for line in path.read_text().splitlines():
        if not line.startswith("#"):
            break
        start = re.match(r"# (\w+) {2,}(.*)", line)
        if start:
            name = start[1]
            found[name] = start[2]
        else:
            assert line.startswith("#   "), f"not a lab note: {line!r}"
            found[name] += " " + line[1:].strip()
    return found


def test_every_experiment_of_the_study_has_a_file():
    assert {path.name for path in FILES} >= {
        "quickstart.flags",
        "ncf_tags.flags",
        "ncf_genres.flags",
        "ncf_ratings.flags",
        "bias.flags",
    }


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
class TestEachFile:
    def test_it_parses_into_a_configuration(self, path):
        config = flags.parse(Config, [f"--flagfile={path}"])
        given = [x for x in path.read_text().splitlines() if not x.startswith("#")]
        assert given
        for line in given:
            name, value = re.fullmatch(r"--(\w+)=(\S+)", line).groups()
            found = getattr(config, name)
            several = isinstance(found, tuple)
            written = ",".join(map(str, found)) if several else str(found)
            assert written == value

    def test_it_is_a_lab_note(self, path):
        notes = notes_of(path)
        assert list(notes) == NOTES
        assert notes["Question"].rstrip(".")
        assert "?" in notes["Question"], "a question asks"
        assert re.search(r"RMSE \d\.\d\d", notes["Expected"]), "a number is expected"
        assert "±" in notes["Expected"] or "no noise" in notes["Expected"]
        assert re.match(r"\d+(\.\d+)?\b", notes["Minutes"])
        assert "CPU" in notes["Machine"]

    def test_its_command_names_the_file_itself(self, path):
        command = notes_of(path)["Command"]
        words = (
            f"python -m experiments.train --flagfile=experiments/configs/{path.name}"
        )
        assert command == words or command.startswith(words + " ")

    def test_it_says_nothing_about_folders_of_a_machine(self, path):
        config = flags.parse(Config, [f"--flagfile={path}"])
        assert (config.workdir, config.cache_dir) == ("", Config().cache_dir)
        assert "--data_dir" not in path.read_text()


def test_the_files_are_different_runs():
    names = [flags.parse(Config, [f"--flagfile={path}"]).run_name() for path in FILES]
    assert len(set(names)) == len(FILES)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("ncf_tags", {}),
        ("ncf_genres", {"tag_dim": 0}),
        ("ncf_ratings", {"genre_dim": 0, "tag_dim": 0}),
        ("bias", {"model": "bias"}),
    ],
)
def test_the_reference_study_is_the_defaults_and_what_its_name_says(name, changes):
    # And is judged by the reference's reading, which is not the default.
    path = ROOT / "experiments" / "configs" / f"{name}.flags"
    parsed = flags.parse(Config, [f"--flagfile={path}"])
    wanted = Config(dataset="ml-latest-small", metrics="reference", **changes)
    assert parsed.identity() == wanted.identity()


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory):
    """The quickstart, whole, as a newcomer runs it."""
    folder = tmp_path_factory.mktemp("quickstart")
    line = [sys.executable, "-m", "experiments.train"]
    line += ["--flagfile=experiments/configs/quickstart.flags"]
    line += [f"--workdir={folder / 'run'}", f"--cache_dir={folder / 'cache'}"]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done, json.loads((folder / "run" / "metrics.json").read_text())


class TestQuickstart:
    def test_it_beats_the_simple_means_and_stays_above_the_floor(self, quickstart):
        found = quickstart[1]
        rmse = found["metrics"]["test/rmse"]["mean"]
        baselines = {
            title: each["test/rmse"]["mean"]
            for title, each in found["baselines"].items()
        }
        assert found["floor_rmse"] < rmse < baselines["Item mean, shrunk"]
        assert rmse < baselines["Global mean"]

    def test_it_finds_what_its_lab_note_expects(self, quickstart):
        note = notes_of(ROOT / "experiments" / "configs" / "quickstart.flags")
        number, noise = re.search(
            r"test RMSE (\d\.\d+) ± (\d\.\d+)", note["Expected"]
        ).groups()
        rmse = quickstart[1]["metrics"]["test/rmse"]["mean"]
        assert abs(rmse - float(number)) <= float(noise)
        floor = float(re.search(r"best possible is (\d\.\d+)", note["Expected"])[1])
        assert abs(quickstart[1]["floor_rmse"] - floor) <= 0.005

    def test_it_is_silent_on_standard_error_and_names_the_data_synthetic(
        self, quickstart
    ):
        done, found = quickstart
        assert done.stderr == ""
        assert found["synthetic"] is True
        assert "SYNTHETIC DATA" in done.stdout
        assert "\x1b" not in done.stdout, "no colour codes in a pipe"

    def test_the_readme_shows_the_table_that_it_prints(self, quickstart):
        def table(text):
            lines = text.split("\nmodel ")[1].split("\n\n")[0].splitlines()[1:]
            cells = [re.split(r"\s{2,}", line.strip()) for line in lines]
            return {
                (label, part): list(map(float, rest)) for label, part, *rest in cells
            }

        printed = table(quickstart[0].stdout)
        shown = table((ROOT / "README.md").read_text())
        assert list(shown) == list(printed)
        for row, figures in printed.items():
            # A version of JAX may move the network by the noise of its lab note.
            np.testing.assert_allclose(shown[row], figures, atol=0.03, err_msg=str(row))
