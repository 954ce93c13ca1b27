"""Item features: genres and tags as the reference has them.

Held here: the genre matrix is scikit-learn's `MultiLabelBinarizer` over every genre
that occurs; the tag matrix is a literal loop over the reference's step 5, and keeps the
inner products of a TF-IDF computed by hand; the real data has 20 genres and 521 movies
with tags; few words, one word or no tags at all are no error.
"""

import math
import re
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfTransformer, TfidfVectorizer
from sklearn.preprocessing import MultiLabelBinarizer

from ncf_jax import prepare
from ncf_jax.config import DataConfig
from ncf_jax.data import features, reading
from ncf_jax.data.features import (
    TAG_COMPONENTS,
    TAG_VOCABULARY,
    genre_matrix,
    tag_matrix,
)

NAMES = ["Action", "Children", "Comedy", "Film-Noir", "Sci-Fi", "(no genres listed)"]
genre_texts = st.lists(
    st.lists(st.sampled_from(NAMES), min_size=1, max_size=4, unique=True).map("|".join),
    min_size=1,
    max_size=12,
)


# --- genres ---------------------------------------------------------------------------


@given(every=genre_texts, picks=st.lists(st.integers(0, 1000), max_size=12))
@settings(max_examples=60, deadline=None)
def test_genres_are_what_scikit_learn_makes_of_them(every, picks):
    kept = [every[pick % len(every)] for pick in picks]
    hot, names = genre_matrix(every, kept)
    binarizer = MultiLabelBinarizer().fit([text.split("|") for text in every])
    assert names == tuple(binarizer.classes_)
    wanted = binarizer.transform([text.split("|") for text in kept])
    np.testing.assert_array_equal(hot, wanted.reshape(len(kept), len(names)))
    assert hot.dtype == np.float32


@given(every=genre_texts)
@settings(max_examples=40, deadline=None)
def test_the_genre_names_can_be_read_back_from_each_row(every):
    hot, names = genre_matrix(every, every)
    for row, text in zip(hot, every, strict=True):
        back = {names[column] for column in np.flatnonzero(row)}
        assert back == set(text.split("|"))


def test_columns_are_the_genres_of_all_movies_in_alphabetical_order():
    hot, names = genre_matrix(["War", "Drama|Comedy", "IMAX"], ["Comedy|War"])
    assert names == ("Comedy", "Drama", "IMAX", "War")
    assert hot.tolist() == [[1, 0, 0, 1]]


def test_a_genre_of_dropped_movies_only_keeps_its_column():
    kept = ["Drama"]
    assert genre_matrix(["Drama", "War"], kept)[0].shape == (1, 2)
    assert genre_matrix(["Drama"], kept)[0].shape == (1, 1)


def test_no_genres_listed_is_a_genre_of_its_own():
    hot, names = genre_matrix(["(no genres listed)", "Drama"], ["(no genres listed)"])
    assert names == ("(no genres listed)", "Drama")
    assert hot.tolist() == [[1, 0]]


@pytest.mark.parametrize("text", ["Drama|War", "War|Drama", "Drama|War|Drama"])
def test_order_and_repetition_inside_a_genre_string_do_not_matter(text):
    hot, _ = genre_matrix(["Drama|War|Western"], [text])
    assert hot.tolist() == [[1, 1, 0]]


def test_genre_names_are_taken_letter_by_letter():
    _, names = genre_matrix(["Sci-Fi", "sci-fi", "Sci Fi"], [])
    assert len(names) == 3


def test_no_items_give_no_rows_but_all_columns():
    hot, names = genre_matrix(["Drama|War"], [])
    assert hot.shape == (0, 2)
    assert names == ("Drama", "War")


# --- tags -----------------------------------------------------------------------------


def tag_table(*pairs):
    """(movieId, tag) pairs as the reader gives them."""
    movies, tags = zip(*pairs, strict=True) if pairs else ((), ())
    return pd.DataFrame(
        {"movieId": np.array(movies, np.int64), "tag": pd.Series(tags, dtype="str")}
    )


