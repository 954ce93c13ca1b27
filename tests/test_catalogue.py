"""The catalogue by halves is the whole network applied to each pair, in any blocks; the
best unseen are those of a sort in NumPy."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ncf_jax.catalogue import BUDGET, best_unseen, score_catalogue, scorer
from ncf_jax.evaluate import predict
from ncf_jax.models.baselines import Bias
from ncf_jax.models.ncf import NCF
from ncf_jax.types import ItemFeatures

USERS, ITEMS, G, T = 6, 11, 3, 2
USER = np.array([4, 0, 5, 4], np.int32)
rng = np.random.default_rng(0)
FEATURES = ItemFeatures(
    genres=jnp.array(rng.integers(0, 2, (ITEMS, G)), jnp.float32),
    tags=jnp.array(rng.normal(size=(ITEMS, T)), jnp.float32),
)


class Whole(nn.Module):
    """A model that gives no halves; it looks at features, so that these must fit."""

    @nn.compact
    def __call__(self, user, item, features, *, train=False):
        rows = nn.Embed(USERS, 4)(user) * nn.Embed(ITEMS, 4)(item)
        parts = [rows, features.genres, features.tags]
        return nn.Dense(1)(nn.tanh(nn.Dense(8)(jnp.concatenate(parts, -1))))[..., 0]


WIDTH = 8
PAIR = {"halves": 8 * WIDTH, "no halves": 4096}  # bytes that a pair is taken to need
SIZES = dict(embedding_dim=4, fc1_dim=WIDTH, fc2_dim=4)
MODELS = {
    "halves": NCF(USERS, ITEMS, G, T, genre_dim=3, tag_dim=2, **SIZES),
    "halves without towers": NCF(USERS, ITEMS, G, T, genre_dim=0, tag_dim=0, **SIZES),
    "no halves": Whole(),
    "bias": Bias(num_users=USERS, num_items=ITEMS),
}


def params_of(model, seeds):
    """[seeds, ...], in dictionaries that a test may change."""
    return jax.tree.map(jnp.asarray, first_params(model, seeds))


@functools.cache
def first_params(model, seeds):
    zero = jnp.zeros(1, jnp.int32)
    one = FEATURES.rows(zero)
    keys = jax.random.split(jax.random.key(1), seeds)
    params = jax.vmap(lambda key: model.init(key, zero, zero, one)["params"])(keys)
    if isinstance(model, Bias):  # it starts as zeros
        return jax.tree.map(
            lambda x: jax.random.normal(jax.random.key(x.size), x.shape), params
        )
    return params


def by_pairs(model, params, user=USER):
    """[R, B, I] by `predict`, pair by pair."""
    pairs = np.repeat(user, ITEMS), np.tile(np.arange(ITEMS), len(user))
    out = predict(model, params, *pairs, FEATURES)
    return out.reshape(-1, len(user), ITEMS)


every = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)


class TestScoreCatalogue:
    @pytest.mark.parametrize(
        ("model", "seeds"),
        [(model, 1) for model in MODELS.values()]
        + [(MODELS[name], 3) for name in ("halves", "no halves", "bias")],
    )
    def test_it_equals_the_network_on_each_pair(self, model, seeds):
        params = params_of(model, seeds)
        found = score_catalogue(model, params, jnp.array(USER), FEATURES)
        wanted = by_pairs(model, params)
        assert found.shape == (seeds, len(USER), ITEMS)
        assert found.dtype == jnp.float32
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)
        # The controls: another user, another item, another seed.
        assert np.abs(found - np.roll(wanted, 1, axis=1)).max() > 1e-2
        assert np.abs(found - np.roll(wanted, 1, axis=2)).max() > 1e-2
        if seeds > 1:
            assert np.abs(found - np.roll(wanted, 1, axis=0)).max() > 1e-2

    # Budgets for blocks of 1, 2, 5 and all 11 items; with padding, none and the whole.
    @pytest.mark.parametrize("name", ["halves", "no halves"])
    @pytest.mark.parametrize("block", [0, 1, 2, 5, 11, 1000])
    def test_the_budget_changes_no_value(self, name, block):
        model = MODELS[name]
        params = params_of(model, 1)
        found = score_catalogue(
            model, params, jnp.array(USER), FEATURES, budget=block * PAIR[name]
        )
        np.testing.assert_allclose(found, by_pairs(model, params), rtol=1e-5, atol=1e-5)

    @pytest.mark.parametrize("name", ["halves", "no halves"])
    def test_the_budget_does_decide_the_blocks(self, name):
        # The control of the one above: there are other blocks in the program.
        model = MODELS[name]
        params = params_of(model, 1)

        def shapes(budget):
            return str(
                jax.make_jaxpr(
                    lambda user: score_catalogue(
                        model, params, user, FEATURES, budget=budget
                    )
                )(jnp.array(USER))
            )

        whole, small = shapes(BUDGET), shapes(2 * PAIR[name])
        assert "[6,2" in small  # six blocks of two, of which one is half padding
        assert "[6,2" not in whole

    def test_a_nan_stays_with_the_seed_and_the_item_that_has_it(self):
        model = MODELS["halves"]
        params = params_of(model, 2)
        table = params["item_embedding"]["embedding"]
        params["item_embedding"]["embedding"] = table.at[1, 3].set(jnp.nan)
        found = score_catalogue(model, params, jnp.array(USER), FEATURES)
        bad = np.zeros(found.shape, bool)
        bad[1, :, 3] = True
        np.testing.assert_array_equal(np.isnan(found), bad)

    def test_no_users_have_no_scores(self):
        model = MODELS["halves"]
        none = jnp.zeros(0, jnp.int32)
        found = score_catalogue(model, params_of(model, 1), none, FEATURES)
        assert found.shape == (1, 0, ITEMS)


class TestScorer:
    @every
    def test_it_scores_whatever_users_it_is_asked_for(self, model):
        params = params_of(model, 2)
        score = scorer(model, params, jax.tree.map(np.asarray, FEATURES))
        for user in (USER, USER[:1], np.array([3], np.int32)):
            found = score(jnp.array(user))
            wanted = score_catalogue(model, params, jnp.array(user), FEATURES)
            np.testing.assert_array_equal(found, wanted)
            np.testing.assert_allclose(
                found, by_pairs(model, params, user), rtol=1e-5, atol=1e-5
            )


# By user of USER; an index of ITEMS or more is padding.
SEEN = np.array(
    [
        [0, 1, 2, ITEMS],
        [10, 10, ITEMS, ITEMS + 5],
        [ITEMS, ITEMS, ITEMS, ITEMS],
        [9, 4, 0, 7],
    ],
    np.int32,
)


def by_sorting(scores, seen, k):
    """Item and score of the k best unseen by the seeds' mean; NumPy, float64."""
    mean = np.float64(scores).mean(axis=0)
    for line, row in zip(mean, seen, strict=True):
        line[row[row < ITEMS]] = -np.inf
    item = np.argsort(-mean, axis=1, kind="stable")[:, :k]
    return item, np.take_along_axis(mean, item, axis=1)


