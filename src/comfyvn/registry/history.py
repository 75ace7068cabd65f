"""`history`, `undo`, `restore`, `purge`: the journal for people."""

from __future__ import annotations

import itertools
import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import click

from comfyvn.errors import (
    AssetNotFound,
    ComfyVNError,
    ConfirmationNeeded,
    LibraryUnreachable,
    RegistryUnusable,
)
from comfyvn.registry import console

if TYPE_CHECKING:
    from comfyvn.studio.core import AssetRecord, AssetRegistry
    from comfyvn.studio.core.history import HistoryEntry, PurgeReport, Refused, UndoReport
    from comfyvn.studio.core.operations import OperationRecord

__all__ = ["describe_entry", "history", "known_operation", "purge", "restore", "tell_undo", "undo"]

_SHOWN: Final = 50
_REASONS_SHOWN: Final = 30
_VALUE_WIDTH: Final = 60
_DERIVED: Final = frozenset({"tags", "license", "version", "preview", "thumbnails"})
_EVENTS: Final = {
    "asset_registered": "registered",
    "asset_meta_updated": "edited",
    "asset_removed": "removed",
    "asset_restored": "brought back",
    "asset_provenance_added": "given provenance",
    "asset_facts_read": "with the facts of its making read",
    "asset_content_changed": "with new content",
    "asset_moved": "moved",
    "asset_missing": "missing",
    "asset_healed": "with the hash of an older release put right",
}
_EDITED: Final = "asset_meta_updated"
_NO_LINK: Final = (None, None)
# what became of a link, from how sure it was to how sure it is: in a word, and in full
_LINKS: Final[Mapping[tuple[str | None, str | None], tuple[str, str]]] = {
    (None, "certain"): ("linked", "linked to {name}"),
    (None, "likely"): ("proposed a parent", "likely parent {name} proposed, found by {found}"),
    (None, "rejected"): ("with a parent rejected", "parent {name} rejected"),
    ("likely", "certain"): ("linked", "linked to {name}, which was likely: confirmed"),
    ("certain", None): ("unlinked", "unlinked from {name}"),
    ("likely", None): ("with a proposal withdrawn", "likely parent {name} no longer proposed"),
    ("rejected", None): ("with a rejection withdrawn", "parent {name} no longer rejected"),
}
_ASSETS_TOLD: Final = 20
_json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")


# -- the commands -------------------------------------------------------------------------------------


@click.command()
@click.argument("uid", required=False)
@click.option(
    "--limit", type=click.IntRange(1, 2**31), default=_SHOWN, show_default=True, help="At most so many."
)
@click.option(
    "--cursor",
    type=click.IntRange(1, 2**53),
    help="Go on behind this operation; of an asset: behind this seq.",
)
@_json_option
@console.library_options
def history(uid: str | None, limit: int, cursor: int | None, as_json: bool, **library: str | None) -> int:
    """Tell what was done to the library, newest first, or to one asset: by uid, beginning of one, or path.

    The number of an operation is what `comfyvn undo` wants. Removed assets have their history too.
    """
    with _registry(library) as registry:
        if uid is None:
            operations = registry.operations(limit=limit, cursor=cursor)
            if as_json:
                console.emit_json({"items": operations})
            else:
                _print_operations(registry, operations, limit)
            return 0
        known = registry.resolve_uid(uid) or registry.resolve_removed_uid(uid) or uid
        newest = registry.history(known, limit=1)
        if not newest and registry.get_asset(known) is None:
            raise AssetNotFound(uid=uid, project=registry.project_id)
        if as_json:
            console.emit_json({"uid": known, "items": registry.history(known, limit=limit, cursor=cursor)})
        else:
            _print_entries(registry, known, limit, cursor)
    return 0


@click.command()
@click.argument("operation", type=click.IntRange(1, 2**63 - 1))
@_json_option
@console.library_options
def undo(operation: int, as_json: bool, **library: str | None) -> int:
    """Take an operation back: an edit, a bulk edit, a registration, a removal, a purge, or an undo.

    What was changed since is left as it is and named. Exit code 1: some of it was refused. 3: no such
    operation. 4: nothing of it could be taken back.
    """
    with _registry(library) as registry:
        report = registry.undo(operation)
    if as_json:
        console.emit_json(report)
    else:
        _print_undo(report)
    if not report["undone"]:
        return 4
    return 1 if report["refused"] else 0


