"""Finished runs compared: figures are those of metrics.json, tests those of
`metrics.paired` on the values of users, Holm counts every test of the output, and what
cannot be compared is refused in one sentence that names the folders."""

import json
import re

import numpy as np
import pytest

from ncf_jax import formats
from ncf_jax.compare import FLIPS_A_TEST, SEED, compare, larger_is_better
from ncf_jax.errors import ConfigError, RunError
from ncf_jax.metrics import paired
from tests.finished import USERS, make

DEFAULT = ("rmse", "mae", "r2", "precision@10", "ndcg@10", "recall@10")


def twins(**changes):
    """Two runs of the same kind, the second with its own luck and changes."""
    return make("runs/a", "A"), make("runs/b", "B", seed=1, **changes)


def by_metric(found):
    return {test.metric: test for test in found.tests}


def refused(runs, error=RunError, **options):
    """The one sentence with which a comparison is refused."""
    with pytest.raises(error) as caught:
        compare(runs, **options)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert sentence.endswith((".", "?"))
    return sentence


class TestFigures:
    def test_they_are_those_of_metrics_json(self):
        a, b = make("runs/a", "A", seeds=3), make("runs/b", "B", seed=1)
        found = compare([a, b])
        assert found.metrics == DEFAULT
        for row, run in zip(found.rows, (a, b), strict=True):
            assert list(row.figures) == list(DEFAULT)
            for name, figure in row.figures.items():
                stored = run.results["metrics"][f"test/{name}"]
                assert figure.mean == stored["mean"]
                assert figure.sd == stored["sd"]
                assert list(figure.ci95) == stored["ci95"]

    def test_a_row_names_its_run_seeds_and_seconds(self):
        timing = {"train_seconds": 1.5, "evaluate_seconds": 0.25}
        a, b = make("runs/a", "A", seeds=2, timing=timing), make("runs/b", "B")
        first, second = compare([a, b]).rows
        assert (first.label, first.folder, first.seeds) == ("A", "runs/a", (0, 1))
        assert (first.train_seconds, first.evaluate_seconds) == (1.5, 0.25)
        assert (second.train_seconds, second.evaluate_seconds) == (None, None)

    def test_the_cut_off_is_the_first_runs_first(self):
        a = make("runs/a", "A", ks=(5, 10))
        b = make("runs/b", "B", ks=(10, 5))
        assert compare([a, b]).metrics[3:] == ("precision@5", "ndcg@5", "recall@5")
        assert compare([b, a]).metrics[3:] == DEFAULT[3:]

    def test_metrics_are_chosen_by_name_in_the_order_given(self):
        found = compare([*twins()], metrics=["ndcg@10", "rmse", "ndcg@10"])
        assert found.metrics == ("ndcg@10", "rmse")
        assert [test.metric for test in found.tests] == ["ndcg@10", "rmse"]

    def test_a_title_that_repeats_gets_its_folder(self):
        runs = [
            make("x/a", "T"),
            make("x/b", "T"),
            make("y/b", "T"),
            make("y/c", "Other"),
        ]
        labels = [row.label for row in compare(runs).rows]
        assert labels == ["T (a)", "T (x/b)", "T (y/b)", "Other"]

    def test_what_a_run_says_of_itself_is_in_the_notes(self):
        a, b = twins(warnings=["A leak."])
        found = compare([a, b])
        assert "B: A leak." in found.notes
        assert "It shows little." in found.notes
        assert not found.synthetic

    def test_synthetic_data_is_said_first(self):
        a, b = make(synthetic=True), make("runs/b", synthetic=True, seed=1)
        found = compare([a, b])
        assert found.synthetic
        assert found.notes[0].startswith("SYNTHETIC DATA")


