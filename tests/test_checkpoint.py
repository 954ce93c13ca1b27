"""Checkpoints and the stored data of a run.

Held here: what is saved comes back bit for bit; the last n are kept and the last whole
one is found; a missing, truncated or altered file, another model's shapes or another
format is one sentence and never a wrong number; a save that fails or is interrupted
leaves the earlier checkpoints as they were.
"""

import dataclasses
import json
import os
import shutil

import jax
import numpy as np
import optax
import pytest

from ncf_jax import checkpoint
from ncf_jax.data.splits import SPLITS
from ncf_jax.errors import RunError
from ncf_jax.types import TrainState

META = {"config": {"epochs": 3}, "data": "abc", "history": [{"epoch": 1, "loss": 0.1}]}


def make_state(seed=0, width=4):
    """A state as of training, with floats that text or rounding would lose."""
    rng = np.random.default_rng(seed)
    odd = np.array([np.nan, -0.0, np.inf, 1e-45, np.nextafter(1, 2, dtype=np.float32)])
    params = {
        "item_embedding": {"embedding": rng.normal(size=(2, 7, width))},
        "fc1": {"kernel": rng.normal(size=(2, width, 3)), "bias": [odd, -odd]},
        "mean": np.zeros(2),
    }
    params = jax.tree.map(
        lambda x: np.asarray(x, np.float32), params, is_leaf=lambda x: type(x) is list
    )
    optimizer = optax.chain(optax.add_decayed_weights(1e-5), optax.adam(1e-3))
    opt_state = jax.vmap(optimizer.init)(params)
    return TrainState(np.array([11, 12], np.int32), params, opt_state)


def bits(state):
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return {
        jax.tree_util.keystr(path): (
            np.asarray(leaf).dtype,
            np.shape(leaf),
            np.asarray(leaf).tobytes(),
        )
        for path, leaf in leaves
    }


@pytest.fixture
def saved(tmp_path):
    """Checkpoints of epochs 1 and 2."""
    for epoch in (1, 2):
        checkpoint.save(tmp_path, epoch, make_state(epoch), META, keep=5)
    return tmp_path


def one_sentence(error):
    text = str(error.value)
    assert "\n" not in text
    assert len(text) < 700
    return text


class TestRoundTrip:
    def test_a_state_comes_back_bit_for_bit(self, saved):
        for epoch in (1, 2):
            back = checkpoint.load_state(saved, epoch, make_state())
            assert bits(back) == bits(make_state(epoch))
        assert bits(make_state(1)) != bits(make_state(2)), "control"

    def test_the_structure_comes_back_too(self, saved):
        back = checkpoint.load_state(saved, 1, make_state())
        wanted = jax.tree.structure(make_state())
        assert jax.tree.structure(back) == wanted
        assert isinstance(back, TrainState)

    def test_shapes_alone_are_enough_to_load(self, saved):
        like = jax.eval_shape(lambda: jax.tree.map(jax.numpy.asarray, make_state()))
        assert bits(checkpoint.load_state(saved, 2, like)) == bits(make_state(2))

    def test_a_state_on_the_device_is_saved_as_it_is(self, tmp_path):
        state = jax.tree.map(jax.numpy.asarray, make_state(3))
        checkpoint.save(tmp_path, 1, state, META, keep=1)
        back = checkpoint.load_state(tmp_path, 1, state)
        assert bits(back) == bits(make_state(3))

    def test_an_optimizer_without_state_round_trips(self, tmp_path):
        # As of a model with a closed form.
        state = TrainState(
            np.array([1], np.int32),
            {"mean": np.ones(1, np.float32)},
            optax.EmptyState(),
        )
        checkpoint.save(tmp_path, 1, state, META, keep=1)
        assert bits(checkpoint.load_state(tmp_path, 1, state)) == bits(state)

    def test_meta_comes_back_with_its_format_and_epoch(self, saved):
        wanted = {**META, "format": checkpoint.FORMAT, "epoch": 2}
        assert checkpoint.load_meta(saved, 2) == wanted

    def test_figures_in_meta_keep_every_digit(self, tmp_path):
        values = [0.1, 1 / 3, 5e-324, 1.7976931348623157e308, 0.0525, None]
        meta = {"history": [{"valid_loss": value} for value in values]}
        checkpoint.save(tmp_path, 1, make_state(), meta, keep=1)
        assert checkpoint.load_meta(tmp_path, 1)["history"] == meta["history"]

    def test_a_folder_that_was_moved_or_is_named_relatively_loads(
        self, saved, tmp_path_factory, monkeypatch
    ):
        target = tmp_path_factory.mktemp("moved") / "run"
        shutil.copytree(saved, target)
        monkeypatch.chdir(target.parent)
        relative = type(target)("run")
        assert checkpoint.latest(relative) == 2
        assert bits(checkpoint.load_state(relative, 2, make_state())) == bits(
            make_state(2)
        )


