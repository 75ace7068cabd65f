"""Files of chunks (WAVE, AIFF): the marker, in the ID3 tag of an ``id3`` chunk, which is added if need be.

No chunk holds the place of another, so the chunks behind ours may move. ``id3 `` and ``ID3 `` are what tag
editors look for.

Format: EA IFF 85 (Electronic Arts, 1985); Multimedia Programming Interface and Data Specifications 1.0,
"RIFF" (1991); EBU Tech 3306 (RF64); C2PA 2.1, A.3.5.
"""

from __future__ import annotations

import struct
from collections.abc import Container, Sequence
from dataclasses import dataclass
from io import SEEK_END
from typing import BinaryIO, Final

from comfyvn.media import id3
from comfyvn.media.formats import Layout, Splice, read_at
from comfyvn.media.tags import COUNT_LIMIT, SIGNED, VALUE_LIMIT, Refusal, damaged

__all__ = ["Chunk", "Form", "chunks_of", "find", "layout_of", "others"]

_HEADER: Final = 8
_TAGS: Final = (b"id3 ", b"ID3 ")
_GROWTH_LIMIT: Final = VALUE_LIMIT + 128


@dataclass(frozen=True, slots=True)
class Form:
    """The one outer chunk of a file, and how to read it.

    ``start`` is where its first inner chunk begins, ``end`` where it ends itself. ``size_at`` and ``size``
    say where its length, ``end`` less 8, is written, and how. ``order`` is the byte order of lengths as
    `struct` writes it. ``tag`` is the type of a chunk for an ID3 tag, ``sound`` that of the samples, and
    ``sound_bytes`` their length where their own chunk doesn't tell it.
    """

    start: int
    end: int
    size_at: int
    size: struct.Struct
    order: str
    tag: bytes
    sound: bytes
    sound_bytes: int | None = None

    def header(self, kind: bytes, length: int) -> bytes:
        """Return the header of a chunk."""
        return kind + struct.pack(f"{self.order}I", length)

    def size_of(self, end: int) -> bytes:
        """Return the length as it is written for a form that ends somewhere."""
        return self.size.pack(end - _HEADER)


@dataclass(frozen=True, slots=True)
class Chunk:
    """A chunk: where its data begins, and how long they are."""

    kind: bytes
    data: int
    length: int

    @property
    def end(self) -> int:
        """Where its padding or the next chunk begins."""
        return self.data + self.length


def layout_of(file: BinaryIO, form: Form) -> Layout:
    """Find our marker in a form, or the place for it.

    Raises:
        Refusal: the form is damaged, or it can't be told where a marker is.
    """
    if form.end > file.seek(0, SEEK_END):
        raise damaged("it is cut short, or it was never finished")
    chunks = chunks_of(file, form)
    kinds = [chunk.kind for chunk in chunks]
    if form.sound not in kinds:
        raise damaged("there is no sound in it")
    if any(chunk.kind == form.sound and not chunk.length for chunk in chunks):
        raise Refusal("it holds no sound, and a marker behind an empty data chunk would be taken for some")
    tags = [chunk for chunk in chunks if chunk.kind in _TAGS]
    if len(tags) > 1:
        raise Refusal("it has more than one ID3 tag")
    layout = _in_chunk(file, form, tags[0], chunks) if tags else _at_end(form, form.end, b"", None)
    refusal = SIGNED if b"C2PA" in kinds else layout.refusal
    if form.end + _GROWTH_LIMIT >= 1 << 8 * form.size.size:
        refusal = refusal or "it would grow beyond 4 GiB"
    return Layout(layout.splices, layout.marker, refusal)


def find(file: BinaryIO, form: Form, kind: bytes) -> Chunk | None:
    """Return the first chunk of a type.

    Raises:
        Refusal: the form is damaged.
    """
    return next((chunk for chunk in chunks_of(file, form) if chunk.kind == kind), None)


def others(file: BinaryIO, form: Form, kinds: Container[bytes]) -> list[Chunk]:
    """Return the chunks of some types, but for one that holds our marker alone.

    Raises:
        Refusal: the form is damaged.
    """
    return [chunk for chunk in chunks_of(file, form) if chunk.kind in kinds and not _is_ours(file, chunk)]


