"""One writer a folder: the second is refused, and no lock outlives its process."""

import errno
import fcntl
import signal
import subprocess
import sys

import pytest

from ncf_jax import locks
from ncf_jax.errors import RunError

HOLDS = """
import sys, time
from pathlib import Path
from ncf_jax import locks
with locks.hold(Path(sys.argv[1])) as locked:
    print(locked, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds tmp_path / "run"."""
    folder = tmp_path / "run"
    line = [sys.executable, "-c", HOLDS, str(folder)]
    process = subprocess.Popen(line, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "True\n"
    yield folder, process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_second_process_is_refused_in_one_sentence(holder):
    folder, _ = holder
    with pytest.raises(RunError) as error, locks.hold(folder):
        raise AssertionError("it was let in")
    assert str(error.value) == (
        f"Another process is at work in {folder}. Wait for its end, stop it, or choose "
        f"another --workdir."
    )
    assert folder.is_dir(), "the other's folder is left alone"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_process_leaves_no_lock(holder, number):
    folder, process = holder
    process.send_signal(number)
    process.wait()
    with locks.hold(folder) as locked:
        assert locked


def test_the_lock_ends_with_the_body_even_if_it_fails(tmp_path):
    for _ in range(2):
        with pytest.raises(KeyError), locks.hold(tmp_path):
            raise KeyError
    with locks.hold(tmp_path), pytest.raises(RunError), locks.hold(tmp_path):
        raise AssertionError("one process may hold it once only")


def test_a_folder_that_stays_empty_is_removed_and_another_is_kept(tmp_path):
    with locks.hold(tmp_path / "new"):
        pass
    assert not (tmp_path / "new").exists()
    (tmp_path / "mine").mkdir()
    with locks.hold(tmp_path / "mine"):
        pass
    with locks.hold(tmp_path / "used"):
        (tmp_path / "used" / "file").write_text("x")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "used"]


@pytest.mark.parametrize("below", [False, True])
def test_a_file_in_the_way_is_one_sentence(tmp_path, below):
    (tmp_path / "file").write_text("precious")
    folder = tmp_path / "file" / "run" if below else tmp_path / "file"
    with pytest.raises(RunError, match="cannot be made") as error, locks.hold(folder):
        raise AssertionError("it was let in")
    assert "\n" not in str(error.value)
    assert (tmp_path / "file").read_text() == "precious"


def test_a_file_system_without_locks_says_so(tmp_path, monkeypatch):
    def none(descriptor, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    with locks.hold(tmp_path) as locked:
        assert not locked


def test_a_folder_that_its_holder_removes_meanwhile_is_made_again(
    tmp_path, monkeypatch
):
    folder, real, calls = tmp_path / "run", fcntl.flock, []

    def late(descriptor, how):
        calls.append(how)
        if len(calls) == 1:  # between opening and locking
            folder.rmdir()
        real(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with locks.hold(folder) as locked:
        assert locked
        assert len(calls) == 2
        with pytest.raises(RunError, match="is at work"), locks.hold(folder):
            raise AssertionError("both were let in")
    assert not folder.exists()
