"""Folding in: a known user's ratings find about the known user's scores, more ratings
find better ones, and nothing else - padding, other users - changes anything."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ncf_jax import Bias, Config, RunError, fit, foldin, learner_of, make_model, predict
from ncf_jax import prepare as prepare_data
from ncf_jax import split as divide
from ncf_jax.catalogue import score_catalogue
from ncf_jax.models import with_context
from ncf_jax.newcomers import left_out

WORLD = dict(
    dataset="synthetic",
    synthetic_users=120,
    synthetic_items=80,
    synthetic_ratings_per_user=40,
    cache_dir="",
)
NETWORK = dict(epochs=12, batch_size=128, embedding_dim=8, dropout=0.0)
MODELS = {
    "vncf": dict(
        **NETWORK, model="vncf", schedule="cosine", learning_rate=0.01, weight_decay=0
    ),
    "ncf": dict(**NETWORK, model="ncf", learning_rate=0.003, weight_decay=1e-4),
    "bias": dict(model="bias"),
}


def train(**changes):
    """A model, its parameters, its data and its split."""
    config = Config(**(WORLD | changes))
    dataset = prepare_data(config)
    parts = divide(dataset, config)
    dataset = with_context(config, dataset, parts)
    model = make_model(config, dataset)
    rows = [dataset.interactions(each) for each in (parts.train, parts.valid)]
    learner = learner_of(config, model, dataset.features, num_rows=len(parts.train))
    seeds = range(config.num_seeds)
    state = fit(learner, *rows, epochs=config.epochs, seeds=seeds)
    return model, state.params, dataset, parts


@pytest.fixture(scope="module", params=MODELS)
def trained(request):
    return train(**MODELS[request.param])


@pytest.fixture(scope="module", params=MODELS)
def cold(request):
    return train(**MODELS[request.param], split="cold_user")


@pytest.fixture(scope="module")
def vncf():
    return train(**MODELS["vncf"] | dict(num_seeds=2, epochs=2))


def lists(dataset, rows, users):
    mine = [rows[dataset.user[rows] == user] for user in users]
    return [dataset.item[each] for each in mine], [
        dataset.rating[each] for each in mine
    ]


def user_rows(params):
    """The users' tables as rows [R, U, ...] of `vncf`."""
    return tuple(params["user_table"][name] for name in ("mean", "log_sd"))


def test_who_gives_a_known_users_ratings_is_scored_like_that_user(trained):
    model, params, dataset, parts = trained
    users = np.arange(20)
    given = lists(dataset, parts.train, users)
    found = foldin.fold_in_users(model, params, dataset, *given, train=parts.train)[0]
    features = jax.tree.map(jnp.asarray, dataset.features)
    own = np.asarray(score_catalogue(model, params, jnp.asarray(users), features))[0]
    # What all users have in common is taken out: it would correlate for anybody.
    found, own = found - found.mean(axis=0), own - own.mean(axis=0)
    like = np.corrcoef(found.ravel(), own.ravel())[0, 1]
    another = np.corrcoef(np.roll(found, 1, axis=0).ravel(), own.ravel())[0, 1]
    assert like > 0.5
    assert another < like - 0.3, "control: another user's ratings"


def test_more_ratings_lower_the_error_of_the_rest(cold):
    model, params, dataset, parts = cold
    users = np.unique(dataset.user[parts.test])
    rows = [parts.test[dataset.user[parts.test] == user] for user in users]
    errors = []
    for number in (0, 5, 20):
        found = foldin.fold_in_users(
            *(model, params, dataset),
            [dataset.item[each[:number]] for each in rows],
            [dataset.rating[each[:number]] for each in rows],
            train=parts.train,
        )[0]
        error = [
            found[place, dataset.item[each[20:]]] - dataset.rating[each[20:]]
            for place, each in enumerate(rows)
        ]
        errors.append(np.sqrt(np.mean(np.square(np.concatenate(error)))))
    assert errors[0] > errors[1] > errors[2]


def test_padding_and_company_change_nothing(trained, monkeypatch):
    model, params, dataset, parts = trained
    given = lists(dataset, parts.train, range(3))
    alone = foldin.fold_in(model, params, dataset, given[0][1], given[1][1])
    together = foldin.fold_in_users(model, params, dataset, *given)
    assert together.shape == (1, 3, dataset.num_items)
    np.testing.assert_allclose(together[:, 1], alone, atol=2e-3)
    monkeypatch.setattr(foldin, "padded", lambda length: 192)
    longer = foldin.fold_in(model, params, dataset, given[0][1], given[1][1])
    np.testing.assert_allclose(longer, alone, atol=2e-3)
    monkeypatch.setattr(foldin, "AT_ONCE", 1)  # a user at a time
    blocks = foldin.fold_in_users(model, params, dataset, *given)
    np.testing.assert_allclose(blocks, together, atol=2e-3)


