"""Terms: what a filter may ask of an asset, in the form in which the ledger compares and keeps it.

An asset's type is a term, its licence (``""`` for none), and each of its tags (``""`` where it has none). So
are the models, LoRAs, samplers and the tool that made it, by their names without folder and suffix.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, Final, Literal, cast, get_args

from comfyvn.model import Asset, fold, is_seed, model_name

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
    "seed_of",
    "terms_of",
]

TermKind = Literal["type", "license", "tag", "model", "lora", "sampler", "tool"]
KINDS: Final[tuple[TermKind, ...]] = get_args(TermKind)
_NAME_CHARACTERS: Final = 200
_PROMPT_CHARACTERS: Final = 2_000

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
        *((kind, fold_term(name), name) for kind, name in _made_with(asset)),
    ]


def seed_of(asset: Asset) -> str | None:
    """Return the seed that made an asset, as digits; None where that is unknown."""
    seed = _facts(asset).get("seed")
    return seed if is_seed(seed) else None


def _made_with(asset: Asset) -> Iterator[tuple[TermKind, str]]:
    """Yield what made an asset; sidecars may be edited, so each value is looked at."""
    if not asset.generation:
        return
    facts = _facts(asset)
    lists: tuple[tuple[TermKind, str], ...] = (("model", "models"), ("lora", "loras"))
    for kind, key in lists:
        entries = facts.get(key)
        for entry in entries if isinstance(entries, list) else ():
            name = entry.get("name") if isinstance(entry, Mapping) else None
            if isinstance(name, str) and (short := model_name(name)):
                yield kind, short
    for single, value in (("sampler", facts.get("sampler")), ("tool", asset.generation.get("tool"))):
        if isinstance(value, str) and (text := value.strip()[:_NAME_CHARACTERS]):
            yield cast("TermKind", single), text


def _facts(asset: Asset) -> Mapping[str, Any]:
    facts = asset.generation.get("facts")
    return facts if isinstance(facts, Mapping) else {}


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
    """Return what a search looks through: the path, texts at the top of the metadata, the file's own tags,
    and the beginning of the prompt."""
    texts = [asset.key]
    if isinstance(prompt := _facts(asset).get("prompt"), str):
        texts.append(prompt[:_PROMPT_CHARACTERS])
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
