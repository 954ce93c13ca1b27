"""A batch by parts gives the same bits on every number of devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ncf_jax import batching, meshes, parts
from ncf_jax.errors import ConfigError
from ncf_jax.types import ItemFeatures

RNG = np.random.default_rng(0)
B, D, P = 64, 16, 8


def batch():
    features = ItemFeatures(jnp.ones((5, 3)), jnp.ones((5, 2)))
    draw = [jnp.asarray(RNG.integers(0, 5, B), jnp.int32) for _ in range(2)]
    rating = jnp.asarray(RNG.normal(size=B), jnp.float32)
    return batching.batch_of(features, *draw, rating, jnp.ones(B))


def loss_of(params, found, batch, key):
    noise = jax.random.normal(key, found.shape)
    hidden = jax.nn.relu((found + noise) @ params["w"])
    value = (hidden.sum(axis=-1) - batch.rating) ** 2 * batch.weight
    return jnp.sum(value) / B, jnp.sum(value)


@pytest.fixture(scope="module")
def given():
    params = {"w": jnp.asarray(RNG.normal(size=(D, 8)), jnp.float32)}
    found = jnp.asarray(RNG.normal(size=(B, D)), jnp.float32)
    return params, found, batch(), jax.random.key(1)


def gradients(text, given, count=P):
    mesh = meshes.make_mesh(text)
    call = jax.jit(lambda *x: parts.gradients(loss_of, count, mesh, *x))
    return jax.tree.map(np.asarray, call(*given))


def test_all_meshes_find_the_same_bits(given):
    wanted = gradients("table:1", given)
    for text in ["data:2", "table:4", "data:8", "data:4,table:2"]:
        found = gradients(text, given)
        for a, b in zip(jax.tree.leaves(wanted), jax.tree.leaves(found), strict=True):
            np.testing.assert_array_equal(a, b)


def test_the_sum_is_that_of_the_parts_one_after_the_other(given):
    params, found, whole, key = given
    (slope, slopes), total = gradients("data:4", given)
    size = B // P
    sums, rows, losses = 0.0, [], 0.0
    for number in range(P):
        some = slice(number * size, (number + 1) * size)
        mine = jax.tree.map(lambda x, some=some: x[some] if x.ndim else x, whole)
        ((one, row), loss) = jax.grad(loss_of, (0, 1), has_aux=True)(
            params, found[some], mine, jax.random.fold_in(key, number)
        )
        sums, losses = sums + one["w"], losses + loss
        rows.append(row)
    np.testing.assert_allclose(slope["w"], sums, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(slopes, np.concatenate(rows), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(total, losses, rtol=1e-6)


def test_other_parts_have_other_noise(given):
    assert not np.allclose(
        gradients("table:1", given, 4)[1], gradients("table:1", given)[1]
    )


@pytest.mark.parametrize(("count", "size", "text"), [(3, 64, ""), (4, 64, "data:8")])
def test_parts_that_do_not_divide(count, size, text):
    mesh = meshes.make_mesh(text or "table:1")
    with pytest.raises(ConfigError, match=f"--batch_parts={count} must divide"):
        parts.check_parts(count, size, mesh)
