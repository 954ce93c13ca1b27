"""The training command and the run folder it leaves.

Held here: the folder has exactly the files the project promises, in the promised
shape, and every figure in one of them is the figure in the others; what is synthetic
says so everywhere; a run folder alone repeats its run, and refuses other data.
"""

import csv
import dataclasses
import json
import math
import re

import numpy as np
import pytest

import ncf_jax
from experiments import flags
from ncf_jax import report, results
from ncf_jax.config import Config
from ncf_jax.data import splits
from ncf_jax.metrics import RATING, rating

# The table "A run folder is a complete object", and nothing else.
FILES = {
    "run.flags",
    "environment.json",
    "state",
    "history.csv",
    "metrics.json",
    "metrics.csv",
    "metrics.png",
    "curves.png",
    "per_user.csv",
    "per_user.npz",
    "predictions.npz",
    "events.jsonl",
    "samples.json",
    "timing.json",
    "report.html",
}
# What a repeated run leaves with the very same bytes.
SAME = [
    "metrics.json",
    "metrics.csv",
    "metrics.png",
    "per_user.csv",
    "per_user.npz",
    "predictions.npz",
    "samples.json",
    "run.flags",
]
METRICS = ["rmse", "mae", "r2", "precision@10", "ndcg@10", "recall@10"]
MORE = ["hit_rate@10", "mrr@10", "map@10"]
DESCRIBED = ["novelty@10", "popularity@10", "tied_cutoffs@10"]
KEYS = [
    f"{part}/{name}"
    for part in ("test", "valid")
    for name in [*METRICS, *MORE, *DESCRIBED]
]
FIELDS = {"mean", "sd", "ci95", "values", "definition", "n_used", "n_left_out"}
FIELDS |= {"convention", "candidates"}


def results_of(run):
    return json.loads((run.workdir / "metrics.json").read_text())


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def printed_table(out):
    """The metrics table in a command's output: (model, rows) -> cells by column."""
    lines = out.splitlines()
    start = max(n for n, line in enumerate(lines) if line.startswith("model  "))
    header = re.split(r"\s{2,}", lines[start].strip())
    table = {}
    for line in lines[start + 1 :]:
        if not line.strip():
            break
        cells = re.split(r"\s{2,}", line.strip())
        assert len(cells) == len(header), line
        table[tuple(cells[:2])] = dict(zip(header[2:], cells[2:], strict=True))
    return table


