"""What is known of items: genres -> [I, G], tags -> [I, T]."""

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import CountVectorizer, TfidfTransformer

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
    code, distinct = pd.factorize(np.array(genres, object))
    hot = np.zeros((len(distinct), len(names)), np.float32)
    for row, text in enumerate(distinct):
        hot[row, [column[name] for name in text.split("|")]] = 1.0
    return hot[code], tuple(names)


def release_year(titles: Sequence[str]) -> np.ndarray:
    """Year at the end of each title, as `(1995)`: [I] float32, 0 without one.

    Example:
      >>> release_year(["Heat (1995)", "Brazil", "1984 (1984) "]).tolist()
      [1995.0, 0.0, 1984.0]
    """
    found = [re.search(r"\((\d{4})\)\s*$", title) for title in titles]
    years = [float(match[1]) if match else 0.0 for match in found]
    return np.array(years, np.float32)


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
    counts, movies = _word_counts(tags)
    if not counts.shape[1]:
        return out
    weights = TfidfTransformer().fit_transform(counts)
    components = min(TAG_COMPONENTS, *weights.shape)
    if weights.shape[1] == 1:  # scikit-learn wants two words; one is its own axis
        reduced = weights.toarray()
    else:
        svd = TruncatedSVD(n_components=components, random_state=SVD_SEED)
        with np.errstate(divide="ignore", invalid="ignore"):  # equal rows: 0 / 0
            reduced = svd.fit_transform(weights)
    position = movies.get_indexer(pd.Index(item_ids))
    tagged = position >= 0
    out[tagged, :components] = reduced[position[tagged]]
    return out


def _word_counts(tags: pd.DataFrame) -> tuple[csr_matrix, pd.Index]:
    """How often each movie's tags hold each word of the vocabulary.

    What `CountVectorizer(max_features=100)` finds in each movie's joined tags. No word
    reaches over the space between two tags, so each distinct tag is read once, and the
    movies' counts are a product of two sparse matrices.

    Returns:
      [M, words] counts, and the M movieIds in ascending order; no column when there is
      no word.
    """
    movie, movies = pd.factorize(tags["movieId"], sort=True)
    text, texts = pd.factorize(tags["tag"])
    try:
        in_text = CountVectorizer(dtype=np.float64).fit_transform(texts)
    except ValueError:  # no tags, or none with a word in it: an empty vocabulary
        return csr_matrix((len(movies), 0)), movies
    ones = np.ones(len(tags))
    written = csr_matrix((ones, (movie, text)), shape=(len(movies), len(texts)))
    counts = written @ in_text
    # The most frequent words; equals fall as scikit-learn's own argsort has them.
    total = np.asarray(counts.sum(axis=0)).ravel()
    counts = counts[:, np.sort((-total).argsort()[:TAG_VOCABULARY])]
    counts.sort_indices()
    return counts, movies
