"""The splits that ml-100k was published with: u1 to u5, ua and ub.

u1 to u5 are five folds of a fifth of all ratings each; ua and ub have ten ratings of
each user in test. Test is `<name>.test`, training `<name>.base`; nothing is left for
validation, which is empty.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from ncf_jax.data import dat
from ncf_jax.data.lines import line_of
from ncf_jax.data.releases import RELEASES
from ncf_jax.errors import DataError
from ncf_jax.types import Dataset

FORM = "ml-100k"


def part(dataset: Dataset, data_dir: Path, name: str) -> np.ndarray:
    """The part of each row of ml-100k: [N] int8, 0 train, 2 test.

    Args:
      dataset: ml-100k, whole.
      data_dir: that holds its folder.
      name: u1 to u5, ua or ub.

    Raises:
      DataError: a file is missing or malformed, or the two files together are not the
        rows of u.data, each once; names file and line.
    """
    folder = RELEASES[FORM].folder(data_dir)
    paths = [folder / f"{name}.{kind}" for kind in ("base", "test")]
    if missing := [path.name for path in paths if not path.is_file()]:
        raise DataError(
            f"{folder} lacks {', '.join(missing)}, which --split={name} reads. Take "
            f"them from {RELEASES[FORM].url}, or choose another --split."
        )
    users, items = dataset.user_ids[dataset.user], dataset.item_ids[dataset.item]
    rows = pd.MultiIndex.from_arrays([users, items])
    found = np.full(len(rows), -1, np.int8)
    for path, value in zip(paths, (0, 2), strict=True):
        table = dat.read_ratings(path, FORM)
        pairs = pd.MultiIndex.from_frame(table[["userId", "movieId"]])
        place = rows.get_indexer(pairs)
        same = (dataset.rating[place] == table["rating"].to_numpy()) & (
            dataset.time[place] == table["timestamp"].to_numpy()
        )
        _refuse(path, table, (place < 0) | ~same, "is no row of u.data")
        _refuse(path, table, found[place] >= 0, f"stands in {paths[0].name}, too")
        _refuse(path, table, pairs.duplicated(), "stands in an earlier line, too")
        found[place] = value
    if (found < 0).any():
        row = int((found < 0).argmax())
        raise DataError(
            f"{folder / 'u.data'}, line {line_of(folder / 'u.data', row)}: userId "
            f"{users[row]}, movieId {items[row]} is neither in {paths[0].name} nor in "
            f"{paths[1].name}, which together must hold all rows."
        )
    return found


def definition(name: str) -> str:
    """What is said of the split `name`."""
    return f"{name}: as published with ml-100k, {name}.test to test; no validation rows"


def _refuse(path: Path, table: pd.DataFrame, bad: np.ndarray, why: str) -> None:
    if bad.any():
        row = int(bad.argmax())
        one = table.iloc[row]
        raise DataError(
            f"{path}, line {line_of(path, row)}: userId {one['userId']:.0f}, "
            f"movieId {one['movieId']:.0f}, rating {one['rating']:g} {why}."
        )
