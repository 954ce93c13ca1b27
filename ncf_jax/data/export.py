"""A prepared data set and its split as CSV files, in the reference's columns."""

import contextlib
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

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
      movieId, split: train, valid or test); of a synthetic world also
      `SYNTHETIC.txt`, which says so.

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
    writers: dict[str, Callable[[Path], Any]] = {
        "final_merged_dataset.csv": partial(merged.to_csv, index=False),
        "split.csv": partial(division.to_csv, index=False),
    }
    if dataset.synthetic:  # the reference's columns have no place to say so
        writers["SYNTHETIC.txt"] = lambda path: path.write_text(
            "The CSV files beside this one are of a synthetic world: nobody rated "
            "anything, and no figure computed from them is a result.\n"
        )
    return [_write(folder / name, writer) for name, writer in writers.items()]


def _write(path: Path, writer: Callable[[Path], Any]) -> Path:
    unfinished = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        writer(unfinished)
        os.replace(unfinished, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            unfinished.unlink()
        raise DataError(
            f"{path} could not be written ({error.strerror}). Point --export_dir at a "
            f"folder that can be written."
        ) from error
    return path
