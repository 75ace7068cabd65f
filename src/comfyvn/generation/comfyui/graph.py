"""A graph of nodes as it ran, and how the names in it are taken apart."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, NamedTuple, TypeGuard

__all__ = [
    "CONTROLS",
    "MOST_INPUTS",
    "MOST_NODES",
    "UNNAMED",
    "Graph",
    "Link",
    "Node",
    "is_media_file",
    "is_number",
    "natural",
    "one_of",
    "words",
]

CONTROLS: Final = frozenset({"fixed", "increment", "decrement", "randomize", "increment-wrap"})
"""What the page may do with a seed after each run; stands behind the seed among the values of a node."""
MOST_NODES: Final = 20_000
"""A graph with more is taken for damage."""
MOST_INPUTS: Final = 1_000
"""A node with more is taken for damage too, and keeps none."""
UNNAMED: Final = "widgets_values"
"""The input that stands for all values whose names aren't known: they tell no facts, but workflows apart."""
_LONGEST_NAME: Final = 80
_MEDIA: Final = re.compile(
    r"\.(?:png|jpe?g|webp|gif|bmp|tiff?|avif|heic|jxl|psd|exr|mp4|webm|mkv|mov|avi|m4v|wav|mp3|flac|ogg|opus|m4a)"
    r"(?: ?\[(?:input|output|temp)\])?$",
    re.IGNORECASE,
)


class Link(NamedTuple):
    """Where an input comes from: an output of another node."""

    node: str
    slot: int


@dataclass(slots=True, eq=False)
class Node:
    """A node that ran: ``kind`` is its class; each input has either a value or a link."""

    id: str
    kind: str
    values: dict[str, Any] = field(default_factory=dict)
    links: dict[str, Link] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class Graph:
    """All nodes by id; ``place`` is the text it came from: ``prompt`` (API format) or ``workflow`` (page)."""

    place: str
    nodes: dict[str, Node]


def one_of(names: str) -> frozenset[str]:
    """Return a set of names, written with spaces between them."""
    return frozenset(names.split())


def is_number(value: object) -> TypeGuard[float]:
    """Is this a finite number? True and False are none."""
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool)


def is_media_file(value: object) -> bool:
    """Is this the name of a picture, film or sound, as a loader holds it (``mara.png [input]``)?"""
    return isinstance(value, str) and len(value) < 1000 and _MEDIA.search(value[-30:]) is not None


def words(name: str) -> frozenset[str]:
    """Return the words of the name of an input or class, lower case, without digits.

    >>> sorted(words("VAEDecode")), sorted(words("text_g1")), sorted(words("latent_image"))
    (['decode', 'vae'], ['g', 'text'], ['image', 'latent'])
    """
    return _words(name) if len(name) <= _LONGEST_NAME else frozenset()


@lru_cache(maxsize=4096)
def _words(name: str) -> frozenset[str]:
    parts = re.findall(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|[^\W\d_a-zA-Z]+", name)
    return frozenset(part.lower() for part in parts)


def natural(name: str) -> list[tuple[int, str]]:
    """Return a sort key by which ``lora_2`` stands before ``lora_10``."""
    return [
        (int(part), "") if part.isdecimal() and len(part) < 10 else (0, part)
        for part in re.split(r"(\d+)", name[:_LONGEST_NAME])
    ]
