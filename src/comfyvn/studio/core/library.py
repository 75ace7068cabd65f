"""One library: what keeps an asset's file, sidecar, mirror and ledger row in step.

Everything that changes an asset goes through `Library.transaction`: one write transaction, in which the
sidecars are written too, and after whose commit the news goes out in order.
"""

from __future__ import annotations

import functools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from comfyvn import media, sidecar
from comfyvn.config import Config
from comfyvn.db import JournalEntry, Ledger, Reader, Writer, open_engine
from comfyvn.errors import (
    AssetNotFound,
    ComfyVNError,
    ForeignLibrary,
    InvalidMetadata,
    InvalidSetting,
    InvalidSidecar,
    LibraryUnreachable,
    PathConflict,
    RegistryUnusable,
    SourceUnreadable,
)
from comfyvn.events import EventName, HookBus
from comfyvn.model import (
    Asset,
    Facts,
    FileStat,
    Preview,
    PreviewKind,
    Provenance,
    ProvenanceClaim,
    canonical_json,
    facts_name,
    fold,
    id_floor,
    merge_registered,
    parse_parents,
    preview_names,
    utc_now,
)
from comfyvn.storage import LocalStorage, Writes

if TYPE_CHECKING:
    from comfyvn.studio.core.workflows import Workflows

__all__ = ["Beside", "Library", "Move", "Transaction", "facts_told", "provenance_row", "rows_told"]

_log = logging.getLogger(__name__)
_COMMIT_HASH_MAX_AGE_S: Final = 5.0
_NEVER_WRITTEN: Final = "it was registered where it lies, and such files are never written to"
_SAVED_WITHOUT: Final = "it was last saved without one"
_OLDEST_SUFFIX: Final = ".json"
_DAY_S: Final = 86_400.0


