"""Sound: the waveform preview and facts of every format that PyAV decodes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from comfyvn.errors import PreviewFailed
from comfyvn.media import libav, waveform
from comfyvn.media.formats import PreviewLimits, Rendered, numpy_unavailable
from comfyvn.media.loudness import Meter, weight_of
from comfyvn.model import PreviewKind

if TYPE_CHECKING:
    from av.container import InputContainer

__all__ = ["LOUDNESS_LIMIT_S", "SoundFormat"]

_DURATION_LIMIT_S: Final = 24 * 3600
LOUDNESS_LIMIT_S: Final = 15 * 60
"""The loudness of longer sound is not measured: it would cost half of what decoding does."""
_BATCH_FRAMES: Final = 32_768
"""Of stereo; with twice as many each large array is new memory from the system, which costs more."""


class SoundFormat:
    """A sound format that PyAV decodes; what its files look like is said by the classes that inherit."""

    name: str
    preview_kind: PreviewKind | None = "waveform"

    def preview(self, file: BinaryIO, limits: PreviewLimits) -> Rendered:
        """Make the waveform: ``{"waveform": JSON}``, as `comfyvn.media.wav.WavFormat` describes it.

        The sound is decoded as a stream: two hours take no more memory than a minute. What is damaged in
        the middle is left out. Facts are those of `probe` with what decoding told: the true
        ``duration_s``, ``sample_rate`` and ``channels``, and ``loudness_lufs`` where the sound is 0.4 s to
        15 minutes long and not silent.

        Raises:
            PreviewFailed: damaged, no sound in it, longer than 24 hours, or PyAV is missing.
        """
        with libav.opened(file, "sound", pixels=limits.pixels) as container:
            facts = _facts(container)
            _check_duration(facts.get("duration_s", 0.0))
            sound = _Sound(limits.waveform_points, facts)
            for frame in _batches(libav.decoded(container, container.streams.audio[0])):
                sound.add(frame)
        facts |= sound.facts()
        made = waveform.encode(
            sound.peaks.points(),
            channels=facts["channels"],
            sample_rate_hz=facts["sample_rate"],
            duration_s=facts["duration_s"],
        )
        return Rendered({"waveform": made}, facts)

    def probe(self, file: BinaryIO) -> dict[str, Any]:
        """Return duration, sample rate, channels, codec and the file's own tags, by its header.

        Raises:
            PreviewFailed: damaged, no sound in it, or PyAV is missing.
        """
        with libav.opened(file, "sound", pixels=PreviewLimits().pixels) as container:
            return _facts(container)

    def unavailable(self) -> str | None:
        """Say whether PyAV or NumPy is missing, without loading them."""
        return libav.unavailable() or numpy_unavailable()


def _facts(container: InputContainer) -> dict[str, Any]:
    if not container.streams.audio:
        raise PreviewFailed(why="there is no sound in it")
    stream = container.streams.audio[0]
    facts = libav.sound_facts(container, stream)
    duration_s = libav.seconds(container, stream)
    if duration_s is not None:
        facts["duration_s"] = round(duration_s, 6)
    tags = libav.tags_of(container)
    return {**facts, "tags": tags} if tags else facts


def _check_duration(duration_s: float) -> None:
    if duration_s > _DURATION_LIMIT_S:
        why = f"it is {duration_s / 3600:,.1f} hours long, more than the 24 of the limit"
        raise PreviewFailed(why=why)


def _batches(frames: Iterator[Any]) -> Iterator[Any]:
    """Join a decoder's small frames to large ones: NumPy takes microseconds for each, whatever its size."""
    from av import AudioFifo

    fifo, fullest = AudioFifo(), 0
    for frame in frames:
        frame.pts = None  # a gap is no reason to refuse
        try:
            fifo.write(frame)
        except ValueError:  # a file may change in the middle, and a fifo is of one kind
            if fifo.samples:
                yield fifo.read(0)
            fifo, fullest = AudioFifo(), 0
            fifo.write(frame)
        if not fullest:
            fullest = max(1, _BATCH_FRAMES * 2 // max(2, len(frame.layout.channels)))
        if fifo.samples >= fullest:
            yield fifo.read(0)
    if fullest and fifo.samples:
        yield fifo.read(0)


class _Sound:
    """What one pass over the frames of a sound finds."""

    def __init__(self, points: int, expected: Mapping[str, Any]) -> None:
        frames = int(expected.get("duration_s", 0.0) * expected.get("sample_rate", 0))
        self.peaks = waveform.Peaks(points, frames)
        self._meter: Meter | None = None
        self._kinds: set[tuple[int, str]] = set()
        self._frames_at: Counter[int] = Counter()
        self._channels = 0

    def add(self, frame: Any) -> None:
        samples = frame.to_ndarray()
        if samples.dtype.kind == "u":  # the one width that is unsigned: 128 is silence
            samples = (samples ^ 0x80).view("i1")
        channels = [each.name for each in frame.layout.channels]
        interleaved = 1 if frame.format.is_planar else len(channels)
        self.peaks.add(samples, interleaved)
        self._frames_at[frame.sample_rate] += frame.samples
        self._channels = max(self._channels, len(channels))
        _check_duration(self._duration_s())
        self._kinds.add((frame.sample_rate, frame.layout.name))
        if self._has_loudness():
            self._meter = self._meter or Meter(frame.sample_rate, [weight_of(name) for name in channels])
            self._meter.add(samples if interleaved == 1 else samples.reshape(-1, interleaved).T)

    def facts(self) -> dict[str, Any]:
        """Return what is only known now."""
        facts = {
            "duration_s": round(self._duration_s(), 6),
            "sample_rate": self._frames_at.most_common(1)[0][0],
            "channels": self._channels,
        }
        loudness = self._meter.value() if self._meter is not None and self._has_loudness() else None
        return facts if loudness is None else {**facts, "loudness_lufs": loudness}

    def _duration_s(self) -> float:
        return sum(count / rate for rate, count in self._frames_at.items() if rate)

    def _has_loudness(self) -> bool:
        """Tell whether so far it is of one kind, and not too long."""
        return len(self._kinds) == 1 and self._duration_s() < LOUDNESS_LIMIT_S
