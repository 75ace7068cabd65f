"""WAVE sound: the waveform preview.

Format: RIFF WAVE (Multimedia Programming Interface and Data Specifications 1.0, 1991); WAVE_FORMAT_EXTENSIBLE
(Microsoft, Multiple Channel Audio Data and WAVE Files); RF64 / BW64 (EBU Tech 3306, ITU-R BS.2088).
"""

from __future__ import annotations

import importlib.util
import io
import json
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from comfyvn.errors import PreviewFailed
from comfyvn.media.formats import PreviewLimits, Rendered
from comfyvn.model import PreviewKind

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["WavFormat"]

_PCM: Final = 0x0001
_FLOAT: Final = 0x0003
_EXTENSIBLE: Final = 0xFFFE
_COMPRESSIONS: Final = {
    0x0002: "Microsoft ADPCM",
    0x0006: "A-law",
    0x0007: "mu-law",
    0x0011: "IMA ADPCM",
    0x0031: "GSM 6.10",
    0x0050: "MPEG",
    0x0055: "MP3",
    0x00FF: "AAC",
    0x0161: "Windows Media Audio",
}
_CONTAINERS: Final = {_PCM: (1, 2, 3, 4), _FLOAT: (4, 8)}
_UNKNOWN_LENGTH: Final = 0xFFFFFFFF
_KNOWN_CHUNKS: Final = frozenset(
    (
        b"LIST",
        b"id3 ",
        b"ID3 ",
        b"fact",
        b"cue ",
        b"smpl",
        b"inst",
        b"bext",
        b"iXML",
        b"_PMX",
        b"JUNK",
        b"PAD ",
    )
)
_BLOCK_BYTES: Final = 1 << 20
_CHUNK_COUNT_LIMIT: Final = 10_000


class WavFormat:
    """RIFF WAVE, RF64 and BW64: has a waveform."""

    name: Final = "wav"
    preview_kind: PreviewKind | None = "waveform"

    def sniff(self, head: bytes, name: str) -> bool:
        """Tell a WAVE file by its two signatures."""
        return head[:4] in (b"RIFF", b"RF64", b"BW64") and head[8:12] == b"WAVE"

    def preview(self, file: BinaryIO, limits: PreviewLimits) -> Rendered:
        """Make the waveform: ``{"waveform": JSON}``.

        The JSON has ``kind``, ``channels``, ``sample_rate`` (Hz), ``duration_s`` and ``points``: for each
        column the largest absolute value over all of its frames and channels, 0 to 1, relative to the clip's
        own peak, four decimals; all zeros for silence. Every frame belongs to exactly one column. Memory
        stays at a few MiB.

        Raises:
            PreviewFailed: compressed, damaged, or no sound in it.
        """
        try:
            sound = _locate(file)
            points = _points(file, sound, limits.waveform_points)
        except (OSError, struct.error, MemoryError) as error:
            raise PreviewFailed(why=f"the sound can't be read ({error})") from error
        waveform = {
            "kind": "waveform",
            "channels": sound.channels,
            "sample_rate": sound.sample_rate_hz,
            "duration_s": round(sound.frames / sound.sample_rate_hz, 6),
            "points": points,
        }
        return Rendered({"waveform": json.dumps(waveform, separators=(",", ":")).encode("ascii")})

    def unavailable(self) -> str | None:
        """Say whether NumPy is missing, without loading it."""
        if "numpy" in sys.modules:
            is_here = sys.modules["numpy"] is not None
        else:
            is_here = importlib.util.find_spec("numpy") is not None
        return None if is_here else "NumPy is not installed: pip install numpy"


@dataclass(frozen=True, slots=True)
class _Layout:
    """How samples are stored: the ``fmt`` chunk, checked."""

    tag: int
    channels: int
    sample_rate_hz: int
    sample_bytes: int

    @property
    def frame_bytes(self) -> int:
        return self.channels * self.sample_bytes


@dataclass(frozen=True, slots=True)
class _Sound:
    """Where the samples lie: a layout, the offset of the first frame, the number of frames."""

    layout: _Layout
    offset: int
    frames: int

    @property
    def channels(self) -> int:
        return self.layout.channels

    @property
    def sample_rate_hz(self) -> int:
        return self.layout.sample_rate_hz


