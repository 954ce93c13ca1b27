"""Where the model errs, section by section: a drawing, its caption, its figures."""

from typing import NamedTuple

import numpy as np

from ncf_jax.pages import breakdown, diagnostics, embedding
from ncf_jax.pages.breakdown import Groups
from ncf_jax.types import Dataset, Split

USER_EDGES = (0, 1, 5, 20, 50, 100, 200, 500)
ITEM_EDGES = (0, 1, 5, 10, 20, 50, 100, 200)
COLD = 5  # train ratings; an item or user with fewer is called cold
MOST = 24  # groups in a drawing; the smallest are left to the table


class Section(NamedTuple):
    """A part of the page.

    Attributes:
      name: its id.
      title: its heading.
      text: what is said above the drawing.
      svg: the drawing.
      caption: what is to be seen in it.
      groups: the figures behind it, where they are of groups of rows.
    """

    name: str
    title: str
    text: str
    svg: str
    caption: str
    groups: Groups | None = None


def quality(prediction: np.ndarray, dataset: Dataset, rows: np.ndarray) -> list:
    """Calibration, residuals and error by true rating.

    Args:
      prediction: [R, n] stars of the interactions at `rows`.
      dataset: the data set.
      rows: [n] positions.
    """
    truth, user = dataset.rating[rows].astype(np.float64), dataset.user[rows]
    found = breakdown.calibration(prediction, truth, user)
    centre, share = breakdown.residuals(prediction, truth)
    by_true = breakdown.by_groups(prediction, truth, user, *breakdown.half_stars(truth))
    near = share[np.abs(centre) <= 0.5].sum()
    tilt = float((prediction - truth).mean())
    return [
        Section(
            "calibration",
            "Calibration",
            _slope(found.slope),
            diagnostics.calibration(found, name="calibration"),
            "Rows in bins of a quarter star of their predicted rating: mean true "
            "rating with a 95 % interval over users, and below how many rows a bin "
            "has. A calibrated model lies on the dashed line.",
        ),
        Section(
            "residuals",
            "Residuals",
            f"{100 * near:.0f} % of the test rows are missed by about half a star or "
            f"less; in the mean predictions are {abs(tilt):.2f} stars too "
            f"{'high' if tilt > 0 else 'low'}.",
            diagnostics.residuals(centre, share, name="residuals"),
            "Predicted minus true rating, in bins of a quarter star.",
        ),
        Section(
            "true-rating",
            "By true rating",
            "",
            diagnostics.groups(
                by_true,
                name="true-rating",
                title="Error by true rating",
                order="true stars",
                ticks=False,
            ),
            "Extreme ratings are predicted towards the mean by every model that is "
            "not certain, so bias against the true rating is no fault in itself; "
            "calibration is the test of that.",
            by_true,
        ),
    ]


def _slope(slope: float) -> str:
    if not np.isfinite(slope):
        return "All predictions are the same."
    spread = "about as far as they should be"
    if slope < 0.95:
        spread = "too far apart"
    elif slope > 1.05:
        spread = "too close together"
    return (
        f"When the prediction rises by one star, the true rating rises by {slope:.2f} "
        f"stars in the mean: predictions are {spread} (1 is calibrated)."
    )


