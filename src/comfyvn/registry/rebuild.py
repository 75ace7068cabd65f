"""Rebuild: bring the ledger in step with what lies on disk.

A file is recognised in this order: sidecar beside it, then path with unchanged size and time, then the
content of an asset whose file is gone, then the uid in its marker; else it is new. What can't be decided is a
conflict in the report, and nothing is changed. Nothing is ever deleted: an asset whose file is gone is marked
missing and keeps everything.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, Final

import click

from comfyvn import media
from comfyvn.config import load
from comfyvn.errors import (
    ComfyVNError,
    InvalidAssetType,
    LibraryChanged,
    LibraryUnreachable,
)
from comfyvn.model import Asset, Facts, FileStat, normalise_type, parse_provenance, utc_now
from comfyvn.registry import console
from comfyvn.registry.audit import audit_sidecars, check_folder, check_library
from comfyvn.registry.audit import summary as audit_summary
from comfyvn.registry.ingest import type_of_medium
from comfyvn.sidecar import Sidecar
from comfyvn.storage import LocalStorage
from comfyvn.studio.core import AssetRegistry
from comfyvn.studio.core.library import Library
from comfyvn.studio.core.previews import POOL
from comfyvn.studio.core.registration import Registrar, Request

__all__ = ["RebuildReport", "audit_sidecars", "command", "rebuild", "rebuild_from_disk"]

_CHUNK: Final = 256
_NAMES_SHOWN: Final = 30
_MISSING_PERCENT: Final = 20
_MISSING_SLACK: Final = 1  # one lost file is no lost drive, however small the library


@dataclass(slots=True)
class RebuildReport:
    """What a rebuild found and did.

    ``processed`` counts files seen, ``touched`` those whose time changed but not their content. ``conflicts``
    holds ``{"path", "why", "candidates"}``, ``skipped`` and ``failed`` ``{"path", "why"}``; the other lists
    hold ``{"uid", "path"}``.
    """

    assets_root: str = ""
    thumb_root: str = ""
    processed: int = 0
    unchanged: int = 0
    touched: int = 0
    registered: list[dict[str, str]] = field(default_factory=list)
    restored: list[dict[str, str]] = field(default_factory=list)
    moved: list[dict[str, str]] = field(default_factory=list)
    content_changed: list[dict[str, str]] = field(default_factory=list)
    metadata_changed: list[dict[str, str]] = field(default_factory=list)
    missing: list[dict[str, str]] = field(default_factory=list)
    duplicates: list[dict[str, str]] = field(default_factory=list)
    conflicts: list[dict[str, Any]] = field(default_factory=list)
    skipped: list[dict[str, str]] = field(default_factory=list)
    failed: list[dict[str, str]] = field(default_factory=list)

    @property
    def removed(self) -> int:
        """How many assets are newly marked missing; older releases deleted their rows and counted those."""
        return len(self.missing)

    def as_dict(self) -> dict[str, Any]:
        """Return the report as JSON values, with the counts that older releases had."""
        return {**asdict(self), "removed": self.removed}


def rebuild_from_disk(
    *,
    assets_root: str | Path,
    db_path: str | Path,
    thumbs_root: str | Path | None = None,
    project_id: str = "default",
    remove_stale: bool = True,
    wait_for_thumbs: bool = True,
) -> RebuildReport:
    """Rebuild a library; the signature of older releases.

    Args:
        assets_root: the assets folder; it must exist.
        db_path: the ledger; made if missing.
        thumbs_root: the preview cache.
        project_id: the project in the ledger.
        remove_stale: mark assets whose file is gone as missing. No row is ever deleted.
        wait_for_thumbs: return only when all previews are made.

    Raises:
        LibraryUnreachable: the folder is missing, or empty where the ledger knows assets.
        ForeignLibrary: folder and ledger belong to different libraries.
        LibraryChanged: more than a fifth of the assets would be marked missing.
    """
    check_folder(Path(assets_root))
    with AssetRegistry(db_path, project_id, assets_root=assets_root, thumb_root=thumbs_root) as registry:
        report = rebuild(registry, mark_missing=remove_stale)
        if wait_for_thumbs:
            registry.wait_for_thumbnails()
    return report


def rebuild(
    registry: AssetRegistry,
    *,
    mark_missing: bool = True,
    allow_missing: bool = False,
    on_file: Callable[[str], None] | None = None,
) -> RebuildReport:
    """Bring a library's ledger in step with its folder.

    Args:
        registry: the library.
        mark_missing: mark assets whose file is gone.
        allow_missing: even if that is more than a fifth of them.
        on_file: called with the key of each file, for a progress bar.

    Raises:
        LibraryUnreachable, ForeignLibrary, LibraryChanged: refused; no row was changed.
    """
    library = registry.library
    report = RebuildReport(str(registry.ASSETS_ROOT), str(registry.THUMB_ROOT))
    check_library(library, allow_missing=allow_missing)
    missing = _find_missing(library, allow_missing) if mark_missing else []
    _mark_missing(library, missing, report)
    skipped: list[tuple[str, str]] = []
    files = (item for item in library.storage.walk(skipped) if not library.is_sidecar(item[0]))
    rebuilder = _Rebuilder(library, report, on_file)
    while chunk := list(islice(files, _CHUNK)):
        rebuilder.take(chunk)
    report.skipped += [{"path": path, "why": why} for path, why in skipped]
    found = {each["uid"] for each in report.moved}
    report.missing = [each for each in report.missing if each["uid"] not in found]
    return report


class _Rebuilder:
    """Takes files in and says what became of each in the report."""

    def __init__(
        self, library: Library, report: RebuildReport, on_file: Callable[[str], None] | None
    ) -> None:
        self._library = library
        self._report = report
        self._on_file = on_file
        self._registrar = Registrar(library, is_repeatable=True)
        self._claim = parse_provenance(
            None, {}, user_id=library.config.user, commit_hash=library.commit_hash(), limits=library.limits
        )

    def take(self, files: list[tuple[str, FileStat]]) -> None:
        """Take in some files; a bad one is reported and the others go on."""
        with self._library.read() as rows:
            owners = rows.owners([key for key, _ in files])
        for key, stat in files:
            self._report.processed += 1
            try:
                owner = owners.get(key)
                if owner is None:
                    self._meet_stranger(key)
                else:
                    self._revisit(owner, stat)
            except (ComfyVNError, OSError) as error:
                self._report.failed.append({"path": key, "why": str(error)})
            if self._on_file is not None:
                self._on_file(key)

    # -- a file where the ledger knows an asset -------------------------------------------------------

    def _revisit(self, asset: Asset, stat: FileStat) -> None:
        sidecar_stat = self._library.storage.stat(self._library.sidecar_key(asset.key))
        is_edited = sidecar_stat not in (asset.sidecar_file, None)
        found = self._sidecar(asset.key, asset.facts) if is_edited else None
        if found is not None and found.uid not in (None, asset.uid):
            self._conflict(
                asset.key, "its sidecar names another asset than the ledger", [asset.uid, found.uid]
            )
            return
        if asset.missing_since is not None or stat != asset.file:
            self._look_inside(asset, stat)
        else:
            self._report.unchanged += 1
        changed = self._library.change([asset.uid], lambda known: known.facts) if found is not None else {}
        if asset.uid in changed and changed[asset.uid].facts != asset.facts:
            self._note(self._report.metadata_changed, asset.uid, asset.key)
        self._renew_preview(asset)

    def _look_inside(self, asset: Asset, stat: FileStat) -> None:
        """Tell a touched file from a repainted one."""
        reading = self._read(asset.key)
        if reading.digest != asset.digest:
            outcome = self._registrar.register(self._request(asset.key, asset.type))
            if outcome.asset is not None and outcome.asset.uid == asset.uid:
                self._note(self._report.content_changed, asset.uid, asset.key)
            return
        self._report.touched += asset.missing_since is None
        with self._library.transaction() as change:
            current = change.rows.asset(asset.uid)
            if current is None:
                return
            if current.missing_since is not None:
                self._note(self._report.restored, asset.uid, asset.key)
                change.tell("asset_restored", current, before={"missing_since": current.missing_since})
            change.update(replace(current, file=stat, missing_since=None))

    def _renew_preview(self, asset: Asset) -> None:
        """Queue a preview whose files are gone, or that was never made."""
        preview = asset.preview
        is_lost = not all(path.is_file() for path in self._library.preview_paths(asset))
        if preview.state == "pending" or (preview.state == "ready" and is_lost):
            POOL.submit(self._library, [replace(asset, preview=replace(preview, state="pending"))])

    # -- a file where the ledger knows none -----------------------------------------------------------

    def _meet_stranger(self, key: str) -> None:
        found = self._sidecar(key)
        if found is not None and found.project not in (None, self._library.ledger.project_id):
            why = f"its sidecar belongs to the project {found.project!r}"
            self._report.skipped.append({"path": key, "why": why})
            return
        reading = self._read(key)
        marked_uid = _uid_of(reading.marker)
        with self._library.read() as rows:
            named = rows.asset(found.uid) if found is not None and found.uid else None
            known = rows.known(reading.digest)
            marked = rows.asset(marked_uid) if marked_uid else None
        if named is not None:
            self._settle_named(named, key, reading)
        elif found is not None and found.uid:
            self._take_in(key, found, found.uid)
        elif known is not None:
            self._settle_known(known, key, reading)
        elif marked is not None and self._library.storage.stat(marked.key) is None:
            self._settle_named(marked, key, reading)
        else:
            self._take_in(key, found, None if marked is not None else marked_uid)

    def _settle_named(self, asset: Asset, key: str, reading: media.Reading) -> None:
        """A sidecar or marker says that this file is an asset: believe it if that one's file is gone."""
        if self._library.storage.stat(asset.key) is not None:
            why = f"its sidecar names the asset {asset.uid}, whose file lies at {asset.key}"
            self._conflict(key, why, [asset.uid])
            return
        self._relocate(asset, key)
        if reading.digest != asset.digest:
            self._registrar.register(self._request(key, asset.type))
            self._note(self._report.content_changed, asset.uid, key)

    def _settle_known(self, asset: Asset, key: str, reading: media.Reading) -> None:
        """The content is known: the asset was moved here, or this is one more copy of it."""
        if self._library.storage.stat(asset.key) is None:
            self._settle_named(asset, key, reading)  # it may have come back as an older version
        else:
            self._note(self._report.duplicates, asset.uid, key)

    def _relocate(self, asset: Asset, key: str) -> None:
        stat = self._library.storage.stat(key)
        if stat is None:
            return
        with self._library.transaction() as change:
            current = change.rows.asset(asset.uid)
            if current is not None:
                self._library.relocate(change, current, key, stat)
        self._note(self._report.moved, asset.uid, key)

    def _take_in(self, key: str, found: Sidecar | None, uid: str | None) -> None:
        """Register a file that nobody knows; what its sidecar says comes back with it."""
        kind = _stated_type(found) or _type_of(key)
        outcome = self._registrar.register(replace(self._request(key, kind), wanted_uid=uid))
        assert outcome.asset is not None
        self._note(self._report.registered, outcome.asset.uid, key)

    # -- inside ---------------------------------------------------------------------------------------

    def _request(self, key: str, kind: str) -> Request:
        return Request(
            source=self._library.storage.path(key),
            type=kind,
            key=key,
            facts=Facts(),
            claim=self._claim,
            is_copy=False,
            is_rebuild=True,
        )

    def _sidecar(self, key: str, base: Facts | None = None) -> Sidecar | None:
        return self._library.read_sidecar(key, base)

    def _read(self, key: str) -> media.Reading:
        with self._library.storage.open(key) as source:
            reading = media.read(source.file, name=key)
            source.check_unchanged()
        return reading

    def _conflict(self, key: str, why: str, candidates: list[str | None]) -> None:
        uids = [uid for uid in candidates if uid]
        self._report.conflicts.append({"path": key, "why": why, "candidates": uids})

    def _note(self, items: list[dict[str, str]], uid: str, key: str) -> None:
        items.append({"uid": uid, "path": key})


