"""A generated library: pictures and voices of the sizes that visual novels have, the same bytes each time."""

from __future__ import annotations

import json
import wave
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Pixels = NDArray[np.uint8]

# Of every ten files: four backgrounds, three sprites, one JPEG, one WebP, one voice.
_MIX = (
    "background",
    "sprite",
    "background",
    "voice",
    "sprite",
    "background",
    "jpeg",
    "background",
    "sprite",
    "webp",
)
_FOLDERS = {
    "background": ("backgrounds", "png"),
    "sprite": ("characters", "png"),
    "jpeg": ("cg", "jpg"),
    "webp": ("cg", "webp"),
    "voice": ("voices", "wav"),
}


def make_mixed(folder: Path, count: int) -> list[Path]:
    """Write ``count`` files below a folder, on two threads; return them in order."""
    paths = [_path(folder, number) for number in range(count)]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(_write, range(count), paths))
    return paths


def make_tiny(folder: Path, count: int) -> list[Path]:
    """Write ``count`` text files of some 40 bytes, 250 to a folder, each with content of its own."""
    paths = []
    for number in range(count):
        path = folder / f"part{number // 250:03}" / f"line_{number:06}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"line {number} of the script: {number * 2654435761 % 2**32:08x}\n", encoding="utf-8")
        paths.append(path)
    return paths


def make_warm(path: Path) -> Path:
    """Write a small picture, for a first registration that is not measured."""
    Image.new("RGBA", (16, 16), (40, 90, 160, 200)).save(path)
    return path


def remember(folder: Path, paths: list[Path]) -> None:
    """Note which files a folder holds, for the processes that are measured."""
    (folder / "files.json").write_text(json.dumps([str(path.relative_to(folder)) for path in paths]))


def recall(folder: Path) -> list[Path]:
    """Return the files that `remember` noted, in order."""
    return [folder / name for name in json.loads((folder / "files.json").read_text())]


def is_picture(path: Path) -> bool:
    return path.suffix != ".wav"


def _kind(number: int) -> str:
    return _MIX[number % len(_MIX)]


def _path(folder: Path, number: int) -> Path:
    name, suffix = _FOLDERS[_kind(number)]
    return folder / name / f"{_kind(number)}_{number:05}.{suffix}"


def _write(number: int, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    _WRITERS[_kind(number)](number, path)


def _write_background(number: int, path: Path) -> None:
    # 1.0 to 2.9 MB: painted art with grain, larger from file to file
    width_px = 1280 + 192 * (number // 2 % 5)
    picture = Image.fromarray(_painting(number, width_px, width_px * 9 // 16, grain=5))
    picture.save(path, compress_level=6)


def _write_sprite(number: int, path: Path) -> None:
    width_px, height_px = 720, 1280 + 64 * (number % 4)
    mask = Image.new("L", (width_px, height_px), 0)
    draw = ImageDraw.Draw(mask)
    draw.ellipse((width_px // 3, 40, width_px * 2 // 3, 360), fill=255)
    draw.rounded_rectangle((80, 320, width_px - 80, height_px + 200), 160, fill=255)
    picture = Image.fromarray(_painting(number, width_px, height_px, grain=8))
    picture.putalpha(mask)
    Image.composite(picture, Image.new("RGBA", picture.size), mask).save(path, compress_level=6)


def _write_jpeg(number: int, path: Path) -> None:
    Image.fromarray(_painting(number, 1920, 1080, grain=6)).save(path, quality=90)


def _write_webp(number: int, path: Path) -> None:
    Image.fromarray(_painting(number, 1600, 900, grain=6)).save(path, quality=85, method=2)


def _write_voice(number: int, path: Path) -> None:
    rate_hz = 44_100
    time_s = np.arange(rate_hz * (2 + number % 4)) / rate_hz
    tone = np.sin(2 * np.pi * (180 + number % 90) * time_s) * np.abs(np.sin(2 * np.pi * 2.3 * time_s))
    noise = np.random.default_rng(number).normal(0, 0.02, len(time_s))
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(np.round((0.7 * tone + noise).clip(-1, 1) * 32_767).astype("<i2").tobytes())


def _painting(number: int, width_px: int, height_px: int, *, grain: int) -> Pixels:
    """Paint soft colours and hard edges with grain of up to ``grain`` levels over them."""
    dice = np.random.default_rng(number)
    soft = Image.fromarray(dice.integers(0, 256, (9, 16, 3), dtype=np.uint8))
    soft = soft.resize((width_px, height_px), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(soft)
    for _ in range(24):
        x, y = (int(dice.integers(0, side)) for side in (width_px, height_px))
        wide, high = (int(side) for side in dice.integers(20, 300, 2))
        draw.rectangle((x, y, x + wide, y + high), fill=tuple(int(c) for c in dice.integers(0, 256, 3)))
    pixels = np.asarray(soft, dtype=np.int16)
    grainy = pixels + dice.integers(-grain, grain + 1, (height_px, width_px, 1), dtype=np.int16)
    return grainy.clip(0, 255).astype(np.uint8)


_WRITERS: dict[str, Callable[[int, Path], None]] = {
    "background": _write_background,
    "sprite": _write_sprite,
    "jpeg": _write_jpeg,
    "webp": _write_webp,
    "voice": _write_voice,
}
