"""A figure as files, and as a part of a page that is light or dark."""

import hashlib
import io
import re
from collections.abc import Mapping
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from matplotlib.figure import Figure

from slurm_bench.steps.figures.ink import INK, PAPER, drawing

_METADATA: Mapping[str, Mapping[str, None]] = {
    "svg": dict.fromkeys(("Date", "Creator", "Format", "Type")),
    "pdf": {"CreationDate": None},
    "png": {},
}
_PNG_DPI = 200

_OF_PAGE = {INK: "currentColor", PAPER: "var(--page, Canvas)"}
"""What a page says in place of a colour: its text's, and its background's (to fill hollow marks)."""

_COLOUR = re.compile("|".join(_OF_PAGE))


def files(figure: Figure) -> dict[str, bytes]:
    """By suffix; the same figure gives the same bytes."""
    return {suffix: _file(figure, suffix) for suffix in _METADATA}


def _file(figure: Figure, suffix: str, transparent: bool = False) -> bytes:
    content = io.BytesIO()
    with drawing():
        figure.savefig(content, format=suffix, dpi=_PNG_DPI, metadata=_METADATA[suffix], transparent=transparent)
    return content.getvalue()


def inline(figure: Figure, title: str, description: str) -> str:
    """An <svg> element for a page: as wide as its place, in the page's own ink, no background.

    Args:
        title, description: for who cannot see it.
    """
    root = ElementTree.fromstring(_file(figure, "svg", transparent=True))
    _forget_namespaces(root)
    _drop(root, "metadata", "style")
    prefix = f"figure-{hashlib.sha256(ElementTree.tostring(root) + title.encode()).hexdigest()[:10]}-"
    _prefix_names(root, prefix)
    _use_colours_of_page(root)
    _head(root, prefix, title, description)
    return ElementTree.tostring(root, encoding="unicode")


def _forget_namespaces(root: Element) -> None:
    """A page needs none."""
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        for name in [name for name in element.attrib if name.startswith("{")]:
            element.set(name.rpartition("}")[2], element.attrib.pop(name))


def _drop(root: Element, *tags: str) -> None:
    for parent in list(root.iter()):
        for child in [child for child in parent if child.tag in tags]:
            parent.remove(child)


def _prefix_names(root: Element, prefix: str) -> None:
    """Several figures share a page, and so its names."""
    for element in root.iter():
        for key, value in element.attrib.items():
            if key == "id":
                element.set(key, prefix + value)
            elif key == "href" and value.startswith("#"):
                element.set(key, f"#{prefix}{value[1:]}")
            elif "url(#" in value:
                element.set(key, value.replace("url(#", f"url(#{prefix}"))


def _use_colours_of_page(root: Element) -> None:
    for element in root.iter():
        for key, value in element.attrib.items():
            element.set(key, _COLOUR.sub(lambda found: _OF_PAGE[found[0]], value))


def _head(root: Element, prefix: str, title: str, description: str) -> None:
    names = {"title": title, "desc": description}
    for place, (tag, text) in enumerate(names.items()):
        element = Element(tag, {"id": prefix + tag})
        element.text = text
        root.insert(place, element)
    root.attrib = {
        "xmlns": "http://www.w3.org/2000/svg",
        "viewBox": root.attrib["viewBox"],
        "width": "100%",
        "role": "img",
        "aria-labelledby": f"{prefix}title {prefix}desc",
        "style": "stroke-linejoin: round; stroke-linecap: butt",
    }
