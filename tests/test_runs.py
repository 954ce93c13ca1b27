"""A run folder as a value.

Held here: a folder gives back the configuration, model, parameters, data and split it
was made from, after its last whole checkpoint, wherever it lies; what is not such a
folder, or one that contradicts itself, is refused in one sentence that says what to do.
"""

import dataclasses
import shutil

import jax
import numpy as np
import pytest

import ncf_jax
from ncf_jax import Config, checkpoint
from ncf_jax.errors import ConfigError, RunError
from tests.conftest import TINY

CONFIG = Config(**TINY, model="bias", epochs=2)


def write_run(folder, config, dataset, split):
    """What the training command leaves, by the library alone."""
    model = ncf_jax.make_model(config, dataset)

    def save(report, state):
        meta = {
            "config": dataclasses.asdict(config),
            "data": dataset.fingerprint,
            "split": split.fingerprint,
            "history": [],
        }
        checkpoint.save(folder, report.epoch, state, meta, keep=config.keep)

    folder.mkdir(exist_ok=True)
    (folder / "run.flags").write_text("")
    checkpoint.save_dataset(folder, dataset, split)
    return ncf_jax.fit(
        ncf_jax.learner_of(config, model, dataset.features),
        dataset.interactions(split.train),
        dataset.interactions(split.valid),
        epochs=config.epochs,
        on_epoch=save,
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory, tiny_dataset, tiny_split):
    folder = tmp_path_factory.mktemp("runs") / "run"
    return folder, write_run(folder, CONFIG, tiny_dataset, tiny_split)


@pytest.fixture
def folder(made, tmp_path):
    return shutil.copytree(made[0], tmp_path / "copy")


class TestLoading:
    def test_a_run_is_what_it_was_made_from(self, made, tiny_dataset, tiny_split):
        run = ncf_jax.load_run(str(made[0]))
        assert run.config == CONFIG
        assert run.epoch == 2
        assert run.workdir == made[0]
        assert run.model == ncf_jax.make_model(CONFIG, tiny_dataset)
        assert run.dataset.fingerprint == tiny_dataset.fingerprint
        np.testing.assert_array_equal(run.split.test, tiny_split.test)
        wanted, found = jax.tree.leaves(made[1].params), jax.tree.leaves(run.params)
        assert len(found) == len(wanted) == 3
        for a, b in zip(found, wanted, strict=True):
            assert np.asarray(a).tobytes() == np.asarray(b).tobytes()

    def test_a_loaded_run_evaluates_as_the_state_it_was_saved_from(
        self, made, tiny_dataset, tiny_split
    ):
        run = ncf_jax.load_run(str(made[0]))
        found = ncf_jax.evaluate(run.model, run.params, run.dataset, run.split.test)
        wanted = ncf_jax.evaluate(
            run.model, made[1].params, tiny_dataset, tiny_split.test
        )
        assert found.metrics == wanted.metrics

    def test_an_interrupted_run_is_loaded_after_its_last_checkpoint(self, folder):
        shutil.rmtree(folder / "state" / "2")
        run = ncf_jax.load_run(str(folder))
        assert (run.epoch, run.config.epochs) == (1, 2)
        # Control: two sweeps are not one.
        whole = ncf_jax.load_run(str(folder.parent / "copy"))
        assert whole.epoch == 1

    def test_two_epochs_have_two_states(self, made, folder):
        shutil.rmtree(folder / "state" / "2")
        one, two = (ncf_jax.load_run(str(path)).params for path in (folder, made[0]))
        assert not np.array_equal(one["user_bias"], two["user_bias"])

    def test_a_folder_can_be_moved_and_named_relatively(self, folder, monkeypatch):
        folder.rename(folder.parent / "moved")
        monkeypatch.chdir(folder.parent)
        assert ncf_jax.load_run("moved").epoch == 2

    def test_loading_changes_nothing(self, folder):
        def content():
            return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}

        before = content()
        ncf_jax.load_run(str(folder))
        assert content() == before


class TestRefused:
    def test_a_folder_is_required(self):
        with pytest.raises(ConfigError, match="--workdir is required"):
            ncf_jax.load_run("")

    @pytest.mark.parametrize("name", ["missing", "empty", "file"])
    def test_what_has_no_run_flags_is_not_a_run_folder(self, tmp_path, name):
        (tmp_path / "empty").mkdir()
        (tmp_path / "file").write_text("")
        path = str(tmp_path / name)
        with pytest.raises(RunError, match="is not a run folder") as error:
            ncf_jax.load_run(path)
        assert "python -m experiments.train --workdir=<new folder>" in str(error.value)
        assert sorted(p.name for p in tmp_path.iterdir()) == ["empty", "file"]

    def test_a_run_without_a_checkpoint_says_so(self, folder):
        shutil.rmtree(folder / "state" / "1")
        shutil.rmtree(folder / "state" / "2")
        with pytest.raises(RunError, match="has no checkpoint yet"):
            ncf_jax.load_run(str(folder))

    def test_a_run_without_its_data_says_so(self, folder):
        shutil.rmtree(folder / "state" / "dataset")
        with pytest.raises(RunError, match=r"dataset is missing or damaged"):
            ncf_jax.load_run(str(folder))

    def test_data_of_another_world_is_refused(self, folder, tiny_dataset):
        # The same data, but another split than the checkpoint was trained on.
        other = ncf_jax.user_random(tiny_dataset, seed=1)
        checkpoint.save_dataset(folder, tiny_dataset, other)
        with pytest.raises(RunError, match="not what its checkpoint was trained on"):
            ncf_jax.load_run(str(folder))

    def test_an_option_of_a_later_version_is_named(
        self, made, folder, tiny_dataset, tiny_split
    ):
        config = dataclasses.asdict(CONFIG) | {"attention_heads": 4}
        meta = {
            "config": config,
            "data": tiny_dataset.fingerprint,
            "split": tiny_split.fingerprint,
        }
        checkpoint.save(folder, 3, made[1], meta, keep=3)
        with pytest.raises(RunError, match="attention_heads") as error:
            ncf_jax.load_run(str(folder))
        assert "environment.json" in str(error.value)

    def test_a_checkpoint_without_a_configuration_is_refused(self, made, folder):
        checkpoint.save(folder, 3, made[1], {"data": "", "split": ""}, keep=3)
        with pytest.raises(RunError, match="epoch 3"):
            ncf_jax.load_run(str(folder))

    def test_parameters_of_another_model_are_refused(
        self, folder, made, tiny_dataset, tiny_split
    ):
        meta = checkpoint.load_meta(folder, 2)
        config = Config(**TINY, embedding_dim=8, epochs=2)
        meta |= {"config": dataclasses.asdict(config)}
        meta = {k: v for k, v in meta.items() if k not in ("format", "epoch")}
        checkpoint.save(folder, 3, made[1], meta, keep=3)
        with pytest.raises(RunError, match="of epoch 3") as error:
            ncf_jax.load_run(str(folder))
        assert "another model" in str(error.value)
