"""Webhooks: who is told of changes by a POST, and one such POST, signed (Standard Webhooks 1.0).

What is sent is `payload_of` a change; the ``webhook-id`` of one change to one webhook is always the same, so
that a receiver can leave out what he has already. `comfyvn.registry.deliveries` sends.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import orjson

from comfyvn.db.webhooks import Delivery, DeliveryState, Webhook, WebhookTable, utc_text
from comfyvn.errors import InvalidRequest, NothingThere
from comfyvn.registry.news import News, check_events, news_at
from comfyvn.registry.outgoing import Answer, Post, check_url
from comfyvn.studio.core import AssetRegistry

__all__ = ["Webhooks", "headers_of", "payload_of"]

_PREFIX: Final = "whsec_"
_SECRET_BYTES: Final = 32
_ID_BYTES: Final = 8
_PAGE: Final = 100
_MOST_TYPES: Final = 100
_USER: Final = "by hand"


class Webhooks:
    """The webhooks of a library's project. A secret is told once, by `add`."""

    def __init__(self, registry: AssetRegistry) -> None:
        ledger = registry.library.ledger
        self._registry = registry
        self._hosts = registry.library.config.webhook_hosts
        self._table = WebhookTable(ledger.engine, ledger.project_id)

    def add(self, url: str, *, events: Sequence[str] = (), types: Sequence[str] = ()) -> dict[str, Any]:
        """Have an address told of what happens from now on.

        Args:
            url: where to; its host must be public, or listed in the setting ``webhook_hosts``.
            events: only these events; all by default.
            types: only assets of these types; all by default.

        Returns:
            The webhook with its ``secret``: nobody can tell that later.

        Raises:
            InvalidWebhook: nothing may be sent there.
            InvalidFilter: there is no such event.
        """
        check_url(url, self._hosts)
        webhook_id = f"wh_{secrets.token_hex(_ID_BYTES)}"
        secret = _PREFIX + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()
        self._table.add(webhook_id, url, sorted(check_events(events)), _checked_types(types), secret)
        return {**self.get(webhook_id), "secret": secret}

    def all(self) -> list[dict[str, Any]]:
        """Return every webhook, oldest first, without its secret."""
        counts = self._table.counts()
        return [_told(each, counts) for each in self._table.all()]

    def get(self, webhook_id: str) -> dict[str, Any]:
        """Return a webhook without its secret.

        Raises:
            WebhookNotFound: there is none.
        """
        return _told(self._table.one(webhook_id), self._table.counts())

    def change(
        self,
        webhook_id: str,
        *,
        url: str | None = None,
        events: Sequence[str] | None = None,
        types: Sequence[str] | None = None,
        is_enabled: bool | None = None,
    ) -> dict[str, Any]:
        """Change what is given. One that is enabled again is told of what happened meanwhile.

        Raises:
            WebhookNotFound, InvalidWebhook, InvalidFilter: as `add`.
        """
        values: dict[str, Any] = {}
        if url is not None:
            check_url(url, self._hosts)
            values["url"] = url
        if events is not None:
            values["events"] = tuple(sorted(check_events(events)))
        if types is not None:
            values["types"] = tuple(_checked_types(types))
        if is_enabled is not None:
            values["disabled_at"] = None if is_enabled else utc_text()
            values["disabled_why"] = None if is_enabled else _USER
        self._table.change(webhook_id, values)
        return self.get(webhook_id)

    def remove(self, webhook_id: str) -> None:
        """Forget a webhook.

        Raises:
            WebhookNotFound: there is none.
        """
        self._table.remove(webhook_id)

    def deliveries(
        self, webhook_id: str, *, state: DeliveryState | None = None, limit: int = _PAGE, cursor: int = 0
    ) -> list[dict[str, Any]]:
        """Return the changes that have not arrived, oldest first.

        Args:
            webhook_id: the webhook.
            state: ``waiting`` (for the next try) or ``dead`` (there will be none); both by default.
            limit: at most so many.
            cursor: ``seq`` of the last one of the page before.

        Raises:
            WebhookNotFound: there is no such webhook.
        """
        found = self._table.deliveries(webhook_id, state=state, limit=limit, after=cursor)
        return [_told_delivery(each) for each in found]

    def replay(self, webhook_id: str, seq: int) -> None:
        """Have one change delivered again.

        Raises:
            WebhookNotFound: there is no such webhook.
            NothingThere: there is no such change.
        """
        if news_at(self._registry, seq) is None:
            raise NothingThere(why=f"The journal has no change {seq}.")
        self._table.replay_one(webhook_id, seq)

    def replay_dead(self, webhook_id: str) -> int:
        """Have all that has not arrived tried again from the beginning; return how many these are.

        Raises:
            WebhookNotFound: there is no such webhook.
        """
        return self._table.replay_dead(webhook_id)

    def replay_since(self, webhook_id: str, since: int) -> None:
        """Have all changes behind a ``seq`` delivered again.

        Raises:
            WebhookNotFound: there is no such webhook.
            InvalidRequest: it has not come that far.
        """
        reached = self._table.replay_since(webhook_id, since)
        if since > reached:
            raise InvalidRequest(why=f"this webhook has been told up to {reached} only; {since} lies behind")

    def prepare_test(self, webhook_id: str) -> tuple[Post, Callable[[], Answer]]:
        """Return a POST of an event ``webhook_test``, and the call that sends it.

        Raises:
            WebhookNotFound: there is no such webhook.
        """
        webhook = self._table.one(webhook_id)
        body = orjson.dumps({"type": "webhook_test", "timestamp": utc_text(), "data": {}})
        headers = headers_of(webhook, f"test_{secrets.token_hex(_ID_BYTES)}", body)
        post = Post(webhook.url, self._hosts)
        return post, functools.partial(post.send, body, headers)


