"""Running the server: uvicorn with our limits, and with an end that waits for nobody.

uvicorn trusts that a proxy stands before it: it waits for ever for the rest of a request's head, keeps any
number of connections, and waits for whoever does not read his answer. `_Protocol` adds the ends to that.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
from asyncio import TimerHandle
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from types import FrameType
from typing import Any, Final

import httptools
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from comfyvn.config import Config
from comfyvn.errors import CannotListen, ComfyVNError, HeadersTooLarge, MalformedRequest, TooBusy, TooSlow
from comfyvn.server.access_log import AccessLog
from comfyvn.server.answers import problem
from comfyvn.server.app import create_app
from comfyvn.server.gate import SECURITY
from comfyvn.server.state import State
from comfyvn.studio.core import AssetRegistry

__all__ = ["Server", "listen", "make_server"]

_LARGEST_MESSAGE: Final = 4_096
_BEAT_S: Final = 15.0
_PIPELINED: Final = 32
_NOT_ALLOWED: Final = 1008
_FRAMES_PER_S: Final = 50
_BYTES_PER_S: Final = 65_536
_FRAMES_BYTES: Final = 1_024
"""How much of what comes on a socket is looked at before the frames in it are counted."""
_LINE_BYTES: Final = 1_024  # what the gate does not count: method, version, line ends
_SPARE_FILES: Final = 200
_DRAINED_FOR_S: Final = 2.0
_LAST_ANSWERS_S: Final = 0.8
_LAST_STEPS_S: Final = 0.4
_NO_NEWS: Final = ("ASGI callable returned without completing", "Invalid UTF-8 sequence")
_UVICORN: Final = logging.getLogger("uvicorn.error")


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens; port 0 takes a free one.

    Raises:
        CannotListen: the address is another program's, or not of this machine.
    """
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        # with its protocol: else asyncio does not switch Nagle's algorithm off, and answers wait for 40 ms
        opened = socket.socket(*found[:3])
    except (OSError, UnicodeError) as error:
        raise CannotListen(address=address, why=getattr(error, "strerror", None) or error) from error
    try:
        if sys.platform != "win32":  # there it would let two programs have the same port
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(found[4])
        opened.listen(128)  # now, so that a port in use is told at once
    except OSError as error:
        opened.close()
        raise CannotListen(address=address, why=error.strerror or error) from error
    return opened


class Server(uvicorn.Server):
    """A server that ends within two seconds, whoever is still being served."""

    def __init__(self, config: uvicorn.Config, state: State) -> None:
        super().__init__(config)
        self.state = state

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone: `comfyvn serve` handles them for longer than uvicorn would."""
        yield

    def end(self, _signal: int = 0, _frame: FrameType | None = None) -> None:
        """Have the server end; also as the handler of a signal, and more than once."""
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no more connections, let answers that are near their end finish, and cut off the rest."""
        self.state.closing.set()
        for server in self.servers:
            server.close()
        for each in sockets or []:
            each.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        await self._until_done(_LAST_ANSWERS_S)
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await self._until_done(_LAST_STEPS_S)
        for task in list(self.server_state.tasks):
            task.cancel()
        await self._until_done(_LAST_STEPS_S)
        await self.lifespan.shutdown()

    async def _until_done(self, limit_s: float) -> None:
        deadline = asyncio.get_running_loop().time() + limit_s
        while self.server_state.connections or self.server_state.tasks:
            if asyncio.get_running_loop().time() > deadline:
                return
            await asyncio.sleep(0.01)


def make_server(
    registry: AssetRegistry, *, is_exposed: bool = False, access_log: AccessLog | None = None
) -> Server:
    """Return a server for a registry, to be run on a socket of `listen`.

    Args:
        registry: the library.
        is_exposed: that socket can be reached from other machines; see `create_app`.
        access_log: where each request is noted.
    """
    app = create_app(registry, is_exposed=is_exposed, access_log=access_log)
    state = app.state.comfyvn
    _UVICORN.addFilter(_is_news)
    config = _UvicornConfig(
        app,
        http=_Protocol,
        ws=_Socket,
        log_config=None,
        log_level="error",
        access_log=False,
        server_header=False,
        date_header=True,
        proxy_headers=False,
        timeout_keep_alive=int(max(1, min(registry.library.config.idle_time_s, 60))),
        ws_max_size=_LARGEST_MESSAGE,  # nobody has to send us any
        ws_ping_interval=_BEAT_S,
        ws_ping_timeout=_BEAT_S,
        ws_per_message_deflate=False,
    )
    config.settings = registry.library.config
    config.most = min(config.settings.connections, _files_left())
    return Server(config, state)


def _is_news(record: logging.LogRecord) -> bool:
    """Leave out what the gate told already or did on purpose (cut an answer off), and what clients do."""
    return not record.getMessage().startswith(_NO_NEWS)


class _UvicornConfig(uvicorn.Config):
    """Carries our settings to the connections, and how many of these there may be."""

    settings: Config
    most: int


