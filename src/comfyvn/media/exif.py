"""Texts in Exif, which is a TIFF file without a picture, and in TIFF files.

Looked at are the first directory and the Exif directory, each for all tags: some tools put those of the one
into the other. ComfyUI writes its graphs as ``prompt:{...}`` and ``workflow:{...}`` into the tags from Model
downwards, one for each; they are called by what stands before the colon.

Format: TIFF 6.0 (Adobe, 1992), section 2; Exif 2.32 (CIPA DC-008, 2019), 4.6; Windows Imaging Component
(Microsoft), "XPTitle" and its kin; ComfyUI documentation, "SaveAnimatedWEBP".
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from comfyvn.media.embedded import Read, TextCollector, decode
from comfyvn.media.xmp_texts import add_xmp

__all__ = ["add_exif", "add_tiff"]

_SIGNATURE: Final = b"Exif\0\0"
_ORDERS: Final[dict[bytes, Literal["little", "big"]]] = {b"II*\0": "little", b"MM\0*": "big"}
_ENTRY_BYTES: Final = 12
_ENTRY_COUNT_LIMIT: Final = 1_000
_LONG: Final = (4, 13)
_BYTES: Final = (1, 2, 7, 129)  # BYTE, ASCII, UNDEFINED, UTF-8: one byte each
_EXIF, _XMP, _MAKER_NOTE, _USER_COMMENT, _MODEL = 0x8769, 0x02BC, 0x927C, 0x9286, 0x0110
_XP: Final = range(0x9C9B, 0x9CA0)
_NAMES: Final = {
    0x010D: "DocumentName",
    0x010E: "ImageDescription",
    0x010F: "Make",
    _MODEL: "Model",
    0x0131: "Software",
    0x013B: "Artist",
    0x8298: "Copyright",
    _MAKER_NOTE: "MakerNote",
    _USER_COMMENT: "UserComment",
    0x9C9B: "XPTitle",
    0x9C9C: "XPComment",
    0x9C9D: "XPAuthor",
    0x9C9E: "XPKeywords",
    0x9C9F: "XPSubject",
}
_NOTE: Final = re.compile(rb"[\x20-\x7e]{1,64}\0*")  # others are a camera's own, and no text
_GRAPH: Final = re.compile(r"([A-Za-z]\w{0,63}):\s*(?=[{\[])")


@dataclass(frozen=True, slots=True)
class _Entry:
    """One entry of a directory: its tag, its type, how many values it has, and where these are."""

    tag: int
    kind: int
    count: int
    at: int


def add_exif(found: TextCollector, data: bytes) -> None:
    """Take up the texts of an Exif block, with its signature or without."""
    add_tiff(found, found.within(data.removeprefix(_SIGNATURE)))


def add_tiff(found: TextCollector, read: Read) -> None:
    """Take up the texts of a TIFF file; ``read`` counts from its byte order on."""
    head = read(0, 8)
    order = _ORDERS.get(head[:4])
    if order is None:
        return
    following = [int.from_bytes(head[4:], order)]
    for at in following:
        for entry in _entries(read, at, order):
            if entry.tag == _EXIF and entry.kind in _LONG and len(following) == 1:
                following.append(int.from_bytes(read(entry.at, 4), order))
            elif entry.tag == _XMP and entry.kind in _BYTES:
                add_xmp(found, read(entry.at, entry.count))
            elif entry.kind in _BYTES and (entry.tag in _NAMES or entry.tag < _MODEL):
                _add(found, entry.tag, read(entry.at, entry.count), order)


def _entries(read: Read, at: int, order: Literal["little", "big"]) -> Iterator[_Entry]:
    """Yield the entries of the directory at a place."""
    count = int.from_bytes(read(at, 2), order)
    if count > _ENTRY_COUNT_LIMIT:
        return
    table = read(at + 2, count * _ENTRY_BYTES)
    for start in range(0, len(table), _ENTRY_BYTES):
        tag, kind = (int.from_bytes(table[start + 2 * field :][:2], order) for field in (0, 1))
        length, place = (int.from_bytes(table[start + 4 * field :][:4], order) for field in (1, 2))
        is_inside = kind in _LONG or length <= 4
        yield _Entry(tag, kind, length, at + 2 + start + 8 if is_inside else place)


def _add(found: TextCollector, tag: int, data: bytes, order: Literal["little", "big"]) -> None:
    """Take up the text of one tag."""
    if tag == _MAKER_NOTE and not _NOTE.fullmatch(data):
        return
    if tag == _USER_COMMENT:
        text = _comment(data, order)
    elif tag in _XP:
        text = data.decode("utf-16-le", "replace")
    else:
        text = decode(data)
    name = _NAMES.get(tag, f"0x{tag:04X}")
    graph = _GRAPH.match(text) if tag <= _MODEL else None
    if graph:
        found.add(f"exif:{name}", graph[1].lower(), text[graph.end() :])
    elif tag in _NAMES:
        found.add(f"exif:{name}", name, text)


def _comment(data: bytes, order: Literal["little", "big"]) -> str:
    """Return a user comment, whose first eight bytes name its character code."""
    code, text = data[:8], data[8:]
    if code == b"UNICODE\0":
        return _utf_16(text, order)
    if code == b"JIS\0\0\0\0\0":
        return text.decode("iso2022_jp", "replace")
    is_coded = code in (b"ASCII\0\0\0", bytes(8))
    return decode(text if is_coded else data)


def _utf_16(data: bytes, order: Literal["little", "big"]) -> str:
    """Return UTF-16 of whichever byte order: tools don't keep to that of the TIFF.

    Nearly every prompt has letters, digits or commas of ASCII, whose upper byte is zero: that tells it.
    """
    for mark, codec in ((b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be")):
        if data.startswith(mark):
            return data[2:].decode(codec, "replace")
    data = data[: len(data) & ~1]
    big, little = data[::2].count(0), data[1::2].count(0)
    if big == little:
        big += order == "big"
    return data.decode("utf-16-be" if big > little else "utf-16-le", "replace")
