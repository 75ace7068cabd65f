"""The ledger: what the registry asks of its database and writes to it.

SQL stands here and, for filters, facets, the lineage and fingerprints, in `comfyvn.db.filters`,
`comfyvn.db.facets`, `comfyvn.db.lineage` and `comfyvn.db.fingerprints`. Functions take values and
give values. A `Reader` sees one state of the ledger; a `Writer` is a reader inside one write transaction.
Lists page by key (``id < last``), never by offset; filters run in SQL.
"""

from __future__ import annotations

import json
import sqlite3
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from operator import itemgetter
from typing import Any, Final, NamedTuple, TypeVar

import orjson

from comfyvn.db.engine import Engine
from comfyvn.db.facets import FacetCounts, Facets, TermMemory
from comfyvn.db.filters import Filters
from comfyvn.db.fingerprints import Fingerprints
from comfyvn.db.lineage import PARENTS, Lines, parents_of
from comfyvn.db.terms import (
    CODE_LENGTH,
    TermKind,
    decode_terms,
    encode_terms,
    fold_term,
    search_text,
    seed_of,
    terms_of,
)
from comfyvn.model import (
    EVERYTHING,
    Asset,
    AssetFilter,
    Facts,
    FileStat,
    Preview,
    PreviewKind,
    PreviewState,
    Provenance,
    Sort,
    Version,
    fold,
    id_floor,
    uid_candidates,
)

__all__ = [
    "ACTING",
    "FacetCounts",
    "FileRow",
    "JournalEntry",
    "JournalRow",
    "Ledger",
    "Operation",
    "Reader",
    "Taken",
    "Writer",
]

ACTING: Final[ContextVar[str | None]] = ContextVar("comfyvn_acting", default=None)
"""Whom the journal names for changes of this task or thread; else the one whom the `Ledger` was given."""
_CHUNK: Final = 500
_LARGEST: Final = 2**63 - 1
_FIRST_ROWS: Final = 8
_LONG_ROW: Final = 20_000
_IDS_CHUNK: Final = 65_536
_T = TypeVar("_T")
_Row = tuple[Any, ...]

_INDEXED_COLUMNS: Final = ("project_id", "uid", "path_full", "path_fold")
"""SQLite writes the indexes of each column that an UPDATE names, even with its old value."""
_OTHER_COLUMNS: Final = (
    *("type", "path_thumb", "hash", "bytes", "created_at", "meta", "updated_at", "version", "license_fold"),
    *(
        "extra",
        "provenance_id",
        "preview_kind",
        "preview_state",
        "preview_reason",
        "preview_recipe",
        "mirror_key",
    ),
    *("file_size", "file_mtime_ns", "file_inode", "sidecar_size", "sidecar_mtime_ns", "sidecar_inode"),
    *("is_in_place", "missing_since", "media", "generation", "seed"),
)
_ASSET_COLUMNS: Final = (*_INDEXED_COLUMNS, *_OTHER_COLUMNS)
_PROVENANCE_COLUMNS: Final = (
    *("id", "project_id", "asset_id", "asset_uid", "source", "workflow_hash", "commit_hash", "inputs_json"),
    *("c2pa_like", "user_id", "created_at"),
)
_VERSION_COLUMNS: Final = (
    *("asset_id", "version", "project_id", "hash", "bytes", "created_at", "provenance_id"),
)
_JOURNAL_COLUMNS: Final = (
    *("seq", "at", "actor", "event", "uid", "asset_id", "operation_id", "before_json", "after_json"),
)
_NEWEST_COLUMNS: Final = ("source", "workflow_hash", "commit_hash", "user_id", "created_at")


def _insert(table: str, columns: Sequence[str]) -> str:
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"


def _set(columns: Sequence[str]) -> str:
    return ", ".join(f"{name} = ?" for name in columns)


_SELECT_ASSET: Final = (
    f"SELECT a.id, {', '.join(f'a.{name}' for name in _ASSET_COLUMNS)},"
    f" {', '.join(f'n.{name}' for name in _NEWEST_COLUMNS)}, {PARENTS}"
)
_ASSETS: Final = f"{_SELECT_ASSET} FROM assets_registry a LEFT JOIN provenance n ON n.id = a.provenance_id"
_LISTED: Final = "IN (SELECT value FROM json_each(?))"
_INSERT_ASSET: Final = _insert("assets_registry", ("id", *_ASSET_COLUMNS))
_UPDATE_WHOLE: Final = f"UPDATE assets_registry SET {_set(_ASSET_COLUMNS)} WHERE id = ?"
_UPDATE_OTHERS: Final = f"UPDATE assets_registry SET {_set(_OTHER_COLUMNS)} WHERE id = ?"
_SET_PREVIEW: Final = (
    "UPDATE assets_registry SET preview_kind = ?, preview_state = ?, preview_reason = ?, preview_recipe = ?,"
    " path_thumb = ?, media = ? WHERE id = ? AND version = ?"
)
_UPDATE_TEXT: Final = "UPDATE asset_text SET folded = ? WHERE asset_id = ?"
_SELECT_PROVENANCE: Final = f"SELECT {', '.join(_PROVENANCE_COLUMNS)} FROM provenance"
_SELECT_JOURNAL: Final = f"SELECT {', '.join(_JOURNAL_COLUMNS)} FROM asset_journal"
_KNOWN_UID: Final = (
    "SELECT a.uid FROM asset_versions v JOIN assets_registry a ON a.id = v.asset_id"
    " WHERE v.project_id = ? AND v.hash = ?"
    " ORDER BY a.hash != v.hash, a.missing_since IS NOT NULL, a.id LIMIT 1"
)
_SIDECAR_WRITTEN: Final = "asset_sidecar_written"
_ORDERS: Final[dict[Sort, str]] = {
    "name": "a.path_fold, a.id",
    "largest": "a.bytes DESC, a.id DESC",
    "changed": "a.updated_at DESC, a.id DESC",
}


@dataclass(frozen=True, slots=True)
class Taken:
    """What of some new assets the ledger has already: uids, keys, folded keys, digests of any version."""

    uids: frozenset[str]
    keys: frozenset[str]
    folds: frozenset[str]
    digests: frozenset[str]


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """One change, as the journal keeps it: what was, what is, and to which operation it belongs."""

    event: str
    uid: str
    asset_id: int
    operation_id: int
    before: Mapping[str, Any] | None = None
    after: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class JournalRow:
    """One row of the journal. ``seq`` grows in the order of the commits; ``at`` is UTC (ISO 8601, ms)."""

    seq: int
    at: str
    actor: str | None
    event: str
    uid: str
    asset_id: int
    operation_id: int
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Operation:
    """What one operation did: when it ended, whose it was, how many rows of each event, how many assets.

    ``first_rows`` are the first of its rows in the journal, but for very long ones and written sidecars, and
    ``first_key`` is where the asset of the first lies now, if it does. ``undone_by`` is the newest operation
    that took back what it did to one of those assets.
    """

    operation_id: int
    at: str
    actor: str | None
    events: Mapping[str, int]
    assets: int
    undoes: int | None
    undone_by: int | None
    first_rows: tuple[JournalRow, ...]
    first_key: str | None


