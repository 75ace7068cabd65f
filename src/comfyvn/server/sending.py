"""Answers that are sent part by part, in bounded memory, from a file that is open."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Final

from starlette.requests import HTTPConnection
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from comfyvn.server.state import State

__all__ = ["PART_BYTES", "Parts", "accepts_gzip", "read_parts"]

PART_BYTES: Final = 1 << 17
"""How much of a file one answer holds in memory."""


class Parts(StreamingResponse):
    """An answer made of parts; what they are read from is let go of at the end, also when the client left.

    Args:
        parts: the parts.
        close: lets go of what they come from.
        status: the HTTP status.
        headers: its headers.
    """

    def __init__(
        self,
        parts: AsyncGenerator[bytes, None],
        close: Callable[[], None],
        status: int,
        headers: Mapping[str, str],
    ) -> None:
        super().__init__(parts, status, headers)
        self._parts, self._close = parts, close

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            try:
                await self._parts.aclose()
            finally:
                self._close()


async def read_parts(state: State, read: Callable[[], bytes]) -> AsyncGenerator[bytes, None]:
    """Yield what a function returns, called in a thread again and again, till that is empty."""
    while data := await state.run(read):
        yield data


def accepts_gzip(request: HTTPConnection) -> bool:
    """Tell whether the client takes an answer packed by gzip (RFC 9110 12.5.3)."""
    weights: dict[str, str] = {}
    for stated in request.headers.get("accept-encoding", "").lower().split(","):
        name, _, weight = stated.partition(";")
        weights[name.strip()] = weight.strip().removeprefix("q=").strip()
    weight = weights.get("gzip", weights.get("*", "0"))
    return weight.strip("0.") != "" or weight == ""
