"""Bulk ingest: folders of art, music and voices become registered assets.

The walk is lazy and the registration a pipeline, so memory does not grow with the folder.
"""

from __future__ import annotations

import fnmatch
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from comfyvn.config import SETTINGS_FILE
from comfyvn.errors import (
    ComfyVNError,
    LibraryUnreachable,
    OutsideLibrary,
    SourceMissing,
)
from comfyvn.importers import ImportItem, adapter_names
from comfyvn.importers.walking import real_path, type_of_medium, walk, why_no_asset
from comfyvn.model import fold, normalise_license, normalise_type, numbered_key, parse_facts, parse_provenance
from comfyvn.registry.imports import OpenedSource, Told, opened_sources
from comfyvn.storage import open_source
from comfyvn.studio.core import AssetRecord, AssetRegistry

if TYPE_CHECKING:
    from comfyvn.generation import Generation

__all__ = ["IngestItem", "Selection", "count_files", "ingest", "open_selection", "plan", "take_in"]


@dataclass(frozen=True, slots=True)
class Selection:
    """What to take in, and what to say of it.

    ``paths`` are files and folders. ``asset_type`` serves for all; without it a file's type is the first
    folder below the path, for files directly in it the path's own name, for a file named itself the name of
    the folder that it lies in. ``exclude`` are glob patterns on name or relative path. ``is_in_place``: files
    of the assets folder are registered where they are.

    ``adapter`` names the import adapter that tells what files become, and ``settings`` are its settings that
    count before those of ``comfyvn.toml``. What is stated here then counts before what it says; tags add up.
    """

    paths: Sequence[Path]
    asset_type: str | None = None
    tags: tuple[str, ...] = ()
    license: str | None = None
    source: str | None = None
    exclude: tuple[str, ...] = ()
    is_in_place: bool = False
    adapter: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class IngestItem:
    """What became of one file; ``reason`` says why it was skipped or failed, and what to do.

    The rest is what a plan tells where an import adapter was asked: what would be recorded, and of which
    asset's path this is a duplicate. ``type`` and ``license`` are always those that the asset will have;
    ``stays`` names those of them that known content keeps, whatever was said of this file.

    ``left_out`` is what an adapter said of this file and is not recorded: its content is known, and has
    another value there, which stays.
    """

    file: str
    status: Literal["registered", "known", "updated", "new", "skipped", "failed"]
    uid: str | None = None
    path: str | None = None
    reason: str | None = None
    type: str | None = None
    tags: tuple[str, ...] | None = None
    license: str | None = None
    metadata: Mapping[str, Any] | None = None
    provenance: Mapping[str, Any] | None = None
    duplicate_of: str | None = None
    stays: Mapping[str, str | None] | None = None
    left_out: Mapping[str, Any] | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the item as JSON values, without what does not apply."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True, slots=True)
class _Found:
    """A file to be taken in. ``told`` and ``source``: an import adapter found it."""

    path: Path
    asset_type: str
    dest_relative: str
    told: Told | None = None
    source: OpenedSource | None = None

    @property
    def shown(self) -> str:
        """The file that people know: that of the source, not one that was unpacked from it."""
        return str(self.path if self.told is None else self.told.file)


