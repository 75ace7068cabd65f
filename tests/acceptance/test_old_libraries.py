"""Libraries of older releases: every shape opens, is backed up first, and loses nothing."""

import json
import logging
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import legacy
from comfyvn.db import open_engine, schema
from comfyvn.db.engine import VERSION_TABLE
from comfyvn.errors import OlderLibrary, RegistryBusy, RegistryUnusable
from comfyvn.studio.core import AssetRegistry
from legacy import ERAS, Era, Item, OldAsset, OldLibrary

TIMEOUT_S = 60.0
DERIVED = {"preview", "thumbnails", "version"}
SEARCH = {f"asset_search{part}" for part in ("", "_config", "_data", "_docsize", "_idx")}
OURS = {*schema.metadata.tables, *SEARCH, VERSION_TABLE, "sqlite_sequence"}
DIGEST = "ab" * 32


def run_sql(path: Path, script: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(script)
        connection.commit()


def rows(path: Path, query: str, *values: Any) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query, values).fetchall()


def dump(path: Path) -> list[str]:
    """Return a database as SQL."""
    with closing(sqlite3.connect(path)) as connection:
        return list(connection.iterdump())


def others(path: Path) -> dict[str, Any]:
    """Return what other parts of ComfyVN have in a database: tables with rows, indexes, views, triggers."""
    with closing(sqlite3.connect(path)) as connection:
        query = "SELECT name, type, sql FROM sqlite_master WHERE tbl_name NOT IN ({}) AND sql IS NOT NULL"
        found = connection.execute(query.format(", ".join(f"'{name}'" for name in OURS))).fetchall()
        return {
            name: (
                kind,
                text,
                connection.execute(f"SELECT * FROM {name}").fetchall() if kind == "table" else [],
            )
            for name, kind, text in found
        }


