"""The art of real games, through the whole of registering."""

import hashlib
import io
import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from comfyvn import media
from comfyvn.studio.core import AssetRegistry

pytestmark = pytest.mark.art
SUFFIXES = {".png", ".jpg", ".webp", ".ogg", ".opus", ".webm", ".ico", ".icns"}
PICTURES = {".png", ".jpg", ".webp"}


@pytest.fixture(scope="module")
def sources(art: Path) -> list[Path]:
    """Every media file, the largest first."""
    found = [path for path in art.rglob("*") if path.suffix in SUFFIXES and path.is_file()]
    return sorted(found, key=lambda path: (-path.stat().st_size, path))


def stripped(path: Path) -> bytes:
    sink = io.BytesIO()
    with path.open("rb") as file:
        media.strip(file, sink)
    return sink.getvalue()


def pixels(path: Path) -> tuple[Any, ...]:
    with Image.open(path) as image:
        image.load()
        return image.mode, image.size, image.getpalette(), hashlib.sha256(image.tobytes()).hexdigest()


def test_all_the_art_of_two_games_is_registered_and_stays_as_it_was(
    project: Path, open_registry: Callable[..., AssetRegistry], sources: list[Path], art: Path
) -> None:
    """A file as artists make them would be refused, changed, or shown wrongly."""
    registry = open_registry(durability="batch")
    digests = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in sources}
    items = [
        {
            "source_path": path,
            "asset_type": path.suffix.lstrip("."),
            "metadata": {"tags": list(path.relative_to(art).parts[-3:-1])},
            "provenance": {"source": "debian", "inputs": {"path": str(path.relative_to(art))}},
        }
        for path in sources
    ]

    results = list(registry.register_many(items))
    registry.wait_for_thumbnails()

    assert len(sources) > 130
    assert [result["error"] for result in results if result["error"]] == []
    assert registry.count_assets() == len(set(digests.values()))
    for source, result in zip(sources, results, strict=True):
        asset = result["asset"]
        assert asset is not None
        stored = project / "assets" / asset["path"]
        assert asset["hash"] == digests[source]
        assert asset["uid"] == digests[source][:16]
        assert stripped(stored) == source.read_bytes()
        assert json.loads((project / "assets" / asset["sidecar"]).read_text("utf-8"))["uid"] == asset["uid"]
        if source.suffix == ".png":
            with Image.open(stored) as image:
                image.load()
                assert json.loads(image.text["comfyvn_provenance"])["uid"] == asset["uid"]
            assert pixels(stored) == pixels(source)
        assert asset["media"]["stamped"] == (asset["media"]["format"] not in ("data", "ico")), source
        if source.suffix in PICTURES:
            check_thumbnails(registry, asset["uid"], source)
    assert sources == [
        path for path in sources if hashlib.sha256(path.read_bytes()).hexdigest() == digests[path]
    ]


def check_thumbnails(registry: AssetRegistry, uid: str, source: Path) -> None:
    record = registry.get_asset(uid)
    assert record is not None
    assert record["preview_state"] == "ready", (source, record["preview"])
    with Image.open(source) as original:
        width, height = original.size
    for side in (256, 512):
        with Image.open(registry.THUMB_ROOT / f"{uid}_{side}.webp") as thumb:
            scale = min(1.0, side / max(width, height))
            assert abs(thumb.width - width * scale) <= 1, source
            assert abs(thumb.height - height * scale) <= 1, source


def test_registering_all_of_it_again_changes_nothing(
    project: Path, open_registry: Callable[..., AssetRegistry], sources: list[Path]
) -> None:
    """A nightly ingest would grow the library, or touch every file of it."""
    registry = open_registry()
    items = [{"source_path": path, "asset_type": "art"} for path in sources[-100:]]
    first = list(registry.register_many(items))
    registry.wait_for_thumbnails()
    before = tree(project / "assets"), registry.list_assets(), counts(project)

    again = list(registry.register_many(items))
    registry.wait_for_thumbnails()

    assert {result["status"] for result in again} == {"known"}
    assert [result["asset"]["uid"] for result in again if result["asset"]] == [
        result["asset"]["uid"] for result in first if result["asset"]
    ]
    assert (tree(project / "assets"), registry.list_assets(), counts(project)) == before


def tree(folder: Path) -> dict[str, tuple[int, int, int]]:
    return {
        str(path.relative_to(folder)): (path.stat().st_size, path.stat().st_mtime_ns, path.stat().st_ino)
        for path in folder.rglob("*")
        if path.is_file()
    }


def counts(project: Path) -> list[int]:
    tables = ("assets_registry", "provenance", "asset_versions", "asset_journal", "asset_terms")
    with closing(sqlite3.connect(project / "comfyvn/data/comfyvn.db")) as connection:
        return [connection.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0] for table in tables]
