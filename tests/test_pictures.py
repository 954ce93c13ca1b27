"""The run's pictures.

Held here: each is a whole PNG of a size one can print, for one seed and many, with
figures that are not defined, and with long names; nothing is cut at the border and no
text lies on another; the table holds no other figures than the results.
"""

import copy
import io

import numpy as np
import pytest
from matplotlib import image

from ncf_jax import pictures

NAMES = ["rmse", "mae", "r2", "precision@10", "ndcg@10", "recall@10"]
LONGEST_MODEL = "NCFMoviesTags (Ratings + Genres + Tags)"
LONGEST_DATA = (
    "ml-latest-small (another copy: ratings.csv, movies.csv, tags.csv not as of "
    "2018-09-26)"
)
SYNTHETIC = "synthetic world (not real data)"
RED = np.array([0xB0, 0x00, 0x20])


def metric(mean, seeds):
    return {
        "mean": mean,
        "sd": None if seeds == 1 or mean is None else 0.0123,
        "ci95": [None, None] if mean is None else [mean - 0.1, mean + 0.1],
        "values": [mean] * seeds,
        "definition": "as defined",
        "n_used": 610,
        "n_left_out": 26,
    }


def make_results(seeds=1, model=LONGEST_MODEL, dataset="ml-latest-small", start=0.9):
    def of(part, first):
        return {
            f"{part}/{name}": metric(first - n / 10, seeds)
            for n, name in enumerate(NAMES)
        }

    return {
        "model": model,
        "dataset": dataset,
        "synthetic": dataset == SYNTHETIC,
        "floor_rmse": 0.7379 if dataset == SYNTHETIC else None,
        "split_definition": "user_random, seed 42: 70/15/15 in each user",
        "rows": {"test": 12447, "valid": 12164},
        "seeds": list(range(seeds)),
        "k": 10,
        "ks": [10],
        "convention": "standard",
        "candidates": "rated",
        "ties": "expected",
        "threshold": 4.0,
        "warnings": [],
        "metrics": of("test", start) | of("valid", start + 0.01),
        "baselines": {
            name: of("test", 0.85 + n / 100)
            for n, name in enumerate(["User + item bias", "Item mean, shrunk"])
        },
        "data": "0123456789abcdef",
        "split": "fedcba9876543210",
    }


def make_history(epochs=10, valid=True):
    return [
        {
            "epoch": n,
            "train_loss": 0.1 / n,
            "valid_loss": 0.05 / n + n / 500 if valid else None,
        }
        for n in range(1, epochs + 1)
    ]


def pixels(png):
    """[height, width, 3] whole numbers from 0 to 255."""
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    assert png.endswith(b"IEND\xaeB`\x82"), "not whole"
    shown = image.imread(io.BytesIO(png), format="png")
    return np.rint(shown[..., :3] * 255).astype(int)


def assert_white_border(shown, width=2):
    """Nothing is cut: text that runs out of the picture leaves ink at its edge."""
    edges = {
        "top": shown[:width],
        "bottom": shown[-width:],
        "left": shown[:, :width],
        "right": shown[:, -width:],
    }
    for name, edge in edges.items():
        assert (edge == 255).all(), f"ink at the {name} edge: something is cut"


def ink_of(shown, colour, tolerance=8):
    return int((np.abs(shown - colour).max(axis=-1) <= tolerance).sum())


class TestMetricsTable:
    @pytest.mark.parametrize("seeds", [1, 10])
    @pytest.mark.parametrize("model", ["Global mean", LONGEST_MODEL, "word " * 20])
    @pytest.mark.parametrize("dataset", ["ml-latest-small", SYNTHETIC, LONGEST_DATA])
    def test_it_is_a_whole_picture_with_nothing_cut(self, seeds, model, dataset):
        results = make_results(seeds, model.strip(), dataset)
        shown = pixels(pictures.metrics_table(results))
        height, width, _ = shown.shape
        assert 400 <= height <= 1500
        assert 1200 <= width <= 6000
        assert (shown != 255).mean() > 0.005, "an empty picture"
        assert_white_border(shown)

    def test_many_baselines_make_it_taller_and_cut_nothing(self):
        few, many = make_results(), make_results()
        for n in range(12):
            many["baselines"][f"Baseline {n}"] = few["baselines"]["User + item bias"]
        one, other = (pixels(pictures.metrics_table(each)) for each in (few, many))
        assert other.shape[0] > one.shape[0]
        assert other.shape[1] == one.shape[1]
        assert_white_border(other)

    @pytest.mark.parametrize("seeds", [1, 10])
    def test_a_figure_that_is_not_defined_is_drawn_as_a_dash(self, seeds):
        results = make_results(seeds)
        results["metrics"]["test/recall@10"] = metric(None, seeds)
        shown = pixels(pictures.metrics_table(results))
        assert_white_border(shown)
        whole = pixels(pictures.metrics_table(make_results(seeds)))
        assert shown.shape == whole.shape
        assert not np.array_equal(shown, whole)

    def test_a_column_without_any_figure_is_drawn(self):
        results = make_results()
        for each in (results["metrics"], *results["baselines"].values()):
            for key in list(each):
                if key.endswith("recall@10"):
                    each[key] = metric(None, 1)
        assert_white_border(pixels(pictures.metrics_table(results)))

    def test_without_validation_rows_there_is_one_line_less(self):
        results = make_results()
        whole = pixels(pictures.metrics_table(results))
        del results["rows"]["valid"]
        assert pixels(pictures.metrics_table(results)).shape[0] < whole.shape[0]

    @pytest.mark.parametrize("seeds", [1, 10])
    def test_what_leaks_is_said_below_and_nothing_is_cut(self, seeds):
        results = make_results(seeds)
        short = pixels(pictures.metrics_table(results))
        results["warnings"] = ["Leak in time: " + "word " * 60 + "end."] * 4
        shown = pixels(pictures.metrics_table(results))
        assert shown.shape[0] > short.shape[0]
        assert shown.shape[1] == short.shape[1]
        assert_white_border(shown)

    def test_a_changed_figure_changes_the_picture(self):
        results = make_results()
        changed = copy.deepcopy(results)
        changed["metrics"]["test/mae"]["mean"] += 0.0001
        one, same, other = (
            pictures.metrics_table(each)
            for each in (results, copy.deepcopy(results), changed)
        )
        assert one == same, "the same results, the same bytes"
        assert not np.array_equal(pixels(one), pixels(other))

    def test_synthetic_data_is_warned_of_in_red(self):
        synthetic = pixels(pictures.metrics_table(make_results(dataset=SYNTHETIC)))
        real = pixels(pictures.metrics_table(make_results()))
        assert ink_of(synthetic, RED) > 200
        assert ink_of(real, RED) == 0

    def test_drawing_changes_no_result(self):
        results = make_results(10)
        before = copy.deepcopy(results)
        pictures.metrics_table(results)
        pictures.learning_curves(results, make_history())
        assert results == before


