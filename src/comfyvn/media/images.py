"""Still pictures: JPEG, WebP, BMP, GIF, TIFF, AVIF; and the thumbnails of every picture, PNG included.

Pillow decodes. Its classes are opened directly, not through ``Image.open()``: that one checks the size
against a limit of the whole process and warns through a filter of the whole process, and neither is ours to
change; our own limit is checked right after the header was read.
"""

from __future__ import annotations

import importlib
import importlib.util
import io
import math
import struct
import sys
import zlib
from typing import TYPE_CHECKING, BinaryIO, Final, cast

from comfyvn.errors import PreviewFailed
from comfyvn.media.formats import PreviewLimits, Rendered
from comfyvn.model import THUMBNAIL_SIZES, PreviewKind

if TYPE_CHECKING:
    from PIL import Image, ImageFile

__all__ = ["ImageFormat", "PillowFormat", "make_thumbnails", "pillow_unavailable"]

_FILE_LIMIT_BYTES: Final = 256 * 1024 * 1024
_OPENERS: Final = {
    "PNG": ("PIL.PngImagePlugin", "PngImageFile"),
    "JPEG": ("PIL.JpegImagePlugin", "jpeg_factory"),  # also opens the first picture of an MPO
    "WEBP": ("PIL.WebPImagePlugin", "WebPImageFile"),
    "BMP": ("PIL.BmpImagePlugin", "BmpImageFile"),
    "GIF": ("PIL.GifImagePlugin", "GifImageFile"),
    "TIFF": ("PIL.TiffImagePlugin", "TiffImageFile"),
    "AVIF": ("PIL.AvifImagePlugin", "AvifImageFile"),
}
_BMP_HEADER_SIZES: Final = frozenset({12, 16, 40, 52, 56, 64, 108, 124})
_TIFF_SIGNATURES: Final = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

_ORIENTATION_TAG: Final = 0x0112
_WEBP_QUALITY: Final = 80
_WEBP_METHOD: Final = 1
_SCALABLE: Final = frozenset({"L", "LA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"})

# What Pillow's decoders raise on damaged files: they read untrusted headers with plain indexing, arithmetic
# and assertions. Warning: the host may have made warnings errors.
_DECODE_ERRORS: Final = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    AssertionError,
    MemoryError,
    RuntimeError,
    struct.error,
    zlib.error,
    Warning,
)


class PillowFormat:
    """A picture format that Pillow decodes; what its files look like is said by the classes that inherit.

    ``family`` is Pillow's name of the format.
    """

    name: str
    family: str
    preview_kind: PreviewKind | None = "thumbnail"

    def preview(self, file: BinaryIO, limits: PreviewLimits) -> Rendered:
        """Make the thumbnails of the picture, or of the first frame."""
        return Rendered(make_thumbnails(file, self.family, limits))

    def unavailable(self) -> str | None:
        """Say whether Pillow is missing."""
        return pillow_unavailable()


class ImageFormat(PillowFormat):
    """JPEG, WebP, BMP, GIF, TIFF and AVIF: have thumbnails."""

    name = "image"

    def sniff(self, head: bytes, name: str) -> bool:
        """Tell a picture by its signature."""
        return _family(head) is not None

    def preview(self, file: BinaryIO, limits: PreviewLimits) -> Rendered:
        """Make the thumbnails of the picture, or of the first frame."""
        file.seek(0)
        head = file.read(64)
        family = _family(head)
        if family is None:
            raise PreviewFailed(why="this is not a JPEG, WebP, BMP, GIF, TIFF or AVIF picture")
        if family == "WEBP":
            # Pillow makes room for the whole canvas as soon as it opens a WebP file.
            _check_size(_webp_size(head), limits)
        return Rendered(make_thumbnails(file, family, limits))


def pillow_unavailable() -> str | None:
    """Say whether Pillow is missing, without loading it."""
    if "PIL" in sys.modules:
        is_here = sys.modules["PIL"] is not None
    else:
        is_here = importlib.util.find_spec("PIL") is not None
    return None if is_here else "Pillow is not installed: pip install pillow"


def make_thumbnails(file: BinaryIO, family: str, limits: PreviewLimits) -> dict[str, bytes]:
    """Decode a picture once and make its 256 and 512 px WebP previews.

    Args:
        file: seekable; stays open.
        family: Pillow's name of the file format, such as ``PNG``.
        limits: more pixels than these are refused before anything is decoded.

    Returns:
        ``{"256": ..., "512": ...}``: long side at most that many pixels, never enlarged, upright, sRGB,
        alpha kept.

    Raises:
        PreviewFailed: damaged, too large, or not decodable by this Pillow. Its ``__cause__`` is what Pillow
            raised.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise PreviewFailed(why=f"Pillow can't be loaded ({error})") from error
    size_bytes = file.seek(0, io.SEEK_END)
    if size_bytes > _FILE_LIMIT_BYTES:  # Pillow reads all of a WebP or AVIF into memory, twice
        why = f"the file has {size_bytes:,} bytes, more than the {_FILE_LIMIT_BYTES:,} of the limit"
        raise PreviewFailed(why=why)
    file.seek(0)
    try:
        with _open(file, family) as image:
            _check_size(image.size, limits)
            profile = image.info.get("icc_profile")
            small = _shrink(image)
            upright = _turn_upright(small, image)
        return _encode(_to_srgb(upright, profile))
    except PreviewFailed:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise PreviewFailed(why=f"Pillow refuses the picture as too large ({error})") from error
    except MemoryError as error:
        raise PreviewFailed(why="there is not enough memory to decode the picture") from error
    except _DECODE_ERRORS as error:
        raise PreviewFailed(why=f"the picture is damaged or incomplete ({_short(error)})") from error


def _family(head: bytes) -> str | None:
    """Return Pillow's name of the format that starts like this."""
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "WEBP"
    if head.startswith(_TIFF_SIGNATURES):
        return "TIFF"
    if head.startswith(b"BM") and len(head) >= 18 and head[14] in _BMP_HEADER_SIZES and not any(head[15:18]):
        return "BMP"  # "BM" alone also starts many a text
    if head[4:8] == b"ftyp" and _has_avif_brand(head):
        return "AVIF"
    return None


