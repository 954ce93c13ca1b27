"""What all models share: parameters are divided into tables and the rest, and merged.

The mirror of `ncf_jax/models/__init__.py`.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ncf_jax.config import Config
from ncf_jax.errors import ConfigError
from ncf_jax.models import (
    MODELS,
    PREPARE,
    TITLES,
    USES_TAGS,
    apply,
    apply_head,
    apply_penalty,
    check_tables,
    context_of,
    divide,
    history_of,
    make_model,
    merge,
    title,
    uses_tags,
    with_context,
)
from ncf_jax.models.baselines import Bias
from ncf_jax.models.ncf import NCF
from ncf_jax.models.vncf import VNCF
from ncf_jax.types import ItemFeatures

USER, ITEM = jnp.array([0, 2, 1]), jnp.array([3, 0, 3])
FEATURES = ItemFeatures(genres=jnp.ones((3, 2)), tags=jnp.ones((3, 1)))
SMALL = NCF(3, 4, 2, 1, 4, genre_dim=2, tag_dim=2, fc1_dim=8, fc2_dim=4)


class Nested(nn.Module):
    """Two tables of users, inside a module and not in the alphabet's order."""

    class Inner(nn.Module):
        def setup(self):
            self.b = nn.Embed(3, 2)
            self.a = nn.Embed(3, 1)

        def __call__(self, user):
            return self.b(user), self.a(user)

    tables = (("inner/b/embedding", "inner/a/embedding"), ("items/embedding",))

    def setup(self):
        self.inner = self.Inner()
        self.items = nn.Embed(4, 2)
        self.top = nn.Dense(1)

    def lookup(self, user, item):
        return self.inner(user), self.items(item)

    def head(self, rows, features, *, train=False):
        (user, bias), item = rows
        return (self.top(user * item) + bias)[..., 0]

    def __call__(self, user, item, features, *, train=False):
        return self.head(self.lookup(user, item), features, train=train)


def params_of(model):
    return model.init(jax.random.key(0), USER, ITEM, FEATURES)["params"]


def names(tree):
    return {jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(tree)}


@pytest.mark.parametrize("model", [SMALL, Nested()], ids=["ncf", "nested"])
class TestDivide:
    def test_merge_undoes_it(self, model):
        params = params_of(model)
        tables, rest = divide(model, params)
        again = merge(tables, rest)
        assert names(again) == names(params)
        jax.tree.map(np.testing.assert_array_equal, again, params)

    def test_a_table_is_in_one_part_alone(self, model):
        params = params_of(model)
        (users, items), rest = divide(model, params)
        assert {x.shape[0] for x in users.values()} == {3}
        assert {x.shape[0] for x in items.values()} == {4}
        parts = [len(users), len(items), len(jax.tree.leaves(rest))]
        assert sum(parts) == len(jax.tree.leaves(params))
        assert min(parts) > 0

    def test_the_tables_come_in_the_order_of_the_rows_of_lookup(self, model):
        params = params_of(model)
        sides, _ = divide(model, params)
        rows = model.apply({"params": params}, USER, ITEM, method="lookup")
        for ids, side, found in zip((USER, ITEM), sides, rows, strict=True):
            leaves = jax.tree.leaves(found)
            assert len(leaves) == len(side)
            for table, row in zip(side.values(), leaves, strict=True):
                np.testing.assert_array_equal(table[ids], row)

    def test_the_parameters_given_are_not_changed(self, model):
        params = params_of(model)
        before = names(params)
        divide(model, params)
        assert names(params) == before

    def test_the_head_of_rows_looked_up_before_is_the_whole(self, model):
        params = params_of(model)
        rows = model.apply({"params": params}, USER, ITEM, method="lookup")
        key = jax.random.key(3)
        for dropout_key in (None, key):
            whole = apply(model, params, USER, ITEM, FEATURES, dropout_key=dropout_key)
            found = apply_head(
                model, params, rows, FEATURES, (3,), dropout_key=dropout_key
            )
            np.testing.assert_allclose(found, whole, rtol=1e-6, atol=1e-7)
        swapped = jax.tree.map(lambda x: x[::-1], rows)  # the control: other rows
        other = apply_head(model, params, swapped, FEATURES, (3,))
        assert np.abs(other - apply(model, params, USER, ITEM, FEATURES)).max() > 1e-3


