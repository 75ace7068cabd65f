"""Libraries of other programs come over by the command, with what these know of their files."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from comfyvn.studio.core import AssetRegistry
from importing import card, data_uri, picture, tree, with_card, write
from support import Answer

Run = Callable[..., Answer]


def sillytavern(folder: Path) -> Path:
    assets = [
        {"type": "emotion", "name": "joy", "uri": data_uri(picture(1)), "ext": "png"},
        {"type": "emotion", "name": "sad", "uri": "https://example.com/sad.png", "ext": "png"},
    ]
    told = card(3, creator="ink & co", tags=["witch"], assets=assets)
    write(folder / "characters/Mara.png", with_card(picture(2), told, b"ccv3"))
    write(folder / "characters/Mara/anger.png", picture(3))
    write(folder / "characters/broken.png", with_card(picture(4), [1]))
    return folder


def tagstudio(folder: Path) -> Path:
    write(folder / "sprites/mara.png", picture(1))
    (folder / ".TagStudio").mkdir()
    with closing(sqlite3.connect(folder / ".TagStudio/ts_library.sqlite")) as database:
        database.executescript(
            "CREATE TABLE entries (id INTEGER PRIMARY KEY, path VARCHAR NOT NULL UNIQUE);"
            "CREATE TABLE tags (id INTEGER PRIMARY KEY, name VARCHAR NOT NULL);"
            "CREATE TABLE tag_entries (tag_id INTEGER, entry_id INTEGER);"
            "CREATE TABLE text_fields (id INTEGER PRIMARY KEY, name TEXT, entry_id INTEGER, value TEXT);"
            "INSERT INTO entries VALUES (1, 'sprites/mara.png'), (2, '../../secret.png'), (3, x'6100ff'),"
            " (4, 'a' || char(0) || 'b');"
            "INSERT INTO tags VALUES (1, 'Mara'); INSERT INTO tag_entries VALUES (1, 1);"
            "INSERT INTO text_fields VALUES (1, 'Artist', 1, 'ink & co');"
        )
    return folder


def hydrus(folder: Path) -> Path:
    write(folder / "mara.png", picture(1))
    write(folder / "mara.png.txt", "character:mara\ncreator:ink & co\nrating:safe")
    write(folder / "bad.png", picture(2))
    write(folder / "bad.png.json", "{")
    return folder


def eagle(folder: Path) -> Path:
    header = {"folders": [{"id": "F", "name": "birds", "children": []}], "applicationVersion": "4.0.0"}
    write(folder / "metadata.json", json.dumps(header))
    for key, more in (("GOOD", {"star": 4, "url": "https://example.com/1"}), ("TRASH", {"isDeleted": True})):
        said = {"id": key, "name": "bird", "ext": "png", "tags": ["blue"], "folders": ["F"], **more}
        write(folder / f"images/{key}.info/metadata.json", json.dumps(said))
        write(folder / f"images/{key}.info/bird.png", picture(len(key)))
    write(folder / "images/BAD.info/metadata.json", "{")
    write(folder / "images/BAD.info/bird.png", picture(9))
    return folder


CASES: dict[str, tuple[Callable[[Path], Path], dict[str, list[str]], str]] = {
    "sillytavern": (
        sillytavern,
        {
            "characters/Mara/Mara.png": ["Mara", "witch"],
            "characters/Mara/joy.png": ["Mara", "joy"],
            "characters/Mara/anger.png": ["Mara", "anger"],
        },
        "ink & co",
    ),
    "tagstudio": (tagstudio, {"images/sprites/mara.png": ["Mara"]}, "ink & co"),
    "hydrus": (hydrus, {"images/mara.png": ["character:mara", "creator:ink & co"]}, "ink & co"),
    "eagle": (eagle, {"images/birds/bird.png": ["blue", "birds"]}, "https://example.com/1"),
}
FAILED = {"sillytavern": 1, "tagstudio": 2, "hydrus": 1, "eagle": 1}
SOURCES = {"sillytavern": "SillyTavern", "tagstudio": "TagStudio", "hydrus": "hydrus", "eagle": "Eagle"}


@pytest.mark.parametrize("name", CASES)
def test_a_library_comes_over_by_the_command(
    name: str, tmp_path: Path, run: Run, registry: AssetRegistry
) -> None:
    """What somebody has tagged for years would be lost, or one bad file end it all."""
    make, wanted, origin = CASES[name]
    source = make(tmp_path / "library")
    before = tree(source)

    answer = run("ingest", source, "--adapter", name, "--json")

    assets = registry.list_assets()
    assert {asset["path"]: asset["meta"]["tags"] for asset in assets} == wanted
    assert {asset["meta"]["origin"] for asset in assets} == {origin}
    assert {asset["license"] for asset in assets} == {None}
    assert {row["source"] for asset in assets for row in provenance(registry, asset)} == {SOURCES[name]}
    assert statuses(answer).count("failed") == FAILED[name]
    assert answer.code == 1
    assert tree(source) == before


@pytest.mark.parametrize("name", CASES)
def test_a_dry_run_tells_the_same_and_changes_nothing(
    name: str, tmp_path: Path, run: Run, registry: AssetRegistry
) -> None:
    """Somebody would have to register everything to see what it becomes."""
    make, wanted, _ = CASES[name]

    answer = run("ingest", make(tmp_path / "library"), "--adapter", name, "--dry-run", "--json")

    told = {item["path"]: item["tags"] for item in items(answer) if item["status"] == "new"}
    assert told == wanted
    assert registry.list_assets() == []


@pytest.mark.parametrize("name", CASES)
def test_a_second_run_registers_nothing_twice(
    name: str, tmp_path: Path, run: Run, registry: AssetRegistry
) -> None:
    """An import that was interrupted could not be run again."""
    make, wanted, _ = CASES[name]
    source = make(tmp_path / "library")
    run("ingest", source, "--adapter", name, "--json")

    again = run("ingest", source, "--adapter", name, "--json")

    assert statuses(again).count("registered") == 0
    assert len(registry.list_assets()) == len(wanted)


def eagle_twins(folder: Path) -> Path:
    """Return a library with two items of the same content, of which Eagle says different things."""
    write(folder / "metadata.json", json.dumps({"folders": []}))
    said = {
        "A": {"tags": ["sea"], "star": 5, "annotation": "the good one", "url": "https://example.com/a"},
        "B": {"tags": ["dup"], "star": 1, "annotation": "a copy", "url": "https://example.com/b"},
    }
    for key, more in said.items():
        write(folder / f"images/{key}.info/metadata.json", json.dumps({"name": "x", "ext": "png", **more}))
        write(folder / f"images/{key}.info/x.png", picture(1))
    return folder


LEFT_OUT = {"rating": 1, "annotation": "a copy", "origin": "https://example.com/b"}


def test_of_two_items_with_one_content_the_first_one_counts_and_the_rest_is_told(
    tmp_path: Path, run: Run, registry: AssetRegistry
) -> None:
    """The note, the stars and the origin of the second would replace those of the first, in silence."""
    source = eagle_twins(tmp_path / "library")

    planned = run("ingest", source, "--adapter", "eagle", "--dry-run", "--json")
    answer = run("ingest", source, "--adapter", "eagle", "--json")
    people = run("ingest", source, "--adapter", "eagle")

    (asset,) = registry.list_assets()
    assert asset["meta"]["annotation"] == "the good one"
    assert (asset["meta"]["rating"], asset["meta"]["origin"]) == (5, "https://example.com/a")
    assert asset["tags"] == ["sea", "dup"]
    for told in (planned, answer):
        first, second = items(told)
        assert ("left_out" in first, second["left_out"]) == (False, LEFT_OUT)
    assert (
        "left out: rating 1, annotation 'a copy', origin 'https://example.com/b'" in people.out + people.err
    )


def test_what_somebody_has_set_in_the_library_stays_and_what_is_new_comes(
    tmp_path: Path, run: Run, registry: AssetRegistry
) -> None:
    """Taking in once more would undo what was looked at and set right here."""
    source = eagle(tmp_path / "library")
    run("ingest", source, "--adapter", "eagle")
    (asset,) = registry.list_assets()
    registry.update_asset_meta(asset["uid"], {**asset["meta"], "rating": 2, "origin": "Ann"})
    told = json.loads((source / "images/GOOD.info/metadata.json").read_text("utf-8"))
    write(source / "images/GOOD.info/metadata.json", json.dumps({**told, "annotation": "sings"}))

    planned = run("ingest", source, "--adapter", "eagle", "--dry-run", "--json")
    lines = run("ingest", source, "--adapter", "eagle", "--dry-run").out
    answer = run("ingest", source, "--adapter", "eagle", "--json")

    (asset,) = registry.list_assets()
    meta = asset["meta"]
    assert (meta["rating"], meta["origin"], meta["annotation"]) == (2, "Ann", "sings")
    for each in (planned, answer):
        (known,) = [item for item in items(each) if item["status"] == "known"]
        assert known["left_out"] == {"rating": 4, "origin": "https://example.com/1"}
    assert "left out, as other values stay: rating, origin" in lines


def items(answer: Answer) -> list[dict[str, Any]]:
    document = answer.document
    return list(document["items"] if isinstance(document, dict) else document)


def statuses(answer: Answer) -> list[str]:
    return [item["status"] for item in items(answer)]


def provenance(registry: AssetRegistry, asset: Any) -> list[dict[str, Any]]:
    return [registry.get_asset(asset["uid"])["provenance"]]
