"""Frames of a film as they are meant to be shown: square pixels, upright, in RGB or with transparency.

Format: the display matrix of FFmpeg's ``libavutil/display.h``, which is that of ISO/IEC 14496-12, 8.5.3.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

from comfyvn.media import scaling

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["Shape", "spread"]

_UNSPECIFIED: Final = 2  # AVCOL_SPC_UNSPECIFIED
_HD_LINES: Final = 720


@dataclass
class Shape:
    """How frames are to be shown: the width of a pixel by its height, and the turn afterwards."""

    ratio: Fraction
    turn: int = 1

    @classmethod
    def of(cls, stream: Any) -> Shape:
        """Return what the header of a film tells; pixels are square where that is unknown or absurd."""
        stated = stream.sample_aspect_ratio
        ratio = Fraction(stated.numerator, stated.denominator) if stated else Fraction(1)
        return cls(ratio if Fraction(1, 8) <= ratio <= 8 else Fraction(1))

    def turn_as(self, frame: Any) -> None:
        """Learn from a frame's display matrix how the film is turned."""
        from av.sidedata.sidedata import Type

        data = frame.side_data.get(Type.DISPLAYMATRIX)
        if data is not None:
            a, b, _, c, d = struct.unpack_from("=5i", bytes(data))
            self.turn = _turn(a, b, c, d)

    def size_of(self, codec: Any) -> tuple[int, int]:
        """Return width and height as shown."""
        size = max(1, round(codec.width * self.ratio)), codec.height
        return size[::-1] if self.turn >= 5 else size

    def picture(self, frame: Any, side: int) -> Image.Image:
        """Return a frame as shown, its long side at most so many pixels, in sRGB's numbers."""
        from PIL import Image

        width, height = max(1, round(frame.width * self.ratio)), frame.height
        scale = min(1.0, side / max(width, height))
        size = max(1, round(width * scale)), max(1, round(height * scale))
        if any(part.is_alpha for part in frame.format.components):
            whole = Image.fromarray(_converted(frame, None, "rgba"))
            # What can't be seen must not bleed into what can.
            small = whole.convert("RGBa").resize(size, Image.Resampling.BOX).convert("RGBA")
        else:
            small = Image.fromarray(_converted(frame, size, "rgb24"))
        return scaling.turn_upright(small, self.turn)


def _converted(frame: Any, size: tuple[int, int] | None, pixel_format: str) -> Any:
    """Return a frame's pixels, scaled by averaging."""
    wanted: dict[str, Any] = {"format": pixel_format, "interpolation": "AREA"}
    if size is not None:
        wanted |= {"width": size[0], "height": size[1]}
    if frame.colorspace == _UNSPECIFIED:
        wanted["src_colorspace"] = "ITU709" if frame.height >= _HD_LINES else "ITU601"
    try:
        return frame.reformat(threads=1, **wanted).to_ndarray()
    except TypeError:  # older ones use one thread and have no word for it
        return frame.reformat(**wanted).to_ndarray()


def _turn(a: int, b: int, c: int, d: int) -> int:
    """Return the turn of a display matrix (x' = ax + cy, y' = bx + dy) as EXIF numbers it, 1 to 8."""
    if abs(b) + abs(c) > abs(a) + abs(d):
        if b > 0:
            return 5 if c > 0 else 6
        return 8 if c > 0 else 7
    if a < 0:
        return 2 if d > 0 else 3
    return 4 if d < 0 else 1


def spread(picture: Image.Image) -> float:
    """Return how much a frame shows: the spread of its luma, and a little for not being black."""
    from PIL import Image, ImageStat

    if picture.mode == "RGBA":
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, (0, 0, 0, 255)), picture)
    luma = ImageStat.Stat(picture.convert("L"))
    return luma.stddev[0] + min(luma.mean[0], 64.0) / 16.0
