"""The content of metrics.json, and the tables made of it.

Held here: the keys are those of format 2 and no other; every figure is the very one
that was measured; table, CSV and footnotes are made from the results alone and say the
same; an undefined figure is null and a dash, never a number; users left out, what
leaks and synthetic data are told wherever figures are shown.
"""

import csv
import io
import json
import math

import numpy as np
import pytest

from ncf_jax import report, results
from ncf_jax.config import Config
from ncf_jax.judge import evaluate_scores
from ncf_jax.results import (
    About,
    footnotes,
    history_csv,
    history_row,
    make_results,
    metrics_csv,
    more_rows,
    seeds_of,
    table_rows,
    to_csv,
)

KEYS = {
    "format",
    "program",
    "name",
    "model",
    "dataset",
    "synthetic",
    "floor_rmse",
    "split_definition",
    "split_limits",
    "warnings",
    "rows",
    "users",
    "seeds",
    "k",
    "ks",
    "convention",
    "candidates",
    "ties",
    "threshold",
    "metrics",
    "baselines",
    "tests",
    "data",
    "split",
}
FIELDS = {
    "mean",
    "sd",
    "ci95",
    "values",
    "definition",
    "n_used",
    "n_left_out",
    "convention",
    "candidates",
}
RATING = ["rmse", "mae", "r2"]
LISTS = ["precision", "ndcg", "recall", "hit_rate", "mrr", "map"]
RANKING = [*LISTS, "novelty", "popularity", "tied_cutoffs"]
SHOWN = ["rmse", "mae", "r2", "precision@10", "ndcg@10", "recall@10"]
KS = (10, 5, 20)
ABOUT = About(
    program="experiments.train",
    name="mine",
    title="A model",
    seeds=[3, 4],
    ks=KS,
    limits="It shows this; it cannot show that.",
    warnings=["Leak: one.", "Cold: another."],
)
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


def guesses(dataset, rows, seeds=2):
    """The truth with noise of another size for each seed."""
    noise = np.random.default_rng(len(rows)).normal(size=(seeds, len(rows)))
    size = 0.5 * np.arange(1, seeds + 1)[:, None]
    return (dataset.rating[rows] + size * noise).astype(np.float32)


@pytest.fixture(scope="module")
def judged(tiny_dataset, tiny_split):
    """Evaluations of two seeds of guesses."""
    return {
        part: evaluate_scores(
            guesses(tiny_dataset, rows),
            tiny_dataset,
            rows,
            train=tiny_split.train,
            k=KS,
        )
        for part, rows in (("test", tiny_split.test), ("valid", tiny_split.valid))
    }


@pytest.fixture
def make(judged, tiny_dataset, tiny_split):
    def of(evaluations=judged, baselines=None, **changes):
        return make_results(
            ABOUT._replace(**changes),
            tiny_dataset,
            tiny_split,
            evaluations,
            {"A baseline": judged["test"]} if baselines is None else baselines,
        )

    return of


@pytest.fixture
def found(make):
    return make()


@pytest.fixture
def undefined(make, tiny_dataset, tiny_split):
    """Results of rows with low ratings only: nobody has a relevant item."""
    rows = tiny_split.test[tiny_dataset.rating[tiny_split.test] < 4]
    prediction = guesses(tiny_dataset, rows, seeds=1)
    evaluation = evaluate_scores(prediction, tiny_dataset, rows, k=10)
    return make({"test": evaluation}, {}, seeds=[0], ks=(10,)), evaluation


def parse_csv(text):
    assert "\r" not in text
    assert text.endswith("\n")
    return list(csv.DictReader(io.StringIO(text)))


