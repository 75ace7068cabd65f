"""Opening pictures with Pillow, and what their headers must say before it may.

Pillow's classes are opened directly, not through ``Image.open()``: that one checks the size against a limit
of the whole process and warns through a filter of the whole process, and neither is ours to change. Our own
limit is checked right after the header was read, and before that where opening alone takes memory.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import re
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, BinaryIO, Final

from comfyvn.errors import PreviewFailed
from comfyvn.media import headers
from comfyvn.media.formats import PreviewLimits, is_installed

if TYPE_CHECKING:
    from PIL import ImageFile

__all__ = ["FAILURES", "check_size", "early_size", "opened", "orientation", "unavailable"]

_OPENERS: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "PNG": ("PIL.PngImagePlugin", "PngImageFile"),
        "JPEG": ("PIL.JpegImagePlugin", "jpeg_factory"),  # also opens the first picture of an MPO
        "WEBP": ("PIL.WebPImagePlugin", "WebPImageFile"),
        "BMP": ("PIL.BmpImagePlugin", "BmpImageFile"),
        "GIF": ("PIL.GifImagePlugin", "GifImageFile"),
        "TIFF": ("PIL.TiffImagePlugin", "TiffImageFile"),
        "AVIF": ("PIL.AvifImagePlugin", "AvifImageFile"),
        "HEIF": ("pillow_heif.as_plugin", "HeifImageFile"),
        "JXL": ("pillow_jxl.JpegXLImagePlugin", "JXLImageFile"),
        "PSD": ("PIL.PsdImagePlugin", "PsdImageFile"),
        "ICO": ("PIL.IcoImagePlugin", "IcoImageFile"),
        "DDS": ("PIL.DdsImagePlugin", "DdsImageFile"),
        "TGA": ("PIL.TgaImagePlugin", "TgaImageFile"),
        "QOI": ("PIL.QoiImagePlugin", "QoiImageFile"),
        "JPEG2000": ("PIL.Jpeg2KImagePlugin", "Jpeg2KImageFile"),
    }
)
_PLUGINS: Final = {
    "HEIF": ("HEIC", "pillow_heif", "pip install pillow-heif"),
    "JXL": ("JPEG XL", "pillow_jxl", "pip install pillow-jxl-plugin"),
}
_SIZES: Final[Mapping[str, Callable[[BinaryIO], tuple[int, int]]]] = MappingProxyType(
    {
        "WEBP": headers.webp_size,
        "GIF": headers.gif_size,
        "ICO": headers.ico_size,
        "JXL": headers.jxl_size,
    }
)
"""Formats that take memory for their pixels as soon as Pillow opens them, or for more than they say later."""

_FILE_LIMIT_BYTES: Final = 256 * 1024 * 1024
_READ_IN_PARTS: Final = frozenset({"PSD"})  # layers are skipped, however large; others are read into memory
_NUMBER_LIMIT: Final = 2_000_000
_ORIENTATION_TAG: Final = 0x0112
_UNKNOWN: Final = re.compile("un(supported|implemented|known) ", re.IGNORECASE)

FAILURES: Final = (
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
"""What Pillow's decoders raise on damaged files: they read untrusted headers with plain indexing, arithmetic
and assertions. Warning: the host may have made warnings errors."""


@contextlib.contextmanager
def opened(file: BinaryIO, family: str, limits: PreviewLimits | None) -> Iterator[ImageFile.ImageFile]:
    """Open a picture, its header read and checked, nothing decoded.

    Args:
        file: seekable; stays open.
        family: Pillow's name of the file format, such as ``PNG``.
        limits: more pixels than these are refused; None opens a picture of any size, for its header.

    Raises:
        PreviewFailed: damaged, too large, or not decodable by this Pillow; also for what goes wrong in the
            ``with`` block. Its ``__cause__`` is what Pillow raised.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise PreviewFailed(why=f"Pillow can't be loaded ({error})") from error
    try:
        _check_file(file, family, limits or PreviewLimits())
        file.seek(0)
        with _open(file, family) as image:
            if limits is not None:
                check_size(image.size, limits)
            yield image
    except PreviewFailed:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise PreviewFailed(why=f"Pillow refuses the picture as too large ({error})") from error
    except MemoryError as error:
        raise PreviewFailed(why="there is not enough memory to decode the picture") from error
    except FAILURES as error:
        text = _short(error)
        what = (
            "this Pillow can't decode it" if _UNKNOWN.match(text) else "the picture is damaged or incomplete"
        )
        raise PreviewFailed(why=f"{what} ({text})") from error


