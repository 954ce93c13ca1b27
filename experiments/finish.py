"""The end of every run, ours and peers' alike: judge, then write what was found.

metrics.json is written last: where it is, the run is finished.
"""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ncf_jax import environment as environments
from ncf_jax import pages, per_user, processes, report, trackers
from ncf_jax import samples as sampled
from ncf_jax.compare import compare
from ncf_jax.config import JudgeConfig
from ncf_jax.data import splits
from ncf_jax.errors import RunError
from ncf_jax.formats import plain
from ncf_jax.judge import Evaluation
from ncf_jax.lists import Catalogue
from ncf_jax.results import About, Results, make_results
from ncf_jax.runs import VALIDATION, Finished
from ncf_jax.types import Dataset, Split


class Judged(NamedTuple):
    """A model as its judges see it.

    Attributes:
      name: on the command line.
      title: in tables.
      judge: positions of interactions -> their evaluation.
      score: user index [B] -> scores of all items [R, B, I].
      seeds: R seeds.
      stars: whether scores are stars.
      uses_tags: whether the model sees the tags' texts.
      vectors: of items [I, D], to be drawn as a map; None without.
      train_seconds: of training.
    """

    name: str
    title: str
    judge: Callable[[np.ndarray], Evaluation]
    score: Catalogue
    seeds: Sequence[int]
    train_seconds: float
    stars: bool = True
    uses_tags: bool = False
    vectors: Any = None


def how(config: JudgeConfig, split: Split) -> dict[str, Any]:
    """The arguments of `evaluate` that a configuration stands for."""
    return dict(
        train=split.train,
        metrics=config.metrics,
        candidates=config.candidates,
        k=config.k,
        threshold=config.relevance_threshold,
        ties=config.ties,
        clip=config.clip,
    )


def about(
    program: str, judged: Judged, config: JudgeConfig, dataset: Dataset, split: Split
) -> About:
    """What results say of the run besides figures."""
    return About(
        program=program,
        name=judged.name,
        title=judged.title,
        seeds=judged.seeds,
        ks=tuple(dict.fromkeys(config.k)),
        convention=config.metrics,
        candidates=config.candidates,
        ties=config.ties,
        threshold=config.relevance_threshold,
        limits=splits.limits(split),
        warnings=splits.warnings(
            dataset,
            split,
            filtered=max(config.min_item_ratings, config.min_user_ratings) > 1,
            uses_tags=judged.uses_tags,
            catalogue=config.candidates == "catalogue",
        ),
        members=getattr(config, "ensemble", 1),  # only our own networks have several
    )


def evaluate(judged: Judged, split: Split) -> tuple[dict[str, Evaluation], float]:
    """Evaluations of test and, where there are rows, validation; test's seconds."""
    began = time.perf_counter()
    found = {"test": judged.judge(split.test)}
    seconds = time.perf_counter() - began
    if len(split.valid):
        found["valid"] = judged.judge(split.valid)
    return found, seconds


def write(
    workdir: Path,
    *,
    program: str,
    judged: Judged,
    config: JudgeConfig,
    dataset: Dataset,
    split: Split,
    baselines: Mapping[str, Evaluation],
    flags_text: str,
    history: Sequence[dict[str, Any]] = (),
    tensorboard: trackers.TensorBoard | None = None,
    judge_test: bool = True,
) -> Results:
    """Judges, writes every file of the run folder, and returns the results.

    Without `judge_test`: `validation`, and nothing else.
    """
    if not judge_test:
        said = about(program, judged, config, dataset, split)
        found = validation(workdir, said, judged, dataset, split)
        if tensorboard is not None:
            tensorboard.finish(found, history[-1]["epoch"] if history else 0)
        return found
    evaluations, seconds = evaluate(judged, split)
    results = make_results(
        about(program, judged, config, dataset, split),
        dataset,
        split,
        evaluations,
        baselines,
    )
    results["tests"] = tests(results, dataset, evaluations["test"], baselines)
    whole = report.dumps(results).encode()  # before anything is written
    k = results["k"]
    timing = {"train_seconds": judged.train_seconds, "evaluate_seconds": seconds}
    samples = sampled.to_json(
        sampled.samples(dataset, split, judged.score), stars=judged.stars
    )
    if not processes.primary():
        return results  # process 0 writes
    report.write_tables(workdir, results, history)
    report.write_evaluation(workdir, dataset, evaluations, k)
    lines = trackers.json_lines(history, results).encode()
    report.write_bytes(workdir / "events.jsonl", lines)
    report.write_bytes(workdir / "samples.json", report.dumps(samples).encode())
    report.write_bytes(workdir / "timing.json", report.dumps(timing).encode())
    if tensorboard is not None:
        tensorboard.finish(results, history[-1]["epoch"] if history else 0)
    page = pages.of_run(
        workdir,
        results,
        dataset=dataset,
        split=split,
        evaluations=evaluations,
        history=history,
        timing=timing,
        samples=samples,
        vectors=judged.vectors,
        flags_text=flags_text,
    )
    report.write_bytes(workdir / "report.html", page.encode())
    report.write_bytes(workdir / "metrics.json", whole)
    return results


def validation(
    workdir: Path, said: About, judged: Judged, dataset: Dataset, split: Split
) -> Results:
    """Judges the validation rows alone and writes validation.json, as metrics.json is.

    For choices between runs, which the test rows must not have a part in. There is no
    metrics.json, so the run counts as not finished, and `experiments.train` with its
    run.flags judges the rest from the last checkpoint.

    Raises:
      RunError: there are no validation rows.
    """
    if not len(split.valid):
        raise RunError(
            "There are no validation rows to choose by: users have too few ratings. "
            "Raise --min_user_ratings, or choose another --split."
        )
    found = make_results(said, dataset, split, {"valid": judged.judge(split.valid)}, {})
    report.write_bytes(workdir / VALIDATION, report.dumps(found).encode())
    return found


def tests(
    results: Results,
    dataset: Dataset,
    evaluation: Evaluation,
    baselines: Mapping[str, Evaluation],
) -> list[dict[str, Any]]:
    """Each baseline against the run, on the same users; see `comparison.PairedTest`."""
    if not baselines:
        return []

    def finished(title: str, metrics: dict, found: Evaluation) -> Finished:
        about = {**results, "model": title, "metrics": metrics}
        return Finished(Path(title), about, per_user.per_user(dataset, found), {}, [])

    runs = [finished(results["model"], results["metrics"], evaluation)]
    for title, metrics in results["baselines"].items():
        runs.append(finished(title, metrics, baselines[title]))
    names = ["rmse", f"ndcg@{results['k']}"]
    return plain(compare(runs, metrics=names).tests)


def environment(
    workdir: Path, dataset: Dataset, split: Split, packages: Sequence[str] = ()
) -> None:
    """Writes environment.json."""
    found = report.dumps(environments.environment(dataset, split, packages))
    report.write_bytes(workdir / "environment.json", found.encode())


def of_options(config: Any, options: type[JudgeConfig]) -> dict[str, Any]:
    """The fields that `config` shares with `options`, by name."""
    return {f.name: getattr(config, f.name) for f in dataclasses.fields(options)}