def _has_avif_brand(head: bytes) -> bool:
    size = min(int.from_bytes(head[:4], "big"), len(head))
    brands = [head[8:12], *(head[at : at + 4] for at in range(16, size, 4))]
    return b"avif" in brands or b"avis" in brands


def _webp_size(head: bytes) -> tuple[int, int]:
    """Return the canvas of a WebP file from its first 30 bytes; (0, 0) when they are damaged."""
    if len(head) < 30:
        return 0, 0
    if head[12:16] == b"VP8X":
        return 1 + int.from_bytes(head[24:27], "little"), 1 + int.from_bytes(head[27:30], "little")
    if head[12:16] == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    width, height = struct.unpack_from("<HH", head, 26)
    return width & 0x3FFF, height & 0x3FFF


def _open(file: BinaryIO, family: str) -> ImageFile.ImageFile:
    module_name, opener = _OPENERS[family]
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:  # AVIF came with Pillow 11.3
        raise PreviewFailed(why=f"this Pillow can't read {family}; update it") from error
    if not getattr(module, "SUPPORTED", True):
        raise PreviewFailed(why=f"this Pillow was built without {family}")
    opened: ImageFile.ImageFile = getattr(module, opener)(file)
    return opened


def _check_size(size: tuple[int, int], limits: PreviewLimits) -> None:
    width, height = size
    if width * height > limits.pixels:
        why = f"{width} x {height} pixels are more than the limit of {limits.pixels:,}"
        raise PreviewFailed(why=why)


def _short(error: BaseException) -> str:
    """Return an error's text as the end of a sentence, cut where it would fill a page."""
    text = " ".join(str(error).split()).rstrip(".")
    return text[:200] or type(error).__name__


def _shrink(image: ImageFile.ImageFile) -> Image.Image:
    """Decode the first frame and scale it to the larger preview size.

    Only what can't be scaled as it is (palettes, one bit) is converted first. JPEG is decoded at a fraction
    of its size: ``thumbnail`` asks for that while nothing is loaded yet.
    """
    from PIL import Image

    side = THUMBNAIL_SIZES[-1]
    small: Image.Image = image
    if image.format not in ("JPEG", "MPO"):
        image.load()
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


def _scalable(image: Image.Image) -> Image.Image:
    """Return the picture in a mode whose values can be averaged, with its transparency as alpha."""
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


def _grey_span(grey: Image.Image) -> tuple[float, float]:
    """Return which values of a 16 or 32 bit or floating-point grey are black and white.

    Whole numbers that fit in 16 bit are taken as 16 bit, so that a dark picture stays dark. Everything else
    has no known white: its own smallest and largest values serve.
    """
    low, high = cast("tuple[float, float]", grey.getextrema())
    if grey.mode == "I" and low >= 0 and high <= 65_535:
        return 0.0, 65_535.0
    if not (math.isfinite(low) and math.isfinite(high)):
        return 0.0, 1.0  # a float picture with infinities in it: 0 to 1 is what such files mean
    return low, high


def _to_eight_bit(grey: Image.Image, span: tuple[float, float]) -> Image.Image:
    """Scale grey of any depth to 8 bit; what LANCZOS made overshoot is clipped."""
    low, high = span
    scale = 255.0 / (high - low) if high > low else 0.0
    return grey.convert("F").point(lambda value: value * scale + (0.5 - low * scale)).convert("L")


def _turn_upright(small: Image.Image, opened: Image.Image) -> Image.Image:
    """Turn the picture as its EXIF says; a broken EXIF says nothing."""
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
    try:
        turn = turns.get(opened.getexif().get(_ORIENTATION_TAG, 1))
    except _DECODE_ERRORS:
        return small
    return small if turn is None else small.transpose(turn)


def _to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Return the picture as plain RGB or RGBA in sRGB, carrying no metadata."""
    alpha = image.getchannel("A") if image.mode in ("LA", "RGBA") else None
    colours = image.convert({"LA": "L", "RGBA": "RGB"}[image.mode]) if alpha is not None else image
    converted = _through_profile(colours, profile) if profile else None
    plain = colours.convert("RGB") if converted is None else converted
    if alpha is not None:
        plain.putalpha(alpha)
    plain.info = {}  # the WebP encoder would write the old profile and EXIF beside the new pixels
    return plain


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


def _encode(large: Image.Image) -> dict[str, bytes]:
    """Encode every size, each made from the next larger one."""
    from PIL import Image

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
