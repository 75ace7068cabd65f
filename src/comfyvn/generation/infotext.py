"""The text that A1111 invented and many write: the prompt, the negative prompt, and one line of parameters.

::

    a girl on a bridge, <lora:ink:0.8>
    Negative prompt: lowres
    Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, Size: 512x768, Lora hashes: "ink: 1f, b: 2e"

A value with a comma, a colon or a line break is a JSON text; some extensions write JSON objects and lists
bare. Behind the line may stand the templates of "Dynamic Prompts". Everything here takes time in proportion
to the text.

Format: stable-diffusion-webui wiki, "Features" (PNG info); sd-dynamic-prompts, README ("Template" lines).
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from comfyvn.generation.told import Told
from comfyvn.generation.values import as_number, as_seed, as_text, as_whole, is_deep, tell_size

__all__ = ["Infotext", "chosen", "find", "pairs_of", "tell_parameters"]

_LINE: Final = re.compile(r"^[ \t]*+Steps:[ \t]*+[0-9]{1,9}+[ \t]*+(?=,)", re.MULTILINE)
_TEMPLATES: Final = re.compile(r"^[ \t]*+Steps:[^\n]*+\n(?=(?:Negative )?Template:)", re.MULTILINE)
_GAP: Final = re.compile(r"[, \t]*+")
_KEY: Final = re.compile(r'(\w[^:,\n"\[\]{}]{0,80}+):[ \t]*+')
_QUOTED: Final = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"(?=[ \t]*+(?:[,\n]|\Z))', re.DOTALL)
_END: Final = re.compile(r"[,\n]|\Z")
_SIZE: Final = re.compile(r"([0-9]{1,6})x([0-9]{1,6})")
_LINES: Final = 16
"""How many lines that begin like parameters are tried, from the last one up."""
_PARTS: Final = 2_000
"""A line with more parts between commas is none of parameters."""
_JSON_TRIES: Final = 20
_NEGATIVE: Final = "Negative prompt:"
_TELLING: Final = frozenset(("sampler", "cfg scale", "seed", "size", "model", "model hash", "version", "app"))
_NOTHING: Final = frozenset(
    ("none", "automatic", "default", "default (model)", "undefined", "unknown", "null")
)
_UNQUOTED: Final = json.JSONDecoder(strict=False, parse_constant=lambda name: None)


@dataclass(frozen=True, slots=True)
class Infotext:
    """A text taken apart. ``pairs`` are the parameters by their keys in lower case: texts, or JSON values.

    The prompts are None where they are empty, and where more than one line begins with ``Negative prompt:``,
    so that nobody can say where the one ends.
    """

    prompt: str | None
    negative_prompt: str | None
    pairs: Mapping[str, Any]


def find(text: str) -> Infotext | None:
    """Take a text apart; None where it has no line of parameters: ``Steps`` and two more that are known."""
    if "Steps:" not in text:
        return None
    text = text.replace("\r\n", "\n")
    if templates := _TEMPLATES.search(text):
        text = text[: templates.end()]
    for line in reversed(deque(_LINE.finditer(text), maxlen=_LINES)):
        pairs = pairs_of(text, line.start())
        if len(_TELLING & pairs.keys()) >= 2:
            return Infotext(*_prompts(text[: line.start()]), pairs)
    return None


def pairs_of(text: str, at: int = 0) -> dict[str, Any]:
    """Read ``Key: value, Key: value`` up to the end of the line; {} if it goes on for too long.

    A value is left out if a part without a key follows it, as then it may have had a comma that should have
    been quoted, and if its key stands twice with different values.
    """
    pairs, doubtful, last = dict[str, Any](), set[str](), ""
    for count, (key, value) in enumerate(_parts(text, at)):
        if count >= _PARTS:
            return {}
        if key is None:
            doubtful.add(last)
            continue
        last = key.casefold()
        if pairs.setdefault(last, value) != value:
            doubtful.add(last)
    return {key: value for key, value in pairs.items() if key not in doubtful}


def tell_parameters(told: Told, pairs: Mapping[str, Any], where: str) -> None:
    """Tell what all who write such a line call by the same names."""
    told.tell("vae", chosen(pairs.get("vae")), f"{where} VAE")
    told.tell("sampler", _text(pairs.get("sampler"), {"undefined"}), f"{where} Sampler")
    for key in ("Schedule type", "Scheduler"):
        told.tell("scheduler", _text(pairs.get(key.casefold()), {"undefined"}), f"{where} {key}")
    told.tell("steps", as_whole(pairs.get("steps")), f"{where} Steps")
    told.tell("cfg", as_number(pairs.get("cfg scale")), f"{where} CFG scale")
    told.tell("seed", as_seed(pairs.get("seed")), f"{where} Seed")
    told.tell("clip_skip", as_whole(pairs.get("clip skip")) or None, f"{where} Clip skip")
    size = pairs.get("size")
    match = _SIZE.fullmatch(size) if isinstance(size, str) else None
    if match:
        tell_size(told, match[1], match[2], f"{where} Size")


def chosen(value: object) -> str | None:
    """Return the name of a model, unless it is a word for none or for whatever comes with another."""
    return _text(value, _NOTHING)


def _text(value: object, words: set[str] | frozenset[str]) -> str | None:
    text = as_text(value)
    return None if text is None or text.casefold() in words else text


def _prompts(text: str) -> tuple[str | None, str | None]:
    prompt, _, negative = f"\n{text}".partition(f"\n{_NEGATIVE}")
    if f"\n{_NEGATIVE}" in negative:
        return None, None
    return as_text(prompt), as_text(negative)


def _parts(text: str, at: int) -> Iterator[tuple[str | None, Any]]:
    """Yield keys with their values; None for a part between commas that has no key."""
    tries = _JSON_TRIES
    while (at := _behind_gap(text, at)) < len(text) and text[at] != "\n":
        key = _KEY.match(text, at)
        if key is None:
            at = _end(text, at)
            yield None, None
        else:
            value, at, is_json = _value(text, key.end(), tries > 0)
            tries -= not is_json
            yield key[1], value


def _value(text: str, at: int, tries_json: bool) -> tuple[Any, int, bool]:
    """Return a value, where it ends, and False if it looked like JSON in vain."""
    if quoted := _QUOTED.match(text, at):
        with suppress(ValueError):
            return _UNQUOTED.decode(quoted[0]), _end(text, quoted.end()), True
    is_json = True
    if text[at : at + 1] in ("[", "{") and tries_json:
        with suppress(ValueError, RecursionError):
            value, end = _UNQUOTED.raw_decode(text, at)
            if not text[end : (stop := _end(text, end))].strip() and not is_deep(value):
                return value, stop, True
        is_json = False
    end = _end(text, at)
    return text[at:end].strip(), end, is_json


def _end(text: str, at: int) -> int:
    """Return where the part ends that goes on here: at a comma, or at the end of the line."""
    found = _END.search(text, at)
    return len(text) if found is None else found.start()


def _behind_gap(text: str, at: int) -> int:
    gap = _GAP.match(text, at)
    return at if gap is None else gap.end()
