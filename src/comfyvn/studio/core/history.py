"""The journal read back: what happened, taking it back, bringing back what was removed, hearing of news.

A change is taken back only where the asset is still as that change left it; everything else is refused and
named. What is decided here is decided inside the write transaction that acts on it.
"""

from __future__ import annotations

import functools
import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NotRequired, TypedDict, get_args

from comfyvn import media, sidecar
from comfyvn.db import JournalRow, Reader
from comfyvn.errors import (
    AssetNotFound,
    ComfyVNError,
    InvalidSidecar,
    LedgerConflict,
    OperationNotFound,
    PathConflict,
    RegistryUnusable,
    RestoreRefused,
)
from comfyvn.model import (
    Asset,
    Facts,
    FileStat,
    Limits,
    PreviewKind,
    Version,
    canonical_json,
    facts_name,
    merge_registered,
    preview_names,
    utc_now,
)
from comfyvn.storage import numbered_key
from comfyvn.studio.core.library import Library, Transaction, facts_told
from comfyvn.studio.core.many import NO_GOING_ON, PLANNED, Chosen, Failed, Tally, by_chunks, looked_up
from comfyvn.studio.core.moving import Mover
from comfyvn.studio.core.operations import OperationRecord, describe

__all__ = [
    "History",
    "HistoryEntry",
    "Kept",
    "PlannedRemoval",
    "PurgeReport",
    "Refused",
    "RemovalCounts",
    "RemovalReport",
    "UndoReport",
]

_CHUNK: Final = 256
_POLL_S: Final = 0.05
_MOST_DIGITS: Final = 18  # of a number that a database holds
_TIME_WIDTH: Final = len("2025-01-01_000000-")
_WHAT_WAS_THERE: Final = Limits(2**40, 2**20, 2**40, 2**40, 2**40)
"""What was accepted once comes back, also where the limits are lower by now."""
_WHY_KEPT: Final = {
    "asset_provenance_added": "provenance is never taken back",
    "asset_content_changed": "the earlier content is not kept; put the earlier file in its place and run "
    "`comfyvn rebuild`",
    "asset_moved": "move the file back and run `comfyvn rebuild`",
    "asset_healed": "the hash is right now; there is nothing to take back",
    "asset_missing": "put the file back and run `comfyvn rebuild`",
    "asset_restored": "the file was found again; nothing is to be taken back",
}


class HistoryEntry(TypedDict):
    """One row of the journal. ``seq`` grows with every change of the library; ``at`` is UTC (ISO 8601)."""

    seq: int
    at: str
    actor: str | None
    event: str
    uid: str
    operation: int
    before: dict[str, Any] | None
    after: dict[str, Any] | None


class Refused(TypedDict):
    """An asset that was left as it is, and why."""

    uid: str
    path: str
    why: str


class Kept(TypedDict):
    """A change that stays, and why."""

    uid: str
    event: str
    why: str


class UndoReport(TypedDict):
    """What an undo did. ``operation`` is its own number, to be undone in turn; None if it changed nothing.

    ``stopped`` is there, and True, if it was to end before its end: another undo takes back the rest.
    """

    operation: int | None
    undone: list[str]
    refused: list[Refused]
    kept: list[Kept]
    stopped: NotRequired[bool]


class RemovalCounts(TypedDict):
    """How many assets were to be removed, and what became of them."""

    total: int
    removed: int
    failed: int


class PlannedRemoval(TypedDict):
    """An asset that would be removed."""

    uid: str
    path: str


class RemovalReport(TypedDict):
    """What the removal of many assets did, or with ``dry_run`` would do.

    ``operation`` is the number by which one undo brings all of them back; None if nothing was removed.
    ``removed`` (uids) and ``failed`` name the first 1,000 each, ``counts`` counts all. ``plan`` holds the
    first 100 of a dry run. ``stopped`` is there, and True, if it had to end early: the rest is counted in
    ``failed``.
    """

    operation: int | None
    dry_run: bool
    counts: RemovalCounts
    removed: list[str]
    failed: list[Failed]
    plan: list[PlannedRemoval]
    stopped: NotRequired[bool]


class PurgeReport(TypedDict):
    """What a purge did. ``operation`` is None if it changed nothing; ``unknown`` are uids of no asset."""

    operation: int | None
    purged: list[str]
    refused: list[Refused]
    unknown: list[str]


