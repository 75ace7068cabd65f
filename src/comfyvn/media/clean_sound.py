"""What stays of FLAC, MP3, AAC, WAVE and AIFF in a clean copy: the sound, and how to play it.

Format: as the modules of these formats name them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import BinaryIO, Final

from comfyvn.media import flac, id3, riff
from comfyvn.media.clean import CantClean, Cleaner, Cleaning, damaged, refusing
from comfyvn.media.formats import read_at
from comfyvn.media.tags import SIGNED

__all__ = ["clean_flac", "clean_frames", "clean_riff"]

_ID3V1_BYTES: Final = 128
_APE_FOOTER: Final = 32
_APE: Final = b"APETAGEX"
_APE_HAS_HEADER: Final = 0x80000000


def _after_tags(cleaner: Cleaner) -> int:
    """Return where the sound begins behind the ID3 tags at the front."""
    at = 0
    while (tag := id3.find(cleaner.file, at, cleaner.size_bytes)) is not None:
        if tag.refusal == SIGNED:
            raise CantClean(SIGNED)
        at += tag.length
        cleaner.drop("ID3")
        if at > cleaner.size_bytes:
            raise damaged("its ID3 tag is cut short")
    return at


def _before_tags(cleaner: Cleaner, end: int) -> int:
    """Return where the tags at the end begin: APEv2 and ID3v1, in this order."""
    if read_at(cleaner.file, end - _ID3V1_BYTES, 3) == b"TAG":
        end -= _ID3V1_BYTES
        cleaner.drop("ID3v1")
    footer = read_at(cleaner.file, end - _APE_FOOTER, _APE_FOOTER) if end >= _APE_FOOTER else b""
    if footer.startswith(_APE):
        has_header = int.from_bytes(footer[20:24], "little") & _APE_HAS_HEADER
        end -= int.from_bytes(footer[12:16], "little") + (_APE_FOOTER if has_header else 0)
        cleaner.drop("APEv2")
    return end


# -- frames without a container -----------------------------------------------------------------------------

_SYNC: Final = re.compile(rb"\xff[\xe2-\xff]")
_SEARCH_BYTES: Final = 64 * 1024
_HEAD_BYTES: Final = 7


@refusing
def clean_frames(file: BinaryIO, frame_bytes: Callable[[bytes], int]) -> Cleaning:
    """Keep the frames of an MP3 or AAC file, from the first to the last that is whole.

    Args:
        file: seekable.
        frame_bytes: the length of the frame that begins with these 7 bytes, 0 when none does.

    Raises:
        CantClean: there are frames behind something that is none.
    """
    cleaner = Cleaner(file)
    start = _after_tags(cleaner)
    first = _first_frame(cleaner, start, frame_bytes)
    if first is None:
        raise damaged("no frames of sound follow its tag")
    if first > start:
        cleaner.drop("bytes before the first frame")
    end = _run_end(cleaner, first, frame_bytes)
    if _first_frame(cleaner, end, frame_bytes) is not None:
        raise CantClean("something else lies among its frames")
    cleaner.keep(first, end, is_media=True)
    if end < cleaner.size_bytes:
        left = _before_tags(cleaner, cleaner.size_bytes)
        if left > end:
            cleaner.drop("bytes behind the last frame")
    return cleaner.done()


def _run_end(cleaner: Cleaner, at: int, frame_bytes: Callable[[bytes], int]) -> int:
    """Return where the frames that follow each other from a place on end; a last one that is cut short
    doesn't count."""
    window, start = b"", 0
    while True:
        if at + _HEAD_BYTES > start + len(window):
            window, start = read_at(cleaner.file, at, 1 << 20), at
        length = frame_bytes(window[at - start : at - start + _HEAD_BYTES])
        if not length or at + length > cleaner.size_bytes:
            return at
        at += length


def _first_frame(cleaner: Cleaner, start: int, frame_bytes: Callable[[bytes], int]) -> int | None:
    """Return where, soon behind a place, a frame begins that is followed by another or ends the file."""
    block = read_at(cleaner.file, start, _SEARCH_BYTES)
    for found in _SYNC.finditer(block):
        at = start + found.start()
        length = frame_bytes(block[found.start() : found.start() + _HEAD_BYTES])
        after = at + length
        if length and (after == cleaner.size_bytes or frame_bytes(read_at(cleaner.file, after, _HEAD_BYTES))):
            return at
    return None