@dataclass(slots=True)
class Transaction:
    """A write transaction with the files that go with it.

    ``rows`` writes to the ledger; `Library.write_sidecar` notes in ``undo`` how to take a rewritten sidecar
    back, and in ``sidecars`` which of them are our own; ``afterwards`` waits for the commit; `tell` records a
    change, which is then announced.
    """

    rows: Writer
    writes: Writes
    stated_operation_id: int | None = None
    undoes: int | None = None
    reserved_overruling_id: int | None = None
    updates: dict[int, Asset] = field(default_factory=dict)
    entries: list[JournalEntry] = field(default_factory=list)
    payloads: list[Callable[[], dict[str, Any]]] = field(default_factory=list)
    undo: list[Callable[[], None]] = field(default_factory=list)
    sidecars: dict[str, list[FileStat]] = field(default_factory=dict)
    afterwards: list[Callable[[], None]] = field(default_factory=list)

    @property
    def operation_id(self) -> int:
        """The operation that the changes belong to; reserved when it is first asked for."""
        if self.stated_operation_id is None:
            self.stated_operation_id = self.rows.reserve_ids(1)[0]
        return self.stated_operation_id

    @property
    def overruling_id(self) -> int:
        """The operation of what hand edits overruled: undoing it brings our values back."""
        if self.reserved_overruling_id is None:
            _ = self.operation_id  # so that it has the smaller number: it came first
            self.reserved_overruling_id = self.rows.reserve_ids(1)[0]
        return self.reserved_overruling_id

    def update(self, asset: Asset) -> None:
        """Have a known asset's row written at the end of the transaction, together with the others."""
        self.updates[asset.id] = asset

    def tell(
        self,
        event: str,
        asset: Asset,
        *,
        before: dict[str, Any] | None = None,
        after: dict[str, Any] | None = None,
        payload: Callable[[], dict[str, Any]] | None = None,
        operation_id: int | None = None,
    ) -> None:
        """Add a change to the journal and, with a payload, to the news."""
        operation = operation_id or self.operation_id
        if self.undoes is not None and operation_id is None and event != "asset_sidecar_written":
            after = {**(after or {}), "undoes": self.undoes}
        entry = JournalEntry(event, asset.uid, asset.id, operation, before, after)
        self.entries.append(entry)
        if payload is not None:
            self.payloads.append(payload)

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Take back all that is done inside, files included, if it fails; what was done before stays."""
        ids = self.stated_operation_id, self.reserved_overruling_id
        lists: list[list[Any]] = [self.entries, self.payloads, self.undo, self.afterwards]
        lengths, updates = [len(each) for each in lists], dict(self.updates)
        try:
            with self.rows.savepoint():
                yield
        except BaseException:
            self.put_files_back(lengths[2])
            for each, length in zip(lists, lengths, strict=True):
                del each[length:]
            self.updates = updates
            self.stated_operation_id, self.reserved_overruling_id = ids
            raise

    def put_files_back(self, since: int = 0) -> None:
        """Take back what was done to files, from one of the steps in ``undo`` on, the last one first."""
        while len(self.undo) > since:
            self.undo.pop()()


@dataclass(frozen=True, slots=True)
class Move:
    """An asset's new place. ``file`` is remembered of the file there, if its content is the known one.

    ``is_missing``: another asset took its place, and its own file lies nowhere. ``is_ours``: we moved the
    file, because somebody wanted it; else we found it there.
    """

    asset: Asset
    key: str
    file: FileStat | None
    is_missing: bool = False
    is_ours: bool = False


_Over: TypeAlias = FileStat | Literal["anything", "nothing"]
"""What may lie where a sidecar is to be written."""


@dataclass(frozen=True, slots=True)
class Beside:
    """The sidecar beside a file: what it says, its bytes, and its stat when it was read."""

    said: sidecar.Sidecar
    data: bytes
    stat: FileStat


class Library:
    """The parts of one project, put together: settings, storage, mirrors, previews' folder, ledger, hooks.

    Args:
        config: the settings.
        meta_root: where mirrors go; None for ``<assets>/_meta``, False for nowhere.
        sidecar_suffix: what is added to an asset's file name.

    ``preview_failures`` holds (key, reason) of previews that failed since it was opened, the last 1,000.

    Raises:
        RegistryUnusable: folders or ledger can't be made or opened.
        InvalidSetting: the preview cache lies inside the assets folder.
    """

    def __init__(
        self,
        config: Config,
        *,
        meta_root: Path | Literal[False] | None = None,
        sidecar_suffix: str = sidecar.SUFFIX,
    ) -> None:
        if config.thumbs_root.is_relative_to(config.assets_root):
            why = "it lies inside the assets folder, where previews would be taken for assets"
            origin = config.why("thumbs_root")
            raise InvalidSetting(name="thumbs_root", value=str(config.thumbs_root), origin=origin, why=why)
        self.config = config
        self.preview_failures: deque[tuple[str, str]] = deque(maxlen=1_000)
        self.limits = config.limits()
        self.sidecar_suffix = sidecar_suffix
        self.bus = HookBus()
        self.storage = LocalStorage(config.assets_root)
        self.mirrors = _mirror_storage(config, meta_root)
        self.thumbs = LocalStorage(config.thumbs_root)
        self._order = threading.RLock()
        self._commit_hash: tuple[float, str | None] = (float("-inf"), None)
        engine = open_engine(
            config.db,
            busy_timeout_s=config.busy_timeout_s,
            durability=config.durability,
            thumbs_rel=config.thumbs_rel,
            limits=self.limits,
        )
        self.ledger = Ledger(engine, config.project, config.user or _login_name())
        try:
            self._ensure_folders()
        except BaseException:
            engine.close()
            raise

    @functools.cached_property
    def workflows(self) -> Workflows:
        """The texts of tools that made assets."""
        from comfyvn.studio.core.workflows import Workflows  # its readers are many, and who looks needs none

        return Workflows(self.storage)

    def close(self) -> None:
        """Close the ledger and take our staging folders away."""
        self.ledger.engine.close()
        for storage in (self.storage, self.mirrors, self.thumbs):
            if storage is not None:
                storage.close()

    # -- transactions ---------------------------------------------------------------------------------

    def read(self) -> AbstractContextManager[Reader]:
        """Give a reader of one state of the ledger."""
        return self.ledger.read()

    @contextmanager
    def transaction(self, operation_id: int | None = None, *, wait: bool = True) -> Iterator[Transaction]:
        """Give a write transaction; at its end: sync files, journal, commit, then announce in order.

        On an error every sidecar rewritten in it is put back and nothing is committed or announced.

        Args:
            operation_id: the operation that the changes belong to; a new one by default.
            wait: False when the caller must not wait for hooks that another thread is running.
        """
        self.check_place()
        with self._order:
            change = None
            try:
                with self.ledger.write() as rows:
                    change = Transaction(rows, self.new_writes(), operation_id)
                    try:
                        yield change
                        rows.update(list(change.updates.values()))
                        change.writes.sync()
                        at = rows.record(change.entries)
                    except BaseException:
                        change.put_files_back()  # before others may write
                        raise
            except BaseException:
                if change is not None:
                    change.put_files_back()  # the commit itself failed: the ledger's disk is full
                raise
            for step in change.afterwards:
                _try(step)
            self.bus.post({**payload(), "timestamp": at} for payload in change.payloads)
        self.bus.deliver(wait=wait)

    def check_place(self) -> None:
        """Refuse to write where the library is not: its drive may not be mounted, or be another one.

        Raises:
            LibraryUnreachable: the folder or its ``library.json`` is gone.
            ForeignLibrary: it belongs to another library.
        """
        found, root = self.storage.library_id(), self.storage.root
        if found is None:
            why = "this assets folder is gone, or its .comfyvn/library.json is"
            hint = "if it is the right folder, `comfyvn rebuild --allow-missing` says so"
            raise LibraryUnreachable(path=root, why=f"{why}; {hint}")
        if found != self.library_id:
            raise ForeignLibrary(path=root, found=found, expected=self.library_id)

    def new_writes(self) -> Writes:
        """Return a collector of files to sync, or at durability ``off`` one that does nothing."""
        return Writes(is_wanted=self.config.durability != "off")

    def change(
        self,
        uids: Iterable[str],
        edit: Callable[[Asset], Facts],
        *,
        operation_id: int | None = None,
        force: bool = False,
    ) -> dict[str, Asset]:
        """Change what is written about some assets, sidecars and mirrors included, in one transaction.

        Hand edits that a sidecar holds are merged in first; where both sides changed a field the file wins
        and our value goes to the journal.

        Args:
            uids: the assets; unknown ones are left out of the answer.
            edit: gives the wanted facts from the asset as the ledger knows it.
            operation_id: the operation that the changes belong to; a new one by default.
            force: write the sidecar even when nothing changed.

        Returns:
            The assets as they are now, by uid.
        """
        done: dict[str, Asset] = {}
        with self.transaction(operation_id) as change:
            for asset in change.rows.assets(list(uids)):
                done[asset.uid] = self.change_one(change, asset, edit(asset), force=force, is_as_read=True)
        return done

    def change_one(
        self,
        change: Transaction,
        asset: Asset,
        wanted: Facts,
        *,
        force: bool = False,
        announce: bool = False,
        is_as_read: bool = False,
    ) -> Asset:
        """Change one asset inside a transaction; see `change`.

        ``announce`` it even if no fact changed. ``is_as_read``: nothing of it was changed since it was read
        from the ledger, so that a sidecar which we wrote last says the same.
        """
        stat = self.storage.stat(self.sidecar_key(asset.key))
        is_as_written = stat is not None and stat == asset.sidecar_file
        found, seen = (None, stat) if is_as_written else self.edits_on_disk(asset)
        theirs = asset.facts if found is None else found.facts
        is_others = found is not None and _is_of_another_registration(found, asset)
        base = _in_both(theirs, asset.facts) if is_others else asset.facts
        merged = sidecar.merge(base, theirs, wanted, self.limits)
        whole = asset if found is None else self.take_back(change, asset, found)
        is_changed = not sidecar.is_same(merged.facts, asset.facts)
        updated = replace(whole, facts=merged.facts, updated_at=utc_now() if is_changed else asset.updated_at)
        if not is_changed and not force and (as_it_is := self._with_sidecar_as_it_is(updated, found, seen)):
            if as_it_is != asset:
                change.update(as_it_is)
            return as_it_is
        try:
            known = asset if is_as_written and is_as_read else None
            over = self.may_lie_beside(asset) if seen is None else seen
            updated = self.write_sidecar(change, updated, known, over)
        except FileExistsError:  # an editor was faster: what it saved is taken in first
            is_as_read = is_as_read and whole is asset
            return self.change_one(
                change, whole, wanted, force=force, announce=announce, is_as_read=is_as_read
            )
        change.update(updated)
        if merged.lost:  # our change and what overrules it are two steps, so that each can be undone
            ours = replace(asset, facts=wanted)
            self.tell_updated(change, asset, ours, is_news=False)
            self.tell_updated(change, ours, updated, dict(merged.lost))
        elif is_changed or announce:
            self.tell_updated(change, asset, updated)
        return updated

    def may_lie_beside(self, asset: Asset) -> _Over:
        """Tell what may lie where no sidecar does: nothing, or a link, or a folder, which takes no file."""
        key = self.sidecar_key(asset.key)
        is_file_or_nothing = not self.storage.exists(key) or self.storage.stat(key) is not None
        return "nothing" if is_file_or_nothing else "anything"

    def _with_sidecar_as_it_is(
        self, asset: Asset, found: sidecar.Sidecar | None, stat: FileStat | None
    ) -> Asset | None:
        """Return the asset with its sidecar remembered if that need not be written: it says it all.

        ``stat`` is that of the sidecar as it was ``found``: a later one may be of a later edit.
        """
        if stat is not None and stat == asset.sidecar_file:
            return asset
        if stat is None or found is None or found.payload != sidecar.build(asset, self.sidecar_suffix):
            return None
        return replace(asset, sidecar_file=stat) if self._has_mirror_like(asset, found) else None

    def _has_mirror_like(self, asset: Asset, found: sidecar.Sidecar) -> bool:
        """Tell whether the mirror says the same: who wrote a sidecar may have been killed before that."""
        if self.mirrors is None:
            return True
        if asset.mirror_key is None:
            return False
        try:
            data = self.mirrors.read(asset.mirror_key, self.config.sidecar_bytes)
            return data is not None and sidecar.parse(data[0], asset.mirror_key).payload == found.payload
        except (InvalidSidecar, SourceUnreadable):
            return False

    def take_back(self, change: Transaction, asset: Asset, found: sidecar.Sidecar) -> Asset:
        """Record provenance and older versions that a sidecar tells of and the ledger does not know.

        That is how things are after an older copy of the ledger was put back. The same asset comes back when
        there is nothing to record.
        """
        rows = rows_told(found.provenance, asset, change.rows, change.rows.reserve_ids)
        known = {each.version for each in asset.all_versions}
        versions = [each for each in found.versions if each.version not in known]
        versions = [each for each in versions if each.version < asset.version]
        if not rows and not versions:
            return asset
        change.rows.add_provenance(rows)
        change.rows.add_versions(asset, versions)
        for row in rows:
            change.tell("asset_provenance_added", asset, after={"id": row.id, "source": row.source})
        history = sorted([*asset.all_provenance, *rows], key=lambda row: -row.id)
        every = sorted([*asset.all_versions, *versions], key=lambda each: -each.version)
        return replace(asset.with_provenance(history), versions=tuple(every))

    def append_provenance(
        self, change: Transaction, asset: Asset, claim: ProvenanceClaim, provenance_id: int, created_at: str
    ) -> Asset:
        """Give a known asset another provenance row inside a transaction; its sidecar is the caller's."""
        row = provenance_row(asset, claim, provenance_id, created_at)
        change.rows.add_provenance([row])
        change.tell("asset_provenance_added", asset, after={"id": row.id, "source": row.source})
        return asset.with_provenance((row, *asset.all_provenance))

    # -- news -----------------------------------------------------------------------------------------

    def tell_registered(self, change: Transaction, asset: Asset) -> None:
        """Journal and announce a new asset."""
        after = {"type": asset.type, "path": asset.key, "hash": asset.digest, **_facts_object(asset)}
        payload = self._asset_payload("asset_registered", asset)
        change.tell("asset_registered", asset, after=after, payload=payload)

    def tell_updated(
        self,
        change: Transaction,
        before: Asset,
        after: Asset,
        lost: dict[str, Any] | None = None,
        *,
        is_news: bool = True,
    ) -> None:
        """Journal and announce changed metadata.

        Args:
            change: the transaction.
            before: the asset as it was.
            after: the asset as it is.
            lost: values that gave way to a hand edit; the step is then an operation of its own.
            is_news: announce it to hooks, not only to the journal.
        """
        change.tell(
            "asset_meta_updated",
            after,
            before=_facts_object(before),
            after={**_facts_object(after), **({"overruled": lost} if lost else {})},
            payload=self._asset_payload("asset_meta_updated", after) if is_news else None,
            operation_id=change.overruling_id if lost else None,
        )

    def tell_removed(self, change: Transaction, asset: Asset, trash: dict[str, Any]) -> None:
        """Journal a removal with all that a restore needs, and announce it."""
        before = {
            "sidecar": sidecar.build(asset, self.sidecar_suffix),
            "is_in_place": asset.is_in_place,
            "media": dict(asset.media),
            "missing_since": asset.missing_since,
            "versions": [sidecar.describe_version(version) for version in asset.all_versions],
            "file": asdict(asset.file) if asset.file else None,
        }
        payload = self._asset_payload("asset_removed", asset)
        change.tell("asset_removed", asset, before=before, after=trash, payload=payload)

    def tell_restored(self, change: Transaction, asset: Asset, after: dict[str, Any]) -> None:
        """Journal an asset that came back from its removal; hooks hear that it is registered (again)."""
        known = {"type": asset.type, "path": asset.key, "hash": asset.digest, **_facts_object(asset)}
        payload = self._asset_payload("asset_registered", asset)
        change.tell("asset_restored", asset, after={**known, **after}, payload=payload)

    def tell_sidecar_written(self, change: Transaction, asset: Asset) -> None:
        """Journal and announce a written sidecar."""
        change.tell("asset_sidecar_written", asset, payload=self._sidecar_payload(asset))

    def _asset_payload(self, event: EventName, asset: Asset) -> Callable[[], dict[str, Any]] | None:
        if not self.bus.wants(event):
            return None
        return lambda: {
            "hook_event": event,
            "uid": asset.uid,
            "type": asset.type,
            "path": asset.key,
            "sidecar": self.sidecar_key(asset.key),
            "meta": sidecar.describe_meta(asset, with_media=True),
            "bytes": asset.size_bytes,
        }

    def _sidecar_payload(self, asset: Asset) -> Callable[[], dict[str, Any]] | None:
        if not self.bus.wants("asset_sidecar_written"):
            return None
        key = self.sidecar_key(asset.key)
        return lambda: {
            "hook_event": "asset_sidecar_written",
            "uid": asset.uid,
            "type": asset.type,
            "sidecar": str(self.storage.path(key)),
            "rel_path": key,
        }

    # -- sidecars -------------------------------------------------------------------------------------

    def sidecar_key(self, key: str) -> str:
        """Return the key of the sidecar of the asset at ``key``."""
        return key + self.sidecar_suffix

    def is_sidecar(self, key: str) -> bool:
        """Tell a sidecar, or a kept copy of a broken one, from an asset by its name."""
        name = fold(key.rpartition("/")[2])
        suffix = fold(self.sidecar_suffix)
        return name.endswith(suffix) or f"{suffix}.broken" in name

    def read_sidecar(self, key: str, base: Facts | None = None) -> sidecar.Sidecar | None:
        """Return the sidecar of the asset at ``key``, None where there is none.

        Raises:
            InvalidSidecar: it can't be read or understood.
        """
        beside = self.read_beside(key, base)
        return None if beside is None else beside.said

    def read_beside(self, key: str, base: Facts | None = None) -> Beside | None:
        """Return the sidecar of the asset at ``key`` as it lies there; see `read_sidecar`."""
        name = self.sidecar_key(key)
        try:
            found = self.storage.read(name, self.config.sidecar_bytes)
        except SourceUnreadable as error:
            raise InvalidSidecar(path=name, line=1, column=1, why=error.fields["why"]) from error
        return None if found is None else Beside(sidecar.parse(found[0], name, self.limits, base), *found)

    def with_sidecar_beside(self, asset: Asset, beside: Beside) -> Asset | None:
        """Return a new asset with sidecar and mirror remembered as they lie there, None if they say less.

        The mirror must be the first that is there and not another asset's, as if it were written again.
        """
        if beside.said.payload != sidecar.build(asset, self.sidecar_suffix):
            return None
        if self.mirrors is None:
            return replace(asset, sidecar_file=beside.stat)
        for name in islice(_mirror_keys(asset.key), 2):
            with suppress(SourceUnreadable):
                found = self.mirrors.read(name, self.config.sidecar_bytes)
                if found is not None and found[0] == beside.data:
                    return replace(asset, sidecar_file=beside.stat, mirror_key=name)
                if found is not None and not self._is_mirror_of(name, asset.uid):
                    continue
            return None
        return None

    def read_other_record(self, key: str) -> sidecar.Sidecar | None:
        """Return what is written of a file without a sidecar: by its mirror or a very old release."""
        for storage, name in self._other_records(key):
            with suppress(InvalidSidecar, SourceUnreadable):
                data = storage.read(name, self.config.sidecar_bytes)
                found = None if data is None else sidecar.parse(data[0], name, self.limits)
                is_of_it = found is not None and found.key == key and found.uid is not None
                if found is not None and is_of_it and found.project in (None, self.ledger.project_id):
                    return found
        return None

    def _other_records(self, key: str) -> Iterator[tuple[LocalStorage, str]]:
        if self.mirrors is not None:
            yield from ((self.mirrors, name) for name in islice(_mirror_keys(key), 2))
        yield self.storage, f"{key}{_OLDEST_SUFFIX}"

    def is_oldest_sidecar(self, key: str) -> bool:
        """Tell the sidecar of a very old release, ``<file name>.json``, from an asset that is JSON."""
        owner = key.removesuffix(_OLDEST_SUFFIX)
        if owner == key or self.storage.stat(owner) is None:
            return False
        try:
            data = self.storage.read(key, self.config.sidecar_bytes)
            found = None if data is None else sidecar.parse(data[0], key, self.limits)
        except (InvalidSidecar, SourceUnreadable):
            return False
        return found is not None and found.key == owner and found.uid is not None

    def edits_on_disk(self, asset: Asset) -> tuple[sidecar.Sidecar | None, FileStat | None]:
        """Return the asset's sidecar if it changed since we wrote it, and the stat of what lies there.

        A broken one is copied aside.
        """
        key = self.sidecar_key(asset.key)
        stat = self.storage.stat(key)
        if stat in (asset.sidecar_file, None):
            return None, stat
        try:
            beside = self.read_beside(asset.key, asset.facts)
        except InvalidSidecar as error:
            self.set_aside(key, error)
            return None, stat
        if beside is None:
            return None, None
        found = beside.said
        if found.project not in (None, self.ledger.project_id):
            why = f"it belongs to the project {found.project!r}; put the right one back"
            raise PathConflict(path=key, why=why)
        if found.uid not in (None, asset.uid):  # maybe all that is left of that one
            why = f"it names the asset {found.uid}, not {asset.uid}"
            raise PathConflict(path=key, why=f"{why}; put the files right, then `comfyvn rebuild`")
        return found, beside.stat

    def set_aside(self, key: str, why: Exception) -> None:
        """Keep a copy of a broken sidecar before ours takes its place, and say so."""
        copy = self.storage.keep_copy(key)
        _log.warning("%s. A copy is kept as %s.", why, copy)

    def write_sidecar(
        self, change: Transaction, asset: Asset, known: Asset | None = None, over: _Over = "anything"
    ) -> Asset:
        """Write sidecar and mirror inside a transaction; return the asset with what is remembered of them.

        ``known`` is the asset as its sidecar says, if that is what we wrote last; ``over`` is what was last
        seen to lie there.

        Raises:
            FileExistsError: somebody saved the sidecar since; it was left as it is.
        """
        written = self.replace_sidecar(change, asset, known, over)
        self.tell_sidecar_written(change, asset)
        return written

    def create_sidecar(self, asset: Asset, writes: Writes) -> Asset:
        """Write sidecar and mirror of an asset that is about to be recorded, unless a sidecar lies there.

        Then the asset comes back as it was, and `replace_sidecar` has to follow: only a transaction writes
        over a sidecar. Of two that register one file at once, each would else take what the other wrote for
        a hand edit, and drop the tags that are not in it.
        """
        data = self._sidecar_data(asset)
        key = self.sidecar_key(asset.key)
        try:
            stat = self.storage.create(key, data, writes)
        except FileExistsError:
            return asset
        try:
            return replace(asset, sidecar_file=stat, mirror_key=self._write_mirror(asset, data, writes))
        except BaseException:
            self.storage.delete(key)
            raise

    def take_created_back(self, asset: Asset) -> None:
        """Remove what `create_sidecar` wrote of an asset that is not recorded, unless it was changed."""
        key = self.sidecar_key(asset.key)
        if asset.sidecar_file is not None and self.storage.stat(key) == asset.sidecar_file:
            self.storage.delete(key)
        if asset.mirror_key is not None and self.mirrors is not None:
            with suppress(SourceUnreadable):
                found = self.mirrors.read(asset.mirror_key, self.config.sidecar_bytes)
                if found is not None and found[0] == self._sidecar_data(asset):
                    self.mirrors.delete(asset.mirror_key)

    def replace_sidecar(
        self, change: Transaction, asset: Asset, known: Asset | None = None, over: _Over = "anything"
    ) -> Asset:
        """Write sidecar and mirror inside a transaction, unannounced; they are put back if it fails.

        Arguments and errors as of `write_sidecar`. Nobody needs to read what is to be put back if it is
        ``known``.
        """
        data = self._sidecar_data(asset)
        key = self.sidecar_key(asset.key)
        written, steps = change.sidecars.setdefault(key, []), len(change.undo)
        if known is None or known.sidecar_file is None:
            old = self._note_undo(change, self.storage, key, written)
            size_bytes = -1 if old is None else len(old)
        else:
            size_bytes = known.sidecar_file.size_bytes
            self._note_rewrite(change, known, written)
        try:
            if over == "nothing":
                stat = self.storage.create(key, data, change.writes)
            else:
                stat = self.storage.write(key, data, change.writes, over=None if over == "anything" else over)
        except FileExistsError:
            del change.undo[steps:]
            raise
        written.append(stat)
        mirror_key = self._replace_mirror(change, asset, data, size_bytes)
        return replace(asset, sidecar_file=stat, mirror_key=mirror_key)

    def _replace_mirror(
        self, change: Transaction, asset: Asset, data: bytes, old_size_bytes: int
    ) -> str | None:
        """Write the mirror; ``old_size_bytes`` is how long the sidecar was, -1 where there was none."""
        if self.mirrors is None or asset.mirror_key is None:
            return self._write_mirror(asset, data, change.writes, change.undo)
        old = self._note_undo(change, self.mirrors, asset.mirror_key)
        # as long as its own sidecar and with its uid at the top: no need to parse it to see whose it is
        is_ours = old is not None and len(old) == old_size_bytes and sidecar.names(old, asset)
        if not is_ours:
            return self._write_mirror(asset, data, change.writes, change.undo)
        self.mirrors.write(asset.mirror_key, data, change.writes)
        return asset.mirror_key

    def _sidecar_data(self, asset: Asset) -> bytes:
        """Return the sidecar's bytes; in one too large to be read again, older provenance has no inputs.

        The ledger keeps those.

        Raises:
            InvalidMetadata: even so it is larger than the limit.
        """
        payload = sidecar.build(asset, self.sidecar_suffix)
        data = sidecar.dumps(payload)
        limit = self.config.sidecar_bytes
        if len(data) > limit:
            for row in (payload["provenance"] or {}).get("history", []):
                row["inputs"] = {"left_out": "the sidecar was larger than sidecar_bytes; the ledger has them"}
            data = sidecar.dumps(payload)
        if len(data) > limit:
            why = (
                f"the sidecar of {asset.key} takes {len(data):,} bytes, the limit sidecar_bytes is {limit:,}"
            )
            raise InvalidMetadata(why=why)
        return data

    def relocate(self, change: Transaction, moves: Sequence[Move]) -> list[Asset]:
        """Give assets other keys, where their files now lie; sidecars and mirrors move along.

        All of them at once, since they may have changed places with each other.

        Raises:
            LedgerConflict: a key belongs to an asset that does not move.
        """
        edits = [self._edits_of_moved(change.rows, move) for move in moves]
        if len(moves) > 1:
            change.rows.vacate([move.asset.id for move in moves])
        for move in moves:
            self.drop_mirror(change, move.asset)
        moved = [self._move(change, move, found) for move, found in zip(moves, edits, strict=True)]
        keys = {move.key for move in moves}
        for move, here in zip(moves, moved, strict=True):
            if move.asset.key not in keys:
                change.afterwards.append(functools.partial(self._drop_sidecar, move.asset, here.sidecar_file))
        return moved

    def _move(self, change: Transaction, move: Move, edits: Sequence[tuple[sidecar.Sidecar, Facts]]) -> Asset:
        before = whole = move.asset
        facts = before.facts
        for found, base in edits:
            facts = sidecar.merge(base, found.facts, facts, self.limits).facts
            whole = self.take_back(change, whole, found)
        since = (before.missing_since or utc_now()) if move.is_missing else None
        here = replace(
            whole,
            key=move.key,
            facts=facts,
            file=move.file or before.file,
            sidecar_file=None,
            mirror_key=None,
            missing_since=since,
            updated_at=utc_now(),
        )
        self._set_aside_foreign(here)
        here = self.write_sidecar(change, here)
        change.update(here)
        after = {"path": here.key, **({"is_ours": True} if move.is_ours else {})}
        change.tell("asset_moved", here, before={"path": before.key}, after=after)
        if not sidecar.is_same(facts, before.facts):
            self.tell_updated(change, before, here)
        return here

    def _edits_of_moved(self, rows: Reader, move: Move) -> list[tuple[sidecar.Sidecar, Facts]]:
        """Return a moving asset's sidecars, at the old place and the new one, with what we last wrote there.

        We may have written at the old place after the other sidecar was moved away from there.
        """
        found = []
        last = self.storage.stat(self.sidecar_key(move.asset.key))
        is_later = last is not None and last == move.asset.sidecar_file
        for key in (move.key, move.asset.key):
            stat = self.storage.stat(self.sidecar_key(key))
            if stat is None or stat == move.asset.sidecar_file:
                continue
            with suppress(InvalidSidecar):
                beside = self.read_sidecar(key, move.asset.facts)
                if beside is not None and beside.uid == move.asset.uid:
                    base = _facts_written(rows, move.asset, beside, stat, is_later=is_later)
                    found.append((beside, base))
        return found

    def _set_aside_foreign(self, asset: Asset) -> None:
        """Keep a copy of what lies where a moved asset's sidecar goes, unless that is a known asset's."""
        key = self.sidecar_key(asset.key)
        try:
            found = self.read_sidecar(asset.key)
            if found is None or (found.uid is not None and self._is_known(found.uid)):
                return
            error = InvalidSidecar(path=key, line=1, column=1, why=f"it names no asset of {asset.uid}")
        except InvalidSidecar as problem:
            error = problem
        self.set_aside(key, error)

    def _is_known(self, uid: str) -> bool:
        with self.read() as rows:
            return rows.asset(uid) is not None

    def drop_mirror(self, change: Transaction, asset: Asset) -> None:
        """Take an asset's mirror away, so that another one may have the name; put back on failure."""
        if asset.mirror_key and self.mirrors and self._is_mirror_of(asset.mirror_key, asset.uid):
            self._note_undo(change, self.mirrors, asset.mirror_key)
            self.mirrors.delete(asset.mirror_key)

    def _drop_sidecar(self, asset: Asset, present: FileStat | None) -> None:
        """Remove the sidecar that an asset had before it moved, unless it is another's now.

        Nor if it is the ``present`` one: of two names that differ in case some disks make one.
        """
        with suppress(InvalidSidecar):
            found = self.read_sidecar(asset.key)
            is_present = self.storage.stat(self.sidecar_key(asset.key)) == present
            if found is not None and found.uid == asset.uid and not is_present:
                self.storage.delete(self.sidecar_key(asset.key))

    def follow_sidecar(self, uid: str, key: str) -> bool:
        """Have an asset without file and sidecar belong where its sidecar now lies: its folder was renamed.

        Returns:
            False if that is not so; then nothing was changed.
        """
        with self.transaction() as change:
            asset = change.rows.asset(uid)
            if asset is None or self.storage.stat(asset.key) is not None or change.rows.is_taken(key):
                return False
            if self.storage.exists(self.sidecar_key(asset.key)):
                return False
            self.relocate(change, [Move(asset, key, None, is_missing=asset.missing_since is not None)])
        return True

    def take_word(self, uid: str, found: sidecar.Sidecar) -> None:
        """Merge what another sidecar of an asset says, if it tells of provenance that nobody knows.

        The ledger was lost, and the same content was registered again before the rebuild that finds this.
        """
        ids = {row.id for row in found.provenance}
        with self.transaction() as change:
            asset = change.rows.asset(uid)
            if asset is None or ids <= set(change.rows.taken_provenance_ids(ids)):
                return
            ours = asset.facts
            has_license = ours.license is not None
            wanted = merge_registered(found.facts, ours, license_given=has_license, limits=self.limits)
            wanted = replace(wanted, extra={**found.facts.extra, **ours.extra})
            if found.version > asset.version:
                asset = self._put_last(change, asset, found.version + 1)
            self.change_one(change, self.take_back(change, asset, found), wanted, force=True)

    def _put_last(self, change: Transaction, asset: Asset, version: int) -> Asset:
        """Number an asset's content anew, behind those of which only a sidecar tells."""
        present = replace(asset.all_versions[0], version=version)
        newer = replace(asset, version=version, versions=(present, *asset.all_versions))
        change.rows.set_versions(newer)
        return newer

    def drop_left_sidecar(self, uid: str, key: str) -> None:
        """Remove the sidecar without a file that an asset had at ``key``: its move was killed before that.

        The journal tells of that move. A copy that somebody put there stays, and so does one that says
        anything which the ledger does not know.
        """
        with self.transaction() as change:
            asset = change.rows.asset(uid)
            if asset is None or asset.key == key or self.storage.stat(asset.key) is None:
                return
            moves = [row for row in change.rows.journal_of(uid) if row.event == "asset_moved"]
            has_left = any(row.before is not None and row.before.get("path") == key for row in moves)
            found = self.read_sidecar(key)
            rows = asset.all_provenance
            if (
                has_left
                and found is not None
                and found.uid == uid
                and sidecar.is_same(found.facts, asset.facts)
                and {row.id for row in found.provenance} <= {row.id for row in rows}
            ):
                self.storage.delete(self.sidecar_key(key))

    def _write_mirror(
        self, asset: Asset, data: bytes, writes: Writes, undo: list[Callable[[], None]] | None = None
    ) -> str | None:
        """Write the mirror over its older self or under the first name that no other asset's mirror has.

        ``undo`` gets what takes a new one away again.
        """
        if self.mirrors is None:
            return asset.mirror_key
        if asset.mirror_key is not None and self.has_mirror(asset):
            self.mirrors.write(asset.mirror_key, data, writes)
            return asset.mirror_key
        for key in _mirror_keys(asset.key):
            try:
                self.mirrors.create(key, data, writes)
            except FileExistsError:
                if not self._is_mirror_of(key, asset.uid):
                    continue
                self.mirrors.write(key, data, writes)
            except PathConflict:
                # a mirror, such as that of red.png, lies where the folder red.json is needed
                if not any(folder.endswith(".json") for folder in key.split("/")[:-1]):
                    raise
                key = f"{asset.uid}.json"
                self.mirrors.write(key, data, writes)
            else:
                if undo is not None:
                    undo.append(functools.partial(self.mirrors.delete, key))
            return key
        raise AssertionError("there is always another name")  # pragma: no cover

    def has_mirror(self, asset: Asset) -> bool:
        """Tell whether an asset's mirror may be written: it is its own, or none is there.

        After mirrors were deleted another asset may have taken the name.
        """
        if self.mirrors is None or asset.mirror_key is None:
            return self.mirrors is None
        return not self.mirrors.exists(asset.mirror_key) or self._is_mirror_of(asset.mirror_key, asset.uid)

    def _is_mirror_of(self, key: str, uid: str) -> bool:
        assert self.mirrors is not None
        try:
            data = self.mirrors.read(key, self.config.sidecar_bytes)
            found = None if data is None else sidecar.parse(data[0], key, self.limits)
            is_ours = found is not None and found.project in (None, self.ledger.project_id)
            return found is not None and is_ours and found.uid == uid
        except (InvalidSidecar, SourceUnreadable):
            return False

    def _note_undo(
        self, change: Transaction, storage: LocalStorage, key: str, written: list[FileStat] | None = None
    ) -> bytes | None:
        """Have a file put back if the transaction fails, unless somebody saved it after we had written it.

        Returns:
            What it holds now, None if it is not there.
        """
        try:
            found = storage.read(key, self.config.sidecar_bytes)
        except SourceUnreadable:
            return None  # a folder or link lies there; writing will say so
        before = None if found is None else found[0]
        change.undo.append(functools.partial(_put_back, storage, key, lambda: before, written))
        return before

    def _note_rewrite(self, change: Transaction, known: Asset, written: list[FileStat]) -> None:
        """Have the sidecar of an asset, which is what we wrote last, written so again; see `_note_undo`."""
        key = self.sidecar_key(known.key)
        before = functools.partial(self._sidecar_data, known)
        change.undo.append(functools.partial(_put_back, self.storage, key, before, written))

    def named(self, uids: Sequence[str]) -> list[Asset]:
        """Return the assets with some uids, each once.

        Raises:
            AssetNotFound: one of them is unknown.
        """
        with self.read() as rows:
            found = {asset.uid: asset for asset in rows.assets(uids)}
        for uid in uids:
            if uid not in found:
                raise AssetNotFound(uid=uid, project=self.ledger.project_id)
        return list(found.values())

    # -- previews -------------------------------------------------------------------------------------

    def planned_preview(self, uid: str, kind: PreviewKind | None) -> Preview:
        """Return the preview that content gets: pending under known names, none, or why it can't be made."""
        if kind is None:
            return Preview()
        reason = media.unavailable(kind)
        if reason is not None:
            return Preview(kind, "failed", reason)
        name = next(iter(preview_names(uid, kind).values()))
        return Preview(kind, "pending", recipe=media.RECIPES[kind], path=f"{self.config.thumbs_rel}/{name}")

    @staticmethod
    def first_media(look: media.Look, *, is_in_place: bool) -> dict[str, Any]:
        """Return what is known of a file by its structure: its format, and whether it carries our marker."""
        is_filled = isinstance(look, media.Reading) and bool(look.slots)
        if is_filled or (look.marker is not None and look.refusal is None):
            return {"format": look.format, "stamped": True}
        why = look.refusal or (_NEVER_WRITTEN if is_in_place else _SAVED_WITHOUT)
        return {"format": look.format, "stamped": False, "not_stamped_because": why}

    def preview_paths(self, asset: Asset) -> list[Path]:
        """Return where the files of an asset's preview lie, made or not; the first is the one shown."""
        if asset.preview.recipe == 0 and asset.preview.path:  # an older release made it, under its own name
            return [self.thumbs.path(asset.preview.path.replace("\\", "/").rpartition("/")[2])]
        return [self.thumbs.path(name) for name in preview_names(asset.uid, asset.preview.kind).values()]

    def cached_paths(self, asset: Asset) -> list[Path]:
        """Return where all lies that the preview cache may hold of an asset: its preview, and its facts."""
        facts = [] if asset.preview.kind is None else [self.thumbs.path(facts_name(asset.uid))]
        return [*self.preview_paths(asset), *facts]

    # -- inside ---------------------------------------------------------------------------------------

    def commit_hash(self) -> str | None:
        """Return the commit to record: the setting, else the git commit of the project folder, else None."""
        if self.config.git_commit:
            return self.config.git_commit
        at, known = self._commit_hash
        if time.monotonic() - at > _COMMIT_HASH_MAX_AGE_S:
            known = _git_commit(self.config.home)
            self._commit_hash = (time.monotonic(), known)
        return known

    def _ensure_folders(self) -> None:
        """Make the assets folder; tie a new ledger to its library.

        A known library that is not there gets no new folder and no new ``library.json``: a rebuild must see
        that its drive may not be mounted.
        """
        with self.read() as rows:
            expected = rows.library_id()
        try:
            self.library_id = expected or self.storage.ensure()
            if expected is not None:
                return
        except OSError as error:
            why = f"the assets folder can't be made or written: {error.strerror or error}."
            raise RegistryUnusable(path=self.config.assets_root, why=why) from error
        with self.ledger.write() as writer:
            writer.claim_library(self.library_id)


