"""PNG and APNG: the marker, spliced in as one ``tEXt`` chunk; no decoding for that, no Pillow.

A Pillow re-save changes bytes that are not ours (frames, depth, gamma, private chunks), so we walk the chunk
headers and touch nothing else.

Format: Portable Network Graphics, Third Edition (W3C, 2025), sections 5 and 11.3.3.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import SEEK_END
from itertools import islice
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any, BinaryIO, Final, TypeVar

from comfyvn.errors import PreviewFailed
from comfyvn.media.embedded import TextCollector, decode
from comfyvn.media.exif import add_exif
from comfyvn.media.formats import MARKER_NAME, Layout, PreviewLimits, Rendered, Splice, read_at
from comfyvn.media.images import PillowFormat
from comfyvn.media.xmp_texts import add_xmp
from comfyvn.model import PreviewKind

if TYPE_CHECKING:
    from PIL import ImageFile

    from comfyvn.media.clean import Cleaning

__all__ = ["PngFormat"]

T = TypeVar("T")

SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"

_PREFIX: Final = MARKER_NAME.encode() + b"\0"
_XMP: Final = b"XML:com.adobe.xmp"
_PROFILE: Final = b"Raw profile type "
_COMFYUI: Final = b"comf"  # has the form of a tEXt chunk; in APNG, from SaveAnimatedPNG
_MARKER_DATA_LIMIT: Final = 64 * 1024  # a longer chunk is somebody else's: we never write one
_CHUNK_COUNT_LIMIT: Final = 100_000
_MARKER_COUNT_LIMIT: Final = 100
_CHUNK_LIMIT: Final = 2**31 - 1
_HEADER: Final = struct.Struct(">I4s")
_OVERHEAD: Final = 12  # length, type and check sum of a chunk
_COPY_BLOCK: Final = 1 << 20
_SMALL_GREYS: Final = {"L;2": 85, "L;4": 17}
_EXIF_LIMIT: Final = 1 << 20

# What the pixels don't need, least needed first. Pillow raises ValueError for a text or profile that unpacks
# to more than 1 MiB, and SyntaxError for one with a wrong check sum; browsers show both pictures.
_TEXTS: Final = frozenset({b"tEXt", b"zTXt", b"iTXt"})
_EXTRAS: Final = _TEXTS | {b"iCCP", b"eXIf"}
_LEFT_OUT: Final = (frozenset[bytes](), _TEXTS, _EXTRAS)
_MOVING: Final = frozenset({b"acTL", b"fcTL", b"fdAT"})


class PngFormat(PillowFormat):
    """PNG and APNG: can be stamped, has thumbnails; an APNG also moves."""

    name = "png"
    family = "PNG"

    def sniff(self, head: bytes, name: str) -> bool:
        """Tell a PNG by its signature."""
        return head.startswith(SIGNATURE)

    def layout(self, file: BinaryIO) -> Layout:
        """Find our ``tEXt`` chunks, or the place for one, right before the first ``IDAT``.

        A marker is a complete ``tEXt`` chunk before the end of the chunk stream, with exactly our keyword
        and at most 64 KiB of data. From ``IEND``, or from the first thing that is no chunk, all is content.
        """
        size_bytes = file.seek(0, SEEK_END)
        chunks: list[_Chunk] = []
        found: list[Splice] = []
        for each in _chunks(file):
            data = _marker_at(file, each, size_bytes)
            if data is None:
                chunks.append(each)
            else:
                found.append(Splice(each.offset, data, b"", _nothing))
            if len(chunks) > _CHUNK_COUNT_LIMIT or len(found) > _MARKER_COUNT_LIMIT:
                return Layout(refusal="it has too many chunks")
        marker = found[0].data[8 + len(_PREFIX) : -4] if found else None
        pixels = next((each.offset for each in chunks if each.kind == b"IDAT"), None)
        if pixels is None:
            return Layout(tuple(found), marker, "it is damaged: it has no pixels")
        if any(each.kind == b"caBX" for each in chunks):
            return Layout(tuple(found), marker, "it is signed with content credentials (C2PA)")
        found.append(Splice(pixels, b"", b"", _encode))
        return Layout(tuple(sorted(found, key=lambda splice: splice.offset)), marker)

    def texts(self, found: TextCollector) -> None:
        """Take up the texts of text chunks, Exif and XMP."""
        for each in islice(_chunks(found.file), _CHUNK_COUNT_LIMIT):
            if each.kind in _TEXTS or each.kind == _COMFYUI:
                _add_text(found, each.kind.decode(), found.read(each.offset + 8, each.length))
            elif each.kind == b"eXIf":
                add_exif(found, found.read(each.offset + 8, each.length))

    def clean(self, file: BinaryIO) -> Cleaning:
        """Tell what a clean copy is made of."""
        from comfyvn.media.clean_pictures import clean_png

        return clean_png(file)

    def kind_of(self, file: BinaryIO) -> PreviewKind | None:
        """Tell an APNG by its ``acTL`` chunk before the pixels, with more than one frame."""
        for each in islice(_chunks(file), _CHUNK_COUNT_LIMIT):
            if each.kind == b"IDAT":
                break
            if each.kind == b"acTL" and each.length == 8:
                frames = int.from_bytes(read_at(file, each.offset + 8, 4), "big")
                return "animation" if frames > 1 else self.preview_kind
        return self.preview_kind

    def preview(self, file: BinaryIO, limits: PreviewLimits) -> Rendered:
        """Make the thumbnails of the picture; of an APNG also a short animation.

        An APNG whose frames are out of order shows the picture that it has for viewers without animation.
        """
        made = _leniently(file, lambda whole: super(PngFormat, self).preview(whole, limits))
        if self.kind_of(file) == "animation" and "animation" not in made.files:
            return Rendered({**made.files, "animation": made.files["256"]}, made.facts)
        return made

    def probe(self, file: BinaryIO) -> dict[str, Any]:
        """Return width and height (upright), mode, depth, alpha and profile; of an APNG its timing."""
        return _leniently(file, super().probe)

    def _prepare(self, file: BinaryIO, image: ImageFile.ImageFile) -> None:
        at = file.tell()
        chunks = islice(_chunks(file), _CHUNK_COUNT_LIMIT)
        late = next((each for each in chunks if each.kind == b"eXIf"), None)
        if late is not None and "exif" not in image.info and late.length <= _EXIF_LIMIT:
            # Pillow comes to know it after the pixels only.
            image.info["exif"] = b"Exif\0\0" + read_at(file, late.offset + 8, late.length)
        file.seek(at)
        clear, rawmode = image.info.get("transparency"), image.tile[0][3] if image.tile else None
        # Pillow gives the colour as the file has it, but the pixels with 8 bit.
        if isinstance(clear, tuple) and rawmode == "RGB;16B":
            image.info["transparency"] = tuple(value >> 8 for value in clear)
        elif isinstance(clear, int) and rawmode in _SMALL_GREYS:
            image.info["transparency"] = clear * _SMALL_GREYS[rawmode]


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Where a chunk begins, its type, and the length of its data."""

    offset: int
    kind: bytes
    length: int


