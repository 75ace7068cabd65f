"""Fooocus: what it writes with "Save Metadata to Images", in both schemes.

Scheme ``fooocus``: a JSON object in PNG ``parameters`` or in Exif ``UserComment``; PNG ``fooocus_scheme`` or
Exif ``MakerNote`` says which scheme, Exif ``Software`` the version. Keys are ``base_model`` and the like; up
to version 2.1, and in FooocusPlus, ``Base Model``. Scheme ``a1111``: the text of
`comfyvn.generation.infotext` with ``Version: Fooocus v2.5.5``.

The prompts told are those that the user wrote (``prompt``, ``Raw prompt``), not what styles and the expansion
made of them, and steps only where they are written: a ``Performance`` stands for a number that changed.

Format: Fooocus, pull request 1940 ("feat: add metadata to images") and issue 2640; Fooocus log of version
2.1.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from comfyvn.generation import infotext
from comfyvn.generation.infotext import Infotext, chosen
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

__all__ = ["COMPATIBLE", "is_marked", "is_written_by", "parse"]

COMPATIBLE: Final = "Fooocus-compatible"
"""The tool of a text in Fooocus' format whose version names another program."""
_SCHEME: Final = "fooocus_scheme"
_SCHEMES: Final = ("fooocus", "a1111")
_VERSION: Final = re.compile(r"(Fooocus[\w-]*)(?: (v?[0-9]\S*))?")
_BARE_VERSION: Final = re.compile(r"v?[0-9]\S*")
_RESOLUTION: Final = re.compile(r"\(?\s*([0-9]{1,6})\s*,\s*([0-9]{1,6})\s*\)?")
_OWN_KEYS: Final = frozenset(("adm_guidance", "base_model", "refiner_switch", "sharpness"))
_COMBINED: Final = re.compile(r"(.*\S) ?: ([+-]?[0-9.]+)", re.DOTALL)
_COMBINED_KEY: Final = re.compile(r"lora_(?:combined_)?([0-9]{1,2})")
_VOLATILE: Final = frozenset(
    {
        "seed",
        "created_by",
        "user",
        "version",
        "metadata_scheme",
        "full_prompt",
        "full_negative_prompt",
        "prompt_expansion",
        "fooocus_v2_expansion",
        "log",
    }
)
"""Of these the expansion depends on the seed; the full prompts hold it."""


def parse(texts: Sequence[EmbeddedText], file_name: str) -> Told | None:
    """Tell what Fooocus wrote; None where no text is surely its own."""
    marked = is_marked(texts)
    for text in texts:
        told = _of_json(text, marked) or _of_line(text, marked)
        if told is not None:
            told.texts = tuple(dict.fromkeys((text.name, *_marks(texts))))
            return told
    return Told("Fooocus", texts=_marks(texts)) if _has_scheme(texts) else None


def is_marked(texts: Sequence[EmbeddedText]) -> bool:
    """Tell whether another text than the parameters names Fooocus."""
    return _has_scheme(texts) or any(text.text.startswith("Fooocus") for text in named(texts, "Software"))


def is_written_by(found: Infotext) -> bool:
    """Tell whether the line of parameters names Fooocus as its writer."""
    return str(found.pairs.get("version")).startswith("Fooocus")


def _has_scheme(texts: Sequence[EmbeddedText]) -> bool:
    return any(text.text in _SCHEMES for text in named(texts, _SCHEME, "MakerNote"))


def _marks(texts: Sequence[EmbeddedText]) -> tuple[str, ...]:
    marks = named(texts, _SCHEME, "MakerNote", "Software")
    return tuple(text.name for text in marks if text.text in _SCHEMES or text.text.startswith("Fooocus"))


def _of_json(text: EmbeddedText, marked: bool) -> Told | None:
    if "base_model" not in text.text and "Base Model" not in text.text:
        return None
    loaded = load_object(text.text)
    if loaded is None:
        return None
    values = {key.casefold().replace(" ", "_"): value for key, value in loaded.items()}
    version = as_text(values.get("version"))
    is_its_own = (
        str(values.get("metadata_scheme")).casefold() == "fooocus" or "fooocus_v2_expansion" in values
    )
    is_named = version is not None and _VERSION.fullmatch(version) is not None
    if "base_model" not in values or not (marked or is_its_own or is_named or values.keys() >= _OWN_KEYS):
        return None
    told = Told(*_tool(version))
    _tell(told, values, text.name)
    told.workflow = {"tool": told.tool, "parameters": without(values, _VOLATILE.__contains__)}
    return told


