"""The main road of a file into the library.

``digest -> stage -> stamp -> place -> sidecar -> record -> announce -> preview``: files first, ledger last,
news after the commit. Killed anywhere, the worst that is left is a staged file (swept by the next writer) or
an orphan (adopted by the next registration of the same content, or by a rebuild).
"""

from __future__ import annotations

import errno
import itertools
import json
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, nullcontext, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal, TypeVar

from comfyvn import media
from comfyvn.db import Reader, Taken
from comfyvn.errors import (
    ComfyVNError,
    InvalidSidecar,
    LedgerConflict,
    PathConflict,
    SourceUnreadable,
    StorageUnwritable,
)
from comfyvn.model import (
    UNSPECIFIED,
    Asset,
    Facts,
    FileStat,
    Preview,
    Provenance,
    ProvenanceClaim,
    Version,
    fold,
    id_floor,
    marker_value,
    merge_registered,
    unite_parents,
    utc_now,
)
from comfyvn.sidecar import Sidecar
from comfyvn.storage import Source, Staged, Writes, borrow_source, numbered_key, open_source
from comfyvn.studio.core.facts import with_kept_facts
from comfyvn.studio.core.library import Beside, Library, Move, Transaction, provenance_row, rows_told
from comfyvn.studio.core.parents import parents_told
from comfyvn.studio.core.previews import POOL, need_of, renew
from comfyvn.studio.core.workflows import row_that_tells, told_by_file, with_generation

__all__ = ["Outcome", "Registrar", "Request"]

_BATCH: Final = 256
_BATCH_BYTES: Final = 64 << 20
_BATCH_S: Final = 1.0
_GROUP: Final = 64
_SMALL_BYTES: Final = 64 << 10
_AHEAD: Final = 16
_MORE_TRIES: Final = 2
_DAY_S: Final = 86_400.0
_OF_THE_DISK: Final = frozenset({errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC), errno.EROFS})
_A = TypeVar("_A")
_B = TypeVar("_B")
_UID_WIDTH: Final = 16
_DIGEST_WIDTH: Final = 64


