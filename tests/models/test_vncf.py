"""The variational network against NumPy and closed forms, and what switches promise."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ncf_jax
from ncf_jax import Config
from ncf_jax.counting import with_statistics
from ncf_jax.errors import ConfigError
from ncf_jax.history import History
from ncf_jax.models import apply, apply_penalty, divide, make_model, vncf, with_context
from ncf_jax.models.vncf import VNCF
from ncf_jax.types import ItemFeatures
from tests import counted
from tests.conftest import TINY
from tests.counted import divided, shuffled

USERS, ITEMS, G, T, B, F, D, H = 7, 5, 4, 3, 6, 7, 8, 2
SIZES = dict(num_users=USERS, num_items=ITEMS, embedding_dim=D, fc1_dim=12, fc2_dim=6)
SIDE = ("genres", "tags", "year")
TOWERS = ("rated", "raters", *SIDE)
SEEN = {"rated": H, "raters": H, "genres": G, "tags": T, "year": 14}
MODELS = {
    "whole": dict(side=SIDE),
    "no MLP": dict(side=SIDE, fc1_dim=0),
    "point rows": dict(side=SIDE, rows="point"),
    "point rows, no MLP": dict(side=SIDE, rows="point", fc1_dim=0),
    "no towers of side": dict(side=()),
    "one tower": dict(side=("year",), rows="point"),
    "no counts": dict(side=SIDE, counts=False),
}
# What may be known of a pair besides.
KNOWN = {
    "all": {},
    "no histories": dict(history=False),
    "histories of no width": dict(width=0),
    "no contexts": dict(context=False),
    "nothing": dict(history=False, context=False),
}
# Compiled once and run for a moment: what takes time here is XLA's own work.
QUICK = {"xla_backend_optimization_level": 0}
every = pytest.mark.parametrize("options", MODELS.values(), ids=MODELS)


def remembered(width=H):
    """Histories of numbers at random; one user has no row, and one item one row."""
    rng = np.random.default_rng(5)
    tables = (rng.normal(size=(n, width)) for n in (USERS, ITEMS, USERS, ITEMS))
    counts = (np.array([0, 1, 2, 3, 9, 4, 6]), np.array([2, 1, 8, 4, 10]))
    return History(*(jnp.array(x, jnp.float32) for x in (*tables, *counts, 25.0)))


@functools.cache
def batch(width=H, history=True, context=True):
    """Users, items, features and contexts of B pairs; of what is not known None."""
    rng = np.random.default_rng(0)
    user, item = jnp.array([0, 1, 2, 4, 4, 6]), jnp.array([0, 1, 4, 2, 3, 1])
    features = ItemFeatures(
        genres=jnp.array(rng.integers(0, 2, (B, G)), jnp.float32).at[0].set(0.0),
        tags=jnp.array(rng.normal(size=(B, T)), jnp.float32),
        year=jnp.array([0.0, 1961, 1970, 1979, 1980, 2004]),
        history=remembered(width).rows(item, user) if history else None,
    )
    seen = jnp.array(rng.normal(size=(B, F)) + 3, jnp.float32)
    return user, item, features, seen if context else None


@functools.cache
def init(model, seed=0, **known):
    """Parameters that are nowhere nothing."""
    *ids, context = batch(**known)
    shapes = jax.eval_shape(
        lambda: model.init(jax.random.key(0), *ids, context=context)["params"]
    )
    leaves, tree = jax.tree.flatten(shapes)
    moved = [
        0.3 * np.random.default_rng(n).normal(size=x.shape).astype(np.float32)
        for n, x in enumerate(leaves, start=1000 * seed)
    ]
    return jax.tree.unflatten(tree, moved)


@functools.partial(
    jax.jit,
    static_argnums=0,
    static_argnames=("method", "train"),
    compiler_options=QUICK,
)
def run(model, params, *arguments, key=None, **how):
    """A method of the model, compiled once for all tests."""
    rngs = None if key is None else {"dropout": key}
    return model.apply({"params": params}, *arguments, rngs=rngs, **how)


@functools.partial(jax.jit, static_argnums=0, compiler_options=QUICK)
def pieces(model, params, user, item, features, context):
    """The prediction, and the ways to put it together: one compilation for all."""

    def call(method, *arguments, **how):
        return model.apply({"params": params}, *arguments, method=method, **how)

    def shape(tree):
        return jax.tree.map(
            lambda x: x.reshape(2, 3, *x.shape[1:]) if x.ndim else x, tree
        )

    rows = call("lookup", user, item)
    mine = call("user_half", rows[0], features.history)
    theirs = call("item_half", rows[1], features)
    pairs = shape((user, item, features))
    return dict(
        whole=call("__call__", user, item, features, context=context),
        head=call("head", rows, features, context=context),
        mine=mine,
        theirs=theirs,
        join=call("join", mine, theirs, context=context),
        other=call("join", mine[::-1], theirs, context=context),
        shaped=call("__call__", *pairs, context=shape(context)),
    )


def described(features, name, own=False):
    """What a tower sees of the pairs, float64."""
    if name in SIDE:
        return counted.describe(features, name) * (3.0 if name == "tags" else 1.0)
    h = jax.tree.map(np.float64, features.history)
    total, left, count = {
        "rated": (h.rated, h.item_basis, h.user_count),
        "raters": (h.raters, h.user_basis, h.item_count),
    }[name]
    total, count = total - left * own, count - own
    return np.array([x / max(n, 1) ** 0.5 for x, n in zip(total, count, strict=True)])


def by_hand(model, params, user, item, features, context, seen=None, own=False):
    """The prediction in NumPy, from means alone; `seen` are histories if given."""
    p = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
    rows = {
        "user": p["user_table"]["mean"][np.asarray(user)],
        "item": p["item_table"]["mean"][np.asarray(item)],
    }
    for name in TOWERS:
        if name in SIDE and name not in model.side:
            continue
        if name not in SIDE and (
            features.history is None or not features.history.width
        ):
            continue
        known = described(features, name, own)
        if seen is not None and name in seen:
            known = seen[name]
        side = "user" if name == "rated" else "item"
        rows[side] = rows[side] + known @ p[f"{name}_tower"]["mean"]
    mine, my_bias = rows["user"][:, :-1], rows["user"][:, -1]
    theirs, their_bias = rows["item"][:, :-1], rows["item"][:, -1]
    stars = p["mean"] + my_bias + their_bias + (mine * theirs).sum(axis=1)
    if model.fc1_dim:
        parts, kernels = [mine, theirs], [p["fc1_user"], p["fc1_item"]]
        bias = 0.0
        if context is not None:
            seen = np.asarray(context, np.float64).copy()
            seen[:, :2] = (seen[:, :2] - [4, 3]) if model.counts else 0.0
            parts, kernels = [*parts, seen], [*kernels, p["fc1_context"]]
            bias = p["fc1_context"]["bias"]
        kernel = np.concatenate([layer["kernel"] for layer in kernels])
        hidden = np.maximum(np.concatenate(parts, axis=1) @ kernel + bias, 0)
        hidden = np.maximum(hidden @ p["fc2"]["kernel"] + p["fc2"]["bias"], 0)
        last = p["output_layer"]
        stars = stars + (hidden @ last["kernel"] + last["bias"])[:, 0]
    return stars / 5


@every
class TestEachKind:
    @pytest.mark.parametrize("known", KNOWN.values(), ids=KNOWN)
    def test_the_forward_pass_equals_the_one_by_hand(self, options, known):
        model = VNCF(**SIZES | options)
        params, pairs = init(model, **known), batch(**known)
        found = run(model, params, *pairs[:3], context=pairs[3])
        assert found.shape == (B,)
        wanted = by_hand(model, params, *pairs)
        np.testing.assert_allclose(found, wanted, rtol=2e-5, atol=2e-6)
        other = by_hand(model, init(model, seed=1, **known), *pairs)
        assert np.abs(found - other).max() > 1e-2  # the control

    @pytest.mark.parametrize("known", KNOWN.values(), ids=KNOWN)
    def test_parameters_have_these_names_and_shapes(self, options, known):
        model = VNCF(**SIZES | options)

        def weights(*shape):
            if model.rows == "point":
                return {"mean": shape}
            return {"mean": shape, "log_sd": shape, "log_prior": shape[1:]}

        wanted = {
            "mean": (),
            "user_table": weights(USERS, D + 1),
            "item_table": weights(ITEMS, D + 1),
        }
        names = [name for name in TOWERS if name in model.side or name not in SIDE]
        if known.get("history") is False or known.get("width") == 0:
            names = model.side
        wanted |= {f"{name}_tower": weights(SEEN[name], D + 1) for name in names}
        if model.fc1_dim:
            wanted |= {
                "fc1_user": {"kernel": (D, 12)},
                "fc1_item": {"kernel": (D, 12)},
                "fc2": {"kernel": (12, 6), "bias": (6,)},
                "output_layer": {"kernel": (6, 1), "bias": (1,)},
            }
            if known.get("context", True):
                wanted |= {"fc1_context": {"kernel": (F, 12), "bias": (12,)}}
        assert jax.tree.map(jnp.shape, init(model, **known)) == wanted

    def test_the_call_is_the_head_of_the_lookup(self, options):
        model = VNCF(**SIZES | options)
        found = pieces(model, init(model), *batch())
        np.testing.assert_array_equal(found["head"], found["whole"])

    def test_the_head_is_the_join_of_its_halves(self, options):
        model = VNCF(**SIZES | options)
        found = pieces(model, init(model), *batch())
        for half in ("mine", "theirs"):
            assert found[half].shape == (B, model.fc1_dim + D + 1)
        np.testing.assert_array_equal(found["join"], found["head"])
        assert np.abs(found["other"] - found["head"]).max() > 1e-2  # the control

    def test_leading_axes_are_free(self, options):
        model = VNCF(**SIZES | options)
        found = pieces(model, init(model), *batch())
        flat = found["shaped"].reshape(-1)
        np.testing.assert_allclose(flat, found["whole"], rtol=1e-5, atol=1e-6)

    def test_tables_are_what_is_behind_the_rows_in_their_order(self, options):
        model = VNCF(**SIZES | options)
        params, (user, item, *_) = init(model), batch()
        tables, rest = divide(model, params)
        assert not {"user_table", "item_table"} & {
            name
            for name, value in rest.items()
            if isinstance(value, dict) and {"mean", "log_sd"} & set(value)
        }
        names = ("mean",) if model.rows == "point" else ("mean", "log_sd")
        found = run(model, params, user, item, method="lookup")
        for side, ids, table, rows in zip(
            ("user", "item"), (user, item), tables, found, strict=True
        ):
            assert tuple(table) == tuple(f"{side}_table/{name}" for name in names)
            for name, row in zip(names, rows, strict=True):
                wanted = params[f"{side}_table"][name][np.asarray(ids)]
                np.testing.assert_array_equal(row, wanted)
                assert (row != wanted[::-1]).any()  # the control


def test_point_rows_without_the_mlp_are_a_factor_model():
    """The formula, written out for one pair."""
    model = VNCF(**SIZES | MODELS["point rows, no MLP"])
    p = init(model)
    user, item, features, context = batch()
    n, h = 3, remembered()
    u = p["user_table"]["mean"][user[n]]
    u = u + h.rated[user[n]] / 9**0.5 @ p["rated_tower"]["mean"]
    i = p["item_table"]["mean"][item[n]]
    i = i + h.raters[item[n]] / 8**0.5 @ p["raters_tower"]["mean"]
    genres = features.genres[n] / max(float(features.genres[n].sum()), 1.0)
    i = i + genres @ p["genres_tower"]["mean"]
    i = i + 3 * features.tags[n] @ p["tags_tower"]["mean"]
    i = i + p["year_tower"]["mean"][7]  # 1979 is of the eighth decade since 1900
    stars = p["mean"] + u[D] + i[D] + u[:D] @ i[:D]
    found = pieces(model, p, user, item, features, context)["whole"]
    np.testing.assert_allclose(found[n] * 5, stars, rtol=1e-5)
    assert np.abs(found * 5 - stars)[np.arange(B) != n].min() > 1e-3  # the control


POINTS, WEIGHTS = np.polynomial.hermite_e.hermegauss(40)


def far(weights, rows=None):
    """Divergences of weights from their priors, each by integrating over its normal."""
    w = {name: np.float64(value) for name, value in weights.items()}
    mean, log_sd = (w[x] if rows is None else w[x][rows] for x in ("mean", "log_sd"))
    log_prior = np.broadcast_to(w["log_prior"], mean.shape)[..., None]
    x = mean[..., None] + np.exp(log_sd)[..., None] * POINTS
    log_ratio = -(POINTS**2) / 2 - log_sd[..., None]
    log_ratio = log_ratio + (x / np.exp(log_prior)) ** 2 / 2 + log_prior
    return (log_ratio * WEIGHTS).sum() / np.sqrt(2 * np.pi)


@functools.cache
def counted_world(width=3):
    dataset, split = counted.world(0)
    data = with_statistics(dataset, split, history=width).interactions(split.train)
    return jax.tree.map(jnp.asarray, data)


class TestPenalty:
    """On a world whose every row is an example of one epoch."""

    def sums(self, rows="variational", width=3, **changed):
        """Penalties of an epoch's examples, summed, and what they are of."""
        data = counted_world(width)
        model = VNCF(counted.USERS, counted.ITEMS, side=SIDE, fc1_dim=0, rows=rows)
        features = data.features.rows(data.item, data.user)
        leaves, tree = jax.tree.flatten(
            jax.eval_shape(
                lambda: model.init(jax.random.key(0), data.user, data.item, features)
            )
        )
        numbers = np.random.default_rng(3)
        params = jax.tree.unflatten(
            tree, [np.float32(0.3 * numbers.normal(size=x.shape)) for x in leaves]
        )["params"]
        found = run(model, params, data.user, data.item, method="lookup")
        extra = run(model, params, found, features.replace(**changed), method="penalty")
        assert extra.shape == data.user.shape
        return extra, params, data

    def by_hand(self, params, data):
        total = sum(
            far(params[f"{side}_table"], np.unique(ids))
            for side, ids in (("user", data.user), ("item", data.item))
        )
        return total + sum(
            far(value) for name, value in params.items() if name.endswith("_tower")
        )

    @pytest.mark.parametrize("width", [3, 0])
    def test_rows_with_ratings_and_towers_are_counted_once_an_epoch(self, width):
        extra, params, data = self.sums(width=width)
        assert ("rated_tower" in params) == ("raters_tower" in params) == bool(width)
        wanted = 0.6 * self.by_hand(params, data) / 25
        np.testing.assert_allclose(extra.sum(), wanted, rtol=1e-5)
        for name, value in params.items():  # the controls: each part counts
            if isinstance(value, dict):
                moved = params | {name: value | {"log_prior": value["log_prior"] + 0.5}}
                other = 0.6 * self.by_hand(moved, data) / 25
                assert abs(other / wanted - 1) > 1e-4

    def test_each_example_pays_its_share(self):
        extra, params, data = self.sums()
        towers = sum(far(w) for name, w in params.items() if name.endswith("_tower"))
        user, item = (np.asarray(ids).tolist() for ids in (data.user, data.item))
        wanted = []
        for u, i in zip(user, item, strict=True):
            rows = far(params["user_table"], [u]) / user.count(u)
            rows += far(params["item_table"], [i]) / item.count(i)
            wanted.append(0.6 * (rows + towers / len(user)) / 25)
        np.testing.assert_allclose(extra, wanted, rtol=1e-5)
        assert np.abs(extra - np.array(wanted)[::-1]).max() > 1e-3  # the control

    def test_of_point_rows_it_is_the_squares_of_each_example_s(self):
        extra, params, data = self.sums(rows="point")
        user, item = (
            np.float64(params[f"{side}_table"]["mean"])[np.asarray(ids)]
            for side, ids in (("user", data.user), ("item", data.item))
        )
        wanted = 0.6 * ((user**2).sum(axis=1) + (item**2).sum(axis=1)) / 25
        np.testing.assert_allclose(extra, wanted, rtol=1e-5)
        assert np.abs(extra - wanted[::-1]).max() > 1e-3  # the control
        without = self.sums(rows="point", history=None)[0]
        np.testing.assert_array_equal(without, extra)

    def test_distributions_without_histories_are_refused_in_words(self):
        with pytest.raises(ConfigError, match=r"with_statistics.* or use --rows=point"):
            self.sums(history=None)

    def test_it_is_what_all_models_share_asks_for(self):
        model = VNCF(**SIZES, side=SIDE, row_penalty=0.6)
        params, (user, item, features, _) = init(model), batch()
        rows = run(model, params, user, item, method="lookup")
        once, double = (
            jax.jit(apply_penalty, static_argnums=0, compiler_options=QUICK)(
                m, params, rows, features
            )
            for m in (model, dataclasses.replace(model, row_penalty=1.2))
        )
        np.testing.assert_allclose(double, 2 * once, rtol=1e-6)
        found = run(model, params, rows, features, method="penalty")
        np.testing.assert_allclose(once, found, rtol=1e-5)


