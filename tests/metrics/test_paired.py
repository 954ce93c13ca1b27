"""Paired statistics against oracles: loops over users, every sign pattern, SciPy, a
step-by-step Holm, a slow bootstrap over the same draws; and that the tests keep their
level where there is nothing to find and find what there is."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ncf_jax.metrics import paired, rating, summary

NAN = float("nan")


def mean(total):
    return total[..., 0] / total[..., 1]


def rmse(total):
    return mean(total) ** 0.5


def r2(total):
    return rating.r2_of(rating.RatingSums(*np.moveaxis(total, -1, 0)))


def rated(seed, seeds=2, users=9, size=1.0):
    """Rating sums [R, U, 5] of random errors; users have 2 to 6 rows."""
    rng = np.random.default_rng(seed)
    out = np.zeros((seeds, users, 5))
    for u in range(users):
        rows = int(np.random.default_rng(u).integers(2, 7))
        stars = np.random.default_rng(u).integers(1, 11, rows) / 2
        for r in range(seeds):
            e = rng.normal(0, size, rows)
            out[r, u] = (
                rows,
                (e**2).sum(),
                abs(e).sum(),
                stars.sum(),
                (stars**2).sum(),
            )
    return out


def squared(sums):
    """Squared error and rows [R, U, 2] of rating sums."""
    return sums[..., [1, 0]]


class TestJackknife:
    @pytest.mark.parametrize("seeds", [1, 3])
    def test_of_a_mean_over_users_it_is_the_users_own_value(self, seeds):
        value = np.random.default_rng(0).random((seeds, 20))
        value[:, [3, 8]] = NAN
        found = paired.jackknife(summary.user_sums(value), summary.mean_of)
        np.testing.assert_allclose(found, value.mean(axis=0), rtol=1e-12)
        assert np.isnan(found[[3, 8]]).all()

    @pytest.mark.parametrize("finish", [r2, lambda s: rmse(squared(s))])
    def test_it_is_what_a_loop_that_leaves_users_out_finds(self, finish):
        sums = rated(1)
        users = sums.shape[1]
        whole = np.mean([finish(each.sum(axis=0)) for each in sums])
        expected = []
        for u in range(users):
            rest = np.delete(sums, u, axis=1)
            without = np.mean([finish(each.sum(axis=0)) for each in rest])
            expected.append(users * whole - (users - 1) * without)
        found = paired.jackknife(sums, finish)
        np.testing.assert_allclose(found, expected, rtol=1e-10)
        # Control: users' own figures, of another kind than the figure of all, differ.
        assert not np.allclose(found, np.mean(finish(sums), axis=0), rtol=0.05)

    def test_a_user_without_a_summand_is_nan_and_changes_nobody_else(self):
        sums = squared(rated(2))
        empty = np.insert(sums, 4, 0.0, axis=1)
        found = paired.jackknife(empty, rmse)
        assert np.isnan(found[4])
        alone = paired.jackknife(sums, rmse)
        np.testing.assert_allclose(np.delete(found, 4), alone, rtol=1e-12)
        # Control: counted among the n, the user would move everybody.
        whole, n = np.mean(rmse(sums.sum(axis=1))), sums.shape[1]
        without = (n * whole - alone) / (n - 1)
        assert not np.allclose((n + 1) * whole - n * without, alone, rtol=1e-6)

    def test_a_user_with_a_figure_of_zero_counts(self):
        value = np.array([[0.0, 1.0, 0.5]])  # and its second summand is 1
        found = paired.jackknife(summary.user_sums(value), mean)
        np.testing.assert_allclose(found, value[0], atol=1e-15)

    def test_of_one_user_it_is_the_figure(self):
        sums = np.array([[[0.0, 0.0], [4.0, 1.0]]])
        np.testing.assert_array_equal(paired.jackknife(sums, rmse), [NAN, 2.0])

    def test_of_nobody_it_is_nan(self):
        assert np.isnan(paired.jackknife(np.zeros((2, 3, 2)), mean)).all()

    def test_a_user_in_some_seeds_only_has_the_value_of_those(self):
        value = np.array([[0.2, 0.4, 0.9], [0.2, 0.4, NAN]])
        sums = summary.user_sums(value)
        found = paired.jackknife(sums, mean)
        whole = np.mean([1.5 / 3, 0.6 / 2])
        without = np.mean([0.6 / 2, 0.6 / 2])
        assert found[2] == pytest.approx(3 * whole - 2 * without)
        # Control: a mean of the seeds' pseudo-values counts other users in each.
        assert found[2] != pytest.approx(0.9)

    def test_a_user_without_whom_there_is_no_figure_is_nan(self):
        # Without user 0 the ratings do not vary, and R² is not defined.
        sums = np.array([[[2.0, 1, 1, 6, 20], [1.0, 1, 1, 3, 9], [1.0, 1, 1, 3, 9]]])
        found = paired.jackknife(sums, r2)
        assert np.isnan(found[0])
        assert np.isfinite(found[1:]).all()

    def test_its_spread_is_the_standard_error_of_the_figure(self):
        sums = squared(rated(3, seeds=1, users=400))
        found = paired.jackknife(sums, rmse)
        error = found.std(ddof=1) / len(found) ** 0.5
        draws = rmse(paired.resample([sums], seed=0)[0])[:, 0]
        assert error == pytest.approx(draws.std(), rel=0.08)
        assert found.mean() == pytest.approx(rmse(sums.sum(axis=1))[0], abs=error / 10)


class TestDifferences:
    def test_what_is_the_same_but_for_rounding_is_exactly_zero(self):
        a = np.array([0.3, 0.5, 1.0, 0.0])
        b = np.array([0.1 + 0.2, 0.5 + 1e-8, 1.001, 0.0])
        found = paired.differences(a, b)
        assert found[[0, 1, 3]].tolist() == [0, 0, 0]
        assert found[2] == b[2] - a[2]

    def test_a_user_without_both_values_has_no_difference(self):
        found = paired.differences(np.array([NAN, 1.0, NAN]), np.array([1.0, NAN, NAN]))
        assert np.isnan(found).all()


def every_pattern(differences):
    """The exact p: every sign pattern, the observed one among them."""
    d = np.asarray(differences)
    sums = [abs(np.dot(s, d)) for s in itertools.product([1, -1], repeat=len(d))]
    return np.mean(np.array(sums) >= abs(d.sum()) - 1e-12)


class TestSignFlip:
    @pytest.mark.parametrize("users", [1, 2, 5, 10])
    def test_it_agrees_with_every_sign_pattern(self, users):
        d = np.random.default_rng(users).normal(0.4, 1, users)
        exact = every_pattern(d)
        found = paired.sign_flip_p(d, seed=1, flips=20_000)
        error = (exact * (1 - exact) / 20_000) ** 0.5
        assert found == pytest.approx(exact, abs=4 * error + 1e-4)

    @pytest.mark.parametrize("shift", [0.0, 0.3, -0.6])
    def test_it_agrees_with_scipy(self, shift):
        a, b = np.random.default_rng(3).normal(0, 1, (2, 11))
        exact = stats.permutation_test(
            (b + shift, a),
            lambda x, y, axis: np.mean(x - y, axis=axis),
            permutation_type="samples",
            vectorized=True,
            n_resamples=np.inf,
        ).pvalue
        found = paired.sign_flip_p(b + shift - a, seed=0, flips=40_000)
        assert found == pytest.approx(exact, abs=0.012)
        # Control: a test of one side would be far away.
        assert found != pytest.approx(exact / 2, abs=0.012)

    def test_patterns_that_tie_on_paper_count(self):
        # 0.1 + 0.2 != 0.3 in floats: every second of the 8 patterns is as far away.
        d = np.array([0.1, 0.2, -0.3, 0.3])
        assert every_pattern(d) == 0.75
        found = paired.sign_flip_p(d, seed=0, flips=40_000)
        assert found == pytest.approx(0.75, abs=0.01)

    def test_a_difference_of_zero_everywhere_proves_nothing(self):
        assert paired.sign_flip_p(np.zeros(5), seed=0) == 1

    def test_one_user_proves_nothing(self):
        assert paired.sign_flip_p(np.array([3.0]), seed=0) == 1

    @pytest.mark.parametrize("d", [[], [NAN, NAN]])
    def test_without_users_there_is_no_p(self, d):
        assert np.isnan(paired.sign_flip_p(np.array(d), seed=0))

    def test_p_is_never_below_what_the_patterns_can_show(self):
        assert paired.sign_flip_p(np.ones(100), seed=0, flips=999) == 1 / 1000

    def test_a_user_left_out_is_not_there(self):
        d = np.random.default_rng(5).normal(0.5, 1, 12)
        exact = every_pattern(d)
        padded = np.concatenate([d[:6], [NAN, NAN], d[6:]])
        found = paired.sign_flip_p(padded, seed=0, flips=40_000)
        assert found == pytest.approx(exact, abs=0.01)

    @given(st.integers(0, 10_000))
    def test_sides_and_scale_change_nothing(self, seed):
        d = np.random.default_rng(seed).normal(0.3, 1, 15)
        p = paired.sign_flip_p(d, seed=0, flips=500)
        assert paired.sign_flip_p(-d, seed=0, flips=500) == p
        assert paired.sign_flip_p(4 * d, seed=0, flips=500) == p

    def test_many_tests_at_once_are_the_tests_one_by_one(self):
        d = np.random.default_rng(0).normal(0.2, 1, (2, 3, 40))
        d[0, 1, :5] = NAN
        at_once = paired.sign_flip_p(d, seed=3, flips=700)
        assert at_once.shape == (2, 3)
        for place in np.ndindex(2, 3):
            assert at_once[place] == paired.sign_flip_p(d[place], seed=3, flips=700)

    def test_the_size_of_a_block_changes_nothing(self, monkeypatch):
        d = np.random.default_rng(0).normal(0.1, 1, 70)
        whole = paired.sign_flip_p(d, seed=3, flips=1000)
        monkeypatch.setattr(paired, "BLOCK_BYTES", 8 * 96 * 7)  # 7 patterns at a time
        assert paired.sign_flip_p(d, seed=3, flips=1000) == whole

    def test_the_seed_draws_the_patterns(self):
        d = np.random.default_rng(0).normal(0.2, 1, 50)
        first, again, other = (paired.sign_flip_p(d, seed=s) for s in (0, 0, 1))
        assert first == again != other

    @pytest.mark.parametrize("finish", [mean, rmse])
    def test_systems_that_are_the_same_are_told_apart_5_times_in_100(self, finish):
        # Errors that users share, rows that differ: nothing but luck differs.
        rng, low = np.random.default_rng(0), []
        for _ in range(400):
            rows = rng.integers(1, 30, 50)
            common = rng.gamma(2, 1, 50)
            sums = [
                np.stack([common * rng.chisquare(rows), rows], axis=-1)[None]
                for _ in "ab"
            ]
            pseudo = [paired.jackknife(each, finish) for each in sums]
            low.append(paired.sign_flip_p(pseudo[1] - pseudo[0], 0, 399) <= 0.05)
        # Three standard errors of 400 draws at 0.05 are 0.033.
        assert 0.017 <= np.mean(low) <= 0.083

    def test_a_difference_that_is_there_is_found(self):
        rng, found = np.random.default_rng(1), []
        for _ in range(50):
            d = rng.normal(0.5, 1, 60)  # 3.9 standard errors from 0
            found.append(paired.sign_flip_p(d, 0, 399) <= 0.05)
        assert np.mean(found) > 0.9


def step_by_step(p):
    """Holm's procedure as he tells it, from the smallest p on."""
    family = sorted(value for value in p if not np.isnan(value))
    adjusted, worst = {}, 0.0
    for done, value in enumerate(family):
        worst = max(worst, min(1.0, (len(family) - done) * value))
        adjusted.setdefault(value, worst)
    # Equal p-values: the later of them may be multiplied by less, never reported less.
    return [NAN if np.isnan(value) else adjusted[value] for value in p]


