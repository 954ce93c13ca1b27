"""Archives made to harm: nothing leaves them but whole, known members of known size.

Held here: bombs, by a declared size, a lying one, nesting or many members; members that
are links, encrypted, there twice, or named so that they would land elsewhere. Each is
unpacked to the known members alone or refused in one sentence, with no file left and
none written outside; of a lying archive no more is written than the limit allows. What
servers do is held in tests/data/test_download.py.
"""

import io
import re
import stat
import struct
import warnings
import zipfile

import pytest

from ncf_jax.data import download
from ncf_jax.data.releases import Release, content_sha256
from ncf_jax.errors import DataError

MEMBERS = {
    "ratings.csv": b"userId,movieId,rating,timestamp\n1,1,4.0,1\n" * 40,
    "movies.csv": b"movieId,title,genres\n1,Heat,Crime\n",
}
LIMIT = 10**5
LINK = (stat.S_IFLNK | 0o777) << 16


def archive(*more, leave_out=(), instead=None, method=zipfile.ZIP_DEFLATED):
    """The members in order, then `more`, pairs of a name or ZipInfo and bytes."""
    out = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(out, "w", method) as zipped:
        warnings.simplefilter("ignore")  # zipfile warns of a name that is there twice
        for name, content in (MEMBERS | (instead or {})).items():
            if name not in leave_out:
                zipped.writestr(f"small/{name}", content)
        for name, content in more:
            zipped.writestr(name, content)
    return out.getvalue()


def link(name, target):
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, LINK
    return info, target


def with_size(content, name, size):
    """Both headers of a member say that it has `size` bytes unpacked."""
    raw = bytearray(content)
    for mark, name_at, size_at in ((b"PK\3\4", 30, 22), (b"PK\1\2", 46, 24)):
        place = raw.index(mark)
        while raw[place + name_at : place + name_at + len(name)] != name.encode():
            place = raw.index(mark, place + 1)
        struct.pack_into("<I", raw, place + size_at, size)
    return bytes(raw)


@pytest.fixture
def fetched(tmp_path, monkeypatch):
    """Unpacks an archive as if it had been sent; gives what lies in the folder."""

    def fetch(content, *, hashed):
        sent = tmp_path / "sent.zip"
        sent.write_bytes(content)
        monkeypatch.setattr(download, "_download", lambda release, folder: sent)
        members = {n: content_sha256(text) for n, text in MEMBERS.items()}
        release = Release(
            name="small",
            date="2000-01-01",
            url="https://nowhere.example/small.zip",
            sha256=None,
            members=members if hashed else dict.fromkeys(members),
            max_bytes=LIMIT,
        )
        try:
            download.fetch(release, tmp_path / "in" / "data")
        finally:
            left = {
                str(path.relative_to(tmp_path)): path.read_bytes()
                for path in tmp_path.rglob("*")
                if path.is_file() and path != sent
            }
            assert not any(path.is_symlink() for path in tmp_path.rglob("*"))
            assert left in ({}, WHOLE) or not hashed, sorted(left)
        return left

    return fetch


WHOLE = {f"in/data/small/{name}": text for name, text in MEMBERS.items()}
ZEROS = bytes(LIMIT + 1)
NESTED = archive(("bomb.zip", archive(("zeros", bytes(10**6)))))

# Only what is asked for is looked at, so the rest does no harm.
HARMLESS = {
    "a name that leads out": archive(("../../../evil", b"x")),
    "a name that leads out of the folder": archive(("small/../../evil", b"x")),
    "an absolute name": archive(("/tmp/evil-of-an-archive", b"x")),
    "a drive": archive(("C:\\evil", b"x"), ("C:/evil", b"x")),
    "backslashes": archive(("..\\..\\evil", b"x"), ("small\\..\\..\\evil", b"x")),
    "a share": archive(("\\\\host\\share\\evil", b"x")),
    "a link beside them": archive(link("small/more", b"/etc")),
    "a folder that is a link": archive(link("small", b"/etc")),
    "a bomb beside them": archive(("small/zeros", bytes(10**7))),
    "a bomb that claims little": with_size(archive(("zz", bytes(10**6))), "zz", 1),
    "a size above the truth": with_size(archive(), "small/ratings.csv", LIMIT),
    "nested archives": archive(("small/more.zip", NESTED)),
    "many members": archive(*((f"small/{n}", b"") for n in range(20_000))),
    "a name of another case": archive(("small/RATINGS.CSV", b"x")),
}


