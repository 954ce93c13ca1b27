"""float32 against float64, and bfloat16 against float32, with tolerances that are said.

Gradients of each model's loss in float32 are those in float64, and those in float64 are
differences of the loss itself; figures of metrics are those of float64, of many rows
too; bfloat16 products change predictions by hundredths of a star at most, and are in
the program that is run. How near all that is, is said below, with what was measured.
"""

import contextlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ncf_jax import batching, catalogue, foldin, models
from ncf_jax.config import Config
from ncf_jax.evaluate import predict
from ncf_jax.judge import evaluate_scores
from ncf_jax.losses import LOSSES
from ncf_jax.metrics import rating
from ncf_jax.models.baselines import Bias
from ncf_jax.types import RATING_MAX
from tests.metrics import oracles
from tests.test_fitting import same, train

# A gradient in float32 from that in float64, of its array's largest number. A unit of
# float32 is 6e-8, and a number is a sum over 128 examples. Measured: 9e-7 at most.
GRADIENT = 3e-6
# A central difference of width 2h has an error of h² and one of rounding, 1e-16 / h;
# of the largest slope. Measured: 1.3e-10 at most.
STEP, DIFFERENCE = 1e-6, 1e-9
# Of eight directions as many may lead over a kink of a ReLU within h, where a
# difference is no slope. Measured: one in fifty at most.
KINKS = 2
METRIC = 1e-6  # on a scale of 0 to 1, and in stars
# Stars of one set of parameters with products in bfloat16, whose unit is 4e-3.
# Measured: 0.014 at most, of 3 seeds of ncf_tags.flags and 2 of best.flags, the root of
# the mean square being 0.002.
STARS = 0.04

KINDS = {
    "ncf": dict(model="ncf"),
    "ncf, huber": dict(model="ncf", loss="huber"),
    "vncf": dict(model="vncf"),
    "vncf, points": dict(model="vncf", rows="point"),
    "vncf, no MLP": dict(model="vncf", fc1_dim=0),
}


@contextlib.contextmanager
def double():
    with jax.enable_x64(True):
        yield


def cast(tree, dtype):
    def each(x):
        x = np.asarray(x)
        return jnp.asarray(x, dtype) if np.issubdtype(x.dtype, np.floating) else x

    return jax.tree.map(each, tree)


class Problem:
    """A model, parameters that have been trained a little, and 128 examples."""

    def __init__(self, dataset, split, **options):
        state, self.model, dataset, _, _ = train(dataset, split, epochs=1, **options)
        self.loss = LOSSES[options.get("loss", "mse")]
        self.params = jax.tree.map(lambda x: np.asarray(x[0]), state.params)
        rows = dataset.interactions(split.train)
        batch = batching.take(rows, jnp.arange(128), jnp.ones(128))
        self.batch = jax.tree.map(np.asarray, batch)

    def value(self, params, batch, key):
        """What a step makes small, in the precision of its arguments: []."""
        found = models.apply(
            self.model,
            params,
            batch.user,
            batch.item,
            batch.features,
            context=batch.context,
            dropout_key=key,
        )
        total = self.loss(found, batch.rating / RATING_MAX)
        if hasattr(self.model, "penalty"):
            rows = models.lookup(self.model, params, batch.user, batch.item)
            extra = models.apply_penalty(self.model, params, rows, batch.features)
            total = total + extra
        return jnp.mean(total)

    def gradient(self, dtype, of=None):
        key = jax.random.key(3)
        slope = jax.jit(jax.grad(of or self.value))
        found = slope(cast(self.params, dtype), cast(self.batch, dtype), key)
        assert {x.dtype for x in jax.tree.leaves(found)} == {jnp.dtype(dtype)}
        return jax.tree.map(np.asarray, found)


def apart(one, other):
    """The largest difference of two gradients, of each array's largest number."""
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return max(
        float(np.abs(a.astype(np.float64) - b).max() / max(np.abs(b).max(), 1e-9))
        for a, b in pairs
    )


@pytest.fixture(scope="module", params=KINDS)
def problem(request, tiny_dataset, tiny_split):
    return Problem(tiny_dataset, tiny_split, **KINDS[request.param])


def test_gradients_in_float32_are_those_in_float64(problem):
    single = problem.gradient(np.float32)
    with double():
        wanted = problem.gradient(np.float64)
    found = apart(single, wanted)
    assert 0 < found < GRADIENT, f"{found:.2e}"


def test_a_wrong_gradient_is_found(tiny_dataset, tiny_split):
    problem = Problem(tiny_dataset, tiny_split, **KINDS["ncf"])

    @jax.custom_vjp
    def wrong(x):
        return x

    wrong.defvjp(lambda x: (x, None), lambda _, slope: (slope * (1 + 1e-4),))

    def value(params, batch, key):
        layer = params["fc2"] | {"kernel": wrong(params["fc2"]["kernel"])}
        return problem.value(params | {"fc2": layer}, batch, key)

    single = problem.gradient(np.float32, value)
    with double():
        assert apart(single, problem.gradient(np.float64)) > 10 * GRADIENT
        assert worst(slopes(problem, problem.gradient(np.float64, value))) > (
            10 * DIFFERENCE
        )