class TestBest:
    HEADER = ("model", "rows", "RMSE", "P@10")

    @pytest.mark.parametrize(
        ("rows", "expected"),
        [
            # The smallest error and the largest precision.
            (
                [["a", "test", "0.9", "0.5"], ["b", "test", "0.8", "0.4"]],
                [[False, True], [True, False]],
            ),
            # Validation rows do not compete.
            (
                [["a", "test", "0.9", "0.5"], ["a", "valid", "0.1", "0.9"]],
                [[True, True], [False, False]],
            ),
            # Equal as printed: both.
            (
                [["a", "test", "0.9 ± 0.1", "0.5"], ["b", "test", "0.9", "0.5"]],
                [[True, True], [True, True]],
            ),
            # What is not defined is not the best.
            (
                [["a", "test", "–", "–"], ["b", "test", "0.9", "–"]],
                [[False, False], [True, False]],
            ),
            # The largest of negative numbers is the one nearest to zero.
            (
                [["a", "test", "1", "-0.2"], ["b", "test", "2", "-0.1"]],
                [[True, False], [False, True]],
            ),
        ],
    )
    def test_the_best_of_the_test_rows_is_set_in_bold(self, rows, expected):
        assert pictures._best(self.HEADER, rows) == expected


class TestLearningCurves:
    @pytest.mark.parametrize("epochs", [1, 2, 10, 150])
    @pytest.mark.parametrize("valid", [True, False])
    def test_it_is_a_whole_picture_with_nothing_cut(self, epochs, valid):
        png = pictures.learning_curves(make_results(), make_history(epochs, valid))
        shown = pixels(png)
        assert shown.shape == (800, 1280, 3)
        assert (shown != 255).mean() > 0.005, "an empty picture"
        assert_white_border(shown)

    @pytest.mark.parametrize("seeds", [1, 10])
    @pytest.mark.parametrize("dataset", ["ml-latest-small", SYNTHETIC, LONGEST_DATA])
    @pytest.mark.parametrize("model", ["Global mean", LONGEST_MODEL])
    def test_no_name_is_cut(self, seeds, dataset, model):
        results = make_results(seeds, model, dataset)
        shown = pixels(pictures.learning_curves(results, make_history()))
        assert_white_border(shown)

    @pytest.mark.parametrize("seeds", [1, 10])
    @pytest.mark.parametrize("dataset", ["ml-latest-small", SYNTHETIC, LONGEST_DATA])
    def test_the_names_of_model_and_data_do_not_lie_on_each_other(self, seeds, dataset):
        def black_on_top(dataset):
            results = make_results(seeds, LONGEST_MODEL, dataset)
            shown = pixels(pictures.learning_curves(results, make_history()))
            return ink_of(shown[:110], np.zeros(3), tolerance=0)

        # Ink of the title that the other text covers is missing from the count.
        alone, together = black_on_top("-"), black_on_top(dataset)
        assert alone > 1000
        assert together >= 0.98 * alone, "the data's name lies on the title"

    def test_synthetic_data_is_named_in_red(self):
        history = make_history()
        synthetic = pictures.learning_curves(make_results(dataset=SYNTHETIC), history)
        real = pictures.learning_curves(make_results(), history)
        assert ink_of(pixels(synthetic), RED) > 100
        assert ink_of(pixels(real), RED) == 0

    def test_the_losses_are_what_is_drawn(self):
        history = make_history()
        one = pictures.learning_curves(make_results(), history)
        same = pictures.learning_curves(make_results(), copy.deepcopy(history))
        history[4]["valid_loss"] *= 1.5
        other = pictures.learning_curves(make_results(), history)
        assert one == same
        assert not np.array_equal(pixels(one), pixels(other))

    def test_a_curve_without_validation_has_one_line_less(self):
        red_brown = np.array([0xB5, 0x48, 0x2A])
        both, one = (
            pixels(pictures.learning_curves(make_results(), make_history(valid=valid)))
            for valid in (True, False)
        )
        assert ink_of(both, red_brown) > 500
        assert ink_of(one, red_brown) == 0

    def test_losses_far_apart_are_drawn(self):
        history = make_history(3)
        history[0]["train_loss"] = 1e12
        shown = pixels(pictures.learning_curves(make_results(), history))
        assert_white_border(shown)
