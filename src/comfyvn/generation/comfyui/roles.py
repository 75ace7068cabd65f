"""What the inputs of a ComfyUI node are for, told by their names: nodes of all authors name them much alike.

Names are those of the nodes of ComfyUI (https://docs.comfy.org/built-in-nodes) and of common custom nodes
(Impact, Efficiency, rgthree, KJ, Easy-Use, VideoHelperSuite, WanVideoWrapper, as their documentation says).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final, TypeGuard

from comfyvn.generation.comfyui.graph import (
    UNNAMED,
    Link,
    Node,
    is_media_file,
    is_number,
    natural,
    one_of,
    words,
)

__all__ = [
    "IMAGE",
    "LATENT",
    "Fits",
    "choices",
    "condition_links",
    "is_branch",
    "is_bus",
    "is_group",
    "is_sampler",
    "is_saver",
    "is_short",
    "is_way",
    "is_weight",
    "is_whole",
    "loaded_file",
    "makes_unseen",
    "media_links",
    "medium",
    "medium_of",
    "only_link",
    "pipes",
    "prefix_name",
    "role_links",
    "size_names",
    "text_names",
]

IMAGE: Final = "image"
LATENT: Final = "latent"

_LATENTS: Final = one_of("samples sample latent latents")
_MEDIA: Final = _LATENTS | one_of(
    "image images pixels frames frame video videos audio destination source picture"
)
_NO_MEDIA: Final = one_of(
    "mask masks ref reference control embed embeds clip vision model vae style width height size count prompt"
    " text noise prefix filename name path index bbox segs face seed fps rate ipadapter negative positive"
    " number num offset length duration amount limit strength weight"
)
_PIPES: Final = one_of("pipe ctx context bus tuple")
_BUSES: Final = one_of("context ctx pipe bus")
_SWITCHES: Final = one_of("switch selector select if else ifelse router")
_SAMPLING: Final = one_of(
    "seed noise_seed steps cfg sampler_name scheduler denoise sampler sigmas guider noise"
)
_MODEL: Final = re.compile(r"(?:base_|opt_|optional_)?(?:model|unet)(?:_?[\da-d])?(?:_opt(?:ional)?)?")
_DECIDERS: Final = ("select", "index", "boolean", "condition", "switch", "selection", "bool")
_COUNTS: Final = one_of("length batch_size video_frames num_frames")
_ANY: Final = re.compile(r"any_?\d+")
_NEUTRAL_TEXTS: Final = one_of(
    "text text_g text_l clip_l clip_g t5xxl llama bert mt5xl prompt string populated_text tags lyrics value"
    " user_prompt caption txt"
)
_TEXT_ORDER: Final = ("text", "prompt", "populated_text", "text_g", "clip_g", "text_l", "clip_l", "t5xxl",
                      "tags", "style", "caption", "lyrics")  # fmt: skip
_NONE: Final = one_of("none null undefined")
_TEXT_WORDS: Final = one_of("text prompt string txt")
_CUTS_OUT: Final = one_of(
    "segment segmentation segmenter sam mask detect detector detection dino matting crop"
)
_SEVERAL_WORDS: Final = re.compile(r"\S+(?:\s+\S+){3}")
_ASKS_OTHERWISE: Final = one_of("resolution aspect ratio dimensions preset swap invert orientation")

Fits = Callable[[object], bool]


def is_whole(value: object) -> TypeGuard[int]:
    """Is this a whole number that a seed or a count of steps may be?"""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**64


def is_short(value: object) -> bool:
    """Is this a name, of a sampler or a model file: short, and not a widget's word for none?"""
    return isinstance(value, str) and 0 < len(value) <= 500 and value.lower() not in _NONE


def is_group(node: Node) -> bool:
    """Is this a group node of older frontends? What is inside of it can't be seen."""
    return node.kind.startswith(("workflow>", "workflow/"))


def is_bus(node: Node) -> bool:
    """Does this node only carry what others put in, many roles at once (context, pipe)?"""
    return not words(node.kind).isdisjoint(_BUSES) and _SAMPLING.isdisjoint(node.values)


def prefix_name(node: Node) -> str | None:
    """Return the input that begins the name of the file that this node saves."""
    names = [*node.values, *node.links]
    for wanted in ("prefix", "filename"):
        for name in names:
            if wanted in words(name) and "temp" not in words(name):
                return name
    return next((name for name in names if name in {"output_path", "save_path", "file_name"}), None)


def is_saver(node: Node) -> bool:
    """Does this node write what it is given into a file?"""
    if prefix_name(node) is None or not (media_links(node) or pipes(node)):
        return False
    output = node.values.get("image_output")  # of Easy-Use's samplers
    return not isinstance(output, str) or "save" in output.lower()


