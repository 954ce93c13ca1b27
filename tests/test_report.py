"""What a run writes besides checkpoints, and what is read of it again.

Held here: a file is whole or not there; results, history and arrays come back as they
were; what is damaged, or of another version, is one sentence that names the file and
says what to do.
"""

import csv
import json
import os
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ncf_jax import per_user, report
from ncf_jax.errors import RunError
from ncf_jax.judge import evaluate_scores
from ncf_jax.results import About, history_csv, make_results, metrics_csv
from tests.test_results import HISTORY, guesses

KS = (10, 5)


@pytest.fixture(scope="module")
def judged(tiny_dataset, tiny_split):
    """Evaluations of one seed of guesses."""
    return {
        part: evaluate_scores(
            guesses(tiny_dataset, rows, seeds=1),
            tiny_dataset,
            rows,
            train=tiny_split.train,
            k=KS,
        )
        for part, rows in (("test", tiny_split.test), ("valid", tiny_split.valid))
    }


@pytest.fixture
def results(judged, tiny_dataset, tiny_split):
    about = About("experiments.train", "mine", "A model", seeds=[0], ks=KS)
    baselines = {"A baseline": judged["test"]}
    return make_results(about, tiny_dataset, tiny_split, judged, baselines)


def names_in(folder):
    return {path.name for path in folder.iterdir()}


def one_sentence(error, path):
    """The text of an error: one line that names the file and what to do."""
    text = str(error.value)
    assert "\n" not in text
    assert str(path) in text or (path.name in text and str(path.parent) in text)
    assert any(word in text for word in ("train into a new", "Remove it", "Choose"))
    return text


