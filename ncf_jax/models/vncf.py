"""Variational neural collaborative filtering: rows that know how sure they are.

User and item rows are normal distributions, not points: a row of few ratings stays wide
and near its prior, one of many ratings narrows. In training a row is drawn anew for
each example, so that what reads it learns how far it can be trusted; predictions take
the mean. It is what gives Bayesian factorization machines their edge, by gradients.

  prediction = mean + user bias + item bias + <user, item> + MLP(user, item, context)

with item = its row + linear towers of genres, tags and release decade, so that an item
without ratings still has a place. `context` is what `ncf_jax.counting` counted, see
`ncf_jax.statistics`.

Sources: Blundell et al. 2015, https://arxiv.org/abs/1505.05424 (weights as
distributions); Lim and Teh 2007 (variational matrix factorization); Rendle 2010,
doi:10.1109/ICDM.2010.127 (features added to factors); He et al. 2017,
https://arxiv.org/abs/1708.05031 (factors into an MLP beside their product).
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from ncf_jax import statistics
from ncf_jax.bits import dropout
from ncf_jax.config import Config
from ncf_jax.errors import ConfigError
from ncf_jax.models.ncf import linear
from ncf_jax.types import RATING_MAX, Array, Dataset, ItemFeatures

MIDDLE = 3.5  # stars, where the mean starts
START = 0.1  # standard deviation of a row, and of towers' weights, at first
NUDGE = 0.01  # and of users' means; items start at nothing, and stay without a rating
PRIOR = (0.3, 0.4)  # first standard deviations of factors' and biases' priors
Row = tuple[jax.Array, jax.Array]  # means and log standard deviations [..., D + 1]


class VNCF(nn.Module):
    """Distributions of users and items, towers, and an MLP over factors and context.

    Attributes:
      num_users: U.
      num_items: I.
      side: which of `genres`, `tags` and `year` are added to an item's factors.
      embedding_dim: D, factors of a row; a row has its bias besides.
      fc1_dim: width of the MLP's first layer; 0: no MLP.
      fc2_dim: of its second.
      dropout_rate: of units after both.
      rows: `variational`, or `point`: means alone, with an L2 penalty.
      row_penalty: weight of a row's divergence from its prior over its ratings, in
        squared stars (twice the variance of a rating by the book); of `point` rows the
        factor of the squares of each example's rows.
      counts: whether the MLP reads the context's two counts.

    Example:
      >>> model = VNCF(num_users=3, num_items=2)
      >>> features = ItemFeatures(genres=jnp.ones((2, 4)), tags=jnp.ones((2, 5)))
      >>> user, item = jnp.array([0, 2]), jnp.array([1, 0])
      >>> variables = model.init(
      ...     jax.random.key(0), user, item, features, context=jnp.zeros((2, 2))
      ... )
      >>> model.apply(variables, user, item, features, context=jnp.zeros((2, 2))).shape
      (2,)
    """

    num_users: int
    num_items: int
    side: tuple[str, ...] = ("genres", "tags")
    embedding_dim: int = 32
    fc1_dim: int = 128
    fc2_dim: int = 64
    dropout_rate: float = 0.0
    rows: str = "variational"
    row_penalty: float = 0.8
    counts: bool = True

    takes_context = True

    @property
    def tables(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Paths of the users' parameters and of the items', as `lookup` orders them."""
        if self.rows == "point":
            return ("user_mean",), ("item_mean",)
        return ("user_mean", "user_log_sd"), ("item_mean", "item_log_sd")

    def setup(self) -> None:
        """Tables, priors, towers and layers."""
        width = self.embedding_dim + 1

        nudge, nothing = nn.initializers.normal(NUDGE), nn.initializers.zeros
        narrow = nn.initializers.constant(jnp.log(START))
        self.mean = self.param("mean", nn.initializers.constant(MIDDLE), ())
        self.user_mean = self.param("user_mean", nudge, (self.num_users, width))
        self.item_mean = self.param("item_mean", nothing, (self.num_items, width))
        if self.rows == "variational":
            self.user_log_sd = self.param(
                "user_log_sd", narrow, (self.num_users, width)
            )
            self.item_log_sd = self.param(
                "item_log_sd", narrow, (self.num_items, width)
            )
            wide = jnp.full(width, PRIOR[0]).at[-1].set(PRIOR[1])
            self.user_prior = self.param("user_prior", lambda key: jnp.log(wide))
            self.item_prior = self.param("item_prior", lambda key: jnp.log(wide))
        tower = nn.initializers.normal(START)
        for name in self.side:
            layer = nn.Dense(self.embedding_dim, use_bias=False, kernel_init=tower)
            setattr(self, f"{name}_layer", layer)
        if self.fc1_dim:
            # The whole first layer's fan-in but for the context, whose width is data.
            fan_in = 2 * self.embedding_dim + 8
            self.fc1_user = linear(self.fc1_dim, fan_in, use_bias=False)
            self.fc1_item = linear(self.fc1_dim, fan_in, use_bias=False)
            self.fc1_context = linear(self.fc1_dim, fan_in)
            self.fc2 = linear(self.fc2_dim, self.fc1_dim)
            self.output_layer = linear(1, self.fc2_dim)

    def lookup(self, user: jax.Array, item: jax.Array) -> tuple[Any, Any]:
        """Tables: user [...] and item [...] -> of each its rows, means [..., D + 1] and
        log standard deviations likewise; of `point` rows the means alone.
        """
        if self.rows == "point":
            return (self.user_mean[user],), (self.item_mean[item],)
        return (
            (self.user_mean[user], self.user_log_sd[user]),
            (self.item_mean[item], self.item_log_sd[item]),
        )

    def head(
        self,
        rows: tuple[Any, Any],
        features: ItemFeatures,
        *,
        context: jax.Array,
        train: bool = False,
    ) -> jax.Array:
        """Head: rows, the items' features and contexts [..., F] -> prediction [...]."""
        user, item = rows
        if train and self.rows == "variational":
            user, item = (self.draw(row) for row in rows)
        halves = self.user_half(user), self.item_half(item, features)
        return self.join(*halves, context=context, train=train)

    def draw(self, row: Row) -> Row:
        """A row drawn from its distribution, by the `dropout` key."""
        mean, log_sd = row
        noise = jax.random.normal(self.make_rng("dropout"), mean.shape)
        return mean + jnp.exp(log_sd) * noise, log_sd

    def user_half(self, row: Any) -> jax.Array:
        """The user's part: first layer, factors and bias [..., fc1_dim + D + 1]."""
        mean = row[0]
        if not self.fc1_dim:
            return mean
        return jnp.concatenate([self.fc1_user(mean[..., :-1]), mean], axis=-1)

    def item_half(self, row: Any, features: ItemFeatures) -> jax.Array:
        """The item's part, towers included: [..., fc1_dim + D + 1]."""
        factor, bias = row[0][..., :-1], row[0][..., -1:]
        for name, value in self.towers(features).items():
            factor = factor + getattr(self, f"{name}_layer")(value)
        parts = [factor, bias]
        if self.fc1_dim:
            parts.insert(0, self.fc1_item(factor))
        return jnp.concatenate(parts, axis=-1)

    def towers(self, features: ItemFeatures) -> dict[str, jax.Array]:
        """What each tower sees of items."""
        found = {}
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

    def join(
        self,
        user_half: jax.Array,
        item_half: jax.Array,
        *,
        context: jax.Array,
        train: bool = False,
    ) -> jax.Array:
        """Halves and contexts -> prediction [...]."""
        width = self.fc1_dim
        user, item = user_half[..., width:], item_half[..., width:]
        product = jnp.sum(user[..., :-1] * item[..., :-1], axis=-1)
        stars = self.mean + product + user[..., -1] + item[..., -1]
        if width:
            # Logarithms of counts to about -1..1; they are left out of an ablation.
            first = context[..., :2]
            first = (first - along(jnp.array([4.0, 3.0]), first)) * self.counts
            seen = self.fc1_context(jnp.concatenate([first, context[..., 2:]], -1))
            hidden = nn.relu(user_half[..., :width] + item_half[..., :width] + seen)
            hidden = nn.relu(self.fc2(self.drop(hidden, train)))
            stars = stars + self.output_layer(self.drop(hidden, train))[..., 0]
        return stars / RATING_MAX

    def drop(self, hidden: jax.Array, train: bool) -> jax.Array:
        """Dropout in training, by the `dropout` key."""
        if not train or not self.dropout_rate:
            return hidden
        return dropout(self.make_rng("dropout"), hidden, self.dropout_rate)

    def penalty(self, rows: tuple[Any, Any], *, context: jax.Array) -> jax.Array:
        """What each example adds to the loss for its rows: [...].

        A variational row's divergence from its prior, over the number of its ratings
        that the context counted and the example's own: so that an epoch counts it once,
        and, since a tenth of ratings are left out of a cross-fitted count, a row of
        many ratings 1.1 times.
        """
        if self.rows == "point":
            user, item = (jnp.sum(jnp.square(row[0]), axis=-1) for row in rows)
            return self.row_penalty * (user + item) / RATING_MAX**2
        total = jnp.zeros(context.shape[:-1])
        priors = self.user_prior, self.item_prior
        for side, (row, prior) in enumerate(zip(rows, priors, strict=True)):
            ratings = jnp.exp(context[..., side])
            mean, log_sd = row
            total += jnp.sum(divergence(mean, log_sd, along(prior, mean)), -1) / ratings
        return self.row_penalty * total / RATING_MAX**2

    def __call__(
        self,
        user: jax.Array,
        item: jax.Array,
        features: ItemFeatures,
        *,
        context: jax.Array,
        train: bool = False,
    ) -> jax.Array:
        """Predicted rating / 5 of each (user, item): [...]."""
        rows = self.lookup(user, item)
        return self.head(rows, features, context=context, train=train)


def along(vector: Array, like: jax.Array) -> jax.Array:
    """A vector [D] at each place of `like` [..., 1] or [..., D]: [..., D]."""
    return jnp.broadcast_to(vector, (*like.shape[:-1], len(vector)))


def divergence(mean: jax.Array, log_sd: jax.Array, log_prior: jax.Array) -> jax.Array:
    """Kullback-Leibler divergence of N(mean, sd²) from N(0, prior²), each element.

    Example:
      >>> zero = jnp.zeros(1)
      >>> divergence(zero, zero, zero).tolist()
      [0.0]
      >>> divergence(zero + 2, zero, zero).tolist()
      [2.0]
    """
    ratio = jnp.exp(2 * (log_sd - log_prior)) + jnp.square(mean) * jnp.exp(
        -2 * log_prior
    )
    return 0.5 * (ratio - 1) + log_prior - log_sd


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
    )


def title(config: Config) -> str:
    """The model's name in tables: what of time it sees, and how many are averaged."""
    name = "VNCF"
    if config.ensemble > 1:
        name = f"{config.ensemble} VNCF"
    seen = {"none": "", "past": ", past times", "both": ", times"}
    return name + seen[config.time]
