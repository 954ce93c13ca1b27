"""Train and judge one model: files -> arrays -> training -> metrics, pictures, CSV.

  python -m experiments.train --flagfile=experiments/configs/quickstart.flags
  python -m experiments.train --flagfile=experiments/configs/ncf_tags.flags \\
      --data_dir=../shared/data --num_seeds=10

The same command goes on where an interrupted run stopped, and leaves a finished one
as it is. A folder of a run with other options is refused.
"""

import dataclasses
from pathlib import Path
from typing import Any

import ncf_jax
from experiments import console, flags, folder, stopping
from ncf_jax import processes
from ncf_jax.config import CLOSED_FORM_MODELS, Config, JudgeConfig
from ncf_jax.errors import RunError


def main(config: Config) -> None:
    """Runs, resumes or recalls the run that `config` describes."""
    processes.start(config)
    if not processes.primary():
        console.mute()
    workdir = Path(config.workdir or Path("checkpoints") / config.run_name())
    console.say(
        f"ncf_jax {ncf_jax.__version__}, run folder {workdir}; * marks what is not the "
        f"default"
    )
    with folder.held(workdir, config):
        run(workdir, config)


def run(workdir: Path, config: Config) -> None:
    """Runs, resumes or recalls in a folder that is held."""
    same = f"{config.digest()} {config.mesh} {config.input} {config.chunk_examples}"
    processes.agree(f"{same} {config.save_chunks} {workdir.name}", "options")
    if folder.recalled(workdir):
        return
    console.options(config)
    found = study(config, workdir)
    console.results(found)
    console.say("", f"written to {workdir}: metrics.json, metrics.png, curves.png, …")


def study(config: Config, workdir: Path, *, judge_test: bool = True) -> dict:
    """Prepares, trains from the last checkpoint on, evaluates and writes.

    Without `judge_test` no figure of the test rows is computed, and the run stays one
    that is not finished: see `finish.validation`.
    """
    dataset = ncf_jax.prepare(config, console.Later())
    split = ncf_jax.split(dataset, config)
    processes.agree(f"{dataset.fingerprint} {split.fingerprint}", "data and split")
    from experiments import finish, source
    from ncf_jax import (
        catalogue,
        checkpoint,
        learners,
        meshes,
        models,
        report,
        results,
        trackers,
    )
    from ncf_jax.recommend import item_vectors
    from ncf_jax.runs import config_of

    console.say(
        "",
        f"{dataset.label}: {dataset.num_users:,} users, {dataset.num_items:,} movies, "
        f"{len(dataset.user):,} ratings; train {len(split.train):,}, valid "
        f"{len(split.valid):,}, test {len(split.test):,}",
    )
    flags_text = flags.to_flagfile(
        config,
        data_fingerprint=dataset.fingerprint,
        split_fingerprint=split.fingerprint,
    )
    seeds = results.seeds_of(config)
    members = range(config.seed, config.seed + config.num_seeds * config.ensemble)
    dataset = models.with_context(config, dataset, split)
    model = ncf_jax.make_model(config, dataset)
    mesh = meshes.make_mesh(config.mesh)
    learner = ncf_jax.learner_of(
        config, model, dataset.features, num_rows=len(split.train), mesh=mesh
    )

    def meta_of(**more: Any) -> dict[str, Any]:
        return {
            "config": dataclasses.asdict(config),
            "data": dataset.fingerprint,
            "split": split.fingerprint,
            **more,
        }

    history: list[dict] = []
    start = None
    like = learners.state_like(learner, len(members))
    done = checkpoint.latest(workdir)
    processes.agree(str(done), "last checkpoint (one --workdir for all)")
    if done is not None:
        meta = checkpoint.load_meta(workdir, done)
        folder.check_own(workdir, done, config_of(workdir, done, meta), config)
        for what, ours in (("data", dataset.fingerprint), ("split", split.fingerprint)):
            if meta[what] != ours:
                raise RunError(
                    f"--workdir={workdir} was trained on other {what} (fingerprint "
                    f"{meta[what]} there, {ours} here). Choose another --workdir."
                )
        history = list(meta["history"])
        start = done, checkpoint.load_state(workdir, done, like)
        console.say(f"going on after epoch {done} of {config.epochs}")
    report.write_bytes(workdir / "run.flags", flags_text.encode())
    if done is None or not (workdir / "environment.json").is_file():
        finish.environment(workdir, dataset, split)
    if done is None or not folder.has_data(workdir, dataset, split):
        checkpoint.save_dataset(workdir, dataset, split)
    place = folder.identity(workdir)

    train: Any = dataset.interactions(split.train, statistics=config.ranking > 0)
    if source.streams(config, dataset, split, mesh):
        start, train = source.streamed(
            config, dataset, split, train.features, workdir, start, like, meta_of
        )
    board = None
    if config.tensorboard and processes.primary():
        board = trackers.TensorBoard(workdir / "tensorboard", history)
    with console.Progress(config.epochs, done or 0) as progress, stopping.until_saved():

        def on_epoch(epoch: ncf_jax.EpochReport, state: ncf_jax.TrainState) -> None:
            folder.check_there(workdir, place)
            history.append(results.history_row(*epoch))
            meta = meta_of(history=history)
            checkpoint.save(workdir, epoch.epoch, state, meta, keep=config.keep)
            report.write_history(workdir, history)
            if board is not None:
                board.epoch(history[-1])
            progress.epoch(epoch)
            stopping.saved()

        state = ncf_jax.fit(
            learner,
            train,
            dataset.interactions(split.valid),
            epochs=config.epochs,
            seeds=members,
            start=start,
            on_epoch=on_epoch,
        )

    return finish.write(
        workdir,
        program="experiments.train",
        judged=finish.Judged(
            name=config.model,
            title=models.title(config),
            judge=lambda rows: ncf_jax.evaluate(
                model,
                state.params,
                dataset,
                rows,
                ensemble=config.ensemble,
                **finish.how(config, split),
            ),
            score=catalogue.scorer(
                model, state.params, dataset.features, ensemble=config.ensemble
            ),
            seeds=seeds,
            train_seconds=sum(row["seconds"] for row in history),
            uses_tags=models.uses_tags(config),
            vectors=item_vectors(model, state.params, dataset),
        ),
        config=config,
        dataset=dataset,
        split=split,
        baselines=baselines(config, dataset, split, without=config.model)
        if judge_test
        else {},
        flags_text=flags_text,
        history=history,
        tensorboard=board,
        judge_test=judge_test,
    )


def baselines(config: JudgeConfig, dataset, split, without: str = "") -> dict:
    """What a model must beat, fitted on the same rows and judged on the same test."""
    from experiments import finish
    from ncf_jax import models

    found = {}
    for name in CLOSED_FORM_MODELS:
        if name == without:
            continue
        baseline = Config(model=name, **finish.of_options(config, JudgeConfig))
        model = ncf_jax.make_model(baseline, dataset)
        state = ncf_jax.fit(
            ncf_jax.learner_of(baseline, model, dataset.features),
            dataset.interactions(split.train),
            dataset.interactions(split.valid),
            epochs=baseline.epochs,
        )
        found[models.title(baseline)] = ncf_jax.evaluate(
            model, state.params, dataset, split.test, **finish.how(config, split)
        )
    return found


if __name__ == "__main__":
    flags.run(main, Config, __doc__)