class TestFiles:
    def test_write_bytes_makes_folders_and_leaves_no_partial_file(self, tmp_path):
        path = tmp_path / "a" / "b" / "file.json"
        report.write_bytes(path, b"one")
        report.write_bytes(path, b"two")
        assert path.read_bytes() == b"two"
        assert [p.name for p in path.parent.iterdir()] == ["file.json"]

    def test_a_write_that_fails_leaves_the_old_file(self, tmp_path):
        path = tmp_path / "file.json"
        report.write_bytes(path, b"old")
        (tmp_path / ".file.json.partial").mkdir()  # where the new one would be written
        with pytest.raises(RunError, match=r"file\.json could not be written"):
            report.write_bytes(path, b"new")
        assert path.read_bytes() == b"old"

    @pytest.mark.parametrize("moment", ["write", "rename"])
    def test_a_full_disk_leaves_the_old_file_and_one_sentence(
        self, tmp_path, monkeypatch, moment
    ):
        path = tmp_path / "file.json"
        report.write_bytes(path, b"old")

        def full(*_):
            raise OSError(28, "No space left on device")

        if moment == "write":
            monkeypatch.setattr(type(path), "write_bytes", full)
        else:
            monkeypatch.setattr(os, "replace", full)
        with pytest.raises(RunError, match="No space left on device") as error:
            report.write_bytes(path, b"new")
        monkeypatch.undo()
        assert "\n" not in str(error.value)
        assert "Make room" in str(error.value)
        assert path.read_bytes() == b"old"

    def test_a_folder_below_a_file_is_one_sentence(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(RunError, match="could not be written"):
            report.write_bytes(tmp_path / "file" / "run.flags", b"")

    def test_a_new_folder_is_there_when_all_of_it_is(self, tmp_path):
        folder = tmp_path / "a" / "b"
        with report.new_folder(folder, "--to") as partial:
            (partial / "one").write_text("1")
            assert not folder.exists()
            assert partial.parent == folder.parent
        assert names_in(folder) == {"one"}
        assert names_in(tmp_path / "a") == {"b"}

    @pytest.mark.parametrize("error", [RunError("no"), KeyboardInterrupt()])
    def test_of_a_new_folder_that_is_not_finished_nothing_is_left(
        self, tmp_path, error
    ):
        def body():
            with report.new_folder(tmp_path / "a" / "b", "--to") as partial:
                (partial / "one").write_text("1")
                raise error

        with pytest.raises(type(error)):
            body()
        assert names_in(tmp_path) == set()

    def test_a_new_folder_may_be_there_if_it_is_empty(self, tmp_path):
        with report.new_folder(tmp_path / "empty", "--to") as partial:
            (tmp_path / "empty").mkdir()
            (partial / "one").write_text("1")
        assert names_in(tmp_path / "empty") == {"one"}

    def test_a_folder_that_somebody_filled_meanwhile_is_theirs(self, tmp_path):
        folder = tmp_path / "one"
        new = report.new_folder(folder, "--to")
        (new.__enter__() / "ours").write_text("1")
        folder.mkdir()
        (folder / "theirs").write_text("1")
        with pytest.raises(
            RunError, match=r"--to=.* could not be made .* another --to"
        ):
            new.__exit__(None, None, None)
        assert names_in(tmp_path) == {"one"}
        assert names_in(folder) == {"theirs"}

    def test_a_folder_of_a_dead_process_is_in_nobodys_way(self, tmp_path):
        folder = tmp_path / "one"
        stale = tmp_path / f".one.{os.getpid()}.partial"
        stale.mkdir()
        (stale / "old").write_text("1")
        with report.new_folder(folder, "--to") as partial:
            (partial / "new").write_text("1")
        assert names_in(tmp_path) == {"one"}
        assert names_in(folder) == {"new"}

    @pytest.mark.parametrize("what", ["a file", "a filled folder"])
    def test_what_is_there_is_not_made_new(self, tmp_path, what):
        folder = tmp_path / "one"
        if what == "a file":
            folder.write_text("1")
        else:
            folder.mkdir()
            (folder / "theirs").write_text("1")
        with (
            pytest.raises(RunError, match="nothing is overwritten"),
            report.new_folder(folder, "--to"),
        ):
            pass
        assert names_in(tmp_path) == {"one"}

    def test_a_new_folder_below_a_file_is_one_sentence(self, tmp_path):
        (tmp_path / "file").write_text("")
        with (
            pytest.raises(RunError, match="could not be made"),
            report.new_folder(tmp_path / "file" / "one", "--to"),
        ):
            pass
        assert (tmp_path / "file").read_text() == ""

    def test_tables_and_pictures_are_those_of_the_results(self, results, tmp_path):
        report.write_tables(tmp_path, results, HISTORY)
        assert names_in(tmp_path) == {
            "history.csv",
            "curves.png",
            "metrics.csv",
            "metrics.png",
        }
        assert (tmp_path / "metrics.csv").read_text() == metrics_csv(results)
        assert (tmp_path / "history.csv").read_text() == history_csv(HISTORY)
        for name in ("curves.png", "metrics.png"):
            assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")

    def test_without_epochs_there_are_no_curves(self, results, tmp_path):
        report.write_tables(tmp_path, results, [])
        assert names_in(tmp_path) == {"metrics.csv", "metrics.png"}

    def test_an_evaluation_leaves_what_users_got_and_every_prediction(
        self, judged, tiny_dataset, tmp_path
    ):
        folder = tmp_path / "evaluations" / "standard-rated-k10"
        report.write_evaluation(folder, tiny_dataset, judged, 5)
        assert names_in(folder) == {"per_user.csv", "per_user.npz", "predictions.npz"}
        text = per_user.per_user_csv(tiny_dataset, judged["test"], 5)
        assert (folder / "per_user.csv").read_text() == text
        users = per_user.unpack(report.read_npz(folder / "per_user.npz"))
        wanted = per_user.per_user(tiny_dataset, judged["test"])
        np.testing.assert_array_equal(users.sums, wanted.sums)
        predictions = report.read_npz(folder / "predictions.npz")
        assert set(predictions) == {"test", "valid"}
        for part, stored in predictions.items():
            np.testing.assert_array_equal(stored, judged[part].prediction)
            assert stored.dtype == np.float32

    def test_without_validation_rows_there_are_no_predictions_of_them(
        self, judged, tiny_dataset, tmp_path
    ):
        only = {"test": judged["test"]}
        report.write_evaluation(tmp_path, tiny_dataset, only, 10)
        assert set(report.read_npz(tmp_path / "predictions.npz")) == {"test"}

    def test_history_is_written_as_a_table_and_as_lines(self, tmp_path):
        report.write_history(tmp_path, HISTORY)
        assert names_in(tmp_path) == {"history.csv", "events.jsonl"}
        lines = (tmp_path / "events.jsonl").read_text().splitlines()
        assert [json.loads(line)["epoch"] for line in lines] == [1, 2, 3]


class TestResults:
    def test_they_come_back_as_they_were_written(self, results, tmp_path):
        path = tmp_path / "metrics.json"
        report.write_bytes(path, report.dumps(results).encode())
        assert report.read_results(tmp_path) == json.loads(report.dumps(results))
        assert report.read_results(tmp_path) == results

    def test_without_metrics_json_there_are_no_results(self, tmp_path):
        assert report.read_results(tmp_path) is None
        assert report.read_results(tmp_path / "missing") is None

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"{",
            b"[]",
            b"null",
            b"\xff\xfe",
            b'{"metrics": {}',
            b'"metrics"',
            b'{"format": 2}',
            b'{"format": 2, "metrics": 3}',
        ],
    )
    def test_damaged_results_are_named_in_one_sentence(self, tmp_path, content):
        (tmp_path / "metrics.json").write_bytes(content)
        with pytest.raises(RunError, match=r"metrics\.json is damaged") as error:
            report.read_results(tmp_path)
        assert "\n" not in str(error.value)
        assert "Remove it" in str(error.value)

    @pytest.mark.parametrize(
        "key",
        ["metrics", "rows", "k", "ks", "seeds", "warnings", "candidates", "model"],
    )
    def test_results_that_lack_what_is_shown_of_them_are_damaged(
        self, results, tmp_path, key
    ):
        del results[key]
        (tmp_path / "metrics.json").write_text(report.dumps(results))
        with pytest.raises(RunError, match=r"metrics\.json is damaged") as error:
            report.read_results(tmp_path)
        assert key in one_sentence(error, tmp_path / "metrics.json")

    @pytest.mark.parametrize("version", [None, 1, 3, "2"])
    def test_results_of_another_version_are_refused_in_one_sentence(
        self, results, tmp_path, version
    ):
        # The first version named none.
        del results["format"]
        if version is not None:
            results["format"] = version
        (tmp_path / "metrics.json").write_text(report.dumps(results))
        with pytest.raises(RunError, match="of another version") as error:
            report.read_results(tmp_path)
        text = one_sentence(error, tmp_path / "metrics.json")
        assert f"format {version or 1!r} where this one reads 2" in text
        assert "Remove it and run the same command again, or train anew." in text
        assert "damaged" not in text

    def test_results_of_the_first_version_are_refused_whatever_they_hold(
        self, tmp_path
    ):
        old = {"metrics": {"test/rmse": {"mean": 0.9}}, "data": "d", "split": "s"}
        (tmp_path / "metrics.json").write_text(json.dumps(old))
        with pytest.raises(RunError, match="of another version"):
            report.read_results(tmp_path)

    def test_nan_is_never_written(self):
        with pytest.raises(ValueError, match=r"[Nn]a[Nn]|JSON"):
            report.dumps({"mean": float("nan")})

    def test_titles_stay_readable(self):
        assert "Amélie ±" in report.dumps({"title": "Amélie ±"})


