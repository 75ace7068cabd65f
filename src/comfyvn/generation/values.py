"""Values out of what anybody may have written: a value of another kind, or out of bounds, is None.

JSON of the tools spells numbers as numbers or as texts; NaN and infinities, which JSON doesn't know, are read
as null.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from comfyvn.generation.told import Told
from comfyvn.model import EmbeddedText

__all__ = [
    "as_entry",
    "as_number",
    "as_seed",
    "as_text",
    "as_whole",
    "is_deep",
    "load_object",
    "named",
    "tell_size",
    "without",
]

_NESTING: Final = 64
_WHOLE: Final = 1_000_000
"""More than any count of steps or pixels on a side; what is larger is damage."""
_NUMBER: Final = re.compile(r"[+-]?[0-9]{1,12}(?:\.[0-9]{0,20})?(?:[eE][+-]?[0-9]{1,3})?")
_DIGITS: Final = re.compile(r"[0-9]{1,20}")
_SEEDS: Final = 2**64


def load_object(text: str) -> dict[str, Any] | None:
    """Return the JSON object that a text is; None for other JSON, no JSON, and nesting beyond 64 levels."""
    if not text.lstrip().startswith("{"):
        return None
    try:
        value = json.loads(text, parse_constant=lambda name: None)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) and not is_deep(value) else None


def as_text(value: object) -> str | None:
    """Return a text without the space around it, unless nothing is left."""
    return (value.strip() or None) if isinstance(value, str) else None


def as_whole(value: object) -> int | None:
    """Return a whole number from 0 to 1,000,000, also of a text or of ``20.0``.

    >>> as_whole("20"), as_whole(20.0), as_whole(-1), as_whole(True)
    (20, 20, None, None)
    """
    number = as_number(value)
    return int(number) if number is not None and number.is_integer() and 0 <= number <= _WHOLE else None


def as_number(value: object) -> float | None:
    """Return a finite number below 10**12, also of a text.

    >>> as_number("7.5"), as_number("7,5"), as_number(10**400)
    (7.5, None, None)
    """
    if isinstance(value, str):
        value = float(value) if _NUMBER.fullmatch(value) else None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not -1e12 < value < 1e12:
        return None
    return float(value) if math.isfinite(value) else None


def as_seed(value: object) -> str | None:
    """Return the digits of a seed below 2**64; None for -1, by which tools mean a random one.

    >>> as_seed(18446744073709551615), as_seed("007"), as_seed(-1), as_seed("1e9")
    ('18446744073709551615', '7', None, None)
    """
    if isinstance(value, str):
        value = int(value) if _DIGITS.fullmatch(value) else None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < _SEEDS:
        return None
    return str(value)


def as_entry(name: object, **more: object) -> dict[str, Any] | None:
    """Return an entry of ``models``, ``loras`` or ``input_images``; None without a name."""
    text = as_text(name)
    if text is None:
        return None
    return {"name": text, **{key: value for key, value in more.items() if value is not None}}


def named(texts: Iterable[EmbeddedText], *names: str) -> Iterator[EmbeddedText]:
    """Yield the texts of these names, ignoring case, in the order of the file."""
    wanted = {name.casefold() for name in names}
    return (text for text in texts if text.name.casefold() in wanted)


def tell_size(told: Told, width: object, height: object, read_from: str) -> None:
    """Tell width and height, both or none."""
    pair = as_whole(width), as_whole(height)
    if all(pair):
        told.tell("width", pair[0], read_from)
        told.tell("height", pair[1], read_from)


def without(value: Any, is_volatile: Callable[[str], bool]) -> Any:
    """Return a JSON value without the keys, at any depth, that change from picture to picture."""
    if isinstance(value, dict):
        return {key: without(inner, is_volatile) for key, inner in value.items() if not is_volatile(key)}
    return [without(inner, is_volatile) for inner in value] if isinstance(value, list) else value


def is_deep(value: object, levels: int = _NESTING) -> bool:
    """Tell whether lists and objects lie more than so many levels deep in each other."""
    level: list[object] = [value]
    for _ in range(levels):
        level = [
            inner
            for outer in level
            for inner in (
                outer.values() if isinstance(outer, dict) else outer if isinstance(outer, list) else ()
            )
            if isinstance(inner, (dict, list))
        ]
        if not level:
            return False
    return True