def notebook_tags(tags, item_ids):
    """Step 5 of the reference, a movie at a time."""
    texts = {}
    for movie, tag in zip(tags["movieId"], tags["tag"], strict=True):
        texts.setdefault(movie, []).append(tag)
    movies = sorted(texts)
    tfidf = TfidfVectorizer(max_features=100)
    weights = tfidf.fit_transform([" ".join(texts[movie]) for movie in movies])
    reduced = TruncatedSVD(n_components=32, random_state=42).fit_transform(weights)
    vector = dict(zip(movies, reduced, strict=True))
    return np.array([vector.get(movie, np.zeros(32)) for movie in item_ids])


def tfidf_by_hand(tags):
    """movieId -> {word: weight}: log-smoothed inverse frequencies, rows of length 1."""
    words = {}
    for movie, tag in zip(tags["movieId"], tags["tag"], strict=True):
        # A word has two or more letters or digits, in lower case.
        words.setdefault(movie, Counter()).update(re.findall(r"\b\w\w+\b", tag.lower()))
    n = len(words)
    present = Counter(word for counts in words.values() for word in counts)
    out = {}
    for movie, counts in words.items():
        raw = {
            word: count * (math.log((1 + n) / (1 + present[word])) + 1)
            for word, count in counts.items()
        }
        length = math.sqrt(sum(value**2 for value in raw.values()))
        # A movie whose tags hold no word has an empty row, and no length to divide by.
        out[movie] = {word: value / length for word, value in raw.items()}
    return out


WORDS = ["dark", "funny", "Sci-Fi", "time travel", "a", "in netflix queue", "80s", "é"]
tag_lists = st.lists(
    st.tuples(st.integers(1, 8), st.sampled_from(WORDS)), min_size=1, max_size=20
)


def many_tags(movies=120, words=140, seed=0):
    """More movies than components and more words than the vocabulary holds."""
    rng = np.random.default_rng(seed)
    rows = []
    for movie in range(1, movies + 1):
        # Popular words for all, so that the vocabulary's cut is not one among equals.
        for word in np.minimum(rng.geometric(0.03, size=6), words):
            rows.append((movie, f"word{word} tone{word % 7}"))
    return tag_table(*rows)


@pytest.mark.parametrize("seed", [0, 1])
def test_tags_are_what_the_reference_makes_of_them(seed):
    tags = many_tags(seed=seed)
    item_ids = np.random.default_rng(seed).permutation(np.arange(1, 151))
    ours = tag_matrix(tags, item_ids)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, notebook_tags(tags, item_ids), atol=1e-6)
    # The control: other tags give another matrix by far more than the tolerance.
    other = tag_matrix(many_tags(seed=seed + 10), item_ids)
    assert np.abs(other - ours).max() > 0.01


def counted_by_scikit_learn(tags):
    joined = tags.groupby("movieId")["tag"].agg(" ".join)
    vectorizer = TfidfVectorizer(max_features=TAG_VOCABULARY)
    return vectorizer.fit_transform(joined).toarray(), joined.index


@given(rows=tag_lists)
@settings(max_examples=60, deadline=None)
def test_counts_are_those_of_joined_tags(rows):
    tags = tag_table(*rows)
    assume(any(re.search(r"\w\w", tag) for _, tag in rows))
    wanted, movies = counted_by_scikit_learn(tags)
    counts, found = features._word_counts(tags)
    assert found.tolist() == movies.tolist()
    weights = TfidfTransformer().fit_transform(counts).toarray()
    np.testing.assert_allclose(weights, wanted, rtol=1e-14)  # summed in another order


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_vocabulary_is_cut_where_joined_tags_cut_it(seed):
    # Far more than a hundred words, many equally frequent.
    rng = np.random.default_rng(seed)
    rows = [
        (int(movie), f"word{a} and word{b}")
        for movie, a, b in rng.integers(1, 400, (900, 3))
    ]
    tags = tag_table(*rows)
    wanted, _ = counted_by_scikit_learn(tags)
    counts, _ = features._word_counts(tags)
    assert counts.shape == wanted.shape == (wanted.shape[0], TAG_VOCABULARY)
    weights = TfidfTransformer().fit_transform(counts).toarray()
    np.testing.assert_allclose(weights, wanted, rtol=1e-14)  # summed in another order


