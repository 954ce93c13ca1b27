"""The drawings of a page, each a pure function of its figures to an `<svg>` element.

Laid out for 340 pixels, the width of a phone; a wide window shows two side by side.
Each takes `name`, an id that no other drawing of the page has.
"""

import textwrap
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from ncf_jax.pages.svg import ACCENT, MUTED, OTHER, RULE, Drawing, settings

WIDTH = 340
LETTER = 5.9  # pixels, the width of a letter of 10 pixels, generously


class Interval(NamedTuple):
    """One line of `intervals`.

    Attributes:
      label: what it is of.
      value: the figure; None: not defined.
      low: lower end of its 95 % interval, or None.
      high: upper end, or None.
      own: whether it is the one that the page is about.
      filled: an open dot stands for what is not significant.
    """

    label: str
    value: float | None
    low: float | None
    high: float | None
    own: bool = False
    filled: bool = True


def ours(draw: Callable[..., str]) -> Callable[..., str]:
    """Draws with our settings of matplotlib, whatever others are in force."""

    @wraps(draw)
    def inside(*args: Any, **kwargs: Any) -> str:
        with settings():
            return draw(*args, **kwargs)

    return inside


@ours
def intervals(
    lines: Sequence[Interval],
    axis: str,
    *,
    name: str,
    title: str,
    mark: tuple[float, str] | None = None,
    form: str = ".3f",
    strong: bool = True,
) -> str:
    """Figures as dots with their intervals, one below the other.

    Args:
      lines: in this order from the top.
      axis: what is measured, its unit and which end is better.
      name: see above.
      title: for who cannot see it.
      mark: a value to draw a dashed line at, and what it is.
      form: how figures are written.
      strong: whether the page's own line is in bold.
    """
    bold = [strong and line.own for line in lines]
    labels = [
        textwrap.wrap(line.label, int(WIDTH / (LETTER + (0.8 if heavy else 0))))
        for line, heavy in zip(lines, bold, strict=True)
    ]
    heights = [12.0 * len(label) + 20 for label in labels]
    top = 16.0 if mark else 2.0
    height = sum(heights)
    drawing = Drawing(WIDTH, top + height + 34)
    axes = drawing.panel(14, top, WIDTH - 74, height)
    known = [v for each in lines for v in each[1:4] if isinstance(v, float)]
    known += [mark[0]] if mark else []
    axes.set_xlim(*room(known))
    axes.set_ylim(height, 0)
    only_below(axes)
    if mark:
        axes.axvline(mark[0], color=MUTED, linewidth=0.9, linestyle=(0, (3, 2)))
        _beside(axes, mark[0], 0, mark[1], lift=4)
    start, words = 0.0, []
    for line, label, tall, heavy in zip(lines, labels, heights, bold, strict=True):
        colour = ACCENT if line.own else OTHER
        weight = "bold" if heavy else "normal"
        middle = start + tall - 13
        # Labels are as wide as the drawing, not as the panel.
        for row, piece in enumerate(label):
            _text(axes, 0, start + 12 * row + 7, piece, across=True, weight=weight)
        if line.value is None:
            _text(axes, 0, middle, "not defined", across=True, color=MUTED)
            words.append(f"{line.label}: not defined")
        else:
            word = f"{line.label}: {line.value:{form}}"
            if line.low is not None and line.high is not None:
                stroke(axes, (line.low, line.high), (middle, middle), color=colour)
                word += f", {line.low:{form}} to {line.high:{form}}"
            axes.plot(
                line.value,
                middle,
                "o",
                color=colour,
                markerfacecolor=colour if line.filled else "none",
                markersize=7 if line.own else 5.5,
                clip_on=False,
            )
            figure = f"{line.value:{form}}".replace("-", "−")
            _text(axes, 1, middle, f"  {figure}", across=True, weight=weight)
            words.append(word)
        start += tall
    axes.set_xlabel(axis)
    return drawing.finish(name, title, "; ".join(words) + ".")


