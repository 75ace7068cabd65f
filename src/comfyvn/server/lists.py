"""Looking: lists of assets, single assets, and what is known of them."""

from __future__ import annotations

import sys
import zlib
from array import array
from collections.abc import Callable, Mapping
from functools import partial
from hashlib import blake2b
from tempfile import SpooledTemporaryFile
from typing import IO, Annotated, Any, Final, Literal, Protocol, TypeVar

from fastapi import APIRouter, Depends, Query, Request
from pydantic import FailFast, Field
from starlette.responses import Response

from comfyvn.errors import AssetNotFound, InvalidFilter, InvalidRequest, InvalidSidecar, SidecarMissing
from comfyvn.model import Sort
from comfyvn.server.access import may_read
from comfyvn.server.answers import asset_etag, encode, is_fresh, json_answer
from comfyvn.server.description import NOT_MODIFIED, binary, problems
from comfyvn.server.questions import Body, Conditions, Cursor, Limit, Wanted, body_of, page_size, read_body
from comfyvn.server.schemas import (
    AssetAnswer,
    AssetList,
    FacetAnswer,
    HistoryList,
    ProvenanceList,
    RowList,
    SelectionAnswer,
    SidecarAnswer,
    TermList,
)
from comfyvn.server.sending import PART_BYTES, Parts, accepts_gzip, read_parts
from comfyvn.server.state import State, here
from comfyvn.studio.core import AssetRecord, AssetRegistry

__all__ = ["ANSWER_BYTES", "PIECE", "gather", "named", "router", "single"]

router = APIRouter(dependencies=[Depends(may_read)])
single = APIRouter(dependencies=[Depends(may_read)])
"""Routes of one asset: to be included last, since a uid may look like any fixed path."""

_PAGE: Final = 200
_HISTORY_PAGE: Final = 50
_TERMS: Final = 100
_FEW: Final = 50  # records that are read and encoded in about a millisecond
_FEW_CARDS: Final = 100
_TERMS_ALONE: Final = ("tags", "asset_type", "license", "hash_value", "uid")
PIECE: Final = 100
"""So many whole records are read before a look at their size."""
ANSWER_BYTES: Final = 16_000_000
"""An answer that has grown beyond this is not read on; it is at most one piece larger."""
_IN_MEMORY_BYTES: Final = 1 << 18
_GZIP: Final = 16 + zlib.MAX_WBITS
_UID_LENGTH: Final = 64
_FILTERED: Final = problems(InvalidFilter) | NOT_MODIFIED
_OF_ASSET: Final = problems(AssetNotFound) | NOT_MODIFIED

_Ids = Annotated[list[Annotated[int, Field(ge=1, lt=2**63)]], FailFast()]
_Record = TypeVar("_Record", bound=Mapping[str, Any])


class _Read(Protocol[_Record]):
    """Reads a page of something, newest first."""

    def __call__(self, *, limit: int, cursor: int | None) -> list[_Record]: ...


class RowsBody(Body):
    """Which assets are wanted."""

    ids: _Ids = Field(description="Their `id`, as in the index.")
    full: bool = Field(False, description="Whole records instead of cards.")


class SelectionBody(Body):
    """Which assets are meant."""

    ids: _Ids = Field(description="Their `id`, as in the index.")
    top_tags: int = Field(100, ge=1, le=1000, description="So many tags, the most frequent.")


@router.get("/assets", response_model=AssetList, responses=_FILTERED)
@router.get("/assets/", include_in_schema=False)
async def list_assets(
    request: Request, wanted: Wanted, limit: Limit = None, cursor: Cursor = None
) -> Response:
    """List assets, newest first, 200 unless ``limit`` is given; ``next_cursor`` asks for the page behind.

    ``total`` counts all that match, whatever the page.
    """
    state = here(request)
    size = page_size(state.config, limit, _PAGE)
    if size <= _FEW and _is_quick(wanted):
        return _answer_page(request, state.registry, wanted, size, cursor)
    return await state.ask(request, _answer_page, request, state.registry, wanted, size, cursor)


