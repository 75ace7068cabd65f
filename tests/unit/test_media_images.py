"""The thumbnails of pictures."""

import contextlib
import io
import random
import struct
import subprocess
import sys
import warnings
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageCms, PngImagePlugin, TiffImagePlugin, features

from comfyvn.errors import PreviewFailed
from comfyvn.media import RECIPES, PreviewLimits, read, render, unavailable
from comfyvn.media.images import ImageFormat
from comfyvn.media.png import PngFormat

RED, GREEN, BLUE, WHITE = (220, 30, 30), (30, 200, 30), (30, 30, 220), (240, 240, 240)


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    sink = io.BytesIO()
    image.save(sink, kind, **options)
    return sink.getvalue()


def thumbnails(content: bytes, **limits: int) -> dict[str, Image.Image]:
    made = render(io.BytesIO(content), "thumbnail", PreviewLimits(**limits)).files
    assert made.keys() == {"256", "512"}
    opened = {}
    for name, data in made.items():
        opened[name] = Image.open(io.BytesIO(data), formats=["WEBP"])
        opened[name].load()
    return opened


def near(found: Any, wanted: tuple[int, ...], by: int = 24) -> bool:
    """Tell whether two colours are the same but for what lossy coding does."""
    return len(found) == len(wanted) and all(abs(a - b) <= by for a, b in zip(found, wanted, strict=True))


def flag(mode: str = "RGB", size: tuple[int, int] = (80, 40)) -> Image.Image:
    """Return four fields: red, green above blue, white."""
    image = Image.new("RGB", size)
    width, height = size[0] // 2, size[1] // 2
    for colour, corner in ((RED, (0, 0)), (GREEN, (1, 0)), (BLUE, (0, 1)), (WHITE, (1, 1))):
        image.paste(colour, (corner[0] * width, corner[1] * height, size[0], size[1]))
        if corner == (1, 0):
            image.paste(BLUE, (0, height, width, size[1]))
    return image.convert(mode)


