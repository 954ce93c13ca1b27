"""A run folder as a value.

Held here: a folder gives back the configuration, model, parameters, data and split it
was made from, after its last whole checkpoint, wherever it lies; what is not such a
folder, or one that contradicts itself, is refused in one sentence that says what to do;
and so is one that is asked for what a finished run found out, and is not finished,
damaged in any of its files, of another version, or holds what another run found.
"""

import dataclasses
import json
import shutil
import zipfile
from pathlib import Path

import jax
import numpy as np
import pytest

import ncf_jax
from ncf_jax import Config, checkpoint, per_user, report
from ncf_jax.errors import ConfigError, RunError
from ncf_jax.judge import evaluate_scores
from ncf_jax.metrics.rating import RatingSums, rmse_of
from ncf_jax.results import About, make_results
from tests.conftest import TINY
from tests.test_results import HISTORY, guesses

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

    def test_cut_offs_and_a_split_by_time_come_back(self, tmp_path, tiny_dataset):
        config = Config(
            **TINY, model="bias", epochs=1, k=(10, 5), split="leave_last_out"
        )
        split = ncf_jax.split(tiny_dataset, config)
        write_run(tmp_path, config, tiny_dataset, split)
        run = ncf_jax.load_run(str(tmp_path))
        assert run.config == config
        assert run.config.k == (10, 5)
        for part in ("train", "valid", "test"):
            np.testing.assert_array_equal(
                getattr(run.split, part), getattr(split, part)
            )
        assert run.split.definition == split.definition
        assert run.split.fingerprint == split.fingerprint

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


# --- what a finished run found out ----------------------------------------------------

KS = (10, 5)


def write_finished(folder, dataset, split, *, seeds=2, noise=1.0, ks=KS):
    """What the end of a run leaves, of guesses with noise of some size."""
    evaluations = {
        part: evaluate_scores(
            dataset.rating[rows] + noise * (guesses(dataset, rows, seeds) - 3),
            dataset,
            rows,
            train=split.train,
            k=ks,
        )
        for part, rows in (("test", split.test), ("valid", split.valid))
    }
    about = About("experiments.train", "mine", "Mine", seeds=range(seeds), ks=ks)
    results = make_results(about, dataset, split, evaluations, {})
    (folder / "state").mkdir(parents=True)
    (folder / "run.flags").write_text("--epochs=3\n")
    report.write_history(folder, HISTORY)
    report.write_evaluation(folder, dataset, evaluations, ks[0])
    timing = {"train_seconds": 1.5, "evaluate_seconds": 0.25}
    report.write_bytes(folder / "timing.json", report.dumps(timing).encode())
    report.write_bytes(folder / "metrics.json", report.dumps(results).encode())
    return results, evaluations


@pytest.fixture(scope="module")
def written(tmp_path_factory, tiny_dataset, tiny_split):
    folder = tmp_path_factory.mktemp("done") / "run"
    return folder, *write_finished(folder, tiny_dataset, tiny_split)


@pytest.fixture
def done(written, tmp_path):
    return shutil.copytree(written[0], tmp_path / "my run")