class TestResults:
    def test_the_keys_are_those_of_the_format(self, found):
        assert set(found) == KEYS
        assert found["format"] == results.FORMAT == 2

    def test_what_is_said_of_the_run_is_as_given(self, found, tiny_dataset, tiny_split):
        said = {
            "program": "experiments.train",
            "name": "mine",
            "model": "A model",
            "seeds": [3, 4],
            "k": 10,
            "ks": [10, 5, 20],
            "convention": "standard",
            "candidates": "rated",
            "ties": "expected",
            "threshold": 4.0,
            "split_limits": "It shows this; it cannot show that.",
            "warnings": ["Leak: one.", "Cold: another."],
            "dataset": tiny_dataset.label,
            "synthetic": True,
            "floor_rmse": tiny_dataset.floor_rmse,
            "split_definition": tiny_split.definition,
            "data": tiny_dataset.fingerprint,
            "split": tiny_split.fingerprint,
        }
        assert {name: found[name] for name in said} == said

    @pytest.mark.parametrize(
        ("name", "given", "key", "wanted"),
        [
            ("ks", (5, 10), "k", 5),
            ("ks", (5, 10), "ks", [5, 10]),
            ("convention", "graded", "convention", "graded"),
            ("candidates", "catalogue", "candidates", "catalogue"),
            ("ties", "pessimistic", "ties", "pessimistic"),
            ("threshold", 3.5, "threshold", 3.5),
            ("program", "experiments.peers", "program", "experiments.peers"),
            ("warnings", (), "warnings", []),
            ("seeds", range(2), "seeds", [0, 1]),
        ],
    )
    def test_each_thing_said_has_its_own_key(self, make, name, given, key, wanted):
        assert make(**{name: given})[key] == wanted

    def test_every_metric_of_every_part_and_cut_off_is_there(self, found, judged):
        names = RATING + [f"{name}@{k}" for name in RANKING for k in KS]
        assert set(found["metrics"]) == {
            f"{part}/{name}" for part in ("test", "valid") for name in names
        }
        for key, metric in found["metrics"].items():
            part, name = key.split("/")
            summary = judged[part].metrics[name]
            assert set(metric) == FIELDS
            assert metric["mean"] == summary.mean
            assert tuple(metric["values"]) == summary.values
            assert metric["definition"] == summary.definition
            assert tuple(metric["ci95"]) == summary.ci95
            assert metric["n_used"] == summary.n_used

    def test_convention_and_candidates_stand_beside_each_ranking_figure(self, found):
        for key, metric in found["metrics"].items():
            ranking = "@" in key
            assert metric["convention"] == ("standard" if ranking else None), key
            assert metric["candidates"] == ("rated" if ranking else None), key

    def test_two_seeds_have_a_standard_deviation(self, found):
        metric = found["metrics"]["test/rmse"]
        a, b = metric["values"]
        assert a != b
        assert math.isclose(metric["sd"], abs(a - b) / math.sqrt(2))

    def test_rows_and_users_are_counted_by_part(self, found, tiny_dataset, tiny_split):
        parts = {"test": tiny_split.test, "valid": tiny_split.valid}
        assert found["rows"] == {part: len(rows) for part, rows in parts.items()}
        assert found["users"] == {
            part: len(np.unique(tiny_dataset.user[rows]))
            for part, rows in parts.items()
        }

    def test_baselines_are_judged_on_test_rows_only(self, found, judged):
        (metrics,) = found["baselines"].values()
        assert set(metrics) == {f"test/{name}" for name in judged["test"].metrics}
        assert metrics["test/mae"] == found["metrics"]["test/mae"]

    def test_json_keeps_every_digit(self, found):
        back = json.loads(report.dumps(found))
        assert back == found
        values = back["metrics"]["test/rmse"]["values"]
        assert values == found["metrics"]["test/rmse"]["values"]

    def test_a_metric_that_is_defined_for_nobody_is_null(self, undefined, tiny_dataset):
        found, evaluation = undefined
        recall = found["metrics"]["test/recall@10"]
        assert recall["mean"] is None
        assert recall["sd"] is None
        assert recall["values"] == [None]
        assert recall["ci95"] == [None, None]
        assert recall["n_used"] == 0
        assert recall["n_left_out"] == len(evaluation.user) > 0
        assert found["metrics"]["test/precision@10"]["mean"] == 0
        assert "NaN" not in report.dumps(found)
        assert table_rows(found)[1][0][-1] == "–"
        (row,) = parse_csv(metrics_csv(found))
        assert row["Recall@10"] == ""
        assert float(row["Precision@10"]) == 0

    def test_scores_that_are_no_stars_have_no_rating_figures(
        self, make, tiny_dataset, tiny_split
    ):
        rows = tiny_split.test
        prediction = guesses(tiny_dataset, rows) * 100
        evaluation = evaluate_scores(prediction, tiny_dataset, rows, stars=False)
        found = make({"test": evaluation}, {}, ks=(10,))
        for name in RATING:
            metric = found["metrics"][f"test/{name}"]
            assert (metric["mean"], metric["values"]) == (None, [None, None])
            assert (metric["n_used"], metric["n_left_out"]) == (0, len(rows))
        assert found["metrics"]["test/ndcg@10"]["mean"] > 0
        assert table_rows(found)[1][0][2:5] == ["–"] * 3


