"""The prepare command: counts, and the exported tables.

Held here: the printed counts are those of the data and its split; the exported files
hold every interaction once, in the columns of the reference; the flagfile of any
experiment is accepted; what cannot be read or written is one sentence.
"""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from experiments import console, flags
from ncf_jax import Config, prepare, split
from ncf_jax.config import DataConfig
from ncf_jax.data import prepare as preparation
from ncf_jax.data import splits
from tests.data import older

ROOT = Path(__file__).parents[2]
WORLD = dict(synthetic_users=40, synthetic_items=60, synthetic_ratings_per_user=25)
ARGUMENTS = [f"--{name}={value}" for name, value in WORLD.items()]
MERGED = (
    "userId,movieId,rating,timestamp,rating_norm,userIndex,movieIndex,genres_vector,"
    "tag_features"
)


@pytest.fixture
def prepared(command, cache_dir):
    def run(*arguments):
        return command("prepare", *ARGUMENTS, f"--cache_dir={cache_dir}", *arguments)

    return run


def said(out):
    """The printed names and values; of a name said twice, the last."""
    pairs = (line.split("  ", 1) for line in out.splitlines() if "  " in line)
    return {name: value.strip() for name, value in pairs}


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


class TestCounts:
    def test_the_printed_counts_are_those_of_the_data(
        self, prepared, tiny_dataset, tiny_split
    ):
        outcome = prepared()
        assert (outcome.code, outcome.err) == (0, "")
        found = said(outcome.out)
        assert found["data"] == "synthetic world (not real data)"
        wanted = {
            "users": tiny_dataset.num_users,
            "movies": tiny_dataset.num_items,
            "ratings": len(tiny_dataset.user),
            "train": len(tiny_split.train),
            "valid": len(tiny_split.valid),
            "test": len(tiny_split.test),
            "genres": len(tiny_dataset.genre_names),
        }
        for name, count in wanted.items():
            assert found[name] == f"{count:,}"
        assert found["data fingerprint"] == tiny_dataset.fingerprint
        assert found["split fingerprint"] == tiny_split.fingerprint
        assert found["lowest RMSE to be expected"] == f"{tiny_dataset.floor_rmse:.4f}"

    def test_values_stand_in_one_column(self, prepared):
        lines = prepared().out.splitlines()
        starts = {len(line) - len(line.split("  ", 1)[1].lstrip()) for line in lines}
        assert len(starts) == 1

    @pytest.mark.parametrize(
        ("argument", "same"),
        [
            ("--split_seed=1", "data fingerprint"),
            ("--min_item_ratings=20", None),
            ("--synthetic_seed=1", None),
        ],
    )
    def test_an_option_of_the_data_changes_the_fingerprints(
        self, prepared, argument, same
    ):
        before, after = said(prepared().out), said(prepared(argument).out)
        assert before["split fingerprint"] != after["split fingerprint"]
        equal = before["data fingerprint"] == after["data fingerprint"]
        assert equal == (same is not None)

    def test_nothing_is_written_where_nothing_was_asked_for(
        self, command, tmp_path, monkeypatch
    ):
        monkeypatch.chdir(tmp_path)
        assert command("prepare", *ARGUMENTS, "--cache_dir=").code == 0
        assert list(tmp_path.iterdir()) == []

    def test_the_real_release_has_the_counts_of_the_reference(
        self, command, real_data_dir, cache_dir
    ):
        outcome = command(
            "prepare",
            f"--flagfile={ROOT / 'experiments' / 'configs' / 'ncf_tags.flags'}",
            f"--data_dir={real_data_dir}",
            f"--cache_dir={cache_dir}",
        )
        assert (outcome.code, outcome.err) == (0, "")
        found = said(outcome.out)
        assert found["data"] == "ml-latest-small"
        names = ["users", "movies", "ratings", "train", "valid", "test"]
        counts = ["610", "2,269", "81,116", "56,505", "12,164", "12,447"]
        assert [found[name] for name in names] == counts
        assert found["movies with tag features"] == "521"
        assert "lowest RMSE" not in outcome.out


