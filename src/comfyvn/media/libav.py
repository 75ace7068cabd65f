"""Opening sound and film with PyAV, which is FFmpeg in Python.

Only containers are opened that we know: FFmpeg also reads play lists, which make it open other files and
addresses. One decoder thread a stream, so that memory stays bounded. Tags are cleaned and bounded.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from fractions import Fraction
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from comfyvn.errors import PreviewFailed
from comfyvn.media.formats import MARKER_NAME, is_installed

if TYPE_CHECKING:
    from av.container import InputContainer

__all__ = [
    "clean_tags",
    "codec_name",
    "decoded",
    "opened",
    "seconds",
    "sound_facts",
    "tags_of",
    "unavailable",
]

_CONTAINERS: Final = "aac,aiff,avi,flac,matroska,webm,mov,mp4,mp3,mpeg,mpegvideo,ogg,wav,w64"
_TAG_LIMIT: Final = 64
_TAG_LENGTH: Final = 1_000
_NO_TAGS: Final = frozenset(
    {
        MARKER_NAME,
        "major_brand",
        "minor_version",
        "compatible_brands",
        "handler_name",
        "vendor_id",
        "duration",
    }
)
"""Entries that say how the container is built, not what is in it; and ours."""
_LOOP_TAGS: Final = {"loopstart": "loop_start", "looplength": "loop_length", "loopend": "loop_end"}
_CANONICAL_NAMES: Final = {"mp3float": "mp3", "libdav1d": "av1"}  # older PyAVs name the decoder
_PCM: Final = re.compile(r"pcm_[suf](\d+)")


def unavailable() -> str | None:
    """Say whether PyAV is missing, without loading it."""
    return None if is_installed("av") else 'PyAV is not installed: pip install "comfyvn[media]"'


@contextmanager
def opened(file: BinaryIO, what: str, *, pixels: int) -> Iterator[InputContainer]:
    """Open a file as a container, and turn whatever FFmpeg raises inside the block into a reason.

    Args:
        file: seekable; stays open.
        what: what it holds, for the reason: "sound" or "film".
        pixels: the largest frame that a decoder may make.

    Raises:
        PreviewFailed: PyAV is missing, or the file is damaged.
    """
    try:
        import av
    except ImportError as error:
        raise PreviewFailed(why=f"PyAV can't be loaded ({error})") from error
    options = {"format_whitelist": _CONTAINERS, "protocol_whitelist": "none", "max_pixels": str(pixels)}
    more: dict[str, Any] = {"options": options}
    if int(av.__version__.split(".")[0]) < 19:  # the later ones always do so
        more["metadata_errors"] = "surrogateescape"
    file.seek(0)
    try:
        with av.open(_Source(file), "r", **more) as container:
            yield container
    except PreviewFailed:
        raise
    except MemoryError as error:
        raise PreviewFailed(why=f"there is not enough memory to decode the {what}") from error
    except (av.error.FFmpegError, ValueError, LookupError, ArithmeticError) as error:
        raise PreviewFailed(why=f"the {what} is damaged or incomplete ({_short(error)})") from error


class _Source:
    """A file as PyAV sees it: without a name to guess from, and not its own to close."""

    def __init__(self, file: BinaryIO) -> None:
        self.read = file.read
        self.seek = file.seek
        self.tell = file.tell


def decoded(container: InputContainer, stream: Any, decoder: Any = None) -> Iterator[Any]:
    """Yield the frames of a stream from where the container stands, stepping over what is damaged.

    Args:
        container: open.
        stream: one of its streams.
        decoder: a codec context to use instead of the stream's own.

    Raises:
        PreviewFailed: not one frame can be decoded.
    """
    from av.error import FFmpegError

    decoder = decoder or stream.codec_context
    if decoder is None:
        raise PreviewFailed(why="this PyAV has no decoder for it")
    if not decoder.is_open:
        decoder.thread_count = 1
    packets = container.demux(stream)
    count, last = 0, "it is empty"
    while True:
        try:
            packet = next(packets, None)
        except FFmpegError as error:  # nothing can be read beyond this
            packet, last = None, _short(error)
        if packet is None:
            break
        try:
            frames = decoder.decode(packet if packet.size else None)
        except EOFError:
            break
        except FFmpegError as error:
            last = _short(error)
            continue
        count += len(frames)
        yield from frames
    if not count:
        raise PreviewFailed(why=f"nothing of its {stream.type} can be decoded ({last})")


def seconds(container: InputContainer, stream: Any) -> float | None:
    """Return how long a stream is by its header, or else the whole container; None when neither says."""
    if (stream.duration or 0) > 0 and stream.time_base:
        return float(stream.duration * Fraction(stream.time_base.numerator, stream.time_base.denominator))
    whole_us = container.duration or 0
    return whole_us / 1_000_000 if whole_us > 0 else None


def codec_name(codec: Any) -> str:
    """Return FFmpeg's name of a codec, whichever decoder is used for it: ``av1``, not ``libdav1d``."""
    name: str = getattr(codec.codec, "canonical_name", codec.name)
    return _CANONICAL_NAMES.get(name, name)


