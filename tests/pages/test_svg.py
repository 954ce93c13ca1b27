"""A drawing made fit for the inside of a page.

Held here: colours are the style sheet's, ids are the drawing's own, text is text and
escaped, nothing is fetched, the same drawing is the same bytes, and settings of
matplotlib made elsewhere neither matter nor change.
"""

import re
import xml.etree.ElementTree as ET

import matplotlib
import pytest

from ncf_jax.pages import svg

LABEL = '<b> & "x" $\\alpha$ ]]>'


def make(name="one", colour=svg.ACCENT):
    with svg.settings():
        drawing = svg.Drawing(200, 100)
        axes = drawing.panel(40, 10, 150, 60)
        axes.plot([1, 2, 3], [1, 3, 2], "o-", color=colour)
        axes.set_xlabel(LABEL)
        return drawing.finish(name, "A title & more", "What is <seen>")


def test_it_is_one_well_formed_element_of_the_given_size():
    root = ET.fromstring(make())
    assert root.tag == "svg"
    assert root.attrib["viewBox"] == "0 0 200 100"
    assert "width" not in root.attrib


def test_colours_are_variables_and_no_other_colour_is_left():
    found = make()
    assert "var(--accent)" in found
    assert re.findall(r"#[0-9a-f]{6}\b", found) == []
    assert "#d62728" in make(colour="#d62728"), "the check would see another colour"


def test_text_stays_text_escaped_and_in_the_font_of_the_page():
    found = make()
    texts = [element.text for element in ET.fromstring(found).iter("text")]
    assert LABEL in texts
    assert "<b>" not in found
    assert "font-family" not in found
    assert "DejaVu" not in found


def test_who_cannot_see_it_is_told_what_there_is():
    root = ET.fromstring(make())
    assert root.attrib["role"] == "img"
    named = root.attrib["aria-labelledby"].split()
    texts = {e.attrib["id"]: e.text for e in root if e.tag in ("title", "desc")}
    assert [texts[name] for name in named] == ["A title & more", "What is <seen>"]


def test_ids_of_two_drawings_are_different_and_each_reference_has_one():
    one, two = make("one"), make("two")
    ids = [set(re.findall(r'\bid="([^"]+)"', found)) for found in (one, two)]
    assert ids[0]
    assert not ids[0] & ids[1]
    for found, known in zip((one, two), ids, strict=True):
        used = re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', found)
        assert used
        assert {a or b for a, b in used} <= known


def test_nothing_is_fetched_and_nothing_is_said_of_when_it_was_made():
    found = make()
    for forbidden in ("http", "<style", "metadata", "<?xml", "DOCTYPE", "matplotlib"):
        assert forbidden not in found


def test_the_same_drawing_is_the_same_bytes():
    assert make() == make()


def test_settings_made_elsewhere_neither_matter_nor_change():
    wanted = make()
    with matplotlib.rc_context(
        {"font.size": 30, "axes.grid": True, "lines.color": "r"}
    ):
        assert make() == wanted
        assert matplotlib.rcParams["font.size"] == 30
        with pytest.raises(ZeroDivisionError), svg.settings():
            raise ZeroDivisionError
        assert matplotlib.rcParams["font.size"] == 30


def test_the_form_of_older_matplotlib_is_understood_too():
    old = (
        b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"><g id="text_1">'
        b"<text style=\"font: 700 9.5px 'DejaVu Sans', sans-serif; fill: #010101\" "
        b'transform="rotate(-0 1 2)" x="1.23456">a</text></g></svg>'
    )
    found = svg.clean(old, "n", "t", "d")
    assert '<text style="font-weight: 700; font-size: 9.5px; fill: var(--ink)"' in found
    assert "transform" not in found
    assert 'x="1.23"' in found
    assert "<g" not in found


def test_a_panel_is_where_it_was_put():
    with svg.settings():
        axes = svg.Drawing(200, 100).panel(40, 10, 150, 60)
    box = axes.get_position()
    assert [box.x0 * 200, (1 - box.y1) * 100] == pytest.approx([40, 10])
    assert [box.width * 200, box.height * 100] == pytest.approx([150, 60])
