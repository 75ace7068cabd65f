"""Editing what is written about assets: one by a merge patch, many by one rule, looked at first if wanted.

Everything is checked before the first change; what an asset was is read inside the transaction that changes
it, so that no update is lost.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, Final, NotRequired, TypedDict

from comfyvn import sidecar
from comfyvn.errors import (
    AssetNotFound,
    ComfyVNError,
    ForeignLibrary,
    InvalidMetadata,
    LedgerConflict,
    LibraryUnreachable,
    RegistryUnusable,
    TotalChanged,
)
from comfyvn.model import (
    Asset,
    AssetFilter,
    Facts,
    Limits,
    fold,
    normalise_license,
    normalise_tags,
    parse_facts,
)
from comfyvn.studio.core.library import Library, Transaction

__all__ = ["BulkCounts", "BulkReport", "Edit", "Editor", "Failed", "PlannedEdit", "merge_patch"]

_CHUNK: Final = 256
_IDS_CHUNK: Final = 65_536
_NAMED: Final = 1_000
_PLANNED: Final = 100
_STATED: Final = frozenset({"tags", "license", "origin"})
_STOPPED: Final = "not done: the work was to end before its turn came; ask for it again"
_NO_GOING_ON: Final = (RegistryUnusable, LedgerConflict, LibraryUnreachable, ForeignLibrary)
"""What would befall every further asset as well."""


class BulkCounts(TypedDict):
    """How many assets were asked for, and what became of them."""

    total: int
    changed: int
    unchanged: int
    failed: int


class Failed(TypedDict):
    """An asset that is not as it was wanted, and why."""

    uid: str
    why: str


class PlannedEdit(TypedDict):
    """What a bulk edit would do to one asset; ``metadata`` names the other keys that would change.

    ``license`` is ``[now, then]``, and left out where it stays.
    """

    uid: str
    path: str
    tags_added: list[str]
    tags_removed: list[str]
    license: NotRequired[list[str | None]]
    metadata: list[str]


class BulkReport(TypedDict):
    """What a bulk edit did, or with ``dry_run`` would do.

    ``operation`` is the number by which one undo takes all of it back; None if nothing was changed.
    ``changed``, ``unchanged`` (uids) and ``failed`` name the first 1,000 each, ``counts`` counts all.
    ``plan`` holds the first 100 of a dry run. ``stopped`` is there, and True, if it had to end early: the
    rest is counted in ``failed``.
    """

    operation: int | None
    dry_run: bool
    counts: BulkCounts
    changed: list[str]
    unchanged: list[str]
    failed: list[Failed]
    plan: list[PlannedEdit]
    stopped: NotRequired[bool]


def merge_patch(target: object, patch: object, depth: int) -> Any:
    """Return a JSON value with a merge patch applied to it (RFC 7396); neither is changed.

    Args:
        target: the value.
        patch: what is to be merged in; None deletes a key.
        depth: how deep the patch may be nested.

    Raises:
        InvalidMetadata: it is nested deeper.

    >>> merge_patch({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": None}, "d": [4]}, 8)
    {'a': {'c': 2}, 'd': [4]}
    """
    if not isinstance(patch, Mapping):
        return patch
    if depth <= 0:
        raise InvalidMetadata(why="the patch is nested deeper than the limit metadata_nesting allows")
    merged = dict(target) if isinstance(target, Mapping) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), value, depth - 1)
    return merged


@dataclass(frozen=True, slots=True)
class Edit:
    """What is to be done to an asset's facts: the patch first, then tags gone, tags added, the licence."""

    add: tuple[str, ...]
    remove: frozenset[str]
    license: str | None
    is_license_stated: bool
    patch: Mapping[str, Any]
    limits: Limits

    @classmethod
    def build(
        cls,
        limits: Limits,
        *,
        add_tags: str | Iterable[str] | None = None,
        remove_tags: str | Iterable[str] | None = None,
        license_tag: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Edit:
        """Check what a caller wants; ``license_tag``: "" clears, None leaves.

        Raises:
            InvalidMetadata: a value that no asset could have.
        """
        if metadata is not None and not isinstance(metadata, Mapping):
            raise InvalidMetadata(why=f"a patch must be an object (a dict), not {type(metadata).__name__}")
        edit = cls(
            add=normalise_tags(add_tags, limits),
            remove=frozenset(fold(tag) for tag in normalise_tags(remove_tags, limits)),
            license=normalise_license(license_tag),
            is_license_stated=license_tag is not None,
            patch=dict(metadata or {}),
            limits=limits,
        )
        edit.facts_after(Facts())  # what is wrong with the patch itself is said before anything is done
        return edit

    def facts_after(self, facts: Facts) -> Facts:
        """Return facts as they will be.

        Raises:
            InvalidMetadata: this asset can't have them: too many tags, too much metadata.
        """
        if self.patch:
            facts = self._patched(facts)
        if self.add or self.remove:
            kept = [tag for tag in facts.tags if fold(tag) not in self.remove]
            facts = replace(facts, tags=normalise_tags([*kept, *self.add], self.limits))
        return replace(facts, license=self.license) if self.is_license_stated else facts

    def _patched(self, facts: Facts) -> Facts:
        merged = merge_patch(facts.as_meta(1), self.patch, self.limits.metadata_nesting)
        if self.patch.keys() <= _STATED:  # the rest stays as it is, also where the limits are lower by now
            merged = {name: merged.get(name) for name in _STATED}
            stated = parse_facts(merged, self.limits)
            return replace(facts, tags=stated.tags, license=stated.license, origin=stated.origin)
        return replace(parse_facts(merged, self.limits), extra=facts.extra)


@dataclass(frozen=True, slots=True)
class _Outcome:
    uid: str
    before: Asset | None = None
    after: Asset | None = None
    why: str = ""


@dataclass(slots=True)
class _Tally:
    """Counts what became of assets, and names the first of them."""

    counts: BulkCounts
    changed: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    failed: list[Failed] = field(default_factory=list)

    def note(self, uid: str, *, is_changed: bool) -> None:
        self.counts["changed" if is_changed else "unchanged"] += 1
        named = self.changed if is_changed else self.unchanged
        if len(named) < _NAMED:
            named.append(uid)

    def fail(self, uid: str, why: str) -> None:
        self.counts["failed"] += 1
        if len(self.failed) < _NAMED:
            self.failed.append(Failed(uid=uid, why=why))


class Editor:
    """Changes what is written about the assets of one library."""

    def __init__(self, library: Library) -> None:
        self._library = library

    def merge(self, uid: str, edit: Edit, check: Callable[[Asset], None] | None) -> Asset:
        """Change one asset.

        Args:
            uid: the asset.
            edit: what is to be done.
            check: looks at the asset inside the transaction, and raises if it is not as expected.

        Raises:
            AssetNotFound: no such uid.
        """
        with self._library.transaction() as change:
            asset = change.rows.asset(uid)
            if asset is None:
                raise AssetNotFound(uid=uid, project=self._library.ledger.project_id)
            if check is not None:
                check(asset)
            wanted = edit.facts_after(asset.facts)
            return self._library.change_one(change, asset, wanted, is_as_read=True)

    def tag(self, uids: Sequence[str], edit: Edit, operation: int) -> Iterator[Asset]:
        """Change assets by chunks, each in one transaction; unknown ones are left out.

        Raises:
            ComfyVNError: one can't be changed; nothing of its chunk is.
        """
        for at in range(0, len(uids), _CHUNK):
            outcomes = self._change(uids[at : at + _CHUNK], edit, operation, is_strict=True)
            yield from (outcome.after for outcome in outcomes if outcome.after is not None)

    def bulk(
        self,
        chosen: Sequence[str] | array[int],
        edit: Edit,
        operation: int | None,
        *,
        is_dry_run: bool,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> BulkReport:
        """Change many assets as one operation, or tell what that would do; a bad one spares the others.

        Args:
            chosen: uids, or ids of rows, each once.
            edit: what is to be done.
            operation: the operation that this belongs to; a new one by default.
            is_dry_run: change nothing.
            should_stop: asked before each chunk; True leaves the rest undone.
        """
        tally = _Tally(BulkCounts(total=len(chosen), changed=0, unchanged=0, failed=0))
        if is_dry_run:
            plan = self._plan(chosen, edit, tally)
            return _report(tally, None, plan, is_dry_run=True)
        operation = operation or self._library.ledger.reserve_ids(1)[0]
        broken, is_stopped = "", False
        for uids in self._uids_of(chosen, tally):
            is_stopped = is_stopped or should_stop()
            if is_stopped and len(tally.failed) >= _NAMED:
                break
            broken = broken or (_STOPPED if is_stopped else "")
            if broken:
                outcomes = [_Outcome(uid, why=broken) for uid in uids]
            else:
                try:
                    outcomes = self._change(uids, edit, operation)
                except (ComfyVNError, OSError) as error:
                    if not tally.counts["changed"]:
                        raise
                    broken = str(error)  # what was done before is told all the same, so that it can be undone
                    outcomes = [_Outcome(uid, why=broken) for uid in uids]
            for outcome in outcomes:
                _count(tally, outcome)
        counts = tally.counts
        counts["failed"] = counts["total"] - counts["changed"] - counts["unchanged"]
        report = _report(tally, operation if self._is_known(operation) else None, [])
        if is_stopped:
            report["stopped"] = True
        return report

    def ids_of(self, wanted: AssetFilter, expected: int | None) -> array[int]:
        """Return the ids of all that a filter finds, of one state of the ledger.

        Raises:
            TotalChanged: they are not as many as expected.
        """
        ids, before_id = array("q"), None
        with self._library.read() as rows:
            while batch := rows.ids(wanted, limit=_IDS_CHUNK, before_id=before_id):
                ids.extend(batch)
                before_id = batch[-1]
        if expected is not None and expected != len(ids):
            raise TotalChanged(found=len(ids), expected=expected)
        return ids

    # -- inside ---------------------------------------------------------------------------------------

    def _uids_of(self, chosen: Sequence[str] | array[int], tally: _Tally) -> Iterator[list[str]]:
        """Yield uids by chunks; what was removed since its id was read has failed."""
        for at in range(0, len(chosen), _CHUNK):
            chunk = chosen[at : at + _CHUNK]
            if isinstance(chunk, array):
                yield [asset.uid for asset in self._listed(chunk, tally)]
            else:
                yield list(chunk)

    def _listed(self, ids: array[int], tally: _Tally) -> list[Asset]:
        with self._library.read() as rows:
            found = rows.listed_by_id(ids)
        for asset_id in ids:
            if asset_id not in found:
                tally.fail("", f"the asset with the id {asset_id} was removed meanwhile")
        return [found[asset_id] for asset_id in ids if asset_id in found]

    def _change(
        self, uids: Sequence[str], edit: Edit, operation: int, *, is_strict: bool = False
    ) -> list[_Outcome]:
        with self._library.transaction(operation) as change:
            known = {asset.uid: asset for asset in change.rows.assets(uids)}
            return [self._change_one(change, uid, known.get(uid), edit, is_strict=is_strict) for uid in uids]

    def _change_one(
        self, change: Transaction, uid: str, asset: Asset | None, edit: Edit, *, is_strict: bool
    ) -> _Outcome:
        if asset is None:
            return _Outcome(uid, why="no asset has this uid")
        told = len(change.entries)
        try:
            with nullcontext() if is_strict else change.attempt():
                wanted = edit.facts_after(asset.facts)
                after = self._library.change_one(change, asset, wanted, is_as_read=True)
        except _NO_GOING_ON:
            raise
        except (ComfyVNError, OSError) as error:
            if is_strict:
                raise
            return _Outcome(uid, why=str(error))
        stays = [name for entry in change.entries[told:] for name in (entry.after or {}).get("overruled", ())]
        if stays:
            why = (
                f"its sidecar was edited by hand, and that stays: {', '.join(stays)}; send it again for yours"
            )
            return _Outcome(uid, asset, after, why)
        return _Outcome(uid, asset, after)

    def _is_known(self, operation: int) -> bool:
        with self._library.read() as rows:
            return rows.has_operation(operation)

    def _plan(self, chosen: Sequence[str] | array[int], edit: Edit, tally: _Tally) -> list[PlannedEdit]:
        """Count what would change as the ledger knows it, and describe the first of it."""
        plan: list[PlannedEdit] = []
        for at in range(0, len(chosen), _CHUNK):
            for asset in self._looked_up(chosen[at : at + _CHUNK], tally):
                try:
                    wanted = edit.facts_after(asset.facts)
                except InvalidMetadata as error:
                    tally.fail(asset.uid, str(error))
                    continue
                is_changed = not sidecar.is_same(wanted, asset.facts)
                tally.note(asset.uid, is_changed=is_changed)
                if is_changed and len(plan) < _PLANNED:
                    plan.append(_planned(asset, wanted))
        return plan

    def _looked_up(self, chunk: Sequence[str] | array[int], tally: _Tally) -> list[Asset]:
        if isinstance(chunk, array):
            return self._listed(chunk, tally)
        with self._library.read() as rows:
            known = {asset.uid: asset for asset in rows.assets(chunk)}
        for uid in chunk:
            if uid not in known:
                tally.fail(uid, "no asset has this uid")
        return [known[uid] for uid in chunk if uid in known]


def _count(tally: _Tally, outcome: _Outcome) -> None:
    if outcome.why or outcome.before is None or outcome.after is None:
        tally.fail(outcome.uid, outcome.why)
    else:
        is_changed = not sidecar.is_same(outcome.before.facts, outcome.after.facts)
        tally.note(outcome.uid, is_changed=is_changed)


def _report(
    tally: _Tally, operation: int | None, plan: list[PlannedEdit], *, is_dry_run: bool = False
) -> BulkReport:
    return BulkReport(
        operation=operation,
        dry_run=is_dry_run,
        counts=tally.counts,
        changed=tally.changed,
        unchanged=tally.unchanged,
        failed=tally.failed,
        plan=plan,
    )


def _planned(asset: Asset, wanted: Facts) -> PlannedEdit:
    now, then = asset.facts, wanted
    planned = PlannedEdit(
        uid=asset.uid,
        path=asset.key,
        tags_added=[tag for tag in then.tags if tag not in now.tags],
        tags_removed=[tag for tag in now.tags if tag not in then.tags],
        metadata=sorted(_differing(now, then)),
    )
    if now.license != then.license:
        planned["license"] = [now.license, then.license]
    return planned


def _differing(now: Facts, then: Facts) -> Iterator[str]:
    if now.origin != then.origin:
        yield "origin"
    for name in {*now.meta, *then.meta}:
        sides = [Facts(meta={name: side.meta[name]} if name in side.meta else {}) for side in (now, then)]
        if not sidecar.is_same(*sides):
            yield name