def sound_facts(container: InputContainer, stream: Any) -> dict[str, Any]:
    """Return sample rate (Hz), channels, codec, bits a sample where that is defined, and bits a second."""
    codec = stream.codec_context
    if codec is None:
        return {}
    facts = {
        "codec": codec_name(codec),
        "sample_rate": codec.sample_rate,
        "channels": len(codec.layout.channels) if codec.sample_rate else 0,
        "bit_depth": _bit_depth(codec),
        "bit_rate": codec.bit_rate,
    }
    return {name: value for name, value in facts.items() if value}


def tags_of(container: InputContainer) -> dict[str, Any]:
    """Return the file's own tags: names in lower case, text of at most 1,000 characters, 64 of them.

    ``loop_start``, ``loop_length`` and ``loop_end`` (LOOPSTART and so on, as RPG Maker reads them) are whole
    numbers: samples. Our own marker is none.
    """
    found: list[Mapping[str, str]] = [container.metadata]
    if container.format.name == "ogg":  # where each stream has tags of its own
        found.extend(stream.metadata for stream in container.streams)
    return clean_tags(pair for each in found for pair in each.items())


def clean_tags(found: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Return tags as `tags_of` describes them; of two with one name the first counts."""
    tags: dict[str, Any] = {}
    for name, value in found:
        _add_tag(tags, name, value)
    return tags


def _add_tag(tags: dict[str, Any], name: str, value: str) -> None:
    name, value = _clean(name).casefold(), _clean(value)
    is_loop = name in _LOOP_TAGS and value.isascii() and value.isdigit() and len(value) < 16
    name = _LOOP_TAGS[name] if is_loop else name
    if name and value and name not in _NO_TAGS and name not in tags and len(tags) < _TAG_LIMIT:
        tags[name] = int(value) if is_loop else value


def _clean(text: str) -> str:
    """Return text that JSON and every database take: no lone surrogates, no NUL, not too long."""
    whole = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return whole.replace("\0", "").strip()[:_TAG_LENGTH]


def _bit_depth(codec: Any) -> int | None:
    pcm = _PCM.match(codec.name)
    if pcm:
        return int(pcm[1])
    about = codec.extradata or b""
    if codec.name == "flac" and len(about) >= 14:  # STREAMINFO: its decoder only has 16 and 32
        return ((about[12] & 1) << 4 | about[13] >> 4) + 1
    return None


def _short(error: BaseException) -> str:
    """Return what FFmpeg says, without the names of its functions."""
    text = getattr(error, "strerror", None) or str(error)
    return " ".join(text.split()).rstrip(".")[:200] or type(error).__name__
