"""What a run writes besides checkpoints.

Held here: table, CSV and footnotes are made from the results alone and say the same;
an undefined figure is null and a dash, never a number; a file is whole or not there;
users left out and synthetic data are told wherever figures are shown.
"""

import csv
import io
import json
import math
import os

import numpy as np
import pytest

import ncf_jax
from ncf_jax import Config, report
from ncf_jax.errors import RunError
from tests.conftest import TINY

NAMES = ["rmse", "mae", "r2", "precision@10", "ndcg@10", "recall@10"]
HISTORY = [
    {
        "epoch": number,
        "train_loss": 0.1 / number,
        "valid_loss": valid,
        "seconds": 0.5,
        "examples_per_second": 1000.0,
    }
    for number, valid in [(1, 0.05), (2, 1 / 3), (3, None)]
]


@pytest.fixture(scope="module")
def judged(tiny_dataset, tiny_split):
    """Evaluations of two seeds of a model that needs no training."""
    config = Config(**TINY, model="bias", epochs=1)
    model = ncf_jax.make_model(config, tiny_dataset)
    state = ncf_jax.fit(
        ncf_jax.learner_of(config, model, tiny_dataset.features),
        tiny_dataset.interactions(tiny_split.train),
        tiny_dataset.interactions(tiny_split.valid),
        epochs=1,
        seeds=(0, 1),
    )
    params = dict(state.params)
    # A closed form has no seed; so that two seeds differ, the second knows no user.
    params["user_bias"] = params["user_bias"].at[1].set(0)
    return {
        part: ncf_jax.evaluate(model, params, tiny_dataset, getattr(tiny_split, part))
        for part in ("test", "valid")
    }


@pytest.fixture
def make(judged, tiny_dataset, tiny_split):
    def results(evaluations=judged, **changes):
        given = dict(
            title="A model",
            dataset=tiny_dataset,
            split=tiny_split,
            seeds=[0, 1],
            k=10,
            evaluations=evaluations,
            baselines={"A baseline": judged["test"]},
        )
        return report.make_results(**given | changes)

    return results


@pytest.fixture
def results(make):
    return make()


def parse_csv(text):
    assert "\r" not in text
    assert text.endswith("\n")
    return list(csv.DictReader(io.StringIO(text)))


