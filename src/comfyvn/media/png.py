"""PNG and APNG: the marker, spliced in as one ``tEXt`` chunk; no decoding, no Pillow.

A Pillow re-save changes bytes that are not ours (frames, depth, gamma, private chunks), so we walk the chunk
headers and touch nothing else.

Format: Portable Network Graphics, Third Edition (W3C, 2025), sections 5 and 11.3.3.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator
from tempfile import TemporaryFile
from typing import BinaryIO, Final

from comfyvn.errors import PreviewFailed
from comfyvn.media import images
from comfyvn.media.formats import Part, PreviewLimits
from comfyvn.model import PreviewKind

__all__ = ["KEYWORD", "PngFormat"]

KEYWORD: Final = b"comfyvn_provenance"
SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"

_PREFIX: Final = KEYWORD + b"\0"
_MARKER_DATA_LIMIT: Final = 64 * 1024  # a longer chunk is somebody else's: we never write one
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

    def split(self, blocks: Iterable[bytes]) -> Iterator[Part]:
        """Take a PNG apart; the slot lies right before the first ``IDAT``, none in a file signed by C2PA.

        A marker is a complete ``tEXt`` chunk before the end of the chunk stream, with exactly our keyword
        and at most 64 KiB of data. From ``IEND``, or from the first thing that is no chunk, all is content.
        """
        walk = _Walk()
        for block in blocks:
            yield from walk.feed(block)
        if walk.carry:
            yield Part("content", walk.carry)

    def encode_marker(self, value: bytes) -> bytes:
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

    def preview(self, file: BinaryIO, limits: PreviewLimits) -> dict[str, bytes]:
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


class _Walk:
    """The way through a chunk stream that comes in blocks.

    Nearly all of a block is handed on as one or two views of it: a large update of the hash lets other
    threads run, and costs nothing per chunk. Only what can't be judged yet (part of a header, part of a
    possible marker: at most 64 KiB) is carried over to the next block.
    """

    def __init__(self) -> None:
        self.skip = len(SIGNATURE)  # from the start of the next block to the next chunk
        self.carry = b""
        self.in_chunks = True
        self.wants_slot = True

    def feed(self, block: bytes) -> Iterator[Part]:
        if self.carry:
            block, self.carry = self.carry + block, b""
        view = memoryview(block)
        size = len(block)
        done = 0
        at = self.skip
        while self.in_chunks and at + 8 <= size:
            length, kind = _HEADER.unpack_from(block, at)
            end = at + _OVERHEAD + length
            if kind == b"IDAT":
                if self.wants_slot:
                    self.wants_slot = False
                    yield Part("content", view[done:at])
                    yield Part("slot")
                    done = at
            elif kind == b"tEXt" and len(_PREFIX) <= length <= _MARKER_DATA_LIMIT:
                verdict = _is_marker(block, at, end)
                if verdict is None:
                    break
                if verdict:
                    yield Part("content", view[done:at])
                    yield Part("marker", view[at:end], block[at + 8 + len(_PREFIX) : end - 4])
                    done = end
            elif kind == b"caBX":  # a C2PA signature, which any byte of ours would break
                self.wants_slot = False
            elif kind == b"IEND" or length > _CHUNK_LIMIT or not kind.isalpha():
                self.in_chunks = False
            at = end
        if self.in_chunks and at < size:
            self.carry = block[at:]
            self.skip = 0
            size = at
        else:
            self.skip = at - size
        if done < size:
            yield Part("content", view[done:size])


def _is_marker(block: bytes, at: int, end: int) -> bool | None:
    """Tell whether the ``tEXt`` chunk at ``at`` is ours; None when too little of it is there to know."""
    known = block[at + 8 : at + 8 + len(_PREFIX)]
    if not _PREFIX.startswith(known):
        return False
    return True if end <= len(block) else None


def _preview_without(left_out: frozenset[bytes], file: BinaryIO, limits: PreviewLimits) -> dict[str, bytes]:
    if not left_out:
        return images.make_thumbnails(file, "PNG", limits)
    with TemporaryFile() as copy:
        _copy_without(left_out, file, copy)
        copy.seek(0)
        return images.make_thumbnails(copy, "PNG", limits)


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
