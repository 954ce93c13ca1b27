"""pandas alone: the least that reading the ratings can take in Python."""

from collections.abc import Callable

import pandas as pd


def read_csv(path: str) -> Callable[[], None]:
    """`pandas.read_csv` of a file, and nothing else."""

    def run() -> None:
        pd.read_csv(path)

    return run
