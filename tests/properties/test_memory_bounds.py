"""R12: evaluating takes the memory that is stated, whatever rows or users there are.

What XLA sets aside for a program is known before it runs, so nothing is timed or
sampled here, and sizes may be those of real catalogues.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ncf_jax import lists, models
from ncf_jax.config import Config
from ncf_jax.evaluate import BLOCK, _predict_blocks
from ncf_jax.metrics import CONVENTIONS
from tests.conftest import TINY

SETTING = lists.Setting(ks=(5, 10, 20))
METRICS = tuple(CONVENTIONS["standard"].items())
STATED = 100  # bytes for each score of a block, see `lists`
SEEDS = 2


def array(shape, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(shape, dtype)


def temporary(lowered):
    """Bytes that a program needs besides what it is given and what it gives."""
    return lowered.compile().memory_analysis().temp_size_in_bytes


@pytest.fixture(scope="module")
def network(tiny_dataset):
    model = models.make_model(Config(**TINY), tiny_dataset)
    ids = jnp.zeros(1, jnp.int32)
    features = jax.tree.map(jnp.asarray, tiny_dataset.features)
    params = jax.eval_shape(model.init, jax.random.key(0), ids, ids, features.rows(ids))
    params = jax.tree.map(lambda x: array((SEEDS, *x.shape)), params["params"])
    return model, params, features


def widths(model):
    """W: the sum of the layers' widths, and what the towers read."""
    return (
        2 * model.embedding_dim
        + model.num_genres
        + model.num_tags
        + 2 * (model.genre_dim + model.tag_dim)
        + 3 * model.fc1_dim
        + 2 * model.fc2_dim
        + 2
    )


def predicting(network, rows, block=BLOCK):
    model, params, features = network
    steps = -(-rows // block)
    ids = array((steps, block), jnp.int32)
    return temporary(_predict_blocks.lower(model, params, ids, ids, features, None))


def test_predictions_take_what_is_stated_for_a_block(network):
    found = [predicting(network, rows) for rows in (BLOCK, 10 * BLOCK, 1000 * BLOCK)]
    bound = 4 * SEEDS * BLOCK * widths(network[0])
    assert max(found) <= bound + 4 * SEEDS * 1000 * BLOCK, "predictions themselves"
    assert found[0] <= bound
    # Of a thousand times the rows, no more than their predictions once more.
    assert found[2] - found[0] <= 4 * SEEDS * 1000 * BLOCK


def test_one_block_of_all_rows_would_take_more(network):
    rows = 100 * BLOCK
    assert predicting(network, rows, block=rows) > 10 * predicting(network, rows)


@pytest.mark.parametrize("length", [64, 2_048, 65_536])
def test_lists_take_what_is_stated_for_each_score_of_a_block(length):
    users = lists.PAIRS // (SEEDS * length)
    of_items = dict.fromkeys(lists.Popularity._fields, array((users, length)))
    found = temporary(
        lists._values.lower(
            array((SEEDS, users, length)),
            array((users, length)),
            array((users, length), jnp.bool_),
            of_items,
            metrics=METRICS,
            setting=SETTING,
        )
    )
    assert found <= STATED * lists.PAIRS


@pytest.mark.parametrize("users", [1_000, 100_000, 3_000_000])
@pytest.mark.parametrize("items", [2_000, 100_000])
def test_blocks_of_a_catalogue_hold_no_more_scores_than_stated(users, items):
    most = max(1, lists.PAIRS // (SEEDS * items))
    sizes = [len(block) for block, _ in lists._blocks(np.arange(users), most)]
    assert max(sizes) * items * SEEDS <= lists.PAIRS
    assert sum(sizes) >= users
