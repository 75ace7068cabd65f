"""What a media format is, and which formats there are.

A format is a small object that recognises a file by its first bytes. What more it can do is said by the
methods that it has: `SupportsStamp` (carry our marker), `SupportsProbe` (tell facts such as width and
duration), `SupportsTexts` (tell the texts that it holds), `SupportsClean` (be copied without them),
`SupportsPreview` (be shown small) and `TellsKind` (has more than one kind of preview). Ours and a stranger's
come in by the same door, the entry point ``comfyvn.formats``.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Protocol, TypeGuard, runtime_checkable

from comfyvn.errors import PreviewFailed
from comfyvn.model import PreviewKind

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from comfyvn.media.clean import Cleaning
    from comfyvn.media.embedded import TextCollector

__all__ = [
    "DATA",
    "FACTS_RECIPE",
    "HEAD_BYTES",
    "MARKER_NAME",
    "RECIPES",
    "SPLICE_BYTES",
    "Layout",
    "MediaFormat",
    "PreviewLimits",
    "Rendered",
    "Splice",
    "SupportsClean",
    "SupportsPreview",
    "SupportsProbe",
    "SupportsStamp",
    "SupportsTexts",
    "TellsKind",
    "can_clean",
    "can_probe",
    "can_show",
    "can_stamp",
    "can_tell_texts",
    "formats",
    "is_installed",
    "kind_of",
    "numpy_unavailable",
    "probe",
    "read_at",
    "recognise",
    "render",
    "tells_kind",
    "unavailable",
]

log = logging.getLogger(__name__)

GROUP: Final = "comfyvn.formats"
HEAD_BYTES: Final = 64
"""How much of a file a format is shown to recognise it by."""
MARKER_NAME: Final = "comfyvn_provenance"
"""What our marker is called in every format that names its tags."""
SPLICE_BYTES: Final = 16 * 1024 * 1024
"""How much of a file may lie in its splices: they are held in memory while the file is copied."""
DATA: Final = "data"
"""The format name of a file that no format claims."""

RECIPES: Final[Mapping[PreviewKind, int]] = MappingProxyType({"thumbnail": 2, "waveform": 1, "animation": 1})
"""The version of each way to make a preview; one more whenever the same file would give another result."""
FACTS_RECIPE: Final = 1
"""The version of the reading of facts; one more whenever the same file would tell other ones."""

_OURS: Final = (
    "comfyvn.media.png:PngFormat",
    "comfyvn.media.jpeg:JpegFormat",
    "comfyvn.media.webp:WebpFormat",
    "comfyvn.media.gif:GifFormat",
    "comfyvn.media.heif:AvifFormat",
    "comfyvn.media.heif:HeicFormat",
    "comfyvn.media.heif:JxlFormat",
    "comfyvn.media.images:TiffFormat",
    "comfyvn.media.images:BmpFormat",
    "comfyvn.media.wav:WavFormat",
    "comfyvn.media.flac:FlacFormat",
    "comfyvn.media.ogg:OggFormat",
    "comfyvn.media.aiff:AiffFormat",
    "comfyvn.media.mp3:Mp3Format",
    "comfyvn.media.mp3:AacFormat",
    "comfyvn.media.mp4:Mp4Format",
    "comfyvn.media.matroska:MatroskaFormat",
    "comfyvn.media.video:AviFormat",
    "comfyvn.media.video:MpegFormat",
    "comfyvn.media.rare:PsdFormat",
    "comfyvn.media.rare:IcoFormat",
    "comfyvn.media.rare:DdsFormat",
    "comfyvn.media.rare:Jpeg2000Format",
    "comfyvn.media.rare:QoiFormat",
    "comfyvn.media.rare:TgaFormat",
)
"""Where our formats are: module and class."""


@dataclass(frozen=True, slots=True)
class PreviewLimits:
    """Upper limits for a preview.

    ``pixels`` of the picture (or frame) it is made from; ``waveform_points``: columns of a waveform;
    ``frames``: how many frames of an animation are looked at.
    """

    pixels: int = 64_000_000
    waveform_points: int = 512
    frames: int = 600


@dataclass(frozen=True, slots=True)
class Rendered:
    """The files of a preview, named as `comfyvn.model.preview_names` names them, and facts that were learned
    on the way (see `SupportsProbe`)."""

    files: Mapping[str, bytes]
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Splice:
    """A stretch of a file that differs with and without our marker.

    ``data`` is what stands in the file at ``offset``, ``bare`` what stands there when no marker is in the
    file, and ``stamped(value)`` what stands there when a marker with this value is. The length of
    ``stamped(value)`` depends on the length of the value only. The marker itself is such a stretch; so are
    the lengths, counts and check sums around it.
    """

    offset: int
    data: bytes
    bare: bytes
    stamped: Callable[[bytes], bytes]


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a file's marker is or would be.

    ``splices`` are in order and don't overlap; `SPLICE_BYTES` is their limit. ``marker`` is the value of the
    marker that is there. ``refusal`` says in one clause why the file can't be stamped, such as "it is signed
    with content credentials"; its splices still leave out the markers that are there.
    """

    splices: tuple[Splice, ...] = ()
    marker: bytes | None = None
    refusal: str | None = None


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

    def layout(self, file: BinaryIO) -> Layout:
        """Find the marker of a file, or the place for it, by a look at its structure; nothing is decoded.

        The splices are complete: the file with their ``bare`` in place of their ``data`` is what it was
        before it was stamped, byte for byte, and with their ``stamped(value)`` it has this marker and no
        other. A damaged file is never an error: it has no splices, or a refusal.

        Args:
            file: seekable, at any position.

        Raises:
            OSError: the file can't be read.
        """


