"""The still and the short animated WebP of GIF, APNG, WebP and AVIF, judged frame by frame by Pillow."""

import io
import itertools
import random
import struct
import zlib
from typing import Any

import pytest
from PIL import Image, ImageChops, ImageSequence, features

from comfyvn.errors import PreviewFailed
from comfyvn.media import PreviewLimits, Rendered, probe, render
from comfyvn.media.animation import encode_moving
from comfyvn.media.formats import kind_of, recognise

KINDS = ["GIF", "PNG", "WEBP", *(["AVIF"] if features.check("avif") else [])]
RED, GREEN, BLUE = (220, 30, 30), (30, 200, 30), (30, 30, 220)
Shown = list[tuple[float, Image.Image]]


def sprite(number: int, size: tuple[int, int] = (120, 80)) -> Image.Image:
    """Return a red square with a hole in it that walks over nothing."""
    image = Image.new("RGBA", size, (0, 0, 0, 0))
    left = number * 12 % max(1, size[0] - 40)
    image.paste((*RED, 255), (left, 20, left + 40, 60))
    image.paste((0, 0, 0, 0), (left + 10, 30, left + 30, 50))
    return image


def saved(frames: list[Image.Image], kind: str, **options: Any) -> bytes:
    sink = io.BytesIO()
    quality: dict[str, Any] = {"WEBP": {"lossless": True}, "AVIF": {"quality": 95, "speed": 10}}.get(kind, {})
    if kind == "GIF":
        options = {"loop": 0, "disposal": 2, **options}
    frames[0].save(sink, kind, save_all=True, append_images=frames[1:], **quality, **options)
    return sink.getvalue()


def made(content: bytes, **limits: int) -> Rendered:
    found = render(io.BytesIO(content), "animation", PreviewLimits(**limits))
    assert found.files.keys() == {"256", "512", "animation"}
    return found


def still(content: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(made(content).files["256"]), formats=["WEBP"])
    image.load()
    return image


def frames_of(content: bytes) -> Shown:
    """Return what is seen, as Pillow puts it together, and when: a last entry says when all is over."""
    shown: Shown = []
    at = 0.0
    with Image.open(io.BytesIO(content)) as image:
        first = 1 if image.info.get("default_image") else 0
        for number, frame in enumerate(ImageSequence.Iterator(image)):
            if number < first:
                continue
            frame.load()
            shown.append((at, frame.convert("RGBA")))
            stated = frame.info.get("duration", 0)
            at += stated if stated > 10 else 100
    return [*shown, (at, shown[-1][1])]


def seen_at(shown: Shown, time_ms: float) -> Image.Image:
    return [image for start, image in shown if start <= time_ms][-1]


def preview_frames(content: bytes) -> Shown:
    return frames_of(made(content).files["animation"])


def distance(one: Image.Image, other: Image.Image) -> float:
    """Return how far two pictures are apart on black and on white, 0 to 255, on average."""
    far = 0.0
    for ground in ("black", "white"):
        pair = []
        for image in (one, other):
            flat = Image.new("RGBA", image.size, ground)
            flat.alpha_composite(image)
            pair.append(flat.convert("RGB"))
        histogram = ImageChops.difference(*pair).convert("L").histogram()
        far = max(far, sum(at * count for at, count in enumerate(histogram)) / sum(histogram))
    return far


@pytest.mark.parametrize("kind", KINDS)
def test_every_frame_is_shown_when_it_was(kind: str) -> None:
    """A character would blink too fast, or with the wrong frames."""
    content = saved(
        [sprite(number) for number in range(8)], kind, duration=[100, 40, 250, 100, 60, 80, 90, 100]
    )
    wanted = frames_of(content)

    found = preview_frames(content)

    assert [start for start, _ in found] == [start for start, _ in wanted]
    for (_, one), (_, other) in zip(found, wanted, strict=True):
        assert one.size == (120, 80)
        assert distance(one, other) < 3


@pytest.mark.parametrize("kind", KINDS)
def test_the_preview_plays_for_ever_and_keeps_its_alpha(kind: str) -> None:
    """A gallery would show one round and then a still, or a black box behind the sprite."""
    content = saved([sprite(number) for number in range(4)], kind, duration=100, loop=3)

    with Image.open(io.BytesIO(made(content).files["animation"])) as image:
        assert image.info["loop"] == 0
        assert image.is_animated
        assert image.convert("RGBA").getpixel((119, 79))[3] <= 4


