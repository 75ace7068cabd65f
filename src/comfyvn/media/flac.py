"""FLAC: the marker, spliced in as one Vorbis comment; no frame is touched.

A seek table counts from the first frame and a cue sheet counts samples, so both hold when that moves.

Format: RFC 9639, section 8 (metadata blocks); C2PA 2.3, A.3.4 (content credentials in an ID3 tag).
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from io import SEEK_END
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, BinaryIO, Final

from comfyvn.media import id3
from comfyvn.media.audio import SoundFormat
from comfyvn.media.embedded import TextCollector
from comfyvn.media.formats import Layout, Splice, read_at
from comfyvn.media.tags import (
    COUNT_LIMIT,
    SIGNED,
    VALUE_LIMIT,
    Comments,
    Refusal,
    add_comments,
    damaged,
    nothing,
)
from comfyvn.model import PreviewKind

if TYPE_CHECKING:
    from comfyvn.media.clean import Cleaning

__all__ = ["SIGNATURE", "Block", "FlacFormat", "metadata_blocks"]

SIGNATURE: Final = b"fLaC"

_LAST: Final = 0x80
_APPLICATION, _COMMENTS, _INVALID = 2, 4, 127
_LENGTH_LIMIT: Final = 1 << 24
_VENDOR: Final = b"comfyvn"
"""The encoder that a block of ours names; one that has the marker alone goes with it."""


class FlacFormat(SoundFormat):
    """FLAC: can be stamped, has a waveform."""

    name = "flac"
    preview_kind: PreviewKind | None = "waveform"

    def sniff(self, head: bytes, name: str) -> bool:
        """Tell it by its signature or, behind an ID3 tag, by its name."""
        if id3.starts_tag(head):
            return PurePosixPath(name.lower()).suffix == ".flac" and not id3.begins_with_ours(head)
        return head.startswith(SIGNATURE)

    def layout(self, file: BinaryIO) -> Layout:
        """Find our comment, or the place for it: in the block of comments, or in one of our own."""
        size_bytes = file.seek(0, SEEK_END)
        tag = id3.find(file, 0, size_bytes)
        try:
            blocks = metadata_blocks(file, tag.length if tag else 0, size_bytes)
            layout = _layout(file, blocks)
        except Refusal as refusal:
            return Layout(refusal=str(refusal))
        signatures = [tag.refusal == SIGNED if tag else False]
        signatures += [
            read_at(file, each.data, 4).lower() == b"c2pa" for each in blocks if each.kind == _APPLICATION
        ]
        return Layout(layout.splices, layout.marker, SIGNED) if any(signatures) else layout

    def texts(self, found: TextCollector) -> None:
        """Take up the comments."""
        tag = id3.find(found.file, 0, found.size_bytes)
        with suppress(Refusal):
            for each in metadata_blocks(found.file, tag.length if tag else 0, found.size_bytes):
                if each.kind == _COMMENTS:
                    add_comments(found, found.read, each.data, each.end)

    def clean(self, file: BinaryIO) -> Cleaning:
        """Tell what a clean copy is made of."""
        from comfyvn.media.clean_sound import clean_flac

        return clean_flac(file)


@dataclass(frozen=True, slots=True)
class Block:
    """A metadata block: where its header is, its type, the length of its data, whether it is the last."""

    offset: int
    kind: int
    length: int
    is_last: bool

    @property
    def data(self) -> int:
        """Where its data begin."""
        return self.offset + 4

    @property
    def end(self) -> int:
        """Where the next one, or the sound, begins."""
        return self.offset + 4 + self.length

    @property
    def first_byte(self) -> int:
        """Its type, and whether it is the last."""
        return self.kind | (_LAST if self.is_last else 0)


def metadata_blocks(file: BinaryIO, start: int, size_bytes: int) -> list[Block]:
    """Return the metadata blocks.

    Raises:
        Refusal: there is no FLAC, or it is damaged.
    """
    if read_at(file, start, 4) != SIGNATURE:
        raise damaged("it has no FLAC behind its ID3 tag" if start else "it is no FLAC")
    found: list[Block] = []
    at = start + 4
    while len(found) < COUNT_LIMIT:
        header = read_at(file, at, 4)
        if len(header) < 4 or header[0] & ~_LAST == _INVALID:
            raise damaged("its metadata blocks are not whole")
        block = Block(at, header[0] & ~_LAST, int.from_bytes(header[1:]), bool(header[0] & _LAST))
        if block.end > size_bytes or (not found and block.kind != 0):
            raise damaged("its metadata blocks are not whole")
        found.append(block)
        at = block.end
        if block.is_last:
            return found
    raise Refusal(f"it has more than {COUNT_LIMIT:,} metadata blocks")


def _layout(file: BinaryIO, blocks: list[Block]) -> Layout:
    theirs = [block for block in blocks if block.kind == _COMMENTS]
    if len(theirs) > 1:
        raise damaged("it has two lists of comments")
    if not theirs:
        return _after(blocks[0], blocks[0].is_last, b"", None)
    block = theirs[0]
    comments = Comments.find(lambda at, length: read_at(file, at, length), block.data, block.end)
    vendor = read_at(file, block.data + 4, min(comments.vendor_bytes, len(_VENDOR) + 1))
    if vendor == _VENDOR and comments.count == len(comments.markers) and comments.end == block.end:
        if block is not blocks[1] or comments.count != 1:
            raise Refusal("its list of comments is one of ours that somebody changed")
        return _after(
            blocks[0], block.is_last, read_at(file, block.offset, 4 + block.length), comments.marker
        )
    return _in_block(file, block, comments)


def _after(first: Block, is_last: bool, own: bytes, marker: bytes | None) -> Layout:
    """Return the layout of a file with a block of ours behind its first, or with none."""

    def encode(value: bytes) -> bytes:
        data = (
            len(_VENDOR).to_bytes(4, "little") + _VENDOR + (1).to_bytes(4, "little") + Comments.encode(value)
        )
        return bytes([_COMMENTS | (_LAST if is_last else 0)]) + len(data).to_bytes(3) + data

    flag = Splice(
        first.offset,
        bytes([first.first_byte]),
        bytes([first.kind | (_LAST if is_last else 0)]),
        lambda _: bytes([first.kind]),
    )
    return Layout((flag, Splice(first.end, own, b"", encode)), marker)


def _in_block(file: BinaryIO, block: Block, comments: Comments) -> Layout:
    """Return the layout of a file that has comments."""
    found = [Splice(at, read_at(file, at, end - at), b"", nothing) for at, end in comments.markers]
    bare = block.length - sum(len(splice.data) for splice in found)
    count = comments.count - len(found)
    splices = (
        Splice(
            block.offset + 1,
            block.length.to_bytes(3),
            bare.to_bytes(3),
            lambda value: (bare + len(Comments.encode(value))).to_bytes(3),
        ),
        Splice(
            comments.count_at,
            comments.count.to_bytes(4, "little"),
            count.to_bytes(4, "little"),
            lambda _: (count + 1).to_bytes(4, "little"),
        ),
        *found,
        Splice(comments.end, b"", b"", Comments.encode),
    )
    is_full = bare + VALUE_LIMIT + 64 >= _LENGTH_LIMIT
    return Layout(splices, comments.marker, "its list of comments is full" if is_full else None)