def snapshot(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Return every file of a folder with its content and time."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def backups(path: Path) -> list[Path]:
    return sorted(path.parent.glob("*before-upgrade*"))


def comfyvn(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "comfyvn", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)


def old_facts(asset: OldAsset) -> dict[str, Any]:
    """Return what people wrote about an old asset."""
    text = asset.row["meta_json"] if "meta_json" in asset.row else asset.row["meta"]
    meta = json.loads(text or "{}")
    return {"tags": [], "license": None, **{name: meta[name] for name in meta if name not in DERIVED}}


def check_asset(library: OldLibrary, registry: AssetRegistry, asset: OldAsset) -> None:
    """Check that an old asset is there, field by field."""
    found = registry.get_asset(asset.uid)
    assert found is not None
    stated = {name: found[name] for name in ("id", "type", "path", "hash", "bytes", "created_at", "version")}  # type: ignore[literal-required]
    old = {name: asset.row[name] for name in ("id", "type", "hash", "bytes", "created_at")}
    assert stated == {**old, "path": asset.path, "version": 1}
    assert {name: value for name, value in found["meta"].items() if name not in DERIVED} == old_facts(asset)
    assert found["tags"] == list(asset.item.tags)
    assert found["missing_since"] is None
    if asset.thumbs:
        assert (found["thumb"], found["preview_state"]) == (asset.thumbs[0], "ready")
    else:
        assert found["preview_state"] == ("pending" if asset.path.endswith(".wav") else "none")
    check_provenance(registry, asset)


def check_provenance(registry: AssetRegistry, asset: OldAsset) -> None:
    found = registry.list_provenance(asset.uid)
    record = registry.get_asset(asset.uid)
    assert record is not None
    assert (record["provenance"] or {}).get("id") == (found[0]["id"] if found else None)
    if asset.provenance and "tool" in asset.provenance[0]:
        (old,), (row,) = asset.provenance, found
        inputs = {"seed": old["seed"], "workflow": old["workflow"], **json.loads(old["meta_json"])}
        assert (row["source"], row["commit_hash"]) == (old["tool"], old["commit"])
        assert (row["inputs"], row["created_at"]) == (inputs, asset.row["created_at"])
        return
    assert len(found) == len(asset.provenance)
    for old, row in zip(reversed(asset.provenance), found, strict=True):
        same = ("id", "asset_id", "source", "workflow_hash", "commit_hash", "user_id", "created_at")
        assert {name: row[name] for name in same} == {name: old[name] for name in same}
        assert row["inputs"] == json.loads(old["inputs_json"])
        assert row["c2pa_like"] == json.loads(old["c2pa_like"] or "{}")
        assert row["asset_uid"] == asset.uid


# -- every shape --------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["delete", "wal"])
@pytest.mark.parametrize("era", ERAS)
def test_a_library_of_every_older_release_opens_and_has_all_that_it_had(
    era: Era, mode: str, project: Path, open_registry: Callable[..., AssetRegistry]
) -> None:
    """A maker who upgrades would find tags, licences or provenance gone."""
    library = legacy.build(project, era)
    run_sql(library.db, f"PRAGMA journal_mode = {mode}")
    files = snapshot(library.assets_root)

    registry = open_registry()

    assert library.assets_root == registry.ASSETS_ROOT
    assert registry.count_assets() == len(library.assets)
    for asset in library.assets:
        check_asset(library, registry, asset)
    assert {name: value for name, value in snapshot(library.assets_root).items() if name in files} == files
    assert rows(library.db, "PRAGMA journal_mode") == [("wal",)]
    assert rows(library.db, "PRAGMA integrity_check") == [("ok",)]


@pytest.mark.parametrize("era", ERAS)
def test_lists_searches_and_tags_find_what_an_older_release_knew(
    era: Era, project: Path, open_registry: Callable[..., AssetRegistry]
) -> None:
    """Rows would be there, but no filter would find them."""
    mara, dawn, _, bell, _ = legacy.build(project, era).assets

    registry = open_registry()

    assert [each["uid"] for each in registry.list_assets(tags="MARA")] == [dawn.uid, mara.uid]
    assert [each["uid"] for each in registry.list_assets(text="DAWN")] == [dawn.uid]
    assert [each["uid"] for each in registry.list_assets(license="cc0-1.0")] == [bell.uid]
    assert [each["uid"] for each in registry.list_assets("audio", hash_value=bell.row["hash"])] == [bell.uid]


@pytest.mark.parametrize("mode", ["delete", "wal"])
@pytest.mark.parametrize("era", ERAS)
def test_the_backup_is_the_old_database_sound_and_whole(
    era: Era, mode: str, project: Path, open_registry: Callable[..., AssetRegistry]
) -> None:
    """Who wants back to the older release could not go."""
    library = legacy.build(project, era)
    run_sql(library.db, f"PRAGMA journal_mode = {mode}")
    library.db.chmod(0o640)
    before = dump(library.db)

    open_registry().close()

    (backup,) = backups(library.db)
    assert backup.name == "comfyvn.db.before-upgrade"
    assert rows(backup, "PRAGMA integrity_check") == [("ok",)]
    assert dump(backup) == before
    assert backup.stat().st_mode & 0o777 == 0o640
    assert {path.name for path in library.db.parent.iterdir()} == {library.db.name, backup.name}


def test_the_backup_holds_changes_that_still_stood_in_the_wal_file(
    project: Path, open_registry: Callable[..., AssetRegistry]
) -> None:
    """The last hour's work in the older release would miss in the backup."""
    library = legacy.build(project, "3")
    run_sql(library.db, "PRAGMA journal_mode = WAL")
    kill_while_writing(library.db, "INSERT INTO scenes VALUES (99, 'the last', NULL)", commits=True)
    assert library.db.with_name("comfyvn.db-wal").stat().st_size > 0

    registry = open_registry()

    assert rows(backups(library.db)[0], "SELECT title FROM scenes WHERE id = 99") == [("the last",)]
    assert rows(library.db, "SELECT title FROM scenes WHERE id = 99") == [("the last",)]
    assert registry.count_assets() == len(library.assets)


def test_a_backup_never_takes_the_place_of_another_file(
    project: Path, open_registry: Callable[..., AssetRegistry]
) -> None:
    """The one good backup of a user would be overwritten by a later one."""
    library = legacy.build(project, "2")
    first = library.db.with_name("comfyvn.db.before-upgrade")
    first.write_text("mine")
    first.with_name(f"{first.name}-2").mkdir()

    open_registry().close()

    assert first.read_text() == "mine"
    assert rows(first.with_name(f"{first.name}-3"), "SELECT count(*) FROM assets_registry") == [(5,)]


def test_opening_an_upgraded_library_again_does_nothing(
    project: Path, open_registry: Callable[..., AssetRegistry], caplog: pytest.LogCaptureFixture
) -> None:
    """A second upgrade would take our own tables for old ones."""
    library = legacy.build(project, "3")
    with caplog.at_level(logging.INFO):
        open_registry().close()
    told = [each.getMessage() for each in caplog.records if "before-upgrade" in each.getMessage()]
    before = dump(library.db)
    caplog.clear()

    open_registry().close()
    with closing(open_engine(library.db)) as engine:
        assert engine.upgraded is None

    assert len(told) == 1
    assert dump(library.db) == before
    assert len(backups(library.db)) == 1
    assert "before-upgrade" not in caplog.text


@pytest.mark.parametrize("kept", ["assets_registry", "provenance"])
def test_a_database_with_only_one_of_the_two_tables_is_upgraded_too(
    kept: str, project: Path, open_registry: Callable[..., AssetRegistry]
) -> None:
    """A library whose other table another tool dropped could not be opened any more."""
    library = legacy.build(project, "2")
    run_sql(library.db, f"DROP TABLE {'provenance' if kept == 'assets_registry' else 'assets_registry'}")

    registry = open_registry()

    assert registry.count_assets() == (5 if kept == "assets_registry" else 0)
    found = [row for asset in library.assets for row in registry.list_provenance(asset.uid)]
    assert len(found) == (0 if kept == "assets_registry" else 6)


@pytest.mark.parametrize("column", ["hash", "path_full", "meta"])
def test_tables_of_an_unknown_shape_are_refused_and_left_as_they_are(column: str, project: Path) -> None:
    """A guess at what a column means would lose what it held."""
    library = legacy.build(project, "2")
    run_sql(library.db, f"ALTER TABLE assets_registry RENAME COLUMN {column} TO other")
    before = snapshot(project)

    with pytest.raises(OlderLibrary, match="other"):
        open_engine(library.db)

    assert snapshot(project) == before


def test_columns_that_no_release_had_are_kept(
    project: Path, open_registry: Callable[..., AssetRegistry]
) -> None:
    """What a script of the maker's added would be gone."""
    library = legacy.build(project, "2")
    run_sql(
        library.db,
        """ALTER TABLE assets_registry ADD COLUMN rating INTEGER;
        UPDATE assets_registry SET rating = 5 WHERE id = 1;
        ALTER TABLE provenance ADD COLUMN cost REAL;
        UPDATE provenance SET cost = 0.5 WHERE id = 11;""",
    )

    registry = open_registry()

    mara, dawn = (registry.get_asset(asset.uid) for asset in library.assets[:2])
    assert mara is not None
    assert dawn is not None
    assert mara["meta"]["legacy_columns"] == {"rating": 5}
    assert "legacy_columns" not in dawn["meta"]
    assert registry.list_provenance(mara["uid"])[1]["inputs"]["legacy_columns"] == {"cost": 0.5}


# -- what is not ours ---------------------------------------------------------------------------------


@pytest.mark.parametrize("era", ERAS)
def test_tables_of_other_parts_and_their_foreign_keys_stay_as_they_are(
    era: Era, project: Path, open_registry: Callable[..., AssetRegistry]
) -> None:
    """Scenes would lose their art, or portraits point to a table that is gone."""
    library = legacy.build(project, era)
    before = others(library.db)

    open_registry().close()

    assert others(library.db) == before
    with closing(sqlite3.connect(library.db)) as connection:
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        keys = connection.execute("PRAGMA foreign_key_list(characters)").fetchall()
        assert [(key[2], key[3], key[4]) for key in keys] == [("assets_registry", "portrait_asset_id", "id")]
        portrait = "SELECT a.path_full FROM characters c JOIN assets_registry a ON a.id = c.portrait_asset_id"
        assert connection.execute(portrait).fetchall() == [("characters/mara.png",)]
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("INSERT INTO characters VALUES (3, 'Ines', 2)")
        with pytest.raises(sqlite3.IntegrityError, match="FOREIGN KEY"):
            connection.execute("INSERT INTO characters VALUES (4, 'Ghost', 4711)")


def test_views_and_triggers_that_mention_our_tables_neither_stop_the_upgrade_nor_vanish(
    project: Path, open_registry: Callable[..., AssetRegistry], make_png: Callable[..., Path]
) -> None:
    """A maker's own view would be gone, or hold the upgrade up."""
    library = legacy.build(project, "2")
    run_sql(
        library.db,
        """CREATE VIEW art AS SELECT uid, path_full FROM assets_registry;
        CREATE VIEW broken AS SELECT nope FROM nowhere;
        CREATE VIEW sources AS
            SELECT a.uid, p.source FROM provenance p JOIN assets_registry a ON a.id = p.asset_id;
        CREATE TABLE seen (uid TEXT);
        CREATE TRIGGER note_art AFTER INSERT ON assets_registry BEGIN INSERT INTO seen VALUES (new.uid); END;
        CREATE TRIGGER drop_portrait AFTER DELETE ON assets_registry
            BEGIN UPDATE characters SET portrait_asset_id = NULL WHERE portrait_asset_id = old.id; END;
        CREATE TRIGGER on_scene AFTER INSERT ON scenes
            BEGIN UPDATE assets_registry SET type = type WHERE id = 1; END;
        CREATE UNIQUE INDEX one_uid ON assets_registry (uid);""",
    )
    named = (
        "SELECT name, sql FROM sqlite_master WHERE type IN ('view', 'trigger')"
        " AND name NOT LIKE 'asset_search%' ORDER BY name"
    )
    before = rows(library.db, named)

    registry = open_registry()
    info = registry.register_file(make_png("new.png", seed=77), "characters")

    assert rows(library.db, named) == before
    assert rows(library.db, "SELECT uid FROM seen") == [(info["uid"],)]
    assert len(rows(library.db, "SELECT * FROM art")) == 6
    assert len(rows(library.db, "SELECT * FROM sources")) == 7
    assert registry.remove_asset(library.assets[0].uid)
    assert rows(library.db, "SELECT portrait_asset_id FROM characters WHERE id = 1") == [(None,)]


def test_a_trigger_that_our_columns_do_not_suit_is_kept_as_text(
    project: Path, open_registry: Callable[..., AssetRegistry], make_png: Callable[..., Path]
) -> None:
    """Every later registration would fail in a trigger that names a column of v0.6."""
    library = legacy.build(project, "v0.6")
    body = "INSERT INTO settings VALUES (new.path, 1);"
    text = f"CREATE TRIGGER t AFTER INSERT ON assets_registry BEGIN {body} END"
    run_sql(library.db, f"{text};")

    registry = open_registry()
    registry.register_file(make_png("new.png", seed=77), "characters")

    assert registry.count_assets() == 6
    kept = rows(library.db, "SELECT name, value FROM asset_library WHERE name LIKE 'legacy_%'")
    assert kept == [("legacy_trigger:t", text)]


def test_projects_in_one_database_stay_apart_and_may_now_share_content(
    project: Path, open_registry: Callable[..., AssetRegistry]
) -> None:
    """The second project's assets would turn up in the first, or be gone."""
    items = (Item("characters/mara.png", ("a",)), Item("side/kit.png", ("b",), project="side"))
    library = legacy.build(project, "2", items)
    mara, kit = library.assets

    default, side = open_registry(), open_registry(project_id="side")

    assert [each["uid"] for each in default.list_assets()] == [mara.uid]
    assert [each["uid"] for each in side.list_assets(tags="b")] == [kit.uid]
    check_provenance(side, kit)
    assert default.list_provenance(kit.uid) == []
    again = default.register_file(library.assets_root / kit.path, "shared")
    assert (again["uid"], again["duplicate"]) == (kit.uid, False)


# -- rows that are not as they should be --------------------------------------------------------------


def upgraded(
    project: Path, open_registry: Callable[..., AssetRegistry], *values: Mapping[str, Any], era: Era = "2"
) -> AssetRegistry:
    """Return a registry on a database with these rows; what a row doesn't state is as it should be."""
    path = project / "comfyvn" / "data" / "comfyvn.db"
    legacy.write_database(path, era)
    with closing(sqlite3.connect(path)) as connection:
        for number, row in enumerate(values, 1):
            usual: dict[str, Any] = {"id": number, "type": "characters", "hash": f"{number:064x}", "bytes": 5}
            if era != "v0.6":
                usual |= {"uid": f"{number:016x}", "path_full": f"characters/{number}.png", "meta": "{}"}
            legacy.insert(connection, "assets_registry", {**usual, **row})
        connection.commit()
    return open_registry()


ODD_META: dict[str, tuple[Any, dict[str, Any]]] = {
    "none": (None, {}),
    "empty": ("", {}),
    "null": ("null", {}),
    "one tag as text": ('{"tags": "mara"}', {"tags": ["mara"]}),
    "tags as text": ('{"tags": "mara, smile,,Mara"}', {"tags": ["mara", "smile"], "legacy_meta": ...}),
    "tags of all kinds": (
        '{"tags": ["a", 7, null, {"b": 1}, " A ", "c\\u0001"], "mood": 1}',
        {"tags": ["a", "7"], "mood": 1, "legacy_meta": ...},
    ),
    "tags an object": ('{"tags": {"mara": true}, "mood": 1}', {"mood": 1, "legacy_meta": ...}),
    "a tag too long": (json.dumps({"tags": ["x" * 500, "a"]}), {"tags": ["a"], "legacy_meta": ...}),
    "too many tags": (
        json.dumps({"tags": [f"t{n}" for n in range(1500)]}),
        {"tags": [f"t{n}" for n in range(1000)], "legacy_meta": ...},
    ),
    "licence a list": ('{"license": ["MIT"], "mood": 1}', {"mood": 1, "legacy_meta": ...}),
    "licence too long": (json.dumps({"license": "x" * 2000}), {"legacy_meta": ...}),
    "origin a number": ('{"origin": 5, "license": "MIT"}', {"license": "MIT", "legacy_meta": ...}),
    "version a text": ('{"version": "two", "mood": 1}', {"mood": 1, "legacy_meta": ...}),
    "preview of a user": ('{"preview": "my own", "mood": 1}', {"mood": 1, "legacy_meta": ...}),
    "a list": ('["mara"]', {"legacy_meta": ...}),
    "a number": (5, {"legacy_meta": "5"}),
    "no JSON": ("{broken", {"legacy_meta": ...}),
    "not a number": ('{"mood": NaN, "a": 1}', {"a": 1, "legacy_meta": ...}),
    "too large a number": ('{"n": 1e999, "m": 123456789012345678901234567890}', {"legacy_meta": ...}),
    "a key twice": ('{"a": 1, "a": 2}', {"a": 2, "legacy_meta": ...}),
    "half a character": ('{"a": "\\ud800", "b": 1}', {"b": 1, "legacy_meta": ...}),
    "a NUL": ('{"a": "\\u0000", "b": 1}', {"b": 1, "legacy_meta": ...}),
    "nested deep": ('{"b": 1, "a": ' + "[" * 500 + "]" * 500 + "}", {"b": 1, "legacy_meta": ...}),
    "nested very deep": ("[" * 100_000 + "]" * 100_000, {"legacy_meta": ...}),
    "not UTF-8": (b'{"a": "\xff"}', {"legacy_meta": '{"a": "\\xff"}'}),
    "bytes": (b'{"a": 1}', {"a": 1}),
    "a name of ours": (
        '{"legacy_meta": "mine", "license": 5}',
        {"legacy_meta": "mine", "legacy_meta_2": ...},
    ),
}


@pytest.mark.parametrize("name", ODD_META)
def test_metadata_that_can_not_be_taken_as_it_is_stays_readable(
    name: str, project: Path, open_registry: Callable[..., AssetRegistry]
) -> None:
    """One odd row would stop the upgrade, or lose what stood in it."""
    old, wanted = ODD_META[name]
    wanted = {key: old if value is ... else value for key, value in wanted.items()}

    registry = upgraded(project, open_registry, {"meta": old}, {"meta": '{"tags": ["fine"]}'})

    found = registry.get_asset(f"{1:016x}")
    assert found is not None
    path = registry.ensure_sidecar(found["uid"], overwrite=True)
    kept = {**found["meta"], **json.loads(path.read_text("utf-8"))}
    assert {"tags": found["tags"], **{key: kept[key] for key in wanted}} == {"tags": [], **wanted}
    assert registry.read_sidecar(found["uid"])["uid"] == found["uid"]
    assert [each["tags"] for each in registry.list_assets(tags="fine")] == [["fine"]]


@pytest.mark.parametrize(
    "meta",
    [
        {"workflow": "x" * 300_000, "mood": "dawn"},
        {f"key {number}": "x" * 1000 for number in range(400)},
        {"list": list(range(25_000)), "mood": "dawn"},
    ],
    ids=["one value too large", "too large together", "too many values"],
)
def test_metadata_beyond_our_limits_is_kept_where_no_limit_is(
    meta: dict[str, Any], project: Path, open_registry: Callable[..., AssetRegistry]
) -> None:
    """Kept in the metadata, it would make a sidecar that we could not read again."""
    text = json.dumps({"tags": ["mara"], **meta})

    registry = upgraded(project, open_registry, {"meta": text})

    found = registry.get_asset(f"{1:016x}")
    assert found is not None
    assert found["tags"] == ["mara"]
    assert found["meta"].get("mood") == meta.get("mood")
    registry.ensure_sidecar(found["uid"], overwrite=True)
    written = registry.read_sidecar(found["uid"])
    assert {**written["meta"], **written}["legacy_meta"] == text


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.one_of(
        st.text(),
        st.binary(),
        st.integers(-(2**63), 2**63 - 1),
        st.floats(),
        st.recursive(
            st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["tags", "license", "a"]), inner),
        ).map(lambda value: json.dumps(value)),
    )
)
def test_no_metadata_whatever_stops_the_upgrade(tmp_path_factory: pytest.TempPathFactory, meta: Any) -> None:
    """A library with one strange row could not be opened at all."""
    if isinstance(meta, str):
        meta = meta.encode(errors="backslashreplace").decode()
    path = tmp_path_factory.mktemp("odd") / "comfyvn.db"
    legacy.write_database(path, "2")
    with closing(sqlite3.connect(path)) as connection:
        legacy.insert(
            connection, "assets_registry", {"id": 1, "uid": "a", "path_full": "a.png", "meta": meta}
        )
        legacy.insert(connection, "provenance", {"id": 1, "asset_id": 1, "inputs_json": meta})
        connection.commit()

    open_engine(path, durability="off").close()

    assert rows(path, "SELECT count(*) FROM assets_registry") == [(1,)]
    assert rows(path, "SELECT asset_uid FROM provenance") == [("a",)]
    assert json.loads(rows(path, "SELECT meta FROM assets_registry")[0][0])["version"] >= 1


