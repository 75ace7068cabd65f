"""TagStudio libraries: the SQLite format since 9.5, the JSON format before."""

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comfyvn.errors import ImportFailed, InvalidSetting
from comfyvn.importers import ImportAdapter
from comfyvn.importers.tagstudio import TagStudioAdapter
from importing import Look, picture, tree, write

ADAPTER = TagStudioAdapter()
TABLES = """
CREATE TABLE folders (id INTEGER NOT NULL PRIMARY KEY, path VARCHAR NOT NULL, uuid VARCHAR NOT NULL);
CREATE TABLE entries (
    id INTEGER NOT NULL PRIMARY KEY, folder_id INTEGER NOT NULL, path VARCHAR NOT NULL UNIQUE,
    filename VARCHAR NOT NULL, suffix VARCHAR NOT NULL, date_created DATETIME, date_modified DATETIME,
    date_added DATETIME
);
CREATE TABLE tags (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, name VARCHAR NOT NULL, shorthand VARCHAR,
    color_namespace VARCHAR, color_slug VARCHAR, is_category BOOLEAN NOT NULL DEFAULT 0, icon VARCHAR,
    disambiguation_id INTEGER, is_hidden BOOLEAN NOT NULL DEFAULT 0
);
CREATE TABLE tag_aliases (id INTEGER NOT NULL PRIMARY KEY, name VARCHAR NOT NULL, tag_id INTEGER NOT NULL);
CREATE TABLE tag_entries (tag_id INTEGER NOT NULL, entry_id INTEGER NOT NULL, PRIMARY KEY (tag_id, entry_id));
CREATE TABLE tag_parents (parent_id INTEGER NOT NULL, child_id INTEGER NOT NULL,
    PRIMARY KEY (parent_id, child_id));
"""
FIELDS_UNTIL_104 = """
CREATE TABLE text_fields (value VARCHAR, id INTEGER NOT NULL PRIMARY KEY, type_key VARCHAR NOT NULL,
    entry_id INTEGER NOT NULL, position INTEGER NOT NULL);
CREATE TABLE datetime_fields (value VARCHAR, id INTEGER NOT NULL PRIMARY KEY, type_key VARCHAR NOT NULL,
    entry_id INTEGER NOT NULL, position INTEGER NOT NULL);
CREATE TABLE preferences (key VARCHAR NOT NULL PRIMARY KEY, value JSON NOT NULL);
"""
FIELDS_SINCE_201 = """
CREATE TABLE text_fields (id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, name VARCHAR NOT NULL,
    entry_id INTEGER NOT NULL, value VARCHAR, is_multiline BOOLEAN NOT NULL);
CREATE TABLE datetime_fields (id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, name VARCHAR NOT NULL,
    entry_id INTEGER NOT NULL, value VARCHAR);
CREATE TABLE versions (key VARCHAR NOT NULL PRIMARY KEY, value INTEGER NOT NULL);
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "library"
    made.mkdir()
    return made


@pytest.fixture
def database(folder: Path) -> Iterator[sqlite3.Connection]:
    """An empty library of format version 201, as TagStudio 9.6 makes it."""
    with closing(make(folder, FIELDS_SINCE_201)) as connection:
        connection.execute("INSERT INTO versions VALUES ('INITIAL', 201), ('CURRENT', 201)")
        connection.commit()
        yield connection


def make(folder: Path, more: str) -> sqlite3.Connection:
    (folder / ".TagStudio").mkdir()
    connection = sqlite3.connect(folder / ".TagStudio/ts_library.sqlite")
    connection.executescript(TABLES + more)
    return connection


def add_tags(
    database: sqlite3.Connection, *tags: tuple[int, str], parents: Iterable[tuple[int, int]] = ()
) -> None:
    """Add tags, and pairs of parent and child."""
    database.executemany("INSERT INTO tags (id, name) VALUES (?, ?)", tags)
    database.executemany("INSERT INTO tag_parents (parent_id, child_id) VALUES (?, ?)", parents)
    database.commit()


def add_file(database: sqlite3.Connection, folder: Path, path: str, *tags: int) -> int:
    """Add a file and its entry; return the entry's id."""
    write(folder / path, picture(len(path)))
    return add_entry(database, path, *tags)


