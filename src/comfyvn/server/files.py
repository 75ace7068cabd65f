"""Files: the content of assets, and their previews.

Content is whatever somebody registered: it is sent as a download that no browser shows or runs. Previews are
what we encoded ourselves, and are shown.
"""

from __future__ import annotations

import errno
import re
import time
from collections.abc import Callable
from contextlib import ExitStack
from email.utils import formatdate, parsedate_to_datetime
from mimetypes import MimeTypes
from typing import Annotated, Final, Literal
from urllib.parse import quote

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from comfyvn.errors import (
    AssetNotFound,
    Changed,
    FileMissing,
    GraphAtOrigin,
    GraphMissing,
    InvalidRequest,
    OutsideLibrary,
    PreviewMissing,
    PreviewPending,
    RangeRefused,
    SourceChanged,
    SourceMissing,
    SourceUnreadable,
    TooBusy,
)
from comfyvn.model import Asset, FileStat, fold, preview_names, split_suffix
from comfyvn.registry.workflows import workflow_of
from comfyvn.server.access import may_read
from comfyvn.server.answers import is_fresh, problem
from comfyvn.server.description import NOT_MODIFIED, Responses, binary, problems
from comfyvn.server.schemas import Waveform
from comfyvn.server.sending import PART_BYTES, Parts, read_parts
from comfyvn.server.state import State, here
from comfyvn.storage import Source, safe_name
from comfyvn.studio.core.asset_registry import preview_version

__all__ = ["router"]

router = APIRouter(dependencies=[Depends(may_read)])

_UID_LENGTH: Final = 64
_PREVIEW_BYTES: Final = 8_000_000  # ours have some hundred kB at most
_FOR_EVER: Final = "max-age=31536000, immutable"
_ONE_SECOND: Final = 1.0
_RANGE: Final = re.compile(r"bytes=(?:([0-9]{1,18})-([0-9]{0,18})|-([0-9]{1,18}))", re.IGNORECASE)
_PLAIN: Final = re.compile(r"[A-Za-z0-9 !#$&'()+,.;=@^_`{}~-]+")
_TOKEN_CHARS: Final = "!#$&+-.^_`|~"
_BY_SUFFIX: Final = MimeTypes().types_map[1]
_OCTETS: Final = "application/octet-stream"
_GRAPH: Final[Responses] = {
    200: {"description": "The graph.", "content": {"application/json": {"schema": {"type": "object"}}}}
}
_BY_FORMAT: Final = {
    "png": "image/png",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "gif": "image/gif",
    "avif": "image/avif",
    "heic": "image/heic",
    "jxl": "image/jxl",
    "tiff": "image/tiff",
    "bmp": "image/bmp",
    "psd": "image/vnd.adobe.photoshop",
    "ico": "image/vnd.microsoft.icon",
    "dds": "image/vnd-ms.dds",
    "jpeg2000": "image/jp2",
    "wav": "audio/wav",
    "aiff": "audio/aiff",
    "mp3": "audio/mpeg",
    "flac": "audio/flac",
    "ogg": "audio/ogg",
    "aac": "audio/aac",
    "mp4": "video/mp4",
    "matroska": "video/x-matroska",
    "avi": "video/x-msvideo",
    "mpeg": "video/mpeg",
}
"""Media types of the formats that are told by a file's first bytes (docs/media.md)."""
_BY_USE: Final = {
    ("mp4", ".m4a"): "audio/mp4",
    ("mp4", ".mov"): "video/quicktime",
    ("matroska", ".mka"): "audio/x-matroska",
    ("matroska", ".webm"): "video/webm",
    ("matroska", ".weba"): "audio/webm",
    ("ogg", ".ogv"): "video/ogg",
}
"""Of containers that hold sound or film the suffix says which."""
_SHOWN: Final = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg", b"GIF8": "image/gif"}
"""What previews of older releases are, by their first bytes; ours are WebP."""
_SAFE: Final = {"x-content-type-options": "nosniff", "content-security-policy": "sandbox; default-src 'none'"}


# -- previews ---------------------------------------------------------------------------------------------

_NO_PREVIEW: Final = NOT_MODIFIED | problems(AssetNotFound, PreviewMissing, PreviewPending)
_PREVIEW: Final = binary("image/*", "WebP; of older releases what they made.") | _NO_PREVIEW
V = Annotated[str | None, Query(description="`preview_version` of the card; then it may be kept for ever.")]


@router.get("/assets/{uid}/thumb", responses=_PREVIEW)
@router.head("/assets/{uid}/thumb", include_in_schema=False)
async def show_thumb(
    request: Request,
    uid: str,
    size: Annotated[Literal["256", "512"], Query(description="Pixels of the longer side.")] = "256",
    v: V = None,
) -> Response:
    """Show the still preview of a picture, an animation or a film (WebP)."""
    return _answer_preview(request, uid, size, "thumbnail", v)


