"""A model's scoring as functions of plain arrays.

Held here: what is staged equals the model itself, asked pair by pair, for every model
of the registry, of several seeds their mean, with and without contexts, histories and
times; one stored function takes any number of users; it names three platforms; arrays
are arguments, so that a function is as small for many users as for few, and only those
that a prediction depends on.
"""

import jax
import numpy as np
import pytest
from jax import export as jax_export

from ncf_jax import Config, make_model, predict, staged
from ncf_jax.errors import ConfigError
from ncf_jax.learners import learner_of
from ncf_jax.models import MODELS, with_context
from ncf_jax.runs import Run
from tests.conftest import TINY

SMALL = dict(embedding_dim=4, fc1_dim=8, fc2_dim=4)
VNCF = dict(model="vncf", **SMALL)
KINDS = {
    "ncf": dict(model="ncf", num_seeds=3, **SMALL),
    "ncf without towers": dict(model="ncf", genre_dim=0, tag_dim=0, **SMALL),
    "vncf": dict(num_seeds=2, history=4, **VNCF),
    "vncf with times, an ensemble": dict(time="both", ensemble=2, history=4, **VNCF),
    "vncf of points": dict(rows="point", history=0, statistics=(), **VNCF),
    "bias": dict(model="bias"),
    "item_mean": dict(model="item_mean"),
    "global_mean": dict(model="global_mean"),
}


def run_of(dataset, split, *, workdir="run", epochs=3, **options):
    """A run whose parameters are noise, of which none is nothing."""
    config = Config(**TINY, epochs=epochs, **options)
    dataset = with_context(config, dataset, split)
    model = make_model(config, dataset)
    learner = learner_of(config, model, dataset.features, num_rows=len(split.train))
    networks = config.num_seeds * config.ensemble
    keys = jax.vmap(jax.random.key)(np.arange(networks))
    rng = np.random.default_rng(0)
    params = jax.tree.map(
        lambda x: x + rng.normal(0, 0.3, x.shape).astype(np.float32),
        jax.vmap(learner.init)(keys).params,
    )
    return Run(workdir, config, 3, model, params, dataset, split)


def stage(run):
    """Functions by name, and the arrays in their order."""
    content, arrays = staged.stage(run.model, run.params, run.dataset.features)
    functions = {n: jax_export.deserialize(bytearray(b)) for n, b in content.items()}
    return functions, arrays


def asked(run, user, item):
    """Stars of pairs, from the model's own forward pass."""
    context = staged.context_of_pairs(run.model, run.dataset.features, user, item)
    context = None if context is None else np.asarray(context)
    each = predict(
        run.model, run.params, user, item, run.dataset.features, context=context
    )
    return each.mean(axis=0)


@pytest.fixture(scope="module", params=KINDS)
def kind(request, tiny_dataset, tiny_split):
    run = run_of(tiny_dataset, tiny_split, **KINDS[request.param])
    return run, *stage(run)


def test_each_model_of_the_registry_is_tried():
    assert {options["model"] for options in KINDS.values()} == set(MODELS)


class TestEachModel:
    @pytest.mark.parametrize("number", [1, 3, 7])
    def test_one_function_gives_any_number_of_users_every_item(self, kind, number):
        run, functions, arrays = kind
        user = np.random.default_rng(number).integers(0, 40, number).astype(np.int32)
        stars = functions["all_items"].call(list(arrays.values()), user)
        items = run.dataset.num_items
        every = np.tile(np.arange(items, dtype=np.int32), number)
        wanted = asked(run, np.repeat(user, items), every).reshape(number, items)
        assert stars.dtype == np.float32
        np.testing.assert_allclose(stars, wanted, rtol=0, atol=5e-6)
        assert np.ptp(wanted) > 0.1 or run.config.model == "global_mean"

    def test_pairs_are_scored_alone(self, kind):
        run, functions, arrays = kind
        rng = np.random.default_rng(0)
        user = rng.integers(0, 40, 9).astype(np.int32)
        item = rng.integers(0, run.dataset.num_items, 9).astype(np.int32)
        stars = functions["pairs"].call(list(arrays.values()), user, item)
        np.testing.assert_allclose(stars, asked(run, user, item), rtol=0, atol=5e-6)

    def test_it_is_for_three_platforms(self, kind):
        for function in kind[1].values():
            assert set(function.platforms) == {"cpu", "cuda", "tpu"}

    def test_each_array_matters_and_none_of_the_others_is_there(self, kind):
        run, functions, arrays = kind
        # A count below the fewest that any row has seen says nothing; and a network
        # that is told no statistics multiplies counts by 0, which JAX does not see.
        silent = ("fewest",)
        if not run.config.statistics:
            silent += ("_count", "fc1_context/kernel")
        user = np.arange(40, dtype=np.int32)
        call = functions["all_items"].call
        before = np.asarray(call(list(arrays.values()), user))
        rng = np.random.default_rng(1)
        for name in arrays:
            noise = rng.uniform(1.0, 2.0, arrays[name].shape).astype(np.float32)
            changed = arrays | {name: arrays[name] + noise}
            after = np.asarray(call(list(changed.values()), user))
            rounding = np.max(np.abs(after - before)) < 1e-5
            assert not rounding or name.endswith(silent), name
        assert not [name for name in arrays if "log_" in name or "basis" in name]


class TestArrays:
    def test_a_function_is_no_larger_for_more_users(self, tiny_dataset, tiny_split):
        few = run_of(tiny_dataset, tiny_split, **KINDS["ncf"])
        table = few.params["user_embedding"]["embedding"]
        table = np.concatenate([table] * 100, axis=1)
        model = few.model.clone(num_users=table.shape[1])
        params = few.params | {"user_embedding": {"embedding": table}}
        sizes, arrays = [], []
        for run in (few, few._replace(model=model, params=params)):
            found = staged.stage(run.model, run.params, run.dataset.features)
            sizes.append(sum(map(len, found[0].values())))
            arrays.append(sum(array.nbytes for array in found[1].values()))
        assert sizes[1] < sizes[0] + 200
        assert arrays[1] > arrays[0] + 99 * 40 * 4 * 4

    def test_years_are_left_out_where_no_tower_sees_them(
        self, tiny_dataset, tiny_split
    ):
        assert tiny_dataset.features.year is not None
        for side, there in (("genres", False), ("year", True)):
            options = KINDS["vncf of points"] | {"side": (side,)}
            arrays = stage(run_of(tiny_dataset, tiny_split, **options))[1]
            assert ("features/year" in arrays) is there


def test_without_flatbuffers_one_sentence_says_how_to_get_it(
    monkeypatch, tiny_dataset, tiny_split
):
    def missing(self):
        raise ImportError("Please install 'flatbuffers'")

    run = run_of(tiny_dataset, tiny_split, model="global_mean")
    monkeypatch.setattr(jax_export.Exported, "serialize", missing)
    with pytest.raises(ConfigError, match=r"pip install -e '\.\[export\]'"):
        stage(run)
