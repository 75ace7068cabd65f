"""Databases of older releases: recognised, backed up beside themselves, made ours in one transaction.

The old two tables step aside under other names, ours take theirs, and the rows move over in batches. Tables,
views and triggers of other ComfyVN parts are not touched; their foreign keys go on pointing to
``assets_registry(id)``, since every asset keeps its id. What can't be taken as it is stays readable, as text,
in the metadata of its asset under a name that starts with ``legacy_``.
"""

from __future__ import annotations

import filecmp
import json
import math
import os
import re
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, field, replace
from itertools import chain, count, groupby
from pathlib import Path
from typing import Any, Final

from comfyvn.db.ledger import Writer
from comfyvn.errors import InvalidAssetType, InvalidMetadata, OlderLibrary, RegistryUnusable
from comfyvn.model import (
    OWN_FOLDERS,
    UNSPECIFIED,
    Asset,
    Facts,
    Limits,
    Preview,
    PreviewKind,
    Provenance,
    derive_workflow_hash,
    normalise_tags,
    normalise_type,
    numbered_key,
    parse_facts,
    parse_provenance,
    parse_version,
    preview_names,
    uid_candidates,
    utc_now,
)

__all__ = ["Named", "Upgrade", "back_up", "backup_path", "upgrade"]

_BATCH: Final = 500
_NAMES_KEPT: Final = 1_000
_ASIDE: Final = {"assets_registry": "asset_upgrade_assets", "provenance": "asset_upgrade_provenance"}
"""Names that the old tables have until their rows have moved over."""
_SHAPES: Final = {
    "assets_registry": {
        "with uids": frozenset(
            (
                *("id", "project_id", "uid", "type", "path_full", "path_thumb", "hash", "bytes"),
                *("created_at", "meta"),
            )
        ),
        "of v0.6": frozenset(("id", "type", "path", "hash", "bytes", "meta_json", "created_at")),
    },
    "provenance": {
        "with workflow hashes": frozenset(
            (
                *("id", "project_id", "asset_id", "source", "workflow_hash", "commit_hash", "inputs_json"),
                *("c2pa_like", "user_id", "created_at"),
            )
        ),
        "of v0.6": frozenset(("asset_id", "seed", "tool", "workflow", "commit", "meta_json")),
    },
}
_BASELINE: Final = "of v0.6"
_IMAGES: Final = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
_SOUNDS: Final = (".wav", ".wave")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_LONG_HASH: Final = re.compile(r"[0-9a-f]{16,}")
_UID: Final = re.compile(r"[0-9A-Za-z_-]{1,64}")
_DRIVE: Final = re.compile(r"[A-Za-z]:")
_NO_FOLDER: Final = re.compile(r'[\x00-\x1f\x7f/\\:<>"|?*]+')
_AS_LARGE_AS_IT_WAS: Final = Limits(metadata_bytes=2**40, metadata_values=2**40)

_Row = Mapping[str, Any]


@dataclass(slots=True)
class Named:
    """How many there are of something, and the first thousand of them by name."""

    count: int = 0
    first: list[dict[str, Any]] = field(default_factory=list)

    def add(self, **facts: Any) -> None:
        """Count one more."""
        self.count += 1
        if len(self.first) < _NAMES_KEPT:
            self.first.append(facts)


@dataclass(slots=True)
class Upgrade:
    """What an upgrade did, or would do.

    ``renamed``: assets whose path another one has, or that led out of the assets folder (``uid``, ``was``,
    ``now``); they count as missing until a rebuild finds their file. ``kept_aside``: assets with values that
    could not be taken as they were (``uid``, ``path``, ``keys`` of the metadata that hold them).
    ``without_asset``: provenance rows whose asset is gone. ``triggers``: those that no longer fit.
    """

    shape: str
    assets: int = 0
    provenance: int = 0
    without_asset: int = 0
    renamed: Named = field(default_factory=Named)
    kept_aside: Named = field(default_factory=Named)
    triggers: list[str] = field(default_factory=list)
    backup: Path | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {**asdict(self), "backup": None if self.backup is None else str(self.backup)}


