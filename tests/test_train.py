"""Training: one compilation, exact batches, seeds in one vmap, replay from any epoch.

The gradient step is compared with one written out by hand, and each equivalence has a
control that must fail it.
"""

import logging
import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ncf_jax import batching, bits, checkpoint, optim
from ncf_jax.config import Config
from ncf_jax.errors import ConfigError, DataError, NonFiniteLossError
from ncf_jax.evaluate import mean_loss
from ncf_jax.fitting import compile_epoch, fit
from ncf_jax.learners import learner_of, state_like
from ncf_jax.losses import mae, mse
from ncf_jax.models import apply, divide, make_model
from ncf_jax.models.ncf import NCF
from ncf_jax.optim import OPTIMIZERS, ROW_WISE
from ncf_jax.train import DROPOUT, INIT, SHUFFLE, make_learner
from ncf_jax.types import Batch, Interactions, ItemFeatures


@pytest.fixture(scope="module")
def parts(tiny_dataset, tiny_split):
    """Training and validation rows of the tiny world."""
    return (
        tiny_dataset.interactions(tiny_split.train),
        tiny_dataset.interactions(tiny_split.valid),
    )


def make(tiny_dataset, **options):
    config = Config(**dict(embedding_dim=4, batch_size=64) | options)
    model = make_model(config, tiny_dataset)
    return model, learner_of(config, model, tiny_dataset.features)


def run(tiny_dataset, parts, *, epochs=3, seeds=(0,), start=None, **options):
    """Trains; returns the final state as NumPy and the reports."""
    _, learner = make(tiny_dataset, **options)
    reports, states = [], []

    def keep(report, state):
        reports.append(report)
        states.append(jax.tree.map(np.array, state))

    fit(learner, *parts, epochs=epochs, seeds=seeds, start=start, on_epoch=keep)
    return states, reports


def assert_bits_equal(a, b):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(x, y)


def bits_equal(a, b):
    return all(
        np.array_equal(x, y)
        for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    )


class TestStep:
    def batch(self, tiny_dataset, weight):
        rows = tiny_dataset.interactions(np.arange(len(weight)))
        return batching.take(
            jax.tree.map(jnp.asarray, rows),
            jnp.arange(len(weight)),
            jnp.array(weight, jnp.float32),
        )

    def test_equals_gradient_descent_written_out(self, tiny_dataset):
        model, _ = make(tiny_dataset, dropout=0.0)
        learner = make_learner(model, tiny_dataset.features, optimizer=optax.sgd(0.1))
        key = jax.random.key(0)
        state = learner.init(key)
        batch = self.batch(tiny_dataset, [1, 1, 1, 1])

        def by_hand(params):
            total = 0.0
            for n in range(4):
                one = jax.tree.map(lambda x, n=n: x[n : n + 1], batch)
                found = apply(model, params, one.user, one.item, one.features)
                total += (found[0] - one.rating[0] / 5) ** 2
            return total / 4

        wanted = jax.tree.map(
            lambda p, g: p - 0.1 * g, state.params, jax.grad(by_hand)(state.params)
        )
        after, total = learner.step(state, batch, key)
        assert int(after.step) == 1
        assert float(total) == pytest.approx(4 * float(by_hand(state.params)), rel=1e-5)
        for a, b in zip(
            jax.tree.leaves(after.params), jax.tree.leaves(wanted), strict=True
        ):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
        assert not bits_equal(after.params, state.params)

    def test_padding_has_no_gradient_and_no_loss(self, tiny_dataset):
        model, _ = make(tiny_dataset, dropout=0.0)
        learner = make_learner(model, tiny_dataset.features, optimizer=optax.sgd(0.1))
        key = jax.random.key(0)
        state = learner.init(key)
        short = learner.step(state, self.batch(tiny_dataset, [1, 1, 1]), key)
        padded = learner.step(state, self.batch(tiny_dataset, [1, 1, 1, 0]), key)
        counted = learner.step(state, self.batch(tiny_dataset, [1, 1, 1, 1]), key)
        for a, b, c in zip(
            *map(jax.tree.leaves, (short, padded, counted)), strict=True
        ):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)
            del c
        assert float(counted[1]) > float(padded[1])  # the control

    def test_dropout_differs_from_step_to_step_and_not_by_itself(self, tiny_dataset):
        _, learner = make(tiny_dataset, dropout=0.5)
        key = jax.random.key(0)
        state = learner.init(key)
        batch = self.batch(tiny_dataset, [1, 1, 1, 1])
        again = learner.step(state, batch, key)[1]
        assert float(learner.step(state, batch, key)[1]) == float(again)
        later = state.replace(step=state.step + 1)
        assert float(learner.step(later, batch, key)[1]) != float(again)

    def test_ratings_are_divided_by_five(self, tiny_dataset):
        _, learner = make(tiny_dataset, dropout=0.0)
        key = jax.random.key(0)
        state = learner.init(key)
        batch = self.batch(tiny_dataset, [1])
        assert isinstance(batch, Batch)
        model, _ = make(tiny_dataset, dropout=0.0)
        found = apply(model, state.params, batch.user, batch.item, batch.features)[0]
        perfect = batch.replace(rating=5 * found[None])
        assert float(learner.step(state, perfect, key)[1]) == pytest.approx(
            0, abs=1e-10
        )


