"""Bits by hashing: balanced, independent of neighbours, the same under jit and vmap.

Each bound is that of sampling, five standard deviations wide, computed where it is
used; each check has a control, something plainly not random, that it refuses.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from ncf_jax import bits

SIGMAS = 5.0
KEY = jax.random.key(12)


def signs(words):
    """[n] uint32 -> [n, 32] float32, 1 for a bit that is set and -1 for another."""
    bit = (np.asarray(words)[:, None] >> np.arange(32, dtype=np.uint32)) & 1
    return 2.0 * bit.astype(np.float32) - 1.0


def worst(one, other):
    """The largest correlation of two columns, in standard deviations of chance."""
    return np.abs(one.T @ other).max() / math.sqrt(len(one))


def unmixed(key, shape):
    """The control: a counter and a key, added and not hashed."""
    first = jax.random.key_data(key)[0]
    return jnp.arange(math.prod(shape), dtype=jnp.uint32).reshape(shape) + first


def step_keys(purpose=2):
    """Keys of neighbouring steps, folded as `train` folds them."""
    root = jax.random.fold_in(KEY, purpose)
    return [jax.random.fold_in(root, step) for step in range(3)]


class TestMix:
    def test_it_is_one_to_one(self):
        # Undone in NumPy: a xorshift by its own repetition, an odd factor by its
        # inverse modulo 2^32.
        def unshift(x, by):
            return x ^ (x >> np.uint32(by)) ^ (x >> np.uint32(2 * by))

        def unmix(x):
            x = unshift(x, 16)
            x = x * np.uint32(pow(0x846CA68B, -1, 2**32))
            x = unshift(x, 15)
            x = x * np.uint32(pow(0x7FEB352D, -1, 2**32))
            return unshift(x, 16)

        rng = np.random.default_rng(0)
        word = rng.integers(0, 2**32, 10_000, dtype=np.uint32)
        word[:3] = 0, 1, 2**32 - 1
        np.testing.assert_array_equal(unmix(np.asarray(bits.mix(word))), word)

    def test_every_input_bit_moves_every_output_bit_half_the_time(self):
        n = 20_000
        word = np.random.default_rng(1).integers(0, 2**32, n, dtype=np.uint32)
        # 1/400 is the bias that a hash of this quality may have besides chance.
        bound = SIGMAS / (2 * math.sqrt(n)) + 1 / 400
        for bit in range(32):
            flipped = bits.mix(word) ^ bits.mix(word ^ np.uint32(1 << bit))
            share = (signs(flipped).mean(axis=0) + 1) / 2
            assert np.abs(share - 0.5).max() < bound, bit
        once = (word ^ (word >> 16)) * np.uint32(0x7FEB352D)  # the control: half of it
        other = word ^ np.uint32(1 << 31)
        other = (other ^ (other >> 16)) * np.uint32(0x7FEB352D)
        assert np.abs(signs(once ^ other).mean(axis=0)).max() > 0.9


class TestWords:
    n = 2**16

    @pytest.mark.parametrize("key", step_keys(), ids=range(3))
    def test_each_bit_is_set_half_the_time(self, key):
        counts = np.abs(signs(bits.words(key, (self.n,))).sum(axis=0))
        assert counts.max() < SIGMAS * math.sqrt(self.n)
        control = np.abs(signs(unmixed(key, (self.n,))).sum(axis=0))
        assert control.max() > SIGMAS * math.sqrt(self.n)

    @pytest.mark.parametrize("lag", [1, 2, 64, 128])
    def test_no_bit_of_a_word_tells_one_of_a_neighbour(self, lag):
        def found(words):
            sign = signs(words)
            return worst(sign[:-lag], sign[lag:])

        assert found(bits.words(KEY, (self.n,))) < SIGMAS
        assert found(unmixed(KEY, (self.n,))) > 10 * SIGMAS  # the control

    def test_no_bit_of_a_word_tells_another_of_its_own(self):
        sign = signs(bits.words(KEY, (self.n,)))
        assert worst(sign, sign) == pytest.approx(math.sqrt(self.n))  # with itself
        off_diagonal = sign.T @ sign - self.n * np.eye(32)
        assert np.abs(off_diagonal).max() < SIGMAS * math.sqrt(self.n)

    def test_no_bit_of_a_step_tells_one_of_the_next_step_or_another_purpose(self):
        first, *others = step_keys()
        sign = signs(bits.words(first, (self.n,)))
        for key in [*others, step_keys(purpose=1)[0], KEY]:
            other = signs(bits.words(key, (self.n,)))
            for lag in (0, 1, 5):
                assert worst(sign[: self.n - lag], other[lag:]) < SIGMAS
        assert worst(sign, sign) > 10 * SIGMAS  # the control: the same key

    def test_a_raw_seed_and_the_next_one_do_not_share_words(self):
        # Nobody folds these; their first halves are equal and only the last differ.
        one, two = (bits.words(jax.random.key(seed), (self.n,)) for seed in (0, 1))
        assert worst(signs(one), signs(two)) < SIGMAS

    def test_the_shape_only_arranges_them(self):
        flat = bits.words(KEY, (24,))
        np.testing.assert_array_equal(bits.words(KEY, (2, 3, 4)).ravel(), flat)
        np.testing.assert_array_equal(bits.words(KEY, (5,)), flat[:5])
        assert flat.dtype == jnp.uint32
        assert len(set(flat.tolist())) == 24

    def test_they_are_the_same_under_jit_and_vmap(self):
        keys = jnp.stack(step_keys())
        plain = np.stack([bits.words(key, (7, 3)) for key in keys])
        under_vmap = jax.vmap(lambda key: bits.words(key, (7, 3)))
        np.testing.assert_array_equal(under_vmap(keys), plain)
        np.testing.assert_array_equal(jax.jit(under_vmap)(keys), plain)
        assert (plain[0] != plain[1]).all()


class TestNormal:
    n = 2**17

    def test_they_are_of_the_normal_distribution(self):
        found = np.asarray(bits.normal(KEY, (self.n,)), np.float64)
        assert abs(found.mean()) < SIGMAS / math.sqrt(self.n)
        assert abs(found.var() - 1) < SIGMAS * math.sqrt(2 / self.n)
        assert abs((found**4).mean() - 3) < SIGMAS * math.sqrt(96 / self.n)
        assert stats.kstest(found, "norm").pvalue > 1e-3
        assert stats.kstest(1.02 * found, "norm").pvalue < 1e-3  # the control

    def test_tails_are_those_of_the_distribution(self):
        found = np.abs(np.asarray(bits.normal(KEY, (self.n,))))
        for edge in (2.0, 3.0, 4.0):
            wanted = 2 * stats.norm.sf(edge) * self.n
            assert abs((found > edge).sum() - wanted) < SIGMAS * math.sqrt(wanted)
        assert np.isfinite(found).all()
        assert found.max() < 5.9

    def test_the_two_of_a_pair_and_neighbours_do_not_tell_of_each_other(self):
        half = self.n // 2
        cosine, sine = np.asarray(bits.normal(KEY, (2, half)), np.float64)
        assert abs((cosine * sine).mean()) < SIGMAS / math.sqrt(half)
        # Of independent normals the squares are uncorrelated too; of a pair on a circle
        # of one radius, the control, they are not.
        squares = np.corrcoef(cosine**2, sine**2)[0, 1]
        assert abs(squares) < SIGMAS / math.sqrt(half)
        circle = np.hypot(cosine, sine)
        control = np.corrcoef((cosine / circle) ** 2, (sine / circle) ** 2)[0, 1]
        assert control == pytest.approx(-1.0)
        for lag in (1, 2, 64):
            between = (cosine[:-lag] * cosine[lag:]).mean()
            assert abs(between) < SIGMAS / math.sqrt(half)

    def test_words_at_either_end_give_finite_numbers(self, monkeypatch):
        for word in (0, 1, 2**32 - 1):

            def same(key, shape, word=word):
                return jnp.full(shape, word, jnp.uint32)

            monkeypatch.setattr(bits, "words", same)
            found = np.abs(np.asarray(bits.normal(KEY, (2,))))
            assert np.isfinite(found).all()
            assert found.max() < 5.9

    @pytest.mark.parametrize("shape", [(), (1,), (3,), (2, 3, 4), (0,)])
    def test_any_shape_odd_or_empty(self, shape):
        found = bits.normal(KEY, shape)
        assert found.shape == shape
        assert found.dtype == jnp.float32
        assert len(np.unique(found)) == found.size

    def test_they_are_the_same_under_vmap_and_others_of_another_key(self):
        keys = jnp.stack(step_keys())
        plain = np.stack([bits.normal(key, (7, 3)) for key in keys])
        found = jax.vmap(lambda key: bits.normal(key, (7, 3)))(keys)
        np.testing.assert_allclose(found, plain, rtol=1e-5, atol=1e-6)
        assert (plain[0] != plain[1]).all()


class TestDropout:
    rows = 4000

    def kept(self, key, width, rate):
        ones = jnp.ones((self.rows, width))
        return np.asarray(bits.dropout(key, ones, rate)) > 0

    @pytest.mark.parametrize("width", [1, 2, 33, 64])
    @pytest.mark.parametrize("rate", [0.01, 0.3, 0.5, 0.9])
    def test_the_share_dropped_is_the_rate_in_total_and_of_each_unit(self, rate, width):
        dropped = ~self.kept(KEY, width, rate)
        deviation = math.sqrt(rate * (1 - rate))
        n = dropped.size
        assert abs(dropped.mean() - rate) < SIGMAS * deviation / math.sqrt(n)
        by_unit = dropped.mean(axis=0)
        assert np.abs(by_unit - rate).max() < SIGMAS * deviation / math.sqrt(self.rows)
        by_row = dropped.sum(axis=1)
        wanted = deviation**2 * width  # rows are no more alike than chance makes them
        assert by_row.var() == pytest.approx(wanted, rel=0.2)

    def test_another_rate_would_be_seen(self):
        dropped = ~self.kept(KEY, 64, 0.31)
        bound = SIGMAS * math.sqrt(0.3 * 0.7 / dropped.size)
        assert abs(dropped.mean() - 0.3) > bound

    @pytest.mark.parametrize("rate", [0.1, 0.3, 0.5, 0.75, 0.999])
    def test_the_scale_undoes_the_rate_exactly(self, rate):
        x = jax.random.normal(KEY, (200, 33))
        out = np.asarray(bits.dropout(KEY, x, rate))
        kept = out != 0
        below = round(rate * 65536)
        scale = np.float32(65536 / (65536 - below))
        np.testing.assert_array_equal(out[kept], np.asarray(x)[kept] * scale)
        # The share kept is (65536 - below) / 65536 of all words, so this is the mean.
        assert float(scale) * (65536 - below) / 65536 == pytest.approx(1, abs=1e-7)
        assert below / 65536 == pytest.approx(rate, abs=1 / 131072)

    @pytest.mark.parametrize("rate", [0.1, 0.3, 0.5])
    def test_over_all_words_the_mean_is_what_it_was(self, rate, monkeypatch):
        # All 65,536 values of a half word once: the expectation, and no sample of it.
        every = jnp.arange(65536, dtype=jnp.uint32)
        monkeypatch.setattr(bits, "words", lambda key, shape: every.reshape(shape))
        out = np.asarray(bits.dropout(KEY, jnp.ones((65536, 1)), rate), np.float64)
        assert out.mean() == pytest.approx(1, abs=1e-7)
        assert (out == 0).sum() == round(rate * 65536)

    def test_without_a_rate_nothing_is_done(self):
        x = jnp.ones((3, 5))
        assert bits.dropout(KEY, x, 0.0) is x

    def test_a_rate_that_rounds_to_one_gives_zeros_and_no_nan(self):
        out = bits.dropout(KEY, jnp.ones((3, 5)), 0.9999999)
        np.testing.assert_array_equal(out, 0)

    def test_the_key_decides(self):
        one, two, _ = step_keys()
        np.testing.assert_array_equal(self.kept(one, 33, 0.3), self.kept(one, 33, 0.3))
        assert (self.kept(one, 33, 0.3) != self.kept(two, 33, 0.3)).any()

    @pytest.mark.parametrize("width", [33, 64])
    def test_no_unit_tells_of_another_also_not_one_of_the_same_word(self, width):
        mask = self.kept(KEY, width, 0.3)
        sign = (mask - 0.7) / math.sqrt(0.21)
        correlation = sign.T @ sign / math.sqrt(self.rows)
        assert np.abs(correlation - np.diag(np.diag(correlation))).max() < SIGMAS
        partner = np.roll(sign, 1, axis=1) + sign  # the control: units that overlap
        assert np.abs((partner.T @ sign)[0, 1:]).max() > SIGMAS * math.sqrt(self.rows)

    def test_masks_of_neighbouring_steps_are_unrelated(self):
        one, two, three = (
            (self.kept(key, 33, 0.3) - 0.7) / math.sqrt(0.21) for key in step_keys()
        )
        for other in (two, three):
            assert worst(one, other) < SIGMAS  # any unit with any other
            assert abs((one * other).sum()) < SIGMAS * math.sqrt(one.size)
        assert worst(one, one) > 10 * SIGMAS  # the control

    def test_the_gradient_goes_through_the_units_that_are_kept(self):
        x = jax.random.normal(KEY, (50, 7))
        slope = jax.grad(lambda x: bits.dropout(KEY, x, 0.3).sum())(x)
        out = np.asarray(bits.dropout(KEY, x, 0.3))
        np.testing.assert_allclose(slope, out / np.asarray(x), rtol=1e-6)
        assert 0 < (np.asarray(slope) == 0).mean() < 1

    def test_it_is_the_same_under_jit_and_vmap(self):
        keys = jnp.stack(step_keys())
        x = jax.random.normal(KEY, (3, 6, 5))
        plain = np.stack(
            [bits.dropout(k, y, 0.4) for k, y in zip(keys, x, strict=True)]
        )
        under_vmap = jax.vmap(lambda key, x: bits.dropout(key, x, 0.4))
        np.testing.assert_array_equal(under_vmap(keys, x), plain)
        np.testing.assert_array_equal(jax.jit(under_vmap)(keys, x), plain)


def permutations(n, count, permutation=bits.permutation):
    """[count, n], of keys folded from neighbouring steps."""
    keys = jax.vmap(lambda step: jax.random.fold_in(KEY, step))(jnp.arange(count))
    return np.asarray(jax.jit(jax.vmap(lambda key: permutation(key, n)))(keys))


def identity(key, n):
    return jnp.arange(n) + 0 * jax.random.key_data(key)[0].astype(jnp.int32)


def rotation(key, n):
    return (jnp.arange(n) + jax.random.randint(key, (), 0, n)) % n


def two_rounds(key, n):
    """The network with a third of its rounds, each half hashed but once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bits, "ROUNDS", 2)
        return bits.permutation(key, n)


