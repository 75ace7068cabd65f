"""The sample library: a small visual novel, drawn and synthesised on the spot, for `comfyvn demo`.

"The Lighthouse Keeper's Letters": Mara keeps the light, Ellis brings the post, Ines minds the library.
The art is tables of outlines and colours, the sound is tables of notes and vowels, so the package carries
no binary file and the same versions of Pillow and NumPy write the same bytes each time.
"""

from __future__ import annotations

import functools
import io
import itertools
import json
import math
import os
import random
import re
import wave
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

    Signal = NDArray[np.float64]

__all__ = ["build", "files"]

Point = tuple[float, float]
Points = list[Point]


def build(folder: Path, *, on_file: Callable[[Path], None] | None = None) -> list[Path]:
    """Write the sample library below a folder.

    Args:
        folder: made when missing. A file that is already there, whatever is in it, is left alone.
        on_file: called with each path once its file is in place, also for those left alone.

    Returns:
        All files of the library, in the order of :func:`files`.
    """
    paths = []
    for name, make in _pieces().items():
        path = folder / name
        if not os.path.lexists(path):
            _write(path, make())
        paths.append(path)
        if on_file is not None:
            on_file(path)
    return paths


def files() -> tuple[str, ...]:
    """Name the files of the sample library, relative to its folder; nothing is drawn.

    >>> "characters/mara/mara_happy.png" in files()
    True
    """
    return tuple(_pieces())


def _pieces() -> dict[str, Callable[[], bytes]]:
    """Map each file's name to the function that makes its bytes."""
    sprites = {
        f"characters/{name}/{name}_{mood}.png": functools.partial(_sprite, character, expression)
        for name, character in _CHARACTERS.items()
        for mood, expression in _EXPRESSIONS.items()
    }
    voices = {f"voices/{name}.wav": functools.partial(_voice, line) for name, line in _VOICES.items()}
    return {
        **sprites,
        "backgrounds/夕暮れの港.png": _harbour,
        "backgrounds/lighthouse_night.webp": _lighthouse_night,
        "backgrounds/library_room.png": _library,
        "backgrounds/forest_path.jpg": _forest,
        "backgrounds/cliff_morning.png": _cliff,
        "ui/textbox.png": _textbox,
        "ui/icons.png": _icons,
        **voices,
        "music/letters_home.wav": _music,
        "sounds/waves.wav": _waves,
    }


def _write(path: Path, data: bytes) -> None:
    """Put a file in place in one step, so that an interrupted build leaves no half of a picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(data)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


# Outlines ------------------------------------------------------------------------------------------------


def _points(text: str) -> tuple[Points, list[bool]]:
    """Read an outline such as ``"0,10 !20,30"``: points, and which of them are corners (``!``)."""
    words = text.split()
    pairs = [word.lstrip("!").split(",") for word in words]
    return [(float(x), float(y)) for x, y in pairs], [word.startswith("!") for word in words]


def _smooth(points: Points, corners: list[bool], *, closed: bool, steps: int = 10) -> Points:
    """Run a Catmull-Rom curve through the points; at a corner the tangent of each side is its own."""
    count = len(points)
    curve: Points = []
    for i in range(count if closed else count - 1):
        j = (i + 1) % count
        start, end = points[i], points[j]
        before = start if corners[i] or (i == 0 and not closed) else points[i - 1]
        after = end if corners[j] or (j == count - 1 and not closed) else points[(j + 1) % count]
        curve += [_catmull(before, start, end, after, step / steps) for step in range(steps)]
    return curve if closed else [*curve, points[-1]]


def _catmull(before: Point, start: Point, end: Point, after: Point, t: float) -> Point:
    """Give the point at t in [0, 1] between start and end."""

    def along(a: float, b: float, c: float, d: float) -> float:
        return b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))

    return along(before[0], start[0], end[0], after[0]), along(before[1], start[1], end[1], after[1])


def _curves(text: str, mirror: str = "", *, closed: bool = True) -> list[Points]:
    """Turn an outline's text into curves.

    ``half`` says that it is the right half of a symmetric outline, ``pair`` that it is drawn a second time
    in the mirror; both are about x = 0.
    """
    points, corners = _points(text)
    mirrored = [(-x, y) for x, y in points]
    if mirror == "half":
        points, corners = points + mirrored[::-1], corners + corners[::-1]
    curves = [_smooth(points, corners, closed=closed)]
    if mirror == "pair":
        curves.append(_smooth(mirrored, corners, closed=closed))
    return curves


def _area(text: str, x: float = 0.0, y: float = 0.0, size: float = 1.0) -> Points:
    """Turn an outline's text into one closed curve, enlarged and then moved to (x, y)."""
    return [(x + u * size, y + v * size) for u, v in _curves(text)[0]]


def _ellipse(x: float, y: float, rx: float, ry: float, count: int = 48) -> Points:
    turns = [2 * math.pi * i / count for i in range(count)]
    return [(x + rx * math.cos(turn), y + ry * math.sin(turn)) for turn in turns]


def _box(left: float, top: float, right: float, bottom: float) -> Points:
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def _round_box(left: float, top: float, right: float, bottom: float, radius: float) -> Points:
    corners = [(right - radius, bottom - radius, 0), (left + radius, bottom - radius, 1)]
    corners += [(left + radius, top + radius, 2), (right - radius, top + radius, 3)]
    turns = [i * math.pi / 16 for i in range(9)]
    return [
        (x + radius * math.cos(turn + k * math.pi / 2), y + radius * math.sin(turn + k * math.pi / 2))
        for x, y, k in corners
        for turn in turns
    ]


def _stroke(curve: Points, width: float, *, taper: float = 1.0) -> Points:
    """Outline a pen stroke along a curve; taper 1 ends in points, 0 keeps the width throughout."""
    last = len(curve) - 1
    left, right = [], []
    for i, (x, y) in enumerate(curve):
        (ax, ay), (bx, by) = curve[max(i - 1, 0)], curve[min(i + 1, last)]
        length = math.hypot(bx - ax, by - ay) or 1.0
        half = width / 2 * (1 - taper + taper * math.sin(math.pi * i / last) ** 0.7)
        dx, dy = -(by - ay) / length * half, (bx - ax) / length * half
        left.append((x + dx, y + dy))
        right.append((x - dx, y - dy))
    return left + right[::-1]


def _mix(one: str, other: str, share: float) -> str:
    """Blend two ``#rrggbb`` colours; share 0 is the first, 1 the second."""
    pairs = ((int(one[i : i + 2], 16), int(other[i : i + 2], 16)) for i in (1, 3, 5))
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in pairs)


# Canvas --------------------------------------------------------------------------------------------------


class _Canvas:
    """A picture drawn larger than it will be and reduced at the end, which smooths its edges.

    Coordinates are pixels of the finished picture, counted from ``origin``; ``tilt_deg`` turns what is
    drawn about ``pivot``.
    """

    def __init__(self, width_px: int, height_px: int, *, scale: int, mode: str = "RGBA") -> None:
        from PIL import Image, ImageDraw

        self.width_px, self.height_px, self.scale = width_px, height_px, scale
        self.image = Image.new(mode, (width_px * scale, height_px * scale))
        self.draw = ImageDraw.Draw(self.image)
        self.origin: Point = (0.0, 0.0)
        self.pivot: Point = (0.0, 0.0)
        self.tilt_deg = 0.0

    def finish(self) -> Image.Image:
        """Reduce to the final size."""
        return self.image.reduce(self.scale)

    def place(self, points: Iterable[Point]) -> Points:
        """Bring points onto the enlarged picture."""
        cos, sin = math.cos(math.radians(self.tilt_deg)), math.sin(math.radians(self.tilt_deg))
        (px, py), (ox, oy), scale = self.pivot, self.origin, self.scale
        around = ((x - px, y - py) for x, y in points)
        return [
            ((px + ox + x * cos - y * sin) * scale, (py + oy + x * sin + y * cos) * scale) for x, y in around
        ]

    def fill(
        self, points: Sequence[Point], colour: str, *, opacity: float = 1.0, within: Points | None = None
    ) -> None:
        """Fill an outline, see-through if wanted, and only where it lies within another one."""
        if opacity >= 1.0 and within is None:
            self.draw.polygon(self.place(points), fill=colour)
            return
        masks = [self.place(outline) for outline in (points, within) if outline is not None]
        box = self._bounds(masks)
        if box is not None:
            self.image.paste(colour, box, self._mask(masks, box, opacity))

    def outline(self, points: Points, colour: str, width_px: float = 2.5) -> None:
        """Draw a line of even width round an outline."""
        placed = self.place([*points, *points[:2]])
        self.draw.line(placed, fill=colour, width=round(width_px * self.scale), joint="curve")

    def glow(self, x: float, y: float, rx: float, ry: float, colour: str, opacity: float = 1.0) -> None:
        """Lay a soft round light over the picture."""
        from PIL import Image

        (left, top), (right, bottom) = self.place([(x - rx, y - ry), (x + rx, y + ry)])
        box = (round(left), round(top), round(right), round(bottom))
        # Pillow's gradient is 0 in the middle, 180 half-way along an edge and 255 in the corners.
        falls = [round(max(0.0, 1 - v / 180) ** 1.4 * 255 * opacity) for v in range(256)]
        light = Image.radial_gradient("L").point(falls).resize((box[2] - box[0], box[3] - box[1]))
        self.image.paste(colour, box, light)

    def gradient(self, top: float, bottom: float, *stops: tuple[float, str]) -> None:
        """Fill a band over the full width with colours from top to bottom; a stop is (place 0..1, colour)."""
        from PIL import Image, ImageColor

        first, last = round(top * self.scale), round(bottom * self.scale)
        column = bytearray()
        for y in range(last - first):
            column += bytes(ImageColor.getrgb(_colour_at(stops, y / max(last - first - 1, 1))))
        band = Image.frombytes("RGB", (1, last - first), bytes(column))
        self.image.paste(band.resize((self.image.width, last - first)), (0, first))

    def _bounds(self, outlines: list[Points]) -> tuple[int, int, int, int] | None:
        """Find the pixels that all outlines could share, or None."""
        left = max(0, *(math.floor(min(x for x, _ in points)) for points in outlines))
        top = max(0, *(math.floor(min(y for _, y in points)) for points in outlines))
        right = min(self.image.width, *(math.ceil(max(x for x, _ in points)) + 1 for points in outlines))
        bottom = min(self.image.height, *(math.ceil(max(y for _, y in points)) + 1 for points in outlines))
        return (left, top, right, bottom) if left < right and top < bottom else None

    @staticmethod
    def _mask(outlines: list[Points], box: tuple[int, int, int, int], opacity: float) -> Image.Image:
        """Draw what the outlines share, as a mask of the box's size."""
        from PIL import Image, ImageChops, ImageDraw

        left, top, right, bottom = box
        mask = Image.new("L", (right - left, bottom - top), round(255 * opacity))
        for points in outlines:
            one = Image.new("L", mask.size)
            ImageDraw.Draw(one).polygon([(x - left, y - top) for x, y in points], fill=255)
            mask = ImageChops.multiply(mask, one)
        return mask


