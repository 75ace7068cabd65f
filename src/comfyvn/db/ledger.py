"""The ledger: every SQL statement of the registry.

Functions take values and give values. A `Reader` sees one state of the ledger; a `Writer` is a reader inside
one write transaction. Lists page by key (``id < last``), never by offset; filters run in SQL.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Final, TypeVar

import sqlalchemy as sa

from comfyvn.db.engine import Engine
from comfyvn.db.schema import (
    asset_ids,
    asset_journal,
    asset_library,
    asset_tag_links,
    asset_tags,
    asset_text,
    asset_versions,
    assets_registry,
    provenance,
)
from comfyvn.model import (
    EVERYTHING,
    Asset,
    AssetFilter,
    FactCondition,
    Facts,
    FileStat,
    Preview,
    Provenance,
    Version,
    fold,
    id_floor,
    uid_candidates,
)

__all__ = ["JournalEntry", "JournalRow", "Ledger", "Operation", "Reader", "Taken", "Writer"]

_CHUNK: Final = 500
_T = TypeVar("_T")
_assets, _links = assets_registry.c, asset_tag_links.c
_newest = provenance.alias("newest")
_LIST_COLUMNS: Final = (
    *assets_registry.c,
    *(
        _newest.c[name].label(f"newest_{name}")
        for name in ("source", "workflow_hash", "commit_hash", "user_id", "created_at")
    ),
)


def _select_assets() -> sa.Select[Any]:
    joined = assets_registry.outerjoin(_newest, _newest.c.id == _assets.provenance_id)
    return sa.select(*_LIST_COLUMNS).select_from(joined)


# Built once: putting a statement together costs more than running it on one row, and registering a file
# asks a handful of these (benchmark `tiny`).
_IS_MINE: Final = _assets.project_id == sa.bindparam("project_id")
_BY_UID: Final = _select_assets().where(_IS_MINE, _assets.uid == sa.bindparam("value"))
_BY_KEY: Final = _select_assets().where(_IS_MINE, _assets.path_full == sa.bindparam("value"))
_BY_ID: Final = _select_assets().where(_IS_MINE, _assets.id == sa.bindparam("value"))
_BY_UIDS: Final = _select_assets().where(_IS_MINE, _assets.uid.in_(sa.bindparam("values", expanding=True)))
_BY_KEYS: Final = _select_assets().where(
    _IS_MINE, _assets.path_full.in_(sa.bindparam("values", expanding=True))
)
_UID_BY_UID: Final = sa.select(_assets.uid).where(_IS_MINE, _assets.uid == sa.bindparam("value"))
_UID_BY_FOLD: Final = sa.select(_assets.uid).where(_IS_MINE, _assets.path_fold == sa.bindparam("value"))
_UID_BY_CONTENT: Final = (
    sa.select(_assets.uid)
    .join(asset_versions, asset_versions.c.asset_id == _assets.id)
    .where(
        asset_versions.c.project_id == sa.bindparam("project_id"),
        asset_versions.c.hash == sa.bindparam("value"),
    )
    .order_by(_assets.hash != sa.bindparam("value"), _assets.missing_since.is_not(None), _assets.id)
    .limit(1)
)
_UIDS_KNOWN: Final = sa.select(_assets.uid).where(
    _IS_MINE, _assets.uid.in_(sa.bindparam("values", expanding=True))
)
_FOLDS_KNOWN: Final = sa.select(_assets.path_fold, _assets.path_full).where(
    _IS_MINE, _assets.path_fold.in_(sa.bindparam("values", expanding=True))
)
_DIGESTS_KNOWN: Final = sa.select(asset_versions.c.hash).where(
    asset_versions.c.project_id == sa.bindparam("project_id"),
    asset_versions.c.hash.in_(sa.bindparam("values", expanding=True)),
)
_PROVENANCE_OF: Final = (
    sa.select(provenance)
    .where(provenance.c.asset_id.in_(sa.bindparam("values", expanding=True)))
    .order_by(provenance.c.id.desc())
)
_VERSIONS_OF: Final = (
    sa.select(asset_versions)
    .where(asset_versions.c.asset_id.in_(sa.bindparam("values", expanding=True)))
    .order_by(asset_versions.c.version.desc())
)
_TAG_IDS: Final = sa.select(asset_tags.c.fold, asset_tags.c.id).where(
    asset_tags.c.project_id == sa.bindparam("project_id"),
    asset_tags.c.fold.in_(sa.bindparam("values", expanding=True)),
)
_NEXT_ID: Final = sa.select(asset_ids.c.next_id).where(asset_ids.c.name == "id")
_SET_NEXT_ID: Final = asset_ids.update().where(asset_ids.c.name == "id")
_UPDATE_ASSET: Final = assets_registry.update().where(_assets.id == sa.bindparam("row_id"))
_SET_PREVIEW: Final = _UPDATE_ASSET.where(_assets.version == sa.bindparam("row_version"))
_UPDATE_TEXT: Final = asset_text.update().where(asset_text.c.asset_id == sa.bindparam("row_id"))
_UNLINK_TAGS: Final = asset_tag_links.delete().where(_links.asset_id == sa.bindparam("row_id"))
_COMPARISONS: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_SIDECAR_WRITTEN: Final = "asset_sidecar_written"


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
    """What one operation did: when it ended, whose it was, how many rows of each event, how many assets."""

    operation_id: int
    at: str
    actor: str | None
    events: Mapping[str, int]
    assets: int
    undoes: int | None


class Ledger:
    """The rows of one project in one database."""

    def __init__(self, engine: Engine, project_id: str, actor: str | None) -> None:
        self.engine = engine
        self.project_id = project_id
        self.actor = actor

    @contextmanager
    def read(self) -> Iterator[Reader]:
        """Give a reader of one state of the ledger."""
        with self.engine.read() as connection:
            yield Reader(connection, self.project_id)

    @contextmanager
    def write(self, *, is_durable: bool = True) -> Iterator[Writer]:
        """Give a writer inside one write transaction; see `Engine.write`."""
        with self.engine.write(is_durable=is_durable) as connection:
            yield Writer(connection, self.project_id, self.actor)

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
    """Questions to one state of the ledger."""

    def __init__(self, connection: sa.Connection, project_id: str) -> None:
        self._connection = connection
        self._project_id = project_id

    def find(
        self, wanted: AssetFilter, *, limit: int | None = None, before_id: int | None = None
    ) -> list[Asset]:
        """Return assets that match, newest id first, without the inputs of their provenance.

        Args:
            wanted: the conditions.
            limit: at most so many.
            before_id: only assets with a smaller id: the last one of the page before.
        """
        query = self._matching(wanted, before_id)
        if query is None:
            return []
        if limit is not None:
            query = query.limit(limit)
        return [_asset(row) for row in self._connection.execute(query)]

    def count(self, wanted: AssetFilter = EVERYTHING) -> int:
        """Return how many assets match."""
        query = self._matching(wanted)
        if query is None:
            return 0
        ids = query.with_only_columns(_assets.id).order_by(None).subquery()
        return int(self._connection.execute(sa.select(sa.func.count()).select_from(ids)).scalar_one())

    def asset(self, uid: str) -> Asset | None:
        """Return one asset with all of its provenance."""
        return self._one(_BY_UID, uid) if _is_text(uid) else None

    def asset_at(self, key: str) -> Asset | None:
        """Return the asset that owns a key, with all of its provenance."""
        return self._one(_BY_KEY, key)

    def asset_with_id(self, asset_id: int) -> Asset | None:
        """Return the asset with a row id, with all of its provenance."""
        return self._one(_BY_ID, asset_id)

    def assets(self, uids: Iterable[str]) -> Iterator[Asset]:
        """Yield the known ones of some assets, with all of their provenance, in no order."""
        for chunk in _chunks((uid for uid in uids if _is_text(uid)), _CHUNK):
            yield from self._whole([_asset(row) for row in self._ask(_BY_UIDS, values=chunk)])

    def page_by_uid(self, after_uid: str, limit: int) -> list[Asset]:
        """Return assets with all of their provenance and versions, in the order of their uids.

        Args:
            after_uid: only assets behind this uid; "" for the first page.
            limit: at most so many.
        """
        query = _select_assets().where(_IS_MINE, _assets.uid > after_uid).order_by(_assets.uid)
        return self._whole([_asset(row) for row in self._ask(query.limit(limit))])

    def uids_from(self, prefix: str, limit: int) -> list[str]:
        """Return uids that begin with some text, in order."""
        query = sa.select(_assets.uid).where(
            _assets.project_id == self._project_id, _assets.uid.startswith(prefix, autoescape=True)
        )
        return list(self._connection.execute(query.order_by(_assets.uid).limit(limit)).scalars())

    def most_tags(self, uids: Iterable[str]) -> int:
        """Return how many tags the one of some assets has that has most."""
        counts = [0]
        for chunk in _chunks(uids, _CHUNK):
            query = (
                sa.select(sa.func.count())
                .select_from(asset_tag_links.join(assets_registry, _assets.id == _links.asset_id))
                .where(_assets.project_id == self._project_id, _assets.uid.in_(chunk))
                .group_by(_links.asset_id)
                .order_by(sa.func.count().desc())
                .limit(1)
            )
            counts.append(self._connection.execute(query).scalar() or 0)
        return max(counts)

    def known(self, digest: str) -> Asset | None:
        """Return the asset that has, or once had, this content; the one that has it now comes first."""
        uid = self._ask(_UID_BY_CONTENT, value=digest).scalar()
        return None if uid is None else self.asset(uid)

    def free_uid(self, digest: str) -> str:
        """Return the uid that new content gets: the shortest prefix of its digest that nobody has."""
        return next(
            uid for uid in uid_candidates(digest) if self._ask(_UID_BY_UID, value=uid).first() is None
        )

    def is_taken(self, key: str) -> bool:
        """Tell whether an asset owns this key, or one that some systems would hold to be the same."""
        return self._ask(_UID_BY_FOLD, value=fold(key)).first() is not None

    def taken(self, assets: Sequence[Asset]) -> Taken:
        """Tell what of some new assets the ledger has already."""
        uids = self._ask(_UIDS_KNOWN, values=[asset.uid for asset in assets]).scalars()
        paths = self._ask(_FOLDS_KNOWN, values=[fold(asset.key) for asset in assets]).all()
        digests = self._ask(_DIGESTS_KNOWN, values=[asset.digest for asset in assets]).scalars()
        return Taken(
            uids=frozenset(uids),
            keys=frozenset(row.path_full for row in paths),
            folds=frozenset(row.path_fold for row in paths),
            digests=frozenset(digests),
        )

    def owners(self, keys: Sequence[str]) -> dict[str, Asset]:
        """Return the assets that own some keys, by key, without the inputs of their provenance."""
        found: dict[str, Asset] = {}
        for chunk in _chunks(keys, _CHUNK):
            found.update((row.path_full, _asset(row)) for row in self._ask(_BY_KEYS, values=chunk))
        return found

    def below(self, key: str, after: str, limit: int) -> list[Asset]:
        """Return assets at a key or below it as a folder, in the order of keys, behind the key ``after``."""
        is_below = _assets.path_full.between(f"{key}/", f"{key}0") & (_assets.path_full != f"{key}0")
        query = _select_assets().where(
            _assets.project_id == self._project_id,
            (_assets.path_full == key) | is_below,
            _assets.path_full > after,
        )
        rows = self._connection.execute(query.order_by(_assets.path_full).limit(limit))
        return [_asset(row) for row in rows]

    def provenance_of(self, uid: str) -> list[Provenance]:
        """Return the provenance rows of an asset's uid, newest first; removed assets keep theirs."""
        rows = provenance.c
        query = sa.select(provenance).where(rows.project_id == self._project_id, rows.asset_uid == uid)
        return [_provenance(row) for row in self._connection.execute(query.order_by(rows.id.desc()))]

    def taken_provenance_ids(self, ids: Iterable[int]) -> dict[int, str]:
        """Return which of these provenance ids exist, as ``{id: uid of the asset}``."""
        taken: dict[int, str] = {}
        for chunk in _chunks(ids, _CHUNK):
            query = sa.select(provenance.c.id, provenance.c.asset_uid).where(provenance.c.id.in_(chunk))
            taken.update((row.id, row.asset_uid) for row in self._connection.execute(query))
        return taken

    def has_id(self, asset_id: int) -> bool:
        """Tell whether a row, of any project, has this id."""
        query = sa.select(_assets.id).where(_assets.id == asset_id)
        return self._connection.execute(query).first() is not None

    def other_owner(self, key: str) -> str | None:
        """Return another project of this ledger that has an asset at a key."""
        query = sa.select(_assets.project_id).where(
            _assets.path_full == key, _assets.project_id != self._project_id
        )
        found = self._connection.execute(query.limit(1)).scalar()
        return None if found is None else str(found)

    def is_shared(self, uid: str) -> bool:
        """Tell whether another project of this ledger has an asset with this uid (the same content)."""
        query = sa.select(_assets.id).where(_assets.uid == uid, _assets.project_id != self._project_id)
        return self._connection.execute(query.limit(1)).first() is not None

    def library_id(self) -> str | None:
        """Return the id of the library that this project's rows belong to."""
        query = sa.select(asset_library.c.value).where(asset_library.c.name == self._library_name())
        found = self._connection.execute(query).scalar()
        return None if found is None else str(found)

    # -- journal --------------------------------------------------------------------------------------

    def journal_position(self) -> int:
        """Return the sequence number of the newest row of the journal, of any project; 0 when it is empty."""
        return self._connection.execute(sa.select(sa.func.max(asset_journal.c.seq))).scalar() or 0

    def journal_after(self, seq: int, limit: int) -> list[JournalRow]:
        """Return the rows behind a sequence number, oldest first."""
        query = self._journal(asset_journal.c.seq > seq).order_by(asset_journal.c.seq).limit(limit)
        return [_journal_row(row) for row in self._connection.execute(query)]

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
        query = sa.select(asset_journal).where(
            asset_journal.c.project_id == self._project_id, asset_journal.c.uid == uid
        )
        if before is not None:
            query = query.where(asset_journal.c.seq < before)
        query = query.order_by(asset_journal.c.seq.desc()).limit(limit)
        return [_journal_row(row) for row in self._connection.execute(query)]

    def last_of(self, uid: str, event: str) -> JournalRow | None:
        """Return the newest row of one event of a uid."""
        rows = asset_journal.c
        query = sa.select(asset_journal).where(
            rows.project_id == self._project_id, rows.uid == uid, rows.event == event
        )
        row = self._connection.execute(query.order_by(rows.seq.desc()).limit(1)).first()
        return None if row is None else _journal_row(row)

    def uids_of(self, operation_id: int, limit: int, before: int | None = None) -> list[tuple[int, str]]:
        """Return the assets that an operation touched, each with its last row there, last one first.

        Args:
            operation_id: the operation.
            limit: at most so many.
            before: only those whose last row there has a smaller sequence number.
        """
        rows, later = asset_journal.c, asset_journal.alias().c
        has_later = sa.select(later.seq).where(
            later.project_id == rows.project_id,
            later.uid == rows.uid,
            later.seq > rows.seq,
            later.operation_id == rows.operation_id,
            later.event != _SIDECAR_WRITTEN,
        )
        query = self._journal(
            rows.operation_id == operation_id, rows.event != _SIDECAR_WRITTEN, ~has_later.exists()
        )
        if before is not None:
            query = query.where(rows.seq < before)
        query = query.with_only_columns(rows.seq, rows.uid).order_by(rows.seq.desc()).limit(limit)
        return [(row.seq, row.uid) for row in self._connection.execute(query)]

    def rows_of(self, operation_id: int, uids: Sequence[str]) -> dict[str, list[JournalRow]]:
        """Return what an operation did to some assets, by uid, oldest first, without written sidecars."""
        rows, found = asset_journal.c, dict[str, list[JournalRow]]()
        query = sa.select(asset_journal).where(
            rows.project_id == self._project_id,
            rows.uid.in_(uids),
            _unindexed(rows.operation_id == operation_id),  # else each chunk reads the whole operation
            rows.event != _SIDECAR_WRITTEN,
        )
        for row in self._connection.execute(query.order_by(rows.seq)):
            found.setdefault(row.uid, []).append(_journal_row(row))
        return found

    def is_removal(self, operation_id: int, uid: str) -> bool:
        """Tell whether an operation removed an asset with this uid, of any project."""
        rows = asset_journal.c
        query = sa.select(rows.seq).where(
            rows.operation_id == operation_id, rows.uid == uid, rows.event == "asset_removed"
        )
        return self._connection.execute(query.limit(1)).first() is not None

    def has_operation(self, operation_id: int) -> bool:
        """Tell whether the journal knows an operation."""
        query = self._journal(asset_journal.c.operation_id == operation_id).limit(1)
        return self._connection.execute(query.with_only_columns(asset_journal.c.seq)).first() is not None

    def operations(self, limit: int, before: int | None = None) -> list[Operation]:
        """Return operations, newest first.

        Args:
            limit: at most so many.
            before: only those with a smaller number: the last one of the page before.
        """
        numbers: list[int] = []
        rows, number = asset_journal.c, before
        while len(numbers) < limit:  # a seek each: DISTINCT would read every row of each operation
            query = self._journal() if number is None else self._journal(rows.operation_id < number)
            query = query.with_only_columns(rows.operation_id).order_by(rows.operation_id.desc()).limit(1)
            number = self._connection.execute(query).scalar()
            if number is None:
                break
            numbers.append(number)
        return self._described(numbers)

    def removed_uids_from(self, prefix: str, limit: int) -> list[str]:
        """Return uids of removed assets that begin with some text, in order."""
        rows = asset_journal.c
        is_back = sa.select(_assets.id).where(_assets.project_id == rows.project_id, _assets.uid == rows.uid)
        query = sa.select(rows.uid).where(
            rows.project_id == self._project_id,
            rows.uid.startswith(prefix, autoescape=True),
            rows.event == "asset_removed",
            ~is_back.exists(),
        )
        return list(self._connection.execute(query.distinct().order_by(rows.uid).limit(limit)).scalars())

    def missing(self, limit: int, before_id: int | None = None) -> list[Asset]:
        """Return assets that are marked missing, newest id first, without the inputs of their provenance."""
        query = _select_assets().where(
            _assets.project_id == self._project_id, _assets.missing_since.is_not(None)
        )
        if before_id is not None:
            query = query.where(_assets.id < before_id)
        query = query.order_by(_assets.id.desc()).limit(limit)
        return [_asset(row) for row in self._connection.execute(query)]

    def _journal(self, *conditions: sa.ColumnElement[bool]) -> sa.Select[Any]:
        """Select journal rows of the project by other columns than that."""
        is_mine = _unindexed(asset_journal.c.project_id == self._project_id)
        return sa.select(asset_journal).where(is_mine, *conditions)

    def _described(self, numbers: Sequence[int]) -> list[Operation]:
        rows = asset_journal.c
        mine = self._journal(rows.operation_id.in_(numbers))
        events: dict[int, dict[str, int]] = {}
        query = mine.with_only_columns(rows.operation_id, rows.event, sa.func.count().label("count"))
        for row in self._connection.execute(query.group_by(rows.operation_id, rows.event)):
            events.setdefault(row.operation_id, {})[row.event] = row._mapping["count"]
        query = mine.with_only_columns(
            rows.operation_id,
            sa.func.max(rows.at).label("at"),
            sa.func.max(rows.actor).label("actor"),
            sa.func.count(rows.uid.distinct()).label("assets"),
            sa.func.min(sa.case((rows.event != _SIDECAR_WRITTEN, rows.seq))).label("first"),
        )
        found = {row.operation_id: row for row in self._connection.execute(query.group_by(rows.operation_id))}
        firsts = [row.first for row in found.values() if row.first is not None]
        query = sa.select(rows.operation_id, rows.after_json).where(rows.seq.in_(firsts))
        undoes = {
            row.operation_id: (row.after_json or {}).get("undoes") for row in self._connection.execute(query)
        }
        return [
            Operation(number, row.at, row.actor, events[number], row.assets, undoes.get(number))
            for number in numbers
            for row in [found[number]]
        ]

    # -- inside ---------------------------------------------------------------------------------------

    def _library_name(self) -> str:
        return f"library_id:{self._project_id}"

    def _ask(self, statement: sa.Select[Any], **values: Any) -> sa.CursorResult[Any]:
        return self._connection.execute(statement, {"project_id": self._project_id, **values})

    def _one(self, statement: sa.Select[Any], value: object) -> Asset | None:
        row = self._ask(statement, value=value).first()
        return None if row is None else self._whole([_asset(row)])[0]

    def _whole(self, assets: Sequence[Asset]) -> list[Asset]:
        """Return assets with all of their provenance and versions."""
        ids = [asset.id for asset in assets]
        histories, versions = self._provenance(ids), self._versions(ids)
        return [
            replace(
                _with_provenance(asset, histories.get(asset.id, [])),
                versions=tuple(versions.get(asset.id, ())),
            )
            for asset in assets
        ]

    def _versions(self, asset_ids: Sequence[int]) -> dict[int, list[Version]]:
        found: dict[int, list[Version]] = {}
        for row in self._connection.execute(_VERSIONS_OF, {"values": asset_ids}):
            version = Version(row.version, row.hash, row.bytes, row.created_at, row.provenance_id)
            found.setdefault(row.asset_id, []).append(version)
        return found

    def _provenance(self, asset_ids: Sequence[int]) -> dict[int, list[Provenance]]:
        found: dict[int, list[Provenance]] = {}
        for row in self._connection.execute(_PROVENANCE_OF, {"values": asset_ids}):
            found.setdefault(row.asset_id, []).append(_provenance(row))
        return found

    def _tag_ids(self, folds: Sequence[str]) -> dict[str, int]:
        found: dict[str, int] = {}
        for chunk in _chunks(folds, _CHUNK):
            found.update((row.fold, row.id) for row in self._ask(_TAG_IDS, values=chunk))
        return found

    def _matching(self, wanted: AssetFilter, before_id: int | None = None) -> sa.Select[Any] | None:
        """Return the query for a filter, newest first; None when a tag is unknown, so nothing can match."""
        tag_ids = self._tag_ids([fold(tag) for tag in wanted.tags])
        if len(tag_ids) < len(wanted.tags):
            return None
        query = _select_assets().where(_assets.project_id == self._project_id)
        order = _assets.id
        for at, tag_id in enumerate(tag_ids.values()):
            if at == 0:  # walk the assets of one tag, newest first, and ask each for the others
                query = query.join(asset_tag_links, _links.asset_id == _assets.id)
                query, order = query.where(_links.tag_id == tag_id), _links.asset_id
                continue
            other = asset_tag_links.alias().c
            has_tag = sa.select(other.asset_id).where(
                other.tag_id == tag_id, other.asset_id == _links.asset_id
            )
            query = query.where(has_tag.exists())
        if before_id is not None:
            query = query.where(order < before_id)
        if wanted.type is not None:
            query = query.where(_assets.type == wanted.type)
        if wanted.digest is not None:
            query = query.where(_assets.hash == wanted.digest)
        if wanted.license is not None:
            licence = fold(wanted.license.strip())
            query = query.where(
                _assets.license_fold == licence if licence else _assets.license_fold.is_(None)
            )
        if wanted.text is not None:
            in_text = asset_text.c.folded.contains(fold(wanted.text), autoescape=True)
            query = query.join(asset_text, asset_text.c.asset_id == _assets.id).where(in_text)
        for condition in wanted.where:
            query = query.where(_tells(condition))
        return query.order_by(order.desc())


