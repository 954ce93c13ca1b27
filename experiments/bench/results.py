"""Outcomes -> JSON-ready figures -> rows of a table, text or Markdown."""

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
        "losses": outcome.losses,
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
        f"{found['losses'][-1]:.4f}" if found["losses"] else "–",
        f"{found['peak_mib']:,.0f} MiB",
    ]


def unlike(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """Sentences on contestants whose last loss is not that of the others."""
    losses = {
        each["name"]: each["losses"][-1]
        for each in found
        if each["missing"] is None and each["losses"]
    }
    if not losses:
        return []
    middle = statistics.median(losses.values())
    return [
        f"{name} ended with a loss of {loss:.4f} where the middle one is "
        f"{middle:.4f}: it may not have done the same work."
        for name, loss in losses.items()
        if abs(loss - middle) > ALIKE * middle
    ]


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
            lines += ["", *section["notes"], ""]
    return "\n".join(lines)


def machine(results: Mapping[str, Any]) -> str:
    """Device, threads, ceilings and versions in a sentence."""
    device = results["device"]
    versions = ", ".join(f"{name} {v}" for name, v in device["versions"].items())
    return (
        f"{device['device']} ({device['platform']}, {device['devices']} device(s), "
        f"{device['threads']} threads; products at most "
        f"{device['flops_per_second'] / 1e9:,.0f} GFLOP/s, copying "
        f"{device['bytes_per_second'] / 1e9:,.1f} GB/s; {versions})"
    )
