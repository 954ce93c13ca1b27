"""Any part of an epoch's order on the host: bit for bit what the device shuffles.

Held here: the network's twin gives `bits.permutation`, whole and in parts, for sizes
around every border; another key gives another order; above 32 bits it still is one to
one; small numbers and no key are what JAX and `arange` give.
"""

import math

import jax
import numpy as np
import pytest

from ncf_jax import bits, order

SIZES = (4_097, 4_160, 5_000, 65_535, 65_536, 65_537, 123_457, 1_000_003)


def words_of(seed):
    return np.asarray(bits.words(jax.random.key(seed), (bits.ROUNDS,)))


class TestPermuted:
    @pytest.mark.parametrize("n", SIZES)
    def test_it_is_the_order_of_the_device(self, n):
        wanted = np.asarray(bits.permutation(jax.random.key(3), n))
        np.testing.assert_array_equal(order.permuted(words_of(3), n, 0, n), wanted)

    @pytest.mark.parametrize("n", SIZES[:4])
    def test_another_key_gives_another_order(self, n):
        other = np.asarray(bits.permutation(jax.random.key(4), n))
        found = order.permuted(words_of(3), n, 0, n)
        assert (found != other).mean() > 0.9

    @pytest.mark.parametrize(
        ("start", "stop"), [(0, 1), (30, 40), (4_999, 5_000), (7, 7), (100, 4_000)]
    )
    def test_a_part_needs_no_other(self, start, stop):
        whole = order.permuted(words_of(1), 5_000, 0, 5_000)
        found = order.permuted(words_of(1), 5_000, start, stop)
        np.testing.assert_array_equal(found, whole[start:stop])
        assert found.dtype == np.int64

    def test_blocks_do_not_show(self, monkeypatch):
        whole = order.permuted(words_of(1), 70_001, 0, 70_001)
        monkeypatch.setattr(order, "BLOCK", 999)
        np.testing.assert_array_equal(
            order.permuted(words_of(1), 70_001, 0, 70_001), whole
        )

    def test_every_row_comes_once(self):
        n = 200_003
        found = order.permuted(words_of(9), n, 0, n)
        np.testing.assert_array_equal(np.sort(found), np.arange(n))

    def test_64_bits_and_32_bits_are_one_network(self, monkeypatch):
        n = 100_003
        narrow = order.permuted(words_of(2), n, 0, n)
        monkeypatch.setattr(order, "NARROW", 0)
        np.testing.assert_array_equal(order.permuted(words_of(2), n, 0, n), narrow)

    @pytest.mark.parametrize(
        "n", [3 * 2**30 + 11, order.NARROW, order.NARROW + 1, 2**32]
    )
    def test_above_31_bits_places_are_in_range_and_differ(self, n):
        found = order.permuted(words_of(5), n, n - 50_000, n)
        assert found.min() >= 0
        assert found.max() < n
        assert found.max() > 2**31 - 1, "a cell was cut to 31 bits"
        assert len(np.unique(found)) == len(found)

    def test_a_billion_billions_would_do(self):
        n = 10**15
        found = order.permuted(words_of(5), n, 10**14, 10**14 + 20_000)
        assert len(np.unique(found)) == len(found)
        assert 0 <= found.min() < n / 100
        assert n * 0.99 < found.max() < n

    def test_the_last_size_of_32_bits_has_no_cell_beyond_them(self):
        rows = math.isqrt(order.NARROW - 1) + 1
        assert rows * -(-order.NARROW // rows) <= 2**32

    def test_close_rows_do_not_stay_close(self):
        n = 1_000_000
        found = order.permuted(words_of(0), n, 0, 100_000)
        steps = np.abs(np.diff(found))
        assert np.median(steps) > n / 6  # a random order has 0.29 n
        assert abs(found.mean() / n - 0.5) < 0.01


class TestOrderOf:
    @pytest.mark.parametrize("n", [1, 2, 17, 4_095, 4_096, 4_097, 9_999])
    def test_places_are_those_of_the_device_on_both_sides_of_small(self, n):
        key = jax.random.key(11)
        found = order.order_of(key, n)
        wanted = np.asarray(bits.permutation(key, n))
        np.testing.assert_array_equal(found.places(0, n), wanted)
        middle = n // 3, n // 2
        np.testing.assert_array_equal(found.places(*middle), wanted[slice(*middle)])
        assert (found.table is None) == (n > bits.SMALL)

    def test_without_a_key_rows_stay_in_order(self):
        found = order.order_of(None, 10)
        assert found.places(3, 6).tolist() == [3, 4, 5]

    def test_an_order_above_small_is_six_words(self):
        found = order.order_of(jax.random.key(0), 10**9)
        assert found.words.shape == (bits.ROUNDS,)
        assert found.words.dtype == np.uint32
        assert found.table is None

    @pytest.mark.parametrize("n", [100, 10_000])
    def test_places_are_64_bits_wide(self, n):
        for key in (None, jax.random.key(0)):
            assert order.order_of(key, n).places(0, 5).dtype == np.int64
