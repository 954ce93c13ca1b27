"""Which interactions train, which choose, which judge.

A split is a function `(dataset, seed) -> Split`; `SPLITS` holds them by name. Those
that come with data are read in `published` and `prepare`. `LIMITS` says of each what it
can and cannot show.
"""

import hashlib

import numpy as np

from ncf_jax.config_data import PUBLISHED_SPLITS
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


def global_time(dataset: Dataset, seed: int = 0) -> Split:
    """The latest 15 % of all rows to test, the 15 % before to validation.

    No training row is later than a test row: max(train time) <= min(test time). Rows
    of one second are kept in order, so one second may lie on both sides.

    Args:
      dataset: with times.
      seed: changes nothing.
    """
    order = np.argsort(dataset.time, kind="stable")
    rows = len(order)
    held_out = _ceil_share(TEST_SHARE, rows)
    part = np.zeros(rows, np.int8)
    part[order[rows - held_out :]] = 1
    part[order[rows - _ceil_share(0.5, held_out) :]] = 2
    return make_split(dataset, part, "global_time: 70/15/15 by time over all users")


def leave_last_out(dataset: Dataset, seed: int = 0) -> Split:
    """Each user's latest row to test, the one before to validation, the rest to train.

    A user with two rows has none in validation, a user with one has it in train. Rows
    of one second are taken in the order of the file.

    Args:
      dataset: with times.
      seed: changes nothing.
    """
    order = np.lexsort((dataset.time, dataset.user))
    counts = np.bincount(dataset.user, minlength=dataset.num_users)
    last = np.cumsum(counts) - 1
    part = np.zeros(len(order), np.int8)
    part[order[last[counts > 1]]] = 2
    part[order[last[counts > 2] - 1]] = 1
    return make_split(dataset, part, "leave_last_out: each user's latest row")


def cold_item(dataset: Dataset, seed: int) -> Split:
    """15 % of the items, with all their rows, to test; another 15 % to validation.

    Of 4 items or more each part has some. Of 3 items one is in test and two in train,
    of 2 one in test and one in train; a single item is in test and nothing trains.

    Args:
      dataset: rows in any order; items without a row are not counted.
      seed: of the items drawn.

    Example:
      >>> from ncf_jax import Config, prepare
      >>> dataset = prepare(Config(cache_dir=""))
      >>> split = cold_item(dataset, seed=42)
      >>> bool(np.isin(dataset.item[split.test], dataset.item[split.train]).any())
      False
    """
    part = _parts_of_whole(dataset.item, seed)
    definition = f"cold_item, seed {seed}: 70/15/15 of the items, with all their rows"
    return make_split(dataset, part, definition)


def cold_user(dataset: Dataset, seed: int) -> Split:
    """15 % of the users, with all their rows, to test; another 15 % to validation.

    Few users are divided as few items are by `cold_item`.

    Args:
      dataset: rows in any order; users without a row are not counted.
      seed: of the users drawn.
    """
    part = _parts_of_whole(dataset.user, seed)
    definition = f"cold_user, seed {seed}: 70/15/15 of the users, with all their rows"
    return make_split(dataset, part, definition)


def _parts_of_whole(owner: np.ndarray, seed: int) -> np.ndarray:
    """The part of each row, [N], the same for all rows of one owner."""
    owners, which = np.unique(owner, return_inverse=True)
    held_out = _ceil_share(TEST_SHARE, len(owners))
    num_test = _ceil_share(0.5, held_out)
    order = np.random.RandomState(seed).permutation(len(owners))
    part = np.zeros(len(owners), np.int8)
    part[order[:held_out]] = 1
    part[order[:num_test]] = 2
    return part[which]


