"""The training command and the run folder it leaves.

Held here: the folder has exactly the files the project promises, in the promised
shape, and every figure in one of them is the figure in the others; a finished run
trains nothing and changes no byte; a folder that is not this run's is refused and left
as it was; what is synthetic says so everywhere; a run folder alone repeats its run.
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
from ncf_jax import checkpoint, report
from ncf_jax.config import Config

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
}
METRICS = ["rmse", "mae", "r2", "precision@10", "ndcg@10", "recall@10"]
KEYS = [f"{part}/{name}" for part in ("test", "valid") for name in METRICS]
FIELDS = {"mean", "sd", "ci95", "values", "definition", "n_used", "n_left_out"}


def results_of(run):
    return json.loads((run.workdir / "metrics.json").read_text())


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def printed_table(out):
    """The last table in a command's output: (model, rows) -> cells by column."""
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
            if "@" in key:
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
        header = path.read_text().splitlines()[0]
        assert header == "userId,n_test,rmse,precision@10,ndcg@10,recall@10"
        loaded = ncf_jax.load_run(str(run.workdir))
        users = loaded.dataset.user_ids[loaded.dataset.user[loaded.split.test]]
        ids, counts = np.unique(users, return_counts=True)
        rows = rows_of(path)
        found = {int(row["userId"]): int(row["n_test"]) for row in rows}
        assert len(found) == len(rows)
        assert found == dict(zip(ids.tolist(), counts.tolist(), strict=True))

    @pytest.mark.parametrize("run", ["finished", "two_seeds"])
    @pytest.mark.parametrize("name", ["precision@10", "ndcg@10", "recall@10"])
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

    def test_run_flags_are_the_effective_configuration(self, finished):
        path = finished.workdir / "run.flags"
        parsed = flags.parse(Config, [f"--flagfile={path}"])
        assert parsed.identity() == finished.config.identity()

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


class TestFinishedRun:
    def test_a_finished_run_says_so_and_changes_no_byte(
        self, finished, command, tiny, content
    ):
        before = content(finished.workdir)
        stamps = {p: p.stat().st_mtime_ns for p in finished.workdir.rglob("*")}
        outcome = command("train", *tiny(finished.workdir))
        assert outcome.code == 0
        assert "is finished; nothing was trained" in outcome.out
        assert "epoch" not in outcome.out.split("\n\n")[0]
        assert printed_table(outcome.out) == printed_table(finished.out)
        assert content(finished.workdir) == before
        assert {p: p.stat().st_mtime_ns for p in finished.workdir.rglob("*")} == stamps

    @pytest.mark.parametrize(
        "changes", [{"keep": 1}, {"data_dir": "elsewhere"}, {"cache_dir": ""}]
    )
    def test_an_option_that_changes_no_figure_is_the_same_run(
        self, finished, command, tiny, content, changes
    ):
        before = content(finished.workdir)
        outcome = command("train", *tiny(finished.workdir, **changes))
        assert (outcome.code, outcome.err) == (0, "")
        assert "nothing was trained" in outcome.out
        assert content(finished.workdir) == before

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"epochs": 4}, ["--epochs: 3 there, 4 here"]),
            ({"seed": 7}, ["--seed: 0 there, 7 here"]),
            ({"split_seed": 1}, ["--split_seed: 42 there, 1 here"]),
            ({"learning_rate": 0.1}, ["--learning_rate: 0.0005 there, 0.1 here"]),
            (
                {"k": 5, "synthetic_users": 50},
                ["--k: 10 there, 5 here", "--synthetic_users: 40 there, 50 here"],
            ),
        ],
    )
    def test_another_configuration_is_refused_with_the_flag_and_both_values(
        self, finished, command, tiny, content, changes, said
    ):
        before = content(finished.workdir)
        sentence = command("train", *tiny(finished.workdir, **changes)).sentence(4)
        for words in [*said, str(finished.workdir), "another run"]:
            assert words in sentence
        assert content(finished.workdir) == before

    def test_a_damaged_metrics_json_is_named_and_kept(
        self, finished, command, tiny, tmp_path, content
    ):
        for name in ("run.flags", "metrics.json"):
            text = (finished.workdir / name).read_bytes()
            (tmp_path / name).write_bytes(text[:-40])
        before = content(tmp_path)
        (tmp_path / "run.flags").write_bytes(
            (finished.workdir / "run.flags").read_bytes()
        )
        sentence = command("train", *tiny(tmp_path)).sentence(4)
        assert "metrics.json" in sentence
        assert "damaged" in sentence
        assert content(tmp_path)["metrics.json"] == before["metrics.json"]


