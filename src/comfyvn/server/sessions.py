"""Sessions of browsers: a cookie that no script can read stands for a token, on this server alone."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from pydantic import Field
from starlette.responses import Response

from comfyvn import __version__
from comfyvn.errors import CodeRefused, InvalidBody, InvalidRequest, TokenMissing, WrongBodyType
from comfyvn.server.access import Scope, Visitor, may_read, visitor_of
from comfyvn.server.answers import json_answer
from comfyvn.server.description import problems
from comfyvn.server.gate import cookie_of, cookie_of_nobody, cookie_value
from comfyvn.server.questions import Body, body_of, read_optional_body
from comfyvn.server.reveal import can_reveal
from comfyvn.server.schemas import Answer, Shape
from comfyvn.server.state import here
from comfyvn.server.uploads import MOST_FILES

__all__ = ["router"]

router = APIRouter(prefix="/session")


class Limits(Shape):
    """How much one request may ask for or send."""

    page_size: Annotated[int, Field(description="The largest page of a list.")]
    bulk_assets: Annotated[int, Field(description="How many assets one request may name.")]
    upload_bytes: Annotated[int, Field(description="The largest upload, all of its files together.")]
    upload_files: Annotated[int, Field(description="How many files one upload may hold.")]


class SessionAnswer(Answer):
    """Who asks, and whom: what a page needs to know before it offers anything."""

    scope: Scope
    name: Annotated[str | None, Field(description="Of your token; null for one without.")]
    is_local: Annotated[
        bool, Field(description="You come from the machine of the server, and through no proxy.")
    ]
    can_reveal: Annotated[
        bool,
        Field(description="The server's machine, before which you sit, has a desktop to show a file on."),
    ]
    version: Annotated[str, Field(description="Of comfyvn.", examples=[__version__])]
    project: str
    library: Annotated[str, Field(description="Tells this library from all others, wherever it lies.")]
    limits: Limits


class SessionBody(Body):
    """What a browser shows in place of a token."""

    code: Annotated[
        str | None, Field(description="What stands in the address that `comfyvn studio` opens, once.")
    ] = None


@router.get("", dependencies=[Depends(may_read)], response_model=SessionAnswer)
async def show_session(request: Request) -> Response:
    """Tell who you are, and what you may do here: your scope, the name of your token, the server's limits."""
    return _told(request, visitor_of(request))


@router.post(
    "",
    response_model=SessionAnswer,
    openapi_extra=body_of(SessionBody, is_required=False),
    responses=problems(CodeRefused, InvalidBody, InvalidRequest, TokenMissing, WrongBodyType),
)
async def begin_session(request: Request) -> Response:
    """Give the browser a cookie that stands for the token of this request (as a bearer).

    The cookie does not hold the token. It ends with the browser, with the server, with `DELETE /session`, and
    when the token is revoked or expires. `comfyvn studio` opens its browser with a code in place of a token:
    it lets one browser on the machine of the server in, once and within a minute, as who may do everything.
    """
    doorkeeper = here(request).doorkeeper
    visitor, code = visitor_of(request), (await read_optional_body(request, SessionBody)).code
    if code is not None:
        if not request.scope["state"]["is_local"]:
            raise CodeRefused()
        visitor, session = doorkeeper.begin_session_by(code)
    elif visitor.name is None or visitor.session is not None:
        raise TokenMissing()
    else:
        session = doorkeeper.begin_session(visitor)
    doorkeeper.end_session(cookie_of(request.scope))
    answer = _told(request, visitor)
    answer.set_cookie(**cookie_value(request.scope, session))
    return answer


@router.delete("", response_model=Answer)
async def end_session(request: Request) -> Response:
    """End the session and take its cookie away; everybody may."""
    here(request).doorkeeper.end_session(cookie_of(request.scope))
    answer = json_answer({"ok": True}, headers={"cache-control": "no-store"})
    answer.set_cookie(**cookie_of_nobody(request.scope))
    return answer


def _told(request: Request, visitor: Visitor) -> Response:
    state = here(request)
    answer = {
        "ok": True,
        "scope": visitor.scope,
        "name": visitor.name,
        "is_local": request.scope["state"]["is_local"],
        "can_reveal": can_reveal(request),
        "version": __version__,
        "project": state.registry.project_id,
        "library": state.registry.library.library_id,
        "limits": {
            "page_size": state.config.page_size,
            "bulk_assets": state.config.bulk_assets,
            "upload_bytes": state.config.upload_bytes,
            "upload_files": MOST_FILES,
        },
    }
    return json_answer(answer, headers={"cache-control": "no-store"})
