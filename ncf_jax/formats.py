"""Text in tables as Markdown and LaTeX, and values for JSON: pure functions.

A `Table` is rounded for reading; `plain` gives programs every digit, for JSON.

Example:
  >>> table = Table(["model", "RMSE"], [["a|b", "0.8578"]], "Test", bold={(0, 1)})
  >>> print(markdown(table))
  **Test**
  <BLANKLINE>
  | model | RMSE |
  | :-- | --: |
  | a\\|b | **0.8578** |
  <BLANKLINE>
"""

import math
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple


class Table(NamedTuple):
    """Text in rows and columns.

    Attributes:
      header: a name a column.
      rows: as wide as the header.
      caption: what it shows.
      notes: what its reader must know, a sentence each.
      bold: (row, column) of cells that stand out.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    notes: Sequence[str] = ()
    bold: Collection[tuple[int, int]] = frozenset()


def plain(value: Any) -> Any:
    """NamedTuples as objects, tuples as lists, what is not finite as null: for JSON.

    Example:
      >>> from ncf_jax.comparison import Figure
      >>> plain(Figure(0.5, None, (float("nan"), 1.0)))
      {'mean': 0.5, 'sd': None, 'ci95': [None, 1.0]}
    """
    if hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, Mapping):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def figures(table: Table) -> list[bool]:
    """Of each column, whether it holds figures, which stand to the right."""
    columns = list(zip(*table.rows, strict=True)) or [()] * len(table.header)
    return [
        any(text.strip() for text in column)
        and all(re.match(r"[-−–+±\d.]|$", text.strip()) for text in column)
        for column in columns
    ]


def markdown(table: Table) -> str:
    """A pipe table of GitHub's Markdown, with caption and notes."""

    def line(cells: Sequence[str]) -> str:
        return f"| {' | '.join(cells)} |"

    body = [
        line(
            [
                f"**{_markdown(text)}**" if (r, c) in table.bold else _markdown(text)
                for c, text in enumerate(row)
            ]
        )
        for r, row in enumerate(table.rows)
    ]
    lines = [f"**{_markdown(table.caption)}**", ""] if table.caption else []
    lines += [
        line([_markdown(name) for name in table.header]),
        line(["--:" if right else ":--" for right in figures(table)]),
        *body,
    ]
    if table.notes:
        lines += ["", *(f"- {_markdown(note)}" for note in table.notes)]
    return "\n".join(lines) + "\n"


def _markdown(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    return re.sub(r"[\\`*_\[\]<>|~#&]", r"\\\g<0>", " ".join(text.split()))


_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "−": "$-$",
    "–": "--",
    "…": r"\ldots{}",
    "±": r"$\pm$",
    "×": r"$\times$",
    "·": r"$\cdot$",
    "²": r"\textsuperscript{2}",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "†": r"\dag{}",
    "`": r"\textasciigrave{}",
} | {special: f"\\{special}" for special in "&%$#_{}"}


def _latex(text: str) -> str:
    """Text that LaTeX sets as it is, on one line."""
    text = re.sub("-(?=-)", "-\0", " ".join(text.split()))  # two hyphens are no dash
    text = "".join(_LATEX.get(letter, letter) for letter in text).replace("\0", "{}")
    text = re.sub(r"(?<!\S)-(?=[\d.])", "$-$", text)  # a figure's minus is no hyphen
    return re.sub(r"^[\[*]", r"{\g<0>}", text)  # no option of the row's end before it


def latex(table: Table) -> str:
    r"""A floating table with booktabs' rules; notes stand below it, small.

    Example:
      >>> print(latex(Table(["model", "R²"], [["A & B", "-0.5"]])))
      \begin{table}
      \centering
      \begin{tabular}{lr}
      \toprule
      model & R\textsuperscript{2} \\
      \midrule
      A \& B & $-$0.5 \\
      \bottomrule
      \end{tabular}
      \end{table}
      <BLANKLINE>
    """

    def line(cells: Sequence[str]) -> str:
        return " & ".join(cells) + r" \\"

    lines = [r"\begin{table}", r"\centering"]
    if table.caption:
        lines.append(rf"\caption{{{_latex(table.caption)}}}")
    columns = "".join("r" if right else "l" for right in figures(table))
    lines += [rf"\begin{{tabular}}{{{columns}}}", r"\toprule"]
    lines += [line([_latex(name) for name in table.header]), r"\midrule"]
    for r, row in enumerate(table.rows):
        cells = [_latex(text) for text in row]
        lines.append(
            line(
                [
                    rf"\textbf{{{cell}}}" if (r, c) in table.bold else cell
                    for c, cell in enumerate(cells)
                ]
            )
        )
    lines += [r"\bottomrule", r"\end{tabular}"]
    if table.notes:
        notes = r" \\ ".join(map(_latex, table.notes))
        lines.append(rf"\par\smallskip{{\footnotesize\raggedright {notes}\par}}")
    return "\n".join([*lines, r"\end{table}"]) + "\n"
