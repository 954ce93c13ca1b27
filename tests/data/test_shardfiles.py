"""The files of a folder of shards: the manifest, its fingerprint, and writing.

Held here: a manifest says what was written; each impossible value is refused by file
and key; the fingerprint is that of the bytes, in order; a folder appears whole or not
at all; shards are cut where asked, and what is written is in the documented types.
"""

import hashlib
import json
import stat

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ncf_jax.data import shardfiles
from ncf_jax.data.shardfiles import Writer, fingerprint, new_folder, read_manifest
from ncf_jax.errors import DataError


def block(n, start=0):
    rng = np.random.default_rng(start)
    return {
        "user": rng.integers(0, 5, n, dtype=np.int32),
        "item": rng.integers(0, 4, n, dtype=np.int32),
        "rating": (rng.integers(1, 11, n) / 2).astype(np.float32),
        "time": np.arange(start, start + n),
        "part": rng.integers(0, 3, n).astype(np.int8),
    }


def write(folder, blocks=(), parts=True, rows_per_shard=100, **more):
    folder.mkdir()
    writer = Writer(folder, parts=parts, rows_per_shard=rows_per_shard)
    for one in blocks or [block(10)]:
        writer.add(one)
    split = "by a die" if parts else None
    ids = {"user_ids": np.arange(5) * 10, "item_ids": np.arange(4) * 7}
    return writer.finish(name="mine", split=split, **ids, **more)


@pytest.fixture
def folder(tmp_path):
    write(tmp_path / "shards", [block(10), block(5, 10)], rows_per_shard=8)
    return tmp_path / "shards"


def change(folder, **values):
    path = folder / "manifest.json"
    about = json.loads(path.read_text())
    for key, value in values.items():
        if value is KeyError:
            del about[key]
        else:
            about[key] = value
    path.write_text(json.dumps(about))


class TestManifest:
    def test_it_says_what_was_written(self, folder):
        found = read_manifest(folder)
        assert found.name == "mine"
        assert (found.num_users, found.num_items) == (5, 4)
        assert found.shards == (
            ("interactions-00000.parquet", 8),
            ("interactions-00001.parquet", 7),
        )
        assert found.num_rows == 15
        assert found.split == "by a die"
        assert found.fingerprint == fingerprint(folder, found)

    def test_what_may_be_left_out_may_be_left_out(self, folder):
        keys = ("fingerprint", "label", "notes", "genre_names", "floor_rmse")
        change(folder, **dict.fromkeys(keys, KeyError))
        found = read_manifest(folder)
        assert (found.fingerprint, found.label, found.notes) == ("", "", ())
        assert (found.genre_names, found.floor_rmse) == ((), None)

    def test_unknown_keys_are_passed_over(self, folder):
        change(folder, made_by="an engine")
        assert read_manifest(folder).name == "mine"

    def test_no_split_is_null(self, tmp_path):
        write(tmp_path / "shards", parts=False)
        about = json.loads((tmp_path / "shards" / "manifest.json").read_text())
        assert about["split"] is None
        assert read_manifest(tmp_path / "shards").split is None

    def test_extras_come_back(self, tmp_path):
        more = {
            "label": "mine (not real)",
            "notes": ("read 3", "left out 2"),
            "genre_names": ("A", "B"),
            "floor_rmse": 0.75,
        }
        write(tmp_path / "shards", **more)
        found = read_manifest(tmp_path / "shards")
        assert {key: getattr(found, key) for key in more} == more

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("format", 2),
            ("format", KeyError),
            ("format", "1"),
            ("name", ""),
            ("name", 7),
            ("name", KeyError),
            ("num_users", 0),
            ("num_users", 2.5),
            ("num_users", True),
            ("num_users", 2**31),
            ("num_items", "4"),
            ("num_items", KeyError),
            ("users", "../users.parquet"),
            ("users", "/users.parquet"),
            ("users", KeyError),
            ("items", "a\\b"),
            ("items", ""),
            ("shards", []),
            ("shards", KeyError),
            ("shards", {"file": "a", "rows": 1}),
            ("shards", ["a"]),
            ("shards", [{"file": "a"}]),
            ("shards", [{"file": "a", "rows": -1}]),
            ("shards", [{"file": "a", "rows": True}]),
            ("shards", [{"file": "a", "rows": 0}]),
            ("shards", [{"file": "../a", "rows": 1}]),
            ("shards", [{"file": "a", "rows": 1}, {"file": "a", "rows": 1}]),
            ("split", ""),
            ("split", 3),
            ("fingerprint", 3),
            ("label", []),
            ("notes", "one"),
            ("notes", [1]),
            ("genre_names", [""]),
            ("floor_rmse", "low"),
            ("floor_rmse", float("nan")),
            ("floor_rmse", -0.5),
        ],
    )
    def test_an_impossible_value_is_named(self, folder, key, value):
        change(folder, **{key: value})
        with pytest.raises(DataError) as caught:
            read_manifest(folder)
        assert f"manifest.json, key {key}: expected" in str(caught.value)

    @pytest.mark.parametrize(
        ("content", "wanted"),
        [
            (b"{", "not JSON"),
            (b"\xff", "not JSON"),
            (b"[" * 10**5, "not JSON"),
            (b"[1]", "expected an object"),
        ],
    )
    def test_what_is_no_object_is_refused(self, folder, content, wanted):
        (folder / "manifest.json").write_bytes(content)
        with pytest.raises(DataError, match=wanted):
            read_manifest(folder)

    def test_a_folder_without_one_is_refused(self, tmp_path):
        with pytest.raises(DataError, match=r"manifest\.json cannot be read"):
            read_manifest(tmp_path)


