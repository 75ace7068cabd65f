"""News: the changes of a library as others are told of them, encoded once."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

import orjson

from comfyvn.db import news as sql
from comfyvn.errors import InvalidFilter
from comfyvn.events import JOURNAL_EVENTS
from comfyvn.studio.core import AssetRegistry

__all__ = ["News", "check_events", "is_wanted", "newest", "news_after", "news_at"]

_MOST_CHARACTERS: Final = 4_096
_LINE_ENDS: Final = tuple((char.encode(), f"\\u{ord(char):04x}".encode()) for char in "\x85\u2028\u2029")
"""What JSON may hold as it is, but many programs that read a stream line by line take for the end of one."""


@dataclass(frozen=True, slots=True)
class News:
    """One change: its place in the journal, what it is about, and its JSON.

    The JSON has ``seq``, ``at``, ``event``, ``uid``, ``type``, ``path``, ``operation``, ``actor``,
    ``revision``, ``before``, ``after`` and ``cut``: true if of these two something was left out, since it is
    long; the history of the asset has it.
    """

    seq: int
    at: str
    event: str
    type: str | None
    body: bytes


def news_after(registry: AssetRegistry, seq: int, limit: int) -> tuple[list[News], int]:
    """Return some changes behind a sequence number, oldest first, and the number to go on from.

    That lies behind changes of other projects, too, when there are no more of ours.
    """
    ledger = registry.library.ledger
    with ledger.engine.read() as connection:
        rows = sql.told_after(connection, ledger.project_id, seq, limit=limit, most=_MOST_CHARACTERS)
        end = rows[-1].seq if len(rows) == limit else sql.journal_end(connection)
    return [_news(row) for row in rows], end


def news_at(registry: AssetRegistry, seq: int) -> News | None:
    """Return the change with a sequence number, None if there is none."""
    ledger = registry.library.ledger
    with ledger.engine.read() as connection:
        row = sql.told_at(connection, ledger.project_id, seq, most=_MOST_CHARACTERS)
    return None if row is None else _news(row)


def newest(registry: AssetRegistry) -> int:
    """Return the number of the newest change, of any project; 0 in a new ledger."""
    with registry.library.ledger.engine.read() as connection:
        return sql.journal_end(connection)


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


def _news(row: sql.ToldRow) -> News:
    head = {
        "seq": row.seq,
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
    return News(row.seq, row.at, row.event, row.type, body)