def is_sampler(node: Node) -> bool:
    """Does this node make a picture, film or sound from noise or from another one?"""
    if is_bus(node) or is_group(node):
        return False
    if "sampler" in node.links and "sigmas" in node.links:
        return True
    by_model = bool(role_links(node, "model")) or bool(pipes(node)) or "guider" in node.links
    if is_saver(node) and not by_model:
        return False
    if sum(name in node.values or name in node.links for name in _SAMPLING) >= 3:
        return True
    has_latent = not node.links.keys().isdisjoint({"latent_image", *_LATENTS})
    return by_model and has_latent and "positive" in node.links


def makes_unseen(node: Node) -> bool:
    """Does this node make another picture of those that it is given, by a prompt, where nobody can see how?

    So do the nodes that ask a service (https://docs.comfy.org/tutorials/partner-nodes/overview). What sampled
    the pictures before it did not make its own. A node whose values have no names takes a prompt if one of
    them has several words. What cuts something out, by words that say what, makes no other picture.
    """
    if is_saver(node) or not media_links(node) or not words(node.kind).isdisjoint(_CUTS_OUT):
        return False
    unnamed = node.values.get(UNNAMED)
    texts = unnamed if isinstance(unnamed, list) else []
    return any(
        "prompt" in words(name) and (name in node.links or bool(value))
        for name, value in [*node.values.items(), *node.links.items()]
    ) or any(isinstance(text, str) and _SEVERAL_WORDS.match(text) is not None for text in texts)


def media_links(node: Node, want: str | None = None) -> list[tuple[Link, str]]:
    """Return the links that bring pictures, films, sounds or latents, each with which: `IMAGE` or `LATENT`.

    Args:
        node: the node.
        want: what is looked for; if any link brings it, the others don't count.
    """
    found = [(link, brought) for name, link in node.links.items() if (brought := medium(node, name))]
    alike = [each for each in found if each[1] == want]
    # What makes latents from latents takes pictures as guides only; a bus carries each on its own way.
    return alike if alike or (want and is_bus(node)) else found


def medium(node: Node, name: str) -> str | None:
    """Return what this input of a node is given, as `medium_of` does; nodes for images may say `input`."""
    is_plain = name == "input" and not words(node.kind).isdisjoint({"image", "images"})
    return IMAGE if is_plain else medium_of(name)


def medium_of(name: str) -> str | None:
    """Return what an input of this name is given: `IMAGE` (films and sounds too), `LATENT`, or neither.

    >>> medium_of("latent_image"), medium_of("images2"), medium_of("image_ref"), medium_of("model")
    ('latent', 'image', None, None)
    """
    named = words(name)
    if named.isdisjoint(_MEDIA) or not named.isdisjoint(_NO_MEDIA):
        return None
    return IMAGE if named.isdisjoint(_LATENTS) else LATENT


def pipes(node: Node) -> list[Link]:
    """Return the links that carry many roles at once."""
    return [link for name, link in node.links.items() if not words(name).isdisjoint(_PIPES)]


def role_links(node: Node, role: str) -> list[Link]:
    """Return the links of a role: ``model``, ``vae``, ``clip``, ``lora``, ``positive`` or ``negative``."""
    return [link for name, link in node.links.items() if _is_role(name, role)]


def _is_role(name: str, role: str) -> bool:
    if role == "model":
        return _MODEL.fullmatch(name) is not None
    named = words(name)
    if role in {"vae", "clip"}:
        return role in named and named <= {role, "opt", "optional", "base"}
    if role == "lora":
        return not named.isdisjoint({"lora", "loras"}) and named.isdisjoint({"name", "strength", "weight"})
    return not named.isdisjoint({role, role[:3]}) and named.isdisjoint(_TEXT_WORDS)


def condition_links(node: Node, slot: int, role: str, *, by_pipe: bool) -> list[Link]:
    """Return the links of a node that its output ``slot`` hands on as a prompt of this role.

    Nodes that take both prompts give the positive one first, the negative one second; those with more outputs
    (a bus, a sampler, a patch of the model) name no order, so that the role itself is followed.
    """
    both = role_links(node, "positive"), role_links(node, "negative")
    if any(both):
        by_slot = all(both) and slot in (0, 1) and not by_pipe and not role_links(node, "model")
        return both[slot] if by_slot else both[role == "negative"]
    named = [name for name in node.links if not words(name).isdisjoint({"conditioning", "cond"})]
    named += [name for name in node.links if name == "text_embeds"]
    # ConditioningConcat puts what comes from `conditioning_from` behind `conditioning_to`.
    return [
        node.links[name] for name in sorted(named, key=lambda name: ("from" in words(name), natural(name)))
    ]


def only_link(node: Node) -> Link | None:
    """Return the one link of a node that has nothing else, as reroutes do."""
    return next(iter(node.links.values())) if len(node.links) == 1 and not node.values else None