class TestFingerprint:
    def test_it_is_the_hash_of_the_bytes_in_order(self, folder):
        names = ("interactions-00000", "interactions-00001", "users", "items")
        content = b"".join((folder / f"{n}.parquet").read_bytes() for n in names)
        wanted = hashlib.sha256(content).hexdigest()[:16]
        assert fingerprint(folder, read_manifest(folder)) == wanted

    def test_blocks_do_not_show(self, folder, monkeypatch):
        before = fingerprint(folder, read_manifest(folder))
        monkeypatch.setattr(shardfiles, "BLOCK", 7)
        assert fingerprint(folder, read_manifest(folder)) == before

    @pytest.mark.parametrize("name", ["interactions-00001", "users", "items"])
    def test_every_byte_counts(self, folder, name):
        manifest = read_manifest(folder)
        path = folder / f"{name}.parquet"
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(bytes(content))
        assert fingerprint(folder, manifest) != manifest.fingerprint

    def test_the_order_of_shards_counts(self, folder):
        before = read_manifest(folder)
        change(folder, shards=[{"file": f, "rows": n} for f, n in before.shards[::-1]])
        assert fingerprint(folder, read_manifest(folder)) != before.fingerprint

    @pytest.mark.parametrize("name", ["interactions-00000", "users", "items"])
    def test_a_missing_file_is_named(self, folder, name):
        (folder / f"{name}.parquet").unlink()
        with pytest.raises(DataError, match=rf"{name}\.parquet cannot be read"):
            fingerprint(folder, read_manifest(folder))

    def test_the_same_rows_written_twice_are_the_same_bytes(self, tmp_path):
        one, two = (write(tmp_path / name, [block(50)]) for name in ("one", "two"))
        assert one == two
        other = write(tmp_path / "three", [block(50, start=1)])
        assert other.fingerprint != one.fingerprint


