"""Nodes that hand on a value as it is: primitives, literals, constants, text boxes, reroutes, viewers.

Most of the thousands of classes of nodes compute something, and nothing in a graph says which do. So a value
that comes over a link is known only if the node that it comes from is known to leave it as it is: by its
class, of which this is the list, or by a class whose words say nothing but that.

Names are those of ComfyUI (https://docs.comfy.org/built-in-nodes) and of the custom nodes that graphs of
others hold: rgthree, KJNodes, Easy-Use, Comfyroll, Crystools, WAS, Image Saver, LayerStyle, essentials,
tinyterra, Searge, Impact, cg-use-everywhere.
"""

from __future__ import annotations

import re
from typing import Final

from comfyvn.generation.comfyui.graph import CONTROLS, Node, one_of, words

__all__ = ["JOINERS", "handed_on", "keeps"]

_HANDS_ON: Final[dict[str, tuple[str, ...]]] = {
    "CustomCombo": ("choice",),
    "Seed (rgthree)": ("seed",),
    "KSampler Config (rgthree)": ("steps_total", "refiner_step", "cfg", "sampler_name", "scheduler"),
    "Context (rgthree)": ("", "model", "clip", "vae", "positive", "negative", "latent", "images", "seed"),
    "Context Big (rgthree)": (
        *("", "model", "clip", "vae", "positive", "negative", "latent", "images", "seed", "steps"),
        *("step_refiner", "cfg", "ckpt_name", "sampler", "scheduler", "clip_width", "clip_height"),
        *("text_pos_g", "text_pos_l", "text_neg_g", "text_neg_l", "mask", "control_net"),
    ),
    "Seed Everywhere": ("seed",),
    "SimpleString": ("string",),
    "StringConstantMultiline": ("string",),
    "easy seed": ("seed",),
    "easy int": ("value",),
    "easy float": ("value",),
    "easy string": ("value",),
    "easy boolean": ("value",),
    "easy positive": ("positive",),
    "easy negative": ("negative",),
    "easy ckptNames": ("ckpt_name",),
    "easy showAnything": ("anything",),
    "CR Seed": ("seed",),
    "CR Value": ("value",),
    "CR Text": ("text",),
    "CR Prompt Text": ("prompt",),
    "Seed": ("seed", "seed", "seed", "seed"),
    "Text Multiline": ("text",),
    "Text to Console": ("text",),
    "Text Multiline (Code Compatible)": ("text",),
    "Text String": ("text", "text_b", "text_c", "text_d"),
    "Seed Generator": ("seed",),
    "Seed Generator (Image Saver)": ("seed",),
    "Sampler Selector": ("sampler_name",),
    "Sampler Selector (Image Saver)": ("sampler_name",),
    "Scheduler Selector": ("scheduler",),
    "Scheduler Selector (Image Saver)": ("scheduler",),
    "Scheduler Selector (Comfy) (Image Saver)": ("scheduler",),
    "Checkpoint Selector": ("ckpt_name",),
    "KepStringLiteral": ("String",),
    "LayerUtility: TextBox": ("text",),
    "LayerUtility: String": ("string",),
    "LayerUtility: Integer": ("int_value",),
    "LayerUtility: Float": ("float_value",),
    "LayerUtility: Seed": ("seed",),
    "SimpleMathInt+": ("value",),
    "SimpleMathFloat+": ("value",),
    "SimpleMathBoolean+": ("value",),
    "SeargePromptText": ("prompt",),
    "SeargeIntegerConstant": ("value",),
    "SeargeFloatConstant": ("value",),
    "ImpactInt": ("value",),
    "ImpactFloat": ("value",),
    "ttN seed": ("seed",),
    "ttN int": ("int",),
    "ttN float": ("float",),
    "ttN text": ("text",),
    "JWInteger": ("value",),
    "JWFloat": ("value",),
    "JWString": ("text",),
    "JWStringMultiline": ("text",),
    "DF_Integer": ("Value",),
    "DF_Float": ("Value",),
    "DF_Text": ("Text",),
    "DF_Text_Box": ("Text",),
}
"""The input that each output of a class hands on, in the order of the outputs; empty where it is none."""
JOINERS: Final = frozenset({"StringConcatenate", "Text Concatenate", "CR Text Concatenate", "JoinStrings"})
"""The classes that join the texts they are given, and do nothing else to them."""

_WITH_TOKENS: Final = frozenset({"Text Multiline", "Text Multiline (Code Compatible)", "Text String"})
_TOKENS: Final = re.compile(r"\[|^[^\S\n]*#", re.MULTILINE)
_TYPES: Final = one_of("int integer float string text boolean bool")
_BOXES: Final = one_of("primitive literal constant const reroute seed textbox multiline")
_VIEWERS: Final = one_of("show display preview")
_PLAIN: Final = _TYPES | one_of(
    "node value number input box simple prompt positive negative width height cfg"
)
_ANYTHING: Final = one_of("any anything")


def handed_on(node: Node, slot: int) -> str | None:
    """Return the input whose value an output of a node has, unchanged; None if that isn't known.

    Args:
        node: any node. Of a class that isn't listed it is its only input, if all words of the class say that
            it holds, hands on or shows a value: ``PrimitiveInt``, ``String Literal``, ``Reroute (rgthree)``,
            ``ShowText|pysssss``. What stands behind a bracket, a bar or two slashes is its author.
        slot: which output, the first is 0.
    """
    listed = _HANDS_ON.get(node.kind)
    if listed is not None:
        name = listed[slot] if 0 <= slot < len(listed) else ""
        return name if name in node.values or name in node.links else None
    kind = words(re.split(r"[(\[|]|//", node.kind, maxsplit=1)[0])
    if slot != 0:
        return None
    if not kind.isdisjoint(_VIEWERS):
        is_plain = kind <= _VIEWERS | _PLAIN | _ANYTHING
        return next(iter(node.links)) if is_plain and len(node.links) == 1 else None
    says_so = not kind.isdisjoint(_BOXES) or {"text", "box"} <= kind or (len(kind) == 1 and kind <= _TYPES)
    values = [name for name, value in node.values.items() if not _controls(value)]
    is_one = len(values) + len(node.links) == 1
    return next(iter([*values, *node.links])) if is_one and says_so and kind <= _BOXES | _PLAIN else None


def keeps(node: Node, value: object) -> bool:
    """Does a node that hands on texts leave this one as it is? Some take out lines, or fill in a date."""
    if not isinstance(value, str):
        return True
    if node.kind == "StringConstantMultiline":
        return node.values.get("strip_newlines") is False or ("\n" not in value and value == value.strip())
    return node.kind not in _WITH_TOKENS or _TOKENS.search(value) is None


def _controls(value: object) -> bool:
    return isinstance(value, str) and value in CONTROLS
