"""ID3v2 tags: the marker, spliced in as one ``TXXX`` frame behind the last; versions are never converted.

They stand in front of MP3 and AAC, and inside a chunk of WAVE and AIFF.

Format: ID3v2.2.0, ID3v2.3.0, ID3v2.4.0 (main structure and native frames), ID3v2 Chapter Frame Addendum
(id3.org); C2PA 2.3, A.3.4.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import BinaryIO, Final

from comfyvn.media.embedded import TextCollector, decode
from comfyvn.media.formats import MARKER_NAME, Splice, read_at
from comfyvn.media.tags import COUNT_LIMIT, SIGNED, VALUE_LIMIT, Refusal, checked, damaged, nothing

__all__ = ["Tag", "add_texts", "begins_with_ours", "find", "starts_tag", "whole"]

_HEADER: Final = 10
_TAG_LIMIT: Final = 1 << 28
_PADDING_LIMIT: Final = 4 << 20
_NAME: Final = MARKER_NAME.encode()
_NAMES: Final = (_NAME, MARKER_NAME.encode("utf-16-le"), MARKER_NAME.encode("utf-16-be"))
_LATIN_1: Final = b"\0"
_UTF_16: Final = b"\1"
_UTF_16_BIG: Final = b"\2"
_UTF_8: Final = b"\3"
_BEGIN: Final = 64
_MARKERS_LIMIT: Final = 16
_UTF_16_MARKS: Final = ((b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))
_C2PA_TYPES: Final = frozenset((b"application/c2pa", b"application/x-c2pa-manifest-store"))

_UNSYNCHRONISED, _EXTENDED, _FOOTER = 0x80, 0x40, 0x10

_DESCRIBED: Final = {b"TXXX": 0, b"TXX": 0, b"COMM": 3, b"COM": 3, b"USLT": 3, b"ULT": 3}
"""Frames of a text with a description, and how many letters name the language before it."""
_WORDS: Final = {
    b"TXXX": "comment",
    b"TXX": "comment",
    b"COMM": "comment",
    b"COM": "comment",
    b"USLT": "lyrics",
    b"ULT": "lyrics",
    b"TIT2": "title",
    b"TT2": "title",
    b"TPE1": "artist",
    b"TP1": "artist",
    b"TSSE": "encoder",
    b"TSS": "encoder",
    b"TCOP": "copyright",
    b"TCR": "copyright",
}
"""What texts are called, as FFmpeg does; others by their frame."""


@dataclass(frozen=True, slots=True)
class Tag:
    """A tag: its length in the file, and without our markers.

    ``splices`` cover the length in its own header, not that of what it stands in. ``refusal`` says why it
    can't take the marker; there are no splices then if its frames can't be told.

    ``wholly_ours`` tells a tag that `whole` made: nothing is left of it without the marker. ``padding`` is
    the number of zeros behind its last frame. ``frame`` makes the frame that is added for a value.
    """

    length: int
    refusal: str | None
    splices: tuple[Splice, ...] = ()
    marker: bytes | None = None
    bare_length: int = 0
    wholly_ours: bool = False
    padding: int = 0
    frame: Callable[[bytes], bytes] = nothing


@dataclass(frozen=True, slots=True)
class _Frame:
    offset: int
    kind: bytes
    header: int
    length: int
    is_plain: bool

    @property
    def end(self) -> int:
        return self.offset + self.length


def starts_tag(head: bytes) -> bool:
    """Tell whether these are the first bytes of a tag."""
    is_version = head[:3] == b"ID3" and len(head) >= _HEADER and 2 <= head[3] <= 4 and head[4] < 0xFF
    return is_version and not head[5] & 0x0F and max(head[6:10]) < 0x80


def begins_with_ours(head: bytes) -> bool:
    """Tell by the first 64 bytes whether a tag begins with a marker as `whole` writes it."""
    name = _UTF_8 + _NAME + b"\0"
    is_frame = head[_HEADER : _HEADER + 4] == b"TXXX" and head[20 : 20 + len(name)] == name
    return starts_tag(head) and head[3] == 4 and is_frame


def whole(value: bytes, *, padding: int = 0) -> bytes:
    """Return a tag of ours with nothing but the marker, and some zeros behind it.

    It is in UTF-8; the frame that is added to another's tag is in Latin-1. Both are plain ASCII, and so a
    tag that was there before, and was empty, is told from one of ours.

    Raises:
        ValueError: a tag can't hold the value.
    """
    frame = _encode(4, _UTF_8, value)
    return b"ID3\4\0\0" + _synchsafe(len(frame) + padding) + frame + bytes(padding)


def find(file: BinaryIO, offset: int, end: int) -> Tag | None:
    """Look at the tag at a place in a file, None when there is none.

    Args:
        file: seekable.
        offset: where the tag begins.
        end: where it has to end at the latest.
    """
    head = read_at(file, offset, _HEADER)
    if not starts_tag(head):
        return None
    length = _HEADER + _plain(head[6:10])
    version, flags = head[3], head[5]
    if offset + length > end:
        return Tag(length, "it is damaged: its ID3 tag is cut short")
    if version == 4 and flags & _FOOTER:
        return Tag(length + _HEADER, "its ID3 tag has a footer")
    if flags & _EXTENDED:
        return Tag(length, f"its ID3 tag {'is compressed' if version == 2 else 'has an extended header'}")
    if flags & _UNSYNCHRONISED and version < 4:
        return Tag(length, "its ID3 tag is unsynchronised")
    try:
        frames, padding = _frames(file, offset + _HEADER, offset + length, version)
        found = list(islice(_markers(file, frames, version), _MARKERS_LIMIT))
    except Refusal as refusal:
        return Tag(length, str(refusal))
    return _tag(head, offset, length, frames, padding, found, _refusal(file, frames))


def add_texts(found: TextCollector, offset: int, end: int) -> None:
    """Take up the texts of the tag at a place in a file; there may be none.

    A tag with an extended header, and one of version 2.2 or 2.3 that is unsynchronised, is left out.
    """
    head = read_at(found.file, offset, _HEADER)
    if not starts_tag(head) or head[5] & (_EXTENDED | (_UNSYNCHRONISED if head[3] < 4 else 0)):
        return
    try:
        frames, _ = _frames(
            found.file, offset + _HEADER, min(offset + _HEADER + _plain(head[6:10]), end), head[3]
        )
    except Refusal:
        return
    for frame in frames:
        if frame.is_plain and (frame.kind in _DESCRIBED or frame.kind.startswith(b"T")):
            data = found.read(frame.offset + frame.header, frame.length - frame.header)
            _add_text(found, frame.kind, data)


def _add_text(found: TextCollector, kind: bytes, data: bytes) -> None:
    """Take up the text of a frame."""
    start = 1 + _DESCRIBED.get(kind, 0)
    if data[:1] in (_UTF_16, _UTF_16_BIG):
        is_big = data[:1] == _UTF_16_BIG or data.startswith(b"\xfe\xff", start)
        text = data[start:].decode("utf-16-be" if is_big else "utf-16-le", "replace")
    else:
        text = decode(data[start:])
    name, word = "", _WORDS.get(kind, kind.decode())
    if kind in _DESCRIBED:
        name, _, text = text.partition("\0")
    found.add(f"id3:{kind.decode()}", name.removeprefix("\ufeff") or word, text)


def _tag(
    head: bytes,
    offset: int,
    length: int,
    frames: list[_Frame],
    padding: int,
    found: list[tuple[_Frame, bytes, bytes]],
    refusal: str | None,
) -> Tag:
    if len(found) == _MARKERS_LIMIT:
        return Tag(length, f"it has {_MARKERS_LIMIT} markers or more", marker=found[0][2])
    bare = length - sum(frame.length for frame, _, _ in found)
    if bare + VALUE_LIMIT + 64 > _TAG_LIMIT:
        refusal = refusal or "its ID3 tag is full"
    encode = partial(_encode, head[3], _LATIN_1)
    splices = [Splice(frame.offset, data, b"", nothing) for frame, data, _ in found]
    marker = found[0][2] if found else None
    return Tag(
        length=length,
        refusal=refusal,
        splices=(
            Splice(
                offset + 6,
                head[6:10],
                _synchsafe(bare - _HEADER),
                lambda value: _synchsafe(bare - _HEADER + len(encode(value))),
            ),
            *splices,
            Splice(offset + length - padding, b"", b"", encode),
        ),
        marker=marker,
        bare_length=bare,
        wholly_ours=marker is not None
        and len(frames) == 1
        and head + found[0][1] + bytes(padding) == whole(marker, padding=padding),
        padding=padding,
        frame=encode,
    )


def _frames(file: BinaryIO, at: int, end: int, version: int) -> tuple[list[_Frame], int]:
    """Return the frames of a tag, and how many zeros follow them.

    Raises:
        Refusal: anything else follows them, as when their lengths are wrong, or there are too many.
    """
    frames: list[_Frame] = []
    for _ in range(COUNT_LIMIT):
        header = read_at(file, at, min(6 if version == 2 else _HEADER, end - at))
        if not header.strip(b"\0"):
            _check_padding(file, at, end)
            return frames, end - at
        frame = _frame(at, header, version)
        if frame.end > end:
            break
        frames.append(frame)
        at = frame.end
    else:
        raise Refusal(f"its ID3 tag has more than {COUNT_LIMIT:,} frames")
    raise damaged("a length in its ID3 tag is wrong")


def _frame(at: int, header: bytes, version: int) -> _Frame:
    kind = header[:3] if version == 2 else header[:4]
    if len(header) < (6 if version == 2 else _HEADER) or not (kind.isalnum() and kind.upper() == kind):
        raise damaged("there is something else among the frames of its ID3 tag")
    if version == 2:
        return _Frame(at, kind, 6, 6 + int.from_bytes(header[3:6]), is_plain=True)
    # Some programs write plain lengths into version 2.4; these frames can't be told for sure.
    if version == 4 and max(header[4:8]) >= 0x80:
        raise damaged("a length in its ID3 tag is wrong")
    length = _plain(header[4:8]) if version == 4 else int.from_bytes(header[4:8])
    return _Frame(at, kind, _HEADER, _HEADER + length, is_plain=not header[9])


def _check_padding(file: BinaryIO, at: int, end: int) -> None:
    if end - at > _PADDING_LIMIT:
        raise Refusal("its ID3 tag has megabytes of empty room")
    if read_at(file, at, end - at).strip(b"\0"):
        raise damaged("there is something else among the frames of its ID3 tag")


def _markers(file: BinaryIO, frames: list[_Frame], version: int) -> Iterator[tuple[_Frame, bytes, bytes]]:
    """Yield our frames, with their bytes and values: as we write them, and as tag editors do."""
    for frame in frames:
        if not frame.is_plain or frame.kind != (b"TXX" if version == 2 else b"TXXX"):
            continue
        begin = read_at(file, frame.offset, min(frame.length, _BEGIN))
        if frame.length > 3 * VALUE_LIMIT or not any(name in begin for name in _NAMES):
            continue
        data = read_at(file, frame.offset, frame.length)
        value = _value(data[frame.header :])
        if value is not None:
            yield frame, data, value


def _value(data: bytes) -> bytes | None:
    """Return the value in a frame's data, None when it is not ours."""
    text = None
    for encoding in (_LATIN_1, _UTF_8):
        if data.startswith(encoding + _NAME + b"\0"):
            text = data[len(_NAME) + 2 :]
    for mark, codec in _UTF_16_MARKS:
        name = _UTF_16 + mark + MARKER_NAME.encode(codec) + b"\0\0"
        if data.startswith(name):
            text = data[len(name) :].removeprefix(mark).decode(codec, "replace").encode()
    if text is None:
        return None
    value = text.removesuffix(b"\0")
    return value if value.isascii() and b"\0" not in value and len(value) <= VALUE_LIMIT else None


