"""A TagStudio library: its files with their tags and fields.

Formats: TagStudio's documentation ("Library Changes", "Tags", "Fields"): ``.TagStudio/ts_library.sqlite`` of
versions 9.5 and later (format versions 6 to 301), ``.TagStudio/ts_library.json`` of 9.1 to 9.4.
"""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from shutil import copyfileobj
from tempfile import mkdtemp
from typing import Any, Final, Protocol

from comfyvn.errors import ImportFailed
from comfyvn.importers.adapters import ImportContext, ImportItem, ImportSkip
from comfyvn.importers.foreign import (
    as_dict,
    as_list,
    checked_file,
    free_key,
    line,
    long_text,
    open_plain,
    read_json,
    tags_of,
    type_chooser,
)
from comfyvn.importers.rules import below_type, judge, read_rules

__all__ = ["TagStudioAdapter"]

_FOLDER: Final = ".TagStudio"
_DATABASE: Final = "ts_library.sqlite"
_OLD: Final = "ts_library.json"
_OLD_BYTES: Final = 64 << 20
_OLD_VALUES: Final = 5_000_000
_DATABASE_BYTES: Final = 4 << 30
_CELL_BYTES: Final = 1 << 20
_MOST_TAGS: Final = 1_000_000
_ROW_S: Final = 60.0
_SWAPPED_BEFORE: Final = 100
"""Till that version of the format, parent and child stood in each other's column."""
_OLD_FIELDS: Final = {
    0: "Title",
    1: "Author",
    2: "Artist",
    3: "URL",
    4: "Description",
    5: "Notes",
    21: "Source",
    27: "Publisher",
    28: "Guest Artist",
    29: "Composer",
    30: "Comments",
}
"""The fields of text of the old format, by their numbers; it doesn't write the names."""
_ORIGINS: Final = ("artist", "author")
_META_TAGS: Final = "meta tags"
"""The built-in category of the built-in tags: it says nothing of a file."""


@dataclass(frozen=True, slots=True)
class _Tag:
    name: str
    shorthand: str | None = None
    is_category: bool = False
    disambiguation: int | None = None


@dataclass(slots=True)
class _Tags:
    """The tags of a library, and which stand above which."""

    known: dict[int, _Tag] = field(default_factory=dict)
    parents: dict[int, list[int]] = field(default_factory=dict)

    def names(self, ids: Iterable[int], *, with_parents: bool) -> tuple[str, ...]:
        """Return the names of some tags, and after them those above, as far as they go."""
        found = [number for number in dict.fromkeys(ids) if number in self.known]
        direct = set(found)
        if with_parents:
            seen = set(found)
            for number in found:  # grows while it is walked
                above = [each for each in self.parents.get(number, ()) if each in self.known]
                found += [each for each in dict.fromkeys(above) if each not in seen]
                seen.update(above)
        return tags_of(self._name(number) for number in found if number in direct or self._tells(number))

    def _tells(self, number: int) -> bool:
        tag = self.known[number]
        return not (tag.is_category and tag.name.casefold() == _META_TAGS)

    def _name(self, number: int) -> str:
        """Return a tag's name as TagStudio shows it, such as ``Freddy (FNAF)`` where names are alike."""
        tag = self.known[number]
        apart = None if tag.disambiguation is None else self.known.get(tag.disambiguation)
        return tag.name if apart is None else f"{tag.name} ({apart.shorthand or apart.name})"


@dataclass(frozen=True, slots=True)
class _Entry:
    """What a library says of one file: numbers of tags, and texts by the names of their fields."""

    tags: tuple[int, ...]
    fields: tuple[tuple[str, str], ...]


class _Entries(Protocol):
    """The files of a library."""

    def paths(self) -> Iterator[str]: ...

    def entry(self, path: str) -> _Entry | None: ...

    def close(self) -> None: ...


