"""What the page says in sentences and figures, from results alone.

A sentence here is true of any run: better or worse than the baselines, one seed or
several, with a figure that is not defined, without baselines at all.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from ncf_jax.metrics import SMALLER_IS_BETTER

Metric = dict[str, Any]
Results = dict[str, Any]

# Name, unit, digits after the point; the order is that of tables.
NAMES = {
    "rmse": ("RMSE", "stars", 4),
    "mae": ("MAE", "stars", 4),
    "r2": ("R²", "", 4),
    "precision": ("Precision", "", 4),
    "ndcg": ("NDCG", "", 4),
    "recall": ("Recall", "", 4),
    "hit_rate": ("Hit rate", "", 4),
    "mrr": ("MRR", "", 4),
    "map": ("MAP", "", 4),
    "novelty": ("Novelty", "bits", 2),
    "popularity": ("Popularity share", "", 4),
    "coverage": ("Coverage", "", 4),
    "tied_cutoffs": ("Tied cut-offs", "", 4),
}
CHANCE = "Global mean"  # the same score for every item: it orders by chance
NOTHING = "–"


class Verdict(NamedTuple):
    """How a model compares with the best baseline in one metric.

    Attributes:
      about: what is judged, such as `Ratings`.
      head: the answer in a few words.
      text: the same with all figures.
      tone: `better`, `worse`, `open` (the intervals overlap) or `none`.
    """

    about: str
    head: str
    text: str
    tone: str


def base(name: str) -> str:
    """`ndcg` of `test/ndcg@10`."""
    return name.rpartition("/")[2].partition("@")[0]


def label(name: str) -> str:
    """`NDCG@10` of `test/ndcg@10`; a metric of somebody's own keeps its name."""
    cut = name.partition("@")[2]
    known = NAMES.get(base(name), (base(name), "", 4))[0]
    return f"{known}@{cut}" if cut else known


def number(value: float | None, name: str = "rmse", digits: int | None = None) -> str:
    """A figure as it is written: `0.9157`, or a dash where it is not defined."""
    if value is None:
        return NOTHING
    if digits is None:
        digits = NAMES.get(base(name), ("", "", 4))[2]
    return f"{value:z.{digits}f}".replace("-", "−")


def interval(metric: Metric, name: str, digits: int | None = None) -> str:
    """`0.8956 to 0.9341`, or a dash."""
    low, high = metric["ci95"]
    if low is None or high is None:
        return NOTHING
    return f"{number(low, name, digits)} to {number(high, name, digits)}"


def question(results: Results) -> str:
    """What the page is asked."""
    rated = rates(results)
    what = "predict ratings" if rated else "order the movies"
    return f"How well does {results['model']} {what} of {results['dataset']}?"


def rates(results: Results) -> bool:
    """Whether the model gives stars, so that there is a rating error."""
    metric = results["metrics"].get("test/rmse")
    return bool(metric) and metric["mean"] is not None


def best_baseline(results: Results, name: str) -> tuple[str, Metric] | None:
    """The baseline with the best figure, or None where none has one."""
    known = [
        (title, metrics[name])
        for title, metrics in results["baselines"].items()
        if name in metrics and metrics[name]["mean"] is not None
    ]
    if not known:
        return None
    sign = 1 if base(name) in SMALLER_IS_BETTER else -1
    return min(known, key=lambda pair: sign * pair[1]["mean"])


def verdicts(results: Results) -> list[Verdict]:
    """The answers: ratings first, then ranking."""
    k = results["k"]
    return [
        verdict(results, "test/rmse", "Ratings"),
        verdict(results, f"test/ndcg@{k}", "Ranking"),
    ]


