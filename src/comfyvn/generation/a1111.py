"""AUTOMATIC1111's web UI, its forks (Forge, reForge, SD.Next), and whoever else writes its text of
parameters.

The text (see `comfyvn.generation.infotext`) is in PNG ``parameters``, in Exif ``UserComment`` (JPEG, WebP,
AVIF) or in a GIF comment. Who wrote it, ``Version`` says, or ``App``:

===============================  =========================================================================
``v1.10.1``                      Automatic1111; before 1.3 it wrote no version
``f2.0.1v1.10.1-previous-...``   Forge; ``f2.0.1v2-v1.10.1-...`` reForge; ``neo``, ``classic`` its successors
``App: SD.Next``                 SD.Next; older ones have ``Parser`` and ``Backend`` instead
``ComfyUI``                      nodes that save images the way of A1111
``Created Date``                 beside ``Civitai resources``: the generator of Civitai
===============================  =========================================================================

Of another writer, or none named, the tool is ``A1111-compatible``.

``<lora:name:weight>`` in a prompt names a LoRA where the tool reads such tags; A1111 takes a second number
for the model, the first then being that of the text encoder, and ``te=``, ``unet=``. A denoising strength
beside ``Hires`` parameters is that of the second pass. Passes are those of the whole picture: ADetailer's
over faces are not told. Grids of "X/Y/Z plot" are told no facts, as they are different from cell to cell, and
other grids no seed.

Format: stable-diffusion-webui wiki, "Features" (PNG info, LoRA, hires fix, grids) and changelog; sd-webui-
controlnet, README; SD.Next issues 1864, 2216 and 3202; Civitai, "generation data" of its generator.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from comfyvn.generation import fooocus, infotext
from comfyvn.generation.infotext import Infotext, chosen, pairs_of
from comfyvn.generation.told import Told
from comfyvn.generation.values import as_entry, as_number, as_text, as_whole, without
from comfyvn.model import EmbeddedText

__all__ = ["COMPATIBLE", "parse"]

COMPATIBLE: Final = "A1111-compatible"
"""The tool of a text whose writer is not named."""
_SD_NEXT: Final = "SD.Next"
_VERSIONS: Final = (
    (re.compile(r"v[0-9]+\.[0-9]+\S*"), "Automatic1111"),
    (re.compile(r"f[0-9]+(?:\.[0-9]+)+v[0-9]+\.[0-9]\S*"), "Forge"),
    (re.compile(r"f[0-9]+(?:\.[0-9]+)+v[0-9]+-v[0-9]\S*"), "reForge"),
    (re.compile(r"neo(?:-[0-9]\S*)?", re.IGNORECASE), "Forge Neo"),
    (re.compile(r"classic(?:-[0-9]\S*)?", re.IGNORECASE), "Forge Classic"),
)
_READS_TAGS: Final = frozenset(
    ("Automatic1111", "Forge", "reForge", "Forge Neo", "Forge Classic", _SD_NEXT, COMPATIBLE)
)
_TAG: Final = re.compile(r"<(?:lora|lyco):([^:<>\n]{1,200}+)((?::[^:<>\n]{0,100}+){0,8}+)>")
_NAME_AND_HASH: Final = re.compile(r"(.*\S) ?\[([0-9A-Fa-f]{6,64})\]", re.DOTALL)
_LORA_TYPES: Final = frozenset(("lora", "lycoris", "locon", "dora"))
_AXES: Final = frozenset(("x type", "y type", "z type"))
_GRID: Final = re.compile(r"(?:^|[/\\])(?:[\w-]{1,20}_)?grid-[0-9]")
_SAME: Final = frozenset(("use same sampler", "use same scheduler"))
_VOLATILE: Final = frozenset(
    {
        "seed",
        "variation seed",
        "batch pos",
        "version",
        "user",
        "created date",
        "civitai metadata",
        "init image hash",
        "init image size",
        "mask hash",
        "time taken",
    }
)


def parse(texts: Sequence[EmbeddedText], file_name: str) -> Told | None:
    """Tell what a text of parameters says; None where there is none, or where it is Fooocus' own."""
    if fooocus.is_marked(texts):
        return None
    for text in sorted(texts, key=lambda text: text.name.casefold() != "parameters"):
        found = infotext.find(text.text)
        if found is not None:
            return None if fooocus.is_written_by(found) else _told(found, text.name, file_name)
    return None


