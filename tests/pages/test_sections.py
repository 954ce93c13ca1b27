"""The sections on where a model errs.

Held here: groups are formed by train ratings, genres and years as a loop forms them;
the sentences say what the figures are; nothing of the test rows counts as activity.
"""

import dataclasses

import numpy as np
import pytest

from ncf_jax.pages import sections
from tests.pages import worlds


@pytest.fixture(scope="module")
def world():
    dataset = worlds.make_dataset()
    split = worlds.make_split(dataset)
    return dataset, split, worlds.make_predictions(dataset, split, seeds=2)["test"]


def by_name(found):
    return {section.name: section for section in found}


@pytest.fixture(scope="module")
def errors(world):
    dataset, split, prediction = world
    return by_name(sections.errors(prediction, dataset, split, split.test))


def test_groups_are_those_that_a_loop_forms(world, errors):
    dataset, split, prediction = world
    wanted = {name: {} for name in ("activity", "popularity", "genres", "decades")}
    train_user = [dataset.user[row] for row in split.train]
    train_item = [dataset.item[row] for row in split.train]
    for n, row in enumerate(split.test):
        item = dataset.item[row]
        error = prediction[:, n].astype(float) - dataset.rating[row]
        title = dataset.titles[item]
        keys = {
            "activity": [train_user.count(dataset.user[row])],
            "popularity": [train_item.count(item)],
            "genres": dataset.genres[item].split("|"),
            "decades": [f"{title[-5:-2]}0s" if title.endswith(")") else "no year"],
        }
        for name, groups in keys.items():
            for group in groups:
                wanted[name].setdefault(group, []).append(error)

    def in_band(count, label):
        low, _, high = label.partition("–")
        if label.endswith("+"):
            return count >= int(label[:-1])
        return int(low) <= count <= int(high or low)

    for name, section in errors.items():
        found = section.groups
        for n, label in enumerate(found.labels):
            rows = [
                error
                for key, errors_ in wanted[name].items()
                for error in errors_
                if (in_band(key, label) if isinstance(key, int) else key == label)
            ]
            assert found.rows[n] == len(rows), (name, label)
            each = np.sqrt(np.mean(np.square(rows), axis=0))
            assert found.rmse[n] == pytest.approx(each.mean(), rel=1e-6)
            assert found.bias[n] == pytest.approx(np.mean(rows), abs=1e-6)
        assert {len(section.groups.labels)} != {0}
    for name in ("activity", "popularity", "decades"):
        assert errors[name].groups.rows.sum() == len(split.test)


def test_genres_are_sorted_by_their_rows(errors):
    rows = errors["genres"].groups.rows
    assert (np.diff(rows) <= 0).all()


def test_decades_are_in_order_of_time(errors):
    labels = errors["decades"].groups.labels
    assert labels[-1] == "no year"
    assert list(labels[:-1]) == sorted(labels[:-1])


@pytest.mark.parametrize(
    ("count", "said"),
    [
        ([9, 7], "No test row is of items with fewer than 5 train ratings."),
        ([0, 4, 9, 9], "2 test rows (50.0 %) are of items with fewer than 5 train "
         "ratings, 1 of them without any."),
        ([4] + [9] * 3999, "1 test rows (under 0.1 %)"),
        ([1, 9], "none of them without any"),
    ],
)  # fmt: skip
def test_cold_rows_are_counted(count, said):
    assert said in sections._cold("items", np.array(count))


def test_only_the_largest_of_many_groups_are_drawn(world):
    dataset, split, prediction = world
    years = [f"Movie ({1000 + 37 * n})" for n in range(dataset.num_items)]
    many = worlds.make_dataset(titles=years)
    few, sections.MOST = sections.MOST, 5
    try:
        found = by_name(sections.errors(prediction, many, split, split.test))["decades"]
    finally:
        sections.MOST = few
    assert len(found.groups.labels) > 5
    assert "The 5 largest groups are drawn" in found.text
    drawn = [label for label in found.groups.labels if f">{label}<" in found.svg]
    assert len(drawn) == 5
    assert drawn == sorted(drawn), "the largest, still in order of time"


