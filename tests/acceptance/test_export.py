"""`comfyvn export`: one JSON document of all that people wrote and that proves origin, always the same."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from comfyvn.errors import PathConflict
from comfyvn.registry.export import export, export_to_file
from comfyvn.registry.rebuild import rebuild_from_disk
from comfyvn.studio.core import AssetRegistry

DB = Path("comfyvn/data/comfyvn.db")
ASSETS = Path("assets")
KILLED_IN_THE_MIDDLE = """
import os, signal, sys
from pathlib import Path
from comfyvn.registry import export
from comfyvn.studio.core import AssetRegistry
describe, seen = export.describe, []
def die(asset):
    seen.append(asset)
    if len(seen) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return describe(asset)
export.describe = die
with AssetRegistry() as registry:
    export.export_to_file(registry, Path(sys.argv[1]))
"""


@pytest.fixture(autouse=True)
def plain_settings(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for no disk: these tests are about something else."""
    monkeypatch.setenv("COMFYVN_DURABILITY", "off")


def comfyvn(*arguments: object) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "comfyvn", *map(str, arguments)],
        capture_output=True,
        stdin=subprocess.DEVNULL,
        timeout=60,
        check=False,
    )


def exported() -> bytes:
    """Return the export of the project in the current folder."""
    with AssetRegistry() as registry:
        return b"".join(export(registry))


def assets() -> dict[str, Any]:
    return {asset["path"]: asset for asset in json.loads(exported())["assets"]}


def lose_the_database() -> None:
    for path in DB.parent.iterdir():
        path.unlink()
    rebuild_from_disk(assets_root=ASSETS, db_path=DB)


def edit_sidecar(key: str, **changes: Any) -> None:
    sidecar = ASSETS / f"{key}.asset.json"
    payload = json.loads(sidecar.read_text("utf-8"))
    sidecar.write_text(json.dumps({**payload, **changes}, ensure_ascii=False, indent=4), "utf-8")


