"""What a model would recommend to three users, beside what they like.

Held here: three users with few, middling and many training rows; liked are a user's
own best rated movies of train; nothing recommended was rated in train (R7), best first
by the mean over seeds, and test ratings stand beside the movies they are of; all of it
as slow loops say; scores that are stars are clipped, and others are not.
"""

import dataclasses
import json

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ncf_jax import Dataset, ItemFeatures, report
from ncf_jax.data.splits import make_split
from ncf_jax.errors import RunError
from ncf_jax.samples import samples, to_json

ITEMS = 12
TRAIN, VALID, TEST = 0, 1, 2
# Training rows by user: none is in train as often as another.
COUNTS = [5, 1, 3, 2, 4]


def world(rows):
    """Rows of (user, item, stars, time); movie 100 + i is item i."""
    user, item, stars, time = map(np.array, zip(*rows, strict=True))
    return Dataset(
        name="hand",
        label="a world made by hand",
        user=user.astype(np.int32),
        item=item.astype(np.int32),
        rating=stars.astype(np.float32),
        time=time.astype(np.int64),
        features=ItemFeatures(
            genres=np.eye(ITEMS, 2, dtype=np.float32),
            tags=np.zeros((ITEMS, 1), np.float32),
        ),
        user_ids=np.arange(user.max() + 1) * 10 + 7,
        item_ids=np.arange(ITEMS) + 100,
        titles=tuple(f"Movie {n} (1999)" for n in range(ITEMS)),
        genres=("Drama", "War", "Drama|War") * 4,
        genre_names=("Drama", "War"),
        fingerprint="",
    )


def five_users():
    """User u has COUNTS[u] rows in train, one in valid and two in test."""
    rows, part = [], []
    rng = np.random.default_rng(1)
    for user, count in enumerate(COUNTS):
        for n, item in enumerate(rng.permutation(ITEMS)[: count + 3]):
            rows.append((user, item, rng.integers(1, 11) / 2, n))
            part.append(TRAIN if n < count else (VALID if n == count else TEST))
    order = rng.permutation(len(rows))
    dataset = world([rows[n] for n in order])
    return dataset, make_split(dataset, np.array(part)[order], "by hand")


SCORES = np.random.default_rng(2).normal(2.5, 3, (2, 5, ITEMS)).astype(np.float32)


def scorer(user):
    """[R, B, I] of the users asked for."""
    assert user.dtype == jnp.int32
    return jnp.asarray(SCORES)[:, user]


@pytest.fixture
def found():
    return samples(*five_users(), scorer)


def user_of(sample):
    return (sample.user_id - 7) // 10


def ids(movies):
    return [movie.movie_id - 100 for movie in movies]


class TestUsers:
    def test_they_have_few_middling_and_many_training_rows(self):
        # A tenth, half and nine tenths of the way from the fewest rows to the most.
        counts = np.random.default_rng(3).permutation(11) + 1
        rows = [(u, n, 4.0, n) for u, c in enumerate(counts) for n in range(c + 1)]
        part = [TEST if n == counts[u] else TRAIN for u, n, *_ in rows]
        dataset = world(rows)
        split = make_split(dataset, np.array(part), "by hand")

        def score(user):
            return jnp.zeros((1, len(user), ITEMS))

        found = samples(dataset, split, score)
        assert [sample.n_train for sample in found] == [2, 6, 10]
        for sample in found:
            assert counts[user_of(sample)] == sample.n_train

    def test_users_without_test_rows_are_not_chosen(self):
        dataset, split = five_users()
        part = np.full(len(dataset.user), TRAIN)
        part[split.test] = np.where(dataset.user[split.test] == 2, TRAIN, TEST)
        other = make_split(dataset, part, "by hand")
        assert 2 not in [user_of(s) for s in samples(dataset, other, scorer)]

    @pytest.mark.parametrize("users", [3, 4, 10, 11, 50])
    def test_they_are_three_wherever_there_are_three(self, users):
        rows = [(user, n, 4.0, n) for user in range(users) for n in range(3)]
        dataset = world(rows)
        part = np.tile([TRAIN, TRAIN, TEST], users)
        split = make_split(dataset, part, "by hand")

        def score(user):
            return jnp.zeros((1, len(user), ITEMS))

        assert len({s.user_id for s in samples(dataset, split, score)}) == 3

    def test_a_user_who_is_new_has_liked_nothing_and_is_shown_the_best(self):
        dataset = world([(0, 3, 5.0, 1), (1, 2, 2.0, 1)])
        split = make_split(dataset, np.array([TRAIN, TEST]), "by hand")
        sample = samples(dataset, split, scorer)[0]
        assert (sample.user_id, sample.n_train, sample.liked) == (17, 0, [])
        assert len(sample.recommended) == 10


