"""By what pictures are known again: pixels, looks, and how much two differ."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageEnhance

from comfyvn.db import Engine, open_engine
from comfyvn.db.fingerprints import Fingerprint, Fingerprints
from comfyvn.errors import PreviewFailed
from comfyvn.media.fingerprint import Reduced, difference, looks, pixels, reduce, reduce_preview
from comfyvn.media.formats import PreviewLimits
from comfyvn.model import Limits
from pictures import draw_scene

LIMITS = PreviewLimits()


def saved(image: Image.Image, kind: str, **options: Any) -> io.BytesIO:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file


def hash_of(image: Image.Image, kind: str = "PNG", **options: Any) -> str | None:
    return pixels(saved(image, kind, **options), "", LIMITS)


def small(image: Image.Image) -> Reduced:
    shown = image.copy()
    shown.thumbnail((256, 256))
    found = reduce(shown)
    assert found is not None
    return found


# -- pixels -----------------------------------------------------------------------------------------------


@settings(deadline=None)  # the first one loads Pillow's plug-ins
@given(st.binary(min_size=4 * 35, max_size=4 * 35), st.sampled_from(["WEBP", "TIFF", "TGA"]))
def test_the_same_pixels_in_another_format_have_the_same_hash(data: bytes, kind: str) -> None:
    """A sprite that was packed for release could not be led back to its source."""
    image = Image.frombytes("RGBA", (7, 5), data)
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}

    other = pixels(saved(image, kind, **options), "x.tga", LIMITS)

    assert other == hash_of(image)


def test_a_palette_that_shows_the_same_has_the_same_hash() -> None:
    """Tools that shrink PNG files write palettes where they can."""
    image = Image.new("RGBA", (20, 10), (200, 40, 90, 255))
    image.paste((0, 0, 0, 0), (5, 5, 10, 10))
    packed = image.quantize(4)

    assert hash_of(packed) == hash_of(image)
    assert hash_of(image.convert("RGB")) == hash_of(image.convert("RGB").quantize(4))


def test_colours_that_nobody_sees_do_not_count() -> None:
    """Encoders clear what is transparent, and the picture is the same."""
    one, other = (Image.new("RGBA", (20, 10), (red, 0, 0, 0)) for red in (0, 255))
    for image in (one, other):
        image.paste((10, 20, 30, 128), (3, 3, 9, 9))

    assert hash_of(one) == hash_of(other)


def test_a_picture_that_is_turned_by_its_exif_is_hashed_as_it_is_shown() -> None:
    """A messenger turns the pixels and drops the Exif."""
    image = draw_scene(1, (60, 40))
    exif = Image.Exif()
    exif[0x0112] = 6

    turned = hash_of(image, "PNG", exif=exif)

    assert turned == hash_of(image.transpose(Image.Transpose.ROTATE_270))
    assert turned != hash_of(image)


@pytest.mark.parametrize(
    "change",
    [
        lambda image: image.resize((61, 40)),
        lambda image: image.transpose(Image.Transpose.ROTATE_90),
        lambda image: ImageEnhance.Brightness(image).enhance(1.02),
    ],
)
def test_other_pixels_have_another_hash(change: Callable[[Image.Image], Image.Image]) -> None:
    """What is certain would be wrong."""
    image = draw_scene(1, (60, 40)).convert("RGB")

    assert hash_of(change(image)) != hash_of(image)


def test_one_other_pixel_is_another_picture_whatever_strip_it_is_in() -> None:
    """A large picture is hashed in strips: each of them must count."""
    image = Image.new("RGB", (2_000, 1_200), (9, 9, 9))
    seen = {hash_of(image)}

    for y in (0, 600, 1_199):
        other = image.copy()
        other.putpixel((1_999, y), (9, 9, 10))
        seen.add(hash_of(other))

    assert len(seen) == 4


def test_sixteen_bits_are_not_mistaken_for_eight() -> None:
    """Two depths that differ only in what eight bits can't tell would be one."""
    fine = Image.new("I;16", (8, 8), 0x1234)
    finer = Image.new("I;16", (8, 8), 0x1235)

    hashes = {hash_of(fine), hash_of(finer), hash_of(Image.new("L", (8, 8), 0x12))}

    assert None not in hashes
    assert len(hashes) == 3


