"""The waveform and the facts of sound that PyAV decodes."""

import io
import json
import logging
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import encoders
from comfyvn import media
from comfyvn.errors import PreviewFailed
from comfyvn.media import PreviewLimits
from comfyvn.media.audio import SoundFormat
from comfyvn.media.wav import WavFormat
from comfyvn.media.waveform import Peaks, encode
from encoders import encode_sound
from support import PEAK_KIB, TIMEOUT_S

RATE = 48_000


class AnySound(SoundFormat):
    name = "sound"


def shown(content: bytes, points: int = 512) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the waveform and the facts of a file."""
    file = io.BytesIO(content)
    made = AnySound().preview(file, PreviewLimits(waveform_points=points))
    assert not file.closed
    loaded = json.loads(made.files["waveform"])
    assert made.files.keys() == {"waveform"}
    assert loaded.keys() == {"kind", "channels", "sample_rate", "duration_s", "points"}
    assert loaded["kind"] == "waveform"
    return loaded, dict(made.facts)


def sine(seconds: float = 2.0, *, level_db: float = 0.0, hertz: float = 1000.0) -> NDArray[np.float64]:
    times = np.arange(round(seconds * RATE)) / RATE
    made: NDArray[np.float64] = 10 ** (level_db / 20) * np.sin(2 * np.pi * hertz * times)
    return made


def in_16_bit(*channels: NDArray[np.float64]) -> NDArray[np.int16]:
    return np.round(np.stack(channels) * 32_767).astype(np.int16)


def expected(samples: NDArray[Any], points: int = 512) -> list[float]:
    """Compute the points in plain Python, frame by frame, channels in rows."""
    peaks = [max(abs(float(x)) for x in frame) for frame in samples.T]
    columns = min(points, len(peaks))
    edges = [column * len(peaks) // columns for column in range(columns + 1)]
    loudest = max(peaks)
    return [round(max(peaks[first:last]) / loudest, 4) if loudest else 0.0 for first, last in pairwise(edges)]


# What keeps samples as they are: codec, container, sample format, NumPy's type, and the largest number.
LOSSLESS = {
    "unsigned 8 bit": ("pcm_u8", "wav", "u8", np.uint8, 127),
    "16 bit": ("pcm_s16le", "wav", "s16", np.int16, 32_767),
    "24 bit": ("pcm_s24le", "wav", "s32", np.int32, 8_388_607 << 8),
    "32 bit": ("pcm_s32le", "wav", "s32", np.int32, 2_147_483_392),
    "float": ("pcm_f32le", "wav", "flt", np.float32, 1),
    "AIFF": ("pcm_s16be", "aiff", "s16", np.int16, 32_767),
    "FLAC": ("flac", "flac", "s16", np.int16, 32_767),
    "FLAC in Ogg": ("flac", "ogg", "s16", np.int16, 32_767),
}
# What doesn't: codec, container, sample format, and how far a peak may be off.
LOSSY = {
    "Ogg Vorbis": ("vorbis", "ogg", "fltp"),
    "Opus": ("libopus", "ogg", "flt"),
    "MP3": ("libmp3lame", "mp3", "s16p"),
    "AAC": ("aac", "adts", "fltp"),
    "M4A": ("aac", "mp4", "fltp"),
    "WebM": ("libopus", "webm", "flt"),
}


@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize("name", LOSSLESS)
def test_the_points_are_the_peaks_of_the_samples(name: str, channels: int) -> None:
    """8 bit would be read as signed, all but the left channel ignored, columns begin in the wrong place."""
    codec, container, kind, dtype, full = LOSSLESS[name]
    random = np.random.default_rng(1)
    rise = np.linspace(0.1, 1.0, 5_000)
    numbers = np.round(random.uniform(-1, 1, (channels, 5_000)) * rise * full)
    if dtype == np.float32:
        numbers = random.uniform(-1, 1, (channels, 5_000)) * rise
    if name == "24 bit":
        numbers = numbers // 256 * 256
    samples = numbers.astype(dtype) if dtype != np.uint8 else (numbers + 128).astype(dtype)

    waveform, facts = shown(encode_sound(samples, codec, container, kind=kind))

    numbers = samples.astype(np.float64) - (128 if dtype == np.uint8 else 0)
    assert waveform["points"] == expected(numbers)
    assert (waveform["channels"], waveform["sample_rate"]) == (channels, RATE)
    assert waveform["duration_s"] == facts["duration_s"] == pytest.approx(5_000 / RATE, abs=1e-6)


@pytest.mark.parametrize("name", LOSSY)
def test_compressed_sound_is_drawn_where_it_is(name: str) -> None:
    """A decoder's delay would shift every sound, or its padding draw silence at the end."""
    codec, container, kind = LOSSY[name]
    quiet_then_loud = np.concatenate([sine(1.0) * 0.05, sine(1.0) * 0.8])
    samples = in_16_bit(quiet_then_loud, quiet_then_loud * 0.5)
    if kind.startswith("flt"):
        samples = (samples / 32_768).astype(np.float32)  # type: ignore[assignment]

    waveform, facts = shown(encode_sound(samples, codec, container, kind=kind), points=100)

    points = np.array(waveform["points"])
    # MP3 has up to 1,105 frames of delay, AAC without a container up to 2,048: less than three columns.
    assert points[4:46].max() < 0.15
    assert points[55:96].min() > 0.8
    assert (waveform["channels"], waveform["sample_rate"]) == (2, RATE)
    assert facts["duration_s"] == pytest.approx(2.0, abs=0.06)
    assert facts["codec"] == {"libopus": "opus", "libmp3lame": "mp3"}.get(codec, codec)


