"""GIF, still and animated: the marker is a comment before the first picture.

Its text is ``comfyvn_provenance=`` and the JSON, in blocks of 255 bytes and a shorter last one. It goes right
before the first thing that draws, behind all that players want first (the loop count). GIF87a takes it too:
that version has the same extension blocks, and asks decoders to pass over those that they don't know.

Format: Graphics Interchange Format, CompuServe: version 87a (1987), "GIF Extension Block"; version
89a (1990), sections 15 to 26; C2PA 2.2, A.3.8.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Final

from comfyvn.media import xmp
from comfyvn.media.embedded import TextCollector, decode
from comfyvn.media.formats import MARKER_NAME, Layout, Splice, read_at
from comfyvn.media.images import PillowFormat
from comfyvn.model import PreviewKind

if TYPE_CHECKING:
    from comfyvn.media.clean import Cleaning

__all__ = ["GifFormat"]

_PREFIX: Final = MARKER_NAME.encode() + b"="
_HEAD_BYTES: Final = 13
_COMMENT_LIMIT: Final = 64 * 1024
_MARKER_COUNT_LIMIT: Final = 100
_BLOCK: Final = 255
_EXTENSION, _IMAGE = 0x21, 0x2C
_PLAIN_TEXT, _GRAPHIC_CONTROL, _COMMENT, _APPLICATION = 0x01, 0xF9, 0xFE, 0xFF
_READ_BYTES: Final = 1 << 16
_BLOCK_COUNT_LIMIT: Final = 500_000  # of 255 bytes at most: some 100 MB of one picture
_PART_COST: Final = 5  # a part counts as so many blocks: it takes as long
_SPARE_BLOCKS: Final = 50_000  # more than all the markers that are looked at can have


class GifFormat(PillowFormat):
    """GIF: can be stamped, has thumbnails; an animated one also moves."""

    name = "gif"
    family = "GIF"

    def sniff(self, head: bytes, name: str) -> bool:
        """Tell a GIF by its signature."""
        return head.startswith((b"GIF87a", b"GIF89a"))

    def layout(self, file: BinaryIO) -> Layout:
        """Find our comments before the first picture, or the place for one."""
        found: list[Splice] = []
        marker: bytes | None = None
        refusal: str | None = None
        place: int | None = None
        walker = _Walker(file)
        blocks, ours = 0, 0
        for each in walker.parts():
            if place is None and each.draws:
                place = each.offset
            if each.kind == _IMAGE or each.label == _PLAIN_TEXT:
                break
            if each.label == _COMMENT and (value := _value(file, each)) is not None:
                marker = value if marker is None else marker
                data = read_at(file, each.offset, each.end - each.offset)
                found.append(Splice(each.offset, data, b"", xmp.without_value(b"")))
                ours += walker.blocks - blocks
                if len(found) > _MARKER_COUNT_LIMIT:
                    return Layout(refusal=f"it has more than {_MARKER_COUNT_LIMIT} markers")
            elif each.label == _APPLICATION and read_at(file, each.offset + 3, 8) == b"C2PA_GIF":
                refusal = xmp.SIGNED
            blocks = walker.blocks
        else:
            place = None  # nothing is drawn, whatever was announced
        if place is None:
            refusal = "it is damaged: it has no pixels"
        elif blocks - ours > _BLOCK_COUNT_LIMIT:  # those that we add don't count
            refusal = f"it has more than {_BLOCK_COUNT_LIMIT:,} blocks before its first picture"
        else:
            found.append(Splice(place, b"", b"", _encode))
        return Layout(tuple(sorted(found, key=lambda one: (one.offset, len(one.data)))), marker, refusal)

    def texts(self, found: TextCollector) -> None:
        """Take up the comments, wherever they stand."""
        for each in _Walker(found.file).parts():
            if each.label == _COMMENT:
                text = _joined(found.read(each.offset + 2, each.end - each.offset - 2))
                if not text.startswith(_PREFIX):
                    found.add("gif:comment", "comment", decode(text))

    def clean(self, file: BinaryIO) -> Cleaning:
        """Tell what a clean copy is made of."""
        from comfyvn.media.clean_pictures import clean_gif

        return clean_gif(file)

    def kind_of(self, file: BinaryIO) -> PreviewKind | None:
        """Tell an animation by its second picture."""
        pictures = 0
        for each in _Walker(file).parts():
            pictures += each.kind == _IMAGE
            if pictures == 2:
                return "animation"
        return self.preview_kind


@dataclass(frozen=True, slots=True)
class _Part:
    """A picture or an extension: where it begins and ends; ``label`` is an extension's kind, else -1."""

    offset: int
    kind: int
    label: int
    end: int

    @property
    def draws(self) -> bool:
        return self.kind == _IMAGE or self.label in (_PLAIN_TEXT, _GRAPHIC_CONTROL)