@pytest.fixture(scope="module")
def world():
    config = DataConfig(**WORLD, cache_dir="")
    dataset = prepare(config)
    return dataset, split(dataset, config)


class TestExport:
    def test_the_merged_table_has_the_reference_columns_and_every_row(
        self, prepared, tmp_path, world
    ):
        folder = tmp_path / "deep" / "exported"
        outcome = prepared(f"--export_dir={folder}")
        path = folder / "final_merged_dataset.csv"
        assert f"written: {path}" in outcome.out
        assert {p.name for p in folder.iterdir()} == {
            path.name,
            "split.csv",
            "SYNTHETIC.txt",  # no column says so, so a file does
        }
        assert path.read_text().splitlines()[0] == MERGED
        dataset, rows = world[0], rows_of(path)
        assert len(rows) == len(dataset.user)
        for n in range(0, len(rows), 97):
            row, user, item = rows[n], dataset.user[n], dataset.item[n]
            assert int(row["userId"]) == dataset.user_ids[user]
            assert int(row["movieId"]) == dataset.item_ids[item]
            assert (int(row["userIndex"]), int(row["movieIndex"])) == (user, item)
            assert float(row["rating"]) == dataset.rating[n]
            assert np.float32(row["rating_norm"]) == dataset.rating[n] / np.float32(5)
            assert int(row["timestamp"]) == dataset.time[n]
            genres = json.loads(row["genres_vector"])
            assert genres == dataset.features.genres[item].tolist()
            tags = json.loads(row["tag_features"])
            np.testing.assert_array_equal(np.float32(tags), dataset.features.tags[item])

    def test_split_csv_puts_every_row_in_its_part(self, prepared, tmp_path, world):
        prepared(f"--export_dir={tmp_path}")
        dataset, parts = world
        rows = rows_of(tmp_path / "split.csv")
        assert list(rows[0]) == ["userId", "movieId", "split"]
        for name in ("train", "valid", "test"):
            found = [n for n, row in enumerate(rows) if row["split"] == name]
            assert found == getattr(parts, name).tolist()
        ids = dataset.user_ids[dataset.user].tolist()
        assert [int(row["userId"]) for row in rows] == ids

    def test_exporting_twice_gives_the_same_bytes(self, prepared, tmp_path, content):
        for name in ("one", "two"):
            prepared(f"--export_dir={tmp_path / name}")
        assert content(tmp_path / "one") == content(tmp_path / "two")

    def test_an_export_folder_that_is_a_file_is_refused(self, prepared, tmp_path):
        (tmp_path / "file").write_text("mine")
        sentence = prepared(f"--export_dir={tmp_path / 'file'}").sentence(3)
        assert "could not be written" in sentence
        assert "--export_dir" in sentence
        assert (tmp_path / "file").read_text() == "mine"


class TestProgress:
    def test_a_long_preparation_says_what_it_does(self, prepared, monkeypatch):
        quiet = prepared("--cache_dir=").out
        monkeypatch.setattr(preparation, "LARGE", 0)
        assert prepared("--cache_dir=").out == quiet, "it did not take two seconds"
        monkeypatch.setattr(console.Later, "SECONDS", 0.0)
        told = prepared("--cache_dir=").out
        assert told.endswith(quiet)
        assert "tag features" in told or "made into features" in told

    def test_lines_come_one_every_few_seconds(self, monkeypatch, capsys):
        now = [100.0]
        monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
        later = console.Later()
        for second in range(1, 8):
            now[0] = 100.0 + second
            later(f"second {second}")
        lines = capsys.readouterr().out.splitlines()
        assert lines == ["second 2", "second 4", "second 6"]


