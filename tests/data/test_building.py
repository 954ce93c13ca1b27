"""Tables become a data set, whoever read them.

The counts, indices, filters and fingerprints of releases are held in `test_prepare`;
here: what a source says of itself, and features that nothing is known of.
"""

import numpy as np
import pandas as pd
import pytest

from ncf_jax.config import DataConfig
from ncf_jax.data import building
from ncf_jax.data.tables import NO_GENRES, Tables, no_tags
from ncf_jax.errors import DataError

ALL = DataConfig(min_item_ratings=1, min_user_ratings=1)
RATINGS = pd.DataFrame(
    {
        "userId": [9, 9, 5],
        "movieId": [30, 10, 10],
        "rating": [4.25, 0.5, 5.0],
        "timestamp": [3, 2, 1],
    }
)


def tables_of(genres, tags=None, notes=("of the reader",)):
    movies = pd.DataFrame(
        {"movieId": [10, 20, 30], "title": ["Heat (1995)", "Up", "X"], "genres": genres}
    )
    return Tables(RATINGS, movies, no_tags() if tags is None else tags, notes)


def built(tables, config=ALL, **more):
    about = dict(name="n", label=lambda ratings: f"{ratings} read", source="here")
    return building.build(tables, config, **about | more)


def test_a_data_set_has_what_the_tables_have():
    dataset = built(tables_of(["Crime", "Drama", "Crime|War"]))
    assert dataset.user_ids[dataset.user].tolist() == [9, 9, 5]
    assert dataset.item_ids[dataset.item].tolist() == [30, 10, 10]
    assert dataset.rating.tolist() == [4.25, 0.5, 5.0]
    assert dataset.time.tolist() == [3, 2, 1]
    assert dataset.titles == ("X", "Heat (1995)")
    assert dataset.features.year.tolist() == [0, 1995]
    assert dataset.genre_names == ("Crime", "Drama", "War")
    assert dataset.features.genres.tolist() == [[1, 0, 1], [1, 0, 0]]


def test_label_and_notes_say_what_was_read_and_what_is_to_be_added():
    dataset = built(tables_of(["A", "B", "C"]), notes=("of the release",))
    assert dataset.label == "3 read"
    assert dataset.notes == (
        "read 3 ratings of 2 movies by 2 users",
        "of the reader",
        "of the release",
    )
    assert dataset.floor_rmse is None
    assert built(tables_of(["A", "B", "C"]), floor_rmse=0.5).floor_rmse == 0.5


def test_genres_of_which_nothing_is_known_are_zeros():
    dataset = built(tables_of([NO_GENRES] * 3))
    assert dataset.features.genres.shape == (2, 1)
    assert not dataset.features.genres.any()
    # The control: as soon as one has a genre, to have none is something to be known.
    dataset = built(tables_of([NO_GENRES, "War", NO_GENRES]))
    assert dataset.features.genres.tolist() == [[1, 0], [1, 0]]


def test_tags_have_the_same_width_with_and_without():
    tags = pd.DataFrame(
        {"userId": 1, "movieId": [10, 30], "tag": ["odd one", "b"], "timestamp": 1}
    )
    some, none = built(tables_of(["A"] * 3, tags)), built(tables_of(["A"] * 3))
    assert some.features.tags.shape == none.features.tags.shape == (2, 32)
    assert np.asarray(some.features.tags).any()
    assert not np.asarray(none.features.tags).any()
    assert some.fingerprint != none.fingerprint


def test_filters_that_leave_nothing_name_the_source():
    with pytest.raises(DataError, match="No rating in here is left by --min_item_rat"):
        built(tables_of(["A"] * 3), DataConfig(min_item_ratings=99))


def test_progress_is_told():
    told = []
    built(tables_of(["A"] * 3), tell=told.append)
    assert [word for word in ("features", "filtered", "fingerprinted")] == [
        word
        for word in ("features", "filtered", "fingerprinted")
        if any(word in line for line in told)
    ]
