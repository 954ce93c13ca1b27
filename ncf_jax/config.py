"""Every option once: its name, type, default, help and allowed values.

The dataclasses here are the one home of a command's defaults. `experiments/flags.py`
turns a field into a flag of the same name; Python code constructs the dataclass. An
impossible value raises `ConfigError` at construction, before any work.

Example:
  >>> Config(epochs=3).epochs
  3
  >>> Config(model="nfc")
  Traceback (most recent call last):
  ...
  ncf_jax.errors.ConfigError: --model wants one of ncf, bias, item_mean, global_mean; \
found 'nfc'. Did you mean 'ncf'?
"""

import dataclasses
import difflib
import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

from ncf_jax.errors import ConfigError

GRADIENT_MODELS = ("ncf",)
MAX_INT = 2**31 - 1  # arrays on the device are indexed by int32
CLOSED_FORM_MODELS = ("bias", "item_mean", "global_mean")


def option(
    default: Any,
    help: str,
    *,
    choices: tuple[str, ...] | None = None,
    minimum: float | None = None,
    maximum: float | None = None,
    below: float | None = None,
    only_with: Mapping[str, tuple[str, ...]] | None = None,
    identity: bool = True,
) -> Any:
    """A dataclass field that is also a flag.

    Args:
      default: the value when nothing is given; its type is the option's type.
      help: one line for `--help`.
      choices: the allowed strings.
      minimum: the smallest allowed number.
      maximum: the largest allowed number; that of an int32 for whole numbers.
      below: a number that the value must stay under.
      only_with: other options and the values of theirs with which this one has an
        effect; changing it with any other value is a contradiction.
      identity: False for options that say where to look or write but do not change
        any number, so that two runs which differ only there are the same run.
    """
    if type(default) is int and maximum is None:
        maximum = MAX_INT
    metadata = dict(
        help=help,
        choices=choices,
        minimum=minimum,
        maximum=maximum,
        below=below,
        only_with=only_with or {},
        identity=identity,
    )
    return dataclasses.field(default=default, metadata=metadata)


