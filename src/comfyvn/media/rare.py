"""Pictures that a game seldom ships and its makers have lying around: PSD, ICO, TGA, DDS, JPEG 2000, QOI.

Formats: Adobe Photoshop File Formats Specification (2019), "File Header Section"; Truevision TGA 2.0 (1991);
DDS_HEADER (Microsoft, DirectX); ISO/IEC 15444-1, annexes A and I; The Quite OK Image Format 1.0 (2022).
"""

from __future__ import annotations

import struct
from typing import Final

from comfyvn.media.images import PillowFormat

__all__ = ["DdsFormat", "IcoFormat", "Jpeg2000Format", "PsdFormat", "QoiFormat", "TgaFormat"]

_TGA_COLOURS: Final = {1: 1, 2: 0, 3: 0, 9: 1, 10: 0, 11: 0}
"""Whether a picture of each type has a colour map."""


class PsdFormat(PillowFormat):
    """Photoshop: has thumbnails, of the flattened picture that the program stored beside the layers."""

    name = "psd"
    family = "PSD"

    def sniff(self, head: bytes, name: str) -> bool:
        """Tell a Photoshop file by its signature and version."""
        return head.startswith(b"8BPS\0\1\0\0\0\0\0\0")


class IcoFormat(PillowFormat):
    """Windows icons: has thumbnails, of the largest picture."""

    name = "ico"
    family = "ICO"

    def sniff(self, head: bytes, name: str) -> bool:
        """Tell an icon by its header and the first entry of its directory."""
        if len(head) < 22 or not head.startswith(b"\0\0\1\0"):
            return False
        count = int.from_bytes(head[4:6], "little")
        planes, bits, size, offset = struct.unpack_from("<HHII", head, 10)
        return bool(count and size and planes < 2 and bits <= 32 and offset >= 6 + 16 * count)


class TgaFormat(PillowFormat):
    """Targa: has thumbnails. It has no signature: name and header decide together."""

    name = "tga"
    family = "TGA"

    def sniff(self, head: bytes, name: str) -> bool:
        """Tell a Targa file by its name and a header that makes sense."""
        if len(head) < 18 or not name.lower().endswith(".tga"):
            return False
        has_map, kind, width, height, bits = head[1], head[2], head[12:14], head[14:16], head[16]
        is_sized = any(width) and any(height)
        return _TGA_COLOURS.get(kind) == has_map and is_sized and bits in (8, 15, 16, 24, 32)


class DdsFormat(PillowFormat):
    """DirectDraw surfaces: has thumbnails, of the largest level."""

    name = "dds"
    family = "DDS"

    def sniff(self, head: bytes, name: str) -> bool:
        """Tell a surface by its signature and the length of its header."""
        return head.startswith(b"DDS \x7c\0\0\0")


class Jpeg2000Format(PillowFormat):
    """JPEG 2000, in its container or as a bare codestream: has thumbnails."""

    name = "jpeg2000"
    family = "JPEG2000"

    def sniff(self, head: bytes, name: str) -> bool:
        """Tell JPEG 2000 by its signature box, or by its first two markers."""
        return head.startswith((b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51"))


class QoiFormat(PillowFormat):
    """QOI: has thumbnails."""

    name = "qoi"
    family = "QOI"

    def sniff(self, head: bytes, name: str) -> bool:
        """Tell a QOI file by its signature, channels and colour space."""
        return head.startswith(b"qoif") and len(head) >= 14 and head[12] in (3, 4) and head[13] in (0, 1)