@pytest.fixture
def library(make_png: Callable[..., Path], tmp_path: Path) -> None:
    """A library with everything that people write: tags, licences, odd metadata, inputs, sounds, texts."""
    (tmp_path / "art").mkdir()
    with wave.open(str(tmp_path / "art/rain.wav"), "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(bytes(range(256)) * 16)
    meta = {
        "tags": ["Zoë", "cast", "夏"],
        "license": "CC-BY-4.0",
        "origin": "painted",
        "z": [1, 1.0, True, None, {"b": 2, "a": "one\u2028two\nthree\u0085"}],
        "artist": "J. Doe",
    }
    said = {"source": "comfyui", "workflow_hash": "ab" * 32, "inputs": {"seed": 7, "prompt": "“hello”"}}
    with AssetRegistry() as registry:
        for seed, name in enumerate(("mara.png", "夕暮れ.png", "ines.png"), 1):
            image = make_png(name, seed=seed)
            registry.register_file(image, "characters", metadata=meta, provenance=said)
        registry.register_file(tmp_path / "art/rain.wav", "sounds", metadata={"tags": ["wet"]})
        (tmp_path / "notes.txt").write_text("notes")
        registry.register_file(tmp_path / "notes.txt", "generic")


def test_the_document_holds_every_fact_in_order_of_uid(library: None) -> None:
    """A backup that lacks one field is one that nobody can restore from."""
    document = json.loads(exported())

    with AssetRegistry() as registry:
        records = sorted(registry.list_assets(), key=lambda record: record["uid"])
        library_id = json.loads((ASSETS / ".comfyvn/library.json").read_text())["library"]
        assert {name: document[name] for name in document if name != "assets"} == {
            "format": "comfyvn-export",
            "schema": 1,
            "library": library_id,
            "project": "default",
        }
        assert len(document["assets"]) == 5
        for found, record in zip(document["assets"], records, strict=True):
            same = ("uid", "id", "type", "path", "hash", "bytes", "version", "tags", "license")
            for name in (*same, "created_at", "updated_at"):
                assert found[name] == record[name]  # type: ignore[literal-required]
            derived = {"tags", "license", "origin", "version", "preview", "thumbnails", "media"}
            assert found["meta"] == {k: v for k, v in record["meta"].items() if k not in derived}
            assert found["origin"] == record["meta"].get("origin")
            assert found["provenance"] == registry.list_provenance(record["uid"])
            assert (found["missing"], found["extra"]) == (False, {})
            assert found["preview"] == (record["preview"] or {}).get("kind")
            assert found["versions"] == []  # there is but one


def test_the_command_prints_the_same_with_and_without_json(library: None) -> None:
    """Two spellings of one command would give two documents, or the terminal's encoding a third."""
    plain, as_json = comfyvn("export"), comfyvn("export", "--json")

    assert (plain.returncode, plain.stderr) == (0, b"")
    assert plain.stdout == as_json.stdout == exported()
    assert "夕暮れ".encode() in plain.stdout
    assert plain.stdout.endswith(b"\n  ]\n}\n")


def test_nothing_of_this_machine_or_run_is_in_it(
    library: None, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every copy and every run would differ from the last, so that a difference says nothing."""
    before = exported()
    shutil.copytree(project, tmp_path / "moved")
    os.utime(tmp_path / "moved/assets/characters/mara.png")
    shutil.rmtree(tmp_path / "moved/cache")
    monkeypatch.chdir(tmp_path / "moved")
    rebuild_from_disk(assets_root=ASSETS, db_path=DB)

    after = exported()

    assert after == before
    assert str(project).encode() not in before


# -- the property that it exists for ------------------------------------------------------------------------


def test_a_lost_database_comes_back_byte_for_byte(library: None) -> None:
    """What the export shows and a rebuild can't bring back would be lost with the database."""
    before = exported()

    lose_the_database()

    assert exported() == before


def test_several_provenance_rows_come_back(library: None, tmp_path: Path) -> None:
    """Where a picture went through is its proof of origin, not only where it came from last."""
    with AssetRegistry() as registry:
        for number in range(3):
            again = {"source": f"pass {number}", "inputs": {"n": number}, "user_id": "jd"}
            registry.register_file(tmp_path / "art/mara.png", "characters", provenance=again)
    before = exported()
    assert len(assets()["characters/mara.png"]["provenance"]) == 4

    lose_the_database()

    assert exported() == before


def test_older_versions_come_back(library: None) -> None:
    """An older version that turns up again would be taken for a new asset."""
    for colour in (1, 2):
        Image.new("RGB", (9, 9), (colour, 0, 0)).save(ASSETS / "characters/mara.png")
        rebuild_from_disk(assets_root=ASSETS, db_path=DB)
    before = exported()
    assert [each["version"] for each in assets()["characters/mara.png"]["versions"]] == [3, 2, 1]

    lose_the_database()

    assert exported() == before


def test_an_asset_whose_file_is_gone_comes_back(library: None) -> None:
    """A drive that failed and a database that failed: tags and licence would be gone with the picture."""
    (ASSETS / "characters/ines.png").unlink()
    rebuild_from_disk(assets_root=ASSETS, db_path=DB)
    before = exported()
    assert assets()["characters/ines.png"]["missing"] is True

    lose_the_database()

    assert exported() == before


def test_hand_edits_and_unknown_keys_come_back(library: None) -> None:
    """What other tools keep in a sidecar belongs to the people who use them."""
    edit_sidecar("characters/mara.png", tags=["by hand"], rating={"b": [1, {"y": 1, "x": 2}], "a": 5})
    edit_sidecar("sounds/rain.wav", license="CC0-1.0", meta={"mood": "wet", "artist": "a friend"})
    rebuild_from_disk(assets_root=ASSETS, db_path=DB)
    before = exported()
    assert assets()["characters/mara.png"]["extra"] == {"rating": {"a": 5, "b": [1, {"x": 2, "y": 1}]}}

    lose_the_database()

    assert exported() == before


def test_the_order_of_keys_in_a_sidecar_is_no_difference(library: None) -> None:
    """A tool that sorts the keys of JSON would change every line of the export."""
    before = exported()
    sidecar = ASSETS / "characters/mara.png.asset.json"
    payload = json.loads(sidecar.read_text("utf-8"))
    sidecar.write_text(json.dumps(payload, ensure_ascii=False, sort_keys=True), "utf-8")

    lose_the_database()

    assert exported() == before


# -- into a file ------------------------------------------------------------------------------------------


def test_a_file_is_written_whole_over_an_older_export(library: None, tmp_path: Path) -> None:
    """A nightly backup would need a new name each night."""
    target = tmp_path / "backup.json"

    first = comfyvn("export", "--output", target)
    size = target.stat().st_size
    with AssetRegistry() as registry:
        registry.bulk_update_tags([registry.list_assets()[0]["uid"]], add_tags=["new"])
    second = comfyvn("export", "--json", "--output", target)

    assert (first.returncode, first.stdout.decode()) == (0, f"5 assets exported to {target}.\n")
    assert second.returncode == 0
    document = json.loads(second.stdout)
    assert document == {"output": str(target), "bytes": target.stat().st_size, "assets": 5}
    assert target.read_bytes() == exported()
    assert target.stat().st_size > size
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize(
    "place",
    [
        "assets/characters/mara.png",
        "assets/export.json",
        "cache/thumbs/export.json",
        "linked/export.json",
        "comfyvn/data/comfyvn.db",
        "novel.txt",
        "assets",
        "folder",
    ],
)
def test_nothing_else_is_ever_written_over(library: None, project: Path, place: str) -> None:
    """A slip of the keyboard would cost a picture, a sidecar, the ledger or a novel."""
    Path("novel.txt").write_text("chapter one")
    Path("folder").mkdir()
    Path("linked").symlink_to(ASSETS, target_is_directory=True)
    before = {path: path.read_bytes() for path in project.rglob("*") if path.is_file()}

    answer = comfyvn("export", "--output", place)

    assert (answer.returncode, answer.stdout) == (4, b"")
    assert b"Nothing was changed." in answer.stderr
    after = {path: path.read_bytes() for path in project.rglob("*") if path.is_file()}
    assert after == before
    with AssetRegistry() as registry, pytest.raises(PathConflict):
        export_to_file(registry, Path(place))


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no kill -9")
def test_a_killed_export_leaves_the_older_one(library: None, tmp_path: Path) -> None:
    """Half a backup in place of a whole one is found out on the day that it is needed."""
    target = tmp_path / "backup.json"
    assert comfyvn("export", "--output", target).returncode == 0
    before = target.read_bytes()

    died = subprocess.run(
        [sys.executable, "-c", KILLED_IN_THE_MIDDLE, str(target)],
        timeout=60,
        check=False,
        capture_output=True,
    )

    assert died.returncode == -signal.SIGKILL, died.stderr
    assert target.read_bytes() == before


def test_a_place_that_is_not_there_is_a_sentence(library: None, tmp_path: Path) -> None:
    """The reason would be a traceback, or a file at another place."""
    answer = comfyvn("export", "--output", tmp_path / "no/such/folder/e.json")

    assert (answer.returncode, answer.stdout) == (1, b"")
    assert b"e.json: the export could not be written: No such file or directory." in answer.stderr
    assert b"Traceback" not in answer.stderr


# -- at the edges -----------------------------------------------------------------------------------------


def test_an_empty_library_is_an_empty_list(registry: AssetRegistry) -> None:
    """A script would stumble over the first night of a new project."""
    document = json.loads(b"".join(export(registry)))

    assert document["assets"] == []


def test_without_a_library_it_says_so_and_makes_none(project: Path) -> None:
    """An empty export would look like a library that has lost everything."""
    answer = comfyvn("export", "--json")

    assert (answer.returncode, answer.stdout) == (5, b"")
    assert b"there is no library here yet" in answer.stderr
    assert list(project.iterdir()) == []


def test_it_shows_one_state_while_others_go_on_working(
    open_registry: Callable[..., AssetRegistry], library: None, tmp_path: Path
) -> None:
    """An asset that is moved or edited meanwhile would be in it twice, half or not at all."""
    registry, other = open_registry(), open_registry()
    before = exported()
    pieces = export(registry)
    first = next(pieces)

    for record in other.list_assets():
        other.bulk_update_tags([record["uid"]], add_tags=["later"])
    (tmp_path / "late.txt").write_text("late")
    other.register_file(tmp_path / "late.txt", "generic")
    other.remove_asset(record["uid"])

    assert first + b"".join(pieces) == before
    assert b"later" in exported()


def test_only_the_wanted_project_is_exported(
    open_registry: Callable[..., AssetRegistry], library: None, make_png: Callable[..., Path]
) -> None:
    """Two novels that share a database would leak into each other."""
    before = exported()
    other = open_registry(project_id="other")
    other.register_file(make_png(), "characters", dest_relative="other/mara.png")

    document = json.loads(b"".join(export(other)))

    assert (document["project"], len(document["assets"])) == ("other", 1)
    assert exported() == before
