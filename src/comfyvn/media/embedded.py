"""Texts inside files: what tools write beside pixels and sound, found by structure; nothing is decoded.

Where a text stands is told by its place, and what it is called there by its name:

=====================  ==================================  ==============================================
place                  container                           name
=====================  ==================================  ==============================================
``png:tEXt`` (zTXt,    PNG and APNG, before and behind     its keyword: ``parameters``, ``prompt``
iTXt, ComfyUI's comf)  the pixels
``exif:TAG``           Exif in JPEG, WebP, PNG, AVIF,      its tag: ``UserComment``, ``ImageDescription``;
                       HEIC, JPEG XL; TIFF                 of ``prompt:{...}`` in ``Model``: ``prompt``
``xmp``                XMP in the same                     its property without prefix: ``description``
``jpeg:comment``       JPEG, segment COM                   ``comment``
``gif:comment``        GIF, comment extension              ``comment``
``mp4:ilst``           MP4, M4A, QuickTime: item list      ``comment``, ``title``; of a freeform item its own
``mp4:keys``           the same, items named by keys       its key: ``prompt``, ``workflow``
``mp4:udta``           QuickTime, user data                ``comment``, ``title``
``matroska:tag``       WebM and Matroska, simple tags      in lower case: ``comment``, ``prompt``
``matroska:title``     the same, title of the segment      ``title``
``id3:FRAME``          ID3v2 in MP3, AAC, WAVE, AIFF       of TXXX and COMM the description, else ``comment``,
                                                           ``title``, or the frame's own
``vorbis``             FLAC, Ogg (Vorbis, Opus, ...)       in lower case: ``prompt``, ``workflow``
``wav:INFO``           WAVE, list INFO                     ``comment``, ``title``, or its own in lower case
``aiff:CHUNK``         AIFF: NAME, AUTH, ANNO              ``title``, ``artist``, ``comment``
=====================  ==================================  ==============================================

Words such as ``comment`` and ``title`` are those that FFmpeg uses in every container. A text is what it says
up to its first NUL; what is not UTF-8 where it should be is taken for Latin-1. Left out are compressed
XMP (JPEG XL), ID3v2 tags that are unsynchronised or at the end of a file, APEv2, BigTIFF and AVI.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Callable
from io import SEEK_END
from typing import BinaryIO, Final

from comfyvn.media.formats import HEAD_BYTES, MARKER_NAME, can_tell_texts, read_at, recognise
from comfyvn.model import EmbeddedText

__all__ = ["COUNT_LIMIT", "TEXT_LIMIT", "Enough", "Read", "TextCollector", "decode", "texts"]

log = logging.getLogger(__name__)

TEXT_LIMIT: Final = 8 << 20
"""How many bytes all texts of a file may have together, as UTF-8 and with their names."""
COUNT_LIMIT: Final = 1_000
"""How many texts of a file are taken."""
_WORK_LIMIT: Final = 4 * TEXT_LIMIT  # bytes read or unpacked for the texts of one file, used or not

Read = Callable[[int, int], bytes]
"""Gives a stretch from an offset, as `TextCollector.read` does."""


class Enough(Exception):
    """The limits of one file are reached; what has been found by then stands."""


class TextCollector:
    """Takes up the texts of one file as a format finds them, and keeps the limits.

    ``file`` and ``size_bytes`` are of that file; ``found`` is what was taken up. `read`, `within` and
    `unpack` count what they give: a file that would have the same megabytes read a thousand times ends with
    `Enough`.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.size_bytes = file.seek(0, SEEK_END)
        self.found: list[EmbeddedText] = []
        self._room = TEXT_LIMIT
        self._work = _WORK_LIMIT

    def add(self, place: str, name: str, text: str) -> None:
        """Take up a text; one that is blank, too long, or our own marker is left out.

        Raises:
            Enough: there are as many as are taken.
        """
        text = text.partition("\0")[0].removeprefix("\ufeff")
        if not name or not text or text.isspace() or name.lower() == MARKER_NAME:
            return
        data = (name + text).encode("utf-8", "replace")
        if len(data) > self._room:
            return
        self._room -= len(data)
        self.found.append(EmbeddedText(place, name, text))
        if len(self.found) == COUNT_LIMIT:
            raise Enough

    def read(self, at: int, length: int) -> bytes:
        """Return a stretch of the file; nothing when it is longer than any text may be, or not all there.

        Raises:
            Enough: too much has been read.
        """
        if not 0 < length <= TEXT_LIMIT or at + length > self.size_bytes:
            return b""
        self._spend(length)
        data = read_at(self.file, at, length)
        return data if len(data) == length else b""

    def within(self, data: bytes) -> Read:
        """Return what `read` is for the file, for something that was read from it."""

        def read(at: int, length: int) -> bytes:
            if length <= 0 or at + length > len(data):
                return b""
            self._spend(length)
            return data[at : at + length]

        return read

    def unpack(self, data: bytes) -> bytes:
        """Return what was compressed with zlib; nothing when it is damaged or longer than any text may be.

        Raises:
            Enough: too much has been unpacked.
        """
        unpacker = zlib.decompressobj()
        try:
            unpacked = unpacker.decompress(data, TEXT_LIMIT + 1)
        except zlib.error:
            return b""
        self._spend(len(unpacked))
        return unpacked if unpacker.eof and len(unpacked) <= TEXT_LIMIT else b""

    def _spend(self, size_bytes: int) -> None:
        self._work -= size_bytes
        if self._work < 0:
            raise Enough


def texts(file: BinaryIO, *, name: str = "") -> tuple[EmbeddedText, ...]:
    """Return the texts that a file holds beside its pixels or sound, in the order in which they stand there.

    Our own marker is none of them. A text that is cut short, damaged or too long is left out; all of them
    have at most `TEXT_LIMIT` bytes and are at most `COUNT_LIMIT`.

    Args:
        file: seekable, at any position.
        name: the file's name, for formats that can't be told by their content.

    Raises:
        OSError: the file can't be read.
    """
    found = recognise(read_at(file, 0, HEAD_BYTES), name)
    if not can_tell_texts(found):
        return ()
    collector = TextCollector(file)
    try:
        found.texts(collector)
    except Enough:
        pass
    except OSError:
        raise
    except Exception:  # a stranger's code: texts never stop anything else
        log.exception("media format %s failed to look for texts", found.name)
    return tuple(collector.found)


def decode(data: bytes) -> str:
    """Return a text that should be UTF-8 or Latin-1: tools take the one for the other, in both directions."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")