class TestPermutation:
    # 10,007 is prime, 4225 and 65,536 are squares, 4097 = 65 * 63 + 2 fills no grid.
    @pytest.mark.parametrize(
        "n", [0, 1, 2, 3, 4095, 4096, 4097, 4225, 4226, 10_000, 10_007, 65_536]
    )
    def test_every_number_comes_once(self, n):
        for found in permutations(n, 2):
            assert found.dtype == np.int32
            np.testing.assert_array_equal(np.sort(found), np.arange(n))

    @pytest.mark.parametrize("n", [50, 5000])
    def test_the_key_decides(self, n):
        one, two = permutations(n, 2)
        np.testing.assert_array_equal(permutations(n, 2)[0], one)
        # As many numbers stay in place as chance leaves there: about one.
        assert (one == two).sum() < 10
        assert (one == np.arange(n)).sum() < 10

    @pytest.mark.parametrize("n", [50, 5000])
    def test_it_is_the_same_outside_jit_and_vmap(self, n):
        alone = bits.permutation(jax.random.fold_in(KEY, 0), n)
        np.testing.assert_array_equal(alone, permutations(n, 2)[0])

    # 5000 = 71 * 71 - 41: some cells lie beyond n and are gone through again.
    n, count, bins = 5000, 500, 10

    def p_first(self, found):
        """Whether the first position holds any number: p of a chi-square test."""
        counts = np.bincount(found[:, 0] * self.bins // self.n, minlength=self.bins)
        return stats.chisquare(counts).pvalue

    def p_places(self, found):
        """Whether each part of the numbers lands in each part of the positions."""
        place = np.arange(self.n) * self.bins // self.n
        cell = place * self.bins + found * self.bins // self.n
        counts = np.bincount(cell.ravel(), minlength=self.bins**2)
        wanted = found.size / self.bins**2
        value = ((counts - wanted) ** 2).sum() / wanted
        return stats.chi2.sf(value, (self.bins - 1) ** 2)  # both margins are fixed

    def p_pairs(self, found, lag):
        """Whether a number tells that `lag` positions on, by disjoint pairs."""
        starts = np.arange(self.n - lag)
        starts = starts[starts // lag % 2 == 0]
        first, second = (found[:, starts + k] * self.bins // self.n for k in (0, lag))
        cell = first * self.bins + second
        counts = np.bincount(cell.ravel(), minlength=self.bins**2)
        wanted = first.size / self.bins**2
        value = ((counts - wanted) ** 2).sum() / wanted
        return stats.chi2.sf(value, self.bins**2 - 1)

    def correlation(self, found, lag):
        """Of a number and that `lag` on, in standard deviations of chance."""
        x = found - (self.n - 1) / 2
        product = (x[:, :-lag] * x[:, lag:]).mean() / (x**2).mean()
        return abs(product + 1 / self.n) * math.sqrt(x[:, lag:].size)

    def test_every_place_is_as_likely(self):
        found = permutations(self.n, self.count)
        assert self.p_first(found) > 1e-3
        assert self.p_places(found) > 1e-3
        control = permutations(self.n, self.count, identity)
        assert self.p_first(control) < 1e-9
        assert self.p_places(control) < 1e-9

    @pytest.mark.parametrize("lag", [1, 2, 71, 142])
    def test_neighbours_along_a_row_or_a_column_of_the_grid_part(self, lag):
        found = permutations(self.n, self.count)
        assert self.correlation(found, lag) < SIGMAS
        assert self.p_pairs(found, lag) > 1e-3
        for broken in (identity, rotation):
            control = permutations(self.n, self.count, broken)
            assert self.correlation(control, lag) > SIGMAS
            assert self.p_pairs(control, lag) < 1e-9

    def test_the_differences_of_neighbours_are_spread_and_two_rounds_would_not_do(self):
        def p_differences(found):
            step = (found[:, 1::2] - found[:, :-1:2]) % self.n
            counts = np.bincount(step.ravel(), minlength=self.n)[1:]
            return stats.chisquare(counts).pvalue

        assert p_differences(permutations(self.n, self.count)) > 1e-3
        control = permutations(self.n, self.count, two_rounds)
        np.testing.assert_array_equal(np.sort(control[0]), np.arange(self.n))
        assert p_differences(control) < 1e-9
