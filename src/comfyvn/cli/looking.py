"""The commands that print tables: ``list``, ``facets`` and ``doctor``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import click

from comfyvn.cli.shared import emit_list, json_option, open_library, size_of
from comfyvn.registry import console
from comfyvn.registry.conditions import filtered, resolved, tell_unknown

if TYPE_CHECKING:
    from comfyvn.studio.core import AssetRecord, AssetRegistry

__all__ = ["doctor", "facets", "list_command", "print_assets"]

_ROWS_SHOWN: Final = 50
# the columns of a list, and the width of terminal from which each is shown
_COLUMNS: Final = {"uid": 0, "type": 110, "path": 0, "size": 100, "tags": 0, "licence": 0, "preview": 90}


@click.command(name="list")
@filtered
@click.option("--limit", type=click.IntRange(0, 2**31), help="At most so many; 0 for all. [50; JSON: all]")
@click.option("--cursor", type=click.IntRange(1, 2**53), help="Go on behind the asset with this id.")
@json_option
@console.library_options
def list_command(
    wanted: dict[str, Any],
    limit: int | None,
    cursor: int | None,
    as_json: bool,
    **library: str | None,
) -> int:
    """List registered assets, newest first; all conditions given must hold.

    Where nothing is found, it says which of the values no asset has.
    """
    with open_library(library) as registry:
        wanted = resolved(registry, wanted)
        if as_json:
            rows = _pages(registry, wanted, limit or None, cursor)
            emit_list("items", rows)
            if not registry.list_assets(limit=1, **wanted):
                tell_unknown(registry, wanted)
            return 0
        count = _ROWS_SHOWN if limit is None else limit or None
        records = registry.list_assets(limit=count, cursor=cursor, **wanted)
        total = registry.count_assets(**wanted)
        print_assets(
            records, f"{len(records)} of {total} assets" if len(records) < total else f"{total} assets"
        )
        if records and len(records) == count and len(records) < total:
            console.echo(f"More: add --cursor {records[-1]['id']}, or --limit 0 for all.")
        if not total:
            tell_unknown(registry, wanted)
    return 0


@click.command()
@filtered
@click.option(
    "--tags", "top_tags", type=click.IntRange(1, 10_000), default=100, help="At most so many tags. [100]"
)
@json_option
@console.library_options
def facets(
    wanted: dict[str, Any],
    top_tags: int,
    as_json: bool,
    **library: str | None,
) -> int:
    """Count assets by type, licence, tag, making and problem; of all, or those for which the conditions hold.

    Each list is counted under the other conditions, without its own: with --type audio the types are still
    those of all assets, the licences and tags those of sounds.
    """
    with open_library(library) as registry:
        wanted = resolved(registry, wanted)
        found = registry.facets(**wanted, top_tags=top_tags)
        if not found["total"]:
            tell_unknown(registry, wanted)
    if as_json:
        console.emit_json(found)
        return 0
    wrong = [each for each in found["problems"] if each["count"]]
    for title, counts in (
        ("type", found["types"]),
        ("licence", found["licenses"]),
        ("tag", found["tags"]),
        ("model", found["models"]),
        ("LoRA", found["loras"]),
        ("sampler", found["samplers"]),
        ("tool", found["tools"]),
        ("problem", wrong),
    ):
        table = _table(title, "assets")
        for each in counts:
            table.add_row(console.plain(each["value"] or "(none)"), f"{each['count']:,}")
        if counts:
            _print(table)
    console.echo(f"{found['total']:,} assets")
    return 0


@click.command()
@json_option
def doctor(as_json: bool) -> int:
    """Tell where everything lies and why, what is installed, and whether it is sound.

    The first thing to paste into a bug report. Changes nothing. Exit code 1: a problem was found.
    """
    from comfyvn.config import load
    from comfyvn.registry.doctor import examine

    findings = list(examine(load()))
    if as_json:
        console.emit_json({"findings": [finding.as_dict() for finding in findings]})
    else:
        from rich.text import Text

        table = _table("", "what", "value", "why")
        marks = {"ok": "", "note": "note", "problem": "PROBLEM"}
        for finding in findings:
            style = {"problem": "bold red", "note": "yellow"}.get(finding.level, "")
            cells = (marks[finding.level], f"{finding.group}: {finding.name}", finding.value, finding.why)
            table.add_row(*(Text(console.plain(cell), style=style) for cell in cells))
        _print(table)
    return 1 if any(finding.level == "problem" for finding in findings) else 0


# -- inside -------------------------------------------------------------------------------------------


def _pages(
    registry: AssetRegistry,
    wanted: dict[str, Any],
    limit: int | None,
    cursor: int | None,
) -> Iterator[AssetRecord]:
    """Yield records page by page, so that memory does not grow with the library."""
    left = limit
    while left is None or left > 0:
        count = 500 if left is None else min(500, left)
        page = registry.list_assets(limit=count, cursor=cursor, **wanted)
        yield from page
        if len(page) < count:
            return
        cursor, left = page[-1]["id"], None if left is None else left - len(page)


def _table(*columns: str) -> Any:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column == "uid")  # a uid is there to be copied
    return table


def _width() -> int | None:
    """Return the width of tables: that of the terminal (None), elsewhere enough for all columns."""
    return None if sys.stdout.isatty() else 160


def _print(*things: Any) -> None:
    from rich.console import Console

    for thing in things:
        Console(width=_width(), soft_wrap=False, markup=False, highlight=False).print(thing)


def print_assets(records: list[AssetRecord], title: str) -> None:
    """Print a table of assets, with as many columns as the terminal has room for, and a line below it."""
    from rich.console import Console
    from rich.text import Text

    width = Console(width=_width()).width
    shown = [name for name, least in _COLUMNS.items() if width >= least]
    table = _table(*shown)
    for record in records:
        preview = record["preview"] or {}
        state = preview.get("kind", "none") if record["preview_state"] == "ready" else record["preview_state"]
        cells = {
            "uid": record["uid"],
            "type": record["type"],
            "path": record["path"] + (" (missing)" if record["missing_since"] else ""),
            "size": size_of(record["bytes"]),
            "tags": ", ".join(record["tags"]),
            "licence": record["license"] or "",
            "preview": state,
        }
        table.add_row(*(Text(console.plain(cells[name])) for name in shown))
    if records:
        _print(table)
    console.echo(title)
