"""Every option once: its name, type, default, help and allowed values.

The dataclasses here are the one home of a command's defaults. `experiments/flags.py`
turns a field into a flag of the same name; Python code constructs the dataclass. An
impossible value raises `ConfigError` at construction, before any work.

Example:
  >>> Config(epochs=3).epochs
  3
  >>> Config(epochs=0)
  Traceback (most recent call last):
  ...
  ncf_jax.errors.ConfigError: --epochs wants at least 1; found 0.
"""

import dataclasses
from pathlib import PurePath

from ncf_jax.config_data import DataConfig as DataConfig
from ncf_jax.config_data import JudgeConfig as JudgeConfig
from ncf_jax.config_devices import DeviceConfig as DeviceConfig
from ncf_jax.errors import ConfigError
from ncf_jax.options import Options as Options
from ncf_jax.options import differences as differences
from ncf_jax.options import nearest as nearest
from ncf_jax.options import option as option

GRADIENT_MODELS = ("ncf", "vncf")
CLOSED_FORM_MODELS = ("bias", "item_mean", "global_mean")

_GRADIENT = {"model": GRADIENT_MODELS}
_NCF, _VNCF = {"model": ("ncf",)}, {"model": ("vncf",)}
_BIAS, _BIASES = {"model": ("bias",)}, {"model": ("bias", "item_mean")}


@dataclasses.dataclass(frozen=True)
class Config(DeviceConfig, JudgeConfig):
    """One experiment, whole: the reference experiment's values are the defaults."""

    workdir: str = option(
        "",
        "Run folder; empty: checkpoints/<dataset>-<model>-<hash of the options>.",
        identity=False,
    )
    model: str = option(
        "ncf",
        "The model: ncf is the reference's network, vncf the most accurate one "
        "(docs/accuracy.md), the others are baselines.",
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
    batch_parts: int = option(
        1,
        "Compute a batch in so many equal parts, whose gradients are added in order: "
        "results are then the same, bit for bit, on each number of devices.",
        minimum=1,
        only_with=_GRADIENT,
    )
    loss: str = option(
        "mse",
        "Loss on ratings divided by five.",
        choices=("mse", "mae", "huber"),
        only_with=_GRADIENT,
    )
    ranking: float = option(
        0.0, "Weight of a ranking loss (BPR).", minimum=0.0, only_with=_GRADIENT
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
    schedule: str = option(
        "constant",
        "Learning rate over the run: constant, or falling to nothing along a cosine.",
        choices=("constant", "cosine"),
        only_with=_GRADIENT,
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
    compute_dtype: str = option(
        "float32",
        "What the products of dense layers but the last are computed in. bfloat16 is "
        "for accelerators, and slower on a CPU; all that is kept stays float32.",
        choices=("float32", "bfloat16"),
        only_with=_GRADIENT,
    )
    embedding_dim: int = option(
        64, "Width of user and item embeddings.", minimum=1, only_with=_GRADIENT
    )
    rows: str = option(
        "variational",
        "Rows of users and items: variational, a distribution each; point, with L2.",
        choices=("variational", "point"),
        only_with=_VNCF,
    )
    row_penalty: float = option(
        0.6, "Weight of rows' divergence or squares.", minimum=0.0, only_with=_VNCF
    )
    side: tuple[str, ...] = option(
        ("genres", "tags", "year"),
        "What is added to an item's factors, such as genres,tags,year; empty: nothing.",
        choices=("genres", "tags", "year"),
        empty=True,
        only_with=_VNCF,
    )
    statistics: tuple[str, ...] = option(
        ("means", "content"),
        "What it sees of other training rows (ncf_jax/statistics.py); empty: nothing.",
        choices=("means", "content"),
        empty=True,
        only_with=_VNCF,
    )
    history: int = option(
        32, "Width of who rated what (ncf_jax/history.py).", minimum=0, only_with=_VNCF
    )
    time: str = option(
        "none",
        "Whether it sees the user's training rows around the time of the rating: none; "
        "past, those before it; both, those after it as well.",
        choices=("none", "past", "both"),
        only_with=_VNCF,
    )
    ensemble: int = option(
        1,
        "Average as many networks, trained in one vmap; of each --num_seeds.",
        minimum=1,
        only_with=_GRADIENT,
    )
    genre_dim: int = option(
        32,
        "Width of the genre tower; 0: the model sees no genres.",
        minimum=0,
        only_with=_NCF,
    )
    tag_dim: int = option(
        16,
        "Width of the tag tower; 0: the model sees no tags.",
        minimum=0,
        only_with=_NCF,
    )
    fc1_dim: int = option(
        128, "Width of the first hidden layer; 0: none.", minimum=0, only_with=_GRADIENT
    )
    fc2_dim: int = option(
        64, "Width of the second hidden layer.", minimum=1, only_with=_GRADIENT
    )
    user_shrinkage: float = option(
        15.0, "Ratings' pull of a user bias to zero.", minimum=0.0, only_with=_BIAS
    )
    item_shrinkage: float = option(
        10.0, "Ratings' pull of an item bias to zero.", minimum=0.0, only_with=_BIASES
    )
    tensorboard: bool = option(False, "Write TensorBoard files.", identity=False)
    keep: int = option(3, "Checkpoints kept, one an epoch.", minimum=1, identity=False)

    def __post_init__(self) -> None:
        """Checks each value, and what two of them together cannot be."""
        super().__post_init__()
        if self.fc1_dim == 0 and (self.model != "vncf" or self.time != "none"):
            raise ConfigError(
                "--fc1_dim=0, no MLP, is a thing of --model=vncf alone, and of it "
                "without --time: the MLP reads the times."
            )
        others = (("time", "none"), ("table_update", "dense"), ("batch_parts", 1))
        for name, off in others:
            if self.ranking and (value := getattr(self, name)) != off:
                raise ConfigError(
                    f"--{name}={value} wants --ranking=0: pairs at random have no "
                    f"time, and their rows are not the batch's."
                )

    def run_name(self) -> str:
        """`<dataset>-<model>-<8 hex digits>`: the same options, the same name."""
        return f"{PurePath(self.dataset).stem}-{self.model}-{self.digest()}"