def add_entry(database: sqlite3.Connection, path: str, *tags: int) -> int:
    query = "INSERT INTO entries (folder_id, path, filename, suffix) VALUES (1, ?, ?, ?) RETURNING id"
    ((number,),) = database.execute(
        query, (path, path.rpartition("/")[2], path.rpartition(".")[2])
    ).fetchall()
    database.executemany("INSERT INTO tag_entries VALUES (?, ?)", [(tag, number) for tag in tags])
    database.commit()
    return int(number)


def test_it_is_an_adapter():
    """The framework would refuse to load it."""
    assert isinstance(ADAPTER, ImportAdapter)
    assert ADAPTER.name == "tagstudio"


class TestSqlite:
    def test_files_come_with_their_tags_and_those_above(self, folder, database):
        """In TagStudio a search for a parent finds the file; here it would not."""
        add_tags(
            database, (1000, "Mara"), (1001, "Witch"), (1002, "Character"), (1003, "Smile"),
            parents=[(1001, 1000), (1002, 1001)],
        )  # fmt: skip
        add_file(database, folder, "sprites/mara.png", 1000, 1003)

        look = Look(ADAPTER, folder)

        item = look.only("sprites/mara.png")
        assert item.tags == ("Mara", "Smile", "Witch", "Character")
        assert (item.asset_type, item.name) == ("images", "sprites/mara.png")
        assert item.license is None
        assert item.provenance == {"source": "TagStudio", "inputs": {"file": "sprites/mara.png"}}

    def test_parent_tags_can_be_left_out(self, folder, database):
        """Who keeps a large tree of tags would get dozens on every file."""
        add_tags(database, (1000, "Mara"), (1001, "Witch"), parents=[(1001, 1000)])
        add_file(database, folder, "mara.png", 1000)

        assert Look(ADAPTER, folder, settings={"parent_tags": "false"}).only("mara.png").tags == ("Mara",)

    def test_fields_become_metadata_and_the_artist_the_origin(self, folder, database):
        """What somebody wrote of a file, and whom to credit, would be lost."""
        number = add_file(database, folder, "mara.png")
        fields = [
            ("Title", "Mara smiles"),
            ("Artist", "Ink & Co"),
            ("Notes", "a"),
            ("Notes", "b"),
            ("Source", "x"),
        ]
        for name, value in fields:
            add = "INSERT INTO text_fields (name, entry_id, value, is_multiline) VALUES (?, ?, ?, 0)"
            database.execute(add, (name, number, value))
        add = "INSERT INTO datetime_fields (name, entry_id, value) VALUES (?, ?, ?)"
        database.execute(add, ("Date Taken", number, "2024-05-01 10:00:00"))
        database.commit()

        assert Look(ADAPTER, folder).only("mara.png").metadata == {
            "title": "Mara smiles",
            "artist": "Ink & Co",
            "notes": "a\nb",
            "tagstudio_source": "x",
            "date_taken": "2024-05-01 10:00:00",
            "origin": "Ink & Co",
        }

    def test_the_format_of_9_5_has_other_columns_and_parents_the_other_way_round(self, folder):
        """Fields would be missing, and children be taken for parents."""
        with closing(make(folder, FIELDS_UNTIL_104)) as database:
            database.execute("INSERT INTO preferences VALUES ('DB_VERSION', '9')")
            add_tags(database, (1000, "Mara"), (1001, "Witch"), parents=[(1000, 1001)])
            number = add_file(database, folder, "mara.png", 1000)
            add = "INSERT INTO text_fields (value, type_key, entry_id, position) VALUES (?, ?, ?, 0)"
            database.execute(add, ("Mara smiles", "TITLE", number))
            database.commit()

        item = Look(ADAPTER, folder).only("mara.png")

        assert item.tags == ("Mara", "Witch")
        assert item.metadata == {"title": "Mara smiles"}

    def test_without_a_version_no_parents_are_told(self, folder, database):
        """Nobody could say which column holds the parent; half of all guesses would be wrong."""
        database.execute("DELETE FROM versions")
        add_tags(database, (1000, "Mara"), (1001, "Witch"), parents=[(1001, 1000)])
        add_file(database, folder, "mara.png", 1000)

        assert Look(ADAPTER, folder).only("mara.png").tags == ("Mara",)

    def test_tags_of_one_name_are_told_apart_as_tagstudio_shows_them(self, folder, database):
        """Two characters called Freddy would become one."""
        add_tags(database, (1, "Freddy"), (2, "Freddy"), (3, "Five Nights"), parents=[(3, 2)])
        database.execute("UPDATE tags SET shorthand = 'FN' WHERE id = 3")
        database.execute("UPDATE tags SET disambiguation_id = 3 WHERE id = 2")
        add_file(database, folder, "a.png", 1)
        add_file(database, folder, "b.png", 2)

        look = Look(ADAPTER, folder)

        assert look.only("a.png").tags == ("Freddy",)
        assert look.only("b.png").tags == ("Freddy (FN)", "Five Nights")

    def test_the_category_of_the_built_in_tags_is_left_out(self, folder, database):
        """Each favourite would be tagged with the name of a part of TagStudio's window."""
        add_tags(database, (1, "Favorite"), (2, "Meta Tags"), parents=[(2, 1)])
        database.execute("UPDATE tags SET is_category = 1 WHERE id = 2")
        add_file(database, folder, "a.png", 1)

        assert Look(ADAPTER, folder).only("a.png").tags == ("Favorite",)

    def test_parents_in_a_circle_come_to_an_end(self, folder, database):
        """The import would stand still for ever."""
        add_tags(database, (1, "a"), (2, "b"), parents=[(1, 2), (2, 1), (1, 1), (7, 1)])
        add_file(database, folder, "a.png", 1)

        assert Look(ADAPTER, folder).only("a.png").tags == ("a", "b")

    def test_files_that_the_library_does_not_name_are_not_taken(self, folder, database):
        """Somebody asks for their library, and gets everything in the folder."""
        add_file(database, folder, "a.png")
        write(folder / "other.png", picture())

        assert list(Look(ADAPTER, folder).items) == ["a.png"]

    @pytest.mark.parametrize(
        ("path", "why"),
        [
            ("gone.png", "isn't there"),
            ("../secret.png", "leads out of"),
            ("/etc/hostname", "leads out of"),
            ("sub", "no regular file"),
            ("a\0b.png", "can't be read"),
            ("link.png", "leads out of"),
            ("x" * 5_000, "too long"),
            (".TagStudio", "no regular file"),
        ],
    )
    def test_an_entry_that_names_no_file_of_the_library_costs_itself(self, folder, database, path, why):
        """A library could make somebody's own files into assets, or end the batch."""
        write(folder.parent / "secret.png", picture())
        (folder / "sub").mkdir()
        (folder / "link.png").symlink_to(folder.parent / "secret.png")
        add_entry(database, path)
        add_file(database, folder, "zz.png")

        look = Look(ADAPTER, folder)

        assert [item.name for item in look.all()] == ["zz.png"]
        assert why in next(iter(look.failed.values()))

    def test_values_of_other_types_are_passed_over(self, folder, database):
        """SQLite holds any type in any column; one odd row would end the batch."""
        add_tags(database, (1, "a"))
        database.execute("INSERT INTO tags (id, name) VALUES (5, x'ff00')")
        number = add_file(database, folder, "a.png", 1, 5)
        add = "INSERT INTO text_fields (name, entry_id, value, is_multiline) VALUES (?, ?, ?, 0)"
        database.execute(add, (b"\xff", number, "x"))
        database.execute(add, ("Title", number, 7))
        database.execute(add, ("Long", number, "x" * 30_000))
        database.execute(
            "INSERT INTO entries (id, folder_id, path, filename, suffix) VALUES (9, 1, x'00', '', '')"
        )
        database.execute("INSERT INTO tag_parents VALUES ('x', 1)")
        database.commit()

        look = Look(ADAPTER, folder)

        assert look.only("a.png").tags == ("a",)
        assert look.only("a.png").metadata == {"title": "7"}

    @pytest.mark.parametrize("table", ["entries", "tags", "tag_entries"])
    def test_a_missing_table_is_named(self, folder, database, table):
        """Somebody would read an error of SQLite and not know what to do."""
        database.execute(f"DROP TABLE {table}")
        database.commit()

        with pytest.raises(ImportFailed, match=f"the table {table} is missing"):
            Look(ADAPTER, folder)

    def test_tables_that_are_not_needed_may_be_missing(self, folder, database):
        """A library of another version would be refused for what nobody misses."""
        for table in ("tag_parents", "text_fields", "datetime_fields", "folders", "tag_aliases"):
            database.execute(f"DROP TABLE {table}")
        add = "INSERT INTO entries (folder_id, path, filename, suffix) VALUES (1, 'a.png', 'a.png', 'png')"
        database.execute(add)
        database.commit()
        write(folder / "a.png", picture())

        assert Look(ADAPTER, folder).only("a.png").tags == ()

    def test_a_view_in_the_place_of_a_table_is_refused(self, folder, database):
        """It could compute for ever."""
        database.executescript(
            "DROP TABLE entries; CREATE VIEW entries AS WITH RECURSIVE n(id) AS"
            " (SELECT 1 UNION ALL SELECT id + 1 FROM n) SELECT id, 'a.png' AS path FROM n;"
        )

        with pytest.raises(ImportFailed, match="the table entries is missing"):
            Look(ADAPTER, folder)

    def test_a_damaged_database_is_told(self, folder, database):
        """The adapter would raise what nobody catches."""
        query = "INSERT INTO entries (folder_id, path, filename, suffix) VALUES (1, ?, '', '')"
        database.executemany(query, [(f"{at}.png",) for at in range(300)])
        database.commit()
        path = folder / ".TagStudio/ts_library.sqlite"
        content = path.read_bytes()
        write(path, content[:100] + b"\xff" * 2_000 + content[2_100:])

        with pytest.raises(ImportFailed, match="can't be read"):
            Look(ADAPTER, folder)

    def test_another_file_of_its_name_is_told(self, folder):
        """The adapter would raise what nobody catches."""
        write(folder / ".TagStudio/ts_library.sqlite", "hello" * 1_000)

        with pytest.raises(ImportFailed, match="can't be read"):
            Look(ADAPTER, folder)

    def test_what_an_open_library_has_not_yet_written_back_is_read(self, folder, database):
        """TagStudio need not be closed first; and nothing may be left beside its database."""
        database.execute("PRAGMA journal_mode = WAL")
        add_file(database, folder, "a.png")
        before = tree(folder)
        assert any(name.endswith("-wal") for name in before)

        look = Look(ADAPTER, folder)

        assert list(look.items) == ["a.png"]
        assert tree(folder) == before

    def test_the_source_is_never_written_to(self, folder, database):
        """An import that changes what it reads could cost somebody their library."""
        add_file(database, folder, "a.png")
        before = tree(folder)

        Look(ADAPTER, folder)

        assert tree(folder) == before

    def test_thousands_of_files_are_walked_in_order(self, folder, database):
        """The order would change from run to run, or each file be searched for among all."""
        query = "INSERT INTO entries (folder_id, path, filename, suffix) VALUES (1, ?, ?, 'png')"
        database.executemany(query, [(f"{at:05}.png", "") for at in reversed(range(5_000))])
        database.commit()

        assert list(Look(ADAPTER, folder).failed) == [f"{at:05}.png" for at in range(5_000)]


