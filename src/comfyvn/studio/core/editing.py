"""Editing what is written about assets: one by a merge patch, many by one rule, looked at first if wanted.

Everything is checked before the first change; what an asset was is read inside the transaction that changes
it, so that no update is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any, Final, NotRequired, TypedDict

from comfyvn import sidecar
from comfyvn.errors import AssetNotFound, ComfyVNError, InvalidMetadata
from comfyvn.model import (
    Asset,
    Facts,
    Limits,
    fold,
    normalise_license,
    normalise_tags,
    parse_facts,
)
from comfyvn.studio.core.library import Library, Transaction
from comfyvn.studio.core.many import (
    NO_GOING_ON,
    PLANNED,
    BulkCounts,
    Chosen,
    Failed,
    Tally,
    by_chunks,
    looked_up,
)

__all__ = ["BulkReport", "Edit", "Editor", "PlannedEdit", "merge_patch"]

_CHUNK: Final = 256
_STATED: Final = frozenset({"tags", "license", "origin"})


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
        return replace(parse_facts(merged, self.limits), extra=facts.extra, parents=facts.parents)


@dataclass(frozen=True, slots=True)
class _Outcome:
    uid: str
    before: Asset | None = None
    after: Asset | None = None
    why: str = ""


class Editor:
    """Changes what is written about the assets of one library."""

    def __init__(self, library: Library) -> None:
        self._library = library

    def merge(
        self, uid: str, edit: Edit, check: Callable[[Asset], None] | None, operation: int | None = None
    ) -> Asset:
        """Change one asset.

        Args:
            uid: the asset.
            edit: what is to be done.
            check: looks at the asset inside the transaction, and raises if it is not as expected.
            operation: the operation that this belongs to; a new one by default.

        Raises:
            AssetNotFound: no such uid.
        """
        with self._library.transaction(operation) as change:
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
        chosen: Chosen,
        edit: Edit,
        operation: int | None,
        *,
        is_dry_run: bool,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> BulkReport:
        """Change many assets as one operation, or tell what that would do; a bad one spares the others.

        Args:
            chosen: the assets.
            edit: what is to be done.
            operation: the operation that this belongs to; a new one by default.
            is_dry_run: change nothing.
            should_stop: asked before each chunk; True leaves the rest undone.
        """
        tally = Tally.of(chosen)
        if is_dry_run:
            return _report(tally, None, self._plan(chosen, edit, tally), is_dry_run=True)
        number = operation or self._library.ledger.reserve_ids(1)[0]

        def change(uids: Sequence[str]) -> None:
            for outcome in self._change(uids, edit, number):
                _count(tally, outcome)

        is_stopped = by_chunks(self._library, chosen, tally, change, should_stop)
        report = _report(tally, number if self._is_known(number) else None, [])
        if is_stopped:
            report["stopped"] = True
        return report

    # -- inside ---------------------------------------------------------------------------------------

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
        except NO_GOING_ON:
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

    def _plan(self, chosen: Chosen, edit: Edit, tally: Tally) -> list[PlannedEdit]:
        """Count what would change as the ledger knows it, and describe the first of it."""
        plan: list[PlannedEdit] = []
        for asset in looked_up(self._library, chosen, tally):
            try:
                wanted = edit.facts_after(asset.facts)
            except InvalidMetadata as error:
                tally.fail(asset.uid, str(error))
                continue
            is_changed = not sidecar.is_same(wanted, asset.facts)
            tally.note(asset.uid, is_changed=is_changed)
            if is_changed and len(plan) < PLANNED:
                plan.append(_planned(asset, wanted))
        return plan


def _count(tally: Tally, outcome: _Outcome) -> None:
    if outcome.why or outcome.before is None or outcome.after is None:
        tally.fail(outcome.uid, outcome.why)
    else:
        is_changed = not sidecar.is_same(outcome.before.facts, outcome.after.facts)
        tally.note(outcome.uid, is_changed=is_changed)


def _report(
    tally: Tally, operation: int | None, plan: list[PlannedEdit], *, is_dry_run: bool = False
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
