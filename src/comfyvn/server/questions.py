"""What comes in: the conditions of lists, and JSON bodies read strictly and within their limits."""

from __future__ import annotations

import json
from typing import Annotated, Any, TypedDict, TypeVar

from fastapi import Depends, Query, Request
from pydantic import BaseModel, ConfigDict, ValidationError

from comfyvn.errors import InvalidBody, InvalidRequest, TooLarge, WrongBodyType
from comfyvn.server.state import here
from comfyvn.sidecar import parse_strict

__all__ = ["Body", "Conditions", "Wanted", "body_of", "read_body", "read_json", "read_optional_body"]

_Model = TypeVar("_Model", bound=BaseModel)


class Body(BaseModel):
    """The base of every JSON body: no unknown keys, no value of another type."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Conditions(TypedDict):
    """The conditions of a list by the names that `AssetRegistry.list_assets` has for them."""

    asset_type: str | None
    hash_value: str | None
    tags: list[str]
    text: str | None
    license: str | None
    where: list[str]


async def _conditions(  # async: FastAPI hands what is not to a thread, which costs more than a page
    type: Annotated[str | None, Query(description="The exact type.")] = None,
    hash: Annotated[str | None, Query(description="The exact SHA-256, ignoring case.")] = None,
    tags: Annotated[
        list[str] | None, Query(description="All of these tags, ignoring case; repeated, or with commas.")
    ] = None,
    tag: Annotated[list[str] | None, Query(description="As `tags`.")] = None,
    license: Annotated[
        str | None, Query(description="The licence, ignoring case; empty for assets without one.")
    ] = None,
    q: Annotated[
        str | None,
        Query(description="A part of the path, of the metadata's texts or of the file's own, ignoring case."),
    ] = None,
    where: Annotated[
        list[str] | None, Query(description="What the file tells about itself, such as `width>=1024`.")
    ] = None,
) -> Conditions:
    stated = [part.strip() for text in [*(tags or []), *(tag or [])] for part in text.split(",")]
    return Conditions(
        asset_type=type or None,
        hash_value=hash or None,
        tags=[part for part in stated if part],
        text=q or None,
        license=license,
        where=[text for text in where or [] if text],
    )


Wanted = Annotated[Conditions, Depends(_conditions)]
"""The parameter of a route that takes the conditions of a list."""


def body_of(model: type[BaseModel], *, is_required: bool = True) -> dict[str, Any]:
    """Describe the JSON body that `read_body` reads, for ``openapi_extra=`` of a route."""
    schema = model.model_json_schema()
    return {"requestBody": {"required": is_required, "content": {"application/json": {"schema": schema}}}}


async def read_json(request: Request) -> Any:
    """Read the body as strict JSON: no NaN, no key twice, no lone surrogates, within the limits.

    Raises:
        WrongBodyType: it is not announced as JSON.
        TooLarge: it is larger than the setting ``request_bytes``.
        InvalidBody: it is no JSON.
    """
    config = here(request).config
    stated = request.headers.get("content-type", "")
    if stated.partition(";")[0].strip().lower() not in ("application/json", "application/merge-patch+json"):
        raise WrongBodyType(wanted="application/json", found=stated[:80] or "without a Content-Type")
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > config.request_bytes:
            raise TooLarge(what="The body", limit=config.request_bytes, setting="request_bytes")
    try:
        return parse_strict(data.decode(), config.request_nesting)
    except json.JSONDecodeError as error:
        raise InvalidBody(why=f"line {error.lineno}, column {error.colno}: {error.msg}") from error
    except RecursionError as error:
        raise InvalidBody(why="it is nested too deeply") from error
    except ValueError as error:
        raise InvalidBody(why=str(error)) from error


async def read_body(request: Request, model: type[_Model]) -> _Model:
    """Read the body as strict JSON of one shape.

    Raises:
        InvalidRequest: a key is missing, unknown, or its value of the wrong type.
    """
    value = await read_json(request)
    try:
        return model.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the body"
        raise InvalidRequest(why=f"{place}: {first['msg']}") from error


async def read_optional_body(request: Request, model: type[_Model]) -> _Model:
    """Read the body as `read_body`; without one all keys have their defaults."""
    headers = request.headers
    if headers.get("content-length", "0").strip() == "0" and "transfer-encoding" not in headers:
        return model()
    return await read_body(request, model)
