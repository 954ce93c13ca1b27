"""A MovieLens-shaped world whose structure, and best possible RMSE, are known.

It lets everything run at once, without a download, and lets a test ask how far a
model is from the best one. It is not a result: every output names it as synthetic.

The structure. User u and item i have biases a_u, b_i and vectors p_u, q_i; an item's
vector is the sum of its genres' vectors and a part of its own, and its tags name the
directions in which that vector is long. The score

    s = 3.4 + a_u + b_i + p_u . q_i

gets normal noise of standard deviation 0.8 and is rounded to half stars in 0.5..5.
So the distribution of a rating given (u, i) is known in closed form; its mean is the
best prediction, and the root of its mean variance the lowest RMSE to be expected.

Marginals are shaped like MovieLens: log-normal item popularity and user activity, at
least 20 ratings a user, timestamps in sessions, few users who write tags.
"""

import dataclasses
import json
import os
import tempfile
from pathlib import Path

import numpy as np
from scipy.special import ndtr

from ncf_jax.errors import ConfigError, DataError

GENRES = [
    "Action",
    "Adventure",
    "Animation",
    "Children",
    "Comedy",
    "Crime",
    "Documentary",
    "Drama",
    "Fantasy",
    "Film-Noir",
    "Horror",
    "IMAX",
    "Musical",
    "Mystery",
    "Romance",
    "Sci-Fi",
    "Thriller",
    "War",
    "Western",
]
WORDS = (
    ("quiet", "loud"),
    ("hopeful", "bleak"),
    ("witty", "earnest"),
    ("stylized", "plain"),
)
STARS = np.arange(1, 11) / 2
MEAN, NOISE, MIN_RATINGS = 3.4, 0.8, 20
FILES = ("ratings.csv", "movies.csv", "tags.csv")
VERSION = 1  # raise it when the same world would be drawn otherwise


@dataclasses.dataclass(frozen=True)
class World:
    """The size and seed of a world; the same values give the same files."""

    users: int = 300
    items: int = 400
    ratings_per_user: int = 60
    seed: int = 0

    def folder_name(self) -> str:
        """Names the world as synthetic wherever its folder is seen."""
        return (
            f"synthetic-{self.users}users-{self.items}items-"
            f"{self.ratings_per_user}each-seed{self.seed}"
        )


@dataclasses.dataclass(frozen=True, eq=False)
class Sample:
    """What was drawn, and what would have been the best prediction of it.

    Attributes:
      user: [N] from 0.
      item: [N] from 0.
      rating: [N] stars.
      time: [N] seconds.
      best: [N] expected stars given user and item: the best possible prediction.
      floor_rmse: root of the mean variance of a rating given user and item.
      genres: I strings, `|` between genres.
      titles: I titles.
      tags: (user, item, words, time) of each tag.
    """

    user: np.ndarray
    item: np.ndarray
    rating: np.ndarray
    time: np.ndarray
    best: np.ndarray
    floor_rmse: float
    genres: list[str]
    titles: list[str]
    tags: list[tuple[int, int, str, int]]


def sample(world: World) -> Sample:
    """Draws a world.

    Raises:
      ConfigError: users would have to rate more than half of the items.

    Example:
      >>> drawn = sample(World(users=50, items=100, ratings_per_user=25))
      >>> bool(np.sqrt(np.mean((drawn.rating - drawn.best) ** 2)) < 0.9)
      True
    """
    if world.ratings_per_user > world.items // 2:
        raise ConfigError(
            f"--synthetic_ratings_per_user={world.ratings_per_user} wants at most half "
            f"of --synthetic_items={world.items}."
        )
    rng = np.random.default_rng(world.seed)
    user, item = _pairs(rng, world)
    hot = _genres(rng, world.items)
    width = len(WORDS)
    genre_vectors = rng.normal(0, 0.45, (len(GENRES), width))
    q = hot @ genre_vectors + rng.normal(0, 0.3, (world.items, width))
    p = rng.normal(0, 0.6, (world.users, width))
    a = rng.normal(0, 0.4, world.users)
    b = rng.normal(0, 0.4, world.items)
    score = MEAN + a[user] + b[item] + np.einsum("nd,nd->n", p[user], q[item])
    best, variance = moments(score)
    noisy = score + rng.normal(0, NOISE, len(user))
    rating = np.clip(np.round(2 * noisy) / 2, STARS[0], STARS[-1])
    first_genre = [GENRES[row] for row in hot.argmax(axis=1)]
    years = rng.integers(1950, 2019, world.items)
    return Sample(
        user=user,
        item=item,
        rating=rating,
        time=_times(rng, user, world.users),
        best=best,
        floor_rmse=float(np.sqrt(variance.mean())),
        genres=["|".join(np.array(GENRES)[row > 0]) for row in hot],
        titles=[
            f"Synthetic {genre}, No. {number + 1} ({year})"
            for number, (genre, year) in enumerate(zip(first_genre, years, strict=True))
        ],
        tags=_tags(rng, user, item, q),
    )