@router.get("/assets/{uid}/preview", responses=_PREVIEW)
@router.head("/assets/{uid}/preview", include_in_schema=False)
async def show_preview(request: Request, uid: str, v: V = None) -> Response:
    """Show the moving preview of an animation or a film (WebP)."""
    return _answer_preview(request, uid, "animation", "moving preview", v)


@router.get("/assets/{uid}/waveform", response_model=Waveform, responses=_NO_PREVIEW)
@router.head("/assets/{uid}/waveform", include_in_schema=False)
async def show_waveform(request: Request, uid: str, v: V = None) -> Response:
    """Show the waveform of a sound: 512 peaks over all channels (JSON)."""
    return _answer_preview(request, uid, "waveform", "waveform", v)


def _answer_preview(request: Request, uid: str, size: str, what: str, v: str | None) -> Response:
    """Answer with a small file of the preview cache, read in one go."""
    state = here(request)
    asset = _listed(state, uid)
    try:
        key = _preview_key(asset, size, what)
    except PreviewPending as error:
        answer = problem(error, state.config, instance=request.url.path)
        answer.headers["retry-after"] = "1"
        return answer
    version = preview_version(asset.preview.state, asset.version, asset.preview.recipe)
    data, stat = _read_preview(state, asset, key, what)
    etag = f'"{version}-{stat.size_bytes:x}-{stat.mtime_ns:x}"'
    headers = {"etag": etag, "cache-control": _keeping(request) if v == version else "no-cache", **_SAFE}
    if is_fresh(request, etag):
        return Response(status_code=304, headers=headers)
    return Response(data, 200, {**headers, "content-type": _preview_type(data, asset, what)})


def _keeping(request: Request) -> str:
    """Allow a preview to be kept for ever; where it took a token, by the browser alone."""
    took_token = "authorization" in request.headers or "cookie" in request.headers
    return f"{'private' if took_token else 'public'}, {_FOR_EVER}"


def _preview_key(asset: Asset, size: str, what: str) -> str:
    """Return the name of one file of an asset's preview.

    Raises:
        PreviewMissing: there is no such file, and why.
        PreviewPending: it will be there soon.
    """
    preview = asset.preview
    name = preview_names(asset.uid, preview.kind).get(size)
    if name is None:
        why = "files like this have none" if preview.kind is None else f"its preview is a {preview.kind}"
        raise PreviewMissing(uid=asset.uid, what=what, why=why)
    if preview.state == "pending" and preview.reason is None:
        raise PreviewPending(uid=asset.uid, what=what)
    if preview.state != "ready":
        raise PreviewMissing(uid=asset.uid, what=what, why=preview.reason or "it could not be made")
    if preview.recipe == 0 and preview.path and size != "animation":  # an older release's, under its own name
        return preview.path.replace("\\", "/").rpartition("/")[2]
    return name


def _read_preview(state: State, asset: Asset, key: str, what: str) -> tuple[bytes, FileStat]:
    try:
        found = state.registry.library.thumbs.read(key, _PREVIEW_BYTES)
        why = "its file is gone from the preview cache; `comfyvn previews build` makes it anew"
    except (SourceUnreadable, OutsideLibrary) as error:
        found, why = None, str(error.fields.get("why", "the preview cache is a link that leads elsewhere"))
    if found is None:
        raise PreviewMissing(uid=asset.uid, what=what, why=why)
    return found


def _preview_type(data: bytes, asset: Asset, what: str) -> str:
    """Return the media type of a preview by its bytes: nothing else is ever shown."""
    if what == "waveform":
        return "application/json"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    kind = next((kind for sign, kind in _SHOWN.items() if data.startswith(sign)), None)
    if kind is None:
        why = "its file is damaged; `comfyvn previews build` makes it anew"
        raise PreviewMissing(uid=asset.uid, what=what, why=why)
    return kind


# -- content ----------------------------------------------------------------------------------------------