def test_the_order_of_ratings_changes_nothing(trained):
    model, params, dataset, parts = trained
    (item,), (stars,) = lists(dataset, parts.train, [3])
    forth = foldin.fold_in(model, params, dataset, item, stars)
    back = foldin.fold_in(model, params, dataset, item[::-1], stars[::-1])
    np.testing.assert_allclose(forth, back, atol=2e-3)


def test_nothing_else_is_changed(trained):
    model, params, dataset, parts = trained
    before = jax.tree.map(np.array, params)
    foldin.fold_in_users(model, params, dataset, *lists(dataset, parts.train, [1]))
    jax.tree.map(np.testing.assert_array_equal, params, before)


def test_seeds_are_folded_in_one_by_one(vncf):
    model, params, dataset, parts = vncf
    given = lists(dataset, parts.train, [1, 2])
    both = foldin.fold_in_users(model, params, dataset, *given)
    assert both.shape == (2, 2, dataset.num_items)
    for seed in range(2):
        one = jax.tree.map(lambda x, seed=seed: x[seed : seed + 1], params)
        found = foldin.fold_in_users(model, one, dataset, *given)
        np.testing.assert_allclose(found[0], both[seed], atol=2e-3)
    assert np.abs(both[0] - both[1]).max() > 0.01, "control"


def test_nobody_is_no_error(vncf):
    model, params, dataset, _ = vncf
    shape = foldin.fold_in_users(model, params, dataset, [], []).shape
    assert shape == (2, 0, dataset.num_items)


def test_without_ratings_it_is_the_mean_of_the_users_rows(vncf):
    model, params, dataset, parts = vncf
    none = np.zeros(0, np.int32), np.zeros(0, np.float32)
    given, every = foldin.prepare(model, dataset, [none], 64)
    known = np.unique(dataset.user[parts.train[:100]])
    weight = foldin._weight_of_users(dataset, parts.train[:100])
    features = jax.tree.map(jnp.asarray, dataset.features.alone())
    middle = foldin._middle(model, params, weight)
    rows = foldin.fit_rows(model, params, features, given, middle)
    for leaf, name in zip(rows, ("mean", "log_sd"), strict=True):
        table = np.asarray(params["user_table"][name])
        wanted = table[:, known].mean(axis=1)
        np.testing.assert_allclose(np.asarray(leaf)[:, 0], wanted, atol=1e-5)
    everyone = np.asarray(params["user_table"]["mean"]).mean(axis=1)
    assert np.abs(everyone - rows[0][:, 0]).max() > 1e-3, "control: others have no part"
    assert every.context.shape[:2] == (1, dataset.num_items)
    assert every.history.rated.shape[0] == 1
    assert not every.history.rated.any()


def test_a_known_users_own_row_is_scored_as_that_user(vncf):
    model, params, dataset, parts = vncf
    users = np.array([2, 9])
    pairs = list(zip(*lists(dataset, parts.train, users), strict=True))
    every = foldin.prepare(model, dataset, pairs, 64)[1]
    rows = jax.tree.map(lambda table: table[:, users], user_rows(params))
    alone = jax.tree.map(jnp.asarray, dataset.features.alone())
    features = jax.tree.map(jnp.asarray, dataset.features)
    found = np.asarray(foldin.score(model, params, alone, rows, every))
    wanted = score_catalogue(model, params, jnp.asarray(users), features)
    np.testing.assert_allclose(found, wanted, atol=2e-3)
    # Controls: the row, the context and the history are each looked at.
    turned = jax.tree.map(lambda x: x[::-1], every)
    for other in (
        foldin.score(model, params, alone, [x[:, ::-1] for x in rows], every),
        foldin.score(model, params, alone, rows, every.replace(context=turned.context)),
        foldin.score(model, params, alone, rows, every.replace(history=turned.history)),
    ):
        assert np.abs(other - found).max() > 0.01


