"""By what a picture is known again: its pixels, how it looks in the large, and a small picture to be sure.

All three are of the picture as people see it: upright, the first frame. How it looks in the large are the
lowest frequencies of its lightness (the 64 bits of a discrete cosine transform); pictures that look alike
differ in few of them. Expressions of one sprite differ in none, often: only `difference` tells them apart.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from functools import cache
from operator import mul
from typing import TYPE_CHECKING, BinaryIO, Final

from comfyvn.errors import PreviewFailed
from comfyvn.media.decoding import opened, orientation
from comfyvn.media.formats import HEAD_BYTES, PreviewLimits, read_at, recognise
from comfyvn.media.images import PillowFormat
from comfyvn.media.scaling import turn_upright

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["BITS", "RECIPE", "Reduced", "difference", "looks", "pixels", "reduce", "reduce_preview"]

RECIPE: Final = 1
"""The version of `looks`; one more whenever the same picture would give another answer."""
BITS: Final = 64
_SIDE: Final = 256
_GRID: Final = 32
_LOWEST: Final = 8
_EDGE: Final = 16
_EDGES: Final = 0.12
"""With edges on a smaller part of it a picture is too plain to be known again: bars, frames, gradients."""
_LONG_PX: Final = 96
_SHORT_PX: Final = 64
_STRIP_BYTES: Final = 4 << 20
_OWN_MODES: Final = frozenset({"CMYK", "LAB", "HSV", "YCbCr", "F", "I"})
_WHITE: Final = 250
_GAIN: Final = 1.15
_COARSE: Final = 4
_COARSE_LIMIT: Final = 60.0
_ASPECT: Final = 0.03
_COLOUR_WEIGHT: Final = 0.7


@dataclass(frozen=True, slots=True)
class Reduced:
    """A picture, its long side at most 256 px, for `difference`: its lightness and colours (YCbCr) on white,
    and its alpha, None where nothing can be seen through."""

    colours: Image.Image
    alpha: Image.Image | None


def pixels(file: BinaryIO, name: str, limits: PreviewLimits) -> str | None:
    """Return the SHA-256 of a still picture's size and pixels, in hexadecimal digits.

    Two files with the same one show the same, whatever their formats and metadata. Colours of what can't be
    seen don't count.

    Args:
        file: seekable; stays open.
        name: the file's name, for formats that can't be told by their content.
        limits: more pixels are refused.

    Returns:
        None where the decoder does not tell all of it: it moves, has more than 8 bits a channel in colour, or
        is of a format whose depth is hidden.

    Raises:
        PreviewFailed: damaged, too large, or not decodable.
    """
    found: object = recognise(read_at(file, 0, HEAD_BYTES), name)
    if not isinstance(found, PillowFormat):
        return None
    if (reason := found.unavailable()) is not None:
        raise PreviewFailed(why=reason)
    with opened(file, found.family, limits) as image:
        if not found.tells_all(file, image):
            return None
        image.load()
        return _digest(turn_upright(image, orientation(image)))


def reduce(preview: Image.Image) -> Reduced | None:
    """Return what `looks` and `difference` compare, None where a picture is too small to be known again.

    Args:
        preview: the picture as its preview shows it: RGB or RGBA, sRGB, upright, long side 256 px at most.
    """
    from PIL import Image

    if max(preview.size) < _LONG_PX or min(preview.size) < _SHORT_PX:
        return None
    if preview.mode != "RGBA":
        return Reduced(preview.convert("YCbCr"), None)
    ground = Image.new("RGBA", preview.size, (255, 255, 255, 255))
    colours = Image.alpha_composite(ground, preview).convert("RGB").convert("YCbCr")
    alpha = preview.getchannel("A")
    return Reduced(colours, alpha if alpha.getextrema() != (255, 255) else None)


def reduce_preview(file: BinaryIO) -> Reduced | None:
    """Return `reduce` of a preview's file, a small WebP.

    Raises:
        PreviewFailed: it is damaged, or no preview.
    """
    with opened(file, "WEBP", PreviewLimits(pixels=_SIDE * _SIDE)) as preview:
        preview.load()
        return reduce(preview)


def looks(picture: Reduced) -> int | None:
    """Return how a picture looks in the large, as 64 bits, None where it is too plain for that.

    Lossy compression, another size and other brightness change few of the bits.
    """
    from PIL import Image

    light = picture.colours.getchannel(0)
    if _is_plain(light):
        return None
    small = light.resize((_GRID, _GRID), Image.Resampling.BOX).tobytes()
    basis = _cosines()
    lines = [small[at : at + _GRID] for at in range(0, len(small), _GRID)]
    across = [[sum(map(mul, line, wave)) for line in lines] for wave in basis]
    waves = [sum(map(mul, column, wave)) for wave in basis for column in across]
    middle = sorted(waves[1:])[len(waves) // 2]
    return sum(1 << bit for bit, value in enumerate(waves) if value > middle)


def difference(one: Reduced, other: Reduced) -> float:
    """Return by how much two pictures differ where they differ most, 0 to 255; infinite if it is much.

    Each pixel is compared with the range of its neighbourhood in the other picture, so that sharper or softer
    edges are no difference; the worst of all squares of 2 px counts. A little more or less light is no
    difference.
    """
    from PIL import ImageChops

    ratio = math.log(one.colours.width * other.colours.height / (one.colours.height * other.colours.width))
    if abs(ratio) > _ASPECT:
        return math.inf
    one, other = _alike(one, other), _alike(other, one)
    pairs = list(zip(one.colours.split(), _lit_as(other, one).split(), strict=True))
    light = pairs[0]
    if _worst(ImageChops.difference(*light), _COARSE) > _COARSE_LIMIT:
        return math.inf
    worst = _worst(_beyond(*light), 2)
    if one.alpha is not None and other.alpha is not None:
        worst = max(worst, _worst(_beyond(one.alpha, other.alpha), 2))
    return max(worst, *(_COLOUR_WEIGHT * _worst(_beyond(*pair), 2) for pair in pairs[1:]))


# -- pixels -----------------------------------------------------------------------------------------------


def _digest(image: Image.Image) -> str:
    """Return the hash of size and pixels, worked out in strips: a copy as RGBA may take far more memory."""
    mode = "I" if image.mode.startswith("I") else image.mode
    own = mode if mode in _OWN_MODES else "RGBA"
    made = hashlib.sha256(f"{own} {image.width} {image.height} ".encode())
    if own == "I" and (clear := image.info.get("transparency")) is not None:
        made.update(f"{clear} ".encode())
    rows = max(1, _STRIP_BYTES // (4 * image.width))
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(top + rows, image.height)))
        made.update((strip.convert(own) if own != "RGBA" else _seen(strip)).tobytes())
    return made.hexdigest()


def _seen(strip: Image.Image) -> Image.Image:
    """Return RGBA in which what can't be seen is black."""
    from PIL import Image

    plain = strip if strip.mode == "RGBA" else strip.convert("RGBA")
    alpha = plain.getchannel("A")
    if alpha.getextrema()[0] != 0:
        return plain
    is_seen = alpha.point([0, *[255] * 255])
    return Image.composite(plain, Image.new("RGBA", plain.size), is_seen)


