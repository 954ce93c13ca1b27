"""Ranking metrics equal independent ones to 1e-6 on 1,000 random cases each (R4, R6):
brute force in every reading, ties by all their orders, and ir-measures (trec_eval and
others), Rax and scikit-learn where a reading is theirs.

Lists have random lengths, none and one included, masks anywhere and cut-offs beyond
the list. Lists without a relevant candidate are NaN here and 0 there.
"""

import ir_measures
import jax
import numpy as np
import pytest
import rax
from ir_measures import AP, RR, P, R, Success, nDCG
from sklearn.metrics import (
    label_ranking_average_precision_score,
    ndcg_score,
    precision_score,
    recall_score,
)

from ncf_jax.metrics.ranked import TIES
from tests.metrics.oracles import (
    DESCRIBES,
    DISTINCT,
    READINGS,
    by_loop,
    by_order,
    distinct,
    is_nan_without_relevant,
    is_tied,
    over_all_orders,
    parts,
    run,
)

CASES, LENGTH = 1_600, 20
ENOUGH = 1_000  # what is promised
CUT_OFFS = (1, 5, 30)


def lists(seed, *, length=LENGTH, cases=CASES, levels=None):
    """Scores, values by what metrics read, and masks; `levels`: of tied scores."""
    rng = np.random.default_rng(seed)
    shape = cases, length
    if levels is None:
        scores = distinct(rng, *shape)
    else:
        scores = rng.integers(0, rng.integers(1, levels + 1, (cases, 1)), shape) / 4
    where = rng.random(shape) < rng.choice([0.1, 0.5, 0.9, 1.0], (cases, 1))
    stars = rng.integers(0, 11, shape) / 2 * (rng.random(shape) < 0.7)
    values = {
        "relevant": (stars >= rng.choice([2, 4, 5], (cases, 1))).astype(float),
        "gain": (2**stars - 1) * (rng.random((cases, 1)) < 0.9),
        "information": rng.random(shape) * 9,
        "popular": np.where(rng.random(shape) < 0.5, rng.random(shape), 1),
    }
    return scores.astype(np.float32), values, where


def in_order(scores, values, where, sign=None):
    """The real candidates' values, best first; `sign` orders those that are tied."""
    tie = np.zeros_like(values) if sign is None else sign * values
    return [
        list(v[sorted(np.flatnonzero(w), key=lambda i: (-s[i], t[i]))])
        for s, v, w, t in zip(scores, values, where, tie, strict=True)
    ]


def read(reading, values):
    return values.get(READINGS[reading].reads, values["relevant"])


def assert_equal(out, expected, reading, relative=0.0):
    """To 1e-6; of values that are not bounded by 1, to 1e-6 of them."""
    relative = 1e-6 if reading.endswith("novelty") else relative
    np.testing.assert_allclose(
        out[reading], expected, atol=1e-6, rtol=relative, err_msg=reading
    )


