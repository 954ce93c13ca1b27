"""A synthetic world as MovieLens CSV files, written in blocks of bounded memory."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from ncf_jax.data.synthetic import Sample

BLOCK = 2**18  # rows made into text at once


def write_tables(drawn: "Sample", folder: Path) -> None:
    """Writes ratings.csv, movies.csv, tags.csv and a README.txt that says synthetic.

    Args:
      drawn: the world.
      folder: exists.

    Raises:
      OSError: a file cannot be written.
    """
    import pandas as pd

    with (folder / "ratings.csv").open("wb") as file:
        file.write(b"userId,movieId,rating,timestamp\n")
        for start in range(0, len(drawn.user), BLOCK):
            rows = slice(start, start + BLOCK)
            file.write(
                rating_lines(
                    drawn.user[rows].astype(np.int64) + 1,
                    drawn.item[rows].astype(np.int64) + 1,
                    drawn.rating[rows],
                    drawn.time[rows],
                )
            )
    pd.DataFrame(
        {
            "movieId": np.arange(len(drawn.titles)) + 1,
            "title": drawn.titles,
            "genres": drawn.genres,
        }
    ).to_csv(folder / "movies.csv", index=False)
    pd.DataFrame(
        {
            "userId": drawn.tags.user + 1,
            "movieId": drawn.tags.item + 1,
            "tag": drawn.tags.text,
            "timestamp": drawn.tags.time,
        }
    ).to_csv(folder / "tags.csv", index=False)
    (folder / "README.txt").write_text(
        "A synthetic world in the MovieLens file format, made by ncf_jax.\n"
        "Nobody rated anything: no figure computed from these files is a result.\n"
    )


def rating_lines(
    user: np.ndarray, item: np.ndarray, rating: np.ndarray, time: np.ndarray
) -> bytes:
    """Rows as text, as `DataFrame.to_csv` writes them and ten times as fast.

    Args:
      user: [N] ids, not negative.
      item: [N] likewise.
      rating: [N] stars, whole or half.
      time: [N] seconds, not negative.

    Example:
      >>> rating_lines(*(np.array([x]) for x in (7, 12, 3.5, 99)))
      b'7,12,3.5,99\\n'
    """
    halves = np.round(2 * rating).astype(np.int64)
    columns: list[Any] = [
        *_digits(user),
        ord(","),
        *_digits(item),
        ord(","),
        *_digits(halves // 2),
        ord("."),
        ord("0") + 5 * (halves % 2),
        ord(","),
        *_digits(time),
        ord("\n"),
    ]
    text = np.empty((len(user), len(columns)), np.uint8)
    for position, column in enumerate(columns):
        text[:, position] = column
    return text[text > 0].tobytes()


def _digits(values: np.ndarray) -> list[np.ndarray]:
    """The characters of whole numbers [N], 0 for none: as many as the largest needs."""
    width = len(str(int(values.max(initial=0))))
    columns = []
    for power in range(width - 1, -1, -1):
        rest = values // 10**power
        shown = (rest > 0) | (power == 0)
        columns.append(np.where(shown, ord("0") + rest % 10, 0))
    return columns
