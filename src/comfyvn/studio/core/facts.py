"""What files tell about themselves, kept in the preview cache beside their previews.

The ledger has it too; from here it comes back, without any file being decoded again, when the ledger is lost.
It is a cache like the rest: what is of other content, of an older reader, or not as we write it is passed
over, and read from the file anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final, TypeGuard

from comfyvn import media, sidecar
from comfyvn.errors import ComfyVNError
from comfyvn.model import Asset, facts_name
from comfyvn.storage import Writes
from comfyvn.studio.core.library import Library

__all__ = ["OF_STRUCTURE", "has_facts", "keep_facts", "with_kept_facts"]

OF_STRUCTURE: Final = ("format", "stamped", "not_stamped_because")
"""What a look at a file's structure tells: of the file as it lies there, while all else is of its content."""
_OURS: Final = (*OF_STRUCTURE, "recipe")
_LIMIT_BYTES: Final = 256 << 10
_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    **dict.fromkeys(("width", "height", "bit_depth", "frames", "loops", "pages"), (int,)),
    **dict.fromkeys(("sample_rate", "channels", "bit_rate"), (int,)),
    **dict.fromkeys(("duration_s", "frame_rate", "loudness_lufs"), (int, float)),
    **dict.fromkeys(("mode", "codec", "audio_codec"), (str,)),
    **dict.fromkeys(("has_alpha", "has_icc"), (bool,)),
    "tags": (dict,),
}


def has_facts(asset: Asset) -> bool:
    """Tell whether an asset's facts were read by today's reader."""
    return asset.media.get("recipe") == media.FACTS_RECIPE


def keep_facts(library: Library, asset: Asset) -> None:
    """Write an asset's facts into the preview cache; if they can't be kept there, nothing is lost."""
    if asset.file is None:
        return  # an older release registered it: whether its hash is that of the file is still to be seen
    facts = {name: value for name, value in asset.media.items() if name not in _OURS}
    said = {"recipe": media.FACTS_RECIPE, "hash": asset.digest, "facts": facts}
    with suppress(ComfyVNError, OSError):
        library.thumbs.write(facts_name(asset.uid), sidecar.dumps(said), Writes(is_wanted=False))


def with_kept_facts(library: Library, asset: Asset) -> Asset:
    """Return an asset whose preview is there with the facts that the cache has of its content, if any.

    Facts of other content tell that the preview is of that content, too: then it is to be made again.
    """
    name = facts_name(asset.uid)
    try:
        found = library.thumbs.read(name, _LIMIT_BYTES)
        said = {} if found is None else sidecar.load(found[0], name)
    except (ComfyVNError, OSError):
        return asset
    digest, facts = said.get("hash"), said.get("facts")
    if not isinstance(digest, str) or not _is_sound(facts):
        return asset
    if digest != asset.digest:
        return replace(asset, preview=replace(asset.preview, state="pending"))
    if said.get("recipe") != media.FACTS_RECIPE:
        return asset
    return replace(asset, media={**facts, **asset.media, "recipe": media.FACTS_RECIPE})


def _is_sound(facts: object) -> TypeGuard[dict[str, Any]]:
    """Tell facts that a reader of ours may have told: anybody can write into a cache."""
    if not isinstance(facts, dict) or not facts.keys().isdisjoint(_OURS):
        return False
    return all(type(facts[name]) in _TYPES[name] for name in facts.keys() & _TYPES.keys())
