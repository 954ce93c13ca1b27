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


def summarize(sums, finish=ratio, *, left_out=0, **about):
    return summary.summarize(
        sums,
        finish,
        definition="a figure",
        n_used=np.shape(sums)[1] - left_out,
        n_left_out=left_out,
        **about,
    )


def draws(users):
    """How often each resample drew each user: [B, U]."""
    return summary.bootstrap(np.eye(users)[None])[:, 0]


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
    expected = slow_interval(sums, finish, draws(8))
    np.testing.assert_allclose(out.ci95, expected, rtol=1e-6)
    # Control: other draws give another interval.
    other = slow_interval(sums, finish, draws(8)[:, ::-1])
    assert not np.allclose(out.ci95, other, rtol=1e-4)


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
    expected = slow_interval(sums, ratio, draws(10))
    np.testing.assert_allclose(out.ci95, expected, rtol=1e-6)


def test_the_interval_is_over_users_and_not_over_seeds():
    # Seeds that differ wildly in level, users who all agree: no spread over users.
    out = summarize(per_user([[1.0] * 20, [5.0] * 20]))
    np.testing.assert_allclose(out.ci95, (3, 3), rtol=1e-6)
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
    values = rng.exponential(1.0, (300, 60))
    # All 300 samples of 60 users at once, as summands that are drawn together.
    drawn = summary.bootstrap(values.T[None])[:, 0] / 60
    low, high = np.percentile(drawn, [2.5, 97.5], axis=0)
    one = summarize(per_user(values[:1]))
    np.testing.assert_allclose(one.ci95, (low[0], high[0]), rtol=1e-5)
    covered = (low <= 1.0) & (high >= 1.0)
    # Nominal 0.95, a little less for so few users; 3 standard errors are 0.04.
    assert 0.88 <= covered.mean() <= 0.99


@pytest.mark.parametrize("users", [1, 2, 7, 610])
def test_a_resample_draws_as_many_users_as_there_are(users):
    counts = draws(users)
    assert counts.shape == (summary.RESAMPLES, users)
    assert counts.dtype == np.float64
    assert (counts.sum(axis=1) == users).all()
    assert (counts >= 0).all()
    assert (counts == counts.round()).all()


def test_every_user_is_drawn_equally_often():
    counts = draws(40)
    # Multinomial: mean 1, variance 1 - 1/U; over 1,000 resamples sd of a mean .031.
    np.testing.assert_allclose(counts.mean(axis=0), 1, atol=5 * 0.031)
    np.testing.assert_allclose(counts.var(), 1 - 1 / 40, rtol=0.05)
    # One draw says nothing of another: users are drawn as often as by chance together.
    together = np.corrcoef(counts.T)[~np.eye(40, dtype=bool)]
    np.testing.assert_allclose(together.mean(), -1 / 39, atol=0.002)


def test_the_draws_are_the_same_each_time_and_differ_from_one_another():
    first, again = draws(9), draws(9)
    np.testing.assert_array_equal(first, again)
    assert len(np.unique(first, axis=0)) > 900, "a block of resamples was drawn twice"


def test_an_accelerator_is_told_to_add_in_full_precision():
    # By default its products have 10 bits or less, which a CPU's tests would not see.
    program = summary._resampled.lower(np.zeros((5, 2), np.float32)).as_text()
    products = [line for line in program.splitlines() if "dot_general" in line]
    assert products
    assert all("HIGHEST, HIGHEST" in line for line in products)


def test_the_same_users_are_drawn_for_every_seed_and_summand_and_in_every_call():
    rng = np.random.default_rng(4)
    one, other = rng.random((3, 20, 2)), rng.random((3, 20, 4))
    counts = draws(20)
    for sums in (one, other, np.concatenate([one, other], axis=-1)):
        expected = np.einsum("bu,ruc->brc", counts, sums)
        np.testing.assert_allclose(summary.bootstrap(sums), expected, rtol=1e-5)
    # So the interval of a difference is that of users, not of two draws.
    better = one[..., :1] + 1
    drawn = summary.bootstrap(np.concatenate([one[..., :1], better], axis=-1))
    np.testing.assert_allclose(drawn[..., 1] - drawn[..., 0], 20, rtol=1e-5)


