"""What the page of several runs says, from a `compare.Comparison` alone."""

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from ncf_jax.metrics import SMALLER_IS_BETTER
from ncf_jax.pages import figures, words
from ncf_jax.pages.tables import PLACES, Cell, arrow, best_of, parse

if TYPE_CHECKING:
    from ncf_jax.compare import Comparison, PairedTest


def question(found: "Comparison") -> str:
    """What the page is asked."""
    return f"Which of {len(found.rows)} models is the best on {found.dataset}?"


def answers(found: "Comparison") -> list[words.Verdict]:
    """For the first rating metric and the first of NDCG: who leads, and over whom."""
    wanted = [name for name in ("rmse",) if name in found.metrics]
    wanted += [name for name in found.metrics if words.base(name) == "ndcg"][:1]
    return [answer(found, name) for name in wanted or found.metrics[:1]]


def answer(found: "Comparison", metric: str) -> words.Verdict:
    """Who has the best figure, and which of the tests say so."""
    about = "Ratings" if metric in ("rmse", "mae", "r2") else "Ranking"
    sign = 1 if words.base(metric) in SMALLER_IS_BETTER else -1
    known = []
    for row in found.rows:
        value = row.figures[metric].mean if metric in row.figures else None
        if value is not None:
            known.append((sign * value, row.label, value))
    if not known:
        text = f"{words.label(metric)} is not defined for any of them."
        return words.Verdict(about, "not measured", text, "none")
    _, leader, value = min(known)
    tests = [t for t in found.tests if t.metric == metric and leader in (t.a, t.b)]
    beaten = [t.a if t.b == leader else t.b for t in tests if t.better == leader]
    level = [t.a if t.b == leader else t.b for t in tests if t.better is None]
    text = (
        f"{leader} has the best {words.label(metric)}, {words.number(value, metric)}."
    )
    if beaten:
        text += f" It is significantly better than {listed(beaten)}."
    if level:
        text += f" The difference from {listed(level)} is not significant."
    tested = {name for test in tests for name in (test.a, test.b)}
    rest = [label for _, label, _ in known if label not in tested | {leader}]
    if rest:
        text += f" It was not tested against {listed(rest)} (--against=best does)."
    tone = "better" if beaten and not level and not rest else "open"
    return words.Verdict(about, leader, text, tone)


def listed(names: Sequence[str]) -> str:
    """`a, b and c`."""
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"


class Side(NamedTuple):
    """One run's line of the table.

    Attributes:
      label: of the run.
      folder: of the run.
      seeds: how many.
      cells: its figures with sd over seeds, one a metric.
      intervals: 95 %, one a metric.
      seconds: of training and of evaluation, as text.
    """

    label: str
    folder: str
    seeds: int
    cells: list[Cell]
    intervals: list[str]
    seconds: tuple[str, str]


def table(found: "Comparison") -> tuple[list[str], list[Side]]:
    """Headings and a line for each run; the best figure of a column is marked."""
    columns = []
    for name in found.metrics:
        figures_ = [row.figures.get(name) for row in found.rows]
        values = [None if f is None else f.mean for f in figures_]
        best = best_of(values, words.base(name))
        column = []
        for figure, is_best in zip(figures_, best, strict=True):
            text = words.number(figure.mean if figure else None, name)
            sd = words.number(figure.sd, name) if figure and figure.sd else ""
            span = words.NOTHING
            if figure:
                span = words.interval({"ci95": figure.ci95}, name)
            column.append((Cell(text, is_best, sd), span))
        columns.append(column)
    heads = [f"{words.label(n)} {arrow(words.base(n))}".strip() for n in found.metrics]
    sides = [
        Side(
            row.label,
            row.folder,
            len(row.seeds),
            [column[n][0] for column in columns],
            [column[n][1] for column in columns],
            (_seconds(row.train_seconds), _seconds(row.evaluate_seconds)),
        )
        for n, row in enumerate(found.rows)
    ]
    return heads, sides


def _seconds(value: float | None) -> str:
    return words.NOTHING if value is None else f"{value:,.1f}"


def forests(found: "Comparison") -> list[str]:
    """For each metric the differences with their intervals, zero marked."""
    drawn = []
    for number, metric in enumerate(found.metrics):
        tests = [t for t in found.tests if t.metric == metric]
        lines = [
            figures.Interval(
                f"{test.b} − {test.a}",
                test.difference,
                *test.ci95,
                own=test.significant,
                filled=test.significant,
            )
            for test in tests
        ]
        if not any(line.value is not None for line in lines):
            continue
        name = words.base(metric)
        way = "← the first is better" if name in SMALLER_IS_BETTER else ""
        if arrow(name) == "↑":
            way = "the first is better →"
        unit = words.NAMES.get(name, ("", "", 4))[1]
        axis = ", ".join(
            part for part in (f"difference in {words.label(metric)}", unit) if part
        )
        drawn.append(
            figures.intervals(
                lines,
                f"{axis} ({way})" if way else axis,
                name=f"forest-{number}",
                title=f"Differences in {words.label(metric)}",
                mark=(0.0, "no difference"),
                form="+.4f",
                strong=False,
            )
        )
    return drawn


class Tested(NamedTuple):
    """One paired test as text.

    Attributes:
      metric: its name.
      difference: with its interval.
      p: after Holm.
      effect: d_z.
      share: of users for whom the first is better.
      verdict: which of the two is better, or that it is not significant.
      significant: whether somebody is.
    """

    metric: str
    difference: str
    p: str
    effect: str
    share: str
    verdict: str
    significant: bool


def tests(found: "Comparison") -> dict[str, list[Tested]]:
    """The tests of each pair, `b − a`, in their order."""
    pairs: dict[str, list[Tested]] = {}
    for test in found.tests:
        pairs.setdefault(f"{test.b} − {test.a}", []).append(_tested(test))
    return pairs


def _tested(test: "PairedTest") -> Tested:
    low, high = test.ci95
    difference = words.NOTHING
    if test.difference is not None:
        difference = signed(test.difference)
        if low is not None and high is not None:
            difference += f" ({signed(low)} to {signed(high)})"
    verdict = "not significant"
    if test.better:
        verdict = f"{'first' if test.better == test.b else 'second'} is better"
    elif test.significant:
        verdict = "they differ"
    elif test.p_holm is None:
        verdict = "not tested"
    return Tested(
        metric=words.label(test.metric),
        difference=difference,
        p=words.NOTHING if test.p_holm is None else probability(test.p_holm),
        effect=words.NOTHING if test.d_z is None else signed(test.d_z, 2),
        share=words.NOTHING
        if test.share_better is None
        else f"{100 * test.share_better:.0f} %",
        verdict=verdict,
        significant=test.significant,
    )


def signed(value: float, digits: int = 4) -> str:
    """With its sign: `+0.0042`, `−0.0042`."""
    return f"{value:+z.{digits}f}".replace("-", "−")


def probability(value: float) -> str:
    """`0.0123`, or `< 0.001`."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def differing(found: "Comparison", flags: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Options in which the runs differ: name and the value of each run."""
    if len(flags) != len(found.rows):
        return []
    values = [dict(parse(text)) for text in flags]
    names = dict.fromkeys(itertools.chain.from_iterable(values))
    lines = [
        (name, [each.get(name, words.NOTHING) for each in values])
        for name in names
        if name not in PLACES
    ]
    return [(name, line) for name, line in lines if len(set(line)) > 1]
