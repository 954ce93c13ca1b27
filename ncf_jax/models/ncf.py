"""The reference's network and its two siblings: one Flax module, configured.

Neural collaborative filtering after He et al., https://arxiv.org/abs/1708.05031, with
towers for genres and tags as in the reference experiment.
"""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from ncf_jax.bits import dropout
from ncf_jax.config import Config
from ncf_jax.types import Dataset, ItemFeatures


def linear(
    features: int, fan_in: int, *, use_bias: bool = True, dtype: str | None = None
) -> nn.Dense:
    """A dense layer that starts like PyTorch's: U(-1/sqrt(fan_in), 1/sqrt(fan_in)).

    Weights and biases alike. Flax gives a bias initializer no fan-in, so it is named.
    Inputs and weights are rounded to `dtype` for the product; None: they are as they
    are.
    """

    def uniform(key: jax.Array, shape: tuple[int, ...], dtype=jnp.float32) -> jax.Array:
        bound = fan_in**-0.5
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return nn.Dense(
        features,
        use_bias=use_bias,
        dtype=dtype,
        kernel_init=uniform,
        bias_init=uniform,
    )


def compute_dtype(config: Config) -> str | None:
    """What a model's dense layers compute in; None: in what its parameters are."""
    return None if config.compute_dtype == "float32" else config.compute_dtype


def embedding(rows: int, width: int) -> nn.Embed:
    """A table that starts as N(0, 1), like PyTorch's `Embedding`."""
    return nn.Embed(rows, width, embedding_init=nn.initializers.normal(1.0))


class NCF(nn.Module):
    """Embeddings of user and item, towers for genres and tags, and an MLP.

    A tower of width 0 is absent: without tags this is the reference's "ratings +
    genres" model, without both its "ratings" model.

    The reference's first layer `fc1` sees user and item side by side; here its matrix
    is kept as the user's and the item's rows, since `W [u, i]` is `W_u u + W_i i`. The
    numbers are the same, nothing is copied together in a step, and a catalogue is
    scored with each user's and each item's half computed once.

    With `dtype="bfloat16"` the products of all layers but the last are computed in it;
    parameters and predictions stay float32.

    Example:
      >>> model = NCF(num_users=3, num_items=2, num_genres=4, num_tags=5)
      >>> features = ItemFeatures(genres=jnp.ones((2, 4)), tags=jnp.ones((2, 5)))
      >>> user, item = jnp.array([0, 2]), jnp.array([1, 0])
      >>> variables = model.init(jax.random.key(0), user, item, features)
      >>> model.apply(variables, user, item, features).shape
      (2,)
    """

    num_users: int
    num_items: int
    num_genres: int
    num_tags: int
    embedding_dim: int = 64
    genre_dim: int = 32
    tag_dim: int = 16
    fc1_dim: int = 128
    fc2_dim: int = 64
    dropout_rate: float = 0.3
    dtype: str | None = None

    def setup(self) -> None:
        """Names the layers as the reference does."""
        layer = partial(linear, dtype=self.dtype)
        self.user_embedding = embedding(self.num_users, self.embedding_dim)
        self.item_embedding = embedding(self.num_items, self.embedding_dim)
        if self.genre_dim:
            self.genre_layer = layer(self.genre_dim, self.num_genres)
        if self.tag_dim:
            self.tag_layer = layer(self.tag_dim, self.num_tags)
        width = 2 * self.embedding_dim + self.genre_dim + self.tag_dim
        self.fc1_user = layer(self.fc1_dim, width, use_bias=False)
        self.fc1_item = layer(self.fc1_dim, width)
        self.fc2 = layer(self.fc2_dim, self.fc1_dim)
        # Never rounded: it would leave some 200 predictions to choose from, and ties.
        self.output_layer = linear(1, self.fc2_dim)

    # The parameters behind the rows of `lookup`, for optimizers that go by rows.
    tables = (("user_embedding/embedding",), ("item_embedding/embedding",))

    def lookup(self, user: jax.Array, item: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Tables: user [...] and item [...] -> a row of each [..., D]."""
        return self.user_embedding(user), self.item_embedding(item)

    def head(
        self,
        rows: tuple[jax.Array, jax.Array],
        features: ItemFeatures,
        *,
        train: bool = False,
    ) -> jax.Array:
        """Head: rows and the items' features [..., G], [..., T] -> prediction [...].

        With `train` the units are dropped by the `dropout` key.
        """
        user, item = rows
        return self.join(self.user_half(user), self.item_half(item, features), train)

    def user_half(self, row: jax.Array) -> jax.Array:
        """The user's part of the first layer: [..., D] -> [..., fc1_dim]."""
        return self.fc1_user(row)

    def item_half(self, row: jax.Array, features: ItemFeatures) -> jax.Array:
        """The item's part of the first layer, towers included: -> [..., fc1_dim]."""
        parts = [row]
        if self.genre_dim:
            parts.append(nn.relu(self.genre_layer(features.genres)))
        if self.tag_dim:
            parts.append(nn.relu(self.tag_layer(features.tags)))
        return self.fc1_item(jnp.concatenate(parts, axis=-1))

    def join(
        self, user_half: jax.Array, item_half: jax.Array, train: bool = False
    ) -> jax.Array:
        """The layers above the first: halves [..., fc1_dim] -> prediction [...]."""
        hidden = self.drop(nn.relu(user_half + item_half), train)
        hidden = self.drop(nn.relu(self.fc2(hidden)), train)
        return self.output_layer(hidden)[..., 0]

    def drop(self, hidden: jax.Array, train: bool) -> jax.Array:
        """Dropout in training, by the `dropout` key."""
        if not train or not self.dropout_rate:
            return hidden
        return dropout(self.make_rng("dropout"), hidden, self.dropout_rate)

    def __call__(
        self,
        user: jax.Array,
        item: jax.Array,
        features: ItemFeatures,
        *,
        train: bool = False,
    ) -> jax.Array:
        """Predicted rating / 5 of each (user, item): [...]."""
        return self.head(self.lookup(user, item), features, train=train)


def build(config: Config, dataset: Dataset) -> NCF:
    """The network that `config` describes, sized for `dataset`."""
    return NCF(
        num_users=dataset.num_users,
        num_items=dataset.num_items,
        num_genres=dataset.features.genres.shape[1],
        num_tags=dataset.features.tags.shape[1],
        embedding_dim=config.embedding_dim,
        genre_dim=config.genre_dim,
        tag_dim=config.tag_dim,
        fc1_dim=config.fc1_dim,
        fc2_dim=config.fc2_dim,
        dropout_rate=config.dropout,
        dtype=compute_dtype(config),
    )


def uses_tags(config: Config) -> bool:
    """Whether the model sees the tags' texts."""
    return config.tag_dim > 0


def title(config: Config) -> str:
    """The name the reference's CSV gives the model."""
    return {
        (True, True): "NCFMoviesTags (Ratings + Genres + Tags)",
        (True, False): "NCFMovies (Ratings + Genres)",
        (False, True): "NCFTags (Ratings + Tags)",
        (False, False): "NCF (Ratings)",
    }[bool(config.genre_dim), bool(config.tag_dim)]
