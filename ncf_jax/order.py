"""The order of an epoch's rows on the host: any part of it, without the rest.

What `bits.permutation` does on the device, in NumPy and bit for bit: a Feistel network
that is one to one, of which position i is had without the others. So an epoch of any
length has an order that is neither sorted nor kept.
"""

import math
from typing import NamedTuple

import jax
import numpy as np

from ncf_jax import bits

BLOCK = 2**15  # positions at once: what is made of them stays in a core's cache
NARROW = 2**32 - 2**17  # up to so many rows 32 bits hold every cell of the network


class Order(NamedTuple):
    """The order of one epoch.

    Attributes:
      n: rows.
      words: [6] uint32 of the network's rounds; None: see `table`.
      table: [n] the order itself; None beside `words`: rows stay in order.
    """

    n: int
    words: np.ndarray | None
    table: np.ndarray | None

    def places(self, start: int, stop: int) -> np.ndarray:
        """The rows at places `start` to `stop`: [stop - start] int64."""
        if self.words is not None:
            return permuted(self.words, self.n, start, stop)
        if self.table is not None:
            return self.table[start:stop].astype(np.int64)
        return np.arange(start, stop)


def order_of(key: jax.Array | None, n: int) -> Order:
    """The order that `bits.permutation(key, n)` gives, ready for any part of it."""
    if key is None:
        return Order(n, None, None)
    if n <= bits.SMALL:
        return Order(n, None, np.asarray(bits.permutation(key, n)))
    return Order(n, np.asarray(bits.words(key, (bits.ROUNDS,))), None)


def permuted(words: np.ndarray, n: int, start: int, stop: int) -> np.ndarray:
    """Places `start` to `stop` of `bits.permutation`, for n above `bits.SMALL`.

    Args:
      words: [6] uint32, `bits.words(key, (bits.ROUNDS,))`.
      n: rows; above 2^32 the same network in 64 bits goes on.
      start, stop: places.

    Returns:
      [stop - start] int64 row numbers.

    Example:
      >>> key = jax.random.key(0)
      >>> order = bits.permutation(key, 5_000)
      >>> found = permuted(np.asarray(bits.words(key, (6,))), 5_000, 30, 40)
      >>> bool((found == order[30:40]).all())
      True
    """
    out = np.empty(stop - start, np.int64)
    for first in range(start, stop, BLOCK):
        last = min(first + BLOCK, stop)
        out[first - start : last - start] = _network(words, n, first, last)
    return out


def _network(words: np.ndarray, n: int, start: int, stop: int) -> np.ndarray:
    rows = math.isqrt(n - 1) + 1
    columns = -(-n // rows)
    kind = np.uint32 if n <= NARROW else np.uint64
    cells = _shuffled(np.arange(start, stop, dtype=kind), words, rows, columns)
    while len(beyond := np.flatnonzero(cells >= kind(n))):
        cells[beyond] = _shuffled(cells[beyond], words, rows, columns)
    return cells


def _shuffled(
    cells: np.ndarray, words: np.ndarray, rows: int, columns: int
) -> np.ndarray:
    row = cells // cells.dtype.type(columns)
    column = cells - row * cells.dtype.type(columns)
    for number in range(0, len(words), 2):
        _move(row, rows, column, words[number])
        _move(column, columns, row, words[number + 1])
    row *= row.dtype.type(columns)
    row += column
    return row


def _move(half: np.ndarray, size: int, other: np.ndarray, key: np.uint32) -> None:
    """half = (half + mix(other ^ key) % size) % size, in place.

    NumPy divides by a number fast, but has no fast remainder; and since the sum is
    below 2 * size, its remainder is the less of it and it minus size, which wraps.
    """
    word = other.astype(np.uint32)
    word ^= key
    word ^= word >> np.uint32(16)
    word *= np.uint32(0x7FEB352D)
    word ^= word >> np.uint32(15)
    word *= np.uint32(0x846CA68B)
    word ^= word >> np.uint32(16)
    if size < 2**32:
        word -= word // np.uint32(size) * np.uint32(size)
    half += word
    np.minimum(half, half - half.dtype.type(size), out=half)
