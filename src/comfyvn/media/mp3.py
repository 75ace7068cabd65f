"""MP3 and AAC without a container: the marker in the ID3v2 tag at the front; an MP3 without one gets ours.

What stands at the end (ID3v1, APEv2, Lyrics3) is never touched, and neither is a frame of sound.

Format: ISO/IEC 11172-3 and 13818-3, section 2.4 (MPEG audio frames); ISO/IEC 13818-7, annex A (ADTS).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from io import SEEK_END
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, BinaryIO, Final

from comfyvn.media import id3
from comfyvn.media.audio import SoundFormat
from comfyvn.media.embedded import TextCollector
from comfyvn.media.formats import Layout, Splice, read_at
from comfyvn.model import PreviewKind

if TYPE_CHECKING:
    from comfyvn.media.clean import Cleaning

__all__ = ["AacFormat", "Mp3Format"]

_MPEG_SUFFIXES: Final = frozenset((".mp3", ".mp2", ".mp1", ".mpga", ".mpa"))
_OTHERS: Final = frozenset(
    (
        *(".aac", ".adts", ".aif", ".aifc", ".aiff", ".ape", ".asf", ".dff", ".dsf", ".flac", ".m4a", ".m4b"),
        *(".mka", ".mp4", ".mpc", ".oga", ".ofr", ".ogg", ".opus", ".shn", ".tak", ".tta", ".w64", ".wav"),
        *(".wave", ".webm", ".wma", ".wv"),
    )
)
"""Suffixes of sound that some programs put an ID3 tag in front of; it hides what they are."""

_SYNC: Final = re.compile(rb"\xff[\xe2-\xff]")
_SEARCH_BYTES: Final = 64 * 1024

# Bits per second / 1000, by MPEG 1 or not, and layer; index 0 is "free", 15 is forbidden.
_RATES: Final = {
    (True, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_SAMPLE_RATES: Final = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
_ADTS_RATES: Final = 13


class Mp3Format(SoundFormat):
    """MP3 and its elder layers: can be stamped, has a waveform."""

    name = "mp3"
    preview_kind: PreviewKind | None = "waveform"

    def sniff(self, head: bytes, name: str) -> bool:
        """Tell it by a tag, unless the name says that something else follows, or by a frame of sound.

        Layers I and II have to be named as such: many texts in UTF-16 begin like a frame of layer I.
        """
        suffix = PurePosixPath(name.lower()).suffix
        if id3.starts_tag(head):
            return id3.begins_with_ours(head) or suffix not in _OTHERS
        return _mpeg_frame(head) > 0 and (_layer(head) == 3 or suffix in _MPEG_SUFFIXES)

    def layout(self, file: BinaryIO) -> Layout:
        """Find our frame in the tag at the front, or the place for it, or for a tag of ours."""
        size_bytes = file.seek(0, SEEK_END)
        tag = id3.find(file, 0, size_bytes)
        start = tag.length if tag else 0
        is_sound = _is_run(file, start, _mpeg_frame)
        why_not = None if is_sound else "it is damaged, or no MP3: no frames of sound follow its tag"
        # A tag of ours goes with its marker, unless there would be another tag in its place.
        if tag is None or (
            tag.wholly_ours and not tag.padding and not id3.starts_tag(read_at(file, start, 10))
        ):
            there = Splice(0, read_at(file, 0, start), b"", id3.whole)
            return Layout((there,), tag.marker if tag else None, why_not or _tags_at_end(file, size_bytes))
        return Layout(tag.splices, tag.marker, tag.refusal or why_not)

    def texts(self, found: TextCollector) -> None:
        """Take up the texts of the tag at the front."""
        id3.add_texts(found, 0, found.size_bytes)

    def clean(self, file: BinaryIO) -> Cleaning:
        """Tell what a clean copy is made of."""
        from comfyvn.media.clean_sound import clean_frames

        return clean_frames(file, _mpeg_frame)


class AacFormat(SoundFormat):
    """AAC in ADTS frames: has a waveform; carries a marker only where there is a tag for it."""

    name = "aac"
    preview_kind: PreviewKind | None = "waveform"

    def sniff(self, head: bytes, name: str) -> bool:
        """Tell it by its first frame or, behind a tag, by its name."""
        if id3.starts_tag(head):
            is_named = PurePosixPath(name.lower()).suffix in (".aac", ".adts")
            return is_named and not id3.begins_with_ours(head)
        return _adts_frame(head) > 0

    def layout(self, file: BinaryIO) -> Layout:
        """Find our frame in the tag at the front, or the place for it."""
        tag = id3.find(file, 0, file.seek(0, SEEK_END))
        if tag is None:
            # A player that expects a frame first may not skip a tag, and ADTS has no place for one.
            return Layout(refusal="AAC without a container has no place for a tag")
        is_sound = _is_run(file, tag.length, _adts_frame)
        why_not = None if is_sound else "it is damaged, or no AAC: no frames of sound follow its tag"
        return Layout(tag.splices, tag.marker, tag.refusal or why_not)

    def texts(self, found: TextCollector) -> None:
        """Take up the texts of the tag at the front."""
        id3.add_texts(found, 0, found.size_bytes)

    def clean(self, file: BinaryIO) -> Cleaning:
        """Tell what a clean copy is made of."""
        from comfyvn.media.clean_sound import clean_frames

        return clean_frames(file, _adts_frame)


def _tags_at_end(file: BinaryIO, size_bytes: int) -> str | None:
    """Say why a file can't get a tag at the front: players may then ignore the tag that it has at its end."""
    if read_at(file, max(0, size_bytes - 128), 3) == b"TAG":
        return "its only tag is of the old kind ID3v1, which players ignore beside another"
    ends = (size_bytes - 10, size_bytes - 138)
    if any(at > 0 and read_at(file, at, 3) == b"3DI" for at in ends):
        return "its ID3 tag is at its end"
    return None


def _is_run(file: BinaryIO, start: int, frame_bytes: Callable[[bytes], int]) -> bool:
    """Tell whether two frames follow each other soon behind a place, or one ends the file."""
    size_bytes = file.seek(0, SEEK_END)
    block = read_at(file, start, _SEARCH_BYTES)
    for found in _SYNC.finditer(block):
        length = frame_bytes(block[found.start() : found.start() + 7])
        after = start + found.start() + length
        if length and (after == size_bytes or frame_bytes(read_at(file, after, 7))):
            return True
    return False


def _layer(head: bytes) -> int:
    """Return the layer of an MPEG frame, 4 for none."""
    return 4 - (head[1] >> 1 & 3)


def _mpeg_frame(head: bytes) -> int:
    """Return the length of the MPEG frame that begins here, 0 when none does."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return 0
    version, layer, rate, speed = head[1] >> 3 & 3, _layer(head), head[2] >> 4, head[2] >> 2 & 3
    if version == 1 or layer == 4 or rate in (0, 15) or speed == 3 or head[3] & 3 == 2:
        return 0
    bits = _RATES[version == 3, layer][rate] * 1000
    padding = head[2] >> 1 & 1
    if layer == 1:
        return (12 * bits // _SAMPLE_RATES[version][speed] + padding) * 4
    samples = 72 if layer == 3 and version != 3 else 144
    return samples * bits // _SAMPLE_RATES[version][speed] + padding


def _adts_frame(head: bytes) -> int:
    """Return the length of the ADTS frame that begins here, 0 when none does."""
    if len(head) < 7 or head[0] != 0xFF or head[1] & 0xF6 != 0xF0 or head[2] >> 2 & 15 >= _ADTS_RATES:
        return 0
    length = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
    return length if length > 7 else 0
