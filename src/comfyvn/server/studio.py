"""The Studio's page: the files that the build of the front end made, for everybody under ``/studio/``.

They hold no secret: what the page shows it asks for by the public routes, with the rights of its user.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final, NamedTuple

from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from comfyvn.errors import NothingThere, StudioMissing
from comfyvn.server.answers import etag_of, is_fresh
from comfyvn.server.state import here

__all__ = ["check_page", "page_routes"]

FOLDER = Path(__file__).with_name("static")
"""Where the build put the page."""
_INDEX: Final = "index.html"
_NAMED_BY_CONTENT: Final = "assets/"
"""The folder of files whose names change with their content; Vite calls it so."""
_PATH: Final = re.compile(r"(?:[A-Za-z0-9_-][A-Za-z0-9._-]*/)*[A-Za-z0-9_-][A-Za-z0-9._-]*")
_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".ico": "image/vnd.microsoft.icon",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".md": "text/plain; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".webmanifest": "application/manifest+json",
    ".webp": "image/webp",
    ".woff2": "font/woff2",
}
_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data: blob:",
        "media-src 'self' blob:",
        "connect-src 'self'",
        "font-src 'self'",
        "manifest-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
_GZIP: Final = re.compile(r"(?:^|,)\s*gzip\s*(?:;\s*q\s*=\s*(?:1(?:\.0*)?|0\.\d*[1-9]\d*)\s*)?(?:,|$)")


class _File(NamedTuple):
    """A file of the page, as it is sent."""

    data: bytes
    is_compressed: bool


def page_routes() -> list[BaseRoute]:
    """Return the routes of the page, which are in no description."""
    return [Route("/", _welcome), Route("/studio", _enter), Route("/studio/{path:path}", _show)]


def check_page() -> None:
    """Refuse to go on without the page.

    Raises:
        StudioMissing: it was not built.
    """
    if not (FOLDER / _INDEX).is_file():
        raise StudioMissing()


async def _welcome(request: Request) -> Response:
    """Lead a browser to the page; for others there is nothing here."""
    if "text/html" in request.headers.get("accept", ""):
        return RedirectResponse("studio/", headers={"cache-control": "no-store", "vary": "accept"})
    raise NothingThere(why="There is nothing at this address; `GET /openapi.json` lists what there is.")


async def _enter(request: Request) -> Response:
    """Add the slash: the page names its files relative to where it lies."""
    query = request.url.query
    return RedirectResponse(f"studio/{'?' if query else ''}{query}", headers={"cache-control": "no-store"})


async def _show(request: Request) -> Response:
    """Send one file of the page."""
    path = request.path_params["path"] or _INDEX
    kind = _TYPES.get(Path(path).suffix)
    found = None
    if kind is not None and _PATH.fullmatch(path):
        takes_gzip = _GZIP.search(request.headers.get("accept-encoding", "").lower()) is not None
        found = await here(request).run(_read, FOLDER / path, takes_gzip)
    if found is None or kind is None:
        return _nothing(path)
    headers = {
        "cache-control": "no-cache",
        "content-security-policy": _POLICY,
        "etag": etag_of(found.data),
        "vary": "accept-encoding",
    }
    if path.startswith(_NAMED_BY_CONTENT):
        headers["cache-control"] = "public, max-age=31536000, immutable"
    if found.is_compressed:
        headers["content-encoding"] = "gzip"
    if is_fresh(request, headers["etag"]):
        return Response(status_code=304, headers=headers)
    return Response(found.data, headers={**headers, "content-type": kind})


def _read(path: Path, takes_gzip: bool) -> _File | None:
    """Return a file, as the build compressed it if it did and that is wanted; None if there is none."""
    if takes_gzip:
        try:
            return _File(path.with_name(f"{path.name}.gz").read_bytes(), is_compressed=True)
        except OSError:
            pass
    try:
        return _File(path.read_bytes(), is_compressed=False)
    except OSError:
        return None


def _nothing(path: str) -> Response:
    try:
        check_page()
    except StudioMissing as error:
        if path == _INDEX:  # somebody looks at this in a browser
            return PlainTextResponse(f"{error}\n", error.status, {"cache-control": "no-store"})
        raise
    raise NothingThere(why="The Studio has no such file; its page is at `/studio/`.")
