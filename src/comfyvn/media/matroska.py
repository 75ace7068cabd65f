"""WebM and Matroska: the marker, a ``Tags`` element of its own at the end of the segment; nothing is remuxed.

No element before it moves, so that no position in ``Cues`` or ``SeekHead`` changes. Players look for tags
behind the media only where ``SeekHead`` lists them: where it is followed by enough empty space (``Void``), as
encoders leave it, an entry is put there. The width of our element's length says whether it has an entry.

Format: RFC 9559 (Matroska), sections 5.1.1 (SeekHead), 5.1.4 (Tracks), 5.1.8 (Tags); RFC 8794 (EBML), 11.3
(CRC-32 and Void).
"""

from __future__ import annotations

import functools
import itertools
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, BinaryIO, Final

from comfyvn.media.boxes import Refusal, damaged
from comfyvn.media.ebml import EbmlReader, Element, element, fits, length_of
from comfyvn.media.embedded import TextCollector, decode
from comfyvn.media.formats import MARKER_NAME, Layout, Splice, read_at
from comfyvn.media.video import FilmFormat
from comfyvn.model import PreviewKind

if TYPE_CHECKING:
    from comfyvn.media.clean import Cleaning

__all__ = ["MatroskaFormat"]

_SIGNATURE: Final = b"\x1a\x45\xdf\xa3"
_SEGMENT: Final = 0x18538067
_SEEK_HEAD: Final = 0x114D9B74
_SEEK: Final = 0x4DBB
_SEEK_ID: Final = 0x53AB
_SEEK_POSITION: Final = 0x53AC
_TRACKS: Final = 0x1654AE6B
_TRACK_ENTRY: Final = 0xAE
_TRACK_TYPE: Final = 0x83
_ATTACHMENTS: Final = 0x1941A469
_ATTACHED_FILE: Final = 0x61A7
_FILE_MEDIA_TYPE: Final = 0x4660
_INFO: Final = 0x1549A966
_TITLE: Final = 0x7BA9
_TAGS: Final = 0x1254C367
_TAG: Final = 0x7373
_TARGETS: Final = 0x63C0
_SIMPLE_TAG: Final = 0x67C8
_TAG_NAME: Final = 0x45A3
_TAG_STRING: Final = 0x4487
_VOID: Final = 0xEC
_CRC32: Final = 0xBF

_NAME: Final = MARKER_NAME.upper().encode()  # tag names are in capitals by convention
_LISTED: Final = 8
_UNLISTED: Final = 4
_VALUE_LIMIT: Final = 64 * 1024
_MARGIN: Final = 128 * 1024  # more than a marker takes
_SEEK_HEAD_LIMIT: Final = 64 * 1024
_MOVED: Final = "another program has moved its marker"
_LIVE: Final = "its length is not known, as in live recordings"


class MatroskaFormat(FilmFormat):
    """WebM and Matroska: can be stamped; has a short film, or a waveform when it is only sound."""

    name = "matroska"
    preview_kind: PreviewKind | None = "animation"

    def sniff(self, head: bytes, name: str) -> bool:
        """Tell a file by the signature of EBML and its document type."""
        return head.startswith(_SIGNATURE) and (b"webm" in head or b"matroska" in head)

    def layout(self, file: BinaryIO) -> Layout:
        """Find our ``Tags`` element, or the place for it at the end of the segment.

        A marker is the last element of the segment, in exactly the form that we write. Refused are live
        recordings, whose lengths are not known, and damaged files.
        """
        try:
            return _layout(EbmlReader(file))
        except Refusal as reason:
            return Layout(marker=reason.marker, refusal=reason.why)

    def texts(self, found: TextCollector) -> None:
        """Take up the tags and the title."""
        reader = EbmlReader(found.file)
        with suppress(Refusal):
            for each in reader.run(_segment(reader).inner, reader.size_bytes):
                for title in reader.within([each], _INFO, _TITLE):
                    found.add("matroska:title", "title", decode(_string(found, title)))
                for name, text in _simple_tags(reader, [each]):
                    found.add("matroska:tag", decode(name).lower(), decode(_string(found, text)))

    def clean(self, file: BinaryIO) -> Cleaning:
        """Tell what a clean copy is made of."""
        from comfyvn.media.clean_film import clean_matroska

        return clean_matroska(file)

    def kind_of(self, file: BinaryIO) -> PreviewKind | None:
        """Tell a film by a video track; a cover is an attachment, no track."""
        reader = EbmlReader(file)
        try:
            segment = _segment(reader)
            inside = reader.run(segment.inner, reader.size_bytes)
            tracks = itertools.islice((each for each in inside if each.ident == _TRACKS), 1)
            types = reader.within(tracks, _TRACKS, _TRACK_ENTRY, _TRACK_TYPE)
            kinds = [reader.content(each, 8)[-1:] for each in types]
        except Refusal:
            return self.preview_kind
        return "waveform" if b"\2" in kinds and b"\1" not in kinds else self.preview_kind


