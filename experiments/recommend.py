"""Recommend movies a user has not rated, or list movies similar to one.

  python -m experiments.recommend --workdir=checkpoints/<run> --user_id=42 --k=10
  python -m experiments.recommend --workdir=checkpoints/<run> --similar_to=1
  python -m experiments.recommend --workdir=… --user_id=42 --format=json

Ids are those of the data files. Predicted stars are clipped to 0.5..5.
"""

import dataclasses
import re

from experiments import console, flags
from ncf_jax.config import Options, option
from ncf_jax.errors import ConfigError


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
    if bool(options.user_id) == bool(options.similar_to):
        raise ConfigError(
            "Give either --user_id=<userId of ratings.csv> or --similar_to=<movieId of "
            "movies.csv>."
        )
    name = "user_id" if options.user_id else "similar_to"
    number = int(getattr(options, name))
    import ncf_jax
    from ncf_jax import report

    run = ncf_jax.load_run(options.workdir)
    about = (run.model, run.params, run.dataset)
    if name == "user_id":
        movies = ncf_jax.recommend(*about, number, k=options.k)
        score, what = "stars", f"for user {number}"
    else:
        movies = ncf_jax.similar(*about, number, k=options.k)
        titles = dict(zip(run.dataset.item_ids, run.dataset.titles, strict=True))
        score, what = "similarity", f"similar to {titles[number]}"
    if options.format == "json":
        answer = {
            "dataset": run.dataset.label,
            "synthetic": run.dataset.synthetic,
            "epoch": run.epoch,
            "epochs": run.config.epochs,
            name: number,
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


if __name__ == "__main__":
    flags.run(main, RecommendOptions, __doc__)
