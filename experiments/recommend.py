"""Recommend movies a user has not rated, or list movies similar to one.

  python -m experiments.recommend --workdir=checkpoints/<run> --user_id=42 --k=10
  python -m experiments.recommend --workdir=checkpoints/<run> --similar_to=1
  python -m experiments.recommend --workdir=… --user_id=42 --format=json

Ids are those of the data files. Predicted stars are clipped to 0.5..5.
"""

import dataclasses
import math

from experiments import console, flags
from ncf_jax.config import Options, option
from ncf_jax.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class RecommendOptions(Options):
    """Options of this command."""

    workdir: str = option("", "Run folder of a trained model (required).")
    user_id: int = option(
        -1,
        "userId as in ratings.csv: recommend what this user has not rated.",
        maximum=math.inf,  # the answer names the range that there is
    )
    similar_to: int = option(
        -1,
        "movieId as in movies.csv: list the movies with the nearest embeddings.",
        maximum=math.inf,  # the answer names the range that there is
    )
    k: int = option(10, "How many movies.", minimum=1)
    format: str = option("table", "How to print.", choices=("table", "json"))


def main(options: RecommendOptions) -> None:
    """Prints a list."""
    if (options.user_id >= 0) == (options.similar_to >= 0):
        raise ConfigError(
            "Give either --user_id=<userId of ratings.csv> or --similar_to=<movieId of "
            "movies.csv>."
        )
    import ncf_jax
    from ncf_jax import report

    run = ncf_jax.load_run(options.workdir)
    about = (run.model, run.params, run.dataset)
    if options.user_id >= 0:
        question = {"user_id": options.user_id}
        score, what = "stars", f"for user {options.user_id}"
        movies = ncf_jax.recommend(*about, options.user_id, k=options.k)
    else:
        question = {"similar_to": options.similar_to}
        movies = ncf_jax.similar(*about, options.similar_to, k=options.k)
        titles = dict(zip(run.dataset.item_ids, run.dataset.titles, strict=True))
        score, what = "similarity", f"similar to {titles[options.similar_to]}"
    if options.format == "json":
        answer = {
            "dataset": run.dataset.label,
            "synthetic": run.dataset.synthetic,
            **question,
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
    console.say(f"{run.dataset.label}: movies {what}", "")
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