ODD_COLUMNS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "no uid": ({"uid": None, "hash": DIGEST}, {"uid": DIGEST[:16]}),
    "no uid, no hash": ({"uid": None, "hash": None}, {"uid": "legacy_1", "hash": ""}),
    "no uid, short hash": (
        {"uid": None, "hash": "abc"},
        {"uid": "legacy_1", "hash": "", "legacy_hash": "abc"},
    ),
    "no uid, half a hash": (
        {"uid": None, "hash": "AB" * 10},
        {"uid": "ab" * 8, "hash": "", "legacy_hash": "AB" * 10},
    ),
    "a uid that names a folder": (
        {"uid": "../evil", "hash": DIGEST},
        {"uid": DIGEST[:16], "legacy_uid": "../evil"},
    ),
    "a hash in capitals": ({"hash": DIGEST.upper()}, {"hash": DIGEST}),
    "a hash of another kind": ({"hash": "md5:" + "a" * 32}, {"hash": "", "legacy_hash": "md5:" + "a" * 32}),
    "no size": ({"bytes": None}, {"bytes": 0}),
    "a size below zero": ({"bytes": -3}, {"bytes": 0}),
    "a size in words": ({"bytes": "many"}, {"bytes": 0}),
    "no type": ({"type": None}, {"type": "generic"}),
    "an empty type": ({"type": " "}, {"type": "generic", "legacy_type": " "}),
    "a type that is a path": ({"type": "../a/b"}, {"type": "a_b", "legacy_type": "../a/b"}),
    "a type that is reserved": ({"type": "_meta"}, {"type": "meta", "legacy_type": "_meta"}),
    "a type that is a number": ({"type": 7}, {"type": "7"}),
    "no project": ({"project_id": None}, {"project": "default"}),
    "no time": ({"created_at": None}, {}),
    "a stated time": ({"created_at": "yesterday"}, {"created_at": "yesterday", "updated_at": "yesterday"}),
    "a stated version": ({"meta": '{"version": 3}'}, {"version": 3}),
    "a thumb": (
        {"path_thumb": "cache/thumbs/x.png"},
        {"thumb": "cache/thumbs/x.png", "preview_state": "ready"},
    ),
    "a thumb of something else": (
        {"path_full": "a/film.mp4", "path_thumb": "cache/thumbs/x.png"},
        {"thumb": "cache/thumbs/x.png", "preview_state": "none"},
    ),
    "no thumb": ({"path_full": "a/MARA.JPEG"}, {"preview_state": "pending"}),
    "an id of zero": ({"id": 0}, {"id": 0}),
    "an id below zero": ({"id": -5, "uid": None, "hash": None}, {"id": -5, "uid": "legacy_-5"}),
    "an id of 63 bits": ({"id": 2**63 - 1}, {"id": 2**63 - 1}),
}


