"""What an operation was, in a word, in parts and in a sentence: read from its rows of the journal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Literal, NotRequired, TypedDict

from comfyvn.db import JournalRow, Operation

__all__ = ["OperationKind", "OperationRecord", "OperationSummary", "describe"]

OperationKind = Literal["register", "edit", "move", "remove", "restore", "undo", "rebuild", "sidecars"]
_OWN_KEYS: Final = frozenset({"tags", "license", "version", "preview", "thumbnails", "media"})
_TAKEN_BACK: Final = frozenset({"asset_registered", "asset_meta_updated", "asset_removed"})
_FOUND: Final = frozenset({"asset_missing", "asset_content_changed", "asset_healed"})
_TOLD: Final = 5
_SENTENCES: Final[Mapping[OperationKind, str]] = {
    "register": "Registered {what}",
    "edit": "Edited {what}",
    "move": "Moved {what}",
    "remove": "Removed {what}",
    "restore": "Brought back {what}",
    "undo": "Took back operation {undoes} on {what}",
    "rebuild": "Took in what became of the files of {what}",
    "sidecars": "Wrote the sidecar of {what}",
}


class OperationSummary(TypedDict):
    """What an operation changed in the first of its assets; a key is absent where that is nothing.

    ``license`` is the new one, if it is the same for all of these; ``metadata`` names other keys;
    ``moved_from`` and ``moved_to`` are of the first asset.
    """

    add_tags: NotRequired[list[str]]
    remove_tags: NotRequired[list[str]]
    license: NotRequired[str | None]
    metadata: NotRequired[list[str]]
    moved_from: NotRequired[str]
    moved_to: NotRequired[str]


class OperationRecord(TypedDict):
    """One operation: when it ended, how many rows of each event it wrote, about how many assets.

    ``kind`` says in a word what it was, ``text`` in a sentence; ``path`` is that of its first asset, "" where
    nobody knows it. ``undoes`` is the operation that it took back, if it did that; ``undone_by`` the newest
    one that took it, or some of it, back. ``is_undoable``: it did something that an undo takes back.
    """

    operation: int
    at: str
    actor: str | None
    kind: OperationKind
    text: str
    path: str
    summary: OperationSummary
    events: dict[str, int]
    assets: int
    is_undoable: bool
    undoes: int | None
    undone_by: int | None


def describe(operation: Operation) -> OperationRecord:
    """Return an operation as the registry answers it."""
    kind, summary = _kind(operation), _summary(operation.first_rows)
    path = operation.first_key or next(filter(None, map(_path_told, operation.first_rows)), "")
    return OperationRecord(
        operation=operation.operation_id,
        at=operation.at,
        actor=operation.actor,
        kind=kind,
        text=_text(operation, kind, path, summary),
        path=path,
        summary=summary,
        events=dict(operation.events),
        assets=operation.assets,
        is_undoable=_is_undoable(operation),
        undoes=operation.undoes,
        undone_by=operation.undone_by,
    )


def _kind(operation: Operation) -> OperationKind:
    events, rows = operation.events.keys(), operation.first_rows
    if operation.undoes is not None:
        return "undo"
    if events & _FOUND or any(_is_found(row) for row in rows):
        return "rebuild"
    by_event: dict[str, OperationKind] = {
        "asset_removed": "remove",
        "asset_restored": "restore",
        "asset_registered": "register",
        "asset_moved": "move",
        "asset_meta_updated": "edit",
        "asset_provenance_added": "register",
    }
    return next((kind for event, kind in by_event.items() if event in events), "sidecars")


def _is_found(row: JournalRow) -> bool:
    """Tell a file that a rebuild found at another place, or again."""
    after = row.after or {}
    is_move, is_return = row.event == "asset_moved", row.event == "asset_restored"
    return (is_move and not after.get("is_ours")) or (is_return and "removal" not in after)


def _is_undoable(operation: Operation) -> bool:
    came_or_moved = (row for row in operation.first_rows if row.event in ("asset_moved", "asset_restored"))
    return bool(operation.events.keys() & _TAKEN_BACK) or any(not _is_found(row) for row in came_or_moved)


def _summary(rows: Sequence[JournalRow]) -> OperationSummary:
    summary = OperationSummary()
    added, taken, keys = dict[str, None](), dict[str, None](), dict[str, None]()
    licences = dict[str | None, None]()
    for row in rows:
        before, after = row.before or {}, row.after or {}
        if row.event == "asset_moved" and "moved_from" not in summary:
            summary["moved_from"], summary["moved_to"] = before.get("path", ""), after.get("path", "")
        if row.event != "asset_meta_updated":
            continue
        old, new = before.get("meta") or {}, after.get("meta") or {}
        had, has = old.get("tags") or [], new.get("tags") or []
        added |= dict.fromkeys(tag for tag in has if tag not in had)
        taken |= dict.fromkeys(tag for tag in had if tag not in has)
        if old.get("license") != new.get("license"):
            licences[new.get("license")] = None
        keys |= dict.fromkeys(_differing(old, new))
        keys |= dict.fromkeys(_differing(before.get("extra") or {}, after.get("extra") or {}))
        keys |= {"lineage": None} if before.get("lineage") != after.get("lineage") else {}
    if added:
        summary["add_tags"] = list(added)
    if taken:
        summary["remove_tags"] = list(taken)
    if len(licences) == 1:
        summary["license"] = next(iter(licences))
    if keys:
        summary["metadata"] = list(keys)
    return summary


def _differing(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    return (name for name in {**old, **new} if name not in _OWN_KEYS and old.get(name) != new.get(name))


def _path_told(row: JournalRow) -> str:
    for said in ((row.before or {}).get("sidecar"), row.after, row.before):
        if isinstance(said, dict) and isinstance(said.get("path"), str):
            return str(said["path"])
    return ""


def _text(operation: Operation, kind: OperationKind, path: str, summary: OperationSummary) -> str:
    count = operation.assets
    what = path or f"{count} asset{'' if count == 1 else 's'}"
    if path and count > 1:
        what = f"{path} and {count - 1:,} more"
    elif kind == "move":
        what = f"{summary.get('moved_from', path)} to {summary.get('moved_to', '')}"
    told = _SENTENCES[kind].format(what=what, undoes=operation.undoes)
    changes = [f"+ {tag}" for tag in summary.get("add_tags", ())]
    changes += [f"- {tag}" for tag in summary.get("remove_tags", ())]
    if "license" in summary:
        changes.append(f"licence {summary['license'] or 'none'}")
    changes += summary.get("metadata", ())
    if len(changes) > _TOLD:
        changes[_TOLD:] = [f"{len(changes) - _TOLD} more"]
    return f"{told}: {', '.join(changes)}" if changes and kind in ("edit", "undo") else told
