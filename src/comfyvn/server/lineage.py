"""The lineage: what an asset came from, what came from it, and what waits for confirmation."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, Path, Query, Request
from pydantic import Field
from starlette.responses import Response

from comfyvn.errors import AssetNotFound, InvalidFilter, InvalidMetadata, LineageCircle, LinkNotFound
from comfyvn.model import LinkKind
from comfyvn.server.access import may_read, may_write
from comfyvn.server.answers import json_answer
from comfyvn.server.description import NOT_MODIFIED, problems
from comfyvn.server.lists import gather
from comfyvn.server.questions import Body, Cursor, Limit, body_of, page_size, read_body
from comfyvn.server.schemas import LineageAnswer, ParentsAnswer, ProposalList
from comfyvn.server.state import here
from comfyvn.studio.core import AssetRegistry
from comfyvn.studio.core.lineage import Direction, LineageEdge

__all__ = ["router"]

router = APIRouter()
_PAGE: Final = 50

_Uid = Annotated[str, Path(description="`uid` of the asset.", max_length=64)]
_Parent = Annotated[str, Field(description="`uid` of what it came from.", max_length=64)]


class LinkBody(Body):
    """What an asset came from, and how."""

    parent: _Parent
    kind: LinkKind = "manual"


class JudgementBody(Body):
    """Whether an asset came from another one."""

    parent: _Parent
    kind: LinkKind | None = Field(None, description="By default the kinds that wait, or all if none does.")
    certainty: Literal["certain", "rejected"]


@router.get(
    "/assets/proposals",
    dependencies=[Depends(may_read)],
    response_model=ProposalList,
    responses=NOT_MODIFIED | problems(InvalidFilter),
)
async def list_proposals(
    request: Request,
    of: Annotated[str | None, Query(description="Only the parents of this asset.", max_length=64)] = None,
    limit: Limit = None,
    cursor: Cursor = None,
) -> Response:
    """List the parents of assets that are likely and wait for confirmation, the newest first.

    50 unless ``limit`` is given. ``PATCH /assets/{uid}/lineage`` confirms or rejects one.
    """
    state = here(request)
    size = page_size(state.config, limit, _PAGE)
    read = partial(state.registry.proposed_parents, of or None)
    items, following = await state.ask(request, gather, read, size, cursor, "id")
    return json_answer({"ok": True, "items": items, "next_cursor": following}, request=request)


@router.get(
    "/assets/{uid}/lineage",
    dependencies=[Depends(may_read)],
    response_model=LineageAnswer,
    responses=NOT_MODIFIED | problems(AssetNotFound, InvalidFilter),
)
async def show_lineage(
    request: Request,
    uid: _Uid,
    direction: Annotated[Direction, Query(description="Which way.")] = "both",
    depth: Annotated[int, Query(ge=1, le=1_000, description="So many levels each way.")] = 20,
    rejected: Annotated[bool, Query(description="Also what somebody rejected.")] = False,
) -> Response:
    """Return what an asset came from, and what came from it: at most 10,000 assets, the nearest each way.

    An asset that is not in the library has a lineage if any asset came from it.
    """
    state = here(request)
    show = state.registry.lineage
    found = await state.ask(request, show, uid, direction, depth, with_rejected=rejected)
    return json_answer({"ok": True, **found}, request=request)


@router.post(
    "/assets/{uid}/lineage",
    dependencies=[Depends(may_write)],
    response_model=ParentsAnswer,
    responses=problems(AssetNotFound, InvalidMetadata, LineageCircle),
    openapi_extra=body_of(LinkBody),
)
async def link_asset(request: Request, uid: _Uid) -> Response:
    """Note that an asset came from another one, for certain."""
    state = here(request)
    body = await read_body(request, LinkBody)
    change = partial(state.registry.link, uid, body.parent, body.kind)
    return await state.run(_changed, state.registry, uid, change)


@router.patch(
    "/assets/{uid}/lineage",
    dependencies=[Depends(may_write)],
    response_model=ParentsAnswer,
    responses=problems(AssetNotFound, LineageCircle, LinkNotFound),
    openapi_extra=body_of(JudgementBody),
)
async def judge_link(request: Request, uid: _Uid) -> Response:
    """Confirm or reject that an asset came from another one; what is rejected is never proposed again."""
    state, body = here(request), await read_body(request, JudgementBody)
    registry = state.registry
    judge = registry.confirm_parent if body.certainty == "certain" else registry.reject_parent
    return await state.run(_changed, registry, uid, partial(judge, uid, body.parent, body.kind))


@router.delete(
    "/assets/{uid}/lineage",
    dependencies=[Depends(may_write)],
    response_model=ParentsAnswer,
    responses=problems(AssetNotFound, LinkNotFound),
)
async def unlink_asset(
    request: Request,
    uid: _Uid,
    parent: Annotated[str, Query(description="`uid` of what it came from.", max_length=64)],
    kind: Annotated[LinkKind | None, Query(description="How it came from it; all kinds by default.")] = None,
) -> Response:
    """Forget that an asset came from another one, which need not be in the library."""
    state = here(request)
    return await state.run(_changed, state.registry, uid, partial(state.registry.unlink, uid, parent, kind))


def _changed(registry: AssetRegistry, uid: str, change: Callable[..., list[LineageEdge]]) -> Response:
    """Change the parents of an asset as an operation of its own, and answer with both."""
    operation = registry.new_operation()
    parents = change(operation=operation)
    with registry.library.read() as rows:
        is_known = rows.has_operation(operation)
    answer: dict[str, Any] = {"ok": True, "uid": uid, "parents": parents}
    return json_answer({**answer, "operation": operation if is_known else None})
