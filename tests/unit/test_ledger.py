"""The ledger: made by many at once, refused where it is not ours, written whole or not at all."""

import itertools
import json
import os
import re
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from comfyvn.db import Engine, JournalEntry, Ledger, inspect_ledger, open_engine, schema
from comfyvn.db.engine import HEAD, VERSION_TABLE
from comfyvn.db.ledger import Taken
from comfyvn.errors import LedgerConflict, OlderLibrary, RegistryBusy, RegistryUnusable
from comfyvn.model import (
    PROBLEMS,
    Asset,
    AssetFilter,
    Facts,
    FileStat,
    Preview,
    Provenance,
    Version,
    fold,
    id_floor,
    parse_facts,
)
from support import run_all

TIMEOUT_S = 60.0

# what other parts of ComfyVN, and people, keep in the same file (legacy-format.md, 2)
FOREIGN = """
CREATE TABLE schema_migrations (version TEXT PRIMARY KEY, description TEXT, applied_at TEXT);
INSERT INTO schema_migrations VALUES ('v0.6', 'baseline', '2025-10-20 00:00:00');
CREATE TABLE scenes (id INTEGER PRIMARY KEY, title TEXT NOT NULL, body JSON);
INSERT INTO scenes VALUES (1, '夏', '{"lines": []}'), (7, 'Straße', NULL);
CREATE TABLE characters (id INTEGER PRIMARY KEY, name TEXT UNIQUE, portrait_asset_id INTEGER);
INSERT INTO characters VALUES (1, 'Mara', 12);
CREATE TABLE settings (key TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID;
INSERT INTO settings VALUES ('theme', x'00ff'), ('assets', 'dark');
CREATE TABLE thumbnails (asset_id INTEGER PRIMARY KEY, path TEXT, w INTEGER, h INTEGER);
CREATE TABLE assets (id INTEGER PRIMARY KEY, note TEXT);
CREATE TABLE alembic_version (version_num TEXT PRIMARY KEY);
INSERT INTO alembic_version VALUES ('of another program');
CREATE INDEX ix_scenes_title ON scenes (title);
CREATE VIEW titles AS SELECT title FROM scenes;
CREATE TRIGGER keep_titles BEFORE DELETE ON scenes BEGIN SELECT RAISE(ABORT, 'kept'); END;
"""
# shapes that assets_registry and provenance had in no release
UNKNOWN = {
    "columns missing": """
        CREATE TABLE assets_registry (id INTEGER PRIMARY KEY, uid TEXT UNIQUE, path_full TEXT, meta JSON);
        CREATE TABLE provenance (asset_id INTEGER PRIMARY KEY, seed TEXT, tool TEXT, workflow TEXT,
            "commit" TEXT, meta_json TEXT, FOREIGN KEY (asset_id) REFERENCES assets_registry (id));
    """,
    "ids that are texts": """
        CREATE TABLE assets_registry (id TEXT PRIMARY KEY, type TEXT NOT NULL, path TEXT NOT NULL,
            hash TEXT, bytes INTEGER, meta_json TEXT, created_at TEXT);
        INSERT INTO assets_registry VALUES ('mara', 'characters', 'mara.png', NULL, 5, NULL, NULL);
    """,
    "an id twice": """
        CREATE TABLE assets_registry (id INTEGER, type TEXT, path TEXT, hash TEXT, bytes INTEGER,
            meta_json TEXT, created_at TEXT);
        INSERT INTO assets_registry (id, path) VALUES (1, 'a.png'), (1, 'b.png');
    """,
    "a view": """
        CREATE TABLE art (id INTEGER PRIMARY KEY, type, path, hash, bytes, meta_json, created_at);
        CREATE VIEW assets_registry AS SELECT * FROM art;
    """,
    "provenance alone": "CREATE TABLE provenance (asset_id INTEGER PRIMARY KEY, seed TEXT);",
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "comfyvn" / "data" / "comfyvn.db"


@pytest.fixture
def open_ledger(path: Path) -> Iterator[Callable[..., Ledger]]:
    engines: list[Engine] = []

    def open_one(project: str = "default", at: Path = path, **arguments: Any) -> Ledger:
        engines.append(open_engine(at, **{"durability": "off", **arguments}))
        return Ledger(engines[-1], project, "tester")

    yield open_one
    for engine in engines:
        engine.close()


@pytest.fixture
def ledger(open_ledger: Callable[..., Ledger]) -> Ledger:
    return open_ledger()


def run_sql(path: Path, script: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(script)
        connection.commit()


def dump(path: Path) -> list[str]:
    """Return a database as SQL."""
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
        return list(connection.iterdump())


def objects_of(path: Path) -> dict[str, tuple[str, str | None, list[Any]]]:
    """Return every table, index, view and trigger with its kind, its text and its rows."""
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
        found = connection.execute("SELECT name, type, sql FROM sqlite_master").fetchall()
        return {
            name: (
                kind,
                text,
                connection.execute(f"SELECT * FROM {name}").fetchall() if kind == "table" else [],
            )
            for name, kind, text in found
        }


def run_processes(script: str, path: Path, count: int) -> list[str]:
    """Run a script in processes that start their work together; return what each printed."""
    head = "import sys\nfrom pathlib import Path\nfrom comfyvn.db import *\npath = Path(sys.argv[1])\n"
    head += "print('ready', flush=True)\nsys.stdin.readline()\n"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", head + script, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(count)
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        results = [process.communicate(timeout=TIMEOUT_S) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait(TIMEOUT_S)
    assert [
        (process.returncode, errors) for process, (_, errors) in zip(processes, results, strict=True)
    ] == [(0, "")] * count
    return [output for output, _ in results]


def make(number: int, **changes: Any) -> Asset:
    """Make an asset whose uid, key and digest follow from a number; ``meta`` is parsed as a caller's."""
    uid = f"{number:016x}"
    asset = Asset(
        id=number,
        project_id=changes.get("project_id", "default"),
        uid=uid,
        type="characters",
        key=f"characters/{number}.png",
        digest=f"{number:064x}",
        size_bytes=number,
        facts=parse_facts(changes.pop("meta", None)),
        created_at="2026-11-22 15:00:00",
        updated_at="2026-11-22 15:00:01",
    )
    return replace(asset, **changes)


def provenance_of(asset: Asset, number: int, **changes: Any) -> Provenance:
    row = Provenance(
        number, asset.id, asset.uid, "comfyui", "9c", None, {"seed": 1}, {"c": 2}, "jd", "2026-11-22 15:00:00"
    )
    return replace(row, **changes)


def insert(ledger: Ledger, *assets: Asset) -> None:
    with ledger.write() as rows:
        rows.insert(assets)


def found(ledger: Ledger, **wanted: Any) -> list[int]:
    with ledger.read() as rows:
        listed = [asset.id for asset in rows.find(AssetFilter.build(**wanted))]
        assert rows.count(AssetFilter.build(**wanted)) == len(listed)
        return listed


# -- opening ------------------------------------------------------------------------------------------


def test_a_new_ledger_runs_in_wal_mode_at_the_newest_schema(ledger: Ledger, path: Path) -> None:
    """A reader would wait for every writer."""
    facts, faults = inspect_ledger(path)

    assert facts["journal_mode"] == "wal"
    assert facts["schema"] == HEAD
    assert faults == []


def test_the_migrations_make_the_declared_tables(ledger: Ledger, path: Path) -> None:
    """New ledgers and code would disagree on a column or an index."""
    made = sa.create_engine(f"sqlite:///{path}")
    with made.connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={
                "compare_type": True,
                "compare_server_default": True,
                "include_name": lambda name, kind, _: kind != "table" or name in schema.metadata.tables,
            },
        )
        differences = compare_metadata(context, schema.metadata)
    made.dispose()

    assert differences == []


def test_the_migrations_make_what_the_declared_tables_would_make(ledger: Ledger, tmp_path: Path) -> None:
    """Alembic's comparison overlooks primary keys, AUTOINCREMENT, WITHOUT ROWID and the search index."""

    def shape(connection: sqlite3.Connection) -> dict[str, Any]:
        tables = {
            name: (is_without_rowid, "AUTOINCREMENT" in (text or ""))
            for name, is_without_rowid, text in connection.execute(
                "SELECT l.name, l.wr, m.sql FROM pragma_table_list l JOIN sqlite_master m ON m.name = l.name"
            )
            if name in schema.metadata.tables
        }
        return {
            name: (
                kind,
                sorted(connection.execute("SELECT * FROM pragma_table_info(?) ORDER BY name", (name,))),
                sorted(
                    (is_unique, connection.execute(f"PRAGMA index_info({index})").fetchall())
                    for _, index, is_unique, *_ in connection.execute(f"PRAGMA index_list({name})")
                ),
            )
            for name, kind in tables.items()
        }

    def search(connection: sqlite3.Connection) -> list[Any]:
        query = "SELECT name, sql FROM sqlite_master WHERE name LIKE 'asset_search%' ORDER BY name"
        return connection.execute(query).fetchall()

    place = tmp_path / "declared.db"
    declared = sa.create_engine(f"sqlite:///{place}")
    schema.metadata.create_all(declared)
    declared.dispose()

    with closing(sqlite3.connect(place)) as wanted, ledger.engine.read() as made:
        for statement in schema.SEARCH:
            wanted.execute(statement)
        assert shape(made) == shape(wanted)
        assert set(shape(made)) == set(schema.metadata.tables)
        assert search(made) == search(wanted)


def test_ids_of_removed_rows_are_not_given_again(ledger: Ledger) -> None:
    """A new journal entry would get the number of one that a reader has already seen."""
    entry = JournalEntry("asset_registered", "0" * 16, 1, 1)
    with ledger.write() as rows:
        rows.record([entry, entry])
    with ledger.engine.write() as connection:
        connection.execute("DELETE FROM asset_journal")
    with ledger.write() as rows:
        rows.record([entry])

    with ledger.engine.read() as connection:
        assert connection.execute("SELECT seq FROM asset_journal").fetchall() == [(3,)]


def test_opening_again_changes_nothing(open_ledger: Callable[..., Ledger], path: Path) -> None:
    """Each start of a program would cost a migration."""
    first = open_ledger()
    insert(first, make(1))
    first.engine.close()
    before = dump(path)

    open_ledger().engine.close()

    assert dump(path) == before


@pytest.mark.parametrize("name", ["a ?#%&=.db", "夏.db", "a;b.db", "file:x.db"])
def test_a_ledger_may_have_any_name(name: str, tmp_path: Path, open_ledger: Callable[..., Ledger]) -> None:
    """A project folder with a ? in its name would have its ledger elsewhere."""
    ledger = open_ledger(at=tmp_path / "why? #1" / name)

    insert(ledger, make(1))

    assert found(ledger) == [1]
    assert (tmp_path / "why? #1" / name).is_file()
    assert inspect_ledger(tmp_path / "why? #1" / name)[0]["schema"] == HEAD


def test_opening_an_up_to_date_ledger_does_not_import_alembic(ledger: Ledger, path: Path) -> None:
    """Every command would start a quarter of a second later."""
    script = """
engine = open_engine(path)
with engine.read() as connection:
    assert connection.execute("SELECT count(*) FROM assets_registry").fetchone()[0] == 0
engine.close()
print("alembic" in sys.modules)
"""

    assert run_processes(script, path, 1) == ["False\n"]


def test_several_processes_may_open_a_fresh_ledger_at_once(path: Path) -> None:
    """Two programs started together once crashed each other."""
    script = """
ledger = Ledger(open_engine(path), "default", None)
with ledger.read() as rows:
    print(rows.count())
ledger.engine.close()
"""

    assert run_processes(script, path, 4) == ["0\n"] * 4


def test_threads_may_open_one_fresh_ledger_at_once(open_ledger: Callable[..., Ledger]) -> None:
    """A server's first two requests would crash each other."""
    run_all(*[open_ledger] * 6)

    assert found(open_ledger()) == []


def test_threads_may_open_different_fresh_ledgers_at_once(tmp_path: Path) -> None:
    """Alembic keeps the migration at hand in globals: one thread would use the other's connection.

    In a process of its own, since that ends it with a segmentation fault.
    """
    script = """
import threading
failed = []
def work(number):
    try:
        open_engine(path.with_name(f"{number}.db")).close()
    except BaseException as error:
        failed.append(error)
for turn in range(3):
    threads = [threading.Thread(target=work, args=(f"{turn}-{each}",)) for each in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
print(failed)
"""

    assert run_processes(script, tmp_path / "x.db", 1) == ["[]\n"]
    assert {inspect_ledger(made)[0]["schema"] for made in tmp_path.glob("*-*.db")} == {HEAD}


# -- what is not ours ---------------------------------------------------------------------------------


def test_tables_of_other_parts_in_the_same_file_are_left_as_they_are(
    path: Path, open_ledger: Callable[..., Ledger]
) -> None:
    """Scenes, characters and settings of a maker would be lost or changed."""
    run_sql(path, FOREIGN)
    before = objects_of(path)

    ledger = open_ledger()
    asset = make(1, meta={"tags": ["a"]})
    insert(ledger, asset)
    with ledger.write() as rows:
        rows.update([asset])
        rows.remove(asset)
    open_ledger().engine.close()
    ledger.engine.close()

    after = objects_of(path)
    assert {name: after[name] for name in before} == before
    assert before["alembic_version"][2] == [("of another program",)]
    ours = {name for name, (kind, _, _) in after.items() if kind == "table"} - before.keys()
    ours = {name for name in ours if not name.startswith("asset_search_")}  # what FTS5 keeps
    assert ours - {"sqlite_sequence"} == {*schema.metadata.tables, VERSION_TABLE, "asset_search"}


@pytest.mark.parametrize("shape", UNKNOWN)
@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_a_database_with_asset_tables_of_no_release_is_refused_and_left_untouched(
    shape: str, mode: str, path: Path
) -> None:
    """A guess at what its columns mean would lose what they held."""
    run_sql(path, f"PRAGMA journal_mode = {mode};" + FOREIGN + UNKNOWN[shape])
    before = path.read_bytes()

    for _ in range(2):
        with pytest.raises(OlderLibrary, match="neither this nor an older ComfyVN release") as caught:
            open_engine(path)

    assert path.read_bytes() == before
    assert [each.name for each in path.parent.iterdir()] == [path.name]
    assert caught.value.exit_code == 5
    assert "with the columns" in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_ledger_of_a_newer_release_is_refused(ledger: Ledger, path: Path) -> None:
    """An old program would write rows that the new one does not understand."""
    ledger.engine.close()
    run_sql(path, f"UPDATE {VERSION_TABLE} SET version_num = '9999'")
    before = dump(path)

    with pytest.raises(RegistryUnusable, match=r"newer comfyvn wrote it \(schema 9999.*Upgrade comfyvn"):
        open_engine(path)

    assert dump(path) == before


@pytest.mark.parametrize("content", [b"This is a diary.\n" * 100, b"SQLite format 3\0" + b"\xff" * 4080])
def test_a_file_that_is_no_database_is_refused_and_left_untouched(path: Path, content: bytes) -> None:
    """A mistyped COMFYVN_DB would cost the user a file, or show a traceback."""
    path.parent.mkdir(parents=True)
    path.write_bytes(content)

    with pytest.raises(RegistryUnusable, match="no SQLite database") as caught:
        open_engine(path)

    assert path.read_bytes() == content
    assert caught.value.exit_code == 5
    assert not isinstance(caught.value, RegistryBusy)


def test_a_folder_in_place_of_the_ledger_is_named(path: Path) -> None:
    """The user would see a traceback of the driver."""
    path.mkdir(parents=True)

    with pytest.raises(RegistryUnusable, match=r"comfyvn\.db: this is a folder, not a database"):
        open_engine(path)

    assert list(path.iterdir()) == []


@pytest.mark.parametrize("depth", [1, 2])
def test_a_file_in_place_of_the_ledgers_folder_is_named(path: Path, depth: int) -> None:
    """The user would see a traceback of the system."""
    in_the_way = path.parents[depth - 1]
    in_the_way.parent.mkdir(parents=True, exist_ok=True)
    in_the_way.write_text("a note")

    with pytest.raises(RegistryUnusable, match="its folder can't be made"):
        open_engine(path)

    assert in_the_way.read_text() == "a note"


@pytest.mark.parametrize("page", [2, 12])
def test_a_damaged_ledger_is_named_with_the_way_out(
    page: int, ledger: Ledger, open_ledger: Callable[..., Ledger], path: Path
) -> None:
    """The user would not know that files and sidecars hold all of it."""
    insert(ledger, *(make(number) for number in range(1, 200)))
    ledger.engine.close()
    content = bytearray(path.read_bytes())
    start = 4096 * (page - 1)
    content[start:] = b"\xaa" * (len(content) - start)
    path.write_bytes(content)

    with pytest.raises(RegistryUnusable, match=r"this database is damaged.*comfyvn rebuild"):
        found(open_ledger(), text="png")

    assert path.read_bytes() == content


def test_what_sqlite_finds_wrong_is_told(ledger: Ledger, path: Path) -> None:
    """`comfyvn doctor` would call a damaged ledger sound."""
    insert(ledger, *(make(number) for number in range(1, 200)))
    ledger.engine.close()
    with closing(sqlite3.connect(path)) as connection:
        query = "SELECT rootpage FROM sqlite_master WHERE name = 'ix_assets_registry_path_fold'"
        page = connection.execute(query).fetchone()[0]
    content = bytearray(path.read_bytes())
    content[4096 * (page - 1) : 4096 * page] = b"\xaa" * 4096
    path.write_bytes(content)

    facts, faults = inspect_ledger(path)

    assert facts["schema"] == HEAD
    assert faults


def test_a_sqlite_without_the_search_index_is_named(ledger: Ledger) -> None:
    """A user of an old Python would read "no such tokenizer"."""
    with (
        pytest.raises(RegistryUnusable, match="no full-text index of trigrams"),
        ledger.engine.write() as rows,
    ):
        rows.execute("CREATE VIRTUAL TABLE other USING fts5(text, tokenize='of tomorrow')")


def test_a_full_disk_is_named_and_nothing_is_half_written(ledger: Ledger) -> None:
    """The user would see an error of the driver, and half a batch."""
    insert(ledger, make(1))
    with ledger.engine.read() as connection:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]

    def fill() -> None:
        with ledger.write() as rows:
            rows._connection.execute(f"PRAGMA max_page_count = {pages}")
            rows.insert([make(number, meta={"text": "x" * 2000}) for number in range(2, 200)])

    with pytest.raises(RegistryUnusable, match="the disk is full"):
        fill()

    assert found(ledger) == [1]


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_a_fresh_file_that_another_program_keeps_locked_is_named(path: Path, mode: str) -> None:
    """`database is locked` would reach the user."""
    run_sql(path, f"PRAGMA journal_mode = {mode}; CREATE TABLE scenes (id INTEGER PRIMARY KEY);")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        other.execute("INSERT INTO scenes VALUES (1)")

        with pytest.raises(RegistryBusy, match=r"locked for 0\.1 s"):
            open_engine(path, busy_timeout_s=0.1)

        other.execute("ROLLBACK")
    open_engine(path, durability="off").close()


def test_a_ledger_that_another_process_keeps_locked_is_named_and_can_still_be_read(
    open_ledger: Callable[..., Ledger], path: Path
) -> None:
    """`database is locked` would reach the user, or a list would wait for a writer."""
    ledger = open_ledger(busy_timeout_s=0.1)
    insert(ledger, make(1))
    holder = f"""
import sqlite3, sys
connection = sqlite3.connect({str(path)!r}, isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", holder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"

        with pytest.raises(RegistryBusy) as caught, ledger.write():
            pytest.fail("the lock is somebody else's")
        readable = found(ledger)
        process.communicate(timeout=TIMEOUT_S)

    assert "has kept the ledger locked for 0.1 s" in str(caught.value)
    assert caught.value.exit_code == 5
    assert readable == [1]
    insert(ledger, make(2))
    assert found(ledger) == [2, 1]


def test_an_error_of_ours_is_not_taken_for_one_of_the_disk(ledger: Ledger) -> None:
    """A fault in a statement would be hidden behind a wrong explanation."""
    with pytest.raises(sqlite3.OperationalError, match="no such table"), ledger.engine.read() as connection:
        connection.execute("SELECT * FROM nowhere")


@pytest.mark.parametrize("mode", ["delete", "wal"])
@pytest.mark.parametrize(
    ("script", "shape"), [("", "none yet"), (UNKNOWN["columns missing"], "of an older release")]
)
def test_looking_at_a_ledger_changes_nothing(path: Path, mode: str, script: str, shape: str) -> None:
    """`comfyvn doctor` would change the mode of a database that it only describes."""
    run_sql(path, f"PRAGMA journal_mode = {mode};" + FOREIGN + script)
    before = path.read_bytes()

    facts, faults = inspect_ledger(path)

    assert (facts["schema"], faults) == (shape, [])
    assert (facts["journal_mode"] == "wal") == (mode == "wal")
    assert path.read_bytes() == before
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_looking_at_a_ledger_that_is_not_there_does_not_make_it(tmp_path: Path) -> None:
    """A mistyped path would leave an empty database behind."""
    with pytest.raises(RegistryUnusable, match="SQLite can't read it"):
        inspect_ledger(tmp_path / "gone.db")

    assert not (tmp_path / "gone.db").exists()


# -- ids ----------------------------------------------------------------------------------------------


def test_reserved_ids_are_unique_and_grow_over_threads(ledger: Ledger) -> None:
    """Two assets would get one id, and one would inherit the other's provenance."""
    reserved: list[range] = []
    floor = id_floor()

    def work() -> None:
        mine = [ledger.reserve_ids(1 + turn % 3) for turn in range(25)]
        assert all(one[-1] < other[0] for one, other in itertools.pairwise(mine))
        reserved.extend(mine)

    run_all(*[work] * 4)

    ids = [each for some in reserved for each in some]
    assert len(set(ids)) == len(ids) == 4 * sum(1 + turn % 3 for turn in range(25))
    assert floor <= min(ids)
    assert max(ids) < 2**53


def test_reserved_ids_are_unique_over_processes_that_start_on_a_fresh_ledger(path: Path) -> None:
    """Two programs started together would mint the same ids, or crash each other."""
    script = """
ledger = Ledger(open_engine(path), "default", None)
for turn in range(40):
    some = ledger.reserve_ids(3)
    print(some.start, some.stop)
ledger.engine.close()
"""

    outputs = run_processes(script, path, 4)

    printed = [[tuple(map(int, line.split())) for line in output.splitlines()] for output in outputs]
    ids = [each for mine in printed for start, stop in mine for each in range(start, stop)]
    assert len(ids) == len(set(ids)) == 4 * 40 * 3
    assert max(ids) < 2**53
    assert all(mine == sorted(mine) for mine in printed)


def test_ids_go_on_from_a_clock_that_was_ahead(
    ledger: Ledger, open_ledger: Callable[..., Ledger], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the clock is put right, ids would be given a second time."""
    monkeypatch.setattr("time.time", lambda: 1_900_000_000.0)
    ahead = ledger.reserve_ids(5)
    monkeypatch.undo()

    after = open_ledger("another project").reserve_ids(1)

    assert after[0] == ahead[-1] + 1


def test_ids_are_new_though_the_reservation_was_lost(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """A power cut may lose the reservation: the clock must keep the ids apart."""
    first = ledger.reserve_ids(1000)
    with ledger.engine.write() as connection:
        connection.execute("DELETE FROM asset_ids")
    after_the_power_cut = time.time() + 1
    monkeypatch.setattr("time.time", lambda: after_the_power_cut)

    assert ledger.reserve_ids(1)[0] > first[-1]


# -- transactions -------------------------------------------------------------------------------------


def test_a_write_that_fails_leaves_nothing(ledger: Ledger) -> None:
    """Half of a change would stay."""
    insert(ledger, make(1))

    def change() -> None:
        with ledger.write() as rows:
            rows.insert([make(2, meta={"tags": ["new"]})])
            rows.update([replace(make(1), type="changed")])
            rows.record([JournalEntry("asset_registered", "0" * 16, 2, 2)])
            assert rows.count() == 2
            raise RuntimeError("half-way")

    with pytest.raises(RuntimeError, match="half-way"):
        change()

    assert found(ledger) == [1]
    with ledger.read() as rows:
        assert rows.asset_with_id(1) == replace(make(1), versions=make(1).all_versions)
    with ledger.engine.read() as connection:
        for table in ("asset_journal", "asset_versions WHERE asset_id = 2"):
            assert connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] == 0
        terms = connection.execute("SELECT kind, name, count FROM asset_terms ORDER BY kind").fetchall()
    assert terms == [("license", "", 1), ("tag", "", 1), ("type", "characters", 1)]


def test_a_batch_with_one_bad_row_leaves_nothing(ledger: Ledger) -> None:
    """A uid would belong to two assets."""
    twin = replace(make(3), uid=make(2).uid)

    with pytest.raises(LedgerConflict), ledger.write() as rows:
        rows.insert([make(1), make(2), twin])

    assert found(ledger) == []


def test_a_reader_sees_one_state_while_others_write(
    ledger: Ledger, open_ledger: Callable[..., Ledger]
) -> None:
    """A list and its count would disagree."""
    insert(ledger, make(1))
    other = open_ledger()

    with ledger.read() as rows:
        assert rows.count() == 1
        insert(other, make(2))
        assert rows.count() == 1

    assert found(ledger) == [2, 1]


def test_writers_in_threads_and_processes_lose_no_update(ledger: Ledger, path: Path) -> None:
    """A transaction that reads first and locks later fails when another was faster."""
    script = """
ledger = Ledger(open_engine(path), "default", None)
for turn in range(30):
    with ledger.write() as rows:
        asset = rows.asset("0000000000000001")
        count = asset.facts.meta["count"] + 1
        facts = dataclasses.replace(asset.facts, meta={"count": count})
        rows.update([dataclasses.replace(asset, facts=facts)])
ledger.engine.close()
"""
    insert(ledger, make(1, meta={"count": 0}))

    def work() -> None:
        run_processes("import dataclasses\n" + script, path, 2)

    def count_up() -> None:
        for _ in range(30):
            with ledger.write() as rows:
                asset = rows.asset("0000000000000001")
                assert asset is not None
                facts = replace(asset.facts, meta={"count": asset.facts.meta["count"] + 1})
                rows.update([replace(asset, facts=facts)])

    run_all(work, count_up, count_up)

    with ledger.read() as rows:
        asset = rows.asset("0000000000000001")
    assert asset is not None
    assert asset.facts.meta == {"count": 120}


@pytest.mark.parametrize(
    ("durability", "durable", "lasting"), [("full", 2, 1), ("batch", 2, 1), ("off", 0, 0)]
)
def test_a_commit_waits_for_the_disk_as_the_setting_says(
    durability: str, durable: int, lasting: int, open_ledger: Callable[..., Ledger]
) -> None:
    """What was reported would not survive a power cut, or tests would wait for the disk."""
    ledger = open_ledger(durability=durability)

    for is_durable, level in ((True, durable), (False, lasting), (True, durable)):
        with ledger.engine.write(is_durable=is_durable) as connection:
            assert connection.execute("PRAGMA synchronous").fetchone()[0] == level


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_uses_connections_of_its_own(ledger: Ledger) -> None:
    """SQLite forbids to use a connection across a fork: the database would be damaged."""
    insert(ledger, make(1))

    child = os.fork()
    if child == 0:  # pragma: no cover - another process
        code = 1
        try:
            insert(ledger, make(2))
            code = 0 if found(ledger) == [2, 1] else 2
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 0
    assert found(ledger) == [2, 1]


# -- rows ---------------------------------------------------------------------------------------------


def test_values_that_only_the_slower_writer_of_json_can_write_come_back_as_they_were(ledger: Ledger) -> None:
    """A key that we don't know in a sidecar is kept verbatim, also a number of more than 64 bits."""
    nested: list[Any] = []
    for _ in range(300):
        nested = [nested]
    facts = replace(parse_facts({"seed": 0.1, "cfg": 1e-7}), extra={"big": 2**70, "nested": nested})
    insert(ledger, replace(make(1), facts=facts))

    with ledger.read() as rows:
        read = rows.asset(f"{1:016x}")

    assert read is not None
    assert read.facts == facts


text = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=8)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=6,
)
metas = st.dictionaries(text.map("k".__add__), values, max_size=4)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(metas, st.lists(text, max_size=4), metas, st.none() | text)
def test_an_asset_comes_back_as_it_was_written(
    ledger: Ledger, meta: dict[str, Any], tags: list[str], extra: dict[str, Any], license: str | None
) -> None:
    """What the ledger answers would differ from what the sidecar says."""
    number = ledger.reserve_ids(1)[0]
    facts = replace(parse_facts({**meta, "tags": tags, "license": license}), extra=extra)
    plain = make(
        number,
        facts=facts,
        version=3,
        preview=Preview("thumbnail", "failed", "it is cut short", 2, "cache/thumbs/x_256.webp"),
        mirror_key="characters/1.json",
        file=FileStat(10, 2**62, 2**63 - 1),
        sidecar_file=FileStat(0, 1, 2),
        is_in_place=True,
        missing_since="2026-11-22 15:00:02",
    )
    older = provenance_of(plain, ledger.reserve_ids(1)[0], inputs=meta)
    newest = provenance_of(plain, ledger.reserve_ids(1)[0], workflow_hash=None, c2pa_like=extra, user_id=None)
    asset = replace(plain, provenance=newest, provenance_history=(older,))
    older_content = Version(1, "0" * 64, 7, "2026-11-21 15:00:00", older.id)
    asset = replace(asset, versions=(*asset.all_versions, older_content))

    insert(ledger, asset)

    with ledger.read() as rows:
        assert rows.asset(asset.uid) == asset
        assert rows.asset_at(asset.key) == asset
        assert rows.asset_with_id(asset.id) == asset
        assert list(rows.assets([asset.uid, "unknown"])) == [asset]
        listed = rows.owners([asset.key, "unknown"])[asset.key]
        read = rows.asset(asset.uid)
    assert read is not None
    assert list(read.facts.meta) == list(facts.meta)
    bare = replace(newest, inputs={}, c2pa_like={})
    assert listed == replace(asset, provenance=bare, provenance_history=(), versions=())