def _put_back(
    storage: LocalStorage, key: str, before: Callable[[], bytes | None], written: list[FileStat] | None
) -> None:
    """Give a file its older content back, unless somebody saved it after we had ``written`` it."""
    with suppress(OSError, InvalidMetadata):  # the latter: beyond a limit that is lower by now
        if written and storage.stat(key) not in written:
            return
        data = before()
        if data is None:
            storage.delete(key)
        else:
            stat = storage.write(key, data, Writes(is_wanted=False))
            if written is not None:
                written.append(stat)


def _try(step: Callable[[], None]) -> None:
    """Tidy up after a commit: what fails here can't undo it, and a rebuild finds what was left."""
    try:
        step()
    except (ComfyVNError, OSError) as error:
        _log.warning("done, but something was left lying: %s. `comfyvn rebuild` tells what.", error)


def provenance_row(asset: Asset, claim: ProvenanceClaim, provenance_id: int, created_at: str) -> Provenance:
    """Make the provenance row of a claim about an asset; its inputs name the asset's uid and hash."""
    return Provenance(
        id=provenance_id,
        asset_id=asset.id,
        asset_uid=asset.uid,
        source=claim.source,
        workflow_hash=claim.workflow_hash,
        commit_hash=claim.commit_hash,
        inputs={**claim.inputs, "asset_uid": asset.uid, "asset_hash": asset.digest},
        c2pa_like=claim.c2pa_like,
        user_id=claim.user_id,
        created_at=created_at,
    )