def _refusal(file: BinaryIO, frames: list[_Frame]) -> str | None:
    """Return why a frame forbids that the tag grows."""
    for frame in frames:
        start = frame.offset + frame.header
        if frame.kind in (b"GEOB", b"GEO"):
            kind = read_at(file, start, min(64, frame.length - frame.header))[1:].split(b"\0")[0]
            if kind.strip().lower() in _C2PA_TYPES:
                return SIGNED
        if frame.kind == b"ASPI" or (frame.kind == b"CHAP" and _has_offsets(file, start, frame.end)):
            return "its ID3 tag names places in the file, which would move"
    return None


def _has_offsets(file: BinaryIO, start: int, end: int) -> bool:
    """Tell whether a chapter names the places in the file where it begins and ends."""
    _, separator, rest = read_at(file, start, min(1024, end - start)).partition(b"\0")
    unused = (b"\xff\xff\xff\xff", b"\0\0\0\0")
    return not separator or rest[8:12] not in unused or rest[12:16] not in unused


def _encode(version: int, encoding: bytes, value: bytes) -> bytes:
    """Return the marker's frame.

    Raises:
        ValueError: a tag can't hold the value.
    """
    data = encoding + _NAME + b"\0" + checked(value)
    if version == 2:
        return b"TXX" + len(data).to_bytes(3) + data
    length = _synchsafe(len(data)) if version == 4 else len(data).to_bytes(4)
    return b"TXXX" + length + b"\0\0" + data


def _synchsafe(number: int) -> bytes:
    """Return a number as four times seven bits."""
    return bytes(number >> shift & 0x7F for shift in (21, 14, 7, 0))


def _plain(data: bytes) -> int:
    return data[0] << 21 | data[1] << 14 | data[2] << 7 | data[3]
