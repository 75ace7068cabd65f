"""Files that hydrus has exported, with the sidecars beside them.

Format: hydrus' documentation, "sidecars": text files with one value a line, JSON files whose keys the user
has named, tags with namespaces (``character:mara``), notes as ``name: text``. As the names are the user's, a
sidecar is known by its file's name, and what it holds by the word before its suffix (``mara.png.urls.txt``)
or by its keys.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from comfyvn.errors import ImportFailed
from comfyvn.importers.adapters import ImportContext, ImportItem, ImportSkip
from comfyvn.importers.foreign import (
    LONG_TEXT,
    checked_file,
    entries,
    line,
    link,
    long_text,
    read_json,
    read_text,
    tags_of,
    type_chooser,
)
from comfyvn.importers.rules import below_type, judge, read_rules
from comfyvn.importers.walking import FolderSource, walk, why_no_asset, written_name

__all__ = ["HydrusAdapter"]

_SIDECARS: Final = (".txt", ".json")
_SIDECAR_BYTES: Final = 4 << 20
_MOST: Final = 10_000
_DEPTH: Final = 20
_URLS: Final = 100
_KINDS: Final = {
    **dict.fromkeys(("tags", "tag", "storage_tags", "display_tags"), "tags"),
    **dict.fromkeys(("urls", "url", "known_urls", "source_urls"), "urls"),
    **dict.fromkeys(("notes", "note"), "notes"),
}
"""What a key of a JSON sidecar, or the word before the suffix of a text one, says of the values."""
_BY_STATUS: Final = frozenset({"storage_tags", "display_tags"})
_CURRENT: Final = "0"
"""The status of a file's tags, as the Client API writes it; others are pending, deleted or petitioned."""
_OWN_FILES: Final = ("client.db", "client.master.db", "client_files")


@dataclass(slots=True)
class _Told:
    """What sidecars say of a file."""

    tags: list[str] = field(default_factory=list)
    urls: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, kind: str, value: str) -> None:
        """Take a value in, as long as there are not too many; an address among tags is an address."""
        if kind == "tags" and link(value) is not None:
            kind = "urls"
        values: list[str] = getattr(self, kind)
        if len(values) < _MOST:
            values.append(value)


class HydrusAdapter:
    """Each exported file becomes an asset with the tags, addresses and notes of its sidecars."""

    name = "hydrus"
    summary = "Files exported by hydrus, with tags, URLs and notes from their .txt and .json sidecars."

    def open(self, source: Path, context: ImportContext) -> _Export:
        """Open a folder of exported files.

        Raises:
            ImportFailed: it is no folder, or hydrus' own database, which is not read.
            InvalidSetting: a setting can't be what it must be.
        """
        context.know("rules", "types", "separator")
        if not source.is_dir():
            raise ImportFailed(path=source, why="it is no folder; give the one that hydrus has exported to")
        if any((source / name).exists() for name in _OWN_FILES):
            why = (
                "this is hydrus' own database, which is not read: export the files with sidecars to a folder"
            )
            raise ImportFailed(path=source, why=f"{why}, and give that")
        return _Export(source, context)


class _Export(FolderSource):
    """A folder of exported files."""

    def __init__(self, root: Path, context: ImportContext) -> None:
        super().__init__(root)
        self._rules = read_rules(context)
        self._type_of = type_chooser(context)
        self._separator = context.text("separator", "\n") or "\n"
        self._beside: tuple[Path, _Beside] | None = None

    def files(self) -> Iterator[Path]:
        """Yield the files that are no sidecars by their suffix."""
        return (path for path, _, _ in walk(self._root) if path.suffix.lower() not in _SIDECARS)

    def items(self, file: Path) -> Iterator[ImportItem | ImportSkip]:
        """Yield a file with what its sidecars say."""
        checked_file(self._root, file)
        relative = self.relative(file)
        verdict = judge(self._rules, relative)
        reason = "left out by a rule" if verdict.is_skipped else why_no_asset(file.name)
        if reason is not None:
            yield ImportSkip(reason)
            return
        told = _Told()
        for sidecar, kind in self._sidecars(file):
            self._read(checked_file(self._root, sidecar), kind, told)
        tags, metadata = _tags_and_metadata(told)
        kind = verdict.type or self._type_of(file.name, tags)
        yield ImportItem(
            path=file,
            asset_type=kind,
            name=below_type(relative, kind),
            tags=tags_of([*tags, *verdict.tags]),
            license=verdict.license,
            metadata={**metadata, **verdict.metadata},
            provenance={"source": "hydrus", "inputs": {"file": written_name(relative)}},
        )

    def _sidecars(self, file: Path) -> list[tuple[Path, str]]:
        """Return the sidecars of a file and what they hold by their names."""
        if self._beside is None or self._beside[0] != file.parent:
            self._beside = (file.parent, _Beside(file.parent))
        return [(file.parent / name, kind) for name, kind in self._beside[1].sidecars(file)]

    def _read(self, sidecar: Path, kind: str, told: _Told) -> None:
        if sidecar.suffix.lower() == ".json":
            _read_values(read_json(sidecar, _SIDECAR_BYTES), kind, told)
            return
        for value in read_text(sidecar, _SIDECAR_BYTES).replace("\r\n", "\n").split(self._separator):
            told.add(kind, value)


