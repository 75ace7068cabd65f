"""Pictures that Pillow decodes: what they have in common, and the formats TIFF and BMP."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from comfyvn.errors import PreviewFailed
from comfyvn.media import decoding, headers
from comfyvn.media.animation import make_moving
from comfyvn.media.decoding import opened, orientation
from comfyvn.media.embedded import TextCollector
from comfyvn.media.exif import add_tiff
from comfyvn.media.formats import PreviewLimits, Rendered, tells_kind
from comfyvn.media.headers import Timing
from comfyvn.media.scaling import make_stills
from comfyvn.model import PreviewKind

if TYPE_CHECKING:
    from PIL import ImageFile

__all__ = ["BmpFormat", "PillowFormat", "TiffFormat", "pillow_unavailable"]

_BMP_HEADER_SIZES: Final = frozenset({12, 16, 40, 52, 56, 64, 108, 124})
_TIFF_SIGNATURES: Final = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

_WITH_ALPHA: Final = frozenset({"LA", "La", "PA", "RGBA", "RGBa"})
_DEPTHS: Final = {"1": 1, "I;16": 16, "I;16B": 16, "I;16L": 16, "I": 32, "F": 32}
_DEPTH_IS_HIDDEN: Final = frozenset({"AVIF", "HEIF", "JXL", "JPEG2000", "DDS"})
"""Formats that Pillow gives with 8 bit whatever they have."""
_RAW_DEPTH: Final = re.compile(r"(?!BGR)[A-Za-z]+;(\d+)")  # "BGR;15" counts the bits of a pixel
_TIMINGS: Final[Mapping[str, Callable[[BinaryIO], Timing]]] = MappingProxyType(
    {"GIF": headers.gif_timing, "PNG": headers.png_timing, "WEBP": headers.webp_timing}
)


class PillowFormat:
    """A picture format that Pillow decodes; what its files look like is said by the classes that inherit.

    ``family`` is Pillow's name of the format. A class with ``kind_of`` has stills and animations.
    """

    name: str
    family: str
    preview_kind: PreviewKind | None = "thumbnail"

    def preview(self, file: BinaryIO, limits: PreviewLimits) -> Rendered:
        """Make the thumbnails of the picture, or of the first page; of an animation also a short one.

        The animation shows the beginning: at most 60 frames out of about 4 seconds, as fast as they are.
        """
        is_moving = self._kind(file) == "animation"
        with opened(file, self.family, limits) as image:
            self._prepare(file, image)
            facts = self._facts(file, image)
            if not is_moving:
                return Rendered(make_stills(image), facts)
            files, learned = make_moving(image, limits)
            return Rendered(files, {**learned, **facts})

    def probe(self, file: BinaryIO) -> dict[str, Any]:
        """Return width and height (upright), mode, depth, alpha and profile; of an animation its timing."""
        if (reason := self.unavailable()) is not None:
            raise PreviewFailed(why=reason)
        size = decoding.early_size(file, self.family)
        # Opening would take as much memory as decoding, or is decoding.
        if size is not None and (self.family == "JXL" or size[0] * size[1] > PreviewLimits().pixels):
            return {"width": size[0], "height": size[1]}
        with opened(file, self.family, None) as image:
            self._prepare(file, image)
            return self._facts(file, image)

    def unavailable(self) -> str | None:
        """Say whether Pillow is missing, or its plug-in for this format."""
        return decoding.unavailable(self.family)

    def tells_all(self, file: BinaryIO, image: ImageFile.ImageFile) -> bool:
        """Tell whether an opened picture is a still whose pixels Pillow gives as they are, all bits of them.

        The file is left where it is.
        """
        at = file.tell()
        is_still = self._kind(file) == "thumbnail"
        file.seek(at)
        self._prepare(file, image)
        depth = self._depth(image)
        return is_still and depth is not None and (depth <= 8 or image.mode.startswith(("I", "F")))

    def _kind(self, file: BinaryIO) -> PreviewKind | None:
        return self.kind_of(file) if tells_kind(self) else self.preview_kind

    def _prepare(self, file: BinaryIO, image: ImageFile.ImageFile) -> None:
        """Put right what Pillow tells wrongly or too late; the file is left where it is."""

    def _facts(self, file: BinaryIO, image: ImageFile.ImageFile) -> dict[str, Any]:
        """Return what is known of a picture before it is decoded; the file is left where it is."""
        width, height = image.size
        if image.format != "TIFF" and orientation(image) >= 5:
            width, height = height, width
        facts: dict[str, Any] = {"width": width, "height": height, "mode": image.mode}
        if (depth := self._depth(image)) is not None:
            facts["bit_depth"] = depth
        facts["has_alpha"] = image.mode in _WITH_ALPHA or "transparency" in image.info
        facts["has_icc"] = bool(image.info.get("icc_profile"))
        return facts | self._timing(file, image)

    def _depth(self, image: ImageFile.ImageFile) -> int | None:
        """Return the bits of a channel, None when they can't be told."""
        if self.family in _DEPTH_IS_HIDDEN:
            return None
        for tile in image.tile:
            rawmode = tile[3][0] if isinstance(tile[3], tuple) and tile[3] else tile[3]
            if isinstance(rawmode, str) and (found := _RAW_DEPTH.match(rawmode)):
                return int(found[1])
            if isinstance(rawmode, str) and rawmode.startswith("BGR;"):
                return None
        return _DEPTHS.get(image.mode, 8)

    def _timing(self, file: BinaryIO, image: ImageFile.ImageFile) -> dict[str, Any]:
        if self._kind(file) != "animation":
            return {}
        if self.family not in _TIMINGS:
            return {"frames": getattr(image, "n_frames", 1)}
        at = file.tell()
        timing = _TIMINGS[self.family](file)
        file.seek(at)  # Pillow goes on reading here
        duration_s = round(timing.duration_ms / 1000, 3)
        return {"frames": timing.frames, "loops": timing.loops, "duration_s": duration_s}


class TiffFormat(PillowFormat):
    """TIFF and BigTIFF: has thumbnails, of its first page."""

    name = "tiff"
    family = "TIFF"

    def sniff(self, head: bytes, name: str) -> bool:
        """Tell a TIFF file by its byte order and version."""
        return head.startswith(_TIFF_SIGNATURES)

    def texts(self, found: TextCollector) -> None:
        """Take up the texts of the first page; BigTIFF tells none."""
        add_tiff(found, found.read)

    def _facts(self, file: BinaryIO, image: ImageFile.ImageFile) -> dict[str, Any]:
        at = file.tell()
        tiff = headers.read_tiff(file)
        file.seek(at)
        facts = super()._facts(file, image)
        width, height = tiff.size  # newer Pillows turn a TIFF themselves, older ones don't
        facts["width"], facts["height"] = (height, width) if orientation(image) >= 5 else (width, height)
        if tiff.depth:
            facts["bit_depth"] = tiff.depth
        return facts if tiff.pages is None else {**facts, "pages": tiff.pages}


class BmpFormat(PillowFormat):
    """BMP: has thumbnails."""

    name = "bmp"
    family = "BMP"

    def sniff(self, head: bytes, name: str) -> bool:
        """Tell a BMP file by its signature and the size of its header: "BM" alone also starts many a text."""
        is_known = len(head) >= 18 and head[14] in _BMP_HEADER_SIZES and not any(head[15:18])
        return head.startswith(b"BM") and is_known


def pillow_unavailable() -> str | None:
    """Say whether Pillow is missing, without loading it."""
    return decoding.unavailable("")
