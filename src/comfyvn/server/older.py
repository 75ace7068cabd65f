"""Routes of older releases that are told otherwise now: flat records, and looking into hooks."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from comfyvn.db import JournalRow
from comfyvn.errors import AssetNotFound, ImportMissing, InvalidAssetType, InvalidFilter, InvalidMetadata
from comfyvn.events import EVENTS, AssetEvent, SidecarEvent
from comfyvn.server.access import may_administer, may_read, may_write
from comfyvn.server.answers import encode, json_answer
from comfyvn.server.changes import RegisterBody, register_existing
from comfyvn.server.description import NOT_MODIFIED, problems
from comfyvn.server.lists import ANSWER_BYTES, PIECE, gather, named
from comfyvn.server.questions import Wanted, body_of, read_body
from comfyvn.server.schemas import (
    FlatAnswer,
    FlatList,
    FlatRegistered,
    HooksAnswer,
    ModderHooksAnswer,
    RecentEvents,
)
from comfyvn.server.state import here
from comfyvn.studio.core import AssetRecord, AssetRegistry

__all__ = ["router"]

router = APIRouter()
_ALIASES: Final = {"asset_registered": ["on_asset_saved"]}


# -- flat records -----------------------------------------------------------------------------------------


@router.post(
    "/api/assets/register",
    dependencies=[Depends(may_write)],
    response_model=FlatRegistered,
    responses=problems(InvalidAssetType, InvalidMetadata, ImportMissing),
    openapi_extra=body_of(RegisterBody),
)
async def register_older(request: Request) -> Response:
    """Register a file that lies on the machine of the server, as `POST /assets/register`."""
    record = await register_existing(here(request), await read_body(request, RegisterBody))
    return json_answer({"ok": True, "asset_id": record["uid"], "asset": _flat(record)})


@router.get(
    "/api/assets/search",
    dependencies=[Depends(may_read)],
    response_model=FlatList,
    responses=NOT_MODIFIED | problems(InvalidFilter),
)
async def search_older(
    request: Request,
    wanted: Wanted,
    limit: Annotated[int, Query(ge=1, le=500, description="At most so many.")] = 200,
    include_debug: Annotated[bool, Query(description="Say how many are shown.")] = False,
) -> Response:
    """Search assets, newest first, as flat records."""
    registry = here(request).registry

    def look() -> tuple[list[AssetRecord], int]:
        items, _ = gather(partial(registry.list_assets, **wanted), limit, None, "id")
        return items, registry.count_assets(**wanted)

    items, total = await here(request).ask(request, look)
    filters = {
        "type": _stated(wanted["asset_type"]),
        "tags": wanted["tags"],
        "license": _stated(wanted["license"]),
        "q": _stated(wanted["text"]),
        "limit": limit,
    }
    answer = {"ok": True, "total": total, "items": [_flat(item) for item in items], "filters": filters}
    debug = {"debug": {"shown": len(items), "project": registry.project_id}} if include_debug else {}
    return json_answer({**answer, **debug}, request=request)


@router.get(
    "/api/assets/{uid}",
    dependencies=[Depends(may_read)],
    response_model=FlatAnswer,
    responses=NOT_MODIFIED | problems(AssetNotFound),
)
async def show_older(request: Request, uid: str) -> Response:
    """Return one asset as a flat record."""
    return json_answer({"ok": True, "asset": _flat(named(here(request), uid))}, request=request)


def _stated(values: list[str]) -> str | list[str] | None:
    """Return what a condition asked for as older scripts know it: one value, or none."""
    return values if len(values) > 1 else next(iter(values), None)


def _flat(record: AssetRecord) -> dict[str, Any]:
    """Return a record as older scripts of this route know it: ``id`` is the uid."""
    meta, preview = record["meta"], record["preview"]
    flat: dict[str, Any] = {
        "id": record["uid"],
        "uid": record["uid"],
        "type": record["type"],
        "hash": record["hash"],
        "bytes": record["bytes"],
        "tags": record["tags"],
        "license": record["license"],
        "origin": meta.get("origin"),
        "version": record["version"],
        "created_at": record["created_at"],
        "metadata": meta,
        "links": record["links"],
        "sidecar": record["sidecar"],
        "path": record["path"],
    }
    shown = {"thumb": record["thumb"], "preview": preview, "thumbnails": meta.get("thumbnails")}
    return {**flat, **{name: value for name, value in shown.items() if value}}


# -- hooks ------------------------------------------------------------------------------------------------


@router.get("/assets/debug/hooks", dependencies=[Depends(may_administer)], response_model=HooksAnswer)
async def show_hooks(request: Request) -> Response:
    """Return who listens to the hooks of the server's own registry, by event."""
    hooks = here(request).registry.iter_hooks()
    named = {event: [_name_of(hook) for hook in found] for event, found in hooks.items()}
    return json_answer({"ok": True, "hooks": named})


def _name_of(hook: Callable[..., object]) -> str:
    kind = type(hook)
    module = getattr(hook, "__module__", None) or kind.__module__
    return f"{module}.{getattr(hook, '__qualname__', kind.__qualname__)}"


@router.get(
    "/assets/debug/modder-hooks",
    dependencies=[Depends(may_administer)],
    response_model=ModderHooksAnswer,
    responses=NOT_MODIFIED,
)
async def show_modder_hooks(request: Request) -> Response:
    """Return the events under the names that modders know, with the keys of what they tell."""
    return json_answer({"ok": True, "hooks": [_described(event) for event in EVENTS]}, request=request)


def _described(event: str) -> dict[str, Any]:
    payload = SidecarEvent if event == "asset_sidecar_written" else AssetEvent
    return {
        "name": f"on_{event}",
        "aliases": _ALIASES.get(event, []),
        "hook_event": event,
        "payload": sorted(payload.__annotations__),
    }


@router.get("/assets/debug/history", dependencies=[Depends(may_administer)], response_model=RecentEvents)
async def show_recent_events(
    request: Request, limit: Annotated[int, Query(ge=1, le=1000, description="At most so many.")] = 50
) -> Response:
    """Return what has happened last, by any process, newest first, under the names that modders know."""
    registry = here(request).registry
    items = await here(request).ask(request, _recent, registry, limit)
    return json_answer({"ok": True, "items": items})


def _recent(registry: AssetRegistry, limit: int) -> list[dict[str, Any]]:
    """Return the last rows of the journal, newest first, till they have become large."""
    items: list[dict[str, Any]] = []
    size_bytes = 0
    last = registry.journal_position()
    first = max(0, last - limit)
    while last > first and size_bytes <= ANSWER_BYTES:
        behind = max(first, last - PIECE)
        with registry.library.read() as rows:
            found = rows.journal_after(behind, last - behind)
        piece = [_told(row) for row in reversed(found) if row.seq <= last]
        size_bytes += len(encode(piece))
        items += piece
        last = behind
    return items


def _told(row: JournalRow) -> dict[str, Any]:
    return {
        "event": f"on_{row.event}" if row.event in EVENTS else None,
        "hook_event": row.event,
        "timestamp": row.at,
        "uid": row.uid,
        "seq": row.seq,
        "operation": row.operation_id,
        "actor": row.actor,
        "payload": row.after,
    }
