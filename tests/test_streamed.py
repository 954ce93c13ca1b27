"""Rows from the host train as rows on the device do, from any place in an epoch."""

import jax
import numpy as np
import pytest

from ncf_jax import meshes, models, stream
from ncf_jax.config import Config
from ncf_jax.errors import ConfigError, NonFiniteLossError
from ncf_jax.fitting import fit
from ncf_jax.learners import learner_of
from ncf_jax.streamed import Partway, Streamed
from tests.conftest import TINY
from tests.test_fitting import BIAS, NETWORK, same


def parts_of(dataset, split, text="", **options):
    config = Config(**{**TINY, **NETWORK, **options})
    dataset = models.with_context(config, dataset, split)
    model = models.make_model(config, dataset)
    learner = learner_of(
        config,
        model,
        dataset.features,
        num_rows=len(split.train),
        mesh=meshes.make_mesh(text),
    )
    held = dataset.interactions(split.train, statistics=config.ranking > 0)
    rows = stream.rows_of(dataset, split.train)
    streamed = Streamed(rows, held.features, config.batch_size, examples=200)
    seeds = range(config.num_seeds)

    def run(train, epochs=2, **more):
        reports = []
        state = fit(
            learner,
            train,
            dataset.interactions(split.valid),
            epochs=epochs,
            seeds=seeds,
            on_epoch=lambda report, state: reports.append(report),
            **more,
        )
        return state, np.array([report.train_loss for report in reports])

    return run, held, streamed


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("data:4,table:2", {"batch_parts": 8}),
        ("", {"table_update": "lazy", "num_seeds": 2}),
        ("data:4,table:2", {"table_update": "lazy"}),
        ("", {"model": "vncf", "ranking": 0.5}),
    ],
    ids=str,
)
def test_the_same_bits_as_with_rows_on_the_device(
    tiny_dataset, tiny_split, text, options
):
    run, held, streamed = parts_of(tiny_dataset, tiny_split, text, **options)
    wanted, losses = run(held)
    found, theirs = run(streamed)
    assert same(found, wanted)
    np.testing.assert_allclose(theirs, losses, rtol=1e-12)


@pytest.mark.parametrize("text", ["", "table:8"])
def test_an_epoch_goes_on_from_the_middle(tiny_dataset, tiny_split, text):
    run, _, streamed = parts_of(tiny_dataset, tiny_split, text, num_seeds=2)
    kept = []

    def keep(epoch, far, state):
        if (epoch, far.chunks) == (2, 3):
            kept.append((far, jax.tree.map(np.asarray, state)))

    wanted, losses = run(streamed._replace(on_chunk=keep), epochs=3)
    far, state = kept[0]
    assert (far.chunks, far.steps) == (3, 3)  # of two seeds, a batch each
    begin = streamed._replace(begin=far)
    found, theirs = run(begin, epochs=3, start=(1, state))
    assert same(found, wanted)
    np.testing.assert_allclose(theirs, losses[1:], rtol=1e-12)
    wrong = streamed._replace(begin=Partway(far.chunks + 1, far.steps, far.losses))
    other, _ = run(wrong, epochs=3, start=(1, state))
    assert not same(other, wanted), "any chunk would do"


def test_a_loss_that_is_not_finite_stops_within_the_epoch(tiny_dataset, tiny_split):
    run, _, streamed = parts_of(tiny_dataset, tiny_split)
    rating = np.array(streamed.rows.rating)
    rating[:] = np.nan
    rows = streamed.rows._replace(rating=rating)
    with pytest.raises(NonFiniteLossError, match="at step 1 of epoch 1"):
        run(streamed._replace(rows=rows))


def test_what_cannot_be_streamed_is_told(tiny_dataset, tiny_split):
    run, _, streamed = parts_of(tiny_dataset, tiny_split, **BIAS)
    with pytest.raises(ConfigError, match="closed form wants --input=device"):
        run(streamed)
    run, _, streamed = parts_of(tiny_dataset, tiny_split, "data:3")
    with pytest.raises(ConfigError, match="each batch of 64 among 3 devices"):
        run(streamed)