def only(params, names, rest=-30.0):
    """The parameters, of which none but `names` are drawn from any width."""
    return {
        name: value | {"log_sd": np.full_like(value["log_sd"], rest)}
        if isinstance(value, dict) and "log_sd" in value and name not in names
        else value
        for name, value in params.items()
    }


DRAWN = ("user_table", "item_table", *(f"{name}_tower" for name in TOWERS))


class TestDraw:
    def apply(self, key, train=True, names=DRAWN, pairs=None, **options):
        model = VNCF(**SIZES | dict(side=SIDE) | options)
        *ids, context = batch() if pairs is None else pairs
        params = init(model)
        if model.rows == "variational":
            params = only(params, names)
        key = jax.random.key(key)
        return run(model, params, *ids, context=context, train=train, key=key)

    def test_in_training_it_depends_on_the_key_alone(self):
        np.testing.assert_array_equal(self.apply(0), self.apply(0))
        assert (self.apply(0) != self.apply(1)).all()

    def test_judged_it_does_not(self):
        one, other = (self.apply(key, train=False) for key in (0, 1))
        np.testing.assert_array_equal(one, other)
        assert (self.apply(0) != one).all()  # the control

    @pytest.mark.parametrize("name", DRAWN)
    def test_each_table_and_tower_is_drawn_in_training_and_no_other_weight(self, name):
        model, pairs = VNCF(**SIZES, side=SIDE), batch()
        wanted = by_hand(model, init(model), *pairs, own=True)
        still = self.apply(0, names=())
        np.testing.assert_allclose(still, wanted, rtol=2e-5, atol=2e-6)
        one, other = (self.apply(key, names=(name,)) for key in (0, 1))
        moved = np.abs(one - still) > 1e-4
        if name == "year_tower":
            assert not moved[0], "of no known year"
        assert moved.sum() >= 3
        assert np.abs(one - other).max() > 1e-3

    @pytest.mark.parametrize("name", DRAWN)
    def test_rows_are_drawn_for_each_example_and_towers_once_for_all(self, name):
        pairs = jax.tree.map(lambda x: x[jnp.full(B, 3)] if x.ndim else x, batch())
        found = self.apply(0, names=(name,), pairs=pairs)
        if name.endswith("_tower"):
            np.testing.assert_allclose(found, found[:1].repeat(B), rtol=1e-6)
        else:
            assert len(np.unique(np.round(found, 5))) == B
        still = self.apply(0, names=(), pairs=pairs)
        assert np.abs(found - still).min() > 1e-5  # the control: all are drawn

    def test_draws_have_the_distributions_of_both_rows_and_are_independent(self):
        """Of a factor model the mean and variance of predictions are known."""
        number = 40_000
        model = VNCF(**SIZES | dict(side=(), fc1_dim=0))
        params = init(model, history=False)
        user, item = (jnp.full(number, n) for n in (2, 3))
        features = ItemFeatures(genres=jnp.zeros((number, 0)), tags=None)
        key = jax.random.key(7)
        found = run(model, params, user, item, features, train=True, key=key) * 5
        (u, us), (i, ins) = (
            (np.float64(t["mean"][n]), np.exp(2 * np.float64(t["log_sd"][n])))
            for t, n in ((params["user_table"], 2), (params["item_table"], 3))
        )
        mean = params["mean"] + u[D] + i[D] + u[:D] @ i[:D]
        each = u**2 * ins + i**2 * us + us * ins
        variance = us[D] + ins[D] + each[:D].sum()
        assert abs(found.mean() - mean) < 5 * np.sqrt(variance / number)
        assert abs(found.var() / variance - 1) < 5 * np.sqrt(8 / number)
        # The control: if both rows had the same noise, the product would be larger.
        same = np.sqrt(us[:D] * ins[:D]).sum()
        assert same > 50 * np.sqrt(variance / number)

    @pytest.mark.parametrize("train", [True, False])
    def test_gradients_reach_deviations_only_if_they_are_drawn(self, train):
        model, (*ids, context) = VNCF(**SIZES, side=SIDE), batch()
        key = jax.random.key(0)

        def total(params):
            known = dict(context=context, train=train, rngs={"dropout": key})
            return jnp.sum(model.apply({"params": params}, *ids, **known))

        slope = jax.jit(jax.grad(total), compiler_options=QUICK)(init(model))
        for name in DRAWN:
            assert slope[name]["log_sd"].any() == train, name
            assert slope[name]["mean"].any(), name  # the control
            assert not slope[name]["log_prior"].any(), "it is a thing of the penalty"

    def test_point_rows_are_not_drawn(self):
        one, other = (self.apply(key, rows="point") for key in (0, 1))
        np.testing.assert_array_equal(one, other)

    def test_but_their_units_are_dropped(self):
        one, other = (self.apply(key, rows="point", dropout_rate=0.5) for key in (0, 1))
        assert (one != other).any()

    def test_without_the_mlp_nothing_is_dropped(self):
        point = dict(rows="point", dropout_rate=0.5, fc1_dim=0)
        np.testing.assert_array_equal(self.apply(0, **point), self.apply(1, **point))