class _Beside:
    """The sidecars of one folder."""

    def __init__(self, folder: Path) -> None:
        self._sidecars: dict[str, list[tuple[str, str]]] = {}
        self._by_word: dict[str, list[tuple[str, str]]] = {}
        self._names: set[str] = set()
        self._stems: Counter[str] = Counter()
        for entry in entries(folder):
            path = Path(entry.name)
            if entry.is_dir():
                continue
            if path.suffix.lower() in _SIDECARS:
                self._note(path)
            else:
                self._names.add(path.name)
                self._stems[path.stem] += 1

    def sidecars(self, file: Path) -> list[tuple[str, str]]:
        """Return names and kinds of a file's sidecars; one that fits two files by its stem fits none."""
        found = self._called(file.name)
        if self._stems[file.stem] == 1 and file.stem != file.name:
            found += self._called(file.stem)
        return found

    def _called(self, whose: str) -> list[tuple[str, str]]:
        """Return the sidecars of a name; ``mara.notes.txt`` is that of ``mara.notes.png`` if it is there."""
        by_word = self._by_word.get(whose, ())
        return [*self._sidecars.get(whose, ()), *(each for each in by_word if not self._is_own(each[0]))]

    def _is_own(self, sidecar: str) -> bool:
        whole = Path(sidecar).stem
        return whole in self._names or whole in self._stems

    def _note(self, path: Path) -> None:
        """Note a sidecar under the name before its suffix, and before the word that says what it holds."""
        whose, _, word = path.stem.rpartition(".")
        self._sidecars.setdefault(path.stem, []).append((path.name, "tags"))
        if whose and word.lower() in _KINDS:
            self._by_word.setdefault(whose, []).append((path.name, _KINDS[word.lower()]))


def _read_values(value: Any, kind: str, told: _Told) -> None:
    """Take in a JSON sidecar: a list of values, or an object whose keys say what is below them."""
    if isinstance(value, list):
        _read_value(value, kind, told, _DEPTH)
    else:
        _read_value(value, None, told, _DEPTH)


def _read_value(value: Any, kind: str | None, told: _Told, depth: int) -> None:
    if depth <= 0:
        return
    if isinstance(value, list):
        for each in value:
            if isinstance(each, str) and kind is not None:
                told.add(kind, each)
            elif not isinstance(each, str):
                _read_value(each, kind, told, depth - 1)
    elif isinstance(value, dict):
        for key, each in value.items():
            _read_member(key, each, kind, told, depth - 1)


def _read_member(key: str, value: Any, kind: str | None, told: _Told, depth: int) -> None:
    word = key.casefold()
    own = _KINDS.get(word)
    if word in _BY_STATUS and isinstance(value, dict):
        _read_value(value.get(_CURRENT), "tags", told, depth)
    elif isinstance(value, str):
        if own is not None:
            told.add(own, value)
        elif kind == "notes":
            told.add("notes", f"{key}: {value}")
    else:
        _read_value(value, own or kind, told, depth)


def _tags_and_metadata(told: _Told) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Return tags as they are but for ratings; creators are the origin too, addresses and notes metadata."""
    tags = tuple(tag for tag in tags_of(told.tags) if not tag.casefold().startswith("rating:"))
    creators = [tag.partition(":")[2].strip() for tag in tags if tag.casefold().startswith("creator:")]
    urls = list(dict.fromkeys(filter(None, map(link, told.urls))))[:_URLS]
    notes = "\n".join(text for note in told.notes if (text := long_text(note)) is not None)
    known = {
        "origin": line(", ".join(filter(None, creators))),
        "urls": urls,
        "notes": notes if len(notes) <= LONG_TEXT else None,
    }
    return tags, {key: value for key, value in known.items() if value}