class TestHolm:
    @pytest.mark.parametrize(
        ("p", "expected"),
        [
            ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),
            ([0.01, 0.02, 0.03], [0.03, 0.04, 0.04]),
            ([0.04], [0.04]),
            ([0.5, 0.9], [1.0, 1.0]),
            ([0.6, 0.7, 0.8], [1.0, 1.0, 1.0]),
            ([0.01, NAN, 0.02], [0.02, NAN, 0.02]),
            ([NAN, NAN], [NAN, NAN]),
            ([], []),
        ],
    )
    def test_hand_examples(self, p, expected):
        np.testing.assert_allclose(paired.holm(np.array(p)), expected, rtol=1e-12)

    @given(st.lists(st.one_of(st.floats(1e-6, 1), st.just(NAN)), max_size=12))
    def test_it_is_the_procedure_step_by_step(self, p):
        found = paired.holm(np.array(p))
        np.testing.assert_allclose(found, step_by_step(p), rtol=1e-12)

    @given(st.lists(st.floats(1e-6, 1), min_size=1, max_size=12))
    def test_the_order_of_claims_stays_and_none_gets_stronger(self, p):
        p = np.array(p)
        found = paired.holm(p)
        assert (found >= p).all()
        assert (found <= 1).all()
        assert (np.diff(found[np.argsort(p)]) >= 0).all()

    def test_it_is_milder_than_bonferroni(self):
        p = np.array([0.01, 0.02, 0.03])
        assert (paired.holm(p) <= np.minimum(3 * p, 1)).all()
        assert paired.holm(p)[2] < 3 * p[2]

    def test_a_family_without_differences_makes_a_false_claim_5_times_in_100(self):
        p = np.random.default_rng(0).random((2000, 10))
        claims = np.mean([paired.holm(each).min() <= 0.05 for each in p])
        assert claims == pytest.approx(0.05, abs=0.016)
        # Control: without the correction it makes one 40 times in 100.
        assert np.mean(p.min(axis=1) <= 0.05) > 0.35


