"""The commands of tokens: ``token create``, ``token list``, ``token revoke``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final, get_args

import click

from comfyvn.cli.shared import json_option, open_library
from comfyvn.db.tokens import Scope, Token, Tokens
from comfyvn.errors import InvalidToken
from comfyvn.registry import console

__all__ = ["token"]

_UNITS: Final = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_LIFETIME: Final = re.compile(r"([0-9]{1,6})([mhdw])")


@click.group()
def token() -> None:
    """Make, list and revoke the tokens with which others come in by `comfyvn serve`.

    A token is sent as `Authorization: Bearer TOKEN`. Its scope says what it may do: assets.read looks,
    assets.write changes assets as well, admin does everything. The journal names it for what it changes.
    """


@token.command()
@click.option("--name", help="Whom the journal names; the token's id by default.")
@click.option(
    "--scope",
    type=click.Choice(get_args(Scope)),
    default="assets.read",
    show_default=True,
    help="What it may do.",
)
@click.option(
    "--expires", metavar="TIME", help="How long it is valid, such as 30d, 12h or 2w; always by default."
)
@json_option
@console.library_options
def create(name: str | None, scope: Scope, expires: str | None, as_json: bool, **library: str | None) -> None:
    """Make a token and print it: this once, since only its SHA-256 is kept."""
    lifetime = None if expires is None else _lifetime(expires)
    with _tokens(library) as tokens:
        made, text = tokens.create(name, scope, lifetime=lifetime)
    if as_json:
        console.emit_json({**made.as_dict(), "token": text})
        return
    click.echo(text)
    ends = f"till {_time(made.expires_at)}" if made.expires_at else "till it is revoked"
    console.echo(
        f"Token {made.name} ({made.scope}) is valid {ends}. Keep it: nobody can show it again.", err=True
    )


@token.command("list")
@json_option
@console.library_options
def list_tokens(as_json: bool, **library: str | None) -> None:
    """List the tokens: names, scopes, when they expire and were last used."""
    with _tokens(library) as tokens:
        found = tokens.all()
    if as_json:
        console.emit_json({"tokens": [each.as_dict() for each in found]})
        return
    for each in found:
        console.echo(f"{each.id}  {each.scope:<12}  {each.name}: {_describe(each)}")
    if not found:
        console.echo("There are no tokens. Make one with `comfyvn token create`.")


@token.command()
@click.argument("name")
@json_option
@console.library_options
def revoke(name: str, as_json: bool, **library: str | None) -> None:
    """Have a token, by name or id, let nobody in any more; running servers notice at once."""
    with _tokens(library) as tokens:
        gone = tokens.revoke(name)
    if as_json:
        console.emit_json(gone.as_dict())
    else:
        console.echo(f"Token {gone.name} ({gone.id}) is revoked.")


@contextmanager
def _tokens(library: dict[str, str | None]) -> Iterator[Tokens]:
    with open_library(library) as registry:
        yield Tokens(registry.library.ledger.engine, registry.project_id)


def _lifetime(text: str) -> timedelta:
    """Return a stated lifetime.

    >>> _lifetime("30d")
    datetime.timedelta(days=30)
    """
    found = _LIFETIME.fullmatch(text.strip().lower())
    if found is None:
        raise InvalidToken(why=f"{text!r} is no time; write it as 30d, 12h, 45m or 2w")
    stated: dict[str, Any] = {_UNITS[found[2]]: int(found[1])}
    return timedelta(**stated)


def _describe(each: Token) -> str:
    used = f"last used {_time(each.last_used_at)}" if each.last_used_at else "never used"
    if each.revoked_at:
        return f"revoked {_time(each.revoked_at)}, {used}"
    if each.expires_at:
        return f"{'valid till' if each.is_active() else 'expired'} {_time(each.expires_at)}, {used}"
    return f"valid, {used}"


def _time(at: str) -> str:
    return datetime.fromisoformat(at).astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