class History:
    """The history of one library."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._mover = Mover(library)

    # -- looking --------------------------------------------------------------------------------------

    def entries(self, uid: str, *, limit: int | None = None, cursor: int | None = None) -> list[HistoryEntry]:
        """Return what happened to an asset, newest first; ``cursor`` is the ``seq`` of the last one known."""
        with self._library.read() as rows:
            return [_entry(row) for row in rows.journal_of(uid, limit=limit, before=cursor)]

    def operations(self, limit: int, cursor: int | None = None) -> list[OperationRecord]:
        """Return operations, newest first; ``cursor`` is the number of the last one known."""
        with self._library.read() as rows:
            found = rows.operations(limit, before=cursor)
        return [describe(each) for each in found]

    def missing(self) -> Iterator[Asset]:
        """Yield the assets that are marked missing, newest first, in batches."""
        before_id = None
        while True:
            with self._library.read() as rows:
                batch = rows.missing(_CHUNK, before_id)
            yield from batch
            if len(batch) < _CHUNK:
                return
            before_id = batch[-1].id

    def position(self) -> int:
        """Return the number of the newest row of the journal."""
        with self._library.read() as rows:
            return rows.journal_position()

    def follow(self, since: int | None, timeout_s: float | None) -> Iterator[HistoryEntry]:
        """Return an iterator over the rows behind a position; that is taken now, not at the first row."""
        return self._follow(self.position() if since is None else since, timeout_s)

    def _follow(self, position: int, timeout_s: float | None) -> Iterator[HistoryEntry]:
        with self._library.ledger.engine.watch() as ask_version:
            seen: int | None = None
            quiet_since = time.monotonic()
            while True:
                version = ask_version()  # before looking: what comes meanwhile changes it again
                while version != seen:
                    page, position = self._page_after(position)
                    yield from map(_entry, page)
                    quiet_since = time.monotonic() if page else quiet_since
                    seen = seen if len(page) == _CHUNK else version
                left = _POLL_S if timeout_s is None else quiet_since + timeout_s - time.monotonic()
                if left <= 0:
                    return
                time.sleep(min(_POLL_S, left))

    def _page_after(self, position: int) -> tuple[list[JournalRow], int]:
        """Return some rows and the position behind them; at the end also behind rows of other projects."""
        with self._library.read() as rows:
            page = rows.journal_after(position, _CHUNK)
            if len(page) == _CHUNK:
                return page, page[-1].seq
            return page, max(position, rows.journal_position())

    # -- removing -------------------------------------------------------------------------------------

    def remove(
        self,
        uid: str,
        *,
        with_file: bool,
        operation_id: int | None,
        check: Callable[[Asset], None] | None = None,
    ) -> bool:
        """Forget an asset, unless ``check`` raises; see `AssetRegistry.remove_asset`."""
        with self._library.transaction(operation_id) as change:
            asset = change.rows.asset(uid)
            if asset is not None and check is not None:
                check(asset)
            if asset is not None:
                self._remove(change, asset, with_file=with_file)
        return asset is not None

    def remove_many(
        self,
        chosen: Chosen,
        *,
        with_files: bool,
        operation_id: int | None,
        is_dry_run: bool,
        should_stop: Callable[[], bool],
    ) -> RemovalReport:
        """Forget many assets, in chunks of one transaction each; see `AssetRegistry.remove_assets`."""
        tally = Tally.of(chosen)
        if is_dry_run:
            return _removal_report(tally, None, self._plan_removal(chosen, tally), is_dry_run=True)
        number = operation_id or self._library.ledger.reserve_ids(1)[0]

        def remove(uids: Sequence[str]) -> None:
            self._remove_chunk(uids, number, tally, with_files=with_files)

        is_stopped = by_chunks(self._library, chosen, tally, remove, should_stop)
        report = _removal_report(tally, number if tally.counts["changed"] else None, [])
        if is_stopped:
            report["stopped"] = True
        return report

    def _remove_chunk(
        self, uids: Sequence[str], operation_id: int, tally: Tally, *, with_files: bool
    ) -> None:
        left: dict[str, list[Path]] = {}
        failed: dict[str, str] = {}
        with self._library.transaction(operation_id) as change:
            known = {asset.uid: asset for asset in change.rows.assets(uids)}
            for uid in uids:
                if uid not in known:
                    failed[uid] = "no asset has this uid"
                    continue
                try:
                    with change.attempt():
                        left[uid] = self._drop(change, known[uid], with_file=with_files)
                except NO_GOING_ON:
                    raise
                except (ComfyVNError, OSError) as error:
                    failed[uid] = _why(error)
            change.afterwards.append(functools.partial(self._clear, left))
        for uid in uids:
            if uid in failed:
                tally.fail(uid, failed[uid])
            else:
                tally.note(uid, is_changed=True)

    def _plan_removal(self, chosen: Chosen, tally: Tally) -> list[PlannedRemoval]:
        """Count what would be removed as the ledger knows it, and name the first of it."""
        plan: list[PlannedRemoval] = []
        for asset in looked_up(self._library, chosen, tally):
            tally.note(asset.uid, is_changed=True)
            if len(plan) < PLANNED:
                plan.append(PlannedRemoval(uid=asset.uid, path=asset.key))
        return plan

    def purge(self, uids: Iterable[str] | None) -> PurgeReport:
        """Forget assets that are marked missing and whose file is not there; see `AssetRegistry.purge`."""
        report = PurgeReport(operation=None, purged=[], refused=[], unknown=[])
        wanted = (asset.uid for asset in self.missing()) if uids is None else dict.fromkeys(uids)
        for chunk in _chunks(wanted):
            with self._library.transaction(report["operation"]) as change:
                known = {asset.uid: asset for asset in change.rows.assets(chunk)}
                report["unknown"] += [uid for uid in chunk if uid not in known and uids is not None]
                purged, refused = [], []
                for asset in known.values():
                    why = self._why_not_purged(change, asset)
                    if why is None:
                        purged.append(asset.uid)
                    else:
                        refused.append(Refused(uid=asset.uid, path=asset.key, why=why))
            report["operation"] = change.stated_operation_id
            report["purged"] += purged
            report["refused"] += refused
        return report

    def _why_not_purged(self, change: Transaction, asset: Asset) -> str | None:
        """Forget a missing asset, or return why not."""
        if self._library.storage.exists(asset.key):
            return "its file is there; `comfyvn rebuild` notes that, `comfyvn remove` forgets it all the same"
        if asset.missing_since is None:
            return "its file is gone, but it is not marked missing yet; run `comfyvn rebuild` first"
        try:
            with change.attempt():
                self._remove(change, asset, with_file=False)
        except (RegistryUnusable, LedgerConflict):
            raise
        except (ComfyVNError, OSError) as error:
            return _why(error)
        return None

    def _remove(self, change: Transaction, asset: Asset, *, with_file: bool) -> None:
        """Drop an asset's row; its sidecar, and its file if told, move to the trash."""
        left = {asset.uid: self._drop(change, asset, with_file=with_file)}
        change.afterwards.append(functools.partial(self._clear, left))

    def _drop(self, change: Transaction, asset: Asset, *, with_file: bool) -> list[Path]:
        """Do what `_remove` does, and return the previews that are to be cleared after the commit."""
        library = self._library
        was_missing = not library.storage.exists(asset.key)
        previews = [] if change.rows.is_shared(asset.uid) else library.cached_paths(asset)
        folder = _trash_name(asset.uid, change.operation_id)
        # the file first: killed behind it, the sidecar is still there with all that was written into it
        beside = [library.sidecar_key(asset.key)] if self._is_own_sidecar(asset) else []
        keys = [*([asset.key] if with_file else []), *beside]
        change.undo.append(library.storage.trash(keys, folder))
        library.drop_mirror(change, asset)
        change.rows.remove(asset)
        library.tell_removed(change, asset, {"trash": folder, "keys": keys, "was_missing": was_missing})
        return previews

    def _clear(self, left: Mapping[str, Sequence[Path]]) -> None:
        """Delete previews of removed assets, by uid."""
        with self._library.ledger.write(is_durable=False) as rows:  # nobody brings one back meanwhile
            back = {asset.uid for asset in rows.assets(left)}
            for uid, paths in left.items():
                for path in paths if uid not in back else ():
                    path.unlink(missing_ok=True)

    def _is_own_sidecar(self, asset: Asset) -> bool:
        """Tell whether what lies where an asset's sidecar belongs is not the one of another asset."""
        try:
            found = self._library.read_sidecar(asset.key)
        except InvalidSidecar:
            return True
        return found is None or self._is_of(found, asset.uid)

    def _is_of(self, found: sidecar.Sidecar, uid: str) -> bool:
        return found.uid in (None, uid) and found.project in (None, self._library.ledger.project_id)

    # -- moving -----------------------------------------------------------------------------------------

    def move(
        self,
        uid: str,
        path: str,
        *,
        operation_id: int | None,
        check: Callable[[Asset], None] | None = None,
    ) -> Asset:
        """Give an asset another place or name, unless ``check`` raises; see `AssetRegistry.move_asset`."""
        with self._library.transaction(operation_id) as change:
            asset = change.rows.asset(uid)
            if asset is None:
                raise AssetNotFound(uid=uid, project=self._library.ledger.project_id)
            if check is not None:
                check(asset)
            return self._mover.move(change, asset, self._mover.key_for(asset, path))

    # -- bringing back --------------------------------------------------------------------------------

    def restore(self, uid: str, *, operation_id: int | None) -> Asset:
        """Bring a removed asset back; see `AssetRegistry.restore_asset`."""
        with self._library.transaction(operation_id) as change:
            known = change.rows.asset(uid)
            removal = change.rows.last_of(uid, "asset_removed")
            if known is not None:
                return self._give_back(change, known, removal)
            if removal is None:
                raise AssetNotFound(uid=uid, project=self._library.ledger.project_id)
            asset = self._bring_back(change, removal)
        self._make_previews([asset])
        return asset

    def _give_back(self, change: Transaction, known: Asset, removal: JournalRow | None) -> Asset:
        """Merge into an asset what was written of it before it was removed: its content was registered again.

        Raises:
            RestoreRefused: it was never removed, or lacks nothing.
        """
        if removal is None:
            raise RestoreRefused(path=known.key, uid=known.uid, why="it is registered, and was never removed")
        was = sidecar.facts_of((removal.before or {})["sidecar"], _WHAT_WAS_THERE)
        ours, limits = known.facts, self._library.limits
        wanted = merge_registered(was, ours, license_given=ours.license is not None, limits=limits)
        wanted = replace(wanted, extra={**was.extra, **ours.extra})
        if sidecar.is_same(wanted, replace(ours, tags=wanted.tags)) and set(wanted.tags) == set(ours.tags):
            why = "it is registered, and has all that was written of it before it was removed"
            raise RestoreRefused(path=known.key, uid=known.uid, why=why)
        return self._library.change_one(change, known, wanted)

    def uids_in_trash(self) -> set[str]:
        """Return the uids of which the trash holds something."""
        uids = (_uid_of_trash(name) for name in self._library.storage.trash_folders())
        return {uid for uid in uids if uid is not None}

    def recover_trash(self, uid: str) -> bool:
        """Bring back what a removal took that was killed before it was recorded.

        Args:
            uid: an asset that is registered, and whose file or sidecar is gone.

        Returns:
            True if its file is back.
        """
        names = self._library.storage.trash_folders()
        folders = [name for name in reversed(names) if _uid_of_trash(name) == uid]
        if not folders:
            return False
        with self._library.transaction() as change:  # no removal is under way while we have it
            asset = change.rows.asset(uid)
            is_back = asset is not None and any(self._recover(change, asset, each) for each in folders)
        if is_back and asset is not None:
            self._make_previews([replace(asset, missing_since=None)])
        return is_back

    def _recover(self, change: Transaction, asset: Asset, folder: str) -> bool:
        """Move back what lies in a folder of the trash, if it is the asset as we know it."""
        storage = self._library.storage
        if change.rows.is_removal(int(folder.rpartition("-")[2]), asset.uid):
            return False
        has_file = storage.is_trashed(folder, asset.key)
        if has_file and (storage.exists(asset.key) or not self._has_trashed_content(folder, asset)):
            return False
        beside = self._library.sidecar_key(asset.key)
        keys = [beside] if self._has_trashed_sidecar(folder, asset) and not storage.exists(beside) else []
        keys += [asset.key] if has_file else []
        if not keys:
            return False
        try:
            change.undo.append(storage.take_from_trash(folder, {key: key for key in keys}, change.writes))
        except FileExistsError:
            return False
        if has_file:
            if asset.missing_since is not None:
                change.tell("asset_restored", asset, before={"missing_since": asset.missing_since})
            asset = replace(asset, file=storage.stat(asset.key), missing_since=None)
        self._library.change_one(change, asset, asset.facts, force=True)  # its mirror went with its sidecar
        return has_file

    def _has_trashed_content(self, folder: str, asset: Asset) -> bool:
        try:
            with self._library.storage.open_trashed(folder, asset.key) as source:
                return media.read(source.file, name=asset.key).digest == asset.digest
        except (ComfyVNError, OSError):
            return False

    def _has_trashed_sidecar(self, folder: str, asset: Asset) -> bool:
        """Tell whether the asset's sidecar lies in a folder of the trash, and not one of another asset."""
        key = self._library.sidecar_key(asset.key)
        limit = self._library.config.sidecar_bytes
        if not self._library.storage.is_trashed(folder, key):
            return False
        try:
            with self._library.storage.open_trashed(folder, key) as source:
                data = source.file.read(limit + 1)
        except (ComfyVNError, OSError):
            return False
        try:
            return self._is_of(sidecar.parse(data, key, _WHAT_WAS_THERE), asset.uid)
        except InvalidSidecar:
            return True

    def finish_restore(self, uid: str) -> bool:
        """Bring a removed asset back whose restoration was killed when only its sidecar was in its place.

        Returns:
            False if that is not so.

        Raises:
            RestoreRefused: it can't come back.
        """
        with self._library.transaction() as change:
            removal = change.rows.last_of(uid, "asset_removed")
            if removal is None or removal.after is None or change.rows.asset(uid) is not None:
                return False
            if not self._library.storage.is_trashed(str(removal.after["trash"]), _path_told([removal])):
                return False
            asset = self._bring_back(change, removal)
        self._make_previews([asset])
        return True

    def clear_previews(self) -> None:
        """Delete previews of removed assets: what killed the removal came between its commit and that."""
        thumbs = self._library.thumbs
        for uid in sorted(self.uids_in_trash()):
            names = [name for kind in get_args(PreviewKind) for name in preview_names(uid, kind).values()]
            left = [name for name in (*names, facts_name(uid)) if thumbs.stat(name) is not None]
            if not left:
                continue
            with self._library.ledger.write(is_durable=False) as rows:  # nobody brings it back meanwhile
                if rows.asset(uid) is None and not rows.is_shared(uid):
                    for name in left:
                        thumbs.delete(name)

    def _bring_back(self, change: Transaction, removal: JournalRow) -> Asset:
        """Register a removed asset again, as it was; files first."""
        library, storage = self._library, self._library.storage
        assert removal.after is not None
        folder = str(removal.after["trash"])
        was = self._as_it_was(change.rows, removal)
        is_trashed = storage.is_trashed(folder, was.key)
        key = self._key_to_return_to(change.rows, was, removal, is_trashed=is_trashed)
        beside, old_beside = library.sidecar_key(key), library.sidecar_key(was.key)
        moves = {}  # the sidecar first: killed behind it, the file is still where a second attempt looks
        if self._has_trashed_sidecar(folder, was) and not storage.exists(beside):
            moves[old_beside] = beside
        if is_trashed:
            moves[was.key] = key
        try:
            change.undo.append(storage.take_from_trash(folder, moves, change.writes))
        except FileExistsError as error:  # a registration places its files before it has its turn here
            why = "another program put a file there at this moment; try again"
            raise RestoreRefused(path=key, uid=was.uid, why=why) from error
        stat = storage.stat(key)
        asset = replace(
            was,
            key=key,
            # a file that was touched in the trash keeps the old stat here, so that a rebuild looks into it
            file=was.file if is_trashed and was.file else stat or was.file,
            missing_since=was.missing_since or utc_now() if stat is None else None,
        )
        change.rows.insert([asset])
        library.tell_restored(change, asset, {"removal": removal.operation_id, "is_from_trash": is_trashed})
        return library.change_one(change, asset, asset.facts, force=True)

    def _as_it_was(self, rows: Reader, removal: JournalRow) -> Asset:
        """Return the asset that a row of the journal says was removed.

        Raises:
            RestoreRefused: another asset has its number.
        """
        said = removal.before or {}
        payload, file = said["sidecar"], said.get("file")
        if rows.has_id(removal.asset_id):
            why = f"another asset has its number {removal.asset_id}"
            raise RestoreRefused(path=payload["path"], uid=removal.uid, why=why)
        history = [row for row in rows.provenance_of(removal.uid) if row.asset_id == removal.asset_id]
        kind = (payload["preview"] or {}).get("kind")
        asset = Asset(
            id=removal.asset_id,
            project_id=self._library.ledger.project_id,
            uid=removal.uid,
            type=payload["type"],
            key=payload["path"],
            digest=payload["hash"],
            size_bytes=payload["bytes"],
            facts=sidecar.facts_of(payload, _WHAT_WAS_THERE),
            created_at=payload["created_at"],
            updated_at=payload["updated_at"],
            version=payload["version"],
            preview=self._library.planned_preview(removal.uid, kind),
            versions=tuple(_version(each) for each in said["versions"]),
            file=FileStat(**file) if file else None,
            is_in_place=said["is_in_place"],
            missing_since=said["missing_since"],
            media=said.get("media") or {},
        )
        return asset.with_provenance(history)

    def _key_to_return_to(self, rows: Reader, was: Asset, removal: JournalRow, *, is_trashed: bool) -> str:
        """Return where a removed asset comes back: its own place, or one with its uid if that is taken.

        Raises:
            RestoreRefused: its file is neither in the trash nor where it was.
        """
        assert removal.after is not None
        if not is_trashed and self._lies_there(rows, was):
            return was.key
        if is_trashed or removal.after.get("was_missing"):
            return next(key for key in _names(was) if self._is_free(rows, key, was.uid))
        if was.key in removal.after["keys"]:
            why = f"its file is gone from the trash ({removal.after['trash']})"
        elif self._library.storage.exists(was.key):
            why = "its file was left where it is, and by now other content lies there or another asset has it"
        else:
            why = "its file was left where it is, and is gone from there"
        raise RestoreRefused(path=was.key, uid=was.uid, why=why)

    def _lies_there(self, rows: Reader, asset: Asset) -> bool:
        """Tell whether the content of an asset lies at its key and belongs to nobody."""
        if self._library.storage.stat(asset.key) is None or rows.is_taken(asset.key):
            return False
        return self._has_no_other_sidecar(asset.key, asset.uid) and self._digest(asset.key) == asset.digest

    def _is_free(self, rows: Reader, key: str, uid: str) -> bool:
        if rows.is_taken(key) or self._library.storage.exists(key):
            return False
        return self._has_no_other_sidecar(key, uid)

    def _has_no_other_sidecar(self, key: str, uid: str) -> bool:
        try:
            found = self._library.read_sidecar(key)
        except InvalidSidecar:
            return False
        return found is None or (
            found.uid == uid and found.project in (None, self._library.ledger.project_id)
        )

    def _digest(self, key: str) -> str | None:
        try:
            with self._library.storage.open(key) as source:
                return media.read(source.file, name=key).digest
        except (ComfyVNError, OSError):
            return None

    def _make_previews(self, assets: Sequence[Asset]) -> None:
        """Queue the previews of assets that came back with their file."""
        from comfyvn.studio.core.previews import POOL  # loads the decoders' side, which a reader never needs

        POOL.submit(self._library, [asset for asset in assets if asset.missing_since is None])

    # -- undoing --------------------------------------------------------------------------------------

    def undo(self, operation: int, should_stop: Callable[[], bool] = lambda: False) -> UndoReport:
        """Take an operation back, in chunks of one transaction each; see `AssetRegistry.undo`."""
        library = self._library
        with library.read() as rows:
            is_number = isinstance(operation, int) and 0 < operation < 2**63
            is_known = is_number and rows.has_operation(operation)
        if not is_known:
            raise OperationNotFound(operation=operation, project=library.ledger.project_id)
        report = UndoReport(operation=None, undone=[], refused=[], kept=[])
        before: int | None = None
        while True:
            if should_stop():
                report["stopped"] = True
                return report
            restored: list[Asset] = []
            part = UndoReport(operation=None, undone=[], refused=[], kept=[])
            with library.transaction(report["operation"]) as change:
                change.undoes = operation
                touched = change.rows.uids_of(operation, _CHUNK, before)
                self._undo_chunk(change, operation, [uid for _, uid in touched], part, restored)
            report["operation"] = change.stated_operation_id
            report["undone"] += part["undone"]
            report["refused"] += part["refused"]
            report["kept"] += part["kept"]
            self._make_previews(restored)
            if len(touched) < _CHUNK:
                return report
            before = touched[-1][0]

    def _undo_chunk(
        self,
        change: Transaction,
        operation: int,
        uids: Sequence[str],
        report: UndoReport,
        restored: list[Asset],
    ) -> None:
        known = {asset.uid: asset for asset in change.rows.assets(uids)}
        told = change.rows.rows_of(operation, uids)
        for uid in uids:
            asset, rows = known.get(uid), told[uid]
            report["kept"] += [
                Kept(uid=uid, event=row.event, why=why) for row in rows if (why := _why_kept(row))
            ]
            try:
                with change.attempt():
                    is_undone = self._undo_one(change, asset, rows, report["kept"], restored)
            except (RegistryUnusable, LedgerConflict):
                raise
            except (ComfyVNError, OSError) as error:
                path = asset.key if asset is not None else _path_told(rows)
                report["refused"].append(Refused(uid=uid, path=path, why=_why(error)))
            else:
                report["undone"] += [uid] if is_undone else []

    def _undo_one(
        self,
        change: Transaction,
        asset: Asset | None,
        rows: Sequence[JournalRow],
        kept: list[Kept],
        restored: list[Asset],
    ) -> bool:
        """Take back what an operation did to one asset; False if there is nothing that could be.

        Raises:
            PathConflict, RestoreRefused: it is not as the operation left it.
        """
        came_or_went = [row for row in rows if row.event == "asset_removed" or _came(row)]
        if not came_or_went:
            moved = self._undo_move(change, asset, rows)
            return self._put_facts_back(change, moved or asset, rows, kept) or moved is not None
        if came_or_went[-1].event == "asset_removed":
            back = self._undo_removal(change, asset, came_or_went[-1])
            restored.append(back)
            self._put_facts_back(change, back, rows, kept)
        else:
            self._undo_coming(change, asset, rows, came_or_went[-1])
        return True

    def _put_facts_back(
        self, change: Transaction, asset: Asset | None, rows: Sequence[JournalRow], kept: list[Kept]
    ) -> bool:
        edits = [row for row in rows if row.event == "asset_meta_updated"]
        if not edits or sidecar.is_same(facts_told(edits[0].before), facts_told(edits[-1].after)):
            return False
        if asset is None:
            raise PathConflict(path=edits[-1].uid, why=_since(change.rows, rows[-1], "it was removed"))
        for one, other in itertools.pairwise(edits):
            if not sidecar.is_same(facts_told(one.after), facts_told(other.before)):
                raise PathConflict(path=asset.key, why="another operation edited it in between")
        if not sidecar.is_same(asset.facts, facts_told(edits[-1].after)):
            raise PathConflict(path=asset.key, why=_since(change.rows, rows[-1], "it was edited"))
        wanted = facts_told(edits[0].before)
        updated = self._library.change_one(change, asset, wanted, is_as_read=True)
        if sidecar.is_same(updated.facts, wanted):
            return True
        changed, stays = _fields_that_stay(asset.facts, wanted, updated.facts)
        names = ", ".join(stays)
        if stays and len(stays) == len(changed):
            raise PathConflict(path=asset.key, why=f"its sidecar was edited by hand since: {names}")
        if stays:
            why = f"edited by hand in the sidecar since, and left so: {names}"
            kept.append(Kept(uid=asset.uid, event="asset_meta_updated", why=why))
        return True

    def _undo_move(
        self, change: Transaction, asset: Asset | None, rows: Sequence[JournalRow]
    ) -> Asset | None:
        """Move an asset back to where it was before an operation moved it; None if it did not."""
        moves = [row for row in rows if _is_our_move(row)]
        if not moves:
            return None
        if asset is None:
            raise PathConflict(path=_path_told(moves), why=_since(change.rows, rows[-1], "it was removed"))
        old, new = (moves[0].before or {})["path"], (moves[-1].after or {})["path"]
        if asset.key != new:
            raise PathConflict(path=asset.key, why=_since(change.rows, rows[-1], "it was moved"))
        return None if old == new else self._mover.move(change, asset, str(old))

    def _undo_removal(self, change: Transaction, asset: Asset | None, removal: JournalRow) -> Asset:
        if asset is not None:
            raise PathConflict(path=asset.key, why=_since(change.rows, removal, "it was registered again"))
        newest = change.rows.last_of(removal.uid, "asset_removed")
        if newest is not None and newest.seq != removal.seq:
            raise PathConflict(
                path=removal.uid, why=_since(change.rows, removal, "it came back and was removed")
            )
        return self._bring_back(change, removal)

    def _undo_coming(
        self, change: Transaction, asset: Asset | None, rows: Sequence[JournalRow], came: JournalRow
    ) -> None:
        """Remove an asset again that an operation registered or restored, if nobody worked on it since."""
        after = came.after or {}
        if asset is None or asset.id != came.asset_id:
            raise PathConflict(path=came.uid, why=_since(change.rows, rows[-1], "it was removed"))
        told = [row.after for row in rows if row.after is not None and "meta" in row.after]
        if asset.digest != after["hash"] or not sidecar.is_same(asset.facts, facts_told(told[-1])):
            raise PathConflict(path=asset.key, why=_since(change.rows, rows[-1], "it was edited"))
        if self._is_edited_by_hand(asset):
            raise PathConflict(path=asset.key, why="its sidecar was edited by hand since")
        is_touched = self._library.storage.stat(asset.key) not in (asset.file, None)
        if is_touched and self._digest(asset.key) != asset.digest:
            raise PathConflict(path=asset.key, why="its file was changed since")
        with_file = after["is_from_trash"] if came.event == "asset_restored" else not asset.is_in_place
        self._remove(change, asset, with_file=with_file)

    def _is_edited_by_hand(self, asset: Asset) -> bool:
        library = self._library
        if library.storage.stat(library.sidecar_key(asset.key)) in (asset.sidecar_file, None):
            return False
        try:
            found = library.read_sidecar(asset.key, asset.facts)
        except InvalidSidecar:
            return True
        is_ours = found is None or found.uid in (None, asset.uid)
        return not is_ours or (found is not None and not sidecar.is_same(found.facts, asset.facts))