class TestNewFolder:
    def test_it_appears_when_it_is_whole(self, tmp_path):
        target = tmp_path / "deep" / "shards"
        with new_folder(target) as partial:
            (partial / "file").write_text("mine")
            assert not target.exists()
        assert (target / "file").read_text() == "mine"
        assert [path.name for path in target.parent.iterdir()] == ["shards"]

    def test_others_may_look_into_it(self, tmp_path):
        (tmp_path / "usual").mkdir()
        with new_folder(tmp_path / "shards"):
            pass
        modes = {
            stat.S_IMODE((tmp_path / name).stat().st_mode)
            for name in ("usual", "shards")
        }
        assert len(modes) == 1

    def test_after_a_failure_nothing_is_left(self, tmp_path):
        def fail():
            with new_folder(tmp_path / "shards") as partial:
                (partial / "file").write_text("mine")
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            fail()
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("kind", ["file", "folder", "full"])
    def test_what_is_there_is_left_alone(self, tmp_path, kind):
        target = tmp_path / "shards"
        if kind == "file":
            target.write_text("mine")
        else:
            target.mkdir()
        if kind == "full":
            (target / "file").write_text("mine")
        with pytest.raises(DataError, match="is there already"), new_folder(target):
            pytest.fail("it was to be written")
        assert target.exists()

    def test_what_cannot_be_written_is_told(self, tmp_path):
        (tmp_path / "file").write_text("mine")
        target = tmp_path / "file" / "shards"
        with pytest.raises(DataError, match="could not be written"), new_folder(target):
            pytest.fail("it was to be written")


class TestWriter:
    @pytest.mark.parametrize("rows_per_shard", [1, 7, 20, 21, 1_000])
    def test_shards_are_cut_where_asked(self, tmp_path, rows_per_shard):
        blocks = [block(13), block(8, 13)]
        found = write(tmp_path / "shards", blocks, rows_per_shard=rows_per_shard)
        rows = [rows for _, rows in found.shards]
        assert sum(rows) == 21
        assert set(rows[:-1]) <= {rows_per_shard}
        assert 1 <= rows[-1] <= rows_per_shard
        times = [
            pq.read_table(tmp_path / "shards" / name)["time"].to_numpy()
            for name, _ in found.shards
        ]
        np.testing.assert_array_equal(np.concatenate(times), np.arange(21))

    def test_row_groups_are_small(self, tmp_path, monkeypatch):
        monkeypatch.setattr(shardfiles, "GROUP", 6)
        write(tmp_path / "shards", [block(20)])
        file = pq.ParquetFile(tmp_path / "shards" / "interactions-00000.parquet")
        groups = [file.metadata.row_group(g).num_rows for g in range(4)]
        assert groups == [6, 6, 6, 2]

    @pytest.mark.parametrize("parts", [True, False])
    def test_types_are_those_of_the_page(self, tmp_path, parts):
        write(tmp_path / "shards", parts=parts)
        schema = pq.read_schema(tmp_path / "shards" / "interactions-00000.parquet")
        wanted = {
            "user": pa.int32(),
            "item": pa.int32(),
            "rating": pa.float32(),
            "time": pa.int64(),
        }
        wanted |= {"part": pa.int8()} if parts else {}
        assert dict(zip(schema.names, schema.types, strict=True)) == wanted

    def test_users_and_items_are_in_the_order_of_indices(self, tmp_path):
        more = {
            "titles": ["a", "b", "c", "d"],
            "genres": ["A|B", "A", "B", "C"],
            "tags": np.arange(8, dtype=np.float32).reshape(4, 2),
        }
        write(tmp_path / "shards", **more)
        users = pq.read_table(tmp_path / "shards" / "users.parquet")
        assert users.to_pydict() == {"id": [0, 10, 20, 30, 40]}
        items = pq.read_table(tmp_path / "shards" / "items.parquet").to_pydict()
        assert items["id"] == [0, 7, 14, 21]
        assert items["title"] == more["titles"]
        assert items["genres"] == more["genres"]
        assert items["tags"] == more["tags"].tolist()

    def test_what_is_not_known_is_left_out(self, tmp_path):
        write(tmp_path / "shards", tags=np.zeros((4, 0), np.float32))
        assert pq.read_schema(tmp_path / "shards" / "items.parquet").names == ["id"]

    def test_no_rows_make_no_file(self, tmp_path):
        found = write(tmp_path / "shards", [block(0), block(3), block(0)])
        assert [rows for _, rows in found.shards] == [3]


def test_without_pyarrow_it_says_what_to_install(monkeypatch):
    import importlib
    import sys

    from ncf_jax.errors import ConfigError

    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.delitem(sys.modules, "ncf_jax.data.shardfiles")
    with pytest.raises(ConfigError, match=r"pip install -e '\.\[large\]'"):
        importlib.import_module("ncf_jax.data.shardfiles")
