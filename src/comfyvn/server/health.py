"""How the server is: whether it works at all (for everybody), and its numbers (for who may read)."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter, Depends, Request
from starlette.responses import PlainTextResponse, Response

from comfyvn.db.webhooks import WebhookTable
from comfyvn.errors import ComfyVNError
from comfyvn.server.access import may_read
from comfyvn.server.answers import json_answer
from comfyvn.server.description import binary
from comfyvn.server.meters import gauge
from comfyvn.server.state import here
from comfyvn.studio.core import AssetRegistry

__all__ = ["router"]

router = APIRouter()
_OK_OR_NOT: Final = {
    "schema": {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
}


@router.get(
    "/healthz",
    responses={
        200: {
            "description": "All is well.",
            "content": {"application/json": _OK_OR_NOT},
        },
        503: {"description": "The ledger can't be read.", "content": {"application/json": _OK_OR_NOT}},
    },
)
async def tell_health(request: Request) -> Response:
    """Tell whether the server works and can read its ledger. Everybody may ask, under any name."""
    state = here(request)
    try:
        await state.glance(state.registry.journal_position)
    except ComfyVNError:
        return json_answer({"ok": False}, status=503, headers={"cache-control": "no-store"})
    return json_answer({"ok": True}, headers={"cache-control": "no-store"})


@router.get(
    "/metrics",
    dependencies=[Depends(may_read)],
    response_class=Response,
    responses=binary("text/plain", "Counters, gauges and histograms in the text format of Prometheus."),
)
async def tell_numbers(request: Request) -> Response:
    """Tell what the server has done and is doing, as Prometheus reads it."""
    state = here(request)
    text = (
        "\n".join([*state.meters.lines(), *await state.ask(request, _library_lines, state.registry)]) + "\n"
    )
    return PlainTextResponse(
        text, media_type="text/plain; version=0.0.4", headers={"cache-control": "no-store"}
    )


def _library_lines(registry: AssetRegistry) -> list[str]:
    """Return the numbers of the library."""
    table = WebhookTable(registry.library.ledger.engine, registry.project_id)
    position = registry.journal_position()
    waiting = sum(each["waiting"] for each in table.counts().values())
    behind = sum(max(position - each.position, 0) for each in table.all() if each.disabled_at is None)
    return [
        *gauge("comfyvn_assets", "Assets of the project.", registry.count_assets()),
        *gauge("comfyvn_journal_position", "The newest change.", position),
        *gauge("comfyvn_webhook_backlog", "Changes that webhooks are still to hear of.", waiting + behind),
    ]