ARRAYS = {
    "user_id": np.arange(50),
    "sums": np.random.default_rng(0).normal(size=(2, 50, 5)),
    "value/ndcg@10": np.full((2, 50), np.nan, np.float32),
}


class TestArrays:
    @pytest.fixture
    def stored(self, tmp_path):
        path = tmp_path / "run" / "per_user.npz"
        report.write_npz(path, ARRAYS)
        return path

    def test_they_come_back_as_they_were(self, stored):
        found = report.read_npz(stored)
        assert list(found) == list(ARRAYS)
        for name, array in ARRAYS.items():
            np.testing.assert_array_equal(found[name], array)
            assert found[name].dtype == array.dtype

    def test_they_have_the_same_bytes_each_time(self, stored):
        before = stored.read_bytes()
        report.write_npz(stored, ARRAYS)
        assert stored.read_bytes() == before
        assert names_in(stored.parent) == {"per_user.npz"}

    def test_an_object_is_not_written(self, tmp_path):
        with pytest.raises(ValueError, match="allow_pickle"):
            report.write_npz(tmp_path / "x.npz", {"a": np.array([{}])})
        assert not (tmp_path / "x.npz").exists()

    def test_a_pickle_is_not_read(self, stored):
        np.savez(stored, a=np.array([{}]))
        with pytest.raises(RunError, match="is damaged") as error:
            report.read_npz(stored)
        one_sentence(error, stored)

    def test_a_missing_file_is_named_with_its_folder(self, stored):
        stored.unlink()
        with pytest.raises(RunError, match=r"lacks per_user\.npz") as error:
            report.read_npz(stored)
        one_sentence(error, stored)

    @pytest.mark.parametrize("left", [0, 1, 4, 100, 0.5, 0.9, -1])
    def test_a_truncated_file_is_named(self, stored, left):
        content = stored.read_bytes()
        size = int(left * len(content)) if 0 < left < 1 else left
        stored.write_bytes(content[:size])
        with pytest.raises(RunError, match="is damaged") as error:
            report.read_npz(stored)
        one_sentence(error, stored)

    @given(place=st.integers(0, 10**9), bit=st.integers(0, 7))
    @settings(max_examples=200, deadline=None)
    def test_a_flipped_bit_is_named_or_changes_nothing(
        self, tmp_path_factory, place, bit
    ):
        path = tmp_path_factory.getbasetemp() / "flipped.npz"
        report.write_npz(path, ARRAYS)
        content = bytearray(path.read_bytes())
        content[place % len(content)] ^= 1 << bit
        path.write_bytes(content)
        found, said = {}, str(path)
        try:
            found = report.read_npz(path)
        except RunError as error:
            said = str(error)
        assert str(path) in said
        # Some bits of a zip say nothing that matters, as the hour of a member.
        for name in set(found) & set(ARRAYS):
            np.testing.assert_array_equal(found[name], ARRAYS[name])

    def test_a_flipped_bit_of_the_content_is_always_named(self, stored):
        with zipfile.ZipFile(stored) as archive:
            first = archive.infolist()[1]
        content = bytearray(stored.read_bytes())
        content[first.header_offset + 200] ^= 1
        stored.write_bytes(content)
        with pytest.raises(RunError, match="is damaged"):
            report.read_npz(stored)

    @pytest.mark.parametrize("content", [b"no zip", b"PK\x03\x04", b"\x93NUMPY"])
    def test_what_is_no_archive_is_named(self, stored, content):
        stored.write_bytes(content)
        with pytest.raises(RunError, match="is damaged") as error:
            report.read_npz(stored)
        one_sentence(error, stored)

    def test_a_folder_in_its_place_is_named(self, stored):
        stored.unlink()
        stored.mkdir()
        with pytest.raises(RunError, match=r"per_user\.npz"):
            report.read_npz(stored)


