"""AVIF, HEIC and JPEG XL: the marker lives in a box of its own at the end of the file.

Pictures in these files are found by their distance from its start, so nothing is put before them and no list
of items is touched. AVIF and HEIC get a ``uuid`` box with Adobe's identifier of XMP, JPEG XL an ``xml `` box;
readers pass over boxes that they don't know. Behind the ``uuid`` box stands an empty one: Exiv2 reads 24
bytes too many there, and gives up on all metadata of a file that ends before.

Format: ISO/IEC 14496-12:2022 (boxes), 4.2 and 6; ISO/IEC 23008-12:2022 (HEIF); AV1 Image File Format 1.1;
ISO/IEC 18181-2:2024 (JPEG XL), 9; XMP Specification Part 3 (Adobe, 2020), 2.3.3; C2PA 2.2, A.3.9 and A.5.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import SEEK_END
from itertools import islice
from typing import BinaryIO, Final

from comfyvn.media import xmp, xmp_packet
from comfyvn.media.embedded import TextCollector
from comfyvn.media.exif import add_exif
from comfyvn.media.formats import Layout, read_at
from comfyvn.media.heif_items import add_items, tiff_of
from comfyvn.media.images import PillowFormat
from comfyvn.media.xmp_texts import add_xmp
from comfyvn.model import PreviewKind

__all__ = ["AvifFormat", "HeicFormat", "JxlFormat"]

_XMP: Final = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
_C2PA: Final = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
_HEADER: Final = struct.Struct(">I4s")
_BOX_COUNT_LIMIT: Final = 100_000
_TOO_MANY: Final = f"it has more than {_BOX_COUNT_LIMIT:,} boxes"
_AVIF_BRANDS: Final = frozenset({b"avif", b"avis"})
_HEIC_BRANDS: Final = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"})
_JXL_SIGNATURE: Final = b"\0\0\0\x0cJXL \r\n\x87\n"
_XMP_STARTS: Final = (b"<?xpacket", b"<x:xmpmeta", b"<rdf:RDF")  # other XML may be there too
_TRACK_PATH: Final = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsz")


class _BoxFormat(PillowFormat):
    """A picture in boxes; what differs is said by the classes that inherit."""

    kind: bytes = b"uuid"
    head: bytes = _XMP
    tail: bytes = _HEADER.pack(24, b"free") + bytes(16)
    is_anchored = True  # parts of it are found by their distance from its start

    def layout(self, file: BinaryIO) -> Layout:
        """Find our box at the end, our property in somebody else's there, or the place for a box of ours."""
        size_bytes = file.seek(0, SEEK_END)
        most = _BOX_COUNT_LIMIT + 2 * xmp.CARRIER_LIMIT
        boxes = list(islice(_boxes(file, 0, size_bytes), most + 1))
        if len(boxes) > most:
            return Layout(refusal=_TOO_MANY)
        if not boxes or boxes[-1].end != size_bytes:
            return Layout(refusal="it is damaged: its boxes don't fill it")
        carriers = list(islice(self._carriers(file, boxes), xmp.CARRIER_LIMIT + 1))
        found = xmp.layout_of(carriers, xmp.Place(size_bytes, self._wrap, tail=self.tail))
        refusal = self._refusal(file, boxes) or found.refusal
        if len(boxes) - 2 * len(carriers) > _BOX_COUNT_LIMIT:  # those that we add don't count
            refusal = _TOO_MANY
        return Layout(found.splices, found.marker, refusal)

    def texts(self, found: TextCollector) -> None:
        """Take up the texts of Exif and XMP, in boxes of their own or as items of the file."""
        for each in islice(_boxes(found.file, 0, found.size_bytes), _BOX_COUNT_LIMIT):
            start = each.offset + each.header_bytes
            if self._holds_xmp(found.file, each):
                start += len(self.head)
                add_xmp(found, found.read(start, each.end - start))
            elif each.kind == b"Exif":
                add_exif(found, tiff_of(found.read(start, each.end - start)))
            elif each.kind == b"meta":
                add_items(found, start, each.end)

    def _carriers(self, file: BinaryIO, boxes: Sequence[_Box]) -> Iterator[xmp.Carrier]:
        """Yield the boxes with XMP; those with anything else behind them are fixed, and ours without tail."""
        end = 0  # of the last box that may not move
        for at, each in enumerate(boxes):
            is_ours = at > 0 and self._holds_xmp(file, boxes[at - 1]) and self._is_tail(file, each)
            if not is_ours and not self._holds_xmp(file, each):
                end = each.end
        for at, each in enumerate(boxes):
            if self._holds_xmp(file, each) and not _is_odd(each):
                data = read_at(file, each.offset, each.end - each.offset)
                packet = data[_HEADER.size + len(self.head) :]
                is_fixed = self.is_anchored and each.offset < end
                if self.tail and xmp_packet.own_value(packet) is not None:
                    is_tailed = at + 1 < len(boxes) and self._is_tail(file, boxes[at + 1])
                    data, is_fixed = data + self.tail, is_fixed or not is_tailed
                yield xmp.Carrier(each.offset, data, packet, is_fixed)

    def _is_tail(self, file: BinaryIO, box: _Box) -> bool:
        return read_at(file, box.offset, min(box.end - box.offset, len(self.tail) + 1)) == self.tail

    def _holds_xmp(self, file: BinaryIO, box: _Box) -> bool:
        start = box.offset + box.header_bytes
        return box.kind == self.kind and read_at(file, start, len(self.head)) == self.head

    def _wrap(self, packet: bytes) -> bytes:
        return _HEADER.pack(_HEADER.size + len(self.head) + len(packet), self.kind) + self.head + packet

    def _refusal(self, file: BinaryIO, boxes: Sequence[_Box]) -> str | None:
        """Say why nothing may be put behind these boxes."""
        if not boxes[-1].is_sized:
            return "its last part has no length: whatever follows would belong to it"
        if boxes[-1].kind == b"mfra":
            return "its index has to be its last part"
        if any(self._holds_xmp(file, each) and _is_odd(each) for each in boxes):
            return "its XMP is too large"
        is_signed = any(
            each.kind == b"uuid" and read_at(file, each.offset + each.header_bytes, 16) == _C2PA
            for each in boxes
        )
        return xmp.SIGNED if is_signed else None


