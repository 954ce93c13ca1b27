"""What single users got, as a file for people and one for paired tests."""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from ncf_jax.judge import Evaluation
from ncf_jax.results import to_csv
from ncf_jax.types import Dataset


def per_user_csv(dataset: Dataset, evaluation: Evaluation, k: int) -> str:
    """One row for each user with test rows; means over seeds, empty: not defined."""
    first = ["rmse", f"precision@{k}", f"ndcg@{k}", f"recall@{k}"]
    names = first + [name for name in evaluation.per_user if name not in first]
    columns = [evaluation.per_user[name].mean(axis=0) for name in names]
    rows = [
        [int(dataset.user_ids[user]), int(count)]
        + ["" if math.isnan(value) else float(value) for value in values]
        for user, count, *values in zip(
            evaluation.user, evaluation.rows, *columns, strict=True
        )
    ]
    return to_csv(["userId", "n_test", *names], rows)


class PerUser(NamedTuple):
    """What single users got, of every seed; all that a paired test needs.

    Attributes:
      user_id: [U'] as in ratings.csv.
      rows: [U'] test rows of the user.
      sums: [R, U', 5] the user's `RatingSums`, in their order.
      values: metric -> [R, U'], NaN where it is not defined for the user.
    """

    user_id: np.ndarray
    rows: np.ndarray
    sums: np.ndarray
    values: dict[str, np.ndarray]


def per_user(dataset: Dataset, evaluation: Evaluation) -> PerUser:
    """The per-user values of an evaluation."""
    ranking = [name for name in evaluation.per_user if "@" in name]
    return PerUser(
        user_id=dataset.user_ids[evaluation.user],
        rows=evaluation.rows,
        sums=np.stack(evaluation.sums, axis=-1),
        values={name: evaluation.per_user[name] for name in ranking},
    )


def pack(users: PerUser) -> dict[str, np.ndarray]:
    """As named arrays, for storage; see `unpack`."""
    arrays = {name: getattr(users, name) for name in ("user_id", "rows", "sums")}
    return arrays | {f"value/{name}": value for name, value in users.values.items()}


def unpack(arrays: Mapping[str, np.ndarray]) -> PerUser:
    """The values that `pack` took apart."""
    values = {
        name.removeprefix("value/"): arrays[name]
        for name in arrays
        if name.startswith("value/")
    }
    return PerUser(arrays["user_id"], arrays["rows"], arrays["sums"], values)
