"""What a page needs, from a run folder.

Held here: what is read is what the run wrote and what its end had in hand; files that
a run may lack are no error; damaged and foreign ones are, in one sentence.
"""

import shutil

import numpy as np
import pytest

import ncf_jax
from ncf_jax import pages, report
from ncf_jax.errors import RunError
from ncf_jax.pages import gather
from tests.experiments.conftest import train_quietly


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A tiny trained run of two seeds; never to be changed."""
    folder = tmp_path_factory.mktemp("gather")
    return train_quietly(folder / "run", folder / "cache", num_seeds=2).workdir


@pytest.fixture
def copy(run, tmp_path):
    return shutil.copytree(run, tmp_path / "copy")


def sentence(folder):
    with pytest.raises(RunError) as found:
        gather.load(str(folder))
    text = str(found.value)
    assert "\n" not in text
    assert text.endswith(".")
    return text


def test_what_is_read_is_what_the_model_says(run):
    found, model = gather.load(str(run)), ncf_jax.load_run(str(run))
    data = model.dataset.interactions(model.split.test)
    predicted = ncf_jax.predict(
        model.model, model.params, data.user, data.item, model.dataset.features
    )
    assert found.predictions["test"] == pytest.approx(predicted, abs=1e-5)
    table = model.params["item_embedding"]["embedding"]
    assert np.array_equal(found.vectors, np.asarray(table)[0])
    assert not np.array_equal(found.vectors, np.asarray(table)[1])
    assert found.finished.results == report.read_results(run)
    assert found.flags_text == (run / "run.flags").read_text()
    assert len(found.samples) == 3
    assert found.environment["data"] == model.dataset.fingerprint
    assert found.split.test.tolist() == model.split.test.tolist()


def test_the_page_of_the_folder_is_the_page_that_the_run_wrote(run):
    assert (run / "report.html").read_text() == pages.of_folder(str(run))


@pytest.mark.parametrize(
    ("name", "field", "empty"),
    [
        ("predictions.npz", "predictions", {}),
        ("samples.json", "samples", None),
        ("environment.json", "environment", {}),
        ("timing.json", "finished.timing", {}),
    ],
)
def test_a_file_that_a_run_may_lack_is_no_error(copy, name, field, empty):
    (copy / name).unlink()
    found = gather.load(str(copy))
    for part in field.split("."):
        found = getattr(found, part)
    assert found == empty


def test_a_run_without_weights_of_ours_has_no_vectors(copy, monkeypatch):
    monkeypatch.setattr(gather.checkpoint, "latest", lambda folder: None)
    assert gather.load(str(copy)).vectors is None


@pytest.mark.parametrize(
    "name", ["predictions.npz", "samples.json", "environment.json", "metrics.json"]
)
def test_a_damaged_file_is_named(copy, name):
    content = (copy / name).read_bytes()
    (copy / name).write_bytes(content[: len(content) // 2])
    assert name in sentence(copy)


def test_predictions_of_another_run_are_refused(copy):
    values = report.read_npz(copy / "predictions.npz")
    report.write_npz(copy / "predictions.npz", {"test": values["test"][:, 1:]})
    assert "of another run" in sentence(copy)
    report.write_npz(copy / "predictions.npz", {"else": values["test"]})
    assert "of another run" in sentence(copy)


def test_results_of_other_data_are_refused(copy):
    results = report.read_json(copy / "metrics.json")
    changed = report.dumps(results | {"split": "0" * 16})
    (copy / "metrics.json").write_text(changed)
    assert "is not what its metrics.json is of" in sentence(copy)


def test_a_folder_that_is_no_run_is_named(tmp_path):
    assert str(tmp_path) in sentence(tmp_path)
    assert "nowhere" in sentence(tmp_path / "nowhere")


def test_a_model_of_single_numbers_has_no_vectors():
    assert gather.first_seed(None) is None


def test_flags_that_are_not_there_are_no_flags_and_those_not_text_are_damaged(tmp_path):
    assert gather.flags_of(tmp_path) == ""
    (tmp_path / "run.flags").write_bytes(b"\xff\xfe--a=b")
    with pytest.raises(RunError, match=r"run\.flags cannot be read"):
        gather.flags_of(tmp_path)
