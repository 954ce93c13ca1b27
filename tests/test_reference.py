"""The published figures, on the real data: a quality test that fails outside its band.

Bands are the reference's own: its mean over seeds, give or take what seeds do to a mean
of ten. The experiment files themselves are run, so a changed default is caught here.
"""

import numpy as np
import pytest

import ncf_jax
from experiments import finish, flags
from ncf_jax.config import Config
from tests.conftest import ROOT

SEEDS = 10
# Experiment file -> metric -> lowest and highest allowed mean over ten seeds.
BANDS = {
    "ncf_tags": {
        "rmse": (0.908, 0.917),
        "mae": (0.710, 0.721),
        "r2": (0.205, 0.222),
        "precision@10": (0.500, 0.512),
        "ndcg@10": (0.849, 0.858),
        "recall@10": (0.758, 0.766),
    },
    "ncf_genres": {
        "rmse": (0.9128 - 0.005, 0.9128 + 0.005),
        "mae": (0.7143 - 0.005, 0.7143 + 0.005),
        "r2": (0.2122 - 0.005, 0.2122 + 0.005),
        "precision@10": (0.5030 - 0.005, 0.5030 + 0.005),
        "ndcg@10": (0.8522 - 0.005, 0.8522 + 0.005),
        "recall@10": (0.7622 - 0.005, 0.7622 + 0.005),
    },
    "ncf_ratings": {
        "rmse": (0.9323 - 0.005, 0.9323 + 0.005),
        "mae": (0.7326 - 0.005, 0.7326 + 0.005),
        "r2": (0.1781 - 0.005, 0.1781 + 0.005),
        "precision@10": (0.4956 - 0.005, 0.4956 + 0.005),
        "ndcg@10": (0.8474 - 0.005, 0.8474 + 0.005),
        "recall@10": (0.7535 - 0.005, 0.7535 + 0.005),
    },
    # Surprise's BaselineOnly on the same rows, to the digits it is known by.
    "bias": {
        "rmse": (0.8575, 0.8581),
        "mae": (0.6604, 0.6610),
        "r2": (0.3040, 0.3046),
        "precision@10": (0.5190, 0.5200),
        "ndcg@10": (0.8633, 0.8643),
        "recall@10": (0.7732, 0.7742),
    },
}


def load(name, data_dir, *more):
    path = ROOT / "experiments" / "configs" / f"{name}.flags"
    given = [f"--flagfile={path}", f"--data_dir={data_dir}", "--cache_dir=", *more]
    config = flags.parse(Config, given)
    dataset = ncf_jax.prepare(config)
    return config, dataset, ncf_jax.split(dataset, config)


@pytest.mark.parametrize("name", BANDS)
def test_an_experiment_reaches_its_published_figures(name, real_data_dir):
    seeds = [] if name == "bias" else [f"--num_seeds={SEEDS}"]
    config, dataset, split = load(name, real_data_dir, *seeds)
    model = ncf_jax.make_model(config, dataset)
    state = ncf_jax.fit(
        ncf_jax.learner_of(config, model, dataset.features),
        dataset.interactions(split.train),
        dataset.interactions(split.valid),
        epochs=config.epochs,
        seeds=range(config.num_seeds),
    )
    found = ncf_jax.evaluate(
        model, state.params, dataset, split.test, **finish.how(config, split)
    ).metrics
    outside = {
        metric: (found[metric].mean, band)
        for metric, band in BANDS[name].items()
        if not band[0] <= found[metric].mean <= band[1]
    }
    assert not outside, (
        "A figure left its band. If training or a metric was changed on purpose, the "
        "published table, the lab notes and CHANGELOG.md change with it."
    )
    assert found["rmse"].n_used == len(split.test) == 12_447
    assert (found["recall@10"].n_used, found["recall@10"].n_left_out) == (595, 15)


def test_the_global_mean_ranks_like_chance(real_data_dir):
    """Ties by expectation: a constant scorer gets what random orders get on average."""
    config, dataset, split = load("bias", real_data_dir)
    model = ncf_jax.make_model(Config(model="global_mean"), dataset)
    params = {
        "mean": np.array([0.7], np.float32),
        "user_bias": np.zeros((1, dataset.num_users), np.float32),
        "item_bias": np.zeros((1, dataset.num_items), np.float32),
    }
    found = ncf_jax.evaluate(
        model, params, dataset, split.test, **finish.how(config, split)
    ).metrics
    rng = np.random.default_rng(0)
    user, relevant = dataset.user[split.test], dataset.rating[split.test] >= 4
    draws = []
    for _ in range(40):
        order = np.lexsort((rng.random(len(user)), user))
        lists = np.split(relevant[order], np.flatnonzero(np.diff(user[order])) + 1)
        values = []
        for ranked in lists:
            top = ranked[:10].astype(float)
            discount = 1 / np.log2(np.arange(2, len(top) + 2))
            ideal = (np.sort(top)[::-1] * discount).sum()
            values.append(
                (
                    top.sum() / 10,
                    (top * discount).sum() / ideal if ideal else 0.0,
                    top.sum() / ranked.sum() if ranked.any() else np.nan,
                )
            )
        draws.append(np.nanmean(values, axis=0))
    mean = np.mean(draws, axis=0)
    error = np.std(draws, axis=0, ddof=1) / np.sqrt(len(draws))
    for place, metric in enumerate(("precision@10", "ndcg@10", "recall@10")):
        assert abs(found[metric].mean - mean[place]) < 4 * error[place], metric


def test_the_readme_shows_the_figures_of_the_bands():
    """The published table and the bands are about the same numbers."""
    text = (ROOT / "README.md").read_text()
    titles = {
        "ncf_tags": "NCFMoviesTags (Ratings + Genres + Tags)",
        "ncf_genres": "NCFMovies (Ratings + Genres)",
        "ncf_ratings": "NCF (Ratings)",
        "bias": "**User + item bias**",
    }
    for name, title in titles.items():
        line = next(x for x in text.splitlines() if x.startswith(f"| {title}"))
        cells = [cell.strip(" *") for cell in line.strip("|").split("|")[1:]]
        for cell, (low, high) in zip(cells, BANDS[name].values(), strict=True):
            assert low <= float(cell.split(" ")[0]) <= high, (name, cell)


def test_the_readme_shows_the_fingerprints_of_the_data(real_data_dir):
    _, dataset, split = load("ncf_tags", real_data_dir)
    text = (ROOT / "README.md").read_text()
    assert f"`{dataset.fingerprint}`" in text
    assert f"`{split.fingerprint}`" in text
