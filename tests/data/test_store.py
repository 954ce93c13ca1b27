"""Prepared data on disk: identical, or none; and never trusted when damaged.

Held here: a damaged, cut, foreign or older file is none, whatever byte was changed, and
is made anew; a file appears whole or not at all; what is kept is asked for by content
and options, and nothing is kept where no folder is named.
"""

import contextlib
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ncf_jax import prepare
from ncf_jax.config import DataConfig
from ncf_jax.data import silent
from ncf_jax.data.store import arrays, cached, load_npz, save_npz
from ncf_jax.errors import DataError
from tests.data.test_prepare import assert_identical, config_of, prepared


def cached_file(tmp_path):
    """The path of a cache file and the data set it holds."""
    dataset = prepared(tmp_path, cache_dir=str(tmp_path / "cache"))
    (file,) = (tmp_path / "cache").iterdir()
    return file, dataset


DAMAGES = {
    "empty": lambda raw: b"",
    "cut in half": lambda raw: raw[: len(raw) // 2],
    "one byte short": lambda raw: raw[:-1],
    "only its first bytes": lambda raw: raw[:4],
    "garbage": lambda raw: bytes(range(256)) * 10,
    "text": lambda raw: b"not a cache",
    "zeros": lambda raw: bytes(len(raw)),
    "a pickle": lambda raw: b"\x80\x04N.",
    "a single array": lambda raw: b"\x93NUMPY\x01\x00" + raw[:100],
    "a byte in the middle": lambda raw: (
        raw[: len(raw) // 3]
        + bytes([raw[len(raw) // 3] ^ 1])
        + raw[len(raw) // 3 + 1 :]
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_cache_is_made_anew(tmp_path, damage):
    file, dataset = cached_file(tmp_path)
    raw = file.read_bytes()
    file.write_bytes(DAMAGES[damage](raw))
    assert load_npz(file) is None
    again = prepare(config_of(tmp_path, cache_dir=str(file.parent)))
    assert_identical(again, dataset)
    assert_identical(load_npz(file), dataset)
    assert [path.name for path in file.parent.iterdir()] == [file.name]


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A cache file's path, its bytes and the data set in it."""
    file, dataset = cached_file(tmp_path_factory.mktemp("stored"))
    return file.with_name("damaged.npz"), file.read_bytes(), dataset


@given(
    where=st.floats(0, 1, exclude_max=True),
    byte=st.integers(0, 255),
    near_the_end=st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_a_flipped_byte_gives_the_same_data_or_none(stored, where, byte, near_the_end):
    # The archive's directory, at its end, is where damage raises the rarest errors.
    path, raw, dataset = stored
    span = min(1500, len(raw)) if near_the_end else len(raw)
    position = len(raw) - span + int(where * span)
    path.write_bytes(raw[:position] + bytes([byte]) + raw[position + 1 :])
    loaded = load_npz(path)
    if loaded is not None:
        assert_identical(loaded, dataset)


def every_flip_of_the_directory(path, read):
    """What `read` gives for each bit of an archive's list of members, where it does."""
    written = {"a": np.arange(3), "b": np.eye(2), "c": np.array(["x"])}
    np.savez(path, **written)
    raw = path.read_bytes()
    for place in range(raw.index(b"PK\x01\x02"), len(raw)):
        for bit in range(8):
            changed = bytes([raw[place] ^ (1 << bit)])
            path.write_bytes(raw[:place] + changed + raw[place + 1 :])
            with contextlib.suppress(Exception):
                found = read(path)
                yield {n: x.tolist() for n, x in found.items()} == {
                    n: x.tolist() for n, x in written.items()
                }


def test_no_bit_of_the_list_of_arrays_hides_one(tmp_path):
    path = tmp_path / "some.npz"
    assert set(every_flip_of_the_directory(path, arrays)) == {True}

    def read(path):
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}

    # The control: NumPy alone loses an array and says nothing.
    assert set(every_flip_of_the_directory(path, read)) == {True, False}


@pytest.mark.parametrize(
    ("offset", "value"),
    [(8, 1), (10, 99), (10, 8), (10, 12), (10, 14), (6, 200)],
    ids=["encrypted", "unknown", "deflated", "bzip2", "lzma", "a later zip"],
)
def test_a_cache_whose_directory_is_damaged_is_made_anew(stored, offset, value):
    path, raw, _ = stored
    entry = raw.index(b"PK\x01\x02")
    position = entry + offset
    path.write_bytes(raw[:position] + bytes([value]) + raw[position + 1 :])
    assert load_npz(path) is None


def rewritten(path, **changes):
    """The cache file with some arrays, or texts in its `meta`, replaced or removed."""
    with np.load(path) as stored:
        arrays = {name: stored[name] for name in stored.files}
    meta = json.loads(arrays["meta"].tobytes())
    for name, value in changes.items():
        home = meta if name in meta else arrays
        home.pop(name, None)
        if value is not None:
            home[name] = value
    arrays["meta"] = np.frombuffer(json.dumps(meta).encode(), np.uint8)
    np.savez(path, **arrays)


@pytest.mark.parametrize(
    "changes",
    [
        {"user": None},
        {"features_tags": None},
        {"titles": None},
        {"fingerprint": None},
        {"rating": np.zeros(3, np.float32)},
        {"user": np.full(6, 99, np.int32)},
        {"item": np.full(6, -1, np.int32)},
        {"titles": ["one"]},
        {"genre_names": ["one"]},
        {"features_genres": np.zeros((3, 1), np.float32)},
    ],
    ids=lambda changes: "-".join(changes),
)
def test_a_cache_of_another_form_is_made_anew(tmp_path, changes):
    # As an earlier or later version of the package may have written it.
    file, dataset = cached_file(tmp_path)
    rewritten(file, **changes)
    assert load_npz(file) is None
    again = prepare(config_of(tmp_path, cache_dir=str(file.parent)))
    assert_identical(again, dataset)


def test_a_rewritten_cache_without_a_change_is_still_read(tmp_path):
    # The control of the test above.
    file, dataset = cached_file(tmp_path)
    rewritten(file)
    assert_identical(load_npz(file), dataset)


def test_a_cache_that_is_not_there_is_none(tmp_path):
    assert load_npz(tmp_path / "nothing.npz") is None


def test_a_cache_file_is_written_whole_or_not_at_all(tmp_path):
    dataset = prepared(tmp_path)
    target = tmp_path / "cache" / "x.npz"
    target.mkdir(parents=True)  # a folder stands where the file should go
    with pytest.raises(DataError, match="could not be written"):
        save_npz(target, dataset)
    assert [p.name for p in target.parent.iterdir()] == ["x.npz"], "a part was left"


def test_a_cache_can_be_read_by_whoever_can_read_the_folder(tmp_path):
    file, _ = cached_file(tmp_path)
    (tmp_path / "plain").write_text("as the user's umask has it")
    assert file.stat().st_mode == (tmp_path / "plain").stat().st_mode


# --- what is kept, and under which name -----------------------------------------------


@pytest.fixture
def making(tmp_path):
    """Asks for a data set of some hashes and options; counts how often it is made."""
    dataset, made = prepared(tmp_path / "data"), []

    def ask(hashes, **options):
        def make():
            made.append(hashes)
            return dataset

        config = DataConfig(**{"cache_dir": str(tmp_path / "kept")} | options)
        assert_identical(cached("some", hashes, config, silent, make), dataset)
        return len(made)

    return ask


def test_the_same_content_and_options_are_made_once(making):
    assert [making({"a": "1", "b": "2"}) for _ in range(3)] == [1, 1, 1]


@pytest.mark.parametrize(
    ("hashes", "options"),
    [
        ({"a": "1", "b": "3"}, {}),
        ({"a": "2", "b": "1"}, {}),
        ({"a": "1", "b": "2"}, {"min_item_ratings": 2}),
        ({"a": "1", "b": "2"}, {"min_user_ratings": 2}),
    ],
)
def test_other_content_or_filters_are_made_anew(making, hashes, options):
    making({"a": "1", "b": "2"})
    assert making(hashes, **options) == 2


def test_without_a_folder_nothing_is_kept(making, tmp_path):
    assert [making({"a": "1"}, cache_dir="") for _ in range(2)] == [1, 2]
    assert not (tmp_path / "kept").exists()