class _Walker:
    """Walks the parts of a GIF, a window of 64 KiB at a time; ``blocks`` counts what it passed."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._window = b""
        self._start = 0
        self.blocks = 0

    def parts(self) -> Iterator[_Part]:
        """Yield what follows the header, each when it is whole, except for pictures: their end is 0 before
        they are passed."""
        head = read_at(self._file, 0, _HEAD_BYTES)
        if len(head) < _HEAD_BYTES:
            return
        at = _HEAD_BYTES + _table_bytes(head[10])
        while (kind := self._byte(at)) in (_EXTENSION, _IMAGE):
            label = self._byte(at + 1) if kind == _EXTENSION else -1
            if label is None:
                return
            self.blocks += _PART_COST
            if kind == _IMAGE:
                yield _Part(at, kind, label, 0)
            flags = self._byte(at + 9)
            data = at + 2 if kind == _EXTENSION else at + 11 + _table_bytes(flags or 0)
            end = self._pass_blocks(data)
            if end is None:
                return
            if kind == _EXTENSION:
                yield _Part(at, kind, label, end)
            at = end

    def _byte(self, at: int) -> int | None:
        if not self._start <= at < self._start + len(self._window):
            self._window, self._start = read_at(self._file, at, _READ_BYTES), at
        return self._window[at - self._start] if at - self._start < len(self._window) else None

    def _pass_blocks(self, at: int) -> int | None:
        """Return where the data blocks that start here end; None when the file ends before."""
        while self.blocks < _BLOCK_COUNT_LIMIT + _SPARE_BLOCKS:
            self.blocks += 1
            length = self._byte(at)
            if not length:
                return None if length is None else at + 1
            at += 1 + length
        return None


def _table_bytes(flags: int) -> int:
    """Return the size of the colour table that a descriptor with these flags has."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _value(file: BinaryIO, part: _Part) -> bytes | None:
    """Return the marker of a comment that is, byte for byte, as we write it; else None."""
    if part.end - part.offset > _COMMENT_LIMIT:
        return None
    data = read_at(file, part.offset, part.end - part.offset)
    if not data[3:].startswith(_PREFIX):
        return None
    value = _joined(data[2:])[len(_PREFIX) :]
    return value if b"\0" not in value and _encode(value) == data else None


def _joined(blocks: bytes) -> bytes:
    """Return what is in the data blocks of an extension."""
    parts, at = [], 0
    while at < len(blocks) and (length := blocks[at]):
        parts.append(blocks[at + 1 : at + 1 + length])
        at += 1 + length
    return b"".join(parts)


def _encode(value: bytes) -> bytes:
    """Return the comment.

    Raises:
        ValueError: the value has a NUL or more than some 60 KiB.
    """
    text = _PREFIX + value
    blocks = [text[at : at + _BLOCK] for at in range(0, len(text), _BLOCK)]
    made = b"".join(bytes([len(block)]) + block for block in blocks)
    data = bytes([_EXTENSION, _COMMENT]) + made + b"\0"
    if len(data) > _COMMENT_LIMIT:
        raise ValueError(f"the marker has {len(value):,} bytes, a GIF takes less than {_COMMENT_LIMIT:,}")
    if b"\0" in value:
        raise ValueError("a marker can't hold a NUL byte")
    return data