class TestBruteForce:
    @pytest.mark.parametrize("k", CUT_OFFS)
    def test_every_reading_equals_a_loop_over_the_sorted_list(self, k):
        scores, values, where = lists(k)
        out = run(scores, values, where, k=k)
        empty = ~where.any(axis=1)
        assert empty.any()
        for reading in READINGS:
            if reading.endswith("tied_cutoffs"):
                assert (out[reading][~empty] == 0).all(), "no two scores are equal"
                continue
            listed = in_order(scores, read(reading, values), where)
            expected = [by_loop(reading, each, k) for each in listed]
            assert_equal(out, expected, reading)
            defined = ~np.isnan(expected)
            assert defined.sum() >= ENOUGH
            if reading.endswith(("precision", "novelty", "popularity")):
                assert (defined == ~empty).all()
            elif is_nan_without_relevant(reading):
                assert 0 < defined.sum() < (~empty).sum(), "both kinds are needed"

    @pytest.mark.parametrize("k", [1, 2, 5, 30])
    def test_ties_equal_the_mean_over_all_their_orders(self, k):
        scores, values, where = lists(k, length=6, cases=1_200, levels=4)
        out = run(scores, values, where, k=k)
        length = where.sum(axis=1)
        tied = 0
        for n in range(1, 7):
            rows = np.flatnonzero(length == n)
            assert len(rows) > 20
            real = np.argsort(~where[rows], axis=1, kind="stable")[:, :n]
            short = np.take_along_axis(scores[rows], real, axis=1)
            tied += sum(is_tied(list(each), k) for each in short)
            for reading in DISTINCT.values():
                listed = np.take_along_axis(read(reading, values)[rows], real, axis=1)
                expected = over_all_orders(reading, short, listed, k)
                assert_equal({reading: out[reading][rows]}, expected, reading)
        # Control: many ties go across the cut-off, except where it is beyond the list.
        assert (tied > 50) == (k < 6)

    @pytest.mark.parametrize(("ties", "sign"), [("optimistic", -1), ("pessimistic", 1)])
    def test_settled_ties_equal_a_loop_with_the_relevant_first_or_last(
        self, ties, sign
    ):
        scores, values, where = lists(1, levels=4)
        out = run(scores, values, where, k=5, ties=ties)
        expectation = run(scores, values, where, k=5)
        for reading in DISTINCT.values():
            if reading.endswith("tied_cutoffs"):
                continue
            listed = in_order(scores, read(reading, values), where, sign)
            expected = [by_loop(reading, each, 5) for each in listed]
            assert_equal(out, expected, reading)
            # Control: by expectation the values are others.
            other = expectation[reading]
            assert np.nanmax(np.abs(out[reading] - other)) > 0.1, reading

    @pytest.mark.parametrize("ties", TIES)
    def test_tied_cut_offs_are_counted_whatever_is_done_about_ties(self, ties):
        scores, values, where = lists(2, levels=4)
        out = run(scores, values, where, k=5, ties=ties)["standard/tied_cutoffs"]
        expected = [
            is_tied(list(s[w]), 5) if w.any() else np.nan
            for s, w in zip(scores, where, strict=True)
        ]
        assert 0.2 < np.nanmean(expected) < 0.8
        np.testing.assert_array_equal(out, expected)

    def test_the_two_oracles_agree(self):
        _, values, _ = lists(5, cases=150, length=7)
        for k in (1, 4, 9):
            for reading in DISTINCT.values():
                if reading.endswith("tied_cutoffs"):
                    continue
                listed = read(reading, values)
                expected = [by_loop(reading, list(each), k) for each in listed]
                found = by_order(reading, listed, k)
                np.testing.assert_allclose(found, expected, err_msg=reading)

    def test_conventions_differ_where_they_say_and_only_there(self):
        scores, values, where = lists(1)
        out = run(scores, values, where, k=5)
        own = {
            "reference/ndcg",
            "lenskit/precision",
            "lenskit/recall",
            "lenskit/ndcg",
            "lenskit/map",
            "rectools/ndcg",
            "graded/ndcg",
        }
        for reading in READINGS:
            standard = out[f"standard/{parts(reading)[1]}"]
            same = np.allclose(out[reading], standard, atol=1e-3, equal_nan=True)
            assert same == (reading not in own), reading


@pytest.fixture(scope="module")
def trec():
    """Lists without ties, as ir-measures wants them: judgements and a run."""
    scores, values, where = lists(11)
    query, column = np.nonzero(where)
    judged = {name: {} for name in ("relevant", "gain")}
    run_ = {}
    whole = np.floor(values["gain"])  # trec_eval knows whole gains only
    for q, c in zip(query, column, strict=True):
        document = f"d{c}"
        run_.setdefault(str(q), {})[document] = float(scores[q, c])
        for name, value in (("relevant", values["relevant"]), ("gain", whole)):
            judged[name].setdefault(str(q), {})[document] = int(value[q, c])
    return scores, values | {"gain": whole}, where, judged, run_


IR_MEASURES = {"precision": P, "recall": R, "hit_rate": Success, "mrr": RR, "map": AP}
RAX = {
    "lenskit/precision": rax.precision_metric,  # hits / retrieved
    "standard/recall": rax.recall_metric,
    "standard/mrr": rax.mrr_metric,
    "standard/map": rax.ap_metric,
    "standard/ndcg": rax.ndcg_metric,
}


class TestIrMeasures:
    @pytest.mark.parametrize("k", CUT_OFFS)
    def test_the_standard_reading_is_theirs(self, trec, k):
        scores, values, where, judged, run_ = trec
        out = run(scores, values, where, k=k)
        named = {m @ k: name for name, m in IR_MEASURES.items()} | {nDCG @ k: "ndcg"}
        found = self.by_list(named, judged["relevant"], run_)
        for measure, name in named.items():
            self.assert_theirs(out[f"standard/{name}"], found[measure], name)

    @pytest.mark.parametrize("k", CUT_OFFS)
    def test_the_graded_ndcg_is_theirs_given_the_gains(self, trec, k):
        scores, values, where, judged, run_ = trec
        out = run(scores, values, where, k=k)
        found = self.by_list([nDCG @ k], judged["gain"], run_)[nDCG @ k]
        self.assert_theirs(out["graded/ndcg"], found, "graded")
        # Control: with binary gain it is another figure.
        binary = self.by_list([nDCG @ k], judged["relevant"], run_)[nDCG @ k]
        assert not np.allclose(found, binary, atol=1e-2)

    @staticmethod
    def by_list(measures, judged, run_):
        found = {measure: np.full(CASES, np.nan) for measure in measures}
        for each in ir_measures.iter_calc(list(measures), judged, run_):
            found[each.measure][int(each.query_id)] = each.value
        return found

    @staticmethod
    def assert_theirs(ours, theirs, name):
        # Not defined for us, without a relevant candidate: 0 or left out for them.
        assert (np.nan_to_num(theirs[np.isnan(ours)]) == 0).all()
        some = ~np.isnan(ours)
        assert some.sum() >= ENOUGH
        np.testing.assert_allclose(ours[some], theirs[some], atol=1e-6, err_msg=name)


