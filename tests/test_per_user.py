"""What single users got.

Held here: the CSV begins with the promised columns, names each user once and leaves
empty what is not defined; the arrays re-make every figure of the evaluation, for each
seed; they come back from the file as they were, and the file has the same bytes each
time, without pickle.
"""

import csv
import io
import math
import zipfile

import numpy as np
import pytest

from ncf_jax import per_user, report
from ncf_jax.judge import evaluate_scores
from ncf_jax.metrics.rating import RatingSums, mae_of, r2_of, rmse_of
from tests.test_results import KS, RANKING, guesses

RATING = {"rmse": rmse_of, "mae": mae_of, "r2": r2_of}


@pytest.fixture(scope="module")
def judged(tiny_dataset, tiny_split):
    """Two seeds of guesses at the test rows."""
    rows = tiny_split.test
    return evaluate_scores(
        guesses(tiny_dataset, rows),
        tiny_dataset,
        rows,
        train=tiny_split.train,
        k=KS,
    )


@pytest.fixture(scope="module")
def users(tiny_dataset, judged):
    return per_user.per_user(tiny_dataset, judged)


@pytest.fixture(scope="module")
def rows(tiny_dataset, judged):
    text = per_user.per_user_csv(tiny_dataset, judged, 10)
    assert "\r" not in text
    return list(csv.DictReader(io.StringIO(text)))


class TestCsv:
    @pytest.mark.parametrize("k", KS)
    def test_the_promised_columns_come_first_and_each_once(
        self, tiny_dataset, judged, k
    ):
        text = per_user.per_user_csv(tiny_dataset, judged, k)
        header = text.splitlines()[0].split(",")
        first = f"userId,n_test,rmse,precision@{k},ndcg@{k},recall@{k}".split(",")
        assert header[: len(first)] == first
        assert len(set(header)) == len(header)
        names = {f"{name}@{k}" for name in RANKING for k in KS}
        assert set(header) == {"userId", "n_test", "rmse", "mae", "r2"} | names

    def test_each_user_with_test_rows_is_named_once(
        self, rows, tiny_dataset, tiny_split
    ):
        ids = tiny_dataset.user_ids[tiny_dataset.user[tiny_split.test]]
        wanted = dict(zip(*np.unique(ids, return_counts=True), strict=True))
        assert {int(r["userId"]): int(r["n_test"]) for r in rows} == wanted
        assert len(rows) == len(wanted)

    def test_values_are_means_over_seeds_and_empty_where_not_defined(
        self, rows, judged
    ):
        for name, values in judged.per_user.items():
            for row, value in zip(rows, values.mean(axis=0), strict=True):
                if math.isnan(value):
                    assert row[name] == ""
                else:
                    assert float(row[name]) == float(value)
        assert "" in {row["recall@10"] for row in rows}, "somebody is left out"
        assert "" not in {row["precision@10"] for row in rows}

    def test_a_users_own_error_is_that_of_the_users_rows(
        self, rows, judged, tiny_dataset, tiny_split
    ):
        test = tiny_split.test
        error = judged.prediction.astype(np.float64) - tiny_dataset.rating[test]
        for row in rows[:10]:
            mine = tiny_dataset.user_ids[tiny_dataset.user[test]] == int(row["userId"])
            rmse = np.sqrt((error[:, mine] ** 2).mean(axis=1)).mean()
            assert math.isclose(float(row["rmse"]), rmse, rel_tol=1e-9)


class TestValues:
    def test_users_are_named_by_the_ids_of_the_file(self, users, judged, tiny_dataset):
        np.testing.assert_array_equal(users.user_id, tiny_dataset.user_ids[judged.user])
        assert users.user_id.dtype == users.rows.dtype == np.int64
        assert not np.array_equal(users.user_id, judged.user), "ids are no indices"

    def test_arrays_have_the_promised_shapes_and_types(self, users):
        count = len(users.user_id)
        assert users.rows.shape == (count,)
        assert users.sums.shape == (2, count, 5)
        assert users.sums.dtype == np.float64
        assert set(users.values) == {f"{name}@{k}" for name in RANKING for k in KS}
        for value in users.values.values():
            assert value.shape == (2, count)
            assert value.dtype == np.float32

    @pytest.mark.parametrize("name", RATING)
    def test_sums_make_the_rating_figures_again_for_each_seed(
        self, users, judged, name
    ):
        total = RatingSums(*np.moveaxis(users.sums.sum(axis=1), -1, 0))
        np.testing.assert_allclose(
            RATING[name](total), judged.metrics[name].values, rtol=0, atol=1e-9
        )
        # The control: the seeds differ, so neither stands for the other.
        one, other = judged.metrics[name].values
        assert abs(one - other) > 1e-3

    @pytest.mark.parametrize("name", [f"{name}@{k}" for name in RANKING for k in KS])
    def test_means_of_values_are_the_ranking_figures_for_each_seed(
        self, users, judged, name
    ):
        value, summary = users.values[name], judged.metrics[name]
        np.testing.assert_allclose(
            np.nanmean(value, axis=1), summary.values, rtol=0, atol=1e-6
        )
        defined = ~np.isnan(value)
        assert set(defined.sum(axis=1).tolist()) == {summary.n_used}
        assert summary.n_left_out == len(users.user_id) - summary.n_used

    def test_the_rows_of_the_sums_are_those_of_the_split(self, users, tiny_split):
        assert users.rows.sum() == len(tiny_split.test)
        np.testing.assert_array_equal(
            users.sums[..., 0], np.broadcast_to(users.rows, users.sums.shape[:2])
        )


class TestStorage:
    def assert_equal(self, one, other):
        for name in ("user_id", "rows", "sums"):
            a, b = getattr(one, name), getattr(other, name)
            np.testing.assert_array_equal(a, b)
            assert a.dtype == b.dtype
        assert list(one.values) == list(other.values)
        for name, value in one.values.items():
            np.testing.assert_array_equal(value, other.values[name])
            assert value.dtype == other.values[name].dtype

    def test_what_was_packed_is_unpacked(self, users):
        packed = per_user.pack(users)
        assert set(packed) == {"user_id", "rows", "sums"} | {
            f"value/{name}" for name in users.values
        }
        self.assert_equal(per_user.unpack(packed), users)

    def test_it_comes_back_from_the_file(self, users, tmp_path):
        path = tmp_path / "per_user.npz"
        report.write_npz(path, per_user.pack(users))
        self.assert_equal(per_user.unpack(report.read_npz(path)), users)
        with np.load(path, allow_pickle=False) as stored:  # and without our help
            np.testing.assert_array_equal(stored["sums"], users.sums)

    def test_the_file_has_the_same_bytes_each_time(self, users, tmp_path):
        for name in ("one", "other"):
            report.write_npz(tmp_path / name, per_user.pack(users))
        assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()
        with zipfile.ZipFile(tmp_path / "one") as archive:
            dates = {info.date_time for info in archive.infolist()}
        assert dates == {(1980, 1, 1, 0, 0, 0)}, "the hour it was written at"

    def test_an_array_that_is_missing_is_not_made_up(self, users):
        for name in ("user_id", "rows", "sums"):
            packed = per_user.pack(users)
            del packed[name]
            with pytest.raises(KeyError, match=name):
                per_user.unpack(packed)

    def test_a_name_that_is_no_value_is_passed_over(self, users):
        packed = per_user.pack(users) | {"other": np.zeros(3)}
        self.assert_equal(per_user.unpack(packed), users)
