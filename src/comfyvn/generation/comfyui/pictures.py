"""The pictures that went into a file, and what they were used for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from comfyvn.generation.comfyui.graph import Link, Node, one_of, words
from comfyvn.generation.comfyui.literals import Literals, places
from comfyvn.generation.comfyui.roles import is_bus, is_sampler, is_way, loaded_file, media_links, medium

__all__ = ["input_images"]

_NOT_A_PICTURE: Final = one_of(
    "width height seed steps cfg denoise text prompt string filename prefix size count fps rate"
)


_GUIDE: Final = "guide"
"""The role of what only guides, and of all behind it, even if that was sampled from another picture."""


class _Use(NamedTuple):
    """A node, and what is made of its pictures: their role, and whether they come as images or latents."""

    node: Node
    role: str | None
    medium: str | None


def input_images(saver: Node, literals: Literals) -> tuple[list[dict[str, str]], str] | None:
    """Return the pictures behind the file that a node saved, with their roles, and where they stand.

    Raises:
        Unsure: the way back is too long or leads where it can't be seen.
    """
    found: dict[tuple[str, str | None], str] = {}
    waiting = [_Use(saver, None, None)]
    seen: set[tuple[str, str | None, str | None]] = set()
    while waiting:
        use = waiting.pop()
        if (use.node.id, use.role, use.medium) in seen:
            continue
        seen.add((use.node.id, use.role, use.medium))
        if file := loaded_file(use.node):
            role = None if use.role == _GUIDE else use.role
            found.setdefault((file[1], role), literals.place(use.node, file[0]))
        else:
            onward = [_Use(literals.node(link), *how) for link, *how in _uses(use, literals)]
            waiting += reversed(onward)
    return _told_images(found)


def _uses(use: _Use, literals: Literals) -> Iterator[tuple[Link, str | None, str | None]]:
    offered = literals.choices(use.node)
    if offered is None:
        yield from _links_used(use)
    elif len(offered) == 1:
        yield offered[0], use.role, use.medium


def _links_used(use: _Use) -> Iterator[tuple[Link, str | None, str | None]]:
    """Yield what a node is given, each with the role that pictures behind it have, and what it brings."""
    node, role = use.node, use.role
    named = {name: words(name) for name in node.links}
    is_masked = any("mask" in each for each in named.values())
    controls = any({"control", "net"} <= each or "controlnet" in each for each in named.values())
    samples, carries = is_sampler(node) and role not in ("control", _GUIDE), is_bus(node)
    ways = {link for link, _ in media_links(node, use.medium)} if is_way(node, use.medium) else set()
    for name, link in node.links.items():
        brought = medium(node, name)
        is_elsewhere = carries and brought and (link not in ways or use.medium is None)
        if is_elsewhere or not named[name].isdisjoint(_NOT_A_PICTURE):
            continue
        if "mask" in named[name]:
            yield link, "mask" if role in ("img2img", "inpaint", "mask") else role, brought
        elif brought and controls:
            yield link, "control", brought
        elif samples:
            yield link, ("inpaint" if is_masked else "img2img") if brought else _GUIDE, brought
        elif link in ways:
            yield link, "inpaint" if is_masked and role == "img2img" else role, brought
        elif not words(name).isdisjoint({"pipe", "ctx", "context"}):
            yield link, role, use.medium
        else:
            yield link, role if len(node.links) == 1 else _GUIDE, brought


def _told_images(found: dict[tuple[str, str | None], str]) -> tuple[list[dict[str, str]], str] | None:
    """List each picture once for each role; its mask is part of a picture that is painted over."""
    roles: dict[str, list[str]] = {}
    for name, role in found:
        roles.setdefault(name, []).extend([role] if role else [])
    images = list[dict[str, str]]()
    for name, held in roles.items():
        kept = [role for role in held if not ("inpaint" in held and role in ("mask", "img2img"))]
        images += [{"name": name, "role": role} for role in kept] or [{"name": name}]
    return (images, places(found.values())) if images else None
