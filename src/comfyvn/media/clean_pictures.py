"""What stays of PNG, JPEG, WebP and GIF in a clean copy.

Of Exif only the orientation stays, of a colour profile all but the name that a PNG gives it; a profile says
in itself how it is called.

Format: PNG, Third Edition (W3C, 2025), sections 5 and 11; ITU-T T.81 (1992), annex B; JFIF 1.02; ICC.1:2022,
section 7.2 and annex B; RFC 9649 (WebP), section 2; Graphics Interchange Format, version 89a (1990).
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO, Final, Literal

from comfyvn.media.clean import CantClean, Cleaner, Cleaning, damaged
from comfyvn.media.tags import SIGNED

__all__ = [
    "Chunk",
    "clean_gif",
    "clean_jpeg",
    "clean_png",
    "clean_webp",
    "png_chunk",
    "png_chunks",
    "riff_chunk",
    "riff_chunks",
]

_PROFILE_LIMIT: Final = 16 << 20
_EXIF: Final = b"Exif\0\0"
_ORIENTATION: Final = 0x0112
_SHORT: Final = 3


def upright(exif: bytes) -> bytes:
    """Return an Exif block, without its signature, that says of another only how the picture is turned.

    Nothing when it is not turned.
    """
    value = _orientation(exif.removeprefix(_EXIF))
    if value is None:
        return b""
    return struct.pack("<2sHIHHHIHHI", b"II", 42, 8, 1, _ORIENTATION, _SHORT, 1, value, 0, 0)


def _orientation(tiff: bytes) -> int | None:
    orders: dict[bytes, Literal["little", "big"]] = {b"II*\0": "little", b"MM\0*": "big"}
    order = orders.get(tiff[:4])
    if order is None:
        return None
    at = int.from_bytes(tiff[4:8], order)
    count = int.from_bytes(tiff[at : at + 2], order)
    for entry in range(at + 2, min(at + 2 + 12 * count, len(tiff) - 11), 12):
        tag, kind = (int.from_bytes(tiff[entry + 2 * each :][:2], order) for each in (0, 1))
        if (tag, kind) == (_ORIENTATION, _SHORT):
            value = int.from_bytes(tiff[entry + 8 : entry + 10], order)
            return value if 2 <= value <= 8 else None
    return None


def _check_profile(profile: bytes) -> None:
    """Refuse what is no colour profile, or has something behind its end."""
    if profile[36:40] != b"acsp" or int.from_bytes(profile[:4]) != len(profile):
        raise damaged("its colour profile is none, or not whole")


# -- PNG --------------------------------------------------------------------------------------------------

_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_PROFILE_NAME: Final = b"ICC Profile\0\0"
_LENGTHS: Final = {
    b"IHDR": range(13, 14),
    b"PLTE": range(3, 769),
    b"IEND": range(1),
    b"tRNS": range(1, 257),
    b"gAMA": range(4, 5),
    b"cHRM": range(32, 33),
    b"sRGB": range(1, 2),
    b"sBIT": range(1, 5),
    b"bKGD": range(1, 7),
    b"pHYs": range(9, 10),
    b"acTL": range(8, 9),
    b"fcTL": range(26, 27),
    b"cICP": range(4, 5),
    b"mDCV": range(24, 25),
    b"mDCv": range(24, 25),
    b"cLLI": range(8, 9),
    b"cLLi": range(8, 9),
}
"""The chunks that stay, and how long they may be: a longer one has something else in it."""
_CLEAR: Final = {0: 2, 2: 6}
"""How long ``tRNS`` is, by colour type."""
_PALETTE: Final = 3  # the colour type; in others a palette only suggests
_PASSES: Final = (
    *((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4)),
    *((0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)),
)
"""The passes of an interlaced picture: where they begin, and their steps, to the right and down."""
_NAMED: Final = frozenset({b"tEXt", b"zTXt", b"iTXt", b"comf"})
_CHANNELS: Final = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


def clean_png(file: BinaryIO) -> Cleaning:
    """Keep the picture: critical chunks, colour, size, frames."""
    cleaner = Cleaner(file)
    data = cleaner.whole()
    cleaner.keep(0, len(_SIGNATURE))
    end, seen = 0, _PngSeen()
    for kind, at, length in png_chunks(data):
        inner, end = at + 8, at + 12 + length
        content = data[inner : inner + min(length, _PROFILE_LIMIT)] if kind not in _PIXELS else b""
        if kind in _PIXELS and seen.takes_pixels(kind, memoryview(data)[inner : inner + length]):
            cleaner.keep(at, end, is_media=True)
        elif length in _LENGTHS.get(kind, ()) and seen.takes(kind, content):
            cleaner.keep(at, end)
        elif kind == b"iCCP" and seen.is_first(kind):
            made = png_chunk(kind, _PROFILE_NAME + _packed_profile(content))
            cleaner.replace(at, end, made, "iCCP name")
        elif kind == b"eXIf" and (exif := upright(content)) and seen.is_first(kind):
            cleaner.replace(at, end, png_chunk(kind, exif), "Exif")
        elif kind == b"caBX":
            raise CantClean(SIGNED)
        elif kind in _LENGTHS and length not in _LENGTHS[kind] and not kind[0] & 0x20:
            raise damaged(f"its chunk {kind.decode()} has a wrong length")
        elif not kind[0] & 0x20 and kind != b"PLTE":
            raise CantClean(f"it has a chunk {kind.decode()} that the picture needs and we don't know")
        else:
            cleaner.drop(_png_name(kind, content[:80]))
    seen.check()
    cleaner.end_at(end)
    return cleaner.done()


_PIXELS: Final = frozenset((b"IDAT", b"fdAT"))


@dataclass(slots=True)
class _Frame:
    """A picture among those of a PNG: its size in pixels, and its compressed parts."""

    width: int
    height: int
    parts: list[memoryview] = field(default_factory=list)


class _PngSeen:
    """What was seen of a PNG on the way to its end: which chunks, and the pixels of each frame."""

    def __init__(self) -> None:
        self._kinds: set[bytes] = set()
        self._header = b""
        self._colours = 0
        self._frames: list[_Frame] = []

    def is_first(self, kind: bytes) -> bool:
        """Note a chunk; tell whether it is the first one of its kind."""
        is_first = kind not in self._kinds
        self._kinds.add(kind)
        return is_first

    def takes(self, kind: bytes, content: bytes) -> bool:
        """Note a chunk of the right length; tell whether the picture needs it.

        Raises:
            CantClean: it stands twice, or is longer than the picture has use for.
        """
        if kind == b"fcTL":
            return self._takes_frame(content)
        if not self.is_first(kind):
            if kind[0] & 0x20:
                return False
            raise damaged(f"its chunk {kind.decode()} is there twice")
        if kind == b"IHDR":
            self._header = content
            self._frames.append(_Frame(*struct.unpack_from(">II", content)))
        elif kind == b"PLTE":
            self._colours = len(content) // 3
            return self._colour_type == _PALETTE
        elif kind == b"tRNS":
            if self._colour_type != _PALETTE:
                return len(content) == _CLEAR.get(self._colour_type)
            if len(content) > self._colours:
                raise damaged("more of its colours are transparent than it has")
        return True

    @property
    def _colour_type(self) -> int:
        return self._header[9]

    def _takes_frame(self, content: bytes) -> bool:
        if b"IDAT" in self._kinds and b"acTL" in self._kinds:
            self._frames.append(_Frame(*struct.unpack_from(">II", content, 4)))
        return b"acTL" in self._kinds

    def takes_pixels(self, kind: bytes, part: memoryview) -> bool:
        """Note compressed pixels; tell whether they belong to the picture, or to no frame of a film."""
        if kind == b"IDAT":
            self._kinds.add(kind)
            self._frames[0].parts.append(part)
            return True
        if len(self._frames) > 1:
            self._frames[-1].parts.append(part[4:])
        return len(self._frames) > 1

    def check(self) -> None:
        """Refuse pictures with more rows than they say, or bytes behind their compressed pixels."""
        depth, is_interlaced = self._header[8], self._header[12] == 1
        bits = _CHANNELS.get(self._colour_type, 4) * depth
        for frame in self._frames:
            sizes = _passes(frame.width, frame.height) if is_interlaced else [(frame.width, frame.height)]
            room = sum(height * (1 + (width * bits + 7) // 8) for width, height in sizes if width)
            _check_pixels(frame.parts, room)


def _passes(width: int, height: int) -> Iterator[tuple[int, int]]:
    """Yield the size of each pass of an interlaced picture, in pixels."""
    for x, y, right, down in _PASSES:
        yield max(0, -(-(width - x) // right)), max(0, -(-(height - y) // down))


def png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield type, place and length of data of each chunk.

    Raises:
        CantClean: the file doesn't begin with a header, or ends before its end.
    """
    at, kind = len(_SIGNATURE), b""
    if data[at + 4 : at + 8] != b"IHDR":
        raise damaged("it begins without a header")
    while kind != b"IEND":
        header = data[at : at + 8]
        length, kind = int.from_bytes(header[:4]), header[4:]
        if len(kind) < 4 or not kind.isalpha() or at + 12 + length > len(data):
            raise damaged("its chunks don't go on to its end")
        yield kind, at, length
        at += 12 + length