@dataclass(frozen=True, slots=True)
class Request:
    """What a caller wants registered, checked and normalised; nothing has been touched yet.

    ``key`` is the wanted one. ``license_given`` tells an empty licence that was stated (it clears) from none.
    ``is_rebuild``: the file comes back with its sidecar, whose provenance then suffices. ``wanted_uid`` is
    the one that the file's marker names. ``look``: a file that stays in place was read already, and had this
    stat then. ``file``: it is open already, and read from there. ``keeps_known``: an asset that has the
    content already keeps its facts; ``only_adds``: it keeps the values of its metadata. ``unstated``: nobody
    stated the claim's source, and it displaces no source that somebody stated of an asset that has the
    content already; nobody states these.
    """

    source: Path
    type: str
    key: str
    facts: Facts
    claim: ProvenanceClaim
    version: int = 1
    is_copy: bool = True
    license_given: bool = False
    is_rebuild: bool = False
    wanted_uid: str | None = None
    look: tuple[media.Reading, FileStat] | None = None
    file: BinaryIO | None = None
    keeps_known: bool = False
    only_adds: bool = False
    unstated: frozenset[str] | None = None

    def opened(self) -> AbstractContextManager[Source]:
        """Open the source for reading."""
        if self.file is not None:
            return borrow_source(self.source, self.file)
        return open_source(self.source, follow_links=self.is_copy)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one request: the asset and how it came to be, or the error."""

    request: Request
    status: Literal["registered", "known", "updated", "failed"]
    asset: Asset | None = None
    error: ComfyVNError | OSError | None = None


@dataclass(slots=True)
class _Arrival:
    """A file on its way in: read and staged, not yet placed. ``staged`` is None for a file left in place."""

    request: Request
    asset_id: int
    provenance_id: int
    created_at: str
    reading: media.Reading
    stat: FileStat
    staged: Staged | None = None

    def discard(self) -> None:
        if self.staged is not None:
            self.staged.discard()


@dataclass(frozen=True, slots=True)
class _Admitted:
    """A file in its place with its sidecar, to be recorded. ``is_new_file``: we put the file there.

    ``had_sidecar``: that lay there before, and stays as it is. ``is_unheard``: nothing was known of the file,
    its sidecar tells of this registration only. ``seen``: the sidecar that the asset's facts were read from,
    over which its own is to be written.
    """

    request: Request
    asset: Asset
    is_new_file: bool
    had_sidecar: bool = False
    is_unheard: bool = False
    seen: FileStat | None = None


@dataclass(frozen=True, slots=True)
class _Placed:
    """Where a file has come to lie. ``is_new``: we put it there. ``is_bare``: no sidecar lay there before."""

    arrival: _Arrival
    key: str
    stat: FileStat
    is_new: bool = False
    is_bare: bool = False


@dataclass(slots=True)
class _Batch:
    """New content in its place, to be recorded together, and what has become of requests since the last one.

    Among the outcomes None stands for the next one that is admitted, once it is recorded.
    """

    writes: Writes
    admitted: list[_Admitted] = field(default_factory=list)
    outcomes: list[Outcome | None] = field(default_factory=list)
    digests: set[str] = field(default_factory=set)
    folds: set[str] = field(default_factory=set)
    size_bytes: int = 0
    since_s: float = 0.0

    def add(self, settled: _Admitted | Outcome) -> None:
        if not self.outcomes:
            self.since_s = time.monotonic()
        if isinstance(settled, Outcome):
            self.outcomes.append(settled)
            return
        self.outcomes.append(None)
        self.admitted.append(settled)
        self.digests.add(settled.asset.digest)
        self.folds.add(fold(settled.asset.key))
        self.size_bytes += settled.asset.size_bytes

    def is_due(self) -> bool:
        """Tell whether it is time to record: there are many, they are large, or somebody has waited."""
        if not self.outcomes:
            return False
        is_large = len(self.outcomes) >= _BATCH or self.size_bytes >= _BATCH_BYTES
        return is_large or time.monotonic() - self.since_s > _BATCH_S

    def clear(self) -> None:
        for each in (self.admitted, self.outcomes, self.digests, self.folds):
            each.clear()
        self.size_bytes = 0


class Registrar:
    """Registers files: one, or many through a pipeline with batches; all of it one operation of the journal.

    Args:
        library: where to.
        is_repeatable: for bulk work that is run again and again: known content then gets another provenance
            row only if the claim differs from those it has.
        operation_id: the operation of the journal; a new one by default.
    """

    def __init__(
        self, library: Library, *, is_repeatable: bool = False, operation_id: int | None = None
    ) -> None:
        self._library = library
        self._is_repeatable = is_repeatable
        self._is_synced = library.config.durability != "off"
        self._operation_id = operation_id

    def register(self, request: Request) -> Outcome:
        """Register one file; return when it is recorded and synced.

        Raises:
            ComfyVNError: what is wrong with the file or the library; nothing is registered then.
        """
        outcome = self._try_register(request)
        for _ in range(_MORE_TRIES):
            if not isinstance(outcome.error, LedgerConflict):
                break
            outcome = self._try_register(request)  # another program took the place: now its asset is known
        if outcome.error is not None:
            raise outcome.error
        return outcome

    def _try_register(self, request: Request) -> Outcome:
        ids = self._library.ledger.reserve_ids(2 if self._operation_id else 3)
        self._operation_id = self._operation_id or ids[2]
        return next(self._settle(iter([[self._try_arrive(request, ids[:2])]])))

    def register_all(self, requests: Iterable[Request]) -> Iterator[Outcome]:
        """Register many files; yield an outcome for each, in order, once its batch is recorded and synced.

        Reading, hashing and copying run ahead in threads by a bounded number of files. One bad file is an
        outcome with its error; the others go on.
        """
        self._operation_id = self._operation_id or self._library.ledger.reserve_ids(1)[0]
        with closing(self._arrivals(requests)) as arrivals:
            yield from self._settle(arrivals)

    def register_missing(
        self, sidecars: Iterable[tuple[str, Sidecar]], request_of: Callable[[str, str], Request]
    ) -> list[Asset]:
        """Record assets of which only the sidecar is left; their files are missing till they turn up.

        Args:
            sidecars: keys of assets with what their sidecars say; those without a uid, hash or type, or whose
                uid or key is taken, are left out.
            request_of: gives the request that a file of a key and a type would come in with.
        """
        lost = []
        for key, found in sidecars:
            if found.uid and found.digest and found.type:
                lost.append(self._lost_asset(key, found, request_of(key, found.type)))
        with self._library.transaction(self._operation_id) as change:
            done = self._insert(change, _on_time(change.rows, lost))
            assets = [asset for asset in done.values() if isinstance(asset, Asset)]
            for asset in assets:
                change.tell("asset_missing", asset, after={"missing_since": asset.missing_since})
        return assets

    def bring_back(self, returning: Sequence[tuple[Request, Beside]]) -> Iterator[Outcome]:
        """Record assets that the ledger lost: files that have the content of which their sidecars tell.

        Nothing is written of one where sidecar and mirror say already what they would. What is not as simple
        as it looked goes the way of every file.

        Args:
            returning: requests with a ``look``, and the sidecars, which have the uid of an unknown asset.
        """
        self._operation_id = self._operation_id or self._library.ledger.reserve_ids(1)[0]
        batch = _Batch(self._library.new_writes())
        numbers = self._library.ledger.reserve_ids(2 * len(returning))
        left = []
        with self._library.read() as rows:
            for at, (request, beside) in enumerate(returning):
                ids = numbers[2 * at : 2 * at + 2]
                admitted = self._try_bring_back(request, beside, ids, rows)
                if admitted is None:
                    left.append((request, ids))
                else:
                    batch.add(admitted)
        for request, ids in left:
            yield from self._settle(iter([[self._try_arrive(request, ids)]]))
        yield from self._record(batch)

    def _try_bring_back(self, request: Request, beside: Beside, ids: range, rows: Reader) -> _Admitted | None:
        """Return what is to be recorded of a file, None where more is to be done than that."""
        if request.look is None or request.look[1].size_bytes == 0:
            return None
        reading, stat = request.look
        arrival = _Arrival(request, ids[0], ids[1], utc_now(), reading, stat)
        try:
            if rows.other_owner(request.key) is not None or reading.digest != beside.said.digest:
                return None
            placed = _Placed(arrival, request.key, stat)
            asset = self._new_asset(placed, str(beside.said.uid), beside.said, rows)
            asset_there = self._library.with_sidecar_beside(asset, beside)
        except (ComfyVNError, OSError):  # that way says what is wrong with it
            return None
        if asset_there is None:
            return _Admitted(request, asset, is_new_file=False, seen=beside.stat)
        return _Admitted(request, asset_there, is_new_file=False, had_sidecar=True)

    def _lost_asset(self, key: str, found: Sidecar, request: Request) -> _Admitted:
        described = found.payload.get("preview")
        kind = described.get("kind") if isinstance(described, dict) else None
        now = utc_now()
        asset = Asset(
            id=self._library.ledger.reserve_ids(1)[0],
            project_id=self._library.ledger.project_id,
            uid=str(found.uid),
            type=request.type,
            key=key,
            digest=str(found.digest),
            size_bytes=found.size_bytes or 0,
            facts=found.facts,
            created_at=now,
            updated_at=now,
            preview=self._library.planned_preview(str(found.uid), kind if kind in media.RECIPES else None),
            missing_since=now,
        )
        seen = self._library.storage.stat(self._library.sidecar_key(key))
        return _Admitted(request, self._inherit(asset, found, request), is_new_file=False, seen=seen)

    def plan(self, request: Request) -> dict[str, Any]:
        """Tell what a registration would do; reads the file, changes nothing."""
        with request.opened() as source:
            _refuse_empty(source)
            reading = media.read(source.file, name=request.key)
        with self._library.read() as rows:
            known = rows.known(reading.digest)
            uid = rows.free_uid(reading.digest)
        if known is not None:
            return {"status": "known", "uid": known.uid, "path": known.key, "hash": reading.digest}
        keys = _candidate_keys(request.key, uid) if request.is_copy else iter([request.key])
        path = next(
            key
            for key in keys
            if not request.is_copy or not (self._library.storage.exists(key) or self._is_owned(key, uid))
        )
        return {"status": "new", "uid": uid, "path": path, "hash": reading.digest}

    # -- digest, stage --------------------------------------------------------------------------------

    def _arrivals(self, requests: Iterable[Request]) -> Generator[list[_Arrival | Outcome], None, None]:
        """Yield files as they are read and staged, in order, a bounded number ahead of the consumer.

        Threads read the large ones. To hand a small one to a thread costs twice what reading it does: the
        threads take turns at the interpreter's lock (benchmark `tiny`).
        """
        workers = self._library.config.ingest_workers
        ahead: deque[Future[list[_Arrival | Outcome]]] = deque()
        counts: deque[int] = deque()
        with ThreadPoolExecutor(workers, thread_name_prefix="comfyvn-ingest") as pool:
            try:
                for group, is_small in self._groups(requests):
                    start = _at_once if is_small else pool.submit
                    ahead.append(start(self._arrive_together, group))
                    counts.append(len(group))
                    while sum(counts) >= _AHEAD:
                        counts.popleft()
                        yield ahead.popleft().result()
                while ahead:
                    yield ahead.popleft().result()
            finally:
                for future in ahead:
                    if not future.cancel():
                        _discard(future.result())

    def _groups(self, requests: Iterable[Request]) -> Iterator[tuple[list[tuple[Request, range]], bool]]:
        """Yield requests in order, small files in groups, with whether they are small."""
        small: list[tuple[Request, range]] = []
        for request, ids in zip(requests, self._reserved_ids(), strict=False):
            is_small = _is_small(request.source)
            if small and (not is_small or len(small) >= _GROUP):
                yield small, True
                small = []
            if is_small:
                small.append((request, ids))
            else:
                yield [(request, ids)], False
        if small:
            yield small, True

    def _arrive_together(self, group: list[tuple[Request, range]]) -> list[_Arrival | Outcome]:
        arrivals: list[_Arrival | Outcome] = []
        try:
            for request, ids in group:
                arrivals.append(self._try_arrive(request, ids))
        except BaseException:
            _discard(arrivals)
            raise
        return arrivals

    def _reserved_ids(self) -> Iterator[range]:
        while True:
            ids = self._library.ledger.reserve_ids(2 * _BATCH)
            yield from (ids[at : at + 2] for at in range(0, len(ids), 2))

    def _try_arrive(self, request: Request, ids: range) -> _Arrival | Outcome:
        try:
            return self._arrive(request, ids)
        except (ComfyVNError, OSError) as error:
            return Outcome(request, "failed", error=_named(error, request))

    def _arrive(self, request: Request, ids: range) -> _Arrival:
        """Read the source once: hash it and, unless it stays in place, copy it with room for the marker."""
        self._library.check_place()
        asset_id, provenance_id = ids
        created_at = utc_now()
        look = request.look
        if look is not None and look[1].size_bytes and self._library.storage.stat(request.key) == look[1]:
            with request.opened() as source:
                request = self._with_generation(request, source, look[0].digest)
            request = self._with_parents(request, look[0])
            return _Arrival(request, asset_id, provenance_id, created_at, *look)
        with request.opened() as source:
            _refuse_empty(source)
            if request.is_copy:  # its marker, for which room is kept, names its tool
                request = self._with_generation(request, source)
            blank = _marker(request, provenance_id, created_at, "0" * _UID_WIDTH, "0" * _DIGEST_WIDTH)
            staged = self._library.storage.stage() if request.is_copy else None
            try:
                sink, room = (staged.file, len(blank)) if staged else (None, 0)
                with self._library.storage.writing():
                    reading = media.read(source.file, sink, marker_bytes=room, name=request.key)
                if not request.is_copy:
                    request = self._with_generation(request, source, reading.digest)
                source.check_unchanged()
            except BaseException:
                if staged is not None:
                    staged.discard()
                raise
            if staged is not None and self._is_synced and source.stat.size_bytes >= _SMALL_BYTES:
                staged.write_early()
        request = self._with_parents(request, reading)
        return _Arrival(request, asset_id, provenance_id, created_at, reading, source.stat, staged)

    def _with_generation(self, request: Request, source: Source, digest: str | None = None) -> Request:
        """Add to a claim what the file tells of its making; a sidecar that is of its content has that.

        ``digest``: of the file's content, where it stays in place and may come back with its sidecar.
        """
        if request.is_rebuild and self._is_told_beside(request.key, digest):
            return request
        told = told_by_file(source.file, request.source.name)
        if told is None:
            return request
        writes = self._library.new_writes()
        reference = self._library.workflows.keep(told.raw, told.workflow_hash, writes)
        writes.sync()
        return replace(request, claim=with_generation(request.claim, told, reference))

    def _is_told_beside(self, key: str, digest: str | None) -> bool:
        """Tell whether the sidecar beside a file was written for this content, and not for an older one.

        One of an older release has the hash of the file as it was before that release stamped it.
        """
        try:
            found = self._library.read_sidecar(key)
        except InvalidSidecar:
            return False
        return found is not None and found.uid is not None and not _is_of_older_content(found, digest)

    def _with_parents(self, request: Request, reading: media.Reading) -> Request:
        """Add to the facts of a file the assets that it names as those it came of."""
        marker, generation = _parse_marker(reading.marker), request.claim.inputs.get("generation")
        if not marker and not generation:
            return request
        with self._library.read() as rows:
            told = parents_told(rows, reading.digest, marker, generation)
        stated = {parent.uid for parent in request.facts.parents}
        new = [parent for parent in told if parent.uid not in stated]
        if not new:
            return request
        parents = unite_parents(request.facts.parents, new)
        return replace(request, facts=replace(request.facts, parents=parents))

    # -- stamp, place, sidecar, record, announce, preview ---------------------------------------------

    def _settle(self, windows: Iterator[Sequence[_Arrival | Outcome]]) -> Iterator[Outcome]:
        """Bring arrivals to their end in order; those of new content are recorded in batches.

        What the ledger knows of a window of them is asked at once, and again when it may have changed.
        """
        batch = _Batch(self._library.new_writes())
        left: deque[_Arrival | Outcome] = deque()
        try:
            for window in windows:
                left.extend(window)
                taken: Taken | None = None
                while left:
                    is_twin = isinstance(left[0], _Arrival) and left[0].reading.digest in batch.digests
                    if is_twin or batch.is_due():
                        yield from self._record(batch)
                        taken = None
                    taken = taken or self._look_up(left)
                    settled = self._try_admit(left.popleft(), batch, taken)
                    if isinstance(settled, Outcome) and settled.asset is not None:
                        taken = None
                    batch.add(settled)
        except BaseException:  # interrupted: what is in its place is recorded
            _discard(left)
            self._record_batch(batch)
            raise
        yield from self._record(batch)

    def _look_up(self, arrivals: Iterable[_Arrival | Outcome]) -> Taken | None:
        """Tell what the ledger knows of the content and the wanted keys of arrivals, None if it can't."""
        wanted = [arrival for arrival in arrivals if isinstance(arrival, _Arrival)]
        digests = [arrival.reading.digest for arrival in wanted]
        keys = [arrival.request.key for arrival in wanted]
        try:
            with self._library.read() as rows:
                return rows.taken([_short_uid(digest) for digest in digests], keys, digests)
        except ComfyVNError:  # to be said of each of them
            return None

    def _try_admit(
        self, arrival: _Arrival | Outcome, batch: _Batch, taken: Taken | None
    ) -> _Admitted | Outcome:
        if isinstance(arrival, Outcome):
            return arrival
        try:
            with arrival.staged or nullcontext():
                return self._admit(arrival, batch, taken)
        except (ComfyVNError, OSError) as error:
            return Outcome(arrival.request, "failed", error=_named(error, arrival.request))

    def _admit(self, arrival: _Arrival, batch: _Batch, taken: Taken | None) -> _Admitted | Outcome:
        """Stamp and place new content and write its sidecar; known content is settled at once."""
        request, digest = arrival.request, arrival.reading.digest
        at_key, known, uid = self._known(request, digest, taken)
        if at_key is not None and at_key.digest != digest:
            return self._take_new_version(at_key, arrival)
        if not request.is_copy and at_key is None:
            self._refuse_foreign(request.key)
        own_uid = None if request.is_copy else self._uid_beside(request.key)
        comes_back = request.is_rebuild and own_uid is not None  # as an asset of its own, whatever it holds
        if known is not None and not comes_back:
            return self._meet_again(known, arrival)
        uid = own_uid or self._free(request.wanted_uid) or uid
        arrival = self._stamp(arrival, uid)
        with arrival.staged or nullcontext():
            return self._put(arrival, uid, batch, taken)

    def _known(
        self, request: Request, digest: str, taken: Taken | None
    ) -> tuple[Asset | None, Asset | None, str]:
        """Return the asset at a key in place, the one that knows the content, and the uid of new content."""
        uid = _short_uid(digest)
        if taken is not None and not (
            digest in taken.digests
            or uid in taken.uids
            or (not request.is_copy and request.key in taken.keys)
        ):
            return None, None, uid
        with self._library.read() as rows:
            at_key = None if request.is_copy else rows.asset_at(request.key)
            return at_key, at_key or rows.known(digest), rows.free_uid(digest)

    def _put(self, arrival: _Arrival, uid: str, batch: _Batch, taken: Taken | None) -> _Admitted:
        library, placed, seen = self._library, self._place(arrival, uid, batch, taken), None
        try:
            if not placed.is_bare:
                seen = library.storage.stat(library.sidecar_key(placed.key))
            asset = library.create_sidecar(self._new_asset(placed, uid), batch.writes)
            if placed.is_bare and asset.sidecar_file is None:  # somebody saved one there meanwhile
                seen = library.storage.stat(library.sidecar_key(placed.key))
                asset = self._new_asset(replace(placed, is_bare=False), uid)
        except BaseException:
            if placed.is_new:
                library.storage.delete(placed.key)
            raise
        own_row = [row.id for row in asset.all_provenance] == [arrival.provenance_id]
        is_unheard = own_row and asset.facts == arrival.request.facts
        return _Admitted(arrival.request, asset, placed.is_new, is_unheard=is_unheard, seen=seen)

    def _stamp(self, arrival: _Arrival, uid: str) -> _Arrival:
        """Fill the marker that was reserved while the copy was made."""
        staged, reading = arrival.staged, arrival.reading
        if staged is None or not reading.slots:
            return arrival
        value = _marker(arrival.request, arrival.provenance_id, arrival.created_at, uid, reading.digest)
        if len(uid) != _UID_WIDTH:  # the short uid was taken: this marker is longer than the room we kept
            wider = self._library.storage.stage()
            staged.file.seek(0)
            reading = media.read(staged.file, wider.file, marker_bytes=len(value), name=arrival.request.key)
            staged.discard()
            arrival = replace(arrival, staged=wider, reading=reading)
            staged = wider
        with self._library.storage.writing():
            media.fill_marker(staged.file, reading, value)
        return arrival

    def _place(self, arrival: _Arrival, uid: str, batch: _Batch, taken: Taken | None) -> _Placed:
        """Give the file its key: the wanted one, or one with the uid in it where another file has that."""
        request, storage = arrival.request, self._library.storage
        if arrival.staged is None:
            return _Placed(arrival, request.key, arrival.stat)
        for key in _candidate_keys(request.key, uid):
            is_free = taken is not None and key == request.key and fold(key) not in taken.folds
            if fold(key) in batch.folds or not (is_free or not self._is_taken(key)):
                continue
            beside = self._beside(key, uid)
            if beside == "another's":
                continue
            try:
                stat = storage.place(arrival.staged, key, batch.writes)
                return _Placed(arrival, key, stat, is_new=True, is_bare=beside == "nothing")
            except FileExistsError:
                adopted = self._adopt(key, uid, arrival)
                if adopted is not None:
                    return _Placed(adopted, key, adopted.stat)
        raise AssertionError("there is always another name")  # pragma: no cover

    def _is_owned(self, key: str, uid: str) -> bool:
        """Tell whether a key belongs to an asset whose file is gone, or to a sidecar of something else."""
        return self._is_taken(key) or self._beside(key, uid) == "another's"

    def _is_taken(self, key: str) -> bool:
        with self._library.read() as rows:
            return rows.is_taken(key)

    def _beside(self, key: str, uid: str) -> Literal["nothing", "its own", "another's"]:
        """Tell whose sidecar lies where that of the file at a key belongs.

        Projects that share an assets folder share no file: the uid of equal content is equal in both.
        """
        if not self._library.storage.exists(self._library.sidecar_key(key)):
            return "nothing"
        try:
            found = self._library.read_sidecar(key)
        except InvalidSidecar:
            return "another's"
        if found is None:
            return "nothing"
        is_foreign = found.project not in (None, self._library.ledger.project_id)
        return "another's" if is_foreign or found.uid != uid else "its own"

    def _free(self, uid: str | None) -> str | None:
        if uid is None:
            return None
        with self._library.read() as rows:
            return uid if rows.asset(uid) is None else None

    def _refuse_foreign(self, key: str) -> None:
        """Refuse a file in place that another project of this ledger, or by its sidecar any other, has.

        Raises:
            PathConflict: it belongs to another project.
        """
        with self._library.read() as rows:
            project = rows.other_owner(key)
        with suppress(InvalidSidecar):
            found = self._library.read_sidecar(key)
            stated = found.project if found is not None else None
            project = project or (stated if stated != self._library.ledger.project_id else None)
        if project is not None:
            why = f"it belongs to the project {project!r}; register a copy of it"
            raise PathConflict(path=key, why=why)

    def _uid_beside(self, key: str) -> str | None:
        """Return the uid that the sidecar of a file in place gives it, if no other asset has that."""
        try:
            found = self._library.read_sidecar(key)
        except InvalidSidecar:
            return None
        if found is None or found.uid is None:
            return None
        return self._free(found.uid)

    def _adopt(self, key: str, uid: str, arrival: _Arrival) -> _Arrival | None:
        """Return the arrival as the file that lies at ``key``, if that has the same content and no owner.

        That is what a killed run leaves; its marker tells which provenance id it was about to record.
        """
        if self._library.storage.stat(key) is None:
            return None
        try:
            with self._library.storage.open(key) as source:
                reading = media.read(source.file, name=key)
                source.check_unchanged()
        except (ComfyVNError, OSError):
            return None
        if reading.digest != arrival.reading.digest:
            return None
        left = _parse_marker(reading.marker)
        provenance_id, created_at = left.get("provenance_id"), left.get("created_at")
        if left.get("uid") == uid and isinstance(provenance_id, int) and isinstance(created_at, str):
            with self._library.read() as rows:
                is_free = 0 < provenance_id < 2**53 and not rows.taken_provenance_ids([provenance_id])
            if is_free:
                arrival = replace(arrival, provenance_id=provenance_id, created_at=created_at)
        return replace(arrival, reading=reading, stat=source.stat, staged=None)

    def _new_asset(
        self, placed: _Placed, uid: str, said: Sidecar | None = None, rows: Reader | None = None
    ) -> Asset:
        """Put together the asset that is to be recorded; what a sidecar beside the file says is kept."""
        arrival, key = placed.arrival, placed.key
        request, reading = arrival.request, arrival.reading
        asset = Asset(
            id=arrival.asset_id,
            project_id=self._library.ledger.project_id,
            uid=uid,
            type=request.type,
            key=key,
            digest=reading.digest,
            size_bytes=reading.size_bytes,
            facts=_of_others(request.facts, uid),
            created_at=arrival.created_at,
            updated_at=arrival.created_at,
            version=request.version,
            preview=self._library.planned_preview(uid, reading.preview_kind),
            file=placed.stat,
            is_in_place=not request.is_copy,
            media=self._library.first_media(reading, is_in_place=not request.is_copy),
        )
        found = said if said is not None or placed.is_bare else self._sidecar_in_place(key)
        if found is None and request.is_rebuild and uid == request.wanted_uid:
            other = self._library.read_other_record(key)
            found = other if other is not None and other.uid == uid else None
        if found is not None:
            asset = self._inherit(asset, found, request, rows)
        is_told = found is not None and found.uid == uid and bool(found.payload.get("schema"))
        tells_anew = found is not None and _is_of_older_content(found, reading.digest)
        tells_anew &= "generation" in request.claim.inputs
        if request.is_rebuild and not tells_anew and (asset.provenance is not None or is_told):
            return asset  # nothing is invented: it had none before
        history, row_id = asset.all_provenance, arrival.provenance_id
        if any(row.id == row_id for row in history):  # the file was adopted, with the id in its marker
            if _has_claim(asset, request.claim):
                return asset
            row_id = self._library.ledger.reserve_ids(1)[0]
        newest = provenance_row(asset, request.claim, row_id, arrival.created_at)
        if tells_anew and asset.versions:
            present, *older = asset.versions
            asset = replace(asset, versions=(replace(present, provenance_id=row_id), *older))
        return asset.with_provenance((newest, *history))

    def _inherit(self, asset: Asset, found: Sidecar, request: Request, reader: Reader | None = None) -> Asset:
        """Give a new asset what the sidecar beside its file says: facts, version, dates, ids, provenance."""
        facts = merge_registered(
            found.facts,
            _of_others(request.facts, asset.uid),
            license_given=request.facts.license is not None,
            limits=self._library.limits,
        )
        ceiling = id_floor(time.time() + _DAY_S)  # an id from the future would push all later ones ahead
        with nullcontext(reader) if reader is not None else self._library.read() as rows:
            wanted = found.asset_id if found.uid == asset.uid else None
            asset_id = wanted if wanted and wanted < ceiling and not rows.has_id(wanted) else asset.id
            # a removed asset's provenance stays in the ledger
            kept = [row for row in rows.provenance_of(asset.uid) if row.asset_id == asset_id]
            asset = replace(asset, id=asset_id).with_provenance(kept)
            told = rows_told(found.provenance, asset, rows, self._library.ledger.reserve_ids)
            told = sorted([*kept, *told], key=lambda row: -row.id)
        is_repainted = _is_of_older_content(found, asset.digest)
        version = max(asset.version, found.version + (1 if is_repainted else 0))
        whole = replace(
            asset,
            facts=facts,
            version=version,
            versions=_versions_told(asset, version, found),
            preview=asset.preview if is_repainted else self._preview_left(asset, found),
            created_at=found.created_at or asset.created_at,
            updated_at=found.updated_at or asset.updated_at,
        ).with_provenance(told)
        has_look = whole.preview.state == "ready" and bool(whole.media)
        return with_kept_facts(self._library, whole) if has_look else whole

    def _preview_left(self, asset: Asset, found: Sidecar) -> Preview:
        """Return the preview as ready if its files are still there, made by today's recipe."""
        described, preview = found.payload.get("preview"), asset.preview
        recipe = described.get("recipe") if isinstance(described, dict) else None
        paths = self._library.preview_paths(asset)
        is_left = (
            found.uid == asset.uid and recipe == preview.recipe and all(path.is_file() for path in paths)
        )
        return replace(preview, state="ready") if is_left and preview.state == "pending" else preview

    def _sidecar_in_place(self, key: str) -> Sidecar | None:
        """Return the sidecar that already lies beside a file; a broken one is copied aside."""
        try:
            return self._library.read_sidecar(key)
        except InvalidSidecar as error:
            self._library.set_aside(self._library.sidecar_key(key), error)
            return None

    def _record(self, batch: _Batch) -> Iterator[Outcome]:
        """Sync, record and announce a batch, start its previews, and yield its outcomes in order."""
        recorded, settled = iter(self._record_batch(batch)), batch.outcomes.copy()
        batch.clear()
        for outcome in settled:
            yield next(recorded) if outcome is None else outcome

    def _record_batch(self, batch: _Batch) -> list[Outcome]:
        if not batch.admitted:
            return []
        try:
            batch.writes.sync()
            with self._library.transaction(self._operation_id) as change:
                # a removal may have taken the file that we adopted: it moves files under this lock
                is_there = self._library.storage.exists
                there = [each for each in batch.admitted if is_there(each.asset.key)]
                done = self._insert(change, _on_time(change.rows, there))
        except (ComfyVNError, OSError) as error:
            return [
                Outcome(each.request, "failed", error=_named(error, each.request)) for each in batch.admitted
            ]
        POOL.submit(self._library, [asset for asset in done.values() if isinstance(asset, Asset)])
        return [self._outcome(each, done.get(each.asset.key)) for each in batch.admitted]

    def _outcome(self, admitted: _Admitted, made: Asset | ComfyVNError | OSError | None) -> Outcome:
        if made is None:
            try:
                return self._give_way(admitted)
            except (ComfyVNError, OSError) as error:  # its folder is gone, or leads elsewhere now
                return Outcome(admitted.request, "failed", error=_named(error, admitted.request))
        if isinstance(made, Asset):
            return Outcome(admitted.request, "registered", made)
        return Outcome(admitted.request, "failed", error=_named(made, admitted.request))

    def _insert(
        self, change: Transaction, batch: list[_Admitted]
    ) -> dict[str, Asset | ComfyVNError | OSError]:
        """Record new assets; return by key what was recorded of each, or why its sidecar can't be written.

        One whose sidecar was saved by somebody since it was read is left out, to be registered anew.
        """
        made = {each.asset.key: self._with_sidecar(change, each) for each in batch}
        done = {key: each for key, each in made.items() if each is not None}
        assets = [asset for asset in done.values() if isinstance(asset, Asset)]
        left = {each.asset.key for each in batch if each.had_sidecar}
        change.rows.insert(assets)
        for asset in assets:
            self._library.tell_registered(change, asset)
            if asset.key not in left:
                self._library.tell_sidecar_written(change, asset)
        return done

    def _with_sidecar(
        self, change: Transaction, admitted: _Admitted
    ) -> Asset | ComfyVNError | OSError | None:
        """Write over the sidecar that lay beside a file before it came in; see `Library.create_sidecar`."""
        if admitted.asset.sidecar_file is not None:
            return admitted.asset
        over = admitted.seen or self._library.may_lie_beside(admitted.asset)
        try:
            return self._library.replace_sidecar(change, admitted.asset, over=over)
        except (ComfyVNError, OSError) as error:
            lies_there = self._library.storage.stat(self._library.sidecar_key(admitted.asset.key))
            if isinstance(error, FileExistsError) and lies_there != admitted.seen:
                return None
            if admitted.is_new_file:
                with suppress(ComfyVNError, OSError):  # else a rebuild finds it
                    self._library.storage.delete(admitted.asset.key)
            return error

    def _give_way(self, admitted: _Admitted) -> Outcome:
        """Start over a registration that another process overtook; what we placed for it is taken back."""
        asset, library = admitted.asset, self._library
        with library.transaction(self._operation_id) as change:  # nobody records what lies there meanwhile
            if change.rows.asset_at(asset.key) is None:
                if admitted.is_new_file:
                    library.storage.delete(asset.key)
                if admitted.is_new_file or admitted.is_unheard:
                    library.take_created_back(asset)
        arrival = self._try_arrive(admitted.request, library.ledger.reserve_ids(2))
        return next(self._settle(iter([[arrival]])))

    # -- known content --------------------------------------------------------------------------------

    def _meet_again(self, known: Asset, arrival: _Arrival) -> Outcome:
        """Merge what is said of content that the project already knows; restore its file if that is gone."""
        request, library = arrival.request, self._library
        writes = library.new_writes()
        restored = self._restore(known, arrival, writes)
        if self._is_repeatable and restored is None and self._adds_nothing(known, request):
            self._renew_preview(known)
            return Outcome(request, "known", known)
        writes.sync()
        with library.transaction(self._operation_id) as change:
            asset = change.rows.asset(known.uid)
            if asset is None:  # removed since we looked
                raise PathConflict(path=request.source, why="the asset was removed while it was registered")
            if restored is not None:
                asset = self._note_restored(change, asset, *restored)
            if not (self._is_repeatable and _has_claim(asset, request.claim)):
                # minted here, the id is newer than those of other writers; a restored file's marker has one
                row_id = arrival.provenance_id if restored else change.rows.reserve_ids(1)[0]
                asset = self._add_claim(change, asset, arrival, row_id)
            wanted = self._met(asset, request)
            asset = library.change_one(change, asset, wanted, force=True, announce=True)
        self._renew_preview(asset)
        return Outcome(request, "known", asset)

    def _add_claim(self, change: Transaction, asset: Asset, arrival: _Arrival, row_id: int) -> Asset:
        """Add what is said of known content to its provenance, which is only ever appended to.

        What somebody stated stays the current one, and what made the present content is not what made an
        older version that came in once more: such rows are said again after the new one.
        """
        claim, digest, at = arrival.request.claim, arrival.reading.digest, arrival.created_at
        again = list[Provenance]()
        if digest != asset.digest and "generation" in claim.inputs:
            again = [row for row in (row_that_tells(asset), asset.provenance) if row is not None]
        elif asset.provenance is not None and _gives_way(arrival.request, asset.provenance):
            again = [asset.provenance]
        of_content = replace(asset, digest=digest)
        whole = self._library.append_provenance(change, of_content, claim, row_id, at)
        for said in {row.id: row for row in again}.values():
            newer = replace(said, id=change.rows.reserve_ids(1)[0], created_at=at)
            change.rows.add_provenance([newer])
            change.tell("asset_provenance_added", asset, after={"id": newer.id, "source": newer.source})
            whole = whole.with_provenance((newer, *whole.all_provenance))
        return replace(whole, digest=asset.digest)

    def _note_restored(self, change: Transaction, asset: Asset, key: str, stat: FileStat) -> Asset:
        if key != asset.key:
            return self._library.relocate(change, [Move(asset, key, stat)])[0]
        change.tell("asset_restored", asset, before={"missing_since": asset.missing_since})
        return replace(asset, file=stat, missing_since=None)

    def _merge(self, known: Asset, request: Request) -> Facts:
        given, new = request.license_given, _of_others(request.facts, known.uid)
        if request.only_adds:
            origin = new.origin if known.facts.origin is None else known.facts.origin
            new = replace(new, origin=origin, meta={**new.meta, **known.facts.meta})
        return merge_registered(known.facts, new, license_given=given, limits=self._library.limits)

    def _met(self, known: Asset, request: Request) -> Facts:
        """Return the facts of an asset whose content came in once more."""
        merged = self._merge(known, request)
        return replace(known.facts, parents=merged.parents) if request.keeps_known else merged

    def _adds_nothing(self, known: Asset, request: Request) -> bool:
        merged = self._met(known, request)
        has_sidecar = self._library.storage.stat(self._library.sidecar_key(known.key)) == known.sidecar_file
        return has_sidecar and merged == known.facts and _has_claim(known, request.claim)

    def _restore(self, known: Asset, arrival: _Arrival, writes: Writes) -> tuple[str, FileStat] | None:
        """Bring the file of a known asset back if it is gone and this is its present content."""
        storage, request = self._library.storage, arrival.request
        if known.digest != arrival.reading.digest:
            return None
        stat = storage.stat(known.key)
        if stat is not None and known.missing_since is None:
            return None
        if stat is not None:
            if self._digest_at(known.key) == known.digest:
                return (known.key, stat)
            why = f"its asset {known.uid} belongs at {known.key}, where other content lies now"
            raise PathConflict(path=request.source, why=why)
        if arrival.staged is None:
            return (request.key, arrival.stat)  # the file was moved to where it now lies
        staged = self._stamp(arrival, known.uid).staged  # another one where the uid is a long one
        assert staged is not None
        try:
            with staged:
                return (known.key, storage.place(staged, known.key, writes))
        except FileExistsError as error:
            why = f"its asset {known.uid} belongs at {known.key}, where something else lies now"
            raise PathConflict(path=request.source, why=why) from error

    def _digest_at(self, key: str) -> str:
        with self._library.storage.open(key) as source:
            return media.read(source.file, name=key).digest

    def _take_new_version(self, asset: Asset, arrival: _Arrival) -> Outcome:
        """Record that an asset's file has new content: it was painted over in place."""
        library, request, reading = self._library, arrival.request, arrival.reading
        with library.transaction(self._operation_id) as change:
            current = change.rows.asset(asset.uid)
            if current is None:
                raise PathConflict(path=request.source, why="the asset was removed while it was looked at")
            told = self._told_of(current, reading.digest)
            version = told.version if told else current.version + 1
            newer = replace(
                current,
                digest=reading.digest,
                size_bytes=reading.size_bytes,
                version=version,
                preview=library.planned_preview(current.uid, reading.preview_kind),
                media=library.first_media(reading, is_in_place=current.is_in_place),
                file=arrival.stat,
                missing_since=None,
                updated_at=arrival.created_at,
            )
            if told is None:
                newer = library.append_provenance(
                    change, newer, request.claim, arrival.provenance_id, arrival.created_at
                )
            row_id = None if told else arrival.provenance_id
            made = Version(version, newer.digest, newer.size_bytes, arrival.created_at, row_id)
            of_sidecar = {each.version: each for each in told.versions} if told else {}
            present = of_sidecar.get(version, made)
            newer = replace(newer, versions=(present, *current.all_versions))
            change.rows.add_versions(newer, [present])
            change.tell(
                "asset_content_changed",
                newer,
                before={"hash": current.digest, "version": current.version},
                after={"hash": newer.digest, "version": newer.version},
            )
            wanted = self._merge(current, request)
            newer = library.change_one(change, newer, wanted, force=True, announce=True)
        for path in set(library.cached_paths(current)) - set(library.cached_paths(newer)):
            path.unlink(missing_ok=True)  # it was of another kind: a sound that is a picture now
        POOL.submit(library, [newer])
        return Outcome(request, "updated", newer)

    def _told_of(self, asset: Asset, digest: str) -> Sidecar | None:
        """Return the asset's sidecar if it knows of new content already: an older ledger was put back."""
        try:
            found = self._library.read_sidecar(asset.key)
        except InvalidSidecar:
            return None
        is_told = found is not None and found.uid == asset.uid and found.digest == digest
        return found if is_told and found is not None and found.version > asset.version else None

    def _renew_preview(self, asset: Asset) -> None:
        """Queue a preview that a killed run left pending, or whose files were deleted."""
        if need_of(self._library, asset) == "missing":
            # its file may have been removed meanwhile; it was registered all the same
            with suppress(ComfyVNError, OSError):
                renew(self._library, asset)