def slow_interval(a, b, finish, seed, resamples):
    """Draws users one by one, for both systems, adds, divides, subtracts, sorts."""
    users = a.shape[1]
    chances = np.full(users, 1 / users)
    draws = np.random.default_rng(seed).multinomial(users, chances, size=resamples)
    changes = []
    for times in draws:
        drawn = [u for u, n in enumerate(times) for _ in range(n)]
        figures = [
            np.mean([finish(sum(each[u] for u in drawn)) for each in system])
            for system in (a, b)
        ]
        changes.append(figures[1] - figures[0])
    return np.percentile(changes, [2.5, 97.5])


class TestInterval:
    @pytest.mark.parametrize("finish", [r2, lambda s: rmse(squared(s))])
    def test_it_equals_a_slow_bootstrap_over_the_same_draws(self, finish):
        a, b = rated(1, seeds=2), rated(2, seeds=3, size=0.8)
        found = paired.difference_interval(a, b, finish, seed=4, resamples=200)
        expected = slow_interval(a, b, finish, 4, 200)
        np.testing.assert_allclose(found, expected, rtol=1e-9)
        # Control: other draws give another interval.
        other = slow_interval(a, b, finish, 5, 200)
        assert not np.allclose(found, other, rtol=1e-3)

    def test_a_system_does_not_differ_from_itself(self):
        sums = rated(1)
        assert paired.difference_interval(sums, sums, r2, seed=0) == (0.0, 0.0)

    def test_turned_around_it_is_the_same_interval(self):
        a, b = squared(rated(1)), squared(rated(2))
        low, high = paired.difference_interval(a, b, rmse, seed=0)
        back = paired.difference_interval(b, a, rmse, seed=0)
        np.testing.assert_allclose(back, (-high, -low), rtol=1e-9)

    def test_the_same_users_are_drawn_for_both(self):
        # Systems that agree but for a constant: what users share cancels out.
        value = np.random.default_rng(0).normal(3, 1, (1, 50))
        a, b = summary.user_sums(value), summary.user_sums(value + 0.25)
        found = paired.difference_interval(a, b, mean, seed=0)
        np.testing.assert_allclose(found, (0.25, 0.25), rtol=1e-9)
        # Control: drawn apart, the users' own spread would stay.
        drawn = [
            mean(paired.resample([s], seed)[0])[:, 0] for seed, s in enumerate([a, b])
        ]
        assert np.ptp(np.percentile(drawn[1] - drawn[0], [2.5, 97.5])) > 0.5

    def test_it_covers_the_true_difference_about_95_times_in_100(self):
        rng, covered = np.random.default_rng(3), []
        for _ in range(200):
            value = rng.exponential(1, (1, 80))
            other = value + rng.normal(0.2, 0.5, value.shape)
            low, high = paired.difference_interval(
                summary.user_sums(value), summary.user_sums(other), mean, 0, 400
            )
            covered.append(low <= 0.2 <= high)
        # Three standard errors of 200 draws at 0.95 are 0.046.
        assert 0.90 <= np.mean(covered) <= 0.99

    def test_draws_without_a_user_who_counts_are_left_out(self):
        value = np.array([[0.5, NAN]])
        sums = summary.user_sums(value)
        assert paired.difference_interval(sums, sums, mean, seed=0) == (0.0, 0.0)

    def test_without_anybody_there_is_none(self):
        sums = np.zeros((1, 3, 2))
        assert np.isnan(paired.difference_interval(sums, sums, mean, seed=0)).all()

    def test_the_size_of_a_block_changes_nothing(self, monkeypatch):
        a, b = squared(rated(1)), squared(rated(2))
        whole = paired.difference_interval(a, b, rmse, seed=0, resamples=100)
        monkeypatch.setattr(paired, "BLOCK_BYTES", 8 * 9 * 7)  # 7 draws at a time
        found = paired.difference_interval(a, b, rmse, seed=0, resamples=100)
        np.testing.assert_allclose(found, whole, rtol=1e-12)

    def test_a_resample_has_as_many_users_as_there_are(self):
        one, two = paired.resample([np.ones((2, 9, 3)), np.ones((1, 9, 1))], 0, 50)
        assert one.shape == (50, 2, 3)
        assert two.shape == (50, 1, 1)
        assert (one == 9).all()
        assert (two == 9).all()


