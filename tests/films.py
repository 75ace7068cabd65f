"""Films and sounds for tests: encoded by PyAV, and read back by it as an independent judge."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import av
import numpy as np

RATE_HZ = 48_000
Packet = tuple[int, Any, Any, Any, bool, bytes]


def encode(
    kind: str,
    *,
    video: str | None = None,
    sound: str | None = None,
    frames: int = 12,
    options: Mapping[str, str] | None = None,
    tags: Mapping[str, str] | None = None,
    bit_rate: int = 100_000,
) -> bytes:
    """Encode 64 x 48 pixels with a bar that moves, a sine of 440 Hz, or both, at 25 frames a second.

    Args:
        kind: FFmpeg's name of the container.
        video: FFmpeg's name of the encoder of the pictures, None for none.
        sound: that of the sound.
        frames: how many pictures, and twenty-fifths of a second of sound.
        options: of the container's writer.
        tags: of the whole file.
        bit_rate: of the pictures, bits a second.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "film"  # some writers open their file again by its name
        with av.open(str(path), "w", format=kind, options=dict(options or {})) as container:
            container.metadata.update(tags or {})
            streams = []
            if video is not None:
                picture = container.add_stream(video, rate=25)
                picture.width, picture.height, picture.pix_fmt = 64, 48, "yuv420p"
                picture.thread_count, picture.bit_rate = 1, bit_rate
                streams.append((picture, _picture))
            if sound is not None:
                streams.append((container.add_stream(sound, rate=RATE_HZ), _sound))
            for index in range(frames):
                for stream, make in streams:
                    container.mux(stream.encode(make(index)))
            for stream, _ in streams:
                container.mux(stream.encode(None))
        return path.read_bytes()


def packets(content: bytes) -> list[Packet]:
    """Return every packet that FFmpeg reads from a file: stream, times, and bytes."""
    with av.open(io.BytesIO(content)) as container:
        return [
            (each.stream_index, each.pts, each.dts, each.duration, each.is_keyframe, bytes(each))
            for each in container.demux()
        ]


def tags(content: bytes) -> dict[str, str]:
    """Return the tags of a whole file, as FFmpeg shows them."""
    with av.open(io.BytesIO(content)) as container:
        return dict(container.metadata)


def pictures(content: bytes) -> list[bytes]:
    """Return every picture of a film, decoded."""
    with av.open(io.BytesIO(content)) as container:
        return [frame.to_ndarray(format="rgb24").tobytes() for frame in container.decode(video=0)]


def samples(content: bytes) -> bytes:
    """Return every sample of a film, decoded."""
    with av.open(io.BytesIO(content)) as container:
        return b"".join(frame.to_ndarray().tobytes() for frame in container.decode(audio=0))


def _picture(index: int) -> av.VideoFrame:
    pixels = np.full((48, 64, 3), index * 8 % 256, np.uint8)
    pixels[:, : index * 3 % 64] = 200
    return av.VideoFrame.from_ndarray(pixels, format="rgb24")


def _sound(index: int) -> av.AudioFrame:
    length = RATE_HZ // 25
    times_s = np.arange(index * length, (index + 1) * length) / RATE_HZ
    wave = (np.sin(times_s * 440 * 2 * np.pi) * 0.5).astype(np.float32)
    frame = av.AudioFrame.from_ndarray(wave[None], format="fltp", layout="mono")
    frame.sample_rate, frame.pts = RATE_HZ, index * length
    return frame
