"""From options to a learner: schedules end with the run, a context is asked for.

Held here: the cosine is optax's over exactly the run's steps, for dense and for
row-wise optimizers alike, and going on in its middle gives the same bits; a penalty is
in the gradient and not in the loss that is told; a model that looks at contexts is
refused without, in a sentence.
"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import ncf_jax
from ncf_jax import batching, catalogue, optim
from ncf_jax.config import Config
from ncf_jax.errors import ConfigError
from ncf_jax.evaluate import mean_loss, predict
from ncf_jax.fitting import fit
from ncf_jax.learners import learner_of
from ncf_jax.losses import mse
from ncf_jax.models import apply, make_model
from ncf_jax.train import make_learner
from ncf_jax.types import Interactions, ItemFeatures

ROWS, BATCH, EPOCHS = 20, 8, 2
STEPS = 6  # of the whole run: three an epoch, the last of them short


class Biases(nn.Module):
    """Two tables and a context: little enough to be written out by hand."""

    users: int
    items: int
    pull: float = 0.0

    tables = (("user_bias/embedding",), ("item_bias/embedding",))

    def setup(self):
        self.user_bias = nn.Embed(self.users, 1)
        self.item_bias = nn.Embed(self.items, 1)

    def lookup(self, user, item):
        return self.user_bias(user), self.item_bias(item)

    def head(self, rows, features, *, train=False):
        return (rows[0] + rows[1])[..., 0]

    def __call__(self, user, item, features, *, train=False):
        return self.head(self.lookup(user, item), features, train=train)


class Penalized(Biases):
    """The same, with the squares of its rows as a penalty."""

    def penalty(self, rows, features):
        return self.pull * sum(jnp.sum(jnp.square(row), axis=-1) for row in rows)


class Seeing(Biases):
    """The same, and the first number of a pair's context is added."""

    takes_context = True

    def head(self, rows, features, *, context, train=False):
        return super().head(rows, features, train=train) + context[..., 0]

    def __call__(self, user, item, features, *, context, train=False):
        rows = self.lookup(user, item)
        return self.head(rows, features, context=context, train=train)


@dataclasses.dataclass
class Counts:
    """Statistics as little as a model needs: the context of any pair is 1."""

    width: int = 1

    def of_users(self, user):
        return jnp.ones((len(user), 5, 1))


jax.tree_util.register_dataclass(Counts, [], ["width"])


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    return Interactions(
        user=jnp.asarray(rng.integers(0, 4, ROWS), jnp.int32),
        item=jnp.asarray(rng.integers(0, 5, ROWS), jnp.int32),
        rating=jnp.asarray(rng.integers(1, 6, ROWS), jnp.float32),
        features=ItemFeatures(genres=jnp.zeros((5, 1)), tags=jnp.zeros((5, 1))),
    )


def run(data, config, *, num_rows=ROWS, start=None, epochs=EPOCHS):
    learner = learner_of(config, Biases(4, 5), data.features, num_rows=num_rows)
    states = []
    fit(
        learner,
        data,
        data,
        epochs=epochs,
        start=start,
        on_epoch=lambda report, state: states.append(jax.tree.map(np.array, state)),
    )
    return states


def config_of(**changes):
    return Config(**dict(batch_size=BATCH, epochs=EPOCHS, learning_rate=0.1) | changes)


def bits_equal(one, other):
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


