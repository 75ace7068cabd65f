"""Generation facts: what made an asset, as its file tells it; read again by a better reader."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import click

from comfyvn.errors import (
    AssetNotFound,
    ComfyVNError,
    FactsAtOrigin,
    FactsMissing,
    FactsProposed,
    FactsUnmatched,
    NoLibrary,
)
from comfyvn.generation import READER, Generation, read
from comfyvn.media import fingerprint
from comfyvn.model import (
    Asset,
    Certainty,
    EmbeddedText,
    Parent,
    Provenance,
    derive_workflow_hash,
    unite_parents,
)
from comfyvn.registry import console
from comfyvn.storage import open_source
from comfyvn.studio.core.parents import parents_told
from comfyvn.studio.core.workflows import (
    describe_told,
    is_of_content,
    row_that_tells,
    texts_of,
    told_by_file,
)

if TYPE_CHECKING:
    from comfyvn.db import Reader
    from comfyvn.studio.core import AssetRegistry
    from comfyvn.studio.core.library import Library, Transaction

__all__ = ["Refreshed", "asset_of", "command", "facts_of", "origins_of", "read_facts", "refresh", "uid_of"]

_CHUNK: Final = 128
_VALUE_WIDTH: Final = 400


@dataclass(frozen=True, slots=True)
class Refreshed:
    """What became of one asset: its facts were read anew, were of today's reader, or it tells nothing.

    ``changed`` names the facts that are others now; ``parents`` among them stands for new ones.
    """

    uid: str
    path: str
    status: Literal["read", "current", "nothing", "failed"]
    changed: tuple[str, ...] = ()
    reason: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON values, without what does not apply."""
        shown: dict[str, Any] = {"uid": self.uid, "path": self.path, "status": self.status}
        if self.changed:
            shown["changed"] = list(self.changed)
        return shown if self.reason is None else {**shown, "reason": self.reason}


def read_facts(path: Path) -> dict[str, Any]:
    """Return what any file tells of its making, without a library.

    Returns:
        ``path``, ``tool``, ``tool_version``, ``reader``, ``facts``, ``read_from`` and ``workflow_hash``.

    Raises:
        FactsMissing: it tells nothing.
        SourceMissing, SourceUnreadable, SourceChanged: the file can't be read.
    """
    with open_source(path) as source:
        told = told_by_file(source.file, path.name)
        source.check_unchanged()
    if told is None:
        raise FactsMissing(path=path)
    return {"path": str(path), **told.as_inputs()}


def facts_of(registry: AssetRegistry, uid: str) -> dict[str, Any]:
    """Return what made an asset, as its newest provenance that tells of it says.

    Returns:
        What `read_facts` does (of what a script stated ``facts`` alone), and ``uid``, ``version`` (the
        asset's), ``told_by_version`` (the one that came with these facts; None where that is not known) and
        ``in_file``: whether the file in the library tells
        of its making today, None where it can't be read. Facts that are not in it are those that were kept.

    Raises:
        AssetNotFound: no such uid.
        FactsAtOrigin: nothing is known of it, but of an asset that it came from.
        FactsProposed: nothing is known of it, but an asset that it may have come from waits for a word.
        FactsUnmatched: nothing is known of it, and nobody has looked for its origin.
        FactsMissing: nothing is known of it.
    """
    asset = asset_of(registry, uid)
    row = row_that_tells(asset)
    stated = asset.generation.get("facts")  # what a script said, without any file that tells it
    if row is None and not stated:
        raise _nothing_known(registry, asset)
    told = {"facts": stated} if row is None else row.inputs["generation"]
    by = None if row is None else _version_of(row, asset)
    ours = {
        "uid": asset.uid,
        "path": asset.key,
        "version": asset.version,
        "told_by_version": by,
        "in_file": _is_in_file(registry.library, asset),
    }
    return ours | {name: value for name, value in told.items() if name != "raw" and name not in ours}


def _version_of(row: Provenance, asset: Asset) -> int | None:
    """Return the version of an asset that a provenance row came with, or else is of; None if unknown."""
    by_id = (each.version for each in asset.all_versions if each.provenance_id == row.id)
    digest = row.inputs.get("asset_hash")
    by_content = (each.version for each in asset.all_versions if each.digest == digest)
    return next(by_id, next(by_content, None))


def _is_in_file(library: Library, asset: Asset) -> bool | None:
    """Tell whether the file of an asset says what made it; None where it can't be read."""
    try:
        with library.storage.open(asset.key) as source:
            return told_by_file(source.file, asset.key.rpartition("/")[2]) is not None
    except (ComfyVNError, OSError):
        return None