def _colour_at(stops: Sequence[tuple[float, str]], where: float) -> str:
    for (low, one), (high, other) in itertools.pairwise(stops):
        if where <= high:
            return _mix(one, other, (where - low) / (high - low))
    return stops[-1][1]


def _png(image: Image.Image, texts: dict[str, str] | None = None) -> bytes:
    """Encode as PNG with tEXt chunks."""
    from PIL import PngImagePlugin

    info = PngImagePlugin.PngInfo()
    for key, value in (texts or {}).items():
        info.add_text(key, value)
    data = io.BytesIO()
    image.save(data, "PNG", pnginfo=info)
    return data.getvalue()


# Sprites -------------------------------------------------------------------------------------------------

# A drawing is a text, one statement a line, indented lines carry on with the one before:
#     area COLOUR [line] [half|pair]: OUTLINE          a flat area and its contour, 2.5 px unless told
#     shade COLOUR [pair]: OUTLINE                     a shade on the area before, clipped to it
#     pen COLOUR WIDTH [taper] [pair]: CURVE           a stroke that runs thin at both ends, or taper 0
# Colours are names in the palette of the character; x = 0 is the middle of the body, y = 0 the top.
Palette = dict[str, str]


@dataclass(frozen=True)
class _Layer:
    """One area or stroke of a drawing; ``sizes`` are its line width and taper where they are given."""

    kind: str
    colour: str
    sizes: tuple[float, ...]
    curves: tuple[Points, ...]
    shades: list[tuple[str, Points]]


@dataclass(frozen=True)
class _Character:
    """Palette and drawings of a character.

    ``behind`` and ``hair`` tilt with the head, ``body`` stands still, ``prop`` comes before all.
    """

    palette: str
    behind: str
    body: str
    hair: str
    prop: str = ""
    lashes: float = 1.0


@dataclass(frozen=True)
class _Expression:
    """A face: eyes open 0 (shut in a smile) to 1.2; ``slant`` lowers the inner lid, ``look`` the iris."""

    eyes: float
    brow: str
    mouth: str
    slant: float = 0.0
    iris: float = 1.0
    look: float = 0.0
    blush: float = 0.35
    tilt_deg: float = 0.0
    marks: str = ""


def _sprite(character: _Character, expression: _Expression) -> bytes:
    """Draw one character with one expression, 600 x 1000 pixels on nothing."""
    palette = _palette(character)
    canvas = _Canvas(600, 1000, scale=3)
    canvas.origin, canvas.pivot = (300.0, 0.0), (0.0, 400.0)
    canvas.tilt_deg = expression.tilt_deg
    _paint(canvas, character.behind, palette)
    canvas.tilt_deg = 0.0
    _paint(canvas, character.body, palette)
    canvas.tilt_deg = expression.tilt_deg
    _face(canvas, character, expression, palette)
    _paint(canvas, character.hair, palette)
    # Brows over the fringe, as the genre draws them: half of the expression is theirs.
    _paint(canvas, f"pen brow 8 pair: {expression.brow}", palette)
    _paint(canvas, expression.marks, palette)
    canvas.tilt_deg = 0.0
    _paint(canvas, character.prop, palette)
    return _png(canvas.finish())


def _palette(character: _Character) -> Palette:
    words = iter(f"{_FACE_PALETTE} {character.palette}".split())
    palette = dict(zip(words, words, strict=True))
    return palette | {"skin_dark": _mix(palette["skin"], "#b4607a", 0.34)}


@functools.cache
def _layers(drawing: str) -> list[_Layer]:
    """Read a drawing."""
    layers: list[_Layer] = []
    for line in re.sub(r"\n\s+(?=[-!\d])", " ", drawing).strip().splitlines():
        head, _, outline = line.partition(":")
        kind, colour, *rest = head.split()
        mirror = rest.pop() if rest and rest[-1].isalpha() else ""
        curves = _curves(outline, mirror, closed=kind != "pen")
        if kind == "shade":
            layers[-1].shades.extend((colour, curve) for curve in curves)
        else:
            layers.append(_Layer(kind, colour, tuple(map(float, rest)), tuple(curves), []))
    return layers


def _paint(canvas: _Canvas, drawing: str, palette: Palette) -> None:
    for layer in _layers(drawing):
        colour = palette[layer.colour]
        for curve in layer.curves:
            if layer.kind == "pen":
                width_px, taper = (*layer.sizes, 1.0)[:2]
                canvas.fill(_stroke(curve, width_px, taper=taper), colour)
                continue
            canvas.fill(curve, colour)
            for shade, within in layer.shades:
                canvas.fill(within, palette[shade], within=curve)
            canvas.outline(curve, _mix(colour, _LINE, 0.72), *layer.sizes)


_LINE = "#3a2433"
_FACE_PALETTE = f"""line {_LINE}  mouth #7c2f3c  tongue #e0797c  teeth #fff6ee  lip #c98a84
    tear #bfe6f7  tear_dark #8cc7e8"""

_HEAD = """
area skin pair: 92,236 108,226 115,246 108,276 94,286
shade skin_dark pair: 99,244 108,242 106,268 98,274
area skin half: 0,110 66,124 96,170 99,228 93,276 74,322 38,358 10,371
shade skin_dark: -110,90 110,90 100,214 70,196 30,214 -20,196 -60,216 -100,200
shade skin_dark: 104,180 86,262 60,330 10,366 30,384 110,330
"""


def _face(canvas: _Canvas, character: _Character, expression: _Expression, palette: Palette) -> None:
    _paint(canvas, _HEAD, palette)
    for side in (-1, 1):
        canvas.glow(side * 62, 298, 34, 22, palette["blush"], expression.blush)
        _eye(canvas, side, character, expression, palette)
    _paint(canvas, "pen skin_dark 4: 3,292 6,302 -1,305", palette)
    _paint(canvas, expression.mouth, palette)
    if "rim" in palette:
        _glasses(canvas, palette["rim"])


def _eye(
    canvas: _Canvas, side: int, character: _Character, expression: _Expression, palette: Palette
) -> None:
    """Draw one eye; u runs from the nose outwards, side is -1 or 1."""

    def at(text: str) -> Points:
        points, corners = _points(text)
        return _smooth([(side * (50 + u), 254 + v) for u, v in points], corners, closed=True)

    if expression.eyes == 0.0:
        canvas.fill(at("!-28,8 -14,-9 4,-14 22,-6 !36,8 20,1 4,-6 -14,-1"), _LINE)
        return
    up, low, skin = 27 * expression.eyes, expression.slant, palette["skin"]
    white = at(f"!-26,{6 + low} -14,{-0.75 * up + low} 6,{-up} 24,{-0.7 * up} !31,-2 24,18 4,25 -16,20")
    canvas.fill(white, "#fffaf6")
    _iris(canvas, white, palette["iris"], (side * 50.0, 253 + expression.look), expression.iris)
    shadow = at(f"-40,-40 40,-40 36,{-0.4 * up} 4,{-0.62 * up} -26,{-0.3 * up + low}")
    canvas.fill(shadow, "#54405a", opacity=0.35, within=white)
    above = f"!-29,{9 + low} -16,{-0.75 * up - 5 + low} 6,{-up - 7} 27,{-0.72 * up - 4}"
    below = f"35,2 !30,4 24,{-0.55 * up} 6,{-up + 3} -13,{-0.7 * up + 4 + low}"
    canvas.fill(at(f"{above} !41,{-10 * character.lashes} {below}"), _LINE)
    canvas.fill(at("!28,8 22,20 6,27 !0,27 6,25 20,17"), _mix(_LINE, skin, 0.25))
    crease = at(f"!-16,{-up - 10 + low} 6,{-up - 16} !30,{-up - 6} 6,{-up - 13}")
    canvas.fill(crease, _mix(skin, _LINE, 0.45))


def _iris(canvas: _Canvas, white: Points, colour: str, centre: Point, size: float) -> None:
    x, y = centre
    rx, ry = 19 * size, 26 * size
    dark = "#1a1030"
    canvas.fill(_ellipse(x, y, rx, ry), _mix(colour, dark, 0.65), within=white)
    canvas.fill(_ellipse(x, y, rx - 2.5, ry - 2.5), colour, within=white)
    canvas.fill(_ellipse(x, y - 0.45 * ry, rx - 2.5, 0.6 * ry), _mix(colour, dark, 0.5), within=white)
    canvas.fill(_ellipse(x, y + 0.62 * ry, 0.62 * rx, 0.26 * ry), _mix(colour, "#ffffff", 0.55), within=white)
    canvas.fill(_ellipse(x, y - 1, 0.42 * rx, 0.42 * ry), dark, within=white)
    canvas.fill(_ellipse(x - 0.38 * rx, y - 0.42 * ry, 0.36 * rx, 0.27 * ry), "#ffffff")
    canvas.fill(_ellipse(x + 0.42 * rx, y + 0.36 * ry, 0.17 * rx, 0.13 * ry), "#ffffff")


def _glasses(canvas: _Canvas, colour: str) -> None:
    for side in (-1, 1):
        lens = [(side * 52 + dx, 258 + dy) for dx, dy in _round_box(-40, -33, 40, 33, 28)]
        canvas.fill(lens, "#ffffff", opacity=0.13)
        canvas.outline(lens, colour, 3.5)
    _paint(canvas, "pen rim 4 0: -13,252 0,246 13,252\npen rim 4 0 pair: 91,252 104,248", {"rim": colour})


