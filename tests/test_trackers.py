"""Figures as other tools read them.

Held here: each line is a JSON object, one an epoch and one a figure, and nothing is
lost or rounded; event files, decoded by hand down to their checksums, hold the history
and the figures, each once, also when a run was interrupted; what is undefined is left
out of a file that has no null; a missing tensorboardX is one sentence.
"""

import json
import math
import struct
import sys
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorboardX.proto.event_pb2 import Event

from ncf_jax.errors import RunError
from ncf_jax.trackers import LOSSES, TensorBoard, json_lines

HISTORY = [
    {
        "epoch": epoch,
        "train_loss": 0.1 / epoch,
        "valid_loss": 1 / 3 / epoch,
        "seconds": 0.25,
        "examples_per_second": 1234.5 * epoch,
    }
    for epoch in (1, 2, 3)
]


def figure(mean):
    return {
        "mean": mean,
        "sd": None,
        "values": [mean],
        "definition": "Größe, in “bits”",
    }


RESULTS = {
    "format": 2,
    "model": "not a figure",
    "metrics": {
        "test/rmse": figure(0.8612345678901234),
        "test/ndcg@10": figure(0.5),
        "test/recall@5": figure(None),
        "valid/rmse": figure(0.25),
    },
}


class TestJsonLines:
    def test_an_epoch_and_a_figure_are_a_line_each_in_their_order(self):
        lines = list(map(json.loads, json_lines(HISTORY, RESULTS).splitlines()))
        assert lines[:3] == [{"event": "epoch", **row} for row in HISTORY]
        assert lines[3:] == [
            {"event": "metric", "name": name, **each}
            for name, each in RESULTS["metrics"].items()
        ]

    def test_every_digit_is_kept_and_text_is_readable(self):
        text = json_lines(HISTORY, RESULTS)
        assert "0.8612345678901234" in text
        assert "Größe, in “bits”" in text

    def test_every_line_ends_with_one_character(self):
        text = json_lines(HISTORY, RESULTS)
        assert text.endswith("}\n")
        assert text.count("\n") == len(HISTORY) + len(RESULTS["metrics"])
        assert "\r" not in text

    @pytest.mark.parametrize(
        ("history", "results", "lines"),
        [([], None, 0), ([], RESULTS, 4), (HISTORY, None, 3), (HISTORY, {}, 3)],
    )
    def test_what_is_not_there_has_no_line(self, history, results, lines):
        assert len(json_lines(history, results).splitlines()) == lines

    def test_the_same_history_gives_the_same_text(self):
        assert json_lines(HISTORY, RESULTS) == json_lines(list(HISTORY), dict(RESULTS))
        before = json.dumps([HISTORY, RESULTS])
        json_lines(HISTORY, RESULTS)
        assert json.dumps([HISTORY, RESULTS]) == before, "it changes what it is given"

    def test_more_of_a_run_only_adds_lines(self):
        # So that whoever follows the file has read nothing that is gone.
        whole = json_lines(HISTORY, RESULTS)
        for epochs in range(4):
            assert whole.startswith(json_lines(HISTORY[:epochs], None))

    def test_an_undefined_loss_is_null_and_nan_is_refused(self):
        row = HISTORY[0] | {"valid_loss": None}
        assert '"valid_loss": null' in json_lines([row], None)
        with pytest.raises(ValueError, match=r"[Nn]a[Nn]|JSON"):
            json_lines([row | {"valid_loss": math.nan}], None)

    @given(
        rows=st.lists(
            st.fixed_dictionaries(
                {
                    "epoch": st.integers(1, 10**6),
                    "train_loss": st.floats(allow_nan=False, allow_infinity=False),
                    "valid_loss": st.none() | st.floats(0, 1e9),
                    "note": st.text(),
                }
            ),
            max_size=5,
        )
    )
    @settings(max_examples=100, deadline=None)
    def test_any_history_comes_back_line_by_line(self, rows):
        lines = json_lines(rows, None).split("\n")
        assert lines.pop() == ""
        assert [json.loads(line) for line in lines] == [
            {"event": "epoch", **row} for row in rows
        ]


def crc32c(content):
    """Castagnoli's checksum, a bit at a time."""
    crc = 0xFFFFFFFF
    for byte in content:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 * (crc & 1))
    return crc ^ 0xFFFFFFFF


def masked(content):
    """As TFRecord stores it: rotated, so that a sum of sums is no plain sum."""
    crc = crc32c(content)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def test_the_checksum_is_the_published_one():
    assert crc32c(b"123456789") == 0xE3069283