class TestJson:
    def test_it_comes_back(self, tmp_path):
        path = tmp_path / "timing.json"
        report.write_bytes(path, report.dumps({"train_seconds": 1.5}).encode())
        assert report.read_json(path) == {"train_seconds": 1.5}

    @pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"{'a': 1}"])
    def test_a_damaged_file_is_named(self, tmp_path, content):
        path = tmp_path / "timing.json"
        path.write_bytes(content)
        with pytest.raises(RunError, match=r"timing\.json is damaged") as error:
            report.read_json(path)
        one_sentence(error, path)

    def test_a_missing_file_is_named(self, tmp_path):
        with pytest.raises(RunError, match=r"lacks timing\.json") as error:
            report.read_json(tmp_path / "timing.json")
        one_sentence(error, tmp_path / "timing.json")


class TestStrictly:
    @pytest.mark.parametrize(
        ("content", "said"),
        [
            (b'{"a": NaN}', "NaN is no finite number"),
            (b'{"a": -Infinity}', "-Infinity is no finite number"),
            (b'{"a": 1e400}', "1e400 is no finite number"),
            (b'{"a": 1, "a": 1}', "a name is there twice"),
            (b"[" * 100_000, "no end of brackets"),
            (b'{"a": "\xff"}', "decode"),
        ],
    )
    def test_json_that_nobody_wrote_is_refused(self, tmp_path, content, said):
        with pytest.raises(ValueError, match=said):
            report.loads(content)
        (tmp_path / "timing.json").write_bytes(content)
        with pytest.raises(RunError, match=r"timing\.json is damaged"):
            report.read_json(tmp_path / "timing.json")

    def test_what_was_written_is_read(self):
        value = {"a": [1, 2.5, None, "é", {"a": 1e-300}], "b": 10**30}
        assert report.loads(report.dumps(value).encode()) == value