class TestForeignFolder:
    @pytest.fixture
    def refused(self, command, tiny, content, tmp_path):
        def run(workdir):
            before = content(tmp_path)
            sentence = command("train", *tiny(workdir)).sentence(4)
            assert content(tmp_path) == before
            assert str(workdir) in sentence
            return sentence

        return run

    def test_a_folder_with_other_files_is_refused(self, refused, tmp_path):
        (tmp_path / "thesis.tex").write_text("years of work")
        assert "not empty and not a run folder" in refused(tmp_path)

    def test_a_folder_with_a_hidden_file_is_not_empty(self, refused, tmp_path):
        (tmp_path / ".hidden").write_text("")
        assert "not empty" in refused(tmp_path)

    def test_a_file_is_refused(self, refused, tmp_path):
        path = tmp_path / "file"
        path.write_text("not a folder")
        assert "is a file; name a folder" in refused(path)

    def test_a_folder_below_a_file_is_refused(self, refused, tmp_path):
        (tmp_path / "file").write_text("not a folder")
        assert "Not a directory" in refused(tmp_path / "file" / "run")

    @pytest.mark.parametrize("text", ["--no_such_flag=1\n", "--epochs=0\n", "words\n"])
    def test_unreadable_run_flags_are_refused(self, refused, tmp_path, text):
        (tmp_path / "run.flags").write_text(text)
        assert "run.flags cannot be read as a run's flags" in refused(tmp_path)

    def test_an_empty_folder_is_accepted(self, command, tiny, tmp_path):
        # Control; the run itself is small and also covers a closed-form model.
        workdir = tmp_path / "new"
        workdir.mkdir()
        outcome = command(
            "train",
            *[
                f
                for f in tiny(workdir, epochs=1)
                if "batch" not in f and "dim" not in f
            ],
            "--model=global_mean",
        )
        assert (outcome.code, outcome.err) == (0, "")
        assert {path.name for path in workdir.iterdir()} == FILES


class TestModels:
    @pytest.fixture
    def trained(self, command, cache_dir, tmp_path):
        def run(**options):
            world = dict(
                synthetic_users=40, synthetic_items=60, synthetic_ratings_per_user=25
            )
            values = world | dict(cache_dir=cache_dir, workdir=tmp_path) | options
            outcome = command("train", *(f"--{k}={v}" for k, v in values.items()))
            assert (outcome.code, outcome.err) == (0, "")
            return json.loads((tmp_path / "metrics.json").read_text())

        return run

    @pytest.mark.parametrize(
        ("model", "title"),
        [
            ("bias", "User + item bias"),
            ("item_mean", "Item mean, shrunk"),
            ("global_mean", "Global mean"),
        ],
    )
    def test_each_baseline_trains_to_its_row_beside_the_network(
        self, trained, finished, model, title
    ):
        # As a model of its own, and as a row under another, it is the same.
        found = trained(model=model)
        beside = results_of(finished)["baselines"][title]
        assert found["model"] == title
        for key, metric in beside.items():
            assert found["metrics"][key]["mean"] == metric["mean"]
        assert title not in found["baselines"]
        assert len(found["baselines"]) == 2

    def test_the_global_mean_is_the_mean_of_the_training_rows(self, trained, tmp_path):
        found = trained(model="global_mean")
        run = ncf_jax.load_run(str(tmp_path))
        stars = run.dataset.rating.astype(np.float64)
        truth = stars[run.split.test]
        error = truth - stars[run.split.train].mean()
        rmse = math.sqrt(np.mean(error**2))
        assert math.isclose(found["metrics"]["test/rmse"]["mean"], rmse, rel_tol=1e-5)
        mae = np.mean(np.abs(error))
        assert math.isclose(found["metrics"]["test/mae"]["mean"], mae, rel_tol=1e-5)

    def test_another_cut_off_names_every_column_by_it(self, trained, tmp_path):
        found = trained(model="bias", k=3)
        assert "test/ndcg@3" in found["metrics"]
        assert not [key for key in found["metrics"] if key.endswith("@10")]
        assert "NDCG@3" in (tmp_path / "metrics.csv").read_text()
        assert "ndcg@3" in (tmp_path / "per_user.csv").read_text()


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
        for name in ("metrics.csv", "per_user.csv", "run.flags"):
            assert (workdir / name).read_bytes() == (
                finished.workdir / name
            ).read_bytes()

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


class TestOtherData:
    def test_a_resumed_run_refuses_data_of_another_fingerprint(
        self, command, tiny, interrupt_after, content, tmp_path, monkeypatch
    ):
        workdir, cache = tmp_path / "run", tmp_path / "cache"
        flags_of_run = tiny(workdir, cache_dir=cache)
        interrupt_after(1)
        assert command("train", *flags_of_run).code == 130
        monkeypatch.undo()
        (ratings,) = cache.glob("*/ratings.csv")
        lines = ratings.read_text().splitlines(keepends=True)
        user, movie, stars, time = lines[1].split(",")
        lines[1] = f"{user},{movie},{0.5 if stars != '0.5' else 5.0},{time}"
        ratings.write_text("".join(lines))
        before = content(workdir)
        sentence = command("train", *flags_of_run).sentence(4)
        assert "was trained on other data" in sentence
        trained_on = checkpoint.load_meta(workdir, 1)["data"]
        assert f"fingerprint {trained_on} there" in sentence
        assert content(workdir) == before

    def test_untouched_data_goes_on(
        self, command, tiny, interrupt_after, tmp_path, monkeypatch
    ):
        # The control of the test above.
        workdir = tmp_path / "run"
        interrupt_after(2)
        assert command("train", *tiny(workdir)).code == 130
        monkeypatch.undo()
        outcome = command("train", *tiny(workdir))
        assert outcome.code == 0
        assert "going on after epoch 2 of 3" in outcome.out
        assert report.read_results(workdir) is not None