def test_opaque_rectangles_on_nothing_keep_their_alpha() -> None:
    """The encoder would cut the frames to their opaque part, say that there is no alpha, and players show the
    rest black."""
    frames = [Image.new("RGBA", (120, 80), (0, 0, 0, 0)) for _ in range(3)]
    for number, frame in enumerate(frames):
        frame.paste((*RED, 255), (20 * number, 20, 20 * number + 40, 60))

    with Image.open(io.BytesIO(encode_moving(frames, [0, 100, 200], 300))) as image:
        assert image.convert("RGBA").getpixel((119, 79))[3] == 0


def test_frames_without_transparency_have_none_in_the_preview() -> None:
    """Every animation would carry a useless alpha plane."""
    frames = [Image.new("RGB", (60, 60), colour) for colour in (RED, GREEN, BLUE)]

    with Image.open(io.BytesIO(made(saved(frames, "WEBP", duration=100)).files["animation"])) as image:
        assert image.mode == "RGB"


def gif_of(disposal: int) -> bytes:
    """Return a GIF whose frames are parts, each disposed of in one way."""
    table = b"".join(bytes(colour) for colour in ((0, 0, 0), RED, GREEN, BLUE))
    content = b"GIF89a" + struct.pack("<HHBBB", 32, 32, 0x91, 0, 0) + table
    places = [(1, 0, 0, 32, 32), (2, 4, 4, 16, 16), (3, 10, 10, 16, 16), (2, 0, 20, 8, 8)]
    for colour, left, top, width, height in places:
        part = Image.new("P", (width, height), colour)
        part.paste(0, (width // 4, height // 4, width // 2, height // 2))
        part.putpalette(table)
        sink = io.BytesIO()
        part.save(sink, "GIF", optimize=False)
        raw = sink.getvalue()
        at = raw.index(b",", 13 + 3 * 2 ** ((raw[10] & 7) + 1))
        pixels = raw[at + 10 : -1]
        content += b"!\xf9\4" + bytes([disposal << 2 | 1]) + struct.pack("<HB", 20, 0) + b"\0"
        content += b"," + struct.pack("<HHHHB", left, top, width, height, 0) + pixels
    return content + b";"


@pytest.mark.parametrize("disposal", [0, 1, 2, 3])
def test_parts_of_a_gif_are_laid_over_each_other_as_it_says(disposal: int) -> None:
    """Frames would leave trails behind, or holes."""
    content = gif_of(disposal)
    wanted = frames_of(content)

    found = preview_frames(content)

    assert len(wanted) == 5
    for start, image in found:
        assert distance(image, seen_at(wanted, start)) < 12


def apng_of(dispose: int, blend: int) -> bytes:
    """Return an APNG whose frames are parts with half-transparent corners."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    def rows(image: Image.Image) -> bytes:
        width = image.width * 4
        raw = image.tobytes()
        return zlib.compress(b"".join(b"\0" + raw[at : at + width] for at in range(0, len(raw), width)))

    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 32, 32, 8, 6, 0, 0, 0))
    content += chunk(b"acTL", struct.pack(">II", 4, 0))
    places = [(RED, 0, 0, 32, 32), (GREEN, 4, 4, 16, 16), (BLUE, 10, 10, 16, 16), (GREEN, 0, 20, 8, 8)]
    sequence = itertools.count()
    for number, (colour, left, top, width, height) in enumerate(places):
        part = Image.new("RGBA", (width, height), (*colour, 255))
        part.paste((*colour, 90), (0, 0, width // 2, height // 2))
        head = struct.pack(">IIIIIHHBB", next(sequence), width, height, left, top, 1, 5, dispose, blend)
        content += chunk(b"fcTL", head)
        if number == 0:
            content += chunk(b"IDAT", rows(part))
        else:
            content += chunk(b"fdAT", struct.pack(">I", next(sequence)) + rows(part))
    return content + chunk(b"IEND", b"")


@pytest.mark.parametrize("blend", [0, 1])
@pytest.mark.parametrize("dispose", [0, 1, 2])
def test_parts_of_an_apng_are_laid_over_each_other_as_it_says(dispose: int, blend: int) -> None:
    """Frames would leave trails behind, or holes."""
    content = apng_of(dispose, blend)
    wanted = frames_of(content)

    found = preview_frames(content)

    assert len(wanted) == 5
    for start, image in found:
        assert distance(image, seen_at(wanted, start)) < 12


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_the_still_is_the_first_frame_that_shows_something(kind: str) -> None:
    """A character that fades in would have an empty preview."""
    empty = Image.new("RGBA", (40, 40), (0, 0, 0, 0))
    green = Image.new("RGBA", (40, 40), (*GREEN, 255))
    content = saved([empty, green, sprite(0, (40, 40))], kind, duration=50)

    shown = still(content).convert("RGBA")

    assert distance(shown, Image.new("RGBA", (40, 40), (*GREEN, 255))) < 12


def test_an_animation_that_shows_nothing_has_a_preview_all_the_same() -> None:
    """The search for a frame that shows something would end in an error."""
    frames = [Image.new("RGBA", (40, 40), (number, 0, 0, 0)) for number in range(3)]
    content = saved(frames, "WEBP", duration=50, exact=True)

    assert still(content).convert("RGBA").getextrema()[3] == (0, 0)


def test_a_picture_for_other_viewers_is_no_part_of_an_apng() -> None:
    """The preview would show "your browser can't show this"."""
    frames = [Image.new("RGB", (40, 40), colour) for colour in (RED, GREEN, BLUE)]
    content = saved(frames, "PNG", duration=100, default_image=True)

    found = made(content)

    assert distance(still(content).convert("RGBA"), Image.new("RGBA", (40, 40), GREEN)) < 12
    assert [start for start, _ in frames_of(found.files["animation"])] == [0, 100, 200]
    assert found.facts["frames"] == 2


@pytest.mark.parametrize("kind", ["GIF", "WEBP"])
def test_of_a_long_animation_some_sixty_frames_of_four_seconds_are_shown(kind: str) -> None:
    """A long GIF would make a preview of megabytes, or one that runs too fast."""
    content = saved([sprite(number, (60, 80)) for number in range(300)], kind, duration=20)
    wanted = frames_of(content)

    found = preview_frames(content)

    starts = [start for start, _ in found]
    assert 40 <= len(found) <= 61
    assert starts[-1] == pytest.approx(4000, abs=40)
    assert max(later - earlier for earlier, later in itertools.pairwise(starts)) <= 120
    for start, image in found[:-1]:
        assert distance(image, seen_at(wanted, start)) < 6


def test_a_slide_show_keeps_its_pace() -> None:
    """Slides of five seconds would be cut to the first one, or flicker."""
    frames = [Image.new("RGB", (40, 40), colour) for colour in (RED, GREEN, BLUE)]
    content = saved(frames, "WEBP", duration=5_000)

    found = preview_frames(content)

    assert [start for start, _ in found] == [0, 5_000, 10_000, 15_000]


def test_frames_without_a_duration_take_as_long_as_in_browsers() -> None:
    """Thousands of GIFs state no duration: they would rush by."""
    content = saved([sprite(number) for number in range(4)], "GIF", duration=0)

    found = made(content)

    assert [start for start, _ in frames_of(found.files["animation"])] == [0, 100, 200, 300, 400]
    assert found.facts["duration_s"] == 0.4


def test_an_animation_of_noise_stays_small() -> None:
    """A preview page with twenty of them would weigh more than the game."""
    source = random.Random(4)
    noise = [Image.frombytes("RGB", (256, 256), source.randbytes(196_608)) for _ in range(40)]

    encoded = encode_moving(noise, [number * 50 for number in range(40)], 2_000)

    assert len(encoded) <= 500_000
    assert frames_of(encoded)[-1][0] == 2_000


@pytest.mark.parametrize("size", [(1200, 300), (300, 1200)])
def test_the_animation_is_256_pixels_long(size: tuple[int, int]) -> None:
    """The animation would be as large as its source."""
    frames = [sprite(number, size) for number in range(3)]
    content = saved(frames, "WEBP", duration=100)

    with Image.open(io.BytesIO(made(content).files["animation"])) as image:
        assert image.size == ((256, 64) if size[0] > size[1] else (64, 256))


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_an_animation_stands_upright(kind: str) -> None:
    """A film of a phone would lie on its side."""
    exif = Image.Exif()
    exif[0x0112] = 6
    frames = [sprite(number) for number in range(3)]
    content = saved(frames, kind, duration=100, exif=exif)

    found = made(content)

    shown = [still(content), *(image for _, image in frames_of(found.files["animation"]))]
    assert {image.size for image in shown} == {(80, 120)}
    assert (found.facts["width"], found.facts["height"]) == (80, 120)
    assert distance(shown[1], frames[0].transpose(Image.Transpose.ROTATE_270)) < 3


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_what_is_damaged_after_the_first_frame_is_left_out(kind: str) -> None:
    """A download that broke off would have no preview, though players show what there is."""
    source = random.Random(5)
    frames = [Image.frombytes("RGB", (64, 64), source.randbytes(12_288)) for _ in range(6)]
    content = saved(frames, kind, duration=100)
    cut = content[: len(content) // 2]

    found = preview_frames(cut) if kind != "WEBP" else None

    if found is not None:
        assert 2 <= len(found) <= 5
    else:  # libwebp opens whole files only
        with pytest.raises(PreviewFailed, match="damaged or incomplete"):
            made(cut)


def test_a_file_that_claims_to_move_and_has_one_frame_shows_it() -> None:
    """The record would name an animation that is not there."""
    content = saved([sprite(0), sprite(3)], "PNG", duration=100)
    alone = content[: content.rindex(b"fcTL") - 4] + b"\0\0\0\0IEND\xaeB`\x82"

    found = made(alone)

    with Image.open(io.BytesIO(found.files["animation"])) as image:
        assert not getattr(image, "is_animated", False)
        assert distance(image.convert("RGBA"), sprite(0)) < 3


def test_an_apng_with_frames_in_disorder_shows_its_picture() -> None:
    """A picture that every browser shows would have no preview."""
    content = saved([sprite(0), sprite(3)], "PNG", duration=100)
    at = content.index(b"fcTL") + 4
    wrong = content[:at] + struct.pack(">I", 77) + content[at + 4 :]
    wrong = wrong[: at + 26] + struct.pack(">I", zlib.crc32(wrong[at - 4 : at + 26])) + wrong[at + 30 :]

    found = made(wrong)

    assert found.files["animation"] == found.files["256"]
    assert distance(still(wrong).convert("RGBA"), sprite(0)) < 3


@pytest.mark.parametrize(("frames", "kind"), [(0, "thumbnail"), (1, "thumbnail"), (2, "animation")])
def test_a_png_moves_if_it_has_more_than_one_frame(frames: int, kind: str) -> None:
    """A still picture would have an empty animation, or an animated one none."""
    control = struct.pack(">II", frames, 0)
    chunk = struct.pack(">I", 8) + b"acTL" + control + struct.pack(">I", zlib.crc32(b"acTL" + control))
    sink = io.BytesIO()
    sprite(0).save(sink, "PNG")
    content = sink.getvalue()
    file = io.BytesIO(content[:33] + chunk + content[33:])
    late = io.BytesIO(content[:-12] + chunk + content[-12:])

    found = recognise(content)

    assert kind_of(found, file) == kind
    assert kind_of(found, late) == "thumbnail"


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_an_animation_tells_its_timing_without_being_decoded(kind: str) -> None:
    """Nobody could search for animations, or see how long they are."""
    frames = [sprite(number) for number in range(3)]
    content = saved(frames, kind, duration=[100, 250, 40], loop=4)

    told = probe(io.BytesIO(content))

    loops = 5 if kind == "GIF" else 4  # a GIF says how often it is repeated
    assert told | {"frames": 3, "loops": loops, "duration_s": 0.39, "width": 120, "height": 80} == told
    assert made(content).facts == told


def test_a_gif_that_says_nothing_about_loops_plays_once() -> None:
    """Its fact would say: for ever."""
    content = saved([sprite(0), sprite(3)], "GIF", duration=100, loop=None)

    assert probe(io.BytesIO(content))["loops"] == 1


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow was built without AVIF")
def test_an_avif_tells_its_duration_once_it_was_decoded() -> None:
    """The one format whose timing is not in plain sight would have no duration."""
    content = saved([sprite(number) for number in range(3)], "AVIF", duration=[100, 250, 40])

    facts = made(content).facts

    assert (facts["frames"], facts["duration_s"]) == (3, 0.39)
    assert probe(io.BytesIO(content))["frames"] == 3


def test_the_limit_of_frames_ends_the_look() -> None:
    """A setting would have no effect."""
    content = saved([sprite(number) for number in range(30)], "WEBP", duration=50)

    found = frames_of(made(content, frames=5).files["animation"])

    assert [start for start, _ in found] == [0, 50, 100, 150, 200, 250]


def test_a_frame_beyond_the_canvas_is_counted_in_its_size() -> None:
    """A small GIF would grow to gigabytes with its second frame."""
    content = saved([sprite(0), sprite(3)], "GIF", duration=100)
    at = content.rindex(b",", 0, content.rindex(b"\x08", 0, len(content) - 40))
    wide = content[: at + 5] + struct.pack("<HH", 50_000, 60_000) + content[at + 9 :]

    with pytest.raises(PreviewFailed, match="pixels are more than the limit"):
        made(wide)


def test_a_profile_is_heeded_in_every_frame() -> None:
    """The animation would have other colours than its still."""
    from PIL import ImageCms

    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    red, blue = profile.index(b"rXYZ"), profile.index(b"bXYZ")
    profile[red : red + 4], profile[blue : blue + 4] = b"bXYZ", b"rXYZ"  # red is blue, and blue red
    frames = [Image.new("RGB", (40, 40), RED), Image.new("RGB", (40, 40), GREEN)]
    content = saved(frames, "WEBP", duration=100, icc_profile=bytes(profile))

    found = made(content)

    first = frames_of(found.files["animation"])[0][1]
    assert first.getpixel((9, 9))[2] > 150 > first.getpixel((9, 9))[0]
    assert distance(first, still(content).convert("RGBA")) < 12