def _entry(row: JournalRow) -> HistoryEntry:
    return HistoryEntry(
        seq=row.seq,
        at=row.at,
        actor=row.actor,
        event=row.event,
        uid=row.uid,
        operation=row.operation_id,
        before=None if row.before is None else dict(row.before),
        after=None if row.after is None else dict(row.after),
    )


def _came(row: JournalRow) -> bool:
    """Tell a row by which an asset came into the ledger; a file that a rebuild found again is none."""
    is_from_removal = row.event == "asset_restored" and "removal" in (row.after or {})
    return row.event == "asset_registered" or is_from_removal


def _is_our_move(row: JournalRow) -> bool:
    return row.event == "asset_moved" and bool((row.after or {}).get("is_ours"))


def _why_kept(row: JournalRow) -> str | None:
    return None if _came(row) or _is_our_move(row) else _WHY_KEPT.get(row.event)


def _since(rows: Reader, last: JournalRow, what: str) -> str:
    """Say what happened to an asset after a row of the journal, and which operation that was."""
    for row in rows.journal_of(last.uid, limit=_CHUNK):
        if row.seq <= last.seq:
            break
        if row.operation_id == last.operation_id or row.event == "asset_sidecar_written":
            continue
        who = f"{row.at}, {row.actor}" if row.actor else row.at
        if (row.after or {}).get("undoes") == last.operation_id:
            return f"it was undone already, by operation {row.operation_id} ({who})"
        return f"{what} since, by operation {row.operation_id} ({who})"
    return f"{what} since"