@runtime_checkable
class SupportsProbe(MediaFormat, Protocol):
    """A format whose files tell facts."""

    def probe(self, file: BinaryIO) -> dict[str, Any]:
        """Return facts for ``meta.media``, as JSON values: ``width``, ``duration_s`` and the like.

        ``docs/media.md`` lists their names. Unknown is left out, never guessed.

        Args:
            file: seekable, at its start; stays open.

        Raises:
            PreviewFailed: the file is damaged, or a library is missing.
        """


@runtime_checkable
class SupportsTexts(MediaFormat, Protocol):
    """A format whose files hold texts beside pixels or sound."""

    def texts(self, found: TextCollector) -> None:
        """Take up the texts of a file, by a look at its structure; nothing is decoded.

        ``comfyvn.media.embedded`` lists places and names. What is damaged is left out, never an error.

        Args:
            found: has the file, seekable and at any position, and takes up the texts.

        Raises:
            OSError: the file can't be read.
            Enough: by ``found``, when the limits are reached; let it pass.
        """


@runtime_checkable
class SupportsClean(MediaFormat, Protocol):
    """A format of whose files a copy can be made that has nothing but picture, sound or film."""

    def clean(self, file: BinaryIO) -> Cleaning:
        """Tell what a clean copy is made of, by an allow-list of what the format needs; nothing is decoded.

        A clean copy is clean itself: of it nothing is left out, and all of it stays.

        Args:
            file: seekable, at any position.

        Raises:
            CantClean: the file is damaged, signed, or has parts of which that can't be told.
            OSError: it can't be read.
        """


@runtime_checkable
class SupportsPreview(MediaFormat, Protocol):
    """A format whose files can be shown small."""

    def preview(self, file: BinaryIO, limits: PreviewLimits) -> Rendered:
        """Make the files of the preview, of the kind that the file has.

        Args:
            file: seekable, at its start; stays open.
            limits: how much may be read and made.

        Raises:
            PreviewFailed: the file is damaged, too large, or needs a library that is not installed.
        """

    def unavailable(self) -> str | None:
        """Say in one sentence why previews can't be made here, None when they can. Loads no library."""