class TestFinished:
    def test_it_is_what_was_found_out(self, written, tiny_dataset):
        folder, results, evaluations = written
        found = ncf_jax.load_finished(folder)
        assert found.folder == folder
        assert found.results == results
        assert found.timing == {"train_seconds": 1.5, "evaluate_seconds": 0.25}
        assert found.history == HISTORY
        wanted = per_user.per_user(tiny_dataset, evaluations["test"])
        np.testing.assert_array_equal(found.per_user.user_id, wanted.user_id)
        np.testing.assert_array_equal(found.per_user.sums, wanted.sums)
        assert set(found.per_user.values) == set(wanted.values)

    def test_figures_can_be_made_again_of_what_users_got(self, written):
        found = ncf_jax.load_finished(written[0])
        sums = np.moveaxis(found.per_user.sums.sum(axis=1), -1, 0)
        rmse = found.results["metrics"]["test/rmse"]["values"]
        np.testing.assert_allclose(rmse_of(RatingSums(*sums)), rmse, rtol=0, atol=1e-9)
        for name, value in found.per_user.values.items():
            wanted = found.results["metrics"][f"test/{name}"]["values"]
            np.testing.assert_allclose(np.nanmean(value, axis=1), wanted, atol=1e-6)

    @pytest.mark.parametrize("kind", [str, Path])
    def test_the_folder_may_be_a_path_or_its_name_and_may_be_moved(
        self, done, kind, monkeypatch
    ):
        monkeypatch.chdir(done.parent)
        assert ncf_jax.load_finished(kind("my run")).results["model"] == "Mine"

    def test_an_evaluation_below_a_run_has_no_flags_and_no_history(self, done):
        # As `experiments.evaluate` leaves it.
        (done / "run.flags").unlink()
        (done / "history.csv").unlink()
        (done / "timing.json").unlink()
        found = ncf_jax.load_finished(done)
        assert (found.history, found.timing) == ([], {})

    def test_loading_changes_nothing(self, done):
        def content():
            return {p: p.read_bytes() for p in done.rglob("*") if p.is_file()}

        before = content()
        ncf_jax.load_finished(done)
        assert content() == before


def remove(name):
    return lambda folder: (folder / name).unlink()


def truncate(name, share=0.5):
    def damage(folder):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: int(share * len(content))])

    return damage


def replace(name, content):
    return lambda folder: (folder / name).write_bytes(content)