def _fields_that_stay(now: Facts, wanted: Facts, then: Facts) -> tuple[list[str], list[str]]:
    """Return the fields that were to be changed, and those of them that are not as wanted (but for tags)."""
    before, goal, outcome = (_fields(facts) for facts in (now, wanted, then))
    changed = [name for name in {**before, **goal} if before.get(name) != goal.get(name)]
    return changed, [name for name in changed if name != "tags" and outcome.get(name) != goal.get(name)]


def _fields(facts: Facts) -> dict[str, str]:
    values = {"tags": list(facts.tags), "license": facts.license, "origin": facts.origin, **facts.extra}
    values |= {f"meta.{name}": value for name, value in facts.meta.items()}
    values |= {f"lineage.{name}": value for name, value in sidecar.edges(facts).items()}
    return {name: canonical_json(value) for name, value in values.items()}


def _version(said: Mapping[str, Any]) -> Version:
    return Version(said["version"], said["hash"], said["bytes"], said["created_at"], said["provenance_id"])


def _path_told(rows: Sequence[JournalRow]) -> str:
    """Return the path of an asset that is gone, as far as the journal tells it."""
    for row in reversed(rows):
        for said in ((row.before or {}).get("sidecar"), row.after, row.before):
            if isinstance(said, dict) and isinstance(said.get("path"), str):
                return str(said["path"])
    return ""