def _locate(file: BinaryIO) -> _Sound:
    """Walk the chunks up to the samples."""
    size_bytes = file.seek(0, io.SEEK_END)
    layout: _Layout | None = None
    wide_length: int | None = None
    at = 12
    for _ in range(_CHUNK_COUNT_LIMIT):
        file.seek(at)
        header = file.read(8)
        if len(header) < 8:
            break
        kind, length = struct.unpack("<4sI", header)
        if kind == b"ds64" and length >= 16:
            wide_length = struct.unpack("<8xQ", file.read(16))[0]
        elif kind == b"fmt ":
            layout = _parse_layout(file.read(min(length, 40)))
        elif kind == b"data":
            if layout is None:
                raise PreviewFailed(why="the WAVE file is damaged: no fmt chunk before its samples")
            length = _data_length(file, length, wide_length, size_bytes - at - 8)
            return _Sound(layout, at + 8, length // layout.frame_bytes)
        at += 8 + length + length % 2
    raise PreviewFailed(why="the WAVE file is damaged: it has no samples (no data chunk)")


def _data_length(file: BinaryIO, stated: int, wide: int | None, available: int) -> int:
    """Return how many bytes of samples there are.

    A program that streams, or was stopped, leaves the length at 0 or 0xFFFFFFFF; what is there then is the
    sound, unless it is plainly the next chunk of an empty clip.
    """
    if stated == _UNKNOWN_LENGTH:
        stated = wide or available
    elif stated == 0:
        is_empty = file.read(4) in _KNOWN_CHUNKS
        stated = 0 if is_empty else available
    return max(0, min(stated, available))


def _parse_layout(fmt: bytes) -> _Layout:
    """Check a ``fmt`` chunk.

    Raises:
        PreviewFailed: compressed, or numbers that can't be true.
    """
    if len(fmt) < 16:
        raise PreviewFailed(why="the WAVE file is damaged: its fmt chunk is too short")
    tag, channels, rate, _, frame_bytes, bits = struct.unpack_from("<HHIIHH", fmt)
    if tag == _EXTENSIBLE:
        if len(fmt) < 40:
            raise PreviewFailed(why="the WAVE file is damaged: its extensible fmt chunk is too short")
        tag = struct.unpack_from("<H", fmt, 24)[0]
    if tag not in _CONTAINERS:
        name = _COMPRESSIONS.get(tag, "a compression that we don't know")
        raise PreviewFailed(why=f"the WAVE file is compressed (format tag 0x{tag:04X}, {name})")
    if not channels or not rate:
        raise PreviewFailed(why=f"the WAVE file is damaged: {channels} channels at {rate} Hz")
    sample_bytes, left_over = divmod(frame_bytes, channels)
    if left_over or sample_bytes not in _CONTAINERS[tag] or not 1 <= bits <= sample_bytes * 8:
        why = f"{channels} channels of {bits} bit in {frame_bytes} bytes a frame"
        raise PreviewFailed(why=f"the WAVE file is damaged: {why}")
    return _Layout(tag, channels, rate, sample_bytes)


def _points(file: BinaryIO, sound: _Sound, wanted: int) -> list[float]:
    """Return the peak of each column, relative to the largest."""
    columns = max(0, min(wanted, sound.frames))
    if not columns:
        return []
    peaks: list[float] = [0] * columns
    edges = [column * sound.frames // columns for column in range(columns + 1)]
    first = 0
    column = 0
    for samples in _blocks(file, sound):
        frames = len(samples) // sound.channels
        while edges[column + 1] <= first:
            column += 1
        starts = [0]
        at = column + 1
        while edges[at] < first + frames:
            starts.append((edges[at] - first) * sound.channels)
            at += 1
        for offset, peak in enumerate(_peaks(samples, starts)):
            peaks[column + offset] = max(peaks[column + offset], peak)
        first += frames
    loudest = max(peaks)
    return [round(peak / loudest, 4) if loudest else 0.0 for peak in peaks]


def _blocks(file: BinaryIO, sound: _Sound) -> Iterator[NDArray[Any]]:
    """Yield the samples, channels interleaved, in blocks of whole frames of about 1 MiB."""
    frame_bytes = sound.layout.frame_bytes
    left = sound.frames * frame_bytes
    step = max(1, _BLOCK_BYTES // frame_bytes) * frame_bytes
    file.seek(sound.offset)
    while left > 0:
        raw = file.read(min(step, left))
        raw = raw[: len(raw) - len(raw) % frame_bytes]
        if not raw:  # the file became shorter meanwhile
            return
        left -= len(raw)
        yield _decode(raw, sound.layout)


def _decode(raw: bytes, layout: _Layout) -> NDArray[Any]:
    """Return samples as numbers around zero, in a type of their own width."""
    import numpy as np

    if layout.tag == _FLOAT:
        return np.frombuffer(raw, dtype=f"<f{layout.sample_bytes}")
    if layout.sample_bytes == 1:  # the one width that is unsigned: 128 is silence
        return (np.frombuffer(raw, dtype=np.uint8) ^ np.uint8(0x80)).view(np.int8)
    if layout.sample_bytes == 3:
        wide = np.zeros((len(raw) // 3, 4), dtype=np.uint8)
        wide[:, 1:] = np.frombuffer(raw, dtype=np.uint8).reshape(-1, 3)
        return wide.reshape(-1).view("<i4")
    return np.frombuffer(raw, dtype=f"<i{layout.sample_bytes}")


def _peaks(samples: NDArray[Any], starts: list[int]) -> list[float]:
    """Return the largest absolute value of each stretch that begins at one of ``starts``.

    The smallest and largest are found in the samples' own type, where the absolute value of the lowest number
    does not exist; the sign is dropped in Python's numbers.
    """
    import numpy as np

    if samples.dtype.kind == "f" and not np.isfinite(samples).all():
        samples = np.nan_to_num(samples, nan=0.0, posinf=0.0, neginf=0.0)
    highest = np.maximum.reduceat(samples, starts).tolist()
    lowest = np.minimum.reduceat(samples, starts).tolist()
    return [max(high, -low) for high, low in zip(highest, lowest, strict=True)]
