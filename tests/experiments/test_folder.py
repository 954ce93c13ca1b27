"""A run folder before its run: new, to be gone on with, finished, or another's.

Held here: a finished run trains nothing and changes no byte; a folder that is not this
run's is refused in one sentence and left as it was, down to its flags; an option that
changes no figure is no other run; data that changed under a run are refused.
"""

import json

import pytest

import ncf_jax
from experiments import flags, folder
from ncf_jax import checkpoint, report
from ncf_jax.config import Config
from ncf_jax.errors import RunError
from tests.experiments.test_train import FILES, printed_table


def write_flags(workdir, **changes):
    """A folder whose run has begun."""
    workdir.mkdir(exist_ok=True)
    (workdir / "run.flags").write_text(flags.to_flagfile(Config(**changes)))
    return workdir


class TestCheck:
    def test_a_folder_that_is_new_or_empty_is_taken(self, tmp_path):
        folder.check(tmp_path / "new", Config())
        folder.check(tmp_path, Config())
        assert list(tmp_path.iterdir()) == []

    def test_the_folder_of_these_very_options_is_taken(self, tmp_path):
        workdir = write_flags(tmp_path, seed=3, k=(10, 5))
        folder.check(workdir, Config(seed=3, k=(10, 5)))

    def test_one_killed_while_writing_its_first_file_is_taken(self, tmp_path):
        (tmp_path / ".run.flags.partial").write_text("--da")
        folder.check(tmp_path, Config())
        (tmp_path / "other").write_text("")
        with pytest.raises(RunError, match="is not empty and not a run folder"):
            folder.check(tmp_path, Config())

    @pytest.mark.parametrize(
        ("ours", "said"),
        [
            (dict(seed=4), "--seed: 3 there, 4 here"),
            (dict(seed=3, metrics="graded"), "--metrics: standard there, graded here"),
            (dict(seed=3, split="global_time"), "user_random there, global_time here"),
            (dict(seed=3, model="bias"), "--model: ncf there, bias here"),
        ],
    )
    def test_other_options_are_refused_by_name(self, tmp_path, ours, said):
        workdir = write_flags(tmp_path, seed=3)
        with pytest.raises(RunError, match="holds another run") as error:
            folder.check(workdir, Config(**ours))
        assert said in str(error.value)
        assert "\n" not in str(error.value)

    def test_fingerprints_that_were_found_are_no_other_options(self, tmp_path):
        workdir = write_flags(tmp_path, data_fingerprint="0" * 16)
        folder.check(workdir, Config())
        folder.check(workdir, Config(split_fingerprint="1" * 16))

    def test_the_flags_of_another_program_are_refused(self, tmp_path):
        # A peer's folder is not one to train the network into.
        (tmp_path / "run.flags").write_text("--peer=myfm\n--dataset=synthetic\n")
        with pytest.raises(RunError, match="cannot be read as a run's flags") as error:
            folder.check(tmp_path, Config())
        assert "--peer" in str(error.value)


class TestRecalled:
    def test_what_is_not_finished_is_not_recalled(self, tmp_path, capsys):
        assert not folder.recalled(tmp_path)
        assert not folder.recalled(tmp_path / "missing")
        assert capsys.readouterr().out == ""

    def test_a_finished_run_is_printed(self, finished, capsys):
        assert folder.recalled(finished.workdir)
        out = capsys.readouterr().out
        assert printed_table(out) == printed_table(finished.out)
        assert f"{finished.workdir} is finished; nothing was trained." in out

    def test_results_of_the_first_version_are_refused_and_kept(
        self, finished, command, tiny, tmp_path, content
    ):
        path = tmp_path / "run.flags"
        path.write_bytes((finished.workdir / "run.flags").read_bytes())
        old = json.loads((finished.workdir / "metrics.json").read_text())
        del old["format"], old["ks"], old["warnings"]
        (tmp_path / "metrics.json").write_text(json.dumps(old))
        before = content(tmp_path)
        sentence = command("train", *tiny(tmp_path)).sentence(4)
        assert "metrics.json is of another version" in sentence
        assert "Remove it and run the same command again" in sentence
        assert content(tmp_path) == before


