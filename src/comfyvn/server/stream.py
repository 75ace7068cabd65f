"""Changes as they happen: server-sent events and a WebSocket, both fed by the journal."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Coroutine, Iterator
from contextlib import suppress
from typing import Annotated, Any, Final, Literal, Protocol

import orjson
from fastapi import APIRouter, Depends, Header, Query, Request, WebSocket, WebSocketDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from comfyvn.errors import InvalidFilter, InvalidRequest, RegistryUnusable, TokenRefused
from comfyvn.registry.news import News, check_events, is_wanted
from comfyvn.server.access import Visitor, may_read, visitor_of
from comfyvn.server.description import problems
from comfyvn.server.state import State, here

__all__ = ["router"]

router = APIRouter(dependencies=[Depends(may_read)])

_CLOSE_S: Final = 10.0
_CHUNK_BYTES: Final = 65_536
_log = logging.getLogger(__name__)
_LARGEST: Final = 2**63 - 1
_NOT_ALLOWED: Final = 1008
_TRY_AGAIN_LATER: Final = 1013
_GOING_AWAY: Final = 1001
_HEADERS: Final = {"cache-control": "no-store", "x-accel-buffering": "no"}

_End = Literal["ended", "gone", "slow", "refused"]
"""The server is about to end; the client went; he takes nothing any more; he may not hear more."""
_Since = Annotated[
    int | None,
    Query(ge=0, le=_LARGEST, description="Tell what came behind this `seq` first. 0: all that is known."),
]
_Events = Annotated[list[str] | None, Query(description="Only these events; repeated, or with commas.")]
_Types = Annotated[list[str] | None, Query(description="Only assets of these types; repeated.")]


@router.get(
    "/events",
    response_class=Response,
    responses=problems(InvalidFilter)
    | {
        200: {
            "description": "A stream that goes on till one side ends it. First comes an event `hello` with "
            "the position, then each change as a message with `id:` = `seq`; `reset` tells that changes were "
            "missed and everything is to be read again.",
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
        }
    },
)
async def listen(
    request: Request,
    since: _Since = None,
    event: _Events = None,
    type: _Types = None,
    last_event_id: Annotated[str | None, Header(description="As `since`, and goes before it.")] = None,
) -> Response:
    """Hear of every change of the library, by any process, in order, each once."""
    state = here(request)
    state.hub.check_room()
    if last_event_id:
        since = _number("Last-Event-ID", last_event_id)
    return _EventStream(_Listener(state, visitor_of(request), since, event, type))


@router.websocket("/events/ws")
async def listen_by_socket(websocket: WebSocket) -> None:
    """Hear of every change of the library; each is one text frame of JSON. What a client sends is ignored."""
    state = here(websocket)
    state.hub.check_room()
    asked = websocket.query_params
    stated = asked.get("since")
    since = _number("since", stated) if stated else None
    events, types = asked.getlist("event"), asked.getlist("type")
    listener = _Listener(state, visitor_of(websocket), since, events, types)
    await websocket.accept()
    match await _race(listener.speak(_Frames(websocket)), websocket.receive):
        case "ended":
            await _close(websocket, _GOING_AWAY, "the server ends")
        case "slow":
            await _close(websocket, _TRY_AGAIN_LATER, "too slow: connect again with ?since=")
        case "refused":
            await _close(websocket, _NOT_ALLOWED, "the token is no longer valid")


class _Listener:
    """One stream: where it begins, what it wants, and how far it has come."""

    def __init__(
        self,
        state: State,
        visitor: Visitor,
        since: int | None,
        events: list[str] | None,
        types: list[str] | None,
    ) -> None:
        self._hub = state.hub
        self._is_welcome = functools.partial(state.doorkeeper.is_welcome, visitor)
        self._backlog = state.config.event_backlog
        self._since = since
        self._events = check_events([name for text in events or [] for name in text.split(",") if name])
        self._types = frozenset(types or ())
        self._position = 0

    async def speak(self, voice: _Voice) -> None:
        """Tell where it begins, then what comes, till the server is about to end.

        Raises:
            TimeoutError: the reader takes nothing any more.
            TokenRefused: his token is no longer valid.
        """
        clock = asyncio.get_running_loop().time
        with self._hub.listening():
            await self._greet(voice)
            spoke_at = clock()
            while (batch := await self._hub.after(self._position, spoke_at + self._hub.beat_s)) is not None:
                if not self._is_welcome():
                    raise TokenRefused()
                self._position = batch.position
                wanted = [each for each in batch.news if is_wanted(each, self._events, self._types)]
                if batch.is_reset:
                    await self._hub.patiently(voice.tell("reset", self._position))
                elif wanted:
                    for chunk in _chunks(wanted):
                        await self._hub.patiently(voice.pass_on(chunk))
                elif clock() >= spoke_at + self._hub.beat_s:
                    await self._hub.patiently(voice.beat(self._position))
                else:
                    continue
                spoke_at = clock()

    async def _greet(self, voice: _Voice) -> None:
        end = self._hub.position()
        since = end if self._since is None else self._since
        is_reset = not end - self._backlog <= since <= end
        self._position = end if is_reset else since
        for name in ("hello", "reset") if is_reset else ("hello",):
            await self._hub.patiently(voice.tell(name, self._position))


class _Voice(Protocol):
    """How a stream speaks."""

    async def tell(self, name: str, position: int) -> None:
        """Send a message of ours: that it begins, or that changes were missed."""

    async def pass_on(self, news: list[News]) -> None:
        """Send some changes."""

    async def beat(self, position: int) -> None:
        """Send a sign of life."""


class _EventStream(Response):
    """An answer that goes on: server-sent events (WHATWG HTML, 9.2)."""

    media_type = "text/event-stream"

    def __init__(self, listener: _Listener) -> None:
        super().__init__(headers=_HEADERS)
        del self.headers["content-length"]
        self._listener = listener

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        if await _race(self._listener.speak(_Lines(send)), receive) in ("ended", "refused"):
            await send({"type": "http.response.body", "body": b"", "more_body": False})


class _Lines:
    """Speaks in server-sent events."""

    def __init__(self, send: Send) -> None:
        self._send = send

    async def tell(self, name: str, position: int) -> None:
        start = b"retry: 2000\n" if name == "hello" else b""
        body = _message(name, position)
        await self._write(b"%sevent: %s\nid: %d\ndata: %s\n\n" % (start, name.encode(), position, body))

    async def pass_on(self, news: list[News]) -> None:
        await self._write(b"".join([b"id: %d\ndata: %s\n\n" % (each.seq, each.body) for each in news]))

    async def beat(self, position: int) -> None:
        await self._write(b": still here\nid: %d\n\n" % position)  # no data: only the position is kept

    async def _write(self, data: bytes) -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": True})


class _Frames:
    """Speaks in text frames of a WebSocket."""

    def __init__(self, websocket: WebSocket) -> None:
        self._websocket = websocket

    async def tell(self, name: str, position: int) -> None:
        await self._websocket.send_text(_message(name, position).decode())

    async def pass_on(self, news: list[News]) -> None:
        for each in news:
            await self._websocket.send_text(each.body.decode())

    async def beat(self, position: int) -> None:
        """Send nothing: the protocol has pings of its own."""


async def _race(speaking: Coroutine[Any, Any, None], receive: Receive) -> _End:
    """Speak till the client goes, and tell why it ended."""
    tasks = [asyncio.create_task(speaking), asyncio.create_task(_until_gone(receive))]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        spoken, _ = await asyncio.gather(*tasks, return_exceptions=True)
    if spoken is None:
        return "ended"
    if isinstance(spoken, TimeoutError):
        return "slow"
    if isinstance(spoken, TokenRefused):
        return "refused"
    if isinstance(spoken, RegistryUnusable):
        _log.error("a stream of events ends: %s", spoken)
        return "ended"
    if not isinstance(spoken, (asyncio.CancelledError, WebSocketDisconnect, OSError)):
        raise spoken
    return "gone"


def _chunks(news: list[News]) -> Iterator[list[News]]:
    """Yield changes in parts small enough that a reader's slowness shows."""
    begun, size = list[News](), 0
    for each in news:
        if begun and size + len(each.body) > _CHUNK_BYTES:
            yield begun
            begun, size = [], 0
        begun.append(each)
        size += len(each.body)
    yield begun


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] not in ("http.disconnect", "websocket.disconnect"):
        pass


async def _close(websocket: WebSocket, code: int, why: str) -> None:
    """Close a socket; who takes nothing is not waited for."""
    with suppress(TimeoutError, RuntimeError, WebSocketDisconnect):
        async with asyncio.timeout(_CLOSE_S):
            await websocket.close(code, why)


def _message(name: str, position: int) -> bytes:
    return orjson.dumps({"event": name, "seq": position, "revision": position})


def _number(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit()) or int(text[:20]) > _LARGEST:
        raise InvalidRequest(why=f"{name} must be a whole number of at least 0, not {text!r:.40}")
    return int(text)
