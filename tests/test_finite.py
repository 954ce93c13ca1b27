"""NaN injected into a loss, a gradient or a state: found, named, and never kept.

Held here, of every kind of update, of several seeds and devices, and of rows that are
streamed: a loss that is NaN for one example stops the run at that example's very step;
a gradient that is, at the next step or at the end of its epoch; and a state with a NaN
anywhere is no checkpoint. Each has its control without the injection or the check.
"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ncf_jax import batching, fitting, meshes, models, sharded, stream
from ncf_jax.config import Config
from ncf_jax.errors import NonFiniteLossError
from ncf_jax.finite import finite, refuse_state
from ncf_jax.fitting import begin, fit, keys_of
from ncf_jax.learners import learner_of
from ncf_jax.losses import LOSSES, mse
from ncf_jax.streamed import Streamed
from ncf_jax.train import make_learner, order
from ncf_jax.types import RATING_MAX, Interactions, ItemFeatures
from tests.conftest import TINY
from tests.test_fitting import NETWORK

MARK = 3.125  # stars that no row has, and that float32 holds exactly


def marked(target):
    """Which examples have the mark."""
    return target == jnp.float32(MARK) / RATING_MAX


def bad_loss(prediction, target):
    """The squared error, but NaN for the marked example."""
    return jnp.where(marked(target), jnp.nan, mse(prediction, target))


@jax.custom_vjp
def bad_gradient(prediction, target):
    """The squared error, whose gradient is NaN for the marked example."""
    return mse(prediction, target)


def _forwards(prediction, target):
    return mse(prediction, target), (prediction, target)


def _backwards(kept, slope):
    prediction, target = kept
    right = slope * 2 * (prediction - target)
    return jnp.where(marked(target), jnp.nan, right), jnp.zeros_like(target)


bad_gradient.defvjp(_forwards, _backwards)

KINDS = {
    "dense": {},
    "lazy": dict(table_update="lazy"),
    "catch_up": dict(table_update="catch_up"),
    "seeds": dict(num_seeds=2),
    "vncf": dict(model="vncf"),
    "bfloat16": dict(compute_dtype="bfloat16"),
    "streamed": {},
    "devices": dict(text="data:4,table:2", table_update="lazy"),
}


@dataclasses.dataclass
class Setting:
    """One kind of training, gone through an epoch, and rows with a mark."""

    learner: object
    rows: object
    valid: Interactions
    seeds: range
    position: int
    state: object
    kept: list

    def run(self, epochs=3):
        return fit(
            self.learner,
            self.rows,
            self.valid,
            epochs=epochs,
            seeds=self.seeds,
            start=None if self.state is None else (1, self.state),
            on_epoch=lambda report, state: self.keep(report.epoch, state),
        )

    def keep(self, epoch, state):
        self.kept.append(epoch)
        if self.state is None:
            self.state = jax.tree.map(jnp.copy, state)

    def steps(self, size, number):
        """Steps, from 0, at which epoch 2 of each seed sees the marked row."""
        found = []
        for seed, step in zip(self.seeds, np.asarray(self.state.step), strict=True):
            state = type(self.state)(step, {}, ())
            shuffle = order(state, jax.random.key(seed))
            index_SxB, weight_SxB = batching.epoch_batches(shuffle, number, size)
            at = (np.asarray(index_SxB) == self.position) & (np.asarray(weight_SxB) > 0)
            assert at.sum() == 1
            found.append(int(np.flatnonzero(at.any(axis=1))[0]))
        return found


def setting(monkeypatch, dataset, split, loss, kind="dense", position=77, **options):
    """Trains an epoch with the right loss, and arranges the wrong one."""
    options = {**KINDS[kind], **options}
    text = options.pop("text", "")
    config = Config(**{**TINY, **NETWORK, **options})
    dataset = models.with_context(config, dataset, split)
    model = models.make_model(config, dataset)

    def learner(loss):
        monkeypatch.setitem(LOSSES, "mse", loss)
        return learner_of(
            config,
            model,
            dataset.features,
            num_rows=len(split.train),
            mesh=meshes.make_mesh(text),
        )

    rating = dataset.rating.copy()
    assert MARK not in rating
    rating[split.train[position]] = MARK
    dataset = dataclasses.replace(dataset, rating=rating)
    rows = dataset.interactions(split.train)
    if kind == "streamed":
        held = stream.rows_of(dataset, split.train)
        rows = Streamed(held, rows.features, config.batch_size, examples=200)
    seeds = range(5, 5 + config.num_seeds)
    valid = dataset.interactions(split.valid)
    clean = Setting(learner(mse), rows, valid, seeds, position, None, [])
    clean.run(epochs=2)
    assert clean.kept == [1, 2]  # the control: without the injection, no error
    found = dataclasses.replace(clean, learner=learner(loss), kept=[])
    return found, config.batch_size, len(split.train)


@pytest.mark.parametrize(
    "kind", [kind for kind in KINDS if kind not in ("lazy", "bfloat16")]
)
def test_a_loss_that_is_nan_for_one_example_is_named_by_its_step(
    tiny_dataset, tiny_split, monkeypatch, kind
):
    found, size, number = setting(monkeypatch, tiny_dataset, tiny_split, bad_loss, kind)
    steps = found.steps(size, number)
    seed = int(np.argmin(steps))
    with pytest.raises(NonFiniteLossError) as error:
        found.run()
    wanted = f"loss of seed {5 + seed} became nan at step {steps[seed] + 1} of epoch 2"
    assert wanted in str(error.value)
    assert found.kept == []


def test_another_example_is_at_another_step(tiny_dataset, tiny_split, monkeypatch):
    known = []
    for position in (77, 78):
        found, size, number = setting(
            monkeypatch, tiny_dataset, tiny_split, bad_loss, position=position
        )
        known.append(found.steps(size, number))
    assert known[0] != known[1], "any step would do above"


@pytest.mark.parametrize("kind", ["dense", "catch_up", "bfloat16"])
def test_a_gradient_that_is_nan_stops_at_the_next_step(
    tiny_dataset, tiny_split, monkeypatch, kind
):
    found, size, number = setting(
        monkeypatch, tiny_dataset, tiny_split, bad_gradient, kind
    )
    (step,) = found.steps(size, number)
    assert step + 1 < batching.num_batches(number, size), "choose another position"
    with pytest.raises(NonFiniteLossError, match=rf"nan at step {step + 2} of epoch 2"):
        found.run()
    assert found.kept == []


@pytest.mark.parametrize("kind", ["lazy", "devices"])
def test_in_the_last_step_and_without_validation_it_is_found_in_the_state(
    tiny_dataset, tiny_split, monkeypatch, kind
):
    rows = len(tiny_split.train)
    whole = rows if kind != "devices" else rows + -rows % 8
    found, *_ = setting(
        monkeypatch, tiny_dataset, tiny_split, bad_gradient, kind, batch_size=whole
    )
    found.valid = tiny_dataset.interactions(tiny_split.valid[:0])
    with pytest.raises(NonFiniteLossError, match="so is now params/") as error:
        found.run(epochs=2)
    assert "gradient of seed 5 was NaN or infinite in epoch 2" in str(error.value)
    assert str(error.value).count("\n") == 0
    assert found.kept == []

    monkeypatch.setattr(fitting, "refuse_state", lambda *_: None)
    found.run(epochs=2)
    assert found.kept == [2], "the check alone has found it"


class Pairs(nn.Module):
    """Two tables and nothing else: a gradient reaches the rows of its example alone."""

    users: int
    items: int

    tables = (("user/embedding",), ("item/embedding",))

    def setup(self):
        self.user = nn.Embed(self.users, 2)
        self.item = nn.Embed(self.items, 2)

    def lookup(self, user, item):
        return self.user(user), self.item(item)

    def head(self, rows, features, *, train=False):
        return (rows[0] + rows[1])[..., 0]

    def __call__(self, user, item, features, *, train=False):
        return self.head(self.lookup(user, item), features, train=train)


@pytest.mark.parametrize("update", ["dense", "lazy", "catch_up"])
def test_a_single_users_row_is_found_that_no_later_row_looks_at(update, monkeypatch):
    rows, lonely = 24, 5
    rating = np.full(rows, 4.0, np.float32)
    user, item = np.arange(rows) % lonely, np.arange(rows) % 7
    rating[0], user[0], item[0] = MARK, lonely, 7
    features = ItemFeatures(genres=np.zeros((8, 1)), tags=np.zeros((8, 1)))
    train = Interactions(user.astype(np.int32), item.astype(np.int32), rating, features)
    valid = dataclasses.replace(
        train, user=train.user[1:], item=train.item[1:], rating=rating[1:]
    )
    config = Config(batch_size=6, table_update=update)
    monkeypatch.setitem(LOSSES, "mse", bad_gradient)
    learner = learner_of(config, Pairs(lonely + 1, 8), features, num_rows=rows)
    kept = []

    def run():
        return fit(
            learner, train, valid, epochs=1, on_epoch=lambda *told: kept.append(told)
        )

    with pytest.raises(NonFiniteLossError, match=r"params/item/embedding and \d more"):
        run()
    assert not kept

    # The control: all losses are finite, and only those two rows are not.
    monkeypatch.setattr(fitting, "refuse_state", lambda *_: None)
    state = run()
    assert np.isfinite(kept[0][0].train_loss).all()
    assert np.isfinite(kept[0][0].valid_loss).all()
    table = np.asarray(state.params["user"]["embedding"])[0]
    assert np.flatnonzero(np.isnan(table).any(axis=1)).tolist() == [lonely]


@pytest.mark.parametrize(
    ("text", "value"), [("", np.nan), ("", -np.inf), ("data:4,table:2", np.inf)]
)
def test_each_array_of_a_state_is_looked_at(tiny_dataset, text, value):
    config = Config(**{**TINY, **NETWORK})
    model = models.make_model(config, tiny_dataset)
    learner = make_learner(model, tiny_dataset.features, mesh=meshes.make_mesh(text))
    state = begin(learner, keys_of(learner, (8, 9)))
    assert finite(state).all()
    refuse_state(state, 1, (8, 9))
    arrays, form = jax.tree.flatten(sharded.bare(state))
    for place, x in enumerate(arrays):
        if not jnp.issubdtype(x.dtype, jnp.floating):
            continue
        broken = list(arrays)
        broken[place] = x.at[(1, *(0,) * (x.ndim - 1))].set(value)
        bad = sharded.dressed(jax.tree.unflatten(form, broken), state)
        wanted = np.ones((len(arrays), 2), bool)
        wanted[place, 1] = False
        np.testing.assert_array_equal(finite(bad), wanted)
        with pytest.raises(NonFiniteLossError, match=r"gradient of seed 9 .* epoch 4"):
            refuse_state(bad, 4, (8, 9))