@pytest.mark.parametrize("name", ["16 bit", "AIFF", "FLAC"])
def test_clicks_in_the_first_and_the_last_frame_are_drawn(name: str) -> None:
    """The last block of a decoder would be left out."""
    codec, container, kind, dtype, _ = LOSSLESS[name]
    samples = np.zeros((2, 100_003), dtype)
    samples[0, 0], samples[1, -1], samples[1, 50_001] = 10_000, -20_000, 5_000

    waveform, _ = shown(encode_sound(samples, codec, container, kind=kind))

    drawn = {at: point for at, point in enumerate(waveform["points"]) if point}
    assert drawn == {0: 0.5, 255: 0.25, 511: 1.0} or drawn == {0: 0.5, 256: 0.25, 511: 1.0}


def test_the_quieter_channel_does_not_hide_the_louder() -> None:
    """A voice on the right channel alone would be drawn as silence."""
    samples = in_16_bit(np.zeros(RATE), sine(1.0))

    waveform, _ = shown(encode_sound(samples, "flac", "flac"))

    assert min(waveform["points"]) > 0.9


def test_silence_is_all_zeros_and_has_no_loudness() -> None:
    """Silence would be divided by its own peak; minus infinity is no JSON."""
    waveform, facts = shown(encode_sound(np.zeros((2, RATE * 2), np.int16), "flac", "flac"))

    assert waveform["points"] == [0.0] * 512
    assert "loudness_lufs" not in facts


def test_one_sample_is_one_point() -> None:
    """A file as short as can be would divide by nothing."""
    waveform, facts = shown(encode_sound(np.array([[-5]], np.int16), "flac", "flac"))

    assert waveform["points"] == [1.0]
    assert facts["duration_s"] == pytest.approx(1 / RATE, abs=1e-6)


def test_sound_without_a_sample_has_a_reason() -> None:
    """An empty waveform would look like a fault of ours."""
    content = encode_sound(np.zeros((1, 0), np.int16), "flac", "flac")

    with pytest.raises(PreviewFailed, match="audio can be decoded"):
        shown(content)


@pytest.mark.parametrize(
    ("level_db", "channels", "lufs"), [(-23.0, 2, -23.0), (-23.0, 1, -26.0), (-6.0, 2, -6.0)]
)
@pytest.mark.parametrize("name", ["16 bit", "FLAC"])
def test_loudness_is_that_of_the_standard(name: str, level_db: float, channels: int, lufs: float) -> None:
    """EBU Tech 3341, case 1: a stereo sine of 1 kHz at -23 dBFS has -23 LUFS."""
    codec, container, kind, _, _ = LOSSLESS[name]
    samples = in_16_bit(*[sine(5.0, level_db=level_db)] * channels)

    _, facts = shown(encode_sound(samples, codec, container, kind=kind))

    assert facts["loudness_lufs"] == pytest.approx(lufs, abs=0.1)


