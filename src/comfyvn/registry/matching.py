"""The command ``match``: pictures that lost what their files told, and where they came from."""

from __future__ import annotations

import re
from collections import Counter
from typing import Final

import click

from comfyvn.errors import AssetNotFound
from comfyvn.registry import console
from comfyvn.registry import history as journal
from comfyvn.studio.core import AssetRegistry
from comfyvn.studio.core.matching import MatchRecord

__all__ = ["command"]

_REASONS_SHOWN: Final = 8
_ONE: Final = re.compile(r"(known: |came from |looks like ).*?(?= waits |, but |, which |$)")
"""The other picture that a reason names."""


@click.command("match")
@click.argument("assets", nargs=-1)
@click.option("--dry-run", is_flag=True, help="Only tell; link and propose nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as one JSON document.")
@console.library_options
def command(assets: tuple[str, ...], dry_run: bool, as_json: bool, **library: str | None) -> int:
    """Find the origins of pictures whose metadata is gone: of all, or of those named by uid or path.

    A picture with the very pixels of another one that tells what made it is linked to that. One whose twin
    tells nothing, or that only looks like another, is proposed: `comfyvn proposal list` shows what waits for
    a word. Where several could be meant, nothing is.
    Exit code 1: something could not be written; each is named with its reason. 3: one of those named is
    unknown.
    """
    console.set_up_logging()
    with console.open_registry(**library, makes=False) as registry:
        uids = [_resolved(registry, each) for each in assets] or None
        operation = None if dry_run else registry.new_operation()
        items, counts, reasons = _match(registry, uids, operation, is_quiet=as_json)
        done = None if operation is None else journal.known_operation(registry, operation)
    if as_json:
        console.emit_json({"operation": done, "counts": counts, "items": items})
        return 1 if counts["failed"] else 0
    for item in items:
        console.echo(_described(item), err=item["status"] == "failed")
    told = ", ".join(f"{count:,} {status}" for status, count in counts.items())
    console.echo(told + ("; nothing was written." if dry_run else "."))
    if uids is None:
        for reason, count in reasons.most_common(_REASONS_SHOWN):
            console.echo(f"  {count:,} nothing: {reason}")
        if len(reasons) > _REASONS_SHOWN:
            console.echo("  and for other reasons; `comfyvn match UID` tells why of one.")
    if done is not None:
        journal.tell_undo(done)
    if counts["proposed"] and not dry_run:
        console.echo("`comfyvn proposal list` shows what waits for confirmation.")
    return 1 if counts["failed"] else 0


def _match(
    registry: AssetRegistry, uids: list[str] | None, operation: int | None, *, is_quiet: bool
) -> tuple[list[MatchRecord], Counter[str], Counter[str]]:
    """Look for origins; return what was found, how many pictures became what, and why so many nothing.

    Reasons that name another picture are counted together.
    """
    statuses = ("linked", "proposed", "ambiguous", "nothing", "failed")
    items, counts = list[MatchRecord](), Counter[str](dict.fromkeys(statuses, 0))
    reasons = Counter[str]()
    with console.progress("Looking for origins", quiet=is_quiet) as bar:
        found = registry.match(uids, dry_run=operation is None, operation=operation, on_look=bar.advance)
        for item in found:
            counts[item["status"]] += 1
            if item["status"] != "nothing" or uids is not None:
                items.append(item)
            if item["status"] == "nothing":
                reasons[_ONE.sub(r"\1another picture", item["reason"] or "")] += 1
    return items, counts, reasons


def _resolved(registry: AssetRegistry, name: str) -> str:
    uid = registry.resolve_uid(name)
    if uid is None:
        raise AssetNotFound(uid=name, project=registry.project_id)
    return uid


def _described(item: MatchRecord) -> str:
    path = f"{item['path']} ({item['uid']})"
    if item["parent"] is not None:
        sure = "" if item["status"] == "linked" else " likely"
        same = "its pixels are the same" if item["found"] == "pixels" else "it looks the same"
        return f"{path} came{sure} from {item['parent_path']} ({item['parent']}): {same}"
    if item["status"] == "ambiguous":
        why = item["reason"] or "each of them could be meant"
        return f"{path} may be of {', '.join(item['candidates'])}: {why}"
    return f"{path}: {item['reason']}"