class TestKept:
    def test_there_is_no_latest_in_an_empty_or_missing_folder(self, tmp_path):
        assert checkpoint.latest(tmp_path) is None
        assert checkpoint.latest(tmp_path / "missing") is None
        assert list(tmp_path.iterdir()) == [], "asking makes no folder"

    @pytest.mark.parametrize("keep", [1, 2, 3])
    def test_the_last_n_are_kept_and_no_other(self, tmp_path, keep):
        for epoch in range(1, 5):
            checkpoint.save(tmp_path, epoch, make_state(epoch), META, keep=keep)
            assert checkpoint.latest(tmp_path) == epoch
        found = sorted(int(p.name) for p in (tmp_path / "state").iterdir())
        assert found == list(range(5 - keep, 5))
        for epoch in found:
            back = checkpoint.load_state(tmp_path, epoch, make_state())
            assert bits(back) == bits(make_state(epoch))

    def test_epoch_10_comes_after_epoch_9(self, tmp_path):
        for epoch in (9, 10):
            checkpoint.save(tmp_path, epoch, make_state(), META, keep=3)
        assert checkpoint.latest(tmp_path) == 10

    def test_the_stored_data_is_no_epoch(self, saved, tiny_dataset, tiny_split):
        checkpoint.save_dataset(saved, tiny_dataset, tiny_split)
        assert checkpoint.latest(saved) == 2
        checkpoint.save(saved, 3, make_state(), META, keep=1)
        dataset, _ = checkpoint.load_dataset(saved)
        assert dataset.fingerprint == tiny_dataset.fingerprint

    @pytest.mark.parametrize(
        "name", ["3.orbax-checkpoint-tmp", "3.orbax-checkpoint-tmp-1700000000"]
    )
    def test_an_unfinished_folder_is_invisible(self, saved, name):
        # What a process killed while it saves leaves behind.
        shutil.copytree(saved / "state" / "2", saved / "state" / name)
        assert checkpoint.latest(saved) == 2
        checkpoint.save(saved, 3, make_state(3), META, keep=5)
        assert checkpoint.latest(saved) == 3
        assert bits(checkpoint.load_state(saved, 3, make_state())) == bits(
            make_state(3)
        )

    def test_nothing_is_pickled(self, saved, tiny_dataset, tiny_split):
        checkpoint.save_dataset(saved, tiny_dataset, tiny_split)
        files = [path for path in saved.rglob("*") if path.is_file()]
        assert len(files) > 10
        for path in files:
            # Pickle's opening bytes, protocol 2 and later, at the start of a file.
            assert path.read_bytes()[:2] not in [bytes([0x80, n]) for n in range(2, 6)]


