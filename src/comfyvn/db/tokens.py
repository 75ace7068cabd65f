"""Tokens: who may come in by the server's door. Only the SHA-256 of a token is kept."""

from __future__ import annotations

import secrets
import unicodedata
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, Final, Literal, get_args

from comfyvn.db.engine import Engine
from comfyvn.errors import InvalidToken, TokenNotFound

__all__ = ["MASTER", "SCOPES", "Scope", "Token", "Tokens", "digest_of"]

Scope = Literal["assets.read", "assets.write", "admin"]
SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)
"""Each includes those before it."""
MASTER: Final = "api_token"
"""The name under which the journal knows the token of the setting ``api_token``."""
_PREFIX: Final = "cvn"
_ID_BYTES: Final = 4
_SECRET_BYTES: Final = 24
_NAME_LENGTH: Final = 60
_COLUMNS: Final = "id, name, digest, scopes, created_at, expires_at, last_used_at, revoked_at"


@dataclass(frozen=True, slots=True)
class Token:
    """What is kept of a token; times are UTC (ISO 8601)."""

    id: str
    name: str
    digest: str
    scope: Scope
    created_at: str
    expires_at: str | None
    last_used_at: str | None
    revoked_at: str | None

    def is_active(self, at: datetime | None = None) -> bool:
        """Tell whether it lets anybody in, now or at another time."""
        now = _text(at or datetime.now(UTC))
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)

    def as_dict(self) -> dict[str, Any]:
        """Return what people may see of it."""
        return {
            "id": self.id,
            "name": self.name,
            "scope": self.scope,
            "is_active": self.is_active(),
            "created_at": self.created_at,
            "expires_at": self.expires_at,
            "last_used_at": self.last_used_at,
            "revoked_at": self.revoked_at,
        }


class Tokens:
    """The tokens of one project."""

    def __init__(self, engine: Engine, project_id: str) -> None:
        self._engine = engine
        self._project_id = project_id

    def create(
        self, name: str | None, scope: Scope, *, lifetime: timedelta | None = None
    ) -> tuple[Token, str]:
        """Make a token.

        Args:
            name: whom the journal names for its changes; by default the token's id.
            scope: what it may do.
            lifetime: how long it is valid; None for always.

        Returns:
            What is kept, and the token itself: nobody can tell it later.

        Raises:
            InvalidToken: the name or the lifetime can't be one, or another token that is in use has the name.
        """
        token_id, secret = secrets.token_hex(_ID_BYTES), secrets.token_hex(_SECRET_BYTES)
        name = token_id if name is None else _checked_name(name)
        now = datetime.now(UTC)
        text = f"{_PREFIX}_{token_id}_{secret}"
        ends = None if lifetime is None else _text(_later(now, lifetime))
        token = Token(token_id, name, digest_of(text), scope, _text(now), ends, None, None)
        with self._engine.write() as connection:
            query = (
                "SELECT 1 FROM asset_tokens WHERE project_id = ? AND (name = ? OR id = ?)"
                " AND revoked_at IS NULL"
            )
            if connection.execute(query, (self._project_id, name, name)).fetchone():
                raise InvalidToken(
                    why=f"there is one named {name} already; revoke that first, or take another name"
                )
            connection.execute(
                f"INSERT INTO asset_tokens (project_id, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (self._project_id, token.id, name, token.digest, scope, token.created_at, ends, None, None),
            )
        return token, text

    def all(self) -> list[Token]:
        """Return every token that was ever made, oldest first."""
        query = f"SELECT {_COLUMNS} FROM asset_tokens WHERE project_id = ? ORDER BY created_at, id"
        with self._engine.read() as connection:
            return [Token(*row) for row in connection.execute(query, (self._project_id,))]

    def revoke(self, name: str) -> Token:
        """Have a token, by name or id, let nobody in any more.

        Raises:
            TokenNotFound: there is none, or it is revoked already.
        """
        query = (
            f"SELECT {_COLUMNS} FROM asset_tokens WHERE project_id = ? AND (name = ? OR id = ?)"
            " AND revoked_at IS NULL"
        )
        with self._engine.write() as connection:
            found = connection.execute(query, (self._project_id, name, name)).fetchone()
            if found is None:
                raise TokenNotFound(name=name)
            now = _text(datetime.now(UTC))
            connection.execute("UPDATE asset_tokens SET revoked_at = ? WHERE id = ?", (now, found[0]))
        return replace(Token(*found), revoked_at=now)

    def note_use(self, token_id: str) -> None:
        """Note that a token was used just now."""
        with self._engine.write(is_durable=False) as connection:
            now = _text(datetime.now(UTC))
            connection.execute("UPDATE asset_tokens SET last_used_at = ? WHERE id = ?", (now, token_id))


def digest_of(text: str) -> str:
    """Return what is kept of a token."""
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _checked_name(name: str) -> str:
    name = unicodedata.normalize("NFC", name).strip()
    if not name or len(name) > _NAME_LENGTH or not name.isprintable():
        raise InvalidToken(why=f"its name must have 1 to {_NAME_LENGTH} characters that can be printed")
    if name == MASTER:
        raise InvalidToken(why=f"the name {name} belongs to the token of that setting; take another one")
    return name


def _later(now: datetime, lifetime: timedelta) -> datetime:
    if lifetime <= timedelta():
        raise InvalidToken(why="it would be of no use: it would have expired already")
    try:
        return now + lifetime
    except OverflowError as error:
        raise InvalidToken(why="nobody can tell a time so far away") from error


def _text(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
