"""A map of the items' learned vectors, and whether neighbours have genres in common.

The map is the first two principal components, with the share of the variance that they
hold. Unlike t-SNE it is the same each time, quick, and shows no clusters where there
are none; where it shows little, the share says so, and the neighbours are counted in
all dimensions.
"""

from html import escape
from typing import NamedTuple

import numpy as np

from ncf_jax.pages.figures import ours
from ncf_jax.pages.svg import RULE, Drawing

LIMIT = 1000  # items: more cannot be told apart, and each is a title in the page
NEIGHBOURS = 10
COLOURED = 6  # genres with a colour and a shape of their own
SIDE = 340
# Paths around the origin, of about the same area; the last one is of all other genres.
SHAPES = (
    "M-2.4 0a2.4 2.4 0 1 0 4.8 0a2.4 2.4 0 1 0-4.8 0z",
    "M-2.2-2.2h4.4v4.4h-4.4z",
    "M0-3L2.8 2.1H-2.8z",
    "M0-3.1L3.1 0L0 3.1L-3.1 0z",
    "M0 3L2.8-2.1H-2.8z",
    "M-1-2.9h2v1.9h1.9v2h-1.9v1.9h-2v-1.9h-1.9v-2h1.9z",
    "M-1.6 0a1.6 1.6 0 1 0 3.2 0a1.6 1.6 0 1 0-3.2 0z",
)


class Map(NamedTuple):
    """P items on two axes.

    Attributes:
      item: [P] item index, the most rated ones.
      place: [P, 2] on the first two principal components.
      variance: share of these items' variance on each of the two axes.
      near: share of an item's nearest neighbours (cosine, all dimensions) that have a
        genre in common with it.
      chance: that share among all pairs of these items.
      width: dimensions of the vectors.
    """

    item: np.ndarray
    place: np.ndarray
    variance: tuple[float, float]
    near: float
    chance: float
    width: int


def project(
    vectors: np.ndarray, genres: np.ndarray, rated: np.ndarray, limit: int = LIMIT
) -> Map | None:
    """The map of the most rated items, or None where there is nothing to see.

    Args:
      vectors: [I, D].
      genres: [I, G] 1 where the item has the genre.
      rated: [I] train ratings of each item.
      limit: items at most.
    """
    item = np.argsort(-rated, kind="stable")[:limit]
    item = item[np.isfinite(vectors[item]).all(axis=1)]
    shown = np.asarray(vectors[item], np.float64)
    if len(item) < 3 or shown.shape[1] < 2 or np.ptp(shown, axis=0).max() == 0:
        return None
    from sklearn.decomposition import PCA

    found = PCA(2, svd_solver="full").fit(shown)
    length = np.linalg.norm(shown, axis=1, keepdims=True)
    unit = shown / np.maximum(length, 1e-12)
    cosine = unit @ unit.T
    np.fill_diagonal(cosine, -np.inf)
    count = min(NEIGHBOURS, len(item) - 1)
    nearest = np.argsort(-cosine, axis=1, kind="stable")[:, :count]
    has = np.asarray(genres[item], np.float64)
    common = has @ has.T > 0
    others = ~np.eye(len(item), dtype=bool)
    first, second = map(float, found.explained_variance_ratio_)
    return Map(
        item=item,
        place=found.transform(shown),
        variance=(first, second),
        near=float(np.take_along_axis(common, nearest, axis=1).mean()),
        chance=float(common[others].mean()),
        width=shown.shape[1],
    )


class Key(NamedTuple):
    """One genre of the map's key.

    Attributes:
      name: of the genre.
      number: its column in the features.
      colour: from 1, or 0: none of its own.
      items: on the map, that have it.
    """

    name: str
    number: int
    colour: int
    items: int


def keys(found: Map, genres: np.ndarray, names: tuple[str, ...]) -> list[Key]:
    """The genres on the map, the most frequent first; the first few have colours."""
    count = np.asarray(genres[found.item]).sum(axis=0).astype(int)
    order = [int(g) for g in np.argsort(-count, kind="stable") if count[g]]
    return [
        Key(names[g], g, n + 1 if n < COLOURED else 0, int(count[g]))
        for n, g in enumerate(order)
    ]


def colours(found: Map, genres: np.ndarray, key: list[Key]) -> np.ndarray:
    """[P] the colour of each item: of its coloured genres the rarest one; 0: none."""
    colour = np.zeros(len(found.item), int)
    for each in key[:COLOURED]:  # the rarest comes last and has the last word
        colour[genres[found.item][:, each.number] > 0] = each.colour
    return colour


@ours
def draw(
    found: Map,
    genres: np.ndarray,
    names: tuple[str, ...],
    titles: tuple[str, ...],
    texts: tuple[str, ...],
    *,
    name: str,
) -> str:
    """The map; each point has its movie's title and genres, and classes to pick it by.

    Args:
      found: from `project`.
      genres: [I, G].
      names: G genres.
      titles: I titles.
      texts: I genre strings.
      name: an id that no other drawing of the page has.
    """
    drawing = Drawing(SIDE, SIDE)
    axes = drawing.panel(6, 6, SIDE - 12, SIDE - 12)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.axhline(0, color=RULE, linewidth=0.5)
    axes.axvline(0, color=RULE, linewidth=0.5)
    reach = 1.05 * np.abs(found.place).max()
    axes.set_xlim(-reach, reach)
    axes.set_ylim(-reach, reach)
    axes.spines[:].set_visible(True)
    place = axes.transData.transform(found.place)
    key = keys(found, genres, names)
    colour = colours(found, genres, key)
    points = []
    # Those without a colour lie below, so that they hide none that has one.
    for n in np.argsort(colour > 0, kind="stable"):
        item = found.item[n]
        has = " ".join(f"g{g}" for g in np.flatnonzero(genres[item]))
        shape = (colour[n] - 1) % len(SHAPES)
        words = escape(f"{titles[item]}: {texts[item].replace('|', ', ')}", quote=False)
        points.append(
            f'<use href="#{name}-s{shape}" x="{place[n, 0]:.1f}" '
            f'y="{SIDE - place[n, 1]:.1f}" class="dot c{colour[n]} {has}">'
            f"<title>{words}</title></use>"
        )
    shapes = "".join(
        f'<path id="{name}-s{n}" d="{path}" transform="scale(.8)"/>'
        for n, path in enumerate(SHAPES)
    )
    frame = drawing.finish(
        name,
        "Map of the item vectors",
        f"{len(points):,} items on the first two principal components.",
    )
    inside = f"<defs>{shapes}</defs><g>{''.join(points)}</g></svg>"
    return frame.removesuffix("</svg>") + inside
