"""Recommendations: never a movie that the user has rated (R7), best first, the mean
over seeds, clipped only for display; movies like another by plain cosine similarity;
ids that do not exist and models that cannot answer are one clear error."""

import dataclasses
import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ncf_jax
from ncf_jax import (
    Bias,
    Config,
    Dataset,
    ItemFeatures,
    Movie,
    RunError,
    make_learner,
    make_model,
    predict,
)
from ncf_jax.models import with_context
from ncf_jax.recommend import item_vectors, recommend, similar, top_k
from ncf_jax.recommend import movie as movie_at

laws = settings(max_examples=50, deadline=None)
USER_IDS = 7, 3, 900
MOVIE_IDS = 10, 20, 30, 40, 50, 60
# User 7 has rated movies 10 and 20, user 3 all but 60, user 900 nothing.
RATED = [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2), (1, 3), (1, 4)]


@pytest.fixture(scope="module")
def world():
    """Three users and six movies."""
    user, item = np.array(RATED, np.int32).T
    return Dataset(
        name="hand",
        label="a world made by hand",
        user=user,
        item=item,
        rating=np.full(len(RATED), 4, np.float32),
        time=np.arange(len(RATED)),
        features=ItemFeatures(
            genres=np.eye(6, 2, dtype=np.float32), tags=np.ones((6, 1), np.float32)
        ),
        user_ids=np.array(USER_IDS),
        item_ids=np.array(MOVIE_IDS),
        titles=tuple(f"Movie {n} (1999)" for n in MOVIE_IDS),
        genres=("Drama", "War", "Drama|War", "Comedy", "Comedy|War", "Western"),
        genre_names=("Drama", "War"),
        fingerprint="",
    )


BIAS = Bias(num_users=len(USER_IDS), num_items=len(MOVIE_IDS))


def stars(*seeds):
    """Parameters [R, ...] by which each item has these stars for everybody."""
    items = jnp.array(seeds, jnp.float32) / 5
    return {
        "mean": jnp.zeros(len(seeds)),
        "user_bias": jnp.zeros((len(seeds), len(USER_IDS))),
        "item_bias": items,
    }


def ids(movies):
    return [movie.movie_id for movie in movies]


class TestTopK:
    def test_the_best_come_first_and_the_seen_not_at_all(self):
        scores = jnp.array([[1.0, 5.0, 3.0, 4.0], [9.0, 2.0, 8.0, 1.0]])
        seen = jnp.array([[False, True, False, False], [False, False, False, False]])
        item, score = top_k(scores, seen, 2)
        assert item.tolist() == [[3, 2], [0, 2]]
        assert score.tolist() == [[4, 3], [9, 8]]

    def test_minus_infinity_marks_places_for_which_nothing_is_left(self):
        item, score = top_k(jnp.array([[1.0, 2.0]]), jnp.array([[True, False]]), 2)
        assert item[0, 0] == 1
        assert score.tolist() == [[2, -np.inf]]

    @laws
    @given(st.integers(0, 2**31 - 1))
    def test_it_equals_a_sort_of_the_unseen(self, seed):
        rng = np.random.default_rng(seed)
        scores = rng.permuted(np.tile(np.arange(20.0), (3, 1)), axis=1)
        seen = rng.random((3, 20)) < rng.random()
        item, score = map(np.asarray, top_k(jnp.array(scores), jnp.array(seen), 7))
        for row in range(3):
            unseen = [i for i in np.argsort(-scores[row]) if not seen[row, i]][:7]
            assert item[row][np.isfinite(score[row])].tolist() == unseen


