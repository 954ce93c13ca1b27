"""Outcomes -> JSON-ready figures -> rows of a table, text or Markdown."""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.bench.timing import Outcome, ratios

HEADER = (
    "contestant",
    "median",
    "min – max",
    "ratio",
    "a step",
    "examples/s",
    "of products",
    "of copying",
    "loss",
    "peak",
)
ALIKE = 0.1  # losses of contestants that do the same work differ by less than this


def figures(
    outcome: Outcome, base: Outcome | None, ceilings: Mapping[str, Any]
) -> dict[str, Any]:
    """Everything that is said of a contestant, JSON-ready.

    Args:
      outcome: of the contestant.
      base: the first of the section that took part; ratios are to it.
      ceilings: `flops_per_second` and `bytes_per_second` of the machine.
    """
    if outcome.missing is not None or base is None:
        return {"name": outcome.name, "missing": outcome.missing}
    about, median = outcome.about, outcome.median
    turns = ratios(outcome, base)
    found = {
        "name": outcome.name,
        "missing": None,
        "seconds": outcome.seconds,
        "median": median,
        "min": min(outcome.seconds),
        "max": max(outcome.seconds),
        "ratio": statistics.median(turns),
        "ratio_min": min(turns),
        "ratio_max": max(turns),
        # JSON has no NaN; a loss that became one is null.
        "losses": [x if math.isfinite(x) else None for x in outcome.losses],
        "peak_mib": outcome.peak_mib,
        "about": about,
    }
    if about.get("examples"):
        found["examples_per_second"] = about["examples"] / median
    if about.get("steps"):
        found["seconds_per_step"] = median / about["steps"]
        for kind in ("flops", "bytes"):
            if kind in about:
                done = about[kind] * about["steps"] * about.get("seeds", 1)
                found[f"{kind}_share"] = done / median / ceilings[f"{kind}_per_second"]
    return found


def seconds(value: float) -> str:
    """A duration as people write it.

    Example:
      >>> seconds(0.0123), seconds(0.000456), seconds(12.34)
      ('12.3 ms', '456 µs', '12.3 s')
    """
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value / 1e-6:.3g} µs"


def row(found: Mapping[str, Any]) -> list[str]:
    """A contestant's line; `–` where something does not apply."""
    if found["missing"] is not None:
        return [found["name"], "left out", *["–"] * (len(HEADER) - 2)]

    def maybe(key: str, text: str) -> str:
        return text.format(found[key]) if key in found else "–"

    step = found.get("seconds_per_step")
    return [
        found["name"],
        seconds(found["median"]),
        f"{seconds(found['min'])} – {seconds(found['max'])}",
        f"{found['ratio']:.2f}",
        "–" if step is None else seconds(step),
        maybe("examples_per_second", "{:,.0f}"),
        maybe("flops_share", "{:.0%}"),
        maybe("bytes_share", "{:.0%}"),
        _loss(found["losses"]),
        f"{found['peak_mib']:,.0f} MiB",
    ]


def _loss(losses: Sequence[float | None]) -> str:
    if not losses:
        return "–"
    return "not finite" if losses[-1] is None else f"{losses[-1]:.4f}"


def unlike(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """Sentences on contestants whose last loss is not that of the others."""
    losses = {
        each["name"]: each["losses"][-1]
        for each in found
        if each["missing"] is None and each["losses"]
    }
    finite = [loss for loss in losses.values() if loss is not None]
    if not finite:
        return []
    middle = statistics.median(finite)
    return [
        f"{name} ended with a loss of {_loss([loss])} where the middle one is "
        f"{middle:.4f}: it may not have done the same work."
        for name, loss in losses.items()
        if loss is None or abs(loss - middle) > ALIKE * middle
    ]


def remarks(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """What was measured besides turns: compilation, XLA's count, who is missing."""
    present = [each for each in found if each["missing"] is None]
    notes = [f"Left out: {e['name']}: {e['missing']}" for e in found if e["missing"]]
    if notes and present and present[0] is not found[0]:
        notes.append(f"Ratios are to {present[0]['name']}.")
    compiled = [
        f"{each['name']} {seconds(each['about']['compile_seconds'])}"
        for each in present
        if "compile_seconds" in each["about"]
    ]
    if compiled:
        notes.append(f"Compilation, not in the times above: {', '.join(compiled)}.")
    counted = [
        f"{each['name']} {each['about']['xla_flops'] / each['about']['flops']:.2f}"
        for each in present
        if each["about"].get("xla_flops")
    ]
    if counted:
        notes.append(
            f"XLA's FLOPs, elementwise ones included, over those of the products "
            f"counted here: {', '.join(counted)}."
        )
    notes += [
        f"{each['name']}: {each['about']['epochs']} epochs."
        for each in present
        if "epochs" in each["about"]
    ]
    return notes


def markdown(results: Mapping[str, Any]) -> str:
    """All tables as a Markdown page."""
    lines = [f"Measured on {machine(results)}.", ""]
    for suite, sections in results["suites"].items():
        lines += [f"## {suite}", ""]
        for section in sections:
            lines += [f"**{section['title']}**", ""]
            rows = [list(HEADER), ["---", *["--:"] * (len(HEADER) - 1)]]
            rows += [row(found) for found in section["entries"]]
            lines += [f"| {' | '.join(cells)} |" for cells in rows]
            lines += ["", " ".join(section["notes"]), ""]
    return "\n".join(lines)


def machine(results: Mapping[str, Any]) -> str:
    """Device, threads, ceilings and versions in a sentence."""
    device = results["device"]
    versions = ", ".join(f"{name} {v}" for name, v in device["versions"].items())
    return (
        f"{device['device']} ({device['platform']}, {device['devices']} device(s), "
        f"{device['threads']} threads, XLA's {device['xla_threads']}; products at most "
        f"{device['flops_per_second'] / 1e9:,.0f} GFLOP/s, copying "
        f"{device['bytes_per_second'] / 1e9:,.1f} GB/s; {versions})"
    )
