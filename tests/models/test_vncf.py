"""The variational network against NumPy and closed forms, and what switches promise."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate
from scipy.stats import norm

import ncf_jax
from ncf_jax import Config
from ncf_jax.counting import with_statistics
from ncf_jax.errors import ConfigError
from ncf_jax.models import apply, divide, make_model, vncf, with_context
from ncf_jax.models.vncf import VNCF, divergence
from ncf_jax.types import ItemFeatures
from tests import counted
from tests.conftest import TINY
from tests.counted import divided, shuffled

USERS, ITEMS, G, T, B, F, D = 7, 5, 4, 3, 6, 5, 8
SIZES = dict(num_users=USERS, num_items=ITEMS, embedding_dim=D, fc1_dim=12, fc2_dim=6)
SIDE = ("genres", "tags", "year")
MODELS = {
    "whole": dict(side=SIDE),
    "no MLP": dict(side=SIDE, fc1_dim=0),
    "point rows": dict(side=SIDE, rows="point"),
    "point rows, no MLP": dict(side=SIDE, rows="point", fc1_dim=0),
    "no towers": dict(side=()),
    "one tower": dict(side=("year",)),
    "no counts": dict(side=SIDE, counts=False),
}


def batch(seed=0):
    rng = np.random.default_rng(seed)
    user, item = rng.integers(0, USERS, B), rng.integers(0, ITEMS, B)
    features = ItemFeatures(
        genres=jnp.array(rng.integers(0, 2, (B, G)), jnp.float32),
        tags=jnp.array(rng.normal(size=(B, T)), jnp.float32),
        year=jnp.array([0.0, 1961, 1970, 1979, 1980, 2004]),
    )
    context = jnp.array(rng.normal(size=(B, F)) + 3, jnp.float32)
    return jnp.array(user), jnp.array(item), features, context


@functools.cache
def init(model, seed=0):
    """Parameters that are nowhere nothing."""
    *ids, context = batch()
    start = jax.jit(lambda key: model.init(key, *ids, context=context)["params"])
    params = start(jax.random.key(seed))
    leaves, tree = jax.tree.flatten(params)
    moved = [
        x + 0.3 * np.random.default_rng(n).normal(size=x.shape).astype(np.float32)
        for n, x in enumerate(leaves, start=1000 * seed)
    ]
    return jax.tree.unflatten(tree, moved)


def predict(model, params, *ids, context):
    call = jax.jit(functools.partial(model.apply, {"params": params}))
    return call(*ids, context=context)


def by_hand(model, params, user, item, features, context):
    """The prediction in NumPy, from the means of rows alone."""
    p = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
    mine, theirs = p["user_mean"][np.asarray(user)], p["item_mean"][np.asarray(item)]
    mine, my_bias = mine[:, :-1], mine[:, -1]
    theirs, their_bias = theirs[:, :-1].copy(), theirs[:, -1]
    for name in model.side:
        seen = counted.describe(features, name) * (3.0 if name == "tags" else 1.0)
        theirs += seen @ p[f"{name}_layer"]["kernel"]
    stars = p["mean"] + my_bias + their_bias + (mine * theirs).sum(axis=1)
    if model.fc1_dim:
        seen = np.asarray(context, np.float64).copy()
        seen[:, :2] = (seen[:, :2] - [4, 3]) if model.counts else 0.0
        kernel = np.concatenate(
            [p[f"fc1_{name}"]["kernel"] for name in ("user", "item", "context")]
        )
        whole = np.concatenate([mine, theirs, seen], axis=1)
        hidden = np.maximum(whole @ kernel + p["fc1_context"]["bias"], 0)
        hidden = np.maximum(hidden @ p["fc2"]["kernel"] + p["fc2"]["bias"], 0)
        last = p["output_layer"]
        stars = stars + (hidden @ last["kernel"] + last["bias"])[:, 0]
    return stars / 5


@pytest.mark.parametrize("options", MODELS.values(), ids=MODELS)
class TestEachKind:
    def test_the_forward_pass_equals_the_one_by_hand(self, options):
        model = VNCF(**SIZES | options)
        params = init(model)
        *ids, context = batch()
        found = predict(model, params, *ids, context=context)
        assert found.shape == (B,)
        wanted = by_hand(model, params, *ids, context)
        np.testing.assert_allclose(found, wanted, rtol=2e-5, atol=2e-6)
        other = by_hand(model, init(model, seed=1), *ids, context)
        assert np.abs(found - other).max() > 1e-2  # the control

    def test_parameters_have_these_names_and_shapes(self, options):
        model = VNCF(**SIZES | options)
        wanted = {"mean": (), "user_mean": (USERS, D + 1), "item_mean": (ITEMS, D + 1)}
        if model.rows == "variational":
            wanted |= {"user_log_sd": (USERS, D + 1), "item_log_sd": (ITEMS, D + 1)}
            wanted |= {"user_prior": (D + 1,), "item_prior": (D + 1,)}
        for name, width in (("genres", G), ("tags", T), ("year", 14)):
            if name in model.side:
                wanted[f"{name}_layer"] = {"kernel": (width, D)}
        if model.fc1_dim:
            wanted |= {
                "fc1_user": {"kernel": (D, 12)},
                "fc1_item": {"kernel": (D, 12)},
                "fc1_context": {"kernel": (F, 12), "bias": (12,)},
                "fc2": {"kernel": (12, 6), "bias": (6,)},
                "output_layer": {"kernel": (6, 1), "bias": (1,)},
            }
        assert jax.tree.map(jnp.shape, init(model)) == wanted

    def test_the_call_is_the_head_of_the_lookup(self, options):
        model = VNCF(**SIZES | options)
        variables = {"params": init(model)}
        user, item, features, context = batch()
        rows = model.apply(variables, user, item, method="lookup")
        found = model.apply(variables, rows, features, context=context, method="head")
        whole = model.apply(variables, user, item, features, context=context)
        np.testing.assert_array_equal(found, whole)

    def test_the_head_is_the_join_of_its_halves(self, options):
        model = VNCF(**SIZES | options)
        variables = {"params": init(model)}
        user, item, features, context = batch()
        rows = model.apply(variables, user, item, method="lookup")
        mine = model.apply(variables, rows[0], method="user_half")
        theirs = model.apply(variables, rows[1], features, method="item_half")
        assert mine.shape == theirs.shape == (B, model.fc1_dim + D + 1)

        def join(mine):
            return model.apply(variables, mine, theirs, context=context, method="join")

        whole = model.apply(variables, rows, features, context=context, method="head")
        np.testing.assert_array_equal(join(mine), whole)
        assert np.abs(join(mine[::-1]) - whole).max() > 1e-2  # the control

    def test_leading_axes_are_free(self, options):
        model = VNCF(**SIZES | options)
        params = init(model)
        *ids, context = batch()
        flat = predict(model, params, *ids, context=context)

        def shape(tree):
            return jax.tree.map(lambda x: x.reshape(2, 3, *x.shape[1:]), tree)

        found = predict(model, params, *shape(ids), context=shape(context))
        np.testing.assert_allclose(found.reshape(-1), flat, rtol=1e-5, atol=1e-6)


def test_point_rows_without_the_mlp_are_a_factor_model():
    """The formula, written out for one pair."""
    model = VNCF(**SIZES | MODELS["point rows, no MLP"])
    p = init(model)
    user, item, features, context = batch()
    row = 3
    u, i = p["user_mean"][user[row]], p["item_mean"][item[row]]
    genres = features.genres[row] / max(float(features.genres[row].sum()), 1.0)
    factor = i[:D] + genres @ p["genres_layer"]["kernel"]
    factor += 3 * features.tags[row] @ p["tags_layer"]["kernel"]
    factor += p["year_layer"]["kernel"][7]  # 1979 is of the eighth decade since 1900
    stars = p["mean"] + u[D] + i[D] + u[:D] @ factor
    found = predict(model, p, user, item, features, context=context)
    np.testing.assert_allclose(found[row] * 5, stars, rtol=1e-5)


class TestDivergence:
    @settings(max_examples=60, deadline=None)
    @given(st.floats(-2, 2), st.floats(-2, 1), st.floats(-2, 1))
    def test_it_is_the_integral_that_defines_it(self, mean, log_sd, log_prior):
        row, prior = norm(mean, np.exp(log_sd)), norm(0, np.exp(log_prior))

        def slope(x):
            return row.pdf(x) * (row.logpdf(x) - prior.logpdf(x))

        ends = row.ppf(1e-13), row.ppf(1 - 1e-13)
        wanted = integrate.quad(slope, *ends, epsabs=1e-9)[0]
        arguments = (np.float32(x) for x in (mean, log_sd, log_prior))
        found = divergence(*arguments)
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)

    def test_it_is_nothing_from_itself_and_more_from_all_else(self):
        around = jnp.linspace(-1, 1, 21)
        zero = jnp.zeros(21)
        by_mean, by_sd = divergence(around, zero, zero), divergence(zero, around, zero)
        for found in (by_mean, by_sd):
            assert abs(found[10]) < 1e-7
            assert (found[:10] > 1e-4).all()
            assert (found[11:] > 1e-4).all()


class TestPenalty:
    """On a world whose every row is an example of one epoch."""

    def sums(self, rows="variational", **how):
        """Penalties of an epoch's examples, summed, and each row's own by NumPy."""
        dataset, split = counted.world(0)
        data = with_statistics(dataset, split, **how).interactions(split.train)
        model = VNCF(counted.USERS, counted.ITEMS, embedding_dim=D, rows=rows)
        features = data.features.rows(data.item)
        ids = data.user, data.item
        params = model.init(jax.random.key(0), *ids, features, context=data.context)[
            "params"
        ]
        params |= {
            name: value + 0.3 * np.random.default_rng(n).normal(size=value.shape)
            for n, (name, value) in enumerate(params.items())
            if name.startswith(("user_", "item_"))
        }
        found = model.apply({"params": params}, *ids, method="lookup")
        extra = model.apply(
            {"params": params}, found, context=data.context, method="penalty"
        )
        assert extra.shape == data.user.shape
        return float(extra.sum()), params, data

    def by_hand(self, params, data):
        total = 0.0
        for side, ids in (("user", data.user), ("item", data.item)):
            for row in set(ids.tolist()):
                mean, log_sd = (params[f"{side}_{x}"][row] for x in ("mean", "log_sd"))
                sd, prior = np.exp(log_sd), np.exp(params[f"{side}_prior"])
                ratio = (sd**2 + np.square(mean)) / prior**2
                total += (0.5 * (ratio - 1) - np.log(sd / prior)).sum()
        return 0.8 * total / 25

    def test_each_row_that_has_ratings_is_counted_once_an_epoch(self):
        lone = len(counted.world(0)[1].train)  # each row is left out of its own counts
        found, params, data = self.sums(folds=lone)
        np.testing.assert_allclose(found, self.by_hand(params, data), rtol=1e-4)
        other = dict(params, user_prior=params["user_prior"] + 0.5)  # the control
        assert abs(self.by_hand(other, data) / found - 1) > 0.01

    def test_ten_folds_count_it_about_once(self):
        found, params, data = self.sums()
        assert 1 <= found / self.by_hand(params, data) < 1.3

    def test_of_point_rows_it_is_the_squares_of_each_example_s(self):
        found, params, data = self.sums(rows="point")
        user, item = params["user_mean"][data.user], params["item_mean"][data.item]
        wanted = 0.8 * ((user**2).sum() + (item**2).sum()) / 25
        np.testing.assert_allclose(found, wanted, rtol=1e-4)


class TestDraw:
    def apply(self, key, train=True, **options):
        model = VNCF(**SIZES | options)
        *ids, context = batch()
        variables = {"params": init(model)}
        rngs = {"dropout": jax.random.key(key)}
        return model.apply(variables, *ids, context=context, train=train, rngs=rngs)

    def test_in_training_it_depends_on_the_key_alone(self):
        np.testing.assert_array_equal(self.apply(0), self.apply(0))
        assert (self.apply(0) != self.apply(1)).all()

    def test_judged_it_does_not(self):
        one, other = (self.apply(key, train=False) for key in (0, 1))
        np.testing.assert_array_equal(one, other)
        assert (self.apply(0) != one).all()  # the control

    def test_point_rows_are_not_drawn(self):
        one, other = (self.apply(key, rows="point") for key in (0, 1))
        np.testing.assert_array_equal(one, other)

    def test_but_their_units_are_dropped(self):
        one, other = (self.apply(key, rows="point", dropout_rate=0.5) for key in (0, 1))
        assert (one != other).any()

    def test_without_the_mlp_nothing_is_dropped(self):
        point = dict(rows="point", dropout_rate=0.5, fc1_dim=0)
        np.testing.assert_array_equal(self.apply(0, **point), self.apply(1, **point))

    def test_draws_have_the_row_s_mean_and_deviation_each_example_its_own(self):
        model = VNCF(**SIZES)
        mean = jnp.broadcast_to(jnp.linspace(-1, 1, D + 1), (20_000, D + 1))
        log_sd = jnp.broadcast_to(jnp.linspace(-2, 0, D + 1), (20_000, D + 1))
        found, kept = model.apply(
            {"params": init(model)},
            (mean, log_sd),
            rngs={"dropout": jax.random.key(0)},
            method="draw",
        )
        np.testing.assert_array_equal(kept, log_sd)
        noise = np.asarray((found - mean) / jnp.exp(log_sd))
        assert len(np.unique(noise)) > 0.9 * noise.size
        assert np.abs(noise.mean(axis=0)).max() < 5 / np.sqrt(20_000)
        assert np.abs(noise.std(axis=0) - 1).max() < 5 / np.sqrt(40_000)


class TestStart:
    def params(self, **options):
        model = VNCF(**SIZES | options)
        *ids, context = batch()
        return model.init(jax.random.key(0), *ids, context=context)["params"]

    def test_items_start_at_nothing_and_users_near_it(self):
        params = self.params()
        assert not params["item_mean"].any()
        assert 0 < jnp.abs(params["user_mean"]).max() < 0.06
        assert params["mean"] == 3.5

    def test_rows_start_narrower_than_their_priors(self):
        params = self.params()
        for side in ("user", "item"):
            sd, prior = (
                np.exp(params[f"{side}_{name}"]) for name in ("log_sd", "prior")
            )
            np.testing.assert_allclose(sd, 0.1, rtol=1e-6)
            np.testing.assert_allclose(prior, [0.3] * D + [0.4], rtol=1e-6)


SMALL = dict(
    model="vncf",
    epochs=1,
    batch_size=256,
    embedding_dim=4,
    fc1_dim=8,
    fc2_dim=4,
    dropout=0.1,
    learning_rate=1e-2,
)


def trained(dataset, split, **options):
    """Model, parameters [1, ...] after training, and the data with contexts."""
    config = Config(**TINY | SMALL | options)
    data = with_context(config, dataset, split)
    model = make_model(config, data)
    learner = ncf_jax.learner_of(
        config, model, data.features, num_rows=len(split.train)
    )
    parts = (data.interactions(rows) for rows in (split.train, split.valid))
    losses = []
    state = ncf_jax.fit(
        learner,
        *parts,
        epochs=config.epochs,
        on_epoch=lambda report, state: losses.append(report.valid_loss),
    )
    assert np.isfinite(losses).all()
    return model, state.params, data


def stars(model, params, data, rows, features=None, context=None):
    """Predictions [n] of rows, with other features or contexts if given."""
    one = data.interactions(rows)
    return ncf_jax.predict(
        model,
        params,
        one.user,
        one.item,
        one.features if features is None else features,
        context=one.context if context is None else context,
    )[0]


SWITCHES = {
    "nothing": {},
    "no side, past times": dict(side=(), time="past"),
    "no statistics": dict(statistics=()),
    "genres and means": dict(side=("genres",), statistics=("means",)),
    "point rows": dict(rows="point", row_penalty=0.02, table_update="lazy"),
    "no MLP, all times": dict(fc1_dim=0, time="both"),
}


@pytest.fixture(scope="module", params=SWITCHES)
def switched(request, tiny_dataset, tiny_split):
    """One epoch with each switch thrown."""
    options = SWITCHES[request.param]
    config = Config(**TINY | SMALL | options)
    return config, *trained(tiny_dataset, tiny_split, **options)


class TestSwitches:
    def test_the_network_learns(self, switched, tiny_split):
        _, model, params, data = switched
        assert all(np.isfinite(x).all() for x in jax.tree.leaves(params))
        rows = tiny_split.train
        error = stars(model, params, data, rows) - data.rating[rows]
        assert np.sqrt(np.mean(error**2)) < data.rating[rows].std() * 1.05
        assert params["item_mean"].any()

    def test_towers_are_those_of_side(self, switched, tiny_split):
        config, model, params, data = switched
        for name in SIDE:
            assert (f"{name}_layer" in params) == (name in config.side)
        before = stars(model, params, data, tiny_split.test)
        for name, value in (("genres", 1 - data.features.genres), ("year", None)):
            if name == "year":
                value = data.features.year + 10
            features = data.features.replace(**{name: value})
            after = stars(model, params, data, tiny_split.test, features)
            assert (before != after).any() == (name in config.side)

    def test_contexts_are_those_of_statistics_and_time(self, switched, tiny_split):
        config, model, params, data = switched
        widths = {"means": 2, "content": 3, "neighbours": 1}
        wanted = 2 + sum(widths[part] for part in config.statistics)
        wanted += 0 if config.time == "none" else 6
        assert data.context.shape[1] == wanted
        rows = tiny_split.test
        before = stars(model, params, data, rows)
        for column in range(wanted):
            context = data.context[rows].copy()
            context[:, column] += 3
            after = stars(model, params, data, rows, context=context)
            reads = config.fc1_dim and (column > 1 or "means" in config.statistics)
            assert (before != after).any() == bool(reads)

    def test_rows_are_distributions_or_points(self, switched):
        config, model, params, _ = switched
        sure = [name for name in params if name.endswith(("_log_sd", "_prior"))]
        assert bool(sure) == (config.rows == "variational")
        tables = divide(model, params)[0]
        assert len(tables[0]) == len(tables[1]) == (2 if sure else 1)
        if sure:
            assert np.ptp(params["user_log_sd"]) > 0  # they have moved

    def test_the_mlp_is_there_or_not(self, switched):
        config, _, params, _ = switched
        layers = {"fc1_user", "fc1_item", "fc1_context", "fc2", "output_layer"}
        assert layers & set(params) == (layers if config.fc1_dim else set())

    def test_a_catalogue_s_scores_are_predictions_with_contexts_of_pairs(
        self, switched
    ):
        _, model, params, data = switched
        users = np.array([3, 0, 11])
        found = ncf_jax.score_catalogue(model, params, users, data.features)
        context = np.asarray(data.features.statistics.of_users(users))
        user, item = (
            x.reshape(-1)
            for x in np.meshgrid(users, np.arange(data.num_items), indexing="ij")
        )
        wanted = ncf_jax.predict(
            model,
            params,
            user,
            item,
            data.features,
            context=context.reshape(len(user), -1),
        )
        assert found.shape == (1, 3, data.num_items)
        np.testing.assert_allclose(found.reshape(1, -1), wanted, rtol=1e-5, atol=1e-5)
        assert np.abs(found[0, 0] - found[0, 1]).max() > 1e-3  # the control


class TestColdItems:
    COLD = (4, 17)

    def split(self, dataset, split):
        """The split with all rows of two items moved to test."""
        cold = np.isin(dataset.item, self.COLD)
        parts = (rows[~cold[rows]] for rows in (split.train, split.valid))
        train, valid = parts
        rest = np.setdiff1d(np.arange(len(cold)), np.concatenate([train, valid]))
        return divided(train, valid, rest)

    @pytest.mark.parametrize("table_update", ["dense", "lazy"])
    def test_they_keep_a_row_of_nothing_and_are_scored_from_features(
        self, tiny_dataset, tiny_split, table_update
    ):
        split = self.split(tiny_dataset, tiny_split)
        model, params, data = trained(
            tiny_dataset, split, table_update=table_update, weight_decay=1e-3
        )
        cold = np.array(self.COLD)
        assert not params["item_mean"][0, cold].any()
        warm = np.unique(data.item[split.train])
        assert params["item_mean"][0, warm].any(axis=1).all()  # the control
        rows = split.test[np.isin(data.item[split.test], cold)]
        assert len(rows)
        before = stars(model, params, data, rows)
        genres = data.features.genres.copy()
        genres[cold] = 1 - genres[cold]
        other = data.features.replace(genres=genres)
        assert (stars(model, params, data, rows, other) != before).all()
        warm_rows = split.test[np.isin(data.item[split.test], warm)]
        np.testing.assert_array_equal(
            stars(model, params, data, warm_rows, other),
            stars(model, params, data, warm_rows),
        )


class TestNothingLeaks:
    def params(self, dataset, split):
        return trained(dataset, split, time="both")[1]

    def test_training_never_reads_a_rating_of_valid_or_test(
        self, tiny_dataset, tiny_split
    ):
        before = self.params(tiny_dataset, tiny_split)
        rows = np.concatenate([tiny_split.valid, tiny_split.test])
        other = shuffled(tiny_dataset, rows)
        assert (other.rating != tiny_dataset.rating).sum() > 50
        after = self.params(other, tiny_split)
        jax.tree.map(np.testing.assert_array_equal, before, after)
        learnt = self.params(shuffled(tiny_dataset, tiny_split.train), tiny_split)
        moved = jax.tree.map(lambda x, y: (x != y).any(), before, learnt)
        assert all(jax.tree.leaves(moved))  # the control


class TestErrors:
    def test_years_that_are_not_there_are_asked_for_in_a_sentence(self):
        model = VNCF(**SIZES, side=("genres", "year"))
        user, item, features, context = batch()
        features = features.replace(year=None)
        with pytest.raises(ConfigError, match=r"leave year out of --side\."):
            model.init(jax.random.key(0), user, item, features, context=context)
        without = VNCF(**SIZES, side=("genres",))  # the control
        without.init(jax.random.key(0), user, item, features, context=context)

    def test_a_context_that_is_not_there_is_asked_for_in_a_sentence(self):
        model = VNCF(**SIZES)
        params = init(model)
        user, item, features, _ = batch()
        with pytest.raises(ConfigError, match=r"counting\.with_statistics"):
            apply(model, params, user, item, features)


def test_build_takes_sizes_from_the_data_and_the_rest_from_the_options(tiny_dataset):
    config = Config(
        model="vncf",
        embedding_dim=9,
        fc1_dim=5,
        fc2_dim=4,
        side=("year",),
        rows="point",
        row_penalty=0.3,
        statistics=("content",),
    )
    found = vncf.build(config, tiny_dataset)
    assert found == VNCF(
        num_users=tiny_dataset.num_users,
        num_items=tiny_dataset.num_items,
        side=("year",),
        embedding_dim=9,
        fc1_dim=5,
        fc2_dim=4,
        dropout_rate=config.dropout,
        rows="point",
        row_penalty=0.3,
        counts=False,
    )
    assert vncf.build(dataclasses.replace(config, statistics=("means",)), tiny_dataset)


@pytest.mark.parametrize(
    ("options", "title"),
    [
        ({}, "VNCF"),
        (dict(ensemble=5), "5 VNCF"),
        (dict(time="past"), "VNCF, past times"),
        (dict(ensemble=2, time="both"), "2 VNCF, times"),
    ],
)
def test_the_title_says_what_of_time_it_sees_and_how_many_are_averaged(options, title):
    assert vncf.title(Config(model="vncf", **options)) == title