def make_split(dataset: Dataset, part: np.ndarray, definition: str) -> Split:
    """A `Split` from each row's part: [N] with 0 train, 1 validation, 2 test."""
    train, valid, test = (np.flatnonzero(part == which) for which in range(3))
    digest = hashlib.sha256(
        dataset.fingerprint.encode() + part.astype(np.int8).tobytes()
    )
    return Split(train, valid, test, definition, digest.hexdigest()[:16])


SPLITS = {
    "user_random": user_random,
    "global_time": global_time,
    "leave_last_out": leave_last_out,
    "cold_item": cold_item,
    "cold_user": cold_user,
}
LIMITS = {
    "user_random": "It shows how well missing ratings of known users are filled in; "
    "it cannot show how well later ratings are forecast, since training rows are also "
    "from after the test rows.",
    "global_time": "It shows how well the time after training is forecast, new users "
    "and items included; it cannot show how well users with a history are served where "
    "few of them are in test.",
    "leave_last_out": "It shows how well a user's next rating is predicted; it cannot "
    "show what was possible at that time, since other users' training rows are from "
    "after it, and one row a user makes single users' figures coarse.",
    "cold_item": "It shows how well items without any rating are predicted, from what "
    "else is known of them; it cannot show how well rated items are predicted, and is "
    "no forecast, since training rows and tags are also from after the test rows.",
    "cold_user": "It shows how well users without any rating are served, from the "
    "items alone; it cannot show how well users with a history are served, and is no "
    "forecast, since training rows are also from after the test rows.",
    "stored": "It shows what whoever made the data wanted to show; it cannot show more "
    "than the rule by which its parts were chosen, which is theirs to tell.",
}
LIMITS |= {
    name: "It shows how well missing ratings of known users are filled in, on the very "
    f"rows ({name}.test) on which others have published figures; it cannot show how "
    "well later ratings are forecast, and has no validation rows to choose an epoch by."
    for name in PUBLISHED_SPLITS
}


def limits(split: Split) -> str:
    """What a split can and cannot show, in a sentence; empty for one of one's own.

    Example:
      >>> limits(Split(*[np.arange(0)] * 3, "mine", "0"))
      ''
    """
    return LIMITS.get(split.definition.split(",")[0].split(":")[0], "")


def warnings(
    dataset: Dataset,
    split: Split,
    *,
    filtered: bool = False,
    uses_tags: bool = False,
    catalogue: bool = False,
) -> tuple[str, ...]:
    """What leaks from test into training, or counts against a model, a sentence each.

    Args:
      dataset: the data.
      split: its split.
      filtered: whether users or items were left out for too few ratings.
      uses_tags: whether the model sees the tags' texts.
      catalogue: whether all items are ranked.
    """
    found = []
    train, test = dataset.time[split.train], dataset.time[split.test]
    known = len(train) > 0 and len(test) > 0 and bool(dataset.time.any())
    forecasts = known and bool(train.max() <= test.min())
    if known and not forecasts:
        later = float((train > np.median(test)).mean())
        found.append(
            f"Leak in time: {later:.0%} of the training rows are later than half of "
            f"the test rows, so nothing here is a forecast; --split=global_time has "
            f"none."
        )
    if forecasts and uses_tags:
        found.append(
            "Leak in time: tag features are made of all tags, also those written after "
            "the training rows; --tag_dim=0 leaves them out."
        )
    if forecasts and filtered:
        found.append(
            "Leak in time: the filters count all ratings, so items and users are kept "
            "by what came later; --min_item_ratings=1 --min_user_ratings=1 keep all."
        )
    new_users = len(np.setdiff1d(dataset.user[split.test], dataset.user[split.train]))
    new_items = len(np.setdiff1d(dataset.item[split.test], dataset.item[split.train]))
    if new_users or new_items:
        found.append(
            f"Cold: {new_users:,} users and {new_items:,} items of the test rows have "
            f"no training row."
        )
    if catalogue:
        found.append(
            "Candidates are all items: one that the user would like but did not rate "
            "counts as not relevant, and so do rows of the other held-out part."
        )
    return tuple(found)