_EXPRESSIONS = {
    "happy": _Expression(
        eyes=0.0,
        brow="26,212 52,200 82,210",
        mouth="""
            area mouth: !-27,316 0,322 !27,316 20,339 0,350 -20,339
            shade tongue: -20,346 0,333 20,346 0,362
            shade teeth: !-27,314 !27,314 !22,325 0,329 !-22,325
        """,
        blush=0.6,
        tilt_deg=3.0,
    ),
    "sad": _Expression(
        eyes=0.72,
        brow="26,203 50,209 80,224",
        mouth="""
            pen line 4.5: -15,337 0,329 15,336
            pen lip 3: -6,347 0,346 6,347
        """,
        slant=-6.0,
        look=5.0,
        blush=0.25,
        tilt_deg=-4.0,
        marks="""
            area tear 1.5: 70,280 79,300 72,311 64,302
            shade tear_dark: 74,290 82,302 74,312
        """,
    ),
    "surprised": _Expression(
        eyes=1.18,
        brow="24,193 52,182 82,195",
        mouth="""
            area mouth: 0,321 11,328 12,341 0,350 -12,341 -11,328
            shade tongue: -9,349 0,341 9,349 0,356
        """,
        iris=0.82,
    ),
    "angry": _Expression(
        eyes=0.8,
        brow="20,228 50,212 84,203",
        mouth="""
            area mouth: !-20,341 0,327 !20,341 10,343 0,342 -10,343
            shade teeth: !-22,330 !22,330 !16,336 0,334 !-16,336
        """,
        slant=9.0,
        blush=0.5,
        tilt_deg=-2.0,
    ),
}

_CHARACTERS = {
    # The keeper: auburn hair down to the waist, navy coat, cream scarf, a letter in her hand.
    "mara": _Character(
        palette="""
            skin #fde3d0  hair #bd563f  hair_dark #8f3737  hair_light #ea9468  coat #3a5a8a
            coat_dark #2a4169  scarf #f6e9cd  scarf_dark #dfc8a0  brass #efc266  brass_dark #c98f3f
            paper #fbf1dc  paper_dark #eddcb9  fold #c9ab7c  seal #c23b45  seal_dark #932733
            coat_light #4e6a96  blush #f08a86  brow #7a2f30  iris #2fa39a
        """,
        behind="""
            area hair_dark: 0,58 92,78 138,150 146,260 166,380 162,500 192,600 178,690 !154,764 140,700
                108,740 70,660 0,640 -70,660 -104,742 -142,690 !-168,768 -186,680 -178,590 -162,500 -164,380
                -146,260 -138,150 -92,78
            shade hair pair: 132,300 152,420 146,560 170,660 140,640 128,500
        """,
        body="""
            area coat: -110,452 -160,482 -184,560 -204,760 -212,1020 -136,1020 -130,760 -112,600
            shade coat_dark: -120,560 -146,760 -150,1020 -100,1020 -90,560
            area coat: 110,452 160,482 186,560 206,700 214,800 !196,850 130,800 124,700 106,600
            shade coat_dark: 120,540 150,640 150,760 196,850 100,850 90,560
            area skin half: !32,330 30,384 38,418 !60,440 30,478 0,486
            shade skin_dark: -60,330 60,330 46,392 10,404 -30,386
            area coat half: !44,424 104,446 136,480 128,600 106,740 122,870 !150,1020 !0,1020
            shade coat_dark: 66,500 150,560 104,740 160,1020 84,1020 66,760
            shade coat_dark: -146,560 -100,740 -150,940 -170,720
            pen coat_dark 5 0: 6,520 4,700 6,1020
            area coat_light half: !6,520 30,440 58,428 100,448 104,500 !44,590
            area brass 2 pair: 46,600 57,611 46,622 35,611
            shade brass_dark: 48,600 70,600 62,630 46,618
            area brass 2 pair: 46,672 57,683 46,694 35,683
            shade brass_dark: 48,672 70,672 62,702 46,690
            area brass 2 pair: 46,830 57,841 46,852 35,841
            shade brass_dark: 48,830 70,830 62,860 46,848
            area brass 2 pair: 46,910 57,921 46,932 35,921
            shade brass_dark: 48,910 70,910 62,940 46,928
            area coat_dark half: !0,744 60,738 108,734 !110,768 60,774 !0,780
            area brass 2: !-22,738 !22,738 !22,786 !-22,786
            shade brass_dark: !0,738 !24,738 !24,790 !0,790
            area coat_dark 2: !-12,749 !12,749 !12,775 !-12,775
            area scarf half: 0,404 50,394 82,424 74,466 32,494 0,500
            shade scarf_dark: -80,452 0,474 84,440 80,510 -80,510
            area scarf: -34,474 6,486 2,550 !14,650 !-48,646 -42,550
            shade scarf_dark: -16,480 14,480 22,660 -8,650
        """,
        hair="""
            area hair: !-106,344 -126,256 -122,152 -88,86 0,56 88,84 122,150 126,256 !108,350 96,290 95,230
                !92,186 84,208 !72,226 66,190 52,150 !36,112 28,160 16,190 !-6,220 -7,198 !-11,178 -26,206
                !-46,224 -44,204 !-47,186 -64,210 !-84,226 -84,206 !-93,184 -97,250
            shade hair_dark: 36,100 60,140 96,170 130,240 110,350 90,340 100,260 92,200 60,200
            shade hair_dark: -20,230 -14,190 8,196 -2,226
            shade hair_dark: -104,330 -104,250 -94,190 -88,200 -96,270 -96,340
            shade hair_light: -104,160 -84,124 -44,100 !4,92 6,106 -12,104 !-16,128 -32,112 -42,116 !-48,146
                -62,128 -74,138 !-84,166 -92,148
            shade hair_light: 62,102 88,122 !110,164 94,142 84,138 !82,150 72,124
            pen hair_dark 4: 36,112 30,86 12,60
            pen hair_dark 3.5: 20,100 -20,118 -44,170
            pen hair_dark 3.5: 10,86 -54,108 -84,170
            pen hair_dark 3.5: 48,104 84,126 104,180
            area hair: 6,64 12,38 30,24 !58,22 36,34 26,48 !22,66
        """,
        prop="""
            area paper: !-30,640 !128,600 !152,694 !-6,736
            shade paper_dark: !-40,736 !60,690 !160,694 !160,750 !-40,760
            pen fold 3.5 0: -29,642 66,676 126,602
            area seal 2: 66,656 84,668 80,688 62,692 50,676 54,660
            shade seal_dark: 70,656 90,670 70,696 66,676
            area coat: !212,760 160,752 104,722 78,752 62,788 120,832 180,856 214,836 218,800
            shade coat_dark: 50,776 112,806 180,826 220,790 220,880 100,860
            area brass 2: !104,716 !64,772 54,760 !92,706
            area skin: 96,706 84,690 60,690 34,700 26,716 40,726 36,740 50,752 64,760 86,740
            shade skin_dark: 30,724 60,730 92,716 92,760 40,770
            pen skin_dark 4: 32,714 48,714 62,708
            pen skin_dark 4: 40,730 56,730 66,724
        """,
    ),
    # The courier: tousled dark hair, green jacket, a post bag on its strap.
    "ellis": _Character(
        palette="""
            skin #f8d6bb  hair #46506f  hair_dark #2f3652  hair_light #7d8cb4  coat #6f9270
            coat_dark #527356  shirt #f7f3ea  shirt_dark #d9d5d8  seam #c9c3c8  leather #9a623c
            leather_dark #7a4a2e  brass #e6bd6a  brass_dark #c08f42  coat_light #7d9d7e
            leather_light #a47250  blush #e98577  brow #2c3049  iris #c98a2e
        """,
        lashes=0.4,
        behind="""
            area hair_dark half: 0,56 92,74 128,150 126,220 118,270 !112,306 98,296 !86,340 60,330 0,340
        """,
        body="""
            area coat pair: 128,456 182,488 202,570 208,760 206,1020 132,1020 126,700
            shade coat_dark: 136,560 164,700 160,1020 120,1020 110,560
            shade coat_dark: -140,560 -150,700 -146,1020 -100,1020
            area skin half: !32,330 30,384 38,418 !60,440 30,478 0,486
            shade skin_dark: -60,330 60,330 46,392 10,404 -30,386
            area shirt half: !40,424 90,446 110,560 100,1020 !0,1020
            shade shirt_dark: 10,440 40,430 100,500 100,1020 40,1020 24,700
            pen seam 3 0: 3,500 3,700 3,1020
            area coat pair: !54,426 116,446 160,482 156,620 146,800 !158,1020 !66,1020 60,800 !48,600 40,520
            shade coat_dark: 90,470 166,560 160,1020 110,1020 110,700
            shade coat_dark: -50,600 -64,800 -66,1020 -84,1020 -80,780
            area shirt pair: !30,402 54,416 66,470 !40,510 6,478 !6,470
            shade shirt_dark: !30,470 66,470 !40,520
            area leather: !-116,446 !-84,436 20,640 !172,850 !160,884 0,690
            shade leather_dark: !-104,470 0,676 !160,870 !160,894 -10,700
            area leather: !120,832 172,826 !232,836 240,920 !236,1020 !112,1020 110,920
            shade leather_dark: !200,820 !250,820 !250,1020 !196,1020 204,920
            area leather_light: !116,830 174,824 !236,834 238,890 200,926 174,930 140,924 112,888
            shade leather: 112,884 174,912 240,880 240,940 112,940
            area brass 2: !164,910 !186,910 !186,944 !164,944
            area brass 2: !0,628 !34,604 !54,634 !20,660
            shade brass_dark: !8,640 !44,616 !54,634 !20,660
            area coat_light 2: !-132,604 !-66,598 !-64,660 -98,676 !-132,662
            shade coat_dark: !-132,604 !-66,598 !-66,614 !-132,620
        """,
        hair="""
            area hair: !-100,276 -126,230 -130,160 -104,92 !-120,80 -90,72 -60,44 !-58,30 -30,40 10,34
                !40,14 44,38 88,66 !122,66 112,90 132,150 128,230 !101,280 99,246 !94,208 92,186 !84,176
                80,204 !66,222 62,196 !56,172 44,204 !22,224 22,196 !18,168 0,204 !-28,228 -26,200 !-30,172
                -48,206 !-74,222 -72,196 !-78,176 -88,196 !-96,214 -98,256
            shade hair_dark: 70,140 110,170 130,240 104,290 92,270 96,200 80,180
            shade hair_dark: -34,230 -24,180 -8,190 -24,226
            shade hair_dark: 16,230 22,176 36,190 30,220
            shade hair_dark: -100,300 -106,240 -96,190 -90,210 -96,300
            shade hair_light: -108,140 -88,100 -50,78 !-14,74 -34,92 !-40,116 -54,96 !-66,136 -78,112
                !-96,156 -100,140
            shade hair_light: 14,70 50,78 86,100 !104,140 82,118 !78,132 62,100 !54,120 40,90
            pen hair_dark 3.5: -10,84 -24,130 -22,176
            pen hair_dark 3.5: 4,84 24,126 24,174
            pen hair_dark 3.5: -30,70 -66,110 -74,180
            pen hair_dark 3.5: 24,66 68,110 80,180
        """,
    ),
    # The librarian: a silver bob, round glasses, a plum dress, a book in her arm.
    "ines": _Character(
        palette="""
            skin #fbe0d6  hair #cdc5e6  hair_dark #a297c6  hair_light #f6f2ff  coat #7b4f83
            coat_dark #5c3866  collar #fbf6f0  collar_dark #ddd2dc  bow #e0a94f  bow_dark #b97f36
            clip #d2596b  clip_dark #a23c51  book #356b6d  book_dark #24494f  paper #f6e9cd
            gilt #e6c374  coat_light #88618f  blush #ee8f9c  brow #857aa8  iris #7a5fd0  rim #8a5a3c
        """,
        behind="""
            area hair_dark: 0,56 94,74 142,150 150,250 158,330 !140,412 112,400 60,404 0,396 -60,404
                -112,400 !-142,410 -158,330 -150,250 -142,150 -94,74
        """,
        body="""
            area coat: -104,456 -152,484 -174,560 -190,740 -186,1020 -122,1020 -118,760 -104,600
            shade coat_dark: -116,560 -136,760 -136,1020 -80,1020 -80,560
            area coat: 104,456 152,484 176,560 194,700 190,820 120,820 112,700 100,600
            shade coat_dark: 112,560 140,660 140,820 90,820 90,560
            area skin half: !32,330 30,384 38,418 !60,440 30,478 0,486
            shade skin_dark: -60,330 60,330 46,392 10,404 -30,386
            area coat half: !44,426 100,448 130,480 120,600 94,724 120,840 !168,1020 !0,1020
            shade coat_dark: 66,500 140,560 92,724 150,1020 80,1020 60,760
            shade coat_dark: -140,560 -88,724 -130,880 -170,720
            pen coat_dark 5: -40,760 -46,860 -70,1000
            pen coat_dark 5: 20,760 22,880 16,1000
            area collar half: !0,470 28,424 60,430 104,452 100,496 !56,530 20,500
            shade collar_dark: 30,500 100,470 110,540 40,540
            area bow 2 pair: 4,488 40,468 62,482 60,516 34,522
            shade bow_dark: 10,492 60,496 62,530 30,530
            area bow 2 pair: !4,500 24,540 !36,600 !8,590 0,540
            shade bow_dark: 14,500 36,540 40,610 20,600
            area bow 2: 0,480 14,492 12,508 0,514 -12,508 -14,492
            area coat_dark half: !0,712 56,708 !96,702 !96,738 56,744 !0,748
        """,
        hair="""
            area hair: !-118,404 -146,340 -142,250 -132,150 -92,80 0,54 92,78 132,148 142,250 148,340
                !120,406 106,340 98,270 !96,190 86,210 !76,220 62,208 !56,196 44,216 !28,222 14,210 !8,194
                -6,214 !-22,222 -36,210 !-42,196 -54,214 !-72,222 -84,206 !-95,188 -98,270 -106,340
            shade hair_dark: 84,150 116,200 128,300 120,410 100,400 108,300 94,200
            shade hair_dark: -104,400 -116,320 -104,220 -94,190 -98,280 -100,380
            shade hair_dark: 100,224 84,216 60,214 40,226 10,222 -10,226 -40,222 -60,226 -90,220 -60,206
                -20,208 10,204 60,206
            shade hair_light: -112,164 -88,120 -44,98 0,92 44,98 90,122 !112,166 90,144 !80,154 62,122
                !48,138 26,114 !4,132 -24,114 !-44,138 -62,122 !-80,156 -92,142
            pen hair_dark 3.5: 8,194 10,150 2,110
            pen hair_dark 3.5: -42,196 -40,160 -28,126
            pen hair_dark 3.5: 56,196 54,160 40,126
            pen hair_dark 3.5: -4,58 4,80 2,104
            area clip 2 pair: 96,150 122,132 130,150 118,168
            shade clip_dark: 100,156 130,150 118,172
        """,
        prop="""
            area book: !-10,640 !104,622 !126,808 !10,830
            shade book_dark: !-10,640 !14,636 !36,826 !10,830
            area paper 2: !10,830 !126,808 !128,820 !14,844
            pen gilt 5 0: 40,664 64,660 88,656
            pen gilt 5 0: 42,680 66,676 90,672
            area gilt 1.5: 76,712 90,734 80,758 62,738
            area coat: 168,700 176,800 150,850 90,850 40,822 34,800 50,786 100,792 128,770 120,700
            shade coat_dark: 60,850 120,820 150,780 180,760 176,860
            area collar 2: !56,782 !44,832 36,828 30,800 !44,780
            area skin: 38,784 20,770 -2,772 -18,782 -22,796 -12,804 -14,818 4,826 34,824
            shade skin_dark: -20,804 10,806 40,796 40,830 -10,832
            pen skin_dark 4: -16,798 0,798 12,794
        """,
    ),
}


