"""What a media format is, and which formats there are.

A format is a small object that recognises a file by its first bytes. What more it can do is said by the
methods that it has: `SupportsStamp` (carry our marker) and `SupportsPreview` (be shown small). Ours and a
stranger's come in by the same door, the entry point ``comfyvn.media``.
"""

from __future__ import annotations

import functools
import importlib.metadata
import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO, Final, Literal, Protocol, runtime_checkable

from comfyvn.errors import PreviewFailed
from comfyvn.model import PreviewKind

__all__ = [
    "DATA",
    "HEAD_BYTES",
    "RECIPES",
    "MediaFormat",
    "Part",
    "PreviewLimits",
    "SupportsPreview",
    "SupportsStamp",
    "formats",
    "recognise",
    "render",
    "unavailable",
]

log = logging.getLogger(__name__)

GROUP: Final = "comfyvn.media"
HEAD_BYTES: Final = 64
"""How much of a file a format is shown to recognise it by."""
DATA: Final = "data"
"""The format name of a file that no format claims."""

RECIPES: Final[Mapping[PreviewKind, int]] = MappingProxyType({"thumbnail": 1, "waveform": 1})
"""The version of each way to make a preview; one more whenever the same file would give another result."""

_OURS: Final = (
    EntryPoint("png", "comfyvn.media.png:PngFormat", GROUP),
    EntryPoint("images", "comfyvn.media.images:ImageFormat", GROUP),
    EntryPoint("wav", "comfyvn.media.wav:WavFormat", GROUP),
)


@dataclass(frozen=True, slots=True)
class PreviewLimits:
    """Upper limits for a preview: pixels of the picture it is made from, columns of a waveform."""

    pixels: int = 64_000_000
    waveform_points: int = 512


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of a file, as a format that can be stamped takes it apart.

    ``content`` belongs to the digest; ``marker`` is a marker of ours, ``data`` as it stands in the file and
    ``value`` what it says; ``slot`` has no bytes and says that a marker belongs here.
    """

    role: Literal["content", "marker", "slot"]
    data: bytes | memoryview = b""
    value: bytes = b""


@runtime_checkable
class MediaFormat(Protocol):
    """A family of files. ``name`` is one lower-case word; ``preview_kind`` is None when it has no preview."""

    @property
    def name(self) -> str:
        """The name under which the format is recorded, such as ``png``."""

    @property
    def preview_kind(self) -> PreviewKind | None:
        """What kind of preview a file of this format has."""

    def sniff(self, head: bytes, name: str) -> bool:
        """Tell whether a file is of this format.

        Args:
            head: its first 64 bytes, fewer when the file is shorter. These decide wherever they can.
            name: its file name or ``""``; for formats whose content has no signature.
        """


@runtime_checkable
class SupportsStamp(MediaFormat, Protocol):
    """A format whose files can carry our marker without any other byte changing its meaning."""

    def split(self, blocks: Iterable[bytes]) -> Iterator[Part]:
        """Take a file apart into content, markers and at most one slot.

        The data of all parts, one after the other, is the file, byte for byte. A marker written at the slot
        is found as the only one when the markers are left out. Memory stays bounded by the block. A damaged
        file is content from the damage on and never an error.
        """

    def encode_marker(self, value: bytes) -> bytes:
        """Return the bytes that stand in the file for a marker with this value.

        Their number depends on the length of the value only.

        Raises:
            ValueError: the format can't hold this value.
        """


@runtime_checkable
class SupportsPreview(MediaFormat, Protocol):
    """A format whose files can be shown small."""

    def preview(self, file: BinaryIO, limits: PreviewLimits) -> dict[str, bytes]:
        """Make the preview files, named as `comfyvn.model.preview_names` names them.

        Args:
            file: seekable, at its start; stays open.
            limits: how much may be read and made.

        Raises:
            PreviewFailed: the file is damaged, too large, or needs a library that is not installed.
        """

    def unavailable(self) -> str | None:
        """Say in one sentence why previews can't be made here, None when they can. Loads no library."""


