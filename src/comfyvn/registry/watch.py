"""Watch: take in what changes below the assets folder, as soon as it is quiet.

The system tells which files change; a file that holds still for a moment is handed to `rebuild`, together
with all others that changed meanwhile. What is told is only a hint where to look: who a file is, and what
becomes of it, the rebuild decides.
"""

from __future__ import annotations

import logging
import os
import stat
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import click

from comfyvn.config import load
from comfyvn.errors import (
    ComfyVNError,
    ForeignLibrary,
    LibraryChanged,
    LibraryUnreachable,
    WatchRunning,
)
from comfyvn.importers.walking import why_no_asset
from comfyvn.model import FileStat, utc_now
from comfyvn.registry import console
from comfyvn.registry.audit import check_folder
from comfyvn.registry.noticing import changes_below, check_extra, refuse_limit, stop_on_signals
from comfyvn.registry.rebuild import RebuildReport, rebuild
from comfyvn.storage.keys import OWN_FOLDERS
from comfyvn.studio.core import AssetRegistry
from comfyvn.studio.core.library import Library
from comfyvn.studio.core.previews import POOL

if TYPE_CHECKING:
    from comfyvn.registry.noticing import Group

__all__ = ["Batch", "command", "watch"]

_log = logging.getLogger(__name__)
_SETTLE_S: Final = 0.5
_BRIEF_S: Final = 0.1
_FEW: Final = 100  # who moves or writes more has not done yet
_NEWCOMER_PARTS: Final = 4  # how many times settle_s a batch waits for a file that came together with others
_PATIENCE_S: Final = 30.0  # a batch begins at last, though ever more files come
# Linux keeps 16,384 changes, some five a file, and then drops what comes: past this we look at everything
_MANY: Final = 2_000
_RETRY_S: Final = 10.0
_ABSENCE_S: Final = 1.0
_PAUSE_S: Final = 1.0
_NAMES_SHOWN: Final = 5
_PROBLEMS_SHOWN: Final = 30

Cause = Literal["start", "changes", "return", "absence"]
_Look = tuple[FileStat | None, FileStat | None]


