"""What devices tell each other in a step, by formula and as compiled."""

import jax
import numpy as np
import pytest

from experiments.bench.collectives import Collective, by_kind, collectives
from ncf_jax import meshes
from ncf_jax.config import Config
from ncf_jax.fitting import begin, compile_epoch, keys_of, put
from ncf_jax.learners import learner_of
from ncf_jax.models.ncf import NCF
from ncf_jax.types import Interactions, ItemFeatures

G, T = 20, 16


def step_of(text, users, items, batch=64, width=16, **options):
    """Collectives of a step, and the state."""
    features = ItemFeatures(np.ones((items, G), "f4"), np.ones((items, T), "f4"))
    rng = np.random.default_rng(0)
    data = Interactions(
        user=rng.integers(0, users, 500).astype(np.int32),
        item=rng.integers(0, items, 500).astype(np.int32),
        rating=np.ones(500, np.float32),
        features=features,
    )
    model = NCF(users, items, G, T, embedding_dim=width)
    config = Config(batch_size=batch, embedding_dim=width, **options)
    learner = learner_of(config, model, features, mesh=meshes.make_mesh(text))
    keys = keys_of(learner, [0])
    state = begin(learner, keys)
    return collectives(compile_epoch(learner, state, put(learner, data), keys)), state


def head_of(state):
    """Numbers in the head's parameters."""
    leaves = jax.tree.leaves(state.params, is_leaf=lambda x: hasattr(x, "mesh"))
    return sum(x.size for x in leaves if not hasattr(x, "mesh"))


def formula(text, batch, width, head):
    """Bytes of results in a step of dense Adam, as docs/scaling.md has them."""
    data, table = meshes.parse_mesh(text)
    devices = data * table
    gathered = 4 * batch * 2 * width + 2 * 4 * batch
    if data > 1 and table > 1:  # ids go to the group before they go to all
        gathered += 2 * 4 * batch // data
    return {
        "reduce-scatter": 4 * batch * (3 + 2 * width + G + T) // devices,
        "all-gather": gathered,
        "all-reduce": 4 * (head + 2),  # and two sums: of weights, and of losses
    }


@pytest.mark.parametrize("text", ["data:8", "table:8", "data:4,table:2"])
def test_the_formula_is_what_is_compiled(text):
    for batch, width in [(64, 16), (128, 32)]:
        found, state = step_of(text, 100, 80, batch, width)
        assert by_kind(found) == formula(text, batch, width, head_of(state))


@pytest.mark.parametrize("options", [{}, {"table_update": "lazy"}, {"batch_parts": 8}])
def test_no_byte_depends_on_the_size_of_a_table(options):
    few, _ = step_of("data:4,table:2", 100, 80, **options)
    many, state = step_of("data:4,table:2", 10_000, 8_000, **options)
    assert by_kind(few) == by_kind(many)
    assert by_kind(few)["all-gather"] > 0
    # A control: one table's rows alone would be more than all of it.
    rows = state.params["user_embedding"]["embedding"].array
    assert rows.nbytes > sum(by_kind(many).values())


def test_a_table_and_its_moments_take_an_eighth_of_each_device():
    _, state = step_of("table:8", 1001, 803)
    wanted = {126 * 16 * 4, 101 * 16 * 4}
    for moments in (state.params, state.opt_state.mu, state.opt_state.nu):
        held = set()
        for side in ("user_embedding", "item_embedding"):
            shards = moments[side]["embedding"].array.addressable_shards
            held |= {part.data.nbytes for part in shards}
        assert held == wanted


def test_lines_of_a_program_are_read_in_each_of_its_forms():
    text = """
%body.1 (x: f32[8]) -> f32[8] {
  %a = f32[16,4]{1,0} all-gather(%x), replica_groups=[4,2]<=[8], dimensions={0}
  %b = (f32[8]{0}, s32[2]{0}) all-reduce(%x, %y), replica_groups={{0,1,2,3},{4,5,6,7}}
}
ENTRY %main (x: f32[8]) -> f32[8] {
  %c = pred[512]{0} all-gather(%x), replica_groups=mesh['a'=4, 'b'=2] {'a'}, f={0}
  %w = f32[8]{0} while(%x), condition=%cond, body=%body.1
  %d = f32[8]{0} add(%x, %x)
}
"""
    found = collectives(text)
    assert found == [
        Collective("all-gather", 256, 2, True),
        Collective("all-reduce", 40, 4, True),
        Collective("all-gather", 512, 4, False),
    ]
    assert by_kind(found) == {"all-gather": 256, "all-reduce": 40}
    assert [one.received for one in found] == [128, 60, 384]
    assert Collective("reduce-scatter", 64, 8, True).received == 7 * 64