def _told(found: Infotext, where: str, file_name: str) -> Told:
    told = Told(*_tool(found.pairs), texts=(where,))
    if _AXES & found.pairs.keys():
        return told
    told.tell("prompt", found.prompt, f"{where} prompt")
    told.tell("negative_prompt", found.negative_prompt, f"{where} negative prompt")
    told.tell("models", _models(found.pairs) or None, f"{where} Model")
    told.tell("loras", _loras(told.tool, found) or None, f"{where} LoRAs")
    infotext.tell_parameters(told, found.pairs, where)
    _tell_passes(told, found.pairs, where)
    if _GRID.search(file_name):
        for single in ("seed", "passes"):
            told.facts.pop(single, None)
            told.read_from.pop(single, None)
    told.workflow = {
        "tool": told.tool,
        "prompt": found.prompt,
        "negative_prompt": found.negative_prompt,
        "parameters": without(dict(found.pairs), _VOLATILE.__contains__),
    }
    return told


def _tool(pairs: Mapping[str, Any]) -> tuple[str, str | None]:
    version, app = as_text(pairs.get("version")), pairs.get("app")
    if app == _SD_NEXT or (
        app is None and pairs.get("backend") in ("Original", "Diffusers") and "parser" in pairs
    ):
        return _SD_NEXT, version
    if version is not None and app is None:
        if version == "ComfyUI":
            return version, None
        for pattern, tool in _VERSIONS:
            if pattern.fullmatch(version):
                return tool, version
    if version is None and "created date" in pairs and "civitai resources" in pairs:
        return "Civitai", None
    return COMPATIBLE, None


