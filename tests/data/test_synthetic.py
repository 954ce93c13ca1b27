"""The synthetic world: repeatable, honest about its floor, and shaped like MovieLens.

Held here: the same seed writes the same bytes; the closed-form moments agree with a
Monte Carlo draw and the best predictor reaches the stated floor while every shifted or
stretched one misses it; half stars, at least 20 ratings a user, long tails, no pair
twice; the ordinary reader reads it; every trace of it says synthetic; sizes that
contradict each other and folders that cannot be written are one sentence.
"""

import dataclasses
import hashlib
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ncf_jax import prepare
from ncf_jax.config import DataConfig
from ncf_jax.data import reading, synthetic
from ncf_jax.data.synthetic import MIN_RATINGS, NOISE, STARS, World, moments, sample
from ncf_jax.errors import ConfigError, DataError

SMALL = World(users=60, items=80, ratings_per_user=30, seed=1)
FILES = {"ratings.csv", "movies.csv", "tags.csv", "README.txt", "world.json"}
worlds = st.builds(
    World,
    users=st.integers(10, 60),
    items=st.integers(50, 120),
    ratings_per_user=st.integers(20, 25),
    seed=st.integers(0, 2**32 - 1),
)


@pytest.fixture(scope="module")
def drawn():
    """A world large enough for statistics: about 90,000 ratings."""
    return sample(World(users=1500, items=800, ratings_per_user=60, seed=3))


def files_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# --- the same world again -------------------------------------------------------------


def test_the_same_seed_writes_the_same_bytes(tmp_path):
    floors = [synthetic.write(SMALL, tmp_path / name) for name in ("a", "b")]
    first = files_of(tmp_path / "a")
    assert set(first) == FILES
    assert files_of(tmp_path / "b") == first
    assert floors[0] == floors[1]


@pytest.mark.parametrize("change", [{"seed": 2}, {"users": 61}, {"items": 81}])
def test_another_seed_or_size_is_another_world(tmp_path, change):
    synthetic.write(SMALL, tmp_path / "a")
    synthetic.write(dataclasses.replace(SMALL, **change), tmp_path / "b")
    a, b = files_of(tmp_path / "a"), files_of(tmp_path / "b")
    assert a["ratings.csv"] != b["ratings.csv"]
    assert a["movies.csv"] != b["movies.csv"]


def test_drawing_disturbs_no_global_random_state():
    np.random.seed(5)
    wanted = np.random.random(3)
    np.random.seed(5)
    sample(SMALL)
    np.testing.assert_array_equal(np.random.random(3), wanted)


def test_every_size_and_seed_has_a_folder_of_its_own():
    changes = [{}, {"seed": 2}, {"users": 61}, {"items": 81}, {"ratings_per_user": 31}]
    changes += [{"ratings": 1_500}, {"ratings": 1_501}, {"tags": 9}, {"tags": 8}]
    names = {dataclasses.replace(SMALL, **change).folder_name() for change in changes}
    assert len(names) == len(changes)
    assert all("synthetic" in name for name in names)


def test_a_world_that_lies_there_is_not_written_again(tmp_path):
    floor = synthetic.write(SMALL, tmp_path / "w")
    (tmp_path / "w" / "ratings.csv").write_text("left as it is")
    assert synthetic.write(SMALL, tmp_path / "w") == floor
    assert (tmp_path / "w" / "ratings.csv").read_text() == "left as it is"


def test_another_world_in_the_folder_is_replaced(tmp_path):
    other = dataclasses.replace(SMALL, seed=9)
    synthetic.write(other, tmp_path / "w")
    floor = synthetic.write(SMALL, tmp_path / "w")
    synthetic.write(SMALL, tmp_path / "fresh")
    assert files_of(tmp_path / "w") == files_of(tmp_path / "fresh")
    assert floor == pytest.approx(sample(SMALL).floor_rmse)


