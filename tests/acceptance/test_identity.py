"""An asset stays the same asset whatever happens to its file while nothing of ours is running."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from comfyvn.errors import PathConflict
from comfyvn.registry.rebuild import RebuildReport, rebuild
from comfyvn.studio.core import AssetRecord, AssetRegistry

ASSETS = Path("assets")
DB = Path("comfyvn/data/comfyvn.db")


@pytest.fixture(autouse=True)
def no_waiting_for_disks(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests are about identity; power cuts are others'."""
    monkeypatch.setenv("COMFYVN_DURABILITY", "off")


@pytest.fixture
def cast(registry: AssetRegistry, make_png: Callable[..., Path]) -> dict[str, AssetRecord]:
    """Four pictures with tags and licences, by their letter."""
    made = {}
    for seed, name in enumerate("abcd", 1):
        said = {"tags": [name, "cast"], "license": f"L-{name}", "artist": name}
        source = make_png(f"{name}.png", seed=seed)
        made[name] = registry.register_file(source, "cast", metadata=said, provenance={"source": name})
    registry.wait_for_thumbnails()
    return made


def run(registry: AssetRegistry, **options: object) -> RebuildReport:
    report = rebuild(registry, **options)  # type: ignore[arg-type]
    registry.wait_for_thumbnails()
    return report


def at(registry: AssetRegistry) -> dict[str, str]:
    """Return where each asset lies, as {letter: file name}; a missing one in brackets."""
    found = {}
    for record in registry.list_assets():
        name = record["path"].rpartition("/")[2]
        found[record["tags"][0]] = f"({name})" if record["missing_since"] else name
    return found


def paint(path: Path, colour: str = "red", **text: str) -> None:
    info = PngInfo()
    for key, value in text.items():
        info.add_text(key, value)
    Image.new("RGB", (20, 20), colour).save(path, pnginfo=info)


def move(old: str, new: str) -> None:
    (ASSETS / "cast" / old).rename(ASSETS / "cast" / new)


def with_sidecar(old: str, new: str) -> None:
    move(old, new)
    move(f"{old}.asset.json", f"{new}.asset.json")


def agree(registry: AssetRegistry) -> None:
    """Assert that ledger, files, sidecars and mirrors say the same, and that nothing else lies there."""
    records = registry.list_assets()
    beside = {path.relative_to(ASSETS).as_posix() for path in ASSETS.rglob("*.asset.json")}
    assert beside == {record["sidecar"] for record in records}
    mirrors = [json.loads(path.read_text("utf-8")) for path in (ASSETS / "_meta").rglob("*.json")]
    assert sorted(mirror["uid"] for mirror in mirrors) == sorted(record["uid"] for record in records)
    for record in records:
        told = registry.read_sidecar(record["uid"])
        same = ("uid", "id", "path", "hash", "bytes", "version", "tags", "license", "updated_at")
        assert {key: told[key] for key in same if key != "id"} == {
            key: record[key]  # type: ignore[literal-required]
            for key in same
            if key != "id"
        }
        assert next(mirror for mirror in mirrors if mirror["uid"] == record["uid"]) == told
        rows = [told["provenance"], *told["provenance"].pop("history", [])]
        assert rows == registry.list_provenance(record["uid"])
        thumb = registry.resolve_thumbnail_path(record["uid"])
        assert record["missing_since"] or thumb is not None


def settled(registry: AssetRegistry) -> None:
    """Assert that all agrees and that a further rebuild finds nothing to do."""
    agree(registry)
    again = run(registry)
    counts = {name: value for name, value in again.as_dict().items() if isinstance(value, list) and value}
    assert counts == {}


# -- places ---------------------------------------------------------------------------------------------


