"""What is published: where a MovieLens release lies and how to know it is that one.

Source: GroupLens, https://grouplens.org/datasets/movielens/. The published files
have CRLF line ends; hashes are taken as if every copy had, so that a copy saved with
LF is recognised as the same rows.
"""

import hashlib
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from ncf_jax.config_data import PUBLISHED_SPLITS

BLOCK = 2**20  # bytes of a file in memory at once


class Release(NamedTuple):
    """A published release.

    Attributes:
      name: also the folder below `--data_dir`.
      date: of publication, as exactly as it is known.
      url: of the archive, over https.
      sha256: of the archive; None when only the members' hashes are relied on, or
        nothing can be, because the release changes.
      members: name of each file that is needed -> sha256 of its content with CRLF line
        ends, or None where that is not known. The first holds the ratings.
      max_bytes: no member is larger than this; a larger one is not unpacked.
      archive_folder: in the archive; a copy may have that name, too. None: `name`.
      extras: files that are unpacked as well; reading can do without them.
      form: of the files: csv, or that of ml-1m, ml-10m or ml-100k.
      ratings: how many it has; 0 where that changes.
    """

    name: str
    date: str
    url: str
    sha256: str | None
    members: Mapping[str, str | None]
    max_bytes: int
    archive_folder: str | None = None
    extras: tuple[str, ...] = ()
    form: str = "csv"
    ratings: int = 0

    @property
    def folder_in_archive(self) -> str:
        """Where the members lie in the archive."""
        return self.archive_folder or self.name

    @property
    def ratings_file(self) -> str:
        """The member that holds the ratings."""
        return next(iter(self.members))

    @property
    def files(self) -> tuple[str, ...]:
        """All that a data set is made of: members, and extras that are not splits."""
        return (*self.members, *(n for n in self.extras if n == "u.genre"))

    @property
    def verifiable(self) -> bool:
        """Whether a copy that lies somewhere can be told from any other."""
        return all(self.members.values())

    def folder(self, data_dir: Path) -> Path:
        """Where a copy below `data_dir` is, or should be."""
        other = data_dir / self.folder_in_archive
        first = data_dir / self.name
        return other if other.is_dir() and not first.is_dir() else first


def _published(
    name: str, date: str, sha256: str | None, members: Any, **more: Any
) -> Release:
    return Release(
        name=name,
        date=date,
        url=f"https://files.grouplens.org/datasets/movielens/{name}.zip",
        sha256=sha256,
        members=members if isinstance(members, dict) else dict.fromkeys(members),
        **more,
    )


CSV = ("ratings.csv", "movies.csv", "tags.csv")
SPLITS_100K = tuple(
    f"{name}.{part}" for name in PUBLISHED_SPLITS for part in ("base", "test")
)

# Hashes of archives: those of the checksums of TensorFlow Datasets, and for ml-10m and
# ml-32m those that several independent projects have published.
RELEASES = {
    release.name: release
    for release in (
        _published(
            "ml-latest-small",
            "2018-09-26",
            "696d65a3dfceac7c45750ad32df2c259311949efec81f0f144fdfb91ebc9e436",
            {
                "ratings.csv": (
                    "aa289ca83157595d0df6aea1be6a4ded676ddc4385472e8313a8ed9805352646"
                ),
                "movies.csv": (
                    "5a5f32dd9bb3797b8e728a1b98958789d2b13f294a69fdfbc5727f8a9611aa07"
                ),
                "tags.csv": (
                    "92a9f8bb7916dceef6151209845788c3643f794dfa79d1feaec7121b5960399d"
                ),
            },
            max_bytes=64 * 2**20,
            ratings=100_836,
        ),
        _published("ml-latest", "no fixed date", None, CSV, max_bytes=4 * 2**30),
        _published(
            "ml-100k",
            "1998-04",
            "50d2a982c66986937beb9ffb3aa76efe955bf3d5c6b761f4e3a7cd717c6a3229",
            ("u.data", "u.item"),
            max_bytes=16 * 2**20,
            extras=("u.genre", *SPLITS_100K),
            form="ml-100k",
            ratings=100_000,
        ),
        _published(
            "ml-1m",
            "2003-02",
            "a6898adb50b9ca05aa231689da44c217cb524e7ebd39d264c56e2832f2c54e20",
            ("ratings.dat", "movies.dat"),
            max_bytes=64 * 2**20,
            form="ml-1m",
            ratings=1_000_209,
        ),
        _published(
            "ml-10m",
            "2009-01",
            "813c411ccb6122564edfe752e7f80c4dcc5aa25fa94c93622f6877a7ba252862",
            ("ratings.dat", "movies.dat", "tags.dat"),
            max_bytes=512 * 2**20,
            archive_folder="ml-10M100K",
            form="ml-10m",
            ratings=10_000_054,
        ),
        _published(
            "ml-20m",
            "2015-04",
            "96f243c338a8665f6bcc89c53edf6ee39162a846940de6b7c8c48aeada765ff3",
            CSV,
            max_bytes=2**30,
            ratings=20_000_263,
        ),
        _published(
            "ml-25m",
            "2019-12",
            "8b21cfb7eb1706b4ec0aac894368d90acf26ebdfb6aced3ebd4ad5bd1eb9c6aa",
            CSV,
            max_bytes=2 * 2**30,
            ratings=25_000_095,
        ),
        _published(
            "ml-32m",
            "2024-05",
            "e4a68655d7386b8f95f2f2424b2ff975dfdd15ffd59e0d864a14dca43e99d6ee",
            CSV,
            max_bytes=2 * 2**30,
            ratings=32_000_204,
        ),
    )
}