def test_the_key_of_dropout_reaches_the_head():
    params = params_of(SMALL)
    rows = SMALL.apply({"params": params}, USER, ITEM, method="lookup")
    one, two = (
        apply_head(SMALL, params, rows, FEATURES, (3,), dropout_key=jax.random.key(n))
        for n in range(2)
    )
    assert (one != two).any()


def test_a_head_of_another_shape_is_refused():
    params = params_of(SMALL)
    rows = SMALL.apply({"params": params}, USER, ITEM, method="lookup")
    with pytest.raises(ValueError, match=r"end its head with \[..., 0\]"):
        apply_head(SMALL, params, rows, FEATURES, (3, 1))


def test_a_model_that_names_no_tables_cannot_be_divided():
    model = Bias(num_users=3, num_items=4)
    with pytest.raises(ConfigError, match="Bias does not name its tables"):
        divide(model, params_of(model))
    with pytest.raises(ConfigError, match="leave out --table_update"):
        check_tables(model)
    check_tables(SMALL)


def test_the_network_of_the_command_line_names_its_tables(tiny_dataset):
    model = make_model(Config(embedding_dim=4), tiny_dataset)
    users, items = model.tables
    assert users == ("user_embedding/embedding",)
    assert items == ("item_embedding/embedding",)


class Paying(nn.Module):
    """A model whose loss is more than its predictions'."""

    @nn.compact
    def __call__(self, user, item, features, *, train=False):
        return self.param("scale", nn.initializers.constant(2.0), ()) * user

    @nn.compact
    def penalty(self, rows, features):
        return self.param("scale", nn.initializers.constant(2.0), ()) * rows


def test_a_penalty_is_that_of_the_parameters_given():
    params = {"scale": jnp.array(3.0)}
    found = apply_penalty(Paying(), params, jnp.array([1.0, 2.0]), FEATURES)
    assert found.tolist() == [3.0, 6.0]


class TestContext:
    def test_a_model_that_takes_none_is_given_none(self):
        assert context_of(SMALL, None) == {}
        assert context_of(SMALL, jnp.ones((3, 7))) == {}

    def test_one_that_takes_it_is_given_it_or_refused_in_words(self):
        model = VNCF(3, 4)
        seen = jnp.ones((3, 7))
        assert context_of(model, seen)["context"] is seen
        with pytest.raises(ConfigError, match="VNCF looks at statistics"):
            context_of(model, None)

    def test_histories_are_those_of_the_users_asked_for(self, tiny_dataset, tiny_split):
        config = Config(model="vncf", history=3)
        dataset = with_context(config, tiny_dataset, tiny_split)
        features = jax.tree.map(jnp.asarray, dataset.features)
        model = make_model(config, dataset)
        (found,) = history_of(model, features, USER)
        assert found.raters is None
        np.testing.assert_array_equal(found.rated, features.history.rated[USER])
        assert np.abs(found.rated - features.history.rated[:3]).max() > 0  # the control
        assert history_of(SMALL, features, USER) == ()
        assert history_of(model, FEATURES, USER) == ()


class TestRegistries:
    def test_each_model_has_a_title_and_what_else_it_has_is_a_model_s(self):
        assert TITLES.keys() == MODELS.keys()
        assert PREPARE.keys() <= MODELS.keys()
        assert USES_TAGS.keys() <= MODELS.keys()
        titles = {title(Config(model=name)) for name in MODELS}
        assert len(titles) == len(MODELS)

    @pytest.mark.parametrize("name", MODELS)
    def test_a_data_set_is_prepared_for_models_that_ask(
        self, name, tiny_dataset, tiny_split
    ):
        found = with_context(Config(model=name), tiny_dataset, tiny_split)
        if name in PREPARE:
            assert tiny_dataset.context is None
            assert len(found.context) == len(found.user)
            assert found.features.history is not None
        else:
            assert found is tiny_dataset

    @pytest.mark.parametrize("name", MODELS)
    def test_tags_are_used_by_models_with_a_tower_of_them(self, name):
        assert uses_tags(Config(model=name)) == (name in ("ncf", "vncf"))

    def test_not_by_one_whose_tower_is_left_out(self):
        options = {"side": ("genres",), "statistics": ("means",)}
        assert not uses_tags(Config(model="vncf", **options))
