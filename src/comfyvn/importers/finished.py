"""Whether a file is whole, by what it holds: programs that make pictures write them where they stay.

Formats: PNG (third edition, chunks up to ``IEND``), JPEG (``EOI``), GIF (trailer), RIFF (its own size: WebP,
WAV, AVI), ISO base media (boxes up to the end: MP4, MOV, AVIF).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from io import FileIO
from pathlib import Path
from typing import Final

from comfyvn.importers.walking import FolderSource

__all__ = ["GrowingFolder", "is_finished"]

_PNG: Final = b"\x89PNG\r\n\x1a\n"
_IEND: Final = b"\0\0\0\0IEND\xaeB`\x82"
_GIF_END: Final = b"\0;"
"""The end of the last picture's blocks, and the trailer."""
_INDEXES: Final = frozenset({b"moov", b"meta"})
_TAIL: Final = 65_536
_STEPS: Final = 100_000
"""How many chunks or boxes are looked at; a real file has far fewer."""
_UNKNOWN_SIZES: Final = (0, 0xFFFF_FFFF)


class GrowingFolder(FolderSource):
    """A folder to which a program adds files while we look: it can be watched (`SupportsWatch`)."""

    def is_finished(self, file: Path) -> bool | None:
        """Tell whether a file has its end; None for formats whose end can't be told."""
        return is_finished(file)


def is_finished(path: Path) -> bool | None:
    """Tell whether a file has its end; None for formats whose end can't be told.

    Raises:
        OSError: it can't be read.
    """
    with path.open("rb", buffering=0) as file:
        head = file.read(12)
        size = os.fstat(file.fileno()).st_size
        look = _look_for(head)
        return size > 0 and (None if look is None else look(file, size))


def _look_for(head: bytes) -> Callable[[FileIO, int], bool | None] | None:
    if head.startswith(_PNG):
        return _png
    if head.startswith(b"\xff\xd8\xff"):
        return _jpeg
    if head.startswith((b"GIF87a", b"GIF89a")):
        return _gif
    if head.startswith(b"RIFF"):
        return _riff
    return _boxes if head[4:8] == b"ftyp" else None


def _png(file: FileIO, size: int) -> bool:
    file.seek(max(size - len(_IEND), 0))
    if file.read(len(_IEND)) == _IEND:
        return True
    at = len(_PNG)
    for _ in range(_STEPS):  # something follows the picture, or it is cut
        file.seek(at)
        head = file.read(8)
        if len(head) < 8:
            return False
        at += 12 + int.from_bytes(head[:4], "big")
        if head[4:] == b"IEND":
            return at <= size
    return False


def _jpeg(file: FileIO, size: int) -> bool:
    file.seek(max(size - _TAIL, 0))
    return b"\xff\xd9" in file.read(_TAIL)


def _gif(file: FileIO, size: int) -> bool:
    file.seek(max(size - len(_GIF_END), 0))
    return file.read(len(_GIF_END)) == _GIF_END


def _riff(file: FileIO, size: int) -> bool | None:
    file.seek(4)
    (told,) = struct.unpack("<I", file.read(4).ljust(4, b"\0"))
    return None if told in _UNKNOWN_SIZES else told + 8 <= size


def _boxes(file: FileIO, size: int) -> bool | None:
    at, kinds = 0, set[bytes]()
    for _ in range(_STEPS):
        if at == size:
            break
        file.seek(at)
        head = file.read(16)
        if len(head) < 8:
            return False
        told, kind = struct.unpack(">I4s", head[:8])
        if told == 1 and len(head) == 16:
            (told,) = struct.unpack(">Q", head[8:])
        kinds.add(kind)
        if told == 0:  # it goes to the end, wherever that will be
            return None if b"moov" in kinds else False
        at += told
        if told < 8 or at > size:
            return False
    if b"moof" in kinds or b"mdat" not in kinds:  # written piece by piece, or nothing but a head so far
        return None if kinds & _INDEXES else False
    return bool(kinds & _INDEXES)
