"""Fetch a release once: over https, verified by hash, whole or not at all.

pooch downloads to a temporary file and checks the archive's hash, where one is known;
each member is then read from the archive by its known name, in pieces, checked against
its own hash, where that is known, and all of them appear together by one rename. A
process that dies leaves nothing that looks whole, and two processes at once cannot harm
each other.
"""

import contextlib
import os
import shutil
import stat
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pooch
import requests

from ncf_jax.data.releases import BLOCK, Release, file_sha256
from ncf_jax.errors import DataError

TIMEOUT_SECONDS = 30


class _UnfitError(Exception):
    """What was sent is not the release."""


# What a wrong hash and a damaged archive raise.
DAMAGED = (_UnfitError, ValueError, zipfile.BadZipFile)


def fetch(release: Release, data_dir: Path) -> Path:
    """Downloads `release` into `data_dir/<name>/` unless it lies there already.

    A release without any published hash is taken as https brings it.

    Returns:
      The folder that holds the members.

    Raises:
      DataError: no network, a wrong hash, an insecure redirect, a damaged archive or
        a folder that cannot be written; nothing is left behind.
    """
    target = release.folder(data_dir)
    if all((target / name).is_file() for name in release.members):
        return target
    outer = sys.exc_info()[1]
    by_hand = (
        f"Point --data_dir at a folder that holds {release.name}/ "
        f"({', '.join(release.members)}), or try again."
    )
    new = not data_dir.exists()
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=data_dir, prefix=".download-") as scratch:
            archive = _download(release, Path(scratch))
            folder = Path(scratch) / release.name
            _unpack(release, archive, folder)
            _publish(folder, target)
    except requests.RequestException as error:
        raise DataError(
            f"{release.name} is not in {data_dir} and could not be downloaded from "
            f"{release.url} ({_reason(error, outer)}). {by_hand}"
        ) from error
    except DAMAGED as error:
        raise DataError(
            f"What {release.url} sent is not {release.name} ({_reason(error, outer)}); "
            f"it was thrown away. {by_hand}"
        ) from error
    except OSError as error:
        raise DataError(
            f"{release.name} could not be written to {data_dir} "
            f"({_reason(error, outer)}). Point --data_dir at a folder that can be "
            f"written or that holds {release.name}/."
        ) from error
    finally:
        if new and not target.exists():  # a mistyped name leaves no empty folder
            with contextlib.suppress(OSError):
                data_dir.rmdir()
    return target


def _download(release: Release, folder: Path) -> Path:
    _refuse_insecure(release.url)
    downloader = pooch.HTTPDownloader(
        timeout=TIMEOUT_SECONDS, hooks={"response": _refuse_insecure_redirect}
    )
    log = pooch.get_logger()
    level = log.level
    log.setLevel("ERROR")  # our own sentence says what is fetched
    try:
        path = pooch.retrieve(
            release.url,
            known_hash=release.sha256 and f"sha256:{release.sha256}",
            fname="archive.zip",
            path=folder,
            downloader=downloader,
        )
    finally:
        log.setLevel(level)
    return Path(path)


def _unpack(release: Release, archive: Path, folder: Path) -> None:
    folder.mkdir()
    with _opened(archive) as zipped:
        hashes = dict.fromkeys(release.extras) | dict(release.members)
        for name, wanted in hashes.items():
            inside = f"{release.folder_in_archive}/{name}"
            try:
                info = zipped.getinfo(inside)
            except KeyError:
                raise ValueError(f"the archive has no {inside}") from None
            if zipped.namelist().count(inside) > 1:
                raise ValueError(f"the archive has {inside} more than once")
            if stat.S_ISLNK(info.external_attr >> 16):
                raise ValueError(f"{name} is a link")
            if info.file_size > release.max_bytes:
                raise ValueError(f"{name} would unpack to {info.file_size:,} bytes")
            with (folder / name).open("wb") as file:
                for piece in _pieces(zipped, info):
                    file.write(piece)
            if wanted is not None and file_sha256(folder / name) != wanted:
                raise ValueError(f"{name} has another hash than the published one")


def _opened(archive: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(archive)
    except Exception as error:  # of struct, or zipfile's own and others'
        raise _UnfitError(f"it cannot be unpacked: {error}") from error


def _pieces(zipped: zipfile.ZipFile, info: zipfile.ZipInfo) -> Iterator[bytes]:
    """A member's content in pieces; no more than the archive says there is."""
    try:
        with zipped.open(info) as member:
            while piece := member.read(BLOCK):
                yield piece
    except Exception as error:  # of zlib, bz2, lzma, struct, or zipfile's own
        name = info.filename.rpartition("/")[2]
        raise _UnfitError(f"{name} cannot be unpacked: {error}") from error


def _publish(folder: Path, target: Path) -> None:
    """Makes `folder` appear as `target` in one step; keeps files already there."""
    try:
        os.rename(folder, target)
    except OSError:
        # Another process was first, or the user's folder lacks some of the members:
        # each file is moved whole, and none that exists is overwritten.
        if not target.is_dir():
            raise
        for member in folder.iterdir():
            if not (target / member.name).exists():
                os.rename(member, target / member.name)
        shutil.rmtree(folder)


def _refuse_insecure(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme != "https" and parts.hostname not in ("127.0.0.1", "localhost"):
        raise requests.exceptions.InvalidURL(f"{url} is not https")


def _refuse_insecure_redirect(response: requests.Response, **_: object) -> None:
    if response.is_redirect:
        location = response.headers["location"]
        try:
            _refuse_insecure(requests.compat.urljoin(response.url, location))
        except requests.RequestException:
            response.close()
            raise
    elif not response.ok:
        response.close()  # pooch raises without closing it


def _reason(error: Exception, outer: BaseException | None) -> str:
    """The innermost cause in a few words."""
    cause: BaseException = error
    while True:
        inner = cause.__cause__
        if inner is None and not cause.__suppress_context__:
            inner = cause.__context__
        if inner is None or inner is outer:
            break
        cause = inner
    text = str(getattr(error, "strerror", None) or cause).splitlines()
    return text[0][:200] if text else type(cause).__name__
