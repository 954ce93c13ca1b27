"""Ratings -> indices, and the fingerprint of what was prepared; by whole columns."""

import hashlib
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import pandas as pd

from ncf_jax.data.columnar import SMALL_ID

ROWS = 2**18  # numbered at once
PAIRS = 2**16  # tags hashed at once


class Kept(NamedTuple):
    """What the filters left, numbered in order of first appearance.

    Attributes:
      user: [N] int32 user index.
      item: [N] int32 item index.
      user_ids: [U] int64 userId of each index.
      item_ids: [I] int64 movieId of each index.
      mask: which of the rows that were read are the N; None: all.
      read_users: users before the filters.
      read_items: items before the filters.
    """

    user: np.ndarray
    item: np.ndarray
    user_ids: np.ndarray
    item_ids: np.ndarray
    mask: np.ndarray | None
    read_users: int
    read_items: int

    def rows(self, column: np.ndarray) -> np.ndarray:
        """The N rows of a column that was read."""
        return column if self.mask is None else column[self.mask]


def filtered(
    user: np.ndarray, item: np.ndarray, min_user_ratings: int, min_item_ratings: int
) -> Kept:
    """Leaves out rare items, then rare users, each once, and numbers the rest.

    Args:
      user: ids, one a rating.
      item: ids, likewise.
      min_user_ratings: fewest ratings of a user, after the items are filtered.
      min_item_ratings: fewest ratings of an item.

    Example:
      >>> kept = filtered(np.array([9, 9, 5]), np.array([3, 4, 4]), 1, 2)
      >>> kept.user_ids[kept.user].tolist(), kept.item_ids[kept.item].tolist()
      ([9, 5], [4, 4])
    """
    user, user_ids = _small(user)
    item, item_ids = _small(item)
    per_user, per_item = np.bincount(user), np.bincount(item)
    read_users, read_items = np.count_nonzero(per_user), np.count_nonzero(per_item)
    mask = (per_item >= min_item_ratings)[item]
    per_user -= np.bincount(user[~mask], minlength=len(per_user))
    enough = per_user >= min_user_ratings
    if not enough[per_user > 0].all():
        mask &= enough[user]
    with ThreadPoolExecutor(2) as pool:  # NumPy lets others run while it gathers
        numbered = pool.map(_numbered, (user, item), (mask, mask))
        (user_index, first_users), (item_index, first_items) = numbered
    return Kept(
        user_index,
        item_index,
        first_users if user_ids is None else user_ids[first_users],
        first_items if item_ids is None else item_ids[first_items],
        None if mask.all() else mask,
        int(read_users),
        int(read_items),
    )


def _small(ids: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Ids as numbers small enough for tables; and the ids, unless they are so small."""
    if ids.max(initial=0) < SMALL_ID:
        return ids, None
    code, distinct = pd.factorize(ids)
    return code, np.asarray(distinct)


def _numbered(values: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numbers the values where `mask` is true in order of first appearance.

    By blocks, so that nothing of the size of the data is made but the result.

    Args:
      values: [M] from 0 and small: a table replaces hashing.
      mask: [M] bool.

    Returns:
      [N] int32 numbers, and the distinct values.
    """
    first = np.full(int(values.max(initial=-1)) + 1, len(values), np.int64)
    starts = range(0, len(values), ROWS)
    for start in reversed(starts):
        rows = np.flatnonzero(mask[start : start + ROWS])[::-1] + start
        # Of rows with one value the last to be written stays.
        first[values[rows]] = rows
    present = np.flatnonzero(first < len(values))
    distinct = present[np.argsort(first[present])]
    number = np.empty(len(first), np.int32)
    number[distinct] = np.arange(len(distinct))
    out, done = np.empty(np.count_nonzero(mask), np.int32), 0
    for start in starts:
        some = values[start : start + ROWS][mask[start : start + ROWS]]
        out[done : done + len(some)] = number[some]
        done += len(some)
    return out, distinct


def fingerprint(
    arrays: dict[str, np.ndarray],
    titles: list[str],
    genres: list[str],
    tags: pd.DataFrame,
    genre_names: Sequence[str],
) -> str:
    """16 hex digits of the ids, ratings, times, titles, genres and tag texts.

    Not of the tag features, whose last bits differ between builds of the same
    libraries.

    Args:
      arrays: by name.
      titles: I titles.
      genres: I genre strings.
      tags: columns movieId and tag.
      genre_names: G names.
    """
    digest = hashlib.sha256()
    for key in sorted(arrays):
        digest.update(f"{key} {arrays[key].shape} ".encode())
        digest.update(np.ascontiguousarray(arrays[key]).data)
    # As `json.dumps` has [titles, genres, [[movieId, tag], ...], genre_names], but each
    # distinct movie and tag is made into text once.
    digest.update(f"[{json.dumps(titles)}, {json.dumps(genres)}, [".encode())
    movie, movies = pd.factorize(tags["movieId"])
    text, texts = pd.factorize(tags["tag"])
    left = np.array([f"[{json.dumps(str(one))}, " for one in movies], object)
    right = np.array([f"{json.dumps(str(one))}]" for one in texts], object)
    for start in range(0, len(tags), PAIRS):
        rows = slice(start, start + PAIRS)
        pairs = ", ".join(left[movie[rows]] + right[text[rows]])
        digest.update(f"{', ' if start else ''}{pairs}".encode())
    digest.update(f"], {json.dumps(list(genre_names))}]".encode())
    return digest.hexdigest()[:16]
