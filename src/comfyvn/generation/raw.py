"""The texts that a tool wrote into a file, in a form in which those of one workflow share nearly everything.

A text that is JSON is held as its value. Two pictures of one workflow differ in a seed and a few names, so
the second is kept as the changes that lead to it from the first.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from comfyvn.generation.values import is_deep
from comfyvn.model import EmbeddedText, canonical_json

__all__ = ["Raw", "apply_changes", "changes_between"]

_NESTING: Final = 200
_KEPT_NESTING: Final = 32  # changes stand in sidecars, whose nesting has a limit; graphs have some ten levels


@dataclass(frozen=True, slots=True)
class Raw:
    """Texts as values: ``[{"place", "name", "json" | "text"}]``, in the order of the file.

    ``digest`` is the SHA-256 of their canonical JSON: it covers all of it, seed and positions too.
    """

    values: list[dict[str, Any]]

    @classmethod
    def of(cls, texts: Iterable[EmbeddedText]) -> Raw:
        """Take texts as they are in a file."""
        return cls([_value_of(text) for text in texts])

    @property
    def digest(self) -> str:
        """The hash of everything."""
        return hashlib.sha256(canonical_json(self.values).encode(errors="surrogatepass")).hexdigest()

    def texts(self) -> list[EmbeddedText]:
        """Return the texts; the same JSON, spaces aside, where a text is JSON."""
        return [
            EmbeddedText(
                str(each["place"]),
                str(each["name"]),
                each["text"] if "text" in each else json.dumps(each.get("json"), ensure_ascii=False),
            )
            for each in self.values
        ]


def changes_between(base: Any, value: Any) -> list[list[Any]]:
    """Return what makes one JSON value of another: ``[[path, value], ...]``, a path being keys and indexes.

    >>> changes_between({"3": {"seed": 1, "steps": 20}}, {"3": {"seed": 2, "steps": 20}})
    [[['3', 'seed'], 2]]
    """
    return list(_differing(base, value, ()))


def apply_changes(base: Any, changes: Sequence[Sequence[Any]]) -> Any:
    """Return the value to which changes lead; the base stays as it is.

    >>> apply_changes([1, {"a": 2}], [[[1, "a"], 3]])
    [1, {'a': 3}]

    Raises:
        ValueError: they are no changes of this value.
    """
    made = json.loads(json.dumps(base))
    for change in changes:
        try:
            path, value = change
            if not path:
                made = value
                continue
            at = made
            for step in path[:-1]:
                at = at[step]
            at[path[-1]]  # what is not there can't be changed
            at[path[-1]] = value
        except (TypeError, KeyError, IndexError, ValueError) as error:
            raise ValueError(f"not a change of this value: {change!r:.80}") from error
    return made


def _differing(base: Any, value: Any, path: tuple[str | int, ...]) -> Iterator[list[Any]]:
    if type(base) is type(value) and len(path) < _NESTING:
        if isinstance(base, dict) and list(base) == list(value):
            for name in base:
                yield from _differing(base[name], value[name], (*path, name))
            return
        if isinstance(base, list) and len(base) == len(value):
            for at, (one, other) in enumerate(zip(base, value, strict=True)):
                yield from _differing(one, other, (*path, at))
            return
        if base == value:
            return
    yield [list(path), value]


def _value_of(text: EmbeddedText) -> dict[str, Any]:
    text = EmbeddedText(
        *(part.encode(errors="replace").decode() for part in (text.place, text.name, text.text))
    )
    where = {"place": text.place, "name": text.name}
    if text.text.lstrip()[:1] in ("{", "["):
        with suppress(ValueError, RecursionError):
            value = json.loads(text.text, object_pairs_hook=_once, parse_constant=_refused)
            json.dumps(value, ensure_ascii=False).encode()  # half characters: the text has them escaped
            if not is_deep(value, _KEPT_NESTING):
                return {**where, "json": value}
    return {**where, "text": text.text}


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice")  # which would be lost
    return found


def _refused(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