def _segment(reader: EbmlReader) -> Element:
    for each in reader.run(0, reader.size_bytes):
        if each.ident == _SEGMENT:
            return each
    raise damaged("it has no segment")


def _layout(reader: EbmlReader) -> Layout:
    segment = _segment(reader)
    inside = _inside(reader, segment)
    last, marker, width = inside[-1], None, 0
    data = read_at(reader.file, last.offset, last.end - last.offset if _is_small(last) else 0)
    for width in (_LISTED, _UNLISTED):
        value = data[len(_made(width, b"")) :]
        if len(value) <= _VALUE_LIMIT and b"\0" not in value and data == _made(width, value):
            marker = value
            break
    others = list(_markers(reader, inside if marker is None else inside[:-1]))
    if others:
        raise Refusal(_MOVED, others[0])
    old = data if marker is not None else b""
    splices = _splices(reader, segment, inside, old, is_listed=marker is not None and width == _LISTED)
    if splices is None:
        raise Refusal(_MOVED, marker)
    types = reader.within(inside, _ATTACHMENTS, _ATTACHED_FILE, _FILE_MEDIA_TYPE)
    is_signed = any(b"c2pa" in reader.content(each, 256) for each in types)
    return Layout(splices, marker, "it is signed with content credentials (C2PA)" if is_signed else None)


def _is_small(tags: Element) -> bool:
    return tags.ident == _TAGS and tags.end - tags.offset < _MARGIN


def _inside(reader: EbmlReader, segment: Element) -> list[Element]:
    """Return the elements of the segment.

    Raises:
        Refusal: their lengths are unknown or wrong, or a check sum goes over all of them.
    """
    if segment.end > reader.size_bytes:
        raise damaged("it is cut short")
    inside = list(reader.inside(segment))
    if segment.length is None or (inside and inside[-1].length is None):
        raise Refusal(_LIVE)
    if not inside or inside[-1].end != segment.end:
        raise damaged("a length in it is wrong")
    if inside[0].ident == _CRC32:
        raise Refusal("a check sum goes over the whole of it")
    if not fits(segment.length + _MARGIN, segment.width):
        raise Refusal("there is no room for a greater length")
    return inside


def _markers(reader: EbmlReader, inside: Sequence[Element]) -> Iterator[bytes]:
    """Yield the values of tags of our name, in whichever form."""
    for name, text in _simple_tags(reader, inside):
        if name.upper() == _NAME:
            yield reader.content(text, _VALUE_LIMIT).rstrip(b"\0")


def _simple_tags(reader: EbmlReader, inside: Sequence[Element]) -> Iterator[tuple[bytes, Element]]:
    """Yield the tags that are texts: name, and where the text is."""
    for each in reader.within(inside, _TAGS, _TAG, _SIMPLE_TAG):
        parts = {part.ident: part for part in reader.inside(each)}
        name, text = parts.get(_TAG_NAME), parts.get(_TAG_STRING)
        if name and text:
            yield reader.content(name, 64).rstrip(b"\0"), text