def flip(name, array):
    """Flips a bit in the middle of an array, as it lies in the file."""

    def damage(folder):
        with zipfile.ZipFile(folder / name) as archive:
            member = archive.getinfo(f"{array}.npy")
        content = bytearray((folder / name).read_bytes())
        content[member.header_offset + 60 + member.compress_size // 2] ^= 16
        (folder / name).write_bytes(content)

    return damage


def drop_array(name):
    def damage(folder):
        arrays = report.read_npz(folder / "per_user.npz")
        del arrays[name]
        report.write_npz(folder / "per_user.npz", arrays)

    return damage


def change_array(name, change):
    def damage(folder):
        arrays = report.read_npz(folder / "per_user.npz")
        arrays[name] = change(arrays[name])
        report.write_npz(folder / "per_user.npz", arrays)

    return damage


def of_format(version):
    def damage(folder):
        path = folder / "metrics.json"
        results = json.loads(path.read_text())
        del results["format"]
        if version is not None:
            results["format"] = version
        path.write_text(json.dumps(results))

    return damage


# What happened to the folder -> what is done to it, and words of the sentence.
DAMAGES = {
    "half written": (remove("metrics.json"), ["is not finished", "again"]),
    "no per-user values": (remove("per_user.npz"), ["lacks per_user.npz"]),
    "truncated values": (truncate("per_user.npz"), ["per_user.npz is damaged"]),
    "values cut to nothing": (truncate("per_user.npz", 0), ["per_user.npz is damaged"]),
    "a flipped bit": (flip("per_user.npz", "sums"), ["per_user.npz is damaged"]),
    "another flipped bit": (
        flip("per_user.npz", "value/ndcg@10"),
        ["per_user.npz is damaged"],
    ),
    "values that are no archive": (
        replace("per_user.npz", b"\x93NUMPY"),
        ["per_user.npz is damaged"],
    ),
    "no sums": (drop_array("sums"), ["per_user.npz", "damaged or another run's"]),
    "no ids": (drop_array("user_id"), ["per_user.npz", "damaged or another run's"]),
    "sums of another shape": (
        change_array("sums", lambda sums: sums[0]),
        ["per_user.npz", "damaged or another run's"],
    ),
    "sums of no users": (
        change_array("sums", lambda sums: sums[:, :0]),
        ["per_user.npz", "damaged or another run's"],
    ),
    "a single number for sums": (
        change_array("sums", lambda sums: np.float64(0)),
        ["per_user.npz", "damaged or another run's"],
    ),
    "rows of other users": (
        change_array("rows", lambda rows: rows + 1),
        ["per_user.npz", "damaged or another run's"],
    ),
    "values of fewer seeds": (
        change_array("value/ndcg@10", lambda value: value[:1]),
        ["per_user.npz", "damaged or another run's"],
    ),
    "format 1": (of_format(1), ["metrics.json is of another version", "Remove it"]),
    "no format": (of_format(None), ["metrics.json is of another version", "format 1"]),
    "a later format": (of_format(3), ["another version", "3 where this one reads 2"]),
    "truncated results": (truncate("metrics.json"), ["metrics.json is damaged"]),
    "empty results": (replace("metrics.json", b""), ["metrics.json is damaged"]),
    "binary results": (replace("metrics.json", b"\xff\x00"), ["metrics.json is dam"]),
    "results of nothing": (replace("metrics.json", b"null"), ["metrics.json is dam"]),
    "damaged timing": (replace("timing.json", b"{"), ["timing.json is damaged"]),
    "timing of nothing": (replace("timing.json", b"[]"), ["timing.json"]),
    "damaged history": (replace("history.csv", b"x\n1\n"), ["history.csv is damaged"]),
    "history of bytes": (replace("history.csv", b"\xff"), ["history.csv is damaged"]),
    "truncated history": (truncate("history.csv", 0.8), ["history.csv is damaged"]),
}


class TestNotFinished:
    def refused(self, folder):
        with pytest.raises(RunError) as error:
            ncf_jax.load_finished(folder)
        text = str(error.value)
        assert "\n" not in text
        assert str(folder) in text
        assert error.value.exit_code == 4
        return text

    def test_a_folder_that_is_missing_is_named(self, tmp_path):
        assert "is not a folder" in self.refused(tmp_path / "missing")

    def test_a_file_is_no_folder(self, tmp_path):
        (tmp_path / "file").write_text("")
        assert "is not a folder" in self.refused(tmp_path / "file")

    @pytest.mark.parametrize("name", [None, "thesis.tex"])
    def test_an_empty_or_foreign_folder_is_no_run(self, tmp_path, name):
        if name is not None:
            (tmp_path / name).write_text("years of work")
        text = self.refused(tmp_path)
        assert "is not a run folder" in text
        assert "python -m experiments.train --workdir=<new folder>" in text

    def test_the_folder_of_runs_is_no_run_itself(self, done):
        assert "is not a run folder" in self.refused(done.parent)

    @pytest.mark.parametrize("what", DAMAGES)
    def test_a_bad_folder_is_named_in_one_sentence(self, done, what):
        ncf_jax.load_finished(done)  # before the damage
        damage, said = DAMAGES[what]
        damage(done)
        text = self.refused(done)
        for words in said:
            assert words in text

    @pytest.mark.parametrize(
        "changes",
        [dict(seeds=1), dict(ks=(3,)), dict(noise=0.5)],
        ids=["of another number of seeds", "of other cut-offs", "of a better model"],
    )
    def test_per_user_values_of_another_run_are_refused(
        self, done, tmp_path, tiny_dataset, tiny_split, changes
    ):
        other = tmp_path / "other"
        write_finished(other, tiny_dataset, tiny_split, **changes)
        ncf_jax.load_finished(other)
        shutil.copy(other / "per_user.npz", done / "per_user.npz")
        text = self.refused(done)
        assert "per_user.npz is damaged or another run's" in text

    def test_per_user_values_of_another_split_are_refused(
        self, done, tmp_path, tiny_dataset
    ):
        other = tmp_path / "other"
        write_finished(other, tiny_dataset, ncf_jax.user_random(tiny_dataset, seed=1))
        shutil.copy(other / "per_user.npz", done / "per_user.npz")
        assert "per_user.npz is damaged or another run's" in self.refused(done)
