"""Random bits by hashing a counter: dropout, shuffling and noise for a few ops.

`jax.random` draws with threefry, which costs a third of a training step on a CPU, and
shuffles by sorting, which costs more than a step. Neither dropout, nor the order of
rows, nor the noise of weights needs bits of that quality. Here the i-th word is a hash
of i and the key: the key is still JAX's, folded by purpose and step, so everything is
as reproducible as before; no state, no sort, and the same bits on every device.

The hash is "lowbias32", a multiply-xorshift mixer found by exhaustive search for small
bias: https://nullprogram.com/blog/2018/07/31/.
"""

import math

import jax
import jax.numpy as jnp

ROUNDS = 6
SMALL = 4096  # rows that are shuffled by a sort


def mix(word: jax.Array) -> jax.Array:
    """Hashes uint32 words, one to one: every input bit moves every output bit."""
    word = (word ^ (word >> 16)) * jnp.uint32(0x7FEB352D)
    word = (word ^ (word >> 15)) * jnp.uint32(0x846CA68B)
    return word ^ (word >> 16)


def words(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """uint32 words of `shape`, a hash of their position and the key.

    Example:
      >>> words(jax.random.key(0), (2, 3)).shape
      (2, 3)
    """
    data = jax.random.key_data(key)
    counter = jnp.arange(math.prod(shape), dtype=jnp.uint32)
    return mix(mix(counter + data[..., 0]) ^ data[..., -1]).reshape(shape)


def dropout(key: jax.Array, x: jax.Array, rate: float) -> jax.Array:
    """Sets a share `rate` of the units of `x` [..., D] to zero and scales the others.

    Two units share a word, so the rate is a multiple of 1/65536 below 1; the scale is
    that of the rate so rounded, and the expectation is `x` exactly.

    Example:
      >>> float(dropout(jax.random.key(0), jnp.ones((100, 100)), 0.5).max())
      2.0
    """
    below = min(round(rate * 65536), 65535)
    if below == 0:
        return x
    width = x.shape[-1]
    pairs = words(key, (*x.shape[:-1], (width + 1) // 2))
    low, high = pairs & 0xFFFF, pairs >> 16
    keep = jnp.concatenate([low >= below, high >= below], axis=-1)[..., :width]
    scale = 65536 / (65536 - below)
    return jnp.where(keep, x * scale, 0.0)


def normal(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Standard normal numbers of `shape`: two of two words, none beyond 5.9.

    Source: Box and Muller 1958, doi:10.1214/aoms/1177706645.

    Example:
      >>> float(jnp.std(normal(jax.random.key(0), (100, 100))).round(2))
      1.0
    """
    size = math.prod(shape)
    pair = words(key, (2, (size + 1) // 2))
    radius_at, angle_at = ((pair >> 8).astype(jnp.float32) + 0.5) * 2.0**-24
    radius = jnp.sqrt(-2 * jnp.log(radius_at))
    angle = 2 * math.pi * angle_at
    both = jnp.concatenate([radius * jnp.cos(angle), radius * jnp.sin(angle)])
    return both[:size].reshape(shape)


def permutation(key: jax.Array, n: int) -> jax.Array:
    """The numbers 0 to n - 1 in random order: [n] int32, in O(n) and without a sort.

    Up to 4096 numbers are sorted by random bits as JAX does, which is exactly uniform.
    Above, a Feistel network over a grid of about sqrt(n) x sqrt(n) cells is one to one
    on the grid; a number that lands in one of the few cells beyond n goes through it
    again. Position i can be had without the others.

    Source: Black and Rogaway 2002, "Ciphers with arbitrary finite domains",
    doi:10.1007/3-540-45760-7_9, methods 2 and 3.

    Example:
      >>> sorted(permutation(jax.random.key(0), 5).tolist())
      [0, 1, 2, 3, 4]
    """
    if n <= SMALL:
        return jax.random.permutation(key, jnp.arange(n, dtype=jnp.int32))
    rows = math.isqrt(n - 1) + 1
    columns = -(-n // rows)
    keys = words(key, (ROUNDS,))

    def shuffle(cell: jax.Array) -> jax.Array:
        row, column = cell // columns, cell % columns
        for number in range(0, ROUNDS, 2):
            row = (row + mix(column ^ keys[number]) % rows) % rows
            column = (column + mix(row ^ keys[number + 1]) % columns) % columns
        return row * columns + column

    cells = shuffle(jnp.arange(n, dtype=jnp.uint32))
    cells = jax.lax.while_loop(
        lambda cells: jnp.any(cells >= n),
        lambda cells: jnp.where(cells >= n, shuffle(cells), cells),
        cells,
    )
    return cells.astype(jnp.int32)