class TestRunFolder:
    def test_a_run_folder_holds_exactly_the_promised_files(self, finished):
        assert {path.name for path in finished.workdir.iterdir()} == FILES

    def test_the_state_folder_holds_the_last_checkpoints_and_the_data(self, finished):
        found = {path.name for path in (finished.workdir / "state").iterdir()}
        last = [finished.config.epochs - n for n in range(finished.config.keep)]
        assert found == {"dataset", *map(str, last)}

    @pytest.mark.parametrize("run", ["finished", "two_seeds"])
    def test_metrics_json_has_the_promised_shape(self, run, request):
        run = request.getfixturevalue(run)
        found = results_of(run)
        assert set(found["metrics"]) == set(KEYS)
        for key, metric in found["metrics"].items():
            assert set(metric) == FIELDS, key
            assert len(metric["values"]) == run.config.num_seeds
            assert math.isclose(metric["mean"], np.mean(metric["values"]))
            assert len(metric["definition"]) > 20
            assert type(metric["n_used"]) is type(metric["n_left_out"]) is int
            low, high = metric["ci95"]
            assert low <= metric["mean"] <= high, key
            ranking = "@" in key
            assert metric["convention"] == ("standard" if ranking else None)
            assert metric["candidates"] == ("rated" if ranking else None)
        assert found["format"] == 2
        assert found["program"] == "experiments.train"
        assert found["name"] == run.config.model == "ncf"
        assert (found["k"], found["ks"]) == (10, [10])
        assert found["convention"] == "standard"
        assert found["ties"] == "expected"
        assert found["threshold"] == 4.0
        assert re.fullmatch("[0-9a-f]{16}", found["data"])
        assert re.fullmatch("[0-9a-f]{16}", found["split"])

    def test_sd_is_null_for_one_seed(self, finished):
        assert {m["sd"] for m in results_of(finished)["metrics"].values()} == {None}

    def test_sd_of_two_seeds_is_that_of_their_values(self, two_seeds):
        for metric in results_of(two_seeds)["metrics"].values():
            a, b = metric["values"]
            assert math.isclose(metric["sd"], abs(a - b) / math.sqrt(2), abs_tol=1e-15)
        rmse = results_of(two_seeds)["metrics"]["test/rmse"]
        assert rmse["values"][0] != rmse["values"][1], "two seeds, one result"
        assert results_of(two_seeds)["seeds"] == [0, 1]

    def test_ranking_figures_are_shares(self, finished):
        for key, metric in results_of(finished)["metrics"].items():
            if "@" in key and "novelty" not in key:  # which is in bits
                assert 0 <= metric["mean"] <= 1, key

    def test_rows_are_those_of_the_split(self, finished):
        split = ncf_jax.load_run(str(finished.workdir)).split
        found = results_of(finished)
        assert found["rows"] == {"test": len(split.test), "valid": len(split.valid)}
        assert found["metrics"]["test/rmse"]["n_used"] == len(split.test)
        assert found["metrics"]["valid/mae"]["n_used"] == len(split.valid)

    def test_metrics_csv_has_the_reference_columns_and_recall(self, finished):
        path = finished.workdir / "metrics.csv"
        header = path.read_text().splitlines()[0]
        assert header == (
            "Model,Test RMSE,Test MAE,Test R2,Precision@10,NDCG@10,Recall@10"
        )
        (row,) = rows_of(path)
        for column, name in zip(header.split(",")[1:], METRICS, strict=True):
            mean = results_of(finished)["metrics"][f"test/{name}"]["mean"]
            assert float(row[column]) == mean, "full precision, the very same figure"
        assert row["Model"].startswith("NCFMoviesTags (Ratings + Genres + Tags)")

    @pytest.mark.parametrize("run", ["finished", "two_seeds"])
    def test_history_csv_has_a_row_for_each_epoch(self, run, request):
        run = request.getfixturevalue(run)
        path = run.workdir / "history.csv"
        assert path.read_text().splitlines()[0] == (
            "epoch,train_loss,valid_loss,seconds,examples_per_second"
        )
        rows = rows_of(path)
        assert [int(row["epoch"]) for row in rows] == [*range(1, run.config.epochs + 1)]
        train_rows = len(ncf_jax.load_run(str(run.workdir)).split.train)
        for row in rows:
            assert all(float(value) > 0 for value in row.values())
            assert math.isclose(
                float(row["examples_per_second"]) * float(row["seconds"]),
                train_rows * run.config.num_seeds,
            )

    def test_the_last_validation_loss_is_the_evaluated_one(self, finished):
        # Two paths to one figure: the loss on ratings / 5, and the RMSE in stars.
        last = float(rows_of(finished.workdir / "history.csv")[-1]["valid_loss"])
        rmse = results_of(finished)["metrics"]["valid/rmse"]["mean"]
        assert math.isclose(math.sqrt(last) * 5, rmse, rel_tol=1e-5)

    @pytest.mark.parametrize("run", ["finished", "two_seeds"])
    def test_per_user_csv_names_each_user_with_test_rows_once(self, run, request):
        run = request.getfixturevalue(run)
        path = run.workdir / "per_user.csv"
        header = path.read_text().splitlines()[0].split(",")
        assert header[:6] == [
            "userId",
            "n_test",
            "rmse",
            "precision@10",
            "ndcg@10",
            "recall@10",
        ]
        assert set(header[6:]) == {"mae", "r2", *MORE, *DESCRIBED}
        loaded = ncf_jax.load_run(str(run.workdir))
        users = loaded.dataset.user_ids[loaded.dataset.user[loaded.split.test]]
        ids, counts = np.unique(users, return_counts=True)
        rows = rows_of(path)
        found = {int(row["userId"]): int(row["n_test"]) for row in rows}
        assert len(found) == len(rows)
        assert found == dict(zip(ids.tolist(), counts.tolist(), strict=True))

    @pytest.mark.parametrize("run", ["finished", "two_seeds"])
    @pytest.mark.parametrize("name", [*METRICS[3:], *MORE, *DESCRIBED])
    def test_the_mean_of_per_user_values_is_the_reported_figure(
        self, run, name, request
    ):
        run = request.getfixturevalue(run)
        rows = rows_of(run.workdir / "per_user.csv")
        metric = results_of(run)["metrics"][f"test/{name}"]
        values = [float(row[name]) for row in rows if row[name]]
        assert math.isclose(np.mean(values), metric["mean"], rel_tol=1e-6)
        assert len(values) == metric["n_used"]
        assert len(rows) - len(values) == metric["n_left_out"]

    def test_the_pooled_error_of_users_is_the_reported_rmse(self, finished):
        rows = rows_of(finished.workdir / "per_user.csv")
        squares = sum(int(r["n_test"]) * float(r["rmse"]) ** 2 for r in rows)
        total = sum(int(r["n_test"]) for r in rows)
        rmse = results_of(finished)["metrics"]["test/rmse"]["mean"]
        assert math.isclose(math.sqrt(squares / total), rmse, rel_tol=1e-5)

    @pytest.mark.parametrize("run", ["finished", "two_seeds"])
    def test_arrays_of_users_make_the_figures_of_each_seed_again(self, run, request):
        run = request.getfixturevalue(run)
        found = ncf_jax.load_finished(run.workdir)
        sums = rating.RatingSums(*np.moveaxis(found.per_user.sums.sum(axis=1), -1, 0))
        metrics = results_of(run)["metrics"]
        for name, of in RATING.items():
            wanted = metrics[f"test/{name}"]["values"]
            np.testing.assert_allclose(of(sums), wanted, rtol=0, atol=1e-9)
        for name, value in found.per_user.values.items():
            wanted = metrics[f"test/{name}"]["values"]
            np.testing.assert_allclose(np.nanmean(value, axis=1), wanted, atol=1e-6)
        assert set(found.per_user.values) == {*METRICS[3:], *MORE, *DESCRIBED}

    @pytest.mark.parametrize("run", ["finished", "two_seeds"])
    def test_stored_predictions_are_those_that_were_judged(self, run, request):
        run = request.getfixturevalue(run)
        loaded = ncf_jax.load_run(str(run.workdir))
        stored = report.read_npz(run.workdir / "predictions.npz")
        assert set(stored) == {"test", "valid"}
        for part, stars in stored.items():
            rows = getattr(loaded.split, part)
            assert stars.shape == (run.config.num_seeds, len(rows))
            assert stars.dtype == np.float32
            error = stars.astype(np.float64) - loaded.dataset.rating[rows]
            wanted = results_of(run)["metrics"][f"{part}/rmse"]["values"]
            rmse = np.sqrt((error**2).mean(axis=1))
            np.testing.assert_allclose(rmse, wanted, rtol=1e-9)

    @pytest.mark.parametrize("run", ["finished", "two_seeds"])
    def test_samples_are_of_three_users_and_show_nothing_seen_in_train(
        self, run, request
    ):
        run = request.getfixturevalue(run)
        found = json.loads((run.workdir / "samples.json").read_text())
        loaded = ncf_jax.load_run(str(run.workdir))
        dataset, train = loaded.dataset, loaded.split.train
        assert len({sample["user_id"] for sample in found}) == len(found) == 3
        for sample in found:
            mine = dataset.user_ids[dataset.user[train]] == sample["user_id"]
            seen = dict(
                zip(
                    dataset.item_ids[dataset.item[train[mine]]].tolist(),
                    dataset.rating[train[mine]].tolist(),
                    strict=True,
                )
            )
            assert sample["n_train"] == len(seen)
            for movie in sample["liked"]:
                assert movie["rating"] == seen[movie["movie_id"]]
            shown = [movie["movie_id"] for movie in sample["recommended"]]
            assert len(shown) == 10
            assert not set(shown) & set(seen)
            scores = [movie["score"] for movie in sample["recommended"]]
            assert scores == sorted(scores, reverse=True)

    @pytest.mark.parametrize("run", ["finished", "two_seeds"])
    def test_events_are_the_history_and_the_figures(self, run, request):
        run = request.getfixturevalue(run)
        text = (run.workdir / "events.jsonl").read_text()
        lines = list(map(json.loads, text.splitlines()))
        epochs = [line for line in lines if line.pop("event") == "epoch"]
        assert epochs == report.read_history(run.workdir)
        figures = {line.pop("name"): line for line in lines[len(epochs) :]}
        assert figures == results_of(run)["metrics"]

    def test_timing_is_told_beside_the_figures_and_not_among_them(self, finished):
        timing = json.loads((finished.workdir / "timing.json").read_text())
        assert set(timing) == {"train_seconds", "evaluate_seconds"}
        history = report.read_history(finished.workdir)
        assert timing["train_seconds"] == sum(row["seconds"] for row in history)
        assert timing["evaluate_seconds"] > 0
        assert "seconds" not in (finished.workdir / "metrics.json").read_text()

    def test_a_finished_run_can_be_loaded_as_one(self, finished):
        found = ncf_jax.load_finished(finished.workdir)
        assert found.results == results_of(finished)
        assert len(found.history) == finished.config.epochs

    def test_run_flags_are_the_effective_configuration(self, finished):
        path = finished.workdir / "run.flags"
        parsed = flags.parse(Config, [f"--flagfile={path}"])
        assert parsed.identity() == finished.config.identity()

    def test_run_flags_hold_the_fingerprints_that_were_found(self, finished):
        # So that the file repeats this run or refuses, and never another one.
        path = finished.workdir / "run.flags"
        parsed = flags.parse(Config, [f"--flagfile={path}"])
        found = results_of(finished)
        assert parsed.data_fingerprint == found["data"]
        assert parsed.split_fingerprint == found["split"]

    def test_environment_json_says_where_the_figures_come_from(self, finished):
        found = json.loads((finished.workdir / "environment.json").read_text())
        results = results_of(finished)
        assert (found["data"], found["split"]) == (results["data"], results["split"])
        assert found["ncf_jax"] == ncf_jax.__version__
        assert {"jax", "flax", "optax", "orbax-checkpoint"} <= set(found["packages"])
        assert {"device_kind", "device_count", "git_commit", "git_dirty"} <= set(found)


