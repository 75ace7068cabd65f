"""The options of a filter, for every command that works on the assets for which some conditions hold."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

import click

from comfyvn.model import MOST_STARS, PROBLEMS, Conditions, fold, model_name
from comfyvn.registry import console

if TYPE_CHECKING:
    from comfyvn.db import TermKind
    from comfyvn.studio.core import AssetRegistry

__all__ = ["filtered", "resolved", "tell_unknown"]

_COMPARED: Final = 10_000
_NEAR: Final = 3
_CONDITIONS: Final = (
    click.option("--type", "asset_type", multiple=True, help="Only this type; repeated: any of them."),
    click.option(
        "--tag", "tags", multiple=True, help="Only assets with this tag; repeated: with all of them."
    ),
    click.option(
        "--license",
        multiple=True,
        help='Only this licence; "" for assets without one; repeated: any of them.',
    ),
    click.option(
        "--text",
        multiple=True,
        help="Only assets whose path, metadata, tags or prompt hold this text; repeated: all of them.",
    ),
    click.option("--hash", "hash_value", help="Only this SHA-256."),
    click.option(
        "--where", multiple=True, help="Only files of which this is true, as 'width>=1024' or 'codec=opus'."
    ),
    click.option("--not-type", "not_types", multiple=True, help="Not this type; may be repeated."),
    click.option("--not-tag", "not_tags", multiple=True, help="Not those with this tag; may be repeated."),
    click.option(
        "--not-license",
        "not_licenses",
        multiple=True,
        help='Not this licence; "": not those without one; may be repeated.',
    ),
    click.option(
        "--problem",
        "problems",
        multiple=True,
        type=click.Choice(PROBLEMS),
        help="Only assets with this problem; repeated: with any of them.",
    ),
    click.option("--uid", help="Only uids that begin like that; four or more digits."),
    click.option(
        "--workflow", help="Only what came of this workflow: its hash, or eight or more of its characters."
    ),
    click.option("--descends-from", help="Only what came from this asset, by way of others or not."),
    click.option(
        "--rating", "min_rating", type=click.IntRange(0, MOST_STARS), help="Only at least so many stars."
    ),
    click.option(
        "--model", "models", multiple=True, help="Only what this model made; repeated: all of them together."
    ),
    click.option(
        "--lora", "loras", multiple=True, help="Only what this LoRA helped to make; repeated: all of them."
    ),
    click.option("--sampler", "samplers", multiple=True, help="Only this sampler; repeated: any of them."),
    click.option("--tool", "tools", multiple=True, help="Only what this tool made; repeated: any of them."),
    click.option("--seed", help="Only what was made from this seed."),
)
_NAMES: Final = ("asset_type", *Conditions.__annotations__)
_NAMED: Final[Mapping[str, tuple[TermKind, str]]] = {
    "asset_type": ("type", "has the type"),
    "tags": ("tag", "has the tag"),
    "license": ("license", "has the licence"),
    "models": ("model", "was made with the model"),
    "loras": ("lora", "was made with the LoRA"),
    "samplers": ("sampler", "was made with the sampler"),
    "tools": ("tool", "was made with the tool"),
}
_ALL_OF: Final = frozenset(
    ("tags", "text", "where", "not_types", "not_tags", "not_licenses", "models", "loras")
)
"""The conditions of which each value must hold."""


def filtered(command: Callable[..., int]) -> Callable[..., int]:
    """Give a command the options of a filter, and what they say as ``wanted``, as a registry takes it."""

    @functools.wraps(command)
    def with_filter(**given: Any) -> int:
        return command(wanted={name: given.pop(name) for name in _NAMES}, **given)

    decorated: Callable[..., int] = with_filter
    for option in reversed(_CONDITIONS):
        decorated = option(decorated)
    return decorated


def resolved(registry: AssetRegistry, wanted: dict[str, Any]) -> dict[str, Any]:
    """Return conditions with the uid of the asset that one of them names in any way."""
    name = wanted["descends_from"]
    return {**wanted, "descends_from": registry.resolve_uid(name) or name} if name else wanted


def tell_unknown(registry: AssetRegistry, wanted: Mapping[str, Any]) -> None:
    """Say on stderr of which conditions the value is nobody's, where nothing was found: it may be a slip.

    Where each has its assets, and there are several, that is said.
    """
    if not registry.count_assets(**wanted) and registry.count_assets():
        lines = list(_unknown(registry, wanted))
        if not lines and _only_never_meet(registry, wanted):
            lines = ["Each of these conditions finds something, but no asset meets all of them."]
        for line in lines:
            console.echo(line, err=True)


def _only_never_meet(registry: AssetRegistry, wanted: Mapping[str, Any]) -> bool:
    """Tell whether there are several conditions, of which each finds something by itself."""
    single: list[dict[str, Any]] = []
    for name, value in wanted.items():
        if name in _ALL_OF:
            single += [{name: [each]} for each in value]
        elif value not in (None, ()):
            single.append({name: value})
    return len(single) > 1 and all(registry.count_assets(**each) for each in single)


def _unknown(registry: AssetRegistry, wanted: Mapping[str, Any]) -> Iterator[str]:
    """Yield a sentence for each value that no asset of the library has, with what to do."""

    def is_nobodys(**condition: Any) -> bool:
        return registry.count_assets(**condition) == 0

    for name, (kind, has) in _NAMED.items():
        for value in filter(None, wanted[name]):
            if is_nobodys(**{name: [value]}):
                yield f"No asset {has} {value!r}.{_near(registry, kind, value)}"
    for text in wanted["text"]:
        if text and is_nobodys(text=[text]):
            apart = "; words that need not stand together go in a --text each" if " " in text.strip() else ""
            yield f"No asset has the text {text!r} in its path, metadata, tags or prompt{apart}."
    workflow, seed, ancestor = (wanted[name] for name in ("workflow", "seed", "descends_from"))
    if workflow and is_nobodys(workflow=workflow):
        how = "Name it by all of its hash, or by eight or more of its first characters"
        yield f"No asset came of the workflow {workflow!r}. {how}; `comfyvn facts show UID` tells it."
    if seed and is_nobodys(seed=seed):
        yield f"No asset was made from the seed {seed}. `comfyvn facts show UID` tells that of an asset."
    if ancestor and is_nobodys(descends_from=ancestor):
        yield f"Nothing is known to come from {ancestor}. {_of_ancestor(registry, ancestor)}"


def _near(registry: AssetRegistry, kind: TermKind, value: str) -> str:
    """Return names in use that are like one that nobody has, as a sentence; else where all of them are."""
    from difflib import get_close_matches

    asked = fold(model_name(value) if kind in ("model", "lora") else value.strip())
    names = {fold(each["name"]): each["name"] for each in registry.terms(kind, limit=_COMPARED)}
    near = [name for name in names if asked in name] + get_close_matches(asked, names, _NEAR)
    found = [repr(names[name]) for name in dict.fromkeys(near)][:_NEAR]
    return f" There is {' and '.join(found)}." if found else " `comfyvn facets` lists those in use."


def _of_ancestor(registry: AssetRegistry, uid: str) -> str:
    if registry.get_asset(uid) is None:
        return "No asset has this uid: `comfyvn list` shows them."
    return f"`comfyvn lineage {uid}` shows its lineage."
