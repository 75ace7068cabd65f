"""One pass over a file: its digest, its copy, and the place for the marker.

The marker is spliced in while the copy is made and filled in when the digest is known, so that registering
a file costs one read and one write.
"""

from __future__ import annotations

import hashlib
import io
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import BinaryIO, Final

from comfyvn.errors import SourceChanged, UnsupportedMedia
from comfyvn.media.formats import (
    DATA,
    HEAD_BYTES,
    MARKER_NAME,
    SPLICE_BYTES,
    Layout,
    MediaFormat,
    Splice,
    can_stamp,
    kind_of,
    read_at,
    recognise,
)
from comfyvn.model import PreviewKind

__all__ = ["Look", "Reading", "fill_marker", "look", "mentions_marker", "read", "read_marker", "strip"]

log = logging.getLogger(__name__)

_NAMELESS: Final = "this file"
_BLOCK_BYTES: Final = 1 << 20
_NAMES: Final = (MARKER_NAME.encode(), MARKER_NAME.encode("utf-16-le"), MARKER_NAME.encode("utf-16-be"))
"""How text tags spell it; ID3 names are kept as they are, Vorbis comments may be in capitals."""


@dataclass(frozen=True, slots=True)
class _Slot:
    """A stretch of the sink that depends on the marker's value."""

    offset: int
    length: int
    stamped: Callable[[bytes], bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What a look at the structure of a file found.

    ``marker`` is the value of the first marker in it. ``refusal`` says why the file can't be stamped, None
    when it can.
    """

    format: str
    preview_kind: PreviewKind | None = None
    marker: bytes | None = None
    refusal: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading(Look):
    """What one pass over a file found.

    ``digest`` and ``size_bytes`` are of the content, our markers left out: a stamped file and its original
    agree. ``slots`` are the stretches of the sink that wait for the value of a marker of ``marker_bytes``; ()
    when none was wanted or the file can't be stamped.
    """

    digest: str
    size_bytes: int
    slots: tuple[_Slot, ...] = ()
    marker_bytes: int = 0


def read(source: BinaryIO, sink: BinaryIO | None = None, *, marker_bytes: int = 0, name: str = "") -> Reading:
    """Read a file once, from its start to its end; hash it, and copy it when a sink is given.

    Args:
        source: the file, seekable; read in blocks of at most 1 MiB.
        sink: where the copy goes, from its position on; seekable when a marker is wanted.
        marker_bytes: length of the value that a marker is going to have. Where the file can be stamped, and
            has room for so long a value, old markers are then left out of the copy and room for exactly one
            is made. Else the copy is the source byte for byte, old markers and all.
        name: the file's name, for formats that can't be told by their content.

    Raises:
        SourceChanged: the file was changed meanwhile.
        UnsupportedMedia: a plug-in lost bytes of the file.
    """
    return read_as(recognise(read_at(source, 0, HEAD_BYTES), name), source, sink, marker_bytes, name)


def read_as(
    found: MediaFormat | None, source: BinaryIO, sink: BinaryIO | None, marker_bytes: int, name: str = ""
) -> Reading:
    """Do the work of `read` for a file whose format is known; None is plain data."""
    layout = _layout_of(found, source, name)
    preview_kind = kind_of(found, source)
    empty = [splice.data for splice in layout.splices]
    is_stamped = sink is not None and marker_bytes > 0 and layout.refusal is None
    if is_stamped:
        try:  # spaces make a valid marker, so the copy can be read at any moment
            empty = [splice.stamped(b" " * marker_bytes) for splice in layout.splices]
        except ValueError as error:
            layout, is_stamped = replace(layout, refusal=str(error)), False
    slots = []
    digest, size_bytes = hashlib.sha256(), 0
    written = iter(empty)
    for part in _parts(source, layout, name):
        content = part.bare if isinstance(part, Splice) else part
        digest.update(content)
        size_bytes += len(content)
        if not isinstance(part, Splice):
            _write(sink, part)
            continue
        data = next(written)
        if is_stamped:
            assert sink is not None
            slots.append(_Slot(sink.tell(), len(data), part.stamped))
        _write(sink, data)
    return Reading(
        digest=digest.hexdigest(),
        size_bytes=size_bytes,
        format=found.name if found else DATA,
        preview_kind=preview_kind,
        marker=layout.marker,
        refusal=layout.refusal,
        slots=tuple(slots),
        marker_bytes=marker_bytes if slots else 0,
    )


def look(source: BinaryIO, *, name: str = "") -> Look:
    """Look at the structure of a file, without reading it through; ``name`` as in `read`."""
    found = recognise(read_at(source, 0, HEAD_BYTES), name)
    layout = _layout_of(found, source, name)
    return Look(
        format=found.name if found else DATA,
        preview_kind=kind_of(found, source),
        marker=layout.marker,
        refusal=layout.refusal,
    )


def fill_marker(sink: BinaryIO, reading: Reading, value: bytes) -> None:
    """Write the marker into the place that `read` made for it; the sink is left at its end.

    Raises:
        ValueError: there is no place, the value is not as long as announced, or the format can't hold it.
    """
    if not reading.slots:
        raise ValueError(
            f"no room was made for a marker in this file: {reading.refusal or 'none was wanted'}"
        )
    if len(value) != reading.marker_bytes:
        raise ValueError(f"the marker has {len(value)} bytes, room was made for {reading.marker_bytes}")
    made = [(slot, slot.stamped(value)) for slot in reading.slots]
    if any(len(data) != slot.length for slot, data in made):
        raise ValueError(f"the media format {reading.format} made a marker of another length than announced")
    for slot, data in made:
        sink.seek(slot.offset)
        _write(sink, data)
    sink.seek(0, io.SEEK_END)


def read_marker(source: BinaryIO, *, name: str = "") -> bytes | None:
    """Return the value of the first marker in a file, None when it has none. Looks at its structure only."""
    return look(source, name=name).marker


def mentions_marker(source: BinaryIO) -> bool:
    """Tell whether a file holds our marker's name anywhere, as text tags of any format write it.

    Older releases tagged formats in their own way: ID3 (Latin-1, UTF-8 or UTF-16), Vorbis comments.
    """
    tail = b""
    source.seek(0)
    for block in _blocks(source):
        text = (tail + bytes(block)).lower()
        if any(name in text for name in _NAMES):
            return True
        tail = text[-len(_NAMES[-1]) :]
    return False


def strip(source: BinaryIO, sink: BinaryIO, *, name: str = "") -> None:
    """Copy a file without our markers: what was stamped becomes, byte for byte, what it was before.

    Raises:
        SourceChanged: the file was changed meanwhile.
    """
    layout = _layout_of(recognise(read_at(source, 0, HEAD_BYTES), name), source, name)
    for part in _parts(source, layout, name):
        _write(sink, part.bare if isinstance(part, Splice) else part)


def _parts(source: BinaryIO, layout: Layout, name: str) -> Iterator[bytes | Splice]:
    """Yield a file from its start to its end: blocks of content, and the splices where they stand.

    Raises:
        SourceChanged: it is not what it was when its layout was made.
    """
    at = 0
    source.seek(0)
    for splice in layout.splices:
        for block in _blocks(source, splice.offset - at):
            at += len(block)
            yield block
        if at < splice.offset or b"".join(_blocks(source, len(splice.data))) != splice.data:
            raise SourceChanged(path=name or _NAMELESS)
        yield splice
        at += len(splice.data)
    yield from _blocks(source)


def _layout_of(found: MediaFormat | None, source: BinaryIO, name: str) -> Layout:
    """Return the layout of a file, checked: a plug-in's mistake must not cost a byte of it.

    Raises:
        UnsupportedMedia: its splices can't be those of this file.
    """
    if not can_stamp(found):
        why = f"files of the format {found.name} carry no marker" if found else "it is plain data"
        return Layout(refusal=why)
    try:
        layout = found.layout(source)
    except OSError:
        raise
    except Exception:  # a stranger's code: his mistake must not stop anybody's file
        log.exception("media format %s failed to look at the structure of a file", found.name)
        return Layout(refusal=f"the media format {found.name} failed on it")
    at = 0
    for splice in layout.splices:
        if splice.offset < at:
            why = f"the media format {found.name} mistakes its structure"
            raise UnsupportedMedia(path=name or _NAMELESS, why=f"{why}; remove the plug-in that brings it")
        at = splice.offset + len(splice.data)
    if sum(len(splice.data) + len(splice.bare) for splice in layout.splices) > SPLICE_BYTES:
        return Layout(refusal="its tags are too large")
    if layout.refusal is not None:  # the place for a marker that never comes may lie behind a damaged end
        return replace(layout, splices=tuple(each for each in layout.splices if each.data != each.bare))
    return layout


def _blocks(source: BinaryIO, length: int | None = None) -> Iterator[bytes]:
    """Yield what comes next in a file, in blocks of at most 1 MiB, up to a length or to its end."""
    left = length
    while left is None or left > 0:
        block = source.read(_BLOCK_BYTES if left is None else min(left, _BLOCK_BYTES))
        if not block:
            return
        yield block
        left = left if left is None else left - len(block)


def _write(sink: BinaryIO | None, data: bytes) -> None:
    """Write all of it, if there is a sink: an unbuffered file may take less than it is given."""
    if sink is None:
        return
    written = sink.write(data)
    if written is None or written == len(data):
        return
    rest = memoryview(data)[written:]
    while rest:
        rest = rest[sink.write(rest) :]