def _is_ours(file: BinaryIO, chunk: Chunk) -> bool:
    """Tell whether a chunk holds nothing but a tag that we made."""
    tag = id3.find(file, chunk.data, chunk.end) if chunk.kind in _TAGS else None
    return tag is not None and tag.wholly_ours and tag.length == chunk.length


def chunks_of(file: BinaryIO, form: Form) -> list[Chunk]:
    """Return the chunks of a form; the last may lack its padding.

    Raises:
        Refusal: they don't fill it, or are too many.
    """
    found: list[Chunk] = []
    at = form.start
    while at < form.end and len(found) < COUNT_LIMIT:
        header = read_at(file, at, min(_HEADER, form.end - at))
        if len(header) < _HEADER or not header[:4].isascii() or not header[:4].decode().isprintable():
            raise damaged("there is something else among its chunks")
        kind, length = header[:4], struct.unpack(f"{form.order}I", header[4:])[0]
        if kind == form.sound and length == 0xFFFFFFFF and form.sound_bytes is not None:
            length = form.sound_bytes
        chunk = Chunk(kind, at + _HEADER, length)
        if chunk.end > form.end:
            raise damaged(f"its chunk {kind.decode()!r} is cut short")
        found.append(chunk)
        at = chunk.end + (length & 1 if chunk.end < form.end else 0)
    if at < form.end:
        raise Refusal(f"it has more than {COUNT_LIMIT:,} chunks")
    return found


def _in_chunk(file: BinaryIO, form: Form, chunk: Chunk, chunks: Sequence[Chunk]) -> Layout:
    """Return the layout of a form that has a tag."""
    tag = id3.find(file, chunk.data, chunk.end)
    if tag is None or not tag.splices:
        why = tag.refusal if tag else "its ID3 chunk holds no ID3 tag"
        return Layout(marker=tag.marker if tag else None, refusal=why)
    padding = read_at(file, chunk.end, min(chunk.length & 1, form.end - chunk.end))
    if padding != bytes(chunk.length & 1):
        raise Refusal("its ID3 tag is not padded as it should be")
    if tag.wholly_ours and tag.padding <= 1 and tag.length == chunk.length and chunk is chunks[-1]:
        start = chunk.data - _HEADER - tag.padding
        is_padded_by_us = tag.padding and len(chunks) > 1 and chunks[-2].end == start
        if chunk.kind == form.tag and (is_padded_by_us or not tag.padding):
            own = read_at(file, start, form.end - start)
            if own[: tag.padding] == bytes(tag.padding):
                return _at_end(form, start, own, tag.marker)
    bare = chunk.length - tag.length + tag.bare_length
    end = form.end - _padded(chunk.length) + _padded(bare)

    def stamped(value: bytes) -> int:
        return bare + len(tag.frame(value))

    splices = (
        Splice(
            form.size_at,
            form.size_of(form.end),
            form.size_of(end),
            lambda value: form.size_of(end - _padded(bare) + _padded(stamped(value))),
        ),
        Splice(
            chunk.data - _HEADER,
            form.header(chunk.kind, chunk.length),
            form.header(chunk.kind, bare),
            lambda value: form.header(chunk.kind, stamped(value)),
        ),
        *tag.splices,
        Splice(chunk.end, padding, bytes(bare & 1), lambda value: bytes(stamped(value) & 1)),
    )
    return Layout(splices, tag.marker, tag.refusal)


def _at_end(form: Form, start: int, own: bytes, marker: bytes | None) -> Layout:
    """Return the layout of a form with a chunk of ours from a place on to its end, or with none.

    A form that ends without the padding of its last chunk gets this, too; one zero in our tag tells that.
    """

    def encode(value: bytes) -> bytes:
        missing = start & 1
        tag = id3.whole(value, padding=missing)
        return bytes(missing) + form.header(form.tag, len(tag)) + tag + bytes(len(tag) & 1)

    splices = (
        Splice(
            form.size_at,
            form.size_of(form.end),
            form.size_of(start),
            lambda value: form.size_of(start + len(encode(value))),
        ),
        Splice(start, own, b"", encode),
    )
    return Layout(splices, marker)


def _padded(length: int) -> int:
    return length + (length & 1)