class TestAnotherModel:
    def test_other_shapes_are_refused_naming_the_parameter(self, saved):
        like = make_state(width=5)
        with pytest.raises(RunError, match="another model") as error:
            checkpoint.load_state(saved, 2, like)
        text = one_sentence(error)
        assert ".params['fc1']['kernel']" in text, "the first that differs"
        assert "[2, 4, 3]" in text
        assert "[2, 5, 3]" in text

    def test_another_type_of_number_is_refused_naming_the_parameter(self, saved):
        like = make_state()
        like = like.replace(step=like.step.astype(np.float32))
        with pytest.raises(RunError, match="another model") as error:
            checkpoint.load_state(saved, 2, like)
        assert "step" in one_sentence(error)

    @pytest.mark.parametrize("extra", [True, False])
    def test_a_parameter_too_many_or_too_few_is_refused(self, saved, extra):
        like = make_state()
        params = dict(like.params)
        if extra:
            params["fc9"] = {"kernel": np.zeros((2, 3), np.float32)}
        else:
            del params["mean"]
        with pytest.raises(RunError, match="another model") as error:
            checkpoint.load_state(saved, 2, like.replace(params=params))
        one_sentence(error)

    def test_another_format_is_refused_and_names_both(self, tmp_path):
        # As a later version writes it.
        later = checkpoint.FORMAT + 6
        checkpoint.save(tmp_path, 2, make_state(), {**META, "format": later}, keep=1)
        with pytest.raises(RunError) as error:
            checkpoint.load_meta(tmp_path, 2)
        text = one_sentence(error)
        assert f"has format {later}" in text
        assert f"reads format {checkpoint.FORMAT}" in text
        assert "environment.json" in text


def damage_missing(path):
    path.unlink()


