"""Writing worlds: the fast writer's bytes are those of pandas.

Held here: rows of ratings are what `to_csv` writes, whatever the sizes of the numbers
and the block; a whole world in several blocks is the same file.
"""

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from ncf_jax.data import worldfiles
from ncf_jax.data.synthetic import World, sample
from ncf_jax.data.worldfiles import rating_lines, write_tables

numbers = st.integers(0, 9) | st.integers(0, 10**6) | st.integers(0, 2**53)
rows = st.tuples(numbers, numbers, st.integers(1, 10).map(lambda x: x / 2), numbers)


def by_pandas(user, item, rating, time):
    table = pd.DataFrame({"a": user, "b": item, "c": rating, "d": time})
    return table.to_csv(index=False, header=False, lineterminator="\n").encode()


@given(rows=st.lists(rows, min_size=1, max_size=20))
@settings(max_examples=150, deadline=None)
def test_lines_are_those_of_pandas(rows):
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    assert rating_lines(*columns) == by_pandas(*columns)


def test_no_rows_are_no_lines():
    none = np.zeros(0, np.int64)
    assert rating_lines(none, none, none.astype(float), none) == b""


def test_a_world_in_several_blocks_is_the_same_file(tmp_path, monkeypatch):
    drawn = sample(World(users=30, items=60, ratings_per_user=25))
    for name, block in (("one", 10**6), ("many", 7)):
        monkeypatch.setattr(worldfiles, "BLOCK", block)
        (tmp_path / name).mkdir()
        write_tables(drawn, tmp_path / name)
    one = (tmp_path / "one" / "ratings.csv").read_bytes()
    assert (tmp_path / "many" / "ratings.csv").read_bytes() == one
    lines = by_pandas(drawn.user + 1, drawn.item + 1, drawn.rating, drawn.time)
    assert one == b"userId,movieId,rating,timestamp\n" + lines
