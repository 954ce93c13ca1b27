"""Whether a spread says how far a prediction is off.

Held here: on ratings drawn from the very distribution that is claimed, intervals hold
what they should, the noise is found again and the spread is worth something; with the
same spreads in another order it is worth nothing, and the figures say so; quantiles,
ranks and densities are SciPy's; equal spreads are never parted; what is not defined is
null and warns nobody.
"""

import doctest
import json

import numpy as np
import pytest
from scipy import stats

from ncf_jax.metrics import calibration as module
from ncf_jax.metrics.calibration import calibration, noise, of_parts, spearman, to_json

ROWS = 40_000
NOISE = 0.49


def world(seed=0, rows=ROWS, predictors=1, known=NOISE):
    """Ratings that are normal around predictions, as spread and noise say."""
    rng = np.random.default_rng(seed)
    rating = rng.uniform(1, 5, rows)
    spread = rng.uniform(0.05, 1.2, (predictors, rows))
    error = rng.standard_normal((predictors, rows)) * np.sqrt(spread**2 + known)
    return rating + error, spread, rating


def judge(prediction, spread, rating, known=NOISE):
    return calibration(prediction, spread, rating, np.full(len(prediction), known))


@pytest.fixture(scope="module")
def right():
    return judge(*world(predictors=2))


@pytest.fixture(scope="module")
def shuffled():
    """The control: the same spreads, of other rows."""
    prediction, spread, rating = world(predictors=2)
    return judge(prediction, np.random.default_rng(1).permuted(spread, axis=1), rating)


def test_the_examples_of_the_module_run():
    found = doctest.testmod(module, extraglobs={"np": np})
    assert found.attempted > 8
    assert found.failed == 0


class TestNoise:
    def test_it_is_found_again(self):
        # Three standard errors of a mean of squares.
        assert noise(*world(predictors=3)) == pytest.approx([NOISE] * 3, abs=0.03)

    def test_it_is_the_mean_of_what_is_left(self):
        prediction, spread, rating = world(rows=50)
        left = [
            (p - r) ** 2 - s**2
            for p, s, r in zip(prediction[0], spread[0], rating, strict=True)
        ]
        assert noise(prediction, spread, rating) == pytest.approx([np.mean(left)])

    def test_it_is_never_below_nothing(self):
        prediction, spread, rating = world(rows=50)
        assert noise(prediction, 10 * spread, rating).tolist() == [0.0]

    def test_single_precision_is_added_in_double(self):
        prediction, spread, rating = (x.astype(np.float32) for x in world())
        found = noise(prediction, spread, rating)
        assert found.dtype == np.float64
        assert found == pytest.approx(noise(*world()), abs=1e-6)

    @pytest.mark.parametrize(
        "shapes",
        [((1, 3), (1, 3), (1, 3)), ((1, 3), (3,), (3,)), ((2, 3), (1, 3), (3,)),
         ((1, 3), (1, 3), (1,))],
    )  # fmt: skip
    def test_what_would_be_broadcast_is_refused(self, shapes):
        with pytest.raises(ValueError, match=r"\[R, n\]"):
            noise(*map(np.ones, shapes))


class TestCoverage:
    def test_intervals_hold_what_they_should(self, right):
        # Three standard errors of a share of 40,000 rows.
        for column, share in zip(right.coverage.T, (0.5, 0.8, 0.95), strict=True):
            error = 3 * np.sqrt(share * (1 - share) / ROWS)
            assert column == pytest.approx(share, abs=error)

    @pytest.mark.parametrize(("factor", "less"), [(0.5, True), (2.0, False)])
    def test_too_small_a_spread_holds_less_and_too_large_a_one_more(self, factor, less):
        prediction, spread, rating = world()
        found = judge(prediction, factor * spread, rating, known=factor**2 * NOISE)
        gap = found.coverage[0] - np.array(module.LEVELS) / 100
        assert ((gap < -0.05) if less else (gap > 0.02)).all()

    def test_limits_are_the_quantiles_of_scipy(self):
        # A rating on each side of each limit.
        for level in module.LEVELS:
            width = stats.norm.ppf(0.5 + level / 200)
            rating = 3 + 0.7 * width * np.array([-1.001, -0.999, 0.999, 1.001])
            found = judge(np.full((1, 4), 3.0), np.zeros((1, 4)), rating)
            assert found.coverage[0, module.LEVELS.index(level)] == 0.5

    def test_it_is_the_share_that_a_loop_counts(self):
        prediction, spread, rating = world(rows=300)
        limits = [stats.norm.interval(level / 100) for level in module.LEVELS]
        wanted = []
        for low, high in limits:
            inside = 0
            for p, s, r in zip(prediction[0], spread[0], rating, strict=True):
                sd = np.sqrt(s**2 + NOISE)
                inside += p + low * sd <= r <= p + high * sd
            wanted.append(inside / 300)
        assert judge(prediction, spread, rating).coverage[0].tolist() == wanted