def test_pauses_do_not_make_sound_quieter() -> None:
    """EBU Tech 3341, case 3: without the gate, a voice with pauses would be too quiet by decibels."""
    parts = [sine(10.0, level_db=-36), sine(60.0, level_db=-23), sine(10.0, level_db=-36)]
    samples = in_16_bit(*[np.concatenate(parts)] * 2)

    _, facts = shown(encode_sound(samples, "flac", "flac"))

    assert facts["loudness_lufs"] == pytest.approx(-23.0, abs=0.1)


def test_a_wave_file_has_the_same_loudness_and_waveform_by_either_way() -> None:
    """WAVE files are read with NumPy alone: what they show would differ from all others."""
    content = encode_sound(in_16_bit(sine(3.0, level_db=-10), sine(3.0, level_db=-20)), "pcm_s16le", "wav")

    by_numpy = WavFormat().preview(io.BytesIO(content), PreviewLimits())
    by_pyav = AnySound().preview(io.BytesIO(content), PreviewLimits())

    assert json.loads(by_numpy.files["waveform"]).keys() == json.loads(by_pyav.files["waveform"]).keys()
    assert by_numpy.facts["loudness_lufs"] == by_pyav.facts["loudness_lufs"]
    both = [json.loads(each.files["waveform"])["points"] for each in (by_numpy, by_pyav)]
    assert both[0] == pytest.approx(both[1], abs=0.05)


def test_a_compressed_wave_file_is_drawn_with_pyav() -> None:
    """The ADPCM voices of older games would have no waveform."""
    content = encode_sound(in_16_bit(sine(1.0)), "adpcm_ms", "wav")

    made = WavFormat().preview(io.BytesIO(content), PreviewLimits())

    points = json.loads(made.files["waveform"])["points"]
    assert min(points[:500]) > 0.8  # its last block is filled up with silence


def test_a_click_too_short_for_loudness_has_none() -> None:
    """The standard measures 0.4 s at a time: of less, nothing is known."""
    _, facts = shown(encode_sound(in_16_bit(sine(0.3)), "flac", "flac"))

    assert "loudness_lufs" not in facts


@pytest.mark.parametrize("name", [*LOSSLESS, *LOSSY])
def test_the_header_tells_the_same_as_the_sound(name: str) -> None:
    """Facts of a file whose preview failed would be others."""
    codec, container, kind = (LOSSLESS | LOSSY)[name][:3]  # type: ignore[operator]
    samples = in_16_bit(sine(2.0), sine(2.0))
    dtype = {"f": np.float32, "u": np.uint8}.get(kind[0], np.int32 if kind == "s32" else np.int16)
    samples = samples.astype(dtype) if dtype != np.float32 else (samples / 32_768).astype(dtype)
    content = encode_sound(samples, codec, container, kind=kind)

    probed = AnySound().probe(io.BytesIO(content))
    _, facts = shown(content)

    assert probed["duration_s"] == pytest.approx(2.0, abs=0.2 if container == "adts" else 0.06)
    assert {**probed, "duration_s": 0} == {
        **{name: value for name, value in facts.items() if name != "loudness_lufs"},
        "duration_s": 0,
    }
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts


@pytest.mark.parametrize(
    ("codec", "container", "kind", "bits"),
    [
        ("pcm_s16le", "wav", "s16", 16),
        ("pcm_s24le", "wav", "s32", 24),
        ("pcm_f32le", "wav", "flt", 32),
        ("flac", "flac", "s16", 16),
        ("flac", "flac", "s32", 24),
        ("libmp3lame", "mp3", "s16p", None),
    ],
)
def test_bits_a_sample_are_those_of_the_file(codec: str, container: str, kind: str, bits: int | None) -> None:
    """The decoder's own width would be told: 24-bit FLAC as 32, MP3 as float."""
    dtype = {"flt": np.float32, "s32": np.int32}.get(kind, np.int16)
    content = encode_sound(np.zeros((1, RATE), dtype), codec, container, kind=kind)

    assert AnySound().probe(io.BytesIO(content)).get("bit_depth") == bits


