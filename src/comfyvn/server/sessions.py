"""Sessions of browsers: a token goes into a cookie that no script can read."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from comfyvn.errors import TokenMissing
from comfyvn.server.access import may_read, visitor_of
from comfyvn.server.answers import json_answer
from comfyvn.server.gate import cookie_of_nobody, cookie_value
from comfyvn.server.schemas import Answer

__all__ = ["router"]

router = APIRouter(prefix="/session")


class SessionAnswer(Answer):
    """Who asks: the scope, and the name of the token, None for one without."""

    scope: str
    name: str | None


@router.get("", dependencies=[Depends(may_read)], response_model=SessionAnswer)
async def show_session(request: Request) -> Response:
    """Tell who you are: your scope, and the name of your token."""
    return _told(request)


@router.post("", dependencies=[Depends(may_read)], response_model=SessionAnswer)
async def begin_session(request: Request) -> Response:
    """Keep the token of this request (as a bearer) in a cookie of the browser, till that is closed."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise TokenMissing()
    answer = _told(request)
    token = token.strip().encode("latin-1").decode(errors="replace")  # as the gate reads it
    answer.set_cookie(**cookie_value(request.scope, token))
    return answer


@router.delete("", response_model=Answer)
async def end_session(request: Request) -> Response:
    """Take the cookie away; everybody may."""
    answer = json_answer({"ok": True}, headers={"cache-control": "no-store"})
    answer.set_cookie(**cookie_of_nobody(request.scope))
    return answer


def _told(request: Request) -> Response:
    visitor = visitor_of(request)
    answer: dict[str, Any] = {"ok": True, "scope": visitor.scope, "name": visitor.name}
    return json_answer(answer, headers={"cache-control": "no-store"})
