"""Watched ingest: what a program saves into its output folder is registered as soon as it is finished.

The system tells which files change. A file that holds still and has its end, as far as its format tells one,
is handed to the import adapter and registered.
"""

from __future__ import annotations

import stat
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from comfyvn.errors import ComfyVNError
from comfyvn.importers.walking import real_path, walk, why_no_asset
from comfyvn.registry.imports import OpenedSource, Told
from comfyvn.registry.ingest import IngestItem, Selection, open_selection, take_in
from comfyvn.registry.noticing import changes_below, check_extra, is_of_a_name, refuse_limit
from comfyvn.studio.core import AssetRegistry

__all__ = ["watch_selection"]

_SETTLE_S: Final = 0.15
_UNTOLD_PARTS: Final = 10  # how many times settle_s a file holds still whose end can't be told
_PATIENCE_S: Final = 30.0
_RETRY_S: Final = 10.0
_ABSENCE_S: Final = 1.0
# Linux keeps 16,384 changes and then drops what comes: past this we look at everything
_MANY: Final = 2_000

_Look = tuple[int, int]


def watch_selection(
    selection: Selection,
    registry: AssetRegistry,
    *,
    stop: threading.Event,
    on_item: Callable[[IngestItem], None],
    on_trouble: Callable[[str], None],
    settle_s: float = _SETTLE_S,
    polling: bool = False,
) -> None:
    """Take in what lies in the folders of a selection, then what comes, until told to stop.

    Args:
        selection: folders, and an adapter that can watch them.
        registry: where to.
        stop: set it to end the watching; files at work are finished.
        on_item: called for each file, once it is recorded; what it raises ends the watching.
        on_trouble: called with a sentence when something is in the way, once; it is tried again.
        settle_s: how long a file that has its end must hold still; ten times as long if that can't be told.
        polling: look at every file twice a second, for drives that tell nothing.

    Raises:
        ExtraMissing: the package ``watchfiles`` is not installed.
        ImportFailed: the adapter can't watch a source.
        WatchLimit: the system lets no more folders be watched.
        ComfyVNError: as `comfyvn.registry.ingest.ingest`.
    """
    check_extra()
    with open_selection(selection, registry) as sources:
        watch = _Watch(selection, registry, sources, on_item, on_trouble, settle_s)
        watch.run(stop, polling=polling)


@dataclass(slots=True)
class _Seen:
    """How a file looked, and since when so. ``not_before_s``: something was in the way."""

    source: OpenedSource
    look: _Look
    since_s: float
    not_before_s: float = 0.0


