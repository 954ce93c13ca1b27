"""What shards hold, checked: each wrong value is named by where it is.

Held here: rows come in order whatever the row groups; a wrong type, a missing column,
an index out of range, a rating that is none, a missing value, a damaged file and rows
that are not as many as the manifest says are named by file, row group, row and column;
so are repeated ids and tags of unlike lengths. The tests write the files as another
engine would, with pyarrow alone.
"""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ncf_jax.data import shardrows
from ncf_jax.data.shardfiles import Manifest
from ncf_jax.data.shardrows import blocks, table
from ncf_jax.errors import DataError

N = 30
TYPES = {
    "user": pa.int32(),
    "item": pa.int32(),
    "rating": pa.float32(),
    "time": pa.int64(),
    "part": pa.int8(),
}


def columns(n=N, start=0):
    rng = np.random.default_rng(start)
    return {
        "user": rng.integers(0, 5, n).tolist(),
        "item": rng.integers(0, 4, n).tolist(),
        "rating": (rng.integers(1, 11, n) / 2).tolist(),
        "time": list(range(start, start + n)),
        "part": rng.integers(0, 3, n).tolist(),
    }


def write(path, values, group=10, **types):
    kinds = {**TYPES, **types}
    arrays = {name: pa.array(v, kinds.get(name)) for name, v in values.items()}
    pq.write_table(pa.table(arrays), path, row_group_size=group)


def manifest(*rows, split="by a die"):
    shards = tuple((f"s{number}.parquet", n) for number, n in enumerate(rows))
    return Manifest("mine", 5, 4, shards, "u.parquet", "i.parquet", split)


def refused(folder, *rows, **how):
    with pytest.raises(DataError) as caught:
        list(blocks(folder, manifest(*rows or (N,), **how)))
    return str(caught.value)


