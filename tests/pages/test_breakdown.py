"""Error of groups, calibration, residuals.

Held here: figures are those of pandas group-bys and of loops; intervals agree with a
bootstrap over users; seeds are averaged after the figure and not before; small groups
have no interval and are not left out.
"""

import numpy as np
import pandas as pd
import pytest

from ncf_jax.pages import breakdown


def make_rows(users=60, each=12, seeds=1, seed=0):
    """Users differ in how far off and which way they are: rows are not independent."""
    rng = np.random.default_rng(seed)
    user = np.repeat(np.arange(users), each)
    truth = rng.integers(1, 11, len(user)) / 2
    tilt = rng.normal(0.2, 0.5, users)[user]
    scale = rng.uniform(0.3, 1.2, users)[user]
    noise = rng.standard_normal((seeds, len(user)))
    return truth + tilt + scale * noise, truth, user


def one_hot(group):
    values = np.unique(group)
    return group[:, None] == values, [str(value) for value in values]


class TestGroups:
    @pytest.mark.parametrize("seeds", [1, 3])
    def test_figures_are_those_of_a_pandas_group_by(self, seeds):
        prediction, truth, user = make_rows(seeds=seeds)
        group = np.random.default_rng(1).integers(0, 4, len(user))
        found = breakdown.by_groups(prediction, truth, user, *one_hot(group))
        table = pd.DataFrame({"group": group, "user": user, "truth": truth})
        for n, (_, rows) in enumerate(table.groupby("group")):
            error = prediction[:, rows.index] - rows.truth.to_numpy()
            assert found.rows[n] == len(rows)
            assert found.users[n] == rows.user.nunique()
            assert found.rmse[n] == pytest.approx(
                np.mean([np.sqrt(np.mean(each**2)) for each in error])
            )
            assert found.bias[n] == pytest.approx(error.mean())
            assert found.spread[n] == pytest.approx(rows.truth.std(ddof=0))

    def test_seeds_are_not_averaged_before_the_error(self):
        _, truth, user = make_rows()
        prediction = np.stack([truth + 1, truth - 1])
        found = breakdown.by_groups(prediction, truth, user, *one_hot(0 * user))
        assert found.rmse[0] == pytest.approx(1)  # the mean prediction has no error
        assert found.bias[0] == pytest.approx(0)

    def test_a_row_may_be_in_several_groups_and_an_empty_group_is_left_out(self):
        prediction, truth, user = make_rows()
        member = np.zeros((len(user), 3), bool)
        member[:, 0], member[: len(user) // 2, 2] = True, True
        labels = ["all", "none", "half"]
        found = breakdown.by_groups(prediction, truth, user, member, labels)
        assert found.labels == ("all", "half")
        assert found.rows.tolist() == [len(user), len(user) // 2]

    def test_without_any_row_there_is_no_group(self):
        prediction, truth, user = make_rows()
        member = np.zeros((len(user), 1), bool)
        found = breakdown.by_groups(prediction, truth, user, member, ["none"])
        assert found.labels == ()
        assert all(len(column) == 0 for column in found)

    @pytest.mark.parametrize("seeds", [1, 2])
    def test_intervals_agree_with_a_bootstrap_over_users(self, seeds):
        prediction, truth, user = make_rows(users=150, seeds=seeds)
        found = breakdown.by_groups(prediction, truth, user, *one_hot(0 * user))
        error = (prediction - truth).reshape(seeds, 150, -1)
        drawn = np.random.default_rng(5).integers(0, 150, (4000, 150))
        squared, summed = (error**2).sum(axis=2), error.sum(axis=2)
        rmse = np.sqrt(squared[:, drawn].sum(axis=2) / error[0].size).mean(axis=0)
        bias = (summed[:, drawn].sum(axis=2) / error[0].size).mean(axis=0)
        for draws, low, high in (
            (rmse, found.rmse_low[0], found.rmse_high[0]),
            (bias, found.bias_low[0], found.bias_high[0]),
        ):
            wanted = np.percentile(draws, [2.5, 97.5])
            assert [low, high] == pytest.approx(wanted, abs=0.12 * np.ptp(wanted))

    def test_rows_of_a_user_are_not_taken_for_independent(self):
        # The same rows with a user each: the interval must be narrower.
        prediction, truth, user = make_rows()
        each = np.arange(len(user))
        whole = 0 * user
        by_user = breakdown.by_groups(prediction, truth, user, *one_hot(whole))
        by_row = breakdown.by_groups(prediction, truth, each, *one_hot(whole))
        width = by_user.bias_high - by_user.bias_low
        assert width[0] > 1.3 * (by_row.bias_high - by_row.bias_low)[0]

    def test_few_users_have_no_interval_but_a_figure(self):
        prediction, truth, user = make_rows(users=breakdown.FEWEST_USERS)
        for users in (breakdown.FEWEST_USERS, breakdown.FEWEST_USERS - 1):
            few = user < users
            found = breakdown.by_groups(
                prediction[:, few], truth[few], user[few], *one_hot(0 * user[few])
            )
            assert np.isfinite(found.rmse[0])
            ends = [found.rmse_low, found.rmse_high, found.bias_low, found.bias_high]
            known = users == breakdown.FEWEST_USERS
            assert [bool(np.isfinite(end[0])) for end in ends] == [known] * 4

    def test_no_error_at_all_is_no_division_by_zero(self):
        _, truth, user = make_rows()
        found = breakdown.by_groups(truth[None], truth, user, *one_hot(0 * user))
        assert (found.rmse[0], found.rmse_low[0], found.rmse_high[0]) == (0, 0, 0)

    def test_take_reorders_every_column(self):
        prediction, truth, user = make_rows()
        found = breakdown.by_groups(prediction, truth, user, *one_hot(user % 3))
        turned = found.take(np.array([2, 0]))
        assert turned.labels == ("2", "0")
        for ours, theirs in zip(turned[1:], found[1:], strict=True):
            assert ours.tolist() == [theirs[2], theirs[0]]


class TestBands:
    EDGES = (0, 1, 5, 20, 1000)

    def test_each_count_is_in_the_one_band_that_its_label_names(self):
        count = np.arange(2000)
        member, labels = breakdown.bands(count, self.EDGES)
        assert labels == ["0", "1–4", "5–19", "20–999", "1,000+"]
        assert (member.sum(axis=1) == 1).all()
        for n, row in enumerate(member):
            label = labels[int(np.flatnonzero(row)[0])].replace(",", "")
            low, _, high = label.partition("–")
            if label.endswith("+"):
                assert n >= int(label[:-1])
            else:
                assert int(low) <= n <= int(high or low)

    def test_years_are_those_in_the_last_brackets(self):
        titles = {
            "Toy Story (1995)": 1995,
            "Toy Story (1995) ": 1995,
            "(500) Days of Summer (2009)": 2009,
            "1984 (1956) (uncut)": 0,
            "Dekalog (1989–1990)": 1989,
            "Series (2007-)": 2007,
            "2001": 0,
            "": 0,
        }
        assert breakdown.years(list(titles)).tolist() == list(titles.values())

    def test_decades_are_in_order_with_those_unknown_last(self):
        member, labels = breakdown.decades(np.array([2001, 0, 1999, 1990, 2009]))
        assert labels == ["1990s", "2000s", "no year"]
        assert member.argmax(axis=1).tolist() == [1, 2, 0, 0, 1]

    def test_true_ratings_are_taken_to_the_half_star(self):
        member, labels = breakdown.half_stars(np.array([5, 0.5, 3.0, 2.9999998]))
        assert labels == ["0.5", "3", "5"]
        assert member.argmax(axis=1).tolist() == [2, 0, 1, 1]


class TestCalibration:
    def test_bins_are_those_of_a_pandas_cut(self):
        prediction, truth, user = make_rows(seeds=2)
        found = breakdown.calibration(prediction, truth, user)
        table = pd.DataFrame(
            {"predicted": prediction.ravel(), "true": np.tile(truth, 2)}
        )
        edges = [-np.inf, *np.arange(0.5, 5.01, 0.25), np.inf]
        wanted = table.groupby(
            pd.cut(table.predicted, edges, right=False), observed=True
        )
        assert found.rows * 2 == pytest.approx(wanted.size().to_numpy())
        means = wanted.mean()
        assert found.predicted == pytest.approx(means.predicted.to_numpy())
        assert found.true == pytest.approx(means.true.to_numpy())
        assert found.rows.sum() == pytest.approx(len(truth))

    @pytest.mark.parametrize("slope", [0.5, 1.0, 2.0])
    def test_the_slope_is_that_of_a_fitted_line(self, slope):
        rng = np.random.default_rng(0)
        prediction = rng.uniform(1, 5, 500)
        truth = 3 + slope * (prediction - 3) + rng.normal(0, 0.1, 500)
        found = breakdown.calibration(prediction[None], truth, np.arange(500))
        assert found.slope == pytest.approx(np.polyfit(prediction, truth, 1)[0])
        assert found.slope == pytest.approx(slope, abs=0.05)

    def test_a_constant_prediction_is_one_bin_without_a_slope(self):
        _, truth, user = make_rows()
        found = breakdown.calibration(np.full((1, len(truth)), 3.5), truth, user)
        assert len(found.rows) == 1
        assert np.isnan(found.slope)
        assert found.true[0] == pytest.approx(truth.mean())

    def test_predictions_beyond_the_stars_are_in_the_outer_bins(self):
        prediction = np.array([[-3.0, 0.4, 5.0, 9.0]])
        found = breakdown.calibration(prediction, np.ones(4), np.arange(4))
        assert found.start.tolist() == [0.25, 5.0]
        assert found.rows.tolist() == [2, 2]

    def test_the_interval_holds_the_mean_and_is_absent_with_few_users(self):
        prediction, truth, user = make_rows(users=200)
        found = breakdown.calibration(prediction, truth, user)
        known = np.isfinite(found.true_low)
        assert known.any()
        assert (found.true_low[known] <= found.true[known]).all()
        assert (found.true[known] <= found.true_high[known]).all()
        few = breakdown.calibration(prediction[:, :40], truth[:40], user[:40])
        assert np.isnan(few.true_low).all()


class TestResiduals:
    def test_shares_are_those_of_counting_one_by_one(self):
        prediction, truth, _ = make_rows(seeds=2)
        centre, share = breakdown.residuals(prediction, truth)
        wanted = np.zeros(len(centre))
        for each in (prediction - truth).ravel():
            wanted[np.argmin(np.abs(centre - each))] += 1
        assert share == pytest.approx(wanted / prediction.size)
        assert share.sum() == pytest.approx(1)

    def test_what_is_too_high_is_on_the_right(self):
        centre, share = breakdown.residuals(np.array([[5.0, 100.0]]), np.ones(2) * 4)
        assert centre[share > 0].tolist() == [1.0, 4.5]