class TestFlags:
    def test_the_flagfile_of_an_experiment_is_accepted(self, command, tmp_path):
        config = Config(**WORLD, epochs=2, embedding_dim=8, cache_dir="")
        path = tmp_path / "run.flags"
        path.write_text(flags.to_flagfile(config))
        outcome = command("prepare", f"--flagfile={path}")
        assert outcome.code == 0
        assert said(outcome.out)["users"] == "40"

    def test_filters_that_leave_nothing_are_refused(self, prepared):
        sentence = prepared("--min_item_ratings=100000").sentence(3)
        assert "--min_item_ratings=100000" in sentence
        assert "lower them" in sentence

    def test_a_world_whose_sizes_contradict_is_refused(self, command):
        sentence = command(
            "prepare",
            "--synthetic_items=60",
            "--synthetic_ratings_per_user=50",
            "--cache_dir=",
        ).sentence(2)
        assert "--synthetic_ratings_per_user=50" in sentence
        assert "--synthetic_items=60" in sentence

    def test_a_cache_that_cannot_be_written_is_refused(self, command, tmp_path):
        (tmp_path / "file").write_text("mine")
        outcome = command("prepare", *ARGUMENTS, f"--cache_dir={tmp_path / 'file'}")
        assert "--cache_dir" in outcome.sentence(3)
        assert (tmp_path / "file").read_text() == "mine"

    def test_a_release_with_a_missing_member_names_it(self, command, tmp_path):
        # A folder that is there but not whole is never filled up by a download.
        folder = tmp_path / "ml-latest-small"
        folder.mkdir()
        (folder / "ratings.csv").write_text("userId,movieId,rating,timestamp\n")
        sentence = command(
            "prepare", "--dataset=ml-latest-small", f"--data_dir={tmp_path}"
        ).sentence(3)
        assert "movies.csv" in sentence
        assert [path.name for path in folder.iterdir()] == ["ratings.csv"]


class TestSplits:
    @pytest.mark.parametrize("name", splits.SPLITS)
    def test_each_split_is_named_with_what_it_shows_and_what_leaks(
        self, prepared, tiny_dataset, name
    ):
        outcome = prepared(f"--split={name}")
        assert (outcome.code, outcome.err) == (0, "")
        found = said(outcome.out)
        wanted = split(tiny_dataset, DataConfig(split=name))
        assert found["split made by"] == wanted.definition
        assert found["what it shows"] == splits.LIMITS[name]
        assert found["split fingerprint"] == wanted.fingerprint
        assert found["test"] == f"{len(wanted.test):,}"
        leaks = splits.warnings(tiny_dataset, wanted, filtered=True, uses_tags=True)
        lines = outcome.out.splitlines()
        told = [x.split("  ", 1)[1].strip() for x in lines if x.startswith("warning ")]
        assert told == list(leaks)
        assert told

    def test_the_fingerprints_that_it_prints_can_be_asked_for(self, prepared):
        found = said(prepared("--split=global_time").out)
        right = f"--split_fingerprint={found['split fingerprint']}"
        assert prepared("--split=global_time", right).code == 0
        sentence = prepared("--split=leave_last_out", right).sentence(3)
        assert right in sentence
        wrong = f"--data_fingerprint={found['split fingerprint']}"
        assert found["data fingerprint"] in prepared(wrong).sentence(3)

    def test_a_seed_for_a_split_by_time_is_refused(self, prepared):
        sentence = prepared("--split=global_time", "--split_seed=1").sentence(2)
        assert "--split_seed=1 has no effect with --split=global_time" in sentence

    @pytest.mark.parametrize("name", splits.SPLITS)
    def test_an_exported_split_holds_every_row_once(
        self, prepared, tiny_dataset, tmp_path, name
    ):
        outcome = prepared(f"--split={name}", f"--export_dir={tmp_path}")
        assert (outcome.code, outcome.err) == (0, "")
        rows = rows_of(tmp_path / "split.csv")
        wanted = split(tiny_dataset, DataConfig(split=name))
        parts = [list(row.values())[-1] for row in rows]
        assert len(rows) == len(tiny_dataset.user)
        for part in ("train", "valid", "test"):
            places = [n for n, found in enumerate(parts) if found == part]
            assert places == getattr(wanted, part).tolist()