def _models(pairs: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the base model and those beside it; none of these without the base model."""
    hashes = pairs.get("hashes")
    digest = as_text(pairs.get("model hash")) or (
        as_text(hashes.get("model")) if isinstance(hashes, dict) else None
    )
    base = as_entry(chosen(pairs.get("model")), hash=digest) or _model_of_civitai(pairs)
    if base is None:
        return []
    others = [
        _with_hash(pairs.get("refiner"), "refiner"),
        _with_hash(pairs.get("hires checkpoint"), "hires"),
        *(_with_hash(model, "controlnet") for model in _controlnets(pairs)),
        *(as_entry(chosen(pairs.get(f"module {number}")), kind="module") for number in range(1, 9)),
    ]
    return [base, *(other for other in others if other)]


def _with_hash(value: object, kind: str) -> dict[str, Any] | None:
    """Return the entry of a model that is written as ``name [hash]``."""
    name = chosen(value)
    match = _NAME_AND_HASH.fullmatch(name) if name and not name.startswith("Use same") else None
    if match:
        return as_entry(match[1], kind=kind, hash=match[2])
    return as_entry(name, kind=kind) if name and not name.startswith("Use same") else None


def _controlnets(pairs: Mapping[str, Any]) -> Iterator[object]:
    for key, value in pairs.items():
        if key.startswith("controlnet") and isinstance(value, str):
            if key.endswith(" model"):  # `ControlNet-0 Model`, till 2023
                yield value
            elif key.removeprefix("controlnet").strip().isdecimal() or key == "controlnet":
                yield pairs_of(value).get("model")


def _model_of_civitai(pairs: Mapping[str, Any]) -> dict[str, Any] | None:
    models = [name for kind, name, _ in _resources(pairs) if kind == "checkpoint"]
    return as_entry(models[0]) if len(models) == 1 else None


def _resources(pairs: Mapping[str, Any]) -> Iterator[tuple[str, object, object]]:
    """Yield type, name and weight of each of Civitai's resources; the type may stand in its AIR alone."""
    resources = pairs.get("civitai resources")
    for each in resources if isinstance(resources, list) else ():
        if isinstance(each, dict):
            air = str(each.get("air")).split(":")
            kind = str(each.get("type", air[3] if len(air) > 3 else ""))
            yield kind.casefold(), each.get("modelName"), each.get("weight")


def _loras(tool: str, found: Infotext) -> list[dict[str, Any]]:
    """Return the LoRAs of the prompt's tags, then others of which hashes are written, or else Civitai's."""
    hashes = dict(_hashes(found.pairs))
    named: dict[str, dict[str, Any]] = {}
    for name, weights in _tags(found) if tool in _READS_TAGS else ():
        entry = as_entry(name, **weights, hash=hashes.pop(name, None))
        if entry is None:
            continue
        known = named.setdefault(entry["name"], entry)
        if any(known.get(weight) != weights.get(weight) for weight in ("weight", "clip_weight")):
            known.pop("weight", None)  # twice in the prompt with two weights
            known.pop("clip_weight", None)
    for name, digest in hashes.items():
        if entry := as_entry(name, hash=digest):
            named.setdefault(entry["name"], entry)
    if not named:
        for kind, resource, weight in _resources(found.pairs):
            if kind in _LORA_TYPES and (entry := as_entry(resource, weight=as_number(weight))):
                named.setdefault(entry["name"], entry)
    return list(named.values())


def _hashes(pairs: Mapping[str, Any]) -> Iterator[tuple[str, str | None]]:
    """Yield names and hashes of ``Lora hashes``, or of the object ``Hashes``, by keys as ``lora:name``."""
    listed, hashes = pairs.get("lora hashes"), pairs.get("hashes")
    if isinstance(listed, str):
        for part in listed.split(","):
            name, _, digest = part.rpartition(":")
            yield name.strip(), as_text(digest)
    elif isinstance(hashes, dict):
        for key, digest in hashes.items():
            if key[:5].casefold() == "lora:":
                yield key[5:], as_text(digest)


def _tags(found: Infotext) -> Iterator[tuple[str, dict[str, float | None]]]:
    """Yield names and weights of tags in the prompt and in that of the second pass."""
    hires = found.pairs.get("hires prompt")
    seen = set[str]()
    for prompt in (found.prompt, hires if isinstance(hires, str) else None):
        tags = {tag[0]: tag for tag in _TAG.finditer(prompt or "")}
        for tag in (tag for tag in tags.values() if tag[0] not in seen):
            yield tag[1], _weights(tag[2].split(":")[1:])
        seen |= tags.keys()


def _weights(arguments: Sequence[str]) -> dict[str, float | None]:
    """Return the weights of a tag: one of both, or of the text encoder and of the model, in this order."""
    by_name = {name: value for name, equals, value in (each.partition("=") for each in arguments) if equals}
    in_order = [each for each in arguments if "=" not in each]
    clip = as_number(by_name.get("te", in_order[0] if in_order else None))
    model = as_number(by_name.get("unet", in_order[1] if len(in_order) > 1 else None))
    if model is None and "unet" not in by_name and len(in_order) < 2:
        return {"weight": clip, "clip_weight": None}
    return {"weight": model, "clip_weight": None if clip == model else clip}


def _tell_passes(told: Told, pairs: Mapping[str, Any], where: str) -> None:
    denoise = as_number(pairs.get("denoising strength"))
    operations = str(pairs.get("operations")).replace(",", ";").split(";")
    done = {operation.strip().casefold() for operation in operations}
    has_second = any(key.startswith("hires ") for key in pairs)
    if told.tool == _SD_NEXT:
        if not has_second and done & {"img2img", "inpaint"}:
            told.tell("denoise", denoise, f"{where} Denoising strength")
        is_sampled_again = "hires" in done
    else:
        if not has_second:
            told.tell("denoise", denoise, f"{where} Denoising strength")
        is_sampled_again = not {"hires upscale", "hires resize", "hires steps"}.isdisjoint(pairs)
    if is_sampled_again:
        first = {name: told.facts[name] for name in _OF_A_PASS if name in told.facts}
        told.tell("passes", [first, _second_pass(pairs, denoise)], f"{where} Hires")


_OF_A_PASS: Final = ("seed", "steps", "cfg", "sampler", "scheduler")


def _second_pass(pairs: Mapping[str, Any], denoise: float | None) -> dict[str, Any]:
    """Return what is written of the second pass; what is the same as in the first is mostly not."""
    second = {
        "steps": as_whole(pairs.get("hires steps")) or None,
        "cfg": as_number(pairs.get("hires cfg scale")),
        "sampler": as_text(pairs.get("hires sampler")),
        "scheduler": as_text(pairs.get("hires schedule type")),
        "denoise": denoise,
    }
    return {
        name: value for name, value in second.items() if value is not None and str(value).lower() not in _SAME
    }