class TestTable:
    def test_the_header_names_the_metrics_with_the_first_cut_off(self, make):
        header, _ = table_rows(make())
        assert header[:5] == ["model", "rows", "RMSE", "MAE", "R²"]
        assert header[5:] == ["P@10", "NDCG@10", "R@10"]
        assert table_rows(make(ks=(5, 10)))[0][-3:] == ["P@5", "NDCG@5", "R@5"]

    def test_the_model_comes_first_with_both_parts_then_the_baselines(self, found):
        _, rows = table_rows(found)
        assert [row[:2] for row in rows] == [
            ["A model", "test"],
            ["A model", "valid"],
            ["A baseline", "test"],
        ]

    @pytest.mark.parametrize("k", KS)
    def test_each_cell_is_its_own_metric(self, make, k):
        found = make(ks=(k,))
        _, rows = table_rows(found)
        for row in rows[:2]:
            for cell, name in zip(row[2:], SHOWN, strict=True):
                key = f"{row[1]}/{name.replace('@10', f'@{k}')}"
                metric = found["metrics"][key]
                assert cell == f"{metric['mean']:.4f} ± {metric['sd']:.4f}"

    def test_one_seed_has_no_plus_minus(self, found):
        for metric in found["metrics"].values():
            metric["sd"] = None
        _, rows = table_rows(found)
        assert "±" not in "".join(rows[0] + rows[1])
        assert "±" in "".join(rows[2]), "control"

    def test_without_validation_rows_there_is_no_such_line(self, make, judged):
        _, rows = table_rows(make({"test": judged["test"]}))
        assert [row[1] for row in rows] == ["test", "test"]

    @pytest.mark.parametrize(
        ("mean", "shown"),
        [(-0.00001, "0.0000"), (0.00004, "0.0000"), (-0.5, "-0.5000"), (None, "–")],
    )
    def test_a_figure_that_rounds_to_nothing_has_no_sign(self, found, mean, shown):
        found["metrics"]["test/r2"] |= {"mean": mean, "sd": None}
        assert table_rows(found)[1][0][4] == shown