@dataclass(frozen=True, slots=True)
class Batch:
    """What one look at the library brought.

    ``cause``: ``start`` (everything that happened while nothing watched), ``changes``, ``return`` (everything
    again, since the library was away or changes may have escaped us), or ``absence`` (the library is away and
    waited for). ``report`` is None when nothing could be done; ``trouble`` says what was not, and why.
    """

    cause: Cause
    at: str
    report: RebuildReport | None = None
    trouble: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the batch as JSON values."""
        report = self.report.as_dict() if self.report is not None else None
        return {"cause": self.cause, "at": self.at, "trouble": self.trouble, "report": report}


def watch(
    registry: AssetRegistry,
    *,
    stop: threading.Event | None = None,
    on_batch: Callable[[Batch], None] | None = None,
    settle_s: float = _SETTLE_S,
    polling: bool = False,
    hurry: threading.Event | None = None,
) -> None:
    """Take in what happened to a library, then what happens, until told to stop.

    What goes wrong with a batch is told in it and tried again; the watching goes on. A library whose drive
    goes away is waited for.

    Args:
        registry: the library.
        stop: set it to end the watching; a batch at work is finished.
        on_batch: called after each batch; what it raises ends the watching.
        settle_s: how long a file must hold still before it is taken in; after a mere move, or an edit of its
            sidecar, at most a tenth of a second.
        polling: look at every file twice a second, for drives that tell nothing (network, some containers).
        hurry: set it before ``stop`` to end a batch at work at its next safe point.

    Raises:
        ExtraMissing: the package ``watchfiles`` is not installed.
        LibraryUnreachable, ForeignLibrary: the library is not there now.
        WatchRunning: another process watches it.
        WatchLimit: the system lets no more folders be watched.
    """
    check_extra()
    on_batch = on_batch if on_batch is not None else lambda batch: None
    _Watch(registry, stop or threading.Event(), on_batch, settle_s, polling, hurry).run()


class _HurriedError(Exception):
    """The watch is to end, and has no time to finish a batch."""


@dataclass(slots=True)
class _Seen:
    """How file and sidecar of an asset looked, since when so, and when their first change was told."""

    look: _Look
    since_s: float
    first_s: float


class _Waiting:
    """Keys of files that changed, until they have settled; past `_MANY`, everything changed."""

    def __init__(self, library: Library, settle_s: float, *, by_seconds: bool) -> None:
        self._library = library
        self._settle_s = settle_s
        self._by_seconds = by_seconds
        self._seen: dict[str, _Seen] = {}
        self._is_everything = False
        self._arrived_s = self._began_s = time.monotonic()

    def add(self, key: str) -> None:
        """Note a change of the file at a key, or of its sidecar."""
        now, look = time.monotonic(), self._look(key)
        seen = self._seen.get(key)
        if seen is not None:
            seen.look, seen.since_s = look, now
            return
        if not self._seen and not self._is_everything:
            self._began_s = now
        self._arrived_s = now
        self._seen[key] = _Seen(look, now, now)
        if len(self._seen) > _MANY:
            self.add_everything()

    def add_everything(self) -> None:
        """Note that anything may have changed."""
        self._seen.clear()
        self._is_everything = True

    @property
    def is_due(self) -> bool:
        """Whether what came together is there; a file that is written for long holds up nobody for long."""
        if not self._seen and not self._is_everything:
            return False
        now, patience_s, settle_s = time.monotonic(), _NEWCOMER_PARTS * self._settle_s, self._settling_s()
        if now - self._began_s >= _PATIENCE_S:
            return True
        return now - self._arrived_s >= settle_s and all(
            now - seen.since_s >= settle_s or now - seen.first_s >= patience_s for seen in self._seen.values()
        )

    def take(self) -> list[str] | None:
        """Return the keys of what has settled, and wait for it no longer; None stands for everything."""
        self._began_s = time.monotonic()
        if self._is_everything:
            self._is_everything = False
            return None
        settle_s = self._settling_s()
        settled = [key for key in list(self._seen) if self._has_settled(key, settle_s)]
        for key in settled:
            del self._seen[key]
        return settled

    def keeps(self, key: str, stat_now: FileStat) -> bool:
        """Tell whether a file is to be waited for; one that was written just now is, from here on."""
        if key in self._seen:
            return not self._has_settled(key, self._settle_s)
        if not 0 <= time.time() - stat_now.mtime_ns / 1e9 < self._settle_s:
            return False
        self.add(key)
        return True

    def _settling_s(self) -> float:
        """Return how long what is waiting must hold still: not for long if that is few and not just written.

        Then they were moved, or have edited sidecars. What is only gone may come back: some programs save so.
        """
        if self._is_everything or len(self._seen) > _FEW:
            return self._settle_s
        files = [seen.look[0] for seen in self._seen.values() if seen.look[0] is not None]
        before_ns = (time.time() - self._settle_s) * 1e9
        is_brief = bool(files) and all(each.mtime_ns <= before_ns for each in files)
        return min(_BRIEF_S, self._settle_s) if is_brief else self._settle_s

    def _has_settled(self, key: str, settle_s: float) -> bool:
        seen, look, now = self._seen[key], self._look(key), time.monotonic()
        if look != seen.look:
            seen.look, seen.since_s = look, now
        return now - seen.since_s >= settle_s and not (self._by_seconds and _is_of_this_second(look))

    def _look(self, key: str) -> _Look:
        storage = self._library.storage
        return storage.stat(key), storage.stat(self._library.sidecar_key(key))


def _is_of_this_second(look: _Look) -> bool:
    """Tell a file that may change again unseen: polling compares times by whole seconds."""
    now_s = int(time.time())
    return any(each is not None and each.mtime_ns // 1_000_000_000 == now_s for each in look)


class _Watch:
    """One watch over one library."""

    def __init__(
        self,
        registry: AssetRegistry,
        stop: threading.Event,
        on_batch: Callable[[Batch], None],
        settle_s: float,
        polling: bool,
        hurry: threading.Event | None,
    ) -> None:
        self._registry = registry
        self._library = registry.library
        self._root = str(self._library.storage.root)
        self._stop = stop
        self._on_batch = on_batch
        self._polling = polling
        self._hurry = hurry or threading.Event()
        self._waiting = _Waiting(registry.library, settle_s, by_seconds=polling)
        self._copies: dict[str, str] = {}
        self._retry: tuple[float, Sequence[str] | None] | None = None
        self._trouble: str | None = None

    def run(self) -> None:
        """Watch until told to stop."""
        self._library.check_place()
        cause: Cause = "start"
        while not self._stop.is_set():
            with ExitStack() as stack:
                try:
                    is_ours = stack.enter_context(self._library.storage.claim("watch"))
                except OSError:
                    if self._place() is not None:
                        raise
                else:
                    if not is_ours:
                        raise WatchRunning(path=self._root)
                    self._watch_once(cause)
            self._wait_for_library()
            cause = "return"

    # -- while the library is there -------------------------------------------------------------------

    def _watch_once(self, cause: Cause) -> None:
        """Watch until told to stop, or until the library is another one or gone."""
        place = self._place()
        with closing(self._groups()) as groups:
            for group in groups:
                if place is None or self._place() != place:
                    return
                self._note(group)
                if cause != "changes":  # only now: from the first group on, nothing escapes us
                    self._take_in(None, cause)
                    cause = "changes"
                self._note_retry()
                if self._waiting.is_due:
                    self._take_in(self._waiting.take(), cause)

    def _groups(self) -> Generator[Group, None, None]:
        """Yield what the system tells, an empty group where it is quiet; end when the watch must begin anew.

        Raises:
            WatchLimit: the system lets no more folders be watched.
        """
        is_lenient = False
        while not self._stop.is_set():
            try:
                yield from changes_below(
                    [self._root], self._stop, polling=self._polling, is_lenient=is_lenient
                )
            except PermissionError as error:
                if is_lenient:
                    raise
                _log.warning("a folder can't be read, and is not watched: %s", error)
                is_lenient = True  # not from the start: watchfiles would keep quiet about its limits, too
            except (OSError, RuntimeError) as error:
                refuse_limit(error, self._root, polling=self._polling)
                if isinstance(error, OSError) and self._place() is not None:
                    raise
                _log.info("the watch begins anew: %s", error)  # such as a name that is no text
                self._stop.wait(_PAUSE_S)
                return

    def _place(self) -> tuple[int, int] | None:
        """Return what tells the library's folder from another one in its place; None when it is away."""
        try:
            self._library.check_place()
            status = Path(self._root).stat()
        except (ComfyVNError, OSError):
            return None
        return status.st_dev, status.st_ino

    def _wait_for_library(self) -> None:
        said = None
        while not self._stop.is_set():
            try:
                self._library.check_place()
                return
            except (LibraryUnreachable, ForeignLibrary) as error:
                trouble = f"{error} Watching goes on when it is back."
            if trouble != said:
                self._on_batch(Batch("absence", utc_now(), trouble=trouble))
                said = trouble
            self._stop.wait(_ABSENCE_S)

    # -- what changed ---------------------------------------------------------------------------------

    def _note(self, group: Group) -> None:
        folders: dict[str, str | None] = {}
        for change, path in group:
            key = self._key_of(path, folders)
            if key is None:
                continue
            if not _is_folder(path):
                self._wait_for(key)
            elif change.name == "added":  # what came with it is not told one by one
                for found, _ in self._library.storage.walk([], key):
                    self._wait_for(found)

    def _key_of(self, path: str, folders: dict[str, str | None]) -> str | None:
        """Return the key of a path, None outside the library and in our own folders; links are resolved."""
        folder, name = os.path.split(path)
        if folder not in folders:
            root, real = os.path.realpath(self._root), os.path.realpath(folder)
            is_inside = real == root or real.startswith(root.rstrip(os.sep) + os.sep)
            folders[folder] = Path(real).relative_to(root).as_posix() if is_inside else None
        prefix = folders[folder]
        if prefix is None:
            return None
        key = name if prefix == "." else f"{prefix}/{name}"
        return None if key.partition("/")[0] in OWN_FOLDERS else key

    def _wait_for(self, key: str) -> None:
        library = self._library
        owner = key.removesuffix(library.sidecar_suffix) if library.is_sidecar(key) else key
        if not library.is_sidecar(owner) and _is_wanted(owner):
            self._waiting.add(owner)

    def _is_left_out(self, key: str, stat_now: FileStat) -> bool:
        return not _is_wanted(key) or self._waiting.keeps(key, stat_now)

    def _changed(self, keys: Sequence[str]) -> list[str]:
        """Return those of some keys whose files are not what the ledger remembers: we write sidecars, too."""
        storage = self._library.storage
        with self._library.read() as rows:
            owners = rows.owners(keys)
            changed = []
            for key in keys:
                asset, now = owners.get(key), storage.stat(key)
                if asset is None:
                    is_changed = now is not None or bool(rows.below(key, "", 1))
                elif now is None or asset.missing_since is not None:
                    is_changed = (now is None) != (asset.missing_since is not None)
                else:
                    beside = storage.stat(self._library.sidecar_key(key))
                    is_changed = now != asset.file or beside != asset.sidecar_file
                if is_changed:
                    changed.append(key)
        return changed

    # -- taking it in ---------------------------------------------------------------------------------

    def _take_in(self, keys: Sequence[str] | None, cause: Cause) -> None:
        """Rebuild these keys, or everything; what could not be done is told once and tried again."""
        try:
            changed = keys if keys is None else self._changed(keys)
            if changed == []:
                return
            report, trouble = self._rebuild(changed)
        except _HurriedError:
            return  # the next start goes on from there
        except (ComfyVNError, OSError) as error:
            if self._place() is None:
                return  # that is said elsewhere, and everything is looked at when it is back
            self._retry = (time.monotonic() + _RETRY_S, None if self._retry is not None else keys)
            trouble = str(error)
            if trouble != self._trouble:
                self._on_batch(Batch(cause, utc_now(), trouble=trouble))
            self._trouble = trouble
            return
        self._trouble = None
        self._note_copies(report)
        self._on_batch(Batch(cause, utc_now(), report, trouble))

    def _rebuild(self, keys: Sequence[str] | None) -> tuple[RebuildReport, str | None]:
        leave_out = self._is_left_out if keys is None else None
        try:
            return rebuild(self._registry, only=keys, leave_out=leave_out, on_files=self._advance), None
        except LibraryChanged as error:
            report = rebuild(
                self._registry, only=keys, leave_out=leave_out, on_files=self._advance, mark_missing=False
            )
            return report, f"{error} Everything else was taken in."

    def _advance(self, _count: int) -> None:
        if self._hurry.is_set():
            raise _HurriedError

    def _note_retry(self) -> None:
        if self._retry is None or time.monotonic() < self._retry[0]:
            return
        keys, self._retry = self._retry[1], None
        if keys is None:
            self._waiting.add_everything()
        for key in keys or ():
            self._waiting.add(key)

    def _note_copies(self, report: RebuildReport) -> None:
        """Look again at copies of assets that are missing now: some programs move by copy and delete."""
        uids = {each["uid"] for each in report.missing}
        if uids and len(self._copies) > _MANY:
            self._waiting.add_everything()
        for key in [key for key, uid in self._copies.items() if uid in uids]:
            del self._copies[key]
            self._waiting.add(key)
        for each in report.duplicates:
            if len(self._copies) <= _MANY:
                self._copies[each["path"]] = each["uid"]


