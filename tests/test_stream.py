"""Epochs by chunks: the very batches of the device-resident epoch, from any chunk on.

Held here: every array of every batch, padding included, is bit for bit what
`batching.epoch_batches` and `take` give, for sizes around every border, several seeds,
contexts, memory-mapped columns and positions with gaps; other keys give other batches;
any chunk can be the first; a process has the columns that it wants and reads no other;
memory is that of a few chunks.
"""

import dataclasses
import sys
import threading
import tracemalloc

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ncf_jax import batching, bits, stream
from ncf_jax.errors import ConfigError, DataError
from ncf_jax.types import Interactions, ItemFeatures

USERS, ITEMS, WIDTH = 50, 40, 3
SIZES = [
    (1, 1),
    (7, 3),
    (64, 64),
    (100, 512),
    (4_096, 100),
    (4_097, 100),
    (10_000, 512),
    (10_240, 512),
]


def rows_with(n, context=False, seed=0):
    rng = np.random.default_rng(seed)
    return stream.Rows(
        user=rng.integers(0, USERS, n, dtype=np.int32),
        item=rng.integers(0, ITEMS, n, dtype=np.int32),
        rating=(rng.integers(1, 11, n) / 2).astype(np.float32),
        context=rng.normal(size=(n, WIDTH)).astype(np.float32) if context else None,
    )


def keys_of(*seeds):
    return jax.vmap(jax.random.key)(jnp.asarray(seeds, jnp.uint32))


def resident(rows, key, batch_size):
    """The batches that an epoch on the device takes: arrays [S, B, ...]."""
    size = min(batch_size, rows.num_rows)
    order = batching.epoch_batches(key, rows.num_rows, size)
    index, weight = (np.asarray(x) for x in order)
    places = slice(None) if rows.positions is None else rows.positions
    user, item, rating, context = (
        None if x is None else np.asarray(x)[places][index] for x in rows[:4]
    )
    return [user, item, rating, weight, context]


def taken(rows, key, batch_size):
    """The same by `batching.take`, as the epoch on the device does it."""
    features = ItemFeatures(np.zeros((ITEMS, 1)), np.zeros((ITEMS, 1)))
    data = Interactions(rows.user, rows.item, rows.rating, features, rows.context)
    order = batching.epoch_batches(key, rows.num_rows, batch_size)
    batch = batching.take(data, *order)
    found = batch.user, batch.item, batch.rating, batch.weight, batch.context
    return [None if x is None else np.asarray(x) for x in found]


def joined(chunks, seed=0):
    """The chunks of a seed, one after the other: arrays [S, B, ...]."""
    columns = zip(*chunks, strict=True)
    return [
        None if column[0] is None else np.concatenate([x[seed] for x in column])
        for column in columns
    ]


