"""What stays of MP4, QuickTime, WebM and Matroska in a clean copy.

No byte of these files moves, since tables of places in the file lead to the media: what is left out becomes
empty space of the same length, names and times become zeros.

Format: ISO/IEC 14496-12, section 8; QuickTime File Format Specification (Apple); RFC 9559 (Matroska),
section 5.1; RFC 8794 (EBML), section 11.3; "Vorbis" in Matroska codec mappings (IETF draft).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Final

from comfyvn.media.boxes import Box, BoxReader
from comfyvn.media.clean import CantClean, Cleaner, Cleaning, damaged, refusing
from comfyvn.media.ebml import EbmlReader, Element, length_of
from comfyvn.media.formats import read_at
from comfyvn.media.tags import SIGNED

__all__ = ["clean_matroska", "clean_mp4"]

_EMPTY_LIMIT: Final = 64 << 20


class _InPlace:
    """Puts a copy together in which stretches of a file become other bytes of the same length."""

    def __init__(self, file: BinaryIO) -> None:
        self.cleaner = Cleaner(file)
        self.is_quicktime = read_at(file, 8, 4) == b"qt  " or read_at(file, 4, 4) != b"ftyp"
        self._at = 0
        self._empty = 0

    def keep(self, end: int, *, is_media: bool = False) -> None:
        """Copy what comes next, up to a place."""
        self.cleaner.keep(self._at, end, is_media=is_media)
        self._at = max(self._at, end)

    def write(self, at: int, data: bytes, name: str) -> None:
        """Copy what comes before a place, and write these bytes there."""
        self.keep(at)
        self._empty += len(data)
        if self._empty > _EMPTY_LIMIT:
            raise CantClean(f"more than {_EMPTY_LIMIT >> 20} MiB of it would have to be emptied")
        self.cleaner.replace(at, at + len(data), data, name)
        self._at = at + len(data)

    def done(self, end: int) -> Cleaning:
        """Return the copy of a file that ends at a place."""
        self.keep(end)
        self.cleaner.end_at(end)
        return self.cleaner.done()


# -- MP4 and QuickTime --------------------------------------------------------------------------------------

_CONTAINERS: Final = frozenset(
    (b"moov", b"trak", b"edts", b"mdia", b"minf", b"dinf", b"stbl", b"moof", b"traf", b"mfra", b"mvex")
)
_BRANDS: Final = frozenset((b"ftyp", b"styp"))
_MOST_BRANDS: Final = 256  # bytes
_KNOWN_BRANDS: Final = frozenset(
    name.ljust(4)
    for name in b"isom iso2 iso3 iso4 iso5 iso6 iso7 iso8 iso9 mp41 mp42 mp71 avc1 hvc1 hev1 av01 vp09 Opus"
    b" dash msdh msix cmfc cmf2 cmfs cmfl 3gp4 3gp5 3gp6 3g2a MSNV NDSC XAVC dby1 dvh1 qt M4A M4V M4B M4P"
    b" f4v".split()
)
"""What a film may say it can be read as; what else it says becomes zeros."""
_FIXED: Final = {b"vmhd": 12, b"smhd": 8, b"mfhd": 8, b"mfro": 8, b"trex": 24, b"tapt": 60}
"""How long the content of some boxes is, in bytes."""
_COUNTED: Final = {b"stts": 8, b"ctts": 8, b"stsc": 12, b"stco": 4, b"co64": 8, b"stss": 4}
"""How long each entry of some tables is, in bytes."""
_BY_VERSION: Final = {b"tfdt": (8, 12), b"mehd": (8, 12), b"cslg": (24, 44)}
_FRAGMENT_FIELDS: Final = {0x01: 8, 0x02: 4, 0x08: 4, 0x10: 4, 0x20: 4}
"""How long what a header of a fragment has by its flags is, in bytes."""
_GROUP_BYTES: Final = 8
_TIMED: Final = {b"mvhd": 100, b"tkhd": 84, b"mdhd": 24}
"""Headers with times, and how long their content is; 12 bytes more with long times."""
_UNUSED: Final = {b"mvhd": ((26, 36), (72, 96)), b"tkhd": ((24, 32),)}
"""Which bytes of them mean nothing, or what a player showed last."""
_SPACE: Final = frozenset((b"free", b"skip", b"wide"))
_CODEC_BOXES: Final = frozenset(
    b"avcC hvcC av1C vpcC esds dOps alac colr pasp clap fiel btrt mdcv clli SmDm CoLL chan gama dac3 dec3"
    b" dvcC dvvC frma mp4a enda".split()
) | {bytes(4)}
"""What may stand in the description of a track: numbers for its decoder."""
_CODEC_FIXED: Final = {b"pasp": 8, b"clap": 32, b"fiel": 2, b"btrt": 12, b"gama": 4, b"mdcv": 24, b"clli": 4}
_FILM_ENTRY: Final = 78  # bytes before the boxes in it
_SOUND_ENTRY: Final = {0: 28, 1: 44, 2: 64}  # by its version, in QuickTime
_COMPRESSOR, _COMPRESSOR_BYTES = 42, 32
_C2PA: Final = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
_MOVIES: Final = (b"vide", b"soun")


@refusing
def clean_mp4(file: BinaryIO) -> Cleaning:
    """Keep tracks of pictures and sound, and their tables; all else becomes empty space.

    Raises:
        CantClean: it is damaged, or has tracks of another kind, or of a codec that we don't know.
    """
    reader, made = BoxReader(file), _InPlace(file)
    top = reader.top()
    if not any(box.kind == b"moov" for box in top):
        raise damaged("it has no movie header")
    _boxes(reader, made, top)
    return made.done(top[-1].end)


def _boxes(reader: BoxReader, made: _InPlace, boxes: Sequence[Box], handler: bytes = b"") -> None:
    """Keep what is allowed of some boxes, which belong to a track of a kind."""
    for box in boxes:
        if box.kind == b"mdat":
            made.keep(box.inner)
            made.keep(box.end, is_media=True)
        elif box.kind in _CONTAINERS:
            inside = reader.inside(box)
            named = (
                next((each for each in inside if each.kind == b"hdlr"), None) if box.kind == b"mdia" else None
            )
            _boxes(reader, made, inside, handler if named is None else reader.handler(named))
            end = reader.end(box, inside)
            made.write(end, bytes(box.end - end), f"bytes in {box.kind.decode()}")
        elif box.kind in _TIMED:
            _without_times(reader, made, box)
        elif box.kind == b"hdlr":
            _without_name(reader, made, box)
        elif box.kind == b"dref":
            _check_references(reader, made, box)
        elif box.kind == b"stsd":
            _describe(reader, made, box, handler)
        elif box.kind in _SPACE:
            made.write(box.inner, bytes(_limited(box.end - box.inner)), f"bytes in {box.kind.decode()}")
        elif box.kind in _BRANDS and box.size <= _MOST_BRANDS:
            _known_brands(reader, made, box)
        elif (length := _table_bytes(reader, box)) is not None:
            _up_to(made, box, length)
        else:
            if box.kind == b"uuid" and reader.bytes_at(box.inner, 16) == _C2PA:
                raise CantClean(SIGNED)
            name = box.kind.decode("latin-1")
            made.write(box.offset + 4, b"free", name)
            made.write(box.inner, bytes(_limited(box.end - box.inner)), name)


def _known_brands(reader: BoxReader, made: _InPlace, box: Box) -> None:
    """Keep the first brand of a film, and of the others those that we know."""
    for at in range(box.inner + 8, box.end, 4):
        brand = reader.bytes_at(at, min(4, box.end - at))
        made.write(
            at, brand if brand in _KNOWN_BRANDS else bytes(len(brand)), f"names in {box.kind.decode()}"
        )


def _up_to(made: _InPlace, box: Box, length: int) -> None:
    """Keep so many bytes of a box's content; those behind them become zeros."""
    end = box.inner + length
    if end > box.end:
        raise damaged(f"its box {box.kind.decode()} is too short")
    made.write(end, bytes(_limited(box.end - end)), f"bytes in {box.kind.decode()}")