def test_metadata_keeps_the_order_of_its_keys(ledger: Ledger) -> None:
    """A sidecar's lines would change places with the first edit: noise in git."""
    meta = {"z": 1, "a": {"y": 1, "b": 2}}
    insert(ledger, replace(make(1), facts=Facts(meta=meta, extra={"x": 1, "c": 2})))

    with ledger.read() as rows:
        asset = rows.asset_with_id(1)

    assert asset is not None
    assert (list(asset.facts.meta), list(asset.facts.meta["a"])) == (["z", "a"], ["y", "b"])
    assert list(asset.facts.extra) == ["x", "c"]


def test_the_queries_of_the_manual_run(ledger: Ledger) -> None:
    """The documented tables and columns are a promise to people with an SQL prompt."""
    asset = make(1, meta={"artist": "J. Doe", "tags": ["夏"]})
    insert(ledger, replace(asset, provenance=provenance_of(asset, 7)))

    with closing(sqlite3.connect(ledger.engine.path)) as connection:
        rows = connection.execute(
            "SELECT a.id, a.project_id, a.uid, a.type, a.path_full, a.path_thumb, a.hash, a.bytes, "
            "json_extract(a.meta, '$.artist'), json_extract(a.meta, '$.tags[0]'), a.meta LIKE '%夏%', "
            "p.source, p.workflow_hash, p.commit_hash, json_extract(p.inputs_json, '$.seed'), p.user_id "
            "FROM assets_registry a JOIN provenance p ON p.asset_id = a.id"
        ).fetchall()

    assert rows == [
        (
            *(1, "default", f"{1:016x}", "characters", "characters/1.png", None, f"{1:064x}", 1),
            *("J. Doe", "夏", 1, "comfyui", "9c", None, 1, "jd"),
        )
    ]