def count_files(selection: Selection, registry: AssetRegistry) -> int | None:
    """Return how many files a selection holds, for a progress bar; None where an adapter would have to tell.

    Raises:
        LibraryUnreachable: a folder lies inside the library, and the files are not taken in place.
        OutsideLibrary: files to be taken in place lie outside it.
    """
    if selection.adapter is not None:
        _refuse_library(selection, registry)
        return None
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

    Raises:
        UnknownAdapter, ImportFailed, InvalidSetting, SourceMissing: the adapter can't be used, or a source
            can't be opened with it; nothing is registered.
        LibraryUnreachable, OutsideLibrary: as `count_files`.
    """
    if selection.adapter is None:
        yield from _register(_walk(selection, registry), selection, registry, is_stopped)
        return
    with open_selection(selection, registry) as sources:
        found = (each for source in sources for each in _accepted(source, source.all(), selection, registry))
        yield from _register(found, selection, registry, is_stopped)


@contextmanager
def open_selection(selection: Selection, registry: AssetRegistry) -> Iterator[list[OpenedSource]]:
    """Open the sources of a selection with its adapter.

    Raises:
        ComfyVNError: as `ingest`.
    """
    assert selection.adapter is not None
    _refuse_library(selection, registry)
    config, ours = registry.library.config, _own_files(registry)
    with opened_sources(selection.adapter, selection.paths, selection.settings, config, ours) as sources:
        yield sources


def take_in(
    source: OpenedSource,
    told: Iterable[Told],
    selection: Selection,
    registry: AssetRegistry,
    is_stopped: Callable[[], bool] = lambda: False,
) -> Iterator[IngestItem]:
    """Register what an adapter told of files of a source that is open, as `ingest` does."""
    return _register(_accepted(source, told, selection, registry), selection, registry, is_stopped)


def _register(
    found_ones: Iterable[_Found | IngestItem],
    selection: Selection,
    registry: AssetRegistry,
    is_stopped: Callable[[], bool],
) -> Iterator[IngestItem]:
    aside: list[IngestItem] = []
    on_their_way: deque[_Found] = deque()

    def items() -> Iterator[dict[str, Any]]:
        for found in found_ones:
            if is_stopped():
                return
            if isinstance(found, IngestItem):
                aside.append(found)
                continue
            on_their_way.append(found)
            yield _arguments(found, selection, registry)

    for result in registry.register_many(items()):
        while aside:
            yield aside.pop(0)
        found, asset = on_their_way.popleft(), result["asset"]
        if found.source is not None:
            found.source.forget(found.path)
        left_out: dict[str, Any] = {}
        if asset is not None and result["status"] == "known":
            had = {**asset["meta"], "license": asset["license"]}
            left_out = _other_values(_said(found, selection, registry), had)
        yield IngestItem(
            file=found.shown,
            status=result["status"],
            uid=asset["uid"] if asset else None,
            path=asset["path"] if asset else None,
            reason=result["error"] or _why_other_type(asset, selection) or _why_left_out(asset, left_out),
            left_out=left_out or None,
        )
    yield from aside


def plan(selection: Selection, registry: AssetRegistry) -> Iterator[IngestItem]:
    """Tell, file by file, what `ingest` would do; files are read, nothing is changed.

    Raises:
        ComfyVNError: as `ingest`.
    """
    seen = _Seen()
    if selection.adapter is None:
        for found in _walk(selection, registry):
            yield found if isinstance(found, IngestItem) else _planned(found, selection, registry, seen)
        return
    with open_selection(selection, registry) as sources:
        for source in sources:
            for found in _accepted(source, source.all(), selection, registry):
                if isinstance(found, IngestItem):
                    yield found
                    continue
                yield _planned(found, selection, registry, seen)
                source.forget(found.path)


@dataclass(slots=True)
class _Seen:
    """What came before a file in a plan: paths by their hashes, and those that are taken, case aside.

    ``known``: type, licence and other values of content by its hash, as they will be.
    """

    paths: dict[str, str] = field(default_factory=dict)
    taken: set[str] = field(default_factory=set)
    known: dict[str, tuple[str, str | None, dict[str, Any]]] = field(default_factory=dict)

    def place(self, planned: Mapping[str, Any]) -> str:
        """Return the path at which a planned file will be, or that of its twin."""
        path = str(planned["path"])
        if planned["hash"] not in self.paths:
            if planned["status"] == "new" and fold(path) in self.taken:
                path = numbered_key(path, planned["uid"][:8])
            self.taken.add(fold(path))
        return self.paths.setdefault(planned["hash"], path)

    def meet(self, content: str, wanted: str | None, *, keeps_license: bool) -> dict[str, str | None]:
        """Note that known content comes once more, with a licence or none; return what it keeps."""
        kind, had, values = self.known[content]
        licence = had or wanted if keeps_license or wanted is None else wanted
        self.known[content] = kind, licence, values
        return {"type": kind} | ({"license": had} if licence == had else {})


def _planned(found: _Found, selection: Selection, registry: AssetRegistry, seen: _Seen) -> IngestItem:
    """Tell what would become of one file."""
    arguments = _arguments(found, selection, registry, is_plan=True)
    provenance, keeps_license = arguments.pop("provenance"), arguments.pop("keep_license", False)
    for how in ("keep_metadata", "unstated_sources"):
        arguments.pop(how, None)
    try:
        planned = registry.plan_file(**arguments)
        found = replace(found, asset_type=normalise_type(found.asset_type))
        described = {} if found.told is None else _described(found, arguments, provenance, registry)
        wanted = normalise_license(arguments["metadata"].get("license"))
        said = _said(found, selection, registry)
    except (ComfyVNError, OSError) as error:
        return IngestItem(found.shown, "failed", reason=str(error))
    uid, path = planned["uid"], seen.place(planned)
    record = registry.get_asset(uid) if planned["status"] == "known" else None
    if record is not None:
        seen.known.setdefault(planned["hash"], (record["type"], record["license"], dict(record["meta"])))
    if planned["hash"] not in seen.known:
        seen.known[planned["hash"]] = found.asset_type, wanted, said
        return IngestItem(found.shown, "new", uid, path, **described)
    stays = seen.meet(planned["hash"], wanted, keeps_license=keeps_license)
    kind, licence, values = seen.known[planned["hash"]]
    left_out = _other_values(said, {**values, "license": licence})
    values |= {name: value for name, value in said.items() if name not in left_out}
    told = {**described, "type": kind, "license": licence, "stays": stays}
    if found.told is not None:
        added = {key: value for key, value in (told["metadata"] or {}).items() if key not in left_out}
        told |= {"metadata": added or None, "left_out": left_out or None}
        return IngestItem(found.shown, "known", uid, path, **told, duplicate_of=path)
    return IngestItem(found.shown, "known", uid, path, _why_other_type(record, selection), **told)


def _described(
    found: _Found, arguments: Mapping[str, Any], provenance: Mapping[str, Any] | None, registry: AssetRegistry
) -> dict[str, Any]:
    """Return what would be recorded of a file, as far as the adapter and the file know.

    Raises:
        InvalidMetadata: it would be refused.
    """
    from comfyvn.studio.core.workflows import told_by_file

    limits = registry.library.limits
    facts = parse_facts(arguments["metadata"], limits)
    claim = parse_provenance(provenance, facts.meta, limits=limits)
    with open_source(found.path) as source:
        told = None if "generation" in claim.inputs else told_by_file(source.file, found.path.name)
    inputs = {**claim.inputs} | ({} if told is None else {"generation": told.as_inputs()})
    metadata = {**facts.meta} | ({} if facts.origin is None else {"origin": facts.origin})
    return {
        "type": found.asset_type,
        "tags": facts.tags,
        "license": facts.license,
        "metadata": metadata or None,
        "provenance": {"source": claim.source} | ({"inputs": inputs} if inputs else {}),
    }


def _arguments(
    found: _Found, selection: Selection, registry: AssetRegistry, *, is_plan: bool = False
) -> dict[str, Any]:
    """Return what a file is registered with: what was stated for all, before what its adapter says."""
    item = None if found.told is None else found.told.item
    license_tag = selection.license or (item.license if item is not None else None)
    is_stated = item is None or selection.license is not None
    tags = [*(item.tags if item is not None else ()), *selection.tags]
    metadata = {**(item.metadata if item is not None else {}), "tags": tags}
    provenance = {"source": selection.source} if selection.source else None
    if item is not None and found.source is not None:
        told = {"source": found.source.adapter.name, **(item.provenance or {}), **(provenance or {})}
        provenance = _with_texts(told, item, registry, is_plan=is_plan) if item.texts else told
    return {
        "source_path": found.path,
        "asset_type": found.asset_type,
        "dest_relative": None if selection.is_in_place else found.dest_relative,
        "metadata": metadata | ({"license": license_tag} if license_tag else {}),
        "provenance": provenance,
        "copy_file": not selection.is_in_place,
        # what an adapter says replaces nothing that somebody has set
        **({} if is_stated else {"keep_license": True}),
        **({} if item is None else {"keep_metadata": True}),
        **({} if selection.source else {"unstated_sources": () if item is None else _adapters()}),
    }


@cache
def _adapters() -> tuple[str, ...]:
    """Return the sources that nobody states: the names of the adapters."""
    return tuple(adapter_names())


def _with_texts(
    provenance: dict[str, Any], item: ImportItem, registry: AssetRegistry, *, is_plan: bool
) -> dict[str, Any]:
    """Add what the texts beside a file tell of its making, where the file itself tells nothing."""
    from comfyvn.generation import read
    from comfyvn.studio.core.workflows import describe_told, told_by_file

    inputs = provenance.get("inputs") or {}
    if not isinstance(inputs, Mapping) or "generation" in inputs:
        return provenance
    try:
        with open_source(item.path) as source:
            is_told = told_by_file(source.file, item.path.name) is not None
        told = None if is_told else read(item.texts, item.path.name)
        if told is None:
            return provenance
        described = told.as_inputs() if is_plan else describe_told(told, _kept(told, registry))
    except (ComfyVNError, OSError):
        return provenance  # registering the file says what is wrong
    known = {"workflow_hash": told.workflow_hash} if told.workflow_hash is not None else {}
    return {**known, **provenance, "inputs": {**inputs, "generation": described}}


def _kept(told: Generation, registry: AssetRegistry) -> dict[str, Any]:
    """Keep the texts that tell what made a file, and return the reference to them."""
    writes = registry.library.new_writes()
    reference = registry.library.workflows.keep(told.raw, told.workflow_hash, writes)
    writes.sync()
    return reference


def _said(found: _Found, selection: Selection, registry: AssetRegistry) -> dict[str, Any]:
    """Return what an adapter says of a file that known content may have otherwise, by key.

    Raises:
        InvalidMetadata: it would be refused.
    """
    if found.told is None or found.told.item is None:
        return {}
    item = found.told.item
    license_tag = {} if selection.license is not None else {"license": item.license}
    facts = parse_facts({**item.metadata, **license_tag}, registry.library.limits)
    known = {**facts.meta, "origin": facts.origin, "license": facts.license}
    return {name: value for name, value in known.items() if value is not None}


def _other_values(said: Mapping[str, Any], had: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was said of known content and is not recorded: it has another value there."""
    return {name: value for name, value in said.items() if had.get(name) is not None and had[name] != value}


