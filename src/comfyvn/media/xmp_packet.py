"""XMP packets: our marker as a property, read with expat and put in as text; no packet is written anew.

The property is ``comfyvn:provenance``, its text the JSON. In somebody else's packet one ``rdf:Description``
with it is put before the end of ``rdf:RDF``. The one in a packet of ours has its attributes in another order,
so that the two are never mistaken for each other.

Format: ISO 16684-1:2019 (XMP, part 1), sections 7.2 to 7.5.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final
from xml.parsers import expat

__all__ = ["NAMESPACE", "RDF", "SIGNED", "Packet", "own", "own_note", "own_value", "parse"]

SIGNED: Final = "it is signed with content credentials (C2PA)"
"""Why a file with a C2PA manifest is not stamped."""

NAMESPACE: Final = "https://comfyvn.org/ns/1.0/"
"""What our properties are in."""
_PROPERTY: Final = "provenance"
RDF: Final = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
"""What the frame of every packet is in."""
_DCTERMS: Final = "http://purl.org/dc/terms/"
_XPACKET: Final = b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?>'
_OWN_HEAD: Final = (
    _XPACKET + b'<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="comfyvn%b"><rdf:RDF xmlns:rdf="%b">'
)
_OWN_TAIL: Final = b'</rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
_NOTE: Final = re.compile(
    re.escape(_XPACKET) + rb'<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="comfyvn([ a-z]*)">'
)
_XMLNS: Final = b'xmlns:comfyvn="%b"' % NAMESPACE.encode()


@dataclass(frozen=True, slots=True)
class Packet:
    """A packet of somebody else: where our descriptions are in it, or would be.

    ``marker`` is our property's value, also where another program has rewritten it and it is not in ``ours``.
    """

    data: bytes
    marker: bytes | None = None
    ours: tuple[tuple[int, int], ...] = ()
    place: int = 0
    prefix: bytes = b""
    about: bytes = b""
    refusal: str | None = None

    def bare(self) -> bytes:
        """Return the packet without our descriptions."""
        return _cut(self.data, self.ours)

    def stamped(self, value: bytes) -> bytes:
        """Return the packet with one description of ours."""
        before = _cut(self.data[: self.place], self.ours)
        made = _description(value, self.prefix, b'%b:about="%b" %b' % (self.prefix, self.about, _XMLNS))
        return before + made + self.data[self.place :]


def own(value: bytes, note: bytes) -> bytes:
    """Return a packet of ours; ``note`` is lower-case letters after a space, or nothing.

    Raises:
        ValueError: the value is no printable ASCII.
    """
    description = _description(value, b"rdf", _XMLNS + b' rdf:about=""')
    return _OWN_HEAD % (note, RDF.encode()) + description + _OWN_TAIL


def own_value(packet: bytes) -> bytes | None:
    """Return the marker of a packet that is wholly ours, byte for byte as we write it; else None."""
    found = _NOTE.match(packet)
    if not found or not packet.endswith(_OWN_TAIL):
        return None
    value = parse(packet).marker
    try:
        return value if value is not None and own(value, found[1]) == packet else None
    except ValueError:
        return None


def own_note(packet: bytes) -> bytes | None:
    """Return what was noted in a packet of ours; None when it isn't one."""
    found = _NOTE.match(packet)
    return found[1] if found and own_value(packet) is not None else None


def parse(data: bytes) -> Packet:
    """Look at a packet that isn't wholly ours; what can't be filled has a refusal, never an error."""
    parser = expat.ParserCreate("utf-8", namespace_separator=" ")
    parser.namespace_prefixes = True
    reader = _Reader(parser)
    parser.StartElementHandler = reader.start_element
    parser.EndElementHandler = reader.end_element
    parser.CharacterDataHandler = reader.characters
    parser.StartDoctypeDeclHandler = reader.doctype
    try:
        parser.Parse(data.rstrip(b"\0"), True)
    except (expat.ExpatError, ValueError):
        return Packet(data, refusal="its XMP is damaged")
    except _Unusual:
        return Packet(data, refusal="its XMP is of an unusual shape")
    if reader.end < 0 or not data.startswith(b"</%b:RDF" % reader.prefix.encode(), reader.end):
        return Packet(data, refusal="its XMP is of an unusual shape")
    return _packet(data, reader)


def _description(value: bytes, prefix: bytes, attributes: bytes) -> bytes:
    """Return our description, as long for every value of this length: spaces make up for escapes.

    Raises:
        ValueError: the value is no printable ASCII.
    """
    if not (value.isascii() and value.decode("ascii").isprintable()):
        raise ValueError("a marker in XMP takes printable ASCII only")
    text = _escape(value)
    spaces = b" " * (len(value) * len(b"&amp;") - len(text))
    inside = b"<comfyvn:provenance>%b</comfyvn:provenance>%b" % (text, spaces)
    return b"<%b:Description %b>%b</%b:Description>" % (prefix, attributes, inside, prefix)