def _answer_page(
    request: Request, registry: AssetRegistry, wanted: Conditions, size: int, cursor: int | None
) -> Response:
    items, following = gather(partial(registry.list_assets, **wanted), size, cursor, "id")
    is_all = cursor is None and following is None
    answer = {
        "ok": True,
        "items": items,
        "total": len(items) if is_all else registry.count_assets(**wanted),
        "next_cursor": following,
    }
    return json_answer(answer, request=request)


def _is_quick(wanted: Conditions) -> bool:
    """Tell a question that a short walk along one index answers."""
    few = len(wanted["tags"]) + len(wanted["asset_type"]) + len(wanted["license"]) < 2
    others = [value for name, value in wanted.items() if name not in _TERMS_ALONE]
    return few and not any(others)


@router.get("/assets/facets", response_model=FacetAnswer, responses=_FILTERED)
async def show_facets(
    request: Request,
    wanted: Wanted,
    top_tags: Annotated[int, Query(ge=1, le=1000, description="So many tags, the most frequent.")] = 100,
) -> Response:
    """Count types, licences, tags and problems under a filter, each without its own choice.

    null stands for "none" and is not counted among ``top_tags``.
    """
    state = here(request)
    found = await state.ask(request, state.registry.facets, **wanted, top_tags=top_tags)
    return json_answer({"ok": True, **found}, request=request)


@router.post(
    "/assets/facets",
    response_model=SelectionAnswer,
    responses=problems(InvalidFilter),
    openapi_extra=body_of(SelectionBody),
)
async def show_selection(request: Request) -> Response:
    """Count types, licences and tags of some assets by ``id``; ``missing`` of them have no asset.

    An ``id`` that is repeated counts once. They are at most as many as the setting
    ``bulk_assets`` says.
    """
    state = here(request)
    asked = await read_body(request, SelectionBody)
    if len(asked.ids) > state.config.bulk_assets:
        raise InvalidRequest(why=f"ids: at most {state.config.bulk_assets} of them (setting bulk_assets)")
    found = await state.ask(request, state.registry.facets_among, asked.ids, top_tags=asked.top_tags)
    return json_answer({"ok": True, **found}, headers={"cache-control": "no-store"})


@router.get("/assets/types", response_model=TermList, responses=_FILTERED)
async def list_types(request: Request, prefix: str = "", limit: Limit = None) -> Response:
    """List the types in use, the most frequent first."""
    return await _answer_terms(request, "type", prefix, limit)


@router.get("/assets/tags", response_model=TermList, responses=_FILTERED)
async def list_tags(request: Request, prefix: str = "", limit: Limit = None) -> Response:
    """List the tags in use, the most frequent first: for completion as one types."""
    return await _answer_terms(request, "tag", prefix, limit)


@router.get("/assets/licenses", response_model=TermList, responses=_FILTERED)
async def list_licenses(request: Request, prefix: str = "", limit: Limit = None) -> Response:
    """List the licences in use, the most frequent first."""
    return await _answer_terms(request, "license", prefix, limit)


async def _answer_terms(
    request: Request, kind: Literal["type", "tag", "license"], prefix: str, limit: int | None
) -> Response:
    state = here(request)
    size = page_size(state.config, limit, _TERMS)
    if prefix:  # those that begin so are all read to find the most frequent
        items = await state.ask(request, state.registry.terms, kind, prefix=prefix, limit=size)
    else:
        items = state.registry.terms(kind, limit=size)
    return json_answer({"ok": True, "items": items}, request=request)


@router.get(
    "/assets/index", responses=binary("application/octet-stream", "The ids, eight bytes each.") | _FILTERED
)
async def show_index(
    request: Request,
    wanted: Wanted,
    sort: Annotated[
        Sort,
        Query(description="The first is the newest, the oldest, by path, the largest, or changed last."),
    ] = "newest",
) -> Response:
    """Return the ids of all that a filter finds: unsigned integers of 64 bits, little-endian.

    They come newest first, or as ``sort`` says; where that leaves several equal, by ``id``.
    ``x-registry-revision`` is the position in the journal from before they were read: follow the events from
    there to keep them right. ``x-total`` is their number.
    """
    state = here(request)
    return await state.ask(request, _answer_index, request, state, wanted, sort)


