"""The LoRAs that a node of the model's way applies, in the forms of single loaders, stacks and lists."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from comfyvn.generation.comfyui.graph import Node, natural
from comfyvn.generation.comfyui.literals import Literals
from comfyvn.generation.comfyui.roles import is_short, is_weight

__all__ = ["loras_of"]

Entry = tuple[dict[str, Any], str]

_SINGLE_WEIGHTS: Final = (
    "strength_model",
    "lora_model_strength",
    "model_strength",
    "lora_strength",
    "strength",
    "lora_weight",
)
_SINGLE_CLIP_WEIGHTS: Final = ("strength_clip", "lora_clip_strength", "clip_strength")
_MODEL_WEIGHTS: Final = ("model_weight_{}", "model_str_{}", "lora_{}_model_strength", "strength_model_{}")
_CLIP_WEIGHTS: Final = ("clip_weight_{}", "clip_str_{}", "lora_{}_clip_strength", "strength_clip_{}")
_NUMBERED: Final = re.compile(r"lora(?:_name)?_?(\d{1,3})(?:_name)?")
_TAG: Final = re.compile(r"<lora:([^:<>]{1,300})((?::[^:<>]{1,300}){0,9})>")
_TAGGED: Final = ("text", "prompt", "populated_text")
_MOST: Final = 100


def loras_of(node: Node, literals: Literals) -> list[Entry]:
    """Return the LoRAs that a node applies, in its order, each with its place; none that are switched off.

    Args:
        node: one that hands on a model, or a stack of LoRAs. As it is given the model, it applies the
            ``<lora:name:weight>`` in its text too.
        literals: the values of the graph.
    """
    if node.values.get("toggle") is False:
        return []
    listed = [*_single(node, literals), *_numbered(node, literals), *_listed(node, literals)]
    is_list = any("lora" in name for name in [*node.values, *node.links])
    found = listed if is_list else list(_tagged(node, literals))
    return [each for each in found if _works(each[0])][:_MOST]


def _works(entry: Mapping[str, Any]) -> bool:
    """A LoRA of no weight changes nothing."""
    return bool(entry.get("weight", 1)) or bool(entry.get("clip_weight"))


def _entry(name: str, weight: Any, clip_weight: Any) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": name}
    for key, value in (("weight", weight), ("clip_weight", clip_weight)):
        if is_weight(value):
            entry[key] = float(value)
    return entry


def _single(node: Node, literals: Literals) -> Iterator[Entry]:
    for name in ("lora_name", "lora"):
        is_chain = name == "lora" and name in node.links
        found = None if is_chain else literals.own(node, (name,), is_short)
        if found:
            weight = literals.own(node, _SINGLE_WEIGHTS, is_weight)
            clip_weight = literals.own(node, _SINGLE_CLIP_WEIGHTS, is_weight)
            yield _entry(found[0], weight and weight[0], clip_weight and clip_weight[0]), found[1]
            return


def _numbered(node: Node, literals: Literals) -> Iterator[Entry]:
    """Stacks with numbered slots: some count how many are in use, others switch each on or off."""
    count = next((node.values[name] for name in ("lora_count", "num_loras") if name in node.values), None)
    mode = node.values.get("input_mode", node.values.get("mode"))
    for name in sorted({*node.values, *node.links}, key=natural):
        match = _NUMBERED.fullmatch(name)
        if match is None or isinstance(node.values.get(name), dict):
            continue
        number = match[1]
        found = literals.own(node, (name,), is_short)
        is_counted = not isinstance(count, int) or int(number) <= count
        if not found or not is_counted or node.values.get(f"switch_{number}") in ("Off", False):
            continue
        simple = [f"strength_{number}", f"lora_wt_{number}", f"lora_{number}_strength"]
        of_model = [each.format(number) for each in _MODEL_WEIGHTS]
        of_clip = [each.format(number) for each in _CLIP_WEIGHTS]
        if mode == "simple":
            of_model, of_clip = simple, []
        elif mode != "advanced" and not node.values.keys().isdisjoint(simple):
            # With both kinds of weights, and no word on which are used, none is told.
            of_model, of_clip = ([], []) if not node.values.keys().isdisjoint(of_model) else (simple, [])
        weight = literals.own(node, of_model, is_weight)
        clip_weight = literals.own(node, of_clip, is_weight)
        yield _entry(found[0], weight and weight[0], clip_weight and clip_weight[0]), found[1]


def _listed(node: Node, literals: Literals) -> Iterator[Entry]:
    """Entries such as ``{"on": true, "lora": name, "strength": 1.0}``, each a value or all in one list."""
    for name in sorted(node.values, key=natural):
        value = node.values[name]
        for each in value[:_MOST] if isinstance(value, list) else [value]:
            if not isinstance(each, dict) or "lora" not in name:
                continue
            lora = each.get("lora", each.get("name"))
            if not is_short(lora) or any(each.get(key) is False for key in ("on", "active", "enabled")):
                continue
            weight = _number(each.get("strength"))
            clip_weight = _number(each.get("strengthTwo", each.get("clipStrength")))
            yield _entry(str(lora), weight, clip_weight), literals.place(node, name)


def _number(value: object) -> object:
    """Some lists hold their numbers as texts."""
    is_text = isinstance(value, str) and re.fullmatch(r"-?\d{1,3}(?:\.\d{1,6})?", value)
    return float(str(value)) if is_text else value


def _tagged(node: Node, literals: Literals) -> Iterator[Entry]:
    for name in _TAGGED:
        if name in node.links:
            found = literals.text(node.links[name])
        else:
            text = node.values.get(name)
            found = (text, literals.place(node, name)) if isinstance(text, str) else None
        if found:
            for lora, more in _TAG.findall(found[0]):
                weight, clip_weight, *_ = [*map(_number, more.split(":")[1:]), None, None]
                yield _entry(lora, weight, clip_weight), found[1]
            return