class TestRax:
    @pytest.mark.parametrize("k", CUT_OFFS)
    def test_metrics_are_theirs_masks_included(self, k):
        scores, values, where = lists(12)
        out = run(scores, values, where, k=k)
        for reading, metric in RAX.items():
            theirs = self.theirs(metric, scores, values["relevant"], where, k)
            self.assert_theirs(out[reading], theirs, reading)
        # Their precision divides by what was retrieved; ours by k, in lists of k.
        long = where.sum(axis=1) >= k
        theirs = self.theirs(rax.precision_metric, scores, values["relevant"], where, k)
        np.testing.assert_allclose(
            out["standard/precision"][long], theirs[long], atol=1e-6
        )

    @pytest.mark.parametrize("k", CUT_OFFS)
    def test_the_graded_ndcg_is_theirs_given_the_stars(self, k):
        scores, values, where = lists(13)
        out = run(scores, values, where, k=k)
        stars = np.log2(values["gain"] + 1)
        theirs = self.theirs(rax.ndcg_metric, scores, stars, where, k)
        self.assert_theirs(out["graded/ndcg"], theirs, "graded/ndcg")
        # Control: without the masks they are others.
        unmasked = self.theirs(rax.ndcg_metric, scores, stars, where | True, k)
        assert not np.allclose(theirs, unmasked, atol=1e-2)

    @staticmethod
    def theirs(metric, scores, labels, where, k):
        def each(scores, labels, where):
            return metric(scores, labels, where=where, topn=k, reduce_fn=None)

        with jax.numpy_rank_promotion("allow"):
            out = jax.jit(each)(scores, labels.astype(np.float32), where)
        return np.asarray(out)

    @staticmethod
    def assert_theirs(ours, theirs, name):
        some = ~np.isnan(ours)
        assert some.sum() >= ENOUGH
        assert (theirs[~some] == 0).all()
        np.testing.assert_allclose(ours[some], theirs[some], atol=1e-6, err_msg=name)


class TestScikitLearn:
    @pytest.mark.parametrize("k", CUT_OFFS)
    @pytest.mark.parametrize("levels", [None, 4])
    def test_ndcg_standard_and_graded_is_theirs_ties_by_expectation_included(
        self, k, levels
    ):
        scores, values, _ = lists(k, cases=1_000, levels=levels)
        values["relevant"][:, 0] = 1
        values["gain"][:, 0] = 1
        out = run(scores, values, k=k)
        for reading in ("standard/ndcg", "graded/ndcg"):
            gains = read(reading, values)
            theirs = [
                ndcg_score(gains[[i]], scores[[i]], k=k) for i in range(len(gains))
            ]
            assert_equal(out, theirs, reading)
        if levels:
            # Control: ties settled by the input's order give others.
            settled = scores - np.float32(np.arange(LENGTH) / 1e3)
            other = run(settled, values, k=k)["standard/ndcg"]
            assert not np.allclose(out["standard/ndcg"], other, atol=1e-2)

    @pytest.mark.parametrize("k", [1, 5])
    def test_precision_and_recall_are_theirs(self, k):
        scores, values, _ = lists(k, cases=1_000)
        relevant = values["relevant"] > 0
        relevant[:, 0] = True  # scikit-learn warns where recall is not defined
        retrieved = scores.argsort(axis=1).argsort(axis=1) >= LENGTH - k
        out = run(scores, relevant, k=k)
        for name, oracle in (("precision", precision_score), ("recall", recall_score)):
            theirs = oracle(relevant.T, retrieved.T, average=None)
            assert_equal(out, theirs, f"standard/{name}")

    def test_average_precision_of_whole_lists_is_theirs(self):
        scores, values, _ = lists(4, cases=1_000)
        relevant = values["relevant"] > 0
        relevant[:, 0] = True
        out = run(scores, relevant, k=30)
        theirs = [
            label_ranking_average_precision_score(relevant[[i]], scores[[i]])
            for i in range(len(scores))
        ]
        assert_equal(out, theirs, "standard/map")
        assert_equal(out, theirs, "lenskit/map")
        # Control: at a cut-off the relevant ones beyond it are missed.
        cut = run(scores, relevant, k=5)["standard/map"]
        assert (cut <= np.array(theirs) + 1e-6).all()
        assert (cut < np.array(theirs) - 0.1).any()


def test_what_only_describes_is_the_same_in_every_convention():
    for reading, metric in READINGS.items():
        name = parts(reading)[1]
        if name in DESCRIBES:
            assert metric is READINGS[f"standard/{name}"]