def corners(image: Image.Image) -> list[Any]:
    """Return the middles of the four quarters: above left, above right, below left, below right."""
    width, height = image.size
    return [image.getpixel((width * x // 4, height * y // 4)) for x, y in ((1, 1), (3, 1), (1, 3), (3, 3))]


ENCODERS: dict[str, Callable[[Image.Image], bytes]] = {
    "png": lambda image: saved(image, "PNG"),
    "jpeg": lambda image: saved(image, "JPEG", quality=95, subsampling=0),
    "webp": lambda image: saved(image, "WEBP", lossless=True),
    "bmp": lambda image: saved(image, "BMP"),
    "gif": lambda image: saved(image.quantize(16), "GIF"),
    "tiff": lambda image: saved(image, "TIFF"),
    "tiff lzw": lambda image: saved(image, "TIFF", compression="tiff_lzw"),
    "jpeg cmyk": lambda image: saved(image.convert("CMYK"), "JPEG", quality=95),
    "tiff cmyk": lambda image: saved(image.convert("CMYK"), "TIFF"),
    "tiff ycbcr": lambda image: saved(image.convert("YCbCr"), "TIFF"),
    "tiff lab": lambda image: saved(to_lab(image), "TIFF"),
}
if features.check("avif"):
    ENCODERS["avif"] = lambda image: saved(image, "AVIF", quality=95, speed=10)


def to_lab(image: Image.Image) -> Image.Image:
    srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    converted = ImageCms.profileToProfile(image, srgb, lab, outputMode="LAB")
    assert converted is not None
    return converted


@pytest.mark.parametrize("kind", ENCODERS)
@pytest.mark.parametrize("size", [(80, 40), (1400, 700)])
def test_every_format_shows_its_colours_where_they_are(kind: str, size: tuple[int, int]) -> None:
    """A format would have no preview, or the wrong colours, as CMYK and TIFF had in old releases."""
    content = ENCODERS[kind](flag(size=size))

    made = thumbnails(content)

    assert made["512"].size == ((512, 256) if size[0] > 512 else size)
    assert made["256"].size == ((256, 128) if size[0] > 256 else size)
    for image in made.values():
        assert all(map(near, corners(image), (RED, GREEN, BLUE, WHITE))), corners(image)


def test_a_small_picture_is_never_enlarged() -> None:
    """A 20 px icon would become a blurred 256 px one."""
    made = thumbnails(saved(flag(size=(20, 10)), "PNG"))

    assert {image.size for image in made.values()} == {(20, 10)}


def test_the_two_sizes_of_a_small_picture_are_one_file() -> None:
    """The same pixels would be encoded twice."""
    made = render(io.BytesIO(saved(flag(), "PNG")), "thumbnail", PreviewLimits()).files

    assert made["256"] == made["512"]


@pytest.mark.parametrize("size", [(3000, 1), (1, 3000), (700, 3), (1, 1)])
def test_a_picture_of_odd_shape_keeps_at_least_one_pixel(size: tuple[int, int]) -> None:
    """A thin line would round to a height of nothing."""
    made = thumbnails(saved(Image.new("RGB", size, RED), "PNG"))

    assert made["512"].size == tuple(min(side, 512) for side in size) or min(made["512"].size) >= 1
    assert near(made["256"].getpixel((0, 0)), RED)


# Which quarter of the stored picture is shown above left, above right, below left, below right.
TURNS = {1: "rgbw", 2: "grwb", 3: "wbgr", 4: "bwrg", 5: "rbgw", 6: "brwg", 7: "wgbr", 8: "gwrb"}
COLOURS = {"r": RED, "g": GREEN, "b": BLUE, "w": WHITE}


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("size", [(80, 40), (1400, 700)])
def test_a_photograph_stands_upright(kind: str, orientation: int, size: tuple[int, int]) -> None:
    """A photograph taken sideways would lie on its side, as in old releases."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = saved(flag(size=size), kind, exif=exif)

    made = thumbnails(content)["256"]

    long, short = (256, 128) if size[0] > 256 else size
    assert made.size == ((long, short) if orientation < 5 else (short, long))
    found = corners(made)
    assert all(near(at, COLOURS[name], 40) for at, name in zip(found, TURNS[orientation], strict=True)), found


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize("exif", [b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\xff", b"\0" * 9, b"MM"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_broken_exif_does_not_lose_the_preview(kind: str, exif: bytes) -> None:
    """A picture that every viewer shows would have no thumbnail."""
    content = saved(flag(), kind, exif=exif)

    made = thumbnails(content)

    assert made["256"].size == (80, 40)
    assert near(corners(made["256"])[0], RED, 40)


def wide_gamut() -> bytes:
    """Return a profile like Adobe RGB: the sRGB one with a wider green."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    for at in range(132, 132 + 12 * struct.unpack_from(">I", profile, 128)[0], 12):
        name, offset, _ = struct.unpack_from(">4sII", profile, at)
        values = {b"rXYZ": (0.60974, 0.31111, 0.01947), b"gXYZ": (0.20528, 0.62567, 0.06087)}
        values[b"bXYZ"] = (0.14919, 0.06322, 0.74457)
        if name in values:
            struct.pack_into(">3i", profile, offset + 8, *(round(v * 65_536) for v in values[name]))
    return bytes(profile)


@pytest.mark.parametrize(
    ("kind", "mode"),
    [("PNG", "RGB"), ("PNG", "RGBA"), ("PNG", "P"), ("WEBP", "RGBA"), ("TIFF", "P"), ("JPEG", "RGB")],
)
def test_a_wide_gamut_picture_is_shown_in_srgb(kind: str, mode: str) -> None:
    """An Adobe RGB picture would look dull in the gallery."""
    colour = (100, 200, 80)
    source = Image.new("RGB", (64, 64), colour)
    stated, srgb = ImageCms.ImageCmsProfile(io.BytesIO(wide_gamut())), ImageCms.createProfile("sRGB")
    wanted = ImageCms.profileToProfile(source, stated, srgb, outputMode="RGB")
    assert wanted is not None
    image = source.quantize(4) if mode == "P" else source.convert(mode)
    content = saved(image, kind, icc_profile=wide_gamut())

    made = thumbnails(content)["256"]

    assert not near(colour, wanted.getpixel((9, 9)), 30)
    assert near(made.convert("RGB").getpixel((9, 9)), wanted.getpixel((9, 9)), 4)
    assert "icc_profile" not in made.info
    assert not made.getexif()


def grey_profile() -> bytes:
    """Return a minimal grey profile, gamma 1.0."""
    curve = b"curv\0\0\0\0" + struct.pack(">I", 0)
    white = b"XYZ \0\0\0\0" + struct.pack(">3i", 63_190, 65_536, 54_061)
    text = b"desc\0\0\0\0" + struct.pack(">I", 2) + b"g\0" + b"\0" * 78
    tags, body, offset = b"", b"", 128 + 4 + 36
    for name, data in ((b"kTRC", curve), (b"wtpt", white), (b"desc", text)):
        padded = data + b"\0" * (-len(data) % 4)
        tags += struct.pack(">4sII", name, offset + len(body), len(data))
        body += padded
    head = struct.pack(">I4sI4s4s4s", offset + len(body), b"\0" * 4, 0x02100000, b"mntr", b"GRAY", b"XYZ ")
    head += struct.pack(">6H4s", 2026, 1, 1, 0, 0, 0, b"acsp") + b"\0" * 28
    head += struct.pack(">3i", 63_190, 65_536, 54_061)
    return head.ljust(128, b"\0") + struct.pack(">I", 3) + tags + body


@pytest.mark.parametrize("mode", ["L", "LA"])
def test_a_grey_profile_is_heeded(mode: str) -> None:
    """A linear grey scan would look far too dark."""
    content = saved(Image.new("L", (64, 64), 55).convert(mode), "PNG", icc_profile=grey_profile())

    made = thumbnails(content)["256"].convert("RGB")

    assert near(made.getpixel((9, 9)), (128, 128, 128), 6)


@pytest.mark.parametrize(
    ("mode", "profile"),
    [
        ("RGB", b"no profile at all"),
        ("RGB", b""),
        ("RGB", wide_gamut()[:200]),
        ("RGB", wide_gamut().replace(b"RGB ", b"CMYK", 1)),
        ("RGB", grey_profile()),
        ("CMYK", wide_gamut()),
        ("CMYK", b"\0" * 600),
    ],
)
def test_a_wrong_profile_does_not_lose_the_preview(mode: str, profile: bytes) -> None:
    """A picture whose colours are only slightly off would have no thumbnail at all."""
    content = saved(flag(mode), "TIFF", icc_profile=profile)

    made = thumbnails(content)["256"]

    assert all(map(near, corners(made), (RED, GREEN, BLUE, WHITE)))


def test_a_cmyk_picture_goes_through_its_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    """The plain conversion of CMYK is garish; no free CMYK profile is small enough to keep here, so the call
    is watched instead of the colours."""
    seen: list[tuple[str, str]] = []
    real = ImageCms.ImageCmsProfile

    class Stated:
        def __init__(self, source: object) -> None:
            self.profile = type("Profile", (), {"xcolor_space": "CMYK"})()

    def converted(image: Image.Image, source: object, target: object, **options: str) -> Image.Image:
        seen.append((image.mode, options["outputMode"]))
        return Image.new("RGB", image.size, BLUE)

    monkeypatch.setattr(ImageCms, "ImageCmsProfile", Stated)
    monkeypatch.setattr(ImageCms, "profileToProfile", converted)
    content = saved(
        flag("CMYK", (1400, 700)), "JPEG", icc_profile=real(ImageCms.createProfile("sRGB")).tobytes()
    )

    made = thumbnails(content)["256"]

    assert seen == [("CMYK", "RGB")]
    assert near(corners(made)[0], BLUE)


def clear_palette() -> Image.Image:
    image = flag().quantize(8)
    image.info["transparency"] = image.getpixel((5, 5))
    return image


TRANSPARENT = {
    "rgba png": lambda: saved(with_hole("RGBA"), "PNG"),
    "rgba webp": lambda: saved(with_hole("RGBA"), "WEBP", lossless=True),
    "rgba tiff": lambda: saved(with_hole("RGBA"), "TIFF"),
    "grey and alpha": lambda: saved(with_hole("LA"), "PNG"),
    "palette index": lambda: saved(clear_palette(), "PNG", transparency=clear_palette().info["transparency"]),
    "palette table": lambda: saved(with_hole("RGBA").quantize(16, Image.Quantize.FASTOCTREE), "PNG"),
    "gif": lambda: saved(clear_palette(), "GIF", transparency=clear_palette().info["transparency"]),
    "one colour": lambda: saved(flag(), "PNG", transparency=RED),
    "one grey": lambda: saved(flag("L"), "PNG", transparency=flag("L").getpixel((5, 5))),
}


def with_hole(mode: str, size: tuple[int, int] = (80, 40)) -> Image.Image:
    """Return the flag with its red field fully transparent."""
    image = flag(size=size).convert("RGBA")
    image.paste((0, 255, 0, 0), (0, 0, size[0] // 2, size[1] // 2))
    return image.convert(mode)


@pytest.mark.parametrize("kind", TRANSPARENT)
def test_what_is_transparent_stays_transparent(kind: str) -> None:
    """A sprite would stand in front of a black or green box."""
    made = thumbnails(TRANSPARENT[kind]())["256"]

    assert made.mode == "RGBA"
    alphas = [corner[3] for corner in corners(made)]
    assert alphas[0] <= 4, alphas
    assert min(alphas[1:]) >= 250, alphas


def test_a_hidden_colour_does_not_bleed_over_the_edge_of_a_sprite() -> None:
    """Sprites would have a green fringe where they are scaled down."""
    image = Image.new("RGBA", (1024, 1024), (0, 255, 0, 0))
    for row in range(0, 1024, 4):
        image.paste((*RED, 255), (0, row, 1024, row + 2))

    made = thumbnails(saved(image, "PNG"))["256"]

    red, green, _, alpha = made.getpixel((128, 128))
    assert 100 < alpha < 156
    assert green < 60 < 180 < red


def test_a_picture_without_transparency_has_none_in_its_preview() -> None:
    """Every preview would carry a useless alpha plane."""
    made = thumbnails(saved(flag(), "PNG"))

    assert {image.mode for image in made.values()} == {"RGB"}


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_not_clipped(kind: str) -> None:
    """A 16-bit picture would be white wherever it is not black."""
    image = Image.new("I;16", (600, 20))
    for column in range(600):
        for row in range(20):
            image.putpixel((column, row), column * 65_535 // 599)

    made = thumbnails(saved(image, kind))["512"].convert("L")

    assert [made.getpixel((at, 8)) for at in (5, 256, 506)] == pytest.approx([2, 128, 253], abs=6)


def test_a_dark_sixteen_bit_picture_stays_dark() -> None:
    """Scaling by the largest value found would turn night into day."""
    made = thumbnails(saved(Image.new("I;16", (30, 30), 2_570), "PNG"))["256"].convert("L")

    assert made.getpixel((9, 9)) == pytest.approx(10, abs=3)


@pytest.mark.parametrize(
    ("mode", "low", "high"), [("F", -3.5, 12.0), ("F", 0.0, 0.01), ("I", -70_000, 1 << 30)]
)
def test_numbers_without_a_known_white_are_scaled_by_their_range(mode: str, low: float, high: float) -> None:
    """A float picture would be all black or all white."""
    image = Image.new(mode, (90, 30), low if mode == "F" else int(low))
    image.paste((low + high) / 2 if mode == "F" else int((low + high) / 2), (30, 0, 60, 30))
    image.paste(high if mode == "F" else int(high), (60, 0, 90, 30))

    made = thumbnails(saved(image, "TIFF"))["256"].convert("L")

    assert [made.getpixel((at, 15)) for at in (10, 45, 80)] == pytest.approx([0, 128, 255], abs=4)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 7.0, 0.0])
def test_a_float_picture_of_one_value_has_a_preview(value: float) -> None:
    """A range of nothing would be divided by."""
    made = thumbnails(saved(Image.new("F", (20, 20), value), "TIFF"))

    assert made["256"].size == (20, 20)


def test_one_bit_pictures_are_smoothed() -> None:
    """A scanned line drawing would become a scatter of dots."""
    image = Image.new("1", (2048, 2048))
    for column in range(0, 2048, 2):
        image.paste(1, (column, 0, column + 1, 2048))

    made = thumbnails(saved(image, "PNG"))["256"].convert("L")

    assert made.getpixel((128, 128)) == pytest.approx(128, abs=12)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF", "MPO"])
def test_of_many_frames_the_first_is_shown(kind: str) -> None:
    """An animation would be shown by its last frame, or not at all."""
    others = [Image.new("RGB", (700, 60), colour) for colour in (GREEN, BLUE)]
    content = saved(Image.new("RGB", (700, 60), RED), kind, save_all=True, append_images=others)

    made = thumbnails(content)

    assert made["512"].size[0] == 512
    assert near(made["256"].getpixel((40, 4)), RED, 40)


def huge_png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", b"x") + chunk(b"IEND", b"")


def patched(kind: str, **options: Any) -> bytes:
    """Return a small file whose header claims 60000 x 50000 pixels."""
    content = saved(flag(size=(258, 259)), kind, **options)
    big, small = {"GIF": "<HH", "JPEG": ">HH", "BMP": "<ii"}[kind], (258, 259)
    sizes = (small[::-1], (50_000, 60_000)) if kind == "JPEG" else (small, (60_000, 50_000))
    assert struct.pack(big, *sizes[0]) in content
    return content.replace(struct.pack(big, *sizes[0]), struct.pack(big, *sizes[1]))


def huge_webp(kind: bytes) -> bytes:
    if kind == b"VP8X":
        body = b"VP8X\x0a\0\0\0" + b"\0" * 4 + (59_999).to_bytes(3, "little") + (49_999).to_bytes(3, "little")
    elif kind == b"VP8L":
        body = b"VP8L\x0a\0\0\0\x2f" + struct.pack("<I", 16_382 | 16_382 << 14) + b"\0" * 5
    else:
        body = b"VP8 \x0a\0\0\0\x30\1\0\x9d\1\x2a" + struct.pack("<HH", 16_383, 16_383)
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


@pytest.mark.parametrize(
    ("content", "size"),
    [
        (huge_png(60_000, 50_000), "60000 x 50000"),
        (patched("GIF"), "60000 x 50000"),
        (patched("JPEG"), "60000 x 50000"),
        (patched("BMP"), "60000 x 50000"),
        (huge_webp(b"VP8X"), "60000 x 50000"),
        (huge_webp(b"VP8L"), "16383 x 16383"),
        (huge_webp(b"VP8 "), "16383 x 16383"),
    ],
    ids=["png", "gif", "jpeg", "bmp", "webp extended", "webp lossless", "webp lossy"],
)
def test_a_picture_that_would_fill_the_memory_is_refused_by_its_header(content: bytes, size: str) -> None:
    """A small file made to be huge would take the whole machine down."""
    with pytest.raises(PreviewFailed, match=f"{size} pixels are more than the limit of 64,000,000"):
        render(io.BytesIO(content), "thumbnail", PreviewLimits())


def test_the_limit_is_ours_and_not_one_of_the_whole_process() -> None:
    """A setting would have no effect, or a warning filter of the host would be changed."""
    content = saved(Image.new("1", (10_000, 10_000), 1), "PNG")
    before = (Image.MAX_IMAGE_PIXELS, list(warnings.filters))

    made = render(io.BytesIO(content), "thumbnail", PreviewLimits(pixels=100_000_000)).files
    with pytest.raises(PreviewFailed, match="10000 x 10000 pixels are more than the limit of 99,999,999"):
        render(io.BytesIO(content), "thumbnail", PreviewLimits(pixels=99_999_999))

    assert made.keys() == {"256", "512"}
    assert (Image.MAX_IMAGE_PIXELS, list(warnings.filters)) == before


def test_what_pillow_itself_refuses_as_a_bomb_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """The decoders have a check of their own, whose error is of no common kind."""

    def refuse(*args: object) -> None:
        raise Image.DecompressionBombError("Image size (9 pixels) exceeds limit")

    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", refuse)

    with pytest.raises(PreviewFailed, match="refuses the picture as too large"):
        render(io.BytesIO(saved(flag(), "PNG")), "thumbnail", PreviewLimits())


def with_chunk(
    content: bytes, kind: bytes, data: bytes, *, crc: int | None = None, is_late: bool = False
) -> bytes:
    """Return a PNG with one more chunk, behind the header or before the end."""
    crc = zlib.crc32(kind + data) if crc is None else crc
    at = len(content) - 12 if is_late else 33
    return content[:at] + struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc) + content[at:]


@pytest.mark.parametrize("where", ["before", "after"])
@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt", b"iCCP"])
def test_a_packed_text_over_a_mebibyte_does_not_lose_the_preview(kind: bytes, where: str) -> None:
    """Pillow refuses such a PNG; ComfyUI workflows of that size exist."""
    packed = zlib.compress(b"x" * 3_000_000)
    data = b"workflow\0\0" + packed if kind != b"iTXt" else b"workflow\0\1\0\0\0" + packed
    content = with_chunk(saved(flag(), "PNG"), kind, data, is_late=where == "after")

    made = thumbnails(content)

    assert all(map(near, corners(made["256"]), (RED, GREEN, BLUE, WHITE)))


@pytest.mark.parametrize("kind", [b"tEXt", b"zTXt", b"iTXt", b"iCCP", b"eXIf"])
def test_a_wrong_check_sum_beside_the_pixels_does_not_lose_the_preview(kind: bytes) -> None:
    """One turned byte in a text would cost the thumbnail of a picture that every browser shows."""
    content = with_chunk(saved(flag(), "PNG"), kind, b"MM\0*\0\0\0\x08\0\0\0\0\0\0", crc=7)

    made = thumbnails(content)

    assert all(map(near, corners(made["256"]), (RED, GREEN, BLUE, WHITE)))


def test_a_profile_is_still_heeded_when_a_text_is_too_long() -> None:
    """Leaving out the text would leave out the colours as well."""
    info = PngImagePlugin.PngInfo()
    info.add(b"zTXt", b"workflow\0\0" + zlib.compress(b"x" * 3_000_000))
    plain = saved(Image.new("RGB", (9, 9), (100, 200, 80)), "PNG", icc_profile=wide_gamut())
    long = saved(Image.new("RGB", (9, 9), (100, 200, 80)), "PNG", icc_profile=wide_gamut(), pnginfo=info)

    made = [render(io.BytesIO(content), "thumbnail", PreviewLimits()).files for content in (plain, long)]

    assert made[0] == made[1]


@pytest.mark.parametrize("kind", ENCODERS)
def test_a_cut_picture_has_a_clear_reason(kind: str) -> None:
    """Half a picture would be shown as a whole one, or an unknown error stop the batch."""
    source = random.Random(4)
    image = Image.frombytes("RGB", (200, 200), source.randbytes(120_000))
    content = ENCODERS[kind](image)

    with pytest.raises(PreviewFailed, match="the picture is damaged or incomplete") as failed:
        render(io.BytesIO(content[: len(content) * 2 // 5]), "thumbnail", PreviewLimits())

    assert len(str(failed.value)) < 300


@pytest.mark.parametrize("kind", ENCODERS)
def test_no_damage_raises_anything_but_a_reason(kind: str) -> None:
    """A decoder's IndexError on one bad file would end a bulk ingest."""
    content = ENCODERS[kind](flag())
    source = random.Random(kind)
    shown_by = PngFormat() if kind == "png" else ImageFormat()  # render() would hide what they raise

    for _ in range(60):
        broken = bytearray(content)
        for _ in range(source.randint(1, 6)):
            broken[source.randrange(min(len(broken), 400))] = source.randrange(256)
        with warnings.catch_warnings(), contextlib.suppress(PreviewFailed):
            warnings.simplefilter("ignore")
            made = shown_by.preview(io.BytesIO(bytes(broken)), PreviewLimits(pixels=1_000_000)).files
            assert made.keys() == {"256", "512"}


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "the file is empty"),
        (b"just text", "not of a format that has a thumbnail"),
        (b"RIFF\4\0\0\0WAVEfmt ", "not of a format that has a thumbnail"),
        (b"\xff\xd8\xff", "damaged or incomplete"),
        (b"RIFF\4\0\0\0WEBP", "damaged or incomplete"),
        (huge_png(0, 5), "damaged or incomplete"),
    ],
)
def test_what_is_no_picture_has_a_reason(content: bytes, why: str) -> None:
    """The record would say that something failed, but not what."""
    with pytest.raises(PreviewFailed, match=why):
        render(io.BytesIO(content), "thumbnail", PreviewLimits())


def test_a_picture_has_no_waveform_and_no_animation() -> None:
    """A kind that can't be made would raise something unexpected."""
    content = saved(flag(), "PNG")

    for kind in ("waveform", "animation"):
        with pytest.raises(PreviewFailed, match=f"has an? {kind}"):
            render(io.BytesIO(content), kind, PreviewLimits())  # type: ignore[arg-type]

    assert unavailable("thumbnail") is None
    assert dict(RECIPES) == {"thumbnail": 1, "waveform": 1, "animation": 1}


def test_a_path_is_read_and_left_alone(tmp_path: Path) -> None:
    """The preview of a file that lies in the library could lock or change it."""
    path = tmp_path / "flag.png"
    path.write_bytes(saved(flag(), "PNG"))

    made = render(path, "thumbnail", PreviewLimits()).files

    assert made == render(io.BytesIO(path.read_bytes()), "thumbnail", PreviewLimits()).files


@pytest.mark.parametrize("name", ["missing.png", "."])
def test_a_path_that_can_not_be_read_has_a_reason_without_the_path(tmp_path: Path, name: str) -> None:
    """The reason is shown over REST, where no path of the server belongs."""
    with pytest.raises(PreviewFailed, match="the file can't be read") as failed:
        render(tmp_path / name, "thumbnail", PreviewLimits())

    assert str(tmp_path) not in failed.value.message


def test_the_source_stays_open_and_gives_the_same_preview_again() -> None:
    """Pillow closes what it believes to be its own."""
    source = io.BytesIO(saved(flag(), "JPEG"))
    source.seek(7)

    made = [render(source, "thumbnail", PreviewLimits()).files for _ in range(2)]

    assert made[0] == made[1]
    assert not source.closed


def test_many_threads_make_the_same_previews() -> None:
    """Anything kept in the process, a limit or a filter, would be mixed up."""
    contents = [ENCODERS[kind](flag(size=(700, 350))) for kind in ("png", "jpeg", "gif", "tiff")] * 4

    def render_one(content: bytes) -> dict[str, bytes]:
        return render(io.BytesIO(content), "thumbnail", PreviewLimits()).files

    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(render_one, contents))

    assert made == [render_one(content) for content in contents]


def test_a_stamp_does_not_change_the_preview() -> None:
    """A rebuild would make every thumbnail anew."""
    content, sink = saved(flag(), "PNG"), io.BytesIO()
    read(io.BytesIO(content), sink, marker_bytes=200)

    made = render(io.BytesIO(content), "thumbnail", PreviewLimits()).files

    assert render(sink, "thumbnail", PreviewLimits()).files == made


def test_a_tiff_of_a_camera_with_odd_tags_has_a_preview() -> None:
    """A tag of a kind that nobody knows would cost the thumbnail."""
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[65_000] = "private"
    tags.tagtype[65_000] = 2
    content = saved(flag(), "TIFF", tiffinfo=tags)

    made = thumbnails(content)

    assert near(corners(made["256"])[0], RED)


@pytest.mark.parametrize(
    ("package", "kind", "sentence"),
    [
        ("PIL", "thumbnail", "Pillow is not installed: pip install pillow"),
        ("numpy", "waveform", "NumPy is not installed: pip install numpy"),
    ],
)
def test_without_its_library_a_preview_says_so_and_the_rest_works(
    package: str, kind: str, sentence: str
) -> None:
    """An installation without Pillow could not register pictures at all."""
    code = f"""
import io, sys
sys.modules[{package!r}] = None
from comfyvn import media
from comfyvn.errors import PreviewFailed
png = b"\\x89PNG\\r\\n\\x1a\\n" + b"\\0\\0\\0\\0IDAT\\0\\0\\0\\0" + b"\\0\\0\\0\\0IEND\\0\\0\\0\\0"
sink = io.BytesIO()
reading = media.read(io.BytesIO(png), sink, marker_bytes=2)
media.fill_marker(sink, reading, b"{{}}")
print(media.read_marker(sink), reading.format)
print(media.unavailable({kind!r}))
wav = b"RIFF\\x04\\0\\0\\0WAVEfmt "
try:
    media.render(io.BytesIO(png if {kind!r} == "thumbnail" else wav), {kind!r}, media.PreviewLimits())
except PreviewFailed as failure:
    print(failure.fields["why"])
"""

    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert run.stdout.splitlines() == ["b'{}' png", sentence, sentence]
    assert run.stderr == ""


def test_a_picture_file_of_gigabytes_is_refused_before_it_is_read(tmp_path: Path) -> None:
    """Pillow reads all of a WebP into memory: a sparse file of 3 GB would take twice that."""
    path = tmp_path / "sparse.webp"
    Image.new("RGB", (8, 8)).save(path)
    with path.open("r+b") as file:
        file.truncate(3_000_000_000)

    with pytest.raises(PreviewFailed, match="more than the"):
        render(path, "thumbnail", PreviewLimits())
