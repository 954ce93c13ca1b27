"""The page of several runs.

Held here: figures and tests on it are those of the comparison; who leads is said with
what was tested and what was not; significance decides how a difference is drawn; the
options in which runs differ are found.
"""

import re
from functools import cache

import numpy as np
import pytest

from ncf_jax.compare import compare
from ncf_jax.pages import comparison, page, words
from tests import finished
from tests.pages import worlds
from tests.pages.drawings import described, marks
from tests.pages.test_page import Reader

A, B, C = "Net <a>", "Bias & item", "Chance"


@cache
def real(against="all"):
    """What `compare` says of three runs whose figures and users agree."""
    runs = [
        finished.make("runs/a", "Model <a>", ks=(3,)),
        finished.make("runs/b", "Model b", skill=0.3, seed=1, seeds=2, ks=(3,)),
        finished.make("runs/c", "Model c", skill=0.1, noise=1.2, seed=2, ks=(3,)),
    ]
    return runs, compare(runs, against=against)


def figure(mean, sd, low, high):
    known = real()[1].rows[0].figures["rmse"]
    return known._replace(mean=mean, sd=sd, ci95=(low, high))


def paired(a, b, metric, difference, better=None, **changes):
    low, high = (None, None)
    if difference is not None:
        low, high = difference - 0.01, difference + 0.01
    known = dict(
        a=a,
        b=b,
        metric=metric,
        difference=difference,
        ci95=(low, high),
        p=0.001,
        p_holm=0.0004 if better else 0.4,
        d_z=0.25,
        share_better=0.61,
        significant=better is not None,
        better=better,
    )
    return real()[1].tests[0]._replace(**known | changes)


def make(tests=None, rmse=(0.9, 0.8, 1.0), against="first", sd=None, synthetic=False):
    """A comparison of three runs in RMSE and NDCG@3 with the tests that are given."""
    _, known = real()
    rows = [
        row._replace(
            label=label,
            folder=f"runs/{n}",
            seeds=(0,) if sd is None else (0, 1),
            figures={
                "rmse": figure(value, sd, value - 0.1, value + 0.1),
                "ndcg@3": figure(1.5 - value, sd, 0.1, 0.9),
            },
            train_seconds=None if n == 2 else 1234.5,
            evaluate_seconds=0.25,
        )
        for n, (row, label, value) in enumerate(
            zip(known.rows, (A, B, C), rmse, strict=True)
        )
    ]
    if tests is None:
        tests = [
            paired(A, B, "rmse", -0.1, better=B),
            paired(A, B, "ndcg@3", 0.1),
            paired(A, C, "rmse", 0.1, better=A),
            paired(A, C, "ndcg@3", -0.1, better=A),
        ]
    return known._replace(
        dataset="tiny & small",
        data="d" * 16,
        split="5" * 16,
        synthetic=synthetic,
        against=against,
        metrics=("rmse", "ndcg@3"),
        rows=tuple(rows),
        tests=tuple(tests),
        family=len(tests),
        notes=("A note <with> & signs.",),
    )


def read(found=None, flags=()):
    found = found or make()
    runs = [worlds.make_finished(folder=row.folder) for row in found.rows]
    return Reader(page.comparison_page(runs, found, flags=flags))


class TestAnswers:
    def test_the_leader_is_said_with_whom_it_beats_and_who_was_not_tested(self):
        found = comparison.answer(make(), "rmse")
        assert found.head == B
        assert f"{B} has the best RMSE, 0.8000." in found.text
        assert f"significantly better than {A}." in found.text
        assert f"It was not tested against {C} (--against=best does)." in found.text
        assert found.tone == "open"

    def test_larger_is_better_for_ranking(self):
        found = comparison.answer(make(), "ndcg@3")
        assert found.head == B
        assert f"The difference from {A} is not significant." in found.text
        turned = comparison.answer(make(rmse=(0.7, 0.8, 1.0)), "ndcg@3")
        assert turned.head == A

    def test_whoever_beats_all_others_does_so_plainly(self):
        tests = [paired(B, x, "rmse", 0.1, better=B) for x in (A, C)]
        found = comparison.answer(make(tests), "rmse")
        assert found.tone == "better"
        assert f"significantly better than {A} and {C}." in found.text
        assert "not" not in found.text

    def test_a_run_without_the_figure_does_not_compete(self):
        found = comparison.answer(make(rmse=(0.9, np.inf, 1.0)), "rmse")
        assert found.head == A
        nobody = make()
        empty = tuple(row._replace(figures={}) for row in nobody.rows)
        assert comparison.answer(nobody._replace(rows=empty), "rmse").tone == "none"

    def test_lists_read_like_english(self):
        assert [comparison.listed(list("abc")[:n]) for n in range(4)] == [
            "",
            "a",
            "a and b",
            "a, b and c",
        ]


