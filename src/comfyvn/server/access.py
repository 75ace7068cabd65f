"""Who may do what: scopes, and the dependencies by which a route asks for one.

A route without one of these is open to nobody but the tests that look for it.
"""

from __future__ import annotations

from typing import Final, Literal

from starlette.requests import HTTPConnection

from comfyvn.errors import ScopeMissing, TokenMissing

__all__ = ["SCOPES", "Scope", "Visitor", "may_administer", "may_read", "may_write", "visitor_of"]

Scope = Literal["assets.read", "assets.write", "admin"]
SCOPES: Final[tuple[Scope, ...]] = ("assets.read", "assets.write", "admin")
"""Each includes those before it."""


class Visitor:
    """Who sends a request: what he may do, and the name under which the journal knows him."""

    __slots__ = ("name", "scope")

    def __init__(self, scope: Scope | None, name: str | None = None) -> None:
        self.scope = scope
        self.name = name


def visitor_of(connection: HTTPConnection) -> Visitor:
    """Return who sends this request, as the gate found out."""
    found = connection.scope["state"].get("visitor")
    return found if isinstance(found, Visitor) else Visitor(None)


def _require(connection: HTTPConnection, scope: Scope) -> None:
    visitor = visitor_of(connection)
    if visitor.scope is None:
        raise TokenMissing()
    if SCOPES.index(visitor.scope) < SCOPES.index(scope):
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