@click.command()
@click.argument("uids", nargs=-1, required=True)
@_json_option
@console.library_options
def restore(uids: tuple[str, ...], as_json: bool, **library: str | None) -> int:
    """Bring removed assets back, by uid or its beginning: file, sidecar, tags, licence, provenance.

    Exit code 1: some could not be brought back. 3: a uid was never removed. 4: none could be brought back.
    """
    restored: list[AssetRecord] = []
    refused: list[dict[str, str]] = []
    codes: set[int] = set()
    with _registry(library) as registry:
        new = registry.new_operation()
        for name in dict.fromkeys(uids):
            try:
                uid = registry.resolve_removed_uid(name) or registry.resolve_uid(name) or name
                restored.append(registry.restore_asset(uid, operation=new))
            except (RegistryUnusable, LibraryUnreachable):
                raise
            except (ComfyVNError, OSError) as error:
                codes.add(getattr(error, "exit_code", 1))
                refused.append({"uid": name, "why": str(error)})
        operation = known_operation(registry, new)
    if as_json:
        console.emit_json({"operation": operation, "restored": restored, "refused": refused})
    else:
        for record in restored:
            where = " (its file is still missing)" if record["missing_since"] else ""
            console.echo(f"{record['uid']}: back at {record['path']}{where}")
        for each in refused:
            console.echo(f"comfyvn: {each['why']}", err=True)
        tell_undo(operation)
    if 3 in codes:
        return 3
    return 0 if not refused else 1 if restored else 4


@click.command()
@click.argument("uids", nargs=-1)
@click.option("--yes", is_flag=True, help="Forget them without asking.")
@click.option("--dry-run", is_flag=True, help="Only list them; change nothing.")
@_json_option
@console.library_options
def purge(uids: tuple[str, ...], yes: bool, dry_run: bool, as_json: bool, **library: str | None) -> int:
    """Forget assets whose file is gone: all that a rebuild has marked missing, or those named.

    Lists them and asks first. Their sidecars go to the trash; `comfyvn undo` and `comfyvn restore` bring
    them back. With --json nothing is asked and nothing is forgotten without --yes.

    Exit code 1: some were refused. 3: a uid is unknown. 4: all were refused, or nobody was there to ask.
    """
    with _registry(library) as registry:
        report, listed = _plan_purge(registry, uids)
        if not as_json:
            _print_missing(listed)
        is_wanted = yes and not dry_run
        if listed and not (yes or as_json or dry_run):
            is_wanted = _ask(len(listed))
        if is_wanted:
            named = [each["uid"] for each in report["refused"]] + report["unknown"]
            report = registry.purge([*(record["uid"] for record in listed), *named])
    if as_json:
        console.emit_json({"missing": listed, **report})
    else:
        if listed and not dry_run:
            console.echo(f"{len(report['purged'])} forgotten.")
        _print_refused(report["refused"])
        tell_undo(report["operation"])
    return _purge_code(report)


# -- what other commands use --------------------------------------------------------------------------


def known_operation(registry: AssetRegistry, operation: int) -> int | None:
    """Return the number of an operation if it changed anything, else None."""
    newest = registry.operations(limit=1, cursor=operation + 1)
    return operation if newest and newest[0]["operation"] == operation else None


def tell_undo(operation: int | None) -> None:
    """Print how to take an operation back, if it changed anything."""
    if operation is not None:
        console.echo(f"Undo with: comfyvn undo {operation}")


def describe_entry(entry: HistoryEntry) -> str:
    """Say in words what one row of the journal changed.

    >>> facts = {"meta": {"tags": ["a"], "license": None}, "extra": {}}
    >>> then = {"meta": {"tags": ["b"], "license": "CC0-1.0"}, "extra": {}}
    >>> rest = {"seq": 1, "at": "", "actor": None, "uid": "", "operation": 1}
    >>> describe_entry({"event": "asset_meta_updated", "before": facts, "after": then, **rest})
    'tags + b - a; licence none -> CC0-1.0'
    """
    before, after = entry["before"] or {}, entry["after"] or {}
    match entry["event"]:
        case "asset_registered":
            told = f"registered as {after.get('path')}"
        case "asset_meta_updated":
            told = "; ".join(_changes(before, after)) or "nothing changed"
        case "asset_removed":
            how = "forgotten, its file was missing" if after.get("was_missing") else "removed"
            told = f"{how}; in the trash as {after.get('trash')}"
        case "asset_restored":
            told = f"brought back to {after['path']}" if "path" in after else "its file was found again"
        case "asset_moved":
            told = f"moved from {before.get('path')} to {after.get('path')}"
        case "asset_content_changed":
            told = f"new content: version {after.get('version')}"
        case "asset_provenance_added":
            told = f"provenance from {after.get('source')}"
        case "asset_facts_read":
            told = f"what made it was read: {after.get('tool')} (reader {after.get('reader')})"
        case "asset_healed":
            told = "the hash of an older release, which never matched the stamped file, was put right"
        case "asset_missing":
            told = "its file is gone"
        case event:
            told = event
    return f"{told} (undoes operation {after['undoes']})" if "undoes" in after else told


