"""The commands below ``webhook``: who is told of changes, and what did not arrive."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, get_args

import click

from comfyvn.cli.shared import json_option, open_library
from comfyvn.db.webhooks import DeliveryState
from comfyvn.registry import console
from comfyvn.registry.webhooks import Webhooks

__all__ = ["webhook"]

_SHOWN: Final = 50
_SEQ: Final = click.IntRange(0, 2**63 - 1)


@click.group()
def webhook() -> None:
    """Have other programs told of changes by a signed POST (Standard Webhooks), while `comfyvn serve` runs.

    A change is delivered at least once; what fails is tried again for about 16 hours, then kept as dead.
    A receiver that answers 410 is told nothing more till you enable its webhook again.
    Private addresses must be listed in the setting webhook_hosts.
    """


@webhook.command()
@click.argument("url")
@click.option(
    "--event", "events", multiple=True, help="Only this event, such as asset_registered; may be repeated."
)
@click.option("--type", "types", multiple=True, help="Only assets of this type; may be repeated.")
@json_option
@console.library_options
def add(
    url: str, events: tuple[str, ...], types: tuple[str, ...], as_json: bool, **library: str | None
) -> None:
    """Have URL told of what happens from now on, and print its secret: this once."""
    with _webhooks(library) as webhooks:
        made = webhooks.add(url, events=events, types=types)
    if as_json:
        console.emit_json(made)
        return
    click.echo(made["secret"])
    console.echo(f"Webhook {made['id']} is told of changes from now on.", err=True)
    console.echo("Give the receiver this secret: nobody can show it again.", err=True)


@webhook.command("list")
@json_option
@console.library_options
def list_webhooks(as_json: bool, **library: str | None) -> None:
    """List the webhooks: how it stands with each. For one that is off: why, and how to switch it on."""
    with _webhooks(library) as webhooks:
        found = webhooks.all()
    if as_json:
        console.emit_json({"webhooks": found})
        return
    for each in found:
        console.echo(f"{each['id']}  {each['url']}: {_describe(each)}")
    if not found:
        console.echo("There are no webhooks. Add one with `comfyvn webhook add URL`.")


@webhook.command()
@click.argument("webhook_id", metavar="ID")
@json_option
@console.library_options
def remove(webhook_id: str, as_json: bool, **library: str | None) -> None:
    """Forget a webhook and what did not arrive there."""
    with _webhooks(library) as webhooks:
        webhooks.remove(webhook_id)
    if as_json:
        console.emit_json({"removed": webhook_id})
    else:
        console.echo(f"Webhook {webhook_id} is removed.")


@webhook.command()
@click.argument("webhook_id", metavar="ID")
@json_option
@console.library_options
def enable(webhook_id: str, as_json: bool, **library: str | None) -> None:
    """Switch a webhook on again. It is told of what happened meanwhile, too."""
    _switch(webhook_id, True, as_json, library)


@webhook.command()
@click.argument("webhook_id", metavar="ID")
@json_option
@console.library_options
def disable(webhook_id: str, as_json: bool, **library: str | None) -> None:
    """Switch a webhook off. What happens meanwhile waits till it is on again."""
    _switch(webhook_id, False, as_json, library)


@webhook.command()
@click.argument("webhook_id", metavar="ID")
@json_option
@console.library_options
def test(webhook_id: str, as_json: bool, **library: str | None) -> int:
    """Send an event webhook_test now. Exit code 1: it did not arrive."""
    with _webhooks(library) as webhooks:
        answer = webhooks.prepare_test(webhook_id)[1]()
    if as_json:
        told = {"delivered": answer.is_success, "status": answer.status, "error": answer.error}
        console.emit_json(told)
    elif answer.is_success:
        console.echo(f"It arrived: the receiver answered {answer.status}.")
    else:
        console.echo(f"It did not arrive: {answer.error or f'the receiver answered {answer.status}'}.")
    return 0 if answer.is_success else 1


@webhook.command()
@click.argument("webhook_id", metavar="ID")
@click.option("--since", type=_SEQ, help="Every change behind this seq of the journal.")
@click.option("--seq", type=_SEQ, help="Only this change.")
@json_option
@console.library_options
def replay(webhook_id: str, since: int | None, seq: int | None, as_json: bool, **library: str | None) -> None:
    """Have changes delivered again. All that did not arrive, or those that the options name."""
    if since is not None and seq is not None:
        raise click.UsageError("Give --since or --seq, not both.")
    count: int | None = None
    with _webhooks(library) as webhooks:
        if since is not None:
            webhooks.replay_since(webhook_id, since)
        elif seq is not None:
            webhooks.replay(webhook_id, seq)
            count = 1
        else:
            count = webhooks.replay_dead(webhook_id)
    if as_json:
        console.emit_json({"count": count})
    else:
        what = f"every change behind {since}" if count is None else f"{count} change{'s' * (count != 1)}"
        console.echo(f"A running server will deliver {what} again.")


@webhook.command()
@click.argument("webhook_id", metavar="ID")
@click.option("--state", type=click.Choice(get_args(DeliveryState)), help="Only these; all by default.")
@click.option(
    "--limit", type=click.IntRange(1, 2**31), default=_SHOWN, show_default=True, help="At most so many."
)
@click.option("--cursor", type=_SEQ, default=0, help="Go on behind this seq.")
@json_option
@console.library_options
def deliveries(
    webhook_id: str,
    state: DeliveryState | None,
    limit: int,
    cursor: int,
    as_json: bool,
    **library: str | None,
) -> None:
    """List the changes that did not arrive: waiting for the next try, or dead."""
    with _webhooks(library) as webhooks:
        found = webhooks.deliveries(webhook_id, state=state, limit=limit, cursor=cursor)
    if as_json:
        console.emit_json({"items": found})
        return
    for each in found:
        when = f"next try {each['next_at']}" if each["state"] == "waiting" else "no further try"
        why = each["last_error"] or "not tried yet"
        console.echo(f"{each['seq']}  {each['state']}  {each['attempts']} tries, {when}: {why}")
    if not found:
        console.echo("Everything has arrived that was sent.")
    elif len(found) == limit:
        console.echo(f"More: add --cursor {found[-1]['seq']}.")


@contextmanager
def _webhooks(library: dict[str, str | None]) -> Iterator[Webhooks]:
    with open_library(library) as registry:
        yield Webhooks(registry)


def _switch(webhook_id: str, is_enabled: bool, as_json: bool, library: dict[str, str | None]) -> None:
    with _webhooks(library) as webhooks:
        changed = webhooks.change(webhook_id, is_enabled=is_enabled)
    if as_json:
        console.emit_json(changed)
    elif is_enabled:
        console.echo(f"Webhook {webhook_id} is on: a running server tells it what it has not heard of yet.")
    else:
        console.echo(f"Webhook {webhook_id} is off. Switch it on with `comfyvn webhook enable {webhook_id}`.")


def _describe(each: dict[str, Any]) -> str:
    wanted = [*each["events"], *(f"type {name}" for name in each["types"])]
    parts = [", ".join(wanted) or "everything", f"told up to {each['position']}"]
    parts += [f"{each[state]} {state}" for state in ("waiting", "dead") if each[state]]
    parts += [f"last: {each['last_error']}"] if each["last_error"] else []
    if not each["is_enabled"]:
        how = f"switch it on with `comfyvn webhook enable {each['id']}`"
        parts += [f"off since {each['disabled_at']} ({each['disabled_why']}): {how}"]
    return "; ".join(parts)