def test_an_update_replaces_tags_and_search_text_and_keeps_provenance_and_versions(ledger: Ledger) -> None:
    """A removed tag would still be found, or provenance be lost with an edit."""
    asset = make(1, meta={"tags": ["old", "both"], "artist": "before"})
    asset = replace(asset, provenance=provenance_of(asset, 7))
    insert(ledger, asset)

    with ledger.write() as rows:
        rows.update(
            [replace(asset, key="b/new.png", facts=parse_facts({"tags": ["both", "new"], "artist": "after"}))]
        )

    assert (
        found(ledger, tags="old") == found(ledger, text="before") == found(ledger, text="characters/1") == []
    )
    assert (
        found(ledger, tags=["NEW", "both"])
        == found(ledger, text="after")
        == found(ledger, text="b/new")
        == [1]
    )
    with ledger.read() as rows:
        assert [row.id for row in rows.provenance_of(asset.uid)] == [7]
        known = rows.known(asset.digest)
    assert known is not None
    assert known.key == "b/new.png"


def test_many_assets_are_updated_each_with_its_own_values(ledger: Ledger) -> None:
    """A bulk edit would give all assets the values of one, or mix up their tags."""
    assets = [make(number, meta={"tags": ["old", f"own {number}"]}) for number in range(1, 6)]
    insert(ledger, *assets)
    changed = [
        replace(asset, type=f"type {asset.id}", facts=replace(asset.facts, tags=(f"own {asset.id}", "new")))
        for asset in assets[:4]
    ]

    with ledger.write() as rows:
        rows.update(changed)
        rows.update([])

    with ledger.read() as rows:
        assert rows.find(AssetFilter()) == [assets[4], *reversed(changed)]
    assert (found(ledger, tags="new"), found(ledger, tags="old")) == ([4, 3, 2, 1], [5])
    assert found(ledger, tags=["new", "own 3"]) == found(ledger, text="own 3") == [3]


