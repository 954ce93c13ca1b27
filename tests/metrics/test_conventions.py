"""Each convention's reading of each word, by hand and by what its library prints (R4);
where two of them agree and where they part; and every definition in words."""

import itertools
from math import log2

import numpy as np
import pytest
from scipy.stats import hypergeom

from ncf_jax.metrics import CONVENTIONS, RANKING, TIES
from ncf_jax.metrics.conventions import _hypergeometric
from tests.metrics.oracles import READINGS, distinct, parts, run

NAMES = ("precision", "ndcg", "recall", "hit_rate", "mrr", "map")
# One list in final order; four of seven are relevant.
LIST = [0, 1, 0, 1, 1, 0, 1]

# LensKit 2025.8.1 printed these of LIST.
LENSKIT = {
    2: dict(precision=0.5, recall=0.5, ndcg=0.5, hit_rate=1, mrr=0.5, map=0.25),
    10: dict(
        precision=0.5714285714285714,
        recall=1,
        ndcg=0.730416817104492,
        hit_rate=1,
        mrr=0.5,
        map=0.5428571428571429,
    ),
}


def of(values, *, k):
    """Every reading of one list in final order."""
    return run(-np.arange(len(values), dtype=float), values, k=k)


def test_the_conventions_have_the_documented_names():
    names = ["reference", "standard", "lenskit", "rectools", "graded"]
    assert list(CONVENTIONS) == names
    assert CONVENTIONS["standard"] is RANKING
    assert set(TIES) == {"expected", "optimistic", "pessimistic"}


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_every_convention_has_every_metric_in_the_same_order(convention):
    described = ["novelty", "popularity", "tied_cutoffs"]
    assert list(CONVENTIONS[convention]) == [*NAMES, *described]


@pytest.mark.parametrize("k", LENSKIT)
def test_lenskit_is_what_lenskit_prints(k):
    out = of(LIST, k=k)
    for name, value in LENSKIT[k].items():
        np.testing.assert_allclose(out[f"lenskit/{name}"], value, rtol=1e-6)
    # Control: the standard reading is another for most of them.
    parted = [
        name
        for name in NAMES
        if not np.isclose(out[f"standard/{name}"], LENSKIT[k][name], atol=1e-3)
    ]
    assert parted == {2: ["ndcg", "recall", "map"], 10: ["precision", "ndcg"]}[k]


def test_each_reading_of_the_first_two_by_hand():
    out = of(LIST, k=2)
    first, second = 1 / log2(1 + 1), 1 / log2(2 + 1)
    expected = {
        "standard/precision": 1 / 2,
        "standard/recall": 1 / 4,
        "standard/hit_rate": 1,
        "standard/mrr": 1 / 2,
        "standard/map": (1 / 2) / 4,
        # Ideal: both places relevant.
        "standard/ndcg": second / (first + second),
        "rectools/ndcg": second / (first + second),
        # Ideal: what the list has, re-sorted.
        "reference/ndcg": second / first,
        # The second place weighs as the first.
        "lenskit/ndcg": 1 / 2,
        "lenskit/recall": 1 / min(4, 2),
        "lenskit/map": (1 / 2) / min(4, 2),
    }
    for reading, value in expected.items():
        assert out[reading] == pytest.approx(value), reading


def test_each_reading_of_the_first_ten_by_hand():
    out = of(LIST, k=10)
    weight = [1 / log2(place + 1) for place in range(1, 11)]
    dcg = sum(w for w, hit in zip(weight, LIST, strict=False) if hit)
    clipped = [1 / log2(max(place, 2)) for place in range(1, 11)]
    clipped_dcg = sum(w for w, hit in zip(clipped, LIST, strict=False) if hit)
    precision = 1 / 2 + 2 / 4 + 3 / 5 + 4 / 7
    expected = {
        "standard/precision": 4 / 10,
        "lenskit/precision": 4 / 7,
        "standard/recall": 1,
        "standard/map": precision / 4,
        "lenskit/map": precision / 4,
        "standard/ndcg": dcg / sum(weight[:4]),
        "reference/ndcg": dcg / sum(weight[:4]),
        "lenskit/ndcg": clipped_dcg / sum(clipped[:4]),
        "rectools/ndcg": dcg / sum(weight),
    }
    for reading, value in expected.items():
        assert out[reading] == pytest.approx(value), reading


def test_graded_ndcg_by_hand():
    # Stars 2, 5, 0: gains 3, 31, 0.
    stars = np.array([2.0, 5.0, 0.0])
    told = {"relevant": stars >= 4, "gain": 2**stars - 1}
    dcg = 3 + 31 / log2(3)
    out = run([3.0, 2.0, 1.0], told, k=2)
    assert out["graded/ndcg"] == pytest.approx(dcg / (31 + 3 / log2(3)))
    assert out["standard/ndcg"] == pytest.approx(1 / log2(3))
    out = run([3.0, 2.0, 1.0], told, k=1)
    assert out["graded/ndcg"] == pytest.approx(3 / 31)


