"""WAVE sound: the waveform preview, facts, and the marker in the ID3 tag of an ``id3 `` chunk.

Format: RIFF WAVE (Multimedia Programming Interface and Data Specifications 1.0, 1991); WAVE_FORMAT_EXTENSIBLE
(Microsoft, Multiple Channel Audio Data and WAVE Files); RF64 / BW64 (EBU Tech 3306, ITU-R BS.2088).
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from comfyvn.errors import PreviewFailed
from comfyvn.media import id3, libav, riff, waveform
from comfyvn.media.audio import LOUDNESS_LIMIT_S, SoundFormat
from comfyvn.media.embedded import TextCollector, decode
from comfyvn.media.formats import Layout, PreviewLimits, Rendered, numpy_unavailable, read_at
from comfyvn.media.loudness import Meter, weight_of
from comfyvn.media.tags import Refusal, damaged
from comfyvn.model import PreviewKind

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from comfyvn.media.clean import Cleaning

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
_SPEAKERS: Final = (
    *("FL", "FR", "FC", "LFE", "BL", "BR", "FLC", "FRC", "BC", "SL", "SR"),
    *("TC", "TFL", "TFC", "TFR", "TBL", "TBC", "TBR"),
)
"""The meaning of the bits of a channel mask, from the lowest on, by FFmpeg's names."""
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
_TAGGED: Final = frozenset((b"LIST", b"bext", b"IDIT", b"id3 ", b"ID3 "))
"""Chunks that FFmpeg takes tags from."""
_TEXTS: Final = {
    b"IART": "artist",
    b"ICMT": "comment",
    b"ICOP": "copyright",
    b"ICRD": "date",
    b"IGNR": "genre",
    b"ILNG": "language",
    b"INAM": "title",
    b"IPRD": "album",
    b"IPRT": "track",
    b"ITRK": "track",
    b"ISFT": "encoder",
    b"ISMP": "timecode",
    b"ITCH": "encoded_by",
}
"""Names of texts as FFmpeg gives them; others keep their own."""
_INFO_LIMIT: Final = 1 << 20
_BLOCK_BYTES: Final = 1 << 18
"""Few enough that what is made of them stays in memory that the process has, and mostly in the cache."""
_CHUNK_COUNT_LIMIT: Final = 10_000
_SIZE: Final = struct.Struct("<I")
_WIDE_SIZE: Final = struct.Struct("<Q")


