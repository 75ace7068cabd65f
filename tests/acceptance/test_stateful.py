"""Whatever users do, in whatever order, nothing that they were promised is lost.

Hypothesis makes up what users do: with the library, with its files behind its back, with sidecars and with
the database; now and then a process is killed in the midst of it. After each thing the promises are checked
(`invariants`), after some and at the end the whole library (`support.check_library`).

``COMFYVN_TEST_EXAMPLES=5000`` tries more than the 80 of CI. A failure shows what was done, as short as could
be found, and ``COMFYVN_TEST_SEED=...``, which goes there again.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from comfyvn.errors import ComfyVNError
from comfyvn.registry.export import export
from comfyvn.studio.core import AssetRegistry
from invariants import (
    FIELDS,
    SUFFIX,
    TAGS,
    Mortal,
    Promise,
    check_promise,
    content,
    do,
    exported,
    fields_of,
    hoard,
    load_sidecar,
    named_by,
    promise_of,
    reading,
    sidecars,
    user_files,
)
from support import check_library, open_library

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system can't fork"),
    pytest.mark.timeout(24 * 3600 if "COMFYVN_TEST_EXAMPLES" in os.environ else 900),
]

EXAMPLES: Final = int(os.environ.get("COMFYVN_TEST_EXAMPLES", "80"))
REFUSALS: Final = {"AssetNotFound", "OperationNotFound", "PathConflict", "RestoreRefused", "InvalidSidecar"}
RESOLUTIONS: Final = 8

index = st.integers(0, 63)
suffixes = st.sampled_from([".png", ".png", ".png", ".wav", ".txt"])
names = st.sampled_from(["mara", "MARA", "eiko", "Éva", "E\u0301va", "con"])
folders = st.sampled_from(["characters", "sounds", "characters/old"])
tags = st.lists(st.sampled_from(TAGS), max_size=2, unique=True)
booleans = st.booleans()
steps = st.integers(0, 70)


class Users(RuleBasedStateMachine):
    """Users at work on one library: two registries, a file manager, an editor, and no care at all."""

    mortal: Mortal

    def __init__(self) -> None:
        super().__init__()
        self.top = Path(tempfile.mkdtemp(prefix="users-"))
        self.home = self.top / "project"
        self.home.mkdir()
        self.assets = self.home / "assets"
        self.art = self.top / "art"
        self.count = 0
        self.opened: list[AssetRegistry | None] = [None, None]
        self.promises: dict[str, Promise] = {}
        self.removed: dict[str, dict[str, Any]] = {}
        self.edits: dict[int, dict[str, tuple[dict[str, Any], dict[str, Any]]]] = {}
        self.made: list[tuple[str, bytes]] = []
        self.deleted: list[tuple[str, bytes]] = []
        self.broken: dict[str, bytes] = {}
        self.copied_sidecars: set[str] = set()
        self.half_done: dict[str, list[dict[str, Any]]] = {}
        self.was_killed = False
        self.is_behind = self.was_ledger_lost = False
        self.old_ledger: Path | None = None

    # -- inside -------------------------------------------------------------------------------------------

    def next(self) -> int:
        self.count += 1
        return self.count

    def registry(self, which: int = 0) -> AssetRegistry:
        if self.opened[which] is None:
            self.opened[which] = open_library(self.home)
        found = self.opened[which]
        assert found is not None
        return found

    def close(self) -> None:
        for at, registry in enumerate(self.opened):
            if registry is not None:
                registry.close()
            self.opened[at] = None

    def do(self, which: int, method: str, step: int | None = None, **arguments: Any) -> tuple[str, Any]:
        """Do one thing; return ``done`` and the answer, ``refused`` and why, or ``killed``."""
        before, told = hoard(self.assets), None
        if not self.is_behind:
            told = exported(self.registry(which))
        answer: dict[str, Any]
        if step is not None:
            answer = self.mortal.do(self.home, method, arguments, step)
        else:
            try:
                answer = {"value": do(self.registry(which), method, arguments)}
            except ComfyVNError as error:
                answer = {"error": type(error).__name__, "message": str(error)}
        lost = before - hoard(self.assets)
        assert not lost, f"{method} destroyed {sum(lost.values())} files"
        AssetRegistry.wait_for_thumbnails()  # so that a failure can be played again
        if not answer:
            self.was_killed = True
            return "killed", None
        if "error" in answer:
            assert answer["error"] in REFUSALS, answer
            assert told is None or told == exported(self.registry(which)), "refused, but changed"
            return "refused", answer["message"]
        return "done", answer["value"]

    def check(self, *, is_settled: bool = False, trouble: set[str] = frozenset()) -> None:
        """Hold the ledger against every promise, then promise that all stays as it now is."""
        if self.is_behind:
            return
        entries = exported(self.registry())
        for uid, promise in list(self.promises.items()):
            check_promise(promise, entries.get(uid), is_settled=is_settled and uid not in trouble)
            if uid not in entries:
                del self.promises[uid]
        for uid, entry in entries.items():
            promise = self.promises.get(uid)
            if promise is None or (is_settled and uid not in trouble):
                self.promises[uid] = promise_of(entry)
                for fields in self.half_done.get(entry["hash"], []) if promise is None else ():
                    self.promises[uid].widen(fields)
                continue
            now = promise_of(entry)
            promise.sources, promise.digests = now.sources, now.digests
            promise.home, promise.number = now.home, now.number
            for name in FIELDS:
                if name not in promise.pending:
                    promise.fields[name] = now.fields[name]

    def look_for_doubles(self) -> None:
        """Loosen what binds an asset to its place where its content or its sidecar lies at several places."""
        places: dict[str, list[str]] = {}
        for key in user_files(self.assets):
            found = reading(self.assets / key)
            places.setdefault(found.digest, []).append(key)
            with suppress(ValueError, TypeError, AttributeError):
                places.setdefault(json.loads(found.marker or b"{}").get("uid"), []).append(key)
        named = named_by(self.assets)
        owners: dict[str, set[str]] = {}
        for promise in self.promises.values():
            for digest in promise.digests | {promise.digest}:
                owners.setdefault(digest, set()).add(promise.uid)
        for promise in self.promises.values():
            digests = promise.digests | {promise.digest}
            keys = {key for name in (*digests, promise.uid) for key in places.get(name, [])}
            others = {uid for digest in digests for uid in owners[digest]}
            strays = [key for key in named.get(promise.uid, []) if key.removesuffix(SUFFIX) != promise.home]
            is_doubled = bool(keys - {promise.key}) or others != {promise.uid}
            is_contested = any(
                uid != promise.uid and f"{key}{SUFFIX}" in keys_of
                for uid, keys_of in named.items()
                for key in (promise.key, promise.home)
            )
            if is_doubled or is_contested or [key for key in strays if key != f"{promise.key}{SUFFIX}"]:
                promise.is_loose = True
            if strays:
                promise.lose_edits()

    def file(self, at: int) -> str | None:
        keys = user_files(self.assets) if self.assets.is_dir() else []
        return keys[at % len(keys)] if keys else None

    def uid(self, at: int) -> str | None:
        uids = sorted(self.promises)
        return uids[at % len(uids)] if uids else None

    def at(self, key: str) -> Promise | None:
        """Return the asset whose file should lie at a key."""
        found = [each for each in self.promises.values() if each.key == key]
        return next((each for each in found if each.home == key), found[0] if found else None)

    def fresh_key(self, folder: str, name: str, suffix: str) -> str:
        """Return a key where nothing lies, not even a sidecar or another asset's place."""
        taken = {each.home for each in self.promises.values()} | {each.key for each in self.promises.values()}
        key = f"{folder}/{name}{suffix}"
        while key in taken or (self.assets / key).exists() or (self.assets / f"{key}{SUFFIX}").exists():
            key = f"{folder}/{name}-{self.next()}{suffix}"
        return key

    def save(self, key: str, data: bytes, *, is_gentle: bool = True) -> None:
        """Save a file as programs do: under another name first, or right into the old one."""
        path = self.assets / key
        path.parent.mkdir(parents=True, exist_ok=True)
        if is_gentle:
            beside = path.with_name(f"~{path.name}")
            beside.write_bytes(data)
            beside.replace(path)
        else:
            path.write_bytes(data)

    def new_content(self, suffix: str, marker: bytes | None = None) -> bytes:
        data = content(self.next(), suffix, marker)
        self.made.append((suffix, data))
        return data

    def move(self, key: str, target: str, *, with_sidecar: bool) -> None:
        place = self.assets / target
        place.parent.mkdir(parents=True, exist_ok=True)
        (self.assets / key).rename(place)
        beside = self.assets / f"{key}{SUFFIX}"
        if with_sidecar and beside.exists():
            beside.rename(self.assets / f"{target}{SUFFIX}")

    def sidecar_goes(self, key: str) -> None:
        """Note that a sidecar is about to be deleted or overwritten by the user."""
        path = self.assets / key
        payload = load_sidecar(path) if path.exists() else None
        promise = self.promises.get(str(payload.get("uid"))) if payload else None
        if promise is not None:
            promise.lose_edits()
            promise.is_loose |= promise.is_touched
            if self.is_behind:
                self.make_vague(promise)

    @initialize()
    def begin(self) -> None:
        for name, suffix in (("mara", ".png"), ("eiko", ".png"), ("rain", ".wav"), ("script", ".txt")):
            self.register(0, name, suffix, "characters", ["summer"], None, None)

    # -- through the library ------------------------------------------------------------------------------

    def facts(self, chosen: list[str], number: int) -> dict[str, Any]:
        facts: dict[str, Any] = {"tags": chosen}
        if number % 2:
            facts["license"] = f"LicenseRef-{number}"
        if number % 3:
            facts["artist"] = f"artist {number}"
        return facts

    def note_registered(self, info: dict[str, Any], said: dict[str, Any], source: str, digest: str) -> None:
        stated = {name: value for name, value in fields_of({**said, "meta": said}).items() if value}
        promise = self.promises.get(info["uid"])
        if promise is None:
            fields = {name: {stated.get(name, value)} for name, value in fields_of(info).items()}
            fields["extra.note"] = {None, *(f"note {number}" for number in range(self.count + 1))}
            self.promises[info["uid"]] = promise = Promise(
                info["uid"], fields, {source}, {digest}, info["path"], digest, home=info["path"]
            )
            for fields in self.half_done.get(digest, []):
                promise.widen(fields)  # what a killed registration left lies about and may be found
            self.removed.pop(info["uid"], None)
            return
        self.change(promise, stated)
        promise.sources.add(source)
        promise.digests.add(digest)
        if self.is_behind:
            promise.number = 0
        if promise.status != {"there"} or promise.is_touched:
            promise.is_loose = True

    def change(self, promise: Promise, fields: dict[str, Any]) -> None:
        """Note that the user changed fields through us; an older ledger knows less than the sidecar."""
        if self.is_behind:
            promise.widen(fields)
        for name, value in fields.items() if not self.is_behind else ():
            promise.set(name, value)

    def may_be_registered(self, digest: str, said: dict[str, Any]) -> None:
        stated = {name: value for name, value in fields_of({**said, "meta": said}).items() if value}
        self.half_done.setdefault(digest, []).append(stated)
        for promise in self.promises.values():
            if digest in promise.digests:
                if self.is_behind:
                    promise.number = 0
                promise.widen(stated)
                promise.is_loose = True

    @rule(
        which=st.integers(0, 1),
        name=names,
        suffix=suffixes,
        folder=folders,
        chosen=tags,
        known=st.none() | index,
        step=st.none() | steps,
    )
    def register(
        self,
        which: int,
        name: str,
        suffix: str,
        folder: str,
        chosen: list[str],
        known: int | None,
        step: int | None,
    ) -> None:
        number = self.next()
        path, digest = self.source(number, name, suffix, known)
        said, source = self.facts(chosen, number), f"source {number}"
        outcome, info = self.do(
            which,
            "register_file",
            step,
            source_path=str(path),
            asset_type="art",
            dest_relative=f"{folder}/{path.name}",
            metadata=said,
            provenance={"source": source},
        )
        if outcome == "done":
            self.note_registered(info, said, source, digest)
        elif outcome == "killed":
            self.may_be_registered(digest, said)
        self.check()

    def source(self, number: int, name: str, suffix: str, known: int | None) -> tuple[Path, str]:
        """Make a file outside the library: new, or with content that was there before."""
        if known is not None and self.made:
            suffix, data = self.made[known % len(self.made)]
        else:
            data = self.new_content(suffix)
        path = self.art / str(number) / f"{name}{suffix}"
        path.parent.mkdir(parents=True)
        path.write_bytes(data)
        return path, reading(path).digest

    @rule(which=st.integers(0, 1), name=names, suffix=suffixes, folder=folders, chosen=tags)
    def register_in_place(self, which: int, name: str, suffix: str, folder: str, chosen: list[str]) -> None:
        number, key = self.next(), self.fresh_key(folder, name, suffix)
        self.save(key, self.new_content(suffix))
        digest = reading(self.assets / key).digest
        said, source = self.facts(chosen, number), f"source {number}"
        outcome, info = self.do(
            which,
            "register_file",
            source_path=str(self.assets / key),
            asset_type="art",
            copy_file=False,
            metadata=said,
            provenance={"source": source},
        )
        if outcome == "done":
            self.note_registered(info, said, source, digest)
        self.check()

    @rule(
        which=st.integers(0, 1),
        suffix=suffixes,
        chosen=tags,
        known=st.none() | index,
        amount=st.integers(1, 4),
    )
    def register_many(
        self, which: int, suffix: str, chosen: list[str], known: int | None, amount: int
    ) -> None:
        items, asked = [], []
        for at in range(amount):
            number = self.next()
            path, digest = self.source(number, "mara", suffix, known if at == 0 else None)
            said, source = self.facts(chosen, number), f"source {number}"
            asked.append((said, source, digest))
            items.append(
                {
                    "source_path": str(path),
                    "asset_type": "characters",
                    "metadata": said,
                    "provenance": {"source": source},
                }
            )
        outcome, results = self.do(which, "register_many", items=items)
        for result, (said, source, digest) in zip(results if outcome == "done" else [], asked, strict=False):
            if result["asset"] is not None:
                self.note_registered(result["asset"], said, source, digest)
        self.check()

    @rule(which=st.integers(0, 1), suffix=suffixes, chosen=tags)
    def ingest(self, which: int, suffix: str, chosen: list[str]) -> None:
        folder = self.art / str(self.next()) / "sprites"
        folder.mkdir(parents=True)
        for at in range(2):
            (folder / f"{at}{suffix}").write_bytes(self.new_content(suffix))
        outcome, items = self.do(which, "ingest", paths=[str(folder.parent)], tags=chosen)
        assert self.is_behind or [each["status"] for each in items] == ["registered"] * 2, items
        if outcome == "done":
            self.check()

    @rule(which=st.integers(0, 1), at=index, chosen=tags)
    def update_meta(self, which: int, at: int, chosen: list[str]) -> None:
        uid = self.uid(at)
        if uid is None:
            return
        said = self.facts(chosen, self.next())
        before = self.snapshot([uid])
        outcome, _ = self.do(which, "update_asset_meta", uid=uid, meta=said)
        if outcome == "done":
            new = fields_of({**said, "meta": said})
            self.change(self.promises[uid], {name: new[name] for name in new if name != "extra.note"})
        self.check()
        self.note_edit(which, before)

    @rule(
        which=st.integers(0, 1),
        at=st.lists(index, min_size=1, max_size=4),
        add=tags,
        remove=tags,
        is_licensed=booleans,
        step=st.none() | steps,
    )
    def bulk(
        self,
        which: int,
        at: list[int],
        add: list[str],
        remove: list[str],
        is_licensed: bool,
        step: int | None,
    ) -> None:
        uids = [uid for uid in dict.fromkeys(map(self.uid, at)) if uid is not None]
        if not uids:
            return
        before, license_tag = self.snapshot(uids), f"LicenseRef-{self.next()}" if is_licensed else None
        outcome, answer = self.do(
            which,
            "bulk_update_tags",
            step,
            uids=uids,
            add_tags=add,
            remove_tags=remove,
            license_tag=license_tag,
        )
        new = {f"tag.{tag}": False for tag in remove} | {f"tag.{tag}": True for tag in add}
        new |= {"license": license_tag} if is_licensed else {}
        for uid in uids:
            promise = self.promises[uid]
            if outcome == "done" and uid in answer:
                self.change(promise, new)
            elif outcome == "killed":
                promise.widen(new)
        self.check()
        if outcome == "done":
            self.note_edit(which, before)

    def snapshot(self, uids: list[str]) -> dict[str, dict[str, Any]]:
        entries = exported(self.registry()) if not self.is_behind else {}
        return {uid: fields_of(entries[uid]) for uid in uids if uid in entries}

    def note_edit(self, which: int, before: dict[str, dict[str, Any]]) -> None:
        """Remember what the last operation changed, if nothing by hand was mixed into it."""
        after = self.snapshot(list(before))
        mixed = any(self.promises[uid].pending for uid in before if uid in self.promises)
        newest = self.registry(which).operations(limit=1)
        if newest and not mixed and not self.is_behind and set(after) == set(before):
            changed = {uid: (before[uid], after[uid]) for uid in before if before[uid] != after[uid]}
            number = newest[0]["operation"]
            rows = [row for uid in changed for row in self.registry().history(uid, limit=3)]
            if changed and {row["uid"] for row in rows if row["operation"] == number} == set(changed):
                self.edits[number] = changed

    @rule(which=st.integers(0, 1), at=index, overwrite=booleans)
    def ensure_sidecar(self, which: int, at: int, overwrite: bool) -> None:
        uid = self.uid(at)
        if uid is not None:
            self.do(which, "ensure_sidecar", uid=uid, overwrite=overwrite)
            self.check()

    @rule(which=st.integers(0, 1), at=index, delete_files=booleans, step=st.none() | steps)
    def remove(self, which: int, at: int, delete_files: bool, step: int | None) -> None:
        uid = self.uid(at)
        if uid is None:
            return
        outcome, _ = self.do(which, "remove_asset", step, uid=uid, delete_files=delete_files)
        if outcome == "done":
            self.forget(uid)
        elif outcome == "killed":
            self.promises[uid].status.add("removed")
            self.promises[uid].is_loose = True
            self.promises[uid].lose_edits()
        self.check()

    def forget(self, uid: str) -> None:
        promise = self.promises.pop(uid)
        for other in self.promises.values():
            if other.key == promise.home != other.home:  # what lay at the place of the removed one went along
                other.is_loose = True
        self.removed[uid] = {name: promise.allowed(name) for name in FIELDS}

    @rule(which=st.integers(0, 1), at=index, step=st.none() | steps)
    def restore(self, which: int, at: int, step: int | None) -> None:
        if not self.removed:
            return
        uid = sorted(self.removed)[at % len(self.removed)]
        outcome, _ = self.do(which, "restore_asset", step, uid=uid)
        if outcome == "done":
            self.came_back(uid)
        elif outcome == "killed" and uid in self.promises:  # registered again: what it lacks may be filled in
            known = self.promises[uid]
            for name, values in self.removed[uid].items():
                known.fields[name] |= {mine or old for mine in known.allowed(name) for old in values}
        self.check()

    def came_back(self, uid: str) -> None:
        allowed = self.removed.pop(uid, None)
        if self.is_behind:
            return
        now, known = promise_of(exported(self.registry())[uid]), self.promises.get(uid)
        for name, values in (allowed or {}).items():
            if known is not None:  # it was registered again: what it has now stays
                values = {mine or old for mine in known.allowed(name) for old in values}
            assert now.fields[name] <= values, f"{uid} came back with {name} {now.fields[name]}, not {values}"
        self.promises[uid] = now
        now.is_loose = True

    @rule(which=st.integers(0, 1))
    def purge(self, which: int) -> None:
        outcome, report = self.do(which, "purge")
        for uid in report["purged"] if outcome == "done" else []:
            if uid in self.promises:
                assert self.promises[uid].status != {"there"} or self.promises[uid].is_touched
                self.forget(uid)
        self.check()

    @rule(which=st.integers(0, 1), at=index, step=st.none() | steps, newest=booleans)
    def undo(self, which: int, at: int, step: int | None, newest: bool) -> None:
        operations = self.registry(which).operations(limit=1 if newest else 30)
        if not operations:
            return
        number = operations[at % len(operations)]["operation"]
        untouched = {
            uid
            for uid, (_, after) in self.edits.get(number, {}).items()
            if uid in self.promises
            and not self.promises[uid].pending
            and {name: {value} for name, value in after.items()} == self.promises[uid].fields
        }
        outcome, report = self.do(which, "undo", step, operation=number)
        if outcome == "done" and not self.is_behind:
            self.note_undo(number, report, untouched)
        elif outcome != "refused":
            for promise in self.promises.values():
                self.make_vague(promise)
        self.check()

    def note_undo(self, number: int, report: dict[str, Any], untouched: set[str]) -> None:
        entries, edit = exported(self.registry()), self.edits.get(number)
        for uid in report["undone"]:
            promise = self.promises.get(uid)
            if uid not in entries:
                self.forget(uid)
            elif promise is None:
                self.came_back(uid)
            elif edit is None or promise.pending:
                for name, value in fields_of(entries[uid]).items():
                    promise.set(name, value)
            else:
                for name, value in edit[uid][0].items():
                    if value != edit[uid][1][name]:
                        promise.set(name, value)
        left = untouched - set(report["undone"])
        refused = {each["uid"]: each["why"] for each in report["refused"]}
        for uid in left & set(refused):
            assert "sidecar" in refused[uid] or "names the asset" in refused[uid], report
        assert left <= set(refused), f"not undone: {left}: {report}"

    # -- behind its back ----------------------------------------------------------------------------------

    @rule(suffix=suffixes, name=names, folder=folders)
    def save_a_new_file(self, suffix: str, name: str, folder: str) -> None:
        self.save(self.fresh_key(folder, name, suffix), self.new_content(suffix))

    @rule(at=index, folder=folders, name=names, with_sidecar=booleans)
    def rename(self, at: int, folder: str, name: str, with_sidecar: bool) -> None:
        key = self.file(at)
        if key is None:
            return
        target, promise = self.fresh_key(folder, name, Path(key).suffix), self.at(key)
        self.move(key, target, with_sidecar=with_sidecar)
        if promise is not None:
            promise.touch(target, promise.digest)

    @rule(at=index, is_gentle=booleans, keeps_marker=booleans)
    def repaint(self, at: int, is_gentle: bool, keeps_marker: bool) -> None:
        key = self.file(at)
        if key is None:
            return
        marker = reading(self.assets / key).marker if keeps_marker else None
        promise = self.at(key)
        self.save(key, self.new_content(Path(key).suffix, marker), is_gentle=is_gentle)
        if promise is not None:
            promise.touch(key, reading(self.assets / key).digest)

    @rule(at=index, name=names, with_sidecar=booleans, keeps_marker=booleans)
    def rename_and_repaint(self, at: int, name: str, with_sidecar: bool, keeps_marker: bool) -> None:
        key = self.file(at)
        if key is None:
            return
        target, promise = self.fresh_key("characters", name, Path(key).suffix), self.at(key)
        marker = reading(self.assets / key).marker if keeps_marker else None
        beside = self.assets / f"{key}{SUFFIX}"
        has_sidecar = beside.exists() and load_sidecar(beside) is not None
        self.move(key, target, with_sidecar=with_sidecar)
        self.save(target, self.new_content(Path(key).suffix, marker))
        if promise is None:
            return
        promise.touch(target, reading(self.assets / target).digest)
        if not (with_sidecar and has_sidecar) and reading(self.assets / target).marker is None:
            promise.status = promise.status - {"there"} | {"missing"}

    @rule(at=index, name=names, with_sidecar=booleans)
    def duplicate(self, at: int, name: str, with_sidecar: bool) -> None:
        key = self.file(at)
        if key is None:
            return
        target = self.fresh_key("characters", name, Path(key).suffix)
        (self.assets / target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(self.assets / key, self.assets / target)
        beside = self.assets / f"{key}{SUFFIX}"
        if with_sidecar and beside.exists():
            shutil.copyfile(beside, self.assets / f"{target}{SUFFIX}")
            self.copied_sidecars.add(f"{target}{SUFFIX}")

    @rule(at=index, other=index, with_sidecars=booleans)
    def swap(self, at: int, other: int, with_sidecars: bool) -> None:
        one, two = self.file(at), self.file(other)
        if one is None or two is None or one == two:
            return
        first, second = self.at(one), self.at(two)
        is_odd = any(each is None or each.is_touched for each in (first, second))
        self.move(one, "swapping", with_sidecar=with_sidecars)
        self.move(two, one, with_sidecar=with_sidecars)
        self.move("swapping", two, with_sidecar=with_sidecars)
        for promise, key in ((first, two), (second, one)):
            if promise is not None:
                promise.is_loose |= is_odd
                promise.touch(key, promise.digest)

    @rule(at=index, other=index, moves=booleans)
    def overwrite(self, at: int, other: int, moves: bool) -> None:
        one, two = self.file(at), self.file(other)
        if one is None or two is None or one == two:
            return
        for promise in (self.at(one), self.at(two)):
            if promise is not None:
                promise.is_touched = promise.is_loose = True
        if moves:
            (self.assets / one).replace(self.assets / two)
        else:
            self.save(two, (self.assets / one).read_bytes())

    @rule(at=index, with_sidecar=booleans)
    def delete(self, at: int, with_sidecar: bool) -> None:
        key = self.file(at)
        if key is None:
            return
        path, promise = self.assets / key, self.at(key)
        self.deleted.append((key, path.read_bytes()))
        path.unlink()
        if promise is not None:
            promise.touch(key, promise.digest)
            promise.status = promise.status - {"there"} | {"missing"}
        if with_sidecar:
            self.sidecar_goes(f"{key}{SUFFIX}")
            (self.assets / f"{key}{SUFFIX}").unlink(missing_ok=True)

    @rule(at=index)
    def bring_back(self, at: int) -> None:
        if not self.deleted:
            return
        key, data = self.deleted[at % len(self.deleted)]
        if (self.assets / key).exists():
            return
        self.save(key, data)
        promise, digest = self.at(key), reading(self.assets / key).digest
        if promise is not None and promise.status == {"missing"} and digest == promise.digest:
            promise.status = {"there"}
        elif promise is not None:
            promise.is_loose = True

    @rule(at=index)
    def touch_a_file(self, at: int) -> None:
        key = self.file(at)
        if key is not None:
            os.utime(self.assets / key, (self.next(), self.next()))

    @rule(old=folders, number=st.integers(0, 3))
    def rename_a_folder(self, old: str, number: int) -> None:
        target = f"{old} {number}"
        if not (self.assets / old).is_dir() or (self.assets / target).exists():
            return
        (self.assets / old).rename(self.assets / target)
        for promise in self.promises.values():
            key = target + promise.key.removeprefix(old)
            if promise.key.startswith(f"{old}/") and (self.assets / key).exists():
                promise.touch(key, promise.digest)

    @rule(at=index, what=st.sampled_from(["tags", "license", "artist", "note", "format"]), chosen=tags)
    def edit_sidecar(self, at: int, what: str, chosen: list[str]) -> None:
        found = sidecars(self.assets) if self.assets.is_dir() else []
        payload = load_sidecar(self.assets / found[at % len(found)]) if found else None
        if payload is None:
            return
        key, value = found[at % len(found)], f"by hand {self.next()}"
        new: dict[str, Any] = {}
        if what == "tags":
            payload["tags"] = chosen
            new = {f"tag.{tag}": tag in chosen for tag in TAGS}
        elif what == "license":
            payload["license"] = new["license"] = f"LicenseRef-{self.count}"
        elif what == "artist":
            payload.setdefault("meta", {})["artist"] = new["meta.artist"] = value
        elif what == "note":
            payload["note"] = new["extra.note"] = f"note {self.count}"
        self.save(key, json.dumps(payload, indent=1, sort_keys=True).encode())
        promise = self.promises.get(payload["uid"])
        if promise is None:
            return
        is_sure = named_by(self.assets)[promise.uid] == [key] and not promise.is_loose
        for name, wanted in new.items():
            promise.edit(name, wanted, is_sure=is_sure)

    @rule(at=index)
    def delete_sidecar(self, at: int) -> None:
        found = sidecars(self.assets) if self.assets.is_dir() else []
        if found:
            self.sidecar_goes(found[at % len(found)])
            (self.assets / found[at % len(found)]).unlink()

    @rule(at=index)
    def break_sidecar(self, at: int) -> None:
        found = sidecars(self.assets) if self.assets.is_dir() else []
        key = found[at % len(found)] if found else None
        if key is None or load_sidecar(self.assets / key) is None:
            return
        self.sidecar_goes(key)
        self.broken[key] = (self.assets / key).read_bytes()
        self.save(key, f'{{"tags": ["half {self.next()}",'.encode())

    @rule(at=index)
    def mend_sidecar(self, at: int) -> None:
        key = sorted(self.broken)[at % len(self.broken)] if self.broken else None
        path = self.assets / str(key)
        if key is not None and path.exists() and load_sidecar(path) is None:
            self.save(key, self.broken[key])
            uid = json.loads(self.broken[key])["uid"]
            if uid in self.promises:  # what it says may have been changed through us in the meantime
                for name in FIELDS:
                    value = fields_of(json.loads(self.broken[key]))[name]
                    self.promises[uid].edit(name, value, is_sure=False)

    @rule(mirrors=booleans)
    def delete_mirrors_or_previews(self, mirrors: bool) -> None:
        AssetRegistry.wait_for_thumbnails()
        folder = self.assets / "_meta" if mirrors else self.home / "cache/thumbs"
        for path in folder.rglob("*.*"):
            if path.is_file() and ".comfyvn" not in path.parts:
                path.unlink()

    # -- the database -------------------------------------------------------------------------------------

    def expect_from_disk(self, uids: set[str]) -> None:
        """Note that all that is left of some assets is what lies in the folder."""
        named = named_by(self.assets) if self.assets.is_dir() else {}
        for uid in uids:
            promise, beside = self.promises.get(uid), named.get(uid, [])
            if promise is None:
                continue
            promise.is_loose |= promise.is_touched
            if len(beside) != 1 or promise.status != {"there"} or beside[0] != f"{promise.key}{SUFFIX}":
                self.make_vague(promise)

    def make_vague(self, promise: Promise) -> None:
        """Note that nothing is left for sure to tell what was written about an asset."""
        promise.is_loose = promise.is_vague = True
        promise.sources, promise.digests = set(), set()
        promise.status = {"there", "missing", "removed"}

    @rule()
    def delete_database(self) -> None:
        self.close()
        for path in (self.home / "comfyvn/data").glob("*"):
            path.unlink()
        self.is_behind = self.was_ledger_lost = True
        self.expect_from_disk(set(self.promises))
        self.removed.clear()
        self.edits.clear()

    @rule()
    def keep_a_copy_of_the_database(self) -> None:
        if self.is_behind:
            return
        self.registry()
        self.close()
        self.old_ledger = shutil.copytree(
            self.home / "comfyvn/data", self.top / f"backup-{self.next()}", dirs_exist_ok=False
        )

    @rule()
    def put_the_copy_back(self) -> None:
        if self.old_ledger is None:
            return
        self.close()
        shutil.rmtree(self.home / "comfyvn/data")
        shutil.copytree(self.old_ledger, self.home / "comfyvn/data")
        self.is_behind = self.was_ledger_lost = True
        self.expect_from_disk(set(self.promises))
        for promise in self.promises.values():
            promise.is_loose, promise.number = True, 0
        self.removed.clear()
        self.edits.clear()

    # -- rebuilding ---------------------------------------------------------------------------------------

    @rule(which=st.integers(0, 1), verify=booleans, step=st.none() | steps, twice=booleans)
    def rebuild(self, which: int, verify: bool, step: int | None, twice: bool) -> None:
        self.settle(which, step, verify=verify)
        if twice:
            self.settle(which)

    @rule(which=st.integers(0, 1), at=st.lists(index, min_size=1, max_size=3))
    def rebuild_some(self, which: int, at: list[int]) -> None:
        found = [key for key in (self.file(each) for each in at) if key is not None]
        if found and not self.is_behind:
            self.look_for_doubles()
            self.do(which, "rebuild", only=found, allow_missing=True)
            for promise in self.promises.values():
                promise.is_loose |= promise.is_touched
            self.check()

    def settle(self, which: int = 0, step: int | None = None, **options: Any) -> dict[str, Any]:
        self.look_for_doubles()
        outcome, report = self.do(which, "rebuild", step, allow_missing=True, **options)
        assert outcome != "refused", report
        if outcome == "killed":
            for promise in self.promises.values():
                promise.is_loose |= promise.is_touched
            self.check()
            return {}
        trouble = {uid for each in report["conflicts"] for uid in each["candidates"]}
        bad = {each["path"] for name in ("conflicts", "failed", "skipped") for each in report[name]}
        bad |= {path.removesuffix(SUFFIX) for path in bad}
        trouble |= {each.uid for each in self.promises.values() if {each.key, each.home} & bad}
        for uid in trouble & set(self.promises):
            if self.is_behind:  # whatever its sidecar says has not been taken in
                self.make_vague(self.promises[uid])
        self.is_behind = False
        self.check(is_settled=True, trouble=trouble)
        return report

    @rule()
    def rebuild_and_check(self) -> None:
        report = self.settle()
        for _ in range(RESOLUTIONS):
            if not report["conflicts"] and not report["failed"] and not self.stray_broken():
                break
            self.take_away({each["path"] for name in ("conflicts", "failed") for each in report[name]})
            report = self.settle()
        assert report["conflicts"] == [] == report["failed"], "there is no way out of this conflict"
        AssetRegistry.wait_for_thumbnails()
        self.close()
        strangers = {each["path"] for name in ("duplicates", "skipped") for each in report[name]}
        strangers |= {f"{key}{SUFFIX}" for key in strangers} | self.copied_sidecars
        strangers |= {
            key for key in sidecars(self.assets) if not (self.assets / key.removesuffix(SUFFIX)).exists()
        }
        copies = self.assets.rglob(f"*{SUFFIX}.broken*")
        strangers |= {path.relative_to(self.assets).as_posix() for path in copies}
        check_library(
            self.home,
            strangers=strangers,
            are_markers_own=False,
            is_ledger_own=not (self.was_ledger_lost or self.was_killed),
        )

    def stray_broken(self) -> bool:
        return any(load_sidecar(self.assets / key) is None for key in sidecars(self.assets))

    def take_away(self, keys: set[str]) -> None:
        """Do what a user does who wants an end of a conflict: move the file and its sidecar elsewhere."""
        away = self.top / "away" / str(self.next())
        for key in sorted(keys):
            path, beside = self.assets / key, self.assets / f"{key}{SUFFIX}"
            if beside.exists() and load_sidecar(beside) is None:
                beside.unlink()
                continue
            self.sidecar_goes(f"{key}{SUFFIX}")
            for each in (path, beside):
                if each.exists():
                    (away / each.relative_to(self.assets)).parent.mkdir(parents=True, exist_ok=True)
                    each.rename(away / each.relative_to(self.assets))
            for promise in self.promises.values():
                if key in (promise.key, promise.home):
                    promise.is_loose = promise.is_touched = True
        for key in sidecars(self.assets):
            if load_sidecar(self.assets / key) is None:
                (self.assets / key).unlink()

    def teardown(self) -> None:
        try:
            if sys.exc_info()[0] is None:  # else a rule has failed already, and says more
                self.rebuild_and_check()
                self.compare_exports()
        finally:
            self.close()
            shutil.rmtree(self.top)

    def compare_exports(self) -> None:
        named = named_by(self.assets)
        lying = [named.get(each["uid"], []) for each in exported(self.registry()).values()]
        if any(len(keys) != 1 for keys in lying):
            return  # copies of sidecars, or none because the folder is gone: no rebuild can tell what was
        before = b"".join(export(self.registry()))
        self.delete_database()
        self.settle()
        after = b"".join(export(self.registry()))
        assert after.decode() == before.decode(), "another library after the database was deleted"


@pytest.fixture
def mortal() -> Iterator[Mortal]:
    mortal = Mortal()
    yield mortal
    mortal.close()


@pytest.mark.parametrize("half", [1, 2])
def test_nothing_is_lost_whatever_users_do(mortal: Mortal, half: int) -> None:
    """Some order of renaming, editing, killing, rebuilding and undoing would lose a file, tag or licence."""
    is_hunt = "COMFYVN_TEST_EXAMPLES" in os.environ  # else the same sequences each time
    start = int(os.environ.get("COMFYVN_TEST_SEED") or (secrets.randbits(32) if is_hunt else 1))
    print(f"COMFYVN_TEST_SEED={start}")
    machine = seed(start + half)(type("Users", (Users,), {"mortal": mortal}))
    options = settings(
        max_examples=max(1, EXAMPLES // 2),
        stateful_step_count=25,
        deadline=None,
        database=None,
        # an example is some 200 small files and a dozen databases: slow by what it does, not by mistake
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )

    run_state_machine_as_test(machine, settings=options)