def _table_bytes(reader: BoxReader, box: Box) -> int | None:
    """Return how long a table is by its own count, in bytes; None for what is none that we know."""

    def number(at: int) -> int:
        return reader.number_at(box.inner + at)

    version, flags, kind = number(0) >> 24, number(0) & 0xFFFFFF, box.kind
    long = version > 0
    if kind in _FIXED:
        return _FIXED[kind]
    if kind in _COUNTED:
        return 8 + number(4) * _COUNTED[kind]
    if kind in _BY_VERSION:
        return _BY_VERSION[kind][long]
    if kind == b"stsz":
        return 12 + (0 if number(4) else 4 * number(8))
    if kind == b"stz2":
        return 12 + (number(8) * (number(4) & 0xFF) + 7) // 8
    if kind == b"elst":
        return 8 + number(4) * (20 if long else 12)
    if kind == b"tfhd":
        return 8 + sum(length for flag, length in _FRAGMENT_FIELDS.items() if flags & flag)
    if kind == b"trun":
        return 8 + 4 * ((flags & 5).bit_count() + number(4) * (flags & 0xF00).bit_count())
    if kind == b"sidx":
        return (32 if long else 24) + 12 * (number(28 if long else 20) & 0xFFFF)
    if kind == b"tfra":
        widths = sum((number(8) >> shift & 3) + 1 for shift in (0, 2, 4))
        return 16 + number(12) * ((16 if long else 8) + widths)
    if kind == b"sbgp":
        return (16 if long else 12) + 8 * number(12 if long else 8)
    if kind == b"sgpd" and version == 1 and 0 < number(8) <= _GROUP_BYTES:
        return 16 + number(8) * number(12)
    return None


