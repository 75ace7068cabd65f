"""SQL of what is told to others: the rows of the journal as they go out, small and in order."""

from __future__ import annotations

import sqlite3
from typing import Final, NamedTuple

__all__ = ["PlaceRow", "ToldRow", "journal_end", "last_place", "place_at", "told_after", "told_at"]

_TOLD: Final = (  # a removed asset has its whole sidecar in the journal: that is left to its history
    "SELECT j.seq, j.at, j.actor, j.event, j.uid, j.asset_id, j.operation_id,"
    " coalesce(a.type, json_extract(j.after_json, '$.type'), json_extract(j.before_json, '$.sidecar.type')),"
    " coalesce(a.path_full, json_extract(j.after_json, '$.path'),"
    " json_extract(j.before_json, '$.sidecar.path')),"
    " CASE WHEN j.event != 'asset_removed' AND length(j.before_json) <= :most THEN j.before_json END,"
    " CASE WHEN length(j.after_json) <= :most THEN j.after_json END,"
    " coalesce(j.event = 'asset_removed' OR length(j.before_json) > :most, 0)"
    " OR coalesce(length(j.after_json) > :most, 0)"
    " FROM asset_journal j LEFT JOIN assets_registry a ON a.id = j.asset_id"
)
_LAST_KNOWN: Final = (  # its last coming or going says what it was
    "SELECT coalesce(json_extract(before_json, '$.sidecar.type'), json_extract(after_json, '$.type')),"
    " coalesce(json_extract(before_json, '$.sidecar.path'), json_extract(after_json, '$.path'))"
    " FROM asset_journal WHERE project_id = ? AND uid = ? AND asset_id = ?"
    " AND event IN ('asset_removed', 'asset_registered') ORDER BY seq DESC LIMIT 1"
)
_PLACE: Final = "SELECT seq, at, asset_id, operation_id FROM asset_journal"


class PlaceRow(NamedTuple):
    """What tells a row of one journal from the row with the same number in another."""

    seq: int
    at: str
    asset_id: int
    operation_id: int


class ToldRow(NamedTuple):
    """One change. ``before`` and ``after`` are JSON as the journal has it, None if there is none or too much.

    ``type`` and ``path`` are the asset's of now, or the last ones that are known.
    """

    seq: int
    at: str
    actor: str | None
    event: str
    uid: str
    asset_id: int
    operation_id: int
    type: str | None
    path: str | None
    before: str | None
    after: str | None
    is_cut: bool


def told_after(
    connection: sqlite3.Connection, project_id: str, seq: int, *, limit: int, most: int
) -> list[ToldRow]:
    """Return the changes of a project behind a sequence number, oldest first.

    Args:
        connection: one state of the ledger.
        project_id: the project.
        seq: the number.
        limit: at most so many.
        most: of ``before`` and ``after`` at most so many characters each; longer ones are left out.
    """
    query = f"{_TOLD} WHERE +j.project_id = :project AND j.seq > :seq ORDER BY j.seq LIMIT :limit"
    values = {"project": project_id, "seq": seq, "limit": limit, "most": most}
    rows = [ToldRow(*row) for row in connection.execute(query, values)]
    return _with_what_is_gone(connection, project_id, rows)


def told_at(connection: sqlite3.Connection, project_id: str, seq: int, *, most: int) -> ToldRow | None:
    """Return the change with a sequence number."""
    query = f"{_TOLD} WHERE +j.project_id = :project AND j.seq = :seq"
    row = connection.execute(query, {"project": project_id, "seq": seq, "most": most}).fetchone()
    return None if row is None else _with_what_is_gone(connection, project_id, [ToldRow(*row)])[0]


def journal_end(connection: sqlite3.Connection) -> int:
    """Return the sequence number of the newest change, of any project; 0 when there is none."""
    return int(connection.execute("SELECT coalesce(max(seq), 0) FROM asset_journal").fetchone()[0])


def place_at(connection: sqlite3.Connection, seq: int) -> PlaceRow | None:
    """Return what tells the row with a sequence number from others, of any project."""
    row = connection.execute(f"{_PLACE} WHERE seq = ?", (seq,)).fetchone()
    return None if row is None else PlaceRow(*row)


def last_place(connection: sqlite3.Connection) -> PlaceRow | None:
    """Return what tells the newest row from others, of any project; None when there is none."""
    row = connection.execute(f"{_PLACE} ORDER BY seq DESC LIMIT 1").fetchone()
    return None if row is None else PlaceRow(*row)


def _with_what_is_gone(connection: sqlite3.Connection, project_id: str, rows: list[ToldRow]) -> list[ToldRow]:
    """Give rows of removed assets the type and the path that these had; each is looked up once."""
    gone = {(row.uid, row.asset_id) for row in rows if row.type is None}
    if not gone:
        return rows
    known = {
        asset: connection.execute(_LAST_KNOWN, (project_id, *asset)).fetchone() or (None, None)
        for asset in gone
    }
    found = []
    for row in rows:
        if row.type is None:
            type_, path = known[row.uid, row.asset_id]
            row = row._replace(type=type_, path=row.path or path)
        found.append(row)
    return found