def slopes(problem, gradient, directions=8):
    """Of random directions: the gradient's slope, and the loss's own difference."""
    rng = np.random.default_rng(0)
    batch, key = cast(problem.batch, np.float64), jax.random.key(3)
    value = jax.jit(problem.value)
    start = cast(problem.params, np.float64)
    found = []
    for _ in range(directions):
        way = jax.tree.map(lambda x: rng.normal(size=x.shape), gradient)
        there, back = (
            value(
                jax.tree.map(lambda x, d, s=s: x + s * STEP * d, start, way), batch, key
            )
            for s in (1, -1)
        )
        along = sum(
            float((g * d).sum())
            for g, d in zip(
                jax.tree.leaves(gradient), jax.tree.leaves(way), strict=True
            )
        )
        found.append((along, float(there - back) / (2 * STEP)))
    return found


def worst(found):
    """The largest error but those that a kink may explain, of the largest slope."""
    size = max(abs(slope) for slope, _ in found)
    return sorted(abs(a - b) / size for a, b in found)[-1 - KINKS]


def test_gradients_in_float64_are_differences_of_the_loss(problem):
    with double():
        found = worst(slopes(problem, problem.gradient(np.float64)))
    assert found < DIFFERENCE, f"{found:.2e}"


def test_a_closed_form_in_float32_is_that_in_float64(tiny_dataset, tiny_split):
    rows = tiny_dataset.interactions(tiny_split.train)
    number = len(rows.user)
    model = Bias(tiny_dataset.num_users, tiny_dataset.num_items)
    start = {"mean": 0.0, "user_bias": np.zeros(40), "item_bias": np.zeros(60)}
    start["item_bias"] = np.zeros(tiny_dataset.num_items)
    found = {}
    for dtype in (np.float32, np.float64):
        with double():
            batch = batching.take(
                cast(rows, dtype), jnp.arange(number), jnp.ones(number, dtype)
            )
            found[dtype] = jax.tree.map(
                np.asarray, model.solve(cast(start, dtype), batch)
            )
    single = found[np.float32]
    assert {x.dtype for x in jax.tree.leaves(single)} == {np.dtype(np.float32)}
    assert 0 < apart(single, found[np.float64]) < GRADIENT


ROWS = 200_000


def test_figures_of_many_rows_are_those_of_float64():
    rng = np.random.default_rng(0)
    truth = (rng.integers(1, 11, ROWS) / 2).astype(np.float32)
    found = (3.5 + rng.normal(size=ROWS)).astype(np.float32)
    exact = figures(found, truth)
    for name, wanted in exact.items():
        of = getattr(rating, name)
        value = of(jnp.asarray(found), jnp.asarray(truth))
        assert value.dtype == jnp.float32
        assert abs(float(value) - wanted) < METRIC, name
    # The control: rows added one after the other in float32 drift.
    one_by_one = np.cumsum((found - truth) ** 2, dtype=np.float32)[-1] / ROWS
    assert abs(one_by_one**0.5 - exact["rmse"]) > 10 * METRIC


def figures(found, truth):
    """RMSE, MAE and R² by their books, in float64."""
    found, truth = found.astype(np.float64), truth.astype(np.float64)
    squared = (found - truth) ** 2
    return {
        "rmse": np.sqrt(squared.mean()),
        "mae": np.abs(found - truth).mean(),
        "r2": 1 - squared.sum() / ((truth - truth.mean()) ** 2).sum(),
    }


def test_an_evaluation_of_many_rows_is_that_of_float64():
    rng = np.random.default_rng(0)
    users, items = 200, ROWS // 200
    user, item = np.divmod(np.arange(ROWS), items)
    truth = (rng.integers(1, 11, ROWS) / 2).astype(np.float32)
    scores_UxI = oracles.distinct(rng, users, items) / 30
    found = scores_UxI.astype(np.float32).reshape(1, -1)
    assert len(np.unique(found[0, :items])) == items
    dataset = oracles.world(user, item, truth, users=users, items=items)
    out = evaluate_scores(found, dataset, np.arange(ROWS), k=(10, 300))
    for name, wanted in figures(found[0], truth).items():
        assert out.metrics[name].mean == pytest.approx(wanted, abs=1e-11), name
    order = np.argsort(-scores_UxI, axis=1)
    hits = np.take_along_axis(truth.reshape(users, items) >= 4.0, order, axis=1)
    checked = 0
    for name in ("precision", "recall", "hit_rate", "mrr", "map", "ndcg"):
        for k in (10, 300):
            wanted = oracles.by_order(f"standard/{name}", hits, k).mean()
            assert abs(out.metrics[f"{name}@{k}"].mean - wanted) < METRIC, (name, k)
            other = oracles.by_order(f"standard/{name}", hits, k + 1).mean()
            checked += abs(other - wanted) > 10 * METRIC
    assert checked >= 8, "any cut-off would do"