class TestMoreRows:
    def test_there_is_a_line_a_cut_off_in_the_order_given(self, found):
        header, rows = more_rows(found)
        assert [row[0] for row in rows] == [f"test, K = {k}" for k in KS]
        assert all(len(row) == len(header) for row in rows)

    def test_each_cell_is_its_own_metric_of_the_test_rows(self, found):
        header, rows = more_rows(found)
        assert set(header[1:]) == set(results.MORE) - {"coverage"}
        for row, k in zip(rows, KS, strict=True):
            for column, cell in zip(header[1:], row[1:], strict=True):
                metric = found["metrics"][f"test/{results.MORE[column]}@{k}"]
                assert cell == f"{metric['mean']:.4f} ± {metric['sd']:.4f}"

    def test_what_was_not_measured_has_no_column(self, make, tiny_dataset, tiny_split):
        # Nothing is known of items without train rows, and lists of one's own rated
        # rows cover nothing.
        rows = tiny_split.test
        prediction = guesses(tiny_dataset, rows)
        evaluation = evaluate_scores(prediction, tiny_dataset, rows, k=10)
        header, _ = more_rows(make({"test": evaluation}, {}, ks=(10,)))
        labels = [label for label, name in results.MORE.items() if name in LISTS]
        assert header == ["", *labels, "tied"]

    def test_lists_of_the_catalogue_cover_some_of_it(
        self, make, tiny_dataset, tiny_split
    ):
        rows = tiny_split.test
        stars = np.linspace(1, 5, tiny_dataset.num_items, dtype=np.float32)
        evaluation = evaluate_scores(
            stars[tiny_dataset.item[rows]][None],
            tiny_dataset,
            rows,
            train=tiny_split.train,
            catalogue=lambda user: np.tile(stars, (1, len(user), 1)),
            candidates="catalogue",
            k=10,
        )
        found = make({"test": evaluation}, {}, ks=(10,), seeds=[0])
        header, (row,) = more_rows(found)
        coverage = found["metrics"]["test/coverage@10"]
        assert coverage["ci95"] == [None, None]
        assert 10 / tiny_dataset.num_items <= coverage["mean"] < 1
        assert row[header.index("coverage")] == f"{coverage['mean']:.4f}"

    def test_a_figure_that_is_not_defined_is_a_dash(self, undefined):
        header, rows = more_rows(undefined[0])
        assert rows[0][header.index("R")] == "–"
        assert rows[0][header.index("P")] == "0.0000"


class TestFootnotes:
    def test_they_tell_data_split_counts_and_who_was_left_out(self, found):
        text = "\n".join(footnotes(found))
        recall = found["metrics"]["test/recall@10"]
        assert recall["n_left_out"] > 0, "choose a world where somebody is left out"
        for words in [
            found["dataset"],
            found["split_definition"],
            found["data"],
            found["split"],
            f"{found['rows']['test']:,} rows of {found['users']['test']:,} users",
            f"recall leaves out {recall['n_left_out']} users",
            "mean ± sd of 2 seeds",
        ]:
            assert words in text

    def test_one_seed_is_called_one(self, make):
        text = "\n".join(footnotes(make(seeds=[0])))
        assert "one seed" in text
        assert "±" not in text

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({}, "ranking: standard reading of each user's rated rows, relevant from "),
            ({}, "from 4.0 stars, ties by expectation"),
            ({"ties": "pessimistic"}, "ties pessimistic"),
            ({"convention": "lenskit"}, "ranking: lenskit reading"),
            ({"threshold": 3.5}, "relevant from 3.5 stars"),
            ({"candidates": "catalogue"}, "all items a user has not rated in train"),
        ],
    )
    def test_they_name_the_reading(self, make, changes, said):
        (line,) = [x for x in footnotes(make(**changes)) if x.startswith("ranking: ")]
        assert said in line

    def test_what_leaks_is_said_last_a_line_each(self, found):
        assert footnotes(found)[-2:] == ["Leak: one.", "Cold: another."]

    def test_synthetic_data_is_the_first_thing_said(self, found):
        first = footnotes(found)[0]
        assert first.startswith("SYNTHETIC DATA")
        assert f"{found['floor_rmse']:.4f}" in first

    def test_real_data_is_not_called_synthetic(self, found):
        # Control of the test above.
        found.update(synthetic=False, floor_rmse=None, dataset="ml-latest-small")
        text = "\n".join(footnotes(found)) + metrics_csv(found)
        assert "ynthetic" not in text
        assert "SYNTHETIC" not in text


