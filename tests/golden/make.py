"""Freezes tiny runs of this version, which every later version must read (R14).

  python -m tests.golden.make

Writes tests/golden/v<version>/<name>/ once a release, before it is tagged, and never
again: a folder that is there is left alone. Of a run folder only what is read again is
kept (`KEPT`), and orbax's notes on where a checkpoint was written are taken out, as is
--data_dir: both would name a place on the machine. Beside it lies expected.json, what
the run predicted.
"""

import contextlib
import io
import os
import shutil
import sys
import tempfile
from pathlib import Path

import jax
import numpy as np

import ncf_jax
from experiments import train
from ncf_jax import Config, report
from ncf_jax.evaluate import predict

HERE = Path(__file__).parent
KEPT = ("run.flags", "history.csv", "metrics.json", "per_user.npz", "state")
WORLD = dict(
    dataset="synthetic",
    synthetic_users=12,
    synthetic_items=50,
    synthetic_ratings_per_user=20,
    min_item_ratings=1,
    data_dir="data",
    cache_dir="",
)
SMALL = dict(
    epochs=2, keep=2, batch_size=32, k=(3,), embedding_dim=2, fc1_dim=4, fc2_dim=2
)
RUNS = {
    "ncf": dict(num_seeds=2, genre_dim=2, tag_dim=2),
    "vncf": dict(history=2, time="both", learning_rate=0.01, schedule="cosine"),
}
PAIRS, LIST = 20, 5


def expected(run: ncf_jax.Run) -> dict:
    """What a run says of its first test rows, and recommends to its first user."""
    dataset = run.dataset
    rows = dataset.interactions(run.split.test[:PAIRS])
    stars = predict(
        run.model,
        run.params,
        rows.user,
        rows.item,
        rows.features,
        context=rows.context,
    )
    user_id = int(dataset.user_ids[0])
    movies = ncf_jax.recommend(run.model, run.params, dataset, user_id, k=LIST)
    return {
        "ncf_jax": ncf_jax.__version__,
        "jax": jax.__version__,
        "users": dataset.user_ids[rows.user].tolist(),
        "movies": dataset.item_ids[rows.item].tolist(),
        "stars": np.asarray(stars, np.float64).tolist(),
        "recommended": {
            "user": user_id,
            "movies": [movie.movie_id for movie in movies],
            "stars": [movie.score for movie in movies],
        },
    }


def make(name: str, folder: Path) -> None:
    """Trains `RUNS[name]` in an empty folder, and freezes it in `folder`."""
    here = Path.cwd()
    with tempfile.TemporaryDirectory() as scratch, contextlib.chdir(scratch):
        options = WORLD | SMALL | RUNS[name] | {"model": name, "workdir": name}
        with contextlib.redirect_stdout(io.StringIO()):
            train.main(Config(**options))
        found = expected(ncf_jax.load_run(name))
        flags = Path(name, "run.flags")
        data_dir = Path("data").resolve()
        text = flags.read_text().replace(f"--data_dir={data_dir}", "--data_dir=data")
        flags.write_text(text)
        for note in Path(name).rglob("commit_success.txt"):
            note.unlink()
        for path in Path(name).iterdir():
            if path.name not in KEPT:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        Path(name, "expected.json").write_text(report.dumps(found))
        for path in Path(name).rglob("*"):
            for place in (scratch, str(here)):
                assert path.is_dir() or place.encode() not in path.read_bytes(), path
        shutil.copytree(name, folder)


def main() -> None:
    """Makes the runs of this version; refuses when its folder is there."""
    release = HERE / f"v{ncf_jax.__version__}"
    if release.exists():
        sys.exit(f"error: {release} is there already, and is never made again.")
    for name in RUNS:
        make(name, release / name)
        size = sum(path.stat().st_size for path in (release / name).rglob("*"))
        print(f"{os.path.relpath(release / name)}: {size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