@runtime_checkable
class TellsKind(MediaFormat, Protocol):
    """A format with files of more than one kind of preview, such as still and animated pictures."""

    def kind_of(self, file: BinaryIO) -> PreviewKind | None:
        """Return the kind of this file's preview, by a look at its structure; ``preview_kind`` in doubt.

        Args:
            file: seekable, at any position.

        Raises:
            OSError: the file can't be read.
        """


def can_stamp(found: object) -> TypeGuard[SupportsStamp]:
    """Tell whether files of a format can carry our marker."""
    return _is(found, SupportsStamp)


def can_probe(found: object) -> TypeGuard[SupportsProbe]:
    """Tell whether files of a format tell facts."""
    return _is(found, SupportsProbe)


def can_show(found: object) -> TypeGuard[SupportsPreview]:
    """Tell whether files of a format can be shown small."""
    return _is(found, SupportsPreview)


def can_tell_texts(found: object) -> TypeGuard[SupportsTexts]:
    """Tell whether files of a format hold texts."""
    return _is(found, SupportsTexts)


def can_clean(found: object) -> TypeGuard[SupportsClean]:
    """Tell whether clean copies can be made of files of a format."""
    return _is(found, SupportsClean)


def tells_kind(found: object) -> TypeGuard[TellsKind]:
    """Tell whether a format has files of more than one kind of preview."""
    return _is(found, TellsKind)


_abilities: dict[tuple[type, type], bool] = {}


def _is(found: object, ability: type) -> bool:
    """Answer as `isinstance` does, which takes 20 µs for a protocol and is asked several times a file."""
    key = type(found), ability
    if key not in _abilities:
        _abilities[key] = isinstance(found, ability)
    return _abilities[key]


def formats() -> Iterator[MediaFormat]:
    """Yield every format of this installation, ours first: a stranger never takes over a file of theirs.

    Each is loaded when it is its turn, and once. A format that can't be loaded is logged with its traceback
    and left out.
    """
    for value in _OURS:
        if (found := _ours(value)) is not None:
            yield found
    yield from _strangers()


def recognise(head: bytes, name: str = "") -> MediaFormat | None:
    """Return the first format that claims a file with these first bytes, None when it is plain data."""
    head = head[:HEAD_BYTES]
    for candidate in formats():
        try:
            if candidate.sniff(head, name):
                return candidate
        except Exception:  # a stranger's code: his mistake must not stop anybody's file
            log.exception("media format %s failed to look at a file; it is passed over", candidate.name)
    return None


def render(source: Path | BinaryIO, kind: PreviewKind, limits: PreviewLimits, *, name: str = "") -> Rendered:
    """Make the preview files of one file.

    Args:
        source: a path, or a seekable binary file (read from its start, left open).
        kind: which kind of preview.
        limits: how much may be read and made.
        name: the file's name, for formats that can't be told by their content.

    Returns:
        Files as `comfyvn.model.preview_names` names them, and the facts that came to light.

    Raises:
        PreviewFailed: whatever went wrong, in one sentence.
    """
    try:
        if isinstance(source, Path):
            with source.open("rb") as file:
                return _render(file, name or source.name, kind, limits)
        return _render(source, name, kind, limits)
    except OSError as error:
        # The reason is shown to people and over REST, so it names no path.
        raise PreviewFailed(why=f"the file can't be read: {error.strerror or error}") from error


def probe(source: BinaryIO, *, name: str = "") -> dict[str, Any]:
    """Return what a file tells about itself, ``{}`` where that is nothing or it can't be read."""
    found = recognise(read_at(source, 0, HEAD_BYTES), name)
    if not can_probe(found):
        return {}
    source.seek(0)
    try:
        return found.probe(source)
    except PreviewFailed:
        return {}
    except Exception:  # foreign code, ours or a stranger's: facts never stop anything else
        log.exception("media format %s failed to tell facts", found.name)
        return {}


def kind_of(found: MediaFormat | None, file: BinaryIO) -> PreviewKind | None:
    """Return the kind of preview that a file of a format has."""
    if found is None:
        return None
    if tells_kind(found):
        try:
            return found.kind_of(file)
        except OSError:
            raise
        except Exception:  # a stranger's code: his mistake must not stop anybody's file
            log.exception("media format %s failed to tell the kind of a file", found.name)
    return found.preview_kind


