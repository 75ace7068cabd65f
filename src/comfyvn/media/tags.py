"""What the sound formats share in finding and writing the marker among a file's tags."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from comfyvn.media.embedded import Read, TextCollector, decode
from comfyvn.media.formats import MARKER_NAME

__all__ = [
    "COUNT_LIMIT",
    "SIGNED",
    "VALUE_LIMIT",
    "Comments",
    "Refusal",
    "add_comments",
    "checked",
    "damaged",
    "nothing",
]

VALUE_LIMIT: Final = 64 * 1024
"""The longest value that we write; a tag with a longer one is somebody else's."""
COUNT_LIMIT: Final = 100_000
"""How many chunks, frames, blocks, pages or comments are looked at."""
SIGNED: Final = "it is signed with content credentials (C2PA)"

_KEY: Final = MARKER_NAME.encode() + b"="
_PICTURES: Final = (b"metadata_block_picture", b"coverart")


class Refusal(Exception):
    """Why a file can't be stamped, in one clause."""


def damaged(why: str) -> Refusal:
    """Return the refusal of a damaged file."""
    return Refusal(f"it is damaged: {why}")


def checked(value: bytes, limit: int = VALUE_LIMIT) -> bytes:
    """Return a marker's value.

    Raises:
        ValueError: no text tag holds it: it is too long, has a NUL, or is not ASCII.
    """
    if len(value) > limit:
        raise ValueError(f"the marker has {len(value)} bytes, this file takes {limit}")
    if not value.isascii() or b"\0" in value:
        raise ValueError("a marker must be ASCII text without NUL bytes")
    return value


def nothing(_: bytes) -> bytes:
    """Stand for a marker of which nothing is left in a stamped file."""
    return b""


@dataclass(frozen=True, slots=True)
class Comments:
    """Where things are in a list of Vorbis comments: their number, the end of the list, our markers.

    ``vendor_bytes`` is the length of the name of the encoder; ``markers`` are stretches, from the length of a
    comment to its end; ``marker`` is the value of the first.

    Format: Ogg Vorbis I format specification: comment field and header specification (Xiph.Org), section 5.
    """

    vendor_bytes: int
    count_at: int
    count: int
    end: int
    markers: tuple[tuple[int, int], ...]
    marker: bytes | None

    @classmethod
    def find(cls, read: Callable[[int, int], bytes], at: int, end: int) -> Comments:
        """Walk a list of comments.

        Args:
            read: gives some bytes from a place on, fewer at the end.
            at: where the list begins.
            end: where it has to end at the latest.

        Raises:
            Refusal: it does not.
        """
        vendor_bytes = _number(read, at, end)
        count_at = at + 4 + vendor_bytes
        count = _number(read, count_at, end)
        if count > COUNT_LIMIT:
            raise damaged(f"it claims to have {count:,} comments")
        after = count_at + 4
        markers, marker = [], None
        for start, after in _stretches(read, count_at + 4, end, count):
            value = _marker(read, start + 4, after)
            if value is not None:
                markers.append((start, after))
                marker = value if marker is None else marker
        return cls(vendor_bytes, count_at, count, after, tuple(markers), marker)

    @staticmethod
    def encode(value: bytes, limit: int = VALUE_LIMIT) -> bytes:
        """Return the marker as a comment, its length in front."""
        comment = _KEY + checked(value, limit)
        return len(comment).to_bytes(4, "little") + comment


def add_comments(found: TextCollector, read: Read, at: int, end: int) -> None:
    """Take up the texts of a list of Vorbis comments; of a damaged list those before the damage.

    Args:
        found: takes them up.
        read: as for `Comments.find`.
        at: where the list begins.
        end: where it has to end at the latest.
    """
    with suppress(Refusal):
        count_at = at + 4 + _number(read, at, end)
        for start, after in _stretches(read, count_at + 4, end, _number(read, count_at, end)):
            key, _, text = read(start + 4, after - start - 4).partition(b"=")
            if key.lower() not in _PICTURES:
                found.add("vorbis", decode(key).lower(), decode(text))


def _stretches(read: Callable[[int, int], bytes], at: int, end: int, count: int) -> Iterator[tuple[int, int]]:
    """Yield where each comment begins, with its length, and where it ends.

    Raises:
        Refusal: they are cut short.
    """
    for _ in range(count):
        after = at + 4 + _number(read, at, end)
        if after > end:
            raise damaged("its comments are cut short")
        yield at, after
        at = after


def _number(read: Callable[[int, int], bytes], at: int, end: int) -> int:
    data = read(at, 4) if at + 4 <= end else b""
    if len(data) < 4:
        raise damaged("its comments are cut short")
    return int.from_bytes(data, "little")


def _marker(read: Callable[[int, int], bytes], at: int, end: int) -> bytes | None:
    """Return the value of a comment that is a marker of ours, whoever wrote it; its name in any case."""
    if not len(_KEY) <= end - at <= len(_KEY) + VALUE_LIMIT or read(at, len(_KEY)).lower() != _KEY:
        return None
    return read(at + len(_KEY), end - at - len(_KEY))
