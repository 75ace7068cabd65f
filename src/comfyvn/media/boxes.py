"""The boxes that MP4 and QuickTime files are made of: their headers, read one by one.

Format: ISO/IEC 14496-12, section 4.2; QuickTime File Format Specification (Apple), "Atoms".
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import SEEK_END
from typing import BinaryIO, Final

from comfyvn.media.formats import read_at

__all__ = ["Box", "BoxReader", "Refusal", "box_of", "damaged", "only"]

_BOX_COUNT_LIMIT: Final = 100_000


class Refusal(Exception):
    """Why a file can't be stamped, in one clause, and the marker that it has all the same."""

    def __init__(self, why: str, marker: bytes | None = None) -> None:
        super().__init__(why)
        self.why, self.marker = why, marker


@dataclass(frozen=True, slots=True)
class Box:
    """Where a box begins, its type, the length of its header, and its whole length."""

    offset: int
    kind: bytes
    header: int
    size: int

    @property
    def inner(self) -> int:
        """Where its content begins."""
        return self.offset + self.header

    @property
    def end(self) -> int:
        """Where the next one begins."""
        return self.offset + self.size


class BoxReader:
    """Reads the headers of boxes, and gives up on a file with too many.

    Raises:
        Refusal: by every method: the lengths of boxes don't fit, or there are more than 100,000.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self._left = _BOX_COUNT_LIMIT

    def top(self) -> list[Box]:
        """Return the boxes of the file, up to the first thing that is none."""
        size_bytes = self.file.seek(0, SEEK_END)
        found = list(self.run(0, size_bytes))
        at = found[-1].end if found else 0
        size, kind = struct.unpack(">I4s", self.bytes_at(at, 8))
        if kind.isalnum() and not 1 < size < 8:
            raise damaged("it is cut short")
        return found

    def inside(self, box: Box) -> list[Box]:
        """Return the boxes in a box; fewer than 8 bytes may be left behind them."""
        found = list(self.run(self.start(box), box.end))
        if not 0 <= box.end - self.end(box, found) < 8:
            raise damaged(f"a length in its box {box.kind.decode('latin-1')} is wrong")
        return found

    def run(self, at: int, end: int) -> Iterator[Box]:
        """Yield the boxes that follow each other from a place on."""
        while (box := self._box(at, end)) is not None:
            yield box
            at = box.end

    def start(self, box: Box) -> int:
        """Return where the boxes in a box begin: ``meta`` has a version first, but not in QuickTime."""
        if box.kind != b"meta" or (box.size >= box.header + 8 and self.bytes_at(box.inner + 4, 4) == b"hdlr"):
            return box.inner
        return box.inner + 4

    def end(self, box: Box, inside: Sequence[Box]) -> int:
        """Return where the boxes in a box end."""
        return inside[-1].end if inside else self.start(box)

    def bytes_at(self, offset: int, length: int) -> bytes:
        """Read from a place; what the file is too short for is filled up with zeros."""
        return read_at(self.file, offset, length).ljust(length, b"\0")

    def number_at(self, offset: int) -> int:
        """Read a number of four bytes."""
        return int.from_bytes(self.bytes_at(offset, 4), "big")

    def handler(self, hdlr: Box) -> bytes:
        """Return what a handler is for, such as ``vide``."""
        return self.bytes_at(hdlr.inner + 8, 4) if hdlr.size >= hdlr.header + 12 else b""

    def _box(self, at: int, end: int) -> Box | None:
        head = read_at(self.file, at, min(16, end - at))
        if len(head) < 8:
            return None
        size, header, kind = int.from_bytes(head[:4], "big"), 8, head[4:8]
        if size == 1 and len(head) == 16:
            size, header = int.from_bytes(head[8:], "big"), 16
        elif size == 0 and kind == b"mdat":  # it goes on to the end of the file
            size = end - at
        if not header <= size <= end - at:
            return None
        self._left -= 1
        if self._left < 0:
            raise Refusal(f"it has more than {_BOX_COUNT_LIMIT:,} boxes")
        return Box(at, kind, header, size)


def only(boxes: Sequence[Box], kind: bytes) -> Box:
    """Return the box of a kind of which there may be only one.

    Raises:
        Refusal: there is none, or there are several.
    """
    found = [box for box in boxes if box.kind == kind]
    if len(found) != 1:
        raise damaged(f"it has {len(found) or 'no'} box{'es' * (len(found) > 1)} {kind.decode('latin-1')}")
    return found[0]


def damaged(why: str) -> Refusal:
    """Return the refusal of a damaged file."""
    return Refusal(f"it is damaged: {why}")


def box_of(kind: bytes, content: bytes) -> bytes:
    """Return a box with a content."""
    return struct.pack(">I", 8 + len(content)) + kind + content
