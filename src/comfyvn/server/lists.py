"""Looking: lists of assets, single assets, and what is known of them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from comfyvn.errors import AssetNotFound, InvalidFilter
from comfyvn.server.access import may_read
from comfyvn.server.answers import json_answer
from comfyvn.server.questions import Wanted
from comfyvn.server.state import here

__all__ = ["router"]

router = APIRouter(dependencies=[Depends(may_read)])


@router.get("/assets")
async def list_assets(
    request: Request,
    wanted: Wanted,
    limit: Annotated[int, Query(ge=1)] = 200,
    cursor: Annotated[int | None, Query(ge=1)] = None,
) -> Response:
    """List assets, newest first; ``next_cursor`` asks for the page behind."""
    state = here(request)
    if limit > state.config.page_size:
        raise InvalidFilter(why=f"limit must be at most {state.config.page_size} (setting page_size)")
    items = state.registry.list_assets(**wanted, limit=limit, cursor=cursor)
    total = await state.run(state.registry.count_assets, **wanted)
    following = items[-1]["id"] if len(items) == limit else None
    answer = {"ok": True, "items": items, "total": total, "next_cursor": following}
    return json_answer(answer, request=request)


@router.get("/assets/{uid}")
async def show_asset(request: Request, uid: str) -> Response:
    """Return one asset."""
    state = here(request)
    record = state.registry.get_asset(uid)
    if record is None:
        raise AssetNotFound(uid=uid, project=state.registry.project_id)
    return json_answer({"ok": True, "asset": record}, request=request)