def choices(node: Node, decided: Callable[[str], object]) -> list[Link] | None:
    """Return what a switch may hand on, one link if it is known which; None if this is no switch.

    It is an empty list where a switch may hand on a value of its own, and not what a link brings.

    Args:
        node: any node.
        decided: the value of an input, for those that choose; None if it isn't known.
    """
    is_any = any(_ANY.fullmatch(name) for name in node.links)
    if not node.links or (not is_any and words(node.kind).isdisjoint(_SWITCHES)):
        return None
    offered = {name: link for name, link in node.links.items() if name not in _DECIDERS}
    kinds = {_branch(name) for name in offered if is_branch(name)}
    own = [
        name for name in node.values if name not in _DECIDERS and is_branch(name) and _branch(name) in kinds
    ]
    sides = {name: [link] for name, link in offered.items()} | {name: [] for name in own}
    for name in _DECIDERS:
        value = decided(name)
        if isinstance(value, bool):
            fitting = [links for each, links in sides.items() if str(value).lower() in words(each)]
        elif is_whole(value) and (name == "select" or any(_number_of(each) == "0" for each in sides)):
            # `select` counts from 1; an index counts from 0, and so must the names.
            fitting = [links for each, links in sides.items() if _number_of(each) == str(value)]
        else:
            continue
        if len(fitting) == 1:
            return fitting[0]
    return [] if own else list(offered.values())


def is_branch(name: str) -> bool:
    """Is this input of a switch, by its name, one of several: ``on_true``, ``input2``, ``any_01``?"""
    return _branch(name) != name


def _branch(name: str) -> str:
    return name.rstrip("0123456789").replace("true", "").replace("false", "")


def _number_of(name: str) -> str:
    return name[len(name.rstrip("0123456789")) :]


def text_names(node: Node, role: str, *, is_shared: bool) -> list[str]:
    """Return the inputs of a node that hold the text of a prompt of this role.

    Args:
        node: a node that may encode texts, or hand them on.
        role: ``positive`` or ``negative``.
        is_shared: both roles come from it, so that a text without a role is the positive one.
    """
    other = "negative" if role == "positive" else "positive"
    own, neutral = [], []
    for name in sorted([*node.values, *node.links], key=_text_order):
        named = words(name)
        if name in _NEUTRAL_TEXTS or (name == "style" and "lyrics" in [*node.values, *node.links]):
            neutral.append(name)
        elif not named.isdisjoint(mine := {role, role[:3]}) and named <= mine | _TEXT_WORDS | {"g", "l"}:
            if name in node.values or not named.isdisjoint(_TEXT_WORDS):
                own.append(name)
        elif name in node.links and re.fullmatch(r"(?:text|prompt|string)_?\d", name):
            neutral.append(name)
    if own:
        return own
    if role == "negative" and (is_shared or any(not words(name).isdisjoint({other}) for name in node.values)):
        return []
    return neutral


def _text_order(name: str) -> int:
    return _TEXT_ORDER.index(name) if name in _TEXT_ORDER else len(_TEXT_ORDER)


def size_names(node: Node) -> tuple[str, str] | None:
    """Return the inputs with the size of what a node makes; None where another input may overrule them."""
    inputs = node.values.keys() | node.links.keys()
    if "empty_latent_width" in inputs and "empty_latent_height" in inputs:
        chosen = node.values.get("resolution", "custom")
        is_custom = isinstance(chosen, str) and "custom" in chosen.lower()
        return ("empty_latent_width", "empty_latent_height") if is_custom else None
    overruled = any(not words(name).isdisjoint(_ASKS_OTHERWISE) for name in inputs)
    return None if overruled or not {"width", "height"} <= inputs else ("width", "height")


def loaded_file(node: Node) -> tuple[str, str] | None:
    """Return the input and name of the picture or film that a node loads; None if it loads none."""
    if media_links(node):
        return None
    for name in ("image", "video", "image_path", "video_path", "file", "path"):
        value = node.values.get(name)
        if is_media_file(value):
            return name, re.sub(r" ?\[(?:input|output|temp)\]$", "", str(value))
    return None


def is_weight(value: Any) -> bool:
    """Is this a strength that a LoRA may have?"""
    return is_number(value) and abs(value) <= 1000


def is_way(node: Node, want: str | None) -> bool:
    """Do the pictures that a node is given go on in what it gives?

    Nodes that take both prompts or encode one, or a size and a number of frames, and give a latent make an
    empty one, for which pictures are guides, unless a mask says which part of a picture stays.
    """
    takes_prompts = bool(role_links(node, "positive") and role_links(node, "negative"))
    encodes = bool(role_links(node, "clip") and text_names(node, "positive", is_shared=True))
    if want != LATENT or is_sampler(node) or not (takes_prompts or encodes or _is_sized(node)):
        return True
    is_masked = any("mask" in words(name) for name in node.links)
    return is_masked or is_bus(node) or any(medium == LATENT for _, medium in media_links(node))


def _is_sized(node: Node) -> bool:
    inputs = node.values.keys() | node.links.keys()
    return size_names(node) is not None and not inputs.isdisjoint(_COUNTS)
