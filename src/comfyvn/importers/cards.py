"""Character cards: what they say of a character, and where in a file they stand.

Formats: Character Card V1 and V2 (malfoyslastname/character-card-spec-v2: ``spec_v1.md``, ``spec_v2.md``), V3
and CharX (kwaroran/character-card-spec-v3: ``SPEC_V3.md``). PNG: third edition (W3C, 2025), sections 5.3 and
11.3.3.2.
"""

from __future__ import annotations

import binascii
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

from comfyvn.errors import ImportFailed
from comfyvn.importers.adapters import ImportContext
from comfyvn.importers.archives import unpack_zip
from comfyvn.importers.foreign import (
    as_dict,
    as_list,
    line,
    link,
    long_text,
    open_plain,
    parse_json,
    read_plain,
    tags_of,
)

__all__ = [
    "CARD_BYTES",
    "CARD_NAME",
    "Card",
    "LeftOut",
    "PngTexts",
    "card_in_archive",
    "card_of",
    "from_base64",
    "is_card",
]

CARD_BYTES: Final = 32 << 20
"""The longest text of a card that is read, and of an asset in a text chunk."""
CARD_NAME: Final = "card.json"
"""What a CharX archive calls its card."""

_CHUNKS: Final = 100_000
_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_EMBEDDED_ASSET: Final = b"chara-ext-asset_:"
_CARD_KEYWORDS: Final = (b"ccv3", b"chara")
"""The text chunks that hold a card; the first counts where both can be read."""
_NOTES: Final = 2_000
_SPECS: Final = frozenset({"chara_card_v2", "chara_card_v3"})
_FIELDS: Final = {
    "name": ("description", "personality", "scenario", "first_mes", "mes_example"),
    "char_name": ("char_persona", "world_scenario", "char_greeting", "example_dialogue"),
}
"""What a card without a ``spec`` has: version 1, and Pygmalion's, which SillyTavern reads as well."""


class LeftOut(Exception):
    """An asset of a card that can't be had; the text says why."""


@dataclass(frozen=True, slots=True)
class Card:
    """What of a character card we take over."""

    name: str
    spec: str | None = None
    creator: str | None = None
    version: str | None = None
    tags: tuple[str, ...] = ()
    notes: str | None = None
    nickname: str | None = None
    links: tuple[str, ...] = ()
    tool: str | None = None
    assets: tuple[Mapping[str, Any], ...] = ()

    @classmethod
    def parse(cls, value: object, default_name: str) -> Card:
        """Read a card of any version; what has a wrong type is left out."""
        whole = as_dict(value)
        data = as_dict(whole.get("data")) or whole
        older = "chara_card_v1" if "name" in data else None
        spec = line(whole.get("spec"), 100) or ("chara_card_v2" if data is not whole else older)
        tool = as_dict(as_dict(whole.get("metadata")).get("tool"))
        return cls(
            name=line(data.get("name"), 200) or line(data.get("char_name"), 200) or default_name,
            spec=spec,
            creator=line(data.get("creator")),
            version=line(data.get("character_version")),
            tags=tags_of(as_list(data.get("tags"))),
            notes=long_text(data.get("creator_notes"), _NOTES),
            nickname=line(data.get("nickname")),
            links=tuple(filter(None, map(link, as_list(data.get("source"))[:20]))),
            tool=line(tool.get("name"), 200),
            assets=tuple(as_dict(asset) for asset in as_list(data.get("assets"))),
        )

    @property
    def credits(self) -> dict[str, str]:
        """Whose picture it is, and of whom: what is said of each of a card's assets."""
        known = {"character": self.name, "creator": self.creator, "origin": self.creator}
        return {key: value for key, value in known.items() if value}

    @property
    def metadata(self) -> dict[str, Any]:
        """What is known of the character besides, said of the card itself."""
        known = {
            "character_version": self.version,
            "card_spec": self.spec,
            "creator_notes": self.notes,
            "nickname": self.nickname,
            "card_sources": list(self.links),
        }
        return {**self.credits, **{key: value for key, value in known.items() if value}}

    @property
    def source(self) -> str:
        """What the provenance names: the tool that wrote the card, if it says so."""
        return self.tool or "SillyTavern"


