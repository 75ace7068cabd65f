"""The values that reach an input: its own, or the one that stands at the other end of its link."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

from comfyvn.generation.comfyui.graph import CONTROLS, Graph, Link, Node, natural, one_of, words
from comfyvn.generation.comfyui.roles import Fits, choices, is_bus, is_group, is_whole, shows

__all__ = ["Facts", "Literals", "Unsure", "agreed", "places"]

Facts = dict[str, tuple[Any, str]]
"""Facts by name, each with the place where it was read."""

_FREE_STEPS: Final = 50_000
_STEPS_PER_INPUT: Final = 20
_MOST_STEPS: Final = 2_000_000
_MOST_HOPS: Final = 30
_MOST_CHOICES: Final = 8
_DEEPEST_TEXT: Final = 16
_LONGEST_TEXT: Final = 100_000
_MOST_PLACES: Final = 10
_LONGEST_PLACE: Final = 80
# A node that offers several values hands them on by their names; a size or a count of steps it may change.
_NAMED: Final = one_of("seed noise_seed cfg sampler_name scheduler")
_CHANGES_TEXT: Final = one_of(
    "wildcard wildcards random translate translator translation llm gpt chat lower upper case reverse replace"
    " load file style styler tagger interrogate generate generator ollama trim strip regex split parse parser"
)
_COMPUTES: Final = one_of(
    "random math expression eval evaluate calculate calculator compute operation arithmetic"
)
"""Words of nodes whose output is none of their inputs."""
_DELIMITERS: Final = one_of("delimiter separator")


class Unsure(Exception):
    """What was looked for can't be told for sure."""


def agreed(alternatives: Sequence[Facts]) -> Facts:
    """Return the facts that are the same in all of them."""
    if not alternatives:
        return {}
    first, *others = alternatives
    return {
        name: found
        for name, found in first.items()
        if all(name in other and other[name][0] == found[0] for other in others)
    }


def places(each: Iterable[str]) -> str:
    """Return where a fact was read, if at several places."""
    return ", ".join(list(dict.fromkeys(each))[:_MOST_PLACES])


class Literals:
    """The values in a graph."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        size = sum(1 + len(node.values) + len(node.links) for node in graph.nodes.values())
        self._steps_left = min(_FREE_STEPS + _STEPS_PER_INPUT * size, _MOST_STEPS)
        self._texts: dict[Link, tuple[str, str] | None] = {}

    def node(self, link: Link) -> Node:
        """Return the node behind a link.

        Raises:
            Unsure: there is none, what it does can't be seen, or following links has taken too long.
        """
        node = self._graph.nodes.get(link.node)
        if node is None or is_group(node) or self._steps_left < 0:
            raise Unsure
        self._steps_left -= 1 + len(node.values) + len(node.links)
        return node

    def node_place(self, node: Node) -> str:
        """Return how a node is named where facts say where they were read."""
        return f"{self._graph.place} node {node.id[:_LONGEST_PLACE]}"

    def place(self, node: Node, name: str) -> str:
        """Return how an input of a node is named where facts say where they were read."""
        return f"{self.node_place(node)}.{name[:_LONGEST_PLACE]}"

    def own(self, node: Node, names: Iterable[str], fits: Fits) -> tuple[Any, str] | None:
        """Return the value of the first of these inputs that has one, and its place."""
        for name in names:
            if name in node.links:
                try:
                    return self._linked(node.links[name], name, fits)
                except Unsure:
                    return None
            if name in node.values and fits(node.values[name]):
                return node.values[name], self.place(node, name)
        return None

    def choices(self, node: Node) -> list[Link] | None:
        """Return what a switch may hand on, one link if it is known which; None if this is no switch."""

        def decided(name: str) -> object:
            found = self.own(node, (name,), lambda value: isinstance(value, bool) or is_whole(value))
            return found and found[0]

        return choices(node, decided)

    def _linked(self, link: Link, name: str, fits: Fits) -> tuple[Any, str] | None:
        """Follow a link while it leads to one value only."""
        for _ in range(_MOST_HOPS):
            node = self.node(link)
            if not words(node.kind).isdisjoint(_COMPUTES):
                return None
            fitting = [each for each, value in node.values.items() if fits(value) and value not in CONTROLS]
            if not node.links:
                alike = _NAMED & set(fitting) & ({"seed", "noise_seed"} if "seed" in name else {name})
                fitting = list(alike) or fitting
                return (node.values[fitting[0]], self.place(node, fitting[0])) if len(fitting) == 1 else None
            offered = self.choices(node)
            if offered is None and is_bus(node):
                offered = [node.links[name]] if name in node.links else None
            elif offered is None and len(node.links) == 1 and not fitting:
                offered = list(node.links.values())
            if offered is None or len(offered) != 1:
                return None
            link = offered[0]
        return None

    def text(self, link: Link, depth: int = 0) -> tuple[str, str] | None:
        """Return the text that comes over a link, and its place; None if it can't be told for sure."""
        if link not in self._texts:
            self._texts[link] = None  # a cycle has no text
            try:
                found = self._text(link, depth) if depth < _DEEPEST_TEXT else None
            except Unsure:
                found = None
            self._texts[link] = found if found and len(found[0]) <= _LONGEST_TEXT else None
        return self._texts[link]

    def _text(self, link: Link, depth: int) -> tuple[str, str] | None:
        node = self.node(link)
        offered = self.choices(node)
        if offered is not None:
            found = [self.text(each, depth + 1) for each in offered[:_MOST_CHOICES]]
            is_one = len(offered) <= _MOST_CHOICES and len({each and each[0] for each in found}) == 1
            return found[0] if is_one else None
        kind = words(node.kind)
        if kind & {"concat", "concatenate", "join"}:
            return self._joined(node, depth)
        if shows(node):
            return self.text(next(iter(node.links.values())), depth + 1) if len(node.links) == 1 else None
        if not kind.isdisjoint(_CHANGES_TEXT) or link.slot != 0:
            return None
        if len(node.links) == 1 and not node.values:
            return self.text(next(iter(node.links.values())), depth + 1)
        if node.links or len(node.values) != 1:
            return None
        [(name, value)] = node.values.items()
        return (value, self.place(node, name)) if isinstance(value, str) else None

    def _joined(self, node: Node, depth: int) -> tuple[str, str] | None:
        """Join texts as the node does; None where nodes of this kind do it in different ways.

        ComfyUI's own joins whatever it is given. Others may leave out empty texts or the space around them,
        so that only texts without either are sure.
        """
        delimiter, parts = "", []
        for name in sorted([*node.values, *node.links], key=natural):
            value = node.values.get(name)
            found = self.text(node.links[name], depth + 1) if name in node.links else None
            text = found[0] if found else value
            if name == "clean_whitespace" and name in node.values:
                continue
            if not isinstance(text, str):
                return None
            if name in _DELIMITERS:
                delimiter = text
            elif re.fullmatch(r"(?:text|string|str|prompt)_?(?:[a-z]|\d{1,2})", name):
                parts.append(text)
            else:
                return None
        if node.kind != "StringConcatenate" and (
            "\\" in delimiter or any(not part or part != part.strip() for part in parts)
        ):
            return None
        return (delimiter.join(parts), self.node_place(node)) if len(parts) > 1 else None