def _limited(length: int) -> int:
    if length > _EMPTY_LIMIT:
        raise CantClean(f"more than {_EMPTY_LIMIT >> 20} MiB of it would have to be emptied")
    return length


def _without_times(reader: BoxReader, made: _InPlace, box: Box) -> None:
    """Write zeros for when it was made and changed, and for what nobody reads."""
    more = 12 if reader.bytes_at(box.inner, 1) == b"\1" else 0
    if box.size < box.header + _TIMED[box.kind] + more:
        raise damaged("a box of it is too short")
    made.write(box.inner + 4, bytes(16 if more else 8), "times")
    for start, end in _UNUSED.get(box.kind, ()):
        made.write(box.inner + start + more, bytes(end - start), f"bytes in {box.kind.decode()}")
    _up_to(made, box, _TIMED[box.kind] + more)


def _without_name(reader: BoxReader, made: _InPlace, box: Box) -> None:
    """Check what a track holds, and write zeros for what its handler is called."""
    if box.size < box.header + 24:
        raise damaged("a box of it is too short")
    kind, component = reader.handler(box), reader.bytes_at(box.inner + 4, 4)
    if kind not in _MOVIES and component != b"dhlr":
        raise CantClean(f"it has a track of the kind {kind.decode('latin-1')!r} that we don't look into")
    made.write(box.inner + 12, bytes(box.end - box.inner - 12), "handler name")


def _check_references(reader: BoxReader, made: _InPlace, box: Box) -> None:
    """Check that the media are in the film; what follows the last place becomes zeros."""
    end = box.inner + 8
    for each in reader.run(end, box.end):
        if each.size != each.header + 4 or not reader.number_at(each.inner) & 1:
            raise CantClean("its media lies in other files")
        end = each.end
    made.write(end, bytes(_limited(max(0, box.end - end))), "bytes in dref")


def _describe(reader: BoxReader, made: _InPlace, box: Box, handler: bytes) -> None:
    """Check the descriptions of a track's samples; the name of the encoder becomes zeros."""
    at = box.inner + 8
    for entry in reader.run(at, box.end):
        if handler == b"vide":
            made.write(entry.inner + _COMPRESSOR, bytes(_COMPRESSOR_BYTES), "encoder name")
            inner = entry.inner + _FILM_ENTRY
        else:
            version = reader.number_at(entry.inner + 8) >> 16 if made.is_quicktime else 0
            inner = entry.inner + _SOUND_ENTRY.get(version, _SOUND_ENTRY[0])
        _check_codec(reader, inner, entry.end)
        at = entry.end
    if at != box.end:
        raise damaged("a length in its box stsd is wrong")