class TestTests:
    def test_a_difference_is_that_of_the_figures(self):
        found = compare([*twins(skill=0.2)])
        a, b = found.rows
        for test in found.tests:
            assert (test.a, test.b) == ("A", "B")
            name = test.metric
            assert test.difference == b.figures[name].mean - a.figures[name].mean
            assert test.ci95[0] < test.difference < test.ci95[1]

    def test_they_are_those_of_the_module_of_tests(self):
        # The whole way by hand, for a mean over users.
        a = make("runs/a", "A", seeds=2)
        b = make("runs/b", "B", seed=1, skill=0.02)
        test = compare([a, b], metrics=["recall@10"]).tests[0]
        x, y = (run.per_user.values["recall@10"].mean(axis=0) for run in (a, b))
        change = (y.astype(float) - x)[~np.isnan(x)]
        assert test.users == len(change) == USERS - len(range(0, USERS, 7))
        padded = y.astype(float) - x
        assert test.p == paired.sign_flip_p(padded, SEED, paired.FLIPS)
        assert test.p == test.p_holm  # a family of one
        d_z = change.mean() / change.std(ddof=1)
        assert test.d_z == pytest.approx(d_z, rel=1e-5)
        assert test.share_better == pytest.approx((change > 0).mean())

    def test_the_interval_is_that_of_the_sums(self):
        a, b = make("runs/a", "A", seeds=2), make("runs/b", "B", seed=1, noise=0.9)
        test = compare([a, b], metrics=["ndcg@10", "rmse"]).tests[1]

        def rmse(total):
            return (total[..., 1] / total[..., 0]) ** 0.5

        expected = paired.difference_interval(
            a.per_user.sums, b.per_user.sums, rmse, SEED
        )
        np.testing.assert_allclose(test.ci95, expected, rtol=1e-12)

    def test_what_is_better_is_significant_and_names_the_better_run(self):
        a, b = twins(skill=0.3)
        for runs in ([a, b], [b, a]):
            found = compare(runs)
            for test in found.tests:
                assert test.significant, test
                assert test.p_holm <= 0.05
                assert test.better == "B"
                better_for = (
                    test.share_better if test.b == "B" else 1 - test.share_better
                )
                assert better_for > 0.5

    def test_turned_around_a_test_is_the_same(self):
        a, b = twins(skill=0.02)
        there, back = by_metric(compare([a, b])), by_metric(compare([b, a]))
        for name, test in there.items():
            assert back[name].p == test.p
            assert back[name].difference == -test.difference
            assert back[name].d_z == pytest.approx(-test.d_z)
            assert back[name].share_better == pytest.approx(1 - test.share_better)

    def test_equals_do_not_differ(self):
        # The control: runs of the same kind with other luck.
        found = compare([*twins()])
        assert not any(test.significant for test in found.tests)
        assert {test.better for test in found.tests} == {None}

    def test_a_run_and_its_copy_have_no_difference_at_all(self):
        found = compare([make("runs/a", "A"), make("runs/b", "B")])
        for test in found.tests:
            assert (test.difference, test.ci95, test.p) == (0, (0, 0), 1)
            assert (test.d_z, test.share_better) == (None, 0.5)

    def test_holm_counts_every_test_of_the_output(self):
        runs = [make(f"runs/{n}", n, seed=i) for i, n in enumerate("abcd")]
        found = compare(runs, against="all")
        assert found.family == len(found.tests) == 6 * 6
        adjusted = paired.holm(np.array([test.p for test in found.tests]))
        assert [test.p_holm for test in found.tests] == adjusted.tolist()
        assert f"all {found.family} tests" in " ".join(found.notes)

    def test_a_large_family_has_flips_enough_to_find_something(self):
        runs = [make("runs/a", "A")] + [
            make(f"runs/{i}", f"B{i}", seed=i, skill=0.5) for i in range(1, 12)
        ]
        found = compare(runs, against="all")
        assert found.family == 66 * 6
        assert found.flips + 1 == FLIPS_A_TEST * found.family > paired.FLIPS
        # The strongest difference there is must be significant in this family too.
        assert min(test.p_holm for test in found.tests) <= 0.005
        # Control: with the usual number of flips, none could get there.
        assert found.family / (1 + paired.FLIPS) > 0.005

    def test_the_same_comparison_gives_the_same_bits(self):
        assert compare([*twins()]) == compare([*twins()])

    def test_what_only_describes_has_no_better_side(self):
        a, b = twins(skill=0.3)
        for run in (a, b):
            run.per_user.values["novelty@10"] = run.per_user.values["ndcg@10"]
            metrics = run.results["metrics"]
            metrics["test/novelty@10"] = metrics["test/ndcg@10"]
        test = compare([a, b], metrics=["novelty@10"]).tests[0]
        assert test.significant
        assert (test.better, test.share_better) == (None, None)

    def test_a_figure_without_values_of_users_has_no_test(self):
        a, b = twins()
        for run in (a, b):
            metrics = run.results["metrics"]
            metrics["test/coverage@10"] = metrics["test/ndcg@10"]
        found = compare([a, b], metrics=["coverage@10", "rmse"])
        coverage, rmse = found.tests
        assert coverage.difference is not None
        assert (coverage.p, coverage.p_holm, coverage.ci95) == (
            None,
            None,
            (None, None),
        )
        assert (coverage.users, coverage.significant) == (0, False)
        assert found.family == 1
        assert rmse.p == rmse.p_holm

    def test_scores_that_are_no_stars_are_compared_by_rank_alone(self):
        a, b = twins(stars=False, skill=0.3)
        tests = by_metric(compare([a, b]))
        for name in ("rmse", "mae", "r2"):
            test = tests[name]
            assert (test.difference, test.p, test.better) == (None, None, None)
            assert not test.significant
        assert tests["ndcg@10"].better == "B"

    def test_it_is_ready_for_json(self):
        a, b = twins(stars=False)
        found = formats.plain(compare([a, b]))
        text = json.dumps(found, allow_nan=False)
        assert json.loads(text) == found
        assert found["tests"][0]["p"] is None
        assert found["rows"][0]["figures"]["rmse"]["mean"] is not None


