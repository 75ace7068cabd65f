"""What a path gives away: words of the prompt that made an asset, or its seed.

Tools name their files so: Automatic1111 with seed and prompt, others with a date and both.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

from comfyvn.model import EmbeddedText, fold

__all__ = ["what_it_tells"]

_DENSE: Final = "\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff"
"""Chinese, Japanese and Korean signs: each is a word here, and weighs as much as three letters."""
_WORD: Final = re.compile(rf"[{_DENSE}]|[^\W_{_DENSE}]+")
_DIGITS: Final = re.compile(r"\d+")
_PROMPTS: Final = frozenset({"prompt", "negative_prompt"})
_NAMES: Final = frozenset(
    ("file", "filename_prefix", "image", "name", "path", "title", "album", "artist", "author")
)
"""Keys whose texts are names, of files, songs and people: the file itself may well be called so."""
_NOTES: Final = frozenset({"Note", "MarkdownNote"})
"""Nodes of ComfyUI that only tell people about a workflow."""
_WEIGHT: Final = 12
_WHOLE_WEIGHT: Final = 8
_SENTENCE: Final = 3
_SEED_DIGITS: Final = 4
_DEPTH: Final = 64
_MOST: Final = 20_000


def what_it_tells(path: str, values: Iterable[Any]) -> str | None:
    """Return what a path tells of what made its asset, as words for people; None where it tells nothing.

    Found are a seed of four digits and more that stands there as a number of its own, and two or more words
    of a prompt, or of any text of three words and more, that follow each other and have twelve letters
    together; a prompt of eight letters and more also whole. Case and the signs between words don't count.

    Args:
        path: separated by ``/``; each part is looked at by itself.
        values: texts of a file, and JSON values of any kind.

    >>> what_it_tells("art/00001-4455-lighthouse keeper.png", [{"seed": "4455"}])
    'its seed (4455)'
    >>> what_it_tells("art/00001-lighthouse_keeper.png", [{"prompt": "a lighthouse keeper, night"}])
    "words of its prompt ('lighthouse keeper')"
    """
    numbers = {*_DIGITS.findall(path)}
    parts = ["".join(_words(part)) for part in path.split("/")]
    for key, value in _told(values):
        if key.endswith("seed") and len(value) >= _SEED_DIGITS and value in numbers:
            return f"its seed ({value})"
        if key not in _NAMES:
            for run in _runs(_words(value), is_prompt=key in _PROMPTS, is_text=_is_text(value)):
                if any("".join(run) in part for part in parts):
                    return f"words of its prompt ({' '.join(run)!r})"
    return None


def _is_text(value: str) -> bool:
    return len(value.split(maxsplit=_SENTENCE)) >= _SENTENCE


def _words(text: str) -> list[str]:
    return _WORD.findall(fold(text))


def _runs(words: list[str], *, is_prompt: bool, is_text: bool) -> Iterator[list[str]]:
    """Yield the shortest runs of words that can't be in a path by chance."""
    if is_prompt and sum(map(_weight, words)) >= _WHOLE_WEIGHT:
        yield words
    for start in range(len(words) - 1) if is_prompt or is_text else ():
        weight = _weight(words[start])
        for end in range(start + 1, len(words)):
            weight += _weight(words[end])
            if weight >= _WEIGHT:
                yield words[start : end + 1]
                break


def _weight(word: str) -> int:
    return 3 if len(word) == 1 and word >= _DENSE[0] else len(word)


def _told(values: Iterable[Any]) -> Iterator[tuple[str, str]]:
    """Yield the texts and whole numbers in some values, with the key that each stands under."""
    waiting = [("", value, 0) for value in values]
    count = 0
    while waiting and count < _MOST:
        key, value, depth = waiting.pop()
        count += 1
        if isinstance(value, EmbeddedText):
            key, value = value.name.casefold(), value.text
        if depth > _DEPTH:
            continue
        if isinstance(value, dict) and str(value.get("type")) not in _NOTES:
            waiting += ((str(name).casefold(), each, depth + 1) for name, each in value.items())
        elif isinstance(value, list | tuple):
            waiting += ((key, each, depth + 1) for each in value)
        elif isinstance(value, int) and not isinstance(value, bool):
            yield key, str(value)
        elif isinstance(value, str) and (parsed := _json(value)) is not None:
            waiting.append((key, parsed, depth + 1))
        elif isinstance(value, str):
            yield key, value


def _json(text: str) -> Any:
    """Return the object or list that a text is; None where it is neither."""
    if text.lstrip()[:1] not in ("{", "["):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