@router.get(
    "/assets/{uid}/download",
    responses=binary("*/*", "The file; its media type is that of its format.")
    | {206: {"description": "The part that was asked for.", "content": {"*/*": {}}}}
    | NOT_MODIFIED
    | problems(AssetNotFound, Changed, FileMissing, InvalidRequest, RangeRefused, TooBusy),
)
@router.head("/assets/{uid}/download", include_in_schema=False)
async def download_asset(
    request: Request,
    uid: str,
    filename: Annotated[
        str | None,
        Query(
            description="The name to save it under, with the suffix that the file has; else its own. "
            "Programs that tell a file by the end of its address find it there."
        ),
    ] = None,
) -> Response:
    """Send an asset's file, whole or one part of it (``Range``).

    Pages of this server may show it: ``<img>``, ``<audio>`` and ``<video>`` take it, whatever it is called.
    Opened by itself it is saved, never shown or run.
    """
    state = here(request)
    asset = _listed(state, uid)
    name = _name_of(asset, filename)
    try:
        return await state.run(_answer_file, request, state, asset, name)
    except RangeRefused as error:
        answer = problem(error, state.config, instance=request.url.path)
        answer.headers["content-range"] = f"bytes */{error.fields['size_bytes']}"
        return answer


@router.get(
    "/assets/{uid}/workflow",
    responses=_GRAPH | problems(AssetNotFound, GraphMissing, GraphAtOrigin, TooBusy),
    response_class=Response,
)
async def download_workflow(
    request: Request,
    uid: str,
    graph: Annotated[
        Literal["workflow", "prompt"] | None,
        Query(
            description="`workflow`: with its layout, `prompt`: as it was queued; "
            "else the first of them that there is."
        ),
    ] = None,
) -> Response:
    """Send the graph that made an asset, as JSON that ComfyUI opens; also where its file has lost it."""
    state = here(request)
    asset = _listed(state, uid)
    text = await state.run(workflow_of, state.registry, asset.uid, graph)
    stem = split_suffix(asset.key.rpartition("/")[2])[0]
    headers = {
        "content-type": "application/json",
        "content-disposition": _disposition(f"{stem}.{graph or 'workflow'}.json", asset.uid),
        "cache-control": "private, no-cache",
        **_SAFE,
    }
    return Response(text, headers=headers)


def _name_of(asset: Asset, wanted: str | None) -> str:
    """Return the name under which a file is to be saved.

    Raises:
        InvalidRequest: the wanted one has another suffix: a link could make a program of a picture.
    """
    own = asset.key.rpartition("/")[2]
    if wanted is None:
        return own
    name = safe_name(wanted)
    suffix = split_suffix(own)[1]
    if fold(split_suffix(name)[1]) != fold(suffix):
        must = f"end with {suffix}, as the file does" if suffix else "have no suffix: the file has none"
        raise InvalidRequest(why=f"filename must {must}")
    return name


def _answer_file(request: Request, state: State, asset: Asset, name: str) -> Response:
    with ExitStack() as stack:
        source = _open(state, asset, stack)
        headers, size = _headers_of(asset, source), source.stat.size_bytes
        if _is_met_already(request, asset, headers["etag"], source):
            return Response(status_code=304, headers=headers)
        part = _part_wanted(request, headers["etag"], headers["last-modified"], source)
        first, last = part or (0, size - 1)
        headers |= {
            "content-type": _media_type(asset),
            "content-disposition": _disposition(name, asset.uid),
            "content-length": str(last - first + 1),
        }
        if request.method == "HEAD":
            return Response(status_code=200, headers=headers)
        status = 200 if part is None else 206
        if part is not None:
            headers["content-range"] = f"bytes {first}-{last}/{size}"
        read = _reading(source, first, last - first + 1)
        if last - first < PART_BYTES:
            return Response(_read_at_once(read), status, headers)
        return Parts(read_parts(state, read), stack.pop_all().close, status, headers)


def _headers_of(asset: Asset, source: Source) -> dict[str, str]:
    """Return the headers that a whole file, a part of it and "you have it already" share."""
    stat = source.stat
    changed_s = min(stat.mtime_ns / 1e9, time.time())  # never a time that is still to come
    return {
        # of the stored file as it is now: our marker is no part of the asset's digest
        "etag": f'"{asset.digest[:24]}-{stat.size_bytes:x}-{stat.mtime_ns:x}"',
        "last-modified": formatdate(changed_s, usegmt=True),
        "accept-ranges": "bytes",
        "cache-control": "private, no-cache",
        **_SAFE,
    }


def _open(state: State, asset: Asset, stack: ExitStack) -> Source:
    """Open an asset's file: a regular file of the library itself, never what a link leads to."""
    try:
        return stack.enter_context(state.registry.library.storage.open(asset.key))
    except SourceMissing as error:
        why = "it is not in its place"
        raise FileMissing(path=asset.key, uid=asset.uid, why=why) from error
    except OutsideLibrary as error:
        why = "its folder is a link that leads out of the library"
        raise FileMissing(path=asset.key, uid=asset.uid, why=why) from error
    except SourceUnreadable as error:
        cause = error.__cause__
        if isinstance(cause, OSError) and cause.errno in (errno.EMFILE, errno.ENFILE):
            raise TooBusy(why="Too many files are open.") from error
        raise FileMissing(path=asset.key, uid=asset.uid, why=error.fields["why"]) from error