def events(folder):
    """The events of the only event file in `folder`, its framing checked."""
    (path,) = folder.iterdir()
    assert path.name.startswith("events.out.tfevents.")
    content, found = path.read_bytes(), []
    while content:
        head, content = content[:12], content[12:]
        (length,) = struct.unpack("<Q", head[:8])
        assert struct.unpack("<I", head[8:]) == (masked(head[:8]),)
        body, tail, content = (
            content[:length],
            content[length : length + 4],
            content[length + 4 :],
        )
        assert len(body) == length, "the file ends early"
        assert struct.unpack("<I", tail) == (masked(body),)
        found.append(Event.FromString(body))
    assert found[0].file_version == "brain.Event:2"
    return found[1:]


def scalars(folder):
    """Every (tag, step, value) of the only event file, in its order."""
    found = []
    for event in events(folder):
        for value in event.summary.value:
            assert value.WhichOneof("value") == "simple_value"
            found.append((value.tag, event.step, value.simple_value))
    return found


def of_history(history):
    """What a history is in an event file, whose numbers are of 32 bits."""
    return [
        (name, row["epoch"], float(np.float32(row[name])))
        for row in history
        for name in LOSSES
        if row[name] is not None
    ]


def of_results(results, epoch):
    return [
        (name.replace("@", "_at_"), epoch, float(np.float32(each["mean"])))
        for name, each in results["metrics"].items()
        if each["mean"] is not None
    ]


class TestTensorBoard:
    def test_epochs_and_figures_are_read_back(self, tmp_path):
        board = TensorBoard(tmp_path, [])
        for row in HISTORY:
            board.epoch(row)
        board.finish(RESULTS, 3)
        assert scalars(tmp_path) == of_history(HISTORY) + of_results(RESULTS, 3)
        tags = {tag for tag, *_ in scalars(tmp_path)}
        assert tags == {*LOSSES, "test/rmse", "test/ndcg_at_10", "valid/rmse"}

    def test_an_interrupted_run_has_each_epoch_once(self, tmp_path):
        # The first process is gone after two epochs, and the third was not saved.
        first = TensorBoard(tmp_path, [])
        for row in HISTORY:
            first.epoch(row)
        second = TensorBoard(tmp_path, HISTORY[:2])
        second.epoch(HISTORY[2])
        second.finish(RESULTS, 3)
        resumed = scalars(tmp_path)
        assert resumed == of_history(HISTORY) + of_results(RESULTS, 3)
        assert len(set(resumed)) == len(resumed)

    def test_an_epoch_can_be_read_soon_after_it_is_done(self, tmp_path):
        # The library writes from a thread of its own, in its own time.
        board = TensorBoard(tmp_path, [])
        found = []
        for epochs in (1, 2, 3):
            board.epoch(HISTORY[epochs - 1])
            wanted, deadline = of_history(HISTORY[:epochs]), time.monotonic() + 5
            while found != wanted and time.monotonic() < deadline:
                time.sleep(0.05)
                found = scalars(tmp_path)
            assert found == wanted, "not within five seconds"
        board.finish({"metrics": {}}, 3)
        assert scalars(tmp_path) == found

    def test_other_files_in_the_folder_are_left(self, tmp_path):
        (tmp_path / "notes.txt").write_text("mine")
        TensorBoard(tmp_path, []).finish({"metrics": {}}, 0)
        assert (tmp_path / "notes.txt").read_text() == "mine"

    def test_a_run_without_epochs_has_its_figures(self, tmp_path):
        TensorBoard(tmp_path / "below" / "tensorboard", []).finish(RESULTS, 0)
        found = scalars(tmp_path / "below" / "tensorboard")
        assert found == of_results(RESULTS, 0)

    def test_what_is_not_defined_is_left_out(self, tmp_path):
        board = TensorBoard(tmp_path, [HISTORY[0] | {"valid_loss": None}])
        board.finish(RESULTS, 1)
        tags = [tag for tag, *_ in scalars(tmp_path)]
        assert "valid_loss" not in tags
        assert "test/recall_at_5" not in tags
        assert "train_loss" in tags

    def test_a_changed_figure_is_another_event(self, tmp_path):
        # The control of reading back.
        other = json.loads(json.dumps(RESULTS))
        other["metrics"]["test/rmse"]["mean"] += 1e-3
        for name, results in (("one", RESULTS), ("other", other)):
            TensorBoard(tmp_path / name, HISTORY).finish(results, 3)
        assert scalars(tmp_path / "one") != scalars(tmp_path / "other")

    def test_without_tensorboardx_it_says_what_to_install(self, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "tensorboardX", None)
        with pytest.raises(RunError, match="needs tensorboardX") as error:
            TensorBoard(tmp_path / "tensorboard", HISTORY)
        assert "pip install -e '.[tensorboard]'" in str(error.value)
        assert "\n" not in str(error.value)
        assert list(tmp_path.iterdir()) == []

    def test_a_folder_that_cannot_be_made_is_one_sentence(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(RunError, match="cannot be written") as error:
            TensorBoard(tmp_path / "file" / "tensorboard", [])
        text = str(error.value)
        assert str(tmp_path / "file" / "tensorboard") in text
        assert "--workdir" in text
        assert "\n" not in text