def png_chunk(kind: bytes, data: bytes) -> bytes:
    """Return a chunk with its length and check sum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png_name(kind: bytes, data: bytes) -> str:
    keyword = data.partition(b"\0")[0].decode("latin-1") if kind in _NAMED else ""
    name = "Exif" if kind == b"eXIf" else kind.decode()
    return f"{name} {keyword}" if keyword else name


def _packed_profile(data: bytes) -> bytes:
    """Return the compressed profile of a chunk, without what follows its end."""
    packed = data.partition(b"\0")[2][1:]
    unpacker = zlib.decompressobj()
    try:
        _check_profile(unpacker.decompress(packed, _PROFILE_LIMIT))
    except zlib.error as error:
        raise damaged("its colour profile can't be unpacked") from error
    return packed[: len(packed) - len(unpacker.unused_data)]


def _check_pixels(parts: list[memoryview], room: int) -> None:
    """Refuse compressed pixels that are more or less than there is room for, in bytes, or that go on."""
    unpacker, made = zlib.decompressobj(), 0
    for part in parts:
        rest = bytes(part)
        while rest and made <= room and not unpacker.eof:
            try:
                made += len(unpacker.decompress(rest, 1 << 20))
            except zlib.error as error:
                raise damaged("its pixels can't be unpacked") from error
            rest = unpacker.unconsumed_tail
        if made > room or unpacker.unused_data or (unpacker.eof and rest):
            raise CantClean("something else lies among its pixels")
    if not unpacker.eof and made < room:
        raise damaged("its pixels are cut short")


# -- JPEG -------------------------------------------------------------------------------------------------

_NEXT_MARKER: Final = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")  # zero is an escape, D0 to D7 belong to a scan
_FRAMES: Final = frozenset({0xC0, 0xC1, 0xC2, 0xC3, 0xC9, 0xCA, 0xCB})
_DHT, _DAC, _EOI, _SOS, _DQT, _DNL, _DRI, _COM = 0xC4, 0xCC, 0xD9, 0xDA, 0xDB, 0xDC, 0xDD, 0xFE
_APP0, _APP1, _APP2, _APP11, _APP14 = 0xE0, 0xE1, 0xE2, 0xEB, 0xEE
_SOI: Final = b"\xff\xd8"
_ICC: Final = b"ICC_PROFILE\0"
_MPF: Final = b"MPF\0"
_JFIF_BYTES: Final = 14
_ADOBE_BYTES: Final = 12
_LAST_TABLE: Final = 3
_SEGMENT_NAMES: Final = (
    (_COM, b"", "comment"),
    (_APP0, b"JFXX\0", "JFXX thumbnail"),
    (_APP1, b"Exif\0", "Exif"),
    (_APP1, b"http://ns.adobe.com/xap/1.0/\0", "XMP"),
    (_APP1, b"http://ns.adobe.com/xmp/extension/\0", "XMP"),
    (_APP2, _MPF, "MPF"),
    (0xED, b"Photoshop 3.0\0", "IPTC"),
)


def clean_jpeg(file: BinaryIO) -> Cleaning:
    """Keep the picture: tables, frames, scans, JFIF, colour profile, Adobe's mark."""
    cleaner = Cleaner(file)
    data = cleaner.whole()
    cleaner.keep(0, 2)
    at, has_jfif, has_adobe, has_several, is_turned = 2, False, False, False, False
    profile = list[bytes]()
    while True:
        at, code, inner, end = _segment(data, at)
        content = data[inner:end]
        if code == _EOI:
            break
        if code in _FRAMES or code in _TABLES:
            if not (_is_frame(content) if code in _FRAMES else _TABLES[code](content)):
                raise damaged("a length in it is wrong")
            cleaner.keep(at, end)
        elif code == _APP0 and content.startswith(b"JFIF\0") and len(content) >= _JFIF_BYTES and not has_jfif:
            made = data[at : at + 2] + b"\0\x10" + content[: _JFIF_BYTES - 2] + b"\0\0"
            cleaner.replace(at, end, made, "JFIF thumbnail")
            has_jfif = True
        elif code == _APP1 and content.startswith(_EXIF) and not is_turned and (exif := upright(content)):
            made = struct.pack(">BBH", 0xFF, _APP1, 2 + len(_EXIF + exif)) + _EXIF + exif
            cleaner.replace(at, end, made, "Exif")
            is_turned = True
        elif code == _APP2 and content.startswith(_ICC):
            profile.append(content[len(_ICC) :])
            cleaner.keep(at, end)
        elif (
            code == _APP14 and content.startswith(b"Adobe") and len(content) == _ADOBE_BYTES and not has_adobe
        ):
            cleaner.keep(at, end)
            has_adobe = True
        elif code == _APP11 and content[:2] == b"JP" and b"c2pa" in content[:200]:
            raise CantClean(SIGNED)
        elif code == _COM or _APP0 <= code <= 0xEF:
            has_several |= code == _APP2 and content.startswith(_MPF)
            cleaner.drop(_segment_name(code, content))
        else:
            raise CantClean(f"it has a segment FF{code:02X} that we don't know")
        at = end
        if code == _SOS:
            found = _NEXT_MARKER.search(data, end)
            if found is None:
                raise damaged("it is cut short")
            at = found.start()
            cleaner.keep(end, at, is_media=True)
    cleaner.keep(at, end)
    if profile:
        _check_parts(profile)
    if has_several and data[end : end + 2] == _SOI:
        raise CantClean("it holds several pictures, of which its clean copy would have one")
    cleaner.end_at(end)
    return cleaner.done()