def upgrade(
    connection: sqlite3.Connection,
    path: Path,
    make_tables: Callable[[], None],
    *,
    thumbs_rel: str,
    limits: Limits,
    keeps_backup: bool = True,
) -> Upgrade:
    """Make an older database ours, inside the caller's write transaction.

    Args:
        connection: holds the write lock, and has foreign keys switched off.
        path: the database's file.
        make_tables: makes our tables.
        thumbs_rel: what names of previews start with.
        limits: how much metadata an asset may have; what is more is kept aside.
        keeps_backup: back the database up before the first change.

    Raises:
        OlderLibrary: its tables have columns that no release wrote; nothing was touched.
        RegistryUnusable: the backup can't be written; nothing was touched.
    """
    # older programs let bytes through that are no UTF-8; they become readable escapes
    connection.text_factory = lambda data: data.decode(errors="backslashreplace")
    shapes = {table: _recognise(connection, table, path) for table in _SHAPES}
    found = " and ".join(f"{table} {shape}" for table, shape in shapes.items() if shape is not None)
    report = Upgrade(shape=found, backup=back_up(path) if keeps_backup else None)
    triggers = _set_aside(connection, shapes)
    make_tables()
    if shapes["assets_registry"] is not None:
        is_baseline = shapes["assets_registry"] == _BASELINE
        _Assets(connection, report, is_baseline=is_baseline, thumbs_rel=thumbs_rel, limits=limits).move()
    if shapes["provenance"] is not None:
        has_uids = shapes["assets_registry"] not in (None, _BASELINE)
        _Provenance(connection, report, has_uids=has_uids).move(shapes["provenance"] == _BASELINE)
    for table, shape in shapes.items():
        if shape is not None:
            connection.execute(f"DROP TABLE {_ASIDE[table]}")
    _bring_back(connection, triggers, report)
    return report


# -- the backup ---------------------------------------------------------------------------------------


def backup_path(path: Path) -> Path:
    """Return the first free name for the backup of a database."""
    return next(name for name in _backup_names(path) if not os.path.lexists(name))


def back_up(path: Path) -> Path:
    """Copy a database beside itself, whole and synced, under a name that was free.

    The caller holds its write lock: what is copied is what will be upgraded, and no other process is here.
    Where an earlier run was killed after its backup, that one is the same and serves.

    Raises:
        RegistryUnusable: the copy can't be written; the database is untouched.
    """
    part = path.with_name(f"{path.name}.before-upgrade.part")
    try:
        part.unlink(missing_ok=True)  # of a killed run
        _copy_database(path, part)
        for name in _backup_names(path):
            if not os.path.lexists(name):
                part.rename(name)
                _sync_folder(path.parent)
                return name
            if name.is_file() and filecmp.cmp(part, name, shallow=False):
                part.unlink()
                return name
        raise AssertionError("there is always another name")  # pragma: no cover
    except (OSError, sqlite3.Error) as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        why = (
            f"this database is of an older ComfyVN release, and the backup that has to be made before its "
            f"upgrade can't be written as {backup_path(path).name}: {reason}. It is untouched. Make room, or "
            f"check the permissions of its folder, and try again."
        )
        raise RegistryUnusable(path=path, why=why) from error


def _backup_names(path: Path) -> Iterator[Path]:
    yield path.with_name(f"{path.name}.before-upgrade")
    for number in count(2):
        yield path.with_name(f"{path.name}.before-upgrade-{number}")


def _copy_database(path: Path, target: Path) -> None:
    with (
        closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as source,
        closing(sqlite3.connect(target, isolation_level=None)) as copy,
    ):
        copy.execute("PRAGMA journal_mode = OFF").close()
        source.backup(copy)
    shutil.copymode(path, target)
    with target.open("rb+") as file:
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    with suppress(OSError):  # Windows can't open a folder, and needs no such thing
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


# -- the old tables -----------------------------------------------------------------------------------


def _recognise(driver: sqlite3.Connection, table: str, path: Path) -> str | None:
    """Return the name of an old table's shape, None where there is no such table."""
    columns = _columns(driver, table)
    if not columns:
        return None
    shape = next((name for name, needed in _SHAPES[table].items() if needed <= set(columns)), None)
    query = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND lower(name) = ?"
    if shape is None or not driver.execute(query, (table,)).fetchone() or not _has_sound_ids(driver, table):
        raise OlderLibrary(path=path, shape=f"{table} with the columns {', '.join(columns)}")
    return shape


