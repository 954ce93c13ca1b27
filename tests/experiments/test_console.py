"""How commands speak.

Held here: tables are aligned, whole and literal, also in a pipe and whatever a title
holds; colours only on a terminal and never under NO_COLOR; progress is a bar on a
terminal and plain lines elsewhere; what was changed from the default is marked.
"""

import dataclasses
import io
import re
import sys
from typing import ClassVar

import numpy as np
import pytest
import rich

from experiments import console
from ncf_jax.config import Config
from ncf_jax.fitting import EpochReport

COLOUR = re.compile(r"\x1b\[[0-9;]*3[0-9]")


class Terminal(io.StringIO):
    """Standard output as a terminal sees it."""

    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "100")
    # rich keeps one console, with the environment as it was when first used.
    monkeypatch.setattr(rich, "_console", None)

    def take():
        # In the test's own phase: pytest puts its own stream back between phases.
        out = Terminal()
        monkeypatch.setattr(sys, "stdout", out)
        return out

    return take


def epoch(number, valid=0.25):
    return EpochReport(number, np.array([0.5, 0.7]), np.array([valid] * 2), 2.0, 1500.0)


class TestTable:
    def test_text_is_aligned_to_the_left_and_figures_to_the_right(self, capsys):
        console.table(
            ["model", "rows", "RMSE"],
            [["Bias", "test", "0.8578"], ["A long name", "valid", "-10.0"]],
        )
        assert capsys.readouterr().out.splitlines() == [
            "model        rows     RMSE",
            "Bias         test   0.8578",
            "A long name  valid   -10.0",
        ]

    def test_an_undefined_figure_stands_in_its_column(self, capsys):
        console.table(["model", "RMSE"], [["a", "0.8578"], ["b", "–"]])
        assert capsys.readouterr().out.splitlines()[2] == "b           –"

    @pytest.mark.parametrize("columns", ["20", "80", None])
    def test_a_long_row_is_never_cut_in_a_pipe(self, capsys, monkeypatch, columns):
        if columns:
            monkeypatch.setenv("COLUMNS", columns)
        title = "word " * 200 + "end"
        console.table(
            ["title", "genres", "movieId"], [[title, "Drama|" * 50, "193609"]]
        )
        header, row = capsys.readouterr().out.splitlines()
        assert title in row
        assert row.endswith("193609")
        assert header.endswith("movieId")
        assert "…" not in row

    @pytest.mark.parametrize(
        "title",
        [
            "[REC] (2007)",
            "[REC]² (2009)",
            "Gone [bold] and [/bold] (1999)",
            "[red]Red[/red]",
            "[/] (2001)",
            "back\\[slash] (2002)",
            "ends in \\",
            "Love :heart: (2003)",
            "50 % [of] it, “quoted” & <b>",
            "映画 (1954)",
        ],
    )
    def test_a_title_is_printed_as_it_is(self, capsys, title):
        console.table(["#", "title", "genres"], [["1", title, "Horror"]])
        row = capsys.readouterr().out.splitlines()[1]
        assert row.split("  ")[1].strip() == title

    def test_there_are_no_codes_in_a_pipe(self, capsys):
        console.table(["model"], [["Bias"]])
        assert "\x1b" not in capsys.readouterr().out

    def test_on_a_terminal_the_header_stands_out(self, terminal):
        # Control of the test above.
        out = terminal()
        console.table(["model"], [["Bias"]])
        assert "\x1b[1m" in out.getvalue()


class TestProgress:
    def test_each_epoch_is_a_plain_line_in_a_pipe(self, capsys):
        with console.Progress(2, 0) as progress:
            progress.epoch(epoch(1))
            progress.epoch(epoch(2, valid=0.125))
        out = capsys.readouterr().out
        mean = (0.5 + 0.7) / 2
        tail = "2.00 s  1,500 examples/s"
        assert out.splitlines() == [
            f"epoch   1  train loss {mean:.4f}  valid loss 0.2500  {tail}",
            f"epoch   2  train loss {mean:.4f}  valid loss 0.1250  {tail}",
        ]
        assert "\x1b" not in out

    def test_on_a_terminal_there_is_a_bar_as_well_as_the_lines(self, terminal):
        screen = terminal()
        with console.Progress(4, 1) as progress:
            progress.epoch(epoch(2))
        out = screen.getvalue()
        plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", out)
        assert "epoch   2  train loss 0.6000" in plain
        assert "2/4" in plain, "it counts what was done before"
        assert COLOUR.search(out)

    def test_no_color_is_honoured(self, terminal, monkeypatch):
        monkeypatch.setenv("NO_COLOR", "1")
        out = terminal()
        with console.Progress(4, 0) as progress:
            progress.epoch(epoch(1))
        console.table(["model"], [["Bias"]])
        assert "train loss" in out.getvalue()
        assert not COLOUR.search(out.getvalue())

    def test_the_terminal_is_given_back_when_the_run_breaks(self, terminal):
        show_cursor, out = "\x1b[?25h", terminal()
        bar = console.Progress(4, 0)
        with pytest.raises(KeyboardInterrupt), bar:
            raise KeyboardInterrupt
        assert out.getvalue().rstrip().rfind(show_cursor) > 0


