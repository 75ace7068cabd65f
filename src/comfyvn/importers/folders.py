"""Folders of files, described by rules of ``comfyvn.toml``: path pattern to type, tags and licence."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from comfyvn.errors import ImportFailed
from comfyvn.importers.adapters import ImportContext, ImportItem, ImportSkip
from comfyvn.importers.finished import GrowingFolder
from comfyvn.importers.rules import below_type, judge, read_rules
from comfyvn.importers.walking import real_path

__all__ = ["FoldersAdapter"]

_UNMATCHED: Final = ("plain", "skip")


class FoldersAdapter:
    """Takes in a folder by the rules ``[[importers.folders.rules]]``."""

    name = "folders"
    summary = "Folders of files, with rules of comfyvn.toml from path pattern to type, tags and licence."

    def open(self, source: Path, context: ImportContext) -> _Folders:
        """Open a folder.

        Raises:
            ImportFailed: it is none.
            InvalidSetting: a rule can't be what it must be.
        """
        context.know("rules", "unmatched")
        unmatched = context.text("unmatched", "plain")
        if unmatched not in _UNMATCHED:
            raise context.refusal("unmatched", "it must be plain or skip")
        if not source.is_dir():
            raise ImportFailed(path=source, why="this is no folder")
        return _Folders(source, context, is_plain=unmatched == "plain")


class _Folders(GrowingFolder):
    def __init__(self, root: Path, context: ImportContext, *, is_plain: bool) -> None:
        super().__init__(root)
        self._rules = read_rules(context)
        self._is_plain = is_plain
        self._own_name = real_path(root).name or "generic"

    def items(self, file: Path) -> Iterator[ImportItem | ImportSkip]:
        """Say what the rules make of a file; without any, what its folder does."""
        relative = self.relative(file)
        verdict = judge(self._rules, relative)
        if verdict.is_skipped:
            yield ImportSkip("left out by a rule")
            return
        if not verdict.is_matched and not self._is_plain:
            yield ImportSkip("no rule matches it")
            return
        first, slash, _ = relative.partition("/")
        kind = verdict.type or (first if slash else self._own_name)
        yield ImportItem(
            path=file,
            asset_type=kind,
            name=below_type(relative, kind),
            tags=verdict.tags,
            license=verdict.license,
            metadata=verdict.metadata,
        )
