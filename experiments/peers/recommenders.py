"""Models of other libraries, by name, fitted to our train rows and asked for ours.

  pip install -e '.[peers]'

`PEERS` says which there are. Each is its library's own code with the settings that its
line tells; an adapter a library turns our data set into what it reads, and is imported
only when a peer of that library is fitted.

Example:
  >>> PEERS["surprise-svd"].settings
  'SVD(n_factors=100, n_epochs=40, lr_all=0.01, reg_all=0.1)'
"""

import importlib
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from ncf_jax.errors import RunError
from ncf_jax.types import RATING_MAX, Dataset, Split

RATING_MIN = 0.5


class Fitted(NamedTuple):
    """A fitted model as two functions of our indices.

    A user or item without a train row gets what the library gives to one it does not
    know. `catalogue` holds the very numbers of `rate`, computed by matrices where the
    library's parameters allow it.

    Attributes:
      rate: user [n] and item [n] -> [n] float32, stars clipped to 0.5-5 (of a peer
        without stars: scores).
      catalogue: user [B] -> [B, I] float32, the same of every item.
    """

    rate: Callable[[np.ndarray, np.ndarray], np.ndarray]
    catalogue: Callable[[np.ndarray], np.ndarray]


class Peer(NamedTuple):
    """A model of another library.

    Attributes:
      title: what tables call it.
      library: whose it is.
      package: the distribution that holds the library, for its version.
      fit: (data set, split, seed) -> `Fitted`; reads the rows of `split.train` only.
      settings: the library's class and every hyper-parameter it is given.
      seeded: whether the seed changes anything.
      stars: whether it predicts stars; otherwise only the order of its scores counts.
    """

    title: str
    library: str
    package: str
    fit: Callable[[Dataset, Split, int], Fitted]
    settings: str
    seeded: bool
    stars: bool


def to_stars(value: np.ndarray) -> np.ndarray:
    """Stars within the scale, as float32.

    Example:
      >>> to_stars(np.array([-1.0, 3.2, 7.0])).tolist()
      [0.5, 3.200000047683716, 5.0]
    """
    return np.clip(np.asarray(value, np.float32), RATING_MIN, RATING_MAX)


def by_user(
    user: np.ndarray,
    item: np.ndarray,
    score: Callable[[int, np.ndarray], np.ndarray],
) -> np.ndarray:
    """[n] scores of the pairs, by one call `(user, items [m]) -> [m]` for each user.

    Example:
      >>> by_user(np.array([1, 0, 1]), np.array([5, 6, 7]), lambda u, i: 10 * u + i)
      array([15.,  6., 17.], dtype=float32)
    """
    out = np.empty(len(user), np.float32)
    for one in np.unique(user):
        rows = np.flatnonzero(user == one)
        out[rows] = score(int(one), item[rows])
    return out


def _fit(
    adapter: str,
    library: str,
    algorithm: str,
    options: Mapping[str, Any],
    dataset: Dataset,
    split: Split,
    seed: int,
) -> Fitted:
    if len(split.train) == 0:
        raise RunError(
            f"{library} wants rows to train on, but the split has none; keep more "
            f"ratings of each user (--min_user_ratings)."
        )
    try:
        module = importlib.import_module(f"experiments.peers.{adapter}")
    except ModuleNotFoundError as error:
        if str(error.name).split(".")[0] in ("experiments", "ncf_jax"):
            raise
        raise RunError(
            f"A model of {library} needs the Python module {error.name!r}, which is "
            f"not installed; pip install -e '.[peers]' brings it."
        ) from error
    return module.fit(dataset, split, seed, algorithm, options)


_LIBRARIES = {
    "surprise": ("Surprise", "scikit-surprise"),
    "fm": ("myFM", "myfm"),
    "lenskit_models": ("LensKit", "lenskit"),
    "cornac_models": ("Cornac", "cornac"),
}


