"""Bulk ingest: folders of art, music and voices become registered assets.

The walk is lazy and the registration a pipeline, so memory does not grow with the folder.
"""

from __future__ import annotations

import fnmatch
import mimetypes
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

from comfyvn.config import SETTINGS_FILE
from comfyvn.errors import ComfyVNError, LibraryUnreachable, OutsideLibrary, SourceMissing
from comfyvn.studio.core import AssetRecord, AssetRegistry

__all__ = ["IngestItem", "Selection", "count_files", "ingest", "plan", "type_of_medium", "why_no_asset"]

_JUNK: Final = frozenset(
    {"thumbs.db", "desktop.ini", "ehthumbs.db", "icon\r", "_output_images_will_be_put_here"}
)
_UNFINISHED: Final = re.compile(
    "|".join(map(fnmatch.translate, ("*.crdownload", "*.part", "*.partial", "*.tmp", "*~", "~$*")))
)
_TYPES: Final = {"image": "images", "audio": "audio", "video": "video", "font": "fonts"}


@dataclass(frozen=True, slots=True)
class Selection:
    """What to take in, and what to say of it.

    ``paths`` are files and folders. ``asset_type`` serves for all; without it a file's type is the first
    folder below the path, for files directly in it the path's own name, for a file named itself the name of
    the folder that it lies in. ``exclude`` are glob patterns on name or relative path. ``is_in_place``: files
    of the assets folder are registered where they are.
    """

    paths: Sequence[Path]
    asset_type: str | None = None
    tags: tuple[str, ...] = ()
    license: str | None = None
    source: str | None = None
    exclude: tuple[str, ...] = ()
    is_in_place: bool = False


@dataclass(frozen=True, slots=True)
class IngestItem:
    """What became of one file; ``reason`` says why it was skipped or failed, and what to do."""

    file: str
    status: Literal["registered", "known", "updated", "new", "skipped", "failed"]
    uid: str | None = None
    path: str | None = None
    reason: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the item as JSON values, without what does not apply."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True, slots=True)
class _Found:
    """A file to be taken in."""

    path: Path
    asset_type: str
    dest_relative: str


def count_files(selection: Selection, registry: AssetRegistry) -> int:
    """Return how many files a selection holds, for a progress bar.

    Raises:
        LibraryUnreachable: a folder lies inside the library, and the files are not taken in place.
        OutsideLibrary: files to be taken in place lie outside it.
    """
    return sum(isinstance(found, _Found) for found in _walk(selection, registry))


def ingest(
    selection: Selection, registry: AssetRegistry, is_stopped: Callable[[], bool] = lambda: False
) -> Iterator[IngestItem]:
    """Register everything in a selection; yield what became of each file, once that is recorded and synced.

    Run again, it registers nothing twice and goes on where it was interrupted.

    Args:
        selection: what to take in.
        registry: where to.
        is_stopped: asked before each file; True ends the walk, and what was begun is finished.
    """
    metadata = {"tags": list(selection.tags)} | ({"license": selection.license} if selection.license else {})
    aside: list[IngestItem] = []

    def items() -> Iterator[dict[str, Any]]:
        for found in _walk(selection, registry):
            if is_stopped():
                return
            if isinstance(found, IngestItem):
                aside.append(found)
                continue
            yield {
                "source_path": found.path,
                "asset_type": found.asset_type,
                "dest_relative": None if selection.is_in_place else found.dest_relative,
                "metadata": metadata,
                "provenance": {"source": selection.source} if selection.source else None,
                "copy_file": not selection.is_in_place,
            }

    for result in registry.register_many(items()):
        while aside:
            yield aside.pop(0)
        asset = result["asset"]
        yield IngestItem(
            file=result["source"],
            status=result["status"],
            uid=asset["uid"] if asset else None,
            path=asset["path"] if asset else None,
            reason=result["error"] or _why_other_type(asset, selection),
        )
    yield from aside


def plan(selection: Selection, registry: AssetRegistry) -> Iterator[IngestItem]:
    """Tell, file by file, what `ingest` would do; files are read, nothing is changed."""
    seen: dict[str, str] = {}
    for found in _walk(selection, registry):
        if isinstance(found, IngestItem):
            yield found
            continue
        try:
            planned = registry.plan_file(
                found.path,
                found.asset_type,
                dest_relative=None if selection.is_in_place else found.dest_relative,
                metadata={"tags": list(selection.tags)},
                license_tag=selection.license,
                copy_file=not selection.is_in_place,
            )
        except (ComfyVNError, OSError) as error:
            yield IngestItem(str(found.path), "failed", reason=str(error))
            continue
        twin = seen.setdefault(planned["hash"], planned["path"])
        is_new = planned["status"] == "new" and twin == planned["path"]
        yield IngestItem(str(found.path), "new" if is_new else "known", planned["uid"], twin)


def type_of_medium(name: str) -> str:
    """Return the type that a file gets from its suffix alone.

    >>> type_of_medium("mara.png"), type_of_medium("notes.xyz")
    ('images', 'generic')
    """
    kind = (mimetypes.guess_type(name)[0] or "").partition("/")[0]
    return _TYPES.get(kind, "generic")


