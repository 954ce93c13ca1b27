"""The compare command on real run folders of a tiny world.

Held here: each format says what the comparison says, CSV and JSON to the last digit;
lines are narrow, marks stand where differences are significant and nowhere else; what
cannot be compared is one sentence with an exit code; nothing is written.
"""

import csv
import io
import json
import re
import shutil

import pytest

from experiments import compare as command_module
from ncf_jax import Config, formats
from ncf_jax.compare import compare
from ncf_jax.runs import load_finished
from tests.experiments import conftest
from tests.finished import make

DEFAULT = ["rmse", "mae", "r2", "precision@10", "ndcg@10", "recall@10"]
HEADINGS = ["RMSE", "MAE", "R²", "P@10", "NDCG@10", "R@10"]


@pytest.fixture(autouse=True)
def known_command(monkeypatch):
    monkeypatch.setitem(conftest.OPTIONS, "compare", "CompareOptions")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A network of two seeds, a user + item bias, and a global mean."""
    root = tmp_path_factory.mktemp("compared")
    # What only a network has stays at its default.
    network = ("epochs", "batch_size", "embedding_dim")
    default = {name: getattr(Config, name) for name in network}
    for name, changes in {
        "ncf": dict(num_seeds=2, epochs=2),
        "bias": dict(model="bias", **default),
        "mean": dict(model="global_mean", **default),
    }.items():
        conftest.train_quietly(root / name, root / "cache", **changes)
    return [root / name for name in ("ncf", "bias", "mean")]


@pytest.fixture(scope="module")
def found(folders):
    return compare([load_finished(folder) for folder in folders])


def made(**changes):
    """A comparison of runs made by hand, one of several seeds, one much better."""
    a = make("runs/a", "A " + "long title " * 3, seeds=3)
    b = make("runs/b", "B", seed=1)
    c = make("runs/c", "C", seed=2, skill=0.4)
    return compare([a, b, c], **changes)


class TestTable:
    def test_runs_stand_side_by_side_in_aligned_columns(self, folders, found, command):
        outcome = command("compare", *folders)
        assert (outcome.code, outcome.err) == (0, "")
        lines = outcome.out.splitlines()
        header = next(line for line in lines if "RMSE" in line)
        assert header.split() == ["run", *HEADINGS, "train", "s", "eval", "s"]
        end = header.index("RMSE") + len("RMSE")
        for letter, row in zip("ABC", found.rows, strict=True):
            line = next(line for line in lines if line.startswith(f"{letter}  "))
            assert row.label in line
            assert line[:end].rstrip("* ").endswith(f"{row.figures['rmse'].mean:.4f}")
            for figure in row.figures.values():
                assert f"{figure.mean:.4f}" in line

    def test_seeds_have_a_line_with_their_standard_deviations(
        self, folders, found, command
    ):
        out = command("compare", *folders).out
        (line,) = [line for line in out.splitlines() if "± sd of 2 seeds" in line]
        for figure in found.rows[0].figures.values():
            assert f"{figure.sd:.4f}" in line

    def test_each_test_has_a_line(self, folders, found, command):
        out = command("compare", *folders).out
        lines = [line for line in out.splitlines() if re.match("[BC] − A ", line)]
        assert len(lines) == len(found.tests) == 12
        for test, line in zip(found.tests, lines, strict=True):
            assert f"{test.difference:z.4f}" in line
            assert f"{test.ci95[0]:z.4f} to {test.ci95[1]:z.4f}" in line
            assert f"{test.p_holm:.4f}" in line
            assert line.rstrip().endswith("is better") == (test.better is not None)

    def test_what_its_reader_must_know_is_below(self, folders, found, command):
        out = command("compare", *folders).out
        for note in found.notes:
            assert note in out
        assert found.data in out
        assert found.split in out

    def test_synthetic_data_is_named_above_both_tables(self, folders, command):
        out = command("compare", *folders).out
        assert len(re.findall("^SYNTHETIC DATA: ", out, re.MULTILINE)) == 3

    def test_lines_of_tables_are_narrow(self, folders, command):
        out = command("compare", *folders, "--against=all").out
        tables = [line for line in out.splitlines() if re.match(r"[A-C ] ", line)]
        assert len(tables) > 20
        assert max(map(len, tables)) <= 140

    def test_nothing_is_written(self, folders, command, content, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        before = content(folders[0].parent)
        command("compare", *folders)
        assert content(folders[0].parent) == before
        assert list(tmp_path.iterdir()) == []

    def test_runs_may_be_given_as_a_flag_too(self, folders, command):
        named = ",".join(map(str, folders))
        assert (
            command("compare", f"--runs={named}").out
            == command("compare", *folders).out
        )


class TestMarks:
    def test_a_figure_is_marked_where_its_difference_is_significant(self):
        found = made()
        table = command_module.runs_table(found)
        significant = {(t.b, t.metric) for t in found.tests if t.significant}
        assert significant
        assert len(significant) < len(found.tests)
        rows = {row[1]: row for row in table.rows}
        for test in found.tests:
            cell = rows[test.b][2 + found.metrics.index(test.metric)]
            assert ("*" in cell) == ((test.b, test.metric) in significant)
        base = rows[found.tests[0].a]
        assert "*" not in " ".join(base)
        assert "significantly from A" in table.notes[0]

    def test_digits_stay_aligned_beside_a_mark(self):
        table = command_module.runs_table(made())
        for column in range(2, 8):
            cells = [row[column] for row in table.rows]
            assert len({len(cell) for cell in cells}) == 1, cells

    def test_without_a_significant_difference_that_is_said(self):
        found = compare([make("runs/a", "A"), make("runs/b", "B", seed=1)])
        table = command_module.runs_table(found)
        assert table.notes[0] == "no run differs significantly from A (below)"
        assert "*" not in str(table.rows)

    def test_between_all_pairs_only_the_differences_are_marked(self):
        found = made(against="all")
        assert "*" not in str(command_module.runs_table(found).rows)
        assert "* C is better" in str(command_module.differences_table(found).rows)

    def test_the_best_figure_of_a_column_is_bold(self):
        found = made()
        table = command_module.runs_table(found)
        assert {table.rows[r][1] for r, _ in table.bold} == {"C"}
        assert {c for _, c in table.bold} == set(range(2, 8))
        # RMSE is the smallest of its column, NDCG the largest.
        for column, choose in ((2, min), (6, max)):
            figures = [row[column].strip("* ") for row in table.rows if row[0]]
            (bold,) = [row for row, c in table.bold if c == column]
            assert table.rows[bold][column].strip("* ") == choose(figures)

    def test_what_is_not_defined_is_a_dash(self):
        runs = [make("runs/a", "A"), make("runs/b", "B", seed=1, stars=False)]
        found = compare(runs)
        row = command_module.runs_table(found).rows[1]
        assert row[2:5] == ["–", "–", "–"]
        assert row[-2:] == ["–", "–"]
        test = command_module.differences_table(found).rows[0]
        assert test == ["B − A", "RMSE", "–", "–", "–", "–", "–", ""]

    def test_more_than_26_runs_have_names_too(self):
        names = command_module.letters(30)
        assert len(set(names)) == 30
        assert names[:2] == ["A", "B"]
        assert names[26:28] == ["AA", "AB"]


class TestOtherFormats:
    def test_csv_holds_every_digit_in_tidy_columns(self, folders, found, command):
        out = command("compare", *folders, "--format=csv").out
        rows = list(csv.DictReader(io.StringIO(out)))
        assert {len(row) for row in rows} == {len(command_module.TIDY.split())}
        figures = [row for row in rows if row["kind"] == "figure"]
        assert len(figures) == 3 * 6
        assert len(rows) == 3 * 6 + 12
        for line in figures:
            (row,) = [row for row in found.rows if row.label == line["run"]]
            figure = row.figures[line["metric"]]
            assert float(line["value"]) == figure.mean
            assert [float(line["ci95_low"]), float(line["ci95_high"])] == list(
                figure.ci95
            )
            assert line["sd"] == ("" if figure.sd is None else repr(figure.sd))
            assert line["seeds"] == " ".join(map(str, row.seeds))
            assert float(line["train_seconds"]) == row.train_seconds
        for line, test in zip(rows[18:], found.tests, strict=True):
            assert (line["run"], line["against"]) == (test.b, test.a)
            assert float(line["value"]) == test.difference
            assert float(line["p_holm"]) == test.p_holm
            assert line["significant"] == str(test.significant).lower()
            assert line["better"] == (test.better or "")
        assert {row["synthetic"] for row in rows} == {"true"}
        assert {row["data"] for row in rows} == {found.data}

    def test_json_is_the_comparison(self, folders, found, command):
        out = command("compare", *folders, "--format=json").out
        assert json.loads(out) == json.loads(json.dumps(formats.plain(found)))

    def test_markdown_holds_both_tables(self, folders, found, command):
        out = command("compare", *folders, "--format=markdown").out
        rules = [line for line in out.splitlines() if line.startswith("| :--")]
        assert len(rules) == 2
        ncf = found.rows[0].figures["rmse"]
        assert f"{ncf.mean:.4f} ± {ncf.sd:.4f}" in out
        assert "**SYNTHETIC DATA: " in out
        assert out.count("± sd of") == 0

    def test_latex_holds_both_tables(self, folders, command):
        out = command("compare", *folders, "--format=latex").out
        assert out.count(r"\begin{table}") == out.count(r"\end{table}") == 2
        assert out.count(r"\toprule") == 2
        assert r"R\textsuperscript{2}" in out
        assert "SYNTHETIC DATA" in out
        assert not re.search(r"(?<!\\)[%_]", out)

    def test_metrics_and_base_are_chosen_by_flags(self, folders, found, command):
        out = command(
            "compare",
            *folders,
            "--format=json",
            "--against=best",
            "--compare_metrics=hit_rate@10,rmse",
        ).out
        chosen = json.loads(out)
        assert chosen["metrics"] == ["hit_rate@10", "rmse"]
        lowest = min(found.rows, key=lambda row: row.figures["rmse"].mean)
        assert {test["a"] for test in chosen["tests"]} == {lowest.label}


class TestRefused:
    @pytest.mark.parametrize("count", [0, 1])
    def test_fewer_than_two_folders(self, folders, command, count):
        sentence = command("compare", *folders[:count]).sentence(4)
        assert "two or more run folders" in sentence

    def test_a_folder_given_twice(self, folders, command):
        sentence = command("compare", folders[0], f"{folders[0]}/").sentence(4)
        assert "given twice" in sentence

    def test_what_is_not_a_run_folder(self, folders, command, tmp_path):
        sentence = command("compare", folders[0], tmp_path).sentence(4)
        assert str(tmp_path) in sentence

    def test_a_run_that_lacks_its_values_of_users(self, folders, command, tmp_path):
        half = shutil.copytree(folders[1], tmp_path / "half")
        (half / "per_user.npz").unlink()
        sentence = command("compare", folders[0], half).sentence(4)
        assert "per_user.npz" in sentence
        assert str(half) in sentence

    @pytest.mark.parametrize("what", ["data", "split"])
    def test_a_run_of_another_fingerprint(self, folders, command, tmp_path, what):
        other = shutil.copytree(folders[1], tmp_path / "other")
        results = json.loads((other / "metrics.json").read_text())
        results[what] = "0123456789abcdef"
        (other / "metrics.json").write_text(json.dumps(results))
        sentence = command("compare", folders[0], other).sentence(4)
        for part in (str(folders[0]), str(other), what, "0123456789abcdef"):
            assert part in sentence

    def test_a_metric_misspelt(self, folders, command):
        outcome = command("compare", *folders, "--compare_metrics=rmes")
        assert "Did you mean 'rmse'?" in outcome.sentence(2)

    @pytest.mark.parametrize(
        "flag", ["--against=worst", "--format=xml", "--agains=all"]
    )
    def test_another_flag_or_word(self, folders, command, flag):
        command("compare", *folders, flag).sentence(2)
