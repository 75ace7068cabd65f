"""Moving: another place or name in the library for one asset; file, sidecar and mirror go together.

The file moves first, inside the transaction that tells of it: killed behind that, a rebuild finds the file
as if somebody had moved it by hand.
"""

from __future__ import annotations

from typing import Final

from comfyvn.errors import PathConflict, UnsafePath
from comfyvn.model import Asset, fold, split_suffix
from comfyvn.storage import safe_key
from comfyvn.studio.core.library import Library, Move, Transaction

__all__ = ["Mover"]

_ALIKE: Final = (
    frozenset({".jpg", ".jpeg"}),
    frozenset({".tif", ".tiff"}),
    frozenset({".aif", ".aiff"}),
    frozenset({".mpg", ".mpeg"}),
)
"""Suffixes that say the same."""


class Mover:
    """Moves the assets of one library."""

    def __init__(self, library: Library) -> None:
        self._library = library

    def key_for(self, asset: Asset, path: str) -> str:
        """Return the key that an asset is to get.

        Args:
            asset: the asset.
            path: a file below the assets folder, or with a slash at its end a folder for it.

        Raises:
            UnsafePath: it leads out of the assets folder, or the suffix is that of another format.
        """
        name = asset.key.rpartition("/")[2]
        wanted = f"{path}{name}" if path.replace("\\", "/").endswith("/") else path
        key = safe_key(wanted, sidecar_suffix=self._library.sidecar_suffix)
        old, new = (fold(split_suffix(each.rpartition("/")[2])[1]) for each in (asset.key, key))
        if old != new and not any({old, new} <= each for each in _ALIKE):
            hint = "" if new else "; a folder ends with a slash"
            why = f"the name must end as now, with {old!r}, since a move changes no format{hint}"
            raise UnsafePath(path=path, why=why)
        return key

    def move(self, change: Transaction, asset: Asset, key: str) -> Asset:
        """Give an asset another key inside a transaction; the same asset comes back if it has that already.

        Raises:
            PathConflict: its file is missing, or the place is another's.
            InvalidSidecar: its sidecar can't be read.
            OutsideLibrary: the folder leads out of the assets folder.
        """
        if key == asset.key:
            return asset
        library, storage = self._library, self._library.storage
        stat = storage.stat(asset.key)
        if stat is None:
            why = "its file is not in its place, so it can't be moved; put it back, or run `comfyvn rebuild`"
            raise PathConflict(path=asset.key, why=why)
        self._check_own_sidecar(asset)
        self._check_free(change, asset, key)
        try:
            change.undo.append(storage.move(asset.key, key, change.writes))
        except FileExistsError as error:
            raise PathConflict(path=key, why="a file lies there already; choose another name") from error
        except FileNotFoundError as error:
            why = "its file was taken away at this moment; run `comfyvn rebuild`"
            raise PathConflict(path=asset.key, why=why) from error
        known = storage.stat(key) if stat == asset.file else None
        here = library.relocate(change, [Move(asset, key, known, is_ours=True)])[0]
        change.rows.update([change.updates.pop(here.id)])  # of several moves each sees the one before
        return here

    def _check_own_sidecar(self, asset: Asset) -> None:
        """Raise unless what lies beside an asset's file is its sidecar, or nothing."""
        library = self._library
        if library.storage.stat(library.sidecar_key(asset.key)) == asset.sidecar_file:
            return
        found = library.read_sidecar(asset.key, asset.facts)
        if found is not None and not self._is_of(found.uid, found.project, asset):
            why = "another asset's sidecar lies beside it; put the files right, then `comfyvn rebuild`"
            raise PathConflict(path=asset.key, why=why)

    def _check_free(self, change: Transaction, asset: Asset, key: str) -> None:
        owner = change.rows.asset_at(key)
        is_other_name = fold(key) != fold(asset.key)
        if owner is not None or (is_other_name and change.rows.is_taken(key)):
            why = "another asset has this name, or one that some systems take for it; choose another"
            raise PathConflict(path=key, why=why)
        beside = self._library.sidecar_key(key)
        if not self._library.storage.exists(beside):
            return
        found = self._library.read_sidecar(key)
        is_own = found is not None and found.uid is not None and self._is_of(found.uid, found.project, asset)
        if not is_own and (found is None or not _has_just_left(change, found.uid, key)):
            raise PathConflict(path=beside, why="another asset's sidecar lies there; choose another name")

    def _is_of(self, uid: str | None, project: str | None, asset: Asset) -> bool:
        return uid in (None, asset.uid) and project in (None, self._library.ledger.project_id)


def _has_just_left(change: Transaction, uid: str | None, key: str) -> bool:
    """Tell whether an asset moves away from a key in this transaction; its old sidecar goes at the end."""
    moves = (entry for entry in change.entries if entry.event == "asset_moved" and entry.uid == uid)
    return any(entry.before is not None and entry.before["path"] == key for entry in moves)
