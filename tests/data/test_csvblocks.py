"""A ratings file by blocks: the rows of the whole, and its first bad line."""

import numpy as np
import pandas as pd
import pytest

from ncf_jax.data import columnar, csvblocks, csvfile
from ncf_jax.data.csvblocks import blocks
from ncf_jax.data.tables import RATINGS
from ncf_jax.errors import DataError

HEADER = "userId,movieId,rating,timestamp\n"


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(columnar, "BLOCK", 200)
    monkeypatch.setattr(csvblocks, "ROWS", 7)


def lines(n, start=0):
    numbers = range(start, start + n)
    return [f"{i // 3 + 1},{i % 3 + 5},{(i % 10 + 1) / 2},{i + 900}\n" for i in numbers]


def write(path, text, **how):
    path.write_text(text, encoding="utf-8", newline="", **how)
    return path


def together(path):
    found = list(blocks(path))
    assert all(len(block) for block in found)
    return pd.concat(found, ignore_index=True), len(found)


PLAIN = HEADER + "".join(lines(60))
ODD = {
    "plain": PLAIN,
    "crlf": PLAIN.replace("\n", "\r\n"),
    "mark": "\ufeff" + PLAIN,
    "no last end": PLAIN.rstrip("\n"),
    "a blank first line": "\r\n" + PLAIN,
    "blank lines": PLAIN.replace("\n", "\n\n"),
    "quoted": PLAIN.replace(",5,", ',"5",'),
    "other columns": PLAIN.replace("\n", ",x\n"),
    "whole stars": PLAIN.replace(".0,", ","),
    "odd only later": HEADER + "".join(lines(50)) + "\n" + "".join(lines(10, 50)),
    "odd at the end": PLAIN + "99,5,3,7\n",
    "short": HEADER + "1,2,3.5,4\n",
}


@pytest.mark.parametrize("name", ODD)
class TestRows:
    def test_they_are_those_of_the_whole_file(self, tmp_path, name):
        path = write(tmp_path / "ratings.csv", ODD[name])
        found, count = together(path)
        wanted = csvfile.read_table(path, RATINGS)
        pd.testing.assert_frame_equal(found, wanted)
        assert count > 1 or name == "short"

    def test_blocks_do_not_show(self, tmp_path, name, monkeypatch):
        path = write(tmp_path / "ratings.csv", ODD[name])
        found = together(path)[0]
        monkeypatch.setattr(columnar, "BLOCK", 2**22)
        monkeypatch.setattr(csvblocks, "ROWS", 2**16)
        pd.testing.assert_frame_equal(found, together(path)[0])


class TestColumns:
    def test_their_order_in_the_file_does_not_matter(self, tmp_path):
        text = "rating,timestamp,movieId,userId\n3.5,900,5,1\n4.0,901,6,1\n"
        found = together(write(tmp_path / "ratings.csv", text))[0]
        assert list(found) == list(RATINGS)
        assert found["userId"].tolist() == [1, 1]
        assert found["rating"].tolist() == [3.5, 4.0]

    def test_types_are_those_of_the_table(self, tmp_path):
        for name in ("plain", "quoted"):
            for block in blocks(write(tmp_path / "ratings.csv", ODD[name])):
                kinds = [np.dtype(block[n].dtype).name for n in RATINGS]
                assert kinds == ["int64", "int64", "float64", "int64"]


class TestRefused:
    @pytest.mark.parametrize(
        ("line", "wanted"),
        [
            ("1,2,7.5,4", "line 42, column rating"),
            ("1,2,0.0,4", "line 42, column rating"),
            ("x,2,3.5,4", "line 42, column userId"),
            ("1,-2,3.5,4", "line 42, column movieId"),
            ("1,2,3.5,", "line 42, column timestamp"),
            ("1,2,3.5", "line 42: expected 4 columns"),
            ("1,2,3.5,4,5", "line 42: expected 4 columns"),
            ('1,2,3.5,"4', "line 42: not CSV"),
        ],
    )
    @pytest.mark.parametrize("quoted", [False, True])
    def test_a_bad_line_is_named(self, tmp_path, line, wanted, quoted):
        good = "".join(lines(40))
        good = good.replace(",5,", ',"5",') if quoted else good
        path = write(tmp_path / "ratings.csv", f"{HEADER}{good}{line}\n{good}")
        with pytest.raises(DataError) as caught:
            list(blocks(path))
        assert f"ratings.csv, {wanted}" in str(caught.value)

    def test_what_came_before_the_bad_line_was_given(self, tmp_path):
        path = write(tmp_path / "ratings.csv", PLAIN + "1,2,9.5,4\n")
        given = []
        with pytest.raises(DataError, match="line 62"):
            given.extend(blocks(path))
        assert sum(map(len, given)) > 40

    @pytest.mark.parametrize(
        ("text", "wanted"),
        [
            ("", "is empty"),
            (HEADER, "no rows"),
            ("userId,movieId,rating\n1,2,3.5\n", "column timestamp is missing"),
            (HEADER.replace("\n", ",rating\n") + "1,2,3.5,4,1\n", "rating is there 2"),
        ],
    )
    def test_a_file_without_rows_or_columns(self, tmp_path, text, wanted):
        with pytest.raises(DataError, match=wanted):
            list(blocks(write(tmp_path / "ratings.csv", text)))

    def test_a_file_that_is_no_text(self, tmp_path):
        (tmp_path / "ratings.csv").write_bytes(PLAIN.encode() + b"\xff\xfe,1,2,3\n")
        with pytest.raises(DataError, match="line 62: not UTF-8"):
            list(blocks(tmp_path / "ratings.csv"))

    def test_a_missing_file(self, tmp_path):
        with pytest.raises(DataError, match="is missing"):
            list(blocks(tmp_path / "ratings.csv"))