class TestBestUnseen:
    def best(self, model, params, k, seen=SEEN, **options):
        return best_unseen(
            model, params, jnp.array(USER), jnp.array(seen), FEATURES, k=k, **options
        )

    @every
    @pytest.mark.parametrize(("seeds", "k"), [(1, 3), (3, 7)])
    def test_it_equals_a_sort_of_the_unseen(self, model, seeds, k):
        params = params_of(model, seeds)
        item, score = self.best(model, params, k)
        wanted_item, wanted_score = by_sorting(by_pairs(model, params), SEEN, k)
        np.testing.assert_array_equal(item, wanted_item)
        np.testing.assert_allclose(score, wanted_score, rtol=1e-5, atol=1e-5)
        nothing_seen, _ = by_sorting(by_pairs(model, params), SEEN[:, :0], k)
        assert (item != nothing_seen).any()  # the control
        if seeds > 1:  # the control: the first seed is not the mean
            first, _ = by_sorting(by_pairs(model, params)[:1], SEEN, k)
            assert (item != first).any()

    def test_all_items_come_and_the_seen_last_at_minus_infinity(self):
        model = MODELS["halves"]
        params = params_of(model, 2)
        item, score = self.best(model, params, ITEMS)
        np.testing.assert_array_equal(np.sort(item), np.tile(np.arange(ITEMS), (4, 1)))
        for row, line, stars in zip(SEEN, np.asarray(item), score, strict=True):
            seen = set(row[row < ITEMS].tolist())
            assert np.isneginf(stars).sum() == len(seen)
            assert set(line[len(line) - len(seen) :].tolist()) == seen
            assert (np.diff(stars[: ITEMS - len(seen)]) <= 0).all()

    def test_padding_is_no_item_not_even_the_last(self):
        model = MODELS["halves"]
        params = params_of(model, 1)
        padded = np.full((4, 3), ITEMS, np.int32)
        item, score = self.best(model, params, ITEMS, padded)
        none, wanted = self.best(model, params, ITEMS, padded[:, :0])
        np.testing.assert_array_equal(item, none)
        np.testing.assert_array_equal(score, wanted)
        last, _ = self.best(model, params, ITEMS, padded - 1)
        assert (item != last).any()  # the control: the last item, seen

    @pytest.mark.parametrize("budget", [0, 8 * WIDTH * 4])
    def test_the_budget_changes_nothing(self, budget):
        model = MODELS["halves"]
        params = params_of(model, 2)
        item, score = self.best(model, params, 5)
        again, stars = self.best(model, params, 5, budget=budget)
        np.testing.assert_array_equal(item, again)
        np.testing.assert_allclose(score, stars, rtol=1e-5, atol=1e-5)

    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_a_score_that_is_no_number_is_returned_and_comes_first(self, value):
        model = MODELS["bias"]
        params = params_of(model, 2)
        params["item_bias"] = params["item_bias"].at[1, 6].set(value)
        item, score = self.best(model, params, 3)
        np.testing.assert_array_equal(item[:, 0], 6)
        np.testing.assert_array_equal(score[:, 0], value)
        assert np.isfinite(score[:, 1:]).all()

    def test_one_that_is_seen_hides_it(self):
        model = MODELS["bias"]
        params = params_of(model, 1)
        params["item_bias"] = params["item_bias"].at[0, 6].set(np.nan)
        seen = np.full((4, 1), 6, np.int32)
        _, score = self.best(model, params, ITEMS - 1, seen)
        assert np.isfinite(score).all()
