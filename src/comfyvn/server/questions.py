"""What comes in: the conditions of lists, and JSON bodies read strictly and within their limits."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Annotated, Any, Final, TypedDict, TypeVar

from fastapi import Depends, Query, Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute, APIWebSocketRoute
from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.requests import HTTPConnection

from comfyvn.config import Config
from comfyvn.errors import InvalidBody, InvalidFilter, InvalidRequest, TooLarge, WrongBodyType
from comfyvn.model import MOST_STARS, Problem
from comfyvn.server.state import here
from comfyvn.sidecar import parse_strict

__all__ = [
    "Body",
    "Conditions",
    "Cursor",
    "Limit",
    "Wanted",
    "body_limit",
    "body_of",
    "page_size",
    "parse_json",
    "read_body",
    "read_json",
    "read_optional_body",
    "refuse_unknown_parameters",
]

_Model = TypeVar("_Model", bound=BaseModel)
_R = TypeVar("_R")
_SMALL_BYTES: Final = 1 << 16
_NAMING: Final = frozenset({"/assets/bulk", "/assets/facets", "/assets/remove"})
"""The routes whose bodies name many assets."""
_NAME_BYTES: Final = 24
_TOLD_ERRORS: Final = 100
_PARAMETERS: Final[dict[Callable[..., Any], frozenset[str]]] = {}
"""The parameters of each route, by its function; found when it is first asked."""


class Body(BaseModel):
    """The base of every JSON body: no unknown keys, no value of another type."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Conditions(TypedDict):
    """The conditions of a list by the names that `AssetRegistry.list_assets` has for them."""

    asset_type: list[str]
    hash_value: str | None
    tags: list[str]
    text: list[str]
    license: list[str]
    where: list[str]
    not_types: list[str]
    not_tags: list[str]
    not_licenses: list[str]
    problems: list[Problem]
    uid: str | None
    workflow: str | None
    descends_from: str | None
    min_rating: int | None
    models: list[str]
    loras: list[str]
    samplers: list[str]
    tools: list[str]
    seed: str | None


async def _conditions(  # async: FastAPI hands what is not to a thread, which costs more than a page
    type: Annotated[list[str] | None, Query(description="The exact type; repeated: any of them.")] = None,
    hash: Annotated[str | None, Query(description="The exact SHA-256, ignoring case.")] = None,
    tags: Annotated[
        list[str] | None,
        Query(
            description="All of these tags, ignoring case; repeated, or with commas. "
            "One that has a comma stands in double quotes."
        ),
    ] = None,
    tag: Annotated[list[str] | None, Query(description="As `tags`.")] = None,
    license: Annotated[
        list[str] | None,
        Query(description="The licence, ignoring case; empty for assets without one; repeated: any of them."),
    ] = None,
    q: Annotated[
        list[str] | None,
        Query(
            description="A part of the path, of the metadata's texts, of the file's own or of the prompt, "
            "ignoring case; repeated: all of them, in any order."
        ),
    ] = None,
    where: Annotated[
        list[str] | None, Query(description="What the file tells about itself, such as `width>=1024`.")
    ] = None,
    not_type: Annotated[list[str] | None, Query(description="Not this type; repeated: none of them.")] = None,
    not_tag: Annotated[
        list[str] | None, Query(description="None of these tags; written as those of `tags`.")
    ] = None,
    not_license: Annotated[
        list[str] | None,
        Query(
            description="Not this licence, ignoring case; empty: not those without one; "
            "repeated: none of them."
        ),
    ] = None,
    problem: Annotated[
        list[Problem] | None, Query(description="Only assets with this problem; repeated: with any of them.")
    ] = None,
    uid: Annotated[
        str | None, Query(description="Four or more of the uid's first digits, ignoring case.")
    ] = None,
    workflow: Annotated[
        str | None,
        Query(
            description="The workflow hash of any of its provenance, or 8 or more of its first characters."
        ),
    ] = None,
    descends_from: Annotated[
        str | None, Query(description="The uid of an asset that it came from, by way of others or not.")
    ] = None,
    rating: Annotated[
        int | None,
        Query(
            ge=0, le=MOST_STARS, description="At least so many stars in the metadata key `rating`; 0: all."
        ),
    ] = None,
    model: Annotated[
        list[str] | None,
        Query(description="Made with this model, by its name without folder; repeated: all of them."),
    ] = None,
    lora: Annotated[
        list[str] | None, Query(description="Made with this LoRA; repeated: all of them.")
    ] = None,
    sampler: Annotated[
        list[str] | None, Query(description="Made with this sampler; repeated: any of them.")
    ] = None,
    tool: Annotated[list[str] | None, Query(description="Made by this tool; repeated: any of them.")] = None,
    seed: Annotated[str | None, Query(description="Made from this seed: digits.")] = None,
) -> Conditions:
    return Conditions(
        asset_type=[text for text in type or [] if text],
        hash_value=hash or None,
        tags=_tags([*(tags or []), *(tag or [])]),
        text=[text for text in q or [] if text],
        license=license or [],
        where=[text for text in where or [] if text],
        not_types=[text for text in not_type or [] if text],
        not_tags=_tags(not_tag or []),
        not_licenses=not_license or [],
        problems=problem or [],
        uid=uid or None,
        workflow=workflow or None,
        descends_from=descends_from or None,
        min_rating=rating,
        models=[text for text in model or [] if text],
        loras=[text for text in lora or [] if text],
        samplers=[text for text in sampler or [] if text],
        tools=[text for text in tool or [] if text],
        seed=seed or None,
    )


def _tags(stated: list[str]) -> list[str]:
    return [part for text in stated for part in _parts(text) if part]