def _is_of_older_content(found: Sidecar, digest: str | None) -> bool:
    """Tell whether a sidecar of ours was written for other content than the file beside it has now."""
    return found.digest not in (None, digest) and bool(found.payload.get("schema"))


def _of_others(facts: Facts, uid: str) -> Facts:
    """Return facts without the asset itself among its parents: a script may name content that came back."""
    parents = tuple(each for each in facts.parents if each.uid != uid)
    return facts if len(parents) == len(facts.parents) else replace(facts, parents=parents)


def _marker(request: Request, provenance_id: int, created_at: str, uid: str, digest: str) -> bytes:
    return marker_value(request.claim, provenance_id, created_at, uid, digest)


def _versions_told(asset: Asset, present: int, found: Sidecar) -> tuple[Version, ...]:
    """Return the versions of an asset that comes back: those of its sidecar below the present one."""
    known = {each.version: each for each in found.versions}
    if found.digest is not None and found.version not in known:
        at = found.created_at or asset.created_at
        known[found.version] = Version(found.version, found.digest, found.size_bytes or 0, at)
    is_ours = bool(found.payload.get("schema"))
    told = known.pop(present, None)
    if told is not None and told.digest != asset.digest and not is_ours:
        known[0] = replace(told, version=0)
    if told is None or told.digest != asset.digest:
        told = Version(present, asset.digest, asset.size_bytes, asset.updated_at)
    older = sorted((each for each in known.values() if each.version < present), key=_by_version)
    return (told, *older) if older else ()


