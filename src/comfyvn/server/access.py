"""Who may do what: scopes, the dependencies by which a route asks for one, and who it is that asks.

A route without one of these dependencies is open to nobody but the tests that look for it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from datetime import datetime
from hmac import compare_digest
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from secrets import token_urlsafe
from typing import Any, Final, NamedTuple

from starlette.requests import HTTPConnection

from comfyvn.db.tokens import MASTER, SCOPES, Scope, Token, Tokens, digest_of
from comfyvn.errors import (
    CodeRefused,
    ComfyVNError,
    ScopeMissing,
    TokenMissing,
    TokenRefused,
    TooManyAttempts,
)
from comfyvn.studio.core import AssetRegistry

__all__ = [
    "SCOPES",
    "Doorkeeper",
    "Scope",
    "Visitor",
    "address_of",
    "may_administer",
    "may_read",
    "may_write",
    "visitor_of",
]

_log = logging.getLogger(__name__)
_USE_NOTED_EVERY_S: Final = 60.0
_STRIKES: Final = 20
_STRIKES_WITHIN_S: Final = 60.0
_ADDRESSES: Final = 4_096
_SESSIONS: Final = 1_000
_SESSION_BYTES: Final = 32
_CODES: Final = 16
_CODE_S: Final = 60.0


class Visitor:
    """Who sends a request.

    Args:
        scope: what he may do; None for nothing.
        name: of his token; None for one who showed none.
        token_id: of his token; None for the one of the setting ``api_token``, too.
        session: the digest of his session, if he showed that in place of his token.
    """

    __slots__ = ("name", "scope", "session", "token_id")

    def __init__(
        self,
        scope: Scope | None,
        name: str | None = None,
        token_id: str | None = None,
        session: str | None = None,
    ) -> None:
        self.scope = scope
        self.name = name
        self.token_id = token_id
        self.session = session


class _Holder(NamedTuple):
    """What a token makes of who shows it."""

    visitor: Visitor
    digest: str
    ends_at: float


class Doorkeeper:
    """Tells who somebody is: by his token, or by where he comes from.

    Who comes from this machine itself needs no token to read, and none at all where no token was ever made.
    A token that has expired keeps that fence up; only to revoke it takes the fence away.

    Args:
        registry: the library whose tokens count.
        is_exposed: the server can be reached from elsewhere, so that nobody comes in without a token.
        run: how to call a function in a thread.
    """

    def __init__(
        self, registry: AssetRegistry, *, is_exposed: bool, run: Callable[..., Awaitable[Any]]
    ) -> None:
        library = registry.library
        self.is_exposed = is_exposed or bool(library.config.allowed_hosts)
        self._engine = library.ledger.engine
        self._tokens = Tokens(self._engine, registry.project_id)
        self._run = run
        master = library.config.api_token
        self._master = None if master is None else digest_of(master)
        self._held = ExitStack()
        self._version: Callable[[], int] | None = None
        self._read_at: int | None = None
        self._holders: dict[str, _Holder] = {}
        self._is_fenced = False
        self._noted: dict[str, float] = {}
        self._notes: set[asyncio.Task[None]] = set()
        self._strikes = _Strikes()
        self._sessions = _Sessions()
        self._codes = _Codes()

    def close(self) -> None:
        """Let go of the ledger."""
        self._held.close()
        self._version = None

    def has_token(self) -> bool:
        """Tell whether anybody could come in with a token."""
        self._look()
        now = time.time()
        return self._master is not None or any(now < each.ends_at for each in self._holders.values())

    def is_fenced(self) -> bool:
        """Tell whether who comes from this machine needs a token for changes."""
        self._look()
        return self._is_fenced

    def visitor(
        self, token: str | None, *, session: str | None = None, is_local: bool, address: str
    ) -> Visitor:
        """Tell who somebody is.

        Args:
            token: what he shows.
            session: what his browser shows, one of `begin_session`; a token goes before it.
            is_local: he comes from this machine, and not through a proxy.
            address: where he comes from.

        Raises:
            TokenRefused: the token or the session is none of ours, or no longer.
            TooManyAttempts: too many such came from his address.
        """
        self._look()
        if token is not None:
            return self._holder(token, address)
        if session is not None:
            return self._sitting(session)
        if self.is_exposed or not is_local:
            return Visitor(None)
        return Visitor("assets.read" if self._is_fenced else "admin")

    def is_welcome(self, visitor: Visitor) -> bool:
        """Tell whether who came in would still come in: his token or session may be gone meanwhile."""
        if visitor.session is not None and self._sessions.find(visitor.session) is None:
            return False
        if visitor.token_id is None:
            return True
        self._look()
        holder = self._holders.get(visitor.token_id)
        return holder is not None and time.time() < holder.ends_at

    def begin_session(self, visitor: Visitor) -> str:
        """Return what stands for the token of a visitor from now on, as long as this server runs.

        Nobody can tell the token by it, and no other server knows it.
        """
        return self._sessions.begin(visitor)

    def make_code(self) -> str:
        """Return what lets one browser of this machine in as who may do everything, once and soon.

        It is for who started the server, and so has the library's files anyway.
        """
        return self._codes.make()

    def begin_session_by(self, code: str) -> tuple[Visitor, str]:
        """Return who shows a code of `make_code`, and his session; the code is used up.

        Raises:
            CodeRefused: it is none of ours, was used, or is too old.
        """
        if not self._codes.take(code):
            raise CodeRefused()
        visitor = Visitor("admin")
        return visitor, self._sessions.begin(visitor)

    def end_session(self, session: str | None) -> None:
        """Have a session let nobody in any more; one that is none of ours is no error."""
        if session is not None:
            self._sessions.end(digest_of(session))

    def _sitting(self, session: str) -> Visitor:
        digest = digest_of(session)
        visitor = self._sessions.find(digest)
        if visitor is None:
            raise TokenRefused()  # no strike: nobody guesses as many bits
        if not self.is_welcome(visitor):
            self._sessions.end(digest)
            raise TokenRefused()
        if visitor.token_id is not None:
            self._note_use(visitor.token_id)
        return visitor

    def _holder(self, text: str, address: str) -> Visitor:
        digest = digest_of(text)
        token_id = text[4:].partition("_")[0] if text.startswith("cvn_") else ""
        holder = self._holders.get(token_id)
        if holder is not None and compare_digest(holder.digest, digest):
            if time.time() < holder.ends_at:
                self._note_use(token_id)
                return holder.visitor
        else:
            # what people think up can be guessed; from who guesses too often not even the right one is taken
            self._strikes.check(address)
            if self._master is not None and compare_digest(self._master, digest):
                return Visitor("admin", MASTER)
            self._strikes.add(address)
        raise TokenRefused()

    def _look(self) -> None:
        """Read the tokens again if any process has changed the ledger since."""
        if self._version is None:
            self._version = self._held.enter_context(self._engine.watch())
        version = self._version()
        if version != self._read_at:
            self._take([each for each in self._tokens.all() if each.revoked_at is None])
            self._read_at = version

    def _take(self, tokens: list[Token]) -> None:
        self._holders = {
            each.id: _Holder(Visitor(each.scope, each.name, each.id), each.digest, _epoch(each.expires_at))
            for each in tokens
        }
        self._is_fenced = self._master is not None or bool(tokens)

    def _note_use(self, token_id: str) -> None:
        now = time.monotonic()
        if now - self._noted.get(token_id, -_USE_NOTED_EVERY_S) < _USE_NOTED_EVERY_S:
            return
        self._noted[token_id] = now
        task = asyncio.ensure_future(self._write_use(token_id))
        self._notes.add(task)
        task.add_done_callback(self._notes.discard)

    async def _write_use(self, token_id: str) -> None:
        try:
            await self._run(self._tokens.note_use, token_id)
        except (ComfyVNError, RuntimeError) as error:  # the ledger can't be written, or the server ends
            _log.debug("the use of token %s was not noted: %s", token_id, error)


class _Sessions:
    """The sessions of browsers, by digest; knows a bounded number of them, the oldest goes."""

    def __init__(self) -> None:
        self._known: dict[str, Visitor] = {}

    def begin(self, visitor: Visitor) -> str:
        text = token_urlsafe(_SESSION_BYTES)
        digest = digest_of(text)
        self._known[digest] = Visitor(visitor.scope, visitor.name, visitor.token_id, digest)
        if len(self._known) > _SESSIONS:
            del self._known[next(iter(self._known))]
        return text

    def find(self, digest: str) -> Visitor | None:
        return self._known.get(digest)

    def end(self, digest: str) -> None:
        self._known.pop(digest, None)


class _Codes:
    """The codes that nobody has used yet, by digest, and till when each is good; a bounded number of them."""

    def __init__(self) -> None:
        self._until: dict[str, float] = {}

    def make(self) -> str:
        text = token_urlsafe(_SESSION_BYTES)
        self._until[digest_of(text)] = time.monotonic() + _CODE_S
        if len(self._until) > _CODES:
            del self._until[next(iter(self._until))]
        return text

    def take(self, text: str) -> bool:
        until = self._until.pop(digest_of(text), None)
        return until is not None and time.monotonic() < until


class _Strikes:
    """Counts wrong tokens by address; knows a bounded number of addresses."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[int, float]] = {}

    def check(self, address: str) -> None:
        count, since = self._known.get(_block(address), (0, 0.0))
        left_s = since + _STRIKES_WITHIN_S - time.monotonic()
        if count >= _STRIKES and left_s > 0:
            raise TooManyAttempts(seconds=int(left_s) + 1)

    def add(self, address: str) -> None:
        block, now = _block(address), time.monotonic()
        count, since = self._known.pop(block, (0, now))
        if now - since > _STRIKES_WITHIN_S:
            count, since = 0, now
        self._known[block] = (count + 1, since)
        if len(self._known) > _ADDRESSES:
            del self._known[next(iter(self._known))]


