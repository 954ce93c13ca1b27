"""How sure an ensemble is: its spread beside its error, drawn and explained.

From results alone, as in `words`; the figures are those of `metrics.calibration`.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from matplotlib.ticker import MaxNLocator

from ncf_jax.metrics.calibration import LEVELS
from ncf_jax.pages import words
from ncf_jax.pages.figures import WIDTH, grid, ours, room
from ncf_jax.pages.svg import ACCENT, MUTED, Drawing


class Sureness(NamedTuple):
    """An ensemble's spread beside its error.

    Attributes:
      text: what is said above the drawing.
      svg: the drawing.
      caption: what is to be seen in it.
      lines: of the table: group, rows, spread, predicted and found RMSE.
      definitions: (name, definition) of each figure.
    """

    text: str
    svg: str
    caption: str
    lines: list[tuple[str, ...]]
    definitions: list[tuple[str, str]]


def sureness(results: words.Results) -> Sureness | None:
    """How far an ensemble's spread says how far it is off; None without an ensemble."""
    if "spread" not in results:
        return None
    found = results["spread"]["test"]
    groups = found["deciles"]
    columns = [groups[name] for name in ("rows", "spread", "predicted", "found")]
    lines = [
        (str(n), f"{rows:,.0f}", *(words.number(value, digits=3) for value in values))
        for n, (rows, *values) in enumerate(zip(*columns, strict=True), start=1)
    ]
    return Sureness(
        _held(found),
        draw(groups, name="sureness"),
        _worth(found, lines),
        lines,
        [
            (name.replace("_", " "), each["definition"])
            for name, each in found.items()
            if isinstance(each, dict)
        ],
    )


def _held(found: dict[str, Any]) -> str:
    """How far members differ, and what the intervals hold."""
    held = {k: f"{100 * found[f'coverage@{k}']['mean']:.1f} %" for k in LEVELS}
    return (
        f"The predictions of the {found['members']} members for a rating have a "
        f"standard deviation of {words.number(found['mean_spread']['mean'], digits=2)} "
        f"stars in the mean. With that and the noise that every rating has "
        f"({words.number(found['noise']['mean'] ** 0.5, digits=2)} stars), intervals "
        f"that should hold 95 % of the test ratings hold {held[95]}; those for 80 % "
        f"hold {held[80]}, those for 50 % {held[50]}."
    )


def _worth(found: dict[str, Any], lines: list[tuple[str, ...]]) -> str:
    """What the drawing shows, and what the spread is worth."""
    says = "All test rows have the same spread."
    if len(lines) > 1:
        first, last = lines[0], lines[-1]
        says = (
            f"Test rows in {len(lines)} groups by their spread, the surest on the "
            f"left: RMSE of the first is {first[4]} stars where {first[3]} were "
            f"predicted, of the last {last[4]} where {last[3]} were."
        )
    own, same = found["nll"]["mean"], found["nll_constant"]["mean"]
    return (
        f"{says} Rank correlation of spread and absolute error: "
        f"{words.number(found['spearman']['mean'], digits=3)}. Negative log-likelihood "
        f"of a rating: {words.number(own, digits=4)} with its own spread, "
        f"{words.number(same, digits=4)} with the same for all rows (smaller is "
        f"better)."
    )


@ours
def draw(deciles: Mapping[str, Any], *, name: str) -> str:
    """Found by predicted RMSE, a dot for each decile of an ensemble's spread.

    Args:
      deciles: `predicted`, `found` and `rows`, as metrics.json has them.
      name: see above.
    """
    drawing = Drawing(WIDTH, 290)
    axes = drawing.panel(50, 8, WIDTH - 62, 240)
    predicted, found = deciles["predicted"], deciles["found"]
    low, high = room([*predicted, *found])
    axes.plot([low, high], [low, high], color=MUTED, linewidth=0.9, dashes=(3, 2))
    axes.plot(predicted, found, "o", color=ACCENT, markersize=5)
    for limits, axis in ((axes.set_xlim, axes.xaxis), (axes.set_ylim, axes.yaxis)):
        limits(low, high)
        axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
        axis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_xlabel("predicted RMSE, stars (dashed: exactly right)")
    axes.set_ylabel("found RMSE, stars")
    axes.yaxis.set_label_coords(-38 / (WIDTH - 62), 0.5)
    grid(axes, "both")
    words = "; ".join(
        f"predicted {x:.3f}, found {y:.3f} ({rows:,.0f} rows)"
        for x, y, rows in zip(predicted, found, deciles["rows"], strict=True)
    )
    return drawing.finish(name, "Found by predicted error", words + ".")