def rows_told(
    told: Iterable[Provenance], asset: Asset, rows: Reader, mint: Callable[[int], range]
) -> list[Provenance]:
    """Return those of some provenance rows, such as a sidecar's, that an asset does not have yet.

    A row keeps its id unless another row has that, or it is none that we can have minted.
    """
    own = asset.all_provenance
    ids, known = {row.id for row in own}, {_essence(row) for row in own}
    new = {repr(row): row for row in told if row.id not in ids}  # a bad merge doubles rows
    used = set(rows.taken_provenance_ids(row.id for row in new.values()))
    ceiling = id_floor(time.time() + _DAY_S)  # an id from the future would push all later ones ahead
    missing = []
    for row in sorted(new.values(), key=lambda row: row.id):  # so that minted ids keep their order
        is_ours = 0 < row.id < ceiling and row.id not in used
        if not is_ours and _essence(row) in known:
            continue
        row_id = row.id if is_ours else mint(1)[0]
        used.add(row_id)
        at = row.created_at or asset.created_at
        missing.append(replace(row, id=row_id, asset_id=asset.id, asset_uid=asset.uid, created_at=at))
    return missing


def _essence(row: Provenance) -> str:
    """Return what a provenance row says, whoever numbered it."""
    inputs = {name: value for name, value in row.inputs.items() if name != "asset_uid"}
    return canonical_json(
        [row.source, row.workflow_hash, row.commit_hash, inputs, row.user_id, row.created_at]
    )


