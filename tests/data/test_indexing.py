"""Filters, numbers and fingerprints by whole columns, against loops.

Held here: numbers follow first appearance, for small ids and for large ones; the
filters are those of a loop; the fingerprint is the hash of the plain JSON text, so that
fingerprints published before it was streamed stay the same.
"""

import hashlib
import json
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ncf_jax.data import indexing

small = st.integers(0, 5)
large = st.sampled_from([3, 2**26, 2**40, 2**53])
pairs = st.lists(st.tuples(small | large, small | large), max_size=25, unique=True)


@given(pairs=pairs, min_user=st.integers(1, 3), min_item=st.integers(1, 3))
@settings(max_examples=200, deadline=None)
def test_filters_and_numbers_are_those_of_a_loop(pairs, min_user, min_item):
    per_item = Counter(item for _, item in pairs)
    left = [one for one in pairs if per_item[one[1]] >= min_item]
    per_user = Counter(user for user, _ in left)
    left = [one for one in left if per_user[one[0]] >= min_user]
    user, item = np.array(pairs, np.int64).reshape(-1, 2).T
    kept = indexing.filtered(user, item, min_user, min_item)
    assert kept.user_ids.tolist() == list(dict.fromkeys(user for user, _ in left))
    assert kept.item_ids.tolist() == list(dict.fromkeys(item for _, item in left))
    found = zip(
        kept.user_ids[kept.user].tolist(),
        kept.item_ids[kept.item].tolist(),
        strict=True,
    )
    assert list(found) == left
    assert [kept.user.dtype, kept.item.dtype] == [np.int32, np.int32]
    assert [kept.user_ids.dtype, kept.item_ids.dtype] == [np.int64, np.int64]
    assert kept.read_users == len({user for user, _ in pairs})
    assert kept.read_items == len(per_item)
    assert kept.rows(np.array(pairs).reshape(-1, 2)).tolist() == [*map(list, left)]


def plain_fingerprint(arrays, titles, genres, tags, genre_names):
    """The definition, without care for memory."""
    digest = hashlib.sha256()
    for key in sorted(arrays):
        digest.update(f"{key} {arrays[key].shape} ".encode() + arrays[key].tobytes())
    pairs = [[str(movie), str(tag)] for movie, tag in zip(*tags, strict=True)]
    digest.update(json.dumps([titles, genres, pairs, list(genre_names)]).encode())
    return digest.hexdigest()[:16]


ARRAYS = {"user": np.arange(3, dtype=np.int32), "rating": np.ones(3, np.float32)}
texts = st.text(max_size=5)


@given(
    titles=st.lists(texts, max_size=3),
    tags=st.lists(st.tuples(st.integers(0, 5), texts), max_size=9),
    block=st.sampled_from([1, 2, 100]),
)
@settings(max_examples=100, deadline=None)
def test_the_fingerprint_is_that_of_the_plain_text(titles, tags, block):
    movie, tag = zip(*tags, strict=True) if tags else ((), ())
    table = pd.DataFrame(
        {"movieId": np.array(movie, np.int64), "tag": np.array(tag, object)}
    )
    rest = (titles, ["Drama|War"], ("Drama", "War"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(indexing, "PAIRS", block)
        ours = indexing.fingerprint(ARRAYS, *rest[:2], table, rest[2])
    assert ours == plain_fingerprint(ARRAYS, *rest[:2], (movie, tag), rest[2])


@pytest.mark.parametrize("change", ["rating", "tag", "order"])
def test_another_content_has_another_fingerprint(change):
    def of(arrays, tags):
        table = pd.DataFrame(tags, columns=["movieId", "tag"])
        return indexing.fingerprint(arrays, ["a"], ["b"], table, ("b",))

    tags = [(1, "x"), (2, "y")]
    other = {"tag": [(1, "x"), (2, "z")], "order": tags[::-1]}.get(change, tags)
    arrays = ARRAYS | (
        {"rating": np.zeros(3, np.float32)} if change == "rating" else {}
    )
    assert of(arrays, other) != of(ARRAYS, tags)