def test_two_files_that_changed_names_keep_what_was_written_of_them(
    registry: AssetRegistry, cast: dict[str, AssetRecord]
) -> None:
    """Mara's tags and licence would stand on Ellis's picture, and each would have a false version 2."""
    move("a.png", "x.png")
    move("b.png", "a.png")
    move("x.png", "b.png")

    report = run(registry)

    assert at(registry) == {"a": "b.png", "b": "a.png", "c": "c.png", "d": "d.png"}
    assert {each["uid"] for each in report.moved} == {cast["a"]["uid"], cast["b"]["uid"]}
    assert (report.conflicts, report.content_changed, report.missing) == ([], [], [])
    record = registry.get_asset(cast["a"]["uid"])
    assert record is not None
    assert (record["version"], record["license"], record["provenance"]["source"]) == (1, "L-a", "a")  # type: ignore[index]
    settled(registry)
    mirror = json.loads((ASSETS / "_meta/cast/b.json").read_text("utf-8"))
    assert mirror["uid"] == cast["a"]["uid"]


def test_files_that_changed_names_in_a_ring_with_their_sidecars(
    registry: AssetRegistry, cast: dict[str, AssetRecord]
) -> None:
    """A careful user who moves the sidecars too would be told of conflicts."""
    with_sidecar("a.png", "x.png")
    with_sidecar("c.png", "a.png")
    with_sidecar("b.png", "c.png")
    with_sidecar("x.png", "b.png")

    report = run(registry)

    assert at(registry) == {"a": "b.png", "b": "c.png", "c": "a.png", "d": "d.png"}
    assert report.conflicts == []
    settled(registry)


@pytest.mark.parametrize("step", [1, -1], ids=["up", "down"])
def test_renumbered_frames_are_the_same_frames(
    step: int, registry: AssetRegistry, make_png: Callable[..., Path]
) -> None:
    """Every frame behind an inserted one would be taken for its neighbour, painted over."""
    uids = {}
    for number in range(1, 31):
        said = {"tags": [f"frame {number}"]}
        source = make_png(f"{number:02}.png", seed=number, size=(8, 8))
        uids[number] = registry.register_file(source, "cast", metadata=said)["uid"]
    frames = sorted(ASSETS.glob("cast/*.png"), reverse=step > 0)
    for path in frames:
        path.rename(path.with_name(f"{int(path.stem) + step:02}.png"))

    report = run(registry)

    assert (report.conflicts, report.content_changed, report.missing) == ([], [], [])
    assert len(report.moved) == 30
    for number, uid in uids.items():
        record = registry.get_asset(uid)
        assert record is not None
        assert record["path"] == f"cast/{number + step:02}.png"
        assert record["tags"] == [f"frame {number}"]
    settled(registry)


def test_a_swap_keeps_hand_edits_of_both_sidecars(
    registry: AssetRegistry, cast: dict[str, AssetRecord]
) -> None:
    """What was typed into a sidecar before the swap would land on the other asset, or nowhere."""
    for name in "ab":
        path = ASSETS / f"cast/{name}.png.asset.json"
        told = json.loads(path.read_text("utf-8"))
        told["tags"].append(f"edited {name}")
        path.write_text(json.dumps(told))
    move("a.png", "x.png")
    move("b.png", "a.png")
    move("x.png", "b.png")

    run(registry)

    for name in "ab":
        record = registry.get_asset(cast[name]["uid"])
        assert record is not None
        assert record["tags"] == [name, "cast", f"edited {name}"]
    settled(registry)


def test_an_overwritten_file_is_a_conflict_until_a_sidecar_decides(
    registry: AssetRegistry, cast: dict[str, AssetRecord]
) -> None:
    """`mv a.png b.png`: is it a at another place, or b with new content? Whoever guesses loses one."""
    (ASSETS / "cast/a.png").replace(ASSETS / "cast/b.png")

    report = run(registry)
    untouched = at(registry)
    move("a.png.asset.json", "b.png.asset.json")
    decided = run(registry)

    (conflict,) = report.conflicts
    assert conflict["path"] == "cast/b.png"
    assert set(conflict["candidates"]) == {cast["a"]["uid"], cast["b"]["uid"]}
    assert untouched == {"a": "(a.png)", "b": "b.png", "c": "c.png", "d": "d.png"}
    assert decided.conflicts == []
    left = f"(b-{cast['b']['uid'][:8]}.png)"
    assert at(registry) == {"a": "b.png", "b": left, "c": "c.png", "d": "d.png"}
    lost = registry.get_asset(cast["b"]["uid"])
    assert lost is not None
    assert (lost["license"], lost["meta"]["artist"]) == ("L-b", "b")
    settled(registry)


