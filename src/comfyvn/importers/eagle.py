"""An Eagle library: its files with tags, folders, ratings and notes.

Format: no more is documented than Eagle's Web API (``/api/item/info``, ``/api/library/info``), whose fields
are those of the files: ``metadata.json`` with the tree of folders, and for each item a folder
``images/<id>.info`` with its own ``metadata.json``, the file ``<name>.<ext>`` and, for most, a preview
``<name>_thumbnail.png``. As Eagle 4.0 writes it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from comfyvn.errors import ImportFailed
from comfyvn.importers.adapters import ImportContext, ImportItem, ImportSkip
from comfyvn.importers.foreign import (
    as_dict,
    as_list,
    checked_file,
    entries,
    line,
    link,
    long_text,
    name_part,
    read_json,
    tags_of,
    type_chooser,
)
from comfyvn.importers.rules import below_type, judge, read_rules
from comfyvn.model import MOST_STARS

__all__ = ["EagleAdapter"]

_METADATA: Final = "metadata.json"
_HEADER_BYTES: Final = 16 << 20
_ITEM_BYTES: Final = 4 << 20
_DEPTH: Final = 30
_NO_FILE: Final = frozenset({"", "url", "webloc", "website"})
"""What ``ext`` says of a bookmark."""


class EagleAdapter:
    """Each item of a library becomes an asset; what lies in its trash does not."""

    name = "eagle"
    summary = "An Eagle library (a folder NAME.library): its files with tags, folders, stars and notes."

    def open(self, source: Path, context: ImportContext) -> _Library:
        """Open a library.

        Raises:
            ImportFailed: it is none, or its list of folders can't be read.
            InvalidSetting: a setting can't be what it must be.
        """
        context.know("rules", "types", "folder_tags")
        if not (source / "images").is_dir() or not (source / _METADATA).is_file():
            why = f"it is no Eagle library: that is a folder with {_METADATA} and images/ in it"
            raise ImportFailed(path=source, why=why)
        header = read_json(checked_file(source, source / _METADATA), _HEADER_BYTES)
        if not isinstance(header, dict) or not isinstance(header.get("folders", []), list):
            raise ImportFailed(
                path=source / _METADATA, why="it is not the list of folders of an Eagle library"
            )
        return _Library(source, header, context)


class _Library:
    """An opened library."""

    def __init__(self, root: Path, header: Mapping[str, Any], context: ImportContext) -> None:
        self._root = root
        self._folders = dict(_folders(as_list(header.get("folders"))))
        self._rules = read_rules(context)
        self._type_of = type_chooser(context)
        self._with_folders = context.flag("folder_tags", True)

    def files(self) -> Iterator[Path]:
        """Yield the file of each item; its ``metadata.json`` where that must tell which it is."""
        for entry in entries(self._root / "images"):
            if entry.name.endswith(".info") and entry.is_dir():
                folder = Path(entry.path)
                found = [each.name for each in entries(folder) if _may_be_file(each.name)]
                yield folder / (found[0] if len(found) == 1 else _METADATA)

    def items(self, file: Path) -> Iterator[ImportItem | ImportSkip]:
        """Yield an item with what the library says of it."""
        said = read_json(checked_file(self._root, file.with_name(_METADATA)), _ITEM_BYTES)
        if not isinstance(said, dict):
            raise ImportFailed(path=file.with_name(_METADATA), why="it does not describe an item of Eagle")
        if said.get("isDeleted") is True:
            yield ImportSkip("it lies in the trash of the Eagle library")
            return
        path = _file_of(said, file)
        if path is None:
            yield ImportSkip("a bookmark of Eagle, which has no file")
            return
        yield from self._item(said, checked_file(self._root, path))

    def close(self) -> None:
        """Nothing is open between two files."""

    def _item(self, said: Mapping[str, Any], path: Path) -> Iterator[ImportItem | ImportSkip]:
        folders = [self._folders[key] for key in as_list(said.get("folders")) if _is_key(key, self._folders)]
        above = [name_part(name, "unnamed") for name in folders[0]] if folders else []
        relative = "/".join([*above, path.name])
        verdict = judge(self._rules, relative)
        if verdict.is_skipped:
            yield ImportSkip("left out by a rule")
            return
        named = [name for folder in folders for name in folder] if self._with_folders else []
        tags = tags_of([*as_list(said.get("tags")), *named])
        kind = verdict.type or self._type_of(path.name, tags)
        yield ImportItem(
            path=path,
            asset_type=kind,
            name=below_type(relative, kind),
            tags=tags_of([*tags, *verdict.tags]),
            license=verdict.license,
            metadata={**_metadata(said), **verdict.metadata},
            provenance={"source": "Eagle", "inputs": {"item": path.parent.name.removesuffix(".info")}},
        )


def _may_be_file(name: str) -> bool:
    return name != _METADATA and not name.startswith(".") and not name.endswith("_thumbnail.png")


def _file_of(said: Mapping[str, Any], file: Path) -> Path | None:
    """Return an item's file: the one there is, or among several the one that its metadata names.

    Raises:
        ImportFailed: there are several or none, and the metadata names none of them.
    """
    if file.name != _METADATA:
        return file
    name, suffix = said.get("name"), said.get("ext")
    if isinstance(name, str) and isinstance(suffix, str):
        wanted = f"{name}.{suffix}"
        there = {entry.name for entry in entries(file.parent)}
        if wanted in there and wanted != _METADATA:
            return file.with_name(wanted)
    if suffix is None or (isinstance(suffix, str) and suffix.lower() in _NO_FILE):
        return None
    raise ImportFailed(path=file.parent, why=f"the file that its {_METADATA} names isn't in it")


def _is_key(key: object, folders: Mapping[str, tuple[str, ...]]) -> bool:
    return isinstance(key, str) and key in folders


def _folders(tree: list[Any]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the id of each folder, and its name with those above it."""
    left: list[tuple[Any, tuple[str, ...]]] = [(folder, ()) for folder in tree]
    while left:
        folder, above = left.pop()
        said = as_dict(folder)
        names = (*above, line(said.get("name"), 200) or "unnamed")
        if isinstance(said.get("id"), str):
            yield said["id"], names
        if len(names) < _DEPTH:
            left += [(child, names) for child in as_list(said.get("children"))]


def _metadata(said: Mapping[str, Any]) -> dict[str, Any]:
    """Return stars as the rating, the annotation, and the address that a file came from as its origin."""
    stars = said.get("star")
    known = {
        "rating": stars if type(stars) is int and 0 <= stars <= MOST_STARS else None,
        "annotation": long_text(said.get("annotation")),
        "origin": link(said.get("url")),
        "title": line(said.get("name"), 200),
    }
    return {key: value for key, value in known.items() if value is not None}