class TestOwnHistory:
    """A training row is no part of what its user has rated and who rated its item."""

    def left_out(self, dataset, rows, history):
        """Histories of each row by loops over all the other rows."""
        found = {"rated": [], "raters": []}
        for row in rows:
            user, item = dataset.user[row], dataset.item[row]
            rest = [n for n in rows if n != row]
            items = [dataset.item[n] for n in rest if dataset.user[n] == user]
            users = [dataset.user[n] for n in rest if dataset.item[n] == item]
            for name, basis, others in (
                ("rated", history.item_basis, items),
                ("raters", history.user_basis, users),
            ):
                total = sum((np.float64(basis[n]) for n in others), np.zeros(3))
                found[name].append(total / max(len(others), 1) ** 0.5)
        return {name: np.array(value) for name, value in found.items()}

    def test_training_leaves_the_pair_out_of_both_and_judging_does_not(self):
        dataset, split = counted.world(0)
        data = with_statistics(dataset, split, history=3)
        rows = split.train
        user, item = jnp.array(data.user[rows]), jnp.array(data.item[rows])
        whole = jax.tree.map(jnp.asarray, data.features.alone())
        features, context = whole.rows(item, user), jnp.array(data.context[rows])
        model = VNCF(counted.USERS, counted.ITEMS, side=SIDE, rows="point")
        shapes = jax.eval_shape(
            lambda: model.init(jax.random.key(0), user, item, features, context=context)
        )["params"]
        numbers = np.random.default_rng(4)
        params = jax.tree.map(
            lambda x: np.float32(0.2 * numbers.normal(size=x.shape)), shapes
        )
        pairs = user, item, features, context
        seen = self.left_out(dataset, rows, data.features.history)
        alone = by_hand(model, params, *pairs, seen=seen)
        among = by_hand(model, params, *pairs)
        known = dict(context=context, key=jax.random.key(0))
        trained = run(model, params, *pairs[:3], **known, train=True)
        judged = run(model, params, *pairs[:3], **known, train=False)
        np.testing.assert_allclose(trained, alone, rtol=2e-5, atol=2e-6)
        np.testing.assert_allclose(judged, among, rtol=2e-5, atol=2e-6)
        assert (np.abs(alone - among) > 1e-4).all()  # the control, of every row
        for name in seen:  # and of both histories
            half = by_hand(model, params, *pairs, seen={name: seen[name]})
            assert (np.abs(half - alone) > 1e-5).mean() > 0.9