@pytest.mark.parametrize("name", ODD_COLUMNS)
def test_a_row_with_an_odd_value_comes_over_with_the_others(
    name: str, project: Path, open_registry: Callable[..., AssetRegistry]
) -> None:
    """One odd row would stop the upgrade, or lose what stood in it."""
    row, wanted = ODD_COLUMNS[name]

    registry = upgraded(project, open_registry, row, {"id": 50, "uid": "f" * 16})

    (found,) = (each for each in registry.list_assets() if each["uid"] != "f" * 16)
    record = registry.get_asset(found["uid"])
    assert record is not None
    shown = {**record["meta"], **record}
    assert {key: shown[key] for key in wanted} == wanted
    assert [key for key in record["meta"] if key.startswith("legacy")] == [
        key for key in wanted if key.startswith("legacy")
    ]
    assert record["created_at"]
    assert record["missing_since"] is None
    registry.ensure_sidecar(record["uid"], overwrite=True)
    assert registry.read_sidecar(record["uid"])["uid"] == record["uid"]


ODD_PATHS = {
    "/etc/passwd": ("characters/passwd-00000000", True),
    "../../outside.png": ("characters/outside-00000000.png", True),
    "a/../../b.png": ("characters/b-00000000.png", True),
    "..": ("characters/unnamed-00000000", True),
    "": ("characters/unnamed-00000000", True),
    "C:\\art\\mara.png": ("characters/mara-00000000.png", True),
    "C:": ("characters/C_-00000000", True),
    "characters\\mara.png": ("characters/mara.png", True),
    "characters/": ("characters/characters-00000000", True),
    "_meta/x.png": ("characters/x-00000000.png", True),
    ".comfyvn/library.json": ("characters/library-00000000.json", True),
    "./characters//mara.png": ("characters/mara.png", False),
    "characters/what?.png": ("characters/what?.png", False),
    "characters/夏 .png": ("characters/夏 .png", False),
}


