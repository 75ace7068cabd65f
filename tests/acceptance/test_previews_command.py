"""`comfyvn previews`: which previews are there, and the making of those that are not; facts beside them."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from PIL import Image

from comfyvn.errors import AssetNotFound
from comfyvn.registry.previews import build, status
from comfyvn.registry.rebuild import rebuild
from comfyvn.studio.core import AssetRecord, AssetRegistry
from support import Answer

Run = Callable[..., Answer]
Open = Callable[..., AssetRegistry]
THUMBS = Path("cache/thumbs")
DB = Path("comfyvn/data/comfyvn.db")


@pytest.fixture(autouse=True)
def plain_settings(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for no disk: these tests are about something else."""
    monkeypatch.setenv("COMFYVN_DURABILITY", "off")


@pytest.fixture
def moving(tmp_path: Path) -> Path:
    frames = [Image.new("RGB", (40, 30), colour) for colour in ("red", "green", "blue")]
    path = tmp_path / "rain.gif"
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=100, loop=0)
    return path


@pytest.fixture
def library(make_png: Callable[..., Path], moving: Path, tmp_path: Path) -> dict[str, AssetRecord]:
    """A still, something that moves, a text, and a picture that no decoder can read; by file name."""
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(40))
    text = tmp_path / "notes.txt"
    text.write_text("notes")
    with AssetRegistry() as registry:
        for source in (make_png("mara.png"), moving, text, broken):
            registry.register_file(source, "art")
        registry.wait_for_thumbnails()
        return {Path(record["path"]).name: record for record in registry.list_assets()}


def sql(statement: str) -> None:
    with closing(sqlite3.connect(DB)) as connection:
        connection.execute(statement)
        connection.commit()


def test_status_counts_by_format_and_names_what_failed(run: Run, library: dict[str, AssetRecord]) -> None:
    """A failed preview would be found only by whoever scrolls past it."""
    answer = run("previews", "status", "--json")

    told = answer.document
    assert answer.code == 1
    assert told["needs"] == {"ready": 2, "missing": 0, "failed": 1, "none": 1}
    assert told["formats"]["gif"] == {"ready": 1}
    assert [each["path"] for each in told["failed"]] == ["art/broken.png"]
    assert "1 failed" in run("previews", "status").out


def test_previews_that_were_deleted_are_made_again(run: Run, library: dict[str, AssetRecord]) -> None:
    """The cache could not be cleared."""
    shutil.rmtree(THUMBS)

    before = run("previews", "status")
    built = run("previews", "build", "--json")

    assert "2 missing" in before.out
    assert built.code == 0
    assert sorted(built.document["made"]) == sorted(library[name]["uid"] for name in ("mara.png", "rain.gif"))
    made = {path.suffixes[0] for path in THUMBS.glob(f"{library['rain.gif']['uid']}*")}
    assert made == {".webp", ".anim", ".facts"}


def test_nothing_is_made_twice_unless_all_are_wanted(run: Run, library: dict[str, AssetRecord]) -> None:
    """A run over a large library would take hours for nothing."""
    made = {path: path.stat().st_mtime_ns for path in THUMBS.iterdir() if path.is_file()}

    nothing = run("previews", "build", "--json")
    unchanged = {path: path.stat().st_mtime_ns for path in made}
    everything = run("previews", "build", "--all", "--json")

    assert nothing.document == {"made": [], "failed": []}
    assert unchanged == made
    assert everything.code == 1  # the broken one
    assert len(everything.document["made"]) == 2
    assert all(path.stat().st_mtime_ns > made[path] for path in made)


def test_what_failed_is_tried_again_on_request(
    run: Run, make_png: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A picture that was too large for yesterday's limit would never be shown."""
    monkeypatch.setenv("COMFYVN_PREVIEW_PIXELS", "100")
    with AssetRegistry() as registry:
        uid = registry.register_file(make_png(), "art")["uid"]
        registry.wait_for_thumbnails()
    monkeypatch.delenv("COMFYVN_PREVIEW_PIXELS")

    left = run("previews", "build", "--json")
    tried = run("previews", "build", "--failed", "--json")

    assert left.document["made"] == []
    assert (tried.code, tried.document["made"]) == (0, [uid])
    with AssetRegistry() as registry:
        record = registry.get_asset(uid)
        assert record is not None
        assert record["preview_state"] == "ready"
        assert "thumbnails" in registry.read_sidecar(uid)["meta"]


def test_one_asset_can_be_named_and_an_unknown_one_is_refused(
    run: Run, library: dict[str, AssetRecord], registry: AssetRegistry
) -> None:
    """One picture could not be tried without all others."""
    answer = run("previews", "build", "--all", "art/mara.png", "--json")

    assert answer.document["made"] == [library["mara.png"]["uid"]]
    with pytest.raises(AssetNotFound):
        build(registry, uids=["f" * 16])


def test_a_library_of_an_older_version_gets_moving_previews_and_facts(
    run: Run, library: dict[str, AssetRecord], open_registry: Open
) -> None:
    """What was registered before would never move, nor be found by its size."""
    uid = library["rain.gif"]["uid"]
    sql("UPDATE assets_registry SET media = NULL")
    sql(f"UPDATE assets_registry SET preview_kind = 'thumbnail', preview_recipe = 1 WHERE uid = '{uid}'")
    sql(
        "UPDATE assets_registry SET preview_kind = NULL, preview_state = 'none' WHERE path_full LIKE '%mara%'"
    )
    registry = open_registry()

    rebuild(registry)
    registry.wait_for_thumbnails()

    record = registry.get_asset(uid)
    assert record is not None
    assert (record["media"]["frames"], record["links"]["animation"]) == (3, f"cache/thumbs/{uid}.anim.webp")
    assert registry.read_sidecar(uid)["links"] == record["links"]
    assert registry.count_assets(where=["width>=1"]) == 2
    assert status(registry)["needs"] == {"ready": 2, "missing": 0, "failed": 1, "none": 1}


def test_a_lost_database_gets_the_facts_back_without_making_previews_again(
    library: dict[str, AssetRecord], open_registry: Open
) -> None:
    """Facts are not in the sidecars; decoding a whole library again takes hours."""
    made = {path: path.stat().st_mtime_ns for path in THUMBS.glob("*.webp")}
    shutil.rmtree(DB.parent)
    registry = open_registry()

    rebuild(registry)
    registry.wait_for_thumbnails()

    facts = {record["uid"]: record["media"] for record in registry.list_assets()}
    assert facts == {record["uid"]: record["media"] for record in library.values()}
    assert {path: path.stat().st_mtime_ns for path in THUMBS.glob("*.webp")} == made


def test_a_missing_file_is_no_failure(run: Run, library: dict[str, AssetRecord]) -> None:
    """An unplugged drive would look like a thousand broken pictures."""
    Path("assets", library["mara.png"]["path"]).unlink()
    with AssetRegistry() as registry:
        rebuild(registry, allow_missing=True)

    answer = run("previews", "build", "--json")

    assert answer.document == {"made": [], "failed": []}