def _find_missing(library: Library, allow_missing: bool) -> list[str]:
    """Return the uids of assets whose file is gone and that are not marked yet."""
    total, missing = 0, []
    for asset in library.ledger.iterate():
        total += 1
        if asset.missing_since is None and library.storage.stat(asset.key) is None:
            missing.append(asset.uid)
    limit = max(_MISSING_SLACK, total * _MISSING_PERCENT // 100)
    if len(missing) > limit and not allow_missing:
        lost = set(missing) - _uids_of_strangers(library)  # a renamed folder is no lost drive
        if len(lost) > limit:
            raise LibraryChanged(missing=len(lost), total=total, percent=_MISSING_PERCENT)
    return missing


def _uids_of_strangers(library: Library) -> set[str]:
    """Return the uids that files at unknown keys have by sidecar or content: their assets were moved."""
    found: set[str | None] = set()
    for chunk in _chunks(key for key, _ in library.storage.walk([]) if not library.is_sidecar(key)):
        with library.read() as rows:
            owned = rows.owners(chunk)
        found |= {_uid_of_stranger(library, key) for key in chunk if key not in owned}
    return {uid for uid in found if uid is not None}


def _uid_of_stranger(library: Library, key: str) -> str | None:
    try:
        beside = library.read_sidecar(key)
        if beside is not None and beside.uid is not None:
            return beside.uid
        with library.storage.open(key) as source:
            digest = media.read(source.file, name=key).digest
    except (ComfyVNError, OSError):
        return None  # the rebuild itself will say what is wrong with it
    with library.read() as rows:
        known = rows.known(digest)
    return None if known is None else known.uid


def _mark_missing(library: Library, uids: list[str], report: RebuildReport) -> None:
    for chunk in _chunks(uids):
        with library.transaction() as change:
            for asset in change.rows.assets(chunk):
                gone = replace(asset, missing_since=utc_now())
                change.update(gone)
                change.tell("asset_missing", gone, after={"missing_since": gone.missing_since})
                report.missing.append({"uid": asset.uid, "path": asset.key})


def _chunks(items: Iterable[str]) -> Iterator[list[str]]:
    rest = iter(items)
    while chunk := list(islice(rest, _CHUNK)):
        yield chunk


def _uid_of(marker: bytes | None) -> str | None:
    """Return the uid that a marker names, if it looks like one of ours."""
    try:
        value = json.loads(marker or b"null")
    except (ValueError, RecursionError):
        return None
    uid = value.get("uid") if isinstance(value, dict) else None
    is_uid = isinstance(uid, str) and 16 <= len(uid) <= 64 and set(uid) <= set("0123456789abcdef")
    return uid if is_uid else None


def _stated_type(found: Sidecar | None) -> str | None:
    """Return the type that a sidecar states, if it can be one."""
    try:
        return normalise_type(found.type) if found is not None and found.type else None
    except InvalidAssetType:
        return None


def _type_of(key: str) -> str:
    """Return the type of a file that nobody named: its first folder, else its kind of medium."""
    folder, slash, _ = key.partition("/")
    return folder if slash else type_of_medium(key)


@click.command("rebuild")
@console.library_options
@click.option("--from-disk", is_flag=True, help="Do it; `comfyvn rebuild` needs no such word.")
@click.option("--enforce-sidecars", is_flag=True, help="Then write sidecars and mirrors that are missing.")
@click.option("--fix-metadata", is_flag=True, help="Guess missing tags and licences from the folders.")
@click.option("--overwrite-sidecars", is_flag=True, help="Write every sidecar again.")
@click.option("--metadata-report", "--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option("--no-remove-stale", is_flag=True, help="Don't mark assets whose file is gone as missing.")
@click.option("--allow-missing", is_flag=True, help="Mark them even if they are more than a fifth.")
@click.option("--no-thumb-wait", is_flag=True, help="Don't wait for previews; the next run makes the rest.")
@click.option("--no-smoke", is_flag=True, help="An assets folder without any file is fine.")
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
@click.option("--verbose", is_flag=True, help="Show more log messages.")
@click.pass_context
def command(context: click.Context, /, from_disk: bool, quiet: bool, verbose: bool, **options: Any) -> int:
    """Bring the ledger in step with the assets folder. Nothing is ever deleted.

    As `python -m comfyvn.registry.rebuild` it does nothing without --from-disk, as older releases did.

    Exit code 0: fine. 1: conflicts, files that could not be taken in, or sidecars missing or broken. 4:
    refused, nothing was changed.
    """
    if not from_disk and context.parent is None:
        click.echo(context.get_help(), err=True)
        return 1
    console.set_up_logging("ERROR" if quiet else "INFO" if verbose else None)
    return rebuild_command(quiet=quiet, **options)


def rebuild_command(
    *,
    db_path: str | None,
    assets_dir: str | None,
    thumbs_dir: str | None,
    project_id: str | None,
    enforce_sidecars: bool,
    fix_metadata: bool,
    overwrite_sidecars: bool,
    as_json: bool,
    no_remove_stale: bool,
    allow_missing: bool,
    no_thumb_wait: bool,
    no_smoke: bool,
    quiet: bool,
) -> int:
    """Rebuild, then audit or enforce; print the report; return the exit code."""
    folder = load({"assets_root": assets_dir, "db": db_path}).assets_root
    check_folder(folder)
    check_not_empty(folder, no_smoke=no_smoke)
    with console.open_registry(db_path, assets_dir, thumbs_dir, project_id) as registry:
        with console.progress("rebuilding", quiet=quiet or as_json) as bar:
            report = rebuild(
                registry,
                mark_missing=not no_remove_stale,
                allow_missing=allow_missing,
                on_file=lambda key: bar.advance(),
            )
        if no_thumb_wait:
            POOL.cancel()
        registry.wait_for_thumbnails()  # else the audit would miss previews that are being made again
        audit = audit_sidecars(
            registry,
            fix_missing=enforce_sidecars,
            overwrite=overwrite_sidecars,
            fill_metadata=fix_metadata,
        )
    if as_json:
        console.emit_json({"rebuild": report.as_dict(), "audit": audit.as_dict()})
    elif not quiet:
        console.echo(_summary(report))
        console.echo(audit_summary(audit))
    wants_sidecars = enforce_sidecars or overwrite_sidecars
    is_unfinished = bool(audit.unrepaired_sidecars) if wants_sidecars else bool(audit.broken_sidecars)
    return 1 if report.conflicts or report.failed or is_unfinished else 0


def check_not_empty(folder: Path, *, no_smoke: bool) -> None:
    """Refuse a folder without any asset: a mistyped name, or a drive that is not mounted.

    Raises:
        LibraryUnreachable: nothing is there.
    """
    is_empty = next(LocalStorage(folder).walk([]), None) is None
    if is_empty and not no_smoke:
        why = "there is no asset in this folder (--no-smoke accepts that for a new library)"
        raise LibraryUnreachable(path=folder, why=why)


def _summary(report: RebuildReport) -> str:
    counts = {
        "unchanged": report.unchanged,
        "touched but the same": report.touched,
        "new": len(report.registered),
        "moved": len(report.moved),
        "with new content": len(report.content_changed),
        "with edited sidecars": len(report.metadata_changed),
        "found again": len(report.restored),
        "missing": len(report.missing),
        "copies of known content": len(report.duplicates),
        "skipped": len(report.skipped),
    }
    shown = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
    lines = [f"{report.processed} files in {report.assets_root}" + (f": {shown}." if shown else ".")]
    named = {"moved": report.moved, "new content": report.content_changed, "missing": report.missing}
    for what, items in named.items():
        lines += [f"  {what}: {each['path']} ({each['uid']})" for each in items[:_NAMES_SHOWN]]
        if len(items) > _NAMES_SHOWN:
            lines.append(f"  ... and {len(items) - _NAMES_SHOWN} more {what}: see --json")
    lines += [f"  conflict: {each['path']}: {each['why']}" for each in report.conflicts]
    lines += [f"  failed: {each['path']}: {each['why']}" for each in report.failed]
    lines += [f"  skipped: {each['path']}: {each['why']}" for each in report.skipped]
    return "\n".join(lines)


if __name__ == "__main__":
    console.run(command, "python -m comfyvn.registry.rebuild")