class TestCosine:
    def test_it_falls_from_the_rate_to_nothing_as_optaxs_does(self):
        ours, theirs = optim.cosine(0.2, STEPS), optax.cosine_decay_schedule(0.2, STEPS)
        found = [float(ours(step)) for step in range(STEPS + 1)]
        assert found == [float(theirs(step)) for step in range(STEPS + 1)]
        assert found[0] == pytest.approx(0.2)
        assert found[-1] == pytest.approx(0.0, abs=1e-8)
        assert found == sorted(found, reverse=True)
        assert found[STEPS - 1] > 0.0, "the last step still moves"

    @pytest.mark.parametrize("make", optim.OPTIMIZERS.values(), ids=optim.OPTIMIZERS)
    def test_an_optimizer_takes_each_step_at_its_own_rate(self, make):
        rates = [0.1, 0.01, 0.0]
        params, gradient = jnp.ones(3), jnp.array([1.0, -2.0, 0.5])
        follows = make(lambda step: jnp.array(rates)[step], 0.01)
        unit = make(1.0, 0.01)  # whose memory is the same, and whose steps are long
        memory, long = follows.init(params), unit.init(params)
        for rate in rates:
            ours, memory = follows.update(gradient, memory, params)
            theirs, long = unit.update(gradient, long, params)
            np.testing.assert_allclose(ours, rate * theirs, rtol=1e-5)
            assert np.abs(theirs).min() > 0.1, "control: there is a step to scale"

    @pytest.mark.parametrize("kind", ["dense", *optim.ROW_WISE])
    def test_the_first_step_has_the_rate_and_the_last_the_smallest(self, data, kind):
        # Adam moves a lonely row by about its rate, whatever the gradient.
        settings = dict(table_update=kind, weight_decay=0.0)
        model = Biases(4, 5)
        learners = {
            name: learner_of(
                config_of(schedule=name, **settings),
                model,
                data.features,
                num_rows=ROWS,
            )
            for name in optim.SCHEDULES
        }
        key = jax.random.key(0)
        batch = batching.take(data, jnp.arange(BATCH), jnp.ones(BATCH))

        def moved(name, step):
            state = learners[name].init(key)
            if kind == "dense":
                memory = state.opt_state._replace(step=jnp.asarray(step))
            else:
                tables, rest = state.opt_state
                memory = tables, rest._replace(step=jnp.asarray(step))
            state = state.replace(step=jnp.asarray(step), opt_state=memory)
            after, _ = learners[name].step(state, batch, key)
            return jax.tree.map(lambda a, b: a - b, after.params, state.params)

        for step in (0, 2, STEPS - 1):
            share = float(optim.cosine(1.0, STEPS)(step))
            for ours, steady in zip(
                *(jax.tree.leaves(moved(n, step)) for n in ("cosine", "constant")),
                strict=True,
            ):
                np.testing.assert_allclose(ours, share * steady, rtol=1e-3, atol=1e-6)
                assert np.abs(steady).max() > 1e-3, "it moves"
        assert share < 0.1, "the control: the last rate is another"

    @pytest.mark.parametrize("kind", ["dense", *optim.ROW_WISE])
    def test_going_on_in_the_middle_gives_the_same_bits(self, data, kind):
        config = config_of(schedule="cosine", table_update=kind)
        first, last = run(data, config)
        (again,) = run(data, config, start=(1, first))
        assert bits_equal(again, last)
        (other,) = run(data, config_of(table_update=kind), start=(1, first))
        assert not bits_equal(other, last), "control: the rate does matter"

    def test_it_ends_with_the_run_so_its_length_matters(self, data):
        # The control of `num_rows`: a run of twice as many rows falls half as fast.
        config = config_of(schedule="cosine")
        assert not bits_equal(run(data, config), run(data, config, num_rows=2 * ROWS))
        steady = config_of()
        assert bits_equal(run(data, steady), run(data, steady, num_rows=0))

    def test_without_the_number_of_rows_it_is_refused_in_a_sentence(self, data):
        config = config_of(schedule="cosine")
        with pytest.raises(
            ConfigError, match=r"--schedule=cosine .* num_rows"
        ) as caught:
            learner_of(config, Biases(4, 5), data.features)
        assert "\n" not in str(caught.value)
        assert learner_of(config_of(), Biases(4, 5), data.features)

    def test_the_public_name_is_this_one(self):
        assert ncf_jax.learner_of is learner_of


class TestPenalty:
    def step(self, model, data, row_wise=False):
        learner = make_learner(
            model,
            data.features,
            optimizer=optax.sgd(0.5),
            row_wise=optim.lazy_adam(0.01, 0.0) if row_wise else None,
        )
        key = jax.random.key(0)
        weight = jnp.array([1.0] * (BATCH - 1) + [0.0])
        batch = batching.take(data, jnp.arange(BATCH), weight)
        state = learner.init(key)
        return batch, state, *learner.step(state, batch, key)

    def test_it_is_in_the_gradient_as_a_mean_over_real_rows(self, data):
        model = Penalized(4, 5, pull=0.3)
        batch, state, after, _ = self.step(model, data)

        def by_hand(params):
            total = 0.0
            for n in range(BATCH - 1):
                user = params["user_bias"]["embedding"][batch.user[n], 0]
                item = params["item_bias"]["embedding"][batch.item[n], 0]
                total += (user + item - batch.rating[n] / 5) ** 2
                total += 0.3 * (user**2 + item**2)
            return total / (BATCH - 1)

        slope = jax.grad(by_hand)(state.params)
        wanted = jax.tree.map(lambda p, g: p - 0.5 * g, state.params, slope)
        for ours, theirs in zip(
            jax.tree.leaves(after.params), jax.tree.leaves(wanted), strict=True
        ):
            np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
        plain = self.step(Biases(4, 5), data)[2]
        assert not bits_equal(plain.params, after.params), "control"

    @pytest.mark.parametrize("row_wise", [False, True])
    def test_the_loss_that_is_told_is_without_it(self, data, row_wise):
        _, _, moved, told = self.step(Penalized(4, 5, pull=0.3), data, row_wise)
        _, _, still, plain = self.step(Biases(4, 5), data, row_wise)
        assert float(told) == float(plain)
        assert not bits_equal(moved.params, still.params), "control"

    def test_the_validation_loss_is_without_it(self, data):
        model, plain = Penalized(4, 5, pull=0.3), Biases(4, 5)
        params = make_learner(plain, data.features).init(jax.random.key(0)).params
        ours, theirs = (mean_loss(m, mse, params, data) for m in (model, plain))
        assert float(ours) == float(theirs)


