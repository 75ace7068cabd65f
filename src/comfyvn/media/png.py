"""PNG and APNG: the marker, spliced in as one ``tEXt`` chunk; no decoding, no Pillow.

A Pillow re-save changes bytes that are not ours (frames, depth, gamma, private chunks), so we walk the chunk
headers and touch nothing else.

Format: Portable Network Graphics, Third Edition (W3C, 2025), sections 5 and 11.3.3.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import SEEK_END
from itertools import islice
from tempfile import TemporaryFile
from typing import BinaryIO, Final

from comfyvn.errors import PreviewFailed
from comfyvn.media import images
from comfyvn.media.formats import MARKER_NAME, Layout, PreviewLimits, Rendered, Splice, read_at
from comfyvn.model import PreviewKind

__all__ = ["PngFormat"]

SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"

_PREFIX: Final = MARKER_NAME.encode() + b"\0"
_MARKER_DATA_LIMIT: Final = 64 * 1024  # a longer chunk is somebody else's: we never write one
_CHUNK_COUNT_LIMIT: Final = 100_000
_CHUNK_LIMIT: Final = 2**31 - 1
_HEADER: Final = struct.Struct(">I4s")
_OVERHEAD: Final = 12  # length, type and check sum of a chunk
_COPY_BLOCK: Final = 1 << 20

# What the pixels don't need, least needed first. Pillow raises ValueError for a text or profile that unpacks
# to more than 1 MiB, and SyntaxError for one with a wrong check sum; browsers show both pictures.
_TEXTS: Final = frozenset({b"tEXt", b"zTXt", b"iTXt"})
_LEFT_OUT: Final = (frozenset[bytes](), _TEXTS, _TEXTS | {b"iCCP", b"eXIf"})


class PngFormat:
    """PNG and APNG: can be stamped, has thumbnails."""

    name: Final = "png"
    preview_kind: PreviewKind | None = "thumbnail"

    def sniff(self, head: bytes, name: str) -> bool:
        """Tell a PNG by its signature."""
        return head.startswith(SIGNATURE)

    def layout(self, file: BinaryIO) -> Layout:
        """Find our ``tEXt`` chunks, or the place for one, right before the first ``IDAT``.

        A marker is a complete ``tEXt`` chunk before the end of the chunk stream, with exactly our keyword
        and at most 64 KiB of data. From ``IEND``, or from the first thing that is no chunk, all is content.
        """
        chunks = list(islice(_chunks(file), _CHUNK_COUNT_LIMIT))
        if len(chunks) == _CHUNK_COUNT_LIMIT:
            return Layout(refusal=f"it has more than {_CHUNK_COUNT_LIMIT:,} chunks")
        size_bytes = file.seek(0, SEEK_END)
        found = [
            Splice(each.offset, data, b"", _nothing) for each, data in _markers(file, chunks, size_bytes)
        ]
        marker = found[0].data[8 + len(_PREFIX) : -4] if found else None
        pixels = next((each.offset for each in chunks if each.kind == b"IDAT"), None)
        if pixels is None:
            return Layout(tuple(found), marker, "it is damaged: it has no pixels")
        if any(each.kind == b"caBX" for each in chunks):
            return Layout(tuple(found), marker, "it is signed with content credentials (C2PA)")
        found.append(Splice(pixels, b"", b"", _encode))
        return Layout(tuple(sorted(found, key=lambda splice: splice.offset)), marker)

    def preview(self, file: BinaryIO, limits: PreviewLimits) -> Rendered:
        """Make the thumbnails of the picture, or of the first frame."""
        reason = PreviewFailed(why="the picture is damaged or incomplete")
        for left_out in _LEFT_OUT:
            try:
                return _preview_without(left_out, file, limits)
            except PreviewFailed as failure:
                if not isinstance(failure.__cause__, (ValueError, SyntaxError)):
                    raise
                reason = failure
        raise reason

    def unavailable(self) -> str | None:
        """Say whether Pillow is missing."""
        return images.pillow_unavailable()


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Where a chunk begins, its type, and the length of its data."""

    offset: int
    kind: bytes
    length: int


def _chunks(file: BinaryIO) -> Iterator[_Chunk]:
    """Yield the chunks up to ``IEND`` or to the first thing that is none; the last may be cut short."""
    at = len(SIGNATURE)
    while len(header := read_at(file, at, _HEADER.size)) == _HEADER.size:
        length, kind = _HEADER.unpack(header)
        if kind == b"IEND" or length > _CHUNK_LIMIT or not kind.isalpha():
            return
        yield _Chunk(at, kind, length)
        at += _OVERHEAD + length


def _markers(file: BinaryIO, chunks: Sequence[_Chunk], size_bytes: int) -> Iterator[tuple[_Chunk, bytes]]:
    for each in chunks:
        end = each.offset + _OVERHEAD + each.length
        if each.kind == b"tEXt" and len(_PREFIX) <= each.length <= _MARKER_DATA_LIMIT and end <= size_bytes:
            data = read_at(file, each.offset, _OVERHEAD + each.length)
            if data[8:].startswith(_PREFIX):
                yield each, data


def _encode(value: bytes) -> bytes:
    """Return the ``tEXt`` chunk.

    Raises:
        ValueError: the value has a NUL, which ends a text, or more than 64 KiB.
    """
    data = _PREFIX + value
    if len(data) > _MARKER_DATA_LIMIT:
        room = _MARKER_DATA_LIMIT - len(_PREFIX)
        raise ValueError(f"the marker has {len(value)} bytes, a PNG takes {room}")
    if b"\0" in value:
        raise ValueError("a marker can't hold a NUL byte")
    body = b"tEXt" + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))


def _nothing(_: bytes) -> bytes:
    """Stand for a second marker, of which nothing is left in a stamped file."""
    return b""


def _preview_without(left_out: frozenset[bytes], file: BinaryIO, limits: PreviewLimits) -> Rendered:
    if not left_out:
        return Rendered(images.make_thumbnails(file, "PNG", limits))
    with TemporaryFile() as copy:
        _copy_without(left_out, file, copy)
        copy.seek(0)
        return Rendered(images.make_thumbnails(copy, "PNG", limits))


def _copy_without(left_out: frozenset[bytes], source: BinaryIO, sink: BinaryIO) -> None:
    """Copy a PNG without the chunks of some types."""
    source.seek(0)
    sink.write(source.read(len(SIGNATURE)))
    while len(header := source.read(_HEADER.size)) == _HEADER.size:
        length, kind = _HEADER.unpack(header)
        if kind in left_out:
            source.seek(length + 4, 1)
            continue
        sink.write(header)
        left = length + 4
        while left and (block := source.read(min(left, _COPY_BLOCK))):
            sink.write(block)
            left -= len(block)
