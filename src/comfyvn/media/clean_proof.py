"""The proof that a copy is clean: it is opened again, and compared with its original.

Three judges that know nothing of how the copy was made: our reader of texts, Pillow or FFmpeg, and a search
for each text that was known before.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from comfyvn.errors import PreviewFailed
from comfyvn.media import decoding, libav
from comfyvn.media.clean import CantClean, clean, media_bytes, outside
from comfyvn.media.embedded import texts
from comfyvn.media.formats import PreviewLimits
from comfyvn.model import EmbeddedText

if TYPE_CHECKING:
    from PIL import ImageFile

__all__ = ["known_texts", "prove"]

_FAMILIES: Final = {"png": "PNG", "jpeg": "JPEG", "webp": "WEBP", "gif": "GIF"}
_WHOLE: Final = frozenset(("mp4", "flac"))
"""Formats of whose compressed sound and pictures FFmpeg gives every byte."""
_ORIENTATION: Final = 0x0112
_INFO: Final = frozenset(
    (
        *("transparency", "gamma", "chromaticity", "srgb", "icc_profile", "dpi", "aspect", "interlace"),
        *("loop", "duration", "timestamp", "blend", "disposal", "bbox", "default_image", "background"),
        *("jfif", "jfif_version", "jfif_unit", "jfif_density", "adobe", "adobe_transform", "exif"),
        *("progressive", "progression", "version", "extension"),
    )
)
"""What Pillow may still tell of a clean picture beside its pixels."""
_OF_PROFILE: Final = frozenset({"ICCProfile"})
"""Texts that say how the colour profile is called, which says so itself and stays."""
_LIMITS: Final = PreviewLimits()
_LEAST: Final = 8
_DEPTH: Final = 64
_TEXT_COUNT: Final = 20_000


def known_texts(values: Iterable[Any]) -> set[str]:
    """Return the texts of 8 characters and more that are in some values, and in texts that are JSON.

    Args:
        values: texts, those of a file, and JSON values of any kind.
    """
    found: set[str] = set()
    waiting = [(value, 0) for value in values]
    while waiting and len(found) < _TEXT_COUNT:
        value, depth = waiting.pop()
        if depth > _DEPTH:
            continue
        if isinstance(value, dict):
            waiting += ((each, depth + 1) for pair in value.items() for each in pair)
        elif isinstance(value, EmbeddedText) and value.name not in _OF_PROFILE:
            waiting.append((value.text, depth))
        elif isinstance(value, list | tuple):
            waiting += ((each, depth + 1) for each in value)
        elif isinstance(value, str):
            found |= {each for part in (value, *value.splitlines()) if len(each := part.strip()) >= _LEAST}
            if value.lstrip()[:1] in ("{", "["):
                waiting.append((_json(value), depth + 1))
    return found


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def prove(
    original: BinaryIO,
    copy: BinaryIO,
    known: Iterable[str],
    *,
    name: str = "",
    limits: PreviewLimits = _LIMITS,
) -> None:
    """Check that a clean copy has nothing that it should not have, and all that it should.

    Args:
        original: seekable.
        copy: seekable.
        known: texts that must not be in it: those of the original are looked for anyway.
        name: the file's name.
        limits: how many pixels may be decoded.

    Raises:
        CantClean: it is not clean, not the same, or that can't be proven here.
        OSError: a file can't be read.
    """
    kind, again = clean(copy, name=name)
    if again.removed or texts(copy, name=name):
        raise CantClean("something was left in its clean copy")
    left = outside(again, copy)
    try:
        if kind in _FAMILIES:
            left += _compare_pictures(original, copy, _FAMILIES[kind], limits)
        else:
            heard = _compare_packets(original, copy)
            if kind in _WHOLE and heard < media_bytes(again):
                raise CantClean("parts of its media belong to no track")
    except PreviewFailed as failed:
        raise CantClean(f"that its copy is the same can't be proven: {failed.fields['why']}") from failed
    told = known_texts(texts(original, name=name))
    for text in {*told, *known}:
        if _is_in(text, left):
            raise CantClean(f"{text[:40]!r} is still in its clean copy")


def _is_in(text: str, data: bytes) -> bool:
    spelled = {text.encode(codec, "surrogatepass") for codec in ("utf-8", "utf-16-le", "utf-16-be")}
    return any(each in data for each in spelled)


# -- pictures -----------------------------------------------------------------------------------------------


def _compare_pictures(original: BinaryIO, copy: BinaryIO, family: str, limits: PreviewLimits) -> bytes:
    """Check that two pictures are the same, frame by frame; return the colour profile of the copy.

    Raises:
        CantClean: they are not.
        PreviewFailed: they can't be opened.
    """
    with decoding.opened(original, family, limits) as first, decoding.opened(copy, family, limits) as second:
        for one, other in zip_longest(_frames(first), _frames(second)):
            if one is None or other is None:
                raise CantClean("it holds several pictures, of which its clean copy would have one")
            if one != other:
                raise CantClean("its pixels or their timing are not the same in its clean copy")
        if decoding.orientation(first) != decoding.orientation(second):
            raise CantClean("how it is turned would be lost in its clean copy")
        profile = second.info.get("icc_profile") or b""
        if profile != (first.info.get("icc_profile") or b""):
            raise CantClean("its colour profile would be lost in its clean copy")
        more = sorted(str(key) for key in {*second.info, *getattr(second, "text", {})} - _INFO)
        if more or {*second.getexif()} - {_ORIENTATION}:
            raise CantClean(f"Pillow still finds {', '.join(more) or 'Exif'} in its clean copy")
    return bytes(profile)


def _frames(image: ImageFile.ImageFile) -> Iterator[tuple[object, ...]]:
    """Yield what each frame of a picture is: size, mode, pixels, timing."""
    for number in range(getattr(image, "n_frames", 1)):
        if number:
            image.seek(number)
        image.load()
        timing = [image.info.get(key) for key in ("duration", "disposal", "blend", "loop", "transparency")]
        palette = image.getpalette() if image.mode == "P" else None
        pixels = hashlib.sha256(image.tobytes()).digest()
        yield image.size, image.mode, pixels, palette, timing


# -- sound and film -----------------------------------------------------------------------------------------


def _compare_packets(original: BinaryIO, copy: BinaryIO) -> int:
    """Check that FFmpeg finds the same streams in two files, with the same packets; return their size, bytes.

    Raises:
        CantClean: it doesn't.
        PreviewFailed: they can't be opened.
    """
    first, second = _streams(original), _streams(copy)
    if first != second:
        raise CantClean("its sound or pictures are not the same in its clean copy")
    return sum(each.size_bytes for each in second)


@dataclass(slots=True)
class _Stream:
    """A stream as FFmpeg reads it: its codec, the unit of its times, and its packets."""

    codec: str
    time_base: Any
    size_bytes: int = 0
    digest: bytes = b""


def _streams(file: BinaryIO) -> list[_Stream]:
    """Return the streams of a file, without covers."""
    with libav.opened(file, "sound", pixels=PreviewLimits().pixels) as container:
        kept = [each for each in container.streams if not _is_cover(each)]
        if not kept:
            raise PreviewFailed(why="there is neither sound nor film in it")
        found = {each.index: _Stream(_codec(each), each.time_base) for each in kept}
        hashes = {each.index: hashlib.sha256() for each in kept}
        for packet in container.demux(kept):
            times = [-1 if time is None else time for time in (packet.pts, packet.dts)]
            hashes[packet.stream.index].update(struct.pack("<qqq", *times, packet.size) + bytes(packet))
            found[packet.stream.index].size_bytes += packet.size
        for index, each in found.items():
            each.digest = hashes[index].digest()
        return list(found.values())


def _codec(stream: Any) -> str:
    return libav.codec_name(stream.codec_context) if stream.codec_context else ""


def _is_cover(stream: Any) -> bool:
    return bool(stream.disposition & type(stream.disposition).attached_pic)