def _has_sound_ids(driver: sqlite3.Connection, table: str) -> bool:
    if "id" not in _columns(driver, table):
        return True
    query = f"SELECT count(*) - count(DISTINCT id) + total(typeof(id) <> 'integer') FROM {table}"
    return bool(driver.execute(query).fetchone()[0] == 0)


def _columns(driver: sqlite3.Connection, table: str) -> list[str]:
    return [row[0].lower() for row in driver.execute("SELECT name FROM pragma_table_info(?)", (table,))]


def _set_aside(driver: sqlite3.Connection, shapes: Mapping[str, str | None]) -> list[tuple[str, str]]:
    """Give the old tables other names; return their triggers (name, SQL), which must not fire meanwhile."""
    triggers: list[tuple[str, str]] = []
    # else SQLite would have foreign keys, views and triggers of other tables follow the old ones
    driver.execute("PRAGMA legacy_alter_table = ON")
    for table, shape in shapes.items():
        if shape is None:
            continue
        query = "SELECT type, name, sql FROM sqlite_master WHERE lower(tbl_name) = ? AND sql IS NOT NULL"
        for kind, name, text in driver.execute(query, (table,)).fetchall():
            if kind in ("trigger", "index"):
                driver.execute(f"DROP {kind} {_quoted(name)}")
            if kind == "trigger":
                triggers.append((name, text))
        driver.execute(f"ALTER TABLE {table} RENAME TO {_ASIDE[table]}")
        for column in {"uid", "path_full", "path"} & set(_columns(driver, _ASIDE[table])):
            driver.execute(f"CREATE INDEX {_ASIDE[table]}_{column} ON {_ASIDE[table]} ({column})")
    driver.execute("PRAGMA legacy_alter_table = OFF")
    return triggers


def _bring_back(driver: sqlite3.Connection, triggers: Sequence[tuple[str, str]], report: Upgrade) -> None:
    """Put people's triggers back; one that our columns don't suit would make every later write fail.

    Its text is then kept in ``asset_library``.
    """
    for name, text in triggers:
        driver.execute("SAVEPOINT trigger_back")
        try:
            driver.execute(text)
            for table in _ASIDE:
                driver.execute(f"EXPLAIN INSERT INTO {table} DEFAULT VALUES").close()
                driver.execute(f"EXPLAIN UPDATE {table} SET id = id, {_all_columns(driver, table)}").close()
                driver.execute(f"EXPLAIN DELETE FROM {table}").close()
        except sqlite3.Error:
            driver.execute("ROLLBACK TO trigger_back")
            keep = "INSERT INTO asset_library (name, value) VALUES (?, ?)"
            driver.execute(keep, (f"legacy_trigger:{name}", text))
            report.triggers.append(name)
        driver.execute("RELEASE trigger_back")


def _all_columns(driver: sqlite3.Connection, table: str) -> str:
    return ", ".join(f"{column} = {column}" for column in _columns(driver, table) if column != "id")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _batches(driver: sqlite3.Connection, query: str, *values: Any) -> Iterator[list[_Row]]:
    with closing(driver.execute(query, values)) as cursor:
        names = [each[0].lower() for each in cursor.description]
        while rows := cursor.fetchmany(_BATCH):
            yield [dict(zip(names, row, strict=True)) for row in rows]


# -- assets -------------------------------------------------------------------------------------------


