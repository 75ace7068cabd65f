"""MP4, M4A, 3GP and QuickTime: the marker, spliced in as one tag among the file's tags; nothing is remuxed.

The boxes around the tag grow, and every chunk offset that points behind it is raised by as much.

Format: ISO/IEC 14496-12, section 8 (movie, tracks, chunk offsets); QuickTime File Format Specification
(Apple); C2PA 2.1, A.5 (content credentials).
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Final

from comfyvn.media.boxes import Box, BoxReader, Refusal, damaged, only
from comfyvn.media.embedded import TextCollector
from comfyvn.media.formats import Layout, Splice, read_at
from comfyvn.media.mp4_tags import MARGIN, Place, find_tags
from comfyvn.media.mp4_texts import add_texts
from comfyvn.media.video import FilmFormat
from comfyvn.model import PreviewKind

if TYPE_CHECKING:
    from comfyvn.media.clean import Cleaning

__all__ = ["Mp4Format"]

_BRANDS: Final = frozenset(
    b"isom,iso2,iso3,iso4,iso5,iso6,iso7,iso8,iso9,isoa,isob,isoc,mp41,mp42,mp71,mmp4,avc1,hvc1,av01,qt  ,"
    b"M4A ,M4B ,M4P ,M4V ,M4VH,M4VP,f4a ,f4b ,f4p ,f4v ,3gp4,3gp5,3gp6,3gp7,3gp9,3g2a,3g2b,3g2c,"
    b"dash,cmfc,cmf2,MSNV,XAVC,dby1".split(b",")
)
_SOUND_BRANDS: Final = (b"M4A ", b"M4B ", b"M4P ", b"f4a ", b"f4b ")
# Pictures (HEIF, AVIF) and raw photos (CR3), which may list one of our brands as a compatible one.
_PICTURE_BRANDS: Final = frozenset(
    (b"mif1", b"msf1", b"miaf", b"heic", b"heix", b"heim", b"hevc", b"hevm", b"avif", b"avis", b"crx ")
)
_FILLERS: Final = (b"free", b"skip", b"wide", b"pnot")

_CONTAINERS: Final = frozenset(
    (b"moov", b"trak", b"mdia", b"minf", b"dinf", b"stbl", b"meta", b"moof", b"mfra")
)
_REFUSED: Final = {
    b"cmov": "its movie header is compressed",
    b"rmra": "its media lies in other files",
    b"iloc": "it holds pictures that are found by offsets of their own",
    b"saio": "it is encrypted, or else has data that is found by offsets of its own",
}
_C2PA: Final = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
_MARKERS_LIMIT: Final = 8  # each is looked for in all tables
_TABLES_LIMIT: Final = 7 << 20  # twice this, and the markers, stay below SPLICE_BYTES


class Mp4Format(FilmFormat):
    """MP4, M4A, 3GP and QuickTime: can be stamped; has a short film, or a waveform when it is only sound."""

    name = "mp4"
    preview_kind: PreviewKind | None = "animation"

    def sniff(self, head: bytes, name: str) -> bool:
        """Tell a file by its brands; an old QuickTime file, which has none, by its first boxes."""
        size, kind = int.from_bytes(head[:4], "big"), head[4:8]
        if kind != b"ftyp":
            return _begins_as_quicktime(size, kind, head)
        brands = [head[8:12], *(head[at : at + 4] for at in range(16, min(size, len(head)), 4))]
        return brands[0] not in _PICTURE_BRANDS and not _BRANDS.isdisjoint(brands)

    def layout(self, file: BinaryIO) -> Layout:
        """Find our tag, or the place for one, behind the file's other tags.

        A marker is an item in exactly the form that we write. Refused are files with offsets that can't be
        moved or that lead into other files, and damaged ones: a box without an end, two lists of tags.
        """
        try:
            return _layout(BoxReader(file))
        except Refusal as reason:
            return Layout(marker=reason.marker, refusal=reason.why)

    def texts(self, found: TextCollector) -> None:
        """Take up the texts among the tags."""
        add_texts(found)

    def clean(self, file: BinaryIO) -> Cleaning:
        """Tell what a clean copy is made of."""
        from comfyvn.media.clean_film import clean_mp4

        return clean_mp4(file)

    def kind_of(self, file: BinaryIO) -> PreviewKind | None:
        """Tell a film by an enabled video track; the cover and the chapter pictures of sound are none."""
        reader = BoxReader(file)
        try:
            moov = only(reader.top(), b"moov")
            tracks = [_track(reader, box) for box in reader.inside(moov) if box.kind == b"trak"]
        except Refusal:
            return self.preview_kind
        has_sound = (b"soun", True) in tracks or (b"soun", False) in tracks
        head = read_at(file, 0, 12)
        is_sound = head[4:8] == b"ftyp" and head[8:12] in _SOUND_BRANDS
        return "waveform" if has_sound and (is_sound or (b"vide", True) not in tracks) else self.preview_kind


def _begins_as_quicktime(size: int, kind: bytes, head: bytes) -> bool:
    """Tell whether a first box is filled with, or followed by, another that fits."""
    if kind == b"moov":
        inner = 16 if size == 1 else 8
        return head[inner + 4 : inner + 8] in (b"mvhd", b"trak", b"udta", b"cmov", b"rmra")
    if kind == b"mdat":  # no text begins with a zero
        return head[0] == 0 and (size == 1 or size >= 8)
    following = head[size + 4 : size + 8]
    return kind in _FILLERS and 8 <= size <= len(head) - 8 and following in (*_FILLERS, b"moov", b"mdat")


def _track(reader: BoxReader, trak: Box) -> tuple[bytes, bool]:
    """Return the handler of a track and whether it is enabled."""
    handler, is_enabled = b"", True
    for box in reader.inside(trak):
        if box.kind == b"tkhd":
            is_enabled = bool(_flags(reader, box) & 1)
        elif box.kind == b"mdia":
            inside = reader.inside(box)
            handler = next((reader.handler(each) for each in inside if each.kind == b"hdlr"), b"")
    return handler, is_enabled


def _flags(reader: BoxReader, box: Box) -> int:
    return reader.number_at(box.inner) & 0xFFFFFF


def _layout(reader: BoxReader) -> Layout:
    top = reader.top()
    moov = only(top, b"moov")
    if any(box.kind == b"sidx" and box.offset < moov.offset for box in top):
        raise Refusal("its list of segments lies before its movie header")
    tables = _tables(reader, top)
    tags = find_tags(reader, moov)
    old = sorted((at, data) for place in tags.places for at, data in place.old)
    if len(old) > _MARKERS_LIMIT:
        raise Refusal("it has too many markers")
    splices = [Splice(at, data, b"", _nothing) for at, data in old]
    splices += [Splice(place.offset, b"", b"", place.make) for place in tags.places]
    for box in dict.fromkeys(parent for place in tags.places for parent in place.parents):
        splices.append(_size_splice(box, tags.places))
    if tags.count is not None:
        splices.append(tags.count)
    for table in tables:
        splices += _table_splice(table, reader.bytes_at(table.offset, table.size), old, tags.places)
    splices.sort(key=lambda splice: (splice.offset, len(splice.data)))
    is_signed = any(box.kind == b"uuid" and reader.bytes_at(box.inner, 16) == _C2PA for box in top)
    refusal = "it is signed with content credentials (C2PA)" if is_signed else None
    return Layout(tuple(splices), tags.marker, refusal)


@dataclass(frozen=True, slots=True)
class _Table:
    """Offsets from the start of the file: where the first is, how wide each is, how many there are, and how
    far it is from one to the next."""

    offset: int
    width: int
    count: int
    step: int

    @property
    def size(self) -> int:
        return self.step * (self.count - 1) + self.width if self.count else 0


def _tables(reader: BoxReader, top: Sequence[Box]) -> list[_Table]:
    """Return every table of offsets to the media.

    Raises:
        Refusal: a table is damaged, or the file has offsets of another kind.
    """
    found, left = [], list(top)
    while left:  # a list, not recursion: boxes may be nested as deep as the file is long
        box = left.pop()
        if box.kind in _REFUSED:
            raise Refusal(_REFUSED[box.kind])
        if box.kind in _CONTAINERS:
            left += reader.inside(box)
        elif box.kind == b"traf":  # the other offsets in it count from its start
            left += [each for each in reader.inside(box) if each.kind == b"tfhd"]
        elif box.kind == b"dref" and not all(
            each.size >= each.header + 4 and _flags(reader, each) & 1
            for each in reader.run(box.inner + 8, box.end)
        ):
            raise Refusal("its media lies in other files")
        elif (table := _table(reader, box)) is not None:
            if table.offset + table.size > box.end:
                raise damaged("a table of offsets is longer than its box")
            found.append(table)
    if sum(table.size for table in found) > _TABLES_LIMIT:
        raise Refusal("its tables of offsets are too large")
    return found


def _table(reader: BoxReader, box: Box) -> _Table | None:
    """Return the offsets in a box; None when it has none."""
    at = box.inner
    if box.kind in (b"stco", b"co64"):
        width = 4 if box.kind == b"stco" else 8
        return _Table(at + 8, width, reader.number_at(at + 4), width)
    if box.kind == b"tfhd" and _flags(reader, box) & 1:
        return _Table(at + 8, 8, 1, 8)
    if box.kind == b"tfra":  # time, offset, and three numbers of 1 to 4 bytes
        width, widths = 8 if reader.number_at(at) >> 24 else 4, reader.number_at(at + 8)
        others = 3 + (widths & 3) + (widths >> 2 & 3) + (widths >> 4 & 3)
        return _Table(at + 16 + width, width, reader.number_at(at + 12), 2 * width + others)
    return None


def _size_splice(box: Box, places: Sequence[Place]) -> Splice:
    """Return the size of a box, which grows with what is put into it."""
    growing = [place for place in places if box in place.parents]
    bare = box.size - sum(len(data) for place in growing for _, data in place.old)
    form, offset = (">Q", box.offset + 8) if box.header == 16 else (">I", box.offset)
    if box.header == 8 and bare + MARGIN >= 1 << 32:
        raise Refusal("its tables are too large")

    def stamped(value: bytes) -> bytes:
        return struct.pack(form, bare + sum(len(place.make(value)) for place in growing))

    return Splice(offset, struct.pack(form, box.size), struct.pack(form, bare), stamped)


def _table_splice(
    table: _Table, data: bytes, old: Sequence[tuple[int, bytes]], places: Sequence[Place]
) -> list[Splice]:
    """Return the splice of a table of offsets; none when all that it leads to lies before the tags."""
    numbers = _numbers(table, data)
    for at, removed in reversed(old):
        end, length = at + len(removed), len(removed)
        if any(at <= number < end for number in numbers):
            raise damaged("its media lies in its tags")
        numbers = _raised(numbers, end, -length)
    steps = sorted(((_moved(place.offset, old), place) for place in places), key=lambda each: -each[0])
    bare, last = _filled(table, data, numbers), max(numbers, default=0)
    if last + MARGIN >= 1 << 8 * table.width:
        raise Refusal("its tables have no room for greater offsets")
    if bare == data and last < steps[-1][0]:
        return []

    def stamped(value: bytes) -> bytes:
        made = numbers
        for start, place in steps:  # the last place first, so that the others are still where they were
            made = _raised(made, start, len(place.make(value)))
        return _filled(table, data, made)

    return [Splice(table.offset, data, bare, stamped)]


def _moved(offset: int, old: Sequence[tuple[int, bytes]]) -> int:
    """Return where a place is once the markers before it are out."""
    return offset - sum(len(data) for at, data in old if at + len(data) <= offset)


def _numbers(table: _Table, data: bytes) -> array[int]:
    packed = bytearray(table.count * table.width)
    for index in range(table.width):
        packed[index :: table.width] = data[index :: table.step]
    made = array("I" if table.width == 4 else "Q", packed)
    if sys.byteorder == "little":
        made.byteswap()
    return made


def _filled(table: _Table, data: bytes, numbers: array[int]) -> bytes:
    """Return the data of a table with other numbers in it."""
    made = array(numbers.typecode, numbers)
    if sys.byteorder == "little":
        made.byteswap()
    packed, filled = made.tobytes(), bytearray(data)
    for index in range(table.width):
        filled[index :: table.step] = packed[index :: table.width]
    return bytes(filled)


def _raised(numbers: array[int], start: int, by: int) -> array[int]:
    """Raise the numbers from a place on."""
    return array(numbers.typecode, (number + by if number >= start else number for number in numbers))


def _nothing(_: bytes) -> bytes:
    """Stand for an old marker, of which nothing is left in a stamped file."""
    return b""
