"""The reference study as a PyTorch notebook would run it, for time and for figures.

  pip install -e '.[peers]'
  python -m experiments.peers.pytorch --data_dir=../shared/data

From files to report in one process: pandas, scikit-learn's `train_test_split` for each
user, a `Dataset` that gives one example at a time, a `DataLoader`, Adam with L2, the
metrics, a picture, a CSV row. It is deliberately the plain way, to be timed as a whole.
"""

import time
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import torch
from absl import app, flags
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils import data

matplotlib.use("Agg")
from matplotlib import pyplot as plt

from experiments.peers.network import Network, Ratings

DATA_DIR = flags.DEFINE_string("data_dir", "data", "Folder with ml-latest-small/.")
OUT_DIR = flags.DEFINE_string("out_dir", "checkpoints/peer", "Where to write.")
SEED = flags.DEFINE_integer("seed", 0, "Seed of torch.")
EPOCHS, BATCH, K, RELEVANT = 10, 512, 10, 4.0


def read(folder: Path) -> pd.DataFrame:
    """The merged, filtered, featurised table."""
    ratings = pd.read_csv(folder / "ratings.csv")
    movies = pd.read_csv(folder / "movies.csv")
    tags = pd.read_csv(folder / "tags.csv", keep_default_na=False)
    counts = ratings["movieId"].value_counts()
    ratings = ratings[ratings["movieId"].isin(counts[counts >= 10].index)]
    counts = ratings["userId"].value_counts()
    ratings = ratings[ratings["userId"].isin(counts[counts >= 3].index)].copy()
    ratings["userIndex"] = pd.factorize(ratings["userId"])[0]
    ratings["movieIndex"] = pd.factorize(ratings["movieId"])[0]
    ratings["rating_norm"] = ratings["rating"] / 5
    names = sorted({name for text in movies["genres"] for name in text.split("|")})
    genres = {
        movie: np.isin(names, text.split("|")).astype(np.float32)
        for movie, text in zip(movies["movieId"], movies["genres"], strict=True)
    }
    joined = tags.groupby("movieId")["tag"].agg(" ".join)
    weights = TfidfVectorizer(max_features=100).fit_transform(joined)
    svd = TruncatedSVD(n_components=32, random_state=42)
    reduced = dict(zip(joined.index, svd.fit_transform(weights), strict=True))
    none = np.zeros(32, np.float32)
    ratings["genres_vector"] = ratings["movieId"].map(genres)
    ratings["tag_features"] = ratings["movieId"].map(
        lambda movie: np.asarray(reduced.get(movie, none), np.float32)
    )
    return ratings


def divide(table: pd.DataFrame) -> list[pd.DataFrame]:
    """Train, validation and test rows, user by user."""
    parts: list[list[pd.DataFrame]] = [[], [], []]
    for _, rows in table.groupby("userId"):
        train, rest = train_test_split(rows, test_size=0.30, random_state=42)
        valid, test = train_test_split(rest, test_size=0.50, random_state=42)
        for part, piece in zip(parts, (train, valid, test), strict=True):
            part.append(piece)
    return [pd.concat(part) for part in parts]


def examples(table: pd.DataFrame) -> Ratings:
    """Its rows, one at a time."""
    names = "userIndex movieIndex genres_vector tag_features rating_norm"
    return Ratings([table[name].to_numpy() for name in names.split()])


def mean_loss(network: Network, loader: data.DataLoader) -> float:
    """Mean squared error over the loader's rows."""
    network.eval()
    total = rows = 0.0
    with torch.no_grad():
        for *inputs, rating in loader:
            total += float(((network(*inputs) - rating) ** 2).sum())
            rows += len(rating)
    return total / rows


def judge(test: pd.DataFrame, stars: np.ndarray) -> dict[str, float]:
    """The reference's metrics, user by user."""
    truth = test["rating"].to_numpy()
    precision, ndcg, recall = [], [], []
    for _, rows in test.assign(stars=stars).groupby("userId"):
        ranked = rows.sort_values("stars", ascending=False)["rating"].to_numpy()
        relevant = (ranked >= RELEVANT).astype(float)
        top = relevant[:K]
        discount = 1 / np.log2(np.arange(2, len(top) + 2))
        ideal = float((np.sort(top)[::-1] * discount).sum())
        precision.append(top.sum() / K)
        ndcg.append(float((top * discount).sum()) / ideal if ideal else 0.0)
        if relevant.sum():
            recall.append(top.sum() / relevant.sum())
    return {
        "Test RMSE": mean_squared_error(truth, stars) ** 0.5,
        "Test MAE": mean_absolute_error(truth, stars),
        "Test R2": r2_score(truth, stars),
        "Precision@10": float(np.mean(precision)),
        "NDCG@10": float(np.mean(ndcg)),
        "Recall@10": float(np.mean(recall)),
    }


def main(_: list[str]) -> None:
    """Files to report."""
    began = time.perf_counter()
    torch.manual_seed(SEED.value)
    out = Path(OUT_DIR.value)
    out.mkdir(parents=True, exist_ok=True)
    table = read(Path(DATA_DIR.value) / "ml-latest-small")
    parts = divide(table)
    network = Network(
        table["userIndex"].nunique(),
        table["movieIndex"].nunique(),
        len(table["genres_vector"].iloc[0]),
    )
    optimizer = torch.optim.Adam(network.parameters(), lr=5e-4, weight_decay=1e-5)
    train, valid, test = (
        data.DataLoader(examples(part), batch_size=BATCH, shuffle=number == 0)
        for number, part in enumerate(parts)
    )
    for epoch in range(EPOCHS):
        network.train()
        total = 0.0
        for *inputs, rating in train:
            optimizer.zero_grad()
            loss = nn.functional.mse_loss(network(*inputs), rating)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(rating)
        print(
            f"epoch {epoch + 1:3d}  train loss {total / len(parts[0]):.4f}  valid loss "
            f"{mean_loss(network, valid):.4f}"
        )
    network.eval()
    with torch.no_grad():
        stars = torch.cat([network(*inputs) for *inputs, _ in test]).numpy() * 5
    figures = judge(parts[2], stars)
    figure, axes = plt.subplots(figsize=(9, 2))
    axes.axis("off")
    cells = [[f"{value:.4f}" for value in figures.values()]]
    axes.table(cellText=cells, colLabels=list(figures), loc="center")
    axes.set_title("Model Evaluation Metrics")
    figure.savefig(out / "metrics.png", dpi=150)
    model = "NCFMoviesTags (Ratings + Genres + Tags)"
    pd.DataFrame([{"Model": model, **figures}]).to_csv(out / "metrics.csv", index=False)
    torch.save(network.state_dict(), out / "model.pt")
    print("  ".join(f"{name} {value:.4f}" for name, value in figures.items()))
    print(f"{time.perf_counter() - began:.1f} s after imports")


if __name__ == "__main__":
    app.run(main)
