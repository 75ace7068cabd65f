"""NovelAI: PNG texts ``Software``, ``Source``, ``Description`` and ``Comment``.

``Software`` is ``NovelAI``; ``Source`` names the model and the hash of its weights (``NovelAI Diffusion V4.5
4BDE2A90``, earlier ``Stable Diffusion XL C1E1DE52``); ``Description`` is the prompt; ``Comment`` is a JSON
object of all parameters: ``prompt``, ``uc`` (the negative prompt), ``scale``, ``sampler``, ``noise_schedule``
and so on. From version 4 on ``v4_prompt`` and ``v4_negative_prompt`` hold a caption for the picture and one
for each character: the prompt told is all of them, one to a line. In WebP the same texts are one JSON object
in Exif ``UserComment``.

``strength`` stands there for pictures made from text, too: it is told only where ``request_type`` says that
there was a picture. Of several pictures of one request no seed is told.

Format: NovelAI/novelai-image-metadata, README; imgutils documentation, "sd.nai".
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from comfyvn.generation.told import Told
from comfyvn.generation.values import (
    as_entry,
    as_number,
    as_seed,
    as_text,
    as_whole,
    load_object,
    named,
    tell_size,
    without,
)
from comfyvn.model import EmbeddedText

__all__ = ["parse"]

_TOOL: Final = "NovelAI"
_TEXTS: Final = ("Software", "Source", "Description", "Comment")
_SOURCE: Final = re.compile(r"(.*\S) ([0-9A-F]{8})", re.DOTALL)
_VOLATILE: Final = frozenset(
    {
        "seed",
        "extra_noise_seed",
        "signed_hash",
        "n_samples",
        "request_id",
        "timestamp",
        "image",
        "mask",
        "stream",
        "color_correct",
        "img2img",
    }
)


def parse(texts: Sequence[EmbeddedText], file_name: str) -> Told | None:
    """Tell what NovelAI wrote; None where no text names it."""
    for text in named(texts, "UserComment"):
        own = (load_object(text.text) or {}) if '"NovelAI"' in text.text else {}
        if own.get("Software") == _TOOL:
            return _told(own, f"{text.name} ", (text.name,))
    for text in named(texts, "Software"):
        if text.text == _TOOL:
            own = {key: next((each.text for each in named(texts, key)), "") for key in _TEXTS}
            return _told(own, "", tuple(key for key in _TEXTS if own[key]))
    return None


def _told(own: Mapping[str, Any], where: str, names: tuple[str, ...]) -> Told:
    told = Told(_TOOL, texts=names)
    source, comment = as_text(own.get("Source")), own.get("Comment")
    values = (load_object(comment) or {}) if isinstance(comment, str) else {}
    match = _SOURCE.fullmatch(source) if source else None
    model = as_entry(match[1], hash=match[2]) if match else as_entry(source)
    told.tell("models", [model] if model else None, f"{where}Source")
    _tell_prompts(told, values, f"{where}Comment")
    told.tell("prompt", as_text(own.get("Description")), f"{where}Description")
    where += "Comment"
    told.tell("sampler", as_text(values.get("sampler")), f"{where} sampler")
    told.tell("scheduler", as_text(values.get("noise_schedule")), f"{where} noise_schedule")
    told.tell("steps", as_whole(values.get("steps")), f"{where} steps")
    told.tell("cfg", as_number(values.get("scale")), f"{where} scale")
    if values.get("n_samples") in (None, 1):
        told.tell("seed", as_seed(values.get("seed")), f"{where} seed")
    if values.get("request_type") == "Img2ImgRequest":
        told.tell("denoise", as_number(values.get("strength")), f"{where} strength")
    tell_size(told, values.get("width"), values.get("height"), f"{where} width, height")
    if values:
        told.workflow = {"tool": _TOOL, "source": source, "parameters": without(values, _is_volatile)}
    return told


def _is_volatile(key: str) -> bool:
    return key in _VOLATILE or key.startswith(("reference_image", "director_reference_image"))


def _tell_prompts(told: Told, values: Mapping[str, Any], where: str) -> None:
    for fact, key, older in (
        ("prompt", "v4_prompt", "prompt"),
        ("negative_prompt", "v4_negative_prompt", "uc"),
    ):
        captions = _captions(values.get(key))
        told.tell(fact, captions, f"{where} {key}")
        told.tell(fact, as_text(values.get(older)), f"{where} {older}")


def _captions(value: object) -> str | None:
    """Return the caption of the picture and those of its characters, one to a line."""
    caption = value.get("caption") if isinstance(value, dict) else None
    if not isinstance(caption, dict):
        return None
    listed = caption.get("char_captions")
    characters = (
        [each.get("char_caption") for each in listed if isinstance(each, dict)]
        if isinstance(listed, list)
        else []
    )
    found = [text for each in (caption.get("base_caption"), *characters) if (text := as_text(each))]
    return "\n".join(found) or None