class TestCsv:
    def test_metrics_csv_is_one_row_with_the_means_in_full_precision(self, found):
        (row,) = parse_csv(metrics_csv(found))
        assert list(row) == [
            "Model",
            "Test RMSE",
            "Test MAE",
            "Test R2",
            "Precision@10",
            "NDCG@10",
            "Recall@10",
        ]
        for cell, name in zip(list(row.values())[1:], SHOWN, strict=True):
            assert float(cell) == found["metrics"][f"test/{name}"]["mean"]
        assert row["Model"] == "A model [synthetic data]"

    def test_a_title_with_a_comma_stays_one_cell(self, make):
        (row,) = parse_csv(metrics_csv(make(title='Item mean, "shrunk"')))
        assert row["Model"].startswith('Item mean, "shrunk"')
        assert None not in row

    def test_cells_are_quoted_and_floats_whole(self):
        text = to_csv(["a", "b"], [['say "no", twice', 0.1 + 0.2], [None, ""]])
        assert text == 'a,b\n"say ""no"", twice",0.30000000000000004\n,\n'

    def test_history_has_a_row_an_epoch_and_an_empty_cell_for_no_loss(self):
        rows = parse_csv(history_csv(HISTORY))
        assert list(rows[0]) == list(results.HISTORY)
        assert [row["epoch"] for row in rows] == ["1", "2", "3"]
        assert float(rows[1]["valid_loss"]) == 1 / 3
        assert rows[2]["valid_loss"] == ""

    def test_no_epoch_leaves_the_header(self):
        text = history_csv([])
        assert text == "epoch,train_loss,valid_loss,seconds,examples_per_second\n"

    @pytest.mark.parametrize(
        ("valid", "expected"),
        [([0.2, 0.4], (0.2 + 0.4) / 2), ([math.nan, math.nan], None)],
    )
    def test_a_history_row_is_the_mean_over_seeds(self, valid, expected):
        row = history_row(3, np.array([0.1, 0.2]), np.array(valid), 0.5, 9.0)
        assert list(row) == list(results.HISTORY)
        assert row["epoch"] == 3
        assert row["train_loss"] == pytest.approx((0.1 + 0.2) / 2)
        assert row["valid_loss"] == pytest.approx(expected)
        json.dumps(row, allow_nan=False)


class TestSpread:
    @pytest.fixture
    def ensemble(self, judged):
        """The evaluations, of three members that differ by what chance gives."""
        rng = np.random.default_rng(2)
        return {
            part: each._replace(spread=rng.uniform(0.1, 0.5, each.prediction.shape))
            for part, each in judged.items()
        }

    def test_it_is_there_for_ensembles_only_and_nothing_else_is_other(
        self, make, ensemble, found
    ):
        ours = make(ensemble, members=3)
        assert ours.pop("spread").keys() == {"test", "valid"}
        assert ours == found

    def test_figures_are_of_the_predictions_and_ratings_of_the_part(
        self, make, ensemble, tiny_dataset, tiny_split
    ):
        found = make(ensemble, members=3)["spread"]
        for part, each in ensemble.items():
            rating = tiny_dataset.rating[getattr(tiny_split, part)]
            error = each.prediction.astype(float) - rating
            groups = found[part]["deciles"]
            squared = np.dot(groups["rows"], np.square(groups["found"]))
            assert squared <= (error**2).sum(axis=1).mean()
            assert found[part]["rows"] == len(rating) == sum(groups["rows"])
            spread = found[part]["mean_spread"]["values"]
            assert spread == pytest.approx(each.spread.mean(axis=1))

    def test_the_line_says_what_the_results_say(self, make, ensemble, found):
        ours = make(ensemble, members=3)
        (line,) = set(footnotes(ours)) - set(footnotes(found))
        test = ours["spread"]["test"]
        share = {k: 100 * test[f"coverage@{k}"]["mean"] for k in (50, 80, 95)}
        assert line == (
            f"spread over 3 members: mean {test['mean_spread']['mean']:.2f} stars; "
            f"95 % intervals hold {share[95]:.1f} % of test ratings "
            f"(80 %: {share[80]:.1f}, 50 %: {share[50]:.1f})"
        )
        assert footnotes(ours)[-2:] == ours["warnings"]


def test_the_seed_of_an_ensemble_is_its_first_members():
    assert list(seeds_of(Config(seed=3, num_seeds=2))) == [3, 4]
    assert list(seeds_of(Config(seed=3, num_seeds=2, ensemble=3))) == [3, 6]
    assert list(seeds_of(Config(seed=3, ensemble=3))) == [3]
