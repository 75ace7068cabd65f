"""Bytes by key: where an asset's file, its sidecar and its mirror lie, and how they get there safely."""

from comfyvn.storage.keys import numbered_key, safe_key, safe_name
from comfyvn.storage.local import LocalStorage, PlainStat, Source, Staged, Writes, open_source

__all__ = [
    "LocalStorage",
    "PlainStat",
    "Source",
    "Staged",
    "Writes",
    "numbered_key",
    "open_source",
    "safe_key",
    "safe_name",
]