def test_adding_in_float32_stays_within_1e_5_of_float64():
    # As large as it gets: squares of stars, summed over each of 5,000 users' rows.
    rng = np.random.default_rng(5)
    rows = rng.integers(1, 2_000, (2, 5_000, 1)).astype(float)
    sums = np.concatenate([rows, rows * rng.random((2, 5_000, 1)), rows * 13.7], -1)
    drawn = summary.bootstrap(sums)
    counts = draws_by_parts(5_000, at=rng.integers(0, summary.RESAMPLES, 20))
    for resample, count in counts.items():
        expected = np.einsum("u,ruc->rc", count, sums)
        np.testing.assert_allclose(drawn[resample], expected, rtol=1e-5)
        # Control: float32 shows, so that the bound is not idle.
    resample, count = next(iter(counts.items()))
    assert (drawn[resample] != np.einsum("u,ruc->rc", count, sums)).any()


def draws_by_parts(users, *, at):
    """The counts of a few resamples, some hundred users' columns at a time."""
    found = {int(resample): np.zeros(users) for resample in at}
    for first in range(0, users, 500):
        columns = np.zeros((1, users, 500))
        columns[0, first : first + 500] = np.eye(500)
        drawn = summary.bootstrap(columns)[:, 0]
        for resample, count in found.items():
            count[first : first + 500] = drawn[resample]
    return found


def test_sums_that_were_drawn_before_are_taken():
    rng = np.random.default_rng(6)
    sums = per_user(rng.random((2, 30)))
    drawn = summary.bootstrap(np.concatenate([sums, 3 * sums], axis=-1))
    here, again = summarize(sums), summarize(sums, resampled=drawn[..., :2])
    np.testing.assert_allclose(again.ci95, here.ci95, rtol=1e-6)
    assert again.values == here.values
    # Control: what is given is what is used.
    threefold = drawn[..., [2, 1]]
    found = summarize(sums, resampled=threefold).ci95
    np.testing.assert_allclose(found, np.multiply(here.ci95, 3), rtol=1e-5)


def test_users_with_a_value_are_averaged_and_the_others_are_no_zero():
    values = np.array([[0.5, np.nan, 0.25], [1.0, np.nan, 0.0]])
    sums = summary.user_sums(values)
    np.testing.assert_array_equal(sums[0], [[0.5, 1], [0, 0], [0.25, 1]])
    out = summarize(sums, summary.mean_of, left_out=1)
    assert out.values == (0.375, 0.5)
    assert summary.mean_of(sums.sum(axis=1)).tolist() == [0.375, 0.5]


def test_a_summary_carries_what_it_is_told_of_itself():
    sums = per_user([[1.0, 2.0]])
    out = summarize(sums, convention="lenskit", candidates="catalogue")
    assert (out.convention, out.candidates) == ("lenskit", "catalogue")
    assert (out.definition, out.n_used) == ("a figure", 2)
    plain = summarize(sums)
    assert (plain.convention, plain.candidates) == (None, None)


def test_figures_of_seeds_alone_have_a_mean_an_sd_and_no_interval():
    about = dict(definition="a figure", n_used=9, n_left_out=1)
    out = summary.of_values(np.array([0.25, 0.75]), **about)
    assert (out.mean, out.values) == (0.5, (0.25, 0.75))
    np.testing.assert_allclose(out.sd, 0.125**0.5)
    assert np.isnan(out.ci95).all()
    assert (out.n_used, out.n_left_out) == (9, 1)
    assert summary.of_values(np.array([0.25]), **about).sd is None
    given = summary.of_values(np.array([0.25]), ci95=(0.0, 1.0), **about)
    assert given.ci95 == (0.0, 1.0)


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
    convention="standard",
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
        "convention": "standard",
        "candidates": None,
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