def _segment(data: bytes, at: int) -> tuple[int, int, int, int]:
    """Return where a segment begins, its code, and where its content begins and ends.

    Raises:
        CantClean: there is none.
    """
    while data[at : at + 2] == b"\xff\xff":  # a fill byte
        at += 1
    if len(data) < at + 2 or data[at] != 0xFF:
        raise damaged("its segments don't go on to its end")
    code = data[at + 1]
    if code == _EOI:
        return at, code, at + 2, at + 2
    length = int.from_bytes(data[at + 2 : at + 4])
    if code <= 1 or 0xD0 <= code < _EOI or length < 2 or at + 2 + length > len(data):
        raise damaged("its segments don't go on to its end")
    return at, code, at + 4, at + 2 + length


def _segment_name(code: int, content: bytes) -> str:
    names = (name for each, begin, name in _SEGMENT_NAMES if code == each and content.startswith(begin))
    return next(names, f"APP{code - _APP0}")


def _is_frame(content: bytes) -> bool:
    return len(content) >= 6 and len(content) == 6 + 3 * content[5]


def _is_scan(content: bytes) -> bool:
    return len(content) >= 1 and len(content) == 4 + 2 * content[0]


def _are_quantisers(content: bytes) -> bool:
    at = 0
    while at < len(content) and content[at] >> 4 <= 1 and content[at] & 0xF <= _LAST_TABLE:
        at += 129 if content[at] >> 4 else 65
    return at == len(content)


