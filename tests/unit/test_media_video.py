"""The poster, the animation and the facts of film."""

import io
import json
import struct
from collections.abc import Iterable, Iterator
from contextlib import suppress
from fractions import Fraction
from typing import Any, BinaryIO

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from comfyvn.errors import PreviewFailed
from comfyvn.media import PreviewLimits
from comfyvn.media.video import AviFormat, FilmFormat, MpegFormat
from comfyvn.model import PreviewKind
from comfyvn.testing import FormatContract
from encoders import encode_film, encode_sound

RED = (200, 40, 60)
FILMS = {
    "H.264": ("libx264", "mp4", "h264"),
    "VP9": ("libvpx-vp9", "webm", "vp9"),
    "VP8": ("libvpx", "webm", "vp8"),
    "MPEG-4": ("mpeg4", "avi", "mpeg4"),
    "AV1": ("libsvtav1", "mp4", "av1"),
    "MPEG-2": ("mpeg2video", "vob", "mpeg2video"),
}


class AnyFilm(FilmFormat):
    name = "film"


def scene(colour: tuple[int, ...], size: tuple[int, int] = (160, 90)) -> NDArray[np.uint8]:
    """A picture of one colour with a white field at its upper left."""
    made = np.empty((size[1], size[0], len(colour)), np.uint8)
    made[:] = colour
    made[: size[1] // 3, : size[0] // 4] = 255
    return made


def black(size: tuple[int, int] = (160, 90)) -> NDArray[np.uint8]:
    return np.zeros((size[1], size[0], 3), np.uint8)


def moving(count: int, size: tuple[int, int] = (160, 90)) -> Iterator[NDArray[np.uint8]]:
    """Pictures whose brightness rises, below them a field that jumps to the right."""
    width, height = size
    for at in range(count):
        picture = scene((40 + at * 180 // count,) * 3, size)
        picture[height * 4 // 5 :] = 0
        picture[height * 4 // 5 :, at % 8 * width // 8 :][:, : width // 8] = 255
        yield picture


def shown(
    content: bytes, limits: PreviewLimits | None = None
) -> tuple[dict[str, Image.Image], dict[str, Any]]:
    file = io.BytesIO(content)
    made = AnyFilm().preview(file, limits or PreviewLimits())
    assert not file.closed
    assert made.files.keys() == {"256", "512", "animation"}
    assert len(made.files["animation"]) <= 500_000
    return {name: Image.open(io.BytesIO(data)) for name, data in made.files.items()}, dict(made.facts)


def at(picture: Image.Image, x: float, y: float) -> tuple[int, ...]:
    rgba = picture.convert("RGBA")
    found = rgba.getpixel((int(x * (rgba.width - 1)), int(y * (rgba.height - 1))))
    assert isinstance(found, tuple)
    return found


def durations(animation: Image.Image) -> list[int]:
    told = []
    for frame in range(getattr(animation, "n_frames", 1)):
        animation.seek(frame)
        animation.load()
        told.append(int(animation.info["duration"]))
    return told


@pytest.mark.parametrize("name", FILMS)
def test_the_poster_is_not_the_black_beginning(name: str) -> None:
    """Nearly every cut-scene fades in: a wall of black thumbnails tells nothing."""
    codec, container, known_as = FILMS[name]
    pictures = [*[black()] * 15, *[scene(RED)] * 25]

    made, facts = shown(encode_film(pictures, codec, container, rate=10 if name != "MPEG-2" else 25))

    assert at(made["512"], 0.6, 0.6)[:3] == pytest.approx(RED, abs=12)
    assert at(made["512"], 0.1, 0.1)[:3] == pytest.approx((255, 255, 255), abs=12)
    assert (made["512"].size, made["256"].size, made["animation"].size) == ((160, 90),) * 3
    assert facts["codec"] == known_as
    assert (facts["width"], facts["height"], facts["has_alpha"]) == (160, 90, False)
    assert facts["frame_rate"] == (10.0 if name != "MPEG-2" else 25.0)
    if name != "MPEG-2":  # which has no header that tells
        assert facts["duration_s"] == pytest.approx(4.0, abs=0.2)


def test_a_film_that_begins_with_a_picture_shows_its_first_frame() -> None:
    """A loop of a character would be shown at some other moment than the one it begins with."""
    made, _ = shown(encode_film(moving(40), "libx264", "mp4"))

    assert at(made["512"], 0.6, 0.6)[0] == pytest.approx(40, abs=6)


def test_a_film_that_stays_black_for_long_is_looked_at_later() -> None:
    """A film with a long black opening would be black for ever."""
    pictures = [*[black((64, 36))] * 240, *[scene(RED, (64, 36))] * 160]

    made, _ = shown(encode_film(pictures, "libx264", "mp4", options={"g": "20"}))

    assert at(made["512"], 0.6, 0.6)[:3] == pytest.approx(RED, abs=12)


def test_a_film_of_one_colour_has_a_poster() -> None:
    """A film without any contrast would have no preview at all."""
    plain = np.full((36, 64, 3), 128, np.uint8)

    made, _ = shown(encode_film([*[black((64, 36))] * 10, *[plain] * 30], "libx264", "mp4"))

    assert at(made["512"], 0.5, 0.5)[0] == pytest.approx(128, abs=6)


def test_previews_are_scaled_and_never_enlarged() -> None:
    """A page of full-size films would take minutes to load."""
    made, facts = shown(encode_film(moving(5, (1280, 720)), "libx264", "mp4"))

    assert (made["512"].size, made["256"].size) == ((512, 288), (256, 144))
    assert made["animation"].size == (256, 144)
    assert (facts["width"], facts["height"]) == (1280, 720)


def test_a_short_film_is_shown_whole_and_as_long_as_it_is() -> None:
    """A loop would jump, or run at another speed."""
    made, _ = shown(encode_film(moving(40), "libvpx-vp9", "webm"))

    told = durations(made["animation"])
    assert sum(told) == pytest.approx(4_000, abs=100)
    assert 25 <= len(told) <= 31
    assert made["animation"].info["loop"] == 0
    made["animation"].seek(len(told) - 1)
    assert at(made["animation"], 0.6, 0.6)[0] > 200


def test_of_a_long_film_three_seconds_are_shown() -> None:
    """A long film would take minutes to decode, and megabytes to show."""
    pictures = [*[black()] * 20, *moving(280)]

    made, facts = shown(encode_film(pictures, "libx264", "mp4", rate=20))

    told = durations(made["animation"])
    assert sum(told) == pytest.approx(3_000, abs=150)
    assert 25 <= len(told) <= 31
    made["animation"].seek(0)
    assert at(made["animation"], 0.6, 0.6)[0] > 30
    assert (facts["duration_s"], facts["frames"]) == (15.0, 300)


def test_a_film_whose_frames_change_their_size_is_shown_at_the_first() -> None:
    """Recordings of streams do so: the animation could not be encoded."""
    content = growing_film(((160, 90), (320, 240)))

    made, _ = shown(content)

    assert made["512"].size == made["animation"].size == (160, 90)
    assert sum(durations(made["animation"])) == pytest.approx(4_000, abs=150)


def growing_film(sizes: Iterable[tuple[int, int]]) -> bytes:
    """Encode two seconds of each size, one after the other, in one stream."""
    sink = io.BytesIO()
    with av.open(sink, "w", format="webm") as made:
        stream: Any = None
        for number, size in enumerate(sizes):
            if stream is None:
                stream = made.add_stream("libvpx-vp9", rate=10)
                stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
            encoder: Any = av.CodecContext.create("libvpx-vp9", "w")
            encoder.width, encoder.height, encoder.pix_fmt = *size, "yuv420p"
            encoder.time_base = Fraction(1, 10)
            frames: list[Any] = []
            for at, picture in enumerate(moving(20, size)):
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p")
                frame.pts, frame.time_base = number * 20 + at, Fraction(1, 10)
                frames.append(frame)
            for each in (*frames, None):
                for packet in encoder.encode(each):
                    packet.stream = stream
                    packet.time_base = Fraction(1, 10)
                    made.mux(packet)
    return sink.getvalue()


def test_noise_is_made_to_fit() -> None:
    """An animation of film grain would have megabytes."""
    random = np.random.default_rng(1)
    pictures = [random.integers(0, 256, (288, 512, 3), np.uint8) for _ in range(40)]

    shown(encode_film(pictures, "libx264", "mp4"))


# What a display matrix says (a, b, c, d), and where it puts the upper left corner.
TURNS = {
    "upright": ((1, 0, 0, 1), (0, 0), False),
    "a quarter to the right": ((0, 1, -1, 0), (1, 0), True),
    "on its head": ((-1, 0, 0, -1), (1, 1), False),
    "a quarter to the left": ((0, -1, 1, 0), (0, 1), True),
    "mirrored": ((-1, 0, 0, 1), (1, 0), False),
    "mirrored on its head": ((1, 0, 0, -1), (0, 1), False),
    "mirrored and turned": ((0, 1, 1, 0), (0, 0), True),
    "mirrored and turned the other way": ((0, -1, -1, 0), (1, 1), True),
}


@pytest.mark.parametrize("turn", TURNS)
def test_a_film_is_shown_upright(turn: str) -> None:
    """What a phone recorded would lie on its side."""
    (a, b, c, d), corner, is_on_its_side = TURNS[turn]
    content = encode_film([scene(RED)] * 5, "libx264", "mp4")
    plain = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    stated = struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    place = content.index(plain, content.index(b"tkhd"))
    content = content[:place] + stated + content[place + len(plain) :]

    made, facts = shown(content)

    size = (90, 160) if is_on_its_side else (160, 90)
    assert made["512"].size == made["animation"].size == (facts["width"], facts["height"]) == size
    for picture in (made["512"], made["animation"]):
        white = [(x, y) for x in (0, 1) for y in (0, 1) if min(at(picture, x, y)[:3]) > 200]
        assert white == [corner]
    assert AnyFilm().probe(io.BytesIO(content)) == facts


@pytest.mark.parametrize(("ratio", "size"), [(Fraction(4, 3), (480, 180)), (Fraction(1, 2), (180, 180))])
def test_pixels_that_are_not_square_are_made_so(ratio: Fraction, size: tuple[int, int]) -> None:
    """Everybody in a DVD's film would be too thin."""
    made, facts = shown(encode_film([scene(RED, (360, 180))] * 5, "libx264", "mp4", ratio=ratio))

    assert made["512"].size == (facts["width"], facts["height"]) == size


@pytest.mark.parametrize(("lines", "space"), [(90, "bt601"), (720, "bt709")])
def test_colours_are_those_of_the_standard(lines: int, space: str) -> None:
    """The wrong matrix makes faces green: small films are ITU-R BT.601, large ones BT.709."""
    red, green, blue = (channel / 255 for channel in RED)
    kr, kb = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722)}[space]
    luma = kr * red + (1 - kr - kb) * green + kb * blue
    planes = [16 + 219 * luma, 128 + 112 * (blue - luma) / (1 - kb), 128 + 112 * (red - luma) / (1 - kr)]
    film = yuv_film([round(plane) for plane in planes], (lines * 16 // 9, lines))

    made, _ = shown(film)

    assert at(made["512"], 0.5, 0.5)[:3] == pytest.approx(RED, abs=5)


def yuv_film(planes: list[int], size: tuple[int, int]) -> bytes:
    """Encode a film whose luma and chroma are given, and say nothing of what they mean."""
    sink = io.BytesIO()
    with av.open(sink, "w", format="mp4") as made:
        stream: Any = made.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for number in range(3):
            frame = av.VideoFrame(*size, "yuv420p")
            for plane, value in zip(frame.planes, planes, strict=True):
                plane.update(bytes([value]) * plane.buffer_size)
            frame.pts, frame.time_base = number, Fraction(1, 10)
            made.mux(stream.encode(frame))
        made.mux(stream.encode(None))
    return sink.getvalue()


def test_transparency_is_kept() -> None:
    """A character on a transparent ground would stand in a black box."""
    picture = scene((*RED, 255))
    picture[45:75, 80:120] = (*RED, 0)

    made, facts = shown(encode_film([picture] * 10, "libvpx-vp9", "webm", pixels="yuva420p"))

    assert facts["has_alpha"] is True
    for each in (made["512"], made["animation"]):
        assert at(each, 0.6, 0.6)[3] == 0
        assert at(each, 0.2, 0.9) == pytest.approx((*RED, 255), abs=12)


def test_what_is_transparent_does_not_bleed_into_what_is_not() -> None:
    """Every sprite would have a dark rim once it is scaled."""
    picture = np.zeros((720, 1280, 4), np.uint8)
    picture[:, :639] = (255, 255, 255, 255)

    made, _ = shown(encode_film([picture] * 3, "libvpx-vp9", "webm", pixels="yuva420p"))

    row = [made["512"].convert("RGBA").getpixel((x, 144)) for x in range(512)]
    seen = [pixel for pixel in row if isinstance(pixel, tuple) and pixel[3] > 40]
    assert min(min(pixel[:3]) for pixel in seen) > 150


def test_facts_tell_of_the_sound_as_well() -> None:
    """Nobody could find the films that have no sound."""
    made = AnyFilm().probe(io.BytesIO(encode_film(moving(10), "libx264", "mp4", sound_rate=44_100)))

    assert made["audio_codec"] == "aac"
    assert (made["channels"], made["sample_rate"]) == (2, 44_100)
    assert json.loads(json.dumps(made, allow_nan=False)) == made


def test_facts_of_the_header_are_those_of_the_preview() -> None:
    """Facts of a film whose preview failed would be others."""
    for codec, container, _ in FILMS.values():
        content = encode_film([scene(RED)] * 25, codec, container, rate=25)

        assert AnyFilm().probe(io.BytesIO(content)) == shown(content)[1]


@pytest.mark.parametrize("name", ["H.264", "VP9", "MPEG-4"])
def test_frames_beyond_the_limit_are_refused_before_they_are_decoded(name: str) -> None:
    """A frame of a gigapixel would stop the computer."""
    codec, container, _ = FILMS[name]
    content = encode_film(moving(5, (640, 360)), codec, container)

    with pytest.raises(PreviewFailed, match="more than the limit of 200,000"):
        shown(content, PreviewLimits(pixels=200_000))


def test_only_so_many_frames_are_looked_at() -> None:
    """A film that stays black for hours would be decoded to its end."""
    pictures = [*[black((64, 36))] * 30, *[scene(RED, (64, 36))] * 70]

    made, _ = shown(encode_film(pictures, "libx264", "mp4"), PreviewLimits(frames=10))

    assert max(at(made["512"], 0.6, 0.6)[:3]) < 20


class SoundOnly(AnyFilm):
    def kind_of(self, file: BinaryIO) -> PreviewKind | None:
        return "waveform"


def test_a_container_with_sound_only_has_a_waveform() -> None:
    """Music in MP4 or WebM would fail for want of a picture."""
    content = encode_sound(np.full((1, 9_600), 0.5, np.float32), "aac", "mp4", kind="fltp")

    made = SoundOnly().preview(io.BytesIO(content), PreviewLimits())

    assert made.files.keys() == {"waveform"}
    assert SoundOnly().probe(io.BytesIO(content))["sample_rate"] == 48_000
    with pytest.raises(PreviewFailed, match="there is no picture in it"):
        shown(content)


@pytest.mark.parametrize("name", ["H.264", "VP9", "MPEG-4"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_damaged_film_has_a_preview_or_a_reason(
    name: str, share: float, capfd: pytest.CaptureFixture[str]
) -> None:
    """One bad sector would cost the preview, or fill the screen with FFmpeg's complaints."""
    codec, container, _ = FILMS[name]
    content = bytearray(encode_film(moving(60), codec, container))
    place = int(len(content) * share)
    content[place : place + 300] = bytes(np.random.default_rng(1).integers(0, 256, 300, np.uint8))

    for damaged in (bytes(content), bytes(content[:place])):
        with suppress(PreviewFailed):
            assert shown(damaged)[0]["512"].size == (160, 90)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    "head", [b"\0\0\1\xba\x44" + bytes(20), b"\0\0\1\xba" + b"\xff" * 20, b"\0\0\1\xb3", b"RIFF"]
)
def test_what_only_looks_like_film_is_not_claimed(head: bytes) -> None:
    """Plain data would have a failed preview."""
    assert not MpegFormat().sniff(head, "a.mpg")
    assert not AviFormat().sniff(head, "a.avi")


class TestAviFormat(FormatContract):
    format = AviFormat()

    @pytest.fixture
    def samples(self) -> dict[str, bytes]:
        return {"a.avi": encode_film(moving(12), "mpeg4", "avi")}


class TestMpegFormat(FormatContract):
    format = MpegFormat()

    @pytest.fixture
    def samples(self) -> dict[str, bytes]:
        return {
            "a.mpg": encode_film(moving(12), "mpeg1video", "mpeg", rate=25),
            "b.vob": encode_film(moving(12), "mpeg2video", "vob", rate=25),
        }
