"""The ranking loss: pairs at random, what is known of them, and what it does."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.stats import chisquare

from ncf_jax import Config, batching, fit, learner_of, make_learner, make_model, predict
from ncf_jax.counting import with_statistics
from ncf_jax.errors import ConfigError, NonFiniteLossError
from ncf_jax.losses import pairwise, refuse_non_finite
from ncf_jax.models import ncf, with_context
from ncf_jax.optim import ROW_WISE
from tests.counted import ITEMS, world


@pytest.fixture(scope="module")
def counted():
    dataset, split = world(0)
    return with_statistics(dataset, split, history=4, time="both"), split


def batch_of(data, number=6):
    index = jnp.arange(number) * 2
    return batching.take(data, index, jnp.ones(number))


class TestPairwise:
    def test_is_minus_the_log_likelihood_of_the_order_in_squared_stars(self):
        rng = np.random.default_rng(0)
        mine, other = rng.normal(size=(2, 50))
        wanted = -np.log(1 / (1 + np.exp(-5 * (mine - other)))) / 25
        found = pairwise(jnp.array(mine), jnp.array(other))
        np.testing.assert_allclose(found, wanted, rtol=1e-5)
        wrong = pairwise(jnp.array(other), jnp.array(mine))  # the control
        assert np.abs(np.asarray(wrong) - wanted).max() > 0.1

    def test_is_finite_however_far_they_are(self):
        assert np.isfinite(pairwise(jnp.array([-1e3]), jnp.array([1e3]))).all()

    def test_lifts_the_one_and_lowers_the_other(self):
        slopes = jax.grad(lambda a, b: pairwise(a, b)[0], (0, 1))
        up, down = slopes(jnp.array([0.6]), jnp.array([0.6]))
        assert up[0] < 0 < down[0]

    def test_refuses_shapes_that_would_broadcast(self):
        with jax.numpy_rank_promotion("allow"), pytest.raises(AssertionError):
            pairwise(jnp.zeros(4), jnp.zeros((4, 1)))


class TestAgainst:
    def test_users_and_weights_stay_and_items_are_any(self, counted):
        dataset, split = counted
        data = dataset.interactions(split.train, statistics=True)
        batch = batch_of(data)
        other = batching.against(data.features, batch, jax.random.key(0)).other
        np.testing.assert_array_equal(other.user, batch.user)
        seen = dataset.features.history.item_count[np.asarray(other.item)] > 0
        np.testing.assert_array_equal(other.weight, batch.weight * seen)
        assert not seen.all()  # the control: an item that nobody has rated yet
        assert other.item.dtype == batch.item.dtype
        again = batching.against(data.features, batch, jax.random.key(1)).other
        assert (np.asarray(other.item) != again.item).any()

    def test_every_item_is_as_likely(self, counted):
        dataset, split = counted
        data = dataset.interactions(split.train, statistics=True)
        rows = jnp.zeros(20_000, jnp.int32)
        batch = batching.take(data, rows, jnp.ones(len(rows)))
        item = batching.against(data.features, batch, jax.random.key(0)).other.item
        counts = np.bincount(item, minlength=ITEMS)
        assert len(counts) == ITEMS
        assert chisquare(counts).pvalue > 1e-3
        assert chisquare(counts + np.arange(ITEMS) * 50).pvalue < 1e-3  # the control

    def test_contexts_are_those_of_the_pairs(self, counted):
        dataset, split = counted
        data = dataset.interactions(split.train, statistics=True)
        other = batching.against(data.features, batch_of(data), jax.random.key(2)).other
        every = dataset.features.statistics.of_users(other.user)
        wanted = np.asarray(every)[np.arange(len(other.user)), other.item]
        np.testing.assert_allclose(other.context, wanted, rtol=1e-6)
        assert np.abs(wanted - wanted[::-1]).max() > 0.1  # the control

    def test_a_pair_left_out_of_its_history_leaves_the_whole_history(self, counted):
        dataset, split = counted
        data = dataset.interactions(split.train, statistics=True)
        other = batching.against(data.features, batch_of(data), jax.random.key(2)).other
        history = dataset.features.history.rows(
            np.asarray(other.item), np.asarray(other.user)
        )
        found = other.features.history
        for own, whole in (
            (found.of_user(True), history.of_user()),
            (found.of_item(True), history.of_item()),
        ):
            np.testing.assert_allclose(own, whole, atol=1e-6)
        wrong = found.of_user(False)  # the control
        assert np.abs(np.asarray(wrong) - history.of_user()).max() > 1e-3

    def test_without_statistics_there_is_no_context(self, counted):
        dataset, split = counted
        data = dataclasses.replace(dataset.interactions(split.train), context=None)
        assert (
            batching.against(
                data.features, batch_of(data), jax.random.key(0)
            ).other.context
            is None
        )


def trained(dataset, split, *, epochs=6, **options):
    config = Config(
        dataset="synthetic", embedding_dim=4, fc1_dim=8, fc2_dim=4, batch_size=32
    )
    config = dataclasses.replace(config, dropout=0.0, learning_rate=0.02, **options)
    model = make_model(config, dataset)
    learner = learner_of(config, model, dataset.features, num_rows=len(split.train))
    data = dataset.interactions(split.train, statistics=True)
    valid = dataset.interactions(split.valid)
    state = fit(learner, data, valid, epochs=epochs)
    return model, state.params


class TestTraining:
    def test_lifts_rated_items_above_the_others(self, tiny_dataset, tiny_split):
        """Of each training row, the share of all items that are above it."""
        rows = tiny_split.train
        user = tiny_dataset.user[rows]
        every = np.arange(tiny_dataset.num_items)

        def share_above(**options):
            model, params = trained(tiny_dataset, tiny_split, **options)
            pairs = np.repeat(user, len(every)), np.tile(every, len(user))
            scores = predict(model, params, *pairs, tiny_dataset.features)[0]
            scores = scores.reshape(len(user), -1)
            mine = scores[np.arange(len(user)), tiny_dataset.item[rows]]
            return (scores > mine[:, None]).mean()

        assert share_above(ranking=5.0, epochs=20) < share_above(epochs=20) - 0.02

    def test_vncf_trains_with_it_too(self, counted):
        dataset, split = counted
        with_it = trained(dataset, split, model="vncf", ranking=1.0)[1]
        without = trained(dataset, split, model="vncf")[1]
        leaves = [jax.tree.leaves(params) for params in (with_it, without)]
        assert all(np.isfinite(x).all() for x in leaves[0])
        assert any((x != y).any() for x, y in zip(*leaves, strict=True))

    def test_the_reported_loss_is_that_of_ratings_alone(self, counted):
        dataset, split = counted
        model = ncf.build(Config(embedding_dim=4, dropout=0.0), dataset)
        data = dataset.interactions(split.train, statistics=True)
        batch = batching.against(data.features, batch_of(data), jax.random.key(0))
        key = jax.random.key(1)
        losses = []
        for weight in (0.0, 100.0):
            learner = make_learner(
                model, dataset.features, optimizer=optax.sgd(0.1), ranking=weight
            )
            state = learner.init(key)
            after, loss = learner.step(state, batch, key)
            losses.append((loss, jax.tree.leaves(after.params)))
        assert losses[0][0] == losses[1][0]
        pairs = zip(losses[0][1], losses[1][1], strict=True)
        assert any((x != y).any() for x, y in pairs)  # the control

    def test_rows_alone_cannot_be_moved(self, counted):
        dataset, _ = counted
        model = ncf.build(Config(embedding_dim=4), dataset)
        row_wise = ROW_WISE["lazy"](0.1, 0.0)
        with pytest.raises(ConfigError, match="leave out --table_update"):
            make_learner(model, dataset.features, row_wise=row_wise, ranking=1.0)


@pytest.mark.parametrize("time", ["past", "both"])
def test_a_pair_at_random_has_no_time(time):
    with pytest.raises(ConfigError, match=f"--time={time} wants --ranking=0"):
        Config(model="vncf", time=time, ranking=0.1)


class TestRefuseNonFinite:
    def test_names_seed_step_and_epoch(self):
        loss = np.ones((2, 5))
        refuse_non_finite(loss, 3, (7, 8))  # the control
        loss[1, 2] = np.inf
        with pytest.raises(NonFiniteLossError, match="seed 8 became inf at step 3 of"):
            refuse_non_finite(loss, 3, (7, 8))

    def test_a_validation_loss_has_no_step(self):
        with pytest.raises(
            NonFiniteLossError, match="validation loss of seed 7 became nan after"
        ):
            refuse_non_finite(np.full((1, 1), np.nan), 3, (7,), kind="validation")


@pytest.mark.parametrize("update", ["lazy", "catch_up"])
def test_row_wise_updates_are_refused_before_any_work(update):
    with pytest.raises(ConfigError, match=f"--table_update={update} wants --ranking=0"):
        Config(model="vncf", table_update=update, ranking=0.1)
    Config(model="vncf", table_update=update)  # the control
    Config(model="vncf", ranking=0.1)


def test_rows_without_statistics_are_refused_with_what_to_do(tiny_dataset, tiny_split):
    dataset = with_context(Config(model="vncf"), tiny_dataset, tiny_split)
    index, weight = batching.epoch_batches(None, 8, 8)
    key = jax.random.key(0)
    for statistics in (True, False):
        data = dataset.interactions(tiny_split.train, statistics=statistics)
        batch = batching.take(data, index[0], weight[0])
        if statistics:
            assert batching.against(data.features, batch, key).other.context is not None
            continue
        with pytest.raises(ConfigError, match="statistics=True"):
            batching.against(data.features, batch, key)
