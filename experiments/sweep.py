"""Search for better options with Optuna; the validation rows alone decide.

  python -m experiments.sweep --flagfile=experiments/configs/ncf_tags.flags \\
      --space=experiments/configs/ncf.space --trials=30 --num_seeds=2 \\
      --workdir=checkpoints/sweep-tags

The flags of experiments.train set the experiment that is varied. --space names a text
file with an option a line, `#` before a comment:

  learning_rate = log 0.0005 0.01    # low, high
  embedding_dim = int 8 64 8         # low, high, step
  dropout = float 0 0.5
  loss = one_of mse huber

A trial is a run folder in trials/; its seeds are trained in one vmap, and their mean is
its objective. No trial computes a figure of the test rows: it is judged on the
validation rows (validation.json) and counts as a run that is not finished. One whose
loss is not finite has failed, and the sweep goes on. No setting is tried twice.

Written to --workdir: sweep.csv, a row a trial; best.flags, a flagfile that trains the
best setting. The same command goes on where an interrupted sweep stopped, with the
trials that it would have made; a larger --trials adds to it. Wants the extra:
pip install -e '.[sweep]'.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import ncf_jax
from experiments import console, flags, folder, train
from experiments.search import space as spaces
from experiments.search import trials as records
from experiments.search.space import Space
from experiments.search.trials import COMPLETE, FAILED, RUNNING, Trial, figure, shown
from ncf_jax.config import Config, nearest, option
from ncf_jax.errors import ConfigError, NonFiniteLossError, RunError

PART = "valid/"
SHOWN = 10  # of the best trials
TRAIN = "train the best: python -m experiments.train"


@dataclasses.dataclass(frozen=True)
class SweepOptions(Config):
    """Options of this command: those of a run, and how to vary them."""

    workdir: str = option("", "Folder of the sweep (required).", identity=False)
    space: str = option("", "File of the options to vary (required).", identity=False)
    trials: int = option(
        30, "Trials in all, failed ones too.", minimum=1, identity=False
    )
    objective: str = option(
        "valid/rmse", "Figure of the validation rows to choose by: valid/ndcg@10, …"
    )
    sampler_seed: int = option(0, "Seed of the sampler.", minimum=0)

    def __post_init__(self) -> None:
        """Checks each value.

        Raises:
          ConfigError: as of any options; or the objective is not of validation.
        """
        super().__post_init__()
        if self.objective.startswith("test/"):
            raise ConfigError(
                f"--objective={self.objective} is refused: choices are made on the "
                f"validation rows alone. Choose by {PART}{self.objective[5:]}."
            )

    def base(self) -> Config:
        """The run that is varied."""
        names = [field.name for field in dataclasses.fields(Config)]
        return Config(**{name: getattr(self, name) for name in names})


class Sweep(NamedTuple):
    """A sweep that has begun.

    Attributes:
      options: of the command.
      space: what is varied.
      larger: whether the larger of two objectives is the better one.
      data: the fingerprints that every trial must find, as options.
    """

    options: SweepOptions
    space: Space
    larger: bool
    data: dict[str, str]

    def path(self, name: str) -> Path:
        """A file of the sweep's folder."""
        return Path(self.options.workdir) / name

    def config(self, trial: Trial) -> Config:
        """The run that a trial is."""
        workdir = str(self.path("trials") / f"{trial.number:04d}")
        changes: dict[str, Any] = {**trial.values, **self.data, "workdir": workdir}
        return dataclasses.replace(self.options.base(), **changes)


def main(options: SweepOptions) -> None:
    """Runs or goes on with the sweep."""
    for name in ("workdir", "space"):
        if not getattr(options, name):
            raise ConfigError(f"--{name} is required; --help says what it is.")
    space = spaces.read(Path(options.space), options.base())
    from experiments.search import sampler

    sampler.optuna()  # is there, or nothing is begun
    with folder.held(Path(options.workdir), options, "sweep"):
        search(begin(options, space, direction(options)))


def search(sweep: Sweep) -> None:
    """Runs or goes on in a folder that is held."""
    from experiments.search import sampler

    space, larger, objective = sweep.space, sweep.larger, sweep.options.objective
    trials = records.read(sweep.path("sweep.csv"), space, objective)
    trained = 0
    while len(done := [t for t in trials if t.state != RUNNING]) < sweep.options.trials:
        if len(done) == len(trials):
            sampler_seed = sweep.options.sampler_seed
            values = sampler.propose(space, trials, seed=sampler_seed, larger=larger)
            if values is None:
                console.say("", "No setting is left that has not been tried.")
                break
            trials.append(Trial(len(trials) + 1, RUNNING, values))
            write(sweep, trials)
        trials[-1] = run(sweep, trials[-1])
        trained += 1
        write(sweep, trials)
    if not trained:
        console.say("", "These trials were there already; nothing was trained.")
    conclude(sweep, done, sampler.importance(space, done, larger=larger))


def direction(options: SweepOptions) -> bool:
    """Whether the larger of two objectives is the better one.

    Raises:
      ConfigError: no run has such a figure, or neither of two is the better one.
    """
    from ncf_jax import metrics
    from ncf_jax.compare import larger_is_better

    names = list(metrics.RATING)
    for name in metrics.CONVENTIONS[options.metrics]:
        names += [f"{name}@{k}" for k in dict.fromkeys(options.k)]
    known = {PART + name: larger_is_better(name) for name in names}
    wanted = tuple(name for name, larger in known.items() if larger is not None)
    if options.objective not in wanted:
        raise ConfigError(
            f"--objective wants one of {', '.join(wanted)}; found "
            f"{options.objective!r}.{nearest(options.objective, wanted)}"
        )
    return bool(known[options.objective])