class WavFormat(SoundFormat):
    """RIFF WAVE, RF64 and BW64: can be stamped, has a waveform."""

    name: Final = "wav"
    preview_kind: PreviewKind | None = "waveform"

    def sniff(self, head: bytes, name: str) -> bool:
        """Tell a WAVE file by its two signatures."""
        return head[:4] in (b"RIFF", b"RF64", b"BW64") and head[8:12] == b"WAVE"

    def layout(self, file: BinaryIO) -> Layout:
        """Find our marker in the tag, or the place for it."""
        try:
            return riff.layout_of(file, _form(file))
        except Refusal as refusal:
            return Layout(refusal=str(refusal))

    def texts(self, found: TextCollector) -> None:
        """Take up the texts of lists of type INFO and of ID3 tags."""
        with suppress(Refusal):
            for chunk in riff.others(found.file, _form(found.file), _TAGGED):
                if chunk.kind.lower() == b"id3 ":
                    id3.add_texts(found, chunk.data, chunk.end)
                elif (data := found.read(chunk.data, chunk.length)).startswith(b"INFO"):
                    for name, text in _texts(data).items():
                        found.add("wav:INFO", name, decode(text.encode("utf-8", "surrogateescape")))

    def clean(self, file: BinaryIO) -> Cleaning:
        """Tell what a clean copy is made of."""
        from comfyvn.media.clean_sound import clean_riff

        return clean_riff(file, _form)

    def probe(self, file: BinaryIO) -> dict[str, Any]:
        """Return what the header tells of PCM and, with PyAV, facts of compressed sound, and all its tags.

        Loop points of a ``smpl`` chunk are told as ``loop_start`` and ``loop_length`` among the tags.
        """
        facts: dict[str, Any] = {}
        with suppress(PreviewFailed, struct.error):
            facts = _locate(file).facts()
        tags = _tags(file) if facts else None
        if tags is None:
            with suppress(PreviewFailed):
                facts = SoundFormat.probe(self, file) | facts
            if not facts:
                raise PreviewFailed(why="the WAVE file is damaged or compressed")
            tags = facts.get("tags", {})
        tags |= _loop(file)
        return facts | ({"tags": tags} if tags else {})

    def preview(self, file: BinaryIO, limits: PreviewLimits) -> Rendered:
        """Make the waveform: ``{"waveform": JSON}``.

        The JSON has ``kind``, ``channels``, ``sample_rate`` (Hz), ``duration_s`` and ``points``: for each
        column the largest absolute value over all of its frames and channels, 0 to 1, relative to the clip's
        own peak, four decimals; all zeros for silence. Every frame belongs to exactly one column. Memory
        stays at a few MiB. PCM needs NumPy alone; with PyAV, compressed sound is drawn too. The facts are
        ``loudness_lufs``, as `SoundFormat.preview` tells it.

        Raises:
            PreviewFailed: compressed in a way that can't be decoded here, or damaged.
        """
        try:
            sound = _locate(file)
            points, loudness = _measured(file, sound, limits.waveform_points)
        except _Compressed:
            with suppress(PreviewFailed):
                return SoundFormat.preview(self, file, limits)
            raise
        except (OSError, struct.error, MemoryError) as error:
            raise PreviewFailed(why=f"the sound can't be read ({error})") from error
        made = waveform.encode(
            points,
            channels=sound.channels,
            sample_rate_hz=sound.sample_rate_hz,
            duration_s=sound.frames / sound.sample_rate_hz,
        )
        return Rendered({"waveform": made}, {} if loudness is None else {"loudness_lufs": loudness})

    def unavailable(self) -> str | None:
        """Say whether NumPy is missing, without loading it."""
        return numpy_unavailable()


class _Compressed(PreviewFailed):
    __doc__ = PreviewFailed.__doc__


@dataclass(frozen=True, slots=True)
class _Layout:
    """How samples are stored: the ``fmt`` chunk, checked. ``speakers`` are bits, 0 when they aren't told."""

    tag: int
    channels: int
    sample_rate_hz: int
    sample_bytes: int
    speakers: int

    @property
    def frame_bytes(self) -> int:
        return self.channels * self.sample_bytes

    @property
    def weights(self) -> list[float]:
        """How much each channel counts for loudness."""
        told = [name for bit, name in enumerate(_SPEAKERS) if self.speakers >> bit & 1]
        return [weight_of(name) for name in told] if len(told) == self.channels else [1.0] * self.channels


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

    def facts(self) -> dict[str, Any]:
        """Return what the header tells, as `comfyvn.media.formats.SupportsProbe` names it."""
        bits = self.layout.sample_bytes * 8
        kind = "f" if self.layout.tag == _FLOAT else "u" if bits == 8 else "s"
        return {
            "codec": f"pcm_{kind}{bits}" + ("" if bits == 8 else "le"),
            "bit_depth": bits,
            "channels": self.channels,
            "sample_rate": self.sample_rate_hz,
            "bit_rate": self.sample_rate_hz * self.channels * bits,
            "duration_s": round(self.frames / self.sample_rate_hz, 6),
        }


def _form(file: BinaryIO) -> riff.Form:
    """Return how the file is put together.

    Raises:
        Refusal: its lengths are missing or contradict each other.
    """
    head = read_at(file, 0, 40)
    if len(head) < 20:
        raise damaged("it is cut short")
    stated = _SIZE.unpack(head[4:8])[0]
    if head[:4] == b"RIFF":
        if stated in (0, _UNKNOWN_LENGTH):
            raise Refusal("its length is missing, as in a file that was streamed or never finished")
        return riff.Form(12, 8 + stated, 4, _SIZE, "<", b"id3 ", b"data")
    has_long = head[12:16] == b"ds64" and len(head) == 40 and _SIZE.unpack(head[16:20])[0] >= 28
    if stated != _UNKNOWN_LENGTH or not has_long:
        raise damaged("its long lengths are missing, or there are short ones besides")
    end, sound_bytes = 8 + _WIDE_SIZE.unpack(head[20:28])[0], _WIDE_SIZE.unpack(head[28:36])[0]
    return riff.Form(12, end, 20, _WIDE_SIZE, "<", b"id3 ", b"data", sound_bytes)


