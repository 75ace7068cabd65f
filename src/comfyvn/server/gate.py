"""The gate that every request passes before a route sees it, and every answer on its way out.

It is plain ASGI and looks at each header once: it stands before the cheapest answer, too.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from datetime import UTC, datetime
from functools import lru_cache
from secrets import token_hex
from typing import Any, Final

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect

from comfyvn.db import ACTING
from comfyvn.errors import (
    ComfyVNError,
    HeadersTooLarge,
    HostRefused,
    MalformedRequest,
    OriginMissing,
    OriginRefused,
    ServerFault,
    TokenMissing,
    TokenRefused,
    TooLarge,
    TooLong,
    TooSlow,
)
from comfyvn.server.access import Visitor, address_of
from comfyvn.server.answers import problem
from comfyvn.server.questions import body_limit
from comfyvn.server.state import State

__all__ = ["EVENTS", "SECURITY", "Gate", "cookie_of", "cookie_of_nobody", "cookie_value"]

_log = logging.getLogger(__name__)
SECURITY: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"x-frame-options", b"DENY"),
)
"""Headers of every answer, unless a route says otherwise."""
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_SESSION: Final = "/session"
_OPEN: Final = "/healthz"
_PAGE: Final = re.compile(r"/(?:studio(?:/.*)?)?", re.DOTALL)
"""The Studio's page, and what leads to it: everybody may have it, and sign in there."""
EVENTS: Final = "/events"
"""The stream, the one path that answers GET but not HEAD: it never ends."""
_KINDS: Final = {EVENTS: "stream", "/events/ws": "stream", "/assets/upload": "upload"}
_LASTING: Final = re.compile(
    r"/assets/(?:bulk|register|remove|[^/]+/download|operations/[^/]+/undo)/?"
    r"|/api/assets/(?:enforce|rebuild|register)/?"
)
"""What may take longer than the setting ``request_time_s``, besides streams and uploads."""
_HEAD_AS_SUCH: Final = re.compile(EVENTS + r"|/assets/[^/]+/(?:thumb|preview|waveform|download)")
"""What answers HEAD itself, or not at all; everything else is asked as by GET."""
_LEAST_RATE: Final = 1_000.0
"""How many bytes of an upload must come in a second, on average."""
_PLAIN_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_HOST: Final = re.compile(r"(?:\[([0-9a-f:.]+)\]|([a-z0-9._-]+))(?::([0-9]{1,5}))?")
_ORIGIN: Final = re.compile(r"(https?)://([^/]+)")
_PORTS: Final = {"http": "80", "https": "443", "ws": "80", "wss": "443"}
_ONCE: Final = frozenset({b"host", b"origin", b"authorization", b"content-length", b"sec-fetch-site"})
_WANTED: Final = _ONCE | {
    b"cookie",
    b"x-request-id",
    b"sec-fetch-mode",
    b"transfer-encoding",
    b"access-control-request-method",
}
_FORWARDED: Final = frozenset(
    {b"forwarded", b"via", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"x-real-ip"}
)
_PREFLIGHT: Final = (
    (b"access-control-allow-methods", b"GET, HEAD, POST, PATCH, DELETE"),
    (
        b"access-control-allow-headers",
        b"authorization, content-type, if-match, if-none-match, if-range, last-event-id, range, x-request-id",
    ),
    (b"access-control-max-age", b"600"),
)
_EXPOSED: Final = (
    b"access-control-expose-headers",
    b"content-disposition, content-range, etag, location, retry-after, x-registry-revision, x-request-id,"
    b" x-total",
)


class _Asked:
    """What the gate wants to know of a request's head."""

    __slots__ = ("body_bytes", "headers", "host", "id", "is_forwarded", "is_unsafe", "method", "path", "size")

    def __init__(self, scope: Scope) -> None:
        self.method: str = scope.get("method", "GET")
        self.path: str = scope["path"]
        self.is_unsafe = scope["type"] == "websocket" or self.method not in _SAFE
        self.is_forwarded = False
        size = len(scope.get("raw_path") or b"") + len(scope["query_string"])
        headers: dict[bytes, bytes] = {}
        twice = None
        for name, value in scope["headers"]:
            size += len(name) + len(value) + 4
            if name in _WANTED:
                if name in headers:
                    if name in _ONCE:
                        twice = name
                    value = headers[name] + b"; " + value
                headers[name] = value
            elif name in _FORWARDED:
                self.is_forwarded = True
        self.size = size
        self.headers = headers
        self.host = headers.get(b"host", b"").decode("latin-1").lower()
        stated = headers.get(b"x-request-id", b"")
        self.id = stated if _PLAIN_ID.fullmatch(stated) else token_hex(8).encode()
        if twice is not None:
            raise MalformedRequest(why=f"it has the header {twice.decode()} more than once")
        length = headers.get(b"content-length")
        self.body_bytes = int(length) if length and length.isdigit() else None

    @property
    def has_body(self) -> bool:
        return bool(self.body_bytes) or b"transfer-encoding" in self.headers

    @property
    def origin(self) -> str | None:
        origin = self.headers.get(b"origin")
        return None if origin is None else origin.decode("latin-1").lower()

    @property
    def bearer(self) -> str | None:
        scheme, _, token = self.headers.get(b"authorization", b"").decode(errors="replace").partition(" ")
        return token.strip() or None if scheme.lower() == "bearer" else None


