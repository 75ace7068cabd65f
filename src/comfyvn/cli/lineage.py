"""The commands of the lineage: ``lineage``, ``link``, ``unlink``, and those below ``proposal``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import click

from comfyvn.cli.shared import json_option, open_library
from comfyvn.errors import AssetNotFound
from comfyvn.model import LINK_KINDS
from comfyvn.registry import console

if TYPE_CHECKING:
    from rich.text import Text
    from rich.tree import Tree

    from comfyvn.studio.core import AssetRegistry
    from comfyvn.studio.core.lineage import Direction, LineageEdge, LineageNode, LineageRecord

__all__ = ["lineage", "link", "proposal", "unlink"]

_UNCUT: Final = 100_000
_kind: Final = click.option("--kind", type=click.Choice(LINK_KINDS), help="Only this kind of origin. [all]")


@click.command()
@click.argument("uid")
@click.option("--ancestors", "direction", flag_value="ancestors", help="Only what it came from.")
@click.option("--descendants", "direction", flag_value="descendants", help="Only what came from it.")
@click.option(
    "--depth", type=click.IntRange(1, 1_000), default=20, show_default=True, help="So many levels each way."
)
@click.option("--rejected", is_flag=True, help="Show also what somebody rejected.")
@json_option
@console.library_options
def lineage(
    uid: str,
    direction: Direction | None,
    depth: int,
    rejected: bool,
    as_json: bool,
    **library: str | None,
) -> int:
    """Show what an asset came from, and what came from it: by its uid, the beginning of that, or its path.

    What is only likely is marked so: `comfyvn proposal confirm` or `comfyvn proposal reject` decides. At most
    10,000 assets are shown.
    """
    with open_library(library) as registry:
        known = registry.resolve_uid(uid) or uid
        found = registry.lineage(known, direction or "both", depth, with_rejected=rejected)
    if as_json:
        console.emit_json(found)
        return 0
    for way in ("ancestors", "descendants"):
        if direction in (None, way):
            _print(_tree(found, is_up=way == "ancestors"))
    if found["truncated"]:
        console.echo(f"There is more beyond {depth} levels or {len(found['nodes']):,} assets.")
    return 0


@click.command()
@click.argument("child")
@click.argument("parent")
@click.option(
    "--kind", type=click.Choice(LINK_KINDS), default="manual", show_default=True, help="How it came of it."
)
@json_option
@console.library_options
def link(child: str, parent: str, kind: str, as_json: bool, **library: str | None) -> int:
    """Note that the asset CHILD came from the asset PARENT: by uids, their beginnings, or paths.

    Exit code 3: one of them is unknown. 4: PARENT came from CHILD.
    """
    with _change(library, child, parent, as_json) as (registry, uids, operation):
        registry.link(*uids, kind, operation=operation)
    return 0


@click.command()
@click.argument("child")
@click.argument("parent")
@_kind
@json_option
@console.library_options
def unlink(child: str, parent: str, kind: str | None, as_json: bool, **library: str | None) -> int:
    """Forget that the asset CHILD came from PARENT, which need not be in the library.

    What is found out by itself may be found again; `comfyvn proposal reject` says no for good. Exit code 3:
    CHILD is unknown, or not known to come from PARENT.
    """
    with _change(library, child, parent, as_json) as (registry, uids, operation):
        registry.unlink(*uids, kind, operation=operation)
    return 0


@click.group()
def proposal() -> None:
    """List, confirm and reject the likely parents of assets: what was found out, but is not certain."""


@proposal.command("list")
@click.option("--of", "uid", help="Only the parents of this asset.")
@click.option(
    "--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="At most so many."
)
@click.option("--cursor", type=click.IntRange(1, 2**53), help="Go on behind the proposal with this id.")
@json_option
@console.library_options
def list_proposals(
    uid: str | None, limit: int, cursor: int | None, as_json: bool, **library: str | None
) -> int:
    """List what waits for confirmation, the newest first."""
    with open_library(library) as registry:
        known = None if uid is None else _uid(registry, uid)
        found = registry.proposed_parents(known, limit=limit, cursor=cursor)
    if as_json:
        console.emit_json({"items": found})
        return 0
    for each in found:
        parent = each["parent_path"] or "not in the library"
        console.echo(f"{each['child']} from {each['parent']}: {each['kind']}, found by {each['found']}")
        console.echo(f"  {each['child_path']} from {parent}")
    if not found:
        console.echo("Nothing waits for confirmation.")
    elif len(found) == limit:
        console.echo(f"More: add --cursor {found[-1]['id']}.")
    return 0


@proposal.command()
@click.argument("child")
@click.argument("parent")
@_kind
@json_option
@console.library_options
def confirm(child: str, parent: str, kind: str | None, as_json: bool, **library: str | None) -> int:
    """Say that CHILD certainly came from PARENT.

    Exit code 3: nobody said that it did; `comfyvn link` does. 4: PARENT came from CHILD.
    """
    with _change(library, child, parent, as_json) as (registry, uids, operation):
        registry.confirm_parent(*uids, kind, operation=operation)
    return 0


@proposal.command()
@click.argument("child")
@click.argument("parent")
@_kind
@json_option
@console.library_options
def reject(child: str, parent: str, kind: str | None, as_json: bool, **library: str | None) -> int:
    """Say that CHILD did not come from PARENT: it is shown no more, and never proposed again.

    Exit code 3: nobody said that it did.
    """
    with _change(library, child, parent, as_json) as (registry, uids, operation):
        registry.reject_parent(*uids, kind, operation=operation)
    return 0


# -- inside -------------------------------------------------------------------------------------------


@contextmanager
def _change(
    library: dict[str, str | None], child: str, parent: str, as_json: bool
) -> Iterator[tuple[AssetRegistry, tuple[str, str], int]]:
    """Give the registry, the two uids and a new operation; then tell what the child comes from by now."""
    from comfyvn.registry import history as journal

    with open_library(library) as registry:
        uid, number = _uid(registry, child), registry.new_operation()
        yield registry, (uid, registry.resolve_uid(parent) or parent), number
        operation = journal.known_operation(registry, number)
        found = registry.lineage(uid, "ancestors", 1, with_rejected=True)
    parents = [each for each in found["edges"] if each["child"] == uid]
    if as_json:
        console.emit_json({"operation": operation, "uid": uid, "parents": parents})
        return
    nodes = {each["uid"]: each for each in found["nodes"]}
    for each in parents:
        console.echo(f"{nodes[uid]['path']} from {_name(nodes[each['parent']])}: {_how(each)}")
    if not parents:
        console.echo(f"{nodes[uid]['path']} comes from nothing that is known.")
    journal.tell_undo(operation)


def _uid(registry: AssetRegistry, name: str) -> str:
    uid = registry.resolve_uid(name)
    if uid is None:
        raise AssetNotFound(uid=name, project=registry.project_id)
    return uid


def _tree(found: LineageRecord, *, is_up: bool) -> Tree:
    """Return one way of a lineage as a tree; what is met again is shown without what is below it."""
    from rich.tree import Tree

    nodes = {each["uid"]: each for each in found["nodes"]}
    below: dict[str, list[tuple[str, LineageEdge]]] = {}
    for edge in reversed(found["edges"]):
        near, far = (edge["child"], edge["parent"]) if is_up else (edge["parent"], edge["child"])
        below.setdefault(near, []).append((far, edge))
    start = found["uid"]
    what = ("came from" if is_up else "became") + ("" if start in below else " nothing that is known")
    root = Tree(_label(f"{_name(nodes[start])} {what}"))
    met, waiting = {start}, [(root, *each) for each in below.get(start, ())]
    while waiting:
        branch, uid, edge = waiting.pop()
        again = " - see above" if uid in met else ""
        twig = branch.add(_label(f"{_name(nodes[uid])}: {_how(edge)}{again}"))
        if not again:
            met.add(uid)
            waiting += [(twig, *each) for each in below.get(uid, ())]
    return root


def _label(text: str) -> Text:
    from rich.text import Text

    return Text(console.plain(text))


def _print(tree: Tree) -> None:
    """Print a tree; lines are cut for a terminal alone."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else _UNCUT
    Console(markup=False, highlight=False, width=width).print(tree, soft_wrap=width is not None)


def _name(node: LineageNode) -> str:
    if node["path"] is None:
        return f"{node['uid']} (not in the library)"
    return f"{node['path']} ({node['uid']}{', missing' if node['is_missing'] else ''})"


def _how(edge: LineageEdge) -> str:
    sure = "" if edge["certainty"] == "certain" else f", {edge['certainty']}"
    return f"{edge['kind']}{sure}, found by {edge['found']}"
