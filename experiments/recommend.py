"""Recommend movies a user has not rated, or list movies similar to one.

  python -m experiments.recommend --workdir=checkpoints/<run> --user_id=42 --k=10
  python -m experiments.recommend --workdir=checkpoints/<run> --similar_to=1
  python -m experiments.recommend --workdir=… --user_id=42 --format=json
  python -m experiments.recommend --workdir=… --ratings=mine.csv

mine.csv is anybody's: a header with movieId and rating, and a line a movie. A row is
fitted to them in the trained model, of which nothing else changes. Ids are those of the
data files. Predicted stars are clipped to 0.5..5.
"""

import dataclasses
import re
from typing import Any

from experiments import console, flags
from experiments import folder as run_folder
from ncf_jax.config import Options, option
from ncf_jax.errors import ConfigError

NAMED = 5  # movieIds that were left out


@dataclasses.dataclass(frozen=True)
class RecommendOptions(Options):
    """Options of this command."""

    workdir: str = option("", "Run folder of a trained model (required).")
    user_id: str = option(
        "", "userId as in ratings.csv: recommend what this user has not rated."
    )
    similar_to: str = option(
        "", "movieId as in movies.csv: list the movies with the nearest embeddings."
    )
    ratings: str = option(
        "",
        "CSV file with the columns movieId and rating: recommend what a new user who "
        "gave these has not rated.",
    )
    k: int = option(10, "How many movies.", minimum=1)
    format: str = option("table", "How to print.", choices=("table", "json"))

    def __post_init__(self) -> None:
        """Ids are whole numbers, any: an unknown one is answered with the range."""
        super().__post_init__()
        for name in ("user_id", "similar_to"):
            text = getattr(self, name)
            if text and not re.fullmatch("-?[0-9]+", text):
                raise ConfigError(f"--{name} wants a whole number; found {text!r}.")


def main(options: RecommendOptions) -> None:
    """Prints a list."""
    asked = [n for n in ("user_id", "similar_to", "ratings") if getattr(options, n)]
    if len(asked) != 1:
        raise ConfigError(
            "Give one of --user_id=<userId of ratings.csv>, --similar_to=<movieId of "
            "movies.csv> and --ratings=<file with the columns movieId and rating>."
        )
    name = asked[0]
    import ncf_jax
    from ncf_jax import report
    from ncf_jax.recommend import read_ratings, recommend_new

    run = run_folder.opened(options.workdir)
    about = (run.model, run.params, run.dataset)
    more: dict[str, Any] = {}
    notes: list[str] = []
    if name == "ratings":
        ratings = read_ratings(options.ratings, run.dataset)
        found = recommend_new(*about, ratings, train=run.split.train, k=options.k)
        movies, score = found.movies, "stars"
        what = f"for whom rated {options.ratings}"
        more = {
            "ratings_used": len(ratings.item),
            "ratings_left_out": list(ratings.unknown),
            "fold_in_milliseconds": found.milliseconds,
            "compile_seconds": found.compile_seconds,
        }
        notes = notes_on(more)
    elif name == "user_id":
        movies = ncf_jax.recommend(*about, int(options.user_id), k=options.k)
        score, what = "stars", f"for user {int(options.user_id)}"
    else:
        number = int(options.similar_to)
        movies = ncf_jax.similar(*about, number, k=options.k)
        titles = dict(zip(run.dataset.item_ids, run.dataset.titles, strict=True))
        score, what = "similarity", f"similar to {titles[number]}"
    if options.format == "json":
        answer = {
            "dataset": run.dataset.label,
            "synthetic": run.dataset.synthetic,
            "epoch": run.epoch,
            "epochs": run.config.epochs,
            name: options.ratings if name == "ratings" else int(getattr(options, name)),
            **more,
            "movies": [
                {
                    "movieId": movie.movie_id,
                    "title": movie.title,
                    "genres": movie.genres.split("|"),
                    score: movie.score,
                }
                for movie in movies
            ],
        }
        console.say(report.dumps(answer).rstrip())
        return
    unfinished = run.epoch < run.config.epochs
    when = f", after epoch {run.epoch} of {run.config.epochs}" if unfinished else ""
    console.say(f"{run.dataset.label}: movies {what}{when}", "")
    rows = [
        [
            str(n + 1),
            f"{movie.score:.2f}",
            movie.title,
            movie.genres,
            str(movie.movie_id),
        ]
        for n, movie in enumerate(movies)
    ]
    console.table(["#", score, "title", "genres", "movieId"], rows)
    if notes:
        console.say("", *notes)


def notes_on(found: dict[str, Any]) -> list[str]:
    """How the new user was folded in, and which movies were not known."""
    used, left_out = found["ratings_used"], found["ratings_left_out"]
    lines = [
        f"{used:,} {'rating' if used == 1 else 'ratings'} used; folded in and scored "
        f"in {found['fold_in_milliseconds']:.1f} ms, once compiled, which took "
        f"{found['compile_seconds']:.1f} s."
    ]
    if left_out:
        first = ", ".join(map(str, left_out[:NAMED]))
        dots = ", …" if len(left_out) > NAMED else ""
        lines.append(
            f"{len(left_out):,} left out, of movieIds that the run's data has not "
            f"kept: {first}{dots}."
        )
    return lines


if __name__ == "__main__":
    flags.run(main, RecommendOptions, __doc__)