def _by_version(version: Version) -> int:
    return -version.version


def _on_time(rows: Reader, batch: list[_Admitted]) -> list[_Admitted]:
    """Return those of a batch that can be recorded: nobody has their content, name or ids by now.

    Ids come from sidecars and markers, so two files may claim the same: a sidecar was copied together with
    its file, or two writers found one file and the asset that the other made of it was removed again.
    """
    assets = [admitted.asset for admitted in batch]
    taken = rows.taken(
        [asset.uid for asset in assets],
        [asset.key for asset in assets],
        [asset.digest for asset in assets],
    )
    row_ids = set(rows.taken_provenance_ids(row.id for each in batch for row in each.asset.all_provenance))
    ids: set[int | str] = set()
    fresh: list[_Admitted] = []
    for each in batch:
        own_row_ids = {row.id for row in each.asset.all_provenance}
        is_claimed = not ids.isdisjoint((each.asset.id, each.asset.uid))
        if row_ids & own_row_ids:  # those of its own removal it may have again
            is_claimed |= not row_ids & own_row_ids <= _kept_row_ids(rows, each.asset)
        if is_claimed or _is_late(taken, each):
            continue
        ids.update((each.asset.id, each.asset.uid))
        row_ids |= own_row_ids
        fresh.append(each)
    return fresh