class _Watch:
    def __init__(
        self,
        selection: Selection,
        registry: AssetRegistry,
        sources: list[OpenedSource],
        on_item: Callable[[IngestItem], None],
        on_trouble: Callable[[str], None],
        settle_s: float,
    ) -> None:
        self._selection = selection
        self._registry = registry
        self._sources = {source.watched().root: source for source in sources}
        self._on_item = on_item
        self._on_trouble = on_trouble
        self._settle_s = settle_s
        self._seen: dict[Path, _Seen] = {}
        self._trouble: str | None = None
        self._reals: dict[Path, Path] = {}
        self._done: set[int] = set()  # a few bytes for each file, so that looking again costs little

    def run(self, stop: threading.Event, *, polling: bool) -> None:
        """Watch until told to stop; a folder that goes away is waited for."""
        while not stop.is_set():
            places = self._places()
            if places is None:
                stop.wait(_ABSENCE_S)
                continue
            try:
                self._watch_once(places, stop, polling=polling)
            except (OSError, RuntimeError) as error:
                if isinstance(error, ComfyVNError):
                    raise
                refuse_limit(error, next(iter(self._sources)), polling=polling)
                if is_of_a_name(error):  # what we miss meanwhile is looked for
                    stop.wait(self._settle_s)
                    continue
                if self._places() == places:
                    self._tell(f"Watching begins anew: {error}.")
                stop.wait(_ABSENCE_S)

    def _watch_once(self, places: list[_Look], stop: threading.Event, *, polling: bool) -> None:
        """Watch until told to stop, or until a folder is another one or gone."""
        is_new = True
        self._reals = {root: real_path(root) for root in self._sources}  # it is told of by these
        for group in changes_below(list(self._reals.values()), stop, polling=polling, is_lenient=False):
            if is_new or len(group) > _MANY:  # from the first group on, nothing escapes us
                is_new = False
                self._take_in_all(stop)
            for _, path in group:
                self._note(path)
            self._take_in_settled()
            if self._places() != places:
                return

    def _places(self) -> list[_Look] | None:
        """Return what tells the folders from others in their place; None when one is away."""
        found = []
        for root in self._sources:
            try:
                status = root.stat()
            except OSError:
                self._tell(f"{root} is away; watching goes on when it is back.")
                return None
            found.append((status.st_dev, status.st_ino))
        return found

    def _tell(self, trouble: str) -> None:
        if trouble != self._trouble:
            self._on_trouble(trouble)
        self._trouble = trouble

    # -- what changed ---------------------------------------------------------------------------------

    def _note(self, path: str) -> None:
        """Note a change of a file; of a folder, what came with it, which is not told one by one."""
        for root, source in self._sources.items():
            real = self._reals[root]
            if not Path(path).is_relative_to(real):
                continue
            file = root / Path(path).relative_to(real)
            try:
                is_folder = stat.S_ISDIR(file.lstat().st_mode)
            except OSError:
                self._seen.pop(file, None)
                continue
            for each in (found for found, _, _ in walk(file)) if is_folder else (file,):
                if _is_wanted(each, root) and not source.is_ours(each):
                    self._add(each, source)

    def _add(self, file: Path, source: OpenedSource) -> None:
        look = _look(file)
        if look is None:
            return
        seen = self._seen.get(file)
        if seen is None:
            self._seen[file] = _Seen(source, look, time.monotonic())
        elif seen.look != look:
            seen.look, seen.since_s, seen.not_before_s = look, time.monotonic(), 0.0

    def _settled(self) -> Iterator[tuple[Path, OpenedSource]]:
        """Yield files that are finished, as far as anything tells; they are waited for no longer."""
        now = time.monotonic()
        for file, seen in list(self._seen.items()):
            look = _look(file)
            if look is None:
                del self._seen[file]
            elif look != seen.look:
                seen.look, seen.since_s = look, now
            elif now >= max(seen.since_s + self._settle_s, seen.not_before_s):
                is_unfinished = seen.source.is_unfinished(file)
                parts = _UNTOLD_PARTS if is_unfinished is None else 1
                waits_s = _PATIENCE_S if is_unfinished else parts * self._settle_s
                if now - seen.since_s >= waits_s:  # one that is cut off for good is refused with its reason
                    del self._seen[file]
                    yield file, seen.source

    # -- taking it in ---------------------------------------------------------------------------------

    def _take_in_all(self, stop: threading.Event) -> None:
        for source in self._sources.values():
            looks: list[int] = []

            def wants(file: Path, source: OpenedSource = source, looks: list[int] = looks) -> bool:
                mark = _mark(file)
                if mark in self._done or self._is_kept(file, source):
                    return False
                looks += [] if mark is None else [mark]
                return True

            self._take_in(source, source.all(wants), is_stopped=stop.is_set)
            self._done.update(looks)

    def _is_kept(self, file: Path, source: OpenedSource) -> bool:
        """Wait for a file that is not finished."""
        if file in self._seen or source.is_unfinished(file):
            self._add(file, source)
            return True
        return False

    def _take_in_settled(self) -> None:
        ready: dict[Path, list[Path]] = {}
        for file, source in self._settled():
            ready.setdefault(source.watched().root, []).append(file)
        for root, files in ready.items():
            source = self._sources[root]
            self._take_in(source, (told for file in files for told in source.told(file)), files)

    def _take_in(
        self,
        source: OpenedSource,
        told: Iterable[Told],
        files: Sequence[Path] = (),
        is_stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        """Register what was told; where something is in the way, ``files`` are tried again later."""
        try:
            marks = map(_mark, files)
            looks = [mark for mark in marks if mark is not None]
            self._registry.library.check_place()  # a file must not fail because the library is away
            for item in take_in(source, told, self._selection, self._registry, is_stopped):
                self._on_item(item)
            self._done.update(looks)
            self._trouble = None
        except (ComfyVNError, OSError) as error:
            if not files or isinstance(error, BrokenPipeError):  # whoever read our output has gone
                raise
            self._tell(str(error))
            for file in files:
                self._add(file, source)
                if (seen := self._seen.get(file)) is not None:
                    seen.not_before_s = time.monotonic() + _RETRY_S


def _look(file: Path) -> _Look | None:
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def _mark(file: Path) -> int | None:
    """Return a number for a file as it looks now; None where it can't be looked at."""
    try:
        status = file.stat()
    except OSError:
        return None
    return hash((str(file), status.st_ino, status.st_size, status.st_mtime_ns))


def _is_wanted(file: Path, root: Path) -> bool:
    """Tell by its name whether a file can be an asset that somebody made; see `comfyvn ingest`."""
    *folders, name = file.relative_to(root).parts
    return why_no_asset(name) is None and not any(folder.startswith(".") for folder in folders)
