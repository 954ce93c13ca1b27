"""The page's tables.

Held here: each figure of the results is in one of the tables, as it is; the best of a
line is marked by the metric's own direction; options that differ from their defaults
come first.
"""

import dataclasses

import pytest

from ncf_jax.config import Config
from ncf_jax.pages import tables, words
from tests.pages import worlds


def make_results(seeds=1, **changes):
    results = worlds.make_results(seeds, **changes)
    names = ["ndcg@5", "novelty@3", "coverage@3", "mine@5"]
    results["metrics"] |= worlds.figures("test", 0.3, seeds, names)
    return results


class TestMetricTables:
    @pytest.mark.parametrize("seeds", [1, 4])
    def test_each_figure_is_in_exactly_one_line(self, seeds):
        results = make_results(seeds)
        found = tables.metric_tables(results)
        captions = [table.caption for table in found]
        assert captions == ["Test rows", "Test rows, other cut-offs", "Validation rows"]
        shown = []
        for table in found:
            part = "valid" if "Valid" in table.caption else "test"
            for line in table.lines:
                metric = results["metrics"][f"{part}/{line.key}"]
                shown.append(f"{part}/{line.key}")
                assert line.cells[0].text == words.number(metric["mean"], line.key)
                assert line.interval == words.interval(metric, line.key)
                assert line.sd == words.number(metric["sd"], line.key)
                assert line.used.startswith(f"{metric['n_used']} ")
                assert line.left_out == "2"
            assert table.seeds == (seeds > 1)
        assert sorted(shown) == sorted(results["metrics"])

    def test_lines_are_in_the_order_of_the_names(self):
        table = tables.metric_tables(make_results())[0]
        assert [line.key for line in table.lines] == [
            "rmse", "mae", "r2", "precision@3", "ndcg@3", "recall@3", "novelty@3",
            "coverage@3",
        ]  # fmt: skip

    def test_rating_figures_are_of_rows_and_ranking_figures_of_users(self):
        table = tables.metric_tables(make_results())[0]
        kinds = {line.key: line.used.split()[1] for line in table.lines}
        assert kinds["rmse"] == kinds["r2"] == "rows"
        assert kinds["ndcg@3"] == "users"

    def test_baselines_stand_beside_the_test_rows_alone(self):
        found = tables.metric_tables(make_results())
        assert found[0].columns == [worlds.MODEL, "User + item bias", "Global mean"]
        assert found[2].columns == [worlds.MODEL]

    def test_the_best_is_marked_by_its_direction(self):
        table = tables.metric_tables(make_results())[0]
        best = {line.key: [cell.best for cell in line.cells] for line in table.lines}
        assert best["rmse"] == [False, True, False]
        assert best["ndcg@3"] == [False, False, True]
        assert best["novelty@3"] == [False, False, False]  # it only describes

    @pytest.mark.parametrize(
        ("values", "name", "best"),
        [
            ([1.0, 2.0, None], "rmse", [True, False, False]),
            ([1.0, 2.0, None], "map", [False, True, False]),
            ([1.0, 1.0], "mae", [True, True]),
            ([1.0], "rmse", [False]),
            ([None, None], "rmse", [False, False]),
            ([1.0, 2.0], "coverage", [False, False]),
        ],
    )
    def test_best_of(self, values, name, best):
        assert tables.best_of(values, name) == best

    def test_definitions_are_given_once_with_their_setting(self):
        found = tables.definitions(make_results())
        keys = [key for key, _, _ in found]
        assert len(keys) == len(set(keys)) == 10
        texts = {key: text for key, _, text in found}
        assert texts["rmse"] == "the rmse <as defined> & no other"
        assert "(convention reference, candidates rated)" in texts["ndcg@3"]


class TestOptions:
    def test_those_that_differ_from_the_default_come_first(self):
        found = tables.options(
            "--model=ncf\n--data_dir=/elsewhere\n--epochs=3\n", "experiments.train"
        )
        assert [option.name for option in found] == ["epochs", "data_dir", "model"]
        defaults = {f.name: f.default for f in dataclasses.fields(Config)}
        assert found[0].default == str(defaults["epochs"])
        assert found[2].default is None

    def test_each_default_is_recognised_as_one(self):
        lines = [
            f"--{f.name}={tables._text(f.default)}" for f in dataclasses.fields(Config)
        ]
        found = tables.options("\n".join(lines), "experiments.train")
        assert len(found) == len(lines)
        assert all(option.default is None for option in found)

    def test_of_another_program_no_default_is_claimed(self):
        found = tables.options("--epochs=3\n", "experiments.peers")
        assert found == [tables.Option("epochs", "3", None)]

    def test_comments_are_no_options_and_values_may_hold_anything(self):
        text = "# --epochs=1\n--data_dir=/a=b c\n\n--tensorboard\n"
        assert list(tables.parse(text)) == [("data_dir", "/a=b c"), ("tensorboard", "")]

    def test_the_environment_is_flat_and_leaves_out_what_is_not_known(self):
        assert tables.environment(worlds.ENVIRONMENT) == [
            ("python", "3.12.1"),
            ("jax", "0.7.0"),
            ("git dirty", "false"),
        ]
