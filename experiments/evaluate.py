"""Evaluate a run again, from its folder alone.

  python -m experiments.evaluate --workdir=checkpoints/<run>
  python -m experiments.evaluate --workdir=checkpoints/<run> --format=json

Prints the metrics of the last checkpoint and whether they are those of metrics.json.
Nothing is written.
"""

import dataclasses

from experiments import console, flags
from ncf_jax.config import Options, option


@dataclasses.dataclass(frozen=True)
class EvaluateOptions(Options):
    """Options of this command."""

    workdir: str = option("", "Run folder to evaluate (required).")
    format: str = option("table", "How to print.", choices=("table", "json"))


def main(options: EvaluateOptions) -> None:
    """Evaluates and prints."""
    import ncf_jax
    from experiments import train
    from ncf_jax import models, report

    run = ncf_jax.load_run(options.workdir)
    stored = report.read_results(run.workdir)
    config = run.config
    found = report.make_results(
        title=models.title(config),
        dataset=run.dataset,
        split=run.split,
        seeds=range(config.seed, config.seed + config.num_seeds),
        k=config.k,
        evaluations=train.judge(run.model, run.params, run.dataset, run.split, config),
        baselines={},
    )
    if options.format == "json":
        console.say(report.dumps(found).rstrip())
        return
    console.say(f"{run.workdir}: after epoch {run.epoch} of {config.epochs}")
    console.results(found)
    if stored is None:
        console.say(
            "The run is not finished: there is no metrics.json to compare with."
        )
    elif stored["metrics"] == found["metrics"]:
        console.say("The same figures as in metrics.json, to the last digit.")
    else:
        console.say(*differences(found["metrics"], stored["metrics"]))


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
