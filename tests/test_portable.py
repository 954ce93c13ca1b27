"""A portable artefact: written whole or not at all, and only if it is the model.

Held here: what is read again is what was exported, with titles, ids and what users have
seen; the check sees a number that is off by more than the stated tolerance, in arrays
or on the way to the disk, and then nothing is left; files that are damaged, missing or
of another format are named; a folder that is there stays as it is; a full disk and a
model without numbers are told in one sentence.
"""

import errno
import hashlib
import json
from pathlib import Path

import jax
import numpy as np
import pytest

import ncf_jax
from ncf_jax import portable, report, staged
from ncf_jax.errors import ConfigError, RunError
from ncf_jax.recommend import recommend
from tests.test_staged import KINDS, run_of


@pytest.fixture(scope="module")
def run(tiny_dataset, tiny_split):
    return run_of(tiny_dataset, tiny_split, **KINDS["ncf"])


@pytest.fixture(scope="module")
def written(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("artefact") / "new" / "one"
    return folder, portable.write(run, folder)


@pytest.fixture
def artefact(written):
    return portable.load(written[0])


@pytest.fixture
def simple(tiny_dataset, tiny_split):
    return run_of(tiny_dataset, tiny_split, model="bias")


def nothing_in(folder):
    return sorted(path.name for path in folder.iterdir()) == []


class TestWhatIsWritten:
    def test_the_folder_holds_five_files_and_its_parent_nothing_else(self, written):
        folder = written[0]
        found = {path.name for path in folder.iterdir()}
        assert found == {*portable.CONTENT, "export.json"}
        assert [path.name for path in folder.parent.iterdir()] == ["one"]

    def test_it_says_what_it_is(self, written, run):
        folder, about = written
        assert json.loads((folder / "export.json").read_text()) == about
        assert about["format"] == portable.FORMAT
        assert about["ncf_jax"] == ncf_jax.__version__
        assert about["jax"] == jax.__version__
        assert about["platforms"] == ["cpu", "cuda", "tpu"]
        assert about["data"] == run.dataset.fingerprint
        assert about["split"] == run.split.fingerprint
        assert (about["networks"], about["epoch"], about["epochs"]) == (3, 3, 3)
        assert about["synthetic"] is True
        for name, file in about["files"].items():
            content = (folder / name).read_bytes()
            assert file["bytes"] == len(content)
            assert file["sha256"] == hashlib.sha256(content).hexdigest()

    def test_the_check_is_over_every_user_and_item(self, written, run):
        check, data = written[1]["check"], run.dataset
        assert (check["users"], check["seed"]) == (data.num_users, None)
        assert check["predictions"] == data.num_users * (data.num_items + 1)
        assert 0 <= check["greatest_difference"] <= 5e-6
        assert check["allowed_difference"] == pytest.approx(5e-6)

    def test_titles_ids_and_what_was_seen_are_those_of_the_data(self, artefact, run):
        data, found = run.dataset, artefact.catalogue
        assert found["item_ids"] == data.item_ids.tolist()
        assert found["user_ids"] == data.user_ids.tolist()
        assert found["titles"] == list(data.titles)
        assert found["genres"] == list(data.genres)
        assert found["dataset"] == data.label
        assert len(artefact.seen) == data.num_users
        for user, seen in enumerate(artefact.seen):
            assert seen.tolist() == sorted(set(data.item[data.user == user].tolist()))

    def test_a_user_without_ratings_has_seen_nothing(self, run):
        user = np.where(run.dataset.user == 0, 1, run.dataset.user)
        found = portable.seen_by_user(
            run.dataset.__class__(**{**run.dataset.__dict__, "user": user})
        )
        assert found["seen/start"][:2].tolist() == [0, 0]

    def test_lists_from_it_are_those_of_the_library(self, artefact, run):
        for user in (0, 17, 39):
            ids = np.array([user], np.int32)
            stars = np.array(artefact.all_items(artefact.arrays, ids))[0]
            stars[artefact.seen[user]] = -np.inf
            best = np.argsort(-stars, kind="stable")[:3]
            movies = recommend(
                run.model,
                run.params,
                run.dataset,
                int(run.dataset.user_ids[user]),
                k=3,
            )
            titles = [artefact.catalogue["titles"][item] for item in best]
            assert titles == [movie.title for movie in movies]


class TestTheCheck:
    @pytest.mark.parametrize("name", ["params/fc2/kernel", "features/genres"])
    def test_a_changed_number_is_noticed(self, run, artefact, name):
        portable.check(run, artefact)
        arrays = [array.copy() for array in artefact.arrays]
        arrays[list(artefact.about["arrays"]).index(name)].flat[0] += 0.01
        with pytest.raises(RunError, match="differs from the model by"):
            portable.check(run, artefact._replace(arrays=arrays))

    @pytest.mark.parametrize(("off", "fine"), [(3e-6, True), (3e-5, False)])
    def test_the_tolerance_is_a_millionth_of_the_scale(self, run, artefact, off, fine):
        def shifted(arrays, user):
            return np.asarray(artefact.all_items(arrays, user)) + np.float32(off)

        changed = artefact._replace(all_items=shifted)
        if fine:
            found = portable.check(run, changed)
            assert found["greatest_difference"] > 1e-6
        else:
            with pytest.raises(RunError, match="are allowed: nothing was written"):
                portable.check(run, changed)

    def test_pairs_are_compared_too(self, run, artefact):
        def shifted(arrays, user, item):
            return np.asarray(artefact.pairs(arrays, user, item)) + 0.01

        with pytest.raises(RunError, match="differs from the model"):
            portable.check(run, artefact._replace(pairs=shifted))

    def test_no_number_is_a_difference(self, run, artefact):
        def none(arrays, user):
            return np.full((len(user), run.dataset.num_items), np.nan, np.float32)

        with pytest.raises(RunError, match="differs from the model"):
            portable.check(run, artefact._replace(all_items=none))

    def test_of_a_large_catalogue_a_seeded_sample_is_compared_in_blocks(
        self, run, artefact, monkeypatch
    ):
        items, asked = run.dataset.num_items, []

        def count(arrays, user):
            asked.append(user.tolist())
            return artefact.all_items(arrays, user)

        monkeypatch.setattr(portable, "CHECKED", 9 * items)
        monkeypatch.setattr(portable, "AT_ONCE", 4 * items * 3)
        found = portable.check(run, artefact._replace(all_items=count))
        assert (found["users"], found["of_users"], found["seed"]) == (9, 40, 0)
        assert [len(block) for block in asked] == [4, 4, 1]
        users = [user for block in asked for user in block]
        assert users == sorted(set(users))
        assert users != list(range(9))

    def test_what_is_not_the_model_on_the_disk_leaves_nothing(
        self, simple, tmp_path, monkeypatch
    ):
        write = report.write_npz

        def tampered(path, arrays):
            mean = arrays["params/mean"] + np.float32(1e-4)
            write(path, {**arrays, "params/mean": mean})

        monkeypatch.setattr(report, "write_npz", tampered)
        with pytest.raises(RunError, match=r"differs from the model by 0\.0005"):
            portable.write(simple, tmp_path / "a" / "b")
        assert nothing_in(tmp_path)
        monkeypatch.undo()
        portable.write(simple, tmp_path / "a" / "b")


class TestRefusals:
    @pytest.mark.parametrize("name", [*portable.CONTENT])
    def test_a_changed_file_is_named(self, simple, tmp_path, name):
        portable.write(simple, tmp_path / "one")
        path = tmp_path / "one" / name
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
        with pytest.raises(RunError, match=f"{name} is not what was written"):
            portable.load(tmp_path / "one")
        path.unlink()
        with pytest.raises(RunError, match="Export the run again"):
            portable.load(tmp_path / "one")

    @pytest.mark.parametrize("content", ['{"format": 0}', "[]", "{"])
    def test_another_format_is_not_read(self, tmp_path, content):
        (tmp_path / "export.json").write_text(content)
        with pytest.raises(RunError, match=r"export\.json"):
            portable.load(tmp_path)

    def test_a_folder_that_is_there_stays_as_it_is(self, simple, tmp_path):
        (tmp_path / "mine.txt").write_text("mine")
        with pytest.raises(RunError, match="nothing is overwritten"):
            portable.write(simple, tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
        with pytest.raises(RunError, match="nothing is overwritten"):
            portable.write(simple, tmp_path / "mine.txt")
        assert (tmp_path / "mine.txt").read_text() == "mine"

    @pytest.mark.parametrize("name", [*portable.CONTENT, "export.json"])
    def test_a_full_disk_leaves_nothing(self, simple, tmp_path, monkeypatch, name):
        whole = Path.write_bytes

        def full(path, content):
            if name in path.name:
                raise OSError(errno.ENOSPC, "No space left on device")
            return whole(path, content)

        monkeypatch.setattr(type(tmp_path), "write_bytes", full)
        with pytest.raises(RunError, match=r"No space left on device.*Make room"):
            portable.write(simple, tmp_path / "one")
        assert nothing_in(tmp_path)

    def test_predictions_that_are_no_numbers_are_not_exported(self, simple, tmp_path):
        params = simple.params | {"mean": np.full(1, np.nan, np.float32)}
        with pytest.raises(RunError, match="NaN or infinite; nothing is exported"):
            portable.write(simple._replace(params=params), tmp_path / "one")
        assert nothing_in(tmp_path)

    def test_without_flatbuffers_nothing_is_read(self, simple, tmp_path, monkeypatch):
        portable.write(simple, tmp_path / "one")

        def missing(content):
            raise ImportError("Please install 'flatbuffers'")

        monkeypatch.setattr(portable.jax_export, "deserialize", missing)
        with pytest.raises(ConfigError) as error:
            portable.load(tmp_path / "one")
        assert str(error.value) == str(staged.no_flatbuffers())