def _check_codec(reader: BoxReader, at: int, end: int) -> None:
    """Refuse a description of samples with something that we don't know."""
    for each in reader.run(at, end):
        if each.kind == b"wave":
            _check_codec(reader, each.inner, each.end)
        elif each.kind not in _CODEC_BOXES or each.size - each.header != _CODEC_FIXED.get(
            each.kind, each.size - each.header
        ):
            name = each.kind.decode("latin-1")
            raise CantClean(f"the description of a track has a box {name!r} that we don't know")
        elif (ends := _ENDS.get(each.kind)) is not None:
            data = reader.bytes_at(each.inner, min(each.end - each.inner, _PRIVATE_LIMIT))
            if len(data) == _PRIVATE_LIMIT or data[ends(data) :].strip(b"\0") or _VORBIS in data:
                raise CantClean(
                    f"the box {each.kind.decode()} of a track has more in it than a decoder needs"
                )
        at = each.end
    if reader.bytes_at(at, max(0, end - at)).strip(b"\0"):
        raise CantClean("the description of a track has something that we don't know")


def _end_of_parameters(data: bytes, at: int, count: int) -> int:
    """Return where so many parts end that begin with their length, in two bytes."""
    for _ in range(count):
        at += 2 + int.from_bytes(data[at : at + 2])
    return at


def _end_of_avc(data: bytes) -> int:
    """Return where the description of H.264 ends: that of some profiles goes on for at least 4 bytes."""
    sets = _end_of_parameters(data, 6, data[5] & 0x1F) if len(data) > 6 else len(data)
    more = _end_of_parameters(data, sets + 1, data[sets]) if sets < len(data) else sets
    if data[1:2] in (b"\x64", b"\x6e", b"\x7a", b"\xf4") and more + 4 <= len(data):
        return _end_of_parameters(data, more + 4, data[more + 3])
    return more


def _end_of_hevc(data: bytes) -> int:
    """Return where the description of H.265 ends."""
    at = 23
    for _ in range(data[22] if len(data) > 22 else 0):
        at = _end_of_parameters(data, at + 3, int.from_bytes(data[at + 1 : at + 3]))
    return at


def _end_of_descriptor(data: bytes) -> int:
    """Return where a descriptor ends behind a version: its length has seven bits in each byte."""
    length, at = 0, 5
    while at < min(9, len(data)):
        length, at = length << 7 | data[at] & 0x7F, at + 1
        if not data[at - 1] & 0x80:
            break
    return at + length


_ENDS: Final[dict[bytes, Callable[[bytes], int]]] = {
    b"avcC": _end_of_avc,
    b"hvcC": _end_of_hevc,
    b"esds": _end_of_descriptor,
    b"dOps": lambda data: 13 + data[1] if len(data) > 10 and data[10] else 11,
}
"""Where what a decoder needs ends in its description."""


# -- WebM and Matroska --------------------------------------------------------------------------------------

