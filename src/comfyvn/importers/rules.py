"""Rules of ``comfyvn.toml``: which type, tags and licence the files of a pattern get.

A pattern is matched against the whole path below the source, ignoring case. ``*`` is any text within one
part of the path, ``?`` one character, ``**`` any folders or none, ``{name}`` a text within one part that the
values of the rule may use.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from comfyvn.errors import InvalidAssetType, InvalidMetadata
from comfyvn.importers.adapters import ImportContext
from comfyvn.model import normalise_license, normalise_tags, normalise_type

__all__ = ["Rule", "Verdict", "below_type", "judge", "read_rules"]

_KEYS: Final = ("match", "type", "tags", "license", "origin", "metadata", "skip")
_TOKEN: Final = re.compile(r"\{(?P<name>[^{}]*)\}|(?P<sign>\*\*|[*?{}])")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TEXTS: Final = ("type", "license", "origin")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the rules say of one file; None and nothing where they say nothing."""

    type: str | None = None
    tags: tuple[str, ...] = ()
    license: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    is_matched: bool = False
    is_skipped: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule as it was read and checked."""

    patterns: tuple[re.Pattern[str], ...]
    texts: Mapping[str, str]
    tags: tuple[str, ...]
    metadata: Mapping[str, str]
    is_skip: bool


def read_rules(context: ImportContext) -> tuple[Rule, ...]:
    """Return the rules ``[[importers.NAME.rules]]`` of an adapter.

    Raises:
        InvalidSetting: one is not what it must be; says which, and what is wrong.
    """
    stated = context.settings.get("rules", [])
    if not isinstance(stated, list) or not all(isinstance(rule, Mapping) for rule in stated):
        raise context.refusal("rules", f"each rule is a table [[importers.{context.name}.rules]]")
    rules = []
    for number, rule in enumerate(stated, 1):
        try:
            rules.append(_read_rule(rule))
        except (ValueError, InvalidAssetType, InvalidMetadata) as error:
            raise context.refusal("rules", f"rule {number} ({rule.get('match')!r}): {error}") from error
    return tuple(rules)


def judge(rules: Sequence[Rule], relative: str) -> Verdict:
    """Return what all rules that match a path say together: tags add up, else the later rule has its way.

    Raises:
        InvalidAssetType, InvalidMetadata: a value made from parts of this path can't be what it is to be.
    """
    told: dict[str, str] = {}
    tags: list[str] = []
    metadata: dict[str, str] = {}
    is_matched = is_skipped = False
    for rule in rules:
        found = next(filter(None, (pattern.fullmatch(relative) for pattern in rule.patterns)), None)
        if found is None:
            continue
        parts = found.groupdict()
        is_matched, is_skipped = True, rule.is_skip
        told |= {key: _filled(value, parts) for key, value in rule.texts.items()}
        tags += [_filled(tag, parts) for tag in rule.tags]
        metadata |= {key: _filled(value, parts) for key, value in rule.metadata.items()}
    metadata |= {"origin": told["origin"]} if "origin" in told else {}
    return Verdict(
        normalise_type(told["type"]) if "type" in told else None,
        normalise_tags(tags),
        normalise_license(told.get("license")),
        metadata,
        is_matched,
        is_skipped,
    )


def below_type(relative: str, asset_type: str) -> str:
    """Return where a file goes below the folder of its type: a first folder of the same name is not doubled.

    >>> below_type("characters/mara.png", "characters"), below_type("art/mara.png", "characters")
    ('mara.png', 'art/mara.png')
    """
    first, slash, rest = relative.partition("/")
    return rest if slash and first.casefold() == asset_type.casefold() else relative


def _read_rule(rule: Mapping[str, Any]) -> Rule:
    for key in rule:
        if key not in _KEYS:
            raise ValueError(f"a rule has no {key!r}; it has {', '.join(_KEYS)}")
    match = rule.get("match")
    patterns: list[Any] = match if isinstance(match, list) else [match]
    if not patterns or not all(isinstance(pattern, str) and pattern for pattern in patterns):
        raise ValueError('it needs match = "..." with a pattern, or a list of patterns')
    compiled = tuple(_compiled(pattern) for pattern in patterns)
    tags, metadata, is_skip = rule.get("tags", []), rule.get("metadata", {}), rule.get("skip", False)
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise ValueError('tags must be a list of texts, such as ["sprite", "{name}"]')
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError("metadata must be a table of texts")
    if not isinstance(is_skip, bool):
        raise ValueError("skip must be true or false")
    texts = {key: rule[key] for key in _TEXTS if key in rule}
    for key, value in texts.items():
        if not isinstance(value, str):
            raise ValueError(f"{key} must be a text")
    _check_values([*texts.values(), *tags, *metadata.values()], compiled)
    if "{" not in texts.get("type", "{"):
        normalise_type(texts["type"])
    return Rule(compiled, texts, tuple(tags), metadata, is_skip)


def _check_values(values: Sequence[str], patterns: Sequence[re.Pattern[str]]) -> None:
    """Refuse values that use a part which not every pattern of the rule has."""
    for value in values:
        for found in _TOKEN.finditer(value):
            name = found["name"]
            if name is not None and not all(name in pattern.groupindex for pattern in patterns):
                raise ValueError(f"{value!r} uses {{{name}}}, which the pattern does not have")


def _filled(value: str, parts: Mapping[str, str]) -> str:
    return _TOKEN.sub(lambda found: found[0] if found["name"] is None else parts[found["name"]], value)


def _compiled(pattern: str) -> re.Pattern[str]:
    """Turn a pattern into a regular expression.

    Raises:
        ValueError: it is none; says why.
    """
    if pattern.startswith("/") or "\\" in pattern:
        raise ValueError("a pattern is a path below the source, with / between its parts")
    folders = pattern.split("/")
    made = ""
    for number, part in enumerate(folders):
        is_last = number == len(folders) - 1
        if part == "**":
            made += ".+" if is_last else "(?:[^/]+/)*"
        else:
            made += _compiled_part(part) + ("" if is_last else "/")
    try:
        return re.compile(made, re.IGNORECASE | re.DOTALL)
    except re.error as error:
        raise ValueError(f"{pattern!r} names a part twice; give each its own name") from error


def _compiled_part(part: str) -> str:
    made, at = "", 0
    for found in _TOKEN.finditer(part):
        between = part[at : found.start()]
        if at and not between and part[at - 1 : found.end()] != "??":
            raise ValueError(f"{part!r} has two signs with nothing between; nobody could tell what is whose")
        made += re.escape(between) + _expression(found)
        at = found.end()
    return made + re.escape(part[at:])


def _expression(found: re.Match[str]) -> str:
    name, sign = found["name"], found["sign"]
    if name is not None and not _NAME.fullmatch(name):
        raise ValueError(f"{found[0]!r}: a part's name has letters, digits and _ only")
    if name is not None:
        return f"(?P<{name}>[^/]+?)"
    if sign == "**":
        raise ValueError("** stands for whole folders, as in art/**/*.png")
    if sign in "{}":
        raise ValueError("a { needs its }, with a name between, as in {name}")
    return "[^/]*" if sign == "*" else "[^/]"