class TestRecommend:
    def test_unseen_movies_come_in_the_order_of_their_predicted_stars(self, world):
        params = stars([5, 4.5, 1, 3, 2, 4])
        found = recommend(BIAS, params, world, 7, k=3)
        assert found == [
            Movie(60, "Movie 60 (1999)", "Western", pytest.approx(4)),
            Movie(40, "Movie 40 (1999)", "Comedy", pytest.approx(3)),
            Movie(50, "Movie 50 (1999)", "Comedy|War", pytest.approx(2)),
        ]
        # Control: who has rated nothing gets the two that user 7 has seen.
        assert ids(recommend(BIAS, params, world, 900, k=3)) == [10, 20, 60]

    def test_the_user_is_found_by_the_raw_id_and_not_by_the_index(self, world):
        params = stars([1, 2, 3, 4, 4.5, 5])
        assert ids(recommend(BIAS, params, world, 3, k=3)) == [60]
        with pytest.raises(RunError):
            recommend(BIAS, params, world, 0)

    def test_a_users_own_rows_change_the_answer(self, world):
        model = ncf_jax.NCF(3, 6, 2, 1, 4, 0, 0, 8, 4)
        zero = jnp.zeros(1, jnp.int32)
        features = jax.tree.map(lambda x: jnp.asarray(x[:1]), world.features)
        keys = jax.random.split(jax.random.key(1), 2)
        params = jax.vmap(lambda key: model.init(key, zero, zero, features)["params"])(
            keys
        )
        for index, user_id in ((0, 7), (2, 900)):
            user = np.full(6, index, np.int32)
            scores = predict(model, params, user, np.arange(6), world.features)
            score_of = dict(zip(MOVIE_IDS, scores.mean(axis=0), strict=True))
            seen = [MOVIE_IDS[item] for user, item in RATED if user == index]
            expected = sorted(set(MOVIE_IDS) - set(seen), key=lambda m: -score_of[m])
            found = recommend(model, params, world, user_id)
            assert ids(found) == expected
            for movie in found:
                shown = np.clip(score_of[movie.movie_id], 0.5, 5)
                assert movie.score == pytest.approx(shown, rel=1e-5)

    @pytest.mark.parametrize(("user_id", "left"), [(7, 4), (3, 1), (900, 6)])
    @pytest.mark.parametrize("k", [1, 4, 6, 50])
    def test_fewer_come_when_fewer_are_left(self, world, user_id, left, k):
        found = recommend(BIAS, stars([1, 2, 3, 4, 4.5, 5]), world, user_id, k=k)
        assert len(found) == min(k, left)

    def test_a_user_who_has_rated_all_gets_nothing(self, world):
        everything = dataclasses.replace(
            world,
            user=np.zeros(6, np.int32),
            item=np.arange(6, dtype=np.int32),
            rating=np.ones(6, np.float32),
            time=np.arange(6),
        )
        assert recommend(BIAS, stars([1, 2, 3, 4, 4.5, 5]), everything, 7) == []

    def test_the_order_is_by_the_prediction_and_only_the_display_is_clipped(
        self, world
    ):
        params = stars([0, 0, 7, 9, 8, -3])
        found = recommend(BIAS, params, world, 7)
        assert ids(found) == [40, 50, 30, 60]
        assert [movie.score for movie in found] == [5, 5, 5, 0.5]

    def test_of_several_seeds_the_mean_prediction_counts(self, world):
        first, second = [0, 0, 5, 4, 1, 1], [0, 0, 1, 4, 5, 1]
        found = recommend(BIAS, stars(first, second), world, 7, k=3)
        assert ids(found)[0] == 40
        assert found[0].score == pytest.approx((4 + 4) / 2)
        assert found[1].score == found[2].score == pytest.approx((5 + 1) / 2)
        # Control: either seed alone would put another movie first.
        for seed, best in ((first, 30), (second, 50)):
            assert ids(recommend(BIAS, stars(seed), world, 7, k=1)) == [best]

    def test_the_mean_is_taken_before_the_clipping(self, world):
        # Clipped first, both would show (5 + 1) / 2.
        found = recommend(BIAS, stars([0, 0, 9, 5, 0, 0], [0, 0, 1, 1, 0, 0]), world, 7)
        assert ids(found)[:2] == [30, 40]
        assert found[0].score == pytest.approx((9 + 1) / 2)
        assert found[1].score == pytest.approx((5 + 1) / 2)

    def test_the_global_mean_recommends_any_unseen_movies(self, world):
        model = BIAS.clone(users=False, items=False)
        params = stars([0] * 6) | {"mean": jnp.full(1, 0.7)}
        found = recommend(model, params, world, 7, k=3)
        assert len(set(ids(found))) == 3
        assert not {10, 20} & set(ids(found))
        assert all(movie.score == pytest.approx(3.5) for movie in found)

    def test_ten_come_when_no_number_is_given(self, tiny_dataset):
        model = Bias(num_users=tiny_dataset.num_users, num_items=tiny_dataset.num_items)
        user = int(tiny_dataset.user_ids[0])
        assert (
            len(recommend(model, random_biases(tiny_dataset, 0), tiny_dataset, user))
            == 10
        )

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_a_prediction_that_is_no_number_is_an_error_and_not_a_shorter_list(
        self, world, value
    ):
        with pytest.raises(RunError, match="NaN or infinite"):
            recommend(BIAS, stars([1, 2, 3, value, 4, 5]), world, 7)

    def test_another_user_compiles_nothing_anew(self, world, caplog):
        params = stars(*[[1, 2, 3, 4, 4.5, 5]] * 4)  # four seeds: nobody else's shape

        def compilations(user_id):
            caplog.clear()
            with jax.log_compiles(), caplog.at_level(logging.WARNING):
                recommend(BIAS, params, world, user_id, k=2)
            return sum("Finished XLA" in r.getMessage() for r in caplog.records)

        assert compilations(7) > 0  # the control: the first time
        assert compilations(3) == compilations(900) == 0  # five rated, and none

    def test_values_are_plain_python(self, world):
        movie = recommend(BIAS, stars([1, 2, 3, 4, 4.5, 5]), world, 7)[0]
        assert [type(value) for value in movie] == [int, str, str, float]

    @pytest.mark.parametrize("user_id", [0, 1, -7, 901, 10**12])
    def test_an_unknown_user_is_named_with_the_range_of_ids(self, world, user_id):
        with pytest.raises(
            RunError,
            match=rf"no user {user_id} in a world made by hand.* from 3 to 900",
        ):
            recommend(BIAS, stars([1] * 6), world, user_id)