class TestOutput:
    @pytest.mark.parametrize("run", ["finished", "two_seeds"])
    def test_every_printed_figure_is_that_of_metrics_json(self, run, request):
        run = request.getfixturevalue(run)
        found, table = results_of(run), printed_table(run.out)
        columns = dict(
            zip(["RMSE", "MAE", "R²", "P@10", "NDCG@10", "R@10"], METRICS, strict=True)
        )
        wanted = {
            (found["model"], part): {
                name: found["metrics"][f"{part}/{name}"] for name in METRICS
            }
            for part in ("test", "valid")
        } | {
            (title, "test"): {name: each[f"test/{name}"] for name in METRICS}
            for title, each in found["baselines"].items()
        }
        assert list(table) == list(wanted)
        for row, cells in table.items():
            for column, text in cells.items():
                metric = wanted[row][columns[column]]
                mean, *rest = text.split(" ± ")
                assert mean == f"{metric['mean']:.4f}", (row, column)
                sd = [] if metric["sd"] is None else [f"{metric['sd']:.4f}"]
                assert rest == sd, (row, column)

    def test_every_baseline_stands_beside_the_model(self, finished):
        assert set(results_of(finished)["baselines"]) == {
            "User + item bias",
            "Item mean, shrunk",
            "Global mean",
        }

    def test_the_configuration_comes_first_and_what_was_given_is_marked(self, finished):
        before, epochs = finished.out.split("epoch   1", 1)
        assert "epoch   2" in epochs
        lines = [line for line in before.splitlines() if line.startswith("  ")]
        shown = {name: value for name, *value in map(str.split, lines)}
        assert list(shown) == [field.name for field in dataclasses.fields(Config)]
        assert shown["epochs"] == ["3", "*"]
        assert shown["split_seed"] == ["42"]

    def test_each_epoch_is_a_line_with_the_losses_of_the_history(self, finished):
        lines = [x for x in finished.out.splitlines() if x.startswith("epoch ")]
        rows = rows_of(finished.workdir / "history.csv")
        assert len(lines) == len(rows) == finished.config.epochs
        for number, (line, row) in enumerate(zip(lines, rows, strict=True), start=1):
            assert line.split()[1] == str(number)
            assert f"train loss {float(row['train_loss']):.4f}" in line
            assert f"valid loss {float(row['valid_loss']):.4f}" in line

    @pytest.mark.parametrize("run", ["finished", "two_seeds"])
    def test_every_ranking_figure_is_printed_a_line_a_cut_off(self, run, request):
        run = request.getfixturevalue(run)
        header, rows = results.more_rows(results_of(run))
        lines = run.out.splitlines()
        (place,) = [n for n, x in enumerate(lines) if x.startswith(rows[0][0])]
        assert re.split(r"\s{2,}", lines[place].strip()) == rows[0]
        assert re.split(r"\s{2,}", lines[place - 1].strip()) == header[1:]

    def test_the_leak_of_the_random_split_is_told(self, finished):
        found = results_of(finished)
        leaks = [w for w in found["warnings"] if w.startswith("Leak in time: ")]
        assert len(leaks) == 1
        assert "--split=global_time" in leaks[0]
        assert all(warning in finished.out for warning in found["warnings"])
        assert found["split_limits"] == splits.LIMITS["user_random"]

    def test_users_left_out_are_told(self, finished):
        metric = results_of(finished)["metrics"]["test/recall@10"]
        assert metric["n_left_out"] > 0, "choose a world where somebody is left out"
        assert f"recall leaves out {metric['n_left_out']} users" in finished.out

    def test_synthetic_data_is_named_in_every_output(self, finished):
        folder = finished.workdir
        assert "synthetic world (not real data): 40 users" in finished.out
        assert "SYNTHETIC DATA: nobody rated anything" in finished.out
        assert "[synthetic data]" in (folder / "metrics.csv").read_text()
        for name in ("metrics.json", "environment.json"):
            found = json.loads((folder / name).read_text())
            assert found["synthetic"] is True
            assert "not real data" in found["dataset"]

    def test_the_lowest_possible_rmse_is_shown_and_below_every_model(self, finished):
        found = results_of(finished)
        assert f"{found['floor_rmse']:.4f}" in finished.out
        every = [found["metrics"], *found["baselines"].values()]
        assert all(each["test/rmse"]["mean"] > found["floor_rmse"] for each in every)


