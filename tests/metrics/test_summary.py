"""Summaries over seeds and users: means of sums divided once, a bootstrap interval
equal to a slow loop over the same draws, users left out counted and never averaged
(R8), and JSON in which an undefined figure is null."""

import json

import numpy as np
import pytest

from ncf_jax.metrics import summary


def ratio(total):
    return total[..., 0] / total[..., 1]


def root(total):
    return (total[..., 0] / total[..., 1]) ** 0.5


def summarize(sums, finish=ratio, *, used=None, left_out=0):
    users = np.shape(sums)[1]
    return summary.summarize(
        sums,
        finish,
        counts=summary.bootstrap_counts(users),
        definition="a figure",
        n_used=users - left_out if used is None else used,
        n_left_out=left_out,
    )


def per_user(values, defined=None):
    """[R, U] values -> sums [R, U, 2]: value and whether it counts."""
    values = np.asarray(values, float)
    defined = np.ones(values.shape) if defined is None else np.asarray(defined, float)
    return np.stack([values * defined, defined], axis=-1)


def slow_interval(sums, finish, counts):
    """Draws users one by one, adds, divides, averages over seeds, sorts."""
    figures = []
    for drawn in counts.astype(int):
        users = [user for user, times in enumerate(drawn) for _ in range(times)]
        by_seed = [
            finish(sum(sums[seed, user] for user in users)) for seed in range(len(sums))
        ]
        figures.append(sum(by_seed) / len(by_seed))
    return np.percentile(figures, [2.5, 97.5])


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("finish", [ratio, root])
def test_the_interval_equals_a_slow_bootstrap_over_the_same_draws(seeds, finish):
    rng = np.random.default_rng(seeds)
    sums = np.stack([rng.random((seeds, 8)), rng.integers(1, 5, (seeds, 8))], axis=-1)
    out = summarize(sums, finish)
    expected = slow_interval(sums, finish, summary.bootstrap_counts(8))
    np.testing.assert_allclose(out.ci95, expected, rtol=1e-12)
    # Control: other draws give another interval.
    other = slow_interval(sums, finish, summary.bootstrap_counts(8)[:, ::-1])
    assert not np.allclose(out.ci95, other, rtol=1e-6)


def test_the_mean_divides_the_added_sums_once():
    sums = np.array([[[3.0, 1.0], [1.0, 3.0]], [[2.0, 1.0], [6.0, 7.0]]])
    out = summarize(sums)
    assert out.values == ((3 + 1) / (1 + 3), (2 + 6) / (1 + 7))
    assert out.mean == (1 + 1) / 2
    # Control: the mean of the users' own ratios is another number.
    assert out.values[0] != (3 / 1 + 1 / 3) / 2


def test_sd_is_the_sample_standard_deviation_over_seeds():
    out = summarize(per_user([[1.0, 2.0], [2.0, 5.0], [0.0, 2.0]]))
    means = 1.5, 3.5, 1.0
    centre = sum(means) / 3
    assert out.values == means
    np.testing.assert_allclose(out.mean, centre)
    variance = sum((value - centre) ** 2 for value in means) / (3 - 1)
    np.testing.assert_allclose(out.sd, variance**0.5)


def test_one_seed_has_no_sd():
    assert summarize(per_user([[1.0, 2.0]])).sd is None


def test_equal_seeds_have_an_sd_of_zero():
    assert summarize(per_user([[1.0, 2.0], [1.0, 2.0]])).sd == 0


def test_a_user_left_out_never_counts():
    values = np.array([[0.5, 9.0, 0.25, 0.75]])
    defined = np.array([[1, 0, 1, 1]])
    out = summarize(per_user(values, defined), left_out=1)
    assert out.mean == (0.5 + 0.25 + 0.75) / 3
    assert (out.n_used, out.n_left_out) == (3, 1)
    # Control: counted as a zero the user would pull the mean down.
    assert out.mean != (0.5 + 0 + 0.25 + 0.75) / 4


def test_the_interval_draws_the_users_left_out_but_never_averages_them():
    rng = np.random.default_rng(0)
    defined = np.array([[1, 0, 1, 1, 0, 1, 1, 1, 1, 1]])
    sums = per_user(rng.random((1, 10)), defined)
    out = summarize(sums, left_out=2)
    expected = slow_interval(sums, ratio, summary.bootstrap_counts(10))
    np.testing.assert_allclose(out.ci95, expected, rtol=1e-12)


def test_the_interval_is_over_users_and_not_over_seeds():
    # Seeds that differ wildly in level, users who all agree: no spread over users.
    out = summarize(per_user([[1.0] * 20, [5.0] * 20]))
    np.testing.assert_allclose(out.ci95, (3, 3))
    assert out.sd == 8**0.5