TAGGED = {
    "MP3": ("libmp3lame", "mp3", "s16p"),
    "Opus": ("libopus", "ogg", "flt"),
    "FLAC": ("flac", "flac", "s16"),
    "M4A": ("aac", "mp4", "fltp"),
    "WebM": ("libopus", "webm", "flt"),
}


def tagged(name: str, metadata: dict[str, str]) -> dict[str, Any]:
    codec, container, kind = TAGGED[name]
    samples = np.zeros((1, 5_000), np.float32 if kind.startswith("flt") else np.int16)
    content = encode_sound(samples, codec, container, kind=kind, metadata=metadata)
    tags: dict[str, Any] = AnySound().probe(io.BytesIO(content)).get("tags", {})
    tags.pop("encoder", None)
    return tags


@pytest.mark.parametrize("name", TAGGED)
def test_the_files_own_tags_are_told(name: str) -> None:
    """A song could not be found by its title."""
    wanted = {"title": "Sakura – 桜", "artist": "Mara", "album": "Act 1"}

    assert tagged(name, wanted) == wanted


@pytest.mark.parametrize("name", ["MP3", "Opus", "FLAC", "WebM"])
def test_loop_points_are_whole_numbers(name: str) -> None:
    """A game that loops its music could not compute with text."""
    told = tagged(name, {"LOOPSTART": "44100", "LOOPLENGTH": "88200", "LOOPEND": "soon"})

    assert told == {"loop_start": 44_100, "loop_length": 88_200, "loopend": "soon"}


def test_our_own_marker_is_no_tag_of_the_file() -> None:
    """Facts would change with every stamp."""
    assert tagged("FLAC", {"comfyvn_provenance": "{}", "COMFYVN_PROVENANCE": "{}", "title": "x"}) == {
        "title": "x"
    }


@pytest.mark.parametrize("name", [*LOSSLESS, *LOSSY])
def test_a_stamp_changes_neither_facts_nor_preview(name: str) -> None:
    """The same sound would have other facts once it is in the library."""
    codec, container, kind = (LOSSLESS | LOSSY)[name][:3]  # type: ignore[operator]
    dtype = {"f": np.float32, "u": np.uint8}.get(kind[0], np.int32 if kind == "s32" else np.int16)
    content = encode_sound(
        np.full((2, 5_000), 1, dtype), codec, container, kind=kind, metadata={"title": "x"}
    )
    value, stamped = b'{"provenance_id":1}', io.BytesIO()

    reading = media.read(io.BytesIO(content), stamped, marker_bytes=len(value))
    if reading.refusal is None:
        media.fill_marker(stamped, reading, value)

    assert (reading.refusal is None) == (name != "AAC")
    assert media.read_marker(stamped) == (None if reading.refusal else value)
    assert media.probe(stamped) == media.probe(io.BytesIO(content))
    assert media.probe(stamped)["channels"] == 2
    before = media.render(io.BytesIO(content), "waveform", PreviewLimits())
    assert media.render(stamped, "waveform", PreviewLimits()) == before


def test_tags_are_bounded() -> None:
    """A song with its lyrics a thousand times would fill the ledger."""
    told = tagged("FLAC", {"lyrics": "la" * 5_000} | {f"tag{at}": "x" for at in range(200)})

    assert len(told["lyrics"]) == 1_000
    assert len(told) <= 64


def test_text_that_is_no_unicode_is_told_as_far_as_it_can_be_read() -> None:
    """Tags in an old encoding would make the file fail, or JSON that no database takes."""
    content = encode_sound(np.zeros((1, 999), np.int16), "flac", "flac", metadata={"title": "Perche!"})

    tags = AnySound().probe(io.BytesIO(content.replace(b"Perche!", b"Perch\xe9\0")))["tags"]

    assert tags["title"].startswith("Perch")
    assert json.loads(json.dumps(tags).encode("utf-8")) == tags
    "".join(map(str, tags.values())).encode("utf-8")