def damage_truncated(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def damage_emptied(path):
    path.write_bytes(b"")


def damage_flipped(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(bytes(content))


DAMAGE = [damage_missing, damage_truncated, damage_emptied, damage_flipped]


def kinds_of_file(folder):
    """One file of each kind in a checkpoint: names of chunks are random."""
    kinds = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.stat().st_size:
            name = str(path.relative_to(folder))
            kind = os.path.dirname(name) if len(path.name) == 32 else name
            # The largest chunk of a folder holds arrays, the others the index.
            if kind not in kinds or path.stat().st_size > kinds[kind].stat().st_size:
                kinds[kind] = path
    return kinds


class TestDamage:
    @pytest.mark.parametrize("damage", DAMAGE)
    def test_a_damaged_file_of_a_checkpoint_never_gives_a_wrong_number(
        self, tmp_path, damage, capfd
    ):
        # Each kind of file in turn. One that is not needed to read the state may be
        # lost; then what is read must be what was written.
        whole = tmp_path / "whole"
        for epoch in (1, 2):
            checkpoint.save(whole, epoch, make_state(epoch), META, keep=5)
        kinds = kinds_of_file(whole / "state" / "2")
        assert len(kinds) >= 5
        refused = []
        for kind, original in kinds.items():
            run = shutil.copytree(whole, tmp_path / "run")
            damage(run / original.relative_to(whole))
            try:
                meta = checkpoint.load_meta(run, 2)
                state = checkpoint.load_state(run, 2, make_state())
            except RunError as error:
                refused.append((kind, str(error)))
            else:
                assert bits(state) == bits(make_state(2)), f"{kind}: wrong numbers"
                assert meta == {**META, "format": 1, "epoch": 2}, kind
            # The earlier one is whole all the while.
            back = checkpoint.load_state(run, 1, make_state())
            assert bits(back) == bits(make_state(1)), kind
            shutil.rmtree(run)
        for kind, text in refused:
            assert "epoch 2" in text, kind
            assert "\n" not in text, kind
        kinds = [kind for kind, _ in refused]
        assert any("state" in kind for kind in kinds), "no damage was noticed"
        if damage is not damage_flipped:
            assert any("meta" in kind for kind in kinds)
        printed = "".join(capfd.readouterr())
        assert "Traceback" not in printed
        assert "Event loop" not in printed

    def test_the_sentence_says_how_to_go_on_from_the_earlier_one(self, saved):
        shutil.rmtree(saved / "state" / "2" / "state")
        with pytest.raises(RunError) as error:
            checkpoint.load_state(saved, 2, make_state())
        text = one_sentence(error)
        folder = saved.resolve() / "state" / "2"
        assert f"remove {folder} to go on from epoch 1" in text
        shutil.rmtree(folder)
        assert checkpoint.latest(saved) == 1, "and the advice is right"

    def test_the_sentence_of_the_only_one_says_to_train_again(self, tmp_path):
        checkpoint.save(tmp_path, 1, make_state(), META, keep=1)
        shutil.rmtree(tmp_path / "state" / "1" / "state")
        with pytest.raises(RunError, match="train again into a new --workdir"):
            checkpoint.load_state(tmp_path, 1, make_state())

    @pytest.mark.parametrize(
        "load",
        [
            checkpoint.load_meta,
            lambda folder, epoch: checkpoint.load_state(folder, epoch, make_state()),
        ],
        ids=["meta", "state"],
    )
    def test_an_epoch_that_was_never_saved_is_refused(self, saved, load):
        with pytest.raises(RunError, match="epoch 7") as error:
            load(saved, 7)
        one_sentence(error)


class TestFailingSave:
    def test_a_state_folder_that_cannot_be_made_is_one_sentence(self, tmp_path, capfd):
        (tmp_path / "state").write_text("a file in the way")
        with pytest.raises(RunError, match="of epoch 1 could not be written") as error:
            checkpoint.save(tmp_path, 1, make_state(), META, keep=1)
        one_sentence(error)
        assert "Traceback" not in "".join(capfd.readouterr())
        assert (tmp_path / "state").read_text() == "a file in the way"

    def test_meta_that_is_no_json_is_refused_and_the_earlier_ones_stay(self, saved):
        with pytest.raises(RunError, match="of epoch 3 could not be written"):
            checkpoint.save(saved, 3, make_state(), {"object": object()}, keep=5)
        assert checkpoint.latest(saved) == 2
        assert bits(checkpoint.load_state(saved, 2, make_state())) == bits(
            make_state(2)
        )


class TestDataset:
    def assert_equal(self, found, wanted):
        for field in dataclasses.fields(wanted):
            a, b = getattr(found, field.name), getattr(wanted, field.name)
            if field.name == "features":
                for name in ("genres", "tags"):
                    np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
                    assert getattr(a, name).dtype == getattr(b, name).dtype
            elif isinstance(b, np.ndarray):
                np.testing.assert_array_equal(a, b)
                assert a.dtype == b.dtype, field.name
            else:
                assert a == b, field.name
                assert type(a) is type(b), field.name

    def test_the_data_and_its_split_come_back_equal(
        self, tmp_path, tiny_dataset, tiny_split
    ):
        checkpoint.save_dataset(tmp_path, tiny_dataset, tiny_split)
        dataset, split = checkpoint.load_dataset(tmp_path)
        self.assert_equal(dataset, tiny_dataset)
        self.assert_equal(split, tiny_split)

    def test_titles_of_any_script_and_sign_come_back(
        self, tmp_path, tiny_dataset, tiny_split
    ):
        odd = (
            "映画 (1954)",
            "[REC]² (2007)",
            '"Quoted", and comma',
            "Amélie\t\\n",
            "🎬",
            "",
        )
        titles = odd + tiny_dataset.titles[len(odd) :]
        changed = dataclasses.replace(tiny_dataset, titles=titles, floor_rmse=None)
        checkpoint.save_dataset(tmp_path, changed, tiny_split)
        found, _ = checkpoint.load_dataset(tmp_path)
        assert found.titles == titles
        assert found.floor_rmse is None
        assert found.titles != tiny_dataset.titles, "control"

    def test_parts_without_rows_come_back_empty(
        self, tmp_path, tiny_dataset, tiny_split
    ):
        none = np.zeros(0, np.int64)
        changed = dataclasses.replace(tiny_split, valid=none)
        checkpoint.save_dataset(tmp_path, tiny_dataset, changed)
        _, split = checkpoint.load_dataset(tmp_path)
        assert split.valid.shape == (0,)
        assert split.valid.dtype == np.int64

    @pytest.mark.parametrize("make", SPLITS.values(), ids=SPLITS)
    def test_each_split_comes_back_by_name_without_any_state(
        self, tmp_path, tiny_dataset, make
    ):
        # A model of another library has data and no weights in its folder.
        wanted = make(tiny_dataset, 42)
        checkpoint.save_dataset(tmp_path, tiny_dataset, wanted)
        assert checkpoint.latest(tmp_path) is None
        _, split = checkpoint.load_dataset(tmp_path)
        assert split.definition == wanted.definition
        assert split.fingerprint == wanted.fingerprint
        for part in ("train", "valid", "test"):
            np.testing.assert_array_equal(getattr(split, part), getattr(wanted, part))

    def test_saving_again_replaces_it(self, tmp_path, tiny_dataset, tiny_split):
        checkpoint.save_dataset(tmp_path, tiny_dataset, tiny_split)
        renamed = dataclasses.replace(tiny_dataset, label="another")
        checkpoint.save_dataset(tmp_path, renamed, tiny_split)
        assert checkpoint.load_dataset(tmp_path)[0].label == "another"

    def test_missing_data_is_one_sentence(self, tmp_path):
        with pytest.raises(RunError, match="is missing or damaged") as error:
            checkpoint.load_dataset(tmp_path)
        assert str(tmp_path.resolve() / "state" / "dataset") in one_sentence(error)

    @pytest.mark.parametrize("damage", DAMAGE)
    def test_damaged_data_never_gives_a_wrong_number(
        self, tmp_path, tiny_dataset, tiny_split, damage, capfd
    ):
        whole = tmp_path / "whole"
        checkpoint.save_dataset(whole, tiny_dataset, tiny_split)
        refused = []
        for kind, original in kinds_of_file(whole / "state" / "dataset").items():
            run = shutil.copytree(whole, tmp_path / "run")
            damage(run / original.relative_to(whole))
            try:
                dataset, split = checkpoint.load_dataset(run)
            except RunError as error:
                refused.append((kind, str(error)))
            else:
                self.assert_equal(dataset, tiny_dataset)
                self.assert_equal(split, tiny_split)
            shutil.rmtree(run)
        assert all("\n" not in text for _, text in refused)
        assert any("arrays" in kind for kind, _ in refused), "no damage was noticed"
        printed = "".join(capfd.readouterr())
        assert "Traceback" not in printed
        assert "Event loop" not in printed

    def test_an_index_out_of_range_is_refused(self, tmp_path, tiny_dataset, tiny_split):
        wrong = dataclasses.replace(tiny_dataset, item=tiny_dataset.item + 1)
        checkpoint.save_dataset(tmp_path, wrong, tiny_split)
        with pytest.raises(RunError, match="damaged"):
            checkpoint.load_dataset(tmp_path)

    def test_data_that_cannot_be_written_is_one_sentence(
        self, tmp_path, tiny_dataset, tiny_split
    ):
        (tmp_path / "state").write_text("a file in the way")
        with pytest.raises(RunError, match="could not be written") as error:
            checkpoint.save_dataset(tmp_path, tiny_dataset, tiny_split)
        one_sentence(error)


def test_what_is_stored_of_the_titles_can_be_read_by_a_person(
    tmp_path, tiny_dataset, tiny_split
):
    checkpoint.save_dataset(tmp_path, tiny_dataset, tiny_split)
    about = tmp_path / "state" / "dataset" / "about"
    texts = [path.read_text() for path in about.rglob("*") if path.is_file()]
    stored = [json.loads(text) for text in texts if '"titles"' in text]
    assert stored[0]["dataset"]["titles"] == list(tiny_dataset.titles)