BOTH = {"ncf": dict(model="ncf"), "vncf": dict(model="vncf")}
HALF = dict(compute_dtype="bfloat16")


@pytest.fixture(scope="module", params=BOTH)
def half(request, tiny_dataset, tiny_split):
    """Options, and the same run with products in bfloat16 and in float32."""
    options = BOTH[request.param]
    runs = [train(tiny_dataset, tiny_split, **options, **more) for more in (HALF, {})]
    return options, *runs


def products(run, tiny_split):
    """The types of the matrix products of a step's loss and its gradient."""
    state, _, dataset, learner, _ = run
    batch = batching.take(
        dataset.interactions(tiny_split.train), jnp.arange(64), jnp.ones(64)
    )
    one = jax.tree.map(lambda x: x[0], state)
    text = str(jax.make_jaxpr(learner.step)(one, batch, jax.random.key(0)))
    return re.findall(r":(\w+)\[[^=]*\] = dot_general", text)


class TestBfloat16:
    def test_the_products_are_in_it_but_for_the_last_and_the_towers(
        self, half, tiny_split
    ):
        _, low, full = half
        kinds = products(low, tiny_split)
        # Five dense layers of ncf, four of vncf; forwards, and back to their weights.
        assert kinds.count("bf16") >= 2 * 4
        assert kinds.count("f32") >= 2
        assert set(products(full, tiny_split)) == {"f32"}, "the control"

    def test_what_is_kept_is_float32_and_what_was_trained_differs(self, half):
        _, low, full = half
        for run in (low, full):
            kinds = {x.dtype for x in jax.tree.leaves(run[0])}
            assert kinds == {jnp.dtype("float32"), jnp.dtype("int32")}
        assert not same(low[0], full[0])
        assert np.isfinite(low[4]).all()
        np.testing.assert_allclose(low[4], full[4], rtol=0.02)

    def test_predictions_of_the_same_parameters_agree_to_hundredths(
        self, half, tiny_split
    ):
        _, low, full = half
        stars = []
        for model in (low[1], full[1]):
            data = full[2].interactions(tiny_split.test)
            context = {"context": data.context}
            ids = data.user, data.item
            stars.append(predict(model, full[0].params, *ids, data.features, **context))
        assert {x.dtype for x in stars} == {np.dtype(np.float32)}
        off = np.abs(stars[0] - stars[1]).max()
        assert 1e-5 < off < STARS, f"{off:.4f}"
        # They are not rounded themselves, which would tie what is to be ranked.
        rounded = (stars[0] / RATING_MAX).astype(jnp.bfloat16).astype(np.float32)
        assert (np.abs(rounded * RATING_MAX - stars[0]) > 1e-5).mean() > 0.5
        assert len(np.unique(stars[0])) == len(np.unique(stars[1]))

    def test_a_catalogue_and_a_new_user_are_scored_likewise(self, half, tiny_split):
        _, low, full = half
        dataset, params = full[2], full[0].params
        user = np.arange(3, dtype=np.int32)
        item, stars = np.array([1, 5, 7]), np.array([4.0, 2.0, 5.0], np.float32)
        features = jax.tree.map(jnp.asarray, dataset.features)
        found = [
            (
                np.asarray(
                    catalogue.score_catalogue(
                        model, params, jnp.asarray(user), features
                    )
                ),
                foldin.fold_in(model, params, dataset, item, stars),
            )
            for model in (low[1], full[1])
        ]
        for ours, theirs in zip(*found, strict=True):
            assert ours.dtype == np.float32
            assert 1e-5 < np.abs(ours - theirs).max() < 2 * STARS

    @pytest.mark.parametrize(
        "options",
        [
            dict(table_update="lazy"),
            dict(model="vncf", table_update="catch_up"),
            dict(batch_parts=8),
        ],
        ids=str,
    )
    def test_other_updates_take_it(self, tiny_dataset, tiny_split, options):
        *_, losses = train(tiny_dataset, tiny_split, epochs=2, **options, **HALF)
        *_, wanted = train(tiny_dataset, tiny_split, epochs=2, **options)
        assert (losses != wanted).any()
        np.testing.assert_allclose(losses, wanted, rtol=0.02)

    def test_by_parts_bits_do_not_depend_on_devices(self, tiny_dataset, tiny_split):
        options = dict(epochs=1, batch_parts=8, **HALF)
        one = train(tiny_dataset, tiny_split, **options)[0]
        eight = train(tiny_dataset, tiny_split, "data:4,table:2", **options)[0]
        assert same(one, eight)

    def test_a_run_of_before_there_was_a_choice_is_one_of_float32(self):
        stored = {"model": "vncf", "fc1_dim": 16}
        assert Config(**stored).compute_dtype == "float32"
