"""Content that the project already knows: one asset, its facts merged, its file restored."""

import io
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from comfyvn import media
from comfyvn.studio.core import AssetRegistry


def stripped(path: Path) -> bytes:
    sink = io.BytesIO()
    with path.open("rb") as file:
        media.strip(file, sink)
    return sink.getvalue()


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_known_content_is_not_copied_again(
    project: Path, registry: AssetRegistry, make_png: Callable[..., Path]
) -> None:
    """The same picture would lie in the library as often as it is registered."""
    first = registry.register_file(make_png("mara.png"), "characters")
    registry.wait_for_thumbnails()
    before = files(project / "assets")

    again = registry.register_file(
        make_png("another name.png"), "backgrounds", dest_relative="backgrounds/elsewhere.png"
    )

    assert again["duplicate"] is True
    assert (again["uid"], again["id"], again["path"], again["type"]) == (
        *(first["uid"], first["id"], "characters/mara.png", "characters"),
    )
    assert files(project / "assets") == before
    assert registry.count_assets() == 1


def test_known_content_keeps_its_facts_where_that_is_asked(
    registry: AssetRegistry, make_png: Callable[..., Path]
) -> None:
    """A folder that is taken in with one licence would give that to assets with another."""
    registry.register_file(make_png(), "x", metadata={"tags": ["one"]}, license_tag="CC-BY-4.0")
    said = {"metadata": {"tags": ["two"]}, "license_tag": "MIT", "keep_known": True}

    one = registry.register_file(make_png(), "x", **said)
    (many,) = registry.register_many([{"source_path": make_png(), "asset_type": "x", **said}])

    assert many["asset"] is not None
    for record in (one, many["asset"]):
        assert (record["tags"], record["license"]) == (["one"], "CC-BY-4.0")


def test_tags_are_united_and_other_keys_replaced(
    registry: AssetRegistry, make_png: Callable[..., Path]
) -> None:
    """The second registration would throw away what the first one said, or say nothing."""
    first = {"tags": ["Mara", "smile"], "artist": "J. Doe", "mood": "happy", "origin": "scan"}
    registry.register_file(make_png(), "x", metadata=first, license_tag="CC-BY-4.0")

    again = registry.register_file(make_png(), "x", metadata={"tags": ["MARA", "summer"], "mood": "sad"})

    assert again["tags"] == ["Mara", "smile", "summer"]
    assert again["license"] == "CC-BY-4.0"
    wanted = {"artist": "J. Doe", "mood": "sad", "origin": "scan", "tags": ["Mara", "smile", "summer"]}
    assert {key: again["meta"][key] for key in wanted} == wanted
    written = registry.read_sidecar(again["uid"])
    assert (written["tags"], written["origin"]) == (["Mara", "smile", "summer"], "scan")
    assert {key: written["meta"][key] for key in wanted} == wanted


@pytest.mark.parametrize(
    ("arguments", "kept"),
    [
        ({}, "CC-BY-4.0"),
        ({"metadata": {"tags": ["x"]}}, "CC-BY-4.0"),
        ({"metadata": {"license": "MIT"}}, "MIT"),
        ({"license_tag": "MIT"}, "MIT"),
        ({"metadata": {"license": "MIT"}, "license_tag": "CC0-1.0"}, "MIT"),
        ({"metadata": {"license": ""}}, None),
        ({"metadata": {"license": None}}, None),
        ({"license_tag": ""}, None),
    ],
)
def test_the_licence_is_replaced_only_where_one_is_given(
    registry: AssetRegistry,
    make_png: Callable[..., Path],
    arguments: dict[str, Any],
    kept: str | None,
) -> None:
    """A licence would vanish because nobody repeated it, or could not be withdrawn."""
    registry.register_file(make_png(), "x", license_tag="CC-BY-4.0")

    again = registry.register_file(make_png(), "x", **arguments)

    assert again["license"] == again["meta"]["license"] == kept
    assert registry.read_sidecar(again["uid"])["license"] == kept


def test_each_registration_appends_a_provenance_row(
    registry: AssetRegistry, make_png: Callable[..., Path]
) -> None:
    """Where the same content came from the second time would be forgotten."""
    first = registry.register_file(make_png(), "x", provenance={"source": "comfyui"})

    again = registry.register_file(make_png(), "x", provenance={"source": "upload"})

    assert [row["source"] for row in registry.list_provenance(first["uid"])] == ["upload", "comfyui"]
    assert again["provenance"]["source"] == "upload"  # type: ignore[index]
    written = registry.read_sidecar(first["uid"])["provenance"]
    assert (written["source"], [row["source"] for row in written["history"]]) == ("upload", ["comfyui"])