@pytest.mark.parametrize(
    "note",
    [
        b"",
        b'{"world": {"users"',
        b"\xff\xfe",
        b"{}",
        b'{"world": null}',
        b"[]",
        b"null",
        b"7",
        json.dumps({"world": dataclasses.asdict(SMALL)}).encode(),
        json.dumps({"world": dataclasses.asdict(SMALL), "floor_rmse": None}).encode(),
        json.dumps({"world": dataclasses.asdict(SMALL), "floor_rmse": []}).encode(),
    ],
)
def test_a_world_whose_note_is_not_whole_is_made_anew(tmp_path, note):
    folder = tmp_path / "w"
    folder.mkdir()
    (folder / "world.json").write_bytes(note)
    assert synthetic.write(SMALL, folder) == sample(SMALL).floor_rmse
    assert set(files_of(folder)) == FILES


def test_an_interrupted_writing_is_made_anew(tmp_path):
    # world.json comes last, so a folder without it is not believed.
    synthetic.write(SMALL, tmp_path / "w")
    whole = files_of(tmp_path / "w")
    (tmp_path / "w" / "world.json").unlink()
    (tmp_path / "w" / "ratings.csv").write_text("userId,movieId,rat")
    synthetic.write(SMALL, tmp_path / "w")
    assert files_of(tmp_path / "w") == whole


def test_nothing_but_the_world_is_left_beside_it(tmp_path):
    synthetic.write(SMALL, tmp_path / "w")
    assert [path.name for path in tmp_path.iterdir()] == ["w"]


# --- the floor ------------------------------------------------------------------------


@pytest.mark.parametrize("score", [-1.0, 0.4, 1.0, 2.25, 2.6, 3.4, 4.8, 5.0, 6.5])
def test_the_moments_are_those_of_a_monte_carlo_draw(score):
    n = 200_000
    noise = np.random.default_rng(0).normal(0, NOISE, n)
    stars = np.clip(np.round(2 * (score + noise)) / 2, 0.5, 5.0)
    mean, variance = (float(x[0]) for x in moments(np.array([score])))
    # Five standard errors, of the mean and of the variance.
    assert abs(stars.mean() - mean) < 5 * stars.std() / np.sqrt(n)
    spread = ((stars - stars.mean()) ** 2).std() / np.sqrt(n)
    assert abs(stars.var() - variance) < 5 * spread
    # The control: the score itself, unrounded and unclipped, is no such mean.
    if not 1.5 < score < 4:
        assert abs(stars.mean() - score) > 5 * stars.std() / np.sqrt(n)


@given(scores=st.lists(st.floats(-50, 50), min_size=2, max_size=20))
@settings(max_examples=60, deadline=None)
def test_moments_stay_in_range_and_rise_with_the_score(scores):
    mean, variance = moments(np.sort(np.array(scores)))
    assert ((mean >= 0.5 - 1e-9) & (mean <= 5 + 1e-9)).all()
    assert (np.diff(mean) >= -1e-9).all()
    assert ((variance >= -1e-9) & (variance <= ((5 - 0.5) / 2) ** 2)).all()


@given(distance=st.floats(0, 20))
@settings(max_examples=40, deadline=None)
def test_moments_are_symmetric_about_the_middle_of_the_scale(distance):
    middle = (STARS[0] + STARS[-1]) / 2
    mean, variance = moments(np.array([middle - distance, middle + distance]))
    assert mean.sum() == pytest.approx(2 * middle)
    assert variance[0] == pytest.approx(variance[1], abs=1e-9)


@pytest.mark.parametrize(("score", "stars"), [(-50.0, 0.5), (60.0, 5.0)])
def test_a_score_far_outside_leaves_no_doubt(score, stars):
    mean, variance = moments(np.array([score]))
    assert mean[0] == pytest.approx(stars)
    assert variance[0] == pytest.approx(0, abs=1e-9)


def squared_errors(drawn, prediction):
    return (drawn.rating - prediction) ** 2


def test_the_best_predictor_reaches_the_floor(drawn):
    squared = squared_errors(drawn, drawn.best)
    error = squared.std() / np.sqrt(len(squared))
    assert abs(squared.mean() - drawn.floor_rmse**2) < 4 * error


