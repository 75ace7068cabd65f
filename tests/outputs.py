"""Folders as programs that make pictures leave them, with real files."""

from __future__ import annotations

from pathlib import Path

from PIL import Image, PngImagePlugin

__all__ = ["draw", "write_a1111_outputs", "write_comfyui_output"]

PARAMETERS = (
    "a lighthouse at dusk\n"
    "Negative prompt: blurry\n"
    "Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 4242, Size: 64x48, Model: harbour_v2, Version: v1.9.4"
)


def draw(path: Path, seed: int, texts: dict[str, str] | None = None) -> Path:
    """Draw a small picture in the format of its suffix; another seed gives another one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", (64, 48), (seed * 37 % 256, seed * 91 % 256, seed * 53 % 256))
    info = PngImagePlugin.PngInfo()
    for name, text in (texts or {}).items():
        info.add_text(name, text)
    image.save(path, **({"pnginfo": info} if path.suffix == ".png" else {}))
    return path


def write_comfyui_output(folder: Path) -> Path:
    """Write an output folder of ComfyUI: loose pictures, some by prefix and folder, and what is no asset."""
    draw(folder / "ComfyUI_00001_.png", 1)
    draw(folder / "2026-11-23" / "ComfyUI_00002_.png", 2)
    draw(folder / "characters" / "mara" / "mara_smile_00001_.png", 3)
    draw(folder / "backgrounds" / "harbour_00007_.webp", 4)
    draw(folder / "ComfyUI_temp_abcde_00001_.png", 5)
    (folder / "_output_images_will_be_put_here").write_text("")
    (folder / "latents").mkdir()
    (folder / "latents" / "ComfyUI_00001_.latent").write_bytes(b"\x10\0\0\0\0\0\0\0{}")
    return folder


def write_a1111_outputs(folder: Path) -> Path:
    """Write outputs of the web UI: pictures with parameters inside, beside and without, and a grid."""
    day = folder / "txt2img-images" / "2026-11-23"
    draw(day / "00000-4241.png", 1, {"parameters": PARAMETERS.replace("4242", "4241")})
    draw(day / "00001-4242.jpg", 2).with_suffix(".txt").write_text(PARAMETERS, "utf-8")
    draw(folder / "img2img-images" / "2026-11-23" / "00000-7.png", 3)
    draw(folder / "txt2img-grids" / "2026-11-23" / "grid-0000.png", 4)
    return folder
