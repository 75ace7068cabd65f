"""Webhooks: who is told of changes, how far each has been told, and what did not arrive.

A webhook has a position in the journal. What lies before it has arrived, or stands among the deliveries: as
``waiting`` for the next try, or as ``dead`` when there will be none. So a long backlog costs no rows.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Literal, get_args

from comfyvn.db.engine import Engine
from comfyvn.db.news import PlaceRow, journal_end, place_at
from comfyvn.errors import WebhookNotFound

__all__ = [
    "DELIVERY_STATES",
    "Delivery",
    "DeliveryState",
    "Outcome",
    "Survey",
    "Webhook",
    "WebhookTable",
    "utc_text",
]

DeliveryState = Literal["waiting", "dead"]
DELIVERY_STATES: Final[tuple[DeliveryState, ...]] = get_args(DeliveryState)

_COLUMNS: Final = (
    "id, url, events, types, secret, created_at, position, disabled_at, disabled_why, last_at, last_status,"
    " last_error"
)
_DELIVERY: Final = "seq, state, attempts, next_at, last_at, last_status, last_error"


@dataclass(frozen=True, slots=True)
class Webhook:
    """One webhook. ``events`` and ``types``: what it wants, all when empty; times are UTC (ISO 8601).

    ``position`` is the ``seq`` up to which it has been told; ``last_*`` tell of the newest try.
    """

    id: str
    url: str
    events: tuple[str, ...]
    types: tuple[str, ...]
    secret: str = field(repr=False)
    created_at: str
    position: int
    disabled_at: str | None = None
    disabled_why: str | None = None
    last_at: str | None = None
    last_status: int | None = None
    last_error: str | None = None


@dataclass(frozen=True, slots=True)
class Delivery:
    """A change that has not arrived: how often it was tried, when it is tried next, what went wrong."""

    seq: int
    state: DeliveryState
    attempts: int
    next_at: str | None
    last_at: str | None
    last_status: int | None
    last_error: str | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one try.

    ``was`` is the row that was tried again, None for a change straight from the journal; ``state`` is None
    when it arrived.
    """

    seq: int
    was: Delivery | None
    state: DeliveryState | None
    at: str
    next_at: str | None = None
    status: int | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Survey:
    """The webhooks, oldest first, and the journal in the same state of the ledger.

    ``end`` is its last ``seq``; ``rows`` are those that were asked for, and those up to which somebody was
    told.
    """

    webhooks: list[Webhook]
    end: int
    rows: Mapping[int, PlaceRow]