def _why(error: ComfyVNError | OSError) -> str:
    """Return why something was refused, without the path and the advice that stand beside it."""
    if isinstance(error, ComfyVNError):
        return str(error.fields.get("why", error))
    return str(error.strerror or error)


def _names(asset: Asset) -> Iterator[str]:
    """Yield the keys that an asset may come back to: its own first, then those with its uid."""
    yield asset.key
    yield numbered_key(asset.key, asset.uid[:8])
    for number in itertools.count(2):
        yield numbered_key(asset.key, f"{asset.uid[:8]}-{number}")


def _removal_report(
    tally: Tally, operation: int | None, plan: list[PlannedRemoval], *, is_dry_run: bool = False
) -> RemovalReport:
    counts = tally.counts
    return RemovalReport(
        operation=operation,
        dry_run=is_dry_run,
        counts=RemovalCounts(total=counts["total"], removed=counts["changed"], failed=counts["failed"]),
        removed=tally.changed,
        failed=tally.failed,
        plan=plan,
    )


def _trash_name(uid: str, operation_id: int) -> str:
    return f"{utc_now().replace(' ', '_').replace(':', '')}-{uid}-{operation_id}"


def _uid_of_trash(folder: str) -> str | None:
    """Return whose files a folder of the trash holds."""
    name, _, operation = folder.rpartition("-")
    is_number = operation.isascii() and operation.isdigit() and len(operation) <= _MOST_DIGITS
    return name[_TIME_WIDTH:] if is_number else None


def _chunks(items: Iterable[str]) -> Iterator[list[str]]:
    rest = iter(items)
    while chunk := list(itertools.islice(rest, _CHUNK)):
        yield chunk
