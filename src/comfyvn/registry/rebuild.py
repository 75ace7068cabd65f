"""Rebuild: bring the ledger in step with what lies on disk, and the other way round.

No asset and nothing that is known of one is ever deleted: one whose file is gone is marked missing and keeps
everything. Who a file is, `comfyvn.registry.rescan` tells.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from comfyvn import media
from comfyvn.config import Config, load
from comfyvn.db import quarantine as move_aside
from comfyvn.errors import (
    ComfyVNError,
    InvalidSidecar,
    LibraryChanged,
    LibraryUnreachable,
    OutsideLibrary,
    PathConflict,
    RestoreRefused,
)
from comfyvn.model import FileStat
from comfyvn.registry import console
from comfyvn.registry.audit import audit_sidecars, check_folder, check_library
from comfyvn.registry.audit import summary as audit_summary
from comfyvn.registry.rescan import RebuildReport, Rescan
from comfyvn.registry.survey import Survey
from comfyvn.sidecar import Sidecar
from comfyvn.storage import LocalStorage
from comfyvn.storage.keys import OWN_FOLDERS
from comfyvn.studio.core import AssetRegistry
from comfyvn.studio.core.history import History
from comfyvn.studio.core.library import Library
from comfyvn.studio.core.previews import POOL

__all__ = ["RebuildReport", "audit_sidecars", "command", "rebuild", "rebuild_from_disk"]

_log = logging.getLogger(__name__)
_T = TypeVar("_T")
_CHUNK: Final = 256
_NAMES_SHOWN: Final = 30
_MISSING_PERCENT: Final = 20
_MISSING_SLACK: Final = 1  # one lost file is no lost drive, however small the library


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
    verify: bool = False,
    only: Iterable[str] | None = None,
    leave_out: Callable[[str, FileStat], bool] | None = None,
    on_files: Callable[[int], None] | None = None,
) -> RebuildReport:
    """Bring a library's ledger in step with its folder. Of two at once the second waits.

    Args:
        registry: the library.
        mark_missing: mark assets whose file is gone.
        allow_missing: even if that is more than a fifth of them.
        verify: read files that look untouched, too; those that are damaged are reported as rotten.
        only: look only at these keys, of files, sidecars or folders, there or gone; default: everything.
        leave_out: asked for each file that may have changed; True leaves it for another time, without a word
            in the report.
        on_files: called now and then with how many more files were looked at, for a progress bar. What it
            raises ends the rebuild; the next one goes on from there.

    Raises:
        LibraryUnreachable, ForeignLibrary, LibraryChanged: refused; no row was changed.
    """
    library = registry.library
    report = RebuildReport(str(registry.ASSETS_ROOT), str(registry.THUMB_ROOT))
    check_library(library, allow_missing=allow_missing)
    with library.storage.lock(_waiting(on_files)):
        seen: Survey | _Chosen
        if only is None:
            seen = Survey(library, is_verifying=verify, leave_out=leave_out, on_files=on_files)
        else:
            seen = _Chosen(library, only, leave_out)
        if not allow_missing and mark_missing:
            _check_few_missing(library, seen.gone)
        if only is None:
            History(library).clear_previews()
        rescan = Rescan(library, report, seen.shared, is_verifying=verify, on_files=on_files)
        gone = [uid for uid, _ in seen.gone]
        astray: list[tuple[str, str]] = []
        for lost in _chunks(_lost_sidecars(library, report, seen.uneven, astray), _CHUNK):
            rescan.take_lost(lost)
            gone += [str(found.uid) for _, found in lost]
        for chunk in _chunks(seen.files(), _CHUNK):
            rescan.take(chunk)
        report.processed += seen.unchanged
        report.unchanged += seen.unchanged
        if rescan.has_newcomers:  # looked for again: to remember them all could take much memory
            for chunk in _chunks(seen.files(), _CHUNK):
                rescan.take_newcomers(chunk)
        rescan.finish()
        for uid, key in astray:
            _settle_astray(library, uid, key)
        left = _recover(library, gone, report)
        rescan.take_recovered(report.recovered)
        rescan.mark_missing(left if mark_missing else [])
        report.skipped += [{"path": path, "why": why} for path, why in seen.skipped]
    return report


class _Chosen:
    """Some files, sidecars and folders, each to be looked at closely; what `Survey` says of everything."""

    def __init__(
        self, library: Library, paths: Iterable[str], leave_out: Callable[[str, FileStat], bool] | None
    ) -> None:
        self._library = library
        self._keys = _owners_of(library, paths)
        self._leave_out = leave_out
        rows = library.ledger.iterate_below(self._keys)
        lost = [asset for asset in rows if library.storage.stat(asset.key) is None]
        self.gone = [(asset.uid, asset.missing_since is not None) for asset in lost]
        self.shared = {asset.mirror_key for asset in lost if asset.mirror_key is not None}
        self.skipped: list[tuple[str, str]] = []
        self.uneven: list[str] = []
        self.unchanged = 0

    def files(self) -> Iterator[tuple[str, FileStat]]:
        """Yield (key, stat) of the files, each once."""
        self.skipped.clear()
        seen: set[str] = set()
        for key, stat in self._lying():
            if key not in seen and not self._library.is_sidecar(key):
                seen.add(key)
                if self._leave_out is None or not self._leave_out(key, stat):
                    yield key, stat

    def _lying(self) -> Iterator[tuple[str, FileStat]]:
        storage = self._library.storage
        for key in self._keys:
            if storage.is_folder(key):
                yield from storage.walk(self.skipped, key)
            elif (stat := storage.stat(key)) is not None:
                yield key, stat


def _waiting(on_files: Callable[[int], None] | None) -> Callable[[], None]:
    """Return what says once that we wait, and lets who watches the progress break off meanwhile."""
    told = iter(["another rebuild of this library is at work; waiting for its end"])

    def wait() -> None:
        for text in told:
            _log.warning(text)
        if on_files is not None:
            on_files(0)

    return wait


def _owners_of(library: Library, paths: Iterable[str]) -> list[str]:
    """Return the keys of files and folders that some paths stand for: a sidecar stands for its asset."""
    suffix = library.sidecar_suffix
    keys = (path.removesuffix(suffix) if library.is_sidecar(path) else path for path in paths)
    return sorted({key for key in keys if key.partition("/")[0] not in OWN_FOLDERS})


def _recover(library: Library, gone: Iterable[str], report: RebuildReport) -> list[str]:
    """Bring files back that a killed removal left in the trash, if they are nowhere else; return the rest."""
    history, left = History(library), list(gone)
    trashed = history.uids_in_trash() if left else set()
    for uid in trashed & set(left):
        try:
            is_back = history.recover_trash(uid)
        except (PathConflict, OutsideLibrary) as error:
            report.failed.append({"path": uid, "why": f"what the trash has of it can't come back: {error}"})
        else:
            report.recovered += [uid] if is_back else []
    return [uid for uid in left if uid not in report.recovered]


def _check_few_missing(library: Library, gone: Sequence[tuple[str, bool]]) -> None:
    """Refuse when so many files are gone that a drive is rather not mounted.

    Raises:
        LibraryChanged: more than a fifth of the assets would be marked missing.
    """
    newly = {uid for uid, is_marked in gone if not is_marked}
    if len(newly) <= _MISSING_SLACK:
        return
    newly -= History(library).uids_in_trash()
    with library.read() as rows:
        total = rows.count()
    limit = max(_MISSING_SLACK, total * _MISSING_PERCENT // 100)
    if len(newly) > limit:
        lost = newly - _uids_of_strangers(library)  # a renamed folder is no lost drive
        if len(lost) > limit:
            raise LibraryChanged(missing=len(lost), total=total, percent=_MISSING_PERCENT)


def _uids_of_strangers(library: Library) -> set[str]:
    """Return the uids that files at unknown keys have by sidecar or content: their assets were moved."""
    found: set[str | None] = set()
    keys = (key for key, _ in library.storage.walk([]) if not library.is_sidecar(key))
    for chunk in _chunks(keys, _CHUNK):
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


def _lost_sidecars(
    library: Library, report: RebuildReport, folders: Iterable[str], astray: list[tuple[str, str]]
) -> Iterator[tuple[str, Sidecar]]:
    """Yield sidecars without a file that name assets of this project which the ledger does not know.

    What a restore left behind that was killed is put right on the way. ``astray`` gets uids and keys of those
    that name an asset which belongs elsewhere.
    """
    for key, found in _lone_sidecars(library, report, folders):
        uid = str(found.uid)
        with library.read() as rows:
            asset = rows.asset(uid)
        if asset is not None:
            astray += [(uid, key)] if asset.key != key else []
        elif _is_restored(library, uid):
            report.recovered.append(uid)
        else:
            yield key, found


def _settle_astray(library: Library, uid: str, key: str) -> None:
    """Have an asset that is nowhere else follow its sidecar; what a killed move left behind is removed."""
    with suppress(InvalidSidecar):
        found = library.read_sidecar(key)
        if found is None or found.uid != uid or library.storage.exists(key):
            return
        if not library.follow_sidecar(uid, key):
            library.take_word(uid, found)
            library.drop_left_sidecar(uid, key)


def _is_restored(library: Library, uid: str) -> bool:
    try:
        return History(library).finish_restore(uid)
    except RestoreRefused:
        return False


def _lone_sidecars(
    library: Library, report: RebuildReport, folders: Iterable[str]
) -> Iterator[tuple[str, Sidecar]]:
    """Yield sidecars of this project in some folders that have no file beside them."""
    suffix = library.sidecar_suffix
    for prefix in folders:
        names = library.storage.names(prefix)
        for name in sorted(names):
            key = prefix + name.removesuffix(suffix)
            if not name.endswith(suffix) or name.removesuffix(suffix) in names or library.storage.exists(key):
                continue
            try:
                found = library.read_sidecar(key)
            except (ComfyVNError, OSError) as error:
                report.skipped.append({"path": prefix + name, "why": f"its file is gone, and {error}"})
                continue
            if found is not None and found.uid and found.project in (None, library.ledger.project_id):
                yield key, found


def _chunks(items: Iterable[_T], size: int) -> Iterator[list[_T]]:
    rest = iter(items)
    while chunk := list(islice(rest, size)):
        yield chunk


@click.command("rebuild")
@console.library_options
@click.option("--from-disk", is_flag=True, help="Do it; `comfyvn rebuild` needs no such word.")
@click.option("--enforce-sidecars", is_flag=True, help="Then write sidecars and mirrors that are missing.")
@click.option("--fix-metadata", is_flag=True, help="Guess missing tags and licences from the folders.")
@click.option("--overwrite-sidecars", is_flag=True, help="Write every sidecar again.")
@click.option("--metadata-report", "--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option("--quarantine", is_flag=True, help="Move a damaged ledger aside first, and build a new one.")
@click.option("--no-remove-stale", is_flag=True, help="Don't mark assets whose file is gone as missing.")
@click.option("--allow-missing", is_flag=True, help="Mark them even if they are more than a fifth.")
@click.option("--verify", is_flag=True, help="Read every file, also those that look untouched.")
@click.option("--no-thumb-wait", is_flag=True, help="Don't wait for previews; the next run makes the rest.")
@click.option("--no-smoke", is_flag=True, help="An assets folder without any file is fine.")
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
@click.option("--verbose", is_flag=True, help="Show more log messages.")
@click.pass_context
def command(context: click.Context, /, from_disk: bool, quiet: bool, verbose: bool, **options: Any) -> int:
    """Bring the ledger in step with the assets folder. No asset is ever deleted.

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
    quarantine: bool,
    no_remove_stale: bool,
    allow_missing: bool,
    verify: bool,
    no_thumb_wait: bool,
    no_smoke: bool,
    quiet: bool,
) -> int:
    """Rebuild, then audit or enforce; print the report; return the exit code."""
    folder = load({"assets_root": assets_dir, "db": db_path}).assets_root
    check_folder(folder)
    check_not_empty(folder, no_smoke=no_smoke)
    if quarantine:
        _quarantine(load({"assets_root": assets_dir, "db": db_path}))
    with console.open_registry(db_path, assets_dir, thumbs_dir, project_id) as registry:
        with console.progress("rebuilding", quiet=quiet or as_json) as bar:
            report = rebuild(
                registry,
                mark_missing=not no_remove_stale,
                allow_missing=allow_missing,
                verify=verify,
                on_files=bar.advance,
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
    for written in report.sidecars_written:  # what the rebuild itself has mended
        audit.missing_sidecars.append(written["uid"])
        audit.repaired_sidecars.append(written["uid"])
        audit.paths[written["uid"]] = written["path"]
    if as_json:
        console.emit_json({"rebuild": report.as_dict(), "audit": audit.as_dict()})
    elif not quiet:
        console.echo(_summary(report))
        console.echo(audit_summary(audit, is_brief=True))
    wants_sidecars = enforce_sidecars or overwrite_sidecars
    is_unfinished = bool(audit.unrepaired_sidecars) if wants_sidecars else bool(audit.broken_sidecars)
    return 1 if report.conflicts or report.failed or report.rotten or is_unfinished else 0


def _quarantine(config: Config) -> None:
    """Move a damaged ledger aside and say where it is: other parts of ComfyVN may have tables in it."""
    place = move_aside(config.db, LocalStorage(config.assets_root).quarantine_folder())
    what = "The damaged ledger, with the tables of other ComfyVN parts if it had any, lies in"
    console.echo(f"{what} {place}.", err=True)


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
        "with sidecars written again": len(report.sidecars_written),
        "healed": len(report.healed),
        "damaged": len(report.rotten),
        "missing": len(report.missing),
        "copies of known content": len(report.duplicates),
        "skipped": len(report.skipped),
    }
    shown = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
    lines = [f"{report.processed} files in {report.assets_root}" + (f": {shown}." if shown else ".")]
    lines += [f"  brought back from the trash: {uid}" for uid in report.recovered]
    named = {
        "new": report.registered,
        "moved": report.moved,
        "new content": report.content_changed,
        "missing": report.missing,
        "damaged (put a backup in its place)": report.rotten,
        "edited sidecar": report.metadata_changed,
        "copy": report.duplicates,
    }
    for what, items in named.items():
        lines += [f"  {what}: {each['path']} ({each['uid']})" for each in items[:_NAMES_SHOWN]]
        if len(items) > _NAMES_SHOWN:
            lines.append(f"  ... and {len(items) - _NAMES_SHOWN} more {what}: see --json")
    lines += [f"  conflict: {each['path']}: {each['why']}" for each in report.conflicts]
    for what, told in {"failed": report.failed, "skipped": report.skipped}.items():
        lines += [f"  {what}: {each['path']}: {each['why']}" for each in told[:_NAMES_SHOWN]]
        if len(told) > _NAMES_SHOWN:
            lines.append(f"  ... and {len(told) - _NAMES_SHOWN} more {what}: see --json")
    return "\n".join(lines)


if __name__ == "__main__":
    console.run(command, "python -m comfyvn.registry.rebuild")