def _kept_row_ids(rows: Reader, asset: Asset) -> set[int]:
    """Return the ids of the provenance that stayed when an asset was removed."""
    return {row.id for row in rows.provenance_of(asset.uid) if row.asset_id == asset.id}


def _is_late(taken: Taken, admitted: _Admitted) -> bool:
    """Tell whether another process recorded this content, uid or name since we looked."""
    asset, request = admitted.asset, admitted.request
    if asset.uid in taken.uids or asset.key in taken.keys:
        return True
    if request.is_copy and fold(asset.key) in taken.folds:
        return True
    return not request.is_rebuild and asset.digest in taken.digests


def _at_once(work: Callable[[_A], _B], argument: _A) -> Future[_B]:
    """Do it here and now; the outcome, as a thread would give it."""
    done: Future[_B] = Future()
    done.set_result(work(argument))
    return done


def _is_small(path: Path) -> bool:
    """Tell a file that is read faster than it is handed to a thread; reading tells what is wrong with it."""
    try:
        return path.stat().st_size < _SMALL_BYTES
    except (OSError, ValueError):
        return True


def _discard(arrivals: Iterable[_Arrival | Outcome]) -> None:
    for arrival in arrivals:
        if isinstance(arrival, _Arrival):
            arrival.discard()


def _short_uid(digest: str) -> str:
    """Return the uid that content gets unless another asset has it already."""
    return digest[:_UID_WIDTH]