class TestEpoch:
    def test_equals_its_steps_taken_one_by_one(self, tiny_dataset, parts):
        _, learner = make(tiny_dataset)
        key = jax.random.key(7)
        train = jax.tree.map(jnp.asarray, parts[0])
        n = len(parts[0].user)
        shuffle = jax.random.fold_in(jax.random.fold_in(key, SHUFFLE), 0)
        positions, weights = batching.epoch_batches(shuffle, n, 64)
        state, totals = learner.init(key), []
        step = jax.jit(learner.step)
        for position, weight in zip(positions, weights, strict=True):
            state, total = step(state, batching.take(train, position, weight), key)
            totals.append(float(total))
        whole, found = learner.epoch(learner.init(key), train, key)
        assert found.shape == (-(-n // 64),)
        np.testing.assert_allclose(found, totals, rtol=1e-4)
        for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(state), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)

    def test_the_order_changes_with_the_epoch_and_the_seed(self):
        def order(seed, step):
            key = jax.random.fold_in(jax.random.key(seed), SHUFFLE)
            key = jax.random.fold_in(key, step)
            return batching.epoch_batches(key, 50, 8)[0].ravel()[:50].tolist()

        assert order(0, 0) == order(0, 0)
        assert order(0, 0) != order(0, 7)
        assert order(0, 0) != order(1, 0)

    def test_the_state_is_donated(self, tiny_dataset, parts):
        _, learner = make(tiny_dataset)
        key = jax.random.key(0)
        before = jax.jit(learner.init)(key)
        learner.epoch(before, jax.tree.map(jnp.asarray, parts[0]), key)
        assert before.params["fc1_item"]["kernel"].is_deleted()

    def test_purposes_have_keys_of_their_own(self):
        key = jax.random.key(0)
        drawn = {
            float(jax.random.uniform(jax.random.fold_in(key, purpose)))
            for purpose in (INIT, SHUFFLE, DROPOUT)
        }
        assert len(drawn) == 3


class TestFit:
    def test_the_loss_falls(self, tiny_dataset, parts):
        _, reports = run(tiny_dataset, parts, epochs=6, learning_rate=2e-3)
        assert reports[-1].train_loss[0] < reports[0].train_loss[0] / 2
        assert reports[-1].valid_loss[0] < reports[0].valid_loss[0]

    def test_reports_are_means_over_rows(self, tiny_dataset, parts):
        train, valid = parts
        model, learner = make(tiny_dataset)
        states, reports = run(tiny_dataset, parts, epochs=1)
        params = jax.tree.map(lambda x: x[0], states[0].params)
        rows = jax.tree.map(jnp.asarray, valid)
        found = apply(
            model, params, rows.user, rows.item, rows.features.rows(rows.item)
        )
        wanted = np.mean((np.asarray(found) - valid.rating / 5) ** 2)
        assert reports[0].valid_loss[0] == pytest.approx(wanted, rel=1e-5)
        key = jax.random.key(0)
        _, totals = learner.epoch(
            learner.init(key), jax.tree.map(jnp.asarray, train), key
        )
        wanted = float(totals.sum()) / len(train.user)
        assert reports[0].train_loss[0] == pytest.approx(wanted, rel=1e-4)
        assert reports[0].epoch == 1
        assert reports[0].examples_per_second * reports[0].seconds == pytest.approx(
            len(train.user)
        )

    def test_the_same_seed_gives_the_same_bits_and_another_seed_others(
        self, tiny_dataset, parts
    ):
        first, _ = run(tiny_dataset, parts, seeds=(3,))
        again, _ = run(tiny_dataset, parts, seeds=(3,))
        other, _ = run(tiny_dataset, parts, seeds=(4,))
        assert_bits_equal(first[-1], again[-1])
        assert not bits_equal(first[-1], other[-1])

    def test_seeds_together_are_each_seed_alone(self, tiny_dataset, parts):
        # Alone a seed has no axis of seeds, and XLA may round another way: Adam makes
        # of a gradient that is nearly zero a movement that is not.
        together, reports = run(tiny_dataset, parts, seeds=(0, 5, 9))
        again, _ = run(tiny_dataset, parts, seeds=(0, 5, 9))
        assert_bits_equal(together[-1], again[-1])
        assert reports[-1].train_loss.shape == (3,)
        for place, seed in enumerate((0, 5, 9)):
            alone, _ = run(tiny_dataset, parts, seeds=(seed,))
            for a, b in zip(
                jax.tree.leaves(together[-1].params),
                jax.tree.leaves(alone[-1].params),
                strict=True,
            ):
                np.testing.assert_allclose(a[place], b[0], rtol=1e-3, atol=1e-4)
        kernels = together[-1].params["fc1_item"]["kernel"]
        assert np.abs(kernels[0] - kernels[1]).max() > 1e-2  # the control

    @pytest.mark.parametrize("done", [1, 2, 3])
    def test_going_on_from_any_epoch_gives_the_same_bits(
        self, tiny_dataset, parts, done
    ):
        whole, reports = run(tiny_dataset, parts, epochs=4)
        rest, late = run(tiny_dataset, parts, epochs=4, start=(done, whole[done - 1]))
        assert [report.epoch for report in late] == list(range(done + 1, 5))
        assert_bits_equal(whole[-1], rest[-1])
        assert late[-1].train_loss[0] == reports[-1].train_loss[0]
        moved = whole[done - 1].replace(step=whole[done - 1].step + 1)
        wrong, _ = run(tiny_dataset, parts, epochs=4, start=(done, moved))
        assert not bits_equal(whole[-1].params, wrong[-1].params)  # the control

    def test_the_start_is_copied_and_not_consumed(self, tiny_dataset, parts):
        _, learner = make(tiny_dataset)
        state = fit(learner, *parts, epochs=1)
        fit(learner, *parts, epochs=2, start=(1, state))
        assert not state.params["fc1_item"]["kernel"].is_deleted()

    def test_nothing_is_done_when_all_epochs_are_done(self, tiny_dataset, parts):
        states, _ = run(tiny_dataset, parts, epochs=2)
        rest, reports = run(tiny_dataset, parts, epochs=2, start=(2, states[-1]))
        assert reports == rest == []

    def test_the_epoch_is_compiled_once(self, tiny_dataset, parts, caplog):
        def compilations(epochs):
            caplog.clear()
            with jax.log_compiles(), caplog.at_level(logging.WARNING):
                run(tiny_dataset, parts, epochs=epochs, fc2_dim=10 + epochs)
            names = [
                record.getMessage().split(" with ")[0].split(" in ")[0]
                for record in caplog.records
                if "Finished XLA compilation" in record.getMessage()
            ]
            return [name for name in names if "epoch" in name], len(names)

        epochs, few = compilations(1)
        assert len(epochs) == 1
        epochs, many = compilations(4)
        assert len(epochs) == 1
        assert many == few, "a later epoch compiled something anew"

    def test_no_validation_rows_are_nan_and_not_an_error(self, tiny_dataset, parts):
        empty = tiny_dataset.interactions(np.array([], int))
        _, reports = run(tiny_dataset, (parts[0], empty), epochs=1)
        assert np.isnan(reports[0].valid_loss).all()
        assert np.isfinite(reports[0].train_loss).all()

    @pytest.mark.parametrize("batch_size", [1, 7, 10_000])
    def test_any_batch_size_sees_each_row_once(self, tiny_dataset, batch_size):
        rows = tiny_dataset.interactions(np.arange(20))
        states, _ = run(tiny_dataset, (rows, rows), epochs=1, batch_size=batch_size)
        assert int(states[0].step[0]) == -(-20 // batch_size)

    @pytest.mark.parametrize("rate", [1e30, 1e38])
    def test_a_loss_that_is_not_finite_stops_at_once_and_says_where(
        self, tiny_dataset, parts, rate
    ):
        with pytest.raises(
            NonFiniteLossError, match=r"seed 6 became (nan|inf) at step \d+ of epoch 1"
        ):
            run(tiny_dataset, parts, seeds=(6,), learning_rate=rate)

    def test_a_non_finite_epoch_is_never_reported(self, tiny_dataset, parts):
        _, learner = make(tiny_dataset, learning_rate=1e30)
        seen = []
        with pytest.raises(NonFiniteLossError):
            fit(learner, *parts, epochs=3, on_epoch=lambda r, s: seen.append(r))
        assert seen == []

    def test_a_nan_in_a_rating_is_found_at_the_step_that_met_it(
        self, tiny_dataset, parts
    ):
        rating = parts[0].rating.copy()
        rating[3] = np.nan
        with pytest.raises(NonFiniteLossError, match="became nan at step"):
            run(tiny_dataset, (parts[0].replace(rating=rating), parts[1]))


class TestClosedForm:
    def test_an_epoch_is_one_step_over_all_rows(self, tiny_dataset, parts):
        states, reports = run(
            tiny_dataset,
            parts,
            epochs=2,
            model="bias",
            embedding_dim=64,
            batch_size=512,
        )
        assert states[-1].step.tolist() == [2]
        assert reports[1].train_loss[0] <= reports[0].train_loss[0]

    def test_it_equals_solving_by_hand(self, tiny_dataset, parts):
        model, learner = make(
            tiny_dataset, model="bias", embedding_dim=64, batch_size=512
        )
        train = jax.tree.map(jnp.asarray, parts[0])
        n = len(parts[0].user)
        batch = batching.take(train, jnp.arange(n), jnp.ones(n))
        params = learner.init(jax.random.key(0)).params
        for _ in range(3):
            params = model.solve(params, batch)
        state = fit(learner, *parts, epochs=3)
        for name in params:
            np.testing.assert_allclose(
                state.params[name][0], params[name], rtol=1e-5, atol=1e-6
            )


def test_the_learner_follows_each_option(tiny_dataset, parts):
    _, plain = run(tiny_dataset, parts, epochs=1)
    for changed in (
        dict(loss="mae"),
        dict(optimizer="adamw", weight_decay=0.1),
        dict(learning_rate=1e-3),
        dict(weight_decay=0.1),
        dict(batch_size=32),
        dict(dropout=0.0),
    ):
        _, other = run(tiny_dataset, parts, epochs=1, **changed)
        assert other[0].train_loss[0] != plain[0].train_loss[0], changed


def test_without_an_optimizer_a_learner_is_the_reference(tiny_dataset, parts):
    model, named = make(tiny_dataset)
    default = make_learner(model, tiny_dataset.features, batch_size=64)
    assert_bits_equal(
        fit(default, *parts, epochs=1).params, fit(named, *parts, epochs=1).params
    )


def test_the_loss_of_a_learner_is_its_own(tiny_dataset, parts):
    model, _ = make(tiny_dataset)
    learner = make_learner(model, tiny_dataset.features, loss=mae)
    params = learner.init(jax.random.key(0)).params
    rows = jax.tree.map(jnp.asarray, parts[1])
    ours = float(learner.loss(params, rows))
    assert ours == pytest.approx(float(mean_loss(model, mae, params, rows)))
    assert ours != pytest.approx(float(mean_loss(model, mse, params, rows)), rel=1e-2)


def test_state_like_has_the_shapes_of_the_state(tiny_dataset, parts):
    _, learner = make(tiny_dataset)
    state = fit(learner, *parts, epochs=1, seeds=(0, 1))
    like = state_like(learner, 2)
    assert jax.tree.structure(like) == jax.tree.structure(state)
    for a, b in zip(jax.tree.leaves(like), jax.tree.leaves(state), strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)


class TestRefused:
    def test_no_training_rows_are_an_error_in_a_sentence(self, tiny_dataset, parts):
        empty = tiny_dataset.interactions(np.array([], int))
        for model in ({}, dict(model="bias", embedding_dim=64, batch_size=512)):
            with pytest.raises(DataError, match="There are no training rows"):
                run(tiny_dataset, (empty, parts[1]), **model)

    def test_a_model_with_a_list_is_refused_before_it_trains(self, tiny_dataset):
        class Deep(nn.Module):
            widths: list

            def __call__(self, user, item, features, *, train=False):
                return 0.0 * user

        with pytest.raises(ConfigError, match="make lists tuples"):
            make_learner(Deep([3, 4]), tiny_dataset.features)
        assert make_learner(Deep((3, 4)), tiny_dataset.features)

    def test_predictions_of_another_shape_are_refused(self, tiny_dataset, parts):
        class Column(nn.Module):
            @nn.compact
            def __call__(self, user, item, features, *, train=False):
                return nn.Dense(1)(features.genres)

        learner = make_learner(Column(), tiny_dataset.features)
        with pytest.raises(ValueError, match=r"end its head with \[..., 0\]"):
            fit(learner, *parts, epochs=1)

    def test_a_validation_loss_that_is_not_finite_is_never_reported(
        self, tiny_dataset, parts
    ):
        rating = parts[1].rating.copy()
        rating[0] = np.inf
        _, learner = make(tiny_dataset)
        seen = []
        with pytest.raises(
            NonFiniteLossError,
            match="validation loss of seed 0 became inf after epoch 1",
        ):
            fit(
                learner,
                parts[0],
                parts[1].replace(rating=rating),
                epochs=2,
                on_epoch=lambda report, state: seen.append(report),
            )
        assert seen == []


class Dot(nn.Module):
    """Users have a row and a bias, in this order and not the alphabet's; items a row.

    Small, so that it compiles soon, and with dropout, so that its keys are compared.
    """

    users: int
    items: int
    rate: float = 0.3

    def setup(self):
        self.user_rows = nn.Embed(self.users, 3)
        self.user_bias = nn.Embed(self.users, 1)
        self.item_rows = nn.Embed(self.items, 3)
        self.top = nn.Dense(1)

    tables = (
        ("user_rows/embedding", "user_bias/embedding"),
        ("item_rows/embedding",),
    )

    def lookup(self, user, item):
        return (self.user_rows(user), self.user_bias(user)), self.item_rows(item)

    def head(self, rows, features, *, train=False):
        (user, bias), item = rows
        product = user * item
        if train:
            product = bits.dropout(self.make_rng("dropout"), product, self.rate)
        return (self.top(product) + bias)[..., 0]

    def __call__(self, user, item, features, *, train=False):
        return self.head(self.lookup(user, item), features, train=train)


def dot(kind, *, users=6, items=5, batch_size=64, decay=0.01, rate=0.01):
    """A learner of `Dot` whose tables are updated as `kind` says."""
    model = Dot(users, items)
    features = ItemFeatures(genres=jnp.zeros((items, 1)), tags=jnp.zeros((items, 1)))
    learner = make_learner(
        model,
        features,
        optimizer=OPTIMIZERS["adam"](rate, decay),
        row_wise=None if kind == "dense" else ROW_WISE[kind](rate, decay),
        batch_size=batch_size,
    )
    return features, learner


def rows_of(features, pairs):
    user, item = np.array(pairs, np.int32).T
    rating = np.random.default_rng(0).integers(1, 6, len(user)).astype(np.float32)
    return Interactions(
        user=jnp.array(user),
        item=jnp.array(item),
        rating=jnp.array(rating),
        features=features,
    )


def all_pairs(users, items):
    return [(user, item) for user in range(users) for item in range(items)]


def by_row(state):
    """Every array that has a row for each user, and for each item: two lists."""
    sides, _ = divide(Dot(6, 5), state.params)
    return [
        jax.tree.leaves(side) for side in zip(sides, state.opt_state[0], strict=True)
    ]


row_wise = pytest.mark.parametrize("kind", ROW_WISE)


class TestRowWise:
    """`--table_update=lazy|catch_up`: the tables move by the rows of a batch."""

    def params(self, kind, *, pairs):
        features, learner = dot(kind)
        data = rows_of(features, pairs)
        return fit(learner, data, data, epochs=6).params

    @row_wise
    def test_with_every_row_in_each_batch_it_is_dense_adam_dropout_included(self, kind):
        pairs = all_pairs(6, 5)
        wanted = self.params("dense", pairs=pairs)
        found = self.params(kind, pairs=pairs)
        for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
        # The control: user 5 is away, whom dense Adam moves by L2.
        pairs = [(min(user, 4), item) for user, item in pairs]
        wanted = self.params("dense", pairs=pairs)
        found = self.params(kind, pairs=pairs)
        table = ("user_rows", "embedding")
        a, b = (x[table[0]][table[1]] for x in (found, wanted))
        assert np.abs(a - b).max() > 1e-3

    def test_the_network_itself_is_dense_adam_too_when_every_row_is_there(
        self, tiny_dataset, parts
    ):
        # Every pair that there is, in one batch: all users and all items.
        rows = tiny_dataset.interactions(np.arange(len(tiny_dataset.user)))
        start = state_like(make(tiny_dataset)[1], 1).params
        assert start["user_embedding"]["embedding"].shape[1] == len(set(rows.user))
        assert start["item_embedding"]["embedding"].shape[1] == len(set(rows.item))

        def last(update):
            states, _ = run(
                tiny_dataset,
                (rows, parts[1]),
                batch_size=10_000,
                genre_dim=0,
                tag_dim=0,
                fc1_dim=8,
                fc2_dim=4,
                learning_rate=0.01,
                table_update=update,
            )
            return states[-1].params

        dense = last("dense")
        for update in ROW_WISE:
            for a, b in zip(
                jax.tree.leaves(last(update)), jax.tree.leaves(dense), strict=True
            ):
                np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)

    @row_wise
    def test_absent_users_and_items_keep_every_bit(self, kind):
        pairs = [(u, i) for u, i in all_pairs(6, 5) if u != 4 and i != 2]
        features, learner = dot(kind, batch_size=7)
        key = jax.random.key(0)
        init = jax.jit(learner.init)
        before = jax.tree.map(np.array, init(key))
        after, _ = learner.epoch(init(key), rows_of(features, pairs), key)
        for absent, old, new in zip((4, 2), by_row(before), by_row(after), strict=True):
            for a, b in zip(old, new, strict=True):
                np.testing.assert_array_equal(a[absent], b[absent])
            moved = np.abs(old[0] - new[0]).max(axis=1) > 0
            assert moved.sum() == len(moved) - 1
        features, learner = dot("dense", batch_size=7)  # the control: L2 moves all
        init = jax.jit(learner.init)
        after, _ = learner.epoch(init(key), rows_of(features, pairs), key)
        table = ("user_rows", "embedding")
        a, b = (x.params[table[0]][table[1]] for x in (before, after))
        assert (a[4] != b[4]).all()

    @row_wise
    def test_padding_moves_no_row(self, kind):
        # Ten rows by fours: the last batch has two, and its padding is the first row.
        pairs = [(0, 0), (1, 1), (2, 2), (3, 3), (4, 4), (5, 0)]
        pairs += [(1, 2), (2, 3), (3, 1), (4, 2)]
        features, learner = dot(kind, batch_size=4)
        data, key = rows_of(features, pairs), jax.random.key(3)
        shuffle = jax.random.fold_in(jax.random.fold_in(key, SHUFFLE), 0)
        positions, weights = batching.epoch_batches(shuffle, 10, 4)
        assert weights[-1].tolist() == [1, 1, 0, 0]

        step, init = jax.jit(learner.step), jax.jit(learner.init)

        def by_steps(real):
            state = init(key)
            for position, weight in zip(positions, weights, strict=True):
                n = int(weight.sum()) if real else 4
                weight = weight if real else jnp.ones(4)
                batch = batching.take(data, position[:n], weight[:n])
                state, _ = step(state, batch, key)
            return state

        whole, _ = learner.epoch(init(key), data, key)
        without = jax.tree.leaves(by_steps(real=True).params)
        counted = jax.tree.leaves(by_steps(real=False).params)
        for a, b in zip(jax.tree.leaves(whole.params), without, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
        gaps = [np.abs(a - b).max() for a, b in zip(without, counted, strict=True)]
        assert max(gaps) > 1e-3  # the control: padding that counts as a row

    @row_wise
    def test_a_row_that_is_only_padding_keeps_every_bit(self, kind):
        features, learner = dot(kind)
        data, key = rows_of(features, [(5, 4), (1, 1), (2, 2)]), jax.random.key(0)
        before, jitted = jax.jit(learner.init)(key), jax.jit(learner.step)

        def step(weight):
            batch = batching.take(data, jnp.array([1, 2, 0, 0]), jnp.array(weight))
            return jitted(before, batch, key)[0]

        for place, old, new, counted in zip(
            (5, 4),  # both the last of their tables, where an index would be clipped
            by_row(before),
            by_row(step([1.0, 1.0, 0.0, 0.0])),
            by_row(step([1.0, 1.0, 0.0, 1.0])),
            strict=True,
        ):
            for a, b in zip(old, new, strict=True):
                np.testing.assert_array_equal(a[place], b[place])
            assert (old[0][place] != counted[0][place]).any()  # the control

    @row_wise
    def test_going_on_from_a_checkpoint_gives_the_same_bits(self, kind, tmp_path):
        features, learner = dot(kind, batch_size=7)
        data = rows_of(features, all_pairs(6, 5))

        def keep(report, state):
            checkpoint.save(tmp_path, report.epoch, state, {}, keep=9)

        seeds = (0, 8)
        whole = fit(learner, data, data, epochs=3, seeds=seeds, on_epoch=keep)
        state = checkpoint.load_state(tmp_path, 1, state_like(learner, 2))
        rest = fit(learner, data, data, epochs=3, seeds=seeds, start=(1, state))
        assert_bits_equal(whole, rest)
        wiped = state.replace(
            opt_state=jax.tree.map(jnp.zeros_like, jax.device_get(state.opt_state))
        )
        wrong = fit(learner, data, data, epochs=3, seeds=seeds, start=(1, wiped))
        assert not bits_equal(whole.params, wrong.params)  # the control

    def test_the_same_seeds_give_the_same_bits_together_and_alone(self):
        features, learner = dot("catch_up", batch_size=7)
        data = rows_of(features, all_pairs(6, 5))
        together = fit(learner, data, data, epochs=3, seeds=(0, 8))
        assert_bits_equal(together, fit(learner, data, data, epochs=3, seeds=(0, 8)))
        for place, seed in enumerate((0, 8)):
            alone = fit(learner, data, data, epochs=3, seeds=(seed,))
            for a, b, other in zip(
                *map(
                    jax.tree.leaves,
                    (
                        jax.tree.map(lambda x, n=place: x[n], together.params),
                        jax.tree.map(lambda x: x[0], alone.params),
                        jax.tree.map(lambda x, n=place: x[1 - n], together.params),
                    ),
                ),
                strict=True,
            ):
                np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
                assert np.abs(other - b).max() > 1e-3  # the control: another seed

    @row_wise
    def test_a_loss_that_is_not_finite_stops_it(self, kind):
        features, learner = dot(kind, rate=1e30)
        data = rows_of(features, all_pairs(6, 5))
        seen = []
        with pytest.raises(NonFiniteLossError, match=r"seed 6 became (nan|inf)"):
            fit(
                learner,
                data,
                data,
                epochs=2,
                seeds=(6,),
                on_epoch=lambda report, state: seen.append(report.epoch),
            )
        assert seen == []

    @pytest.mark.parametrize("update", ["lazy", "catch_up"])
    def test_the_option_chooses_it(self, tiny_dataset, update):
        _, learner = make(tiny_dataset, table_update=update)
        memories, rest = state_like(learner, 1).opt_state
        users, items = (side.popitem()[1] for side in memories)
        assert users.moments.shape == (1, tiny_dataset.num_users, 2, 4)
        assert items.mark.shape == (1, tiny_dataset.num_items)
        assert "user_embedding" not in rest.mu
        _, dense = make(tiny_dataset)
        assert "user_embedding" in state_like(dense, 1).opt_state.mu

    def test_a_model_that_does_not_name_its_tables_is_refused_at_once(self):
        class Nameless(nn.Module):
            def lookup(self, user, item):
                return user, item

            def __call__(self, user, item, features, *, train=False):
                return 0.0 * user

        features = ItemFeatures(genres=jnp.zeros((5, 1)), tags=jnp.zeros((5, 1)))
        with pytest.raises(ConfigError, match="Nameless does not name its tables"):
            make_learner(Nameless(), features, row_wise=ROW_WISE["lazy"](0.1, 0.0))
        assert make_learner(Nameless(), features)


class TestMemory:
    """What an epoch holds besides its state: the batch's rows and never a table."""

    def compiled(self, kind, users, seeds=1):
        model = NCF(users, 5, 1, 1, 4, genre_dim=0, tag_dim=0, fc1_dim=8, fc2_dim=4)
        features = ItemFeatures(genres=jnp.zeros((5, 1)), tags=jnp.zeros((5, 1)))
        row_wise = None if kind == "dense" else ROW_WISE[kind](0.1, 0.1)
        learner = make_learner(model, features, row_wise=row_wise, batch_size=8)
        data = rows_of(features, all_pairs(6, 5))
        keys = jax.vmap(jax.random.key)(jnp.arange(seeds))
        return compile_epoch(learner, state_like(learner, seeds), data, keys)

    def temporary(self, compiled):
        return compiled.memory_analysis().temp_size_in_bytes

    def copies(self, compiled, users):
        """Copies of an array with a row for each user: table, moments or mark."""
        pattern = rf"\[(?:\d+,)?{users}[,\]]\S* copy(?:-start)?\("
        return re.findall(pattern, compiled.as_text())

    @pytest.mark.parametrize(
        ("kind", "seeds"), [("lazy", 1), ("catch_up", 1), ("catch_up", 2)]
    )
    def test_a_row_wise_epoch_holds_less_than_a_byte_a_row(self, kind, seeds):
        compiled = self.compiled(kind, 200_003, seeds)
        assert self.temporary(compiled) < 200_003
        assert self.copies(compiled, 200_003) == []

    def test_a_dense_epoch_holds_a_gradient_of_the_whole_table(self):
        assert self.temporary(self.compiled("dense", 200_003)) > 4 * 200_003

    def test_a_copy_of_a_mark_would_be_seen(self, monkeypatch):
        # Without the order that `_after` gives, XLA copies the marks in each step.
        # Should this fail, then it does so no more and `_after` can go.
        monkeypatch.setattr(
            optim, "_after", lambda read, value: jnp.broadcast_to(value, read.shape)
        )
        compiled = self.compiled("catch_up", 200_003)
        assert self.copies(compiled, 200_003)
        assert self.temporary(compiled) > 4 * 200_003

    @row_wise
    def test_no_step_asks_the_host(self, kind):
        features, learner = dot(kind)
        data, key = rows_of(features, all_pairs(6, 5)), jax.random.key(0)
        state = jax.eval_shape(learner.init, key)
        text = str(jax.make_jaxpr(learner.epoch)(state, data, key))
        assert "callback" not in text
        with_one = jax.make_jaxpr(lambda x: jax.debug.callback(print, x))(0.0)
        assert "callback" in str(with_one)  # the control