@functools.cache
def first(rows):
    """Parameters at first."""
    model = VNCF(**SIZES, side=SIDE, rows=rows)
    *ids, context = batch()
    start = jax.jit(
        lambda key: model.init(key, *ids, context=context)["params"],
        compiler_options=QUICK,
    )
    return start(jax.random.key(0))


class TestStart:
    def params(self, rows="variational"):
        return first(rows)

    def test_items_start_at_nothing_so_that_a_new_one_is_its_features(self):
        assert not self.params()["item_table"]["mean"].any()

    def test_other_weights_start_near_nothing_and_biases_at_it(self):
        params = self.params()
        assert params["mean"] == 3.5
        others = [name for name in DRAWN if name != "item_table"]
        for name in others:
            mean = params[name]["mean"]
            assert not mean[:, -1].any()
            assert (mean[:, :-1] != 0).all()
            assert np.abs(mean).max() < 0.25
        means = [params[name]["mean"][0, 0] for name in others]
        assert len(set(map(float, means))) == len(others), "each has numbers of its own"

    def test_weights_start_narrower_than_their_priors(self):
        params = self.params()
        for name in DRAWN:
            np.testing.assert_allclose(np.exp(params[name]["log_sd"]), 0.1, rtol=1e-6)
            prior = np.exp(params[name]["log_prior"])
            np.testing.assert_allclose(prior, 0.3, rtol=1e-6)

    def test_points_start_as_the_means_of_distributions(self):
        point, whole = self.params(rows="point"), self.params()
        for name in DRAWN:
            assert set(point[name]) == {"mean"}
            np.testing.assert_array_equal(point[name]["mean"], whole[name]["mean"])