class TestFinishedRun:
    def test_a_finished_run_says_so_and_changes_no_byte(
        self, finished, command, tiny, content
    ):
        before = content(finished.workdir)
        stamps = {p: p.stat().st_mtime_ns for p in finished.workdir.rglob("*")}
        outcome = command("train", *tiny(finished.workdir))
        assert outcome.code == 0
        assert "is finished; nothing was trained" in outcome.out
        assert "epoch" not in outcome.out.split("\n\n")[0]
        assert printed_table(outcome.out) == printed_table(finished.out)
        assert content(finished.workdir) == before
        assert {p: p.stat().st_mtime_ns for p in finished.workdir.rglob("*")} == stamps

    @pytest.mark.parametrize(
        "changes",
        [
            {"keep": 1},
            {"data_dir": "elsewhere"},
            {"cache_dir": ""},
            {"tensorboard": "true"},
            {"data_fingerprint": "0" * 16},
        ],
    )
    def test_an_option_that_changes_no_figure_is_the_same_run(
        self, finished, command, tiny, content, changes
    ):
        before = content(finished.workdir)
        outcome = command("train", *tiny(finished.workdir, **changes))
        assert (outcome.code, outcome.err) == (0, "")
        assert "nothing was trained" in outcome.out
        assert content(finished.workdir) == before

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"epochs": 4}, ["--epochs: 3 there, 4 here"]),
            ({"seed": 7}, ["--seed: 0 there, 7 here"]),
            ({"split_seed": 1}, ["--split_seed: 42 there, 1 here"]),
            ({"learning_rate": 0.1}, ["--learning_rate: 0.0005 there, 0.1 here"]),
            (
                {"metrics": "reference", "ties": "pessimistic"},
                [
                    "--metrics: standard there, reference here",
                    "--ties: expected there, pessimistic here",
                ],
            ),
            (
                {"k": 5, "synthetic_users": 50},
                ["--k: 10 there, 5 here", "--synthetic_users: 40 there, 50 here"],
            ),
        ],
    )
    def test_another_configuration_is_refused_with_the_flag_and_both_values(
        self, finished, command, tiny, content, changes, said
    ):
        before = content(finished.workdir)
        sentence = command("train", *tiny(finished.workdir, **changes)).sentence(4)
        for words in [*said, str(finished.workdir), "another run"]:
            assert words in sentence
        assert content(finished.workdir) == before

    def test_a_damaged_metrics_json_is_named_and_kept(
        self, finished, command, tiny, tmp_path, content
    ):
        for name in ("run.flags", "metrics.json"):
            text = (finished.workdir / name).read_bytes()
            (tmp_path / name).write_bytes(text[:-40])
        before = content(tmp_path)
        (tmp_path / "run.flags").write_bytes(
            (finished.workdir / "run.flags").read_bytes()
        )
        sentence = command("train", *tiny(tmp_path)).sentence(4)
        assert "metrics.json" in sentence
        assert "damaged" in sentence
        assert content(tmp_path)["metrics.json"] == before["metrics.json"]


class TestForeignFolder:
    @pytest.fixture
    def refused(self, command, tiny, content, tmp_path):
        def run(workdir):
            before = content(tmp_path)
            sentence = command("train", *tiny(workdir)).sentence(4)
            assert content(tmp_path) == before
            assert str(workdir) in sentence
            return sentence

        return run

    def test_a_folder_with_other_files_is_refused(self, refused, tmp_path):
        (tmp_path / "thesis.tex").write_text("years of work")
        assert "not empty and not a run folder" in refused(tmp_path)

    def test_a_folder_with_a_hidden_file_is_not_empty(self, refused, tmp_path):
        (tmp_path / ".hidden").write_text("")
        assert "not empty" in refused(tmp_path)

    def test_a_file_is_refused(self, refused, tmp_path):
        path = tmp_path / "file"
        path.write_text("not a folder")
        assert "is a file; name a folder" in refused(path)

    def test_a_folder_below_a_file_is_refused(self, refused, tmp_path):
        (tmp_path / "file").write_text("not a folder")
        assert "Not a directory" in refused(tmp_path / "file" / "run")

    @pytest.mark.parametrize("text", ["--no_such_flag=1\n", "--epochs=0\n", "words\n"])
    def test_unreadable_run_flags_are_refused(self, refused, tmp_path, text):
        (tmp_path / "run.flags").write_text(text)
        assert "run.flags cannot be read as a run's flags" in refused(tmp_path)

    def test_an_empty_folder_is_accepted(self, command, tiny, tmp_path):
        # Control; the run itself is small and also covers a closed-form model.
        workdir = tmp_path / "new"
        workdir.mkdir()
        outcome = command(
            "train",
            *[
                f
                for f in tiny(workdir, epochs=1)
                if "batch" not in f and "dim" not in f
            ],
            "--model=global_mean",
        )
        assert (outcome.code, outcome.err) == (0, "")
        assert {path.name for path in workdir.iterdir()} == FILES
        assert ncf_jax.load_finished(workdir).results["name"] == "global_mean"


class TestOtherData:
    def test_a_resumed_run_refuses_data_of_another_fingerprint(
        self, command, tiny, interrupt_after, content, tmp_path, monkeypatch
    ):
        workdir, cache = tmp_path / "run", tmp_path / "cache"
        flags_of_run = tiny(workdir, cache_dir=cache)
        interrupt_after(1)
        assert command("train", *flags_of_run).code == 130
        monkeypatch.undo()
        (ratings,) = cache.glob("*/ratings.csv")
        lines = ratings.read_text().splitlines(keepends=True)
        user, movie, stars, time = lines[1].split(",")
        lines[1] = f"{user},{movie},{0.5 if stars != '0.5' else 5.0},{time}"
        ratings.write_text("".join(lines))
        before = content(workdir)
        sentence = command("train", *flags_of_run).sentence(4)
        assert "was trained on other data" in sentence
        trained_on = checkpoint.load_meta(workdir, 1)["data"]
        assert f"fingerprint {trained_on} there" in sentence
        assert content(workdir) == before

    def test_a_wanted_fingerprint_refuses_before_anything_is_touched(
        self, command, tiny, content, tmp_path
    ):
        workdir = tmp_path / "run"
        refused = command("train", *tiny(workdir, data_fingerprint="0" * 16))
        assert "--data_fingerprint=0000000000000000" in refused.sentence(3)
        refused = command("train", *tiny(workdir, split_fingerprint="1" * 16))
        assert "--split_fingerprint=1111111111111111" in refused.sentence(3)
        assert not workdir.exists()

    def test_untouched_data_goes_on(
        self, command, tiny, interrupt_after, tmp_path, monkeypatch
    ):
        # The control of the test above.
        workdir = tmp_path / "run"
        interrupt_after(2)
        assert command("train", *tiny(workdir)).code == 130
        monkeypatch.undo()
        outcome = command("train", *tiny(workdir))
        assert outcome.code == 0
        assert "going on after epoch 2 of 3" in outcome.out
        assert report.read_results(workdir) is not None
