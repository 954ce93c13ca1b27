"""What is known of items: genres -> [I, G], tags -> [I, T]."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer

TAG_VOCABULARY = 100
TAG_COMPONENTS = 32
SVD_SEED = 42


def genre_matrix(
    all_genres: Sequence[str], genres: Sequence[str]
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Multi-hot genres over every genre that occurs anywhere.

    Args:
      all_genres: genre strings (`|` between genres) that define the columns.
      genres: I genre strings, one per item kept.

    Returns:
      [I, G] float32, and the G names in alphabetical order.

    Example:
      >>> genre_matrix(["Drama|War", "Comedy"], ["Drama"])[1]
      ('Comedy', 'Drama', 'War')
    """
    names = sorted({name for text in set(all_genres) for name in text.split("|")})
    column = {name: position for position, name in enumerate(names)}
    hot = np.zeros((len(genres), len(names)), np.float32)
    for row, text in enumerate(genres):
        hot[row, [column[name] for name in text.split("|")]] = 1.0
    return hot, tuple(names)


def tag_matrix(tags: pd.DataFrame, item_ids: np.ndarray) -> np.ndarray:
    """TF-IDF of each item's joined tags, reduced by a truncated SVD.

    The vocabulary and the SVD are fitted on every item that has tags, kept or not, as
    the reference does; with fewer words than components the rest stay zero.

    Args:
      tags: columns movieId and tag.
      item_ids: [I] movieId of the items kept.

    Returns:
      [I, 32] float32; zeros for an item without tags.
    """
    out = np.zeros((len(item_ids), TAG_COMPONENTS), np.float32)
    joined = tags.groupby("movieId")["tag"].agg(" ".join)
    vectorizer = TfidfVectorizer(max_features=TAG_VOCABULARY)
    try:
        weights = vectorizer.fit_transform(joined)
    except ValueError:  # no tags, or none with a word in it: an empty vocabulary
        return out
    components = min(TAG_COMPONENTS, *weights.shape)
    if weights.shape[1] == 1:  # scikit-learn wants two words; one is its own axis
        reduced = weights.toarray()
    else:
        svd = TruncatedSVD(n_components=components, random_state=SVD_SEED)
        with np.errstate(divide="ignore", invalid="ignore"):  # equal rows: 0 / 0
            reduced = svd.fit_transform(weights)
    position = joined.index.get_indexer(pd.Index(item_ids))
    tagged = position >= 0
    out[tagged, :components] = reduced[position[tagged]]
    return out