def _is_folder(path: str) -> bool:
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except OSError:
        return False


def _is_wanted(key: str) -> bool:
    """Tell by its name whether a file can be an asset that somebody made; see `comfyvn ingest`."""
    *folders, name = key.split("/")
    return why_no_asset(name) is None and not any(folder.startswith(".") for folder in folders)


# -- the command --------------------------------------------------------------------------------------------


@click.command("watch")
@console.library_options
@click.option("--polling", is_flag=True, help="Look at every file twice a second: for network drives.")
@click.option(
    "--settle",
    "settle_s",
    type=click.FloatRange(0.05, 3600),
    default=_SETTLE_S,
    show_default=True,
    metavar="SECONDS",
    help="How long a file must hold still before it is taken in.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line (JSON Lines).")
def command(
    polling: bool,
    settle_s: float,
    as_json: bool,
    db_path: str | None,
    assets_dir: str | None,
    thumbs_dir: str | None,
    project_id: str | None,
) -> int:
    """Take in what changes in the assets folder, as it happens: a rebuild of just that.

    First everything is taken in that happened before. Hidden files and temporary files of other programs are
    left alone. If the drive goes away, the watch waits for it. Ctrl-C ends it.

    Needs `pip install "comfyvn[server]"`. Exit code 4: the library is not there, or is watched already. 5:
    the system lets no more folders be watched.
    """
    console.set_up_logging()
    config = load({"db": db_path, "assets_root": assets_dir})
    check_folder(config.assets_root)
    library = console.open_registry(db_path, assets_dir, thumbs_dir, project_id)
    with library as registry, stop_on_signals() as (stop, interrupts):
        console.echo(f"Watching {registry.ASSETS_ROOT}. Ctrl-C ends it.", err=True)
        show = _print_json if as_json else _print
        try:
            watch(registry, stop=stop, on_batch=show, settle_s=settle_s, polling=polling)
        finally:
            POOL.cancel()  # previews that wait stay pending; the next start makes them
            registry.wait_for_thumbnails()
    console.echo("Watching has ended; what was reported is done.", err=True)
    return 130 if interrupts else 0


