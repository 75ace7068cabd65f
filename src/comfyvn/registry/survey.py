"""What lies on disk, held against what the ledger remembers: most of a rebuild, where little has changed.

Files and rows both come in the order of their keys and are merged like two sorted lists, so that neither is
ever held whole. What agrees in everything is only counted; the rest goes to `comfyvn.registry.rescan`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Final

from comfyvn import media
from comfyvn.db import FileRow
from comfyvn.model import FileStat, preview_names
from comfyvn.storage import PlainStat
from comfyvn.studio.core.library import Library

__all__ = ["Survey"]

_PAGE: Final = 2_000  # rows read at once
_REMEMBERED: Final = 10_000  # files that differ; of more, it looks again
_STEP: Final = 256
_ENDINGS: Final = {kind: tuple(preview_names("", kind).values()) for kind in media.RECIPES}


class Survey:
    """Everything below the assets folder, looked at once when it is made.

    Args:
        library: the library.
        is_verifying: no file counts as known, since each is to be read.
        leave_out: asked for each file that is not as the ledger knows it; True leaves it out.
        on_files: called now and then with how many more files are as the ledger knows them.

    ``gone`` holds (uid, whether it is marked missing) of assets whose file is gone, ``skipped`` (path, why)
    of what can't be an asset, ``uneven`` the folders in which sidecars may lie without a file, ``shared`` the
    mirror keys that several assets hold to be theirs, ``unchanged`` how many files are as the ledger knows
    them: file, sidecar, mirror and preview.

    Raises:
        LibraryUnreachable: the assets folder can't be read.
    """

    def __init__(
        self,
        library: Library,
        *,
        is_verifying: bool = False,
        leave_out: Callable[[str, FileStat], bool] | None = None,
        on_files: Callable[[int], None] | None = None,
    ) -> None:
        self._library = library
        self._is_verifying = is_verifying
        self._leave_out = leave_out
        self._thumbs = f"{library.thumbs.root}{os.sep}"
        self._mirrors = library.mirrors
        self._mirror_names: list[tuple[str, set[str]]] = []
        self.gone: list[tuple[str, bool]] = []
        self.skipped: list[tuple[str, str]] = []
        self.uneven: list[str] = []
        self.shared: set[str] = set()
        self.unchanged = 0
        self._on_files = on_files or _ignore
        found = self._differing(self.skipped, self.uneven, self._note_gone)
        self._remembered = list(islice(found, _REMEMBERED))
        self._is_all = sum(1 for _ in found) == 0
        self.uneven.sort()
        self._on_files(self.unchanged % _STEP)
        self._on_files = _ignore

    def files(self) -> Iterator[tuple[str, FileStat]]:
        """Yield (key, stat) of files that are not as the ledger knows them, in the order of keys."""
        if self._is_all and not self.shared:
            yield from self._remembered
        else:
            yield from self._differing([], [], _ignore)

    # -- inside ---------------------------------------------------------------------------------------

    def _differing(
        self, skipped: list[tuple[str, str]], uneven: list[str], on_gone: Callable[[FileRow], object]
    ) -> Iterator[tuple[str, FileStat]]:
        library, rows = self._library, self._rows()
        row = next(rows, None)
        self.unchanged = 0
        for key, file, beside in library.storage.walk_beside(library.sidecar_suffix, skipped, uneven):
            while row is not None and row.key < key:
                on_gone(row)
                row = next(rows, None)
            if row is not None and row.key == key:
                is_known = self._is_known(row, file, beside)
                row = next(rows, None)
                if is_known:
                    self._count()
                    continue
            if not library.is_sidecar(key):
                stat = FileStat(*file)
                if self._leave_out is None or not self._leave_out(key, stat):
                    yield key, stat
        while row is not None:
            on_gone(row)
            row = next(rows, None)

    def _rows(self) -> Iterator[FileRow]:
        self._mirror_names.clear()
        after = ""
        while True:
            with self._library.read() as reader:
                rows = reader.file_rows(after, _PAGE)
            yield from rows
            if len(rows) < _PAGE:
                return
            after = rows[-1].key

    def _count(self) -> None:
        self.unchanged += 1
        if self.unchanged % _STEP == 0:
            self._on_files(_STEP)

    def _note_gone(self, row: FileRow) -> None:
        self._has_mirror(row)  # another asset may hold it to be its own
        if self._library.storage.stat(row.key) is None:  # else its name differs by case, or it is no text
            self.gone.append((row.uid, row.is_missing))

    def _is_known(self, row: FileRow, file: PlainStat, beside: PlainStat | None) -> bool:
        """Tell whether a rescan would find nothing to do; it decides in all other cases."""
        return (
            self._has_mirror(row)  # first: the name of each mirror counts once
            and file == (row.file_size, row.file_mtime_ns, row.file_inode)
            and beside == (row.sidecar_size, row.sidecar_mtime_ns, row.sidecar_inode)
            and not row.is_missing
            and not self._is_verifying
            and self._has_preview(row)
        )

    def _has_mirror(self, row: FileRow) -> bool:
        """Tell whether an asset's mirror is there; one that other assets hold to be theirs is noted."""
        if self._mirrors is None or row.mirror_key is None:
            return self._mirrors is None
        folder = row.key[: row.key.rfind("/") + 1]
        if row.mirror_key in self.shared or not row.mirror_key.startswith(folder):
            return False
        names, name = self._mirrors_in(folder), row.mirror_key[len(folder) :]
        if name in names:
            names.remove(name)
            return True
        if self._mirrors.exists(row.mirror_key):
            self.shared.add(row.mirror_key)
        return False

    def _mirrors_in(self, folder: str) -> set[str]:
        """Return the mirrors in a folder that nobody has claimed; folders are left in the order of keys."""
        opened = self._mirror_names
        while opened and not folder.startswith(opened[-1][0]):
            opened.pop()
        if not opened or opened[-1][0] != folder:
            assert self._mirrors is not None
            opened.append((folder, self._mirrors.file_names(folder)))
        return opened[-1][1]

    def _has_preview(self, row: FileRow) -> bool:
        """Tell whether `comfyvn.studio.core.previews.need_of` would find nothing to do."""
        kind = row.preview_kind
        if not row.has_media or kind is None:
            return row.has_media
        if row.preview_recipe != media.RECIPES.get(kind):
            return False
        if row.preview_state != "ready":
            return row.preview_state == "failed"
        if row.facts_recipe != media.FACTS_RECIPE:
            return False
        return all(os.access(f"{self._thumbs}{row.uid}{ending}", os.F_OK) for ending in _ENDINGS[kind])


def _ignore(_: object) -> None:
    pass