# -- inside -------------------------------------------------------------------------------------------


@contextmanager
def _registry(library: Mapping[str, str | None]) -> Iterator[AssetRegistry]:
    console.set_up_logging()
    with console.open_registry(**library, makes=False) as registry:
        yield registry


def _plan_purge(registry: AssetRegistry, names: Sequence[str]) -> tuple[PurgeReport, list[AssetRecord]]:
    """Return what a purge would refuse, and the records of what it would forget."""
    report: PurgeReport = {"operation": None, "purged": [], "refused": [], "unknown": []}
    if not names:
        return report, list(registry.iter_missing())
    listed: list[AssetRecord] = []
    for uid in dict.fromkeys(registry.resolve_uid(name) or name for name in names):
        record = registry.get_asset(uid)
        if record is None:
            report["unknown"].append(uid)
        elif record["missing_since"] is None:
            report["refused"].append({"uid": uid, "path": record["path"], "why": "it is not marked missing"})
        else:
            listed.append(record)
    return report, listed


def _ask(count: int) -> bool:
    question = f"Forget {count} asset{'s' if count > 1 else ''} whose file is gone?"
    if not sys.stdin.isatty():
        raise ConfirmationNeeded(question=question)
    return click.confirm(question, default=False)


def _purge_code(report: PurgeReport) -> int:
    for uid in report["unknown"]:
        console.echo(f"comfyvn: no asset with uid {uid}. List the uids with `comfyvn list`.", err=True)
    if report["unknown"]:
        return 3
    if not report["refused"]:
        return 0
    return 1 if report["purged"] else 4


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is different in the facts of an asset, in words."""
    old, new = before.get("meta") or {}, after.get("meta") or {}
    had, has = old.get("tags") or [], new.get("tags") or []
    added = [f"+ {tag}" for tag in has if tag not in had]
    taken = [f"- {tag}" for tag in had if tag not in has]
    if added or taken:
        yield f"tags {' '.join(added + taken)}"
    elif had != has:
        yield f"tags in another order: {', '.join(has)}"
    yield from _differences({"licence": old.get("license")}, {"licence": new.get("license")})
    yield from _differences(_plain_meta(old), _plain_meta(new))
    yield from _differences(before.get("extra") or {}, after.get("extra") or {})
    yield from (told for _, told in _line_changes(before, after))
    for name, value in (after.get("overruled") or {}).items():
        yield f"the sidecar's {name} overruled {_shown(value)}"


def _plain_meta(meta: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in meta.items() if name not in _DERIVED}


def _line_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what became of an asset's links to its parents: in a word, and with the parent."""
    old, new = _parents(before), _parents(after)
    for each in {**old, **new}:
        (was, found_before), (now, found) = old.get(each, _NO_LINK), new.get(each, _NO_LINK)
        name = f"{each[0]} ({each[1]})"
        if was != now:
            word, told = _LINKS.get((was, now)) or _LINKS[None, now]
            yield word, told.format(name=name, found=found)
        elif found_before != found:
            yield "linked", f"link to {name} found by {found}, no longer by {found_before}"


def _parents(said: Mapping[str, Any]) -> dict[tuple[str, str], tuple[str, str]]:
    """Return how sure each link to a parent is and how it was found, by the parent's uid and its kind."""
    links = said.get("lineage") or ()
    return {(each["parent"], each["kind"]): (each["certainty"], each["found"]) for each in links}


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    for name in {**old, **new}:
        if json.dumps(old.get(name), sort_keys=True) != json.dumps(new.get(name), sort_keys=True):
            yield f"{name} {_shown(old.get(name))} -> {_shown(new.get(name))}"


def _shown(value: object) -> str:
    if value is None:
        return "none"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _VALUE_WIDTH else text[: _VALUE_WIDTH - 1] + "…"


def _print_operations(registry: AssetRegistry, operations: list[OperationRecord], limit: int) -> None:
    rows = []
    for each in operations:
        what = ", ".join(_what_was_done(registry, each)) or "sidecars written"
        what += f" (undoes operation {each['undoes']})" if each["undoes"] else ""
        what += f" (undone by operation {each['undone_by']})" if each["undone_by"] else ""
        rows.append((_time(each["at"]), str(each["operation"]), each["actor"] or "", what))
    _print_table(("when (UTC)", "operation", "who", "what"), rows)
    if not operations:
        console.echo("Nothing has been done yet.")
    elif len(operations) == limit:
        console.echo(f"More: add --cursor {operations[-1]['operation']}.")