def early_size(file: BinaryIO, family: str) -> tuple[int, int] | None:
    """Return the size that the header states, of formats that take much memory to be opened; else None.

    Raises:
        PreviewFailed: the header has none, or there are too many parts.
    """
    if family not in _SIZES:
        return None
    size = _SIZES[family](file)
    if family == "JXL" and 0 in size:
        raise PreviewFailed(why="the picture is damaged or incomplete (no header was found)")
    return size


def check_size(size: tuple[int, int], limits: PreviewLimits) -> None:
    """Refuse a picture with more pixels than the limit.

    Raises:
        PreviewFailed: it has.
    """
    width, height = size
    if width * height > limits.pixels:
        why = (
            f"{width} x {height} pixels are more than the limit of {limits.pixels:,} (setting preview_pixels)"
        )
        raise PreviewFailed(why=why)


def orientation(image: ImageFile.ImageFile) -> int:
    """Return how the picture must be turned, as EXIF numbers it, 1 to 8; a broken EXIF says nothing.

    What is known so far: some formats have their EXIF behind the pixels. Nothing is decoded.
    """
    from PIL import Image

    if image.format == "JXL":  # the decoder has turned it already
        return 1
    try:
        # The method of PNG pictures would decode them.
        turn = Image.Image.getexif(image).get(_ORIENTATION_TAG, 1)
    except FAILURES:
        return 1
    return turn if isinstance(turn, int) and 1 <= turn <= 8 else 1


def unavailable(family: str) -> str | None:
    """Say which library is missing for pictures of a family, without loading any."""
    if not is_installed("PIL"):
        return "Pillow is not installed: pip install pillow"
    if family in _PLUGINS:
        name, package, command = _PLUGINS[family]
        if not is_installed(package):
            return f"{name} pictures need a plug-in of Pillow: {command}"
    return None


def _check_file(file: BinaryIO, family: str, limits: PreviewLimits) -> None:
    size_bytes = file.seek(0, io.SEEK_END)
    if size_bytes > _FILE_LIMIT_BYTES and family not in _READ_IN_PARTS:
        why = f"the file has {size_bytes:,} bytes, more than the {_FILE_LIMIT_BYTES:,} of the limit"
        raise PreviewFailed(why=why)
    if (size := early_size(file, family)) is not None:
        check_size(size, limits)
    if family == "TIFF":
        tiff = headers.read_tiff(file)
        check_size(tiff.tile, limits)  # a tile is decoded as a whole, however small the picture
        if tiff.numbers > _NUMBER_LIMIT:
            raise PreviewFailed(why=f"its tags hold {tiff.numbers:,} numbers, more than {_NUMBER_LIMIT:,}")


def _open(file: BinaryIO, family: str) -> ImageFile.ImageFile:
    module_name, opener = _OPENERS[family]
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:  # AVIF came with Pillow 11.3
        reason = unavailable(family) or f"this Pillow can't read {family}; update it"
        raise PreviewFailed(why=reason) from error
    if not getattr(module, "SUPPORTED", True):
        raise PreviewFailed(why=f"this Pillow was built without {family}")
    image: ImageFile.ImageFile = getattr(module, opener)(file)
    return image


def _short(error: BaseException) -> str:
    """Return an error's text as the end of a sentence, cut where it would fill a page."""
    text = " ".join(str(error).split()).rstrip(".")
    return text[:200] or type(error).__name__