def _peer(
    adapter: str,
    title: str,
    algorithm: str,
    /,
    *,
    seeded: bool = True,
    stars: bool = True,
    **options: Any,
) -> Peer:
    library, package = _LIBRARIES[adapter]
    values = ", ".join(f"{name}={value!r}" for name, value in options.items())
    return Peer(
        title=f"{title} ({library})",
        library=library,
        package=package,
        fit=partial(_fit, adapter, library, algorithm, options),
        settings=f"{algorithm}({values})",
        seeded=seeded,
        stars=stars,
    )


_surprise = partial(_peer, "surprise")
_fm = partial(_peer, "fm")
_lenskit = partial(_peer, "lenskit_models")
_cornac = partial(_peer, "cornac_models")
_ALS: dict[str, Any] = {"method": "als", "n_epochs": 10, "reg_u": 15, "reg_i": 10}
_PEARSON = {"name": "pearson_baseline", "user_based": False, "shrinkage": 100}
# The first quarter of the samples is burn-in. `user` and `item` name feature blocks.
_CHAIN: dict[str, Any] = {"rank": 16, "n_iter": 200, "n_kept_samples": 150}
_LONG: dict[str, Any] = {"n_iter": 300, "n_kept_samples": 295}

PEERS = {
    "surprise-baseline": _surprise(
        "User + item bias", "BaselineOnly", seeded=False, bsl_options=_ALS
    ),
    "surprise-svd": _surprise(
        "SVD", "SVD", n_factors=100, n_epochs=40, lr_all=0.01, reg_all=0.1
    ),
    "surprise-svdpp": _surprise(
        "SVD++", "SVDpp", n_factors=20, n_epochs=20, lr_all=0.007, reg_all=0.02
    ),
    "surprise-knn": _surprise(
        "Item neighbours on baselines",
        "KNNBaseline",
        seeded=False,
        k=40,
        min_k=1,
        sim_options=_PEARSON,
        bsl_options=_ALS,
    ),
    "myfm": _fm("Bayesian FM, ids", "MyFMRegressor", **_CHAIN, user="id", item="id"),
    "myfm-side": _fm(
        "Bayesian FM, ids + genres + tags",
        "MyFMRegressor",
        **_CHAIN,
        user="id",
        item="id genres tags",
    ),
    "myfm-flipped": _fm(
        "Bayesian FM, SVD++ both ways",
        "MyFMRegressor",
        **_CHAIN,
        user="id rated",
        item="id raters",
    ),
    "myfm-flipped-side": _fm(
        "Bayesian FM, SVD++ both ways + genres + tags",
        "MyFMRegressor",
        **_CHAIN,
        user="id rated",
        item="id raters genres tags",
    ),
    "myfm-year": _fm(
        "Bayesian FM, ids + genres + year",
        "MyFMRegressor",
        rank=10,
        **_LONG,
        user="id",
        item="id genre_shares year",
    ),
    "myfm-year-32": _fm(
        "Bayesian FM of rank 32, ids + genres + year",
        "MyFMRegressor",
        rank=32,
        **_LONG,
        user="id",
        item="id genres year",
    ),
    "lenskit-bias": _lenskit("User + item bias", "BiasScorer", seeded=False, damping=5),
    "lenskit-biasedmf": _lenskit(
        "Biased MF by ALS",
        "BiasedMFScorer",
        embedding_size=50,
        epochs=10,
        regularization=0.1,
        damping=5.0,
    ),
    "lenskit-itemknn": _lenskit(
        "Item neighbours", "ItemKNNScorer", seeded=False, max_nbrs=20, min_nbrs=1
    ),
    "lenskit-userknn": _lenskit(
        "User neighbours", "UserKNNScorer", seeded=False, max_nbrs=20, min_nbrs=1
    ),
    "cornac-mf": _cornac(
        "Biased MF by SGD",
        "MF",
        k=10,
        max_iter=25,
        learning_rate=0.01,
        lambda_reg=0.02,
        use_bias=True,
    ),
    "cornac-pmf": _cornac(
        "Probabilistic MF",
        "PMF",
        k=10,
        max_iter=100,
        learning_rate=0.001,
        lambda_reg=0.001,
    ),
    "cornac-bpr": _cornac(
        "BPR",
        "BPR",
        stars=False,
        k=10,
        max_iter=200,
        learning_rate=0.001,
        lambda_reg=0.01,
    ),
}