def _answer_index(request: Request, state: State, wanted: Conditions, sort: Sort) -> Response:
    revision = state.registry.journal_position()
    file = SpooledTemporaryFile(_IN_MEMORY_BYTES)  # noqa: SIM115 - it is closed when it is sent
    try:
        total, digest = _write_ids(state.registry, wanted, sort, file)
        is_packed = accepts_gzip(request)
        headers = {
            "content-type": "application/octet-stream",
            "etag": f'"{digest}-gzip"' if is_packed else f'"{digest}"',
            "cache-control": "no-cache",
            "vary": "accept-encoding",
            "x-content-type-options": "nosniff",
            "x-registry-revision": str(revision),
            "x-total": str(total),
        }
        if is_fresh(request, headers["etag"]):
            file.close()
            return Response(status_code=304, headers=headers)
        file.seek(0)
        headers |= {"content-encoding": "gzip"} if is_packed else {"content-length": str(total * 8)}
        read = _packing(file) if is_packed else lambda: file.read(PART_BYTES)
        return Parts(read_parts(state, read), file.close, 200, headers)
    except BaseException:
        file.close()
        raise


def _write_ids(registry: AssetRegistry, wanted: Conditions, sort: Sort, file: IO[bytes]) -> tuple[int, str]:
    """Write the ids that a filter finds into a file; return their number and the digest of their bytes."""
    total, digest = 0, blake2b(digest_size=12)
    for ids in registry.iter_ids(**wanted, sort=sort):
        data = _little_endian(ids)
        digest.update(data)
        file.write(data)
        total += len(ids)
    return total, digest.hexdigest()


def _little_endian(ids: array[int]) -> bytes:
    if sys.byteorder == "big":
        ids.byteswap()
    return ids.tobytes()


def _packing(file: IO[bytes]) -> Callable[[], bytes]:
    """Return a function that gives the next part of a file packed by gzip, at its fastest; b"" at the end."""
    packer = zlib.compressobj(1, wbits=_GZIP)
    is_done = False

    def read() -> bytes:
        nonlocal is_done
        packed = b""
        while not packed and not is_done:
            data = file.read(PART_BYTES)
            is_done = not data
            packed = packer.flush() if is_done else packer.compress(data)
        return packed

    return read


@router.post("/assets/rows", response_model=RowList, openapi_extra=body_of(RowsBody))
async def show_rows(request: Request) -> Response:
    """Return cards (or whole records) of assets by ``id``, in their order; ``missing`` have no asset.

    An ``id`` that is repeated is answered once. Where the records would take more than some 16 MB, ask for
    fewer.
    """
    state = here(request)
    asked = await read_body(request, RowsBody)
    if len(asked.ids) > state.config.page_size:
        raise InvalidRequest(why=f"ids: at most {state.config.page_size} of them (setting page_size)")
    if len(asked.ids) <= (_FEW if asked.full else _FEW_CARDS):
        return _answer_rows(state.registry, asked)
    return await state.ask(request, _answer_rows, state.registry, asked)


def _answer_rows(registry: AssetRegistry, asked: RowsBody) -> Response:
    wanted = list(dict.fromkeys(asked.ids))
    found: dict[int, Any] = {}
    size_bytes = 0
    for first in range(0, len(wanted), PIECE):
        piece = wanted[first : first + PIECE]
        rows: Mapping[int, Any] = registry.get_records(piece) if asked.full else registry.get_cards(piece)
        found.update(rows)
        if first + PIECE < len(wanted):
            size_bytes += len(encode(list(rows.values())))
            if size_bytes > ANSWER_BYTES:
                why = f"ids: the first {first + PIECE} take {size_bytes:,} bytes already; ask for fewer"
                raise InvalidRequest(why=why)
    items = [found[number] for number in wanted if number in found]
    missing = [number for number in wanted if number not in found]
    return json_answer(
        {"ok": True, "items": items, "missing": missing}, headers={"cache-control": "no-store"}
    )


