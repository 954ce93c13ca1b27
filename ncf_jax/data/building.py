"""Tables -> a `Dataset`: filter -> ids -> features -> arrays.

Nothing loops over users, ratings or tags, and memory is bounded: at its peak some
`60 * N + 0.5e9` bytes for N ratings in the files (32 of them for the table that was
read, 20 for the arrays that remain, the rest for codes and masks of the moment), and
some hundred bytes a tag.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pandas as pd

from ncf_jax.config import DataConfig
from ncf_jax.data import Tell, features, indexing, silent
from ncf_jax.data.tables import NO_GENRES, Tables
from ncf_jax.errors import DataError
from ncf_jax.types import Dataset, ItemFeatures, check_dataset


def build(
    tables: Tables,
    config: DataConfig,
    tell: Tell = silent,
    *,
    name: str,
    label: Callable[[int], str],
    source: str,
    floor_rmse: float | None = None,
    notes: tuple[str, ...] = (),
) -> Dataset:
    """The data set of tables that were read.

    Args:
      tables: of any source.
      config: its filters.
      tell: is told what is being done.
      name: of the data set.
      label: how outputs name it, given how many ratings were read.
      source: where the tables are from, for errors.
      floor_rmse: the lowest RMSE to be expected, where that is known.
      notes: sentences to be added to those of the tables.

    Raises:
      DataError: the filters leave nothing.
    """
    tell(f"{len(tables.tags):,} tags: made into features")
    ids = pd.Index(tables.movies["movieId"])
    beside = ThreadPoolExecutor(1)  # tags and ratings have nothing to do with another
    tags = beside.submit(features.tag_matrix, tables.tags, ids.to_numpy())
    beside.shutdown(wait=False)
    tell(f"{len(tables.ratings):,} ratings: filtered and numbered")
    columns = {name: tables.ratings[name].to_numpy() for name in tables.ratings}
    kept = indexing.filtered(
        columns["userId"],
        columns["movieId"],
        config.min_user_ratings,
        config.min_item_ratings,
    )
    read_note = (
        f"read {len(tables.ratings):,} ratings of {kept.read_items:,} movies by "
        f"{kept.read_users:,} users"
    )
    if not len(kept.user):
        raise DataError(
            f"No rating in {source} is left by --min_item_ratings="
            f"{config.min_item_ratings} and --min_user_ratings="
            f"{config.min_user_ratings}; lower them."
        )
    rows = ids.get_indexer(pd.Index(kept.item_ids))
    movies = tables.movies.iloc[rows]
    genres, genre_names = features.genre_matrix(
        tables.movies["genres"].tolist(), movies["genres"].tolist()
    )
    if genre_names == (NO_GENRES,):  # nothing is known of any
        genres[:] = 0
    with ThreadPoolExecutor(2) as pool:
        rating, time = pool.map(kept.rows, (columns["rating"], columns["timestamp"]))
    arrays: dict[str, Any] = dict(
        user=kept.user,
        item=kept.item,
        rating=rating.astype(np.float32),
        time=time,
        user_ids=kept.user_ids,
        item_ids=kept.item_ids,
    )
    tell("all of it: fingerprinted")
    texts = (
        movies["title"].tolist(),
        movies["genres"].tolist(),
        tables.tags,
        genre_names,
    )
    year = features.release_year(movies["title"].tolist())
    dataset = Dataset(
        name=name,
        label=label(len(tables.ratings)),
        **arrays,
        features=ItemFeatures(genres, tags.result()[rows], year),
        titles=tuple(movies["title"]),
        genres=tuple(movies["genres"]),
        genre_names=genre_names,
        fingerprint=indexing.fingerprint(arrays, *texts),
        floor_rmse=floor_rmse,
        notes=(read_note, *tables.notes, *notes),
    )
    return check_dataset(dataset)
