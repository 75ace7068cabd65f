"""WebP, still and animated: the marker lives in the XMP chunk at the end.

A simple file (one ``VP8 `` or ``VP8L`` chunk) has no place for XMP: it gets a ``VP8X`` header first, and our
packet notes that. The picture's own chunks stay byte for byte.

Format: WebP Container Specification (RFC 9649, 2024), section 2; C2PA 2.2, A.3.4.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import SEEK_END
from itertools import islice
from typing import TYPE_CHECKING, BinaryIO, Final

from comfyvn.media import xmp, xmp_packet
from comfyvn.media.embedded import TextCollector
from comfyvn.media.exif import add_exif
from comfyvn.media.formats import Layout, Splice, read_at
from comfyvn.media.images import PillowFormat
from comfyvn.media.xmp_texts import add_xmp
from comfyvn.model import PreviewKind

if TYPE_CHECKING:
    from comfyvn.media.clean import Cleaning

__all__ = ["WebpFormat"]

_HEAD_BYTES: Final = 12
_CHUNK_COUNT_LIMIT: Final = 100_000
_TOO_MANY: Final = f"it has more than {_CHUNK_COUNT_LIMIT:,} chunks, or 4 GiB"
_CHUNK: Final = struct.Struct("<4sI")
_RIFF_LIMIT: Final = 0xFFFFFFF6 - (1 << 20)  # room for any marker
_FLAGS_OFFSET: Final = 20  # VP8X is the first chunk
_ANIMATED, _HAS_XMP, _HAS_ALPHA = 0x02, 0x04, 0x10
_SIMPLE, _FLAGGED = b" simple", b" flagged"


class WebpFormat(PillowFormat):
    """WebP: can be stamped, has thumbnails; an animated one also moves."""

    name = "webp"
    family = "WEBP"

    def sniff(self, head: bytes, name: str) -> bool:
        """Tell a WebP by its RIFF header."""
        return head.startswith(b"RIFF") and head[8:12] == b"WEBP"

    def layout(self, file: BinaryIO) -> Layout:
        """Find our property in the XMP chunk, our own XMP chunk, or the place for one."""
        end = _HEAD_BYTES - 4 + int.from_bytes(read_at(file, 4, 4), "little")
        if end > file.seek(0, SEEK_END):
            return Layout(refusal="it is damaged: it is cut short")
        most = _CHUNK_COUNT_LIMIT + xmp.CARRIER_LIMIT
        chunks = list(islice(_chunks(file, end), most + 1))
        if len(chunks) > most:
            return Layout(refusal=_TOO_MANY)
        if end % 2 or not chunks or chunks[-1].end != end:
            return Layout(refusal="it is damaged: its chunks don't fill it")
        try:
            return _layout(file, chunks, end)
        except _Unusual as unusual:
            return Layout(refusal=str(unusual))

    def texts(self, found: TextCollector) -> None:
        """Take up the texts of Exif and XMP."""
        for each in islice(_chunks(found.file, found.size_bytes), _CHUNK_COUNT_LIMIT):
            if each.kind == b"EXIF":
                add_exif(found, found.read(each.offset + _CHUNK.size, each.length))
            elif each.kind == b"XMP ":
                add_xmp(found, found.read(each.offset + _CHUNK.size, each.length))

    def clean(self, file: BinaryIO) -> Cleaning:
        """Tell what a clean copy is made of."""
        from comfyvn.media.clean_pictures import clean_webp

        return clean_webp(file)

    def kind_of(self, file: BinaryIO) -> PreviewKind | None:
        """Tell an animation by its second frame."""
        head = read_at(file, 0, _FLAGS_OFFSET + 1)
        if head[_HEAD_BYTES:-5] != b"VP8X" or not head[_FLAGS_OFFSET] & _ANIMATED:
            return self.preview_kind
        end = _HEAD_BYTES - 4 + int.from_bytes(read_at(file, 4, 4), "little")
        frames = (each for each in islice(_chunks(file, end), _CHUNK_COUNT_LIMIT) if each.kind == b"ANMF")
        return "animation" if len(list(islice(frames, 2))) == 2 else self.preview_kind


class _Unusual(Exception):
    """The file is of a shape that can't be stamped; says why."""


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Where a chunk begins, its type, and the length of its data."""

    offset: int
    kind: bytes
    length: int

    @property
    def end(self) -> int:
        return self.offset + _CHUNK.size + self.length + self.length % 2


def _chunks(file: BinaryIO, end: int) -> Iterator[_Chunk]:
    """Yield the chunks of the RIFF; the last may reach beyond its end."""
    at = _HEAD_BYTES
    while at + _CHUNK.size <= end and len(header := read_at(file, at, _CHUNK.size)) == _CHUNK.size:
        found = _Chunk(at, *_CHUNK.unpack(header))
        yield found
        at = found.end


def _layout(file: BinaryIO, chunks: Sequence[_Chunk], end: int) -> Layout:
    """Join the splices of the XMP chunks with those of the headers that tell of them."""
    carriers = list(_carriers(file, chunks))
    notes = [note for note in (xmp_packet.own_note(each.packet) for each in carriers) if note is not None]
    is_foreign = len(notes) < len(carriers)
    header, note = _header(file, chunks, notes, is_foreign)
    found = xmp.layout_of(carriers, xmp.Place(end, _wrap, note=note))
    if any(each.kind == b"C2PA" for each in chunks):
        found = Layout(found.splices, found.marker, xmp.SIGNED)
    elif len(chunks) - len(carriers) > _CHUNK_COUNT_LIMIT or end > _RIFF_LIMIT:  # what we add doesn't count
        found = Layout(found.splices, found.marker, _TOO_MANY)
    if not found.splices:
        return found
    splices = (header, *found.splices)
    return Layout((_size(file, end, splices), *splices), found.marker, found.refusal)


def _carriers(file: BinaryIO, chunks: Sequence[_Chunk]) -> Iterator[xmp.Carrier]:
    kept = [each for each in chunks if each.kind == b"XMP "]
    if len(kept) > xmp.CARRIER_LIMIT or any(each.length > xmp.PACKET_LIMIT for each in kept):
        raise _Unusual("its XMP is too large")
    for each in kept:
        data = read_at(file, each.offset, each.end - each.offset)
        yield xmp.Carrier(each.offset, data, data[_CHUNK.size : _CHUNK.size + each.length])


def _header(
    file: BinaryIO, chunks: Sequence[_Chunk], notes: Sequence[bytes], is_foreign: bool
) -> tuple[Splice, bytes]:
    """Return the splice of the VP8X header, and what our packet has to note of the file without it."""
    first = chunks[0]
    if first.kind in (b"VP8 ", b"VP8L"):
        if len(chunks) > 1:
            raise _Unusual("it is of the simple kind and has more than a picture")
        made = _vp8x(file, first)
        return Splice(_HEAD_BYTES, b"", b"", xmp.without_value(made)), _SIMPLE
    if first.kind != b"VP8X" or first.length != 10:
        raise _Unusual("it is damaged: it begins with neither picture nor header")
    data = read_at(file, first.offset, first.end - first.offset)
    flags = data[_FLAGS_OFFSET - _HEAD_BYTES]
    if notes and notes[0] == _SIMPLE and not is_foreign and _is_made(file, chunks, data):
        return Splice(first.offset, data, b"", xmp.without_value(data)), _SIMPLE
    if is_foreign and not flags & _HAS_XMP:
        raise _Unusual("its header denies the XMP that it has")
    stays = is_foreign or (bool(flags & _HAS_XMP) and (not notes or notes[0] == _FLAGGED))
    bare = flags if stays else flags & ~_HAS_XMP
    note = _FLAGGED if bare & _HAS_XMP else b""
    flagged = bytes([bare | _HAS_XMP])
    return Splice(_FLAGS_OFFSET, bytes([flags]), bytes([bare]), xmp.without_value(flagged)), note


def _is_made(file: BinaryIO, chunks: Sequence[_Chunk], header: bytes) -> bool:
    """Tell whether the header is as we make it for a simple file, and the file else still a simple one."""
    rest = [each for each in chunks[1:] if each.kind != b"XMP "]
    if len(rest) != 1 or rest[0] != chunks[1] or rest[0].kind not in (b"VP8 ", b"VP8L"):
        return False
    try:
        return _vp8x(file, rest[0]) == header
    except _Unusual:
        return False


def _vp8x(file: BinaryIO, picture: _Chunk) -> bytes:
    """Return the header that says the same as a simple file's picture does: its size, and whether it has
    alpha."""
    data = read_at(file, picture.offset + _CHUNK.size, min(10, picture.length))
    has_alpha = False
    if picture.kind == b"VP8L" and len(data) >= 5 and data[0] == 0x2F:
        bits = int.from_bytes(data[1:5], "little")
        width, height, has_alpha = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, bool(bits >> 28 & 1)
    elif picture.kind == b"VP8 " and len(data) == 10 and not data[0] & 1 and data[3:6] == b"\x9d\x01\x2a":
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", data, 6))
    else:
        raise _Unusual("it is damaged: its picture has no header")
    if not width or not height:
        raise _Unusual("it is damaged: its picture has no size")
    flags = _HAS_XMP | (_HAS_ALPHA if has_alpha else 0)
    sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return _CHUNK.pack(b"VP8X", 10) + bytes([flags, 0, 0, 0]) + sides


def _wrap(packet: bytes) -> bytes:
    return _CHUNK.pack(b"XMP ", len(packet)) + packet + b"\0" * (len(packet) % 2)


def _size(file: BinaryIO, end: int, splices: Sequence[Splice]) -> Splice:
    """Return the splice of the RIFF's length."""
    bare = end - 8 + sum(len(each.bare) - len(each.data) for each in splices)
    unmarked = sum(len(each.bare) for each in splices)

    def stamped(value: bytes) -> bytes:
        grown = sum(len(each.stamped(value)) for each in splices) - unmarked
        return struct.pack("<I", bare + grown)

    return Splice(4, read_at(file, 4, 4), struct.pack("<I", bare), stamped)
