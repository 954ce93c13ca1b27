"""New users judged: each gives their first ratings, and is asked about the rest.

What `experiments.evaluate --fold_in=10` does. The rows given count as known, as
training rows do: they are no candidates of a catalogue, and the split says so.
"""

import time
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

import ncf_jax
from experiments import finish
from ncf_jax import judge
from ncf_jax.config import Config
from ncf_jax.data import splits
from ncf_jax.errors import RunError
from ncf_jax.foldin import fold_in_users
from ncf_jax.judge import Evaluation
from ncf_jax.results import About
from ncf_jax.runs import Run
from ncf_jax.types import Dataset, Split

WITHOUT = "without fold-in"
LIMITS = (
    "It shows how well new users are served once they have rated {number} items, their "
    "first in time; it cannot show how well users with a longer history are served, "
    "and is no forecast, since training rows are also from after the test rows."
)
AT_ONCE = 32  # users


def divide(dataset: Dataset, split: Split, number: int) -> Split:
    """The split with each held-out user's first rows in time moved to train.

    Args:
      dataset: with times; rows of one second are taken in the order of the data.
      split: whose held-out users have no training row.
      number: rows that each held-out user gives.

    Raises:
      RunError: held-out users have training rows, or no test row is left.
    """
    part = np.zeros(len(dataset.user), np.int8)
    for which, name in ((1, "valid"), (2, "test")):
        rows = getattr(split, name)
        users = np.unique(dataset.user[rows])
        known = len(np.intersect1d(users, dataset.user[split.train]))
        if known:
            raise RunError(
                f"--fold_in wants new users, and {known:,} of the {len(users):,} "
                f"{name} users have training rows: train with --split=cold_user."
            )
        rows = rows[np.lexsort((dataset.time[rows], dataset.user[rows]))]
        count = np.bincount(dataset.user[rows], minlength=dataset.num_users)
        start = np.cumsum(count) - count
        place = np.arange(len(rows)) - start[dataset.user[rows]]
        part[rows[place >= number]] = which
    if not (part == 2).any():
        raise RunError(
            f"No test user has more than {number:,} rows, so none is left to be judged "
            f"on: choose a smaller --fold_in."
        )
    definition = f"fold_in {number} in time of each new user of {split.definition}"
    return splits.make_split(dataset, part, definition)


def left_out(dataset: Dataset, before: Split, after: Split) -> dict[str, int]:
    """Users of each part who have given all their rows."""

    def users(rows: np.ndarray) -> int:
        return len(np.unique(dataset.user[rows]))

    parts = "test", "valid"
    return {n: users(getattr(before, n)) - users(getattr(after, n)) for n in parts}


def scorer(run: Run, given: Split) -> Callable[[Any], np.ndarray]:
    """User index [B] -> stars of every item [R, B, I], folded in from what is given."""
    dataset, train = run.dataset, run.split.train
    rows = np.setdiff1d(given.train, train)
    rows = rows[np.argsort(dataset.user[rows], kind="stable")]
    starts = np.searchsorted(dataset.user[rows], np.arange(dataset.num_users + 1))

    def score(user: Any) -> np.ndarray:
        mine = [rows[starts[u] : starts[u + 1]] for u in np.asarray(user)]
        items = [dataset.item[each] for each in mine]
        stars = [dataset.rating[each] for each in mine]
        found = fold_in_users(run.model, run.params, dataset, items, stars, train=train)
        shape = -1, run.config.ensemble, *found.shape[1:]
        return found.reshape(shape).mean(axis=1)

    return score


def predict(
    score: Callable[[Any], np.ndarray], dataset: Dataset, rows: np.ndarray
) -> np.ndarray:
    """Stars [R, n] of rows, by blocks of users."""
    users, place = np.unique(dataset.user[rows], return_inverse=True)
    parts, order = [], []
    for start in range(0, len(users), AT_ONCE):
        block = users[start : start + AT_ONCE]
        mine = np.flatnonzero((place >= start) & (place < start + AT_ONCE))
        found = score(block)
        parts.append(found[:, place[mine] - start, dataset.item[rows[mine]]])
        order.append(mine)
    return np.concatenate(parts, axis=1)[:, np.argsort(np.concatenate(order))]


def evaluate(
    run: Run, config: Config, number: int
) -> tuple[Split, dict[str, Evaluation], dict[str, Evaluation], float]:
    """Judges each part folded in, and the test rows without, too.

    Returns:
      The split by which it was done; evaluations by part; the one without, by its
      name; seconds that the test rows took, folded in.

    Raises:
      RunError: see `divide`.
    """
    given = divide(run.dataset, run.split, number)
    how = finish.how(config, given)
    score = scorer(run, given)

    def judged(rows: np.ndarray) -> Evaluation:
        return judge.evaluate_scores(
            predict(score, run.dataset, rows),
            run.dataset,
            rows,
            catalogue=lambda user: jnp.asarray(score(user)),
            **how,
        )

    began = time.perf_counter()
    found = {"test": judged(given.test)}
    seconds = time.perf_counter() - began
    if len(given.valid):
        found["valid"] = judged(given.valid)
    about = run.model, run.params, run.dataset, given.test
    plain = ncf_jax.evaluate(*about, ensemble=config.ensemble, **how)
    return given, found, {WITHOUT: plain}, seconds


def about(said: About, run: Run, given: Split, number: int) -> tuple[About, list[str]]:
    """What results say of it, and what the command says besides."""
    known = said._replace(
        title=f"{said.title}, {number} folded in",
        limits=LIMITS.format(number=number),
    )
    missing = left_out(run.dataset, run.split, given)
    note = (
        f"folded in from {number} ratings each; left out, with no row besides them: "
        f"{missing['test']:,} test users, {missing['valid']:,} validation users"
    )
    return known, [note]
