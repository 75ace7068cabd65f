"""Texts in an XMP packet: its properties, read with expat.

Taken are simple properties and the items of lists; what is nested deeper, such as the history that an editor
keeps, is not. A document type would let entities stand for anything: a packet with one is left out.

Format: ISO 16684-1:2019 (XMP, part 1), sections 7.4 to 7.9.
"""

from __future__ import annotations

from xml.parsers import expat

from comfyvn.media.embedded import TextCollector
from comfyvn.media.xmp_packet import NAMESPACE, RDF

__all__ = ["add_xmp"]

_DEPTH_LIMIT = 100
_LISTS = frozenset(f"{RDF} {name}" for name in ("Alt", "Bag", "Seq"))
_ITEM = f"{RDF} li"


def add_xmp(found: TextCollector, packet: bytes) -> None:
    """Take up the texts of a packet; of a damaged one those before the damage."""
    parser = expat.ParserCreate("utf-8", namespace_separator=" ")
    parser.buffer_text = True
    reader = _Reader(found)
    parser.StartElementHandler = reader.start_element
    parser.EndElementHandler = reader.end_element
    parser.CharacterDataHandler = reader.characters
    parser.StartDoctypeDeclHandler = reader.doctype
    try:
        parser.Parse(packet.rstrip(b"\0"), True)
    except (expat.ExpatError, ValueError, _Unusual):
        return


class _Unusual(Exception):
    """The packet is of a kind that is not read."""


class _Reader:
    """Follows expat through a packet; ``path`` leads from ``rdf:RDF`` to where it is."""

    def __init__(self, found: TextCollector) -> None:
        self._found = found
        self._path: list[str] = []
        self._outside = 0
        self._text: list[str] | None = None

    def start_element(self, name: str, attributes: dict[str, str]) -> None:
        self._text = []
        if not self._path and name != f"{RDF} RDF":
            self._outside += 1
        else:
            self._path.append(name)
        if len(self._path) + self._outside > _DEPTH_LIMIT:
            raise _Unusual
        if len(self._path) == 2:
            for key, value in attributes.items():
                self._add(key, value)

    def end_element(self, name: str) -> None:
        if self._text is not None and self._is_value():
            self._add(self._path[2], "".join(self._text))
        self._text = None  # what follows the end of an inner element is layout
        if self._path:
            self._path.pop()
        else:
            self._outside -= 1

    def characters(self, data: str) -> None:
        if self._text is not None:
            self._text.append(data)

    def doctype(self, *_: object) -> None:
        raise _Unusual

    def _is_value(self) -> bool:
        """Tell whether this is a property, or an item of a list that is one."""
        is_item = len(self._path) == 5 and self._path[3] in _LISTS and self._path[4] == _ITEM
        return len(self._path) == 3 or is_item

    def _add(self, name: str, text: str) -> None:
        space, _, local = name.rpartition(" ")
        if space not in ("", RDF, NAMESPACE, "http://www.w3.org/XML/1998/namespace"):
            self._found.add("xmp", local, text)