class _Protocol(HttpToolsProtocol):
    """One connection of a client who may mean ill.

    Its parser is in one of three places: ``between`` requests, in the ``head`` of one, or in a ``body``.
    """

    def __init__(self, config: uvicorn.Config, *args: Any, **kwargs: Any) -> None:
        super().__init__(config, *args, **kwargs)
        assert isinstance(config, _UvicornConfig)
        self._settings = config.settings
        self._most = config.most
        self._place = "between"
        self._head_bytes = 0
        self._has_seen_head = False
        self._is_over = False
        self._answering: RequestResponseCycle | None = None
        self._timer: TimerHandle | None = None
        self._stall: TimerHandle | None = None
        self.since = self.heard_at = self.loop.time()

    # -- the connection -------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a client in; where there are too many, the one that has been idle for longest goes.

        Where none is idle, it is the one of whose request the next part has been waited for longest.
        """
        super().connection_made(transport)
        self._wait_for_head()
        if len(self.connections) <= self._most:
            return
        others = [each for each in self.connections if isinstance(each, _Protocol) and each is not self]
        others = [each for each in others if not each.transport.is_closing()]
        if idle := [each for each in others if each.is_idle]:
            min(idle, key=lambda each: each.since).transport.abort()
        elif half_sent := [each for each in others if each.is_half_sent]:
            min(half_sent, key=lambda each: each.heard_at).transport.abort()
        else:
            self._refuse(TooBusy(why="There are too many connections."))

    @property
    def is_idle(self) -> bool:
        """Nothing is being answered here."""
        return self.cycle is None or self.cycle.response_complete or self.transport.is_closing()

    @property
    def is_half_sent(self) -> bool:
        """We are waiting for the rest of a request, and nothing else is being answered here."""
        is_waiting = self._place == "body" and not self.flow.read_paused
        return is_waiting and not self.pipeline and not self.cycle.response_started

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that the client is gone."""
        self._stop_waiting()
        if self._stall is not None:
            self._stall.cancel()
        self.pipeline.clear()
        super().connection_lost(exc)
        if self._answering is not None and not self._answering.response_complete:
            self._answering.disconnected = True  # of several requests uvicorn tells only the last
            self._answering.message_event.set()

    def data_received(self, data: bytes) -> None:
        """Take what came; whatever it is, no exception leaves this."""
        if self._is_over or self.transport.is_closing():
            return
        self._unset_keepalive_if_required()
        self.heard_at = self.loop.time()
        if self._place != "body":
            self._head_bytes += len(data)
            self._wait_for_head()
        self._has_seen_head = False
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._upgrade()
        except httptools.HttpParserError:
            self._refuse(MalformedRequest(why="it is not HTTP/1.1, or broken"))
        if self._has_seen_head:
            self._head_bytes = 0
        elif self._head_bytes > self._settings.header_bytes + _LINE_BYTES:
            self._refuse(HeadersTooLarge(limit=self._settings.header_bytes))

    def _upgrade(self) -> None:
        """Hand over to the protocol of sockets, which checks what it is given less than we do."""
        if not self._should_upgrade():
            self._is_over = True  # the request is answered as if it had not asked for that
            if self.cycle is not None:
                self.cycle.keep_alive = False
            return
        self._stop_waiting()
        if self.cycle is not None and not self.cycle.response_complete:
            self.transport.abort()  # sent behind a request that is not answered yet
            return
        try:
            self.handle_websocket_upgrade()
        except Exception as error:  # noqa: BLE001 - what its parser says of a hostile head is no news
            logging.getLogger(__name__).debug("a socket was refused: %s", error)
            self.connections -= {each for each in self.connections if each.transport is self.transport}
            self.transport.abort()
            return
        if not getattr(self.transport.get_protocol(), "handshake_initiated", True):
            self._refuse(MalformedRequest(why="no socket can be opened by this"))  # it would wait for ever
        self._watch_socket(0)

    def _watch_socket(self, left_before: int) -> None:
        """Cut off who reads nothing from a socket for too long: its own protocol would keep him for good."""
        left = self.transport.get_write_buffer_size()
        if left and left >= left_before > 0:
            self.transport.abort()
        elif left or not self.transport.is_closing():
            self.loop.call_later(self._settings.idle_time_s, self._watch_socket, left)

    # -- the parser -----------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Note that a head begins."""
        super().on_message_begin()
        self._place = "head"

    def on_headers_complete(self) -> None:
        """Start a request; what it is sent to must be a path of ours."""
        if not self.url.startswith(b"/"):
            raise ValueError("the target is no path")
        if len(self.pipeline) >= _PIPELINED:
            raise ValueError("too many requests at once")
        self._place = "body"
        self._has_seen_head = True
        self._stop_waiting()
        super().on_headers_complete()
        if not self.pipeline:
            self._answering = self.cycle

    def on_message_complete(self) -> None:
        """Note that a request is whole."""
        super().on_message_complete()
        self._place = "between"
        self.since = self.loop.time()
        if self._timer is not None:  # this was the rest of a body that nobody wanted
            self._stop_waiting()
            self._wait_for_head()

    def on_response_complete(self) -> None:
        """Go on to the next request; a client who is still sending this one gets a moment to end that.

        To close at once would have his system throw the answer away unread.
        """
        following = self.pipeline[-1][0] if self.pipeline else None
        super().on_response_complete()
        self._answering = following
        self.since = self.loop.time()
        if following is not None or self.transport.is_closing():
            return
        if self._place == "body":
            self._unset_keepalive_if_required()
            if self.expect_100_continue:
                self.transport.close()  # what comes next could be his body or his next request
            else:
                self._timer = self.loop.call_later(_DRAINED_FOR_S, self.transport.close)
        elif self._is_over:
            self.transport.close()

    # -- ends to patience -----------------------------------------------------------------------------

    def _wait_for_head(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(self._settings.idle_time_s, self._on_slow_head)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_slow_head(self) -> None:
        self._timer = None
        if self._head_bytes == 0 and self.is_idle:
            self.transport.close()
        else:
            seconds = self._settings.idle_time_s
            self._refuse(TooSlow(why=f"The head of the request did not come within {seconds:g} s."))

    def pause_writing(self) -> None:
        """Stop sending; a client who reads nothing for too long is cut off."""
        super().pause_writing()
        self._stall = self.loop.call_later(
            self._settings.idle_time_s, self._on_stall, self.transport.get_write_buffer_size()
        )

    def _on_stall(self, left_before: int) -> None:
        left = self.transport.get_write_buffer_size()
        if left >= left_before:
            self.transport.abort()
        else:
            self._stall = self.loop.call_later(self._settings.idle_time_s, self._on_stall, left)

    def resume_writing(self) -> None:
        """Go on sending."""
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None
        super().resume_writing()

    def _refuse(self, error: ComfyVNError) -> None:
        """Answer what is no request, behind the answers to what was sent before it, and close."""
        if self._is_over or self.transport.is_closing():
            return
        self._is_over = True
        self._stop_waiting()
        busy = None if self.is_idle else self.cycle
        if busy is not None and self._place != "body":
            busy.keep_alive = False  # it is whole, and so are those before it: they are answered
            return
        if busy is not None:
            has_begun = busy.response_started or bool(self.pipeline)
            busy.disconnected = True
            busy.message_event.set()
            if has_begun:
                self.transport.close()
                return
        self.transport.write(_raw(error, self._settings))
        self.transport.close()


class _Socket(WebSocketsSansIOProtocol):
    """One socket of a client who may mean ill."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._second = 0.0
        self._frames = self._bytes = 0

    def data_received(self, data: bytes) -> None:
        """Take what came; whatever it is, no exception leaves this."""
        if self.handshake_initiated and not self.handshake_complete:
            self.transport.abort()  # nobody sends before he is let in, and the parser is not ready for it
            return
        if not self.handshake_initiated:  # the head, which is as long as the settings allow
            self._take(data)
            return
        if self.loop.time() - self._second >= 1:
            self._second, self._frames, self._bytes = self.loop.time(), 0, 0
        for at in range(0, len(data), _FRAMES_BYTES):  # some thousand frames at once would take too long
            part = data[at : at + _FRAMES_BYTES]
            self._bytes += len(part)
            self._take(part)
            if self.transport.is_closing():
                return
            if self._frames > _FRAMES_PER_S or self._bytes > _BYTES_PER_S:
                self._hang_up()
                return

    def _take(self, data: bytes) -> None:
        try:
            super().data_received(data)
        except Exception as error:  # noqa: BLE001 - what its parser says of a hostile frame is no news
            logging.getLogger(__name__).debug("a socket was closed: %s", error)
            self.transport.abort()

    def handle_events(self) -> None:
        """Handle what was parsed, and count it."""
        self._frames += len(self.conn.events)
        super().handle_events()

    def _hang_up(self) -> None:
        """Close on a client who sends more than anybody has to say to us."""
        self.stop_keepalive()
        if not self.close_sent:
            self.queue.put_nowait({"type": "websocket.disconnect", "code": _NOT_ALLOWED})
            self.conn.fail(_NOT_ALLOWED, "too much was sent")
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.close_sent = True
        self.transport.close()

    async def send(self, message: Any) -> None:
        """Send one message; where the client had to be cut off meanwhile, he is gone."""
        try:
            await super().send(message)
        except RuntimeError as error:
            if self.close_sent:
                raise ClientDisconnected() from error
            raise


def _raw(error: ComfyVNError, settings: Config) -> bytes:
    """Return an answer to somebody who never came as far as the gate."""
    answer = problem(error, settings)
    status = f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}\r\n".encode()
    headers = [*answer.raw_headers, *SECURITY, (b"connection", b"close")]
    return b"".join(
        [status, *(name + b": " + value + b"\r\n" for name, value in headers), b"\r\n", answer.body]
    )


def _files_left() -> int:
    """Return how many connections the system lets this process have open."""
    if sys.platform == "win32":
        return 1_000_000
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(soft - _SPARE_FILES, 16) if soft != resource.RLIM_INFINITY else 1_000_000
