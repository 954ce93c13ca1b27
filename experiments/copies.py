"""The releases that lie in a data folder, as `experiments.doctor` sees them."""

import functools
from collections.abc import Iterator
from pathlib import Path

from experiments.checkup import FAILED, OK, WARNING, Line, guarded
from ncf_jax.data import releases
from ncf_jax.data.releases import RELEASES, Release, found_instead

HASHED = 256 * 2**20  # bytes up to which a file is compared by its hash


def data(data_dir: str, *, named: bool) -> Iterator[Line]:
    """Which releases lie there, each whole or with what is not as published."""
    place = Path(data_dir)
    if not place.is_dir():
        found = f"none: {place.absolute()} is no folder"
        if named:
            todo = "Look at --data_dir, unless a release is to be downloaded there."
            yield Line("releases", WARNING, found, todo)
        else:
            yield Line("releases", OK, found)
        return
    there = [each for each in RELEASES.values() if each.folder(place).is_dir()]
    for each in there:
        yield from guarded(each.name, functools.partial(release, each, place))
    if instead := found_instead(place):
        found = f"{place.absolute()} itself holds {instead}"
        todo = "Give --data_dir the folder that holds the release's folder."
        yield Line("releases", WARNING, found, todo)
    elif not there:
        yield Line("releases", OK, f"none in {place.absolute()}")


def release(published: Release, data_dir: Path) -> Iterator[Line]:
    """Whether a copy of a release is whole, and the published one."""
    where, name = published.folder(data_dir), published.name
    missing = [n for n in published.members if not (where / n).is_file()]
    if len(missing) == len(published.members) and not found_instead(where):
        found = f"{where} holds none of its files"
        yield Line(name, WARNING, found, "They are downloaded when they are wanted.")
        return
    if missing:
        found = f"{where} lacks {', '.join(missing)}"
        todo = "Add it, or remove the folder and it is downloaded again."
        yield Line(name, FAILED, found, todo)
        return
    sizes = {n: (where / n).stat().st_size for n in published.members}
    unknown = [n for n in sizes if published.members[n] is None]
    large = [n for n in sizes if sizes[n] > HASHED and n not in unknown]
    checked = [n for n in sizes if n not in unknown + large]
    hashes = {n: releases.file_sha256(where / n) for n in checked}
    altered = [n for n in checked if hashes[n] != published.members[n]]
    words = [f"whole, {sum(sizes.values()) / 2**20:.1f} MiB"]
    if same := [n for n in checked if n not in altered]:
        words.append(f"as published: {', '.join(same)}")
    if unknown:
        words.append(f"not checked, no hash is published: {', '.join(unknown)}")
    if large:
        limit = f"larger than {HASHED // 2**20} MiB"
        words.append(f"not checked, {limit}: {', '.join(large)}")
    if lacks := [n for n in published.extras if not (where / n).is_file()]:
        words.append(f"without {', '.join(lacks)}, which few options need")
    status, todo = OK, ""
    if altered:
        words.append(f"another content than published: {', '.join(altered)}")
        status, todo = FAILED, "Use the published files, or pass --allow_other_copy."
    elif big := [n for n in sizes if sizes[n] > published.max_bytes]:
        status, todo = WARNING, f"No such file is so large: {', '.join(big)}."
    yield Line(name, status, "; ".join(words), todo)