class TestJson:
    def save(self, folder: Path, **whole: object) -> None:
        known = {"ts-version": "9.4.2", "tags": [], "entries": [], **whole}
        write(folder / ".TagStudio/ts_library.json", json.dumps(known))

    def test_the_old_format_is_read_too(self, folder):
        """Libraries that were never opened in a newer TagStudio could not come over."""
        write(folder / "sprites/mara.png", picture())
        tags = [
            {"id": 1000, "name": "Mara", "subtag_ids": [1001, 1000]},
            {"id": 1001, "name": "Witch", "aliases": ["magician"]},
        ]
        fields = [
            {"6": [1000]},
            {"8": [1]},
            {"0": "Mara smiles"},
            {"2": "Ink & Co"},
            {"21": "a site"},
            {"9": "?"},
        ]
        entry = {"id": 0, "filename": "mara.png", "path": "sprites", "fields": fields}
        self.save(folder, tags=[*tags, {"id": 1, "name": "Favorite"}], entries=[entry])

        item = Look(ADAPTER, folder).only("sprites/mara.png")

        assert item.tags == ("Mara", "Favorite", "Witch")
        assert item.metadata == {
            "title": "Mara smiles",
            "artist": "Ink & Co",
            "origin": "Ink & Co",
            "tagstudio_source": "a site",
        }

    def test_paths_of_windows_are_understood(self, folder):
        """Libraries made there would have no files."""
        write(folder / "a/b/mara.png", picture())
        self.save(folder, entries=[{"id": 0, "filename": "mara.png", "path": "a\\b"}])

        assert list(Look(ADAPTER, folder).items) == ["a/b/mara.png"]

    def test_the_newer_library_beside_it_counts(self, folder, database):
        """TagStudio leaves the old file there when it moves on; it would be out of date."""
        add_file(database, folder, "new.png")
        self.save(folder, entries=[{"id": 0, "filename": "old.png", "path": ""}])

        look = Look(ADAPTER, folder)

        assert list(look.items) == ["new.png"]
        assert look.failed == {}

    @pytest.mark.parametrize(
        ("content", "why"),
        [
            ("[]", "no list of entries"),
            ('{"entries": 3}', "no list of entries"),
            ("{", "no JSON"),
            ("[" * 100_000, "nested too deeply"),
            ("[[]," + "[]," * 5_000_000 + "[]]", "more than 5,000,000 values"),
        ],
        ids=["list", "number", "cut", "deep", "wide"],
    )
    def test_what_is_no_library_is_refused(self, folder, content, why):
        """It would be taken for an empty one, or for memory that isn't there."""
        write(folder / ".TagStudio/ts_library.json", content)

        with pytest.raises(ImportFailed, match=why):
            Look(ADAPTER, folder)

    @settings(deadline=None)  # the first one loads much
    @given(
        value=st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=9),
            lambda inner: (
                st.lists(inner, max_size=4)
                | st.dictionaries(
                    st.sampled_from(["id", "name", "filename", "path", "fields", "6", "0", "x"]), inner
                )
            ),
        )
    )
    def test_values_of_any_type_never_raise(self, tmp_path_factory, value):
        """An entry with a list for a name would end the batch."""
        folder = tmp_path_factory.mktemp("any")
        write(folder / "a", picture())
        self.save(folder, tags=value, entries=[value, {"filename": "a", "fields": value, "path": value}])

        Look(ADAPTER, folder)


