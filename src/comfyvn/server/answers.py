"""What goes out: JSON encoded once and by us, entity tags, problem details.

FastAPI's own way to encode a list costs ten times as much as the ledger needs to read it; routes return what
`json_answer` makes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, Final

import orjson
from starlette.requests import HTTPConnection
from starlette.responses import Response

from comfyvn.config import Config
from comfyvn.errors import AssetNotFound, ComfyVNError

__all__ = [
    "PROBLEM_JSON",
    "asset_etag",
    "encode",
    "etag_of",
    "is_fresh",
    "json_answer",
    "problem",
    "problem_body",
    "scrub",
]

PROBLEM_JSON: Final = "application/problem+json"
_JSON: Final = "application/json"
_ABSOLUTE: Final = re.compile(
    r"(?<![\w/.:])(?<!GET )(?<!POST )(?<!DELETE )"  # these name an address of ours
    r"(?:/|[A-Za-z]:[\\/]|\\\\)[^\s'\":;,()]*[\\/]([^\s'\":;,()\\/]*)"
)
_OF_FACTS: Final = ("uid", "type", "path", "version", "hash", "tags", "license")
_UID_DIGITS: Final = 16
"""The least that a uid has."""
_WORDS: Final = re.compile(r"(?<=[a-z])(?=[A-Z])")


def encode(value: object) -> bytes:
    """Return a value as JSON; also whole numbers of more than 64 bits, which orjson refuses."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def etag_of(data: bytes) -> str:
    """Return the strong entity tag of these bytes."""
    return f'"{_digest(data)}"'


def _digest(data: bytes) -> str:
    return blake2b(data, digest_size=12).hexdigest()


def asset_etag(record: Mapping[str, Any]) -> str:
    """Return the strong entity tag of one asset's record, ``"<facts>.<rest>"``.

    The first part changes with what people write and with the content, the second with all the rest, such as
    the preview. A change may be tied to the first part alone (``If-Match``): a preview that was finished
    meanwhile is nobody's lost update.
    """
    preview = record["preview"]
    ours = {"media": record["media"], "preview": preview, "thumbnails": preview and preview.get("paths")}
    meta = {
        name: value
        for name, value in record["meta"].items()
        if name not in ours or value != ours[name]  # a user's own key of that name differs
    }
    facts = [record[name] for name in _OF_FACTS], sorted(meta.items())
    return f'"{_digest(encode(facts))}.{_digest(encode(record))}"'


def is_fresh(request: HTTPConnection, etag: str) -> bool:
    """Tell whether the client has what this entity tag stands for (``If-None-Match``, weak comparison)."""
    stated = request.headers.get("if-none-match")
    if stated is None:
        return False
    tags = {tag.strip().removeprefix("W/") for tag in stated.split(",")}
    return "*" in tags or etag.removeprefix("W/") in tags


def json_answer(
    value: object,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    request: HTTPConnection | None = None,
    etag: str | None = None,
) -> Response:
    """Answer with JSON.

    Args:
        value: what is answered.
        status: the HTTP status.
        headers: further headers.
        request: given for an answer that may be kept and asked for again: it gets an entity tag, and is left
            out (304) when the client has it.
        etag: its entity tag, where that is not the one of the bytes.
    """
    data = encode(value)
    extra = dict(headers or {})
    if request is not None:
        extra["etag"] = etag or etag_of(data)
        extra.setdefault("cache-control", "no-cache")
        if is_fresh(request, extra["etag"]):
            return Response(status_code=304, headers=extra)
    return Response(data, status, extra, media_type=_JSON)


def problem(error: ComfyVNError, config: Config, *, instance: str | None = None) -> Response:
    """Answer with problem details (RFC 9457).

    ``type`` is ``urn:comfyvn:problem:`` and the name of the error, as in docs/errors.md; ``detail`` is its
    sentence without any folder of this machine.
    """
    body = problem_body(type(error), scrub(str(error), config) + _of_http(error))
    if instance is not None:
        body["instance"] = instance
    headers = {"cache-control": "no-store"}
    if error.status == 401:
        headers["www-authenticate"] = 'Bearer realm="comfyvn"'
    if error.status == 503:
        headers["retry-after"] = "2"
    if error.status == 429:
        headers["retry-after"] = str(error.fields["seconds"])
    return Response(encode(body), error.status, headers, media_type=PROBLEM_JSON)


def _of_http(error: ComfyVNError) -> str:
    """Return what else is to be said over HTTP, where a uid may not be shortened as in the commands."""
    uid = error.fields.get("uid") if isinstance(error, AssetNotFound) else None
    if not isinstance(uid, str) or len(uid) >= _UID_DIGITS:
        return ""
    return " Over HTTP a uid must be whole, as `GET /assets` lists it; its beginning is not enough."


def problem_body(kind: type[ComfyVNError], detail: str) -> dict[str, Any]:
    """Return problem details as JSON."""
    return {
        "type": f"urn:comfyvn:problem:{problem_name(kind.__name__)}",
        "title": _WORDS.sub(" ", kind.__name__).capitalize(),
        "status": kind.status,
        "detail": detail,
    }


def problem_name(name: str) -> str:
    """Return how a problem's type ends.

    >>> problem_name("AssetNotFound")
    'asset-not-found'
    """
    return _WORDS.sub("-", name).lower()


def scrub(text: str, config: Config) -> str:
    """Take the folders of this machine out of a sentence: what lies in the project is named from there."""
    roots = {config.assets_root, config.thumbs_root, config.home, config.db.parent}
    for root in sorted(roots, key=lambda each: len(str(each)), reverse=True):
        is_inside = root != config.home and root.is_relative_to(config.home)
        name = root.relative_to(config.home).as_posix() if is_inside else root.name
        begin = re.escape(str(root))
        text = re.sub(rf"{begin}[/\\]", "", text)
        text = re.sub(rf"{begin}(?![\w.-])", name.replace("\\", r"\\"), text)
    return _ABSOLUTE.sub(lambda found: found[1] or "...", text)