_EBML, _SEGMENT, _VOID, _CRC32 = 0x1A45DFA3, 0x18538067, 0xEC, 0xBF
_SEEK_HEAD, _INFO, _TRACKS, _CUES, _CLUSTER = 0x114D9B74, 0x1549A966, 0x1654AE6B, 0x1C53BB6B, 0x1F43B675
_TRACK_ENTRY, _TRACK_TYPE, _CODEC_ID, _CODEC_PRIVATE = 0xAE, 0x83, 0x86, 0x63A2
_MUXING_APP, _WRITING_APP = 0x4D80, 0x5741
_ATTACHMENTS, _ATTACHED_FILE, _FILE_MEDIA_TYPE = 0x1941A469, 0x61A7, 0x4660
_NUMBERS: Final = {
    _EBML: (0x4286, 0x42F7, 0x42F2, 0x42F3, 0x4282, 0x4287, 0x4285, _CRC32),
    _SEEK_HEAD: (_CRC32,),
    0x4DBB: (0x53AB, 0x53AC),
    _INFO: (0x2AD7B1, 0x4489),
    _TRACK_ENTRY: (
        *(0xD7, 0x73C5, _TRACK_TYPE, 0xB9, 0x88, 0x55AA, 0x9C, 0x6DE7, 0x6DF8, 0x23E383, 0x234E7A),
        *(0x23314F, 0x55EE, 0x22B59C, 0x22B59D, _CODEC_ID, 0x56AA, 0x56BB),
    ),
    0xE0: (
        *(0x9A, 0x9D, 0x53B8, 0x53C0, 0xB0, 0xBA, 0x54AA, 0x54BB, 0x54CC, 0x54DD),
        *(0x54B0, 0x54BA, 0x54B2, 0x54B3, 0x2EB524),
    ),
    0x55B0: tuple(range(0x55B1, 0x55BE)),
    0x55D0: tuple(range(0x55D1, 0x55DB)),
    0xE1: (0xB5, 0x78B5, 0x9F, 0x6264, 0x52F1),
    _CUES: (_CRC32,),
    0xBB: (0xB3,),
    0xB7: (0xF7, 0xF1, 0xF0, 0xB2, 0x5378, 0xEA),
    _CLUSTER: (0xE7, 0xA7, 0xAB, _CRC32),
    0xA0: (0x9B, 0xFB, 0xFD, 0x75A2),
    0xA6: (0xEE,),
}
"""The elements that stay in others: numbers, and names of codecs and languages."""
_MASTERS: Final = {
    _SEGMENT: (_SEEK_HEAD, _INFO, _TRACKS, _CUES, _CLUSTER),
    _SEEK_HEAD: (0x4DBB,),
    _TRACKS: (_TRACK_ENTRY,),
    _TRACK_ENTRY: (0xE0, 0xE1),
    0xE0: (0x55B0,),
    0x55B0: (0x55D0,),
    _CUES: (0xBB,),
    0xBB: (0xB7,),
    _CLUSTER: (0xA0,),
    0xA0: (0x75A1,),
    0x75A1: (0xA6,),
}
"""The elements that stay in others and have some inside."""
_MEDIA: Final = {_CLUSTER: 0xA3, 0xA0: 0xA1, 0xA6: 0xA5}
_SUMMED: Final = frozenset({_CLUSTER, 0xA0, 0x75A1, 0xA6, _CUES, _SEEK_HEAD, _EBML, 0xBB, 0xB7, 0x4DBB})
"""Elements, and what stands in them, that may lie below a check sum: nothing in them becomes another."""
_NAMES: Final = {
    0x1254C367: "Tags",
    _ATTACHMENTS: "Attachments",
    0x1043A770: "Chapters",
    0x7BA9: "Title",
    0x4461: "DateUTC",
    0x73A4: "SegmentUUID",
    _MUXING_APP: "MuxingApp",
    _WRITING_APP: "WritingApp",
    0x536E: "Name",
    _CRC32: "check sum",
    _VOID: "bytes in empty space",
    _CODEC_PRIVATE: "comments",
}
_NUMBER_LIMIT: Final = 8
_LANGUAGE: Final = re.compile(rb"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*")
_WORDS: Final = {
    0x4282: re.compile(rb"webm|matroska"),
    _CODEC_ID: re.compile(rb"[A-Z0-9_/]{3,40}"),
    0x22B59C: _LANGUAGE,
    0x22B59D: _LANGUAGE,
}
"""The elements that hold a word, and what it may be."""
_WORD_LIMIT: Final = 64
_BLOCKS: Final = frozenset((0xA3, 0xA1))
_TRACK_NUMBER, _VIDEO, _ALPHA_MODE, _ADDITIONS = 0xD7, 0xE0, 0x53C0, 0x75A1
_PRIVATE_LIMIT: Final = 1 << 20
_PLAIN_CODECS: Final = {
    b"A_PCM/": 0,
    b"A_MPEG/": 0,
    b"A_AC3": 0,
    b"A_EAC3": 0,
    b"A_AAC": 16,
    b"A_OPUS": 276,
    b"V_VP8": 0,
    b"V_VP9": 12,
    b"V_AV1": 1024,
    b"V_MPEG4/ISO/": 1024,
    b"V_MPEGH/ISO/HEVC": 4096,
}
"""Codecs by how their names begin, and how long what their decoders need to know may be, in bytes."""
_VORBIS: Final = b"\x03vorbis"
_VORBIS_COMMENTS: Final = _VORBIS + bytes(8) + b"\1"


