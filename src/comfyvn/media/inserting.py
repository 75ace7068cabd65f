"""Texts put into pictures as tools look for them there; nothing is decoded, no pixel changes.

ComfyUI reads its graphs from ``tEXt`` chunks named ``workflow`` and ``prompt`` of a PNG, and from the Exif
tags Make and Model of a WebP, as ``workflow:{...}`` and ``prompt:{...}``.

Format: PNG, Third Edition (W3C, 2025), section 11.3.3; RFC 9649 (WebP), section 2; ComfyUI documentation,
"SaveImage" and "SaveAnimatedWEBP".
"""

from __future__ import annotations

import struct
import warnings
from collections.abc import Iterable, Mapping
from typing import BinaryIO, Final

from comfyvn.media import headers
from comfyvn.media.clean import CantClean, Cleaner, Cleaning
from comfyvn.media.clean_pictures import Chunk, png_chunk, png_chunks, riff_chunk, riff_chunks
from comfyvn.media.decoding import FAILURES
from comfyvn.media.formats import HEAD_BYTES, read_at, recognise
from comfyvn.media.tags import SIGNED
from comfyvn.model import fold, split_suffix

__all__ = ["GRAPHS", "foreign_suffix", "with_graphs", "with_texts"]

GRAPHS: Final = ("workflow", "prompt")
"""What ComfyUI calls its graphs: with their layout, and as they are queued."""
_TEXTS: Final = frozenset({b"tEXt", b"zTXt", b"iTXt", b"comf"})
_TAGS: Final = {"workflow": 0x010F, "prompt": 0x0110}
_HAS_EXIF, _HAS_ALPHA = 0x08, 0x10
_CHUNK_LIMIT: Final = 1 << 30
_SUFFIXES_OF: Final = {"png": frozenset({".png", ".apng"}), "webp": frozenset({".webp"})}
_SUFFIXES: Final = frozenset(
    (
        *(".png", ".apng", ".webp", ".jpg", ".jpeg", ".jfif", ".gif", ".avif", ".heic", ".jxl", ".bmp"),
        *(".tif", ".tiff", ".psd", ".tga", ".ico", ".dds", ".jp2", ".qoi", ".json", ".mp4", ".webm"),
    )
)
"""The suffixes that say what a file is: programs go by them."""


def with_graphs(file: BinaryIO, graphs: Mapping[str, str], *, name: str = "") -> Cleaning:
    """Return what a copy of a picture is made of that holds some graphs, and no others.

    Args:
        file: PNG or WebP; seekable.
        graphs: JSON in ASCII by `GRAPHS`.
        name: the file's name.

    Raises:
        CantClean: it is of another format, signed or damaged.
    """
    found = recognise(read_at(file, 0, HEAD_BYTES), name)
    kind = found.name if found else "data"
    if kind == "png":
        return with_texts(file, graphs, without=GRAPHS)
    if kind == "webp":
        return _in_webp(file, graphs)
    raise CantClean("ComfyUI looks for graphs in PNG and WebP, and this is neither")


def foreign_suffix(file: BinaryIO, name: str) -> str | None:
    """Return the suffix that a name should have, where it has that of another format than the picture.

    Args:
        file: PNG or WebP; seekable.
        name: of a copy of it.

    >>> import io
    >>> foreign_suffix(io.BytesIO(b"\\x89PNG"), "mara.webp")
    '.png'
    """
    kind = "png" if read_at(file, 0, 4) == b"\x89PNG" else "webp"
    suffix = fold(split_suffix(name)[1])
    return f".{kind}" if suffix in _SUFFIXES - _SUFFIXES_OF[kind] else None


