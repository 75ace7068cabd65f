"""The waveform preview."""

import io
import json
import math
import random
import struct
import subprocess
import sys
import tracemalloc
import wave
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comfyvn.errors import PreviewFailed
from comfyvn.media import PreviewLimits, render
from comfyvn.media.audio import SoundFormat
from comfyvn.media.wav import WavFormat

PCM_GUID = bytes.fromhex("000000001000800000aa00389b71")


def riff(kind: bytes, data: bytes) -> bytes:
    return kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)


def fmt(tag: int, channels: int, bits: int, *, rate: int = 8000, frame_bytes: int | None = None) -> bytes:
    block = channels * ((bits + 7) // 8) if frame_bytes is None else frame_bytes
    return struct.pack("<HHIIHH", tag, channels, rate, rate * block, block, bits)


def wav(*chunks: bytes, kind: bytes = b"RIFF") -> bytes:
    body = b"WAVE" + b"".join(chunks)
    return kind + struct.pack("<I", len(body)) + body


def info(*texts: tuple[bytes, bytes]) -> bytes:
    return riff(b"LIST", b"INFO" + b"".join(riff(kind, text) for kind, text in texts))


def waveform(content: bytes, points: int = 512) -> dict[str, Any]:
    made = render(io.BytesIO(content), "waveform", PreviewLimits(waveform_points=points)).files
    assert made.keys() == {"waveform"}
    loaded = json.loads(made["waveform"])
    assert loaded.keys() == {"kind", "channels", "sample_rate", "duration_s", "points"}
    return loaded  # type: ignore[no-any-return]


def expected(frames: list[list[float]], points: int = 512) -> list[float]:
    """Compute the same peaks in plain Python, frame by frame."""
    columns = min(points, len(frames))
    peaks = [0.0] * columns
    edges = [column * len(frames) // columns for column in range(columns + 1)]
    for column in range(columns):
        for frame in frames[edges[column] : edges[column + 1]]:
            peaks[column] = max(peaks[column], *(abs(sample) for sample in frame))
    loudest = max(peaks)
    return [round(peak / loudest, 4) if loudest else 0.0 for peak in peaks]


# Each sample format: tag, bits, and how a number in -1..1 is written; with what it then stands for.
FORMATS = {
    "unsigned 8 bit": (1, 8, lambda x: struct.pack("<B", 128 + round(x * 127)), lambda x: round(x * 127)),
    "16 bit": (1, 16, lambda x: struct.pack("<h", round(x * 32767)), lambda x: round(x * 32767)),
    "24 bit": (
        1,
        24,
        lambda x: round(x * 8_388_607).to_bytes(3, "little", signed=True),
        lambda x: round(x * 8_388_607),
    ),
    "32 bit": (1, 32, lambda x: struct.pack("<i", round(x * 2147483647)), lambda x: round(x * 2147483647)),
    "float": (3, 32, lambda x: struct.pack("<f", x), lambda x: struct.unpack("<f", struct.pack("<f", x))[0]),
    "double": (3, 64, lambda x: struct.pack("<d", x), lambda x: x),
}


def noise(frames: int, channels: int, seed: int = 1) -> list[list[float]]:
    source = random.Random(seed)
    return [
        [source.uniform(-1, 1) * (0.2 + 0.6 * at / frames) for _ in range(channels)] for at in range(frames)
    ]


@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize("sample", FORMATS)
def test_the_points_are_the_peaks_of_the_samples(sample: str, channels: int) -> None:
    """8-bit would be read as signed, 24 and 32 bit and float refused, all but the left channel ignored."""
    tag, bits, write, stands_for = FORMATS[sample]
    frames = noise(1_777, channels)
    data = b"".join(write(x) for frame in frames for x in frame)

    made = waveform(wav(riff(b"fmt ", fmt(tag, channels, bits)), riff(b"data", data)))

    assert made["points"] == expected([[stands_for(x) for x in frame] for frame in frames])
    assert (made["kind"], made["channels"], made["sample_rate"]) == ("waveform", channels, 8000)
    assert made["duration_s"] == pytest.approx(1_777 / 8000)


@pytest.mark.parametrize("sample", FORMATS)
def test_an_extensible_header_is_read_like_a_plain_one(sample: str) -> None:
    """Files with more than two channels or 16 bits, as most audio programs write them, would be refused."""
    tag, bits, write, stands_for = FORMATS[sample]
    frames = noise(300, 2)
    data = b"".join(write(x) for frame in frames for x in frame)
    extension = struct.pack("<HHIH", 22, bits, 3, tag) + PCM_GUID

    made = waveform(wav(riff(b"fmt ", fmt(0xFFFE, 2, bits) + extension), riff(b"data", data)))

    assert made["points"] == expected([[stands_for(x) for x in frame] for frame in frames])


@given(st.lists(st.integers(-32768, 32767), max_size=300), st.integers(1, 3), st.integers(1, 40))
@settings(max_examples=200, deadline=None)
def test_every_frame_counts_in_exactly_one_column(samples: list[int], channels: int, points: int) -> None:
    """A click at the end of a clip, or between two columns, would not be drawn."""
    frames = [
        [float(x) for x in samples[at : at + channels]]
        for at in range(0, len(samples) - len(samples) % channels, channels)
    ]
    data = struct.pack(f"<{len(samples)}h", *samples)

    made = waveform(wav(riff(b"fmt ", fmt(1, channels, 16)), riff(b"data", data)), points)

    assert made["points"] == (expected(frames, points) if frames else [])


def test_the_last_frame_is_drawn() -> None:
    """Old releases cut off up to half of a short clip."""
    data = struct.pack("<1023h", *([0] * 1022), -20_000)

    made = waveform(wav(riff(b"fmt ", fmt(1, 1, 16)), riff(b"data", data)))

    assert made["points"] == [0.0] * 511 + [1.0]


def test_the_lowest_number_is_the_loudest() -> None:
    """-32768 has no positive counterpart in 16 bit: it would count as negative or as nothing."""
    data = struct.pack("<4h", -32768, 16384, 0, 32767)

    made = waveform(wav(riff(b"fmt ", fmt(1, 1, 16)), riff(b"data", data)))

    assert made["points"] == [1.0, 0.5, 0.0, 1.0]


@pytest.mark.parametrize(("bits", "byte"), [(8, b"\x80"), (16, b"\0\0"), (24, b"\0\0\0")])
def test_silence_is_all_zeros(bits: int, byte: bytes) -> None:
    """Silence would be divided by its own peak, or in 8 bit be drawn as a full-scale hum."""
    made = waveform(wav(riff(b"fmt ", fmt(1, 1, bits)), riff(b"data", byte * 700)))

    assert made["points"] == [0.0] * 512


def test_a_clip_without_a_frame_has_no_points() -> None:
    """An empty clip would fail, or draw the tags that follow it as sound."""
    tags = riff(b"LIST", b"INFOISFT\x04\0\0\0abcd")

    made = waveform(wav(riff(b"fmt ", fmt(1, 1, 16)), riff(b"data", b""), tags))

    assert (made["points"], made["duration_s"]) == ([], 0.0)


def test_a_file_of_the_standard_library_is_read() -> None:
    """Our own idea of the format would differ from everybody's."""
    sink = io.BytesIO()
    with wave.open(sink, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(22_050)
        file.writeframes(struct.pack("<22050h", *(round(20_000 * math.sin(at / 9)) for at in range(22_050))))

    made = waveform(sink.getvalue())

    assert made["sample_rate"] == 22_050
    assert made["duration_s"] == 1.0
    assert min(made["points"]) > 0.6


@pytest.mark.parametrize(
    "before", [[riff(b"LIST", b"INFO")], [riff(b"odd ", b"abc"), riff(b"bext", b"x" * 605)]]
)
def test_chunks_before_the_samples_are_stepped_over(before: list[bytes]) -> None:
    """An odd chunk has a byte of padding; without it the samples would not be found."""
    data = struct.pack("<3h", 100, -200, 50)

    made = waveform(wav(*before, riff(b"fmt ", fmt(1, 1, 16)), *before, riff(b"data", data), *before))

    assert made["points"] == [0.5, 1.0, 0.25]


@pytest.mark.parametrize("length", [0, 0xFFFFFFFF, 7, 6_000])
def test_a_wrong_length_of_the_samples_gives_what_is_there(length: int) -> None:
    """A recording that was stopped, or streamed, would be empty or fail."""
    data = struct.pack("<4h", 100, -200, 50, 25)
    stated = b"data" + struct.pack("<I", length) + data

    made = waveform(wav(riff(b"fmt ", fmt(1, 1, 16)), stated))

    assert made["points"] == [0.5, 1.0, 0.25, 0.125][: 3 if length == 7 else 4]


@pytest.mark.parametrize("kind", [b"RF64", b"BW64"])
@pytest.mark.parametrize("length", [6, 1 << 40])
def test_a_64_bit_length_is_read_from_its_own_chunk(kind: bytes, length: int) -> None:
    """What follows the samples of a long recording would be drawn as sound."""
    sizes = riff(b"ds64", struct.pack("<QQQI", 0, length, 3, 0))
    samples = b"data\xff\xff\xff\xff" + struct.pack("<4h", 100, -200, 50, 25)

    made = waveform(wav(sizes, riff(b"fmt ", fmt(1, 1, 16)), samples, kind=kind))

    assert made["points"] == [0.5, 1.0, 0.25, 0.125][: 3 if length == 6 else 4]


def test_half_a_frame_at_the_end_is_left_out() -> None:
    """The right channel of a cut file would be taken for the left one, or the file refused."""
    data = struct.pack("<5h", 100, -200, 50, 25, 30_000)

    made = waveform(wav(riff(b"fmt ", fmt(1, 2, 16)), riff(b"data", data)))

    assert made["points"] == [1.0, 0.25]


def test_numbers_that_are_none_count_as_silence() -> None:
    """One broken float sample would make every point NaN, which JSON can't hold."""
    data = struct.pack("<6f", math.nan, 0.5, math.inf, -math.inf, -1.0, math.nan)

    made = waveform(wav(riff(b"fmt ", fmt(3, 1, 32)), riff(b"data", data)))

    assert made["points"] == [0.0, 0.5, 0.0, 0.0, 1.0, 0.0]


def test_a_24_bit_sample_in_four_bytes_is_read() -> None:
    """Some studios store 24 bit in a 32-bit container; the file would be refused."""
    data = struct.pack("<3i", 100 << 8, -200 << 8, 50 << 8)

    made = waveform(wav(riff(b"fmt ", fmt(1, 1, 24, frame_bytes=4)), riff(b"data", data)))

    assert made["points"] == [0.5, 1.0, 0.25]


SOUND = riff(b"data", b"\0" * 64)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "the file is empty"),
        (wav(), "no data chunk"),
        (wav(riff(b"fmt ", fmt(1, 1, 16))), "no data chunk"),
        (wav(SOUND), "no fmt chunk"),
        (wav(riff(b"fmt ", b"\1\0"), SOUND), "fmt chunk is too short"),
        (wav(riff(b"fmt ", fmt(0xFFFE, 1, 16)), SOUND), "extensible fmt chunk is too short"),
        (wav(riff(b"fmt ", fmt(0x55, 2, 16)), SOUND), r"compressed \(format tag 0x0055, MP3\)"),
        (wav(riff(b"fmt ", fmt(2, 2, 4)), SOUND), r"compressed \(format tag 0x0002, Microsoft ADPCM\)"),
        (wav(riff(b"fmt ", fmt(0x1234, 2, 4)), SOUND), r"compressed \(format tag 0x1234"),
        (wav(riff(b"fmt ", fmt(1, 0, 16)), SOUND), "0 channels"),
        (wav(riff(b"fmt ", fmt(1, 1, 16, rate=0)), SOUND), "at 0 Hz"),
        (wav(riff(b"fmt ", fmt(1, 2, 16, frame_bytes=3)), SOUND), "2 channels of 16 bit in 3 bytes a frame"),
        (wav(riff(b"fmt ", fmt(1, 2, 16, frame_bytes=0)), SOUND), "in 0 bytes a frame"),
        (wav(riff(b"fmt ", fmt(1, 1, 16, frame_bytes=1)), SOUND), "16 bit in 1 bytes"),
        (wav(riff(b"fmt ", fmt(1, 1, 0, frame_bytes=2)), SOUND), "0 bit"),
        (wav(riff(b"fmt ", fmt(3, 1, 16)), SOUND), "16 bit in 2 bytes"),
        (wav(riff(b"fmt ", fmt(1, 1, 64)), SOUND), "64 bit in 8 bytes"),
        (b"RIFF\0\0\0\0AVI LIST" + b"\0" * 80, "not of a format that has a waveform"),
    ],
)
def test_a_file_without_readable_sound_has_a_reason(content: bytes, why: str) -> None:
    """The record would say that something failed, but not what."""
    with pytest.raises(PreviewFailed, match=why):
        render(io.BytesIO(content), "waveform", PreviewLimits())


