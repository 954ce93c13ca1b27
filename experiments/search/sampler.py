"""What to try next, by Optuna; and what mattered.

Every function is one of its arguments alone: a sampler is made anew for each trial and
told of all before it, so that a sweep that was killed goes on as if it had not been,
and no database is needed.
"""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from experiments.search.space import Space
from experiments.search.trials import COMPLETE, Trial
from ncf_jax.errors import RunError

GUIDED, ATTEMPTS = 10, 200  # draws by what is known of the trials; draws in all
ENOUGH = 10  # complete trials from which the importance of options says anything


def optuna() -> Any:
    """The library, silent.

    Raises:
      RunError: it is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise RunError(
            "A sweep needs Optuna, which is not installed; pip install -e '.[sweep]' "
            "brings it."
        ) from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def propose(
    space: Space, trials: Sequence[Trial], *, seed: int, larger: bool
) -> dict[str, Any] | None:
    """The next setting; None where each one that is drawn was tried before.

    Training is exact, so that a setting tried twice would tell nothing.

    Args:
      space: of the settings.
      trials: all before this one.
      seed: of the sampler.
      larger: whether the larger of two objectives is the better one.
    """
    samplers = optuna().samplers
    study, distributions = told(space, trials, larger=larger)
    for attempt in range(ATTEMPTS):
        root = np.random.SeedSequence([seed, len(trials), attempt])
        sampler = samplers.TPESampler if attempt < GUIDED else samplers.RandomSampler
        study.sampler = sampler(seed=int(root.generate_state(1)[0]))
        values = study.ask(distributions).params
        if all(values != trial.values for trial in trials):
            return {name: values[name] for name in space}
    return None


def told(space: Space, trials: Sequence[Trial], *, larger: bool) -> tuple[Any, dict]:
    """An Optuna study that knows the trials, and the distributions of the space."""
    library = optuna()
    kinds, state = library.distributions, library.trial.TrialState
    distributions: dict[str, Any] = {}
    for name, axis in space.items():
        low, high, *step = axis.values
        log = axis.how == "log"
        if axis.how == "one_of":
            distributions[name] = kinds.CategoricalDistribution(axis.values)
        elif type(low) is int:
            steps = step[0] if step else 1
            distributions[name] = kinds.IntDistribution(low, high, log=log, step=steps)
        else:
            distributions[name] = kinds.FloatDistribution(low, high, log=log)
    study = library.create_study(direction="maximize" if larger else "minimize")
    for trial in trials:
        known = library.trial.create_trial(
            params=trial.values,
            distributions=distributions,
            value=trial.mean,
            state=state.COMPLETE if trial.state == COMPLETE else state.FAIL,
        )
        study.add_trial(known)
    return study, distributions


def importance(
    space: Space, trials: Sequence[Trial], *, larger: bool
) -> dict[str, float]:
    """Each option's share in what tells good trials from others; none of too few."""
    if sum(trial.state == COMPLETE for trial in trials) < ENOUGH:
        return {}
    study, _ = told(space, trials, larger=larger)
    module = optuna().importance
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # older versions call it experimental
        try:
            evaluator = module.PedAnovaImportanceEvaluator()
            return module.get_param_importances(study, evaluator=evaluator)
        except (ValueError, RuntimeError):
            return {}  # as when all trials are equally good