class FileRow(NamedTuple):
    """What a rescan compares of one asset; sizes in bytes, times in ns, None when not known."""

    key: str
    uid: str
    file_size: int | None
    file_mtime_ns: int | None
    file_inode: int | None
    sidecar_size: int | None
    sidecar_mtime_ns: int | None
    sidecar_inode: int | None
    mirror_key: str | None
    is_missing: bool
    preview_kind: PreviewKind | None
    preview_state: PreviewState
    preview_recipe: int
    has_media: bool
    facts_recipe: int | None


class CardRow(NamedTuple):
    """What a gallery shows of one asset; ``meta`` as old releases have it, with tags and licence."""

    id: int
    uid: str
    type: str
    key: str
    size_bytes: int
    version: int
    preview_kind: PreviewKind | None
    preview_state: PreviewState
    preview_recipe: int
    missing_since: str | None
    created_at: str
    updated_at: str
    meta: Mapping[str, Any]
    media: Mapping[str, Any]


class Ledger:
    """The rows of one project in one database."""

    def __init__(self, engine: Engine, project_id: str, actor: str | None) -> None:
        self.engine = engine
        self.project_id = project_id
        self.actor = actor
        self._terms = TermMemory(project_id)

    @contextmanager
    def read(self) -> Iterator[Reader]:
        """Give a reader of one state of the ledger."""
        with self.engine.read() as connection:
            yield Reader(connection, self.project_id, self._terms)

    @contextmanager
    def write(self, *, is_durable: bool = True) -> Iterator[Writer]:
        """Give a writer inside one write transaction; see `Engine.write`."""
        with self.engine.write(is_durable=is_durable) as connection:
            yield Writer(connection, self.project_id, ACTING.get() or self.actor)

    def reserve_ids(self, count: int) -> range:
        """Reserve ids that no process has had or will have: time-ordered, below 2**53.

        They are needed before the row is written (marker and sidecar carry them). A power cut may lose the
        reservation; the clock then keeps the ids apart.
        """
        with self.write(is_durable=False) as rows:
            return rows.reserve_ids(count)

    def iterate(self, wanted: AssetFilter = EVERYTHING) -> Iterator[Asset]:
        """Yield assets, newest first, in batches: memory does not grow with the library."""
        before_id = None
        while True:
            with self.read() as rows:
                batch = rows.find(wanted, limit=_CHUNK, before_id=before_id)
            yield from batch
            if len(batch) < _CHUNK:
                return
            before_id = batch[-1].id

    def iterate_ids(self, wanted: AssetFilter = EVERYTHING, sort: Sort = "newest") -> Iterator[array[int]]:
        """Yield the ids of assets that match, in arrays of at most 65,536."""
        if sort != "newest":
            with self.read() as rows:
                found = rows.sorted_ids(wanted, sort)
            yield from (found[at : at + _IDS_CHUNK] for at in range(0, len(found), _IDS_CHUNK))
            return
        before_id = None
        while True:
            with self.read() as rows:
                batch = rows.ids(wanted, limit=_IDS_CHUNK, before_id=before_id)
            if batch:
                yield batch
            if len(batch) < _IDS_CHUNK:
                return
            before_id = batch[-1]

    def iterate_below(self, keys: Iterable[str]) -> Iterator[Asset]:
        """Yield the assets at some keys and, where a key is a folder's, those below it."""
        for key in keys:
            after = ""
            while True:
                with self.read() as rows:
                    batch = rows.below(key, after, _CHUNK)
                yield from batch
                if len(batch) < _CHUNK:
                    break
                after = batch[-1].key


