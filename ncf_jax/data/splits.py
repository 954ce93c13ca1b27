"""Which interactions train, which choose, which judge.

A split is a function `(dataset, seed) -> Split`; `SPLITS` holds them by name.
"""

import hashlib

import numpy as np

from ncf_jax.types import Dataset, Split

TEST_SHARE = 0.3  # then halved into validation and test


def user_random(dataset: Dataset, seed: int) -> Split:
    """70/15/15 inside each user, the very rows of two scikit-learn calls per user.

    The reference calls `train_test_split(rows, test_size=0.3, random_state=seed)` on
    each user's rows and halves the 30 % with `test_size=0.5` and the same seed. Since
    the seed is the same for every user, the permutation depends on the number of rows
    alone: it is drawn once for each number and applied to all users who have it.

    A user with a single row outside train keeps it for test (scikit-learn would stop);
    a user with one row in all has it in test.

    Args:
      dataset: rows of a user in any order; their order in the data set matters.
      seed: of the permutations.

    Example:
      >>> from ncf_jax import Config, prepare
      >>> dataset = prepare(Config(cache_dir=""))
      >>> split = user_random(dataset, seed=42)
      >>> len(split.train) + len(split.valid) + len(split.test) == len(dataset.user)
      True
    """
    part = np.zeros(len(dataset.user), np.int8)
    order = np.argsort(dataset.user, kind="stable")
    counts = np.bincount(dataset.user, minlength=dataset.num_users)
    starts = np.cumsum(counts) - counts
    for n in np.unique(counts[counts > 0]):
        rows_UxN = order[starts[counts == n][:, None] + np.arange(n)]
        part[rows_UxN] = _parts(int(n), seed)
    return make_split(dataset, part, f"user_random, seed {seed}: 70/15/15 in each user")


def _parts(n: int, seed: int) -> np.ndarray:
    """The part of each of n rows: 0 train, 1 validation, 2 test.

    Source: scikit-learn's ShuffleSplit, which takes the first ceil(share * n) of
    `RandomState(seed).permutation(n)` for test and the rest, in order, for train.
    """
    part = np.zeros(n, np.int8)
    held_out = np.random.RandomState(seed).permutation(n)[: _ceil_share(TEST_SHARE, n)]
    second = np.random.RandomState(seed).permutation(len(held_out))
    num_test = _ceil_share(0.5, len(held_out))
    part[held_out[second[:num_test]]] = 2
    part[held_out[second[num_test:]]] = 1
    return part


def _ceil_share(share: float, n: int) -> int:
    # In floating point and then up, as scikit-learn does: 0.3 * 10 is 3.0 exactly,
    # but 0.3 * n is not always what the fraction would give.
    return int(np.ceil(share * n))


def make_split(dataset: Dataset, part: np.ndarray, definition: str) -> Split:
    """A `Split` from each row's part: [N] with 0 train, 1 validation, 2 test."""
    train, valid, test = (np.flatnonzero(part == which) for which in range(3))
    digest = hashlib.sha256(
        dataset.fingerprint.encode() + part.astype(np.int8).tobytes()
    )
    return Split(train, valid, test, definition, digest.hexdigest()[:16])


SPLITS = {"user_random": user_random}