class TestHistory:
    @pytest.fixture
    def stored(self, tmp_path):
        report.write_history(tmp_path, HISTORY)
        return tmp_path / "history.csv"

    def test_it_comes_back_as_it_was(self, stored):
        assert report.read_history(stored.parent) == HISTORY

    @pytest.mark.parametrize("there", [True, False])
    def test_a_model_without_epochs_has_none(self, tmp_path, there):
        if there:
            (tmp_path / "history.csv").write_text(history_csv([]))
        assert report.read_history(tmp_path) == []

    def damage(self, path, column, value):
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        rows[1][column] = value
        lines = [",".join(rows[0]), *(",".join(row.values()) for row in rows)]
        path.write_text("\n".join([*lines, ""]))

    @pytest.mark.parametrize(
        ("column", "value"),
        [
            ("epoch", ""),
            ("epoch", "1.5"),
            ("epoch", "two"),
            ("train_loss", "x"),
            ("train_loss", ""),
            ("valid_loss", "0,1"),
            ("seconds", ""),
            ("seconds", "1 s"),
            ("examples_per_second", ""),
            # Numbers, but none that was written.
            ("epoch", "１"),
            ("epoch", "02"),
            ("epoch", "-2"),
            ("epoch", "1"),  # again
            ("epoch", "9" * 400),
            ("train_loss", "nan"),
            ("train_loss", "inf"),
            ("valid_loss", "1e400"),
            ("seconds", "1 "),
            ("seconds", "1_0.0"),
            ("seconds", "3."),
        ],
    )
    def test_a_cell_that_is_no_number_is_named(self, stored, column, value):
        # Only the validation loss may be missing, where there are no such rows.
        self.damage(stored, column, value)
        with pytest.raises(RunError, match=r"history\.csv is damaged") as error:
            report.read_history(stored.parent)
        one_sentence(error, stored)

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"\xff\xfe",
            b"words\n1\n",
            b"epoch,train_loss\n1,0.5\n",
            b"epoch\n\x00\n",
        ],
    )
    def test_what_is_no_history_is_named(self, stored, content):
        stored.write_bytes(content)
        with pytest.raises(RunError, match=r"history\.csv is damaged") as error:
            report.read_history(stored.parent)
        one_sentence(error, stored)

    def test_a_line_that_ends_early_is_named(self, stored):
        text = stored.read_text()
        start = text.rindex("\n3,") + 1
        for cells in (1, 2, 4):
            cut = ",".join(text[start:].split(",")[:cells])
            stored.write_text(text[:start] + cut)
            with pytest.raises(RunError, match=r"history\.csv is damaged"):
                report.read_history(stored.parent)
