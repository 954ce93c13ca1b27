"""What everything must beat: global mean, shrunk item mean, user + item bias.

They have a closed form. Besides tables and head, such a model defines `solve`: one
sweep over all training rows, given as one batch, in place of gradient steps.

Source: Koren, Bell and Volinsky 2009, doi:10.1109/MC.2009.263, section "adding biases",
by alternating least squares as in Surprise's BaselineOnly.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from ncf_jax.config import Config
from ncf_jax.types import RATING_MAX, Batch, Dataset, ItemFeatures, Params

zeros = nn.initializers.zeros


def shrunk_mean(
    value: jax.Array, segment: jax.Array, weight: jax.Array, rows: int, pull: float
) -> jax.Array:
    """Mean of `value` [B] by `segment` [B], as if `pull` more zeros had been seen.

    Returns:
      [rows]; 0 for a segment without a value.

    Example:
      >>> one = jnp.ones(2)
      >>> shrunk_mean(jnp.array([3.0, 1.0]), jnp.array([0, 0]), one, 2, 2.0).tolist()
      [1.0, 0.0]
    """
    total = jax.ops.segment_sum(value * weight, segment, rows)
    count = jax.ops.segment_sum(weight, segment, rows)
    return jnp.where(count > 0, total / jnp.maximum(count + pull, 1e-9), 0.0)


class Bias(nn.Module):
    """mean + user bias + item bias, either of which can be left out.

    Attributes:
      num_users: U.
      num_items: I.
      users: whether users have a bias.
      items: whether items have a bias.
      user_shrinkage: ratings' worth of pull towards 0.
      item_shrinkage: ratings' worth of pull towards 0.
    """

    num_users: int
    num_items: int
    users: bool = True
    items: bool = True
    user_shrinkage: float = 15.0
    item_shrinkage: float = 10.0

    def setup(self) -> None:
        """One number a user, one an item, and the mean."""
        self.mean = self.param("mean", zeros, ())
        self.user_bias = self.param("user_bias", zeros, (self.num_users,))
        self.item_bias = self.param("item_bias", zeros, (self.num_items,))

    def lookup(self, user: jax.Array, item: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Tables: user [...] and item [...] -> a bias of each [...]."""
        return self.user_bias[user], self.item_bias[item]

    def head(
        self,
        rows: tuple[jax.Array, jax.Array],
        features: ItemFeatures,
        *,
        train: bool = False,
    ) -> jax.Array:
        """Head: the sum; features and `train` change nothing."""
        return self.mean + rows[0] + rows[1]

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

    def solve(self, params: Params, batch: Batch) -> Params:
        """One sweep: the item biases given the users', then the other way round."""
        target, weight = batch.rating / RATING_MAX, batch.weight
        mean = jnp.sum(weight * target) / jnp.sum(weight)
        user_bias, item_bias = params["user_bias"], params["item_bias"]
        if self.items:
            item_bias = shrunk_mean(
                target - mean - user_bias[batch.user],
                batch.item,
                weight,
                self.num_items,
                self.item_shrinkage,
            )
        if self.users:
            user_bias = shrunk_mean(
                target - mean - item_bias[batch.item],
                batch.user,
                weight,
                self.num_users,
                self.user_shrinkage,
            )
        return {"mean": mean, "user_bias": user_bias, "item_bias": item_bias}


def build_bias(config: Config, dataset: Dataset) -> Bias:
    """User + item bias."""
    return Bias(
        num_users=dataset.num_users,
        num_items=dataset.num_items,
        user_shrinkage=config.user_shrinkage,
        item_shrinkage=config.item_shrinkage,
    )


def build_item_mean(config: Config, dataset: Dataset) -> Bias:
    """Shrunk item mean."""
    return build_bias(config, dataset).clone(users=False)


def build_global_mean(config: Config, dataset: Dataset) -> Bias:
    """The mean of all training ratings."""
    return build_bias(config, dataset).clone(users=False, items=False)