def test_removing_keeps_the_provenance_and_nothing_else(ledger: Ledger) -> None:
    """A new asset once inherited the provenance of a removed one, or the history was gone."""
    asset = make(1, meta={"tags": ["a"], "artist": "J. Doe"})
    asset = replace(asset, provenance=provenance_of(asset, 7))
    insert(ledger, asset)

    with ledger.write() as rows:
        rows.remove(asset)

    assert found(ledger) == found(ledger, tags="a") == found(ledger, text="Doe") == []
    with ledger.read() as rows:
        assert [(row.id, row.asset_uid) for row in rows.provenance_of(asset.uid)] == [(7, asset.uid)]
        assert rows.taken_provenance_ids([6, 7]) == {7: asset.uid}
        assert rows.known(asset.digest) is None
        assert not rows.has_id(1)
    insert(ledger, make(2))
    with ledger.read() as rows:
        second = rows.asset_with_id(2)
    assert second is not None
    assert second.provenance is None


def test_every_version_of_a_content_is_known_the_present_one_first(ledger: Ledger) -> None:
    """An older picture that comes in again would become a second asset."""
    first, second = make(1), make(2)
    insert(ledger, first, second)
    repainted = replace(first, digest=second.digest, version=2)

    with ledger.write() as rows:
        rows.update([repainted])
        rows.add_versions(repainted, repainted.all_versions)
        rows.update([replace(second, digest="f" * 64, version=2)])

    with ledger.read() as rows:
        old, shared = rows.known(first.digest), rows.known(second.digest)
        assert rows.known("e" * 64) is None
    assert old is not None
    assert shared is not None
    assert (old.id, shared.id) == (1, 1)


