"""ComfyUI's output folder: finished pictures, films and sounds.

Format: ComfyUI's nodes save ``<prefix>_<5 digits>_.<suffix>`` (custom ones also without the last ``_``) below
``output``; a prefix may have folders. Previews are named ``ComfyUI_temp_<5 letters>_<5 digits>_``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from comfyvn.errors import ImportFailed
from comfyvn.importers.adapters import ImportContext, ImportItem, ImportSkip
from comfyvn.importers.finished import GrowingFolder
from comfyvn.importers.foreign import tags_of
from comfyvn.importers.rules import below_type, judge, read_rules
from comfyvn.importers.walking import type_of_medium, written_name

__all__ = ["ComfyuiAdapter", "is_date"]

_NAME: Final = re.compile(r"(?P<prefix>.+?)_(?P<counter>\d{5,})_?(?P<part>-audio)?", re.DOTALL)
_PREVIEW: Final = re.compile(r"ComfyUI_temp_[a-z]{5}_\d{5}_", re.IGNORECASE)
_DATE: Final = re.compile(r"\d{4}[-_.]?\d{2}([-_.]?\d{2})?([ _T-].*)?")
_OWN_PREFIX: Final = "comfyui"
_TAKEN: Final = frozenset({"images", "video", "audio"})
_SIGNS: Final = ("main.py", "models", "custom_nodes", "comfy")
"""What lies beside ``output`` in ComfyUI's own folder."""


class ComfyuiAdapter:
    """Takes in ComfyUI's output folder; it can be watched."""

    name = "comfyui"
    summary = "ComfyUI's output folder: finished pictures, films and sounds, once or as they are made."

    def open(self, source: Path, context: ImportContext) -> _Output:
        """Open an output folder, or that of ComfyUI's own folder.

        Raises:
            ImportFailed: it is no folder.
            InvalidSetting: a setting can't be what it must be.
        """
        context.know("rules", "prefix_tags")
        if not source.is_dir():
            raise ImportFailed(path=source, why="this is no folder; give ComfyUI's output folder")
        output = source / "output"
        is_whole = output.is_dir() and any((source / sign).exists() for sign in _SIGNS)
        return _Output(output if is_whole else source, context)


class _Output(GrowingFolder):
    def __init__(self, root: Path, context: ImportContext) -> None:
        super().__init__(root)
        self._rules = read_rules(context)
        self._has_prefix_tags = context.flag("prefix_tags", True)

    def items(self, file: Path) -> Iterator[ImportItem | ImportSkip]:
        """Say what a file becomes: its first folder is the type, further ones and its prefix are tags.

        Raises:
            ImportFailed: its end is missing.
        """
        relative = self.relative(file)
        medium = type_of_medium(file.name)
        verdict = judge(self._rules, relative)
        if _PREVIEW.match(file.name):
            yield ImportSkip("a preview that ComfyUI made on its way")
        elif verdict.is_skipped:
            yield ImportSkip("left out by a rule")
        elif medium not in _TAKEN:
            yield ImportSkip("no picture, film or sound, by its name")
        elif self.is_finished(file) is False:
            raise ImportFailed(path=file, why="its end is missing: it is being written, or was cut off")
        else:
            folders = [part for part in relative.split("/")[:-1] if not is_date(part)]
            kind = verdict.type or (folders[0] if folders else medium)
            yield ImportItem(
                path=file,
                asset_type=kind,
                name=below_type(relative, kind),
                tags=(*self._own_tags(folders[1:], file), *verdict.tags),
                license=verdict.license,
                metadata=verdict.metadata,
                provenance={"source": "comfyui", "inputs": {"file": written_name(relative)}},
            )

    def _own_tags(self, folders: list[str], file: Path) -> tuple[str, ...]:
        """Return what folders and prefix say, made fit for tags: names may hold what no tag may."""
        found = _NAME.fullmatch(file.stem)
        if not self._has_prefix_tags or found is None or found["prefix"].casefold() == _OWN_PREFIX:
            return tags_of(folders)
        return tags_of([*folders, found["prefix"]])


def is_date(folder: str) -> bool:
    """Tell a folder that only says when.

    >>> is_date("2026-11-23"), is_date("20261123"), is_date("mara")
    (True, True, False)
    """
    return _DATE.fullmatch(folder) is not None
