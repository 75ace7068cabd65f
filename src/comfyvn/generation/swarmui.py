"""SwarmUI: a JSON object in PNG ``parameters``, in Exif ``UserComment`` or in the comment of a film.

``sui_image_params`` holds what was asked for by the ids of the parameters, lower-case words without spaces;
numbers may be texts, lists may be texts with commas. ``sui_extra_data`` holds what else is known, such as the
name of the picture that was the start (``initimage_filename``), and ``sui_models`` the files of models with
their hashes: ``{"name", "param", "hash"}``.

``initimagecreativity`` is the denoising strength, and told only where there was such a picture: the parameter
stands there without one, too. The refiner in method ``PostApply`` is a second pass over the result of the
first, with ``refinercontrolpercentage`` as its denoising strength; other methods change models within one
pass.

Format: SwarmUI documentation, "Image Metadata Format", "Prompt Syntax" and descriptions of parameters.
"""

from __future__ import annotations

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
    tell_size,
    without,
)
from comfyvn.model import EmbeddedText

__all__ = ["parse"]

_TOOL: Final = "SwarmUI"
_PARAMETERS: Final = "sui_image_params"
_SUFFIXES: Final = (".safetensors", ".sft", ".gguf", ".ckpt", ".pt", ".bin")
_NOTHING: Final = frozenset(("none", "automatic", "(none)", "(use base)"))
_VOLATILE: Final = frozenset(
    {
        "swarm_version",
        "date",
        "generation_time",
        "prep_time",
        "images",
        "personalnote",
        "donotsave",
        "initimage",
        "maskimage",
        "promptimages",
    }
)
_REFINED: Final = (
    ("steps", "refinersteps", as_whole),
    ("cfg", "refinercfgscale", as_number),
    ("sampler", "refinersampler", as_text),
    ("scheduler", "refinerscheduler", as_text),
    ("denoise", "refinercontrolpercentage", as_number),
)


def parse(texts: Sequence[EmbeddedText], file_name: str) -> Told | None:
    """Tell what SwarmUI wrote; None where no text is its own."""
    for text in texts:
        loaded = load_object(text.text) if f'"{_PARAMETERS}"' in text.text else None
        if loaded is not None and isinstance(loaded.get(_PARAMETERS), dict):
            return _told(loaded, loaded[_PARAMETERS], text.name)
    return None


def _told(loaded: Mapping[str, Any], values: Mapping[str, Any], name: str) -> Told:
    where = f"{name} {_PARAMETERS}"
    told = Told(_TOOL, as_text(values.get("swarm_version")), texts=(name,))
    told.tell("prompt", as_text(values.get("prompt")), f"{where}.prompt")
    told.tell("negative_prompt", as_text(values.get("negativeprompt")), f"{where}.negativeprompt")
    hashes = _hashes(loaded.get("sui_models"))
    told.tell("models", _models(values, hashes) or None, f"{where}.model")
    told.tell("loras", _loras(values, hashes) or None, f"{where}.loras")
    told.tell("vae", _chosen(values.get("vae")), f"{where}.vae")
    told.tell("sampler", as_text(values.get("sampler")), f"{where}.sampler")
    told.tell("scheduler", as_text(values.get("scheduler")), f"{where}.scheduler")
    told.tell("steps", as_whole(values.get("steps")), f"{where}.steps")
    told.tell("cfg", as_number(values.get("cfgscale")), f"{where}.cfgscale")
    told.tell("seed", as_seed(values.get("seed")), f"{where}.seed")
    layer = as_number(values.get("clipstopatlayer"))
    if layer is not None and layer < 0:
        told.tell("clip_skip", as_whole(-layer), f"{where}.clipstopatlayer")
    tell_size(told, values.get("width"), values.get("height"), f"{where}.width, {where}.height")
    _tell_images(told, values, loaded.get("sui_extra_data"), name)
    if values.get("refinermethod") == "PostApply" and as_number(values.get("refinercontrolpercentage")):
        told.tell("passes", _passes(told, values), f"{where}.refinermethod")
    told.workflow = {"tool": _TOOL, "parameters": without(values, _is_volatile)}
    return told


def _is_volatile(key: str) -> bool:
    return key in _VOLATILE or "seed" in key


def _chosen(value: object) -> str | None:
    text = as_text(value)
    return None if text is None or text.casefold() in _NOTHING else text


def _hashes(value: object) -> dict[tuple[str, str], str]:
    """Return the hashes by parameter and name without suffix."""
    found: dict[tuple[str, str], str] = {}
    for each in value if isinstance(value, list) else ():
        if (
            isinstance(each, dict)
            and (name := as_text(each.get("name")))
            and (digest := as_text(each.get("hash")))
        ):
            found[str(each.get("param")), _bare(name)] = digest
    return found


def _bare(name: str) -> str:
    for suffix in _SUFFIXES:
        name = name.removesuffix(suffix)
    return name


def _models(values: Mapping[str, Any], hashes: Mapping[tuple[str, str], str]) -> list[dict[str, Any]]:
    """Return the base model and the refiner, if it is another."""
    base, refiner = _chosen(values.get("model")), _chosen(values.get("refinermodel"))
    if base is None:
        return []
    models = [as_entry(base, hash=hashes.get(("model", _bare(base))))]
    if refiner is not None and refiner != base:
        models.append(as_entry(refiner, kind="refiner", hash=hashes.get(("refinermodel", _bare(refiner)))))
    return [model for model in models if model]


def _loras(values: Mapping[str, Any], hashes: Mapping[tuple[str, str], str]) -> list[dict[str, Any]]:
    names = _listed(values.get("loras"))
    weights = _paired([as_number(each) for each in _listed(values.get("loraweights"))], len(names))
    clips = _paired([as_number(each) for each in _listed(values.get("loratencweights"))], len(names))
    found = []
    for name, weight, clip in zip(names, weights, clips, strict=True):
        digest = hashes.get(("loras", _bare(name))) if isinstance(name, str) else None
        if entry := as_entry(name, weight=weight, clip_weight=None if clip == weight else clip, hash=digest):
            found.append(entry)
    return found


def _listed(value: object) -> list[Any]:
    """Return a list that may be a text with commas, or a single number."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",")] if value.strip() else []
    return value if isinstance(value, list) else [] if value is None else [value]


def _paired(weights: list[float | None], count: int) -> list[float | None]:
    """Return the weights if there is one for each."""
    return weights if len(weights) == count else [None] * count


def _tell_images(told: Told, values: Mapping[str, Any], extra: object, name: str) -> None:
    """Tell the pictures that it began with, of which the names stand beside the parameters."""
    beside = extra if isinstance(extra, dict) else {}
    start = as_entry(beside.get("initimage_filename"), role="img2img")
    mask = as_entry(beside.get("maskimage_filename"), role="mask")
    if start is not None:
        where = f"{name} sui_extra_data.initimage_filename"
        told.tell("input_images", [image for image in (start, mask) if image], where)
        creativity = as_number(values.get("initimagecreativity"))
        told.tell("denoise", creativity, f"{name} {_PARAMETERS}.initimagecreativity")


def _passes(told: Told, values: Mapping[str, Any]) -> list[dict[str, Any]]:
    names = ("seed", "steps", "cfg", "sampler", "scheduler", "denoise")
    first = {name: told.facts[name] for name in names if name in told.facts}
    refined = {name: read(values.get(key)) for name, key, read in _REFINED}
    return [first, {name: value for name, value in refined.items() if value is not None}]
