"""A prepared data set and its split as CSV files, in the reference's columns."""

import contextlib
import os
from pathlib import Path

import numpy as np
import pandas as pd

from ncf_jax.errors import DataError
from ncf_jax.types import RATING_MAX, Dataset, Split


def export(dataset: Dataset, parts: Split, folder: Path) -> list[Path]:
    """Writes the merged table and the split as CSV files.

    Args:
      dataset: N rows, in order.
      parts: its split.
      folder: made when missing.

    Returns:
      `final_merged_dataset.csv` (userId, movieId, rating, timestamp, rating_norm,
      userIndex, movieIndex, genres_vector, tag_features) and `split.csv` (userId,
      movieId, split: train, valid or test).

    Raises:
      DataError: the folder cannot be written.
    """
    user_id, item_id = dataset.user_ids[dataset.user], dataset.item_ids[dataset.item]
    genres = np.array(
        [str(row) for row in np.asarray(dataset.features.genres).tolist()]
    )
    tags = np.array([str(row) for row in np.asarray(dataset.features.tags).tolist()])
    merged = pd.DataFrame(
        {
            "userId": user_id,
            "movieId": item_id,
            "rating": dataset.rating,
            "timestamp": dataset.time,
            "rating_norm": (dataset.rating / RATING_MAX).astype(np.float32),
            "userIndex": dataset.user,
            "movieIndex": dataset.item,
            "genres_vector": genres.astype(object)[dataset.item],
            "tag_features": tags.astype(object)[dataset.item],
        }
    )
    names = np.full(len(dataset.user), "train", dtype=object)
    names[parts.valid], names[parts.test] = "valid", "test"
    division = pd.DataFrame({"userId": user_id, "movieId": item_id, "split": names})
    written = []
    for table, name in ((merged, "final_merged_dataset.csv"), (division, "split.csv")):
        path = folder / name
        try:
            folder.mkdir(parents=True, exist_ok=True)
            partial = path.with_name(f".{name}.partial")
            table.to_csv(partial, index=False)
            os.replace(partial, path)
        except OSError as error:
            with contextlib.suppress(OSError):
                path.with_name(f".{name}.partial").unlink()
            raise DataError(
                f"{path} could not be written ({error.strerror}). Point --export_dir "
                f"at a folder that can be written."
            ) from error
        written.append(path)
    return written
