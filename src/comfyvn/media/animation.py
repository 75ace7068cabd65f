"""The preview of what moves: a still, and a short animated WebP."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from comfyvn.media.decoding import FAILURES, check_size, orientation
from comfyvn.media.formats import PreviewLimits
from comfyvn.media.headers import played_ms
from comfyvn.media.scaling import encode_stills, scale_down, to_srgb, turn_upright
from comfyvn.model import THUMBNAIL_SIZES

if TYPE_CHECKING:
    from PIL import Image, ImageFile

__all__ = ["MOVING_SIDE", "encode_moving", "make_moving"]

MOVING_SIDE: Final = min(THUMBNAIL_SIZES)
"""The long side of an animated preview, in pixels."""

_LONGEST_MS: Final = 4_000.0
_FEWEST: Final = 10
"""So many frames are shown even if they last longer: a slide show takes no more room than a film."""
_MOST: Final = 60
_HELD: Final = 240
_PIXELS_OF_ALL: Final = 500_000_000
_BYTES: Final = 500_000
# What is tried, in this order, till the file is small enough: every how many frames, and which quality.
_ATTEMPTS: Final = ((1, 70), (1, 40), (2, 40), (4, 30), (8, 15))
_WEBP_METHOD: Final = 2
_ALPHA_FLAG: Final = 0x10


@dataclass(frozen=True, slots=True)
class _Frame:
    """A small frame, and when it begins."""

    start_ms: float
    picture: Image.Image


def make_moving(image: ImageFile.ImageFile, limits: PreviewLimits) -> tuple[dict[str, bytes], dict[str, Any]]:
    """Decode the beginning of an animation and make its previews; the opened picture is used up.

    The stills show the first frame that isn't fully transparent. What is damaged after the first frame is
    left out.

    Returns:
        ``{"256": ..., "512": ..., "animation": ...}``, and the facts that only decoding tells.
    """
    profile, turn = image.info.get("icc_profile"), orientation(image)
    first = 1 if getattr(image, "default_image", False) else 0  # of an APNG, which shows it elsewhere only
    size, still, shown_ms, count = image.size, None, 0.0, 0
    frames: list[_Frame] = []
    for number in range(first, first + _frame_limit(size, limits)):
        picture = _decode(image, number, first, size, limits)
        if picture is None:
            break
        if still is None or _is_clear(still):
            picture = scale_down(picture, THUMBNAIL_SIZES[-1])
            still = picture.copy() if still is None or not _is_clear(picture) else still
        frames.append(_Frame(shown_ms, scale_down(picture, MOVING_SIDE)))
        count += 1
        shown_ms += played_ms(float(image.info.get("duration") or 0))
        if shown_ms >= _LONGEST_MS and count >= _FEWEST:
            break
        if len(frames) > _HELD:
            frames = _sample(frames, shown_ms, _HELD // 2)
    assert still is not None
    files = encode_stills(to_srgb(turn_upright(still, turn), profile))
    chosen = _sample(frames, shown_ms, _MOST)
    ready = [to_srgb(turn_upright(each.picture, turn), profile) for each in chosen]
    files["animation"] = encode_moving(ready, [each.start_ms for each in chosen], shown_ms)
    is_whole = first + count == getattr(image, "n_frames", 0)
    return files, {"duration_s": round(shown_ms / 1000, 3)} if is_whole else {}


def encode_moving(pictures: Sequence[Image.Image], starts_ms: Sequence[float], end_ms: float) -> bytes:
    """Encode frames as an animated WebP that plays for ever; one frame becomes a still.

    Frames are left out, and quality with them, till the file has at most 500 kB.

    Args:
        pictures: RGB or RGBA, all of one size, in sRGB; at most `MOVING_SIDE` wide and high.
        starts_ms: when each of them begins, the first at 0.
        end_ms: when the last of them ends.
    """
    mode = "RGBA" if any(each.mode == "RGBA" for each in pictures) else "RGB"
    alike = [each.convert(mode) for each in pictures]
    made = b""
    for step, quality in _ATTEMPTS:
        starts = [round(start) for start in starts_ms[::step]]
        ends = [*starts[1:], round(end_ms)]
        made = _encode(alike[::step], [end - start for start, end in zip(starts, ends, strict=True)], quality)
        if len(made) <= _BYTES:
            break
    return made


def _frame_limit(size: tuple[int, int], limits: PreviewLimits) -> int:
    """Return how many frames may be looked at, by their number and by the pixels of all of them."""
    return max(1, min(limits.frames, _PIXELS_OF_ALL // max(1, size[0] * size[1])))


def _decode(
    image: ImageFile.ImageFile, number: int, first: int, size: tuple[int, int], limits: PreviewLimits
) -> Image.Image | None:
    """Return a frame as a picture of its own, None when there is no more that can be decoded."""
    try:
        image.seek(number)
        check_size(image.size, limits)
        image.load()
    except FAILURES:
        if number == first:
            raise
        return None
    # A GIF may grow while it plays; what it began with is its canvas.
    return image.copy() if image.size == size else image.crop((0, 0, *size))


def _is_clear(picture: Image.Image) -> bool:
    """Tell whether nothing of it can be seen."""
    return picture.mode in ("LA", "RGBA") and picture.getchannel("A").getextrema()[1] == 0


def _sample(frames: Sequence[_Frame], end_ms: float, count: int) -> list[_Frame]:
    """Choose at most so many frames, those that are seen at even distances in time."""
    if len(frames) <= count:
        return list(frames)
    chosen: list[_Frame] = []
    at = 0
    for step in range(count):
        wanted_ms = step * end_ms / count
        while at + 1 < len(frames) and frames[at + 1].start_ms <= wanted_ms:
            at += 1
        if not chosen or chosen[-1] is not frames[at]:
            chosen.append(frames[at])
    return chosen


def _encode(pictures: Sequence[Image.Image], durations_ms: list[int], quality: int) -> bytes:
    sink = io.BytesIO()
    if len(pictures) == 1:
        pictures[0].save(sink, "WEBP", quality=quality, method=_WEBP_METHOD)
    else:
        pictures[0].save(
            sink,
            "WEBP",
            save_all=True,
            append_images=pictures[1:],
            duration=durations_ms,
            loop=0,
            background=(0, 0, 0, 0),
            quality=quality,
            method=_WEBP_METHOD,
        )
    return _with_alpha_flag(sink.getvalue()) if pictures[0].mode == "RGBA" else sink.getvalue()


def _with_alpha_flag(webp: bytes) -> bytes:
    """Say in a file's header that it has alpha.

    The encoder doesn't where each frame is cut to an opaque part of the canvas; decoders then show the rest
    of it black. Format: WebP container (RFC 9649), section 2.7, "Extended File Header".
    """
    if webp[12:16] != b"VP8X":
        return webp
    return webp[:20] + bytes([webp[20] | _ALPHA_FLAG]) + webp[21:]