class TestRows:
    @pytest.mark.parametrize("group", [1, 7, 10, 100])
    def test_they_come_in_order(self, tmp_path, group):
        one, two = columns(N), columns(12, N)
        write(tmp_path / "s0.parquet", one, group)
        write(tmp_path / "s1.parquet", two, group)
        found = list(blocks(tmp_path, manifest(N, 12)))
        assert len(found) == -(-N // group) + -(-12 // group)
        for name in TYPES:
            joined = np.concatenate([block[name] for block in found])
            assert joined.tolist() == one[name] + two[name]
            assert joined.dtype == TYPES[name].to_pandas_dtype()

    def test_a_large_row_group_comes_in_pieces(self, tmp_path, monkeypatch):
        monkeypatch.setattr(shardrows, "GROUP", 8)
        write(tmp_path / "s0.parquet", columns(), group=N)
        sizes = [len(b["user"]) for b in blocks(tmp_path, manifest(N))]
        assert sizes == [8, 8, 8, 6]

    def test_without_a_split_parts_are_not_read(self, tmp_path):
        values = columns() | {"part": [9] * N}
        write(tmp_path / "s0.parquet", values)
        for block in blocks(tmp_path, manifest(N, split=None)):
            assert set(block) == {"user", "item", "rating", "time"}

    def test_other_columns_and_another_order_do_no_harm(self, tmp_path):
        values = columns()
        turned = dict(reversed(values.items())) | {"device": ["phone"] * N}
        write(tmp_path / "s0.parquet", turned)
        found = list(blocks(tmp_path, manifest(N)))
        assert np.concatenate([b["user"] for b in found]).tolist() == values["user"]

    @pytest.mark.parametrize("how", [{"compression": "gzip"}, {"version": "1.0"}])
    def test_the_way_of_writing_does_not_matter(self, tmp_path, how):
        values = columns()
        arrays = {name: pa.array(v, TYPES[name]) for name, v in values.items()}
        pq.write_table(pa.table(arrays), tmp_path / "s0.parquet", **how)
        [block] = blocks(tmp_path, manifest(N))
        assert block["part"].tolist() == values["part"]


class TestRefused:
    @pytest.mark.parametrize("name", TYPES)
    def test_a_missing_column(self, tmp_path, name):
        values = columns()
        del values[name]
        write(tmp_path / "s0.parquet", values)
        assert f"s0.parquet has no column {name}; found" in refused(tmp_path)

    @pytest.mark.parametrize(
        ("name", "kind"),
        [
            ("user", pa.int64()),
            ("item", pa.uint32()),
            ("rating", pa.float64()),
            ("time", pa.timestamp("ms")),
            ("part", pa.int32()),
            ("user", pa.string()),
        ],
    )
    def test_a_wrong_type(self, tmp_path, name, kind):
        values = columns()
        if kind == pa.string():
            values[name] = [str(x) for x in values[name]]
        write(tmp_path / "s0.parquet", values, **{name: kind})
        sentence = refused(tmp_path)
        assert f"s0.parquet, column {name}: expected {TYPES[name]}" in sentence
        assert f"found {kind}" in sentence

    @pytest.mark.parametrize(
        ("name", "value", "limits"),
        [
            ("user", -1, "0 to 4"),
            ("user", 5, "0 to 4"),
            ("item", 4, "0 to 3"),
            ("item", -(2**31), "0 to 3"),
            ("rating", 0.0, "0.5 to 5.0"),
            ("rating", 5.5, "0.5 to 5.0"),
            ("rating", float("nan"), "0.5 to 5.0"),
            ("rating", float("inf"), "0.5 to 5.0"),
            ("part", 3, "0 to 2"),
            ("part", -1, "0 to 2"),
        ],
    )
    def test_a_value_out_of_range(self, tmp_path, name, value, limits):
        write(tmp_path / "s0.parquet", columns())
        second = columns()
        second[name][23] = value
        write(tmp_path / "s1.parquet", second)
        sentence = refused(tmp_path, N, N)
        where = f"s1.parquet, row group 2, row 3, column {name}: expected {limits}"
        assert where in sentence
        assert f"found {value}" in sentence

    def test_a_row_of_a_later_piece_of_its_group(self, tmp_path, monkeypatch):
        monkeypatch.setattr(shardrows, "GROUP", 4)
        values = columns()
        values["item"][17] = 77
        write(tmp_path / "s0.parquet", values)
        assert "row group 1, row 7, column item" in refused(tmp_path)

    @pytest.mark.parametrize("name", TYPES)
    def test_no_value(self, tmp_path, name):
        values = columns()
        values[name][14] = None
        write(tmp_path / "s0.parquet", values)
        wanted = f"row group 1, row 4, column {name}: there is no value"
        assert wanted in refused(tmp_path)

    @pytest.mark.parametrize("rows", [N - 1, N + 1, 0])
    def test_rows_that_the_manifest_does_not_say(self, tmp_path, rows):
        write(tmp_path / "s0.parquet", columns())
        wanted = f"s0.parquet has {N} rows where the manifest says {rows}"
        assert wanted in refused(tmp_path, rows)

    def test_a_file_cut_short(self, tmp_path):
        path = tmp_path / "s0.parquet"
        write(path, columns())
        path.write_bytes(path.read_bytes()[:-20])
        assert "s0.parquet is not a whole Parquet file" in refused(tmp_path)

    @pytest.mark.parametrize("content", [b"", b"user,item\n1,2\n"])
    def test_a_file_of_another_kind(self, tmp_path, content):
        (tmp_path / "s0.parquet").write_bytes(content)
        assert "s0.parquet is not a whole Parquet file" in refused(tmp_path)

    def test_a_missing_file(self, tmp_path):
        assert "s0.parquet is not a whole Parquet file" in refused(tmp_path)

    def test_a_page_that_is_damaged(self, tmp_path):
        path = tmp_path / "s0.parquet"
        values = columns(20_000)
        arrays = {name: pa.array(v, TYPES[name]) for name, v in values.items()}
        pq.write_table(pa.table(arrays), path, row_group_size=5_000)
        content = bytearray(path.read_bytes())
        start = pq.read_metadata(path).row_group(2).column(0).dictionary_page_offset
        content[start : start + 40] = b"\xff" * 40
        path.write_bytes(bytes(content))
        assert "s0.parquet, row group 2: damaged" in refused(tmp_path, 20_000)

    def test_the_control_is_accepted(self, tmp_path):
        write(tmp_path / "s0.parquet", columns())
        assert sum(len(b["user"]) for b in blocks(tmp_path, manifest(N))) == N


def items(path, **values):
    kinds = {"id": pa.int64(), "tags": pa.list_(pa.float32())}
    kinds |= {"title": pa.string(), "genres": pa.string()}
    kinds |= values.pop("kinds", {})
    arrays = {name: pa.array(v, kinds[name]) for name, v in values.items()}
    pq.write_table(pa.table(arrays), path)
    return path


class TestTable:
    def test_ids_alone(self, tmp_path):
        found = table(items(tmp_path / "i", id=[4, 2, 9]), 3)
        assert set(found) == {"id"}
        assert found["id"].tolist() == [4, 2, 9]
        assert found["id"].dtype == np.int64

    @pytest.mark.parametrize(
        "kind",
        [
            pa.list_(pa.float32()),
            pa.large_list(pa.float32()),
            pa.list_(pa.float32(), 2),
            pa.list_(pa.field("element", pa.float32())),
        ],
    )
    def test_tags_of_any_kind_of_list(self, tmp_path, kind):
        values = [[1.0, 2.0], [3.0, 4.5]]
        path = items(tmp_path / "i", id=[1, 2], tags=values, kinds={"tags": kind})
        found = table(path, 2)["tags"]
        assert found.tolist() == values
        assert found.dtype == np.float32

    @pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
    def test_texts_of_any_length(self, tmp_path, kind):
        kinds = {"title": kind, "genres": kind}
        values = {"title": ["Brazil", None], "genres": [None, "A|B"]}
        found = table(items(tmp_path / "i", id=[1, 2], **values, kinds=kinds), 2)
        assert found["title"] == ["Brazil", None]
        assert found["genres"] == [None, "A|B"]

    @pytest.mark.parametrize(
        ("values", "wanted"),
        [
            ({"title": ["a", "b"]}, "has no column id"),
            ({"id": [1, 1]}, "row 1, column id: 1 is repeated"),
            ({"id": [1, None]}, "row 1, column id: there is no value"),
            ({"id": [1, 2, 3]}, "has 3 rows where the manifest says 2"),
            ({"id": [1, 2], "tags": [[1.0, 2.0], [3.0]]}, "row 1, column tags"),
            ({"id": [1, 2], "tags": [None, [3.0]]}, "row 0, column tags"),
            ({"id": [1, 2], "tags": [[], []]}, "row 0, column tags"),
            (
                {"id": [1, 2], "tags": [[1.0], [float("nan")]]},
                "row 1, column tags: a number is not finite",
            ),
        ],
    )
    def test_what_is_wrong_is_named(self, tmp_path, values, wanted):
        with pytest.raises(DataError) as caught:
            table(items(tmp_path / "i.parquet", **values), 2)
        assert "i.parquet" in str(caught.value)
        assert wanted in str(caught.value)

    @pytest.mark.parametrize(
        ("name", "kind", "value"),
        [
            ("id", pa.int32(), [1, 2]),
            ("title", pa.int64(), [1, 2]),
            ("genres", pa.list_(pa.string()), [["A"], ["B"]]),
            ("tags", pa.list_(pa.float64()), [[1.0], [2.0]]),
            ("tags", pa.float32(), [1.0, 2.0]),
        ],
    )
    def test_a_wrong_type_is_named(self, tmp_path, name, kind, value):
        values = {"id": [1, 2]} | {name: value}
        path = items(tmp_path / "i.parquet", **values, kinds={name: kind})
        with pytest.raises(DataError, match=rf"i\.parquet, column {name}: expected"):
            table(path, 2)


class TestDamage:
    def test_what_the_library_says_in_lines_is_one_line(self, tmp_path, monkeypatch):
        write(tmp_path / "s0.parquet", columns())

        def fails(*arguments, **named):
            raise OSError("Invalid data\nDeserializing page header failed.\n")

        monkeypatch.setattr(shardrows.pq, "ParquetFile", fails)
        assert refused(tmp_path).endswith("Parquet file (Invalid data).")

    def test_rows_that_are_lost_are_noticed(self, tmp_path, monkeypatch):
        write(tmp_path / "s0.parquet", columns())
        monkeypatch.setattr(shardrows, "_batches", lambda *arguments: iter(()))
        assert "damaged (30 of 30 rows are lost)" in refused(tmp_path)

    def test_ids_that_are_lost_are_noticed(self, tmp_path, monkeypatch):
        path = items(tmp_path / "i.parquet", id=[1, 2])
        read = shardrows._values
        monkeypatch.setattr(shardrows, "_values", lambda *a: read(*a)[:0])
        with pytest.raises(DataError, match=r"damaged .0 rows where 2 are"):
            table(path, 2)
