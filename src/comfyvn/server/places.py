"""Where the files of a request come from and go to: names that strangers give."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final

from comfyvn.config import Config
from comfyvn.errors import ImportMissing, SourceMissing
from comfyvn.storage import open_below, safe_key
from comfyvn.storage.keys import OWN_FOLDERS
from comfyvn.studio.core import AssetRegistry

__all__ = ["destination", "open_import", "origin_of"]

_SHOWN: Final = 100


def open_import(config: Config, path: str) -> tuple[BinaryIO, Path]:
    """Open a file that may be registered: below the assets folder or one of the setting ``import_roots``.

    Args:
        config: the settings.
        path: as the client names it; a relative one starts at the assets folder, or at the project folder.

    Returns:
        The open file, and where it lies.

    Raises:
        ImportMissing: there is none, or it lies elsewhere: the answer is the same, letter for letter.
        SourceUnreadable: it is a folder, a pipe or a device.
    """
    name = path.replace("\\", "/").rstrip("/").rpartition("/")[2].replace("\0", "?")[-_SHOWN:]
    for root, parts in _ways(config, path):
        try:
            return open_below(root, parts), root.joinpath(*parts)
        except SourceMissing:
            continue
    raise ImportMissing(path=name)


def _ways(config: Config, path: str) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """Yield the allowed folders that a path lies below, with the rest of the path."""
    stated = Path(path)
    for place in [stated] if stated.is_absolute() else [config.assets_root / stated, config.home / stated]:
        below = _below(config.assets_root, place)
        if below is not None:
            if below and below[0].casefold() not in OWN_FOLDERS:
                yield config.assets_root, below
            continue
        for root in config.import_roots:
            if below := _below(root, place):
                yield root, below


def _below(root: Path, place: Path) -> tuple[str, ...] | None:
    for each in (root, root.resolve()):
        if place.is_relative_to(each):
            return place.relative_to(each).parts
    return None


def destination(registry: AssetRegistry, asset_type: str, dest_path: str | None, name: str) -> str:
    """Return where a file goes: ``dest_path`` names a file, or a folder for it.

    It is a folder if it ends with a slash, has no dot in its last part, or is one in the assets folder.

    Raises:
        UnsafePath: it is absolute, or leads out of the assets folder.
    """
    if not dest_path:
        return f"{asset_type}/{name}"
    unified = dest_path.replace("\\", "/")
    folder = unified.rstrip("/")
    suffix = registry.sidecar_suffix
    if unified.endswith("/") or "." not in folder.rpartition("/")[2]:
        inside = f"{folder}/{name}"
        safe_key(inside, sidecar_suffix=suffix)
        return inside
    is_folder = registry.library.storage.is_folder(safe_key(unified, sidecar_suffix=suffix))
    return f"{folder}/{name}" if is_folder else unified


def origin_of(
    provenance: Mapping[str, Any] | None, metadata: Mapping[str, Any] | None, door: str
) -> dict[str, Any]:
    """Return the provenance to record: the door stands in where nobody says a source."""
    stated = dict(provenance or {})
    if not stated.get("source"):
        stated["source"] = (metadata or {}).get("source") or door
    return stated