class TagStudioAdapter:
    """A library's files become assets with the tags they have there, and those above these."""

    name = "tagstudio"
    summary = "A TagStudio library (9.1 to 9.6): its files with their tags, parent tags and fields."

    def open(self, source: Path, context: ImportContext) -> _Library:
        """Open a library by its folder, or by its ``.TagStudio`` folder.

        Raises:
            ImportFailed: there is none, it can't be read, or tables that it must have are missing.
            InvalidSetting: a setting can't be what it must be.
        """
        context.know("rules", "types", "parent_tags")
        root = source.parent if source.name == _FOLDER else source
        database, old = root / _FOLDER / _DATABASE, root / _FOLDER / _OLD
        if database.is_file():
            tags, entries = _open_database(checked_file(root, database), context)
        elif old.is_file():
            tags, entries = _read_old(checked_file(root, old))
        else:
            why = f"it is no TagStudio library: there is neither {_FOLDER}/{_DATABASE} nor {_FOLDER}/{_OLD}"
            raise ImportFailed(path=source, why=why)
        return _Library(root, tags, entries, context)


class _Library:
    """An opened library."""

    def __init__(self, root: Path, tags: _Tags, entries: _Entries, context: ImportContext) -> None:
        self._root = root
        self._tags = tags
        self._entries = entries
        self._rules = read_rules(context)
        self._type_of = type_chooser(context)
        self._with_parents = context.flag("parent_tags", True)

    def files(self) -> Iterator[Path]:
        """Yield the files that the library names, whether they are there or not."""
        return (self._root / path for path in self._entries.paths())

    def items(self, file: Path) -> Iterator[ImportItem | ImportSkip]:
        """Yield a file with what the library says of it."""
        checked_file(self._root, file)
        relative = file.relative_to(self._root).as_posix()
        entry = self._entries.entry(relative)
        if entry is None:
            raise ImportFailed(path=file, why="the library doesn't name this file")
        verdict = judge(self._rules, relative)
        if verdict.is_skipped:
            yield ImportSkip("left out by a rule")
            return
        tags = self._tags.names(entry.tags, with_parents=self._with_parents)
        metadata = _metadata(entry.fields)
        kind = verdict.type or self._type_of(file.name, tags)
        yield ImportItem(
            path=file,
            asset_type=kind,
            name=below_type(relative, kind),
            tags=tags_of([*tags, *verdict.tags]),
            license=verdict.license,
            metadata={**metadata, **verdict.metadata},
            provenance={"source": "TagStudio", "inputs": {"file": relative}},
        )

    def close(self) -> None:
        """Let go of the database."""
        self._entries.close()


