"""Tables as text: what a table holds comes back from its Markdown and its LaTeX,
whatever it holds; figures stand to the right."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ncf_jax import comparison, formats

NAN = float("nan")
NASTY = [
    "Love & Death (1975)",
    "50 % [of] it",
    "a|b",
    "*stars* and _lines_",
    "`code` ~ ^ $5 #1 {x}",
    "back\\slash",
    "[REC]² (2009)",
    "* alone",
    "0.91 ± 0.02 × 3 – 4 … −1",
    "<b>not bold</b>",
    "--split=global_time",
    "Amélie – 映画",
]


def unescape_markdown(text):
    return re.sub(r"\\([\\`*_\[\]<>|~#&])", r"\1", text)


def cells_of(line):
    """The cells of a row of a pipe table, as a reader sees them."""
    inner = re.split(r"(?<!\\)(?:\\\\)*\|", line)[1:-1]
    assert line.startswith("|")
    assert line.endswith("|")
    return [unescape_markdown(cell.strip()) for cell in inner]


# LaTeX's own words for what it prints, the longest first.
PRINTED = {
    r"\textsuperscript{2}": "²",
    r"\textasciicircum{}": "^",
    r"\textasciitilde{}": "~",
    r"\textasciigrave{}": "`",
    r"\textbackslash{}": "\\",
    r"\textgreater{}": ">",
    r"\textless{}": "<",
    r"\textbar{}": "|",
    r"$\times$": "×",
    r"$\cdot$": "·",
    r"\ldots{}": "…",
    r"$\geq$": "≥",
    r"$\leq$": "≤",
    r"\dag{}": "†",
    r"$\pm$": "±",
    "-{}-": "--",
    "{[}": "[",
    "{*}": "*",
    "$-$": "−",
    "--": "–",
    **{f"\\{special}": special for special in "&%$#_{}"},
}


def printed(latex):
    """What LaTeX would print: read from the left, never twice."""
    pattern = "|".join(map(re.escape, PRINTED))
    return re.sub(pattern, lambda found: PRINTED[found.group()], latex)


def table(rows, **changes):
    header = [f"c{n}" for n in range(len(rows[0]))]
    return formats.Table(header, rows, **changes)


class TestMarkdown:
    @pytest.mark.parametrize("text", NASTY)
    def test_a_cell_comes_back_as_it_was(self, text):
        lines = formats.markdown(table([[text, "end"]])).splitlines()
        assert cells_of(lines[2]) == [text, "end"]

    @given(st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S"])))
    def test_any_text_comes_back_on_one_row(self, text):
        text = "a" + text
        out = formats.markdown(table([[text, "end"]]))
        assert out.count("\n") == 3
        # The reader of the test splits at pipes that no backslash precedes.
        body = out.splitlines()[2].removeprefix("| ").removesuffix(" | end |")
        assert unescape_markdown(body) == text

    def test_a_line_break_would_end_the_row(self):
        lines = formats.markdown(table([["two\nlines", "end"]])).splitlines()
        assert cells_of(lines[2]) == ["two lines", "end"]

    def test_caption_rule_and_notes_have_their_places(self):
        out = formats.markdown(
            table([["a", "1"]], caption="A_table", notes=["One.", "a_b"])
        )
        assert out.splitlines() == [
            r"**A\_table**",
            "",
            "| c0 | c1 |",
            "| :-- | --: |",
            "| a | 1 |",
            "",
            "- One.",
            r"- a\_b",
        ]

    def test_only_the_chosen_cells_are_bold(self):
        out = formats.markdown(table([["a", "1"], ["b", "2*"]], bold={(1, 1)}))
        assert out.splitlines()[2:] == ["| a | 1 |", r"| b | **2\*** |"]


class TestLatex:
    @pytest.mark.parametrize("text", NASTY)
    def test_a_cell_comes_back_as_it_was(self, text):
        row = formats.latex(table([[text, "end"]])).splitlines()[6]
        assert printed(row).removesuffix(r" & end \\") == text

    @pytest.mark.parametrize("special", "&%$#_{}~^\\")
    def test_no_special_character_is_left_bare(self, special):
        row = formats.latex(table([[f"a{special}b", "end"]])).splitlines()[6]
        cell = row.removesuffix(r" & end \\")
        bare = re.sub(r"\\[&%$#_{}]|\\text[a-z]+\{\}", "", cell)
        assert bare == "ab"

    @pytest.mark.parametrize("text", ["[REC] (2007)", "* is a mark"])
    def test_a_row_never_looks_like_an_option_of_the_one_before(self, text):
        # After \\ LaTeX takes [..] for a length and * for another command.
        out = formats.latex(table([["a", "1"], [text, "2"]]))
        assert not re.search(r"\\\\\s*[\[*]", out)
        out = formats.latex(table([["a", "1"]], notes=["one", text]))
        assert not re.search(r"\\\\\s*[\[*]", out)

    def test_minus_signs_of_figures_are_no_hyphens(self):
        row = formats.latex(table([["ml-latest-small", "-0.5 to -0.25"]]))
        assert r"ml-latest-small & $-$0.5 to $-$0.25 \\" in row

    def test_it_is_a_floating_table_with_booktabs_rules(self):
        out = formats.latex(
            table(
                [["a", "1"], ["b", "2"]],
                caption="50 %",
                notes=["x", "y"],
                bold={(0, 1)},
            )
        )
        assert out.splitlines() == [
            r"\begin{table}",
            r"\centering",
            r"\caption{50 \%}",
            r"\begin{tabular}{lr}",
            r"\toprule",
            r"c0 & c1 \\",
            r"\midrule",
            r"a & \textbf{1} \\",
            r"b & 2 \\",
            r"\bottomrule",
            r"\end{tabular}",
            r"\par\smallskip{\footnotesize\raggedright x \\ y\par}",
            r"\end{table}",
        ]

    @pytest.mark.parametrize("text", NASTY)
    def test_braces_and_dollars_are_balanced(self, text):
        out = formats.latex(table([[text, text]], caption=text, notes=[text]))
        bare = re.sub(r"\\[{}$]", "", out)
        assert bare.count("{") == bare.count("}")
        assert bare.count("$") % 2 == 0


class TestFigures:
    def test_columns_of_figures_stand_to_the_right(self):
        rows = [
            ["model", "0.8578*", "-0.5 to 0.1", "–", "", "", "−3"],
            ["1984", "0.9 ± 0.1", "–", "61 %", "", "x", ""],
        ]
        expected = [False, True, True, True, False, False, True]
        assert formats.figures(table(rows)) == expected

    def test_a_table_without_rows_has_columns(self):
        empty = formats.Table(["a", "b"], [])
        assert formats.figures(empty) == [False, False]
        assert formats.markdown(empty).splitlines() == ["| a | b |", "| :-- | :-- |"]


class TestPlain:
    def test_named_tuples_become_objects(self):
        row = comparison.Row("a", "runs/a", (0, 1), {}, 1.5, None)
        row = row._replace(figures={"rmse": comparison.Figure(0.9, None, (0.8, NAN))})
        found = formats.plain((row,))
        assert json.loads(json.dumps(found, allow_nan=False)) == [
            {
                "label": "a",
                "folder": "runs/a",
                "seeds": [0, 1],
                "figures": {"rmse": {"mean": 0.9, "sd": None, "ci95": [0.8, None]}},
                "train_seconds": 1.5,
                "evaluate_seconds": None,
            }
        ]

    @pytest.mark.parametrize("value", [NAN, float("inf"), -float("inf")])
    def test_what_is_not_finite_is_null(self, value):
        assert formats.plain([value, 0.1 + 0.2]) == [None, 0.1 + 0.2]