def _string(found: TextCollector, element: Element) -> bytes:
    return found.read(element.inner, element.length or 0)


def _splices(
    reader: EbmlReader, segment: Element, inside: Sequence[Element], old: bytes, *, is_listed: bool
) -> tuple[Splice, ...] | None:
    """Return what changes with the marker; None when its entry in the ``SeekHead`` can't be taken out."""
    assert segment.length is not None
    bare = segment.length - len(old)
    listing = _listing(reader, inside, _entry(bare), is_listed=is_listed)
    if is_listed and listing is None:
        return None
    make = functools.partial(_made, _UNLISTED if listing is None else _LISTED)
    length = functools.partial(length_of, width=segment.width)
    return (
        Splice(
            segment.inner - segment.width,
            length(segment.length),
            length(bare),
            lambda value: length(bare + len(make(value))),
        ),
        *([] if listing is None else [listing]),
        *([Splice(segment.end - len(old), old, b"", lambda _: b"")] if old else []),
        Splice(segment.end, b"", b"", make),
    )


def _listing(
    reader: EbmlReader, inside: Sequence[Element], entry: bytes, *, is_listed: bool
) -> Splice | None:
    """Return the ``SeekHead`` with the ``Void`` behind it, as they are without and with our entry.

    None when there is no room for it, or when it is said to be there and is not.
    """
    index = next((index for index, each in enumerate(inside) if each.ident == _SEEK_HEAD), len(inside))
    if index + 1 >= len(inside) or inside[index + 1].ident != _VOID:
        return None
    head, void = inside[index : index + 2]
    content = reader.content(head, _SEEK_HEAD_LIMIT)
    room = void.length or 0
    if len(content) != head.length or _summed(content) != content:
        return None
    if is_listed:
        if not content.endswith(entry):
            return None
        content, room = content[: -len(entry)], room + len(entry)
    elif reader.content(void, len(entry)) != bytes(len(entry)):
        return None
    listed = _summed(content + entry)
    if not fits(len(listed), head.width) or not fits(room, void.width):
        return None
    bare = element(_SEEK_HEAD, _summed(content), head.width) + _empty(room, void.width) + bytes(len(entry))
    full = element(_SEEK_HEAD, listed, head.width) + _empty(room - len(entry), void.width)
    return Splice(head.offset, full if is_listed else bare, bare, lambda _: full)


def _summed(content: bytes) -> bytes:
    """Return the content of an element with the right check sum, if it has one."""
    if content[:1] != bytes([_CRC32]):
        return content
    return b"\xbf\x84" + zlib.crc32(content[6:]).to_bytes(4, "little") + content[6:]


def _empty(length: int, width: int) -> bytes:
    """Return the header of a ``Void`` element."""
    return bytes([_VOID]) + length_of(length, width)


def _entry(position: int) -> bytes:
    """Return the entry of our element in a ``SeekHead``; positions count from the segment's content on."""
    where = position.to_bytes(max(1, (position.bit_length() + 7) // 8), "big")
    what = element(_SEEK_ID, _TAGS.to_bytes(4, "big"), 1)
    return element(_SEEK, what + element(_SEEK_POSITION, where, 1), 1)


def _made(width: int, value: bytes) -> bytes:
    """Return our ``Tags`` element, its length in so many bytes.

    Raises:
        ValueError: the value has a NUL, at which readers end a text, or more than 64 KiB.
    """
    if len(value) > _VALUE_LIMIT:
        raise ValueError(f"the marker has {len(value)} bytes, a Matroska file takes {_VALUE_LIMIT}")
    if b"\0" in value:
        raise ValueError("a marker can't hold a NUL byte")
    tag = element(_TAG_NAME, _NAME, 1) + element(_TAG_STRING, value, 4)
    return element(_TAGS, element(_TAG, element(_TARGETS, b"", 1) + element(_SIMPLE_TAG, tag, 4), 4), width)
