"""What two files of one workflow have in common, whatever their seeds, ids and file names."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter, defaultdict, deque
from collections.abc import Mapping
from typing import Any, Final

from comfyvn.generation.comfyui.graph import CONTROLS, Graph, Node, is_media_file, one_of, words

__all__ = ["canonical"]

_MODEL: Final = re.compile(r"\.(?:safetensors|sft|ckpt|pth?|bin|gguf|onnx)$", re.IGNORECASE)
_ENCODER: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"))
_SAVE_WORDS: Final = one_of("prefix filename filenames foldername subfolder file folder path directory dir")
_SAVED: Final = one_of("images image video videos audio samples frames latent")
_SAVE_NAMES: Final = one_of("filename_prefix save_prefix file_prefix output_path save_path")
_LEFT_OUT: Final = frozenset({"control_after_generate", "videopreview", "audioUI", "audio_ui", "upload",
                              "choose file to upload", "choose video to upload", "last_seed"})  # fmt: skip


def canonical(graph: Graph) -> list[str]:
    """Return what two files of one workflow share: a sorted list with one hash for each node.

    A hash covers the class of a node, its values and, by their hashes, all nodes before it. Left out are ids,
    seeds, and the names of files that are read or written. A node that comes after a cycle is hashed without
    what the cycle gives it.
    """
    kept = _lasting(graph)
    given = defaultdict[str, set[bool]](set)
    for node_id in kept:
        for name, link in graph.nodes[node_id].links.items():
            given[link.node].add("seed" in words(name))
    seeding = {node_id for node_id, to_seeds in given.items() if to_seeds == {True}}
    awaited = {
        node_id: len({link.node for link in graph.nodes[node_id].links.values() if link.node in kept})
        for node_id in kept
    }
    after: dict[str, set[str]] = defaultdict(set)
    for node_id in kept:
        for link in graph.nodes[node_id].links.values():
            after[link.node].add(node_id)
    hashes: dict[str, str] = {}
    ready = deque(node_id for node_id, count in awaited.items() if not count)
    while ready:
        node_id = ready.popleft()
        hashes[node_id] = _hash(graph.nodes[node_id], hashes, node_id in seeding)
        for each in after[node_id]:
            awaited[each] -= 1
            if not awaited[each]:
                ready.append(each)
    rest = [_hash(graph.nodes[each], hashes, each in seeding) for each in kept if each not in hashes]
    return sorted([*hashes.values(), *rest])


def _lasting(graph: Graph) -> set[str]:
    """Return the nodes that matter: not those that give nothing but the name of the file."""
    users: Counter[str] = Counter()
    for node in graph.nodes.values():
        users.update(link.node for link in node.links.values())
    saving = Counter(
        link.node
        for node in graph.nodes.values()
        for name, link in node.links.items()
        if _is_volatile_link(node, name)
    )
    kept = set(graph.nodes)
    dropped = [each for each, count in saving.items() if each in kept and users[each] == count]
    while dropped:
        node_id = dropped.pop()
        if node_id not in kept:
            continue
        kept.remove(node_id)
        for link in graph.nodes[node_id].links.values():
            users[link.node] -= 1
            if link.node in kept and users[link.node] == saving[link.node]:
                dropped.append(link.node)
    return kept


def _is_volatile_link(node: Node, name: str) -> bool:
    return name in _SAVE_NAMES or (not words(name).isdisjoint(_SAVE_WORDS) and _saves(node))


def _saves(node: Node) -> bool:
    return any(name in node.links for name in _SAVED)


def _hash(node: Node, hashes: Mapping[str, str], is_seeding: bool) -> str:
    inputs: dict[str, Any] = {}
    for name, value in node.values.items():
        if not _is_volatile(node, name, value, is_seeding):
            inputs[name] = _plain(value)
    for name, link in node.links.items():
        if not _is_volatile_link(node, name):
            inputs[name] = {"from": [hashes.get(link.node, ""), link.slot]}
    return hashlib.sha256(_ENCODER.encode([node.kind, inputs]).encode()).hexdigest()[:32]


def _is_volatile(node: Node, name: str, value: Any, is_seeding: bool) -> bool:
    named = words(name)
    if name in _LEFT_OUT or name in _SAVE_NAMES:
        return True
    if isinstance(value, int) and not isinstance(value, bool) and (is_seeding or "seed" in named):
        return True
    if is_media_file(value) or (isinstance(value, str) and value in CONTROLS):
        return True
    if isinstance(value, str) and not named.isdisjoint(_SAVE_WORDS) and _saves(node):
        return not _MODEL.search(value[-20:])
    return "show" in words(node.kind) and name.startswith("text_")


def _plain(value: Any) -> Any:
    """8.0 and 8 are one number: a script may write the former where the page writes the latter."""
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 1e15 else value