def _of_line(text: EmbeddedText, marked: bool) -> Told | None:
    found = infotext.find(text.text)
    if found is None or not (marked or is_written_by(found)):
        return None
    told = Told(*_tool(as_text(found.pairs.get("version"))))
    pairs, where = found.pairs, text.name
    for fact, raw, whole in (
        ("prompt", "Raw prompt", found.prompt),
        ("negative_prompt", "Raw negative prompt", found.negative_prompt),
    ):
        told.tell(
            fact, as_text(pairs.get(raw.casefold())) if raw.casefold() in pairs else whole, f"{where} {raw}"
        )
    infotext.tell_parameters(told, pairs, where)
    _tell_models(told, pairs, ("model", "model hash"), ("refiner", "refiner hash"), where)
    weights = dict(_listed(pairs.get("lora weights")))
    loras = [_lora_of_line(name, rest, weights) for name, rest in _listed(pairs.get("lora hashes"))]
    told.tell("loras", [lora for lora in loras if lora] or None, f"{where} Lora hashes")
    told.workflow = {"tool": told.tool, "parameters": without(dict(pairs), _VOLATILE.__contains__)}
    return told


def _tool(version: str | None) -> tuple[str, str | None]:
    if version is None:
        return "Fooocus", None
    if match := _VERSION.fullmatch(version):
        return match[1], match[2]
    return ("Fooocus", version) if _BARE_VERSION.fullmatch(version) else (COMPATIBLE, None)


def _tell(told: Told, values: Mapping[str, Any], where: str) -> None:
    told.tell("prompt", as_text(values.get("prompt")), f"{where} prompt")
    told.tell("negative_prompt", as_text(values.get("negative_prompt")), f"{where} negative_prompt")
    _tell_models(
        told, values, ("base_model", "base_model_hash"), ("refiner_model", "refiner_model_hash"), where
    )
    told.tell("loras", list(_loras(values)) or None, f"{where} loras")
    told.tell("vae", chosen(values.get("vae")), f"{where} vae")
    told.tell("sampler", as_text(values.get("sampler")), f"{where} sampler")
    told.tell("scheduler", as_text(values.get("scheduler")), f"{where} scheduler")
    told.tell("steps", as_whole(values.get("steps")), f"{where} steps")
    told.tell("cfg", as_number(values.get("guidance_scale")), f"{where} guidance_scale")
    told.tell("seed", as_seed(values.get("seed")), f"{where} seed")
    told.tell("clip_skip", as_whole(values.get("clip_skip")) or None, f"{where} clip_skip")
    resolution = values.get("resolution")
    match = _RESOLUTION.fullmatch(resolution) if isinstance(resolution, str) else None
    if match:
        tell_size(told, match[1], match[2], f"{where} resolution")


def _tell_models(
    told: Told, values: Mapping[str, Any], base: tuple[str, str], refiner: tuple[str, str], where: str
) -> None:
    models = [
        as_entry(chosen(values.get(base[0])), hash=as_text(values.get(base[1]))),
        as_entry(chosen(values.get(refiner[0])), kind="refiner", hash=as_text(values.get(refiner[1]))),
    ]
    if models[0] is not None:
        told.tell("models", [model for model in models if model], f"{where} {base[0]}")


def _loras(values: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the LoRAs of the list, or where there is none, of the keys of single ones."""
    listed = values.get("loras")
    if isinstance(listed, list) and listed:
        for each in listed:
            name, weight, digest, *_ = [*(each if isinstance(each, list) else []), None, None, None]
            if entry := as_entry(chosen(name), weight=as_number(weight), hash=as_text(digest)):
                yield entry
        return
    single = {int(match[1]): values[key] for key in values if (match := _COMBINED_KEY.fullmatch(key))}
    for _, value in sorted(single.items()):
        match = _COMBINED.fullmatch(value) if isinstance(value, str) else None
        if match and (entry := as_entry(chosen(match[1]), weight=as_number(match[2]))):
            yield entry


def _listed(value: object) -> Iterator[tuple[str, str]]:
    """Yield name and value of ``a: 1f, b: 2e``; names may have a colon, but no comma."""
    for part in value.split(", ") if isinstance(value, str) else ():
        name, colon, rest = part.partition(": ")
        if colon:
            yield name, rest


def _lora_of_line(name: str, rest: str, weights: Mapping[str, str]) -> dict[str, Any] | None:
    """Return a LoRA; before version 2.3 its weight stood behind its hash: ``a: 1f: 0.5``."""
    digest, colon, weight = rest.partition(": ")
    return as_entry(name, weight=as_number(weight if colon else weights.get(name)), hash=as_text(digest))