class Writer(Reader):
    """Changes inside one write transaction."""

    def __init__(self, connection: sa.Connection, project_id: str, actor: str | None) -> None:
        super().__init__(connection, project_id)
        self._actor = actor

    def reserve_ids(self, count: int) -> range:
        """Reserve ids; see `Ledger.reserve_ids`."""
        stored = self._connection.execute(_NEXT_ID).scalar()
        first = max(stored or 0, id_floor())
        if stored is None:
            self._connection.execute(asset_ids.insert(), {"name": "id", "next_id": first + count})
        else:
            self._connection.execute(_SET_NEXT_ID, {"next_id": first + count})
        return range(first, first + count)

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """Take back what is written inside if that fails; what was written before stays."""
        with self._connection.begin_nested():
            yield

    def insert(self, assets: Sequence[Asset]) -> None:
        """Insert new assets with their provenance, versions, tags and search text.

        Provenance that the ledger has already stays as it is: the asset was removed, and comes back.
        """
        if not assets:
            return
        self._connection.execute(assets_registry.insert(), [_row(asset) for asset in assets])
        versions = [_version_row(asset, version) for asset in assets for version in asset.all_versions]
        if versions:
            self._connection.execute(asset_versions.insert(), versions)
        self._connection.execute(
            asset_text.insert(), [{"asset_id": asset.id, "folded": _search_text(asset)} for asset in assets]
        )
        rows = [row for asset in assets for row in _provenance_rows(asset)]
        kept = self.taken_provenance_ids(row.id for row in rows)
        self.add_provenance([row for row in rows if kept.get(row.id) != row.asset_uid])
        self._link_tags(assets)

    def update(self, assets: Sequence[Asset]) -> None:
        """Write all columns of known assets, their tags and search text; provenance and versions stay."""
        if not assets:
            return
        self._connection.execute(_UPDATE_ASSET, [{"row_id": asset.id, **_row(asset)} for asset in assets])
        texts = [{"row_id": asset.id, "folded": _search_text(asset)} for asset in assets]
        self._connection.execute(_UPDATE_TEXT, texts)
        self._connection.execute(_UNLINK_TAGS, [{"row_id": asset.id} for asset in assets])
        self._link_tags(assets)

    def add_versions(self, asset: Asset, versions: Iterable[Version]) -> None:
        """Record contents that an asset has or had."""
        rows = [_version_row(asset, version) for version in versions]
        if rows:
            self._connection.execute(asset_versions.insert(), rows)

    def set_versions(self, asset: Asset) -> None:
        """Replace what is recorded of an asset's contents."""
        self._connection.execute(asset_versions.delete().where(asset_versions.c.asset_id == asset.id))
        self.add_versions(asset, asset.all_versions)

    def vacate(self, asset_ids: Sequence[int]) -> None:
        """Free the keys of assets that are about to change places with each other."""
        for chunk in _chunks(asset_ids, _CHUNK):
            away = sa.literal("\n").concat(sa.cast(_assets.id, sa.Text))  # no key holds a line end
            query = assets_registry.update().where(_assets.id.in_(chunk))
            self._connection.execute(query.values(path_full=away))

    def add_provenance(self, rows: Sequence[Provenance]) -> None:
        """Append provenance rows."""
        if rows:
            values = [_provenance_row(row, self._project_id) for row in rows]
            self._connection.execute(provenance.insert(), values)

    def set_previews(self, assets: Sequence[Asset]) -> None:
        """Note what became of previews and what the files told, where the assets still have this content.

        Args:
            assets: rows as this transaction read them, with another ``preview`` and ``media``.
        """
        if not assets:
            return
        values = [
            {
                "row_id": asset.id,
                "row_version": asset.version,
                "preview_kind": asset.preview.kind,
                "preview_state": asset.preview.state,
                "preview_reason": asset.preview.reason,
                "preview_recipe": asset.preview.recipe,
                "path_thumb": asset.preview.path,
                "media": dict(asset.media) or None,
            }
            for asset in assets
        ]
        self._connection.execute(_SET_PREVIEW, values)
        texts = [{"row_id": asset.id, "folded": _search_text(asset)} for asset in assets]
        self._connection.execute(_UPDATE_TEXT, texts)

    def remove(self, asset: Asset) -> None:
        """Drop an asset's row, versions, tags and text; its provenance stays and carries the uid."""
        self._connection.execute(assets_registry.delete().where(_assets.id == asset.id))
        for table in (asset_versions, asset_tag_links, asset_text):
            self._connection.execute(table.delete().where(table.c.asset_id == asset.id))

    def record(self, entries: Sequence[JournalEntry]) -> str:
        """Append to the journal, in order; return the time that the rows carry (UTC, ISO 8601, ms)."""
        at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        values = [
            {
                "project_id": self._project_id,
                "at": at,
                "actor": self._actor,
                "event": entry.event,
                "uid": entry.uid,
                "asset_id": entry.asset_id,
                "operation_id": entry.operation_id,
                "before_json": entry.before,
                "after_json": entry.after,
            }
            for entry in entries
        ]
        if values:
            self._connection.execute(asset_journal.insert(), values)
        return at

    def claim_library(self, library_id: str) -> None:
        """Remember to which library this project's rows belong, if that is not known yet."""
        if self.library_id() is None:
            self._connection.execute(
                asset_library.insert().values(name=self._library_name(), value=library_id)
            )

    # -- inside ---------------------------------------------------------------------------------------

    def _link_tags(self, assets: Sequence[Asset]) -> None:
        names = {fold(tag): tag for asset in reversed(assets) for tag in asset.facts.tags}
        known = self._tag_ids(list(names))
        new = [
            {"project_id": self._project_id, "fold": folded, "name": name}
            for folded, name in names.items()
            if folded not in known
        ]
        if new:
            self._connection.execute(asset_tags.insert(), new)
            known = self._tag_ids(list(names))
        links = [
            {"tag_id": known[fold(tag)], "asset_id": asset.id} for asset in assets for tag in asset.facts.tags
        ]
        if links:
            self._connection.execute(asset_tag_links.insert(), links)


