"""The published releases: what is verified, and that line ends do not matter to it.

Held here: the hashes are those of the real files, a copy saved with other line ends is
the same release, any other change is seen and named, and only https is published.
"""

import hashlib
import re
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ncf_jax.config import DataConfig
from ncf_jax.data import releases
from ncf_jax.data.releases import RELEASES, Release, altered_members, content_sha256

# Lines without line ends of their own.
lines = st.lists(st.binary(max_size=8).map(lambda x: x.translate(None, b"\r\n")))


def test_every_release_is_an_option_of_the_dataset_flag():
    choices = DataConfig.__dataclass_fields__["dataset"].metadata["choices"]
    assert set(RELEASES) | {"synthetic"} == set(choices)


@pytest.mark.parametrize("name", RELEASES)
def test_a_release_is_described_so_that_it_can_be_verified(name):
    release = RELEASES[name]
    url = urlsplit(release.url)
    assert release.name == name
    assert url.scheme == "https"
    assert url.hostname == "files.grouplens.org"
    assert url.path.endswith(f"/{name}.zip")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", release.date)
    hashes = [release.sha256, *release.members.values()]
    assert all(re.fullmatch(r"[0-9a-f]{64}", one) for one in hashes)
    assert len(set(hashes)) == len(hashes), "two files cannot share a hash"
    assert {"ratings.csv", "movies.csv"} <= set(release.members)


def test_member_names_are_plain_file_names():
    for release in RELEASES.values():
        for name in release.members:
            assert re.fullmatch(r"[a-z0-9_]+\.csv", name), name


def test_the_real_files_are_the_published_ones(real_data_dir):
    release = RELEASES["ml-latest-small"]
    assert altered_members(release, real_data_dir / release.name) == []


def test_the_real_files_are_smaller_than_the_limit(real_data_dir):
    release = RELEASES["ml-latest-small"]
    for name in release.members:
        size = (real_data_dir / release.name / name).stat().st_size
        assert size < release.max_bytes


def test_the_hash_is_the_sha256_of_the_content_with_crlf():
    published = b"userId,movieId\r\n1,2\r\n"
    assert content_sha256(published) == hashlib.sha256(published).hexdigest()


@pytest.mark.parametrize(
    "copy",
    [b"a,b\n1,2\n", b"a,b\r\n1,2\r\n", b"a,b\r\n1,2\n", b"a,b\n1,2\r\n"],
    ids=["lf", "crlf", "crlf then lf", "lf then crlf"],
)
def test_copies_with_other_line_ends_have_the_same_hash(copy):
    assert content_sha256(copy) == hashlib.sha256(b"a,b\r\n1,2\r\n").hexdigest()


@pytest.mark.parametrize(
    "copy",
    [b"a,b\n1,3\n", b"a,b\n1,2", b"a,b\n1,2\n\n", b"a,b\n1,2 \n", b"a,b\n\r1,2\n", b""],
    ids=["a value", "no last end", "a blank line", "a space", "a lone CR", "empty"],
)
def test_any_other_change_gives_another_hash(copy):
    assert content_sha256(copy) != content_sha256(b"a,b\n1,2\n")


@given(lines=lines)
@settings(max_examples=50, deadline=None)
def test_lf_and_crlf_agree_for_any_lines(lines):
    assert content_sha256(b"\n".join(lines)) == content_sha256(b"\r\n".join(lines))


@given(lines=lines, where=st.integers(0, 1000), byte=st.sampled_from(b"x,0\xff"))
@settings(max_examples=50, deadline=None)
def test_an_inserted_byte_is_always_seen(lines, where, byte):
    content = b"\n".join(lines)
    where %= len(content) + 1
    changed = content[:where] + bytes([byte]) + content[where:]
    assert content_sha256(changed) != content_sha256(content)


@pytest.fixture
def small(tmp_path):
    """A release of two files, and the folder that holds it."""
    contents = {"ratings.csv": b"r\r\n1\r\n", "movies.csv": b"m\r\n2\r\n"}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    members = {name: content_sha256(content) for name, content in contents.items()}
    return Release("small", "2000-01-01", "https://x/small.zip", None, members, 99)


def test_an_unchanged_folder_has_no_altered_member(small, tmp_path):
    assert altered_members(small, tmp_path) == []


@pytest.mark.parametrize("name", ["ratings.csv", "movies.csv"])
def test_exactly_the_altered_member_is_named(small, tmp_path, name):
    with (tmp_path / name).open("ab") as file:
        file.write(b"3\r\n")
    assert altered_members(small, tmp_path) == [name]


def test_all_altered_members_are_named(small, tmp_path):
    for name in small.members:
        (tmp_path / name).write_bytes(b"other")
    assert altered_members(small, tmp_path) == list(small.members)


def test_other_line_ends_and_other_files_are_no_alteration(small, tmp_path):
    (tmp_path / "ratings.csv").write_bytes(b"r\n1\n")
    (tmp_path / "README.txt").write_text("not a member")
    assert altered_members(small, tmp_path) == []


@given(
    content=st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"a,b"])).map(b"".join),
    block=st.integers(1, 5),
)
@settings(max_examples=200, deadline=None)
def test_a_file_read_by_blocks_has_the_hash_of_its_whole(
    tmp_path_factory, content, block
):
    path = tmp_path_factory.getbasetemp() / "by_blocks.csv"
    path.write_bytes(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(releases, "BLOCK", block)
        assert releases.file_sha256(path) == content_sha256(content)
    # The definition, as it was first published.
    unified = content.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    assert content_sha256(content) == hashlib.sha256(unified).hexdigest()


def test_a_file_that_is_not_there_has_the_hash_of_nothing(tmp_path):
    assert releases.file_sha256(tmp_path / "none") == content_sha256(b"")


def test_hashes_that_are_known_are_not_computed_again(small, tmp_path):
    hashes = dict(small.members) | {"movies.csv": "other"}
    assert altered_members(small, tmp_path / "nowhere", hashes) == ["movies.csv"]
