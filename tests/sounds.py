"""Sounds for the tests of markers, the law that every marker keeps, and independent readers as judges."""

from __future__ import annotations

import functools
import hashlib
import io
from typing import Any

import av
import mutagen
import numpy as np

from comfyvn.media import Reading, fill_marker, read, read_marker, strip
from encoders import encode_sound

VALUE = b'{"provenance_id":1234567890123456,"source":"a & b <c> =\'d\'","uid":"0123456789abcdef"}'
OTHER = b'{"provenance_id":1,"source":"another"}'
TAGS = {"title": "Theme", "artist": "Somebody", "LOOPSTART": "441"}


def stamp(content: bytes, value: bytes = VALUE, name: str = "") -> tuple[Reading, bytes]:
    """Return what reading found, and the copy: with the marker in it, or as it was if it can't be stamped."""
    sink = io.BytesIO()
    reading = read(io.BytesIO(content), sink, marker_bytes=len(value), name=name)
    if reading.slots:
        fill_marker(sink, reading, value)
    return reading, sink.getvalue()


def stripped(content: bytes, name: str = "") -> bytes:
    """Return a file without our markers."""
    sink = io.BytesIO()
    strip(io.BytesIO(content), sink, name=name)
    return sink.getvalue()


def marker(content: bytes, name: str = "") -> bytes | None:
    """Return the value of the marker in a file."""
    return read_marker(io.BytesIO(content), name=name)


def refusal(content: bytes, name: str = "") -> str | None:
    """Return why a file is not stamped, having checked that it is copied as it is."""
    reading, copy = stamp(content, name=name)
    assert (copy == content) == (reading.refusal is not None)
    return reading.refusal


def check_law(content: bytes, value: bytes = VALUE, name: str = "") -> bytes:
    """Check that stamping adds one marker and nothing else, and return the stamped copy.

    Raises:
        AssertionError: it does not.
    """
    bare = stripped(content, name)
    assert stripped(bare, name) == bare
    reading, stamped = stamp(content, value, name)
    again = read(io.BytesIO(stamped), name=name)
    assert reading.digest == again.digest == hashlib.sha256(bare).hexdigest()
    assert reading.size_bytes == again.size_bytes == len(bare)
    assert reading.format == again.format
    assert reading.preview_kind == again.preview_kind
    if reading.refusal is not None:
        assert stamped == content
        return stamped
    assert stripped(stamped, name) == bare
    assert again.marker == value
    assert again.refusal is None
    second, twice = stamp(stamped, OTHER, name)
    assert second.marker == value
    assert marker(twice, name) == OTHER
    assert stripped(twice, name) == bare
    if bare == content:
        assert twice == stamp(content, OTHER, name)[1]
    return stamped


@functools.cache
def music(codec: str, container: str, *, tags: bool = True, frames: int = 9_600, kind: str = "s16") -> bytes:
    """Return 0.2 s of a sine in stereo, of 48,000 Hz, encoded by FFmpeg."""
    sine = np.sin(np.arange(frames) / 20) * 0.3
    samples = np.stack([sine, -sine / 2])
    types = {"u8": "u1", "s16": "i2", "s32": "i4", "flt": "f4"}
    largest = {"u8": 127, "s16": 32_767, "s32": 2**31 - 1, "flt": 1}
    of = kind.removesuffix("p")
    scaled = (samples * largest[of] + (128 if of == "u8" else 0)).astype(types[of])
    return encode_sound(scaled, codec, container, kind=kind, metadata=TAGS if tags else None)


def heard(content: bytes) -> list[tuple[Any, bytes]]:
    """Return what FFmpeg decodes of the first stream of sound: times and samples."""
    with av.open(io.BytesIO(content)) as container:
        return [(frame.pts, frame.to_ndarray().tobytes()) for frame in container.decode(audio=0)]


def told(content: bytes) -> dict[str, str]:
    """Return the tags that FFmpeg shows, and the duration."""
    with av.open(io.BytesIO(content)) as container:
        streams = [dict(stream.metadata) for stream in container.streams]
        found = {name.lower(): text for each in (container.metadata, *streams) for name, text in each.items()}
        return found | {"duration": str(container.duration)}


def tagged(content: bytes, kind: type[Any]) -> dict[str, str]:
    """Return the tags that mutagen shows: names as it spells them, the text of each."""
    file: mutagen.FileType = kind(io.BytesIO(content))
    return {
        name: str(text[0] if isinstance(text, list) else text) for name, text in (file.tags or {}).items()
    }


def check_harmless(content: bytes, stamped: bytes) -> None:
    """Check that FFmpeg hears the same, and sees the same tags and our own besides.

    Raises:
        AssertionError: it does not.
    """
    assert heard(stamped) == heard(content) != []
    assert told(stamped) == told(content) | {"comfyvn_provenance": VALUE.decode()}


class Sparse(io.RawIOBase):
    """A file that is nearly all zeros, of any length; it counts the bytes that are read of it."""

    def __init__(self, size_bytes: int, **parts: tuple[int, bytes]) -> None:
        self.size_bytes, self.parts = size_bytes, list(parts.values())
        self.at, self.bytes_read = 0, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self.at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self.at, io.SEEK_END: self.size_bytes}[whence]
        return self.at

    def read(self, size: int = -1) -> bytes:
        left = max(0, self.size_bytes - self.at)
        data = bytearray(left if size < 0 else min(size, left))
        for offset, part in self.parts:
            for index in range(max(offset, self.at), min(offset + len(part), self.at + len(data))):
                data[index - self.at] = part[index - offset]
        self.at += len(data)
        self.bytes_read += len(data)
        return bytes(data)