def _asset(row: sa.Row[Any]) -> Asset:
    """Turn a row of `_select_assets` into an asset, its newest provenance without inputs."""
    meta = dict(row.meta or {})
    facts = Facts(
        tags=tuple(meta.pop("tags", None) or ()),
        license=meta.pop("license", None),
        origin=meta.pop("origin", None),
        meta=meta,
        extra=row.extra or {},
    )
    meta.pop("version", None)
    return Asset(
        id=row.id,
        project_id=row.project_id,
        uid=row.uid,
        type=row.type,
        key=row.path_full,
        digest=row.hash,
        size_bytes=row.bytes,
        facts=facts,
        created_at=row.created_at,
        updated_at=row.updated_at,
        version=row.version,
        preview=Preview(
            row.preview_kind, row.preview_state, row.preview_reason, row.preview_recipe, row.path_thumb
        ),
        provenance=_newest_provenance(row),
        mirror_key=row.mirror_key,
        file=_file_stat(row, "file"),
        sidecar_file=_file_stat(row, "sidecar"),
        is_in_place=row.is_in_place,
        missing_since=row.missing_since,
        media=row.media or {},
    )


def _unindexed(condition: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
    """Return a condition that looks up no index: another one of the query finds fewer rows."""
    return sa.case((condition, 1), else_=0) == 1


def _journal_row(row: sa.Row[Any]) -> JournalRow:
    return JournalRow(
        seq=row.seq,
        at=row.at,
        actor=row.actor,
        event=row.event,
        uid=row.uid,
        asset_id=row.asset_id,
        operation_id=row.operation_id,
        before=row.before_json,
        after=row.after_json,
    )


def _file_stat(row: sa.Row[Any], name: str) -> FileStat | None:
    values = row._mapping
    if values[f"{name}_size"] is None:
        return None
    return FileStat(values[f"{name}_size"], values[f"{name}_mtime_ns"], values[f"{name}_inode"])


def _newest_provenance(row: sa.Row[Any]) -> Provenance | None:
    if row.provenance_id is None or row.newest_source is None:
        return None
    return Provenance(
        id=row.provenance_id,
        asset_id=row.id,
        asset_uid=row.uid,
        source=row.newest_source,
        workflow_hash=row.newest_workflow_hash,
        commit_hash=row.newest_commit_hash,
        inputs={},
        c2pa_like={},
        user_id=row.newest_user_id,
        created_at=row.newest_created_at,
    )


def _provenance(row: sa.Row[Any]) -> Provenance:
    return Provenance(
        id=row.id,
        asset_id=row.asset_id,
        asset_uid=row.asset_uid,
        source=row.source,
        workflow_hash=row.workflow_hash,
        commit_hash=row.commit_hash,
        inputs=row.inputs_json or {},
        c2pa_like=row.c2pa_like or {},
        user_id=row.user_id,
        created_at=row.created_at,
    )


def _with_provenance(asset: Asset, rows: Sequence[Provenance]) -> Asset:
    """Give an asset its provenance, newest first; the newest is the one that the asset points to."""
    if asset.provenance is None or not rows:
        return asset
    newest = next((row for row in rows if row.id == asset.provenance.id), rows[0])
    return replace(
        asset, provenance=newest, provenance_history=tuple(row for row in rows if row.id != newest.id)
    )


def _row(asset: Asset) -> dict[str, Any]:
    file, sidecar = asset.file, asset.sidecar_file
    return {
        "id": asset.id,
        "project_id": asset.project_id,
        "uid": asset.uid,
        "type": asset.type,
        "path_full": asset.key,
        "path_thumb": asset.preview.path,
        "hash": asset.digest,
        "bytes": asset.size_bytes,
        "created_at": asset.created_at,
        "meta": asset.facts.as_meta(asset.version),
        "updated_at": asset.updated_at,
        "version": asset.version,
        "license_fold": fold(asset.facts.license) if asset.facts.license else None,
        "path_fold": fold(asset.key),
        "extra": dict(asset.facts.extra) or None,
        "provenance_id": asset.provenance.id if asset.provenance else None,
        "preview_kind": asset.preview.kind,
        "preview_state": asset.preview.state,
        "preview_reason": asset.preview.reason,
        "preview_recipe": asset.preview.recipe,
        "mirror_key": asset.mirror_key,
        "file_size": file.size_bytes if file else None,
        "file_mtime_ns": file.mtime_ns if file else None,
        "file_inode": file.inode if file else None,
        "sidecar_size": sidecar.size_bytes if sidecar else None,
        "sidecar_mtime_ns": sidecar.mtime_ns if sidecar else None,
        "sidecar_inode": sidecar.inode if sidecar else None,
        "is_in_place": asset.is_in_place,
        "missing_since": asset.missing_since,
        "media": dict(asset.media) or None,
    }


def _version_row(asset: Asset, version: Version) -> dict[str, Any]:
    return {
        "asset_id": asset.id,
        "version": version.version,
        "project_id": asset.project_id,
        "hash": version.digest,
        "bytes": version.size_bytes,
        "created_at": version.created_at,
        "provenance_id": version.provenance_id,
    }


def _provenance_rows(asset: Asset) -> list[Provenance]:
    return [*([asset.provenance] if asset.provenance else []), *asset.provenance_history]


def _provenance_row(row: Provenance, project_id: str) -> dict[str, Any]:
    return {
        "id": row.id,
        "project_id": project_id,
        "asset_id": row.asset_id,
        "asset_uid": row.asset_uid,
        "source": row.source,
        "workflow_hash": row.workflow_hash,
        "commit_hash": row.commit_hash,
        "inputs_json": dict(row.inputs),
        "c2pa_like": dict(row.c2pa_like),
        "user_id": row.user_id,
        "created_at": row.created_at,
    }


def _tells(condition: FactCondition) -> sa.ColumnElement[bool]:
    """Return the condition on a fact; text is compared ignoring case, numbers never with text."""
    fact = _assets.media[condition.path]
    kind = sa.func.json_type(_assets.media, "$." + ".".join(condition.path))
    compare: Callable[[Any, Any], sa.ColumnElement[bool]] = _COMPARISONS[condition.operator]
    if isinstance(condition.value, bool):
        return compare(kind, "true" if condition.value else "false")
    if isinstance(condition.value, str):
        lowered = "".join(char.lower() if char.isascii() else char for char in condition.value)  # as SQL does
        return sa.and_(kind == "text", compare(sa.func.lower(fact.as_string()), lowered))
    return sa.and_(kind.in_(("integer", "real")), compare(fact.as_float(), condition.value))


def _search_text(asset: Asset) -> str:
    """Return what a search looks through: the path, texts at the top of the metadata, the file's own tags."""
    texts = [asset.key]
    tags = asset.media.get("tags")
    told = tags.values() if isinstance(tags, Mapping) else ()
    for value in (*asset.facts.as_meta(asset.version).values(), *told):
        if isinstance(value, str):
            texts.append(value)
        elif isinstance(value, list):
            texts.extend(item for item in value if isinstance(item, str))
    return fold("\n".join(texts))


def _is_text(uid: str) -> bool:
    """Tell a text that a database can hold from undecodable bytes of a command line, which no uid has."""
    return not any("\ud800" <= char <= "\udfff" for char in uid)


def _chunks(items: Iterable[_T], size: int) -> Iterator[list[_T]]:
    rest = iter(items)
    while chunk := list(islice(rest, size)):
        yield chunk
