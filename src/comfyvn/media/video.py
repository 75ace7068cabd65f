"""Film: poster, short animated preview and facts of every format that PyAV decodes; AVI and MPEG.

Transparency of VP8 and VP9: the second stream of WebM's BlockAdditional, which only libvpx decodes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from comfyvn.errors import PreviewFailed
from comfyvn.media import images, libav
from comfyvn.media.animation import MOVING_SIDE, encode_moving
from comfyvn.media.audio import SoundFormat
from comfyvn.media.decoding import check_size
from comfyvn.media.formats import PreviewLimits, Rendered
from comfyvn.media.frames import Shape, spread
from comfyvn.media.scaling import encode_stills, scale_down
from comfyvn.model import THUMBNAIL_SIZES, PreviewKind

if TYPE_CHECKING:
    from av.container import InputContainer
    from PIL import Image

__all__ = ["AviFormat", "FilmFormat", "MpegFormat"]

_CLIP_S: Final = 3.0
_WHOLE_S: Final = 4.5
"""A film this short is shown whole: many are made to be looped."""
_CLIP_FRAMES: Final = 30
_SEARCH_S: Final = 10.0
_SEARCH_STEP_S: Final = 0.5
_LATER: Final = (0.1, 0.3, 0.6)
"""Where to look for a poster, as shares of the film, when its first seconds show nothing."""
_SPREAD: Final = 16.0
"""The standard deviation of luma (0 to 255) from which a frame shows something."""
_PIXEL_BUDGET: Final = 1_000_000_000
"""How many pixels are decoded for a preview: 480 frames of 1920 x 1080."""

_ATTACHED_PICTURE: Final = 0x400  # AV_DISPOSITION_ATTACHED_PIC: a cover
_ALPHA_DECODERS: Final = {"vp8": "libvpx", "vp9": "libvpx-vp9"}


class FilmFormat(SoundFormat):
    """A film format that PyAV decodes; what its files look like is said by the classes that inherit."""

    preview_kind: PreviewKind | None = "animation"

    def kind_of(self, file: BinaryIO) -> PreviewKind | None:
        """Tell a film from a container with sound only."""
        return self.preview_kind

    def preview(self, file: BinaryIO, limits: PreviewLimits) -> Rendered:
        """Make ``{"256", "512"}``, a poster, and ``"animation"``, a few seconds of the film.

        The poster is the first frame in the first ten seconds that shows something: black, white and faded
        frames are passed over. The animation starts there, is about three seconds long in 30 frames, at most
        256 px and 500 kB; a film of up to 4.5 s is shown whole. Both are upright, with square pixels and
        with the transparency that the film has. A container with sound only has a waveform.

        Raises:
            PreviewFailed: damaged, no picture in it, frames larger than the limit, or PyAV is missing.
        """
        if self.kind_of(file) == "waveform":
            return super().preview(file, limits)
        with libav.opened(file, "film", pixels=limits.pixels) as container:
            film = _Film(container, limits)
            poster, start_s = film.poster()
            clip = film.clip(poster, start_s)
            facts = film.facts()
        return Rendered({**encode_stills(poster), "animation": encode_moving(*clip)}, facts)

    def probe(self, file: BinaryIO) -> dict[str, Any]:
        """Return size as shown, duration, frame rate, codecs, has-alpha and the file's own tags.

        One frame is decoded: only it tells how the film is turned.

        Raises:
            PreviewFailed: damaged, no picture in it, or PyAV is missing.
        """
        if self.kind_of(file) == "waveform":
            return super().probe(file)
        limits = PreviewLimits()
        with libav.opened(file, "film", pixels=limits.pixels) as container:
            film = _Film(container, limits)
            with suppress(PreviewFailed):
                next(film.frames(0.0), None)
            return film.facts()

    def unavailable(self) -> str | None:
        """Say whether PyAV or Pillow is missing, without loading them."""
        return super().unavailable() or images.pillow_unavailable()


class AviFormat(FilmFormat):
    """AVI (Microsoft, AVI RIFF File Reference): has a poster and an animation, carries no marker."""

    name = "avi"

    def sniff(self, head: bytes, name: str) -> bool:
        """Tell an AVI file by its two signatures."""
        return head.startswith(b"RIFF") and head[8:12] == b"AVI "


class MpegFormat(FilmFormat):
    """MPEG-1 and MPEG-2 programme streams (ISO/IEC 11172-1, 13818-1), the films of older Ren'Py games."""

    name = "mpeg"

    def sniff(self, head: bytes, name: str) -> bool:
        """Tell a programme stream by its pack header: its start code and marker bits."""
        if head[:4] != b"\0\0\1\xba" or len(head) < 14:
            return False
        is_mpeg1 = head[4] & 0xF1 == 0x21 and head[6] & head[8] & 1 == 1
        is_mpeg2 = head[4] & 0xC4 == 0x44 and head[6] & head[8] & 4 == 4
        return is_mpeg1 or is_mpeg2