def test_an_overwritten_file_may_also_be_a_new_version(
    registry: AssetRegistry, cast: dict[str, AssetRecord]
) -> None:
    """The other way out of the conflict, as its message says, would not work."""
    (ASSETS / "cast/a.png").replace(ASSETS / "cast/b.png")
    run(registry)

    registry.register_file(ASSETS / "cast/b.png", "cast", copy_file=False)

    record = registry.get_asset(cast["b"]["uid"])
    assert record is not None
    assert (record["path"], record["version"]) == ("cast/b.png", 2)


def test_a_copy_saved_over_another_asset_is_its_new_version(
    registry: AssetRegistry, cast: dict[str, AssetRecord]
) -> None:
    """Both files are where they belong: nothing has moved."""
    shutil.copy(ASSETS / "cast/a.png", ASSETS / "cast/b.png")

    report = run(registry)

    assert [each["uid"] for each in report.content_changed] == [cast["b"]["uid"]]
    assert at(registry) == {"a": "a.png", "b": "b.png", "c": "c.png", "d": "d.png"}
    settled(registry)


def test_a_backup_beside_a_repainted_file_is_not_the_asset(
    registry: AssetRegistry, cast: dict[str, AssetRecord]
) -> None:
    """The game shows a.png: it must stay the asset, and the copy of its old self stay a copy."""
    move("a.png", "a backup.png")
    paint(ASSETS / "cast/a.png")

    report = run(registry)

    assert at(registry)["a"] == "a.png"
    assert report.duplicates == [{"uid": cast["a"]["uid"], "path": "cast/a backup.png"}]
    record = registry.get_asset(cast["a"]["uid"])
    assert record is not None
    assert record["version"] == 2


@pytest.mark.parametrize("new", ["z.png", "0.png"], ids=["behind", "before"])
def test_a_file_that_left_with_its_sidecar_leaves_its_place_to_a_new_asset(
    new: str, registry: AssetRegistry, cast: dict[str, AssetRecord]
) -> None:
    """The sidecar says who a file is: what lies at the old place now would inherit tags and licence."""
    with_sidecar("a.png", new)
    paint(ASSETS / "cast/a.png")

    report = run(registry)

    record = registry.get_asset(cast["a"]["uid"])
    assert record is not None
    assert (record["path"], record["version"]) == (f"cast/{new}", 1)
    assert [each["path"] for each in report.registered] == ["cast/a.png"]
    assert report.conflicts == []
    settled(registry)


def test_a_renamed_and_repainted_file_is_known_by_its_marker(
    registry: AssetRegistry, cast: dict[str, AssetRecord]
) -> None:
    """Most painting programs keep the text chunks of a PNG."""
    path = ASSETS / "cast/a.png"
    with Image.open(path) as image:
        marker = image.text["comfyvn_provenance"]  # type: ignore[attr-defined]
    path.unlink()
    paint(ASSETS / "cast/a final.png", comfyvn_provenance=marker)

    report = run(registry)

    assert [each["uid"] for each in report.moved] == [cast["a"]["uid"]]
    assert [each["uid"] for each in report.content_changed] == [cast["a"]["uid"]]
    settled(registry)


def test_a_drive_that_vanishes_and_returns_changes_nothing_but_a_date(
    registry: AssetRegistry, cast: dict[str, AssetRecord], tmp_path: Path
) -> None:
    """A folder that was away for a day would come back as new assets."""
    before = {name: registry.get_asset(record["uid"]) for name, record in cast.items()}
    shutil.move(ASSETS / "cast", tmp_path / "away")

    gone = run(registry, allow_missing=True)
    shutil.move(tmp_path / "away", ASSETS / "cast")
    back = run(registry)

    assert (len(gone.missing), len(back.restored)) == (4, 4)
    assert {name: registry.get_asset(record["uid"]) for name, record in cast.items()} == before
    settled(registry)