# -- looks ------------------------------------------------------------------------------------------------


@cache
def _cosines() -> tuple[tuple[float, ...], ...]:
    """Return the lowest waves of the discrete cosine transform (type II), not normalised."""
    step = math.pi / (2 * _GRID)
    return tuple(tuple(math.cos(step * (2 * x + 1) * u) for x in range(_GRID)) for u in range(_LOWEST))


def _is_plain(light: Image.Image) -> bool:
    """Tell whether a picture has hardly any edges: steps of 16 and more from a pixel to one beside it."""
    from PIL import ImageChops, ImageFilter

    steps = ImageChops.subtract(
        light.filter(ImageFilter.MaxFilter(3)), light.filter(ImageFilter.MinFilter(3))
    )
    return sum(steps.histogram()[_EDGE:]) < _EDGES * light.width * light.height


def _alike(picture: Reduced, other: Reduced) -> Reduced:
    """Return a picture in the size of the smaller one of two."""
    from PIL import Image

    size = min(picture.colours.size, other.colours.size)
    if picture.colours.size == size:
        return picture
    small = picture.colours.resize(size, Image.Resampling.BOX)
    alpha = None if picture.alpha is None else picture.alpha.resize(size, Image.Resampling.BOX)
    return Reduced(small, alpha)


def _lit_as(picture: Reduced, other: Reduced) -> Image.Image:
    """Return a picture's colours with the brightness of another one, within limits; white stays white."""
    from PIL import Image, ImageChops, ImageStat

    dark = [0 if value >= _WHITE else 255 for value in range(256)]
    mine, theirs = picture.colours.getchannel(0), other.colours.getchannel(0)
    both = ImageChops.darker(mine.point(dark), theirs.point(dark))
    if both.getextrema() == (0, 0):
        return picture.colours
    old, new = (max(1.0, ImageStat.Stat(each, both).mean[0]) for each in (mine, theirs))
    gain = min(_GAIN, max(1 / _GAIN, new / old))
    lit = mine.point([value if value >= _WHITE else min(255, round(value * gain)) for value in range(256)])
    tint = [min(255, max(0, round(128 + (value - 128) * gain))) for value in range(256)]
    _, blue, red = picture.colours.split()
    return Image.merge("YCbCr", (lit, blue.point(tint), red.point(tint)))


def _beyond(one: Image.Image, other: Image.Image) -> Image.Image:
    """Return by how much the pixels of each lie outside of what surrounds them in the other."""
    from PIL import ImageChops

    return ImageChops.lighter(_outside(one, other), _outside(other, one))


def _outside(one: Image.Image, other: Image.Image) -> Image.Image:
    from PIL import ImageChops, ImageFilter

    above = ImageChops.subtract(one, other.filter(ImageFilter.MaxFilter(3)))
    return ImageChops.add(above, ImageChops.subtract(other.filter(ImageFilter.MinFilter(3)), one))


def _worst(differences: Image.Image, side: int) -> float:
    """Return the largest mean of a square of so many pixels."""
    extrema = differences.reduce(side).getextrema()
    assert isinstance(extrema[1], (int, float))
    return float(extrema[1])
