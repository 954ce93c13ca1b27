"""Ids -> numbers, a block of rows at a time: memory is O(ids), not O(rows)."""

import numpy as np
import pandas as pd


class Tally:
    """How often each id occurs.

    Attributes:
      ids: [M] int64, ascending.
      counts: [M] int64.

    Example:
      >>> tally = Tally()
      >>> for block in ([7, 3, 7], [5, 7]):
      ...     tally.add(np.array(block))
      >>> tally.ids.tolist(), tally.counts.tolist()
      ([3, 5, 7], [1, 1, 3])
    """

    def __init__(self) -> None:
        """No id has occurred yet."""
        self.ids = np.empty(0, np.int64)
        self.counts = np.empty(0, np.int64)

    def add(self, values: np.ndarray) -> None:
        """Counts the ids of a block [n]."""
        code, distinct = pd.factorize(values)
        count = np.bincount(code, minlength=len(distinct))
        order = np.argsort(distinct)
        distinct, count = np.asarray(distinct)[order], count[order]
        place = np.searchsorted(self.ids, distinct)
        old = place < len(self.ids)
        old[old] = self.ids[place[old]] == distinct[old]
        self.counts[place[old]] += count[old]
        if not old.all():
            self.ids = np.insert(self.ids, place[~old], distinct[~old])
            self.counts = np.insert(self.counts, place[~old], count[~old])


class Numbers:
    """Ids that are kept, numbered in order of first appearance.

    Args:
      ids: [M] int64, ascending.

    Example:
      >>> numbers = Numbers(np.array([3, 5, 7]))
      >>> numbers.number(numbers.places(np.array([7, 3, 7]))).tolist()
      [0, 1, 0]
      >>> numbers.in_order().tolist()
      [7, 3]
    """

    def __init__(self, ids: np.ndarray) -> None:
        """No id has a number yet."""
        self.ids = ids
        self._number = np.full(len(ids), -1, np.int32)
        self._place = np.empty(len(ids), np.int64)  # of each number
        self._next = 0

    def places(self, values: np.ndarray) -> np.ndarray:
        """The place of each value [n] among the ids; -1: not kept."""
        code, distinct = pd.factorize(values)
        place = np.searchsorted(self.ids, distinct)
        place[place == len(self.ids)] = 0
        found = self.ids[place] == distinct if len(self.ids) else place < 0
        return np.where(found, place, -1)[code]

    def number(self, places: np.ndarray) -> np.ndarray:
        """The number of each place, [n] int32; what is new gets the next ones."""
        distinct = np.asarray(pd.factorize(places)[1])  # in order of appearance
        new = distinct[self._number[distinct] < 0]
        end = self._next + len(new)
        self._number[new] = np.arange(self._next, end)
        self._place[self._next : end] = new
        self._next = end
        return self._number[places]

    def in_order(self) -> np.ndarray:
        """The ids that have a number, in the order of numbers."""
        return self.ids[self._place[: self._next]]