def test_a_repeated_ingest_adds_no_row_that_says_nothing_new(
    registry: AssetRegistry, make_png: Callable[..., Path]
) -> None:
    """Running the same ingest every night would fill ledger and sidecars with copies of one sentence."""
    item = {"source_path": make_png(), "asset_type": "x", "provenance": {"source": "nightly", "seed": 1}}

    for _ in range(3):
        (result,) = registry.register_many([item])
    (other,) = registry.register_many([{**item, "provenance": {"source": "nightly", "seed": 2}}])

    assert result["status"] == other["status"] == "known"
    uid = result["asset"]["uid"]  # type: ignore[index]
    assert [row["inputs"]["seed"] for row in registry.list_provenance(uid)] == [2, 1]


@pytest.mark.parametrize("by", ["register_file", "register_many"])
def test_a_deleted_file_is_restored_where_it_was(
    project: Path, registry: AssetRegistry, make_png: Callable[..., Path], by: str
) -> None:
    """The record would be "reused" while its file stays gone."""
    source = make_png()
    first = registry.register_file(source, "characters", metadata={"tags": ["mara"]})
    stored = project / "assets" / first["path"]
    stored.unlink()

    if by == "register_file":
        again = registry.register_file(make_png("copy.png"), "backgrounds")
    else:
        (result,) = registry.register_many([{"source_path": source, "asset_type": "backgrounds"}])
        again = result["asset"]  # type: ignore[assignment]

    assert (again["uid"], again["path"], again["tags"]) == (first["uid"], "characters/mara.png", ["mara"])
    assert again["missing_since"] is None
    assert stripped(stored) == source.read_bytes()
    assert b"comfyvn_provenance" in stored.read_bytes()


def test_everything_deleted_but_the_ledger_comes_back(
    project: Path, registry: AssetRegistry, make_png: Callable[..., Path]
) -> None:
    """A cleaned folder would leave assets without sidecar, mirror or preview."""
    first = registry.register_file(make_png(), "characters", metadata={"tags": ["mara"]})
    registry.wait_for_thumbnails()
    shutil.rmtree(project / "assets/characters")
    shutil.rmtree(project / "assets/_meta")
    shutil.rmtree(project / "cache")

    again = registry.register_file(make_png(), "characters")
    registry.wait_for_thumbnails()

    assert again["uid"] == first["uid"]
    assert (project / "assets/characters/mara.png").is_file()
    assert registry.read_sidecar(first["uid"])["tags"] == ["mara"]
    assert (project / "assets/_meta/characters/mara.json").is_file()
    assert registry.resolve_thumbnail_path(first["uid"]) is not None


def test_a_deleted_file_does_not_come_back_over_another(
    project: Path, registry: AssetRegistry, make_png: Callable[..., Path]
) -> None:
    """A file that took the place of a missing one would be overwritten by it."""
    first = registry.register_file(make_png(), "characters")
    stored = project / "assets" / first["path"]
    stored.write_bytes(b"painted over")

    again = registry.register_file(make_png(), "characters")

    assert again["uid"] == first["uid"]
    assert stored.read_bytes() == b"painted over"


def test_known_content_found_elsewhere_in_the_library_moves_its_asset_there(
    project: Path, registry: AssetRegistry, make_png: Callable[..., Path]
) -> None:
    """A file that was moved by hand would become a second asset, without tags."""
    first = registry.register_file(make_png(), "characters", metadata={"tags": ["mara"]})
    target = project / "assets/heroes/mara happy.png"
    target.parent.mkdir()
    (project / "assets" / first["path"]).rename(target)

    moved = registry.register_file(target, "heroes", copy_file=False)

    assert (moved["uid"], moved["path"], moved["tags"]) == (
        first["uid"],
        "heroes/mara happy.png",
        ["mara"],
    )
    assert registry.count_assets() == 1
    assert registry.read_sidecar(first["uid"])["path"] == "heroes/mara happy.png"
    assert files(project / "assets/_meta") == ["heroes/mara happy.json"]
    assert files(project / "assets/characters") == []


