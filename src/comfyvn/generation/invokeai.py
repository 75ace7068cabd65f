"""InvokeAI: the record of version 3 and later, ``sd-metadata`` of version 2, and the command of version 1.

``invokeai_metadata`` (PNG tEXt; MP4 keys) is a flat object in which every key is optional:
``positive_prompt``, ``seed``, ``model`` (``{name, hash, ...}``, in version 3 ``{model_name, ...}``),
``loras``, ``generation_mode`` and so on. Beside it may stand ``invokeai_workflow`` and ``invokeai_graph``,
which tell no facts here: values come into a graph on edges. ``sd-metadata`` holds ``{app_id, app_version,
model_weights, model_hash, image: {prompt: [{prompt, weight}], steps, ...}}``; ``Dream`` the command: ``"a
prompt" -s 50 -S 42 -W 512 -H 512 -C 7.5 -A k_lms``.

What InvokeAI calls scheduler is told as the sampler, which it is (``euler_a``, ``dpmpp_2m_k``) and was called
in version 2. ``clip_skip`` counts the layers left out there, so that it is one less than what others write.
With the high resolution fix the size is that of the result, and so not told. Layers of the canvas are not
told.

Format: InvokeAI documentation, "Media Metadata" (record 1.0.0) and "Command-Line Reference" of version 2;
issue 266 ("RFC: Structured metadata").
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
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

_TOOL: Final = "InvokeAI"
_RECORD: Final = "invokeai_metadata"
_NAMES: Final = (_RECORD, "invokeai_workflow", "invokeai_graph")
_APPS: Final = ("invoke-ai/InvokeAI", "lstein/stable-diffusion")
_COMMAND: Final = re.compile(r'"([^"]*+)"((?:\s+-[^\s"]++(?:\s+[^\s"-][^\s"]*+)*+)++)')
_OPTION: Final = re.compile(r"(?<=\s)-([sSWHCA])\s*([^\s-]\S*)")
_VOLATILE: Final = frozenset(
    {
        "seed",
        "app_version",
        "metadata_version",
        "canvas_v2_metadata",
        "variations",
        "orig_hash",
        "key",
        "id",
        "image",
        "image_name",
        "processed_image",
        "init_image",
        "mask_image",
        "init_mask",
        "media_origin",
        "first_frame_image",
        "last_frame_image",
        "source_video",
        "minimax_h3_references",
    }
)
"""Names of pictures, and the keys of models, which each installation makes anew."""
_CONTROLS: Final = (
    ("controlnets", "control_model", "controlnet", "control"),
    ("t2iAdapters", "t2i_adapter_model", "t2i_adapter", "control"),
    ("ipAdapters", "ip_adapter_model", "ip_adapter", None),
)
_FROM_IMAGE: Final = ("img2img", "inpaint", "outpaint")


def parse(texts: Sequence[EmbeddedText], file_name: str) -> Told | None:
    """Tell what InvokeAI wrote; None where no text is surely its own."""
    own = tuple(dict.fromkeys(text.name for text in named(texts, *_NAMES)))
    for text in named(texts, _RECORD):
        record = load_object(text.text)
        if record is not None:
            return _of_record(record, text.name, own)
    if own:
        return Told(_TOOL, texts=own)
    for text in named(texts, "sd-metadata"):
        if (told := _of_version_2(text)) is not None:
            return told
    for text in named(texts, "dream"):
        if (told := _of_command(text)) is not None:
            return told
    return None


def _of_record(record: dict[str, Any], where: str, own: tuple[str, ...]) -> Told:
    told = Told(_TOOL, as_text(record.get("app_version")), texts=own)
    mode = str(record.get("generation_mode"))
    told.tell("prompt", as_text(record.get("positive_prompt")), f"{where} positive_prompt")
    told.tell("negative_prompt", as_text(record.get("negative_prompt")), f"{where} negative_prompt")
    told.tell("models", *_told_at(where, _models(record)))
    told.tell("loras", _loras(record.get("loras")) or None, f"{where} loras")
    told.tell("vae", _model(record.get("vae")).get("name"), f"{where} vae")
    told.tell("sampler", as_text(record.get("scheduler")), f"{where} scheduler")
    told.tell("steps", as_whole(record.get("steps")), f"{where} steps")
    told.tell("cfg", as_number(record.get("cfg_scale")), f"{where} cfg_scale")
    told.tell("seed", as_seed(record.get("seed")), f"{where} seed")
    if skipped := as_whole(record.get("clip_skip")):
        told.tell("clip_skip", skipped + 1, f"{where} clip_skip")
    if mode.endswith(_FROM_IMAGE):
        told.tell("denoise", as_number(record.get("strength")), f"{where} strength")
    told.tell("input_images", *_told_at(where, list(_images(record, mode))))
    if record.get("hrf_enabled") is True:
        first = {name: told.facts[name] for name in ("seed", "steps", "cfg", "sampler") if name in told.facts}
        denoise = as_number(record.get("hrf_strength"))
        second = {} if denoise is None else {"denoise": denoise}
        told.tell("passes", [first, second], f"{where} hrf_enabled")
    else:
        tell_size(told, record.get("width"), record.get("height"), f"{where} width, height")
    told.workflow = {"tool": _TOOL, "parameters": without(record, _VOLATILE.__contains__)}
    return told


def _model(value: object) -> dict[str, Any]:
    """Return name and hash of a model; {} where it has no name."""
    if not isinstance(value, dict):
        return as_entry(value) or {}
    return as_entry(value.get("name", value.get("model_name")), hash=as_text(value.get("hash"))) or {}


def _told_at(
    where: str, found: Sequence[tuple[str, dict[str, Any]]]
) -> tuple[list[dict[str, Any]] | None, str]:
    """Return the entries that were found, None where there are none, and all the keys that they stand in."""
    keys = dict.fromkeys(key for key, _ in found)
    return [entry for _, entry in found] or None, ", ".join(f"{where} {key}" for key in keys)


def _models(record: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Return the base model and those beside it, each with its key; none of these without the base model."""
    base = _model(record.get("model"))
    others = [("refiner_model", _model(record.get("refiner_model")), "refiner")]
    for key, model, kind, _ in _CONTROLS:
        others += [(key, _model(each.get(model)), kind) for each in _objects(record.get(key))]
    beside = [(key, {**other, "kind": kind}) for key, other, kind in others if other]
    return [("model", base), *beside] if base else []