def option_lines(out):
    """The indented lines; what introduces them is not indented."""
    return [line for line in out.splitlines() if line.startswith("  ")]


class TestResults:
    FIGURE: ClassVar[dict] = {
        "mean": 0.5,
        "sd": None,
        "ci95": [0.25, 0.75],
        "values": [0.5],
        "definition": "as defined",
        "n_used": 9,
        "n_left_out": 1,
    }
    NAMES = ("precision", "ndcg", "recall", "mrr", "novelty")

    @pytest.fixture
    def found(self):
        names = ["rmse", "mae", "r2"]
        names += [f"{name}@{k}" for k in (10, 5) for name in self.NAMES]
        return {
            "model": "A model",
            "dataset": "made up",
            "synthetic": False,
            "floor_rmse": None,
            "split_definition": "by hand",
            "warnings": ["Leak in time: all of it."],
            "rows": {"test": 90},
            "seeds": [0],
            "k": 10,
            "ks": [10, 5],
            "convention": "standard",
            "candidates": "rated",
            "ties": "expected",
            "threshold": 4.0,
            "metrics": {f"test/{name}": dict(self.FIGURE) for name in names},
            "baselines": {},
            "data": "0" * 16,
            "split": "1" * 16,
        }

    def test_two_tables_and_the_notes_are_printed(self, found, capsys):
        found["metrics"]["test/novelty@5"]["mean"] = 12.25
        console.results(found)
        first, second, notes = capsys.readouterr().out.strip("\n").split("\n\n")
        assert first.splitlines()[0].split()[-3:] == ["P@10", "NDCG@10", "R@10"]
        assert first.splitlines()[1].startswith("A model  test  0.5000")
        assert second.splitlines()[0].split()[:4] == ["P", "NDCG", "R", "MRR"]
        assert second.splitlines()[2].split() == [
            *("test,", "K", "=", "5"),
            *("0.5000", "0.5000", "0.5000", "0.5000", "12.2500"),
        ]
        assert notes.splitlines()[-1] == "Leak in time: all of it."

    def test_figures_of_all_sizes_are_aligned_to_the_right(self, found, capsys):
        found["metrics"]["test/novelty@5"]["mean"] = 12.25
        console.results(found)
        lines = capsys.readouterr().out.split("\n\n")[1].splitlines()
        assert len({len(line) for line in lines}) == 1

    def test_what_is_not_shown_is_not_asked_for(self, found, capsys):
        # A run without one of the figures of the second table has no such column.
        for key in ("test/mrr@10", "test/mrr@5"):
            del found["metrics"][key]
        console.results(found)
        assert "MRR" not in capsys.readouterr().out


class TestOptions:
    def test_each_option_is_a_line_and_what_was_changed_is_marked(self, capsys):
        console.options(Config(epochs=3, dropout=0.5))
        lines = option_lines(capsys.readouterr().out)
        assert len(lines) == len(dataclasses.fields(Config))
        marked = [line.split()[0] for line in lines if line.endswith(" *")]
        assert marked == ["epochs", "dropout"]

    def test_values_stand_in_one_column(self, capsys):
        # Every option with a value: an empty one has nothing to stand there.
        # Features of one's own need ratings of one's own.
        texts = {f.name: "x" for f in dataclasses.fields(Config) if f.default == ""}
        console.options(Config(dataset="ratings.csv", **texts))
        lines = option_lines(capsys.readouterr().out)
        width = max(len(field.name) for field in dataclasses.fields(Config))
        for line in lines:
            assert line[: width + 4].endswith("  ")
            assert line[width + 4] != " "

    @pytest.mark.parametrize(
        ("k", "shown"), [(10, "10"), ((5,), "5 *"), ((10, 5, 20), "10,5,20 *")]
    )
    def test_several_values_are_shown_as_the_command_line_has_them(
        self, capsys, k, shown
    ):
        console.options(Config(k=k))
        lines = option_lines(capsys.readouterr().out)
        (line,) = [line for line in lines if line.split()[0] == "k"]
        assert line.split(maxsplit=1)[1] == shown

    def test_lines_reach_a_pipe_at_once(self, monkeypatch):
        flushed = []

        class Pipe(io.StringIO):
            def flush(self):
                flushed.append(self.getvalue())

        monkeypatch.setattr(sys, "stdout", Pipe())
        console.say("first", "second")
        assert flushed == ["first\n", "first\nsecond\n"]