class Reader:
    """Questions to one state of the ledger; ``lines`` answers those about lineage, ``prints`` about looks."""

    def __init__(
        self, connection: sqlite3.Connection, project_id: str, memory: TermMemory | None = None
    ) -> None:
        self._connection = connection
        self._project_id = project_id
        self._filters = Filters(connection, project_id)
        self._facets = Facets(connection, self._filters, memory)
        self.lines = Lines(connection, project_id)
        self.prints = Fingerprints(connection, project_id)

    def find(
        self, wanted: AssetFilter, *, limit: int | None = None, before_id: int | None = None
    ) -> list[Asset]:
        """Return assets that match, newest id first, without the inputs of their provenance.

        Args:
            wanted: the conditions.
            limit: at most so many.
            before_id: only assets with a smaller id: the last one of the page before.
        """
        search = self._filters.search(wanted)
        if search is None:
            return []
        ids, values = self._filters.ids(search, before_id, limit)
        query = (
            f"{_SELECT_ASSET} FROM ({ids}) x CROSS JOIN assets_registry a ON a.id = x.id"
            " LEFT JOIN provenance n ON n.id = a.provenance_id"
        )
        found = sorted(self._connection.execute(query, values), key=itemgetter(0), reverse=True)
        return [_asset(row) for row in found]  # they come sorted, but SQLite promises that only for ORDER BY

    def ids(self, wanted: AssetFilter, *, limit: int, before_id: int | None = None) -> array[int]:
        """Return the ids of assets that match, newest first; conditions as in `find`."""
        search = self._filters.search(wanted)
        if search is None:
            return array("q")
        rows = self._connection.execute(*self._filters.ids(search, before_id, limit)).fetchall()
        return array("q", [row[0] for row in rows])

    def sorted_ids(self, wanted: AssetFilter, sort: Sort) -> array[int]:
        """Return the ids of all assets that match, in some order; conditions as in `find`."""
        search = self._filters.search(wanted)
        if search is None:
            return array("q")
        ids, values = self._filters.ids(search, is_whole=True)
        if (order := _ORDERS.get(sort)) is not None:
            assets = f"({ids}) x CROSS JOIN assets_registry a ON a.id = x.id"
            if wanted == EVERYTHING:  # by the index of that order, if there is one
                assets, values = "assets_registry a WHERE a.project_id = ?", [self._project_id]
            ids = f"SELECT a.id FROM {assets} ORDER BY {order}"
        found = array("q", [row[0] for row in self._connection.execute(ids, values).fetchall()])
        return found[::-1] if sort == "oldest" else found

    def count(self, wanted: AssetFilter = EVERYTHING) -> int:
        """Return how many assets match."""
        return self._facets.total(wanted)

    def facets(self, wanted: AssetFilter, top_tags: int) -> FacetCounts:
        """Count the types, licences and the most frequent tags of what a filter finds; see `FacetCounts`."""
        return self._facets.count(wanted, top_tags)

    def facets_among(self, ids: Sequence[int], top_tags: int) -> FacetCounts:
        """Count the types, licences and the most frequent tags of some assets by row id, each named once."""
        return self._facets.count_among(ids, top_tags)

    def asset(self, uid: str) -> Asset | None:
        """Return one asset with all of its provenance."""
        return self._one("a.uid = ?", uid) if _is_text(uid) else None

    def asset_at(self, key: str) -> Asset | None:
        """Return the asset that owns a key, with all of its provenance."""
        return self._one("a.path_full = ?", key)

    def asset_with_id(self, asset_id: int) -> Asset | None:
        """Return the asset with a row id, with all of its provenance."""
        return self._one("a.id = ?", asset_id)

    def assets(self, uids: Iterable[str]) -> Iterator[Asset]:
        """Yield the known ones of some assets, with all of their provenance, in no order."""
        for chunk in _chunks((uid for uid in uids if _is_text(uid)), _CHUNK):
            rows = self._mine(f"{_ASSETS} WHERE a.project_id = ? AND a.uid {_LISTED}", _dump(chunk))
            yield from self._whole([_asset(row) for row in rows])

    def page_by_uid(self, after_uid: str, limit: int) -> list[Asset]:
        """Return assets with all of their provenance and versions, in the order of their uids.

        Args:
            after_uid: only assets behind this uid; "" for the first page.
            limit: at most so many.
        """
        query = f"{_ASSETS} WHERE a.project_id = ? AND a.uid > ? ORDER BY a.uid LIMIT ?"
        return self._whole([_asset(row) for row in self._mine(query, after_uid, limit)])

    def file_rows(self, after_key: str, limit: int) -> list[FileRow]:
        """Return what a rescan compares of assets, in the order of their keys (by code point).

        Args:
            after_key: only assets behind this key; "" for the first page.
            limit: at most so many.
        """
        rows = self._mine(
            "SELECT path_full, uid, file_size, file_mtime_ns, file_inode, sidecar_size, sidecar_mtime_ns,"
            " sidecar_inode, mirror_key, missing_since IS NOT NULL, preview_kind, preview_state,"
            " preview_recipe, media IS NOT NULL, json_extract(media, '$.recipe') FROM assets_registry"
            " WHERE project_id = ? AND path_full > ? ORDER BY path_full LIMIT ?",
            after_key,
            limit,
        )
        return list(map(FileRow._make, rows))

    def uids_from(self, prefix: str, limit: int) -> list[str]:
        """Return uids that begin with some text, in order."""
        query = "SELECT uid FROM assets_registry WHERE project_id = ? AND uid BETWEEN ? AND ?"
        bounds = (prefix, f"{prefix}\U0010ffff")
        return self._texts(f"{query} ORDER BY uid LIMIT ?", *bounds, limit) if _is_text(prefix) else []

    def most_tags(self, uids: Iterable[str]) -> int:
        """Return how many tags the one of some assets has that has most."""
        query = (
            "SELECT max(length(t.codes)) FROM assets_registry a JOIN asset_codes t ON t.asset_id = a.id"
            f" WHERE a.project_id = ? AND a.uid {_LISTED}"
        )
        lengths = [self._mine(query, _dump(chunk)).fetchone()[0] or 0 for chunk in _chunks(uids, _CHUNK)]
        return max(0, max(lengths, default=0) // CODE_LENGTH - 2)  # all have a type and a licence, or none

    def known(self, digest: str) -> Asset | None:
        """Return the asset that has, or once had, this content; the one that has it now comes first."""
        found = self._mine(_KNOWN_UID, digest).fetchone()
        return None if found is None else self.asset(found[0])

    def free_uid(self, digest: str) -> str:
        """Return the uid that new content gets: the shortest prefix of its digest that nobody has."""
        query = "SELECT 1 FROM assets_registry WHERE project_id = ? AND uid = ?"
        return next(uid for uid in uid_candidates(digest) if self._mine(query, uid).fetchone() is None)

    def is_taken(self, key: str) -> bool:
        """Tell whether an asset owns this key, or one that some systems would hold to be the same."""
        query = "SELECT 1 FROM assets_registry WHERE project_id = ? AND path_fold = ?"
        return self._mine(query, fold(key)).fetchone() is not None

    def taken(self, uids: Sequence[str], keys: Sequence[str], digests: Sequence[str]) -> Taken:
        """Tell which of some uids, keys and digests the ledger has already."""
        of_assets = "FROM assets_registry WHERE project_id = ? AND"
        folds = _dump([fold(key) for key in keys])
        paths = self._mine(f"SELECT path_full, path_fold {of_assets} path_fold {_LISTED}", folds).fetchall()
        of_versions = f"SELECT hash FROM asset_versions WHERE project_id = ? AND hash {_LISTED}"
        return Taken(
            uids=frozenset(self._texts(f"SELECT uid {of_assets} uid {_LISTED}", _dump(list(uids)))),
            keys=frozenset(row[0] for row in paths),
            folds=frozenset(row[1] for row in paths),
            digests=frozenset(self._texts(of_versions, _dump(list(digests)))),
        )

    def owners(self, keys: Sequence[str]) -> dict[str, Asset]:
        """Return the assets that own some keys, by key, without the inputs of their provenance."""
        found: dict[str, Asset] = {}
        for chunk in _chunks(keys, _CHUNK):
            query = f"{_ASSETS} WHERE a.project_id = ? AND a.path_full {_LISTED}"
            for row in self._mine(query, _dump(chunk)):
                asset = _asset(row)
                found[asset.key] = asset
        return found

    def below(self, key: str, after: str, limit: int) -> list[Asset]:
        """Return assets at a key or below it as a folder, in the order of keys, behind the key ``after``."""
        query = (
            f"{_ASSETS} WHERE a.project_id = ? AND (a.path_full = ? OR a.path_full > ? AND a.path_full < ?)"
            " AND a.path_full > ? ORDER BY a.path_full LIMIT ?"
        )
        rows = self._mine(query, key, f"{key}/", f"{key}0", after, limit)  # "0" comes right behind "/"
        return [_asset(row) for row in rows]

    def provenance_of(
        self, uid: str, *, limit: int | None = None, before: int | None = None
    ) -> list[Provenance]:
        """Return the provenance rows of an asset's uid, newest first; removed assets keep theirs.

        Args:
            uid: the asset.
            limit: at most so many.
            before: only rows with a smaller id: the last one of the page before.
        """
        if not _is_text(uid):
            return []
        query = f"{_SELECT_PROVENANCE} WHERE project_id = ? AND asset_uid = ? AND id < ?"
        most = _LARGEST if before is None else before
        rows = self._mine(f"{query} ORDER BY id DESC LIMIT ?", uid, most, -1 if limit is None else limit)
        return [_provenance(row) for row in rows]

    def taken_provenance_ids(self, ids: Iterable[int]) -> dict[int, str]:
        """Return which of these provenance ids exist, as ``{id: uid of the asset}``."""
        taken: dict[int, str] = {}
        for chunk in _chunks(ids, _CHUNK):
            query = f"SELECT id, asset_uid FROM provenance WHERE id {_LISTED}"
            taken.update(self._connection.execute(query, (_dump(chunk),)))
        return taken

    def has_id(self, asset_id: int) -> bool:
        """Tell whether a row, of any project, has this id."""
        return self._has("SELECT 1 FROM assets_registry WHERE id = ?", asset_id)

    def other_owner(self, key: str) -> str | None:
        """Return another project of this ledger that has an asset at a key."""
        query = "SELECT project_id FROM assets_registry WHERE project_id = ? AND path_full = ?"
        return next((each for each in self._other_projects() if self._has(query, each, key)), None)

    def is_shared(self, uid: str) -> bool:
        """Tell whether another project of this ledger has an asset with this uid (the same content)."""
        query = "SELECT 1 FROM assets_registry WHERE project_id = ? AND uid = ?"
        return any(self._has(query, each, uid) for each in self._other_projects())

    def library_id(self) -> str | None:
        """Return the id of the library that this project's rows belong to."""
        query = "SELECT value FROM asset_library WHERE name = ?"
        found = self._connection.execute(query, (self._library_name(),)).fetchone()
        return None if found is None else str(found[0])

    # -- journal --------------------------------------------------------------------------------------

    def journal_position(self) -> int:
        """Return the sequence number of the newest row of the journal, of any project; 0 when it is empty."""
        return int(self._one_value("SELECT coalesce(max(seq), 0) FROM asset_journal"))

    def journal_after(self, seq: int, limit: int) -> list[JournalRow]:
        """Return the rows behind a sequence number, oldest first."""
        query = f"{_SELECT_JOURNAL} WHERE +project_id = ? AND seq > ? ORDER BY seq LIMIT ?"
        return [_journal_row(row) for row in self._mine(query, seq, limit)]

    def journal_of(
        self, uid: str, *, limit: int | None = None, before: int | None = None
    ) -> list[JournalRow]:
        """Return the rows of a uid, newest first; those of removed assets too.

        Args:
            uid: the asset.
            limit: at most so many.
            before: only rows with a smaller sequence number: the last one of the page before.
        """
        if not _is_text(uid):
            return []
        query = f"{_SELECT_JOURNAL} WHERE project_id = ? AND uid = ? AND seq < ? ORDER BY seq DESC LIMIT ?"
        rows = self._mine(query, uid, _LARGEST if before is None else before, -1 if limit is None else limit)
        return [_journal_row(row) for row in rows]

    def last_of(self, uid: str, event: str) -> JournalRow | None:
        """Return the newest row of one event of a uid."""
        query = f"{_SELECT_JOURNAL} WHERE project_id = ? AND uid = ? AND event = ? ORDER BY seq DESC LIMIT 1"
        row = self._mine(query, uid, event).fetchone()
        return None if row is None else _journal_row(row)

    def uids_of(self, operation_id: int, limit: int, before: int | None = None) -> list[tuple[int, str]]:
        """Return the assets that an operation touched, each with its last row there, last one first.

        Args:
            operation_id: the operation.
            limit: at most so many.
            before: only those whose last row there has a smaller sequence number.
        """
        query = (
            "SELECT seq, uid FROM asset_journal j"
            " WHERE +project_id = ? AND operation_id = ? AND event != ? AND seq < ? AND NOT EXISTS"
            " (SELECT 1 FROM asset_journal l WHERE l.project_id = j.project_id AND l.uid = j.uid"
            " AND l.seq > j.seq AND l.operation_id = j.operation_id AND l.event != ?)"
            " ORDER BY seq DESC LIMIT ?"
        )
        most = _LARGEST if before is None else before
        rows = self._mine(query, operation_id, _SIDECAR_WRITTEN, most, _SIDECAR_WRITTEN, limit)
        return [(row[0], row[1]) for row in rows]

    def rows_of(self, operation_id: int, uids: Sequence[str]) -> dict[str, list[JournalRow]]:
        """Return what an operation did to some assets, by uid, oldest first, without written sidecars."""
        found = dict[str, list[JournalRow]]()
        query = (  # by uid: else each chunk reads the whole operation
            f"{_SELECT_JOURNAL} WHERE project_id = ? AND uid {_LISTED} AND +operation_id = ? AND event != ?"
            " ORDER BY seq"
        )
        for row in self._mine(query, _dump(list(uids)), operation_id, _SIDECAR_WRITTEN):
            entry = _journal_row(row)
            found.setdefault(entry.uid, []).append(entry)
        return found

    def is_removal(self, operation_id: int, uid: str) -> bool:
        """Tell whether an operation removed an asset with this uid, of any project."""
        query = "SELECT 1 FROM asset_journal WHERE operation_id = ? AND uid = ? AND event = ? LIMIT 1"
        return self._has(query, operation_id, uid, "asset_removed")

    def has_operation(self, operation_id: int) -> bool:
        """Tell whether the journal knows an operation."""
        query = "SELECT 1 FROM asset_journal WHERE +project_id = ? AND operation_id = ? LIMIT 1"
        return self._mine(query, operation_id).fetchone() is not None

    def operations(self, limit: int, before: int | None = None) -> list[Operation]:
        """Return operations, newest first.

        Args:
            limit: at most so many.
            before: only those with a smaller number: the last one of the page before.
        """
        numbers: list[int] = []
        number = _LARGEST if before is None else before
        query = (
            "SELECT operation_id FROM asset_journal WHERE +project_id = ? AND operation_id < ?"
            " ORDER BY operation_id DESC LIMIT 1"
        )
        while len(numbers) < limit:  # a seek each: DISTINCT would read every row of each operation
            found = self._mine(query, number).fetchone()
            if found is None:
                break
            number = found[0]
            numbers.append(number)
        return self._described(numbers)

    def removed_uids_from(self, prefix: str, limit: int) -> list[str]:
        """Return uids of removed assets that begin with some text, in order."""
        query = (
            "SELECT DISTINCT uid FROM asset_journal j WHERE project_id = ? AND uid BETWEEN ? AND ?"
            " AND event = 'asset_removed' AND NOT EXISTS (SELECT 1 FROM assets_registry a"
            " WHERE a.project_id = j.project_id AND a.uid = j.uid) ORDER BY uid LIMIT ?"
        )
        return self._texts(query, prefix, f"{prefix}\U0010ffff", limit) if _is_text(prefix) else []

    def missing(self, limit: int, before_id: int | None = None) -> list[Asset]:
        """Return assets that are marked missing, newest id first, without the inputs of their provenance."""
        query = (
            f"{_ASSETS} WHERE a.project_id = ? AND a.missing_since IS NOT NULL AND a.id < ?"
            " ORDER BY a.id DESC LIMIT ?"  # ix_assets_registry_missing
        )
        rows = self._mine(query, _LARGEST if before_id is None else before_id, limit)
        return [_asset(row) for row in rows]

    def _described(self, numbers: Sequence[int]) -> list[Operation]:
        listed = _dump(list(numbers))
        mine = f"FROM asset_journal WHERE +project_id = ? AND operation_id {_LISTED} GROUP BY operation_id"
        events: dict[int, dict[str, int]] = {}
        for number, event, count in self._mine(f"SELECT operation_id, event, count(*) {mine}, event", listed):
            events.setdefault(number, {})[event] = count
        found = {
            row[0]: row
            for row in self._mine(
                "SELECT operation_id, max(at), max(actor), count(DISTINCT uid),"
                f" min(CASE WHEN event != '{_SIDECAR_WRITTEN}' THEN seq END), min(seq) {mine}",
                listed,
            )
        }
        firsts = _dump([row[4] for row in found.values() if row[4] is not None])
        query = f"SELECT operation_id, after_json FROM asset_journal WHERE seq {_LISTED}"
        undoes = {
            number: (_load(after) or {}).get("undoes")
            for number, after in self._connection.execute(query, (firsts,))
        }
        rows = {number: self._first_rows(number) for number in numbers}
        undone = self._undone_by([row for each in rows.values() for row in each])
        query = (
            "SELECT j.operation_id, a.path_full FROM asset_journal j JOIN assets_registry a"
            f" ON a.project_id = j.project_id AND a.uid = j.uid WHERE j.project_id = ? AND j.seq {_LISTED}"
        )
        first = [row[4] or row[5] for row in found.values()]
        keys = dict(self._mine(query, _dump(first)).fetchall())
        return [
            Operation(
                number,
                at,
                actor,
                events[number],
                assets,
                undoes.get(number),
                undone.get(number),
                tuple(rows[number]),
                keys.get(number),
            )
            for number in numbers
            for _, at, actor, assets, *_ in [found[number]]
        ]

    def _first_rows(self, operation_id: int) -> list[JournalRow]:
        """Return some rows of an operation, the first ones, without written sidecars and very long ones."""
        length = "coalesce(length(before_json), 0) + coalesce(length(after_json), 0)"
        query = (
            f"SELECT * FROM ({_SELECT_JOURNAL} WHERE +project_id = ? AND operation_id = ? AND event != ?"
            f" ORDER BY seq LIMIT {_FIRST_ROWS}) WHERE {length} <= {_LONG_ROW}"
        )
        return [_journal_row(row) for row in self._mine(query, operation_id, _SIDECAR_WRITTEN)]

    def _undone_by(self, rows: Sequence[JournalRow]) -> dict[int, int]:
        """Return which operation was the last to take each operation of some rows back, as far as it did."""
        if not rows:
            return {}
        query = (
            "SELECT json_extract(after_json, '$.undoes'), max(operation_id) FROM asset_journal WHERE"
            f" project_id = ? AND uid {_LISTED} AND seq > ? AND after_json LIKE '%\"undoes\":%' GROUP BY 1"
        )
        uids = list(dict.fromkeys(row.uid for row in rows))
        found = self._mine(query, _dump(uids), min(row.seq for row in rows))
        return {undone: by for undone, by in found if isinstance(undone, int)}

    # -- inside ---------------------------------------------------------------------------------------

    def _library_name(self) -> str:
        return f"library_id:{self._project_id}"

    def _other_projects(self) -> Iterator[str]:
        """Yield the other projects that have or had assets here, by a seek each."""
        project_id = ""
        while True:
            query = "SELECT min(project_id) FROM asset_terms WHERE project_id > ?"
            project_id = self._one_value(query, (project_id,))
            if project_id is None:
                return
            if project_id != self._project_id:
                yield project_id

    def _mine(self, query: str, *values: Any) -> sqlite3.Cursor:
        """Run a query whose first condition is the project."""
        return self._connection.execute(query, (self._project_id, *values))

    def _texts(self, query: str, *values: Any) -> list[str]:
        return [row[0] for row in self._mine(query, *values)]

    def _has(self, query: str, *values: Any) -> bool:
        return self._connection.execute(query, values).fetchone() is not None

    def _one_value(self, query: str, values: Sequence[Any] = ()) -> Any:
        return self._connection.execute(query, values).fetchone()[0]

    def _one(self, condition: str, value: object) -> Asset | None:
        row = self._mine(f"{_ASSETS} WHERE a.project_id = ? AND {condition}", value).fetchone()
        return None if row is None else self._whole([_asset(row)])[0]

    def _whole(self, assets: Sequence[Asset]) -> list[Asset]:
        """Return assets with all of their provenance and versions."""
        listed = _dump([asset.id for asset in assets])
        histories, versions = self._provenance(listed), self._versions(listed)
        return [
            _with_rows(asset, histories.get(asset.id, []), versions.get(asset.id, ())) for asset in assets
        ]

    def _versions(self, asset_ids: str) -> dict[int, list[Version]]:
        found: dict[int, list[Version]] = {}
        query = (
            "SELECT asset_id, version, hash, bytes, created_at, provenance_id FROM asset_versions"
            f" WHERE asset_id {_LISTED} ORDER BY version DESC"
        )
        for asset_id, *values in self._connection.execute(query, (asset_ids,)):
            found.setdefault(asset_id, []).append(Version(*values))
        return found

    def _provenance(self, asset_ids: str) -> dict[int, list[Provenance]]:
        found: dict[int, list[Provenance]] = {}
        query = f"{_SELECT_PROVENANCE} WHERE asset_id {_LISTED} ORDER BY id DESC"
        for row in map(_provenance, self._connection.execute(query, (asset_ids,))):
            found.setdefault(row.asset_id, []).append(row)
        return found

    # -- for pages that show much at once -------------------------------------------------------------

    def listed(self, uid: str) -> Asset | None:
        """Return one asset as lists have it: a third of the work of `asset`."""
        if not _is_text(uid):
            return None
        row = self._mine(f"{_ASSETS} WHERE a.project_id = ? AND a.uid = ?", uid).fetchone()
        return None if row is None else _asset(row)

    def listed_by_id(self, ids: Iterable[int]) -> dict[int, Asset]:
        """Return the known ones of some assets by row id, as lists have them."""
        query = f"{_ASSETS} WHERE a.project_id = ? AND a.id {_LISTED}"
        chunks = _chunks(ids, _CHUNK)
        return {row[0]: _asset(row) for chunk in chunks for row in self._mine(query, _dump(chunk))}

    def cards(self, ids: Iterable[int]) -> Iterator[CardRow]:
        """Yield what a card shows of the known ones of some assets by row id, in no order."""
        query = (
            "SELECT id, uid, type, path_full, bytes, version, preview_kind, preview_state, preview_recipe,"
            " missing_since, created_at, updated_at, meta, media FROM assets_registry"
            f" WHERE project_id = ? AND id {_LISTED}"
        )
        for chunk in _chunks(ids, _CHUNK):
            for row in self._mine(query, _dump(chunk)):
                yield CardRow._make((*row[:-2], _glance(row[-2]), _glance(row[-1])))

    def terms(self, kind: TermKind, prefix: str, limit: int) -> list[tuple[str, int]]:
        """Return types, licences or tags that begin with a text, ignoring case (not of types), most first."""
        folded = prefix if kind == "type" else fold(prefix)
        query = (
            "SELECT name, count FROM asset_terms WHERE project_id = ? AND kind = ? AND count > 0"
            f" AND {'fold BETWEEN ? AND ?' if folded else 'fold > ?'} ORDER BY count DESC, fold LIMIT ?"
        )
        bounds = (folded, f"{folded}\U0010ffff") if folded else ("",)  # "" stands for "no licence"
        return [(row[0], row[1]) for row in self._mine(query, kind, *bounds, limit)]


class Writer(Reader):
    """Changes inside one write transaction."""

    def __init__(self, connection: sqlite3.Connection, project_id: str, actor: str | None) -> None:
        super().__init__(connection, project_id)
        self._actor = actor

    def reserve_ids(self, count: int) -> range:
        """Reserve ids; see `Ledger.reserve_ids`."""
        stored = self._connection.execute("SELECT next_id FROM asset_ids WHERE name = 'id'").fetchone()
        first = max(stored[0] if stored else 0, id_floor())
        write = "INSERT INTO asset_ids (next_id, name) VALUES (?, 'id')"
        if stored:
            write = "UPDATE asset_ids SET next_id = ? WHERE name = 'id'"
        self._connection.execute(write, (first + count,))
        return range(first, first + count)

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """Take back what is written inside if that fails; what was written before stays."""
        self._connection.execute("SAVEPOINT attempt")
        try:
            yield
        except BaseException:
            if self._connection.in_transaction:  # else SQLite has taken back everything itself
                self._connection.execute("ROLLBACK TO attempt")
                self._connection.execute("RELEASE attempt")
            raise
        self._connection.execute("RELEASE attempt")

    def insert(self, assets: Sequence[Asset]) -> None:
        """Insert new assets with their provenance, versions, terms and search text.

        Provenance that the ledger has already stays as it is: the asset was removed, and comes back.
        """
        if not assets:
            return
        self._many(_INSERT_ASSET, [(asset.id, *_indexed_row(asset), *_other_row(asset)) for asset in assets])
        versions = [_version_row(asset, version) for asset in assets for version in asset.all_versions]
        self._many(_insert("asset_versions", _VERSION_COLUMNS), versions)
        rows = [row for asset in assets for row in asset.all_provenance]
        kept = self.taken_provenance_ids(row.id for row in rows)
        self.add_provenance([row for row in rows if kept.get(row.id) != row.asset_uid])
        terms = self._term_ids(assets, Counter())
        texts = [(asset.id, search_text(asset)) for asset in assets]
        self._many("INSERT INTO asset_text (asset_id, folded) VALUES (?, ?)", texts)
        codes = [(asset.id, encode_terms(terms[asset.id])) for asset in assets]
        self._many("INSERT INTO asset_codes (asset_id, codes) VALUES (?, ?)", codes)
        self.lines.add(assets)
        self._link({(term, asset.id) for asset in assets for term in terms[asset.id]}, set())

    def update(self, assets: Sequence[Asset]) -> None:
        """Write all columns of known assets, their terms and search text; provenance and versions stay."""
        for chunk in _chunks(assets, _CHUNK):
            self._update(chunk)

    def _update(self, assets: Sequence[Asset]) -> None:
        columns = ", ".join(f"a.{name}" for name in _INDEXED_COLUMNS)
        query = (
            f"SELECT a.id, t.folded, c.codes, {columns} FROM assets_registry a"
            f" JOIN asset_text t ON t.asset_id = a.id JOIN asset_codes c ON c.asset_id = a.id"
            f" WHERE a.id {_LISTED}"
        )
        listed = _dump([asset.id for asset in assets])
        known = {row[0]: row[1:] for row in self._connection.execute(query, (listed,))}
        wholes, others, texts, all_codes = list[_Row](), list[_Row](), list[_Row](), list[_Row]()
        new, gone = set[tuple[int, int]](), set[tuple[int, int]]()
        held = Counter(term for _, codes, *_ in known.values() for term in decode_terms(codes))
        terms = self._term_ids(assets, held)
        for asset in assets:
            folded, codes, *content = known.get(asset.id, ("", ""))
            now = _indexed_row(asset)
            if tuple(content) == now:
                others.append((*_other_row(asset), asset.id))
            else:
                wholes.append((*now, *_other_row(asset), asset.id))
            if (text := search_text(asset)) != folded:
                texts.append((text, asset.id))
            if (code := encode_terms(terms[asset.id])) != codes:
                links = {(term, asset.id) for term in terms[asset.id]}
                before = {(term, asset.id) for term in decode_terms(codes)}
                new |= links - before
                gone |= before - links
                all_codes.append((code, asset.id))
        self._many(_UPDATE_WHOLE, wholes)
        self._many(_UPDATE_OTHERS, others)
        self._many(_UPDATE_TEXT, texts)
        self._many("UPDATE asset_codes SET codes = ? WHERE asset_id = ?", all_codes)
        self.lines.replace(assets)
        self._link(new, gone)

    def add_versions(self, asset: Asset, versions: Iterable[Version]) -> None:
        """Record contents that an asset has or had."""
        self._many(
            _insert("asset_versions", _VERSION_COLUMNS), [_version_row(asset, each) for each in versions]
        )

    def set_versions(self, asset: Asset) -> None:
        """Replace what is recorded of an asset's contents."""
        self._connection.execute("DELETE FROM asset_versions WHERE asset_id = ?", (asset.id,))
        self.add_versions(asset, asset.all_versions)

    def vacate(self, asset_ids: Sequence[int]) -> None:
        """Free the keys of assets that are about to change places with each other."""
        query = (
            "UPDATE assets_registry SET path_full = char(10) || id WHERE id = ?"  # no key holds a line end
        )
        self._many(query, [(asset_id,) for asset_id in asset_ids])

    def add_provenance(self, rows: Sequence[Provenance]) -> None:
        """Append provenance rows."""
        values = [_provenance_row(row, self._project_id) for row in rows]
        self._many(_insert("provenance", _PROVENANCE_COLUMNS), values)

    def set_provenance(self, row: Provenance) -> None:
        """Write the workflow's hash and the inputs of a provenance row anew."""
        query = "UPDATE provenance SET workflow_hash = ?, inputs_json = ? WHERE id = ? AND project_id = ?"
        values = (row.workflow_hash, _dump(dict(row.inputs)), row.id, self._project_id)
        self._connection.execute(query, values)

    def set_previews(self, assets: Sequence[Asset]) -> None:
        """Note what became of previews and what the files told, where the assets still have this content.

        Args:
            assets: rows as this transaction read them, with another ``preview`` and ``media``.
        """
        values = [
            (
                asset.preview.kind,
                asset.preview.state,
                asset.preview.reason,
                asset.preview.recipe,
                asset.preview.path,
                _dump_object(asset.media),
                asset.id,
                asset.version,
            )
            for asset in assets
        ]
        self._many(_SET_PREVIEW, values)
        query = f"SELECT asset_id, folded FROM asset_text WHERE asset_id {_LISTED}"
        known = dict(self._connection.execute(query, (_dump([asset.id for asset in assets]),)))
        texts = [(search_text(asset), asset.id) for asset in assets]
        self._many(_UPDATE_TEXT, [text for text in texts if text[0] != known.get(text[1])])

    def remove(self, asset: Asset) -> None:
        """Drop an asset's row, versions, terms, text and parents.

        Its provenance stays and carries the uid; so do the edges of what came of it.
        """
        query = "SELECT codes FROM asset_codes WHERE asset_id = ?"
        found = self._connection.execute(query, (asset.id,)).fetchone()
        self._link(set(), {(term, asset.id) for term in decode_terms(found[0] if found else "")})
        self._connection.execute("DELETE FROM assets_registry WHERE id = ?", (asset.id,))
        for table in ("asset_versions", "asset_text", "asset_codes", "asset_fingerprints"):
            self._connection.execute(f"DELETE FROM {table} WHERE asset_id = ?", (asset.id,))
        self.lines.forget(asset.uid)

    def record(self, entries: Sequence[JournalEntry]) -> str:
        """Append to the journal, in order; return the time that the rows carry (UTC, ISO 8601, ms)."""
        at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        values = [
            (
                self._project_id,
                at,
                self._actor,
                entry.event,
                entry.uid,
                entry.asset_id,
                entry.operation_id,
                None if entry.before is None else _dump(entry.before),
                None if entry.after is None else _dump(entry.after),
            )
            for entry in entries
        ]
        self._many(_insert("asset_journal", ("project_id", *_JOURNAL_COLUMNS[1:])), values)
        return at

    def claim_library(self, library_id: str) -> None:
        """Remember to which library this project's rows belong, if that is not known yet."""
        if self.library_id() is None:
            values = (self._library_name(), library_id)
            self._connection.execute("INSERT INTO asset_library (name, value) VALUES (?, ?)", values)

    # -- inside ---------------------------------------------------------------------------------------

    def _many(self, statement: str, values: Sequence[_Row]) -> None:
        if values:
            self._connection.executemany(statement, values)

    def _term_ids(self, assets: Sequence[Asset], held: Mapping[int, int]) -> dict[int, list[int]]:
        """Return the ids of each asset's terms, in order, by asset id; terms that are new are made.

        A term is shown as the first asset spelled it, till none but these have it: ``held`` tells how many of
        them have had it so far.
        """
        terms = {asset.id: terms_of(asset) for asset in assets}
        named: dict[tuple[TermKind, str], str] = {}
        for each in terms.values():
            for kind, folded, name in each:
                named.setdefault((kind, folded), name)
        known = self._known_terms(named)
        new, respelled = list[_Row](), list[_Row]()
        for (kind, folded), name in named.items():
            if (kind, folded) not in known:
                new.append((self._project_id, kind, folded, name))
                continue
            term_id, shown, count = known[kind, folded]
            if shown != name and count <= held.get(term_id, 0):
                respelled.append((name, term_id))
        self._many("UPDATE asset_terms SET name = ? WHERE id = ?", respelled)
        if new:
            self._many(_insert("asset_terms", ("project_id", "kind", "fold", "name")), new)
            known = self._known_terms(named)
        return {
            asset_id: sorted({known[kind, folded][0] for kind, folded, _ in each})
            for asset_id, each in terms.items()
        }

    def _known_terms(
        self, wanted: Iterable[tuple[TermKind, str]]
    ) -> dict[tuple[TermKind, str], tuple[int, str, int]]:
        """Return id, name and count of those of some terms that there are."""
        by_kind: dict[TermKind, list[str]] = {}
        for kind, folded in wanted:
            by_kind.setdefault(kind, []).append(folded)
        of_kind = f"FROM asset_terms WHERE project_id = ? AND kind = ? AND fold {_LISTED}"
        return {
            (kind, row[0]): row[1:]
            for kind, folds in by_kind.items()
            for row in self._mine(f"SELECT fold, id, name, count {of_kind}", kind, _dump(folds))
        }

    def _link(self, new: Iterable[tuple[int, int]], gone: Iterable[tuple[int, int]]) -> None:
        """Link terms to assets, unlink others, and keep the terms' counts in step."""
        new, gone = sorted(new), sorted(gone)
        self._many("INSERT INTO asset_term_links (term_id, asset_id) VALUES (?, ?)", new)
        self._many("DELETE FROM asset_term_links WHERE term_id = ? AND asset_id = ?", gone)
        counts = Counter(term for term, _ in new)
        counts.subtract(Counter(term for term, _ in gone))
        changed = [(count, term) for term, count in counts.items() if count]
        self._many("UPDATE asset_terms SET count = count + ? WHERE id = ?", changed)


def _asset(row: _Row) -> Asset:
    """Turn a row of `_SELECT_ASSET` into an asset, its newest provenance without inputs."""
    (
        asset_id, project_id, uid, key, _fold, kind, path_thumb, digest, size_bytes, created_at, meta_json,
        updated_at, version, _license_fold, extra, provenance_id, preview_kind, preview_state, preview_reason,
        preview_recipe, mirror_key, file_size, file_mtime_ns, file_inode, sidecar_size, sidecar_mtime_ns,
        sidecar_inode, is_in_place, missing_since, media, generation, _seed, source, workflow_hash,
        commit_hash, user_id, provenance_at, parents,
    ) = row  # fmt: skip
    meta = _load(meta_json) or {}
    tags, licence, origin = meta.pop("tags", None), meta.pop("license", None), meta.pop("origin", None)
    meta.pop("version", None)
    newest = None
    if provenance_id is not None and source is not None:
        newest = Provenance(
            provenance_id, asset_id, uid, source, workflow_hash, commit_hash, {}, {}, user_id, provenance_at
        )
    return Asset(
        id=asset_id,
        project_id=project_id,
        uid=uid,
        type=kind,
        key=key,
        digest=digest,
        size_bytes=size_bytes,
        facts=Facts(tuple(tags or ()), licence, origin, meta, _load(extra) or {}, parents_of(parents)),
        created_at=created_at,
        updated_at=updated_at,
        version=version,
        preview=Preview(preview_kind, preview_state, preview_reason, preview_recipe, path_thumb),
        provenance=newest,
        mirror_key=mirror_key,
        file=None if file_size is None else FileStat(file_size, file_mtime_ns, file_inode),
        sidecar_file=None
        if sidecar_size is None
        else FileStat(sidecar_size, sidecar_mtime_ns, sidecar_inode),
        is_in_place=bool(is_in_place),
        missing_since=missing_since,
        media=_load(media) or {},
        generation=_load(generation) or {},
    )


def _journal_row(row: _Row) -> JournalRow:
    seq, at, actor, event, uid, asset_id, operation_id, before, after = row
    return JournalRow(seq, at, actor, event, uid, asset_id, operation_id, _load(before), _load(after))


def _provenance(row: _Row) -> Provenance:
    (
        row_id, _project_id, asset_id, asset_uid, source, workflow_hash, commit_hash, inputs, c2pa_like,
        user_id, created_at,
    ) = row  # fmt: skip
    return Provenance(
        id=row_id,
        asset_id=asset_id,
        asset_uid=asset_uid,
        source=source,
        workflow_hash=workflow_hash,
        commit_hash=commit_hash,
        inputs=_load(inputs) or {},
        c2pa_like=_load(c2pa_like) or {},
        user_id=user_id,
        created_at=created_at,
    )


def _with_rows(asset: Asset, rows: Sequence[Provenance], versions: Iterable[Version]) -> Asset:
    """Give an asset its versions and its provenance, newest first; the newest is the one it points to."""
    newest, older = asset.provenance, list[Provenance]()
    if newest is not None and rows:
        pointed_to = newest.id
        newest = next((row for row in rows if row.id == pointed_to), rows[0])
        older = [row for row in rows if row is not newest]
    return replace(asset, provenance=newest, provenance_history=tuple(older), versions=tuple(versions))


def _indexed_row(asset: Asset) -> _Row:
    return (asset.project_id, asset.uid, asset.key, fold(asset.key))


def _other_row(asset: Asset) -> _Row:
    file, sidecar, preview = asset.file, asset.sidecar_file, asset.preview
    return (
        asset.type,
        preview.path,
        asset.digest,
        asset.size_bytes,
        asset.created_at,
        _dump(asset.facts.as_meta(asset.version)),
        asset.updated_at,
        asset.version,
        fold_term(asset.facts.license) if asset.facts.license else None,
        _dump_object(asset.facts.extra),
        asset.provenance.id if asset.provenance else None,
        preview.kind,
        preview.state,
        preview.reason,
        preview.recipe,
        asset.mirror_key,
        *((file.size_bytes, file.mtime_ns, file.inode) if file else (None, None, None)),
        *((sidecar.size_bytes, sidecar.mtime_ns, sidecar.inode) if sidecar else (None, None, None)),
        asset.is_in_place,
        asset.missing_since,
        _dump_object(asset.media),
        _dump_object(asset.generation),
        seed_of(asset),
    )


def _version_row(asset: Asset, version: Version) -> _Row:
    return (
        asset.id,
        version.version,
        asset.project_id,
        version.digest,
        version.size_bytes,
        version.created_at,
        version.provenance_id,
    )


def _provenance_row(row: Provenance, project_id: str) -> _Row:
    return (
        row.id,
        project_id,
        row.asset_id,
        row.asset_uid,
        row.source,
        row.workflow_hash,
        row.commit_hash,
        _dump(dict(row.inputs)),
        _dump(dict(row.c2pa_like)),
        row.user_id,
        row.created_at,
    )


_scan: Final = json.JSONDecoder().raw_decode
_encode: Final = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode


def _dump(value: object) -> str:
    """Return compact JSON with the keys in their own order: it is the order in which sidecars show them."""
    plain = dict(value) if type(value) is not dict and isinstance(value, Mapping) else value
    try:
        return orjson.dumps(plain).decode()
    except TypeError:  # an integer beyond 64 bits, deeper than it goes: what only the slower one can write
        return _encode(plain)


def _dump_object(value: Mapping[str, Any]) -> str | None:
    return _dump(value) if value else None


def _load(text: str | None) -> Any:
    """Read JSON; what we wrote ourselves has no space before it, which spares a look for some."""
    if text is None:
        return None
    try:
        return _scan(text)[0]
    except ValueError:
        return json.loads(text)


def _glance(text: str | None) -> Any:
    """Read JSON of which only texts and small numbers are looked at: large ones would lose digits."""
    try:
        return orjson.loads(text or "{}")
    except ValueError:
        return _load(text)


def _is_text(uid: str) -> bool:
    """Tell a text that a database can hold from undecodable bytes of a command line, which no uid has."""
    return not any("\ud800" <= char <= "\udfff" for char in uid)


def _chunks(items: Iterable[_T], size: int) -> Iterator[list[_T]]:
    rest = iter(items)
    while chunk := list(islice(rest, size)):
        yield chunk
