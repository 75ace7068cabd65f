"""One pass over a file: its digest, its copy, and the place for the marker.

The marker is spliced in while the copy is made and filled in when the digest is known, so that registering
a file costs one read and one write.
"""

from __future__ import annotations

import hashlib
import io
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

from comfyvn.errors import UnsupportedMedia
from comfyvn.media.formats import DATA, MediaFormat, Part, SupportsStamp, blocks_of, formats, recognise
from comfyvn.model import PreviewKind

__all__ = ["Reading", "fill_marker", "mentions_marker", "read", "read_marker", "strip"]

_MARKER_NAME: Final = "comfyvn_provenance"
_NAMES: Final = (_MARKER_NAME.encode(), _MARKER_NAME.encode("utf-16-le"), _MARKER_NAME.encode("utf-16-be"))
"""How text tags spell it; ID3 names are kept as they are, Vorbis comments may be in capitals."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What one pass over a file found.

    ``digest`` and ``size_bytes`` are of the content, our markers left out: a stamped file and its original
    agree. ``marker`` is the value of the first marker in the source. ``slot`` is the offset in the sink at
    which the empty marker lies, with room for a value of ``marker_bytes``; None when there is none.
    """

    digest: str
    size_bytes: int
    format: str
    preview_kind: PreviewKind | None
    marker: bytes | None
    slot: int | None
    marker_bytes: int = 0


def read(source: BinaryIO, sink: BinaryIO | None = None, *, marker_bytes: int = 0, name: str = "") -> Reading:
    """Read a file once, from its start to its end; hash it, and copy it when a sink is given.

    Args:
        source: the file, read in blocks of at most 1 MiB.
        sink: where the copy goes, from its position on; seekable when a marker is wanted.
        marker_bytes: length of the value that a marker is going to have. Where the format can be stamped, old
            markers are then left out of the copy and room for exactly one is made. With 0 the copy is the
            source byte for byte, old markers and all.
        name: the file's name, for formats that can't be told by their content.

    Raises:
        ValueError: no marker of the format can hold so long a value.
        UnsupportedMedia: a plug-in lost bytes of the file.
    """
    blocks = blocks_of(source)
    head = next(blocks, b"")
    return read_as(recognise(head, name), itertools.chain((head,), blocks), sink, marker_bytes)


def read_as(
    found: MediaFormat | None, blocks: Iterator[bytes], sink: BinaryIO | None, marker_bytes: int
) -> Reading:
    """Do the work of `read` for a file whose format is known; None is plain data."""
    counted = _Counted(blocks)
    parts: Iterator[Part] = (Part("content", block) for block in counted)
    empty = b""
    if isinstance(found, SupportsStamp):
        parts = found.split(counted)
        # Spaces make a valid chunk of the empty marker, so the copy can be read at any moment.
        empty = found.encode_marker(b" " * marker_bytes) if marker_bytes > 0 else b""
    pass_ = _Pass(sink, empty, keep_markers=marker_bytes <= 0)
    for part in parts:
        pass_.take(part)
    if pass_.seen_bytes != counted.bytes:
        why = f"the media format {found.name if found else DATA} lost bytes of it"
        raise UnsupportedMedia(path="this file", why=f"{why}; remove the plug-in that brings it")
    return Reading(
        digest=pass_.sha256.hexdigest(),
        size_bytes=pass_.content_bytes,
        format=found.name if found else DATA,
        preview_kind=found.preview_kind if found else None,
        marker=pass_.marker,
        slot=pass_.slot,
        marker_bytes=marker_bytes if pass_.slot is not None else 0,
    )


def fill_marker(sink: BinaryIO, reading: Reading, value: bytes) -> None:
    """Write the marker into the place that `read` made for it; the sink is left at its end.

    Raises:
        ValueError: there is no place, the value is not as long as announced, or the format can't hold it.
    """
    made_by = next((found for found in formats() if found.name == reading.format), None)
    if not isinstance(made_by, SupportsStamp):
        raise ValueError(f"a file of the format {reading.format} carries no marker")
    fill_marker_as(made_by, sink, reading, value)


def fill_marker_as(made_by: SupportsStamp, sink: BinaryIO, reading: Reading, value: bytes) -> None:
    """Do the work of `fill_marker` for a format that is at hand."""
    if reading.slot is None:
        raise ValueError("no room was made for a marker in this file")
    if len(value) != reading.marker_bytes:
        raise ValueError(f"the marker has {len(value)} bytes, room was made for {reading.marker_bytes}")
    sink.seek(reading.slot)
    _write(sink, made_by.encode_marker(value))
    sink.seek(0, io.SEEK_END)


def read_marker(source: BinaryIO) -> bytes | None:
    """Return the value of the first marker in a file, None when it has none. Reads no further than it."""
    blocks = blocks_of(source)
    head = next(blocks, b"")
    found = recognise(head)
    if not isinstance(found, SupportsStamp):
        return None
    parts = found.split(itertools.chain((head,), blocks))
    return next((part.value for part in parts if part.role == "marker"), None)


def mentions_marker(source: BinaryIO) -> bool:
    """Tell whether a file holds our marker's name anywhere, as text tags of any format write it.

    Older releases tagged formats that we don't stamp: ID3 (Latin-1, UTF-8 or UTF-16), Vorbis comments.
    """
    tail = b""
    for block in blocks_of(source):
        text = (tail + bytes(block)).lower()
        if any(name in text for name in _NAMES):
            return True
        tail = text[-len(_NAMES[-1]) :]
    return False


def strip(source: BinaryIO, sink: BinaryIO) -> None:
    """Copy a file without our markers: what was stamped becomes, byte for byte, what it was before."""
    blocks = blocks_of(source)
    head = next(blocks, b"")
    found = recognise(head)
    everything = itertools.chain((head,), blocks)
    if not isinstance(found, SupportsStamp):
        for block in everything:
            _write(sink, block)
        return
    for part in found.split(everything):
        if part.role == "content":
            _write(sink, part.data)


class _Counted:
    """Blocks on their way to a format, counted, so that a plug-in that loses some is found out."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self.blocks = blocks
        self.bytes = 0

    def __iter__(self) -> Iterator[bytes]:
        for block in self.blocks:
            self.bytes += len(block)
            yield block


class _Pass:
    """What has been hashed and copied so far."""

    def __init__(self, sink: BinaryIO | None, empty: bytes, *, keep_markers: bool) -> None:
        self.sink = sink
        self.empty = empty
        self.keep_markers = keep_markers
        self.sha256 = hashlib.sha256()
        self.content_bytes = 0
        self.seen_bytes = 0
        self.marker: bytes | None = None
        self.slot: int | None = None

    def take(self, part: Part) -> None:
        if part.role == "slot":
            self._make_room()
            return
        self.seen_bytes += len(part.data)
        if part.role == "content":
            self.content_bytes += len(part.data)
            self.sha256.update(part.data)
        elif self.marker is None:
            self.marker = part.value
        if self.sink is not None and (part.role == "content" or self.keep_markers):
            _write(self.sink, part.data)

    def _make_room(self) -> None:
        if self.sink is not None and self.empty and self.slot is None:
            self.slot = self.sink.tell()
            _write(self.sink, self.empty)


def _write(sink: BinaryIO, data: bytes | memoryview) -> None:
    """Write all of it: an unbuffered file may take less than it is given."""
    written = sink.write(data)
    if written is None or written == len(data):
        return
    rest = memoryview(data)[written:]
    while rest:
        rest = rest[sink.write(rest) :]