def errors(
    prediction: np.ndarray, dataset: Dataset, split: Split, rows: np.ndarray
) -> list:
    """Error by user activity, item popularity, genre and decade.

    Where nothing is known of any row's genre there is no such section.
    """
    truth, user = dataset.rating[rows].astype(np.float64), dataset.user[rows]
    item, train = dataset.item[rows], split.train
    active = np.bincount(dataset.user[train], minlength=dataset.num_users)[user]
    popular = np.bincount(dataset.item[train], minlength=dataset.num_items)[item]
    genres = np.asarray(dataset.features.genres)[item] > 0
    year = breakdown.years(dataset.titles)[item]

    def section(
        name: str, title: str, order: str, text: str, member: np.ndarray, labels: list
    ) -> Section | None:
        found = breakdown.by_groups(prediction, truth, user, member, labels)
        if not len(found.labels):
            return None
        if name == "genres":
            found = found.take(np.argsort(-found.rows, kind="stable"))
        shown = found
        if len(found.labels) > MOST:
            largest = np.argsort(-found.rows, kind="stable")[:MOST]
            shown = found.take(np.sort(largest))
            text += f" The {MOST} largest groups are drawn; all are in the table."
        svg = diagnostics.groups(shown, name=name, title=f"Error {title}", order=order)
        return Section(name, title[0].upper() + title[1:], text, svg, "", found)

    sections = [
        section(
            "activity",
            "by user activity",
            "train ratings",
            _cold("users", active),
            *breakdown.bands(active, USER_EDGES),
        ),
        section(
            "popularity",
            "by item popularity, cold items first",
            "train ratings",
            _cold("items", popular),
            *breakdown.bands(popular, ITEM_EDGES),
        ),
        section(
            "genres",
            "by genre",
            "genre",
            "A movie counts in each of its genres.",
            genres,
            list(dataset.genre_names),
        ),
        section(
            "decades",
            "by decade",
            "released",
            "By the year in the title.",
            *breakdown.decades(year),
        ),
    ]
    return [each for each in sections if each is not None]


def _cold(what: str, count: np.ndarray) -> str:
    """How many rows are of cold users or items."""
    few, none = int((count < COLD).sum()), int((count == 0).sum())
    if not few:
        return f"No test row is of {what} with fewer than {COLD} train ratings."
    share = 100 * few / len(count)
    part = f"{share:.1f} %" if share >= 0.05 else "under 0.1 %"
    without = f"{none:,} of them without any" if none else "none of them without any"
    return (
        f"{few:,} test rows ({part}) are of {what} with fewer than {COLD} train "
        f"ratings, {without}."
    )


class Atlas(NamedTuple):
    """The map of item vectors, its key and its caption."""

    svg: str
    key: list[embedding.Key]
    caption: str


def atlas(
    vectors: np.ndarray, dataset: Dataset, split: Split, seeds: int
) -> Atlas | None:
    """The map of the most rated items, or None where vectors show nothing.

    Args:
      vectors: [I, D] of the first seed.
      dataset: the data set.
      split: whose train ratings are counted.
      seeds: how many the run has.
    """
    rated = np.bincount(dataset.item[split.train], minlength=dataset.num_items)
    genres = np.asarray(dataset.features.genres).copy()
    for column, name in enumerate(dataset.genre_names):
        if name.startswith("(no genres"):
            genres[:, column] = 0  # two movies without any have nothing in common
    found = embedding.project(vectors, genres, rated)
    if found is None:
        return None
    svg = embedding.draw(
        found, genres, dataset.genre_names, dataset.titles, dataset.genres, name="map"
    )
    count, of = len(found.item), dataset.num_items
    which = f"the {count:,} most rated of {of:,} items" if count < of else "all items"
    first, second = (f"{100 * share:.1f} %" for share in found.variance)
    near, chance = (f"{100 * share:.0f} %" for share in (found.near, found.chance))
    ratio = found.near / found.chance if found.chance else float("inf")
    says = "the vectors hold a good deal about genres"
    if ratio < 1.1:
        says = "the vectors hold next to nothing about genres"
    elif ratio < 1.4:
        says = "the vectors hold a little about genres"
    caption = (
        f"The learned vectors of {which}, {found.width} dimensions"
        f"{', of the first seed' if seeds > 1 else ''}, on their first two principal "
        f"components, which hold {first} and {second} of the variance; the rest is not "
        f"to be seen here. In all dimensions, {near} of an item's ten nearest "
        f"neighbours have a genre in common with it; of any two of these items it is "
        f"{chance}: {says}. A point has the colour of the rarest of the movie's "
        f"coloured genres."
    )
    return Atlas(svg, embedding.keys(found, genres, dataset.genre_names), caption)