class TestEffectSize:
    def test_it_is_mean_over_standard_deviation(self):
        assert paired.effect_size(np.array([1.0, 2.0, 3.0])) == 2 / 1
        assert paired.effect_size(np.array([-1.0, -2.0, NAN, -3.0])) == -2 / 1

    def test_times_the_root_of_users_it_is_students_t(self):
        a, b = np.random.default_rng(0).normal(0, 1, (2, 30))
        t = stats.ttest_rel(b, a).statistic
        assert paired.effect_size(b - a) * 30**0.5 == pytest.approx(t)

    @pytest.mark.parametrize(
        ("differences", "expected"),
        [
            ([0.1] * 7, np.inf),
            ([-0.1] * 7, -np.inf),
            ([0.0, 0.0], NAN),
            ([1.0], NAN),
            ([1.0, NAN], NAN),
            ([], NAN),
        ],
    )
    def test_without_a_spread_it_is_infinite_or_not_defined(
        self, differences, expected
    ):
        found = paired.effect_size(np.array(differences))
        np.testing.assert_equal(found, expected)


class TestWins:
    a = np.array([0.1, 0.5, 0.5, NAN, 0.9])
    b = np.array([0.2, 0.4, 0.5, 1.00, NAN])

    def test_it_is_the_share_for_whom_the_second_is_better(self):
        # One up, one down, one tie of three users who have both.
        assert paired.wins(self.a, self.b, larger_is_better=True) == (1 + 0 + 0.5) / 3
        up = np.array([0.2, 0.6, 0.5, 1.0, 1.0])
        assert paired.wins(self.a, up, larger_is_better=True) == (3 + 0.5) / 4

    def test_where_smaller_is_better_the_shares_change_places(self):
        up = np.array([0.2, 0.6, 0.5, 1.0, 1.0])
        found = paired.wins(self.a, up, larger_is_better=False)
        assert found == pytest.approx(1 - (3 + 0.5) / 4)

    def test_both_sides_add_up_to_one(self):
        a, b = np.random.default_rng(0).integers(0, 3, (2, 40)).astype(float)
        there = paired.wins(a, b, larger_is_better=True)
        assert there + paired.wins(b, a, larger_is_better=True) == pytest.approx(1)

    def test_rounding_is_a_tie(self):
        a, b = np.array([0.3]), np.array([0.1 + 0.2])
        assert paired.wins(a, b, larger_is_better=True) == 0.5

    def test_without_users_there_is_no_share(self):
        assert np.isnan(paired.wins(self.a[3:], self.b[3:], larger_is_better=True))