@functools.cache
def formats() -> tuple[MediaFormat, ...]:
    """Return every format of this installation, ours first: a stranger never takes over a file of theirs.

    Looked up once. A format that can't be loaded is logged with its traceback and left out.
    """
    loaded: dict[str, MediaFormat] = {}
    for point in _entry_points():
        found = _load(point)
        if found is None:
            continue
        if found.name in loaded or found.name == DATA:
            log.error("media format %s: the name %r is taken; it is left out", point.value, found.name)
            continue
        loaded[found.name] = found
    return tuple(loaded.values())


def recognise(head: bytes, name: str = "") -> MediaFormat | None:
    """Return the first format that claims a file with these first bytes, None when it is plain data."""
    for candidate in formats():
        try:
            if candidate.sniff(head[:HEAD_BYTES], name):
                return candidate
        except Exception:  # a stranger's code: his mistake must not stop anybody's file
            log.exception("media format %s failed to look at a file; it is passed over", candidate.name)
    return None


def render(source: Path | BinaryIO, kind: PreviewKind, limits: PreviewLimits) -> dict[str, bytes]:
    """Make the preview files of one file.

    Args:
        source: a path, or a seekable binary file (read from its start, left open).
        kind: which kind of preview.
        limits: how much may be read and made.

    Returns:
        ``{"256": WebP, "512": WebP}`` for a thumbnail, ``{"waveform": JSON}`` for a waveform.

    Raises:
        PreviewFailed: whatever went wrong, in one sentence.
    """
    try:
        if isinstance(source, Path):
            with source.open("rb") as file:
                return _render(file, source.name, kind, limits)
        return _render(source, "", kind, limits)
    except OSError as error:
        # The reason is shown to people and over REST, so it names no path.
        raise PreviewFailed(why=f"the file can't be read: {error.strerror or error}") from error


def unavailable(kind: PreviewKind) -> str | None:
    """Say in one sentence why previews of this kind can't be made here, None when they can.

    Loads neither Pillow nor NumPy.
    """
    reasons = []
    for candidate in formats():
        if candidate.preview_kind == kind and isinstance(candidate, SupportsPreview):
            reason = candidate.unavailable()
            if reason is None:
                return None
            reasons.append(reason)
    return reasons[0] if reasons else f"no installed format makes previews of the kind {kind!r}"


def _render(file: BinaryIO, name: str, kind: PreviewKind, limits: PreviewLimits) -> dict[str, bytes]:
    file.seek(0)
    head = file.read(HEAD_BYTES)
    file.seek(0)
    if not head:
        raise PreviewFailed(why="the file is empty")
    found = recognise(head, name)
    if not isinstance(found, SupportsPreview) or found.preview_kind != kind:
        raise PreviewFailed(why=f"this file is not of a format that has a {kind}")
    reason = found.unavailable()
    if reason is not None:
        raise PreviewFailed(why=reason)
    try:
        return found.preview(file, limits)
    except PreviewFailed:
        raise
    except Exception as error:  # a stranger's code: a preview never stops anything else
        log.exception("media format %s failed to make a preview", found.name)
        raise PreviewFailed(why=f"the format {found.name} failed on it ({type(error).__name__})") from error


def _entry_points() -> list[EntryPoint]:
    """Return ours, each once (also without package metadata, or with it twice), then the strangers'."""
    ours = {point.value for point in _OURS}
    found = {point.value: point for point in importlib.metadata.entry_points(group=GROUP)}
    strangers = [point for value, point in found.items() if value not in ours]
    return [*_OURS, *sorted(strangers, key=lambda point: (point.name, point.value))]


def _load(point: EntryPoint) -> MediaFormat | None:
    try:
        made = point.load()()
        if not isinstance(made, MediaFormat) or not isinstance(made.name, str):
            raise TypeError(f"{point.value} has no name, preview_kind and sniff(head, name)")
    except Exception:  # a stranger's code: it may raise anything while it is imported
        log.exception("media format %s can't be loaded; it is left out", point.value)
        return None
    return made


def blocks_of(source: BinaryIO, block_bytes: int = 1 << 20) -> Iterator[bytes]:
    """Yield a file from its start to its end in blocks of at most 1 MiB, the first with the whole head."""
    if source.seekable():
        source.seek(0)
    first = source.read(block_bytes)
    while 0 < len(first) < HEAD_BYTES and (more := source.read(HEAD_BYTES - len(first))):
        first += more  # a raw file may give less than was asked for
    block = first
    while block:
        yield block
        block = source.read(block_bytes)
