"""Where the marker stands among the tags of an MP4 file, and what it looks like.

It is a freeform item (``----:com.comfyvn:comfyvn_provenance``), the last one of ``moov/udta/meta/ilst``.
Where a file names its tags by keys instead (handler ``mdta``, as ComfyUI keeps its workflow), it is the last
key and the last item. When boxes had to be made for the item, the flags of its ``mean`` say how many, so
that they go when it goes.

Format: ISO/IEC 14496-12, sections 8.10 and 8.11; QuickTime File Format Specification (Apple), "User Data
Atoms" and "Metadata"; the iTunes item list as mutagen reads it.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from comfyvn.media.boxes import Box, BoxReader, Refusal, box_of, damaged, only
from comfyvn.media.formats import MARKER_NAME, Splice

__all__ = ["MARGIN", "Place", "Tags", "find_tags"]

MARGIN: Final = 128 * 1024
"""More bytes than any marker takes, with the boxes around it."""

_VALUE_LIMIT: Final = 64 * 1024
_MARKERS_LIMIT: Final = 1 << 20
_NAME: Final = MARKER_NAME.encode()


@dataclass(frozen=True, slots=True)
class Place:
    """Where a part of the marker is to stand.

    ``make`` returns what it looks like; ``old`` are those parts that are there and have to go (offset and
    bytes); ``parents`` are the boxes that grow with it.
    """

    offset: int
    make: Callable[[bytes], bytes]
    old: tuple[tuple[int, bytes], ...]
    parents: tuple[Box, ...]


@dataclass(frozen=True, slots=True)
class Tags:
    """The places of the marker, the value of the one that is there, and a count that changes with it."""

    places: tuple[Place, ...]
    marker: bytes | None
    count: Splice | None = None


def find_tags(reader: BoxReader, moov: Box) -> Tags:
    """Find the place for the marker.

    Raises:
        Refusal: the tags are damaged, or of a kind that is not known here.
    """
    chain, inside = [moov], reader.inside(moov)
    for kind in (b"udta", b"meta", b"ilst"):
        if not any(box.kind == kind for box in inside):
            break
        chain.append(only(inside, kind))
        inside = reader.inside(chain[-1])
        if kind == b"meta" and _names_by_keys(reader, inside):
            return _with_keys(reader, chain, inside)
    return _with_items(reader, chain, inside)


def _names_by_keys(reader: BoxReader, inside_meta: Sequence[Box]) -> bool:
    if any(box.kind == b"iloc" for box in inside_meta):
        raise Refusal("it holds pictures that are found by offsets of their own")
    handler = reader.handler(only(inside_meta, b"hdlr"))
    if handler not in (b"mdir", b"mdta"):
        raise Refusal("its tags are of a kind that is not known here")
    return handler == b"mdta"


def _with_items(reader: BoxReader, chain: list[Box], inside: Sequence[Box]) -> Tags:
    """Find the item in a list of items, or the place for it or for as much of the list as there is not."""
    found = list(_items(reader, inside)) if len(chain) == 4 else []
    old = tuple((box.offset, data) for box, data, _ in found)
    if len(found) == 1:
        _, data, value = found[0]
        made = next(made for made in range(4) if _item(value, made) == data)
        outer, whole = chain[-made], _made(value, made)
        if made and outer.size == len(whole) and reader.bytes_at(outer.offset, outer.size) == whole:
            old, chain = ((outer.offset, whole),), chain[:-made]
    end = reader.end(chain[-1], reader.inside(chain[-1]))
    make = functools.partial(_made, made=4 - len(chain))
    return Tags((Place(end, make, old, tuple(chain)),), found[0][2] if found else None)


def _items(reader: BoxReader, inside: Sequence[Box]) -> Iterator[tuple[Box, bytes, bytes]]:
    """Yield the markers in a list of items: box, bytes and value."""
    empty, total = [_item(b"", made) for made in range(4)], 0
    length = len(empty[0])
    for box in inside:
        if box.kind != b"----" or not length <= box.size <= length + _VALUE_LIMIT:
            continue
        if reader.bytes_at(box.offset, length)[4:-16] not in [each[4:-16] for each in empty]:
            continue
        data = reader.bytes_at(box.offset, box.size)
        value = data[length:]
        if b"\0" in value or data not in [_item(value, made) for made in range(4)]:
            continue
        total += box.size
        if total > _MARKERS_LIMIT:
            raise Refusal("it has too many markers")
        yield box, data, value


def _with_keys(reader: BoxReader, chain: Sequence[Box], inside_meta: Sequence[Box]) -> Tags:
    """Find the key and the item, or the places for them."""
    keys, ilst = only(inside_meta, b"keys"), only(inside_meta, b"ilst")
    entries, items = list(reader.run(keys.inner + 8, keys.end)), reader.inside(ilst)
    count = reader.number_at(keys.inner + 4)
    if count != len(entries) or (entries[-1].end if entries else keys.inner + 8) != keys.end:
        raise damaged("the number of its keys is wrong")
    key = box_of(b"mdta", _NAME)
    indices = [
        struct.pack(">I", index)
        for index, each in enumerate(entries, 1)
        if each.size == len(key) and reader.bytes_at(each.offset, each.size) == key
    ]
    old_key: tuple[tuple[int, bytes], ...] = ()
    old_item, marker = old_key, None
    if indices:
        item = next((box for box in items if box.kind == indices[0]), None)
        data, marker = _keyed(reader, item)
        if marker is None or item != items[-1] or indices != [struct.pack(">I", count)]:
            raise Refusal("another program has moved its marker", marker)
        old_key, old_item, count = ((entries[-1].offset, key),), ((item.offset, data),), count - 1
    places = (
        Place(keys.end, lambda _: key, old_key, (*chain, keys)),
        Place(reader.end(ilst, items), functools.partial(_keyed_item, count + 1), old_item, (*chain, ilst)),
    )
    is_now, bare, more = (struct.pack(">I", number) for number in (len(entries), count, count + 1))
    return Tags(places, marker, Splice(keys.inner + 4, is_now, bare, lambda _: more))


def _keyed(reader: BoxReader, item: Box | None) -> tuple[bytes, bytes | None]:
    """Return the bytes and the value of an item, None when it is not as we write it."""
    if item is None or item.size > MARGIN:
        return b"", None
    data = reader.bytes_at(item.offset, item.size)
    value = data[24:]
    is_ours = b"\0" not in value and data == box_of(item.kind, _data(value))
    return data, value if is_ours and len(value) <= _VALUE_LIMIT else None


def _keyed_item(index: int, value: bytes) -> bytes:
    return box_of(struct.pack(">I", index), _data(_checked(value)))


def _made(value: bytes, made: int) -> bytes:
    """Return the item in as many new boxes as the file needs: 0, 1 (ilst), 2 (meta) or 3 (udta)."""
    whole = _item(_checked(value), made)
    if made > 0:
        whole = box_of(b"ilst", whole)
    if made > 1:
        handler = box_of(b"hdlr", bytes(8) + b"mdirappl" + bytes(9))
        whole = box_of(b"meta", bytes(4) + handler + whole)
    return box_of(b"udta", whole) if made > 2 else whole


def _item(value: bytes, made: int) -> bytes:
    mean = box_of(b"mean", struct.pack(">I", made) + b"com.comfyvn")
    return box_of(b"----", mean + box_of(b"name", bytes(4) + _NAME) + _data(value))


def _data(value: bytes) -> bytes:
    """Return a value as UTF-8 text (type 1) for every language."""
    return box_of(b"data", struct.pack(">II", 1, 0) + value)


def _checked(value: bytes) -> bytes:
    """Return the value of a marker.

    Raises:
        ValueError: it has a NUL, at which readers end a text, or more than 64 KiB.
    """
    if len(value) > _VALUE_LIMIT:
        raise ValueError(f"the marker has {len(value)} bytes, an MP4 takes {_VALUE_LIMIT}")
    if b"\0" in value:
        raise ValueError("a marker can't hold a NUL byte")
    return value
