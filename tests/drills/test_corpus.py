"""Files as people have them: each bad one in one known sentence, each odd one read.

Held here: what is said of every file of the corpus, word for word, with its exit code;
a file that is only odd is read as the independent reading reads it; and the corpus
covers every reader that has files of its own.
"""

import re

import pytest

from ncf_jax.errors import NcfError
from tests.drills.corpus import CORPUS, FINE, READERS


def write(folder, one):
    for name, content in (READERS[one.reader].make() | {one.file: one.content}).items():
        if content is not None:
            (folder / name).write_bytes(content)


def name_of(one):
    return f"{one.reader}: {one.name}"


@pytest.mark.parametrize("one", CORPUS, ids=name_of)
def test_a_bad_file_is_named_in_one_sentence(tmp_path, one):
    write(tmp_path, one)
    with pytest.raises(NcfError) as caught:
        READERS[one.reader].read(tmp_path)
    said = str(caught.value).replace(str(tmp_path), "@")
    pattern = ".*".join(re.escape(part) for part in one.said.split("…"))
    assert re.fullmatch(pattern, said), said
    assert said.isprintable()
    assert caught.value.exit_code == one.code


@pytest.mark.parametrize("one", FINE, ids=name_of)
def test_an_odd_file_is_read_exactly(tmp_path, one):
    write(tmp_path, one)
    target = READERS[one.reader]
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert target.read(tmp_path) == target.oracle(files)


def test_the_corpus_is_of_every_reader():
    # Of the cache nothing is said: it is made anew. tests/data/test_store.py has it.
    covered = {one.reader for one in CORPUS}
    assert set(READERS) - covered == {
        "own, tsv",
        "own, plain csv",
        "store (cached npz)",
    }
    assert len(CORPUS) >= 60


def test_no_file_is_there_twice():
    names = [(name_of(one), one.file) for one in (*CORPUS, *FINE)]
    assert len(set(names)) == len(names)


def test_the_good_files_are_read(tmp_path):
    # The control: it is the file in its place that each target refuses.
    for number, target in enumerate(READERS.values()):
        folder = tmp_path / str(number)
        folder.mkdir()
        for name, content in target.make().items():
            (folder / name).write_bytes(content)
        value = target.read(folder)
        if target.oracle is not None:
            assert value == target.oracle(target.make()), target.name
        if target.check is not None:
            target.check(value, target.make())