def _loras(value: object) -> list[dict[str, Any]]:
    loras = [(each, _model(each.get("model", each.get("lora")))) for each in _objects(value)]
    weights = [as_number(each.get("weight")) for each, _ in loras]
    return [
        lora if weight is None else {**lora, "weight": weight}
        for (_, lora), weight in zip(loras, weights, strict=True)
        if lora
    ]


def _images(record: Mapping[str, Any], mode: str) -> Iterator[tuple[str, dict[str, Any]]]:
    if first := as_entry(_image_name(record.get("init_image")), role=_role(mode)):
        yield "init_image", first
    for key, _, _, role in _CONTROLS:
        for each in _objects(record.get(key)):
            if image := as_entry(_image_name(each.get("image")), role=role):
                yield key, image
    for each in _objects(record.get("ref_images")):
        config = each.get("config")
        if not isinstance(config, dict) or each.get("isEnabled") is not True:
            continue
        if image := as_entry(_image_name(config.get("image"))):
            yield "ref_images", image


def _role(mode: str) -> str | None:
    if mode.endswith("img2img"):
        return "img2img"
    return "inpaint" if mode.endswith(("inpaint", "outpaint")) else None


def _image_name(value: object) -> object:
    return value.get("image_name") if isinstance(value, dict) else value


def _objects(value: object) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _of_version_2(text: EmbeddedText) -> Told | None:
    record = load_object(text.text)
    if (
        record is None
        or record.get("app_id") not in _APPS
        or not isinstance(image := record.get("image"), dict)
    ):
        return None
    where = text.name
    told = Told(_TOOL, as_text(record.get("app_version")), texts=(text.name,))
    told.tell("prompt", _prompt_of_version_2(image.get("prompt")), f"{where} image.prompt")
    model = as_entry(record.get("model_weights"), hash=as_text(record.get("model_hash")))
    told.tell("models", [model] if model else None, f"{where} model_weights")
    told.tell("sampler", as_text(image.get("sampler")), f"{where} image.sampler")
    told.tell("steps", as_whole(image.get("steps")), f"{where} image.steps")
    told.tell("cfg", as_number(image.get("cfg_scale")), f"{where} image.cfg_scale")
    told.tell("seed", as_seed(image.get("seed")), f"{where} image.seed")
    if image.get("type") == "img2img":
        told.tell("denoise", as_number(image.get("strength")), f"{where} image.strength")
    tell_size(told, image.get("width"), image.get("height"), f"{where} image.width, image.height")
    told.workflow = {"tool": _TOOL, "parameters": without(record, _VOLATILE.__contains__)}
    return told


def _prompt_of_version_2(value: object) -> str | None:
    """Return the prompt as it was written, what is unwanted in brackets; None if several were blended."""
    if isinstance(value, list):
        value = value[0].get("prompt") if len(value) == 1 and isinstance(value[0], dict) else None
    return as_text(value)


def _of_command(text: EmbeddedText) -> Told | None:
    match = _COMMAND.fullmatch(text.text.strip())
    options = dict[str, str](_OPTION.findall(match[2])) if match else {}
    if match is None or "s" not in options or "S" not in options:
        return None
    where = text.name
    told = Told(_TOOL, texts=(where,))
    told.tell("prompt", as_text(match[1]), f"{where} prompt")
    told.tell("sampler", as_text(options.get("A")), f"{where} -A")
    told.tell("steps", as_whole(options["s"]), f"{where} -s")
    told.tell("cfg", as_number(options.get("C")), f"{where} -C")
    told.tell("seed", as_seed(options["S"]), f"{where} -S")
    tell_size(told, options.get("W"), options.get("H"), f"{where} -W, -H")
    told.workflow = {
        "tool": _TOOL,
        "prompt": match[1],
        "options": {k: v for k, v in options.items() if k != "S"},
    }
    return told