def _print_json(batch: Batch) -> None:
    click.echo(console.to_json(batch.as_dict()))


def _print(batch: Batch) -> None:
    """Print a line for people, if there is anything to tell; problems go to stderr."""
    now = f"{datetime.now():%H:%M:%S}  "
    told = _told(batch.report) if batch.report is not None else ""
    if batch.cause == "start" and batch.report is not None:
        told = f"{batch.report.processed} files" + (f": {told}" if told else ", nothing new")
    elif batch.cause == "return" and batch.report is not None:
        told = f"looked at all {batch.report.processed} files again" + (f": {told}" if told else "")
    if told:
        console.echo(now + told)
    if batch.trouble is not None:
        console.echo(now + batch.trouble, err=True)
    for line in _problems(batch.report):
        console.echo(f"          {line}", err=True)


def _told(report: RebuildReport) -> str:
    lists = {
        "new": report.registered,
        "moved": report.moved,
        "with new content": report.content_changed,
        "with edited sidecar": report.metadata_changed,
        "with sidecar written again": report.sidecars_written,
        "found again": report.restored,
        "healed": report.healed,
        "missing": report.missing,
        "copies of known content": report.duplicates,
    }
    is_short = sum(len(items) for items in lists.values()) <= _NAMES_SHOWN
    return ", ".join(_counted(what, items, is_short) for what, items in lists.items() if items)


def _counted(what: str, items: Sequence[dict[str, str]], is_short: bool) -> str:
    named = f" ({', '.join(each['path'] for each in items)})" if is_short else ""
    return f"{len(items)} {what}{named}"


def _problems(report: RebuildReport | None) -> list[str]:
    if report is None:
        return []
    lines = [f"conflict: {each['path']}: {each['why']}" for each in report.conflicts]
    lines += [f"failed: {each['path']}: {each['why']}" for each in report.failed]
    left = len(lines) - _PROBLEMS_SHOWN
    return lines[:_PROBLEMS_SHOWN] + ([f"... and {left} more: see --json"] if left > 0 else [])
