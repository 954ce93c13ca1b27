"""What the device reads of statistics is what the host wrote to rows."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ncf_jax.counting import around, observe, of_rows, with_statistics
from ncf_jax.statistics import DECADES, NOWHERE, PARTS, SECONDS
from tests.counted import (
    EMPTY_ITEM,
    EMPTY_USER,
    ITEMS,
    USERS,
    contexts,
    every_pair,
    world,
)

EVERYONE = np.arange(USERS)
CHOICES = {
    "nothing": ((), False),
    "means": (("means",), False),
    "content": (("content",), False),
    "all": (PARTS, False),
    "all and time": (PARTS, True),
    "time": ((), True),
}


@pytest.mark.parametrize(("parts", "time"), CHOICES.values(), ids=CHOICES)
class TestOfUsers:
    def test_it_is_what_the_host_finds_for_every_pair(self, parts, time):
        dataset, split = world(0)
        s = observe(dataset, split.train, parts, time)
        pairs, rows = every_pair(dataset)
        wanted = of_rows(s, pairs, rows)
        if time:  # far from every rating
            far = dataclasses.replace(pairs, time=np.full(len(rows), 10**11))
            fields = ("user", "item", "rating", "time")
            beyond = dataclasses.replace(
                far,
                **{
                    name: np.concatenate([getattr(x, name) for x in (dataset, far)])
                    for name in fields
                },
            )
            rows = rows + len(dataset.user)
            near = around(s, beyond, split.train, rows, past=False)
            wanted = np.concatenate([wanted, near], axis=1)
        found = np.asarray(s.of_users(EVERYONE))
        assert found.shape == (USERS, ITEMS, s.width)
        assert found.dtype == np.float32
        np.testing.assert_allclose(
            found.reshape(-1, s.width), wanted, rtol=1e-4, atol=1e-6
        )

    def test_width_is_the_number_of_columns_of_rows(self, parts, time):
        dataset, split = world(0)
        named = "both" if time else "none"
        found = with_statistics(dataset, split, parts=parts, time=named)
        assert found.context.shape[1] == found.features.statistics.width

    def test_users_do_not_look_at_each_other(self, parts, time):
        dataset, split = world(0)
        s = observe(dataset, split.train, parts, time)
        whole = s.of_users(EVERYONE)
        some = s.of_users(np.array([4, 0]))
        np.testing.assert_allclose(some, whole[np.array([4, 0])], rtol=1e-5, atol=1e-6)
        assert (whole[4] != whole[0]).any()  # the control


def test_it_is_what_loops_find():
    dataset, split = world(1)
    found = observe(dataset, split.train).of_users(EVERYONE)
    pairs = [(user, item) for user in range(USERS) for item in range(ITEMS)]
    wanted = contexts(dataset, split.train, pairs)
    np.testing.assert_allclose(found.reshape(-1, 7), wanted, rtol=2e-4, atol=2e-5)


def test_the_order_in_which_parts_are_named_is_of_no_account():
    dataset, split = world(0)
    one, other = (
        observe(dataset, split.train, parts).of_users(EVERYONE)
        for parts in (PARTS, PARTS[::-1])
    )
    np.testing.assert_array_equal(one, other)


def test_those_without_a_row_have_finite_contexts():
    dataset, split = world(0)
    found = np.asarray(observe(dataset, split.train, PARTS, True).of_users(EVERYONE))
    assert np.isfinite(found).all()
    assert not found[EMPTY_USER][:, [2, 4, 5, 6]].any()
    assert not found[:, EMPTY_ITEM][:, 3].any()
    assert found[0][:, [2, 4, 5, 6]].any(axis=0).all()  # the controls
    assert found[:, 0][:, 3].any(axis=0).all()
    for column, axis in ((0, (1, 2)), (1, (0, 2))):  # as few as the one with fewest
        each = found[..., [column]].max(axis=axis)
        assert each[(EMPTY_USER, EMPTY_ITEM)[column]] == each.min() > 0


@pytest.mark.parametrize("parts", [(), PARTS], ids=["nothing", "all"])
def test_without_any_row_they_are_finite_too(parts):
    dataset, split = world(0)
    found = observe(dataset, split.train[:0], parts).of_users(EVERYONE)
    assert found.shape[:2] == (USERS, ITEMS)
    assert not found.any()


def test_at_no_known_time_no_rating_is_near():
    dataset, split = world(0)
    found = observe(dataset, split.train, (), True).of_users(EVERYONE)
    assert found.shape == (USERS, ITEMS, 2 + 2 * len(SECONDS))
    nothing = np.array([0, NOWHERE] * 3, np.float32)
    np.testing.assert_array_equal(found[..., 2:], np.broadcast_to(nothing, (7, 9, 6)))


def test_statistics_are_arguments_of_a_compiled_function():
    dataset, split = world(0)
    compiled = []

    @jax.jit
    def function(statistics, user):
        compiled.append(None)
        return statistics.of_users(user)

    s = observe(dataset, split.train)
    found = function(s, jnp.array([1]))
    np.testing.assert_allclose(found, s.of_users(np.array([1])), rtol=1e-5, atol=1e-6)
    other = s.replace(user_bias=s.user_bias + 1)
    assert (function(other, jnp.array([1]))[..., 2] != found[..., 2]).all()
    assert len(compiled) == 1


def test_decades_are_those_of_film():
    assert (DECADES[0], DECADES[-1], len(DECADES)) == (1900, 2030, 14)