def moments(score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of the rating that a score [N] leads to, in closed form."""
    edges = (STARS[:-1] + STARS[1:]) / 2
    below = ndtr((edges - score[:, None]) / NOISE)
    padded = np.pad(below, ((0, 0), (1, 1)), constant_values=((0, 0), (0, 1)))
    chance = np.diff(padded, axis=1)
    mean = chance @ STARS
    return mean, chance @ STARS**2 - mean**2


def _pairs(rng: np.random.Generator, world: World) -> tuple[np.ndarray, np.ndarray]:
    popularity = rng.normal(0, 1.2, world.items)
    extra = world.ratings_per_user - MIN_RATINGS
    drawn = extra * rng.lognormal(-0.5, 1.0, world.users)  # of mean `extra`
    counts = np.minimum(MIN_RATINGS + drawn.astype(int), world.items * 4 // 5)
    user = np.repeat(np.arange(world.users), counts)
    chosen = []
    for some in np.array_split(counts, max(1, world.users * world.items // 2**22)):
        # The n largest of weight + Gumbel noise: n draws without replacement.
        keys = popularity + rng.gumbel(size=(len(some), world.items))
        order = np.argsort(-keys, axis=1)
        taken = np.arange(world.items) < some[:, None]
        mask = np.zeros_like(taken)
        np.put_along_axis(mask, order, taken, axis=1)
        chosen.append(np.nonzero(mask)[1])
    return user, np.concatenate(chosen)


def _genres(rng: np.random.Generator, items: int) -> np.ndarray:
    weights = 1 / np.arange(1, len(GENRES) + 1)
    keys = np.log(weights) + rng.gumbel(size=(items, len(GENRES)))
    rank = np.argsort(np.argsort(-keys, axis=1), axis=1)
    return (rank < rng.integers(1, 4, items)[:, None]).astype(float)


def _times(rng: np.random.Generator, user: np.ndarray, users: int) -> np.ndarray:
    joined = rng.integers(830_000_000, 1_530_000_000, users)
    # Most ratings in the first session, some much later.
    return joined[user] + rng.exponential(600, len(user)).astype(int) * rng.choice(
        [1, 20_000], len(user), p=[0.9, 0.1]
    )


def _tags(
    rng: np.random.Generator, user: np.ndarray, item: np.ndarray, q: np.ndarray
) -> list[tuple[int, int, str, int]]:
    taggers = rng.random(user.max() + 1) < 0.1
    picked = np.flatnonzero(taggers[user] & (rng.random(len(user)) < 0.3))
    direction = np.abs(q).argmax(axis=1)
    return [
        (
            int(user[n]),
            int(item[n]),
            WORDS[direction[item[n]]][int(q[item[n], direction[item[n]]] > 0)],
            1_540_000_000 + int(n),
        )
        for n in picked
    ]


def write(world: World, folder: Path) -> float:
    """Writes a world as MovieLens CSV files, unless `folder` holds it already.

    Returns:
      The lowest RMSE to be expected of any model, in stars.

    Raises:
      ConfigError: the sizes contradict each other.
      DataError: the folder cannot be written.
    """
    note = folder / "world.json"
    about = {"version": VERSION, **dataclasses.asdict(world)}
    try:
        known = json.loads(note.read_text())
        whole = all((folder / name).is_file() for name in FILES)
        if whole and known["world"] == about:
            return float(known["floor_rmse"])
    except (OSError, ValueError, LookupError, TypeError):
        pass  # not there yet, or not whole
    drawn = sample(world)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".synth-") as name:
            scratch = Path(name)
            _write_tables(drawn, scratch)
            known = {"world": about, "floor_rmse": drawn.floor_rmse}
            (scratch / "world.json").write_text(json.dumps(known, indent=2) + "\n")
            folder.mkdir(exist_ok=True)
            for path in sorted(scratch.iterdir()):  # world.json, the last, seals it
                os.replace(path, folder / path.name)
    except OSError as error:
        raise DataError(
            f"The synthetic world could not be written to {folder} ({error.strerror}). "
            f"Point --cache_dir at a folder that can be written."
        ) from error
    return drawn.floor_rmse


def _write_tables(drawn: Sample, folder: Path) -> None:
    import pandas as pd

    pd.DataFrame(
        {
            "userId": drawn.user + 1,
            "movieId": drawn.item + 1,
            "rating": drawn.rating,
            "timestamp": drawn.time,
        }
    ).to_csv(folder / "ratings.csv", index=False)
    pd.DataFrame(
        {
            "movieId": np.arange(len(drawn.titles)) + 1,
            "title": drawn.titles,
            "genres": drawn.genres,
        }
    ).to_csv(folder / "movies.csv", index=False)
    tags = pd.DataFrame(drawn.tags, columns=["userId", "movieId", "tag", "timestamp"])
    tags[["userId", "movieId"]] += 1
    tags.to_csv(folder / "tags.csv", index=False)
    (folder / "README.txt").write_text(
        "A synthetic world in the MovieLens file format, made by ncf_jax.\n"
        "Nobody rated anything: no figure computed from these files is a result.\n"
    )