def payload_of(news: News) -> bytes:
    """Return what is sent of a change: its event, its time, and the change as in the stream of events."""
    return b'{"type":"%s","timestamp":"%s","data":%s}' % (news.event.encode(), news.at.encode(), news.body)


def headers_of(webhook: Webhook, what: str | int, body: bytes) -> Mapping[str, str]:
    """Return the headers of a delivery; ``what`` tells it from others to this webhook, for good."""
    message = f"msg_{webhook.id.removeprefix('wh_')}_{what}"
    now = str(int(time.time()))
    key = base64.b64decode(webhook.secret.removeprefix(_PREFIX))
    digest = hmac.new(key, b"%s.%s.%s" % (message.encode(), now.encode(), body), hashlib.sha256).digest()
    return {
        "Content-Type": "application/json",
        "User-Agent": "comfyvn",
        "webhook-id": message,
        "webhook-timestamp": now,
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }


def _checked_types(types: Sequence[str]) -> list[str]:
    if len(types) > _MOST_TYPES or any(not each or len(each) > _MOST_TYPES for each in types):
        raise InvalidRequest(why=f"types are at most {_MOST_TYPES} names of at most {_MOST_TYPES} characters")
    return sorted(set(types))


def _told(webhook: Webhook, counts: Mapping[str, Mapping[str, int]]) -> dict[str, Any]:
    counted = counts.get(webhook.id, {})
    return {
        "id": webhook.id,
        "url": webhook.url,
        "events": list(webhook.events),
        "types": list(webhook.types),
        "is_enabled": webhook.disabled_at is None,
        "disabled_at": webhook.disabled_at,
        "disabled_why": webhook.disabled_why,
        "created_at": webhook.created_at,
        "position": webhook.position,
        "waiting": counted.get("waiting", 0),
        "dead": counted.get("dead", 0),
        "last_at": webhook.last_at,
        "last_status": webhook.last_status,
        "last_error": webhook.last_error,
    }


def _told_delivery(delivery: Delivery) -> dict[str, Any]:
    return {
        "seq": delivery.seq,
        "state": delivery.state,
        "attempts": delivery.attempts,
        "next_at": delivery.next_at,
        "last_at": delivery.last_at,
        "last_status": delivery.last_status,
        "last_error": delivery.last_error,
    }
