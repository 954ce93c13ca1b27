"""Rating metrics are the textbook's (R4): equal to scikit-learn, to sums that add up
over blocks, blind to what the mask hides, and NaN where they are not defined."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score

from ncf_jax.metrics import DEFINITIONS, RATING, rating

METRICS = {"rmse": rating.rmse, "mae": rating.mae, "r2": rating.r2}
ORACLES = {
    "rmse": lambda prediction, truth: mean_squared_error(truth, prediction) ** 0.5,
    "mae": lambda prediction, truth: mean_absolute_error(truth, prediction),
    "r2": lambda prediction, truth: r2_score(truth, prediction),
}
each_metric = pytest.mark.parametrize("name", METRICS)


def half_stars(rng, *shape):
    return (rng.integers(1, 11, shape) / 2).astype(np.float32)


def noisy(rng, truth, noise):
    return (truth + rng.normal(0, noise, truth.shape)).astype(np.float32)


def random_rows(noise, *shape, seed=0):
    rng = np.random.default_rng(seed)
    truth = half_stars(rng, *shape)
    return noisy(rng, truth, noise), truth


@each_metric
@pytest.mark.parametrize(
    ("rows", "noise"),
    [(2, 0.5), (10, 0.9), (500, 0.9), (500, 1e-3), (500, 20.0), (12_447, 0.9)],
)
def test_a_metric_equals_scikit_learn(name, rows, noise):
    prediction, truth = random_rows(noise, rows, seed=rows)
    expected = ORACLES[name](prediction.astype(np.float64), truth.astype(np.float64))
    np.testing.assert_allclose(METRICS[name](prediction, truth), expected, rtol=1e-5)


@each_metric
def test_one_other_prediction_gives_another_value(name):
    prediction, truth = random_rows(0.9, 50)
    other = prediction.copy()
    other[7] += 1
    assert METRICS[name](other, truth) != METRICS[name](prediction, truth)


def test_the_formulas_on_four_rows_by_hand():
    prediction = jnp.array([4.0, 2.0, 3.5, 1.0])
    truth = jnp.array([5.0, 2.0, 3.0, 2.0])
    squared = 1**2 + 0**2 + 0.5**2 + 1**2
    deviation = 2**2 + 1**2 + 0**2 + 1**2  # around the mean rating, 3
    np.testing.assert_allclose(rating.rmse(prediction, truth), (squared / 4) ** 0.5)
    np.testing.assert_allclose(rating.mae(prediction, truth), (1 + 0 + 0.5 + 1) / 4)
    np.testing.assert_allclose(rating.r2(prediction, truth), 1 - squared / deviation)


@each_metric
def test_axes_before_the_last_are_kept_apart(name):
    prediction, truth = random_rows(0.9, 3, 4, 20)
    out = METRICS[name](prediction, truth)
    assert out.shape == (3, 4)
    for place in np.ndindex(3, 4):
        expected = ORACLES[name](prediction[place], truth[place])
        np.testing.assert_allclose(out[place], expected, rtol=1e-5)


@each_metric
def test_the_mask_counts_its_rows_only(name):
    prediction, truth = random_rows(0.9, 40)
    where = np.random.default_rng(1).random(40) < 0.5
    expected = ORACLES[name](prediction[where], truth[where])
    masked = METRICS[name](prediction, truth, where=where)
    np.testing.assert_allclose(masked, expected, rtol=1e-5)
    assert not np.isclose(masked, METRICS[name](prediction, truth), rtol=1e-3)


@each_metric
@pytest.mark.parametrize("junk", [np.nan, np.inf, -np.inf, 1e30])
@pytest.mark.parametrize("place", ["prediction", "truth"])
def test_a_masked_row_never_matters(name, junk, place):
    prediction, truth = random_rows(0.9, 12)
    where = np.arange(12) % 3 > 0
    clean = METRICS[name](prediction, truth, where=where)
    spoiled = {"prediction": prediction.copy(), "truth": truth.copy()}
    spoiled[place][~where] = junk
    out = METRICS[name](spoiled["prediction"], spoiled["truth"], where=where)
    np.testing.assert_array_equal(out, clean)
    # Control: the same value in a row that counts does change it.
    spoiled[place][1] = junk
    assert METRICS[name](spoiled["prediction"], spoiled["truth"], where=where) != clean


@pytest.mark.parametrize("function", [*METRICS.values(), rating.sums])
@pytest.mark.parametrize(
    ("prediction", "truth", "where"),
    [
        ((4,), (4, 1), None),
        ((4, 1), (4,), None),
        ((1, 4), (4,), None),
        ((4,), (1,), None),
        ((), (4,), None),
        ((4,), (4,), (4, 1)),
        ((4,), (4,), (1,)),
        ((2, 4), (2, 4), (4,)),
    ],
)
def test_shapes_that_would_broadcast_raise(function, prediction, truth, where):
    where = None if where is None else jnp.ones(where, bool)
    # Even where JAX itself would be silent.
    with (
        jax.numpy_rank_promotion("allow"),
        pytest.raises(AssertionError, match="shape"),
    ):
        function(jnp.zeros(prediction), jnp.zeros(truth), where=where)


@each_metric
@pytest.mark.parametrize("block", [1, 7, 64, 100])
def test_sums_of_blocks_give_the_figure_of_the_whole(name, block):
    prediction, truth = random_rows(0.9, 100)
    starts = range(0, 100, block)
    blocks = [slice(start, start + block) for start in starts]
    parts = [rating.sums(prediction[b], truth[b]) for b in blocks]
    total = jax.tree.map(lambda *each: sum(each), *parts)
    whole = METRICS[name](prediction, truth)
    np.testing.assert_allclose(RATING[name](total), whole, rtol=1e-5)


def test_a_mean_of_block_means_is_another_number():
    prediction, truth = random_rows(0.9, 100)
    parts = [
        rating.rmse(prediction[part], truth[part])
        for part in (slice(0, 90), slice(90, 100))
    ]
    whole = rating.rmse(prediction, truth)
    assert not np.isclose(np.mean(parts), whole, rtol=1e-3)


def test_sums_are_what_their_names_say():
    prediction, truth = jnp.array([1.0, 4.0, 9.0]), jnp.array([3.0, 3.5, 5.0])
    out = rating.sums(prediction, truth, where=jnp.array([True, True, False]))
    assert out.rows == 2
    assert out.squared == (1 - 3) ** 2 + (4 - 3.5) ** 2
    assert out.absolute == abs(1 - 3) + abs(4 - 3.5)
    assert out.rating == 3 + 3.5
    assert out.rating_squared == 3**2 + 3.5**2


def test_a_perfect_prediction_has_no_error():
    _, truth = random_rows(0.9, 30)
    assert rating.rmse(truth, truth) == 0
    assert rating.mae(truth, truth) == 0
    assert rating.r2(truth, truth) == 1


def test_predicting_the_mean_rating_explains_nothing():
    _, truth = random_rows(0.9, 64)
    mean = np.full_like(truth, truth.mean())
    np.testing.assert_allclose(rating.r2(mean, truth), 0, atol=1e-6)
    assert rating.r2(mean + 1, truth) < 0, "worse than the mean must be below zero"


@pytest.mark.parametrize("error", [0.0, 1.0])
def test_r2_of_a_single_row_is_nan(error):
    truth = jnp.array([4.0])
    out = float(rating.r2(truth - error, truth))
    assert np.isnan(out), f"R² of one row is not defined, found {out}"
    assert rating.rmse(truth - error, truth) == error
    assert rating.mae(truth - error, truth) == error


@pytest.mark.parametrize("stars", [0.5, 3.0, 4.5])
@pytest.mark.parametrize("rows", [2, 3, 7, 50])
@pytest.mark.parametrize("error", [0.0, 0.25])
def test_r2_of_equal_ratings_is_nan(stars, rows, error):
    truth = jnp.full(rows, stars)
    out = float(rating.r2(truth - error, truth))
    assert np.isnan(out), f"ratings do not vary, so R² is not defined; found {out}"


def test_r2_of_a_user_with_one_row_is_nan_in_float64_sums_too():
    # `evaluate` divides NumPy sums of users.
    where = np.array([[True, True], [True, False]])
    prediction, truth = np.float32([[3, 4], [2, 0]]), np.float32([[4, 2], [5, 0]])
    out = rating.sums(prediction, truth, where=where)
    sums = rating.RatingSums(*(np.asarray(each, np.float64) for each in out))
    with np.errstate(divide="ignore", invalid="ignore"):
        first, second = rating.r2_of(sums)
    assert first == 1 - (1 + 4) / 2
    assert np.isnan(second), f"R² of one row is not defined, found {second}"


@each_metric
def test_no_rows_give_nan(name):
    prediction, truth = random_rows(0.9, 6)
    nowhere = np.zeros(6, bool)
    assert np.isnan(METRICS[name](prediction, truth, where=nowhere))
    assert np.isnan(METRICS[name](jnp.zeros(0), jnp.zeros(0)))


@each_metric
def test_only_the_empty_list_of_several_is_nan(name):
    prediction, truth = random_rows(0.9, 3, 6)
    where = np.ones((3, 6), bool)
    where[1] = False
    out = np.asarray(METRICS[name](prediction, truth, where=where))
    assert np.isnan(out).tolist() == [False, True, False]


@each_metric
def test_a_metric_is_the_same_when_jitted(name):
    prediction, truth = random_rows(0.9, 40)
    np.testing.assert_allclose(
        jax.jit(METRICS[name])(prediction, truth),
        METRICS[name](prediction, truth),
        rtol=1e-6,
    )


def test_every_rating_metric_is_defined_in_words():
    assert set(RATING) == set(METRICS)
    assert set(RATING) <= set(DEFINITIONS)