class TestQuality:
    def test_the_sentences_say_what_the_figures_are(self, world):
        dataset, split, _ = world
        truth = dataset.rating[split.test]
        exact = np.stack([truth, truth]).astype(float)
        found = by_name(sections.quality(exact + 0.25, dataset, split.test))
        assert "rises by 1.00 stars" in found["calibration"].text
        assert "about as far as they should be" in found["calibration"].text
        assert "100 % of the test rows" in found["residuals"].text
        assert "0.25 stars too high" in found["residuals"].text
        low = by_name(sections.quality(exact - 1, dataset, split.test))
        assert "1.00 stars too low" in low["residuals"].text
        assert low["residuals"].text.startswith("0 %")

    @pytest.mark.parametrize(
        ("stretch", "said"), [(2.0, "too far apart"), (0.5, "too close together")]
    )
    def test_too_wide_and_too_narrow_predictions_are_told_apart(
        self, world, stretch, said
    ):
        dataset, split, _ = world
        truth = dataset.rating[split.test].astype(float)
        prediction = 3 + stretch * (truth - 3)
        found = by_name(sections.quality(prediction[None], dataset, split.test))
        assert said in found["calibration"].text
        assert f"by {1 / stretch:.2f} stars" in found["calibration"].text

    def test_a_constant_model_is_said_to_be_one(self, world):
        dataset, split, _ = world
        constant = np.full((1, len(split.test)), 3.5)
        found = by_name(sections.quality(constant, dataset, split.test))
        assert found["calibration"].text == "All predictions are the same."

    def test_true_ratings_are_grouped_each_by_itself(self, world):
        dataset, split, prediction = world
        found = by_name(sections.quality(prediction, dataset, split.test))
        groups = found["true-rating"].groups
        truth = dataset.rating[split.test]
        assert groups.labels == tuple(f"{value:g}" for value in np.unique(truth))
        assert groups.rows.tolist() == [(truth == v).sum() for v in np.unique(truth)]


class TestAtlas:
    def make(self, vectors, seeds=1):
        dataset = worlds.make_dataset(items=40)
        split = worlds.make_split(dataset)
        return dataset, sections.atlas(vectors(dataset), dataset, split, seeds)

    def test_the_caption_says_what_is_seen_and_what_is_not(self):
        rng = np.random.default_rng(0)
        _, found = self.make(lambda d: rng.standard_normal((d.num_items, 8)), seeds=3)
        assert "all items, 8 dimensions, of the first seed" in found.caption
        assert "next to nothing about genres" in found.caption

    def test_vectors_made_of_genres_are_said_to_hold_them(self):
        rng = np.random.default_rng(0)

        def vectors(dataset):
            genres = np.asarray(dataset.features.genres)
            return genres + 0.01 * rng.standard_normal(genres.shape)

        _, found = self.make(vectors)
        assert "a good deal about genres" in found.caption
        assert "seed" not in found.caption

    def test_to_have_no_genre_is_nothing_in_common(self):
        rng = np.random.default_rng(0)
        _, found = self.make(lambda d: rng.standard_normal((d.num_items, 8)))
        assert "(no genres listed)" not in [each.name for each in found.key]

    def test_vectors_that_are_all_the_same_make_no_map(self):
        assert self.make(lambda d: np.ones((d.num_items, 3)))[1] is None


def test_where_no_genre_is_known_of_any_movie_there_is_no_such_section(world, errors):
    dataset, split, prediction = world
    none = dataset.features.replace(genres=np.zeros_like(dataset.features.genres))
    without = dataclasses.replace(dataset, features=none)
    found = by_name(sections.errors(prediction, without, split, split.test))
    assert list(found) == [name for name in errors if name != "genres"]
    assert "genres" in errors