class _Assets:
    """Moves the assets over, oldest first, which leaves the tables' pages full."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        report: Upgrade,
        *,
        is_baseline: bool,
        thumbs_rel: str,
        limits: Limits,
    ) -> None:
        self._connection = connection
        self._report = report
        self._thumbs_rel = thumbs_rel
        self._limits = limits
        self._now = utc_now()
        self._path, self._meta = ("path", "meta_json") if is_baseline else ("path_full", "meta")
        self._known = _SHAPES["assets_registry"][_BASELINE if is_baseline else "with uids"] | {"path_thumb"}
        self._has_uids = not is_baseline
        project = "" if is_baseline else "AND coalesce(nullif(project_id, ''), 'default') = :project"
        self._newer_query = (
            f"SELECT 1 FROM {_ASIDE['assets_registry']} WHERE {self._path} = :path AND id > :id {project}"
        )
        has_thumbnails = {"asset_id", "path"} <= set(_columns(self._connection, "thumbnails"))
        thumb = "(SELECT path FROM thumbnails WHERE asset_id = old.id)"
        self._columns = f"old.*, {thumb} AS path_thumb" if is_baseline and has_thumbnails else "old.*"
        self._batch_taken: set[tuple[str, str, str]] = set()

    def move(self) -> None:
        """Move all of them over."""
        query = f"SELECT {self._columns} FROM {_ASIDE['assets_registry']} AS old ORDER BY old.id"
        for rows in _batches(self._connection, query):
            assets = sorted((self._convert(row) for row in rows), key=lambda each: each.project_id)
            for project_id, group in groupby(assets, key=lambda each: each.project_id):
                Writer(self._connection, project_id, None).insert(list(group))
            self._batch_taken.clear()
            self._report.assets += len(rows)

    def _convert(self, row: _Row) -> Asset:
        aside: dict[str, Any] = {}
        project_id = _text(row.get("project_id")) or "default"
        asset_type = _type(row["type"], aside)
        digest = _digest(row["hash"], aside)
        uid = self._uid(row, project_id, aside)
        key, is_lost = self._key(row, project_id, asset_type, uid, aside)
        facts, version = _facts(row[self._meta], self._limits, aside)
        others = {name: _scalar(row[name]) for name in row.keys() - self._known if row[name] is not None}
        if others:
            aside["legacy_columns"] = dict(sorted(others.items()))
        if aside:
            facts = _with_aside(facts, aside, self._limits)
            self._report.kept_aside.add(uid=uid, path=key, keys=list(aside))
        created_at = _text(row["created_at"]) or self._now
        return Asset(
            id=row["id"],
            project_id=project_id,
            uid=uid,
            type=asset_type,
            key=key,
            digest=digest,
            size_bytes=max(0, _whole(row["bytes"]) or 0),
            facts=facts,
            created_at=created_at,
            updated_at=created_at,
            version=version,
            preview=self._preview(uid, key, _text(row.get("path_thumb"))),
            missing_since=self._now if is_lost else None,
        )

    def _uid(self, row: _Row, project_id: str, aside: dict[str, Any]) -> str:
        stated = _text(row.get("uid"))
        is_sound = stated is not None and _UID.fullmatch(stated) is not None
        if stated and is_sound and not self._is_taken("uid", project_id, stated):
            return self._take("uid", project_id, stated)
        if stated:
            aside["legacy_uid"] = stated
        digest = (_text(row["hash"]) or "").strip().lower()
        by_content = uid_candidates(digest[:64]) if _LONG_HASH.fullmatch(digest) else ()
        plain = f"legacy_{row['id']}"
        by_id = chain([plain], (f"{plain}_{number}" for number in count(2)))
        for uid in chain(by_content, by_id):
            is_known = self._has_uids and self._was_there("uid", uid)
            if not is_known and not self._is_taken("uid", project_id, uid):
                return self._take("uid", project_id, uid)
        raise AssertionError("there is always another uid")  # pragma: no cover

    def _key(
        self, row: _Row, project_id: str, asset_type: str, uid: str, aside: dict[str, Any]
    ) -> tuple[str, bool]:
        """Return the asset's key, and whether its file can't be there; of two, the newer keeps the path."""
        stated = _text(row[self._path]) or ""
        key, is_lost = _inside(stated, asset_type, uid)
        is_meant = self._has_newer(row, project_id) if key == stated else self._was_there(self._path, key)
        if is_meant or self._is_taken("path_full", project_id, key):
            marks = chain([uid[:8], uid], (f"{uid}-{number}" for number in count(2)))
            names = (numbered_key(key, mark) for mark in marks)
            key = next(
                name
                for name in names
                if not self._is_taken("path_full", project_id, name) and not self._was_there(self._path, name)
            )
            is_lost = True
        if key != stated:
            if stated:
                aside["legacy_path"] = stated
            self._report.renamed.add(uid=uid, was=stated, now=key)
        return self._take("path_full", project_id, key), is_lost

    def _preview(self, uid: str, key: str, thumb: str | None) -> Preview:
        kind = _preview_kind(key)
        if thumb:
            return Preview(kind, "none" if kind is None else "ready", path=thumb)
        if kind is None:
            return Preview()
        name = next(iter(preview_names(uid, kind).values()))
        return Preview(kind, "pending", path=f"{self._thumbs_rel}/{name}")

    def _is_taken(self, column: str, project_id: str, value: str) -> bool:
        if (column, project_id, value) in self._batch_taken:
            return True
        query = f"SELECT 1 FROM assets_registry WHERE project_id = ? AND {column} = ?"
        return self._connection.execute(query, (project_id, value)).fetchone() is not None

    def _has_newer(self, row: _Row, project_id: str) -> bool:
        """Tell whether a newer asset has the same path: the old release let its file overwrite this one's."""
        values = {"path": row[self._path], "id": row["id"], "project": project_id}
        return self._connection.execute(self._newer_query, values).fetchone() is not None

    def _was_there(self, column: str, value: str) -> bool:
        query = f"SELECT 1 FROM {_ASIDE['assets_registry']} WHERE {column} = ?"
        return self._connection.execute(query, (value,)).fetchone() is not None

    def _take(self, column: str, project_id: str, value: str) -> str:
        self._batch_taken.add((column, project_id, value))
        return value


