"""The same training on every number of devices, to the bit where bits are promised."""

import jax
import numpy as np
import pytest

from ncf_jax import checkpoint, meshes, models, sharded
from ncf_jax.config import Config
from ncf_jax.errors import ConfigError
from ncf_jax.evaluate import evaluate, predict
from ncf_jax.fitting import begin, fit, keys_of, put_state
from ncf_jax.learners import learner_of, state_like
from ncf_jax.recommend import item_vectors
from ncf_jax.train import make_learner
from tests.conftest import TINY

MESHES = ["data:2", "table:4", "data:4,table:2", "table:8"]
BIAS = dict(
    model="bias", batch_size=512, embedding_dim=64, fc1_dim=128, fc2_dim=64
)  # what a closed form has no use for, as it is by default
NETWORK = dict(epochs=3, batch_size=64, embedding_dim=8, fc1_dim=16, fc2_dim=8)


def train(dataset, split, text="", epochs=3, start=None, **options):
    """The state after some epochs, and what is needed to go on or to judge it."""
    config = Config(**{**TINY, **NETWORK, **options})
    dataset = models.with_context(config, dataset, split)
    model = models.make_model(config, dataset)
    mesh = meshes.make_mesh(text)
    learner = learner_of(
        config, model, dataset.features, num_rows=len(split.train), mesh=mesh
    )
    losses = []
    state = fit(
        learner,
        dataset.interactions(split.train, statistics=config.ranking > 0),
        dataset.interactions(split.valid),
        epochs=epochs,
        seeds=range(config.num_seeds),
        start=start,
        on_epoch=lambda report, state: losses.append(report.train_loss),
    )
    return state, model, dataset, learner, np.array(losses)


def same(ours, theirs):
    """Whether two states hold the same bits, without padding."""
    pairs = zip(
        jax.tree.leaves(sharded.bare(ours)),
        jax.tree.leaves(sharded.bare(theirs)),
        strict=True,
    )
    for a, b in pairs:
        a, b = np.asarray(a), np.asarray(b)
        least = tuple(slice(min(m, n)) for m, n in zip(a.shape, b.shape, strict=True))
        if not np.array_equal(a[least], b[least]):
            return False
    return True


def close(ours, theirs, rtol):
    """Whether two states agree, relative to each array's largest value."""
    pairs = zip(
        jax.tree.leaves(sharded.bare(ours)),
        jax.tree.leaves(sharded.bare(theirs)),
        strict=True,
    )
    for a, b in pairs:
        a, b = np.asarray(a), np.asarray(b)
        least = tuple(slice(min(m, n)) for m, n in zip(a.shape, b.shape, strict=True))
        if np.abs(a[least] - b[least]).max() > rtol * np.abs(b[least]).max():
            return False
    return True


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"table_update": "lazy", "num_seeds": 2},
        {"table_update": "catch_up"},
        {"model": "vncf", "schedule": "cosine"},
    ],
    ids=str,
)
def test_by_parts_bits_and_figures_are_those_of_one_device(
    tiny_dataset, tiny_split, options
):
    by_parts = {**options, "batch_parts": 8}
    one, model, dataset, *_ = train(tiny_dataset, tiny_split, **by_parts)
    how = dict(train=tiny_split.train, candidates="catalogue", k=5)
    wanted = evaluate(model, one.params, dataset, tiny_split.test, **how)
    for text in MESHES if not options else MESHES[2:3]:
        state, *_, losses = train(tiny_dataset, tiny_split, text, **by_parts)
        # A compiler may contract the moments of rows differently: an ulp of them.
        assert same(state, one) or ("table_update" in options), text
        assert close(state, one, 1e-5), text
        assert len(losses) == 3
        found = evaluate(model, state.params, dataset, tiny_split.test, **how)
        for name, value in wanted.metrics.items():
            assert found.metrics[name].mean == pytest.approx(value.mean, 1e-5, 1e-6)
    if not options:
        other, *_ = train(tiny_dataset, tiny_split)
        assert not same(other, one), "parts make no difference, so this shows nothing"


