"""Compare finished runs: one table, and which differences are more than chance.

  python -m experiments.compare checkpoints/<run> checkpoints/<run> …
  python -m experiments.compare RUN RUN … --against=best --format=markdown
  python -m experiments.compare RUN RUN … --compare_metrics=rmse,ndcg@10,hit_rate@10

Runs of other data, another split or another ranking setting are refused. Figures are
those of the test rows. Nothing is written.
"""

import dataclasses
import string
from typing import Any, ClassVar

from experiments import console, flags
from ncf_jax import formats
from ncf_jax.comparison import SYNTHETIC, Comparison
from ncf_jax.formats import Table
from ncf_jax.options import Options, option

FORMATS = ("table", "markdown", "csv", "latex", "json")
NAMES = {"rmse": "RMSE", "mae": "MAE", "r2": "R²", "precision": "P", "recall": "R"}
NAMES |= {"ndcg": "NDCG", "hit_rate": "Hit", "mrr": "MRR", "map": "MAP"}
MARK = "*"
UNDEFINED = "–"
TIDY = (
    "kind run against metric value sd ci95_low ci95_high p p_holm d_z share_better "
    "users significant better seeds train_seconds evaluate_seconds dataset data split "
    "synthetic"
)


@dataclasses.dataclass(frozen=True)
class CompareOptions(Options):
    """Options of this command."""

    POSITIONAL: ClassVar[str] = "runs"

    runs: tuple[str, ...] = option(
        (), "Run folders, two or more; --runs= may be left out."
    )
    format: str = option("table", "How to print.", choices=FORMATS)
    against: str = option(
        "first",
        "Test the others against the first or best (lowest RMSE) run, or all pairs.",
        choices=("first", "best", "all"),
    )
    compare_metrics: tuple[str, ...] = option(
        (),
        "Metrics, such as rmse,ndcg@10; empty: RMSE, MAE, R², and precision, NDCG and "
        "recall at the first run's first cut-off.",
    )


def main(options: CompareOptions) -> None:
    """Compares and prints."""
    from ncf_jax import report, results
    from ncf_jax.compare import compare
    from ncf_jax.runs import load_finished

    found = compare(
        [load_finished(folder) for folder in options.runs],
        metrics=options.compare_metrics or None,
        against=options.against,
    )
    if options.format == "json":
        console.say(report.dumps(formats.plain(found)).rstrip())
    elif options.format == "csv":
        console.say(results.to_csv(*tidy(found)).rstrip())
    elif options.format == "table":
        for table in (runs_table(found), differences_table(found)):
            console.say("", table.caption, "")
            console.table(table.header, table.rows)
            console.say("", *table.notes)
    else:
        write = formats.markdown if options.format == "markdown" else formats.latex
        tables = runs_table(found, joined=True), differences_table(found)
        console.say("\n".join(map(write, tables)).rstrip())


def letters(number: int) -> list[str]:
    """Short names of runs: A to Z, then AA, AB, ….

    Example:
      >>> letters(28)[24:]
      ['Y', 'Z', 'AA', 'AB']
    """
    one = list(string.ascii_uppercase)
    return (one + [a + b for a in one for b in one])[:number]


def heading(metric: str) -> str:
    """A metric as columns name it.

    Example:
      >>> heading("ndcg@10"), heading("novelty@5")
      ('NDCG@10', 'novelty@5')
    """
    base, at, k = metric.partition("@")
    return NAMES.get(base, base) + at + k