@pytest.mark.parametrize("path", ODD_PATHS)
def test_a_path_that_leads_out_of_the_assets_folder_becomes_one_inside(
    path: str, project: Path, open_registry: Callable[..., AssetRegistry]
) -> None:
    """A file outside would be served, stamped or removed as if it were an asset."""
    key, is_missing = ODD_PATHS[path]

    registry = upgraded(project, open_registry, {"path_full": path})

    (found,) = registry.list_assets()
    assert (found["path"], found["missing_since"] is not None) == (key, is_missing)
    assert found["meta"].get("legacy_path") == (path if path not in ("", key) else None)


def test_of_two_rows_with_one_path_the_newer_keeps_it(
    project: Path, open_registry: Callable[..., AssetRegistry]
) -> None:
    """The older release let one file overwrite another: one of the two assets would be lost with it."""
    same = {"path_full": "characters/mara.png"}
    uids = ("1" * 16, "1" * 8 + "2" * 8, "3" * 16)
    taken = {"path_full": "characters/mara-11111111.png", "uid": "4" * 16}
    old = [{**same, "uid": uid, "meta": json.dumps({"tags": [uid]})} for uid in uids]

    registry = upgraded(project, open_registry, *old, taken)

    found = {each["uid"]: each for each in registry.list_assets()}
    assert {uid: found[uid]["path"] for uid in found} == {
        "3" * 16: "characters/mara.png",
        "1" * 8 + "2" * 8: f"characters/mara-{'1' * 8 + '2' * 8}.png",
        "1" * 16: f"characters/mara-{'1' * 16}.png",
        "4" * 16: "characters/mara-11111111.png",
    }
    assert {uid for uid in found if found[uid]["missing_since"]} == set(uids[:2])
    assert [found[uid]["tags"] for uid in uids] == [[uid] for uid in uids]
    assert found[uids[0]]["meta"]["legacy_path"] == "characters/mara.png"


def test_rows_of_v06_with_one_content_get_different_uids(
    project: Path, open_registry: Callable[..., AssetRegistry]
) -> None:
    """The second copy of a picture would be lost, or stop the upgrade."""
    values = [{"hash": DIGEST, "path": f"copy {number}.png"} for number in (1, 2, 3)]

    registry = upgraded(project, open_registry, *values, era="v0.6")

    found = {each["path"]: each["uid"] for each in registry.list_assets()}
    assert found == {
        "copy 1.png": DIGEST[:16],
        "copy 2.png": DIGEST[:20],
        "copy 3.png": DIGEST[:24],
    }


def test_a_uid_made_for_one_row_never_takes_that_of_another(
    project: Path, open_registry: Callable[..., AssetRegistry]
) -> None:
    """An older asset would have to give up the uid under which everybody knows it."""
    values = [{"uid": DIGEST[:16], "hash": "cd" * 32}, {"uid": "legacy_3"}]

    registry = upgraded(
        project,
        open_registry,
        *values,
        {"uid": None, "hash": None},
        {"uid": None, "hash": DIGEST},
    )

    assert {each["id"]: each["uid"] for each in registry.list_assets()} == {
        1: DIGEST[:16],
        2: "legacy_3",
        3: "legacy_3_2",
        4: DIGEST[:20],
    }


# -- provenance ---------------------------------------------------------------------------------------


def test_a_provenance_row_goes_to_the_asset_that_it_tells_of(
    project: Path, open_registry: Callable[..., AssetRegistry]
) -> None:
    """Older releases gave the id of a removed asset to a new one, which then had the other's history."""
    path = project / "comfyvn" / "data" / "comfyvn.db"
    legacy.write_database(path, "2")
    mara, kit, gone = (str(number) * 64 for number in (1, 2, 3))
    stated = {
        1: (1, {"asset_uid": mara[:16], "asset_hash": mara}),
        2: (1, {"asset_uid": gone[:16], "asset_hash": gone}),
        3: (1, {"asset_hash": gone}),
        4: (1, {"prompt": "nothing said"}),
        5: (1, {"asset_uid": kit[:16]}),
        6: (7, {"asset_uid": gone[:16]}),
        7: (7, {}),
        8: (7, {"asset_uid": kit[:16]}),
        9: (2, {"asset_uid": "renamed", "asset_hash": kit.upper()}),
        10: (None, {"asset_uid": 5}),
    }
    with closing(sqlite3.connect(path)) as connection:
        for number, digest in ((1, mara), (2, kit)):
            row = {
                "id": number,
                "uid": digest[:16],
                "hash": digest,
                "path_full": f"{number}.png",
                "meta": "{}",
            }
            legacy.insert(connection, "assets_registry", row)
        for row_id, (asset_id, inputs) in stated.items():
            row = {"id": row_id, "asset_id": asset_id, "source": "s", "inputs_json": json.dumps(inputs)}
            legacy.insert(connection, "provenance", row)
        connection.commit()

    registry = open_registry()

    owners = {
        row_id: (asset_id, uid)
        for row_id, asset_id, uid in rows(path, "SELECT id, asset_id, asset_uid FROM provenance")
    }
    assert owners == {
        1: (1, mara[:16]),
        2: (-1, gone[:16]),
        3: (-1, gone[:16]),
        4: (1, mara[:16]),
        5: (2, kit[:16]),
        6: (7, gone[:16]),
        7: (7, ""),
        8: (2, kit[:16]),
        9: (2, kit[:16]),
        10: (0, "5"),
    }
    assert {each["uid"]: each["provenance"]["id"] for each in registry.list_assets()} == {
        mara[:16]: 4,
        kit[:16]: 9,
    }
    for uid in (mara[:16], kit[:16]):
        record = registry.get_asset(uid)
        assert record is not None
        assert record["provenance"] is not None
        history = [
            record["provenance"]["id"],
            *(row["id"] for row in record["provenance"].get("history", [])),
        ]
        assert registry.list_provenance(uid)[0]["id"] == history[0]
    assert [row["id"] for row in registry.list_provenance(gone[:16])] == [6, 3, 2]


