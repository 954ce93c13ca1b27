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

from ncf_jax.data import bigworld
from ncf_jax.data.bigworld import TAGGED_FROM, Tags
from ncf_jax.data.worldfiles import write_tables
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
BLOCK = 2**18  # ratings whose moments are computed at once
DENSE_CELLS = 2**27  # larger worlds are drawn without a users x items matrix
FILES = ("ratings.csv", "movies.csv", "tags.csv")
VERSION = 2  # raise it when the same world would be drawn otherwise


@dataclasses.dataclass(frozen=True)
class World:
    """The size and seed of a world; the same values give the same files.

    Attributes:
      users, items: U and I.
      ratings_per_user: mean ratings of a user; none has fewer than 20.
      seed: of every draw.
      ratings: N exactly; 0: about `users * ratings_per_user`.
      tags: exactly as many, several to a movie and of free text; 0: a word each by
        few users.
    """

    users: int = 300
    items: int = 400
    ratings_per_user: int = 60
    seed: int = 0
    ratings: int = 0
    tags: int = 0

    def about(self) -> dict[str, int]:
        """The values by name; exact counts only where asked for."""
        values = dataclasses.asdict(self)
        return {k: v for k, v in values.items() if v or k not in ("ratings", "tags")}

    def folder_name(self) -> str:
        """Names the world as synthetic wherever its folder is seen."""
        each = f"{self.ratings_per_user}each"
        exact = f"{self.ratings}ratings" if self.ratings else each
        tags = f"-{self.tags}tags" if self.tags else ""
        return (
            f"synthetic-{self.users}users-{self.items}items-{exact}{tags}"
            f"-seed{self.seed}"
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
      tags: of whom, of what, in which words and when.
    """

    user: np.ndarray
    item: np.ndarray
    rating: np.ndarray
    time: np.ndarray
    best: np.ndarray
    floor_rmse: float
    genres: list[str]
    titles: list[str]
    tags: Tags


def sample(world: World) -> Sample:
    """Draws a world.

    Raises:
      ConfigError: the sizes contradict each other.

    Example:
      >>> drawn = sample(World(users=50, items=100, ratings_per_user=25))
      >>> bool(np.sqrt(np.mean((drawn.rating - drawn.best) ** 2)) < 0.9)
      True
    """
    _check_sizes(world)
    rng = np.random.default_rng(world.seed)
    # The first sampler looks at every pair of user and item, so that it cannot serve
    # a large world; it stays for small ones, whose published figures hang on its draws.
    exact = world.ratings or world.tags or world.users * world.items > DENSE_CELLS
    user, item = _exact_pairs(rng, world) if exact else _pairs(rng, world)
    hot = _genres(rng, world.items)
    width = len(WORDS)
    genre_vectors = rng.normal(0, 0.45, (len(GENRES), width))
    q = hot @ genre_vectors + rng.normal(0, 0.3, (world.items, width))
    p = rng.normal(0, 0.6, (world.users, width))
    a = rng.normal(0, 0.4, world.users)
    b = rng.normal(0, 0.4, world.items)
    rating, best, variance = (np.empty(len(user)) for _ in range(3))
    for start in range(0, len(user), BLOCK):  # moments needs ten values a rating
        rows = slice(start, start + BLOCK)
        u, i = user[rows], item[rows]
        score = MEAN + a[u] + b[i] + np.einsum("nd,nd->n", p[u], q[i])
        best[rows], variance[rows] = moments(score)
        noisy = score + rng.normal(0, NOISE, len(score))
        rating[rows] = np.clip(np.round(2 * noisy) / 2, STARS[0], STARS[-1])
    genre = [GENRES[row] for row in hot.argmax(axis=1)]  # of each item, its first
    years = rng.integers(1950, 2019, world.items)
    time = _times(rng, user, world.users)
    direction = np.abs(q).argmax(axis=1)
    word = 2 * direction + (q[np.arange(world.items), direction] > 0)
    texts = np.array(WORDS, object).ravel()  # `word` [I]: which of them is the item's
    if world.tags:
        tags = bigworld.tags(rng, user, item, word, texts, world.tags)
    else:
        tags = _tags(rng, user, item, texts[word])
    return Sample(
        user=user,
        item=item,
        rating=rating,
        time=time,
        best=best,
        floor_rmse=float(np.sqrt(variance.mean())),
        genres=["|".join(np.array(GENRES)[row > 0]) for row in hot],
        titles=[
            f"Synthetic {genre[i]}, No. {i + 1} ({years[i]})"
            for i in range(world.items)
        ],
        tags=tags,
    )


def moments(score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of the rating that a score [N] leads to, in closed form."""
    edges = (STARS[:-1] + STARS[1:]) / 2
    below = ndtr((edges - score[:, None]) / NOISE)
    padded = np.pad(below, ((0, 0), (1, 1)), constant_values=((0, 0), (0, 1)))
    chance = np.diff(padded, axis=1)
    mean = chance @ STARS
    return mean, chance @ STARS**2 - mean**2


def _check_sizes(world: World) -> None:
    each, half = world.ratings_per_user, world.items // 2
    if world.ratings and each != World.ratings_per_user:
        raise ConfigError(
            f"--synthetic_ratings_per_user={each} has no effect with "
            f"--synthetic_ratings={world.ratings}; leave one of them out."
        )
    if not world.ratings and each > half:
        raise ConfigError(
            f"--synthetic_ratings_per_user={each} wants at most half of "
            f"--synthetic_items={world.items}."
        )
    least, most = world.users * MIN_RATINGS, world.users * half
    if world.ratings and not least <= world.ratings <= most:
        raise ConfigError(
            f"--synthetic_ratings={world.ratings} wants {least} to {most}: for each of "
            f"--synthetic_users={world.users} at least {MIN_RATINGS} and at most half "
            f"of --synthetic_items={world.items}."
        )


def _exact_pairs(
    rng: np.random.Generator, world: World
) -> tuple[np.ndarray, np.ndarray]:
    total = world.ratings or world.users * world.ratings_per_user
    most = world.items * 4 // 5
    counts = bigworld.activity(rng, world.users, total, MIN_RATINGS, most)
    return bigworld.pairs(rng, counts, bigworld.popularity(rng, world.items))


def _pairs(rng: np.random.Generator, world: World) -> tuple[np.ndarray, np.ndarray]:
    popularity = rng.normal(0, 1.2, world.items)
    extra = world.ratings_per_user - MIN_RATINGS
    drawn = extra * rng.lognormal(-0.5, 1.0, world.users)  # of mean `extra`
    counts = np.minimum(MIN_RATINGS + drawn.astype(int), world.items * 4 // 5)
    user = np.repeat(np.arange(world.users), counts)
    chosen = []
    for some in np.array_split(counts, max(1, world.users * world.items // 2**22)):
        chosen.append(bigworld.gumbel_choice(rng, popularity, some)[1])
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
    rng: np.random.Generator, user: np.ndarray, item: np.ndarray, word: np.ndarray
) -> Tags:
    taggers = rng.random(user.max() + 1) < 0.1
    picked = np.flatnonzero(taggers[user] & (rng.random(len(user)) < 0.3))
    return Tags(user[picked], item[picked], word[item[picked]], TAGGED_FROM + picked)


def write(world: World, folder: Path) -> float:
    """Writes a world as MovieLens CSV files, unless `folder` holds it already.

    Returns:
      The lowest RMSE to be expected of any model, in stars.

    Raises:
      ConfigError: the sizes contradict each other.
      DataError: the folder cannot be written.
    """
    note = folder / "world.json"
    about = {"version": VERSION, **world.about()}
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
            write_tables(drawn, scratch)
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
