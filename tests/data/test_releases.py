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
from ncf_jax.config_data import PUBLISHED_SPLITS
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
    assert url.path == f"/datasets/movielens/{name}.zip"
    hashes = [one for one in (release.sha256, *release.members.values()) if one]
    assert all(re.fullmatch(r"[0-9a-f]{64}", one) for one in hashes)
    assert len(set(hashes)) == len(hashes), "two files cannot share a hash"
    if name == "ml-latest":  # which is another one every year
        assert (release.sha256, release.ratings, release.verifiable) == (None, 0, False)
    else:
        assert re.fullmatch(r"\d{4}-\d\d(-\d\d)?", release.date)
        assert release.sha256
        assert release.ratings > 99_999


def test_no_two_releases_share_an_archive():
    hashes = [each.sha256 for each in RELEASES.values() if each.sha256]
    assert len(set(hashes)) == len(hashes) == len(RELEASES) - 1


def test_only_one_release_has_published_hashes_of_its_files():
    assert [n for n in RELEASES if RELEASES[n].verifiable] == ["ml-latest-small"]


MEMBERS = {
    "ml-100k": ["u.data", "u.item"],
    "ml-1m": ["ratings.dat", "movies.dat"],
    "ml-10m": ["ratings.dat", "movies.dat", "tags.dat"],
}


@pytest.mark.parametrize("name", RELEASES)
def test_a_release_has_the_files_of_its_form(name):
    release = RELEASES[name]
    wanted = MEMBERS.get(name, ["ratings.csv", "movies.csv", "tags.csv"])
    assert list(release.members) == wanted
    assert release.ratings_file == wanted[0]
    assert release.form == (name if name in MEMBERS else "csv")
    inside = "ml-10M100K" if name == "ml-10m" else name
    assert release.folder_in_archive == inside


def test_ml_100k_brings_its_splits_and_genres():
    release = RELEASES["ml-100k"]
    splits = [f"{n}.{part}" for n in PUBLISHED_SPLITS for part in ("base", "test")]
    assert set(release.extras) == {"u.genre", *splits}
    assert release.files == ("u.data", "u.item", "u.genre")


def test_member_names_are_plain_file_names():
    for release in RELEASES.values():
        for name in (*release.members, *release.extras):
            assert re.fullmatch(r"[a-z0-9_]+\.[a-z]+", name), name


@pytest.mark.parametrize(
    ("there", "found"),
    [
        ([], "ml-10m"),
        (["ml-10m"], "ml-10m"),
        (["ml-10M100K"], "ml-10M100K"),
        (["ml-10M100K", "ml-10m"], "ml-10m"),
    ],
)
def test_a_copy_may_have_the_name_of_the_archives_folder(tmp_path, there, found):
    for name in there:
        (tmp_path / name).mkdir()
    assert RELEASES["ml-10m"].folder(tmp_path) == tmp_path / found


def test_the_label_says_when_a_copy_is_another():
    million, small = RELEASES["ml-1m"], RELEASES["ml-latest-small"]
    assert releases.label_of(million, [], 1_000_209) == "ml-1m"
    assert releases.label_of(million, [], 1_000_208) == (
        "ml-1m (another copy: 1,000,208 ratings where 1,000,209 were published)"
    )
    assert releases.label_of(small, iter(["tags.csv"]), 100_836) == (
        "ml-latest-small (another copy: tags.csv not as of 2018-09-26)"
    )
    latest = releases.label_of(RELEASES["ml-latest"], [], 33_832_162)
    assert latest == "ml-latest (changes over time; not verified)"


@pytest.mark.parametrize("name", RELEASES)
def test_the_notes_say_what_was_not_verified(name):
    notes = releases.notes_of(RELEASES[name])
    if name == "ml-latest-small":
        assert notes == ()
        return
    (note,) = notes
    assert note.startswith(", ".join(RELEASES[name].members) + ": ")
    assert ("changes over time" in note) == (name == "ml-latest")
    assert ("not compared with published hashes" in note) == (name != "ml-latest")


def test_whose_files_lie_in_a_folder_is_told(tmp_path):
    assert releases.found_instead(tmp_path) == ""
    (tmp_path / "movies.dat").touch()
    assert releases.found_instead(tmp_path) == "movies.dat"
    (tmp_path / "ratings.dat").touch()
    said = releases.found_instead(tmp_path)
    assert said == "ratings.dat, movies.dat, as of ml-1m"
    (tmp_path / "tags.dat").touch()
    assert releases.found_instead(tmp_path).endswith("as of ml-1m or ml-10m")


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


def test_a_member_without_a_known_hash_is_not_said_to_be_altered(small, tmp_path):
    unknown = small._replace(members=dict(small.members) | {"movies.csv": None})
    for name in small.members:
        (tmp_path / name).write_bytes(b"other")
    assert altered_members(unknown, tmp_path) == ["ratings.csv"]
    assert not unknown.verifiable
    assert small.verifiable


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
