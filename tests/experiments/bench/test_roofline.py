"""FLOPs are those one counts by hand, and XLA's count of the same program agrees."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.bench import roofline
from ncf_jax import batching
from ncf_jax.config import Config
from ncf_jax.learners import learner_of
from ncf_jax.models.ncf import NCF
from ncf_jax.types import Interactions, ItemFeatures

B, G, T = 64, 5, 7
SIZES = dict(embedding_dim=8, genre_dim=6, tag_dim=4, fc1_dim=16, fc2_dim=12)


@pytest.fixture(scope="module")
def step():
    """The cost of a step of each kind."""
    rng = np.random.default_rng(0)
    data = Interactions(
        user=rng.integers(0, 500, B).astype(np.int32),
        item=rng.integers(0, 300, B).astype(np.int32),
        rating=np.full(B, 3.0, np.float32),
        features=ItemFeatures(
            np.ones((300, G), np.float32), np.ones((300, T), np.float32)
        ),
    )
    model = NCF(500, 300, G, T, **SIZES)
    key = jax.random.key(0)
    batch = batching.take(data, jnp.arange(B), jnp.ones(B))

    def of(table_update):
        config = Config(table_update=table_update, batch_size=B)
        learner = learner_of(config, model, data.features)
        row_wise = table_update != "dense"
        state = learner.init(key)
        return roofline.step_cost(model, learner, state, batch, key, row_wise=row_wise)

    return of


def by_hand():
    """2 m k n of each product: forwards, for the weights, and for the inputs."""
    layers = {"genre": (G, 6), "tag": (T, 4), "user": (8, 16), "item": (18, 16)}
    layers |= {"fc2": (16, 12), "output": (12, 1)}
    total = 0
    for name, (into, out) in layers.items():
        # Nothing asks for the gradient of genres and tags themselves.
        times = 2 if name in ("genre", "tag") else 3
        total += times * 2 * B * into * out
    return total


def test_a_product_is_two_operations_for_each_pair():
    found = roofline.count(jnp.matmul, jnp.ones((2, 3)), jnp.ones((3, 5)))
    assert found == {"flops": 2 * 2 * 3 * 5, "product_bytes": 4 * (6 + 15 + 10)}


def test_products_inside_loops_and_inner_programs_are_seen():
    inner = jax.jit(jnp.matmul)

    def program(x):
        return jax.lax.map(lambda row: inner(x, row[:, None]), x)

    x = jnp.ones((4, 4))
    assert roofline.count(program, x)["flops"] == 2 * 4 * 4  # of one turn of the loop
    assert roofline.count(jnp.sum, x)["flops"] == 0


@pytest.mark.parametrize("table_update", ["dense", "lazy", "catch_up"])
def test_a_step_has_the_flops_one_counts_by_hand(step, table_update):
    cost = step(table_update)
    assert cost["flops"] == by_hand()


def test_xla_counts_the_same_products_and_the_elementwise_rest(step):
    cost = step("dense")
    assert cost["flops"] <= cost["xla_flops"] < 2 * cost["flops"]
    assert cost["xla_bytes"] > 0


def test_bytes_of_a_dense_step_hold_every_table_and_of_a_row_wise_one_do_not(step):
    dense = step("dense")["bytes"]
    lazy = step("lazy")["bytes"]
    tables = 4 * 8 * (500 + 300)
    rows = 4 * 8 * (B + B)
    # Parameters and two moments, read and written; a row's mark is an int32.
    assert dense - lazy == pytest.approx(2 * 3 * (tables - rows), abs=3 * 2 * 4 * B)


def test_ceilings_are_positive_and_finite():
    found = roofline.ceilings(matrix=32, floats=1024)
    assert set(found) == {"flops_per_second", "bytes_per_second"}
    assert all(0 < value < 1e18 for value in found.values())