# Backgrounds ---------------------------------------------------------------------------------------------


def _scene() -> _Canvas:
    return _Canvas(1280, 720, scale=2, mode="RGB")


def _harbour() -> bytes:
    """The harbour at dusk: low sun over the water, boats at anchor, lit windows, a jetty."""
    canvas, dice = _scene(), random.Random(101)
    canvas.gradient(0, 420, (0.0, "#2a2a63"), (0.35, "#74478a"), (0.68, "#dd6a6b"), (1.0, "#ffc27a"))
    canvas.gradient(420, 720, (0.0, "#f3a877"), (0.25, "#b9647e"), (0.6, "#5c3f77"), (1.0, "#28254f"))
    _stars(canvas, dice, 60, 190)
    canvas.glow(820, 408, 640, 400, "#ffdf9a", 0.75)
    canvas.fill(_ellipse(820, 400, 58, 58), "#fff1c4", within=_box(0, 0, 1280, 420))
    clouds = ((150, "#8d5590"), (205, "#c76684"), (255, "#f08a7d"), (300, "#ffb08a"), (345, "#ffcf9c"))
    _streaks(canvas, dice, clouds)
    _ridge(canvas, dice, 420, 46, "#7a4a7c", 1280)
    _glitter(canvas, dice, 820, 424, 716, "#ffe3a8", 90)
    _headland(canvas, dice)
    for x, y, size, colour in ((640, 470, 0.8, "#4a3266"), (1010, 520, 1.35, "#33264f")):
        _boat(canvas, x, y, size, colour)
    _jetty(canvas)
    for x, y, size in ((500, 150, 1.0), (560, 180, 0.7), (455, 195, 0.6), (1040, 130, 0.8)):
        _gull(canvas, x, y, size, "#3b2a55")
    return _png(canvas.finish())


def _stars(canvas: _Canvas, dice: random.Random, count: int, bottom: float) -> None:
    """Sprinkle stars, fewer and fainter towards the bottom, a few of them with a halo."""
    for _ in range(count):
        x, y, size = dice.uniform(0, 1280), dice.uniform(0, 1) ** 1.4 * bottom, dice.uniform(0.5, 1.7)
        if size > 1.66:
            canvas.glow(x, y, 11, 11, "#cfe0ff", 0.6)
        opacity = dice.uniform(0.45, 1) * (1 - 0.7 * y / bottom)
        canvas.fill(_ellipse(x, y, size, size, 10), "#f4f6ff", opacity=opacity)


def _streaks(canvas: _Canvas, dice: random.Random, bands: Iterable[tuple[float, str]]) -> None:
    """Draw long flat clouds at given heights."""
    for y, colour in bands:
        for _ in range(5):
            x, width, height = dice.uniform(-100, 1380), dice.uniform(120, 330), dice.uniform(5, 12)
            middle = y + dice.uniform(-22, 22)
            cloud = [(x - width, middle), (x - width * 0.3, middle - height), (x + width, middle + 2)]
            cloud += [(x + width * 0.3, middle + height * 0.8), (x - width * 0.4, middle + height * 0.5)]
            area = _smooth(cloud, [True, False, True, False, False], closed=True)
            canvas.fill(area, colour, opacity=0.5)


def _ridge(canvas: _Canvas, dice: random.Random, base: float, height: float, colour: str, end: float) -> None:
    """Draw a line of hills that stands on a base line, from the left side to an end."""
    count = round(end / 85)
    tops = [(end * i / count, base - height * dice.uniform(0.25, 1)) for i in range(count + 1)]
    line = _smooth(tops, [False] * len(tops), closed=False)
    canvas.fill([(0, base), *line, (end, base)], colour)


def _glitter(
    canvas: _Canvas, dice: random.Random, x: float, top: float, bottom: float, colour: str, count: int
) -> None:
    """Lay a path of light on water: flat strokes that grow wider towards the viewer."""
    for i in range(count):
        depth = (i / count) ** 1.5
        y = top + (bottom - top) * depth
        half, shift = dice.uniform(8, 34) * (0.5 + 2.2 * depth), dice.gauss(0, 16 + 75 * depth)
        thick = 1 + 3.2 * depth
        stroke = [
            (x + shift - half, y),
            (x + shift, y - thick),
            (x + shift + half, y),
            (x + shift, y + thick),
        ]
        canvas.fill(stroke, colour, opacity=0.75 - 0.5 * depth)


def _headland(canvas: _Canvas, dice: random.Random) -> None:
    """Put the town on the left: a dark slope, houses with lit windows, the lighthouse on top."""
    slope = _area("!-10,470 !-10,300 110,316 250,360 360,412 !450,438")
    _lighthouse(canvas, 120, 322, 190, "#5a3a63", "#43305a", "#2f2347")
    canvas.glow(120, 152, 120, 110, "#ffe7a6", 0.9)
    canvas.fill(slope, "#3c2b55")
    for i, x in enumerate(range(0, 300, 44)):
        ground = 398 + i * 5.5
        _house(canvas, dice, x, ground + 36, dice.uniform(36, 44), dice.uniform(36, 62))
    canvas.fill([(-10, 440), (300, 444), (452, 437), (430, 462), (-10, 492)], "#2b2145")


