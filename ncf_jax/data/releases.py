"""What is published: where a MovieLens release lies and how to know it is that one.

Source: GroupLens, https://grouplens.org/datasets/movielens/. The published files
have CRLF line ends; hashes are taken as if every copy had, so that a copy saved with
LF is recognised as the same rows.
"""

import hashlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

BLOCK = 2**20  # bytes of a file in memory at once


class Release(NamedTuple):
    """A published release.

    Attributes:
      name: also the folder in the archive and below `--data_dir`.
      date: of publication.
      url: of the archive, over https.
      sha256: of the archive; None when only the members' hashes are relied on.
      members: file name -> sha256 of its content with CRLF line ends.
      max_bytes: no member is larger than this; a larger one is not unpacked.
    """

    name: str
    date: str
    url: str
    sha256: str | None
    members: dict[str, str]
    max_bytes: int


RELEASES = {
    "ml-latest-small": Release(
        name="ml-latest-small",
        date="2018-09-26",
        url="https://files.grouplens.org/datasets/movielens/ml-latest-small.zip",
        sha256="696d65a3dfceac7c45750ad32df2c259311949efec81f0f144fdfb91ebc9e436",
        members={
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
    ),
}


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
    """Names of the members in `folder` whose content is not the published one.

    Args:
      release: the published one.
      folder: of a copy.
      hashes: `file_sha256` by name, where they are known already.
    """
    if hashes is None:
        hashes = {name: file_sha256(folder / name) for name in release.members}
    return [name for name, want in release.members.items() if hashes[name] != want]