def _mirror_storage(config: Config, meta_root: Path | Literal[False] | None) -> LocalStorage | None:
    if meta_root is False:
        return None
    if meta_root is None:
        root = config.assets_root
        return LocalStorage(root / "_meta", own=root / ".comfyvn", within=root)
    return LocalStorage(Path(meta_root))


def _mirror_keys(key: str) -> Iterator[str]:
    """Yield the names that an asset's mirror may have: the documented one first."""
    folder, slash, name = key.rpartition("/")
    stem, dot, _ = name.rpartition(".")
    yield f"{folder}{slash}{stem if dot and stem else name}.json"
    yield f"{key}.json"
    number = 2
    while True:
        yield f"{key}-{number}.json"
        number += 1


def _facts_written(
    rows: Reader, asset: Asset, found: sidecar.Sidecar, stat: FileStat, *, is_later: bool
) -> Facts:
    """Return what a sidecar said when we wrote it, before later changes of ours that it does not know.

    The file's time tells when it was saved. One that was edited only after those changes says in
    ``updated_at`` which state it is of: to the second, so that of several states the oldest counts.
    ``is_later``: we wrote elsewhere since, so there are such changes. Of one that is older than the journal
    nobody knows what we wrote.
    """
    if _is_of_another_registration(found, asset):
        return _in_both(found.facts, asset.facts)
    told = [row for row in rows.journal_of(asset.uid) if row.after is not None and "meta" in row.after]
    states = [(row.at, facts_told(row.after)) for row in reversed(told)]
    states = list(reversed(dict(states).items()))  # of the rows of one change the last is what was written
    if not states:
        return asset.facts
    older = (at for at, (when, _) in enumerate(states) if _epoch_ns(when) < stat.mtime_ns)
    saved = next(older, len(states))
    if saved > 0 and sidecar.is_same(states[saved - 1][1], found.facts):
        return found.facts
    if saved == len(states):
        return _in_both(found.facts, asset.facts)
    if saved > 0:
        return states[saved][1]
    if not is_later:
        return asset.facts
    since = found.updated_at or ""
    named = [at for at, (when, _) in enumerate(states) if when[:19].replace("T", " ") >= since]
    return states[max(named, default=0)][1]


