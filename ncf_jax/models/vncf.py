"""Variational neural collaborative filtering: rows that know how sure they are.

Rows of users and items, and the weights of towers, are normal distributions, not
points: a row of few ratings stays wide and near its prior, one of many narrows. In
training it is drawn anew for each example, so that what reads it learns how far it can
be trusted; predictions take the mean. It is what gives Bayesian factorization machines
their edge, by gradients.

  prediction = mean + user bias + item bias + <user, item> + MLP(user, item, context)

  user = its row + tower of what they rated
  item = its row + towers of who rated it, genres, tags and release decade

so that an item without ratings still has a place. A tower is linear, into all of a row,
the bias too. `context` is what `ncf_jax.counting` counted, see `ncf_jax.statistics`;
who rated what is `ncf_jax.history`.

Sources: Blundell et al. 2015, https://arxiv.org/abs/1505.05424 (weights as
distributions); Lim and Teh 2007 (variational matrix factorization); Rendle 2010,
doi:10.1109/ICDM.2010.127 (features added to factors); Koren 2008,
doi:10.1145/1401890.1401944 (and what was rated); He et al. 2017,
https://arxiv.org/abs/1708.05031 (factors into an MLP beside their product).
"""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from ncf_jax import statistics
from ncf_jax.bits import dropout
from ncf_jax.config import Config
from ncf_jax.counting import with_statistics
from ncf_jax.errors import ConfigError
from ncf_jax.gaussian import Row, Table, Tower, along, draw
from ncf_jax.history import History
from ncf_jax.models.ncf import compute_dtype, linear
from ncf_jax.types import RATING_MAX, Array, Dataset, ItemFeatures, Split

MIDDLE = 3.5  # stars, where the mean starts
COUNTED = 7  # numbers of a context, for the MLP's first weights


