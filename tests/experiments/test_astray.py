"""Checkpoints that are whole and in the wrong place, folders that go while in use.

Held here: a checkpoint of another run of the same shapes, or of another epoch, is
refused by what differs and never becomes a number; what lies beside checkpoints is
written again; a run whose folder is gone writes into no other's.
"""

import shutil

import pytest

from ncf_jax import checkpoint, report
from tests.experiments.test_resume import assert_same_bits, assert_same_ending, state_of

READERS = {
    "evaluate": [],
    "recommend": ["--user_id=1"],
    "export": ["--export_dir={}/new"],
}


@pytest.fixture
def stopped(finished, tmp_path):
    """The finished run as if it had been stopped before its evaluation."""
    folder = shutil.copytree(finished.workdir, tmp_path / "run")
    (folder / "metrics.json").unlink()
    return folder


@pytest.fixture
def anothers(stopped, command, tiny, tmp_path):
    """The same with the last checkpoint of a run by another seed in its place."""
    assert command("train", *tiny(tmp_path / "other", seed=1)).code == 0
    shutil.rmtree(stopped / "state" / "3")
    shutil.copytree(tmp_path / "other" / "state" / "3", stopped / "state" / "3")
    return stopped


def test_training_does_not_go_on_from_anothers(anothers, command, tiny):
    sentence = command("train", *tiny(anothers)).sentence(4)
    assert sentence == (
        f"The checkpoint of epoch 3 in {anothers} is another run's: --seed: 1 there, 0 "
        f"here. Remove {anothers / 'state' / '3'}, or choose another --workdir."
    )
    assert report.read_results(anothers) is None


def test_the_advice_works(anothers, finished, command, tiny):
    shutil.rmtree(anothers / "state" / "3")
    assert command("train", *tiny(anothers)).code == 0
    assert_same_bits(state_of(anothers), state_of(finished.workdir))


@pytest.mark.parametrize("reader", READERS)
def test_nor_is_anothers_read(anothers, finished, command, tmp_path, reader):
    rest = [flag.format(tmp_path) for flag in READERS[reader]]
    sentence = command(reader, f"--workdir={anothers}", *rest).sentence(4)
    assert "--seed: 1 there, 0 here" in sentence
    # The control: its own is.
    assert command(reader, f"--workdir={finished.workdir}", *rest).code == 0


@pytest.mark.parametrize("name", ["train", "evaluate"])
def test_a_checkpoint_that_was_renamed_is_refused(stopped, command, tiny, name):
    shutil.rmtree(stopped / "state" / "3")
    (stopped / "state" / "2").rename(stopped / "state" / "3")
    line = tiny(stopped) if name == "train" else [f"--workdir={stopped}"]
    sentence = command(name, *line).sentence(4)
    assert "The checkpoint of epoch 3" in sentence
    assert "says that it is of epoch 2: it was moved or copied" in sentence


@pytest.mark.parametrize("damage", ["gone", "altered"])
def test_the_data_beside_checkpoints_are_written_again(
    stopped, finished, command, tiny, damage
):
    place = stopped / "state" / "dataset"
    if damage == "gone":
        shutil.rmtree(place)
        (stopped / "environment.json").unlink()
    else:
        about = place / "about" / "metadata"
        text = about.read_text()
        about.write_text(text.replace('"', "'", 1))
    assert command("evaluate", f"--workdir={stopped}").code == 4
    done = command("train", *tiny(stopped))
    assert done.code == 0, done.err
    assert "data beside the checkpoints is damaged, and is written again" in done.out
    assert_same_ending(stopped, finished.workdir)
    assert command("evaluate", f"--workdir={stopped}").code == 0


def test_whole_data_are_left_alone(stopped, command, tiny, monkeypatch):
    monkeypatch.setattr(checkpoint, "save_dataset", None)
    done = command("train", *tiny(stopped))
    assert (done.code, "written again" in done.out) == (0, False)


@pytest.mark.parametrize("streamed", [False, True])
def test_a_run_whose_folder_is_gone_writes_into_no_others(
    command, tiny, tmp_path, monkeypatch, streamed
):
    workdir = tmp_path / "run"
    more = dict(input="stream", chunk_examples=64, save_chunks=1) if streamed else {}
    real = checkpoint.save

    def removing(folder, *rest, **options):
        real(folder, *rest, **options)
        shutil.rmtree(workdir)
        workdir.mkdir()
        (workdir / "of another").write_text("precious")

    monkeypatch.setattr(checkpoint, "save", removing)
    sentence = command("train", *tiny(workdir, **more)).sentence(4)
    assert sentence.startswith(f"{workdir} was removed or replaced while this run")
    left = {path.name for path in workdir.iterdir()}
    assert left - {"history.csv", "events.jsonl"} == {"of another"}


def test_a_run_that_trains_on_is_read_from_its_newest(finished, monkeypatch, tmp_path):
    """Epoch 2 gives way to epoch 3 while it is read."""
    import ncf_jax

    folder = shutil.copytree(finished.workdir, tmp_path / "run")
    newer = shutil.move(folder / "state" / "3", tmp_path / "3")
    real = checkpoint.load_state

    def late(workdir, epoch, like):
        if epoch == 2:
            shutil.rmtree(folder / "state" / "2")
            shutil.move(newer, folder / "state" / "3")
        return real(workdir, epoch, like)

    monkeypatch.setattr(checkpoint, "load_state", late)
    assert checkpoint.latest(folder) == 2
    assert ncf_jax.load_run(str(folder)).epoch == 3
    # The control: with none that is newer the damage is told.
    shutil.rmtree(folder / "state" / "3" / "state")
    with pytest.raises(ncf_jax.NcfError, match="is damaged"):
        ncf_jax.load_run(str(folder))
