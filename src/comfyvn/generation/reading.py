"""Which readers understand a file, and what they say together."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from comfyvn.generation import a1111, comfyui, fooocus, invokeai, novelai, swarmui
from comfyvn.generation.raw import Raw
from comfyvn.generation.told import FACTS, Told
from comfyvn.model import EmbeddedText, canonical_json, is_seed

__all__ = ["READER", "Generation", "read"]

log = logging.getLogger(__name__)

READER: Final = 2
"""The version of the reader; one more whenever the same texts would tell other facts."""

_PARSERS: Final[tuple[Callable[[Sequence[EmbeddedText], str], Told | None], ...]] = (
    comfyui.parse,
    invokeai.parse,
    swarmui.parse,
    fooocus.parse,
    novelai.parse,
    a1111.parse,
)
"""The most telling first: a graph says what was done, parameters what somebody wrote about it."""
_TEXT_CHARACTERS: Final = 100_000
_SHORT_CHARACTERS: Final = 1_000
_ENTRIES: Final = 100
_WHOLE: Final = 2**53 - 1


@dataclass(frozen=True, slots=True)
class Generation:
    """What a file says of its making.

    ``file`` is the name that the file had. ``facts`` as `comfyvn.generation.told.FACTS` names them;
    ``read_from`` says of each where it was read.
    ``workflow_hash`` is the same for all files of one workflow, whatever their seed; None where the file
    tells of none. ``raw`` are the texts themselves.
    """

    tool: str
    tool_version: str | None
    file: str
    facts: dict[str, Any]
    read_from: dict[str, str]
    workflow_hash: str | None
    raw: Raw
    reader: int = field(default=READER)

    def as_inputs(self) -> dict[str, Any]:
        """Return what stands under ``generation`` in the inputs of provenance, but for the raw texts."""
        version = {} if self.tool_version is None else {"tool_version": self.tool_version}
        workflow = {} if self.workflow_hash is None else {"workflow_hash": self.workflow_hash}
        return {
            "reader": self.reader,
            "tool": self.tool,
            **version,
            **workflow,
            "file": self.file,
            "facts": self.facts,
            "read_from": self.read_from,
        }


def read(texts: Sequence[EmbeddedText], file_name: str = "") -> Generation | None:
    """Tell what made a file from the texts in it; None where no reader understands any.

    Where several readers do, as with nodes that save A1111's parameters beside the graph, the first tells,
    and the others add facts that it leaves open. What is no value of the fact's type, or larger than a fact
    may be, is left out.

    Args:
        texts: as `comfyvn.media.texts` gives them.
        file_name: tells which of several nodes saved this file.
    """
    found = [told for parse in _PARSERS if (told := _parsed(parse, texts, file_name)) is not None]
    if not found:
        return None
    facts, read_from = dict[str, Any](), dict[str, str]()
    for told in found:
        for name, value in told.facts.items():
            if name not in facts and _is_sound(name, value):
                facts[name] = value
                read_from[name] = _short(told.read_from[name])
    understood = {name for told in found for name in told.texts}
    workflow = next((told.workflow for told in found if told.workflow is not None), None)
    return Generation(
        tool=_short(found[0].tool),
        tool_version=None if found[0].tool_version is None else _short(found[0].tool_version),
        file=_short(file_name),
        facts={name: facts[name] for name in FACTS if name in facts},
        read_from={name: read_from[name] for name in FACTS if name in facts},
        workflow_hash=None if workflow is None else _hash(workflow),
        raw=Raw.of(text for text in texts if text.name in understood),
    )


def _parsed(
    parse: Callable[[Sequence[EmbeddedText], str], Told | None], texts: Sequence[EmbeddedText], file_name: str
) -> Told | None:
    try:
        return parse(texts, file_name)
    except Exception:  # what anybody wrote into a file, and a mistake of ours in it, must not cost the file
        log.exception("the reader %s failed on the texts of %r", parse.__module__, file_name)
        return None


def _short(text: str) -> str:
    """Return a text without half characters, which no sidecar can hold, and not too long."""
    return text[:_SHORT_CHARACTERS].encode(errors="replace").decode()


def _hash(workflow: Any) -> str:
    return hashlib.sha256(canonical_json(workflow).encode(errors="surrogatepass")).hexdigest()


def _is_sound(name: str, value: Any) -> bool:
    """Tell a value of a fact's type, of a size that a ledger can hold."""
    wanted = FACTS.get(name)
    if wanted is str:
        limit = _TEXT_CHARACTERS if name.endswith("prompt") else _SHORT_CHARACTERS
        if name == "seed":
            return is_seed(value)
        return _is_text(value, limit)
    if wanted is list:
        is_list = isinstance(value, list) and 0 < len(value) <= _ENTRIES
        return is_list and all(isinstance(each, dict) and _is_entry(each) for each in value)
    if wanted is int:
        return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _WHOLE
    return wanted is float and _is_number(value)


def _is_entry(entry: dict[str, Any]) -> bool:
    return all(_is_text(value, _SHORT_CHARACTERS) or _is_number(value) for value in entry.values())


def _is_text(value: Any, limit: int) -> bool:
    is_short = isinstance(value, str) and 0 < len(value) <= limit
    return is_short and "\0" not in value and (value.isascii() or not _has_half_characters(value))


def _has_half_characters(text: str) -> bool:
    return any("\ud800" <= char <= "\udfff" for char in text)


def _is_number(value: Any) -> bool:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and abs(value) <= _WHOLE and math.isfinite(value)
