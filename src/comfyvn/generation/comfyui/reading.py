"""Finding the graph among the texts of a file.

Format: the API format ``{node id: {"class_type", "inputs": {name: value | [node id, slot]}}}``, which
ComfyUI saves as ``prompt``; the workflow of the page: `comfyvn.generation.comfyui.page`. Some nodes save both
as one text (https://docs.comfy.org/development/core-concepts/workflow).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, Final

from comfyvn.generation.comfyui.graph import MOST_INPUTS, MOST_NODES, Graph, Link, Node
from comfyvn.generation.comfyui.page import read_workflow
from comfyvn.generation.values import is_deep
from comfyvn.model import EmbeddedText

__all__ = ["find"]

_MOST_CHARACTERS: Final = 8_000_000
_MOST_BRACKETS: Final = 300_000
_MOST_DIGITS: Final = 40


def find(texts: Sequence[EmbeddedText]) -> tuple[Graph | None, tuple[str, ...]]:
    """Find the graph that made a file: what was run (``prompt``) rather than what the page showed.

    Returns:
        the graph, None if no text holds one; and the names of all texts that do.
    """
    found = [(text.name, *each) for text in texts for each in _graphs_in(_loaded(text.text))]
    ran = (_from_prompt(raw) for _, place, raw in found if place == "prompt")
    shown = (read_workflow(raw) for _, place, raw in found if place == "workflow")
    graph = next((each for each in chain(ran, shown) if each.nodes), None)
    if graph is None and found:
        graph = Graph(found[0][1], {})
    return graph, tuple(dict.fromkeys(name for name, _, _ in found))


def _loaded(text: str) -> Any:
    """Read JSON as ComfyUI writes it (NaN and Infinity happen); None if it can't be a graph."""
    if len(text) > _MOST_CHARACTERS or ("class_type" not in text and "nodes" not in text):
        return None
    start = text.find("{")
    if start < 0 or text[:start].strip().lower() not in {"", "prompt:", "workflow:"}:
        return None
    if text.count("{") + text.count("[") > _MOST_BRACKETS:
        return None
    try:
        value = json.loads(text[start:].rstrip("\0 \r\n\t"), parse_int=_integer)
    except (ValueError, RecursionError):
        return None
    return None if is_deep(value) else value


def _integer(digits: str) -> int | None:
    return int(digits) if len(digits) <= _MOST_DIGITS else None


def _graphs_in(raw: Any, depth: int = 0) -> Iterator[tuple[str, dict[str, Any]]]:
    if not isinstance(raw, dict):
        return
    if _is_workflow(raw):
        yield "workflow", raw
    elif any(isinstance(node, dict) and isinstance(node.get("class_type"), str) for node in raw.values()):
        yield "prompt", raw
    elif depth < 3:
        for name in ("prompt", "workflow", "extra_data", "extra_pnginfo"):
            inner = raw.get(name)
            yield from _graphs_in(_loaded(inner) if isinstance(inner, str) else inner, depth + 1)


def _is_workflow(raw: dict[str, Any]) -> bool:
    # InvokeAI's workflows have nodes too, but edges in place of links.
    return (
        isinstance(raw.get("nodes"), list)
        and "edges" not in raw
        and not raw.keys().isdisjoint({"links", "last_node_id", "last_link_id"})
    )


def _from_prompt(raw: dict[str, Any]) -> Graph:
    nodes: dict[str, Node] = {}
    if len(raw) > MOST_NODES:
        return Graph("prompt", nodes)
    for node_id, each in raw.items():
        if not isinstance(each, dict) or not isinstance(each.get("class_type"), str):
            continue
        node = nodes[node_id] = Node(node_id, each["class_type"])
        inputs = each.get("inputs")
        if not isinstance(inputs, dict) or len(inputs) > MOST_INPUTS:
            continue
        for name, value in inputs.items():
            link = _link(value)
            if link:
                node.links[name] = link
            else:
                node.values[name] = _unwrapped(value)
    return Graph("prompt", nodes)


def _link(value: object) -> Link | None:
    """A list of node id and slot is a link; a list that is a value is saved as ``{"__value__": list}``."""
    if not isinstance(value, list) or len(value) != 2:
        return None
    node, slot = value
    if not isinstance(slot, int) or isinstance(slot, bool):
        return None
    if isinstance(node, int) and not isinstance(node, bool):
        node = str(node)
    return Link(node, slot) if isinstance(node, str) else None


def _unwrapped(value: Any) -> Any:
    """Return a value without what is around it; choices that show a picture have it beside them."""
    if not isinstance(value, dict):
        return value
    if value.keys() == {"__value__"}:
        return value["__value__"]
    is_choice = isinstance(value.get("content"), str) and value.keys() <= {
        "content",
        "image",
        "title",
        "type",
    }
    return value["content"] if is_choice else value