class WebhookTable:
    """The webhooks of one project."""

    def __init__(self, engine: Engine, project_id: str) -> None:
        self._engine = engine
        self._project_id = project_id

    # -- webhooks -------------------------------------------------------------------------------------

    def add(
        self, webhook_id: str, url: str, events: Sequence[str], types: Sequence[str], secret: str
    ) -> None:
        """Add a webhook that is told of what happens from now on."""
        names = "id, url, events, types, secret, created_at, position"
        with self._engine.write() as connection:
            values = (
                webhook_id,
                url,
                _list(events),
                _list(types),
                secret,
                utc_text(),
                journal_end(connection),
            )
            connection.execute(
                f"INSERT INTO asset_webhooks (project_id, {names}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (self._project_id, *values),
            )

    def all(self) -> list[Webhook]:
        """Return every webhook, oldest first."""
        return self.survey(()).webhooks

    def survey(self, seqs: Collection[int]) -> Survey:
        """Return every webhook, and the rows of the journal with some sequence numbers."""
        query = f"SELECT {_COLUMNS} FROM asset_webhooks WHERE project_id = ? ORDER BY created_at, id"
        with self._engine.read() as connection:
            found = [_webhook(row) for row in connection.execute(query, (self._project_id,))]
            asked = {*seqs, *(each.position for each in found)}
            rows = {seq: row for seq in asked if (row := place_at(connection, seq)) is not None}
            return Survey(found, journal_end(connection), rows)

    def one(self, webhook_id: str) -> Webhook:
        """Return a webhook.

        Raises:
            WebhookNotFound: there is none.
        """
        with self._engine.read() as connection:
            return self._one(connection, webhook_id)

    def change(self, webhook_id: str, values: Mapping[str, Any]) -> Webhook:
        """Change some of a webhook's ``url``, ``events``, ``types``, ``disabled_at`` and ``disabled_why``.

        Raises:
            WebhookNotFound: there is none.
        """
        stored = {name: _list(value) if isinstance(value, tuple) else value for name, value in values.items()}
        with self._engine.write() as connection:
            self._one(connection, webhook_id)
            for name, value in stored.items():
                connection.execute(f"UPDATE asset_webhooks SET {name} = ? WHERE id = ?", (value, webhook_id))
            return self._one(connection, webhook_id)

    def remove(self, webhook_id: str) -> None:
        """Forget a webhook and what did not arrive there.

        Raises:
            WebhookNotFound: there is none.
        """
        with self._engine.write() as connection:
            self._one(connection, webhook_id)
            connection.execute("DELETE FROM asset_webhook_deliveries WHERE webhook_id = ?", (webhook_id,))
            connection.execute("DELETE FROM asset_webhooks WHERE id = ?", (webhook_id,))

    # -- deliveries -----------------------------------------------------------------------------------

    def counts(self) -> dict[str, dict[str, int]]:
        """Return how many deliveries of each state each webhook has."""
        query = (
            "SELECT d.webhook_id, d.state, count(*) FROM asset_webhook_deliveries d"
            " JOIN asset_webhooks w ON w.id = d.webhook_id WHERE w.project_id = ? GROUP BY 1, 2"
        )
        found: dict[str, dict[str, int]] = {}
        with self._engine.read() as connection:
            for webhook_id, state, count in connection.execute(query, (self._project_id,)):
                found.setdefault(webhook_id, dict.fromkeys(DELIVERY_STATES, 0))[state] = count
        return found

    def deliveries(
        self, webhook_id: str, *, state: DeliveryState | None, limit: int, after: int = 0
    ) -> list[Delivery]:
        """Return what has not arrived, oldest first, behind a ``seq``.

        Raises:
            WebhookNotFound: there is no such webhook.
        """
        states = _list(DELIVERY_STATES if state is None else (state,))
        query = (
            f"SELECT {_DELIVERY} FROM asset_webhook_deliveries WHERE webhook_id = ? AND seq > ?"
            " AND state IN (SELECT value FROM json_each(?)) ORDER BY seq LIMIT ?"
        )
        with self._engine.read() as connection:
            self._one(connection, webhook_id)
            return [Delivery(*row) for row in connection.execute(query, (webhook_id, after, states, limit))]

    def due(self, webhook_id: str, now: str, limit: int) -> tuple[list[Delivery], int]:
        """Return what is to be tried again now, and how many deliveries wait altogether."""
        query = (
            f"SELECT {_DELIVERY} FROM asset_webhook_deliveries WHERE webhook_id = ? AND state = 'waiting'"
            " AND next_at <= ? ORDER BY next_at, seq LIMIT ?"
        )
        with self._engine.read() as connection:
            found = [Delivery(*row) for row in connection.execute(query, (webhook_id, now, limit))]
            return found, _waiting(connection, webhook_id)

    def next_due(self) -> str | None:
        """Return when something is to be tried again next."""
        query = (
            "SELECT min(d.next_at) FROM asset_webhooks w JOIN asset_webhook_deliveries d"
            " ON d.webhook_id = w.id AND d.state = 'waiting' WHERE w.project_id = ? AND w.disabled_at IS NULL"
        )
        with self._engine.read() as connection:
            found = connection.execute(query, (self._project_id,)).fetchone()[0]
        return None if found is None else str(found)

    def settle(
        self,
        webhook: Webhook,
        outcomes: Iterable[Outcome],
        position: int,
        *,
        mark: PlaceRow | None,
        disabled_why: str | None = None,
        crowd: int,
    ) -> Webhook | None:
        """Note what became of some tries, and up to where the webhook has been told, in one transaction.

        Somebody may have asked for a replay meanwhile: neither his position nor his deliveries are
        overwritten. A crash before this delivers again, never less; so does another ledger that was put in
        the place of the one that was read.

        Args:
            webhook: as it was when the tries began.
            outcomes: what became of them.
            position: up to where it has been told.
            mark: a row of the journal there or behind; when it is there no longer, nothing is noted.
            disabled_why: given when it is to be told nothing more.
            crowd: from so many waiting deliveries on, one that arrives has the others tried at once.

        Returns:
            The webhook as it is now; None when nothing was noted, since it is gone or the ledger is another.
        """
        outcomes = list(outcomes)
        with self._engine.write(is_durable=False) as connection:
            query = f"SELECT {_COLUMNS} FROM asset_webhooks WHERE id = ?"
            if connection.execute(query, (webhook.id,)).fetchone() is None:
                return None
            if mark is not None and place_at(connection, mark.seq) != mark:
                return None
            waited = _waiting(connection, webhook.id)
            for each in outcomes:
                _note(connection, webhook.id, each)
            connection.execute(
                "UPDATE asset_webhooks SET position = ? WHERE id = ? AND position = ?",
                (position, webhook.id, webhook.position),
            )
            if outcomes:
                last = max(outcomes, key=lambda each: each.at)
                connection.execute(
                    "UPDATE asset_webhooks SET last_at = ?, last_status = ?, last_error = ? WHERE id = ?",
                    (last.at, last.status, last.error, webhook.id),
                )
            if waited >= crowd and any(each.state is None for each in outcomes):
                connection.execute(
                    "UPDATE asset_webhook_deliveries SET next_at = ? WHERE webhook_id = ?"
                    " AND state = 'waiting'",
                    (utc_text(), webhook.id),
                )
            if disabled_why is not None:
                connection.execute(
                    "UPDATE asset_webhooks SET disabled_at = ?, disabled_why = ? WHERE id = ?",
                    (utc_text(), disabled_why, webhook.id),
                )
            return _webhook(connection.execute(query, (webhook.id,)).fetchone())

    def replay_one(self, webhook_id: str, seq: int) -> None:
        """Have one change delivered again, whatever became of it.

        Raises:
            WebhookNotFound: there is no such webhook.
        """
        with self._engine.write() as connection:
            self._one(connection, webhook_id)
            connection.execute(
                "INSERT INTO asset_webhook_deliveries (webhook_id, seq, state, attempts, next_at)"
                " VALUES (?, ?, 'waiting', 0, ?) ON CONFLICT (webhook_id, seq)"
                " DO UPDATE SET state = 'waiting', attempts = 0, next_at = excluded.next_at",
                (webhook_id, seq, utc_text()),
            )

    def replay_dead(self, webhook_id: str) -> int:
        """Have all that is dead delivered again, and what waits at once; return how many these are.

        Raises:
            WebhookNotFound: there is no such webhook.
        """
        with self._engine.write() as connection:
            self._one(connection, webhook_id)
            query = (
                "UPDATE asset_webhook_deliveries SET state = 'waiting', attempts = 0, next_at = ?"
                " WHERE webhook_id = ?"
            )
            return connection.execute(query, (utc_text(), webhook_id)).rowcount

    def replay_since(self, webhook_id: str, since: int) -> int:
        """Have all changes behind a ``seq`` delivered again; return the position that it had reached.

        Its position is only ever moved back: nothing is skipped.

        Raises:
            WebhookNotFound: there is no such webhook.
        """
        with self._engine.write() as connection:
            reached = self._one(connection, webhook_id).position
            query = "UPDATE asset_webhooks SET position = min(position, ?) WHERE id = ?"
            connection.execute(query, (since, webhook_id))
        return reached

    # -- inside ---------------------------------------------------------------------------------------

    def _one(self, connection: sqlite3.Connection, webhook_id: str) -> Webhook:
        query = f"SELECT {_COLUMNS} FROM asset_webhooks WHERE project_id = ? AND id = ?"
        row = connection.execute(query, (self._project_id, webhook_id)).fetchone()
        if row is None:
            raise WebhookNotFound(webhook=webhook_id)
        return _webhook(row)