def _nothing_known(registry: AssetRegistry, asset: Asset) -> FactsMissing:
    """Return the refusal for an asset that tells nothing; it names where to look, or what to do."""
    for parent, origin in origins_of(registry, asset, "certain"):
        if row_that_tells(origin) is not None:
            how = {"kind": parent.kind, "found": parent.found}
            return FactsAtOrigin(path=asset.key, parent=origin.key, uid=origin.uid, **how)
    for parent, origin in origins_of(registry, asset, "likely"):
        how = {"kind": parent.kind, "found": parent.found, "uid": asset.uid}
        return FactsProposed(path=asset.key, parent=origin.key, parent_uid=origin.uid, **how)
    with registry.library.read() as rows:
        was_matched = bool(rows.prints.of(fingerprint.RECIPE, [asset.id]))
    if asset.preview.kind == "thumbnail" and not was_matched:
        return FactsUnmatched(path=asset.key, uid=asset.uid)
    return FactsMissing(path=asset.key)


def origins_of(registry: AssetRegistry, asset: Asset, certainty: Certainty) -> Iterator[tuple[Parent, Asset]]:
    """Yield how an asset came of others, and these, as far as they are in the library."""
    parents = [parent for parent in asset.facts.parents if parent.certainty == certainty]
    with registry.library.read() as rows:
        known = {each.uid: each for each in rows.assets([parent.uid for parent in parents])}
    yield from ((parent, known[parent.uid]) for parent in parents if parent.uid in known)


def refresh(
    registry: AssetRegistry, uids: Iterable[str] | None = None, *, is_forced: bool = False
) -> Iterator[Refreshed]:
    """Read the facts of assets with today's reader where an older one did, or none; tell what became of each.

    Args:
        registry: the library.
        uids: which assets; all by default.
        is_forced: those that today's reader has read, too.

    Parents that a graph names and that came in after their child are found now, and proposed.
    """
    library = registry.library
    wanted = (asset.uid for asset in library.ledger.iterate()) if uids is None else iter(uids)
    operation = library.ledger.reserve_ids(1)[0]
    while chunk := list(islice(wanted, _CHUNK)):
        with library.read() as rows:
            known = {asset.uid: asset for asset in rows.assets(chunk)}
            looks = [_looked_at(library, rows, uid, known.get(uid), is_forced=is_forced) for uid in chunk]
        if any(look.told or look.parents for look in looks):
            with library.transaction(operation) as change:
                yield from [_recorded(library, change, look) for look in looks]
        else:
            yield from (look.planned for look in looks)


@dataclass(frozen=True, slots=True)
class _Look:
    """What is to be recorded of one asset: facts that were read anew, and parents that are found by them.

    ``is_of_newer``: of a newer version than the facts that are known.
    """

    planned: Refreshed
    told: Generation | None = None
    parents: tuple[Parent, ...] = ()
    is_of_newer: bool = False


def _looked_at(library: Library, rows: Reader, uid: str, asset: Asset | None, *, is_forced: bool) -> _Look:
    if asset is None:
        return _Look(Refreshed(uid, "", "failed", reason="no asset has this uid"))
    said: object = next(
        (row.inputs["generation"] for row in asset.all_provenance if "generation" in row.inputs), {}
    )
    if (newer := _told_since(library, asset)) is not None:
        parents = _new_parents(rows, asset, newer.as_inputs())
        return _Look(Refreshed(asset.uid, asset.key, "read"), newer, parents, is_of_newer=True)
    reader = said.get("reader") if isinstance(said, Mapping) else None
    is_callers_own = bool(said) and reader is None
    if is_callers_own or (reader == READER and not is_forced):
        planned = Refreshed(asset.uid, asset.key, "current")
        return _Look(planned, parents=_new_parents(rows, asset, said))
    name = said.get("file") if isinstance(said, Mapping) else None
    texts: list[EmbeddedText] = texts_of(library, asset)
    told = read(texts, name if isinstance(name, str) else asset.key.rpartition("/")[2]) if texts else None
    if told is None:
        return _Look(Refreshed(asset.uid, asset.key, "nothing"))
    parents = _new_parents(rows, asset, told.as_inputs())
    return _Look(Refreshed(asset.uid, asset.key, "read"), told, parents)


def _told_since(library: Library, asset: Asset) -> Generation | None:
    """Return what the file of an asset tells whose facts are those of an older version; else None."""
    row = row_that_tells(asset)
    if row is None or is_of_content(row, asset):
        return None
    try:
        with library.storage.open(asset.key) as source:
            if asset.file not in (None, source.stat):
                return None  # a rebuild takes it in, and reads it
            return told_by_file(source.file, asset.key.rpartition("/")[2])
    except (ComfyVNError, OSError):
        return None


