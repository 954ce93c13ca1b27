"""Draws for synthetic worlds of MovieLens-32M's size, in blocks of bounded memory.

Nothing here is of size users x items, and nothing loops over users, ratings or tags.
Memory is 8 bytes a rating for the result and some 100 MB for the block at work.
"""

from typing import NamedTuple

import numpy as np

SPREAD, LIMIT = 2.3, 3.5  # of log popularity; no item is further out than LIMIT
ROUNDS = 6
BLOCK = 2**20  # ratings drawn at once
CELLS = 2**22  # of a dense users x items block
TAGGER_SHARE, NAMED_SHARE = 0.08, 0.5
WORDS, PHRASES, MOST_WORDS = 3_000, 20_000, 3
TAGGED_FROM = 1_540_000_000


class Tags(NamedTuple):
    """Tags by column.

    Attributes:
      user: [n] from 0.
      item: [n] from 0.
      text: [n] str.
      time: [n] seconds.
    """

    user: np.ndarray
    item: np.ndarray
    text: np.ndarray
    time: np.ndarray


def popularity(rng: np.random.Generator, items: int) -> np.ndarray:
    """[I] log weights: a third of the movies of a large world are hardly rated."""
    return SPREAD * np.minimum(rng.normal(0, 1, items), LIMIT)


def activity(
    rng: np.random.Generator, users: int, total: int, least: int, most: int
) -> np.ndarray:
    """Ratings of each user [U], `least` to `most`, log-normal, of the very sum `total`.

    Example:
      >>> int(activity(np.random.default_rng(0), 50, 1234, 20, 80).sum())
      1234
    """
    assert users * least <= total <= users * most
    share = rng.lognormal(-0.5, 1.0, users)
    counts = np.full(users, least)
    while missing := total - int(counts.sum()):
        room = most - counts
        weight = share * (room > 0)
        more = (missing * (weight / weight.sum())).astype(int)
        if not more.any():  # less than one each: one to some
            more[rng.permutation(np.flatnonzero(room > 0))[:missing]] = 1
        counts += np.minimum(more, room)
    return counts


