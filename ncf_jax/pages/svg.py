"""A matplotlib figure as an SVG element for the inside of a page.

Colours are variables of the page's style sheet, so that one drawing serves light, dark
and print; text stays text, in the page's font; ids are unique to the drawing; nothing
refers to anything outside. A figure is laid out in CSS pixels, 72 to an inch.
"""

import io
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

# What matplotlib is told, and the variable that stands there in the page.
INK, MUTED, RULE, ACCENT = "#010101", "#010102", "#010103", "#010104"
OTHER, PAPER, WARN = "#010105", "#010106", "#010107"
VARIABLES = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    RULE: "var(--rule)",
    ACCENT: "var(--accent)",
    OTHER: "var(--other)",
    PAPER: "var(--paper)",
    WARN: "var(--warn)",
}
SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "ncf_jax",  # ids are the same each time
    "text.parse_math": False,  # a title may hold dollar signs
    "font.size": 10,
    "axes.edgecolor": RULE,
    "axes.labelcolor": MUTED,
    "axes.labelsize": 10,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": RULE,
    "xtick.labelcolor": MUTED,
    "ytick.color": RULE,
    "ytick.labelcolor": MUTED,
    "xtick.labelsize": 10,
    "ytick.labelsize": 10,
    "text.color": INK,
}
FONT = re.compile(r"font: (?:(\w+) )?([\d.]+)px [^;]*")  # matplotlib below 3.11
FAMILY = re.compile(r"font-family: [^;]*;? ?")
DECIMALS = re.compile(r"-?\d+\.\d{3,}")


class Drawing:
    """A figure of `width` x `height` pixels and its panels."""

    def __init__(self, width: float, height: float) -> None:
        """Starts empty, with a transparent ground."""
        self.width, self.height = width, height
        self.figure = Figure(figsize=(width / 72, height / 72), dpi=72)
        self.figure.patch.set_visible(False)
        FigureCanvasSVG(self.figure)

    def panel(self, left: float, top: float, width: float, height: float) -> Axes:
        """Axes at a place in pixels from the top left corner."""
        box = (
            left / self.width,
            1 - (top + height) / self.height,
            width / self.width,
            height / self.height,
        )
        axes = self.figure.add_axes(box)
        axes.patch.set_visible(False)
        return axes

    def finish(self, name: str, title: str, text: str) -> str:
        """The drawing as an `<svg>` element.

        Args:
          name: an id that no other drawing of the page has.
          title: what it shows, for who cannot see it.
          text: what there is to see in it.
        """
        out = io.BytesIO()
        # No date, no creator: the same drawing is the same bytes.
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        self.figure.savefig(out, format="svg", metadata=nothing)
        return clean(out.getvalue(), name, title, text)


@contextmanager
def settings() -> Iterator[None]:
    """A context in which figures are made: our settings and nobody else's."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(SETTINGS)
        yield


def clean(content: bytes, name: str, title: str, text: str) -> str:
    """What matplotlib wrote, made ready for the inside of a page; see `finish`."""
    root = ET.fromstring(content)
    for parent in list(root.iter()):
        for child in list(parent):
            kind = _local(child.tag)
            style = kind == "defs" and any(_local(c.tag) == "style" for c in child)
            if kind == "metadata" or style:
                parent.remove(child)
    used = set()
    for element in root.iter():
        for value in element.attrib.values():
            used |= set(re.findall(r"^#(.+)$|url\(#(.+?)\)", value))
    wanted = {each for pair in used for each in pair if each}
    for element in root.iter():
        element.tag = _local(element.tag)
        element.attrib = {
            key: value
            for key, value in (_attribute(*a, name, wanted) for a in _plain(element))
            if value
        }
        element.tail = None
        if element.tag != "text" and not (element.text or "").strip():
            element.text = None
    _flatten(root)
    root.attrib = {
        "viewBox": root.attrib["viewBox"],
        "role": "img",
        "aria-labelledby": f"{name}-title {name}-desc",
    }
    for place, (tag, words) in enumerate((("title", title), ("desc", text))):
        element = ET.Element(tag, {"id": f"{name}-{tag}"})
        element.text = words
        root.insert(place, element)
    return ET.tostring(root, encoding="unicode")


def _local(tag: str) -> str:
    return tag.rpartition("}")[2]


def _plain(element: ET.Element) -> list[tuple[str, str]]:
    return [(_local(key), value) for key, value in element.attrib.items()]


def _attribute(key: str, value: str, name: str, wanted: set[str]) -> tuple[str, str]:
    if key == "id":
        return key, f"{name}-{value}" if value in wanted else ""
    if key == "href":
        return key, value.replace("#", f"#{name}-")
    value = value.replace("url(#", f"url(#{name}-")
    if key == "style":
        for colour, variable in VARIABLES.items():
            value = value.replace(colour, variable)
        value = FAMILY.sub("", FONT.sub(_font, value))
    if key in ("d", "x", "y", "transform", "points"):
        value = DECIMALS.sub(lambda match: f"{float(match[0]):.2f}", value)
        value = " ".join(value.split())
    if key == "transform" and value.startswith("rotate(-0 "):
        return key, ""
    return key, value


def _font(match: re.Match) -> str:
    weight = f"font-weight: {match[1]}; " if match[1] else ""
    return f"{weight}font-size: {float(match[2]):g}px"


def _flatten(element: ET.Element) -> None:
    """Takes away groups that say nothing."""
    for child in list(element):
        _flatten(child)
    children: list[ET.Element] = []
    for child in element:
        if child.tag == "g" and not child.attrib:
            children.extend(child)
        else:
            children.append(child)
    element[:] = children
