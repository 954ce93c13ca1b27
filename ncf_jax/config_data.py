"""Which data, how it is divided, and how a model is judged: each option once."""

import dataclasses

from ncf_jax.options import Options, option

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
        ("user", "item", "rating", "time"),
        "Columns of your own file: user, item, rating and, if there is one, time.",
    )
    item_features: str = option(
        "",
        "A CSV or Parquet file beside your own: item, and title, genres or tags.",
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
        "u1 to u5, ua, ub as published with ml-100k; stored as a folder of shards says.",
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