@pytest.mark.parametrize("shift", [-0.5, -0.1, -0.03, 0.03, 0.1, 0.5])
def test_any_constant_shift_of_the_best_predictor_is_worse(drawn, shift):
    best = squared_errors(drawn, drawn.best)
    shifted = squared_errors(drawn, drawn.best + shift)
    difference = shifted - best
    error = difference.std() / np.sqrt(len(difference))
    # In expectation a shift s costs s squared, exactly.
    assert abs(difference.mean() - shift**2) < 4 * error
    assert difference.mean() > 0


@pytest.mark.parametrize("stretch", [0.8, 0.95, 1.05, 1.2])
def test_any_stretch_of_the_best_predictor_is_worse(drawn, stretch):
    middle = drawn.best.mean()
    stretched = middle + stretch * (drawn.best - middle)
    worse = squared_errors(drawn, stretched).mean()
    assert worse > squared_errors(drawn, drawn.best).mean()


def test_simple_predictors_stay_above_the_floor_and_leave_room(drawn):
    global_mean = np.full(len(drawn.rating), drawn.rating.mean())
    counts = np.maximum(np.bincount(drawn.item), 1)
    item_mean = (np.bincount(drawn.item, drawn.rating) / counts)[drawn.item]
    rmse = [
        float(np.sqrt(squared_errors(drawn, prediction).mean()))
        for prediction in (global_mean, item_mean)
    ]
    assert rmse[0] > rmse[1] > drawn.floor_rmse + 0.05


@given(world=worlds)
@settings(max_examples=20, deadline=None)
def test_the_floor_is_near_the_noise_for_any_world(world):
    # Rounding adds 0.5**2 / 12 of variance; clipping takes some away.
    floor = sample(world).floor_rmse
    assert 0.5 < floor < np.sqrt(NOISE**2 + 0.5**2 / 12) + 1e-6


# --- the marginals --------------------------------------------------------------------


@given(world=worlds)
@settings(max_examples=30, deadline=None)
def test_any_world_has_half_stars_whole_ids_and_no_pair_twice(world):
    one = sample(world)
    assert np.isin(one.rating, np.arange(1, 11) / 2).all()
    counts = np.bincount(one.user, minlength=world.users)
    assert len(counts) == world.users
    assert counts.min() >= MIN_RATINGS
    assert counts.max() <= world.items * 4 // 5
    assert one.item.min() >= 0
    assert one.item.max() < world.items
    pairs = one.user.astype(np.int64) * world.items + one.item
    assert len(np.unique(pairs)) == len(pairs)
    assert len(one.titles) == len(one.genres) == world.items
    assert len(one.user) == len(one.item) == len(one.rating) == len(one.time)


def test_users_rate_as_many_items_as_asked_for_on_average(drawn):
    counts = np.bincount(drawn.user)
    assert counts.mean() == pytest.approx(60, rel=0.1)


@pytest.mark.parametrize("each", [20, 40, 100])
def test_more_ratings_asked_for_are_more_ratings(each):
    one = sample(World(users=1000, items=400, ratings_per_user=each, seed=0))
    assert np.bincount(one.user).mean() == pytest.approx(each, rel=0.15)


def test_user_activity_has_a_long_tail(drawn):
    counts = np.bincount(drawn.user)
    assert counts.mean() > 1.1 * np.median(counts)
    assert counts.max() > 5 * np.median(counts)


def test_item_popularity_has_a_long_tail(drawn):
    counts = np.sort(np.bincount(drawn.item, minlength=800))[::-1]
    tenth = len(counts) // 10
    # With equal popularity a tenth of the items would hold a tenth of the ratings.
    assert counts[:tenth].sum() > 2 * 0.1 * counts.sum()
    assert counts[-tenth:].sum() < 0.1 * counts.sum() / 2


def test_ratings_use_the_whole_scale_and_centre_near_movielens(drawn):
    assert set(np.unique(drawn.rating)) == set(STARS)
    assert drawn.rating.mean() == pytest.approx(3.4, abs=0.25)
    assert 0.9 < drawn.rating.std() < 1.3