def test_a_folder_without_a_library_says_what_is_looked_for(folder):
    """Somebody would be told that nothing was found, and not what could be."""
    with pytest.raises(ImportFailed, match=r"neither \.TagStudio/ts_library\.sqlite nor"):
        Look(ADAPTER, folder)


def test_a_database_that_is_a_link_out_of_the_library_is_refused(folder):
    """A library could have any file of somebody's be copied and read."""
    outside = write(folder.parent / "other.sqlite", "x")
    (folder / ".TagStudio").mkdir()
    (folder / ".TagStudio/ts_library.sqlite").symlink_to(outside)

    with pytest.raises(ImportFailed, match="leads out of"):
        Look(ADAPTER, folder)


def test_the_folder_of_the_library_itself_can_be_given(folder, database):
    """Somebody names the folder with the database in it, and is told that there is none."""
    add_file(database, folder, "a.png")

    look = Look(ADAPTER, folder / ".TagStudio")

    assert [item.name for item in look.all()] == ["a.png"]


class TestTypes:
    def test_tags_choose_the_type(self, folder, database):
        """All pictures would be of one type, though their tags say what they are for."""
        add_tags(database, (1, "Backgrounds (Day)"), (2, "Mara"))
        add_file(database, folder, "lake.png", 1)
        add_file(database, folder, "mara.png", 2)
        write(folder / "song.ogg", b"OggS")
        add_entry(database, "song.ogg")

        look = Look(ADAPTER, folder, settings={"types": {"background*": "backgrounds", "mara": "characters"}})

        assert sorted(look.by_name()) == ["audio/song.ogg", "backgrounds/lake.png", "characters/mara.png"]

    def test_rules_by_path_count_first(self, folder, database):
        """A rule that somebody wrote down would be passed over."""
        add_tags(database, (1, "mara"))
        add_file(database, folder, "bg/lake.png", 1)
        add_file(database, folder, "old/mara.png", 1)
        rules = [
            {"match": "bg/**", "type": "backgrounds", "tags": ["scenery"], "license": "CC0-1.0"},
            {"match": "old/**", "skip": True},
        ]

        look = Look(ADAPTER, folder, settings={"types": {"mara": "characters"}, "rules": rules})

        item = look.only("bg/lake.png")
        assert (item.asset_type, item.tags, item.license) == ("backgrounds", ("mara", "scenery"), "CC0-1.0")
        assert look.skipped["old/mara.png"] == ["left out by a rule"]

    @pytest.mark.parametrize("types", ["x", {"a": 3}, {"a": "../b"}, {"a": ""}])
    def test_a_type_that_can_be_none_is_refused(self, folder, database, types):
        """Every file would fail, each with an error of its own."""
        with pytest.raises(InvalidSetting, match=r"importers\.tagstudio\.types"):
            Look(ADAPTER, folder, settings={"types": types})


def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(folder, database):
    """The import would stand still for ever."""
    os.mkfifo(folder / "pipe.png")
    add_entry(database, "pipe.png")

    assert "no regular file" in Look(ADAPTER, folder).failed["pipe.png"]