def label_of(release: Release, altered: Iterable[str], ratings: int) -> str:
    """How every output names a copy of a release.

    Args:
      release: the published one.
      altered: members of the copy whose content is another.
      ratings: how many the copy has.

    Example:
      >>> label_of(RELEASES["ml-1m"], [], 7)
      'ml-1m (another copy: 7 ratings where 1,000,209 were published)'
    """
    if not release.ratings:
        return f"{release.name} (changes over time; not verified)"
    if altered := list(altered):
        what = f"{', '.join(altered)} not as of {release.date}"
        return f"{release.name} (another copy: {what})"
    if ratings != release.ratings:
        what = f"{ratings:,} ratings where {release.ratings:,} were published"
        return f"{release.name} (another copy: {what})"
    return release.name


def notes_of(release: Release) -> tuple[str, ...]:
    """What is to be said of how far a copy on disk was verified."""
    if release.verifiable:
        return ()
    files = ", ".join(release.members)
    if release.sha256:
        return (
            f"{files}: not compared with published hashes, which {release.name} has "
            f"for its archive alone; the archive is verified when it is downloaded",
        )
    return (
        f"{files}: {release.name} changes over time and has no published hash; a "
        f"download is over https and nothing else is verified",
    )


def found_instead(folder: Path) -> str:
    """Which releases' files lie in `folder`, in words; empty: none."""
    known = dict.fromkeys(name for each in RELEASES.values() for name in each.members)
    there = [name for name in known if (folder / name).is_file()]
    if not there:
        return ""
    like = [
        each.name
        for each in RELEASES.values()
        if each.ratings_file in there and set(each.members) <= set(there)
    ]
    return ", ".join(there) + (f", as of {' or '.join(like)}" if like else "")


def content_sha256(content: bytes) -> str:
    """The sha256 of a text file's content as if its line ends were CRLF."""
    return hashlib.sha256(_with_crlf(content)).hexdigest()


def file_sha256(path: Path) -> str:
    """`content_sha256` of a file, read by blocks; of one that is not there, of b""."""
    digest = hashlib.sha256()
    if path.is_file():
        with path.open("rb") as file, ThreadPoolExecutor(1) as beside:
            rest, before = b"", beside.submit(digest.update, b"")
            while block := file.read(BLOCK):
                block = rest + block
                # A CR at the end may be one half of a line end.
                rest = b"\r" if block.endswith(b"\r") else b""
                unified = _with_crlf(block.removesuffix(rest))
                before.result()  # of the last block; so two are in memory, at most
                before = beside.submit(digest.update, unified)
            before.result()
            digest.update(rest)
    return digest.hexdigest()


def _with_crlf(content: bytes) -> bytes:
    if b"\r" in content:
        if content.count(b"\n") == content.count(b"\r\n"):
            return content  # as published
        content = content.replace(b"\r\n", b"\n")
    return content.replace(b"\n", b"\r\n")


def altered_members(
    release: Release, folder: Path, hashes: Mapping[str, str] | None = None
) -> list[str]:
    """Names of the members in `folder` whose content is known to be another.

    Args:
      release: the published one.
      folder: of a copy.
      hashes: `file_sha256` by name, where they are known already.
    """
    if hashes is None:
        hashes = {name: file_sha256(folder / name) for name in release.members}
    return [
        name
        for name, want in release.members.items()
        if want is not None and hashes[name] != want
    ]