@given(rows=tag_lists)
@settings(max_examples=60, deadline=None)
def test_with_few_words_the_inner_products_are_those_of_a_tfidf_by_hand(rows):
    # With fewer words than components the SVD loses nothing: it only turns the axes.
    tags = tag_table(*rows)
    by_hand = tfidf_by_hand(tags)
    assume(len({word for one in by_hand.values() for word in one}) >= 2)
    movies = np.arange(0, 10)
    ours = tag_matrix(tags, movies)
    for a in movies:
        for b in movies:
            x, y = by_hand.get(a, {}), by_hand.get(b, {})
            wanted = sum(weight * y.get(word, 0) for word, weight in x.items())
            assert ours[a] @ ours[b] == pytest.approx(wanted, abs=1e-5)


@given(rows=tag_lists)
@settings(max_examples=40, deadline=None)
def test_a_movie_has_a_tag_vector_exactly_when_it_has_a_word(rows):
    tags = tag_table(*rows)
    assume(len({w for _, tag in rows for w in re.findall(r"\w\w+", tag)}) >= 2)
    movies = np.arange(0, 10)
    lengths = np.linalg.norm(tag_matrix(tags, movies), axis=1)
    has_word = [
        any(re.search(r"\w\w", tag) for one, tag in rows if one == movie)
        for movie in movies
    ]
    np.testing.assert_allclose(lengths, np.array(has_word, float), atol=1e-5)


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [(1, "a"), (2, "b")],
        [(1, "!!"), (2, "...")],
        [(1, "é")],
    ],
    ids=["no tags", "single letters", "punctuation", "one letter"],
)
def test_without_a_word_every_item_has_zeros(rows):
    out = tag_matrix(tag_table(*rows), np.array([1, 2, 3]))
    assert out.shape == (3, TAG_COMPONENTS)
    assert not out.any()
    assert out.dtype == np.float32


@pytest.mark.parametrize(
    "rows",
    [
        [(1, "funny")],
        [(1, "funny"), (2, "funny")],
        [(1, "funny"), (1, "funny"), (2, "funny"), (4, "a")],
    ],
    ids=["once", "two movies", "and a movie without a word"],
)
def test_a_single_word_is_enough_to_be_read(rows):
    out = tag_matrix(tag_table(*rows), np.array([1, 2, 3]))
    assert out.shape == (3, TAG_COMPONENTS)
    assert np.isfinite(out).all()
    assert not out[2].any(), "movie 3 has no tag"


@pytest.mark.parametrize(
    "rows",
    [[(1, "funny dark")], [(1, "funny"), (1, "dark"), (1, "odd")]],
    ids=["one tag", "three tags"],
)
def test_a_single_tagged_movie_is_enough_to_be_read(rows):
    out = tag_matrix(tag_table(*rows), np.array([1, 2]))
    assert np.linalg.norm(out[0]) == pytest.approx(1)
    assert not out[1].any()


def test_components_beyond_the_words_stay_zero():
    out = tag_matrix(tag_table((1, "aa bb"), (2, "bb cc"), (3, "cc dd")), np.arange(5))
    assert out[:, :3].any()
    assert not out[:, 4:].any(), "four words cannot fill a fifth component"


def test_the_vocabulary_is_the_hundred_most_frequent_words():
    # 120 movies: word n comes in movies 1..n, so that the twenty rarest are cut.
    rows = [(m, f"word{n:03}") for n in range(1, 121) for m in range(1, n + 1)]
    tags = tag_table(*rows)
    cut = TAG_VOCABULARY
    frequent = tags[tags["tag"] > f"word{120 - cut:03}"]
    assert frequent["tag"].nunique() == cut
    np.testing.assert_allclose(
        tag_matrix(tags, np.arange(1, 121)),
        tag_matrix(frequent, np.arange(1, 121)),
        atol=1e-5,
    )


