"""Train and judge one model: files -> arrays -> training -> metrics, pictures, CSV.

  python -m experiments.train --flagfile=experiments/configs/quickstart.flags
  python -m experiments.train --flagfile=experiments/configs/ncf_tags.flags \\
      --data_dir=../shared/data --num_seeds=10

The same command goes on where an interrupted run stopped, and leaves a finished one
as it is. A folder of a run with other options is refused.
"""

import dataclasses
from pathlib import Path

import ncf_jax
from experiments import console, flags
from ncf_jax.config import CLOSED_FORM_MODELS, Config, DataConfig, differences
from ncf_jax.errors import NcfError, RunError


def main(config: Config) -> None:
    """Runs, resumes or recalls the run that `config` describes."""
    from ncf_jax import report

    workdir = Path(config.workdir or Path("checkpoints") / config.run_name())
    console.say(
        f"ncf_jax {ncf_jax.__version__}, run folder {workdir}; * marks what is not the "
        f"default"
    )
    check_folder(workdir, config)
    if (finished := report.read_results(workdir)) is not None:
        console.results(finished)
        console.say(
            "",
            f"{workdir} is finished; nothing was trained. Give another --workdir to "
            f"train again.",
        )
        return
    console.options(config)
    found = study(config, workdir)
    console.results(found)
    console.say("", f"written to {workdir}: metrics.json, metrics.png, curves.png, …")


def check_folder(workdir: Path, config: Config) -> None:
    """Sees to it that `workdir` is new, or of a run with these very options.

    Raises:
      RunError: it is a file, holds something else, or a run that differs.
    """
    if workdir.exists() and not workdir.is_dir():
        raise RunError(f"--workdir={workdir} is a file; name a folder.")
    if not workdir.exists() or not any(workdir.iterdir()):
        return
    path = workdir / "run.flags"
    if not path.is_file():
        if all(child.name == ".run.flags.partial" for child in workdir.iterdir()):
            return  # killed while writing its very first file
        raise RunError(
            f"--workdir={workdir} is not empty and not a run folder (it has no "
            f"run.flags). Choose a new or empty folder."
        )
    try:
        theirs = flags.parse(Config, [f"--flagfile={path}"])
    except NcfError as error:
        raise RunError(f"{path} cannot be read as a run's flags: {error}") from error
    if different := differences(theirs, config):
        raise RunError(
            f"--workdir={workdir} holds another run: {'; '.join(different)}. Choose "
            f"another --workdir, or pass the same options."
        )


def study(config: Config, workdir: Path) -> dict:
    """Prepares, trains from the last checkpoint on, evaluates and writes."""
    dataset = ncf_jax.prepare(config, console.Later())
    split = ncf_jax.split(dataset, config)
    from ncf_jax import checkpoint, models, report, train

    console.say(
        "",
        f"{dataset.label}: {dataset.num_users:,} users, {dataset.num_items:,} movies, "
        f"{len(dataset.user):,} ratings; train {len(split.train):,}, valid "
        f"{len(split.valid):,}, test {len(split.test):,}",
    )
    report.write_bytes(workdir / "run.flags", flags.to_flagfile(config).encode())
    seeds = range(config.seed, config.seed + config.num_seeds)
    model = ncf_jax.make_model(config, dataset)
    learner = ncf_jax.learner_of(config, model, dataset.features)

    history: list[dict] = []
    start = None
    if (done := checkpoint.latest(workdir)) is not None:
        meta = checkpoint.load_meta(workdir, done)
        for what, ours in (("data", dataset.fingerprint), ("split", split.fingerprint)):
            if meta[what] != ours:
                raise RunError(
                    f"--workdir={workdir} was trained on other {what} (fingerprint "
                    f"{meta[what]} there, {ours} here). Choose another --workdir."
                )
        history = list(meta["history"])
        like = train.state_like(learner, len(seeds))
        start = done, checkpoint.load_state(workdir, done, like)
        console.say(f"going on after epoch {done} of {config.epochs}")
    else:
        environment = report.dumps(report.environment(dataset, split))
        report.write_bytes(workdir / "environment.json", environment.encode())
        checkpoint.save_dataset(workdir, dataset, split)

    with console.Progress(config.epochs, done or 0) as progress:

        def on_epoch(epoch: ncf_jax.EpochReport, state: ncf_jax.TrainState) -> None:
            history.append(report.history_row(*epoch))
            meta = {
                "config": dataclasses.asdict(config),
                "data": dataset.fingerprint,
                "split": split.fingerprint,
                "history": history,
            }
            checkpoint.save(workdir, epoch.epoch, state, meta, keep=config.keep)
            report.write_bytes(
                workdir / "history.csv", report.history_csv(history).encode()
            )
            progress.epoch(epoch)

        state = ncf_jax.fit(
            learner,
            dataset.interactions(split.train),
            dataset.interactions(split.valid),
            epochs=config.epochs,
            seeds=seeds,
            start=start,
            on_epoch=on_epoch,
        )

    evaluations = judge(model, state.params, dataset, split, config)
    found = report.make_results(
        title=models.title(config),
        dataset=dataset,
        split=split,
        seeds=seeds,
        k=config.k,
        evaluations=evaluations,
        baselines=baselines(config, dataset, split),
    )
    per_user = report.per_user_csv(dataset, evaluations["test"], config.k)
    report.write_results(workdir, found, history, per_user)
    return found


def judge(model, params, dataset, split, config: Config) -> dict:
    """Evaluations of the test rows and, where there are any, the validation rows."""
    parts = {"test": split.test, "valid": split.valid}
    return {
        part: ncf_jax.evaluate(
            model,
            params,
            dataset,
            rows,
            k=config.k,
            threshold=config.relevance_threshold,
        )
        for part, rows in parts.items()
        if part == "test" or len(rows)
    }


def baselines(config: Config, dataset, split) -> dict:
    """What the model must beat, fitted on the same rows and judged on the same test."""
    from ncf_jax import models

    common = {f.name for f in dataclasses.fields(DataConfig)} | {
        "k",
        "relevance_threshold",
    }
    shared = {name: getattr(config, name) for name in common}
    found = {}
    for name in CLOSED_FORM_MODELS:
        if name == config.model:
            continue
        baseline = Config(model=name, **shared)
        model = ncf_jax.make_model(baseline, dataset)
        state = ncf_jax.fit(
            ncf_jax.learner_of(baseline, model, dataset.features),
            dataset.interactions(split.train),
            dataset.interactions(split.valid),
            epochs=baseline.epochs,
        )
        found[models.title(baseline)] = ncf_jax.evaluate(
            model,
            state.params,
            dataset,
            split.test,
            k=config.k,
            threshold=config.relevance_threshold,
        )
    return found


if __name__ == "__main__":
    flags.run(main, Config, __doc__)
