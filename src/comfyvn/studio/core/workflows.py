"""What made a file: read from its texts when it comes in, and kept.

The facts go into the inputs of the file's provenance, under ``generation``. The texts themselves are kept
below ``.comfyvn/workflows`` of the assets folder, one file for each workflow (``<hash>.json``): of a second
picture of the same workflow only the changes are kept, in its provenance. So they survive the loss of the
ledger, and an editor that strips them from the file.
"""

from __future__ import annotations

import json
import logging
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from threading import Lock
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from comfyvn import media
from comfyvn.errors import ComfyVNError
from comfyvn.generation import Generation, read
from comfyvn.generation.raw import Raw, apply_changes, changes_between
from comfyvn.model import UNSPECIFIED, Asset, EmbeddedText, FileStat, Provenance, ProvenanceClaim
from comfyvn.storage import LocalStorage, Writes

if TYPE_CHECKING:
    from comfyvn.studio.core.library import Library

__all__ = [
    *("Workflows", "describe_told", "is_of_content", "row_that_tells", "texts_of", "told_by_file"),
    "with_generation",
]

_log = logging.getLogger(__name__)
_FOLDER: Final = ".comfyvn/workflows"
_FILE_BYTES: Final = 64 << 20
_CHANGES_BYTES: Final = 4 << 10
_KEPT: Final = 32
_KEPT_BYTES: Final = 1 << 20
_HEX: Final = frozenset("0123456789abcdef")
_HASH_DIGITS: Final = 64


class Workflows:
    """The texts of tools, each workflow once.

    A reference is ``{"hash", "base", "changes"?}``: the hash of all texts of the file (`Raw.digest`), the
    name of the file that holds those of its workflow, and what leads from these to its own.
    """

    def __init__(self, storage: LocalStorage) -> None:
        self._storage = storage
        self._lock = Lock()
        self._known: OrderedDict[str, tuple[FileStat | None, list[Any]]] = OrderedDict()

    def keep(self, raw: Raw, workflow_hash: str | None, writes: Writes) -> dict[str, Any]:
        """Keep texts and return a reference to them.

        Args:
            raw: the texts.
            workflow_hash: names the workflow that they are of, if known.
            writes: notes a new file, to be synced.
        """
        digest = raw.digest
        for name in dict.fromkeys((workflow_hash or digest, digest)):
            base = self._load(name)
            if base is None:
                base = self._create(name, raw.values, writes)
            changes = changes_between(base, raw.values) if base is not None else None
            if changes == []:
                return {"hash": digest, "base": name}
            if changes is not None and len(json.dumps(changes)) <= _CHANGES_BYTES:
                return {"hash": digest, "base": name, "changes": changes}
        return {"hash": digest}  # what lies at both names is damaged: the file has it still

    def find(self, reference: object) -> list[EmbeddedText] | None:
        """Return the texts of a reference; None where they are gone, or are others by now."""
        if not isinstance(reference, Mapping):
            return None
        base = self._load(reference.get("base"))
        changes = reference.get("changes") or []
        if base is None or not isinstance(changes, list):
            return None
        with suppress(ValueError, KeyError, TypeError):
            raw = Raw(apply_changes(base, changes))
            if raw.digest == reference.get("hash"):
                return raw.texts()
        return None

    def _create(self, name: str, values: list[Any], writes: Writes) -> list[Any] | None:
        try:
            self._storage.create(_key(name), json.dumps(values, ensure_ascii=False).encode(), writes)
        except FileExistsError:
            pass  # another process was first, or it is damaged
        except (ComfyVNError, OSError) as error:  # the asset is worth more, and its file has the texts, too
            _log.warning("the texts that made a file could not be kept in %s: %s", _FOLDER, error)
            return None
        return self._load(name)

    def _load(self, name: object) -> list[Any] | None:
        if not (isinstance(name, str) and len(name) == _HASH_DIGITS and _HEX.issuperset(name)):
            return None
        stat = self._storage.stat(_key(name))
        with self._lock:
            known = self._known.get(name)
            if known is not None and known[0] == stat:  # else changes would lead from what is gone
                self._known.move_to_end(name)
                return known[1]
        try:
            found = self._storage.read(_key(name), _FILE_BYTES)
            values = None if found is None else json.loads(found[0])  # orjson would round large numbers
        except (ComfyVNError, OSError, ValueError, RecursionError):
            return None
        if found is None or not isinstance(values, list):
            return None
        if len(found[0]) <= _KEPT_BYTES:
            with self._lock:
                self._known[name] = found[1], values
                while len(self._known) > _KEPT:
                    self._known.popitem(last=False)
        return values


def told_by_file(file: BinaryIO, name: str) -> Generation | None:
    """Return what an open file tells of its making; it is left at its start.

    Args:
        file: seekable.
        name: its name, which tells which node of a graph saved it.
    """
    texts = media.texts(file, name=name)
    file.seek(0)
    return read(texts, name) if texts else None


def with_generation(claim: ProvenanceClaim, told: Generation, reference: dict[str, Any]) -> ProvenanceClaim:
    """Return a claim with what the file tells; what the caller stated stays."""
    if "generation" in claim.inputs:
        return claim
    source = told.tool if told.tool_version is None else f"{told.tool} {told.tool_version}"
    return replace(
        claim,
        source=source if claim.source == UNSPECIFIED else claim.source,
        workflow_hash=claim.workflow_hash
        if claim.is_hash_stated
        else told.workflow_hash or claim.workflow_hash,
        inputs={**claim.inputs, "generation": describe_told(told, reference)},
    )


def describe_told(told: Generation, reference: Mapping[str, Any]) -> dict[str, Any]:
    """Return what stands under ``generation`` in the inputs of a provenance row."""
    return {**told.as_inputs(), "raw": dict(reference)}


def texts_of(library: Library, asset: Asset) -> list[EmbeddedText]:
    """Return the texts from which an asset's facts are read: those that were kept, else those of its file.

    Those that were kept of another version than the one whose facts these are don't count.
    """
    telling = row_that_tells(asset)
    of = None if telling is None else telling.inputs.get("asset_hash")
    for row in asset.all_provenance:
        told = row.inputs.get("generation")
        if not isinstance(told, Mapping) or row.inputs.get("asset_hash") != of:
            continue
        if (kept := library.workflows.find(told.get("raw"))) is not None:
            return kept
    try:
        with library.storage.open(asset.key) as source:
            return list(media.texts(source.file, name=asset.key))
    except (ComfyVNError, OSError):
        return []


def row_that_tells(asset: Asset) -> Provenance | None:
    """Return the newest provenance row of an asset that tells what made it."""
    return next(
        (row for row in asset.all_provenance if isinstance(row.inputs.get("generation"), Mapping)), None
    )


def is_of_content(row: Provenance, asset: Asset) -> bool:
    """Tell whether a provenance row is of the content that an asset has now, as far as it says.

    The hash of an asset that an older release stamped is not the one that its rows have.
    """
    stated = row.inputs.get("asset_hash")
    if stated in (None, asset.digest):
        return True
    return any(each.version == 0 and each.digest == stated for each in asset.versions)


def _key(name: str) -> str:
    return f"{_FOLDER}/{name[:2]}/{name}.json"
