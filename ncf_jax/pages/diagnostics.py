"""Drawings of where a model errs: calibration, residuals, groups of rows.

As in `figures`: each is a pure function to an `<svg>` element, laid out for a phone.
"""

import textwrap
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from ncf_jax.pages.breakdown import STEP, Calibration, Groups
from ncf_jax.pages.figures import LETTER, WIDTH, grid, only_below, ours, room, stroke
from ncf_jax.pages.svg import ACCENT, INK, MUTED, OTHER, Drawing

FEW = 100  # rows; a group with fewer has its name in grey


@ours
def calibration(found: Calibration, *, name: str) -> str:
    """Mean true by mean predicted rating, with how many rows there are below."""
    drawing = Drawing(WIDTH, 342)
    axes = drawing.panel(50, 8, WIDTH - 62, 230)
    shown = np.concatenate(
        [found.predicted, found.true, found.true_low, found.true_high]
    )
    shown = shown[np.isfinite(shown)]
    low, high = min(shown.min(), 2.0) - 0.15, max(shown.max(), 4.5) + 0.15
    axes.plot([low, high], [low, high], color=MUTED, linewidth=0.9, dashes=(3, 2))
    for x, bottom, top in zip(
        found.predicted, found.true_low, found.true_high, strict=True
    ):
        if np.isfinite(bottom):
            stroke(axes, (x, x), (bottom, top), color=ACCENT)
    axes.plot(found.predicted, found.true, "o", color=ACCENT, markersize=5)
    axes.set_xlim(low, high)
    axes.set_ylim(low, high)
    axes.set_ylabel("true stars, mean")
    axes.yaxis.set_label_coords(-38 / (WIDTH - 62), 0.5)
    axes.set_xticklabels([])
    grid(axes, "both")
    below = drawing.panel(50, 252, WIDTH - 62, 52)
    middle = found.start + STEP / 2
    below.bar(middle, found.rows, width=STEP * 0.84, color=OTHER)
    below.set_xlim(low, high)
    below.yaxis.set_major_locator(MaxNLocator(2, integer=True))
    below.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    below.set_ylabel("rows")
    below.yaxis.set_label_coords(-38 / (WIDTH - 62), 0.5)
    below.set_xlabel("predicted stars (dashed: exactly right)")
    grid(below, "y")
    words = "; ".join(
        f"predicted {x:.2f}, true {y:.2f} ({rows:,.0f} rows)"
        for x, y, rows in zip(found.predicted, found.true, found.rows, strict=True)
    )
    return drawing.finish(name, "True by predicted rating", words + ".")


@ours
def residuals(centre: np.ndarray, share: np.ndarray, *, name: str) -> str:
    """How many rows were missed by how much."""
    drawing = Drawing(WIDTH, 210)
    axes = drawing.panel(44, 8, WIDTH - 56, 160)
    axes.bar(centre, 100 * share, width=STEP * 0.84, color=OTHER)
    axes.axvline(0, color=INK, linewidth=0.9)
    kept = np.flatnonzero(share > 0.0005)
    reach = max(2.0, np.abs(centre[kept]).max() + STEP)
    axes.set_xlim(-reach, reach)
    axes.set_xlabel("predicted minus true, stars")
    axes.set_ylabel("% of rows")
    axes.yaxis.set_label_coords(-32 / (WIDTH - 56), 0.5)
    grid(axes, "y")
    near = share[np.abs(centre) <= 0.5].sum()
    words = f"{100 * near:.0f} % of the rows are missed by about half a star or less."
    return drawing.finish(name, "Predicted minus true rating", words)


@ours
def groups(
    found: Groups, *, name: str, title: str, order: str, ticks: bool = True
) -> str:
    """Error and bias of each group, and how many rows it has.

    Args:
      found: the groups, from the top.
      name: see above.
      title: for who cannot see it.
      order: what the groups are, above their names.
      ticks: whether to mark the standard deviation of each group's ratings.
    """
    labels = [textwrap.shorten(label, 20, placeholder="…") for label in found.labels]
    left = 12 + LETTER * max(map(len, [*labels, order]))
    height, top, counts = 18.0 * len(labels), 18.0, 46.0
    across = WIDTH - left - counts - 14
    drawing = Drawing(WIDTH, top + height + 36)
    error = drawing.panel(left, top, 0.58 * across, height)
    bias = drawing.panel(left + 0.58 * across + 14, top, 0.42 * across, height)
    places = np.arange(len(labels)) + 0.5
    sure = np.isfinite(found.rmse_low)
    known = sure if sure.any() else ~sure
    marks = found.spread[known] if ticks else []
    panels = (
        (error, found.rmse, found.rmse_low, found.rmse_high, marks),
        (bias, found.bias, found.bias_low, found.bias_high, [0.0]),
    )
    for axes, value, low, high, besides in panels:
        axes.set_ylim(len(labels), 0)
        # A group of two rows must not make the others too small to see.
        axes.set_xlim(*room([*value[known], *low[known], *high[known], *besides]))
        for y, a, b in zip(places, low, high, strict=True):
            if np.isfinite(a):
                stroke(axes, (a, b), (y, y), color=ACCENT)
        _dots(axes, value, places, sure)
        only_below(axes, bins=3 if axes is error else 2)
    bias.axvline(0, color=INK, linewidth=0.9)
    if ticks:
        within = (found.spread >= error.get_xlim()[0]) & (
            found.spread <= error.get_xlim()[1]
        )
        error.plot(found.spread[within], places[within], "|", color=INK, markersize=8)
    error.set_xlabel("RMSE, stars")
    bias.set_xlabel("bias, stars")
    for y, label, rows in zip(places, labels, found.rows, strict=True):
        few = MUTED if rows < FEW else INK
        error.annotate(
            label, (0, y), xycoords=("axes fraction", "data"), xytext=(-8, 0),
            textcoords="offset points", ha="right", va="center", color=few,
        )  # fmt: skip
        bias.annotate(
            f"{rows:,}", (1, y), xycoords=("axes fraction", "data"),
            xytext=(counts, 0), textcoords="offset points",
            ha="right", va="center", color=few,
        )  # fmt: skip
    head: dict[str, Any] = dict(
        xycoords="axes fraction", textcoords="offset points", color=MUTED
    )
    error.annotate(order, (0, 1), xytext=(-8, 5), ha="right", **head)
    bias.annotate("rows", (1, 1), xytext=(counts, 5), ha="right", **head)
    words = "; ".join(
        f"{label}: RMSE {rmse:.3f}, bias {tilt:+.3f}, {rows:,} rows"
        for label, rmse, tilt, rows in zip(
            found.labels, found.rmse, found.bias, found.rows, strict=True
        )
    )
    return drawing.finish(name, title, words + ".")


def _dots(axes: Axes, value: np.ndarray, y: np.ndarray, sure: np.ndarray) -> None:
    """A dot for each value, open without an interval; an arrow where it is outside."""
    low, high = axes.get_xlim()
    for x, height, known in zip(value, y, sure, strict=True):
        marker = ">" if x > high else "<" if x < low else "o"
        axes.plot(
            np.clip(x, low, high),
            height,
            marker,
            color=ACCENT,
            markerfacecolor=ACCENT if known else "none",
            markersize=4.5,
            clip_on=False,
        )