def begin(options: SweepOptions, space: Space, larger: bool) -> Sweep:
    """Makes the sweep's folder, or sees to it that it is of this very sweep.

    Raises:
      RunError: the folder is of something else, of another base, space or data.
    """
    from ncf_jax import report

    workdir = Path(options.workdir)
    console.say(f"ncf_jax {ncf_jax.__version__}, sweep folder {workdir}")
    theirs, stored = workdir / "sweep.flags", workdir / "sweep.space"
    if there := stored.is_file():
        before = spaces.read(stored, options.base())
        if different := spaces.differences(before, space):
            raise RunError(
                f"--workdir={workdir} holds a sweep of another space: "
                f"{'; '.join(different)}. Choose another --workdir, or pass the same "
                f"--space."
            )
    dataset = ncf_jax.prepare(options, console.Later())
    split = ncf_jax.split(dataset, options)
    data = {
        "data_fingerprint": dataset.fingerprint,
        "split_fingerprint": split.fingerprint,
    }
    if there:
        first = flags.parse(SweepOptions, [f"--flagfile={theirs}"])
        for name, found in data.items():
            if getattr(first, name) != found:
                raise RunError(
                    f"--workdir={workdir} holds a sweep on other data (--{name}: "
                    f"{getattr(first, name)} there, {found} here). Choose another "
                    f"--workdir."
                )
        return Sweep(options, space, larger, data)
    console.say(*(f"  {name} = {axis}" for name, axis in space.items()))
    text = flags.to_flagfile(
        options, "experiments.sweep", space=str(stored.resolve()), **data
    )
    report.write_bytes(theirs, text.encode())
    report.write_bytes(stored, Path(options.space).read_bytes())
    return Sweep(options, space, larger, data)


def run(sweep: Sweep, trial: Trial) -> Trial:
    """Trains a trial, or goes on with it, and judges it on the validation rows.

    Raises:
      RunError: the objective is not defined on these rows.
    """
    from ncf_jax import report

    objective, config = sweep.options.objective, sweep.config(trial)
    workdir = Path(config.workdir)
    setting = ", ".join(f"{n} {shown(v)}" for n, v in trial.values.items())
    console.say("", f"trial {trial.number} of {sweep.options.trials}: {setting}")
    folder.check(workdir, config)
    try:
        found = train.study(config, workdir, judge_test=False)["metrics"][objective]
    except NonFiniteLossError as error:
        console.say(f"trial {trial.number} failed: {error}")
        found = None
    seconds = sum(row["seconds"] for row in report.read_history(workdir))
    if found is None:
        return trial._replace(state=FAILED, seconds=seconds)
    if found["mean"] is None:
        raise RunError(
            f"--objective={objective} is not defined on these validation rows. Choose "
            f"by another figure, in a new --workdir."
        )
    trial = trial._replace(
        state=COMPLETE, mean=found["mean"], sd=found["sd"], seconds=seconds
    )
    console.say(f"trial {trial.number}: {objective} {figure(trial)}")
    return trial


def write(sweep: Sweep, trials: Sequence[Trial]) -> None:
    """Writes what is known so far: sweep.csv, and best.flags where there is a best."""
    from ncf_jax import report, results

    columns = records.header(sweep.space, sweep.options.objective)
    if ranked := records.ranked(trials, larger=sweep.larger):
        text = best_flags(sweep, ranked[0], trials)
        report.write_bytes(sweep.path("best.flags"), text.encode())
    text = results.to_csv(columns, records.rows(trials))
    report.write_bytes(sweep.path("sweep.csv"), text.encode())


def best_flags(sweep: Sweep, best: Trial, trials: Sequence[Trial]) -> str:
    """The flagfile of the best setting; how it was chosen stands above."""
    options = sweep.options
    count = [trial.state for trial in trials].count
    seeds = f"seed {options.seed}"
    if options.num_seeds > 1:
        seeds = f"mean ± sd of {options.num_seeds} seeds"
    return (
        f"# The best setting of the sweep in {options.workdir}: trial {best.number}.\n"
        f"# Objective  {options.objective} {figure(best)}, {seeds}\n"
        f"# Trials     {count(COMPLETE)} complete, {count(FAILED)} failed\n"
        f"# Chosen     on the validation rows; the test rows had no part in it. The\n"
        f"#            best of several figures flatters its setting\n"
    ) + flags.to_flagfile(sweep.config(best))


def conclude(sweep: Sweep, done: Sequence[Trial], shares: dict[str, float]) -> None:
    """Prints the best trials and what mattered.

    Raises:
      NonFiniteLossError: all trials have failed.
    """
    ranked = records.ranked(done, larger=sweep.larger)
    if not ranked:
        raise NonFiniteLossError(
            f"All {len(done)} trials failed: no loss stayed finite. Try smaller values "
            f"of learning_rate, in a new --workdir."
        )
    console.say("")
    console.table(
        ["trial", sweep.options.objective, *sweep.space],
        [
            [str(t.number), figure(t), *map(shown, t.values.values())]
            for t in ranked[:SHOWN]
        ],
    )
    failed = len(done) - len(ranked)
    lines = [
        f"the best of {len(ranked)} trials{f' ({failed} failed)' * bool(failed)}, "
        f"chosen on the validation rows; the test rows had no part in it"
    ]
    if shares:
        said = ", ".join(f"{name} {100 * x:.0f} %" for name, x in shares.items())
        lines.append(f"what told good trials from others (PED-ANOVA): {said}")
    console.say("", *lines, f"{TRAIN} --flagfile={sweep.path('best.flags')}")


if __name__ == "__main__":
    flags.run(main, SweepOptions, __doc__)