class VNCF(nn.Module):
    """Distributions of users and items, towers, and an MLP over factors and context.

    Attributes:
      num_users: U.
      num_items: I.
      side: which of `genres`, `tags` and `year` are added to an item's row.
      embedding_dim: D, factors of a row; a row has its bias besides.
      fc1_dim: width of the MLP's first layer, 0: no MLP; and `fc2_dim` of its second.
      dropout_rate: of units after both.
      rows: `variational`, or `point`: means alone, with an L2 penalty.
      row_penalty: weight of divergences from the priors over the number of ratings, in
        squared stars (twice the variance of a rating by the book); of `point` rows the
        factor of the squares of each example's rows.
      counts: whether the MLP reads the context's two counts.
      dtype: of the MLP's products but the last, see `NCF`; rows and towers keep theirs.

    Example:
      >>> model = VNCF(num_users=3, num_items=2)
      >>> features = ItemFeatures(genres=jnp.ones((2, 4)), tags=jnp.ones((2, 5)))
      >>> user, item = jnp.array([0, 2]), jnp.array([1, 0])
      >>> variables = model.init(jax.random.key(0), user, item, features)
      >>> model.apply(variables, user, item, features).shape
      (2,)
    """

    num_users: int
    num_items: int
    side: tuple[str, ...] = ("genres", "tags")
    embedding_dim: int = 16
    fc1_dim: int = 128
    fc2_dim: int = 64
    dropout_rate: float = 0.0
    rows: str = "variational"
    row_penalty: float = 0.6
    counts: bool = True
    dtype: str | None = None

    takes_context = True

    @property
    def tables(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Paths of the users' parameters and of the items', as `lookup` orders them."""
        names = ("mean",) if self.rows == "point" else ("mean", "log_sd")
        user, item = (
            tuple(f"{side}_table/{name}" for name in names) for side in ("user", "item")
        )
        return user, item

    def setup(self) -> None:
        """Tables, priors, towers and layers."""
        width, sure = self.embedding_dim + 1, self.rows == "point"
        self.mean = self.param("mean", nn.initializers.constant(MIDDLE), ())
        self.user_table = Table(self.num_users, width, sure)
        self.item_table = Table(self.num_items, width, sure, nothing=True)
        for name in ("rated", "raters", *self.side):
            setattr(self, f"{name}_tower", Tower(width, sure))
        if self.fc1_dim:
            layer = partial(linear, dtype=self.dtype)
            fan_in = 2 * self.embedding_dim + COUNTED
            self.fc1_user = layer(self.fc1_dim, fan_in, use_bias=False)
            self.fc1_item = layer(self.fc1_dim, fan_in, use_bias=False)
            self.fc1_context = layer(self.fc1_dim, fan_in)
            self.fc2 = layer(self.fc2_dim, self.fc1_dim)
            self.output_layer = linear(1, self.fc2_dim)

    def lookup(self, user: jax.Array, item: jax.Array) -> tuple[Row, Row]:
        """Tables: user [...] and item [...] -> of each its `Row`, [..., D + 1] each."""
        return self.user_table(user), self.item_table(item)

    def head(
        self,
        rows: tuple[Row, Row],
        features: ItemFeatures,
        *,
        context: Array | None = None,
        train: bool = False,
    ) -> jax.Array:
        """Head: rows, features with histories, and contexts [..., F] -> [...].

        With `train` rows and weights are drawn and units dropped by the `dropout` key,
        and the pair is left out of its own histories.
        """
        drawn = train and self.rows == "variational"
        user, item = (
            draw(self.make_rng("dropout"), *row) if drawn else row[0] for row in rows
        )
        user = user + self.of_user(features.history, train, drawn)[0]
        item = item + self.of_item(features, train, drawn)[0]
        return self.join(self.half(user, 0), self.half(item, 1), context, train)

    def of_user(
        self, history: History | None, own: bool = False, drawn: bool = False
    ) -> tuple[Any, Any]:
        """What towers add to users' rows [..., D + 1], and their divergence []."""
        if history is None or not history.width:
            return 0.0, 0.0
        return self.rated_tower(history.of_user(own), drawn)

    def of_item(
        self, features: ItemFeatures, own: bool = False, drawn: bool = False
    ) -> tuple[Any, Any]:
        """What towers add to items' rows [..., D + 1], and their divergence []."""
        row = total = 0.0
        for name, value in self.known(features, own).items():
            more, far = getattr(self, f"{name}_tower")(value, drawn)
            row, total = row + more, total + far
        return row, total

    def known(self, features: ItemFeatures, own: bool) -> dict[str, jax.Array]:
        """What each tower sees of items."""
        found = {}
        if features.history is not None and features.history.width:
            found["raters"] = features.history.of_item(own)
        if "genres" in self.side:
            number = jnp.sum(features.genres, axis=-1, keepdims=True)
            found["genres"] = features.genres / jnp.maximum(number, 1.0)
        if "tags" in self.side:
            found["tags"] = 3.0 * features.tags
        if "year" in self.side:
            if features.year is None:
                raise ConfigError(
                    "--side=year wants the items' years of release, and the data set "
                    "has none: leave year out of --side."
                )
            decade = features.year[..., None] // 10 * 10
            found["year"] = (decade == along(statistics.DECADES, decade)) * 1.0
        return found

    def item_vector(self, row: Row, features: ItemFeatures) -> jax.Array:
        """What items are compared by, factors with their towers: [..., D]."""
        return (row[0] + self.of_item(features)[0])[..., :-1]

    def half(self, row: jax.Array, side: int) -> jax.Array:
        """A row's part of the first layer, and itself: [..., fc1_dim + D + 1]."""
        if not self.fc1_dim:
            return row
        layer = (self.fc1_user, self.fc1_item)[side]
        return jnp.concatenate([layer(row[..., :-1]), row], axis=-1)

    def user_half(self, row: Row, history: History | None = None) -> jax.Array:
        """The user's part, outside of training: [..., fc1_dim + D + 1]."""
        return self.half(row[0] + self.of_user(history)[0], 0)

    def item_half(self, row: Row, features: ItemFeatures) -> jax.Array:
        """The item's part, towers included: [..., fc1_dim + D + 1]."""
        return self.half(row[0] + self.of_item(features)[0], 1)

    def join(
        self,
        user_half: jax.Array,
        item_half: jax.Array,
        context: Array | None = None,
        train: bool = False,
    ) -> jax.Array:
        """Halves and contexts -> prediction [...]."""
        width = self.fc1_dim
        user, item = user_half[..., width:], item_half[..., width:]
        product = jnp.sum(user[..., :-1] * item[..., :-1], axis=-1)
        stars = self.mean + product + user[..., -1] + item[..., -1]
        if width:
            hidden = user_half[..., :width] + item_half[..., :width]
            if context is not None:
                # Logarithms of counts to about -1..1; an ablation leaves them out.
                first = context[..., :2]
                first = (first - along(jnp.array([4.0, 3.0]), first)) * self.counts
                seen = jnp.concatenate([first, context[..., 2:]], axis=-1)
                hidden = hidden + self.fc1_context(seen)
            hidden = nn.relu(self.fc2(self.drop(nn.relu(hidden), train)))
            stars = stars + self.output_layer(self.drop(hidden, train))[..., 0]
        return stars / RATING_MAX

    def drop(self, hidden: jax.Array, train: bool) -> jax.Array:
        """Dropout in training, by the `dropout` key."""
        if train and self.dropout_rate:
            return dropout(self.make_rng("dropout"), hidden, self.dropout_rate)
        return hidden

    def penalty(self, rows: tuple[Row, Row], features: ItemFeatures) -> jax.Array:
        """What each example adds to the loss for its rows and all towers: [...].

        A row's divergence from its prior over the number of its ratings, and a tower's
        over that of all: an epoch counts each once.
        """
        user = self.user_table.price(rows[0])
        item = self.item_table.price(rows[1])
        if self.rows == "point":
            return self.row_penalty * (user + item) / RATING_MAX**2
        seen = features.history
        if seen is None:
            raise ConfigError(
                "Rows that are distributions are paid for by their numbers of training "
                "ratings, which histories hold: make the data set's with "
                "counting.with_statistics(dataset, split) first, or use --rows=point."
            )
        towers = self.of_user(seen)[1] + self.of_item(features)[1]
        total = towers / jnp.maximum(seen.number, 1.0)
        total += user / jnp.maximum(seen.user_count, 1.0)
        total += item / jnp.maximum(seen.item_count, 1.0)
        return self.row_penalty * total / RATING_MAX**2

    def __call__(
        self,
        user: jax.Array,
        item: jax.Array,
        features: ItemFeatures,
        *,
        context: Array | None = None,
        train: bool = False,
    ) -> jax.Array:
        """Predicted rating / 5 of each (user, item): [...]."""
        rows = self.lookup(user, item)
        return self.head(rows, features, context=context, train=train)


def build(config: Config, dataset: Dataset) -> VNCF:
    """The network that `config` describes, sized for `dataset`."""
    return VNCF(
        num_users=dataset.num_users,
        num_items=dataset.num_items,
        side=config.side,
        embedding_dim=config.embedding_dim,
        fc1_dim=config.fc1_dim,
        fc2_dim=config.fc2_dim,
        dropout_rate=config.dropout,
        rows=config.rows,
        row_penalty=config.row_penalty,
        counts="means" in config.statistics,
        dtype=compute_dtype(config),
    )


def prepare(config: Config, dataset: Dataset, split: Split) -> Dataset:
    """The data set as the model wants it: with statistics and histories."""
    return with_statistics(
        dataset,
        split,
        parts=config.statistics,
        history=config.history,
        time=config.time,
    )


def uses_tags(config: Config) -> bool:
    """Whether the model sees the tags' texts."""
    return "tags" in config.side or "content" in config.statistics


def title(config: Config) -> str:
    """The model's name in tables: what of time it sees, and how many are averaged."""
    name = "VNCF"
    if config.ensemble > 1:
        name = f"{config.ensemble} VNCF"
    seen = {"none": "", "past": ", past times", "both": ", times"}
    return name + seen[config.time]
