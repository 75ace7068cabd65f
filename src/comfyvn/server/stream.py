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

from comfyvn.errors import InvalidFilter, RegistryUnusable, TokenRefused
from comfyvn.registry.news import POSITION, News, Position, check_events, is_wanted, read_position
from comfyvn.server.access import Visitor, may_read, visitor_of
from comfyvn.server.description import problems
from comfyvn.server.hub import Place
from comfyvn.server.state import State, here

__all__ = ["router"]

router = APIRouter(dependencies=[Depends(may_read)])

_CLOSE_S: Final = 10.0
_CHUNK_BYTES: Final = 65_536
_log = logging.getLogger(__name__)
_NOT_ALLOWED: Final = 1008
_TRY_AGAIN_LATER: Final = 1013
_GOING_AWAY: Final = 1001
_HEADERS: Final = {"cache-control": "no-store", "x-accel-buffering": "no"}

_End = Literal["ended", "gone", "slow", "refused"]
"""The server is about to end; the client went; he takes nothing any more; he may not hear more."""
_Since = Annotated[
    str | None,
    Query(
        pattern=POSITION,
        max_length=28,
        description="Tell what came behind this `position` first. 0: all that is known. A bare `seq` is "
        "allowed, but can't show that an older ledger was put back meanwhile.",
    ),
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
            "the position, then each change as a message with `id:` = `position`; `reset` tells that "
            "changes were missed and everything is to be read again.",
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
    begin = _read("Last-Event-ID", last_event_id) or _read("since", since)
    return _EventStream(_Listener(state, visitor_of(request), begin, event, type))


@router.websocket("/events/ws")
async def listen_by_socket(
    websocket: WebSocket, since: str | None = None, event: _Events = None, type: _Types = None
) -> None:
    """Hear of every change of the library; each is one text frame of JSON. What a client sends is ignored."""
    state = here(websocket)
    state.hub.check_room()
    listener = _Listener(state, visitor_of(websocket), _read("since", since), event, type)
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
        since: Position | None,
        events: list[str] | None,
        types: list[str] | None,
    ) -> None:
        self._hub = state.hub
        self._is_welcome = functools.partial(state.doorkeeper.is_welcome, visitor)
        self._backlog = state.config.event_backlog
        self._since = since
        self._events = check_events([name for text in events or [] for name in text.split(",") if name])
        self._types = frozenset(types or ())
        self._place = Place(Position(0), 0)

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
            while (batch := await self._hub.after(self._place, spoke_at + self._hub.beat_s)) is not None:
                if not self._is_welcome():
                    raise TokenRefused()
                self._place = batch.place
                wanted = [each for each in batch.news if is_wanted(each, self._events, self._types)]
                if batch.is_reset:
                    await self._hub.patiently(voice.tell("reset", self._place.position))
                elif wanted:
                    for chunk in _chunks(wanted):
                        await self._hub.patiently(voice.pass_on(chunk))
                elif clock() >= spoke_at + self._hub.beat_s:
                    await self._hub.patiently(voice.beat(self._place.position))
                else:
                    continue
                spoke_at = clock()

    async def _greet(self, voice: _Voice) -> None:
        since = None
        if self._since is not None:
            since = await self._hub.find(self._since, self._backlog)
        is_reset = self._since is not None and since is None
        self._place = since or await self._hub.end()
        for name in ("hello", "reset") if is_reset else ("hello",):
            await self._hub.patiently(voice.tell(name, self._place.position))


class _Voice(Protocol):
    """How a stream speaks."""

    async def tell(self, name: str, position: Position) -> None:
        """Send a message of ours: that it begins, or that changes were missed."""

    async def pass_on(self, news: list[News]) -> None:
        """Send some changes."""

    async def beat(self, position: Position) -> None:
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

    async def tell(self, name: str, position: Position) -> None:
        start = b"retry: 2000\n" if name == "hello" else b""
        body = _message(name, position)
        await self._write(b"%sevent: %s\nid: %s\ndata: %s\n\n" % (start, name.encode(), _id(position), body))

    async def pass_on(self, news: list[News]) -> None:
        parts = [b"id: %s\ndata: %s\n\n" % (_id(each.position), each.body) for each in news]
        await self._write(b"".join(parts))

    async def beat(self, position: Position) -> None:
        await self._write(b": still here\nid: %s\n\n" % _id(position))  # no data: only the position is kept

    async def _write(self, data: bytes) -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": True})


class _Frames:
    """Speaks in text frames of a WebSocket."""

    def __init__(self, websocket: WebSocket) -> None:
        self._websocket = websocket

    async def tell(self, name: str, position: Position) -> None:
        await self._websocket.send_text(_message(name, position).decode())

    async def pass_on(self, news: list[News]) -> None:
        for each in news:
            await self._websocket.send_text(each.body.decode())

    async def beat(self, position: Position) -> None:
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


def _message(name: str, position: Position) -> bytes:
    seq = position.seq
    return orjson.dumps({"event": name, "seq": seq, "position": str(position), "revision": seq})


def _read(name: str, stated: str | None) -> Position | None:
    return read_position(name, stated) if stated else None


def _id(position: Position) -> bytes:
    return str(position).encode()