def test_most_ratings_of_a_user_come_in_one_session(drawn):
    joined = np.full(drawn.user.max() + 1, np.iinfo(np.int64).max)
    np.minimum.at(joined, drawn.user, drawn.time)
    after = drawn.time - joined[drawn.user]
    day = 24 * 3600
    assert 0.8 < (after < day).mean() < 0.97
    assert (after > 30 * day).any()
    assert drawn.time.dtype.kind == "i"
    assert drawn.time.min() > 0


def test_few_users_write_tags_and_only_on_what_they_rated(drawn):
    rated = set(zip(drawn.user.tolist(), drawn.item.tolist(), strict=True))
    assert all(pair in rated for pair in zip(*map(list, drawn.tags[:2]), strict=True))
    taggers = set(drawn.tags.user.tolist())
    assert 0.05 < len(taggers) / 1500 < 0.15
    words = set(drawn.tags.text)
    assert words <= {word for pair in synthetic.WORDS for word in pair}
    assert len(words) > 4


def test_an_item_is_always_tagged_with_the_same_word(drawn):
    # The word names the direction of the item's vector, not the user's mood.
    words = {}
    for item, word in zip(drawn.tags.item, drawn.tags.text, strict=True):
        assert words.setdefault(item, word) == word
    assert len(set(words.values())) > 4


def test_movies_have_one_to_three_genres_of_movielens(drawn):
    counts = [len(text.split("|")) for text in drawn.genres]
    assert set(counts) == {1, 2, 3}
    used = {name for text in drawn.genres for name in text.split("|")}
    assert used <= set(synthetic.GENRES)
    assert len(used) > 10


def explained_by_user_and_genre(drawn, genres):
    """Share of the variance of `best` beyond users and items, by (user, genre)."""
    rest = drawn.best - drawn.best.mean()
    for key in (drawn.user, drawn.item):
        rest = rest - (np.bincount(key, rest) / np.maximum(np.bincount(key), 1))[key]
    group = np.unique(genres, return_inverse=True)[1][drawn.item]
    _, cell = np.unique(drawn.user * 1000 + group, return_inverse=True)
    total = np.bincount(cell, rest)
    return (total**2 / np.bincount(cell)).sum() / (rest**2).sum()


def test_genres_tell_what_a_user_likes(drawn):
    genres = np.array(drawn.genres)
    shuffled = np.random.default_rng(0).permutation(genres)
    told = explained_by_user_and_genre(drawn, genres)
    assert told > explained_by_user_and_genre(drawn, shuffled) + 0.1


def test_a_world_drawn_in_several_pieces_keeps_its_promises():
    # More than 2**22 cells a piece: the second piece must continue the first.
    world = World(users=3000, items=2900, ratings_per_user=20, seed=0)
    assert world.users * world.items // 2**22 >= 2, "not drawn in pieces"
    one = sample(world)
    counts = np.bincount(one.user, minlength=world.users)
    assert (counts == 20).all(), "20 is the least and the mean, so it is each user's"
    pairs = one.user.astype(np.int64) * world.items + one.item
    assert len(np.unique(pairs)) == len(pairs)
    halves = [np.bincount(one.item[one.user < 1500], minlength=2900)]
    halves.append(np.bincount(one.item[one.user >= 1500], minlength=2900))
    assert np.corrcoef(halves)[0, 1] > 0.5, "the pieces have other popular items"


# --- exact counts and large worlds ----------------------------------------------------

EXACT = World(users=60, items=90, ratings=1_777, tags=333, seed=1)