def with_texts(file: BinaryIO, texts: Mapping[str, str], *, without: Iterable[str] = ()) -> Cleaning:
    """Return what a copy of a PNG is made of that holds some texts, in ``tEXt`` chunks before the pixels.

    Args:
        file: seekable.
        texts: in Latin-1, by their keywords.
        without: keywords of texts that are left out.

    Raises:
        CantClean: it is signed or damaged, or a text can't be written in Latin-1.
    """
    cleaner = Cleaner(file)
    data = cleaner.whole()
    try:
        made = b"".join(png_chunk(b"tEXt", f"{key}\0{text}".encode("latin-1")) for key, text in texts.items())
    except UnicodeEncodeError as error:
        raise CantClean("a text has letters that a PNG can't hold") from error
    old = {key.encode("latin-1") for key in without}
    end = 8
    cleaner.keep(0, end)
    for kind, at, length in png_chunks(data):
        keyword = data[at + 8 : at + 8 + min(length, 80)].partition(b"\0")[0]
        end = at + 12 + length
        if kind == b"caBX":
            raise CantClean(SIGNED)
        if kind == b"IDAT":
            cleaner.put(made)
            made = b""
        if kind in _TEXTS and keyword in old:
            cleaner.drop(f"{kind.decode()} {keyword.decode('latin-1')}")
        else:
            cleaner.keep(at, end)
    cleaner.keep(end, cleaner.size_bytes)
    return cleaner.done()


def _in_webp(file: BinaryIO, graphs: Mapping[str, str]) -> Cleaning:
    cleaner = Cleaner(file)
    data = cleaner.whole()
    end = 8 + int.from_bytes(data[4:8], "little")
    chunks = list(riff_chunks(data, 12, min(end, len(data))))
    if any(each.kind == b"C2PA" for each in chunks):
        raise CantClean(SIGNED)
    exif = next((each for each in chunks if each.kind == b"EXIF"), None)
    made = _exif_with(b"" if exif is None else data[exif.inner : exif.end], graphs)
    kept = [each for each in chunks if each.kind not in (b"EXIF", b"XMP ", b"VP8X")]
    last = [each for each in chunks if each.kind == b"XMP "]
    if not kept or len(made) > _CHUNK_LIMIT:
        raise CantClean("it has no pixels, or the graph is too large for it")
    header = _header_with_exif(file, data, chunks)
    parts = [header, *(_whole(data, each) for each in kept), riff_chunk(b"EXIF", made)]
    parts += [_whole(data, each) for each in last]
    cleaner.put(b"RIFF" + struct.pack("<I", 4 + sum(map(len, parts))) + b"WEBP")
    for part in parts:
        cleaner.put(part)
    return cleaner.done()


def _whole(data: bytes, chunk: Chunk) -> bytes:
    return riff_chunk(chunk.kind, data[chunk.inner : chunk.end])


def _header_with_exif(file: BinaryIO, data: bytes, chunks: list[Chunk]) -> bytes:
    """Return the header that says of a picture that it has Exif."""
    first = chunks[0]
    if first.kind == b"VP8X" and first.length == 10:
        content = data[first.inner : first.end]
        return riff_chunk(b"VP8X", bytes([content[0] | _HAS_EXIF]) + content[1:])
    size = headers.webp_size(file)
    if not all(size) or first.kind not in (b"VP8 ", b"VP8L"):
        raise CantClean("it is damaged: its picture has no header")
    has_alpha = first.kind == b"VP8L" and bool(data[first.inner + 4] & _HAS_ALPHA)
    sides = b"".join((side - 1).to_bytes(3, "little") for side in size)
    return riff_chunk(b"VP8X", bytes([_HAS_EXIF | has_alpha * _HAS_ALPHA, 0, 0, 0]) + sides)


def _exif_with(old: bytes, graphs: Mapping[str, str]) -> bytes:
    """Return an Exif block with some graphs, and what else was in the older one.

    Raises:
        CantClean: the older one is damaged.
    """
    from PIL import Image

    exif = Image.Exif()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            exif.load(old)
            for tag, value in list(exif.items()):
                if isinstance(value, str) and value.startswith(tuple(f"{name}:" for name in GRAPHS)):
                    del exif[tag]
            for name, text in graphs.items():
                exif[_TAGS[name]] = f"{name}:{text}"
            return exif.tobytes().removeprefix(b"Exif\0\0")
    except FAILURES as error:
        raise CantClean("its Exif is damaged, and would be lost") from error