@pytest.mark.parametrize(
    "text", ["[1]", "{broken", "5", '"x"', '{"a": NaN}', '{"a": "\\ud800"}', '{"a": 1, "a": 2}', "[" * 5000]
)
def test_inputs_that_are_no_object_are_kept_as_text(
    text: str, project: Path, open_registry: Callable[..., AssetRegistry]
) -> None:
    """What a script wrote there would be gone, or break every later sidecar."""
    library = legacy.build(project, "2")
    mara = library.assets[0]
    with closing(sqlite3.connect(library.db)) as connection:
        connection.execute("UPDATE provenance SET inputs_json = ?, c2pa_like = ? WHERE id = 12", (text, text))
        connection.commit()

    registry = open_registry()

    newest = registry.list_provenance(mara.uid)[0]
    assert (newest["inputs"], newest["c2pa_like"]) == ({"legacy": text}, {"legacy": text})
    registry.ensure_sidecar(mara.uid, overwrite=True)
    assert registry.read_sidecar(mara.uid)["provenance"]["inputs"] == {"legacy": text}


def test_inputs_larger_than_our_limits_come_over_whole(
    project: Path, open_registry: Callable[..., AssetRegistry]
) -> None:
    """A large workflow that the older release recorded would be reduced to text."""
    library = legacy.build(project, "2")
    inputs = {"workflow": {"nodes": [{"id": number, "text": "x" * 50} for number in range(12_000)]}}
    with closing(sqlite3.connect(library.db)) as connection:
        connection.execute("UPDATE provenance SET inputs_json = ? WHERE id = 12", (json.dumps(inputs),))
        connection.commit()

    registry = open_registry()

    assert registry.list_provenance(library.assets[0].uid)[0]["inputs"] == inputs


def test_provenance_of_v06_with_odd_values_is_kept(
    project: Path, open_registry: Callable[..., AssetRegistry]
) -> None:
    """A seed or workflow that only stood there would be lost."""
    library = legacy.build(project, "v0.6")
    run_sql(
        library.db,
        """UPDATE provenance SET tool = NULL, "commit" = NULL, seed = NULL, meta_json = 'no json'
            WHERE asset_id = 1;
        UPDATE provenance SET meta_json = '{"seed": "other", "workflow": "wf-2"}' WHERE asset_id = 2;
        INSERT INTO provenance VALUES (99, '5', 'gone', NULL, NULL, NULL);""",
    )

    registry = open_registry()

    mara, dawn = (registry.list_provenance(asset.uid)[0] for asset in library.assets[:2])
    assert (mara["source"], mara["commit_hash"]) == ("unspecified", None)
    assert mara["inputs"] == {"workflow": "wf-1", "legacy": "no json"}
    assert dawn["inputs"] == {"seed": "other", "workflow": "wf-2", "legacy_seed": "1002"}
    assert mara["workflow_hash"] != dawn["workflow_hash"]
    gone = rows(library.db, "SELECT asset_id, asset_uid, source FROM provenance WHERE source = 'gone'")
    assert gone == [(99, "", "gone")]


# -- killed, or several at once -----------------------------------------------------------------------

# where the upgrade is killed: a function, whether before or after it, and at which call
KILLS = {
    "backup half written": ("legacy.shutil.copymode", "before", 1),
    "backup without its name": ("legacy._copy_database", "after", 1),
    "before the first change": ("legacy._set_aside", "before", 1),
    "old tables set aside": ("legacy._set_aside", "after", 1),
    "new tables made": ("engine._make_tables", "after", 1),
    "some rows moved": ("legacy.Writer.insert", "after", 1),
    "most rows moved": ("legacy.Writer.insert", "before", 3),
    "before provenance": ("legacy._Provenance.move", "before", 1),
    "in provenance": ("legacy.Writer.add_provenance", "after", 5),
    "before the commit": ("legacy._bring_back", "after", 1),
    "after the commit": ("engine.Engine.close", "before", 1),
}
KILL = """
import functools, os, signal, sys
from pathlib import Path
from comfyvn.db import engine, legacy
from comfyvn.studio.core import AssetRegistry
name, when, number = sys.argv[1], sys.argv[2], int(sys.argv[3])
legacy._BATCH = int(sys.argv[4])
*way, last = name.split(".")
owner = functools.reduce(getattr, way[1:], {"legacy": legacy, "engine": engine}[way[0]])
plain, calls = getattr(owner, last), 0
def kill():
    os.kill(os.getpid(), signal.SIGKILL)
def counted(*arguments, **named):
    global calls
    calls += 1
    if calls == number and when == "before":
        kill()
    answer = plain(*arguments, **named)
    if calls == number:
        kill()
    return answer
setattr(owner, last, counted)
AssetRegistry().close()
"""


def kill_at(point: str, *, batch: int = 2) -> None:
    where, when, number = KILLS[point]
    command = [sys.executable, "-c", KILL, where, when, str(number), str(batch)]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert answer.returncode == -signal.SIGKILL, answer.stderr


def kill_while_writing(path: Path, statement: str, *, commits: bool) -> None:
    """Leave a database as a program leaves it that is killed: its journal or -wal file beside it."""
    script = """
import os, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA cache_size = 1")
connection.execute("BEGIN")
connection.execute(sys.argv[2])
if sys.argv[3] == "True":
    connection.execute("COMMIT")
os._exit(0)
"""
    command = [sys.executable, "-c", script, str(path), statement, str(commits)]
    subprocess.run(command, timeout=TIMEOUT_S, check=True)