@pytest.mark.parametrize("name", ["FLAC", "MP3", "Ogg Vorbis"])
def test_sound_that_is_damaged_in_the_middle_is_drawn_around_the_damage(name: str) -> None:
    """One bad sector would cost the whole preview."""
    codec, container, kind = (LOSSLESS | LOSSY)[name][:3]  # type: ignore[operator]
    samples = in_16_bit(sine(9.0), sine(9.0, hertz=300))
    if kind.startswith("flt"):
        samples = (samples / 32_768).astype(np.float32)  # type: ignore[assignment]
    content = encode_sound(samples, codec, container, kind=kind)
    middle = len(content) // 2
    noise = bytes(np.random.default_rng(5).integers(0, 256, 2_000, np.uint8))

    waveform, facts = shown(content[:middle] + noise + content[middle + 2_000 :])

    assert facts["duration_s"] > 6.0
    assert max(waveform["points"][:100]) > 0.1


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"OggS",
        b"fLaC" + b"\0" * 100,
        b"no sound" * 1_000,
        b"ID3\4\0\0\0\0\0\0",
        b"#EXTM3U\n#EXTINF:1\n/etc/hostname\n",
        b"ffconcat version 1.0\nfile /etc/hostname\n",
    ],
)
def test_a_file_without_sound_has_a_reason(content: bytes) -> None:
    """The record would say that something failed, but not what; a play list would open other files."""
    with pytest.raises(PreviewFailed, match="damaged or incomplete"):
        shown(content)
    with pytest.raises(PreviewFailed, match="damaged or incomplete"):
        AnySound().probe(io.BytesIO(content))


def test_sound_that_claims_to_last_for_days_is_refused() -> None:
    """A small file that is made to be long would hold a worker for hours."""
    content = bytearray(encode_sound(np.zeros((1, 999), np.int16), "flac", "flac", rate=1_000))
    content[21:26] = bytes([content[21] | 0x0F, 0xFF, 0xFF, 0xFF, 0xFF])  # STREAMINFO: frames in all

    with pytest.raises(PreviewFailed, match="hours long, more than the 24 of the limit"):
        shown(bytes(content))
    assert AnySound().probe(io.BytesIO(content))["duration_s"] > 24 * 3600


def test_nothing_is_printed_about_damaged_sound(capfd: pytest.CaptureFixture[str]) -> None:
    """FFmpeg's complaints would stand between the lines of a command."""
    content = encode_sound(in_16_bit(sine(2.0)), "libmp3lame", "mp3", kind="s16p")

    shown(content[:4_000] + bytes(3_000) + content[7_000:])

    assert capfd.readouterr() == ("", "")


def test_without_pyav_the_reason_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makers without the extra would not know what is missing."""
    monkeypatch.setitem(sys.modules, "av", None)

    assert AnySound().unavailable() == 'PyAV is not installed: pip install "comfyvn[media]"'
    with pytest.raises(PreviewFailed, match="PyAV can't be loaded"):
        shown(b"")


def test_a_wave_file_needs_numpy_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Voices would have no waveform and no loudness where PyAV is not installed."""
    content = encode_sound(in_16_bit(sine(1.0, level_db=-20)), "pcm_s16le", "wav")
    monkeypatch.setitem(sys.modules, "av", None)

    made = WavFormat().preview(io.BytesIO(content), PreviewLimits())

    assert len(json.loads(made.files["waveform"])["points"]) == 512
    assert made.facts["loudness_lufs"] == pytest.approx(-23.0, abs=0.1)


