"""Which data, how it is divided, and how a model is judged: each option once."""

import dataclasses
import os

from ncf_jax.errors import ConfigError
from ncf_jax.options import Options, option, shown

RELEASES = (
    "ml-latest-small",
    "ml-latest",
    "ml-100k",
    "ml-1m",
    "ml-10m",
    "ml-20m",
    "ml-25m",
    "ml-32m",
)
PUBLISHED_SPLITS = ("u1", "u2", "u3", "u4", "u5", "ua", "ub")

COLUMNS = ("user", "item", "rating", "time")
_SYNTHETIC = {"dataset": ("synthetic",)}
_RELEASES = {"dataset": RELEASES}
SEEDED = ("user_random", "cold_item", "cold_user")
BY_TIME = ("global_time", "leave_last_out")


@dataclasses.dataclass(frozen=True)
class DataConfig(Options):
    """Which interactions, and how they are divided."""

    dataset: str = option(
        "synthetic",
        "The data: a MovieLens release, the embedded synthetic world, or a path: a CSV "
        "or Parquet file of ratings, or a folder of shards (data/README.md).",
        choices=("synthetic", *RELEASES),
        path=True,
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
    columns: tuple[str, ...] = option(
        COLUMNS,
        "Names of the columns of your own file, in this order: user, item, rating and, "
        "if there is one, time.",
    )
    item_features: str = option(
        "",
        "A CSV, TSV or Parquet file beside your own: a column item, and any of title, "
        "genres and tags (several between |).",
    )
    min_item_ratings: int = option(
        10, "Keep items with at least this many ratings.", minimum=1
    )
    min_user_ratings: int = option(
        3, "Then keep users with at least this many ratings.", minimum=1
    )
    split: str = option(
        "user_random",
        "How interactions are divided: user_random 70/15/15 inside each user; "
        "global_time the latest 15 % to test, those before to validation; "
        "leave_last_out each user's latest to test, the one before to validation; "
        "cold_item, cold_user 70/15/15 of the items or users, with all their rows; "
        "u1 to u5, ua, ub published with ml-100k; stored as a folder of shards says.",
        choices=(
            "user_random",
            *BY_TIME,
            "cold_item",
            "cold_user",
            *PUBLISHED_SPLITS,
            "stored",
        ),
    )
    split_seed: int = option(
        42,
        "Seed of the split.",
        minimum=0,
        maximum=2**32 - 1,
        only_with={"split": SEEDED},
    )
    data_fingerprint: str = option(
        "", "Refuse data of another fingerprint; empty: any.", identity=False
    )
    split_fingerprint: str = option(
        "", "Refuse a split of another fingerprint; empty: any.", identity=False
    )
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

    def __post_init__(self) -> None:
        """Checks each value, and what two of them together cannot be."""
        super().__post_init__()
        for name in ("dataset", "item_features"):
            value = getattr(self, name)
            if value and value not in ("synthetic", *RELEASES):
                # The same file from whatever folder the run is repeated.
                object.__setattr__(self, name, os.path.abspath(value))
        if self.dataset in ("synthetic", *RELEASES):
            self._refuse_options_of_files()
        elif self.split in BY_TIME and len(self.columns) == 3:
            raise ConfigError(
                f"--split={self.split} wants times, and "
                f"--columns={shown(self.columns)} names none; add the column of times, "
                f"or choose another --split."
            )
        names = self.columns
        if not 3 <= len(names) <= 4 or len(set(names)) < len(names) or "" in names:
            raise ConfigError(
                f"--columns wants three or four different names, of user, item, rating "
                f"and, if there is one, time; found {shown(names)!r}."
            )
        if self.split in PUBLISHED_SPLITS:
            self._check_published()

    def _refuse_options_of_files(self) -> None:
        for name, default in (("columns", COLUMNS), ("item_features", "")):
            if (value := getattr(self, name)) != default:
                raise ConfigError(
                    f"--{name}={shown(value)} has no effect with "
                    f"--dataset={self.dataset}; leave it out, or give the path of your "
                    f"own file, such as --dataset=./ratings.csv."
                )
        if self.split == "stored":
            raise ConfigError(
                f"--split=stored wants a folder of shards as --dataset, which may come "
                f"with a split; found --dataset={self.dataset}."
            )

    def _check_published(self) -> None:
        if self.dataset != "ml-100k":
            raise ConfigError(
                f"--split={self.split} is published with ml-100k alone; found "
                f"--dataset={self.dataset}. Pass --dataset=ml-100k, or choose another "
                f"--split."
            )
        if (self.min_item_ratings, self.min_user_ratings) != (1, 1):
            raise ConfigError(
                f"--split={self.split} is of all rows of ml-100k: pass "
                f"--min_item_ratings=1 --min_user_ratings=1; found "
                f"{self.min_item_ratings} and {self.min_user_ratings}."
            )


@dataclasses.dataclass(frozen=True)
class JudgeConfig(DataConfig):
    """How a model is judged."""

    metrics: str = option(
        "standard",
        "Reading of the ranking metrics (docs/metrics.md).",
        choices=("reference", "standard", "lenskit", "rectools", "graded"),
    )
    candidates: str = option(
        "rated",
        "What is ranked: rated, the user's own test items; catalogue, every item the "
        "user has not rated in train.",
        choices=("rated", "catalogue"),
    )
    k: tuple[int, ...] = option(
        (10,), "Cut-offs of the ranking metrics, such as 10,5,20.", minimum=1, of=int
    )
    ties: str = option(
        "expected",
        "Tied candidates: expected over their orders, or the relevant ones first "
        "(optimistic) or last (pessimistic).",
        choices=("expected", "optimistic", "pessimistic"),
    )
    relevance_threshold: float = option(
        4.0, "Stars from which an item is relevant.", minimum=0.5, maximum=5.0
    )
    clip: bool = option(
        False,
        "Clip predictions to 0.5 to 5 stars for RMSE, MAE and R2, not for rankings.",
    )