def assert_same(found, wanted):
    for one, other in zip(found, wanted, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            assert one.dtype == other.dtype
            np.testing.assert_array_equal(one, other)


class TestBatches:
    @pytest.mark.parametrize(("n", "batch_size"), SIZES)
    @pytest.mark.parametrize("context", [False, True])
    def test_they_are_those_of_the_device(self, n, batch_size, context):
        rows, keys = rows_with(n, context), keys_of(5)
        chunks = stream.epoch(rows, keys, batch_size, examples=2_000)
        assert_same(joined(chunks), resident(rows, keys[0], batch_size))

    @pytest.mark.parametrize(("n", "context"), [(1_001, True), (9_001, False)])
    def test_they_are_what_the_device_takes(self, n, context):
        rows, keys = rows_with(n, context), keys_of(8)
        found = joined(stream.epoch(rows, keys, 100, examples=900))
        assert_same(found, taken(rows, keys[0], 100))

    @pytest.mark.parametrize("n", [1_000, 9_000])
    def test_another_key_gives_other_batches(self, n):
        rows = rows_with(n)
        found = joined(stream.epoch(rows, keys_of(5), 100))
        wanted = resident(rows, jax.random.key(6), 100)
        assert (found[0] != wanted[0]).mean() > 0.5
        assert (np.sort(found[0], None) == np.sort(wanted[0], None)).all()

    def test_each_seed_has_its_own_order(self):
        rows, keys = rows_with(5_003), keys_of(1, 2, 3)
        chunks = list(stream.epoch(rows, keys, 128, examples=3_000))
        for seed, key in enumerate(keys):
            assert_same(joined(chunks, seed), resident(rows, key, 128))
        assert (joined(chunks, 0)[0] != joined(chunks, 1)[0]).any()

    def test_without_keys_rows_come_in_order(self):
        rows = rows_with(1_001)
        found = joined(stream.epoch(rows, None, 100, examples=300))
        assert_same(found, resident(rows, None, 100))
        np.testing.assert_array_equal(found[0].ravel()[:1_001], rows.user)

    def test_padding_repeats_row_0_without_weight(self):
        rows = rows_with(4_999)
        user, item, rating, weight, _ = joined(stream.epoch(rows, keys_of(0), 1_000))
        assert weight.sum() == 4_999
        assert weight[-1].tolist() == [1.0] * 999 + [0.0]
        assert user[-1, -1] == rows.user[0]
        assert item[-1, -1] == rows.item[0]
        assert rating[-1, -1] == rows.rating[0]

    @pytest.mark.parametrize("threads", [1, 3])
    @pytest.mark.parametrize("prefetch", [1, 4])
    def test_threads_do_not_change_the_order(self, threads, prefetch):
        rows, keys = rows_with(6_000), keys_of(2)
        how = {"threads": threads, "prefetch": prefetch, "examples": 500}
        found = joined(stream.epoch(rows, keys, 50, **how))
        assert_same(found, resident(rows, keys[0], 50))

    def test_rows_of_a_file_are_gathered_alike(self, tmp_path):
        rows, keys = rows_with(8_000, context=True), keys_of(4)
        mapped = {}
        for name in ("user", "item", "rating", "context"):
            column = getattr(rows, name)
            column.tofile(tmp_path / name)
            mapped[name] = np.memmap(
                tmp_path / name, column.dtype, "r", shape=column.shape
            )
        found = joined(stream.epoch(stream.Rows(**mapped), keys, 256))
        assert_same(found, resident(rows, keys[0], 256))
        assert not any(isinstance(x, np.memmap) for x in found)

    def test_a_batch_in_a_scan_is_that_of_the_device(self):
        rows, keys = rows_with(700, context=True), keys_of(3)
        rng = np.random.default_rng(1)
        features = ItemFeatures(
            rng.normal(size=(ITEMS, 2)), rng.normal(size=(ITEMS, 4))
        )
        [chunk] = stream.epoch(rows, keys, 100)

        @jax.jit
        def total(chunk):
            def body(count, rows):
                batch = batching.batch_of(features, *rows)
                assert batch.features.genres.shape == (100, 2)
                assert batch.context.shape == (100, WIDTH)
                return count + jnp.sum(batch.weight * batch.rating), batch.user

            one = jax.tree.map(lambda x: x[0], chunk)
            return jax.lax.scan(body, jnp.zeros(()), tuple(one))

        count, users = total(chunk)
        assert float(count) == pytest.approx(float(rows.rating.sum()), rel=1e-5)
        np.testing.assert_array_equal(users, resident(rows, keys[0], 100)[0])


class TestResume:
    @pytest.mark.parametrize("n", [3_000, 9_001])
    def test_any_chunk_can_be_the_first(self, n):
        rows, keys = rows_with(n, context=True), keys_of(7, 8)
        how = {"examples": 2_000}
        whole = list(stream.epoch(rows, keys, 100, **how))
        assert len(whole) >= 3
        for first in range(len(whole) + 1):
            rest = list(stream.epoch(rows, keys, 100, first_chunk=first, **how))
            assert len(rest) == len(whole) - first
            for found, wanted in zip(rest, whole[first:], strict=True):
                assert_same(found, wanted)

    def test_what_comes_before_the_first_is_not_gathered(self, monkeypatch):
        gathered = []
        plain = stream.Chunks.__getitem__
        monkeypatch.setattr(
            stream.Chunks,
            "__getitem__",
            lambda self, number: gathered.append(int(number)) or plain(self, number),
        )
        rows = rows_with(10_000)
        list(stream.epoch(rows, keys_of(0), 100, first_chunk=7, examples=1_000))
        assert sorted(gathered) == [7, 8, 9]

    def test_grains_own_state_is_the_number_of_the_next_chunk(self):
        rows = rows_with(10_000)
        chunks = stream.epoch(rows, keys_of(0), 100, first_chunk=2, examples=1_000)
        assert chunks.get_state() == {"next_index": 2}
        next(chunks)
        state = chunks.get_state()
        assert state == {"next_index": 3}
        wanted = next(chunks)
        again = stream.epoch(rows, keys_of(0), 100, examples=1_000)
        again.set_state(state)
        assert_same(next(again), wanted)
        again.set_state({"next_index": 0})
        assert (next(again).user != wanted.user).any()

    @pytest.mark.parametrize("first", [-1, 11])
    def test_a_chunk_that_is_not_there_is_refused(self, first):
        with pytest.raises(ConfigError, match="has 10, from 0"):
            stream.epoch(
                rows_with(10_000), keys_of(0), 100, first_chunk=first, examples=1_000
            )

    def test_threads_end_with_the_iterator(self):
        chunks = stream.epoch(rows_with(50_000), keys_of(0), 10, examples=100)
        next(chunks)
        chunks.close()
        before = threading.active_count()
        for _ in range(5):
            chunks = stream.epoch(rows_with(50_000), keys_of(0), 10, examples=100)
            next(chunks)
            chunks.close()
        assert threading.active_count() <= before + 2


class TestColumns:
    @pytest.mark.parametrize("n", [1_000, 10_007])
    def test_processes_share_a_batch_without_rest(self, n):
        rows, keys = rows_with(n, context=True), keys_of(1, 2)
        whole = list(stream.epoch(rows, keys, 96, examples=3_000))
        parts = [
            list(stream.epoch(rows, keys, 96, columns=part, examples=3_000))
            for part in (slice(0, 32), slice(32, 33), slice(33, None))
        ]
        for number, wanted in enumerate(whole):
            pieces = zip(*(part[number] for part in parts), strict=True)
            assert_same([np.concatenate(x, axis=2) for x in pieces], wanted)

    def test_rows_of_other_columns_are_not_read(self):
        rows, keys = rows_with(6_000), keys_of(3)
        order = np.asarray(bits.permutation(keys[0], 6_000)).reshape(-1, 100)
        spoilt = rows._replace(rating=rows.rating.copy())
        spoilt.rating[order[:, 50:]] = np.nan
        spoilt.rating[0] = 1.0  # of padding
        found = joined(stream.epoch(spoilt, keys, 100, columns=slice(0, 50)))
        assert np.isfinite(found[2]).all()
        other = joined(stream.epoch(spoilt, keys, 100, columns=slice(50, 100)))
        assert np.isnan(other[2]).any()

    @pytest.mark.parametrize("part", [slice(5, 5), slice(0, 10, 2), slice(500, 600)])
    def test_columns_that_are_none_or_have_gaps_are_refused(self, part):
        with pytest.raises(ConfigError, match="columns in a row"):
            stream.epoch(rows_with(300), keys_of(0), 100, columns=part)


class TestPlan:
    @pytest.mark.parametrize("n", [1, 99, 100, 101, 5_000, 123_456, 1_234_567])
    @pytest.mark.parametrize("batch_size", [1, 64, 100, 8_192])
    @pytest.mark.parametrize("seeds", [1, 3])
    def test_every_batch_is_in_one_chunk_of_few_examples(self, n, batch_size, seeds):
        found = stream.plan(n, batch_size, seeds, examples=20_000)
        assert found.steps == batching.num_batches(n, batch_size)
        last = found.steps - (found.chunks - 1) * found.batches
        assert 1 <= last <= found.batches
        size = found.batches * batch_size * seeds
        assert size <= 20_000 or found.batches == 1

    def test_a_divisor_makes_one_shape(self):
        found = stream.plan(1_000 * 60, 1_000, examples=11_000)
        assert found == stream.Plan(steps=60, batches=10, chunks=6)

    def test_without_a_divisor_the_last_is_shorter(self):
        found = stream.plan(1_000 * 61, 1_000, examples=11_000)
        assert found == stream.Plan(steps=61, batches=11, chunks=6)
        assert found.steps % found.batches == 6

    def test_an_epoch_has_two_shapes_at_most(self):
        for n in (5_000, 6_100, 9_700):
            chunks = stream.epoch(rows_with(n), keys_of(0), 100, examples=1_100)
            assert len({chunk.user.shape for chunk in chunks}) <= 2

    def test_chunks_are_as_large_as_is_said(self):
        found = stream.plan(22_400_000, 8_192)
        assert stream.CHUNK / 2 <= found.batches * 8_192 <= stream.CHUNK


class TestRows:
    def test_rows_without_a_gap_are_a_view(self, tiny_dataset):
        found = stream.rows_of(tiny_dataset, np.arange(100, 300))
        assert found.positions is None
        assert found.num_rows == 200
        assert np.shares_memory(found.user, tiny_dataset.user)
        np.testing.assert_array_equal(found.item, tiny_dataset.item[100:300])

    def test_rows_with_gaps_keep_their_positions(self, tiny_dataset, tiny_split):
        found = stream.rows_of(tiny_dataset, tiny_split.train)
        assert found.num_rows == len(tiny_split.train)
        assert found.positions.dtype == np.uint32
        assert found.user is tiny_dataset.user
        keys = keys_of(6)
        wanted = resident(found, keys[0], 64)
        assert_same(joined(stream.epoch(found, keys, 64)), wanted)
        held_out = set(tiny_dataset.time[tiny_split.test].tolist())
        assert held_out, "there is nothing that could have been read by mistake"

    def test_gaps_and_no_gaps_are_the_same_batches(self, tiny_dataset):
        keys, rows = keys_of(6), np.arange(50, 250)
        view = stream.rows_of(tiny_dataset, rows)
        listed = stream.Rows(
            tiny_dataset.user, tiny_dataset.item, tiny_dataset.rating, None, rows
        )
        assert_same(
            joined(stream.epoch(view, keys, 64)), joined(stream.epoch(listed, keys, 64))
        )

    def test_contexts_come_along(self, tiny_dataset):
        n = len(tiny_dataset.user)
        context = np.random.default_rng(0).normal(size=(n, 2)).astype(np.float32)
        dataset = dataclasses.replace(tiny_dataset, context=context)
        for rows in (np.arange(10, 90), np.arange(10, 90, 2)):
            found = stream.rows_of(dataset, rows)
            keys = keys_of(1)
            [chunk] = stream.epoch(found, keys, 100)
            order = rows[np.asarray(bits.permutation(keys[0], len(rows)))]
            np.testing.assert_array_equal(chunk.context[0, 0], context[order])

    def test_bytes_are_those_of_the_columns_on_the_device(self):
        assert rows_with(1_000).num_bytes == 12_000
        assert rows_with(1_000, context=True).num_bytes == 12_000 + 4_000 * WIDTH

    def test_no_rows_are_refused(self):
        with pytest.raises(DataError, match="no training rows"):
            stream.epoch(rows_with(0), keys_of(0), 10)

    def test_without_grain_it_says_what_to_install(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "grain", None)
        with pytest.raises(ConfigError, match=r"\[large\].*--input=device"):
            stream.epoch(rows_with(10), keys_of(0), 10)


N = 256 * 64 * 12  # batches, chunks


class TestMemory:
    def peak(self, n, tmp_path):
        columns = {}
        for name, kind in (("user", "i4"), ("item", "i4"), ("rating", "f4")):
            path = tmp_path / f"{name}{n}"
            np.zeros(n, kind).tofile(path)
            columns[name] = np.memmap(path, kind, "r")
        rows = stream.Rows(**columns)
        list(stream.epoch(rows, keys_of(0), 256, examples=2**14))  # what is cached
        tracemalloc.start()
        for _ in stream.epoch(rows, keys_of(0), 256, examples=2**14):
            pass
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    def test_it_does_not_grow_with_the_rows(self, tmp_path):
        small, large = self.peak(N, tmp_path), self.peak(4 * N, tmp_path)
        assert large < 1.5 * small
        # Chunks as the module's formula has them, scratch, and what is small.
        assert large < (2 + 2) * 2**14 * 16 + 2 * 4e6 + 1e6
        assert large < 12 * 4 * N / 2, "it is as much as the columns themselves"
