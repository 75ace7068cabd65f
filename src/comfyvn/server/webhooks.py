"""Webhooks: who is told of changes, and what did not arrive. All of it needs the scope ``admin``."""

from __future__ import annotations

import asyncio
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Path, Query, Request
from pydantic import Field
from starlette.responses import Response

from comfyvn.db.webhooks import DeliveryState
from comfyvn.errors import InvalidFilter, InvalidRequest, InvalidWebhook, NothingThere, WebhookNotFound
from comfyvn.registry.webhooks import Webhooks
from comfyvn.server.access import may_administer
from comfyvn.server.answers import json_answer
from comfyvn.server.description import NOT_MODIFIED, problems
from comfyvn.server.questions import Body, body_of, read_body
from comfyvn.server.schemas import Answer, Moment, Shape
from comfyvn.server.state import State, here

__all__ = ["router"]

router = APIRouter(prefix="/webhooks", dependencies=[Depends(may_administer)])
_KNOWN: Final = problems(WebhookNotFound)

_Since = Annotated[
    int | None,
    Query(ge=0, le=2**63 - 1, description="All changes behind this `seq`; else what has not arrived."),
]
_Seq = Annotated[int, Path(ge=1, le=2**63 - 1)]
_Limit = Annotated[int, Query(ge=1, le=1_000)]
_Cursor = Annotated[int, Query(ge=0, le=2**63 - 1, description="`seq` of the last one of the page before.")]
_Names = Annotated[list[str], Field(max_length=100)]


class NewWebhook(Body):
    """Who is to be told of what."""

    url: Annotated[str, Field(examples=["https://ci.example.org/hooks/comfyvn"])]
    events: _Names = Field(default=[], description="Only these events; all when empty.")
    types: _Names = Field(default=[], description="Only assets of these types; all when empty.")


class WebhookChange(Body):
    """What is to be different; a key that is left out stays as it is."""

    url: str | None = None
    events: _Names | None = None
    types: _Names | None = None
    is_enabled: bool | None = None


class Webhook(Shape):
    """One webhook. `position` is the `seq` up to which it was told; `last_*` tell of the newest try."""

    id: Annotated[str, Field(examples=["wh_5f0c3a1be2d94c77"])]
    url: str
    events: Annotated[list[str], Field(description="What it wants to hear of; all when empty.")]
    types: list[str]
    is_enabled: bool
    disabled_at: Moment | None
    disabled_why: str | None
    created_at: Moment
    position: int
    waiting: Annotated[int, Field(description="How many deliveries wait for their next try.")]
    dead: Annotated[int, Field(description="How many were given up.")]
    last_at: Moment | None
    last_status: int | None
    last_error: str | None
    secret: Annotated[
        str, Field(description="Only in the answer to its making: what it signs with (`whsec_...`).")
    ] = ""


class WebhookAnswer(Answer):
    """One webhook."""

    webhook: Webhook


class WebhookList(Answer):
    """Every webhook, oldest first."""

    items: list[Webhook]
    total: int


class RemovedAnswer(Answer):
    """It is forgotten."""

    removed: str


class TestAnswer(Answer):
    """What became of a test."""

    delivered: bool
    status: Annotated[int | None, Field(description="What the receiver answered.")]
    error: Annotated[str | None, Field(description="Why there was no answer.")]


class Delivery(Shape):
    """A change that has not arrived."""

    seq: int
    state: DeliveryState
    attempts: int
    next_at: Moment | None
    last_at: Moment | None
    last_status: int | None
    last_error: str | None


class DeliveryList(Answer):
    """What has not arrived, oldest first."""

    items: list[Delivery]
    next_cursor: Annotated[int | None, Field(description="Give it as `cursor` for the page behind.")]


class ReplayAnswer(Answer):
    """It will be delivered again. `count`: how many deliveries, where that is known."""

    count: int | None


@router.get("", response_model=WebhookList, responses=NOT_MODIFIED)
async def list_webhooks(request: Request) -> Response:
    """List the webhooks."""
    items = _webhooks(here(request)).all()
    return json_answer({"ok": True, "items": items, "total": len(items)}, request=request)