@single.get("/assets/{uid}", response_model=AssetAnswer, responses=_OF_ASSET)
async def show_asset(request: Request, uid: str) -> Response:
    """Return one asset. Its entity tag names it in ``If-Match`` of a change."""
    record = named(here(request), uid)
    return json_answer({"ok": True, "asset": record}, request=request, etag=asset_etag(record))


@single.get(
    "/assets/{uid}/sidecar",
    response_model=SidecarAnswer,
    responses=_OF_ASSET | problems(AssetNotFound, InvalidSidecar, SidecarMissing),
)
async def show_sidecar(request: Request, uid: str) -> Response:
    """Return what an asset's sidecar says now, and where it lies below the assets folder."""
    state = here(request)
    record = named(state, uid)
    said = await state.run(state.registry.read_sidecar, record["uid"])
    answer = {"ok": True, "uid": record["uid"], "path": record["sidecar"], "sidecar": said}
    return json_answer(answer, request=request)


@single.get(
    "/assets/{uid}/provenance",
    response_model=ProvenanceList,
    responses=_OF_ASSET | problems(AssetNotFound, InvalidFilter),
)
async def list_provenance(request: Request, uid: str, limit: Limit = None, cursor: Cursor = None) -> Response:
    """List where an asset came from, newest first; a removed asset's provenance stays."""
    read = partial(here(request).registry.list_provenance, uid)
    return await _answer_past(request, uid, read, limit, cursor, "id")


@single.get(
    "/assets/{uid}/history",
    response_model=HistoryList,
    responses=_OF_ASSET | problems(AssetNotFound, InvalidFilter),
)
async def list_history(request: Request, uid: str, limit: Limit = None, cursor: Cursor = None) -> Response:
    """List what happened to an asset, newest first; also to a removed one."""
    read = partial(here(request).registry.history, uid)
    return await _answer_past(request, uid, read, limit, cursor, "seq")


async def _answer_past(
    request: Request, uid: str, read: _Read[_Record], limit: int | None, cursor: int | None, name: str
) -> Response:
    """Answer with a page of what an asset left behind; one that was never there has nothing."""
    state = here(request)
    size = page_size(state.config, limit, _HISTORY_PAGE)
    items, following = await state.ask(request, gather, read, size, cursor, name)
    if not items and cursor is None:
        named(state, uid)
    answer = {"ok": True, "uid": uid, "items": items, "next_cursor": following}
    return json_answer(answer, request=request)


def named(state: State, uid: str) -> AssetRecord:
    """Return the asset that an address names.

    Raises:
        AssetNotFound: there is none.
    """
    record = state.registry.get_asset(uid) if len(uid) <= _UID_LENGTH else None
    if record is None:
        raise AssetNotFound(uid=uid[:_UID_LENGTH], project=state.registry.project_id)
    return record


def gather(
    read: _Read[_Record], size: int, cursor: int | None, name: str
) -> tuple[list[_Record], int | None]:
    """Read a page piece by piece; it ends early where it has become large.

    Args:
        read: reads some records, newest first.
        size: at most so many.
        cursor: where the page begins.
        name: the key of a record by which pages go on.

    Returns:
        The records, and the cursor of the next page: None where there is none.
    """
    items: list[_Record] = []
    size_bytes = 0
    while True:
        limit = min(PIECE, size - len(items))
        piece = read(limit=limit, cursor=cursor)
        items += piece
        if len(piece) < limit:
            return items, None
        cursor = int(piece[-1][name])
        if len(items) == size:
            return items, cursor
        size_bytes += len(encode(piece))
        if size_bytes > ANSWER_BYTES:
            return items, cursor