@dataclass(frozen=True, slots=True)
class PngTexts:
    """The text chunks of a PNG that matter here: cards by keyword, and where embedded assets stand."""

    cards: Mapping[bytes, bytes]
    assets: Mapping[str, tuple[int, int]]

    @classmethod
    def read(cls, path: Path) -> PngTexts:
        """Walk the chunks of a file (length, type, data, check sum); one that is no PNG has none."""
        cards: dict[bytes, bytes] = {}
        assets: dict[str, tuple[int, int]] = {}
        with open_plain(path) as file:
            if file.read(8) != _SIGNATURE:
                return cls(cards, assets)
            for offset, length in _text_chunks(file):
                file.seek(offset)
                keyword, found, _ = file.read(min(length, 1_000)).partition(b"\0")
                start = offset + len(keyword) + 1
                if not found:
                    continue
                if keyword.startswith(_EMBEDDED_ASSET):
                    inner = keyword.removeprefix(_EMBEDDED_ASSET).decode("latin-1")
                    assets.setdefault(inner, (start, offset + length - start))
                elif (name := keyword.lower()) in _CARD_KEYWORDS and name not in cards:
                    file.seek(start)
                    cards[name] = file.read(min(offset + length - start, CARD_BYTES + 1))
        return cls(cards, assets)


def _text_chunks(file: BinaryIO) -> Iterator[tuple[int, int]]:
    """Yield offset and length of the data of each ``tEXt`` chunk."""
    at = len(_SIGNATURE)
    for _ in range(_CHUNKS):
        file.seek(at)
        head = file.read(8)
        if len(head) < 8 or head[4:] == b"IEND":
            return
        length = int.from_bytes(head[:4], "big")
        if head[4:] == b"tEXt":
            yield at + 8, length
        at += 12 + length


def card_of(texts: PngTexts, file: Path) -> Card:
    """Return the card in a PNG, version 3 before the older ones.

    Raises:
        ImportFailed: none of them can be read.
    """
    failed: ImportFailed | None = None
    for keyword in _CARD_KEYWORDS:
        if keyword not in texts.cards:
            continue
        try:
            return _parse_chunk(texts.cards[keyword], file)
        except ImportFailed as error:
            failed = failed or error
    assert failed is not None  # the caller has seen that there is one
    raise failed


def _parse_chunk(data: bytes, file: Path) -> Card:
    if len(data) > CARD_BYTES:
        raise ImportFailed(path=file, why=f"its card is larger than {CARD_BYTES >> 20} MiB")
    try:
        value = parse_json(from_base64(data), file, "its card")
    except LeftOut as error:
        raise ImportFailed(path=file, why=f"its card can't be read: {error}") from error
    if not isinstance(value, dict):
        raise ImportFailed(path=file, why="its card is no JSON object")
    return Card.parse(value, file.stem)


def from_base64(data: str | bytes) -> bytes:
    """Return what a text in base64 holds.

    Raises:
        LeftOut: it is damaged.
    """
    try:
        return binascii.a2b_base64(data)
    except ValueError as error:
        raise LeftOut("its base64 is damaged") from error


def is_card(value: object) -> bool:
    """Tell a character card from other JSON: by its ``spec``, or by the fields that one without has."""
    whole = as_dict(value)
    if whole.get("spec") in _SPECS:
        return bool(as_dict(whole.get("data")))
    fields = as_dict(whole.get("data")) or whole
    return any(
        isinstance(fields.get(name), str) and sum(isinstance(fields.get(other), str) for other in others) >= 3
        for name, others in _FIELDS.items()
    )


def card_in_archive(file: Path, context: ImportContext) -> tuple[Card, Path]:
    """Return the card of a CharX file, and its text as a file of its own.

    Raises:
        ImportFailed: there is none, or it can't be read.
    """
    for _, text in unpack_zip(file, context, lambda name: name == CARD_NAME, CARD_BYTES):
        value = parse_json(read_plain(text, CARD_BYTES), file, "its card.json")
        if not is_card(value):
            raise ImportFailed(path=file, why="its card.json is no character card")
        return Card.parse(value, file.stem), text
    raise ImportFailed(path=file, why="there is no card.json in it, so it is no CharX file")