@pytest.mark.parametrize("variant", ["0.png", "z.png"], ids=["before", "behind"])
def test_a_variant_with_the_marker_does_not_take_the_place_of_the_moved_original(
    variant: str, registry: AssetRegistry, cast: dict[str, AssetRecord]
) -> None:
    """Depending on names the variant would get uid, tags and licence of the reviewed picture."""
    path = ASSETS / "cast/a.png"
    with Image.open(path) as image:
        marker = image.text["comfyvn_provenance"]  # type: ignore[attr-defined]
    paint(ASSETS / "cast" / variant, comfyvn_provenance=marker)
    move("a.png", "m.png")

    report = run(registry)

    assert registry.resolve_uid("cast/m.png") == cast["a"]["uid"]
    assert [each["path"] for each in report.registered] == [f"cast/{variant}"]
    settled(registry)


def test_spare_copies_of_sidecars_are_the_users_own(
    registry: AssetRegistry, cast: dict[str, AssetRecord]
) -> None:
    """A backup made before an edit would be gone with the rebuild that takes the edit in."""
    spare = ASSETS / "backup/a.png.asset.json"
    spare.parent.mkdir()
    shutil.copy(ASSETS / "cast/a.png.asset.json", spare)
    before = spare.read_bytes()
    told = json.loads(before)
    told["license"] = "edited"
    (ASSETS / "cast/a.png.asset.json").write_text(json.dumps(told))

    report = run(registry)

    assert len(report.metadata_changed) == 1
    assert spare.read_bytes() == before


def test_a_sidecar_that_was_cut_short_is_broken_and_no_wish(
    registry: AssetRegistry, cast: dict[str, AssetRecord]
) -> None:
    """A script that crashed between two writes would clear tags and licence."""
    path = ASSETS / "cast/a.png.asset.json"
    path.write_text("{}")

    report = run(registry)

    (failure,) = report.failed
    assert "it has no uid any more" in failure["why"]
    assert path.read_text() == "{}"
    record = registry.get_asset(cast["a"]["uid"])
    assert record is not None
    assert (record["tags"], record["license"]) == (["a", "cast"], "L-a")


def test_emptied_provenance_is_written_again_and_none_invented(
    registry: AssetRegistry, cast: dict[str, AssetRecord]
) -> None:
    """The newest row would be one that nobody recorded."""
    path = ASSETS / "cast/a.png.asset.json"
    before = registry.list_provenance(cast["a"]["uid"])
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), "provenance": {}}))

    run(registry)

    assert registry.list_provenance(cast["a"]["uid"]) == before
    assert registry.read_sidecar(cast["a"]["uid"])["provenance"]["source"] == "a"
    settled(registry)


@pytest.mark.parametrize("copy", ["0.png", "z.png"], ids=["before", "behind"])
def test_a_painted_copy_with_the_sidecar_does_not_outrank_the_moved_original(
    copy: str, registry: AssetRegistry, cast: dict[str, AssetRecord]
) -> None:
    """The first by name would be the asset, and the untouched original a mere copy."""
    with_sidecar("a.png", "m.png")
    shutil.copy(ASSETS / "cast/m.png.asset.json", ASSETS / f"cast/{copy}.asset.json")
    paint(ASSETS / "cast" / copy)

    report = run(registry)

    assert at(registry)["a"] == "m.png"
    assert [each["path"] for each in report.conflicts] == [f"cast/{copy}"]
    assert (report.content_changed, report.duplicates) == ([], [])


def test_of_two_painted_files_with_one_marker_nobody_guesses(
    registry: AssetRegistry, cast: dict[str, AssetRecord]
) -> None:
    """The first by name would get uid, tags and licence."""
    path = ASSETS / "cast/a.png"
    with Image.open(path) as image:
        marker = image.text["comfyvn_provenance"]  # type: ignore[attr-defined]
    path.unlink()
    for name, colour in {"v0.png": "black", "v1.png": "white"}.items():
        paint(ASSETS / "cast" / name, colour, comfyvn_provenance=marker)

    report = run(registry)

    assert sorted(each["path"] for each in report.conflicts) == ["cast/v0.png", "cast/v1.png"]
    assert at(registry)["a"] == "(a.png)"