def unavailable(kind: PreviewKind) -> str | None:
    """Say in one sentence why previews of this kind can't be made here, None when they can.

    Loads neither Pillow nor NumPy.
    """
    reasons = []
    for candidate in formats():
        is_of_kind = candidate.preview_kind == kind or (kind == "animation" and tells_kind(candidate))
        if is_of_kind and can_show(candidate):
            reason = candidate.unavailable()
            if reason is None:
                return None
            reasons.append(reason)
    return reasons[0] if reasons else f"no installed format makes previews of the kind {kind!r}"


def _render(file: BinaryIO, name: str, kind: PreviewKind, limits: PreviewLimits) -> Rendered:
    head = read_at(file, 0, HEAD_BYTES)
    if not head:
        raise PreviewFailed(why="the file is empty")
    found = recognise(head, name)
    if not can_show(found) or kind_of(found, file) != kind:
        article = "an" if kind == "animation" else "a"
        raise PreviewFailed(why=f"this file is not of a format that has {article} {kind}")
    reason = found.unavailable()
    if reason is not None:
        raise PreviewFailed(why=reason)
    file.seek(0)
    try:
        return found.preview(file, limits)
    except PreviewFailed:
        raise
    except Exception as error:  # a stranger's code: a preview never stops anything else
        log.exception("media format %s failed to make a preview", found.name)
        raise PreviewFailed(why=f"the format {found.name} failed on it ({type(error).__name__})") from error


@functools.cache
def _ours(value: str) -> MediaFormat | None:
    module, _, name = value.partition(":")
    return _made(value, lambda: getattr(importlib.import_module(module), name)())


@functools.cache
def _strangers() -> tuple[MediaFormat, ...]:
    """Return the formats that came with other packages, each once, without those of our own metadata."""
    from importlib.metadata import entry_points  # takes as long to import as all of our formats

    found = {point.value: point for point in entry_points(group=GROUP) if point.value not in _OURS}
    taken = {DATA, *(format_.name for value in _OURS if (format_ := _ours(value)) is not None)}
    loaded: list[MediaFormat] = []
    for point in sorted(found.values(), key=lambda point: (point.name, point.value)):
        made = _made(point.value, functools.partial(_make, point))
        if made is None:
            continue
        if made.name in taken:
            log.error("media format %s: the name %r is taken; it is left out", point.value, made.name)
            continue
        taken.add(made.name)
        loaded.append(made)
    return tuple(loaded)


def _make(point: EntryPoint) -> Any:
    return point.load()()


def _made(value: str, make: Callable[[], Any]) -> MediaFormat | None:
    try:
        made = make()
        if not isinstance(made, MediaFormat) or not isinstance(made.name, str):
            raise TypeError(f"{value} has no name, preview_kind and sniff(head, name)")
    except Exception:  # a stranger's code: it may raise anything while it is imported
        log.exception("media format %s can't be loaded; it is left out", value)
        return None
    return made


def is_installed(package: str) -> bool:
    """Tell whether a package can be imported, without importing it."""
    if package in sys.modules:
        return sys.modules[package] is not None
    return _is_found(package)


@functools.cache
def _is_found(package: str) -> bool:
    """Look for a package in all folders that Python imports from; each new file asks for its decoder."""
    return importlib.util.find_spec(package) is not None


def numpy_unavailable() -> str | None:
    """Say whether NumPy is missing."""
    return None if is_installed("numpy") else "NumPy is not installed: pip install numpy"


def read_at(file: BinaryIO, offset: int, length: int) -> bytes:
    """Read from a place in a file; fewer bytes only at its end, none for a length below 1."""
    if length <= 0:
        return b""
    file.seek(offset)
    data = file.read(length)
    while len(data) < length and (more := file.read(length - len(data))):
        data += more  # a raw file may give less than was asked for
    return data