def runs_table(found: Comparison, *, joined: bool = False) -> Table:
    """A line a run; the best figures bold, what differs from the base run marked.

    Args:
      found: the comparison.
      joined: standard deviations in the cells of their means, and not on lines of
        their own, which makes the table narrower.
    """
    one = found.against != "all"  # run that all others were tested against
    base = found.tests[0].a
    marked = {(t.b, t.metric) for t in found.tests if one and t.significant}
    starred = {metric for _, metric in marked}
    rows: list[list[str]] = []
    bold = set()
    for letter, row in zip(letters(len(found.rows)), found.rows, strict=True):
        cells, spread = [letter, row.label], ["", f"± sd of {len(row.seeds)} seeds"]
        for name, figure in row.figures.items():
            if figure.mean is not None and figure.mean == _best(found, name):
                bold.add((len(rows), len(cells)))
            text, sd = _digits(figure.mean), _digits(figure.sd)
            if joined and figure.sd is not None:
                text += f" ± {sd}"
            # A blank where others have a mark keeps the digits of a column aligned.
            blank = " " if name in starred and not joined else ""
            cells.append(text + (MARK if (row.label, name) in marked else blank))
            spread.append(sd + blank)
        times = [_digits(t, 1) for t in (row.train_seconds, row.evaluate_seconds)]
        rows.append(cells + times)
        if not joined and len(row.seeds) > 1:
            rows.append([*spread, "", ""])
    letter = _letter(found)[base]
    notes = ["train s, eval s: seconds when the run was made, on the machine it was on"]
    if marked:
        notes.insert(0, f"{MARK} differs significantly from {letter} (below)")
    elif one:
        notes.insert(0, f"no run differs significantly from {letter} (below)")
    header = ["", "run", *map(heading, found.metrics), "train s", "eval s"]
    return Table(header, rows, _caption(found, "test rows"), notes, bold)


def differences_table(found: Comparison) -> Table:
    """A line a test; what is significant says so at its end."""
    letter = _letter(found)
    rows = []
    for test in found.tests:
        low, high = (_digits(bound) for bound in test.ci95)
        verdict = f"{MARK} differs" if test.significant else ""
        if test.better is not None:
            verdict = f"{MARK} {letter[test.better]} is better"
        share = test.share_better
        rows.append(
            [
                f"{letter[test.b]} − {letter[test.a]}",
                heading(test.metric),
                _digits(test.difference),
                UNDEFINED if test.ci95[0] is None else f"{low} to {high}",
                _digits(test.p_holm),
                _digits(test.d_z, 2),
                UNDEFINED if share is None else f"{100 * share:.0f} %",
                verdict,
            ]
        )
    header = "runs|metric|difference|95 % interval|p (Holm)|d_z|better for|significant"
    caption = _caption(found, "differences between runs")
    return Table(header.split("|"), rows, caption, found.notes)


def tidy(found: Comparison) -> tuple[list[str], list[list[Any]]]:
    """Header and rows for CSV, every digit: a line a figure and a line a test.

    `kind` says which it is; `value` is the figure, or that of `run` minus `against`'s.
    """
    about = dict(
        dataset=found.dataset,
        data=found.data,
        split=found.split,
        synthetic=_word(found.synthetic),
    )
    lines: list[dict[str, Any]] = [
        dict(
            kind="figure",
            run=row.label,
            metric=name,
            value=figure.mean,
            sd=figure.sd,
            ci95_low=figure.ci95[0],
            ci95_high=figure.ci95[1],
            seeds=" ".join(map(str, row.seeds)),
            train_seconds=row.train_seconds,
            evaluate_seconds=row.evaluate_seconds,
        )
        for row in found.rows
        for name, figure in row.figures.items()
    ]
    for test in found.tests:
        line = test._asdict()
        line |= dict(run=test.b, against=test.a, value=test.difference)
        line |= dict(ci95_low=test.ci95[0], ci95_high=test.ci95[1])
        lines.append(
            line | dict(kind="difference", significant=_word(test.significant))
        )
    header = TIDY.split()
    return header, [[(line | about).get(name) for name in header] for line in lines]


def _word(value: bool) -> str:
    return str(value).lower()


def _letter(found: Comparison) -> dict[str, str]:
    """Label -> letter."""
    labels = [row.label for row in found.rows]
    return dict(zip(labels, letters(len(labels)), strict=True))


def _best(found: Comparison, metric: str) -> float | None:
    """The best figure of a column; None where none is better than another."""
    from ncf_jax.compare import larger_is_better

    larger = larger_is_better(metric)
    means = [row.figures[metric].mean for row in found.rows]
    known = [mean for mean in means if mean is not None]
    if larger is None or not known:
        return None
    return max(known) if larger else min(known)


def _digits(value: float | None, digits: int = 4) -> str:
    return UNDEFINED if value is None else f"{value:z.{digits}f}"


def _caption(found: Comparison, what: str) -> str:
    caption = f"{found.dataset}, {what}"
    return f"{SYNTHETIC}: {caption}" if found.synthetic else caption


if __name__ == "__main__":
    flags.run(main, CompareOptions, __doc__)