def _what_was_done(registry: AssetRegistry, operation: OperationRecord) -> Iterator[str]:
    """Yield what an operation did, and how often; edits that changed nothing are left out."""
    for event, count in operation["events"].items():
        if event == _EDITED and operation["assets"] <= _ASSETS_TOLD:
            edits = list(_edits(registry, operation["operation"]))
            if operation["assets"] == len(edits) == 1 and edits[0][0] != "edited":
                yield f"{operation['path']} {edits[0][1]}"
            else:
                yield from (f"{many} {word}" for word, many in Counter(word for word, _ in edits).items())
        elif event in _EVENTS:
            yield f"{count} {_EVENTS[event]}"


def _edits(registry: AssetRegistry, operation: int) -> Iterator[tuple[str, str]]:
    """Yield each edit of an operation in a word and in full; of one that only changed links, each link."""
    with registry.library.read() as rows:
        uids = [uid for _, uid in rows.uids_of(operation, _ASSETS_TOLD)]
        found = [row for each in rows.rows_of(operation, uids).values() for row in each]
    for row in found:
        if row.event != _EDITED:
            continue
        before, after = row.before or {}, row.after or {}
        links, changes = list(_line_changes(before, after)), list(_changes(before, after))
        if len(changes) > len(links):
            yield "edited", "; ".join(changes)
        else:
            yield from links


def _print_entries(registry: AssetRegistry, uid: str, limit: int, cursor: int | None) -> None:
    """Print what happened to an asset; written sidecars and edits that changed nothing are left out."""
    told = (entry for entry in _entries(registry, uid, cursor) if _is_telling(entry))
    shown = list(itertools.islice(told, limit))
    rows = [
        (_time(entry["at"]), str(entry["operation"]), entry["actor"] or "", describe_entry(entry))
        for entry in shown
    ]
    console.echo(uid)
    _print_table(("when (UTC)", "operation", "who", "what"), rows)
    if len(shown) == limit:
        console.echo(f"More: add --cursor {shown[-1]['seq']}.")


def _is_telling(entry: HistoryEntry) -> bool:
    if entry["event"] == _EDITED:
        before, after = entry["before"] or {}, entry["after"] or {}
        return "undoes" in after or next(_changes(before, after), None) is not None
    return entry["event"] != "asset_sidecar_written"


def _entries(registry: AssetRegistry, uid: str, cursor: int | None) -> Iterator[HistoryEntry]:
    while page := registry.history(uid, limit=_SHOWN, cursor=cursor):
        yield from page
        cursor = page[-1]["seq"]


def _time(at: str) -> str:
    return at[:19].replace("T", " ")


def _print_undo(report: UndoReport) -> None:
    console.echo(f"{len(report['undone'])} taken back.")
    _print_refused(report["refused"])
    for each in report["kept"][:_REASONS_SHOWN]:
        what = _EVENTS.get(each["event"], each["event"])
        console.echo(f"kept       {each['uid']} ({what}): {each['why']}", err=True)
    if len(report["kept"]) > _REASONS_SHOWN:
        console.echo(f"... and {len(report['kept']) - _REASONS_SHOWN} more kept: see --json", err=True)
    tell_undo(report["operation"])


def _print_refused(refused: Sequence[Refused]) -> None:
    for each in refused[:_REASONS_SHOWN]:
        console.echo(f"refused    {each['uid']} {each['path']}: {each['why']}", err=True)
    if len(refused) > _REASONS_SHOWN:
        console.echo(f"... and {len(refused) - _REASONS_SHOWN} more refused: see --json", err=True)


def _print_missing(records: list[AssetRecord]) -> None:
    rows = [
        (record["uid"], record["path"], record["missing_since"] or "", ", ".join(record["tags"]))
        for record in records[:_SHOWN]
    ]
    _print_table(("uid", "path", "missing since (UTC)", "tags"), rows)
    if len(records) > _SHOWN:
        console.echo(f"... and {len(records) - _SHOWN} more: see --json")
    count = len(records)
    console.echo(f"{count} assets are missing." if count > 1 else f"{count or 'No'} asset is missing.")


def _print_table(columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    if not rows:
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:  # numbers are there to be copied
        table.add_column(column, overflow="fold", no_wrap=column in ("uid", "operation"))
    for row in rows:
        table.add_row(*(Text(console.plain(cell)) for cell in row))
    width = None if sys.stdout.isatty() else 160
    Console(width=width, soft_wrap=False, markup=False, highlight=False).print(table)
