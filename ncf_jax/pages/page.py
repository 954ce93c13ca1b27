"""A run's page and a comparison's page, as text.

Pure: the same arguments give the same bytes. The page says by itself, in its content
security policy, that nothing may be fetched and that only its one script may run.
"""

import base64
import hashlib
import shlex
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ncf_jax.pages import comparison as several
from ncf_jax.pages import figures, sections, sureness, tables, words
from ncf_jax.types import Dataset, Split

if TYPE_CHECKING:
    from jinja2 import Environment

    from ncf_jax.compare import Comparison
    from ncf_jax.runs import Finished

TEMPLATES = Path(__file__).parent / "templates"


def run_page(
    finished: "Finished",
    *,
    dataset: Dataset,
    split: Split,
    predictions: Mapping[str, np.ndarray],
    samples: list | None,
    vectors: np.ndarray | None,
    flags_text: str,
    environment: Mapping[str, Any],
) -> str:
    """report.html of one run.

    Args:
      finished: results, per-user values, history and times.
      dataset: the data set.
      split: its split.
      predictions: `test` -> [R, n] stars in the order of `split.test`; may be empty.
      samples: of samples.json; None: there are none.
      vectors: [I, D] item vectors of the first seed; None: the model has none.
      flags_text: run.flags.
      environment: of environment.json.
    """
    results, history = finished.results, finished.history
    test = predictions.get("test")
    quality, errors = [], []
    if test is not None and words.rates(results):
        quality = sections.quality(test, dataset, split.test)
        errors = sections.errors(test, dataset, split, split.test)
    folder, program = shlex.quote(str(finished.folder)), results["program"]
    return _render(
        "run.html.j2",
        title=f"{results['model']} on {results['dataset']}",
        script=(TEMPLATES / "map.js").read_text(encoding="utf-8"),
        results=results,
        question=words.question(results),
        verdicts=words.verdicts(results),
        drawings=_against_baselines(results),
        setting=words.setting(results),
        chance=words.chance(results, f"test/ndcg@{results['k']}"),
        tables=tables.metric_tables(results),
        definitions=tables.definitions(results),
        curves=figures.curves(history, name="curves") if len(history) > 1 else None,
        quality=quality,
        errors=errors,
        sureness=sureness.sureness(results),
        why_not="This model gives scores, not stars."
        if not words.rates(results)
        else "The run folder holds no predictions.",
        atlas=None
        if vectors is None
        else sections.atlas(vectors, dataset, split, len(results["seeds"])),
        samples=samples or [],
        options=tables.options(flags_text, program),
        environment=tables.environment(dict(environment)),
        timing=finished.timing,
        command=f"python -m {program} --flagfile={folder}/run.flags "
        f"--workdir=<new folder>",
        rebuild=f"python -m experiments.report {folder}",
    )


def _against_baselines(results: words.Results) -> list[str]:
    """Dots and intervals of the model and its baselines: RMSE, then NDCG."""
    drawn = []
    for name, axis in (
        ("test/rmse", "RMSE, stars (← smaller is better)"),
        (f"test/ndcg@{results['k']}", f"NDCG@{results['k']} (larger is better →)"),
    ):
        metric = results["metrics"].get(name)
        if metric is None or metric["mean"] is None:
            continue
        lines = [_interval(results["model"], metric, own=True)]
        others = [
            _interval(_called(title, name, results), metrics[name])
            for title, metrics in results["baselines"].items()
            if name in metrics
        ]
        sign = 1 if words.base(name) == "rmse" else -1
        others.sort(key=lambda line: (line.value is None, sign * (line.value or 0)))
        floor = results["floor_rmse"] if words.base(name) == "rmse" else None
        drawn.append(
            figures.intervals(
                lines + others,
                axis,
                name=words.base(name),
                title=f"{words.label(name)} of the model and the baselines",
                mark=None if floor is None else (floor, "lowest possible"),
            )
        )
    return drawn


def _interval(title: str, metric: words.Metric, own: bool = False) -> figures.Interval:
    low, high = metric["ci95"]
    return figures.Interval(title, metric["mean"], low, high, own)


def _called(title: str, name: str, results: words.Results) -> str:
    by_chance = "@" in name and title == words.CHANCE and words.chance(results, name)
    return f"{title} (random order)" if by_chance else title


def comparison_page(
    runs: Sequence["Finished"],
    comparison: "Comparison",
    *,
    flags: Sequence[str] = (),
) -> str:
    """A page of several runs.

    Args:
      runs: as they were compared.
      comparison: of `ncf_jax.compare.compare`.
      flags: run.flags of each, to say in what options they differ; may be left out.
    """
    against = comparison.against
    return _render(
        "comparison.html.j2",
        title=f"{len(runs)} models on {comparison.dataset}",
        script="",
        comparison=comparison,
        synthetic=comparison.synthetic,
        question=several.question(comparison),
        answers=several.answers(comparison),
        table=several.table(comparison),
        forests=several.forests(comparison),
        tests=several.tests(comparison),
        differing=several.differing(comparison, flags),
        definitions=tables.definitions(runs[0].results),
        command=" ".join(
            [
                "python -m experiments.report",
                *(shlex.quote(row.folder) for row in comparison.rows),
                *([] if against == "first" else [f"--against={against}"]),
            ]
        ),
    )


@cache
def _environment() -> "Environment":
    import jinja2

    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters["number"] = words.number
    made.filters["stars"] = lambda value: f"{value:g}"
    return made


def _render(template: str, *, script: str, **values: Any) -> str:
    digest = hashlib.sha256(script.encode()).digest()
    return (
        _environment()
        .get_template(template)
        .render(
            style=(TEMPLATES / "style.css").read_text(encoding="utf-8"),
            script=script,
            script_hash=f"'sha256-{base64.b64encode(digest).decode()}'",
            **values,
        )
    )