def _escape(value: bytes) -> bytes:
    return value.replace(b"&", b"&amp;").replace(b"<", b"&lt;").replace(b">", b"&gt;")


def _quote(text: str) -> bytes:
    return _escape(text.encode()).replace(b'"', b"&quot;")


def _cut(data: bytes, stretches: Sequence[tuple[int, int]]) -> bytes:
    edges = [0, *(edge for stretch in stretches for edge in stretch), len(data)]
    return b"".join(data[start:end] for start, end in zip(edges[::2], edges[1::2], strict=True))


class _Unusual(Exception):
    """The packet is XML, but not of a kind that we fill."""


@dataclass(slots=True)
class _Node:
    """A child of ``rdf:RDF``: where it starts and where its end tag does, and what it says of us."""

    start: int
    end: int = 0
    is_description: bool = False
    about: str = ""
    value: str | None = None
    is_signed: bool = False


@dataclass(slots=True)
class _Reader:
    """Notes the shape of a packet while expat walks through it."""

    parser: expat.XMLParserType
    depth: int = 0
    rdf_depth: int = 0
    prefix: str = ""
    end: int = -1
    nodes: list[_Node] = field(default_factory=list)
    text: list[str] | None = None
    property: tuple[str, str] = ("", "")

    def start_element(self, name: str, attributes: dict[str, str]) -> None:
        self.depth += 1
        uri, local, prefix = _names(name)
        if (uri, local) == (RDF, "RDF"):
            if self.rdf_depth or prefix in ("", "comfyvn"):  # ours would mean something else inside
                raise _Unusual
            self.rdf_depth, self.prefix = self.depth, prefix
        elif not self.rdf_depth or self.end >= 0:
            return
        elif self.depth == self.rdf_depth + 1:
            node = _Node(self.parser.CurrentByteIndex, is_description=(uri, local) == (RDF, "Description"))
            self.nodes.append(node)
            for key, value in attributes.items():
                self.note(node, _names(key)[:2], value)
        elif self.depth == self.rdf_depth + 2:
            self.text, self.property = [], (uri, local)

    def end_element(self, name: str) -> None:
        below = self.depth - self.rdf_depth if self.rdf_depth and self.end < 0 else -1
        if below == 0:
            self.end = self.parser.CurrentByteIndex
        elif below == 1:
            self.nodes[-1].end = self.parser.CurrentByteIndex
        elif below == 2 and self.text is not None:
            self.note(self.nodes[-1], self.property, "".join(self.text))
            self.text = None
        self.depth -= 1

    def characters(self, data: str) -> None:
        if self.text is not None:
            self.text.append(data)

    def doctype(self, *_: object) -> None:
        raise _Unusual  # entities could make text of anything

    def note(self, node: _Node, name: tuple[str, str], value: str) -> None:
        if name == (RDF, "about"):
            node.about = value
        elif name == (NAMESPACE, _PROPERTY):
            node.value = value
        elif name == (_DCTERMS, "provenance") and (value.startswith("self#") or "://" in value):
            node.is_signed = True  # a manifest elsewhere; its signature covers this file all the same


def _names(name: str) -> tuple[str, str, str]:
    """Return namespace, local name and prefix of a name as expat gives it."""
    parts = name.split(" ")
    return (parts[0], parts[1], parts[2]) if len(parts) == 3 else ("", name, "")


def _packet(data: bytes, reader: _Reader) -> Packet:
    prefix = reader.prefix.encode()
    stretches = {node.start: _stretch(data, node, prefix) for node in reader.nodes}
    foreign = [node for node in reader.nodes if stretches[node.start] is None]
    value = next((node.value for node in reader.nodes if node.value is not None), None)
    about = next((node.about for node in foreign if node.is_description), "")
    refusal = None
    if any(node.is_signed for node in foreign):
        refusal = SIGNED
    elif any(node.value is not None for node in foreign):
        refusal = "another program has rewritten the marker in its XMP"
    elif any(sign < " " for sign in about):  # they would come back as spaces
        refusal = "its XMP is of an unusual shape"
    return Packet(
        data,
        marker=None if value is None else value.encode(),
        ours=tuple(stretch for stretch in stretches.values() if stretch is not None),
        place=reader.end,
        prefix=prefix,
        about=_quote(about),
        refusal=refusal,
    )


def _stretch(data: bytes, node: _Node, prefix: bytes) -> tuple[int, int] | None:
    """Return where a description of ours begins and ends, if it is byte for byte as we write it."""
    if node.value is None:
        return None
    attributes = b'%b:about="%b" %b' % (prefix, _quote(node.about), _XMLNS)
    try:
        made = _description(node.value.encode(), prefix, attributes)
    except ValueError:
        return None
    end = node.start + len(made)
    is_ours = data.startswith(made, node.start) and end == node.end + len(prefix) + len(b"</:Description>")
    return (node.start, end) if is_ours else None
