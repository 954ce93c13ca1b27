"""What users have rated and who has rated items: *that* they did, not what they gave.

Which items a user chose says much of their taste, whatever the stars. In full it is a
row of the users x items matrix of training rows, 1 where there is a rating; a history
is that row in H numbers, by the matrix's leading singular vectors:

  rated [U, H]   of a user, the sum over the items they rated of `item_basis`
  raters [I, H]  of an item, the sum over its users of `user_basis`

Sums, so that one row can be left out of them: a training row must not see itself. The
basis is of all training rows, so a trace of which pairs were trained on is left in it,
of no rating; on validation rows, bases that were cross-fitted as `counting` does with
contexts were no better.

Source: Koren 2008, doi:10.1145/1401890.1401944 (SVD++: implicit feedback); Halko,
Martinsson and Tropp 2011, https://arxiv.org/abs/0909.4061 (the singular vectors).
"""

import dataclasses
from collections.abc import Callable

import numpy as np
from flax import struct

from ncf_jax.types import Array, Dataset

SPARE = 8  # directions more than are kept, which settle last
SWEEPS = 6  # of orthogonal iteration
AT_ONCE = 2**18  # rows that are summed at a time


@struct.dataclass
class History:
    """Histories of all users and items, or of some pairs' (see `rows`).

    Attributes:
      rated: [U, H] sums of `item_basis`.
      raters: [I, H] sums of `user_basis`.
      user_basis: [U, H] orthonormal columns.
      item_basis: [I, H] orthonormal columns.
      user_count: [U] training rows of each.
      item_count: [I] training rows of each.
      number: [] of all training rows; None where one side is.
    """

    rated: Array
    raters: Array
    user_basis: Array
    item_basis: Array
    user_count: Array
    item_count: Array
    number: Array | None

    @property
    def width(self) -> int:
        """H."""
        return (self.raters if self.rated is None else self.rated).shape[-1]

    def rows(self, item: Array | None = None, user: Array | None = None) -> "History":
        """Of `item` [...] and of `user` [...]; of a side that is not given, None."""

        def of(table: Array, index: Array | None) -> Array | None:
            return None if index is None else table[index]

        return History(
            rated=of(self.rated, user),
            raters=of(self.raters, item),
            user_basis=of(self.user_basis, user),
            item_basis=of(self.item_basis, item),
            user_count=of(self.user_count, user),
            item_count=of(self.item_count, item),
            number=None if item is None or user is None else self.number,
        )

    def of_user(self, own: bool = False) -> Array:
        """[..., H]: sums over the root of their number, which keeps their size.

        Args:
          own: the pair is itself a training row, and is left out.
        """
        if not own:
            return _mean(self.rated, self.user_count)
        return _mean(self.rated - self.item_basis, self.user_count - 1)

    def of_item(self, own: bool = False) -> Array:
        """As `of_user`, of the item's users."""
        if not own:
            return _mean(self.raters, self.item_count)
        return _mean(self.raters - self.user_basis, self.item_count - 1)

    def joined(self) -> "History":
        """As if each pair were a training row: what then leaves it out finds the rest.

        For pairs that are none, but are trained on as if they were.
        """
        return dataclasses.replace(
            self,
            rated=self.rated + self.item_basis,
            raters=self.raters + self.user_basis,
            user_count=self.user_count + 1,
            item_count=self.item_count + 1,
        )


def _mean(total: Array, count: Array) -> Array:
    return total / count.clip(1.0)[..., None] ** 0.5


def remember(dataset: Dataset, rows: np.ndarray, width: int) -> History:
    """Histories of some rows.

    Memory on the host: 8 (U + I) (H + `SPARE`) bytes a few times over.

    Args:
      dataset: the data set; its ratings are not read.
      rows: [n] positions of training rows.
      width: H; columns beyond the number of users or items are zero.

    Example:
      >>> from ncf_jax import Config, prepare, split
      >>> dataset = prepare(Config(dataset="synthetic"))
      >>> history = remember(dataset, split(dataset, Config()).train, 16)
      >>> history.rated.shape[1], history.raters.shape[1]
      (16, 16)
    """
    users, items = dataset.num_users, dataset.num_items
    user, item = dataset.user[rows], dataset.item[rows]
    by_user, by_item = (np.argsort(side, kind="stable") for side in (user, item))

    def of_users(table: np.ndarray) -> np.ndarray:
        """The matrix times a table [I, D]: [U, D]."""
        others = item[by_user]
        return sum_by(user[by_user], users, lambda rows: table[others[rows]])

    def of_items(table: np.ndarray) -> np.ndarray:
        """The matrix, transposed, times a table [U, D]: [I, D]."""
        others = user[by_item]
        return sum_by(item[by_item], items, lambda rows: table[others[rows]])

    found = min(width + SPARE, users, items)
    basis = np.random.default_rng(0).normal(size=(items, found))
    for _ in range(SWEEPS):
        basis = np.linalg.qr(of_items(of_users(basis)))[0]
    left, _, right = np.linalg.svd(of_users(basis), full_matrices=False)
    pad = ((0, 0), (0, max(width - found, 0)))
    user_basis = np.pad(left[:, :width], pad)
    item_basis = np.pad((basis @ right.T)[:, :width], pad)
    single = np.float32
    return History(
        rated=of_users(item_basis).astype(single),
        raters=of_items(user_basis).astype(single),
        user_basis=user_basis.astype(single),
        item_basis=item_basis.astype(single),
        user_count=np.bincount(user, minlength=users).astype(single),
        item_count=np.bincount(item, minlength=items).astype(single),
        number=np.float32(len(rows)),
    )


def sum_by(
    index: np.ndarray, size: int, values: Callable[[slice], np.ndarray]
) -> np.ndarray:
    """Sums [size, D] of rows by index, a block of them at a time.

    Args:
      index: [n] which sum each row is part of, ascending.
      size: number of sums; one without a row is 0.
      values: gives rows [m, D] at some positions.

    Example:
      >>> rows = np.array([[1.0], [2.0], [5.0]])
      >>> sum_by(np.array([0, 0, 2]), 3, lambda block: rows[block]).tolist()
      [[3.0], [0.0], [5.0]]
    """
    total = np.zeros((size, values(slice(0, 0)).shape[1]))
    for start in range(0, len(index), AT_ONCE):
        block = slice(start, start + AT_ONCE)
        mine = index[block]
        first = np.flatnonzero(np.diff(mine, prepend=-1))
        total[mine[first]] += np.add.reduceat(values(block), first)
    return total