class TestWorth:
    def test_the_right_spread_is_worth_something(self, right):
        assert (right.nll < right.nll_constant - 0.02).all()
        assert (right.spearman > 0.2).all()

    def test_the_same_spreads_in_another_order_are_worth_nothing(self, right, shuffled):
        assert shuffled.spearman == pytest.approx(0, abs=3 / np.sqrt(ROWS))
        assert (shuffled.nll > right.nll + 0.02).all()
        assert (shuffled.nll > shuffled.nll_constant).all()
        # What does not depend on the order is as it was.
        assert shuffled.mean_spread == pytest.approx(right.mean_spread)
        assert shuffled.nll_constant == pytest.approx(right.nll_constant)

    def test_densities_are_those_of_scipy(self):
        prediction, spread, rating = world(rows=200, predictors=2)
        found = judge(prediction, spread, rating)
        variance = spread**2 + NOISE
        own = -stats.norm.logpdf(rating, prediction, np.sqrt(variance))
        same = np.sqrt(variance.mean(axis=1, keepdims=True))
        constant = -stats.norm.logpdf(rating, prediction, same)
        assert found.nll == pytest.approx(own.mean(axis=1))
        assert found.nll_constant == pytest.approx(constant.mean(axis=1))

    @pytest.mark.parametrize("tied", [False, True])
    def test_rank_correlation_is_that_of_scipy(self, tied):
        prediction, spread, rating = world(rows=500)
        if tied:
            prediction, spread, rating = (x.round(1) for x in world(rows=500))
        away = np.abs(prediction - rating)
        wanted = stats.spearmanr(spread[0], away[0]).statistic
        assert judge(prediction, spread, rating).spearman == pytest.approx([wanted])
        assert spearman(away[0], spread[0]) == pytest.approx(wanted)


class TestDeciles:
    def test_predicted_error_is_the_one_found_in_every_group(self, right):
        found = right.deciles
        assert found.rows.tolist() == [ROWS / 10] * 10
        assert (np.diff(found.spread) > 0).all()
        assert found.found == pytest.approx(found.predicted, rel=0.05)
        assert found.found[-1] > 1.5 * found.found[0]

    def test_shuffled_spreads_predict_what_is_not_found(self, shuffled):
        found = shuffled.deciles
        assert found.found == pytest.approx(found.found.mean(), rel=0.05)
        assert found.predicted[-1] > 1.5 * found.predicted[0]

    def test_they_are_those_of_a_sort(self):
        prediction, spread, rating = world(rows=90)
        found = judge(prediction, spread, rating).deciles
        order = np.argsort(spread[0])
        for n, rows in enumerate(np.split(order, 10)):
            variance = spread[0, rows] ** 2 + NOISE
            error = prediction[0, rows] - rating[rows]
            assert found.spread[n] == pytest.approx(spread[0, rows].mean())
            assert found.predicted[n] == pytest.approx(np.sqrt(variance.mean()))
            assert found.found[n] == pytest.approx(np.sqrt((error**2).mean()))

    def test_they_are_means_over_predictors(self):
        prediction, spread, rating = world(rows=100, predictors=2)
        both = judge(prediction, spread, rating).deciles
        one, two = (
            judge(prediction[r : r + 1], spread[r : r + 1], rating).deciles
            for r in range(2)
        )
        for name in both._fields:
            wanted = (getattr(one, name) + getattr(two, name)) / 2
            assert getattr(both, name) == pytest.approx(wanted)

    def test_equal_spreads_are_never_parted(self):
        prediction, _, rating = world(rows=100)
        spread = np.repeat([0.1, 0.4, 0.7], [35, 5, 60])[None]
        found = judge(prediction, spread, rating).deciles
        assert found.spread == pytest.approx([0.1, 0.4, 0.7])
        assert found.rows.tolist() == [35, 5, 60]

    @pytest.mark.parametrize("rows", [1, 2, 7])
    def test_few_rows_are_fewer_groups(self, rows):
        found = judge(*world(rows=rows)).deciles
        assert found.rows.tolist() == [1.0] * rows


