"""The workflow as ComfyUI's page saves it, laid flat: the nodes that run, each input with its value or link.

Format: ``{"nodes": [...], "links": [...], "definitions": {"subgraphs": [...]}}`` in version 0.4 and 1
(https://docs.comfy.org/specs/workflow_json, https://docs.comfy.org/specs/workflow_json_0.4).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final, NamedTuple

from comfyvn.generation.comfyui.graph import (
    CONTROLS,
    MOST_INPUTS,
    MOST_NODES,
    UNNAMED,
    Graph,
    Link,
    Node,
    is_media_file,
    is_number,
)

__all__ = ["read_workflow"]

_VIRTUAL: Final = frozenset({"Reroute", "PrimitiveNode", "GetNode", "SetNode", "Note", "MarkdownNote"})
_MUTED: Final = 2
_BYPASSED: Final = 4
_DEEPEST_SUBGRAPH: Final = 10
# The page chooses one of the texts, and cuts out comments, before it runs the graph.
_DYNAMIC: Final = re.compile(r"\{[^{}]*\|[^{}]*\}|/\*")
_MOST_HOPS: Final = 100
_MOST_HOPS_IN_ALL: Final = 200_000

# The widgets of nodes that come with ComfyUI, in the order of their documentation; frontends before 1.16 save
# values without names, and later ones name not all. I: integer, F: number, S: text, C: choice, B: true or
# false; "...": what follows is another with each version, and stays without names.
_WIDGETS: Final[dict[str, str]] = {
    "KSampler": "seed:I steps:I cfg:F sampler_name:C scheduler:C denoise:F",
    "KSamplerAdvanced": "add_noise:C noise_seed:I steps:I cfg:F sampler_name:C scheduler:C start_at_step:I"
    " end_at_step:I return_with_leftover_noise:C",
    "SamplerCustom": "add_noise:B noise_seed:I cfg:F",
    "KSamplerSelect": "sampler_name:C",
    "BasicScheduler": "scheduler:C steps:I denoise:F",
    "SDTurboScheduler": "steps:I denoise:F",
    "Flux2Scheduler": "steps:I width:I height:I",
    "LTXVScheduler": "steps:I max_shift:F base_shift:F stretch:B terminal:F",
    "RandomNoise": "noise_seed:I",
    "CFGGuider": "cfg:F",
    "FluxGuidance": "guidance:F",
    "CheckpointLoaderSimple": "ckpt_name:C",
    "ImageOnlyCheckpointLoader": "ckpt_name:C",
    "UNETLoader": "unet_name:C weight_dtype:C",
    "UnetLoaderGGUF": "unet_name:C",
    "VAELoader": "vae_name:C",
    "LoraLoader": "lora_name:C strength_model:F strength_clip:F",
    "LoraLoaderModelOnly": "lora_name:C strength_model:F",
    "CLIPSetLastLayer": "stop_at_clip_layer:I",
    "CLIPTextEncode": "text:S",
    "CLIPTextEncodeSDXL": "width:I height:I crop_w:I crop_h:I target_width:I target_height:I text_g:S"
    " text_l:S",
    "CLIPTextEncodeSDXLRefiner": "ascore:F width:I height:I text:S",
    "CLIPTextEncodeSD3": "clip_l:S clip_g:S t5xxl:S empty_padding:C",
    "CLIPTextEncodeFlux": "clip_l:S t5xxl:S guidance:F",
    "CLIPTextEncodeHiDream": "clip_l:S clip_g:S t5xxl:S llama:S",
    "TextEncodeAceStepAudio": "tags:S lyrics:S lyrics_strength:F",
    "TextEncodeAceStepAudio1.5": "tags:S lyrics:S seed:I ...",
    "TextEncodeQwenImageEdit": "prompt:S",
    "TextEncodeQwenImageEditPlus": "prompt:S",
    "EmptyHunyuanLatentVideo": "width:I height:I length:I batch_size:I",
    "EmptyLTXVLatentVideo": "width:I height:I length:I batch_size:I",
    "WanImageToVideo": "width:I height:I length:I batch_size:I",
    "WanFirstLastFrameToVideo": "width:I height:I length:I batch_size:I",
    "WanHuMoImageToVideo": "width:I height:I length:I batch_size:I",
    "WanVaceToVideo": "width:I height:I length:I batch_size:I strength:F",
    "LTXVImgToVideo": "width:I height:I length:I batch_size:I strength:F",
    "SVD_img2vid_Conditioning": "width:I height:I video_frames:I ...",
    "EmptyFlux2LatentImage": "width:I height:I batch_size:I",
    "EmptyChromaRadianceLatentImage": "width:I height:I batch_size:I",
    "EmptyLatentImage": "width:I height:I batch_size:I",
    "EmptySD3LatentImage": "width:I height:I batch_size:I",
    "LatentUpscale": "upscale_method:C width:I height:I crop:C",
    "LatentUpscaleBy": "upscale_method:C scale_by:F",
    "ImageScale": "upscale_method:C width:I height:I crop:C",
    "ImageScaleBy": "upscale_method:C scale_by:F",
    "UpscaleModelLoader": "model_name:C",
    "ControlNetLoader": "control_net_name:C",
    "ControlNetApply": "strength:F",
    "ControlNetApplyAdvanced": "strength:F start_percent:F end_percent:F",
    "VAEEncodeForInpaint": "grow_mask_by:I",
    "LoadImage": "image:C",
    "LoadImageMask": "image:C channel:C",
    "LoadVideo": "file:C",
    "SaveImage": "filename_prefix:S",
    "SaveImageAdvanced": "filename_prefix:S ...",
    "SaveAnimatedWEBP": "filename_prefix:S ...",
    "SaveVideo": "filename_prefix:S ...",
    "SaveWEBM": "filename_prefix:S ...",
    "SaveAudio": "filename_prefix:S",
    "SaveAudioMP3": "filename_prefix:S ...",
    "SaveAudioOpus": "filename_prefix:S ...",
    "SaveAudioAdvanced": "filename_prefix:S ...",
    "PrimitiveInt": "value:I",
    "PrimitiveFloat": "value:F",
    "PrimitiveString": "value:S",
    "PrimitiveStringMultiline": "value:S",
    "PrimitiveBoolean": "value:B",
    "StringConcatenate": "string_a:S string_b:S delimiter:S",
}
_REST: Final = "..."
_LETTERS: Final = {"I": "INT", "F": "FLOAT", "S": "STRING", "C": "COMBO", "B": "BOOLEAN"}


class _TooBigError(Exception):
    """More nodes than a graph may have."""


class _Held(NamedTuple):
    """A value that came over a link: from a primitive, or promoted to the outside of a subgraph."""

    value: Any


_OWN: Final = object()  # the input is on the outside of a subgraph, but its value is still the inner one


@dataclass(slots=True)
class _Scope:
    """A workflow or one instance of a subgraph: its nodes by id and where its links begin."""

    prefix: str
    nodes: dict[str, dict[str, Any]]
    origins: dict[str, tuple[str, int]]
    ends: dict[tuple[str, int], str]
    definition: dict[str, Any]
    parent: _Scope | None = None
    host: dict[str, Any] = field(default_factory=dict)
    widget_slots: set[int] = field(default_factory=set)  # inputs of a subgraph that lead to widgets
    depth: int = 0
    children: dict[str, _Scope] = field(default_factory=dict)
    kept: dict[str, dict[str, Any]] = field(default_factory=dict)  # SetNodes by name


def read_workflow(raw: dict[str, Any]) -> Graph:
    """Return the graph of a workflow: without what is only for the eye, asleep, or an empty shell.

    Values are told only where their names are certain. A graph of too many nodes comes back empty.
    """
    try:
        return Graph("workflow", _Flat(raw).nodes())
    except _TooBigError:
        return Graph("workflow", {})


class _Flat:
    """A workflow without what is only for the eye: reroutes, subgraphs, primitives, sleeping nodes."""

    def __init__(self, raw: dict[str, Any]) -> None:
        self._raw = raw
        listed = _mapping(raw.get("definitions")).get("subgraphs")
        self._subgraphs = {str(each["id"]): each for each in _mappings(listed) if "id" in each}
        self._hops = 0
        self._inner_nodes = 0

    def nodes(self) -> dict[str, Node]:
        """Return the nodes that run, by id; those within a subgraph as ``instance:inner``."""
        found: dict[str, Node] = {}
        waiting = [_scope(self._raw, "")]
        while waiting:
            scope = waiting.pop()
            for node_id, raw in scope.nodes.items():
                kind = str(raw.get("type"))
                if raw.get("mode") in (_MUTED, _BYPASSED) or kind in _VIRTUAL:
                    continue
                if kind in self._subgraphs:
                    if scope.depth < _DEEPEST_SUBGRAPH:
                        waiting.append(self._inside(scope, node_id, raw))
                elif len(found) >= MOST_NODES:
                    raise _TooBigError
                else:
                    found[scope.prefix + node_id] = self._node(scope, node_id, raw, kind)
        return found

    def _inside(self, scope: _Scope, node_id: str, raw: dict[str, Any]) -> _Scope:
        if node_id not in scope.children:
            if self._inner_nodes > MOST_NODES:
                raise _TooBigError
            inside = _scope(self._subgraphs[str(raw.get("type"))], f"{scope.prefix}{node_id}:")
            self._inner_nodes += 1 + len(inside.nodes) + len(inside.origins)
            inside.parent, inside.host, inside.depth = scope, raw, scope.depth + 1
            scope.children[node_id] = inside
        return scope.children[node_id]

    def _node(self, scope: _Scope, node_id: str, raw: dict[str, Any], kind: str) -> Node:
        node = Node(scope.prefix + node_id, kind, _widgets(raw))
        for name in _overridden(scope.host, node_id, node.values):
            node.values.pop(name, None)
        sockets = raw.get("inputs")
        if len(node.values) + len(sockets if isinstance(sockets, list) else ()) > MOST_INPUTS:
            return Node(node.id, kind)
        for socket in _mappings(sockets):
            name = str(socket.get("name"))
            if socket.get("link") is None:
                continue
            source = self._source(scope, socket)
            if source is _OWN:
                continue
            node.values.pop(name, None)
            if isinstance(source, Link):
                node.links[name] = source
            elif isinstance(source, _Held):
                node.values[name] = source.value
        for name, value in node.values.items():
            if isinstance(value, str) and _DYNAMIC.search(value):
                node.values[name] = {"dynamic": value}
        return node

    def _source(self, scope: _Scope, socket: Mapping[str, Any]) -> object:
        """Follow a link back: to a `Link`, a `_Held` value, `_OWN`, or None if nothing comes over it."""
        for _ in range(_MOST_HOPS):
            self._hops += 1
            origin, slot = scope.origins.get(str(socket.get("link")), ("", 0))
            following: Mapping[str, Any] | None
            node = scope.nodes.get(origin)
            if node is None:
                if scope.parent is None or origin != _end_id(scope.definition, "inputNode", "-10"):
                    return None
                outer = _outside(scope, slot)
                if outer is None or outer.get("link") is None:
                    return _promoted(scope, slot)
                scope, socket = scope.parent, outer
                continue
            kind = str(node.get("type"))
            if node.get("mode") == _MUTED or self._hops > _MOST_HOPS_IN_ALL:
                return None
            if node.get("mode") == _BYPASSED:
                following = _bypass(node, slot)
            elif kind == "Reroute":
                following = next(_mappings(node.get("inputs")), None)
            elif kind == "PrimitiveNode":
                return _primitive(node)
            elif kind == "GetNode":
                scope, following = _kept(scope, node)
            elif kind in self._subgraphs:
                if scope.depth >= _DEEPEST_SUBGRAPH:
                    return None
                scope = self._inside(scope, origin, node)
                end = _end_id(scope.definition, "outputNode", "-20")
                following = {"link": scope.ends.get((end, slot))}
            else:
                return Link(scope.prefix + origin, slot)
            if following is None:
                return None
            socket = following
        return None


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _mappings(value: Any) -> Iterator[dict[str, Any]]:
    return (each for each in value if isinstance(each, dict)) if isinstance(value, list) else iter(())


def _scope(raw: dict[str, Any], prefix: str) -> _Scope:
    nodes = {str(node["id"]): node for node in _mappings(raw.get("nodes")) if "id" in node}
    scope = _Scope(prefix, nodes, {}, {}, raw)
    links = raw.get("links")
    for link in links if isinstance(links, list) else ():
        if isinstance(link, dict):
            names = ("id", "origin_id", "origin_slot", "target_id", "target_slot")
            link = [link.get(name) for name in names]
        if isinstance(link, list) and len(link) >= 5 and isinstance(link[2], int):
            scope.origins[str(link[0])] = (str(link[1]), link[2])
            if isinstance(link[4], int):
                scope.ends[str(link[3]), link[4]] = str(link[0])
    for node in nodes.values():
        if node.get("type") == "SetNode":
            scope.kept.setdefault(_first_text(node), node)
        for socket in _mappings(node.get("inputs")):
            origin, slot = scope.origins.get(str(socket.get("link")), ("", 0))
            if isinstance(socket.get("widget"), dict) and origin == _end_id(raw, "inputNode", "-10"):
                scope.widget_slots.add(slot)
    return scope


def _end_id(definition: dict[str, Any], end: str, usual: str) -> str:
    return str(_mapping(definition.get(end)).get("id", usual))


def _outside(scope: _Scope, slot: int) -> dict[str, Any] | None:
    """Return the socket of an instance that stands for an input of its subgraph."""
    inner = list(_mappings(scope.definition.get("inputs")))
    outer = list(_mappings(scope.host.get("inputs")))
    if not 0 <= slot < len(inner):
        return None
    return next((each for each in outer if each.get("name") == inner[slot].get("name")), None)


def _promoted(scope: _Scope, slot: int) -> object:
    """The value of a widget that an instance of a subgraph shows: a list in the order of these widgets.

    They are all inputs of the subgraph that lead to widgets, or those that the instance lists as such.
    """
    held = scope.host.get("widgets_values")
    if not held:
        return _OWN
    inner = list(_mappings(scope.definition.get("inputs")))
    listed = {
        str(each.get("name"))
        for each in _mappings(scope.host.get("inputs"))
        if isinstance(each.get("widget"), dict)
    }
    leading = [place for place in range(len(inner)) if place in scope.widget_slots]
    for shown in (leading, [place for place in leading if str(inner[place].get("name")) in listed]):
        if isinstance(held, list) and len(held) == len(shown) and slot in shown:
            fits = all(
                _fits(value, inner[place].get("type")) for place, value in zip(shown, held, strict=True)
            )
            return _Held(held[shown.index(slot)]) if fits else None
    return None


def _overridden(host: dict[str, Any], node_id: str, values: Mapping[str, Any]) -> list[str]:
    """Name the widgets of an inner node whose value an instance may hold otherwise."""
    shown = _mapping(host.get("properties")).get("proxyWidgets")
    held = host.get("widgets_values")
    if not held or not isinstance(shown, list):
        return []
    return [
        each[1]
        for place, each in enumerate(shown)
        if isinstance(each, list)
        and len(each) >= 2
        and str(each[0]) == node_id
        and isinstance(each[1], str)
        and each[1] in values
        and (not isinstance(held, list) or len(held) != len(shown) or held[place] != values[each[1]])
    ]


def _bypass(node: dict[str, Any], slot: int) -> dict[str, Any] | None:
    """A bypassed node hands on the input of the same type: that of the same place, or else the first."""
    outputs = list(_mappings(node.get("outputs")))
    inputs = list(_mappings(node.get("inputs")))
    if not 0 <= slot < len(outputs):
        return None
    kind = outputs[slot].get("type")
    same = inputs[slot : slot + 1] + inputs
    return next((each for each in same if each.get("type") == kind and each.get("link") is not None), None)


def _primitive(node: dict[str, Any]) -> _Held | None:
    held = node.get("widgets_values")
    return _Held(held[0]) if isinstance(held, list) and held else None


def _kept(scope: _Scope, node: dict[str, Any]) -> tuple[_Scope, dict[str, Any] | None]:
    """Find what a GetNode gets: the input of the SetNode of its name, here or further out."""
    at: _Scope | None = scope
    while at is not None:
        if kept := at.kept.get(_first_text(node)):
            return at, next(_mappings(kept.get("inputs")), None)
        at = at.parent
    return scope, None


def _first_text(node: dict[str, Any]) -> str:
    held = node.get("widgets_values")
    return held[0] if isinstance(held, list) and held and isinstance(held[0], str) else ""


def _widgets(raw: dict[str, Any]) -> dict[str, Any]:
    """Return the values of a node by name; without those that can't be told apart."""
    held = raw.get("widgets_values")
    if isinstance(held, dict):
        return {name: value for name, value in held.items() if isinstance(name, str)}
    if not isinstance(held, list) or not held:
        return {}
    listed = [
        (socket["widget"]["name"], socket.get("type"))
        for socket in _mappings(raw.get("inputs"))
        if isinstance(socket.get("widget"), dict) and isinstance(socket["widget"].get("name"), str)
    ]
    documented = _WIDGETS.get(str(raw.get("type")), "").split()
    known = [(name, _LETTERS[kind]) for name, _, kind in (each.partition(":") for each in documented) if kind]
    # First what is known: older frontends list only widgets that were made inputs, in any order.
    for spec in (known, listed):
        if (named := _named(spec, held)) is not None:
            return named
    if _REST in documented and (named := _named(known, held, is_open=True)):
        return named
    seeds = [value for value, control in pairwise(held) if _is_seed(value) and _controls(control)]
    unnamed = [
        value
        for value, control in zip(held, [*held[1:], None], strict=True)
        if not (_controls(value) or is_media_file(value) or (_is_seed(value) and _controls(control)))
    ]
    named = {"seed": seeds[0]} if len(seeds) == 1 else {}
    return {**named, UNNAMED: unnamed} if unnamed else named


def _named(
    spec: Sequence[tuple[str, Any]], held: list[Any], *, is_open: bool = False
) -> dict[str, Any] | None:
    """Give each value its name; None unless every value fits and, but where it is open, none is left."""
    named: dict[str, Any] = {}
    at = 0
    for name, kind in spec:
        if at >= len(held) or not _fits(held[at], kind):
            return None
        named[name] = held[at]
        at += 1
        if at < len(held) and _is_seed(held[at - 1]) and _controls(held[at]):
            at += 1
    if is_open and spec:
        return {**named, UNNAMED: held[at:]}
    return named if spec and held[at:] in ([], ["image"]) else None


def _is_seed(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _controls(value: object) -> bool:
    return isinstance(value, str) and value in CONTROLS


def _fits(value: object, kind: object) -> bool:
    if kind == "INT":
        return isinstance(value, int) and not isinstance(value, bool)
    if kind == "FLOAT":
        return is_number(value)
    if kind == "BOOLEAN":
        return isinstance(value, bool)
    if kind == "STRING":
        return isinstance(value, str)
    return isinstance(value, (str, int, float, bool)) and not (kind == "COMBO" and isinstance(value, bool))