class _Film:
    """One film that is open: its frames at a time, and what is known of it."""

    def __init__(self, container: InputContainer, limits: PreviewLimits) -> None:
        self._container = container
        self._stream = _film_stream(container)
        codec = self._stream.codec_context
        if not codec.width:  # what FFmpeg leaves of a size that it refused
            why = f"its frames are damaged, or have more than the limit of {limits.pixels:,} pixels"
            raise PreviewFailed(why=why)
        check_size((codec.width, codec.height), limits)
        codec.options = {"max_pixels": str(limits.pixels)}
        self._limits = limits
        self._frames_left = limits.frames
        self._pixels_left = _PIXEL_BUDGET
        self._shape = Shape.of(self._stream)
        self._start_s = _time(self._stream, self._stream.start_time or 0)
        self.duration_s = libav.seconds(container, self._stream)
        self.has_alpha = _has_alpha(self._stream)

    def poster(self) -> tuple[Image.Image, float]:
        """Return the poster and its time."""
        best: tuple[float, Image.Image, float] | None = None
        for time_s, frame in self._candidates():
            score = spread(self._shape.picture(frame, 64))
            if best is None or score > best[0]:
                best = score, self._shape.picture(frame, max(THUMBNAIL_SIZES)), time_s
            if score >= _SPREAD:
                break
        if best is None:
            raise PreviewFailed(why="there is no picture in it")
        return best[1], best[2]

    def clip(self, poster: Image.Image, start_s: float) -> tuple[list[Image.Image], list[float], float]:
        """Return pictures, when each begins and when the last ends, in ms from the first.

        Where nothing can be decoded any more, the poster is all there is.
        """
        duration_s = self.duration_s or 0.0
        is_short = 0.0 < duration_s <= _WHOLE_S
        start_s = 0.0 if is_short else max(0.0, min(start_s, duration_s - _CLIP_S))
        length_s = duration_s if is_short else _CLIP_S
        step_s = length_s / _CLIP_FRAMES
        self._frames_left, self._pixels_left = self._limits.frames, _PIXEL_BUDGET
        pictures: list[Image.Image] = []
        times_s: list[float] = []
        with suppress(PreviewFailed):
            for time_s, frame in self.frames(start_s):
                if pictures and time_s >= start_s + length_s - step_s / 2:
                    break
                wanted_s = (
                    max(start_s + step_s * (len(pictures) - 0.5), times_s[-1] + 0.001) if times_s else 0.0
                )
                if time_s >= wanted_s:
                    picture = self._shape.picture(frame, MOVING_SIDE)
                    first = pictures[0] if pictures else picture  # a film may change its size
                    pictures.append(picture if picture.size == first.size else picture.resize(first.size))
                    times_s.append(time_s)
        if not pictures:
            return [scale_down(poster.copy(), MOVING_SIDE)], [0.0], 0.0
        starts_ms = [(time_s - times_s[0]) * 1000 for time_s in times_s]
        return pictures, starts_ms, max(length_s * 1000 if is_short else 0.0, starts_ms[-1] + step_s * 1000)

    def frames(self, start_s: float) -> Iterator[tuple[float, Any]]:
        """Yield frames from a time on, with their times, for as long as the budget lasts."""
        self._seek(start_s)
        decoder = _alpha_decoder(self._stream, self._limits) if self.has_alpha else None
        for count, frame in enumerate(libav.decoded(self._container, self._stream, decoder)):
            check_size((frame.width, frame.height), self._limits)
            if count == 0:  # it is the same for all, and to ask keeps the frame till garbage is collected
                self._shape.turn_as(frame)
            time_s = self._time_of(frame, count)
            self._frames_left -= 1
            self._pixels_left -= frame.width * frame.height
            is_last = self._frames_left <= 0 or self._pixels_left <= 0
            if time_s >= start_s - 0.001 or is_last:
                yield time_s, frame
            if is_last:
                return

    def facts(self) -> dict[str, Any]:
        """Return what is known; the size is upright only when a frame was decoded."""
        stream, container = self._stream, self._container
        width, height = self._shape.size_of(stream.codec_context)
        rate = stream.average_rate or stream.guessed_rate
        facts: dict[str, Any] = {
            "width": width,
            "height": height,
            "duration_s": round(max(self.duration_s or 0.0, (container.duration or 0) / 1e6), 6) or None,
            "frame_rate": round(float(rate), 3) if rate else None,
            "frames": stream.frames or None,
            "codec": libav.codec_name(stream.codec_context),
            "tags": libav.tags_of(container) or None,
        }
        facts = {name: value for name, value in facts.items() if value is not None}
        facts["has_alpha"] = self.has_alpha
        if container.streams.audio:
            sound = libav.sound_facts(container, container.streams.audio[0])
            sound["audio_codec"] = sound.pop("codec", None)
            wanted = ("audio_codec", "channels", "sample_rate")
            facts |= {name: sound[name] for name in wanted if sound.get(name)}
        return facts

    def _candidates(self) -> Iterator[tuple[float, Any]]:
        """Yield a frame every half second of the first ten, then one here and there."""
        wanted_s = 0.0
        for time_s, frame in self.frames(0.0):
            if time_s > _SEARCH_S:
                break
            if time_s >= wanted_s:
                yield time_s, frame
                wanted_s = time_s + _SEARCH_STEP_S
        for share in _LATER:
            if (self.duration_s or 0.0) * share > _SEARCH_S and self._frames_left > 0 < self._pixels_left:
                yield from self._first(self.duration_s * share if self.duration_s else 0.0)

    def _first(self, start_s: float) -> Iterator[tuple[float, Any]]:
        with suppress(PreviewFailed):
            for found in self.frames(start_s):
                yield found
                break

    def _seek(self, start_s: float) -> None:
        from av.error import FFmpegError

        with suppress(FFmpegError):  # a container that can't be searched is read on
            self._container.seek(round((self._start_s + start_s) * 1_000_000))

    def _time_of(self, frame: Any, count: int) -> float:
        if frame.pts is not None:
            return _time(self._stream, frame.pts) - self._start_s
        rate = self._stream.average_rate or self._stream.guessed_rate
        return count / float(rate) if rate else 0.0