def _tags(file: BinaryIO) -> dict[str, Any] | None:
    """Return the tags of a file that has none but plain text; None when it takes PyAV to tell."""
    try:
        found = riff.others(file, _form(file), _TAGGED)
    except Refusal:
        return None
    tags: dict[str, str] = {}
    for chunk in found:
        data = read_at(file, chunk.data, min(chunk.length, _INFO_LIMIT + 1))
        if chunk.kind != b"LIST" or data[:4] != b"INFO" or len(data) > _INFO_LIMIT:
            return None
        tags |= _texts(data)
    return libav.clean_tags(tags.items())


def _texts(info: bytes) -> dict[str, str]:
    """Return the texts of a list of type INFO by their names; what is cut short is left out."""
    texts: dict[str, str] = {}
    at = 4
    while at + 8 <= len(info):
        kind, length = struct.unpack_from("<4sI", info, at)
        at += 8
        if at + length > len(info):
            break
        text = info[at : at + length].partition(b"\0")[0].decode("utf-8", "surrogateescape")
        texts[_TEXTS.get(kind.upper(), kind.decode("latin-1").casefold())] = text
        at += length + length % 2
    return texts


def _loop(file: BinaryIO) -> dict[str, int]:
    """Return the first loop of a sampler chunk, in samples; ``{}`` when there is none."""
    try:
        chunk = riff.find(file, _form(file), b"smpl")
    except Refusal:
        return {}
    data = read_at(file, chunk.data, min(chunk.length, 52)) if chunk else b""
    if len(data) < 52 or not _SIZE.unpack(data[28:32])[0]:
        return {}
    first, last = struct.unpack("<II", data[44:52])
    return {"loop_start": first, "loop_length": last - first + 1} if first <= last else {}


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
    speakers = 0
    if tag == _EXTENSIBLE:
        if len(fmt) < 40:
            raise PreviewFailed(why="the WAVE file is damaged: its extensible fmt chunk is too short")
        speakers, tag = struct.unpack_from("<IH", fmt, 20)
    if tag not in _CONTAINERS:
        name = _COMPRESSIONS.get(tag, "a compression that we don't know")
        raise _Compressed(why=f"the WAVE file is compressed (format tag 0x{tag:04X}, {name})")
    if not channels or not rate:
        raise PreviewFailed(why=f"the WAVE file is damaged: {channels} channels at {rate} Hz")
    sample_bytes, left_over = divmod(frame_bytes, channels)
    if left_over or sample_bytes not in _CONTAINERS[tag] or not 1 <= bits <= sample_bytes * 8:
        why = f"{channels} channels of {bits} bit in {frame_bytes} bytes a frame"
        raise PreviewFailed(why=f"the WAVE file is damaged: {why}")
    return _Layout(tag, channels, rate, sample_bytes, speakers)


def _measured(file: BinaryIO, sound: _Sound, wanted: int) -> tuple[list[float], float | None]:
    """Return the peak of each column, and the loudness."""
    columns = max(0, min(wanted, sound.frames))
    if not columns:
        return [], None
    is_short = sound.frames < LOUDNESS_LIMIT_S * sound.sample_rate_hz
    meter = Meter(sound.sample_rate_hz, sound.layout.weights) if is_short else None
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
        for offset, peak in enumerate(waveform.peaks_of(samples, starts).tolist()):
            peaks[column + offset] = max(peaks[column + offset], peak)
        first += frames
        if meter is not None:
            meter.add(samples.reshape(-1, sound.channels).T)
    return peaks, meter.value() if meter is not None else None


def _blocks(file: BinaryIO, sound: _Sound) -> Iterator[NDArray[Any]]:
    """Yield the samples, channels interleaved, in blocks of whole frames of about 256 KiB."""
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