class TestContext:
    @pytest.fixture
    def seen(self, data):
        context = jnp.linspace(0.0, 1.0, ROWS)[:, None]
        return dataclasses.replace(data, context=context)

    def features(self, data):
        return dataclasses.replace(data.features, statistics=Counts())

    def test_it_reaches_the_model_row_by_row(self, data, seen):
        learner = make_learner(Seeing(4, 5), self.features(data))
        params = learner.init(jax.random.key(0)).params
        key = jax.random.key(0)
        order = jnp.array([3, 0, 7])
        batch = batching.take(seen, order, jnp.ones(3))
        np.testing.assert_array_equal(batch.context, seen.context[order])
        ids = batch.user, batch.item, batch.features
        ours = apply(Seeing(4, 5), params, *ids, context=batch.context)
        without = apply(Biases(4, 5), params, *ids)
        np.testing.assert_allclose(ours - without, seen.context[order, 0], atol=1e-6)
        assert learner.step(learner.init(key), batch, key)[1] > 0

    def test_a_prediction_takes_each_pairs_own_whatever_the_block(self, data, seen):
        learner = make_learner(Seeing(4, 5), self.features(data))
        params = jax.vmap(learner.init)(jax.random.split(jax.random.key(0), 2)).params
        pairs = np.asarray(data.user), np.asarray(data.item), data.features
        context = np.asarray(seen.context)
        for block in (3, 20, 64):
            ours = predict(Seeing(4, 5), params, *pairs, context=context, block=block)
            plain = predict(Biases(4, 5), params, *pairs)
            np.testing.assert_allclose(
                ours - plain, plain * 0 + 5 * context[:, 0], atol=1e-5
            )

    def test_a_model_that_takes_none_is_given_none(self, data, seen):
        learner = make_learner(Biases(4, 5), data.features)
        once, again = (fit(learner, each, each, epochs=1) for each in (data, seen))
        assert bits_equal(once, again)

    @pytest.mark.parametrize(
        "without",
        [
            lambda data, params: make_learner(Seeing(4, 5), data.features).init(
                jax.random.key(0)
            ),
            lambda data, params: mean_loss(Seeing(4, 5), mse, params, data),
            lambda data, params: predict(
                Seeing(4, 5),
                jax.tree.map(lambda x: x[None], params),
                np.asarray(data.user),
                np.asarray(data.item),
                data.features,
            ),
            lambda data, params: catalogue.score_catalogue(
                Seeing(4, 5),
                jax.tree.map(lambda x: x[None], params),
                data.user[:2],
                data.features,
            ),
        ],
        ids=["init", "mean_loss", "predict", "score_catalogue"],
    )
    def test_without_it_a_model_that_takes_one_is_refused(self, data, without):
        params = (
            make_learner(Biases(4, 5), data.features).init(jax.random.key(0)).params
        )
        with pytest.raises(ConfigError, match="Seeing looks at statistics") as caught:
            without(data, params)
        assert "\n" not in str(caught.value)
        assert "with_statistics(dataset, split)" in str(caught.value)

    def test_a_catalogue_has_every_pairs(self, data):
        params = (
            make_learner(Biases(4, 5), data.features).init(jax.random.key(0)).params
        )
        params = jax.tree.map(lambda x: x[None], params)
        user = jnp.arange(4)
        ours = catalogue.score_catalogue(
            Seeing(4, 5), params, user, self.features(data)
        )
        plain = catalogue.score_catalogue(Biases(4, 5), params, user, data.features)
        np.testing.assert_allclose(ours, plain + 5.0, atol=1e-5)


def test_a_learner_of_a_prepared_data_set_trains(tiny_dataset, tiny_split):
    config = Config(schedule="cosine", embedding_dim=2, epochs=1)
    model = make_model(config, tiny_dataset)
    learner = learner_of(
        config, model, tiny_dataset.features, num_rows=len(tiny_split.train)
    )
    train = tiny_dataset.interactions(tiny_split.train)
    state = fit(learner, train, train, epochs=1)
    assert int(state.step[0]) == batching.num_batches(len(tiny_split.train), 512)