SMALL = dict(
    model="vncf",
    epochs=1,
    batch_size=256,
    embedding_dim=4,
    fc1_dim=8,
    fc2_dim=4,
    history=3,
    dropout=0.1,
    learning_rate=1e-2,
)
PARTS = {}  # of each configuration its compiled functions


def compiled(config, model, data, number):
    """Start and epoch; a second training of the same shapes compiles nothing."""
    if (config, model, number) not in PARTS:
        features = jax.tree.map(jnp.asarray, data.features)
        learner = ncf_jax.learner_of(config, model, features, num_rows=number)
        PARTS[config, model, number] = (
            jax.jit(learner.init, compiler_options=QUICK),
            jax.jit(lambda *given: learner.epoch(*given), compiler_options=QUICK),
        )
    return PARTS[config, model, number]


def trained(dataset, split, **options):
    """Model, parameters before and after an epoch [1, ...], and data with contexts."""
    config = Config(**TINY | SMALL | options)
    data = with_context(config, dataset, split)
    model = make_model(config, data)
    init, epoch = compiled(config, model, data, len(split.train))
    key = jax.random.key(0)
    state = init(key)
    train = jax.tree.map(jnp.asarray, data.interactions(split.train))
    after, losses = epoch(state, train, key)
    assert np.isfinite(losses).all()
    start, end = (
        jax.tree.map(lambda x: np.array(x)[None], x.params) for x in (state, after)
    )
    return model, start, end, data


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
    "no statistics, no histories": dict(
        statistics=(), history=0, table_update="catch_up"
    ),
    "genres and means, all times": dict(
        side=("genres",), statistics=("means",), time="both"
    ),
    "point rows": dict(rows="point", row_penalty=0.02, table_update="lazy"),
    "no MLP": dict(fc1_dim=0),
}