def _chunks(file: BinaryIO) -> Iterator[_Chunk]:
    """Yield the chunks up to ``IEND`` or to the first thing that is none; the last may be cut short."""
    at = len(SIGNATURE)
    while len(header := read_at(file, at, _HEADER.size)) == _HEADER.size:
        length, kind = _HEADER.unpack(header)
        if kind == b"IEND" or length > _CHUNK_LIMIT or not kind.isalpha():
            return
        yield _Chunk(at, kind, length)
        at += _OVERHEAD + length


def _marker_at(file: BinaryIO, chunk: _Chunk, size_bytes: int) -> bytes | None:
    """Return the whole of a chunk that is ours, None of any other."""
    length = _OVERHEAD + chunk.length
    is_likely = chunk.kind == b"tEXt" and len(_PREFIX) <= chunk.length <= _MARKER_DATA_LIMIT
    if not is_likely or chunk.offset + length > size_bytes:
        return None
    data = read_at(file, chunk.offset, length)
    return data if data[8:].startswith(_PREFIX) else None


def _add_text(found: TextCollector, kind: str, data: bytes) -> None:
    """Take up the text of a chunk."""
    keyword, _, text = data.partition(b"\0")
    is_packed = kind == "zTXt"
    if is_packed:
        text = text[1:]
    elif kind == "iTXt":
        is_packed, text = text[:1] == b"\1", text[2:].partition(b"\0")[2].partition(b"\0")[2]
    if is_packed:
        text = found.unpack(text)
    profile = keyword.removeprefix(_PROFILE) if keyword.startswith(_PROFILE) else b""
    if kind == "iTXt" and keyword == _XMP:
        add_xmp(found, text)
    elif profile == b"xmp":
        add_xmp(found, _unhex(text))
    elif profile in (b"exif", b"APP1"):
        add_exif(found, _unhex(text))
    elif not profile:
        found.add(f"png:{kind}", decode(keyword), decode(text))


