"""The page's tables: metrics with intervals, definitions, options, environment."""

import dataclasses
from collections.abc import Iterable
from typing import Any, NamedTuple

from ncf_jax.config import Config
from ncf_jax.metrics import LARGER_IS_BETTER, SMALLER_IS_BETTER
from ncf_jax.pages import words
from ncf_jax.pages.words import Results

# Options that say where to look and write, and what was found there.
PLACES = (
    "workdir",
    "data_dir",
    "cache_dir",
    "keep",
    "tensorboard",
    "data_fingerprint",
    "split_fingerprint",
)


class Cell(NamedTuple):
    """One figure of a table, whether it is the best one, and its sd where told."""

    text: str
    best: bool = False
    sd: str = ""


class Line(NamedTuple):
    """A metric's line.

    Attributes:
      label: its name.
      arrow: `↓` smaller is better, `↑` larger is better, or nothing.
      key: for its definition.
      cells: of this model and each baseline.
      interval: 95 %, of this model.
      sd: over seeds, or a dash.
      used: what the figure is of.
      left_out: for how many it is not defined.
    """

    label: str
    arrow: str
    key: str
    cells: list[Cell]
    interval: str
    sd: str
    used: str
    left_out: str


class Table(NamedTuple):
    """Lines under a caption; `columns` are this model and the baselines."""

    caption: str
    columns: list[str]
    lines: list[Line]
    seeds: bool


def names(results: Results, part: str, k: int | None) -> list[str]:
    """Keys of a part: those without a cut-off and those at `k`; None: at the others."""
    keys = [key for key in results["metrics"] if key.startswith(f"{part}/")]
    cut = {key: key.partition("@")[2] for key in keys}
    if k is None:
        keys = [key for key in keys if cut[key] not in ("", str(results["k"]))]
    else:
        keys = [key for key in keys if cut[key] in ("", str(k))]
    order = list(words.NAMES)

    def place(key: str) -> tuple[int, int]:
        name = words.base(key)
        first = int(cut[key]) if cut[key].isdigit() else 0
        return first, order.index(name) if name in order else len(order)

    return sorted(keys, key=place)


def metric_tables(results: Results) -> list[Table]:
    """The test figures at the first cut-off, then all others that there are."""
    wanted = [
        ("test", results["k"], "Test rows"),
        ("test", None, "Test rows, other cut-offs"),
        ("valid", results["k"], "Validation rows"),
        ("valid", None, "Validation rows, other cut-offs"),
    ]
    found = [
        _table(results, names(results, part, k), caption) for part, k, caption in wanted
    ]
    return [table for table in found if table.lines]


def _table(results: Results, keys: list[str], caption: str) -> Table:
    baselines = {
        title: metrics
        for title, metrics in results["baselines"].items()
        if any(key in metrics for key in keys)
    }
    everyone = [results["metrics"], *baselines.values()]
    lines = []
    for key in keys:
        metric, name = results["metrics"][key], words.base(key)
        values = [each[key]["mean"] if key in each else None for each in everyone]
        kind = "rows" if name in words.NAMES and "@" not in key else "users"
        lines.append(
            Line(
                label=words.label(key),
                arrow=arrow(name),
                key=key.partition("/")[2],
                cells=[
                    Cell(words.number(value, key), best)
                    for value, best in zip(values, best_of(values, name), strict=True)
                ],
                interval=words.interval(metric, key),
                sd=words.number(metric["sd"], key),
                used=f"{metric['n_used']:,} {kind}",
                left_out=f"{metric['n_left_out']:,}",
            )
        )
    return Table(
        caption, [results["model"], *baselines], lines, len(results["seeds"]) > 1
    )


def arrow(name: str) -> str:
    """Which way is better."""
    if name in SMALLER_IS_BETTER:
        return "↓"
    return "↑" if name in LARGER_IS_BETTER else ""


def best_of(values: list[float | None], name: str) -> list[bool]:
    """Which values are the best one; none where there is no better or one value."""
    known = [value for value in values if value is not None]
    if len(known) < 2 or not arrow(name):
        return [False] * len(values)
    best = min(known) if name in SMALLER_IS_BETTER else max(known)
    return [value == best for value in values]


def definitions(results: Results) -> list[tuple[str, str, str]]:
    """(key, label, definition) of each metric that is in a table, once."""
    found: dict[str, tuple[str, str, str]] = {}
    for part in ("test", "valid"):
        for k in (results["k"], None):
            for name in names(results, part, k):
                key, metric = name.partition("/")[2], results["metrics"][name]
                text = metric["definition"]
                about = [
                    f"{what} {metric[what]}"
                    for what in ("convention", "candidates")
                    if metric.get(what)
                ]
                text += f" ({', '.join(about)})" if about else ""
                found.setdefault(key, (key, words.label(name), text))
    return list(found.values())


class Option(NamedTuple):
    """One flag: its value, and the default where it is known and another one."""

    name: str
    value: str
    default: str | None


def options(flags: str, program: str) -> list[Option]:
    """The flags of run.flags, those that differ from their defaults first.

    Args:
      flags: the file's text.
      program: that it is of; only the defaults of experiments.train are known here.
    """
    known = {}
    if program == "experiments.train":
        known = {f.name: _text(f.default) for f in dataclasses.fields(Config)}
    found = []
    for name, value in parse(flags):
        default = known.get(name)
        found.append(Option(name, value, None if default == value else default))
    # What the run found out by itself or where it looked comes after what was chosen.
    return sorted(found, key=lambda o: (o.default is None, o.name in PLACES))


def parse(flags: str) -> Iterable[tuple[str, str]]:
    """Name and value of each line of a flag file."""
    for line in flags.splitlines():
        if line.startswith("--"):
            name, _, value = line.removeprefix("--").partition("=")
            yield name, value


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return str(value)


def environment(values: dict[str, Any]) -> list[tuple[str, str]]:
    """environment.json line by line; packages one a line."""
    lines = []
    for name, value in values.items():
        if isinstance(value, dict):
            lines += [(key, str(each)) for key, each in value.items()]
        elif value is not None:
            lines.append((name.replace("_", " "), _text(value)))
    return lines
