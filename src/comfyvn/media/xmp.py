"""XMP in any container: which packet of a file takes our marker, and how that changes its element.

A file without XMP gets a packet of ours; else the first packet that is there gets one more property (see
`comfyvn.media.xmp_packet`). What an element of XMP looks like is said by each format.

Format: XMP Specification Part 3, Storage in Files (Adobe, 2020).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from comfyvn.media import xmp_packet
from comfyvn.media.formats import Layout, Splice
from comfyvn.media.xmp_packet import SIGNED, Packet

__all__ = ["CARRIER_LIMIT", "PACKET_LIMIT", "SIGNED", "Carrier", "Place", "layout_of", "without_value"]

PACKET_LIMIT: Final = 1 << 20
"""A longer packet is not looked at."""
CARRIER_LIMIT: Final = 16
"""More packets than these are not looked at."""
_ALL_LIMIT: Final = 2 * PACKET_LIMIT
_LEAST_ROOM: Final = 1000  # a packet with less room for a value is full: a marker has some 250 bytes


@dataclass(frozen=True, slots=True)
class Carrier:
    """An element of a container that holds an XMP packet.

    ``data`` is all of it as it stands in the file at ``offset``. ``is_fixed`` says that its length must stay
    as it is.
    """

    offset: int
    data: bytes
    packet: bytes
    is_fixed: bool = False


@dataclass(frozen=True, slots=True)
class Place:
    """Where a container takes a packet of ours, and how it wraps any.

    ``wrap`` gives the element for a packet; ``most`` is how long a packet may be. ``note`` is told in our own
    packet: lower-case letters after a space, or nothing. ``tail`` follows an element of ours.
    """

    offset: int
    wrap: Callable[[bytes], bytes]
    most: int = PACKET_LIMIT
    note: bytes = b""
    tail: bytes = b""

    def put(self, packet: bytes) -> bytes:
        """Return the element for a packet with a marker.

        Raises:
            ValueError: it is too long.
        """
        if len(packet) > self.most:
            raise ValueError(f"with this marker the XMP has {len(packet):,} bytes, {self.most:,} fit")
        return self.wrap(packet)


def layout_of(carriers: Sequence[Carrier], place: Place) -> Layout:
    """Return where the marker is or would be in a file with these packets, in order of their offsets.

    The splices lack what the container changes besides, such as its own length.
    """
    lengths = [len(each.packet) for each in carriers]
    if len(carriers) > CARRIER_LIMIT or max(lengths, default=0) > PACKET_LIMIT or sum(lengths) > _ALL_LIMIT:
        return Layout(refusal="its XMP is too large")
    splices: list[Splice] = []
    marker: bytes | None = None
    target: tuple[Carrier, Packet] | None = None
    for each in carriers:
        value = None if each.is_fixed else xmp_packet.own_value(each.packet)
        if value is not None:
            splices.append(Splice(each.offset, each.data, b"", without_value(b"")))
        else:
            packet = xmp_packet.parse(each.packet)
            value = packet.marker
            if target is None:
                target = (each, packet)
            else:
                splices.extend(_fill(each, packet, place, "one marker is enough"))
        marker = value if marker is None else marker
    refusal = None
    if target is None:
        splices.append(
            Splice(
                place.offset,
                b"",
                b"",
                lambda value: place.put(xmp_packet.own(value, place.note)) + place.tail,
            )
        )
    else:
        refusal = _refusal(*target, place)
        splices.extend(_fill(*target, place, refusal))
    return Layout(tuple(sorted(splices, key=lambda one: (one.offset, len(one.data)))), marker, refusal)


def without_value(data: bytes) -> Callable[[bytes], bytes]:
    """Return a function for `Splice.stamped` that gives the same whatever the value."""
    return lambda _: data


def _refusal(carrier: Carrier, packet: Packet, place: Place) -> str | None:
    if packet.refusal:
        return packet.refusal
    if carrier.is_fixed:
        return "its XMP can't grow: other parts of the file are found by their distance from it"
    if place.wrap(packet.data) != carrier.data:
        return "its XMP is padded in an unusual way"
    is_full = len(packet.stamped(b" " * _LEAST_ROOM)) > place.most
    return "its XMP is full" if is_full else None


def _fill(carrier: Carrier, packet: Packet, place: Place, refusal: str | None) -> list[Splice]:
    """Return the splice for a packet that takes the marker; a refusal leaves out what is there."""
    if refusal is None:
        bare = place.wrap(packet.bare())
        return [Splice(carrier.offset, carrier.data, bare, lambda value: place.put(packet.stamped(value)))]
    if packet.ours and not carrier.is_fixed and place.wrap(packet.data) == carrier.data:
        bare = place.wrap(packet.bare())
        return [Splice(carrier.offset, carrier.data, bare, without_value(bare))]
    return []
