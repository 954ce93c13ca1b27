"""Baselines equal loops a reader can check by eye, and what they are known to reach."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ncf_jax.config import Config
from ncf_jax.errors import ConfigError
from ncf_jax.fitting import fit
from ncf_jax.learners import learner_of
from ncf_jax.models import MODELS, apply, baselines, make_model, title
from ncf_jax.models.baselines import Bias, shrunk_mean
from ncf_jax.types import Batch, ItemFeatures

NO_FEATURES = ItemFeatures(genres=jnp.zeros((1, 1)), tags=jnp.zeros((1, 1)))


def solve(model, user, item, stars, weight=None, sweeps=1):
    n = len(user)
    batch = Batch(
        user=jnp.array(user),
        item=jnp.array(item),
        features=NO_FEATURES,
        rating=jnp.array(stars, jnp.float32),
        weight=jnp.ones(n) if weight is None else jnp.array(weight, jnp.float32),
    )
    params = model.init(
        jax.random.key(0), jnp.zeros(1, int), jnp.zeros(1, int), NO_FEATURES
    )["params"]
    for _ in range(sweeps):
        params = model.solve(params, batch)
    return jax.tree.map(np.asarray, params)


def by_loops(user, item, stars, num_users, num_items, pulls, sweeps):
    """Alternating least squares as one would on paper."""
    target = [s / 5 for s in stars]
    mean = sum(target) / len(target)
    b_user, b_item = [0.0] * num_users, [0.0] * num_items
    for _ in range(sweeps):
        for i in range(num_items):
            rest = [
                t - mean - b_user[u]
                for u, j, t in zip(user, item, target, strict=True)
                if j == i
            ]
            b_item[i] = sum(rest) / (len(rest) + pulls[1]) if rest else 0.0
        for u in range(num_users):
            rest = [
                t - mean - b_item[i]
                for v, i, t in zip(user, item, target, strict=True)
                if v == u
            ]
            b_user[u] = sum(rest) / (len(rest) + pulls[0]) if rest else 0.0
    return mean, b_user, b_item


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(1)
    n = 60
    return rng.integers(0, 6, n), rng.integers(0, 9, n), rng.integers(1, 11, n) / 2


@pytest.mark.parametrize("sweeps", [1, 2, 10])
@pytest.mark.parametrize("pulls", [(15.0, 10.0), (0.0, 3.0)])
def test_bias_equals_alternating_least_squares_by_loops(rows, sweeps, pulls):
    user, item, stars = rows
    model = Bias(7, 10, user_shrinkage=pulls[0], item_shrinkage=pulls[1])
    found = solve(model, user, item, stars, sweeps=sweeps)
    mean, b_user, b_item = by_loops(user, item, stars, 7, 10, pulls, sweeps)
    np.testing.assert_allclose(found["mean"], mean, rtol=1e-5)
    np.testing.assert_allclose(found["user_bias"], b_user, atol=1e-5)
    np.testing.assert_allclose(found["item_bias"], b_item, atol=1e-5)
    _, other, _ = by_loops(user, item, stars, 7, 10, (1.0, 1.0), sweeps)
    assert np.abs(found["user_bias"] - other).max() > 1e-3  # the control


def test_the_item_mean_is_shrunk_towards_the_global_mean():
    model = Bias(2, 3, users=False, item_shrinkage=2.0)
    found = solve(model, [0, 1, 0, 1], [0, 0, 0, 1], [5.0, 5.0, 5.0, 1.0])
    mean = (5 + 5 + 5 + 1) / 4 / 5
    np.testing.assert_allclose(found["mean"], mean, rtol=1e-6)
    np.testing.assert_allclose(
        found["item_bias"],
        [3 * (1 - mean) / (3 + 2), (0.2 - mean) / (1 + 2), 0],
        rtol=1e-5,
    )
    assert (found["user_bias"] == 0).all()


def test_the_global_mean_has_no_bias_at_all():
    model = Bias(2, 3, users=False, items=False)
    found = solve(model, [0, 1], [0, 2], [5.0, 2.0])
    assert found["mean"] == pytest.approx((1.0 + 0.4) / 2)
    assert (found["user_bias"] == 0).all()
    assert (found["item_bias"] == 0).all()


def test_padding_changes_nothing(rows):
    user, item, stars = rows
    model = Bias(7, 10)
    plain = solve(model, user, item, stars)
    padded = solve(
        model,
        np.append(user, [0, 0]),
        np.append(item, [0, 3]),
        np.append(stars, [5.0, 5.0]),
        weight=np.append(np.ones(len(user)), [0, 0]),
    )
    for name in plain:
        np.testing.assert_allclose(plain[name], padded[name], rtol=1e-5, atol=1e-7)
    counted = solve(
        model,
        np.append(user, [0, 0]),
        np.append(item, [0, 3]),
        np.append(stars, [5, 5]),
    )
    assert counted["mean"] != pytest.approx(plain["mean"], rel=1e-4)  # the control


def test_more_sweeps_never_fit_the_penalised_problem_worse(rows):
    user, item, stars = rows
    model = Bias(7, 10, user_shrinkage=4.0, item_shrinkage=2.0)

    def objective(p):
        error = stars / 5 - p["mean"] - p["user_bias"][user] - p["item_bias"][item]
        penalty = 4.0 * (p["user_bias"] ** 2).sum() + 2.0 * (p["item_bias"] ** 2).sum()
        return (error**2).sum() + penalty

    values = [objective(solve(model, user, item, stars, sweeps=n)) for n in range(1, 7)]
    assert all(b <= a + 1e-6 for a, b in itertools.pairwise(values))
    assert values[-1] < values[0]


@settings(deadline=None, max_examples=30)
@given(
    value=hnp.arrays(np.float32, 8, elements=st.floats(-2, 2, width=32)),
    segment=hnp.arrays(np.int32, 8, elements=st.integers(0, 3)),
    pull=st.floats(0, 20),
)
def test_a_shrunk_mean_lies_between_zero_and_the_mean(value, segment, pull):
    found = np.asarray(
        shrunk_mean(jnp.array(value), jnp.array(segment), jnp.ones(8), 4, pull)
    )
    for row in range(4):
        mine = value[segment == row]
        if not len(mine):
            assert found[row] == 0
            continue
        plain = mine.mean(dtype=np.float64)
        wanted = plain * len(mine) / (len(mine) + pull)
        assert found[row] == pytest.approx(wanted, abs=1e-5)


def test_the_head_of_the_lookup_is_the_sum():
    model = Bias(3, 2)
    params = {
        "mean": jnp.array(0.5),
        "user_bias": jnp.array([0.1, 0.2, 0.3]),
        "item_bias": jnp.array([0.01, 0.02]),
    }
    found = apply(model, params, jnp.array([2, 0]), jnp.array([1, 0]), NO_FEATURES)
    np.testing.assert_allclose(found, [0.5 + 0.3 + 0.02, 0.5 + 0.1 + 0.01], rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "users", "items"),
    [("bias", True, True), ("item_mean", False, True), ("global_mean", False, False)],
)
def test_each_name_builds_its_baseline(tiny_dataset, name, users, items):
    model = make_model(Config(model=name), tiny_dataset)
    assert (model.users, model.items) == (users, items)
    assert model.num_users == tiny_dataset.num_users
    assert title(Config(model=name))


def test_shrinkage_is_an_option(tiny_dataset):
    config = Config(model="bias", user_shrinkage=3.0, item_shrinkage=4.0)
    model = baselines.build_bias(config, tiny_dataset)
    assert (model.user_shrinkage, model.item_shrinkage) == (3.0, 4.0)


def test_every_model_of_the_registry_keeps_the_contract(tiny_dataset):
    users, items = jnp.array([0, 1]), jnp.array([1, 0])
    features = jax.tree.map(jnp.asarray, tiny_dataset.features).rows(items)
    for name in MODELS:
        model = make_model(Config(model=name), tiny_dataset)
        variables = model.init(jax.random.key(0), users, items, features)
        rows = model.apply(variables, users, items, method="lookup")
        assert len(rows) == 2, name
        head = model.apply(variables, rows, features, method="head")
        assert head.shape == (2,), name
        arguments = variables["params"], users, items, features
        if getattr(model, "takes_context", False):  # the library asks for one
            with pytest.raises(ConfigError, match="with_statistics"):
                apply(model, *arguments)
            whole = model.apply(variables, *arguments[1:])
        else:
            whole = apply(model, *arguments)
        np.testing.assert_array_equal(head, whole)


def test_each_baseline_fits_better_than_the_simpler_one(tiny_dataset, tiny_split):
    losses = {}
    for name in ("bias", "item_mean", "global_mean"):
        config = Config(model=name)
        model = make_model(config, tiny_dataset)
        reports = []
        fit(
            learner_of(config, model, tiny_dataset.features),
            tiny_dataset.interactions(tiny_split.train),
            tiny_dataset.interactions(tiny_split.valid),
            epochs=10,
            on_epoch=lambda report, state, reports=reports: reports.append(report),
        )
        losses[name] = reports[-1].train_loss[0]
    assert losses["bias"] < losses["item_mean"] < losses["global_mean"]
