"""What stays of MP4, QuickTime, WebM and Matroska in a clean copy.

No byte of these files moves, since tables of places in the file lead to the media: what is left out becomes
empty space of the same length, names and times become zeros.

Format: ISO/IEC 14496-12, section 8; QuickTime File Format Specification (Apple); RFC 9559 (Matroska),
section 5.1; RFC 8794 (EBML), section 11.3; "Vorbis" in Matroska codec mappings (IETF draft).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import BinaryIO, Final

from comfyvn.media.boxes import Box, BoxReader
from comfyvn.media.clean import CantClean, Cleaner, Cleaning, damaged
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
_TABLES: Final = frozenset(
    b"ftyp styp elst vmhd smhd gmhd stts ctts cslg stsc stsz stz2 stco co64 stss stsh sdtp sbgp sgpd subs"
    b" mfhd tfhd tfdt trun tfra mfro sidx mehd trex tref tapt pasp".split()
)
_TIMED: Final = {b"mvhd": "times", b"tkhd": "times", b"mdhd": "times"}
_SPACE: Final = frozenset((b"free", b"skip", b"wide"))
_CODEC_BOXES: Final = frozenset(
    b"avcC hvcC av1C vpcC esds dOps alac colr pasp clap fiel btrt mdcv clli SmDm CoLL chan gama dac3 dec3"
    b" dvcC dvvC frma mp4a enda".split()
) | {bytes(4)}
"""What may stand in the description of a track: numbers for its decoder."""
_FILM_ENTRY: Final = 78  # bytes before the boxes in it
_SOUND_ENTRY: Final = {0: 28, 1: 44, 2: 64}  # by its version, in QuickTime
_COMPRESSOR, _COMPRESSOR_BYTES = 42, 32
_C2PA: Final = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
_MOVIES: Final = (b"vide", b"soun")


def clean_mp4(file: BinaryIO) -> Cleaning:
    """Keep tracks of pictures and sound, and their tables; all else becomes empty space.

    Raises:
        CantClean: it has tracks of another kind, or of a codec whose description we don't know.
        Refusal: it is damaged.
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
            _check_references(reader, box)
        elif box.kind == b"stsd":
            _describe(reader, made, box, handler)
        elif box.kind in _SPACE:
            made.write(box.inner, bytes(_limited(box.end - box.inner)), f"bytes in {box.kind.decode()}")
        elif box.kind not in _TABLES:
            if box.kind == b"uuid" and reader.bytes_at(box.inner, 16) == _C2PA:
                raise CantClean(SIGNED)
            name = box.kind.decode("latin-1")
            made.write(box.offset + 4, b"free", name)
            made.write(box.inner, bytes(_limited(box.end - box.inner)), name)


def _limited(length: int) -> int:
    if length > _EMPTY_LIMIT:
        raise CantClean(f"more than {_EMPTY_LIMIT >> 20} MiB of it would have to be emptied")
    return length


def _without_times(reader: BoxReader, made: _InPlace, box: Box) -> None:
    """Write zeros for when it was made and changed."""
    length = 16 if reader.bytes_at(box.inner, 1) == b"\1" else 8
    if box.size < box.header + 4 + length:
        raise damaged("a box of it is too short")
    made.write(box.inner + 4, bytes(length), _TIMED[box.kind])


def _without_name(reader: BoxReader, made: _InPlace, box: Box) -> None:
    """Check what a track holds, and write zeros for what its handler is called."""
    if box.size < box.header + 24:
        raise damaged("a box of it is too short")
    kind, component = reader.handler(box), reader.bytes_at(box.inner + 4, 4)
    if kind not in _MOVIES and component != b"dhlr":
        raise CantClean(f"it has a track of the kind {kind.decode('latin-1')!r} that we don't look into")
    made.write(box.inner + 12, bytes(box.end - box.inner - 12), "handler name")


def _check_references(reader: BoxReader, box: Box) -> None:
    for each in reader.run(box.inner + 8, box.end):
        if each.size != each.header + 4 or not reader.number_at(each.inner) & 1:
            raise CantClean("its media lies in other files")


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
        elif each.kind not in _CODEC_BOXES:
            name = each.kind.decode("latin-1")
            raise CantClean(f"the description of a track has a box {name!r} that we don't know")
        at = each.end
    if reader.bytes_at(at, max(0, end - at)).strip(b"\0"):
        raise CantClean("the description of a track has something that we don't know")


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
_NUMBER_LIMIT: Final = 64
_PRIVATE_LIMIT: Final = 1 << 20
_PLAIN_CODECS: Final = (
    *(b"A_OPUS", b"A_AAC", b"A_PCM/", b"A_MPEG/", b"A_AC3", b"A_EAC3", b"V_VP8", b"V_VP9", b"V_AV1"),
    *(b"V_MPEG4/ISO/", b"V_MPEGH/ISO/HEVC"),
)
_VORBIS_COMMENTS: Final = b"\x03vorbis" + bytes(8) + b"\1"


def clean_matroska(file: BinaryIO) -> Cleaning:
    """Keep tracks of pictures and sound, their blocks, the tables of places; all else becomes empty space.

    Raises:
        CantClean: it has tracks of another kind, or of a codec whose description we don't know; it is a live
            recording, whose lengths are not known.
        Refusal: it is damaged.
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
    for each in top:
        _elements(reader, made, each)
    return made.done(top[1].end)


def _elements(reader: EbmlReader, made: _InPlace, parent: Element) -> None:
    """Keep what is allowed in an element."""
    at, codec = parent.inner, b""
    for each in reader.inside(parent):
        if each.length is None or each.end > parent.end:
            raise CantClean("a length in it is not known, or wrong")
        at = each.end
        if each.ident in _MASTERS.get(parent.ident, ()):
            _elements(reader, made, each)
        elif each.ident == _MEDIA.get(parent.ident):
            made.keep(each.inner)
            made.keep(each.end, is_media=True)
        elif each.ident in _NUMBERS.get(parent.ident, ()) and each.length <= _NUMBER_LIMIT:
            codec = reader.content(each, _NUMBER_LIMIT) if each.ident == _CODEC_ID else codec
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


def _codec_of(reader: EbmlReader, track: Element) -> bytes:
    found = (each for each in reader.inside(track) if each.ident == _CODEC_ID)
    return next((reader.content(each, _NUMBER_LIMIT) for each in found), b"")


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
    if codec.startswith(_PLAIN_CODECS):
        return data
    if codec == b"A_FLAC" and data.startswith(b"fLaC"):
        return _without_blocks(data)
    if codec == b"A_VORBIS" and data[:1] == b"\2":
        return _without_second(data)
    raise CantClean("it has a track of a codec whose description we don't know")


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
