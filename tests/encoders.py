"""Sound and film made with PyAV, so that tests need no files."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

BATCH = 4096
LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1"}


def encode_sound(
    samples: NDArray[Any],
    codec: str,
    container: str,
    *,
    rate: int = 48_000,
    kind: str = "s16",
    metadata: Mapping[str, str] | None = None,
) -> bytes:
    """Encode samples of shape (channels, frames) that are in the type of the sample format ``kind``."""
    sink = io.BytesIO()
    layout = LAYOUTS[samples.shape[0]]
    with av.open(sink, "w", format=container) as made:
        made.metadata.update(metadata or {})
        options = {"strict": "experimental"} if codec == "vorbis" else {}
        stream: Any = made.add_stream(codec, rate=rate, layout=layout, options=options)
        stream.format = kind
        if container == "ogg":
            stream.metadata.update(metadata or {})
        for at in range(0, samples.shape[1], BATCH):
            block = samples[:, at : at + BATCH]
            rows = block if kind.endswith("p") else block.T.reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(rows), format=kind, layout=layout)
            frame.sample_rate, frame.pts, frame.time_base = rate, at, Fraction(1, rate)
            made.mux(stream.encode(frame))
        made.mux(stream.encode(None))
    return sink.getvalue()


def encode_film(
    pictures: Iterable[NDArray[Any]],
    codec: str,
    container: str,
    *,
    rate: int = 10,
    pixels: str = "yuv420p",
    options: Mapping[str, str] | None = None,
    ratio: Fraction | None = None,
    sound_rate: int = 0,
) -> bytes:
    """Encode pictures of shape (height, width, 3 or 4), with a second of silence where a rate is given."""
    sink = io.BytesIO()
    with av.open(sink, "w", format=container) as made:
        film: Any = None
        sound: Any = made.add_stream("aac", rate=sound_rate, layout="stereo") if sound_rate else None
        for at, picture in enumerate(pictures):
            if film is None:
                film = made.add_stream(codec, rate=rate, options=dict(options or {}))
                film.height, film.width = picture.shape[:2]
                film.pix_fmt = pixels
                if ratio is not None:
                    film.codec_context.sample_aspect_ratio = ratio
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24" if picture.shape[2] == 3 else "rgba")
            frame = frame.reformat(format=pixels)
            frame.pts, frame.time_base = at, Fraction(1, rate)
            made.mux(film.encode(frame))
        made.mux(film.encode(None))
        if sound is not None:
            for at in range(0, sound_rate, 1024):
                frame = av.AudioFrame.from_ndarray(np.zeros((2, 1024), "f4"), format="fltp", layout="stereo")
                frame.sample_rate, frame.pts, frame.time_base = sound_rate, at, Fraction(1, sound_rate)
                made.mux(sound.encode(frame))
            made.mux(sound.encode(None))
    return sink.getvalue()
