"""The options of a filter, for every command that works on the assets for which some conditions hold."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import click

from comfyvn.model import MOST_STARS, PROBLEMS, Conditions

if TYPE_CHECKING:
    from comfyvn.studio.core import AssetRegistry

__all__ = ["filtered", "resolved"]

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
        help="Only assets whose path or metadata hold this text; repeated: all of them, in any order.",
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