def _is_of_another_registration(found: sidecar.Sidecar, asset: Asset) -> bool:
    """Tell whether a sidecar was first written for the same content while the asset was removed.

    That registration was overtaken by the asset's return, or killed. It knew nothing of the asset's facts, so
    it can't have deleted them.
    """
    return found.asset_id not in (None, asset.id)


def _in_both(theirs: Facts, ours: Facts) -> Facts:
    """Return what stands in for what we last wrote where that is unknown: the merge then only adds."""
    return Facts(
        license=None if ours.license is None else theirs.license,
        origin=None if ours.origin is None else theirs.origin,
        meta={name: value for name, value in theirs.meta.items() if name in ours.meta},
        extra={name: value for name, value in theirs.extra.items() if name in ours.extra},
        parents=tuple(each for each in theirs.parents if f"{each.uid}.{each.kind}" in sidecar.edges(ours)),
    )


def _epoch_ns(at: str) -> int:
    """Return a time of the journal in ns since 1970; it is cut to ms, so its end counts."""
    return int(datetime.fromisoformat(at).timestamp() * 1000 + 1) * 1_000_000


def facts_told(said: Mapping[str, Any] | None) -> Facts:
    """Return the facts that a row of the journal holds."""
    said = said or {}
    meta = dict(said.get("meta") or {})
    tags, licence, origin = (meta.pop(name, None) for name in ("tags", "license", "origin"))
    meta.pop("version", None)
    parents = parse_parents(said.get("lineage"))
    return Facts(tuple(tags or ()), licence, origin, meta, dict(said.get("extra") or {}), parents)


def _facts_object(asset: Asset) -> dict[str, Any]:
    facts = asset.facts
    lineage = {"lineage": [each.describe() for each in facts.parents]} if facts.parents else {}
    return {"meta": facts.as_meta(asset.version), "extra": dict(facts.extra), **lineage}


def _login_name() -> str | None:
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # no such user in the system's list, as in some containers
        return None


def _git_commit(folder: Path) -> str | None:
    if not any((parent / ".git").exists() for parent in (folder, *folder.parents)):
        return None
    import subprocess  # only who registers asks git

    try:
        answer = subprocess.run(
            ["git", "-C", str(folder), "rev-parse", "--verify", "HEAD"],
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None if answer.returncode == 0 else None
