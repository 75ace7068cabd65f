"""The values that reach an input: its own, or the one that stands at the other end of its link."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

from comfyvn.generation.comfyui.graph import Graph, Link, Node, natural, one_of
from comfyvn.generation.comfyui.handing import JOINERS, handed_on, keeps
from comfyvn.generation.comfyui.roles import Fits, choices, is_branch, is_group, is_whole

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
                    return self._linked(node.links[name], fits)
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

    def _linked(self, link: Link, fits: Fits) -> tuple[Any, str] | None:
        """Follow a link as long as each node hands on what it is given."""
        for _ in range(_MOST_HOPS):
            node = self.node(link)
            name = handed_on(node, link.slot)
            if name is None:
                offered = self._switched(node, link.slot)
                if len(offered) != 1:
                    return None
                link = offered[0]
            elif name in node.links:
                link = node.links[name]
            else:
                value = node.values[name]
                is_known = fits(value) and keeps(node, value)
                return (value, self.place(node, name)) if is_known else None
        return None

    def _switched(self, node: Node, slot: int) -> list[Link]:
        """Return where the value of an output may come from, if it is one of those that a switch is given.

        What is given one text only may choose a part of it, unless its input is named as one of several.
        """
        offered = self.choices(node) if slot == 0 else None
        if offered is None or len(offered) > 1:
            return offered or []
        return [
            link
            for link in offered
            if any(is_branch(name) for name in node.links if node.links[name] == link)
        ]

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
        name = handed_on(node, link.slot)
        if name is not None:
            value = node.values.get(name)
            own = (value, self.place(node, name)) if isinstance(value, str) else None
            told = self.text(node.links[name], depth + 1) if name in node.links else own
            return told if told and keeps(node, told[0]) else None
        if node.kind in JOINERS and link.slot == 0:
            return self._joined(node, depth)
        offered = self._switched(node, link.slot)
        found = [self.text(each, depth + 1) for each in offered[:_MOST_CHOICES]]
        is_one = len(offered) <= _MOST_CHOICES and len({each and each[0] for each in found}) == 1
        return found[0] if is_one else None

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
