"""CSV files larger than memory -> a folder of shards, in a few passes by blocks.

What `prepare.from_files` does with everything in memory, done with a block of rows at a
time: the same filters, the same numbers in order of first appearance, the same rows.
Memory is O(U + I), the tags, and a few blocks; never O(N). The passes over ratings.csv:
one that counts; if users are filtered after items, one that counts again; and one that
numbers and writes.

Two things want every row at once and are other here. Rows are put into parts by a hash
of their ids (`hashed_part`). And that no pair of user and item occurs twice is certain
only of a file sorted by them, as MovieLens' are; of any other a note says so.
"""

import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ncf_jax.config import DataConfig
from ncf_jax.data import (
    Tell,
    columnar,
    csvfile,
    download,
    features,
    releases,
    shardfiles,
    silent,
    tables,
)
from ncf_jax.data.csvblocks import blocks
from ncf_jax.data.numbering import Numbers, Tally
from ncf_jax.data.tables import MOVIES, TAGS
from ncf_jax.errors import DataError

SHARES = (0.7, 0.85)  # of the hash's range: below is train, then validation


def from_csv(
    source: Path,
    folder: Path,
    *,
    min_user_ratings: int = 3,
    min_item_ratings: int = 10,
    seed: int = 42,
    name: str,
    label: str | Callable[[int], str] = "",
    notes: Sequence[str] = (),
    floor_rmse: float | None = None,
    rows_per_shard: int = shardfiles.ROWS_PER_SHARD,
    tell: Tell = silent,
) -> shardfiles.Manifest:
    """Filters, numbers and divides ratings, and writes them as shards.

    Args:
      source: a folder of MovieLens CSV files, or a ratings.csv alone; then nothing is
        known of the items.
      folder: to be written; must not exist.
      min_user_ratings: fewest ratings of a user, after the items are filtered.
      min_item_ratings: fewest ratings of an item.
      seed: of the split.
      name: of the data.
      label: how outputs name it, or what makes that of the number of ratings read;
        empty: by its name.
      notes: what there is to be said besides.
      floor_rmse: of a synthetic world.
      rows_per_shard: of each file but the last.
      tell: is told what is being done.

    Raises:
      DataError: a file is missing or malformed, no rating is left by the filters, or
        the folder is there already.
    """
    shardfiles.refuse_existing(folder)
    ratings = source / "ratings.csv" if source.is_dir() else source
    known = _items(source, tell) if source.is_dir() else None
    users, items, sorted_by_ids = _count(ratings, known, tell)
    num_read, read_users, read_items = (
        users.counts.sum(),
        len(users.ids),
        len(items.ids),
    )
    kept_items = Numbers(items.ids[items.counts >= min_item_ratings])
    if len(kept_items.ids) < read_items:
        users = Tally()
        for block in blocks(ratings, tell):
            kept = kept_items.places(block["movieId"].to_numpy()) >= 0
            users.add(block["userId"].to_numpy()[kept])
    kept_users = Numbers(users.ids[users.counts >= min_user_ratings])
    if not len(kept_users.ids):
        raise DataError(
            f"No rating in {source} is left by --min_item_ratings={min_item_ratings} "
            f"and --min_user_ratings={min_user_ratings}; lower them."
        )
    notes = [
        *notes,
        f"read {num_read:,} ratings of {read_items:,} movies by {read_users:,} users",
        *(() if known is None else known.notes),
    ]
    if not sorted_by_ids:
        notes.append(
            f"{ratings.name} is not sorted by user and movie, so that no pair occurs "
            f"twice was not checked"
        )
    with shardfiles.new_folder(folder) as partial:
        writer = shardfiles.Writer(partial, parts=True, rows_per_shard=rows_per_shard)
        try:
            for block in blocks(ratings, tell):
                writer.add(_numbered(block, kept_users, kept_items, seed))
        finally:
            writer.close()
        tell(f"{ratings.name}: written as shards")
        item_ids = kept_items.in_order()
        return writer.finish(
            name=name,
            label=label(int(num_read)) if callable(label) else label,
            floor_rmse=floor_rmse,
            user_ids=kept_users.in_order(),
            item_ids=item_ids,
            split=definition(seed),
            notes=tuple(notes),
            **({} if known is None else known.columns(item_ids)),
        )


def prepare(
    config: DataConfig, folder: Path, tell: Tell = silent
) -> shardfiles.Manifest:
    """Writes the data that `config` names as shards, in bounded memory.

    Args:
      config: a release in CSV, the synthetic world, or the path of a folder or file as
        `from_csv` reads it; its filters and `split_seed`.
      folder: to be written; must not exist.
      tell: is told what is being done.

    Raises:
      DataError: as `from_csv`; or a release is in another format, or another copy.
    """
    known: dict[str, Any] = {
        "min_user_ratings": config.min_user_ratings,
        "min_item_ratings": config.min_item_ratings,
        "seed": config.split_seed,
        "tell": tell,
    }
    if config.dataset == "synthetic":
        from ncf_jax.data import synthetic
        from ncf_jax.data.prepare import world_of

        world = world_of(config)
        with tempfile.TemporaryDirectory() as scratch:
            source = Path(config.cache_dir or scratch) / world.folder_name()
            known["floor_rmse"] = synthetic.write(world, source)
            label = "synthetic world (not real data)"
            return from_csv(source, folder, name="synthetic", label=label, **known)
    release = releases.RELEASES.get(config.dataset)
    if release is None:
        source = Path(config.dataset)
        return from_csv(source, folder, name=source.name, **known)
    if release.form != "csv":
        raise DataError(
            f"{release.name} has no CSV files, which alone are read by blocks; it is "
            f"small: leave out --bounded."
        )
    source = release.folder(Path(config.data_dir))
    if not source.is_dir():
        source = download.fetch(release, Path(config.data_dir))
    altered = releases.altered_members(release, source)
    if altered and not config.allow_other_copy:
        raise DataError(
            f"{source} is not the {release.name} of {release.date}: "
            f"{', '.join(altered)} has another content. Use the published release, or "
            f"pass --allow_other_copy and every output names it as different."
        )
    known["label"] = partial(releases.label_of, release, altered)
    known["notes"] = releases.notes_of(release)
    return from_csv(source, folder, name=release.name, **known)