class TestAgainst:
    runs = (
        make("runs/a", "A"),
        make("runs/b", "B", seed=1, noise=0.5),
        make("runs/c", "C", seed=2, noise=2.0),
    )

    @pytest.mark.parametrize(
        ("against", "pairs"),
        [
            ("first", [("A", "B"), ("A", "C")]),
            ("best", [("B", "A"), ("B", "C")]),
            ("all", [("A", "B"), ("A", "C"), ("B", "C")]),
        ],
    )
    def test_pairs(self, against, pairs):
        found = compare(self.runs, metrics=["mae"], against=against)
        assert found.against == against
        assert [(test.a, test.b) for test in found.tests] == pairs

    def test_the_best_is_never_a_run_without_an_rmse(self):
        runs = [make("runs/x", "X", stars=False), *self.runs]
        found = compare(runs, against="best", metrics=["ndcg@10"])
        assert {test.a for test in found.tests} == {"B"}

    def test_where_no_run_has_an_rmse_there_is_no_best(self):
        runs = [make(f"runs/{n}", n, stars=False) for n in "xy"]
        assert "--against=first" in refused(runs, against="best")

    def test_another_word_is_refused(self):
        sentence = refused(self.runs, ConfigError, against="last")
        assert "first, best, all" in sentence
        assert "'last'" in sentence


class TestRefused:
    @pytest.mark.parametrize("runs", [[], [make("runs/a")]])
    def test_fewer_than_two_runs(self, runs):
        sentence = refused(runs)
        assert "two or more" in sentence
        assert sentence.endswith("found runs/a." if runs else "found none.")

    @pytest.mark.parametrize("again", ["runs/a", "runs/../runs/a"])
    def test_the_same_folder_twice(self, again):
        assert f"{again} is given twice" in refused([make("runs/a"), make(again)])

    @pytest.mark.parametrize("what", ["data", "split"])
    def test_another_fingerprint(self, what):
        a, b = twins(**{what: "0" * 16})
        sentence = refused([a, b])
        for part in ("runs/a", "runs/b", "0" * 16, a.results[what], what):
            assert part in sentence
        assert "again" in sentence

    @pytest.mark.parametrize(
        ("what", "value"),
        [
            ("convention", "reference"),
            ("candidates", "catalogue"),
            ("threshold", 3.5),
            ("ties", "optimistic"),
        ],
    )
    def test_another_ranking_setting(self, what, value):
        a, b = twins(**{what: value})
        sentence = refused([a, b])
        for part in ("runs/a", "runs/b", what, str(value), str(a.results[what])):
            assert part in sentence
        assert "--compare_metrics=rmse,mae,r2" in sentence
        # The advice works: ratings do not depend on the setting.
        advised = re.search(r"--compare_metrics=([\w,]+)", sentence)[1].split(",")
        assert compare([a, b], metrics=advised).metrics == DEFAULT[:3]

    def test_a_metric_that_a_run_lacks(self):
        a, b = make("runs/a", ks=(10, 5)), make("runs/b", ks=(10,))
        sentence = refused([a, b], metrics=["rmse", "ndcg@5"])
        assert "runs/b has no ndcg@5" in sentence
        assert compare([a, b], metrics=["rmse"])

    def test_a_cut_off_that_a_run_lacks(self):
        a, b = make("runs/a", ks=(5,)), make("runs/b", ks=(10,))
        assert "runs/b has no precision@5" in refused([a, b])

    def test_a_metric_that_nobody_has_is_a_slip(self):
        sentence = refused([*twins()], ConfigError, metrics=["ndgc@10"])
        assert "no run has 'ndgc@10'. Did you mean 'ndcg@10'?" in sentence
        sentence = refused([*twins()], ConfigError, metrics=["xyz"])
        assert "rmse, mae, r2, precision@10" in sentence

    @pytest.mark.parametrize("field", ["user_id", "rows"])
    def test_other_users_under_the_same_split(self, field):
        a, b = twins()
        changed = getattr(b.per_user, field).copy()
        changed[3] += 1
        b = b._replace(per_user=b.per_user._replace(**{field: changed}))
        sentence = refused([a, b])
        assert "runs/a" in sentence
        assert "runs/b" in sentence
        assert "users" in sentence

    @pytest.mark.parametrize("name", ["rmse", "ndcg@10"])
    def test_values_of_users_that_are_not_those_of_the_figures(self, name):
        a, b = twins()
        b.results["metrics"][f"test/{name}"]["mean"] += 0.01
        sentence = refused([a, b])
        assert f"{name} is" in sentence
        assert "runs/b" in sentence
        assert "per_user.npz" in sentence


@pytest.mark.parametrize(
    ("metric", "larger"),
    [
        ("rmse", False),
        ("mae", False),
        ("r2", True),
        ("precision@10", True),
        ("hit_rate@5", True),
        ("map@3", True),
        ("novelty@10", None),
        ("coverage@10", None),
        ("tied_cutoffs@10", None),
    ],
)
def test_which_of_two_values_is_better(metric, larger):
    assert larger_is_better(metric) is larger