@pytest.mark.parametrize(
    "options", [{}, BIAS, {"model": "vncf", "ranking": 0.5}], ids=str
)
def test_without_parts_losses_agree_to_rounding(tiny_dataset, tiny_split, options):
    wanted = train(tiny_dataset, tiny_split, **options)[-1]
    for text in ("data:2,table:3",) if options else ("data:8", "data:2,table:3"):
        found = train(tiny_dataset, tiny_split, text, **options)[-1]
        np.testing.assert_allclose(found, wanted, rtol=1e-4)


@pytest.mark.parametrize("more", [{}, {"table_update": "lazy"}], ids=str)
def test_a_run_goes_on_with_other_devices(tiny_dataset, tiny_split, tmp_path, more):
    options = {"batch_parts": 8, **more}
    wanted, *_ = train(tiny_dataset, tiny_split, epochs=4, **options)
    start = None
    for done, text in enumerate(["table:8", "", "data:4,table:2", "data:2"]):
        if done:
            like = state_like(train_nothing(tiny_dataset, text, options), 1)
            start = done, checkpoint.load_state(tmp_path, done, like)
        state, *_ = train(
            tiny_dataset, tiny_split, text, epochs=done + 1, start=start, **options
        )
        checkpoint.save(tmp_path, done + 1, state, {}, keep=2)
    assert close(state, wanted, 1e-5)


def train_nothing(dataset, text, options):
    config = Config(**{**TINY, **NETWORK, **options})
    model = models.make_model(config, dataset)
    mesh = meshes.make_mesh(text)
    return learner_of(config, model, dataset.features, num_rows=9, mesh=mesh)


def test_predictions_do_not_depend_on_blocks_or_devices(tiny_dataset, tiny_split):
    one, model, dataset, *_ = train(tiny_dataset, tiny_split)
    rows = tiny_split.test
    pairs = dataset.user[rows], dataset.item[rows], dataset.features
    wanted = predict(model, one.params, *pairs)
    for text in ("data:8", "table:3"):
        mesh = meshes.make_mesh(text)
        params = jax.vmap(lambda p, mesh=mesh: models.spread_tables(model, p, mesh))(
            one.params
        )
        for block in (7, 64, 8192):  # an uneven last block too
            found = predict(model, params, *pairs, block=block)
            np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
        vectors = item_vectors(model, params, dataset)
        np.testing.assert_array_equal(vectors, item_vectors(model, one.params, dataset))


def test_a_state_begins_where_it_belongs(tiny_dataset):
    learner = train_nothing(tiny_dataset, "table:8", {})
    state = begin(learner, keys_of(learner, [0, 1]))
    table = state.params["user_embedding"]["embedding"]
    users = tiny_dataset.num_users
    assert table.array.shape == (2, -(-users // 8) * 8, 8)
    assert {x.data.shape[1] for x in table.array.addressable_shards} == {-(-users // 8)}
    again = put_state(learner, jax.tree.map(np.asarray, state))
    assert same(again, state)
    assert again.opt_state.mu["user_embedding"]["embedding"].array.sharding == (
        table.array.sharding
    )
    plain = begin(train_nothing(tiny_dataset, "", {}), keys_of(learner, [0, 1]))
    assert same(state, plain), "devices must not change the first values"


def test_what_parts_cannot_do_is_told(tiny_dataset):
    features = tiny_dataset.features
    model = models.make_model(Config(**TINY), tiny_dataset)
    with pytest.raises(ConfigError, match="must divide --batch_size=60"):
        make_learner(model, features, batch_parts=8, batch_size=60)
    with pytest.raises(ConfigError, match="--ranking looks up other rows"):
        make_learner(model, features, batch_parts=8, ranking=1.0)
