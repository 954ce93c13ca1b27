"""The rows that contestants train on: prepared data, or random of any size."""

import dataclasses
from typing import Any

import numpy as np

from ncf_jax.config import DataConfig
from ncf_jax.types import Interactions, ItemFeatures

GENRES, TAGS = 20, 32


def prepared(options: dict[str, Any]) -> tuple[Interactions, Interactions, int, int]:
    """Training and validation rows, U and I, of the data that `options` describe."""
    from ncf_jax.data.prepare import prepare, split

    config = DataConfig(**options)
    dataset = prepare(config)
    parts = split(dataset, config)
    return (
        dataset.interactions(parts.train),
        dataset.interactions(parts.valid),
        dataset.num_users,
        dataset.num_items,
    )


def random(users: int, items: int, rows: int, seed: int = 0) -> Interactions:
    """Rows with users and items drawn evenly: each is as likely to be in no cache."""
    rng = np.random.default_rng(seed)
    return Interactions(
        user=rng.integers(0, users, rows, dtype=np.int32),
        item=rng.integers(0, items, rows, dtype=np.int32),
        rating=(rng.integers(1, 11, rows) / 2).astype(np.float32),
        features=ItemFeatures(
            genres=rng.integers(0, 2, (items, GENRES)).astype(np.float32),
            tags=rng.normal(0, 0.1, (items, TAGS)).astype(np.float32),
        ),
    )


def pieces(data: Interactions, size: int | None) -> list[Interactions]:
    """The rows in pieces of `size`, of which each turn takes the next; None: whole.

    A turn that had the rows of the last one would find them in the caches.
    """
    if size is None:
        return [data]
    return [
        dataclasses.replace(
            data,
            user=data.user[start : start + size],
            item=data.item[start : start + size],
            rating=data.rating[start : start + size],
        )
        for start in range(0, len(data.user) - size + 1, size)
    ]


def load(source: dict[str, Any]) -> tuple[Interactions, int, int]:
    """Rows, U and I of `{"data": options of DataConfig}` or `{"random": sizes}`."""
    if "data" in source:
        train, _, users, items = prepared(source["data"])
        return train, users, items
    sizes = source["random"]
    return random(**sizes), sizes["users"], sizes["items"]


def data_options(config: DataConfig) -> dict[str, Any]:
    """The options of `DataConfig` alone, JSON-ready."""
    return {
        field.name: getattr(config, field.name)
        for field in dataclasses.fields(DataConfig)
    }