class TestConstantSpread:
    def test_it_is_one_group_that_is_worth_nothing(self):
        prediction, _, rating = world(rows=200)
        found = judge(prediction, np.full((1, 200), 0.3), rating)
        assert found.deciles.rows.tolist() == [200]
        assert found.deciles.spread == pytest.approx([0.3])
        assert found.nll == pytest.approx(found.nll_constant)
        assert np.isnan(found.spearman).all()

    def test_no_variance_at_all_has_no_density(self):
        prediction, spread, rating = np.array([[3.0, 4.0]]), np.zeros((1, 2)), [3.0, 2]
        found = judge(prediction, spread, np.array(rating), known=0.0)
        assert np.isnan(found.nll).all()
        assert np.isnan(found.nll_constant).all()
        assert found.coverage.tolist() == [[0.5, 0.5, 0.5]]


class TestJson:
    def test_every_figure_has_its_definition(self):
        prediction, spread, rating = world(rows=100, predictors=2)
        found = to_json(
            judge(prediction, spread, rating),
            np.array([0.4, 0.6]),
            members=8,
            rows=100,
            estimated="the validation rows",
        )
        assert json.loads(json.dumps(found, allow_nan=False)) == found
        assert (found["members"], found["rows"]) == (8, 100)
        figures = {k: v for k, v in found.items() if k not in ("members", "rows")}
        assert set(figures) == {
            *("noise", "mean_spread", "spearman", "nll", "nll_constant"),
            *("coverage@50", "coverage@80", "coverage@95", "deciles"),
        }
        for each in figures.values():
            assert len(each["definition"]) > 30
            assert "{" not in each["definition"]
        assert found["noise"]["mean"] == 0.5
        assert found["noise"]["values"] == [0.4, 0.6]
        assert "the validation rows" in found["noise"]["definition"]
        assert "8 members" in found["mean_spread"]["definition"]
        assert "80 %" in found["coverage@80"]["definition"]

    def test_each_coverage_is_under_its_own_name(self):
        shape = judge(*world(rows=100))._replace(coverage=np.array([[0.1, 0.2, 0.3]]))
        found = to_json(shape, np.ones(1), members=2, rows=1, estimated="x")
        assert [found[f"coverage@{k}"]["mean"] for k in (50, 80, 95)] == [0.1, 0.2, 0.3]

    def test_what_is_not_defined_is_null(self):
        prediction, _, rating = world(rows=50)
        each = prediction, np.full((1, 50), 0.3), rating
        found = of_parts({"test": each}, 2)["test"]
        assert found["spearman"]["mean"] is None
        assert found["spearman"]["values"] == [None]
        json.dumps(found, allow_nan=False)

    def test_noise_is_that_of_the_validation_rows(self):
        test, valid = world(0, 200), world(1, 100, known=2.0)
        found = of_parts({"test": test, "valid": valid}, 3)
        for part in ("test", "valid"):
            assert found[part]["noise"]["values"] == noise(*valid).tolist()
            assert "validation rows" in found[part]["noise"]["definition"]
        assert (found["test"]["rows"], found["valid"]["rows"]) == (200, 100)
        # Test ratings have no part in how wide their intervals are.
        moved = test[0] + 0.5, test[1], test[2]
        again = of_parts({"test": moved, "valid": valid}, 3)["test"]
        assert again["noise"] == found["test"]["noise"]
        assert again["deciles"]["predicted"] == found["test"]["deciles"]["predicted"]

    def test_without_validation_rows_it_says_so(self):
        found = of_parts({"test": world(rows=100)}, 3)["test"]["noise"]
        assert found["values"] == noise(*world(rows=100)).tolist()
        assert "the test rows" in found["definition"]

    def test_without_an_ensemble_there_is_nothing(self):
        assert of_parts({}, 1) == {}
