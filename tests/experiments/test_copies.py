"""Releases in a data folder, as the doctor sees them.

Held here: whole, with what is missing, or of another content, and what was not checked
is said; so is a folder that was named one too low.
"""

import pytest

from experiments import copies
from experiments.checkup import FAILED, OK, WARNING
from ncf_jax.data.releases import RELEASES, content_sha256

NAME = "ml-latest-small"
CONTENT = {"ratings.csv": b"a\r\n", "movies.csv": b"b\r\n", "tags.csv": b"c\r\n"}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A copy of a release that was published with this content."""
    members = {name: content_sha256(content) for name, content in CONTENT.items()}
    published = RELEASES[NAME]._replace(members=members)
    monkeypatch.setitem(RELEASES, NAME, published)
    return fill(tmp_path / NAME, CONTENT)


def fill(folder, contents):
    folder.mkdir()
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return folder


def only(folder):
    (line,) = copies.data(str(folder.parent), named=True)
    return line


class TestRelease:
    def test_a_whole_copy_is_as_published(self, folder):
        line = only(folder)
        assert line[:2] == (NAME, OK)
        assert "whole" in line.found
        assert "as published: ratings.csv, movies.csv, tags.csv" in line.found
        assert line.todo == ""

    def test_a_missing_member_fails_and_is_named(self, folder):
        (folder / "tags.csv").unlink()
        line = only(folder)
        assert line.status == FAILED
        assert line.found.endswith("lacks tags.csv")

    def test_a_byte_of_difference_fails_and_is_named(self, folder):
        (folder / "movies.csv").write_bytes(b"B\r\n")
        line = only(folder)
        assert line.status == FAILED
        assert "another content than published: movies.csv" in line.found
        assert "as published: ratings.csv, tags.csv;" in line.found
        assert "--allow_other_copy" in line.todo

    def test_a_large_file_is_not_read_and_that_is_said(self, folder, monkeypatch):
        monkeypatch.setattr(copies, "HASHED", 3)
        (folder / "movies.csv").write_bytes(b"BBBB")
        line = only(folder)
        assert "not checked, larger than 0 MiB: movies.csv" in line.found
        assert "as published: ratings.csv, tags.csv" in line.found
        assert line.status == OK

    def test_one_larger_than_any_published_is_a_warning(self, folder, monkeypatch):
        monkeypatch.setattr(copies, "HASHED", 3)
        monkeypatch.setitem(RELEASES, NAME, RELEASES[NAME]._replace(max_bytes=3))
        assert only(folder).status == OK
        (folder / "movies.csv").write_bytes(b"BBBB")
        line = only(folder)
        assert line.status == WARNING
        assert line.todo == "No such file is so large: movies.csv."

    def test_without_a_published_hash_nothing_is_claimed(self, tmp_path):
        line = only(fill(tmp_path / "ml-100k", {"u.data": b"x", "u.item": b"y"}))
        assert line[:2] == ("ml-100k", OK)
        assert "not checked, no hash is published: u.data, u.item" in line.found
        assert "as published" not in line.found
        assert "without u.genre, u1.base" in line.found

    def test_the_archives_own_name_is_found(self, tmp_path):
        names = ("ratings.dat", "movies.dat", "tags.dat")
        line = only(fill(tmp_path / "ml-10M100K", dict.fromkeys(names, b"x")))
        assert line[:2] == ("ml-10m", OK)

    def test_an_empty_folder_is_filled_when_it_is_wanted(self, tmp_path):
        line = only(fill(tmp_path / "ml-1m", {}))
        assert line[:2] == ("ml-1m", WARNING)
        assert "holds none of its files" in line.found

    def test_another_releases_files_are_no_empty_folder(self, tmp_path):
        # A run refuses it, too, rather than download over it.
        line = only(fill(tmp_path / "ml-1m", CONTENT))
        assert line[:2] == ("ml-1m", FAILED)

    def test_one_that_cannot_be_read_does_not_hide_the_others(
        self, folder, monkeypatch
    ):
        fill(folder.parent / "ml-1m", {"ratings.dat": b"", "movies.dat": b""})

        def unreadable(path):
            raise PermissionError(13, "Permission denied", str(path))

        monkeypatch.setattr(copies.releases, "file_sha256", unreadable)
        first, second = copies.data(str(folder.parent), named=True)
        assert first[:2] == (NAME, FAILED)
        assert first.found.startswith("PermissionError: ")
        assert second[:2] == ("ml-1m", OK)


class TestFolder:
    @pytest.mark.parametrize(("named", "status"), [(True, WARNING), (False, OK)])
    def test_no_folder(self, tmp_path, named, status):
        (line,) = copies.data(str(tmp_path / "data"), named=named)
        assert line[:2] == ("releases", status)
        assert "is no folder" in line.found
        assert not (tmp_path / "data").exists()

    def test_an_empty_one(self, tmp_path):
        (line,) = copies.data(str(tmp_path), named=True)
        assert line[:3] == ("releases", OK, f"none in {tmp_path}")

    def test_one_level_too_low(self, folder):
        (line,) = copies.data(str(folder), named=True)
        assert line[:2] == ("releases", WARNING)
        assert "itself holds ratings.csv" in line.found
        assert "holds the release's folder" in line.todo
