"""From the texts of a file to what is told of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePath
from typing import Final

from comfyvn.generation.comfyui.canonical import canonical
from comfyvn.generation.comfyui.graph import Graph, Node
from comfyvn.generation.comfyui.literals import agreed
from comfyvn.generation.comfyui.reading import find
from comfyvn.generation.comfyui.roles import is_saver, media_links, pipes, prefix_name
from comfyvn.generation.comfyui.walk import Walk
from comfyvn.generation.told import Told
from comfyvn.model import EmbeddedText

__all__ = ["parse"]

_TOOL: Final = "ComfyUI"
_MOST_SAVERS: Final = 16
_LONGEST_PREFIX: Final = 500
_SOUNDS: Final = frozenset({".wav", ".mp3", ".flac", ".ogg", ".opus", ".m4a", ".aac"})


def parse(texts: Sequence[EmbeddedText], file_name: str) -> Told | None:
    """Read the facts of a file from ComfyUI's texts; None where there are none.

    Args:
        texts: all texts of the file; those that hold a graph are found by what is in them.
        file_name: tells which of several nodes saved this file. Where that stays open, the facts are those
            that are the same for all of them.
    """
    graph, names = find(texts)
    if graph is None:
        return None
    told = Told(_TOOL, texts=names, workflow=canonical(graph) or None)
    savers = _savers(graph, file_name)
    if len(savers) <= _MOST_SAVERS:
        walk = Walk(graph)
        for name, (value, read_from) in agreed([walk.of(saver) for saver in savers]).items():
            told.tell(name, value, read_from)
    return told


def _savers(graph: Graph, file_name: str) -> list[Node]:
    """Return the nodes that may have saved a file of this name."""
    name = PurePath(file_name)
    savers = [node for node in graph.nodes.values() if is_saver(node)]
    if not savers or "_temp_" in name.stem:  # previews are named ComfyUI_temp_abcde_00001_.png
        fitting = [node for node in savers if _fits_prefix(node, name.stem)]
        savers = fitting or _shown(graph) or savers
    if name.suffix:
        is_sound = name.suffix.lower() in _SOUNDS
        savers = [node for node in savers if _saves_sound(node) == is_sound] or savers
    return [node for node in savers if _fits_prefix(node, name.stem)] or savers


def _shown(graph: Graph) -> list[Node]:
    """Return the nodes that take a picture, name no file, and give nothing to others, as previews do."""
    used = {link.node for node in graph.nodes.values() for link in node.links.values()}
    return [
        node
        for node in graph.nodes.values()
        if node.id not in used and not is_saver(node) and (media_links(node) or pipes(node))
    ]


def _saves_sound(node: Node) -> bool:
    return "audio" in node.links and len(media_links(node)) == 1


def _fits_prefix(node: Node, stem: str) -> bool:
    """Does a file of this name come from this node? It is ``PREFIX_00001_.png``, or with more behind."""
    prefix = node.values.get(prefix_name(node) or "")
    if not isinstance(prefix, str) or len(prefix) > _LONGEST_PREFIX:
        return False
    *parts, last = re.split(r"%[^%]*%", re.split(r"[/\\]", prefix)[-1])
    at = 0
    for place, part in enumerate(parts):
        at = stem.find(part, at)
        if at < 0 or (place == 0 and at > 0):
            return False
        at += len(part)
    rest = re.compile(re.escape(last) + r"[_-]?\d{2,}(?:_|\W|$)")
    return (rest.search(stem, at) if parts else rest.match(stem)) is not None
