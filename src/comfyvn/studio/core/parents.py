"""The assets that a file came of, as far as the file itself tells: by our marker, or by its graph."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from comfyvn.db import Reader
from comfyvn.model import AssetFilter, LinkKind, Parent, fold

__all__ = ["parents_told"]

_LOOKED_AT: Final = 100
_IMAGES: Final = 16
_NAME_CHARACTERS: Final = 255
_KINDS: Final[Mapping[str, LinkKind]] = {"img2img": "img2img", "inpaint": "inpaint"}
"""By the role of an input image; a mask, or what only steers, is no parent."""
_HASH_DIGITS: Final = 64


def parents_told(
    rows: Reader, digest: str, marker: Mapping[str, Any], generation: object
) -> tuple[Parent, ...]:
    """Return the parents that a file names and the library has.

    Args:
        rows: the ledger.
        digest: of the file's content.
        marker: what the marker in the file says; {} where it has none. It survives most editors, and then
            names the asset that was edited: that is certain.
        generation: the object of that name in the inputs of its provenance. An input image is certain by its
            hash, likely by its name if only one asset has that, and none if several have.
    """
    found: dict[str, Parent] = {}
    for parent in (*_by_marker(rows, digest, marker), *_by_graph(rows, generation)):
        found.setdefault(parent.uid, parent)
    return tuple(found.values())


def _by_marker(rows: Reader, digest: str, marker: Mapping[str, Any]) -> Iterator[Parent]:
    uid, stamped = marker.get("uid"), marker.get("hash")
    if not isinstance(uid, str) or stamped == digest:
        return
    asset = rows.listed(uid)
    if asset is not None and asset.digest != digest:
        yield Parent(uid, "edit", "certain", "marker")


def _by_graph(rows: Reader, generation: object) -> Iterator[Parent]:
    facts = generation.get("facts") if isinstance(generation, Mapping) else None
    images = facts.get("input_images") if isinstance(facts, Mapping) else None
    for image in images[:_IMAGES] if isinstance(images, list) else ():
        role = image.get("role") if isinstance(image, Mapping) else None
        kind = _KINDS.get(role) if isinstance(role, str) else None
        if kind is None:
            continue
        stated, name = image.get("hash"), image.get("name")
        if isinstance(stated, str) and len(stated) == _HASH_DIGITS:
            if (known := rows.known(stated.lower())) is not None:
                yield Parent(known.uid, kind, "certain", "graph-hash")
        elif isinstance(name, str) and (uid := _only_one_named(rows, name)) is not None:
            yield Parent(uid, kind, "likely", "graph-name")


def _only_one_named(rows: Reader, name: str) -> str | None:
    """Return the uid of the only asset whose file has or had a name, None where there is none or several."""
    wanted = fold(name.replace("\\", "/").rpartition("/")[2].strip())
    if not wanted or len(wanted) > _NAME_CHARACTERS:
        return None
    found = rows.find(AssetFilter.build(text=wanted), limit=_LOOKED_AT)
    if len(found) == _LOOKED_AT:
        return None
    named = {
        asset.uid
        for asset in found
        if wanted in (fold(asset.key.rpartition("/")[2]), _original_name(asset.facts.meta))
    }
    return named.pop() if len(named) == 1 else None


def _original_name(meta: Mapping[str, Any]) -> str | None:
    name = meta.get("original_name")
    return fold(name) if isinstance(name, str) else None