def _refuse_empty(source: Source) -> None:
    """An empty file is what a failed export leaves; all of them would be one asset."""
    if source.stat.size_bytes == 0:
        raise SourceUnreadable(path=source.path, why="the file is empty (0 bytes); export it again")


def _parse_marker(value: bytes | None) -> dict[str, Any]:
    try:
        parsed = json.loads(value or b"{}")
    except (ValueError, RecursionError):
        return {}
    return parsed if isinstance(parsed, dict) else {}


def _candidate_keys(key: str, uid: str) -> Iterator[str]:
    yield key
    yield numbered_key(key, uid[:8])
    for number in itertools.count(2):
        yield numbered_key(key, f"{uid[:8]}-{number}")


def _has_claim(asset: Asset, claim: ProvenanceClaim) -> bool:
    """Tell whether a provenance row of the asset already says what the claim says."""
    return any(
        row.source == claim.source
        and row.workflow_hash == claim.workflow_hash
        and {name: value for name, value in row.inputs.items() if name not in ("asset_uid", "asset_hash")}
        == dict(claim.inputs)
        for row in asset.all_provenance
    )


def _gives_way(request: Request, current: Provenance) -> bool:
    """Tell whether a claim whose source nobody stated meets provenance whose source somebody did state."""
    if request.unstated is None:
        return False
    told = current.inputs.get("generation")
    named = [told.get(name) for name in ("tool", "tool_version")] if isinstance(told, Mapping) else []
    read = " ".join(each for each in named if isinstance(each, str))
    return current.source not in {UNSPECIFIED, read, request.claim.source, *request.unstated}


def _named(error: ComfyVNError | OSError, request: Request) -> ComfyVNError | OSError:
    """Give an error of the operating system the name of the user's file and a sentence.

    A disk of the library that takes nothing is no fault of the file.
    """
    left = f"{request.source} could not be registered"
    if isinstance(error, StorageUnwritable):
        return StorageUnwritable(path=error.fields["path"], why=f"{error.fields['why']}; {left}")
    if isinstance(error, ComfyVNError):
        return error
    if error.errno in _OF_THE_DISK:
        return StorageUnwritable(path="the library", why=f"{error.strerror}; {left}")
    return SourceUnreadable(path=request.source, why=f"it could not be registered: {error.strerror or error}")