class TestResults:
    def test_every_metric_of_every_part_is_there(self, results, judged):
        assert set(results["metrics"]) == {
            f"{part}/{name}" for part in ("test", "valid") for name in NAMES
        }
        for key, metric in results["metrics"].items():
            part, name = key.split("/")
            summary = judged[part].metrics[name]
            assert metric["mean"] == summary.mean
            assert tuple(metric["values"]) == summary.values
            assert metric["definition"] == summary.definition

    def test_two_seeds_have_a_standard_deviation(self, results):
        metric = results["metrics"]["test/rmse"]
        a, b = metric["values"]
        assert a != b
        assert math.isclose(metric["sd"], abs(a - b) / math.sqrt(2))

    def test_rows_are_counted_by_part(self, results, tiny_split):
        assert results["rows"] == {
            "test": len(tiny_split.test),
            "valid": len(tiny_split.valid),
        }

    def test_baselines_are_judged_on_test_rows_only(self, results):
        (metrics,) = results["baselines"].values()
        assert set(metrics) == {f"test/{name}" for name in NAMES}

    def test_fingerprints_are_those_of_data_and_split(
        self, results, tiny_dataset, tiny_split
    ):
        assert results["data"] == tiny_dataset.fingerprint
        assert results["split"] == tiny_split.fingerprint

    def test_json_keeps_every_digit(self, results):
        assert json.loads(report.dumps(results)) == json.loads(
            json.dumps(results, allow_nan=False)
        )
        values = json.loads(report.dumps(results))["metrics"]["test/rmse"]["values"]
        assert values == results["metrics"]["test/rmse"]["values"]

    def test_a_metric_that_is_defined_for_nobody_is_null(
        self, make, tiny_dataset, tiny_split
    ):
        # Rows of low ratings only: nobody has a relevant item, so recall has no mean.
        config = Config(**TINY, model="global_mean")
        model = ncf_jax.make_model(config, tiny_dataset)
        params = {
            "mean": np.full(1, 0.7, np.float32),
            "user_bias": np.zeros((1, tiny_dataset.num_users), np.float32),
            "item_bias": np.zeros((1, tiny_dataset.num_items), np.float32),
        }
        low = tiny_split.test[tiny_dataset.rating[tiny_split.test] < 4]
        judged = ncf_jax.evaluate(model, params, tiny_dataset, low)
        found = make({"test": judged}, seeds=[0], baselines={})
        recall = found["metrics"]["test/recall@10"]
        assert recall["mean"] is None
        assert recall["sd"] is None
        assert recall["values"] == [None]
        assert recall["ci95"] == [None, None]
        assert recall["n_used"] == 0
        assert recall["n_left_out"] == len(np.unique(tiny_dataset.user[low]))
        assert found["metrics"]["test/precision@10"]["mean"] == 0
        text = report.dumps(found)
        assert "NaN" not in text
        assert report.table_rows(found)[1][0][-1] == "–"
        (row,) = parse_csv(report.metrics_csv(found))
        assert row["Recall@10"] == ""
        assert float(row["Precision@10"]) == 0
        users = parse_csv(report.per_user_csv(tiny_dataset, judged, 10))
        assert {user["recall@10"] for user in users} == {""}

    def test_nan_is_never_written(self):
        with pytest.raises(ValueError, match=r"[Nn]a[Nn]|JSON"):
            report.dumps({"mean": math.nan})

    def test_titles_stay_readable(self):
        assert "Amélie ±" in report.dumps({"title": "Amélie ±"})


class TestTable:
    def test_the_header_names_the_metrics_with_their_cut_off(self, results):
        header, _ = report.table_rows(results)
        assert header == [
            "model",
            "rows",
            "RMSE",
            "MAE",
            "R²",
            "P@10",
            "NDCG@10",
            "R@10",
        ]

    def test_the_model_comes_first_with_both_parts_then_the_baselines(self, results):
        _, rows = report.table_rows(results)
        assert [row[:2] for row in rows] == [
            ["A model", "test"],
            ["A model", "valid"],
            ["A baseline", "test"],
        ]

    def test_each_cell_is_its_own_metric(self, results):
        _, rows = report.table_rows(results)
        for row in rows[:2]:
            for cell, name in zip(row[2:], NAMES, strict=True):
                metric = results["metrics"][f"{row[1]}/{name}"]
                assert cell == f"{metric['mean']:.4f} ± {metric['sd']:.4f}"

    def test_one_seed_has_no_plus_minus(self, results):
        for metric in results["metrics"].values():
            metric["sd"] = None
        _, rows = report.table_rows(results)
        assert "±" not in "".join(rows[0] + rows[1])

    def test_without_validation_rows_there_is_no_such_line(self, make, judged):
        _, rows = report.table_rows(make({"test": judged["test"]}))
        assert [row[1] for row in rows] == ["test", "test"]

    def test_footnotes_tell_data_split_counts_and_who_was_left_out(self, results):
        text = "\n".join(report.footnotes(results))
        recall = results["metrics"]["test/recall@10"]
        assert recall["n_left_out"] > 0, "choose a world where somebody is left out"
        for words in [
            results["dataset"],
            results["split_definition"],
            results["data"],
            results["split"],
            f"{results['rows']['test']:,} rows",
            f"recall leaves out {recall['n_left_out']} users",
            "mean ± sd of 2 seeds",
        ]:
            assert words in text

    def test_synthetic_data_is_the_first_thing_said(self, results):
        first = report.footnotes(results)[0]
        assert first.startswith("SYNTHETIC DATA")
        assert f"{results['floor_rmse']:.4f}" in first

    def test_real_data_is_not_called_synthetic(self, results):
        # Control of the test above.
        results.update(synthetic=False, floor_rmse=None, dataset="ml-latest-small")
        text = "\n".join(report.footnotes(results)) + report.metrics_csv(results)
        assert "ynthetic" not in text
        assert "SYNTHETIC" not in text