def utc_text(at: datetime | None = None) -> str:
    """Return a moment, by default now, as the ledger has it (UTC, ISO 8601, ms): texts sort like times."""
    return (at or datetime.now(UTC)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _note(connection: sqlite3.Connection, webhook_id: str, each: Outcome) -> None:
    """Note one try; a row that was changed since, since somebody wants it again, is left as it is."""
    facts = (each.state, each.next_at, each.at, each.status, each.error)
    if each.was is None:
        if each.state is None:  # it arrived at last
            query = (
                "DELETE FROM asset_webhook_deliveries WHERE webhook_id = ? AND seq = ? AND state != 'waiting'"
            )
            connection.execute(query, (webhook_id, each.seq))
            return
        connection.execute(
            "INSERT INTO asset_webhook_deliveries"
            " (webhook_id, seq, attempts, state, next_at, last_at, last_status, last_error)"
            " VALUES (?, ?, 1, ?, ?, ?, ?, ?) ON CONFLICT (webhook_id, seq) DO UPDATE SET attempts = 1,"
            " state = excluded.state, next_at = excluded.next_at, last_at = excluded.last_at,"
            " last_status = excluded.last_status, last_error = excluded.last_error"
            " WHERE asset_webhook_deliveries.state != 'waiting'",
            (webhook_id, each.seq, *facts),
        )
        return
    its_row = "webhook_id = ? AND seq = ? AND state = 'waiting' AND next_at IS ? AND attempts = ?"
    key = (webhook_id, each.seq, each.was.next_at, each.was.attempts)
    if each.state is None:
        connection.execute(f"DELETE FROM asset_webhook_deliveries WHERE {its_row}", key)
    else:
        connection.execute(
            "UPDATE asset_webhook_deliveries SET attempts = attempts + 1, state = ?, next_at = ?,"
            f" last_at = ?, last_status = ?, last_error = ? WHERE {its_row}",
            (*facts, *key),
        )


def _waiting(connection: sqlite3.Connection, webhook_id: str) -> int:
    query = "SELECT count(*) FROM asset_webhook_deliveries WHERE webhook_id = ? AND state = 'waiting'"
    return int(connection.execute(query, (webhook_id,)).fetchone()[0])


def _webhook(row: tuple[Any, ...]) -> Webhook:
    webhook_id, url, events, types, *rest = row
    return Webhook(webhook_id, url, tuple(json.loads(events)), tuple(json.loads(types)), *rest)


def _list(values: Sequence[str]) -> str:
    return json.dumps(list(values), ensure_ascii=False)