def _block(address: str) -> str:
    """Return what one guest has of addresses: of IPv6 that is a whole network.

    >>> _block("::ffff:192.0.2.7"), _block("::1"), _block("2001:db8::7")
    ('192.0.2.7', '::1', '2001:db8::/64')
    """
    found = address_of(address)
    if found is None:
        return ""
    if found.version == 4 or found.is_loopback:
        return str(found)
    return str(ip_network((found, 64), strict=False))


def address_of(text: str) -> IPv4Address | IPv6Address | None:
    """Return the address that a text names, None if it names none; an IPv4 address in IPv6 form is one."""
    try:
        found = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found


def _epoch(at: str | None) -> float:
    return float("inf") if at is None else datetime.fromisoformat(at).timestamp()


def visitor_of(connection: HTTPConnection) -> Visitor:
    """Return who sends this request, as the gate found out."""
    found = connection.scope["state"].get("visitor")
    return found if isinstance(found, Visitor) else Visitor(None)


def _require(connection: HTTPConnection, scope: Scope) -> None:
    visitor = visitor_of(connection)
    if visitor.scope is not None and SCOPES.index(visitor.scope) >= SCOPES.index(scope):
        return
    if visitor.scope is None or visitor.name is None:
        raise TokenMissing()
    raise ScopeMissing(scope=scope, scopes=visitor.scope)


async def may_read(connection: HTTPConnection) -> None:
    """Let in who may read.

    Raises:
        TokenMissing, ScopeMissing: he may not.
    """
    _require(connection, "assets.read")


async def may_write(connection: HTTPConnection) -> None:
    """Let in who may change assets.

    Raises:
        TokenMissing, ScopeMissing: he may not.
    """
    _require(connection, "assets.write")


async def may_administer(connection: HTTPConnection) -> None:
    """Let in who may do everything.

    Raises:
        TokenMissing, ScopeMissing: he may not.
    """
    _require(connection, "admin")
