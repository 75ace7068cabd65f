"""What the headers of pictures tell without a decoder: sizes, and the timing of what moves.

Every look is bounded, and a damaged file tells less; nothing here raises but `OSError` and, where a file has
too many parts, `PreviewFailed`.

Formats: Graphics Interchange Format 89a (CompuServe, 1990); Portable Network Graphics, Third Edition (W3C,
2025), section 11.3.4 (APNG); WebP container (RFC 9649); TIFF 6.0 (Adobe, 1992) and BigTIFF; JPEG XL
(ISO/IEC 18181-1, section D.2, and 18181-2, section 4).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

from comfyvn.errors import PreviewFailed
from comfyvn.media.formats import read_at

__all__ = [
    "Tiff",
    "Timing",
    "gif_size",
    "gif_timing",
    "ico_size",
    "jxl_size",
    "played_ms",
    "png_timing",
    "read_tiff",
    "webp_size",
    "webp_timing",
]

_PART_LIMIT: Final = 100_000
_BLOCK_LIMIT: Final = 2_000_000  # of at most 255 bytes: more than a file of the largest size needs
_PAGE_LIMIT: Final = 10_000
_TAG_LIMIT: Final = 4_096
_SHOWN_MS: Final = 100.0
_FARTHEST: Final = 1 << 62

_TIFF_SIZES: Final = (0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 0, 0, 8, 8, 8)
_NO_NUMBERS: Final = frozenset({1, 2, 6, 7})  # kept as bytes or text
_JXL_BITS: Final = (9, 13, 18, 30)
_JXL_RATIOS: Final = ((0, 1), (1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))


@dataclass(frozen=True, slots=True)
class Timing:
    """How an animation runs: frames, how long it takes once, how often it plays (0: for ever)."""

    frames: int
    duration_ms: float
    loops: int


@dataclass(frozen=True, slots=True)
class Tiff:
    """What a TIFF file says of its first page, and how many pages there are.

    ``size`` and ``tile`` in pixels, (0, 0) where unknown; ``depth`` in bits of a channel; ``numbers``: how
    many numbers its tags hold; ``pages`` is None when nobody counted to the end.
    """

    size: tuple[int, int] = (0, 0)
    tile: tuple[int, int] = (0, 0)
    depth: int | None = None
    numbers: int = 0
    pages: int | None = None


def played_ms(stated_ms: float) -> float:
    """Return how long a frame is shown: browsers take hardly any time at all for a mistake."""
    return stated_ms if stated_ms > 10 else _SHOWN_MS


def gif_size(file: BinaryIO) -> tuple[int, int]:
    """Return the canvas of a GIF file, with every frame that reaches beyond it.

    Raises:
        PreviewFailed: it consists of too many parts.
    """
    head = read_at(file, 0, 10)
    if len(head) < 10:
        return 0, 0
    width, height = struct.unpack_from("<HH", head, 6)
    for kind, data in _gif_parts(file):
        if kind == b",":
            left, top, wide, high = struct.unpack_from("<4H", data)
            width, height = max(width, left + wide), max(height, top + high)
    return width, height


def gif_timing(file: BinaryIO) -> Timing:
    """Return the timing of a GIF file.

    Raises:
        PreviewFailed: it consists of too many parts.
    """
    frames, duration_ms, loops = 0, 0.0, 1
    stated_ms = 0
    for kind, data in _gif_parts(file):
        if kind == b",":
            frames, duration_ms = frames + 1, duration_ms + played_ms(stated_ms)
            stated_ms = 0
        elif kind == b"\xf9" and len(data) >= 4:
            stated_ms = 10 * int.from_bytes(data[1:3], "little")
        elif kind == b"\xff" and data.startswith(b"NETSCAPE2.0\1") and len(data) >= 14:
            repeats = int.from_bytes(data[12:14], "little")
            loops = repeats + 1 if repeats else 0
    return Timing(frames, duration_ms, loops)


def _gif_parts(file: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    """Yield the extensions (by label) and images (as ``,``) of a GIF, with the beginning of their data."""
    head = read_at(file, 0, 13)
    if len(head) < 13:
        return
    file.seek(13 + _table_bytes(head[10]))
    left = _BLOCK_LIMIT
    for _ in range(_PART_LIMIT):
        kind = file.read(1)
        if kind == b"!":
            kind, data = file.read(1), b""
        elif kind == b",":
            data = file.read(9)
            if len(data) < 9:
                return
            file.seek(_table_bytes(data[8]) + 1, 1)
        elif kind and kind != b";":
            continue  # decoders look for the next thing that they know
        else:
            return
        start = file.tell()
        while length := file.read(1):
            left -= 1
            if length == b"\0":
                break
            if left <= 0:
                raise PreviewFailed(why=f"the picture has more than {_BLOCK_LIMIT:,} blocks of data")
            file.seek(length[0], 1)
        end = file.tell()
        if kind != b",":
            data = b"".join(_blocks(read_at(file, start, min(end - start, 64))))
            file.seek(end)
        yield kind, data
    raise PreviewFailed(why=f"the picture has more than {_PART_LIMIT:,} parts")


def _blocks(raw: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(raw) and raw[at]:
        yield raw[at + 1 : at + 1 + raw[at]]
        at += 1 + raw[at]


def _table_bytes(flags: int) -> int:
    return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0


def ico_size(file: BinaryIO) -> tuple[int, int]:
    """Return the size of the largest picture in a Windows icon, as the pictures themselves state it."""
    largest = (0, 0)
    count = int.from_bytes(read_at(file, 4, 2), "little")
    for number in range(count):
        offset = int.from_bytes(read_at(file, 6 + 16 * number + 12, 4), "little")
        head = read_at(file, offset, 24)
        if len(head) < 24:
            continue
        is_png = head.startswith(b"\x89PNG")
        size = struct.unpack_from(">II", head, 16) if is_png else struct.unpack_from("<II", head, 4)
        largest = max(largest, size, key=lambda one: one[0] * one[1])
    return largest


def png_timing(file: BinaryIO) -> Timing:
    """Return the timing of a PNG file; 0 frames when it is no APNG."""
    frames, duration_ms, loops = 0, 0.0, 0
    at = 8
    for _ in range(_PART_LIMIT):
        header = read_at(file, at, 34)
        if len(header) < 8:
            break
        length, kind = struct.unpack_from(">I4s", header)
        if kind == b"acTL" and len(header) >= 16:
            loops = int.from_bytes(header[12:16], "big")
        elif kind == b"fcTL" and len(header) >= 32:
            above, below = struct.unpack_from(">HH", header, 28)
            frames, duration_ms = frames + 1, duration_ms + played_ms(1000 * above / (below or 100))
        elif kind == b"IEND":
            break
        at += 12 + length
    return Timing(frames, duration_ms, loops)


def webp_size(file: BinaryIO) -> tuple[int, int]:
    """Return the canvas of a WebP file; (0, 0) when its header is damaged."""
    head = read_at(file, 0, 30)
    if len(head) < 30:
        return 0, 0
    if head[12:16] == b"VP8X":
        return 1 + int.from_bytes(head[24:27], "little"), 1 + int.from_bytes(head[27:30], "little")
    if head[12:16] == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    width, height = struct.unpack_from("<HH", head, 26)
    return width & 0x3FFF, height & 0x3FFF


def webp_timing(file: BinaryIO) -> Timing:
    """Return the timing of a WebP file; 0 frames when it is a still."""
    frames, duration_ms, loops = 0, 0.0, 0
    at = 12
    for _ in range(_PART_LIMIT):
        header = read_at(file, at, 24)
        if len(header) < 8:
            break
        kind, length = struct.unpack_from("<4sI", header)
        if kind == b"ANIM" and len(header) >= 14:
            loops = int.from_bytes(header[12:14], "little")
        elif kind == b"ANMF" and len(header) >= 23:
            frames, duration_ms = frames + 1, duration_ms + played_ms(int.from_bytes(header[20:23], "little"))
        at += 8 + length + length % 2
    return Timing(frames, duration_ms, loops)


def read_tiff(file: BinaryIO) -> Tiff:
    """Return what a TIFF file says of itself; a damaged one says less."""
    head = _peek(file, 0, 16)
    order = "<" if head.startswith(b"II") else ">"
    if len(head) < 8:
        return Tiff()
    is_big = struct.unpack_from(f"{order}H", head, 2)[0] == 43
    if is_big and len(head) < 16:
        return Tiff()
    at: int = struct.unpack_from(f"{order}Q" if is_big else f"{order}I", head, 8 if is_big else 4)[0]
    tags, numbers, following = _tiff_page(file, at, order, is_big)
    pages, seen = 1, {at}
    while following and following not in seen and pages < _PAGE_LIMIT:
        seen.add(following)
        pages += 1
        following = _tiff_next(file, following, order, is_big)
    return Tiff(
        size=(tags.get(256, 0), tags.get(257, 0)),
        tile=(tags.get(322, 0), tags.get(323, 0)),
        depth=tags.get(258),
        numbers=numbers,
        pages=None if following else pages,
    )


def _tiff_page(file: BinaryIO, at: int, order: str, is_big: bool) -> tuple[dict[int, int], int, int]:
    """Return the first number of each tag, how many numbers all tags hold, and where the next page is."""
    tags: dict[int, int] = {}
    numbers = 0
    entry = struct.Struct(f"{order}HHQ" if is_big else f"{order}HHI")
    room, count_bytes = (8, 8) if is_big else (4, 2)
    count = _number(_peek(file, at, count_bytes), order)
    raw = _peek(file, at + count_bytes, min(count, _TAG_LIMIT) * (entry.size + room))
    for start in range(0, len(raw) - entry.size - room + 1, entry.size + room):
        tag, kind, length = entry.unpack_from(raw, start)
        size = _TIFF_SIZES[kind] if kind < len(_TIFF_SIZES) else 0
        numbers += length if size and kind not in _NO_NUMBERS else 0
        if kind not in (3, 4, 16) or not length:
            continue
        data = raw[start + entry.size : start + entry.size + room]
        if length * size > room:
            data = _peek(file, _number(data, order), size)
        tags.setdefault(tag, _number(data[:size], order))
    return tags, numbers, _tiff_next(file, at, order, is_big)


def _tiff_next(file: BinaryIO, at: int, order: str, is_big: bool) -> int:
    """Return where the page after the one at a place is, 0 when there is none."""
    count_bytes, entry_bytes, offset_bytes = (8, 20, 8) if is_big else (2, 12, 4)
    count = _number(_peek(file, at, count_bytes), order)
    return _number(_peek(file, at + count_bytes + count * entry_bytes, offset_bytes), order)


def _number(raw: bytes, order: str) -> int:
    return int.from_bytes(raw, "little" if order == "<" else "big")


def jxl_size(file: BinaryIO) -> tuple[int, int]:
    """Return the size of a JPEG XL picture, upright, as its codestream says; (0, 0) when none is found."""
    raw = _jxl_codestream(file)
    if not raw.startswith(b"\xff\x0a"):
        return 0, 0
    bits = int.from_bytes(raw[2:16].ljust(14, b"\0"), "little")

    def take(count: int) -> int:
        nonlocal bits
        value = bits & (1 << count) - 1
        bits >>= count
        return value

    def side(is_small: int) -> int:
        return 8 * (1 + take(5)) if is_small else 1 + take(_JXL_BITS[take(2)])

    is_small = take(1)
    height = side(is_small)
    above, below = _JXL_RATIOS[take(3)]
    width = height * above // below if above else side(is_small)
    is_plain = take(1)
    is_turned = not is_plain and take(1) and take(3) >= 4
    return (height, width) if is_turned else (width, height)


def _jxl_codestream(file: BinaryIO) -> bytes:
    """Return the beginning of the codestream, in the container or without one."""
    raw = _peek(file, 0, 16)
    if raw.startswith(b"\xff\x0a"):
        return raw
    at = 0
    for _ in range(1_000):
        size, kind = struct.unpack(">I4s", _peek(file, at, 8).ljust(8, b"\0"))
        header = 8
        if size == 1:
            size, header = int.from_bytes(_peek(file, at + 8, 8), "big"), 16
        if kind in (b"jxlc", b"jxlp"):
            return _peek(file, at + header + (4 if kind == b"jxlp" else 0), 16)
        if size < 8:
            break
        at += size
    return b""


def _peek(file: BinaryIO, offset: int, length: int) -> bytes:
    """Read from a place that a file names; nothing from one that no file reaches."""
    return read_at(file, offset, length) if offset < _FARTHEST else b""