def test_the_sidecar_of_another_project_is_no_hand_edit(
    registry: AssetRegistry, cast: dict[str, AssetRecord], open_registry: Callable[..., AssetRegistry]
) -> None:
    """Equal content has one uid in both projects: tags and licence of the one would become the other's."""
    other = open_registry(project_id="other")
    copy = other.register_file("../art/a.png", "cast", metadata={"tags": ["theirs"], "license": "THEIRS"})
    shutil.copy(ASSETS / copy["sidecar"], ASSETS / "cast/a.png.asset.json")

    report = run(registry)

    assert copy["uid"] == cast["a"]["uid"]
    assert [each["path"] for each in report.conflicts] == ["cast/a.png"]
    record = registry.get_asset(cast["a"]["uid"])
    assert record is not None
    assert (record["tags"], record["license"]) == (["a", "cast"], "L-a")
    with pytest.raises(PathConflict, match="'other'"):
        registry.bulk_update_tags([cast["a"]["uid"]], add_tags=["mine"])


def test_a_file_of_another_project_is_not_registered_in_place(
    registry: AssetRegistry, cast: dict[str, AssetRecord], open_registry: Callable[..., AssetRegistry]
) -> None:
    """The two would overwrite each other's sidecar, and one could remove the other's file."""
    other = open_registry(project_id="other")

    with pytest.raises(PathConflict, match="belongs to the project 'default'"):
        other.register_file(ASSETS / "cast/a.png", "cast", copy_file=False)
    (ASSETS / "cast/a.png.asset.json").unlink()
    with pytest.raises(PathConflict, match="belongs to the project 'default'"):
        other.register_file(ASSETS / "cast/a.png", "cast", copy_file=False)

    run(registry)
    settled(registry)


def test_a_folder_that_was_moved_away_and_linked_back_does_not_stop_the_rebuild(
    registry: AssetRegistry, cast: dict[str, AssetRecord], make_png: Callable[..., Path], tmp_path: Path
) -> None:
    """Nothing at all would be taken in, because of one link."""
    registry.register_file(make_png("e.png", seed=9), "other")
    shutil.move(ASSETS / "cast", tmp_path / "cast")
    try:
        (ASSETS / "cast").symlink_to(tmp_path / "cast", target_is_directory=True)
    except OSError:
        pytest.skip("this system makes no links")
    paint(ASSETS / "other/e.png")

    report = run(registry, allow_missing=True)

    assert [each["path"] for each in report.content_changed] == ["other/e.png"]
    assert len(report.missing) == 4


def test_a_picture_in_a_folder_named_like_a_mirror_is_registered(
    registry: AssetRegistry, cast: dict[str, AssetRecord], make_png: Callable[..., Path]
) -> None:
    """Its mirror would want a folder where the mirror of `a.png` lies, and never get it."""
    record = registry.register_file(make_png("e.png", seed=9), "cast", dest_relative="cast/a.json/e.png")
    registry.wait_for_thumbnails()

    assert record["path"] == "cast/a.json/e.png"
    settled(registry)


# -- the ledger lost, or an old one put back ------------------------------------------------------------


def lose_ledger(registry: AssetRegistry) -> AssetRegistry:
    registry.close()
    for path in DB.parent.glob("comfyvn.db*"):
        path.unlink()
    return AssetRegistry()


def test_missing_assets_and_their_versions_survive_the_loss_of_the_ledger(
    registry: AssetRegistry, cast: dict[str, AssetRecord]
) -> None:
    """Only its sidecar is left of an asset whose file is on another drive: it would be forgotten."""
    paint(ASSETS / "cast/a.png")
    run(registry)
    paint(ASSETS / "cast/a.png", "blue")
    run(registry)
    (ASSETS / "cast/a.png").rename("kept elsewhere.png")
    run(registry)
    before = registry.get_asset(cast["a"]["uid"])
    told = registry.read_sidecar(cast["a"]["uid"])

    with lose_ledger(registry) as fresh:
        report = run(fresh)
        after = fresh.get_asset(cast["a"]["uid"])
        Path("kept elsewhere.png").rename(ASSETS / "cast/a.png")
        back = run(fresh)

        assert [each["uid"] for each in report.missing] == [cast["a"]["uid"]]
        assert before is not None
        assert after is not None
        for record in (before, after):
            record["missing_since"], record["media"] = "", {}
            record["meta"].pop("media", None)  # the file tells that, and it is gone
        assert after == before
        assert fresh.read_sidecar(cast["a"]["uid"]) == told
        assert [each["version"] for each in told["versions"]] == [3, 2, 1]
        assert [each["uid"] for each in back.restored] == [cast["a"]["uid"]]
        again = fresh.register_file("../art/a.png", "cast")
        assert (again["uid"], again["duplicate"]) == (cast["a"]["uid"], True)
        settled(fresh)