@router.post(
    "",
    status_code=201,
    response_model=WebhookAnswer,
    responses=problems(InvalidFilter, InvalidWebhook),
    openapi_extra=body_of(NewWebhook),
)
async def add_webhook(request: Request) -> Response:
    """Have an address told of what happens from now on. Its secret is told in this answer and never again."""
    state, wanted = here(request), await read_body(request, NewWebhook)
    webhook = await state.run(_webhooks(state).add, wanted.url, events=wanted.events, types=wanted.types)
    headers = {"location": f"/webhooks/{webhook['id']}", "cache-control": "no-store"}
    return json_answer({"ok": True, "webhook": webhook}, status=201, headers=headers)


@router.get("/{webhook_id}", response_model=WebhookAnswer, responses=_KNOWN | NOT_MODIFIED)
async def show_webhook(request: Request, webhook_id: str) -> Response:
    """Return one webhook."""
    return json_answer({"ok": True, "webhook": _webhooks(here(request)).get(webhook_id)}, request=request)


@router.patch(
    "/{webhook_id}",
    response_model=WebhookAnswer,
    responses=problems(InvalidFilter, InvalidWebhook, WebhookNotFound),
    openapi_extra=body_of(WebhookChange),
)
async def change_webhook(request: Request, webhook_id: str) -> Response:
    """Change a webhook. One that is enabled again is told of what happened meanwhile."""
    state, wanted = here(request), await read_body(request, WebhookChange)
    webhook = await state.run(_webhooks(state).change, webhook_id, **wanted.model_dump())
    return json_answer({"ok": True, "webhook": webhook})


@router.delete("/{webhook_id}", response_model=RemovedAnswer, responses=_KNOWN)
async def remove_webhook(request: Request, webhook_id: str) -> Response:
    """Forget a webhook and what did not arrive there."""
    state = here(request)
    await state.run(_webhooks(state).remove, webhook_id)
    return json_answer({"ok": True, "removed": webhook_id})


@router.post("/{webhook_id}/test", response_model=TestAnswer, responses=_KNOWN)
async def test_webhook(request: Request, webhook_id: str) -> Response:
    """Send an event `webhook_test` now, once, and tell what became of it."""
    state = here(request)
    post, send = _webhooks(state).prepare_test(webhook_id)
    ending = asyncio.create_task(state.closing.wait())
    ending.add_done_callback(lambda _: post.abort())  # the server does not wait for who does not answer
    try:
        answer = await state.run(send)
    finally:
        ending.cancel()
    told = {"delivered": answer.is_success, "status": answer.status, "error": answer.error}
    return json_answer({"ok": True, **told})


@router.get("/{webhook_id}/deliveries", response_model=DeliveryList, responses=_KNOWN | NOT_MODIFIED)
async def list_deliveries(
    request: Request,
    webhook_id: str,
    state: DeliveryState | None = None,
    limit: _Limit = 100,
    cursor: _Cursor = 0,
) -> Response:
    """List the changes that have not arrived: those that wait for their next try, and those given up."""
    found = _webhooks(here(request)).deliveries(webhook_id, state=state, limit=limit, cursor=cursor)
    following = found[-1]["seq"] if len(found) == limit else None
    return json_answer({"ok": True, "items": found, "next_cursor": following}, request=request)


@router.post(
    "/{webhook_id}/deliveries/{seq}/replay",
    status_code=202,
    response_model=ReplayAnswer,
    responses=problems(NothingThere, WebhookNotFound),
)
async def replay_delivery(request: Request, webhook_id: str, seq: _Seq) -> Response:
    """Have one change delivered again, whatever became of it."""
    state = here(request)
    await state.run(_webhooks(state).replay, webhook_id, seq)
    return json_answer({"ok": True, "count": 1}, status=202)


@router.post(
    "/{webhook_id}/replay",
    status_code=202,
    response_model=ReplayAnswer,
    responses=problems(InvalidRequest, WebhookNotFound),
)
async def replay_deliveries(request: Request, webhook_id: str, since: _Since = None) -> Response:
    """Have everything that has not arrived delivered again, or every change behind a `seq`."""
    state = here(request)
    count = None
    if since is None:
        count = await state.run(_webhooks(state).replay_dead, webhook_id)
    else:
        await state.run(_webhooks(state).replay_since, webhook_id, since)
    return json_answer({"ok": True, "count": count}, status=202)


def _webhooks(state: State) -> Webhooks:
    return Webhooks(state.registry)
