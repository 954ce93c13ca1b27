"""What tests ask of a drawing: its texts, and where its marks are."""

import re
import xml.etree.ElementTree as ET


def texts(svg):
    return [element.text for element in ET.fromstring(svg).iter("text")]


def described(svg):
    return ET.fromstring(svg).find("desc").text


def marks(svg, colour):
    """(x, y) of each marker of a colour; tick marks of axes have another."""
    found = []
    for use in ET.fromstring(svg).iter("use"):
        if f"stroke: var(--{colour})" in use.attrib.get("style", ""):
            found.append((float(use.attrib["x"]), float(use.attrib["y"])))
    return found


def lines(svg, colour):
    """[(x, y), …] of each path of a colour that is drawn and not defined."""
    root, found = ET.fromstring(svg), []
    defined = {id(path) for defs in root.iter("defs") for path in defs.iter("path")}
    for path in root.iter("path"):
        if id(path) in defined:
            continue
        if f"stroke: var(--{colour})" in path.attrib.get("style", ""):
            numbers = re.findall(r"[ML] (-?[\d.]+) (-?[\d.]+)", path.attrib["d"])
            found.append([(float(x), float(y)) for x, y in numbers])
    return found