def test_a_file_renamed_while_the_ledger_was_lost_finds_its_sidecar(
    registry: AssetRegistry, cast: dict[str, AssetRecord]
) -> None:
    """The file would be a new asset and the sidecar an orphan for ever."""
    before = registry.get_asset(cast["a"]["uid"])
    move("a.png", "renamed.png")

    with lose_ledger(registry) as fresh:
        run(fresh)

        after = fresh.get_asset(cast["a"]["uid"])
        assert before is not None
        assert after is not None
        assert (after["path"], after["tags"], after["id"]) == (
            "cast/renamed.png",
            before["tags"],
            before["id"],
        )
        settled(fresh)


def test_mirrors_bring_back_what_sidecars_and_ledger_knew(
    registry: AssetRegistry, cast: dict[str, AssetRecord]
) -> None:
    """A tool that cleans up `*.asset.json` would cost tags, licences and provenance."""
    before = registry.list_assets()
    for path in ASSETS.rglob("*.asset.json"):
        path.unlink()

    with lose_ledger(registry) as fresh:
        run(fresh)

        assert fresh.list_assets() == before
        settled(fresh)


def test_an_older_copy_of_the_ledger_takes_back_what_the_sidecars_know(
    registry: AssetRegistry, cast: dict[str, AssetRecord], make_png: Callable[..., Path]
) -> None:
    """A backup put back would drop the provenance and versions of all that happened since."""
    with closing(sqlite3.connect(DB)) as old, closing(sqlite3.connect("old.db")) as copy:
        old.backup(copy)
    registry.register_file("../art/b.png", "cast", provenance={"source": "since"}, metadata={"tags": ["new"]})
    paint(ASSETS / "cast/a.png")
    run(registry)
    registry.register_file(make_png("e.png", seed=9), "cast", metadata={"tags": ["e"]})
    registry.wait_for_thumbnails()
    wanted = {record["uid"]: registry.read_sidecar(record["uid"]) for record in registry.list_assets()}
    rows = {uid: registry.list_provenance(uid) for uid in wanted}
    registry.close()
    for path in DB.parent.glob("comfyvn.db*"):
        path.unlink()
    shutil.copy("old.db", DB)

    with AssetRegistry() as restored:
        report = run(restored)

        assert report.conflicts == report.failed == []
        assert {uid: restored.list_provenance(uid) for uid in wanted} == rows
        for uid, told in wanted.items():
            now = restored.read_sidecar(uid)
            assert {**now, "updated_at": ""} == {**told, "updated_at": ""}
        settled(restored)


def test_a_copy_with_its_sidecar_never_takes_the_place_of_a_lost_original(
    registry: AssetRegistry, cast: dict[str, AssetRecord]
) -> None:
    """`a backup.png` comes before `a.png`: it would become the asset, and the original a copy."""
    shutil.copy(ASSETS / "cast/a.png", ASSETS / "cast/a backup.png")
    shutil.copy(ASSETS / "cast/a.png.asset.json", ASSETS / "cast/a backup.png.asset.json")

    with lose_ledger(registry) as fresh:
        report = run(fresh)

        assert at(fresh)["a"] == "a.png"
        assert report.duplicates == [{"uid": cast["a"]["uid"], "path": "cast/a backup.png"}]


# -- reading only what changed ----------------------------------------------------------------------------