def test_a_uid_that_is_taken_is_lengthened(ledger: Ledger) -> None:
    """Two contents that begin alike could not both be registered."""
    digest = "3f1a0c22b7d94e10" + "0" * 48

    for length in (16, 20, 24):
        with ledger.write() as rows:
            uid = rows.free_uid(digest)
            rows.insert([make(length, uid=uid, digest="f" * 64)])
        assert uid == digest[:length]


@pytest.mark.parametrize("key", ["Characters/MARA.png", "characters/mara.PNG"])
def test_a_key_that_some_systems_hold_to_be_the_same_is_taken(ledger: Ledger, key: str) -> None:
    """On Windows and macOS one asset would overwrite the other."""
    asset = make(1, key="characters/mara.png")
    insert(ledger, asset)

    with ledger.read() as rows:
        assert rows.is_taken(key)
        assert not rows.is_taken("characters/mira.png")
        taken = rows.taken(["2" * 16], [key], [f"{2:064x}"])
    assert taken == Taken(
        frozenset(), frozenset([asset.key]), frozenset(["characters/mara.png"]), frozenset()
    )


def test_what_a_batch_would_meet_is_told_at_once(ledger: Ledger) -> None:
    """A file that another process registered meanwhile would be registered twice, or fail its batch."""
    old = make(1)
    repainted = replace(old, digest="f" * 64, version=2)
    insert(ledger, old)
    with ledger.write() as rows:
        rows.update([repainted])
        rows.add_versions(repainted, repainted.all_versions)

    with ledger.read() as rows:
        met = rows.taken([old.uid, make(5).uid], [make(5).key], [old.digest, "f" * 64, make(5).digest])
        nothing = rows.taken([], [], [])

    assert (met.uids, met.keys, met.digests) == ({old.uid}, frozenset(), {old.digest, "f" * 64})
    assert nothing == Taken(frozenset(), frozenset(), frozenset(), frozenset())


@pytest.mark.parametrize(
    ("where", "ids"),
    [
        ("width>=1024", [3, 1]),
        ("width > 1024", [3]),
        ("width<1024", [2]),
        ("width!=1024", [3, 2]),
        ("width=1024", [1]),
        ("has_alpha=true", [2]),
        ("has_alpha=False", [1]),
        ("has_alpha!=true", [1]),
        ("codec=OPUS", [4]),
        ("codec!=opus", []),
        ("tags.title=Été", [4]),
        ("tags.title>3", []),
        ("codec=1", []),
        (["width>=1024", "has_alpha=false"], [1]),
        ("nothing=1", []),
    ],
)
def test_assets_are_found_by_what_their_files_tell(ledger: Ledger, where: str, ids: list[int]) -> None:
    """Nobody could list the pictures that are too small, or the sounds that are too long."""
    insert(
        ledger,
        make(1, media={"width": 1024, "has_alpha": False}),
        make(2, media={"width": 64, "has_alpha": True}),
        make(3, media={"width": 2048.5}),
        make(4, media={"codec": "opus", "tags": {"title": "Été"}}),
        make(5),
    )

    assert found(ledger, where=where) == ids


@pytest.mark.parametrize("revision", ["0001", "0002", "0004"])
def test_a_ledger_of_an_older_schema_is_brought_to_this_one(
    revision: str, open_ledger: Callable[..., Ledger], tmp_path: Path
) -> None:
    """A library that yesterday's version made could not be opened, or its tags and texts not be found."""
    assets = [
        make(1, meta={"tags": ["Mara", "夏"], "license": "CC-BY-4.0", "note": "at the harbour"}),
        make(2, type="audio", key="audio/2.ogg", meta={"tags": ["mara"], "license": "cc-by-4.0"}),
        make(3, project_id="other", meta={"tags": ["夏"]}),
        make(4),
    ]
    old, new = tmp_path / "old.db", open_ledger(at=tmp_path / "new.db")
    make_older_ledger(old, revision, assets)
    insert(new, *(asset for asset in assets if asset.project_id == "default"))

    upgraded = open_ledger(at=old)

    for wanted in (
        {"tags": "MARA"},
        {"license": "cc-by-4.0"},
        {"license": ""},
        {"text": "harb"},
        {"text": "夏"},
        {"problems": "no-tags"},
        {"problems": "no-license"},
        {"problems": ["no-sidecar", "no-tags"]},
        {"not_tags": "mara"},
    ):
        assert found(upgraded, **wanted) == found(new, **wanted) != []
    with upgraded.read() as after, new.read() as fresh:
        assert after.facets(AssetFilter(), 10) == fresh.facets(AssetFilter(), 10)
        assert after.facets(AssetFilter.build(tags="mara"), 9) == fresh.facets(
            AssetFilter.build(tags="mara"), 9
        )
    with upgraded.write() as rows:
        rows.set_previews([make(1, media={"width": 5})])
        rows.update([make(2), make(4, meta={"tags": ["new"]})])
    assert found(upgraded, where="width=5") == [1]
    assert found(upgraded, tags="mara") == [1]
    assert found(upgraded, problems="no-tags") == [2]
    assert inspect_ledger(old)[0]["schema"] == HEAD