def test_the_interval_lies_around_the_mean_and_narrows_with_users():
    rng = np.random.default_rng(1)
    widths = {}
    for users in (25, 400):
        values = rng.normal(3, 1, (1, users))
        low, high = summarize(per_user(values)).ci95
        assert low < values.mean() < high
        widths[users] = high - low
        # The normal approximation: 2 * 1.96 standard errors.
        expected = 2 * 1.96 * values.std() / users**0.5
        np.testing.assert_allclose(widths[users], expected, rtol=0.12)
    assert widths[400] < widths[25] / 3  # sqrt(400 / 25) = 4


def test_the_interval_covers_the_true_mean_about_95_times_in_100():
    rng = np.random.default_rng(2)
    counts = summary.bootstrap_counts(60)
    covered = 0
    for values in rng.exponential(1.0, (300, 1, 60)):
        low, high = summary.summarize(
            per_user(values),
            ratio,
            counts=counts,
            definition="",
            n_used=60,
            n_left_out=0,
        ).ci95
        covered += low <= 1.0 <= high
    # Nominal 0.95, a little less for so few users; 3 standard errors are 0.04.
    assert 0.88 <= covered / 300 <= 0.99


@pytest.mark.parametrize("users", [1, 2, 7, 610])
def test_a_resample_draws_as_many_users_as_there_are(users):
    counts = summary.bootstrap_counts(users)
    assert counts.shape == (summary.RESAMPLES, users)
    assert counts.dtype == np.float64
    assert (counts.sum(axis=1) == users).all()
    assert (counts >= 0).all()
    assert (counts == counts.round()).all()


def test_every_user_is_drawn_equally_often():
    counts = summary.bootstrap_counts(40)
    # Multinomial: mean 1, variance 1 - 1/U; over 1,000 resamples sd of a mean .031.
    np.testing.assert_allclose(counts.mean(axis=0), 1, atol=5 * 0.031)
    np.testing.assert_allclose(counts.var(), 1 - 1 / 40, rtol=0.05)


def test_the_draws_are_the_same_each_time():
    first, again = summary.bootstrap_counts(9), summary.bootstrap_counts(9)
    np.testing.assert_array_equal(first, again)
    assert (first[0] != first[1]).any()


def test_one_user_has_an_interval_without_width():
    out = summarize(per_user([[0.25]]))
    assert out.ci95 == (0.25, 0.25)


def test_a_figure_defined_for_nobody_is_nan_and_says_how_many_were_left_out():
    out = summarize(per_user([[1.0, 2.0, 3.0]], [[0, 0, 0]]), left_out=3)
    assert np.isnan(out.mean)
    assert np.isnan(out.ci95).all()
    assert (out.n_used, out.n_left_out) == (0, 3)


def test_resamples_in_which_nobody_counts_are_no_zero():
    # One of two users counts: a quarter of the resamples misses her altogether.
    out = summarize(per_user([[0.5, 0.0]], [[1, 0]]), left_out=1)
    assert out.mean == 0.5
    assert out.ci95 == (0.5, 0.5)


def test_float32_sums_are_added_in_float64():
    users = 3_000
    sums = np.full((1, users, 2), 0.1, np.float32)
    sums[..., 1] = 1
    assert summarize(sums).mean == pytest.approx(np.float64(np.float32(0.1)), 1e-12)


NAN = float("nan")
SUMMARY = summary.Summary(
    mean=0.5,
    sd=0.1,
    ci95=(0.4, 0.6),
    values=(0.4, 0.6),
    definition="a figure",
    n_used=3,
    n_left_out=1,
)


def test_json_holds_every_field():
    out = json.loads(json.dumps(summary.to_json(SUMMARY), allow_nan=False))
    assert out == {
        "mean": 0.5,
        "sd": 0.1,
        "ci95": [0.4, 0.6],
        "values": [0.4, 0.6],
        "definition": "a figure",
        "n_used": 3,
        "n_left_out": 1,
    }


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"mean": NAN}, {"mean": None}),
        ({"sd": NAN}, {"sd": None}),
        ({"sd": None}, {"sd": None}),
        ({"ci95": (NAN, 0.6)}, {"ci95": [None, 0.6]}),
        ({"ci95": (NAN, NAN)}, {"ci95": [None, None]}),
        ({"values": (0.4, NAN)}, {"values": [0.4, None]}),
        ({"mean": 0.0}, {"mean": 0.0}),
    ],
)
def test_an_undefined_figure_is_null_in_json(change, expected):
    changed = summary.to_json(SUMMARY._replace(**change))
    out = json.loads(json.dumps(changed, allow_nan=False))
    assert out == summary.to_json(SUMMARY) | expected


def test_summaries_are_plain_python_numbers():
    out = summarize(per_user(np.ones((2, 3), np.float32)))
    for value in (out.mean, out.sd, *out.ci95, *out.values):
        assert type(value) is float
