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
from comfyvn.media import RECIPES, PreviewLimits, decoding, headers, probe, read, render, unavailable
from comfyvn.media.formats import recognise

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


@pytest.mark.parametrize("kind", ["TIFF", "MPO"])
def test_of_many_pages_the_first_is_shown(kind: str) -> None:
    """A document would be shown by its last page, or not at all."""
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
    shown_by = recognise(content[:64])  # render() would hide what they raise

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
    assert RECIPES.keys() == {"thumbnail", "waveform", "animation"}


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


def png_of(
    width: int, height: int, depth: int, colour: int, rows: bytes, *chunks: tuple[bytes, bytes]
) -> bytes:
    """Return a PNG with these rows (a filter byte before each) and chunks before its pixels."""
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = [(b"IHDR", head), *chunks, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    made = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(made)


@pytest.mark.parametrize(
    ("depth", "colour", "row", "clear"),
    [
        (2, 0, b"\x1b", (1,)),
        (4, 0, b"\x01\x23", (1,)),
        (16, 0, struct.pack(">4H", 0, 1000, 1001, 65_535), (1000,)),
        (
            16,
            2,
            struct.pack(">12H", *[9, 9, 9], *[60_000, 300, 7], *[9, 9, 99], *[1, 2, 3]),
            (60_000, 300, 7),
        ),
    ],
    ids=["2 bit grey", "4 bit grey", "16 bit grey", "16 bit colour"],
)
def test_the_one_clear_colour_is_compared_at_the_depth_of_the_file(
    depth: int, colour: int, row: bytes, clear: tuple[int, ...]
) -> None:
    """Pillow scales the pixels and not the colour: nothing, or something else, would be transparent."""
    content = png_of(4, 1, depth, colour, b"\0" + row, (b"tRNS", struct.pack(f">{len(clear)}H", *clear)))

    made = thumbnails(content)["256"]

    alphas = [made.getpixel((at, 0))[3] for at in range(4)]
    assert alphas == [255, 0, 255, 255]


@pytest.mark.parametrize("is_marked", [True, False])
def test_a_cmyk_photograph_is_taken_as_inverted(is_marked: bool) -> None:
    """A print file would be shown as its own negative; browsers too don't ask for Adobe's mark."""
    content = saved(flag("CMYK"), "JPEG", quality=95)
    if not is_marked:
        at = content.index(b"\xff\xee")
        content = content[:at] + content[at + 2 + int.from_bytes(content[at + 2 : at + 4], "big") :]

    made = thumbnails(content)["256"]

    assert (b"Adobe" in content) == is_marked
    assert all(map(near, corners(made), (RED, GREEN, BLUE, WHITE))), corners(made)


def tiff_of(tags: dict[int, tuple[int, list[int]]], data: bytes, *, order: str = "<") -> bytes:
    """Return a TIFF with these tags (kind and numbers) of one page, and its data right behind the header.

    Data begins at 8; the page follows, then the numbers that don't fit into it.
    """
    formats = {1: "B", 3: "H", 4: "I"}
    page = 8 + len(data) + len(data) % 2
    extra_at = page + 2 + 12 * len(tags) + 4
    entries, extra = b"", b""
    for tag, (kind, numbers) in sorted(tags.items()):
        raw = struct.pack(f"{order}{len(numbers)}{formats[kind]}", *numbers)
        if len(raw) > 4:
            value = struct.pack(f"{order}I", extra_at + len(extra))
            extra += raw + b"\0" * (len(raw) % 2)
        else:
            value = raw.ljust(4, b"\0")
        entries += struct.pack(f"{order}HHI", tag, kind, len(numbers)) + value
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", page)
    body = data + b"\0" * (len(data) % 2)
    return head + body + struct.pack(f"{order}H", len(tags)) + entries + bytes(4) + extra


def tags_of(size: tuple[int, int], **more: tuple[int, list[int]]) -> dict[int, tuple[int, list[int]]]:
    names = {"planar": 284, "strips": 273, "strip_bytes": 279, "rows": 278}
    names |= {"tile_width": 322, "tile_height": 323, "tiles": 324, "tile_bytes": 325, "unknown": 65_000}
    base = {256: (4, [size[0]]), 257: (4, [size[1]]), 258: (3, [8, 8, 8]), 259: (3, [1]), 262: (3, [2])}
    return base | {277: (3, [3])} | {names[name]: value for name, value in more.items()}


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_planar_tiff_has_its_colours(order: str) -> None:
    """A scan that keeps its channels apart would be grey, or three pictures in one."""
    bands = b"".join(band.tobytes() for band in flag().split())
    offsets = [8 + number * 3200 for number in range(3)]
    tags = tags_of(
        (80, 40), planar=(3, [2]), strips=(4, offsets), strip_bytes=(4, [3200] * 3), rows=(3, [40])
    )

    made = thumbnails(tiff_of(tags, bands, order=order))["256"]

    assert all(map(near, corners(made), (RED, GREEN, BLUE, WHITE)))


def test_a_tiled_tiff_has_its_colours() -> None:
    """A large scan would show its tiles in disorder, or nothing."""
    places = [(x, y) for y in (0, 32) for x in (0, 32, 64)]
    tiles = [flag().crop((x, y, x + 32, y + 32)).tobytes() for x, y in places]
    offsets = [8 + number * 3072 for number in range(6)]
    side = (3, [32])
    tags = tags_of(
        (80, 40), tile_width=side, tile_height=side, tiles=(4, offsets), tile_bytes=(4, [3072] * 6)
    )

    made = thumbnails(tiff_of(tags, b"".join(tiles)))["256"]

    assert all(map(near, corners(made), (RED, GREEN, BLUE, WHITE)))


def test_a_small_tiff_of_one_huge_tile_is_refused_by_its_header() -> None:
    """The decoder makes room for a whole tile, however small the picture is."""
    side = (4, [50_000])
    tags = tags_of((8, 8), tile_width=side, tile_height=side, tiles=(4, [8]), tile_bytes=(4, [192]))

    with pytest.raises(PreviewFailed, match="50000 x 50000 pixels are more than the limit"):
        render(io.BytesIO(tiff_of(tags, bytes(192))), "thumbnail", PreviewLimits())


def test_a_tiff_of_millions_of_numbers_is_refused_by_its_header() -> None:
    """Each number of a tag becomes an object of Python: a file of 12 MB would take ten times that."""
    tags = tags_of((8, 8), strips=(4, [8]), strip_bytes=(4, [192]), unknown=(4, [7] * 2_100_000))

    with pytest.raises(PreviewFailed, match="its tags hold 2,100,010 numbers"):
        render(io.BytesIO(tiff_of(tags, bytes(192))), "thumbnail", PreviewLimits())


@pytest.mark.parametrize("kind", [b"abCD", b"tEXt", b"a1bc"])
def test_a_png_of_endless_chunks_is_refused(kind: bytes) -> None:
    """A file of a few megabytes would keep a decoder busy for minutes."""
    piece = struct.pack(">I", 0) + kind + struct.pack(">I", zlib.crc32(kind))
    content = saved(flag(), "PNG")

    with pytest.raises(PreviewFailed, match="more than 100,000 chunks"):
        render(io.BytesIO(content[:33] + piece * 200_000 + content[33:]), "thumbnail", PreviewLimits())


def test_a_gif_of_endless_blocks_is_refused() -> None:
    """A comment in blocks of one byte would keep a decoder busy for minutes."""
    content = saved(flag().quantize(8), "GIF")
    at = 13 + 3 * 2 ** ((content[10] & 7) + 1)
    comment = b"!\xfe" + b"\1x" * 2_100_000 + b"\0"

    with pytest.raises(PreviewFailed, match="more than 2,000,000 blocks"):
        render(io.BytesIO(content[:at] + comment + content[at:]), "thumbnail", PreviewLimits())


def test_an_icon_that_holds_a_huge_picture_is_refused_by_its_header() -> None:
    """The picture inside an icon has a header of its own."""
    content = bytearray(saved(flag(size=(256, 256)), "ICO", sizes=[(256, 256)]))
    at = content.index(b"IHDR") + 4
    content[at : at + 8] = struct.pack(">II", 60_000, 50_000)

    with pytest.raises(PreviewFailed, match="60000 x 50000 pixels are more than the limit"):
        render(io.BytesIO(bytes(content)), "thumbnail", PreviewLimits())


# -- facts ----------------------------------------------------------------------------------------------


def turned(kind: str, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return saved(flag(), kind, exif=exif)


PLAIN = {"width": 80, "height": 40, "mode": "RGB", "bit_depth": 8, "has_alpha": False, "has_icc": False}
FACTS: dict[str, tuple[Callable[[], bytes], dict[str, Any]]] = {
    "png": (lambda: saved(flag(), "PNG"), PLAIN),
    "jpeg": (lambda: saved(flag(), "JPEG"), PLAIN),
    "webp": (lambda: saved(flag(), "WEBP"), PLAIN),
    "bmp": (lambda: saved(flag(), "BMP"), PLAIN),
    "tga": (lambda: saved(flag(), "TGA"), PLAIN),
    "tiff": (lambda: saved(flag(), "TIFF"), {**PLAIN, "pages": 1}),
    "gif": (lambda: saved(flag().quantize(8), "GIF"), {**PLAIN, "mode": "P"}),
    "clear gif": (lambda: TRANSPARENT["gif"](), {**PLAIN, "mode": "P", "has_alpha": True}),
    "clear png": (lambda: TRANSPARENT["one colour"](), {**PLAIN, "has_alpha": True}),
    "alpha": (lambda: saved(with_hole("LA"), "PNG"), {**PLAIN, "mode": "LA", "has_alpha": True}),
    "profile": (lambda: saved(flag(), "WEBP", icc_profile=wide_gamut()), {**PLAIN, "has_icc": True}),
    "cmyk": (lambda: saved(flag("CMYK"), "JPEG"), {**PLAIN, "mode": "CMYK"}),
    "one bit": (lambda: saved(flag("1"), "PNG"), {**PLAIN, "mode": "1", "bit_depth": 1}),
    "two bit": (lambda: saved(flag().quantize(8), "PNG"), {**PLAIN, "mode": "P", "bit_depth": 2}),
    "deep grey": (
        lambda: saved(Image.new("I;16", (80, 40)), "PNG"),
        {**PLAIN, "mode": "I;16", "bit_depth": 16},
    ),
    "deep colour": (lambda: png_of(80, 40, 16, 2, bytes(481 * 40)), {**PLAIN, "bit_depth": 16}),
    "float": (
        lambda: saved(Image.new("F", (80, 40)), "TIFF"),
        {**PLAIN, "mode": "F", "bit_depth": 32, "pages": 1},
    ),
    "pages": (
        lambda: saved(flag(), "TIFF", save_all=True, append_images=[flag("L"), flag("1")]),
        {**PLAIN, "pages": 3},
    ),
}
FACTS |= {
    f"turned {kind}": (
        lambda kind=kind: turned(kind, 6),
        {**PLAIN, "width": 40, "height": 80, **({"pages": 1} if kind == "TIFF" else {})},
    )
    for kind in ("PNG", "JPEG", "WEBP", "TIFF")
}


@pytest.mark.parametrize("name", FACTS)
def test_a_picture_tells_its_facts(name: str) -> None:
    """Nobody could search for large, transparent or 16-bit pictures."""
    content, wanted = FACTS[name][0](), FACTS[name][1]

    told = probe(io.BytesIO(content), name="a.tga" if name == "tga" else "")

    assert told == wanted


@pytest.mark.parametrize("name", FACTS)
def test_a_preview_brings_the_facts_along(name: str) -> None:
    """Each file would be opened twice."""
    content, wanted = FACTS[name][0](), FACTS[name][1]

    made = render(io.BytesIO(content), "thumbnail", PreviewLimits(), name="a.tga" if name == "tga" else "")

    assert dict(made.facts) == wanted


@pytest.mark.parametrize("name", ["png", "jpeg", "gif", "bmp", "tiff"])
def test_facts_need_no_pixels(name: str) -> None:
    """Facts would take as long as a preview, and be lost with it."""
    content = FACTS[name][0]()
    if name == "png":
        content = content.replace(b"IDAT\x78", b"IDAT\xff")
    cut = content if name in ("png", "tiff") else content[:-60]

    told = probe(io.BytesIO(cut))

    assert told == FACTS[name][1]


@pytest.mark.parametrize(
    ("content", "size"),
    [
        (huge_png(60_000, 50_000), (60_000, 50_000)),
        (patched("JPEG"), (60_000, 50_000)),
        (patched("GIF"), (60_000, 50_000)),
        (huge_webp(b"VP8X"), (60_000, 50_000)),
    ],
    ids=["png", "jpeg", "gif", "webp"],
)
def test_a_picture_that_is_too_large_for_a_preview_tells_its_size(
    content: bytes, size: tuple[int, int]
) -> None:
    """The one fact that explains the missing preview would be missing too."""
    told = probe(io.BytesIO(content))

    assert (told["width"], told["height"]) == size


def test_exif_behind_the_pixels_turns_the_facts_too() -> None:
    """Width and height would be those of the picture lying on its side."""
    exif = Image.Exif()
    exif[0x0112] = 8
    content = with_chunk(saved(flag(), "PNG"), b"eXIf", exif.tobytes()[6:], is_late=True)

    told, made = probe(io.BytesIO(content)), thumbnails(content)["256"]

    assert (told["width"], told["height"]) == made.size == (40, 80)


@pytest.mark.parametrize(
    ("head", "size"),
    [
        ("ff0ac90700138802002801b5", (80, 40)),
        ("ff0a03c00013880200c800b5", (8, 16)),
        ("ff0a608a76c5001388020074", (700, 333)),
        ("ff0aba5de8700e0013880200", (5000, 3000)),
        ("ff0af8be0100138802005882", (640, 480)),
        ("ff0a4f0600138802001c01b5", (64, 64)),
    ],
)
@pytest.mark.parametrize("where", ["bare", "jxlc", "jxlp"])
def test_a_jpeg_xl_tells_its_size_without_its_plug_in(head: str, size: tuple[int, int], where: str) -> None:
    """The plug-in decodes as soon as it opens: a huge picture would fill the memory before it is refused."""
    stream = bytes.fromhex(head)
    if where != "bare":
        inner = bytes(4) * (where == "jxlp") + stream
        stream = b"\0\0\0\x0cJXL \r\n\x87\n\0\0\0\x14ftypjxl \0\0\0\0jxl "
        stream += struct.pack(">I4s", 8 + len(inner), where.encode()) + inner

    found = headers.jxl_size(io.BytesIO(stream))

    assert found == size


@pytest.mark.parametrize("family", ["HEIF", "JXL"])
def test_a_missing_plug_in_is_named_with_the_command_that_installs_it(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Users would think that their photographs are broken."""
    package, command = {
        "HEIF": ("pillow_heif", "pip install pillow-heif"),
        "JXL": ("pillow_jxl", "pip install pillow-jxl-plugin"),
    }[family]
    monkeypatch.setitem(sys.modules, package, None)

    reason = decoding.unavailable(family)

    assert reason is not None
    assert reason.endswith(command)


def hostile_headers() -> dict[str, bytes]:
    loop = tiff_of(tags_of((8, 8), strips=(4, [8]), strip_bytes=(4, [192])), bytes(192))
    page = struct.unpack_from("<I", loop, 4)[0]
    end = page + 2 + 12 * struct.unpack_from("<H", loop, page)[0]
    return {
        "a page that follows itself": loop[:end] + struct.pack("<I", page) + loop[end + 4 :],
        "a big page beyond all files": b"II+\0\x08\0\0\0" + b"\xff" * 8,
        "a big page of all tags": b"II+\0\x08\0\0\0" + struct.pack("<Q", 16) + b"\xff" * 400,
        "a page of all tags": b"MM\0*\0\0\0\x08" + b"\xff" * 400,
        "a box that ends before it begins": b"\0\0\0\x0cJXL \r\n\x87\n" + b"\0\0\0\1jxll" + b"\xff" * 8,
        "a GIF of one byte blocks": b"GIF89a\1\0\1\0\0\0\0" + b",\0\0\0\0\1\0\1\0\0\2" + b"\1x" * 900,
        "a WebP of empty chunks": b"RIFF\xff\xff\xff\xffWEBPVP8X\x0a\0\0\0\2"
        + bytes(9)
        + b"JUNK\0\0\0\0" * 9,
    }


@pytest.mark.parametrize("name", hostile_headers())
def test_a_hostile_header_has_a_reason_or_is_left_to_the_decoder(name: str) -> None:
    """A look at a header would hang, or raise what nobody expects."""
    content = hostile_headers()[name]
    found = recognise(content[:64])

    for look in (found.probe, lambda file: found.preview(file, PreviewLimits())):
        with contextlib.suppress(PreviewFailed):
            look(io.BytesIO(content))

    assert found is not None
