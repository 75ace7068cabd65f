"""AIFF and AIFF-C sound: the marker, in the ID3 tag of an ``ID3 `` chunk.

Format: Audio Interchange File Format 1.3 (Apple, 1989); AIFF-C (Apple, draft of 1991).
"""

from __future__ import annotations

import struct
from typing import BinaryIO, Final

from comfyvn.media import riff
from comfyvn.media.audio import SoundFormat
from comfyvn.media.formats import Layout, read_at
from comfyvn.media.tags import Refusal
from comfyvn.model import PreviewKind

__all__ = ["AiffFormat"]

_SIZE: Final = struct.Struct(">I")


class AiffFormat(SoundFormat):
    """AIFF and AIFF-C: can be stamped, has a waveform."""

    name = "aiff"
    preview_kind: PreviewKind | None = "waveform"

    def sniff(self, head: bytes, name: str) -> bool:
        """Tell it by its two signatures."""
        return head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC")

    def layout(self, file: BinaryIO) -> Layout:
        """Find our marker in the tag, or the place for it."""
        head = read_at(file, 0, 12)
        if len(head) < 12:
            return Layout(refusal="it is damaged: it is cut short")
        end = 8 + _SIZE.unpack(head[4:8])[0]
        form = riff.Form(12, end, 4, _SIZE, ">", b"ID3 ", b"SSND")
        try:
            return riff.layout_of(file, form)
        except Refusal as refusal:
            return Layout(refusal=str(refusal))
