"""A tiny world whose page can be made in a moment, with text that must be escaped."""

from pathlib import Path

import numpy as np

from ncf_jax.metrics import calibration
from ncf_jax.per_user import PerUser
from ncf_jax.runs import Finished
from ncf_jax.types import Dataset, ItemFeatures, Split

GENRES = ("Drama", "Comedy", "Sci-Fi", "(no genres listed)")
TITLE = '<b>"Bold" & Co</b> (1999)'
MODEL = 'Net <i>1</i> & "more"'
NAMES = ("rmse", "mae", "r2", "precision@3", "ndcg@3", "recall@3")
FLAGS = "# comment\n--model=ncf\n--epochs=3\n--data_dir=/data/<here>\n--k=3\n"
ENVIRONMENT = {
    "python": "3.12.1",
    "packages": {"jax": "0.7.0"},
    "git_commit": None,
    "git_dirty": False,
}


def make_dataset(users=30, items=14, each=9, seed=0, titles=None):
    rng = np.random.default_rng(seed)
    user = np.repeat(np.arange(users), each)
    item = np.concatenate(
        [rng.choice(items, each, replace=False) for _ in range(users)]
    )
    member = rng.random((items, len(GENRES))) < 0.4
    member[:, 3] = ~member[:, :3].any(axis=1)
    names = [TITLE, *(f"Movie {n} ({1951 + 5 * n})" for n in range(1, items - 1))]
    return Dataset(
        name="tiny",
        label="tiny & small",
        user=user.astype(np.int32),
        item=item.astype(np.int32),
        rating=(rng.integers(1, 11, users * each) / 2).astype(np.float32),
        time=np.arange(users * each),
        features=ItemFeatures(
            genres=member.astype(np.float32), tags=np.zeros((items, 1), np.float32)
        ),
        user_ids=100 + np.arange(users),
        item_ids=500 + np.arange(items),
        titles=tuple(titles or [*names, "Nameless"]),
        genres=tuple("|".join(np.array(GENRES)[row]) for row in member),
        genre_names=GENRES,
        fingerprint="d" * 16,
    )


def make_split(dataset, seed=1):
    """Two of each user's nine rows for test, one for validation."""
    rng = np.random.default_rng(seed)
    part = np.concatenate(
        [
            rng.permutation([0] * 6 + [1] + [2] * 2)
            for _ in range(len(dataset.user) // 9)
        ]
    )
    train, valid, test = (np.flatnonzero(part == n) for n in range(3))
    return Split(train, valid, test, "by hand, seed 1: 6/1/2", "5" * 16)


def make_predictions(dataset, split, seeds=1, noise=0.8, seed=2):
    """Half the truth, half the mean, and noise: [R, n]."""
    rng = np.random.default_rng(seed)
    truth = dataset.rating[split.test]
    error = noise * rng.standard_normal((seeds, len(truth)))
    return {"test": (1.4 + 0.5 * truth + error).astype(np.float32)}


def metric(mean, spread=0.02, seeds=1, used=60, name="rmse"):
    known = mean is not None
    return {
        "mean": mean,
        "sd": 0.0123 if seeds > 1 and known else None,
        "ci95": [mean - spread, mean + spread] if known else [None, None],
        "values": [mean] * seeds,
        "definition": f"the {name} <as defined> & no other",
        "n_used": used,
        "n_left_out": 2,
        "convention": "reference" if "@" in name else None,
        "candidates": "rated" if "@" in name else None,
    }


def figures(part, first, seeds=1, names=NAMES, spread=0.02):
    """0.05 further from `first` for each metric."""
    return {
        f"{part}/{name}": metric(first + n / 20, spread, seeds, name=name)
        for n, name in enumerate(names)
    }


def make_results(seeds=1, rmse=0.90, baselines=None, **changes):
    if baselines is None:
        baselines = {"User + item bias": 0.80, "Global mean": 1.00}
    found = {
        "format": 2,
        "program": "experiments.train",
        "name": "ncf",
        "model": MODEL,
        "dataset": "tiny & small",
        "synthetic": False,
        "floor_rmse": None,
        "split_definition": "by hand, seed 1: 6/1/2",
        "split_limits": "It shows <little>.",
        "warnings": [],
        "rows": {"test": 60, "valid": 30},
        "users": {"test": 30, "valid": 30},
        "seeds": list(range(seeds)),
        "k": 3,
        "ks": [3],
        "convention": "reference",
        "candidates": "rated",
        "ties": "expected",
        "threshold": 4.0,
        "metrics": figures("test", rmse, seeds) | figures("valid", rmse + 0.01, seeds),
        "baselines": {
            title: figures("test", value) for title, value in baselines.items()
        },
        "data": "d" * 16,
        "split": "5" * 16,
    }
    return found | changes


def make_spread(rows=400, members=4, constant=False):
    """What the results of an ensemble have besides, of test and validation rows."""
    rng = np.random.default_rng(5)

    def part():
        rating, spread = rng.uniform(1, 5, rows), rng.uniform(0.1, 1, (2, rows))
        error = rng.standard_normal(spread.shape) * np.sqrt(spread**2 + 0.5)
        return rating + error, np.full_like(spread, 0.4) if constant else spread, rating

    return calibration.of_parts({"test": part(), "valid": part()}, members)


def make_history(epochs=3, valid=True):
    return [
        {
            "epoch": n,
            "train_loss": 0.1 / n,
            "valid_loss": 0.05 / n if valid else None,
            "seconds": 0.5,
            "examples_per_second": 1e5,
        }
        for n in range(1, epochs + 1)
    ]


def make_samples():
    movie = {"movie_id": 500, "title": TITLE, "genres": "Drama|Comedy"}
    return [
        {
            "user_id": 100 + n,
            "n_train": 6,
            "liked": [{**movie, "rating": 4.5}],
            "recommended": [
                {**movie, "score": 4.321, "test_rating": None},
                {**movie, "score": 3.9, "test_rating": 3.5},
            ],
        }
        for n in range(3)
    ]


def make_finished(results=None, history=None, folder="runs/one"):
    results = results or make_results()
    users, seeds = results["users"]["test"], len(results["seeds"])
    rng = np.random.default_rng(3)
    return Finished(
        folder=Path(folder),
        results=results,
        per_user=PerUser(
            user_id=100 + np.arange(users),
            rows=np.full(users, 2),
            sums=np.abs(rng.random((seeds, users, 5))) + 1,
            values={
                f"{name}@3": rng.random((seeds, users)).astype(np.float32)
                for name in ("precision", "ndcg", "recall")
            },
        ),
        timing={"train_seconds": 1.25, "evaluate_seconds": 0.5},
        history=make_history() if history is None else history,
    )


def make_inputs(results=None, vectors=True, predictions=True, samples=True, **how):
    """The arguments of `run_page`."""
    dataset = make_dataset()
    split = make_split(dataset)
    finished = make_finished(results, **how)
    seeds = len(finished.results["seeds"])
    rng = np.random.default_rng(4)
    return dict(
        finished=finished,
        dataset=dataset,
        split=split,
        predictions=make_predictions(dataset, split, seeds) if predictions else {},
        samples=make_samples() if samples else None,
        vectors=rng.standard_normal((dataset.num_items, 5)) if vectors else None,
        flags_text=FLAGS,
        environment=ENVIRONMENT,
    )
