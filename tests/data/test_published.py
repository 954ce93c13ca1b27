"""The splits ml-100k was published with: their very rows, or an error with its line.

Held here: test is `<name>.test` and training `<name>.base`, in whatever order those
files are; validation is empty; the two must be u.data's rows, each once, with their
stars and times, and what is not is named by file and line; a missing file says where
it can be had; the flags that would leave rows out are refused before any work.
"""

import numpy as np
import pytest

from ncf_jax import prepare, split
from ncf_jax.config import DataConfig
from ncf_jax.config_data import PUBLISHED_SPLITS
from ncf_jax.data.splits import LIMITS, limits
from ncf_jax.errors import ConfigError, DataError
from tests.data.older import DATA_100K, write

ROWS = DATA_100K.splitlines(keepends=True)
BASE, TEST = ROWS[:1] + ROWS[2:4], [ROWS[4], ROWS[1]]  # in an order of their own


def config_of(folder, **options):
    defaults = dict(
        dataset="ml-100k",
        data_dir=str(folder),
        cache_dir="",
        min_item_ratings=1,
        min_user_ratings=1,
        split="u1",
    )
    return DataConfig(**defaults | options)


def published(folder, name="u1", base=BASE, test=TEST):
    files = {f"{name}_base": "".join(base), f"{name}_test": "".join(test)}
    write(folder / "ml-100k", "ml-100k", **files)
    return config_of(folder, split=name)


def split_of(config):
    return split(prepare(config), config)


@pytest.mark.parametrize("name", PUBLISHED_SPLITS)
def test_each_split_has_the_rows_of_its_files(tmp_path, name):
    found = split_of(published(tmp_path, name))
    assert found.train.tolist() == [0, 2, 3]
    assert found.test.tolist() == [1, 4]
    assert found.valid.tolist() == []
    assert found.definition.startswith(f"{name}: as published with ml-100k")
    assert "no validation rows" in found.definition
    assert limits(found) == LIMITS[name]


def test_the_fingerprint_is_that_of_the_rows_and_can_be_wanted(tmp_path):
    config = published(tmp_path / "a")
    found = split_of(config).fingerprint
    again = published(tmp_path / "b", base=BASE[::-1], test=TEST[::-1])
    assert split_of(again).fingerprint == found
    other = published(tmp_path / "c", base=[*BASE, TEST[0]], test=TEST[1:])
    assert split_of(other).fingerprint != found
    wanted = config_of(tmp_path / "c", split_fingerprint=found)
    with pytest.raises(DataError, match=f"--split_fingerprint={found} is wanted"):
        split_of(wanted)


@pytest.mark.parametrize("end", ["\r\n", "\n\n"], ids=["crlf", "blank lines"])
def test_line_ends_change_nothing(tmp_path, end):
    base, test = ([x.replace("\n", end) for x in rows] for rows in (BASE, TEST))
    assert split_of(published(tmp_path, base=base, test=test)).test.tolist() == [1, 4]


def changed(row, column, value):
    fields = row.rstrip("\n").split("\t")
    fields[column] = value
    return "\t".join(fields) + "\n"


@pytest.mark.parametrize(
    ("base", "test", "said"),
    [
        (
            BASE,
            TEST[:1],
            "u.data, line 2: userId 1, movieId 30 is neither in u1.base nor in u1.test",
        ),
        (
            BASE[1:],
            TEST,
            "u.data, line 1: userId 1, movieId 10 is neither in u1.base nor in u1.test",
        ),
        (
            BASE,
            [*TEST, BASE[0]],
            "u1.test, line 3: userId 1, movieId 10, rating 5 stands in u1.base, too",
        ),
        (
            [*BASE, BASE[1]],
            TEST,
            "u1.base, line 4: userId 2, movieId 10, rating 4 stands in an earlier",
        ),
        (
            BASE,
            [TEST[0], changed(TEST[1], 2, "4")],
            "u1.test, line 2: userId 1, movieId 30, rating 4 is no row of u.data",
        ),
        (
            BASE,
            [TEST[0], changed(TEST[1], 3, "7")],
            "u1.test, line 2: userId 1, movieId 30, rating 3 is no row of u.data",
        ),
        (
            [changed(BASE[0], 0, "99"), *BASE[1:]],
            TEST,
            "u1.base, line 1: userId 99, movieId 10, rating 5 is no row of u.data",
        ),
        (
            BASE,
            ["\n", "1,30,3,5\n"],
            "u1.test, line 2: expected 4 fields between tabs",
        ),
        (BASE, [], "u1.test is empty"),
    ],
)
def test_what_is_no_partition_is_named_with_file_and_line(tmp_path, base, test, said):
    with pytest.raises(DataError) as caught:
        split_of(published(tmp_path, base=base, test=test))
    message = str(caught.value)
    assert message.isprintable()
    assert said in message


def test_missing_files_say_where_they_can_be_had(tmp_path):
    write(tmp_path / "ml-100k", "ml-100k")
    with pytest.raises(DataError) as caught:
        split_of(config_of(tmp_path))
    message = str(caught.value)
    assert "lacks u1.base, u1.test, which --split=u1 reads" in message
    assert "https://files.grouplens.org/datasets/movielens/ml-100k.zip" in message
    # The control: another split needs none of them.
    other = split_of(config_of(tmp_path, split="user_random"))
    assert len(other.train) + len(other.valid) + len(other.test) == len(ROWS)


def test_a_cached_data_set_has_the_same_split(tmp_path):
    published(tmp_path)
    config = config_of(tmp_path, cache_dir=str(tmp_path / "cache"))
    first, again = split_of(config), split_of(config)
    np.testing.assert_array_equal(first.test, again.test)
    assert first.fingerprint == again.fingerprint


@pytest.mark.parametrize(
    "options",
    [
        {"dataset": "ml-1m"},
        {"dataset": "synthetic"},
        {"dataset": "./ratings.csv"},
        {"min_item_ratings": 10},
        {"min_user_ratings": 3},
    ],
)
def test_other_data_or_filters_are_refused_before_any_work(tmp_path, options):
    with pytest.raises(ConfigError) as caught:
        config_of(tmp_path / "nowhere", **options)
    assert "--split=u1 is " in str(caught.value)
    assert "ml-100k" in str(caught.value)
    (name,) = options
    assert name == "dataset" or f"--{name}=1" in str(caught.value)
