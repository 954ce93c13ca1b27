"""myFM on our train rows: a Bayesian factorization machine by Gibbs sampling.

A row is one user's features and one item's, each a relation block with an entry a user
or an item. Blocks of features, by the names that `user` and `item` list:

  id            who or what it is
  rated         of a user: the items rated in train, over the root of their number
  raters        of an item: the users who rated it in train, likewise
  genres        of an item: 1 for each genre
  genre_shares  of an item: 1 / number of its genres for each
  tags          of an item: the reduced TF-IDF of its tags
  year          of an item: the year at the end of its title, a column a year

Each block has priors of its own. A prediction is the mean over the kept samples.
"""

import contextlib
import importlib
import io
import re
import sys
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import numpy as np
from scipy import sparse

from experiments.peers.recommenders import Fitted, to_stars
from ncf_jax.types import Dataset, Split


def _load() -> Any:
    """myFM, whose first line asks for two names of pkg_resources and uses neither.

    setuptools 82 has no such module and earlier ones warn about it, so an empty one
    stands in while myFM 0.4 is imported.
    """
    name = "pkg_resources"
    stand_in = ModuleType(name)
    stand_in.__dict__.update(DistributionNotFound=Exception, get_distribution=None)
    absent = name not in sys.modules
    if absent:
        sys.modules[name] = stand_in
    try:
        return importlib.import_module("myfm")
    finally:
        if absent:
            del sys.modules[name]


myfm = _load()


def fit(
    dataset: Dataset,
    split: Split,
    seed: int,
    algorithm: str,
    options: Mapping[str, Any],
) -> Fitted:
    """Fits one of myFM's regressors.

    Args:
      dataset: the data set.
      split: its rows of `train` are all that is read.
      seed: of the chain.
      algorithm: a class of `myfm`.
      options: `rank`, `n_iter`, `n_kept_samples`, and the blocks `user` and `item`.
    """
    train = dataset.interactions(split.train)
    made = blocks(dataset, split)
    user = [made["user", name] for name in options["user"].split()]
    item = [made["item", name] for name in options["item"].split()]
    tables = [sparse.csr_matrix(sparse.hstack(side)) for side in (user, item)]
    model = getattr(myfm, algorithm)(rank=options["rank"], random_seed=seed)
    with contextlib.redirect_stderr(io.StringIO()):  # its bar cannot be turned off
        model.fit(
            None,
            train.rating.astype(float),
            X_rel=_relations(tables, train.user, train.item),
            n_iter=options["n_iter"],
            n_kept_samples=options["n_kept_samples"],
            group_shapes=[block.shape[1] for block in (*user, *item)],
        )
    constant, (bias_U, bias_I), (factors_U, factors_I) = _halves(model, tables)

    def rate(user: np.ndarray, item: np.ndarray) -> np.ndarray:
        return to_stars(model.predict(None, _relations(tables, user, item)))

    def catalogue(user: np.ndarray) -> np.ndarray:
        pairs = factors_U[user] @ factors_I.T
        return to_stars(constant + bias_U[user, None] + bias_I + pairs)

    return Fitted(rate, catalogue)


def blocks(dataset: Dataset, split: Split) -> dict[tuple[str, str], sparse.csr_matrix]:
    """Every feature block: (`user` or `item`, name) -> [U or I, features]."""
    train = dataset.interactions(split.train)
    shape = (dataset.num_users, dataset.num_items)
    pairs = (np.ones(len(split.train)), (train.user, train.item))
    seen = sparse.csr_matrix(pairs, shape=shape)
    genres = sparse.csr_matrix(np.asarray(dataset.features.genres, float))
    return {
        ("user", "id"): sparse.identity(dataset.num_users, format="csr"),
        ("user", "rated"): _divided(seen, 0.5),
        ("item", "id"): sparse.identity(dataset.num_items, format="csr"),
        ("item", "raters"): _divided(seen.T.tocsr(), 0.5),
        ("item", "genres"): genres,
        ("item", "genre_shares"): _divided(genres, 1.0),
        ("item", "tags"): sparse.csr_matrix(np.asarray(dataset.features.tags, float)),
        ("item", "year"): _years(dataset.titles),
    }


def _divided(table: sparse.csr_matrix, power: float) -> sparse.csr_matrix:
    """Each row over a power of its number of entries."""
    counts = np.maximum(np.diff(table.indptr), 1)
    return sparse.csr_matrix(sparse.diags(counts**-power) @ table)


def _years(titles: tuple[str, ...]) -> sparse.csr_matrix:
    """[I, years] with a one a row; titles without a year share a column."""
    found = [re.search(r"\((\d{4})\)\s*$", title) for title in titles]
    years = [match[1] if match else "" for match in found]
    names, column = np.unique(years, return_inverse=True)
    return sparse.identity(len(names), format="csr")[column]


def _relations(
    tables: list[sparse.csr_matrix], user: np.ndarray, item: np.ndarray
) -> list[Any]:
    rows = (np.asarray(user).tolist(), np.asarray(item).tolist())
    return [
        myfm.RelationBlock(row, table) for row, table in zip(rows, tables, strict=True)
    ]


def _halves(
    model: Any, tables: list[sparse.csr_matrix]
) -> tuple[float, list[np.ndarray], list[np.ndarray]]:
    """The mean over samples of w0 + w x + (|V x|² - sum of (v x)²) / 2, in halves.

    With x of a user's part and an item's, all but the product of the two parts' V x
    belongs to one of them.

    Returns:
      a constant; [U] and [I] terms of one side; [U, S r] and [I, S r] factors of S
      samples of rank r, whose products are the means of the mixed term.
    """
    weight_SxF, factor_SxFxr = model.w_samples, model.V_samples
    samples, _, rank = factor_SxFxr.shape
    biases, factors, start = [], [], 0
    for table in tables:
        part = slice(start, start + table.shape[1])
        start = part.stop
        factor = np.moveaxis(factor_SxFxr[:, part], 0, 1).reshape(-1, samples * rank)
        product = table @ factor
        squares = (product**2).sum(axis=1) - (table.power(2) @ factor**2).sum(axis=1)
        biases.append(table @ weight_SxF[:, part].mean(axis=0) + squares / samples / 2)
        factors.append(product / np.sqrt(samples))
    return float(np.mean(model.w0_samples)), biases, factors