class TestFigures:
    def test_each_figure_and_interval_is_in_the_table(self):
        found = make(sd=0.0123)
        heads, sides = comparison.table(found)
        assert heads == ["RMSE ↓", "NDCG@3 ↑"]
        for row, side in zip(found.rows, sides, strict=True):
            for name, cell, span in zip(
                found.metrics, side.cells, side.intervals, strict=True
            ):
                figure = row.figures[name]
                assert cell.text == words.number(figure.mean, name)
                assert cell.sd == "0.0123"
                assert span == words.interval({"ci95": figure.ci95}, name)
        assert [[cell.best for cell in side.cells] for side in sides] == [
            [False, False],
            [True, True],
            [False, False],
        ]
        assert sides[0].seconds == ("1,234.5", "0.2")
        assert sides[2].seconds[0] == "–"

    def test_a_metric_that_a_run_lacks_is_a_dash(self):
        found = make()
        short = found.rows[0]._replace(
            figures={"ndcg@3": figure(None, None, None, None)}
        )
        _, sides = comparison.table(found._replace(rows=(short, *found.rows[1:])))
        assert [cell.text for cell in sides[0].cells] == ["–", "–"]

    def test_differences_that_are_significant_are_filled_and_coloured(self):
        first, second = comparison.forests(make())
        assert len(marks(first, "accent")) == 2
        assert len(marks(second, "accent")) == len(marks(second, "other")) == 1
        assert described(first).startswith(f"{B} − {A}: -0.1000, -0.1100 to -0.0900")
        assert "← the first is better" in first
        assert "the first is better →" in second
        assert "no difference" in first

    def test_signs_are_on_the_side_where_they_belong(self):
        (svg, _) = comparison.forests(make())
        (x, _), (y, _) = sorted(marks(svg, "accent"), key=lambda mark: mark[1])
        assert x < y, "-0.1 is left of 0.1"

    def test_a_metric_that_is_nowhere_defined_is_not_drawn(self):
        tests = [paired(A, B, "rmse", None), paired(A, B, "ndcg@3", 0.1)]
        assert len(comparison.forests(make(tests))) == 1

    @pytest.mark.parametrize(
        ("changes", "verdict", "p"),
        [
            ({"better": B}, "first is better", "< 0.001"),
            ({"better": A}, "second is better", "< 0.001"),
            ({}, "not significant", "0.400"),
            ({"significant": True}, "they differ", "0.400"),
            ({"p_holm": None, "d_z": None, "share_better": None}, "not tested", "–"),
        ],
    )
    def test_what_a_test_says(self, changes, verdict, p):
        difference = paired(A, B, "rmse", -0.1, **changes)
        ((pair, (found,)),) = comparison.tests(make([difference])).items()
        assert (found.verdict, found.p) == (verdict, p)
        assert pair == f"{B} − {A}"
        assert found.difference == "−0.1000 (−0.1100 to −0.0900)"
        if "d_z" not in changes:
            assert (found.effect, found.share) == ("+0.25", "61 %")


class TestDiffering:
    def test_only_options_that_differ_are_told(self):
        flags = [
            "--a=1\n--b=2\n--workdir=x\n",
            "--a=1\n--b=3\n--workdir=y\n",
            "--a=1\n",
        ]
        assert comparison.differing(make(), flags) == [("b", ["2", "3", "–"])]

    def test_without_flags_of_each_nothing_is_told(self):
        assert comparison.differing(make(), ["--a=1"]) == []


class TestPage:
    def test_it_is_whole_and_says_all_of_it(self):
        flags = ["--a=1\n--b=2\n", "--a=1\n--b=3\n", "--a=1\n--b=3\n"]
        found = read(flags=flags)
        text = found.text
        for said in ("Which of 3 models", A, B, C, "A note <with> & signs.", "4 tests",
                     "Options in which the runs differ", "d" * 16,
                     "python -m experiments.report runs/0 runs/1 runs/2"):  # fmt: skip
            assert said in text
        assert found.all("script") == []
        assert found.all("a") == []
        levels = [int(tag[1]) for tag, _ in found.found if re.fullmatch("h[1-6]", tag)]
        assert levels == [1, 2, 2, 2, 2]

    def test_how_it_was_tested_is_in_the_command(self):
        assert "--against=all" in read(make(against="all")).text
        assert "--against=first" not in read().text

    def test_synthetic_data_is_said_first(self):
        text = read(make(synthetic=True)).text
        assert text.index("no figure on this page is a result") < text.index("Which of")
        assert "Synthetic" not in read().text

    def test_the_real_comparison_makes_a_page(self):
        runs, found = real()
        text = Reader(page.comparison_page(runs, found)).text
        for row in found.rows:
            assert row.label in text
            for name, figure in row.figures.items():
                assert words.number(figure.mean, name) in text
        for test in found.tests:
            if test.difference is not None:
                assert comparison.signed(test.difference) in text
        assert f"{found.family} tests" in text
