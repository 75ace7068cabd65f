"""Texts among the items of an AVIF or HEIC file: its Exif and XMP.

Format: ISO/IEC 14496-12:2022, 8.11.3 (``iloc``) and 8.11.6 (``iinf``); ISO/IEC 23008-12:2022, annex A.2.1
(Exif).
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

from comfyvn.media.boxes import Box, BoxReader, Refusal
from comfyvn.media.embedded import TextCollector
from comfyvn.media.exif import add_exif
from comfyvn.media.xmp_texts import add_xmp

__all__ = ["add_items", "tiff_of"]

_EXIF, _MIME = b"Exif", b"mime"
_XMP_TYPE: Final = b"application/rdf+xml"
_HEAD_BYTES: Final = 256
_PLACES_LIMIT: Final = 1 << 18
_ITEM_LIMIT: Final = 8  # a picture has one of each; more is a trick


def add_items(found: TextCollector, start: int, end: int) -> None:
    """Take up the texts of the items that a ``meta`` box describes.

    Args:
        found: takes them up.
        start: where the content of the box begins, with its version.
        end: where it ends.
    """
    reader = BoxReader(found.file)
    with suppress(Refusal):
        boxes = {box.kind: box for box in reader.run(start + 4, end)}
        if b"iinf" not in boxes or b"iloc" not in boxes:
            return
        wanted = dict(_wanted(reader, boxes[b"iinf"]))
        inner = boxes[b"idat"].inner if b"idat" in boxes else None
        places = _places(found, boxes[b"iloc"], inner, frozenset(wanted))
        for item, stretches in places:
            data = b"".join(found.read(at, length) for at, length in stretches)
            if wanted[item] == _EXIF:
                add_exif(found, tiff_of(data))
            else:
                add_xmp(found, data)


def tiff_of(data: bytes) -> bytes:
    """Return the TIFF of an Exif item: a number before it says how far it is from there."""
    return data[4 + int.from_bytes(data[:4], "big") :]


def _wanted(reader: BoxReader, iinf: Box) -> Iterator[tuple[int, bytes]]:
    """Yield the items that are Exif or XMP, with their type."""
    is_long = reader.number_at(iinf.inner) >> 24 > 0
    left = _ITEM_LIMIT
    for box in reader.run(iinf.inner + (8 if is_long else 6), iinf.end):
        data = reader.bytes_at(box.inner, min(box.size - box.header, _HEAD_BYTES))
        id_bytes = 4 if data[:1] == b"\3" else 2
        if box.kind != b"infe" or data[:1] not in (b"\2", b"\3"):
            continue
        kind, rest = data[6 + id_bytes :][:4], data[10 + id_bytes :].partition(b"\0")[2]
        if kind == _EXIF or (kind == _MIME and rest.partition(b"\0")[0] == _XMP_TYPE):
            yield int.from_bytes(data[4 : 4 + id_bytes], "big"), kind
            left -= 1
        if not left:
            return


def _places(
    found: TextCollector, iloc: Box, inner: int | None, wanted: frozenset[int]
) -> Iterator[tuple[int, list[tuple[int, int]]]]:
    """Yield where some items lie: each a list of stretches of the file, an offset and a length."""
    size_bytes = iloc.size - iloc.header
    data = io.BytesIO(found.read(iloc.inner, size_bytes) if size_bytes <= _PLACES_LIMIT else b"")

    def number(width: int) -> int:
        return int.from_bytes(data.read(width), "big")

    version = number(4) >> 24
    widths = number(2)
    offset_bytes, length_bytes, base_bytes = widths >> 12, widths >> 8 & 15, widths >> 4 & 15
    index_bytes = widths & 15 if version else 0
    id_bytes = 4 if version == 2 else 2
    left = len(wanted) if length_bytes else 0  # without lengths each item would be the whole file
    for _ in range(number(id_bytes)):
        if not left or data.tell() == size_bytes:
            return
        item, method = number(id_bytes), number(2) & 15 if version else 0
        outside, base = number(2), number(base_bytes)
        extents, stretches = number(2), []
        for _ in range(extents):
            number(index_bytes)
            stretches.append((base + number(offset_bytes), number(length_bytes)))
            if data.tell() == size_bytes:
                break
        if item in wanted and not outside and (method == 0 or (method == 1 and inner is not None)):
            start = inner or 0 if method else 0
            yield item, [(start + at, length) for at, length in stretches]
            left -= 1