def _reading(source: Source, first: int, size: int) -> Callable[[], bytes]:
    """Return a function that gives the next bytes of a part of a file, b"" at its end.

    The last ones are given only if the file held still meanwhile: else the connection breaks off, and nobody
    takes a mixture of two contents for a file.
    """
    source.file.seek(first)
    left = size

    def read() -> bytes:
        nonlocal left
        if not left:
            return b""
        data = source.file.read(min(left, PART_BYTES))
        left -= len(data)
        if not left or not data:
            source.check_unchanged()
        return data

    return read


def _read_at_once(read: Callable[[], bytes]) -> bytes:
    try:
        return read()
    except SourceChanged as error:
        raise TooBusy(why="Somebody is writing to this file.") from error


def _media_type(asset: Asset) -> str:
    name = asset.key.rpartition("/")[2]
    suffix = f".{name.rpartition('.')[2]}".lower() if "." in name else ""
    told = str(asset.media.get("format", ""))
    known = _BY_USE.get((told, suffix)) or _BY_FORMAT.get(told)
    return known or _BY_SUFFIX.get(suffix) or _OCTETS


def _disposition(name: str, uid: str) -> str:
    """Return the header that makes a browser save a file under its name (RFC 6266, RFC 8187).

    Programs that know no other names than plain ones get the uid: two names in kana would look alike.

    >>> _disposition('夏 "a".png', "3f1a0c22b7d94e10")
    'attachment; filename="3f1a0c22b7d94e10.png"; filename*=UTF-8\\'\\'%E5%A4%8F%20%22a%22.png'
    """
    if _PLAIN.fullmatch(name):
        return f'attachment; filename="{name}"'
    suffix = split_suffix(name)[1]
    plain = f"{uid}{suffix if _PLAIN.fullmatch(suffix) else ''}"
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe=_TOKEN_CHARS)}"


# -- conditions and ranges (RFC 9110 13 and 14) -----------------------------------------------------------


def _is_met_already(request: Request, asset: Asset, etag: str, source: Source) -> bool:
    """Tell whether the client has this state of the file.

    Raises:
        Changed: he wants another state, or none that is younger than some time.
    """
    headers, changed_s = request.headers, source.stat.mtime_ns // 1_000_000_000
    wanted = headers.get("if-match")
    if wanted is not None:
        if not _is_among(etag, wanted):
            raise Changed(uid=asset.uid)
    elif (at_s := _seconds(headers.get("if-unmodified-since"))) is not None and changed_s > at_s:
        raise Changed(uid=asset.uid)
    if "if-none-match" in headers:
        return is_fresh(request, etag)
    at_s = _seconds(headers.get("if-modified-since"))
    return at_s is not None and changed_s <= at_s


def _is_among(etag: str, stated: str) -> bool:
    """Compare as ``If-Match`` and ``If-Range`` want it: a weak tag is like none."""
    tags = [tag.strip() for tag in stated.split(",")]
    return "*" in tags or etag in tags


def _seconds(stated: str | None) -> float | None:
    try:
        return None if stated is None else parsedate_to_datetime(stated).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _part_wanted(request: Request, etag: str, modified: str, source: Source) -> tuple[int, int] | None:
    """Return the first and the last byte that are asked for; None for the whole file.

    That is the answer, too, to several parts at once, to what is no range of bytes, and where the file is
    not the one of which the client has the beginning.

    Raises:
        RangeRefused: it begins behind the end of the file.
    """
    stated = _RANGE.fullmatch(request.headers.get("range", "").strip())
    if stated is None or request.method == "HEAD":
        return None
    condition = request.headers.get("if-range", etag).strip()
    is_settled = time.time() - source.stat.mtime_ns / 1e9 > _ONE_SECOND  # else a second has two states
    if condition != etag and not (condition == modified and is_settled):
        return None
    return _find_part(stated, source.stat.size_bytes)


def _find_part(stated: re.Match[str], size: int) -> tuple[int, int] | None:
    first, last, suffix = stated.groups()
    if suffix is not None:
        if not size and int(suffix):
            return None
        start, end = max(0, size - int(suffix)), size - 1
    else:
        start, end = int(first), min(int(last), size - 1) if last else size - 1
        if last and int(last) < start:
            return None
    if start >= size:
        raise RangeRefused(size_bytes=size)
    return start, end


def _listed(state: State, uid: str) -> Asset:
    with state.registry.library.read() as rows:
        asset = rows.listed(uid) if len(uid) <= _UID_LENGTH else None
    if asset is None:
        raise AssetNotFound(uid=uid[:_UID_LENGTH], project=state.registry.project_id)
    return asset
