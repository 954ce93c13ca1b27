"""New users as a model sees them: a known user's ratings give the known user's context,
to the last digit that matters, and no rating has a part in the context of itself."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from ncf_jax import RunError, newcomers
from ncf_jax.counting import observe, of_rows, with_statistics
from ncf_jax.models.vncf import VNCF


@pytest.fixture(scope="module")
def statistics(tiny_dataset, tiny_split):
    return observe(tiny_dataset, tiny_split.train)


def rated_by(dataset, rows, user):
    mine = rows[dataset.user[rows] == user]
    return dataset.item[mine], dataset.rating[mine]


def test_lengths_are_padded_to_a_multiple_and_never_to_nothing():
    assert [newcomers.padded(n) for n in (0, 1, 64, 65, 200)] == [64, 64, 64, 128, 256]


def test_a_known_users_ratings_give_the_known_users_contexts(
    tiny_dataset, tiny_split, statistics
):
    users = np.array([0, 5, 39])
    pairs = [rated_by(tiny_dataset, tiny_split.train, user) for user in users]
    found = newcomers.of_new_users(statistics, pairs).of_users(jnp.arange(3))
    wanted = np.asarray(statistics.of_users(jnp.asarray(users)))
    np.testing.assert_allclose(found, wanted, atol=2e-4)
    assert np.abs(wanted[0] - wanted[1]).max() > 0.1, "control: users differ"


def test_more_padding_changes_nothing(tiny_dataset, tiny_split, statistics):
    pairs = [rated_by(tiny_dataset, tiny_split.train, user) for user in (3, 4)]
    short, long = (
        newcomers.of_new_users(statistics, pairs, length).of_users(jnp.arange(2))
        for length in (64, 256)
    )
    np.testing.assert_allclose(short, long, atol=1e-6)


class TestLeftOut:
    def test_each_is_the_context_of_who_has_not_rated_it(
        self, tiny_dataset, tiny_split, statistics
    ):
        item, stars = rated_by(tiny_dataset, tiny_split.train, 7)
        found = newcomers.left_out(statistics, tiny_dataset, item, stars)
        for place in range(len(item)):
            other = np.arange(len(item)) != place
            alone = newcomers.of_new_users(statistics, [(item[other], stars[other])])
            every = alone.of_users(jnp.arange(1))[0]
            np.testing.assert_allclose(found[place], every[item[place]], atol=1e-5)

    def test_a_rating_has_no_part_in_the_context_of_itself(
        self, tiny_dataset, tiny_split, statistics
    ):
        # The canary: one rating is changed; all contexts but its own notice.
        item, stars = rated_by(tiny_dataset, tiny_split.train, 7)
        changed = stars.copy()
        changed[2] = 5.5 - changed[2]
        before, after = (
            newcomers.left_out(statistics, tiny_dataset, item, each)
            for each in (stars, changed)
        )
        moved = np.abs(before - after).max(axis=1) > 1e-4
        assert not moved[2]
        assert np.delete(moved, 2).all()

    def test_in_blocks_it_is_the_same(
        self, tiny_dataset, tiny_split, statistics, monkeypatch
    ):
        asked = tiny_dataset, *rated_by(tiny_dataset, tiny_split.train, 7)
        whole = newcomers.left_out(statistics, *asked)
        monkeypatch.setattr(newcomers, "PAIRS", 40)
        found = newcomers.left_out(statistics, *asked)
        np.testing.assert_allclose(found, whole, atol=1e-6)

    def test_of_a_single_rating_nothing_is_known(self, tiny_dataset, statistics):
        found = newcomers.left_out(
            statistics, tiny_dataset, np.array([3]), np.array([5.0])
        )
        none = [(np.zeros(0, np.int32), np.zeros(0))]
        stranger = newcomers.of_new_users(statistics, none).of_users(jnp.arange(1))
        np.testing.assert_allclose(found[0], stranger[0, 3], atol=1e-6)

    def test_it_has_the_columns_of_time_as_at_no_known_time(
        self, tiny_dataset, tiny_split
    ):
        timed = observe(tiny_dataset, tiny_split.train, time=True)
        item, stars = rated_by(tiny_dataset, tiny_split.train, 7)
        found = newcomers.left_out(timed, tiny_dataset, item, stars)
        every = np.asarray(timed.of_users(jnp.array([7])))[0]
        assert found.shape == (len(item), timed.width)
        np.testing.assert_allclose(found[:, -6:], every[item, -6:])

    def test_it_is_what_rows_get_of_others_ratings(
        self, tiny_dataset, tiny_split, statistics
    ):
        # Held-out rows of a known user: the same numbers by the way of training.
        rows = tiny_split.test[tiny_dataset.user[tiny_split.test] == 7]
        pair = rated_by(tiny_dataset, tiny_split.train, 7)
        found = newcomers.of_new_users(statistics, [pair]).of_users(jnp.arange(1))
        wanted = of_rows(statistics, tiny_dataset, rows)
        mine = np.asarray(found)[0, tiny_dataset.item[rows]]
        np.testing.assert_allclose(mine, wanted, atol=2e-4)


def test_a_data_set_without_statistics_is_told(tiny_dataset):
    model = VNCF(num_users=tiny_dataset.num_users, num_items=tiny_dataset.num_items)
    bare = dataclasses.replace(tiny_dataset, context=None)
    with pytest.raises(RunError, match="with_statistics"):
        newcomers.prepare(model, bare, [(np.array([1]), np.array([3.0]))], 64)


def test_lists_are_padded_with_weight_nothing(tiny_dataset, tiny_split):
    model = VNCF(num_users=tiny_dataset.num_users, num_items=tiny_dataset.num_items)
    dataset = with_statistics(tiny_dataset, tiny_split)
    pairs = [(np.array([4, 2]), np.array([5.0, 1.0])), (np.zeros(0, int), np.zeros(0))]
    given, every = newcomers.prepare(model, dataset, pairs, 64)
    assert given.weight.sum(axis=1).tolist() == [2, 0]
    assert given.item[0, :2].tolist() == [4, 2]
    np.testing.assert_allclose(given.target[0, :3], [1, 0.2, 0])
    width = dataset.features.statistics.width
    assert given.context.shape == (2, 64, width)
    assert every.shape == (2, dataset.num_items, width)
