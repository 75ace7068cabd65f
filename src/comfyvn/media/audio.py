"""Sound: the waveform preview and facts of every format that PyAV decodes.

Loudness: ITU-R BS.1770-4 (integrated, gated), measured by FFmpeg's filter ``ebur128``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from comfyvn.errors import PreviewFailed
from comfyvn.media import libav, waveform
from comfyvn.media.formats import PreviewLimits, Rendered, numpy_unavailable
from comfyvn.model import PreviewKind

if TYPE_CHECKING:
    from av.container import InputContainer

__all__ = ["SoundFormat", "loudness_of"]

_DURATION_LIMIT_S: Final = 24 * 3600
_LOUDNESS_LIMIT_S: Final = 15 * 60
_BATCH_FRAMES: Final = 65_536
_SILENCE_LUFS: Final = -70.0
"""Where the gate of BS.1770 is: nothing is louder than it in a silent or very short clip."""


class SoundFormat:
    """A sound format that PyAV decodes; what its files look like is said by the classes that inherit."""

    name: str
    preview_kind: PreviewKind | None = "waveform"

    def preview(self, file: BinaryIO, limits: PreviewLimits) -> Rendered:
        """Make the waveform: ``{"waveform": JSON}``, as `comfyvn.media.wav.WavFormat` describes it.

        The sound is decoded as a stream: two hours take no more memory than a minute. What is damaged in
        the middle is left out. Facts are those of `probe` with what decoding told: the true
        ``duration_s``, ``sample_rate`` and ``channels``, and ``loudness_lufs`` where the sound is 0.4 s to
        15 minutes long and not silent (beyond, measuring would cost as much as decoding).

        Raises:
            PreviewFailed: damaged, no sound in it, longer than 24 hours, or PyAV is missing.
        """
        with libav.opened(file, "sound", pixels=limits.pixels) as container:
            facts = _facts(container)
            _check_duration(facts.get("duration_s", 0.0))
            sound = _Sound(limits.waveform_points)
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


def loudness_of(file: BinaryIO) -> float | None:
    """Return the integrated loudness (LUFS) of a file whose waveform was made without PyAV.

    None when the sound is silent, shorter than 0.4 s or longer than 15 minutes, when it can't be decoded or
    PyAV is missing.
    """
    if libav.unavailable() is not None:
        return None
    meter = _Meter()
    with suppress(PreviewFailed), libav.opened(file, "sound", pixels=1) as container:
        if not container.streams.audio or (container.duration or 0) > _LOUDNESS_LIMIT_S * 1_000_000:
            return None
        for frame in _batches(libav.decoded(container, container.streams.audio[0])):
            meter.add(frame)
        return meter.value()
    return None


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

    fifo, kind, fullest = AudioFifo(), None, _BATCH_FRAMES
    for frame in frames:
        now = (frame.format.name, len(frame.layout.channels), frame.sample_rate, frame.time_base)
        if now != kind:  # a file may change in the middle, and a fifo is of one kind
            if fifo.samples if kind else 0:
                yield fifo.read(0)
            fifo, kind = AudioFifo(), now
            fullest = max(1, _BATCH_FRAMES * 2 // max(2, len(frame.layout.channels)))
        frame.pts = None  # a gap is no reason to refuse
        fifo.write(frame)
        if fifo.samples >= fullest:
            yield fifo.read(0)
    if kind and fifo.samples:
        yield fifo.read(0)


class _Sound:
    """What one pass over the frames of a sound finds."""

    def __init__(self, points: int) -> None:
        self.peaks = waveform.Peaks(points)
        self.meter = _Meter()
        self._frames_at: Counter[int] = Counter()
        self._channels = 0

    def add(self, frame: Any) -> None:
        samples = frame.to_ndarray()
        if samples.dtype.kind == "u":  # the one width that is unsigned: 128 is silence
            samples = (samples ^ 0x80).view("i1")
        channels = len(frame.layout.channels)
        self.peaks.add(samples, 1 if frame.format.is_planar else channels)
        self.meter.add(frame)
        self._frames_at[frame.sample_rate] += frame.samples
        self._channels = max(self._channels, channels)
        _check_duration(self._duration_s())

    def facts(self) -> dict[str, Any]:
        """Return what is only known now."""
        facts = {
            "duration_s": round(self._duration_s(), 6),
            "sample_rate": self._frames_at.most_common(1)[0][0],
            "channels": self._channels,
        }
        loudness = self.meter.value()
        return facts if loudness is None else {**facts, "loudness_lufs": loudness}

    def _duration_s(self) -> float:
        return sum(count / rate for rate, count in self._frames_at.items() if rate)


class _Meter:
    """Loudness of up to 15 minutes of sound of one kind."""

    def __init__(self) -> None:
        self._graph: Any = None
        self._kind: Any = None
        self._left_s = float(_LOUDNESS_LIMIT_S)
        self._value: float | None = None

    def add(self, frame: Any) -> None:
        from av.error import FFmpegError

        if self._left_s <= 0:
            return
        self._left_s -= frame.samples / (frame.sample_rate or 1)
        kind = (frame.format.name, frame.layout.name, frame.sample_rate)
        try:
            if self._kind is None:
                self._kind, self._graph = kind, _graph(*kind)
            if kind != self._kind or self._left_s <= 0:
                self._give_up()
                return
            frame.pts = None
            self._graph.push(frame)
            self._pull()
        except (FFmpegError, ValueError, AttributeError):
            self._give_up()  # channels or a rate that the filter doesn't know, or a PyAV that tells nothing

    def value(self) -> float | None:
        """Return LUFS, one decimal; None when there is nothing to tell."""
        value = self._value
        return None if value is None or value <= _SILENCE_LUFS else round(value, 1)

    def _pull(self) -> None:
        from av.error import BlockingIOError, EOFError

        with suppress(BlockingIOError, EOFError):
            while True:  # the last one has the loudness of all so far
                told = self._graph.pull().metadata.get("lavfi.r128.I")
                self._value = float(told) if told else None

    def _give_up(self) -> None:
        self._graph, self._value, self._left_s = None, None, 0.0


def _graph(sample_format: str, layout: str, rate: int) -> Any:
    from av.filter import Graph

    graph = Graph()
    if hasattr(graph, "threads"):
        graph.threads = 1
    source = graph.add_abuffer(sample_rate=rate, format=sample_format, layout=layout)
    meter = graph.add("ebur128", "metadata=1:framelog=quiet")
    sink = graph.add("abuffersink")
    source.link_to(meter)
    meter.link_to(sink)
    graph.configure()
    return graph
