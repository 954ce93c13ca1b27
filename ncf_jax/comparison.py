"""A comparison of runs as a value, and what its reader must know in sentences."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

SYNTHETIC = "SYNTHETIC DATA"


class Figure(NamedTuple):
    """A metric of a run, as in metrics.json; None: not defined."""

    mean: float | None  # over seeds
    sd: float | None  # over seeds; None for one
    ci95: tuple[float | None, float | None]  # bootstrap over users


class Row(NamedTuple):
    """A run."""

    label: str
    folder: str
    seeds: tuple[int, ...]
    figures: dict[str, Figure]
    train_seconds: float | None  # None: not known
    evaluate_seconds: float | None


class PairedTest(NamedTuple):
    """A metric of two runs on the same users; None: not defined."""

    a: str  # label of the run compared with
    b: str  # label of the run compared
    metric: str
    difference: float | None  # figure of b minus figure of a
    ci95: tuple[float | None, float | None]  # bootstrap over users
    p: float | None  # two-sided, by sign flips
    p_holm: float | None  # for the whole family
    d_z: float | None  # mean over standard deviation of the users' differences
    share_better: float | None  # of users, b better; None if the metric only describes
    users: int  # in the test
    significant: bool  # p_holm is at most 5 %
    better: str | None  # label of the better run, where that is significant


class Comparison(NamedTuple):
    """All that is said of several runs."""

    dataset: str
    data: str  # fingerprint
    split: str  # fingerprint
    synthetic: bool  # nobody rated anything
    against: str  # first, best or all
    metrics: tuple[str, ...]  # in the order of columns
    rows: tuple[Row, ...]  # as given
    tests: tuple[PairedTest, ...]  # pair by pair, each metric
    family: int  # tests that Holm's correction counts
    flips: int  # sign patterns of a test
    notes: tuple[str, ...]  # what a reader must know, a sentence each


def data_notes(
    results: Sequence[Mapping[str, Any]], labels: Sequence[str], names: Sequence[str]
) -> list[str]:
    """What was compared: data, split, setting, seeds; and what each run warns of.

    Args:
      results: metrics.json of each run; of the same data, split and setting.
      labels: of the runs.
      names: of the metrics.
    """
    first = results[0]
    lines = [
        f"{first['dataset']} · {first['split_definition']} · data {first['data']} · "
        f"split {first['split']}",
        first["split_limits"],
        f"test: {first['rows']['test']:,} rows of {first['users']['test']:,} users",
    ]
    if first["synthetic"]:
        lines.insert(0, f"{SYNTHETIC}: nobody rated anything; no figure is a result.")
    if any("@" in name for name in names):
        lines[-1] += (
            f"; ranking: {first['convention']} convention, {first['candidates']} "
            f"candidates, relevant from {first['threshold']} stars, ties "
            f"{first['ties']}"
        )
    seeds = [", ".join(map(str, each["seeds"])) for each in results]
    lines.append(f"seeds: {_told(seeds, labels)}")
    lines += _unlike(results, labels, names)
    warnings = dict.fromkeys(text for each in results for text in each["warnings"])
    for text in warnings:
        who = [n for n, r in zip(labels, results, strict=True) if text in r["warnings"]]
        lines.append(text if len(who) == len(labels) else f"{', '.join(who)}: {text}")
    return lines


def _unlike(
    results: Sequence[Mapping[str, Any]], labels: Sequence[str], names: Sequence[str]
) -> list[str]:
    """Metrics whose definition is not the same in all runs that have a figure.

    Those that part the runs alike, as clipping does, share a line.
    """
    found: dict[tuple[int, ...], tuple[list[str], str]] = {}
    for name in names:
        figures = [each["metrics"][f"test/{name}"] for each in results]
        shown = [n for n, figure in enumerate(figures) if figure["mean"] is not None]
        words = [figures[n]["definition"] for n in shown]
        if len(set(words)) > 1:
            parted = tuple(words.index(each) for each in words)
            told = _told(words, [labels[n] for n in shown])
            found.setdefault(parted, ([], told))[0].append(name)
    return [
        f"{', '.join(same)} is not the same everywhere: {told}"
        for same, told in found.values()
    ]


def _told(values: Sequence[str], labels: Sequence[str]) -> str:
    """Each different value once, with the labels that have it if it is not all."""
    if len(set(values)) == 1:
        return values[0]
    who: dict[str, list[str]] = {}
    for label, each in zip(labels, values, strict=True):
        who.setdefault(each, []).append(label)
    return "; ".join(f"{each} in {', '.join(names)}" for each, names in who.items())


def method_notes(family: int, flips: int, resamples: int, alpha: float) -> list[str]:
    """How differences were judged."""
    return [
        "difference: run minus the run it is tested against; 95 % interval: bootstrap "
        f"over users, the same for both, {resamples:,} draws",
        f"p (Holm): paired randomization test over users, {flips:,} sign patterns, "
        f"corrected for all {family:,} tests (pairs × metrics); significant: at most "
        f"{alpha}",
        "d_z: mean over standard deviation of the users' differences; better for: the "
        "share of users for whom the run is better, a tie counting half",
    ]