def _film_stream(container: InputContainer) -> Any:
    for stream in container.streams.video:
        if not getattr(stream, "disposition", 0) & _ATTACHED_PICTURE:
            if stream.codec_context is None:
                raise PreviewFailed(why="this PyAV has no decoder for its picture")
            return stream
    raise PreviewFailed(why="there is no picture in it")


def _time(stream: Any, ticks: int) -> float:
    return float(ticks * Fraction(stream.time_base.numerator, stream.time_base.denominator))


def _has_alpha(stream: Any) -> bool:
    if any(name.casefold() == "alpha_mode" and value == "1" for name, value in stream.metadata.items()):
        return True
    pixel_format = stream.codec_context.format
    return pixel_format is not None and any(part.is_alpha for part in pixel_format.components)


def _alpha_decoder(stream: Any, limits: PreviewLimits) -> Any:
    """Return a decoder that keeps the transparency, None where the usual one does or none is there."""
    from av import CodecContext
    from av.error import FFmpegError

    name = _ALPHA_DECODERS.get(libav.codec_name(stream.codec_context))
    if name is None:
        return None
    try:
        decoder = CodecContext.create(name, "r")
    except (FFmpegError, ValueError):
        return None
    decoder.options = {"max_pixels": str(limits.pixels)}
    return decoder