@ours
def curves(history: Sequence[dict], *, name: str) -> str:
    """Training and validation loss by epoch, the lowest validation loss marked."""
    drawing = Drawing(WIDTH, 230)
    axes = drawing.panel(58, 26, WIDTH - 70, 160)
    epochs = [row["epoch"] for row in history]
    train = [row["train_loss"] for row in history]
    dots = "o" if len(epochs) <= 40 else ""
    axes.plot(epochs, train, color=OTHER, marker=dots, markersize=3.5, linewidth=1.4)
    axes.text(0.99, 1.02, "training", color=OTHER, ha="right", transform=axes.transAxes)
    valid = [(r["epoch"], r["valid_loss"]) for r in history]
    valid = [pair for pair in valid if pair[1] is not None]
    words = f"Training loss goes from {train[0]:.4f} to {train[-1]:.4f}"
    if valid:
        x, y = zip(*valid, strict=True)
        axes.plot(x, y, color=ACCENT, marker=dots, markersize=3.5, linewidth=1.4)
        best = min(valid, key=lambda pair: pair[1])
        axes.plot(*best, "o", color=ACCENT, markersize=9, markerfacecolor="none")
        axes.text(
            0, 1.02, f"validation, lowest {best[1]:.4f} (ringed)", color=ACCENT,
            transform=axes.transAxes, weight="bold",
        )  # fmt: skip
        words += f", validation loss from {y[0]:.4f} to {y[-1]:.4f}; its lowest value "
        words += f"is {best[1]:.4f} in epoch {best[0]}"
    axes.set_xlabel("epoch")
    axes.set_ylabel("mean loss (ratings / 5)")
    axes.yaxis.set_label_coords(-44 / (WIDTH - 70), 0.5)
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.margins(y=0.12)
    grid(axes, "y")
    return drawing.finish(name, "Loss by epoch", words + ".")


def room(values: Sequence[Any]) -> tuple[float, float]:
    """Limits of an axis that leave some air around what is finite of `values`."""
    known = np.array([value for value in values if value is not None], np.float64)
    known = known[np.isfinite(known)]
    if not len(known):
        return 0.0, 1.0
    low, high = float(known.min()), float(known.max())
    air = 0.07 * (high - low) or 0.1
    return low - air, high + air


def only_below(axes: Axes, bins: int = 5) -> None:
    """An axis below and fine lines, nothing at the side."""
    axes.spines["left"].set_visible(False)
    axes.set_yticks([])
    axes.xaxis.set_major_locator(
        MaxNLocator(bins, steps=[1, 2, 2.5, 5, 10], min_n_ticks=2)
    )
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}".replace("-", "−"))
    grid(axes, "x")


def grid(axes: Axes, which: Any) -> None:
    """Fine lines across `x`, `y` or `both`, behind what is drawn."""
    axes.grid(axis=which, color=RULE, linewidth=0.5)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)


def stroke(axes: Axes, x: tuple, y: tuple, *, color: str) -> None:
    """The line of an interval."""
    axes.plot(x, y, color=color, linewidth=1.8, solid_capstyle="butt", clip_on=False)


def _text(
    axes: Axes, x: float, y: float, text: str, *, across: bool, **how: Any
) -> None:
    """Text at the height `y` of the data; `across`: x goes from 0 to 1 of the panel."""
    where = axes.get_yaxis_transform() if across else axes.transData
    axes.text(x, y, text, transform=where, va="center", **how)


def _beside(axes: Axes, x: float, y: float, text: str, *, lift: float) -> None:
    """A note above the panel at `x`, on the side where there is more room."""
    low, high = axes.get_xlim()
    right = x < (low + high) / 2
    axes.annotate(
        text, (x, y), xytext=(0, lift), textcoords="offset points",
        ha="left" if right else "right", color=MUTED,
    )  # fmt: skip