class _Answer:
    """What goes out: gets the headers that every answer has, and is counted; for HEAD it has no body."""

    __slots__ = ("_is_head", "_send", "extra", "is_gone", "size", "status")

    def __init__(self, send: Send, extra: list[tuple[bytes, bytes]], *, is_head: bool) -> None:
        self._send = send
        self.extra = extra
        self._is_head = is_head
        self.status = 0
        self.size = 0
        self.is_gone = False

    async def __call__(self, message: Message) -> None:
        """Send one message on."""
        kind = message["type"]
        if kind == "http.response.body":
            if self._is_head:
                message = {**message, "body": b""}
            self.size += len(message.get("body", b""))
        elif kind in ("http.response.start", "websocket.http.response.start"):
            self.status = message["status"]
            headers = list(message.get("headers", ()))
            present = {name for name, _ in headers}
            headers += [each for each in SECURITY if each[0] not in present]
            message = {**message, "headers": headers + self.extra}
        elif kind == "websocket.accept":
            self.status = 101
        try:
            await self._send(message)
        except OSError:
            self.is_gone = True
            raise


class Gate:
    """Finds out who sends a request, and turns away who must not come in."""

    def __init__(self, app: ASGIApp, state: State) -> None:
        self._app = app
        self._state = state
        self._config = state.config
        login = state.registry.library.ledger.actor
        self._actor = f"http:{login}" if login else "http"
        self._allowed_hosts = frozenset(each.lower() for each in self._config.allowed_hosts)
        self._allowed_origins = frozenset(each.lower().rstrip("/") for each in self._config.allowed_origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request or socket."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        begun = time.perf_counter()
        visitor = scope.setdefault("state", {})["visitor"] = Visitor(None)
        request_id = token_hex(8).encode()
        is_head = scope.get("method") == "HEAD"
        answer = _Answer(send, [(b"x-request-id", request_id)], is_head=is_head)
        running, kind = self._state.meters.running, _KINDS.get(scope["path"], "other")
        running[kind] += 1
        try:
            asked = _Asked(scope)
            request_id = asked.id
            answer.extra = [(b"x-request-id", request_id)]
            visitor = self._admit(scope, asked, answer)
            scope["state"]["visitor"] = visitor
            await self._pass_on(scope, receive, answer, asked, visitor)
        except ComfyVNError as error:
            await self._refuse(error, scope, receive, answer)
        except (ClientDisconnect, WebSocketDisconnect):
            pass
        except asyncio.CancelledError:
            if not self._state.closing.is_set():
                raise
        except Exception as error:  # noqa: BLE001 - of a fault of ours the client learns only its number
            if not answer.is_gone:
                _log.error("request %s failed", request_id.decode(), exc_info=error)
                fault = ServerFault(request=request_id.decode())
                await self._refuse(fault, scope, receive, answer)
        finally:
            running[kind] -= 1
            self._note(scope, answer, request_id, visitor, time.perf_counter() - begun)

    async def _pass_on(
        self, scope: Scope, receive: Receive, answer: _Answer, asked: _Asked, visitor: Visitor
    ) -> None:
        """Give the request to its route, for no longer than it may take."""
        if self._is_preflight(asked):
            answer.extra += _PREFLIGHT
            await Response(status_code=204)(scope, receive, answer)
            return
        is_lasting = asked.path in _KINDS or _LASTING.fullmatch(asked.path) is not None
        limit_s = None if is_lasting else self._config.request_time_s
        if asked.has_body:
            is_upload = _KINDS.get(asked.path) == "upload"
            receive = _paced(receive, self._config.idle_time_s, _LEAST_RATE if is_upload else None)
        inner = scope
        if asked.method == "HEAD" and _HEAD_AS_SUCH.fullmatch(asked.path) is None:
            inner = {**scope, "method": "GET"}
        acting = ACTING.set(f"token:{visitor.name}" if visitor.name else self._actor)
        try:
            async with asyncio.timeout(limit_s) as patience:
                await self._app(inner, receive, answer)
        except TimeoutError as error:
            if not patience.expired():
                raise
            raise TooLong(seconds=limit_s) from error
        finally:
            ACTING.reset(acting)
            scope["route"] = inner.get("route")

    async def _refuse(self, error: ComfyVNError, scope: Scope, receive: Receive, answer: _Answer) -> None:
        """Answer with a problem; where an answer has begun, leave it cut off."""
        if answer.status == 0:
            response = problem(error, self._config, instance=scope["path"])
            if scope["state"].get("has_stale_cookie"):
                response.set_cookie(**cookie_of_nobody(scope))
            try:
                await response(scope, receive, answer)
            except OSError:
                _log.debug("%s was answered to nobody", type(error).__name__)
        elif scope["type"] == "websocket" and answer.status == 101:
            try:
                await answer({"type": "websocket.close", "code": 1011})
            except (OSError, RuntimeError):
                _log.debug("the socket was closed already")

    def _note(
        self, scope: Scope, answer: _Answer, request_id: bytes, visitor: Visitor, seconds: float
    ) -> None:
        route = getattr(scope.get("route"), "path", None)
        method = scope.get("method", "GET")
        self._state.meters.note(method, route, answer.status, seconds, answer.size)
        if self._state.access_log is not None:
            line = {
                "time": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
                "id": request_id.decode(),
                "method": method,
                "path": scope["path"],
                "status": answer.status,
                "bytes": answer.size,
                "ms": round(seconds * 1000, 2),
                "visitor": visitor.name,
            }
            self._state.access_log.note(line)

    # -- who may come in ------------------------------------------------------------------------------

    def _admit(self, scope: Scope, asked: _Asked, answer: _Answer) -> Visitor:
        """Check the head of a request and return who sends it.

        Raises:
            ComfyVNError: he may not come in.
        """
        if asked.size > self._config.header_bytes:
            raise HeadersTooLarge(limit=self._config.header_bytes)
        if asked.path == _OPEN:
            return Visitor(None)
        self._check_host(scope, asked)
        self._check_origin(scope, asked, answer)
        limit, setting = body_limit(self._config, asked.path)
        if asked.body_bytes is not None and asked.body_bytes > limit and asked.path != "/assets/upload":
            raise TooLarge(what="The body", limit=limit, setting=setting)
        if self._is_preflight(asked) or (asked.path == _SESSION and asked.method == "DELETE"):
            return Visitor(None)
        if _PAGE.fullmatch(asked.path):
            return Visitor(None)
        visitor = self._find_visitor(scope, asked)
        if visitor.scope is None and (asked.path, asked.method) != (_SESSION, "POST"):
            raise TokenMissing()
        return visitor

    def _find_visitor(self, scope: Scope, asked: _Asked) -> Visitor:
        token, session = asked.bearer, None
        if token is None:
            session = cookie_of(scope, asked.headers.get(b"cookie", b""))
            says_nothing = asked.origin is None and b"sec-fetch-site" not in asked.headers
            if session is not None and asked.is_unsafe and says_nothing:
                raise OriginMissing()  # any page could have a browser send that
        server, client = scope.get("server"), scope.get("client")
        address = client[0] if client else ""
        is_local = _is_loopback(server[0] if server else "") and _is_loopback(address)
        is_local = scope["state"]["is_local"] = is_local and not asked.is_forwarded
        try:
            return self._state.doorkeeper.visitor(token, session=session, is_local=is_local, address=address)
        except TokenRefused:
            scope["state"]["has_stale_cookie"] = session is not None
            raise

    def _check_host(self, scope: Scope, asked: _Asked) -> None:
        """Refuse a name that is not ours: a page may have had it point here (DNS rebinding)."""
        if b"host" not in asked.headers:
            raise MalformedRequest(why="it has no header Host")
        server = scope.get("server")
        if not _is_own(asked.host, server[0] if server else "", self._allowed_hosts):
            raise HostRefused(host=asked.host[:200])

    def _check_origin(self, scope: Scope, asked: _Asked, answer: _Answer) -> None:
        """Refuse what a page of another server sends, unless it may; let pages that may read the answers."""
        origin = asked.origin
        if self._allowed_origins:
            answer.extra.append((b"vary", b"origin"))
        if origin is not None and origin in self._allowed_origins:
            answer.extra += ((b"access-control-allow-origin", asked.headers[b"origin"]), _EXPOSED)
            return
        site = asked.headers.get(b"sec-fetch-site", b"none").lower()
        if not asked.is_unsafe:
            # such a page could read nothing, but it could keep the ledger busy; a link to here is fine
            if site == b"cross-site" and asked.headers.get(b"sec-fetch-mode") != b"navigate":
                raise OriginRefused(origin=(origin or "another site")[:200])
            return
        if origin is not None and not self._is_same(origin, asked.host, scope["scheme"]):
            raise OriginRefused(origin=origin[:200])
        if site not in (b"none", b"same-origin"):
            raise OriginRefused(origin=origin or "another site")

    def _is_same(self, origin: str, host: str, scheme: str) -> bool:
        """Tell whether a page comes from this server; behind a proxy its scheme may be another than ours."""
        of_page, of_host = _ORIGIN.fullmatch(origin), _HOST.fullmatch(host)
        if of_page is None or of_host is None:
            return False
        page = _HOST.fullmatch(of_page[2])
        is_proxied = (of_host[1] or of_host[2]) in self._allowed_hosts or host in self._allowed_hosts
        if page is None or not (is_proxied or of_page[1] == scheme.replace("ws", "http")):
            return False
        usual = _PORTS[of_page[1]]
        return page.groups()[:2] == of_host.groups()[:2] and (page[3] or usual) == (of_host[3] or usual)

    def _is_preflight(self, asked: _Asked) -> bool:
        is_asked = asked.method == "OPTIONS" and b"access-control-request-method" in asked.headers
        return is_asked and asked.origin in self._allowed_origins


# -- cookies ------------------------------------------------------------------------------------------------


def cookie_of(scope: Scope, header: bytes | None = None) -> str | None:
    """Return the session in the cookie that ``POST /session`` set, None if there is none."""
    if header is None:
        header = b"; ".join(value for name, value in scope["headers"] if name == b"cookie")
    wanted = _cookie_name(scope).encode()
    for part in header.split(b";"):
        name, _, value = part.strip().partition(b"=")
        if name == wanted:
            return value.decode("latin-1")
    return None


def cookie_value(scope: Scope, session: str) -> dict[str, Any]:
    """Return the cookie that holds a session, as arguments of `Response.set_cookie`."""
    origin = next((value for name, value in scope["headers"] if name == b"origin"), b"")
    return {
        "key": _cookie_name(scope),
        "value": session,
        "path": "/",
        "secure": scope["scheme"] == "https" or origin.lower().startswith(b"https:"),
        "httponly": True,
        "samesite": "strict",
    }


def cookie_of_nobody(scope: Scope) -> dict[str, Any]:
    """Return the cookie that takes another away, as arguments of `Response.set_cookie`."""
    return {**cookie_value(scope, ""), "max_age": 0}


def _cookie_name(scope: Scope) -> str:
    """Return the cookie's name: browsers send cookies to every port of a name, so it tells the port."""
    server = scope.get("server")
    return f"comfyvn_session_{server[1] if server else 0}"


# -- inside -------------------------------------------------------------------------------------------------


def _paced(receive: Receive, idle_s: float, least_rate: float | None) -> Receive:
    """Wait for each part of a body only so long, and for all of it.

    What counts is the time that is spent waiting for the client, not that in which we are busy.

    Args:
        receive: gives the next part.
        idle_s: how long to wait for a part, and for all parts together.
        least_rate: how many bytes, having come, allow to wait for another second; None: none do.
    """
    is_whole, left_s = False, idle_s

    async def receive_part() -> Message:
        nonlocal is_whole, left_s
        if is_whole:
            return await receive()
        begun = time.monotonic()
        try:
            async with asyncio.timeout(min(idle_s, left_s)):
                message = await receive()
        except TimeoutError as error:
            why = f"Nothing more of the body came for {idle_s:g} s (setting idle_time_s)."
            if left_s < idle_s:
                why = "The body comes too slowly (setting idle_time_s)."
            raise TooSlow(why=why) from error
        left_s -= time.monotonic() - begun
        if least_rate is not None:
            left_s += len(message.get("body", b"")) / least_rate
        is_whole = message["type"] != "http.request" or not message.get("more_body", False)
        return message

    return receive_part


@lru_cache(maxsize=256)
def _is_own(host: str, server: str, allowed: frozenset[str]) -> bool:
    found = _HOST.fullmatch(host)
    if found is None:
        return False
    name = (found[1] or found[2]).rstrip(".")
    if name == "localhost" or name in allowed or host in allowed:
        return True
    address = address_of(name)
    return address is not None and (address.is_loopback or address == address_of(server))


@lru_cache(maxsize=256)
def _is_loopback(text: str) -> bool:
    address = address_of(text)
    return address is not None and address.is_loopback
