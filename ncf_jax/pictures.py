"""The run's pictures, as PNG bytes: the metrics table and the learning curves.

Drawn with matplotlib's object interface: no global state, no display.
"""

import io
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ncf_jax import results as tables

INK, MUTED, RULE = "#1a1a1a", "#666666", "#bbbbbb"
TRAIN, VALID, WARNING = "#7a8fa6", "#b5482a", "#b00020"
DPI = 200


def metrics_table(results: dict[str, Any]) -> bytes:
    """The metrics table as one would set it in a paper; the best figures are bold."""
    header, rows = tables.table_rows(results)
    label_width = 0.09 * max(len(row[0]) for row in rows) + 0.7
    column_width = 1.0 if len(results["seeds"]) == 1 else 1.55
    right = label_width + 0.35 + column_width * (len(header) - 2)
    width = right + 0.3
    # A letter of the notes is about 0.053 inches wide.
    notes = [
        (piece, results["synthetic"] and number == 0)
        for number, note in enumerate(tables.footnotes(results))
        for piece in textwrap.wrap(note, int((width - 0.6) / 0.053))
    ]
    height = 0.3 * len(rows) + 0.28 * len(notes) + 1.25
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)

    def rule(y: float, weight: float) -> None:
        axes.plot([0.25, right], [y, y], color=INK, linewidth=weight)

    def line(y: float, cells: Sequence[str], bold: Sequence[bool]) -> None:
        axes.text(0.3, y, cells[0], va="center", fontsize=9.5, color=INK)
        axes.text(label_width, y, cells[1], va="center", fontsize=9, color=MUTED)
        for column, text in enumerate(cells[2:]):
            axes.text(
                label_width + 0.35 + column_width * (column + 1),
                y,
                text,
                va="center",
                ha="right",
                fontsize=9.5,
                color=INK,
                weight="bold" if bold[column] else "normal",
            )

    axes.text(0.3, 0.35, "Model Evaluation Metrics", fontsize=13, weight="bold")
    rule(0.55, 1.2)
    line(0.74, header, [False] * len(header))
    rule(0.92, 0.6)
    best = _best(header, rows)
    for number, row in enumerate(rows):
        line(1.12 + 0.3 * number, row, best[number])
    bottom = 1.12 + 0.3 * (len(rows) - 1) + 0.2
    rule(bottom, 1.2)
    for number, (text, warning) in enumerate(notes):
        axes.text(
            0.3,
            bottom + 0.24 + 0.24 * number,
            text,
            fontsize=7,
            va="center",
            color=WARNING if warning else MUTED,
        )
    return _png(figure)


def _best(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[list[bool]]:
    """Which figures are the best of the test rows; errors are better when smaller."""
    smaller = {"RMSE", "MAE"}
    best = [[False] * (len(header) - 2) for _ in rows]
    for column, name in enumerate(header[2:]):
        cells = {n: row[column + 2] for n, row in enumerate(rows) if row[1] == "test"}
        values = {n: float(x.split()[0]) for n, x in cells.items() if x != "–"}
        if not values:
            continue
        top = min(values.values()) if name in smaller else max(values.values())
        for n, value in values.items():
            best[n][column] = value == top
    return best


def learning_curves(results: dict[str, Any], history: Sequence[dict]) -> bytes:
    """Training and validation loss by epoch, the best validation epoch marked."""
    figure = Figure(figsize=(6.4, 4))
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.14, 0.13, 0.83, 0.65))
    epochs = [row["epoch"] for row in history]
    axes.plot(
        epochs,
        [row["train_loss"] for row in history],
        color=TRAIN,
        marker="o",
        markersize=4,
        label="training (with dropout)",
    )
    valid = [(row["epoch"], row["valid_loss"]) for row in history]
    valid = [pair for pair in valid if pair[1] is not None]
    if valid:
        axes.plot(
            *zip(*valid, strict=True),
            color=VALID,
            marker="o",
            markersize=4,
            label="validation (lowest in figures)",
        )
        best = min(valid, key=lambda pair: pair[1])
        axes.annotate(
            f"{best[1]:.4f}",
            best,
            xytext=(0, -14),
            textcoords="offset points",
            ha="center",
            color=VALID,
            fontsize=9,
        )
    axes.set_xlabel("epoch")
    axes.set_ylabel("mean loss (ratings / 5)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color=RULE, linewidth=0.5, alpha=0.6)
    axes.margins(y=0.12)
    axes.legend(frameon=False)
    seeds = len(results["seeds"])
    data = results["dataset"] + (f", mean of {seeds} seeds" if seeds > 1 else "")
    lines = textwrap.wrap(data, 95)
    figure.text(0.02, 0.96, results["model"], va="top", fontsize=11, weight="bold")
    figure.text(
        0.02,
        0.89,
        "\n".join(lines),
        va="top",
        fontsize=8,
        color=WARNING if results["synthetic"] else MUTED,
    )
    return _png(figure)


def _png(figure: Figure) -> bytes:
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=DPI, facecolor="white")
    return out.getvalue()


def benchmark(suites: Mapping[str, Sequence[Mapping[str, Any]]]) -> bytes | None:
    """A panel for each section of a benchmark: medians as bars, least to most as lines.

    None where nothing was measured.

    Args:
      suites: suite -> sections with `title` and `entries`, as benchmark.json has them.
    """
    sections = [
        (f"{suite}: {section['title']}", shown)
        for suite, each in suites.items()
        for section in each
        if (shown := [e for e in section["entries"] if e["missing"] is None])
    ]
    if not sections:
        return None
    heights = [0.28 * len(shown) + 0.75 for _, shown in sections]
    figure = Figure(figsize=(8, sum(heights) + 0.2), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(sections), squeeze=False, height_ratios=heights)
    for axes, (title, shown) in zip(panels[:, 0], sections, strict=True):
        medians = [entry["median"] for entry in shown]
        spread = [
            [entry["median"] - entry["min"] for entry in shown],
            [entry["max"] - entry["median"] for entry in shown],
        ]
        names = [entry["name"] for entry in shown]
        axes.barh(names, medians, xerr=spread, color=TRAIN, ecolor=INK, height=0.6)
        axes.invert_yaxis()
        axes.set_title(title, fontsize=9, loc="left", color=INK)
        axes.tick_params(labelsize=8, colors=INK, length=0)
        axes.set_xlim(0, 1.15 * max(entry["max"] for entry in shown))
        for place, entry in enumerate(shown):
            text = f" {entry['ratio']:.2f}x" if len(shown) > 1 else ""
            axes.text(entry["max"], place, text, va="center", fontsize=8, color=MUTED)
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)
    panels[-1, 0].set_xlabel("seconds; ratios are to the first of a panel", fontsize=8)
    return _png(figure)