@pytest.mark.parametrize("mode", ["delete", "wal"])
@pytest.mark.parametrize("point", KILLS)
def test_an_upgrade_that_is_killed_leaves_the_old_database_and_the_next_open_upgrades(
    point: str, mode: str, project: Path, open_registry: Callable[..., AssetRegistry]
) -> None:
    """A power cut in the middle would leave a library that neither release can open."""
    library = legacy.build(project, "3")
    run_sql(library.db, f"PRAGMA journal_mode = {mode}")
    before = dump(library.db)

    kill_at(point)

    assert point == "after the commit" or dump(library.db) == before
    registry = open_registry()
    for asset in library.assets:
        check_asset(library, registry, asset)
    registry.close()
    assert rows(library.db, "PRAGMA integrity_check") == [("ok",)]
    (backup,) = backups(library.db)
    assert backup.name == "comfyvn.db.before-upgrade"
    assert dump(backup) == before


def test_a_killed_upgrade_that_has_written_to_the_file_already_is_taken_back(
    project: Path, open_registry: Callable[..., AssetRegistry]
) -> None:
    """A library larger than the cache is written to before the commit: half of it would be new."""
    path = project / "comfyvn" / "data" / "comfyvn.db"
    legacy.write_database(path, "2")
    with closing(sqlite3.connect(path)) as connection:
        for number in range(3_000):
            meta = json.dumps({"tags": [f"t{number}"], "text": f"{number:08}" * 1_000})
            row = {"id": number, "uid": f"{number:016x}", "path_full": f"{number}.png", "meta": meta}
            legacy.insert(connection, "assets_registry", {**row, "hash": f"{number:064x}"})
        connection.commit()
    content = path.read_bytes()

    kill_at("before the commit", batch=500)

    assert path.read_bytes() != content
    assert path.with_name("comfyvn.db-journal").exists()
    registry = open_registry()
    assert registry.count_assets() == 3_000
    assert [each["id"] for each in registry.list_assets(tags="t2718")] == [2718]
    assert backups(path)[0].stat().st_size == len(content)


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_processes_that_open_an_old_library_at_once_upgrade_it_once(mode: str, project: Path) -> None:
    """The second would crash, or upgrade what is new already."""
    library = legacy.build(project, "3")
    run_sql(library.db, f"PRAGMA journal_mode = {mode}")
    script = """
import sys
from comfyvn.studio.core import AssetRegistry
print("ready", flush=True)
sys.stdin.readline()
with AssetRegistry() as registry:
    print(registry.count_assets(), len(registry.list_assets(tags="mara")), flush=True)
"""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"

        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        answers = [process.communicate(timeout=TIMEOUT_S) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait(TIMEOUT_S)

    assert [answer for answer, _ in answers] == ["5 2\n"] * 4, answers
    assert sum("before-upgrade" in told for _, told in answers) == 1
    assert len(backups(library.db)) == 1


# -- where the backup can't be written ----------------------------------------------------------------


def list_with_room_for(size_bytes: int) -> subprocess.CompletedProcess[str]:
    """Run `comfyvn list` where no file can grow beyond a size, as on a disk that is full."""
    script = """
import resource, sys
import comfyvn.cli
limit = int(sys.argv.pop())
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
comfyvn.cli.main()
"""
    command = [sys.executable, "-c", script, "list", str(size_bytes)]
    return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)


def test_a_full_disk_stops_the_upgrade_before_the_first_change(project: Path) -> None:
    """The upgrade would go on without a backup, or leave half of one that looks whole."""
    library = legacy.build(project, "3")
    before = snapshot(library.db.parent)

    answer = list_with_room_for(20_000)

    assert answer.returncode == 5, answer.stderr
    assert "comfyvn.db.before-upgrade" in answer.stderr
    assert "It is untouched" in answer.stderr
    assert "Traceback" not in answer.stderr
    assert snapshot(library.db.parent) == before


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_a_disk_that_fills_up_during_the_upgrade_leaves_the_old_database(
    mode: str, project: Path, open_registry: Callable[..., AssetRegistry]
) -> None:
    """Half of the rows would be in the new tables."""
    library = legacy.build(project, "3")
    run_sql(library.db, f"PRAGMA journal_mode = {mode}")
    before = dump(library.db)

    answer = list_with_room_for(library.db.stat().st_size + 8_192)

    assert answer.returncode == 5, answer.stderr
    assert "Traceback" not in answer.stderr
    assert dump(library.db) == before
    assert dump(backups(library.db)[0]) == before
    assert open_registry().count_assets() == len(library.assets)
    assert len(backups(library.db)) == 1