@pytest.fixture(scope="module")
def slope(vncf):
    model, params, dataset, parts = vncf
    (item,), (stars,) = lists(dataset, parts.train, [5])
    number, one = len(item), jax.tree.map(lambda x: x[0], params)
    known = dataset.features.history
    seen = known.rows(item, np.full_like(item, 5))
    context = left_out(dataset.features.statistics, dataset, item, stars)
    alone = dataset.features.alone().rows(item)
    history = dataclasses.replace(  # the user's, each of all items but one
        seen,
        rated=np.stack(
            [known.item_basis[np.delete(item, k)].sum(axis=0) for k in range(number)]
        ),
        user_count=np.full(number, number - 1.0, np.float32),
    )
    theirs = model.apply({"params": one}, item, item, method="lookup")[1]
    prior = one["user_table"]["log_prior"]

    def slope(mean, caution, fewer=0):
        """Of the mean of the row, the largest in size."""

        def loss(mean):
            row = jnp.broadcast_to(mean, (len(item), len(mean)))
            found = model.apply(
                {"params": one},
                ((row, jnp.zeros_like(row)), theirs),
                dataclasses.replace(alone, history=history),
                context=context,
                method="head",
            )
            far = 0.5 * jnp.sum(jnp.square(mean / jnp.exp(prior)))
            cost = caution * model.row_penalty * far / (number - fewer) / 25
            return jnp.mean(jnp.square(found - stars / 5)) + cost

        return float(jnp.abs(jax.grad(loss)(mean)).max())

    return slope


@pytest.fixture(scope="module")
def rows(vncf):
    """Means of the row at first and of the row that is found."""
    model, params, dataset, parts = vncf
    pairs = list(zip(*lists(dataset, parts.train, [5]), strict=True))
    given = foldin.prepare(model, dataset, pairs, 64)[0]
    features = jax.tree.map(jnp.asarray, dataset.features.alone())
    middle = foldin._middle(model, params, foldin._weight_of_users(dataset, None))
    found = foldin.fit_rows(model, params, features, given, middle)
    return middle[0][0][0], found[0][0, 0]


class TestWhatARowMinimises:
    """Its loss, written down again for one seed and one user."""

    def test_its_slope_has_vanished(self, slope, rows):
        start, found = rows
        assert slope(found, foldin.CAUTION) < 0.01 * slope(start, foldin.CAUTION)

    def test_caution_and_the_number_of_ratings_are_part_of_it(self, slope, rows):
        # Controls: another caution, or as many ratings as one of them sees.
        found = rows[1]
        here = slope(found, foldin.CAUTION)
        assert slope(found, 2 * foldin.CAUTION) > 10 * here
        assert slope(found, foldin.CAUTION / 2) > 10 * here
        assert slope(found, foldin.CAUTION, fewer=1) > 3 * here


def test_more_steps_would_find_about_the_same_row(trained, monkeypatch):
    model, params, dataset, parts = trained
    (item,), (stars,) = lists(dataset, parts.train, [5])
    found = foldin.fold_in(model, params, dataset, item, stars)
    monkeypatch.setattr(foldin, "STEPS", 4 * foldin.STEPS)
    jax.clear_caches()
    longer = foldin.fold_in(model, params, dataset, item, stars)
    jax.clear_caches()
    assert np.abs(longer - found).mean() < 0.05


class TestBias:
    def test_the_closed_form_is_the_shrunk_mean_of_what_is_left(self, tiny_dataset):
        model = Bias(tiny_dataset.num_users, tiny_dataset.num_items, user_shrinkage=2.0)
        theirs = np.linspace(-0.2, 0.2, tiny_dataset.num_items, dtype=np.float32)
        params = {
            "mean": jnp.full(1, 0.7),
            "user_bias": jnp.zeros((1, tiny_dataset.num_users)),
            "item_bias": jnp.asarray(theirs[None]),
        }
        item, stars = np.array([3, 8, 20]), np.array([5.0, 4.0, 4.5])
        found = foldin.fold_in(model, params, tiny_dataset, item, stars)
        mine = (stars / 5 - 0.7 - theirs[item]).sum() / (3 + 2.0)
        np.testing.assert_allclose(found[0], 5 * (0.7 + theirs + mine), atol=1e-5)
        without = model.clone(users=False)
        found = foldin.fold_in(without, params, tiny_dataset, item, stars)
        np.testing.assert_allclose(found[0], 5 * (0.7 + theirs), atol=1e-5)

    def test_a_known_user_gets_the_very_same(self):
        model, params, dataset, parts = train(model="bias")
        given = lists(dataset, parts.train, [4])
        found = foldin.fold_in_users(model, params, dataset, *given)[0, 0]
        every = np.arange(dataset.num_items)
        own = predict(model, params, np.full_like(every, 4), every, dataset.features)
        np.testing.assert_allclose(found, own[0], atol=1e-4)


def test_a_model_without_tables_is_told(vncf):
    class Mine:
        """Some model."""

    with pytest.raises(RunError, match="Mine does not name its tables"):
        foldin.fold_in(Mine(), *vncf[1:3], np.array([1]), np.array([3.0]))


def test_the_rate_falls_to_nothing():
    assert optax.cosine_decay_schedule(foldin.RATE, foldin.STEPS)(foldin.STEPS) == 0