def _house(
    canvas: _Canvas, dice: random.Random, x: float, ground: float, width: float, height: float
) -> None:
    wall = dice.choice(("#47315e", "#3f2c58", "#523762"))
    eaves = ground - height
    canvas.fill(_box(x, eaves, x + width, ground), wall)
    roof = [(x - 4, eaves + 2), (x + width / 2, eaves - 24), (x + width + 4, eaves + 2)]
    canvas.fill(roof, _mix(wall, "#140c28", 0.4))
    for row in range(int(height // 24)):
        for column in (0.22, 0.62):
            left, top = x + width * column, eaves + 8 + row * 22
            lit = dice.random() < 0.6
            canvas.fill(_box(left, top, left + 7, top + 10), "#ffd98a" if lit else "#2c2044")


def _lighthouse(
    canvas: _Canvas, x: float, base: float, height: float, light: str, stripe: str, roof: str
) -> None:
    """Draw a striped tower with a gallery and a lamp room; its lamp is at ``base - 0.89 * height``."""
    foot, head, top = 0.13 * height, 0.085 * height, base - 0.8 * height

    def level(share: float) -> tuple[Point, Point]:
        half, y = foot + (head - foot) * share, base + (top - base) * share
        return (x - half, y), (x + half, y)

    for i in range(5):
        (a, b), (c, d) = level(i / 5), level((i + 1) / 5)
        canvas.fill([a, b, d, c], stripe if i % 2 else light)
    shade = [(x + foot * 0.25, base), (x + foot, base), (x + head, top), (x + head * 0.25, top)]
    canvas.fill(shade, roof, opacity=0.35)
    canvas.fill(_area("!-6,0 !6,0 !6,-15 !-6,-15", x, top, height / 100), "#fff0b8")
    for bar in (-6, -2, 2, 6):
        canvas.fill(
            _area(f"!{bar - 0.6},0 !{bar + 0.6},0 !{bar + 0.6},-15 !{bar - 0.6},-15", x, top, height / 100),
            roof,
        )
    for part in (
        "!-11.5,-2.5 !11.5,-2.5 !11.5,1.2 !-11.5,1.2",
        "!-8,-14.5 -5.6,-19 0,-22.5 5.6,-19 !8,-14.5",
        "!-0.6,-26 !0.6,-26 !0.6,-20 !-0.6,-20",
    ):
        canvas.fill(_area(part, x, top, height / 100), roof)


# A fishing boat about the middle of its water line: share of evening light in its colour, outline.
_BOAT = (
    (0.0, "!-3,-150 !3,-150 !4,-10 !-4,-10"),
    (0.45, "!7,-140 40,-90 !78,-30 40,-24 !7,-26"),
    (0.3, "!-7,-128 -30,-80 !-62,-34 -34,-28 !-7,-28"),
    (0.0, "!-96,-26 -40,-16 30,-16 !104,-34 84,-6 !70,8 0,12 !-74,8 -88,-8"),
    (0.5, "!-94,-24 -40,-14 30,-14 !102,-31 !99,-26 30,-8 -40,-8 !-91,-18"),
)


def _boat(canvas: _Canvas, x: float, y: float, size: float, colour: str) -> None:
    shadow = _area("!-90,4 0,12 !96,2 60,26 0,32 -60,26", x, y, size)
    canvas.fill(shadow, "#241d42", opacity=0.45)
    for light, outline in _BOAT:
        canvas.fill(_area(outline, x, y, size), _mix(colour, "#f2a58a", light))


def _jetty(canvas: _Canvas) -> None:
    """Lay a jetty of planks from the lower right, with posts and a lamp."""
    dark, edge, plank = "#1d1836", "#2c2348", "#3d2f57"
    canvas.fill([(1290, 570), (930, 640), (760, 725), (1290, 725)], plank)
    for i in range(9):
        share = (i / 8) ** 1.2
        left, right = (930 - 170 * share, 640 + 85 * share), (1290, 572 + 175 * share)
        canvas.fill([left, right, (right[0], right[1] + 5), (left[0], left[1] + 3)], edge)
    posts = ((930, 596, 660, 9), (846, 628, 712, 12), (1130, 545, 612, 10), (762, 664, 730, 15))
    for x, top, bottom, half in posts:
        canvas.fill(_box(x - half, top, x + half, bottom), dark)
        canvas.fill(_ellipse(x, top, half, half * 0.4), "#54406b")
    canvas.fill(_box(1186, 330, 1194, 600), dark)
    canvas.fill([(1170, 330), (1210, 330), (1202, 300), (1178, 300)], dark)
    canvas.fill([(1175, 326), (1205, 326), (1199, 304), (1181, 304)], "#ffeab0")
    canvas.glow(1190, 316, 150, 150, "#ffd88a", 0.75)


def _gull(canvas: _Canvas, x: float, y: float, size: float, colour: str) -> None:
    wings = _curves("!-30,-8 -14,-12 !0,0 14,-13 !32,-7", closed=False)[0]
    placed = [(x + u * size, y + v * size) for u, v in wings]
    canvas.fill(_stroke(placed, 4 * size), colour)


def _lighthouse_night() -> bytes:
    """The lighthouse under the stars; a WebP file."""
    canvas, dice = _scene(), random.Random(202)
    canvas.gradient(0, 520, (0.0, "#070a26"), (0.5, "#14265c"), (0.85, "#2f5590"), (1.0, "#5a86b4"))
    for i in range(26):
        x, y = 120 + i * 42 + dice.gauss(0, 26), 400 - i * 15 + dice.gauss(0, 22)
        canvas.glow(x, y, 130, 110, "#7f9be0", 0.13)
    _stars(canvas, dice, 420, 500)
    canvas.glow(250, 110, 260, 260, "#cfdcff", 0.6)
    canvas.fill(_ellipse(250, 110, 44, 44), "#fbf6df")
    for x, y, r in ((236, 98, 9), (262, 120, 12), (262, 92, 5)):
        canvas.fill(_ellipse(x, y, r, r * 0.9), "#e9e2c4")
    canvas.gradient(520, 720, (0.0, "#3f6a9c"), (0.3, "#1f3f74"), (1.0, "#0a1536"))
    _ridge(canvas, dice, 521, 26, "#24427a", 900)
    _glitter(canvas, dice, 250, 526, 716, "#e5ecff", 70)
    for x, y, spread in ((-40.0, 330, 120), (1330.0, 70, 60)):
        for widen, opacity in ((1.0, 0.13), (0.6, 0.14), (0.28, 0.18)):
            beam = [(940.0, 195.0), (x, y - spread * widen), (x, y + spread * widen)]
            canvas.fill(beam, "#fff2bd", opacity=opacity)
    _cliff_at_night(canvas, dice)
    _lighthouse(canvas, 940, 492, 334, "#dfe3f2", "#b0465a", "#1c1f45")
    canvas.glow(940, 195, 180, 180, "#fff3c0", 1.0)
    data = io.BytesIO()
    canvas.finish().save(data, "WEBP", quality=90, method=4)
    return data.getvalue()


def _facet(dice: random.Random, x: float, y: float) -> Points:
    """Outline one face of a rock that catches the light."""
    width, height = dice.uniform(16, 46), dice.uniform(30, 84)
    lower = [(x + width * 0.8, y + height * 0.7), (x + width * 0.2, y + height)]
    return [(x, y), (x + width, y + height * 0.12), *lower]


def _cliff_at_night(canvas: _Canvas, dice: random.Random) -> None:
    area = _area(
        "!1290,470 1100,480 1000,488 860,492 790,512 !752,560 !766,600 !720,650 !736,690 !690,730 !1290,730"
    )
    canvas.fill(area, "#151b3f")
    for _ in range(26):
        x, y = dice.uniform(740, 1280), dice.uniform(540, 720)
        canvas.fill(_facet(dice, x, y), "#27316a", within=area, opacity=0.5)
    canvas.fill(_box(1030, 420, 1160, 490), "#1a1f48")
    canvas.fill([(1014, 424), (1052, 378), (1138, 378), (1176, 424)], "#10143a")
    for x in (1050, 1088, 1126):
        canvas.glow(x + 9, 452, 42, 36, "#ffd27a", 0.5)
        canvas.fill(_box(x, 442, x + 18, 464), "#ffdf94")
    for i in range(90):
        x = 850 + i * 4.9
        top = dice.uniform(8, 20)
        canvas.fill([(x, 500), (x + dice.uniform(-5, 5), 490 - top), (x + 5, 500)], "#111637")


def _library() -> bytes:
    """The library at the end of the afternoon: a tall window between shelves, a desk with a lamp."""
    canvas, dice = _scene(), random.Random(303)
    canvas.gradient(0, 560, (0.0, "#4a2f33"), (1.0, "#7a4e43"))
    canvas.gradient(560, 720, (0.0, "#5d3a34"), (1.0, "#8a5a44"))
    for i in range(-14, 15):
        far, near = 640 + i * 62, 640 + i * 160
        canvas.fill([(far, 560), (far + 2, 560), (near + 5, 720), (near, 720)], "#4b2d2b")
    canvas.fill(_box(0, 552, 1280, 566), "#3c2428")
    _window(canvas)
    for left, right in ((-10, 400), (880, 1290)):
        _shelf(canvas, dice, left, right)
    canvas.fill(_ellipse(640, 660, 430, 70), "#7e3a41")
    canvas.fill(_ellipse(640, 660, 405, 60), "#99494a")
    canvas.fill(_ellipse(640, 660, 380, 52), "#8a3f45")
    for shift in (-150, -40, 70):
        shaft = [(640 + shift, 200), (710 + shift, 200), (540 + shift * 1.7, 720), (380 + shift * 1.7, 720)]
        canvas.fill(shaft, "#ffe2a0", opacity=0.1)
    _desk(canvas)
    for _ in range(60):
        canvas.glow(dice.uniform(300, 980), dice.uniform(120, 620), 5, 5, "#fff0c8", dice.uniform(0.2, 0.7))
    return _png(canvas.finish())


def _window(canvas: _Canvas) -> None:
    """Cut an arched window into the back wall, with the evening sky and the sea in it."""
    round_top = [
        (640 - 160 * math.cos(i * math.pi / 24), 230 - 160 * math.sin(i * math.pi / 24)) for i in range(25)
    ]
    arch = [(480.0, 520.0), *round_top, (800.0, 520.0)]
    canvas.fill([(640 + (x - 640) * 1.13, 300 + (y - 300) * 1.08) for x, y in arch], "#3a2328")
    canvas.fill(arch, "#ffd99a")
    sky = ((70, "#f7b27c"), (190, "#ffca8c"), (290, "#ffe1a8"), (410, "#e7a987"), (440, "#c98d86"))
    for y, colour in sky:
        canvas.fill(_box(470, y, 810, 530), colour, within=arch)
    canvas.glow(690, 330, 150, 130, "#fffbe2", 1.0)
    canvas.fill(_area("470,400 540,384 600,400 650,412 470,414"), "#b9786f", within=arch)
    for x in (560, 640, 720):
        canvas.fill(_box(x - 4, 60, x + 4, 530), "#3a2328", within=arch)
    for y in (230, 330, 430):
        canvas.fill(_box(470, y - 4, 810, y + 4), "#3a2328", within=arch)
    canvas.fill(_box(446, 520, 834, 540), "#563338")
    canvas.glow(640, 300, 560, 500, "#ffd890", 0.42)


_BOOKS = ("#a4483f", "#c98a46", "#4f7268", "#38566f", "#7d4b68", "#d8b878", "#6b7f4a", "#8f5a3a", "#54446e")


def _shelf(canvas: _Canvas, dice: random.Random, left: float, right: float) -> None:
    """Fill a bookcase; now and then a book leans or a gap is left."""
    canvas.fill(_box(left, 40, right, 590), "#35201f")
    for row in range(5):
        top, bottom = 56 + row * 105, 150 + row * 105
        canvas.fill(_box(left + 12, top, right - 12, bottom), "#241517")
        x = left + 18
        while x < right - 40:
            width, height = dice.uniform(11, 26), dice.uniform(60, 86)
            colour = _mix(dice.choice(_BOOKS), "#2a1518", 0.12 + 0.06 * row)
            lean = dice.choice((0, 0, 0, 0, 0, 9))
            _book(canvas, x, bottom, width, height, lean, colour)
            x += width + lean + dice.choice((0.5, 0.5, 0.5, 0.5, 0.5, 22))
        canvas.fill(_box(left, bottom, right, bottom + 11), "#5a3530")
        canvas.fill(_box(left, bottom, right, bottom + 3), "#7a4a3c")
    canvas.fill(_box(left - 8, 28, right + 8, 46), "#5a3530")


def _book(
    canvas: _Canvas, x: float, bottom: float, width: float, height: float, lean: float, colour: str
) -> None:
    def band(low: float, high: float, start: float = 0.0) -> Points:
        (a, b), (c, d) = ((x + lean * level, bottom - height * level) for level in (low, high))
        return [(a + width * start, b), (a + width, b), (c + width, d), (c + width * start, d)]

    canvas.fill(band(0, 1), colour)
    canvas.fill(band(0, 1, start=0.7), _mix(colour, "#1a0c12", 0.35))
    for low in (0.14, 0.8):
        canvas.fill(band(low, low + 0.05), _mix(colour, "#ffe0a0", 0.5))


def _desk(canvas: _Canvas) -> None:
    """Stand a desk in front with a lamp, an open book and a pile of letters."""
    canvas.fill([(360, 560), (920, 560), (980, 606), (300, 606)], "#8a573d")
    canvas.fill(_box(300, 606, 980, 636), "#6a3f30")
    for left in (326, 900):
        canvas.fill(_box(left, 636, left + 54, 724), "#56322a")
    canvas.fill([(560, 586), (640, 578), (640, 596), (548, 602)], "#fff3d6")
    canvas.fill([(640, 578), (722, 586), (734, 602), (640, 596)], "#f2ddb4")
    for i in range(4):
        letter = _area("!424,582 !500,578 !512,590 !430,595", 4 * i, -5 * i)
        canvas.fill(letter, ("#f6e6c4", "#e8d2a8")[i % 2])
    canvas.fill(_ellipse(474, 569, 6, 4), "#b93c44")
    canvas.fill(_ellipse(820, 588, 34, 9), "#3a2a22")
    canvas.fill(_box(816, 500, 824, 588), "#c79a4a")
    canvas.glow(820, 520, 280, 220, "#ffe09a", 0.85)
    canvas.fill([(790, 462), (850, 462), (878, 510), (762, 510)], "#3f8a6c")
    canvas.fill([(790, 462), (812, 462), (800, 510), (762, 510)], "#5fae8a")
    canvas.fill(_ellipse(820, 510, 57, 7), "#fff6d2")


def _forest() -> bytes:
    """The path to the cliff; a JPEG from a camera held upright: stored turned, EXIF orientation 6."""
    from PIL import Image

    canvas, dice = _scene(), random.Random(404)
    canvas.gradient(0, 720, (0.0, "#9fd3a0"), (0.45, "#e4f3c0"), (0.6, "#b9d98a"), (1.0, "#4f7d45"))
    canvas.glow(660, 300, 640, 520, "#fffde0", 1.0)
    for depth in range(4):
        _trees(canvas, dice, depth)
        if depth == 1:
            _path(canvas)
    for x in (420, 560, 700, 850):
        canvas.fill([(x, -10), (x + 70, -10), (x - 110, 720), (x - 300, 720)], "#fffbd0", opacity=0.1)
    _leaves(canvas, dice)
    for _ in range(50):
        canvas.glow(dice.uniform(150, 1130), dice.uniform(200, 680), 6, 6, "#fffde0", dice.uniform(0.3, 0.9))
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: turn a quarter clockwise to view
    exif[0x010E] = "The path to the cliff"
    data = io.BytesIO()
    turned = canvas.finish().transpose(Image.Transpose.ROTATE_90)
    turned.save(data, "JPEG", quality=90, exif=exif)
    return data.getvalue()


_TRUNKS = ("#a9cf98", "#76a877", "#3f6f54", "#1f4038")


def _trees(canvas: _Canvas, dice: random.Random, depth: int) -> None:
    """Draw one row of trunks with bushes at their feet; rows come nearer and darker from 0 to 3."""
    colour, ground, half = _TRUNKS[depth], 430 + 62 * depth, 7 + 9 * depth
    for i in range(13 - 3 * depth):
        x = (i + dice.uniform(0.1, 0.9)) * 1280 / (13 - 3 * depth)
        if abs(x - 640) < 60 + 120 * depth:
            continue
        bend, foot = dice.uniform(-14, 14), ground + dice.uniform(-6, 14)
        trunk = [(x - half, -10.0), (x + half, -10.0), (x + half * 0.8 + bend, foot / 2)]
        trunk += [(x + half * 1.9, foot), (x - half * 1.9, foot), (x - half * 0.8 + bend, foot / 2)]
        area = _smooth(trunk, [True, True, False, True, True, False], closed=True)
        canvas.fill(area, colour)
        canvas.fill([(px - half * 0.5, y) for px, y in area], _mix(colour, "#f4ffd0", 0.22), within=area)
    for side in (-1, 1):
        for i in range(8):
            x = 640 + side * (70 + 105 * depth + i * 92 + dice.uniform(-30, 30))
            r = 30 + 13 * depth + dice.uniform(0, 22)
            canvas.fill(_ellipse(x, ground + 16, r * 1.4, r), _mix(colour, "#5f9a4a", 0.35))
            canvas.fill(_ellipse(x - r * 0.3, ground + 6, r * 0.8, r * 0.55), _mix(colour, "#a5d46a", 0.35))


def _path(canvas: _Canvas) -> None:
    path = _area(
        "!640,470 690,500 640,545 560,600 !470,730 !860,730 790,640 760,585 770,530 730,490 !668,470"
    )
    canvas.fill(_box(-10, 486, 1290, 730), "#6fa053")
    canvas.fill(_ellipse(300, 500, 420, 40), "#6fa053")
    canvas.fill(_ellipse(1000, 504, 420, 44), "#6fa053")
    canvas.fill(path, "#d9c08a")
    canvas.fill([(x + 34, y) for x, y in path], "#c0a06a", within=path)
    canvas.fill([(x + 70, y + 4) for x, y in path], "#a98a5c", within=path)


def _leaves(canvas: _Canvas, dice: random.Random) -> None:
    """Hang foliage from above, dark at the rim and lighter within, and let ferns stand in the corners."""
    for layer, colour in enumerate(("#2f5f47", "#24503f", "#183b33")):
        for _ in range(60):
            x = dice.uniform(-20, 1300)
            y = dice.uniform(-30, 95) * (0.5 + abs(x - 640) / 560) - layer * 14
            canvas.fill(_ellipse(x, y, dice.uniform(26, 58), dice.uniform(16, 32)), colour)
    for x, side in ((30, 1), (130, 1), (1250, -1), (1150, -1), (225, 1), (1060, -1)):
        for i in range(7):
            angle = math.radians(-150 + i * 20)
            tip = (x + math.cos(angle) * 130, 735 + math.sin(angle) * dice.uniform(110, 170))
            bow = ((x + tip[0]) / 2, (735 + tip[1]) / 2 - 26)
            frond = _smooth([(x + side * 4, 735), bow, tip], [True, False, True], closed=False)
            canvas.fill(_stroke(frond, 24), _mix("#16352e", "#2f6a45", i / 9))


def _cliff() -> bytes:
    """The keeper's cottage in the morning; a PNG with the text chunks that ComfyUI writes."""
    canvas, dice = _scene(), random.Random(505)
    canvas.gradient(0, 430, (0.0, "#4f9fe0"), (0.55, "#9fd2f2"), (1.0, "#e8f6f4"))
    clouds = ((210, 180, 1.25), (620, 120, 0.8), (1130, 200, 1.1), (840, 270, 0.6), (420, 300, 0.5))
    for middle, base, size in clouds:
        _cloud(canvas, dice, middle, base, size)
    canvas.gradient(430, 720, (0.0, "#7cc3dc"), (0.3, "#3f8fc0"), (1.0, "#23659c"))
    _ridge(canvas, dice, 431, 22, "#8fb7cf", 760)
    for _ in range(70):
        x, y = dice.uniform(0, 900), dice.uniform(438, 716)
        crest = _stroke([(x - 14, y), (x, y - 2), (x + 14, y)], 1 + (y - 430) / 90)
        canvas.fill(crest, "#d8f0f6", opacity=0.6)
    _meadow(canvas, dice)
    _lighthouse(canvas, 960, 404, 330, "#fdfbf4", "#d9534f", "#3f4a63")
    _cottage(canvas)
    _flowers(canvas, dice)
    for x, y, size in ((520, 210, 0.9), (580, 236, 0.6), (700, 190, 0.7)):
        _gull(canvas, x, y, size, "#ffffff")
    return _png(canvas.finish(), {key: json.dumps(value) for key, value in _GRAPH.items()})


def _cloud(canvas: _Canvas, dice: random.Random, x: float, y: float, size: float) -> None:
    puffs = [(dx, -abs(dice.gauss(0, 22)), dice.uniform(26, 46)) for dx in range(-96, 97, 24)]
    for lift, colour in ((9, "#c9deee"), (0, "#ffffff")):
        floor = _box(0, 0, 1280, y + (4 + lift) * size)
        for dx, dy, r in puffs:
            edge = 1 - abs(dx) / 150
            rx, ry = r * (0.5 + edge * 0.7) * size, r * (0.4 + edge * 0.55) * size
            puff = _ellipse(x + dx * size, y + (dy * edge + lift) * size, rx, ry)
            canvas.fill(puff, colour, within=floor)


def _meadow(canvas: _Canvas, dice: random.Random) -> None:
    rock, _ = _points("560,470 590,520 570,570 610,620 590,680 640,730 1290,730 1290,420 700,430")
    canvas.fill(rock, "#a99a8c")
    for _ in range(34):
        x, y = dice.uniform(570, 820), dice.uniform(480, 720)
        canvas.fill(_facet(dice, x, y), "#8b7d73", within=rock, opacity=0.8)
    grass = _area(
        "!548,474 640,440 800,408 960,396 1120,392 !1290,400 !1290,730 !760,730 730,640 700,560 640,500"
    )
    canvas.fill(grass, "#7fbf5a")
    canvas.fill(_area("700,500 960,440 1300,430 1300,560 1000,540 860,640"), "#93cf68", within=grass)
    canvas.fill(_area("760,740 840,640 1050,600 1300,610 1300,740"), "#64a84c", within=grass)
    path = "!962,404 1010,440 950,500 930,560 1000,640 !1010,730 !1130,730 1070,640 990,570 1000,510 1050,450"
    canvas.fill(_area(f"{path} !986,404"), "#ecd9a8", within=grass)


def _cottage(canvas: _Canvas) -> None:
    canvas.fill(_box(1060, 344, 1210, 420), "#fbf3e4")
    canvas.fill(_box(1140, 344, 1210, 420), "#e6dccf")
    canvas.fill(_box(1164, 262, 1186, 320), "#b9786a")
    canvas.fill([(1040, 348), (1078, 286), (1192, 286), (1230, 348)], "#cf5b4e")
    canvas.fill([(1136, 348), (1136, 286), (1192, 286), (1230, 348)], "#b04a45")
    canvas.fill(_box(1124, 366, 1150, 420), "#4f7fa3")
    for x in (1078, 1170):
        canvas.fill(_box(x - 3, 363, x + 27, 395), "#ffffff")
        canvas.fill(_box(x, 366, x + 24, 392), "#8cc7e3")
        canvas.fill(_box(x + 10, 366, x + 13, 392), "#ffffff")


def _flowers(canvas: _Canvas, dice: random.Random) -> None:
    """Strew flowers over the meadow and set a fence before it; what is nearer is larger."""
    spots = sorted((dice.uniform(450, 715), dice.uniform(0, 1)) for _ in range(190))
    for y, across in spots:
        left = 640 + (y - 450) * 0.6
        x, size = left + across * (1290 - left), 1 + (y - 450) / 80
        if abs(x - (990 + (y - 500) * 0.3)) < 50 + (y - 450) * 0.16:
            continue
        canvas.fill(_stroke([(x, y + 5 * size), (x + 1, y + 2), (x, y)], size), "#3f7f3c")
        colour = dice.choice(("#ffffff", "#ffd65c", "#f58fb0", "#c79af0"))
        canvas.fill(_ellipse(x, y, 1.5 * size, 1.3 * size, 12), colour)
        canvas.fill(_ellipse(x, y, 0.5 * size, 0.5 * size, 8), "#e8a03c")
    for i in range(6):
        x, y = 1148 + i * 30, 470 - i * 3
        canvas.fill(_box(x, y - 34, x + 7, y), "#ffffff")
    for lift in (26, 12):
        canvas.fill(
            [(1140, 472 - lift), (1290, 457 - lift), (1290, 462 - lift), (1140, 477 - lift)], "#ffffff"
        )


_GRAPH: dict[str, Any] = {
    "prompt": {
        "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "lanternPaint_v2.safetensors"}},
        "2": {
            "class_type": "CLIPTextEncode",
            "inputs": {
                "clip": ["1", 1],
                "text": "lighthouse on a cliff, keeper's cottage, morning, flower meadow, flat shading",
            },
        },
        "3": {
            "class_type": "CLIPTextEncode",
            "inputs": {"clip": ["1", 1], "text": "people, text, watermark"},
        },
        "4": {"class_type": "EmptyLatentImage", "inputs": {"width": 1280, "height": 720, "batch_size": 1}},
        "5": {
            "class_type": "KSampler",
            "inputs": {
                "model": ["1", 0],
                "positive": ["2", 0],
                "negative": ["3", 0],
                "latent_image": ["4", 0],
                "seed": 8251907,
                "steps": 28,
                "cfg": 6.5,
                "sampler_name": "dpmpp_2m",
                "scheduler": "karras",
                "denoise": 1.0,
            },
        },
        "6": {"class_type": "VAEDecode", "inputs": {"samples": ["5", 0], "vae": ["1", 2]}},
        "7": {"class_type": "SaveImage", "inputs": {"images": ["6", 0], "filename_prefix": "cliff_morning"}},
    },
    "workflow": {
        "last_node_id": 7,
        "last_link_id": 0,
        "nodes": [
            {
                "id": 1,
                "type": "CheckpointLoaderSimple",
                "pos": [40, 200],
                "widgets_values": ["lanternPaint_v2.safetensors"],
            },
            {
                "id": 5,
                "type": "KSampler",
                "pos": [620, 200],
                "widgets_values": [8251907, "fixed", 28, 6.5, "dpmpp_2m", "karras", 1.0],
            },
            {"id": 7, "type": "SaveImage", "pos": [1180, 200], "widgets_values": ["cliff_morning"]},
        ],
        "links": [],
        "groups": [],
        "config": {},
        "extra": {},
        "version": 0.4,
    },
}


# Interface pieces ----------------------------------------------------------------------------------------


def _textbox() -> bytes:
    """Draw the text box: see-through night blue with a brass frame and a plate for the name."""
    canvas = _Canvas(1280, 260, scale=3)
    brass, pale = "#e6c27a", "#fbe9bd"
    for inset, colour in ((0, "#0b1230b0"), (6, brass), (8, "#16214ad8")):
        canvas.fill(_round_box(24 + inset, 50 + inset, 1256 - inset, 248 - inset, 26 - inset), colour)
    canvas.outline(_round_box(42, 68, 1238, 230, 14), "#e6c27a66", 1)
    for inset, colour in ((0, brass), (3, "#2b3c77f2")):
        canvas.fill(_round_box(72 + inset, 16 + inset, 352 - inset, 84 - inset, 34 - inset), colour)
    for x in (72, 352):
        canvas.fill([(x - 10, 50), (x, 36), (x + 10, 50), (x, 64)], pale)
    for x, y in ((44, 70), (1236, 70), (44, 228), (1236, 228)):
        canvas.fill(_ellipse(x, y, 6, 6), brass)
        canvas.fill(_ellipse(x - 1.5, y - 1.5, 2.5, 2.5), pale)
    canvas.fill([(1188, 198), (1216, 198), (1202, 216)], pale)
    return _png(canvas.finish())


def _icons() -> bytes:
    """Draw the icon sheet: eight buttons of 96 pixels, four to a row."""
    canvas = _Canvas(384, 192, scale=4)
    upper = (_icon_play, _icon_skip, _icon_save, _icon_load)
    lower = (_icon_gear, _icon_letter, _icon_sound, _icon_heart)
    for i, draw in enumerate(upper + lower):
        canvas.origin = (48 + i % 4 * 96, 48 + i // 4 * 96)
        canvas.fill(_round_box(-42, -42, 42, 42, 20), "#e6c27a")
        canvas.fill(_round_box(-39, -39, 39, 39, 17), "#22315f")
        canvas.fill(_round_box(-39, -39, 39, 0, 17), "#ffffff", opacity=0.09)
        draw(canvas)
    return _png(canvas.finish())


_INK = "#fbf0d0"


def _icon_play(canvas: _Canvas) -> None:
    canvas.fill([(-13, -20), (21, 0), (-13, 20)], _INK)


def _icon_skip(canvas: _Canvas) -> None:
    for x in (-22, 0):
        canvas.fill([(x, -17), (x + 20, 0), (x, 17)], _INK)


def _icon_save(canvas: _Canvas) -> None:
    canvas.fill([(-6, -22), (6, -22), (6, -2), (16, -2), (0, 14), (-16, -2), (-6, -2)], _INK)
    canvas.fill(_round_box(-22, 17, 22, 24, 3), _INK)


def _icon_load(canvas: _Canvas) -> None:
    canvas.fill([(-6, 14), (6, 14), (6, -6), (16, -6), (0, -22), (-16, -6), (-6, -6)], _INK)
    canvas.fill(_round_box(-22, 17, 22, 24, 3), _INK)


def _icon_gear(canvas: _Canvas) -> None:
    teeth = [math.pi * (i + shift) / 8 for i in range(0, 16, 2) for shift in (-0.55, -0.3, 0.3, 0.55)]
    radii = itertools.cycle((17, 24, 24, 17))
    wheel = [(r * math.cos(turn), r * math.sin(turn)) for turn, r in zip(teeth, radii, strict=False)]
    canvas.fill(wheel, _INK)
    canvas.fill(_ellipse(0, 0, 8, 8), "#22315f")


def _icon_letter(canvas: _Canvas) -> None:
    canvas.fill(_round_box(-25, -17, 25, 18, 3), _INK)
    canvas.fill(_stroke([(-25, -16), (0, 5), (25, -16)], 3, taper=0), "#22315f")
    canvas.fill(_ellipse(0, 4, 6, 6), "#cf4a50")


def _icon_sound(canvas: _Canvas) -> None:
    canvas.fill([(-24, -8), (-14, -8), (-2, -20), (-2, 20), (-14, 8), (-24, 8)], _INK)
    for radius in (11, 20):
        arc = [(2 + radius * math.cos(a), radius * math.sin(a)) for a in (i / 10 for i in range(-9, 10))]
        canvas.fill(_stroke(arc, 4, taper=0.4), _INK)


def _icon_heart(canvas: _Canvas) -> None:
    canvas.fill(_area("!0,-9 10,-20 22,-14 22,0 10,13 !0,23 -10,13 -22,0 -22,-14 -10,-20"), "#f07f8c")


# Sound ---------------------------------------------------------------------------------------------------


def _wav(sound: Signal, rate_hz: int, *, bits: int = 16) -> bytes:
    """Encode samples in [-1, 1], shape (frames,) or (frames, channels), as PCM of 16 or 24 bits."""
    import numpy as np

    whole = np.round(sound * (2 ** (bits - 1) - 1)).astype("<i4").reshape(len(sound), -1)
    data = io.BytesIO()
    with wave.open(data, "wb") as file:
        file.setnchannels(whole.shape[1])
        file.setsampwidth(bits // 8)
        file.setframerate(rate_hz)
        # The low bytes of a little-endian 32-bit number are the number in fewer bits.
        file.writeframes(np.ascontiguousarray(whole).view("u1").reshape(-1, 4)[:, : bits // 8].tobytes())
    return data.getvalue()


@dataclass(frozen=True)
class _Line:
    """A spoken line: vowels one a syllable, a comma is a pause; ``tract`` scales the formants."""

    vowels: str
    pitch_hz: float
    rate_hz: int
    tract: float
    rise: float
    seed: int


# First three formants in Hz, rounded from Peterson and Barney (1952).
_FORMANTS = {
    "a": (730, 1090, 2440),
    "e": (530, 1840, 2480),
    "i": (270, 2290, 3010),
    "o": (570, 840, 2410),
    "u": (300, 870, 2240),
}

_VOICES = {
    "mara_001": _Line("oa,ieao", 235, 44100, 1.12, 0.18, 11),
    "mara_002": _Line("eiua,oi", 246, 44100, 1.12, -0.12, 12),
    "ellis_001": _Line("aeo,iae", 128, 22050, 0.95, -0.1, 13),
    "ines_001": _Line("ueia,aou", 208, 22050, 1.06, 0.1, 14),
}

_SYLLABLE_S = 0.21


def _voice(line: _Line) -> bytes:
    """Babble a line: harmonics of a gliding pitch, shaped by the formants of the vowels."""
    import numpy as np

    frames = round(_SYLLABLE_S * (len(line.vowels) + 0.6) * line.rate_hz)
    time_s = np.arange(frames) / line.rate_hz
    place = time_s / time_s[-1]
    dice = np.random.default_rng(line.seed)
    steps = np.arange(len(line.vowels) + 1)
    melody = np.interp(time_s, steps * _SYLLABLE_S, dice.uniform(-0.09, 0.09, len(steps)))
    pitch = line.pitch_hz * (1 + melody + line.rise * place**2 + 0.012 * np.sin(2 * np.pi * 5.5 * time_s))
    voiced = _sung(pitch, _formant_tracks(line, time_s), line.rate_hz)
    loudness = _loudness(line, time_s)
    # Breath is heard most where a syllable opens or closes.
    breath = dice.normal(0, 0.012, frames) * (1 + np.abs(np.gradient(loudness)) * line.rate_hz / 30)
    sound = (voiced / np.abs(voiced).max() + breath) * loudness
    return _wav(0.8 * sound / np.abs(sound).max(), line.rate_hz)


def _formant_tracks(line: _Line, time_s: Signal) -> list[Signal]:
    """Glide each formant from vowel to vowel; a pause keeps the vowel before it."""
    import numpy as np

    spoken = [line.vowels[i - 1] if vowel == "," else vowel for i, vowel in enumerate(line.vowels)]
    edges = [(i + part) * _SYLLABLE_S for i in range(len(spoken)) for part in (0.3, 0.85)]
    return [
        np.interp(time_s, edges, [_FORMANTS[vowel][k] * line.tract for vowel in spoken for _ in range(2)])
        for k in range(3)
    ]


def _sung(pitch_hz: Signal, formants: list[Signal], rate_hz: int) -> Signal:
    """Add up the harmonics below 5.5 kHz, each as loud as the formants let it through."""
    import numpy as np

    phase = 2 * np.pi * np.cumsum(pitch_hz) / rate_hz
    sound = np.zeros_like(phase)
    for harmonic in range(1, int(5500 / pitch_hz.min())):
        here = harmonic * pitch_hz
        gain = sum(
            level / (1 + ((here - centre) / width) ** 2)
            for centre, level, width in zip(formants, (1.0, 0.5, 0.22), (80, 110, 160), strict=True)
        )
        sound += (gain + 0.02) / harmonic**0.6 * np.sin(harmonic * phase)
    return sound


def _loudness(line: _Line, time_s: Signal) -> Signal:
    """Open and close the voice once a syllable; silent in a pause, at the start and at the end."""
    import numpy as np

    loud = np.zeros_like(time_s)
    for i, vowel in enumerate(line.vowels):
        if vowel != ",":
            inside = np.clip((time_s / _SYLLABLE_S - i - 0.05) / 1.15, 0, 1)
            loud = np.maximum(loud, np.sin(np.pi * inside) ** 0.7)
    return loud * np.interp(time_s, [0, time_s[-1]], [1, 0.75])


_RATE_HZ = 44100
_BEAT_S = 0.625  # 96 beats a minute: four bars of four last ten seconds

# One bar each: bass note and the four notes of the chord, as MIDI numbers (C, Am, F, G with a ninth).
_CHORDS = ((48, (64, 67, 71, 74)), (45, (64, 67, 72, 76)), (41, (65, 69, 72, 76)), (43, (62, 67, 71, 74)))
_FIGURE = (0, 2, 1, 3, 2, 1, 3, 2)
# The tune over it: (beat, note, beats).
_TUNE = (
    *((0, 79, 1.5), (1.5, 76, 0.5), (2, 74, 2), (4, 76, 1.5), (5.5, 79, 0.5), (6, 81, 2)),
    *((8, 84, 1), (9, 81, 1), (10, 79, 2), (12, 74, 1), (13, 76, 1), (14, 79, 2)),
)


def _music() -> bytes:
    """Play the loop: a music box over soft chords; what rings past the end is carried to the start."""
    import numpy as np

    loop = np.zeros((round(16 * _BEAT_S * _RATE_HZ), 2))
    for bar, (bass, chord) in enumerate(_CHORDS):
        for beat in (0, 2):
            _play(loop, bar * 4 + beat, _pluck(bass, 2.6, 0.9), 0.3, 0.0)
        for note in chord:
            _play(loop, bar * 4 - 0.25, _pad(note - 12, 4.5 * _BEAT_S), 0.055, (note % 5 - 2) / 4)
        for step, k in enumerate(_FIGURE):
            _play(loop, bar * 4 + step / 2, _pluck(chord[k], 1.6, 0.35), 0.14, 0.5 if step % 2 else -0.5)
    for start, note, beats in _TUNE:
        _play(loop, start, _pluck(note, 1.2 + beats * 0.6, 0.7), 0.2, 0.1)
    for beats, level in ((0.75, 0.28), (1.5, 0.14)):
        # An echo that crosses over to the other side and goes round the loop.
        loop = loop + level * np.roll(loop, round(beats * _BEAT_S * _RATE_HZ), axis=0)[:, ::-1]
    return _wav(0.75 * loop / np.abs(loop).max(), _RATE_HZ)


def _play(loop: Signal, beat: float, note: Signal, level: float, pan: float) -> None:
    """Mix a note into the loop, round its end; pan from -1 (left) to 1 (right)."""
    import numpy as np

    where = (round(beat * _BEAT_S * _RATE_HZ) + np.arange(len(note))) % len(loop)
    turn = (pan + 1) * math.pi / 4
    loop[where] += level * note[:, None] * np.array([math.cos(turn), math.sin(turn)])


def _pluck(note: int, length_s: float, decay_s: float) -> Signal:
    """Strike a tine: a few partials that die away, the high ones first."""
    import numpy as np

    time_s = np.arange(round(length_s * _RATE_HZ)) / _RATE_HZ
    partials = ((1, 1.0, 1.0), (2, 0.35, 0.6), (3, 0.12, 0.4), (5.4, 0.06, 0.15))
    tone = sum(
        level * np.sin(2 * np.pi * _pitch_hz(note) * ratio * time_s) * np.exp(-time_s / (decay_s * rest))
        for ratio, level, rest in partials
    )
    fade = np.minimum(1, time_s / 0.004) * np.minimum(1, (length_s - time_s) / 0.08)
    return np.asarray(tone * fade)


def _pad(note: int, length_s: float) -> Signal:
    """Hold a soft note that swells and fades, two voices slightly out of tune."""
    import numpy as np

    time_s = np.arange(round(length_s * _RATE_HZ)) / _RATE_HZ
    tone = sum(
        np.sin(2 * np.pi * _pitch_hz(note) * detune * harmonic * time_s) / harmonic**1.8
        for detune in (0.998, 1.002)
        for harmonic in range(1, 5)
    )
    return np.asarray(tone * np.sin(np.pi * time_s / length_s) ** 0.8)


def _pitch_hz(note: int) -> float:
    return float(440 * 2 ** ((note - 69) / 12))


def _waves() -> bytes:
    """Let two waves run up the beach in the wind: six seconds of stereo noise in 24 bits, also a loop."""
    import numpy as np

    rate_hz, frames = 44100, 6 * 44100
    place = np.arange(frames) / frames
    large, small = (np.sin(2 * np.pi * (count * place - at)) for count, at in ((2, 0.2), (1, 0.55)))
    swell = np.exp(3 * (large - 1)) + 0.5 * np.exp(4 * (small - 1))
    foam, gusts = np.roll(swell, rate_hz // 3) ** 2, 0.7 + 0.3 * np.sin(2 * np.pi * 3 * place)
    sides = []
    for seed in (21, 22):
        surf, hiss, wind = (_noise(seed * 10 + k, frames, rate_hz, *band) for k, band in enumerate(_BANDS))
        sides.append(swell * surf + 0.6 * foam * hiss + 0.35 * gusts * wind)
    sound = np.stack(sides, axis=1)
    return _wav(0.7 * sound / np.abs(sound).max(), rate_hz, bits=24)


# Middle in Hz and width in octaves of the surf, of its foam and of the wind.
_BANDS = ((350, 1.6), (3800, 1.2), (220, 0.7))


def _noise(seed: int, frames: int, rate_hz: int, middle_hz: float, octaves: float) -> Signal:
    """Make noise round a frequency; filtered as a whole spectrum, so its end meets its start."""
    import numpy as np

    spectrum = np.fft.rfft(np.random.default_rng(seed).normal(0, 1, frames))
    pitch = np.fft.rfftfreq(frames, 1 / rate_hz)
    distance = np.log2(np.maximum(pitch, 1) / middle_hz) / octaves
    sound = np.fft.irfft(spectrum * np.exp(-(distance**2)), frames)
    return np.asarray(sound / np.abs(sound).max())
