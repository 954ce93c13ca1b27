"""Trials as sweep.csv has them.

Held here: what is written is read again to the last digit; a file that somebody or
something changed is refused in one sentence; the best is first, whatever best means.
"""

import pytest

from experiments.search import trials as records
from experiments.search.space import Axis
from experiments.search.trials import COMPLETE, FAILED, RUNNING, Trial
from ncf_jax import results
from ncf_jax.errors import RunError

SPACE = {
    "dropout": Axis("float", (0.0, 0.5)),
    "epochs": Axis("int", (1, 4)),
    "loss": Axis("one_of", ("mse", "mae", "huber")),
}
TRIALS = [
    Trial(1, COMPLETE, dict(dropout=1 / 3, epochs=2, loss="mae"), 0.9, 0.1 + 0.2, 1.5),
    Trial(2, FAILED, dict(dropout=0.0, epochs=1, loss="mse"), None, None, 0.0),
    Trial(3, COMPLETE, dict(dropout=5e-324, epochs=4, loss="huber"), 0.8, None, 2.0),
    Trial(4, RUNNING, dict(dropout=0.5, epochs=3, loss="mse")),
]


@pytest.fixture
def file(tmp_path):
    def write(change=lambda text: text):
        path = tmp_path / "sweep.csv"
        columns = records.header(SPACE, "valid/rmse")
        path.write_text(change(results.to_csv(columns, records.rows(TRIALS))))
        return path

    return write


def read(path):
    return records.read(path, SPACE, "valid/rmse")


def test_what_is_written_is_read_again(file):
    assert read(file()) == TRIALS


def test_without_a_file_there_are_none(tmp_path):
    assert read(tmp_path / "sweep.csv") == []


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "",
        lambda text: text[: len(text) // 2],
        lambda text: text.replace("valid/rmse", "valid/mae"),
        lambda text: text.replace("dropout", "width"),
        lambda text: text.replace("0.9,", "nan,"),
        lambda text: text.replace(",1.5", ",inf"),
        lambda text: text.replace("huber", "other"),
        lambda text: text.replace("0.5,3", "0.75,3"),
        lambda text: text.replace("0.5,3", "nan,3"),
        lambda text: text.replace("0.5,3", "0.5,5"),
        lambda text: text.replace("complete", "done"),
        lambda text: text.replace("failed", "running"),
        lambda text: text.replace("failed", "complete"),
        lambda text: text.replace("1,complete", "7,complete"),
        lambda text: text.replace(",0.9,", ",best,"),
        lambda text: text.replace(",mae,", ",mae,mae,"),
        lambda text: text.replace(",2,mae", ",two,mae"),
    ],
)
def test_a_damaged_file_is_one_sentence(file, change):
    path = file(change)
    with pytest.raises(RunError, match="is damaged") as caught:
        read(path)
    assert str(path) in str(caught.value)
    assert "Remove it and run the same command again" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_text_or_no_file(tmp_path):
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for name in ("binary", "."):
        with pytest.raises(RunError, match="cannot be read"):
            read(tmp_path / name)


def test_the_best_is_first_and_of_equals_the_earlier():
    assert [t.number for t in records.ranked(TRIALS, larger=False)] == [3, 1]
    assert [t.number for t in records.ranked(TRIALS, larger=True)] == [1, 3]
    equal = [TRIALS[0], TRIALS[2]._replace(mean=0.9)]
    for larger in (False, True):
        assert [t.number for t in records.ranked(equal, larger=larger)] == [1, 3]


def test_figures_and_values_are_short():
    assert records.figure(TRIALS[0]) == "0.9000 ± 0.3000"
    assert records.figure(TRIALS[2]) == "0.8000"
    assert list(map(records.shown, (1 / 3, 64, "mse"))) == ["0.3333", "64", "mse"]