WHOLE = ("--min_item_ratings=1", "--min_user_ratings=1", "--cache_dir=")


class TestSources:
    """Other releases, published splits and one's own files, from the command line."""

    @pytest.mark.parametrize("name", older.FILES)
    def test_every_release_is_named_with_what_it_lacks(self, command, tmp_path, name):
        older.write(tmp_path / name, name)
        arguments = [f"--dataset={name}", f"--data_dir={tmp_path}", *WHOLE]
        if name == "ml-latest-small":
            arguments.append("--allow_other_copy")
        outcome = command("prepare", *arguments)
        assert (outcome.code, outcome.err) == (0, "")
        found = said(outcome.out)
        assert found["data"].startswith(f"{name} (")
        assert (found["users"], found["movies"], found["ratings"]) == ("3", "3", "5")
        none = f"{name} has no tags: tag features are zeros"
        assert (none in outcome.out) == (name in ("ml-1m", "ml-100k"))
        assert found["movies with tag features"] == (
            "0" if none in outcome.out else "2"
        )

    def test_a_published_split_has_no_validation_rows(self, command, tmp_path):
        rows = older.DATA_100K.splitlines(keepends=True)
        parts = {"ua_base": "".join(rows[:3]), "ua_test": "".join(rows[3:])}
        older.write(tmp_path / "ml-100k", "ml-100k", **parts)
        arguments = ["--dataset=ml-100k", f"--data_dir={tmp_path}", "--split=ua"]
        outcome = command("prepare", *arguments, *WHOLE)
        assert (outcome.code, outcome.err) == (0, "")
        found = said(outcome.out)
        assert [found[n] for n in ("train", "valid", "test")] == ["3", "0", "2"]
        assert found["what it shows"] == splits.LIMITS["ua"]
        sentence = command("prepare", *arguments).sentence(2)
        assert "--min_item_ratings=1 --min_user_ratings=1" in sentence
        wrong = command("prepare", "--dataset=ml-1m", "--split=ua", *WHOLE)
        assert "published with ml-100k alone" in wrong.sentence(2)

    def test_ones_own_file_is_prepared_and_exported(self, command, tmp_path):
        (tmp_path / "mine.csv").write_text("who,what,stars\na,x,4.2\nb,y,1\nb,x,3\n")
        (tmp_path / "items.csv").write_text("item,title,genres\nx,Heat (1995),Crime\n")
        arguments = [
            f"--dataset={tmp_path / 'mine.csv'}",
            "--columns=who,what,stars",
            f"--item_features={tmp_path / 'items.csv'}",
            *WHOLE,
        ]
        outcome = command("prepare", *arguments, f"--export_dir={tmp_path / 'out'}")
        assert (outcome.code, outcome.err) == (0, "")
        assert said(outcome.out)["data"] == "mine.csv"
        for note in ("has no times", "ids of users", "lacks 1 of 2", "has no tags"):
            assert note in outcome.out
        rows = rows_of(tmp_path / "out" / "final_merged_dataset.csv")
        assert [(row["userId"], row["movieId"]) for row in rows] == [
            *(("1", "1"), ("2", "2"), ("2", "1"))
        ]
        sentence = command("prepare", *arguments, "--split=global_time").sentence(2)
        assert "wants times" in sentence

    @pytest.mark.parametrize(
        ("arguments", "code", "words"),
        [
            (["--dataset=./no/where.csv"], 3, "where.csv is not there"),
            (["--columns=a,b,c"], 2, "--columns=a,b,c has no effect with"),
            (["--item_features=x.csv"], 2, "has no effect with --dataset=synthetic"),
            (["--split=stored"], 2, "--split=stored wants a folder of shards"),
            (
                ["--dataset=./x.csv", "--columns=a,b"],
                2,
                "three or four different names",
            ),
        ],
    )
    def test_what_cannot_be_is_one_sentence(self, command, arguments, code, words):
        assert words in command("prepare", *arguments, "--cache_dir=").sentence(code)
