"""Recommend movies a user has not rated, or list movies similar to one.

  python -m experiments.recommend --workdir=checkpoints/<run> --user_id=42 --k=10
  python -m experiments.recommend --workdir=checkpoints/<run> --similar_to=1
  python -m experiments.recommend --workdir=… --user_id=42 --format=json

Ids are those of the data files. Predicted stars are clipped to 0.5..5.
"""

from experiments import console, flags
from ncf_jax.config import RecommendOptions
from ncf_jax.errors import ConfigError


def main(options: RecommendOptions) -> None:
    """Prints a list."""
    if (options.user_id >= 0) == (options.similar_to >= 0):
        raise ConfigError(
            "Give either --user_id=<userId of ratings.csv> or --similar_to=<movieId of "
            "movies.csv>."
        )
    import ncf_jax
    from experiments import runs
    from ncf_jax import report

    run = runs.load(options.workdir)
    about = (run.model, run.params, run.dataset)
    if options.user_id >= 0:
        question = {"user_id": options.user_id}
        score, what = "stars", f"for user {options.user_id}"
        movies = ncf_jax.recommend(*about, options.user_id, k=options.k)
    else:
        question = {"similar_to": options.similar_to}
        title = (
            run.dataset.titles[run.dataset.item_ids.tolist().index(options.similar_to)]
            if options.similar_to in run.dataset.item_ids
            else ""
        )
        score, what = "similarity", f"similar to {title}"
        movies = ncf_jax.similar(*about, options.similar_to, k=options.k)
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
