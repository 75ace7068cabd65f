"""The application: routes, the gate before them, and one place where errors become problem details."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from comfyvn import __version__
from comfyvn.errors import ComfyVNError, InvalidRequest, MethodRefused, NothingThere
from comfyvn.server import lists
from comfyvn.server.answers import problem
from comfyvn.server.gate import Gate
from comfyvn.server.state import State, here
from comfyvn.studio.core import AssetRegistry

__all__ = ["create_app"]


def create_app(registry: AssetRegistry) -> FastAPI:
    """Return the application that serves a registry; the registry is the caller's to close.

    Run it with one worker process: jobs and streams are held in memory, other processes are followed through
    the journal.
    """
    state = State(registry)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        try:
            yield
        finally:
            state.close()

    app = FastAPI(
        title="comfyvn",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.comfyvn = state
    app.include_router(lists.router)
    app.add_exception_handler(ComfyVNError, _on_error)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_middleware(Gate, state=state)
    return app


async def _on_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ComfyVNError)
    return problem(error, here(request).config, instance=request.url.path)


async def _on_invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    return await _on_error(request, InvalidRequest(why=f"{place}: {first['msg']}"))


async def _on_http(request: Request, error: Exception) -> Response:
    """Answer what the framework itself refuses in the same form."""
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "")
        answer = await _on_error(request, MethodRefused(method=request.method, allowed=allowed))
        answer.headers["allow"] = allowed
        return answer
    if error.status_code == 404:
        return await _on_error(request, NothingThere(why="There is nothing at this address."))
    return await _on_error(request, InvalidRequest(why=str(error.detail)))