def _are_codes(content: bytes) -> bool:
    at = 0
    while at < len(content) and content[at] >> 4 <= 1 and content[at] & 0xF <= _LAST_TABLE:
        at += 17 + sum(content[at + 1 : at + 17])
    return at == len(content)


_TABLES: Final[dict[int, Callable[[bytes], bool]]] = {
    _DHT: _are_codes,
    _DAC: lambda content: len(content) % 2 == 0 and len(content) <= 64,
    _SOS: _is_scan,
    _DQT: _are_quantisers,
    _DNL: lambda content: len(content) == 2,
    _DRI: lambda content: len(content) == 2,
}
"""Segments that decoding needs, and whether their lengths are as they should be."""


def _check_parts(parts: list[bytes]) -> None:
    """Refuse a colour profile whose parts are not all there, each once."""
    numbers = sorted(part[0] for part in parts if len(part) > 2)
    if numbers != list(range(1, len(parts) + 1)):
        raise damaged("its colour profile is not whole")
    _check_profile(b"".join(part[2:] for part in sorted(parts, key=lambda part: part[0])))


# -- WebP -------------------------------------------------------------------------------------------------

_PICTURE: Final = frozenset({b"VP8 ", b"VP8L", b"ALPH"})
_IMAGES: Final = (b"VP8 ", b"VP8L")
_FRAME_HEADER: Final = 16
_HAS_PROFILE, _HAS_EXIF, _ANIMATED, _HAS_ALPHA = 0x20, 0x08, 0x02, 0x10
_WEBP_NAMES: Final = {b"EXIF": "Exif", b"XMP ": "XMP"}
_CHUNK_LIMIT: Final = 100_000


