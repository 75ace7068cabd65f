"""AIFF and AIFF-C sound: the marker, in the ID3 tag of an ``ID3 `` chunk.

Format: Audio Interchange File Format 1.3 (Apple, 1989); AIFF-C (Apple, draft of 1991).
"""

from __future__ import annotations

import struct
from contextlib import suppress
from typing import TYPE_CHECKING, BinaryIO, Final

from comfyvn.media import id3, riff
from comfyvn.media.audio import SoundFormat
from comfyvn.media.embedded import TextCollector, decode
from comfyvn.media.formats import Layout, read_at
from comfyvn.media.tags import Refusal, damaged
from comfyvn.model import PreviewKind

if TYPE_CHECKING:
    from comfyvn.media.clean import Cleaning

__all__ = ["AiffFormat"]

_SIZE: Final = struct.Struct(">I")
_TEXTS: Final = {b"NAME": "title", b"AUTH": "artist", b"(c) ": "copyright", b"ANNO": "comment"}
_TAGGED: Final = frozenset((*_TEXTS, b"ID3 ", b"id3 "))


class AiffFormat(SoundFormat):
    """AIFF and AIFF-C: can be stamped, has a waveform."""

    name = "aiff"
    preview_kind: PreviewKind | None = "waveform"

    def sniff(self, head: bytes, name: str) -> bool:
        """Tell it by its two signatures."""
        return head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC")

    def layout(self, file: BinaryIO) -> Layout:
        """Find our marker in the tag, or the place for it."""
        try:
            return riff.layout_of(file, _form(file))
        except Refusal as refusal:
            return Layout(refusal=str(refusal))

    def texts(self, found: TextCollector) -> None:
        """Take up the texts of chunks and of ID3 tags."""
        with suppress(Refusal):
            for chunk in riff.others(found.file, _form(found.file), _TAGGED):
                if chunk.kind.lower() == b"id3 ":
                    id3.add_texts(found, chunk.data, chunk.end)
                else:
                    place, text = f"aiff:{chunk.kind.decode()}", decode(found.read(chunk.data, chunk.length))
                    found.add(place, _TEXTS[chunk.kind], text)

    def clean(self, file: BinaryIO) -> Cleaning:
        """Tell what a clean copy is made of."""
        from comfyvn.media.clean_sound import clean_riff

        return clean_riff(file, _form)


def _form(file: BinaryIO) -> riff.Form:
    """Return how the file is put together.

    Raises:
        Refusal: it is cut short.
    """
    head = read_at(file, 0, 12)
    if len(head) < 12:
        raise damaged("it is cut short")
    return riff.Form(12, 8 + _SIZE.unpack(head[4:8])[0], 4, _SIZE, ">", b"ID3 ", b"SSND")