class TestCsv:
    def test_metrics_csv_is_one_row_with_the_means_in_full_precision(self, results):
        (row,) = parse_csv(report.metrics_csv(results))
        assert list(row) == [
            "Model",
            "Test RMSE",
            "Test MAE",
            "Test R2",
            "Precision@10",
            "NDCG@10",
            "Recall@10",
        ]
        for cell, name in zip(list(row.values())[1:], NAMES, strict=True):
            assert float(cell) == results["metrics"][f"test/{name}"]["mean"]
        assert row["Model"] == "A model [synthetic data]"

    def test_a_title_with_a_comma_stays_one_cell(self, make):
        text = report.metrics_csv(make(title='Item mean, "shrunk"'))
        (row,) = parse_csv(text)
        assert row["Model"].startswith('Item mean, "shrunk"')
        assert None not in row

    def test_history_has_a_row_an_epoch_and_an_empty_cell_for_no_loss(self):
        rows = parse_csv(report.history_csv(HISTORY))
        assert list(rows[0]) == [
            "epoch",
            "train_loss",
            "valid_loss",
            "seconds",
            "examples_per_second",
        ]
        assert [row["epoch"] for row in rows] == ["1", "2", "3"]
        assert float(rows[1]["valid_loss"]) == 1 / 3
        assert rows[2]["valid_loss"] == ""

    def test_no_epoch_leaves_the_header(self):
        text = report.history_csv([])
        assert text == "epoch,train_loss,valid_loss,seconds,examples_per_second\n"

    @pytest.mark.parametrize(
        ("valid", "expected"),
        [([0.2, 0.4], (0.2 + 0.4) / 2), ([math.nan, math.nan], None)],
    )
    def test_a_history_row_is_the_mean_over_seeds(self, valid, expected):
        row = report.history_row(3, np.array([0.1, 0.2]), np.array(valid), 0.5, 9.0)
        assert row["epoch"] == 3
        assert row["train_loss"] == pytest.approx((0.1 + 0.2) / 2)
        assert row["valid_loss"] == pytest.approx(expected)
        json.dumps(row, allow_nan=False)

    def test_per_user_values_are_means_over_seeds(self, judged, tiny_dataset):
        rows = parse_csv(report.per_user_csv(tiny_dataset, judged["test"], 10))
        assert len(rows) == len(judged["test"].user)
        for row, user, count in zip(
            rows, judged["test"].user, judged["test"].rows, strict=True
        ):
            assert int(row["userId"]) == tiny_dataset.user_ids[user]
            assert int(row["n_test"]) == count
        for name in ("rmse", "precision@10", "ndcg@10", "recall@10"):
            values = judged["test"].per_user[name].mean(axis=0)
            for row, value in zip(rows, values, strict=True):
                if math.isnan(value):
                    assert row[name] == ""
                else:
                    assert float(row[name]) == float(value)
        assert "" in {row["recall@10"] for row in rows}, "somebody is left out"