@dataclass(frozen=True, slots=True)
class Chunk:
    """A chunk of a WebP: its type, where it and its content begin, and the length of the latter."""

    kind: bytes
    at: int
    inner: int
    length: int

    @property
    def end(self) -> int:
        """Where its content ends."""
        return self.inner + self.length


def clean_webp(file: BinaryIO) -> Cleaning:
    """Keep the picture: its chunks, frames, colour profile, and the header with its flags put right."""
    cleaner = Cleaner(file)
    data = cleaner.whole()
    end = 8 + int.from_bytes(data[4:8], "little")
    if end > len(data):
        raise damaged("it is cut short")
    chunks = list(riff_chunks(data, 12, end))
    kept = _webp_kept(data, chunks)
    made = [_webp_chunk(cleaner, data, chunk, chunks, kept) for chunk in chunks]
    size = 4 + sum(
        len(part) if isinstance(part, bytes) else part[1] - part[0] for each in made for part in each
    )
    if data[4:8] == size.to_bytes(4, "little"):
        cleaner.keep(0, 12)
    else:
        cleaner.put(data[:4] + size.to_bytes(4, "little") + data[8:12])
    for part in (part for each in made for part in each):
        if isinstance(part, bytes):
            cleaner.put(part)
        else:
            cleaner.keep(*part, is_media=True)
    cleaner.end_at(end)
    return cleaner.done()


