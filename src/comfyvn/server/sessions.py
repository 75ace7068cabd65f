"""Sessions of browsers: a cookie that no script can read stands for a token, on this server alone."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from comfyvn.errors import TokenMissing
from comfyvn.server.access import may_read, visitor_of
from comfyvn.server.answers import json_answer
from comfyvn.server.gate import cookie_of, cookie_of_nobody, cookie_value
from comfyvn.server.schemas import Answer
from comfyvn.server.state import here

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
    """Give the browser a cookie that stands for the token of this request (as a bearer).

    The cookie does not hold the token. It ends with the browser, with the server, with `DELETE /session`, and
    when the token is revoked or expires.
    """
    visitor = visitor_of(request)
    if visitor.name is None or visitor.session is not None:
        raise TokenMissing()
    doorkeeper = here(request).doorkeeper
    doorkeeper.end_session(cookie_of(request.scope))
    answer = _told(request)
    answer.set_cookie(**cookie_value(request.scope, doorkeeper.begin_session(visitor)))
    return answer


@router.delete("", response_model=Answer)
async def end_session(request: Request) -> Response:
    """End the session and take its cookie away; everybody may."""
    here(request).doorkeeper.end_session(cookie_of(request.scope))
    answer = json_answer({"ok": True}, headers={"cache-control": "no-store"})
    answer.set_cookie(**cookie_of_nobody(request.scope))
    return answer


def _told(request: Request) -> Response:
    visitor = visitor_of(request)
    answer: dict[str, Any] = {"ok": True, "scope": visitor.scope, "name": visitor.name}
    return json_answer(answer, headers={"cache-control": "no-store"})