# -- FLAC ---------------------------------------------------------------------------------------------------

_STREAMINFO, _APPLICATION, _SEEK_TABLE = 0, 2, 3
_STREAMINFO_BYTES: Final = 34
_SEEK_POINT_BYTES: Final = 18
_NO_POINT: Final = b"\xff" * 8
_SAMPLES_LIMIT: Final = 1 << 36
_BLOCKS: Final = {
    1: "PADDING",
    2: "APPLICATION",
    3: "SEEKTABLE",
    4: "VORBIS_COMMENT",
    5: "CUESHEET",
    6: "PICTURE",
}
_FLAC_SYNC: Final = re.compile(rb"\xff[\xf8\xf9]")
_LAST_FRAME_LIMIT: Final = 1 << 20


@refusing
def clean_flac(file: BinaryIO) -> Cleaning:
    """Keep the description of the stream, the seek table, and the frames."""
    cleaner = Cleaner(file)
    start = _after_tags(cleaner)
    blocks = flac.metadata_blocks(file, start, cleaner.size_bytes)
    kept: list[flac.Block] = []
    for each in blocks:
        is_description = each.kind == _STREAMINFO and each.length == _STREAMINFO_BYTES and not kept
        is_first_table = each.kind == _SEEK_TABLE and _SEEK_TABLE not in [block.kind for block in kept]
        if is_description or (is_first_table and _is_seek_table(read_at(file, each.data, each.length))):
            kept.append(each)
        elif each.kind == _APPLICATION and read_at(file, each.data, 4).lower() == b"c2pa":
            raise CantClean(SIGNED)
        else:
            cleaner.drop(_BLOCKS.get(each.kind, f"block {each.kind}"))
    if not kept or kept[0].kind != _STREAMINFO:
        raise damaged("its stream is not described")
    cleaner.keep(start, start + 4)
    for each in kept:
        cleaner.put(bytes([each.kind | (0x80 if each is kept[-1] else 0)]))
        cleaner.keep(each.offset + 1, each.end)
    end = _before_tags(cleaner, cleaner.size_bytes)
    first = blocks[-1].end
    head = read_at(file, first, 16)
    if head and not (_FLAC_SYNC.match(head) and _has_header(head)):
        raise CantClean("something that is no sound comes before its first frame")
    if end < first or not _ends_with_frame(
        read_at(file, max(first, end - _LAST_FRAME_LIMIT), min(end - first, _LAST_FRAME_LIMIT))
    ):
        raise CantClean("something that is no sound follows its last frame")
    cleaner.keep(first, end, is_media=True)
    return cleaner.done()


def _is_seek_table(data: bytes) -> bool:
    """Tell a table of places from anything else: samples in order, then points that are not used."""
    points = [data[at : at + _SEEK_POINT_BYTES] for at in range(0, len(data), _SEEK_POINT_BYTES)]
    used = [int.from_bytes(point[:8]) for point in points if point[:8] != _NO_POINT]
    is_in_order = used == sorted(set(used)) and all(sample < _SAMPLES_LIMIT for sample in used)
    unused = points[len(used) :]
    return (
        len(data) % _SEEK_POINT_BYTES == 0
        and is_in_order
        and not any(point[8:].strip(b"\0") for point in unused)
    )


def _ends_with_frame(data: bytes) -> bool:
    """Tell whether the data end with a whole frame, by its check sums; no data have no frame to end with."""
    starts = [found.start() for found in _FLAC_SYNC.finditer(data)]
    for start in reversed(starts):
        if _has_header(data[start : start + 16]) and _crc_16(data[start:]) == 0:
            return True
    return not data


def _has_header(head: bytes) -> bool:
    """Tell a frame's header by its check sum; a number of 1 to 7 bytes and two of 0 to 2 bytes are in it."""
    return any(_crc_8(head[:length]) == 0 for length in range(6, len(head) + 1))


def _crc_8(data: bytes) -> int:
    value = 0
    for byte in data:
        value = _CRC_8[value ^ byte]
    return value


def _crc_16(data: bytes) -> int:
    value = 0
    for byte in data:
        value = (value << 8 & 0xFFFF) ^ _CRC_16[value >> 8 ^ byte]
    return value