@refusing
def clean_matroska(file: BinaryIO) -> Cleaning:
    """Keep tracks of pictures and sound, their blocks, the tables of places; all else becomes empty space.

    Raises:
        CantClean: it is damaged; it has tracks of another kind, or of a codec whose description we don't
            know; it is a live recording, whose lengths are not known.
    """
    reader, made = EbmlReader(file), _InPlace(file)
    top = list(reader.run(0, reader.size_bytes))[:2]
    if [each.ident for each in top] != [_EBML, _SEGMENT] or top[1].end > reader.size_bytes:
        raise damaged("it has no segment, or is cut short")
    if any(each.length is None for each in top):
        raise CantClean("its length is not known, as in live recordings")
    types = reader.within([top[1]], _SEGMENT, _ATTACHMENTS, _ATTACHED_FILE, _FILE_MEDIA_TYPE)
    if any(b"c2pa" in reader.content(each, 256) for each in types):
        raise CantClean(SIGNED)
    tracks = _Tracks.read(reader, top[1])
    for each in top:
        _elements(reader, made, each, tracks)
    return made.done(top[1].end)


@dataclass(frozen=True, slots=True)
class _Tracks:
    """The numbers of a film's tracks, and whether its pictures have additions that make them transparent."""

    numbers: frozenset[int]
    have_alpha: bool

    @classmethod
    def read(cls, reader: EbmlReader, segment: Element) -> _Tracks:
        """Read them."""
        entries = list(reader.within([segment], _SEGMENT, _TRACKS, _TRACK_ENTRY))
        numbers = reader.within(entries, _TRACK_ENTRY, _TRACK_NUMBER)
        alpha = reader.within(entries, _TRACK_ENTRY, _VIDEO, _ALPHA_MODE)
        return cls(
            frozenset(int.from_bytes(reader.content(each, _NUMBER_LIMIT)) for each in numbers),
            any(reader.content(each, _NUMBER_LIMIT).strip(b"\0") for each in alpha),
        )

    def check(self, reader: EbmlReader, block: Element) -> None:
        """Refuse a block that belongs to no track: no player reads it."""
        head = reader.content(block, _NUMBER_LIMIT)
        width = 9 - head[0].bit_length() if head else 0
        if int.from_bytes(head[:width]) ^ 1 << 7 * width not in self.numbers:
            raise CantClean("it has a block that belongs to no track")


def _elements(reader: EbmlReader, made: _InPlace, parent: Element, tracks: _Tracks) -> None:
    """Keep what is allowed in an element."""
    at, codec = parent.inner, b""
    for each in reader.inside(parent):
        if each.length is None or each.end > parent.end:
            raise CantClean("a length in it is not known, or wrong")
        at = each.end
        if each.ident == _ADDITIONS and not tracks.have_alpha:
            raise CantClean("it has additions to its blocks that we don't know")
        if each.ident in _MASTERS.get(parent.ident, ()):
            _elements(reader, made, each, tracks)
        elif each.ident == _MEDIA.get(parent.ident):
            if each.ident in _BLOCKS:
                tracks.check(reader, each)
            made.keep(each.inner)
            made.keep(each.end, is_media=True)
        elif each.ident in _NUMBERS.get(parent.ident, ()) and _is_number_or_word(reader, each):
            codec = reader.content(each, _WORD_LIMIT) if each.ident == _CODEC_ID else codec
            if each.ident == _TRACK_TYPE and reader.content(each, 8)[-1:] not in (b"\1", b"\2"):
                raise CantClean("it has a track that is neither pictures nor sound")
        elif each.ident == _CODEC_PRIVATE:
            data = reader.content(each, _PRIVATE_LIMIT)
            codec = codec or _codec_of(reader, parent)
            made.write(each.inner, _without_comments(data, codec), _NAMES[_CODEC_PRIVATE])
        elif each.ident in (_VOID, _MUXING_APP, _WRITING_APP):
            made.write(each.inner, bytes(_limited(each.length)), _NAMES[each.ident])
        elif parent.ident in _SUMMED:
            raise CantClean(f"it has an element {each.ident:X} that we don't know")
        else:
            made.write(each.offset, _void(each.end - each.offset), _NAMES.get(each.ident, f"{each.ident:X}"))
    if at != parent.end:
        raise damaged("a length in it is wrong")