def test_graded_ndcg_of_candidates_without_gain_is_left_out():
    told = {"relevant": [1, 0], "gain": [0.0, 0.0]}
    assert np.isnan(run([2.0, 1.0], told, k=1)["graded/ndcg"])
    # Control: a star, although nothing is relevant, is a gain.
    told = {"relevant": [0, 0], "gain": [0.0, 1.0]}
    assert run([2.0, 1.0], told, k=2)["graded/ndcg"] == pytest.approx(1 / log2(3))


@pytest.fixture(scope="module")
def lists():
    rng = np.random.default_rng(0)
    return distinct(rng, 300, 12), rng.random((300, 12)) < 0.4


class TestWhereConventionsAgree:
    def test_lenskit_divides_as_the_standard_does_by_at_most_k_relevant(self, lists):
        scores, relevance = lists
        out = run(scores, relevance, k=5)
        few = (relevance.sum(axis=1) <= 5) & relevance.any(axis=1)
        assert 50 < few.sum() < 250
        for name in ("precision", "recall", "map"):
            ours, theirs = out[f"standard/{name}"], out[f"lenskit/{name}"]
            np.testing.assert_allclose(ours[few], theirs[few], rtol=1e-6)
            if name != "precision":
                more = relevance.sum(axis=1) > 5
                assert (ours[more] < theirs[more] + 1e-6).all()
                assert (ours[more] < theirs[more] - 1e-3).any()

    def test_rectools_ndcg_is_the_standard_one_with_k_relevant_and_below_it_else(
        self, lists
    ):
        scores, relevance = lists
        out = run(scores, relevance, k=5)
        ours, theirs = out["standard/ndcg"], out["rectools/ndcg"]
        many, hits = relevance.sum(axis=1) >= 5, out["standard/hit_rate"] > 0
        np.testing.assert_allclose(ours[many], theirs[many], rtol=1e-6)
        assert (theirs[~many & hits] < ours[~many & hits] - 1e-3).all()

    def test_graded_ndcg_of_one_gain_for_all_relevant_is_the_standard_one(self, lists):
        scores, relevance = lists
        told = {"relevant": relevance, "gain": 31.0 * relevance}
        out = run(scores, told, k=5)
        np.testing.assert_allclose(out["graded/ndcg"], out["standard/ndcg"], rtol=1e-6)

    def test_the_references_ndcg_is_the_standard_one_of_whole_lists_only(self, lists):
        scores, relevance = lists
        some = relevance.any(axis=1)
        whole, cut = (run(scores, relevance, k=k) for k in (20, 5))
        ours, theirs = whole["standard/ndcg"], whole["reference/ndcg"]
        np.testing.assert_allclose(ours[some], theirs[some], rtol=1e-6)
        hits = cut["standard/hit_rate"] > 0
        ours, theirs = cut["standard/ndcg"], cut["reference/ndcg"]
        assert (ours[hits] <= theirs[hits] + 1e-6).all(), "it asks less of a list"
        assert (ours[hits] < theirs[hits] - 0.1).any()


class TestWords:
    @pytest.mark.parametrize("reading", READINGS)
    def test_a_definition_carries_its_cut_off(self, reading):
        words = READINGS[reading].definition.format(k=37)
        assert "37" in words
        assert "{" not in words

    def test_two_readings_that_differ_are_told_apart(self):
        for one, other in itertools.combinations(READINGS, 2):
            if parts(one)[1] == parts(other)[1]:
                same_words = READINGS[one].definition == READINGS[other].definition
                assert same_words == (READINGS[one] is READINGS[other]), (one, other)

    @pytest.mark.parametrize(
        ("reading", "words"),
        [
            ("standard/precision", "relevant in the first 3 / 3"),
            ("lenskit/precision", "at most 3"),
            ("lenskit/recall", "all relevant, at most 3"),
            ("lenskit/map", "all relevant, at most 3"),
            ("reference/ndcg", "ideal = the same first 3 re-sorted"),
            ("standard/ndcg", "ideal = min(3, relevant) relevant ones"),
            ("rectools/ndcg", "ideal = 3 relevant ones"),
            ("graded/ndcg", "gain 2^stars - 1"),
            ("standard/mrr", "0 when it is beyond 3"),
            ("standard/novelty", "bits"),
            ("standard/popularity", "20 % of items"),
            ("standard/tied_cutoffs", "a tie goes across position 3"),
        ],
    )
    def test_a_definition_says_what_is_particular(self, reading, words):
        assert words in READINGS[reading].definition.format(k=3)


@pytest.mark.parametrize(
    ("size", "inside", "draws", "k"),
    [
        (5, 2, 3, 3),
        (3_000, 1, 10, 10),
        (3_000, 1_500, 10, 10),
        (9, 9, 4, 6),
        (1, 0, 0, 2),
    ],
)
def test_the_chance_of_each_number_of_hits_is_hypergeometric(size, inside, draws, k):
    out = np.asarray(_hypergeometric(size, np.float32(inside), draws, k))
    expected = hypergeom.pmf(np.arange(k + 1), size, inside, draws)
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-7)