@pytest.mark.skipif(sys.platform == "win32", reason="rights of POSIX")
def test_an_older_ledger_that_cannot_be_written_to_says_what_to_do() -> None:
    """Its user would not learn that a copy in another place can be read."""
    script = """
import os, sys
from pathlib import Path
from comfyvn.db import open_engine
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
        path = Path(folder) / "old.db"
        make_older_ledger(path, "0002", [make(1)])
        before = path.read_bytes()
        path.chmod(0o444)

        command = [sys.executable, "-c", script, str(path)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)

        assert "an older version of comfyvn wrote it" in done.stdout, done.stderr
        assert "Copy the library elsewhere" in done.stdout
        assert path.read_bytes() == before


def make_older_ledger(path: Path, revision: str, assets: Sequence[Asset]) -> None:
    """Write a ledger as an older version of ours did, by the migrations of its day.

    What later revisions than 0002 have is what they make of that.
    """
    migrate(path, min(revision, "0002"))
    tags = {}
    with closing(sqlite3.connect(path)) as connection, connection:
        for asset in assets:
            facts = asset.facts
            row = {
                "id": asset.id,
                "project_id": asset.project_id,
                "uid": asset.uid,
                "type": asset.type,
                "path_full": asset.key,
                "path_fold": fold(asset.key),
                "hash": asset.digest,
                "bytes": 1,
                "license_fold": fold(facts.license) if facts.license else None,
                "meta": json.dumps(facts.as_meta(1)),
            }
            names = ", ".join(row)
            marks = ", ".join("?" * len(row))
            connection.execute(f"INSERT INTO assets_registry ({names}) VALUES ({marks})", list(row.values()))
            texts = [asset.key, *facts.tags, facts.license or "", *map(str, facts.meta.values())]
            text = fold("\n".join(texts))
            connection.execute("INSERT INTO asset_text VALUES (?, ?)", (asset.id, text))
            for tag in facts.tags:
                name = (asset.project_id, fold(tag))
                if name not in tags:
                    tags[name] = len(tags) + 1
                    query = "INSERT INTO asset_tags VALUES (?, ?, ?, ?)"
                    connection.execute(query, (tags[name], asset.project_id, fold(tag), tag))
                connection.execute("INSERT INTO asset_tag_links VALUES (?, ?)", (tags[name], asset.id))
    migrate(path, revision)


def migrate(path: Path, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", "comfyvn.db:migrations")
    engine = sa.create_engine(f"sqlite:///{path}")
    with engine.begin() as config.attributes["connection"]:
        command.upgrade(config, revision)
    engine.dispose()


def test_the_state_of_a_preview_is_for_the_content_it_was_made_of(ledger: Ledger) -> None:
    """The preview of an older version would be shown for the newer."""
    insert(ledger, make(1, version=2))
    ready = Preview("thumbnail", "ready", None, 1, "cache/thumbs/x_256.webp")

    facts = {"width": 40, "tags": {"title": "Evening Rain"}}
    made = [make(1, version=2, preview=ready, media=facts), make(9, preview=ready)]

    with ledger.write() as rows:
        rows.set_previews([make(1, version=1, preview=Preview("thumbnail", "failed", "old", 1))])
        before = rows.asset_with_id(1)
        rows.set_previews(made)
        after = rows.asset_with_id(1)
    by_title = found(ledger, text="evening")

    assert before is not None
    assert after is not None
    assert before.preview.state != "failed"
    assert (after.preview, after.media) == (ready, facts)
    assert by_title == [1]


def test_projects_in_one_ledger_do_not_see_each_other(open_ledger: Callable[..., Ledger]) -> None:
    """A second project once could not hold the same content."""
    one, other = open_ledger("one"), open_ledger("other")
    meta = {"tags": ["a"], "license": "MIT"}
    first = make(1, project_id="one", meta=meta)
    twin = replace(make(2, project_id="other", meta=meta), uid=first.uid, key=first.key, digest=first.digest)

    insert(one, first)
    insert(other, twin)

    for ledger, number in ((one, 1), (other, 2)):
        wanted: list[dict[str, Any]] = [
            {},
            {"tags": "A"},
            {"license": "mit"},
            {"hash_value": first.digest},
            {"text": "png"},
        ]
        assert all(found(ledger, **each) == [number] for each in wanted)
        with ledger.read() as rows:
            by_uid, by_digest = rows.asset(first.uid), rows.known(first.digest)
        assert by_uid is not None
        assert by_digest is not None
        assert (by_uid.id, by_digest.id) == (number, number)


def test_a_project_belongs_to_the_first_library_that_claimed_it(open_ledger: Callable[..., Ledger]) -> None:
    """A ledger would accept the files of another library as its own."""
    one, other = open_ledger("one"), open_ledger("other")

    for name in ("first", "second"):
        with one.write() as rows:
            rows.claim_library(name)

    with one.read() as mine, other.read() as theirs:
        assert (mine.library_id(), theirs.library_id()) == ("first", None)


def test_the_journal_keeps_order_actor_and_values(ledger: Ledger) -> None:
    """Undo and history would have nothing to go by."""
    with ledger.write() as rows:
        at = rows.record(
            [
                JournalEntry("asset_registered", "a" * 16, 1, 9, None, {"tags": ["夏"]}),
                JournalEntry("asset_removed", "a" * 16, 1, 9, {"tags": []}, None),
            ]
        )
        assert rows.record([]) >= at

    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", at)
    with ledger.engine.read() as connection:
        stored = connection.execute(
            "SELECT seq, at, actor, event, operation_id, before_json, after_json FROM asset_journal"
        ).fetchall()
    assert stored == [
        (1, at, "tester", "asset_registered", 9, None, '{"tags":["夏"]}'),
        (2, at, "tester", "asset_removed", 9, '{"tags":[]}', None),
    ]


# -- filters ------------------------------------------------------------------------------------------

few_tags = st.lists(st.sampled_from(["Mara", "mara", "night", "夏", 'of the "day"']), max_size=3)
few_licenses = st.sampled_from([None, "MIT", "mit", "CC0-1.0"])
few_types = st.sampled_from(["characters", "audio"])
few_notes = st.sampled_from(["", "At the Harbour", "夏祭りの夜", "a AND b", 'half "quoted', "ab", "straße*"])
few_texts = st.sampled_from(
    ["harb", "祭りの", "夏", "ab", "AND", '"quo', "strasse*", "characters/", "zzz", "b"]
)
few_troubles = st.sampled_from([None, None, "missing", "no-sidecar", "no-thumbnail"])
few_ratings = st.sampled_from([None, 0, 3, 5, 6, "5", True, 4.0])
states = st.tuples(few_types, few_tags, few_licenses, few_notes, few_troubles, few_ratings)
few_names = st.sampled_from(["", "MIT", "cc0-1.0", " mit ", "GPL"])
some_types = few_types | st.lists(st.sampled_from(["characters", "audio", "cg"]), max_size=3)
some_tags = st.lists(st.sampled_from(["MARA", "night", "夏", "nobody"]), max_size=2)
WORKFLOWS = ("aaaaaaaa11", "aaaaaaaa22", "9c")
wishes = st.fixed_dictionaries(
    {},
    optional={
        "asset_type": some_types,
        "tags": few_tags,
        "license": few_names | st.lists(few_names, max_size=3),
        "text": few_texts | st.lists(few_texts, max_size=3),
        "hash_value": st.sampled_from([f"{number:064x}" for number in (1, 2, 99)]),
        "not_types": some_types,
        "not_tags": some_tags,
        "not_licenses": st.lists(few_names, max_size=2),
        "problems": st.lists(st.sampled_from(PROBLEMS), max_size=3),
        "uid": st.sampled_from(["0000", f"{3:016X}", "abcd"]),
        "workflow": st.sampled_from([*WORKFLOWS, "aaaaaaaa", "aaaa", "9", "zzzzzzzzzz"]),
        "min_rating": st.sampled_from([0, 1, 4, 5]),
    },
)


def state_of(
    number: int,
    kind: str,
    tags: list[str],
    license: str | None,
    note: str,
    trouble: str | None,
    rating: Any,
) -> Asset:
    meta = {"tags": tags, "license": license, "note": note} | ({} if rating is None else {"rating": rating})
    asset = make(
        number,
        type=kind,
        meta=meta,
        sidecar_file=None if trouble == "no-sidecar" else FileStat(1, 2, 3),
        missing_since="2026-11-22 15:00:00" if trouble == "missing" else None,
        preview=Preview("thumbnail", "failed" if trouble == "no-thumbnail" else "ready"),
    )
    workflow = WORKFLOWS[number % len(WORKFLOWS)]
    return replace(asset, provenance=provenance_of(asset, number, workflow_hash=workflow))


def note_edits(ledger: Ledger, edits: Sequence[tuple[int, bool]]) -> set[int]:
    """Journal edits, some of which a hand edit overruled; return who was overruled last."""
    settled = [(number, False) for number in range(1, 9)]
    with ledger.write() as rows:
        for number, is_overruled in (*settled, *edits):
            asset = make(number)
            after = {"meta": {"overruled": 1}, **({"overruled": {"license": "MIT"}} if is_overruled else {})}
            rows.record([JournalEntry("asset_meta_updated", asset.uid, number, 9, {}, after)])
    return {number for number, is_overruled in dict(edits).items() if is_overruled}


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(states, min_size=1, max_size=8),
    st.lists(st.tuples(st.integers(1, 8), st.none() | states), max_size=8),
    st.lists(st.tuples(st.integers(1, 8), st.booleans()), max_size=4),
    st.lists(wishes, min_size=1, max_size=6),
)
def test_filters_counts_and_facets_agree_with_a_look_at_every_asset(
    open_ledger: Callable[..., Ledger],
    new: list[Any],
    changes: list[tuple[int, Any]],
    edits: list[tuple[int, bool]],
    wanted: list[Any],
) -> None:
    """Terms, their counts and the indexes would drift from the assets that they tell of."""
    ledger, other = open_ledger(), open_ledger("other")
    for each in (ledger, other):
        with each.write() as rows:
            for asset in rows.find(AssetFilter()):
                rows.remove(asset)
    assets = {number: state_of(number, *state) for number, state in enumerate(new, 1)}
    insert(ledger, *assets.values())
    insert(other, make(50, project_id="other", meta={"tags": ["mara"], "note": "harbour"}))
    for number, state in changes:
        with ledger.write() as rows:
            if state is None and number in assets:
                rows.remove(assets.pop(number))
            elif state is not None and number in assets:
                assets[number] = state_of(number, *state)
                rows.update([assets[number]])
    overruled = note_edits(ledger, edits)

    for wish in wanted:
        check_answers(ledger, assets, overruled, AssetFilter.build(**wish))


WORDS = (
    *("mara", "Marathon", "smile", "harbour", "at", "a", "b", "ma", "tho", "il", "100%", '"so"', "AND", "OR"),
    *(
        "夏",
        "夏祭り",
        "祭り",
        "り",
        "夜",
        "港の夜",
        "Straße",
        "strasse",
        "ночь",
        "と",
        "rainy evening",
        "x" * 120,
    ),
)


@pytest.mark.parametrize("seed", range(3))
def test_several_texts_find_what_a_look_at_every_text_finds(
    open_ledger: Callable[..., Ledger], seed: int
) -> None:
    """Words would be found only side by side, or not where one is too short for the index or too frequent."""
    dice, ledger, other = Random(seed), open_ledger(), open_ledger("other")
    notes = {
        number: " ".join(dice.choices(WORDS, range(len(WORDS), 0, -1), k=dice.randint(1, 4)))
        for number in range(1, 301)
    }
    insert(
        ledger,
        *(
            make(number, key=f"{number}.png", meta={"note": note, "tags": ["odd"] * (number % 2)})
            for number, note in notes.items()
        ),
    )
    insert(other, make(999, project_id="other", meta={"note": " ".join(WORDS)}))
    told = {
        number: fold("\n".join([f"{number}.png", *["odd"] * (number % 2), note]))
        for number, note in notes.items()
    }

    sizes = set()
    for _ in range(150):
        texts = [part_of(dice.choice(WORDS), dice) for _ in range(dice.randint(2, 4))]
        tags = ["odd"] * dice.randint(0, 1)
        wanted = AssetFilter.build(text=texts, tags=tags)
        expected = [
            number
            for number in sorted(told, reverse=True)
            if all(fold(text) in told[number] for text in texts) and (number % 2 or not tags)
        ]
        with ledger.read() as rows:
            assert [asset.id for asset in rows.find(wanted)] == expected, texts
            assert [asset.id for asset in rows.find(wanted, limit=5)] == expected[:5], texts
            assert rows.count(wanted) == rows.facets(wanted, 10).total == len(expected), texts
        assert [number for batch in ledger.iterate_ids(wanted) for number in batch] == expected, texts
        sizes.add(min(len(expected), 20))

    assert {0, 1, 20} <= sizes


def part_of(word: str, dice: Random) -> str:
    start = dice.randint(0, len(word) - 1)
    return dice.choice((word, word.upper(), word[start : start + dice.randint(1, 5)]))


def test_twenty_long_texts_are_found_at_once(ledger: Ledger) -> None:
    """A question of the greatest length would be more than the search index takes."""
    texts = [f"{number} " + "word " * 100 for number in range(100, 120)]
    insert(ledger, make(1, meta={str(number): text for number, text in enumerate(texts)}), make(2))

    assert found(ledger, text=texts) == [1]
    assert found(ledger, text=[*texts[:-1], texts[-1] + "!"]) == []


def check_answers(ledger: Ledger, assets: dict[int, Asset], overruled: set[int], wanted: AssetFilter) -> None:
    expected = [number for number in sorted(assets, reverse=True) if fits(assets[number], overruled, wanted)]
    with ledger.read() as rows:
        assert [asset.id for asset in rows.find(wanted)] == expected
        assert [asset.id for asset in rows.find(wanted, limit=2, before_id=5)] == [
            number for number in expected if number < 5
        ][:2]
        assert rows.count(wanted) == len(expected)
        told = rows.facets(wanted, 100)
        among = rows.facets_among([*expected, 50, 99], 100)
    assert [number for batch in ledger.iterate_ids(wanted) for number in batch] == expected
    assert [number for batch in ledger.iterate_ids(wanted, "oldest") for number in batch] == expected[::-1]
    assert told.total == among.total == len(expected)
    for group, found in (
        ("type", told.types),
        ("license", told.licenses),
        ("tag", (*told.tags, ("", told.untagged))),
    ):
        others = [asset for asset in assets.values() if fits(asset, overruled, wanted.without(group))]
        assert {fold(name): count for name, count in found if count} == values_of(others, group)
    for group, found in (
        ("type", among.types),
        ("license", among.licenses),
        ("tag", (*among.tags, ("", among.untagged))),
    ):
        listed = values_of([assets[number] for number in expected], group)
        assert {fold(name): count for name, count in found if count} == listed
    others = [asset for asset in assets.values() if fits(asset, overruled, wanted.without("problem"))]
    assert dict(told.problems) == {
        name: sum(name in problems_of(asset, overruled) for asset in others) for name in PROBLEMS
    }


def fits(asset: Asset, overruled: set[int], wish: AssetFilter) -> bool:
    tags = {fold(tag) for tag in asset.facts.tags}
    licence = fold(asset.facts.license or "")
    texts = [asset.key, *asset.facts.tags, asset.facts.license or "", str(asset.facts.meta["note"])]
    texts += [rating for rating in [asset.facts.meta.get("rating")] if isinstance(rating, str)]
    rating = asset.facts.meta.get("rating")
    stars = rating if type(rating) is int and rating <= 5 else 0
    workflow = asset.provenance.workflow_hash if asset.provenance else ""
    is_of_workflow = wish.workflow in (None, workflow) or (
        len(wish.workflow or "") >= 8 and str(workflow).startswith(str(wish.workflow))
    )
    return (
        (not wish.types or asset.type in wish.types)
        and asset.type not in wish.not_types
        and wish.digest in (None, asset.digest)
        and {fold(tag) for tag in wish.tags} <= tags
        and not {fold(tag) for tag in wish.not_tags} & tags
        and (not wish.licenses or licence in {fold(each.strip()) for each in wish.licenses})
        and licence not in {fold(each.strip()) for each in wish.not_licenses}
        and all(fold(text) in fold("\n".join(texts)) for text in wish.texts)
        and (not wish.problems or not problems_of(asset, overruled).isdisjoint(wish.problems))
        and asset.uid.startswith(wish.uid or "")
        and is_of_workflow
        and stars >= (wish.min_rating or 0)
    )


def problems_of(asset: Asset, overruled: set[int]) -> set[str]:
    holds = {
        "no-license": not asset.facts.license,
        "no-tags": not asset.facts.tags,
        "missing": asset.missing_since is not None,
        "no-sidecar": asset.sidecar_file is None,
        "no-thumbnail": asset.preview.state == "failed",
        "conflict": asset.id in overruled,
    }
    return {name for name, is_so in holds.items() if is_so}


def values_of(assets: Sequence[Asset], group: str) -> Counter[str]:
    """Count types, licences or tags, "" for none, as the ledger compares them."""
    if group == "type":
        return Counter(asset.type for asset in assets)
    if group == "license":
        return Counter(fold(asset.facts.license or "") for asset in assets)
    return Counter(name for asset in assets for name in {fold(tag) for tag in asset.facts.tags} or {""})


@pytest.fixture
def shelf(ledger: Ledger) -> Ledger:
    insert(
        ledger,
        make(1, meta={"tags": ["Mara", "smile"], "license": "CC-BY-4.0", "artist": "Straße"}),
        make(2, meta={"tags": ["mara", "Night"], "license": "MIT", "note": "100%_sure"}),
        make(3, meta={"tags": ["NIGHT"], "by": ["夏目", "石"], "deep": {"secret": "hidden"}}),
        make(4, type="audio", key="audio/50_percent.wav", meta={"tags": [], "note": "100 sure", "n": 100}),
        make(5, type="audio", key="audio/か\u3099く.wav", meta={"license": "cc-by-4.0", "path": "a\\b"}),
    )
    return ledger


@pytest.mark.parametrize(
    ("wanted", "ids"),
    [
        ({}, [5, 4, 3, 2, 1]),
        ({"asset_type": "audio"}, [5, 4]),
        ({"asset_type": "Audio"}, []),
        ({"hash_value": f"{3:064x}"}, [3]),
        ({"hash_value": f" {10:064x}".upper()}, []),
        ({"tags": "MARA"}, [2, 1]),
        ({"tags": ["mara", "night"]}, [2]),
        ({"tags": {"smile", "Mara"}}, [1]),
        ({"tags": ["mara", "unknown"]}, []),
        ({"tags": ["smile", "night"]}, []),
        ({"tags": []}, [5, 4, 3, 2, 1]),
        ({"license": "cc-BY-4.0"}, [5, 1]),
        ({"license": " mit "}, [2]),
        ({"license": ""}, [4, 3]),
        ({"license": "none"}, []),
        ({"text": "strasse"}, [1]),
        ({"text": "STRASSE"}, [1]),
        ({"text": "straß"}, [1]),
        ({"text": "100%"}, [2]),
        ({"text": "%"}, [2]),
        ({"text": "_"}, [4, 2]),
        ({"text": "0_p"}, [4]),
        ({"text": "100_"}, []),
        ({"text": "\\"}, [5]),
        ({"text": "/"}, [5, 4, 3, 2, 1]),
        ({"text": "夏目"}, [3]),
        ({"text": "目"}, [3]),
        ({"text": "が"}, [5]),
        ({"text": "hidden"}, []),
        ({"text": "NIGH"}, [3, 2]),
        ({"text": "characters/2"}, [2]),
        ({"text": "mit"}, [2]),
        ({"text": "'; DROP TABLE assets_registry; --"}, []),
        ({"asset_type": "characters", "tags": "night", "license": ""}, [3]),
        ({"asset_type": "audio", "license": "cc-by-4.0", "text": "がく.wav"}, [5]),
        ({"asset_type": "audio", "tags": "night"}, []),
    ],
)
def test_every_condition_of_a_filter_must_hold(shelf: Ledger, wanted: dict[str, Any], ids: list[int]) -> None:
    """A list would show too much or too little."""
    assert found(shelf, **wanted) == ids


def test_a_digest_is_looked_for_ignoring_case(ledger: Ledger) -> None:
    """Hashes of Windows tools are in capitals."""
    insert(ledger, make(0xABC))

    assert found(ledger, hash_value=f"{0xABC:064X}") == [0xABC]


def test_a_tag_is_not_found_for_the_assets_of_another_project(open_ledger: Callable[..., Ledger]) -> None:
    """Projects would share their tags."""
    one, other = open_ledger("one"), open_ledger("other")
    insert(one, make(1, project_id="one", meta={"tags": ["a"]}))
    insert(other, make(2, project_id="other", meta={"tags": ["b"]}))

    assert found(one, tags="b") == found(other, tags="a") == []


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 100])
@pytest.mark.parametrize("wanted", [{}, {"tags": "third"}, {"asset_type": "characters", "text": "png"}])
def test_pages_join_without_gaps_or_repeats(ledger: Ledger, limit: int, wanted: dict[str, Any]) -> None:
    """An asset would be shown twice, or never, while others come in."""
    insert(
        ledger,
        *(make(number, meta={"tags": ["third"] if number % 3 == 0 else []}) for number in range(1, 21)),
    )
    whole, pages, last = found(ledger, **wanted), [], None

    while True:
        with ledger.read() as rows:
            page = [asset.id for asset in rows.find(AssetFilter.build(**wanted), limit=limit, before_id=last)]
        pages.append(page)
        if len(page) < limit:
            break
        last = page[-1]
        insert(
            ledger, make(1000 + len(pages))
        )  # somebody registers meanwhile: it belongs before the first page

    assert [number for page in pages for number in page] == whole
    assert all(len(page) == limit for page in pages[:-1])


def test_a_whole_library_is_gone_through_in_batches(ledger: Ledger) -> None:
    """Memory would grow with the library; at the border of a batch an asset would be left out."""
    insert(ledger, *(make(number) for number in range(1, 1003)))

    assert [asset.id for asset in ledger.iterate()] == list(range(1002, 0, -1))
    assert [asset.id for asset in ledger.iterate(AssetFilter.build(hash_value=f"{7:064x}"))] == [7]


@pytest.mark.parametrize(
    ("wanted", "search"),
    [
        ({}, "project_id=? AND id<?"),
        ({"asset_type": "characters"}, "term_id=? AND asset_id<?"),
        ({"hash_value": "0" * 64}, "project_id=? AND hash=?"),
        ({"license": "MIT"}, "term_id=? AND asset_id<?"),
        ({"license": ""}, "term_id=? AND asset_id<?"),
        ({"tags": ["Mara"]}, "term_id=? AND asset_id<?"),
        ({"tags": ["Mara", "night"]}, "term_id=? AND asset_id<?"),
        ({"tags": ["Mara", "night"], "asset_type": "characters"}, "term_id=? AND asset_id<?"),
        ({"not_tags": ["Mara"]}, "project_id=? AND id<?"),
        ({"tags": ["Mara"], "not_tags": ["night"]}, "term_id=? AND asset_id<?"),
        ({"problems": ["no-tags"]}, "term_id=? AND asset_id<?"),
        ({"problems": ["missing"]}, "project_id=? AND id<?"),
        ({"problems": ["no-thumbnail"]}, "project_id=? AND id<?"),
        ({"problems": ["no-sidecar"], "tags": ["Mara"]}, "term_id=? AND asset_id<?"),
    ],
)
def test_a_page_costs_a_page_and_not_the_library(shelf: Ledger, wanted: dict[str, Any], search: str) -> None:
    """Filters once loaded the whole table; `limit=10` cost as much as everything."""
    statements: list[str] = []

    with shelf.read() as rows:
        rows._connection.set_trace_callback(statements.append)
        rows.find(AssetFilter.build(**wanted), limit=10, before_id=5)
        rows._connection.set_trace_callback(None)

    with closing(sqlite3.connect(shelf.engine.path)) as connection:
        plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statements[-1]}")]
    looked_up = next(step for step in plan if step.startswith("SEARCH"))
    assert looked_up.endswith(f"({search})"), plan
    assert [step for step in plan if step.startswith("SCAN")] == ["SCAN x"], plan  # the page itself
    assert "hash_value" in wanted or not any("TEMP B-TREE" in step for step in plan), plan


@pytest.mark.parametrize(
    "wanted",
    [
        {"asset_type": ["characters", "audio"]},
        {"license": ["", "MIT"], "tags": "night"},
        {"problems": ["no-license", "no-tags", "missing", "conflict"]},
    ],
)
def test_several_walks_are_merged_and_not_sorted(shelf: Ledger, wanted: dict[str, Any]) -> None:
    """A page of two types of a million assets would read all of both."""
    statements: list[str] = []

    with shelf.read() as rows:
        rows._connection.set_trace_callback(statements.append)
        rows.find(AssetFilter.build(**wanted), limit=10, before_id=5)
        rows._connection.set_trace_callback(None)

    with closing(sqlite3.connect(shelf.engine.path)) as connection:
        plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statements[-1]}")]
    assert not any("TEMP B-TREE" in step for step in plan), plan
    assert [step for step in plan if step.startswith("SCAN")] == ["SCAN x"], plan


def test_any_of_many_types_are_found_newest_first(ledger: Ledger) -> None:
    """More types than are merged would be refused by SQLite, or come type by type."""
    insert(ledger, *(make(number, type=f"type{number % 40}") for number in range(1, 121)))
    wanted = [f"type{number}" for number in range(30)]

    assert found(ledger, asset_type=wanted) == [n for n in range(120, 0, -1) if n % 40 < 30]
    assert found(ledger, asset_type=wanted, not_types=wanted[:29]) == [109, 69, 29]