def _type(value: object, aside: dict[str, Any]) -> str:
    stated = _text(value) or ""
    for name in (stated, _NO_FOLDER.sub("_", stated).strip("._ ").encode()[:100].decode(errors="ignore")):
        with suppress(InvalidAssetType):
            found = normalise_type(name)
            break
    else:
        found = "generic"
    if stated and found != stated:
        aside["legacy_type"] = stated
    return found


def _digest(value: object, aside: dict[str, Any]) -> str:
    stated = _text(value) or ""
    digest = stated.strip().lower()
    if _SHA256.fullmatch(digest):
        return digest
    if stated:
        aside["legacy_hash"] = stated
    return ""


def _inside(path: str, asset_type: str, uid: str) -> tuple[str, bool]:
    """Return a key inside the assets folder for a path, and whether its file can't be there."""
    unified = path.replace("\\", "/")
    parts = [part for part in unified.split("/") if part not in ("", ".")]
    leads_out = unified.startswith("/") or _DRIVE.match(unified) or ".." in (part.strip() for part in parts)
    is_file = bool(parts) and not unified.endswith(("/", "/."))
    if is_file and not leads_out and parts[0].casefold() not in OWN_FOLDERS:
        return "/".join(parts), unified != path
    names = (part.replace(":", "_") for part in reversed(parts) if part.strip() != "..")
    return numbered_key(f"{asset_type}/{next(names, 'unnamed')}", uid[:8]), True


def _preview_kind(key: str) -> PreviewKind | None:
    name = key.lower()
    if name.endswith(_IMAGES):
        return "thumbnail"
    return "waveform" if name.endswith(_SOUNDS) else None


# -- metadata -----------------------------------------------------------------------------------------


def _facts(value: object, limits: Limits, aside: dict[str, Any]) -> tuple[Facts, int]:
    """Return what people wrote and the version; where that is not all of it, the whole text goes aside."""
    text = _text(value)
    if text is None or text.strip() in ("", "null"):
        return Facts(), 1
    meta, is_exact = _json_object(text)
    if meta is not None and is_exact and not _is_list_in_a_text(meta.get("tags")):
        with suppress(InvalidMetadata):
            return parse_facts(meta, limits), parse_version(_version_of(meta))
    aside["legacy_meta"] = text
    return _salvage(meta or {}, limits)


def _salvage(meta: _Row, limits: Limits) -> tuple[Facts, int]:
    """Return those of some metadata that are usable, key by key."""
    parts = []
    for key, value in meta.items():
        with suppress(InvalidMetadata):
            parts.append(parse_facts({key: _usable_tags(value, limits) if key == "tags" else value}, limits))
    together = {key: value for part in parts for key, value in part.meta.items()}
    version = 1
    with suppress(InvalidMetadata):
        version = parse_version(_version_of(meta))
    try:
        parse_facts(together, limits)
    except InvalidMetadata:  # each is small enough, all of them are not
        together = {}
    return (
        Facts(
            tags=tuple(tag for part in parts for tag in part.tags),
            license=next((part.license for part in parts if part.license), None),
            origin=next((part.origin for part in parts if part.origin), None),
            meta=together,
        ),
        version,
    )


def _version_of(meta: _Row) -> object:
    stated = meta.get("version")
    return 1 if stated is None else stated


def _is_list_in_a_text(tags: object) -> bool:
    return isinstance(tags, str) and "," in tags