def verdict(results: Results, name: str, about: str) -> Verdict:
    """The answer in one metric, against the best baseline.

    Args:
      results: of the run.
      name: a key of `results["metrics"]`.
      about: what is judged.
    """
    metric, called = results["metrics"].get(name), label(name)
    if metric is None or metric["mean"] is None:
        why = "This model gives scores, not stars: it has no rating error."
        if base(name) != "rmse":
            why = f"{called} is not defined for any user here."
        return Verdict(about, "not measured", why, "none")
    text = f"{_subject(results, name, metric)} {_value(metric, name)}."
    found = best_baseline(results, name)
    if found is None:
        text += " No baseline was evaluated on the same rows."
        return Verdict(
            about, f"{called} {number(metric['mean'], name, 3)}", text, "none"
        )
    title, other = found
    count = len(results["baselines"])
    which = "The baseline" if count == 1 else f"The best of {count} baselines"
    gap = other["mean"] - metric["mean"]
    unit = NAMES[base(name)][1]
    size = f"{number(abs(gap), name, 3)}{f' {unit}' if unit else ''}"
    if metric["mean"]:
        size += f" ({abs(gap / metric['mean']):.1%})".replace(
            "%", "\N{NO-BREAK SPACE}%"
        )
    way = f"{size} {'lower' if gap < 0 else 'higher'}"
    if abs(gap) < 0.0005:
        way = "the same to three digits"
    text += f" {which}, {title}, has {_value(other, name)}: {way}."
    tested = _tested(results, name, title)
    better = (gap > 0) == (base(name) in SMALLER_IS_BETTER)
    tone = "better" if better else "worse"
    rank = f"{tone} than {'every baseline' if better and count > 1 else title}"
    if tested is not None:
        share = f"{1 - tested['share_better']:.0%}".replace("%", "\N{NO-BREAK SPACE}%")
        chance = f"p {_chance(tested['p_holm'])} after Holm, paired test over users"
        text += f" The model is the better one for {share} of the users"
        if tested["significant"]:
            return Verdict(about, rank, f"{text}; {chance}.", tone)
        text += f"; the difference may be chance ({chance})."
        return Verdict(about, f"no clear difference from {title}", text, "open")
    if apart(metric, other):
        return Verdict(about, rank, f"{text} The intervals do not overlap.", tone)
    text += (
        " The intervals overlap, which decides nothing, since both are of the same "
        "users; a paired test does (experiments.compare)."
    )
    return Verdict(about, f"no clear difference from {title}", text, "open")


def _tested(results: Results, name: str, title: str) -> Mapping[str, Any] | None:
    """The paired test of a baseline against the run, where there is one."""
    for test in results.get("tests", ()):
        if test["b"] == title and f"test/{test['metric']}" == name:
            return test if test["p_holm"] is not None else None
    return None


def _chance(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"


def _subject(results: Results, name: str, metric: Metric) -> str:
    seeds = len(results["seeds"])
    mean = f", mean of {seeds} seeds," if seeds > 1 else ""
    if base(name) == "rmse":
        rows = metric["n_used"]
        return f"Root mean squared error on {rows:,} test ratings{mean} is"
    users = f"{metric['n_used']:,} users"
    return f"{label(name)} of {users}{mean} is"


def _value(metric: Metric, name: str) -> str:
    unit = NAMES[base(name)][1]
    text = number(metric["mean"], name, 3) + (f" {unit}" if unit else "")
    found = interval(metric, name, 3)
    return (
        text if found == NOTHING else f"{text} (95\N{NO-BREAK SPACE}% interval {found})"
    )


def apart(one: Metric, other: Metric) -> bool:
    """Whether two intervals have no value in common."""
    ends = [*one["ci95"], *other["ci95"]]
    if None in ends:
        return False
    return one["ci95"][1] < other["ci95"][0] or other["ci95"][1] < one["ci95"][0]


def setting(results: Results) -> str:
    """What the ranking figures are of, in a sentence."""
    ties = {
        "expected": "ties count by the mean over their orders",
        "optimistic": "ties count in the best order",
        "pessimistic": "ties count in the worst order",
    }
    lists = {
        "rated": "each user's own test items are put in order (what a user never rated "
        "is not in the list, so figures are high and even chance does well)",
        "catalogue": "all items that a user has not rated in train are put in order; "
        "unrated items count as not relevant",
    }
    named = (results["candidates"], results["ties"])
    return (
        f"Ranking: {lists.get(named[0], named[0])}; relevant from "
        f"{results['threshold']:g} stars; {ties.get(named[1], named[1])}; definitions "
        f"of the convention “{results['convention']}”."
    )


def chance(results: Results, name: str) -> str | None:
    """What random order gets, where a constant scorer was judged with expected ties."""
    metric = results["baselines"].get(CHANCE, {}).get(name)
    if metric is None or metric["mean"] is None or results["ties"] != "expected":
        return None
    return (
        f"Random order has {label(name)} {number(metric['mean'], name, 3)} here (the "
        f"global mean gives every item the same score)."
    )
