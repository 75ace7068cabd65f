"""Terms: what a filter may ask of an asset, in the form in which the ledger compares and keeps it.

An asset's type is a term, its licence (``""`` for none), and each of its tags (``""`` where it has none).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final, Literal

from comfyvn.model import Asset, fold

__all__ = [
    "CODE_BITS",
    "CODE_LENGTH",
    "CODE_ZERO",
    "KINDS",
    "TermKind",
    "decode_terms",
    "encode_terms",
    "fold_term",
    "search_text",
    "terms_of",
]

TermKind = Literal["type", "license", "tag"]
KINDS: Final[tuple[TermKind, ...]] = ("type", "license", "tag")

CODE_LENGTH: Final = 5
CODE_ZERO: Final = 48
CODE_BITS: Final = 6

fold_term: Final = lru_cache(4_096)(fold)
"""For tags and licences, of which a library has few and its assets many."""


def terms_of(asset: Asset) -> list[tuple[TermKind, str, str]]:
    """Return an asset's terms: kind, the form that is compared, the form that is shown."""
    facts = asset.facts
    tags: list[tuple[TermKind, str, str]] = [("tag", fold_term(tag), tag) for tag in facts.tags]
    licence = facts.license or ""
    untagged: tuple[TermKind, str, str] = ("tag", "", "")
    return [
        ("type", asset.type, asset.type),
        ("license", fold_term(licence), licence),
        *(tags or [untagged]),
    ]


def encode_terms(term_ids: Iterable[int]) -> str:
    """Return term ids as five characters each, of the 64 that begin with "0", most significant first."""
    return "".join(map(_code, term_ids))


def decode_terms(codes: str) -> list[int]:
    """Return the term ids that `encode_terms` wrote."""
    parts = (codes[at : at + CODE_LENGTH] for at in range(0, len(codes), CODE_LENGTH))
    return [
        sum((ord(char) - CODE_ZERO) << shift * CODE_BITS for shift, char in enumerate(reversed(part)))
        for part in parts
    ]


def search_text(asset: Asset) -> str:
    """Return what a search looks through: the path, texts at the top of the metadata, the file's own tags."""
    texts = [asset.key]
    tags = asset.media.get("tags")
    told = tags.values() if isinstance(tags, Mapping) else ()
    for value in (*asset.facts.as_meta(asset.version).values(), *told):
        if isinstance(value, str):
            texts.append(value)
        elif isinstance(value, list):
            texts.extend(item for item in value if isinstance(item, str))
    return fold("\n".join(texts))


@lru_cache(4_096)
def _code(term_id: int) -> str:
    digits = (term_id >> shift & 63 for shift in range((CODE_LENGTH - 1) * CODE_BITS, -1, -CODE_BITS))
    return "".join(chr(CODE_ZERO + digit) for digit in digits)