def _new_parents(rows: Reader, asset: Asset, generation: object) -> tuple[Parent, ...]:
    """Return parents that an asset's graph names and nobody has linked, or rejected: they came in later."""
    linked = {parent.uid for parent in asset.facts.parents} | {asset.uid}
    return tuple(each for each in parents_told(rows, asset.digest, {}, generation) if each.uid not in linked)


def _recorded(library: Library, change: Transaction, look: _Look) -> Refreshed:
    """Note in an asset's provenance and lineage what was read, in a savepoint of its own."""
    planned = look.planned
    if look.told is None and not look.parents:
        return planned
    asset = change.rows.asset(planned.uid)
    if asset is None or asset.provenance is None:
        return replace(planned, status="failed", reason="it was removed meanwhile, or has no provenance")
    before = asset.generation.get("facts") or {}
    try:
        with change.attempt():
            whole = asset if look.told is None else _with_facts(library, change, asset, look)
            facts = replace(asset.facts, parents=unite_parents(asset.facts.parents, look.parents))
            if whole is asset and facts.parents == asset.facts.parents:
                return replace(planned, status="current")
            library.change_one(change, whole, facts, force=True)
    except (ComfyVNError, OSError) as error:
        return replace(planned, status="failed", reason=str(error))
    changed = () if look.told is None else tuple(_differing(before, look.told.facts))
    return replace(planned, status="read", changed=(*changed, *(["parents"] if look.parents else [])))


def _with_facts(library: Library, change: Transaction, asset: Asset, look: _Look) -> Asset:
    """Write what was read into the provenance of an asset; the same asset comes back if it says that."""
    assert asset.provenance is not None
    assert look.told is not None
    told, rows = look.told, asset.all_provenance
    having = (row for row in rows if "generation" in row.inputs)
    if look.is_of_newer:
        having = (row for row in rows if is_of_content(row, asset))
    row = next(having, asset.provenance)
    reference = library.workflows.keep(told.raw, told.workflow_hash, change.writes)
    newer = _with_told(row, told, describe_told(told, reference))
    if newer == row:
        return asset
    change.rows.set_provenance(newer)
    change.tell("asset_facts_read", asset, after={"tool": told.tool, "reader": told.reader})
    return asset.with_provenance([newer if each.id == row.id else each for each in asset.all_provenance])


def _with_told(row: Provenance, told: Generation, described: dict[str, Any]) -> Provenance:
    """Return a row with what was read; a workflow's hash that nobody stated gives way to the told one."""
    plain = {name: value for name, value in row.inputs.items() if name != "generation"}
    had = row.inputs.get("generation")
    is_derived = row.workflow_hash in (None, derive_workflow_hash(row.source, plain)) or (
        isinstance(had, Mapping) and had.get("workflow_hash") == row.workflow_hash
    )
    workflow_hash = told.workflow_hash if is_derived and told.workflow_hash else row.workflow_hash
    return replace(row, inputs={**row.inputs, "generation": described}, workflow_hash=workflow_hash)