def test_a_program_that_reads_the_old_database_is_waited_for_not_cut_off(
    project: Path, open_registry: Callable[..., AssetRegistry]
) -> None:
    """The older release, still open, would see tables change under it, or the user a traceback."""
    library = legacy.build(project, "2")
    with closing(sqlite3.connect(library.db, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        first = reader.execute("SELECT uid FROM assets_registry ORDER BY id").fetchall()

        with pytest.raises(RegistryBusy):
            open_engine(library.db, busy_timeout_s=0.2)

        assert reader.execute("SELECT uid FROM assets_registry ORDER BY id").fetchall() == first
    assert open_registry().count_assets() == len(library.assets)
    assert len(backups(library.db)) == 1


def test_something_in_the_way_of_the_backup_stops_the_upgrade(project: Path) -> None:
    """The upgrade would go on without a backup."""
    library = legacy.build(project, "3")
    library.db.with_name("comfyvn.db.before-upgrade.part").mkdir()
    before = snapshot(library.db.parent)

    with pytest.raises(RegistryUnusable, match=r"comfyvn\.db\.before-upgrade: .*It is untouched") as caught:
        open_engine(library.db)

    assert snapshot(library.db.parent) == before
    assert caught.value.exit_code == 5


def test_a_folder_that_may_not_be_written_stops_the_upgrade() -> None:
    """The user would see a traceback instead of what to do."""
    script = """
import os, sys
from pathlib import Path
from comfyvn.db import legacy, open_engine, schema  # another user may not reach where Python lies
from comfyvn.errors import RegistryUnusable
if os.geteuid() == 0:  # root may write anywhere
    os.setgid(65534)
    os.setuid(65534)
try:
    open_engine(Path(sys.argv[1]))
except RegistryUnusable as error:
    print(error)
"""
    with tempfile.TemporaryDirectory() as folder:  # in a place that another user can reach
        Path(folder).chmod(0o755)
        library = legacy.build(Path(folder), "3")
        before = snapshot(library.db.parent)
        library.db.parent.chmod(0o555)

        command = [sys.executable, "-c", script, str(library.db)]
        answer = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)

        library.db.parent.chmod(0o755)
        assert "can't be written as comfyvn.db.before-upgrade" in answer.stdout, answer.stderr
        assert str(library.db) in answer.stdout
        assert snapshot(library.db.parent) == before


# -- the command --------------------------------------------------------------------------------------


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_a_dry_run_tells_what_would_be_done_and_touches_nothing(era: Era, mode: str, project: Path) -> None:
    """Who only wanted to look would have upgraded."""
    library = legacy.build(project, era)
    run_sql(library.db, f"PRAGMA journal_mode = {mode}")
    before = snapshot(project)

    answer = comfyvn("upgrade", "--dry-run", "--json")

    assert answer.returncode == 0, answer.stderr
    told = json.loads(answer.stdout)
    assert (told["is_older"], told["dry_run"], told["path"]) == (True, True, str(library.db))
    assert told["upgrade"]["assets"] == len(library.assets)
    assert told["upgrade"]["provenance"] == sum(len(asset.provenance) for asset in library.assets)
    assert told["upgrade"]["backup"] == f"{library.db}.before-upgrade"
    assert snapshot(project) == before


def test_a_dry_run_names_what_would_be_renamed_and_kept_aside(
    project: Path, open_registry: Callable[..., AssetRegistry]
) -> None:
    """The user could not see beforehand which assets the upgrade changes."""
    library = legacy.build(project, "2")
    run_sql(
        library.db,
        """UPDATE assets_registry SET path_full = 'characters/mara.png' WHERE id = 2;
        UPDATE assets_registry SET meta = '{broken' WHERE id = 3;
        UPDATE provenance SET asset_id = 77, inputs_json = '{}' WHERE id = 41;
        CREATE TRIGGER t AFTER INSERT ON assets_registry
            BEGIN INSERT INTO settings VALUES (new.size, 1); END;""",
    )
    uids = [asset.uid for asset in library.assets]
    now = f"characters/mara-{uids[0][:8]}.png"

    dry = comfyvn("upgrade", "--dry-run")
    told = json.loads(comfyvn("upgrade", "--dry-run", "--json").stdout)["upgrade"]
    done = json.loads(comfyvn("upgrade", "--json").stdout)["upgrade"]

    assert told == done
    assert told["renamed"]["first"] == [{"uid": uids[0], "was": "characters/mara.png", "now": now}]
    assert told["kept_aside"] == {
        "count": 2,
        "first": [
            {"uid": uids[0], "path": now, "keys": ["legacy_path"]},
            {"uid": uids[2], "path": "backgrounds/harbour.jpg", "keys": ["legacy_meta"]},
        ],
    }
    assert (told["without_asset"], told["triggers"]) == (1, ["t"])
    for line in (
        f"characters/mara.png -> {now}",
        "backgrounds/harbour.jpg: legacy_meta",
        "1 provenance rows of assets that are gone",
        "The trigger t",
        "comfyvn.db.before-upgrade",
    ):
        assert line in dry.stdout
    assert open_registry().count_assets() == 5


@pytest.mark.parametrize("commits", [True, False])
@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_a_dry_run_leaves_what_a_killed_program_left(commits: bool, mode: str, project: Path) -> None:
    """A look would mend the database, or overlook what stands in its -wal or journal."""
    library = legacy.build(project, "2", [Item(f"characters/{number}.png") for number in range(12)])
    run_sql(library.db, f"PRAGMA journal_mode = {mode}")
    kill_while_writing(library.db, "DELETE FROM assets_registry WHERE id > 5", commits=commits)
    before = snapshot(project)

    answer = comfyvn("upgrade", "--dry-run", "--json")

    assert json.loads(answer.stdout)["upgrade"]["assets"] == (5 if commits else 12), answer.stderr
    assert snapshot(project) == before


def test_the_upgrade_tells_what_was_done_and_does_nothing_the_second_time(project: Path) -> None:
    """The user would not know whether it happened, or it would happen twice."""
    library = legacy.build(project, "v0.6")

    first, second = comfyvn("upgrade"), comfyvn("upgrade")
    third = comfyvn("upgrade", "--dry-run", "--json")

    assert (first.returncode, second.returncode, third.returncode) == (0, 0, 0)
    assert "5 assets and 4 provenance rows are taken over" in first.stdout
    assert str(backups(library.db)[0]) in first.stdout
    assert "nothing to do" in second.stdout
    assert json.loads(third.stdout) == {
        "path": str(library.db),
        "dry_run": True,
        "is_older": False,
        "upgrade": None,
    }
    assert len(backups(library.db)) == 1


def test_any_command_upgrades_and_names_the_backup(project: Path) -> None:
    """The user would have to know of a command of its own before anything works."""
    library = legacy.build(project, "1")

    answer = comfyvn("list", "--json")

    assert len(json.loads(answer.stdout)) >= 1, answer.stderr
    assert f"{library.db}.before-upgrade" in answer.stderr


@pytest.mark.parametrize("arguments", [[], ["--dry-run"]])
def test_without_a_library_the_command_says_so_and_makes_none(arguments: list[str], project: Path) -> None:
    """A typo in a path would make an empty library there."""
    answer = comfyvn("upgrade", *arguments)

    assert answer.returncode == 5
    assert "there is no library here yet" in answer.stderr
    assert list(project.iterdir()) == []


def test_a_dry_run_names_a_database_that_it_can_not_take_by_its_own_path(project: Path) -> None:
    """The message would name a temporary file that is gone by then."""
    library = legacy.build(project, "2")
    run_sql(library.db, "ALTER TABLE assets_registry RENAME COLUMN hash TO other")
    before = snapshot(project)

    answer = comfyvn("upgrade", "--dry-run")

    assert answer.returncode == 5
    assert str(library.db) in answer.stderr
    assert snapshot(project) == before


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE asset_tags (a)",
        "CREATE VIEW asset_versions AS SELECT 1 AS a",
        "CREATE TABLE asset_upgrade_assets (a)",
        "CREATE INDEX ix_assets_registry_type ON scenes (title)",
    ],
)
@pytest.mark.parametrize("era", ["2", "v0.6"])
def test_tables_of_others_with_our_names_are_refused_and_named(
    statement: str, era: legacy.Era, project: Path
) -> None:
    """The upgrade would end in a traceback, and nothing would say what is in the way."""
    old = legacy.build(project, era)
    with closing(sqlite3.connect(old.db)) as connection, connection:
        connection.execute(statement)
    before = old.db.read_bytes()

    with pytest.raises(OlderLibrary, match=statement.split()[2]):
        AssetRegistry()

    assert old.db.read_bytes() == before
    assert not old.db.with_name("comfyvn.db.before-upgrade").exists()