def definition(seed: int) -> str:
    """The split by hash in a sentence."""
    return f"hash, seed {seed}: 70/15/15 of all rows, by a hash of user and item"


def hashed_part(user_id: np.ndarray, item_id: np.ndarray, seed: int) -> np.ndarray:
    """The part of each row, by its ids alone: [N] int8, 0 train, 1 valid, 2 test.

    With `mix` as in `ncf_jax.bits`, on 32 bits, the hash is `mix(mix(mix(seed) ^ user)
    ^ item)`, where an id above 2^32 has its upper half folded in by exclusive or. Train
    are hashes below 0.7 * 2^32, validation those from there to 0.85 * 2^32.

    Args:
      user_id: [N] ids, not indices: the part of a row outlives any filter.
      item_id: [N] likewise.
      seed: 0 to 2^32 - 1.

    Example:
      >>> part = hashed_part(np.zeros(10_000, int), np.arange(10_000), seed=42)
      >>> round(float((part == 0).mean()), 1)
      0.7
    """
    word = _mix(np.full(1, seed, np.uint32))
    for ids in (user_id, item_id):
        wide = np.asarray(ids).astype(np.uint64)
        word = _mix(word ^ (wide ^ (wide >> np.uint64(32))).astype(np.uint32))
    share = word / 2**32
    return (share >= SHARES[0]).astype(np.int8) + (share >= SHARES[1])


def _mix(word: np.ndarray) -> np.ndarray:
    word = (word ^ (word >> np.uint32(16))) * np.uint32(0x7FEB352D)
    word = (word ^ (word >> np.uint32(15))) * np.uint32(0x846CA68B)
    return word ^ (word >> np.uint32(16))


def _numbered(
    block: pd.DataFrame, users: Numbers, items: Numbers, seed: int
) -> dict[str, np.ndarray]:
    user_id, item_id = (block[name].to_numpy() for name in ("userId", "movieId"))
    user, item = users.places(user_id), items.places(item_id)
    kept = (user >= 0) & (item >= 0)
    return {
        "user": users.number(user[kept]),
        "item": items.number(item[kept]),
        "rating": block["rating"].to_numpy()[kept].astype(np.float32),
        "time": block["timestamp"].to_numpy()[kept],
        "part": hashed_part(user_id[kept], item_id[kept], seed),
    }


class _Items(NamedTuple):
    """What is known of items."""

    movies: pd.DataFrame
    tags: pd.DataFrame
    notes: tuple[str, ...]

    def columns(self, item_ids: np.ndarray) -> dict[str, Any]:
        ids = pd.Index(self.movies["movieId"])
        rows = ids.get_indexer(pd.Index(item_ids))
        some, texts = self.movies.iloc[rows], self.movies["genres"].tolist()
        return {
            "titles": some["title"].tolist(),
            "genres": some["genres"].tolist(),
            "genre_names": features.genre_matrix(texts, [])[1],
            "tags": features.tag_matrix(self.tags, ids.to_numpy())[rows],
        }


def _items(folder: Path, tell: Tell) -> _Items:
    path, tags_path = folder / "movies.csv", folder / "tags.csv"
    movies = csvfile.read_table(path, MOVIES, tell)
    tables.refuse_repeated(path, movies, ["movieId"], csvfile.line_of)
    if not tags_path.exists():
        notes = ("tags.csv: not there, so tag features are zeros",)
        return _Items(movies, tables.no_tags(), notes)
    tags = csvfile.read_table(tags_path, TAGS, tell)
    where = path.name, csvfile.line_of
    tables.refuse_unknown_movies(tags_path, tags, movies, *where)
    return _Items(movies, *tables.without_blank(tags_path.name, tags))


def _count(path: Path, known: _Items | None, tell: Tell) -> tuple[Tally, Tally, bool]:
    """Ratings by user and by item, and whether no pair can occur twice."""
    users, items, rows = Tally(), Tally(), 0
    sorted_by_ids, last = True, (-1, -1)
    among = None if known is None else known.movies["movieId"].to_numpy()
    for block in blocks(path, tell):
        user, item = (block[name].to_numpy() for name in ("userId", "movieId"))
        if among is not None and not (fine := columnar.known(item, among)).all():
            row = int(fine.argmin())
            raise DataError(
                f"{path}, line {csvfile.line_of(path, rows + row)}, column movieId: "
                f"{item[row]} is not in movies.csv."
            )
        users.add(user)
        items.add(item)
        before_user = np.concatenate([[last[0]], user[:-1]])
        before_item = np.concatenate([[last[1]], item[:-1]])
        if (same := (user == before_user) & (item == before_item)).any():
            row = int(same.argmax())
            raise DataError(
                f"{path}, line {csvfile.line_of(path, rows + row)}, column movieId: "
                f"userId {user[row]}, movieId {item[row]} stands in an earlier line "
                f"too. Keep one of them."
            )
        later = (user == before_user) & (item > before_item)
        sorted_by_ids &= bool((later | (user > before_user)).all())
        last = int(user[-1]), int(item[-1])
        rows += len(user)
    return users, items, sorted_by_ids
