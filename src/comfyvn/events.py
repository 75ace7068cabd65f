"""The four hook events, their payloads, and the bus that delivers them.

Events come in the order of their commits. A hook is foreign code: what it raises is logged, and neither
the caller nor the other hooks notice.
"""

from __future__ import annotations

import copy
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Literal, TypedDict, get_args

from comfyvn.errors import UnknownEvent

__all__ = [
    "EVENTS",
    "HOOK_ASSET_META_UPDATED",
    "HOOK_ASSET_REGISTERED",
    "HOOK_ASSET_REMOVED",
    "HOOK_ASSET_SIDECAR_WRITTEN",
    "JOURNAL_EVENTS",
    "AssetEvent",
    "EventName",
    "Hook",
    "HookBus",
    "SidecarEvent",
]

EventName = Literal["asset_registered", "asset_meta_updated", "asset_removed", "asset_sidecar_written"]
EVENTS: Final[tuple[EventName, ...]] = get_args(EventName)
HOOK_ASSET_REGISTERED: Final = "asset_registered"
HOOK_ASSET_META_UPDATED: Final = "asset_meta_updated"
HOOK_ASSET_REMOVED: Final = "asset_removed"
HOOK_ASSET_SIDECAR_WRITTEN: Final = "asset_sidecar_written"
JOURNAL_EVENTS: Final = (
    *EVENTS,
    "asset_content_changed",
    "asset_healed",
    "asset_missing",
    "asset_moved",
    "asset_provenance_added",
    "asset_restored",
)
"""The events of the journal: those of the hooks, and what else is told to streams and webhooks."""


class AssetEvent(TypedDict):
    """Payload of ``asset_registered``, ``asset_meta_updated`` and ``asset_removed``.

    ``path`` and ``sidecar`` are relative to the assets folder, ``bytes`` is the size of the content in
    bytes, ``timestamp`` is UTC (ISO 8601).
    """

    hook_event: EventName
    timestamp: str
    uid: str
    type: str
    path: str
    sidecar: str
    meta: dict[str, Any]
    bytes: int


class SidecarEvent(TypedDict):
    """Payload of ``asset_sidecar_written``: ``sidecar`` is absolute, ``rel_path`` relative to the assets."""

    hook_event: EventName
    timestamp: str
    uid: str
    type: str
    sidecar: str
    rel_path: str


Hook = Callable[[dict[str, Any]], object]

_log = logging.getLogger(__name__)


class HookBus:
    """Delivers events to hooks, synchronously and in the order in which they were posted.

    ``post`` only queues (call it while the order is still guarded, right after the commit); ``deliver``
    calls the hooks. A hook may use the registry, and what that posts is delivered after the event at hand.
    It must not wait for another thread that changes the registry: that thread waits for its turn here.
    """

    def __init__(self) -> None:
        self._hooks: dict[EventName, list[Hook]] = {event: [] for event in EVENTS}
        self._queue: deque[tuple[EventName, Mapping[str, Any]]] = deque()
        self._delivering = threading.Lock()
        self._deliverer: int | None = None

    def add(self, event: str, hook: Hook) -> None:
        """Call ``hook(payload)`` after each ``event``; adding the same hook twice changes nothing.

        Raises:
            UnknownEvent: no event has that name.
        """
        hooks = self._hooks[_known(event)]
        if hook not in hooks:
            hooks.append(hook)

    def remove(self, event: str, hook: Hook) -> None:
        """Forget a hook; one that was never added is fine.

        Raises:
            UnknownEvent: no event has that name.
        """
        hooks = self._hooks[_known(event)]
        if hook in hooks:
            hooks.remove(hook)

    def hooks(self, event: str | None = None) -> dict[str, tuple[Hook, ...]]:
        """Return the hooks of one event, or of all, as ``{event: (hook, ...)}``.

        Raises:
            UnknownEvent: no event has that name.
        """
        names = EVENTS if event is None else (_known(event),)
        return {name: tuple(self._hooks[name]) for name in names}

    def wants(self, event: EventName) -> bool:
        """Tell whether anybody listens, so that nobody builds a payload for an empty room."""
        return bool(self._hooks[event])

    def post(self, events: Iterable[Mapping[str, Any]]) -> None:
        """Queue payloads (each names its event in ``hook_event``) in the order of their commits."""
        self._queue.extend((payload["hook_event"], payload) for payload in events)

    def deliver(self, *, wait: bool = True) -> None:
        """Call the hooks for all that is queued.

        Args:
            wait: when another thread is delivering, wait for it and then return; else leave the rest to it.
        """
        me = threading.get_ident()
        if self._deliverer == me:
            return  # a hook changed the registry: the loop below us goes on with what that posted
        while self._delivering.acquire(blocking=wait):
            try:
                self._deliverer = me
                self._drain()
            finally:
                self._deliverer = None
                self._delivering.release()
            if not self._queue:  # somebody may have posted after the drain and found the lock taken
                return

    def _drain(self) -> None:
        while self._queue:
            event, payload = self._queue.popleft()
            for hook in tuple(self._hooks[event]):
                try:
                    hook(copy.deepcopy(dict(payload)))
                except Exception:  # noqa: BLE001 - a hook is foreign code: it harms nobody
                    _log.exception("hook %r failed on %s of %s", hook, event, payload.get("uid"))


def _known(event: str) -> EventName:
    for name in EVENTS:
        if name == event:
            return name
    raise UnknownEvent(event=event, known=", ".join(EVENTS))
