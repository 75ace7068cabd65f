"""The import adapters that read other programs' libraries keep the contract of all import adapters."""

import json
import sqlite3
import zipfile
from contextlib import closing
from pathlib import Path

import pytest

from comfyvn.importers.eagle import EagleAdapter
from comfyvn.importers.hydrus import HydrusAdapter
from comfyvn.importers.sillytavern import SillyTavernAdapter
from comfyvn.importers.tagstudio import TagStudioAdapter
from comfyvn.testing import ImportAdapterContract
from importing import card, data_uri, picture, with_card, write


class TestSillyTavern(ImportAdapterContract):
    adapter = SillyTavernAdapter()

    @pytest.fixture
    def source(self, tmp_path: Path) -> Path:
        folder = tmp_path / "data/default-user/characters"
        assets = [
            {"type": "emotion", "name": "joy", "uri": data_uri(picture(1)), "ext": "png"},
            {"type": "emotion", "name": "sad", "uri": "https://example.com/sad.png", "ext": "png"},
        ]
        write(folder / "Mara.png", with_card(picture(2), card(3, assets=assets), b"ccv3"))
        write(folder / "Mara/anger.png", picture(3))
        write(folder / "notes.txt", "draw more")
        with zipfile.ZipFile(folder / "Zoe.charx", "w") as archive:
            told = [{"type": "icon", "name": "main", "uri": "embeded://main.png", "ext": "png"}]
            archive.writestr("card.json", json.dumps(card(3, name="Zoe", assets=told)))
            archive.writestr("main.png", picture(4))
        return tmp_path / "data"


class TestTagStudio(ImportAdapterContract):
    adapter = TagStudioAdapter()

    @pytest.fixture
    def source(self, tmp_path: Path) -> Path:
        library = tmp_path / "library"
        write(library / "mara.png", picture(1))
        (library / ".TagStudio").mkdir()
        with closing(sqlite3.connect(library / ".TagStudio/ts_library.sqlite")) as database:
            database.executescript(
                "CREATE TABLE entries (id INTEGER PRIMARY KEY, path VARCHAR NOT NULL UNIQUE);"
                "CREATE TABLE tags (id INTEGER PRIMARY KEY, name VARCHAR NOT NULL);"
                "CREATE TABLE tag_entries (tag_id INTEGER, entry_id INTEGER);"
                "INSERT INTO entries VALUES (1, 'mara.png');"
                "INSERT INTO tags VALUES (1, 'Mara'); INSERT INTO tag_entries VALUES (1, 1);"
            )
        return library


class TestTagStudioTill94(ImportAdapterContract):
    adapter = TagStudioAdapter()

    @pytest.fixture
    def source(self, tmp_path: Path) -> Path:
        library = tmp_path / "library"
        write(library / "mara.png", picture(1))
        entry = {"id": 0, "filename": "mara.png", "path": "", "fields": [{"6": [1]}]}
        whole = {"ts-version": "9.4.2", "tags": [{"id": 1, "name": "Mara"}], "entries": [entry]}
        write(library / ".TagStudio/ts_library.json", json.dumps(whole))
        return library


class TestHydrus(ImportAdapterContract):
    adapter = HydrusAdapter()

    @pytest.fixture
    def source(self, tmp_path: Path) -> Path:
        export = tmp_path / "export"
        write(export / "mara.png", picture(1))
        write(export / "mara.png.txt", "character:mara\ncreator:ink & co")
        write(export / "zoe.png", picture(2))
        write(export / "zoe.png.json", json.dumps({"tags": {"my tags": ["smile"]}}))
        return export


class TestEagle(ImportAdapterContract):
    adapter = EagleAdapter()

    @pytest.fixture
    def source(self, tmp_path: Path) -> Path:
        library = tmp_path / "Art.library"
        folders = [{"id": "F", "name": "birds", "children": []}]
        write(library / "metadata.json", json.dumps({"folders": folders, "applicationVersion": "4.0.0"}))
        for number, is_deleted in enumerate((False, True)):
            folder = library / f"images/ITEM{number}.info"
            said = {
                "id": f"ITEM{number}",
                "name": "bird",
                "ext": "png",
                "folders": ["F"],
                "isDeleted": is_deleted,
            }
            write(folder / "metadata.json", json.dumps(said))
            write(folder / "bird.png", picture(number))
        return library