class TestRepeating:
    def test_run_flags_repeat_the_run_to_the_last_digit(
        self, finished, command, tmp_path
    ):
        workdir = tmp_path / "again"
        outcome = command(
            "train",
            f"--flagfile={finished.workdir / 'run.flags'}",
            f"--workdir={workdir}",
        )
        assert (outcome.code, outcome.err) == (0, "")
        same = [
            (folder / "metrics.json").read_bytes()
            for folder in (finished.workdir, workdir)
        ]
        assert same[0] == same[1]
        for name in SAME:
            assert (workdir / name).read_bytes() == (
                finished.workdir / name
            ).read_bytes(), name

    @pytest.mark.parametrize(
        ("change", "what"),
        [
            ("--synthetic_seed=1", "data"),
            ("--min_item_ratings=11", "data"),
            ("--split_seed=1", "split"),
            ("--split=global_time", "split"),
        ],
    )
    def test_run_flags_refuse_other_data_and_another_split(
        self, finished, command, tmp_path, change, what
    ):
        workdir = tmp_path / "again"
        sentence = command(
            "train",
            f"--flagfile={finished.workdir / 'run.flags'}",
            f"--workdir={workdir}",
            change,
        ).sentence(3)
        wanted = results_of(finished)[what]
        assert sentence.startswith(f"The {what} has fingerprint ")
        assert f"--{what}_fingerprint={wanted}" in sentence
        assert not workdir.exists(), "something was written"

    def test_a_split_can_be_asked_for_without_its_data_being_asked_for(
        self, finished, command, tmp_path
    ):
        # Passing an empty fingerprint takes any, as the sentence says.
        outcome = command(
            "train",
            f"--flagfile={finished.workdir / 'run.flags'}",
            f"--workdir={tmp_path / 'again'}",
            "--split_seed=1",
            "--split_fingerprint=",
            "--epochs=1",
        )
        assert (outcome.code, outcome.err) == (0, "")
        assert (
            results_of(finished._replace(workdir=tmp_path / "again"))["split"]
            != (results_of(finished)["split"])
        )

    def test_another_seed_gives_other_figures(self, finished, command, tmp_path, tiny):
        # The control of the test above.
        assert command("train", *tiny(tmp_path / "run", seed=1)).code == 0
        found = json.loads((tmp_path / "run" / "metrics.json").read_text())
        was = results_of(finished)
        assert found["metrics"]["test/rmse"] != was["metrics"]["test/rmse"]
        assert found["baselines"] == was["baselines"], "they have no seed"
        assert (found["data"], found["split"]) == (was["data"], was["split"])

    def test_a_seed_of_several_is_the_seed_alone(
        self, two_seeds, command, tmp_path, tiny
    ):
        # Seed 1 in a vmap of two, and on its own, up to rounding.
        workdir = tmp_path / "alone"
        assert command("train", *tiny(workdir, seed=1, epochs=2)).code == 0
        alone = json.loads((workdir / "metrics.json").read_text())
        for key, metric in results_of(two_seeds)["metrics"].items():
            if key.split("/")[1] in ("rmse", "mae"):
                value = alone["metrics"][key]["values"][0]
                assert math.isclose(metric["values"][1], value, rel_tol=1e-4), key
                assert not math.isclose(metric["values"][0], value, rel_tol=1e-4), key
