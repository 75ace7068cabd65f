"""Doing one thing to many assets: by chunks of one transaction each, counted; a bad one spares the others."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, NotRequired, TypeAlias, TypedDict

from comfyvn.errors import (
    ComfyVNError,
    ForeignLibrary,
    LedgerConflict,
    LibraryUnreachable,
    RegistryUnusable,
    TotalChanged,
)
from comfyvn.model import Asset, AssetFilter
from comfyvn.studio.core.library import Library

__all__ = [
    "NO_GOING_ON",
    "PLANNED",
    "BulkCounts",
    "Chosen",
    "Failed",
    "Tally",
    "by_chunks",
    "ids_of",
    "looked_up",
]

Chosen: TypeAlias = "Sequence[str] | array[int]"
"""Assets that somebody chose, by uid or by the id of their row, each once."""
NO_GOING_ON: Final = (RegistryUnusable, LedgerConflict, LibraryUnreachable, ForeignLibrary)
"""What would befall every further asset as well."""
PLANNED: Final = 100
"""So many assets a dry run describes."""
_NAMED: Final = 1_000
_CHUNK: Final = 256
_IDS_CHUNK: Final = 65_536
_STOPPED: Final = "not done: the work was to end before its turn came; ask for it again"


class BulkCounts(TypedDict):
    """How many assets were asked for, and what became of them."""

    total: int
    changed: int
    unchanged: int
    failed: int


class Failed(TypedDict):
    """An asset that is not as it was wanted, and why; ``id`` names one that is unknown, and ``uid`` is ""."""

    uid: str
    why: str
    id: NotRequired[int]


@dataclass(slots=True)
class Tally:
    """Counts what became of assets, and names the first of them."""

    counts: BulkCounts
    changed: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    failed: list[Failed] = field(default_factory=list)

    @classmethod
    def of(cls, chosen: Chosen) -> Tally:
        """Begin to count."""
        return cls(BulkCounts(total=len(chosen), changed=0, unchanged=0, failed=0))

    def note(self, uid: str, *, is_changed: bool) -> None:
        """Count an asset that is as it was wanted."""
        self.counts["changed" if is_changed else "unchanged"] += 1
        named = self.changed if is_changed else self.unchanged
        if len(named) < _NAMED:
            named.append(uid)

    def fail(self, uid: str, why: str, asset_id: int | None = None) -> None:
        """Count an asset that is not."""
        self.counts["failed"] += 1
        if len(self.failed) < _NAMED:
            failed = Failed(uid=uid, why=why)
            self.failed.append(failed if asset_id is None else Failed(**failed, id=asset_id))


def ids_of(library: Library, wanted: AssetFilter, expected: int | None) -> array[int]:
    """Return the ids of all that a filter finds, of one state of the ledger.

    Raises:
        TotalChanged: they are not as many as expected.
    """
    ids, before_id = array("q"), None
    with library.read() as rows:
        while batch := rows.ids(wanted, limit=_IDS_CHUNK, before_id=before_id):
            ids.extend(batch)
            before_id = batch[-1]
    if expected is not None and expected != len(ids):
        raise TotalChanged(found=len(ids), expected=expected)
    return ids


def by_chunks(
    library: Library,
    chosen: Chosen,
    tally: Tally,
    act: Callable[[Sequence[str]], None],
    should_stop: Callable[[], bool],
) -> bool:
    """Do something to all chosen assets.

    Args:
        library: theirs.
        chosen: the assets.
        tally: gets those that can't be done; its other counts are the caller's.
        act: does it to some of them, and counts them; what it raises befalls all further ones as well.
        should_stop: asked before each chunk; True leaves the rest undone.

    Returns:
        True if it was stopped.

    Raises:
        ComfyVNError, OSError: what ``act`` raised before anything was changed.
    """
    broken, is_stopped = "", False
    for uids in _uids_of(library, chosen, tally):
        is_stopped = is_stopped or should_stop()
        if is_stopped and len(tally.failed) >= _NAMED:
            break
        broken = broken or (_STOPPED if is_stopped else "")
        if not broken:
            try:
                act(uids)
                continue
            except (ComfyVNError, OSError) as error:
                if not tally.counts["changed"]:
                    raise
                broken = str(error)  # what was done before is told all the same, so that it can be undone
        for uid in uids:
            tally.fail(uid, broken)
    counts = tally.counts
    counts["failed"] = counts["total"] - counts["changed"] - counts["unchanged"]
    return is_stopped


def looked_up(library: Library, chosen: Chosen, tally: Tally) -> Iterator[Asset]:
    """Yield chosen assets as lists have them, read by chunks; one that is not there has failed."""
    for at in range(0, len(chosen), _CHUNK):
        chunk = chosen[at : at + _CHUNK]
        if isinstance(chunk, array):
            yield from _listed(library, chunk, tally)
            continue
        with library.read() as rows:
            known = {asset.uid: asset for asset in rows.assets(chunk)}
        for uid in chunk:
            if uid in known:
                yield known[uid]
            else:
                tally.fail(uid, "no asset has this uid")


def _uids_of(library: Library, chosen: Chosen, tally: Tally) -> Iterator[Sequence[str]]:
    """Yield uids by chunks; what was removed since its id was read has failed."""
    for at in range(0, len(chosen), _CHUNK):
        chunk = chosen[at : at + _CHUNK]
        if isinstance(chunk, array):
            yield [asset.uid for asset in _listed(library, chunk, tally)]
        else:
            yield chunk


def _listed(library: Library, ids: array[int], tally: Tally) -> list[Asset]:
    with library.read() as rows:
        found = rows.listed_by_id(ids)
    for asset_id in ids:
        if asset_id not in found:
            tally.fail("", f"no asset has the id {asset_id}; it may have been removed meanwhile", asset_id)
    return [found[asset_id] for asset_id in ids if asset_id in found]