def _why_left_out(asset: AssetRecord | None, left_out: Mapping[str, Any]) -> str | None:
    if asset is None or not left_out:
        return None
    values = ", ".join(f"{name} {value!r:.80}" for name, value in left_out.items())
    return f"its content is {asset['path']}, whose own values stay; left out: {values}"


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
    root = real_path(registry.ASSETS_ROOT)
    if selection.is_in_place and not real_path(top).is_relative_to(root):
        raise OutsideLibrary(path=top, root=root)
    if not selection.is_in_place:
        _refuse_inside(top, root)
    ours = {root / "_meta", root / ".comfyvn"} if selection.is_in_place else _own_files(registry)
    for path, relative, is_plain in walk(top, leave_out=ours):
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
            parts = (real_path(path.parent) / path.name).relative_to(root).parts
        kind = selection.asset_type or (parts[0] if len(parts) > 1 else _name_of(top, selection, path))
        below = parts[1:] if len(parts) > 1 and selection.asset_type is None else parts
        yield _Found(path, kind, "/".join((kind, *below)))


def _accepted(
    source: OpenedSource, every: Iterable[Told], selection: Selection, registry: AssetRegistry
) -> Iterator[_Found | IngestItem]:
    """Yield what an adapter told as files to be taken in, or as what becomes of them otherwise."""
    for told in every:
        reason = told.reason or _why_skipped(_below(source.path, told.file), selection, registry)
        if told.item is None or reason is not None:
            if told.item is not None:
                source.forget(told.item.path)
            yield IngestItem(str(told.file), "failed" if told.is_failure else "skipped", reason=reason)
            continue
        kind = selection.asset_type or told.item.asset_type
        yield _Found(told.item.path, kind, f"{kind}/{told.item.name}", told, source)