def why_no_asset(name: str) -> str | None:
    """Tell by its name why a file is none that somebody made to keep; None if nothing speaks against it.

    >>> why_no_asset("mara.png"), why_no_asset(".DS_Store"), why_no_asset("mara.png.part")[:11]
    (None, 'hidden files and folder leavings of the system are no assets', 'a temporary')
    """
    if name.startswith(".") or name.casefold() in _JUNK:
        return "hidden files and folder leavings of the system are no assets"
    if _UNFINISHED.match(name.casefold()):
        return "a temporary or backup file of another program, by its name; rename it if it is an asset"
    return None


def _why_other_type(asset: AssetRecord | None, selection: Selection) -> str | None:
    """Say it when a stated type is not the one that known content has."""
    if asset is None or selection.asset_type in (None, asset["type"]):
        return None
    return f"known as {asset['path']} with the type {asset['type']}, which ingesting again does not change"


def _walk(selection: Selection, registry: AssetRegistry) -> Iterator[_Found | IngestItem]:
    for path in selection.paths:
        if path.is_dir():
            yield from _walk_folder(path, selection, registry)
        elif os.path.lexists(path):
            kind = selection.asset_type or _type_of_file(path, selection, registry)
            yield _Found(path, kind, f"{kind}/{path.name}")
        else:
            yield IngestItem(str(path), "failed", reason=str(SourceMissing(path=path)))


def _walk_folder(top: Path, selection: Selection, registry: AssetRegistry) -> Iterator[_Found | IngestItem]:
    root = _real(registry.ASSETS_ROOT)
    if selection.is_in_place and not _real(top).is_relative_to(root):
        raise OutsideLibrary(path=top, root=root)
    if not selection.is_in_place and _real(top).is_relative_to(root):
        why = "it lies inside the library: use --in-place, or `comfyvn rebuild --from-disk`"
        raise LibraryUnreachable(path=top, why=why)
    ledger = registry.db_path.resolve()
    ours = {root, registry.THUMB_ROOT.resolve(), registry.library.config.home.resolve() / SETTINGS_FILE}
    ours |= {ledger.with_name(ledger.name + end) for end in ("", "-wal", "-shm", "-journal")}
    in_place_ours = {root / "_meta", root / ".comfyvn"}
    for path, relative, is_plain in _files(top, "", in_place_ours if selection.is_in_place else ours):
        if not is_plain and path.is_dir() and not path.is_symlink():
            why = "this folder can't be read; nothing in it was registered. Check its permissions."
            yield IngestItem(str(path), "failed", reason=f"{path}: {why}")
            continue
        reason = _why_skipped(relative, selection, registry)
        if reason is None and not is_plain:
            reason = _why_link_skipped(path, top)
        if reason is not None:
            yield IngestItem(str(path), "skipped", reason=reason)
            continue
        parts = tuple(relative.split("/"))
        if selection.is_in_place:
            parts = (_real(path.parent) / path.name).relative_to(root).parts
        kind = selection.asset_type or (parts[0] if len(parts) > 1 else _name_of(top, selection, path))
        below = parts[1:] if len(parts) > 1 and selection.asset_type is None else parts
        yield _Found(path, kind, "/".join((kind, *below)))


def _files(folder: Path, below: str, leave_out: set[Path]) -> Iterator[tuple[Path, str, bool]]:
    """Yield files, links, special files and unreadable folders below a folder, in sorted order.

    That is the path, the path below the folder (``below`` in front of it) with ``/``, and whether it is a
    plain file, no link and nothing special. Links to folders are not followed.
    """
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except OSError:
        yield folder, below.rstrip("/"), False
        return
    names = {path.name for path in leave_out}
    for entry in entries:
        path = folder / entry.name
        if entry.name in names and _real(path) in leave_out:
            continue
        if not entry.is_dir(follow_symlinks=False):
            yield path, below + entry.name, entry.is_file(follow_symlinks=False)
        elif not entry.name.startswith("."):
            yield from _files(path, f"{below}{entry.name}/", leave_out)


def _real(path: Path) -> Path:
    """Return where a path leads after all links; `Path.resolve` raises on links that lead in a circle."""
    return Path(os.path.realpath(path))


def _why_skipped(relative: str, selection: Selection, registry: AssetRegistry) -> str | None:
    folder, _, name = relative.rpartition("/")
    if (reason := why_no_asset(name)) is not None:
        return reason
    if name.endswith(registry.sidecar_suffix):
        return "a sidecar, not an asset"
    if relative.startswith("_meta/") or ("_meta" in folder.split("/") and name.endswith(".json")):
        return "a mirror of a sidecar, not an asset"
    for pattern in selection.exclude:
        if fnmatch.fnmatch(name, pattern) or fnmatch.fnmatch(relative, pattern):
            return f"excluded by {pattern!r}"
    return None


def _why_link_skipped(path: Path, top: Path) -> str | None:
    if path.is_symlink() and not _real(path).is_relative_to(_real(top)):
        return "a link that leads out of the folder; ingest its target instead"
    if path.is_symlink() and path.is_dir():
        return "a link to a folder, which is taken in under its own name"
    return None


def _type_of_file(path: Path, selection: Selection, registry: AssetRegistry) -> str:
    """Return the type of a file that was named itself: its folder, in the library the outermost one."""
    root, folder = _real(registry.ASSETS_ROOT), _real(path.parent)
    if selection.is_in_place and folder != root and folder.is_relative_to(root):
        return folder.relative_to(root).parts[0]
    return _name_of(folder, selection, path)


def _name_of(top: Path, selection: Selection, path: Path) -> str:
    """Return the type of a file directly in the folder that was named."""
    return type_of_medium(path.name) if selection.is_in_place else _real(top).name or "generic"