class TestFiles:
    def test_write_bytes_makes_folders_and_leaves_no_partial_file(self, tmp_path):
        path = tmp_path / "a" / "b" / "file.json"
        report.write_bytes(path, b"one")
        report.write_bytes(path, b"two")
        assert path.read_bytes() == b"two"
        assert [p.name for p in path.parent.iterdir()] == ["file.json"]

    def test_a_write_that_fails_leaves_the_old_file(self, tmp_path):
        path = tmp_path / "file.json"
        report.write_bytes(path, b"old")
        (tmp_path / ".file.json.partial").mkdir()  # where the new one would be written
        with pytest.raises(RunError, match=r"file\.json could not be written"):
            report.write_bytes(path, b"new")
        assert path.read_bytes() == b"old"

    @pytest.mark.parametrize("moment", ["write", "rename"])
    def test_a_full_disk_leaves_the_old_file_and_one_sentence(
        self, tmp_path, monkeypatch, moment
    ):
        path = tmp_path / "file.json"
        report.write_bytes(path, b"old")

        def full(*_):
            raise OSError(28, "No space left on device")

        if moment == "write":
            monkeypatch.setattr(type(path), "write_bytes", full)
        else:
            monkeypatch.setattr(os, "replace", full)
        with pytest.raises(RunError, match="No space left on device") as error:
            report.write_bytes(path, b"new")
        monkeypatch.undo()
        assert "\n" not in str(error.value)
        assert "Make room" in str(error.value)
        assert path.read_bytes() == b"old"

    def test_a_folder_below_a_file_is_one_sentence(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(RunError, match="could not be written"):
            report.write_bytes(tmp_path / "file" / "run.flags", b"")

    def test_results_come_back_as_they_were_written(self, results, tmp_path):
        users = "userId,n_test\n1,3\n"
        report.write_results(tmp_path, results, HISTORY, users)
        assert report.read_results(tmp_path) == json.loads(report.dumps(results))
        assert {path.name for path in tmp_path.iterdir()} == {
            "history.csv",
            "per_user.csv",
            "metrics.csv",
            "metrics.png",
            "curves.png",
            "metrics.json",
        }
        assert (tmp_path / "per_user.csv").read_text() == users
        assert (tmp_path / "metrics.csv").read_text() == report.metrics_csv(results)
        assert (tmp_path / "history.csv").read_text() == report.history_csv(HISTORY)

    @pytest.mark.parametrize(
        "name",
        ["history.csv", "per_user.csv", "metrics.csv", "metrics.png", "curves.png"],
    )
    def test_a_run_that_lacks_a_file_is_not_marked_finished(
        self, results, tmp_path, name
    ):
        # metrics.json is the mark, so whatever fails must come before it.
        (tmp_path / f".{name}.partial").mkdir()
        with pytest.raises(RunError, match="could not be written"):
            report.write_results(tmp_path, results, HISTORY, "")
        assert not (tmp_path / "metrics.json").exists()

    def test_without_metrics_json_there_are_no_results(self, tmp_path):
        assert report.read_results(tmp_path) is None
        assert report.read_results(tmp_path / "missing") is None

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"{",
            b"[]",
            b"null",
            b"{}",
            b"\xff\xfe",
            b'{"metrics": {}',
            b'"metrics"',
        ],
    )
    def test_damaged_results_are_named_in_one_sentence(self, tmp_path, content):
        (tmp_path / "metrics.json").write_bytes(content)
        with pytest.raises(RunError, match=r"metrics\.json is damaged") as error:
            report.read_results(tmp_path)
        assert "\n" not in str(error.value)
        assert "Remove it" in str(error.value)


class TestEnvironment:
    def test_it_names_versions_device_commit_and_fingerprints(
        self, tiny_dataset, tiny_split
    ):
        import jax

        found = report.environment(tiny_dataset, tiny_split)
        json.dumps(found, allow_nan=False)
        assert found["packages"]["jax"] == jax.__version__
        assert found["ncf_jax"] == ncf_jax.__version__
        assert found["device_count"] == jax.device_count()
        assert found["device_platform"] == jax.default_backend()
        assert (found["data"], found["split"]) == (
            tiny_dataset.fingerprint,
            tiny_split.fingerprint,
        )
        assert found["synthetic"] is True
        assert (found["git_commit"] is None) == (found["git_dirty"] is None)

    def test_without_git_the_commit_is_null(
        self, tiny_dataset, tiny_split, monkeypatch, tmp_path
    ):
        monkeypatch.setenv("PATH", str(tmp_path))
        found = report.environment(tiny_dataset, tiny_split)
        assert (found["git_commit"], found["git_dirty"]) == (None, None)
