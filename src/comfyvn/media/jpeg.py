"""JPEG, also several pictures in one file (MPO, gain maps, motion photos): the marker lives in XMP.

Segments before the first scan are walked; from there on nothing is looked at or touched. A packet of ours
goes behind the JFIF and Exif segments that have to come first, and so before the list of pictures (MPF),
whose distances are counted from itself.

Format: ITU-T T.81 (1992), annex B; XMP Specification Part 3 (Adobe, 2020), 1.1.3; CIPA DC-007 (MPF);
C2PA 2.2, A.3.1 (JUMBF in APP11).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, BinaryIO, Final

from comfyvn.media import xmp
from comfyvn.media.embedded import TextCollector, decode
from comfyvn.media.exif import add_exif
from comfyvn.media.formats import Layout, read_at
from comfyvn.media.images import PillowFormat
from comfyvn.media.xmp_texts import add_xmp

if TYPE_CHECKING:
    from comfyvn.media.clean import Cleaning

__all__ = ["JpegFormat"]

_XMP: Final = b"http://ns.adobe.com/xap/1.0/\0"
_XMP_EXTENSION: Final = b"http://ns.adobe.com/xmp/extension/\0"
_EXIF: Final = b"Exif\0\0"
_SEGMENT_COUNT_LIMIT: Final = 100_000
_TOO_MANY: Final = f"it has more than {_SEGMENT_COUNT_LIMIT:,} segments"
_LENGTH_LIMIT: Final = 0xFFFF  # of a segment's data and the two bytes of its length
_HEADER: Final = struct.Struct(">BBH")
_START_OF_SCAN, _APP0, _APP1, _APP2, _APP11 = 0xDA, 0xE0, 0xE1, 0xE2, 0xEB
_COMMENT: Final = 0xFE
_PARAMETERLESS: Final = frozenset({0x00, 0x01, *range(0xD0, 0xDA)})  # none of them comes before a scan


class JpegFormat(PillowFormat):
    """JPEG: can be stamped, has thumbnails."""

    name = "jpeg"
    family = "JPEG"

    def sniff(self, head: bytes, name: str) -> bool:
        """Tell a JPEG by its first marker."""
        return head.startswith(b"\xff\xd8\xff")

    def layout(self, file: BinaryIO) -> Layout:
        """Find our property in the XMP segment, our own XMP segment, or the place for one."""
        most = _SEGMENT_COUNT_LIMIT + xmp.CARRIER_LIMIT
        segments = list(islice(_segments(file), most + 1))
        if len(segments) > most:
            return Layout(refusal=_TOO_MANY)
        carriers = list(islice(_carriers(file, segments), xmp.CARRIER_LIMIT + 1))
        found = xmp.layout_of(carriers, xmp.Place(_place(segments), _wrap, _LENGTH_LIMIT - 2 - len(_XMP)))
        if not segments or segments[-1].code != _START_OF_SCAN:
            return Layout(found.splices, found.marker, "its segments are damaged, or end before the pixels")
        if any(_is_signature(file, each) for each in segments):
            return Layout(found.splices, found.marker, xmp.SIGNED)
        if len(segments) - len(carriers) > _SEGMENT_COUNT_LIMIT:  # those that we add don't count
            return Layout(found.splices, found.marker, _TOO_MANY)
        return found

    def texts(self, found: TextCollector) -> None:
        """Take up the texts of comments, XMP and Exif, which may be longer than a segment."""
        exif, extension = bytearray(), _Extension()
        for each in islice(_segments(found.file), _SEGMENT_COUNT_LIMIT):
            if each.code not in (_COMMENT, _APP1):
                continue
            data = found.read(each.offset + _HEADER.size, each.length)
            if each.code == _COMMENT:
                found.add("jpeg:comment", "comment", decode(data))
            elif data.startswith(_EXIF):
                exif += data[len(_EXIF) :]
            elif data.startswith(_XMP):
                add_xmp(found, data[len(_XMP) :])
            elif data.startswith(_XMP_EXTENSION) and (packet := extension.add(data[len(_XMP_EXTENSION) :])):
                add_xmp(found, packet)
        add_exif(found, bytes(exif))

    def clean(self, file: BinaryIO) -> Cleaning:
        """Tell what a clean copy is made of."""
        from comfyvn.media.clean_pictures import clean_jpeg

        return clean_jpeg(file)


class _Extension:
    """Puts together a packet that is too long for a segment.

    Each of its segments names the packet, its whole length, and where in it the segment belongs.
    """

    def __init__(self) -> None:
        self._name = b""
        self._parts = bytearray()

    def add(self, data: bytes) -> bytes:
        """Return the packet once it is whole; its parts have to come in order."""
        name, length, at = data[:32], int.from_bytes(data[32:36], "big"), int.from_bytes(data[36:40], "big")
        if at == 0:
            self._name, self._parts = name, bytearray()
        if name != self._name or at != len(self._parts):
            return b""
        self._parts += data[40:]
        return bytes(self._parts) if len(self._parts) == length else b""


@dataclass(frozen=True, slots=True)
class _Segment:
    """Where a segment begins, its marker code, the length of its data, and how the data begin."""

    offset: int
    code: int
    length: int
    head: bytes

    @property
    def end(self) -> int:
        return self.offset + _HEADER.size + self.length


def _segments(file: BinaryIO) -> Iterator[_Segment]:
    """Yield the segments up to the first scan, or to the first thing that is none."""
    at = 2
    for _ in range(2 * _SEGMENT_COUNT_LIMIT):
        data = read_at(file, at, _HEADER.size + len(_XMP))
        if len(data) < _HEADER.size or data[0] != 0xFF:
            return
        _, code, length = _HEADER.unpack_from(data)
        if code == 0xFF:  # a fill byte
            at += 1
            continue
        if code in _PARAMETERLESS or length < 2:
            return
        found = _Segment(at, code, length - 2, data[_HEADER.size :][: length - 2])
        yield found
        if code == _START_OF_SCAN:
            return
        at = found.end


def _place(segments: Sequence[_Segment]) -> int:
    """Return where a segment of ours goes: behind the JFIF and Exif segments that the file starts with."""
    at = 2
    for each in segments:
        if each.code == _APP0 or (each.code == _APP1 and each.head.startswith(b"Exif\0")):
            at = each.end
        elif each.code != _APP1 or not each.head.startswith(_XMP):
            break
    return at


def _carriers(file: BinaryIO, segments: Sequence[_Segment]) -> Iterator[xmp.Carrier]:
    """Yield the XMP segments; those behind the list of pictures are fixed."""
    is_fixed = False
    for each in segments:
        is_fixed = is_fixed or (each.code == _APP2 and each.head.startswith(b"MPF\0"))
        if each.code == _APP1 and each.head == _XMP:
            data = read_at(file, each.offset, _HEADER.size + each.length)
            if len(data) == _HEADER.size + each.length:
                packet = data[_HEADER.size + len(_XMP) :]
                yield xmp.Carrier(each.offset, data, packet, is_fixed)


def _wrap(packet: bytes) -> bytes:
    return _HEADER.pack(0xFF, _APP1, 2 + len(_XMP) + len(packet)) + _XMP + packet


def _is_signature(file: BinaryIO, segment: _Segment) -> bool:
    """Tell a JUMBF box with a manifest; other boxes in APP11 are parts of the picture (JPEG XT, 360)."""
    if segment.code != _APP11 or segment.head[:2] != b"JP" or segment.head[12:16] != b"jumb":
        return False
    return b"c2pa" in read_at(file, segment.offset, min(segment.length, 200) + _HEADER.size)
