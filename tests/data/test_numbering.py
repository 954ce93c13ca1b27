"""Ids by blocks: the same counts and numbers as with all of them at once."""

import numpy as np
import pandas as pd
import pytest

from ncf_jax.data.numbering import Numbers, Tally


def ids(seed, n=3_000):
    return np.random.default_rng(seed).zipf(1.3, n) % 2**53


@pytest.mark.parametrize("size", [1, 7, 500, 3_000])
@pytest.mark.parametrize("seed", [0, 1])
class TestBlocks:
    def test_a_tally_is_that_of_the_whole(self, seed, size):
        values, tally = ids(seed), Tally()
        for start in range(0, len(values), size):
            tally.add(values[start : start + size])
        wanted = np.unique(values, return_counts=True)
        np.testing.assert_array_equal(tally.ids, wanted[0])
        np.testing.assert_array_equal(tally.counts, wanted[1])

    def test_numbers_are_in_order_of_first_appearance(self, seed, size):
        values = ids(seed)
        code, distinct = pd.factorize(values)
        numbers = Numbers(np.sort(distinct))
        found = [
            numbers.number(numbers.places(values[start : start + size]))
            for start in range(0, len(values), size)
        ]
        np.testing.assert_array_equal(np.concatenate(found), code)
        np.testing.assert_array_equal(numbers.in_order(), distinct)
        assert all(block.dtype == np.int32 for block in found)

    def test_ids_that_are_not_kept_have_no_place(self, seed, size):
        values = ids(seed)
        kept = np.unique(values)[::2]
        numbers = Numbers(kept)
        found = np.concatenate(
            [
                numbers.places(values[start : start + size])
                for start in range(0, len(values), size)
            ]
        )
        np.testing.assert_array_equal(found >= 0, np.isin(values, kept))
        there = found >= 0
        np.testing.assert_array_equal(kept[found[there]], values[there])


class TestEdges:
    def test_no_rows_change_nothing(self):
        tally = Tally()
        tally.add(np.empty(0, np.int64))
        assert len(tally.ids) == len(tally.counts) == 0
        numbers = Numbers(np.array([4]))
        assert numbers.number(np.empty(0, np.int64)).shape == (0,)
        assert len(numbers.in_order()) == 0

    def test_nothing_is_kept_of_no_ids(self):
        assert (
            Numbers(np.empty(0, np.int64)).places(np.array([1, 2])).tolist() == [-1] * 2
        )

    def test_ids_beyond_the_last_have_no_place(self):
        assert Numbers(np.array([3, 5])).places(np.array([9, 1, 5])).tolist() == [
            -1,
            -1,
            1,
        ]

    def test_kept_ids_that_never_come_have_no_number(self):
        numbers = Numbers(np.array([3, 5, 7]))
        numbers.number(numbers.places(np.array([7])))
        assert numbers.in_order().tolist() == [7]