def test_rot_is_told_from_edits_and_never_taken_for_a_version(
    registry: AssetRegistry, cast: dict[str, AssetRecord]
) -> None:
    """A damaged disk block would become version 2, and the good hash be forgotten."""
    path = ASSETS / "cast/a.png"
    status = path.stat()
    data = bytearray(path.read_bytes())
    data[-20] ^= 1
    with path.open("r+b") as file:
        file.write(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

    usual = run(registry)
    verified = run(registry, verify=True)

    assert (usual.unchanged, usual.content_changed, usual.rotten) == (4, [], [])
    assert verified.rotten == [{"uid": cast["a"]["uid"], "path": "cast/a.png"}]
    record = registry.get_asset(cast["a"]["uid"])
    assert record is not None
    assert (record["version"], record["hash"]) == (1, cast["a"]["hash"])


def test_rot_is_told_also_after_the_library_was_copied(
    registry: AssetRegistry, cast: dict[str, AssetRecord]
) -> None:
    """New inodes come with each new disk, and with a new disk comes rot."""
    shutil.copytree(ASSETS, "copy")
    shutil.rmtree(ASSETS)
    Path("copy").rename(ASSETS)
    path = ASSETS / "cast/a.png"
    status = path.stat()
    data = bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

    report = run(registry)

    assert report.rotten == [{"uid": cast["a"]["uid"], "path": "cast/a.png"}]
    assert (report.touched, report.content_changed) == (3, [])
    record = registry.get_asset(cast["a"]["uid"])
    assert record is not None
    assert record["version"] == 1


def test_an_unchanged_library_is_not_read(
    registry: AssetRegistry, cast: dict[str, AssetRecord], tmp_path: Path
) -> None:
    """A library of 200 GB would be read through each night."""
    trace = tmp_path / "opened.txt"
    code = (
        "import sys\n"
        f"log = open({str(trace)!r}, 'w')\n"
        "sys.addaudithook(lambda event, args: event == 'open' and log.write(f'{args[0]}\\n'))\n"
        "from comfyvn.cli import main\n"
        "sys.argv = ['comfyvn', 'rebuild']\n"
        "main()\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")
    opened = trace.read_text("utf-8").splitlines()
    assert [name for name in opened if "/assets/" in name and "library.json" not in name] == []


def test_only_some_keys_are_looked_at_when_told(
    registry: AssetRegistry, cast: dict[str, AssetRecord]
) -> None:
    """A watcher would scan the whole library for each saved file."""
    paint(ASSETS / "cast/a.png")
    paint(ASSETS / "cast/b.png", "blue")
    move("c.png", "deep")
    (ASSETS / "more").mkdir()
    paint(ASSETS / "more/new.png", "green")

    report = run(registry, only=["cast/a.png.asset.json", "cast/c.png", "more", "_meta/cast/a.json"])

    assert report.processed == 2
    assert [each["path"] for each in report.content_changed] == ["cast/a.png"]
    assert [each["path"] for each in report.missing] == ["cast/c.png"]
    assert [each["path"] for each in report.registered] == ["more/new.png"]


# -- two at once ------------------------------------------------------------------------------------------


def test_of_two_rebuilds_at_once_the_second_waits_and_says_so(
    registry: AssetRegistry, cast: dict[str, AssetRecord], caplog: pytest.LogCaptureFixture
) -> None:
    """Both would take in the same new files, and mark each other's moves as losses."""
    started, go_on = threading.Event(), threading.Event()
    paint(ASSETS / "cast/new.png")

    def hold(files: int) -> None:
        started.set()
        assert go_on.wait(30)

    first = threading.Thread(target=lambda: rebuild(registry, on_files=hold))
    first.start()
    assert started.wait(30)
    reports: list[RebuildReport] = []
    with AssetRegistry() as other:
        second = threading.Thread(target=lambda: reports.append(rebuild(other)))
        second.start()
        second.join(0.5)
        is_waiting = second.is_alive()
        go_on.set()
        first.join(30)
        second.join(30)

    assert is_waiting
    assert "another rebuild of this library is at work" in caplog.text
    (report,) = reports
    assert (report.unchanged, report.registered) == (5, [])