def pairs(
    rng: np.random.Generator, counts: np.ndarray, log_weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """For each user so many different items, drawn one after the other by weight.

    Args:
      rng: of the draws.
      counts: [U] items of each user, fewer than I.
      log_weight: [I].

    Returns:
      user and item, [N] int32, sorted by user and then item.
    """
    weight = np.exp(log_weight - log_weight.max())
    cumulative = np.cumsum(weight)
    cumulative /= cumulative[-1]
    ends = np.cumsum(counts)
    item = np.empty(int(ends[-1]), np.int32)
    start = 0
    while start < len(counts):
        before = int(ends[start] - counts[start])
        stop = int(np.searchsorted(ends, before + BLOCK, side="right"))
        stop = max(stop, start + 1)
        found = _distinct(rng, counts[start:stop], cumulative, log_weight)
        item[before : ends[stop - 1]] = found
        start = stop
    return np.repeat(np.arange(len(counts), dtype=np.int32), counts), item


def _distinct(
    rng: np.random.Generator,
    counts: np.ndarray,
    cumulative: np.ndarray,
    log_weight: np.ndarray,
) -> np.ndarray:
    """The first `counts` distinct items of endless draws, sorted within each user.

    Draws come in rounds, each larger than what is missing; users for whom rounds would
    never end, who rate most of the items, are finished by `gumbel_choice`, which
    continues the same succession of draws.
    """
    items, everybody = len(cumulative), np.arange(len(counts))
    kept, done = np.empty(0, np.int64), []  # user * items + item, in order of drawing
    have = np.zeros_like(counts)
    for _ in range(ROUNDS):
        user = np.repeat(everybody, np.where(have < counts, (counts - have) * 2, 0))
        item = np.searchsorted(cumulative, rng.random(len(user)), side="right")
        drawn = np.concatenate([kept, user * items + item])
        drawn = drawn[np.sort(np.unique(drawn, return_index=True)[1])]
        drawn = drawn[np.argsort(drawn // items, kind="stable")]
        user = drawn // items
        found = np.bincount(user, minlength=len(counts))
        rank = np.arange(len(drawn)) - (np.cumsum(found) - found)[user]
        wanted = rank < counts[user]
        drawn, user = drawn[wanted], user[wanted]
        have = np.maximum(have, np.minimum(found, counts))
        short = have[user] < counts[user]
        done.append(drawn[~short])
        kept = drawn[short]
        if not len(kept):
            break
    done.append(kept)
    unfinished = np.flatnonzero(have < counts)
    for some in np.array_split(unfinished, max(1, len(unfinished) * items // CELLS)):
        own = kept[np.isin(kept // items, some)]
        taken = np.searchsorted(some, own // items), own % items
        need = (counts - have)[some]
        row, item = gumbel_choice(rng, log_weight, need, taken)
        done.append(some[row] * items + item)
    return np.sort(np.concatenate(done)) % items


def gumbel_choice(
    rng: np.random.Generator,
    log_weight: np.ndarray,
    counts: np.ndarray,
    taken: tuple[np.ndarray, np.ndarray] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """For each row `counts` of the items, without replacement, by weight.

    Args:
      rng: of the draws.
      log_weight: [I].
      counts: [R].
      taken: rows and items that cannot be chosen any more.

    Returns:
      rows and items, sorted by row and then item.
    """
    # The n largest of log weight + Gumbel noise: n draws without replacement.
    keys = log_weight + rng.gumbel(size=(len(counts), len(log_weight)))
    if taken is not None:
        keys[taken] = -np.inf
    order = np.argsort(-keys, axis=1)
    first = np.arange(len(log_weight)) < counts[:, None]
    mask = np.zeros_like(first)
    np.put_along_axis(mask, order, first, axis=1)
    row, item = np.nonzero(mask)
    return row, item


def tags(
    rng: np.random.Generator,
    user: np.ndarray,
    item: np.ndarray,
    word: np.ndarray,
    words: np.ndarray,
    count: int,
) -> Tags:
    """Tags by few users on what they rated: half name the item, half are free text.

    Args:
      rng: of the draws.
      user: [N] of the ratings.
      item: [N] of the ratings.
      word: [I] position in `words` of the word that names the item.
      words: the words that name items.
      count: of tags.
    """
    taggers = rng.random(int(user.max()) + 1) < TAGGER_SHARE
    taggers[0] = True  # so that there is one
    picked = np.sort(rng.choice(np.flatnonzero(taggers[user]), count))
    texts = np.concatenate([words, _phrases(rng)])
    naming = rng.random(count) < NAMED_SHARE
    free = len(words) + _by_rank(rng, PHRASES, count)
    which = np.where(naming, word[item[picked]], free)
    return Tags(
        user[picked], item[picked], texts[which], TAGGED_FROM + np.arange(count)
    )


def _phrases(rng: np.random.Generator) -> np.ndarray:
    """Texts of one to three made-up words each, few of them frequent."""
    syllables = np.array([a + b for a in "bdfgklmnprstv" for b in "aeiou"], object)
    made = syllables[rng.integers(0, len(syllables), (WORDS, MOST_WORDS))].sum(axis=1)
    chosen = made[_by_rank(rng, WORDS, PHRASES * MOST_WORDS)].reshape(PHRASES, -1)
    lengths = rng.integers(1, MOST_WORDS + 1, PHRASES)
    texts = [
        " ".join(row[:length]) for row, length in zip(chosen, lengths, strict=True)
    ]
    return np.array(texts, object)


def _by_rank(rng: np.random.Generator, ranks: int, count: int) -> np.ndarray:
    """`count` draws of 0 to `ranks - 1`; a rank's chance falls as one over it."""
    cumulative = np.cumsum(1 / np.arange(10, ranks + 10))
    drawn = rng.random(count) * cumulative[-1]
    return np.minimum(np.searchsorted(cumulative, drawn, side="right"), ranks - 1)