def _differing(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    return sorted(name for name in {*before, *after} if before.get(name) != after.get(name))


def asset_of(registry: AssetRegistry, uid: str) -> Asset:
    """Return an asset.

    Raises:
        AssetNotFound: no such uid.
    """
    with registry.library.read() as rows:
        asset = rows.asset(uid)
    if asset is None:
        raise AssetNotFound(uid=uid, project=registry.project_id)
    return asset


# -- the commands -----------------------------------------------------------------------------------------


@click.group("facts")
def command() -> None:
    """Tell what made an asset: model, prompt, seed and all else that its file says."""


@command.command("show")
@click.argument("asset")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
@console.library_options
def show_command(asset: str, as_json: bool, **library: str | None) -> int:
    """Tell what made ASSET (uid, the beginning of one, or path) and where each fact was read.

    A path may also be that of any file outside of the library. Exit code 3: nothing is known.
    """
    console.set_up_logging()
    found = _found(asset, library)
    if as_json:
        console.emit_json(found)
    else:
        console.echo(_described(found))
    return 0


def _found(asset: str, library: dict[str, str | None]) -> dict[str, Any]:
    with suppress(NoLibrary), console.open_registry(**library, makes=False) as registry:
        uid = registry.resolve_uid(asset)
        if uid is not None:
            return facts_of(registry, uid)
        if not Path(asset).exists():
            raise AssetNotFound(uid=asset, project=registry.project_id)
    return read_facts(Path(asset))


@command.command("refresh")
@click.argument("assets", nargs=-1)
@click.option("--all", "is_forced", is_flag=True, help="Those that today's reader has read, too.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
@console.library_options
def refresh_command(assets: tuple[str, ...], is_forced: bool, as_json: bool, **library: str | None) -> int:
    """Read what made assets with today's reader: of all, or those named by uid or path.

    Assets that came in before comfyvn read such facts get them; what was kept of a workflow is read again
    also where an editor has stripped it from the file. Exit code 1: some failed; each is named.
    """
    console.set_up_logging()
    with console.open_registry(**library, makes=False) as registry:
        uids = [uid_of(registry, each) for each in assets] or None
        total = registry.count_assets() if uids is None else len(uids)
        items = list[Refreshed]()
        counts: Counter[str] = Counter(dict.fromkeys(("read", "current", "nothing", "failed"), 0))
        with console.progress("Reading facts", total, quiet=as_json) as bar:
            for item in refresh(registry, uids, is_forced=is_forced):
                bar.advance()
                counts[item.status] += 1
                if item.status in ("read", "failed"):
                    items.append(item)
    if as_json:
        console.emit_json({"counts": counts, "items": [item.as_dict() for item in items]})
    else:
        for item in items:
            what = item.reason or ", ".join(item.changed) or "no other facts than before"
            console.echo(f"{item.path}: {what}", err=item.status == "failed")
        console.echo(
            f"{counts['read']:,} read, {counts['current']:,} up to date, {counts['nothing']:,} tell nothing,"
            f" {counts['failed']:,} failed"
        )
    return 1 if counts["failed"] else 0


def uid_of(registry: AssetRegistry, asset: str) -> str:
    """Return the uid of an asset that is named by uid, the beginning of one, or path.

    Raises:
        AssetNotFound: there is none.
    """
    uid = registry.resolve_uid(asset)
    if uid is None:
        raise AssetNotFound(uid=asset, project=registry.project_id)
    return uid


def _described(found: Mapping[str, Any]) -> str:
    version = f" {found['tool_version']}" if found.get("tool_version") else ""
    made = f"made with {found['tool']}{version}" if found.get("tool") else "what made it"
    lines = [f"{found['path']}: {made}", *_why_kept(found)]
    facts, read_from = (_mapping(found.get(name)) for name in ("facts", "read_from"))
    for name, value in facts.items():
        lines += _in_column(f"{name}:", _lines_of(value))
        if read_from.get(name):
            lines += _in_column("", [f"  from {read_from[name]}"])
    for name in ("workflow_hash", "reader"):
        if found.get(name):
            lines += _in_column(f"{name.partition('_')[0]}:", [str(found[name])])
    return "\n".join(lines)


def _why_kept(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line where the file in the library is not where these facts can be read today."""
    if "in_file" not in found:
        return  # any file, which was read this moment
    if found.get("reader") is None:
        yield "  Stated when it was registered, and not read from the file."
        return
    by, now = found["told_by_version"], found["version"]
    of = f" They are of version {by}, and the file is of version {now}." if by not in (None, now) else ""
    if found["in_file"] is None:
        yield f"  Kept from it: the file can't be read now.{of}"
    elif not found["in_file"]:
        yield f"  Kept: the file in the library does not tell these facts.{of}"


def _in_column(name: str, values: Iterable[str]) -> Iterator[str]:
    """Yield a name and the lines of its value in two columns."""
    for value in values:
        yield f"  {name:<17} {value}"
        name = ""


def _lines_of(value: object) -> list[str]:
    """Return a fact in lines for people, one for each thing of a list."""
    if isinstance(value, list) and value:
        return [line for each in value for line in _lines_of(each)]
    text = _in_words(value).strip()
    text = text if len(text) <= _VALUE_WIDTH else f"{text[:_VALUE_WIDTH]} ..."
    return [line.strip() for line in text.splitlines() if line.strip()] or ["(empty)"]


def _in_words(value: object) -> str:
    """Return a value without the signs of JSON: a name comes first, what else is said of it behind.

    >>> _in_words({"name": "mara_v3", "weight": 0.8})
    'mara_v3, weight 0.8'
    """
    if isinstance(value, Mapping):
        name = [_in_words(value["name"])] if "name" in value else []
        rest = [f"{key} {_in_words(each)}" for key, each in value.items() if key != "name"]
        return ", ".join([*name, *rest])
    if isinstance(value, list):
        return ", ".join(map(_in_words, value))
    if value is None or isinstance(value, bool):
        return {None: "unknown", True: "yes", False: "no"}[value]
    return str(value)


def _mapping(value: object) -> Mapping[str, Any]:
    """Return a value that may have been edited by hand as an object."""
    return value if isinstance(value, Mapping) else {}
