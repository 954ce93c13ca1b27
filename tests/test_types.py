"""The nouns: frozen, whole, and checked at the border."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ncf_jax.errors import DataError
from ncf_jax.types import (
    RATING_MAX,
    Batch,
    Interactions,
    ItemFeatures,
    Learner,
    TrainState,
    check_dataset,
    check_values,
    pack,
    unpack,
)


def test_the_scale_is_five_stars():
    assert RATING_MAX == 5.0


@pytest.mark.parametrize("noun", [ItemFeatures, Interactions, Batch, TrainState])
def test_device_nouns_are_frozen_pytrees_of_arrays(noun):
    names = [field.name for field in dataclasses.fields(noun)]
    value = noun(**{name: jnp.ones(2) for name in names})
    assert len(jax.tree.leaves(value)) == len(names)
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(value, names[0], 0)


def test_the_training_state_holds_no_key_and_no_function():
    assert [f.name for f in dataclasses.fields(TrainState)] == [
        "step",
        "params",
        "opt_state",
    ]


def test_a_learner_is_functions():
    assert Learner._fields == ("init", "step", "epoch", "loss", "chunk", "mesh")


def test_feature_rows_are_those_of_the_items():
    features = ItemFeatures(
        genres=jnp.arange(6.0).reshape(3, 2), tags=jnp.arange(3.0).reshape(3, 1)
    )
    rows = features.rows(jnp.array([[2, 0], [1, 1]]))
    assert rows.genres.shape == (2, 2, 2)
    np.testing.assert_array_equal(rows.genres[0, 0], [4.0, 5.0])
    np.testing.assert_array_equal(rows.tags[..., 0], [[2.0, 0.0], [1.0, 1.0]])
    assert rows.year is None
    dated = dataclasses.replace(features, year=jnp.array([1990.0, 0.0, 2001.0]))
    found = dated.rows(jnp.array([[2, 0], [1, 1]])).year
    np.testing.assert_array_equal(found, [[2001.0, 1990.0], [0.0, 0.0]])


class TestDataset:
    def test_sizes_are_those_of_the_vocabulary(self, tiny_dataset):
        assert tiny_dataset.num_users == len(set(tiny_dataset.user.tolist()))
        assert tiny_dataset.num_items == len(set(tiny_dataset.item.tolist()))

    def test_it_says_when_it_is_synthetic(self, tiny_dataset):
        assert tiny_dataset.synthetic
        real = dataclasses.replace(tiny_dataset, name="ml-latest-small")
        assert not real.synthetic

    def test_interactions_are_the_rows_asked_for(self, tiny_dataset):
        rows = np.array([5, 0, 5])
        found = tiny_dataset.interactions(rows)
        for name in ("user", "item", "rating"):
            whole = getattr(tiny_dataset, name)
            assert getattr(found, name).tolist() == [whole[5], whole[0], whole[5]]
        assert found.features is tiny_dataset.features

    def test_it_cannot_be_changed(self, tiny_dataset):
        with pytest.raises(dataclasses.FrozenInstanceError):
            tiny_dataset.name = "other"

    def test_packing_and_unpacking_changes_nothing(self, tiny_dataset):
        arrays, texts = pack(tiny_dataset)
        again = unpack(arrays, json.loads(json.dumps(texts)))
        for field in dataclasses.fields(tiny_dataset):
            ours, theirs = (getattr(d, field.name) for d in (tiny_dataset, again))
            if field.name == "features":
                np.testing.assert_array_equal(ours.genres, theirs.genres)
                np.testing.assert_array_equal(ours.tags, theirs.tags)
                np.testing.assert_array_equal(ours.year, theirs.year)
                assert ours.year.dtype == theirs.year.dtype
                assert np.unique(ours.year).size > 1, "there are years to lose"
            elif isinstance(ours, np.ndarray):
                np.testing.assert_array_equal(ours, theirs)
                assert ours.dtype == theirs.dtype
            else:
                assert ours == theirs, field.name

    def test_packing_forgets_no_field(self, tiny_dataset):
        arrays, texts = pack(tiny_dataset)
        packed = set(arrays) | set(texts)
        for field in dataclasses.fields(tiny_dataset):
            # Two belong to a split; features are packed field by field.
            own = ("features", "context", "part")
            assert field.name in packed or field.name in own
        for field in dataclasses.fields(ItemFeatures):
            name = f"features_{field.name}"
            assert (name in packed) is (field.name not in ("statistics", "history"))

    def test_a_store_from_before_there_were_years_can_be_read(self, tiny_dataset):
        arrays, texts = pack(tiny_dataset)
        del arrays["features_year"]
        again = unpack(arrays, texts)
        assert again.features.year is None
        assert again.features.rows(np.array([0])).year is None
        assert "features_year" not in pack(again)[0]
        np.testing.assert_array_equal(again.features.tags, tiny_dataset.features.tags)

    def test_what_belongs_to_a_split_is_not_stored(self, tiny_dataset):
        context = np.ones((len(tiny_dataset.user), 2), np.float32)
        features = dataclasses.replace(tiny_dataset.features, statistics="counts")
        ours = dataclasses.replace(tiny_dataset, context=context, features=features)
        (arrays, texts), (wanted, same) = pack(ours), pack(tiny_dataset)
        assert arrays.keys() == wanted.keys()
        assert texts == same
        again = unpack(arrays, texts)
        assert again.context is None
        assert again.features.statistics is None

    def test_interactions_have_their_rows_context_and_no_statistics(self, tiny_dataset):
        context = np.arange(len(tiny_dataset.user), dtype=np.float32)[:, None]
        features = dataclasses.replace(tiny_dataset.features, statistics="counts")
        ours = dataclasses.replace(tiny_dataset, context=context, features=features)
        found = ours.interactions(np.array([5, 0, 5]))
        assert found.context.tolist() == [[5.0], [0.0], [5.0]]
        assert found.features.statistics is None
        assert found.features.year is tiny_dataset.features.year
        assert tiny_dataset.interactions(np.array([5])).context is None

    @pytest.mark.parametrize(
        "damage",
        [
            lambda d: dict(user=d.user[:-1]),
            lambda d: dict(rating=d.rating[:, None]),
            lambda d: dict(user=d.user + d.num_users),
            lambda d: dict(item=d.item - 1),
            lambda d: dict(titles=d.titles[1:]),
            lambda d: dict(genre_names=d.genre_names[1:]),
            lambda d: dict(item_ids=d.item_ids[1:]),
        ],
        ids=["user", "rank", "user-range", "item-range", "title", "genre", "ids"],
    )
    def test_a_data_set_that_does_not_fit_together_is_refused(
        self, tiny_dataset, damage
    ):
        assert check_dataset(tiny_dataset) is tiny_dataset
        broken = dataclasses.replace(tiny_dataset, **damage(tiny_dataset))
        with pytest.raises(AssertionError):
            check_dataset(broken)

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    @pytest.mark.parametrize("name", ["rating", "genres", "tags", "year"])
    def test_a_number_that_is_not_finite_is_named(self, tiny_dataset, name, value):
        holder = tiny_dataset if name == "rating" else tiny_dataset.features
        array = np.array(getattr(holder, name), np.float32)
        array[(11, *(0,) * (array.ndim - 1))] = value
        broken = dataclasses.replace(holder, **{name: array})
        if name != "rating":
            broken = dataclasses.replace(tiny_dataset, features=broken)
        for check in (check_dataset, check_values):
            assert check(tiny_dataset) is tiny_dataset
            with pytest.raises(DataError, match=rf"{name} wants .* row 11 is not"):
                check(broken)
