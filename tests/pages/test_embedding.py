"""The map of item vectors.

Held here: places are those of a singular value decomposition, the most rated items are
shown, neighbours are counted as a loop counts them, vectors that know genres show it
and random ones do not, and every title is on the map, escaped.
"""

import html
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from ncf_jax.pages import embedding
from tests.pages import worlds

ITEMS, GENRES = 80, 5


def make(knows=True, items=ITEMS, width=6, seed=0):
    """Vectors near their genre's centre, or near nothing."""
    rng = np.random.default_rng(seed)
    genre = np.arange(items) % GENRES
    centre = rng.standard_normal((GENRES, width))[genre] * (3 if knows else 0)
    vectors = centre + 0.3 * rng.standard_normal((items, width))
    return vectors, np.eye(GENRES)[genre], rng.permutation(items)


def test_places_are_the_first_two_principal_components():
    vectors, genres, rated = make()
    found = embedding.project(vectors, genres, rated)
    shown = vectors[found.item] - vectors.mean(axis=0)
    left, values, _ = np.linalg.svd(shown, full_matrices=False)
    for axis in range(2):
        ours, wanted = found.place[:, axis], left[:, axis] * values[axis]
        assert abs(np.corrcoef(ours, wanted)[0, 1]) == pytest.approx(1)
        assert np.abs(ours) == pytest.approx(np.abs(wanted), abs=1e-8)
    share = values**2 / (values**2).sum()
    assert found.variance == pytest.approx(share[:2])


def test_the_most_rated_items_are_shown_in_their_order():
    vectors, genres, rated = make()
    found = embedding.project(vectors, genres, rated, limit=10)
    assert found.item.tolist() == np.argsort(-rated)[:10].tolist()
    assert found.width == 6


def test_neighbours_are_those_that_a_loop_finds():
    vectors, genres, rated = make(knows=False)
    found = embedding.project(vectors, genres, rated)
    near, chance = [], []
    length = [np.sqrt(sum(x**2 for x in vector)) for vector in vectors]
    for a in range(ITEMS):
        cosine = {
            b: vectors[a] @ vectors[b] / length[a] / length[b]
            for b in range(ITEMS)
            if b != a
        }  # fmt: skip
        common = {b: bool(genres[a] @ genres[b]) for b in cosine}
        nearest = sorted(cosine, key=lambda b: -cosine[b])[: embedding.NEIGHBOURS]
        near += [common[b] for b in nearest]
        chance += list(common.values())
    assert found.near == pytest.approx(np.mean(near))
    assert found.chance == pytest.approx(np.mean(chance))


def test_vectors_that_know_genres_show_it_and_others_do_not():
    knowing, blind = (embedding.project(*make(knows)) for knows in (True, False))
    assert knowing.near > 0.9
    assert blind.near == pytest.approx(blind.chance, abs=0.1)


@pytest.mark.parametrize(
    "vectors",
    [
        np.zeros((ITEMS, 4)),
        np.ones((ITEMS, 4)),
        np.random.default_rng(0).random((ITEMS, 1)),
        np.random.default_rng(0).random((2, 4)),
        np.full((ITEMS, 4), np.nan),
    ],
    ids=["zeros", "all the same", "single numbers", "two items", "not finite"],
)
def test_where_there_is_nothing_to_see_there_is_no_map(vectors):
    genres = np.ones((len(vectors), 2))
    assert embedding.project(vectors, genres, np.arange(len(vectors))) is None


def test_a_vector_that_is_not_finite_is_left_out():
    vectors, genres, rated = make()
    vectors[3] = np.inf
    found = embedding.project(vectors, genres, rated)
    assert 3 not in found.item
    assert len(found.item) == ITEMS - 1


class TestColours:
    def test_the_most_frequent_genres_have_colours(self):
        vectors, _, rated = make(items=40)
        genres = np.arange(8) < np.arange(40)[:, None] % 9  # genre 0 is the commonest
        found = embedding.project(vectors, genres, rated)
        key = embedding.keys(found, genres, tuple("abcdefgh"))
        assert [each.name for each in key] == list("abcdefgh")
        assert [each.colour for each in key] == [1, 2, 3, 4, 5, 6, 0, 0]
        assert [each.items for each in key] == genres.sum(axis=0).tolist()

    def test_a_movie_has_the_colour_of_its_rarest_coloured_genre(self):
        vectors, _, rated = make(items=40)
        genres = np.arange(8) < np.arange(40)[:, None] % 9
        found = embedding.project(vectors, genres, rated)
        key = embedding.keys(found, genres, tuple("abcdefgh"))
        colour = embedding.colours(found, genres, key)
        has = genres[found.item].sum(axis=1)
        assert colour.tolist() == np.minimum(has, 6).tolist()

    def test_a_genre_that_no_item_has_is_not_in_the_key(self):
        vectors, genres, rated = make()
        genres[:, 2] = 0
        found = embedding.project(vectors, genres, rated)
        assert [k.name for k in embedding.keys(found, genres, tuple("abcde"))] == list(
            "abde"
        )


@pytest.fixture(scope="module")
def drawn():
    dataset = worlds.make_dataset()
    vectors = np.random.default_rng(0).standard_normal((dataset.num_items, 4))
    genres = np.asarray(dataset.features.genres)
    found = embedding.project(vectors, genres, np.arange(dataset.num_items))
    svg = embedding.draw(
        found, genres, dataset.genre_names, dataset.titles, dataset.genres, name="m"
    )
    return dataset, found, svg


class TestDrawing:
    def dots(self, svg):
        return [
            e
            for e in ET.fromstring(svg).iter("use")
            if "dot" in e.attrib.get("class", "")
        ]

    def test_each_item_is_a_point_with_its_title_and_genres(self, drawn):
        dataset, found, svg = drawn
        titles = [dot.find("title").text for dot in self.dots(svg)]
        wanted = {
            f"{dataset.titles[i]}: {dataset.genres[i].replace('|', ', ')}"
            for i in found.item
        }
        assert set(titles) == wanted
        assert len(titles) == len(found.item)
        assert worlds.TITLE not in svg
        assert html.escape(worlds.TITLE, quote=False) in svg

    def test_points_lie_as_the_components_do(self, drawn):
        dataset, found, svg = drawn
        names = [f"{dataset.titles[i]}:" for i in found.item]
        place = {}
        for dot in self.dots(svg):
            title = dot.find("title").text
            (n,) = [n for n, name in enumerate(names) if title.startswith(name)]
            place[n] = float(dot.attrib["x"]), float(dot.attrib["y"])
        x, y = np.array([place[n] for n in range(len(names))]).T
        assert np.corrcoef(x, found.place[:, 0])[0, 1] == pytest.approx(1, abs=1e-4)
        assert np.corrcoef(y, found.place[:, 1])[0, 1] == pytest.approx(-1, abs=1e-4)
        assert (x > 0).all()
        assert (x < embedding.SIDE).all()

    def test_points_can_be_picked_by_each_of_their_genres(self, drawn):
        dataset, _, svg = drawn
        for dot in self.dots(svg):
            title = dot.find("title").text
            has = {f"g{n}" for n, name in enumerate(dataset.genre_names)
                   if name in title.rpartition(": ")[2].split(", ")}  # fmt: skip
            classes = set(dot.attrib["class"].split())
            assert {c for c in classes if c[0] == "g"} == has

    def test_shapes_are_defined_and_of_this_drawing(self, drawn):
        _, _, svg = drawn
        for dot in self.dots(svg):
            assert f'id="{dot.attrib["href"][1:]}"' in svg
            assert dot.attrib["href"].startswith("#m-s")
