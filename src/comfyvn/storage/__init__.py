"""Bytes by key: where an asset's file, its sidecar and its mirror lie, and how they get there safely."""

from comfyvn.storage.below import open_below
from comfyvn.storage.keys import numbered_key, safe_key, safe_name
from comfyvn.storage.local import (
    LocalStorage,
    PlainStat,
    Source,
    Staged,
    Writes,
    borrow_source,
    open_source,
)

__all__ = [
    "LocalStorage",
    "PlainStat",
    "Source",
    "Staged",
    "Writes",
    "borrow_source",
    "numbered_key",
    "open_below",
    "open_source",
    "safe_key",
    "safe_name",
]