def random_biases(dataset, seed):
    rng = np.random.default_rng(seed)
    return {
        "mean": jnp.full(2, 0.7),
        "user_bias": jnp.zeros((2, dataset.num_users)),
        "item_bias": jnp.array(rng.normal(0, 0.3, (2, dataset.num_items))),
    }


@laws
@given(st.data())
def test_no_user_is_ever_shown_a_movie_they_have_rated(tiny_dataset, data):
    user = data.draw(st.integers(0, tiny_dataset.num_users - 1))
    k = data.draw(st.sampled_from([1, 10, 1000]))
    params = random_biases(tiny_dataset, data.draw(st.integers(0, 99)))
    model = Bias(num_users=tiny_dataset.num_users, num_items=tiny_dataset.num_items)
    found = recommend(
        model, params, tiny_dataset, int(tiny_dataset.user_ids[user]), k=k
    )
    rated = tiny_dataset.item_ids[tiny_dataset.item[tiny_dataset.user == user]]
    assert not set(ids(found)) & set(rated.tolist())
    assert len(set(ids(found))) == len(found)
    assert len(found) == min(k, tiny_dataset.num_items - len(rated))
    # Best first, and nothing left out that is better than what is shown.
    score = params["item_bias"].mean(axis=0)
    score_of = dict(zip(tiny_dataset.item_ids.tolist(), score.tolist(), strict=True))
    shown = [score_of[movie] for movie in ids(found)]
    assert shown == sorted(shown, reverse=True)
    left = set(score_of) - set(ids(found)) - set(rated.tolist())
    assert all(score_of[movie] <= shown[-1] + 1e-6 for movie in left)


NCF = ncf_jax.NCF(3, 6, 2, 1, embedding_dim=3, genre_dim=0, tag_dim=0)


def tables(*seeds):
    """Parameters [R, ...] of `NCF` with these item rows [6, 3]."""
    zero = jnp.zeros(1, jnp.int32)
    features = ItemFeatures(genres=jnp.ones((1, 2)), tags=jnp.ones((1, 1)))
    params = NCF.init(jax.random.key(0), zero, zero, features)["params"]
    params = jax.tree.map(lambda x: jnp.stack([x] * len(seeds)), params)
    return params | {"item_embedding": {"embedding": jnp.array(seeds, jnp.float32)}}


def random_rows(seed):
    return np.random.default_rng(seed).normal(0, 1, (6, 3))


def cosine(one, other):
    return one @ other / (np.linalg.norm(one) * np.linalg.norm(other))


