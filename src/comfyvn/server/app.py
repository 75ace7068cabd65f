"""The application: routes, the gate before them, and one place where errors become problem details."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from fastapi import Depends, FastAPI, Request, WebSocket
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.routing import Match

from comfyvn.errors import ComfyVNError, InvalidRequest, MethodRefused, NothingThere
from comfyvn.registry.deliveries import Deliverer
from comfyvn.server import (
    changes,
    description,
    files,
    health,
    jobs,
    lineage,
    lists,
    older,
    sessions,
    stream,
    studio,
    uploads,
    webhooks,
)
from comfyvn.server.access_log import AccessLog
from comfyvn.server.answers import problem
from comfyvn.server.description import DescribedApp
from comfyvn.server.gate import EVENTS, Gate
from comfyvn.server.questions import refuse_unknown_parameters
from comfyvn.server.state import State, here
from comfyvn.studio.core import AssetRegistry

__all__ = ["create_app"]

_METHODS: Final = ("GET", "POST", "PATCH", "DELETE")


def create_app(
    registry: AssetRegistry, *, is_exposed: bool = False, access_log: AccessLog | None = None
) -> FastAPI:
    """Return the application that serves a registry; the registry is the caller's to close.

    Run it with one worker process: jobs and streams are held in memory, other processes are followed through
    the journal.

    Args:
        registry: the library.
        is_exposed: the server listens on an address that other machines reach, so that every request needs a
            token. Without it, one that comes from elsewhere needs one all the same.
        access_log: where each request is noted.
    """
    state = State(registry, is_exposed=is_exposed, access_log=access_log)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        deliverer = Deliverer(registry)
        deliverer.start()
        try:
            yield
        finally:
            await asyncio.to_thread(deliverer.stop)
            state.close()

    known = [Depends(refuse_unknown_parameters)]
    app = DescribedApp(lifespan=lifespan, redirect_slashes=False, dependencies=known)
    app.state.comfyvn = state
    app.include_router(files.router)  # first: routes are tried in turn, and thumbs are asked for most
    app.include_router(lists.router)
    app.include_router(description.router)
    app.include_router(health.router)
    app.include_router(sessions.router)
    for module in (lineage, changes, uploads, jobs, older):
        app.include_router(module.router)
    app.include_router(stream.router)
    app.include_router(webhooks.router)
    app.include_router(lists.single)  # last: its {uid} would take fixed paths of the others
    app.router.routes += studio.page_routes()
    app.add_exception_handler(ComfyVNError, _on_error)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_middleware(Gate, state=state)
    return app


async def _on_error(request: Request | WebSocket, error: Exception) -> Any:
    assert isinstance(error, ComfyVNError)
    answer = _answer(request, error)
    if isinstance(request, WebSocket):  # refused before it was opened: that is answered as any request
        await request.send_denial_response(answer)
        return None
    return answer


def _answer(request: HTTPConnection, error: ComfyVNError) -> Response:
    return problem(error, here(request).config, instance=request.url.path)


async def _on_invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    return _answer(request, InvalidRequest(why=f"{place}: {first['msg']}"))


async def _on_http(request: Request, error: Exception) -> Response:
    """Answer what the framework itself refuses in the same form."""
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        allowed = ", ".join(_possible(request))
        answer = _answer(request, MethodRefused(method=request.method, allowed=allowed))
        answer.headers["allow"] = allowed
        return answer
    if error.status_code == 404:
        return _answer(
            request,
            NothingThere(why="There is nothing at this address; `GET /openapi.json` lists what there is."),
        )
    return _answer(request, InvalidRequest(why=str(error.detail)))


def _possible(request: Request) -> list[str]:
    """Return the methods of all routes of this path; the framework tells only those of the first."""
    found = []
    for method in _METHODS:
        scope = {**request.scope, "method": method}
        if any(route.matches(scope)[0] is Match.FULL for route in request.app.routes):
            found += [method, "HEAD"] if method == "GET" and request.url.path != EVENTS else [method]
    return found
