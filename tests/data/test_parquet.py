"""Parquet files: their columns, or the first row that is not as it must be."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ncf_jax.data import parquet
from ncf_jax.data.tables import ANY_RATING, ANY_TEXT, ID, MAX_ID, TEXT, TIME
from ncf_jax.errors import DataError


@pytest.fixture
def path(tmp_path):
    return tmp_path / "some.parquet"


def write(path, **columns):
    pq.write_table(pa.table(columns), path)


def refused(path, **columns):
    with pytest.raises(DataError) as caught:
        parquet.read_table(path, columns)
    message = str(caught.value)
    assert message.isprintable()
    return message.removeprefix(str(path)).lstrip(":, ")


def test_names_and_columns_are_those_of_the_file(path):
    write(path, a=[1, 2], b=["x", "y"], c=[1.5, 2.0], d=[0, 9])
    assert parquet.names_of(path) == ["a", "b", "c", "d"]
    table = parquet.read_table(path, {"c": ANY_RATING, "a": ID, "b": TEXT})
    assert table.to_dict("list") == {"c": [1.5, 2.0], "a": [1, 2], "b": ["x", "y"]}


@pytest.mark.parametrize(
    "kind", [pa.int8(), pa.int64(), pa.uint64(), pa.float32(), pa.float64()]
)
def test_whole_numbers_of_any_type_are_ids(path, kind):
    write(path, a=pa.array([1, 2], kind))
    table = parquet.read_table(path, {"a": ID})
    assert (table["a"].tolist(), table["a"].dtype) == ([1, 2], np.int64)


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.int32()])
def test_text_may_be_text_or_whole_numbers(path, kind):
    write(path, a=pa.array(["1", "2"]).cast(kind))
    table = parquet.read_table(path, {"a": TEXT})
    assert table["a"].astype(str).tolist() == ["1", "2"]


def test_dictionaries_are_what_they_stand_for(path):
    write(path, a=pa.array(["x", "y", "x"]).dictionary_encode())
    assert parquet.read_table(path, {"a": TEXT})["a"].tolist() == ["x", "y", "x"]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC"])
def test_timestamps_are_seconds(path, unit, zone):
    stamps = pd.to_datetime([5, 10**9], unit="s", utc=True)
    write(path, t=pa.array(stamps.as_unit(unit), pa.timestamp(unit, zone)))
    assert parquet.read_table(path, {"t": TIME})["t"].tolist() == [5, 10**9]


def test_missing_text_is_empty_where_it_may_be(path):
    write(path, a=pa.array(["x", None]))
    assert parquet.read_table(path, {"a": ANY_TEXT})["a"].tolist() == ["x", ""]
    said = refused(path, a=TEXT)
    assert said == "row 2, column a: expected text that is not empty; found 'nothing'."


@pytest.mark.parametrize(
    ("values", "column", "said"),
    [
        ([1, -1], ID, "row 2, column a: expected a whole number from 0 to"),
        ([1.0, 1.5], ID, "row 2, column a: expected a whole number"),
        ([1.0, float("nan")], ID, "row 2, column a: expected a whole number"),
        ([0, 2**53 + 1], ID, "row 2, column a: expected a whole number"),
        ([1, None], ID, "row 2, column a: expected a whole number"),
        (["1", "2"], ID, "row 1, column a: expected a whole number from 0 to"),
        ([5.0, 5.01], ANY_RATING, "row 2, column a: expected a number from 0.5 to 5"),
        ([5, 6], ANY_RATING, "row 2, column a: expected a number from 0.5 to 5"),
        ([True, False], ANY_RATING, "row 1, column a: expected a number"),
        (["x", " "], TEXT, "row 2, column a: expected text that is not empty"),
        ([0.5, 1.5], TEXT, "row 1, column a: expected text that is not empty; found v"),
        ([[1], [2]], TEXT, "row 1, column a: expected text"),
    ],
)
def test_what_is_not_of_its_form_is_named_by_row(path, values, column, said):
    write(path, a=values)
    assert refused(path, a=column).startswith(said)


def test_a_missing_column_is_named_with_those_there_are(path):
    write(path, a=[1], b=[2])
    assert (
        refused(path, a=ID, c=ID) == "column c is missing. Expected a, c; found a, b."
    )


def test_a_file_without_rows_is_named(path):
    write(path, a=pa.array([], pa.int64()))
    assert refused(path, a=ID) == "has no rows."


@pytest.mark.parametrize("damage", ["text", "cut", "empty"])
def test_what_is_no_parquet_file_is_one_sentence(path, damage):
    write(path, a=list(range(1000)))
    raw = path.read_bytes()
    path.write_bytes({"text": b"a,b\n1,2\n", "cut": raw[:-9], "empty": b""}[damage])
    assert refused(path, a=ID).startswith("cannot be read as a Parquet file (")


def test_a_damaged_page_is_one_sentence(path):
    write(path, a=[f"text {n}" for n in range(5000)])
    raw = bytearray(path.read_bytes())
    raw[4:200] = b"\xff" * 196
    path.write_bytes(bytes(raw))
    assert refused(path, a=TEXT).startswith("cannot be read as a Parquet file (")


def test_numbers_of_sixteen_bits_are_compared_without_overflow(path):
    write(path, a=pa.array([np.float16(x) for x in (1.0, 5.0)], pa.float16()))
    assert parquet.read_table(path, {"a": ANY_RATING})["a"].tolist() == [1.0, 5.0]
    assert parquet.read_table(path, {"a": TIME})["a"].tolist() == [1, 5]
    write(path, a=pa.array([np.float16(1.0), np.float16("inf")], pa.float16()))
    assert refused(path, a=TIME).startswith("row 2, column a: expected whole seconds")


def test_a_name_that_is_no_text_is_one_sentence(path):
    write(path, abcd=[1])
    path.write_bytes(path.read_bytes().replace(b"abcd", b"abc\xd1"))
    assert refused(path, abcd=ID).startswith("cannot be read as a Parquet file (")


def test_a_column_that_is_there_twice_is_refused(path):
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
    pq.write_table(table, path)
    assert refused(path, a=ID) == "has 2 columns a. Keep one."


def test_times_of_any_unit_are_no_later_than_seconds_may_be(path):
    for value, fine in ((MAX_ID, True), (MAX_ID + 1, False), (-1, False)):
        write(path, a=pa.array([value * 1000], pa.timestamp("ms")))
        if fine:
            assert parquet.read_table(path, {"a": TIME})["a"].tolist() == [value]
        else:
            assert refused(path, a=TIME).startswith("row 1, column a: expected whole")
