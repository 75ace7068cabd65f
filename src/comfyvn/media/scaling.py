"""From a decoded picture to its small WebP files: scaled, upright, in sRGB."""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING, Final, cast

from comfyvn.media.decoding import orientation
from comfyvn.model import THUMBNAIL_SIZES

if TYPE_CHECKING:
    from PIL import Image, ImageFile

__all__ = ["encode_stills", "make_stills", "scale_down", "to_srgb", "turn_upright"]

_WEBP_QUALITY: Final = 80
_WEBP_METHOD: Final = 1
_SIXTEEN_BITS: Final = (0.0, 65_535.0)
_SCALABLE: Final = frozenset({"L", "LA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"})


def make_stills(image: ImageFile.ImageFile) -> dict[str, bytes]:
    """Decode a picture, or its first frame, and make its previews; the opened picture is used up.

    Returns:
        As `encode_stills`; the picture upright and in sRGB, alpha kept.
    """
    profile = image.info.get("icc_profile")
    if image.format not in ("JPEG", "MPO"):  # those are decoded at a fraction of their size
        image.load()
    small = scale_down(image, THUMBNAIL_SIZES[-1])
    return encode_stills(to_srgb(turn_upright(small, orientation(image)), profile))


def encode_stills(large: Image.Image) -> dict[str, bytes]:
    """Encode a picture in every preview size, each made from the next larger one; it is changed by that.

    Args:
        large: RGB or RGBA, sRGB.

    Returns:
        ``{"256": ..., "512": ...}``: WebP, long side at most that many pixels, never enlarged.
    """
    from PIL import Image, WebPImagePlugin  # noqa: F401 - else save() loads all of Pillow's formats

    made: dict[str, bytes] = {}
    size: tuple[int, int] | None = None
    encoded = b""
    for side in sorted(THUMBNAIL_SIZES, reverse=True):
        large.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=1.0)
        if large.size != size:  # a small picture is the same in both
            sink = io.BytesIO()
            large.save(sink, "WEBP", quality=_WEBP_QUALITY, method=_WEBP_METHOD)
            size, encoded = large.size, sink.getvalue()
        made[str(side)] = encoded
    return dict(sorted(made.items()))


def scale_down(image: Image.Image, side: int) -> Image.Image:
    """Scale a picture of any mode to a long side; what can be scaled as it is, is changed in place.

    Only what can't be scaled as it is (palettes, one bit) is converted first. JPEG is decoded at a fraction
    of its size: ``thumbnail`` asks for that while nothing is loaded yet.
    """
    from PIL import Image

    small = _scalable(image)
    span = _grey_span(small) if small.mode in ("I", "F") else None
    if small.mode in ("LA", "RGBA") and max(small.size) > side:
        # resize() does this too, but in older Pillows it then forgets the reducing gap.
        small = small.convert({"LA": "La", "RGBA": "RGBa"}[small.mode])
    small.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=1.0)
    small.load()  # a JPEG that is small already is not decoded by thumbnail()
    if span is not None:
        return _to_eight_bit(small, span)
    return small.convert({"La": "LA", "RGBa": "RGBA"}[small.mode]) if small.mode in ("La", "RGBa") else small


def turn_upright(small: Image.Image, turn: int) -> Image.Image:
    """Turn a picture as EXIF numbers it, 1 to 8."""
    from PIL import Image

    turns = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }
    return small.transpose(turns[turn]) if turn in turns else small


def to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Return the picture as plain RGB or RGBA in sRGB, carrying no metadata."""
    alpha = image.getchannel("A") if image.mode in ("LA", "RGBA") else None
    colours = image.convert({"LA": "L", "RGBA": "RGB"}[image.mode]) if alpha is not None else image
    converted = _through_profile(colours, profile) if profile else None
    plain = colours.convert("RGB") if converted is None else converted
    if alpha is not None:
        plain.putalpha(alpha)
    plain.info = {}  # the WebP encoder would write the old profile and EXIF beside the new pixels
    return plain


def _scalable(image: Image.Image) -> Image.Image:
    """Return the picture in a mode whose values can be averaged, with its transparency as alpha."""
    clear = image.info.get("transparency")
    if image.mode.startswith("I") and isinstance(clear, int):
        return _cut_out(image, clear)
    if image.mode in ("I", "F"):
        return image
    if image.mode.startswith("I;16"):
        return image.convert("I")
    if "transparency" in image.info or image.mode in ("PA", "La", "RGBa"):
        return image.convert("RGBA")
    if image.mode == "P":
        return image.convert("RGB")
    if image.mode == "1":
        return image.convert("L")
    return image if image.mode in _SCALABLE else image.convert("RGBA")


def _cut_out(grey: Image.Image, clear: int) -> Image.Image:
    """Return 16 bit grey as 8 bit, with alpha where it has the one value that stands for nothing."""
    import numpy as np
    from PIL import Image

    small = _to_eight_bit(grey.convert("I"), _SIXTEEN_BITS)
    is_seen = np.asarray(grey) != clear
    small.putalpha(Image.fromarray(is_seen.view(np.uint8) * np.uint8(255)))
    return small


def _grey_span(grey: Image.Image) -> tuple[float, float]:
    """Return which values of a 16 or 32 bit or floating-point grey are black and white.

    Whole numbers that fit in 16 bit are taken as 16 bit, so that a dark picture stays dark. Everything else
    has no known white: its own smallest and largest values serve.
    """
    low, high = cast("tuple[float, float]", grey.getextrema())
    if grey.mode == "I" and low >= 0 and high <= 65_535:
        return _SIXTEEN_BITS
    if not (math.isfinite(low) and math.isfinite(high)):
        return 0.0, 1.0  # a float picture with infinities in it: 0 to 1 is what such files mean
    return low, high


def _to_eight_bit(grey: Image.Image, span: tuple[float, float]) -> Image.Image:
    """Scale grey of any depth to 8 bit; what LANCZOS made overshoot is clipped."""
    low, high = span
    scale = 255.0 / (high - low) if high > low else 0.0
    return grey.convert("F").point(lambda value: value * scale + (0.5 - low * scale)).convert("L")


def _through_profile(colours: Image.Image, profile: bytes) -> Image.Image | None:
    """Convert from a colour profile to sRGB; None when the profile is broken or of another kind of colour."""
    from PIL import ImageCms

    try:
        stated = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        space = stated.profile.xcolor_space.strip()
        if space == "RGB" and colours.mode != "CMYK":
            colours = colours.convert("RGB")
        if {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}.get(space) != colours.mode:
            return None
        srgb = ImageCms.createProfile("sRGB")
        return ImageCms.profileToProfile(colours, stated, srgb, outputMode="RGB")
    except (ImageCms.PyCMSError, ImportError, OSError, ValueError, TypeError, AttributeError):
        # A profile that little CMS refuses; or Pillow was built without it. The picture is worth more.
        return None