class TestLiked:
    def test_they_are_the_best_rated_of_the_users_training_rows(self, found):
        dataset, split = five_users()
        for sample in found:
            mine = [row for row in split.train if dataset.user[row] == user_of(sample)]
            stars = {dataset.item[row]: dataset.rating[row] for row in mine}
            assert len(sample.liked) == min(6, len(mine))
            for movie in sample.liked:
                assert movie.score == stars[movie.movie_id - 100]
            shown = [movie.score for movie in sample.liked]
            assert shown == sorted(stars.values(), reverse=True)[:6]

    def test_of_equally_rated_ones_the_latest_comes_first(self):
        rows = [(0, 1, 4.0, 10), (0, 2, 4.0, 30), (0, 3, 5.0, 5), (0, 4, 4.0, 20)]
        dataset = world([*rows, (0, 5, 1.0, 99)])
        split = make_split(dataset, np.array([TRAIN] * 4 + [TEST]), "by hand")
        sample = samples(dataset, split, scorer)[0]
        assert ids(sample.liked) == [3, 2, 4, 1]

    def test_as_many_come_as_are_asked_for(self):
        sample = samples(*five_users(), scorer, liked=2)[-1]
        assert len(sample.liked) == 2
        assert ids(sample.liked) == ids(samples(*five_users(), scorer)[-1].liked)[:2]


class TestRecommended:
    def test_nothing_rated_in_train_is_recommended(self, found):
        dataset, split = five_users()
        for sample in found:
            seen = dataset.item[
                split.train[dataset.user[split.train] == user_of(sample)]
            ]
            assert not set(seen.tolist()) & set(ids(sample.recommended))

    def test_they_are_the_best_left_by_the_mean_of_the_seeds(self, found):
        dataset, split = five_users()
        for sample in found:
            user = user_of(sample)
            mean = SCORES.mean(axis=0)[user]
            seen = set(dataset.item[split.train[dataset.user[split.train] == user]])
            left = sorted(set(range(ITEMS)) - seen, key=lambda i: -mean[i])
            assert ids(sample.recommended) == left[:10]
            for movie in sample.recommended:
                assert movie.score == pytest.approx(mean[movie.movie_id - 100])
        # The control: one seed alone has another order.
        alone = samples(*five_users(), lambda user: scorer(user)[:1])
        assert [ids(s.recommended) for s in alone] != [
            ids(s.recommended) for s in found
        ]

    def test_rows_of_the_held_out_parts_may_be_recommended(self, found):
        # Else the list would tell what was held out.
        dataset, split = five_users()
        for rows in (split.valid, split.test):
            pairs = {(dataset.user[row], dataset.item[row]) for row in rows}
            shown = {(user_of(s), i) for s in found for i in ids(s.recommended)}
            assert pairs & shown

    @pytest.mark.parametrize("k", [1, 3, 8, 11, 50])
    def test_as_many_come_as_are_asked_for_or_left(self, k):
        sample = samples(*five_users(), scorer, k=k)[0]
        assert len(sample.recommended) == min(k, ITEMS - 1)
        whole = samples(*five_users(), scorer, k=ITEMS)[0]
        assert ids(sample.recommended) == ids(whole.recommended)[:k]

    def test_test_ratings_stand_beside_their_movies(self, found):
        dataset, split = five_users()
        given = {
            (dataset.user[row], dataset.item[row]): dataset.rating[row]
            for row in split.test
        }
        shown = 0
        for sample in found:
            pairs = zip(sample.recommended, sample.test_ratings, strict=True)
            for movie, stars in pairs:
                assert stars == given.get((user_of(sample), movie.movie_id - 100))
                shown += stars is not None
        assert shown > 0
        assert any(None in sample.test_ratings for sample in found)

    def test_titles_and_genres_are_those_of_the_movie(self, found):
        dataset, _ = five_users()
        for sample in found:
            for movie in (*sample.liked, *sample.recommended):
                place = movie.movie_id - 100
                assert movie.title == dataset.titles[place]
                assert movie.genres == dataset.genres[place]

    def test_test_rows_have_no_say_in_what_is_recommended(self, found):
        # A canary against leakage.
        dataset, split = five_users()
        rating = dataset.rating.copy()
        rating[split.test] = 5.5 - rating[split.test]
        other = samples(dataclasses.replace(dataset, rating=rating), split, scorer)
        assert [s.recommended for s in other] == [s.recommended for s in found]
        assert [s.liked for s in other] == [s.liked for s in found]
        assert [s.test_ratings for s in other] != [s.test_ratings for s in found]


