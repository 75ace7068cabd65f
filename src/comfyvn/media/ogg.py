"""Ogg (Vorbis, Opus, FLAC, Speex, Theora): the marker, spliced in as one comment; no page is renumbered.

The page on which the comments end grows by the marker, and gets a new check sum; where the comments run over
several pages, the last of them grows and what lies between moves on by as much. Of a chain of streams, the
first is marked.

Format: RFC 3533 (Ogg); Vorbis I specification, section 5; RFC 7845, section 5.2 (Opus); RFC 9639,
section 10.1 (FLAC); Theora Specification, section 6.3; C2PA 2.3, A.3.5.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, BinaryIO, Final

from comfyvn.media.embedded import TextCollector
from comfyvn.media.formats import Layout, Splice, read_at
from comfyvn.media.tags import COUNT_LIMIT, SIGNED, VALUE_LIMIT, Comments, Refusal, add_comments, damaged
from comfyvn.media.video import FilmFormat
from comfyvn.model import PreviewKind

if TYPE_CHECKING:
    from comfyvn.media.clean import Cleaning

__all__ = ["CODECS", "OggFormat", "Packet", "Page", "page_at", "start_of", "streams_of"]

_CAPTURE: Final = b"OggS\0"
_HEADER: Final = struct.Struct("<5sBQIIIB")
_NUMBER: Final = slice(18, 22)
_CHECK_SUM: Final = slice(22, 26)
_CONTINUED, _FIRST = 1, 2
_CONCERNED_LIMIT: Final = 64
_LACES_LIMIT: Final = 255
_PACKET_LIMIT: Final = 7 << 20  # twice this stays below SPLICE_BYTES
_LEAST_ROOM: Final = 4096

_FLAC: Final = b"\x7fFLAC"
CODECS: Final = {
    b"\x01vorbis": b"\x03vorbis",
    b"OpusHead": b"OpusTags",
    _FLAC: b"",
    b"Speex   ": b"",
    b"\x80theora": b"\x81theora",
}
"""How the first packet of a stream begins, and how the second, with the comments, does."""
_FILMS: Final = (b"\x80theora", b"BBCD\0", b"\x01video\0", b"OVP80")
_SKELETON: Final = b"fishead\0"
_SKELETON_WITH_INDEX: Final = 4
_C2PA: Final = b"\0c2pa"
_FLAC_COMMENTS: Final = 4

_MIRRORED: Final = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


class OggFormat(FilmFormat):
    """Ogg: can be stamped; has a waveform, or a short film where there is a film in it."""

    name = "ogg"
    preview_kind: PreviewKind | None = "waveform"

    def sniff(self, head: bytes, name: str) -> bool:
        """Tell it by the header of its first page."""
        return head.startswith(_CAPTURE) and len(head) > 5 and bool(head[5] & _FIRST)

    def kind_of(self, file: BinaryIO) -> PreviewKind | None:
        """Tell a film by its streams."""
        try:
            begins = [begin for _, begin in streams_of(file)]
        except Refusal:
            return "waveform"
        return "animation" if any(begin.startswith(_FILMS) for begin in begins) else "waveform"

    def layout(self, file: BinaryIO) -> Layout:
        """Find our comment, or the place for it."""
        try:
            streams = streams_of(file)
            refusal = next(filter(None, (_forbids(begin) for _, begin in streams)), None)
            for serial, begin in streams:
                codec = next((codec for codec in CODECS if begin.startswith(codec)), None)
                if codec is not None:
                    layout = _layout(Packet.read(file, serial), codec)
                    return Layout(layout.splices, layout.marker, refusal or layout.refusal)
            raise Refusal(refusal or "it has no stream of a kind that takes comments")
        except Refusal as why:
            return Layout(refusal=str(why))

    def texts(self, found: TextCollector) -> None:
        """Take up the comments of every stream."""
        with suppress(Refusal):
            for serial, begin in streams_of(found.file):
                codec = next((codec for codec in CODECS if begin.startswith(codec)), None)
                if codec is not None:
                    data = Packet.read(found.file, serial).data
                    add_comments(found, found.within(data), start_of(data, codec), len(data))

    def clean(self, file: BinaryIO) -> Cleaning:
        """Tell what a clean copy is made of."""
        from comfyvn.media.clean_ogg import clean_ogg

        return clean_ogg(file)


@dataclass(frozen=True, slots=True)
class Page:
    """A page: where it is, its header, the lengths of its segments."""

    offset: int
    header: bytes
    laces: bytes

    @property
    def flags(self) -> int:
        """Whether a stream begins or ends with it, and a packet goes on from the page before."""
        return self.header[5]

    @property
    def serial(self) -> bytes:
        """The number of its stream."""
        return self.header[14:18]

    @property
    def body(self) -> int:
        """Where its segments begin."""
        return self.offset + _HEADER.size + len(self.laces)

    @property
    def end(self) -> int:
        """Where the next one begins."""
        return self.body + sum(self.laces)

    @property
    def is_first(self) -> bool:
        """Whether a stream begins with it."""
        return bool(self.flags & _FIRST)

    def bytes(self, laces: bytes, body: bytes, *, earlier: int = 0) -> bytes:
        """Return the page with other segments, its number lower by so much."""
        header = bytearray(self.header)
        header[_NUMBER] = (int.from_bytes(header[_NUMBER], "little") - earlier).to_bytes(4, "little")
        header[_CHECK_SUM] = bytes(4)
        header[-1] = len(laces)
        page = bytes(header) + laces + body
        header[_CHECK_SUM] = _check_sum(page)
        return bytes(header) + page[_HEADER.size :]


@dataclass(frozen=True, slots=True)
class _Fragment:
    """The part of a packet on one page: which segments, and which bytes of the page's body."""

    page: Page
    laces: slice
    begin: int
    end: int

    @property
    def length(self) -> int:
        return self.end - self.begin