def _table(polynomial: int, bits: int) -> tuple[int, ...]:
    made = []
    for byte in range(256):
        value = byte << bits - 8
        for _ in range(8):
            value = value << 1 ^ (polynomial if value >> bits - 1 else 0)
            value &= (1 << bits) - 1
        made.append(value)
    return tuple(made)


_CRC_8: Final = _table(0x07, 8)
_CRC_16: Final = _table(0x8005, 16)


# -- WAVE, AIFF ---------------------------------------------------------------------------------------------

_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_CODEC_BYTES: Final = 64  # what packed samples need besides: 32 for MS ADPCM
_OFFSET_BYTES: Final = 8  # where the samples of AIFF begin, and how they are aligned
_CUE_POINT: Final = 24
_LOOP: Final = 24
_WAVE: Final[Mapping[bytes, Callable[[bytes], bool]]] = {
    b"fmt ": lambda data: _is_wave_form(data),
    b"fact": lambda data: len(data) == 4,
    b"cue ": lambda data: len(data) == 4 + _CUE_POINT * _count(data, 0, 4),
    b"smpl": lambda data: len(data) == 36 + _LOOP * _count(data, 28, 4),
    b"inst": lambda data: len(data) == 7,
}
_AIFF: Final[Mapping[bytes, Callable[[bytes], bool]]] = {
    b"COMM": lambda data: len(data) == 18,
    b"INST": lambda data: len(data) == 20,
}
"""The chunks that stay beside the samples, and whether their length is that of what they should hold."""


def _is_wave_form(data: bytes) -> bool:
    """Tell whether a description of samples is as long as their kind wants it."""
    more = {_PCM: 0, _FLOAT: 0, _EXTENSIBLE: 22}.get(_count(data, 0, 2))
    if len(data) == 16:
        return True
    said = _count(data, 16, 2)
    return len(data) == 18 + said and (said <= _CODEC_BYTES if more is None else said in (0, more))


@refusing
def clean_riff(file: BinaryIO, form_of: Callable[[BinaryIO], riff.Form]) -> Cleaning:
    """Keep the samples of a WAVE or AIFF file, their form, and loop points.

    Args:
        file: seekable.
        form_of: tells how it is put together; may raise `tags.Refusal`.
    """
    cleaner, form = Cleaner(file), form_of(file)
    if form.size.size != 4 or read_at(file, 8, 4) not in (b"WAVE", b"AIFF"):
        raise CantClean("it is of a kind (RF64, AIFF-C) that is not looked into")
    allowed, needed = (_WAVE, b"fmt ") if form.sound == b"data" else (_AIFF, b"COMM")
    if form.end > cleaner.size_bytes:
        raise damaged("it is cut short")
    kept: list[riff.Chunk] = []
    for chunk in riff.chunks_of(file, form):
        data = read_at(file, chunk.data, min(chunk.length, 1 << 16)) if chunk.kind in allowed else b""
        is_new = chunk.kind not in [each.kind for each in kept]
        if is_new and (chunk.kind == form.sound or (data and allowed[chunk.kind](data))):
            kept.append(chunk)
        elif chunk.kind in (form.sound, needed):
            raise damaged(f"its chunk {chunk.kind.decode().strip()} has a wrong length, or is there twice")
        elif chunk.kind == b"C2PA":
            raise CantClean(SIGNED)
        else:
            cleaner.drop(chunk.kind.decode("latin-1").strip())
    if not {form.sound, needed} <= {each.kind for each in kept}:
        raise damaged("there is no sound in it")
    sound = next(each for each in kept if each.kind == form.sound)
    if needed == b"COMM" and read_at(file, sound.data, _OFFSET_BYTES).strip(b"\0"):
        raise CantClean("something else comes before its samples")
    cleaner.keep(0, form.size_at)
    cleaner.put(form.size_of(form.start + sum(8 + each.length + each.length % 2 for each in kept)))
    cleaner.keep(form.size_at + 4, form.start)
    for each in kept:
        cleaner.keep(each.data - 8, each.data)
        cleaner.keep(each.data, each.end, is_media=each.kind == form.sound)
        cleaner.put(bytes(each.length % 2))
    cleaner.end_at(form.end)
    return cleaner.done()


def _count(data: bytes, at: int, width: int) -> int:
    return int.from_bytes(data[at : at + width], "little")
