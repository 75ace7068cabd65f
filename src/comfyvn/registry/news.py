"""News: the changes of a library as others are told of them, encoded once."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final, NamedTuple
from zlib import crc32

import orjson

from comfyvn.db import news as sql
from comfyvn.errors import InvalidFilter, InvalidRequest
from comfyvn.events import JOURNAL_EVENTS
from comfyvn.studio.core import AssetRegistry

__all__ = [
    "POSITION",
    "News",
    "Page",
    "Position",
    "check_events",
    "is_wanted",
    "newest",
    "news_at",
    "news_behind",
    "page_after",
    "position_at",
    "read_position",
]

POSITION: Final = "^[0-9]{1,19}(-[0-9a-f]{8})?$"
"""How a position is written."""
_LARGEST: Final = 2**63 - 1
_MOST_CHARACTERS: Final = 4_096
_LINE_ENDS: Final = tuple((char.encode(), f"\\u{ord(char):04x}".encode()) for char in "\x85\u2028\u2029")
"""What JSON may hold as it is, but many programs that read a stream line by line take for the end of one."""


class Position(NamedTuple):
    """A place in one journal, written ``SEQ-MARK``.

    Sequence numbers come again when an older ledger is put back. ``mark`` is a short check of the row that
    has this one, so that another journal is noticed; None where only the number is known, or there is no row.

    >>> str(Position(17, "9f3a01c2")), str(Position(0))
    ('17-9f3a01c2', '0')
    """

    seq: int
    mark: str | None = None

    def __str__(self) -> str:
        return str(self.seq) if self.mark is None else f"{self.seq}-{self.mark}"


@dataclass(frozen=True, slots=True)
class News:
    """One change: its place in the journal, what it is about, and its JSON.

    The JSON has ``seq``, ``position``, ``at``, ``event``, ``uid``, ``type``, ``path``, ``operation``,
    ``actor``, ``revision``, ``before``, ``after`` and ``cut``: true if of these two something was left out,
    since it is long; the history of the asset has it.
    """

    seq: int
    at: str
    event: str
    type: str | None
    body: bytes
    position: Position


class Page(NamedTuple):
    """Some changes behind a position, oldest first, and the position to go on from.

    ``is_other`` tells that the position is not one of this journal; then there are no changes, and ``end`` is
    the end of the journal.
    """

    news: list[News]
    end: Position
    is_other: bool = False


def news_behind(
    registry: AssetRegistry, seq: int, mark: sql.PlaceRow | None, limit: int
) -> tuple[list[News], int, sql.PlaceRow | None] | None:
    """Return some changes behind a number, oldest first, the number to go on from, and the row there.

    That lies behind changes of other projects, too, when there are no more of ours.

    Args:
        registry: the library.
        seq: the number.
        mark: a row that was read before; None if there was none.
        limit: at most so many changes.

    Returns:
        None when the journal has that row no longer: somebody put another ledger in its place.
    """
    ledger = registry.library.ledger
    with ledger.engine.read() as connection:
        if mark is not None and sql.place_at(connection, mark.seq) != mark:
            return None
        rows = sql.told_after(connection, ledger.project_id, seq, limit=limit, most=_MOST_CHARACTERS)
        end = rows[-1].seq if len(rows) == limit else sql.journal_end(connection)
        return [_news(row) for row in rows], end, sql.place_at(connection, end)


def news_at(registry: AssetRegistry, seq: int) -> News | None:
    """Return the change with a sequence number, None if there is none."""
    ledger = registry.library.ledger
    with ledger.engine.read() as connection:
        row = sql.told_at(connection, ledger.project_id, seq, most=_MOST_CHARACTERS)
    return None if row is None else _news(row)


def page_after(registry: AssetRegistry, position: Position, limit: int) -> Page:
    """Return some changes behind a position, and where to go on, if the position is one of this journal."""
    ledger = registry.library.ledger
    with ledger.engine.read() as connection:
        end = _end(connection)
        if position.seq > end.seq or not _is_there(connection, position):
            return Page([], end, is_other=True)
        if position.seq == end.seq:
            return Page([], end)
        rows = sql.told_after(connection, ledger.project_id, position.seq, limit=limit, most=_MOST_CHARACTERS)
    news = [_news(row) for row in rows]
    return Page(news, news[-1].position if len(news) == limit else end)


def newest(registry: AssetRegistry) -> Position:
    """Return the position of the newest change, of any project; 0 in a new ledger."""
    with registry.library.ledger.engine.read() as connection:
        return _end(connection)


def position_at(registry: AssetRegistry, seq: int) -> Position:
    """Return the position with a sequence number; without a mark where there is no such row."""
    with registry.library.ledger.engine.read() as connection:
        return _position(sql.place_at(connection, seq), seq)


def read_position(name: str, text: str) -> Position:
    """Read a position that somebody states; a bare number is one without a mark.

    Raises:
        InvalidRequest: it is none.

    >>> read_position("since", "17-9f3a01c2"), read_position("since", "17")
    (Position(seq=17, mark='9f3a01c2'), Position(seq=17, mark=None))
    """
    seq, _, mark = text.partition("-") if _is_position(text) else ("", "", "")
    if not seq or int(seq) > _LARGEST:
        why = f"{name} must be a whole number of at least 0, or SEQ-MARK as an event has it, not {text!r:.40}"
        raise InvalidRequest(why=why)
    return Position(int(seq), mark or None)


def check_events(names: Collection[str]) -> frozenset[str]:
    """Return the names of events that were given.

    Raises:
        InvalidFilter: there is no such event.
    """
    for name in names:
        if name not in JOURNAL_EVENTS:
            why = f"there is no event {name!r:.60}; there are {', '.join(JOURNAL_EVENTS)}"
            raise InvalidFilter(why=why)
    return frozenset(names)


def is_wanted(each: News, events: Collection[str], types: Collection[str]) -> bool:
    """Tell whether somebody wants to hear of a change; an empty collection wants all."""
    return (not events or each.event in events) and (not types or each.type in types)


def _is_position(text: str) -> bool:
    return re.fullmatch(POSITION.strip("^$"), text) is not None


def _end(connection: sqlite3.Connection) -> Position:
    return _position(sql.last_place(connection), 0)


def _is_there(connection: sqlite3.Connection, position: Position) -> bool:
    return position.mark is None or position == _position(
        sql.place_at(connection, position.seq), position.seq
    )


def _position(row: sql.PlaceRow | None, seq: int) -> Position:
    return Position(seq) if row is None else Position(row.seq, _mark(*row))


def _mark(seq: int, at: str, asset_id: int, operation_id: int) -> str:
    return f"{crc32(f'{seq} {at} {asset_id} {operation_id}'.encode()):08x}"


def _news(row: sql.ToldRow) -> News:
    position = Position(row.seq, _mark(row.seq, row.at, row.asset_id, row.operation_id))
    head = {
        "seq": row.seq,
        "position": str(position),
        "at": row.at,
        "event": row.event,
        "uid": row.uid,
        "type": row.type,
        "path": row.path,
        "operation": row.operation_id,
        "actor": row.actor,
        "revision": row.seq,
        "cut": bool(row.is_cut),
    }
    # what was and what is stand in the journal as JSON on one line: that is spliced in, not read
    rest = f',"before":{row.before or "null"},"after":{row.after or "null"}}}'
    body = orjson.dumps(head)[:-1] + rest.encode()
    for raw, escaped in _LINE_ENDS:
        body = body.replace(raw, escaped)
    return News(row.seq, row.at, row.event, row.type, body, position)