TEXTS = "IART ICMT ICOP ICRD IGNR ILNG INAM IPRD IPRT ISFT ISMP ITCH IKEY"
INFOS = {
    "all that have names": [(name.encode(), f"the {name}".encode()) for name in TEXTS.split()],
    "Latin-1 and what follows the end": [(b"INAM", b"caf\xe9\0junk"), (b"ICMT", b"")],
    "small letters, twice": [(b"INAM", b"\xc3\xa9  "), (b"inam", b"the later one")],
    "two names of one tag": [(b"ITRK", b"3"), (b"IPRT", b"4")],
    "none": [],
}


@pytest.mark.parametrize("name", INFOS)
def test_texts_are_told_as_ffmpeg_tells_them(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A title would be found or not depending on whether PyAV had to be loaded."""
    content = wav(riff(b"fmt ", fmt(1, 1, 16)), riff(b"data", bytes(16_000)), info(*INFOS[name]))
    by_ffmpeg = SoundFormat.probe(WavFormat(), io.BytesIO(content)).get("tags", {})
    monkeypatch.setitem(sys.modules, "av", None)

    facts = WavFormat().probe(io.BytesIO(content))

    assert facts.get("tags", {}) == by_ffmpeg


def test_a_stamped_voice_is_looked_at_without_pyav() -> None:
    """Loading it takes longer than the previews of a hundred voices."""
    code = (
        "import io, sys, wave\n"
        "from comfyvn import media\n"
        "plain, stamped = io.BytesIO(), io.BytesIO()\n"
        "with wave.open(plain, 'wb') as sound:\n"
        "    sound.setparams((2, 2, 44100, 0, 'NONE', ''))\n"
        "    sound.writeframes(b'ab' * 88200)\n"
        "reading = media.read(plain, stamped, marker_bytes=9)\n"
        "media.fill_marker(stamped, reading, b'the value')\n"
        "facts = media.probe(stamped) | media.render(stamped, 'waveform', media.PreviewLimits()).facts\n"
        "print('av' in sys.modules, facts['bit_rate'], 'loudness_lufs' in facts, facts.get('tags'))\n"
    )

    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert run.stdout == "False 1411200 True None\n"


def test_a_million_empty_chunks_do_not_hold_a_worker() -> None:
    """A small file made to be slow would occupy a preview worker for minutes."""
    content = wav(riff(b"JUNK", b"") * 20_000, riff(b"fmt ", fmt(1, 1, 16)), SOUND)

    with pytest.raises(PreviewFailed, match="no data chunk"):
        render(io.BytesIO(content), "waveform", PreviewLimits())


class Endless(io.RawIOBase):
    """A WAVE file of 48 MB that is made while it is read; the last frame is the loudest."""

    def __init__(self) -> None:
        self.at = 0
        self.size = 48_000_000
        self.head = wav(riff(b"fmt ", fmt(1, 2, 24)), b"data" + struct.pack("<I", self.size))

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        self.at = len(self.head) + self.size + offset if whence == 2 else offset
        return self.at

    def read(self, size: int = -1) -> bytes:
        end = min(self.at + size, len(self.head) + self.size)
        made = self.head[self.at : end]
        made += b"\0\0\1" * (-(-(end - self.at - len(made)) // 3)) if end > len(self.head) else b""
        if end == len(self.head) + self.size and self.at < end:
            made = made[:-3] + b"\0\0\x80"
        self.at = end
        return made


def test_a_long_recording_takes_no_more_memory_than_a_short_one() -> None:
    """An hour of sound would be read into memory at once."""
    source = Endless()
    waveform(wav(riff(b"fmt ", fmt(1, 1, 16)), SOUND))  # NumPy's own start-up is not what is measured
    tracemalloc.start()

    made = render(source, "waveform", PreviewLimits()).files  # type: ignore[arg-type]

    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    points = json.loads(made["waveform"])["points"]
    assert points == [round(1 / 128, 4)] * 511 + [1.0]
    assert peak_bytes < 6 << 20
