"""The nouns, as frozen data, and the one glossary of dimension letters.

  N interactions   U users   I items   G genres   T tag components   D width
  B batch          S steps an epoch    R seeds    K list length      L list, padded

A rating is in stars (0.5 to 5). A *prediction* is a rating divided by `RATING_MAX`:
models are trained and answer on that scale; `evaluate.predict` returns stars.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import numpy as np
from flax import struct

from ncf_jax.errors import DataError

RATING_MIN, RATING_MAX = 0.5, 5.0

Array = Any  # [...] NumPy on the host, JAX inside a jitted function
Params = Any  # a pytree of arrays: Flax parameters


@struct.dataclass
class ItemFeatures:
    """What is known of items besides who rated them: one row per item.

    Attributes:
      genres: [I, G] float32, 1 where the item has the genre.
      tags: [I, T] float32, reduced TF-IDF of the item's tags; zeros without tags.
      year: [I] float32, of release, 0 where the title does not say; None: not known of
        any.
      history: `history.History` of the training rows, for models that look at who
        rated what; it has users' rows, too.
      statistics: `statistics.Statistics` of the training rows, for models that look at
        them; not by item, and no part of `rows`.
    """

    genres: Array
    tags: Array
    year: Array | None = None
    history: Any = None
    statistics: Any = None

    def rows(self, item: Array, user: Array | None = None) -> "ItemFeatures":
        """Of `item` [...] genres [..., G], tags [..., T], year [...] and history.

        The history has that of `user` [...] beside it, if they are given.
        """
        year = None if self.year is None else self.year[item]
        history = None if self.history is None else self.history.rows(item, user)
        return ItemFeatures(self.genres[item], self.tags[item], year, history)

    def alone(self) -> "ItemFeatures":
        """The same without statistics, whose arrays are of no use to single rows."""
        if self.statistics is None:
            return self
        return dataclasses.replace(self, statistics=None)


@struct.dataclass
class Interactions:
    """Some rows of a data set, with the item features they refer to.

    Attributes:
      user: [N] int32 user index.
      item: [N] int32 item index.
      rating: [N] float32 stars.
      features: [I, ...] features of every item.
      context: [N, F] float32, see `ncf_jax.statistics`; None without.
    """

    user: Array
    item: Array
    rating: Array
    features: ItemFeatures
    context: Array | None = None


@struct.dataclass
class Batch:
    """Examples of one step, padded to B rows.

    Attributes:
      user: [B] int32 user index.
      item: [B] int32 item index.
      features: [B, ...] features of the batch's items.
      rating: [B] float32 stars.
      weight: [B] float32, 1 for a real row and 0 for padding.
      context: [B, F] float32; None without.
      other: the same users with an item at random each, for a ranking loss; None
        without. Its ratings mean nothing.
    """

    user: Array
    item: Array
    features: ItemFeatures
    rating: Array
    weight: Array
    context: Array | None = None
    other: Any = None


@struct.dataclass
class TrainState:
    """All that training changes: arrays only, no key and no function.

    Attributes:
      step: [] int32, steps taken.
      params: the model's parameters.
      opt_state: the optimizer's state; empty for a model with a closed form.
    """

    step: Array
    params: Params
    opt_state: Any


class Learner(NamedTuple):
    """Training as pure functions.

    Attributes:
      init: key -> `TrainState`.
      step: (state, `Batch`, key) -> state and the summed loss of the batch's rows [].
      epoch: (state, `Interactions`, key) -> state and summed losses by step [S]; one
        jitted scan that takes the state's memory.
      loss: (params, `Interactions`) -> mean loss [], without dropout.
      chunk: (state, rows, features, key) -> as `epoch`, of the batches whose user,
        item, rating, weight and, if there is one, context are `rows`, each [C, B, ...].
      mesh: the devices that it is for (`ncf_jax.sharded`); None: one.

    `key` is always the run's root key: a step's key is folded from it and
    `state.step`, so any epoch can be replayed from its first state alone.
    """

    init: Callable[[jax.Array], TrainState]
    step: Callable[[TrainState, Batch, jax.Array], tuple[TrainState, jax.Array]]
    epoch: Callable[[TrainState, Interactions, jax.Array], tuple[TrainState, jax.Array]]
    loss: Callable[[Params, Interactions], jax.Array]
    chunk: Callable[..., tuple[TrainState, jax.Array]] | None = None
    mesh: Any = None


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """A prepared data set on the host: NumPy arrays and the vocabulary.

    Attributes:
      name: the release or `synthetic`.
      label: how every output names it; says so when it is not the real release.
      user: [N] int32, indices in order of first appearance.
      item: [N] int32, likewise.
      rating: [N] float32 stars.
      time: [N] int64 seconds since 1970 (UTC).
      features: genres [I, G] and tags [I, T].
      user_ids: [U] int64, userId of each user index.
      item_ids: [I] int64, movieId of each item index.
      titles: I titles.
      genres: I genre strings as in the file, `|` between genres.
      genre_names: G names.
      fingerprint: hash of the content: ids, ratings, times, titles, genres and tag
        texts; line ends and the last bits of tag features do not enter.
      floor_rmse: the lowest RMSE any model can expect (synthetic world only).
      notes: sentences on what preparation read, left out or repaired.
      context: [N, F] float32 of each row, by `counting.with_statistics`; it belongs
        to a split and is never stored.
      part: [N] int8, 0 train, 1 validation, 2 test, where a split came with the data
        (`--split=stored`); never stored either.
    """

    name: str
    label: str
    user: np.ndarray
    item: np.ndarray
    rating: np.ndarray
    time: np.ndarray
    features: ItemFeatures
    user_ids: np.ndarray
    item_ids: np.ndarray
    titles: tuple[str, ...]
    genres: tuple[str, ...]
    genre_names: tuple[str, ...]
    fingerprint: str
    floor_rmse: float | None = None
    notes: tuple[str, ...] = ()
    context: np.ndarray | None = None
    part: np.ndarray | None = None

    @property
    def num_users(self) -> int:
        """U."""
        return len(self.user_ids)

    @property
    def num_items(self) -> int:
        """I."""
        return len(self.item_ids)

    @property
    def synthetic(self) -> bool:
        """Whether the data was generated; then no figure is a result."""
        return self.name == "synthetic"

    def interactions(
        self, rows: np.ndarray, *, statistics: bool = False
    ) -> Interactions:
        """The interactions at positions `rows` [n]; a ranking loss wants statistics."""
        return Interactions(
            user=self.user[rows],
            item=self.item[rows],
            rating=self.rating[rows],
            features=self.features if statistics else self.features.alone(),
            context=None if self.context is None else self.context[rows],
        )


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """Positions of a data set's interactions, in three disjoint, complete parts.

    Attributes:
      train: [n_train] int64, ascending.
      valid: [n_valid] int64, ascending.
      test: [n_test] int64, ascending.
      definition: how it was made, in a sentence.
      fingerprint: hash of the data's fingerprint and the three parts.
    """

    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray
    definition: str
    fingerprint: str


_ARRAYS = ("user", "item", "rating", "time", "user_ids", "item_ids")
_FEATURES = ("genres", "tags", "year")


def pack(dataset: Dataset) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """A data set as arrays and JSON-ready values, for storage; see `unpack`."""
    arrays = {name: getattr(dataset, name) for name in _ARRAYS}
    for name in _FEATURES:
        if (value := getattr(dataset.features, name)) is not None:
            arrays[f"features_{name}"] = np.asarray(value)
    texts = {
        field.name: getattr(dataset, field.name)
        for field in dataclasses.fields(dataset)
        if field.name not in (*_ARRAYS, "features", "context", "part")
    }
    return arrays, texts


def unpack(arrays: dict[str, Any], texts: dict[str, Any]) -> Dataset:
    """The data set that `pack` took apart."""
    fields: dict[str, Any] = {name: np.asarray(arrays[name]) for name in _ARRAYS}
    fields |= {k: tuple(v) if isinstance(v, list) else v for k, v in texts.items()}
    return Dataset(
        features=ItemFeatures(
            **{
                name: np.asarray(arrays[f"features_{name}"])
                for name in _FEATURES
                if name != "year" or "features_year" in arrays
            }
        ),
        **fields,
    )


def check_dataset(dataset: Dataset) -> Dataset:
    """Asserts the shapes and index ranges that all downstream relies on; values too."""
    n, users, items = len(dataset.user), dataset.num_users, dataset.num_items
    chex.assert_shape([dataset.user, dataset.item, dataset.rating, dataset.time], (n,))
    chex.assert_shape(dataset.features.genres, (items, len(dataset.genre_names)))
    chex.assert_shape(dataset.features.tags, (items, None))
    assert len(dataset.titles) == len(dataset.genres) == items
    assert n == 0 or (dataset.user.min() >= 0 and dataset.user.max() < users)
    assert n == 0 or (dataset.item.min() >= 0 and dataset.item.max() < items)
    return check_values(dataset)


def check_values(dataset: Dataset) -> Dataset:
    """Raises DataError where a rating or a feature is NaN or infinite."""
    known = {name: getattr(dataset.features, name) for name in _FEATURES}
    for name, value in {"rating": dataset.rating, **known}.items():
        fine = True if value is None else np.isfinite(value)
        if not np.all(fine):
            raise DataError(
                f"The data set's {name} wants finite numbers; that of row "
                f"{np.argwhere(~fine)[0, 0]} is not. Mend it, or leave the row out."
            )
    return dataset