class AvifFormat(_BoxFormat):
    """AVIF: can be stamped, has thumbnails; a sequence also moves."""

    name = "avif"
    family = "AVIF"

    def sniff(self, head: bytes, name: str) -> bool:
        """Tell an AVIF by its brands."""
        return not _AVIF_BRANDS.isdisjoint(_brands(head))

    def kind_of(self, file: BinaryIO) -> PreviewKind | None:
        """Tell an animation by its brand and its second sample."""
        if read_at(file, 4, 8) != b"ftypavis":
            return self.preview_kind
        size_bytes = file.seek(0, SEEK_END)
        tables = _inside(file, 0, size_bytes, _TRACK_PATH)
        counts = [int.from_bytes(read_at(file, each.offset + 16, 4), "big") for each in tables]
        return "animation" if max(counts, default=0) > 1 else self.preview_kind


class HeicFormat(_BoxFormat):
    """HEIC: can be stamped, has thumbnails where pillow-heif is installed."""

    name = "heic"
    family = "HEIF"

    def sniff(self, head: bytes, name: str) -> bool:
        """Tell a HEIC by its brands."""
        return not _HEIC_BRANDS.isdisjoint(_brands(head))


class JxlFormat(_BoxFormat):
    """JPEG XL: can be stamped when it is in boxes, has thumbnails where a plug-in is installed."""

    name = "jxl"
    family = "JXL"
    kind = b"xml "
    head = b""
    tail = b""
    is_anchored = False

    def sniff(self, head: bytes, name: str) -> bool:
        """Tell a JPEG XL by its signature box; a naked one by its start and its suffix."""
        is_naked = head.startswith(b"\xff\x0a") and name.lower().endswith(".jxl")
        return head.startswith(_JXL_SIGNATURE) or is_naked

    def layout(self, file: BinaryIO) -> Layout:
        """Find our box at the end, or the place for it."""
        if read_at(file, 0, len(_JXL_SIGNATURE)) != _JXL_SIGNATURE:
            return Layout(refusal="it is a naked JPEG XL, which has no place for it")
        return super().layout(file)

    def _holds_xmp(self, file: BinaryIO, box: _Box) -> bool:
        if box.kind != self.kind:
            return False
        start = read_at(file, box.offset + box.header_bytes, 64).lstrip(b"\xef\xbb\xbf \t\r\n")
        return start.startswith(_XMP_STARTS)

    def _refusal(self, file: BinaryIO, boxes: Sequence[_Box]) -> str | None:
        heads = [(each.kind, read_at(file, each.offset + each.header_bytes, 64)) for each in boxes]
        if any(kind == b"brob" and head.startswith(b"xml ") for kind, head in heads):
            return "its XMP is compressed"
        is_packed = any(kind == b"brob" and head.startswith(b"jumb") for kind, head in heads)
        if is_packed or any(kind == b"jumb" and b"c2pa" in head for kind, head in heads):
            return xmp.SIGNED
        return super()._refusal(file, boxes)


@dataclass(frozen=True, slots=True)
class _Box:
    """Where a box begins and ends, its type, the length of its header, and whether its length is told."""

    offset: int
    kind: bytes
    end: int
    header_bytes: int
    is_sized: bool


def _is_odd(box: _Box) -> bool:
    """Tell a box of XMP that is too long, or told its length in an unusual way."""
    is_short = box.is_sized and box.header_bytes == _HEADER.size
    return not is_short or box.end - box.offset > xmp.PACKET_LIMIT + 24


def _boxes(file: BinaryIO, start: int, end: int) -> Iterator[_Box]:
    """Yield the boxes from a place on, up to the first thing that is none."""
    at = start
    while at < end and len(header := read_at(file, at, 16)) >= _HEADER.size:
        size, kind = _HEADER.unpack_from(header)
        header_bytes, is_sized = _HEADER.size, size != 0
        if size == 1 and len(header) == 16:
            header_bytes, size = 16, int.from_bytes(header[8:], "big")
        size = size if is_sized else end - at
        if size < header_bytes or at + size > end:
            return
        yield _Box(at, kind, at + size, header_bytes, is_sized)
        at += size


def _inside(file: BinaryIO, start: int, end: int, path: Sequence[bytes]) -> Iterator[_Box]:
    """Yield the boxes of a path, at most two of a kind in each: tracks of the picture and of its alpha."""
    kept = (each for each in islice(_boxes(file, start, end), 1000) if each.kind == path[0])
    for each in islice(kept, 2):
        if len(path) == 1:
            yield each
        else:
            yield from _inside(file, each.offset + each.header_bytes, each.end, path[1:])


def _brands(head: bytes) -> set[bytes]:
    if head[4:8] != b"ftyp":
        return set()
    size = min(int.from_bytes(head[:4], "big"), len(head))
    return {head[8:12], *(head[at : at + 4] for at in range(16, size, 4))}