@given(
    share=st.floats(0, 1),
    tags=st.integers(0, 50),
    items=st.integers(120, 150),
    seed=st.integers(0, 99),
)
@settings(max_examples=30, deadline=None)
def test_exactly_as_many_ratings_and_tags_as_asked_for(share, tags, items, seed):
    ratings = 20 * MIN_RATINGS + int(share * 20 * (items // 2 - MIN_RATINGS))
    one = sample(World(users=20, items=items, ratings=ratings, tags=tags, seed=seed))
    assert len(one.user) == len(one.rating) == len(one.best) == ratings
    assert np.bincount(one.user, minlength=20).min() >= MIN_RATINGS
    pairs = one.user.astype(np.int64) * items + one.item
    assert len(np.unique(pairs)) == ratings
    if tags:
        assert len(one.tags.user) == tags


def test_an_exact_world_is_the_same_again_and_sealed(tmp_path):
    floors = [synthetic.write(EXACT, tmp_path / name) for name in ("a", "b")]
    assert files_of(tmp_path / "a") == files_of(tmp_path / "b")
    assert floors[0] == floors[1]
    (tmp_path / "a" / "tags.csv").write_text("left as it is")
    synthetic.write(EXACT, tmp_path / "a")
    assert (tmp_path / "a" / "tags.csv").read_text() == "left as it is"
    synthetic.write(dataclasses.replace(EXACT, tags=334), tmp_path / "a")
    assert files_of(tmp_path / "a")["tags.csv"].count(b"\n") == 335


def test_the_best_predictor_reaches_the_floor_of_an_exact_world():
    one = sample(World(users=1_000, items=800, ratings=60_000, tags=1))
    squared = squared_errors(one, one.best)
    error = squared.std() / np.sqrt(len(squared))
    assert abs(squared.mean() - one.floor_rmse**2) < 4 * error


def test_moments_by_blocks_change_nothing(monkeypatch):
    whole = sample(SMALL)
    monkeypatch.setattr(synthetic, "BLOCK", 100)
    blocks = sample(SMALL)
    np.testing.assert_array_equal(blocks.rating, whole.rating)
    np.testing.assert_allclose(blocks.best, whole.best, rtol=1e-12)
    assert blocks.floor_rmse == pytest.approx(whole.floor_rmse, rel=1e-12)


def test_a_large_world_is_drawn_without_a_dense_matrix(monkeypatch):
    def dense(rng, world):
        raise AssertionError("drawn from a users x items matrix")

    monkeypatch.setattr(synthetic, "_pairs", dense)
    monkeypatch.setattr(synthetic, "DENSE_CELLS", SMALL.users * SMALL.items - 1)
    one = sample(SMALL)
    assert len(one.user) == SMALL.users * SMALL.ratings_per_user
    monkeypatch.setattr(synthetic, "DENSE_CELLS", SMALL.users * SMALL.items)
    with pytest.raises(AssertionError, match="users x items matrix"):
        sample(SMALL)  # the control


# The default world's content is published: README, quickstart.flags and their figures.
DEFAULT_SHA256 = {
    "ratings.csv": "b540386356b2",
    "movies.csv": "a004d21aeecd",
    "tags.csv": "b2e0f943ed8f",
}


def test_the_default_world_is_the_published_one(tmp_path):
    synthetic.write(World(), tmp_path / "w")
    for name, wanted in DEFAULT_SHA256.items():
        content = (tmp_path / "w" / name).read_bytes()
        assert hashlib.sha256(content).hexdigest()[:12] == wanted, name


@pytest.mark.parametrize(
    ("world", "words"),
    [
        (World(users=20, items=90, ratings=399), ["--synthetic_ratings=399", "400"]),
        (World(users=20, items=90, ratings=901), ["--synthetic_ratings=901", "900"]),
        (
            World(users=20, items=90, ratings=500, ratings_per_user=30),
            ["--synthetic_ratings_per_user=30", "--synthetic_ratings=500", "leave"],
        ),
    ],
)
def test_exact_counts_that_contradict_are_one_sentence(tmp_path, world, words):
    with pytest.raises(ConfigError) as caught:
        synthetic.write(world, tmp_path / "w")
    message = str(caught.value)
    assert all(word in message for word in words)
    assert message.isprintable()
    assert list(tmp_path.iterdir()) == []


# --- read back, and by what name ------------------------------------------------------


def test_the_reader_reads_exactly_what_was_drawn(tmp_path):
    one = sample(SMALL)
    synthetic.write(SMALL, tmp_path / "w")
    ratings, movies, tags, notes = reading.read(tmp_path / "w")
    np.testing.assert_array_equal(ratings["userId"], one.user + 1)
    np.testing.assert_array_equal(ratings["movieId"], one.item + 1)
    np.testing.assert_array_equal(ratings["rating"], one.rating)
    np.testing.assert_array_equal(ratings["timestamp"], one.time)
    assert movies["title"].tolist() == one.titles
    assert movies["genres"].tolist() == one.genres
    written = [
        (user + 1, item + 1, word, time)
        for user, item, word, time in zip(*one.tags, strict=True)
    ]
    assert list(tags.itertuples(index=False, name=None)) == written
    assert notes == ()


@pytest.mark.parametrize("seed", range(8))
def test_a_world_without_a_tagger_is_prepared_too(seed):
    # Ten users of whom each writes tags with chance 0.1: in every third world nobody.
    config = DataConfig(
        synthetic_users=10,
        synthetic_items=50,
        synthetic_ratings_per_user=20,
        synthetic_seed=seed,
        min_item_ratings=1,
        cache_dir="",
    )
    assert prepare(config).num_users == 10


def test_titles_exercise_the_quoting_of_the_format(tmp_path):
    synthetic.write(SMALL, tmp_path / "w")
    assert all("," in title for title in sample(SMALL).titles)
    assert b'"' in (tmp_path / "w" / "movies.csv").read_bytes()


def test_every_trace_of_the_world_says_synthetic(tmp_path):
    dataset = prepare(
        DataConfig(
            synthetic_users=SMALL.users,
            synthetic_items=SMALL.items,
            synthetic_ratings_per_user=SMALL.ratings_per_user,
            cache_dir=str(tmp_path),
        )
    )
    assert dataset.synthetic
    assert dataset.name == "synthetic"
    assert "synthetic" in dataset.label
    assert "not real" in dataset.label
    assert all("Synthetic" in title for title in dataset.titles)
    assert all("synthetic" in path.name for path in tmp_path.iterdir())
    (folder,) = (path for path in tmp_path.iterdir() if path.is_dir())
    readme = (folder / "README.txt").read_text()
    assert "synthetic" in readme
    assert "Nobody rated anything" in readme


def test_the_prepared_world_carries_its_floor():
    world = World(users=40, items=60, ratings_per_user=25, seed=7)
    config = DataConfig(
        synthetic_users=40,
        synthetic_items=60,
        synthetic_ratings_per_user=25,
        synthetic_seed=7,
        cache_dir="",
    )
    assert prepare(config).floor_rmse == sample(world).floor_rmse


# --- what is refused ------------------------------------------------------------------


@pytest.mark.parametrize(("items", "each"), [(50, 26), (100, 51), (101, 51)])
def test_users_cannot_rate_more_than_half_of_the_items(tmp_path, items, each):
    world = World(users=20, items=items, ratings_per_user=each)
    for attempt in (lambda: sample(world), lambda: synthetic.write(world, tmp_path)):
        with pytest.raises(ConfigError) as caught:
            attempt()
        message = str(caught.value)
        assert f"--synthetic_ratings_per_user={each}" in message
        assert f"--synthetic_items={items}" in message
        assert message.isprintable()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("items", "each"), [(50, 25), (100, 50), (101, 50)])
def test_half_of_the_items_is_allowed(items, each):
    one = sample(World(users=20, items=items, ratings_per_user=each))
    assert np.bincount(one.user).min() >= MIN_RATINGS


def test_the_contradiction_reaches_whoever_prepares():
    config = DataConfig(synthetic_items=50, synthetic_ratings_per_user=40, cache_dir="")
    with pytest.raises(ConfigError, match="--synthetic_ratings_per_user=40"):
        prepare(config)


@pytest.mark.parametrize("below", ["w", "deeper/w"])
def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path, below):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError) as caught:
        synthetic.write(SMALL, tmp_path / "file" / below)
    message = str(caught.value)
    assert message.isprintable()
    assert "--cache_dir" in message
    assert (tmp_path / "file").read_text() == "in the way"


def test_a_file_in_place_of_the_folder_is_kept_and_nothing_is_left(tmp_path):
    (tmp_path / "w").write_text("in the way")
    with pytest.raises(DataError, match="could not be written"):
        synthetic.write(SMALL, tmp_path / "w")
    assert (tmp_path / "w").read_text() == "in the way"
    assert [path.name for path in tmp_path.iterdir()] == ["w"], "scratch was left"