def _parts(text: str) -> list[str]:
    """Part tags at commas; one that has a comma stands in double quotes, as in a table."""
    if '"' not in text:
        return [part.strip() for part in text.split(",")]
    try:
        return [part.strip() for part in next(csv.reader([text], skipinitialspace=True, strict=True))]
    except csv.Error as error:
        raise InvalidFilter(why=f"the tags {text!r:.80} can't be told apart: {error}") from error


Wanted = Annotated[Conditions, Depends(_conditions)]
"""The parameter of a route that takes the conditions of a list."""


Limit = Annotated[int | None, Query(ge=1, description="At most so many; up to the setting `page_size`.")]
Cursor = Annotated[int | None, Query(ge=1, description="`next_cursor` of the page before.")]


def page_size(config: Config, limit: int | None, usual: int) -> int:
    """Return how many a page has: as many as the client wants, or as usual.

    Raises:
        InvalidFilter: that is more than a page may have.
    """
    if limit is not None and limit > config.page_size:
        raise InvalidFilter(why=f"limit must be at most {config.page_size} (setting page_size)")
    return min(usual, config.page_size) if limit is None else limit


def body_of(model: type[BaseModel], *, is_required: bool = True) -> dict[str, Any]:
    """Describe the JSON body that `read_body` reads, for ``openapi_extra=`` of a route."""
    schema = model.model_json_schema()
    return {"requestBody": {"required": is_required, "content": {"application/json": {"schema": schema}}}}


async def refuse_unknown_parameters(connection: HTTPConnection) -> None:
    """Refuse a parameter that the route has not: a mistyped condition would find everything.

    Raises:
        InvalidRequest: there is one.
    """
    if not connection.scope["query_string"]:
        return
    route: APIRoute | APIWebSocketRoute = connection.scope["route"]
    known = _PARAMETERS.get(route.endpoint)
    if known is None:
        known = _PARAMETERS[route.endpoint] = frozenset(_parameters_of(route.dependant))
    for name in connection.query_params:
        if name not in known:
            there_are = f"there are {', '.join(sorted(known))}" if known else "there are none"
            raise InvalidRequest(why=f"there is no parameter {name!r:.80} here; {there_are}")


def _parameters_of(dependant: Dependant) -> Iterator[str]:
    yield from (field.alias for field in dependant.query_params)
    for each in dependant.dependencies:
        yield from _parameters_of(each)


def body_limit(config: Config, path: str) -> tuple[int, str]:
    """Return how large a JSON body may be, in bytes, and the setting that says so.

    Where it names many assets, these come on top.
    """
    if path.rstrip("/") in _NAMING:
        return config.request_bytes + _NAME_BYTES * config.bulk_assets, "bulk_assets"
    return config.request_bytes, "request_bytes"


async def read_json(request: Request) -> Any:
    """Read the body as strict JSON: no NaN, no key twice, no lone surrogates, within the limits.

    Raises:
        WrongBodyType: it is not announced as JSON.
        TooLarge: it is larger than the setting ``request_bytes``.
        InvalidBody: it is no JSON.
    """
    return await _understood(request, lambda value: value)


async def read_body(request: Request, model: type[_Model]) -> _Model:
    """Read the body as strict JSON of one shape.

    Raises:
        InvalidRequest: a key is missing, unknown, or its value of the wrong type.
    """
    return await _understood(request, partial(_validated, model))


async def _understood(request: Request, make: Callable[[Any], _R]) -> _R:
    """Read the body and make something of it; of a large one in a thread, since others wait meanwhile."""
    state, data = here(request), await _received(request)

    def understand() -> _R:
        return make(parse_json(_text(data), state.config.request_nesting))

    return understand() if len(data) <= _SMALL_BYTES else await state.run(understand)


async def _received(request: Request) -> bytearray:
    """Return the whole body."""
    limit, setting = body_limit(here(request).config, request.url.path)
    stated = request.headers.get("content-type", "")
    if stated.partition(";")[0].strip().lower() not in ("application/json", "application/merge-patch+json"):
        raise WrongBodyType(wanted="application/json", found=stated[:80] or "without a Content-Type")
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > limit:
            raise TooLarge(what="The body", limit=limit, setting=setting)
    return data


def parse_json(text: str, nesting: int, name: str = "") -> Any:
    """Parse what a client sent as strict JSON; ``name`` says what it is, where that is not the whole body.

    Raises:
        InvalidBody: it is no such JSON.
    """
    what = f"{name}: " if name else ""
    try:
        return parse_strict(text, nesting)
    except json.JSONDecodeError as error:
        raise InvalidBody(why=f"{what}line {error.lineno}, column {error.colno}: {error.msg}") from error
    except RecursionError as error:
        raise InvalidBody(why=f"{what}it is nested too deeply") from error
    except ValueError as error:
        raise InvalidBody(why=f"{what}{error}") from error


def _text(data: bytearray) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise InvalidBody(why="it is not UTF-8") from error


def _validated(model: type[_Model], value: Any) -> _Model:
    try:
        return model.model_validate(value)
    except ValidationError as error:
        count = error.error_count()
        if count > _TOLD_ERRORS:  # to tell the first one, all are made: that may take seconds
            raise InvalidRequest(why=f"{count:,} of its keys and values are wrong") from None
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the body"
        raise InvalidRequest(why=f"{place}: {first['msg']}") from error


async def read_optional_body(request: Request, model: type[_Model]) -> _Model:
    """Read the body as `read_body`; without one all keys have their defaults."""
    headers = request.headers
    if headers.get("content-length", "0").strip() == "0" and "transfer-encoding" not in headers:
        return model()
    return await read_body(request, model)