@given(seed=st.integers(0, 10**6), users=st.integers(3, 12))
@settings(max_examples=40, deadline=None)
def test_no_seen_movie_is_shown_in_any_world(seed, users):
    rng = np.random.default_rng(seed)
    rows, part = [], []
    for user in range(users):
        for n, item in enumerate(rng.permutation(ITEMS)[: rng.integers(1, ITEMS)]):
            rows.append((user, item, rng.integers(1, 11) / 2, rng.integers(5)))
            part.append(TEST if n == 0 else rng.integers(3))
    dataset = world(rows)
    split = make_split(dataset, np.array(part), "by hand")
    scores = rng.integers(0, 4, (2, users, ITEMS)).astype(np.float32)  # with ties
    found = samples(dataset, split, lambda user: scores[:, np.asarray(user)], k=ITEMS)
    for sample in found:
        mine = dataset.user == user_of(sample)
        seen = dataset.item[split.train[mine[split.train]]]
        left = set(range(ITEMS)) - set(seen.tolist())
        assert sorted(ids(sample.recommended)) == sorted(left)
        shown = [movie.score for movie in sample.recommended]
        assert shown == sorted(shown, reverse=True)


class TestJson:
    def test_it_has_the_promised_keys_and_is_plain(self, found):
        plain = to_json(found)
        assert json.loads(report.dumps(plain)) == plain
        for each, sample in zip(plain, found, strict=True):
            assert set(each) == {"user_id", "n_train", "liked", "recommended"}
            assert each["user_id"] == sample.user_id
            for movie in each["liked"]:
                assert set(movie) == {"movie_id", "title", "genres", "rating"}
            for movie, stars in zip(
                each["recommended"], sample.test_ratings, strict=True
            ):
                assert set(movie) == {
                    "movie_id",
                    "title",
                    "genres",
                    "score",
                    "test_rating",
                }
                assert movie["test_rating"] == stars

    def test_stars_are_clipped_for_display_and_the_order_is_not(self, found):
        for each, sample in zip(to_json(found), found, strict=True):
            shown = [movie["score"] for movie in each["recommended"]]
            scores = [movie.score for movie in sample.recommended]
            assert shown == [min(max(score, 0.5), 5.0) for score in scores]
            assert [m["movie_id"] for m in each["recommended"]] == [
                m.movie_id for m in sample.recommended
            ]
        everything = [m.score for s in found for m in s.recommended]
        assert max(everything) > 5
        assert min(everything) < 0.5

    def test_scores_that_are_no_stars_are_shown_as_they_are(self, found):
        for each, sample in zip(to_json(found, stars=False), found, strict=True):
            shown = [movie["score"] for movie in each["recommended"]]
            assert shown == [movie.score for movie in sample.recommended]

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_scores_that_are_no_numbers_are_one_sentence(self, value):
        # For an item that nobody rated in the rows that were judged, say.
        def broken(user):
            return scorer(user).at[0, :, 4].set(value)

        with pytest.raises(RunError, match="NaN or infinite") as error:
            samples(*five_users(), broken)
        assert "\n" not in str(error.value)
