"""Draws for large worlds: exact counts, no pair twice, the distribution of small ones.

Held here: the counts add up and keep their limits; each user gets so many different
items, sorted; by rejection in rounds or by Gumbel noise, an item is chosen with the
chance that drawing one after the other has, computed by enumeration; blocks of any size
keep all of it; tags are exactly as many, by few users, on what they rated, in texts of
a few words.
"""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ncf_jax.data import bigworld


def rng_of(seed=0):
    return np.random.default_rng(seed)


# --- how many each --------------------------------------------------------------------


@given(
    users=st.integers(1, 60),
    share=st.floats(0, 1),
    least=st.integers(0, 20),
    room=st.integers(0, 50),
    seed=st.integers(0, 9),
)
@settings(max_examples=150, deadline=None)
def test_activity_adds_up_within_its_limits(users, share, least, room, seed):
    total = users * least + int(share * users * room)
    counts = bigworld.activity(rng_of(seed), users, total, least, least + room)
    assert counts.sum() == total
    assert len(counts) == users
    assert counts.min() >= least
    assert counts.max() <= least + room


def test_activity_has_a_long_tail():
    counts = bigworld.activity(rng_of(), 5_000, 500_000, 20, 10_000)
    assert counts.mean() > 1.2 * np.median(counts)
    assert counts.max() > 10 * np.median(counts)


def test_a_third_of_the_movies_are_hardly_rated():
    weight = np.exp(bigworld.popularity(rng_of(), 50_000))
    expected = 365 * weight / weight.mean()  # as many ratings a movie as MovieLens-32M
    assert 0.2 < (expected < 10).mean() < 0.5
    assert weight.max() / weight.sum() < 0.01, "no movie is rated by everybody"


# --- which items ----------------------------------------------------------------------


@given(
    counts=st.lists(st.integers(0, 30), min_size=1, max_size=12),
    spread=st.sampled_from([0.0, 1.0, 6.0]),
    seed=st.integers(0, 9),
    block=st.sampled_from([1, 20, 10_000]),
)
@settings(max_examples=150, deadline=None)
def test_each_user_gets_so_many_different_items(counts, spread, seed, block):
    counts = np.array(counts)
    weights = rng_of(seed).normal(0, spread, 30)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bigworld, "BLOCK", block)
        user, item = bigworld.pairs(rng_of(seed), counts, weights)
    np.testing.assert_array_equal(np.bincount(user, minlength=len(counts)), counts)
    assert (user.dtype, item.dtype) == (np.int32, np.int32)
    key = user.astype(np.int64) * 30 + item
    assert (np.diff(key) > 0).all(), "sorted by user and item, no pair twice"
    assert not len(item) or (item.min() >= 0 and item.max() < 30)


def chance_by_enumeration(weights, n):
    """The chance of each set of n items when drawn one after the other by weight."""
    chance = {}
    for order in itertools.permutations(range(len(weights)), n):
        left, p = sum(weights), 1.0
        for one in order:
            p *= weights[one] / left
            left -= weights[one]
        key = tuple(sorted(order))
        chance[key] = chance.get(key, 0) + p
    return chance


@pytest.mark.parametrize("rounds", [1, 2, 6])
def test_sets_come_with_the_chance_of_drawing_one_after_the_other(monkeypatch, rounds):
    # One round leaves most users to the Gumbel noise, six leave nearly none.
    monkeypatch.setattr(bigworld, "ROUNDS", rounds)
    weights, users = np.array([0.5, 0.25, 0.15, 0.07, 0.03]), 40_000
    _, item = bigworld.pairs(rng_of(), np.full(users, 3), np.log(weights))
    sets, found = np.unique(item.reshape(-1, 3), axis=0, return_counts=True)
    wanted = chance_by_enumeration(weights, 3)
    assert len(sets) == len(wanted)
    for one, count in zip(map(tuple, sets.tolist()), found, strict=True):
        p = wanted[one]
        assert abs(count / users - p) < 5 * np.sqrt(p * (1 - p) / users), one
    # The control: the chance without weights is another.
    assert max(wanted.values()) > 2 / len(wanted)


def test_what_is_taken_is_not_chosen_again():
    row, item = bigworld.gumbel_choice(
        rng_of(),
        np.zeros(6),
        np.array([3, 2]),
        (np.array([0, 0, 0, 1]), np.array([0, 1, 2, 5])),
    )
    assert row.tolist() == [0, 0, 0, 1, 1]
    assert item[:3].tolist() == [3, 4, 5]
    assert 5 not in item[3:]


# --- tags -----------------------------------------------------------------------------

WORDS = np.array(["quiet", "loud"], object)


@pytest.mark.parametrize("count", [1, 500, 20_000])
def test_tags_are_so_many_on_what_their_users_rated(count):
    user = np.repeat(np.arange(200, dtype=np.int32), 30)
    item = np.tile(np.arange(30, dtype=np.int32), 200)
    word = np.arange(30) % 2
    tags = bigworld.tags(rng_of(), user, item, word, WORDS, count)
    assert all(len(column) == count for column in tags)
    assert len(np.unique(tags.user)) < 40, "few users write tags"
    rated = set(zip(user.tolist(), item.tolist(), strict=True))
    assert set(zip(tags.user.tolist(), tags.item.tolist(), strict=True)) <= rated
    assert {len(text.split()) for text in tags.text} <= {1, 2, 3}
    assert all(isinstance(text, str) for text in tags.text)


def test_half_of_the_tags_name_the_item_and_the_others_are_free_text():
    user, item = np.zeros(30, np.int32), np.arange(30, dtype=np.int32)
    word = np.arange(30) % 2
    tags = bigworld.tags(rng_of(), user, item, word, WORDS, 10_000)
    naming = np.isin(tags.text, WORDS)
    assert naming.mean() == pytest.approx(0.5, abs=0.03)
    np.testing.assert_array_equal(tags.text[naming], WORDS[word[tags.item[naming]]])
    assert len(np.unique(tags.text)) > 500
    counts = np.sort(np.unique(tags.text[~naming], return_counts=True)[1])
    assert counts[-1] > 20 * np.median(counts), "few texts are frequent"