@pytest.fixture(scope="module", params=SWITCHES)
def switched(request, tiny_dataset, tiny_split):
    """One epoch with each switch thrown."""
    options = SWITCHES[request.param]
    config = Config(**TINY | SMALL | options)
    return config, *trained(tiny_dataset, tiny_split, **options)


class TestSwitches:
    def test_the_network_learns(self, switched, tiny_split):
        _, model, start, params, data = switched
        assert all(np.isfinite(x).all() for x in jax.tree.leaves(params))
        assert np.isfinite(stars(model, params, data, tiny_split.valid)).all()
        rows = tiny_split.train
        before, after = (
            np.sqrt(np.mean((stars(model, x, data, rows) - data.rating[rows]) ** 2))
            for x in (start, params)
        )
        assert after < data.rating[rows].std() * 1.05
        assert after < before
        assert params["item_table"]["mean"].any()

    def test_towers_are_those_of_side_and_history(self, switched, tiny_split):
        config, model, _, params, data = switched
        wanted = {*config.side, *(("rated", "raters") if config.history else ())}
        for name in TOWERS:
            assert (f"{name}_tower" in params) == (name in wanted)
        known, history = data.features, data.features.history
        others = {
            "genres": known.replace(genres=1 - known.genres),
            "tags": known.replace(tags=known.tags + 1),
            "year": known.replace(year=known.year + 10),
            "rated": known.replace(history=history.replace(rated=-history.rated)),
            "raters": known.replace(history=history.replace(raters=-history.raters)),
        }
        before = stars(model, params, data, tiny_split.test)
        for name, features in others.items():
            after = stars(model, params, data, tiny_split.test, features)
            assert (before != after).any() == (name in wanted), name

    def test_contexts_are_those_of_statistics_and_time(self, switched, tiny_split):
        config, model, _, params, data = switched
        widths = {"means": 2, "content": 3}
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

    def test_weights_are_distributions_or_points(self, switched):
        config, model, start, params, _ = switched
        sure = config.rows == "point"
        names = {"mean"} if sure else {"mean", "log_sd", "log_prior"}
        for name in DRAWN:
            if name not in params:
                continue
            assert set(params[name]) == names
            for part, value in params[name].items():  # they have moved
                assert (value != start[name][part]).any(), (name, part)
        tables = divide(model, jax.tree.map(lambda x: x[0], params))[0]
        assert len(tables[0]) == len(tables[1]) == (1 if sure else 2)

    def test_the_mlp_is_there_or_not(self, switched):
        config, _, _, params, _ = switched
        layers = {"fc1_user", "fc1_item", "fc1_context", "fc2", "output_layer"}
        assert layers & set(params) == (layers if config.fc1_dim else set())

    def test_a_catalogue_s_scores_are_predictions_of_pairs_with_all_that_is_known(
        self, switched
    ):
        config, model, _, params, data = switched
        users = np.array([3, 0, 11])
        found = ncf_jax.score_catalogue(model, params, users, data.features)
        assert found.shape == (1, 3, data.num_items)
        found = found.reshape(1, -1)
        user, item = (
            x.reshape(-1)
            for x in np.meshgrid(users, np.arange(data.num_items), indexing="ij")
        )
        context = np.asarray(data.features.statistics.of_users(users))
        context = context.reshape(len(user), -1)

        def by_pairs(features, context):
            return ncf_jax.predict(model, params, user, item, features, context=context)

        wanted = by_pairs(data.features, context)
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)
        # The controls: another user, other histories, other contexts.
        assert np.abs(found - np.roll(wanted, data.num_items)).max() > 1e-3
        history = jax.tree.map(np.zeros_like, data.features.history)
        other = by_pairs(data.features.replace(history=history), context)
        assert (np.abs(found - other).max() > 1e-3) == bool(config.history)
        other = by_pairs(data.features, context[::-1])
        reads = bool(config.fc1_dim and config.statistics)
        assert (np.abs(found - other).max() > 1e-3) == reads


