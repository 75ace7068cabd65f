"""The elements that WebM and Matroska files are made of: their headers, read one by one.

Format: RFC 8794 (EBML), sections 4 to 6.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import SEEK_END
from typing import BinaryIO, Final

from comfyvn.media.boxes import Refusal
from comfyvn.media.formats import read_at

__all__ = ["EbmlReader", "Element", "element", "fits", "length_of"]

_ELEMENT_COUNT_LIMIT: Final = 100_000


@dataclass(frozen=True, slots=True)
class Element:
    """Where an element begins, its ID, and the lengths of its header and of its content.

    ``length`` is None when it is not known, as in live recordings.
    """

    offset: int
    ident: int
    header: int
    length: int | None

    @property
    def inner(self) -> int:
        """Where its content begins."""
        return self.offset + self.header

    @property
    def end(self) -> int:
        """Where the next one begins; where its content begins when its length is not known."""
        return self.inner + (self.length or 0)

    @property
    def width(self) -> int:
        """How many bytes its length is written in."""
        return self.header - _id_bytes(self.ident)


class EbmlReader:
    """Reads the headers of elements, and gives up on a file with too many (`Refusal`)."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.size_bytes = file.seek(0, SEEK_END)
        self._left = _ELEMENT_COUNT_LIMIT

    def run(self, at: int, end: int) -> Iterator[Element]:
        """Yield the elements that follow each other, up to the first thing that is none.

        The last one may be longer than there is room, or its length unknown.
        """
        while (found := self._element(at, end)) is not None:
            yield found
            if found.length is None:
                return
            at = found.end

    def within(self, elements: Iterable[Element], *path: int) -> Iterator[Element]:
        """Yield the elements that a path of IDs leads to from some elements."""
        for each in elements:
            if each.ident != path[0]:
                continue
            if len(path) == 1:
                yield each
            else:
                yield from self.within(self.inside(each), *path[1:])

    def inside(self, parent: Element) -> Iterator[Element]:
        """Yield the elements in an element."""
        return self.run(parent.inner, min(parent.end, self.size_bytes))

    def content(self, of: Element, limit: int) -> bytes:
        """Return the first bytes of an element's content."""
        return read_at(self.file, of.inner, min(of.length or 0, limit))

    def _element(self, at: int, end: int) -> Element | None:
        head = read_at(self.file, at, min(12, end - at))
        id_bytes = 9 - head[0].bit_length() if head else 9
        rest = head[id_bytes:]
        if id_bytes > 4 or not rest or not rest[0]:
            return None
        width = 9 - rest[0].bit_length()
        if len(rest) < width:
            return None
        self._left -= 1
        if self._left < 0:
            raise Refusal(f"it has more than {_ELEMENT_COUNT_LIMIT:,} elements")
        unknown = (1 << 7 * width) - 1
        length = int.from_bytes(rest[:width], "big") & unknown
        ident = int.from_bytes(head[:id_bytes], "big")
        return Element(at, ident, id_bytes + width, None if length == unknown else length)


def element(ident: int, content: bytes, width: int) -> bytes:
    """Return an element whose length is written in some bytes."""
    return ident.to_bytes(_id_bytes(ident), "big") + length_of(len(content), width) + content


def length_of(length: int, width: int) -> bytes:
    """Return the length of an element in some bytes."""
    return (length | 1 << 7 * width).to_bytes(width, "big")


def fits(length: int, width: int) -> bool:
    """Tell whether a length can be written in some bytes; all ones stand for an unknown length."""
    return length < (1 << 7 * width) - 1


def _id_bytes(ident: int) -> int:
    return (ident.bit_length() + 7) // 8