def nearest(found: str, names: tuple[str, ...]) -> str:
    """A sentence that offers the closest of `names`, or nothing when none is close."""
    close = difflib.get_close_matches(found, names, n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


@dataclasses.dataclass(frozen=True)
class Options:
    """What all option sets share: validation of each field against its metadata."""

    def __post_init__(self) -> None:
        """Checks each value.

        Raises:
          ConfigError: a value has the wrong type, is out of range or contradicts
            another; the sentence names the flag.
        """
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if _kind(field) is float and type(value) is int:
                # 1 and 1.0 are the same option, and must be the same run.
                object.__setattr__(self, field.name, float(value))
            _check_value(field, getattr(self, field.name))
        for field in dataclasses.fields(self):
            _check_effect(field, self)


def _kind(field: dataclasses.Field) -> type:
    return type(field.default)


def _is_a(value: Any, kind: type) -> bool:
    # Python counts True as a whole number; an option does not.
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


def _check_value(field: dataclasses.Field, value: Any) -> None:
    meta, kind = field.metadata, _kind(field)
    flag = f"--{field.name}"
    number = kind in (int, float)
    if not _is_a(value, kind):
        raise ConfigError(
            f"{flag} wants a value of type {kind.__name__}; found {value!r}."
        )
    if meta["choices"] and value not in meta["choices"]:
        wanted = ", ".join(meta["choices"])
        hint = nearest(value, meta["choices"])
        raise ConfigError(f"{flag} wants one of {wanted}; found {value!r}.{hint}")
    if number and not math.isfinite(value):
        raise ConfigError(f"{flag} wants a finite number; found {value!r}.")
    if meta["minimum"] is not None and value < meta["minimum"]:
        raise ConfigError(f"{flag} wants at least {meta['minimum']}; found {value!r}.")
    if meta["maximum"] is not None and value > meta["maximum"]:
        raise ConfigError(f"{flag} wants at most {meta['maximum']}; found {value!r}.")
    if meta["below"] is not None and value >= meta["below"]:
        raise ConfigError(f"{flag} wants less than {meta['below']}; found {value!r}.")


def _check_effect(field: dataclasses.Field, options: Any) -> None:
    value = getattr(options, field.name)
    for other, values in field.metadata["only_with"].items():
        if value != field.default and getattr(options, other) not in values:
            raise ConfigError(
                f"--{field.name}={value} has no effect with "
                f"--{other}={getattr(options, other)}; leave it out, or choose "
                f"--{other} among {', '.join(values)}."
            )


_SYNTHETIC = {"dataset": ("synthetic",)}
_RELEASES = {"dataset": ("ml-latest-small",)}
_GRADIENT = {"model": GRADIENT_MODELS}
_BIASES = {"model": ("bias", "item_mean")}


@dataclasses.dataclass(frozen=True)
class DataConfig(Options):
    """Which interactions, and how they are divided."""

    dataset: str = option(
        "synthetic",
        "The data: a MovieLens release, or the embedded synthetic world.",
        choices=("synthetic", "ml-latest-small"),
    )
    data_dir: str = option(
        "data",
        "Folder that holds release folders such as ml-latest-small/ "
        "(on the command line $NCF_JAX_DATA_DIR, if set, is the default).",
        identity=False,
    )
    cache_dir: str = option(
        "data/cache",
        "Folder for prepared arrays and synthetic worlds; empty: prepare anew.",
        identity=False,
    )
    allow_other_copy: bool = option(
        False,
        "Use a copy of the release whose file hashes differ from the published ones; "
        "every output then names it as different.",
        only_with=_RELEASES,
    )
    min_item_ratings: int = option(
        10, "Keep items with at least this many ratings.", minimum=1
    )
    min_user_ratings: int = option(
        3, "Then keep users with at least this many ratings.", minimum=1
    )
    split: str = option(
        "user_random",
        "How interactions are divided: user_random is 70/15/15 inside each user.",
        choices=("user_random",),
    )
    split_seed: int = option(42, "Seed of the split.", minimum=0, maximum=2**32 - 1)
    synthetic_users: int = option(
        300, "Users in the synthetic world.", minimum=10, only_with=_SYNTHETIC
    )
    synthetic_items: int = option(
        400, "Items in the synthetic world.", minimum=50, only_with=_SYNTHETIC
    )
    synthetic_ratings_per_user: int = option(
        60,
        "Mean ratings of a synthetic user (none has fewer than 20).",
        minimum=20,
        only_with=_SYNTHETIC,
    )
    synthetic_ratings: int = option(
        0, "Exactly as many; 0: users times mean.", minimum=0, only_with=_SYNTHETIC
    )
    synthetic_tags: int = option(
        0, "Exactly as many; 0: by few users.", minimum=0, only_with=_SYNTHETIC
    )
    synthetic_seed: int = option(
        0,
        "Seed of the synthetic world.",
        minimum=0,
        maximum=2**32 - 1,
        only_with=_SYNTHETIC,
    )


@dataclasses.dataclass(frozen=True)
class Config(DataConfig):
    """One experiment, whole: the reference experiment's values are the defaults."""

    workdir: str = option(
        "",
        "Run folder; empty: checkpoints/<dataset>-<model>-<hash of the options>.",
        identity=False,
    )
    model: str = option(
        "ncf",
        "The model: ncf is the reference's network, the others are baselines.",
        choices=GRADIENT_MODELS + CLOSED_FORM_MODELS,
    )
    seed: int = option(0, "Seed of the first run.", minimum=0)
    num_seeds: int = option(
        1,
        "Train this many seeds (seed, seed+1, ...) in one vmap.",
        minimum=1,
        only_with=_GRADIENT,
    )
    epochs: int = option(10, "Passes over the training rows.", minimum=1)
    batch_size: int = option(512, "Examples in a step.", minimum=1, only_with=_GRADIENT)
    loss: str = option(
        "mse",
        "Loss on ratings divided by five.",
        choices=("mse", "mae", "huber"),
        only_with=_GRADIENT,
    )
    optimizer: str = option(
        "adam",
        "adam: L2 added to the gradient, as the reference; adamw: decoupled.",
        choices=("adam", "adamw"),
        only_with=_GRADIENT,
    )
    table_update: str = option(
        "dense",
        "dense: every row of the tables moves in each step; lazy, catch_up: only the "
        "rows of the batch (docs/performance.md).",
        choices=("dense", "lazy", "catch_up"),
        only_with={"model": GRADIENT_MODELS, "optimizer": ("adam",)},
    )
    learning_rate: float = option(5e-4, "Step size.", minimum=0.0, only_with=_GRADIENT)
    weight_decay: float = option(
        1e-5, "Weight decay of every parameter.", minimum=0.0, only_with=_GRADIENT
    )
    dropout: float = option(
        0.3,
        "Share of units dropped after fc1 and fc2.",
        minimum=0.0,
        below=1.0,
        only_with=_GRADIENT,
    )
    embedding_dim: int = option(
        64, "Width of user and item embeddings.", minimum=1, only_with=_GRADIENT
    )
    genre_dim: int = option(
        32,
        "Width of the genre tower; 0: the model sees no genres.",
        minimum=0,
        only_with=_GRADIENT,
    )
    tag_dim: int = option(
        16,
        "Width of the tag tower; 0: the model sees no tags.",
        minimum=0,
        only_with=_GRADIENT,
    )
    fc1_dim: int = option(
        128, "Width of the first hidden layer.", minimum=1, only_with=_GRADIENT
    )
    fc2_dim: int = option(
        64, "Width of the second hidden layer.", minimum=1, only_with=_GRADIENT
    )
    user_shrinkage: float = option(
        15.0,
        "Ratings' worth of pull of a user bias towards zero.",
        minimum=0.0,
        only_with={"model": ("bias",)},
    )
    item_shrinkage: float = option(
        10.0,
        "Ratings' worth of pull of an item bias towards zero.",
        minimum=0.0,
        only_with=_BIASES,
    )
    k: int = option(10, "Cut-off of the ranking metrics.", minimum=1)
    relevance_threshold: float = option(
        4.0, "Stars from which an item is relevant.", minimum=0.5, maximum=5.0
    )
    keep: int = option(
        3, "Checkpoints to keep (one is made each epoch).", minimum=1, identity=False
    )

    def identity(self) -> dict[str, Any]:
        """The options that decide the numbers, by name."""
        return {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.metadata["identity"]
        }

    def run_name(self) -> str:
        """`<dataset>-<model>-<8 hex digits>`: the same options, the same name."""
        text = json.dumps(self.identity(), sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()
        return f"{self.dataset}-{self.model}-{digest[:8]}"


def differences(theirs: Config, ours: Config) -> list[str]:
    """The options that make two runs different, as `name: theirs there, ours here`.

    Example:
      >>> differences(Config(), Config(seed=1, workdir="elsewhere"))
      ['--seed: 0 there, 1 here']
    """
    a, b = theirs.identity(), ours.identity()
    return [
        f"--{name}: {a[name]} there, {b[name]} here" for name in a if a[name] != b[name]
    ]