class TestColdItems:
    COLD = (4, 17)

    def split(self, dataset, split):
        """The split with all rows of two items moved to test."""
        cold = np.isin(dataset.item, self.COLD)
        train, valid = (rows[~cold[rows]] for rows in (split.train, split.valid))
        rest = np.setdiff1d(np.arange(len(cold)), np.concatenate([train, valid]))
        return divided(train, valid, rest)

    @pytest.mark.parametrize(
        "options",
        [dict(table_update="dense"), dict(table_update="lazy", fc1_dim=0)],
        ids=["dense", "lazy, no MLP"],
    )
    def test_they_keep_a_row_of_nothing_and_are_scored_from_features(
        self, tiny_dataset, tiny_split, options
    ):
        split = self.split(tiny_dataset, tiny_split)
        model, _, params, data = trained(
            tiny_dataset, split, weight_decay=1e-3, **options
        )
        cold, means = np.array(self.COLD), params["item_table"]["mean"][0]
        assert not means[cold].any()
        warm = np.unique(data.item[split.train])
        assert means[warm].any(axis=1).all()  # the control
        assert not data.features.history.raters[cold].any()
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
        return trained(dataset, split, time="both")[2]

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
        user, item, features, context = batch()
        features = features.replace(year=None)

        def shapes(side):
            model, key = VNCF(**SIZES, side=side), jax.random.key(0)
            return jax.eval_shape(
                lambda: model.init(key, user, item, features, context=context)
            )

        with pytest.raises(ConfigError, match=r"leave year out of --side\.") as caught:
            shapes(("genres", "year"))
        assert "\n" not in str(caught.value)
        assert shapes(("genres",))  # the control

    def test_a_context_that_is_not_there_is_asked_for_in_a_sentence(self):
        model = VNCF(**SIZES, side=SIDE)
        user, item, features, context = batch()
        with pytest.raises(ConfigError, match=r"counting\.with_statistics") as caught:
            apply(model, init(model), user, item, features)
        assert "\n" not in str(caught.value)
        call = jax.jit(apply, static_argnums=0, compiler_options=QUICK)
        found = call(model, init(model), user, item, features, context=context)
        assert found.shape == (B,)  # the control


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
    other = dataclasses.replace(config, statistics=("means",))
    assert vncf.build(other, tiny_dataset).counts