def riff_chunks(data: bytes, at: int, end: int) -> Iterator[Chunk]:
    """Yield the chunks up to an end.

    Raises:
        CantClean: they don't fill it.
    """
    for _ in range(_CHUNK_LIMIT):
        if at >= end:
            return
        chunk = Chunk(data[at : at + 4], at, at + 8, int.from_bytes(data[at + 4 : at + 8], "little"))
        if at + 8 > end or chunk.end > end:
            raise damaged("its chunks don't fill it")
        yield chunk
        at = chunk.end + chunk.length % 2
    raise CantClean("it has too many chunks")


def _webp_kept(data: bytes, chunks: list[Chunk]) -> set[int]:
    """Return where the chunks begin that the picture needs, or something of them; of some only the first."""
    if not chunks or chunks[0].kind in _IMAGES:
        return {each.at for each in chunks[:1]}
    first = {each.kind: each.at for each in reversed(chunks)}
    kept = {first[kind] for kind in (b"VP8X", b"ICCP") if kind in first}
    if chunks[0].kind == b"VP8X" and chunks[0].length and data[chunks[0].inner] & _ANIMATED:
        kept |= {first.get(b"ANIM", 0), *(each.at for each in chunks if each.kind == b"ANMF")}
    else:
        kept |= {each.at for each in _picture_of(chunks)}
    return kept | {each.at for each in (_turned(data, chunks),) if each is not None}


def _webp_chunk(
    cleaner: Cleaner, data: bytes, chunk: Chunk, chunks: list[Chunk], kept: set[int]
) -> list[bytes | tuple[int, int]]:
    """Return what stays of a chunk: stretches of compressed pixels, and bytes."""
    content = data[chunk.inner : chunk.end] if chunk.kind not in _PICTURE else b""
    if chunk.at in kept and chunk.kind in _PICTURE:
        return _as_it_is(chunk)
    if chunk.at not in kept:
        pass
    elif chunk.kind == b"VP8X" and chunk is chunks[0] and chunk.length == 10:
        return [riff_chunk(b"VP8X", bytes([_flags(data, chunks), 0, 0, 0]) + content[4:])]
    elif chunk.kind == b"ANIM" and chunk.length == 6:
        return [riff_chunk(b"ANIM", content)]
    elif chunk.kind == b"ICCP":
        _check_profile(content)
        return [riff_chunk(b"ICCP", content)]
    elif chunk.kind == b"ANMF" and chunk.length >= _FRAME_HEADER:
        return _frame(cleaner, data, chunk)
    elif chunk.kind == b"EXIF":
        exif = upright(content)
        if content != exif:
            cleaner.drop("Exif")
        return [riff_chunk(b"EXIF", exif)]
    if chunk.kind == b"C2PA":
        raise CantClean(SIGNED)
    cleaner.drop(_WEBP_NAMES.get(chunk.kind, chunk.kind.decode("latin-1").strip()))
    return []


def _picture_of(chunks: list[Chunk]) -> list[Chunk]:
    """Return the chunks that make up one picture: its pixels, and before them what of it is transparent."""
    pixels = next((each for each in chunks if each.kind in _IMAGES), None)
    if pixels is None:
        return []
    before = [each for each in chunks if each.kind == b"ALPH" and each.at < pixels.at][:1]
    return [*(before if pixels.kind == b"VP8 " else []), pixels]


def _as_it_is(chunk: Chunk) -> list[bytes | tuple[int, int]]:
    """Keep a chunk of the picture; the byte that makes its length even is a zero."""
    return [(chunk.at, chunk.end), *([b"\0"] if chunk.length % 2 else [])]


def _frame(cleaner: Cleaner, data: bytes, chunk: Chunk) -> list[bytes | tuple[int, int]]:
    """Return what stays of a frame of an animation."""
    inside: list[bytes | tuple[int, int]] = []
    chunks = list(riff_chunks(data, chunk.inner + _FRAME_HEADER, chunk.end))
    picture = _picture_of(chunks)
    for each in chunks:
        if each in picture:
            inside += _as_it_is(each)
        else:
            cleaner.drop(f"{each.kind.decode('latin-1').strip()} in a frame")
    length = _FRAME_HEADER + sum(
        len(part) if isinstance(part, bytes) else part[1] - part[0] for part in inside
    )
    head = data[chunk.inner : chunk.inner + _FRAME_HEADER]
    return [b"ANMF" + length.to_bytes(4, "little") + head, *inside]