def _is_number_or_word(reader: EbmlReader, each: Element) -> bool:
    """Tell whether an element holds no more than a number, or a word that it may hold."""
    words = _WORDS.get(each.ident)
    if words is None:
        return (each.length or 0) <= _NUMBER_LIMIT
    return words.fullmatch(reader.content(each, _WORD_LIMIT + 1).rstrip(b"\0")) is not None


def _codec_of(reader: EbmlReader, track: Element) -> bytes:
    found = (each for each in reader.inside(track) if each.ident == _CODEC_ID)
    return next((reader.content(each, _WORD_LIMIT) for each in found), b"")


def _void(length: int) -> bytes:
    """Return empty space of a length, of 2 bytes at least."""
    width = 8 if length >= 9 else 1
    room = _limited(length) - 1 - width
    return bytes([_VOID]) + length_of(room, width) + bytes(room)


def _without_comments(data: bytes, codec: bytes) -> bytes:
    """Return what a decoder needs to know, as long as before; comments in it become empty.

    Raises:
        CantClean: the codec is none that we know.
    """
    limit = next((limit for begin, limit in _PLAIN_CODECS.items() if codec.startswith(begin)), None)
    if limit is not None:
        ends = next((ends for begin, ends in _PRIVATE_ENDS.items() if codec.startswith(begin)), len)
        if len(data) > limit or data[ends(data) :].strip(b"\0"):
            raise CantClean("the description of a track is longer than its codec needs")
        return data
    if codec == b"A_FLAC" and data.startswith(b"fLaC"):
        return _without_blocks(data)
    if codec == b"A_VORBIS" and data[:1] == b"\2":
        return _without_second(data)
    raise CantClean("it has a track of a codec whose description we don't know")


_PRIVATE_ENDS: Final[dict[bytes, Callable[[bytes], int]]] = {
    b"A_OPUS": lambda data: 19 if data[18:19] in (b"", b"\0") else 21 + data[9],
    b"V_MPEG4/ISO/AVC": _end_of_avc,
    b"V_MPEGH/ISO/HEVC": _end_of_hevc,
}


def _without_blocks(data: bytes) -> bytes:
    """Return the head of a FLAC stream in which all that follows its description is padding."""
    description = 4 + 4 + 34
    if len(data) < description or data[4] & 0x7F or data[5:8] != b"\0\0\x22":
        raise damaged("a track has a wrong description")
    room = len(data) - description
    if not room:
        return data[:4] + b"\x80" + data[5:]
    if room < 4 or room - 4 >= 1 << 24:
        raise damaged("a track has a wrong description")
    return data[:4] + b"\0" + data[5:description] + b"\x81" + (room - 4).to_bytes(3) + bytes(room - 4)


def _without_second(data: bytes) -> bytes:
    """Return the three headers of a Vorbis stream, of which the second has the comments."""
    at, lengths = 1, []
    for _ in range(2):
        start = at
        while data[at : at + 1] == b"\xff":
            at += 1
        lengths.append(255 * (at - start) + sum(data[at : at + 1]))
        at += 1
    comments, end = at + lengths[0], at + sum(lengths)
    if lengths[1] < len(_VORBIS_COMMENTS) or end > len(data) or lengths[0] != 30:
        raise damaged("a track has a wrong description")
    return data[:comments] + _VORBIS_COMMENTS.ljust(lengths[1], b"\0") + data[end:]