@pytest.mark.parametrize("kind", HARMLESS)
@pytest.mark.parametrize("hashed", [True, False])
def test_nothing_but_the_known_members_leaves_an_archive(fetched, kind, hashed):
    assert fetched(HARMLESS[kind], hashed=hashed) == WHOLE


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA, 0])
def test_a_bomb_by_any_method_is_not_unpacked(fetched, method):
    content = archive(instead={"ratings.csv": ZEROS}, method=method)
    with pytest.raises(DataError, match="would unpack to 100,001 bytes"):
        fetched(content, hashed=False)
    assert fetched(archive(method=method), hashed=True) == WHOLE  # the control


HARMFUL = {
    "a size above the limit": (
        archive(instead={"ratings.csv": ZEROS}),
        "ratings.csv would unpack to 100,001 bytes",
    ),
    "a size below the truth": (
        with_size(
            archive(instead={"ratings.csv": bytes(10**7)}), "small/ratings.csv", 9
        ),
        "Bad CRC-32",
    ),
    "a size of 4 GiB": (
        with_size(archive(), "small/ratings.csv", 2**32 - 2),
        "ratings.csv would unpack to 4,294,967,294 bytes",
    ),
    "a member that is a link": (
        archive(link("small/ratings.csv", b"/etc/passwd"), leave_out=["ratings.csv"]),
        "ratings.csv is a link",
    ),
    "a link to what follows": (
        archive(link("small/movies.csv", b"ratings.csv"), leave_out=["movies.csv"]),
        "movies.csv is a link",
    ),
    "a member twice": (
        archive(("small/ratings.csv", b"other")),
        "the archive has small/ratings.csv more than once",
    ),
    "the same member twice": (
        archive(("small/movies.csv", MEMBERS["movies.csv"])),
        "the archive has small/movies.csv more than once",
    ),
    "a folder in place of a member": (
        archive(("small/ratings.csv/", b""), leave_out=["ratings.csv"]),
        "the archive has no small/ratings.csv",
    ),
    "backslashes in place of slashes": (
        archive(("small\\ratings.csv", b"x"), leave_out=["ratings.csv"]),
        "the archive has no small/ratings.csv",
    ),
    "a member that leads in again": (
        archive(("small/../small/ratings.csv", b"x"), leave_out=["ratings.csv"]),
        "the archive has no small/ratings.csv",
    ),
    "an archive in an archive": (
        archive(("small.zip", archive()), leave_out=MEMBERS),
        "the archive has no small/ratings.csv",
    ),
}


@pytest.mark.parametrize("kind", HARMFUL)
@pytest.mark.parametrize("hashed", [True, False])
def test_a_harmful_archive_is_one_sentence_and_leaves_nothing(
    fetched, tmp_path, kind, hashed
):
    content, said = HARMFUL[kind]
    with pytest.raises(DataError, match=re.escape(said)) as caught:
        fetched(content, hashed=hashed)
    assert str(caught.value).isprintable()
    assert "it was thrown away" in str(caught.value)
    assert not [x for x in tmp_path.rglob("*") if x.is_file() and x.name != "sent.zip"]


@pytest.mark.parametrize("hashed", [True, False])
def test_an_encrypted_member_is_one_sentence(fetched, hashed):
    raw = bytearray(archive())
    for mark, flags_at in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        raw[raw.index(mark) + flags_at] |= 1
    with pytest.raises(DataError, match="encrypted"):
        fetched(bytes(raw), hashed=hashed)


def test_of_a_lying_archive_little_is_written(fetched, monkeypatch):
    # Declared 9 bytes, ten millions inside: what is written is counted on the way.
    written, pieces = [], download._pieces

    def counted(zipped, info):
        for piece in pieces(zipped, info):
            written.append(len(piece))
            yield piece

    monkeypatch.setattr(download, "_pieces", counted)
    with pytest.raises(DataError, match="Bad CRC-32"):
        fetched(HARMFUL["a size below the truth"][0], hashed=False)
    assert sum(written) <= 9