def _usable_tags(value: object, limits: Limits) -> tuple[str, ...]:
    """Return the tags in what older programs wrote as such: a list, or one text with commas."""
    items = value.split(",") if isinstance(value, str) else value if isinstance(value, list) else [value]
    kept: list[str] = []
    for item in items:
        is_number = isinstance(item, (int, float)) and not isinstance(item, bool)
        with suppress(InvalidMetadata):
            kept += normalise_tags([str(item) if is_number else item], limits)
    return normalise_tags(kept, replace(limits, tags_per_asset=len(kept)))[: limits.tags_per_asset]


def _with_aside(facts: Facts, aside: _Row, limits: Limits) -> Facts:
    """Add what was kept aside to the metadata; beyond their limit it stands in the sidecar beside them."""
    kept = {}
    for name, value in aside.items():
        names = chain([name], (f"{name}_{number}" for number in count(2)))
        kept[next(each for each in names if each not in facts.meta)] = value
    try:
        return replace(facts, meta=parse_facts({**facts.meta, **kept}, limits).meta)
    except InvalidMetadata:
        return replace(facts, extra=kept)


def _json_object(text: str) -> tuple[dict[str, Any] | None, bool]:
    """Return the object that a text holds, None if it holds none; and whether it has each key once."""
    for hook in (_no_duplicates, None):
        with suppress(ValueError, RecursionError):
            value = json.loads(text, object_pairs_hook=hook)
            return (value if isinstance(value, dict) else None), hook is not None
    return None, False


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice")
    return found


def _text(value: object) -> str | None:
    """Return a column as text that every database and JSON can hold."""
    if value is None:
        return None
    text = value.decode(errors="backslashreplace") if isinstance(value, bytes) else str(value)
    return text.replace("\0", "\\x00")


def _scalar(value: object) -> Any:
    """Return a column as a JSON value."""
    if isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    return _text(value)


def _whole(value: object) -> int | None:
    """Return a column as a whole number of 64 bits, None where it is none."""
    with suppress(ValueError, OverflowError):
        number = int(value) if isinstance(value, (int, float, str)) else None
        return number if number is None or -(2**63) < number < 2**63 else None
    return None


# -- provenance ---------------------------------------------------------------------------------------


