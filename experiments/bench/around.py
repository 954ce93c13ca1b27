"""Our contestants around training: preparation, scores of a catalogue, metrics."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.bench.ours import keys_of
from experiments.bench.worker import Contestant
from ncf_jax import catalogue
from ncf_jax.config import Config, DataConfig
from ncf_jax.data import silent
from ncf_jax.data.prepare import from_files, prepare, split, world_of
from ncf_jax.evaluate import evaluate, predict
from ncf_jax.learners import learner_of
from ncf_jax.models import make_model


def scores(source: dict[str, Any], way: str, users: int) -> Contestant:
    """Scores of every item for some users: by halves, or the network for each pair."""
    config = Config(**source["data"])
    dataset = prepare(config)
    model = make_model(config, dataset)
    learner = learner_of(config, model, dataset.features)
    params = jax.vmap(learner.init)(keys_of(1)).params
    features = jax.tree.map(jnp.asarray, dataset.features)
    some = np.arange(min(users, dataset.num_users), dtype=np.int32)
    items = dataset.num_items
    pairs = np.repeat(some, items), np.tile(np.arange(items, dtype=np.int32), len(some))
    seen = jnp.full((len(some), 1), items)

    def run() -> float:
        if way == "halves":
            found = catalogue.score_catalogue(model, params, some, features)
        elif way == "pairs":
            found = predict(model, params, *pairs, dataset.features)
        else:
            found = catalogue.best_unseen(
                model, params, some, seen, features, k=min(10, items)
            )[1]
        return float(jnp.mean(found))

    run()
    return Contestant(run, {"examples": len(some) * items})


def judged(source: dict[str, Any], whole: bool = False) -> Contestant:
    """All metrics with intervals on the test rows, as `ncf_jax.evaluate` gives them.

    Args:
      source: of the data.
      whole: rank all items at several cut-offs, not the users' rated rows at one.
    """
    config = Config(**source["data"])
    dataset = prepare(config)
    parts = split(dataset, config)
    model = make_model(config, dataset)
    learner = learner_of(config, model, dataset.features)
    params = jax.vmap(learner.init)(keys_of(1)).params

    how: dict[str, Any] = {"train": parts.train}
    if whole:
        how |= {"candidates": "catalogue", "k": (5, 10, 20)}

    def run() -> float:
        found = evaluate(model, params, dataset, parts.test, **how)
        return float(found.metrics["rmse"].mean)

    run()
    return Contestant(run, {"examples": len(parts.test)})


def from_csv(options: dict[str, Any]) -> Contestant:
    """CSV files of a synthetic world that is there already to arrays, uncached."""
    config = DataConfig(**options)
    folder = Path(config.cache_dir) / world_of(config).folder_name()

    def run() -> None:
        from_files(folder, config, silent, name=config.dataset, label=config.dataset)

    return Contestant(run, {})


def prepared(options: dict[str, Any]) -> Contestant:
    """The prepared arrays out of their cache, which is filled first."""
    config = DataConfig(**options)
    prepare(config)

    def run() -> None:
        prepare(config)

    return Contestant(run, {})


def divided(options: dict[str, Any]) -> Contestant:
    """The split of prepared data."""
    config = DataConfig(**options)
    dataset = prepare(config)

    def run() -> None:
        split(dataset, config)

    return Contestant(run, {})