@given(
    st.lists(st.integers(-32768, 32767), min_size=1, max_size=3_000),
    st.integers(1, 3),
    st.integers(1, 9),
    st.lists(st.integers(1, 700), min_size=1, max_size=9),
)
@settings(max_examples=200, deadline=None)
def test_peaks_of_a_stream_are_those_of_the_whole(
    numbers: list[int], interleaved: int, wanted: int, sizes: list[int]
) -> None:
    """A peak at the edge of a block, or of two bins that merge, would be lost or counted twice."""
    frames = len(numbers) // interleaved
    samples = np.array(numbers[: frames * interleaved], np.int16)
    peaks = Peaks(wanted)

    at, turn = 0, 0
    while at < frames:
        taken = min(sizes[turn % len(sizes)], frames - at)
        peaks.add(samples[at * interleaved : (at + taken) * interleaved], interleaved)
        at, turn = at + taken, turn + 1

    points = json.loads(encode(peaks.points(), channels=1, sample_rate_hz=1, duration_s=1))["points"]
    whole = samples.reshape(-1, interleaved).T.astype(np.float64)
    assert peaks.frames == frames
    assert len(points) == min(wanted, frames)
    if frames <= wanted * 128:  # not merged yet: exact
        assert points == (expected(whole, wanted) if frames else [])
    assert max(points, default=0.0) == (1.0 if whole.any() else 0.0)


def test_columns_of_long_sound_begin_where_they_should() -> None:
    """Merged bins would shift what is drawn by more than can be seen."""
    frames = 1_000_000
    peaks = Peaks(512)
    for at in range(0, frames, 10_000):
        block = np.zeros(10_000, np.float32)
        if at == 300_000:
            block[1_234] = 1.0
        peaks.add(block)

    points = peaks.points()

    assert len(points) == 512
    assert [at for at, point in enumerate(points) if point] == [301_234 * 512 // frames]


@pytest.mark.parametrize("frames", [1, 700, 70_000, 300_000, 5_000_000])
def test_a_length_that_is_known_beforehand_changes_no_waveform(frames: int) -> None:
    """The waveform of a format whose header tells the length would look different."""
    samples = np.random.default_rng(frames).normal(0, 0.1, frames).astype(np.float32)
    plain, hinted = Peaks(512), Peaks(512, frames)

    for start in range(0, frames, 30_000):
        plain.add(samples[start : start + 30_000])
        hinted.add(samples[start : start + 30_000])

    assert hinted.points() == plain.points()


def test_a_header_that_promises_hours_does_not_blur_a_short_sound() -> None:
    """The waveform of a file that was cut short would be a few bars."""
    samples = np.random.default_rng(1).normal(0, 0.1, 96_000).astype(np.float32)
    peaks = Peaks(512, 24 * 3600 * 48_000)

    peaks.add(samples)

    assert len(peaks.points()) == 512


LONG = """
import io, sys
import numpy as np
from comfyvn.media import PreviewLimits
from comfyvn.media.audio import SoundFormat
sys.path.insert(0, {tests!r})
from encoders import encode_sound

class AnySound(SoundFormat):
    name = "sound"

def show(path):
    with open(path, "rb") as file:
        return AnySound().preview(file, PreviewLimits()).facts["duration_s"]

show({short!r})
before = peak_kib()
print(show({long!r}), peak_kib() - before)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs getrusage")
def test_two_hours_take_no_more_memory_than_a_minute(tmp_path: Path) -> None:
    """An audio drama would be read into memory at once, and stop the computer."""
    tone = in_16_bit(sine(30.0)[::6])  # at 8 kHz
    short = encode_sound(tone, "libmp3lame", "mp3", kind="s16p", rate=8_000)
    (tmp_path / "short.mp3").write_bytes(short)
    (tmp_path / "long.mp3").write_bytes(short[short.index(b"\xff\xe3") :] * 240)
    code = PEAK_KIB + LONG.format(
        tests=encoders.__file__.rpartition("encoders")[0],
        short=str(tmp_path / "short.mp3"),
        long=str(tmp_path / "long.mp3"),
    )

    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=TIMEOUT_S
    )

    duration_s, grown_kib = map(float, run.stdout.split())
    assert duration_s > 7_000
    assert grown_kib < 30_000
    assert run.stderr == ""


def test_hosts_logging_is_left_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    """A host that listens to FFmpeg would find it silenced, or get lines it didn't ask for."""
    before = av.logging.get_level()

    with caplog.at_level(logging.DEBUG):
        shown(encode_sound(in_16_bit(sine(1.0)), "flac", "flac"))

    assert av.logging.get_level() == before
    assert caplog.records == []