def test_what_the_decoder_does_not_tell_wholly_has_no_hash() -> None:
    """A hash of the first frame, or of the upper eight bits, would claim more than anybody knows."""
    frames = [draw_scene(number, (40, 40)) for number in (1, 2)]
    moving = saved(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    still = saved(draw_scene(1), "PNG").getvalue()

    assert pixels(moving, "", LIMITS) is None
    assert pixels(saved(frames[0], "AVIF"), "", LIMITS) is None
    assert pixels(io.BytesIO(b"no picture at all"), "x.txt", LIMITS) is None
    with pytest.raises(PreviewFailed):
        pixels(io.BytesIO(still[:900]), "", LIMITS)
    with pytest.raises(PreviewFailed, match="more than the limit"):
        pixels(io.BytesIO(still), "", PreviewLimits(pixels=10))


# -- looks ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_a_picture_that_was_saved_smaller_or_lossy_looks_the_same(seed: int) -> None:
    """Nothing would be found again."""
    image = draw_scene(seed)
    white = Image.new("RGBA", image.size, "white")
    lossy = Image.open(saved(Image.alpha_composite(white, image).convert("RGB"), "JPEG", quality=80))
    bits = looks(small(image))
    assert bits is not None

    others = [looks(small(other)) for other in (lossy, image.resize((150, 200)), image.resize((600, 800)))]

    assert all(other is not None and (bits ^ other).bit_count() <= 7 for other in others)
    assert all(difference(small(image), small(other)) <= 20 for other in (lossy, image.resize((600, 800))))


def test_other_pictures_look_different() -> None:
    """Every picture would be compared with every other one."""
    known = [looks(small(draw_scene(seed))) for seed in range(12)]

    apart = [(one ^ other).bit_count() for one in known for other in known if one and other and one != other]

    assert min(apart) > 12


def test_a_small_thing_that_changed_is_a_difference() -> None:
    """Expressions of one sprite would be taken for each other."""
    image = draw_scene(3)
    other = image.copy()
    ImageDraw.Draw(other).ellipse((140, 60, 160, 70), fill=(20, 10, 10, 255))

    bits = [looks(small(each)) for each in (image, other)]

    assert bits[0] == bits[1]
    assert difference(small(image), small(other)) > 34


def test_a_little_more_light_is_no_difference_and_another_shape_is() -> None:
    """A picture that was brightened for a messenger is the same, one of another shape never is."""
    image = draw_scene(2).convert("RGB")
    lighter = ImageEnhance.Brightness(image).enhance(1.08)

    assert difference(small(image), small(lighter)) <= 20
    assert difference(small(image), small(ImageEnhance.Brightness(image).enhance(1.6))) > 20
    assert math.isinf(difference(small(image), small(image.resize((400, 300)))))


def test_another_hue_and_another_cut_are_differences() -> None:
    """A recoloured button would be the plain one, and a sprite that was cut out the one on white."""
    image = draw_scene(3)
    red, green, white = image.copy(), image.copy(), image.copy()
    ImageDraw.Draw(red).rectangle((120, 150, 180, 210), fill=(200, 60, 60, 255))
    ImageDraw.Draw(green).rectangle((120, 150, 180, 210), fill=(60, 130, 65, 255))
    ImageDraw.Draw(white).rectangle((0, 0, 60, 18), fill="white")

    assert difference(small(red), small(green)) > 20
    assert difference(small(image), small(white)) > 20


def test_what_is_plain_small_or_thin_is_not_known_again() -> None:
    """Bars, frames and gradients of one game look like those of any other."""
    gradient = Image.linear_gradient("L").convert("RGB")
    frame = Image.new("RGB", (200, 200), "white")
    ImageDraw.Draw(frame).rectangle((10, 10, 190, 190), outline="black", width=2)

    assert looks(small(gradient)) is None
    assert looks(small(frame)) is None
    assert reduce(Image.new("RGB", (90, 90))) is None
    assert reduce(Image.new("RGB", (256, 60))) is None


def test_a_damaged_preview_is_said_to_be_one() -> None:
    """Anybody can write into the cache."""
    whole = saved(draw_scene(1, (192, 256)), "WEBP").getvalue()

    assert reduce_preview(io.BytesIO(whole)) is not None
    for data in (b"", whole[:200], saved(draw_scene(1, (300, 400)), "WEBP").getvalue()):
        with pytest.raises(PreviewFailed):
            reduce_preview(io.BytesIO(data))


# -- neighbours -------------------------------------------------------------------------------------------


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """A new database."""
    made = open_engine(
        tmp_path / "ledger.db", busy_timeout_s=5, durability="off", thumbs_rel="thumbs", limits=Limits()
    )
    yield made
    made.close()


def test_all_neighbours_are_found_by_the_index(engine: Engine) -> None:
    """The origin of a picture would be overlooked, or another project's be shown."""
    random = Random(8)
    start = random.getrandbits(64)
    every = [start ^ sum(1 << bit for bit in random.sample(range(64), count % 20)) for count in range(600)]
    rows = [Fingerprint(number, "h", value) for number, value in enumerate(every, 1)]
    with engine.write() as connection:
        Fingerprints(connection, "default").put(1, [*rows, Fingerprint(0, "h", None)])
        Fingerprints(connection, "other").put(1, [Fingerprint(9_999, "h", start)])

    with engine.read() as connection:
        prints = Fingerprints(connection, "default")
        found, is_cut = prints.near(start, 7, 1_000)
        first, is_first_cut = prints.near(start, 7, 20)
        plan = " ".join(str(row) for row in connection.execute("EXPLAIN QUERY PLAN " + PROBE, ("default", 1)))

    expected = {
        row.asset_id for row in rows if row.looks is not None and (row.looks ^ start).bit_count() <= 7
    }
    assert set(found) == expected
    assert not is_cut
    assert is_first_cut
    assert first == found[:20]
    assert "ix_asset_fingerprints_2" in plan


PROBE = "SELECT asset_id FROM asset_fingerprints f WHERE f.project_id = ? AND f.band_2 IN (?)"