def riff_chunk(kind: bytes, content: bytes) -> bytes:
    """Return a chunk with its length, made even."""
    return kind + len(content).to_bytes(4, "little") + content + bytes(len(content) % 2)


def _turned(data: bytes, chunks: list[Chunk]) -> Chunk | None:
    """Return the first Exif chunk, if it says that the picture is turned."""
    exif = next((each for each in chunks if each.kind == b"EXIF"), None)
    return exif if exif is not None and upright(data[exif.inner : exif.end]) else None


def _flags(data: bytes, chunks: list[Chunk]) -> int:
    """Return the flags of the header: what the picture is, and what is left beside it."""
    kept = data[chunks[0].inner] & (_ANIMATED | _HAS_ALPHA)
    has_profile = any(each.kind == b"ICCP" for each in chunks)
    return kept | has_profile * _HAS_PROFILE | (_turned(data, chunks) is not None) * _HAS_EXIF


# -- GIF --------------------------------------------------------------------------------------------------

_LOOPS: Final = (b"NETSCAPE2.0", b"ANIMEXTS1.0")
_EXTENSION, _IMAGE, _TRAILER = 0x21, 0x2C, 0x3B
_PLAIN_TEXT, _GRAPHIC_CONTROL, _COMMENT, _APPLICATION = 0x01, 0xF9, 0xFE, 0xFF


def clean_gif(file: BinaryIO) -> Cleaning:
    """Keep the picture: colours, frames, their timing, how often it is repeated."""
    cleaner = Cleaner(file)
    data = cleaner.whole()
    at = 13 + _table_bytes(data, 10)
    if at > len(data):
        raise damaged("it is cut short")
    cleaner.keep(0, at)
    while (kind := data[at : at + 1]) == b"\x21" or kind == b"\x2c":
        if kind[0] == _EXTENSION:
            end = _after_blocks(data, at + 2)
            _keep_extension(cleaner, data, at, end)
        else:
            pixels = at + 11 + _table_bytes(data, at + 9)
            end = _after_blocks(data, pixels)
            cleaner.keep(at, pixels)
            cleaner.keep(pixels, end, is_media=True)
        at = end
    if kind and kind[0] != _TRAILER:
        raise damaged("its blocks don't go on to its end")
    cleaner.put(b";")
    cleaner.end_at(at + 1)
    return cleaner.done()


def _table_bytes(data: bytes, at: int) -> int:
    """Return the size of the colour table that the descriptor with these flags has."""
    if at >= len(data):
        raise damaged("it is cut short")
    return 3 << (data[at] & 7) + 1 if data[at] & 0x80 else 0


def _after_blocks(data: bytes, at: int) -> int:
    """Return where the data blocks that start at a place end."""
    while at < len(data) and data[at]:
        at += 1 + data[at]
    if at >= len(data):
        raise damaged("it is cut short")
    return at + 1


def _keep_extension(cleaner: Cleaner, data: bytes, at: int, end: int) -> None:
    label, name = data[at + 1], data[at + 3 : at + 14]
    is_timing = label == _GRAPHIC_CONTROL and end - at == 8
    is_loop = label == _APPLICATION and name in _LOOPS and data[at + 14 : at + 16] == b"\3\1"
    if is_timing or (is_loop and end - at == 19):
        cleaner.keep(at, end)
    elif label == _APPLICATION and name.startswith(b"C2PA_GIF"):
        raise CantClean(SIGNED)
    elif label == _PLAIN_TEXT:
        raise CantClean("it has a text that some players draw")
    elif label == _COMMENT:
        cleaner.drop("comment")
    else:
        shown = name.decode("latin-1").strip() if label == _APPLICATION else f"0x{label:02X}"
        cleaner.drop(f"extension {shown}")