def test_case_order_and_splitting_of_tags_do_not_matter():
    item_ids = np.array([1, 2, 3])
    a = tag_table((1, "Time Travel"), (2, "dark"), (2, "funny"), (3, "funny travel"))
    b = tag_table((3, "travel"), (2, "FUNNY dark"), (1, "travel"), (3, "funny"))
    b = pd.concat([b, tag_table((1, "time"))])
    np.testing.assert_allclose(
        tag_matrix(a, item_ids), tag_matrix(b, item_ids), atol=1e-6
    )


def test_rows_follow_the_items_asked_for():
    tags = many_tags(movies=40)
    item_ids = np.array([7, 3, 99, 20])
    out = tag_matrix(tags, item_ids)
    order = np.array([2, 0, 3, 1])
    np.testing.assert_array_equal(tag_matrix(tags, item_ids[order]), out[order])
    assert not out[2].any(), "movie 99 has no tag"
    assert (np.linalg.norm(out[[0, 1, 3]], axis=1) > 0).all()


def test_tags_of_dropped_movies_shape_the_vectors_of_kept_ones():
    # As in the reference: the vocabulary and the SVD see every tagged movie.
    kept = [(1, "dark"), (1, "funny"), (2, "funny")]
    alone = tag_matrix(tag_table(*kept), np.array([1, 2]))
    among = tag_matrix(tag_table(*kept, (8, "funny"), (9, "funny")), np.array([1, 2]))
    # "funny" weighs less where more movies have it.
    assert among[0] @ among[1] < alone[0] @ alone[1] - 0.01


def test_users_and_times_of_tags_have_no_say():
    tags = many_tags(movies=40)
    more = tags.assign(userId=np.arange(len(tags)), timestamp=0)
    item_ids = np.arange(1, 41)
    np.testing.assert_array_equal(
        tag_matrix(more, item_ids), tag_matrix(tags, item_ids)
    )


def test_no_items_give_no_tag_rows():
    assert tag_matrix(many_tags(40), np.array([], np.int64)).shape == (0, 32)


# --- the real data --------------------------------------------------------------------


@pytest.fixture
def real_release(real_data_dir):
    config = DataConfig(
        dataset="ml-latest-small", data_dir=str(real_data_dir), cache_dir=""
    )
    return reading.read(real_data_dir / "ml-latest-small"), prepare(config)


def test_the_real_data_has_the_references_genres(real_release):
    tables, dataset = real_release
    assert len(dataset.genre_names) == 20
    occurs = np.asarray(dataset.features.genres).any(axis=0)
    absent = [
        name for name, seen in zip(dataset.genre_names, occurs, strict=True) if not seen
    ]
    assert absent == ["(no genres listed)"]
    every = [text.split("|") for text in tables.movies["genres"]]
    binarizer = MultiLabelBinarizer().fit(every)
    assert dataset.genre_names == tuple(binarizer.classes_)
    np.testing.assert_array_equal(
        dataset.features.genres,
        binarizer.transform([text.split("|") for text in dataset.genres]),
    )


def test_the_real_data_has_the_references_tags(real_release):
    tables, dataset = real_release
    ours = np.asarray(dataset.features.tags)
    assert ours.shape == (2_269, 32)
    assert int(ours.any(axis=1).sum()) == 521
    wanted = notebook_tags(tables.tags, dataset.item_ids)
    np.testing.assert_allclose(ours, wanted, atol=1e-6)


@pytest.mark.parametrize(
    ("title", "year"),
    [
        ("Heat (1995)", 1995.0),
        ("1984 (1984) ", 1984.0),
        ("2001: A Space Odyssey (1968)", 1968.0),
        ("Babylon 5", 0.0),
        ("Brazil (1985) (restored)", 0.0),
        ("Fahrenheit (451)", 0.0),
        ("Years (1990-1995)", 0.0),
        ("(1999) Twice (2000)", 2000.0),
        ("", 0.0),
    ],
)
def test_a_year_is_what_stands_in_brackets_at_the_end(title, year):
    found = features.release_year([title])
    assert found.tolist() == [year]
    assert found.dtype == np.float32


def test_years_are_in_the_order_of_the_titles():
    assert features.release_year([]).shape == (0,)
    assert features.release_year(["A (1990)", "B"]).tolist() == [1990.0, 0.0]
    assert features.release_year(["B", "A (1990)"]).tolist() == [0.0, 1990.0]
