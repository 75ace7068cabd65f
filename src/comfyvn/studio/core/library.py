"""One library: what keeps an asset's file, sidecar, mirror and ledger row in step.

Everything that changes an asset goes through `Library.transaction`: one write transaction, in which the
sidecars are written too, and after whose commit the news goes out in order.
"""

from __future__ import annotations

import getpass
import logging
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal

from comfyvn import media, sidecar
from comfyvn.config import Config
from comfyvn.db import JournalEntry, Ledger, Reader, Writer, open_engine
from comfyvn.errors import (
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
    fold,
    preview_names,
    utc_now,
)
from comfyvn.storage import LocalStorage, Writes

__all__ = ["Library", "Transaction", "provenance_row"]

_log = logging.getLogger(__name__)
_COMMIT_HASH_MAX_AGE_S: Final = 5.0
_MERGE_TRIES: Final = 5


@dataclass(slots=True)
class Transaction:
    """A write transaction with the files that go with it.

    ``rows`` writes to the ledger; `Library.write_sidecar` notes in ``undo`` how to take a rewritten sidecar
    back; ``afterwards`` waits for the commit; `tell` records a change, which is then announced.
    """

    rows: Writer
    writes: Writes
    stated_operation_id: int | None = None
    updates: dict[int, Asset] = field(default_factory=dict)
    entries: list[JournalEntry] = field(default_factory=list)
    payloads: list[Callable[[], dict[str, Any]]] = field(default_factory=list)
    undo: list[Callable[[], None]] = field(default_factory=list)
    afterwards: list[Callable[[], None]] = field(default_factory=list)

    @property
    def operation_id(self) -> int:
        """The operation that the changes belong to; reserved when it is first asked for."""
        if self.stated_operation_id is None:
            self.stated_operation_id = self.rows.reserve_ids(1)[0]
        return self.stated_operation_id

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
    ) -> None:
        """Add a change to the journal and, with a payload, to the news."""
        entry = JournalEntry(event, asset.uid, asset.id, self.operation_id, before, after)
        self.entries.append(entry)
        if payload is not None:
            self.payloads.append(payload)


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
        engine = open_engine(config.db, busy_timeout_s=config.busy_timeout_s, durability=config.durability)
        self.ledger = Ledger(engine, config.project, config.user or _login_name())
        try:
            self._ensure_folders()
        except BaseException:
            engine.close()
            raise

    def close(self) -> None:
        """Close the ledger and take our staging folders away."""
        self.ledger.engine.close()
        for storage in (self.storage, self.mirrors, self.thumbs):
            if storage is not None:
                storage.close()

    # -- transactions ---------------------------------------------------------------------------------

    @contextmanager
    def read(self) -> Iterator[Reader]:
        """Give a reader of one state of the ledger."""
        with self.ledger.read() as rows:
            yield rows

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
            with self.ledger.write() as rows:
                change = Transaction(rows, self.new_writes(), operation_id)
                try:
                    yield change
                    rows.update(list(change.updates.values()))
                    change.writes.sync()
                    at = rows.record(change.entries)
                except BaseException:
                    for step in reversed(change.undo):
                        step()
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
                done[asset.uid] = self.change_one(change, asset, edit(asset), force=force)
        return done

    def change_one(
        self,
        change: Transaction,
        asset: Asset,
        wanted: Facts,
        *,
        force: bool = False,
        announce: bool = False,
    ) -> Asset:
        """Change one asset inside a transaction; see `change`. ``announce`` it even if no fact changed."""
        merged = self._merge_with_disk(asset, wanted)
        is_changed = not sidecar.is_same(merged.facts, asset.facts)
        if not is_changed and not force and self.storage.stat(self.sidecar_key(asset.key)):
            return asset
        updated = replace(asset, facts=merged.facts, updated_at=utc_now() if is_changed else asset.updated_at)
        updated = self.write_sidecar(change, updated)
        change.update(updated)
        if is_changed or announce:
            self.tell_updated(change, asset, updated, dict(merged.lost))
        return updated

    def _merge_with_disk(self, asset: Asset, wanted: Facts) -> sidecar.Merged:
        """Merge a change with the sidecar; once more when somebody saved that meanwhile."""
        key = self.sidecar_key(asset.key)
        for _ in range(_MERGE_TRIES):
            before = self.storage.stat(key)
            merged = sidecar.merge(asset.facts, self.facts_on_disk(asset), wanted, self.limits)
            if self.storage.stat(key) == before:
                break
        return merged

    def append_provenance(
        self, change: Transaction, asset: Asset, claim: ProvenanceClaim, provenance_id: int, created_at: str
    ) -> Asset:
        """Give a known asset another provenance row inside a transaction; its sidecar is the caller's."""
        row = provenance_row(asset, claim, provenance_id, created_at)
        change.rows.add_provenance([row])
        change.tell("asset_provenance_added", asset, after={"id": row.id, "source": row.source})
        older = (asset.provenance, *asset.provenance_history) if asset.provenance else ()
        return replace(asset, provenance=row, provenance_history=older)

    # -- news -----------------------------------------------------------------------------------------

    def tell_registered(self, change: Transaction, asset: Asset) -> None:
        """Journal and announce a new asset."""
        after = {"type": asset.type, "path": asset.key, "hash": asset.digest, **_facts_object(asset)}
        payload = self._asset_payload("asset_registered", asset)
        change.tell("asset_registered", asset, after=after, payload=payload)

    def tell_updated(
        self, change: Transaction, before: Asset, after: Asset, lost: dict[str, Any] | None = None
    ) -> None:
        """Journal and announce changed metadata; ``lost`` are values that gave way to a hand edit."""
        change.tell(
            "asset_meta_updated",
            after,
            before=_facts_object(before),
            after={**_facts_object(after), **({"overruled": lost} if lost else {})},
            payload=self._asset_payload("asset_meta_updated", after),
        )

    def tell_removed(self, change: Transaction, asset: Asset, trash: dict[str, Any]) -> None:
        """Journal a removal with all that a restore needs, and announce it."""
        before = {"sidecar": sidecar.build(asset, self.sidecar_suffix), "is_in_place": asset.is_in_place}
        payload = self._asset_payload("asset_removed", asset)
        change.tell("asset_removed", asset, before=before, after=trash, payload=payload)

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
            "meta": sidecar.describe_meta(asset),
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
        name = self.sidecar_key(key)
        try:
            found = self.storage.read(name, self.config.sidecar_bytes)
        except SourceUnreadable as error:
            raise InvalidSidecar(path=name, line=1, column=1, why=error.fields["why"]) from error
        return None if found is None else sidecar.parse(found[0], name, self.limits, base)

    def facts_on_disk(self, asset: Asset) -> Facts:
        """Return what the asset's sidecar says now; a broken one is copied aside and counts as unchanged."""
        key = self.sidecar_key(asset.key)
        if self.storage.stat(key) in (asset.sidecar_file, None):
            return asset.facts
        try:
            found = self.read_sidecar(asset.key, asset.facts)
        except InvalidSidecar as error:
            self.set_aside(key, error)
            return asset.facts
        if found is None:
            return asset.facts
        if found.uid not in (None, asset.uid):
            self._refuse_swapped(asset, str(found.uid))
            why = f"it names the asset {found.uid}, but lies beside {asset.uid}"
            self.set_aside(key, InvalidSidecar(path=key, line=1, column=1, why=why))
            return asset.facts
        return found.facts

    def _refuse_swapped(self, asset: Asset, uid: str) -> None:
        """Refuse to write over the sidecar of another asset that lies where this one's belongs."""
        with self.read() as rows:
            other = rows.asset(uid)
        if other is not None:
            why = f"it names the asset {uid} ({other.key}); put the files right, then `comfyvn rebuild`"
            raise PathConflict(path=self.sidecar_key(asset.key), why=why)

    def set_aside(self, key: str, why: Exception) -> None:
        """Keep a copy of a broken sidecar before ours takes its place, and say so."""
        copy = self.storage.keep_copy(key)
        _log.warning("%s. A copy is kept as %s.", why, copy)

    def write_sidecar(self, change: Transaction, asset: Asset) -> Asset:
        """Write sidecar and mirror inside a transaction; return the asset with what is remembered of them."""
        written = self.replace_sidecar(change, asset)
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

    def replace_sidecar(self, change: Transaction, asset: Asset) -> Asset:
        """Write sidecar and mirror inside a transaction, unannounced; they are put back if it fails."""
        data = self._sidecar_data(asset)
        key = self.sidecar_key(asset.key)
        self._note_undo(change, self.storage, key)
        if asset.mirror_key is not None and self.mirrors is not None:
            self._note_undo(change, self.mirrors, asset.mirror_key)
        stat = self.storage.write(key, data, change.writes)
        return replace(asset, sidecar_file=stat, mirror_key=self._write_mirror(asset, data, change.writes))

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

    def relocate(self, change: Transaction, asset: Asset, key: str, stat: FileStat) -> Asset:
        """Give an asset another key, where its file now lies; sidecar and mirror move along."""
        here = self.facts_on_disk(asset)
        moved = replace(asset, key=key, file=stat, sidecar_file=None, mirror_key=None, missing_since=None)
        there = self.facts_on_disk(moved)  # the sidecar may have been moved together with the file
        facts = sidecar.merge(asset.facts, there, here, self.limits).facts
        moved = self.write_sidecar(change, replace(moved, facts=facts, updated_at=utc_now()))
        change.update(moved)
        change.tell("asset_moved", moved, before={"path": asset.key}, after={"path": key})
        if facts != asset.facts:
            self.tell_updated(change, asset, moved)
        change.afterwards.append(lambda: self._drop_records(asset))
        return moved

    def _drop_records(self, asset: Asset) -> None:
        """Remove the sidecar and mirror that an asset had before it moved, unless they are another's now."""
        with suppress(ComfyVNError, OSError):
            found = self.read_sidecar(asset.key)
            if found is not None and found.uid == asset.uid:
                self.storage.delete(self.sidecar_key(asset.key))
        if asset.mirror_key and self.mirrors and self._is_mirror_of(asset.mirror_key, asset.uid):
            self.mirrors.delete(asset.mirror_key)

    def _write_mirror(self, asset: Asset, data: bytes, writes: Writes) -> str | None:
        """Write the mirror over its older self or under the first name that no other asset's mirror has."""
        if self.mirrors is None:
            return asset.mirror_key
        if asset.mirror_key is not None:
            self.mirrors.write(asset.mirror_key, data, writes)
            return asset.mirror_key
        for key in _mirror_keys(asset.key):
            try:
                self.mirrors.create(key, data, writes)
            except FileExistsError:
                if not self._is_mirror_of(key, asset.uid):
                    continue
                self.mirrors.write(key, data, writes)
            return key
        raise AssertionError("there is always another name")  # pragma: no cover

    def _is_mirror_of(self, key: str, uid: str) -> bool:
        assert self.mirrors is not None
        try:
            found = self.mirrors.read(key, self.config.sidecar_bytes)
            return found is not None and sidecar.parse(found[0], key, self.limits).uid == uid
        except (InvalidSidecar, SourceUnreadable):
            return False

    def _note_undo(self, change: Transaction, storage: LocalStorage, key: str) -> None:
        try:
            before = storage.read(key, self.config.sidecar_bytes)
        except SourceUnreadable:
            return  # a folder or link lies there; writing will say so

        def restore() -> None:
            with suppress(OSError):
                if before is None:
                    storage.delete(key)
                else:
                    storage.write(key, before[0], Writes(is_wanted=False))

        change.undo.append(restore)

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

    def preview_paths(self, asset: Asset) -> list[Path]:
        """Return where the files of an asset's preview lie, made or not; the first is the one shown."""
        return [self.thumbs.path(name) for name in preview_names(asset.uid, asset.preview.kind).values()]

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


def _facts_object(asset: Asset) -> dict[str, Any]:
    return {"meta": asset.facts.as_meta(asset.version), "extra": dict(asset.facts.extra)}


def _login_name() -> str | None:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # no such user in the system's list, as in some containers
        return None


def _git_commit(folder: Path) -> str | None:
    if not any((parent / ".git").exists() for parent in (folder, *folder.parents)):
        return None
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