@dataclass(frozen=True, slots=True)
class Packet:
    """The second packet of a stream, the one with the comments, and the bodies of the pages it lies on."""

    fragments: tuple[_Fragment, ...]
    bodies: tuple[bytes, ...]

    @classmethod
    def read(cls, file: BinaryIO, serial: bytes) -> Packet:
        """Read the packet.

        Raises:
            Refusal: it is not whole, or too long.
        """
        fragments = tuple(_fragments(file, serial))
        bodies = tuple(read_at(file, each.page.body, sum(each.page.laces)) for each in fragments)
        if any(len(body) < sum(each.page.laces) for each, body in zip(fragments, bodies, strict=True)):
            raise damaged("it is cut short")
        return cls(fragments, bodies)

    @property
    def data(self) -> bytes:
        """The packet itself."""
        parts = zip(self.fragments, self.bodies, strict=True)
        return b"".join(body[part.begin : part.end] for part, body in parts)

    @property
    def last_length(self) -> int:
        """How much of the packet lies on its last page."""
        return self.fragments[-1].length

    @property
    def room(self) -> int:
        """How long the part of the packet on its last page can become."""
        last = self.fragments[-1]
        others = len(last.page.laces) - len(last.page.laces[last.laces])
        return (_LACES_LIMIT - others) * 255 - 1

    def page(self, index: int, data: bytes) -> bytes:
        """Return one of the pages, when the packet has other data: each but the last holds as much as now."""
        part, body = self.fragments[index], self.bodies[index]
        start = sum(each.length for each in self.fragments[:index])
        if index < len(self.fragments) - 1:
            return part.page.bytes(
                part.page.laces, body[: part.begin] + data[start : start + part.length] + body[part.end :]
            )
        rest = data[start:]
        laces = b"\xff" * (len(rest) // 255) + bytes([len(rest) % 255])
        before, after = part.page.laces[: part.laces.start], part.page.laces[part.laces.stop :]
        return part.page.bytes(before + laces + after, body[: part.begin] + rest + body[part.end :])


def _layout(packet: Packet, codec: bytes) -> Layout:
    data = packet.data
    comments = _comments(data, codec)
    removed = sum(end - at for at, end in comments.markers)
    if removed > packet.last_length:
        raise Refusal("its marker runs over the end of a page")
    bare = _without(data, comments, codec)
    room = packet.room - (packet.last_length - removed) - len(Comments.encode(b""))
    made = partial(_with, bare, comments.end - removed, comments.count_at, codec, min(room, VALUE_LIMIT))
    changed_from = comments.markers[0][0] if comments.markers else comments.end
    concerned, end = [], 0
    for index, part in enumerate(packet.fragments):
        start, end = end, end + part.length
        is_last = index == len(packet.fragments) - 1
        # The first page has the length of a FLAC block; the number of comments may lie on two pages.
        if is_last or end > changed_from or start < comments.count_at + 4:
            concerned.append(index)
    if len(concerned) > _CONCERNED_LIMIT:
        raise Refusal("its comments lie on too many pages")
    splices = [_splice(packet, index, data, bare, made) for index in concerned]
    refusal = "its page of comments is full" if room < _LEAST_ROOM else None
    return Layout(tuple(splices), comments.marker, refusal)


def _splice(packet: Packet, index: int, data: bytes, bare: bytes, made: Callable[[bytes], bytes]) -> Splice:
    """Return the splice that is one page.

    Raises:
        Refusal: its check sum is wrong, so that it would not come back as it was.
    """
    page, body = packet.fragments[index].page, packet.bodies[index]
    there = page.header + page.laces + body
    if packet.page(index, data) != there:
        raise damaged("a check sum in it is wrong")
    return Splice(page.offset, there, packet.page(index, bare), lambda value: packet.page(index, made(value)))


def _comments(data: bytes, codec: bytes) -> Comments:
    """Find the comments in their packet.

    Raises:
        Refusal: it is another, or it is damaged.
    """
    start = start_of(data, codec)
    comments = Comments.find(lambda at, length: data[at : at + length], start, len(data))
    if codec == b"\x01vorbis" and not int.from_bytes(data[comments.end : comments.end + 1]) & 1:
        raise damaged("its comments don't end as they should")
    return comments


def start_of(data: bytes, codec: bytes) -> int:
    """Return where the comments begin in their packet.

    Raises:
        Refusal: it is another.
    """
    begin, start = CODECS[codec], len(CODECS[codec])
    if codec == _FLAC:
        start = 4
        begin = bytes([data[0] & 0x80 | _FLAC_COMMENTS]) + (len(data) - 4).to_bytes(3) if data else b"\4"
    if not data.startswith(begin):
        raise damaged("its second packet has no comments")
    return start


def _without(data: bytes, comments: Comments, codec: bytes) -> bytes:
    """Return a packet of comments without our markers."""
    kept, at = [], 0
    for start, end in comments.markers:
        kept.append(data[at:start])
        at = end
    bare = b"".join([*kept, data[at:]])
    return _counted(bare, comments.count_at, -len(comments.markers), codec)


def _with(bare: bytes, at: int, count_at: int, codec: bytes, limit: int, value: bytes) -> bytes:
    """Return a packet of comments with one more."""
    return _counted(bare[:at] + Comments.encode(value, limit) + bare[at:], count_at, 1, codec)


def _counted(data: bytes, count_at: int, more: int, codec: bytes) -> bytes:
    """Return a packet whose count of comments, and length if it states it, are those that it has now."""
    count = int.from_bytes(data[count_at : count_at + 4], "little") + more
    data = data[:count_at] + count.to_bytes(4, "little") + data[count_at + 4 :]
    return data[:1] + (len(data) - 4).to_bytes(3) + data[4:] if codec == _FLAC else data


def _forbids(begin: bytes) -> str | None:
    """Return why a stream, told by how it begins, forbids that anything grows."""
    if begin.startswith(_C2PA):
        return SIGNED
    has_index = begin.startswith(_SKELETON) and int.from_bytes(begin[8:10], "little") >= _SKELETON_WITH_INDEX
    return "it has an index of places in the file, which would move" if has_index else None


def streams_of(file: BinaryIO) -> list[tuple[bytes, bytes]]:
    """Return the serial of each stream that begins at the start, and how it begins.

    Raises:
        Refusal: the file is damaged.
    """
    found = []
    for page in pages_of(file):
        if not page.flags & _FIRST:
            break
        found.append((page.serial, read_at(file, page.body, min(64, sum(page.laces)))))
    return found


def _fragments(file: BinaryIO, serial: bytes) -> Iterator[_Fragment]:
    """Yield the parts of the second packet of a stream.

    Raises:
        Refusal: it is not whole, or too long.
    """
    packet, is_open, length = 0, False, 0
    for page in pages_of(file):
        if page.serial != serial:
            continue
        if bool(page.flags & _CONTINUED) != is_open or (packet and page.flags & _FIRST):
            raise damaged("its pages don't follow each other")
        first, begin, end = 0, 0, 0
        for index, lace in enumerate(page.laces):
            end += lace
            is_open = lace == 255
            if is_open and index < len(page.laces) - 1:
                continue
            if packet == 1:
                yield _Fragment(page, slice(first, index + 1), begin, end)
                length += end - begin
            if packet == 1 and not is_open:
                return
            packet += not is_open
            first, begin = index + 1, end
        if length > _PACKET_LIMIT:
            raise Refusal("its comments are too large")
    raise damaged("it is cut short")


def pages_of(file: BinaryIO) -> Iterator[Page]:
    """Yield the pages of the file.

    Raises:
        Refusal: there is something else among them, or there are too many.
    """
    at = 0
    for _ in range(COUNT_LIMIT):
        page = page_at(file, at)
        if page is None:
            if read_at(file, at, 1):
                raise damaged("there is something else among its pages")
            return
        yield page
        at = page.end
    raise Refusal(f"its comments are not in the first {COUNT_LIMIT:,} pages")


def page_at(file: BinaryIO, at: int) -> Page | None:
    """Return the page at a place, None when there is none; its body may be cut short."""
    header = read_at(file, at, _HEADER.size)
    if len(header) < _HEADER.size or not header.startswith(_CAPTURE):
        return None
    laces = read_at(file, at + _HEADER.size, header[-1])
    return Page(at, header, laces) if len(laces) == header[-1] else None


def _check_sum(page: bytes) -> bytes:
    """Return the check sum of a page: CRC-32 with bits in another order, and without the inversions.

    zlib's is the same with mirrored bytes; in Python alone it would take a thousand times as long.
    """
    mirrored = zlib.crc32(page.translate(_MIRRORED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return mirrored.to_bytes(4, "little").translate(_MIRRORED)[::-1]
