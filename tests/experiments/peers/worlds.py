"""Rows with structure, the network's weights, and its forward pass in NumPy."""

import numpy as np

from experiments.peers.torch_epochs import Rows

USERS, ITEMS, GENRES, TAGS = 30, 40, 5, 6


def rows_of(count, seed=0):
    """Ratings that a user's and an item's bias explain in part."""
    rng = np.random.default_rng(seed)
    user, item = rng.integers(0, USERS, count), rng.integers(0, ITEMS, count)
    stars = 3.5 + rng.normal(0, 0.5, USERS)[user] + rng.normal(0, 0.5, ITEMS)[item]
    return Rows(
        user,
        item,
        np.clip(np.round(2 * stars) / 2, 0.5, 5).astype(np.float32),
        (rng.random((ITEMS, GENRES)) < 0.3).astype(np.float32),
        rng.normal(0, 0.3, (ITEMS, TAGS)).astype(np.float32),
        USERS,
        ITEMS,
    )


def weights_of(seed=0):
    """Weights by their names in PyTorch, linear layers [out, in]."""
    rng = np.random.default_rng(seed)
    linear = {
        "genre_layer": (32, GENRES),
        "tag_layer": (16, TAGS),
        "fc1": (128, 176),
        "fc2": (64, 128),
        "output_layer": (1, 64),
    }
    weights = {
        "user_embedding.weight": rng.normal(size=(USERS, 64)),
        "item_embedding.weight": rng.normal(size=(ITEMS, 64)),
    }
    for name, shape in linear.items():
        bound = shape[1] ** -0.5
        weights[f"{name}.weight"] = rng.uniform(-bound, bound, shape)
        weights[f"{name}.bias"] = rng.uniform(-bound, bound, shape[0])
    return {name: value.astype(np.float32) for name, value in weights.items()}


def predicted_by_numpy(weights, rows):
    """Rating / 5 [N] in float64, without dropout."""

    def layer(name, x):
        weight = weights[f"{name}.weight"].astype(np.float64)
        return x @ weight.T + weights[f"{name}.bias"]

    def relu(x):
        return np.maximum(x, 0)

    parts = [
        weights["user_embedding.weight"][rows.user],
        weights["item_embedding.weight"][rows.item],
        relu(layer("genre_layer", rows.genres[rows.item])),
        relu(layer("tag_layer", rows.tags[rows.item])),
    ]
    hidden = relu(layer("fc1", np.concatenate(parts, axis=-1)))
    return layer("output_layer", relu(layer("fc2", hidden)))[:, 0]
