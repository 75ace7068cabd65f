"""Texts among the tags of an MP4 or QuickTime file.

Tags are items of a list that have names of their own (``©cmt``, freeform ``----``) or are named by keys, as
FFmpeg does for ComfyUI; old QuickTime has them as strings of its user data.

Format: QuickTime File Format Specification (Apple), "User Data Atoms" and "Metadata"; the iTunes item list as
mutagen's documentation describes it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Final

from comfyvn.media.boxes import Box, BoxReader, Refusal
from comfyvn.media.embedded import TextCollector, decode

__all__ = ["add_texts"]

_UTF_8, _UTF_16 = 1, 2
_KEY_LIMIT: Final = 1_000
_OWN: Final = b"\xa9"
_WORDS: Final = {
    b"\xa9nam": "title",
    b"\xa9ART": "artist",
    b"\xa9alb": "album",
    b"\xa9cmt": "comment",
    b"\xa9inf": "comment",
    b"\xa9cpy": "copyright",
    b"cprt": "copyright",
    b"\xa9day": "date",
    b"desc": "description",
    b"\xa9des": "description",
    b"ldes": "synopsis",
    b"\xa9too": "encoder",
    b"\xa9swr": "encoder",
    b"\xa9gen": "genre",
    b"\xa9lyr": "lyrics",
}
"""What items are called, as FFmpeg does; others by their own names."""


def add_texts(found: TextCollector) -> None:
    """Take up the texts of the movie's tags; of damaged boxes those before the damage."""
    reader = BoxReader(found.file)
    with suppress(Refusal):
        for moov in _inside(reader, 0, found.size_bytes, b"moov"):
            for box in reader.run(moov.inner, moov.end):
                if box.kind == b"meta":
                    _add_items(found, reader, box)
                elif box.kind == b"udta":
                    _add_user_data(found, reader, box)


def _add_user_data(found: TextCollector, reader: BoxReader, udta: Box) -> None:
    for box in reader.run(udta.inner, udta.end):
        if box.kind == b"meta":
            _add_items(found, reader, box)
        elif box.kind.startswith(_OWN):  # a length of two bytes, a language, the text
            length = reader.number_at(box.inner) >> 16
            if length <= box.size - box.header - 4:
                found.add("mp4:udta", _word(box.kind), decode(found.read(box.inner + 4, length)))


def _add_items(found: TextCollector, reader: BoxReader, meta: Box) -> None:
    """Take up the items of a list, by their own names or by those of its keys."""
    inside = {box.kind: box for box in reader.run(reader.start(meta), meta.end)}
    keys = _keys(found, reader, inside[b"keys"]) if b"keys" in inside else {}
    ilst = inside.get(b"ilst")
    for item in reader.run(ilst.inner, ilst.end) if ilst else ():
        name = keys.get(item.kind, "") if keys else _word(item.kind)
        if item.kind == b"----":
            names = _inside(reader, item.inner, item.end, b"name")
            name = next((_content(found, box, 4, _KEY_LIMIT) for box in names), "")
        for box in _inside(reader, item.inner, item.end, b"data"):
            kind = reader.number_at(box.inner)
            data = found.read(box.inner + 8, box.size - box.header - 8) if kind in (_UTF_8, _UTF_16) else b""
            text = data.decode("utf-16-be", "replace") if kind == _UTF_16 else decode(data)
            found.add("mp4:keys" if keys else "mp4:ilst", name, text)


def _keys(found: TextCollector, reader: BoxReader, keys: Box) -> dict[bytes, str]:
    """Return the names of items by their numbers, as which they are kept in the list."""
    entries = enumerate(reader.run(keys.inner + 8, keys.end), 1)
    return {index.to_bytes(4, "big"): _content(found, box, 0, _KEY_LIMIT) for index, box in entries}


def _content(found: TextCollector, box: Box, start: int, limit: int) -> str:
    """Return the text in a box; nothing of one that is too long."""
    length = box.size - box.header - start
    return decode(found.read(box.inner + start, length)) if length <= limit else ""


def _inside(reader: BoxReader, at: int, end: int, kind: bytes) -> Iterator[Box]:
    return (box for box in reader.run(at, end) if box.kind == kind)


def _word(kind: bytes) -> str:
    return _WORDS.get(kind, kind.decode("latin-1"))
