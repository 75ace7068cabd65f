"""Generated files: pictures and sound of the sizes that visual novels have, the same bytes each time."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from PIL.PngImagePlugin import PngInfo

Pixels = NDArray[np.uint8]
Samples = NDArray[np.float32]

# Of every ten files: four backgrounds, three sprites, one JPEG, one WebP, one sound.
_MIX = (
    "background",
    "sprite",
    "background",
    "sound",
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
}
# The formats of sound take turns: suffix, codec, sample format, and how many channels a voice has.
_SOUNDS = (
    ("wav", "pcm_s16le", "s16", 1),
    ("ogg", "vorbis", "fltp", 2),
    ("flac", "flac", "s16", 1),
    ("mp3", "libmp3lame", "fltp", 1),
)
_RATE_HZ = 44_100


def make_mixed(folder: Path, count: int) -> None:
    """Write ``count`` files below a folder, on two threads."""
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda number: _write(folder, number), range(count)))


def make_tiny(folder: Path, count: int) -> None:
    """Write ``count`` text files of some 40 bytes, 250 to a folder, each with content of its own."""
    for number in range(count):
        path = folder / "lines" / f"part{number // 250:04}" / f"line_{number:07}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"line {number} of the script: {number * 2654435761 % 2**32:08x}\n", encoding="utf-8")


def make_generated(folder: Path, count: int) -> None:
    """Write ``count`` pictures of 0.8 MB as ComfyUI saves them: each with its graph, of some 20 kB."""
    (folder / "output").mkdir(parents=True)
    for number in range(count):
        info = PngInfo()
        for name, graph in _graphs(number).items():
            info.add_text(name, json.dumps(graph))
        picture = Image.fromarray(_painting(number, 640, 640, grain=6))
        picture.save(folder / "output" / f"mara_{number:05}.png", pnginfo=info, compress_level=4)


def make_warm(path: Path) -> Path:
    """Write a small picture, for a first registration that is not measured."""
    Image.new("RGBA", (16, 16), (40, 90, 160, 200)).save(path)
    return path


def make_warm_sound(path: Path) -> Path:
    """Write a tenth of a second of sound."""
    write_sound(path, np.zeros((2, 4410), dtype=np.float32), "vorbis", "fltp", _RATE_HZ)
    return path


def files(folder: Path) -> list[Path]:
    """Return the files that were made below a folder, in the order of their numbers."""
    found = [path for path in folder.rglob("*_*.*") if path.is_file()]
    return sorted(found, key=lambda path: path.stem.rpartition("_")[2])


def is_picture(path: Path) -> bool:
    return path.suffix in (".png", ".jpg", ".webp")


def write_sound(path: Path, samples: Samples, codec: str, sample_format: str, rate_hz: int) -> None:
    """Encode samples of shape (1 or 2 channels, frames) in -1 to 1 with PyAV."""
    layout = "mono" if len(samples) == 1 else "stereo"
    bitexact = {"fflags": "+bitexact"}  # no serial numbers by chance in Ogg
    with av.open(str(path), "w", container_options=bitexact) as container:
        options = {"strict": "experimental"} if codec == "vorbis" else {}
        stream: Any = container.add_stream(codec, rate=rate_hz, layout=layout, options=options)
        resampler = av.AudioResampler(sample_format, layout, rate_hz)
        for start in range(0, samples.shape[1], rate_hz):
            part = np.ascontiguousarray(samples[:, start : start + rate_hz], dtype=np.float32)
            frame = av.AudioFrame.from_ndarray(part, format="fltp", layout=layout)
            frame.sample_rate, frame.pts = rate_hz, start
            for ready in resampler.resample(frame):
                container.mux(stream.encode(ready))
        container.mux(stream.encode(None))


def _graphs(number: int) -> dict[str, Any]:
    """Return the graph of a picture as it was queued and as it was laid out; eight LoRAs, each a node."""
    nodes: list[tuple[str, dict[str, Any]]] = [("CheckpointLoaderSimple", {"ckpt_name": "anima.safetensors"})]
    for each in range(8):
        before = [str(len(nodes)), 0], [str(len(nodes)), 1]
        strengths = {"strength_model": 0.5, "strength_clip": 0.5}
        loader = {"lora_name": f"lora_{each}.safetensors", "model": before[0], "clip": before[1], **strengths}
        nodes.append(("LoraLoader", loader))
    last = str(len(nodes))
    text = f"mara at the window, {'soft light, ' * 60}"
    nodes += [
        ("CLIPTextEncode", {"text": text, "clip": [last, 1]}),
        ("CLIPTextEncode", {"text": "blurry, " * 40, "clip": [last, 1]}),
        ("EmptyLatentImage", {"width": 640, "height": 640, "batch_size": 1}),
    ]
    sampled = {"seed": number, "steps": 28, "cfg": 6.5, "sampler_name": "euler", "scheduler": "karras"}
    links = {"model": [last, 0], "positive": ["10", 0], "negative": ["11", 0], "latent_image": ["12", 0]}
    nodes += [
        ("KSampler", {**sampled, "denoise": 1.0, **links}),
        ("VAEDecode", {"samples": ["13", 0], "vae": ["1", 2]}),
        ("SaveImage", {"images": ["14", 0], "filename_prefix": "mara"}),
    ]
    prompt = {
        str(at): {"class_type": kind, "inputs": inputs, "_meta": {"title": kind}}
        for at, (kind, inputs) in enumerate(nodes, 1)
    }
    laid_out = [
        {
            "id": at,
            "type": kind,
            "pos": [at * 40, at * 20],
            "size": [315, 262],
            "flags": {},
            "order": at,
            "mode": 0,
            "inputs": [],
            "outputs": [],
            "properties": {"Node name for S&R": kind},
            "widgets_values": [value for value in inputs.values() if not isinstance(value, list)],
        }
        for at, (kind, inputs) in enumerate(nodes * 3, 1)
    ]
    workflow = {"last_node_id": 45, "last_link_id": 60, "nodes": laid_out, "links": [], "groups": []}
    return {"prompt": prompt, "workflow": {**workflow, "config": {}, "extra": {}, "version": 0.4}}


def _write(folder: Path, number: int) -> None:
    kind = _MIX[number % len(_MIX)]
    if kind == "sound":
        _write_sound(folder, number)
        return
    name, suffix = _FOLDERS[kind]
    path = folder / name / f"{kind}_{number:05}.{suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    _WRITERS[kind](number, path)


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


def _write_sound(folder: Path, number: int) -> None:
    """Write a voice of 2 to 5 s; every fifth sound is music of 30 to 60 s."""
    turn = number // len(_MIX)
    suffix, codec, sample_format, channels = _SOUNDS[turn % len(_SOUNDS)]
    is_music = turn % 5 == 2
    path = folder / ("music" if is_music else "voices") / f"sound_{number:05}.{suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = _music(number, 30 + 10 * (turn % 4)) if is_music else _voice(number, 2 + turn % 4)
    write_sound(path, np.repeat(samples, 2 if is_music else channels, axis=0), codec, sample_format, _RATE_HZ)


def _voice(number: int, duration_s: int) -> Samples:
    time_s = np.arange(_RATE_HZ * duration_s) / _RATE_HZ
    tone = np.sin(2 * np.pi * (180 + number % 90) * time_s) * np.abs(np.sin(2 * np.pi * 2.3 * time_s))
    noise = np.random.default_rng(number).normal(0, 0.02, len(time_s))
    return (0.7 * tone + noise).clip(-1, 1).astype(np.float32)[np.newaxis]


def _music(number: int, duration_s: int) -> Samples:
    time_s = np.arange(_RATE_HZ * duration_s) / _RATE_HZ
    beat = np.abs(np.sin(np.pi * (1 + number % 3) * time_s))
    chord = sum(np.sin(2 * np.pi * (110 + number % 40) * ratio * time_s) for ratio in (1, 1.25, 1.5, 3))
    noise = np.random.default_rng(number).normal(0, 0.01, len(time_s))
    return (0.2 * beat * chord + noise).clip(-1, 1).astype(np.float32)[np.newaxis]


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
}