def _metadata(fields: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Return the fields of a file as metadata; an artist, or else an author, is the origin."""
    texts: dict[str, str] = {}
    for name, value in fields:
        key, text = free_key(name, "tagstudio"), long_text(value)
        if key is not None and text is not None:
            joined = f"{texts[key]}\n{text}" if key in texts else text
            texts[key] = long_text(joined) or texts[key]
    origin = next((artist for key in _ORIGINS if (artist := line(texts.get(key))) is not None), None)
    return {**texts, "origin": origin} if origin else dict(texts)


# -- the format since 9.5 ---------------------------------------------------------------------------------


def _open_database(path: Path, context: ImportContext) -> tuple[_Tags, _Entries]:
    """Open a copy of a database: opening it where it is could write beside it.

    Raises:
        ImportFailed: it can't be read, or lacks what it must have.
    """
    copy = Path(mkdtemp(dir=context.scratch)) / _DATABASE
    for ending in ("", "-wal", "-journal"):  # what a crash or an open TagStudio has left belongs to it
        beside = path.with_name(path.name + ending)
        if not ending or beside.is_file():
            _copy(checked_file(path.parent, beside), copy.with_name(copy.name + ending))
    connection = sqlite3.connect(copy, check_same_thread=False)
    try:
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _CELL_BYTES)
        connection.text_factory = _text
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA cell_size_check = ON")
        database = _Database(connection, path)
        return database.tags(), database
    except sqlite3.Error as error:
        connection.close()
        raise ImportFailed(path=path, why=f"this database can't be read: {error}") from error
    except BaseException:
        connection.close()
        raise


def _text(value: bytes) -> str:
    """Decode a text as names of files are decoded: a wrong byte costs that name, and not the library."""
    return value.decode("utf-8", "surrogateescape")


def _copy(path: Path, target: Path) -> None:
    with open_plain(path) as source, target.open("xb") as copy:
        if path.stat().st_size > _DATABASE_BYTES:
            raise ImportFailed(path=path, why=f"it is larger than {_DATABASE_BYTES >> 30} GiB")
        copyfileobj(source, copy, 1 << 20)


class _Database:
    """The files of a library since 9.5."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path
        self._ends = 0.0
        connection.set_progress_handler(lambda: time.monotonic() > self._ends, 100_000)
        self._columns = self._tables()
        for table, columns in _NEEDED.items():
            if missing := columns - self._columns.get(table, set()):
                gone = f"the columns {', '.join(sorted(missing))} of {table}"
                gone = gone if table in self._columns else f"the table {table}"
                why = f"{gone} is missing: TagStudio writes it since 9.5; open the library in TagStudio once"
                raise ImportFailed(path=path, why=why)
        self._index()

    def _index(self) -> None:
        """Have what is asked per file be found: the copy is ours."""
        for table in ("tag_entries", *_FIELD_TABLES):
            if self._has(table, "entry_id"):
                list(self._rows(f"CREATE INDEX comfyvn_{table} ON {table} (entry_id)"))

    def tags(self) -> _Tags:
        """Return the tags, and which stand above which as far as the format's version tells."""
        tags = _Tags()
        columns = [
            name for name in ("shorthand", "is_category", "disambiguation_id") if self._has("tags", name)
        ]
        for row in self._rows(f"SELECT id, name{''.join(f', {name}' for name in columns)} FROM tags"):
            more = dict(zip(columns, row[2:], strict=True))
            if isinstance(row[0], int) and (name := line(row[1])) is not None:
                apart = more.get("disambiguation_id")
                tags.known[row[0]] = _Tag(
                    name,
                    line(more.get("shorthand")),
                    bool(more.get("is_category")),
                    apart if isinstance(apart, int) else None,
                )
        version = self._version()
        if version is not None and self._has("tag_parents", "parent_id", "child_id"):
            order = "child_id, parent_id" if version >= _SWAPPED_BEFORE else "parent_id, child_id"
            for child, parent in self._rows(
                f"SELECT {order} FROM tag_parents ORDER BY 1, 2 LIMIT {_MOST_TAGS}"
            ):
                tags.parents.setdefault(child, []).append(parent)
        return tags

    def paths(self) -> Iterator[str]:
        """Yield the paths of the files, sorted; only texts are paths."""
        rows = self._rows("SELECT path FROM entries WHERE typeof(path) = 'text' ORDER BY path")
        return (str(path) for (path,) in rows)

    def entry(self, path: str) -> _Entry | None:
        """Return what is said of a file."""
        found = next(self._rows("SELECT id FROM entries WHERE path = ? LIMIT 1", path), None)
        if found is None:
            return None
        tags = [
            row[0]
            for row in self._rows("SELECT tag_id FROM tag_entries WHERE entry_id = ? LIMIT 10000", found[0])
        ]
        fields = [pair for table in _FIELD_TABLES for pair in self._fields(table, found[0])]
        return _Entry(tuple(tag for tag in tags if isinstance(tag, int)), tuple(fields))

    def close(self) -> None:
        """Close the copy."""
        self._connection.close()

    def _fields(self, table: str, entry: int) -> Iterator[tuple[str, str]]:
        name = next(
            (name for name in ("name", "type_key") if self._has(table, name, "entry_id", "value")), None
        )
        if name is not None:
            found = self._rows(
                f"SELECT {name}, value FROM {table} WHERE entry_id = ? ORDER BY id LIMIT 100", entry
            )
            yield from (
                (key, value) for key, value in found if isinstance(key, str) and isinstance(value, str)
            )

    def _version(self) -> int | None:
        """Return the version of the format; None if it isn't said."""
        for table, key in (("versions", "CURRENT"), ("preferences", "DB_VERSION")):
            if self._has(table, "key", "value"):
                for (value,) in self._rows(f"SELECT value FROM {table} WHERE key = ?", key):
                    if (said := re.fullmatch(r'"?(\d{1,9})"?', str(value))) is not None:
                        return int(said[1])
        return None

    def _has(self, table: str, *columns: str) -> bool:
        return self._columns.get(table, set()).issuperset(columns)

    def _tables(self) -> dict[str, set[str]]:
        """Return the columns of each real table; a view or a virtual table could run anything."""
        names = "SELECT name FROM sqlite_master WHERE type = 'table' AND sql LIKE 'CREATE TABLE%'"
        wanted = {*_NEEDED, *_FIELD_TABLES, "tag_parents", "versions", "preferences"}
        return {
            name: {row[1] for row in self._rows(f"PRAGMA table_info({name})")}
            for (name,) in list(self._rows(names))
            if name in wanted
        }

    def _rows(self, query: str, *values: object) -> Iterator[tuple[Any, ...]]:
        """Yield rows; each may take a minute.

        Raises:
            ImportFailed: the database is damaged, or it takes longer.
        """
        try:
            self._ends = time.monotonic() + _ROW_S
            with closing(self._connection.execute(query, values)) as rows:
                while (row := rows.fetchone()) is not None:
                    yield row
                    self._ends = time.monotonic() + _ROW_S
        except (sqlite3.Error, UnicodeError, OverflowError) as error:
            raise ImportFailed(path=self._path, why=f"this database can't be read: {error}") from error


_NEEDED: Final = {
    "entries": {"id", "path"},
    "tags": {"id", "name"},
    "tag_entries": {"tag_id", "entry_id"},
}
_FIELD_TABLES: Final = ("text_fields", "datetime_fields")


# -- the format till 9.4 ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _OldEntries:
    """The files of a library till 9.4."""

    known: Mapping[str, _Entry]

    def paths(self) -> Iterator[str]:
        return iter(sorted(self.known))

    def entry(self, path: str) -> _Entry | None:
        return self.known.get(path)

    def close(self) -> None:
        """Nothing is open."""


def _read_old(path: Path) -> tuple[_Tags, _Entries]:
    """Read a whole library of the old format.

    Raises:
        ImportFailed: it is none.
    """
    whole = read_json(path, _OLD_BYTES, _OLD_VALUES)
    if not isinstance(whole, dict) or not isinstance(whole.get("entries"), list):
        raise ImportFailed(path=path, why="it is no TagStudio library: there is no list of entries in it")
    tags = _Tags()
    for said in map(as_dict, as_list(whole.get("tags"))):
        number, name = said.get("id"), line(said.get("name"))
        if isinstance(number, int) and name is not None:
            tags.known[number] = _Tag(name, line(said.get("shorthand")))
            above = [each for each in as_list(said.get("subtag_ids")) if isinstance(each, int)]
            tags.parents[number] = [each for each in above if each != number]
    entries = {}
    for said in map(as_dict, whole["entries"]):
        if (name := said.get("filename")) and isinstance(name, str):
            folder = said.get("path") if isinstance(said.get("path"), str) else ""
            entries[Path(f"{folder}/{name}".replace("\\", "/").lstrip("/")).as_posix()] = _old_entry(said)
    return tags, _OldEntries(entries)


def _old_entry(said: Mapping[str, Any]) -> _Entry:
    """Read the fields of a file: each is an object of one number and a value, numbers of tags or a text."""
    tags: list[int] = []
    fields: list[tuple[str, str]] = []
    for each in map(as_dict, as_list(said.get("fields"))[:100]):
        for number, value in each.items():
            tags += [tag for tag in as_list(value) if isinstance(tag, int)]
            name = _OLD_FIELDS.get(int(number)) if number.isdecimal() and len(number) < 9 else None
            if name is not None and isinstance(value, str):
                fields.append((name, value))
    return _Entry(tuple(tags), tuple(fields))