class _Provenance:
    """Moves the provenance rows over, and finds out whose each is: older releases reused ids."""

    def __init__(self, connection: sqlite3.Connection, report: Upgrade, *, has_uids: bool) -> None:
        self._connection = connection
        self._report = report
        self._now = utc_now()
        columns = "new.id, new.project_id, new.uid, new.hash, new.created_at"
        joined = f"assets_registry AS new JOIN {_ASIDE['assets_registry']} AS old ON old.id = new.id"
        self._assets_query = (
            f"SELECT {columns}, old.uid AS old_uid FROM {joined}"
            if has_uids
            else f"SELECT {columns}, new.uid AS old_uid FROM assets_registry AS new"
        )

    def move(self, is_baseline: bool) -> None:
        """Move all of them over, and point each asset to its newest."""
        order = "asset_id" if is_baseline else "id"
        query = f"SELECT * FROM {_ASIDE['provenance']} ORDER BY {order}"
        for rows in _batches(self._connection, query):
            assets = self._assets_with([row["asset_id"] for row in rows])
            if is_baseline:
                self._move_baseline(rows, assets)
            else:
                self._insert([self._convert(row, assets.get(row["asset_id"])) for row in rows])
            self._report.provenance += len(rows)
        for column in ("assets_registry.id", "asset_versions.asset_id"):
            newest = f"SELECT max(id) FROM provenance WHERE asset_id = {column}"
            self._connection.execute(f"UPDATE {column.partition('.')[0]} SET provenance_id = ({newest})")

    def _convert(self, row: _Row, asset: _Row | None) -> tuple[str, Provenance]:
        inputs = _object(row["inputs_json"], "inputs")
        others = row.keys() - _SHAPES["provenance"]["with workflow hashes"]
        unknown = {name: _scalar(row[name]) for name in sorted(others) if row[name] is not None}
        project_id, asset_id, uid = self._owner(row, inputs, asset)
        return project_id, Provenance(
            id=row["id"],
            asset_id=asset_id,
            asset_uid=uid,
            source=_text(row["source"]) or UNSPECIFIED,
            workflow_hash=_text(row["workflow_hash"]),
            commit_hash=_text(row["commit_hash"]),
            inputs={**inputs, "legacy_columns": unknown} if unknown else inputs,
            c2pa_like=_object(row["c2pa_like"], "c2pa_like"),
            user_id=_text(row["user_id"]),
            created_at=_text(row["created_at"]) or self._now,
        )

    def _owner(self, row: _Row, inputs: _Row, asset: _Row | None) -> tuple[str, int, str]:
        """Return project, id and uid of the asset that a row belongs to.

        A row of an asset that is gone keeps its number, below zero where another asset has that by now.
        """
        stated_project = _text(row["project_id"]) or None
        uid, digest = (_text(inputs.get(name)) or "" for name in ("asset_uid", "asset_hash"))
        digest = digest.lower()
        if asset is not None and _fits(asset, uid, digest, stated_project):
            return asset["project_id"], asset["id"], asset["uid"]
        project_id = stated_project or "default"
        uid = uid or (digest[:16] if _SHA256.fullmatch(digest) else "")
        query = "SELECT id FROM assets_registry WHERE project_id = ? AND uid = ?"
        other = self._connection.execute(query, (project_id, uid)).fetchone()
        if other is not None:
            return project_id, other[0], uid
        self._report.without_asset += 1
        number = _whole(row["asset_id"]) or 0
        return project_id, number if asset is None else -abs(number), uid

    def _move_baseline(self, rows: Sequence[_Row], assets: Mapping[Any, _Row]) -> None:
        ids = Writer(self._connection, "default", None).reserve_ids(len(rows))
        converted = []
        for row_id, row in zip(ids, rows, strict=True):
            asset = assets.get(row["asset_id"])
            self._report.without_asset += asset is None
            source, inputs = _text(row["tool"]) or UNSPECIFIED, _baseline_inputs(row)
            converted.append(
                (
                    asset["project_id"] if asset else "default",
                    Provenance(
                        id=row_id,
                        asset_id=asset["id"] if asset else _whole(row["asset_id"]) or 0,
                        asset_uid=asset["uid"] if asset else "",
                        source=source,
                        workflow_hash=derive_workflow_hash(source, inputs),
                        commit_hash=_text(row["commit"]),
                        inputs=inputs,
                        c2pa_like={},
                        user_id=None,
                        created_at=asset["created_at"] if asset else self._now,
                    ),
                )
            )
        self._insert(converted)

    def _assets_with(self, ids: Sequence[Any]) -> dict[Any, _Row]:
        marks = ", ".join("?" * len(ids))
        query = f"{self._assets_query} WHERE new.id IN ({marks})"
        return {row["id"]: row for rows in _batches(self._connection, query, *ids) for row in rows}

    def _insert(self, rows: Sequence[tuple[str, Provenance]]) -> None:
        ordered = sorted(rows, key=lambda each: each[0])
        for project_id, group in groupby(ordered, key=lambda each: each[0]):
            Writer(self._connection, project_id, None).add_provenance([row for _, row in group])


def _fits(asset: _Row, uid: str, digest: str, project_id: str | None) -> bool:
    """Tell whether what a provenance row says of its asset is true of the one that has the number now."""
    if uid:
        return uid in (asset["uid"], asset["old_uid"]) or (digest != "" and digest == asset["hash"])
    if digest and asset["hash"]:
        return bool(digest == asset["hash"])
    return project_id in (None, asset["project_id"])


def _object(value: object, name: str) -> dict[str, Any]:
    """Return a JSON column as an object; what could not be written again as one stands in it as text."""
    text = _text(value)
    if text is None or text.strip() in ("", "null"):
        return {}
    found, is_exact = _json_object(text)
    if found is not None and is_exact:
        with suppress(InvalidMetadata):
            claim = parse_provenance({name: found}, {}, limits=_AS_LARGE_AS_IT_WAS)
            return dict(claim.inputs if name == "inputs" else claim.c2pa_like)
    return {"legacy": text}


def _baseline_inputs(row: _Row) -> dict[str, Any]:
    stated = {name: _scalar(row[name]) for name in ("seed", "workflow") if row[name] is not None}
    more = _object(row["meta_json"], "inputs")
    differing = {f"legacy_{name}": value for name, value in stated.items() if more.get(name, value) != value}
    others = row.keys() - _SHAPES["provenance"][_BASELINE]
    unknown = {name: _scalar(row[name]) for name in sorted(others) if row[name] is not None}
    return {**stated, **more, **differing, **({"legacy_columns": unknown} if unknown else {})}
