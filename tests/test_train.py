"""Training: one compilation, exact batches, seeds in one vmap, replay from any epoch.

The gradient step is compared with one written out by hand, and each equivalence has a
control that must fail it.
"""

import logging

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ncf_jax import batching
from ncf_jax.config import Config
from ncf_jax.errors import ConfigError, DataError, NonFiniteLossError
from ncf_jax.evaluate import mean_loss
from ncf_jax.losses import mae, mse
from ncf_jax.models import apply, make_model
from ncf_jax.train import (
    DROPOUT,
    INIT,
    SHUFFLE,
    fit,
    learner_of,
    make_learner,
    state_like,
)
from ncf_jax.types import Batch


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
        assert before.params["fc1"]["kernel"].is_deleted()

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
        together, reports = run(tiny_dataset, parts, seeds=(0, 5, 9))
        assert reports[-1].train_loss.shape == (3,)
        for place, seed in enumerate((0, 5, 9)):
            alone, _ = run(tiny_dataset, parts, seeds=(seed,))
            for a, b in zip(
                jax.tree.leaves(together[-1].params),
                jax.tree.leaves(alone[-1].params),
                strict=True,
            ):
                np.testing.assert_allclose(a[place], b[0], rtol=1e-3, atol=1e-4)
        kernels = together[-1].params["fc1"]["kernel"]
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
        assert not state.params["fc1"]["kernel"].is_deleted()

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