def _unhex(text: bytes) -> bytes:
    """Return a profile as ImageMagick and ExifTool kept it before there was ``eXIf``: its name, its length,
    then hexadecimal digits; nothing of a damaged one."""
    try:
        return bytes.fromhex(b"".join(text.split()[2:]).decode("ascii"))
    except ValueError:
        return b""


def _encode(value: bytes) -> bytes:
    """Return the ``tEXt`` chunk.

    Raises:
        ValueError: the value has a NUL, which ends a text, or more than 64 KiB.
    """
    data = _PREFIX + value
    if len(data) > _MARKER_DATA_LIMIT:
        room = _MARKER_DATA_LIMIT - len(_PREFIX)
        raise ValueError(f"the marker has {len(value)} bytes, a PNG takes {room}")
    if b"\0" in value:
        raise ValueError("a marker can't hold a NUL byte")
    body = b"tEXt" + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))


def _nothing(_: bytes) -> bytes:
    """Stand for a second marker, of which nothing is left in a stamped file."""
    return b""


def _leniently(file: BinaryIO, look: Callable[[BinaryIO], T]) -> T:
    """Look at a picture with Pillow, without the chunks that the pixels don't need where those are the fault.

    Raises:
        PreviewFailed: it has too many chunks, or fails without them too.
    """
    if _is_endless(file):
        raise PreviewFailed(why=f"the picture has more than {_CHUNK_COUNT_LIMIT:,} chunks")
    reason = PreviewFailed(why="the picture is damaged or incomplete")
    for left_out in (*_LEFT_OUT, _EXTRAS | _MOVING):
        if left_out & _MOVING and not _is_moving(file):
            break
        try:
            if not left_out:
                return look(file)
            with TemporaryFile() as copy:
                _copy_without(left_out, file, copy)
                copy.seek(0)
                return look(copy)
        except PreviewFailed as failure:
            is_format = isinstance(failure.__cause__, (ValueError, SyntaxError))
            if not is_format and not (isinstance(failure.__cause__, OSError) and _is_moving(file)):
                raise
            reason = failure
    raise reason


def _is_moving(file: BinaryIO) -> bool:
    return any(each.kind == b"acTL" for each in islice(_chunks(file), _CHUNK_COUNT_LIMIT))


def _is_endless(file: BinaryIO) -> bool:
    """Tell whether a PNG has too many chunks, counting also those that Pillow alone takes for chunks."""
    at = len(SIGNATURE)
    for _ in range(_CHUNK_COUNT_LIMIT):
        header = read_at(file, at, _HEADER.size)
        if len(header) < _HEADER.size or header.endswith(b"IEND"):
            return False
        at += _OVERHEAD + int.from_bytes(header[:4], "big")
    return True


def _copy_without(left_out: frozenset[bytes], source: BinaryIO, sink: BinaryIO) -> None:
    """Copy a PNG without the chunks of some types."""
    source.seek(0)
    sink.write(source.read(len(SIGNATURE)))
    while len(header := source.read(_HEADER.size)) == _HEADER.size:
        length, kind = _HEADER.unpack(header)
        if kind in left_out:
            source.seek(length + 4, 1)
            continue
        sink.write(header)
        left = length + 4
        while left and (block := source.read(min(left, _COPY_BLOCK))):
            sink.write(block)
            left -= len(block)