def _below(top: Path, path: Path) -> str:
    return path.relative_to(top).as_posix() if path != top and path.is_relative_to(top) else path.name


def _refuse_library(selection: Selection, registry: AssetRegistry) -> None:
    for path in selection.paths:
        _refuse_inside(path, real_path(registry.ASSETS_ROOT))


def _refuse_inside(top: Path, root: Path) -> None:
    if real_path(top).is_relative_to(root):
        why = "it lies inside the library: use --in-place, or `comfyvn rebuild --from-disk`"
        raise LibraryUnreachable(path=top, why=why)


def _own_files(registry: AssetRegistry) -> set[Path]:
    """Return the library's own files and folders, where links lead."""
    ledger = registry.db_path.resolve()
    ours = {real_path(registry.ASSETS_ROOT), registry.THUMB_ROOT.resolve()}
    ours.add(registry.library.config.home.resolve() / SETTINGS_FILE)
    return ours | {ledger.with_name(ledger.name + end) for end in ("", "-wal", "-shm", "-journal")}


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
    if path.is_symlink() and not real_path(path).is_relative_to(real_path(top)):
        return "a link that leads out of the folder; ingest its target instead"
    if path.is_symlink() and path.is_dir():
        return "a link to a folder, which is taken in under its own name"
    return None


def _type_of_file(path: Path, selection: Selection, registry: AssetRegistry) -> str:
    """Return the type of a file that was named itself: its folder, in the library the outermost one."""
    root, folder = real_path(registry.ASSETS_ROOT), real_path(path.parent)
    if selection.is_in_place and folder != root and folder.is_relative_to(root):
        return folder.relative_to(root).parts[0]
    return _name_of(folder, selection, path)


def _name_of(top: Path, selection: Selection, path: Path) -> str:
    """Return the type of a file directly in the folder that was named."""
    return type_of_medium(path.name) if selection.is_in_place else real_path(top).name or "generic"
