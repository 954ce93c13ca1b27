"""Evaluate a run again, from its folder alone, as it was or by another reading.

  python -m experiments.evaluate --workdir=checkpoints/<run>
  python -m experiments.evaluate --workdir=checkpoints/<run> --metrics=standard \\
      --candidates=catalogue --k=10,20
  python -m experiments.evaluate --workdir=checkpoints/<run> --fold_in=10

Prints the metrics of the last checkpoint and whether they are those of metrics.json. By
another reading, they are written below the run as evaluations/<reading>/, a folder that
`experiments.compare` takes as it takes a run. With --fold_in, for a run of
--split=cold_user, each held-out user gives so many ratings, their first, and is judged
on the rest, beside what these rows get without; it is another reading, too.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments import console, flags
from experiments import folder as run_folder
from ncf_jax.config import Config, JudgeConfig, Options, option

READINGS = ("metrics", "candidates", "k", "ties", "relevance_threshold")


def _again(name: str) -> Mapping[str, Any]:
    return {f.name: f for f in dataclasses.fields(JudgeConfig)}[name].metadata


@dataclasses.dataclass(frozen=True)
class EvaluateOptions(Options):
    """Options of this command."""

    workdir: str = option("", "Run folder to evaluate (required).")
    format: str = option("table", "How to print.", choices=("table", "json"))
    metrics: str = option(
        "",
        "Another reading than the run's.",
        choices=("", *_again("metrics")["choices"]),
    )
    candidates: str = option(
        "", "Other candidates.", choices=("", *_again("candidates")["choices"])
    )
    ties: str = option(
        "", "Another tie rule.", choices=("", *_again("ties")["choices"])
    )
    k: tuple[int, ...] = option((), "Other cut-offs.", minimum=1, of=int)
    relevance_threshold: float = option(
        0.0, "Another threshold, stars; 0: the run's.", minimum=0.0, maximum=5.0
    )
    fold_in: int = option(
        0,
        "Ratings that each new user gives, their first in time, to be judged on the "
        "rest; 0: none.",
        minimum=0,
    )


def main(options: EvaluateOptions) -> None:
    """Evaluates, prints, and writes where the reading is another."""
    import ncf_jax
    from experiments import finish, folded
    from ncf_jax import catalogue, locks, models, report
    from ncf_jax.results import make_results, seeds_of

    run = run_folder.opened(options.workdir)
    config = reading(run.config, options)
    judged = finish.Judged(
        name=config.model,
        title=models.title(config),
        judge=lambda rows: ncf_jax.evaluate(
            run.model,
            run.params,
            run.dataset,
            rows,
            ensemble=config.ensemble,
            **finish.how(config, run.split),
        ),
        score=catalogue.scorer(
            run.model, run.params, run.dataset.features, ensemble=config.ensemble
        ),
        seeds=seeds_of(config),
        train_seconds=sum(row["seconds"] for row in report.read_history(run.workdir)),
        uses_tags=models.uses_tags(config),
    )
    split = run.split
    notes: list[str] = []
    about = finish.about("experiments.train", judged, config, run.dataset, split)
    if options.fold_in:
        split, evaluations, plain, seconds = folded.evaluate(
            run, config, options.fold_in
        )
        about, notes = folded.about(about, run, split, options.fold_in)
    else:
        evaluations, seconds = finish.evaluate(judged, split)
        plain = {}
    found = make_results(about, run.dataset, split, evaluations, plain)
    if options.format == "json":
        console.say(report.dumps(found).rstrip())
    else:
        console.say(f"{run.workdir}: after epoch {run.epoch} of {config.epochs}")
        console.results(found)
        console.say(*notes)
    if config != run.config or options.fold_in:
        first = f"fold-in-{options.fold_in}-" if options.fold_in else ""
        folder = run.workdir / "evaluations" / (first + name(config))
        timing = {"train_seconds": judged.train_seconds, "evaluate_seconds": seconds}
        with locks.hold(folder):
            report.write_evaluation(folder, run.dataset, evaluations, found["k"])
            report.write_bytes(folder / "timing.json", report.dumps(timing).encode())
            report.write_bytes(folder / "metrics.json", report.dumps(found).encode())
        if options.format == "table":
            console.say(f"written to {folder}")
    elif options.format == "table":
        console.say(*verdict(run.workdir, found))


def reading(config: Config, options: EvaluateOptions) -> Config:
    """The run's configuration, with what is asked for in place of its own."""
    asked = {name: getattr(options, name) for name in READINGS}
    asked["k"] = tuple(dict.fromkeys(asked["k"]))
    return dataclasses.replace(config, **{n: v for n, v in asked.items() if v})


def name(config: JudgeConfig) -> str:
    """`standard-catalogue-k10-20`, and more where it is not as usual."""
    parts = [config.metrics, config.candidates, "k" + "-".join(map(str, config.k))]
    if config.ties != "expected":
        parts.append(config.ties)
    if config.relevance_threshold != 4.0:
        parts.append(f"from{config.relevance_threshold}")
    return "-".join(parts)


def verdict(workdir: Path, found: dict) -> list[str]:
    """Whether these figures are those of metrics.json."""
    from ncf_jax import report

    stored = report.read_results(workdir)
    if stored is None:
        return ["The run is not finished: there is no metrics.json to compare with."]
    if stored["metrics"] == found["metrics"]:
        return ["The same figures as in metrics.json, to the last digit."]
    return differences(found["metrics"], stored["metrics"])


def differences(ours: dict, theirs: dict) -> list[str]:
    """A line for each value that is not the same."""
    lines = []
    for name in {**ours, **theirs}:
        found, stored = ours.get(name, {}), theirs.get(name, {})
        for key in {**found, **stored}:
            value, was = found.get(key), stored.get(key)
            if value != was:
                what = name if key == "mean" else f"{name} {key}"
                lines.append(f"{what}: {value} here, {was} in metrics.json")
    return lines


if __name__ == "__main__":
    flags.run(main, EvaluateOptions, __doc__)
