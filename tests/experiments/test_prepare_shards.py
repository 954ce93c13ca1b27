"""The prepare command writes folders of shards, from memory or by blocks.

Held here: both ways write the rows that are printed, which any command reads back by
the folder's name with the stored split; what contradicts is one sentence, before any
work, and leaves nothing behind.
"""

import numpy as np
import pytest

from ncf_jax import prepare, split
from ncf_jax.config import DataConfig
from ncf_jax.data import shardfiles, shards

WORLD = dict(synthetic_users=40, synthetic_items=60, synthetic_ratings_per_user=25)
ARGUMENTS = [f"--{name}={value}" for name, value in WORLD.items()]


@pytest.fixture
def prepared(command, cache_dir):
    def run(*arguments):
        return command("prepare", *ARGUMENTS, f"--cache_dir={cache_dir}", *arguments)

    return run


def said(out):
    pairs = (line.split("  ", 1) for line in out.splitlines() if "  " in line)
    return {name: value.strip() for name, value in pairs}


def read(folder):
    return shards.dataset(folder, DataConfig(cache_dir=""))


class TestWritten:
    def test_data_and_split_are_those_that_are_printed(
        self, prepared, tmp_path, tiny_dataset, tiny_split
    ):
        outcome = prepared(f"--shards_dir={tmp_path / 'shards'}")
        assert (outcome.code, outcome.err) == (0, "")
        assert f"written: {tmp_path / 'shards'}" in outcome.out
        found = read(tmp_path / "shards")
        np.testing.assert_array_equal(found.user, tiny_dataset.user)
        np.testing.assert_array_equal(np.flatnonzero(found.part == 2), tiny_split.test)
        definition = shards.definition(tmp_path / "shards")
        assert said(outcome.out)["split made by"] == definition

    def test_another_split_is_stored_as_well(self, prepared, tmp_path, tiny_dataset):
        outcome = prepared(f"--shards_dir={tmp_path / 's'}", "--split=global_time")
        assert outcome.code == 0
        wanted = split(tiny_dataset, DataConfig(split="global_time"))
        found = read(tmp_path / "s")
        np.testing.assert_array_equal(np.flatnonzero(found.part == 0), wanted.train)

    def test_the_folder_is_data_for_this_command_too(
        self, prepared, command, tmp_path, tiny_split
    ):
        prepared(f"--shards_dir={tmp_path / 'shards'}")
        cache = f"--cache_dir={tmp_path / 'cache'}"
        where = f"--dataset={tmp_path / 'shards'}"
        outcome = command("prepare", where, "--split=stored", cache)
        assert (outcome.code, outcome.err) == (0, "")
        assert said(outcome.out)["test"] == f"{len(tiny_split.test):,}"
        assert said(outcome.out)["data"] == "synthetic world (not real data)"

    def test_it_can_be_exported_beside(self, prepared, tmp_path):
        folders = [f"--{name}_dir={tmp_path / name}" for name in ("shards", "export")]
        assert prepared(*folders).code == 0
        assert (tmp_path / "export" / "split.csv").is_file()
        assert (tmp_path / "shards" / "manifest.json").is_file()


class TestBounded:
    def test_rows_are_those_of_memory_and_parts_those_of_the_hash(
        self, prepared, tmp_path, tiny_dataset
    ):
        outcome = prepared(f"--shards_dir={tmp_path / 'shards'}", "--bounded")
        assert (outcome.code, outcome.err) == (0, "")
        found = read(tmp_path / "shards")
        np.testing.assert_array_equal(found.item, tiny_dataset.item)
        about = said(outcome.out)
        assert about["ratings"] == f"{len(tiny_dataset.user):,}"
        assert about["data fingerprint"] == found.fingerprint
        assert about["split made by"].startswith("hash, seed 42")
        assert about["data"] == "synthetic world (not real data)"
        options = DataConfig(
            dataset=str(tmp_path / "shards"), split="stored", cache_dir=""
        )
        parts = split(prepare(options), options)
        shares = [len(parts.train), len(parts.valid), len(parts.test)]
        np.testing.assert_allclose(
            np.array(shares) / sum(shares), [0.7, 0.15, 0.15], atol=0.05
        )

    def test_filters_and_seed_are_heeded(self, prepared, tmp_path):
        flags = ["--bounded", "--min_item_ratings=20", "--split_seed=5"]
        assert prepared(f"--shards_dir={tmp_path / 's'}", *flags).code == 0
        found = shardfiles.read_manifest(tmp_path / "s")
        wanted = prepare(DataConfig(**WORLD, min_item_ratings=20, cache_dir=""))
        assert found.num_rows == len(wanted.user)
        assert "seed 5" in found.split

    @pytest.mark.parametrize(
        "flags",
        [
            ["--bounded"],
            ["--bounded", "--shards_dir={}/s", "--export_dir={}/e"],
            ["--bounded", "--shards_dir={}/s", "--split=global_time"],
        ],
    )
    def test_what_contradicts_is_refused(self, prepared, tmp_path, flags):
        sentence = prepared(*(flag.format(tmp_path) for flag in flags)).sentence(2)
        assert "--bounded" in sentence
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("bounded", [[], ["--bounded"]])
def test_an_existing_folder_is_refused_before_any_work(prepared, tmp_path, bounded):
    (tmp_path / "mine").write_text("precious")
    outcome = prepared(f"--shards_dir={tmp_path}", *bounded)
    assert "is there already" in outcome.sentence(3)
    assert outcome.out == ""
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
