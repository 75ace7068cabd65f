"""Copies without prompts, names, places and times, by allow-list; nothing is decoded or encoded again.

Each format tells which parts of its files are the picture, the sound or the film and which numbers they need
(`SupportsClean`). These are copied byte for byte; everything else is left out, whatever it may be. What can't
be told with certainty is refused.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import SEEK_END
from typing import BinaryIO, Final, ParamSpec

from comfyvn.media import boxes, tags
from comfyvn.media.formats import DATA, HEAD_BYTES, can_clean, read_at, recognise

__all__ = [
    "CantClean",
    "Cleaner",
    "Cleaning",
    "Stretch",
    "clean",
    "damaged",
    "media_bytes",
    "outside",
    "refusing",
    "write_clean",
]

_WHOLE_LIMIT: Final = 256 << 20
_BLOCK_BYTES: Final = 1 << 20
_OUTSIDE_LIMIT: Final = 64 << 20
_P = ParamSpec("_P")


class CantClean(Exception):
    """Why no clean copy of a file can be made, in one clause."""


def damaged(why: str) -> CantClean:
    """Return the refusal of a damaged file."""
    return CantClean(f"it is damaged: {why}")


def refusing(tell: Callable[_P, Cleaning]) -> Callable[_P, Cleaning]:
    """Have a function that tells what a copy is made of refuse by `CantClean` what our readers refuse."""

    @functools.wraps(tell)
    def told(*args: _P.args, **more: _P.kwargs) -> Cleaning:
        try:
            return tell(*args, **more)
        except (boxes.Refusal, tags.Refusal) as refusal:
            raise CantClean(str(refusal)) from refusal

    return told


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of a file that is copied as it is; ``is_media`` tells compressed pixels and sound."""

    offset: int
    length: int
    is_media: bool = False


@dataclass(frozen=True, slots=True)
class Cleaning:
    """What a clean copy is made of, in order: stretches of the file, and bytes that stand for others.

    ``removed`` names what is left out, each once, in the words of the format: ``tEXt parameters``, ``Exif``.
    """

    parts: tuple[Stretch | bytes, ...]
    removed: tuple[str, ...]


class Cleaner:
    """Puts a `Cleaning` together from the start of a file to its end."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.size_bytes = file.seek(0, SEEK_END)
        self._parts: list[Stretch | bytes] = []
        self._removed: dict[str, None] = {}

    def whole(self) -> bytes:
        """Return the whole file.

        Raises:
            CantClean: it is larger than 256 MiB.
        """
        if self.size_bytes > _WHOLE_LIMIT:
            raise CantClean(f"it is larger than {_WHOLE_LIMIT >> 20} MiB")
        return read_at(self.file, 0, self.size_bytes)

    def keep(self, at: int, end: int, *, is_media: bool = False) -> None:
        """Copy a stretch as it is."""
        last = self._parts[-1] if self._parts else b""
        if isinstance(last, Stretch) and last.is_media == is_media and last.offset + last.length == at:
            self._parts[-1] = Stretch(last.offset, end - last.offset, is_media)
        elif end > at:
            self._parts.append(Stretch(at, end - at, is_media))

    def put(self, data: bytes) -> None:
        """Write these bytes."""
        if data:
            self._parts.append(data)

    def replace(self, at: int, end: int, data: bytes, name: str) -> None:
        """Write these bytes for a stretch; it counts as left out if that makes a difference."""
        if read_at(self.file, at, end - at) == data:
            self.keep(at, end)
        else:
            self.put(data)
            self.drop(name)

    def drop(self, name: str) -> None:
        """Note that something is left out."""
        self._removed[name] = None

    def end_at(self, end: int) -> None:
        """Note that the file goes on behind the end of its content."""
        if end < self.size_bytes:
            self.drop("bytes behind the end")

    def done(self) -> Cleaning:
        """Return what was put together."""
        return Cleaning(tuple(self._parts), tuple(self._removed))


def clean(file: BinaryIO, *, name: str = "") -> tuple[str, Cleaning]:
    """Return the format of a file, and what a clean copy of it is made of.

    Args:
        file: seekable, at any position.
        name: the file's name, for formats that can't be told by their content.

    Raises:
        CantClean: that can't be told with certainty.
        OSError: the file can't be read.
    """
    found = recognise(read_at(file, 0, HEAD_BYTES), name)
    if not can_clean(found):
        kind = "it is of no format that we know" if found is None else f"it is of the format {found.name}"
        raise CantClean(f"{kind}: what else is in it can't be told")
    return found.name if found else DATA, found.clean(file)


def write_clean(cleaning: Cleaning, source: BinaryIO, sink: BinaryIO) -> None:
    """Write a clean copy.

    Raises:
        CantClean: the file became shorter meanwhile.
    """
    for part in cleaning.parts:
        for block in _blocks(part, source):
            sink.write(block)


def outside(cleaning: Cleaning, source: BinaryIO) -> bytes:
    """Return what a clean copy has besides compressed pixels and sound, with a line end between the parts.

    Raises:
        CantClean: that is more than 64 MiB.
    """
    kept = [part for part in cleaning.parts if isinstance(part, bytes) or not part.is_media]
    if sum(len(part) if isinstance(part, bytes) else part.length for part in kept) > _OUTSIDE_LIMIT:
        raise CantClean("it has too much besides its content to be looked through")
    return b"\n".join(b"".join(_blocks(part, source)) for part in kept)


def media_bytes(cleaning: Cleaning) -> int:
    """Return how much of a clean copy is compressed pixels and sound."""
    return sum(part.length for part in cleaning.parts if isinstance(part, Stretch) and part.is_media)


def _blocks(part: Stretch | bytes, source: BinaryIO) -> Iterator[bytes]:
    if isinstance(part, bytes):
        yield part
        return
    for at in range(part.offset, part.offset + part.length, _BLOCK_BYTES):
        length = min(_BLOCK_BYTES, part.offset + part.length - at)
        block = read_at(source, at, length)
        if len(block) < length:
            raise CantClean("it changed while it was read")
        yield block