class TestSimilar:
    def test_it_equals_cosine_similarity_in_numpy(self, world):
        rows = random_rows(0)
        for place, movie_id in enumerate(MOVIE_IDS):
            expected = {
                MOVIE_IDS[other]: cosine(rows[place], rows[other])
                for other in range(6)
                if other != place
            }
            found = similar(NCF, tables(rows), world, movie_id)
            assert ids(found) == sorted(expected, key=lambda m: -expected[m])
            for movie in found:
                assert movie.score == pytest.approx(expected[movie.movie_id], abs=1e-6)

    def test_of_several_seeds_the_mean_similarity_counts(self, world):
        seeds = random_rows(1), random_rows(2)
        found = similar(NCF, tables(*seeds), world, 30)
        mean = {
            movie: np.mean([cosine(rows[2], rows[place]) for rows in seeds])
            for place, movie in enumerate(MOVIE_IDS)
        }
        for movie in found:
            assert movie.score == pytest.approx(mean[movie.movie_id], abs=1e-6)
        alone = similar(NCF, tables(seeds[0]), world, 30)
        assert [m.score for m in alone] != [m.score for m in found]

    def test_direction_counts_and_length_does_not(self, world):
        rows = random_rows(3)
        longer = rows * np.array([[1], [9], [0.1], [3], [50], [2]])
        found = similar(NCF, tables(rows), world, 20)
        scaled = similar(NCF, tables(longer), world, 20)
        assert ids(found) == ids(scaled)
        for one, other in zip(found, scaled, strict=True):
            assert one.score == pytest.approx(other.score, abs=1e-6)

    def test_a_movie_is_not_similar_to_itself_but_to_its_twin(self, world):
        rows = random_rows(4)
        rows[5], rows[1] = 2 * rows[0], -rows[0]
        found = similar(NCF, tables(rows), world, 10, k=100)
        assert len(found) == 5
        assert 10 not in ids(found)
        assert found[0].movie_id == 60
        assert found[0].score == pytest.approx(1, abs=1e-6)
        assert found[-1].movie_id == 20
        assert found[-1].score == pytest.approx(-1, abs=1e-6)

    def test_a_movie_with_a_row_of_zeros_is_similar_to_none(self, world):
        rows = random_rows(5)
        rows[0] = 0
        assert all(m.score == 0 for m in similar(NCF, tables(rows), world, 10))

    @pytest.mark.parametrize("k", [1, 3, 5, 6])
    def test_as_many_come_as_are_asked_for_or_left(self, world, k):
        found = similar(NCF, tables(random_rows(6)), world, 40, k=k)
        assert len(found) == min(k, 5)
        assert ids(found) == ids(similar(NCF, tables(random_rows(6)), world, 40))[:k]

    def test_titles_and_genres_are_those_of_the_movie(self, world):
        for movie in similar(NCF, tables(random_rows(7)), world, 10):
            place = MOVIE_IDS.index(movie.movie_id)
            assert movie.title == world.titles[place]
            assert movie.genres == world.genres[place]

    @pytest.mark.parametrize("movie_id", [0, 1, 15, -10, 61])
    def test_an_unknown_movie_is_named_with_the_range_of_ids(self, world, movie_id):
        with pytest.raises(
            RunError, match=rf"no movie {movie_id} .*a world made by hand.* 10 to 60"
        ):
            similar(NCF, tables(random_rows(0)), world, movie_id)

    def test_a_model_without_embeddings_says_so(self, world):
        with pytest.raises(RunError, match=r"Bias has a single number for each item"):
            similar(BIAS, stars([1] * 6), world, 10)


class TestItemVectors:
    def test_they_are_the_item_tables_side_by_side(self, world):
        one, other = random_rows(8), random_rows(9)
        found = item_vectors(NCF, tables(one, other), world)
        assert found.shape == (2, len(MOVIE_IDS), one.shape[1])
        np.testing.assert_allclose(found, np.stack([one, other]), rtol=1e-6)

    def test_a_model_may_say_what_its_items_are_compared_by(
        self, tiny_dataset, tiny_split
    ):
        config = Config(model="vncf", history=4, embedding_dim=3)
        dataset = with_context(config, tiny_dataset, tiny_split)
        model = make_model(config, dataset)
        learner = make_learner(model, dataset.features)
        params = jax.vmap(learner.init)(jax.random.split(jax.random.key(0), 2)).params
        found = item_vectors(model, params, dataset)
        assert found.shape == (2, dataset.num_items, 3)

        def with_table(name, value):
            table = params["item_table"]
            table = table | {name: table[name] + value}
            return item_vectors(model, params | {"item_table": table}, dataset)

        # Means count, and how sure the model is of them does not.
        np.testing.assert_array_equal(with_table("log_sd", 3.0), found)
        np.testing.assert_allclose(with_table("mean", 0.5), found + 0.5, atol=1e-5)
        # Towers count: of means, which start at nothing, all items would be the same.
        assert np.std(found, axis=1).min() > 1e-4
        features = dataset.features.replace(history=None)
        less = item_vectors(
            model, params, dataclasses.replace(dataset, features=features)
        )
        assert np.abs(less - found).max() > 1e-3

    def test_a_model_of_single_numbers_has_none(self, world):
        assert item_vectors(BIAS, stars([1] * 6, [2] * 6), world) is None


def test_a_movie_is_named_as_in_the_files(world):
    found = movie_at(world, 2, 3.5)
    assert found == Movie(30, "Movie 30 (1999)", "Drama|War", 3.5)