@pytest.mark.parametrize("time", ["none", "past"])
def test_prepare_counts_what_the_options_ask_for(time):
    dataset, split = counted.world(0)
    config = Config(model="vncf", statistics=("content",), history=4, time=time)
    how = dict(parts=("content",), history=4, time=time)
    found = vncf.prepare(config, dataset, split)
    wanted = with_statistics(dataset, split, **how)
    for one, other in (
        (found.context, wanted.context),
        (found.features, wanted.features),
    ):
        jax.tree.map(np.testing.assert_array_equal, one, other)
    assert found.features.history.width == 4
    # The controls: of any other option it would differ.
    fewer, wider, timed = (
        with_statistics(dataset, split, **how | change)
        for change in (dict(parts=()), dict(history=5), dict(time="both"))
    )
    assert fewer.context.shape != found.context.shape
    assert wider.features.history.width != found.features.history.width
    assert not np.array_equal(timed.context, found.context)


@pytest.mark.parametrize(
    ("side", "statistics", "wanted"),
    [
        (SIDE, ("means", "content"), True),
        (("tags",), (), True),
        (("genres", "year"), ("content",), True),
        (("genres", "year"), ("means",), False),
        ((), (), False),
    ],
)
def test_tags_are_used_by_their_tower_or_by_the_content(side, statistics, wanted):
    config = Config(model="vncf", side=side, statistics=statistics)
    assert vncf.uses_tags(config) is wanted


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
