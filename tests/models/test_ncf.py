"""The reference's network, layer by layer, against a forward pass written in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from ncf_jax.config import Config
from ncf_jax.models import ncf
from ncf_jax.models.ncf import NCF
from ncf_jax.types import ItemFeatures

USERS, ITEMS, G, T, B = 7, 5, 4, 3, 6
WIDTHS = dict(num_users=USERS, num_items=ITEMS, num_genres=G, num_tags=T)
SIBLINGS = {
    "ratings + genres + tags": {},
    "ratings + genres": dict(tag_dim=0),
    "ratings": dict(genre_dim=0, tag_dim=0),
    "ratings + tags": dict(genre_dim=0),
}


def batch(seed=0):
    rng = np.random.default_rng(seed)
    user, item = rng.integers(0, USERS, B), rng.integers(0, ITEMS, B)
    features = ItemFeatures(
        genres=jnp.array(rng.integers(0, 2, (B, G)), jnp.float32),
        tags=jnp.array(rng.normal(size=(B, T)), jnp.float32),
    )
    return jnp.array(user), jnp.array(item), features


def init(model, seed=0):
    return model.init(jax.random.key(seed), *batch())["params"]


def by_hand(params, user, item, features):
    p = jax.tree.map(lambda x: np.asarray(x, np.float64), params)

    def dense(name, x):
        return x @ p[name]["kernel"] + p[name]["bias"]

    parts = [
        p["user_embedding"]["embedding"][np.asarray(user)],
        p["item_embedding"]["embedding"][np.asarray(item)],
    ]
    if "genre_layer" in p:
        parts.append(np.maximum(dense("genre_layer", np.asarray(features.genres)), 0))
    if "tag_layer" in p:
        parts.append(np.maximum(dense("tag_layer", np.asarray(features.tags)), 0))
    # The reference's one matrix, of user and item side by side.
    p["fc1"] = {
        "kernel": np.concatenate([p["fc1_user"]["kernel"], p["fc1_item"]["kernel"]]),
        "bias": p["fc1_item"]["bias"],
    }
    hidden = np.maximum(dense("fc1", np.concatenate(parts, axis=1)), 0)
    hidden = np.maximum(dense("fc2", hidden), 0)
    return dense("output_layer", hidden)[:, 0]


@pytest.mark.parametrize("widths", SIBLINGS.values(), ids=SIBLINGS)
class TestEachSibling:
    def test_the_forward_pass_equals_the_one_by_hand(self, widths):
        model = NCF(**WIDTHS, **widths)
        params = init(model)
        user, item, features = batch()
        found = model.apply({"params": params}, user, item, features)
        assert found.shape == (B,)
        np.testing.assert_allclose(
            found, by_hand(params, user, item, features), rtol=2e-5, atol=1e-6
        )
        other = by_hand(init(model, seed=1), user, item, features)
        assert np.abs(found - other).max() > 1e-2  # the control

    def test_layers_have_the_names_and_shapes_of_the_reference(self, widths):
        params = init(NCF(**WIDTHS, **widths))
        genre, tag = widths.get("genre_dim", 32), widths.get("tag_dim", 16)
        wanted = {
            "user_embedding": {"embedding": (USERS, 64)},
            "item_embedding": {"embedding": (ITEMS, 64)},
            "genre_layer": {"kernel": (G, 32), "bias": (32,)},
            "tag_layer": {"kernel": (T, 16), "bias": (16,)},
            # The two halves of the reference's fc1, whose bias is the item's.
            "fc1_user": {"kernel": (64, 128)},
            "fc1_item": {"kernel": (64 + genre + tag, 128), "bias": (128,)},
            "fc2": {"kernel": (128, 64), "bias": (64,)},
            "output_layer": {"kernel": (64, 1), "bias": (1,)},
        }
        if not genre:
            del wanted["genre_layer"]
        if not tag:
            del wanted["tag_layer"]
        assert jax.tree.map(jnp.shape, params) == wanted

    def test_the_call_is_the_head_of_the_lookup(self, widths):
        model = NCF(**WIDTHS, **widths)
        variables = {"params": init(model)}
        user, item, features = batch()
        rows = model.apply(variables, user, item, method="lookup")
        by_halves = model.apply(variables, rows, features, method="head")
        np.testing.assert_array_equal(
            by_halves, model.apply(variables, user, item, features)
        )

    def test_the_halves_need_only_their_own_parameters(self, widths):
        model = NCF(**WIDTHS, **widths)
        params = init(model)
        tables = {k: v for k, v in params.items() if k.endswith("_embedding")}
        head = {k: v for k, v in params.items() if not k.endswith("_embedding")}
        user, item, features = batch()
        rows = model.apply({"params": tables}, user, item, method="lookup")
        found = model.apply({"params": head}, rows, features, method="head")
        assert found.shape == (B,)

    def test_the_head_is_the_join_of_its_halves(self, widths):
        model = NCF(**WIDTHS, **widths)
        params = init(model)
        user, item, features = batch()

        def call(method, *arguments):
            return model.apply({"params": params}, *arguments, method=method)

        rows = call("lookup", user, item)
        mine, theirs = call("user_half", rows[0]), call("item_half", rows[1], features)
        assert mine.shape == theirs.shape == (B, 128)
        np.testing.assert_allclose(
            call("join", mine, theirs),
            by_hand(params, user, item, features),
            rtol=2e-5,
            atol=1e-6,
        )
        swapped = call("join", mine[::-1], theirs)  # the control: another's half
        assert np.abs(swapped - call("head", rows, features)).max() > 1e-2


def test_a_missing_tower_ignores_its_features():
    user, item, features = batch()
    changed = features.replace(tags=features.tags + 1)
    without = NCF(**WIDTHS, tag_dim=0)
    variables = {"params": init(without)}
    np.testing.assert_array_equal(
        without.apply(variables, user, item, features),
        without.apply(variables, user, item, changed),
    )
    whole = NCF(**WIDTHS)
    variables = {"params": init(whole)}
    assert (
        whole.apply(variables, user, item, features)
        != whole.apply(variables, user, item, changed)
    ).any()


def test_rows_do_not_look_at_each_other():
    model = NCF(**WIDTHS)
    variables = {"params": init(model)}
    user, item, features = batch()
    whole = model.apply(variables, user, item, features)
    for n in range(B):
        alone = model.apply(
            variables,
            user[n : n + 1],
            item[n : n + 1],
            jax.tree.map(lambda x, n=n: x[n : n + 1], features),
        )
        np.testing.assert_allclose(alone[0], whole[n], rtol=1e-5, atol=1e-6)
    assert np.ptp(whole) > 1e-2  # the control: no row has another's prediction


def test_leading_axes_are_free():
    model = NCF(**WIDTHS)
    variables = {"params": init(model)}
    user, item, features = batch()
    flat = model.apply(variables, user, item, features)
    shaped = jax.tree.map(lambda x: x.reshape(2, 3, *x.shape[1:]), features)
    found = model.apply(variables, user.reshape(2, 3), item.reshape(2, 3), shaped)
    np.testing.assert_allclose(found.reshape(-1), flat, rtol=1e-5)


class TestInitialisation:
    model = NCF(num_users=400, num_items=300, num_genres=20, num_tags=32)

    def params(self):
        return self.model.init(
            jax.random.key(3),
            jnp.zeros(1, int),
            jnp.zeros(1, int),
            ItemFeatures(genres=jnp.zeros((1, 20)), tags=jnp.zeros((1, 32))),
        )["params"]

    @pytest.mark.parametrize("name", ["user_embedding", "item_embedding"])
    def test_tables_start_standard_normal(self, name):
        values = np.asarray(self.params()[name]["embedding"]).ravel()
        assert stats.kstest(values, "norm").pvalue > 1e-3
        assert stats.kstest(2 * values, "norm").pvalue < 1e-3  # the control

    @pytest.mark.parametrize(
        ("name", "fan_in"),
        [
            ("genre_layer", 20),
            ("tag_layer", 32),
            # Both halves by the width of the whole, as if they were one matrix.
            ("fc1_user", 176),
            ("fc1_item", 176),
            ("fc2", 128),
            ("output_layer", 64),
        ],
    )
    def test_dense_layers_start_uniform_within_one_over_root_fan_in(self, name, fan_in):
        layer = self.params()[name]
        bound = 1 / np.sqrt(fan_in)
        assert set(layer) - {"bias"} == {"kernel"}
        assert ("bias" in layer) == (name != "fc1_user")
        for part in layer.values():
            values = np.asarray(part).ravel()
            assert np.abs(values).max() <= bound
            uniform = stats.uniform(-bound, 2 * bound)
            assert stats.kstest(values, uniform.cdf).pvalue > 1e-3
        wrong = stats.uniform(-2 * bound, 4 * bound)
        kernel = np.asarray(layer["kernel"]).ravel()
        assert stats.kstest(kernel, wrong.cdf).pvalue < 1e-3  # the control

    def test_the_reference_size_has_the_reference_number_of_weights(self):
        model = NCF(num_users=610, num_items=2269, num_genres=20, num_tags=32)
        params = model.init(
            jax.random.key(0),
            jnp.zeros(1, int),
            jnp.zeros(1, int),
            ItemFeatures(genres=jnp.zeros((1, 20)), tags=jnp.zeros((1, 32))),
        )["params"]
        sizes = sum(x.size for x in jax.tree.leaves(params))
        tables = (610 + 2269) * 64
        towers = (20 + 1) * 32 + (32 + 1) * 16
        mlp = (176 + 1) * 128 + (128 + 1) * 64 + (64 + 1)
        assert sizes == tables + towers + mlp


class TestDropout:
    def apply(self, rate, key):
        model = NCF(**WIDTHS, dropout_rate=rate)
        user, item, features = batch()
        return model.apply(
            {"params": init(model)},
            user,
            item,
            features,
            train=True,
            rngs={"dropout": jax.random.key(key)},
        )

    def test_it_depends_on_the_key_alone(self):
        np.testing.assert_array_equal(self.apply(0.3, 0), self.apply(0.3, 0))
        assert (self.apply(0.3, 0) != self.apply(0.3, 1)).all()

    def test_without_it_training_and_judging_are_the_same(self):
        model = NCF(**WIDTHS, dropout_rate=0.0)
        user, item, features = batch()
        judged = model.apply({"params": init(model)}, user, item, features)
        np.testing.assert_array_equal(self.apply(0.0, 0), judged)

    def test_it_is_off_unless_training(self):
        model = NCF(**WIDTHS, dropout_rate=0.9)
        user, item, features = batch()
        params = init(model)
        np.testing.assert_allclose(
            model.apply({"params": params}, user, item, features),
            by_hand(params, user, item, features),
            rtol=2e-5,
            atol=1e-6,
        )


class TestMasks:
    """What is dropped in the layers, seen from outside."""

    ROWS, WIDTH = 3000, 32

    def masks(self, key, rate=0.3):
        """Which units of fc1 and of fc2 were kept: two of [ROWS, WIDTH]."""
        model = NCF(**WIDTHS, fc1_dim=self.WIDTH, fc2_dim=self.WIDTH, dropout_rate=rate)
        params = init(model)
        # So that no unit is zero but by dropout.
        params["fc1_item"]["bias"] += 100.0
        params["fc2"] = jax.tree.map(jnp.abs, params["fc2"])
        user = jnp.arange(self.ROWS) % USERS
        features = ItemFeatures(
            genres=jnp.ones((self.ROWS, G)), tags=jnp.ones((self.ROWS, T))
        )
        _, found = model.apply(
            {"params": params},
            user,
            user % ITEMS,
            features,
            train=True,
            rngs={"dropout": jax.random.key(key)},
            capture_intermediates=lambda module, method: method == "drop",
            mutable=["intermediates"],
        )
        first, second = found["intermediates"]["drop"]
        return np.asarray(first) != 0, np.asarray(second) != 0

    def test_each_unit_of_both_layers_is_dropped_at_the_rate(self):
        bound = 5 * np.sqrt(0.21 / self.ROWS)
        for mask in self.masks(0):
            assert mask.shape == (self.ROWS, self.WIDTH)
            assert np.abs(1 - mask.mean(axis=0) - 0.3).max() < bound
            assert np.abs(1 - mask.mean(axis=0) - 0.4).max() > bound  # the control

    def test_the_layers_and_the_steps_have_masks_of_their_own(self):
        (one, two), (other, _) = self.masks(0), self.masks(1)

        def correlation(a, b):
            return abs(((a - 0.7) * (b - 0.7)).sum()) / (0.21 * np.sqrt(a.size))

        assert correlation(one, two) < 5
        assert correlation(one, other) < 5
        assert correlation(one, one) > 100  # the control


def test_build_takes_sizes_from_the_data_and_widths_from_the_options(tiny_dataset):
    config = Config(embedding_dim=9, genre_dim=3, tag_dim=0, fc1_dim=5, fc2_dim=4)
    model = ncf.build(config, tiny_dataset)
    assert (model.num_users, model.num_items) == (
        tiny_dataset.num_users,
        tiny_dataset.num_items,
    )
    assert (model.embedding_dim, model.genre_dim, model.tag_dim) == (9, 3, 0)
    assert (model.fc1_dim, model.fc2_dim) == (5, 4)
    assert model.dropout_rate == config.dropout


@pytest.mark.parametrize(
    ("options", "title"),
    [
        ({}, "NCFMoviesTags (Ratings + Genres + Tags)"),
        (dict(tag_dim=0), "NCFMovies (Ratings + Genres)"),
        (dict(genre_dim=0), "NCFTags (Ratings + Tags)"),
        (dict(genre_dim=0, tag_dim=0), "NCF (Ratings)"),
    ],
)
def test_the_title_says_what_the_model_sees(options, title):
    assert ncf.title(Config(**options)) == title
