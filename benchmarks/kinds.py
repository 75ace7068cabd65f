"""One file of each kind of medium, its preview by comfyvn, and the bare decoder on the same file."""

from __future__ import annotations

import io
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import library
import numpy as np
from PIL import Image

from comfyvn import media
from comfyvn.media.formats import HEAD_BYTES, kind_of, recognise

_SIDE = (1920, 1080)
_FRAMES = 48
_SOUND_S = 60
_FILM_S = 8
_RATE_HZ = 48_000


def make(folder: Path) -> None:
    """Write the files: pictures of 1920 x 1080, animations of 48 frames, a minute of sound, 8 s of film."""
    for name, writer in _WRITERS.items():
        writer(folder / name)


def names() -> list[str]:
    return list(_WRITERS)


def preview(path: Path) -> None:
    """Make the preview as a worker process does."""
    with path.open("rb") as file:
        kind = kind_of(recognise(file.read(HEAD_BYTES), path.name), file)
        assert kind is not None
        media.probe(file, name=path.name)
        assert media.render(file, kind, media.PreviewLimits(), name=path.name).files


def decode(path: Path) -> None:
    """Decode all of a file, and no more: for a still with the two small WebP that nobody can avoid."""
    if path.suffix in (".mp4", ".webm") or path.name.startswith("sound"):
        with av.open(str(path)) as container:
            for _ in container.decode(container.streams[0]):
                pass
        return
    with Image.open(path) as image:
        for frame in range(getattr(image, "n_frames", 1)):
            image.seek(frame)
            image.load()
        for side_px in (512, 256):
            image.thumbnail((side_px, side_px), Image.Resampling.LANCZOS, reducing_gap=1.0)
            image.save(io.BytesIO(), "WEBP", quality=80, method=1)


def _painting(turn: int = 0, size: tuple[int, int] = _SIDE) -> Image.Image:
    across, down = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    grain = np.random.default_rng(7).integers(0, 16, across.shape)
    channels = [(across // 5 + turn * 9 + grain) % 256, (down // 3 + grain) % 256, (across + down) // 8 % 256]
    return Image.fromarray(np.stack(channels, axis=-1).astype(np.uint8), "RGB")


def _still(**options: Any) -> Callable[[Path], None]:
    return lambda path: _painting().save(path, **options)


def _animation(**options: Any) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        frames = [_painting(turn, (480, 270)) for turn in range(_FRAMES)]
        frames[0].save(path, save_all=True, append_images=frames[1:], duration=80, loop=0, **options)

    return write


def _sound(codec: str, sample_format: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        at = np.arange(_SOUND_S * _RATE_HZ) / _RATE_HZ
        wave = np.stack([np.sin(at * 880) * np.sin(at), np.sin(at * 660)]) * 0.4
        library.write_sound(path, wave.astype(np.float32), codec, sample_format, _RATE_HZ)

    return write


def _film(codec: str, **options: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with av.open(str(path), "w") as container:
            stream: Any = container.add_stream(codec, rate=Fraction(24), options=options)
            stream.width, stream.height, stream.pix_fmt = 1280, 720, "yuv420p"
            scenes = [_painting(turn * 24, (1280, 720)) for turn in range(_FILM_S)]
            for turn in range(_FILM_S * 24):
                container.mux(stream.encode(av.VideoFrame.from_image(scenes[turn // 24])))
            container.mux(stream.encode(None))

    return write


_WRITERS: dict[str, Callable[[Path], None]] = {
    "still.png": _still(),
    "still.jpg": _still(quality=92),
    "still.webp": _still(quality=90),
    "still.avif": _still(speed=9),
    "still.tif": _still(compression="tiff_lzw"),
    "moving.png": _animation(),
    "moving.gif": _animation(),
    "moving.webp": _animation(quality=80, method=0),
    "sound.wav": _sound("pcm_s16le", "s16"),
    "sound.flac": _sound("flac", "s16"),
    "sound.ogg": _sound("vorbis", "fltp"),
    "sound.opus": _sound("libopus", "s16"),
    "sound.mp3": _sound("libmp3lame", "fltp"),
    "sound.m4a": _sound("aac", "fltp"),
    "film.mp4": _film("libx264", preset="veryfast"),
    "film.webm": _film("libvpx-vp9", **{"deadline": "realtime", "cpu-used": "8"}),
}
