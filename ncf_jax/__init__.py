"""Neural collaborative filtering in JAX and Flax.

The public names, in reading order. They are imported when first used, so that
`import ncf_jax` is instant and `--help` needs no JAX.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ncf_jax.catalogue import best_unseen as best_unseen
    from ncf_jax.catalogue import score_catalogue as score_catalogue
    from ncf_jax.compare import compare as compare
    from ncf_jax.config import Config as Config
    from ncf_jax.config import DataConfig as DataConfig
    from ncf_jax.data.prepare import prepare as prepare
    from ncf_jax.data.prepare import split as split
    from ncf_jax.data.splits import user_random as user_random
    from ncf_jax.errors import (
        ConfigError as ConfigError,
    )
    from ncf_jax.errors import (
        DataError as DataError,
    )
    from ncf_jax.errors import (
        NcfError as NcfError,
    )
    from ncf_jax.errors import (
        NonFiniteLossError as NonFiniteLossError,
    )
    from ncf_jax.errors import (
        RunError as RunError,
    )
    from ncf_jax.evaluate import (
        evaluate as evaluate,
    )
    from ncf_jax.evaluate import (
        predict as predict,
    )
    from ncf_jax.fitting import EpochReport as EpochReport
    from ncf_jax.fitting import fit as fit
    from ncf_jax.judge import Evaluation as Evaluation
    from ncf_jax.judge import evaluate_scores as evaluate_scores
    from ncf_jax.learners import learner_of as learner_of
    from ncf_jax.metrics import CONVENTIONS as CONVENTIONS
    from ncf_jax.metrics import RANKING as RANKING
    from ncf_jax.models import MODELS as MODELS
    from ncf_jax.models import make_model as make_model
    from ncf_jax.models.baselines import Bias as Bias
    from ncf_jax.models.ncf import NCF as NCF
    from ncf_jax.recommend import (
        Movie as Movie,
    )
    from ncf_jax.recommend import (
        recommend as recommend,
    )
    from ncf_jax.recommend import (
        similar as similar,
    )
    from ncf_jax.recommend import (
        top_k as top_k,
    )
    from ncf_jax.runs import Finished as Finished
    from ncf_jax.runs import Run as Run
    from ncf_jax.runs import load_finished as load_finished
    from ncf_jax.runs import load_run as load_run
    from ncf_jax.train import (
        make_learner as make_learner,
    )
    from ncf_jax.types import (
        Batch as Batch,
    )
    from ncf_jax.types import (
        Dataset as Dataset,
    )
    from ncf_jax.types import (
        Interactions as Interactions,
    )
    from ncf_jax.types import (
        ItemFeatures as ItemFeatures,
    )
    from ncf_jax.types import (
        Learner as Learner,
    )
    from ncf_jax.types import (
        Split as Split,
    )
    from ncf_jax.types import (
        TrainState as TrainState,
    )

_HOMES = {
    "config": ("Config", "DataConfig"),
    "types": (
        "Dataset",
        "Split",
        "Interactions",
        "ItemFeatures",
        "Batch",
        "TrainState",
        "Learner",
    ),
    "data.prepare": ("prepare", "split"),
    "data.splits": ("user_random",),
    "models": ("MODELS", "make_model"),
    "models.ncf": ("NCF",),
    "models.baselines": ("Bias",),
    "metrics": ("CONVENTIONS", "RANKING"),
    "learners": ("learner_of",),
    "train": ("make_learner",),
    "fitting": ("fit", "EpochReport"),
    "evaluate": ("evaluate", "predict"),
    "judge": ("evaluate_scores", "Evaluation"),
    "catalogue": ("score_catalogue", "best_unseen"),
    "recommend": ("recommend", "similar", "top_k", "Movie"),
    "runs": ("load_run", "Run", "load_finished", "Finished"),
    "compare": ("compare",),
    "errors": (
        "NcfError",
        "ConfigError",
        "DataError",
        "RunError",
        "NonFiniteLossError",
    ),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__version__ = "0.1.0"
__all__ = [*_HOME_OF, "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'ncf_jax' has no attribute {name!r}")
    value = getattr(import_module(f"ncf_jax.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


class _Package(ModuleType):
    """Keeps `ncf_jax.evaluate` and `ncf_jax.recommend` the verbs.

    Importing a submodule would bind its name here; where that is also the name of a
    public function, the function is what `ncf_jax.<name>` means.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOME_OF and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