def test_a_missing_preview_is_made_again(registry: AssetRegistry, make_png: Callable[..., Path]) -> None:
    """A cleaned cache would leave the gallery without pictures for ever."""
    info = registry.register_file(make_png(), "x")
    registry.wait_for_thumbnails()
    thumb = registry.resolve_thumbnail_path(info["uid"])
    assert thumb is not None
    thumb.unlink()
    assert registry.resolve_thumbnail_path(info["uid"]) is None

    registry.register_file(make_png(), "x")
    registry.wait_for_thumbnails()

    assert registry.resolve_thumbnail_path(info["uid"]) == thumb


@pytest.mark.parametrize("is_one_call", [True, False], ids=["in one call", "one after the other"])
def test_two_files_whose_sidecars_name_the_same_asset_are_two_assets(
    project: Path,
    open_registry: Callable[..., AssetRegistry],
    make_png: Callable[..., Path],
    is_one_call: bool,
) -> None:
    """A file copied together with its sidecar, then painted over, would replace the original's record."""
    with open_registry() as first:
        info = first.register_file(make_png(), "x", metadata={"tags": ["mara"]})
    original, copied = project / "assets/x/mara.png", project / "assets/x/copy.png"
    copied.write_bytes(make_png("painted over.png", seed=2).read_bytes())
    shutil.copy(f"{original}.asset.json", f"{copied}.asset.json")
    items = [{"source_path": path, "asset_type": "x", "copy_file": False} for path in (original, copied)]
    registry = open_registry(db_path="new.db")

    calls = [items] if is_one_call else [[item] for item in items]
    results = [result for call in calls for result in registry.register_many(call)]

    assert [result["status"] for result in results] == ["registered"] * 2
    entries = registry.list_assets()
    assert {entry["path"]: entry["uid"] for entry in entries} == {
        "x/mara.png": info["uid"],
        "x/copy.png": entries[0]["hash"][:16],
    }
    assert len({entry["id"] for entry in entries}) == 2
    assert len({entry["provenance"]["id"] for entry in entries if entry["provenance"]}) == 2
    for entry in entries:
        assert registry.read_sidecar(entry["uid"])["uid"] == entry["uid"]
        assert entry["tags"] == ["mara"]


# -- two projects ---------------------------------------------------------------------------------------


def test_the_same_content_in_two_projects_is_two_assets(
    open_registry: Callable[..., AssetRegistry], make_png: Callable[..., Path]
) -> None:
    """A second project could not hold a picture that the first one has, or would change its tags."""
    one = open_registry(project_id="one", assets_root="one", thumb_root="one-thumbs")
    two = open_registry(project_id="two", assets_root="two", thumb_root="two-thumbs")

    first = one.register_file(make_png(), "characters", metadata={"tags": ["one"]})
    second = two.register_file(make_png(), "characters", metadata={"tags": ["two"]})
    one.bulk_update_tags([first["uid"]], add_tags=["more"])
    two.remove_asset(second["uid"], delete_files=True)

    assert second["duplicate"] is False
    assert second["uid"] == first["uid"]
    assert second["id"] != first["id"]
    assert [entry["tags"] for entry in one.list_assets()] == [["one", "more"]]
    assert one.resolve_path(first["uid"]).is_file()  # type: ignore[union-attr]
    assert two.list_assets() == []
    assert [row["asset_id"] for row in one.list_provenance(first["uid"])] == [first["id"]]


def test_two_projects_in_one_assets_folder_do_not_share_files(
    project: Path, open_registry: Callable[..., AssetRegistry], make_png: Callable[..., Path]
) -> None:
    """Removing the asset of one project would take the file and the sidecar of the other away."""
    one, two = open_registry(project_id="one"), open_registry(project_id="two")

    first = one.register_file(make_png(), "characters", metadata={"tags": ["one"]})
    second = two.register_file(make_png(), "characters", metadata={"tags": ["two"]})
    one.wait_for_thumbnails()
    other = two.register_file(make_png("b/mara.png", seed=2), "characters")

    assert len({first["path"], second["path"], other["path"]}) == 3
    assert one.read_sidecar(first["uid"])["tags"] == ["one"]
    assert two.read_sidecar(second["uid"])["tags"] == ["two"]
    two.remove_asset(second["uid"], delete_files=True)
    assert one.resolve_path(first["uid"]).is_file()  # type: ignore[union-attr]
    assert one.read_sidecar(first["uid"])["tags"] == ["one"]
    assert [path.name for path in (project / "assets/_meta/characters").iterdir()].count("mara.json") == 1
